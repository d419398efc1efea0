/* SPDX-License-Identifier: Apache-2.0 */
/*
 * db: SQLite behind five verbs, and the schema.
 *
 * WAL, synchronous=FULL, foreign keys on. Readers never block. A writer first takes the store's
 * writer lock, then BEGIN IMMEDIATE. The schema is an ordered array of migrations; PRAGMA
 * user_version counts those applied. A database newer than this program is refused.
 *
 * Parameters are bound by a format string, one letter each: "s" const char * (NULL: SQL NULL), "i"
 * int64_t. Text in SQL is never put together from values.
 */
#ifndef GRAPH_STORE_DB_H
#define GRAPH_STORE_DB_H

#include <stdbool.h>
#include <stdint.h>

#include "driver/base/auto.h"
#include "driver/base/err.h"

struct db;
struct sqlite3_stmt;

/* `lock_path` is the store's format file, whose writer byte serialises writers. */
int db_open(const char *path, const char *lock_path, bool durable, struct db **ret,
	    struct err *err);
void db_free(struct db *db);

/*
 * For a process that serves others, with many threads: db_serving() before its first handle, then db_set_serving()
 * of each. SQLite keeps no statistics of memory then, for which all threads would wait for each other; and the log
 * grows longer before it is cut, which takes two syncs. db_shrink() is to be called when there is time.
 */
void db_serving(void);
void db_set_serving(struct db *db);

/* Applied migrations this program knows: for tests. */
int db_schema_version(void);
/* Applies the migrations up to `version` that were not applied yet. */
int db_migrate_to(struct db *db, int version, struct err *err);

/* Writes the log into the database file and empties it, unless somebody is reading. */
void db_shrink(struct db *db);

/* ---- transactions ---- */

/* Ends itself with a rollback when it leaves scope uncommitted. */
struct db_transaction {
	struct db *db;
};
#define DB_TRANSACTION_INIT \
	{                   \
		.db = NULL  \
	}
#define auto_transaction AUTO(db_rollback)

/* Waits for the writer lock; from here to the end nobody else writes (store.h, invariant 7: be
 * quick). */
int db_begin(struct db *db, struct db_transaction *ret, struct err *err);
/* A consistent view for several reads; takes no lock that a writer would wait for. */
int db_begin_read(struct db *db, struct db_transaction *ret, struct err *err);
int db_commit(struct db_transaction *transaction, struct err *err);
void db_rollback(struct db_transaction *transaction);
/* Transactions from here to db_batch_end are parts of one: each is committed or rolled back by itself, and
 * all that were committed become so, and durable, together. On failure of the end none is. */
int db_batch_begin(struct db *db, struct err *err);
int db_batch_end(struct db *db, struct err *err);
void db_batch_drop(struct db *db); /* none of it */
/* The next commits need not survive a power cut (they stay atomic). Not inside a transaction. */
int db_set_durable(struct db *db, bool durable, struct err *err);

/*
 * Record, for the images that the condition selects ("image = ?1"), which layers make which chains; which of these
 * need no patch, as no layer of theirs implies a directory; and for one image which patch is on top. What was known of
 * a patch is of the layer that the chain had: it is forgotten first where that changes. Where a chain was known with
 * another layer, an image's is preferred: its digest was verified here.
 */
#define DB_CHAINS(condition)                                                                     \
	" WITH RECURSIVE c(image, position, chain_id, parent, layer, implied) AS ("              \
	"  SELECT image, 0, diff_id, NULL, layer, coalesce(implied, 1) FROM image_layer"         \
	"   JOIN layer ON layer.id = layer WHERE position = 0 AND " condition "  UNION ALL"      \
	"  SELECT c.image, c.position + 1, chain_next(c.chain_id, l.diff_id), c.chain_id, l.id," \
	"    c.implied + coalesce(l.implied, 1)"                                                 \
	"   FROM c JOIN image_layer e ON e.image = c.image AND e.position = c.position + 1"      \
	"   JOIN layer l ON l.id = e.layer AND l.kind <> 'patch')"
#define DB_RECORD_CHAINS(condition)                                                              \
	"INSERT INTO chain(chain_id, parent, layer)" DB_CHAINS(                                  \
		condition) " SELECT chain_id, parent, layer FROM c WHERE true ORDER BY position" \
			   " ON CONFLICT(chain_id) DO UPDATE SET layer = excluded.layer"
#define DB_FORGET_PATCHES                                                                           \
	"DELETE FROM chain_patch WHERE chain_id IN (" DB_CHAINS(                                    \
		"image = ?1") " SELECT c.chain_id FROM c JOIN chain ON chain.chain_id = c.chain_id" \
			      " WHERE chain.layer <> c.layer)"
#define DB_RECORD_UNPATCHED(condition)                        \
	"INSERT INTO chain_patch(chain_id, layer)" DB_CHAINS( \
		condition) " SELECT chain_id, NULL FROM c WHERE implied = 0 ON CONFLICT(chain_id) DO NOTHING"
#define DB_RECORD_PATCH                                                                                          \
	"INSERT INTO chain_patch(chain_id, layer)" DB_CHAINS(                                                    \
		"image = ?1") " SELECT chain_id, (SELECT l.id FROM image_layer e JOIN layer l ON l.id = e.layer" \
			      "  WHERE e.image = ?1 AND l.kind = 'patch')"                                       \
			      " FROM c WHERE true ORDER BY position DESC LIMIT 1"                                \
			      " ON CONFLICT(chain_id) DO UPDATE SET layer = excluded.layer"

/* ---- statements ---- */

/* Runs one statement to its end. Returns 0 or -errno (-EEXIST: a UNIQUE, -EBUSY: a foreign key). */
int db_run(struct db *db, struct err *err, const char *sql, const char *fmt, ...);
/* Rows changed by the last db_run, and the id it inserted. */
int db_changes(const struct db *db);
int64_t db_last_id(const struct db *db);

struct db_query {
	struct sqlite3_stmt *stmt;
	struct db *db;
};
#define DB_QUERY_INIT        \
	{                    \
		.stmt = NULL \
	}
#define auto_query AUTO(db_query_release)

/* Prepares and binds; db_step() runs it. */
int db_query(struct db *db, struct db_query *ret, struct err *err, const char *sql, const char *fmt,
	     ...);
/* 1: a row, 0: no more, -errno. */
int db_step(struct db_query *query, struct err *err);
/* Columns of the row, from 0. Text lives until the next step; SQL NULL gives "" and 0. */
const char *db_text(const struct db_query *query, int column);
int64_t db_int(const struct db_query *query, int column);
bool db_is_null(const struct db_query *query, int column);
void db_query_release(struct db_query *query);

/* One number from a query that gives at most one row: 1 and *ret, 0 without a row, -errno. */
int db_get_int(struct db *db, int64_t *ret, struct err *err, const char *sql, const char *fmt, ...);

#endif
