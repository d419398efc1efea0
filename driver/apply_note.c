/* SPDX-License-Identifier: Apache-2.0 */
#include "driver/apply_internal.h"

#include <fcntl.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "driver/base/auto.h"
#include "driver/contents.h"

/* ---- paths ---- */

/* dir/name from the root, in a->note_path until the next call. Entries come a directory at a time. */
static const char *note_path(struct applier *a, const struct apply_dir *dir, const char *name,
			     struct err *err)
{
	struct buf *path = &a->note_path;

	if (a->note_dir != dir) {
		auto_free char *text = apply_dir_path(dir);

		buf_reset(path);
		a->note_dir = NULL;
		if (!text) {
			(void)fail_oom(err);
			return NULL;
		}
		(void)buf_puts(path, text);
		if (*text)
			(void)buf_putc(path, '/');
		a->note_dir = dir;
		a->note_dir_len = path->len;
	}
	path->len = a->note_dir_len;
	(void)buf_puts(path, name);
	return buf_status(path, err) < 0 ? NULL : buf_text(path);
}

/* ---- xattrs ---- */

#define XATTRS_MAX 1024

/* Those that a file or directory has, and a layer may have set. */
struct found_xattrs {
	struct tar_xattr list[XATTRS_MAX];
	size_t count;
	struct buf names, values;
};

static void found_release(struct found_xattrs *found)
{
	buf_release(&found->names);
	buf_release(&found->values);
}

static int find_names(int fd, struct buf *names, struct err *err)
{
	ssize_t size = flistxattr(fd, NULL, 0);
	char *room = size > 0 ? buf_room(names, (size_t)size) : NULL;

	if (size == 0 || (size < 0 && errno == EOPNOTSUPP))
		return 0;
	if (size > 0 && !room)
		return buf_status(names, err);
	if (size > 0)
		size = flistxattr(fd, room, (size_t)size);
	if (size < 0)
		return fail(err, -errno, "list xattrs: %m");
	buf_end(names, (size_t)size);
	return 0;
}

static int find_value(int fd, const char *name, struct found_xattrs *found, struct err *err)
{
	char *room = buf_room(&found->values, XATTR_SIZE_MAX);
	ssize_t len;

	if (!room || found->count == XATTRS_MAX)
		return fail(err, -EFBIG, "too many xattrs");
	len = fgetxattr(fd, name, room, XATTR_SIZE_MAX);
	if (len < 0)
		return fail(err, -errno, "read an xattr: %m");
	found->list[found->count++] = (struct tar_xattr){ name, NULL, (size_t)len };
	buf_end(&found->values, (size_t)len);
	return 0;
}

static int find_xattrs(int fd, struct found_xattrs *found, struct err *err)
{
	int r = find_names(fd, &found->names, err);
	const char *name = buf_text(&found->names), *end = name + found->names.len;
	const char *value;

	for (; r == 0 && name < end; name += strlen(name) + 1) {
		if (apply_keeps_xattr(name))
			r = find_value(fd, name, found, err);
	}
	/* The values have moved as they grew. */
	value = buf_text(&found->values);
	for (size_t i = 0; i < found->count; i++) {
		found->list[i].value = value;
		value += found->list[i].len;
	}
	return r;
}

/* Sets it anew where the entry has it twice: the last one counts. */
static void keep_xattr(struct found_xattrs *found, const struct tar_xattr *xattr)
{
	size_t i = 0;

	while (i < found->count && strcmp(found->list[i].name, xattr->name) != 0)
		i++;
	if (i == XATTRS_MAX)
		return;
	found->list[i] = *xattr;
	if (i == found->count)
		found->count++;
}

/* Those of the entry that were set. */
static void kept_xattrs(const struct tar_entry *entry, struct found_xattrs *found)
{
	for (size_t i = 0; i < entry->xattr_count; i++) {
		if (apply_keeps_xattr(entry->xattrs[i].name))
			keep_xattr(found, &entry->xattrs[i]);
	}
}

/* ---- notes ---- */

static int note(struct applier *a, const struct apply_dir *dir, const char *name,
		struct contents_entry *entry, struct err *err)
{
	entry->path = note_path(a, dir, name, err);
	return entry->path ? contents_add(a->options->contents, entry, err) : -ENOMEM;
}

int apply_note_file(struct applier *a, const struct apply_place *place, struct err *err)
{
	const struct tar_entry *from = a->entry;
	struct contents_entry entry = {
		.type = CONTENTS_FILE,
		.mode = from->mode,
		.uid = from->uid,
		.gid = from->gid,
		.mtime = from->mtime,
		.size = from->size,
		.sha256 = a->has_digest ? a->digest : NULL,
	};
	auto_free struct found_xattrs *xattrs = NULL;

	if (!a->options->contents)
		return 0;
	if (from->xattr_count) {
		xattrs = calloc(1, sizeof(*xattrs));
		if (!xattrs)
			return fail_oom(err);
		kept_xattrs(from, xattrs);
		entry.xattrs = xattrs->list;
		entry.xattr_count = xattrs->count;
	}
	return note(a, place->dir, a->name.last, &entry, err);
}

