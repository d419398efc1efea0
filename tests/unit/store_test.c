/* SPDX-License-Identifier: Apache-2.0 */
/* The store's directories, locks, staging and trash; the invariants are those of graph/store/store.h. */
#include "graph/store/store.h"

#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "driver/base/fd.h"
#include "graph/store/db.h"
#include "tests/unit/kit.h"
#include "tests/unit/sandbox.h"
#include "tests/unit/util.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static int try_open(const char *root, bool must_exist, struct err *err)
{
	auto_store struct store *store = NULL;

	return store_open(sandbox_path(root), sandbox_path("run"), false, must_exist, &store, err);
}

/* ---- opening ---- */

static void a_new_store_has_its_directories(void **state)
{
	static const char *const names[] = { "layers/sha256", "snapshots", "blobs/sha256",
					     "partial",	      "staging",   "trash" };
	auto_store struct store *store = kit_store();
	char path[64];

	assert_string_equal(store->root_path, sandbox_path("store"));
	assert_int_equal(look("store").st_mode & 07777, 0700);
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		(void)snprintf(path, sizeof(path), "store/%s", names[i]);
		assert_true(S_ISDIR(look(path).st_mode));
		assert_int_equal(look(path).st_mode & 07777, 0700);
	}
	assert_contents("store/format", "overlaid 1\n");
	assert_true(exists("store/graph.db"));
	assert_int_equal(kit_names("store/staging"), 0);
}

static void a_store_opens_again(void **state)
{
	struct store *store = kit_store();
	int64_t layer = kit_layer(store, "ab");

	store_free(store);
	store = kit_store();
	assert_int_equal(kit_count(store, "SELECT id FROM layer"), layer);
	store_free(store);
}

static void a_relative_or_linked_path_is_made_real(void **state)
{
	auto_store struct store *store = NULL;

	put_dir("real");
	assert_int_equal(symlink("real", "link"), 0);
	assert_int_equal(store_open("link", sandbox_path("run"), false, false, &store, NULL), 0);
	assert_string_equal(store->root_path, sandbox_path("real"));
	assert_true(exists("real/format"));
}

static void a_missing_store_is_made_only_where_allowed(void **state)
{
	struct err err = { 0 };

	assert_int_equal(try_open("nowhere", true, &err), -ENOENT);
	assert_words(&err, "nowhere: no store there");
	assert_false(exists("nowhere"));
	put_dir("empty");
	assert_int_equal(try_open("empty", true, &err), -ENOENT);
	assert_int_equal(kit_names("empty"), 0);
	assert_int_equal(try_open("empty", false, &err), 0);
	assert_int_equal(try_open("empty", true, &err), 0);
}

static void a_directory_of_others_is_not_taken(void **state)
{
	struct err err = { 0 };

	put_file("home/letter", "dear");
	assert_int_equal(try_open("home", false, &err), -ENOTEMPTY);
	assert_words(&err, "letter");
	assert_int_equal(kit_names("home"), 1);
	assert_contents("home/letter", "dear");
}

static void a_file_is_no_store(void **state)
{
	struct err err = { 0 };

	put_file("file", "");
	assert_int_equal(try_open("file", false, &err), -ENOTDIR);
	assert_words(&err, "file");
}

static void lost_and_found_is_no_stranger(void **state)
{
	put_dir("disk/lost+found");
	assert_int_equal(try_open("disk", false, NULL), 0);
}

static void another_format_is_refused(void **state)
{
	struct err err = { 0 };

	assert_int_equal(try_open("store", false, NULL), 0);
	put_file("store/format", "overlaid 2\n");
	assert_int_equal(try_open("store", false, &err), -EPROTO);
	assert_words(&err, "format 2");
	put_file("store/format", "something else\n");
	assert_int_equal(try_open("store", false, &err), -EPROTO);
	assert_words(&err, "something else");
	put_file("store/format", "");
	assert_int_equal(try_open("store", false, &err), -EPROTO);
	put_file("store/format", "overlaid 1\n");
	assert_int_equal(try_open("store", false, &err), 0);
}

