/* SPDX-License-Identifier: Apache-2.0 */
/* Layers and blobs: rows, edges, directories; the invariants are those of graph/store/store.h. */
#include "graph/store/layer.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "driver/base/fd.h"
#include "driver/base/json.h"
#include "graph/name/oci.h"
#include "graph/store/blob.h"
#include "graph/store/chain.h"
#include "graph/store/db.h"
#include "tests/unit/kit.h"
#include "tests/unit/sandbox.h"
#include "tests/unit/util.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#define LAYERS 4

static struct store *store;
static int64_t layers[LAYERS];

/* Four layers that nobody holds: 0a, 1a, 2a, 3a. */
static int begin(void **state)
{
	if (sandbox_start(state) < 0)
		return -1;
	store = kit_store();
	for (int i = 0; i < LAYERS; i++)
		layers[i] = kit_layer(store, (const char *[]){ "0a", "1a", "2a", "3a" }[i]);
	return 0;
}

static int end(void **state)
{
	store_freep(&store);
	return sandbox_clean(state);
}

#define layer_test(f) cmocka_unit_test_setup_teardown(f, begin, end)

/* Collects these layers in a transaction, sweeps, and gives what was removed. */
static void collect(const int64_t *ids, size_t count, struct layer_list *removed)
{
	auto_layer_list struct layer_list candidates = { 0 };
	auto_transaction struct db_transaction t = DB_TRANSACTION_INIT;
	struct err err = { 0 };

	for (size_t i = 0; i < count; i++)
		assert_int_equal(layer_list_query(store, &candidates, NULL,
						  "SELECT id, diff_id FROM layer WHERE id = ?",
						  ids[i]),
				 0);
	assert_int_equal(db_begin(store->db, &t, NULL), 0);
	if (layers_collect(store, &candidates, removed, &err) < 0)
		fail_msg("%s", err.text);
	assert_int_equal(db_commit(&t, NULL), 0);
	assert_int_equal(trash_sweep(store, NULL), 0);
}

/* ---- rows ---- */

static void a_layer_is_found_by_its_diff_id(void **state)
{
	struct digest digest = kit_digest("1a"), other = kit_digest("1b");
	int64_t id = 4711;

	assert_int_equal(layer_find(store, &other, &id, NULL), 0);
	assert_int_equal(id, 4711);
	assert_int_equal(layer_find(store, &digest, &id, NULL), 1);
	assert_int_equal(id, layers[1]);
}

static void a_layer_has_one_row_only(void **state)
{
	auto_transaction struct db_transaction t = DB_TRANSACTION_INIT;
	const struct apply_result applied = { 0 };
	const struct digest diff_id = kit_digest("1a");
	const struct layer_facts facts = {
		.key = &diff_id, .diff_id = &diff_id, .applied = &applied, .source = "test"
	};
	int64_t id = 4711;

	assert_int_equal(db_begin(store->db, &t, NULL), 0);
	assert_int_equal(layer_insert(store, &facts, &id, NULL), -EEXIST);
	assert_int_equal(id, 4711);
}

static void a_layers_blob_is_remembered_and_goes_with_it(void **state)
{
	auto_transaction struct db_transaction t = DB_TRANSACTION_INIT;
	const struct apply_result applied = { .blob = kit_digest("b1"),
					      .blob_bytes = 33,
					      .bytes = 44,
					      .disk_bytes = 55,
					      .entries = 66,
					      .root_implied = true };
	const struct digest diff_id = kit_digest("5a");
	const struct layer_facts facts = { .key = &diff_id,
					   .diff_id = &diff_id,
					   .applied = &applied,
					   .source = "test",
					   .media_type = "gzip",
					   .from_blob = true };
	int64_t id = 0;

	assert_int_equal(db_begin(store->db, &t, NULL), 0);
	assert_int_equal(layer_insert(store, &facts, &id, NULL), 0);
	assert_int_equal(db_commit(&t, NULL), 0);
	assert_int_equal(
		kit_count(
			store,
			"SELECT layer FROM blob WHERE size = 33 AND media_type = 'gzip' AND NOT stored"),
		id);
	assert_int_equal(
		kit_count(store,
			  "SELECT bytes + disk_bytes + entries + root_implied FROM layer WHERE diff_id"
			  " LIKE 'sha256:5a%'"),
		44 + 55 + 66 + 1);
	collect(&id, 1, NULL);
	assert_int_equal(kit_count(store, "SELECT count(*) FROM blob"), 0);
}

