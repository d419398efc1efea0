/* SPDX-License-Identifier: Apache-2.0 */
#include "driver/inflate.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <cmocka.h>

#include "driver/base/buf.h"
#include "tests/unit/util.h"

#define LARGE ((size_t)3 << 20)

/* Puts `in` through in pieces of `step` bytes, with room for `cap` at a time. 0 or the first failure, that
 * of the end included. */
static int run(enum inflate_kind kind, const struct buf *in, size_t step, size_t cap,
	       struct buf *out, struct err *err)
{
	auto_inflate struct inflate *inf = NULL;
	auto_free char *made_at = malloc(cap);
	size_t at = 0, len, used, made;
	int r = inflate_new(kind, &inf, err);

	out->max = (size_t)1 << 30;
	while (r == 0 && at < in->len) {
		len = in->len - at < step ? in->len - at : step;
		do {
			used = made = 0;
			r = inflate_run(inf, in->data + at, len, &used, made_at, cap, &made, err);
			if (r < 0)
				return r;
			assert_true(used <= len && made <= cap);
			assert_int_equal(buf_append(out, made_at, made), 0);
			at += used;
			len -= used;
		} while (len || made == cap);
	}
	return r < 0 ? r : inflate_end(inf, err);
}

static const size_t steps[] = { 1, 2, 7, 511, 65536, LARGE };

/* Whatever the pieces, `in` becomes exactly `expected`. */
static void assert_inflates(enum inflate_kind kind, const struct buf *in, const void *expected,
			    size_t len)
{
	for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
		/* Small outputs with small inputs take minutes. */
		const size_t caps[] = { len > 100000 ? 4099 : 1, 65536, LARGE };

		for (size_t j = 0; j < ARRAY_LEN(caps); j++) {
			auto_buf struct buf out = { 0 };
			struct err err = { 0 };

			if (run(kind, in, steps[i], caps[j], &out, &err) < 0)
				fail_msg("step %zu, cap %zu: %s", steps[i], caps[j], err.text);
			assert_int_equal(out.len, len);
			assert_memory_equal(buf_text(&out), expected, len);
		}
	}
}

static void assert_fails(enum inflate_kind kind, const struct buf *in, const char *words)
{
	for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
		auto_buf struct buf out = { 0 };
		struct err err = { 0 };

		assert_int_equal(run(kind, in, steps[i], 65536, &out, &err), -EBADMSG);
		assert_words(&err, words);
	}
}

static char *noise(size_t len)
{
	char *data = malloc(len);

	assert_non_null(data);
	fill_noise(data, len, 7);
	return data;
}

static void kinds_are_told_by_their_first_bytes(void **state)
{
	static const struct {
		const char *head;
		size_t len;
		enum inflate_kind kind;
	} heads[] = {
		{ "\x1f\x8b\x08\0\0\0", 6, INFLATE_GZIP },
		{ "\x1f\x8b\x08", 3, INFLATE_GZIP },
		{ "\x1f\x8b", 2, INFLATE_PLAIN },
		{ "\x28\xb5\x2f\xfd\x04\0", 6, INFLATE_ZSTD },
		{ "\x50\x2a\x4d\x18\0\0", 6, INFLATE_ZSTD },
		{ "\x5f\x2a\x4d\x18\0\0", 6, INFLATE_ZSTD },
		{ "\x60\x2a\x4d\x18\0\0", 6, INFLATE_PLAIN },
		{ "\xfd"
		  "7zXZ\0",
		  6, INFLATE_XZ },
		{ "BZh91A", 6, INFLATE_BZIP2 },
		{ "BZhaha", 6, INFLATE_PLAIN },
		{ "./\0\0\0\0", 6, INFLATE_PLAIN },
		{ "", 0, INFLATE_PLAIN },
	};

	for (size_t i = 0; i < ARRAY_LEN(heads); i++)
		assert_int_equal(inflate_detect(heads[i].head, heads[i].len), heads[i].kind);
}

static void xz_and_bzip2_are_refused_by_name(void **state)
{
	struct inflate *inf = NULL;
	struct err err = { 0 };

	assert_int_equal(inflate_new(INFLATE_XZ, &inf, &err), -EOPNOTSUPP);
	assert_words(&err, "xz");
	assert_int_equal(inflate_new(INFLATE_BZIP2, &inf, &err), -EOPNOTSUPP);
	assert_words(&err, "bzip2");
	assert_null(inf);
}

