/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/serve/filter.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

/* What matches, and the words, are those of containerd 1.6's package filters, asked the same. */

static const struct overlaid_label bar_labels[] = { { "foo", "true" } };
static const struct overlaid_label ref_labels[] = { { "", "e" },
						    { "a.b", "x" },
						    { "containerd.io/snapshot.ref",
						      "sha256:abc" } };
static const struct overlaid_label cow_labels[] = { { "more complex label", "present" },
						    { "name", "foo,bar" },
						    { "q\"\\", "1" } };
static const struct overlaid_label line_labels[] = { { "foo", "" }, { "l", "aaaaaaaaab" } };
static const struct overlaid_label upper_labels[] = { { "bar", "a/b|c" },
						      { "foo", "sha256:deadbeef" } };
static const struct overlaid_label odd_labels[] = { { "labels.foo", "z" }, { "x_1", "tab\there" } };

#define LABELS(array) .labels = (array), .label_count = ARRAY_LEN(array)

static const struct overlaid_snapshot infos[] = {
	{ .name = "foo", .kind = OVERLAID_SNAPSHOT_ACTIVE },
	{ .name = "bar", .parent = "foo", .kind = OVERLAID_SNAPSHOT_VIEW, LABELS(bar_labels) },
	{ .name = "default/2/sha256:abc",
	  .parent = "default/1/sha256:def",
	  .kind = OVERLAID_SNAPSHOT_COMMITTED,
	  LABELS(ref_labels) },
	{ .name = "\xe7\x89\x9b",
	  .parent = "bar baz",
	  .kind = OVERLAID_SNAPSHOT_COMMITTED,
	  LABELS(cow_labels) },
	{ .name = "a\nb", .parent = "p", LABELS(line_labels) },
	{ .name = "FOO_1.2-3",
	  .parent = "{a}",
	  .kind = OVERLAID_SNAPSHOT_ACTIVE,
	  LABELS(upper_labels) },
	/* With a no-break space and a zero width space. */
	{ .name = "\xc3\xa9\xc2\xa0x\xe2\x80\x8b",
	  .parent = "+*?",
	  .kind = OVERLAID_SNAPSHOT_VIEW,
	  LABELS(odd_labels) },
};

/* A digit for each of them: 1, it matches. */
struct match {
	const char *text, *infos;
};

static void check_filter(const char *const *texts, size_t count, const char *expected)
{
	auto_filter struct filter *filter = NULL;
	char found[ARRAY_LEN(infos) + 1] = "";
	struct err err = { 0 };

	if (filter_new(texts, count, &filter, &err) < 0)
		fail_msg("%s: %s", count ? texts[0] : "nothing", err.text);
	for (size_t i = 0; i < ARRAY_LEN(infos); i++)
		found[i] = filter_matches(filter, &infos[i]) ? '1' : '0';
	if (strcmp(found, expected) != 0)
		fail_msg("%s: %s, not %s", count ? texts[0] : "nothing", found, expected);
}

static void check_matches(const struct match *cases, size_t count)
{
	for (size_t i = 0; i < count; i++)
		check_filter(&cases[i].text, 1, cases[i].infos);
}

#define matches(...)                                                 \
	do {                                                         \
		static const struct match cases[] = { __VA_ARGS__ }; \
		check_matches(cases, ARRAY_LEN(cases));              \
	} while (0)

static void without_an_operator_a_field_is_present(void **state)
{
	matches({ "name", "1111111" }, { "parent", "1111111" }, { "kind", "1111011" },
		{ "labels.foo", "0100110" }, { "labels", "0010000" }, { "labels.\"\"", "0010000" },
		{ "labels.l", "0000100" }, { "foo", "0000000" }, { "Name", "0000000" },
		{ "name.x", "1111111" }, { "\"name\"", "1111111" }, { "\"k\\u0069nd\"", "1111011" },
		{ "labels.\"a.b\"", "0010000" }, { "labels.a.b", "0010000" },
		{ "labels.\"a\".b", "0010000" }, { "labels.\"more complex label\"", "0001000" },
		{ "labels.\"q\\\"\\\\\"", "0001000" }, { "\"labels\".foo", "0100110" },
		{ "labels.labels.foo", "0000001" }, { "labels.\"\\x00foo\"", "0000000" },
		{ "labels.x_1", "0000001" });
}

