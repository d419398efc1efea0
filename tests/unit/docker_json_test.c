/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/serve/docker_json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/util.h"
#include <cmocka.h>

static struct json *parsed(const char *text)
{
	struct json *j = NULL;

	assert_int_equal(docker_json_parse(text, strlen(text), &j, NULL), 0);
	return j;
}

static void a_request_is_an_object(void **state)
{
	static const char *const wrong[] = { "[]", "1", "\"x\"", "null", "{", "{}{}", "\xff" };
	struct json *j = NULL;
	struct err err;

	for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
		assert_true(docker_json_parse(wrong[i], strlen(wrong[i]), &j, NULL) < 0);
	assert_int_equal(docker_json_parse("", 0, &j, &err), -EBADMSG);
	assert_words(&err, "without its body");
	assert_null(j);
}

static void what_is_not_there_is_empty_and_what_is_no_text_is_refused(void **state)
{
	auto_json struct json *j = parsed("{\"ID\":\"a\",\"Parent\":null,\"Label\":5}");
	const char *text = NULL;

	assert_int_equal(docker_json_text(j, "ID", &text, NULL), 0);
	assert_string_equal(text, "a");
	assert_int_equal(docker_json_text(j, "Parent", &text, NULL), 0);
	assert_string_equal(text, "");
	assert_int_equal(docker_json_text(j, "Nothing", &text, NULL), 0);
	assert_string_equal(text, "");
	assert_int_equal(docker_json_text(j, "Label", &text, NULL), -EINVAL);
}

static void ids_are_names_of_files(void **state)
{
	static const char *const right[] = { "a", "0f-init", "Base", "x.y_z-1", "...", ".a" };
	static const char *const wrong[] = { "", ".", "..", "a/b", "/", "a b", "\xc3\xa4", "a\n" };
	char longest[DOCKER_ID_MAX + 2];

	for (size_t i = 0; i < ARRAY_LEN(right); i++)
		assert_int_equal(docker_check_id(right[i], NULL), 0);
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
		assert_int_equal(docker_check_id(wrong[i], NULL), -EINVAL);
	memset(longest, 'a', sizeof(longest));
	longest[DOCKER_ID_MAX] = 0;
	assert_int_equal(docker_check_id(longest, NULL), 0);
	longest[DOCKER_ID_MAX] = 'a';
	longest[DOCKER_ID_MAX + 1] = 0;
	assert_int_equal(docker_check_id(longest, NULL), -EINVAL);
}

static void maps_are_lists_of_ranges(void **state)
{
	static const char *const wrong[] = {
		"{\"M\":5}",
		"{\"M\":[5]}",
		"{\"M\":[{\"container_id\":0,\"host_id\":1}]}",
		"{\"M\":[{\"container_id\":0,\"host_id\":1,\"size\":0}]}",
		"{\"M\":[{\"container_id\":-1,\"host_id\":1,\"size\":1}]}",
		"{\"M\":[{\"container_id\":0,\"host_id\":4294967295,\"size\":1}]}",
		"{\"M\":[{\"container_id\":0,\"host_id\":1,\"size\":9223372036854775807}]}",
		"{\"M\":[{\"container_id\":9223372036854775807,\"host_id\":1,\"size\":1}]}",
		"{\"M\":[{\"container_id\":0,\"host_id\":9223372036854775807,\"size\":9}]}",
		"{\"M\":[{\"ContainerID\":0,\"HostID\":1,\"Size\":1}]}",
	};
	auto_json struct json *j = parsed(
		"{\"N\":null,\"M\":[{\"container_id\":0,\"host_id\":400000,\"size\":65536},"
		"{\"container_id\":65536,\"host_id\":1,\"size\":2}]}");
	auto_free char *text = NULL, *none = NULL;

	assert_int_equal(docker_json_map(j, "M", &text, NULL), 0);
	assert_string_equal(text, "0:400000:65536,65536:1:2");
	assert_int_equal(docker_json_map(j, "N", &none, NULL), 0);
	assert_string_equal(none, "");
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
		auto_json struct json *bad = parsed(wrong[i]);
		char *unused = NULL;

		assert_true(docker_json_map(bad, "M", &unused, NULL) < 0);
	}
}

static void sizes_have_units(void **state)
{
	static const struct {
		const char *text;
		uint64_t bytes;
	} right[] = {
		{ "1", 1 },
		{ "1024b", 1024 },
		{ "10k", 10240 },
		{ "10KB", 10240 },
		{ "3MiB", 3 << 20 },
		{ "10G", (uint64_t)10 << 30 },
		{ "2tb", (uint64_t)2 << 40 },
	};
	static const char *const wrong[] = { "",
					     "0",
					     "-1",
					     "1.5G",
					     "G",
					     "1x",
					     "1Gi",
					     "1kk",
					     " 1",
					     "1 G",
					     "99999999999999999999",
					     "9223372036854775807k" };
	uint64_t bytes = 0;

	for (size_t i = 0; i < ARRAY_LEN(right); i++) {
		assert_int_equal(docker_parse_size(right[i].text, &bytes, NULL), 0);
		assert_int_equal(bytes, right[i].bytes);
	}
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
		if (docker_parse_size(wrong[i], &bytes, NULL) != -EINVAL)
			fail_msg("\"%s\" is %llu", wrong[i], (unsigned long long)bytes);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_request_is_an_object),
		cmocka_unit_test(what_is_not_there_is_empty_and_what_is_no_text_is_refused),
		cmocka_unit_test(ids_are_names_of_files),
		cmocka_unit_test(maps_are_lists_of_ranges),
		cmocka_unit_test(sizes_have_units),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
