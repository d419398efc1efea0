/* SPDX-License-Identifier: Apache-2.0 */
/*
 * layer: rows and directories of layers.
 *
 * A layer's key is the name of its directory and of its lock:
 *
 *	plain	a tar applied by itself		its diffID
 *	bound	a tar applied over the layers	the chainID (OCI image-spec config.md) of those and it
 *		beneath it (driver/apply.h)
 *	patch	the metadata of directories	of the chain's chainID: graph/store/chain.h
 *		that a chain's layers only
 *		imply (driver/patch.h)
 *
 * A chainID of more than one layer is the digest of a text that is no tar, so no two kinds share a key.
 *
 * A layer that a runtime unpacked itself (graph/store/keyed.h) is "adopted": a bound one, whatever lies
 * beneath, whose bytes were not verified here. Its key is a random number, that of the snapshot it was.
 *
 * layer.json, what a layer says of itself, so that the database can be made again from the
 * directories:
 *
 *	{"kind":"plain",			or "bound", "patch"; not there: plain
 *	 "diffID":"sha256:...",			not of a patch
 *	 "adopted":BOOL,			a runtime unpacked it; not there: false
 *	 "chainID":"sha256:...",		bound: of the layers up to it; patch: of those it is on
 *	 "bytes":N, "diskBytes":N, "entries":N, "tarBytes":N,
 *	 "created":SECONDS,
 *	 "blob":{"digest":"sha256:...", "size":N, "mediaType":"..."},	not of a plain tar
 *	 "source":"docker-archive:/path",	where it came from
 *	 "rootImplied":BOOL,			the tar has no entry for "/"
 *	 "implied":N}				nor for so many directories
 *
 * These directories are named in the file "implied" beside it, where there are any: apply_result.implied
 * (driver/apply.h) byte for byte. Layers of schema 1 have "impliedDirectories", an array, in layer.json
 * instead, where bytes that are not UTF-8 are U+FFFD.
 */
#ifndef GRAPH_STORE_LAYER_H
#define GRAPH_STORE_LAYER_H

#include <stddef.h>
#include <stdint.h>

#include "driver/apply.h"
#include "driver/base/digest.h"
#include "graph/store/store.h"

enum layer_kind { LAYER_PLAIN, LAYER_BOUND, LAYER_PATCH };
const char *layer_kind_name(enum layer_kind kind); /* "plain", ... */

/* A list of layers: ids of rows with their keys. */
struct layer_list {
	struct layer_item {
		int64_t id;
		struct digest key;
	} * items;
	size_t count, cap;
};
#define auto_layer_list AUTO(layer_list_release)
int layer_list_add(struct layer_list *list, int64_t id, const char *key, struct err *err);
void layer_list_release(struct layer_list *list);

/* Adds what the query's rows (id, key) give. */
int layer_list_query(struct store *store, struct layer_list *list, struct err *err, const char *sql,
		     int64_t parameter);

/* 1 and the row's id, 0 where there is no such layer. */
int layer_find(struct store *store, const struct digest *key, int64_t *ret_id, struct err *err);

/* What becomes a row and layer.json. */
struct layer_facts {
	enum layer_kind kind;
	const struct digest *key;
	const struct digest *diff_id;  /* of its tar; not of a patch */
	const struct digest *chain_id; /* not of a plain layer */
	const struct apply_result *applied;
	const char *media_type; /* of the blob, NULL or "" where it is not known */
	const char *source;
	bool from_blob; /* the bytes came as a blob with a digest of its own */
};

/* Writes layer.json of a tree that a runtime unpacked, which is the chain's topmost layer. */
int layer_write_adopted_json(int dir_fd, const char *chain_id, struct err *err);

/* Writes layer.json, and "implied" where it is wanted, into the layer's directory in staging. */
int layer_write_json(int dir_fd, const struct layer_facts *facts, struct err *err);

/* Appends the paths of the directories that the layer only implies, as apply_result.implied has them. It
 * has a row and is held. */
int layer_read_implied(struct store *store, const struct digest *key, struct buf *ret,
		       struct err *err);

/* Renames from_fd/<hex> to layers/sha256/<hex>, after moving away what may lie there without a row.
 * Needs the layer's lock; the caller has synced, and fsyncs layers/ after the last one (invariants
 * 1, 2). */
int layer_publish(struct store *store, int from_fd, const struct digest *key, struct err *err);

/* Inserts the row (invariant 2: the directory is durable). In a transaction. */
int layer_insert(struct store *store, const struct layer_facts *facts, int64_t *ret_id,
		 struct err *err);

/* Inserts the row of an adopted layer, of which nothing is counted. In a transaction. */
int layer_insert_adopted(struct store *store, const char *key, int64_t *ret_id, struct err *err);

/* Counts what the adopted layers weigh of which nobody has. */
int layers_count_adopted(struct store *store, struct err *err);

/* Invariant 5: of these layers, removes the rows that no edge points at, and records their
 * directories in `trash`. Those removed are added to `removed` (NULL allowed). In a transaction,
 * after the edges are gone; trash_sweep() after the commit. */
int layers_collect(struct store *store, const struct layer_list *candidates,
		   struct layer_list *removed, struct err *err);

/* A lease of this name (a staging directory's), which holds nothing yet; and one more layer that it holds. In a
 * transaction. */
int lease_make(struct store *store, const char *name, int64_t *ret_id, struct err *err);
int lease_hold(struct store *store, int64_t id, int64_t layer, struct err *err);

/* Deletes a lease and the layers that only it held, as layers_collect does. In a transaction. */
int lease_drop(struct store *store, int64_t id, struct layer_list *removed, struct err *err);

/* As lease_drop, in a transaction of its own; gone already is
 * success. `name` guards against an id that was rolled back and given again. */
int lease_end(struct store *store, int64_t id, const char *name, struct err *err);

/* Records that an object's path is to go: `kind` is "layer", "blob" or "snapshot". In a
 * transaction. */
int trash_record(struct store *store, const char *kind, const char *hex, struct err *err);

/* The layer's tree: readable descriptor of layers/sha256/<hex>/diff, and its path (the caller's). */
int layer_open(const struct store *store, const struct digest *key, char **ret_path,
	       struct err *err);
/* Path of the tree: the caller's; NULL where memory ran out. */
char *layer_path(const struct store *store, const char *key);

#endif
