/* SPDX-License-Identifier: Apache-2.0 */
#include "driver/tree.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "driver/base/auto.h"
#include "driver/base/sys.h"

/* A directory that is being emptied. */
struct level {
	DIR *dir;
	char name[NAME_MAX + 1];
	bool progress; /* something in it went away since its listing began, or was put into it */
	bool unlocked; /* its owner has been given all rights to it */
};

struct remover {
	int dirfd; /* that of the caller: holds levels[0] */
	struct level levels[TREE_FLATTEN_DEPTH];
	size_t depth;
	unsigned int flattened; /* for names that are free */
};

static void remover_release(struct remover *rm)
{
	while (rm->depth)
		(void)closedir(rm->levels[--rm->depth].dir);
}

static struct level *innermost(struct remover *rm)
{
	return &rm->levels[rm->depth - 1];
}

/* The descriptor of the directory that holds levels[depth]. */
static int holder(const struct remover *rm, size_t depth)
{
	return depth ? dirfd(rm->levels[depth - 1].dir) : rm->dirfd;
}

/* Gives its owner all rights to a directory that cannot be opened. */
static int unlock_dir_at(int dir_fd, const char *name)
{
	char proc[sizeof("/proc/self/fd/") + 3 * sizeof(int)];
	auto_close int fd = openat(dir_fd, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	(void)snprintf(proc, sizeof(proc), "/proc/self/fd/%d", fd);
	return chmod(proc, 0700) < 0 ? -errno : 0;
}

/* unlinkat(2), which makes the directory it works in writable where that is what is missing. */
static int unlink_in(struct level *level, int dir_fd, const char *name, int flags)
{
	if (unlinkat(dir_fd, name, flags) == 0 || errno == ENOENT)
		return 0;
	if (errno != EACCES || !level || level->unlocked)
		return -errno;
	level->unlocked = true;
	if (fchmod(dir_fd, 0700) < 0)
		return -EACCES;
	return unlinkat(dir_fd, name, flags) == 0 || errno == ENOENT ? 0 : -errno;
}

/* A descriptor, -EBUSY for a mount point. *ret_gone: the walk without openat2 removed it on the way. */
static int open_below(int dir_fd, const char *name, bool *ret_gone)
{
	int fd = sys_openat2(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0, RESOLVE_NO_XDEV);

	if (fd == -EXDEV)
		return -EBUSY;
	if (!sys_is_missing(fd))
		return fd;
	/* rmdir(2) refuses a mount point with EBUSY before it looks at anything else. */
	if (unlinkat(dir_fd, name, AT_REMOVEDIR) == 0)
		*ret_gone = true;
	else if (errno == EBUSY)
		return -EBUSY;
	fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

static int enter(struct remover *rm, const char *name, struct err *err)
{
	int dir_fd = holder(rm, rm->depth);
	struct level *level = &rm->levels[rm->depth];
	auto_close int fd = -EBADF;
	struct tree_text text;
	bool gone = false;

	fd = open_below(dir_fd, name, &gone);
	if (fd == -EACCES && unlock_dir_at(dir_fd, name) == 0)
		fd = open_below(dir_fd, name, &gone);
	if (gone || fd == -ENOENT)
		return 0;
	if (fd == -EBUSY)
		return fail(err, -EBUSY, "cannot remove %s: something is mounted there",
			    tree_printable(name, &text));
	if (fd < 0)
		return fail(err, fd, "open %s: %m", tree_printable(name, &text));
	*level = (struct level){ .dir = fdopendir(fd) };
	if (!level->dir)
		return fail_oom(err);
	(void)take_fd(&fd);
	(void)snprintf(level->name, sizeof(level->name), "%s", name);
	rm->depth++;
	return 0;
}

/* Deeper than the levels reach: the directory moves up into the outermost one, to be found there. */
static int flatten(struct remover *rm, const char *name, struct err *err)
{
	int dir_fd = holder(rm, rm->depth);
	bool unlocked = false;
	struct tree_text text;
	char flat[32];

	for (;;) {
		(void)snprintf(flat, sizeof(flat), "flat-%u", rm->flattened++);
		/* Over an empty directory this succeeds, which is as well here. */
		if (renameat(dir_fd, name, dirfd(rm->levels[0].dir), flat) == 0)
			break;
		if (errno == EEXIST || errno == ENOTEMPTY || errno == ENOTDIR)
			continue;
		if (errno != EACCES || unlocked)
			return fail(err, -errno, "move %s up to remove it: %m",
				    tree_printable(name, &text));
		unlocked = true;
		(void)unlock_dir_at(dir_fd, name);
		(void)fchmod(dir_fd, 0700);
		(void)fchmod(dirfd(rm->levels[0].dir), 0700);
	}
	rm->levels[0].progress = true;
	return 0;
}

/* One entry of the innermost directory. */
static int remove_entry(struct remover *rm, const struct dirent *entry, struct err *err)
{
	struct level *level = innermost(rm);
	struct tree_text text;
	int r = -EISDIR;

	if (entry->d_type != DT_DIR)
		r = unlink_in(level, dirfd(level->dir), entry->d_name, 0);
	if (r == 0)
		level->progress = true;
	if (r != -EISDIR)
		return r < 0 ? fail(err, r, "remove %s: %m", tree_printable(entry->d_name, &text)) :
			       0;
	if (rm->depth == TREE_FLATTEN_DEPTH)
		return flatten(rm, entry->d_name, err);
	return enter(rm, entry->d_name, err);
}

/* The innermost directory has been listed to its end. */
static int leave(struct remover *rm, struct err *err)
{
	struct level *level = innermost(rm);
	struct level *outer = rm->depth > 1 ? level - 1 : NULL;
	struct tree_text text;
	int r = unlink_in(outer, holder(rm, rm->depth - 1), level->name, AT_REMOVEDIR);

	if (r == -ENOTEMPTY && level->progress) {
		level->progress = false;
		rewinddir(level->dir);
		return 0;
	}
	if (r < 0)
		return fail(err, r, "remove directory %s: %m", tree_printable(level->name, &text));
	(void)closedir(level->dir);
	rm->depth--;
	if (outer)
		outer->progress = true;
	return 0;
}

static bool is_dot(const char *name)
{
	return !strcmp(name, ".") || !strcmp(name, "..");
}

/* Reads the innermost directory on, and acts on what it finds. */
static int step(struct remover *rm, struct err *err)
{
	const struct dirent *entry;

	errno = 0;
	entry = readdir(innermost(rm)->dir);
	if (entry)
		return is_dot(entry->d_name) ? 0 : remove_entry(rm, entry, err);
	if (errno)
		return fail(err, -errno, "list %s: %m", innermost(rm)->name);
	return leave(rm, err);
}

int tree_remove_at(int dirfd, const char *name, struct err *err)
{
	AUTO(remover_release) struct remover rm = { .dirfd = dirfd };
	struct tree_text text;
	int r = unlink_in(NULL, dirfd, name, 0);

	if (r == 0)
		return 0;
	if (r != -EISDIR)
		return fail(err, r, "remove %s: %m", tree_printable(name, &text));
	r = enter(&rm, name, err);
	while (r == 0 && rm.depth)
		r = step(&rm, err);
	return r;
}
