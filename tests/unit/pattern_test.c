/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/serve/pattern.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>

/* What is found is what Go's regexp finds; tests/unit/filter_test.c has more, through filters. */

static struct pattern *new_pattern(const char *text)
{
	struct pattern *pattern = NULL;
	struct err err = { 0 };

	if (pattern_new(text, strlen(text), &pattern, &err) < 0)
		fail_msg("%s: %s", text, err.text);
	return pattern;
}

static bool finds(const char *text, const char *subject)
{
	auto_pattern struct pattern *pattern = new_pattern(text);

	return pattern_matches(pattern, subject, strlen(subject));
}

struct search {
	const char *pattern, *found, *missed;
};

static void check_searches(const struct search *cases, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		if (!finds(cases[i].pattern, cases[i].found))
			fail_msg("%s does not find %s", cases[i].pattern, cases[i].found);
		if (finds(cases[i].pattern, cases[i].missed))
			fail_msg("%s finds %s", cases[i].pattern, cases[i].missed);
	}
}

static void what_go_knows_is_found(void **state)
{
	static const struct search cases[] = {
		{ "a+b", "xaaby", "ba" },
		{ "^$", "", "a" },
		{ "a|bc", "bc", "b" },
		{ "(?:ab){2,3}c", "ababc", "abc" },
		{ "a{,2}", "a{,2}", "aa" },
		{ "a{x}", "a{x}", "a" },
		{ "^a*?b??$", "aab", "abb" },
		{ "(?P<name>a)(b)", "ab", "ba" },
		{ "[]a]", "]", "b" },
		{ "[^]a]", "b", "]a" },
		{ "[[:digit:]_][^[:alpha:]]", "_-", "_a" },
		{ "[a\\]\\\\]", "\\", "b" },
		{ "[\\d-]+$", "1-2", "1-x" },
		{ "\\Qa.b\\E+$", "a.bb", "axb" },
		{ "\\Q(", "(", ")" },
		{ "\\Q\\", "\\", "/" },
		{ "\\x41\\x{42}\\103\\012", "ABC\n", "ABC" },
		{ "\\pL\\PL\\p{Nd}", "a-1", "ab1" },
		{ "\\bfoo\\b", "a foo.", "afoo" },
		{ "\\Afoo\\z", "foo", "foo\n" },
		{ "foo$", "foo", "foo\n" },
		{ "(?m)foo$", "foo\nbar", "foobar" },
		{ "(?m)^$", "a\n", "a" },
		{ "(?m)^b", "a\nb", "ab" },
		{ "a.b", "a\rb", "a\nb" },
		{ "(?s)a.b", "a\nb", "ab" },
		{ "(?i)stra\xc3\x9f"
		  "e",
		  "STRA\xe1\xba\x9e"
		  "E",
		  "strasse" },
		{ "(?i:a)b", "Ab", "AB" },
		{ "a(?i)b|c", "C", "Ab" },
		{ "(?i-s:A).", "ab", "a\n" },
		{ "(?U)a+b", "aab", "a" },
		{ "^.$", "\xe7\x89\x9b", "ab" },
		{ "^\\w$", "_", "\xc3\xa9" },
	};

	check_searches(cases, ARRAY_LEN(cases));
}

