/* SPDX-License-Identifier: Apache-2.0 */
#include "driver/inflate.h"

#include <isa-l/igzip_lib.h>
#include <stdint.h>
#include <string.h>
#include <zstd.h>
#include <zstd_errors.h>

#include "driver/base/dl.h"

static struct {
	__typeof__(isal_inflate_init) *init;
	__typeof__(isal_inflate_reset) *reset;
	__typeof__(isal_inflate) *run;
} isal;

static const struct dl_symbol isal_symbols[] = {
	{ "isal_inflate_init", &isal.init },
	{ "isal_inflate_reset", &isal.reset },
	{ "isal_inflate", &isal.run },
};

static struct dl_library isal_library = {
	.soname = "libisal.so.2",
	.package = "libisal2",
	.symbols = isal_symbols,
	.symbol_count = ARRAY_LEN(isal_symbols),
	.lock = PTHREAD_MUTEX_INITIALIZER,
};

static struct {
	__typeof__(ZSTD_createDStream) *new;
	__typeof__(ZSTD_freeDStream) *free;
	__typeof__(ZSTD_DCtx_setParameter) *set;
	__typeof__(ZSTD_decompressStream) *run;
	__typeof__(ZSTD_isError) *is_error;
	__typeof__(ZSTD_getErrorCode) *error_code;
	__typeof__(ZSTD_getErrorName) *error_name;
} zstd;

static const struct dl_symbol zstd_symbols[] = {
	{ "ZSTD_createDStream", &zstd.new },	   { "ZSTD_freeDStream", &zstd.free },
	{ "ZSTD_DCtx_setParameter", &zstd.set },   { "ZSTD_decompressStream", &zstd.run },
	{ "ZSTD_isError", &zstd.is_error },	   { "ZSTD_getErrorCode", &zstd.error_code },
	{ "ZSTD_getErrorName", &zstd.error_name },
};

static struct dl_library zstd_library = {
	.soname = "libzstd.so.1",
	.package = "libzstd1",
	.symbols = zstd_symbols,
	.symbol_count = ARRAY_LEN(zstd_symbols),
	.lock = PTHREAD_MUTEX_INITIALIZER,
};

/* ---- gzip ---- */

#define GZIP_FIXED_LEN	  10
#define GZIP_FLAG_HCRC	  0x02
#define GZIP_FLAG_EXTRA	  0x04
#define GZIP_FLAG_NAME	  0x08
#define GZIP_FLAG_COMMENT 0x10
#define GZIP_FLAGS_KNOWN  0x1f

static const unsigned char gzip_magic[] = { 0x1f, 0x8b, 0x08 };

/* The parts of a member in their order, and what may follow the last member. */
enum gzip_part {
	GZIP_FIXED,
	GZIP_EXTRA_LEN,
	GZIP_EXTRA,
	GZIP_NAME,
	GZIP_COMMENT,
	GZIP_HCRC,
	GZIP_BODY, /* and the trailer: ISA-L reads and verifies it */
	GZIP_BETWEEN,
	GZIP_PADDING,
};

/* ISA-L's own reader of headers loses its place where a header is cut by the end of the input. */
struct gzip {
	enum gzip_part part;
	unsigned int flags;
	size_t at;	  /* bytes of this part so far */
	size_t extra_len; /* of GZIP_EXTRA */
	struct inflate_state state;
};

struct inflate {
	enum inflate_kind kind;
	struct gzip *gzip;
	ZSTD_DStream *zstd;
	bool at_end; /* zstd: a frame is complete, and all of it has come out */
};

static void gzip_part_begins(struct gzip *gz, enum gzip_part part)
{
	static const unsigned int flag_of[] = {
		[GZIP_EXTRA_LEN] = GZIP_FLAG_EXTRA, [GZIP_EXTRA] = GZIP_FLAG_EXTRA,
		[GZIP_NAME] = GZIP_FLAG_NAME,	    [GZIP_COMMENT] = GZIP_FLAG_COMMENT,
		[GZIP_HCRC] = GZIP_FLAG_HCRC,
	};

	while (part > GZIP_FIXED && part < GZIP_BODY &&
	       (!(gz->flags & flag_of[part]) || (part == GZIP_EXTRA && !gz->extra_len)))
		part++;
	gz->part = part;
	gz->at = 0;
	if (part != GZIP_BODY)
		return;
	isal.reset(&gz->state);
	gz->state.crc_flag = ISAL_GZIP_NO_HDR_VER;
}

