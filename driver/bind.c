/* SPDX-License-Identifier: Apache-2.0 */
#include "driver/bind.h"

#include <fcntl.h>
#include <search.h>
#include <string.h>
#include <sys/stat.h>

#include "driver/tree.h"

struct binder {
	enum overlay_xattrs xattrs;
	void *paths; /* tree of struct known */
};

/* What is known of an implied path. */
struct known {
	size_t layers; /* how many were looked at, from the lowest up */
	bool linked;   /* one of them has a symlink there */
	char path[];
};

int binder_new(enum overlay_xattrs xattrs, struct binder **ret, struct err *err)
{
	struct binder *binder = calloc(1, sizeof(*binder));

	if (!binder)
		return fail_oom(err);
	binder->xattrs = xattrs;
	*ret = binder;
	return 0;
}

void binder_freep(struct binder **binder)
{
	if (!*binder)
		return;
	tdestroy((*binder)->paths, free);
	free(*binder);
}

static int by_path(const void *a, const void *b)
{
	return strcmp(((const struct known *)a)->path, ((const struct known *)b)->path);
}

/* NULL: out of memory. */
static struct known *find_known(struct binder *binder, const char *path)
{
	size_t len = strlen(path);
	struct known *made = calloc(1, sizeof(*made) + len + 1);
	struct known **node;

	if (!made)
		return NULL;
	memcpy(made->path, path, len + 1);
	node = tsearch(made, &binder->paths, by_path);
	if (!node || *node != made)
		free(made);
	return node ? *node : NULL;
}

static int is_link(int root_fd, const char *path, struct err *err)
{
	char name[NAME_MAX + 1];
	auto_close int fd = tree_open_parent(root_fd, path, name, err);
	struct stat st;

	if (fd == -ENOENT || fd == -ENOTDIR || fd == -ELOOP)
		return 0;
	if (fd < 0)
		return fd;
	return fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISLNK(st.st_mode);
}

static int may_be_link(struct binder *binder, const struct stack_layer *beneath, size_t count,
		       const char *path, struct err *err)
{
	struct known *known = find_known(binder, path);

	if (!known)
		return fail_oom(err);
	for (; known->layers < count; known->layers++) {
		int r = is_link(beneath[count - 1 - known->layers].fd, path, err);

		if (r < 0)
			return r;
		known->linked = known->linked || r;
	}
	return known->linked;
}

int binder_ask(struct binder *binder, const struct stack_layer *beneath, size_t count,
	       const char *implied, size_t implied_bytes, struct err *err)
{
	auto_stack struct stack *s = NULL;
	const char *end = implied + implied_bytes;
	struct stack_found found;

	for (const char *line = implied; line < end; line += strlen(line) + 1) {
		const char *path = line + (*line == '/');
		int r = may_be_link(binder, beneath, count, path, err);

		if (r > 0 && !s)
			r = stack_new(beneath, count, binder->xattrs, &s, err);
		else if (r == 0)
			continue;
		if (r >= 0)
			r = stack_lookup(s, path, 0, &found, err);
		if (r < 0)
			return r;
		if (found.type == STACK_OTHER && S_ISLNK(found.st.st_mode))
			return 1;
	}
	return 0;
}
