/* SPDX-License-Identifier: Apache-2.0 */
#include "driver/base/json.h"

#include <fcntl.h>
#include <locale.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <cmocka.h>

#include "driver/base/fd.h"

static struct json *parse(const char *text)
{
	struct json *j = NULL;
	struct err err = { 0 };

	if (json_parse(text, strlen(text), 1 << 20, "test", &j, &err) < 0)
		print_message("%s\n", err.text);
	assert_non_null(j);
	return j;
}

/* Refused with this code, and with these words in the message. */
static void assert_refused(const char *text, size_t len, int code, const char *words)
{
	struct json *untouched = (struct json *)(uintptr_t)1, *j = untouched;
	struct err err = { 0 };
	int r = json_parse(text, len, 1 << 24, "manifest", &j, &err);

	if (r != code || !strstr(err.text, words))
		print_message("%.60s: %d %s\n", text, r, err.text);
	assert_int_equal(r, code);
	assert_ptr_equal(j, untouched);
	assert_non_null(strstr(err.text, "manifest"));
	assert_non_null(strstr(err.text, words));
}

/* Prints, and compares with what is expected. */
static void assert_prints(const struct json *j, int indent, const char *expected)
{
	auto_buf struct buf out = { 0 };

	assert_int_equal(json_print(j, indent, &out, NULL), 0);
	assert_string_equal(buf_text(&out), expected);
}

static void assert_round_trip(const char *text, const char *expected)
{
	auto_json struct json *j = parse(text);

	assert_prints(j, 0, expected);
}

static void a_manifest_is_read(void **state)
{
	static const char text[] =
		" {\"schemaVersion\": 2, \"config\": {\"digest\": \"sha256:aa\", \"size\": 7},\n"
		"\t\"layers\": [{\"digest\": \"sha256:b0\"}, {\"digest\": \"sha256:b1\"}],\r\n"
		" \"deep\": {\"yes\": true, \"none\": null}} ";
	auto_json struct json *j = parse(text);

	assert_int_equal(j->type, JSON_OBJECT);
	assert_int_equal(j->count, 4);
	assert_string_equal(j->keys[2], "layers");
	assert_int_equal(json_get(j, "/schemaVersion")->integer, 2);
	assert_string_equal(json_get(j, "/layers/1/digest")->string, "sha256:b1");
	assert_int_equal(json_get(j, "/layers")->count, 2);
	assert_true(json_get(j, "/deep/yes")->boolean);
	assert_int_equal(json_get(j, "/deep/none")->type, JSON_NULL);
	assert_ptr_equal(json_get(j, ""), j);
}

static void paths_that_lead_nowhere_give_null(void **state)
{
	static const char *const paths[] = { "/b",   "/a/3",   "/a/-1",
					     "/a/x", "/a/",    "/a/0/x",
					     "/s/0", "/a/01x", "/a/99999999999999999999",
					     "/",    "/a/+1",  "/ab" };
	auto_json struct json *j = parse("{\"a\": [1, 2, 3], \"s\": \"text\", \"abc\": 1}");

	for (size_t i = 0; i < ARRAY_LEN(paths); i++)
		assert_null(json_get(j, paths[i]));
	assert_null(json_get(NULL, "/a"));
	assert_null(json_get(NULL, ""));
}

static void keys_with_a_slash_have_their_own_getter(void **state)
{
	auto_json struct json *j = parse("{\"org/ref.name\": \"v1\", \"\": \"empty\"}");

	assert_null(json_get(j, "/org/ref.name"));
	assert_string_equal(json_get_key(j, "org/ref.name")->string, "v1");
	assert_string_equal(json_get_key(j, "")->string, "empty");
	assert_null(json_get_key(j, "org"));
	assert_null(json_get_key(NULL, "org"));
	assert_null(json_get_key(json_get_key(j, ""), "org"));
}

static void whole_numbers_are_exact_to_64_bits(void **state)
{
	auto_json struct json *j = parse(
		"[0, -0, 9007199254740993, 9223372036854775807, -9223372036854775808]");

	for (size_t i = 0; i < j->count; i++)
		assert_int_equal(j->items[i]->type, JSON_INT);
	assert_true(j->items[1]->integer == 0);
	assert_true(j->items[2]->integer == 9007199254740993);
	assert_true(j->items[3]->integer == INT64_MAX);
	assert_true(j->items[4]->integer == INT64_MIN);
}

