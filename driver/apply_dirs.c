/* SPDX-License-Identifier: Apache-2.0 */
#include "driver/apply_internal.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "driver/base/auto.h"
#include "driver/base/sys.h"

#define LINKS_MAX     40 /* followed for one path, as in the kernel */
#define REST_MAX      ((size_t)LINKS_MAX * PATH_MAX)
#define IMPLIED_MAX   ((size_t)1 << 30)
#define BUCKETS_FIRST 256
#define OPEN_DIR      (O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)

/* ---- records ---- */

static struct apply_dir **bucket_of(const struct apply_dirs *d, uint64_t ino)
{
	return &d->buckets[(ino * 0x9e3779b97f4a7c15u >> 20) & (d->bucket_count - 1)];
}

static struct apply_dir *find(const struct apply_dirs *d, uint64_t ino)
{
	struct apply_dir *dir = *bucket_of(d, ino);

	while (dir && dir->ino != ino)
		dir = dir->next_in_bucket;
	return dir;
}

static int grow_buckets(struct apply_dirs *d)
{
	size_t count = d->bucket_count ? d->bucket_count * 2 : BUCKETS_FIRST;
	struct apply_dir **buckets = calloc(count, sizeof(struct apply_dir *));

	if (!buckets)
		return -ENOMEM;
	free(d->buckets);
	d->buckets = buckets;
	d->bucket_count = count;
	for (struct apply_dir *dir = d->newest; dir; dir = dir->made_before) {
		struct apply_dir **bucket = bucket_of(d, dir->ino);

		if (dir->gone)
			continue;
		dir->next_in_bucket = *bucket;
		*bucket = dir;
	}
	return 0;
}

/* An implied directory; parent and name are NULL and "" for the root. */
static int record(struct apply_dirs *d, struct apply_dir *parent, const char *name, uint64_t ino,
		  struct apply_dir **ret, struct err *err)
{
	size_t len = strlen(name);
	struct apply_dir **bucket;
	struct apply_dir *dir;

	if (d->count >= d->limits->entries)
		return fail(err, -EFBIG,
			    "the layer has more than %llu directories" APPLY_LIMIT_WORDS(
				    "layer-entries"),
			    (unsigned long long)d->limits->entries);
	if (d->count >= d->bucket_count && grow_buckets(d) < 0)
		return fail_oom(err);
	dir = calloc(1, sizeof(*dir) + len + 1);
	if (!dir)
		return fail_oom(err);
	memcpy(dir->name, name, len + 1);
	dir->ino = ino;
	dir->implied = true;
	dir->mode = STACK_IMPLIED_MODE;
	dir->parent = parent;
	if (parent) {
		dir->depth = parent->depth + 1;
		dir->path_bytes = parent->path_bytes + (uint32_t)len + (parent->parent ? 1 : 0);
		dir->next_sibling = parent->first_child;
		dir->listed_at = &parent->first_child;
		if (dir->next_sibling)
			dir->next_sibling->listed_at = &dir->next_sibling;
		parent->first_child = dir;
	}
	dir->made_before = d->newest;
	d->newest = dir;
	bucket = bucket_of(d, ino);
	dir->next_in_bucket = *bucket;
	*bucket = dir;
	d->count++;
	*ret = dir;
	return 0;
}

char *apply_dir_path(const struct apply_dir *dir)
{
	size_t at = dir->path_bytes;
	char *path = malloc(at + 1);

	if (!path)
		return NULL;
	path[at] = 0;
	for (; dir->parent; dir = dir->parent) {
		size_t len = strlen(dir->name);

		at -= len;
		memcpy(path + at, dir->name, len);
		if (at)
			path[--at] = '/';
	}
	return path;
}

int apply_dirs_reopen(const struct apply_dirs *d, const struct apply_dir *dir, struct err *err)
{
	auto_free char *path = apply_dir_path(dir);

	return path ? tree_open_dir(d->root_fd, path, err) : fail_oom(err);
}

/* Neither found by its inode nor among its parent's children any more. It is not the root. */
static void unlink_record(struct apply_dirs *d, struct apply_dir *dir)
{
	struct apply_dir **at = bucket_of(d, dir->ino);

	dir->gone = true;
	apply_forget_copies(d, dir);
	apply_lend(dir, false);
	while (*at != dir)
		at = &(*at)->next_in_bucket;
	*at = dir->next_in_bucket;
	*dir->listed_at = dir->next_sibling;
	if (dir->next_sibling)
		dir->next_sibling->listed_at = dir->listed_at;
}

