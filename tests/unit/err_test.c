/* SPDX-License-Identifier: Apache-2.0 */
#include "driver/base/err.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#undef fail /* cmocka's; ours is meant */

#define CAPACITY sizeof(((struct err *)0)->text)

static void fail_returns_the_code_and_writes_words(void **state)
{
	struct err err = { 0 };

	assert_int_equal(fail(&err, -ENOENT, "open %s, try %d", "layer", 3), -ENOENT);
	assert_string_equal(err.text, "open layer, try 3");
}

static void percent_m_is_the_text_of_the_code_and_errno_is_kept(void **state)
{
	struct err err = { 0 };

	errno = EACCES;
	assert_int_equal(fail(&err, -ENOENT, "open x: %m"), -ENOENT);
	assert_string_equal(err.text, "open x: No such file or directory");
	assert_int_equal(errno, EACCES);
}

static void every_function_takes_null(void **state)
{
	errno = EACCES;
	assert_int_equal(fail(NULL, -EIO, "words %d", 1), -EIO);
	assert_int_equal(err_prefix(NULL, -EIO, "words %d", 1), -EIO);
	assert_int_equal(fail_oom(NULL), -ENOMEM);
	err_clear(NULL);
	assert_int_equal(errno, EACCES);
}

static void words_replace_what_was_there(void **state)
{
	struct err err = { 0 };

	(void)fail(&err, -EIO, "a long first failure");
	(void)fail(&err, -EIO, "second");
	assert_string_equal(err.text, "second");
}

static void words_may_be_made_of_the_old_words(void **state)
{
	struct err err = { 0 };

	(void)fail(&err, -EIO, "inner");
	(void)fail(&err, -EIO, "outer (%s)", err.text);
	assert_string_equal(err.text, "outer (inner)");
}

static void prefix_puts_words_before_the_words(void **state)
{
	struct err err = { 0 };

	(void)fail(&err, -ENOSPC, "write x: %m");
	assert_int_equal(err_prefix(&err, -ENOSPC, "layer %d", 7), -ENOSPC);
	assert_string_equal(err.text, "layer 7: write x: No space left on device");
}

static void prefix_of_nothing_has_no_colon(void **state)
{
	struct err err = { 0 };

	(void)err_prefix(&err, -EIO, "layer %d: %m", 7);
	assert_string_equal(err.text, "layer 7: Input/output error");
}

static void words_that_just_fit_are_whole(void **state)
{
	char text[CAPACITY];
	struct err err = { 0 };

	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = 0;
	(void)fail(&err, -EIO, "%s", text);
	assert_string_equal(err.text, text);
}

static void words_too_long_end_in_dots(void **state)
{
	char text[CAPACITY + 1];
	struct err err = { 0 };

	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = 0;
	(void)fail(&err, -EIO, "%s", text);
	assert_int_equal(strlen(err.text), CAPACITY - 1);
	assert_string_equal(err.text + CAPACITY - 6, "xx...");
	assert_int_equal(err_prefix(&err, -EIO, "%s", "outer"), -EIO);
	assert_int_equal(strlen(err.text), CAPACITY - 1);
	assert_memory_equal(err.text, "outer: xxx", 10);
	assert_string_equal(err.text + CAPACITY - 6, "xx...");
}

static void words_are_not_cut_inside_a_character(void **state)
{
	struct err err = { 0 };
	char text[2 * CAPACITY];

	/* Every one of the four alignments of a 4-byte character. */
	for (size_t shift = 0; shift < 4; shift++) {
		size_t len = shift;

		memset(text, 'x', shift);
		for (; len + 4 < sizeof(text); len += 4)
			memcpy(text + len, "\xf0\x9f\x90\xb3", 4);
		text[len] = 0;
		(void)fail(&err, -EIO, "%s", text);
		len = strlen(err.text);
		assert_true(len >= CAPACITY - 4 && len < CAPACITY);
		assert_string_equal(err.text + len - 7, "\xf0\x9f\x90\xb3...");
	}
}

static void clear_empties(void **state)
{
	struct err err = { 0 };

	(void)fail_oom(&err);
	assert_string_equal(err.text, "out of memory");
	err_clear(&err);
	assert_string_equal(err.text, "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fail_returns_the_code_and_writes_words),
		cmocka_unit_test(percent_m_is_the_text_of_the_code_and_errno_is_kept),
		cmocka_unit_test(every_function_takes_null),
		cmocka_unit_test(words_replace_what_was_there),
		cmocka_unit_test(words_may_be_made_of_the_old_words),
		cmocka_unit_test(prefix_puts_words_before_the_words),
		cmocka_unit_test(prefix_of_nothing_has_no_colon),
		cmocka_unit_test(words_that_just_fit_are_whole),
		cmocka_unit_test(words_too_long_end_in_dots),
		cmocka_unit_test(words_are_not_cut_inside_a_character),
		cmocka_unit_test(clear_empties),
	};

	return cmocka_run_group_tests_name("err", tests, NULL, NULL);
}
