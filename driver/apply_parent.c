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

/* Found by inode, as other names of it are entries; and by the directory that it is in. */
struct apply_copy {
	uint64_t ino;
	struct apply_dir *dir;
	struct apply_copy *next; /* in the directory */
	struct apply_copy **listed_at;
	char name[];
};

static int by_ino(const void *a, const void *b)
{
	uint64_t x = ((const struct apply_copy *)a)->ino, y = ((const struct apply_copy *)b)->ino;

	return x < y ? -1 : x > y;
}

static struct apply_copy *find_copy(const struct apply_dirs *d, const struct apply_place *place,
				    const char *name, uint64_t ino)
{
	const struct apply_copy wanted = { .ino = ino };
	void *node = tfind(&wanted, &d->copies, by_ino);
	struct apply_copy *copy = node ? *(struct apply_copy **)node : NULL;

	return copy && copy->dir == place->dir && !strcmp(copy->name, name) ? copy : NULL;
}

bool apply_is_copy(const struct apply_dirs *d, const struct apply_place *place, const char *name,
		   uint64_t ino)
{
	return find_copy(d, place, name, ino) != NULL;
}

static void forget(struct apply_dirs *d, struct apply_copy *copy)
{
	(void)tdelete(copy, &d->copies, by_ino);
	*copy->listed_at = copy->next;
	if (copy->next)
		copy->next->listed_at = copy->listed_at;
	for (struct apply_dir *dir = copy->dir; dir; dir = dir->parent)
		dir->borrowed--;
	free(copy);
}

void apply_forget_copy(struct apply_dirs *d, const struct apply_place *place, const char *name,
		       uint64_t ino)
{
	struct apply_copy *copy = find_copy(d, place, name, ino);

	if (copy)
		forget(d, copy);
}

void apply_forget_copies(struct apply_dirs *d, struct apply_dir *dir)
{
	while (dir->copies)
		forget(d, dir->copies);
}

void apply_copies_release(struct apply_dirs *d)
{
	tdestroy(d->copies, free);
	d->copies = NULL;
}

static int remember(struct apply_dirs *d, const struct apply_place *place, const char *name,
		    uint64_t ino, struct err *err)
{
	size_t len = strlen(name);
	struct apply_copy *copy = malloc(sizeof(*copy) + len + 1);
	struct apply_dir *dir = place->dir;

	if (copy) {
		*copy = (struct apply_copy){ .ino = ino, .dir = dir };
		memcpy(copy->name, name, len + 1);
	}
	if (!copy || !tsearch(copy, &d->copies, by_ino)) {
		free(copy);
		return fail_oom(err);
	}
	copy->next = dir->copies;
	copy->listed_at = &dir->copies;
	if (copy->next)
		copy->next->listed_at = &copy->next;
	dir->copies = copy;
	for (; dir; dir = dir->parent)
		dir->borrowed++;
	return 0;
}

void apply_lend(struct apply_dir *dir, bool lent)
{
	if (dir->lent == lent)
		return;
	dir->lent = lent;
	for (; dir; dir = dir->parent)
		dir->borrowed += lent ? 1 : (size_t)-1;
}

static int clear_in(struct applier *a, struct apply_dir *dir, const char *name, struct err *err)
{
	auto_close int fd = apply_dirs_reopen(&a->dirs, dir, err);
	const struct apply_place place = { fd, dir };
	auto_free char *copy = strdup(name);

	if (!copy)
		return fail_oom(err);
	return fd < 0 ? fd : apply_clear(a, &place, copy, err);
}

static struct apply_dir *find_lent(const struct apply_dir *dir)
{
	struct apply_dir *child = dir->first_child;

	while (child && !child->lent)
		child = child->next_sibling;
	return child;
}

int apply_hide_copies(struct applier *a, struct apply_dir *dir, struct err *err)
{
	struct apply_dir *lent;
	int r = 0;

	if (!dir->borrowed)
		return 0;
	while (r == 0 && (lent = find_lent(dir)))
		r = clear_in(a, dir, lent->name, err);
	while (r == 0 && dir->copies)
		r = clear_in(a, dir, dir->copies->name, err);
	for (struct apply_dir *child = dir->first_child; child && r == 0;
	     child = child->next_sibling)
		r = apply_hide_copies(a, child, err);
	return r;
}

int apply_copy_up(struct applier *a, const struct apply_place *place,
		  const struct stack_found *found, struct stat *ret_st, struct err *err)
{
	auto_close int from_fd = stack_open_dir(a->dirs.parent, found->in, found->layer, err);
	struct stat st;
	int r;

	a->dirs.bound = true;
	if (from_fd < 0)
		return from_fd;
	r = tree_copy_leaf(from_fd, found->name, place->fd, err);
	if (r < 0)
		return r;
	if (fstatat(place->fd, found->name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return fail(err, -errno, "look at the copy: %m");
	r = remember(&a->dirs, place, found->name, st.st_ino, err);
	if (r < 0)
		return r;
	if (S_ISREG(st.st_mode))
		a->result.bytes += (uint64_t)st.st_size;
	a->result.disk_bytes += (uint64_t)st.st_blocks * STAT_BLOCK;
	*ret_st = st;
	return apply_note_copy(a, place, found->name, &st, err);
}
