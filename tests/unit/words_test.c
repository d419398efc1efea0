/* SPDX-License-Identifier: Apache-2.0 */
#include "graph/name/words.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

static void a_made_up_name_is_two_words(void **state)
{
	for (int i = 0; i < 500; i++) {
		char name[WORDS_MAX];
		size_t first;

		words_name(0, name);
		first = strspn(name, "abcdefghijklmnopqrstuvwxyz");
		assert_true(first >= 3);
		assert_int_equal(name[first], '_');
		assert_true(strlen(name + first + 1) >= 3);
		assert_int_equal(strspn(name + first + 1, "abcdefghijklmnopqrstuvwxyz"),
				 strlen(name + first + 1));
		assert_true(words_valid(name));
	}
}

static void names_differ(void **state)
{
	char first[WORDS_MAX], other[WORDS_MAX];
	int same = 0;

	words_name(0, first);
	for (int i = 0; i < 50; i++) {
		words_name(0, other);
		same += strcmp(first, other) == 0;
	}
	assert_true(same < 5);
}

static void a_later_attempt_has_a_number_behind_it(void **state)
{
	char name[WORDS_MAX];
	size_t words, digits;

	words_name(3, name);
	words = strspn(name, "abcdefghijklmnopqrstuvwxyz_");
	digits = strspn(name + words, "0123456789");
	assert_true(digits >= 1);
	assert_int_equal(words + digits, strlen(name));
	assert_true(words_valid(name));
}

static void names_that_docker_takes_are_valid(void **state)
{
	static const char *const good[] = { "a", "0", "web-1", "A.b_c-d", "x__y", "1..2" };

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		assert_true(words_valid(good[i]));
}

static void names_that_docker_refuses_are_not(void **state)
{
	static const char *const bad[] = { "",	  "-a",	 "_a",	     ".a", "a b", "a/b",
					   "a:b", "a\n", "\xc3\xa4", "..", "a@b" };

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_false(words_valid(bad[i]));
}

static void names_end_at_255_bytes(void **state)
{
	char name[257];

	memset(name, 'a', sizeof(name));
	name[256] = '\0';
	assert_false(words_valid(name));
	name[255] = '\0';
	assert_true(words_valid(name));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_made_up_name_is_two_words),
		cmocka_unit_test(names_differ),
		cmocka_unit_test(a_later_attempt_has_a_number_behind_it),
		cmocka_unit_test(names_that_docker_takes_are_valid),
		cmocka_unit_test(names_that_docker_refuses_are_not),
		cmocka_unit_test(names_end_at_255_bytes),
	};

	return cmocka_run_group_tests_name("words", tests, NULL, NULL);
}
