/* SPDX-License-Identifier: Apache-2.0 */
/*
 * usage: what du(1) would say of the store, part by part.
 */
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "driver/base/fd.h"
#include "driver/tree.h"
#include "graph/handle.h"
#include "graph/store/db.h"
#include "graph/store/keyed.h"
#include "graph/store/layer.h"
#include "graph/store/snapshot.h"

/* A part that vanishes while it is walked counts as nothing: others may be deleting. */
static int add_tree(int dirfd, const char *name, uint64_t *sum, struct err *err)
{
	struct tree_usage usage;
	int r = tree_usage_at(dirfd, name, &usage, err);

	if (r >= 0)
		*sum += usage.disk_bytes;
	return r == -ENOENT ? 0 : r;
}

/* The inode itself, without what a directory holds. */
static int add_inode(int dirfd, const char *name, uint64_t *sum, struct err *err)
{
	struct stat st;

	if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH) < 0)
		return errno == ENOENT ? 0 : fail(err, -errno, "stat %s: %m", name);
	*sum += (uint64_t)st.st_blocks * 512;
	return 0;
}

static int count_layers(struct overlaid *o, struct overlaid_usage *u, struct err *err)
{
	auto_query struct db_query q = DB_QUERY_INIT;
	int r = db_query(o->store->db, &q, err,
			 "SELECT substr(key, 8),"
			 " (SELECT count(DISTINCT image) FROM image_layer WHERE layer = l.id)"
			 " + (SELECT count(DISTINCT snapshot) FROM snapshot_layer WHERE layer = l.id)"
			 " + (SELECT count(DISTINCT keyed) FROM keyed_layer WHERE layer = l.id),"
			 " EXISTS(SELECT 1 FROM snapshot_layer WHERE layer = l.id)"
			 " OR EXISTS(SELECT 1 FROM keyed_layer WHERE layer = l.id)"
			 " OR EXISTS(SELECT 1 FROM lease_layer WHERE layer = l.id)"
			 " FROM layer l",
			 "");

	while (r >= 0 && (r = db_step(&q, err)) > 0) {
		uint64_t bytes = 0;

		r = add_tree(o->store->layers_fd, db_text(&q, 0), &bytes, err);
		u->layers += bytes;
		if (db_int(&q, 1) > 1)
			u->layers_shared += bytes;
		else
			u->layers_unique += bytes;
		if (!db_int(&q, 2))
			u->layers_reclaimable += bytes;
		u->layer_count++;
	}
	return r;
}

struct counting {
	struct overlaid *o;
	struct overlaid_usage *u;
	struct err *err;
};

static int count_snapshot(void *arg, const struct snapshot *s)
{
	struct counting *c = arg;
	auto_mount_state struct snapshot_mount_state state = { 0 };
	uint64_t bytes = 0;
	int r = add_tree(c->o->store->snapshots_fd, s->uid, &bytes, c->err);

	if (r >= 0)
		r = snapshot_mount_state(c->o->store, s->id, &state, c->err);
	if (r < 0)
		return r;
	c->u->containers += bytes;
	if (s->view)
		return 0;
	c->u->container_count++;
	if (state.mounted || s->ephemeral)
		c->u->containers_active++;
	else
		c->u->containers_reclaimable += bytes;
	return 0;
}

/* A runtime's: nothing of it is ours to reclaim. */
static int count_keyed(void *arg, const struct keyed *k)
{
	struct counting *c = arg;

	return add_tree(c->o->store->snapshots_fd, k->uid, &c->u->containers, c->err);
}

/* What stands in layers/ or snapshots/ without a row. */
struct strangers {
	struct overlaid *o;
	int dirfd;
	const char *row; /* finds the row of a name */
	struct overlaid_usage *u;
	struct err *err;
};

static int count_stranger(void *arg, const char *name)
{
	struct strangers *s = arg;
	int64_t one;
	int r = db_get_int(s->o->store->db, &one, s->err, s->row, "s", name);

	if (r == 0)
		return add_tree(s->dirfd, name, &s->u->transient, s->err);
	return r < 0 ? r : 0;
}

static int count_unrecorded(struct overlaid *o, int dirfd, const char *row,
			    struct overlaid_usage *u, struct err *err)
{
	struct strangers s = { .o = o, .dirfd = dirfd, .row = row, .u = u, .err = err };

	return foreach_name(dirfd, count_stranger, &s, err);
}

static int count_root_entry(void *arg, const char *name)
{
	struct counting *c = arg;
	int root_fd = c->o->store->root_fd;
	int r;

	if (strcmp(name, "layers") == 0) {
		r = add_inode(root_fd, name, &c->u->other, c->err);
		return r < 0 ? r : add_inode(root_fd, "layers/sha256", &c->u->other, c->err);
	}
	if (strcmp(name, "snapshots") == 0)
		return add_inode(root_fd, name, &c->u->other, c->err);
	if (strcmp(name, "blobs") == 0)
		return add_tree(root_fd, name, &c->u->blobs, c->err);
	if (strncmp(name, "graph.db", 8) == 0)
		return add_tree(root_fd, name, &c->u->database, c->err);
	if (strcmp(name, "staging") == 0 || strcmp(name, "partial") == 0 ||
	    strcmp(name, "trash") == 0)
		return add_tree(root_fd, name, &c->u->transient, c->err);
	return add_tree(root_fd, name, &c->u->other, c->err);
}

static int count_root(struct counting *c)
{
	int r = add_inode(c->o->store->root_fd, "", &c->u->other, c->err);

	return r < 0 ? r : foreach_name(c->o->store->root_fd, count_root_entry, c, c->err);
}

static int count_images(struct overlaid *o, struct overlaid_usage *u, struct err *err)
{
	int64_t images = 0, active = 0;
	int r = db_get_int(o->store->db, &images, err, "SELECT count(*) FROM image", "");

	if (r >= 0)
		r = db_get_int(o->store->db, &active, err,
			       "SELECT count(DISTINCT image) FROM snapshot WHERE image IS NOT NULL",
			       "");
	u->image_count = (size_t)images;
	u->images_active = (size_t)active;
	return r;
}

int overlaid_usage(struct overlaid *o, struct overlaid_usage *ret, struct err *err)
{
	struct overlaid_usage u = { 0 };
	struct counting c = { .o = o, .u = &u, .err = err };
	int r = count_images(o, &u, err);

	if (r >= 0)
		r = count_layers(o, &u, err);
	if (r >= 0)
		r = snapshot_list(o->store, NULL, 0, count_snapshot, &c, err);
	if (r >= 0)
		r = keyed_list(o->store, NULL, count_keyed, &c, err);
	if (r >= 0)
		r = count_unrecorded(o, o->store->layers_fd,
				     "SELECT 1 FROM layer WHERE key = 'sha256:' || ?", &u, err);
	if (r >= 0)
		r = count_unrecorded(o, o->store->snapshots_fd,
				     "SELECT 1 FROM snapshot WHERE uid = ?1"
				     " UNION ALL SELECT 1 FROM keyed WHERE uid = ?1",
				     &u, err);
	if (r >= 0)
		r = count_root(&c);
	if (r < 0)
		return r;
	u.total = u.layers + u.containers + u.blobs + u.database + u.transient + u.other;
	*ret = u;
	return 0;
}
