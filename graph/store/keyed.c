/* SPDX-License-Identifier: Apache-2.0 */
#include "graph/store/keyed.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "driver/base/clock.h"
#include "driver/base/fd.h"
#include "driver/base/json.h"
#include "graph/store/db.h"

static const char *const kinds[] = {
	[OVERLAID_SNAPSHOT_VIEW] = "view",
	[OVERLAID_SNAPSHOT_ACTIVE] = "active",
	[OVERLAID_SNAPSHOT_COMMITTED] = "committed",
};

/* ---- reading ---- */

void keyed_release(struct keyed *k)
{
	free(k->name);
	free(k->parent_name);
	free(k->labels);
	k->name = k->parent_name = k->labels = NULL;
}

#define KEYED_SELECT(from)                                                                  \
	"SELECT k.id, k.parent, k.created, k.updated, coalesce(k.disk_bytes, -1),"          \
	" coalesce(k.inodes, -1), k.kind, k.uid, k.chain_id, k.name, p.name, k.labels FROM" \
	" " from " LEFT JOIN keyed p ON p.id = k.parent"

static int keyed_read(const struct db_query *q, struct keyed *ret, struct err *err)
{
	struct keyed k = { .id = db_int(q, 0),
			   .parent = db_int(q, 1),
			   .created_ns = db_int(q, 2),
			   .updated_ns = db_int(q, 3),
			   .disk_bytes = db_int(q, 4),
			   .inodes = db_int(q, 5) };

	for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
		if (kinds[i] && strcmp(kinds[i], db_text(q, 6)) == 0)
			k.kind = (enum overlaid_snapshot_kind)i;
	(void)snprintf(k.uid, sizeof(k.uid), "%s", db_text(q, 7));
	(void)snprintf(k.chain_id, sizeof(k.chain_id), "%s", db_text(q, 8));
	k.name = strdup(db_text(q, 9));
	k.parent_name = strdup(db_text(q, 10));
	k.labels = strdup(db_text(q, 11));
	if (!k.name || !k.parent_name || !k.labels) {
		keyed_release(&k);
		return fail_oom(err);
	}
	*ret = k;
	return 0;
}

/* 1 and the row, or 0. */
static int keyed_look(struct store *store, const char *scope, const char *name, struct keyed *ret,
		      struct err *err)
{
	auto_query struct db_query q = DB_QUERY_INIT;
	int r = db_query(store->db, &q, err,
			 KEYED_SELECT("keyed k") " WHERE k.scope = ? AND k.name = ?", "ss", scope,
			 name);

	if (r >= 0)
		r = db_step(&q, err);
	if (r > 0)
		r = keyed_read(&q, ret, err) < 0 ? -ENOMEM : 1;
	return r;
}

int keyed_find(struct store *store, const char *scope, const char *name, struct keyed *ret,
	       struct err *err)
{
	int r = keyed_look(store, scope, name, ret, err);

	return r == 0 ? fail(err, -ENOENT, "snapshot \"%.300s\"", name) : r < 0 ? r : 0;
}

/* A parent may be younger than its children, which got it with their commit. */
#define FROM_THE_ROOTS                                                                 \
	"WITH RECURSIVE t(id, depth) AS ("                                             \
	" SELECT id, 0 FROM keyed WHERE parent IS NULL AND (?1 IS NULL OR scope = ?1)" \
	" UNION ALL SELECT c.id, depth + 1 FROM t JOIN keyed c ON c.parent = t.id) "

int keyed_list(struct store *store, const char *scope, keyed_fn *fn, void *arg, struct err *err)
{
	auto_query struct db_query q = DB_QUERY_INIT;
	int r = db_query(store->db, &q, err,
			 FROM_THE_ROOTS KEYED_SELECT(
				 "t JOIN keyed k ON k.id = t.id") " ORDER BY depth, k.id",
			 "s", scope);

	while (r >= 0 && (r = db_step(&q, err)) > 0) {
		auto_keyed struct keyed k = { 0 };

		r = keyed_read(&q, &k, err);
		if (r >= 0)
			r = fn(arg, &k);
		if (r != 0)
			return r;
	}
	return r;
}

