/* SPDX-License-Identifier: Apache-2.0 */
#include "driver/tree.h"

#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "driver/base/auto.h"
#include "driver/base/buf.h"
#include "driver/inode_map.h"

#define STAT_BLOCK 512 /* the unit of st_blocks, whatever the filesystem */

/* Names of directories that still wait to be entered, at any one time. */
#define PENDING_MAX ((size_t)1 << 30)

/* A directory on the way from the top to where the walk is. */
struct level {
	struct stat st;
	size_t pending_at; /* its subdirectories begin here in `pending` */
};

struct walk {
	int fd; /* of the innermost level; owned */
	struct level *levels;
	size_t depth, levels_size;
	struct buf pending;	 /* names, each NUL-terminated */
	struct inode_map linked; /* the hard-linked inodes seen so far */
	struct tree_usage usage;
	uint64_t content_bytes;
};

static void walk_release(struct walk *w)
{
	auto_close_fn(&w->fd);
	free(w->levels);
	inode_map_release(&w->linked);
	buf_release(&w->pending);
}

static int count(struct walk *w, const struct stat *st, struct err *err)
{
	int r = 1;

	if (!S_ISDIR(st->st_mode) && st->st_nlink > 1)
		r = inode_map_add(&w->linked, st, NULL);
	if (r < 0)
		return fail_oom(err);
	if (r == 0)
		return 0;
	w->usage.inodes++;
	w->usage.disk_bytes += (uint64_t)st->st_blocks * STAT_BLOCK;
	if (S_ISREG(st->st_mode))
		w->usage.bytes += (uint64_t)st->st_size;
	if (!S_ISDIR(st->st_mode))
		w->content_bytes += (uint64_t)st->st_size;
	return 0;
}

/* An entry of the innermost directory: counted; a directory is also remembered, to be entered. */
static int look_at(struct walk *w, const char *name, struct err *err)
{
	struct tree_text text;
	struct stat st;

	if (!strcmp(name, ".") || !strcmp(name, ".."))
		return 0;
	if (fstatat(w->fd, name, &st, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT) < 0) {
		if (errno == ENOENT)
			return 0;
		return fail(err, -errno, "%s: %m", tree_printable(name, &text));
	}
	if (S_ISDIR(st.st_mode)) {
		if (st.st_dev != w->levels[w->depth - 1].st.st_dev)
			return 0;
		(void)buf_append(&w->pending, name, strlen(name) + 1);
	}
	return count(w, &st, err);
}

static int list(struct walk *w, struct err *err)
{
	auto_close int fd = fcntl(w->fd, F_DUPFD_CLOEXEC, 0);
	auto_closedir DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *entry;
	int r = 0;

	if (!dir)
		return fail(err, -errno, "list a directory: %m");
	(void)take_fd(&fd);
	for (errno = 0; r == 0 && (entry = readdir(dir)); errno = 0)
		r = look_at(w, entry->d_name, err);
	if (r == 0 && errno)
		r = fail(err, -errno, "list a directory: %m");
	return r < 0 ? r : buf_status(&w->pending, err);
}

/* Takes fd over. */
static int enter(struct walk *w, int fd, struct err *err)
{
	struct level *level;

	auto_close_fn(&w->fd);
	w->fd = fd;
	if (w->depth == w->levels_size) {
		size_t size = w->levels_size ? w->levels_size * 2 : 32;
		struct level *levels = realloc(w->levels, size * sizeof(*levels));

		if (!levels)
			return fail_oom(err);
		w->levels = levels;
		w->levels_size = size;
	}
	level = &w->levels[w->depth++];
	level->pending_at = w->pending.len;
	if (fstat(fd, &level->st) < 0)
		return fail(err, -errno, "look at a directory: %m");
	return list(w, err);
}

/* Enters the last of the directories that wait in the innermost one. */
static int descend(struct walk *w, struct err *err)
{
	size_t at = w->pending.len - 1; /* its NUL */
	char name[NAME_MAX + 1];
	struct tree_text text;
	int fd;

	while (at > w->levels[w->depth - 1].pending_at && w->pending.data[at - 1])
		at--;
	memcpy(name, w->pending.data + at, w->pending.len - at);
	w->pending.len = at;
	fd = openat(w->fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 && errno == ENOENT)
		return 0;
	if (fd < 0)
		return fail(err, -errno, "%s: %m", tree_printable(name, &text));
	return enter(w, fd, err);
}

/* Back to the directory around the innermost one, through "..". */
static int ascend(struct walk *w, struct err *err)
{
	const struct level *outer;
	struct stat st;
	int fd;

	if (--w->depth == 0)
		return 0;
	outer = &w->levels[w->depth - 1];
	fd = openat(w->fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return fail(err, -errno, "go up from a directory: %m");
	auto_close_fn(&w->fd);
	w->fd = fd;
	if (fstat(fd, &st) < 0)
		return fail(err, -errno, "look at a directory: %m");
	if (st.st_ino != outer->st.st_ino || st.st_dev != outer->st.st_dev)
		return fail(err, -EAGAIN, "a directory was moved while it was being counted");
	return 0;
}

static int walk(struct walk *w, int dirfd, const char *name, tree_stop_fn *stop, void *arg,
		struct err *err)
{
	struct tree_text text;
	struct stat st;
	int fd, r;

	if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT) < 0)
		return fail(err, -errno, "%s: %m", tree_printable(name, &text));
	r = count(w, &st, err);
	if (r == 0 && S_ISDIR(st.st_mode)) {
		fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (fd < 0)
			return fail(err, -errno, "%s: %m", tree_printable(name, &text));
		r = enter(w, fd, err);
	}
	while (r == 0 && w->depth) {
		if (stop && stop(arg))
			return fail(err, -ECANCELED, "nobody waits for it any more");
		if (w->pending.len > w->levels[w->depth - 1].pending_at)
			r = descend(w, err);
		else
			r = ascend(w, err);
	}
	return r;
}

int tree_usage_until(int dirfd, const char *name, tree_stop_fn *stop, void *arg,
		     struct tree_usage *ret, struct err *err)
{
	AUTO(walk_release) struct walk w = { .fd = -EBADF, .pending = { .max = PENDING_MAX } };
	int r = walk(&w, dirfd, name, stop, arg, err);

	if (r == 0)
		*ret = w.usage;
	return r;
}

int tree_usage_at(int dirfd, const char *name, struct tree_usage *ret, struct err *err)
{
	return tree_usage_until(dirfd, name, NULL, NULL, ret, err);
}

int tree_content_bytes(int dirfd, const char *name, uint64_t *ret, struct err *err)
{
	AUTO(walk_release) struct walk w = { .fd = -EBADF, .pending = { .max = PENDING_MAX } };
	int r = walk(&w, dirfd, name, NULL, NULL, err);

	if (r == 0)
		*ret = w.content_bytes;
	return r;
}