static void other_numbers_are_real(void **state)
{
	auto_json struct json *j = parse("[9223372036854775808, 1.5, 1e3, -2.5E-1, 0.1, -0.0]");

	for (size_t i = 0; i < j->count; i++)
		assert_int_equal(j->items[i]->type, JSON_REAL);
	assert_true(j->items[0]->real == 9223372036854775808.0);
	assert_true(j->items[1]->real == 1.5);
	assert_true(j->items[2]->real == 1000);
	assert_true(j->items[3]->real == -0.25);
	assert_prints(j, 0, "[9.223372036854776e+18,1.5,1000,-0.25,0.1,-0.0]");
}

/*
 * A compiled LC_NUMERIC of glibc whose decimal point is a comma (localedef made it), since no such
 * locale need be installed here. Little-endian.
 */
static const unsigned char comma_locale[] =
	"\x14\x11\x03\x20\x06\0\0\0\x20\0\0\0\x22\0\0\0\x23\0\0\0\x24\0\0\0\x28\0\0\0"
	"\x2c\0\0\0\x2c\0\0\0\x2c\0\0\0\0\0\0\0ANSI_X3.4-1968";

static int make_comma_locale(void **state)
{
	static char dir[] = "/tmp/overlaid-json.XXXXXX";
	auto_close int dirfd = -EBADF;

	*state = dir;
	if (!mkdtemp(dir) || setenv("LOCPATH", dir, 1) < 0)
		return -1;
	dirfd = open_or_make_dir_at(AT_FDCWD, dir, 0700, NULL);
	if (mkdirat(dirfd, "comma", 0700) < 0)
		return -1;
	return replace_file_at(dirfd, "comma/LC_NUMERIC", comma_locale, sizeof(comma_locale), 0,
			       NULL);
}

static int remove_comma_locale(void **state)
{
	auto_close int dirfd = open_dir_at(AT_FDCWD, *state, NULL);

	(void)setlocale(LC_NUMERIC, "C");
	(void)unlinkat(dirfd, "comma/LC_NUMERIC", 0);
	(void)unlinkat(dirfd, "comma", AT_REMOVEDIR);
	return rmdir(*state);
}

static void the_locale_of_the_host_program_does_not_matter(void **state)
{
	char text[16];

	if (!setlocale(LC_NUMERIC, "comma")) {
		print_message(
			"no locale with a decimal comma: this libc has another format of locales\n");
		skip();
	}
	(void)snprintf(text, sizeof(text), "%g", 1.5);
	assert_string_equal(text, "1,5");
	assert_round_trip("[1.5,-0.25]", "[1.5,-0.25]");
	(void)snprintf(text, sizeof(text), "%g", 1.5);
	assert_string_equal(text, "1,5");
}

static void strings_are_unescaped(void **state)
{
	auto_json struct json *j = parse(
		"\"a\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\\ud83d\\udc33 \xc3\xa9\"");

	assert_string_equal(j->string, "a\"\\/\b\f\n\r\t\xc3\xa9\xf0\x9f\x90\xb3 \xc3\xa9");
}

static void of_duplicate_keys_the_last_wins(void **state)
{
	auto_json struct json *j = parse(
		"{\"a\": {\"x\": 1}, \"b\": 2, \"a\": 3, \"c\": 4, \"a\": [5]}");

	assert_int_equal(j->count, 3);
	assert_int_equal(json_get(j, "/a/0")->integer, 5);
	assert_prints(j, 0, "{\"b\":2,\"c\":4,\"a\":[5]}");
}

static void many_duplicate_keys_take_no_quadratic_time(void **state)
{
	auto_buf struct buf text = { 0 };
	auto_json struct json *j = NULL;

	(void)buf_putc(&text, '{');
	for (unsigned int i = 0; i < 200000; i++)
		(void)buf_printf(&text, "\"k%u\":%u,", i % 100000, i);
	(void)buf_puts(&text, "\"end\":1}");
	assert_int_equal(buf_status(&text, NULL), 0);
	assert_int_equal(json_parse(text.data, text.len, text.len, "test", &j, NULL), 0);
	assert_int_equal(j->count, 100001);
	assert_int_equal(json_get(j, "/k7")->integer, 100007);
}

