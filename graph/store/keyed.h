/* SPDX-License-Identifier: Apache-2.0 */
/*
 * keyed: snapshots that a runtime names, in a tree of parents; as containerd's snapshots API has them
 * (snapshots.Snapshotter).
 *
 *	           keyed_prepare            keyed_commit
 *	(nothing) ---------------> active ---------------> committed
 *	          ---------------> view
 *	          <--------------------------------------- keyed_remove, from each
 *
 *	active	  snapshots/UID/diff takes the changes; the runtime mounts it, over its parents, itself
 *	view	  a parent, read-only; no directory
 *	committed the parent of others. Its content is, lowest first, the layers of its edges (keyed_layer);
 *		  where it has none, snapshots/UID/diff
 *
 * Names are unique within a scope (one socket and plugin name of a daemon): scopes share layers and never
 * see each other's names. They are bytes without NUL, and never part of a path.
 *
 * One copy of a layer. What is committed as a chain whose layers are here gets edges to those, and its own
 * tree goes. What a runtime unpacked itself, and says the chainID of, becomes a layer ("adopted") for all
 * scopes: snapshots/UID is renamed to layers/sha256/UID. That is done before the row is committed; where the
 * commit never comes, the row is still active, and keyed_open_dir finds the tree at its new place and takes it
 * back. gc leaves a directory there alone while an active row has its number. Only what was unpacked over its parent
 * is adopted, not what got one with the commit.
 *
 * Removing is rows only: the directory goes by trash_sweep(), in nobody's way.
 *
 * Why not `snapshot` (graph/store/snapshot.h)? Those are mounted by us, hold an image's chain, flat, and have
 * no children; nothing that is done with the one kind is done with the other.
 */
#ifndef GRAPH_STORE_KEYED_H
#define GRAPH_STORE_KEYED_H

#include <stdbool.h>
#include <stdint.h>

#include "graph/overlaid.h"
#include "graph/store/layer.h"
#include "graph/store/store.h"

#define KEYED_LABELS_BYTES_MAX ((size_t)8 << 20)

/* By ?1, a number: 1 where snapshots/UID belongs to a row, of whichever kind of snapshot. */
#define KEYED_DIR_ROW                                                      \
	"SELECT 1 FROM snapshot WHERE uid = ?1"                            \
	" UNION ALL SELECT 1 FROM keyed WHERE uid = ?1 AND kind <> 'view'" \
	" AND NOT EXISTS(SELECT 1 FROM keyed_layer WHERE keyed = id)"

struct keyed {
	int64_t id;
	int64_t parent; /* row; 0: none */
	int64_t created_ns, updated_ns;
	int64_t disk_bytes, inodes; /* -1: not counted */
	enum overlaid_snapshot_kind kind;
	char uid[STORE_HEX_LEN + 1];
	char chain_id[DIGEST_TEXT_MAX]; /* "": not known */
	char *name, *parent_name;	/* owned; parent_name "": none */
	char *labels;			/* JSON object; owned */
};
void keyed_release(struct keyed *keyed);
#define auto_keyed AUTO(keyed_release)

/* -ENOENT. */
int keyed_find(struct store *store, const char *scope, const char *name, struct keyed *ret,
	       struct err *err);

/* Each of the scope, parents before children. The rows are read one by one: `fn` must not write. */
typedef int keyed_fn(void *arg, const struct keyed *keyed);
int keyed_list(struct store *store, const char *scope, keyed_fn *fn, void *arg, struct err *err);

/* What becomes a row. */
struct keyed_spec {
	const char *scope, *name, *parent; /* "": none */
	enum overlaid_snapshot_kind kind;
	const char *labels;   /* JSON object */
	const char *chain_id; /* NULL: not known */
	bool settle_parent;   /* keyed_prepare: an active parent becomes committed, as it is */
	/* keyed_prepare: called with what is made, before it is committed; where it fails, nothing was made. */
	int (*made)(void *arg, const struct keyed *keyed, struct err *err);
	void *made_arg;
	bool flushed; /* keyed_commit: keyed_flush gave 1, and the sync was made */
};

/* A view, or an active one with its directory. -EEXIST: the name is taken; -ENOENT: no such parent;
 * -EINVAL: the parent is not committed. */
