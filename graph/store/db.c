/* SPDX-License-Identifier: Apache-2.0 */
#include "graph/store/db.h"

#include <fcntl.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "driver/base/digest.h"
#include "graph/store/store.h"

#define BUSY_TIMEOUT_MS	      60000
#define WAL_PAGES_MAX	      100
#define SERVING_WAL_PAGES_MAX 4000
#define STATEMENTS_MAX	      256

struct db {
	sqlite3 *handle;
	struct store_locks writer;
	bool durable;
	bool serving;
	bool batch; /* transactions are parts of one */
	/* Statements that were prepared before and are not in use, each where the hash of its text says: preparing
	 * takes longer than most of them run. */
	sqlite3_stmt *idle[STATEMENTS_MAX];
};

static const char *const migrations[] = {
	/* 1: the first schema. AUTOINCREMENT where an id is used across transactions: it never comes back. */
	"CREATE TABLE layer("
	"  id INTEGER PRIMARY KEY,"
	"  diff_id TEXT NOT NULL UNIQUE,"
	"  bytes INTEGER NOT NULL,"
	"  disk_bytes INTEGER NOT NULL,"
	"  entries INTEGER NOT NULL,"
	"  root_implied INTEGER NOT NULL,"
	"  created INTEGER NOT NULL"
	") STRICT;"
	/* What is known of a blob. stored = 1: its bytes are in blobs/. layer: what a layer blob
	   unpacks to. */
	"CREATE TABLE blob("
	"  digest TEXT PRIMARY KEY,"
	"  media_type TEXT NOT NULL,"
	"  size INTEGER NOT NULL,"
	"  stored INTEGER NOT NULL,"
	"  layer INTEGER REFERENCES layer(id) ON DELETE CASCADE"
	") STRICT, WITHOUT ROWID;"
	"CREATE INDEX blob_layer ON blob(layer);"
	"CREATE TABLE image("
	"  id INTEGER PRIMARY KEY AUTOINCREMENT,"
	"  image_id TEXT NOT NULL UNIQUE REFERENCES blob(digest),"
	"  manifest TEXT REFERENCES blob(digest),"
	"  os TEXT NOT NULL,"
	"  architecture TEXT NOT NULL,"
	"  variant TEXT NOT NULL,"
	"  created INTEGER NOT NULL,"
	"  loaded INTEGER NOT NULL"
	") STRICT;"
	"CREATE INDEX image_manifest ON image(manifest);"
	"CREATE TABLE image_layer("
	"  image INTEGER NOT NULL REFERENCES image(id),"
	"  position INTEGER NOT NULL,"
	"  layer INTEGER NOT NULL REFERENCES layer(id),"
	"  PRIMARY KEY(image, position)"
	") STRICT, WITHOUT ROWID;"
	"CREATE INDEX image_layer_layer ON image_layer(layer);"
	"CREATE TABLE tag("
	"  reference TEXT PRIMARY KEY,"
	"  image INTEGER NOT NULL REFERENCES image(id)"
	") STRICT, WITHOUT ROWID;"
	"CREATE INDEX tag_image ON tag(image);"
	/* image is NULL once the image was removed by force; image_id stays. */
	"CREATE TABLE snapshot("
	"  id INTEGER PRIMARY KEY AUTOINCREMENT,"
	"  scope TEXT NOT NULL,"
	"  name TEXT NOT NULL,"
	"  uid TEXT NOT NULL UNIQUE,"
	"  kind TEXT NOT NULL CHECK(kind IN ('active', 'view')),"
	"  ephemeral INTEGER NOT NULL,"
	"  image INTEGER REFERENCES image(id),"
	"  image_id TEXT NOT NULL,"
	"  image_name TEXT NOT NULL,"
	"  labels TEXT NOT NULL,"
	"  created INTEGER NOT NULL,"
	"  UNIQUE(scope, name)"
	") STRICT;"
	"CREATE INDEX snapshot_image ON snapshot(image);"
	"CREATE TABLE snapshot_layer("
	"  snapshot INTEGER NOT NULL REFERENCES snapshot(id),"
	"  position INTEGER NOT NULL,"
	"  layer INTEGER NOT NULL REFERENCES layer(id),"
	"  PRIMARY KEY(snapshot, position)"
	") STRICT, WITHOUT ROWID;"
	"CREATE INDEX snapshot_layer_layer ON snapshot_layer(layer);"
	"CREATE TABLE mount("
	"  snapshot INTEGER PRIMARY KEY REFERENCES snapshot(id),"
	"  boot_id TEXT NOT NULL,"
	"  namespace INTEGER NOT NULL,"
	"  target TEXT NOT NULL"
	") STRICT;"
	/* name: the staging directory whose lock says that the holder lives. */
	"CREATE TABLE lease("
	"  id INTEGER PRIMARY KEY AUTOINCREMENT,"
	"  name TEXT NOT NULL UNIQUE,"
	"  created INTEGER NOT NULL"
	") STRICT;"
	"CREATE TABLE lease_layer("
	"  lease INTEGER NOT NULL REFERENCES lease(id) ON DELETE CASCADE,"
	"  layer INTEGER NOT NULL REFERENCES layer(id),"
	"  PRIMARY KEY(lease, layer)"
	") STRICT, WITHOUT ROWID;"
	"CREATE INDEX lease_layer_layer ON lease_layer(layer);"
	/* kind, hex: which object; name: where it goes below trash/. */
	"CREATE TABLE trash("
	"  id INTEGER PRIMARY KEY,"
	"  kind TEXT NOT NULL CHECK(kind IN ('layer', 'blob', 'snapshot')),"
	"  hex TEXT NOT NULL,"
	"  name TEXT NOT NULL UNIQUE"
	") STRICT;",
	/* 2: layers that are derived for one chain. key: the name of its directory. diff_id: of its tar; a
	   patch has none. implied: how many directories the tar only implies; NULL: ask layer.json. */
	"ALTER TABLE layer RENAME COLUMN diff_id TO key;"
	"ALTER TABLE layer ADD COLUMN diff_id TEXT;"
	"ALTER TABLE layer ADD COLUMN kind TEXT NOT NULL DEFAULT 'plain'"
	" CHECK(kind IN ('plain', 'bound', 'patch'));"
	"ALTER TABLE layer ADD COLUMN implied INTEGER;"
	"UPDATE layer SET diff_id = key;"
	"CREATE INDEX layer_derived ON layer(kind) WHERE kind <> 'plain';",
	/* 3: what was pulled: "docker.io/library/nginx@sha256:...", the digest of an index or a manifest. Images
	   for several platforms may share an index. */
	"CREATE TABLE image_digest("
	"  reference TEXT NOT NULL,"
	"  image INTEGER NOT NULL REFERENCES image(id),"
	"  PRIMARY KEY(reference, image)"
	") STRICT, WITHOUT ROWID;"
	"CREATE INDEX image_digest_image ON image_digest(image);",
	/* 4: snapshots that a runtime names (graph/store/keyed.h), and which layers make which chain
	   (graph/store/chain.h). A chain of a layer that goes, goes, and what is above it.
	   keyed.chain_id: what the content is, or, while active, what it is to be; NULL: nobody knows. */
	"CREATE TABLE chain("
	"  chain_id TEXT PRIMARY KEY,"
	"  parent TEXT REFERENCES chain(chain_id) ON DELETE CASCADE,"
	"  layer INTEGER NOT NULL REFERENCES layer(id) ON DELETE CASCADE"
	") STRICT, WITHOUT ROWID;"
	"CREATE INDEX chain_parent ON chain(parent);"
	"CREATE INDEX chain_layer ON chain(layer);"
	/* Here it is known which patch belongs on a chain; layer is NULL where none does. */
	"CREATE TABLE chain_patch("
	"  chain_id TEXT PRIMARY KEY REFERENCES chain(chain_id) ON DELETE CASCADE,"
	"  layer INTEGER REFERENCES layer(id) ON DELETE CASCADE"
	") STRICT, WITHOUT ROWID;"
	"CREATE INDEX chain_patch_layer ON chain_patch(layer);"
	"CREATE TABLE keyed("
	"  id INTEGER PRIMARY KEY AUTOINCREMENT,"
	"  scope TEXT NOT NULL,"
	"  name TEXT NOT NULL,"
	"  uid TEXT NOT NULL UNIQUE,"
	"  kind TEXT NOT NULL CHECK(kind IN ('view', 'active', 'committed')),"
	"  parent INTEGER REFERENCES keyed(id),"
	"  chain_id TEXT,"
	"  labels TEXT NOT NULL,"
	"  created INTEGER NOT NULL,"
	"  updated INTEGER NOT NULL,"
	"  disk_bytes INTEGER,"
	"  inodes INTEGER,"
	"  UNIQUE(scope, name)"
	") STRICT;"
	"CREATE INDEX keyed_parent ON keyed(parent);"
	"CREATE INDEX keyed_chain ON keyed(chain_id);"
	"CREATE TABLE keyed_layer("
	"  keyed INTEGER NOT NULL REFERENCES keyed(id),"
	"  position INTEGER NOT NULL,"
	"  layer INTEGER NOT NULL REFERENCES layer(id),"
	"  PRIMARY KEY(keyed, position)"
	") STRICT, WITHOUT ROWID;"
	"CREATE INDEX keyed_layer_layer ON keyed_layer(layer);"
	/* adopted: a runtime unpacked it. inodes: NULL where nobody has counted, of an adopted one nothing
	   else either. */
	"ALTER TABLE layer ADD COLUMN adopted INTEGER NOT NULL DEFAULT 0;"
	"ALTER TABLE layer ADD COLUMN inodes INTEGER;"
	/* An image that nobody asked for by name is kept until then, in ns since 1970. */
	"ALTER TABLE image ADD COLUMN kept_until INTEGER;" DB_RECORD_CHAINS(
		"1") ";" DB_RECORD_UNPATCHED("1") ";",
	/* 5: what a face of the daemon is to know when it comes back: "docker:NAME" -> JSON. */
	"CREATE TABLE setting("
	"  name TEXT PRIMARY KEY,"
	"  value TEXT NOT NULL"
	") STRICT, WITHOUT ROWID;",
};

