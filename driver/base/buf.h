/* SPDX-License-Identifier: Apache-2.0 */
/*
 * buf: bytes that grow to a stated maximum.
 *
 * Invariant: data is NULL, or data[len] == 0, so that a buffer of text is a C string. A buffer that
 * failed to grow (memory, or its maximum) remembers it: later appends do nothing, and buf_status()
 * tells. So a writer checks once, at the end.
 */
#ifndef DRIVER_BASE_BUF_H
#define DRIVER_BASE_BUF_H

#include <stdarg.h>
#include <stddef.h>

#include "driver/base/auto.h"
#include "driver/base/err.h"

struct buf {
	char *data;
	size_t len;
	size_t cap;
	size_t max; /* bytes; 0: BUF_MAX_DEFAULT */
	int status; /* 0, -ENOMEM or -EFBIG */
};

#define BUF_MAX_DEFAULT ((size_t)64 << 20)

#define auto_buf AUTO(buf_release) /* auto_buf struct buf b = { .max = 4096 }; */

void buf_release(struct buf *b);
void buf_reset(struct buf *b); /* empties it, keeps the memory, forgets a failure */

/* Each returns 0 or the negative status; after a failure the contents are what they were. */
int buf_append(struct buf *b, const void *data, size_t len);
int buf_puts(struct buf *b, const char *text);
int buf_putc(struct buf *b, char c);
int buf_printf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Room for at least `more` further bytes; the place to write them to. NULL on failure. Add what was
 * written to b->len, then buf_end(). */
char *buf_room(struct buf *b, size_t more);
void buf_end(struct buf *b, size_t written);

/* 0, or the first failure with words that name the maximum. */
int buf_status(const struct buf *b, struct err *err);

/* The text; never NULL. Owned by b. */
const char *buf_text(const struct buf *b);

/* Hands the text on (NULL only where memory ran out) and empties b. The caller frees. */
char *buf_take(struct buf *b);

#endif
