/* SPDX-License-Identifier: Apache-2.0 */
/*
 * digest: streaming sha256/sha512, and "algorithm:hex" to and from text.
 *
 * Grammar (OCI image-spec descriptor.md): digest ::= algorithm ":" encoded; here algorithm is
 * sha256 or sha512 and encoded is 64 or 128 lower-case hex digits; anything else is refused, so a
 * valid digest's hex is safe as a file name. Source: libcrypto (SHA-NI where the CPU has it),
 * loaded when first used: most commands hash nothing and need not pay 1 ms for it.
 */
#ifndef DRIVER_BASE_DIGEST_H
#define DRIVER_BASE_DIGEST_H

#include <stdbool.h>
#include <stddef.h>

#include "driver/base/auto.h"
#include "driver/base/err.h"

#define DIGEST_TEXT_MAX (7 + 128 + 1) /* "sha512:" + hex + NUL */

/* A digest in text form, always valid or empty (text[0] == 0). Compare with digest_equal. */
struct digest {
	char text[DIGEST_TEXT_MAX];
};

/* 0, or -EINVAL with words that quote `text`. *ret untouched on failure. */
int digest_parse(const char *text, struct digest *ret, struct err *err);
bool digest_valid(const char *text);
bool digest_equal(const struct digest *a, const struct digest *b);
const char *digest_hex(const struct digest *d); /* after the colon; "" for an empty digest */
bool hex_valid(const char *text, size_t len);	/* exactly `len` lower-case hex digits */

struct hasher; /* one running digest */

/* `algorithm` is "sha256" or "sha512", or a whole digest text whose algorithm is meant. NULL:
 * sha256. */
int hasher_new(const char *algorithm, struct hasher **ret, struct err *err);
void hasher_update(struct hasher *h, const void *data, size_t len);
/* Ends it: only hasher_free may follow. */
void hasher_final(struct hasher *h, struct digest *ret);
/* As hasher_final, without text: 32 bytes for sha256, 64 for sha512. */
void hasher_final_raw(struct hasher *h, unsigned char *ret);
/* After hasher_final: begins a new digest of the same kind. */
void hasher_restart(struct hasher *h);
void hasher_free(struct hasher *h);
void hasher_freep(struct hasher **h);
#define auto_hasher AUTO(hasher_freep)

/* "algorithm:hex" of raw bytes that come from a digest of that algorithm. */
void digest_from_raw(const char *algorithm, const unsigned char *raw, size_t len,
		     struct digest *ret);

/* The digest of one piece of memory. */
int digest_of(const char *algorithm, const void *data, size_t len, struct digest *ret,
	      struct err *err);

#endif
