/* SPDX-License-Identifier: Apache-2.0 */
#include "driver/base/sys.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <cmocka.h>

#include "driver/base/auto.h"

/* A directory with sub/, sub/file, out -> /, up -> ../.. and file -> sub/file. */
static char scratch[] = "/tmp/overlaid-sys.XXXXXX";
static int scratch_fd = -EBADF;

static int make_scratch(void **state)
{
	auto_close int file = -EBADF;

	if (!mkdtemp(scratch))
		return -1;
	scratch_fd = open(scratch, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (scratch_fd < 0 || mkdirat(scratch_fd, "sub", 0755) < 0)
		return -1;
	file = openat(scratch_fd, "sub/file", O_CREAT | O_WRONLY | O_CLOEXEC, 0644);
	if (file < 0 || symlinkat("/", scratch_fd, "out") < 0 ||
	    symlinkat("../..", scratch_fd, "up") < 0 ||
	    symlinkat("sub/file", scratch_fd, "file") < 0)
		return -1;
	return 0;
}

static int remove_scratch(void **state)
{
	static const char *const names[] = { "sub/file", "sub/new", "out", "up", "file" };

	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		(void)unlinkat(scratch_fd, names[i], 0);
	(void)unlinkat(scratch_fd, "sub", AT_REMOVEDIR);
	(void)close(scratch_fd);
	return rmdir(scratch);
}

static void openat2_opens_close_on_exec(void **state)
{
	auto_close int fd = sys_openat2(scratch_fd, "file", O_RDONLY, 0, RESOLVE_BENEATH);

	assert_true(fd >= 0);
	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
}

static void openat2_creates_with_a_mode(void **state)
{
	mode_t mask = umask(0);
	auto_close int fd = sys_openat2(scratch_fd, "sub/new", O_WRONLY | O_CREAT | O_EXCL, 0640,
					RESOLVE_BENEATH);
	struct stat st;

	(void)umask(mask);
	assert_true(fd >= 0);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_mode, S_IFREG | 0640);
}

static void openat2_does_not_leave_the_root(void **state)
{
	static const char *const ways_out[] = { "..", "out", "up", "sub/../../x", "/", "out/etc" };

	for (size_t i = 0; i < ARRAY_LEN(ways_out); i++)
		assert_int_equal(sys_openat2(scratch_fd, ways_out[i], O_RDONLY, 0, RESOLVE_BENEATH),
				 -EXDEV);
}

static void openat2_can_take_the_directory_for_the_root(void **state)
{
	static const char *const names[] = { "/", "out", "up", "../../sub/../.." };
	struct stat root, st;

	assert_int_equal(fstat(scratch_fd, &root), 0);
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		auto_close int fd = sys_openat2(scratch_fd, names[i], O_RDONLY, 0, RESOLVE_IN_ROOT);

		assert_true(fd >= 0);
		assert_int_equal(fstat(fd, &st), 0);
		assert_true(st.st_ino == root.st_ino && st.st_dev == root.st_dev);
	}
}

static void openat2_tells_errors(void **state)
{
	assert_int_equal(sys_openat2(scratch_fd, "nothing", O_RDONLY, 0, RESOLVE_BENEATH), -ENOENT);
	assert_int_equal(sys_openat2(scratch_fd, "file", O_RDONLY, 0, RESOLVE_NO_SYMLINKS), -ELOOP);
	assert_int_equal(sys_openat2(scratch_fd, "file", O_RDONLY, 0, 1ULL << 60), -EINVAL);
	assert_int_equal(sys_openat2(-1, "file", O_RDONLY, 0, 0), -EBADF);
}

static void only_missing_calls_are_missing(void **state)
{
	assert_true(sys_is_missing(-ENOSYS));
	assert_true(sys_is_missing(-EOPNOTSUPP));
	assert_true(sys_is_missing(-EPERM));
	assert_false(sys_is_missing(-EACCES));
	assert_false(sys_is_missing(-EINVAL));
	assert_false(sys_is_missing(-ENOENT));
	assert_false(sys_is_missing(0));
	assert_false(sys_is_missing(EPERM));
}

/* Runs `body` in a child with a mount namespace of its own; what it returns (0, or the line that
 * failed) is returned. */
