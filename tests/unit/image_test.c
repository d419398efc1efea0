/* SPDX-License-Identifier: Apache-2.0 */
#include "graph/store/image.h"

#include <string.h>

#include "graph/store/blob.h"
#include "graph/store/db.h"
#include "tests/unit/kit.h"
#include "tests/unit/sandbox.h"
#include "tests/unit/util.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static struct store *store;
static int64_t layers[3];

static int begin(void **state)
{
	if (sandbox_start(state) < 0)
		return -1;
	store = kit_store();
	layers[0] = kit_layer(store, "1a");
	layers[1] = kit_layer(store, "2a");
	layers[2] = kit_layer(store, "3a");
	return 0;
}

static int end(void **state)
{
	store_freep(&store);
	return sandbox_clean(state);
}

#define image_test(f) cmocka_unit_test_setup_teardown(f, begin, end)

static void means(const char *name, int64_t id, const char *reference)
{
	struct image_name found;
	struct err err = { 0 };

	if (image_resolve(store, name, &found, &err) < 0)
		fail_msg("%s", err.text);
	if (found.id != id)
		fail_msg("%s: image %lld, not %lld", name, (long long)found.id, (long long)id);
	assert_string_equal(found.reference, reference);
}

static void means_nothing(const char *name, int code, const char *words)
{
	struct image_name found = { .id = 4711 };
	struct err err = { 0 };
	int r = image_resolve(store, name, &found, &err);

	if (r != code)
		fail_msg("%s: gave %d (%s)", name, r, err.text);
	assert_int_equal(found.id, 4711);
	assert_words(&err, words);
}

/* ---- names ---- */

static void a_reference_finds_its_image_however_it_is_written(void **state)
{
	int64_t id = kit_image(store, "ab", layers, 1);

	kit_tag(store, id, "docker.io/library/nginx:latest");
	kit_tag(store, id, "quay.io/me/app:v1");
	means("nginx", id, "docker.io/library/nginx:latest");
	means("nginx:latest", id, "docker.io/library/nginx:latest");
	means("library/nginx", id, "docker.io/library/nginx:latest");
	means("docker.io/library/nginx:latest", id, "docker.io/library/nginx:latest");
	means("quay.io/me/app:v1", id, "quay.io/me/app:v1");
	means_nothing("nginx:1", -ENOENT, "no such image: nginx:1");
	means_nothing("me/app:v1", -ENOENT, "me/app:v1");
}

static void localhost_is_where_images_without_a_registry_are_looked_for_last(void **state)
{
	int64_t local = kit_image(store, "ab", layers, 1), hub = kit_image(store, "cd", layers, 1);

	kit_tag(store, local, "localhost/app:latest");
	means("app", local, "localhost/app:latest");
	means_nothing("docker.io/library/app", -ENOENT, "docker.io/library/app");
	kit_tag(store, hub, "docker.io/library/app:latest");
	means("app", hub, "docker.io/library/app:latest");
	means("localhost/app", local, "localhost/app:latest");
}

static void an_id_finds_its_image_with_and_without_the_algorithm(void **state)
{
	int64_t id = kit_image(store, "ab", layers, 1);
	struct digest digest = kit_digest("ab");

	means(digest.text, id, "");
	means(digest_hex(&digest), id, "");
	means("ab", id, "");
	means("sha256:ab", id, "");
	means("a", id, "");
	means("ab0000000000", id, "");
}

static void an_unknown_id_is_nothing(void **state)
{
	struct digest digest = kit_digest("cd");

	(void)kit_image(store, "ab", layers, 1);
	means_nothing(digest.text, -ENOENT, digest.text);
	means_nothing(digest_hex(&digest), -ENOENT, "no such image");
	means_nothing("ac", -ENOENT, "no such image: ac");
	means_nothing("abc", -ENOENT, "no such image: abc");
}

