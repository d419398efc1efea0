/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fill: a tar that comes once, and of which nobody knows the digest before its end, becomes the content of a
 * runtime's snapshot.
 *
 * It is unpacked with the parent at hand, for the few layers that need it (driver/apply.h, `lone`), and what it is
 * is looked at after: a chain that is here is used; else the tree becomes a layer of the store, plain or bound, for
 * all who want it; or, where it is bound to what has no chainID, one that only this snapshot has.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "driver/base/fd.h"
#include "driver/base/pool.h"
#include "driver/idmap.h"
#include "driver/probe.h"
#include "driver/tree.h"
#include "driver/unpack.h"
#include "graph/handle.h"
#include "graph/stacked.h"
#include "graph/store/chain.h"
#include "graph/store/db.h"
#include "graph/store/flush.h"
#include "graph/store/keyed.h"
#include "graph/view.h"

#define UNPACKED "layer" /* in staging, until its key is known */

struct filling {
	struct overlaid *o;
	const char *scope;
	overlaid_read_fn *read;
	void *arg;
	struct staging staging;
	struct store_locks locks;
	struct idmap map; /* no ranges: none */
	struct keyed k, parent;
	struct stacked beneath;
	struct apply_result applied;
	struct layer_facts facts;
	struct digest key, chain_id;
	bool chained; /* the parent's chainID is known, of layers that are here, and so this one */
	uint64_t bytes;
};

static void filling_release(struct filling *f)
{
	store_locks_release(&f->locks);
	staging_release(&f->staging);
	idmap_release(&f->map);
	stacked_release(&f->beneath);
	apply_result_release(&f->applied);
	keyed_release(&f->k);
	keyed_release(&f->parent);
}

/* ---- unpacking ---- */

static int find_any(void *arg, const char *name)
{
	return 1;
}

/* What was written to it would be lost. */
static int check_empty(struct filling *f, struct err *err)
{
	auto_close int dir_fd = keyed_open_dir(f->o->store, &f->k, NULL, err);
	auto_close int diff_fd = dir_fd < 0 ? dir_fd : open_dir_at(dir_fd, "diff", err);
	int r = diff_fd < 0 ? diff_fd : foreach_name(diff_fd, find_any, NULL, err);

	return r > 0 ? fail(err, -ENOTEMPTY, "snapshot \"%.300s\" was written to already",
			    f->k.name) :
		       r;
}

static bool are_layers(const struct keyed_trees *trees)
{
	for (size_t i = 0; i < trees->count; i++)
		if (trees->list[i].own)
			return false;
	return true;
}

static void swap_ranges(struct idmap_range *ranges, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		uint32_t inside = ranges[i].inside;

		ranges[i].inside = ranges[i].outside;
		ranges[i].outside = inside;
	}
}

/* What was written to a snapshot has the ids outside; what is taken from there is to have those inside. */
static int open_reverse(const struct overlaid_maps *maps, struct err *err)
{
	auto_idmap struct idmap map = { 0 };
	int r = view_maps(maps, &map, err);

	if (r < 0)
		return r;
	swap_ranges(map.uids, map.uid_count);
	swap_ranges(map.gids, map.gid_count);
	return idmap_userns(&map, err);
}

static int open_beneath(struct filling *f, const struct overlaid_maps *maps, struct err *err)
{
	auto_keyed_trees struct keyed_trees trees = { 0 };
	auto_close int userns_fd = -EBADF;
	struct store *store = f->o->store;
	int r = keyed_find(store, f->scope, f->k.parent_name, &f->parent, err);

	if (r >= 0)
		r = keyed_trees(store, f->k.parent, &trees, err);
	if (r < 0)
		return r;
	f->chained = f->parent.chain_id[0] && are_layers(&trees);
	if (f->map.uid_count && !are_layers(&trees)) {
		userns_fd = open_reverse(maps, err);
		if (userns_fd < 0)
			return userns_fd;
	}
	return stacked_open_trees(store, &trees, userns_fd, &f->beneath, err);
}

