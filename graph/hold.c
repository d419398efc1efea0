/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hold: a chain of layers that are here is kept here for a while, and gets the patch that a mount of it needs.
 *
 * An image's load makes the patch of its whole chain (graph/ingest.h). A runtime that takes layers one by one
 * wants a snapshot of every chain on the way too, and of some such an image may exist on its own.
 */
#include <string.h>

#include "driver/base/fd.h"
#include "driver/patch.h"
#include "graph/handle.h"
#include "graph/stacked.h"
#include "graph/store/chain.h"
#include "graph/store/db.h"
#include "graph/store/layer.h"

struct overlaid_hold {
	struct overlaid *handle;
	struct staging staging;
	int64_t lease;
	int64_t top; /* the chain's topmost layer */
};

void overlaid_hold_release(struct overlaid_hold *hold)
{
	if (!hold)
		return;
	/* What fails here gc does. */
	if (hold->lease)
		(void)lease_end(hold->handle->store, hold->lease, hold->staging.name, NULL);
	staging_release(&hold->staging);
	(void)trash_sweep(hold->handle->store, NULL);
	free(hold);
}

static void hold_freep(struct overlaid_hold **hold)
{
	overlaid_hold_release(*hold);
}

/* The layers of a chain, topmost first. */
#define CHAIN_LAYERS                                                                  \
	"WITH RECURSIVE c(chain_id, parent, layer, depth) AS ("                       \
	" SELECT chain_id, parent, layer, 0 FROM chain WHERE chain_id = ?1 UNION ALL" \
	" SELECT p.chain_id, p.parent, p.layer, depth + 1 FROM chain p JOIN c ON p.chain_id = c.parent)"

/* Most chains have no directory that is only implied, and so no need of a patch. */
static int may_need_patch(struct store *store, const char *chain_id, struct err *err)
{
	int64_t one;

	return db_get_int(store->db, &one, err,
			  CHAIN_LAYERS " SELECT 1 FROM c JOIN layer l ON l.id = c.layer"
				       " WHERE l.implied IS NULL OR l.implied > 0 LIMIT 1",
			  "s", chain_id);
}

/* In a transaction. -ESTALE, without words: the chain is no longer here, or has another layer on top, which the
 * patch (0: none) is not of. */
static int know_patch(struct store *store, const char *chain_id, int64_t top, int64_t patch,
		      struct err *err)
{
	int r = db_run(
		store->db, err,
		"INSERT INTO chain_patch(chain_id, layer) SELECT chain_id, nullif(?, 0) FROM chain"
		" WHERE chain_id = ? AND chain.layer = ?"
		" ON CONFLICT(chain_id) DO UPDATE SET layer = excluded.layer",
		"isi", patch, chain_id, top);

	return r >= 0 && db_changes(store->db) == 0 ? -ESTALE : r;
}

static int needs_no_patch(struct store *store, const char *chain_id, int64_t top, struct err *err)
{
	auto_transaction struct db_transaction t = DB_TRANSACTION_INIT;
	int r = db_begin(store->db, &t, err);

	if (r >= 0)
		r = know_patch(store, chain_id, top, 0, err);
	return r < 0 ? r : db_commit(&t, err);
}

static int lease_chain(struct overlaid_hold *hold, const char *chain_id, struct layer_list *ret,
		       struct err *err)
{
	struct db *db = hold->handle->store->db;
	auto_transaction struct db_transaction t = DB_TRANSACTION_INIT;
	auto_query struct db_query q = DB_QUERY_INIT;
	int64_t lease = 0;
	int r = db_begin(db, &t, err);

	if (r >= 0)
		r = lease_make(hold->handle->store, hold->staging.name, &lease, err);
	if (r >= 0)
		r = db_run(db, err,
			   CHAIN_LAYERS " INSERT INTO lease_layer(lease, layer)"
					" SELECT DISTINCT ?2, layer FROM c",
			   "si", chain_id, lease);
	if (r >= 0)
		r = db_query(db, &q, err,
			     CHAIN_LAYERS
			     " SELECT l.id, l.key FROM c JOIN layer l ON l.id = c.layer"
			     " ORDER BY c.depth",
			     "s", chain_id);
	while (r >= 0 && (r = db_step(&q, err)) > 0)
		r = layer_list_add(ret, db_int(&q, 0), db_text(&q, 1), err);
	db_query_release(&q);
	if (r >= 0 && ret->count == 0)
		return -ESTALE;
	if (r >= 0)
		r = db_commit(&t, err);
	if (r < 0)
		return r;
	hold->lease = lease;
	hold->top = ret->items[0].id;
	return 0;
}

/* ---- the patch ---- */

static int write_patch(struct overlaid_hold *hold, struct stack *stack, const struct buf *paths,
		       const struct layer_facts *facts, struct apply_result *applied,
		       struct err *err)
{
	auto_close int dir_fd = open_or_make_dir_at(hold->staging.fd, digest_hex(facts->key), 0700,
						    err);
	auto_close int tree_fd = dir_fd < 0 ? dir_fd :
					      open_or_make_dir_at(dir_fd, "diff", 0755, err);
	int r = tree_fd < 0 ? tree_fd : patch_write(stack, paths, tree_fd, applied, err);

