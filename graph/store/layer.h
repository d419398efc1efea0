/* SPDX-License-Identifier: Apache-2.0 */
/*
 * layer: rows and directories of layers.
 *
 * layer.json, what a layer says of itself, so that the database can be made again from the
 * directories:
 *
 *	{"diffID":"sha256:...", "bytes":N, "diskBytes":N, "entries":N, "tarBytes":N,
 *	 "created":SECONDS,
 *	 "blob":{"digest":"sha256:...", "size":N, "mediaType":"..."},	not of a plain tar
 *	 "source":"docker-archive:/path",	where it came from
 *	 "rootImplied":BOOL,			the tar has no entry for "/"
 *	 "impliedDirectories":["usr/lib",...]}	nor for these (bytes that are not UTF-8 as U+FFFD)
 */
#ifndef GRAPH_STORE_LAYER_H
#define GRAPH_STORE_LAYER_H

#include <stddef.h>
#include <stdint.h>

#include "driver/apply.h"
#include "driver/base/digest.h"
#include "graph/store/store.h"

/* A list of layers: ids of rows with their diffIDs. */
struct layer_list {
	struct layer_item {
		int64_t id;
		struct digest diff_id;
	} * items;
	size_t count, cap;
};
#define auto_layer_list AUTO(layer_list_release)
int layer_list_add(struct layer_list *list, int64_t id, const char *diff_id, struct err *err);
void layer_list_release(struct layer_list *list);

/* Adds what the query's rows (id, diff_id) give. */
int layer_list_query(struct store *store, struct layer_list *list, struct err *err, const char *sql,
		     int64_t parameter);

/* 1 and the row's id, 0 where there is no such layer. */
int layer_find(struct store *store, const struct digest *diff_id, int64_t *ret_id, struct err *err);

/* What becomes a row and layer.json. */
struct layer_facts {
	const struct digest *diff_id;
	const struct apply_result *applied;
	const char *media_type; /* of the blob, NULL or "" where it is not known */
	const char *source;
	bool from_blob; /* the bytes came as a blob with a digest of its own */
};

/* Writes layer.json into the layer's directory in staging. */
int layer_write_json(int dir_fd, const struct layer_facts *facts, struct err *err);

/* Renames from_fd/<hex> to layers/sha256/<hex>, after moving away what may lie there without a row.
 * Needs the layer's lock; the caller has synced, and fsyncs layers/ after the last one (invariants
 * 1, 2). */
int layer_publish(struct store *store, int from_fd, const struct digest *diff_id, struct err *err);

/* Inserts the row (invariant 2: the directory is durable). In a transaction. */
int layer_insert(struct store *store, const struct layer_facts *facts, int64_t *ret_id,
		 struct err *err);

/* Invariant 5: of these layers, removes the rows that no edge points at, and records their
 * directories in `trash`. Those removed are added to `removed` (NULL allowed). In a transaction,
 * after the edges are gone; trash_sweep() after the commit. */
int layers_collect(struct store *store, const struct layer_list *candidates,
		   struct layer_list *removed, struct err *err);

/* Ends a lease and removes the layers that only it held, in a transaction of its own; gone already is
 * success. `name` guards against an id that was rolled back and given again. */
int lease_end(struct store *store, int64_t id, const char *name, struct err *err);

/* Records that an object's path is to go: `kind` is "layer", "blob" or "snapshot". In a
 * transaction. */
int trash_record(struct store *store, const char *kind, const char *hex, struct err *err);

/* The layer's tree: readable descriptor of layers/sha256/<hex>/diff, and its path (the caller's). */
int layer_open(const struct store *store, const struct digest *diff_id, char **ret_path,
	       struct err *err);
/* Path of the tree: the caller's; NULL where memory ran out. */
char *layer_path(const struct store *store, const char *diff_id);

#endif