int apply_note_node(struct applier *a, const struct apply_place *place, const char *name,
		    const struct stat *st, mode_t mode, struct err *err)
{
	const struct tar_entry *from = a->entry;
	struct contents_entry entry = {
		.mode = S_ISLNK(st->st_mode) ? 0777 : mode,
		.uid = from->uid,
		.gid = from->gid,
		.mtime = from->mtime,
		.dev_major = major(st->st_rdev),
		.dev_minor = minor(st->st_rdev),
	};

	if (!a->options->contents)
		return 0;
	switch (st->st_mode & S_IFMT) {
	case S_IFLNK:
		entry.type = CONTENTS_LINK;
		entry.link = from->link;
		break;
	case S_IFCHR:
		entry.type = CONTENTS_CHAR;
		break;
	case S_IFBLK:
		entry.type = CONTENTS_BLOCK;
		break;
	default:
		entry.type = CONTENTS_FIFO;
	}
	return note(a, place->dir, name, &entry, err);
}

int apply_note_link(struct applier *a, const struct apply_place *place,
		    const struct apply_place *target, struct err *err)
{
	struct contents_entry entry = { .type = CONTENTS_HARDLINK };
	auto_free char *link = NULL;
	const char *path;

	if (!a->options->contents)
		return 0;
	path = note_path(a, target->dir, a->target.last, err);
	if (!path)
		return -ENOMEM;
	link = strdup(path);
	if (!link)
		return fail_oom(err);
	entry.link = link;
	return note(a, place->dir, a->name.last, &entry, err);
}

int apply_note_removed(struct applier *a, const struct apply_place *place, const char *name,
		       struct err *err)
{
	const char *path;

	if (!a->options->contents)
		return 0;
	path = note_path(a, place->dir, name, err);
	return path ? contents_removed(a->options->contents, path, err) : -ENOMEM;
}

/* ---- copies ---- */

static int hash_file(struct applier *a, int fd, struct err *err)
{
	auto_free char *block = malloc(APPLY_CHUNK_BYTES);
	ssize_t len = 1;

	if (!block)
		return fail_oom(err);
	while (len > 0) {
		len = read(fd, block, APPLY_CHUNK_BYTES);
		if (len < 0)
			return fail(err, -errno, "read the copy: %m");
		apply_stream_own_piece(&a->stream, block, (size_t)len);
	}
	apply_stream_end_piece(&a->stream, a->digest);
	return 0;
}

static int note_copied_file(struct applier *a, const struct apply_place *place, const char *name,
			    const struct contents_entry *node, struct err *err)
{
	auto_close int fd = openat(place->fd, name, O_RDONLY | O_NOFOLLOW | O_NOATIME | O_CLOEXEC);
	AUTO(found_release) struct found_xattrs xattrs = { 0 };
	struct contents_entry entry = *node;
	int r;

	if (fd < 0)
		return fail(err, -errno, "open the copy: %m");
	r = hash_file(a, fd, err);
	if (r == 0)
		r = find_xattrs(fd, &xattrs, err);
	entry.sha256 = a->digest;
	entry.xattrs = xattrs.list;
	entry.xattr_count = xattrs.count;
	return r < 0 ? r : note(a, place->dir, name, &entry, err);
}

int apply_note_copy(struct applier *a, const struct apply_place *place, const char *name,
		    const struct stat *st, struct err *err)
{
	struct contents_entry entry = {
		.mode = st->st_mode & 07777,
		.uid = st->st_uid,
		.gid = st->st_gid,
		.mtime = st->st_mtim,
		.size = st->st_size,
		.dev_major = major(st->st_rdev),
		.dev_minor = minor(st->st_rdev),
	};
	char target[PATH_MAX + 1] = "";

	if (!a->options->contents)
		return 0;
	switch (st->st_mode & S_IFMT) {
	case S_IFREG:
		return note_copied_file(a, place, name, &entry, err);
	case S_IFLNK:
		if (readlinkat(place->fd, name, target, PATH_MAX) < 0)
			return fail(err, -errno, "read the copy: %m");
		entry.type = CONTENTS_LINK;
		entry.link = target;
		break;
	case S_IFCHR:
		entry.type = CONTENTS_CHAR;
		break;
	case S_IFBLK:
		entry.type = CONTENTS_BLOCK;
		break;
	default:
		entry.type = CONTENTS_FIFO;
	}
	return note(a, place->dir, name, &entry, err);
}

/* ---- directories ---- */

static int add_dir_with_xattrs(struct applier *a, const struct contents_entry *dir, struct err *err)
{
	AUTO(found_release) struct found_xattrs xattrs = { .count = 0 };
	auto_close int fd = tree_open_dir(a->dirs.root_fd, dir->path, err);
	struct contents_entry entry = *dir;
	int r = fd < 0 ? fd : find_xattrs(fd, &xattrs, err);

	entry.xattrs = xattrs.list;
	entry.xattr_count = xattrs.count;
	return r < 0 ? r : contents_add(a->options->contents, &entry, err);
}

static int note_dir(struct applier *a, const struct apply_dir *dir, struct err *err)
{
	auto_free char *path = apply_dir_path(dir);
	struct contents_entry entry = {
		.type = CONTENTS_DIR,
		.path = path,
		.mode = dir->mode,
		.uid = dir->uid,
		.gid = dir->gid,
		.mtime = dir->mtime,
		.opaque = dir->opaque,
	};

	if (!path)
		return fail_oom(err);
	return dir->xattrs ? add_dir_with_xattrs(a, &entry, err) :
			     contents_add(a->options->contents, &entry, err);
}

int apply_note_dirs(struct applier *a, struct err *err)
{
	int r = 0;

	if (!a->options->contents)
		return 0;
	for (const struct apply_dir *dir = a->dirs.newest; dir && r == 0; dir = dir->made_before) {
		if (!dir->gone)
			r = note_dir(a, dir, err);
	}
	return r;
}
