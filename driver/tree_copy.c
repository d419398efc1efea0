/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <linux/limits.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "driver/base/auto.h"
#include "driver/tree.h"

#define XATTR_LIST_MAX 65536
#define COPY_BYTES     65536

/* Where xattrs are read: the calls on descriptors take no O_PATH. */
struct xattr_source {
	int fd;
	char path[32]; /* "": by the descriptor */
};

static ssize_t list_names(const struct xattr_source *from, char *names)
{
	return from->path[0] ? listxattr(from->path, names, XATTR_LIST_MAX) :
			       flistxattr(from->fd, names, XATTR_LIST_MAX);
}

static ssize_t get_value(const struct xattr_source *from, const char *name, char *value,
			 size_t size)
{
	return from->path[0] ? getxattr(from->path, name, value, size) :
			       fgetxattr(from->fd, name, value, size);
}

/* Overlayfs's own describe the layer, not the directory; a label is the host's to give. */
static bool is_copied(const char *name)
{
	return strncmp(name, "trusted.overlay.", 16) != 0 &&
	       strncmp(name, "user.overlay.", 13) != 0 && strcmp(name, "security.selinux") != 0;
}

static int copy_xattr(const struct xattr_source *from, int to_fd, const char *name, struct err *err)
{
	char value[XATTR_SIZE_MAX];
	ssize_t len = get_value(from, name, value, sizeof(value));

	if (len < 0 || fsetxattr(to_fd, name, value, (size_t)len, 0) < 0)
		return fail(err, -errno, "copy the extended attribute %s: %m", name);
	return 0;
}

typedef int xattr_fn(const struct xattr_source *from, int to_fd, const char *name, struct err *err);

/* Calls `fn` (NULL: nothing) for each that is to be copied; how many there are. */
static int foreach_copied(int from_fd, xattr_fn *fn, int to_fd, struct err *err)
{
	struct xattr_source from = { .fd = from_fd };
	auto_free char *names = malloc(XATTR_LIST_MAX);
	ssize_t len;
	int count = 0;

	if (!names)
		return fail_oom(err);
	if (fcntl(from_fd, F_GETFL) & O_PATH)
		(void)snprintf(from.path, sizeof(from.path), "/proc/self/fd/%d", from_fd);
	len = list_names(&from, names);
	if (len < 0)
		return errno == EOPNOTSUPP ? 0 : fail(err, -errno, "list extended attributes: %m");
	for (const char *name = names; name < names + len; name += strlen(name) + 1) {
		int r = is_copied(name) && fn ? fn(&from, to_fd, name, err) : 0;

		if (r < 0)
			return r;
		count += is_copied(name);
	}
	return count;
}

int tree_copy_xattrs(int from_fd, int to_fd, struct err *err)
{
	int r = foreach_copied(from_fd, copy_xattr, to_fd, err);

	return r < 0 ? r : 0;
}

int tree_has_xattrs(int fd, struct err *err)
{
	int r = foreach_copied(fd, NULL, -EBADF, err);

	return r < 0 ? r : r > 0;
}

int tree_copy_dir_metadata(int from_fd, int to_fd, struct err *err)
{
	struct stat st;
	int r;

	if (fstat(from_fd, &st) < 0)
		return fail(err, -errno, "stat a directory: %m");
	if (fchown(to_fd, st.st_uid, st.st_gid) < 0 || fchmod(to_fd, st.st_mode & 07777) < 0)
		return fail(err, -errno, "set owner and mode of a directory: %m");
	r = tree_copy_xattrs(from_fd, to_fd, err);
	if (r >= 0 && futimens(to_fd, (const struct timespec[2]){ st.st_atim, st.st_mtim }) < 0)
		r = fail(err, -errno, "set the times of a directory: %m");
	return r;
}

/* ---- what is not a directory ---- */

