/* SPDX-License-Identifier: Apache-2.0 */
#include "driver/apply_internal.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "driver/base/auto.h"

const struct apply_limits apply_limits_default = {
	.entries = 10000000,
	.bytes = (uint64_t)1 << 40,
	.file_bytes = (uint64_t)1 << 40,
	.header_bytes = (uint64_t)8 << 20,
	.path_bytes = PATH_MAX - 1,
	.path_depth = 1024,
	.xattrs = 128,
	.xattr_bytes = 65536,
	.sparse_pieces = 262144,
	.compression_ratio = 2000,
};

static struct apply_limits limits_or_defaults(const struct apply_limits *l)
{
	const struct apply_limits *d = &apply_limits_default;

	return (struct apply_limits){
		.entries = l->entries ? l->entries : d->entries,
		.bytes = l->bytes ? l->bytes : d->bytes,
		.file_bytes = l->file_bytes ? l->file_bytes : d->file_bytes,
		.header_bytes = l->header_bytes ? l->header_bytes : d->header_bytes,
		.path_bytes = l->path_bytes ? l->path_bytes : d->path_bytes,
		.path_depth = l->path_depth ? l->path_depth : d->path_depth,
		.xattrs = l->xattrs ? l->xattrs : d->xattrs,
		.xattr_bytes = l->xattr_bytes ? l->xattr_bytes : d->xattr_bytes,
		.sparse_pieces = l->sparse_pieces ? l->sparse_pieces : d->sparse_pieces,
		.compression_ratio = l->compression_ratio ? l->compression_ratio :
							    d->compression_ratio,
	};
}

void apply_result_release(struct apply_result *r)
{
	buf_release(&r->implied);
}

/* ---- names ---- */

/* Without "/" and "/." at the end; "." is nothing. */
static size_t trimmed(const char *path, size_t len)
{
	while (len) {
		if (path[len - 1] == '.' && (len == 1 || path[len - 2] == '/'))
			len--;
		else if (path[len - 1] == '/')
			len--;
		else
			break;
	}
	return len;
}

/* What stands before the last component: no whiteouts, and not too many. */
static int check_parents(struct apply_name *name, const struct apply_limits *limits,
			 struct err *err)
{
	char component[NAME_MAX + 1];
	const char *ignored;
	uint32_t depth = 1;
	size_t len;

	name->skip = false;
	for (const char *at = name->parent; *at; at += len) {
		at += strspn(at, "/");
		len = strcspn(at, "/");
		if (len > NAME_MAX)
			return fail(err, -ENAMETOOLONG, "a name is longer than %d bytes", NAME_MAX);
		if (!len)
			continue;
		if (++depth > limits->path_depth)
			return fail(err, -EFBIG,
				    "more than %u names in one path" APPLY_LIMIT_WORDS(
					    "path-depth"),
				    limits->path_depth);
		memcpy(component, at, len);
		component[len] = 0;
		switch (whiteout_parse(component, &ignored)) {
		case WHITEOUT_NONE:
			break;
		case WHITEOUT_SKIP:
			name->skip = true;
			break;
		default:
			return fail(err, -EBADMSG, "a whiteout is no directory");
		}
	}
	return 0;
}

int apply_name_set(struct apply_name *name, const char *path, const struct apply_limits *limits,
		   struct err *err)
{
	size_t len = strlen(path), parent_len;
	const char *hidden;

