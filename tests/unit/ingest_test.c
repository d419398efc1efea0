/* SPDX-License-Identifier: Apache-2.0 */
#include "graph/fetch/archive.h"
#include "graph/ingest.h"

#include <string.h>
#include <unistd.h>

#include "graph/store/db.h"
#include "tests/unit/kit.h"
#include "tests/unit/sandbox.h"
#include "tests/unit/util.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static const char *const two_layers[] = { "base=one", "top=two", NULL };

static struct overlaid *o;
static struct source *source;
static struct source_image image;

static int begin(void **state)
{
	struct digest id;

	if (sandbox_start(state) < 0)
		return -1;
	o = kit_open();
	put_dir("spool");
	kit_docker_archive("a.tar", "null", two_layers, &id);
	return 0;
}

static int end(void **state)
{
	source_image_release(&image);
	source_freep(&source);
	overlaid_close(o);
	return sandbox_clean(state);
}

#define ingest_test(f) cmocka_unit_test_setup_teardown(f, begin, end)

static void open_source(void)
{
	auto_close int spool_fd = open_dir("spool", 0);
	struct archive_options options = { .path = "a.tar", .spool_fd = spool_fd };

	assert_int_equal(archive_open(&options, &source, NULL), 0);
	assert_int_equal(archive_read_image(source, 0, &image, NULL), 0);
}

static void begin_ingest(struct ingest *in)
{
	open_source();
	assert_int_equal(ingest_begin(o, source, &image, in, NULL), 0);
}

static void commit(struct ingest *in)
{
	auto_transaction struct db_transaction t = DB_TRANSACTION_INIT;
	auto_free int64_t *ids = NULL;

	assert_int_equal(db_begin(o->store->db, &t, NULL), 0);
	assert_int_equal(ingest_commit_layers(in, &ids, NULL), 0);
	assert_int_equal(ingest_end_lease(in, NULL, NULL), 0);
	assert_int_equal(db_commit(&t, NULL), 0);
}

/* Invariants 1 and 2. */
static void invariant_2_layers_stand_before_their_rows_do(void **state)
{
	auto_ingest struct ingest in = INGEST_INIT;

	needs_root();
	begin_ingest(&in);
	assert_int_equal(ingest_layers(&in, NULL), 0);
	assert_int_equal(ingest_extracted(&in), 2);
	assert_int_equal(kit_names("store/layers/sha256"), 2);
	assert_int_equal(kit_count(o->store, "SELECT count(*) FROM layer"), 0);
	commit(&in);
	assert_int_equal(kit_count(o->store, "SELECT count(*) FROM layer"), 2);
}

static void an_ingest_that_is_given_up_leaves_nothing(void **state)
{
	struct ingest in = INGEST_INIT;

	needs_root();
	begin_ingest(&in);
	assert_int_equal(ingest_layers(&in, NULL), 0);
	ingest_release(&in);
	assert_int_equal(kit_names("store/layers/sha256"), 0);
	assert_int_equal(kit_names("store/staging"), 0);
	assert_int_equal(trash_empty(o->store, true, NULL), 0);
	assert_int_equal(kit_names("store/trash"), 0);
	assert_int_equal(kit_count(o->store, "SELECT count(*) FROM lease"), 0);
}

static void what_is_there_is_leased_and_not_extracted(void **state)
{
	auto_ingest struct ingest in = INGEST_INIT;

	needs_root();
	assert_int_equal(kit_load(o, "a.tar", NULL), 0);
	begin_ingest(&in);
	assert_int_equal(ingest_layers(&in, NULL), 0);
	assert_int_equal(ingest_extracted(&in), 0);
	assert_int_equal(kit_count(o->store, "SELECT count(*) FROM lease_layer"), 2);
	/* So nobody can take them away now. */
	assert_int_equal(overlaid_image_remove(o, image.config_digest.text, 0, NULL, NULL, NULL),
			 0);
	assert_int_equal(kit_count(o->store, "SELECT count(*) FROM layer"), 2);
	assert_int_equal(kit_names("store/layers/sha256"), 2);
	ingest_release(&in);
	assert_int_equal(kit_count(o->store, "SELECT count(*) FROM layer"), 0);
	assert_int_equal(kit_names("store/layers/sha256"), 0);
	assert_int_equal(kit_count(o->store, "SELECT count(*) FROM lease"), 0);
}

/* Rows are numbered anew once the highest is gone: the next lease may get the number of ours. */
static void the_end_of_one_ingest_takes_no_others_lease(void **state)
{
	struct ingest in = INGEST_INIT;
	int64_t ours, theirs, layer = kit_layer(o->store, "ab");

	needs_root();
	assert_int_equal(kit_load(o, "a.tar", NULL), 0);
	begin_ingest(&in);
	assert_int_equal(ingest_layers(&in, NULL), 0);
	ours = in.lease;
	commit(&in);
	theirs = kit_lease(o->store, "another process", &layer, 1);
	ingest_release(&in);
	assert_true(ours > 0);
	if (kit_count(o->store, "SELECT count(*) FROM lease") != 1)
		fail_msg("lease %lld was ours, %lld is gone", (long long)ours, (long long)theirs);
	assert_true(kit_layer_exists("ab"));
}