static void equal_needs_presence_and_differs_does_not(void **state)
{
	matches({ "name==foo", "1000000" }, { "name==bar", "0100000" },
		{ "name==\"foo\"", "1000000" }, { "name!=foo", "0111111" },
		{ "parent==\"\"", "1000000" }, { "parent!=\"\"", "0111111" },
		{ "kind==active", "1000010" }, { "kind==view", "0100001" },
		{ "kind==committed", "0011000" }, { "kind!=view", "1011110" },
		{ "kind==unknown", "0000000" }, { "labels.foo==true", "0100000" },
		{ "labels.foo==\"\"", "0000100" }, { "labels.foo!=true", "1011111" },
		{ "labels.l==\"\"", "0000000" }, { "labels.l!=\"\"", "0000100" },
		{ "foo==\"\"", "0000000" }, { "foo!=\"\"", "0000000" }, { "foo!=x", "1111111" },
		{ "name==\"foo\\x00\"", "0000000" }, { "name!=\"foo\\x00\"", "1111111" },
		{ "name.x==foo", "1000000" }, { "labels.foo==\"sha256:deadbeef\"", "0000010" },
		{ "labels.\"containerd.io/snapshot.ref\"==sha256:abc,parent==\"default/1/sha256:def\"",
		  "0010000" },
		{ "labels.\"containerd.io/snapshot.ref\"==sha256:abc,parent==x", "0000000" },
		{ "kind==active,labels.foo!=x,name", "1000010" },
		{ "parent==\"bar baz\"", "0001000" }, { "name==default/2/sha256:abc", "0010000" },
		{ "labels.bar==a/b|c", "0000010" }, { "parent=={a}", "0000010" },
		{ "parent==+*?", "0000001" });
}

static void values_are_quoted_as_in_go(void **state)
{
	matches({ "name==foo\"bar", "0000000" }, { "name==a=b!c~d", "0000000" },
		{ "name==foo.bar", "0000000" }, { "name==\347\211\233", "0001000" },
		{ "name==\"\347\211\233\"", "0001000" }, { "name==\"\\u725b\"", "0001000" },
		{ "name==\"\\xe7\\x89\\x9b\"", "0001000" },
		{ "name==\"\\347\\211\\233\"", "0001000" }, { "name==\"\\U0000725b\"", "0001000" },
		{ "name==\"a\\nb\"", "0000100" }, { "labels.x_1==\"tab\\there\"", "0000001" },
		{ "name==\"\\ud800\"", "0000000" }, { "name==\\foo", "0000000" },
		{ "name=='foo'", "0000000" }, { "name==\001foo", "0000000" },
		{ "name==\342\200\213foo", "0000000" }, { "name==a\342\200\224b", "0000000" },
		{ "name==\"foo,bar\"", "0000000" }, { "labels.name==\"foo,bar\"", "0001000" },
		{ "name==foo-bar_1@x", "0000000" },
		{ "name==\"\\a\\b\\f\\r\\t\\v\\\\\\\"\"", "0000000" });
}

static void spaces_may_stand_before_tokens(void **state)
{
	matches({ " name==foo", "1000000" }, { "name ==foo", "1000000" },
		{ "name== foo", "1000000" }, { "name\t== \n foo", "1000000" },
		{ "name\302\240==\342\200\203foo", "1000000" }, { "labels. foo", "0100110" },
		{ "name==foo, kind==active", "1000000" },
		{ "name==foo,\343\200\200kind", "1000000" }, { "\tname", "1111111" },
		{ "name==foo, name", "1000000" });
}

