/* SPDX-License-Identifier: Apache-2.0 */
#include "driver/base/toml.h"

#include <locale.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

/* The rules are those of https://toml.io/en/v1.0.0, section by section, and what the public toml-test suite
 * tries of them. */

static int parse(const char *text, size_t len, struct json **ret, struct err *err)
{
	return toml_parse(text, len, 1 << 20, "test.toml", ret, err);
}

struct valid {
	const char *text, *json;
};

static void check_valid(const struct valid *cases, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		auto_json struct json *j = NULL;
		auto_buf struct buf out = { 0 };
		struct err err = { 0 };

		if (parse(cases[i].text, strlen(cases[i].text), &j, &err) < 0)
			fail_msg("%s\n%s", cases[i].text, err.text);
		assert_int_equal(json_print(j, 0, &out, NULL), 0);
		assert_string_equal(buf_text(&out), cases[i].json);
	}
}

static void check_invalid(const char *const *texts, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		struct json *untouched = (struct json *)(uintptr_t)1, *j = untouched;
		struct err err = { 0 };

		if (parse(texts[i], strlen(texts[i]), &j, &err) != -EINVAL)
			fail_msg("not refused: %s", texts[i]);
		assert_ptr_equal(j, untouched);
		if (strncmp(err.text, "test.toml: ", 11) != 0)
			fail_msg("%s\n%s", texts[i], err.text);
	}
}

#define valid(...)                                                   \
	do {                                                         \
		static const struct valid cases[] = { __VA_ARGS__ }; \
		check_valid(cases, ARRAY_LEN(cases));                \
	} while (0)
#define invalid(...)                                                \
	do {                                                        \
		static const char *const texts[] = { __VA_ARGS__ }; \
		check_invalid(texts, ARRAY_LEN(texts));             \
	} while (0)

static void registries_and_hosts_are_read(void **state)
{
	valid({ "unqualified-search-registries = [\"docker.io\"]\n"
		"# a comment\n"
		"[[registry]]\n"
		"prefix = \"*.example.com\"\n"
		"insecure = true\n"
		"[[registry.mirror]]\n"
		"location = \"mirror.local:5000\"\n"
		"[[registry.mirror]]\n"
		"location = \"other.local\"\n"
		"[[registry]]\n"
		"location = \"quay.io\"\n"
		"[aliases]\n"
		"\"nginx\" = \"docker.io/library/nginx\"\n",
		"{\"unqualified-search-registries\":[\"docker.io\"],\"registry\":[{\"prefix\":\"*.example.com\","
		"\"insecure\":true,\"mirror\":[{\"location\":\"mirror.local:5000\"},{\"location\":\"other.local\"}]},"
		"{\"location\":\"quay.io\"}],\"aliases\":{\"nginx\":\"docker.io/library/nginx\"}}" },
	      { "server = \"https://docker.io\"\n\n[host.\"https://mirror:5000\"]\n"
		"  capabilities = [\"pull\", \"resolve\"]\n  skip_verify = true\n"
		"  [host.\"https://mirror:5000\".header]\n    x-custom = [\"a\", \"b\"]\n",
		"{\"server\":\"https://docker.io\",\"host\":{\"https://mirror:5000\":{\"capabilities\":[\"pull\","
		"\"resolve\"],\"skip_verify\":true,\"header\":{\"x-custom\":[\"a\",\"b\"]}}}}" });
}

static void comments_and_lines(void **state)
{
	valid({ "", "{}" }, { "\n\r\n", "{}" }, { "# only\tthis", "{}" },
	      { "a = 1 # after\r\nb=2", "{\"a\":1,\"b\":2}" },
	      { "\t a \t = \t 1 \t", "{\"a\":1}" });
	invalid("a = 1 b = 2", "a = 1\rb = 2", "# \001\n", "a = \n1", "a", "a =", "= 1", "a = 1 2",
		"\xef\xbb", "# \x7f", "[a] b = 1", "a = 1 \r", "\xff = 1");
}

static void keys(void **state)
{
	valid({ "a-b_C9 = 1", "{\"a-b_C9\":1}" }, { "1234 = 1", "{\"1234\":1}" },
	      { "\"\" = 1", "{\"\":1}" }, { "'q \"x\"' = 1", "{\"q \\\"x\\\"\":1}" },
	      { "\"\\u00e9\" = 1", "{\"\xc3\xa9\":1}" },
	      { "a.b.c = 1\na.b.d = 2\na . \"x.y\" = 3",
		"{\"a\":{\"b\":{\"c\":1,\"d\":2},\"x.y\":3}}" },
	      { "3.14 = 1", "{\"3\":{\"14\":1}}" },
	      { "apple.t = 1\norange.t = 2\napple.s = 3",
		"{\"apple\":{\"t\":1,\"s\":3},\"orange\":{\"t\":2}}" });
	invalid("a b = 1", "a = 1\na = 2", "a = 1\n'a' = 2", ". = 1", "a. = 1", ".a = 1",
		"a..b = 1", "\"\"\"a\"\"\" = 1", "a = 1\na.b = 2", "a.b = 1\na = 2", "a\n= 1",
		"\xc3\xa9 = 1", "a! = 1", "\"a = 1", "a.b = {}\na.b.c = 1");
}

