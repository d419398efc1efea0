/* SPDX-License-Identifier: Apache-2.0 */
/*
 * difference: what a runtime's snapshot adds to, modifies in and deletes from another.
 *
 * What was written to one tree over its own parent is told from that tree (driver/changes.h). All else, a far
 * ancestor, none, a layer whose content is several trees, trees that are seen by maps, is told by comparing two mounts
 * (driver/compare.h). Both say the same.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <search.h>
#include <string.h>
#include <sys/stat.h>

#include "driver/base/fd.h"
#include "driver/changes.h"
#include "driver/compare.h"
#include "driver/export.h"
#include "driver/idmap.h"
#include "driver/tree.h"
#include "graph/view.h"

struct pair {
	struct overlaid *o;
	bool native; /* `root_fd` is the tree of changes over `lowers` */
	struct overlay_plan lowers;
	int root_fd; /* where what was added or modified has its content */
	int old_fd;  /* -EBADF: nothing */
};
#define PAIR_INIT                                                                \
	{                                                                        \
		.lowers = OVERLAY_PLAN_INIT, .root_fd = -EBADF, .old_fd = -EBADF \
	}

static void pair_release(struct pair *p)
{
	overlay_plan_release(&p->lowers);
	auto_close_fn(&p->root_fd);
	auto_close_fn(&p->old_fd);
}

/* One tree that was written to, over the parent that it is compared with. */
static int open_native(struct pair *p, const struct overlaid_diff *d, const struct keyed *k,
		       struct err *err)
{
	AUTO(keyed_trees_release) struct keyed_trees own = { 0 }, trees = { 0 };
	int r = 0;

	if (view_is_mapped(&d->maps) || !k->parent || strcmp(d->parent, k->parent_name) != 0)
		return 0;
	if (k->kind == OVERLAID_SNAPSHOT_ACTIVE) {
		auto_close int dir_fd = keyed_open_dir(p->o->store, k, NULL, err);

		r = dir_fd < 0 ? dir_fd : 0;
	}
	if (r >= 0)
		r = keyed_trees_of(p->o->store, k->id, &own, err);
	if (r < 0 || own.count != 1 || !own.list[0].own)
		return r;
	r = keyed_trees(p->o->store, k->parent, &trees, err);
	if (r >= 0)
		r = view_choose_lowers(p->o, &trees, err);
	if (r >= 0)
		r = view_add_lowers(p->o, &trees, -EBADF, &p->lowers, err);
	if (r >= 0)
		r = p->root_fd = view_open_tree(p->o, &own.list[0], -EBADF, err);
	p->native = r >= 0;
	return r < 0 ? r : 1;
}

static int open_view(struct overlaid *o, const struct keyed *k, int userns_fd, struct err *err)
{
	AUTO(keyed_trees_release) struct keyed_trees trees = { 0 };
	int r = keyed_trees(o->store, k->id, &trees, err);

	if (r >= 0)
		r = view_choose_lowers(o, &trees, err);
	return r < 0 ? r : view_open(o, &trees, userns_fd, err);
}

static int open_pair(struct pair *p, const struct overlaid_diff *d, struct err *err)
{
	auto_keyed struct keyed k = { 0 }, parent = { 0 };
	auto_close int userns_fd = -EBADF;
	int r = keyed_find(p->o->store, d->scope, d->key, &k, err);

	if (r >= 0 && d->parent[0])
		r = keyed_find(p->o->store, d->scope, d->parent, &parent, err);
	if (r >= 0)
		r = open_native(p, d, &k, err);
	if (r != 0)
		return r < 0 ? r : 0;
	r = view_userns(&d->maps, &userns_fd, err);
	if (r >= 0)
		r = p->root_fd = open_view(p->o, &k, userns_fd, err);
	if (r >= 0 && d->parent[0])
		r = p->old_fd = open_view(p->o, &parent, userns_fd, err);
	return r < 0 ? r : 0;
}

static int walk(struct pair *p, change_fn *fn, void *arg, struct err *err)
{
	return p->native ? changes_walk(p->root_fd, p->lowers.lower_fds, p->lowers.lower_count,
					p->lowers.xattrs, CHANGES_COMPARED, fn, arg, err) :
			   compare_walk(p->root_fd, p->old_fd, fn, arg, err);
}

/* ---- changes ---- */

int overlaid_snapshot_changes(struct overlaid *o, const struct overlaid_diff *d,
			      overlaid_change_fn *fn, void *arg, struct err *err)
{
	AUTO(pair_release) struct pair pair = PAIR_INIT;
	struct handle_changes h = { .fn = fn, .arg = arg };
	int r;

	pair.o = o;
	r = open_pair(&pair, d, err);
	return r < 0 ? r : walk(&pair, handle_change, &h, err);
}

