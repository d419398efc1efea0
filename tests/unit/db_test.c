/* SPDX-License-Identifier: Apache-2.0 */
#include "graph/store/db.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <string.h>
#include <sys/stat.h>

#include "driver/base/digest.h"
#include "graph/store/store.h"
#include "tests/unit/kit.h"
#include "tests/unit/sandbox.h"
#include "tests/unit/util.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#define OPENERS 8

static struct db *open_db(void)
{
	struct db *db = NULL;
	struct err err = { 0 };

	if (!exists("format"))
		put_file("format", "");
	if (db_open("graph.db", "format", false, &db, &err) < 0)
		fail_msg("%s", err.text);
	return db;
}

static int64_t number(struct db *db, const char *sql)
{
	struct err err = { 0 };
	int64_t value = -4711;

	if (db_get_int(db, &value, &err, sql, "") < 0)
		fail_msg("%s", err.text);
	return value;
}

static void with_sqlite(const char *sql)
{
	sqlite3 *handle;

	assert_int_equal(sqlite3_open("graph.db", &handle), SQLITE_OK);
	assert_int_equal(sqlite3_exec(handle, sql, NULL, NULL, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_close(handle), SQLITE_OK);
}

#define ADD_BLOB "INSERT INTO blob(digest, media_type, size, stored) VALUES(?, 'x', ?, 1)"

static int add_blob(struct db *db, const char *digest, int64_t size)
{
	auto_transaction struct db_transaction t = DB_TRANSACTION_INIT;
	struct err err = { 0 };
	int r = db_begin(db, &t, &err);

	if (r >= 0)
		r = db_run(db, &err, ADD_BLOB, "si", digest, size);
	return r < 0 ? r : db_commit(&t, &err);
}

/* ---- the schema ---- */

static void a_new_database_has_the_schema(void **state)
{
	static const char *const tables[] = {
		"layer",	  "blob",	 "image", "image_layer", "tag",	   "snapshot",
		"snapshot_layer", "mount",	 "lease", "lease_layer", "trash",  "image_digest",
		"chain",	  "chain_patch", "keyed", "keyed_layer", "setting"
	};
	struct db *db = open_db();

	assert_int_equal(number(db, "PRAGMA user_version"), db_schema_version());
	for (size_t i = 0; i < ARRAY_LEN(tables); i++) {
		int64_t found = 0;

		assert_int_equal(
			db_get_int(
				db, &found, NULL,
				"SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = ?",
				"s", tables[i]),
			1);
		assert_int_equal(found, 1);
	}
	db_free(db);
}

static void an_empty_file_is_migrated_from_the_start(void **state)
{
	struct db *db;

	put_file("graph.db", "");
	db = open_db();
	assert_int_equal(number(db, "PRAGMA user_version"), db_schema_version());
	assert_int_equal(number(db, "SELECT count(*) FROM layer"), 0);
	db_free(db);
}

static void migrating_to_what_is_reached_changes_nothing(void **state)
{
	struct db *db = open_db();
	int64_t tables = number(db, "SELECT count(*) FROM sqlite_schema");

	assert_int_equal(add_blob(db, "sha256:1", 11), 0);
	for (int version = 0; version <= db_schema_version(); version++)
		assert_int_equal(db_migrate_to(db, version, NULL), 0);
	assert_int_equal(number(db, "PRAGMA user_version"), db_schema_version());
	assert_int_equal(number(db, "SELECT count(*) FROM sqlite_schema"), tables);
	assert_int_equal(number(db, "SELECT size FROM blob"), 11);
	db_free(db);
}

/* What schema 1 had of the tables that migration 2 touches, or that point at them. */
static const char schema_1[] =
	"CREATE TABLE layer(id INTEGER PRIMARY KEY, diff_id TEXT NOT NULL UNIQUE,"
	" bytes INTEGER NOT NULL, disk_bytes INTEGER NOT NULL, entries INTEGER NOT NULL,"
	" root_implied INTEGER NOT NULL, created INTEGER NOT NULL) STRICT;"
	"CREATE TABLE blob(digest TEXT PRIMARY KEY, media_type TEXT NOT NULL, size INTEGER NOT NULL,"
	" stored INTEGER NOT NULL, layer INTEGER REFERENCES layer(id) ON DELETE CASCADE) STRICT,"
	" WITHOUT ROWID;"
	"CREATE TABLE image(id INTEGER PRIMARY KEY AUTOINCREMENT,"
	" image_id TEXT NOT NULL UNIQUE REFERENCES blob(digest),"
	" manifest TEXT REFERENCES blob(digest), os TEXT NOT NULL, architecture TEXT NOT NULL,"
	" variant TEXT NOT NULL, created INTEGER NOT NULL, loaded INTEGER NOT NULL) STRICT;"
	"CREATE TABLE image_layer(image INTEGER NOT NULL REFERENCES image(id),"
	" position INTEGER NOT NULL, layer INTEGER NOT NULL REFERENCES layer(id),"
	" PRIMARY KEY(image, position)) STRICT, WITHOUT ROWID;"
	"PRAGMA user_version = 1";

static int run(struct db *db, const char *sql)
{
	auto_transaction struct db_transaction t = DB_TRANSACTION_INIT;
	int r = db_begin(db, &t, NULL);

	if (r >= 0)
		r = db_run(db, NULL, sql, "");
	return r < 0 ? r : db_commit(&t, NULL);
}

/* A store of the first schema keeps what it had. */
static void migration_2_keeps_layers_and_their_edges(void **state)
{
	struct db *db;

	with_sqlite(schema_1);
	with_sqlite("INSERT INTO layer VALUES(7, 'sha256:aa', 1, 2, 3, 0, 5);"
		    "INSERT INTO blob VALUES('sha256:cc', 'x', 1, 1, NULL);"
		    "INSERT INTO blob VALUES('sha256:bb', 'x', 1, 0, 7);"
		    "INSERT INTO image(image_id, os, architecture, variant, created, loaded)"
		    " VALUES('sha256:cc', '', '', '', 0, 0);"
		    "INSERT INTO image_layer SELECT id, 0, 7 FROM image");
	db = open_db();
	assert_int_equal(number(db, "PRAGMA user_version"), db_schema_version());
	assert_int_equal(number(db, "SELECT count(*) FROM layer WHERE id = 7 AND key = 'sha256:aa'"
				    " AND diff_id = key AND kind = 'plain' AND implied IS NULL"
				    " AND bytes = 1 AND disk_bytes = 2 AND entries = 3"),
			 1);
	assert_int_equal(number(db, "SELECT count(*) FROM image_layer WHERE layer = 7"), 1);
	assert_int_equal(number(db, "SELECT layer FROM blob WHERE digest = 'sha256:bb'"), 7);
	/* References hold, and keys are one layer's. */
	assert_int_equal(run(db, "DELETE FROM layer"), -EBUSY);
	assert_int_equal(run(db, "INSERT INTO layer(key, bytes, disk_bytes, entries, root_implied,"
				 " created) VALUES('sha256:aa', 0, 0, 0, 0, 0)"),
			 -EEXIST);
	assert_true(run(db, "UPDATE layer SET kind = 'other'") < 0);
	db_free(db);
}

/* What migrations 2 and 3 make of these, and the other tables that say something of an image. */
static const char schema_3[] =
	"ALTER TABLE layer RENAME COLUMN diff_id TO key;"
	"ALTER TABLE layer ADD COLUMN diff_id TEXT;"
	"ALTER TABLE layer ADD COLUMN kind TEXT NOT NULL DEFAULT 'plain'"
	" CHECK(kind IN ('plain', 'bound', 'patch'));"
	"ALTER TABLE layer ADD COLUMN implied INTEGER;"
	"CREATE TABLE tag(reference TEXT PRIMARY KEY, image INTEGER NOT NULL REFERENCES image(id))"
	" STRICT, WITHOUT ROWID;"
	"CREATE TABLE image_digest(reference TEXT NOT NULL, image INTEGER NOT NULL REFERENCES image(id),"
	" PRIMARY KEY(reference, image)) STRICT, WITHOUT ROWID;"
	"PRAGMA user_version = 3";

/* Layers 1 and 2 plain, 3 plain, 4 bound, 5 a patch; images 1 of 1, 2 and the patch; 2 of 1, 2, 3; 3 of 1, 4;
 * 4 of 2 alone; 5 of 3, 3. */
static const char images_3[] =
	"INSERT INTO layer(id, key, diff_id, kind, implied, bytes, disk_bytes, entries, root_implied,"
	" created) VALUES"
	" (1, 'sha256:d1', 'sha256:d1', 'plain', 0, 11, 12, 13, 0, 15),"
	" (2, 'sha256:d2', 'sha256:d2', 'plain', 2, 21, 22, 23, 1, 25),"
	" (3, 'sha256:d3', 'sha256:d3', 'plain', NULL, 31, 32, 33, 0, 35),"
	" (4, 'sha256:b4', 'sha256:d4', 'bound', 0, 41, 42, 43, 0, 45),"
	" (5, 'sha256:f5', NULL, 'patch', 0, 51, 52, 53, 0, 55);"
	"INSERT INTO blob VALUES('sha256:c1', 'x', 1, 1, NULL), ('sha256:c2', 'x', 2, 1, NULL),"
	" ('sha256:c3', 'x', 3, 1, NULL), ('sha256:c4', 'x', 4, 1, NULL), ('sha256:c5', 'x', 5, 1, NULL),"
	" ('sha256:a1', 'm', 6, 1, NULL), ('sha256:e2', 'l', 7, 0, 2);"
	"INSERT INTO image VALUES(1, 'sha256:c1', 'sha256:a1', 'linux', 'amd64', '', 101, 102),"
	" (2, 'sha256:c2', NULL, 'linux', 'arm64', 'v8', 201, 202), (3, 'sha256:c3', NULL, '', '', '', 0, 0),"
	" (4, 'sha256:c4', NULL, '', '', '', 0, 0), (5, 'sha256:c5', NULL, '', '', '', 0, 0);"
	"INSERT INTO image_layer VALUES(1, 0, 1), (1, 1, 2), (1, 2, 5), (2, 0, 1), (2, 1, 2), (2, 2, 3),"
	" (3, 0, 1), (3, 1, 4), (4, 0, 2), (5, 0, 3), (5, 1, 3);"
	"INSERT INTO tag VALUES('q.io/a:1', 1), ('q.io/b:1', 2);"
	"INSERT INTO image_digest VALUES('q.io/a@sha256:a1', 1)";

/* OCI image-spec config.md, chainID. */
static void next_chain(char chain[DIGEST_TEXT_MAX], const char *diff_id)
{
	char text[2 * DIGEST_TEXT_MAX];
	struct digest digest;

	(void)snprintf(text, sizeof(text), "%s %s", chain, diff_id);
	assert_int_equal(digest_of("sha256", text, strlen(text), &digest, NULL), 0);
	(void)snprintf(chain, DIGEST_TEXT_MAX, "%s", digest.text);
}

/* The chain of that name, "" for none beneath, is there with that layer. */
static void assert_chain(struct db *db, const char *chain_id, const char *parent, int64_t layer)
{
	int64_t found = 0;

	assert_int_equal(db_get_int(db, &found, NULL,
				    "SELECT layer FROM chain WHERE chain_id = ?"
				    " AND coalesce(parent, '') = ?",
				    "ss", chain_id, parent),
			 1);
	assert_int_equal(found, layer);
}

static struct db *migrated_from_3(void)
{
	with_sqlite(schema_1);
	with_sqlite(schema_3);
	with_sqlite(images_3);
	return open_db();
}

static void migration_4_names_the_chains_of_all_images(void **state)
{
	struct db *db = migrated_from_3();
	char two[DIGEST_TEXT_MAX] = "sha256:d1", three[DIGEST_TEXT_MAX],
	     bound[DIGEST_TEXT_MAX] = "sha256:d1", twice[DIGEST_TEXT_MAX] = "sha256:d3";

	next_chain(two, "sha256:d2");
	(void)snprintf(three, sizeof(three), "%s", two);
	next_chain(three, "sha256:d3");
	next_chain(bound, "sha256:d4");
	next_chain(twice, "sha256:d3");
	assert_int_equal(number(db, "PRAGMA user_version"), db_schema_version());
	assert_int_equal(number(db, "SELECT count(*) FROM chain"), 7);
	assert_chain(db, "sha256:d1", "", 1);
	assert_chain(db, "sha256:d2", "", 2);
	assert_chain(db, "sha256:d3", "", 3);
	assert_chain(db, two, "sha256:d1", 2);
	assert_chain(db, three, two, 3);
	assert_chain(db, bound, "sha256:d1", 4);
	assert_chain(db, twice, "sha256:d3", 3);
	/* Of two it is known that no patch belongs on them: all their layers say what they imply, and that is
	 * nothing. */
	assert_int_equal(number(db, "SELECT count(*) FROM chain_patch WHERE layer IS NULL"), 2);
	assert_int_equal(number(db, "SELECT count(*) FROM keyed"), 0);
	db_free(db);
}

static void migration_4_keeps_images_as_they_were(void **state)
{
	struct db *db = migrated_from_3();

	assert_int_equal(number(db, "SELECT count(*) FROM image WHERE kept_until IS NULL"), 5);
	assert_int_equal(number(db,
				"SELECT count(*) FROM image WHERE id = 1 AND image_id = 'sha256:c1'"
				" AND manifest = 'sha256:a1' AND os = 'linux'"
				" AND architecture = 'amd64' AND created = 101 AND loaded = 102"),
			 1);
	assert_int_equal(number(db, "SELECT count(*) FROM image_layer"), 11);
	assert_int_equal(number(db,
				"SELECT layer FROM image_layer WHERE image = 1 AND position = 2"),
			 5);
	assert_int_equal(number(db, "SELECT count(*) FROM tag"), 2);
	assert_int_equal(number(db, "SELECT image FROM image_digest"), 1);
	assert_int_equal(number(db,
				"SELECT count(*) FROM layer WHERE adopted = 0 AND inodes IS NULL"),
			 5);
	assert_int_equal(number(db, "SELECT count(*) FROM layer WHERE id = 2 AND key = 'sha256:d2'"
				    " AND kind = 'plain' AND implied = 2 AND bytes = 21"
				    " AND disk_bytes = 22 AND entries = 23 AND root_implied = 1"),
			 1);
	assert_int_equal(number(db, "SELECT count(*) FROM blob"), 7);
	assert_int_equal(number(db, "SELECT layer FROM blob WHERE digest = 'sha256:e2'"), 2);
	db_free(db);
}

static void a_chain_goes_with_its_layer_and_so_does_what_is_above(void **state)
{
	struct db *db = migrated_from_3();

	assert_int_equal(run(db,
			     "INSERT INTO chain_patch SELECT chain_id, 5 FROM chain WHERE layer = 2"
			     " AND parent IS NOT NULL"),
			 0);
	assert_int_equal(run(db, "DELETE FROM image_layer"), 0);
	/* The patch: the chain is there, and again nobody knows of one. */
	assert_int_equal(run(db, "DELETE FROM layer WHERE id = 5"), 0);
	assert_int_equal(number(db, "SELECT count(*) FROM chain"), 7);
	assert_int_equal(number(db, "SELECT count(*) FROM chain_patch WHERE layer IS NOT NULL"), 0);
	assert_int_equal(run(db, "DELETE FROM layer WHERE id = 2"), 0);
	assert_int_equal(number(db, "SELECT count(*) FROM chain"), 4);
	assert_int_equal(run(db, "DELETE FROM layer WHERE id = 1"), 0);
	assert_int_equal(number(db, "SELECT count(*) FROM chain"), 2);
	assert_int_equal(number(db, "SELECT count(*) FROM chain WHERE layer = 3"), 2);
	db_free(db);
}

static void a_migration_that_fails_leaves_nothing_of_itself(void **state)
{
	struct db *db = NULL;
	struct err err = { 0 };
	sqlite3 *handle;
	sqlite3_stmt *stmt;

	/* Somebody else's table is in the way of one of the last that the first migration makes. */
	put_file("format", "");
	with_sqlite("CREATE TABLE lease(x)");
	assert_true(db_open("graph.db", "format", false, &db, &err) < 0);
	assert_null(db);
	assert_words(&err, "lease");
	assert_int_equal(sqlite3_open("graph.db", &handle), SQLITE_OK);
	assert_int_equal(sqlite3_prepare_v2(handle, "SELECT count(*) FROM sqlite_schema", -1, &stmt,
					    NULL),
			 SQLITE_OK);
	assert_int_equal(sqlite3_step(stmt), SQLITE_ROW);
	assert_int_equal(sqlite3_column_int(stmt, 0), 1);
	assert_int_equal(sqlite3_finalize(stmt), SQLITE_OK);
	assert_int_equal(sqlite3_close(handle), SQLITE_OK);
}

static void opening_again_keeps_what_is_there(void **state)
{
	struct db *db = open_db();

	assert_int_equal(add_blob(db, "sha256:1", 11), 0);
	db_free(db);
	db = open_db();
	assert_int_equal(number(db, "SELECT size FROM blob"), 11);
	db_free(db);
}

static void a_newer_database_is_refused(void **state)
{
	struct db *db = open_db();
	struct err err = { 0 };
	char sql[64];

	db_free(db);
	(void)snprintf(sql, sizeof(sql), "PRAGMA user_version = %d", db_schema_version() + 1);
	with_sqlite(sql);
	db = NULL;
	assert_int_equal(db_open("graph.db", "format", false, &db, &err), -EPROTO);
	assert_null(db);
	assert_words(&err, "graph.db");
	assert_words(&err, "newer version");
}

static void what_is_no_database_is_refused(void **state)
{
	struct db *db = NULL;
	struct err err = { 0 };

	put_file("format", "");
	put_file("graph.db",
		 "this is a text, and a long one, so that it can't be taken for an empty file; "
		 "SQLite looks at the first sixteen bytes and at the size of a page");
	assert_int_equal(db_open("graph.db", "format", false, &db, &err), -EUCLEAN);
	assert_null(db);
	assert_words(&err, "graph.db");
}

static void a_missing_lock_file_is_an_error(void **state)
{
	struct db *db = NULL;
	struct err err = { 0 };

	assert_int_equal(db_open("graph.db", "nowhere", false, &db, &err), -ENOENT);
	assert_words(&err, "nowhere");
}

static void it_keeps_a_log_and_foreign_keys(void **state)
{
	struct db *db = NULL;
	auto_query struct db_query q = DB_QUERY_INIT;

	put_file("format", "");
	assert_int_equal(db_open("graph.db", "format", true, &db, NULL), 0);
	assert_int_equal(number(db, "PRAGMA foreign_keys"), 1);
	assert_int_equal(number(db, "PRAGMA synchronous"), 2);
	assert_int_equal(db_set_durable(db, false, NULL), 0);
	assert_int_equal(number(db, "PRAGMA synchronous"), 1);
	assert_int_equal(db_set_durable(db, true, NULL), 0);
	assert_int_equal(number(db, "PRAGMA synchronous"), 2);
	assert_int_equal(db_query(db, &q, NULL, "PRAGMA journal_mode", ""), 0);
	assert_int_equal(db_step(&q, NULL), 1);
	assert_string_equal(db_text(&q, 0), "wal");
	db_query_release(&q);
	db_free(db);
	db = open_db();
	assert_int_equal(number(db, "PRAGMA synchronous"), 0);
	db_free(db);
}

/* ---- transactions ---- */

static void what_is_committed_is_seen_by_others(void **state)
{
	struct db *one = open_db(), *other = open_db();

	assert_int_equal(add_blob(one, "sha256:1", 5), 0);
	assert_int_equal(number(other, "SELECT size FROM blob"), 5);
	db_free(one);
	db_free(other);
}

static void leaving_without_a_commit_leaves_nothing(void **state)
{
	struct db *db = open_db();

	{
		auto_transaction struct db_transaction t = DB_TRANSACTION_INIT;

		assert_int_equal(db_begin(db, &t, NULL), 0);
		assert_int_equal(db_run(db, NULL, ADD_BLOB, "si", "sha256:1", (int64_t)1), 0);
		assert_int_equal(number(db, "SELECT count(*) FROM blob"), 1);
	}
	assert_int_equal(number(db, "SELECT count(*) FROM blob"), 0);
	/* And the writer's lock is free again. */
	assert_int_equal(add_blob(db, "sha256:2", 1), 0);
	db_free(db);
}

static void a_commit_is_not_undone_by_leaving(void **state)
{
	struct db *db = open_db();

	{
		auto_transaction struct db_transaction t = DB_TRANSACTION_INIT;

		assert_int_equal(db_begin(db, &t, NULL), 0);
		assert_int_equal(db_run(db, NULL, ADD_BLOB, "si", "sha256:1", (int64_t)1), 0);
		assert_int_equal(db_commit(&t, NULL), 0);
		assert_null(t.db);
	}
	assert_int_equal(number(db, "SELECT count(*) FROM blob"), 1);
	db_free(db);
}

static void readers_see_one_moment(void **state)
{
	struct db *reader = open_db(), *writer = open_db();
	auto_transaction struct db_transaction t = DB_TRANSACTION_INIT;

	assert_int_equal(add_blob(writer, "sha256:1", 1), 0);
	assert_int_equal(db_begin_read(reader, &t, NULL), 0);
	assert_int_equal(number(reader, "SELECT count(*) FROM blob"), 1);
	/* The writer does not wait for it. */
	assert_int_equal(add_blob(writer, "sha256:2", 1), 0);
	assert_int_equal(number(reader, "SELECT count(*) FROM blob"), 1);
	db_rollback(&t);
	assert_int_equal(number(reader, "SELECT count(*) FROM blob"), 2);
	db_free(reader);
	db_free(writer);
}

/* ---- batches ---- */

static int64_t blobs(struct db *db)
{
	return number(db, "SELECT count(*) FROM blob");
}

static void parts_of_a_batch_succeed_or_fail_by_themselves(void **state)
{
	struct db *db = open_db();

	assert_int_equal(db_batch_begin(db, NULL), 0);
	assert_int_equal(add_blob(db, "sha256:1", 1), 0);
	{
		auto_transaction struct db_transaction t = DB_TRANSACTION_INIT;

		assert_int_equal(db_begin(db, &t, NULL), 0);
		assert_int_equal(db_run(db, NULL, ADD_BLOB, "si", "sha256:2", (int64_t)2), 0);
		assert_int_equal(blobs(db), 2);
	}
	assert_int_equal(blobs(db), 1);
	assert_int_equal(add_blob(db, "sha256:1", 1), -EEXIST);
	assert_int_equal(add_blob(db, "sha256:3", 3), 0);
	assert_int_equal(db_batch_end(db, NULL), 0);
	assert_int_equal(number(db, "SELECT sum(size) FROM blob"), 4);
	/* What follows is a transaction again. */
	assert_int_equal(add_blob(db, "sha256:4", 4), 0);
	assert_int_equal(blobs(db), 3);
	db_free(db);
}

static void others_see_all_of_a_batch_or_nothing(void **state)
{
	struct db *db = open_db(), *other = open_db();

	assert_int_equal(db_batch_begin(db, NULL), 0);
	assert_int_equal(add_blob(db, "sha256:1", 1), 0);
	assert_int_equal(blobs(other), 0);
	assert_int_equal(add_blob(db, "sha256:2", 1), 0);
	assert_int_equal(blobs(other), 0);
	assert_int_equal(db_batch_end(db, NULL), 0);
	assert_int_equal(blobs(other), 2);
	db_free(db);
	db_free(other);
}

static void a_batch_that_is_dropped_leaves_nothing(void **state)
{
	struct db *db = open_db(), *other = open_db();

	assert_int_equal(db_batch_begin(db, NULL), 0);
	assert_int_equal(add_blob(db, "sha256:1", 1), 0);
	db_batch_drop(db);
	assert_int_equal(blobs(db), 0);
	assert_int_equal(add_blob(other, "sha256:2", 1), 0);
	assert_int_equal(add_blob(db, "sha256:1", 1), 0);
	assert_int_equal(blobs(other), 2);
	db_free(db);
	db_free(other);
}

static void a_batch_whose_end_fails_leaves_nothing(void **state)
{
	struct db *db = open_db(), *other = open_db();
	struct err err = { 0 };

	assert_int_equal(db_batch_begin(db, NULL), 0);
	assert_int_equal(add_blob(db, "sha256:1", 1), 0);
	/* A reference to nothing, that is looked at in the end only. */
	assert_int_equal(db_run(db, NULL, "PRAGMA defer_foreign_keys = 1", ""), 0);
	assert_int_equal(db_run(db, NULL, "INSERT INTO tag(reference, image) VALUES('a', 4711)",
				""),
			 0);
	assert_int_equal(add_blob(db, "sha256:2", 1), 0);
	assert_int_equal(db_batch_end(db, &err), -EBUSY);
	assert_words(&err, "FOREIGN KEY");
	assert_int_equal(blobs(db), 0);
	assert_int_equal(number(db, "SELECT count(*) FROM tag"), 0);
	assert_int_equal(add_blob(other, "sha256:3", 1), 0);
	assert_int_equal(add_blob(db, "sha256:4", 1), 0);
	assert_int_equal(blobs(other), 2);
	db_free(db);
	db_free(other);
}

/* SQLite then rolls back more than the part, and what comes after must not become durable by itself. */
static void a_batch_that_runs_out_of_space_leaves_nothing(void **state)
{
	auto_free char *large = calloc(1, 200001);
	struct db *db = open_db(), *other = open_db();
	char pragma[64];
	int third;

	memset(large, 'x', 200000);
	(void)snprintf(pragma, sizeof(pragma), "PRAGMA max_page_count = %lld",
		       (long long)number(db, "PRAGMA page_count") + 4);
	assert_int_equal(db_batch_begin(db, NULL), 0);
	assert_int_equal(add_blob(db, "sha256:1", 1), 0);
	assert_true(number(db, pragma) > 0);
	assert_int_equal(add_blob(db, large, 1), -ENOSPC);
	third = add_blob(db, "sha256:3", 1);
	assert_int_equal(blobs(other), 0);
	assert_int_equal(db_batch_end(db, NULL), third);
	assert_int_equal(blobs(other), third < 0 ? 0 : 2);
	assert_int_equal(add_blob(other, "sha256:4", 1), 0);
	assert_int_equal(add_blob(db, "sha256:5", 1), 0);
	db_free(db);
	db_free(other);
}

/* Reads in a transaction of its own, and says how much there is. */
static int count_as_writer(struct child *parent, void *arg)
{
	struct db_transaction t = DB_TRANSACTION_INIT;
	struct db *db = NULL;
	int64_t found = -1;
	int r = kit_hear(parent) ? db_open("graph.db", "format", false, &db, NULL) : -EPIPE;

	kit_tell(parent);
	if (r >= 0)
		r = db_begin(db, &t, NULL);
	if (r >= 0)
		r = db_get_int(db, &found, NULL, "SELECT count(*) FROM blob", "");
	db_rollback(&t);
	db_free(db);
	return r < 0 ? 99 : (int)found;
}

static int try_to_write(void)
{
	auto_locks struct store_locks locks = { .fd = open("format", O_RDWR | O_CLOEXEC) };

	return store_lock_offset(&locks, STORE_LOCK_WRITER, STORE_LOCK_TRY, NULL);
}

static void nobody_else_writes_during_a_batch(void **state)
{
	struct child child = kit_fork(count_as_writer, NULL);
	struct db *db = open_db();

	assert_int_equal(db_batch_begin(db, NULL), 0);
	assert_int_equal(add_blob(db, "sha256:1", 1), 0);
	assert_int_equal(try_to_write(), -EAGAIN);
	kit_tell(&child);
	assert_true(kit_hear(&child));
	assert_int_equal(add_blob(db, "sha256:2", 1), 0);
	assert_int_equal(try_to_write(), -EAGAIN);
	assert_int_equal(db_batch_end(db, NULL), 0);
	assert_int_equal(kit_wait(&child), 2);
	assert_int_equal(try_to_write(), 0);
	db_free(db);
}

static int die_in_batch(struct child *parent, void *arg)
{
	struct db *db = NULL;

	if (db_open("graph.db", "format", false, &db, NULL) < 0 || db_batch_begin(db, NULL) < 0 ||
	    add_blob(db, "sha256:1", 1) < 0)
		return 1;
	kit_tell(parent);
	(void)kit_hear(parent);
	return 1;
}

static void a_batch_of_who_dies_leaves_nothing_and_frees_the_lock(void **state)
{
	struct child child;
	struct db *db;

	put_file("format", "");
	child = kit_fork(die_in_batch, NULL);
	assert_true(kit_hear(&child));
	kit_kill(&child);
	db = open_db();
	assert_int_equal(blobs(db), 0);
	assert_int_equal(add_blob(db, "sha256:2", 1), 0);
	db_free(db);
}

static void a_batch_is_as_durable_as_its_end(void **state)
{
	struct db *db = NULL;

	put_file("format", "");
	assert_int_equal(db_open("graph.db", "format", true, &db, NULL), 0);
	assert_int_equal(db_batch_begin(db, NULL), 0);
	/* What need not be durable by itself takes nothing from the others. */
	assert_int_equal(db_set_durable(db, false, NULL), 0);
	assert_int_equal(add_blob(db, "sha256:1", 1), 0);
	assert_int_equal(number(db, "PRAGMA synchronous"), 2);
	assert_int_equal(db_set_durable(db, true, NULL), 0);
	assert_int_equal(db_batch_end(db, NULL), 0);
	assert_int_equal(number(db, "PRAGMA synchronous"), 2);
	db_free(db);
}

/* ---- statements ---- */

#define FROM_SIZE "SELECT digest FROM blob WHERE size >= ? ORDER BY size"

static void one_text_may_run_twice_at_once(void **state)
{
	struct db *db = open_db();
	auto_query struct db_query outer = DB_QUERY_INIT, inner = DB_QUERY_INIT;

	for (int64_t i = 1; i <= 3; i++)
		assert_int_equal(add_blob(db, i == 1 ? "a" : i == 2 ? "b" : "c", i), 0);
	for (int round = 0; round < 3; round++) {
		assert_int_equal(db_query(db, &outer, NULL, FROM_SIZE, "i", (int64_t)1), 0);
		assert_int_equal(db_step(&outer, NULL), 1);
		assert_string_equal(db_text(&outer, 0), "a");
		assert_int_equal(db_query(db, &inner, NULL, FROM_SIZE, "i", (int64_t)3), 0);
		assert_int_equal(db_step(&inner, NULL), 1);
		assert_string_equal(db_text(&inner, 0), "c");
		assert_int_equal(db_step(&outer, NULL), 1);
		assert_string_equal(db_text(&outer, 0), "b");
		assert_int_equal(db_step(&inner, NULL), 0);
		db_query_release(&inner);
		assert_int_equal(db_step(&outer, NULL), 1);
		assert_string_equal(db_text(&outer, 0), "c");
		db_query_release(&outer);
	}
	db_free(db);
}

static void a_statement_that_is_used_again_has_forgotten_its_parameters(void **state)
{
	struct db *db = open_db();
	int64_t is_null = 4711;

	assert_int_equal(db_get_int(db, &is_null, NULL, "SELECT ?1 IS NULL", "s", "x"), 1);
	assert_int_equal(is_null, 0);
	assert_int_equal(db_get_int(db, &is_null, NULL, "SELECT ?1 IS NULL", ""), 1);
	assert_int_equal(is_null, 1);
	db_free(db);
}

static void more_texts_than_are_kept_do_no_harm(void **state)
{
	struct db *db = open_db();
	char text[64];

	for (int round = 0; round < 2; round++)
		for (int i = 0; i < 1000; i++) {
			(void)snprintf(text, sizeof(text), "SELECT %d", i);
			assert_int_equal(number(db, text), i);
		}
	db_free(db);
}

static void a_kept_statement_outlives_a_change_of_the_schema(void **state)
{
	struct db *db = open_db();

	assert_int_equal(number(db, "SELECT count(*) FROM sqlite_schema WHERE name = 'new'"), 0);
	assert_int_equal(blobs(db), 0);
	with_sqlite("CREATE TABLE new(x); DROP INDEX blob_layer");
	assert_int_equal(number(db, "SELECT count(*) FROM sqlite_schema WHERE name = 'new'"), 1);
	assert_int_equal(blobs(db), 0);
	db_free(db);
}

/* A statement that stays open keeps its moment of the database, and the log from being emptied. */
static void assert_nothing_open(struct db *db, struct db *other)
{
	struct stat st;

	assert_int_equal(add_blob(other, "sha256:new", 7), 0);
	assert_int_equal(number(db, "SELECT size FROM blob WHERE digest = 'sha256:new'"), 7);
	db_shrink(other);
	st = look("graph.db-wal");
	assert_int_equal(st.st_size, 0);
	assert_int_equal(run(other, "DELETE FROM blob WHERE digest = 'sha256:new'"), 0);
}

static void what_fails_leaves_no_statement_open(void **state)
{
	struct db *db = open_db(), *other = open_db();
	int64_t value = 0;

	assert_int_equal(add_blob(db, "sha256:1", 1), 0);
	assert_int_equal(add_blob(db, "sha256:1", 1), -EEXIST);
	assert_nothing_open(db, other);
	assert_int_equal(db_run(db, NULL, ADD_BLOB, "si", "sha256:1", (int64_t)1), -EEXIST);
	assert_nothing_open(db, other);
	assert_int_equal(db_run(db, NULL, "INSERT INTO tag(reference, image) VALUES('a', 1)", ""),
			 -EBUSY);
	assert_nothing_open(db, other);
	assert_true(db_get_int(db, &value, NULL, "SELECT abs(?)", "i", INT64_MIN) < 0);
	assert_nothing_open(db, other);
	assert_true(db_get_int(db, &value, NULL, "SELECT chain_next('', x'00')", "") >= 0);
	assert_nothing_open(db, other);
	db_free(db);
	db_free(other);
}

static void a_query_that_is_given_up_is_closed(void **state)
{
	struct db *db = open_db(), *other = open_db();
	int64_t size = 0;

	assert_int_equal(add_blob(db, "sha256:1", 1), 0);
	assert_int_equal(add_blob(db, "sha256:2", 2), 0);
	{
		auto_query struct db_query q = DB_QUERY_INIT;

		assert_int_equal(db_query(db, &q, NULL, FROM_SIZE, "i", (int64_t)0), 0);
		assert_int_equal(db_step(&q, NULL), 1);
	}
	assert_nothing_open(db, other);
	assert_int_equal(db_get_int(db, &size, NULL, "SELECT size FROM blob ORDER BY size", ""), 1);
	assert_int_equal(size, 1);
	assert_nothing_open(db, other);
	db_free(db);
	db_free(other);
}

static void errors_have_their_codes(void **state)
{
	struct db *db = open_db();
	struct err err = { 0 };

	assert_int_equal(add_blob(db, "sha256:1", 1), 0);
	assert_int_equal(add_blob(db, "sha256:1", 1), -EEXIST);
	assert_int_equal(db_run(db, &err, "INSERT INTO tag(reference, image) VALUES('a', 1)", ""),
			 -EBUSY);
	assert_words(&err, "FOREIGN KEY");
	assert_int_equal(db_run(db, &err, "INSERT INTO nothing VALUES(1)", ""), -EIO);
	assert_words(&err, "nothing");
	assert_int_equal(db_run(db, &err,
				"INSERT INTO trash(kind, hex, name) VALUES('other', '', '')", ""),
			 -EIO);
	assert_words(&err, "CHECK");
	db_free(db);
}

static void parameters_come_back_as_they_were(void **state)
{
	struct db *db = open_db();
	auto_query struct db_query q = DB_QUERY_INIT;
	const char *none = NULL;

	assert_int_equal(db_query(db, &q, NULL, "SELECT ?1, ?2, ?3, ?4", "sisi",
				  "it's; DROP TABLE blob", INT64_MIN, none, (int64_t)7),
			 0);
	assert_int_equal(db_step(&q, NULL), 1);
	assert_string_equal(db_text(&q, 0), "it's; DROP TABLE blob");
	assert_true(db_int(&q, 1) == INT64_MIN);
	assert_true(db_is_null(&q, 2));
	assert_string_equal(db_text(&q, 2), "");
	assert_int_equal(db_int(&q, 2), 0);
	assert_false(db_is_null(&q, 3));
	assert_int_equal(db_step(&q, NULL), 0);
	db_query_release(&q);
	db_free(db);
}

static void one_number_or_none(void **state)
{
	struct db *db = open_db();
	int64_t value = 4711;

	assert_int_equal(db_get_int(db, &value, NULL, "SELECT size FROM blob", ""), 0);
	assert_int_equal(value, 4711);
	assert_int_equal(db_get_int(db, &value, NULL, "SELECT ? + 1", "i", (int64_t)41), 1);
	assert_int_equal(value, 42);
	db_free(db);
}

static void changes_and_ids_are_told(void **state)
{
	struct db *db = open_db();
	auto_transaction struct db_transaction t = DB_TRANSACTION_INIT;

	assert_int_equal(db_begin(db, &t, NULL), 0);
	assert_int_equal(db_run(db, NULL, "INSERT INTO lease(id, name, created) VALUES(77, 'a', 0)",
				""),
			 0);
	assert_int_equal(db_last_id(db), 77);
	assert_int_equal(db_run(db, NULL, "DELETE FROM lease WHERE name = 'b'", ""), 0);
	assert_int_equal(db_changes(db), 0);
	assert_int_equal(db_run(db, NULL, "DELETE FROM lease WHERE name = 'a'", ""), 0);
	assert_int_equal(db_changes(db), 1);
	db_rollback(&t);
	db_free(db);
}

/* ---- several processes ---- */

static int write_many(struct child *parent, void *arg)
{
	struct db *db = NULL;
	int r = db_open("graph.db", "format", false, &db, NULL);

	kit_tell(parent);
	if (!kit_hear(parent))
		return 99;
	for (int64_t i = 0; r >= 0 && i < 100; i++) {
		auto_transaction struct db_transaction t = DB_TRANSACTION_INIT;
		int64_t size = 0;

		/* Read, add, write: lost updates show. */
		r = db_begin(db, &t, NULL);
		if (r >= 0)
			r = db_get_int(db, &size, NULL,
				       "SELECT size FROM blob WHERE digest = 'sum'", "");
		if (r >= 0)
			r = db_run(db, NULL, "UPDATE blob SET size = ? WHERE digest = 'sum'", "i",
				   size + 1);
		if (r >= 0)
			r = db_commit(&t, NULL);
	}
	db_free(db);
	return -r;
}

static void two_processes_that_write_at_once_lose_nothing(void **state)
{
	struct db *db = open_db();
	struct child children[2];

	assert_int_equal(add_blob(db, "sum", 0), 0);
	db_free(db);
	for (size_t i = 0; i < ARRAY_LEN(children); i++) {
		children[i] = kit_fork(write_many, NULL);
		assert_true(kit_hear(&children[i]));
	}
	for (size_t i = 0; i < ARRAY_LEN(children); i++)
		kit_tell(&children[i]);
	assert_int_equal(kit_wait_all(children, ARRAY_LEN(children)), 0);
	db = open_db();
	assert_int_equal(number(db, "SELECT size FROM blob"), 200);
	db_free(db);
}

static int die_in_transaction(struct child *parent, void *arg)
{
	struct db_transaction t = DB_TRANSACTION_INIT;
	struct db *db = NULL;

	if (db_open("graph.db", "format", false, &db, NULL) < 0 || db_begin(db, &t, NULL) < 0 ||
	    db_run(db, NULL, ADD_BLOB, "si", "sha256:1", (int64_t)1) < 0)
		return 1;
	kit_tell(parent);
	(void)kit_hear(parent);
	return 1;
}

static void a_writer_that_dies_leaves_nothing_and_frees_the_lock(void **state)
{
	struct db *db;
	struct child child;

	put_file("format", "");
	child = kit_fork(die_in_transaction, NULL);
	assert_true(kit_hear(&child));
	kit_kill(&child);
	db = open_db();
	assert_int_equal(number(db, "SELECT count(*) FROM blob"), 0);
	assert_int_equal(add_blob(db, "sha256:2", 1), 0);
	db_free(db);
}

static int open_new(struct child *parent, void *arg)
{
	struct db *db = NULL;
	struct err err = { 0 };
	int r;

	kit_tell(parent);
	if (!kit_hear(parent))
		return 99;
	r = db_open("graph.db", "format", false, &db, &err);
	if (r < 0)
		(void)fprintf(stderr, "%s\n", err.text);
	else
		r = add_blob(db, arg, 1);
	if (db)
		db_free(db);
	return -r;
}

static void many_may_make_the_database_at_once(void **state)
{
	for (int round = 0; round < 10; round++) {
		struct child children[OPENERS];
		char names[OPENERS][8];
		struct db *db;

		(void)unlink("graph.db");
		(void)unlink("graph.db-wal");
		(void)unlink("graph.db-shm");
		put_file("format", "");
		for (int i = 0; i < OPENERS; i++) {
			(void)snprintf(names[i], sizeof(names[i]), "%d", i);
			children[i] = kit_fork(open_new, names[i]);
			assert_true(kit_hear(&children[i]));
		}
		for (int i = 0; i < OPENERS; i++)
			kit_tell(&children[i]);
		assert_int_equal(kit_wait_all(children, ARRAY_LEN(children)), 0);
		db = open_db();
		assert_int_equal(number(db, "SELECT count(*) FROM blob"), OPENERS);
		db_free(db);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		sandbox_test(a_new_database_has_the_schema),
		sandbox_test(an_empty_file_is_migrated_from_the_start),
		sandbox_test(migrating_to_what_is_reached_changes_nothing),
		sandbox_test(migration_2_keeps_layers_and_their_edges),
		sandbox_test(migration_4_names_the_chains_of_all_images),
		sandbox_test(migration_4_keeps_images_as_they_were),
		sandbox_test(a_chain_goes_with_its_layer_and_so_does_what_is_above),
		sandbox_test(a_migration_that_fails_leaves_nothing_of_itself),
		sandbox_test(opening_again_keeps_what_is_there),
		sandbox_test(a_newer_database_is_refused),
		sandbox_test(what_is_no_database_is_refused),
		sandbox_test(a_missing_lock_file_is_an_error),
		sandbox_test(it_keeps_a_log_and_foreign_keys),
		sandbox_test(what_is_committed_is_seen_by_others),
		sandbox_test(leaving_without_a_commit_leaves_nothing),
		sandbox_test(a_commit_is_not_undone_by_leaving),
		sandbox_test(readers_see_one_moment),
		sandbox_test(parts_of_a_batch_succeed_or_fail_by_themselves),
		sandbox_test(others_see_all_of_a_batch_or_nothing),
		sandbox_test(a_batch_that_is_dropped_leaves_nothing),
		sandbox_test(a_batch_whose_end_fails_leaves_nothing),
		sandbox_test(a_batch_that_runs_out_of_space_leaves_nothing),
		sandbox_test(nobody_else_writes_during_a_batch),
		sandbox_test(a_batch_of_who_dies_leaves_nothing_and_frees_the_lock),
		sandbox_test(a_batch_is_as_durable_as_its_end),
		sandbox_test(one_text_may_run_twice_at_once),
		sandbox_test(a_statement_that_is_used_again_has_forgotten_its_parameters),
		sandbox_test(more_texts_than_are_kept_do_no_harm),
		sandbox_test(a_kept_statement_outlives_a_change_of_the_schema),
		sandbox_test(what_fails_leaves_no_statement_open),
		sandbox_test(a_query_that_is_given_up_is_closed),
		sandbox_test(errors_have_their_codes),
		sandbox_test(parameters_come_back_as_they_were),
		sandbox_test(one_number_or_none),
		sandbox_test(changes_and_ids_are_told),
		sandbox_test(two_processes_that_write_at_once_lose_nothing),
		sandbox_test(a_writer_that_dies_leaves_nothing_and_frees_the_lock),
		sandbox_test(many_may_make_the_database_at_once),
	};

	return cmocka_run_group_tests_name("db", tests, sandbox_enter, sandbox_leave);
}
