/* SPDX-License-Identifier: Apache-2.0 */
#include "driver/changes.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "driver/base/auto.h"
#include "driver/base/sys.h"
#include "driver/tree.h"

/*
 * How it goes: the upper is walked depth first. A directory is read as a whole, each name in it is
 * judged against the lowers, all its descriptors are closed, and only then the walk descends: so
 * three descriptors are enough for any depth and any number of layers.
 */
struct walk {
	int upper_fd;
	const int *lower_fds;
	size_t lower_count;
	enum overlay_xattrs xattrs;
	change_fn *fn;
	void *arg;
	struct err *err;
	char path[PATH_MAX]; /* of the directory or entry at hand: "" is the root, else "/a/b" */
	size_t path_len;
	/*
	 * The directories on the way down; those from reported_depth on are the same as the lowers'
	 * and have not been reported: they are, as Changed, before the first change within them.
	 */
	size_t end_of[CHANGES_DEPTH_MAX]; /* length of path up to each */
	size_t depth, reported_depth;
};

/* Lowers in which the directory at hand is a visible directory: indexes into lower_fds, topmost
 * first. */
struct lowers {
	size_t *index;
	size_t count;
};

enum verdict { SAME_DIR, SKIP, MODIFIED, ADDED, DELETED };

struct entry {
	char *name;
	enum verdict verdict;
	bool is_dir;  /* in the upper: to be descended into */
	size_t layer; /* 0: the upper; else 1 + a position in the directory's lowers */
};

struct entries {
	struct entry *items;
	size_t count, capacity;
};

static void lowers_release(struct lowers *lowers)
{
	free(lowers->index);
}

static void entries_release(struct entries *entries)
{
	for (size_t i = 0; i < entries->count; i++)
		free(entries->items[i].name);
	free(entries->items);
}

static int fail_at(struct walk *w, int code, const char *what)
{
	struct tree_text text;

	return fail(w->err, code, "%s %s: %m", what,
		    tree_printable(w->path_len ? w->path : "/", &text));
}

/* The path at hand as a name beneath a root descriptor. */
static const char *relative(const struct walk *w)
{
	return w->path_len ? w->path + 1 : ".";
}

/* ---- reporting ---- */

static int push_name(struct walk *w, const char *name)
{
	struct tree_text text;
	size_t len = strlen(name);

	if (w->path_len + 1 + len >= sizeof(w->path))
		return fail(w->err, -ENAMETOOLONG, "%s: a path in it is longer than %d bytes",
			    tree_printable(w->path, &text), PATH_MAX - 1);
	w->path[w->path_len++] = '/';
	memcpy(w->path + w->path_len, name, len + 1);
	w->path_len += len;
	return 0;
}

static void cut_path(struct walk *w, size_t len)
{
	w->path_len = len;
	w->path[len] = 0;
}

/* The directories above the change at hand that were held back. The root itself is never reported. */
static int report_ancestors(struct walk *w)
{
	int r = 0;

	for (; w->reported_depth < w->depth && r == 0; w->reported_depth++) {
		size_t end = w->end_of[w->reported_depth];
		char next = w->path[end];

		w->path[end] = 0;
		r = w->fn(w->arg, CHANGE_MODIFIED, w->path);
		w->path[end] = next;
	}
	return r;
}

static int report(struct walk *w, enum verdict verdict)
{
	static const enum change_kind kinds[] = {
		[MODIFIED] = CHANGE_MODIFIED,
		[ADDED] = CHANGE_ADDED,
		[DELETED] = CHANGE_DELETED,
	};
	int r = report_ancestors(w);

	return r ? r : w->fn(w->arg, kinds[verdict], w->path);
}

/* ---- reading ---- */

/*
 * A directory of the upper. It may be in use as we look: nothing but real directories on the way
 * are accepted, so that who swaps one for a symlink gains nothing. Before Linux 5.6 the same is
 * done a component at a time.
 */
