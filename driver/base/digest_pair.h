/* SPDX-License-Identifier: Apache-2.0 */
/*
 * digest_pair: sha256 of a stream, and of each of the pieces within it, in one pass.
 *
 * A layer's diffID is the digest of its tar; contents.zst wants the digest of every file in that tar.
 * In a tar both see the same 64-byte blocks, so where the processor has SHA instructions the message
 * schedule is computed once for both states, and the rounds of the two, which do not depend on each
 * other, fill the gaps that each leaves: both together take hardly longer than libcrypto takes for one (806
 * beside 895 MB/s on a busy EPYC, where libcrypto does 431 for two). Elsewhere it is libcrypto twice.
 */
#ifndef DRIVER_BASE_DIGEST_PAIR_H
#define DRIVER_BASE_DIGEST_PAIR_H

#include <stddef.h>
#include <stdint.h>

#include "driver/base/digest.h"

#define DIGEST_PIECE_BYTES 32

struct digest_pair;

/* -ELIBACC where libcrypto is needed and missing. */
int digest_pair_new(struct digest_pair **ret, struct err *err);
void digest_pair_freep(struct digest_pair **pair);

/* The next bytes of the stream, outside of any piece. */
void digest_pair_stream(struct digest_pair *pair, const void *data, size_t len);
/* The next bytes of the stream, which are the next ones of the piece too. */
void digest_pair_both(struct digest_pair *pair, const void *data, size_t len);
/* The next bytes of the piece that the stream does not have here, such as the zeros of a hole. */
void digest_pair_piece(struct digest_pair *pair, const void *data, size_t len);

/* The piece's digest, raw; the next piece begins. */
void digest_pair_end_piece(struct digest_pair *pair, uint8_t ret[DIGEST_PIECE_BYTES]);
/* The stream's: only digest_pair_freep may follow. */
void digest_pair_end(struct digest_pair *pair, struct digest *ret);

/* For tests: what is made from here on uses libcrypto, whatever the processor has. */
void digest_pair_prefer_libcrypto(bool on);

#endif