static int in_private_mounts(int (*body)(void))
{
	pid_t child = fork();
	int status = 0;

	if (child == 0) {
		if (unshare(CLONE_NEWNS) < 0 ||
		    sys_mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
			_exit(255);
		/* Mounts go where a descriptor of this namespace points. */
		scratch_fd = open(scratch, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		_exit(scratch_fd < 0 ? 254 : body());
	}
	if (child < 0 || waitpid(child, &status, 0) != child || !WIFEXITED(status))
		return -1;
	return WEXITSTATUS(status);
}

static void need_root(void)
{
	if (geteuid() != 0) {
		print_message("mounting needs root\n");
		skip();
	}
}

/* Steps of a child: a number says which one failed. */
#define STEP(number, condition)        \
	do {                           \
		if (!(condition))      \
			return number; \
	} while (0)

static int mount_by_descriptor(void)
{
	struct mount_attr attr = { .attr_set = MOUNT_ATTR_RDONLY };
	auto_close int fs = sys_fsopen("tmpfs");
	auto_close int mnt = -EBADF;
	auto_close int tree = -EBADF;
	auto_close int file = -EBADF;
	auto_close int sub = openat(scratch_fd, "sub", O_PATH | O_DIRECTORY | O_CLOEXEC);

	STEP(1, fs >= 0 && sub >= 0 && (fcntl(fs, F_GETFD) & FD_CLOEXEC));
	STEP(2, sys_fsconfig(fs, FSCONFIG_SET_STRING, "size", "1M", 0) == 0);
	STEP(3, sys_fsconfig(fs, FSCONFIG_SET_STRING, "no-such-option", "1", 0) == -EINVAL);
	STEP(4, sys_fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) == 0);
	mnt = sys_fsmount(fs, MOUNT_ATTR_NODEV);
	STEP(5, mnt >= 0 && (fcntl(mnt, F_GETFD) & FD_CLOEXEC));
	STEP(6, sys_move_mount(mnt, "", sub, "",
			       MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) == 0);
	file = openat(scratch_fd, "sub/inside", O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	STEP(7, file >= 0 && fchdir(scratch_fd) == 0);
	tree = sys_open_tree(scratch_fd, "sub", OPEN_TREE_CLONE);
	STEP(8, tree >= 0 && (fcntl(tree, F_GETFD) & FD_CLOEXEC));
	STEP(9, faccessat(tree, "inside", F_OK, 0) == 0);
	STEP(10, sys_mount_setattr(tree, "", AT_EMPTY_PATH, &attr, sizeof(attr)) == 0);
	STEP(11, unlinkat(tree, "inside", 0) < 0 && errno == EROFS);
	STEP(12, sys_umount("sub", UMOUNT_NOFOLLOW) == -EBUSY); /* `file` is open */
	STEP(13, sys_umount("sub", MNT_DETACH | UMOUNT_NOFOLLOW) == 0);
	STEP(14, sys_umount("sub", UMOUNT_NOFOLLOW) == -EINVAL);
	STEP(15, faccessat(scratch_fd, "sub/file", F_OK, 0) == 0);
	return 0;
}

static void the_mount_api_mounts_and_unmounts(void **state)
{
	need_root();
	assert_int_equal(in_private_mounts(mount_by_descriptor), 0);
}

static int mount_by_path(void)
{
	STEP(1, fchdir(scratch_fd) == 0);
	STEP(2, sys_mount("none", "sub", "tmpfs", MS_NOSUID, "size=1M") == 0);
	STEP(3, access("sub/file", F_OK) < 0 && errno == ENOENT);
	STEP(4, sys_umount("sub", 0) == 0);
	STEP(5, access("sub/file", F_OK) == 0);
	STEP(6, sys_mount("none", "sub", "no-such-fs", 0, NULL) == -ENODEV);
	return 0;
}

static void mount_and_umount_work_by_path(void **state)
{
	need_root();
	assert_int_equal(in_private_mounts(mount_by_path), 0);
}

static void a_missing_filesystem_is_told(void **state)
{
	need_root();
	assert_int_equal(sys_fsopen("no-such-fs"), -ENODEV);
}

static void *leave_home(void *arg)
{
	int *result = arg;

	*result = sys_own_fs();
	(void)umask(0777);
	if (*result == 0 && chdir("/proc") < 0)
		*result = -errno;
	return NULL;
}

static void own_fs_leaves_the_process_alone(void **state)
{
	mode_t mask = umask(0022);
	char before[4096], after[4096];
	pthread_t thread;
	int result = -1;

	assert_non_null(getcwd(before, sizeof(before)));
	assert_int_equal(pthread_create(&thread, NULL, leave_home, &result), 0);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_non_null(getcwd(after, sizeof(after)));
	assert_int_equal(umask(mask), 0022);
	assert_int_equal(result, 0);
	assert_string_equal(after, before);
}

static void a_pidfd_tells_the_end_of_its_process(void **state)
{
	int hold[2];
	pid_t child;
	struct pollfd end = { .events = POLLIN };

	assert_int_equal(pipe2(hold, O_CLOEXEC), 0);
	child = fork();
	if (child == 0) {
		char c;

		(void)close(hold[1]);
		_exit(read(hold[0], &c, 1) == 0 ? 0 : 1);
	}
	end.fd = sys_pidfd_open(child);
	assert_true(end.fd >= 0);
	assert_true(fcntl(end.fd, F_GETFD) & FD_CLOEXEC);
	assert_int_equal(poll(&end, 1, 0), 0);
	(void)close(hold[1]);
	assert_int_equal(poll(&end, 1, 60000), 1);
	assert_int_equal(waitpid(child, NULL, 0), child);
	assert_int_equal(sys_pidfd_open(child), -ESRCH);
	(void)close(end.fd);
	(void)close(hold[0]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(openat2_opens_close_on_exec),
		cmocka_unit_test(openat2_creates_with_a_mode),
		cmocka_unit_test(openat2_does_not_leave_the_root),
		cmocka_unit_test(openat2_can_take_the_directory_for_the_root),
		cmocka_unit_test(openat2_tells_errors),
		cmocka_unit_test(only_missing_calls_are_missing),
		cmocka_unit_test(the_mount_api_mounts_and_unmounts),
		cmocka_unit_test(mount_and_umount_work_by_path),
		cmocka_unit_test(a_missing_filesystem_is_told),
		cmocka_unit_test(own_fs_leaves_the_process_alone),
		cmocka_unit_test(a_pidfd_tells_the_end_of_its_process),
	};

	return cmocka_run_group_tests_name("sys", tests, make_scratch, remove_scratch);
}