static void what_is_not_json_is_refused(void **state)
{
	static const char *const texts[] = {
		"",
		" ",
		"{",
		"[1",
		"\"open",
		"{\"a\"}",
		"{\"a\":}",
		"{a:1}",
		"{'a':1}",
		"[1,]",
		"{\"a\":1,}",
		"[1 2]",
		"tru",
		"nul",
		"True",
		"NaN",
		"Infinity",
		"01",
		"+1",
		".5",
		"1.",
		"1e",
		"-",
		"0x10",
		"\"\\x\"",
		"\"\\u12g4\"",
		"\"\t\"",
		"\"a\nb\"",
		"{} {}",
		"1 2",
		"{}x",
		"[]]",
		"// c\n1",
		"1 /* c */",
		"{1:2}",
		"[1}",
		"\"\\u12\"",
		"\"\\ud8",
		",",
		"]",
		"\xef\xbb\xbf{}",
	};

	for (size_t i = 0; i < ARRAY_LEN(texts); i++)
		assert_refused(texts[i], strlen(texts[i]), -EINVAL, "is not valid JSON");
}

static void a_syntax_error_says_where_and_is_one_line(void **state)
{
	struct json *j = NULL;
	struct err err = { 0 };

	assert_int_equal(json_parse("{\"a\": secret}", 13, 100, "config", &j, &err), -EINVAL);
	assert_non_null(strstr(err.text, "config is not valid JSON: "));
	assert_non_null(strstr(err.text, "near byte "));
	assert_null(strstr(err.text, "secret"));
	assert_null(strchr(err.text, '\n'));
}

static void what_is_not_utf8_is_refused(void **state)
{
	static const char *const texts[] = {
		"\"\x80\"",
		"\"\xc3\"",
		"\"\xc3(\"",
		"\"\xff\"",
		"\"\xc0\x80\"",
		"\"\xc1\xbf\"",
		"\"\xe0\x80\x80\"",
		"\"\xed\xa0\x80\"",
		"\"\xe2\x82\"",
		"\"\xf0\x80\x80\x80\"",
		"\"\xf4\x90\x80\x80\"",
		"\"\xf5\x80\x80\x80\"",
		"\"\xf0\x9f\x90\"",
		"{\"\xe9\": 1}",
	};
	static const char good[] =
		"\"\xc2\x80\xdf\xbf\xe0\xa0\x80\xed\x9f\xbf\xee\x80\x80\xf0\x90\x80\x80"
		"\xf4\x8f\xbf\xbf\"";
	auto_json struct json *j = parse(good);

	assert_prints(j, 0, good);
	for (size_t i = 0; i < ARRAY_LEN(texts); i++)
		assert_refused(texts[i], strlen(texts[i]), -EINVAL, "is not UTF-8");
	assert_refused("[\"ab\x80\"]", 7, -EINVAL, "byte 4 is");
}

static void an_embedded_nul_is_refused(void **state)
{
	assert_refused("\"a\\u0000b\"", 10, -EINVAL, "NUL");
	assert_refused("{\"a\\u0000\": 1}", 14, -EINVAL, "NUL");
	assert_refused("\"a\0b\"", 5, -EINVAL, "is not valid JSON");
	assert_refused("1\0", 2, -EINVAL, "is not valid JSON");
}

static void half_a_surrogate_pair_prints_as_valid_utf8(void **state)
{
	assert_round_trip("\"a\\udc00b\"", "\"a\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"
					   "b\"");
}

static void a_number_out_of_range_is_refused(void **state)
{
	assert_refused("1e999", 5, -EINVAL, "too large");
	assert_refused("[-1e999]", 8, -EINVAL, "too large");
}

static void the_maximum_of_bytes_holds(void **state)
{
	auto_json struct json *j = NULL;
	struct json *none = NULL;
	struct err err = { 0 };

	assert_int_equal(json_parse("[1234]", 6, 6, "config", &j, &err), 0);
	assert_int_equal(json_parse("[1234]", 6, 5, "config", &none, &err), -EFBIG);
	assert_non_null(strstr(err.text, "config is too large: 6 bytes, and at most 5"));
}