/* ---- as a tar ---- */

static uint32_t inside_uid(void *arg, uint32_t id)
{
	const struct idmap *map = arg;
	uint32_t inside;

	return idmap_inside(map->uids, map->uid_count, id, &inside) ? inside : id;
}

static uint32_t inside_gid(void *arg, uint32_t id)
{
	const struct idmap *map = arg;
	uint32_t inside;

	return idmap_inside(map->gids, map->gid_count, id, &inside) ? inside : id;
}

int overlaid_snapshot_export(struct overlaid *o, const struct overlaid_diff *d,
			     overlaid_write_fn *write, void *arg, struct err *err)
{
	AUTO(pair_release) struct pair pair = PAIR_INIT;
	AUTO(idmap_release) struct idmap map = { 0 };
	struct export_options options = { 0 };
	auto_export struct export *export = NULL;
	int r = view_maps(&d->maps, &map, err);

	pair.o = o;
	if (r > 0) {
		options.map_uid = inside_uid;
		options.map_gid = inside_gid;
		options.map_arg = &map;
	}
	if (r >= 0)
		r = open_pair(&pair, d, err);
	if (r >= 0)
		r = export_new(pair.root_fd, &options, write, arg, &export, err);
	if (r >= 0)
		r = walk(&pair, export_change, export, err);
	return r < 0 ? r : export_end(export, err);
}

/* ---- its size ---- */

struct summing {
	int root_fd;
	void *linked; /* tree of inodes with several names that were counted */
	uint64_t bytes;
	struct err *err;
};

static int by_number(const void *a, const void *b)
{
	uintptr_t x = (uintptr_t)a, y = (uintptr_t)b;

	return x < y ? -1 : x > y;
}

static void ignore(void *node)
{
}

/* An inode number is a pointer's value here: nothing is behind it. */
static int is_counted(struct summing *s, const struct stat *st)
{
	void *number = (void *)(uintptr_t)st->st_ino; /* NOLINT(performance-no-int-to-ptr) */

	if (st->st_nlink < 2)
		return 0;
	if (tfind(number, &s->linked, by_number))
		return 1;
	return tsearch(number, &s->linked, by_number) ? 0 : fail_oom(s->err);
}

static int add_size(void *arg, enum change_kind kind, const char *path)
{
	struct summing *s = arg;
	char name[NAME_MAX + 1];
	auto_close int dir_fd = kind == CHANGE_DELETED ?
					-EBADF :
					tree_open_parent(s->root_fd, path + 1, name, NULL);
	struct stat st;
	int r;

	if (dir_fd < 0 || fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
	    S_ISDIR(st.st_mode))
		return 0;
	r = is_counted(s, &st);
	if (r == 0)
		s->bytes += (uint64_t)st.st_size;
	return r < 0 ? r : 0;
}

/* All of one that is no chain of several trees, in one walk. */
static int own_size(struct overlaid *o, const struct keyed *k, uint64_t *ret, struct err *err)
{
	AUTO(keyed_trees_release) struct keyed_trees trees = { 0 };
	uint64_t sum = 0;
	int r = keyed_trees_of(o->store, k->id, &trees, err);

	for (size_t i = 0; r >= 0 && i < trees.count; i++) {
		auto_free char *path = keyed_tree_path(o->store, &trees.list[i]);
		uint64_t bytes = 0;

		r = path ? tree_content_bytes(AT_FDCWD, path, &bytes, err) : fail_oom(err);
		sum += bytes;
	}
	if (r >= 0)
		*ret = sum;
	return r;
}

int overlaid_snapshot_diff_size(struct overlaid *o, const struct overlaid_diff *d,
				uint64_t *ret_bytes, struct err *err)
{
	AUTO(pair_release) struct pair pair = PAIR_INIT;
	auto_keyed struct keyed k = { 0 };
	struct summing s = { .err = err };
	int r = keyed_find(o->store, d->scope, d->key, &k, err);

	if (r < 0)
		return r;
	if (k.kind == OVERLAID_SNAPSHOT_ACTIVE) {
		auto_close int dir_fd = keyed_open_dir(o->store, &k, NULL, err);

		if (dir_fd < 0)
			return dir_fd;
	}
	if (strcmp(d->parent, k.parent_name) == 0)
		return own_size(o, &k, ret_bytes, err);
	pair.o = o;
	r = open_pair(&pair, d, err);
	s.root_fd = pair.root_fd;
	if (r >= 0)
		r = walk(&pair, add_size, &s, err);
	tdestroy(s.linked, ignore);
	if (r >= 0)
		*ret_bytes = s.bytes;
	return r;
}
