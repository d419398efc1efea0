/* SPDX-License-Identifier: Apache-2.0 */
#include "driver/quota.h"

#include <fcntl.h>
#include <linux/dqblk_xfs.h>
#include <linux/fs.h>
#include <linux/quota.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "driver/base/auto.h"
#include "driver/base/sys.h"
#include "driver/libmount.h"
#include "driver/probe.h"

#define BLOCK_BYTES 512 /* "basic blocks", whatever the filesystem's are */

/* ---- asking ---- */

struct device {
	dev_t number;
	char *path; /* owned */
};

static void device_release(struct device *device)
{
	auto_free_fn(&device->path);
}

static bool is_device(const char *path, dev_t number)
{
	struct stat st;

	return stat(path, &st) == 0 && S_ISBLK(st.st_mode) && st.st_rdev == number;
}

static int note_device(void *arg, const char *target, const char *fs_name, const char *source)
{
	struct device *device = arg;

	if (source[0] != '/' || !is_device(source, device->number))
		return 0;
	device->path = strdup(source);
	return device->path ? 1 : -ENOMEM;
}

/* A name of the block device that the filesystem is on: udev's, else what the mount table has. */
static int find_device(int dirfd, struct device *device, struct err *err)
{
	char path[64];
	struct stat st;
	int r;

	if (fstat(dirfd, &st) < 0)
		return fail(err, -errno, "look for its block device: %m");
	(void)snprintf(path, sizeof(path), "/dev/block/%u:%u", major(st.st_dev), minor(st.st_dev));
	device->number = st.st_dev;
	if (is_device(path, st.st_dev)) {
		device->path = strdup(path);
		return device->path ? 0 : fail_oom(err);
	}
	r = libmount_foreach(note_device, device, err);
	if (r == -ENOMEM)
		return fail_oom(err);
	if (r == 0)
		return fail(err, -ENODEV, "there is no name for its block device, %u:%u",
			    major(st.st_dev), minor(st.st_dev));
	return r < 0 ? r : 0;
}

/*
 * One call about projects. The kernel says ENOSYS both where it has no quotactl_fd(2) and where the
 * filesystem has no quotas; the older call says it only for the latter. EPERM may be that of a filter.
 */
static int ask(int dirfd, unsigned int cmd, uint32_t project, void *addr, struct err *err)
{
	unsigned int both = (unsigned int)QCMD(cmd, PRJQUOTA);
	AUTO(device_release) struct device device = { 0 };
	int r = sys_quotactl_fd(dirfd, both, project, addr);

	if (r == -ENOSYS || r == -EPERM) {
		r = find_device(dirfd, &device, err);
		if (r < 0)
			return r;
		r = sys_quotactl(device.path, both, project, addr);
	}
	return r < 0 ? fail(err, r, "quotactl: %m%s", r == -EPERM ? "; it needs root" : "") : 0;
}

/* ---- what is missing ---- */

static const struct remedy {
	const char *fs_name, *turn_on, *enforce;
} remedies[] = {
	{ "ext4",
	  "turn them on with \"tune2fs -O project,quota DEVICE\" while it is not mounted,"
	  " and mount it with the option prjquota (the kernel needs CONFIG_QFMT_V2)",
	  "mount it with the option prjquota" },
	{ "xfs",
	  "mount it with the option prjquota, not by remount"
	  " (of the root filesystem: boot with rootflags=prjquota; the kernel needs CONFIG_XFS_QUOTA)",
	  "mount it with the option prjquota instead of pqnoenforce" },
};

static const struct remedy *remedy_for(const char *fs_name)
{
	for (size_t i = 0; i < ARRAY_LEN(remedies); i++)
		if (strcmp(remedies[i].fs_name, fs_name) == 0)
			return &remedies[i];
	return NULL;
}

/* "There are no quotas on it": not compiled, of another filesystem, not turned on. */
static bool means_none(int code)
{
	return code == -ENOSYS || code == -ESRCH || code == -EINVAL || code == -EOPNOTSUPP ||
	       code == -ENODEV || code == -ENOTBLK || code == -ENOTTY;
}