/* Invariant 8: a maker that died after `format` and before anything else. */
static void a_store_made_by_half_is_finished(void **state)
{
	put_file("store/format", "overlaid 1\n");
	put_file("store/format.0123456789abcdef", "overl");
	assert_int_equal(try_open("store", true, NULL), 0);
	assert_true(exists("store/layers/sha256"));
	put_file("other/format.0123456789abcdef", "overl");
	assert_int_equal(try_open("other", false, NULL), 0);
	assert_contents("other/format", "overlaid 1\n");
}

static int open_at_once(struct child *parent, void *arg)
{
	kit_tell(parent);
	return kit_hear(parent) ? -try_open("store", false, NULL) : 99;
}

static void many_may_make_the_store_at_once(void **state)
{
	struct child children[8];

	for (size_t i = 0; i < ARRAY_LEN(children); i++) {
		children[i] = kit_fork(open_at_once, NULL);
		assert_true(kit_hear(&children[i]));
	}
	for (size_t i = 0; i < ARRAY_LEN(children); i++)
		kit_tell(&children[i]);
	assert_int_equal(kit_wait_all(children, ARRAY_LEN(children)), 0);
	assert_int_equal(try_open("store", true, NULL), 0);
	assert_contents("store/format", "overlaid 1\n");
}

static void the_environment_says_where(void **state)
{
	auto_store struct store *store = NULL;

	assert_int_equal(setenv("OVERLAID_ROOT", sandbox_path("from-env"), 1), 0);
	assert_int_equal(setenv("OVERLAID_RUN", sandbox_path("run-env"), 1), 0);
	assert_int_equal(store_open(NULL, NULL, false, false, &store, NULL), 0);
	assert_int_equal(unsetenv("OVERLAID_ROOT"), 0);
	assert_int_equal(unsetenv("OVERLAID_RUN"), 0);
	assert_string_equal(store->root_path, sandbox_path("from-env"));
	assert_string_equal(store->run_path, sandbox_path("run-env"));
	assert_true(exists("from-env/format"));
}

static void mount_points_have_a_directory(void **state)
{
	auto_store struct store *store = kit_store();
	auto_close int fd = store_open_mnt(store, NULL);

	assert_true(fd >= 0);
	assert_true(S_ISDIR(look("run/mnt").st_mode));
	assert_int_equal(look("run/mnt").st_mode & 07777, 0700);
}

/* ---- locks ---- */

struct holder {
	const char *hex;
	int64_t offset;
};

static int hold_lock(struct child *parent, void *arg)
{
	const struct holder *h = arg;
	struct store_locks locks = STORE_LOCKS_INIT;
	struct store *store = NULL;
	int r = store_open(sandbox_path("store"), sandbox_path("run"), false, true, &store, NULL);

	if (r >= 0)
		r = store_locks_open(store, &locks, NULL);
	if (r >= 0)
		r = h->hex ? store_lock_object(&locks, h->hex, STORE_LOCK_TRY, NULL) :
			     store_lock_offset(&locks, h->offset, STORE_LOCK_TRY, NULL);
	if (r < 0)
		return -r;
	kit_tell(parent);
	(void)kit_hear(parent);
	store_locks_release(&locks);
	store_free(store);
	return 0;
}

static const char hex_a[] = "aaaaaaaaaaaaaaaa0000", hex_b[] = "aaaaaaaaaaaaaab00000",
		  hex_c[] = "ffffffffffffffffffff";

static int try_lock(struct store *store, const char *hex)
{
	auto_locks struct store_locks locks = STORE_LOCKS_INIT;
	struct err err = { 0 };
	int r;

	assert_int_equal(store_locks_open(store, &locks, NULL), 0);
	r = store_lock_object(&locks, hex, STORE_LOCK_TRY, &err);
	assert_string_equal(err.text, "");
	return r;
}

static void an_objects_lock_excludes_other_processes(void **state)
{
	auto_store struct store *store = kit_store();
	struct holder holder = { .hex = hex_a };
	struct child child = kit_fork(hold_lock, &holder);

	assert_true(kit_hear(&child));
	assert_int_equal(try_lock(store, hex_a), -EAGAIN);
	assert_int_equal(try_lock(store, hex_b), 0);
	assert_int_equal(try_lock(store, hex_c), 0);
	kit_tell(&child);
	assert_int_equal(kit_wait(&child), 0);
	assert_int_equal(try_lock(store, hex_a), 0);
}