static void an_ambiguous_prefix_lists_the_candidates(void **state)
{
	int64_t one = kit_image(store, "abc", layers, 1),
		other = kit_image(store, "abd", layers, 1);

	kit_tag(store, other, "quay.io/x:1");
	means_nothing("ab", -ENOTUNIQ, "2 image ids");
	means_nothing("ab", -ENOTUNIQ, "sha256:abc0");
	means_nothing("sha256:a", -ENOTUNIQ, "quay.io/x:1");
	means("abc", one, "");
	means("abd", other, "");
}

static void of_many_candidates_ten_are_listed(void **state)
{
	struct image_name found;
	struct err err = { 0 };
	size_t lines = 0;
	char start[8];

	for (int i = 0; i < 15; i++) {
		(void)snprintf(start, sizeof(start), "f%x", i);
		(void)kit_image(store, start, layers, 1);
	}
	assert_int_equal(image_resolve(store, "f", &found, &err), -ENOTUNIQ);
	assert_words(&err, "15 image ids");
	for (const char *at = err.text; (at = strchr(at, '\n')); at++)
		lines++;
	assert_int_equal(lines, 10);
}

static void a_reference_wins_over_an_id(void **state)
{
	int64_t by_id = kit_image(store, "abc", layers, 1),
		by_name = kit_image(store, "d0", layers, 1);

	means("abc", by_id, "");
	kit_tag(store, by_name, "docker.io/library/abc:latest");
	means("abc", by_name, "docker.io/library/abc:latest");
	means("sha256:abc", by_id, "");
	kit_tag(store, by_name, "localhost/d0:latest");
	means("d0", by_name, "localhost/d0:latest");
}

static void names_that_are_none_are_refused(void **state)
{
	means_nothing("", -EINVAL, "empty");
	means_nothing("NGINX", -EINVAL, "lower-case");
	means_nothing("a b", -EINVAL, "not valid");
	means_nothing("sha256:", -EINVAL, "tag");
	means_nothing("' or 1=1 --", -EINVAL, "not valid");
	means_nothing("%", -EINVAL, "not valid");
	means_nothing("a_", -EINVAL, "not valid");
}

static void a_digest_finds_manifest_or_id(void **state)
{
	int64_t id = kit_image(store, "ab", layers, 1);
	struct digest manifest = kit_digest("ff"), image = kit_digest("ab");
	char name[200];

	assert_int_equal(
		kit_run(store,
			"INSERT INTO blob(digest, media_type, size, stored) VALUES("
			"'sha256:ff00000000000000000000000000000000000000000000000000000000000000', '', 1, 1)"),
		0);
	assert_int_equal(
		kit_run(store,
			"UPDATE image SET manifest ="
			" 'sha256:ff00000000000000000000000000000000000000000000000000000000000000'"),
		0);
	means(manifest.text, id, "");
	(void)snprintf(name, sizeof(name), "nginx@%s", manifest.text);
	means(name, id, "");
	(void)snprintf(name, sizeof(name), "quay.io/a/b:tag@%s", image.text);
	means(name, id, "");
}

/* ---- tags ---- */

static int count_reference(void *arg, const char *reference)
{
	struct buf *all = arg;

	return buf_printf(all, "%s ", reference);
}

static void a_reference_moves_from_image_to_image(void **state)
{
	int64_t one = kit_image(store, "ab", layers, 1), other = kit_image(store, "cd", layers, 1);
	auto_buf struct buf ones = { .max = 0 }, others = { .max = 0 };

	kit_tag(store, one, "docker.io/library/x:b");
	kit_tag(store, one, "docker.io/library/x:a");
	kit_tag(store, other, "docker.io/library/x:b");
	means("x:b", other, "docker.io/library/x:b");
	assert_int_equal(image_references(store, one, count_reference, &ones, NULL), 0);
	assert_int_equal(image_references(store, other, count_reference, &others, NULL), 0);
	assert_string_equal(buf_text(&ones), "docker.io/library/x:a ");
	assert_string_equal(buf_text(&others), "docker.io/library/x:b ");
}

static void references_come_sorted(void **state)
{
	int64_t id = kit_image(store, "ab", layers, 1);
	auto_buf struct buf all = { .max = 0 };

	kit_tag(store, id, "q.io/c:1");
	kit_tag(store, id, "q.io/a:2");
	kit_tag(store, id, "q.io/b:1");
	assert_int_equal(image_references(store, id, count_reference, &all, NULL), 0);
	assert_string_equal(buf_text(&all), "q.io/a:2 q.io/b:1 q.io/c:1 ");
}

