/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gc: finds everything that nobody holds, says what and why, and removes it. Work in progress is
 * told by its locks and left alone.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "driver/base/clock.h"
#include "driver/base/fd.h"
#include "driver/mount.h"
#include "driver/tree.h"
#include "graph/fetch/partial.h"
#include "graph/handle.h"
#include "graph/store/db.h"
#include "graph/store/keyed.h"
#include "graph/store/layer.h"
#include "graph/store/snapshot.h"

#define PASSING_MAX 16 /* images a round */

struct collector {
	struct overlaid *o;
	struct store *store;
	bool dry_run, partial;
	int (*fn)(void *arg, const struct overlaid_garbage *garbage);
	void *arg;
	struct err *err;
};

/* Says one finding; its size is that of dirfd/name (NULL: none). */
static int report(struct collector *c, const char *below, const char *name, const char *why,
		  int dirfd)
{
	struct overlaid_garbage garbage = { .why = why };
	struct tree_usage usage = { 0 };
	auto_free char *path = NULL;

	if (!c->fn)
		return 0;
	if (asprintf(&path, "%s/%s", below, name) < 0)
		return fail_oom(c->err);
	if (dirfd >= 0 && tree_usage_at(dirfd, name, &usage, NULL) >= 0)
		garbage.disk_bytes = usage.disk_bytes;
	garbage.path = path;
	return c->fn(c->arg, &garbage);
}

static int report_in_root(struct collector *c, const char *folder, const char *name,
			  const char *why, int dirfd)
{
	auto_free char *below = NULL;

	if (asprintf(&below, "%s/%s", c->store->root_path, folder) < 0)
		return fail_oom(c->err);
	return report(c, below, name, why, dirfd);
}

/* ---- rows whose owner is gone ---- */

/* One lease whose holder's staging directory is gone: 1 and its id and name, 0 where there is none. */
static int find_dead_lease(struct collector *c, int64_t after, int64_t *ret_id, char ret_name[64])
{
	auto_query struct db_query q = DB_QUERY_INIT;
	int r = db_query(c->store->db, &q, c->err,
			 "SELECT id, name FROM lease WHERE id > ? ORDER BY id", "i", after);

	while (r >= 0 && (r = db_step(&q, c->err)) > 0) {
		if (faccessat(c->store->staging_fd, db_text(&q, 1), F_OK, AT_SYMLINK_NOFOLLOW) == 0)
			continue;
		*ret_id = db_int(&q, 0);
		(void)snprintf(ret_name, 64, "%s", db_text(&q, 1));
		return 1;
	}
	return r;
}

static int collect_leases(struct collector *c)
{
	int64_t id = 0;
	char name[64];
	int r;

	while ((r = find_dead_lease(c, id, &id, name)) > 0) {
		r = report_in_root(c, "staging", name, "lease of a process that died", -1);
		if (r == 0 && !c->dry_run)
			r = lease_end(c->store, id, name, c->err);
		if (r != 0)
			return r;
	}
	return r;
}

/* Says and removes a snapshot that is of no use; one that somebody mounts or removes at this moment
 * is left alone. */
static int collect_snapshot(struct collector *c, const struct snapshot *s, const char *why)
{
	int r = report_in_root(c, "snapshots", s->uid, why, c->store->snapshots_fd);

	if (r != 0 || c->dry_run)
		return r;
	r = snapshot_delete(c->store, s, false, c->err);
	return r == -ENOENT || r == -EBUSY ? 0 : r;
}

/* A mount's row outlives the mount where somebody else unmounted it, or overlaid_unmount() did. */
static int drop_stale_mount(void *arg, const struct snapshot *s)
{
	struct collector *c = arg;
	auto_locks struct store_locks locks = STORE_LOCKS_INIT;
	auto_mount_state struct snapshot_mount_state state = { 0 };
	int r = s->view || s->ephemeral ? -EAGAIN : store_locks_open(c->store, &locks, c->err);

	if (r >= 0)
		r = store_lock_object(&locks, s->uid, STORE_LOCK_TRY, c->err);
	if (r >= 0)
		r = snapshot_mount_state(c->store, s->id, &state, c->err);
	if (r >= 0 && !state.mounted)
		r = snapshot_forget_mount(c->store, s->uid, c->err);
	return r == -EAGAIN ? 0 : r;
}

/* 1 where it is not mounted although a row, or its being a view, says so. */
static int says_mounted_wrongly(struct collector *c, const struct snapshot *s)
{
	auto_mount_state struct snapshot_mount_state state = { 0 };
	int64_t rows = 0;
	int r = snapshot_mount_state(c->store, s->id, &state, c->err);

	if (r >= 0)
		r = db_get_int(c->store->db, &rows, c->err,
			       "SELECT count(*) FROM mount WHERE snapshot = ?", "i", s->id);
	return r < 0 ? r : !state.mounted && (s->view || rows > 0);
}