static int find_place(struct filling *f, const char *key, const struct overlaid_maps *maps,
		      struct err *err)
{
	struct store *store = f->o->store;
	int r = view_maps(maps, &f->map, err);

	if (r >= 0)
		r = keyed_find(store, f->scope, key, &f->k, err);

	if (r >= 0 && f->k.kind != OVERLAID_SNAPSHOT_ACTIVE)
		r = fail(err, -EBADFD, "snapshot \"%.300s\" has its content already", key);
	if (r >= 0)
		r = check_empty(f, err);
	f->chained = !f->k.parent;
	return r < 0 || !f->k.parent ? r : open_beneath(f, maps, err);
}

static int unpack(struct filling *f, struct err *err)
{
	struct apply_options options = { .parent = f->beneath.stack,
					 .lone = f->chained,
					 .limits = f->o->limits.layer,
					 .threads = pool_cpus() > 1 };
	struct unpack_options how = { .unconfined = handle_is_unconfined() };
	const struct unpack_input input = {
		.fd = -EBADF, .size = -1, .read = f->read, .arg = f->arg, .grown_fd = -EBADF
	};
	auto_unpacker struct unpacker *unpacker = NULL;
	struct flush flush;
	int r = probe_xattrs(f->o->store->staging_fd, &how.xattrs, err);

	options.xattrs = how.xattrs;
	if (r >= 0)
		r = unpacker_new(f->staging.fd, options.parent, &how, &unpacker, err);
	if (r < 0)
		return r;
	flush_start(f->o->store, &flush);
	r = unpack_layer(unpacker, UNPACKED, &input, &options, &f->applied, err);
	flush_stop(&flush);
	/* Nothing is beneath. */
	return r == APPLY_NEEDS_PARENT ? -EBADMSG : r;
}

static int unpack_in_staging(struct filling *f, struct err *err)
{
	int r = staging_make(f->o->store, &f->staging, err);
	auto_close int dir_fd = r < 0 ? r : open_or_make_dir_at(f->staging.fd, UNPACKED, 0700, err);
	auto_close int tree_fd = dir_fd < 0 ? dir_fd :
					      open_or_make_dir_at(dir_fd, "diff", 0755, err);

	r = tree_fd < 0 ? tree_fd : unpack(f, err);
	return r < 0 ? r : tree_content_bytes(dir_fd, "diff", &f->bytes, err);
}

/* Whoever runs in a user namespace could not see the others. */
static int check_ids(const struct filling *f, const struct overlaid_maps *maps, struct err *err)
{
	const struct idmap *map = &f->map;

	if (map->uid_count && !idmap_covers(map->uids, map->uid_count, f->applied.max_uid))
		return fail(err, -ERANGE,
			    "a file of user %u, and \"%.100s\" does not map all up to it",
			    f->applied.max_uid, maps->uids);
	if (map->gid_count && !idmap_covers(map->gids, map->gid_count, f->applied.max_gid))
		return fail(err, -ERANGE,
			    "a file of group %u, and \"%.100s\" does not map all up to it",
			    f->applied.max_gid, maps->gids);
	return 0;
}

/* ---- what it is ---- */

static int random_key(struct digest *ret, struct err *err)
{
	char text[DIGEST_TEXT_MAX] = "sha256:";

	random_hex(text + strlen(text), STORE_HEX_LEN);
	return digest_parse(text, ret, err);
}

static int identify(struct filling *f, struct err *err)
{
	struct digest parent;
	int r = f->k.parent && f->chained ? digest_parse(f->parent.chain_id, &parent, err) : 0;

	if (r >= 0 && f->chained)
		r = chain_id_next(f->k.parent ? &parent : NULL, &f->applied.diff_id, &f->chain_id,
				  err);
	if (r >= 0 && !f->applied.bound)
		f->key = f->applied.diff_id;
	else if (r >= 0 && f->chained)
		f->key = f->chain_id;
	else if (r >= 0)
		r = random_key(&f->key, err);
	f->facts = (struct layer_facts){ .kind = f->applied.bound ? LAYER_BOUND : LAYER_PLAIN,
					 .key = &f->key,
					 .diff_id = &f->applied.diff_id,
					 .chain_id = f->chained ? &f->chain_id : &f->key,
					 .applied = &f->applied,
					 .source = f->scope };
	return r;
}