	if (r >= 0)
		r = layer_write_json(dir_fd, facts, err);
	return r < 0 ? r : store_sync(hold->handle->store, err);
}

/* Its row is there, or, where it is in place, is made, and the lease has it: 1. 0: it is not here. Under the patch's
 * lock, and in one transaction, as its last holder needs no lock to let it go. */
static int record_patch(struct overlaid_hold *hold, const struct layer_facts *facts, bool placed,
			struct err *err)
{
	struct store *store = hold->handle->store;
	auto_transaction struct db_transaction t = DB_TRANSACTION_INIT;
	int64_t row;
	int r = db_begin(store->db, &t, err);

	if (r >= 0)
		r = layer_find(store, facts->key, &row, err);
	if (r == 0 && !placed)
		return 0;
	if (r == 0)
		r = layer_insert(store, facts, &row, err);
	if (r >= 0)
		r = lease_hold(store, hold->lease, row, err);
	if (r >= 0)
		r = know_patch(store, facts->chain_id->text, hold->top, row, err);
	if (r >= 0)
		r = db_commit(&t, err);
	return r < 0 ? r : 1;
}

static int make_patch(struct overlaid_hold *hold, struct stack *stack, const struct buf *paths,
		      const struct digest *chain_id, struct err *err)
{
	struct store *store = hold->handle->store;
	auto_locks struct store_locks locks = STORE_LOCKS_INIT;
	struct apply_result applied = { 0 };
	struct digest key;
	struct layer_facts facts = { .kind = LAYER_PATCH,
				     .key = &key,
				     .chain_id = chain_id,
				     .applied = &applied,
				     .source = "" };
	int r = chain_patch_key(chain_id, &key, err);

	if (r >= 0)
		r = store_locks_open(store, &locks, err);
	if (r >= 0)
		r = store_lock_object(&locks, digest_hex(&key), STORE_LOCK_WAIT, err);
	if (r >= 0)
		r = record_patch(hold, &facts, false, err);
	if (r == 0) {
		r = write_patch(hold, stack, paths, &facts, &applied, err);
		if (r >= 0)
			r = layer_publish(store, hold->staging.fd, &key, err);
		if (r >= 0)
			r = store_layers_moved(store, err);
		if (r >= 0)
			r = record_patch(hold, &facts, true, err);
		/* Nobody's, and its lock is ours (invariant 3). */
		if (r < 0)
			(void)trash_move(store, store->layers_fd, digest_hex(&key), NULL);
	}
	apply_result_release(&applied);
	return r < 0 ? r : 0;
}

static int find_patch(struct overlaid_hold *hold, const char *chain_id, struct err *err)
{
	auto_layer_list struct layer_list list = { 0 };
	auto_buf struct buf paths = { .max = (size_t)1 << 30 };
	auto_stacked struct stacked chain = { 0 };
	struct digest id;
	int r = digest_parse(chain_id, &id, err);

	if (r >= 0)
		r = staging_make(hold->handle->store, &hold->staging, err);
	if (r >= 0)
		r = lease_chain(hold, chain_id, &list, err);
	if (r >= 0)
		r = stacked_open_layers(hold->handle->store, &list, &chain, err);
	if (r >= 0)
		r = patch_find(chain.stack, &paths, err);
	if (r >= 0 && !paths.len)
		return needs_no_patch(hold->handle->store, chain_id, hold->top, err);
	return r < 0 ? r : make_patch(hold, chain.stack, &paths, &id, err);
}

int overlaid_chain_hold(struct overlaid *o, const char *chain_id, struct overlaid_hold **ret_hold,
			struct err *err)
{
	AUTO(hold_freep) struct overlaid_hold *hold = NULL;
	struct store *store = o->store;
	int64_t top = 0; /* 0: its patch is known */
	int r = db_get_int(
		store->db, &top, err,
		"SELECT CASE WHEN EXISTS(SELECT 1 FROM chain_patch p WHERE p.chain_id = chain.chain_id)"
		" THEN 0 ELSE layer END FROM chain WHERE chain_id = ?",
		"s", chain_id);

	if (r > 0 && top) {
		r = may_need_patch(store, chain_id, err);
		if (r == 0)
			r = needs_no_patch(store, chain_id, top, err);
		else if (r > 0) {
			hold = calloc(1, sizeof(*hold));
			if (!hold)
				return fail_oom(err);
			*hold = (struct overlaid_hold){ .handle = o, .staging = STAGING_INIT };
			r = find_patch(hold, chain_id, err);
		}
		r = r == -ESTALE ? 0 : r < 0 ? r : 1;
	}
	if (r > 0)
		*ret_hold = take_ptr(hold);
	return r;
}
