/* SPDX-License-Identifier: Apache-2.0 */
#include "driver/quota.h"

#include <fcntl.h>
#include <linux/dqblk_xfs.h>
#include <linux/fs.h>
#include <linux/quota.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <cmocka.h>

#include "driver/base/auto.h"
#include "driver/base/sys.h"
#include "driver/probe.h"
#include "tests/unit/sandbox.h"
#include "tests/unit/util.h"

/*
 * A kernel that is played: few have the quotas of both filesystems. What was asked of it is looked at field
 * by field.
 */
static struct kernel {
	bool off;	     /* the real one answers */
	const char *fs_name; /* NULL: as it is */
	bool old;	     /* no quotactl_fd(2) */
	int state, get, set; /* what the calls give: 0 or -errno */
	int get_attr, set_attr;
	uint16_t flags; /* Q_XGETQSTAT's */
	uint64_t used_blocks;
	/* what it was given */
	int fd;
	char special[256];
	unsigned int cmd;
	uint32_t id;
	struct fs_disk_quota limit;
	struct fsxattr attr;
	bool limited, given;
} kernel;

#define ON	      (FS_QUOTA_PDQ_ACCT | FS_QUOTA_PDQ_ENFD)
#define COMMAND(name) ((unsigned int)QCMD(name, PRJQUOTA))

static int answer(unsigned int cmd, uint32_t id, void *addr)
{
	struct fs_quota_stat *state = addr;
	struct fs_disk_quota *usage = addr;

	kernel.cmd = cmd;
	kernel.id = id;
	if (cmd == COMMAND(Q_XGETQSTAT)) {
		state->qs_flags = kernel.flags;
		return kernel.state;
	}
	if (cmd == COMMAND(Q_XGETQUOTA)) {
		usage->d_bcount = kernel.used_blocks;
		return kernel.get;
	}
	if (cmd != COMMAND(Q_XSETQLIM))
		return -EINVAL;
	kernel.limit = *usage;
	kernel.limited = kernel.set == 0;
	return kernel.set;
}

int __real_sys_quotactl_fd(int fd, unsigned int cmd, uint32_t id, void *addr);
int __wrap_sys_quotactl_fd(int fd, unsigned int cmd, uint32_t id, void *addr);
int __real_sys_quotactl(const char *special, unsigned int cmd, uint32_t id, void *addr);
int __wrap_sys_quotactl(const char *special, unsigned int cmd, uint32_t id, void *addr);
int __real_ioctl(int fd, unsigned long request, ...);
int __wrap_ioctl(int fd, unsigned long request, void *arg);
void __real_probe_fs_name(int dirfd, char out[PROBE_FS_NAME]);
void __wrap_probe_fs_name(int dirfd, char out[PROBE_FS_NAME]);

int __wrap_sys_quotactl_fd(int fd, unsigned int cmd, uint32_t id, void *addr)
{
	if (kernel.off)
		return __real_sys_quotactl_fd(fd, cmd, id, addr);
	if (kernel.old)
		return -ENOSYS;
	kernel.fd = fd;
	return answer(cmd, id, addr);
}

int __wrap_sys_quotactl(const char *special, unsigned int cmd, uint32_t id, void *addr)
{
	if (kernel.off)
		return __real_sys_quotactl(special, cmd, id, addr);
	(void)snprintf(kernel.special, sizeof(kernel.special), "%s", special);
	return answer(cmd, id, addr);
}

int __wrap_ioctl(int fd, unsigned long request, void *arg)
{
	struct fsxattr *attr = arg;
	int r = request == FS_IOC_FSGETXATTR ? kernel.get_attr : kernel.set_attr;

	if (kernel.off || (request != FS_IOC_FSGETXATTR && request != FS_IOC_FSSETXATTR))
		return __real_ioctl(fd, request, arg);
	if (r < 0) {
		errno = -r;
		return -1;
	}
	kernel.fd = fd;
	if (request == FS_IOC_FSGETXATTR) {
		*attr = (struct fsxattr){ .fsx_xflags = FS_XFLAG_NODUMP, .fsx_extsize = 77 };
	} else {
		kernel.attr = *attr;
		kernel.given = true;
	}
	return 0;
}

void __wrap_probe_fs_name(int dirfd, char out[PROBE_FS_NAME])
{
	if (kernel.fs_name)
		(void)snprintf(out, PROBE_FS_NAME, "%s", kernel.fs_name);
	else
		__real_probe_fs_name(dirfd, out);
}

static void play(const char *fs_name)
{
	kernel = (struct kernel){ .fs_name = fs_name, .flags = ON, .fd = -EBADF };
}

#define DIR_FD 4711 /* no descriptor: all calls are played */

/* ---- what is missing ---- */

static void quotas_that_are_enforced_are_found(void **state)
{
	static const char *const names[] = { "ext4", "xfs" };
	struct err err = { 0 };

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		play(names[i]);
		assert_int_equal(quota_check(DIR_FD, &err), 0);
		assert_int_equal(kernel.fd, DIR_FD);
		assert_int_equal(kernel.cmd, COMMAND(Q_XGETQSTAT));
	}
}

