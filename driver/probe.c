/* SPDX-License-Identifier: Apache-2.0 */
#include "driver/probe.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/fs.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <sys/vfs.h>
#include <sys/xattr.h>

#include "driver/base/auto.h"
#include "driver/base/fd.h"
#include "driver/base/sys.h"
#include "driver/tree.h"

#define NAME_PREFIX "probe-"
#define NAME_RANDOM 16

/* Beside overlayfs's own names in the same namespaces, so that no mount ever takes it for one of
 * those. */
#define XATTR_TRUSTED "trusted.overlaid.probe"
#define XATTR_USER    "user.overlaid.probe"

void probe_fs_name(int dirfd, char out[PROBE_FS_NAME])
{
	static const struct {
		uint32_t magic;
		const char *name;
	} names[] = {
		{ 0xef53, "ext4" },	 { 0x58465342, "xfs" },	     { 0x9123683e, "btrfs" },
		{ 0x01021994, "tmpfs" }, { 0x794c7630, "overlay" },  { 0x2fc12fc1, "zfs" },
		{ 0xf2f52010, "f2fs" },	 { 0xca451a4e, "bcachefs" }, { 0x65735546, "fuse" },
		{ 0x6969, "nfs" },	 { 0x01021997, "9p" },	     { 0x858458f6, "ramfs" },
		{ 0xf15f, "ecryptfs" },	 { 0x61756673, "aufs" },     { 0xff534d42, "cifs" },
		{ 0xfe534d42, "smb2" },	 { 0x00c36400, "ceph" },
	};
	struct statfs st = { 0 };
	uint32_t magic;

	if (fstatfs(dirfd, &st) < 0)
		return;
	magic = (uint32_t)st.f_type;
	(void)snprintf(out, PROBE_FS_NAME, "0x%x", magic);
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (names[i].magic == magic)
			(void)snprintf(out, PROBE_FS_NAME, "%s", names[i].name);
}

/* 1: it can be written, 0: not here, -errno: the question could not be asked. */
static int can_write_xattr(int dirfd, const char *name)
{
	/* To replace what is not there: nothing is written, and who may not write learns it all the same. */
	if (fsetxattr(dirfd, name, "y", 1, XATTR_REPLACE) == 0 || errno == ENODATA)
		return 1;
	return sys_is_missing(-errno) ? 0 : -errno;
}

int probe_xattrs(int dirfd, enum overlay_xattrs *ret, struct err *err)
{
	int r = can_write_xattr(dirfd, XATTR_TRUSTED);
	enum overlay_xattrs xattrs = OVERLAY_XATTRS_TRUSTED;

	if (r == 0) {
		xattrs = OVERLAY_XATTRS_USER;
		r = can_write_xattr(dirfd, XATTR_USER);
	}
	if (r < 0)
		return fail(err, r, "write an xattr to try: %m");
	if (r == 0)
		return fail(
			err, -EOPNOTSUPP,
			"this filesystem takes neither trusted. nor user. xattrs: overlayfs needs them");
	*ret = xattrs;
	return 0;
}

static bool tells_types(int dirfd)
{
	int fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	auto_closedir DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *entry;

	if (!dir) {
		auto_close_fn(&fd);
		return false;
	}
	while ((entry = readdir(dir)))
		if (entry->d_type == DT_UNKNOWN)
			return false;
	return true;
}