static void strings(void **state)
{
	valid({ "a = \"\\b\\t\\n\\f\\r\\\"\\\\\\u0041\\U0001F600\"",
		"{\"a\":\"\\b\\t\\n\\f\\r\\\"\\\\A\xf0\x9f\x98\x80\"}" },
	      { "a = 'C:\\n'", "{\"a\":\"C:\\\\n\"}" },
	      { "a = \"\"\nb=''", "{\"a\":\"\",\"b\":\"\"}" },
	      { "a = \"\"\"\none\r\ntwo\"\"\"", "{\"a\":\"one\\ntwo\"}" },
	      { "a = \"\"\"one \\  \n\n   two\\\n\"\"\"", "{\"a\":\"one two\"}" },
	      { "a = \"\"\"\"\"\"", "{\"a\":\"\"}" }, { "a = ''''''", "{\"a\":\"\"}" },
	      { "a = \"\"\"\"q\"\"\"\"", "{\"a\":\"\\\"q\\\"\"}" },
	      { "a = \"\"\"\"\"two\"\"\"\"\"", "{\"a\":\"\\\"\\\"two\\\"\\\"\"}" },
	      { "a = '''\n\\''x'''''", "{\"a\":\"\\\\''x''\"}" },
	      { "a = \"\"\"\"\"\"\"", "{\"a\":\"\\\"\"}" },
	      { "a = \"\"\"\"\"\"\"", "{\"a\":\"\\\"\"}" },
	      { "a = \"tab\there\"", "{\"a\":\"tab\\there\"}" });
	invalid("a = \"x", "a = 'x", "a = \"x\ny\"", "a = 'x\ny'", "a = \"\\x\"", "a = \"\\u12\"",
		"a = \"\\ud800\"", "a = \"\\U00110000\"", "a = \"\\u0000\"", "a = \"\001\"",
		"a = '\x7f'", "a = \"\"\"x", "a = '''x''", "a = \"\"\"x\\ y\"\"\"",
		"a = \"\"\"\rx\"\"\"", "a = \"\"\"six\"\"\"\"\"\"", "a = \"x\\\ny\"",
		"a = \"\\U0001F60\"");
}

static void integers(void **state)
{
	valid({ "a=[0, +0, -0, 42, -17, +99, 1_000, 5_349_221]",
		"{\"a\":[0,0,0,42,-17,99,1000,5349221]}" },
	      { "a=[0xDEAD_beef, 0o755, 0b1101_0110, 0x0]", "{\"a\":[3735928559,493,214,0]}" },
	      { "a=9223372036854775807\nb=-9223372036854775808",
		"{\"a\":9223372036854775807,\"b\":-9223372036854775808}" });
	invalid("a=01", "a=-01", "a=_1", "a=1_", "a=1__0", "a=0x", "a=0x_1", "a=0xg", "a=+0x1",
		"a=0o8", "a=0b2", "a=0X1", "a=9223372036854775808", "a=1.a", "a=++1", "a=1-",
		"a=--1", "a=0x1.0", "a=0x8000000000000000");
}

static void floats(void **state)
{
	auto_json struct json *j = NULL;
	static const char text[] =
		"a=[1.5, -0.01, 5e+22, 1E06, 6.626e-34, 9_224.5, inf, -inf, nan, +nan]";

	assert_int_equal(parse(text, strlen(text), &j, NULL), 0);
	for (size_t i = 0; i < 10; i++)
		assert_int_equal(json_get(j, "/a")->items[i]->type, JSON_REAL);
	assert_true(json_get(j, "/a/0")->real == 1.5 && json_get(j, "/a/2")->real == 5e22);
	assert_true(json_get(j, "/a/5")->real == 9224.5);
	assert_true(isinf(json_get(j, "/a/6")->real) && json_get(j, "/a/7")->real < 0);
	assert_true(isnan(json_get(j, "/a/8")->real) && isnan(json_get(j, "/a/9")->real));
	invalid("a=.7", "a=7.", "a=3.e+20", "a=1e", "a=1e+", "a=1_.0", "a=1._0", "a=1.0_",
		"a=03.14", "a=1e1.0", "a=Inf", "a=+-inf", "a=NaN", "a=1.2.3", "a=1e_1",
		"a=infinity");
}