static int look_at_snapshot(void *arg, const struct snapshot *s)
{
	struct collector *c = arg;
	auto_locks struct store_locks locks = STORE_LOCKS_INIT;
	int r;

	if (s->ephemeral)
		return snapshot_is_abandoned(c->store, s) ?
			       collect_snapshot(c, s,
						"ephemeral container of a process that died") :
			       0;
	r = says_mounted_wrongly(c, s);
	if (r <= 0)
		return r;
	/* Who is mounting or unmounting it has the lock, for milliseconds. */
	r = store_locks_open(c->store, &locks, c->err);
	if (r >= 0)
		r = store_lock_object(&locks, s->uid, STORE_LOCK_WAIT, c->err);
	if (r >= 0)
		r = says_mounted_wrongly(c, s);
	if (r <= 0)
		return r;
	if (s->view) {
		store_locks_release(&locks);
		return collect_snapshot(c, s, "mount of an image that is mounted no more");
	}
	r = report(c, c->store->run_path, s->name, "record of a mount that is gone", -1);
	return r != 0 || c->dry_run ? r : snapshot_forget_mount(c->store, s->uid, c->err);
}

/* ---- directories without a row ---- */

/* The lease of that name goes with the directory, under its lock: a holder that dies while gc looks keeps
 * both or neither. */
static int end_lease_of(struct collector *c, const char *name)
{
	int64_t id;
	int r = db_get_int(c->store->db, &id, c->err, "SELECT id FROM lease WHERE name = ?", "s",
			   name);

	return r > 0 ? lease_end(c->store, id, name, c->err) : r;
}

static int collect_staging(void *arg, const char *name)
{
	struct collector *c = arg;
	auto_close int lock = -EBADF;
	int r;

	if (!staging_is_dead(c->store, name, &lock))
		return 0;
	r = report_in_root(c, "staging", name, "left behind by a process that died",
			   c->store->staging_fd);
	if (r != 0 || c->dry_run)
		return r;
	r = end_lease_of(c, name);
	return r < 0 ? r : trash_move(c->store, c->store->staging_fd, name, c->err);
}

/* Invariant 3: no row and no lock, so nobody's. */
static int collect_unrecorded(struct collector *c, const char *folder, int dirfd, const char *name,
			      const char *row)
{
	auto_locks struct store_locks locks = STORE_LOCKS_INIT;
	bool ours = hex_valid(name, STORE_HEX_LEN);
	int64_t one;
	int r = ours ? store_locks_open(c->store, &locks, c->err) : 0;

	if (ours && r >= 0)
		r = store_lock_object(&locks, name, STORE_LOCK_TRY, c->err);
	if (r == -EAGAIN)
		return 0;
	if (ours && r >= 0)
		r = db_get_int(c->store->db, &one, c->err, row, "s", name);
	if (r != 0)
		return r < 0 ? r : 0;
	r = report_in_root(c, folder, name, "in the store's directories without a record", dirfd);
	return r != 0 || c->dry_run ? r : trash_move(c->store, dirfd, name, c->err);
}

static int collect_layer(void *arg, const char *name)
{
	struct collector *c = arg;
	/* An active snapshot whose commit never came takes its tree back (graph/store/keyed.h). */
	return collect_unrecorded(
		c, "layers/sha256", c->store->layers_fd, name,
		"SELECT 1 FROM layer WHERE key = 'sha256:' || ?1"
		" UNION ALL SELECT 1 FROM keyed WHERE uid = ?1 AND kind = 'active'");
}

static int collect_blob(void *arg, const char *name)
{
	struct collector *c = arg;
	return collect_unrecorded(c, "blobs/sha256", c->store->blobs_fd, name,
				  "SELECT 1 FROM blob WHERE stored AND digest = 'sha256:' || ?");
}

static int collect_snapshot_dir(void *arg, const char *name)
{
	struct collector *c = arg;
	return collect_unrecorded(c, "snapshots", c->store->snapshots_fd, name, KEYED_DIR_ROW);
}

struct partials {
	struct collector *collector;
	int dir_fd, r;
};

static bool collect_partial(void *arg, const char *name, int64_t bytes)
{
	struct partials *p = arg;

	if (p->r == 0)
		p->r = report_in_root(p->collector, "partial", name,
				      "download that nobody has gone on with for a week",
				      p->dir_fd);
	return p->r == 0 && !p->collector->dry_run;
}

static int collect_partials(struct collector *c)
{
	auto_close int dir_fd = open_or_make_dir_at(c->store->root_fd, "partial", 0700, c->err);
	struct partials p = { .collector = c, .dir_fd = dir_fd };
	int r = dir_fd < 0 ? dir_fd :
			     partial_sweep(dir_fd, c->partial ? 0 : PARTIAL_KEPT_SECONDS,
					   collect_partial, &p, c->err);

	return r < 0 ? r : p.r;
}