int db_schema_version(void)
{
	return (int)ARRAY_LEN(migrations);
}

/* An errno for SQLite's code; the words are SQLite's own. */
static int db_fail(struct db *db, struct err *err, const char *doing)
{
	static const struct {
		int code, error;
	} codes[] = {
		{ SQLITE_CONSTRAINT_UNIQUE, -EEXIST },
		{ SQLITE_CONSTRAINT_PRIMARYKEY, -EEXIST },
		{ SQLITE_CONSTRAINT_FOREIGNKEY, -EBUSY },
		{ SQLITE_BUSY, -EBUSY },
		{ SQLITE_LOCKED, -EBUSY },
		{ SQLITE_FULL, -ENOSPC },
		{ SQLITE_READONLY, -EROFS },
		{ SQLITE_NOMEM, -ENOMEM },
		{ SQLITE_CANTOPEN, -EACCES },
		{ SQLITE_CORRUPT, -EUCLEAN },
		{ SQLITE_NOTADB, -EUCLEAN },
		{ SQLITE_PERM, -EACCES },
	};
	int extended = db->handle ? sqlite3_extended_errcode(db->handle) : SQLITE_NOMEM;
	int error = -EIO;

	for (size_t i = 0; i < ARRAY_LEN(codes); i++)
		if (codes[i].code == extended || codes[i].code == (extended & 0xff)) {
			error = codes[i].error;
			break;
		}
	return fail(err, error, "database: %s (%.100s)",
		    db->handle ? sqlite3_errmsg(db->handle) : "out of memory", doing);
}

