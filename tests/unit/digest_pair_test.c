/* SPDX-License-Identifier: Apache-2.0 */
#include "driver/base/digest_pair.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#define BYTES_MAX 5000

static uint32_t seed = 1;

static uint32_t next_random(void)
{
	seed = seed * 1664525 + 1013904223;
	return seed >> 8;
}

static void assert_digest(const uint8_t raw[DIGEST_PIECE_BYTES], const void *data, size_t len)
{
	struct digest expected, got;

	assert_int_equal(digest_of("sha256", data, len, &expected, NULL), 0);
	digest_from_raw("sha256", raw, DIGEST_PIECE_BYTES, &got);
	assert_string_equal(got.text, expected.text);
}

/* A stream of pieces with bytes between them, cut anywhere. */
static void try_stream(struct digest_pair *pair)
{
	static uint8_t data[BYTES_MAX], pieces[BYTES_MAX];
	uint8_t raw[DIGEST_PIECE_BYTES];
	struct digest expected, got;
	size_t at = 0, piece = 0;

	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)next_random();
	while (at < sizeof(data)) {
		/* Whole blocks often, as a tar has them. */
		size_t len = next_random() % 3 ? next_random() % 4 * 64 : next_random() % 200;

		if (len > sizeof(data) - at)
			len = sizeof(data) - at;
		switch (next_random() % 4) {
		case 0:
			digest_pair_stream(pair, data + at, len);
			break;
		case 1:
			digest_pair_end_piece(pair, raw);
			assert_digest(raw, pieces, piece);
			piece = 0;
			continue;
		default:
			digest_pair_both(pair, data + at, len);
			memcpy(pieces + piece, data + at, len);
			piece += len;
		}
		at += len;
	}
	digest_pair_end_piece(pair, raw);
	assert_digest(raw, pieces, piece);
	assert_int_equal(digest_of("sha256", data, sizeof(data), &expected, NULL), 0);
	digest_pair_end(pair, &got);
	assert_string_equal(got.text, expected.text);
}

static void random_streams_and_pieces_have_libcryptos_digests(void **state)
{
	for (int i = 0; i < 2000; i++) {
		struct digest_pair *pair = NULL;

		assert_int_equal(digest_pair_new(&pair, NULL), 0);
		try_stream(pair);
		digest_pair_freep(&pair);
	}
}

static void so_they_have_without_the_processors_instructions(void **state)
{
	digest_pair_prefer_libcrypto(true);
	random_streams_and_pieces_have_libcryptos_digests(state);
	digest_pair_prefer_libcrypto(false);
}

static void every_length_of_a_piece_is_padded_rightly(void **state)
{
	static const uint8_t zeros[300];
	struct digest_pair *pair = NULL;
	uint8_t raw[DIGEST_PIECE_BYTES];

	assert_int_equal(digest_pair_new(&pair, NULL), 0);
	for (size_t len = 0; len < sizeof(zeros); len++) {
		digest_pair_piece(pair, zeros, len);
		digest_pair_end_piece(pair, raw);
		assert_digest(raw, zeros, len);
	}
	digest_pair_freep(&pair);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_streams_and_pieces_have_libcryptos_digests),
		cmocka_unit_test(so_they_have_without_the_processors_instructions),
		cmocka_unit_test(every_length_of_a_piece_is_padded_rightly),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