static void expect_missing(const char *words, const char *more)
{
	struct err err = { 0 };

	assert_int_equal(quota_check(DIR_FD, &err), -EOPNOTSUPP);
	assert_words(&err, words);
	assert_words(&err, more);
	assert_words(&err, kernel.fs_name);
}

static void missing_quotas_are_told_with_a_remedy(void **state)
{
	play("xfs");
	kernel.flags = 0;
	expect_missing("option prjquota, not by remount", "CONFIG_XFS_QUOTA");
	kernel.flags = FS_QUOTA_UDQ_ACCT | FS_QUOTA_UDQ_ENFD | FS_QUOTA_GDQ_ENFD;
	expect_missing("option prjquota, not by remount", "rootflags=prjquota");
	kernel.flags = FS_QUOTA_PDQ_ACCT;
	expect_missing("not enforced", "pqnoenforce");
	play("ext4");
	kernel.flags = 0;
	expect_missing("tune2fs -O project,quota", "CONFIG_QFMT_V2");
	kernel.state = -EINVAL;
	kernel.flags = ON;
	expect_missing("tune2fs -O project,quota", "prjquota");
	kernel.state = -ESRCH;
	expect_missing("tune2fs -O project,quota", "prjquota");
	kernel.state = 0;
	kernel.flags = FS_QUOTA_PDQ_ACCT;
	expect_missing("not enforced", "option prjquota");
	play("btrfs");
	expect_missing("ext4 and xfs", "not on btrfs");
	assert_int_equal(kernel.cmd, 0);
}

static void another_error_stands(void **state)
{
	struct err err = { 0 };

	play("xfs");
	kernel.state = -EIO;
	assert_int_equal(quota_check(DIR_FD, &err), -EIO);
	assert_words(&err, "xfs");
}

/* ---- setting ---- */

static void a_directory_gets_its_project_and_the_project_its_limit(void **state)
{
	struct err err = { 0 };

	play("ext4");
	assert_int_equal(quota_set(DIR_FD, 1234567, 10 << 20, &err), 0);
	assert_true(kernel.given);
	assert_int_equal(kernel.attr.fsx_projid, 1234567);
	assert_int_equal(kernel.attr.fsx_xflags, FS_XFLAG_NODUMP | FS_XFLAG_PROJINHERIT);
	assert_int_equal(kernel.attr.fsx_extsize, 77);
	assert_int_equal(kernel.fd, DIR_FD);
	assert_int_equal(kernel.cmd, COMMAND(Q_XSETQLIM));
	assert_int_equal(kernel.id, 1234567);
	assert_int_equal(kernel.limit.d_version, FS_DQUOT_VERSION);
	assert_int_equal(kernel.limit.d_flags, FS_PROJ_QUOTA);
	assert_int_equal(kernel.limit.d_id, 1234567);
	assert_int_equal(kernel.limit.d_fieldmask, FS_DQ_BHARD | FS_DQ_BSOFT);
	assert_int_equal(kernel.limit.d_blk_hardlimit, 20480);
	assert_int_equal(kernel.limit.d_blk_softlimit, 0);
	assert_int_equal(kernel.limit.d_ino_hardlimit, 0);
	assert_int_equal(kernel.limit.d_rtb_hardlimit, 0);
}

static void limits_are_in_whole_blocks(void **state)
{
	static const struct {
		uint64_t bytes, blocks;
	} limits[] = { { 0, 0 },
		       { 1, 1 },
		       { 511, 1 },
		       { 512, 1 },
		       { 513, 2 },
		       { 10ULL << 40, 10ULL << 31 },
		       { UINT64_MAX, 1ULL << 55 } };

	for (size_t i = 0; i < ARRAY_LEN(limits); i++) {
		play("xfs");
		assert_int_equal(quota_set(DIR_FD, 1, limits[i].bytes, NULL), 0);
		assert_true(kernel.limited);
		assert_int_equal(kernel.limit.d_blk_hardlimit, limits[i].blocks);
	}
}

static void nobodys_project_is_not_limited(void **state)
{
	play("xfs");
	assert_int_equal(quota_set(DIR_FD, 0, 512, NULL), -EINVAL);
	assert_false(kernel.given);
	assert_false(kernel.limited);
}

static void a_refused_limit_says_what_is_missing(void **state)
{
	struct err err = { 0 };

	play("ext4"); /* the project feature is missing */
	kernel.set_attr = -EOPNOTSUPP;
	kernel.flags = 0;
	assert_int_equal(quota_set(DIR_FD, 5, 512, &err), -EOPNOTSUPP);
	assert_words(&err, "project 5");
	assert_words(&err, "tune2fs");
	assert_false(kernel.limited);
	play("tmpfs");
	kernel.get_attr = -ENOTTY;
	assert_int_equal(quota_set(DIR_FD, 5, 512, &err), -EOPNOTSUPP);
	assert_words(&err, "not on tmpfs");
	play("ext4"); /* not that: the error stands */
	kernel.set = -ERANGE;
	assert_int_equal(quota_set(DIR_FD, 5, 512, &err), -ERANGE);
	assert_words(&err, "quotactl");
	play("xfs");
	kernel.set_attr = -EIO;
	assert_int_equal(quota_set(DIR_FD, 5, 512, &err), -EIO);
	assert_words(&err, "FSSETXATTR");
}

