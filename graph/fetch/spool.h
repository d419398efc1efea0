/* SPDX-License-Identifier: Apache-2.0 */
/*
 * spool: a file or stream becomes one that can be read at any offset.
 */
#ifndef GRAPH_FETCH_SPOOL_H
#define GRAPH_FETCH_SPOOL_H

#include <stdint.h>

#include "driver/base/err.h"

#define SPOOL_BYTES_MAX ((uint64_t)1 << 40) /* of an archive, uncompressed */

/*
 * `fd` (not closed) is a directory, a file or a pipe. A directory or an uncompressed regular file
 * that stands at its beginning comes back as a duplicate; anything else is written, uncompressed,
 * to an unnamed file in `spool_fd`. Descriptor or -errno (-EFBIG: over SPOOL_BYTES_MAX); `what`
 * names it in words.
 */
int spool_open(int fd, int spool_fd, const char *what, struct err *err);

#endif
