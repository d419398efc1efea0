/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/util.h"

#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <sys/xattr.h>
#include <unistd.h>
#include <zstd.h>
#include <cmocka.h>

#include "driver/base/auto.h"
#include "driver/base/dl.h"
#include "driver/base/fd.h"

/* ---- tar ---- */

static char pax[1 << 16];
static size_t pax_len;

static void put(struct buf *to, const void *data, size_t len)
{
	if (!to->max)
		to->max = (size_t)1 << 30;
	assert_int_equal(buf_append(to, data, len), 0);
}

static void put_zeros(struct buf *to, size_t len)
{
	static const char zeros[TAR_BLOCK_BYTES];

	for (; len > sizeof(zeros); len -= sizeof(zeros))
		put(to, zeros, sizeof(zeros));
	put(to, zeros, len);
}

static void pad(struct buf *tar)
{
	put_zeros(tar, -tar->len % TAR_BLOCK_BYTES);
}

/* Octal where it fits, else base 256. */
static void put_number(unsigned char *field, size_t len, int64_t value)
{
	char octal[32];

	if (value >= 0 && value < (int64_t)1 << (3 * (len - 1))) {
		(void)snprintf(octal, sizeof(octal), "%0*llo", (int)len - 1,
			       (unsigned long long)value);
		memcpy(field, octal, len);
		return;
	}
	for (size_t i = len; i-- > 0; value >>= 8)
		field[i] = (unsigned char)value;
	field[0] = value < 0 ? 0xff : 0x80 | field[0];
}

static void put_text(unsigned char *field, size_t len, const char *text)
{
	memcpy(field, text, strnlen(text, len));
}

static void put_checksum(unsigned char h[TAR_BLOCK_BYTES])
{
	unsigned int sum = 0;

	memset(h + 148, ' ', 8);
	for (size_t i = 0; i < TAR_BLOCK_BYTES; i++)
		sum += h[i];
	(void)snprintf((char *)h + 148, 8, "%06o", sum);
}

static void put_header(struct buf *tar, const struct tar_spec *s)
{
	unsigned char h[TAR_BLOCK_BYTES] = { 0 };

	put_text(h, 100, s->name);
	put_number(h + 100, 8, s->mode);
	put_number(h + 108, 8, s->uid);
	put_number(h + 116, 8, s->gid);
	put_number(h + 124, 12, s->size);
	put_number(h + 136, 12, s->mtime);
	h[156] = (unsigned char)s->type;
	put_text(h + 157, 100, s->link ? s->link : "");
	if (s->style != TAR_V7) {
		memcpy(h + 257, s->style == TAR_GNU ? "ustar  " : "ustar\00000", 8);
		put_number(h + 329, 8, (int64_t)s->dev_major);
		put_number(h + 337, 8, (int64_t)s->dev_minor);
		put_text(h + 345, 155, s->prefix ? s->prefix : "");
	}
	put_checksum(h);
	put(tar, h, sizeof(h));
}

void tar_put_pax_header(struct buf *tar, char type)
{
	const struct tar_spec header = {
		.name = "pax", .type = type, .mode = 0644, .size = (int64_t)pax_len
	};

	put_header(tar, &header);
	put(tar, pax, pax_len);
	pad(tar);
	pax_len = 0;
}

void tar_put(struct buf *tar, const struct tar_spec *spec)
{
	if (pax_len)
		tar_put_pax_header(tar, 'x');
	put_header(tar, spec);
	if (!spec->data)
		return;
	put(tar, spec->data, (size_t)spec->size);
	pad(tar);
}

void tar_put_pax(const char *key, const void *value, size_t len)
{
	size_t rest = strlen(key) + len + 3, total = rest + 1;
	char digits[24];

	/* The length counts its own digits. */
	while (rest + (size_t)snprintf(digits, sizeof(digits), "%zu", total) != total)
		total = rest + strlen(digits);
	assert_true(pax_len + total < sizeof(pax));
	pax_len += (size_t)snprintf(pax + pax_len, sizeof(pax) - pax_len, "%s %s=", digits, key);
	memcpy(pax + pax_len, value, len);
	pax_len += len;
	pax[pax_len++] = '\n';
}

void tar_put_pax_text(const char *key, const char *value)
{
	tar_put_pax(key, value, strlen(value));
}

void tar_put_long(struct buf *tar, char type, const char *text)
{
	tar_put(tar, &(struct tar_spec){ .name = "././@LongLink",
					 .type = type,
					 .size = (int64_t)strlen(text) + 1,
					 .data = text,
					 .style = TAR_GNU });
}

static void put_usual(struct buf *tar, struct tar_spec spec)
{
	spec.mtime = USUAL_MTIME;
	if (strlen(spec.name) > 100)
		tar_put_pax_text("path", spec.name);
	if (spec.link && strlen(spec.link) > 100)
		tar_put_pax_text("linkpath", spec.link);
	tar_put(tar, &spec);
}

void tar_put_file(struct buf *tar, const char *name, const char *contents)
{
	put_usual(tar, (struct tar_spec){ .name = name,
					  .type = '0',
					  .mode = 0644,
					  .size = (int64_t)strlen(contents),
					  .data = contents });
}

void tar_put_dir(struct buf *tar, const char *name)
{
	put_usual(tar, (struct tar_spec){ .name = name, .type = '5', .mode = 0755 });
}

void tar_put_symlink(struct buf *tar, const char *name, const char *target)
{
	put_usual(tar,
		  (struct tar_spec){ .name = name, .type = '2', .mode = 0777, .link = target });
}

void tar_put_hardlink(struct buf *tar, const char *name, const char *target)
{
	put_usual(tar,
		  (struct tar_spec){ .name = name, .type = '1', .mode = 0644, .link = target });
}