static void nested(struct buf *text, const char *open, const char *inner, const char *close,
		   int depth)
{
	buf_reset(text);
	for (int i = 0; i < depth; i++)
		(void)buf_puts(text, open);
	(void)buf_puts(text, inner);
	for (int i = 0; i < depth; i++)
		(void)buf_puts(text, close);
	assert_int_equal(buf_status(text, NULL), 0);
}

static void the_maximum_of_depth_holds(void **state)
{
	auto_buf struct buf text = { 0 };
	auto_json struct json *arrays = NULL;
	auto_json struct json *objects = NULL;

	nested(&text, "[", "1", "]", JSON_DEPTH_MAX);
	assert_int_equal(json_parse(text.data, text.len, 4096, "test", &arrays, NULL), 0);
	nested(&text, "{\"a\":", "1", "}", JSON_DEPTH_MAX);
	assert_int_equal(json_parse(text.data, text.len, 4096, "test", &objects, NULL), 0);
	nested(&text, "[", "1", "]", JSON_DEPTH_MAX + 1);
	assert_refused(text.data, text.len, -EFBIG, "nested too deep");
	nested(&text, "{\"a\":", "1", "}", 200000);
	assert_refused(text.data, text.len, -EFBIG, "nested too deep");
}

static void the_maximum_of_values_holds(void **state)
{
	auto_buf struct buf text = { 0 };
	auto_json struct json *j = NULL;

	/* The array is a value too. */
	(void)buf_putc(&text, '[');
	for (int i = 0; i < JSON_NODES_MAX - 2; i++)
		(void)buf_puts(&text, "1,");
	(void)buf_puts(&text, "1]");
	assert_int_equal(json_parse(text.data, text.len, text.len, "test", &j, NULL), 0);
	assert_int_equal(j->count, JSON_NODES_MAX - 1);

	text.len -= 1;
	(void)buf_puts(&text, ",1]");
	assert_refused(text.data, text.len, -EFBIG, "too many values");
}

static void required_values_are_given(void **state)
{
	auto_json struct json *j = parse(
		"{\"s\": \"text\", \"n\": -7, \"a\": [1], \"o\": {\"k\": 1}}");
	const struct json *node = NULL;
	const char *text = NULL;
	int64_t number = 0;

	assert_int_equal(json_need_string(j, "/s", "config", &text, NULL), 0);
	assert_string_equal(text, "text");
	assert_int_equal(json_need_int(j, "/n", "config", &number, NULL), 0);
	assert_true(number == -7);
	assert_int_equal(json_need_array(j, "/a", "config", &node, NULL), 0);
	assert_int_equal(node->count, 1);
	assert_int_equal(json_need_object(j, "/o", "config", &node, NULL), 0);
	assert_string_equal(node->keys[0], "k");
	assert_int_equal(json_need_object(j, "", "config", &node, NULL), 0);
	assert_ptr_equal(node, j);
}

static void required_values_that_are_wrong_are_named(void **state)
{
	auto_json struct json *j = parse(
		"{\"s\": \"text\", \"n\": 7, \"r\": 1.5, \"z\": null, \"a\": [{}]}");
	const struct json *node = j;
	const char *text = "untouched";
	struct err err = { 0 };
	int64_t number = 42;

	assert_int_equal(json_need_string(j, "/a/0/digest", "manifest", &text, &err), -EINVAL);
	assert_string_equal(err.text, "manifest: /a/0/digest: missing");
	assert_int_equal(json_need_string(j, "/n", "manifest", &text, &err), -EINVAL);
	assert_string_equal(err.text, "manifest: /n is a number, not a string");
	assert_int_equal(json_need_string(j, "/z", "manifest", &text, &err), -EINVAL);
	assert_string_equal(err.text, "manifest: /z is null, not a string");
	assert_int_equal(json_need_int(j, "/s", "manifest", &number, &err), -EINVAL);
	assert_string_equal(err.text, "manifest: /s is a string, not a number");
	assert_int_equal(json_need_int(j, "/r", "manifest", &number, &err), -EINVAL);
	assert_string_equal(err.text, "manifest: /r is not a whole number of 64 bits");
	assert_int_equal(json_need_array(j, "", "manifest", &node, &err), -EINVAL);
	assert_string_equal(err.text, "manifest: the document is an object, not an array");
	assert_int_equal(json_need_object(NULL, "/x", "manifest", &node, &err), -EINVAL);
	assert_string_equal(err.text, "manifest: /x: missing");
	assert_string_equal(text, "untouched");
	assert_true(number == 42);
	assert_ptr_equal(node, j);
}