/* ---- making ---- */

static int check_free(struct store *store, const char *scope, const char *name, struct err *err)
{
	int64_t one;
	int r = db_get_int(store->db, &one, err, "SELECT 1 FROM keyed WHERE scope = ? AND name = ?",
			   "ss", scope, name);

	return r > 0 ? fail(err, -EEXIST, "snapshot \"%.300s\"", name) : r;
}

/* A committed one, by name; "" is none, and leaves *ret alone. `wrong` is what another kind is. */
static int find_parent(struct store *store, const char *scope, const char *name, int wrong,
		       struct keyed *ret, struct err *err)
{
	auto_keyed struct keyed parent = { 0 };
	int r = name[0] ? keyed_look(store, scope, name, &parent, err) : 0;

	if (r < 0 || !name[0])
		return r;
	if (r == 0)
		return fail(err, -ENOENT, "parent \"%.300s\"", name);
	if (parent.kind != OVERLAID_SNAPSHOT_COMMITTED)
		return fail(err, wrong, "parent \"%.300s\" is not committed", name);
	*ret = parent;
	parent = (struct keyed){ 0 };
	return 0;
}

/* The parent that is to be prepared over: where it is active and may be, it is committed now. */
static int settle_parent(struct store *store, const struct keyed_spec *spec, struct keyed *ret,
			 struct err *err)
{
	int r = spec->settle_parent ?
			db_run(store->db, err,
			       "UPDATE keyed SET kind = 'committed', chain_id = NULL, updated = ?"
			       " WHERE scope = ? AND name = ? AND kind = 'active'",
			       "iss", clock_real_ns(), spec->scope, spec->parent) :
			0;

	return r < 0 ? r : find_parent(store, spec->scope, spec->parent, -EINVAL, ret, err);
}

static int insert(struct store *store, const struct keyed_spec *spec, const char *uid,
		  int64_t parent, int64_t *ret_id, struct err *err)
{
	int64_t now = clock_real_ns();
	int r = db_run(
		store->db, err,
		"INSERT INTO keyed(scope, name, uid, kind, parent, chain_id, labels, created, updated)"
		" VALUES(?, ?, ?, ?, nullif(?, 0), ?, ?, ?, ?)",
		"ssssissii", spec->scope, spec->name, uid, kinds[spec->kind], parent,
		spec->chain_id, spec->labels, now, now);

	if (r >= 0)
		*ret_id = db_last_id(store->db);
	return r;
}

static int prepare(struct store *store, const struct keyed_spec *spec, struct keyed *k,
		   struct store_locks *locks, struct err *err)
{
	auto_transaction struct db_transaction t = DB_TRANSACTION_INIT;
	auto_keyed struct keyed parent = { 0 };
	int r = db_begin(store->db, &t, err);

	if (r >= 0)
		r = check_free(store, spec->scope, spec->name, err);
	if (r >= 0)
		r = settle_parent(store, spec, &parent, err);
	if (r >= 0)
		r = insert(store, spec, k->uid, parent.id, &k->id, err);
	k->parent = parent.id;
	if (r >= 0 && spec->kind == OVERLAID_SNAPSHOT_ACTIVE) {
		int fd = keyed_open_dir(store, k, locks, err);

		if (fd >= 0)
			auto_close_fn(&fd);
		r = fd < 0 ? fd : 0;
	}
	if (r >= 0 && spec->made)
		r = spec->made(spec->made_arg, k, err);
	return r < 0 ? r : db_commit(&t, err);
}

/* Where locks are taken that are to be held until what is done now is committed. */
static int commit_locks(struct store *store, struct store_locks *own, struct store_locks **ret,
			struct err *err)
{
	*ret = store->batch ? &store->batch_locks : own;
	return (*ret)->fd < 0 ? store_locks_open(store, *ret, err) : 0;
}