void tar_put_end(struct buf *tar)
{
	put_zeros(tar, 2 * TAR_BLOCK_BYTES);
}

/* ---- gzip and zstd ---- */

void gzip_put(struct buf *to, const void *data, size_t len)
{
	char name[] = "/tmp/overlaid-gzip.XXXXXX", command[64];
	auto_close int fd = mkostemp(name, O_CLOEXEC);
	FILE *pipe;
	char piece[65536];
	size_t got;

	assert_true(fd >= 0);
	assert_int_equal(write_full(fd, data, len), 0);
	(void)snprintf(command, sizeof(command), "gzip -9nc %s", name);
	pipe = popen(command, "re");
	assert_non_null(pipe);
	while ((got = fread(piece, 1, sizeof(piece), pipe)) > 0)
		put(to, piece, got);
	assert_int_equal(unlink(name), 0);
	assert_int_equal(pclose(pipe), 0);
}

static uint32_t crc32_of(const unsigned char *data, size_t len)
{
	uint32_t crc = 0xffffffff;

	for (size_t i = 0; i < len; i++) {
		crc ^= data[i];
		for (int bit = 0; bit < 8; bit++)
			crc = crc & 1 ? crc >> 1 ^ 0xedb88320 : crc >> 1;
	}
	return ~crc;
}

static void put_little(struct buf *to, uint64_t value, size_t bytes)
{
	for (; bytes--; value >>= 8)
		put(to, &(unsigned char){ (unsigned char)value }, 1);
}

void gzip_put_member(struct buf *to, const void *data, size_t len, unsigned int flags)
{
	const char *at = data;
	size_t start = to->len, left = len;

	put_little(to, 0x088b1f | (uint64_t)flags << 24, 4);
	put_little(to, 0x03000000000012, 6);
	if (flags & 4) {
		put_little(to, 300, 2);
		put_zeros(to, 300);
	}
	if (flags & 8)
		put(to, "layer.tar", sizeof("layer.tar"));
	if (flags & 16)
		put(to, "a comment\n", sizeof("a comment\n"));
	if (flags & 2)
		put_little(to,
			   crc32_of((unsigned char *)to->data + start, to->len - start) & 0xffff,
			   2);
	do {
		size_t piece = left < 65535 ? left : 65535;

		put_little(to, piece == left, 1);
		put_little(to, piece | (uint64_t)(~piece & 0xffff) << 16, 4);
		put(to, at, piece);
		at += piece;
		left -= piece;
	} while (left);
	put_little(to, crc32_of(data, len), 4);
	put_little(to, len, 4);
}

static struct {
	__typeof__(ZSTD_compress) *compress;
	__typeof__(ZSTD_isError) *is_error;
} zstd;

static const struct dl_symbol zstd_symbols[] = {
	{ "ZSTD_compress", &zstd.compress },
	{ "ZSTD_isError", &zstd.is_error },
};

static struct dl_library zstd_library = {
	.soname = "libzstd.so.1",
	.package = "libzstd1",
	.symbols = zstd_symbols,
	.symbol_count = ARRAY_LEN(zstd_symbols),
	.lock = PTHREAD_MUTEX_INITIALIZER,
};

void zstd_put(struct buf *to, const void *data, size_t len)
{
	size_t size = ZSTD_COMPRESSBOUND(len);
	auto_free char *out = malloc(size + 1);

	assert_int_equal(dl_load(&zstd_library, NULL), 0);
	assert_non_null(out);
	size = zstd.compress(out, size, data, len, 3);
	assert_false(zstd.is_error(size));
	put(to, out, size);
}

void zstd_put_skippable(struct buf *to, const void *data, size_t len)
{
	put_little(to, 0x184d2a51, 4);
	put_little(to, len, 4);
	put(to, data, len);
}

/* ---- sources ---- */

ssize_t memory_read(void *arg, const void **ret_block, struct err *err)
{
	struct memory *m = arg;
	size_t len = m->len - m->at;

	if (!len && m->fail_at_end)
		return (fail)(err, m->fail_at_end, "the source: %m"); /* cmocka has one too */
	if (m->step && len > m->step)
		len = m->step;
	*ret_block = m->data + m->at;
	m->at += len;
	return (ssize_t)len;
}

void fill_noise(char *data, size_t len, uint32_t seed)
{
	for (size_t i = 0; i < len; i++) {
		seed = seed * 1664525 + 1013904223;
		data[i] = (char)("overlaid layers\n0123456789"[(seed >> 24) % 26] + (seed >> 31));
	}
}

/* ---- looking ---- */

struct stat look(const char *path)
{
	struct stat st;

	if (lstat(path, &st) < 0)
		fail_msg("%s: %s", path, strerror(errno));
	return st;
}

void assert_link(const char *path, const char *target)
{
	char text[PATH_MAX] = "";

	assert_true(readlink(path, text, sizeof(text) - 1) >= 0);
	assert_string_equal(text, target);
}

void assert_xattr(const char *path, const char *name, const void *value, size_t len)
{
	char got[65536];
	ssize_t r = lgetxattr(path, name, got, sizeof(got));

	if (r < 0)
		fail_msg("%s: %s: %s", path, name, strerror(errno));
	assert_int_equal(r, len);
	assert_memory_equal(got, value, len);
}

void assert_no_xattr(const char *path, const char *name)
{
	assert_int_equal(lgetxattr(path, name, NULL, 0), -1);
	assert_int_equal(errno, ENODATA);
}

void assert_words(const struct err *err, const char *part)
{
	if (!strstr(err->text, part))
		fail_msg("\"%s\" does not say \"%s\"", err->text, part);
}