/* ---- inserting ---- */

static int64_t insert(const char *start, const char *manifest_start, const int64_t *rows,
		      size_t count)
{
	auto_transaction struct db_transaction t = DB_TRANSACTION_INIT;
	const struct digest id = kit_digest(start), manifest = kit_digest(manifest_start);
	const struct oci_config config = { .platform = { "linux", "arm64", "v8" },
					   .created = 7,
					   .diff_id_count = count };
	const struct image_facts facts = { .image_id = &id,
					   .manifest = &manifest,
					   .config = &config,
					   .layer_ids = rows,
					   .layer_count = count };
	int64_t row = 0;
	struct err err = { 0 };

	assert_int_equal(db_begin(store->db, &t, NULL), 0);
	assert_int_equal(blob_insert(store, &id, "config", 2, NULL), 0);
	assert_int_equal(blob_insert(store, &manifest, "manifest", 2, NULL), 0);
	if (image_insert(store, &facts, &row, NULL, &err) < 0)
		fail_msg("%s", err.text);
	assert_int_equal(db_commit(&t, NULL), 0);
	return row;
}

static void the_same_image_is_inserted_once(void **state)
{
	int64_t id = insert("ab", "c1", layers, 3);

	assert_int_equal(kit_run(store, "UPDATE image SET loaded = 1"), 0);
	assert_int_equal(insert("ab", "c1", layers, 3), id);
	assert_int_equal(kit_count(store, "SELECT count(*) FROM image"), 1);
	assert_int_equal(kit_count(store, "SELECT count(*) FROM image_layer"), 3);
	assert_true(kit_count(store, "SELECT loaded FROM image") > 1);
}

/* As loaded by a version that derived nothing. */
static void an_image_that_comes_again_has_the_new_chain(void **state)
{
	int64_t id = insert("ab", "c1", layers, 2);
	const int64_t chain[] = { layers[0], layers[2], kit_layer(store, "4a") };

	assert_int_equal(insert("ab", "c1", chain, 3), id);
	assert_int_equal(kit_count(store, "SELECT count(*) FROM image_layer"), 3);
	for (int64_t i = 0; i < 3; i++) {
		char sql[100];

		(void)snprintf(sql, sizeof(sql),
			       "SELECT layer FROM image_layer WHERE position = %d", (int)i);
		assert_int_equal(kit_count(store, sql), chain[i]);
	}
	/* Nobody holds it any more. */
	assert_int_equal(kit_count(store, "SELECT count(*) FROM trash WHERE kind = 'layer'"), 1);
}

static void the_manifest_that_came_last_stays(void **state)
{
	int64_t id = insert("ab", "c1", layers, 1);

	assert_int_equal(insert("ab", "c2", layers, 1), id);
	assert_int_equal(kit_count(store,
				   "SELECT count(*) FROM blob WHERE digest LIKE 'sha256:c1%'"),
			 0);
	assert_int_equal(
		kit_count(store,
			  "SELECT count(*) FROM trash WHERE kind = 'blob' AND hex LIKE 'c1%'"),
		1);
	assert_int_equal(kit_count(store,
				   "SELECT count(*) FROM image WHERE manifest LIKE 'sha256:c2%'"),
			 1);
	/* Without a manifest it keeps the one it has. */
	assert_int_equal(kit_image(store, "ab", layers, 1), id);
	assert_int_equal(kit_count(store,
				   "SELECT count(*) FROM image WHERE manifest LIKE 'sha256:c2%'"),
			 1);
}

static void a_manifest_of_two_images_stays_with_the_other(void **state)
{
	(void)insert("ab", "c1", layers, 1);
	(void)insert("cd", "c1", layers, 1);
	(void)insert("ab", "c2", layers, 1);
	assert_int_equal(kit_count(store,
				   "SELECT count(*) FROM blob WHERE digest LIKE 'sha256:c1%'"),
			 1);
}

