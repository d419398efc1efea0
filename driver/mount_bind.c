/* SPDX-License-Identifier: Apache-2.0 */
/* mount_bind: a directory appears in a second place, and mount points go. */
#include "driver/mount.h"

#include <fcntl.h>
#include <sys/statvfs.h>

#include "driver/base/auto.h"
#include "driver/base/sys.h"

#define SELF_FD	      "/proc/thread-self/fd"
#define MOUNTS_AT_ONE 4096 /* stacked on one directory; more are not of our making */
#define KEPT_FLAGS    (ST_NOSUID | ST_NODEV | ST_NOEXEC | ST_NOATIME | ST_NODIRATIME)

_Static_assert(ST_NOSUID == MS_NOSUID && ST_NODEV == MS_NODEV && ST_NOEXEC == MS_NOEXEC &&
		       ST_NOATIME == MS_NOATIME && ST_NODIRATIME == MS_NODIRATIME,
	       "what statvfs(2) tells can be given to mount(2)");

struct self_path {
	char text[sizeof(SELF_FD) + 16];
};

static const char *self_path(int fd, struct self_path *path)
{
	(void)snprintf(path->text, sizeof(path->text), "%s/%d", SELF_FD, fd);
	return path->text;
}

/* A mount point, itself or what is mounted there, never followed. */
static int open_mount_point(const char *target, struct err *err)
{
	int fd = open(target, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	return fd < 0 ? fail(err, -errno, "mount point %s: %m", target) : fd;
}

static int bind_by_tree(int tree_fd, int target_fd, bool read_only)
{
	struct mount_attr attr = { .attr_set = MOUNT_ATTR_RDONLY };
	auto_close int fd = sys_open_tree(tree_fd, "", OPEN_TREE_CLONE | AT_EMPTY_PATH);
	int r = fd < 0 ? fd : 0;

	if (r == 0 && read_only)
		r = sys_mount_setattr(fd, "", AT_EMPTY_PATH, &attr, sizeof(attr));
	if (r == 0)
		r = sys_move_mount(fd, "", target_fd, "",
				   MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH);
	return r;
}

/* What was just mounted there: read-only, all else as it is. */
static int remount_read_only(const char *target, struct err *err)
{
	auto_close int fd = open_mount_point(target, err);
	struct self_path path;
	struct statvfs st;
	int r;

	if (fd < 0)
		return fd;
	if (fstatvfs(fd, &st) < 0)
		return fail(err, -errno, "look at the mount on %s: %m", target);
	r = sys_mount(NULL, self_path(fd, &path), NULL,
		      MS_REMOUNT | MS_BIND | MS_RDONLY | (st.f_flag & KEPT_FLAGS), NULL);
	return r < 0 ? fail(err, r, "mount(2) %s read-only: %m", target) : 0;
}

static int bind_by_mount(int tree_fd, int target_fd, const char *target, bool read_only,
			 struct err *err)
{
	struct self_path from, to;
	int r = sys_mount(self_path(tree_fd, &from), self_path(target_fd, &to), NULL, MS_BIND,
			  NULL);

	if (r < 0)
		return fail(err, r, "mount(2) a directory on %s: %m", target);
	if (!read_only)
		return 0;
	r = remount_read_only(target, err);
	if (r < 0)
		(void)sys_umount(target, MNT_DETACH | UMOUNT_NOFOLLOW);
	return r;
}

int mount_bind(int tree_fd, const char *target, bool read_only, struct err *err)
{
	auto_close int target_fd = open_mount_point(target, err);
	int r;

	if (target_fd < 0)
		return target_fd;
	r = bind_by_tree(tree_fd, target_fd, read_only);
	if (sys_is_missing(r))
		return bind_by_mount(tree_fd, target_fd, target, read_only, err);
	return r < 0 ? fail(err, r, "mount a directory on %s: %m", target) : 0;
}

int mount_detach(const char *target, struct err *err)
{
	int r = 0;

	for (int i = 0; i < MOUNTS_AT_ONE && r == 0; i++)
		r = sys_umount(target, MNT_DETACH | UMOUNT_NOFOLLOW);
	if (r == 0)
		return fail(err, -EBUSY, "%s is mounted anew again and again", target);
	if (r == -ENOENT || r == -ENOTDIR)
		return 0;
	if (r != -EINVAL) /* no mount point any more */
		return fail(err, r, "unmount %s: %m%s", target,
			    r == -EPERM ? "; it needs root (CAP_SYS_ADMIN)" : "");
	if (rmdir(target) < 0 && errno != ENOENT)
		return fail(err, -errno, "remove the mount point %s: %m", target);
	return 0;
}
