/* SPDX-License-Identifier: Apache-2.0 */
#include "driver/export.h"

#include <assert.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/capability.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include "driver/inode_map.h"
#include "driver/tree.h"
#include "driver/whiteout.h"

#define DATA_BYTES	((size_t)1 << 20)
#define LIST_BYTES_MAX	65536 /* XATTR_LIST_MAX */
#define VALUE_BYTES_MAX 65536 /* XATTR_SIZE_MAX */

#define WHITEOUT_PREFIX ".wh."

struct export
{
	int root_fd;
	struct export_options options;
	struct err *err;
	struct tar_writer tar;
	struct inode_map linked; /* of what has several names: the path that was written */
	/* The directory of the last entry: 10,000 files in one are one lookup of it. */
	int dir_fd; /* -EBADF: none */
	size_t dir_len;
	char dir[PATH_MAX]; /* beneath the root, without slashes at its ends */
	struct tar_xattr *xattrs;
	size_t xattrs_size;
	struct buf values;
	char names[LIST_BYTES_MAX];
	char value[VALUE_BYTES_MAX];
	char link[PATH_MAX];
	char data[DATA_BYTES];
};

int export_new(int root_fd, const struct export_options *options, tar_write *write, void *arg,
	       struct export **ret, struct err *err)
{
	struct export *e = calloc(1, sizeof(*e));

	if (!e)
		return fail_oom(err);
	e->root_fd = root_fd;
	if (options)
		e->options = *options;
	e->err = err;
	e->dir_fd = -EBADF;
	e->values.max = TAR_HEADERS_MAX;
	tar_writer_init(&e->tar, write, arg);
	*ret = e;
	return 0;
}

void export_free(struct export *e)
{
	if (!e)
		return;
	auto_close_fn(&e->dir_fd);
	tar_writer_release(&e->tar);
	inode_map_release(&e->linked);
	auto_free_fn(&e->xattrs);
	buf_release(&e->values);
	auto_free_fn(&e);
}

void export_freep(struct export **e)
{
	export_free(*e);
	*e = NULL;
}

/* ---- where it is ---- */

static bool is_gone(int code)
{
	return code == -ENOENT || code == -ENOTDIR || code == -ELOOP;
}

