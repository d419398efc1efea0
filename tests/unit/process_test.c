/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/process.h"
#include "tests/unit/util.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static struct err err;

/* Makes a process of a config written with ' for ". */
static int make(const char *text, const struct wishes *wishes, struct process *ret)
{
	auto_free char *copy = strdup(text);
	auto_json struct json *config = NULL;

	assert_non_null(copy);
	for (char *p = copy; (p = strchr(p, '\'')); p++)
		*p = '"';
	assert_int_equal(json_parse(copy, strlen(copy), SIZE_MAX, "config", &config, &err), 0);
	err = (struct err){ 0 };
	return process_make(config, wishes, ret, &err);
}

static void runs(const char *config, const struct wishes *wishes, const char *expected)
{
	auto_process struct process process = { 0 };
	auto_buf struct buf line = { 0 };

	if (make(config, wishes, &process) < 0)
		fail_msg("%s", err.text);
	for (size_t i = 0; i < process.args.count; i++)
		(void)buf_printf(&line, "%s%s", i ? "|" : "", process.args.items[i]);
	assert_string_equal(buf_text(&line), expected);
	assert_null(process.args.items[process.args.count]);
}

static void the_command_is_entrypoint_and_cmd(void **state)
{
	static const char both[] = "{'config':{'Entrypoint':['/e','-x'],'Cmd':['a','b']}}";
	char c[] = "c", d[] = "d", *command[] = { c, d };
	struct wishes none = { 0 }, args = { .command = command, .command_count = 2 };
	struct wishes other = { .entrypoint = "/o" },
		      no_entry = { .entrypoint = "", .command = command, .command_count = 2 };

	runs(both, &none, "/e|-x|a|b");
	runs(both, &args, "/e|-x|c|d");
	runs(both, &other, "/o");
	runs(both, &no_entry, "c|d");
	runs("{'config':{'Cmd':['a']}}", &none, "a");
	runs("{'config':{'Entrypoint':['a'],'Cmd':null}}", &none, "a");
	runs("{}", &args, "c|d");
}

static void no_command_is_an_error(void **state)
{
	struct wishes none = { 0 }, no_entry = { .entrypoint = "" };
	struct process process = { 0 };

	assert_int_equal(make("{'config':{}}", &none, &process), -EINVAL);
	assert_words(&err, "states neither Entrypoint nor Cmd");
	assert_int_equal(make("{'config':{'Entrypoint':['a'],'Cmd':['b']}}", &no_entry, &process),
			 -EINVAL);
	assert_int_equal(make("{'config':{'Cmd':['']}}", &none, &process), -EINVAL);
	assert_null(process.args.items);
}

static void configs_of_another_shape_are_refused(void **state)
{
	struct wishes none = { 0 };
	struct process process = { 0 };

	assert_int_equal(make("{'config':{'Cmd':'sh'}}", &none, &process), -EINVAL);
	assert_words(&err, "/config/Cmd is not a list");
	assert_int_equal(make("{'config':{'Cmd':['sh',1]}}", &none, &process), -EINVAL);
	assert_words(&err, "/config/Cmd/1 is not text");
	assert_int_equal(make("{'config':{'Cmd':['sh'],'WorkingDir':'srv'}}", &none, &process),
			 -EINVAL);
	assert_words(&err, "not an absolute path");
}

static void the_users_environment_wins_over_the_images_over_ours(void **state)
{
	const char *items[] = { "FOO=mine", "HERE", "NOT_HERE", "EMPTY=" };
	struct option_list env = { items, 4 };
	struct wishes wishes = { .env = &env, .hostname = "box" };
	auto_process struct process process = { 0 };

	assert_int_equal(setenv("HERE", "from here", 1), 0);
	assert_int_equal(unsetenv("NOT_HERE"), 0);
	assert_int_equal(
		make("{'config':{'Cmd':['x'],'Env':['PATH=/bin','FOO=image','FOOT=1','junk','FOO=later']}}",
		     &wishes, &process),
		0);
	assert_string_equal(process_get_env(&process, "PATH"), "/bin");
	assert_string_equal(process_get_env(&process, "HOSTNAME"), "box");
	assert_string_equal(process_get_env(&process, "FOO"), "mine");
	assert_string_equal(process_get_env(&process, "FOOT"), "1");
	assert_string_equal(process_get_env(&process, "HERE"), "from here");
	assert_string_equal(process_get_env(&process, "EMPTY"), "");
	assert_null(process_get_env(&process, "NOT_HERE"));
	assert_null(process_get_env(&process, "TERM"));
	assert_int_equal(process.env.count, 6);
	assert_null(process.env.items[6]);
}

static void there_is_always_a_path_a_user_and_a_directory(void **state)
{
	struct wishes none = { 0 };
	auto_process struct process process = { 0 };

	assert_int_equal(make("{'config':{'Cmd':['x']}}", &none, &process), 0);
	assert_string_equal(process_get_env(&process, "PATH"),
			    "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
	assert_string_equal(process.cwd, "/");
	assert_string_equal(process.user, "");
}

static void wishes_replace_user_and_directory(void **state)
{
	static const char config[] = "{'config':{'Cmd':['x'],'User':'web','WorkingDir':'/srv'}}";
	struct wishes none = { 0 }, others = { .user = "1:2", .workdir = "/tmp" },
		      wrong = { .workdir = "tmp" };
	auto_process struct process image = { 0 }, mine = { 0 };
	struct process process;

	assert_int_equal(make(config, &none, &image), 0);
	assert_string_equal(image.user, "web");
	assert_string_equal(image.cwd, "/srv");
	assert_int_equal(make(config, &others, &mine), 0);
	assert_string_equal(mine.user, "1:2");
	assert_string_equal(mine.cwd, "/tmp");
	assert_int_equal(make(config, &wrong, &process), -EINVAL);
}

static void a_variable_without_a_name_is_refused(void **state)
{
	const char *items[] = { "=x" };
	struct option_list env = { items, 1 };
	struct wishes wishes = { .env = &env };
	struct process process;

	assert_int_equal(make("{'config':{'Cmd':['x']}}", &wishes, &process), -EINVAL);
	assert_words(&err, "not '=x'");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_command_is_entrypoint_and_cmd),
		cmocka_unit_test(no_command_is_an_error),
		cmocka_unit_test(configs_of_another_shape_are_refused),
		cmocka_unit_test(the_users_environment_wins_over_the_images_over_ours),
		cmocka_unit_test(there_is_always_a_path_a_user_and_a_directory),
		cmocka_unit_test(wishes_replace_user_and_directory),
		cmocka_unit_test(a_variable_without_a_name_is_refused),
	};

	return cmocka_run_group_tests_name("process", tests, NULL, NULL);
}