static int gzip_fixed_byte(struct gzip *gz, unsigned char byte, struct err *err)
{
	if (gz->at < sizeof(gzip_magic) && byte != gzip_magic[gz->at])
		return fail(err, -EBADMSG, "gzip: a member begins with the wrong bytes");
	if (gz->at == sizeof(gzip_magic)) {
		if (byte & ~GZIP_FLAGS_KNOWN)
			return fail(err, -EBADMSG, "gzip: unknown flags in a header (0x%02x)",
				    byte);
		gz->flags = byte;
	}
	if (++gz->at == GZIP_FIXED_LEN) {
		gz->extra_len = 0;
		gzip_part_begins(gz, GZIP_EXTRA_LEN);
	}
	return 0;
}

/* Two bytes, then the next part. */
static void gzip_pair_byte(struct gzip *gz, unsigned char byte)
{
	if (gz->part == GZIP_EXTRA_LEN)
		gz->extra_len |= (size_t)byte << (8 * gz->at);
	if (++gz->at == 2)
		gzip_part_begins(gz, gz->part + 1);
}

/* One byte that is not of a member's body. */
static int gzip_byte(struct gzip *gz, unsigned char byte, struct err *err)
{
	switch (gz->part) {
	case GZIP_BETWEEN:
	case GZIP_PADDING:
		if (byte == 0) {
			gz->part = GZIP_PADDING;
			return 0;
		}
		if (gz->part == GZIP_PADDING || byte != gzip_magic[0])
			return fail(err, -EBADMSG, "gzip: foreign bytes after the last member");
		gzip_part_begins(gz, GZIP_FIXED);
		return gzip_fixed_byte(gz, byte, err);
	case GZIP_FIXED:
		return gzip_fixed_byte(gz, byte, err);
	case GZIP_EXTRA:
		if (++gz->at == gz->extra_len)
			gzip_part_begins(gz, GZIP_NAME);
		return 0;
	case GZIP_NAME:
	case GZIP_COMMENT:
		if (byte == 0)
			gzip_part_begins(gz, gz->part + 1);
		return 0;
	default:
		gzip_pair_byte(gz, byte);
		return 0;
	}
}

static int gzip_body_failed(int code, struct err *err)
{
	if (code == ISAL_INCORRECT_CHECKSUM)
		return fail(err, -EBADMSG,
			    "gzip: the checksum or length of a member does not match");
	return fail(err, -EBADMSG, "gzip: the compressed data is damaged");
}

static uint32_t at_most_u32(size_t len)
{
	return len < UINT32_MAX ? (uint32_t)len : UINT32_MAX;
}

static int gzip_run(struct gzip *gz, const unsigned char *in, size_t in_len, size_t *used,
		    unsigned char *out, size_t out_cap, size_t *made, struct err *err)
{
	struct inflate_state *state = &gz->state;
	bool body_waits = false;
	int r;

	do {
		while (gz->part != GZIP_BODY && *used < in_len) {
			r = gzip_byte(gz, in[(*used)++], err);
			if (r < 0)
				return r;
		}
		if (gz->part != GZIP_BODY)
			return 0;
		state->next_in = (uint8_t *)in + *used; /* only read */
		state->avail_in = at_most_u32(in_len - *used);
		state->next_out = out + *made;
		state->avail_out = at_most_u32(out_cap - *made);
		r = isal.run(state);
		*used = (size_t)(state->next_in - in);
		*made = (size_t)(state->next_out - out);
		if (r < 0)
			return gzip_body_failed(r, err);
		body_waits = state->block_state != ISAL_BLOCK_FINISH;
		if (!body_waits)
			gzip_part_begins(gz, GZIP_BETWEEN);
	} while (!body_waits && *made < out_cap);
	return 0;
}

/* ---- zstd ---- */

static int zstd_failed(size_t code, struct err *err)
{
	if (zstd.error_code(code) == ZSTD_error_frameParameter_windowTooLarge)
		return fail(err, -EBADMSG, "zstd: it wants a window of over %d MiB of memory",
			    1 << (INFLATE_ZSTD_WINDOW_LOG_MAX - 20));
	if (zstd.error_code(code) == ZSTD_error_memory_allocation)
		return fail_oom(err);
	return fail(err, -EBADMSG, "zstd: %s", zstd.error_name(code));
}

static int zstd_run(struct inflate *inf, const void *in, size_t in_len, size_t *used, void *out,
		    size_t out_cap, size_t *made, struct err *err)
{
	ZSTD_inBuffer from = { .src = in, .size = in_len };
	ZSTD_outBuffer to = { .dst = out, .size = out_cap };

	/* Asked for more after the end of a frame, it would begin to wait for another. */
	while (to.pos < to.size && (from.pos < from.size || !inf->at_end)) {
		size_t before = to.pos + from.pos;
		size_t r = zstd.run(inf->zstd, &to, &from);

		if (zstd.is_error(r))
			return zstd_failed(r, err);
		inf->at_end = r == 0;
		if (to.pos + from.pos == before)
			break;
	}
	*used = from.pos;
	*made = to.pos;
	return 0;
}

