/* SPDX-License-Identifier: Apache-2.0 */
#include "driver/contents.h"

#include <assert.h>
#include <string.h>
#include <zstd.h>

#include "driver/base/dl.h"
#include "driver/base/fd.h"
#include "driver/contents_internal.h"
#include "driver/tree.h"

/* Text before it is compressed; what is compressed before it is written. */
#define TEXT_BYTES   ((size_t)128 << 10)
#define PACKED_BYTES ((size_t)128 << 10)

/* What names have in common lies near: a larger window takes memory and saves 1 %. */
#define WINDOW_LOG 17

#define NAME_PIECE   ((size_t)4096)
#define BASE64_PIECE ((size_t)3072) /* a multiple of three */

/* More than all of an entry takes but for its names and xattrs. */
#define FIXED_MAX ((size_t)512)

const char *const contents_type_words[CONTENTS_FIFO + 1] = {
	[CONTENTS_FILE] = "file", [CONTENTS_DIR] = "dir",     [CONTENTS_LINK] = "link",
	[CONTENTS_CHAR] = "char", [CONTENTS_BLOCK] = "block", [CONTENTS_FIFO] = "fifo",
};

static struct {
	__typeof__(ZSTD_createCCtx) *new;
	__typeof__(ZSTD_freeCCtx) *free;
	__typeof__(ZSTD_CCtx_setParameter) *set;
	__typeof__(ZSTD_compressStream2) *run;
	__typeof__(ZSTD_isError) *is_error;
	__typeof__(ZSTD_getErrorName) *error_name;
} zstd;

static const struct dl_symbol zstd_symbols[] = {
	{ "ZSTD_createCCtx", &zstd.new },	 { "ZSTD_freeCCtx", &zstd.free },
	{ "ZSTD_CCtx_setParameter", &zstd.set }, { "ZSTD_compressStream2", &zstd.run },
	{ "ZSTD_isError", &zstd.is_error },	 { "ZSTD_getErrorName", &zstd.error_name },
};

static struct dl_library zstd_library = {
	.soname = "libzstd.so.1",
	.package = "libzstd1",
	.symbols = zstd_symbols,
	.symbol_count = ARRAY_LEN(zstd_symbols),
	.lock = PTHREAD_MUTEX_INITIALIZER,
};

struct contents_writer {
	int fd;
	ZSTD_CCtx *zstd;
	struct err *err; /* that of the call under way */
	int status;	 /* the first failure of the file */
	uint64_t entries;
	size_t len; /* of text */
	char text[TEXT_BYTES];
	char packed[PACKED_BYTES];
};

/* ---- the file ---- */

/* A step of compressing; 1 where all is done that `how` asks for. */
static int pack(struct contents_writer *w, ZSTD_inBuffer *from, ZSTD_EndDirective how)
{
	ZSTD_outBuffer to = { .dst = w->packed, .size = PACKED_BYTES };
	size_t left = zstd.run(w->zstd, &to, from, how);
	int r;

	if (zstd.is_error(left))
		return fail(w->err, -EIO, "compress contents.zst: %s", zstd.error_name(left));
	r = write_full(w->fd, to.dst, to.pos);
	if (r < 0)
		return fail(w->err, r, "write contents.zst: %m");
	return how == ZSTD_e_end ? left == 0 : from->pos == from->size;
}

/* The text goes on its way, or after a failure nowhere: there is room in any case. */
static void flush(struct contents_writer *w, ZSTD_EndDirective how)
{
	ZSTD_inBuffer from = { .src = w->text, .size = w->len };
	int done = 0;

	while (!w->status && !done) {
		done = pack(w, &from, how);
		if (done < 0)
			w->status = done;
	}
	w->len = 0;
}

static int failed_before(const struct contents_writer *w, struct err *err)
{
	return fail(err, w->status, "contents.zst could not be written: %m");
}

/* ---- text ---- */

static void make_room(struct contents_writer *w, size_t len)
{
	if (TEXT_BYTES - w->len < len)
		flush(w, ZSTD_e_continue);
}

/* The put_* functions write where room has been made. */
static void put_bytes(struct contents_writer *w, const char *bytes, size_t len)
{
	memcpy(w->text + w->len, bytes, len);
	w->len += len;
}

#define put_literal(w, literal) put_bytes(w, literal, sizeof(literal) - 1)

static void put_number(struct contents_writer *w, uint64_t number, unsigned int base)
{
	char digits[24];
	size_t at = sizeof(digits);

	do {
		digits[--at] = (char)('0' + number % base);
		number /= base;
	} while (number);
	put_bytes(w, digits + at, sizeof(digits) - at);
}

static void put_decimal(struct contents_writer *w, uint64_t number)
{
	put_number(w, number, 10); /* a constant: divided by multiplying */
}

static void put_octal(struct contents_writer *w, uint64_t number)
{
	w->text[w->len++] = '0';
	put_number(w, number, 8);
}