static void patterns_are_found_anywhere(void **state)
{
	matches({ "name~=foo", "1000000" }, { "name~=^foo$", "1000000" }, { "name~=fo", "1000000" },
		{ "name~=/[abc]{1,2}/", "0110100" }, { "parent~=/^$/", "1000000" },
		{ "labels.l~=a{9}b", "0000100" }, { "labels.l~=/a{9}b/", "0000100" },
		{ "labels.bar~=/a\\/b/", "0000010" }, { "labels.bar~=|a/b|", "0000010" },
		{ "labels.bar~=|a/b\\||", "1111111" },
		{ "labels.foo~=/^sha256:[0-9a-f]{3,8}$/", "0000010" },
		{ "labels.foo~=\"^(true|)$\"", "1111101" }, { "foo~=/^$/", "1111111" },
		{ "foo~=x", "0000000" }, { "name~=/(?i)foo/", "1000010" },
		{ "name~=/(?i:f)OO/", "0000010" }, { "name~=/a.b/", "0000000" },
		{ "name~=/(?s)a.b/", "0000100" }, { "name~=/a$/", "0000000" },
		{ "name~=/(?m)a$/", "0000100" }, { "name~=/\\\\bfoo\\\\b/", "1000000" },
		{ "name~=/\\\\d-\\\\d/", "0000010" }, { "name~=/^\\\\p{Han}$/", "0001000" },
		{ "name~=/\\\\x{725b}/", "0001000" }, { "parent~=/\\\\Q+*?\\\\E/", "0000001" },
		{ "parent~=/\\\\Q+*?/", "0000001" }, { "parent~=/{a}/", "0000010" },
		{ "name~=/[[:upper:]]/", "0000010" }, { "name~=/[^[:ascii:]]/", "0001001" },
		{ "name~=/(?P<n>fo+)/", "1000000" }, { "name~=/\\u725b/", "0001000" },
		{ "kind~=/^(view|active)$/", "1100011" }, { "name~=\"\"", "1111111" },
		{ "labels.foo~=/\\\\Q/", "1111111" });
}

static void what_is_no_pattern_matches_nothing(void **state)
{
	static const char *const texts[] = {
		"name~=(",	    "name~=)",		 "name~=/)(/",
		"name~=[",	    "name~=*",		 "name~=/a(?=b)/",
		"name~=/(?<=f)o/",  "name~=/(o)\\\\1/",	 "name~=/(?>f)oo/",
		"name~=/fo++/",	    "name~=/o{1}{1}/",	 "name~=/(?x)f oo/",
		"name~=/(?#c)foo/", "name~=/(*UTF)foo/", "name~=/\\\\h/",
		"name~=/o\\\\Z/",   "name~=/\\\\Kf/",	 "name~=/o{1001}/",
		"name~=/[z-a]/",    "name~=/[[:foo:]]/", "name~=/\\\\p{Foo}/",
		"name~=\"\\xff\"",  "name~=/\\\\/",	 "name~=/(?R)|foo/",
		"name~=/[\\\\b]/"
	};

	for (size_t i = 0; i < ARRAY_LEN(texts); i++)
		check_filter(&texts[i], 1, "0000000");
}