int keyed_prepare(struct store *store, const struct keyed_spec *spec, struct err *err)
{
	auto_locks struct store_locks own = STORE_LOCKS_INIT;
	struct store_locks *locks;
	struct keyed k = { .kind = spec->kind };
	int r = commit_locks(store, &own, &locks, err);

	/* A new number: nobody else has its lock for long. In a batch the writer's lock is ours already, and
	 * nobody waits while holding that. */
	do {
		random_hex(k.uid, STORE_HEX_LEN);
		if (r >= 0)
			r = store_lock_object(locks, k.uid, STORE_LOCK_TRY, err);
	} while (r == -EAGAIN);
	if (r >= 0)
		r = prepare(store, spec, &k, locks, err);
	if (r < 0)
		(void)trash_move(store, store->snapshots_fd, k.uid, NULL);
	return r;
}

/* ---- content ---- */

static int hold_layer(struct store *store, int64_t keyed, int64_t position, int64_t layer,
		      struct err *err)
{
	return db_run(store->db, err,
		      "INSERT INTO keyed_layer(keyed, position, layer) VALUES(?, ?, ?)", "iii",
		      keyed, position, layer);
}

/* A chain's topmost layer and its patch. */
struct top {
	char parent[DIGEST_TEXT_MAX]; /* "": none */
	int64_t layer, patch;	      /* 0: none */
	bool patch_known;
};

/* 1 where the chain is here. */
static int find_chain(struct store *store, const char *chain_id, struct top *ret, struct err *err)
{
	auto_query struct db_query q = DB_QUERY_INIT;
	int r = db_query(store->db, &q, err,
			 "SELECT c.parent, c.layer, p.layer, p.chain_id IS NOT NULL FROM chain c"
			 " LEFT JOIN chain_patch p ON p.chain_id = c.chain_id WHERE c.chain_id = ?",
			 "s", chain_id);

	if (r >= 0)
		r = db_step(&q, err);
	if (r <= 0)
		return r;
	(void)snprintf(ret->parent, sizeof(ret->parent), "%s", db_text(&q, 0));
	ret->layer = db_int(&q, 1);
	ret->patch = db_int(&q, 2);
	ret->patch_known = db_int(&q, 3);
	return 1;
}

static int hold_top(struct store *store, int64_t keyed, const struct top *top, struct err *err)
{
	int r = hold_layer(store, keyed, 0, top->layer, err);

	return r < 0 || !top->patch ? r : hold_layer(store, keyed, 1, top->patch, err);
}

static bool has_label(const char *labels, const char *key, const char *value)
{
	auto_json struct json *j = NULL;
	const struct json *label;

	if (json_parse(labels, strlen(labels), KEYED_LABELS_BYTES_MAX, "labels", &j, NULL) < 0)
		return false;
	label = json_get_key(j, key);
	return label && label->type == JSON_STRING && strcmp(label->string, value) == 0;
}

/* 1 where one is there that says what is wanted. */
static int find_shared(struct store *store, const struct keyed_spec *spec, int64_t parent,
		       const char *label, struct err *err)
{
	auto_query struct db_query q = DB_QUERY_INIT;
	int r = db_query(
		store->db, &q, err,
		"SELECT labels FROM keyed WHERE chain_id = ? AND scope = ? AND kind = 'committed'"
		" AND coalesce(parent, 0) = ?",
		"ssi", spec->chain_id, spec->scope, parent);

	while (r >= 0 && (r = db_step(&q, err)) > 0)
		if (has_label(db_text(&q, 0), label, spec->chain_id))
			return 1;
	return r;
}

/* The chainID, or, where that is taken (over another parent of the same content), with a number. */
static int choose_name(struct store *store, const struct keyed_spec *spec,
		       char ret[DIGEST_TEXT_MAX + 24], struct err *err)
{
	int r = -EEXIST;

	for (unsigned int i = 1; r == -EEXIST; i++) {
		(void)snprintf(ret, DIGEST_TEXT_MAX + 24, i > 1 ? "%s-%u" : "%s", spec->chain_id,
			       i);
		r = check_free(store, spec->scope, ret, NULL);
	}
	return r < 0 ? fail(err, r, "look for a name for %s", spec->chain_id) : 0;
}