static void lists_grow(void **state)
{
	auto_layer_list struct layer_list list = { 0 };
	struct digest digest = kit_digest("77");

	for (int64_t i = 0; i < 100; i++)
		assert_int_equal(layer_list_add(&list, i, digest.text, NULL), 0);
	assert_int_equal(list.count, 100);
	assert_int_equal(list.items[99].id, 99);
	assert_string_equal(list.items[99].key.text, digest.text);
	layer_list_release(&list);
	assert_int_equal(list.count, 0);
}

/* ---- invariant 5 ---- */

static void invariant_5_a_row_cannot_go_while_an_image_points_at_it(void **state)
{
	(void)kit_image(store, "e1", layers, 1);
	assert_int_equal(kit_run(store, "DELETE FROM layer WHERE diff_id LIKE 'sha256:0a%'"),
			 -EBUSY);
	assert_int_equal(kit_count(store, "SELECT count(*) FROM layer"), LAYERS);
	assert_int_equal(kit_run(store, "DELETE FROM layer WHERE diff_id LIKE 'sha256:1a%'"), 0);
}

static void invariant_5_a_row_cannot_go_while_a_container_points_at_it(void **state)
{
	int64_t image = kit_image(store, "e1", layers, 1);
	auto_snapshot struct snapshot s = { 0 };

	kit_container(store, image, "e1", "c", &s);
	assert_int_equal(kit_run(store, "DELETE FROM image_layer"), 0);
	assert_int_equal(kit_run(store, "DELETE FROM layer WHERE diff_id LIKE 'sha256:0a%'"),
			 -EBUSY);
}

static void invariant_5_a_row_cannot_go_while_a_lease_points_at_it(void **state)
{
	(void)kit_lease(store, "l", layers + 2, 1);
	assert_int_equal(kit_run(store, "DELETE FROM layer WHERE diff_id LIKE 'sha256:2a%'"),
			 -EBUSY);
	assert_int_equal(kit_run(store, "DELETE FROM lease"), 0);
	assert_int_equal(kit_count(store, "SELECT count(*) FROM lease_layer"), 0);
	assert_int_equal(kit_run(store, "DELETE FROM layer WHERE diff_id LIKE 'sha256:2a%'"), 0);
}

static void invariant_5_images_snapshots_and_leases_cannot_go_while_edges_are_theirs(void **state)
{
	int64_t image = kit_image(store, "e1", layers, 2);
	auto_snapshot struct snapshot s = { 0 };

	kit_tag(store, image, "docker.io/library/a:1");
	kit_container(store, image, "e1", "c", &s);
	assert_int_equal(kit_run(store, "DELETE FROM image"), -EBUSY);
	assert_int_equal(kit_run(store, "DELETE FROM snapshot"), -EBUSY);
	assert_int_equal(kit_run(store, "DELETE FROM blob"), -EBUSY);
	assert_int_equal(
		kit_run(store,
			"INSERT INTO image_layer(image, position, layer) VALUES(1, 9, 4711)"),
		-EBUSY);
	assert_int_equal(
		kit_run(store,
			"INSERT INTO mount(snapshot, boot_id, namespace, target) VALUES(4711, '', 0, '')"),
		-EBUSY);
}

