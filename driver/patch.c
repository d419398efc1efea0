/* SPDX-License-Identifier: Apache-2.0 */
#include "driver/patch.h"

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "driver/base/auto.h"
#include "driver/tree.h"

#define PATHS_MAX  ((size_t)1 << 30)
#define STAT_BLOCK 512

/* ---- finding ---- */

/* Paths in a buffer, which may move while it grows: they are taken from it at the end. */
struct paths {
	struct buf text;
	size_t count;
};

static int by_bytes(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Adds them to `ret`, sorted, each once. */
static int add_sorted(const struct paths *paths, struct buf *ret, struct err *err)
{
	auto_free const char **sorted = calloc(paths->count + 1, sizeof(*sorted));
	const char *path = buf_text(&paths->text);

	if (!sorted)
		return fail_oom(err);
	for (size_t i = 0; i < paths->count; i++, path += strlen(path) + 1)
		sorted[i] = path;
	qsort(sorted, paths->count, sizeof(*sorted), by_bytes);
	for (size_t i = 0; i < paths->count; i++) {
		if (i == 0 || strcmp(sorted[i], sorted[i - 1]) != 0)
			(void)buf_append(ret, sorted[i], strlen(sorted[i]) + 1);
	}
	return buf_status(ret, err);
}

/* Whether it looks like one that was implied. */
static int looks_implied(struct stack *s, const struct stack_dir *dir, struct err *err)
{
	auto_close int fd = stack_open_dir(s, dir, dir->says, err);
	struct stat st;
	int r;

	if (fd < 0)
		return fd;
	if (fstat(fd, &st) < 0)
		return fail(err, -errno, "look at a directory of a layer: %m");
	if (st.st_uid || st.st_gid || (st.st_mode & 07777) != STACK_IMPLIED_MODE ||
	    st.st_mtim.tv_sec || st.st_mtim.tv_nsec)
		return 0;
	r = tree_has_xattrs(fd, err);
	return r < 0 ? r : !r;
}

/* 1 where the stack shows another than it should. */
static int is_wrong(struct stack *s, const char *path, struct err *err)
{
	struct stack_found found;
	int r = stack_lookup(s, path, 0, &found, err);

	if (r < 0 || found.type != STACK_DIR)
		return r;
	if (found.dir->implied || found.dir->says == found.dir->layers[0])
		return 0;
	r = looks_implied(s, found.dir, err);
	return r < 0 ? r : !r;
}

int patch_find(struct stack *s, struct buf *ret_paths, struct err *err)
{
	struct paths wrong = { .text = { .max = PATHS_MAX } };
	const struct stack_layer *layers;
	size_t count;
	int r = 0;

	layers = stack_layers(s, &count);
	for (size_t i = 0; r >= 0 && i < count; i++) {
		const char *path = layers[i].implied, *end = path + layers[i].implied_bytes;

		for (; r >= 0 && path < end; path += strlen(path) + 1) {
			/* Those are the binder's. */
			r = *path == '/' ? 0 : is_wrong(s, path, err);
			if (r <= 0)
				continue;
			r = buf_append(&wrong.text, path, strlen(path) + 1) < 0 ?
				    buf_status(&wrong.text, err) :
				    0;
			wrong.count++;
		}
	}
	if (r >= 0 && wrong.count)
		r = add_sorted(&wrong, ret_paths, err);
	buf_release(&wrong.text);
	return r < 0 ? r : 0;
}

/* ---- writing ---- */

struct writing {
	struct stack *s;
	int root_fd;
	struct paths made; /* every directory, in the order in which they were made */
	struct apply_result *result;
};

/* Makes what is missing of the directories on the way to `path`, and it. */
static int make_way(struct writing *w, const char *path, struct err *err)
{
	auto_close int fd = tree_open_dir(w->root_fd, "", err);
	char name[NAME_MAX + 1];
	struct tree_text text;

	for (const char *at = path; fd >= 0 && *at; at += *at == '/') {
		size_t len = strcspn(at, "/");
		int next;

		if (len > NAME_MAX)
			return fail(err, -ENAMETOOLONG, "make directory %s: %s",
				    tree_printable(path, &text), strerror(ENAMETOOLONG));
		memcpy(name, at, len);
		name[len] = 0;
		at += len;
		if (mkdirat(fd, name, 0700) == 0) {
			(void)buf_append(&w->made.text, path, (size_t)(at - path));
			(void)buf_putc(&w->made.text, 0);
			w->made.count++;
		} else if (errno != EEXIST) {
			return fail(err, -errno, "make directory %s: %m",
				    tree_printable(path, &text));
		}
		next = tree_open_dir(fd, name, err);
		(void)close(fd);
		fd = next;
	}
	return fd < 0 ? fd : buf_status(&w->made.text, err);
}

static int set_implied(int fd, struct err *err)
{
	if (fchown(fd, 0, 0) < 0 || fchmod(fd, STACK_IMPLIED_MODE) < 0 ||
	    futimens(fd, (const struct timespec[2]){ { 0 }, { 0 } }) < 0)
		return fail(err, -errno, "set the metadata of a directory: %m");
	return 0;
}

/* All that is to be in the directory is in it. */
static int finish_dir(struct writing *w, const char *path, struct err *err)
{
	auto_close int fd = tree_open_dir(w->root_fd, path, err), from_fd = -EBADF;
	struct stack_found found;
	struct stat st;
	int r = fd < 0 ? fd : stack_lookup(w->s, path, 0, &found, err);

	if (r < 0)
		return r;
	if (found.type != STACK_DIR || found.dir->implied) {
		r = set_implied(fd, err);
	} else {
		from_fd = stack_open_dir(w->s, found.dir, found.dir->says, err);
		r = from_fd < 0 ? from_fd : tree_copy_dir_metadata(from_fd, fd, err);
		if (r == 0 && fstat(fd, &st) < 0)
			r = fail(err, -errno, "look at a directory: %m");
		/* Who read the other one when is no part of it. */
		if (r == 0 &&
		    futimens(fd, (const struct timespec[2]){ st.st_mtim, st.st_mtim }) < 0)
			r = fail(err, -errno, "set the times of a directory: %m");
	}
	if (r < 0)
		return r;
	if (fstat(fd, &st) < 0)
		return fail(err, -errno, "look at a directory: %m");
	w->result->disk_bytes += (uint64_t)st.st_blocks * STAT_BLOCK;
	w->result->entries++;
	return 0;
}

int patch_write(struct stack *s, const struct buf *paths, int root_fd, struct apply_result *ret,
		struct err *err)
{
	struct apply_result result = { .root_implied = true };
	struct writing w = { .s = s, .root_fd = root_fd, .result = &result };
	const char *path = buf_text(paths), *end = path + paths->len;
	struct stat st = { 0 };
	int r = 0;

	w.made.text.max = PATHS_MAX;
	for (; r == 0 && path < end; path += strlen(path) + 1)
		r = make_way(&w, path, err);
	path = buf_text(&w.made.text);
	for (size_t i = 0; r == 0 && i < w.made.count; i++, path += strlen(path) + 1)
		r = finish_dir(&w, path, err);
	buf_release(&w.made.text);
	if (r == 0)
		r = set_implied(root_fd, err);
	if (r == 0 && fstat(root_fd, &st) < 0)
		r = fail(err, -errno, "look at a layer's directory: %m");
	if (r < 0)
		return r;
	result.disk_bytes += (uint64_t)st.st_blocks * STAT_BLOCK;
	*ret = result;
	return 0;
}