static int db_exec(struct db *db, const char *sql, struct err *err)
{
	if (sqlite3_exec(db->handle, sql, NULL, NULL, NULL) != SQLITE_OK)
		return db_fail(db, err, sql);
	return 0;
}

int db_migrate_to(struct db *db, int version, struct err *err)
{
	auto_transaction struct db_transaction t = DB_TRANSACTION_INIT;
	char pragma[64];
	int64_t have = 0;
	int r = db_begin(db, &t, err);

	if (r >= 0)
		r = db_get_int(db, &have, err, "PRAGMA user_version", "");
	for (int64_t i = have; r >= 0 && i < version; i++)
		r = db_exec(db, migrations[i], err);
	if (r < 0)
		return r;
	if (have < version) {
		(void)snprintf(pragma, sizeof(pragma), "PRAGMA user_version = %d", version);
		r = db_exec(db, pragma, err);
		if (r < 0)
			return r;
	}
	return db_commit(&t, err);
}

static int db_prepare(struct db *db, const char *path, struct err *err)
{
	int64_t version = 0;
	int r = db_get_int(db, &version, err, "PRAGMA user_version", "");

	if (r < 0)
		return r;
	if (version > db_schema_version())
		return fail(
			err, -EPROTO,
			"%s: made by a newer version of overlaid (schema %lld, this program knows %d)",
			path, (long long)version, db_schema_version());
	if (version < db_schema_version()) {
		/* Of several that make the database at once, one does and the others find it made. */
		r = store_lock_offset(&db->writer, STORE_LOCK_WRITER, STORE_LOCK_WAIT, err);
		if (r < 0)
			return r;
		/* What is removed gives its pages back: an empty store is as small as a new one. */
		r = db_exec(db, "PRAGMA auto_vacuum = FULL; PRAGMA journal_mode = WAL", err);
		if (r >= 0)
			r = db_migrate_to(db, db_schema_version(), err);
		db_shrink(db);
		store_unlock_offset(&db->writer, STORE_LOCK_WRITER);
	}
	return r;
}

