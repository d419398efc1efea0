/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/fuzz/archive.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "driver/base/auto.h"

#define NAME	 ((struct archive_field){ 0, 100 })
#define SIZE	 ((struct archive_field){ 124, 12 })
#define CHECKSUM ((struct archive_field){ 148, 8 })
#define TYPE_AT	 156
#define LINK	 ((struct archive_field){ 157, 100 })

const struct archive_field archive_fields[] = {
	{ 0, 100 },  { 100, 8 },     { 108, 8 },   { 116, 8 },	 { 124, 12 },
	{ 136, 12 }, { TYPE_AT, 1 }, { 157, 100 }, { 257, 8 },	 { 265, 64 },
	{ 329, 8 },  { 337, 8 },     { 345, 155 }, { 386, 126 },
};
const size_t archive_field_count = ARRAY_LEN(archive_fields);

void archive_put_text(uint8_t h[ARCHIVE_BLOCK], struct archive_field field, const char *text)
{
	memset(h + field.at, 0, field.len);
	memcpy(h + field.at, text, strnlen(text, field.len));
}

static void put_octal(uint8_t h[ARCHIVE_BLOCK], struct archive_field field, uint64_t number)
{
	char text[32];

	(void)snprintf(text, sizeof(text), "%0*llo", (int)field.len - 1,
		       (unsigned long long)number);
	archive_put_text(h, field, text);
}

void archive_put_header(uint8_t h[ARCHIVE_BLOCK], const char *name, char type, uint64_t size,
			const char *link)
{
	memset(h, 0, ARCHIVE_BLOCK);
	archive_put_text(h, NAME, name);
	put_octal(h, (struct archive_field){ 100, 8 }, 0644);
	put_octal(h, (struct archive_field){ 108, 8 }, 0);
	put_octal(h, (struct archive_field){ 116, 8 }, 0);
	put_octal(h, SIZE, size);
	put_octal(h, (struct archive_field){ 136, 12 }, 1);
	h[TYPE_AT] = (uint8_t)type;
	archive_put_text(h, LINK, link ? link : "");
	memcpy(h + 257, "ustar\00000", 8);
	archive_put_checksum(h);
}

void archive_put_checksum(uint8_t h[ARCHIVE_BLOCK])
{
	unsigned int sum = 0;

	memset(h + CHECKSUM.at, ' ', CHECKSUM.len);
	for (size_t i = 0; i < ARCHIVE_BLOCK; i++)
		sum += h[i];
	(void)snprintf((char *)h + CHECKSUM.at, CHECKSUM.len, "%06o", sum);
}

size_t archive_put_pax(uint8_t *to, size_t room, const char *key, const void *value, size_t len)
{
	size_t rest = strlen(key) + len + 3, total = rest + 1;
	char digits[24];
	int width;

	/* The length counts its own digits. */
	while (rest + (size_t)snprintf(digits, sizeof(digits), "%zu", total) != total)
		total = rest + strlen(digits);
	if (total >= room)
		return 0;
	width = snprintf((char *)to, room, "%s %s=", digits, key);
	memcpy(to + width, value, len);
	to[total - 1] = '\n';
	return total;
}

static bool is_zero(const uint8_t *block)
{
	return !block[0] && !memcmp(block, block + 1, ARCHIVE_BLOCK - 1);
}

/* Octal, or base 256; no more than there can be in an input. */
static uint64_t size_of(const uint8_t *h)
{
	uint64_t size = 0;

	for (size_t i = 0; i < SIZE.len; i++) {
		uint8_t byte = h[SIZE.at + i];

		if (h[SIZE.at] & 0x80)
			size = size << 8 | (i ? byte : byte & 0x7f);
		else if (byte >= '0' && byte <= '7')
			size = size << 3 | (byte - '0');
	}
	return size < (uint64_t)1 << 32 ? size : (uint64_t)1 << 32;
}

size_t archive_entry_len(const uint8_t *data, size_t len)
{
	uint64_t size;

	if (len <= ARCHIVE_BLOCK)
		return len;
	if (is_zero(data))
		return ARCHIVE_BLOCK;
	/* Links, devices, directories and fifos have no contents. */
	if (data[TYPE_AT] >= '1' && data[TYPE_AT] <= '6')
		return ARCHIVE_BLOCK;
	size = (size_of(data) + ARCHIVE_BLOCK - 1) / ARCHIVE_BLOCK * ARCHIVE_BLOCK;
	return size < len - ARCHIVE_BLOCK ? ARCHIVE_BLOCK + (size_t)size : len;
}

void archive_fix(uint8_t *data, size_t len)
{
	while (len >= ARCHIVE_BLOCK) {
		size_t entry = archive_entry_len(data, len);

		if (!is_zero(data))
			archive_put_checksum(data);
		data += entry;
		len -= entry;
	}
}
