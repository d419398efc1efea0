/* SPDX-License-Identifier: Apache-2.0 */
/* base64: RFC 4648, section 4, strictly: no blanks, no other alphabet, padded, no bits beyond the data. */
#ifndef DRIVER_BASE_BASE64_H
#define DRIVER_BASE_BASE64_H

#include <stddef.h>

#include "driver/base/buf.h"
#include "driver/base/err.h"

/* Appends; 0 or the buffer's status. */
int base64_encode(const void *data, size_t len, struct buf *out);

/* Appends what the text says; -EINVAL and nothing appended where it is not base64. */
int base64_decode(const char *text, struct buf *out, struct err *err);

#endif
