/* SPDX-License-Identifier: Apache-2.0 */
/*
 * utf8: what is well-formed (The Unicode Standard, table 3-7), whatever the locale.
 */
#ifndef DRIVER_BASE_UTF8_H
#define DRIVER_BASE_UTF8_H

#include <stddef.h>
#include <stdint.h>

#define UTF8_MAX 4 /* bytes of a character */

/* Bytes of the well-formed character at the beginning of `data`, of which `len` bytes (1 at least) are
 * there; 0 where there is none. */
size_t utf8_char(const void *data, size_t len);

/* Offset of the first byte that is not UTF-8, or len. */
size_t utf8_span(const void *data, size_t len);

/* The character with this number, which is one (no surrogate, at most 10FFFF): how many bytes it takes. */
size_t utf8_put(uint32_t code, char ret[UTF8_MAX]);

#endif