static void put_time(struct contents_writer *w, const struct timespec *time)
{
	uint64_t seconds = (uint64_t)time->tv_sec;
	long ns = time->tv_nsec;

	assert(ns >= 0 && ns < 1000000000);
	if (time->tv_sec < 0) {
		w->text[w->len++] = '-';
		seconds = -seconds;
	}
	put_decimal(w, seconds);
	w->text[w->len++] = '.';
	for (size_t i = CONTENTS_TIME_DIGITS; i-- > 0; ns /= 10)
		w->text[w->len + i] = (char)('0' + ns % 10);
	w->len += CONTENTS_TIME_DIGITS;
}

static void put_hex(struct contents_writer *w, const uint8_t *bytes, size_t len)
{
	static const char digits[] = "0123456789abcdef";
	char *to = w->text + w->len;

	for (size_t i = 0; i < len; i++) {
		*to++ = digits[bytes[i] >> 4];
		*to++ = digits[bytes[i] & 15];
	}
	w->len += 2 * len;
}

/* Those that some mtree takes for something else. */
static bool is_plain(unsigned char c)
{
	static const bool special[256] = {
		['#'] = true, ['*'] = true, ['='] = true, ['?'] = true, ['['] = true, ['\\'] = true,
	};

	return c > ' ' && c <= '~' && !special[c];
}

/* Makes its own room, as put_base64 does: text may be longer than all the room there is. */
static void put_name(struct contents_writer *w, const char *name, size_t len)
{
	while (len) {
		size_t piece = len < NAME_PIECE ? len : NAME_PIECE;
		char *to;

		make_room(w, 4 * piece);
		to = w->text + w->len;
		for (const char *end = name + piece; name < end; name++) {
			unsigned char c = (unsigned char)*name;

			if (is_plain(c)) {
				*to++ = (char)c;
				continue;
			}
			*to++ = '\\';
			*to++ = (char)('0' + (c >> 6));
			*to++ = (char)('0' + (c >> 3 & 7));
			*to++ = (char)('0' + (c & 7));
		}
		w->len = (size_t)(to - w->text);
		len -= piece;
	}
}

static void put_base64(struct contents_writer *w, const uint8_t *bytes, size_t len)
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	size_t at = 0;

	while (at < len) {
		size_t end = len - at < BASE64_PIECE ? len : at + BASE64_PIECE;
		char *to;

		make_room(w, BASE64_PIECE / 3 * 4);
		to = w->text + w->len;
		for (; at < end; at += 3) {
			uint32_t b = at + 1 < len ? bytes[at + 1] : 0;
			uint32_t c = at + 2 < len ? bytes[at + 2] : 0;
			uint32_t three = (uint32_t)bytes[at] << 16 | b << 8 | c;

			*to++ = digits[three >> 18];
			*to++ = digits[three >> 12 & 63];
			*to++ = at + 1 < len ? digits[three >> 6 & 63] : '=';
			*to++ = at + 2 < len ? digits[three & 63] : '=';
		}
		w->len = (size_t)(to - w->text);
	}
}

static void put_path(struct contents_writer *w, const char *path, size_t len)
{
	make_room(w, FIXED_MAX);
	w->text[w->len++] = '.';
	if (len)
		w->text[w->len++] = '/';
	put_name(w, path, len);
}

/* ---- entries ---- */

bool contents_path_valid(const char *path)
{
	const char *at = path;

	if (!*path)
		return true;
	for (;;) {
		if (*at == '/' || !*at)
			return false;
		if (at[0] == '.' && (at[1] == '/' || !at[1]))
			return false;
		if (at[0] == '.' && at[1] == '.' && (at[2] == '/' || !at[2]))
			return false;
		at = strchrnul(at, '/');
		if (!*at++)
			return true;
	}
}

static int check_path(const char *path, struct err *err)
{
	struct tree_text text;

	if (contents_path_valid(path))
		return 0;
	return fail(err, -EINVAL, "contents.zst: \"%s\" is not a path in a tree",
		    tree_printable(path, &text));
}

/* Whether it can be written, and read again. */
static int check_entry(const struct contents_entry *e, size_t path_len, size_t link_len,
		       struct err *err)
{
	size_t len = FIXED_MAX + 4 * path_len + 4 * link_len;
	struct tree_text text;
	int r = check_path(e->path, err);

	assert(e->type <= CONTENTS_HARDLINK);
	if (r == 0 && e->type == CONTENTS_HARDLINK && e->link)
		r = check_path(e->link, err);
	if (r < 0)
		return r;
	if ((e->type == CONTENTS_LINK || e->type == CONTENTS_HARDLINK) && !link_len)
		return fail(err, -EINVAL, "contents.zst: %s is a link without a target",
			    tree_printable(e->path, &text));
	if (e->type == CONTENTS_FILE && e->size < 0)
		return fail(err, -EINVAL, "contents.zst: %s has a negative size",
			    tree_printable(e->path, &text));
	if (e->xattr_count > CONTENTS_XATTRS_MAX)
		return fail(err, -EFBIG, "contents.zst: %s has more than %d xattrs",
			    tree_printable(e->path, &text), CONTENTS_XATTRS_MAX);
	for (size_t i = 0; i < e->xattr_count && len <= CONTENTS_LINE_MAX; i++)
		len += 16 + 4 * strlen(e->xattrs[i].name) + e->xattrs[i].len / 3 * 4;
	if (len > CONTENTS_LINE_MAX)
		return fail(err, -EFBIG,
			    "contents.zst: names and xattrs of %s take more than %zu bytes",
			    tree_printable(e->path, &text), CONTENTS_LINE_MAX);
	return 0;
}