static void a_lock_ends_with_its_process(void **state)
{
	auto_store struct store *store = kit_store();
	struct holder holder = { .hex = hex_a };
	struct child child = kit_fork(hold_lock, &holder);

	assert_true(kit_hear(&child));
	assert_int_equal(try_lock(store, hex_a), -EAGAIN);
	kit_kill(&child);
	assert_int_equal(try_lock(store, hex_a), 0);
}

static void sets_of_one_process_exclude_each_other_too(void **state)
{
	auto_store struct store *store = kit_store();
	auto_locks struct store_locks one = STORE_LOCKS_INIT;

	assert_int_equal(store_locks_open(store, &one, NULL), 0);
	assert_int_equal(store_lock_object(&one, hex_a, STORE_LOCK_TRY, NULL), 0);
	assert_int_equal(store_lock_object(&one, hex_a, STORE_LOCK_TRY, NULL), 0);
	assert_int_equal(try_lock(store, hex_a), -EAGAIN);
	store_unlock_object(&one, hex_a);
	assert_int_equal(try_lock(store, hex_a), 0);
}

static void one_lock_of_a_set_can_be_let_go(void **state)
{
	auto_store struct store *store = kit_store();
	auto_locks struct store_locks set = STORE_LOCKS_INIT;

	assert_int_equal(store_locks_open(store, &set, NULL), 0);
	assert_int_equal(store_lock_object(&set, hex_a, STORE_LOCK_TRY, NULL), 0);
	assert_int_equal(store_lock_object(&set, hex_b, STORE_LOCK_TRY, NULL), 0);
	store_unlock_object(&set, hex_a);
	assert_int_equal(try_lock(store, hex_a), 0);
	assert_int_equal(try_lock(store, hex_b), -EAGAIN);
	store_locks_release(&set);
	assert_int_equal(try_lock(store, hex_b), 0);
	assert_int_equal(set.fd, -EBADF);
}

static int wait_for_lock(struct child *parent, void *arg)
{
	struct store_locks locks = STORE_LOCKS_INIT;
	struct store *store = NULL;
	int r = store_open(sandbox_path("store"), sandbox_path("run"), false, true, &store, NULL);

	if (r >= 0)
		r = store_locks_open(store, &locks, NULL);
	kit_tell(parent);
	if (r >= 0)
		r = store_lock_object(&locks, hex_a, STORE_LOCK_WAIT, NULL);
	/* What was written under the lock is there. */
	if (r >= 0 && !exists("written"))
		r = -ENOMSG;
	store_locks_release(&locks);
	store_free(store);
	return -r;
}

static void a_waiter_gets_the_lock_when_it_is_free(void **state)
{
	auto_store struct store *store = kit_store();
	auto_locks struct store_locks locks = STORE_LOCKS_INIT;
	struct child child;

	assert_int_equal(store_locks_open(store, &locks, NULL), 0);
	assert_int_equal(store_lock_object(&locks, hex_a, STORE_LOCK_TRY, NULL), 0);
	child = kit_fork(wait_for_lock, NULL);
	/* The child has its own descriptor; ours in it must not count as its. */
	assert_true(kit_hear(&child));
	put_file("written", "");
	store_unlock_object(&locks, hex_a);
	assert_int_equal(kit_wait(&child), 0);
}

static void the_stores_own_locks_are_no_objects(void **state)
{
	auto_store struct store *store = kit_store();
	struct holder holder = { .offset = STORE_LOCK_REAPER };
	struct child child = kit_fork(hold_lock, &holder);

	assert_true(kit_hear(&child));
	assert_int_equal(try_lock(store, hex_c), 0);
	assert_int_equal(try_lock(store, "000000000000000000"), 0);
	assert_int_equal(kit_run(store, "DELETE FROM trash"), 0);
	kit_kill(&child);
}

/* ---- staging ---- */

