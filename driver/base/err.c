/* SPDX-License-Identifier: Apache-2.0 */
#include "driver/base/err.h"

#include <stdio.h>
#include <string.h>

#define ELLIPSIS "..."

/* Words too long for the buffer end in "...", and not in the middle of a UTF-8 character. */
static void mark_cut(char *text, size_t size)
{
	size_t end = size - sizeof(ELLIPSIS);

	while (end && ((unsigned char)text[end] & 0xc0) == 0x80)
		end--;
	memcpy(text + end, ELLIPSIS, sizeof(ELLIPSIS));
}

/* vsnprintf() whose %m is the text of -code, and which keeps errno. */
static void format_words(char *text, size_t size, int code, const char *fmt, va_list ap)
	__attribute__((format(printf, 4, 0)));

static void format_words(char *text, size_t size, int code, const char *fmt, va_list ap)
{
	int saved = errno;
	int len;

	text[0] = 0;
	errno = code < 0 ? -code : code;
	len = vsnprintf(text, size, fmt, ap);
	if (len > 0 && (size_t)len >= size)
		mark_cut(text, size);
	errno = saved;
}

int vfail(struct err *err, int code, const char *fmt, va_list ap)
{
	struct err words; /* not err itself: an argument may point into it */

	if (!err)
		return code;
	format_words(words.text, sizeof(words.text), code, fmt, ap);
	memcpy(err->text, words.text, strlen(words.text) + 1);
	return code;
}

int fail(struct err *err, int code, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vfail(err, code, fmt, ap);
	va_end(ap);
	return code;
}

int err_prefix(struct err *err, int code, const char *fmt, ...)
{
	struct err prefix;
	va_list ap;

	if (!err)
		return code;
	va_start(ap, fmt);
	format_words(prefix.text, sizeof(prefix.text), code, fmt, ap);
	va_end(ap);
	if (!err->text[0])
		return fail(err, code, "%s", prefix.text);
	return fail(err, code, "%s: %s", prefix.text, err->text);
}

void err_clear(struct err *err)
{
	if (err)
		err->text[0] = 0;
}

int fail_oom(struct err *err)
{
	return fail(err, -ENOMEM, "out of memory");
}