/* ---- all ---- */

enum inflate_kind inflate_detect(const void *head, size_t len)
{
	static const struct {
		enum inflate_kind kind;
		size_t len;
		unsigned char bytes[INFLATE_DETECT_BYTES];
	} kinds[] = {
		{ INFLATE_GZIP, 3, { 0x1f, 0x8b, 0x08 } },
		{ INFLATE_ZSTD, 4, { 0x28, 0xb5, 0x2f, 0xfd } },
		{ INFLATE_XZ, 6, { 0xfd, '7', 'z', 'X', 'Z', 0 } },
	};
	const unsigned char *bytes = head;

	for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
		if (len >= kinds[i].len && !memcmp(head, kinds[i].bytes, kinds[i].len))
			return kinds[i].kind;
	}
	/* A skippable frame: 0x184D2A50 to 0x184D2A5F, little-endian. */
	if (len >= 4 && (bytes[0] & 0xf0) == 0x50 && !memcmp(bytes + 1, "\x2a\x4d\x18", 3))
		return INFLATE_ZSTD;
	/* "BZh", the level, and the first two of the six bytes of a block. */
	if (len >= 6 && !memcmp(bytes, "BZh", 3) && bytes[3] >= '1' && bytes[3] <= '9' &&
	    !memcmp(bytes + 4, "1A", 2))
		return INFLATE_BZIP2;
	return INFLATE_PLAIN;
}

const char *inflate_name(enum inflate_kind kind)
{
	static const char *const names[] = { "plain", "gzip", "zstd", "xz", "bzip2" };

	return names[kind];
}

static int gzip_new(struct inflate *inf, struct err *err)
{
	int r = dl_load(&isal_library, err);

	if (r < 0)
		return r;
	inf->gzip = calloc(1, sizeof(*inf->gzip));
	if (!inf->gzip)
		return fail_oom(err);
	isal.init(&inf->gzip->state);
	return 0;
}

static int zstd_new(struct inflate *inf, struct err *err)
{
	int r = dl_load(&zstd_library, err);

	if (r < 0)
		return r;
	inf->zstd = zstd.new();
	if (!inf->zstd ||
	    zstd.is_error(zstd.set(inf->zstd, ZSTD_d_windowLogMax, INFLATE_ZSTD_WINDOW_LOG_MAX)))
		return fail_oom(err);
	return 0;
}

int inflate_new(enum inflate_kind kind, struct inflate **ret, struct err *err)
{
	auto_inflate struct inflate *inf = NULL;
	int r = 0;

	if (kind == INFLATE_XZ || kind == INFLATE_BZIP2)
		return fail(err, -EOPNOTSUPP,
			    "it is compressed with %s: layers may be plain, gzip or zstd",
			    inflate_name(kind));
	inf = calloc(1, sizeof(*inf));
	if (!inf)
		return fail_oom(err);
	inf->kind = kind;
	if (kind == INFLATE_GZIP)
		r = gzip_new(inf, err);
	else if (kind == INFLATE_ZSTD)
		r = zstd_new(inf, err);
	if (r < 0)
		return r;
	*ret = take_ptr(inf);
	return 0;
}

void inflate_freep(struct inflate **inf)
{
	int saved = errno;

	if (*inf) {
		if ((*inf)->zstd)
			(void)zstd.free((*inf)->zstd);
		free((*inf)->gzip);
		free(*inf);
		*inf = NULL;
	}
	errno = saved;
}

static size_t plain_run(const void *in, size_t in_len, void *out, size_t out_cap)
{
	size_t len = in_len < out_cap ? in_len : out_cap;

	if (len)
		memcpy(out, in, len);
	return len;
}

int inflate_run(struct inflate *inf, const void *in, size_t in_len, size_t *ret_used, void *out,
		size_t out_cap, size_t *ret_made, struct err *err)
{
	size_t used = 0, made = 0;
	int r = 0;

	if (inf->kind == INFLATE_GZIP)
		r = gzip_run(inf->gzip, in, in_len, &used, out, out_cap, &made, err);
	else if (inf->kind == INFLATE_ZSTD)
		r = zstd_run(inf, in, in_len, &used, out, out_cap, &made, err);
	else
		used = made = plain_run(in, in_len, out, out_cap);
	if (r < 0)
		return r;
	*ret_used = used;
	*ret_made = made;
	return 0;
}

int inflate_end(struct inflate *inf, struct err *err)
{
	bool complete = true;

	if (inf->kind == INFLATE_GZIP)
		complete = inf->gzip->part >= GZIP_BETWEEN;
	else if (inf->kind == INFLATE_ZSTD)
		complete = inf->at_end;
	if (!complete)
		return fail(err, -EBADMSG, "%s: the stream ends in the middle",
			    inflate_name(inf->kind));
	return 0;
}