/* Where copy_file_range(2) cannot: between filesystems, on an old kernel, under a filter. */
static int copy_by_hand(int from_fd, int to_fd, off_t at, off_t end)
{
	auto_free char *block = malloc(COPY_BYTES);

	if (!block)
		return -ENOMEM;
	while (at < end) {
		size_t want = end - at < COPY_BYTES ? (size_t)(end - at) : COPY_BYTES;
		ssize_t len = pread(from_fd, block, want, at);

		if (len > 0)
			len = pwrite(to_fd, block, (size_t)len, at);
		if (len < 0 && errno != EINTR)
			return -errno;
		if (len == 0)
			return -EIO; /* it became shorter */
		at += len > 0 ? len : 0;
	}
	return 0;
}

static int copy_range(int from_fd, int to_fd, off_t at, off_t end)
{
	off_t from_at = at, to_at = at;

	while (from_at < end) {
		ssize_t len = copy_file_range(from_fd, &from_at, to_fd, &to_at,
					      (size_t)(end - from_at), 0);

		if (len < 0 && errno == EINTR)
			continue;
		if (len <= 0)
			return copy_by_hand(from_fd, to_fd, from_at, end);
	}
	return 0;
}

static int copy_data(int from_fd, int to_fd, off_t size)
{
	off_t at = 0, end;
	int r = ftruncate(to_fd, size) < 0 ? -errno : 0;

	while (r == 0 && at < size) {
		at = lseek(from_fd, at, SEEK_DATA);
		if (at < 0)
			return errno == ENXIO ? 0 : -errno; /* a hole up to the end */
		end = lseek(from_fd, at, SEEK_HOLE);
		if (end < 0)
			return -errno;
		r = copy_range(from_fd, to_fd, at, end);
		at = end;
	}
	return r;
}

static int copy_file(int from_fd, const char *name, const struct stat *st, int to_fd,
		     struct err *err)
{
	const struct timespec times[2] = { st->st_mtim, st->st_mtim };
	auto_close int from = openat(from_fd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	auto_close int to = -EBADF;
	int r;

	if (from < 0)
		return fail(err, -errno, "open the file to be copied: %m");
	to = openat(to_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (to < 0)
		return fail(err, -errno, "make the copy: %m");
	r = copy_data(from, to, st->st_size);
	if (r < 0)
		return fail(err, r, "copy: %m");
	/* A change of owner takes setuid and capabilities away, so it comes first. */
	if (fchown(to, st->st_uid, st->st_gid) < 0 || fchmod(to, st->st_mode & 07777) < 0)
		return fail(err, -errno, "set owner and mode of the copy: %m");
	r = tree_copy_xattrs(from, to, err);
	if (r >= 0 && futimens(to, times) < 0)
		r = fail(err, -errno, "set the times of the copy: %m");
	return r;
}

static int copy_link(int from_fd, const char *name, int to_fd, struct err *err)
{
	char target[PATH_MAX];
	ssize_t len = readlinkat(from_fd, name, target, sizeof(target));

	if (len < 0 || len == sizeof(target))
		return fail(err, len < 0 ? -errno : -ENAMETOOLONG,
			    "read the link to be copied: %m");
	target[len] = 0;
	return symlinkat(target, to_fd, name) < 0 ? fail(err, -errno, "make the copy: %m") : 0;
}

int tree_copy_leaf(int from_fd, const char *name, int to_fd, struct err *err)
{
	struct timespec times[2];
	struct stat st;
	int r = 0;

	if (fstatat(from_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return fail(err, -errno, "look at what is to be copied: %m");
	if (S_ISREG(st.st_mode))
		return copy_file(from_fd, name, &st, to_fd, err);
	if (S_ISLNK(st.st_mode))
		r = copy_link(from_fd, name, to_fd, err);
	else if (mknodat(to_fd, name, st.st_mode, st.st_rdev) < 0)
		r = fail(err, -errno, "make the copy: %m");
	if (r < 0)
		return r;
	times[0] = times[1] = st.st_mtim;
	if (fchownat(to_fd, name, st.st_uid, st.st_gid, AT_SYMLINK_NOFOLLOW) < 0 ||
	    (!S_ISLNK(st.st_mode) && fchmodat(to_fd, name, st.st_mode & 07777, 0) < 0) ||
	    utimensat(to_fd, name, times, AT_SYMLINK_NOFOLLOW) < 0)
		return fail(err, -errno, "give the copy its owner, mode and time: %m");
	return 0;
}
