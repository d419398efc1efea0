/* SPDX-License-Identifier: Apache-2.0 */
/* What is expected is what docker and runc do (moby/sys/user, GetExecUser). */
#include "cmd/user.h"
#include "tests/unit/sandbox.h"
#include "tests/unit/util.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

static const char passwd[] = "# accounts\n"
			     "\n"
			     "root:x:0:0:root:/root:/bin/sh\n"
			     "broken\n"
			     "short:x:7\n"
			     "web:x:33:33::/var/www:/bin/sh\n"
			     "1000:x:5:6:a name like a number:/five:/bin/sh\n"
			     "later:x:1000:1001::/later:/bin/sh\n"
			     "huge:x:4294967295:0::/:/bin/sh\n"
			     "nohome:x:8:8";
static const char group[] =
	"root:x:0:\nweb:x:33:\nextra:x:50:other,web\nprefix:x:51:webmaster\nmore:x:52:web\n2000:x:9:\n";

static void is(const char *spec, unsigned int uid, unsigned int gid, size_t groups,
	       const char *home)
{
	auto_user struct user user = { 0 };
	struct err err = { 0 };

	if (user_resolve(spec, passwd, group, &user, &err) < 0)
		fail_msg("%s: %s", spec, err.text);
	assert_int_equal(user.uid, uid);
	assert_int_equal(user.gid, gid);
	assert_int_equal(user.group_count, groups);
	assert_string_equal(user.home, home);
}

static void refused(const char *spec, const char *why)
{
	struct user user = { .uid = 77 };
	struct err err = { 0 };

	assert_int_equal(user_resolve(spec, passwd, group, &user, &err), -EINVAL);
	assert_words(&err, why);
	assert_int_equal(user.uid, 77);
}

static void names_and_numbers_are_found(void **state)
{
	is("", 0, 0, 0, "/root");
	is("root", 0, 0, 0, "/root");
	is("web", 33, 33, 2, "/var/www");
	is("33", 33, 33, 2, "/var/www");
	is("nohome", 8, 8, 0, "/");
}

static void names_win_over_numbers(void **state)
{
	is("1000", 5, 6, 0, "/five");
	is("web:2000", 33, 9, 0, "/var/www");
}

static void a_number_need_not_be_known(void **state)
{
	is("4711", 4711, 0, 0, "/");
	is("4711:4712", 4711, 4712, 0, "/");
	is(":50", 0, 50, 0, "/root");
}

static void a_group_that_is_named_is_the_only_one(void **state)
{
	is("web:extra", 33, 50, 0, "/var/www");
	is("web:", 33, 33, 2, "/var/www");
}

static void supplementary_groups_are_those_that_list_the_user(void **state)
{
	auto_user struct user user = { 0 };

	assert_int_equal(user_resolve("web", passwd, group, &user, NULL), 0);
	assert_int_equal(user.group_count, 2);
	assert_int_equal(user.groups[0], 50);
	assert_int_equal(user.groups[1], 52);
}

static void what_is_not_there_is_named(void **state)
{
	refused("nobody", "no user 'nobody' in the container's /etc/passwd");
	refused("broken", "no user 'broken'");
	refused("short", "no user 'short'");
	refused("huge", "no user 'huge'");
	refused("web:nogroup", "no group 'nogroup' in the container's /etc/group");
	refused("-1", "no user '-1'");
	refused("2147483648", "no user '2147483648'");
	refused("99999999999999999999", "no user");
}

static void the_files_are_those_beneath_the_root(void **state)
{
	auto_user struct user user = { 0 };
	auto_close int root_fd = -EBADF;

	put_file("root/real/passwd", "web:x:12:13::/w:/\n");
	put_file("root/real/group", "");
	assert_int_equal(symlink("../../../../../../real", sandbox_path("root/etc")),
			 0); /* as the container sees it */
	root_fd = open_dir("root", 0);
	assert_int_equal(user_resolve_in(root_fd, "web", &user, NULL), 0);
	assert_int_equal(user.uid, 12);
}

static void files_that_are_missing_are_empty(void **state)
{
	auto_user struct user user = { 0 };
	auto_close int root_fd = -EBADF;
	struct err err = { 0 };

	put_dir("root");
	root_fd = open_dir("root", 0);
	assert_int_equal(user_resolve_in(root_fd, "7:8", &user, &err), 0);
	assert_int_equal(user.gid, 8);
	user_release(&user);
	assert_int_equal(user_resolve_in(root_fd, "web", &user, &err), -EINVAL);
	assert_words(&err, "no user 'web'");
}

static void files_that_are_no_files_are_not_read(void **state)
{
	auto_user struct user user = { 0 };
	auto_close int root_fd = -EBADF;
	struct err err = { 0 };

	put_dir("root/etc");
	assert_int_equal(mkfifo(sandbox_path("root/etc/passwd"), 0644),
			 0); /* opening it would wait for a writer */
	root_fd = open_dir("root", 0);
	assert_int_equal(user_resolve_in(root_fd, "web", &user, &err), -EINVAL);
	assert_words(&err, "/etc/passwd in the container is not a regular file");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_and_numbers_are_found),
		cmocka_unit_test(names_win_over_numbers),
		cmocka_unit_test(a_number_need_not_be_known),
		cmocka_unit_test(a_group_that_is_named_is_the_only_one),
		cmocka_unit_test(supplementary_groups_are_those_that_list_the_user),
		cmocka_unit_test(what_is_not_there_is_named),
		sandbox_test(the_files_are_those_beneath_the_root),
		sandbox_test(files_that_are_missing_are_empty),
		sandbox_test(files_that_are_no_files_are_not_read),
	};

	return cmocka_run_group_tests_name("user", tests, sandbox_enter, sandbox_leave);
}