int keyed_prepare(struct store *store, const struct keyed_spec *spec, struct err *err);

/* A committed one that is the chain `spec->chain_id`, whose layers are here and whose patch is known, over a
 * parent that is the chain beneath. Its name is made from the chainID. Where there is one with the same parent
 * and label `label` = chainID, nothing is made. 1: there is one now. 0: the chain is not here, or the parent is
 * something else. */
int keyed_share(struct store *store, const struct keyed_spec *spec, const char *label,
		struct err *err);

/* Before keyed_commit, outside of a transaction and a batch: writes what the tree of the active `key` is to have
 * beside it. 1: a sync of the filesystem (store_sync) is to follow; 0: its content will not be kept, as it seems now;
 * not with `keep`. -ENOENT. */
int keyed_flush(struct store *store, const char *scope, const char *key, bool keep,
		struct err *err);

/* Makes the active `key` committed under spec->name; spec->parent "": the one it has. spec->chain_id is
 * believed where it is what keyed_prepare was told too. -ENOENT, -EEXIST, -EBADFD: not active, or the new
 * parent is not committed; -EINVAL: it has another parent. After keyed_flush, which is to be called again, with
 * `keep`, for -ESTALE: its content is kept all the same. */
int keyed_commit(struct store *store, const char *key, const struct keyed_spec *spec,
		 struct err *err);

/* Makes the active `k`, whose own tree is empty, committed, with other content: the layer, or (0) the chain
 * `chain_id`, which is here with its patch; the layer's chain gets its patch too, where that is known. `chain_id`
 * NULL: not known. In a transaction. -ESTALE: it is not what it was, or the chain is not here. */
int keyed_fill(struct store *store, const struct keyed *k, const char *chain_id, int64_t layer,
	       struct err *err);
/* Puts the patch of its chain, which became known later, on a filled one. In a transaction. */
int keyed_patch(struct store *store, const struct keyed *k, const char *chain_id, struct err *err);

/* -ENOENT; -ENOTEMPTY: it is a parent. */
int keyed_remove(struct store *store, const char *scope, const char *name, struct err *err);

/* Sets labels (a JSON object) and the time of the change. */
int keyed_relabel(struct store *store, const struct keyed *keyed, const char *labels,
		  struct err *err);

/* Keeps what was counted of a committed one. */
int keyed_set_usage(struct store *store, const struct keyed *keyed, uint64_t disk_bytes,
		    uint64_t inodes, struct err *err);

/* ---- directories ---- */

/* The directory of an active one, or of a committed one without edges, whose row is there; made, or taken
 * back, where it is missing (a power cut). Descriptor. `locks` holds the lock of its uid, or NULL: takes it. */
int keyed_open_dir(struct store *store, const struct keyed *keyed, struct store_locks *locks,
		   struct err *err);

/* The content of a snapshot as trees, as lowers are listed, topmost first; and after it that of its ancestors. */
struct keyed_tree {
	int64_t number; /* of its link: a layer's row; or the snapshot's, where `own` */
	bool own;
	char hex[STORE_HEX_LEN + 1]; /* below layers/sha256/, or, where `own`, snapshots/ */
};
struct keyed_trees {
	struct keyed_tree *list;
	size_t count;
};
void keyed_trees_release(struct keyed_trees *trees);
#define auto_keyed_trees AUTO(keyed_trees_release)
int keyed_trees(struct store *store, int64_t id, struct keyed_trees *ret, struct err *err);
/* Its content alone. */
int keyed_trees_of(struct store *store, int64_t id, struct keyed_trees *ret, struct err *err);
/* The path of its tree: the caller's; NULL where memory ran out. */
char *keyed_tree_path(const struct store *store, const struct keyed_tree *tree);

/* Makes the link RUN/l/STORE/NUMBER where it is missing, and gives its path, the caller's. It is derived: whoever
 * needs it makes it again. l_fd: keyed_open_links(). */
int keyed_open_links(const struct store *store, struct err *err);
int keyed_link(const struct store *store, int l_fd, const struct keyed_tree *tree, char **ret_path,
	       struct err *err);
/* Removes the links whose row is gone. Not in a transaction. */
int keyed_drop_links(struct store *store, struct err *err);

#endif