int apply_dirs_set_opaque(const struct apply_place *place, enum overlay_xattrs xattrs, bool anew,
			  struct err *err)
{
	int r = whiteout_set_opaque(place->fd, xattrs, err);

	if (r < 0)
		return r;
	place->dir->opaque = true;
	place->dir->anew = place->dir->anew || anew;
	return 0;
}

/* Whether this layer hides what those beneath have at this path. */
static bool is_cut_off(const struct apply_dir *dir)
{
	bool cut = dir->anew;

	while (!cut && (dir = dir->parent))
		cut = dir->opaque;
	return cut;
}

void apply_dirs_forget(struct apply_dirs *d, uint64_t ino)
{
	struct apply_dir *top = find(d, ino), *dir = top, *parent;

	/* Down to a leaf, which goes, and from its parent down again, until the top is a leaf. */
	while (dir) {
		while (dir->first_child)
			dir = dir->first_child;
		parent = dir->parent;
		unlink_record(d, dir);
		dir = dir == top ? NULL : parent;
	}
}

/* ---- open directories ---- */

void apply_dirs_forget_names(struct apply_dirs *d)
{
	for (size_t i = 0; i < APPLY_CACHE; i++) {
		free(d->cache[i].path);
		d->cache[i].path = NULL;
	}
}

static bool cached(struct apply_dirs *d, const char *path, struct apply_place *ret)
{
	for (size_t i = 0; i < APPLY_CACHE; i++) {
		struct apply_cached *c = &d->cache[i];

		if (!c->path || strcmp(c->path, path))
			continue;
		c->used = ++d->lookups;
		*ret = c->place;
		return true;
	}
	return false;
}

/* The directory that a place holds is what `path` means from now on. */
static int give_name(struct apply_dirs *d, const struct apply_place *place, const char *path,
		     struct err *err)
{
	for (size_t i = 0; i < APPLY_CACHE; i++) {
		struct apply_cached *c = &d->cache[i];

		if (c->place.fd != place->fd)
			continue;
		free(c->path);
		c->path = strdup(path);
		return c->path ? 0 : fail_oom(err);
	}
	return 0;
}

/* Takes fd over, in the place of what was not used for longest. `path` NULL: not to be found again. */
static int keep_open(struct apply_dirs *d, int fd, struct apply_dir *dir, const char *path,
		     struct apply_place *ret, struct err *err)
{
	char *copy = path ? strdup(path) : NULL;
	struct apply_cached *c = &d->cache[0];

	for (size_t i = 1; i < APPLY_CACHE; i++) {
		if (d->cache[i].used < c->used)
			c = &d->cache[i];
	}
	auto_close_fn(&c->place.fd);
	free(c->path);
	*c = (struct apply_cached){ copy, { fd, dir }, ++d->lookups };
	if (path && !copy)
		return fail_oom(err);
	*ret = c->place;
	return 0;
}

/* ---- the way to a directory ---- */

static int check_depth(const struct apply_dirs *d, const struct apply_dir *parent, const char *name,
		       struct err *err)
{
	if (parent->depth >= d->limits->path_depth)
		return fail(err, -EFBIG,
			    "a directory is nested more than %u deep" APPLY_LIMIT_WORDS(
				    "path-depth"),
			    d->limits->path_depth);
	if (parent->path_bytes + 1 + strlen(name) > d->limits->path_bytes)
		return fail(err, -EFBIG, "the path of a directory is longer than %u bytes%s",
			    d->limits->path_bytes,
			    d->limits->path_bytes < PATH_MAX - 1 ? APPLY_LIMIT_WORDS("path-bytes") :
								   "");
	return 0;
}

int apply_dirs_add(struct apply_dirs *d, const struct apply_place *parent, const char *name,
		   const char *path, struct apply_place *ret, struct err *err)
{
	auto_close int fd = openat(parent->fd, name, OPEN_DIR);
	struct apply_dir *dir;
	struct tree_text text;
	struct stat st;
	int r = 0;

	if (fd < 0 || fstat(fd, &st) < 0)
		return fail(err, -errno, "open directory %s: %m", tree_printable(name, &text));
	dir = find(d, st.st_ino);
	if (!dir)
		r = check_depth(d, parent->dir, name, err);
	if (!dir && r == 0)
		r = record(d, parent->dir, name, st.st_ino, &dir, err);
	return r < 0 ? r : keep_open(d, take_fd(&fd), dir, path, ret, err);
}

/* Where the way through a path has come to. */
struct way {
	struct apply_dirs *dirs;
	enum overlay_xattrs xattrs;
	struct apply_place at; /* the cache's */
	struct buf rest;       /* of the path, from `next` on */
	size_t next;
	unsigned int links;
};

