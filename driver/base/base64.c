/* SPDX-License-Identifier: Apache-2.0 */
#include "driver/base/base64.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

int base64_encode(const void *data, size_t len, struct buf *out)
{
	const unsigned char *s = data;

	for (; len; s += len < 3 ? len : 3, len -= len < 3 ? len : 3) {
		uint32_t bits = (uint32_t)s[0] << 16;
		char text[4];

		bits |= len > 1 ? (uint32_t)s[1] << 8 : 0;
		bits |= len > 2 ? s[2] : 0;
		for (int i = 0; i < 4; i++)
			text[i] = alphabet[bits >> (18 - 6 * i) & 63];
		memset(text + (len < 3 ? len + 1 : 4), '=', len < 3 ? 3 - len : 0);
		(void)buf_append(out, text, sizeof(text));
	}
	return out->status;
}

/* Four characters into up to three bytes: how many, or -EINVAL. */
static int decode_four(const char *text, bool last, unsigned char ret[3])
{
	uint32_t bits = 0;
	int padding = 0;

	for (int i = 0; i < 4; i++) {
		const char *found = memchr(alphabet, text[i], 64);

		if (!found && (!last || text[i] != '=' || i < 2))
			return -EINVAL;
		if (found && padding)
			return -EINVAL;
		padding += !found;
		bits = bits << 6 | (found ? (uint32_t)(found - alphabet) : 0);
	}
	if (bits & ((1u << 8 * padding) - 1))
		return -EINVAL;
	for (int i = 0; i < 3; i++)
		ret[i] = (unsigned char)(bits >> (16 - 8 * i));
	return 3 - padding;
}

int base64_decode(const char *text, struct buf *out, struct err *err)
{
	size_t len = strlen(text), before = out->len;
	unsigned char bytes[3];

	for (size_t at = 0; at < len; at += 4) {
		int count = len - at < 4 ? -EINVAL : decode_four(text + at, len - at == 4, bytes);

		if (count < 0) {
			out->len = before;
			if (out->data)
				out->data[before] = 0;
			return fail(err, -EINVAL, "it is not base64");
		}
		(void)buf_append(out, bytes, (size_t)count);
	}
	return buf_status(out, err);
}
