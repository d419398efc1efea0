/* SPDX-License-Identifier: Apache-2.0 */
/*
 * inflate: the first byte of the input says of what kind the rest is and in what pieces it is put
 * through. What comes out must not depend on the pieces, and of gzip it must be what zlib makes of it.
 */
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "driver/base/buf.h"
#include "driver/inflate.h"
#include "tests/fuzz/fuzz.h"

#define OUT_MAX ((size_t)256 << 10) /* enough: no one puts bombs together with pieces of one byte */

#define TOO_MUCH (-EFBIG)

static const size_t steps[8] = { 1, 2, 3, 7, 18, 64, 511, 65536 };
static const size_t caps[8] = { 1, 5, 64, 258, 4096, 32768, 65536, 131072 };

/* In the two lowest bits of the first byte. */
enum what { GZIP, ZSTD, PLAIN, DEFLATE /* put into a gzip member that is right */ };

struct outcome {
	int r; /* 0, -EBADMSG, or TOO_MUCH */
	struct buf out;
	struct err err;
};

static void outcome_release(struct outcome *o)
{
	buf_release(&o->out);
}

/* One piece, until all of it is used and nothing more comes out. */
static int run_piece(struct inflate *inf, const uint8_t *piece, size_t len, uint8_t *made_at,
		     size_t cap, struct outcome *o)
{
	size_t at = 0, used, made;
	int r;

	do {
		used = made = 0;
		r = inflate_run(inf, piece + at, len - at, &used, made_at, cap, &made, &o->err);
		if (r < 0)
			return r;
		fuzz_require(used <= len - at && made <= cap);
		fuzz_require(used || made || at == len, "it stands still");
		at += used;
		(void)buf_append(&o->out, made_at, made);
		if (o->out.status || o->out.len > OUT_MAX)
			return TOO_MUCH;
	} while (at < len || made == cap);
	return 0;
}

static void run(enum inflate_kind kind, const struct buf *in, size_t step, size_t cap,
		struct outcome *o)
{
	auto_inflate struct inflate *inf = NULL;
	auto_free uint8_t *made_at = malloc(cap);
	size_t len;

	fuzz_require(made_at && inflate_new(kind, &inf, &o->err) == 0, o->err.text);
	for (size_t at = 0; at < in->len && o->r == 0; at += len) {
		auto_free uint8_t *piece = NULL;

		len = in->len - at < step ? in->len - at : step;
		piece = malloc(len);
		fuzz_require(piece);
		memcpy(piece, in->data + at, len);
		o->r = run_piece(inf, piece, len, made_at, cap, o);
	}
	if (o->r == 0)
		o->r = inflate_end(inf, &o->err);
	fuzz_require(o->r == 0 || o->r == TOO_MUCH || (o->r == -EBADMSG && o->err.text[0]));
}

static void require_same(const struct outcome *a, const struct outcome *b)
{
	if (a->r == TOO_MUCH || b->r == TOO_MUCH)
		return;
	fuzz_require(a->r == b->r, a->r < 0 ? a->err.text : b->err.text);
	if (a->r < 0)
		return;
	fuzz_require(a->out.len == b->out.len);
	fuzz_require(memcmp(buf_text(&a->out), buf_text(&b->out), a->out.len) == 0);
}

/* ---- zlib ---- */

/* One member or body; *at goes to its end. */
static int zlib_one(z_stream *z, const struct buf *in, size_t *at, struct outcome *o)
{
	static uint8_t out[65536];
	int r;

	z->next_in = (uint8_t *)in->data + *at;
	z->avail_in = (uInt)(in->len - *at);
	do {
		z->next_out = out;
		z->avail_out = sizeof(out);
		r = inflate(z, Z_NO_FLUSH);
		(void)buf_append(&o->out, out, sizeof(out) - z->avail_out);
		if (o->out.len > OUT_MAX)
			return TOO_MUCH;
	} while (r == Z_OK);
	*at = in->len - z->avail_in;
	if (r == Z_STREAM_END)
		return 0;
	return fail(&o->err, -EBADMSG, "%s", z->msg ? z->msg : "cut");
}