static void way_release(struct way *way)
{
	buf_release(&way->rest);
}

/* To a directory that is known. */
static int go_to(struct way *way, struct apply_dir *dir, struct err *err)
{
	int fd = apply_dirs_reopen(way->dirs, dir, err);

	return fd < 0 ? fd : keep_open(way->dirs, fd, dir, NULL, &way->at, err);
}

/* Makes `name` where the way has come to. */
static int make_implied(struct way *way, const char *name, bool opaque, struct err *err)
{
	struct tree_text text;
	int r;

	if (mkdirat(way->at.fd, name, STACK_IMPLIED_MODE) < 0)
		return fail(err, -errno, "make directory %s: %m", tree_printable(name, &text));
	r = apply_dirs_add(way->dirs, &way->at, name, NULL, &way->at, err);
	if (r == 0 && opaque)
		r = apply_dirs_set_opaque(&way->at, way->xattrs, true, err);
	return r;
}

/* The text of link `name` takes its place before what is still to be resolved. */
static int follow(struct way *way, const char *name, const char *target, struct err *err)
{
	auto_buf struct buf rest = { .max = REST_MAX };
	struct tree_text text;

	if (++way->links > LINKS_MAX)
		return fail(err, -ELOOP, "%s: %m", tree_printable(name, &text));
	(void)buf_puts(&rest, target);
	(void)buf_putc(&rest, '/');
	(void)buf_puts(&rest, buf_text(&way->rest) + way->next);
	if (rest.status)
		return buf_status(&rest, err);
	buf_release(&way->rest);
	way->rest = rest;
	rest = (struct buf){ 0 };
	way->next = 0;
	return target[0] == '/' ? go_to(way, way->dirs->root, err) : 0;
}

static int follow_ours(struct way *way, const char *name, struct err *err)
{
	struct tree_text text;
	char target[PATH_MAX];
	ssize_t len = readlinkat(way->at.fd, name, target, sizeof(target));

	if (len < 0 || len == sizeof(target))
		return fail(err, len < 0 ? -errno : -ENAMETOOLONG, "read link %s: %m",
			    tree_printable(name, &text));
	target[len] = 0;
	return follow(way, name, target, err);
}

/* A component that this layer has not. A symlink beneath leads on; a directory beneath, or nothing, or a
 * file, which then is hidden: a directory. */
static int pass_missing(struct way *way, const char *name, struct err *err)
{
	struct apply_dirs *d = way->dirs;
	struct stack_found found;
	char target[PATH_MAX];
	int r = d->parent ? apply_parent_find(d, way->at.dir, name, &found, err) : 0;

	if (r < 0)
		return r;
	if (!d->parent || found.type != STACK_OTHER || !S_ISLNK(found.st.st_mode)) {
		r = make_implied(way, name, false, err);
		if (r == 0 && !is_cut_off(way->at.dir))
			way->at.dir->passed = d->passed = true;
		if (r == 0)
			apply_lend(way->at.dir, d->to_lend);
		return r;
	}
	d->followed = d->bound = true;
	r = stack_read_link(d->parent, &found, target, err);
	return r < 0 ? r : follow(way, name, target, err);
}

static void remember_blocked(struct way *way, const char *name)
{
	way->dirs->copied_in = way->at;
	(void)snprintf(way->dirs->copied, sizeof(way->dirs->copied), "%s", name);
}