/* ---- listing ---- */

struct seen {
	struct buf text;
	size_t count, stop_after;
};

static int see(void *arg, const struct overlaid_image *image)
{
	struct seen *seen = arg;

	(void)buf_printf(&seen->text, "%.9s %s/%s/%s %zu refs", image->id, image->os,
			 image->architecture, image->variant, image->reference_count);
	for (size_t i = 0; i < image->reference_count; i++)
		(void)buf_printf(&seen->text, " %s", image->references[i]);
	(void)buf_printf(&seen->text, " %zu layers", image->layer_count);
	for (size_t i = 0; i < image->layer_count; i++)
		(void)buf_printf(&seen->text, " %.9s", image->layers[i]);
	(void)buf_printf(&seen->text, " %llu/%llu bytes %zu containers\n",
			 (unsigned long long)image->bytes, (unsigned long long)image->unique_bytes,
			 image->container_count);
	return ++seen->count == seen->stop_after ? 77 : 0;
}

static void listed(int64_t only, const char *expected)
{
	struct seen seen = { .text = { .max = 0 } };
	struct err err = { 0 };

	if (image_list(store, only, see, &seen, &err) < 0)
		fail_msg("%s", err.text);
	assert_string_equal(buf_text(&seen.text), expected);
	buf_release(&seen.text);
}

static void images_are_listed_newest_first(void **state)
{
	int64_t old = kit_image(store, "aa", layers, 1),
		new = kit_image(store, "bb", layers + 1, 1);

	assert_true(new > old);
	assert_int_equal(kit_run(store,
				 "UPDATE image SET created = 2000 WHERE image_id LIKE 'sha256:aa%'"),
			 0);
	listed(0, "sha256:aa linux/amd64/ 0 refs 1 layers sha256:1a 100/100 bytes 0 containers\n"
		  "sha256:bb linux/amd64/ 0 refs 1 layers sha256:2a 100/100 bytes 0 containers\n");
	listed(new,
	       "sha256:bb linux/amd64/ 0 refs 1 layers sha256:2a 100/100 bytes 0 containers\n");
}

static void an_image_is_listed_with_all_that_is_its(void **state)
{
	const int64_t repeated[] = { layers[0], layers[1], layers[0] };
	int64_t one = kit_image(store, "aa", repeated, 3),
		other = kit_image(store, "bb", layers + 1, 2);
	auto_snapshot struct snapshot a = { 0 }, b = { 0 };

	kit_tag(store, one, "q.io/z:1");
	kit_tag(store, one, "q.io/a:1");
	kit_container(store, one, "aa", "a", &a);
	kit_container(store, one, "aa", "b", &b);
	/* Its own containers do not make a layer shared; another image does. */
	listed(one,
	       "sha256:aa linux/amd64/ 2 refs q.io/a:1 q.io/z:1 3 layers sha256:1a sha256:2a sha256:1a"
	       " 200/100 bytes 2 containers\n");
	listed(other,
	       "sha256:bb linux/amd64/ 0 refs 2 layers sha256:2a sha256:3a 200/100 bytes 0 containers\n");
}

static void an_empty_store_lists_nothing(void **state)
{
	listed(0, "");
	listed(4711, "");
}

static void a_caller_can_end_the_list(void **state)
{
	struct seen seen = { .text = { .max = 0 }, .stop_after = 1 };

	(void)kit_image(store, "aa", layers, 1);
	(void)kit_image(store, "bb", layers, 1);
	assert_int_equal(image_list(store, 0, see, &seen, NULL), 77);
	assert_int_equal(seen.count, 1);
	buf_release(&seen.text);
}

/* ---- deleting ---- */

static void delete (int64_t id, struct layer_list *removed)
{
	auto_transaction struct db_transaction t = DB_TRANSACTION_INIT;
	struct err err = { 0 };

	assert_int_equal(db_begin(store->db, &t, NULL), 0);
	if (image_delete(store, id, removed, &err) < 0)
		fail_msg("%s", err.text);
	assert_int_equal(db_commit(&t, NULL), 0);
	assert_int_equal(trash_empty(store, true, NULL), 0);
}

