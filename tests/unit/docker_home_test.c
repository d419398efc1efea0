/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/serve/docker_home.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "cmd/serve/docker_json.h"
#include "cmd/serve/serve.h"
#include "tests/unit/sandbox.h"
#include "tests/unit/snaps.h"
#include "tests/unit/util.h"
#include <cmocka.h>

void serve_log(const char *fmt, ...)
{
}

static int init(const char *request, const struct docker_home *before, struct docker_home **ret)
{
	auto_json struct json *j = NULL;
	struct err err = { 0 };

	good(docker_json_parse(request, strlen(request), &j, &err), &err);
	return docker_home_of_request(snaps, "p", j, before, ret, &err);
}

static void what_init_said_comes_back(void **state)
{
	auto_docker_home struct docker_home *home = NULL, *kept = NULL;
	struct err err = { 0 };

	assert_int_equal(docker_home_load(snaps, "p", &kept, &err), 0);
	assert_int_equal(init("{\"Home\":\"/h\",\"Opts\":null,"
			      "\"UIDMaps\":[{\"container_id\":0,\"host_id\":100,\"size\":10}],"
			      "\"GIDMaps\":[{\"container_id\":0,\"host_id\":200,\"size\":10}]}",
			      NULL, &home),
			 0);
	good(docker_home_keep(snaps, "p", home, &err), &err);
	assert_int_equal(docker_home_load(snaps, "other", &kept, &err), 0);
	/* There is one of its mounts at a time. */
	docker_home_unref(take_ptr(home));
	assert_int_equal(docker_home_load(snaps, "p", &kept, &err), 1);
	assert_string_equal(kept->path, "/h");
	assert_string_equal(kept->scope, "docker:/h");
	assert_string_equal(kept->uids, "0:100:10");
	assert_string_equal(kept->gids, "0:200:10");
}

static void what_is_no_home_is_refused(void **state)
{
	static const char *const wrong[] = {
		"{}",
		"{\"Home\":null}",
		"{\"Home\":\"\"}",
		"{\"Home\":\"relative\"}",
		"{\"Home\":\"/new\\nline\"}",
		"{\"Home\":\"/\\udc00\"}",
		"{\"Home\":\"/h\",\"Opts\":{}}",
		"{\"Home\":\"/h\",\"Opts\":[null]}",
		"{\"Home\":\"/h\",\"Opts\":[\"p\"]}",
		"{\"Home\":\"/h\",\"Opts\":[\"p.size\"]}",
		"{\"Home\":\"/h\",\"Opts\":[\"p.size=\"]}",
		"{\"Home\":\"/h\",\"Opts\":[\"q.size=1G\"]}",
		"{\"Home\":\"/h\",\"UIDMaps\":[{\"container_id\":0,\"host_id\":1,\"size\":1}]}",
	};

	for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
		struct docker_home *home = NULL;

		if (init(wrong[i], NULL, &home) >= 0 || home)
			fail_msg("%s is taken", wrong[i]);
	}
}

static void a_setting_that_makes_no_sense_is_told_as_that(void **state)
{
	static const char *const wrong[] = {
		"",
		"{",
		"[]",
		"null",
		"{}",
		"{\"home\":5}",
		"{\"home\":\"h\"}",
		"{\"home\":\"/h\",\"options\":{}}",
		"{\"home\":\"/h\",\"options\":[5]}",
		"{\"home\":\"/h\",\"options\":[\"p.other=1\"]}",
	};
	struct docker_home *home = NULL;
	struct err err = { 0 };

	for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
		good(overlaid_setting_set(snaps, "docker:p", wrong[i], &err), &err);
		if (docker_home_load(snaps, "p", &home, &err) != -EBADMSG || home)
			fail_msg("%s is taken", wrong[i]);
		assert_words(&err, "setting \"docker:p\"");
	}
	good(overlaid_setting_set(snaps, "docker:p", "{\"home\":\"/h\"}", &err), &err);
	assert_int_equal(docker_home_load(snaps, "p", &home, &err), 1);
	docker_home_unref(home);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		snaps_test(what_init_said_comes_back),
		snaps_test(what_is_no_home_is_refused),
		snaps_test(a_setting_that_makes_no_sense_is_told_as_that),
	};

	return cmocka_run_group_tests(tests, sandbox_enter, sandbox_leave);
}