static void plain_bytes_pass(void **state)
{
	auto_buf struct buf in = { 0 };

	assert_int_equal(buf_append(&in, "just\0bytes", 10), 0);
	assert_inflates(INFLATE_PLAIN, &in, "just\0bytes", 10);
}

static void what_gzip_packed_comes_out(void **state)
{
	auto_free char *data = noise(LARGE);
	auto_buf struct buf in = { 0 };

	gzip_put(&in, data, LARGE);
	assert_true(in.len < LARGE);
	assert_inflates(INFLATE_GZIP, &in, data, LARGE);
}

static void an_empty_member_is_nothing(void **state)
{
	auto_buf struct buf in = { 0 };

	gzip_put(&in, "", 0);
	assert_inflates(INFLATE_GZIP, &in, "", 0);
}

static void header_fields_are_skipped_wherever_the_input_is_cut(void **state)
{
	for (unsigned int flags = 0; flags < 32; flags++) {
		auto_buf struct buf in = { 0 };

		gzip_put_member(&in, "layer", 5, flags & ~1U);
		assert_inflates(INFLATE_GZIP, &in, "layer", 5);
	}
}

static void members_in_a_row_are_one_stream(void **state)
{
	auto_free char *data = noise(200000);
	auto_buf struct buf in = { 0 };

	gzip_put(&in, data, 70000);
	gzip_put_member(&in, data + 70000, 66000, 2 | 8);
	gzip_put(&in, "", 0);
	gzip_put(&in, data + 136000, 64000);
	assert_inflates(INFLATE_GZIP, &in, data, 200000);
}

static void zeros_after_the_last_member_are_padding(void **state)
{
	auto_buf struct buf in = { 0 };

	gzip_put_member(&in, "layer", 5, 0);
	assert_int_equal(buf_append(&in, "\0\0\0\0\0\0\0\0", 8), 0);
	assert_inflates(INFLATE_GZIP, &in, "layer", 5);
}

static void other_bytes_after_the_last_member_are_an_error(void **state)
{
	static const char *const tails[] = { "x", "\x1f", "\x1f\x8b\x09", "\x1f\x8b\x08\xe0" };
	static const char *const words[] = { "foreign bytes", "ends in the middle", "wrong bytes",
					     "unknown flags" };

	for (size_t i = 0; i < ARRAY_LEN(tails); i++) {
		auto_buf struct buf in = { 0 };

		gzip_put_member(&in, "layer", 5, 0);
		assert_int_equal(buf_puts(&in, tails[i]), 0);
		assert_fails(INFLATE_GZIP, &in, words[i]);
	}
}

static void a_member_after_padding_is_an_error(void **state)
{
	auto_buf struct buf in = { 0 };

	gzip_put_member(&in, "layer", 5, 0);
	assert_int_equal(buf_append(&in, "\0", 1), 0);
	gzip_put_member(&in, "layer", 5, 0);
	assert_fails(INFLATE_GZIP, &in, "foreign bytes");
}

static void every_cut_of_a_gzip_stream_is_seen(void **state)
{
	auto_buf struct buf whole = { 0 };

	gzip_put_member(&whole, "layers of an image", 18, 2 | 4 | 8 | 16);
	for (size_t len = 0; len < whole.len; len++) {
		auto_buf struct buf in = { 0 }, out = { 0 };
		struct err err = { 0 };

		assert_int_equal(buf_append(&in, whole.data, len), 0);
		assert_int_equal(run(INFLATE_GZIP, &in, 64, 64, &out, &err), -EBADMSG);
		assert_words(&err, "gzip: the stream ends in the middle");
	}
}

static void wrong_checksums_and_lengths_are_seen(void **state)
{
	for (size_t from_end = 1; from_end <= 8; from_end++) {
		auto_buf struct buf in = { 0 };

		gzip_put(&in, "layers of an image", 18);
		in.data[in.len - from_end] ^= 1;
		assert_fails(INFLATE_GZIP, &in, "checksum or length");
	}
}