static const struct {
	const char *text, *words;
} unreadable[] = {
	{ " ", "[ ]: expected field or quoted" },
	{ ",", "[ >|,|< ]: expected field or quoted" },
	{ "name,", "[name,]: expected field or quoted" },
	{ "name,,kind", "[name, >|,|< kind]: expected field or quoted" },
	{ "name==", "[name==]: expected value or quoted" },
	{ "name==,kind", "[name== >|,|< kind]: expected value or quoted" },
	{ "name=foo", "[name >|=|< foo]: unsupported operator \"=\"" },
	{ "name===foo", "[name >|=|< ==foo]: unsupported operator \"===\"" },
	{ "name==!foo", "[name >|=|< =!foo]: unsupported operator \"==!\"" },
	{ "name!foo", "[name >|!|< foo]: unsupported operator \"!\"" },
	{ "name=~foo", "[name >|=|< ~foo]: unsupported operator \"=~\"" },
	{ "name~foo", "[name >|~|< foo]: unsupported operator \"~\"" },
	{ "labels.", "[labels.]: expected field or quoted" },
	{ ".foo", "[ >|.|< foo]: expected field or quoted" },
	{ "labels..foo", "[labels. >|.|< foo]: expected field or quoted" },
	{ "name==.foo", "[name== >|.|< foo]: expected value or quoted" },
	{ "name foo", "[name  >|f|< oo]: expected an operator (\"==\"|\"!=\"|\"~=\")" },
	{ "name==foo bar", "[name==foo >| |< bar]: unexpected input:  " },
	{ "name==foo ", "[name==foo >| |< ]: unexpected input:  " },
	{ "name ", "[name ]: expected an operator (\"==\"|\"!=\"|\"~=\")" },
	{ "name ,kind", "[name  >|,|< kind]: expected an operator (\"==\"|\"!=\"|\"~=\")" },
	{ "labels .foo", "[labels  >|.|< foo]: expected an operator (\"==\"|\"!=\"|\"~=\")" },
	{ "name,foo-bar", "[name,foo >|-|< bar]: expected an operator (\"==\"|\"!=\"|\"~=\")" },
	{ "labels.containerd.io/key==value",
	  "[labels.containerd.io >|/|< key==value]: quoted literal not terminated" },
	{ "labels.key==/value", "[labels.key== >|/|< value]: quoted literal not terminated" },
	{ "labels.|foo|==x", "[labels. >|||< foo|==x]: invalid quote encountered" },
	{ "name==/foo/", "[name== >|/|< foo/]: invalid quote encountered" },
	{ "name==|foo|", "[name== >|||< foo|]: invalid quote encountered" },
	{ "name==\"foo", "[name== >|\"|< foo]: quoted literal not terminated" },
	{ "name==\"fo\\zo\"", "[name== >|\"|< fo\\zo\"]: illegal escape sequence" },
	{ "name==\"\\x4\"", "[name== >|\"|< \\x4\"]: illegal numeric escape sequence" },
	{ "name==\"\\18\"", "[name== >|\"|< \\18\"]: illegal numeric escape sequence" },
	{ "name==\"\\u12\"", "[name== >|\"|< \\u12\"]: illegal numeric escape sequence" },
	{ "name==\"\\400\"", "[name== >|\"|< \\400\"]: unquoting failed: quote syntax error" },
	{ "name==\"\\U00110000\"",
	  "[name== >|\"|< \\U00110000\"]: unquoting failed: quote syntax error" },
	{ "name==\"\\'\"", "[name== >|\"|< \\'\"]: illegal escape sequence" },
	{ "name~=/\\d/", "[name~= >|/|< \\d/]: illegal escape sequence" },
	{ "name~=/a\\\"b/", "[name~= >|/|< a\\\"b/]: illegal escape sequence" },
	{ "name==\"foo\nbar\"", "[name== >|\"|< foo\nbar\"]: quoted literal not terminated" },
	{ "name==fo\001o", "[name==fo >|\001|< o]: unexpected input: \001" },
	{ "foo\001", "[foo >|\001|< ]: expected an operator (\"==\"|\"!=\"|\"~=\")" },
	{ "name==foo\342\200\213",
	  "[name==foo >|\342\200\213|< ]: unexpected input: \342\200\213" },
	{ "name==foo\357\277\275",
	  "[name==foo >|\357\277\275|< ]: unexpected input: \357\277\275" },
	{ "labels.?x", "[labels. >|?|< x]: expected field or quoted" },
	{ "\347\211\233", "[ >|\347\211\233|< ]: expected field or quoted" },
	{ "name==\"foo\"\"bar\"", "[name==\"foo\" >|\"|< bar\"]: unexpected input: \"" },
	{ "name==foo==bar,x y",
	  "[name==foo==bar,x  >|y|< ]: expected an operator (\"==\"|\"!=\"|\"~=\")" },
	{ "name;kind", "[name >|;|< kind]: expected an operator (\"==\"|\"!=\"|\"~=\")" },
	{ "(name)", "[ >|(|< name)]: expected field or quoted" },
	{ "name||foo", "[name >|||< |foo]: expected an operator (\"==\"|\"!=\"|\"~=\")" },
	{ "name~=.", "[name~= >|.|< ]: expected value or quoted" },
};

static void what_cannot_be_read_is_refused_with_the_place(void **state)
{
	for (size_t i = 0; i < ARRAY_LEN(unreadable); i++) {
		struct filter *untouched = (struct filter *)(uintptr_t)1, *filter = untouched;
		char expected[256];
		struct err err = { 0 };

		(void)snprintf(expected, sizeof(expected), "filters: parse error: %s",
			       unreadable[i].words);
		assert_int_equal(filter_new(&unreadable[i].text, 1, &filter, &err), -EINVAL);
		assert_ptr_equal(filter, untouched);
		assert_string_equal(err.text, expected);
	}
}

static void what_is_not_utf8_is_refused(void **state)
{
	static const char *const texts[] = { "\377", "name==\377", "name==a\300", "name==\"\377\"",
					     "name==\355\240\200" };

	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		struct filter *filter = NULL;
		struct err err = { 0 };

		assert_int_equal(filter_new(&texts[i], 1, &filter, &err), -EINVAL);
		assert_int_equal(strncmp(err.text, "filters: parse error: ", 22), 0);
	}
}