/* ---- looking ---- */

static void what_a_project_takes_is_in_bytes(void **state)
{
	uint64_t bytes = 1;

	play("xfs");
	kernel.used_blocks = 20481;
	assert_int_equal(quota_used(DIR_FD, 7, &bytes, NULL), 0);
	assert_int_equal(bytes, 20481 * 512);
	assert_int_equal(kernel.cmd, COMMAND(Q_XGETQUOTA));
	assert_int_equal(kernel.id, 7);
	kernel.get = -ENOENT;
	assert_int_equal(quota_used(DIR_FD, 8, &bytes, NULL), 0);
	assert_int_equal(bytes, 0);
}

static void usage_without_quotas_is_refused(void **state)
{
	struct err err = { 0 };
	uint64_t bytes = 1;

	play("xfs");
	kernel.get = -EINVAL;
	kernel.flags = 0;
	assert_int_equal(quota_used(DIR_FD, 7, &bytes, &err), -EOPNOTSUPP);
	assert_words(&err, "option prjquota");
	assert_int_equal(bytes, 1);
	play("xfs");
	kernel.get = -EIO;
	assert_int_equal(quota_used(DIR_FD, 7, &bytes, &err), -EIO);
	assert_int_equal(bytes, 1);
}

/* ---- without quotactl_fd(2) ---- */

static void an_older_kernel_is_asked_by_block_device(void **state)
{
	auto_close int fd = open_dir(".", O_RDONLY);
	struct stat dir, device;
	struct err err = { 0 };

	assert_int_equal(fstat(fd, &dir), 0);
	if (major(dir.st_dev) == 0) {
		print_message("needs a block device beneath %s\n", sandbox_root());
		skip();
	}
	play("xfs");
	kernel.old = true;
	assert_int_equal(quota_set(fd, 9, 1024, &err), 0);
	assert_int_equal(kernel.limit.d_blk_hardlimit, 2);
	assert_int_equal(kernel.limit.d_id, 9);
	assert_int_equal(stat(kernel.special, &device), 0);
	assert_true(S_ISBLK(device.st_mode));
	assert_int_equal(device.st_rdev, dir.st_dev);
}

/* No device has this filesystem: there are no quotas on it either way. */
static void a_filesystem_without_a_device_has_no_quotas(void **state)
{
	auto_close int fd = -EBADF;
	struct err err = { 0 };

	needs_root();
	put_dir("ram");
	assert_int_equal(sys_mount("none", sandbox_path("ram"), "tmpfs", 0, NULL), 0);
	fd = open_dir("ram", O_RDONLY);
	play("xfs");
	kernel.old = true;
	assert_int_equal(quota_check(fd, &err), -EOPNOTSUPP);
	assert_int_equal(kernel.special[0], 0);
}

/* ---- the real kernel ---- */

static void the_kernel_itself_refuses_on_tmpfs(void **state)
{
	auto_close int fd = -EBADF;
	struct err err = { 0 };
	uint64_t bytes = 1;

	needs_root();
	put_dir("ram");
	assert_int_equal(sys_mount("none", sandbox_path("ram"), "tmpfs", 0, NULL), 0);
	fd = open_dir("ram", O_RDONLY);
	play(NULL);
	kernel.off = true;
	assert_int_equal(quota_check(fd, &err), -EOPNOTSUPP);
	assert_words(&err, "not on tmpfs");
	assert_int_equal(quota_used(fd, 7, &bytes, &err), -EOPNOTSUPP);
	assert_words(&err, "not on tmpfs");
	play("xfs"); /* the calls themselves, as on a filesystem without quotas */
	kernel.off = true;
	assert_int_equal(quota_check(fd, &err), -EOPNOTSUPP);
	assert_words(&err, "no project quotas");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(quotas_that_are_enforced_are_found),
		cmocka_unit_test(missing_quotas_are_told_with_a_remedy),
		cmocka_unit_test(another_error_stands),
		cmocka_unit_test(a_directory_gets_its_project_and_the_project_its_limit),
		cmocka_unit_test(limits_are_in_whole_blocks),
		cmocka_unit_test(nobodys_project_is_not_limited),
		cmocka_unit_test(a_refused_limit_says_what_is_missing),
		cmocka_unit_test(what_a_project_takes_is_in_bytes),
		cmocka_unit_test(usage_without_quotas_is_refused),
		sandbox_test(an_older_kernel_is_asked_by_block_device),
		sandbox_test(a_filesystem_without_a_device_has_no_quotas),
		sandbox_test(the_kernel_itself_refuses_on_tmpfs),
	};

	return cmocka_run_group_tests_name("quota", tests, sandbox_enter, sandbox_leave);
}
