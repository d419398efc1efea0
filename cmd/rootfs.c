/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/rootfs.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "driver/base/auto.h"
#include "driver/base/fd.h"
#include "driver/base/sys.h"

#define RESOLVE	  (RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS)
#define STEPS_MAX 300 /* directories to make and links to follow for one path */

struct fd_path fd_path(int fd)
{
	struct fd_path path;

	(void)snprintf(path.text, sizeof(path.text), "/proc/self/fd/%d", fd);
	return path;
}

int root_open(int root_fd, const char *path, struct err *err)
{
	int fd = sys_openat2(root_fd, path, O_PATH, 0, RESOLVE);

	return fd < 0 ? fail(err, fd, "%s in the container: %m", path) : fd;
}

static int check_kind(int fd, const char *path, enum root_kind kind, struct err *err)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return fail(err, -errno, "%s in the container: %m", path);
	if (kind == ROOT_DIRECTORY && !S_ISDIR(st.st_mode))
		return fail(err, -ENOTDIR, "%s in the container is not a directory", path);
	if (kind == ROOT_FILE && S_ISDIR(st.st_mode))
		return fail(err, -EISDIR, "%s in the container is a directory", path);
	return 0;
}

static int make_leaf(int parent_fd, const char *name, enum root_kind kind)
{
	int fd;

	if (kind == ROOT_DIRECTORY)
		return mkdirat(parent_fd, name, 0755) < 0 && errno != EEXIST ? -errno : 0;
	fd = openat(parent_fd, name, O_CREAT | O_EXCL | O_NOFOLLOW | O_WRONLY | O_CLOEXEC, 0644);
	if (fd < 0)
		return errno == EEXIST ? 0 : -errno;
	(void)close(fd);
	return 0;
}

/* Where the symlink at `path`, which points at nothing, points: a path in the root. 0, or -ENOENT:
 * there is no symlink. */
static int dangling_target(int root_fd, const char *path, size_t dir_len, struct buf *ret)
{
	auto_close int fd = sys_openat2(root_fd, path, O_PATH | O_NOFOLLOW, 0, RESOLVE);
	char target[PATH_MAX];
	ssize_t len;

	if (fd < 0)
		return fd;
	len = readlinkat(fd, "", target, sizeof(target) - 1);
	if (len <= 0)
		return len < 0 && errno != EINVAL ? -errno : -ENOENT;
	while (len > 1 && target[len - 1] == '/')
		len--;
	target[len] = 0;
	(void)buf_printf(ret, "%.*s%s%s", target[0] == '/' ? 0 : (int)dir_len, path,
			 target[0] == '/' ? "" : "/", target);
	return ret->status;
}

/* `path` does not end with "/", but for the root. `steps` is what is left of STEPS_MAX. */
static int make_path(int root_fd, const char *path, enum root_kind kind, int *steps,
		     struct err *err)
{
	auto_buf struct buf other = { .max = PATH_MAX * 2 };
	auto_close int parent_fd = -EBADF;
	const char *name;
	size_t dir_len = strlen(path);
	int fd = sys_openat2(root_fd, path, O_PATH, 0, RESOLVE);
	int r;

	if (fd != -ENOENT || (*steps)-- == 0)
		return fd < 0 ? fail(err, fd == -ENOENT ? -ELOOP : fd, "%s in the container: %m",
				     path) :
				fd;
	while (dir_len > 0 && path[dir_len - 1] != '/')
		dir_len--;
	name = path + dir_len;
	while (dir_len > 0 && path[dir_len - 1] == '/')
		dir_len--;
	r = dangling_target(root_fd, path, dir_len, &other);
	if (r == 0)
		return make_path(root_fd, buf_text(&other), kind, steps, err);
	if (r != -ENOENT)
		return fail(err, r, "%s in the container: %m", path);
	(void)buf_printf(&other, "/%.*s", (int)dir_len, path);
	parent_fd = make_path(root_fd, buf_text(&other), ROOT_DIRECTORY, steps, err);
	if (parent_fd < 0)
		return parent_fd;
	r = make_leaf(parent_fd, name, kind);
	if (r < 0)
		return fail(err, r, "make %s in the container: %m", path);
	return make_path(root_fd, path, kind, steps, err);
}

int root_make(int root_fd, const char *path, enum root_kind kind, struct err *err)
{
	auto_close int fd = -EBADF;
	auto_free char *trimmed = strdup(path);
	int steps = STEPS_MAX;
	size_t len;
	int r;

	if (!trimmed)
		return fail_oom(err);
	for (len = strlen(trimmed); len > 1 && trimmed[len - 1] == '/'; len--)
		trimmed[len - 1] = 0;
	fd = make_path(root_fd, trimmed, kind, &steps, err);
	if (fd < 0)
		return fd;
	r = check_kind(fd, path, kind, err);
	return r < 0 ? r : take_fd(&fd);
}

int root_read(int root_fd, const char *path, struct buf *b, struct err *err)
{
	auto_close int found = root_open(root_fd, path, err);
	auto_close int fd = -EBADF;
	struct stat st;

	if (found < 0)
		return found;
	if (fstat(found, &st) < 0)
		return fail(err, -errno, "%s in the container: %m", path);
	if (!S_ISREG(st.st_mode))
		return fail(err, -EINVAL, "%s in the container is not a regular file", path);
	fd = open(fd_path(found).text, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	if (fd < 0)
		return fail(err, -errno, "open %s in the container: %m", path);
	return read_to_buf(fd, b, path, err);
}