static int hold_layers(struct child *parent, void *arg)
{
	struct ingest in = INGEST_INIT;
	struct overlaid *own = NULL;
	const struct overlaid_options options = { .root = sandbox_path("store"),
						  .run = sandbox_path("run"),
						  .durability = OVERLAID_VOLATILE };
	int r = overlaid_open(&options, &own, NULL);

	if (r >= 0)
		r = ingest_begin(own, source, &image, &in, NULL);
	if (r >= 0)
		r = ingest_layers(&in, NULL);
	if (r < 0)
		return -r;
	kit_tell(parent);
	(void)kit_hear(parent);
	return 1;
}

/* Invariant 8: a loader that dies before its commit; the waiter takes over. */
static void invariant_8_another_finishes_what_a_dead_loader_began(void **state)
{
	struct child child;

	needs_root();
	open_source();
	child = kit_fork(hold_layers, NULL);
	assert_true(kit_hear(&child));
	assert_int_equal(kit_names("store/layers/sha256"), 2);
	assert_int_equal(kit_count(o->store, "SELECT count(*) FROM layer"), 0);
	kit_kill(&child);
	assert_int_equal(kit_load(o, "a.tar", NULL), 0);
	assert_int_equal(kit_count(o->store, "SELECT count(*) FROM layer"), 2);
	assert_int_equal(overlaid_gc(o, 0, NULL, NULL, NULL), 0);
	assert_int_equal(kit_names("store/staging"), 0);
	assert_int_equal(kit_names("store/layers/sha256"), 2);
	assert_int_equal(kit_names("store/trash"), 0);
}

static void gc_leaves_a_living_loader_alone(void **state)
{
	struct child child;

	needs_root();
	open_source();
	child = kit_fork(hold_layers, NULL);
	assert_true(kit_hear(&child));
	assert_int_equal(overlaid_gc(o, 0, NULL, NULL, NULL), 0);
	assert_int_equal(kit_names("store/layers/sha256"), 2);
	assert_int_equal(kit_names("store/staging"), 1);
	kit_kill(&child);
	assert_int_equal(overlaid_gc(o, 0, NULL, NULL, NULL), 0);
	assert_int_equal(kit_names("store/layers/sha256"), 0);
	assert_int_equal(kit_names("store/staging"), 0);
}

static int load_at_once(struct child *parent, void *arg)
{
	struct overlaid *own = NULL;
	const struct overlaid_options options = { .root = sandbox_path("store"),
						  .run = sandbox_path("run"),
						  .durability = OVERLAID_VOLATILE };
	struct err err = { 0 };
	int r = overlaid_open(&options, &own, &err);

	kit_tell(parent);
	if (!kit_hear(parent))
		return 99;
	for (int i = 0; r >= 0 && i < 10; i++) {
		r = kit_load(own, arg, &err);
		if (r >= 0)
			r = overlaid_image_remove(own, "localhost/x:1", 0, NULL, NULL, &err);
		/* The others remove it too. */
		r = r == -ENOENT ? 0 : r;
	}
	if (r < 0)
		(void)fprintf(stderr, "%s\n", err.text);
	overlaid_close(own);
	return -r;
}

static void loaders_and_removers_of_shared_layers_get_along(void **state)
{
	static const char *const other_layers[] = { "base=one", "top=two", "more=three", NULL };
	struct child children[4];
	struct digest id;

	needs_root();
	kit_docker_archive("x.tar", "[\"localhost/x:1\"]", two_layers, &id);
	kit_docker_archive("y.tar", "[\"localhost/x:1\"]", other_layers, &id);
	for (size_t i = 0; i < ARRAY_LEN(children); i++) {
		children[i] = kit_fork(load_at_once, (void *)(i % 2 ? "x.tar" : "y.tar"));
		assert_true(kit_hear(&children[i]));
	}
	for (size_t i = 0; i < ARRAY_LEN(children); i++)
		kit_tell(&children[i]);
	assert_int_equal(kit_wait_all(children, ARRAY_LEN(children)), 0);
	assert_int_equal(overlaid_gc(o, 0, NULL, NULL, NULL), 0);
	assert_int_equal(kit_count(o->store, "SELECT count(*) FROM lease"), 0);
	assert_int_equal(kit_names("store/staging"), 0);
	assert_int_equal(kit_names("store/layers/sha256"),
			 kit_count(o->store, "SELECT count(*) FROM layer"));
	assert_int_equal(
		kit_count(
			o->store,
			"SELECT count(*) FROM layer WHERE id NOT IN (SELECT layer FROM image_layer)"),
		0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		ingest_test(invariant_2_layers_stand_before_their_rows_do),
		ingest_test(an_ingest_that_is_given_up_leaves_nothing),
		ingest_test(what_is_there_is_leased_and_not_extracted),
		ingest_test(the_end_of_one_ingest_takes_no_others_lease),
		ingest_test(invariant_8_another_finishes_what_a_dead_loader_began),
		ingest_test(gc_leaves_a_living_loader_alone),
		ingest_test(loaders_and_removers_of_shared_layers_get_along),
	};

	return cmocka_run_group_tests_name("ingest", tests, sandbox_enter, sandbox_leave);
}