/* Invariants 1 and 2. Under the layer's lock. */
static int publish(struct filling *f, struct err *err)
{
	struct store *store = f->o->store;
	auto_close int dir_fd = open_dir_at(f->staging.fd, UNPACKED, err);
	int r = dir_fd < 0 ? dir_fd : layer_write_json(dir_fd, &f->facts, err);

	if (r >= 0 && renameat(f->staging.fd, UNPACKED, f->staging.fd, digest_hex(&f->key)) < 0)
		r = fail(err, -errno, "name the layer: %m");
	if (r >= 0)
		r = store_sync(store, err);
	if (r >= 0)
		r = layer_publish(store, f->staging.fd, &f->key, err);
	return r < 0 ? r : store_layers_moved(store, err);
}

/* ---- making it known ---- */

/* The parent's chain goes with the layer that it has, which may be another one than the parent's: it is known
 * again, of those. */
static int record_parents(struct filling *f, struct err *err)
{
	return db_run(f->o->store->db, err,
		      "WITH RECURSIVE up(id, parent, depth) AS ("
		      " SELECT id, parent, 0 FROM keyed WHERE id = ? UNION ALL"
		      " SELECT k.id, k.parent, depth + 1 FROM keyed k JOIN up ON k.id = up.parent)"
		      " INSERT INTO chain(chain_id, parent, layer)"
		      " SELECT k.chain_id, p.chain_id, e.layer FROM up"
		      " JOIN keyed k ON k.id = up.id LEFT JOIN keyed p ON p.id = k.parent"
		      " JOIN keyed_layer e ON e.keyed = k.id AND e.position = 0"
		      " WHERE k.chain_id IS NOT NULL ORDER BY depth DESC ON CONFLICT DO NOTHING",
		      "i", f->parent.id);
}

/* Where no layer down to the lowest implies a directory, the chain needs no patch. */
static int record_chain(struct filling *f, int64_t layer, struct err *err)
{
	struct db *db = f->o->store->db;
	int r = f->k.parent ? record_parents(f, err) : 0;

	if (r >= 0)
		r = db_run(db, err,
			   "INSERT INTO chain(chain_id, parent, layer) VALUES(?, nullif(?, ''), ?)"
			   " ON CONFLICT DO NOTHING",
			   "ssi", f->chain_id.text, f->parent.chain_id, layer);

	return r < 0 || f->applied.implied.len ?
		       r :
		       db_run(db, err,
			      "INSERT INTO chain_patch(chain_id, layer) SELECT ?1, NULL WHERE ?2 = ''"
			      " OR EXISTS(SELECT 1 FROM chain_patch WHERE chain_id = ?2 AND layer IS NULL)"
			      " ON CONFLICT DO NOTHING",
			      "ss", f->chain_id.text, f->parent.chain_id);
}

/* `row` 0: it is in place, and has no row. Where somebody else's layer is what the chain has, ours goes again. */
static int make_known(struct filling *f, int64_t row, struct err *err)
{
	auto_layer_list struct layer_list ours = { 0 };
	struct store *store = f->o->store;
	int r = row ? 0 : layer_insert(store, &f->facts, &row, err);

	if (r >= 0 && f->chained)
		r = record_chain(f, row, err);
	if (r >= 0)
		r = keyed_fill(store, &f->k, f->chained ? f->chain_id.text : NULL, row, err);
	if (r >= 0)
		r = layer_list_add(&ours, row, f->key.text, err);
	return r < 0 ? r : layers_collect(store, &ours, NULL, err);
}

/* 1 where the layer has a row, and is the content now. */
static int use_layer(struct filling *f, struct err *err)
{
	auto_transaction struct db_transaction t = DB_TRANSACTION_INIT;
	int64_t row;
	int r = db_begin(f->o->store->db, &t, err);

	if (r >= 0)
		r = layer_find(f->o->store, &f->key, &row, err);
	if (r <= 0)
		return r;
	r = make_known(f, row, err);
	if (r >= 0)
		r = db_commit(&t, err);
	return r < 0 ? r : 1;
}