int quota_check(int dirfd, struct err *err)
{
	struct fs_quota_stat state = { .qs_version = FS_QSTAT_VERSION };
	char fs_name[PROBE_FS_NAME] = "an unknown type";
	const struct remedy *remedy;
	int r;

	probe_fs_name(dirfd, fs_name);
	remedy = remedy_for(fs_name);
	if (!remedy)
		return fail(err, -EOPNOTSUPP,
			    "the size of a directory can be limited on ext4 and xfs, not on %s",
			    fs_name);
	r = ask(dirfd, Q_XGETQSTAT, 0, &state, err);
	if (r < 0 && !means_none(r))
		return err_prefix(err, r, "ask for the project quotas of this %s", fs_name);
	if (r < 0 || !(state.qs_flags & FS_QUOTA_PDQ_ACCT))
		return fail(err, -EOPNOTSUPP, "this %s has no project quotas: %s", fs_name,
			    remedy->turn_on);
	if (!(state.qs_flags & FS_QUOTA_PDQ_ENFD))
		return fail(err, -EOPNOTSUPP,
			    "project quotas of this %s are counted and not enforced: %s", fs_name,
			    remedy->enforce);
	return 0;
}

/* A call failed: with the words of quota_check where that is why. */
static int refused(int dirfd, int code, struct err *err)
{
	struct err why = { 0 };

	if (means_none(code) && quota_check(dirfd, &why) == -EOPNOTSUPP)
		return fail(err, -EOPNOTSUPP, "%s", why.text);
	return code;
}

/* ---- setting ---- */

static int give_project(int dirfd, uint32_t project, struct err *err)
{
	struct fsxattr attr = { 0 };

	if (ioctl(dirfd, FS_IOC_FSGETXATTR, &attr) < 0)
		return fail(err, -errno, "FS_IOC_FSGETXATTR: %m");
	attr.fsx_projid = project;
	attr.fsx_xflags |= FS_XFLAG_PROJINHERIT;
	if (ioctl(dirfd, FS_IOC_FSSETXATTR, &attr) < 0)
		return fail(err, -errno, "FS_IOC_FSSETXATTR: %m");
	return 0;
}

static int limit_project(int dirfd, uint32_t project, uint64_t bytes, struct err *err)
{
	struct fs_disk_quota limit = {
		.d_version = FS_DQUOT_VERSION,
		.d_flags = FS_PROJ_QUOTA,
		.d_fieldmask = FS_DQ_BHARD | FS_DQ_BSOFT,
		.d_id = project,
		.d_blk_hardlimit = bytes / BLOCK_BYTES + (bytes % BLOCK_BYTES != 0),
	};

	return ask(dirfd, Q_XSETQLIM, project, &limit, err);
}

int quota_set(int dirfd, uint32_t project, uint64_t bytes, struct err *err)
{
	int r;

	if (project == 0)
		return fail(err, -EINVAL, "project 0 is that of all who have none");
	r = give_project(dirfd, project, err);
	if (r == 0)
		r = limit_project(dirfd, project, bytes, err);
	if (r == 0)
		return 0;
	r = refused(dirfd, r, err);
	return err_prefix(err, r, "limit project %u to %llu bytes", project,
			  (unsigned long long)bytes);
}

int quota_used(int dirfd, uint32_t project, uint64_t *ret_bytes, struct err *err)
{
	struct fs_disk_quota usage = { 0 };
	int r = ask(dirfd, Q_XGETQUOTA, project, &usage, err);

	if (r == -ENOENT) { /* xfs: nothing was ever of this project */
		*ret_bytes = 0;
		return 0;
	}
	if (r < 0)
		return err_prefix(err, refused(dirfd, r, err), "what project %u takes", project);
	*ret_bytes = usage.d_bcount * BLOCK_BYTES;
	return 0;
}