static void damaged_data_is_seen(void **state)
{
	auto_buf struct buf in = { 0 };

	gzip_put_member(&in, "layers", 6, 0);
	in.data[10] = 7; /* a block of the type that is none */
	assert_fails(INFLATE_GZIP, &in, "damaged");
}

static void zstd_frames_and_skippable_frames_are_one_stream(void **state)
{
	auto_free char *data = noise(LARGE);
	auto_buf struct buf in = { 0 };

	zstd_put_skippable(&in, "table of contents", 17);
	zstd_put(&in, data, LARGE / 2);
	zstd_put(&in, "", 0);
	zstd_put_skippable(&in, "", 0);
	zstd_put(&in, data + LARGE / 2, LARGE / 2);
	zstd_put_skippable(&in, data, 100000);
	assert_int_equal(inflate_detect(in.data, in.len), INFLATE_ZSTD);
	assert_inflates(INFLATE_ZSTD, &in, data, LARGE);
}

static void every_cut_of_a_zstd_stream_is_seen(void **state)
{
	auto_buf struct buf whole = { 0 };

	zstd_put(&whole, "layers of an image", 18);
	for (size_t len = 0; len < whole.len; len++) {
		auto_buf struct buf in = { 0 }, out = { 0 };
		struct err err = { 0 };

		assert_int_equal(buf_append(&in, whole.data, len), 0);
		assert_int_equal(run(INFLATE_ZSTD, &in, 64, 64, &out, &err), -EBADMSG);
		assert_words(&err, "zstd: the stream ends in the middle");
	}
}

static void damaged_zstd_is_seen(void **state)
{
	auto_buf struct buf in = { 0 }, tail = { 0 };

	zstd_put(&in, "layers", 6);
	in.data[4] ^= 0x08; /* the reserved bit of the frame's header */
	assert_fails(INFLATE_ZSTD, &in, "zstd: ");
	zstd_put(&tail, "layers", 6);
	assert_int_equal(buf_puts(&tail, "garbage"), 0);
	assert_fails(INFLATE_ZSTD, &tail, "zstd: ");
}

static void a_zstd_window_over_the_limit_is_refused(void **state)
{
	/* magic, no flags, a window of 2^(10 + n), one raw last block of one byte */
	unsigned char frame[] = { 0x28, 0xb5, 0x2f, 0xfd, 0, 17 << 3, 0x09, 0, 0, 'x' };
	auto_buf struct buf in = { 0 }, large = { 0 }, out = { 0 };

	assert_int_equal(buf_append(&in, frame, sizeof(frame)), 0);
	assert_int_equal(run(INFLATE_ZSTD, &in, 4096, 4096, &out, NULL), 0);
	assert_string_equal(buf_text(&out), "x");
	frame[5] = 18 << 3;
	assert_int_equal(buf_append(&large, frame, sizeof(frame)), 0);
	assert_fails(INFLATE_ZSTD, &large, "window");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(kinds_are_told_by_their_first_bytes),
		cmocka_unit_test(xz_and_bzip2_are_refused_by_name),
		cmocka_unit_test(plain_bytes_pass),
		cmocka_unit_test(what_gzip_packed_comes_out),
		cmocka_unit_test(an_empty_member_is_nothing),
		cmocka_unit_test(header_fields_are_skipped_wherever_the_input_is_cut),
		cmocka_unit_test(members_in_a_row_are_one_stream),
		cmocka_unit_test(zeros_after_the_last_member_are_padding),
		cmocka_unit_test(other_bytes_after_the_last_member_are_an_error),
		cmocka_unit_test(a_member_after_padding_is_an_error),
		cmocka_unit_test(every_cut_of_a_gzip_stream_is_seen),
		cmocka_unit_test(wrong_checksums_and_lengths_are_seen),
		cmocka_unit_test(damaged_data_is_seen),
		cmocka_unit_test(zstd_frames_and_skippable_frames_are_one_stream),
		cmocka_unit_test(every_cut_of_a_zstd_stream_is_seen),
		cmocka_unit_test(damaged_zstd_is_seen),
		cmocka_unit_test(a_zstd_window_over_the_limit_is_refused),
	};

	return cmocka_run_group_tests_name("inflate", tests, NULL, NULL);
}