static void staging_is_a_locked_directory_of_ones_own(void **state)
{
	auto_store struct store *store = kit_store();
	struct staging one = STAGING_INIT, other = STAGING_INIT;
	char path[100];
	int lock = -EBADF;

	assert_int_equal(staging_make(store, &one, NULL), 0);
	assert_int_equal(staging_make(store, &other, NULL), 0);
	assert_string_not_equal(one.name, other.name);
	assert_int_equal(strlen(one.name), 32);
	(void)snprintf(path, sizeof(path), "store/staging/%s", one.name);
	assert_int_equal(look(path).st_mode & 07777, 0700);
	assert_false(staging_is_dead(store, one.name, &lock));
	assert_int_equal(lock, -EBADF);
	staging_release(&one);
	staging_release(&other);
	assert_int_equal(kit_names("store/staging"), 0);
}

static void releasing_staging_removes_what_is_left_in_it(void **state)
{
	auto_store struct store *store = kit_store();
	struct staging staging = STAGING_INIT;
	char path[100];

	assert_int_equal(staging_make(store, &staging, NULL), 0);
	(void)snprintf(path, sizeof(path), "store/staging/%s/a/b/c", staging.name);
	put_file(path, "left");
	staging_release(&staging);
	staging_release(&staging);
	assert_int_equal(kit_names("store/staging"), 0);
}

static int hold_staging(struct child *parent, void *arg)
{
	struct staging staging = STAGING_INIT;
	struct store *store = NULL;
	int r = store_open(sandbox_path("store"), sandbox_path("run"), false, true, &store, NULL);

	if (r >= 0)
		r = staging_make(store, &staging, NULL);
	if (r >= 0)
		r = write_full(parent->to, staging.name, sizeof(staging.name));
	if (r < 0)
		return -r;
	(void)kit_hear(parent);
	return 1;
}

static void staging_of_a_dead_process_is_dead(void **state)
{
	auto_store struct store *store = kit_store();
	struct child child = kit_fork(hold_staging, NULL);
	auto_close int lock = -EBADF;
	char name[33];

	assert_int_equal(read(child.from, name, sizeof(name)), sizeof(name));
	assert_false(staging_is_dead(store, name, &lock));
	kit_kill(&child);
	assert_true(staging_is_dead(store, name, &lock));
	assert_true(lock >= 0);
	assert_false(staging_is_dead(store, "00000000000000000000000000000000", &lock));
}

/* ---- trash ---- */

static int record(struct store *store, const char *kind, const char *start, const char *name)
{
	auto_transaction struct db_transaction t = DB_TRANSACTION_INIT;
	struct digest digest = kit_digest(start);
	int r = db_begin(store->db, &t, NULL);

	if (r >= 0)
		r = db_run(store->db, NULL, "INSERT INTO trash(kind, hex, name) VALUES(?, ?, ?)",
			   "sss", kind, digest_hex(&digest), name);
	return r < 0 ? r : db_commit(&t, NULL);
}

#define NAME "0123456789abcdef0123456789abcdef"

static void what_is_moved_to_trash_is_out_of_the_way(void **state)
{
	auto_store struct store *store = kit_store();
	struct digest digest = kit_digest("ab");

	kit_layer_dir(store, "ab");
	assert_int_equal(trash_move(store, store->layers_fd, digest_hex(&digest), NULL), 0);
	assert_false(kit_layer_exists("ab"));
	assert_int_equal(kit_names("store/trash"), 1);
	/* Gone already is success. */
	assert_int_equal(trash_move(store, store->layers_fd, digest_hex(&digest), NULL), 0);
	assert_int_equal(trash_empty(store, false, NULL), 0);
	assert_int_equal(kit_names("store/trash"), 0);
}

/* Invariant 4: a crash between the commit and the rename. */
static void invariant_4_a_recorded_directory_is_moved_by_the_next_sweep(void **state)
{
	auto_store struct store *store = kit_store();

	kit_layer_dir(store, "ab");
	kit_layer_dir(store, "cd");
	assert_int_equal(record(store, "layer", "ab", NAME), 0);
	assert_int_equal(trash_sweep(store, NULL), 0);
	assert_false(kit_layer_exists("ab"));
	assert_true(kit_layer_exists("cd"));
	assert_int_equal(kit_names("store/trash"), 1);
	assert_int_equal(trash_sweep(store, NULL), 0);
}