static void optional_values_fall_back(void **state)
{
	auto_json struct json *j = parse("{\"s\": \"text\", \"n\": 7, \"t\": true, \"z\": null}");

	assert_string_equal(json_string_or(j, "/s", "x"), "text");
	assert_string_equal(json_string_or(j, "/n", "x"), "x");
	assert_string_equal(json_string_or(j, "/z", "x"), "x");
	assert_null(json_string_or(j, "/missing", NULL));
	assert_int_equal(json_int_or(j, "/n", 1), 7);
	assert_int_equal(json_int_or(j, "/s", 1), 1);
	assert_true(json_bool_or(j, "/t", false));
	assert_true(json_bool_or(j, "/n", true));
	assert_false(json_bool_or(NULL, "/t", false));
}

/* A small document with everything in it. */
static struct json *build(void)
{
	struct json *list = json_push(json_push(json_new_array(), json_new_int(-5)),
				      json_new_bool(false));
	struct json *j = json_set(json_new_object(), "Id", json_new_string("sha256:a/b"));

	j = json_set(j, "List", list);
	j = json_set(j, "Empty", json_new_array());
	j = json_set(j, "Labels", json_new_object());
	j = json_set(j, "Nested", json_set(json_new_object(), "k", json_new_null()));
	return j;
}

static void it_is_printed_in_one_line(void **state)
{
	auto_json struct json *j = build();

	assert_prints(j, 0,
		      "{\"Id\":\"sha256:a/b\",\"List\":[-5,false],\"Empty\":[],\"Labels\":{},"
		      "\"Nested\":{\"k\":null}}");
}

static void it_is_printed_indented_as_docker_does(void **state)
{
	auto_json struct json *j = json_push(json_new_array(), build());

	assert_prints(j, 4,
		      "[\n"
		      "    {\n"
		      "        \"Id\": \"sha256:a/b\",\n"
		      "        \"List\": [\n"
		      "            -5,\n"
		      "            false\n"
		      "        ],\n"
		      "        \"Empty\": [],\n"
		      "        \"Labels\": {},\n"
		      "        \"Nested\": {\n"
		      "            \"k\": null\n"
		      "        }\n"
		      "    }\n"
		      "]");
}

static void strings_are_escaped(void **state)
{
	auto_json struct json *j = json_push(json_new_array(),
					     json_new_string(
						     "\"\\/\b\f\n\r\t\x01\x1f\x7f<&>\xc3\xa9"));

	assert_prints(j, 0, "[\"\\\"\\\\/\\b\\f\\n\\r\\t\\u0001\\u001f\x7f<&>\xc3\xa9\"]");
}

static void bytes_that_are_not_utf8_are_replaced(void **state)
{
	auto_json struct json *j = json_set(json_new_object(), "k\xff",
					    json_new_string("a\xc3(\x80\xe2\x82"));
	auto_buf struct buf out = { 0 };
	auto_json struct json *again = NULL;

	assert_prints(j, 0,
		      "{\"k\xef\xbf\xbd\":\"a\xef\xbf\xbd(\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"}");
	assert_int_equal(json_print(j, 2, &out, NULL), 0);
	assert_int_equal(json_parse(out.data, out.len, out.len, "test", &again, NULL), 0);
}

static void what_is_printed_reads_back_the_same(void **state)
{
	static const char text[] =
		"{\"a\":[1,-2.5,1e-07,true,false,null,\"\\u0007\"],\"b\":{\"\":{}},\"c\":[[],[[]]]}";

	assert_round_trip(text, text);
}

static void a_key_that_is_set_again_is_replaced(void **state)
{
	auto_json struct json *j = json_set(json_new_object(), "a", json_new_int(1));

	j = json_set(j, "b", json_new_int(2));
	j = json_set(j, "a", json_new_string("new"));
	assert_prints(j, 0, "{\"a\":\"new\",\"b\":2}");
}