static void put_xattrs(struct contents_writer *w, const struct contents_entry *e)
{
	for (size_t i = 0; i < e->xattr_count; i++) {
		const struct tar_xattr *x = &e->xattrs[i];

		make_room(w, FIXED_MAX);
		put_literal(w, " xattr.");
		put_name(w, x->name, strlen(x->name));
		make_room(w, FIXED_MAX);
		put_literal(w, "=");
		put_base64(w, x->value, x->len);
	}
	make_room(w, FIXED_MAX);
}

static void put_common(struct contents_writer *w, const struct contents_entry *e)
{
	const char *type = contents_type_words[e->type];

	put_literal(w, " type=");
	put_bytes(w, type, strlen(type));
	put_literal(w, " mode=");
	put_octal(w, e->mode & 07777);
	put_literal(w, " uid=");
	put_decimal(w, e->uid);
	put_literal(w, " gid=");
	put_decimal(w, e->gid);
	put_literal(w, " time=");
	put_time(w, &e->mtime);
	if (e->type == CONTENTS_FILE) {
		put_literal(w, " size=");
		put_decimal(w, (uint64_t)e->size);
		if (e->sha256) {
			put_literal(w, " sha256digest=");
			put_hex(w, e->sha256, CONTENTS_SHA256_LEN);
		}
	}
	if (e->type == CONTENTS_CHAR || e->type == CONTENTS_BLOCK) {
		put_literal(w, " device=linux,");
		put_decimal(w, e->dev_major);
		put_literal(w, ",");
		put_decimal(w, e->dev_minor);
	}
	if (e->type == CONTENTS_DIR && e->opaque)
		put_literal(w, " opaque");
}

int contents_add(struct contents_writer *w, const struct contents_entry *e, struct err *err)
{
	size_t path_len = strlen(e->path), link_len = e->link ? strlen(e->link) : 0;
	int r;

	if (w->status)
		return failed_before(w, err);
	r = check_entry(e, path_len, link_len, err);
	if (r < 0)
		return r;
	w->err = err;
	put_path(w, e->path, path_len);
	make_room(w, FIXED_MAX);
	if (e->type == CONTENTS_HARDLINK) {
		put_literal(w, " hardlink=");
		put_path(w, e->link, link_len);
		make_room(w, FIXED_MAX);
	} else {
		put_common(w, e);
		if (e->type == CONTENTS_LINK) {
			put_literal(w, " link=");
			put_name(w, e->link, link_len);
		}
		put_xattrs(w, e);
	}
	put_literal(w, "\n");
	w->entries++;
	return w->status;
}

int contents_removed(struct contents_writer *w, const char *path, struct err *err)
{
	int r = check_path(path, err);

	if (w->status)
		return failed_before(w, err);
	if (r == 0 && !*path)
		r = fail(err, -EINVAL, "contents.zst: the root cannot be removed");
	if (r < 0)
		return r;
	w->err = err;
	make_room(w, FIXED_MAX);
	put_literal(w, CONTENTS_REMOVAL);
	put_path(w, path, strlen(path));
	make_room(w, FIXED_MAX);
	put_literal(w, "\n");
	return w->status;
}

/* ---- begin and end ---- */

int contents_writer_new(int fd, struct contents_writer **ret, struct err *err)
{
	auto_contents_writer struct contents_writer *w = NULL;
	int r = dl_load(&zstd_library, err);

	if (r < 0)
		return r;
	w = malloc(sizeof(*w));
	if (!w)
		return fail_oom(err);
	w->fd = fd;
	w->err = NULL;
	w->status = 0;
	w->entries = 0;
	w->len = 0;
	w->zstd = zstd.new();
	if (!w->zstd)
		return fail_oom(err);
	(void)zstd.set(w->zstd, ZSTD_c_compressionLevel, 1);
	(void)zstd.set(w->zstd, ZSTD_c_checksumFlag, 1);
	(void)zstd.set(w->zstd, ZSTD_c_windowLog, WINDOW_LOG);
	put_literal(w, CONTENTS_LINE_1 "\n" CONTENTS_LINE_2 "\n");
	*ret = take_ptr(w);
	return 0;
}

void contents_writer_freep(struct contents_writer **w)
{
	int saved = errno;

	if (*w) {
		(void)zstd.free((*w)->zstd);
		free(*w);
		*w = NULL;
	}
	errno = saved;
}

int contents_finish(struct contents_writer *w, struct err *err)
{
	if (w->status)
		return failed_before(w, err);
	w->err = err;
	make_room(w, FIXED_MAX);
	put_literal(w, CONTENTS_END);
	put_decimal(w, w->entries);
	put_literal(w, "\n");
	flush(w, ZSTD_e_end);
	return w->status;
}