static void a_comma_of_the_locale_changes_nothing(void **state)
{
	auto_json struct json *j = NULL;

	if (!setlocale(LC_ALL, "de_DE.UTF-8"))
		(void)setlocale(LC_ALL, "C.UTF-8");
	assert_int_equal(parse("a=1.5", 5, &j, NULL), 0);
	(void)setlocale(LC_ALL, "C");
	assert_true(json_get(j, "/a")->real == 1.5);
}

static void booleans(void **state)
{
	valid({ "a=true\nb=false", "{\"a\":true,\"b\":false}" });
	invalid("a=True", "a=TRUE", "a=tru", "a=truex", "a=f");
}

static void dates_and_times(void **state)
{
	valid({ "a=1979-05-27T07:32:00Z", "{\"a\":\"1979-05-27T07:32:00Z\"}" },
	      { "a=1979-05-27 00:32:00.999999-07:00",
		"{\"a\":\"1979-05-27 00:32:00.999999-07:00\"}" },
	      { "a=1979-05-27T07:32:00", "{\"a\":\"1979-05-27T07:32:00\"}" },
	      { "a=2000-02-29 # leap", "{\"a\":\"2000-02-29\"}" },
	      { "a=07:32:00.5", "{\"a\":\"07:32:00.5\"}" },
	      { "a=1987-07-05t17:45:00z", "{\"a\":\"1987-07-05t17:45:00z\"}" });
	invalid("a=1979-13-27", "a=1979-02-29", "a=1979-00-01", "a=1979-05-00", "a=1979-5-27",
		"a=24:00:00", "a=07:60:00", "a=07:32", "a=07:32:00.", "a=1979-05-27T07:32Z",
		"a=1979-05-27T07:32:00+24:00", "a=1979-05-27T", "a=1979-05-27  07:32:00",
		"a=07:32:61", "a=1900-02-29", "a=79-05-27", "a=1979-05-27T07:32:00+1:00");
}

static void arrays(void **state)
{
	valid({ "a=[]", "{\"a\":[]}" },
	      { "a=[ 1, ['x', true], {} ]", "{\"a\":[1,[\"x\",true],{}]}" },
	      { "a=[ # one\n 1 # two\n , # three\n\n 2, # four\n]", "{\"a\":[1,2]}" });
	invalid("a=[", "a=[1", "a=[1 2]", "a=[,]", "a=[,1]", "a=[1,,2]", "a=[1,,]", "a=]", "a=[1]]",
		"a=[1} ");
}

static void tables(void **state)
{
	valid({ "[a]\n[b]\nx=1", "{\"a\":{},\"b\":{\"x\":1}}" },
	      { "[a.b.c]\nx=1\n[a]\ny=2", "{\"a\":{\"b\":{\"c\":{\"x\":1}},\"y\":2}}" },
	      { "[ j . \"k.l\" . 'm' ]", "{\"j\":{\"k.l\":{\"m\":{}}}}" },
	      { "a.b.c=1\n[a.d]\nx=1", "{\"a\":{\"b\":{\"c\":1},\"d\":{\"x\":1}}}" },
	      { "[fruit]\napple.color='red'\napple.taste.sweet=true\n[fruit.apple.texture]\nsmooth=true",
		"{\"fruit\":{\"apple\":{\"color\":\"red\","
		"\"taste\":{\"sweet\":true},\"texture\":{\"smooth\":true}}}}" });
	invalid("[a]\n[a]", "[a]\nb=1\n[a.b]", "[a", "a]", "[]", "[a.]", "[.a]", "[a..b]", "[a]]",
		"[ [a] ]", "[a]\n[b]\n[a]", "[fruit]\napple.color=1\n[fruit.apple]",
		"[fruit]\napple.taste.sweet=true\n[fruit.apple.taste]",
		"[a.b.c]\nz=9\n[a]\nb.c.t='x'", "[a]\nb={}\n[a.b]", "a=[]\n[a]", "[a\n]",
		"[[a]]\n[a]", "a=1\n[a.b]", "[a.b]\n[a]\nb.c=1");
}