/* Invariant 4: a crash between the rename and the unlink, or amid the unlinks. */
static void invariant_4_emptying_finishes_what_was_begun(void **state)
{
	auto_store struct store *store = kit_store();

	put_file("store/trash/" NAME "/diff/a/b", "half deleted");
	put_file("store/trash/somebody", "a file");
	kit_layer_dir(store, "ab");
	put_file("store/blobs/sha256/cd00000000000000000000000000000000000000000000000000000000000000",
		 "{}");
	put_dir("store/snapshots/ef00000000000000000000000000000000000000000000000000000000000000/fs");
	assert_int_equal(record(store, "layer", "12", NAME), 0);
	assert_int_equal(record(store, "layer", "ab", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"), 0);
	assert_int_equal(record(store, "blob", "cd", "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"), 0);
	assert_int_equal(record(store, "snapshot", "ef", "cccccccccccccccccccccccccccccccc"), 0);
	assert_int_equal(trash_empty(store, false, NULL), 0);
	assert_int_equal(kit_names("store/trash"), 0);
	assert_int_equal(kit_names("store/layers/sha256"), 0);
	assert_int_equal(kit_names("store/blobs/sha256"), 0);
	assert_int_equal(kit_names("store/snapshots"), 0);
	assert_int_equal(kit_count(store, "SELECT count(*) FROM trash"), 0);
}

/* Invariant 4: loaded again between the removal and the rename. */
static void invariant_4_a_layer_whose_row_is_back_stays(void **state)
{
	auto_store struct store *store = kit_store();

	(void)kit_layer(store, "ab");
	assert_int_equal(record(store, "layer", "ab", NAME), 0);
	assert_int_equal(trash_sweep(store, NULL), 0);
	assert_true(kit_layer_exists("ab"));
	assert_int_equal(trash_empty(store, true, NULL), 0);
	assert_true(kit_layer_exists("ab"));
	assert_int_equal(kit_count(store, "SELECT count(*) FROM trash"), 0);
	assert_int_equal(kit_count(store, "SELECT count(*) FROM layer"), 1);
}

/* Invariant 4: being loaded again at this moment: its directory may be the new one, whose row comes. */
static void invariant_4_a_layer_that_somebody_has_locked_stays(void **state)
{
	auto_store struct store *store = kit_store();
	struct digest digest = kit_digest("ab");
	struct holder holder = { .hex = digest_hex(&digest) };
	struct child child;

	kit_layer_dir(store, "ab");
	kit_layer_dir(store, "cd");
	assert_int_equal(record(store, "layer", "ab", NAME), 0);
	assert_int_equal(record(store, "layer", "cd", "cccccccccccccccccccccccccccccccc"), 0);
	child = kit_fork(hold_lock, &holder);
	assert_true(kit_hear(&child));
	assert_int_equal(trash_sweep(store, NULL), 0);
	assert_true(kit_layer_exists("ab"));
	assert_false(kit_layer_exists("cd"));
	/* Nor does emptying wait for it, or forget it. */
	assert_int_equal(trash_empty(store, true, NULL), 0);
	assert_true(kit_layer_exists("ab"));
	assert_int_equal(kit_count(store, "SELECT count(*) FROM trash"), 1);
	kit_kill(&child);
	assert_int_equal(trash_empty(store, true, NULL), 0);
	assert_false(kit_layer_exists("ab"));
	assert_int_equal(kit_count(store, "SELECT count(*) FROM trash"), 0);
}

/* Removed, loaded again and removed again before anybody emptied the trash. */
static void invariant_4_a_layer_can_go_twice_before_the_trash_is_emptied(void **state)
{
	auto_store struct store *store = kit_store();
	struct err err = { 0 };

	kit_layer_dir(store, "ab");
	assert_int_equal(record(store, "layer", "ab", NAME), 0);
	assert_int_equal(trash_sweep(store, NULL), 0);
	kit_layer_dir(store, "ab");
	assert_int_equal(record(store, "layer", "ab", "cccccccccccccccccccccccccccccccc"), 0);
	if (trash_sweep(store, &err) < 0)
		fail_msg("%s", err.text);
	assert_false(kit_layer_exists("ab"));
	assert_int_equal(kit_names("store/trash"), 2);
	assert_int_equal(trash_empty(store, true, NULL), 0);
	assert_int_equal(kit_names("store/trash"), 0);
	assert_int_equal(kit_count(store, "SELECT count(*) FROM trash"), 0);
}

static void only_one_process_empties_the_trash(void **state)
{
	auto_store struct store *store = kit_store();
	struct holder holder = { .offset = STORE_LOCK_REAPER };
	struct child child = kit_fork(hold_lock, &holder);
	struct err err = { 0 };

	assert_true(kit_hear(&child));
	put_file("store/trash/" NAME "/x", "");
	assert_int_equal(trash_empty(store, false, &err), -EAGAIN);
	assert_string_equal(err.text, "");
	assert_true(exists("store/trash/" NAME));
	kit_kill(&child);
	assert_int_equal(trash_empty(store, false, &err), 0);
	assert_false(exists("store/trash/" NAME));
}

static void odd_trash_rows_harm_nobody(void **state)
{
	auto_store struct store *store = kit_store();

	put_file("store/precious", "");
	assert_int_equal(
		kit_run(store,
			"INSERT INTO trash(kind, hex, name) VALUES('layer', '../../precious', 'x')"),
		0);
	assert_int_equal(
		kit_run(store,
			"INSERT INTO trash(kind, hex, name) VALUES('blob', '', '../precious')"),
		0);
	assert_int_equal(trash_empty(store, true, NULL), 0);
	assert_true(exists("store/precious"));
	assert_int_equal(kit_count(store, "SELECT count(*) FROM trash"), 0);
}

static void trees_in_trash_do_not_lead_out_of_it(void **state)
{
	auto_store struct store *store = kit_store();

	put_file("outside/file", "stays");
	put_dir("store/trash/" NAME);
	assert_int_equal(symlink(sandbox_path("outside"), "store/trash/" NAME "/link"), 0);
	assert_int_equal(symlink("../../outside", "store/trash/link"), 0);
	assert_int_equal(trash_empty(store, true, NULL), 0);
	assert_int_equal(kit_names("store/trash"), 0);
	assert_contents("outside/file", "stays");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		sandbox_test(a_new_store_has_its_directories),
		sandbox_test(a_store_opens_again),
		sandbox_test(a_relative_or_linked_path_is_made_real),
		sandbox_test(a_missing_store_is_made_only_where_allowed),
		sandbox_test(a_directory_of_others_is_not_taken),
		sandbox_test(a_file_is_no_store),
		sandbox_test(lost_and_found_is_no_stranger),
		sandbox_test(another_format_is_refused),
		sandbox_test(a_store_made_by_half_is_finished),
		sandbox_test(many_may_make_the_store_at_once),
		sandbox_test(the_environment_says_where),
		sandbox_test(mount_points_have_a_directory),
		sandbox_test(an_objects_lock_excludes_other_processes),
		sandbox_test(a_lock_ends_with_its_process),
		sandbox_test(sets_of_one_process_exclude_each_other_too),
		sandbox_test(one_lock_of_a_set_can_be_let_go),
		sandbox_test(a_waiter_gets_the_lock_when_it_is_free),
		sandbox_test(the_stores_own_locks_are_no_objects),
		sandbox_test(staging_is_a_locked_directory_of_ones_own),
		sandbox_test(releasing_staging_removes_what_is_left_in_it),
		sandbox_test(staging_of_a_dead_process_is_dead),
		sandbox_test(what_is_moved_to_trash_is_out_of_the_way),
		sandbox_test(invariant_4_a_recorded_directory_is_moved_by_the_next_sweep),
		sandbox_test(invariant_4_emptying_finishes_what_was_begun),
		sandbox_test(invariant_4_a_layer_whose_row_is_back_stays),
		sandbox_test(invariant_4_a_layer_that_somebody_has_locked_stays),
		sandbox_test(invariant_4_a_layer_can_go_twice_before_the_trash_is_emptied),
		sandbox_test(only_one_process_empties_the_trash),
		sandbox_test(odd_trash_rows_harm_nobody),
		sandbox_test(trees_in_trash_do_not_lead_out_of_it),
	};

	return cmocka_run_group_tests_name("store", tests, sandbox_enter, sandbox_leave);
}
