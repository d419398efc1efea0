/* SPDX-License-Identifier: Apache-2.0 */
#include "driver/probe.h"

#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <cmocka.h>

#include "driver/base/auto.h"
#include "driver/base/fd.h"
#include "driver/base/sys.h"
#include "tests/unit/sandbox.h"

#define NOBODY 65534

struct run {
	struct probe probe;
	struct err err;
};

static int run_probe(void *arg)
{
	struct run *run = arg;

	return probe_run(sandbox_path("staging"), &run->probe, &run->err);
}

static bool is_empty(const char *path)
{
	auto_closedir DIR *dir = opendir(path);
	struct dirent *entry;

	assert_non_null(dir);
	while ((entry = readdir(dir)))
		if (entry->d_name[0] != '.')
			return false;
	return true;
}

/* With these calls failing; nothing may be left behind. */
static struct probe probe_under(const char *const *rules, size_t count)
{
	struct run run = { 0 };
	auto_buf struct buf before = { .max = 1 << 20 };
	auto_buf struct buf after = { .max = 1 << 20 };

	put_dir("staging");
	assert_int_equal(read_file_at(AT_FDCWD, "/proc/self/mountinfo", &before, NULL), 0);
	if (under_deny(rules, count, run_probe, &run) != 0)
		fail_msg("%s", run.err.text);
	assert_int_equal(read_file_at(AT_FDCWD, "/proc/self/mountinfo", &after, NULL), 0);
	assert_string_equal(buf_text(&before), buf_text(&after));
	assert_true(is_empty("staging"));
	return run.probe;
}

static void a_machine_with_everything_has_everything(void **state)
{
	struct utsname uts;
	struct probe p;

	needs_root();
	p = probe_under(NULL, 0);
	assert_int_equal(uname(&uts), 0);
	assert_string_equal(p.kernel, uts.release);
	assert_true(p.overlay && p.d_type && p.openat2 && p.whiteout && p.xattr &&
		    p.volatile_mount);
	assert_true(p.ways[MOUNT_BY_FD] && p.ways[MOUNT_BY_NAME] && p.ways[MOUNT_BY_OPTIONS]);
	assert_int_equal(p.xattrs, OVERLAY_XATTRS_TRUSTED);
}

static void the_backing_filesystem_is_named(void **state)
{
	struct probe p;

	needs_root();
	put_dir("staging");
	assert_int_equal(sys_mount("tmpfs", "staging", "tmpfs", 0, NULL), 0);
	p = probe_under(NULL, 0);
	assert_string_equal(p.backing_fs, "tmpfs");
	assert_false(p.reflink);
	assert_true(p.overlay);
}

static void each_missing_way_is_told(void **state)
{
	static const char *const by_fd[] = { "fsconfig:1=5:EINVAL" };
	static const char *const context[] = { "fsopen" };
	static const char *const all[] = { "fsopen", "mount:EPERM" };
	struct probe p;

	needs_root();
	p = probe_under(by_fd, 1);
	assert_true(p.overlay && !p.ways[MOUNT_BY_FD] && p.ways[MOUNT_BY_NAME] &&
		    p.ways[MOUNT_BY_OPTIONS]);
	p = probe_under(context, 1);
	assert_true(p.overlay && !p.ways[MOUNT_BY_FD] && !p.ways[MOUNT_BY_NAME] &&
		    p.ways[MOUNT_BY_OPTIONS]);
	assert_true(p.volatile_mount);
	p = probe_under(all, 2);
	assert_false(p.overlay || p.ways[MOUNT_BY_FD] || p.ways[MOUNT_BY_NAME] ||
		     p.ways[MOUNT_BY_OPTIONS]);
	assert_false(p.volatile_mount);
}

static void missing_calls_are_told(void **state)
{
	static const char *const rules[] = { "openat2", "mknodat:EPERM", "unshare:EPERM" };
	struct probe p;

	needs_root();
	p = probe_under(rules, 3);
	assert_false(p.openat2 || p.whiteout || p.overlay);
	assert_true(p.xattr && p.d_type);
}

static void where_no_xattr_can_be_written_that_is_told(void **state)
{
	static const char *const none[] = { "fsetxattr:EPERM" };
	struct probe p;

	needs_root();
	p = probe_under(none, 1);
	assert_false(p.xattr);
}

static int xattrs_as_nobody(void)
{
	auto_close int fd = -EBADF;
	enum overlay_xattrs xattrs = OVERLAY_XATTRS_TRUSTED;
	struct run run = { 0 };
	const struct probe *p = &run.probe;

	if (setgid(NOBODY) < 0 || setuid(NOBODY) < 0)
		return 10;
	fd = open("staging", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || probe_xattrs(fd, &xattrs, NULL) < 0 || xattrs != OVERLAY_XATTRS_USER)
		return 11;
	if (run_probe(&run) < 0)
		return 12;
	if (p->overlay || p->ways[MOUNT_BY_FD] || p->ways[MOUNT_BY_NAME] ||
	    p->ways[MOUNT_BY_OPTIONS])
		return 13;
	return p->xattr && p->xattrs == OVERLAY_XATTRS_USER && p->openat2 ? 0 : 14;
}

static void who_may_not_mount_learns_that_without_an_error(void **state)
{
	int status = 0;
	pid_t pid;

	needs_root();
	put_dir("staging");
	assert_int_equal(chown("staging", NOBODY, NOBODY), 0);
	assert_int_equal(chmod(sandbox_path(".."), 0755), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		_exit(xattrs_as_nobody());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_true(is_empty("staging"));
}

static void root_writes_trusted_xattrs_and_leaves_none(void **state)
{
	enum overlay_xattrs xattrs = OVERLAY_XATTRS_USER;
	auto_close int fd = -EBADF;
	struct err err = { 0 };
	char names[256];

	needs_root();
	put_dir("dir");
	fd = open_dir("dir", O_RDONLY);
	assert_int_equal(probe_xattrs(fd, &xattrs, &err), 0);
	assert_int_equal(xattrs, OVERLAY_XATTRS_TRUSTED);
	assert_int_equal(flistxattr(fd, names, sizeof(names)), 0);
}

static void a_filesystem_without_xattrs_is_refused_with_words(void **state)
{
	enum overlay_xattrs xattrs;
	auto_close int fd = open_dir("/proc", O_RDONLY);
	struct err err = { 0 };

	needs_root();
	assert_int_equal(probe_xattrs(fd, &xattrs, &err), -EOPNOTSUPP);
	assert_non_null(strstr(err.text, "xattr"));
}

static void a_missing_directory_is_an_error(void **state)
{
	struct run run = { 0 };

	assert_int_equal(run_probe(&run), -ENOENT);
	assert_non_null(strstr(run.err.text, "staging"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		sandbox_test(a_machine_with_everything_has_everything),
		sandbox_test(the_backing_filesystem_is_named),
		sandbox_test(each_missing_way_is_told),
		sandbox_test(missing_calls_are_told),
		sandbox_test(where_no_xattr_can_be_written_that_is_told),
		sandbox_test(who_may_not_mount_learns_that_without_an_error),
		sandbox_test(root_writes_trusted_xattrs_and_leaves_none),
		sandbox_test(a_filesystem_without_xattrs_is_refused_with_words),
		sandbox_test(a_missing_directory_is_an_error),
	};

	return cmocka_run_group_tests_name("probe", tests, sandbox_enter, sandbox_leave);
}
