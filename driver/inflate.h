/* SPDX-License-Identifier: Apache-2.0 */
/*
 * inflate: gzip (ISA-L), zstd (libzstd) or plain bytes, as a stream: bytes in, bytes out, no I/O of
 * its own.
 *
 * gzip (RFC 1952): several members in a row are one stream, as gzip(1) has it; header fields (name,
 * comment, extra, header crc) are skipped; each member's CRC-32 and length are verified; zero bytes
 * after the last member are padding, anything else after it is an error. zstd (RFC 8878): several
 * frames and skippable frames; a window over INFLATE_ZSTD_WINDOW_LOG_MAX is refused. Both libraries
 * are loaded when first needed.
 */
#ifndef DRIVER_INFLATE_H
#define DRIVER_INFLATE_H

#include <stdbool.h>
#include <stddef.h>

#include "driver/base/auto.h"
#include "driver/base/err.h"

#define INFLATE_ZSTD_WINDOW_LOG_MAX 27 /* 128 MiB, zstd(1)'s own limit without --long */
#define INFLATE_DETECT_BYTES	    6 /* what inflate_detect wants to see, where there is so much */

enum inflate_kind { INFLATE_PLAIN, INFLATE_GZIP, INFLATE_ZSTD, INFLATE_XZ, INFLATE_BZIP2 };

/* By the first bytes; never fails: what is not known is plain. XZ and BZIP2 are known so that they
 * can be refused by name. */
enum inflate_kind inflate_detect(const void *head, size_t len);
const char *inflate_name(enum inflate_kind kind); /* "gzip" */

struct inflate;

/* -EOPNOTSUPP with words for XZ and BZIP2, -ELIBACC where the library is missing. */
int inflate_new(enum inflate_kind kind, struct inflate **ret, struct err *err);
void inflate_freep(struct inflate **inf);
#define auto_inflate AUTO(inflate_freep)

/*
 * Takes up to in_len bytes, makes up to out_cap bytes. *ret_used and *ret_made say how many; unused
 * input is offered again. Call it until it has used the input and made less than out_cap. 0, or
 * -EBADMSG with words ("gzip: the checksum of a member does not match").
 */
int inflate_run(struct inflate *inf, const void *in, size_t in_len, size_t *ret_used, void *out,
		size_t out_cap, size_t *ret_made, struct err *err);

/* After the last input: 0 where the stream ended at the end of a member or frame, else -EBADMSG
 * ("gzip: the stream ends in the middle"). */
int inflate_end(struct inflate *inf, struct err *err);

#endif