static int add_layer(struct filling *f, struct err *err)
{
	struct store *store = f->o->store;
	auto_transaction struct db_transaction t = DB_TRANSACTION_INIT;
	int r = publish(f, err);

	if (r >= 0)
		r = db_begin(store->db, &t, err);
	if (r >= 0)
		r = make_known(f, 0, err);
	if (r >= 0)
		r = db_commit(&t, err);
	/* Nobody's, and its lock is ours (invariant 3). */
	if (r < 0)
		(void)trash_move(store, store->layers_fd, digest_hex(&f->key), NULL);
	return r;
}

/* The chain is not here: its topmost layer comes into the store. */
static int bring(struct filling *f, struct err *err)
{
	int r = store_locks_open(f->o->store, &f->locks, err);

	if (r >= 0)
		r = store_lock_object(&f->locks, digest_hex(&f->key), STORE_LOCK_WAIT, err);
	if (r >= 0)
		r = use_layer(f, err);
	if (r == 0)
		r = add_layer(f, err);
	store_locks_release(&f->locks);
	return r;
}

/* The patch of a chain that is held may be known later than its layers. */
static int put_patch(struct filling *f, struct err *err)
{
	struct store *store = f->o->store;
	auto_transaction struct db_transaction t = DB_TRANSACTION_INIT;
	struct overlaid_hold *hold = NULL;
	int64_t one;
	int r = db_get_int(store->db, &one, err,
			   "SELECT 1 FROM chain_patch WHERE chain_id = ? AND layer IS NULL", "s",
			   f->chain_id.text);

	if (r != 0)
		return r;
	r = overlaid_chain_hold(f->o, f->chain_id.text, &hold, err);
	if (r >= 0)
		r = db_begin(store->db, &t, err);
	if (r >= 0)
		r = keyed_patch(store, &f->k, f->chain_id.text, err);
	if (r >= 0)
		r = db_commit(&t, err);
	db_rollback(&t);
	overlaid_hold_release(hold);
	return r;
}

/* 1 where the chain is here, and is the content now. */
static int use_chain(struct filling *f, struct err *err)
{
	struct store *store = f->o->store;
	auto_transaction struct db_transaction t = DB_TRANSACTION_INIT;
	struct overlaid_hold *hold = NULL;
	int r = overlaid_chain_hold(f->o, f->chain_id.text, &hold, err);

	if (r <= 0)
		return r;
	r = db_begin(store->db, &t, err);
	if (r >= 0)
		r = keyed_fill(store, &f->k, f->chain_id.text, 0, err);
	if (r >= 0)
		r = db_commit(&t, err);
	db_rollback(&t);
	overlaid_hold_release(hold);
	return r == -ESTALE ? 0 : r < 0 ? r : 1;
}

int overlaid_snapshot_fill(struct overlaid *o, const char *scope, const char *key,
			   const struct overlaid_maps *maps, overlaid_read_fn *read, void *arg,
			   uint64_t *ret_bytes, struct err *err)
{
	AUTO(filling_release)
	struct filling f = { .o = o,
			     .scope = scope,
			     .read = read,
			     .arg = arg,
			     .staging = STAGING_INIT,
			     .locks = STORE_LOCKS_INIT };
	int r = find_place(&f, key, maps, err);

	if (r >= 0)
		r = unpack_in_staging(&f, err);
	if (r >= 0)
		r = check_ids(&f, maps, err);
	if (r >= 0)
		r = identify(&f, err);
	if (r >= 0)
		r = f.chained ? use_chain(&f, err) : 0;
	if (r == 0) {
		r = bring(&f, err);
		if (r >= 0 && f.chained)
			r = put_patch(&f, err);
	}
	if (r < 0)
		return r;
	*ret_bytes = f.bytes;
	return 0;
}