/* Members in a row, and zeros at the end. */
static void zlib_gzip(const struct buf *in, struct outcome *o)
{
	z_stream z = { 0 };
	size_t at = 0;

	fuzz_require(inflateInit2(&z, 15 + 16) == Z_OK);
	do {
		o->r = inflateReset(&z) == Z_OK ? zlib_one(&z, in, &at, o) : -ENOMEM;
	} while (o->r == 0 && at < in->len && in->data[at]);
	for (; o->r == 0 && at < in->len; at++) {
		if (in->data[at])
			o->r = fail(&o->err, -EBADMSG, "foreign bytes");
	}
	(void)inflateEnd(&z);
}

/*
 * What zlib refuses and we need not: the checksum of a header, which we don't look at, and codes that are
 * incomplete or never used, which ISA-L takes where nothing depends on them.
 */
static bool zlib_is_stricter(const struct outcome *zlib)
{
	static const char *const words[] = {
		"header crc mismatch",	 "invalid code lengths set",
		"invalid distances set", "invalid literal/lengths set",
		"missing end-of-block",	 "too many length or distance symbols",
	};

	for (size_t i = 0; i < ARRAY_LEN(words); i++) {
		if (strstr(zlib->err.text, words[i]))
			return true;
	}
	return false;
}

/* ---- kinds ---- */

static void fuzz_gzip(const struct buf *in, size_t step, size_t cap)
{
	AUTO(outcome_release) struct outcome ours = { 0 }, zlib = { 0 };

	run(INFLATE_GZIP, in, step, cap, &ours);
	if (!in->len)
		return;
	zlib_gzip(in, &zlib);
	if (!zlib_is_stricter(&zlib))
		require_same(&ours, &zlib);
}

static void fuzz_deflate(const struct buf *body, size_t step, size_t cap)
{
	static const char header[10] = { 0x1f, (char)0x8b, 8, 0, 0, 0, 0, 0, 0, 3 };
	AUTO(outcome_release) struct outcome ours = { 0 }, zlib = { 0 };
	auto_buf struct buf member = { 0 };
	z_stream z = { 0 };
	uint32_t trailer[2];
	size_t used = 0;

	fuzz_require(inflateInit2(&z, -15) == Z_OK);
	zlib.r = zlib_one(&z, body, &used, &zlib);
	(void)inflateEnd(&z);
	if (zlib.r == TOO_MUCH)
		return;
	trailer[0] = (uint32_t)crc32(0, (const uint8_t *)buf_text(&zlib.out), (uInt)zlib.out.len);
	trailer[1] = (uint32_t)zlib.out.len;
	(void)buf_append(&member, header, sizeof(header));
	(void)buf_append(&member, body->data, zlib.r == 0 ? used : body->len);
	(void)buf_append(&member, trailer, sizeof(trailer));
	run(INFLATE_GZIP, &member, step, cap, &ours);
	if (zlib_is_stricter(&zlib))
		return;
	require_same(&ours, &zlib);
	/* A body that zlib refuses must be refused for itself, not for what stands after it. */
	fuzz_require(zlib.r == 0 || strcmp(zlib.err.text, "cut") == 0 ||
			     !strstr(ours.err.text, "checksum"),
		     zlib.err.text);
}

static void fuzz_pieces(enum inflate_kind kind, const struct buf *in, size_t step, size_t cap)
{
	AUTO(outcome_release) struct outcome pieces = { 0 }, whole = { 0 };

	run(kind, in, step, cap, &pieces);
	run(kind, in, in->len ? in->len : 1, 65536, &whole);
	/* libzstd takes some odd frames, such as one with an empty run, whole but not in pieces. */
	if (kind == INFLATE_ZSTD && (pieces.r < 0 || whole.r < 0))
		return;
	require_same(&pieces, &whole);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	auto_buf struct buf in = { 0 };
	size_t step, cap;

	if (size < 2)
		return 0;
	step = steps[data[0] >> 2 & 7];
	cap = caps[data[0] >> 5 & 7];
	(void)buf_append(&in, data + 1, size - 1);
	(void)inflate_detect(in.data, in.len);
	switch ((enum what)(data[0] & 3)) {
	case GZIP:
		fuzz_pieces(INFLATE_GZIP, &in, step, cap);
		fuzz_gzip(&in, step, cap);
		break;
	case ZSTD:
		fuzz_pieces(INFLATE_ZSTD, &in, step, cap);
		break;
	case PLAIN:
		fuzz_pieces(INFLATE_PLAIN, &in, step, cap);
		break;
	case DEFLATE:
		fuzz_deflate(&in, step, cap);
		break;
	}
	return 0;
}