static void deleting_takes_what_only_it_held(void **state)
{
	int64_t one = kit_image(store, "aa", layers, 2),
		other = kit_image(store, "bb", layers + 1, 2);
	auto_layer_list struct layer_list removed = { 0 }, rest = { 0 };

	kit_tag(store, one, "q.io/a:1");
	kit_tag(store, other, "q.io/b:1");
	delete (one, &removed);
	assert_int_equal(removed.count, 1);
	assert_int_equal(removed.items[0].id, layers[0]);
	assert_false(kit_layer_exists("1a"));
	assert_true(kit_layer_exists("2a"));
	means_nothing("q.io/a:1", -ENOENT, "no such image");
	means("q.io/b:1", other, "q.io/b:1");
	delete (other, &rest);
	assert_int_equal(rest.count, 2);
	assert_int_equal(kit_names("store/layers/sha256"), 0);
	assert_int_equal(kit_names("store/blobs/sha256"), 0);
	assert_int_equal(
		kit_count(store,
			  "SELECT (SELECT count(*) FROM layer) + (SELECT count(*) FROM image) + (SELECT count(*)"
			  " FROM image_layer) + (SELECT count(*) FROM tag) + (SELECT count(*) FROM blob)"
			  " + (SELECT count(*) FROM trash)"),
		0);
}

static void a_container_keeps_its_layers_when_the_image_goes(void **state)
{
	int64_t id = kit_image(store, "aa", layers, 3);
	auto_snapshot struct snapshot s = { 0 };
	auto_layer_list struct layer_list removed = { 0 }, kept = { 0 };

	kit_container(store, id, "aa", "c", &s);
	delete (id, &removed);
	assert_int_equal(removed.count, 0);
	assert_int_equal(
		kit_count(
			store,
			"SELECT count(*) FROM snapshot WHERE image IS NULL AND image_id LIKE 'sha256:aa%'"),
		1);
	assert_int_equal(snapshot_layers(store, s.id, &kept, NULL), 0);
	assert_int_equal(kept.count, 3);
	assert_true(kit_layer_exists("1a"));
	assert_int_equal(snapshot_delete(store, &s, false, NULL), 0);
	assert_int_equal(kit_names("store/layers/sha256"), 0);
}

static void deleting_what_is_gone_says_so(void **state)
{
	auto_transaction struct db_transaction t = DB_TRANSACTION_INIT;
	struct err err = { 0 };

	assert_int_equal(db_begin(store->db, &t, NULL), 0);
	assert_int_equal(image_delete(store, 4711, NULL, &err), -ENOENT);
	assert_words(&err, "removed meanwhile");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		image_test(a_reference_finds_its_image_however_it_is_written),
		image_test(localhost_is_where_images_without_a_registry_are_looked_for_last),
		image_test(an_id_finds_its_image_with_and_without_the_algorithm),
		image_test(an_unknown_id_is_nothing),
		image_test(an_ambiguous_prefix_lists_the_candidates),
		image_test(of_many_candidates_ten_are_listed),
		image_test(a_reference_wins_over_an_id),
		image_test(names_that_are_none_are_refused),
		image_test(a_digest_finds_manifest_or_id),
		image_test(a_reference_moves_from_image_to_image),
		image_test(references_come_sorted),
		image_test(the_same_image_is_inserted_once),
		image_test(an_image_that_comes_again_has_the_new_chain),
		image_test(the_manifest_that_came_last_stays),
		image_test(a_manifest_of_two_images_stays_with_the_other),
		image_test(images_are_listed_newest_first),
		image_test(an_image_is_listed_with_all_that_is_its),
		image_test(an_empty_store_lists_nothing),
		image_test(a_caller_can_end_the_list),
		image_test(deleting_takes_what_only_it_held),
		image_test(a_container_keeps_its_layers_when_the_image_goes),
		image_test(deleting_what_is_gone_says_so),
	};

	return cmocka_run_group_tests_name("image", tests, sandbox_enter, sandbox_leave);
}