static int report_trash(void *arg, const char *name)
{
	struct collector *c = arg;
	return report_in_root(c, "trash", name, "removed, and not yet deleted", c->store->trash_fd);
}

/* A mount point whose snapshot is gone. rmdir(2) would tear down a mount in another namespace, so
 * only names without a row. */
static int collect_mount_point(void *arg, const char *name)
{
	struct collector *c = arg;
	auto_free char *path = NULL;
	int64_t one;
	int r;

	if (asprintf(&path, "%s/mnt/%s", c->store->run_path, name) < 0)
		return fail_oom(c->err);
	r = db_get_int(c->store->db, &one, c->err, "SELECT 1 FROM snapshot WHERE uid = ?", "s",
		       name);
	if (r == 0)
		r = mount_is_mounted(path, c->err);
	if (r != 0)
		return r < 0 ? r : 0;
	r = report(c, c->store->run_path, path + strlen(c->store->run_path) + 1,
		   "mount point of a container that is gone", -1);
	if (r == 0 && !c->dry_run)
		(void)rmdir(path);
	return r;
}

static int collect_directories(struct collector *c)
{
	auto_close int mnt_fd = store_open_mnt(c->store, c->err);
	const struct {
		int dirfd;
		name_fn *fn;
	} parts[] = {
		{ c->store->staging_fd, collect_staging },
		{ c->store->layers_fd, collect_layer },
		{ c->store->blobs_fd, collect_blob },
		{ c->store->snapshots_fd, collect_snapshot_dir },
		{ mnt_fd, collect_mount_point },
		{ c->dry_run ? c->store->trash_fd : -1, report_trash },
	};

	if (mnt_fd < 0)
		return mnt_fd;
	for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
		int r = parts[i].dirfd >= 0 ? foreach_name(parts[i].dirfd, parts[i].fn, c, c->err) :
					      0;

		if (r != 0)
			return r;
	}
	return collect_partials(c);
}

/* Images that were to be kept for a while only, and that nobody made a container of. */
static int drop_passing_images(struct collector *c)
{
	auto_query struct db_query q = DB_QUERY_INIT;
	char ids[PASSING_MAX][DIGEST_TEXT_MAX];
	int64_t now = clock_real_ns();
	size_t count = 0;
	int r = db_query(c->store->db, &q, c->err,
			 "SELECT image_id FROM image WHERE kept_until < ? AND NOT EXISTS"
			 " (SELECT 1 FROM snapshot WHERE image = image.id)",
			 "i", now);

	while (r >= 0 && count < PASSING_MAX && (r = db_step(&q, c->err)) > 0)
		(void)snprintf(ids[count++], sizeof(ids[0]), "%s", db_text(&q, 0));
	db_query_release(&q);
	for (size_t i = 0; r >= 0 && i < count; i++) {
		r = handle_remove_passed(c->o, ids[i], now, c->err);
		if (r == -ENOENT || r == -EBUSY)
			r = 0;
	}
	return r;
}

int overlaid_gc(struct overlaid *o, unsigned int flags,
		int (*fn)(void *arg, const struct overlaid_garbage *garbage), void *arg,
		struct err *err)
{
	struct collector c = { .o = o,
			       .store = o->store,
			       .dry_run = flags & OVERLAID_GC_DRY_RUN,
			       .partial = flags & OVERLAID_GC_PARTIAL,
			       .fn = fn,
			       .arg = arg,
			       .err = err };
	int r = c.dry_run ? 0 : drop_passing_images(&c);

	if (r >= 0 && !c.dry_run)
		r = trash_empty(o->store, true, err);

	if (r >= 0)
		r = snapshot_list(o->store, NULL, 0, look_at_snapshot, &c, err);
	if (r == 0)
		r = collect_directories(&c);
	if (r == 0)
		r = collect_leases(&c);
	if (r == 0 && !c.dry_run)
		r = trash_empty(o->store, true, err);
	if (r == 0 && !c.dry_run)
		db_shrink(o->store->db);
	return r;
}

int overlaid_reap(struct overlaid *o, bool wait, struct err *err)
{
	struct collector c = { .o = o, .store = o->store, .err = err };
	int r = snapshot_list_mounted(o->store, drop_stale_mount, &c, err);

	if (r >= 0)
		r = drop_passing_images(&c);
	if (r >= 0)
		r = trash_empty(o->store, wait, err);
	if (r >= 0 || r == -EAGAIN)
		r = layers_count_adopted(o->store, err);
	if (r >= 0)
		r = keyed_drop_links(o->store, err);
	return r;
}