/* One component, which is neither empty nor a dot. */
static int pass(struct way *way, const char *name, struct err *err)
{
	struct tree_text text;
	struct stat st;

	if (!strcmp(name, ".."))
		return way->at.dir->parent ? go_to(way, way->at.dir->parent, err) : 0;
	if (fstatat(way->at.fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
		if (errno == ENOENT)
			return pass_missing(way, name, err);
		return fail(err, -errno, "%s: %m", tree_printable(name, &text));
	}
	if (S_ISDIR(st.st_mode))
		return apply_dirs_add(way->dirs, &way->at, name, NULL, &way->at, err);
	if (S_ISLNK(st.st_mode))
		return follow_ours(way, name, err);
	if (!whiteout_is(&st)) {
		if (apply_is_copy(way->dirs, &way->at, name, st.st_ino))
			remember_blocked(way, name);
		return fail(err, -ENOTDIR, "%s is not a directory", tree_printable(name, &text));
	}
	if (unlinkat(way->at.fd, name, 0) < 0)
		return fail(err, -errno, "remove the whiteout of %s: %m",
			    tree_printable(name, &text));
	return make_implied(way, name, true, err);
}

/* Goes through the path one component after the other and makes what is missing. */
static int make_way(struct way *way, const char *path, struct err *err)
{
	char name[NAME_MAX + 1];
	int r = go_to(way, way->dirs->root, err);

	(void)buf_puts(&way->rest, path);
	if (r == 0)
		r = buf_status(&way->rest, err);
	while (r == 0) {
		const char *at = buf_text(&way->rest) + way->next;
		size_t len;

		at += strspn(at, "/");
		len = strcspn(at, "/");
		way->next = (size_t)(at - buf_text(&way->rest)) + len;
		if (!len)
			break;
		if (len > NAME_MAX)
			return fail(err, -ENAMETOOLONG, "a name is longer than %d bytes", NAME_MAX);
		memcpy(name, at, len);
		name[len] = 0;
		if (strcmp(name, ".") != 0)
			r = pass(way, name, err);
	}
	return r;
}

static int find_or_make(struct apply_dirs *d, const char *path, enum overlay_xattrs xattrs,
			struct apply_place *ret, struct err *err)
{
	AUTO(way_release) struct way way = { .dirs = d, .xattrs = xattrs };
	int r;

	way.rest.max = REST_MAX;
	r = make_way(&way, path, err);
	if (r == 0)
		r = give_name(d, &way.at, path, err);
	if (r == 0)
		*ret = way.at;
	return r;
}

int apply_dirs_open(struct apply_dirs *d, const char *path, bool make, enum overlay_xattrs xattrs,
		    struct apply_place *ret, struct err *err)
{
	auto_close int fd = -EBADF;
	struct apply_dir *dir;
	struct stat st;

	if (!*path) {
		*ret = (struct apply_place){ d->root_fd, d->root };
		return 0;
	}
	if (cached(d, path, ret))
		return 0;
	fd = tree_open_dir(d->root_fd, path, err);
	if (fd < 0) {
		if (make && (fd == -ENOENT || fd == -ENOTDIR))
			return find_or_make(d, path, xattrs, ret, err);
		return fd;
	}
	if (fstat(fd, &st) < 0)
		return fail(err, -errno, "look at a directory: %m");
	dir = find(d, st.st_ino);
	if (!dir)
		return fail(err, -ENOTEMPTY, "a directory was there before its layer");
	return keep_open(d, take_fd(&fd), dir, path, ret, err);
}

/* ---- begin and end ---- */

int apply_dirs_init(struct apply_dirs *d, int root_fd, struct stack *parent,
		    const struct apply_limits *limits, struct err *err)
{
	struct stat st;

	*d = (struct apply_dirs){ .root_fd = root_fd, .parent = parent, .limits = limits };
	for (size_t i = 0; i < APPLY_CACHE; i++)
		d->cache[i].place.fd = -EBADF;
	if (fstat(root_fd, &st) < 0)
		return fail(err, -errno, "look at the layer's directory: %m");
	return record(d, NULL, "", st.st_ino, &d->root, err);
}

void apply_dirs_release(struct apply_dirs *d)
{
	struct apply_dir *dir;

	for (size_t i = 0; i < APPLY_CACHE; i++) {
		auto_close_fn(&d->cache[i].place.fd);
		free(d->cache[i].path);
	}
	while ((dir = d->newest)) {
		d->newest = dir->made_before;
		free(dir);
	}
	free(d->buckets);
	apply_copies_release(d);
}

/* Owner, mode, times of parent_fd/name: the root's is "." in itself. */
static int finish_dir(int parent_fd, const char *name, const struct apply_dir *dir,
		      struct apply_result *result, struct err *err)
{
	struct timespec times[2] = { dir->mtime, dir->mtime };
	struct tree_text text;
	bool owned = true;
	struct stat st;
	int r = 0;

	if (fstatat(parent_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return fail(err, -errno, "%s: %m", tree_printable(name, &text));
	result->disk_bytes += (uint64_t)st.st_blocks * 512;
	if (st.st_uid != dir->uid || st.st_gid != dir->gid) {
		if (fchownat(parent_fd, name, dir->uid, dir->gid, AT_SYMLINK_NOFOLLOW) < 0)
			return fail(err, -errno, "give directory %s to %u:%u: %m",
				    tree_printable(name, &text), dir->uid, dir->gid);
		owned = false;
	}
	if (!owned || (st.st_mode & 07777) != dir->mode)
		r = sys_chmod_at(parent_fd, name, dir->mode);
	if (r < 0)
		return fail(err, r, "set the mode of directory %s: %m",
			    tree_printable(name, &text));
	if (utimensat(parent_fd, name, times, AT_SYMLINK_NOFOLLOW) < 0)
		return fail(err, -errno, "set the times of directory %s: %m",
			    tree_printable(name, &text));
	return 0;
}

/* All directories that lie in this one; what lies in them has been done. */
static int finish_children(struct apply_dirs *d, const struct apply_dir *dir,
			   struct apply_result *result, struct err *err)
{
	auto_close int fd = apply_dirs_reopen(d, dir, err);
	int r = fd < 0 ? fd : 0;

	for (const struct apply_dir *child = dir->first_child; child && r == 0;
	     child = child->next_sibling)
		r = finish_dir(fd, child->name, child, result, err);
	return r;
}

/* Whether it is for the layers beneath to say what this directory is. */
static bool is_listed(const struct apply_dir *dir)
{
	return dir->implied && !dir->gone && dir->parent && !is_cut_off(dir);
}

/* Makes an implied directory what it is in the layers beneath. */
static int settle_dir(struct apply_dirs *d, struct apply_dir *dir, struct err *err)
{
	auto_close int from_fd = -EBADF, to_fd = -EBADF;
	struct stack_found found = { 0 };
	struct stat st;
	int r = apply_parent_find(d, dir->parent, dir->name, &found, err);

	if (r < 0 || found.type != STACK_DIR || found.dir->implied)
		return r;
	from_fd = stack_open_dir(d->parent, found.dir, found.dir->says, err);
	if (from_fd < 0)
		return from_fd;
	to_fd = apply_dirs_reopen(d, dir, err);
	if (to_fd < 0)
		return to_fd;
	if (fstat(from_fd, &st) < 0)
		return fail(err, -errno, "look at a directory of another layer: %m");
	d->bound = true;
	dir->implied = false;
	dir->mode = st.st_mode & 07777;
	dir->uid = st.st_uid;
	dir->gid = st.st_gid;
	dir->mtime = st.st_mtim;
	dir->xattrs = true;
	return tree_copy_xattrs(from_fd, to_fd, err);
}

static int settle(struct apply_dirs *d, struct err *err)
{
	int r = 0;

	for (struct apply_dir *dir = d->newest; dir && r == 0; dir = dir->made_before) {
		if (is_listed(dir))
			r = settle_dir(d, dir, err);
	}
	return r;
}

/* Of one that is bound, nobody asks any more whether it is to be. */
static bool has_line(const struct apply_dirs *d, const struct apply_dir *dir)
{
	return (dir->passed && !d->bound) || is_listed(dir);
}

/* Its line in apply_result.implied, which the caller frees. */
static char *implied_line(const struct apply_dir *dir)
{
	auto_free char *path = apply_dir_path(dir);
	char *line;

	if (!path || is_listed(dir))
		return take_ptr(path);
	return asprintf(&line, "/%s", path) < 0 ? NULL : line;
}

static int by_bytes(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static int list_implied(const struct apply_dirs *d, struct buf *implied, struct err *err)
{
	auto_free char **paths = NULL;
	size_t count = 0, done = 0;
	int r = 0;

	for (const struct apply_dir *dir = d->newest; dir; dir = dir->made_before)
		count += has_line(d, dir);
	if (!count)
		return 0;
	paths = calloc(count, sizeof(*paths));
	if (!paths)
		return fail_oom(err);
	for (const struct apply_dir *dir = d->newest; dir; dir = dir->made_before) {
		if (!has_line(d, dir))
			continue;
		paths[done] = implied_line(dir);
		if (!paths[done++])
			r = fail_oom(err);
	}
	if (r == 0)
		qsort(paths, count, sizeof(*paths), by_bytes);
	implied->max = IMPLIED_MAX;
	for (size_t i = 0; i < count; i++) {
		if (r == 0)
			(void)buf_append(implied, paths[i], strlen(paths[i]) + 1);
		free(paths[i]);
	}
	return r < 0 ? r : buf_status(implied, err);
}

int apply_dirs_finish(struct apply_dirs *d, struct apply_result *result, struct err *err)
{
	int r = d->parent && (d->bound || !d->lone) ? settle(d, err) : 0;

	for (struct apply_dir *dir = d->newest; dir && r == 0; dir = dir->made_before) {
		if (dir->first_child && !dir->gone)
			r = finish_children(d, dir, result, err);
	}
	if (r == 0)
		r = finish_dir(d->root_fd, ".", d->root, result, err);
	result->root_implied = d->root->implied;
	result->bound = d->bound;
	return r < 0 ? r : list_implied(d, &result->implied, err);
}