/*
 * Every process that opens the log first reads all of it, and SQLite's own checkpoint would leave
 * it standing for a next writer of the same process, which in a command line never comes: so the
 * log is cut to nothing here once it is long. Readers that are in the way now are not waited for.
 */
static int wal_hook(void *arg, sqlite3 *handle, const char *name, int pages)
{
	const struct db *db = arg;

	if (pages < (db->serving ? SERVING_WAL_PAGES_MAX : WAL_PAGES_MAX))
		return SQLITE_OK;
	(void)sqlite3_busy_timeout(handle, 0);
	(void)sqlite3_wal_checkpoint_v2(handle, name, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);
	(void)sqlite3_busy_timeout(handle, BUSY_TIMEOUT_MS);
	return SQLITE_OK;
}

void db_shrink(struct db *db)
{
	(void)wal_hook(db, db->handle, NULL, SERVING_WAL_PAGES_MAX);
}

/* chain_next(PARENT, DIFFID): the chainID of a layer over a chain (OCI image-spec config.md). */
static void chain_next(sqlite3_context *context, int count, sqlite3_value **values)
{
	const char *parent = (const char *)sqlite3_value_text(values[0]);
	const char *diff_id = (const char *)sqlite3_value_text(values[1]);
	char text[2 * DIGEST_TEXT_MAX];
	struct digest digest;
	struct err err = { 0 };

	if (!parent || !diff_id) {
		sqlite3_result_null(context);
		return;
	}
	(void)snprintf(text, sizeof(text), "%s %s", parent, diff_id);
	if (digest_of("sha256", text, strlen(text), &digest, &err) < 0)
		sqlite3_result_error(context, err.text, -1);
	else
		sqlite3_result_text(context, digest.text, -1, SQLITE_TRANSIENT);
}

