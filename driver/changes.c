/* SPDX-License-Identifier: Apache-2.0 */
#include "driver/changes_internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include "driver/base/auto.h"
#include "driver/tree.h"

#define CAPABILITY_BYTES_MAX 256 /* the kernel's have 24 at most */

/*
 * How it goes: the upper is walked depth first. A directory is read as a whole, each name in it is
 * judged against the lowers, all its descriptors are closed, and only then the walk descends: so
 * three descriptors are enough for any depth and any number of layers.
 */
struct walk {
	const struct changes_trees *trees;
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
	int fd = openat(w->trees->lower_fds[index], relative(w),
			O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

static bool is_opaque(const struct walk *w, int fd)
{
	return w->trees->marks && whiteout_is_opaque(fd, w->trees->xattrs);
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
		if (is_opaque(w, fd))
			break;
	}
	return 0;
}

/* ---- judging ---- */

/* What the lowers show by a name. */
struct shown {
	int root_fd; /* of the lower that has it */
	struct stat st;
};

/* What the lowers show by the name at hand: 1 and that, 0: nothing. */
static int look_in_lowers(struct walk *w, const struct lowers *lowers, struct shown *ret)
{
	for (size_t i = 0; i < lowers->count; i++) {
		int root_fd = w->trees->lower_fds[lowers->index[i]];
		struct stat st;

		if (fstatat(root_fd, relative(w), &st, AT_SYMLINK_NOFOLLOW) == 0) {
			if (whiteout_is(&st))
				return 0;
			*ret = (struct shown){ .root_fd = root_fd, .st = st };
			return 1;
		}
		if (errno != ENOENT)
			return fail_at(w, -errno, "stat in a layer");
	}
	return 0;
}

/* The value's length, 0 where there is none, or one for a root that the mount does not map. By name: opening a
 * file that somebody may swap for a device is no way to look at it, and what is opened with O_PATH takes no
 * fgetxattr. */
static ssize_t get_capability(int dirfd, const char *name, char value[CAPABILITY_BYTES_MAX])
{
	auto_close int fd = -EBADF;
	char path[PATH_MAX];
	ssize_t len;

	if (snprintf(path, sizeof(path), "/proc/self/fd/%d/%s", dirfd, name) < PATH_MAX) {
		len = lgetxattr(path, "security.capability", value, CAPABILITY_BYTES_MAX);
	} else {
		fd = openat(dirfd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
		(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		len = getxattr(path, "security.capability", value, CAPABILITY_BYTES_MAX);
	}
	if (len < 0 &&
	    (errno == ENODATA || errno == EOPNOTSUPP || errno == ENOENT || errno == EOVERFLOW))
		return 0;
	return len < 0 ? -errno : len;
}

/* For files and directories; others can have none. 1: they are the same. */
static int same_capability(struct walk *w, int dir_fd, const char *name, const struct shown *lower)
{
	char upper_value[CAPABILITY_BYTES_MAX], lower_value[CAPABILITY_BYTES_MAX];
	ssize_t upper_len, lower_len;

	if (!S_ISREG(lower->st.st_mode) && !S_ISDIR(lower->st.st_mode))
		return 1;
	upper_len = get_capability(dir_fd, name, upper_value);
	lower_len = get_capability(lower->root_fd, relative(w), lower_value);
	if (upper_len < 0 || lower_len < 0)
		return fail_at(w, (int)(upper_len < 0 ? upper_len : lower_len),
			       "read the capability of");
	return upper_len == lower_len && !memcmp(upper_value, lower_value, (size_t)lower_len);
}

static bool same_owner_and_mode(const struct stat *a, const struct stat *b)
{
	return a->st_mode == b->st_mode && a->st_uid == b->st_uid && a->st_gid == b->st_gid;
}

/* Some filesystems, and every tar, know seconds only. */
static bool same_time(const struct timespec *a, const struct timespec *b)
{
	return a->tv_sec == b->tv_sec &&
	       (a->tv_nsec == b->tv_nsec || a->tv_nsec == 0 || b->tv_nsec == 0);
}

/* By moby's rules of comparison (changes.h). 1: nothing is different. */
static int compare(struct walk *w, int dir_fd, const char *name, const struct stat *upper,
		   const struct shown *lower)
{
	if (!same_owner_and_mode(upper, &lower->st) || upper->st_rdev != lower->st.st_rdev)
		return 0;
	if (!S_ISDIR(upper->st_mode) && (upper->st_size != lower->st.st_size ||
					 !same_time(&upper->st_mtim, &lower->st.st_mtim)))
		return 0;
	return same_capability(w, dir_fd, name, lower);
}

static bool is_copied_up_dir(const struct stat *upper, const struct stat *lower)
{
	return S_ISDIR(upper->st_mode) && same_owner_and_mode(upper, lower) &&
	       upper->st_mtim.tv_sec == lower->st_mtim.tv_sec &&
	       upper->st_mtim.tv_nsec == lower->st_mtim.tv_nsec;
}

/* A name that the upper has and the lowers show. */
static int judge_both(struct walk *w, int dir_fd, const struct stat *upper,
		      const struct shown *lower, struct entry *entry)
{
	int same = w->trees->rules == CHANGES_COMPARED ?
			   compare(w, dir_fd, entry->name, upper, lower) :
			   is_copied_up_dir(upper, &lower->st);

	if (same < 0)
		return same;
	entry->verdict = !same ? MODIFIED : entry->is_dir ? SAME_DIR : SKIP;
	return 0;
}

/* A name of the upper; w->path is its path. It may have gone since the directory was read, or be a
 * whiteout that overlayfs lists and does not let anyone look up. */
static int judge_upper(struct walk *w, int dir_fd, const struct lowers *lowers, bool replaced,
		       struct entry *entry)
{
	bool is_there = true;
	struct shown lower;
	struct stat upper;
	int below;

	if (fstatat(dir_fd, entry->name, &upper, AT_SYMLINK_NOFOLLOW) < 0) {
		if (errno != ENOENT)
			return fail_at(w, -errno, "stat");
		is_there = false;
	}
	below = look_in_lowers(w, lowers, &lower);
	if (below < 0)
		return below;
	if (!is_there || whiteout_is(&upper)) {
		entry->verdict = below && (is_there || replaced) ? DELETED : SKIP;
		return 0;
	}
	entry->is_dir = S_ISDIR(upper.st_mode);
	entry->verdict = ADDED;
	return below ? judge_both(w, dir_fd, &upper, &lower, entry) : 0;
}

/* A name that only lowers have, in a directory that hides them. */
static int judge_hidden(struct walk *w, const struct lowers *lowers, struct entry *entry)
{
	struct shown lower;
	int below = look_in_lowers(w, lowers, &lower);

	if (below < 0)
		return below;
	entry->verdict = below ? DELETED : SKIP;
	return 0;
}

static int judge(struct walk *w, int dir_fd, const struct lowers *lowers, bool replaced,
		 struct entries *entries)
{
	size_t dir_len = w->path_len;

	for (size_t i = 0; i < entries->count; i++) {
		struct entry *entry = &entries->items[i];
		int r = push_name(w, entry->name);

		if (r == 0)
			r = entry->layer ? judge_hidden(w, lowers, entry) :
					   judge_upper(w, dir_fd, lowers, replaced, entry);
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
	return judge(w, dir_fd, lowers, replaced, entries);
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
	int fd = tree_open_real_dir(w->trees->upper_fd, relative(w));
	bool opaque;
	int r;

	if (fd == -ENOENT || fd == -ENOTDIR || fd == -ELOOP)
		return 0; /* gone since its name was read */
	if (fd < 0)
		return fail_at(w, fd, "open directory");
	opaque = is_opaque(w, fd);
	r = find_lowers(w, parent_lowers, &lowers);
	if (r < 0) {
		auto_close_fn(&fd);
		return r;
	}
	replaced = replaced || opaque;
	r = list_dir(w, fd, &lowers, replaced, &entries);
	/* An opaque directory was made anew, even if it looks like the one it replaces. */
	if (r == 0 && opaque && lowers.count && w->trees->rules == CHANGES_OF_UPPER)
		r = report_ancestors(w);
	for (size_t i = 0; i < entries.count && r == 0; i++)
		r = walk_entry(w, &entries.items[i], &lowers, replaced);
	return r;
}

int changes_walk_trees(const struct changes_trees *trees, change_fn *fn, void *arg, struct err *err)
{
	auto_free struct walk
		*w = calloc(1, sizeof(*w)); /* 12 KiB: not for the stack of someone's thread */
	AUTO(lowers_release)
	struct lowers all = { .index = calloc(trees->lower_count + 1, sizeof(*all.index)) };

	if (!w || !all.index)
		return fail_oom(err);
	for (; all.count < trees->lower_count; all.count++)
		all.index[all.count] = all.count;
	w->trees = trees;
	w->fn = fn;
	w->arg = arg;
	w->err = err;
	return walk_dir(w, &all, !trees->marks);
}

int changes_walk(int upper_fd, const int *lower_fds, size_t lower_count, enum overlay_xattrs xattrs,
		 enum changes_rules rules, change_fn *fn, void *arg, struct err *err)
{
	const struct changes_trees trees = {
		.upper_fd = upper_fd,
		.lower_fds = lower_fds,
		.lower_count = lower_count,
		.rules = rules,
		.marks = true,
		.xattrs = xattrs,
	};

	return changes_walk_trees(&trees, fn, arg, err);
}