int keyed_share(struct store *store, const struct keyed_spec *spec, const char *label,
		struct err *err)
{
	auto_transaction struct db_transaction t = DB_TRANSACTION_INIT;
	auto_keyed struct keyed parent = { 0 };
	struct keyed_spec shared = *spec;
	char name[DIGEST_TEXT_MAX + 24], uid[STORE_HEX_LEN + 1];
	struct top top = { .layer = 0 };
	int64_t id;
	int r = db_begin(store->db, &t, err);

	if (r >= 0)
		r = find_chain(store, spec->chain_id, &top, err);
	if (r > 0)
		r = top.patch_known;
	if (r > 0 && find_parent(store, spec->scope, spec->parent, -EINVAL, &parent, NULL) < 0)
		r = 0;
	if (r > 0)
		r = strcmp(parent.chain_id, top.parent) == 0 && (!parent.id || parent.chain_id[0]);
	if (r <= 0)
		return r;
	r = find_shared(store, spec, parent.id, label, err);
	if (r != 0)
		return r;
	r = choose_name(store, spec, name, err);
	random_hex(uid, STORE_HEX_LEN);
	shared.name = name;
	shared.kind = OVERLAID_SNAPSHOT_COMMITTED;
	if (r >= 0)
		r = insert(store, &shared, uid, parent.id, &id, err);
	if (r >= 0)
		r = hold_top(store, id, &top, err);
	if (r >= 0)
		r = db_commit(&t, err);
	return r < 0 ? r : 1;
}

/* ---- committing ---- */

int keyed_flush(struct store *store, const char *scope, const char *key, bool keep, struct err *err)
{
	auto_keyed struct keyed k = { 0 };
	auto_close int dir_fd = -EBADF;
	struct top top = { .layer = 0 };
	int r = keyed_find(store, scope, key, &k, err);

	if (r < 0 || k.kind != OVERLAID_SNAPSHOT_ACTIVE)
		return r;
	r = k.chain_id[0] && !keep ? find_chain(store, k.chain_id, &top, err) : 0;
	if (r > 0 && top.patch_known)
		return 0;
	if (r >= 0)
		r = dir_fd = keyed_open_dir(store, &k, NULL, err);
	if (r >= 0 && k.chain_id[0])
		r = layer_write_adopted_json(dir_fd, k.chain_id, err);
	return r < 0 ? r : 1;
}

/* What a runtime unpacked becomes a layer: its directory is renamed, and chain and layer get their rows. The
 * chain beneath is here. The rename is durable before the commit is (invariant 2), and until then the lock of
 * its number is held, so that nobody takes it back. */
static int adopt(struct store *store, const struct keyed *k, const char *parent_chain,
		 struct store_locks *locks, struct err *err)
{
	auto_close int dir_fd = -EBADF;
	struct digest key;
	int64_t layer;
	int r;

	(void)snprintf(key.text, sizeof(key.text), "sha256:%s", k->uid);
	dir_fd = keyed_open_dir(store, k, NULL, err);
	r = dir_fd < 0 ? dir_fd : store_lock_object(locks, k->uid, STORE_LOCK_WAIT, err);
	if (r >= 0)
		r = layer_insert_adopted(store, key.text, &layer, err);
	if (r >= 0)
		r = db_run(store->db, err,
			   "INSERT INTO chain(chain_id, parent, layer) VALUES(?, nullif(?, ''), ?)",
			   "ssi", k->chain_id, parent_chain, layer);
	if (r >= 0)
		r = db_run(store->db, err,
			   "INSERT INTO chain_patch(chain_id, layer) VALUES(?, NULL)", "s",
			   k->chain_id);
	if (r >= 0)
		r = hold_layer(store, k->id, 0, layer, err);
	if (r >= 0)
		r = layer_publish(store, store->snapshots_fd, &key, err);
	if (r >= 0)
		r = store_layers_moved(store, err);
	return r;
}