static void null_is_passed_on(void **state)
{
	struct err err = { 0 };
	auto_buf struct buf out = { 0 };

	assert_null(json_set(NULL, "k", json_new_int(1)));
	assert_null(json_set(json_new_object(), "k", NULL));
	assert_null(json_push(NULL, json_new_int(1)));
	assert_null(json_push(json_new_array(), NULL));
	assert_null(json_copy(NULL));
	json_free(NULL);
	assert_int_equal(json_print(NULL, 0, &out, &err), -ENOMEM);
	assert_string_equal(err.text, "out of memory");
}

static void no_text_is_null(void **state)
{
	auto_json struct json *j = json_new_string(NULL);

	assert_int_equal(j->type, JSON_NULL);
}

static void a_copy_shares_nothing(void **state)
{
	struct json *j = build();
	auto_json struct json *copy = json_copy(j);

	json_free(j);
	copy = json_set(copy, "More", json_new_int(1)); /* it can grow */
	assert_prints(copy, 0,
		      "{\"Id\":\"sha256:a/b\",\"List\":[-5,false],\"Empty\":[],\"Labels\":{},"
		      "\"Nested\":{\"k\":null},\"More\":1}");
}

static void a_parsed_tree_can_be_changed(void **state)
{
	auto_json struct json *j = parse("{\"a\": 1, \"a\": 2, \"b\": [1, 2, 3, 4, 5]}");

	for (int i = 0; i < 10; i++) {
		char key[16];

		(void)snprintf(key, sizeof(key), "k%d", i);
		j = json_set(j, key, json_new_int(i));
	}
	assert_prints(
		j, 0,
		"{\"a\":2,\"b\":[1,2,3,4,5],\"k0\":0,\"k1\":1,\"k2\":2,\"k3\":3,\"k4\":4,\"k5\":5,"
		"\"k6\":6,\"k7\":7,\"k8\":8,\"k9\":9}");
}

static void a_full_buffer_is_an_error(void **state)
{
	auto_json struct json *j = build();
	auto_buf struct buf out = { .max = 10 };

	assert_int_equal(json_print(j, 0, &out, NULL), -EFBIG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_manifest_is_read),
		cmocka_unit_test(paths_that_lead_nowhere_give_null),
		cmocka_unit_test(keys_with_a_slash_have_their_own_getter),
		cmocka_unit_test(whole_numbers_are_exact_to_64_bits),
		cmocka_unit_test(other_numbers_are_real),
		cmocka_unit_test_setup_teardown(the_locale_of_the_host_program_does_not_matter,
						make_comma_locale, remove_comma_locale),
		cmocka_unit_test(strings_are_unescaped),
		cmocka_unit_test(of_duplicate_keys_the_last_wins),
		cmocka_unit_test(many_duplicate_keys_take_no_quadratic_time),
		cmocka_unit_test(what_is_not_json_is_refused),
		cmocka_unit_test(a_syntax_error_says_where_and_is_one_line),
		cmocka_unit_test(what_is_not_utf8_is_refused),
		cmocka_unit_test(an_embedded_nul_is_refused),
		cmocka_unit_test(half_a_surrogate_pair_prints_as_valid_utf8),
		cmocka_unit_test(a_number_out_of_range_is_refused),
		cmocka_unit_test(the_maximum_of_bytes_holds),
		cmocka_unit_test(the_maximum_of_depth_holds),
		cmocka_unit_test(the_maximum_of_values_holds),
		cmocka_unit_test(required_values_are_given),
		cmocka_unit_test(required_values_that_are_wrong_are_named),
		cmocka_unit_test(optional_values_fall_back),
		cmocka_unit_test(it_is_printed_in_one_line),
		cmocka_unit_test(it_is_printed_indented_as_docker_does),
		cmocka_unit_test(strings_are_escaped),
		cmocka_unit_test(bytes_that_are_not_utf8_are_replaced),
		cmocka_unit_test(what_is_printed_reads_back_the_same),
		cmocka_unit_test(a_key_that_is_set_again_is_replaced),
		cmocka_unit_test(null_is_passed_on),
		cmocka_unit_test(no_text_is_null),
		cmocka_unit_test(a_copy_shares_nothing),
		cmocka_unit_test(a_parsed_tree_can_be_changed),
		cmocka_unit_test(a_full_buffer_is_an_error),
	};

	return cmocka_run_group_tests_name("json", tests, NULL, NULL);
}