	if (len > limits->path_bytes)
		return fail(err, -EFBIG, "the name is longer than %u bytes (%zu)%s",
			    limits->path_bytes, len,
			    limits->path_bytes < PATH_MAX - 1 ? APPLY_LIMIT_WORDS("path-bytes") :
								"");
	len = trimmed(path, len);
	memcpy(name->path, path, len);
	name->path[len] = 0;
	for (parent_len = len; parent_len && path[parent_len - 1] != '/';)
		parent_len--;
	name->last = name->path + parent_len;
	/* One spelling for what directory entries and the entries in them call the same. */
	while (parent_len && path[parent_len - 1] == '/')
		parent_len--;
	memcpy(name->parent, path, parent_len);
	name->parent[parent_len] = 0;
	if (!strcmp(name->last, ".."))
		return fail(err, -EBADMSG, "\"..\" cannot be made");
	/* Of a whiteout it is the name it hides that stands on disk. */
	hidden = name->last;
	(void)whiteout_parse(name->last, &hidden);
	if (strlen(hidden) > NAME_MAX)
		return fail(err, -ENAMETOOLONG, "a name is longer than %d bytes", NAME_MAX);
	return check_parents(name, limits, err);
}

static int name_init(struct apply_name *name, const struct apply_limits *limits, struct err *err)
{
	name->path = malloc((size_t)limits->path_bytes + 1);
	name->parent = malloc((size_t)limits->path_bytes + 1);
	return name->path && name->parent ? 0 : fail_oom(err);
}

static void name_release(struct apply_name *name)
{
	free(name->path);
	free(name->parent);
}

/* ---- directories ---- */

static int set_directory(struct applier *a, const struct apply_place *self, struct err *err)
{
	const struct tar_entry *entry = a->entry;
	struct apply_dir *dir = self->dir;
	bool again = !dir->implied;

	apply_lend(dir, false);
	dir->implied = false;
	dir->mode = entry->mode;
	dir->uid = entry->uid;
	dir->gid = entry->gid;
	dir->mtime = entry->mtime;
	if (!again && !entry->xattr_count)
		return 0;
	dir->xattrs = true;
	return apply_xattrs(self->fd, entry, again, &a->limits, &a->result.dropped_xattrs, err);
}

