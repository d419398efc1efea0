/* SPDX-License-Identifier: Apache-2.0 */
#include "graph/store/db.h"

#include <sqlite3.h>
#include <string.h>

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
	static const char *const tables[] = { "layer",		"blob",	 "image",
					      "image_layer",	"tag",	 "snapshot",
					      "snapshot_layer", "mount", "lease",
					      "lease_layer",	"trash" };
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

	return r < 0 ? r : db_run(db, NULL, sql, "");
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

/* ---- statements ---- */

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