static void invariant_5_collecting_removes_only_what_nobody_holds(void **state)
{
	auto_layer_list struct layer_list removed = { 0 };
	int64_t image = kit_image(store, "e1", layers, 1),
		other = kit_image(store, "e2", layers + 1, 1);
	auto_snapshot struct snapshot s = { 0 };

	assert_true(image > 0 && other > 0);
	kit_container(store, other, "e2", "c", &s);
	assert_int_equal(kit_run(store, "DELETE FROM image_layer WHERE layer = 2"), 0);
	(void)kit_lease(store, "l", layers + 2, 1);
	collect(layers, LAYERS, &removed);
	assert_int_equal(removed.count, 1);
	assert_int_equal(removed.items[0].id, layers[3]);
	assert_memory_equal(removed.items[0].key.text, "sha256:3a0", 10);
	assert_int_equal(kit_count(store, "SELECT count(*) FROM layer"), 3);
	assert_true(kit_layer_exists("0a"));
	assert_true(kit_layer_exists("1a"));
	assert_true(kit_layer_exists("2a"));
	assert_false(kit_layer_exists("3a"));
}

static void invariant_5_a_candidate_that_is_listed_twice_goes_once(void **state)
{
	auto_layer_list struct layer_list removed = { 0 };
	const int64_t twice[] = { layers[3], layers[3] };

	collect(twice, 2, &removed);
	assert_int_equal(removed.count, 1);
	assert_int_equal(kit_count(store, "SELECT count(*) FROM trash"), 1);
}

/* Invariant 4: the rows go and the path is recorded together, or neither. */
static void invariant_4_a_collection_that_is_not_committed_did_not_happen(void **state)
{
	auto_layer_list struct layer_list all = { 0 };

	assert_int_equal(layer_list_query(store, &all, NULL,
					  "SELECT id, diff_id FROM layer WHERE id > ?", 0),
			 0);
	{
		auto_transaction struct db_transaction t = DB_TRANSACTION_INIT;

		assert_int_equal(db_begin(store->db, &t, NULL), 0);
		assert_int_equal(layers_collect(store, &all, NULL, NULL), 0);
		assert_int_equal(kit_count(store, "SELECT count(*) FROM layer"), 0);
		assert_int_equal(kit_count(store, "SELECT count(*) FROM trash"), LAYERS);
	}
	assert_int_equal(trash_sweep(store, NULL), 0);
	assert_int_equal(kit_count(store, "SELECT count(*) FROM layer"), LAYERS);
	assert_int_equal(kit_count(store, "SELECT count(*) FROM trash"), 0);
	assert_true(kit_layer_exists("0a"));
}

/* ---- directories ---- */

static void publishing_renames_into_place(void **state)
{
	struct staging staging = STAGING_INIT;
	struct digest digest = kit_digest("9a");
	char path[200];

	assert_int_equal(staging_make(store, &staging, NULL), 0);
	(void)snprintf(path, sizeof(path), "store/staging/%s/%s/diff/file", staging.name,
		       digest_hex(&digest));
	put_file(path, "new");
	assert_int_equal(layer_publish(store, staging.fd, &digest, NULL), 0);
	(void)snprintf(path, sizeof(path), "store/layers/sha256/%s/diff/file", digest_hex(&digest));
	assert_contents(path, "new");
	staging_release(&staging);
	assert_contents(path, "new");
}

static void publishing_moves_away_what_has_no_row(void **state)
{
	struct staging staging = STAGING_INIT;
	struct digest digest = kit_digest("9a");
	char path[200];

	kit_layer_dir(store, "9a");
	(void)snprintf(path, sizeof(path), "store/layers/sha256/%s/diff/old", digest_hex(&digest));
	put_file(path, "left by a crash");
	assert_int_equal(staging_make(store, &staging, NULL), 0);
	(void)snprintf(path, sizeof(path), "store/staging/%s/%s/diff/file", staging.name,
		       digest_hex(&digest));
	put_file(path, "new");
	assert_int_equal(layer_publish(store, staging.fd, &digest, NULL), 0);
	(void)snprintf(path, sizeof(path), "store/layers/sha256/%s/diff", digest_hex(&digest));
	assert_int_equal(kit_names(path), 1);
	assert_int_equal(kit_names("store/trash"), 1);
	staging_release(&staging);
}