static void what_go_does_not_know_is_refused(void **state)
{
	static const char *const texts[] = {
		"(?=a)",   "(?!a)",	"(?<=a)b",
		"(?<!a)b", "(?>a)",	"(?|a)",
		"(a)\\1",  "\\g1",	"(?P=n)",
		"(?P>n)",  "(?R)",	"(?1)",
		"(?&n)",   "(?(1)a)",	"(?#a)",
		"(?x)a",   "(?J)a",	"(?^)a",
		"(?i-)a",  "(?-)a",	"(?C)a",
		"(*UTF)a", "(*ACCEPT)", "a++",
		"a*+",	   "a?+",	"a{2}+",
		"a**",	   "a{1}{2}",	"a*?+",
		"a{1001}", "a{1,1001}", "a{99999999999999999999}",
		"\\C",	   "\\K",	"\\G",
		"\\R",	   "\\X",	"\\Z",
		"\\h",	   "\\e",	"\\cA",
		"\\N",	   "\\1",	"\\8",
		"\\x4",	   "\\xg",	"\\E",
		"[\\b]",   "[\\Qa]",	"(",
		")",	   ")(",	"[a",
		"[b-a]",   "a\\",	"*a",
		"[[:x:]]", "\\p{X}",	"\\x{110000}",
		"\377",	   "(?P<n",	"(?",
		"(?i",	   "a{2,1}",	"\\\xc3\xa9",
	};

	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		struct pattern *untouched = (struct pattern *)(uintptr_t)1, *pattern = untouched;
		struct err err = { 0 };

		if (pattern_new(texts[i], strlen(texts[i]), &pattern, &err) != -EINVAL)
			fail_msg("not refused: %s", texts[i]);
		assert_ptr_equal(pattern, untouched);
		assert_true(err.text[0] != 0);
	}
}

static void a_pattern_may_have_a_nul(void **state)
{
	auto_pattern struct pattern *pattern = NULL;

	assert_int_equal(pattern_new("a\0?b$", 5, &pattern, NULL), 0);
	assert_true(pattern_matches(pattern, "ab", 2));
	assert_true(pattern_matches(pattern, "a\0b", 3));
	assert_false(pattern_matches(pattern, "a", 1));
}

static void what_is_not_utf8_has_no_match(void **state)
{
	assert_false(finds("a", "a\377"));
}

static void a_pattern_is_bounded(void **state)
{
	char text[PATTERN_BYTES_MAX + 1];
	auto_pattern struct pattern *pattern = NULL;
	struct err err = { 0 };

	for (size_t i = 0; i < sizeof(text); i++)
		text[i] = (char)('a' + i % 26);
	assert_int_equal(pattern_new(text, sizeof(text), &pattern, &err), -E2BIG);
	assert_null(pattern);
	assert_string_equal(err.text, "a pattern is longer than 1024 bytes");
	assert_int_equal(pattern_new(text, sizeof(text) - 1, &pattern, &err), 0);
	assert_true(pattern_matches(pattern, text, sizeof(text) - 1));
}

/* Each of them would take years with backtracking, or hours with places without bound. */
static void hostile_patterns_end_soon(void **state)
{
	static const char *const texts[] = {
		"(a+)+[bc]",
		"(a|a)*[bc]",
		"(a|aa)+[bc]$",
		"(a*)*(a*)*(a*)*[bc]",
		"(.|a|..|...)*[bc]",
		"(x+x+)+[bc]",
		"a{1000}[bc]",
		"a{60}[bc]",
		"((a{1,15}){1,15})[bc]",
		"((((((a|)*)*|a)*)*|a)*)*[bc]",
		"((((((((a?){2}){2}){2}){2}){2}){2}){2}){2}[bc]",
	};
	static char subject[65536];

	memset(subject, 'a', sizeof(subject));
	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		auto_pattern struct pattern *pattern = new_pattern(texts[i]);
		clock_t begin = clock();

		assert_false(pattern_matches(pattern, subject, sizeof(subject)));
		assert_true(clock() - begin < 10 * CLOCKS_PER_SEC);
	}
}

static void counted_repetition_reaches_far_enough(void **state)
{
	char subject[4096];

	memset(subject, 'a', sizeof(subject));
	subject[sizeof(subject) - 1] = 'b';
	for (size_t len = 200; len < sizeof(subject); len *= 2) {
		auto_pattern struct pattern *pattern = new_pattern("[0-9a-f]{128}b");

		assert_true(pattern_matches(pattern, subject + sizeof(subject) - len, len));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_go_knows_is_found),
		cmocka_unit_test(what_go_does_not_know_is_refused),
		cmocka_unit_test(a_pattern_may_have_a_nul),
		cmocka_unit_test(what_is_not_utf8_has_no_match),
		cmocka_unit_test(a_pattern_is_bounded),
		cmocka_unit_test(hostile_patterns_end_soon),
		cmocka_unit_test(counted_repetition_reaches_far_enough),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