static void without_texts_everything_matches(void **state)
{
	check_filter(NULL, 0, "1111111");
	check_filter((const char *[]){ "" }, 1, "1111111");
	check_filter((const char *[]){ "name==nobody", "" }, 2, "1111111");
}

static void one_text_of_several_must_match(void **state)
{
	check_filter((const char *[]){ "name==foo", "kind==view,name==bar" }, 2, "1100000");
	check_filter((const char *[]){ "name==x", "name==y", "labels.x_1" }, 3, "0000001");
	check_filter((const char *[]){ "name==x", "name==y" }, 2, "0000000");
}

static void one_bad_text_of_several_is_refused(void **state)
{
	const char *const texts[] = { "name==foo", "", "name==" };
	struct filter *filter = NULL;

	assert_int_equal(filter_new(texts, 3, &filter, NULL), -EINVAL);
	assert_null(filter);
}

/* "name,name,..." */
static void put_selectors(struct buf *text, const char *selector, size_t count)
{
	for (size_t i = 0; i < count; i++)
		assert_int_equal(buf_printf(text, "%s%s", i ? "," : "", selector), 0);
}

static void check_most(const char *selector, size_t most, const char *words)
{
	auto_filter struct filter *filter = NULL, *more = NULL;
	auto_buf struct buf text = { 0 };
	const char *texts[] = { NULL, selector };
	struct err err = { 0 };

	put_selectors(&text, selector, most);
	texts[0] = buf_text(&text);
	assert_int_equal(filter_new(texts, 1, &filter, &err), 0);
	assert_true(filter_matches(filter, &infos[0]));
	assert_int_equal(filter_new(texts, 2, &more, &err), -EINVAL);
	assert_string_equal(err.text, words);
}

static void selectors_are_bounded(void **state)
{
	check_most("name", FILTER_SELECTORS_MAX, "filters: there are more than 10000 selectors");
	check_most("name~=foo", FILTER_PATTERNS_MAX, "filters: there are more than 16 patterns");
}

static void a_long_pattern_is_refused(void **state)
{
	auto_filter struct filter *filter = NULL;
	auto_buf struct buf text = { 0 };
	const char *data;
	struct err err = { 0 };

	assert_int_equal(buf_puts(&text, "name~="), 0);
	for (int i = 0; i < 1025; i++)
		assert_int_equal(buf_putc(&text, 'x'), 0);
	data = buf_text(&text);
	assert_int_equal(filter_new(&data, 1, &filter, &err), -EINVAL);
	assert_string_equal(err.text, "filters: a pattern is longer than 1024 bytes");
}

static void of_a_long_text_the_words_only_say_where(void **state)
{
	auto_filter struct filter *filter = NULL;
	auto_buf struct buf text = { 0 };
	const char *data;
	struct err err = { 0 };

	put_selectors(&text, "name", 200);
	assert_int_equal(buf_puts(&text, ",?"), 0);
	data = buf_text(&text);
	assert_int_equal(filter_new(&data, 1, &filter, &err), -EINVAL);
	assert_string_equal(err.text, "filters: parse error at byte 1000 of 1001: "
				      "expected field or quoted");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(without_an_operator_a_field_is_present),
		cmocka_unit_test(equal_needs_presence_and_differs_does_not),
		cmocka_unit_test(values_are_quoted_as_in_go),
		cmocka_unit_test(spaces_may_stand_before_tokens),
		cmocka_unit_test(patterns_are_found_anywhere),
		cmocka_unit_test(what_is_no_pattern_matches_nothing),
		cmocka_unit_test(what_cannot_be_read_is_refused_with_the_place),
		cmocka_unit_test(what_is_not_utf8_is_refused),
		cmocka_unit_test(without_texts_everything_matches),
		cmocka_unit_test(one_text_of_several_must_match),
		cmocka_unit_test(one_bad_text_of_several_is_refused),
		cmocka_unit_test(selectors_are_bounded),
		cmocka_unit_test(a_long_pattern_is_refused),
		cmocka_unit_test(of_a_long_text_the_words_only_say_where),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
