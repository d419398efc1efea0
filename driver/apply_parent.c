/* SPDX-License-Identifier: Apache-2.0 */
#include "driver/apply_internal.h"

#include <fcntl.h>
#include <search.h>
#include <string.h>

#include "driver/base/auto.h"

#define STAT_BLOCK 512

/* ---- what is beneath ---- */

/* The directory of the layers beneath that `dir` is merged with; NULL in *ret: none. */
static int find_dir(struct apply_dirs *d, const struct apply_dir *dir, struct stack_dir **ret,
		    struct err *err)
{
	auto_free const struct apply_dir **way = calloc((size_t)dir->depth + 1, sizeof(*way));
	struct stack_dir *at = stack_root(d->parent);
	struct stack_found found;
	size_t depth = dir->depth;
	int r;

	if (!way || !at)
		return fail_oom(err);
	for (; dir; dir = dir->parent)
		way[dir->depth] = dir;
	for (size_t i = 0; at && i <= depth; i++) {
		if (i > 0) {
			r = stack_step(d->parent, at, way[i]->name, &found, err);
			if (r < 0)
				return r;
			at = found.type == STACK_DIR ? found.dir : NULL;
		}
		if (way[i]->opaque)
			at = NULL;
	}
	*ret = at;
	return 0;
}

int apply_parent_find(struct apply_dirs *d, const struct apply_dir *dir, const char *name,
		      struct stack_found *ret, struct err *err)
{
	struct stack_dir *in = NULL;
	int r = find_dir(d, dir, &in, err);

	if (r < 0)
		return r;
	if (in)
		return stack_step(d->parent, in, name, ret, err);
	*ret = (struct stack_found){ .type = STACK_MISSING };
	return 0;
}

/* ---- copies ---- */

/* By inode: other names of it are entries. Records of directories stay as long as the applier. */
struct copy {
	uint64_t ino;
	const struct apply_dir *dir;
	char name[];
};

static int by_ino(const void *a, const void *b)
{
	uint64_t x = ((const struct copy *)a)->ino, y = ((const struct copy *)b)->ino;

	return x < y ? -1 : x > y;
}

static struct copy *find_copy(const struct applier *a, const struct apply_place *place,
			      const char *name, uint64_t ino)
{
	const struct copy wanted = { .ino = ino };
	void *node = tfind(&wanted, &a->copies, by_ino);
	struct copy *copy = node ? *(struct copy **)node : NULL;

	return copy && copy->dir == place->dir && !strcmp(copy->name, name) ? copy : NULL;
}

bool apply_is_copy(const struct applier *a, const struct apply_place *place, const char *name,
		   uint64_t ino)
{
	return find_copy(a, place, name, ino) != NULL;
}

void apply_forget_copy(struct applier *a, const struct apply_place *place, const char *name,
		       uint64_t ino)
{
	struct copy *copy = find_copy(a, place, name, ino);

	if (!copy)
		return;
	(void)tdelete(copy, &a->copies, by_ino);
	free(copy);
}

void apply_copies_release(struct applier *a)
{
	tdestroy(a->copies, free);
	a->copies = NULL;
}

static int remember(struct applier *a, const struct apply_place *place, const char *name,
		    uint64_t ino, struct err *err)
{
	size_t len = strlen(name);
	struct copy *copy = malloc(sizeof(*copy) + len + 1);
	void *node = NULL;

	if (copy) {
		copy->ino = ino;
		copy->dir = place->dir;
		memcpy(copy->name, name, len + 1);
		node = tsearch(copy, &a->copies, by_ino);
	}
	/* Of a directory that was removed, whose inode is in use again. */
	if (node && *(struct copy **)node != copy) {
		free(*(struct copy **)node);
		*(struct copy **)node = copy;
	}
	if (!node) {
		free(copy);
		return fail_oom(err);
	}
	return 0;
}

int apply_copy_up(struct applier *a, const struct apply_place *place,
		  const struct stack_found *found, struct stat *ret_st, struct err *err)
{
	auto_close int from_fd = stack_open_dir(a->dirs.parent, found->in, found->layer, err);
	struct stat st;
	int r;

	if (from_fd < 0)
		return from_fd;
	r = tree_copy_leaf(from_fd, found->name, place->fd, err);
	if (r < 0)
		return r;
	if (fstatat(place->fd, found->name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return fail(err, -errno, "look at the copy: %m");
	r = remember(a, place, found->name, st.st_ino, err);
	if (r < 0)
		return r;
	if (S_ISREG(st.st_mode))
		a->result.bytes += (uint64_t)st.st_size;
	a->result.disk_bytes += (uint64_t)st.st_blocks * STAT_BLOCK;
	*ret_st = st;
	return apply_note_copy(a, place, found->name, &st, err);
}