static int apply_directory(struct applier *a, const struct apply_place *place, struct err *err)
{
	/* Open to us until the end, when it gets its own mode. */
	const mode_t mode = (a->entry->mode & 0777) | 0700;
	const char *name = a->name.last;
	struct apply_place self;
	bool replaces = false;
	struct stat st;
	int r = mkdirat(place->fd, name, mode);

	if (r < 0 && errno == EEXIST) {
		if (fstatat(place->fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
			return fail(err, -errno, "look at what has this name: %m");
		r = 0;
		if (!S_ISDIR(st.st_mode)) {
			r = apply_clear(a, place, name, err);
			replaces = true;
			if (r < 0)
				return r;
			r = mkdirat(place->fd, name, mode);
		}
	}
	if (r < 0)
		return fail(err, -errno, "make the directory: %m");
	r = apply_dirs_add(&a->dirs, place, name, a->name.path, &self, err);
	/* What stood here hid what the lower layers have by this name, and so must what replaces it. */
	if (r == 0 && replaces)
		r = apply_dirs_set_opaque(&self, a->options->xattrs, true, err);
	return r < 0 ? r : set_directory(a, &self, err);
}

static int apply_root(struct applier *a, struct err *err)
{
	const struct apply_place root = { a->dirs.root_fd, a->dirs.root };

	if (a->entry->type != TAR_DIR)
		return fail(err, -EBADMSG, "the root of a layer can only be a directory");
	return set_directory(a, &root, err);
}

/* ---- whiteouts ---- */

static int hide_beneath(struct applier *a, const struct apply_place *dir, bool anew,
			struct err *err)
{
	int r = apply_hide_copies(a, dir->dir, err);

	return r < 0 ? r : apply_dirs_set_opaque(dir, a->options->xattrs, anew, err);
}

static int apply_whiteout(struct applier *a, const struct apply_place *place, const char *hidden,
			  struct err *err)
{
	struct apply_place dir;
	struct stat st;
	int r;

	r = fstatat(place->fd, hidden, &st, AT_SYMLINK_NOFOLLOW);
	if (r < 0 && errno != ENOENT)
		return fail(err, -errno, "look at what it hides: %m");
	if (r == 0 && S_ISDIR(st.st_mode)) {
		r = apply_dirs_add(&a->dirs, place, hidden, NULL, &dir, err);
		if (r == 0 && !dir.dir->lent)
			return hide_beneath(a, &dir, true, err);
		if (r < 0)
			return r;
		r = apply_clear(a, place, hidden, err);
		if (r < 0)
			return r;
	} else if (r == 0) {
		if (!apply_is_copy(&a->dirs, place, hidden, st.st_ino))
			return 0;
		r = apply_clear(a, place, hidden, err);
		if (r < 0)
			return r;
	}
	r = whiteout_create(place->fd, hidden, err);
	if (r == 0)
		r = whiteout_mark_parent(place->fd, a->options->xattrs, err);
	return r < 0 ? r : apply_metadata(a, place, hidden, 0, err);
}

/* ---- entries ---- */

typedef int apply_fn(struct applier *a, const struct apply_place *place, struct err *err);

static apply_fn *const by_type[] = {
	[TAR_FILE] = apply_file,	 [TAR_DIR] = apply_directory, [TAR_SYMLINK] = apply_symlink,
	[TAR_HARDLINK] = apply_hardlink, [TAR_CHAR] = apply_node,     [TAR_BLOCK] = apply_node,
	[TAR_FIFO] = apply_node,
};

/* The directory that the entry is to be in. What is only here as a copy of something beneath gives way, as
 * that would. */
static int open_parent(struct applier *a, struct apply_place *ret, struct err *err)
{
	struct apply_dirs *d = &a->dirs;
	int r;

	do {
		d->copied[0] = 0;
		r = apply_dirs_open(d, a->name.parent, true, a->options->xattrs, ret, err);
		if (r == -ENOTDIR && d->copied[0])
			r = apply_clear(a, &d->copied_in, d->copied, err) < 0 ? r : -EAGAIN;
	} while (r == -EAGAIN);
	for (struct apply_dir *dir = ret->dir; r == 0 && d->parent && dir; dir = dir->parent)
		apply_lend(dir, false);
	if (d->followed)
		apply_dirs_forget_names(d);
	return r;
}

static int apply_entry(struct applier *a, struct err *err)
{
	const char *hidden = NULL;
	enum whiteout_kind kind;
	struct apply_place place;
	int r = apply_name_set(&a->name, a->entry->path, &a->limits, err);

	if (r < 0)
		return r;
	if (a->entry->uid > a->result.max_uid)
		a->result.max_uid = a->entry->uid;
	if (a->entry->gid > a->result.max_gid)
		a->result.max_gid = a->entry->gid;
	kind = whiteout_parse(a->name.last, &hidden);
	if (a->name.skip || kind == WHITEOUT_SKIP)
		return 0;
	if (kind == WHITEOUT_INVALID)
		return fail(err, -EBADMSG, "a whiteout that names nothing");
	if (!*a->name.last)
		return apply_root(a, err);
	r = open_parent(a, &place, err);
	if (r < 0)
		return r;
	if (kind == WHITEOUT_OPAQUE)
		return hide_beneath(a, &place, false, err);
	if (kind == WHITEOUT_NAME)
		return apply_whiteout(a, &place, hidden, err);
	return by_type[a->entry->type](a, &place, err);
}

/* Of what went wrong with an entry, what a symlink beneath could have been the reason for. */
static int or_needs_parent(const struct applier *a, int r)
{
	bool may = r == -ENOTDIR || r == -ELOOP;

	return may && a->dirs.passed && !a->options->parent ? APPLY_NEEDS_PARENT : r;
}

static int apply_entries(struct applier *a, struct err *err)
{
	const atomic_bool *cancelled = a->options->cancelled;
	struct tree_text text;
	int r;

	while ((r = tar_next(a->tar, &a->entry, err)) == 1) {
		if (++a->result.entries > a->limits.entries)
			return fail(err, -EFBIG,
				    "the layer has more than %llu entries" APPLY_LIMIT_WORDS(
					    "layer-entries"),
				    (unsigned long long)a->limits.entries);
		if (cancelled && atomic_load_explicit(cancelled, memory_order_relaxed))
			return fail(err, -ECANCELED, "cancelled");
		r = apply_entry(a, err);
		if (r < 0 && apply_writer_failure(&a->writer, err) < 0)
			return apply_writer_failure(&a->writer, err);
		if (r < 0)
			return err_prefix(err, or_needs_parent(a, r), "%s",
					  tree_printable(a->entry->path, &text));
	}
	return r;
}

/* ---- a layer ---- */

/* tar_read. Files with bytes in the last block are the writer's before it is left. */
static ssize_t read_tar(void *arg, const void **ret_block, struct err *err)
{
	struct applier *a = arg;

	apply_writer_flush(&a->writer);
	return apply_stream_read(&a->stream, ret_block, err);
}

static int applier_init(struct applier *a, tar_read *read, void *arg, int root_fd, struct err *err)
{
	struct tar_options tar_options = { 0 };
	int r;

	a->limits = limits_or_defaults(&a->options->limits);
	tar_options.header_bytes = a->limits.header_bytes;
	tar_options.sparse_pieces = a->limits.sparse_pieces;
	apply_pipe_init(&a->pipe, a->options->threads);
	r = apply_dirs_init(&a->dirs, root_fd, a->options->parent, &a->limits, err);
	a->dirs.lone = a->options->lone;
	if (r == 0)
		r = apply_stream_init(&a->stream, &a->pipe, read, arg, a->options, &a->limits, err);
	if (r == 0)
		r = apply_writer_init(&a->writer, &a->pipe, &a->limits, &a->result.dropped_xattrs,
				      err);
	if (r == 0)
		r = name_init(&a->name, &a->limits, err);
	if (r == 0)
		r = name_init(&a->target, &a->limits, err);
	if (r == 0)
		r = tar_open(read_tar, a, &tar_options, &a->tar, err);
	return r;
}

static void applier_release(struct applier *a)
{
	tar_closep(&a->tar);
	apply_writer_release(&a->writer);
	apply_stream_release(&a->stream);
	apply_pipe_release(&a->pipe);
	apply_dirs_release(&a->dirs);
	buf_release(&a->note_path);
	name_release(&a->name);
	name_release(&a->target);
	apply_result_release(&a->result);
}

/* Directories included. Before they get their times: a walk reads them. */
static int count_again(const struct applier *a, struct tree_usage *ret, struct err *err)
{
	return a->recount ? tree_usage_at(a->dirs.root_fd, ".", ret, err) : 0;
}

int apply(tar_read *read, void *arg, int root_fd, const struct apply_options *options,
	  struct apply_result *ret, struct err *err)
{
	AUTO(applier_release) struct applier a = { .options = options };
	struct tree_usage usage = { 0 };
	int r = applier_init(&a, read, arg, root_fd, err);

	if (r == 0)
		r = apply_entries(&a, err);
	apply_writer_flush(&a.writer);
	if (r == 0)
		r = apply_stream_finish(&a.stream, &a.result, err);
	if (r == 0)
		r = apply_writer_finish(&a.writer, &a.result, err);
	if (r == 0)
		r = count_again(&a, &usage, err);
	if (r == 0)
		r = apply_dirs_finish(&a.dirs, &a.result, err);
	if (r == 0)
		r = apply_note_dirs(&a, err);
	if (r < 0)
		return r;
	if (a.recount) {
		a.result.bytes = usage.bytes;
		a.result.disk_bytes = usage.disk_bytes;
	}
	*ret = a.result;
	a.result = (struct apply_result){ 0 };
	return 0;
}