static void a_layer_says_what_it_is(void **state)
{
	auto_json struct json *j = NULL;
	auto_buf struct buf text = { .max = 65536 };
	auto_close int dir = -EBADF;
	struct apply_result applied = { .blob = kit_digest("b1"),
					.blob_bytes = 33,
					.tar_bytes = 2048,
					.bytes = 44,
					.disk_bytes = 55,
					.entries = 66,
					.root_implied = true };
	const struct digest diff_id = kit_digest("5a");
	const struct layer_facts facts = { .key = &diff_id,
					   .diff_id = &diff_id,
					   .applied = &applied,
					   .source = "docker-archive:/x.tar",
					   .media_type = "gzip",
					   .from_blob = true };

	assert_int_equal(buf_append(&applied.implied, "usr\0usr/l\xff", 11), 0);
	put_dir("layer");
	dir = open_dir("layer", O_RDONLY);
	assert_int_equal(layer_write_json(dir, &facts, NULL), 0);
	buf_release(&applied.implied);
	assert_int_equal(read_file_at(dir, "layer.json", &text, NULL), 0);
	assert_int_equal(json_parse(text.data, text.len, 65536, "layer.json", &j, NULL), 0);
	assert_string_equal(json_string_or(j, "/diffID", ""), diff_id.text);
	assert_int_equal(json_int_or(j, "/bytes", -1), 44);
	assert_int_equal(json_int_or(j, "/diskBytes", -1), 55);
	assert_int_equal(json_int_or(j, "/entries", -1), 66);
	assert_int_equal(json_int_or(j, "/tarBytes", -1), 2048);
	assert_string_equal(json_string_or(j, "/blob/digest", ""), applied.blob.text);
	assert_int_equal(json_int_or(j, "/blob/size", -1), 33);
	assert_string_equal(json_string_or(j, "/blob/mediaType", ""), "gzip");
	assert_string_equal(json_string_or(j, "/source", ""), "docker-archive:/x.tar");
	assert_true(json_bool_or(j, "/rootImplied", false));
	assert_int_equal(json_int_or(j, "/implied", -1), 2);
	assert_string_equal(json_string_or(j, "/kind", ""), "plain");
	assert_null(json_get(j, "/chainID"));
}

static void a_derived_layer_says_of_which_chain(void **state)
{
	static const enum layer_kind kinds[] = { LAYER_BOUND, LAYER_PATCH };
	const struct apply_result applied = { 0 };
	const struct digest key = kit_digest("5a"), diff_id = kit_digest("5b"),
			    chain_id = kit_digest("5c");

	for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
		const struct layer_facts facts = { .kind = kinds[i],
						   .key = &key,
						   .diff_id = &diff_id,
						   .chain_id = &chain_id,
						   .applied = &applied,
						   .source = "test" };
		auto_json struct json *j = NULL;
		auto_buf struct buf text = { .max = 65536 };
		auto_close int dir = -EBADF;

		put_dir("derived");
		dir = open_dir("derived", O_RDONLY);
		assert_int_equal(layer_write_json(dir, &facts, NULL), 0);
		assert_int_equal(read_file_at(dir, "layer.json", &text, NULL), 0);
		assert_int_equal(json_parse(text.data, text.len, 65536, "layer.json", &j, NULL), 0);
		assert_string_equal(json_string_or(j, "/kind", ""), layer_kind_name(kinds[i]));
		assert_string_equal(json_string_or(j, "/chainID", ""), chain_id.text);
		assert_string_equal(json_string_or(j, "/diffID", "none"),
				    kinds[i] == LAYER_BOUND ? diff_id.text : "none");
		assert_false(exists("derived/implied"));
	}
}

