/* SPDX-License-Identifier: Apache-2.0 */
#include "driver/apply_internal.h"

#include <fcntl.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "driver/base/auto.h"
#include "driver/base/sys.h"

#define STAT_BLOCK 512 /* the unit of st_blocks, whatever the filesystem */

/* xfs gives files that grow beyond this more than they need until they are closed; those that have
 * their size before they are written get what they need. */
#define PREALLOCATED_FROM 65536

/* Of the holes of a layer so much is hashed as zeros: a hole of any size costs an archive nothing. */
#define HASHED_HOLES_MAX ((uint64_t)1 << 30)

int apply_clear(struct applier *a, const struct apply_place *place, const char *name,
		struct err *err)
{
	struct stat st;
	int r = 0;

	if (fstatat(place->fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return fail(err, -errno, "look at what has this name: %m");
	if (S_ISDIR(st.st_mode)) {
		apply_dirs_forget(&a->dirs, st.st_ino);
		r = tree_remove_at(place->fd, name, err);
	} else {
		apply_forget_copy(&a->dirs, place, name, st.st_ino);
		if (unlinkat(place->fd, name, 0) < 0)
			r = fail(err, -errno, "remove what has this name: %m");
	}
	if (S_ISDIR(st.st_mode) || S_ISLNK(st.st_mode))
		apply_dirs_forget_names(&a->dirs);
	if (r < 0)
		return r;
	a->recount = true;
	return apply_note_removed(a, place, name, err);
}

/* ---- files ---- */

static int create(struct applier *a, const struct apply_place *place, struct err *err)
{
	const int flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
	const mode_t mode = a->entry->mode & 0777;
	int fd = openat(place->fd, a->name.last, flags, mode);
	int r;

	if (fd < 0 && errno == EEXIST) {
		r = apply_clear(a, place, a->name.last, err);
		if (r < 0)
			return r;
		fd = openat(place->fd, a->name.last, flags, mode);
	}
	if (fd < 0)
		return fail(err, -errno, "make the file: %m");
	if (a->entry->size > PREALLOCATED_FROM && ftruncate(fd, a->entry->size) < 0) {
		r = fail(err, -errno, "set the size: %m");
		auto_close_fn(&fd);
		return r;
	}
	return fd;
}

/* The digest goes on from `position` to `offset` with zeros, unless there have been too many. */
static void hash_hole(struct applier *a, int64_t position, int64_t offset)
{
	uint64_t len = (uint64_t)(offset - position);

	a->hashed_holes += len;
	if (a->hashed_holes <= HASHED_HOLES_MAX)
		apply_stream_zeros(&a->stream, len);
	else
		a->has_digest = false;
}

/* Has what the archive has of the file written; gaps stay holes. The last piece takes the file with it,
 * and fd is -EBADF then. */
static int fill(struct applier *a, struct apply_write *write, struct err *err)
{
	const void *block;
	int64_t end = 0;
	int r;

	while ((r = tar_data(a->tar, &block, &write->len, &write->offset, err)) == 1) {
		if (write->offset > end)
			hash_hole(a, end, write->offset);
		write->data = block;
		write->chunk = apply_stream_chunk(&a->stream, block);
		apply_stream_piece(&a->stream, block, write->len);
		end = write->offset + (int64_t)write->len;
		write->last = end == write->size;
		r = apply_writer_put(&a->writer, write, a->name.path, err);
		if (write->last)
			write->fd = -EBADF;
		if (r < 0)
			return r;
	}
	write->len = 0;
	write->chunk = NULL;
	if (r == 0 && end < write->size)
		hash_hole(a, end, write->size);
	return r;
}

int apply_file(struct applier *a, const struct apply_place *place, struct err *err)
{
	const struct tar_entry *entry = a->entry;
	struct apply_write write = {
		.fd = -EBADF,
		.size = entry->size,
		.uid = entry->uid,
		.gid = entry->gid,
		.mode = entry->mode,
		.mtime = entry->mtime,
		.entry = entry->xattr_count ? entry : NULL,
	};
	int r;

	if ((uint64_t)entry->size > a->limits.file_bytes)
		return fail(err, -EFBIG,
			    "the file is larger than %llu bytes (%lld)" APPLY_LIMIT_WORDS(
				    "file-bytes"),
			    (unsigned long long)a->limits.file_bytes, (long long)entry->size);
	write.fd = create(a, place, err);
	if (write.fd < 0)
		return write.fd;
	a->has_digest = true;
	r = entry->size ? fill(a, &write, err) : 0;
	apply_stream_end_piece(&a->stream, a->digest);
	if (r < 0) {
		auto_close_fn(&write.fd);
		return r;
	}
	write.last = true;
	if (write.fd >= 0)
		r = apply_writer_put(&a->writer, &write, a->name.path, err);
	return r < 0 ? r : apply_note_file(a, place, err);
}

/* ---- what has no contents ---- */

int apply_metadata(struct applier *a, const struct apply_place *place, const char *name,
		   mode_t mode, struct err *err)
{
	const struct tar_entry *entry = a->entry;
	struct timespec times[2] = { entry->mtime, entry->mtime };
	bool chowned = false;
	struct stat st;
	int r;

	if (fstatat(place->fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return fail(err, -errno, "look at what was made: %m");
	if (st.st_uid != entry->uid || st.st_gid != entry->gid) {
		if (fchownat(place->fd, name, entry->uid, entry->gid, AT_SYMLINK_NOFOLLOW) < 0)
			return fail(err, -errno, "give it to %u:%u: %m%s", entry->uid, entry->gid,
				    apply_hint(-errno));
		chowned = true;
	}
	/* A change of owner takes setuid and setgid away. */
	if (!S_ISLNK(st.st_mode) && ((st.st_mode & 07777) != mode || (chowned && (mode & 06000)))) {
		r = sys_chmod_at(place->fd, name, mode);
		if (r < 0)
			return fail(err, r, "set the mode: %m");
	}
	if (utimensat(place->fd, name, times, AT_SYMLINK_NOFOLLOW) < 0)
		return fail(err, -errno, "set the times: %m");
	a->result.disk_bytes += (uint64_t)st.st_blocks * STAT_BLOCK;
	r = apply_no_xattrs(entry, &a->limits, &a->result.dropped_xattrs, err);
	return r < 0 ? r : apply_note_node(a, place, name, &st, mode, err);
}

int apply_symlink(struct applier *a, const struct apply_place *place, struct err *err)
{
	const char *name = a->name.last;
	int r = symlinkat(a->entry->link, place->fd, name);

	if (r < 0 && errno == EEXIST) {
		r = apply_clear(a, place, name, err);
		if (r < 0)
			return r;
		r = symlinkat(a->entry->link, place->fd, name);
	}
	if (r < 0)
		return fail(err, -errno, "make the symlink: %m");
	return apply_metadata(a, place, name, 0, err);
}

int apply_node(struct applier *a, const struct apply_place *place, struct err *err)
{
	static const mode_t types[] = {
		[TAR_CHAR] = S_IFCHR, [TAR_BLOCK] = S_IFBLK, [TAR_FIFO] = S_IFIFO
	};
	const struct tar_entry *entry = a->entry;
	const mode_t mode = types[entry->type] | entry->mode;
	const dev_t dev = makedev(entry->dev_major, entry->dev_minor);
	const char *name = a->name.last;
	int r = mknodat(place->fd, name, mode, dev);

	if (r < 0 && errno == EEXIST) {
		r = apply_clear(a, place, name, err);
		if (r < 0)
			return r;
		r = mknodat(place->fd, name, mode, dev);
	}
	if (r < 0)
		return fail(err, -errno, "make the %s: %m%s",
			    entry->type == TAR_FIFO ? "fifo" : "device", apply_hint(-errno));
	/* 0:0 is a whiteout, however it came. */
	if (entry->type == TAR_CHAR && dev == 0) {
		r = whiteout_mark_parent(place->fd, a->options->xattrs, err);
		if (r < 0)
			return r;
	}
	return apply_metadata(a, place, name, entry->mode, err);
}

/* ---- hard links ---- */

static int not_here(const struct applier *a, struct err *err)
{
	struct tree_text text;

	tree_printable(a->entry->link, &text);
	if (!a->options->parent)
		return fail(err, APPLY_NEEDS_PARENT,
			    "a hard link to %s, which is not in this layer", text.text);
	return fail(err, -ENOENT,
		    "a hard link to %s, which is neither in this layer nor in those beneath it",
		    text.text);
}

static int to_directory(const struct applier *a, struct err *err)
{
	return fail(err, a->dirs.passed && !a->options->parent ? APPLY_NEEDS_PARENT : -EBADMSG,
		    "a hard link to a directory");
}

/* The target is not in this layer: it becomes so, if it is in one beneath. */
static int find_beneath(struct applier *a, const struct apply_place *place, struct stat *ret_st,
			struct err *err)
{
	struct stack_found found;
	int r;

	if (!a->options->parent)
		return not_here(a, err);
	r = apply_parent_find(&a->dirs, place->dir, a->target.last, &found, err);
	if (r < 0)
		return r;
	if (found.type == STACK_DIR)
		return to_directory(a, err);
	if (found.type == STACK_MISSING)
		return not_here(a, err);
	r = apply_copy_up(a, place, &found, ret_st, err);
	return r < 0 ? err_prefix(err, r, "the target of the hard link") : 0;
}

/* Where the target is, and what. With a parent the way to it is made: a copy may be put there. */
static int find_target(struct applier *a, struct apply_place *ret_place, struct stat *ret_st,
		       struct err *err)
{
	const char *ignored;
	int r = apply_name_set(&a->target, a->entry->link, &a->limits, err);

	if (r < 0)
		return err_prefix(err, r, "the target of the hard link");
	if (a->target.skip || whiteout_parse(a->target.last, &ignored) != WHITEOUT_NONE)
		return fail(err, -EBADMSG, "a hard link to a whiteout");
	a->dirs.to_lend = true;
	r = apply_dirs_open(&a->dirs, a->target.parent, a->options->parent, a->options->xattrs,
			    ret_place, err);
	a->dirs.to_lend = false;
	if (r == -ENOENT || r == -ENOTDIR)
		return not_here(a, err);
	if (r < 0)
		return r;
	if (!*a->target.last)
		return to_directory(a, err);
	if (fstatat(ret_place->fd, a->target.last, ret_st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? find_beneath(a, ret_place, ret_st, err) :
					 fail(err, -errno, "look at its target: %m");
	if (S_ISDIR(ret_st->st_mode))
		return to_directory(a, err);
	return whiteout_is(ret_st) ? not_here(a, err) : 0;
}

int apply_hardlink(struct applier *a, const struct apply_place *place, struct err *err)
{
	const char *name = a->name.last;
	struct apply_place from = { .fd = -EBADF }, to = *place;
	auto_close int from_fd = -EBADF;
	struct stat target = { 0 }, present;
	int r = find_target(a, &from, &target, err);

	/* The way to the target may have been long enough to close `place`, and the way back to close that. */
	if (r == 0 && a->options->parent) {
		from_fd = from.fd = apply_dirs_reopen(&a->dirs, from.dir, err);
		r = from_fd < 0 ? from_fd : 0;
	}
	if (r == 0 && a->options->parent)
		r = apply_dirs_open(&a->dirs, a->name.parent, true, a->options->xattrs, &to, err);
	if (r < 0)
		return r;
	r = linkat(from.fd, a->target.last, to.fd, name, 0);
	if (r < 0 && errno == EEXIST) {
		if (fstatat(to.fd, name, &present, AT_SYMLINK_NOFOLLOW) == 0 &&
		    present.st_ino == target.st_ino && present.st_dev == target.st_dev) {
			apply_forget_copy(&a->dirs, &to, name, present.st_ino);
			return 0;
		}
		r = apply_clear(a, &to, name, err);
		if (r < 0)
			return r;
		r = linkat(from.fd, a->target.last, to.fd, name, 0);
	}
	if (r < 0)
		return errno == ENOENT ? not_here(a, err) : fail(err, -errno, "link: %m");
	return apply_note_link(a, &to, &from, err);
}