/* Which content a row that is committed has: edges to a chain's layers, its tree as a layer, or its tree. A tree that
 * is kept is durable (invariant 1): -ESTALE where it was not flushed. */
static int settle_content(struct store *store, struct keyed *k, const struct keyed *parent,
			  bool flushed, struct store_locks *locks, struct err *err)
{
	struct top top = { .layer = 0 };
	int64_t one;
	int r = k->chain_id[0] ? find_chain(store, k->chain_id, &top, err) : 0;

	if (r > 0 && top.patch_known && strcmp(top.parent, parent->chain_id) == 0) {
		r = hold_top(store, k->id, &top, err);
		return r < 0 ? r : trash_record(store, "snapshot", k->uid, err);
	}
	if (r >= 0 && !flushed)
		return fail(err, -ESTALE, "it is kept, and was not written to the disk for that");
	if (r != 0 || !k->chain_id[0])
		return r < 0 ? r : 0;
	/* What was unpacked over nothing has no metadata of directories that its tar only implies: it is not what
	 * the chain is to others, and what is unpacked over it is not either. */
	if (parent->id && !k->parent) {
		k->chain_id[0] = '\0';
		return 0;
	}
	if (parent->id)
		r = db_get_int(store->db, &one, err, "SELECT 1 FROM chain WHERE chain_id = ?", "s",
			       parent->chain_id);
	return r < 0 || (parent->id && r == 0) ? r : adopt(store, k, parent->chain_id, locks, err);
}

/* The parent that it is committed over: its own, or, where it has none, the one that is named. */
static int commit_parent(struct store *store, const struct keyed *k, const struct keyed_spec *spec,
			 struct keyed *ret, struct err *err)
{
	if (k->parent && spec->parent[0] && strcmp(spec->parent, k->parent_name) != 0)
		return fail(err, -EINVAL, "snapshot \"%.300s\" has another parent, \"%.300s\"",
			    k->name, k->parent_name);
	return find_parent(store, spec->scope, k->parent ? k->parent_name : spec->parent, -EBADFD,
			   ret, err);
}

int keyed_commit(struct store *store, const char *key, const struct keyed_spec *spec,
		 struct err *err)
{
	auto_locks struct store_locks own = STORE_LOCKS_INIT;
	auto_transaction struct db_transaction t = DB_TRANSACTION_INIT;
	auto_keyed struct keyed k = { 0 }, parent = { 0 };
	struct store_locks *locks;
	int64_t now = clock_real_ns();
	int r = commit_locks(store, &own, &locks, err);

	if (r >= 0)
		r = db_begin(store->db, &t, err);

	if (r >= 0)
		r = keyed_find(store, spec->scope, key, &k, err);
	if (r >= 0 && k.kind != OVERLAID_SNAPSHOT_ACTIVE)
		r = fail(err, -EBADFD, "snapshot \"%.300s\" is not active", key);
	if (r >= 0)
		r = check_free(store, spec->scope, spec->name, err);
	if (r >= 0)
		r = commit_parent(store, &k, spec, &parent, err);
	if (r < 0)
		return r;
	if (!spec->chain_id || strcmp(spec->chain_id, k.chain_id) != 0 ||
	    (parent.id && !parent.chain_id[0]))
		k.chain_id[0] = '\0';
	r = settle_content(store, &k, &parent, spec->flushed, locks, err);
	if (r >= 0)
		r = db_run(
			store->db, err,
			"UPDATE keyed SET name = ?, kind = 'committed', parent = nullif(?, 0),"
			" chain_id = nullif(?, ''), labels = ?, created = ?, updated = ? WHERE id = ?",
			"sissiii", spec->name, parent.id, k.chain_id, spec->labels, now, now, k.id);
	return r < 0 ? r : db_commit(&t, err);
}

int keyed_fill(struct store *store, const struct keyed *k, const char *chain_id, int64_t layer,
	       struct err *err)
{
	struct top top = { .layer = layer, .patch = 0 };
	int r = chain_id ? find_chain(store, chain_id, &top, err) : 1;

