/* SPDX-License-Identifier: Apache-2.0 */
#include "driver/base/buf.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#define FIRST_CAP 256

static size_t max_of(const struct buf *b)
{
	return b->max ? b->max : BUF_MAX_DEFAULT;
}

void buf_release(struct buf *b)
{
	int saved = errno;

	free(b->data);
	*b = (struct buf){ .max = b->max };
	errno = saved;
}

void buf_reset(struct buf *b)
{
	b->len = 0;
	b->status = 0;
	if (b->data)
		b->data[0] = 0;
}

char *buf_room(struct buf *b, size_t more)
{
	size_t max = max_of(b);
	size_t need, cap;
	char *data;

	if (b->status)
		return NULL;
	if (b->len > max || more > max - b->len) {
		b->status = -EFBIG;
		return NULL;
	}
	need = b->len + more + 1;
	if (need <= b->cap)
		return b->data + b->len;

	/* Twice as much each time, so that appending byte by byte is linear; but no more than the
	 * maximum can need. */
	cap = b->cap > FIRST_CAP / 2 ? b->cap : FIRST_CAP / 2;
	cap = cap > max / 2 ? max + 1 : cap * 2;
	if (cap < need)
		cap = need;
	data = realloc(b->data, cap);
	if (!data) {
		b->status = -ENOMEM;
		return NULL;
	}
	b->data = data;
	b->cap = cap;
	b->data[b->len] = 0;
	return b->data + b->len;
}

void buf_end(struct buf *b, size_t written)
{
	assert(b->cap > b->len && written < b->cap - b->len);
	b->len += written;
	b->data[b->len] = 0;
}

int buf_append(struct buf *b, const void *data, size_t len)
{
	char *to = buf_room(b, len);

	if (!to)
		return b->status;
	if (len)
		memcpy(to, data, len);
	buf_end(b, len);
	return 0;
}

int buf_puts(struct buf *b, const char *text)
{
	return buf_append(b, text, strlen(text));
}

int buf_putc(struct buf *b, char c)
{
	return buf_append(b, &c, 1);
}

static int append_vprintf(struct buf *b, const char *fmt, va_list ap)
	__attribute__((format(printf, 2, 0)));

static int append_vprintf(struct buf *b, const char *fmt, va_list ap)
{
	va_list again;
	char *to;
	int len;

	va_copy(again, ap);
	len = vsnprintf(NULL, 0, fmt, again);
	va_end(again);
	if (len < 0) {
		b->status = -EFBIG; /* over INT_MAX bytes */
		return b->status;
	}
	to = buf_room(b, (size_t)len);
	if (!to)
		return b->status;
	(void)vsnprintf(to, (size_t)len + 1, fmt, ap);
	buf_end(b, (size_t)len);
	return 0;
}

int buf_printf(struct buf *b, const char *fmt, ...)
{
	int saved = errno; /* for %m */
	va_list ap;
	int r;

	if (b->status)
		return b->status;
	va_start(ap, fmt);
	errno = saved;
	r = append_vprintf(b, fmt, ap);
	va_end(ap);
	return r;
}

int buf_status(const struct buf *b, struct err *err)
{
	if (!b->status)
		return 0;
	if (b->status == -EFBIG)
		return fail(err, -EFBIG, "larger than the allowed %zu bytes", max_of(b));
	return fail_oom(err);
}

const char *buf_text(const struct buf *b)
{
	return b->data ? b->data : "";
}

char *buf_take(struct buf *b)
{
	char *text;

	if (b->status == -ENOMEM) {
		buf_release(b);
		return NULL;
	}
	text = b->data ? take_ptr(b->data) : strdup("");
	buf_release(b);
	return text;
}
