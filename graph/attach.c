/* SPDX-License-Identifier: Apache-2.0 */
/*
 * attach: a runtime's snapshots are mounted by us, where it asks for them.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "driver/base/fd.h"
#include "driver/mount.h"
#include "graph/store/chain.h"
#include "graph/view.h"

#define TARGET_MODE 0711 /* of directories on the way, which a mapped root has to pass */

/* The lowers of a mount of it. */
static int find_lowers(struct overlaid *o, const struct keyed *k, struct keyed_trees *ret,
		       struct err *err)
{
	int64_t from = k->kind == OVERLAID_SNAPSHOT_ACTIVE ? k->parent : k->id;
	int r = from ? keyed_trees(o->store, from, ret, err) : 0;

	return r < 0 ? r : view_choose_lowers(o, ret, err);
}

/* ---- mounting ---- */

static int set_upper(struct overlaid *o, const struct keyed *k, int dir_fd, bool scratch,
		     struct overlay_plan *plan, struct err *err)
{
	/* What is left of a mount that was not synced: its content is nobody's yet, whatever was lost of it. */
	int r = scratch ? overlay_reset_work(dir_fd, "work", err) : 0;

	plan->flags = scratch ? OVERLAY_VOLATILE : 0;
	return r < 0 ? r : chain_set_upper(o->store, k->uid, "diff", plan, err);
}

static int mount_plan(struct overlaid *o, const struct overlaid_attach *a,
		      struct overlay_plan *plan, struct err *err)
{
	int r = chain_pad(o->store, plan, err);

	if (r >= 0 && a->context && a->context[0]) {
		plan->context = strdup(a->context);
		r = plan->context ? 0 : fail_oom(err);
	}
	return r < 0 ? r : mount_overlay(plan, a->target, NULL, err);
}

static int attach_active(struct overlaid *o, const struct overlaid_attach *a, const struct keyed *k,
			 const struct keyed_trees *lowers, int userns_fd, struct err *err)
{
	auto_overlay_plan struct overlay_plan plan = OVERLAY_PLAN_INIT;
	auto_close int dir_fd = keyed_open_dir(o->store, k, NULL, err);
	auto_close int diff_fd = -EBADF;
	int r = dir_fd;

	if (r >= 0 && lowers->count == 0) {
		diff_fd = open_dir_at(dir_fd, "diff", err);
		return diff_fd < 0 ? diff_fd : mount_bind(diff_fd, a->target, false, err);
	}
	if (r >= 0)
		r = view_add_lowers(o, lowers, userns_fd, &plan, err);
	if (r >= 0)
		r = set_upper(o, k, dir_fd, a->scratch, &plan, err);
	return r < 0 ? r : mount_plan(o, a, &plan, err);
}

static int attach_committed(struct overlaid *o, const struct overlaid_attach *a,
			    const struct keyed_trees *lowers, int userns_fd, struct err *err)
{
	auto_overlay_plan struct overlay_plan plan = { .upper_fd = -EBADF,
						       .work_fd = -EBADF,
						       .flags = OVERLAY_READ_ONLY };
	auto_close int fd = -EBADF;
	int r;

	if (lowers->count == 1) {
		fd = view_open_tree(o, &lowers->list[0], userns_fd, err);
		return fd < 0 ? fd : mount_bind(fd, a->target, true, err);
	}
	r = view_add_lowers(o, lowers, userns_fd, &plan, err);
	return r < 0 ? r : mount_plan(o, a, &plan, err);
}

/* Who is root in a user namespace has to come to what is mounted below RUN. */
static int let_pass(struct overlaid *o, const struct overlaid_attach *a, struct err *err)
{
	const char *run = o->store->run_path;
	size_t len = strlen(run);
	struct stat st;

	if (!view_is_mapped(&a->maps) || strncmp(a->target, run, len) != 0 ||
	    a->target[len] != '/' || stat(run, &st) < 0 || (st.st_mode & 0111) == 0111)
		return 0;
	return chmod(run, (st.st_mode & 07777) | 0111) < 0 ?
		       fail(err, -errno, "let others pass through %s: %m", run) :
		       0;
}

int overlaid_snapshot_attach(struct overlaid *o, const struct overlaid_attach *a, struct err *err)
{
	AUTO(keyed_trees_release) struct keyed_trees lowers = { 0 };
	auto_keyed struct keyed k = { 0 };
	auto_close int userns_fd = -EBADF;
	int r = keyed_find(o->store, a->scope, a->key, &k, err);

	if (r >= 0)
		r = view_userns(&a->maps, &userns_fd, err);
	if (r >= 0)
		r = find_lowers(o, &k, &lowers, err);
	if (r >= 0)
		r = mkdir_parents(a->target, TARGET_MODE, err);
	if (r >= 0)
		r = let_pass(o, a, err);
	if (r >= 0 && (r = mount_is_mounted(a->target, err)) > 0)
		r = fail(err, -EBUSY, "something is mounted at %s", a->target);
	if (r >= 0)
		r = k.kind == OVERLAID_SNAPSHOT_ACTIVE ?
			    attach_active(o, a, &k, &lowers, userns_fd, err) :
			    attach_committed(o, a, &lowers, userns_fd, err);
	return r < 0 ? err_prefix(err, r, "mount \"%.300s\"", a->key) : 0;
}

int overlaid_is_attached(const char *target, struct err *err)
{
	return mount_is_mounted(target, err);
}

int overlaid_detach(const char *target, struct err *err)
{
	return mount_detach(target, err);
}

/* ---- paths ---- */

int overlaid_mount_dir(struct overlaid *o, const char *what, char **ret_path, struct err *err)
{
	char *path;

	if (asprintf(&path, "%s/%s/%s", o->store->run_path, what, o->store->run_name) < 0)
		return fail_oom(err);
	*ret_path = path;
	return 0;
}

struct texts {
	char **list;
	size_t count;
};

static void texts_release(struct texts *t)
{
	for (size_t i = 0; i < t->count; i++)
		free(t->list[i]);
	free(t->list);
}

int overlaid_snapshot_paths(struct overlaid *o, const char *scope, const char *key,
			    overlaid_paths_fn *fn, void *arg, struct err *err)
{
	AUTO(keyed_trees_release) struct keyed_trees lowers = { 0 };
	AUTO(texts_release) struct texts texts = { 0 };
	auto_free char *upper = NULL, *work = NULL;
	struct overlaid_paths paths = { .upper = "", .work = "" };
	auto_keyed struct keyed k = { 0 };
	int r = keyed_find(o->store, scope, key, &k, err);

	if (r >= 0)
		r = find_lowers(o, &k, &lowers, err);
	if (r < 0)
		return r;
	texts.list = calloc(lowers.count + 1, sizeof(*texts.list));
	for (size_t i = 0; texts.list && i < lowers.count; i++) {
		texts.list[i] = keyed_tree_path(o->store, &lowers.list[i]);
		texts.count += texts.list[i] != NULL;
	}
	if (!texts.list || texts.count < lowers.count)
		return fail_oom(err);
	if (k.kind == OVERLAID_SNAPSHOT_ACTIVE) {
		if (asprintf(&upper, "%s/snapshots/%s/diff", o->store->root_path, k.uid) < 0 ||
		    asprintf(&work, "%s/snapshots/%s/work", o->store->root_path, k.uid) < 0)
			return fail_oom(err);
		paths.upper = upper;
		paths.work = work;
	}
	paths.lowers = (const char *const *)texts.list;
	paths.lower_count = texts.count;
	return fn(arg, &paths);
}