static int open_upper_dir(const struct walk *w)
{
	int fd = sys_openat2(w->upper_fd, relative(w), O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0,
			     RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS);
	const char *rest = relative(w);

	if (!sys_is_missing(fd))
		return fd;
	fd = openat(w->upper_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	while (fd >= 0 && *rest) {
		auto_close int parent = fd;
		char name[NAME_MAX + 1] = { 0 };
		size_t len = strcspn(rest, "/");

		if (len > NAME_MAX)
			return -ENAMETOOLONG;
		memcpy(name, rest, len);
		rest += len + (rest[len] == '/');
		fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	}
	return fd < 0 ? -errno : fd;
}

static int add_entry(struct entries *entries, const char *name, size_t layer)
{
	struct entry *entry;

	if (entries->count == entries->capacity) {
		size_t capacity = entries->capacity ? entries->capacity * 2 : 32;
		struct entry *items = reallocarray(entries->items, capacity, sizeof(*items));

		if (!items)
			return -ENOMEM;
		entries->items = items;
		entries->capacity = capacity;
	}
	entry = &entries->items[entries->count];
	*entry = (struct entry){ .name = strdup(name), .layer = layer };
	if (!entry->name)
		return -ENOMEM;
	entries->count++;
	return 0;
}

/* Appends the names of a directory. Takes fd over. */
static int read_names(struct walk *w, int fd, size_t layer, struct entries *entries)
{
	auto_closedir DIR *dir = fdopendir(fd);
	struct dirent *entry;
	int r = 0;

	if (!dir) {
		auto_close_fn(&fd);
		return fail_at(w, -errno, "read directory");
	}
	for (errno = 0; r == 0 && (entry = readdir(dir)); errno = 0)
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			r = add_entry(entries, entry->d_name, layer);
	if (r == -ENOMEM)
		return fail_oom(w->err);
	return errno ? fail_at(w, -errno, "read directory") : 0;
}

static int open_lower_dir(const struct walk *w, size_t index)
{
	int fd = openat(w->lower_fds[index], relative(w),
			O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

/*
 * Of the lowers that have the parent directory, those that have this one: down to the first that
 * has something else by this name (a file, a whiteout), or that is opaque. Layers do not change and
 * their parents are known to be directories: a path may be followed.
 */
static int find_lowers(struct walk *w, const struct lowers *parent, struct lowers *ret)
{
	ret->index = calloc(parent->count ? parent->count : 1, sizeof(*ret->index));
	if (!ret->index)
		return fail_oom(w->err);
	for (size_t i = 0; i < parent->count; i++) {
		auto_close int fd = open_lower_dir(w, parent->index[i]);

		if (fd == -ENOENT)
			continue;
		if (fd == -ENOTDIR || fd == -ELOOP)
			break;
		if (fd < 0)
			return fail_at(w, fd, "open a layer's directory");
		ret->index[ret->count++] = parent->index[i];
		if (whiteout_is_opaque(fd, w->xattrs))
			break;
	}
	return 0;
}

/* ---- judging ---- */

/* What the lowers show by the name at hand: 1 and its stat, 0: nothing. */
static int stat_lowers(struct walk *w, const struct lowers *lowers, struct stat *ret)
{
	for (size_t i = 0; i < lowers->count; i++) {
		struct stat st;

		if (fstatat(w->lower_fds[lowers->index[i]], relative(w), &st,
			    AT_SYMLINK_NOFOLLOW) == 0) {
			if (whiteout_is(&st))
				return 0;
			*ret = st;
			return 1;
		}
		if (errno != ENOENT)
			return fail_at(w, -errno, "stat in a layer");
	}
	return 0;
}

static bool same_metadata(const struct stat *a, const struct stat *b)
{
	return a->st_mode == b->st_mode && a->st_uid == b->st_uid && a->st_gid == b->st_gid &&
	       a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

/* A name of the upper; w->path is its path. What has gone since the directory was read is skipped. */
static int judge_upper(struct walk *w, int dir_fd, const struct lowers *lowers, struct entry *entry)
{
	struct stat upper, lower;
	int below;

	if (fstatat(dir_fd, entry->name, &upper, AT_SYMLINK_NOFOLLOW) < 0) {
		entry->verdict = SKIP;
		return errno == ENOENT ? 0 : fail_at(w, -errno, "stat");
	}
	below = stat_lowers(w, lowers, &lower);
	if (below < 0)
		return below;
	entry->is_dir = S_ISDIR(upper.st_mode);
	if (whiteout_is(&upper))
		entry->verdict = below ? DELETED : SKIP;
	else if (!below)
		entry->verdict = ADDED;
	else if (entry->is_dir &&
		 same_metadata(&upper, &lower)) /* same type too: it is in st_mode */
		entry->verdict = SAME_DIR;
	else
		entry->verdict = MODIFIED;
	return 0;
}

/* A name that only lowers have, in a directory that hides them. */
static int judge_hidden(struct walk *w, const struct lowers *lowers, struct entry *entry)
{
	struct stat lower;
	int below = stat_lowers(w, lowers, &lower);

	if (below < 0)
		return below;
	entry->verdict = below ? DELETED : SKIP;
	return 0;
}

static int judge(struct walk *w, int dir_fd, const struct lowers *lowers, struct entries *entries)
{
	size_t dir_len = w->path_len;

	for (size_t i = 0; i < entries->count; i++) {
		struct entry *entry = &entries->items[i];
		int r = push_name(w, entry->name);

		if (r == 0)
			r = entry->layer ? judge_hidden(w, lowers, entry) :
					   judge_upper(w, dir_fd, lowers, entry);
		if (r < 0)
			return r;
		cut_path(w, dir_len);
	}
	return 0;
}

static int by_name_and_layer(const void *left, const void *right)
{
	const struct entry *a = left, *b = right;
	int order = strcmp(a->name, b->name);

	return order ? order : (a->layer > b->layer) - (a->layer < b->layer);
}

/* Sorts, and keeps of each name the topmost only. */
static void sort_names(struct entries *entries)
{
	size_t kept = 0;

	if (!entries->count)
		return;
	qsort(entries->items, entries->count, sizeof(*entries->items), by_name_and_layer);
	for (size_t i = 0; i < entries->count; i++) {
		if (kept && strcmp(entries->items[kept - 1].name, entries->items[i].name) == 0)
			free(entries->items[i].name);
		else
			entries->items[kept++] = entries->items[i];
	}
	entries->count = kept;
}

/* All names of the directory at hand with their verdicts. `replaced`: it hides what the lowers have
 * in it. Takes fd over. */
static int list_dir(struct walk *w, int fd, const struct lowers *lowers, bool replaced,
		    struct entries *entries)
{
	auto_close int dir_fd = fd;
	int names_fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int r;

	if (names_fd < 0)
		return fail_at(w, -errno, "open directory");
	r = read_names(w, names_fd, 0, entries);
	for (size_t i = 0; i < lowers->count && replaced && r == 0; i++) {
		int lower_fd = open_lower_dir(w, lowers->index[i]);

		if (lower_fd < 0)
			return fail_at(w, lower_fd, "open a layer's directory");
		r = read_names(w, lower_fd, i + 1, entries);
	}
	if (r < 0)
		return r;
	sort_names(entries);
	return judge(w, dir_fd, lowers, entries);
}

/* ---- walking ---- */

static int walk_dir(struct walk *w, const struct lowers *parent_lowers, bool replaced);

static int walk_entry(struct walk *w, const struct entry *entry, const struct lowers *lowers,
		      bool replaced)
{
	size_t dir_len = w->path_len;
	int r;

	if (entry->verdict == SKIP)
		return 0;
	r = push_name(w, entry->name);
	if (r == 0 && entry->verdict != SAME_DIR)
		r = report(w, entry->verdict);
	if (r == 0 && entry->is_dir) {
		if (w->depth == CHANGES_DEPTH_MAX)
			return fail(w->err, -ELOOP, "directories are nested deeper than %d",
				    CHANGES_DEPTH_MAX);
		w->end_of[w->depth++] = w->path_len;
		/* All above it were reported when it was. */
		if (entry->verdict != SAME_DIR)
			w->reported_depth = w->depth;
		r = walk_dir(w, lowers, replaced);
		w->depth--;
		if (w->reported_depth > w->depth)
			w->reported_depth = w->depth;
	}
	cut_path(w, dir_len);
	return r;
}

/* The directory at w->path, which is in the upper. `replaced`: one above it is opaque. */
static int walk_dir(struct walk *w, const struct lowers *parent_lowers, bool replaced)
{
	AUTO(lowers_release) struct lowers lowers = { 0 };
	AUTO(entries_release) struct entries entries = { 0 };
	int fd = open_upper_dir(w);
	bool opaque;
	int r;

	if (fd == -ENOENT || fd == -ENOTDIR || fd == -ELOOP)
		return 0; /* gone since its name was read */
	if (fd < 0)
		return fail_at(w, fd, "open directory");
	opaque = whiteout_is_opaque(fd, w->xattrs);
	r = find_lowers(w, parent_lowers, &lowers);
	if (r < 0) {
		auto_close_fn(&fd);
		return r;
	}
	replaced = replaced || opaque;
	r = list_dir(w, fd, &lowers, replaced, &entries);
	/* An opaque directory was made anew, even if it looks like the one it replaces. */
	if (r == 0 && opaque && lowers.count)
		r = report_ancestors(w);
	for (size_t i = 0; i < entries.count && r == 0; i++)
		r = walk_entry(w, &entries.items[i], &lowers, replaced);
	return r;
}

int changes_walk(int upper_fd, const int *lower_fds, size_t lower_count, enum overlay_xattrs xattrs,
		 change_fn *fn, void *arg, struct err *err)
{
	auto_free struct walk
		*w = calloc(1, sizeof(*w)); /* 12 KiB: not for the stack of someone's thread */
	AUTO(lowers_release)
	struct lowers all = { .index = calloc(lower_count + 1, sizeof(*all.index)) };

	if (!w || !all.index)
		return fail_oom(err);
	for (; all.count < lower_count; all.count++)
		all.index[all.count] = all.count;
	w->upper_fd = upper_fd;
	w->lower_fds = lower_fds;
	w->lower_count = lower_count;
	w->xattrs = xattrs;
	w->fn = fn;
	w->arg = arg;
	w->err = err;
	return walk_dir(w, &all, false);
}
