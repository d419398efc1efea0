/* SPDX-License-Identifier: Apache-2.0 */
#include "graph/view.h"

#include <fcntl.h>

#include "driver/base/fd.h"
#include "driver/mount.h"
#include "driver/probe.h"
#include "graph/store/chain.h"

int view_know_xattrs(struct overlaid *o, struct err *err)
{
	int r = o->xattrs_known ? 0 : probe_xattrs(o->store->staging_fd, &o->xattrs, err);

	o->xattrs_known = r >= 0;
	return r;
}

static bool is_among(const struct keyed_tree *list, size_t count, const struct keyed_tree *tree)
{
	for (size_t i = 0; i < count; i++)
		if (list[i].own == tree->own && list[i].number == tree->number)
			return true;
	return false;
}

int view_choose_lowers(struct overlaid *o, struct keyed_trees *trees, struct err *err)
{
	bool opaque = false;
	size_t kept = 0;
	int r = view_know_xattrs(o, err);

	for (size_t i = 0; r >= 0 && i < trees->count && !opaque; i++) {
		auto_free char *path = NULL;

		if (is_among(trees->list, kept, &trees->list[i]))
			continue;
		path = keyed_tree_path(o->store, &trees->list[i]);
		if (!path)
			return fail_oom(err);
		opaque = whiteout_path_is_opaque(path, o->xattrs);
		trees->list[kept++] = trees->list[i];
	}
	if (r >= 0 && kept > OVERLAY_LOWERS_MAX)
		r = fail(err, -E2BIG, "%zu layers, and overlayfs stacks at most %d", kept,
			 OVERLAY_LOWERS_MAX);
	if (r >= 0)
		trees->count = kept;
	return r;
}

int view_open_tree(struct overlaid *o, const struct keyed_tree *tree, int userns_fd,
		   struct err *err)
{
	auto_free char *path = keyed_tree_path(o->store, tree);
	auto_close int fd = path ? open_dir_at(AT_FDCWD, path, err) : fail_oom(err);

	if (fd < 0 || tree->own || userns_fd < 0)
		return take_fd(&fd);
	return idmap_clone(fd, userns_fd, err);
}

int view_add_lowers(struct overlaid *o, const struct keyed_trees *trees, int userns_fd,
		    struct overlay_plan *plan, struct err *err)
{
	int r = view_know_xattrs(o, err);

	want_descriptors(trees->count + 256);
	plan->xattrs = o->xattrs;
	plan->lowers_detached = userns_fd >= 0;
	for (size_t i = 0; r >= 0 && i < trees->count; i++) {
		auto_free char *path = keyed_tree_path(o->store, &trees->list[i]);
		int fd = path ? view_open_tree(o, &trees->list[i], userns_fd, err) : fail_oom(err);

		r = fd < 0 ? fd : overlay_plan_add_lower(plan, fd, path, err);
	}
	return r;
}

static int open_empty(struct overlaid *o, struct err *err)
{
	auto_free char *path = NULL;
	int r = chain_empty_path(o->store, 0, &path, err);

	return r < 0 ? r : open_dir_at(AT_FDCWD, path, err);
}

int view_open(struct overlaid *o, const struct keyed_trees *trees, int userns_fd, struct err *err)
{
	auto_overlay_plan struct overlay_plan plan = OVERLAY_PLAN_INIT;
	int r;

	if (trees->count == 0)
		return open_empty(o, err);
	if (trees->count == 1)
		return view_open_tree(o, &trees->list[0], userns_fd, err);
	plan.flags = OVERLAY_READ_ONLY;
	r = view_add_lowers(o, trees, userns_fd, &plan, err);
	if (r >= 0)
		r = chain_pad(o->store, &plan, err);
	return r < 0 ? r : mount_overlay_detached(&plan, err);
}

static bool is_given(const char *map)
{
	return map && map[0];
}

bool view_is_mapped(const struct overlaid_maps *maps)
{
	return maps && (is_given(maps->uids) || is_given(maps->gids));
}

int view_maps(const struct overlaid_maps *maps, struct idmap *ret, struct err *err)
{
	int r;

	if (!view_is_mapped(maps))
		return 0;
	if (!is_given(maps->uids) || !is_given(maps->gids))
		return fail(err, -EINVAL, "a map of %s ids without one of %s ids",
			    is_given(maps->uids) ? "user" : "group",
			    is_given(maps->uids) ? "group" : "user");
	r = idmap_parse(maps->uids, maps->gids, ret, err);
	return r < 0 ? r : 1;
}

int view_userns(const struct overlaid_maps *maps, int *ret_fd, struct err *err)
{
	auto_idmap struct idmap map = { 0 };
	int fd, r = view_maps(maps, &map, err);

	if (r <= 0) {
		*ret_fd = -EBADF;
		return r;
	}
	fd = idmap_userns(&map, err);
	if (fd >= 0)
		*ret_fd = fd;
	return fd < 0 ? fd : 0;
}
