/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/options.h"
#include "driver/base/auto.h"
#include "tests/unit/util.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#define WORDS_MAX 16

struct settings {
	bool quiet, all, plain;
	const char *format;
	struct option_list env;
};

struct globals {
	bool quiet, json;
};

static const struct option own[] = {
	{ 'q', "quiet", OPTION_FLAG, offsetof(struct settings, quiet), NULL, "" },
	{ 'a', "all", OPTION_FLAG, offsetof(struct settings, all), NULL, "" },
	{ 'H', "human", OPTION_OFF, offsetof(struct settings, plain), NULL, "" },
	{ 'f', "format", OPTION_TEXT, offsetof(struct settings, format), "FORMAT", "" },
	{ 'e', "env", OPTION_LIST, offsetof(struct settings, env), "KEY=VALUE", "" },
};
static const struct option shared[] = {
	{ 'q', "quiet", OPTION_FLAG, offsetof(struct globals, quiet), NULL, "" },
	{ 0, "json", OPTION_FLAG, offsetof(struct globals, json), NULL, "" },
};

static struct settings settings;
static struct globals globals;
static char *words[WORDS_MAX];
static size_t count;
static struct err err;

/* Parses `line`, cut at spaces. What is left is in words[0..count). */
static int parse(size_t stop_after, char *line)
{
	struct option_set sets[] = {
		{ own, ARRAY_LEN(own), &settings },
		{ shared, ARRAY_LEN(shared), &globals },
	};
	size_t given = 0;

	options_release(&sets[0]);
	settings = (struct settings){ 0 };
	globals = (struct globals){ 0 };
	err = (struct err){ 0 };
	count = 0;
	for (char *word; (word = strsep(&line, " "));)
		words[given++] = word;
	return options_parse(sets, ARRAY_LEN(sets), stop_after, words, given, &count, &err);
}

static int forget(void **state)
{
	struct option_set set = { own, ARRAY_LEN(own), &settings };

	options_release(&set);
	return 0;
}

static void options_and_arguments_may_be_mixed(void **state)
{
	char line[] = "one --format json two -q --all three";

	assert_int_equal(parse(SIZE_MAX, line), 0);
	assert_int_equal(count, 3);
	assert_string_equal(words[0], "one");
	assert_string_equal(words[2], "three");
	assert_string_equal(settings.format, "json");
	assert_true(settings.quiet && settings.all);
}

static void values_may_stand_in_the_word_or_behind_it(void **state)
{
	static const char *const lines[] = { "--format=a=b", "--format a=b", "-f a=b", "-fa=b",
					     "-f=a=b",	     "-qf a=b",	     "-qfa=b" };

	for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
		char line[32];

		(void)snprintf(line, sizeof(line), "%s", lines[i]);
		assert_int_equal(parse(SIZE_MAX, line), 0);
		assert_string_equal(settings.format, "a=b");
		assert_int_equal(count, 0);
	}
}

static void letters_may_be_bundled(void **state)
{
	char line[] = "-qa x";

	assert_int_equal(parse(SIZE_MAX, line), 0);
	assert_true(settings.quiet && settings.all);
	assert_int_equal(count, 1);
}

static void flags_take_a_truth_only_with_an_equals_sign(void **state)
{
	char off[] = "--quiet --quiet=false --human=false", on[] = "--human=true --all true",
	     wrong[] = "--quiet=maybe";

	assert_int_equal(parse(SIZE_MAX, off), 0);
	assert_false(settings.quiet);
	assert_true(settings.plain);
	assert_int_equal(parse(SIZE_MAX, on), 0);
	assert_false(settings.plain);
	assert_true(settings.all);
	assert_string_equal(words[0], "true");
	assert_int_equal(parse(SIZE_MAX, wrong), -EINVAL);
	assert_words(&err, "--quiet takes true or false, not 'maybe'");
}

static void lists_keep_all_values_in_order(void **state)
{
	char line[] = "-e A=1 --env=B=2 -eC";

	assert_int_equal(parse(SIZE_MAX, line), 0);
	assert_int_equal(settings.env.count, 3);
	assert_string_equal(settings.env.items[0], "A=1");
	assert_string_equal(settings.env.items[1], "B=2");
	assert_string_equal(settings.env.items[2], "C");
}

static void two_dashes_end_the_options(void **state)
{
	char line[] = "-q x -- -a --nonsense --";

	assert_int_equal(parse(SIZE_MAX, line), 0);
	assert_int_equal(count, 4);
	assert_string_equal(words[1], "-a");
	assert_string_equal(words[3], "--");
	assert_false(settings.all);
}

static void a_lone_dash_is_an_argument(void **state)
{
	char line[] = "- -q";

	assert_int_equal(parse(SIZE_MAX, line), 0);
	assert_int_equal(count, 1);
	assert_string_equal(words[0], "-");
}

static void words_after_the_last_argument_are_left_alone(void **state)
{
	char line[] = "-q image -a --nonsense -- x", verb[] = "--json images -q";

	assert_int_equal(parse(1, line), 0);
	assert_int_equal(count, 5);
	assert_string_equal(words[1], "-a");
	assert_string_equal(words[3], "--");
	assert_true(settings.quiet && !settings.all);

	assert_int_equal(parse(0, verb), 0);
	assert_int_equal(count, 2);
	assert_string_equal(words[0], "images");
	assert_true(globals.json && !settings.quiet);
}

static void the_first_table_with_the_option_wins(void **state)
{
	char line[] = "-q --json";

	assert_int_equal(parse(SIZE_MAX, line), 0);
	assert_true(settings.quiet && !globals.quiet && globals.json);
}

static void mistakes_are_named(void **state)
{
	static const struct {
		const char *line, *words;
	} wrong[] = {
		{ "--nonsense", "unknown option --nonsense" },
		{ "--nonsense=1", "unknown option --nonsense" },
		{ "--form x", "unknown option --form" },
		{ "-x", "unknown option -x" },
		{ "-qx", "unknown option -x in -qx" },
		{ "--format", "option --format needs a value: FORMAT" },
		{ "-qf", "option -f needs a value: FORMAT" },
	};

	for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
		char line[32];

		(void)snprintf(line, sizeof(line), "%s", wrong[i].line);
		assert_int_equal(parse(SIZE_MAX, line), -EINVAL);
		assert_string_equal(err.text, wrong[i].words);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(options_and_arguments_may_be_mixed),
		cmocka_unit_test(values_may_stand_in_the_word_or_behind_it),
		cmocka_unit_test(letters_may_be_bundled),
		cmocka_unit_test(flags_take_a_truth_only_with_an_equals_sign),
		cmocka_unit_test(lists_keep_all_values_in_order),
		cmocka_unit_test(two_dashes_end_the_options),
		cmocka_unit_test(a_lone_dash_is_an_argument),
		cmocka_unit_test(words_after_the_last_argument_are_left_alone),
		cmocka_unit_test(the_first_table_with_the_option_wins),
		cmocka_unit_test(mistakes_are_named),
	};

	return cmocka_run_group_tests_name("options", tests, NULL, forget);
}
