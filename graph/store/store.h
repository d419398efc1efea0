/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store: the directory tree on disk, its invariants, and the locks that keep them.
 *
 *	ROOT/			0700
 *	  format		"overlaid 1\n"; no other number; its byte ranges are locks
 *	  graph.db		SQLite, the only index (graph/store/db.h)
 *	  layers/sha256/HEX/	one directory a layer; HEX is the layer's diffID, or the key of one
 *				that is derived for a chain (graph/store/layer.h)
 *	    diff/		the tree, in overlay form (driver/apply.h)
 *	    layer.json		what the layer says of itself (graph/store/layer.h)
 *	    implied		the directories that its tar implies, where there are any
 *	  snapshots/UID/	fs/ and work/ of a snapshot; UID is 64 random hex digits. Of one that a
 *				runtime names: diff/ and work/ (graph/store/keyed.h)
 *	  blobs/sha256/HEX	manifests and configs, original bytes
 *	  partial/		downloads that can be resumed
 *	  staging/RANDOM/	where layers and blobs are made; the maker holds flock(2)
 *	  trash/RANDOM		the only place to delete things from
 *	RUN/mnt/UID		mount points
 *	RUN/l/STORE/NUMBER	links to trees, for mounts that others make (graph/store/keyed.h). STORE tells
 *				this root from others that use the same RUN; mounts have these names for each
 *				layer, in what is at most a page: it is short
 *
 * Invariants. The code that keeps one cites its number.
 *
 *  1. A directory under layers/ is complete, verified and durable before it is renamed there.
 *  2. A `layer` row is inserted only after that rename is durable. So: row => directory. Blobs
 *     likewise. (A snapshot's directory comes after its row: graph/store/snapshot.h.)
 *  3. A directory without a row holds nothing anyone was promised; gc may remove it.
 *  4. Deleting: one transaction removes the rows and records the path in `trash`; then rename to
 *     trash/; then unlink. What a crash leaves of that is finished by the next removal or gc.
 *  5. References are rows with foreign keys, never a counter: a layer's references are its edges
 *     (image_layer, snapshot_layer, keyed_layer, lease_layer). A transaction that removes edges also removes
 *     the layers that have none left. A derived layer is held as any other, and holds none: what it
 *     was made from may go.
 *  6. The kernel's mount table is the truth about mounts; `mount` rows carry boot id and mount
 *     namespace and are reconciled when read.
 *  7. Nothing slow (extraction, hashing, network, deleting, syncing of trees) happens inside a
 *     write transaction.
 *  8. Every state that a kill -9 or a power cut leaves is one that open accepts and gc cleans.
 *
 * Order of publishing: write into staging/, syncfs, rename, fsync the directory renamed into,
 * commit, answer. With OVERLAID_VOLATILE the syncs are left out and SQLite runs with
 * synchronous=OFF.
 *
 * Object locks. A layer, blob or snapshot is renamed into place, and away, only by who holds its
 * lock: a byte range of `format`, at an offset that its hex digits give, taken with an open file
 * description lock, so that it ends with its process. Who holds the lock of a layer that has no row
 * may extract it. Order, so that nobody waits in a circle: layers (waiting only while holding
 * none), blobs, snapshots, the writer lock, SQLite. A lock is taken before the row is looked at,
 * and kept until the row is committed.
 */
#ifndef GRAPH_STORE_STORE_H
#define GRAPH_STORE_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "driver/base/auto.h"
#include "driver/base/buf.h"
#include "driver/base/digest.h"
#include "driver/base/err.h"

#define STORE_FORMAT	   1
#define STORE_RUN_NAME_LEN 5
#define STORE_HEX_LEN	   64 /* digits of a layer's, blob's or snapshot's directory name */

struct db;

/* A set of locks held through one open file description. One set does not exclude itself. */
struct store_locks {
	int fd;
};
#define STORE_LOCKS_INIT     \
	{                    \
		.fd = -EBADF \
	}
#define auto_locks AUTO(store_locks_release)

struct store {
	char *root_path; /* absolute */
	char *run_path;
	char run_name[STORE_RUN_NAME_LEN + 1]; /* STORE, above */
	int root_fd;
	int layers_fd, blobs_fd; /* layers/sha256, blobs/sha256 */
	int snapshots_fd, staging_fd, trash_fd;
	bool durable;
	bool batch;	 /* between store_batch_begin and its end */
	bool batch_lazy; /* and not durable */
	bool layers_moved; /* in it: something was renamed into layers/, and is not durable there yet */
	struct store_locks batch_locks; /* held until its end */
	struct db *db;
};

/* Opens or makes the store: directories, format, database. NULL paths: the defaults of overlaid.h.
 * Errors as overlaid_open. */
int store_open(const char *root, const char *run, bool durable, bool must_exist, struct store **ret,
	       struct err *err);
/* All of that but the database: db is NULL. store_open_db follows before anything looks into it. */
int store_open_files(const char *root, const char *run, bool durable, bool must_exist,
		     struct store **ret, struct err *err);
int store_open_db(struct store *store, struct err *err);
void store_free(struct store *store);
void store_freep(struct store **store);
#define auto_store AUTO(store_freep)

/* RUN/mnt, made where it is missing. Readable descriptor. */
int store_open_mnt(const struct store *store, struct err *err);

/* ---- locks ---- */

enum store_lock_mode { STORE_LOCK_TRY, STORE_LOCK_WAIT };

/* Locks beside the objects': offsets that no hex can give. */
#define STORE_LOCK_WRITER \
	((int64_t)1       \
	 << 61) /* held during a write transaction: waits in the kernel's queue, not in \
			      SQLite's sleep */
#define STORE_LOCK_REAPER (((int64_t)1 << 61) + 1) /* held by who empties trash/ */

/* An empty set. */
int store_locks_open(const struct store *store, struct store_locks *ret, struct err *err);
/* Adds a lock. -EAGAIN (STORE_LOCK_TRY, no words): somebody else has it. `hex` is at least 15 hex
 * digits. */
int store_lock_object(struct store_locks *locks, const char *hex, enum store_lock_mode mode,
		      struct err *err);
int store_lock_offset(struct store_locks *locks, int64_t offset, enum store_lock_mode mode,
		      struct err *err);
void store_unlock_object(struct store_locks *locks, const char *hex);
void store_unlock_offset(struct store_locks *locks, int64_t offset);
void store_locks_release(struct store_locks *locks); /* all of them */

/* ---- staging ---- */

/* A directory of our own in staging/, locked while we live; removed with all that is left in it on
 * release. */
struct staging {
	const struct store *store;
	char name[33];
	int fd;
};
#define STAGING_INIT         \
	{                    \
		.fd = -EBADF \
	}
#define auto_staging AUTO(staging_release)

/* *ret->fd is the directory; the struct must not outlive the store. */
int staging_make(const struct store *store, struct staging *ret, struct err *err);
void staging_release(struct staging *staging);
/* True where the maker of staging/<name> is gone, so that it may be moved to trash. *ret_fd (the
 * lock, to be closed after moving) is set then. */
bool staging_is_dead(const struct store *store, const char *name, int *ret_fd);

/* Makes all that was written to the store's filesystem so far durable: syncfs(2). Nothing to do for
 * a volatile store. */
int store_sync(const struct store *store, struct err *err);

/* Something was renamed into layers/: makes that durable, or, in a batch (graph/store/db.h), sees to it that
 * its end does. */
int store_layers_moved(struct store *store, struct err *err);
/* db_batch_begin and db_batch_end, with that. Not `durable`: what is done in it is as soon as something later is. */
int store_batch_begin(struct store *store, bool durable, struct err *err);
int store_batch_end(struct store *store, struct err *err);

/* ---- trash ---- */

/* A new random name below trash/. */
#define TRASH_NAME_LEN 32
/* Moves dirfd/name to a new name in trash/; gone already is success. Hold the object's lock. */
int trash_move(const struct store *store, int dirfd, const char *name, struct err *err);

/* Renames what the `trash` rows record but still stands at its path (invariant 4). An object whose
 * row is back, or whose lock somebody has, is left alone. */
int trash_sweep(struct store *store, struct err *err);

/* Unlinks all that lies in trash/ and drops the rows that are done. -EAGAIN without words: another
 * process is at it (and will look again after). */
int trash_empty(struct store *store, bool wait, struct err *err);

#endif