/* Paths with a NUL behind each, as a literal. */
static void assert_implied(const char *start, const char *paths, size_t size)
{
	auto_buf struct buf have = { 0 };
	const struct digest key = kit_digest(start);
	struct err err = { 0 };

	if (layer_read_implied(store, &key, &have, &err) < 0)
		fail_msg("%s", err.text);
	assert_int_equal(have.len, size);
	assert_memory_equal(buf_text(&have), paths, size);
}

static void what_a_layer_implies_is_read_byte_for_byte(void **state)
{
	static const char paths[] = "usr\0usr/l\xff\nx";
	struct apply_result applied = { 0 };
	const struct digest key = kit_digest("5a");
	const struct layer_facts facts = {
		.key = &key, .diff_id = &key, .applied = &applied, .source = "test"
	};
	auto_transaction struct db_transaction t = DB_TRANSACTION_INIT;
	auto_close int dir = -EBADF;
	struct digest missing = kit_digest("0b");
	struct buf none = { 0 };
	int64_t id;

	assert_implied("1a", "", 0);
	assert_int_equal(buf_append(&applied.implied, paths, sizeof(paths)), 0);
	kit_layer_dir(store, "5a");
	dir = openat(store->layers_fd, digest_hex(&key), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(layer_write_json(dir, &facts, NULL), 0);
	assert_int_equal(db_begin(store->db, &t, NULL), 0);
	assert_int_equal(layer_insert(store, &facts, &id, NULL), 0);
	assert_int_equal(db_commit(&t, NULL), 0);
	buf_release(&applied.implied);
	assert_implied("5a", paths, sizeof(paths));
	assert_int_equal(layer_read_implied(store, &missing, &none, NULL), -ENOENT);
	assert_null(none.data);
}

/* Schema 1 had the paths in layer.json, and no column. */
static void what_an_old_layer_implies_is_in_its_layer_json(void **state)
{
	const struct digest key = kit_digest("1a");
	char path[200];

	(void)snprintf(path, sizeof(path), "store/layers/sha256/%s/layer.json", digest_hex(&key));
	put_file(path, "{\"diffID\":\"x\",\"impliedDirectories\":[\"usr\",\"usr/lib\"]}\n");
	assert_int_equal(kit_run(store, "UPDATE layer SET implied = NULL"), 0);
	assert_implied("1a", "usr\0usr/lib", sizeof("usr\0usr/lib"));
}

/* The example of image-spec config.md, "Layer ChainID": ChainID(A|B) = sha256("A B"). */
static void chains_and_patches_have_names(void **state)
{
	const struct digest a = kit_digest("aa"), b = kit_digest("bb");
	struct digest one, two, patch, expected;
	char text[300];

	assert_int_equal(chain_id_next(NULL, &a, &one, NULL), 0);
	assert_string_equal(one.text, a.text);
	assert_int_equal(chain_id_next(&one, &b, &two, NULL), 0);
	(void)snprintf(text, sizeof(text), "%s %s", a.text, b.text);
	assert_int_equal(digest_of("sha256", text, strlen(text), &expected, NULL), 0);
	assert_string_equal(two.text, expected.text);
	assert_int_equal(chain_patch_key(&two, &patch, NULL), 0);
	(void)snprintf(text, sizeof(text), "overlaid patch 1 %s", two.text);
	assert_int_equal(digest_of("sha256", text, strlen(text), &expected, NULL), 0);
	assert_string_equal(patch.text, expected.text);
}

static void a_patch_on_as_many_layers_as_there_may_be_is_too_much(void **state)
{
	struct err err = { 0 };

	assert_int_equal(chain_check_derived(500, true, "web:1", &err), 0);
	assert_int_equal(chain_check_derived(501, true, "web:1", &err), -E2BIG);
	assert_words(&err, "web:1 has 500 layers and needs one more");
	assert_int_equal(chain_check_derived(501, false, "web:1", &err), -E2BIG);
	assert_words(&err, "web:1 has 501 layers");
}

static void a_layers_tree_opens_with_its_path(void **state)
{
	struct digest digest = kit_digest("0a"), missing = kit_digest("0b");
	auto_free char *path = NULL, *same = layer_path(store, digest.text);
	auto_close int fd = -EBADF;
	struct err err = { 0 };

	fd = layer_open(store, &digest, &path, NULL);
	assert_true(fd >= 0);
	assert_string_equal(path, same);
	assert_true(S_ISDIR(look(path).st_mode));
	assert_int_equal(layer_open(store, &missing, &path, &err), -ENOENT);
	assert_words(&err, missing.text);
}

static void the_topmost_layer_comes_first_in_a_chain(void **state)
{
	auto_overlay_plan struct overlay_plan plan = OVERLAY_PLAN_INIT;
	auto_layer_list struct layer_list list = { 0 };

	assert_int_equal(layer_list_query(store, &list, NULL,
					  "SELECT id, diff_id FROM layer WHERE id > ? ORDER BY id",
					  0),
			 0);
	assert_int_equal(chain_add_lowers(store, &list, &plan, NULL), 0);
	assert_int_equal(plan.lower_count, LAYERS);
	assert_non_null(strstr(plan.lower_paths[0], "/3a0"));
	assert_non_null(strstr(plan.lower_paths[3], "/0a0"));
}

static void a_chain_that_is_too_long_is_refused_by_its_distinct_layers(void **state)
{
	auto_free struct digest *diff_ids = calloc(1200, sizeof(*diff_ids));
	struct oci_config config = { .diff_ids = diff_ids, .diff_id_count = 501 };
	struct err err = { 0 };
	char start[8];

	for (int i = 0; i < 1200; i++) {
		(void)snprintf(start, sizeof(start), "%03x", i);
		diff_ids[i] = kit_digest(start);
	}
	assert_int_equal(chain_check_length(&config, 500, "q.io/long", &err), -E2BIG);
	assert_words(&err, "q.io/long");
	assert_words(&err, "500");
	diff_ids[500] = diff_ids[0];
	assert_int_equal(chain_check_length(&config, 500, "q.io/long", &err), 0);
	assert_int_equal(chain_check_length(&config, 499, "q.io/long", &err), -E2BIG);
	assert_words(&err, "q.io/long has 500 layers, more than 499");
	assert_words(&err, "--limit layers=");
	for (int i = 0; i < 1200; i++)
		diff_ids[i] = diff_ids[i % 500];
	config.diff_id_count = 1200;
	assert_int_equal(chain_check_length(&config, 500, "q.io/long", &err), 0);
}

/* ---- blobs ---- */

static struct digest put_blob(const char *text)
{
	auto_transaction struct db_transaction t = DB_TRANSACTION_INIT;
	struct staging staging = STAGING_INIT;
	struct digest digest;

	assert_int_equal(digest_of("sha256", text, strlen(text), &digest, NULL), 0);
	assert_int_equal(staging_make(store, &staging, NULL), 0);
	assert_int_equal(blob_stage(&staging, &digest, text, strlen(text), NULL), 0);
	assert_int_equal(blob_publish(store, &staging, &digest, false, NULL), 0);
	staging_release(&staging);
	assert_int_equal(db_begin(store->db, &t, NULL), 0);
	assert_int_equal(blob_insert(store, &digest, "text/plain", strlen(text), NULL), 0);
	assert_int_equal(db_commit(&t, NULL), 0);
	return digest;
}

static void a_blob_comes_back_byte_for_byte(void **state)
{
	struct digest digest = put_blob("{ \"a\" : 1 }\n");
	auto_buf struct buf text = { .max = 0 };

	assert_int_equal(blob_read(store, digest.text, &text, NULL), 0);
	assert_string_equal(buf_text(&text), "{ \"a\" : 1 }\n");
	(void)put_blob("{ \"a\" : 1 }\n");
	assert_int_equal(kit_count(store, "SELECT count(*) FROM blob"), 1);
}

static void a_changed_blob_is_not_given_out(void **state)
{
	struct digest digest = put_blob("original");
	auto_buf struct buf text = { .max = 0 };
	struct err err = { 0 };
	char path[200];

	(void)snprintf(path, sizeof(path), "store/blobs/sha256/%s", digest_hex(&digest));
	put_file(path, "0riginal");
	assert_int_equal(blob_read(store, digest.text, &text, &err), -EUCLEAN);
	assert_words(&err, digest.text);
	assert_words(&err, "load the image again");
	assert_int_equal(unlink(path), 0);
	buf_release(&text);
	assert_int_equal(blob_read(store, digest.text, &text, &err), -ENOENT);
}

static void a_blob_goes_when_no_image_names_it(void **state)
{
	struct digest digest = put_blob("config"), other = put_blob("other");
	char path[200];

	assert_int_equal(
		kit_run(store,
			"INSERT INTO image(image_id, os, architecture, variant, created, loaded) SELECT digest,"
			" '', '', '', 0, 0 FROM blob WHERE size = 6"),
		0);
	for (int i = 0; i < 2; i++) {
		auto_transaction struct db_transaction t = DB_TRANSACTION_INIT;

		assert_int_equal(db_begin(store->db, &t, NULL), 0);
		assert_int_equal(blob_collect(store, digest.text, NULL), 0);
		assert_int_equal(blob_collect(store, other.text, NULL), 0);
		assert_int_equal(db_commit(&t, NULL), 0);
	}
	assert_int_equal(trash_empty(store, true, NULL), 0);
	(void)snprintf(path, sizeof(path), "store/blobs/sha256/%s", digest_hex(&digest));
	assert_true(exists(path));
	assert_int_equal(kit_names("store/blobs/sha256"), 1);
	assert_int_equal(kit_count(store, "SELECT count(*) FROM blob"), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		layer_test(a_layer_is_found_by_its_diff_id),
		layer_test(a_layer_has_one_row_only),
		layer_test(a_layers_blob_is_remembered_and_goes_with_it),
		layer_test(lists_grow),
		layer_test(invariant_5_a_row_cannot_go_while_an_image_points_at_it),
		layer_test(invariant_5_a_row_cannot_go_while_a_container_points_at_it),
		layer_test(invariant_5_a_row_cannot_go_while_a_lease_points_at_it),
		layer_test(
			invariant_5_images_snapshots_and_leases_cannot_go_while_edges_are_theirs),
		layer_test(invariant_5_collecting_removes_only_what_nobody_holds),
		layer_test(invariant_5_a_candidate_that_is_listed_twice_goes_once),
		layer_test(invariant_4_a_collection_that_is_not_committed_did_not_happen),
		layer_test(publishing_renames_into_place),
		layer_test(publishing_moves_away_what_has_no_row),
		layer_test(a_layer_says_what_it_is),
		layer_test(a_derived_layer_says_of_which_chain),
		layer_test(what_a_layer_implies_is_read_byte_for_byte),
		layer_test(what_an_old_layer_implies_is_in_its_layer_json),
		layer_test(chains_and_patches_have_names),
		layer_test(a_patch_on_as_many_layers_as_there_may_be_is_too_much),
		layer_test(a_layers_tree_opens_with_its_path),
		layer_test(the_topmost_layer_comes_first_in_a_chain),
		layer_test(a_chain_that_is_too_long_is_refused_by_its_distinct_layers),
		layer_test(a_blob_comes_back_byte_for_byte),
		layer_test(a_changed_blob_is_not_given_out),
		layer_test(a_blob_goes_when_no_image_names_it),
	};

	return cmocka_run_group_tests_name("layer", tests, sandbox_enter, sandbox_leave);
}