/* The directory with this path beneath the root, from the last one where it is directly in that. */
static int open_dir_from_last(struct export *e, const char *path, size_t len)
{
	size_t skip = e->dir_len ? e->dir_len + 1 : 0;
	char copy[PATH_MAX];
	int fd;

	memcpy(copy, path, len);
	copy[len] = 0;
	if (e->dir_fd < 0 || len <= skip || memcmp(copy, e->dir, e->dir_len) != 0 ||
	    (skip && copy[skip - 1] != '/') || strchr(copy + skip, '/'))
		return tree_open_real_dir(e->root_fd, len ? copy : ".");
	fd = openat(e->dir_fd, copy + skip, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

/* The directory that holds `path`: e's until the next call. *ret_name is in `path`. */
static int open_parent(struct export *e, const char *path, const char **ret_name)
{
	const char *slash = strrchr(path, '/');
	size_t len = slash ? (size_t)(slash - path) : 0;
	int fd;

	if (len >= sizeof(e->dir))
		return -ENAMETOOLONG;
	*ret_name = slash ? slash + 1 : path;
	if (e->dir_fd >= 0 && len == e->dir_len && memcmp(path, e->dir, len) == 0)
		return e->dir_fd;
	fd = open_dir_from_last(e, path, len);
	auto_close_fn(&e->dir_fd);
	e->dir_fd = fd;
	e->dir_len = len;
	memcpy(e->dir, path, len);
	return fd;
}

/* What `path_fd` (O_PATH) is, for reading. Its access time stays where that is allowed. */
static int open_for_reading(struct export *e, int path_fd, int flags)
{
	char proc[sizeof("/proc/self/fd/") + 3 * sizeof(int)];
	int fd;

	(void)snprintf(proc, sizeof(proc), "/proc/self/fd/%d", path_fd);
	fd = open(proc, O_RDONLY | O_CLOEXEC | O_NOATIME | flags);
	if (fd < 0 && errno == EPERM)
		fd = open(proc, O_RDONLY | O_CLOEXEC | flags);
	if (fd < 0)
		return fail(e->err, -errno, "open: %m%s",
			    errno == ENOENT ? " (is /proc mounted?)" : "");
	return fd;
}

/* ---- xattrs ---- */

static bool is_for_layers(const char *name)
{
	if (strchr(name, '='))
		return false;
	return !strcmp(name, "security.capability") ||
	       (!strncmp(name, "user.", 5) && strncmp(name, "user.overlay.", 13) != 0);
}

static int by_name(const void *left, const void *right)
{
	const struct tar_xattr *a = left, *b = right;

	return strcmp(a->name, b->name);
}

/* A capability that counts for one root alone (capabilities(7), version 3) says who that is: as an id that means
 * nothing where the tar goes. Version 2 is the same without it. */
static size_t forget_root(const char *name, char *value, size_t len)
{
	if (strcmp(name, "security.capability") != 0 || len != XATTR_CAPS_SZ_3 ||
	    value[3] != VFS_CAP_REVISION_3 >> 24)
		return len;
	value[3] = VFS_CAP_REVISION_2 >> 24;
	return XATTR_CAPS_SZ_2;
}

/* Appends one; the value's place is known once all are there. One that has gone is passed over, and a capability
 * of a root that the tree's mount does not map. */
static int read_xattr(struct export *e, int fd, const char *name, struct tar_entry *entry)
{
	ssize_t len = fgetxattr(fd, name, e->value, sizeof(e->value));
	struct tree_text text;

	if (len < 0 && (errno == ENODATA || errno == EOVERFLOW))
		return 0;
	if (len < 0)
		return fail(e->err, -errno, "read xattr %s: %m", tree_printable(name, &text));
	if (entry->xattr_count == e->xattrs_size) {
		size_t size = e->xattrs_size ? e->xattrs_size * 2 : 16;
		struct tar_xattr *xattrs = reallocarray(e->xattrs, size, sizeof(*xattrs));

		if (!xattrs)
			return fail_oom(e->err);
		e->xattrs = xattrs;
		e->xattrs_size = size;
	}
	len = (ssize_t)forget_root(name, e->value, (size_t)len);
	e->xattrs[entry->xattr_count++] = (struct tar_xattr){ .name = name, .len = (size_t)len };
	(void)buf_append(&e->values, e->value, (size_t)len);
	return buf_status(&e->values, e->err);
}

static int read_xattrs(struct export *e, int fd, struct tar_entry *entry)
{
	ssize_t len = flistxattr(fd, e->names, sizeof(e->names));
	const char *value;
	int r = 0;

	if (len < 0)
		return errno == EOPNOTSUPP ? 0 : fail(e->err, -errno, "list xattrs: %m");
	buf_reset(&e->values);
	for (const char *name = e->names; name < e->names + len && r == 0; name += strlen(name) + 1)
		if (is_for_layers(name))
			r = read_xattr(e, fd, name, entry);
	value = buf_text(&e->values);
	for (size_t i = 0; i < entry->xattr_count; i++) {
		e->xattrs[i].value = value;
		value += e->xattrs[i].len;
	}
	if (entry->xattr_count)
		qsort(e->xattrs, entry->xattr_count, sizeof(*e->xattrs), by_name);
	entry->xattrs = e->xattrs;
	return r;
}

/* ---- entries ---- */

/* As many bytes as the header said, whatever has become of the file. */
static int put_contents(struct export *e, int fd, int64_t size)
{
	bool ended = false;
	int r = 0;

	while (size > 0 && r == 0) {
		size_t want = size < (int64_t)DATA_BYTES ? (size_t)size : DATA_BYTES;
		ssize_t len = ended ? 0 : read(fd, e->data, want);

		if (len < 0 && errno == EINTR)
			continue;
		if (len < 0)
			return fail(e->err, -errno, "read: %m");
		if (len == 0) {
			ended = true;
			memset(e->data, 0, want);
			len = (ssize_t)want;
		}
		r = tar_writer_data(&e->tar, e->data, (size_t)len, e->err);
		size -= len;
	}
	return r;
}

static int put_file(struct export *e, int path_fd, struct tar_entry *entry)
{
	auto_close int fd = open_for_reading(e, path_fd, 0);
	int r = fd < 0 ? fd : read_xattrs(e, fd, entry);

	if (r == 0)
		r = tar_writer_entry(&e->tar, entry, e->err);
	return r < 0 ? r : put_contents(e, fd, entry->size);
}

static int put_dir(struct export *e, int path_fd, struct tar_entry *entry)
{
	auto_close int fd = open_for_reading(e, path_fd, O_DIRECTORY);
	int r = fd < 0 ? fd : read_xattrs(e, fd, entry);

	return r < 0 ? r : tar_writer_entry(&e->tar, entry, e->err);
}

static int put_symlink(struct export *e, int path_fd, struct tar_entry *entry)
{
	ssize_t len = readlinkat(path_fd, "", e->link, sizeof(e->link) - 1);

	if (len < 0)
		return fail(e->err, -errno, "read the symlink: %m");
	e->link[len] = 0;
	entry->link = e->link;
	return tar_writer_entry(&e->tar, entry, e->err);
}

static int put_node(struct export *e, int path_fd, struct tar_entry *entry)
{
	return tar_writer_entry(&e->tar, entry, e->err);
}

static const struct {
	mode_t format;
	enum tar_type type;
	int (*put)(struct export *e, int path_fd, struct tar_entry *entry);
} kinds[] = {
	{ S_IFREG, TAR_FILE, put_file },       { S_IFDIR, TAR_DIR, put_dir },
	{ S_IFLNK, TAR_SYMLINK, put_symlink }, { S_IFCHR, TAR_CHAR, put_node },
	{ S_IFBLK, TAR_BLOCK, put_node },      { S_IFIFO, TAR_FIFO, put_node },
};

static void describe(const struct export *e, const struct stat *st, struct tar_entry *entry)
{
	const struct export_options *o = &e->options;

	entry->mode = st->st_mode & 07777;
	entry->uid = o->map_uid ? o->map_uid(o->map_arg, st->st_uid) : st->st_uid;
	entry->gid = o->map_gid ? o->map_gid(o->map_arg, st->st_gid) : st->st_gid;
	entry->mtime = st->st_mtim;
	entry->size = S_ISREG(st->st_mode) ? st->st_size : 0;
	if (S_ISCHR(st->st_mode) || S_ISBLK(st->st_mode)) {
		entry->dev_major = major(st->st_rdev);
		entry->dev_minor = minor(st->st_rdev);
	}
}

/* What is there by its first name in this tar. */
static int put_first(struct export *e, int path_fd, const struct stat *st, struct tar_entry *entry)
{
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
		if ((st->st_mode & S_IFMT) == kinds[i].format) {
			entry->type = kinds[i].type;
			return kinds[i].put(e, path_fd, entry);
		}
	}
	return 0;
}

static int put_hardlink(struct export *e, const char *first, struct tar_entry *entry)
{
	entry->type = TAR_HARDLINK;
	entry->link = first;
	entry->size = 0;
	entry->dev_major = entry->dev_minor = 0;
	return tar_writer_entry(&e->tar, entry, e->err);
}

static int put_found(struct export *e, int path_fd, const struct stat *st, const char *path)
{
	struct tar_entry entry = { .path = path };
	char **first = NULL;
	int r;

	describe(e, st, &entry);
	if (S_ISDIR(st->st_mode) || st->st_nlink < 2)
		return put_first(e, path_fd, st, &entry);
	r = inode_map_add(&e->linked, st, &first);
	if (r < 0)
		return fail_oom(e->err);
	if (*first)
		return put_hardlink(e, *first, &entry);
	*first = strdup(path);
	return *first ? put_first(e, path_fd, st, &entry) : fail_oom(e->err);
}

static int put_whiteout(struct export *e, const char *path)
{
	const char *slash = strrchr(path, '/');
	size_t dir_len = slash ? (size_t)(slash + 1 - path) : 0;
	char hidden[PATH_MAX + sizeof(WHITEOUT_PREFIX)];
	const struct tar_entry entry = { .type = TAR_FILE, .path = hidden, .mode = 0600 };

	(void)snprintf(hidden, sizeof(hidden), "%.*s" WHITEOUT_PREFIX "%s", (int)dir_len, path,
		       path + dir_len);
	return tar_writer_entry(&e->tar, &entry, e->err);
}

/* An entry that was added or modified when it was last looked at. */
static int put_entry(struct export *e, enum change_kind kind, const char *path)
{
	auto_close int path_fd = -EBADF;
	const char *name;
	struct stat st;
	int dir_fd = open_parent(e, path, &name);

	if (dir_fd < 0)
		return is_gone(dir_fd) ? 0 : fail(e->err, dir_fd, "open its directory: %m");
	path_fd = openat(dir_fd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (path_fd < 0)
		return is_gone(-errno) ? 0 : fail(e->err, -errno, "open: %m");
	if (fstat(path_fd, &st) < 0)
		return fail(e->err, -errno, "stat: %m");
	if (!whiteout_is(&st) && !S_ISSOCK(st.st_mode))
		return put_found(e, path_fd, &st, path);
	/* Deleted meanwhile, or what a layer cannot have: what it hid is hidden still. Overlayfs links
	 * all whiteouts to one inode: no hard links these. */
	return kind == CHANGE_ADDED ? 0 : put_whiteout(e, path);
}

int export_change(void *export, enum change_kind kind, const char *path)
{
	struct export *e = export;
	struct tree_text text;
	int r;

	assert(path[0] == '/' && path[1]);
	if (strstr(path, "/" WHITEOUT_PREFIX))
		return 0;
	if (kind == CHANGE_DELETED)
		r = put_whiteout(e, path + 1);
	else
		r = put_entry(e, kind, path + 1);
	return r < 0 ? err_prefix(e->err, r, "%s", tree_printable(path, &text)) : 0;
}

int export_end(struct export *e, struct err *err)
{
	return tar_writer_end(&e->tar, err);
}