static int db_configure(struct db *db, struct err *err)
{
	char pragma[64];

	(void)sqlite3_extended_result_codes(db->handle, 1);
	(void)sqlite3_busy_timeout(db->handle, BUSY_TIMEOUT_MS);
	/* The last to close need not checkpoint: that would cost each command two syncs. */
	(void)sqlite3_db_config(db->handle, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
	(void)sqlite3_db_config(db->handle, SQLITE_DBCONFIG_ENABLE_FKEY, 1, NULL);
	(void)sqlite3_db_config(db->handle, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
	(void)sqlite3_wal_hook(db->handle, wal_hook, db);
	if (sqlite3_create_function_v2(db->handle, "chain_next", 2,
				       SQLITE_UTF8 | SQLITE_DETERMINISTIC | SQLITE_DIRECTONLY, NULL,
				       chain_next, NULL, NULL, NULL) != SQLITE_OK)
		return db_fail(db, err, "chain_next");
	(void)snprintf(pragma, sizeof(pragma), "PRAGMA synchronous = %s",
		       db->durable ? "FULL" : "OFF");
	return db_exec(db, pragma, err);
}

int db_open(const char *path, const char *lock_path, bool durable, struct db **ret, struct err *err)
{
	struct db *db = calloc(1, sizeof(*db));
	int r;

	if (!db)
		return fail_oom(err);
	db->durable = durable;
	db->writer.fd = open(lock_path, O_RDWR | O_CLOEXEC);
	if (db->writer.fd < 0)
		r = fail(err, -errno, "open %s: %m", lock_path);
	else if (sqlite3_open_v2(path, &db->handle,
				 SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX,
				 NULL) != SQLITE_OK)
		r = db_fail(db, err, "open");
	else
		r = db_configure(db, err);
	if (r >= 0)
		r = db_prepare(db, path, err);
	if (r < 0) {
		db_free(db);
		return err_prefix(err, r, "%s", path);
	}
	*ret = db;
	return 0;
}

static void keep_no_statistics(void)
{
	(void)sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
}

void db_serving(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	(void)pthread_once(&once, keep_no_statistics);
}

void db_set_serving(struct db *db)
{
	db->serving = true;
}

void db_free(struct db *db)
{
	if (!db)
		return;
	for (size_t i = 0; i < STATEMENTS_MAX; i++)
		(void)sqlite3_finalize(db->idle[i]);
	(void)sqlite3_close(db->handle);
	store_locks_release(&db->writer);
	free(db);
}

/* ---- transactions ---- */

/* Where the disk is full, or memory, SQLite may roll back more than one part: all of the batch. What came
 * after would be a transaction of its own. */
static int check_batch(struct db *db, struct err *err)
{
	if (!sqlite3_get_autocommit(db->handle))
		return 0;
	return fail(err, -EIO, "database: what was to be committed together was rolled back");
}

int db_begin(struct db *db, struct db_transaction *ret, struct err *err)
{
	int r;

	if (db->batch) {
		r = check_batch(db, err);
		if (r >= 0)
			r = db_exec(db, "SAVEPOINT part", err);
		if (r >= 0)
			ret->db = db;
		return r;
	}
	r = store_lock_offset(&db->writer, STORE_LOCK_WRITER, STORE_LOCK_WAIT, err);

	if (r < 0)
		return r;
	r = db_exec(db, "BEGIN IMMEDIATE", err);
	if (r < 0) {
		store_unlock_offset(&db->writer, STORE_LOCK_WRITER);
		return r;
	}
	ret->db = db;
	return 0;
}

int db_begin_read(struct db *db, struct db_transaction *ret, struct err *err)
{
	int r = db_exec(db, "BEGIN", err);

	if (r >= 0)
		ret->db = db;
	return r;
}

int db_commit(struct db_transaction *t, struct err *err)
{
	struct db *db = t->db;
	int r = db_exec(db, db->batch ? "RELEASE part" : "COMMIT", err);

	if (r < 0)
		return r;
	t->db = NULL;
	if (!db->batch)
		store_unlock_offset(&db->writer, STORE_LOCK_WRITER);
	return 0;
}

void db_rollback(struct db_transaction *t)
{
	if (!t->db)
		return;
	(void)sqlite3_exec(t->db->handle,
			   t->db->batch ? "ROLLBACK TO part; RELEASE part" : "ROLLBACK", NULL, NULL,
			   NULL);
	if (!t->db->batch)
		store_unlock_offset(&t->db->writer, STORE_LOCK_WRITER);
	t->db = NULL;
}

int db_batch_begin(struct db *db, struct err *err)
{
	auto_transaction struct db_transaction t = DB_TRANSACTION_INIT;
	int r = db_begin(db, &t, err);

	t.db = NULL; /* it ends with the batch */
	db->batch = r >= 0;
	return r;
}

int db_batch_end(struct db *db, struct err *err)
{
	auto_transaction struct db_transaction t = { .db = db };
	int r = check_batch(db, err);

	db->batch = false;
	return r < 0 ? r : db_commit(&t, err);
}

int db_set_durable(struct db *db, bool durable, struct err *err)
{
	/* NORMAL, not OFF: the log stays in order, so what is committed later with FULL makes this
	 * durable too. */
	if (!db->durable || db->batch)
		return 0;
	return db_exec(db, durable ? "PRAGMA synchronous = FULL" : "PRAGMA synchronous = NORMAL",
		       err);
}

void db_batch_drop(struct db *db)
{
	auto_transaction struct db_transaction t = { .db = db };

	db->batch = false;
}

/* ---- statements ---- */

static int db_bind(struct db_query *q, const char *fmt, va_list ap)
{
	int rc = SQLITE_OK;

	for (int i = 1; *fmt && rc == SQLITE_OK; fmt++, i++) {
		if (*fmt == 's')
			rc = sqlite3_bind_text(q->stmt, i, va_arg(ap, const char *), -1,
					       SQLITE_TRANSIENT);
		else
			rc = sqlite3_bind_int64(q->stmt, i, va_arg(ap, int64_t));
	}
	return rc == SQLITE_OK ? 0 : -EIO;
}

static sqlite3_stmt **idle_slot(struct db *db, const char *sql)
{
	uint32_t hash = 2166136261; /* FNV-1a */

	for (const char *c = sql; *c; c++)
		hash = (hash ^ (unsigned char)*c) * 16777619;
	return &db->idle[hash % STATEMENTS_MAX];
}

static int db_vquery(struct db *db, struct db_query *ret, struct err *err, const char *sql,
		     const char *fmt, va_list ap)
{
	struct db_query q = { .db = db };
	sqlite3_stmt **idle = idle_slot(db, sql);

	if (*idle && strcmp(sqlite3_sql(*idle), sql) == 0)
		q.stmt = take_ptr(*idle);
	else if (sqlite3_prepare_v3(db->handle, sql, -1, SQLITE_PREPARE_PERSISTENT, &q.stmt,
				    NULL) != SQLITE_OK)
		return db_fail(db, err, sql);
	if (db_bind(&q, fmt, ap) < 0) {
		int r = db_fail(db, err, sql);

		db_query_release(&q);
		return r;
	}
	*ret = q;
	return 0;
}

int db_query(struct db *db, struct db_query *ret, struct err *err, const char *sql, const char *fmt,
	     ...)
{
	va_list ap;
	int r;

	va_start(ap, fmt);
	r = db_vquery(db, ret, err, sql, fmt, ap);
	va_end(ap);
	return r;
}

int db_step(struct db_query *q, struct err *err)
{
	int rc = sqlite3_step(q->stmt);

	if (rc == SQLITE_ROW)
		return 1;
	if (rc == SQLITE_DONE)
		return 0;
	return db_fail(q->db, err, sqlite3_sql(q->stmt));
}

int db_run(struct db *db, struct err *err, const char *sql, const char *fmt, ...)
{
	auto_query struct db_query q = DB_QUERY_INIT;
	va_list ap;
	int r;

	va_start(ap, fmt);
	r = db_vquery(db, &q, err, sql, fmt, ap);
	va_end(ap);
	while (r >= 0) {
		r = db_step(&q, err);
		if (r == 0)
			break;
	}
	return r;
}

int db_get_int(struct db *db, int64_t *ret, struct err *err, const char *sql, const char *fmt, ...)
{
	auto_query struct db_query q = DB_QUERY_INIT;
	va_list ap;
	int r;

	va_start(ap, fmt);
	r = db_vquery(db, &q, err, sql, fmt, ap);
	va_end(ap);
	if (r >= 0)
		r = db_step(&q, err);
	if (r > 0)
		*ret = db_int(&q, 0);
	return r;
}

int db_changes(const struct db *db)
{
	return sqlite3_changes(db->handle);
}

int64_t db_last_id(const struct db *db)
{
	return sqlite3_last_insert_rowid(db->handle);
}

const char *db_text(const struct db_query *q, int column)
{
	const unsigned char *text = sqlite3_column_text(q->stmt, column);

	return text ? (const char *)text : "";
}

int64_t db_int(const struct db_query *q, int column)
{
	return sqlite3_column_int64(q->stmt, column);
}

bool db_is_null(const struct db_query *q, int column)
{
	return sqlite3_column_type(q->stmt, column) == SQLITE_NULL;
}

void db_query_release(struct db_query *q)
{
	sqlite3_stmt **idle;

	if (!q->stmt)
		return;
	idle = idle_slot(q->db, sqlite3_sql(q->stmt));
	(void)sqlite3_reset(q->stmt);
	(void)sqlite3_clear_bindings(q->stmt);
	(void)sqlite3_finalize(*idle);
	*idle = take_ptr(q->stmt);
}
