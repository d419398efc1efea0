/* SPDX-License-Identifier: Apache-2.0 */
#include "driver/base/digest.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#define EMPTY_HEX "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define ABC_HEX	  "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
#define ABC_512                                                                   \
	"sha512:ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a" \
	"2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f"
#define MILLION_A "sha256:cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"

static void known_digests_come_out(void **state)
{
	struct digest d = { "" };

	assert_int_equal(digest_of(NULL, "", 0, &d, NULL), 0);
	assert_string_equal(d.text, "sha256:" EMPTY_HEX);
	assert_int_equal(digest_of("sha256", "abc", 3, &d, NULL), 0);
	assert_string_equal(d.text, "sha256:" ABC_HEX);
	assert_int_equal(digest_of("sha512", "abc", 3, &d, NULL), 0);
	assert_string_equal(d.text, ABC_512);
}

static void pieces_give_the_digest_of_the_whole(void **state)
{
	auto_hasher struct hasher *h = NULL;
	struct digest d = { "" };
	char piece[997];
	size_t left = 1000000;

	memset(piece, 'a', sizeof(piece));
	assert_int_equal(hasher_new("sha256", &h, NULL), 0);
	while (left) {
		size_t len = left < sizeof(piece) ? left : sizeof(piece);

		hasher_update(h, piece, len);
		left -= len;
	}
	hasher_final(h, &d);
	assert_string_equal(d.text, MILLION_A);
}

static void a_digest_names_its_algorithm(void **state)
{
	struct digest d = { "" };

	assert_int_equal(digest_of(ABC_512, "abc", 3, &d, NULL), 0);
	assert_string_equal(d.text, ABC_512);
	assert_int_equal(digest_of("sha256:" ABC_HEX, "", 0, &d, NULL), 0);
	assert_string_equal(d.text, "sha256:" EMPTY_HEX);
}

static void an_unknown_algorithm_is_refused_by_name(void **state)
{
	static const char *const names[] = { "md5", "sha25", "sha2560", "SHA256", "", "sha384:00" };

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		struct hasher *h = (struct hasher *)state; /* untouched on failure */
		struct err err = { 0 };

		assert_int_equal(hasher_new(names[i], &h, &err), -EINVAL);
		assert_ptr_equal(h, state);
		assert_non_null(strstr(err.text, names[i]));
	}
}

static void well_formed_digests_are_parsed(void **state)
{
	struct digest d = { "" };

	assert_int_equal(digest_parse("sha256:" ABC_HEX, &d, NULL), 0);
	assert_string_equal(d.text, "sha256:" ABC_HEX);
	assert_string_equal(digest_hex(&d), ABC_HEX);
	assert_int_equal(digest_parse(ABC_512, &d, NULL), 0);
	assert_string_equal(d.text, ABC_512);
	assert_int_equal(strlen(digest_hex(&d)), 128);
}

static void malformed_digests_are_refused(void **state)
{
	static const char *const texts[] = {
		"",
		":",
		"sha256",
		"sha256:",
		ABC_HEX,
		"sha256:" ABC_HEX "0", /* one too many */
		"sha256:" ABC_HEX "\n",
		" sha256:" ABC_HEX,
		"sha256::" ABC_HEX,
		"sha512:" ABC_HEX, /* of the other length */
		"sha384:" ABC_HEX,
		"SHA256:" ABC_HEX,
		"sha256+b64:" ABC_HEX,
		"sha256:BA7816BF8F01CFEA414140DE5DAE2223B00361A396177A9CB410FF61F20015AD",
		"sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ag",
		"sha256:../../../../../../../../../../../../../../../../../../etc/passwd",
		"sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015a",
	};

	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		struct digest d = { "untouched" };
		struct err err = { 0 };

		assert_int_equal(digest_parse(texts[i], &d, &err), -EINVAL);
		assert_string_equal(d.text, "untouched");
		assert_non_null(strstr(err.text, texts[i]));
		assert_false(digest_valid(texts[i]));
	}
	assert_false(digest_valid(NULL));
	assert_true(digest_valid("sha256:" ABC_HEX));
}

static void an_endless_text_is_quoted_in_part(void **state)
{
	char text[100000];
	struct digest d = { "" };
	struct err err = { 0 };

	memset(text, 'a', sizeof(text) - 1);
	text[sizeof(text) - 1] = 0;
	memcpy(text, "sha256:", 7);
	assert_int_equal(digest_parse(text, &d, &err), -EINVAL);
	assert_true(strlen(err.text) < 300);
	assert_non_null(strstr(err.text, "64 lower-case hex digits"));
}

static void digests_are_compared_with_their_algorithm(void **state)
{
	struct digest a = { "sha256:" ABC_HEX }, b = a, c = { "sha256:" EMPTY_HEX }, none = { "" };

	assert_true(digest_equal(&a, &b));
	assert_false(digest_equal(&a, &c));
	assert_false(digest_equal(&a, &none));
	assert_string_equal(digest_hex(&none), "");
}

static void hex_is_lower_case_and_of_its_length(void **state)
{
	assert_true(hex_valid("0123456789abcdef", 16));
	assert_true(hex_valid("", 0));
	assert_false(hex_valid("0123456789abcdef", 15));
	assert_false(hex_valid("0123456789abcdef", 17));
	assert_false(hex_valid("0123456789abcdeF", 16));
	assert_false(hex_valid("0123456789abcde/", 16));
	assert_false(hex_valid(NULL, 16));
}

static void hashers_are_independent(void **state)
{
	auto_hasher struct hasher *a = NULL;
	auto_hasher struct hasher *b = NULL;
	struct digest da = { "" }, db = { "" };

	assert_int_equal(hasher_new("sha256", &a, NULL), 0);
	assert_int_equal(hasher_new("sha512", &b, NULL), 0);
	hasher_update(a, "a", 1);
	hasher_update(b, "ab", 2);
	hasher_update(a, "bc", 2);
	hasher_update(b, "c", 1);
	hasher_final(a, &da);
	hasher_final(b, &db);
	assert_string_equal(da.text, "sha256:" ABC_HEX);
	assert_string_equal(db.text, ABC_512);
}

static void an_unfinished_hasher_is_freed(void **state)
{
	struct hasher *h = NULL;

	hasher_free(NULL);
	assert_int_equal(hasher_new(NULL, &h, NULL), 0);
	hasher_update(h, "x", 1);
	errno = ENOTTY;
	hasher_free(h);
	assert_int_equal(errno, ENOTTY);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(known_digests_come_out),
		cmocka_unit_test(pieces_give_the_digest_of_the_whole),
		cmocka_unit_test(a_digest_names_its_algorithm),
		cmocka_unit_test(an_unknown_algorithm_is_refused_by_name),
		cmocka_unit_test(well_formed_digests_are_parsed),
		cmocka_unit_test(malformed_digests_are_refused),
		cmocka_unit_test(an_endless_text_is_quoted_in_part),
		cmocka_unit_test(digests_are_compared_with_their_algorithm),
		cmocka_unit_test(hex_is_lower_case_and_of_its_length),
		cmocka_unit_test(hashers_are_independent),
		cmocka_unit_test(an_unfinished_hasher_is_freed),
	};

	return cmocka_run_group_tests_name("digest", tests, NULL, NULL);
}