	if (r == 0 || (r > 0 && !layer && !top.patch_known))
		return fail(err, -ESTALE, "the chain %s is gone", chain_id);
	if (r > 0)
		r = db_run(store->db, err,
			   "UPDATE keyed SET kind = 'committed', chain_id = ?, updated = ?"
			   " WHERE id = ? AND uid = ? AND kind = 'active'",
			   "siis", chain_id, clock_real_ns(), k->id, k->uid);
	if (r >= 0 && db_changes(store->db) == 0)
		r = fail(err, -ESTALE, "snapshot \"%.300s\" was removed or committed meanwhile",
			 k->name);
	if (r >= 0)
		r = hold_top(store, k->id, &top, err);
	return r < 0 ? r : trash_record(store, "snapshot", k->uid, err);
}

int keyed_patch(struct store *store, const struct keyed *k, const char *chain_id, struct err *err)
{
	return db_run(store->db, err,
		      "INSERT INTO keyed_layer(keyed, position, layer)"
		      " SELECT ?, 1, layer FROM chain_patch WHERE chain_id = ? AND layer IS NOT NULL"
		      " ON CONFLICT DO NOTHING",
		      "is", k->id, chain_id);
}

/* ---- changing and removing ---- */

int keyed_remove(struct store *store, const char *scope, const char *name, struct err *err)
{
	auto_transaction struct db_transaction t = DB_TRANSACTION_INIT;
	auto_layer_list struct layer_list layers = { 0 };
	auto_keyed struct keyed k = { 0 };
	int64_t one;
	int r = db_begin(store->db, &t, err);

	if (r >= 0)
		r = keyed_find(store, scope, name, &k, err);
	if (r >= 0)
		r = db_get_int(store->db, &one, err, "SELECT 1 FROM keyed WHERE parent = ? LIMIT 1",
			       "i", k.id);
	if (r > 0)
		return fail(err, -ENOTEMPTY, "cannot remove snapshot \"%.300s\": it has children",
			    name);
	if (r >= 0)
		r = layer_list_query(
			store, &layers, err,
			"SELECT layer.id, key FROM keyed_layer JOIN layer ON layer.id = layer"
			" WHERE keyed = ?",
			k.id);
	if (r >= 0)
		r = db_run(store->db, err, "DELETE FROM keyed_layer WHERE keyed = ?", "i", k.id);
	if (r >= 0)
		r = db_run(store->db, err, "DELETE FROM keyed WHERE id = ?", "i", k.id);
	if (r >= 0)
		r = layers_collect(store, &layers, NULL, err);
	if (r >= 0 && k.kind != OVERLAID_SNAPSHOT_VIEW && !layers.count)
		r = trash_record(store, "snapshot", k.uid, err);
	return r < 0 ? r : db_commit(&t, err);
}

int keyed_relabel(struct store *store, const struct keyed *k, const char *labels, struct err *err)
{
	int r = db_run(store->db, err, "UPDATE keyed SET labels = ?, updated = ? WHERE id = ?",
		       "sii", labels, clock_real_ns(), k->id);

	if (r >= 0 && db_changes(store->db) == 0)
		r = fail(err, -ENOENT, "snapshot \"%.300s\"", k->name);
	return r;
}

int keyed_set_usage(struct store *store, const struct keyed *k, uint64_t disk_bytes,
		    uint64_t inodes, struct err *err)
{
	auto_transaction struct db_transaction t = DB_TRANSACTION_INIT;
	int r = db_set_durable(store->db, false, err);

	if (r >= 0)
		r = db_begin(store->db, &t, err);
	if (r >= 0)
		r = db_run(
			store->db, err,
			"UPDATE keyed SET disk_bytes = ?, inodes = ? WHERE id = ? AND kind = 'committed'",
			"iii", (int64_t)disk_bytes, (int64_t)inodes, k->id);
	if (r >= 0)
		r = db_commit(&t, err);
	db_rollback(&t);
	(void)db_set_durable(store->db, true, NULL);
	return r;
}