static void inline_tables(void **state)
{
	valid({ "a={}", "{\"a\":{}}" },
	      { "a = { x = 1, y.z = 'b' }", "{\"a\":{\"x\":1,\"y\":{\"z\":\"b\"}}}" },
	      { "a=[{b=1},{b={c=2}}]", "{\"a\":[{\"b\":1},{\"b\":{\"c\":2}}]}" },
	      { "a={b=[1,\n2]}", "{\"a\":{\"b\":[1,2]}}" });
	invalid("a={x=1,}", "a={x=1 y=2}", "a={\nx=1}", "a={x=1\n}", "a={x=1", "a={x=1,x=2}",
		"a={x=1}\na.y=2", "a={x=1}\n[a.y]", "a={x=1}\n[a]", "a={b.c=1,b=2}",
		"a={b={},b.c=1}", "a={,}", "a={b.c=1}\na.b.d=2", "a={x}", "[[a.b]]\n[a]\nb={}");
}

static void arrays_of_tables(void **state)
{
	valid({ "[[p]]\nn=1\n[[p]]\n[[p]]\nn=3", "{\"p\":[{\"n\":1},{},{\"n\":3}]}" },
	      { "[[f]]\nn='a'\n[f.p]\nc='r'\n[[f.v]]\nn='x'\n[[f.v]]\nn='y'\n[[f]]\nn='b'\n[[f.v]]\nn='z'",
		"{\"f\":[{\"n\":\"a\",\"p\":{\"c\":\"r\"},\"v\":[{\"n\":\"x\"},{\"n\":\"y\"}]},"
		"{\"n\":\"b\",\"v\":[{\"n\":\"z\"}]}]}" },
	      { "[[a.b]]\nx=1\n[a]\ny=2", "{\"a\":{\"b\":[{\"x\":1}],\"y\":2}}" });
	invalid("[f.p]\n[[f]]", "f=[]\n[[f]]", "[[f]]\n[[f.v]]\n[f.v]", "[[f]]\n[f.p]\n[[f.p]]",
		"[a]\n[[a]]", "[[a]", "[[a] ]", "[[]]", "f={}\n[[f]]", "f.x=1\n[[f]]",
		"a=[{b=1}]\n[a.c]");
}

static void limits(void **state)
{
	auto_buf struct buf text = { 0 };
	struct json *j = NULL;
	struct err err = { 0 };

	assert_int_equal(toml_parse("a = 1\n", 6, 5, "big", &j, &err), -EFBIG);
	assert_non_null(strstr(err.text, "larger than 5 bytes"));
	(void)buf_puts(&text, "a=");
	for (int i = 0; i < JSON_DEPTH_MAX + 1; i++)
		(void)buf_putc(&text, '[');
	assert_int_equal(parse(text.data, text.len, &j, &err), -EFBIG);
	assert_non_null(strstr(err.text, "too deep"));
	buf_reset(&text);
	for (int i = 0; i < JSON_DEPTH_MAX + 1; i++)
		(void)buf_puts(&text, "a.");
	assert_int_equal(parse(text.data, text.len, &j, &err), -EFBIG);
	/* Each within its bounds, and not together. */
	buf_reset(&text);
	(void)buf_putc(&text, '[');
	for (int i = 0; i < JSON_DEPTH_MAX - 1; i++)
		(void)buf_puts(&text, "a.");
	(void)buf_puts(&text, "b]");
	assert_int_equal(parse(text.data, text.len, &j, &err), -EFBIG);
	assert_non_null(strstr(err.text, "too deep"));
	buf_reset(&text);
	(void)buf_putc(&text, '[');
	for (int i = 0; i < JSON_DEPTH_MAX - 2; i++)
		(void)buf_puts(&text, "a.");
	(void)buf_puts(&text, "b]");
	assert_int_equal(parse(text.data, text.len, &j, &err), 0);
	json_freep(&j);
	assert_int_equal(parse("a='x\0y'", 7, &j, &err), -EINVAL);
}

static void the_line_is_told(void **state)
{
	struct json *j = NULL;
	struct err err = { 0 };
	const char text[] = "a = 1\n\nb = [\n 1,\n 2,\n x ]";

	assert_int_equal(parse(text, strlen(text), &j, &err), -EINVAL);
	assert_string_equal(err.text, "test.toml: line 6: x is no value (or too large a number)");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(registries_and_hosts_are_read),
		cmocka_unit_test(comments_and_lines),
		cmocka_unit_test(keys),
		cmocka_unit_test(strings),
		cmocka_unit_test(integers),
		cmocka_unit_test(floats),
		cmocka_unit_test(a_comma_of_the_locale_changes_nothing),
		cmocka_unit_test(booleans),
		cmocka_unit_test(dates_and_times),
		cmocka_unit_test(arrays),
		cmocka_unit_test(tables),
		cmocka_unit_test(inline_tables),
		cmocka_unit_test(arrays_of_tables),
		cmocka_unit_test(limits),
		cmocka_unit_test(the_line_is_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
