/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/rootfs.h"
#include "driver/base/auto.h"
#include "tests/unit/sandbox.h"
#include "tests/unit/util.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

static struct err err;

/* The sandbox holds root/, and outside/, which nothing here may touch. */
static int root(void)
{
	put_dir("root");
	put_dir("outside");
	err = (struct err){ 0 };
	return open_dir("root", 0);
}

static void link_in_root(const char *target, const char *path)
{
	assert_int_equal(symlink(target, sandbox_path(path)), 0);
}

/* root_make gives what is at `place`. */
static void makes(int root_fd, const char *path, enum root_kind kind, const char *place)
{
	auto_close int fd = root_make(root_fd, path, kind, &err);
	struct stat made, there;

	if (fd < 0)
		fail_msg("%s: %s", path, err.text);
	assert_int_equal(fstat(fd, &made), 0);
	assert_int_equal(lstat(sandbox_path(place), &there), 0);
	assert_int_equal(made.st_ino, there.st_ino);
	assert_int_equal(S_ISDIR(made.st_mode), kind == ROOT_DIRECTORY);
}

static void missing_directories_and_files_are_made(void **state)
{
	auto_close int root_fd = root();

	makes(root_fd, "/a/b/c", ROOT_DIRECTORY, "root/a/b/c");
	makes(root_fd, "a/b/c/", ROOT_DIRECTORY, "root/a/b/c");
	makes(root_fd, "/etc/hosts", ROOT_FILE, "root/etc/hosts");
	makes(root_fd, "//x//y", ROOT_FILE, "root/x/y");
	makes(root_fd, "/", ROOT_DIRECTORY, "root");
}

static void what_is_there_is_taken(void **state)
{
	auto_close int root_fd = root();

	put_file("root/etc/hosts", "mine");
	makes(root_fd, "/etc/hosts", ROOT_FILE, "root/etc/hosts");
	assert_contents("root/etc/hosts", "mine");
}

static void links_end_inside(void **state)
{
	auto_close int root_fd = root();

	link_in_root("../../../outside", "root/up");
	link_in_root("/outside", "root/absolute");
	makes(root_fd, "/up/x", ROOT_FILE, "root/outside/x");
	makes(root_fd, "/absolute/y", ROOT_DIRECTORY, "root/outside/y");
	makes(root_fd, "/../../../outside/z", ROOT_FILE, "root/outside/z");
	assert_false(exists("outside/x") || exists("outside/y") || exists("outside/z"));
}

static void links_to_nothing_are_made_something(void **state)
{
	auto_close int root_fd = root();

	put_dir("root/etc");
	link_in_root("../run/resolve/stub.conf", "root/etc/resolv.conf");
	makes(root_fd, "/etc/resolv.conf", ROOT_FILE, "root/run/resolve/stub.conf");
	link_in_root("/data/dev/", "root/dev");
	makes(root_fd, "/dev/pts", ROOT_DIRECTORY, "root/data/dev/pts");
	link_in_root("b", "root/a");
	link_in_root("c", "root/b");
	makes(root_fd, "/a", ROOT_FILE, "root/c");
}

static void loops_and_wrong_kinds_are_refused(void **state)
{
	auto_close int root_fd = root();

	link_in_root("loop", "root/loop");
	assert_int_equal(root_make(root_fd, "/loop/x", ROOT_FILE, &err), -ELOOP);
	put_file("root/file", "");
	put_dir("root/dir");
	assert_int_equal(root_make(root_fd, "/file", ROOT_DIRECTORY, &err), -ENOTDIR);
	assert_int_equal(root_make(root_fd, "/file/x", ROOT_FILE, &err), -ENOTDIR);
	assert_int_equal(root_make(root_fd, "/dir", ROOT_FILE, &err), -EISDIR);
	assert_words(&err, "/dir in the container is a directory");
	assert_int_equal(root_open(root_fd, "/none", &err), -ENOENT);
}

static void endless_paths_end(void **state)
{
	auto_close int root_fd = root();
	auto_buf struct buf path = { 0 };

	for (int i = 0; i < 400; i++)
		(void)buf_puts(&path, "/d");
	assert_int_equal(root_make(root_fd, buf_text(&path), ROOT_DIRECTORY, &err), -ELOOP);
}

static void only_regular_files_are_read(void **state)
{
	auto_close int root_fd = root();
	auto_buf struct buf text = { .max = 8 };

	put_file("outside/secret", "secret");
	put_file("root/ok", "12345678");
	put_file("root/long", "123456789");
	link_in_root("/outside/secret", "root/link");
	assert_int_equal(root_read(root_fd, "/ok", &text, &err), 0);
	assert_string_equal(buf_text(&text), "12345678");
	buf_reset(&text);
	assert_int_equal(root_read(root_fd, "/long", &text, &err), -EFBIG);
	assert_int_equal(root_read(root_fd, "/link", &text, &err), -ENOENT);
	assert_int_equal(root_read(root_fd, "/", &text, &err), -EINVAL);
}

static void magic_links_are_refused(void **state)
{
	auto_close int root_fd = open_dir("/proc", 0);

	assert_true(root_fd >= 0);
	assert_int_equal(root_open(root_fd, "/self/root/etc", &err), -ELOOP);
	assert_int_equal(root_open(root_fd, "/self/fd/0", &err), -ELOOP);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		sandbox_test(missing_directories_and_files_are_made),
		sandbox_test(what_is_there_is_taken),
		sandbox_test(links_end_inside),
		sandbox_test(links_to_nothing_are_made_something),
		sandbox_test(loops_and_wrong_kinds_are_refused),
		sandbox_test(endless_paths_end),
		sandbox_test(only_regular_files_are_read),
		sandbox_test(magic_links_are_refused),
	};

	return cmocka_run_group_tests_name("rootfs", tests, sandbox_enter, sandbox_leave);
}