static bool can_reflink(int dirfd)
{
	auto_close int from = openat(dirfd, "from", O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	auto_close int to = openat(dirfd, "to", O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	char block[4096] = { 1 };

	if (from < 0 || to < 0 || write_full(from, block, sizeof(block)) < 0)
		return false;
	return ioctl(to, FICLONE, from) == 0;
}

static bool has_openat2(int dirfd)
{
	auto_close int fd = sys_openat2(dirfd, ".", O_PATH | O_DIRECTORY, 0, RESOLVE_IN_ROOT);

	return fd >= 0;
}

/* What needs no mount. Leaves files behind in `fd`. */
static void probe_directory(int fd, struct probe *p)
{
	probe_fs_name(fd, p->backing_fs);
	p->xattr = probe_xattrs(fd, &p->xattrs, NULL) == 0;
	p->whiteout = whiteout_create(fd, "whiteout", NULL) == 0;
	p->reflink = can_reflink(fd);
	p->d_type = tells_types(fd); /* after there is something in it */
	p->openat2 = has_openat2(fd);
}

/* Opens DIR/SUBDIR for a plan; `path` becomes its name. Descriptor or -1. */
static int open_part(const char *dir, const char *subdir, char path[PATH_MAX])
{
	if (snprintf(path, PATH_MAX, "%s/%s", dir, subdir) >= PATH_MAX)
		return -1;
	return open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static int make_plan(const char *dir, enum overlay_xattrs xattrs, unsigned int flags,
		     struct overlay_plan *plan)
{
	char path[PATH_MAX], work_path[PATH_MAX];
	int upper, work;

	plan->xattrs = xattrs;
	plan->flags = flags;
	for (int i = 0; i < 2; i++) {
		int fd = open_part(dir, i ? "lower2" : "lower1", path);

		if (fd < 0 || overlay_plan_add_lower(plan, fd, path, NULL) < 0)
			return -1;
	}
	upper = open_part(dir, "upper", path);
	work = open_part(dir, "work", work_path);
	return overlay_plan_set_upper(plan, upper, path, work, work_path, NULL);
}

static bool can_mount(enum mount_way way, const char *dir, enum overlay_xattrs xattrs,
		      unsigned int flags)
{
	auto_overlay_plan struct overlay_plan plan = OVERLAY_PLAN_INIT;
	char merged[PATH_MAX];
	auto_close int fd = open_part(dir, "merged", merged);

	if (fd < 0 || make_plan(dir, xattrs, flags, &plan) < 0 || plan.upper_fd < 0 ||
	    plan.work_fd < 0)
		return false;
	if (mount_overlay_by(way, &plan, merged, NULL) < 0)
		return false;
	(void)sys_umount(merged, MNT_DETACH); /* nobody else is in this namespace */
	return true;
}

struct mounts_job {
	const char *dir; /* absolute, with make_mount_dirs()'s in it */
	struct probe *probe;
};

/*
 * In a thread with a mount namespace of its own, which ends with it. A child process would have to
 * be forked from a program that may have other threads, and could then neither load a library nor
 * start a thread. All directories are opened in here: those of another namespace cannot be layers.
 */
static void *mounts_thread(void *arg)
{
	struct mounts_job *job = arg;
	struct probe *p = job->probe;
	enum mount_way works = MOUNT_WAYS;

	if (unshare(CLONE_NEWNS) < 0 || sys_mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return NULL; /* who may not do this may not mount */
	for (enum mount_way way = 0; way < MOUNT_WAYS; way++) {
		p->ways[way] = can_mount(way, job->dir, p->xattrs, 0);
		if (p->ways[way] && works == MOUNT_WAYS)
			works = way;
	}
	p->overlay = works != MOUNT_WAYS;
	/* Last of all: a work directory that was volatile once is refused from then on. */
	if (p->overlay)
		p->volatile_mount = can_mount(works, job->dir, p->xattrs, OVERLAY_VOLATILE);
	return NULL;
}

static int probe_mounts(int fd, const char *dir, struct probe *p, struct err *err)
{
	static const char *const names[] = { "lower1", "lower2", "upper", "work", "merged" };
	struct mounts_job job = { .dir = dir, .probe = p };
	sigset_t all, old;
	pthread_t thread;
	int r;

	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (mkdirat(fd, names[i], 0755) < 0)
			return fail(err, -errno, "make %s/%s: %m", dir, names[i]);
	/* The host program's signals are for its own threads. */
	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &old);
	r = pthread_create(&thread, NULL, mounts_thread, &job);
	(void)pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (r)
		return fail(err, -r, "start a thread: %m");
	(void)pthread_join(thread, NULL);
	return 0;
}

/* All of it, in the fresh directory parent_fd/name, whose absolute name is `path`. */
static int probe_in(int parent_fd, const char *name, const char *path, struct probe *p,
		    struct err *err)
{
	auto_close int fd = -EBADF;

	if (mkdirat(parent_fd, name, 0700) < 0)
		return fail(err, -errno, "make %s: %m", path);
	fd = open_dir_at(parent_fd, name, err);
	if (fd < 0)
		return fd;
	probe_directory(fd, p);
	return probe_mounts(fd, path, p, err);
}

int probe_run(const char *dir, struct probe *ret, struct err *err)
{
	char name[sizeof(NAME_PREFIX) + NAME_RANDOM] = NAME_PREFIX;
	auto_close int parent_fd = open_dir_at(AT_FDCWD, dir, err);
	auto_free char *canonical = NULL;
	char path[PATH_MAX];
	struct probe p = { 0 };
	struct utsname uts;
	int r, removed;

	if (parent_fd < 0)
		return parent_fd;
	canonical = realpath(dir, NULL);
	if (!canonical)
		return fail(err, -errno, "resolve %s: %m", dir);
	random_hex(name + strlen(NAME_PREFIX), NAME_RANDOM);
	if (snprintf(path, sizeof(path), "%s/%s", canonical, name) >= (int)sizeof(path))
		return fail(err, -ENAMETOOLONG, "%s: %m", dir);
	if (uname(&uts) == 0)
		(void)snprintf(p.kernel, sizeof(p.kernel), "%s", uts.release);
	r = probe_in(parent_fd, name, path, &p, err);
	removed = tree_remove_at(parent_fd, name, r < 0 ? NULL : err);
	if (r < 0)
		return r;
	if (removed < 0)
		return removed;
	*ret = p;
	return 0;
}
