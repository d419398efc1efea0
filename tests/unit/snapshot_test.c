/* SPDX-License-Identifier: Apache-2.0 */
#include "graph/store/snapshot.h"

#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "driver/base/fd.h"
#include "driver/mount.h"
#include "graph/store/db.h"
#include "tests/unit/kit.h"
#include "tests/unit/sandbox.h"
#include "tests/unit/util.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static struct store *store;
static int64_t layers[2], image;

/* An image of two layers, each with a file. */
static int begin(void **state)
{
	char path[200];

	if (sandbox_start(state) < 0)
		return -1;
	store = kit_store();
	for (int i = 0; i < 2; i++) {
		struct digest digest = kit_digest(i ? "2a" : "1a");

		layers[i] = kit_layer(store, i ? "2a" : "1a");
		(void)snprintf(path, sizeof(path), "store/layers/sha256/%s/diff/%s",
			       digest_hex(&digest), i ? "top" : "base");
		put_file(path, i ? "two" : "one");
	}
	image = kit_image(store, "e1", layers, 2);
	return 0;
}

static int end(void **state)
{
	store_freep(&store);
	return sandbox_clean(state);
}

#define snapshot_test(f) cmocka_unit_test_setup_teardown(f, begin, end)

static int create(const char *name, bool ephemeral, bool view, char uid[STORE_HEX_LEN + 1],
		  int *owner, struct err *err)
{
	const struct digest id = kit_digest("e1");
	const struct snapshot_spec spec = { .scope = view ? SNAPSHOT_SCOPE_IMAGES :
							    SNAPSHOT_SCOPE_CLI,
					    .name = name,
					    .image = image,
					    .image_id = id.text,
					    .image_name = "test",
					    .labels = "{\"a\":\"b\"}",
					    .ephemeral = ephemeral,
					    .view = view };

	return snapshot_create(store, &spec, uid, owner, err);
}

static int resolve(const char *name, struct snapshot *ret, struct err *err)
{
	return snapshot_resolve(store, SNAPSHOT_SCOPE_CLI, name, "container", ret, err);
}

static void *path_of(const char *uid, const char *below)
{
	static char path[200];

	(void)snprintf(path, sizeof(path), "store/snapshots/%s%s", uid, below);
	return path;
}

/* ---- creating ---- */

static void a_snapshot_has_rows_and_edges_and_no_directory_yet(void **state)
{
	auto_snapshot struct snapshot s = { 0 };
	auto_layer_list struct layer_list list = { 0 };
	char uid[STORE_HEX_LEN + 1];
	int owner = -4711;

	assert_int_equal(create("web", false, false, uid, &owner, NULL), 0);
	assert_int_equal(owner, -4711);
	assert_true(hex_valid(uid, STORE_HEX_LEN));
	assert_int_equal(resolve("web", &s, NULL), 0);
	assert_string_equal(s.uid, uid);
	assert_string_equal(s.name, "web");
	assert_string_equal(s.image_name, "test");
	assert_string_equal(s.labels, "{\"a\":\"b\"}");
	assert_int_equal(s.image, image);
	assert_false(s.view || s.ephemeral);
	assert_int_equal(kit_names("store/snapshots"), 0);
	assert_int_equal(snapshot_layers(store, s.id, &list, NULL), 0);
	assert_int_equal(list.count, 2);
	assert_int_equal(list.items[0].id, layers[0]);
	assert_int_equal(list.items[1].id, layers[1]);
	assert_int_equal(kit_names("store/staging"), 0);
}

static void the_directory_of_an_ephemeral_one_is_there_at_once(void **state)
{
	auto_close int owner = -EBADF;
	char uid[STORE_HEX_LEN + 1];

	assert_int_equal(create("web", true, false, uid, &owner, NULL), 0);
	assert_true(owner >= 0);
	assert_true(S_ISDIR(look(path_of(uid, "/fs")).st_mode));
	assert_true(S_ISDIR(look(path_of(uid, "/work")).st_mode));
	assert_int_equal(look(path_of(uid, "")).st_mode & 07777, 0700);
}

static void the_upper_begins_as_the_topmost_root_that_is_said(void **state)
{
	struct digest digest = kit_digest("1a");
	char uid[STORE_HEX_LEN + 1], path[200];
	auto_close int owner = -EBADF;

	assert_int_equal(kit_run(store,
				 "UPDATE layer SET root_implied = 1 WHERE diff_id LIKE 'sha256:2a%'"),
			 0);
	(void)snprintf(path, sizeof(path), "store/layers/sha256/%s/diff", digest_hex(&digest));
	assert_int_equal(chmod(path, 0751), 0);
	set_mtime(path, 12345, 678);
	assert_int_equal(create("web", true, false, uid, &owner, NULL), 0);
	assert_int_equal(look(path_of(uid, "/fs")).st_mode & 07777, 0751);
	assert_int_equal(look(path_of(uid, "/fs")).st_mtim.tv_sec, 12345);
	assert_int_equal(look(path_of(uid, "/fs")).st_mtim.tv_nsec, 678);
}

static void without_any_root_the_upper_is_plain(void **state)
{
	auto_close int owner = -EBADF;
	char uid[STORE_HEX_LEN + 1];

	assert_int_equal(kit_run(store, "UPDATE layer SET root_implied = 1"), 0);
	assert_int_equal(create("web", true, false, uid, &owner, NULL), 0);
	assert_int_equal(look(path_of(uid, "/fs")).st_mode & 07777, 0755);
	assert_int_equal(look(path_of(uid, "/fs")).st_mtim.tv_sec, 0);
}

static void a_taken_name_is_refused_and_leaves_nothing(void **state)
{
	char uid[STORE_HEX_LEN + 1], other[STORE_HEX_LEN + 1] = "untouched";
	struct err err = { 0 };

	assert_int_equal(create("web", false, false, uid, NULL, NULL), 0);
	assert_int_equal(create("web", false, false, other, NULL, &err), -EEXIST);
	assert_words(&err, "\"web\"");
	assert_string_equal(other, "untouched");
	assert_int_equal(kit_names("store/snapshots"), 0);
	assert_int_equal(kit_count(store, "SELECT count(*) FROM snapshot"), 1);
	assert_int_equal(create("web", false, true, other, NULL, &err), 0);
}

static void an_image_that_went_meanwhile_makes_no_container(void **state)
{
	char uid[STORE_HEX_LEN + 1];
	struct err err = { 0 };

	image = 4711;
	assert_int_equal(create("web", false, false, uid, NULL, &err), -ENOENT);
	assert_words(&err, "test");
	assert_int_equal(kit_names("store/snapshots"), 0);
	assert_int_equal(kit_count(store, "SELECT count(*) FROM snapshot"), 0);
}

/* Rows are numbered anew once the highest is gone: the number alone does not say which image is meant. */
static void another_image_with_the_same_row_is_not_the_image_that_was_meant(void **state)
{
	char uid[STORE_HEX_LEN + 1];
	int64_t next;

	assert_int_equal(kit_run(store, "DELETE FROM image_layer"), 0);
	assert_int_equal(kit_run(store, "DELETE FROM image"), 0);
	next = kit_image(store, "e2", layers, 1);
	if (next != image)
		return;
	assert_int_equal(create("web", false, false, uid, NULL, NULL), -ENOENT);
	assert_int_equal(kit_count(store, "SELECT count(*) FROM snapshot"), 0);
}

/* ---- finding ---- */

static void a_container_is_found_by_name_id_and_prefix(void **state)
{
	auto_snapshot struct snapshot a = { 0 }, b = { 0 }, c = { 0 };
	char uid[STORE_HEX_LEN + 1], prefix[13];

	assert_int_equal(create("web", false, false, uid, NULL, NULL), 0);
	(void)snprintf(prefix, sizeof(prefix), "%s", uid);
	assert_int_equal(resolve("web", &a, NULL), 0);
	assert_int_equal(resolve(uid, &b, NULL), 0);
	assert_int_equal(resolve(prefix, &c, NULL), 0);
	assert_int_equal(a.id, b.id);
	assert_int_equal(a.id, c.id);
}

static void an_ambiguous_prefix_lists_the_candidates(void **state)
{
	auto_snapshot struct snapshot s = { 0 };
	struct err err = { 0 };
	char uid[STORE_HEX_LEN + 1];

	assert_int_equal(create("one", false, false, uid, NULL, NULL), 0);
	assert_int_equal(create("other", false, false, uid, NULL, NULL), 0);
	assert_int_equal(
		kit_run(store,
			"UPDATE snapshot SET uid = 'abc1' || substr(uid, 5) WHERE name = 'one'"),
		0);
	assert_int_equal(
		kit_run(store,
			"UPDATE snapshot SET uid = 'abc2' || substr(uid, 5) WHERE name = 'other'"),
		0);
	assert_int_equal(resolve("abc", &s, &err), -ENOTUNIQ);
	assert_words(&err, "one");
	assert_words(&err, "other");
	assert_words(&err, "2 container ids");
	assert_int_equal(resolve("abc2", &s, &err), 0);
	assert_string_equal(s.name, "other");
}

static void a_name_wins_over_a_prefix(void **state)
{
	auto_snapshot struct snapshot s = { 0 };
	char uid[STORE_HEX_LEN + 1];

	assert_int_equal(create("one", false, false, uid, NULL, NULL), 0);
	assert_int_equal(create("abc", false, false, uid, NULL, NULL), 0);
	assert_int_equal(
		kit_run(store,
			"UPDATE snapshot SET uid = 'abc1' || substr(uid, 5) WHERE name = 'one'"),
		0);
	assert_int_equal(resolve("abc", &s, NULL), 0);
	assert_string_equal(s.name, "abc");
}

static void scopes_do_not_see_each_other(void **state)
{
	auto_snapshot struct snapshot s = { 0 };
	char uid[STORE_HEX_LEN + 1];
	struct err err = { 0 };

	assert_int_equal(create("web", false, true, uid, NULL, NULL), 0);
	assert_int_equal(resolve("web", &s, &err), -ENOENT);
	assert_words(&err, "no such container: web");
	assert_int_equal(resolve(uid, &s, &err), -ENOENT);
	assert_int_equal(resolve("", &s, &err), -ENOENT);
}

static int add_name(void *arg, const struct snapshot *s)
{
	return buf_printf(arg, "%s ", s->name);
}

static void snapshots_are_listed_newest_first_by_scope_and_image(void **state)
{
	auto_buf struct buf all = { .max = 0 }, cli = { .max = 0 }, none = { .max = 0 };
	char uid[STORE_HEX_LEN + 1];

	assert_int_equal(create("a", false, false, uid, NULL, NULL), 0);
	assert_int_equal(create("b", false, true, uid, NULL, NULL), 0);
	assert_int_equal(create("c", false, false, uid, NULL, NULL), 0);
	assert_int_equal(snapshot_list(store, NULL, image, add_name, &all, NULL), 0);
	assert_int_equal(snapshot_list(store, SNAPSHOT_SCOPE_CLI, 0, add_name, &cli, NULL), 0);
	assert_int_equal(snapshot_list(store, NULL, 4711, add_name, &none, NULL), 0);
	assert_string_equal(buf_text(&all), "c b a ");
	assert_string_equal(buf_text(&cli), "c a ");
	assert_string_equal(buf_text(&none), "");
}

/* ---- mounting ---- */

static void made(const char *name, struct snapshot *ret)
{
	kit_container(store, image, "e1", name, ret);
}

static void a_mounted_container_shows_all_layers_and_takes_changes(void **state)
{
	auto_snapshot struct snapshot s = { 0 };
	auto_free char *path = NULL;
	char file[8300];

	needs_root();
	made("web", &s);
	assert_int_equal(snapshot_mount(store, &s, &path, NULL), 0);
	(void)snprintf(file, sizeof(file), "%s/base", path);
	assert_contents(file, "one");
	put_file(file, "changed");
	(void)snprintf(file, sizeof(file), "%s/top", path);
	assert_contents(file, "two");
	assert_int_equal(snapshot_unmount(store, &s, NULL), 0);
	assert_false(exists(path));
	assert_contents(path_of(s.uid, "/fs/base"), "changed");
	assert_int_equal(kit_count(store, "SELECT count(*) FROM mount"), 0);
}

static void a_second_mount_gives_the_same_path(void **state)
{
	auto_snapshot struct snapshot s = { 0 };
	auto_free char *path = NULL, *again = NULL;

	needs_root();
	made("web", &s);
	assert_int_equal(snapshot_mount(store, &s, &path, NULL), 0);
	assert_int_equal(snapshot_mount(store, &s, &again, NULL), 0);
	assert_string_equal(path, again);
	assert_int_equal(snapshot_unmount(store, &s, NULL), 0);
	assert_int_equal(mount_is_mounted(path, NULL), 0);
	assert_int_equal(snapshot_unmount(store, &s, NULL), -EINVAL);
}

static void an_ephemeral_one_too_is_mounted_once(void **state)
{
	auto_snapshot struct snapshot s = { 0 };
	auto_free char *path = NULL, *again = NULL;
	auto_close int owner = -EBADF;
	char uid[STORE_HEX_LEN + 1];
	struct err err = { 0 };

	needs_root();
	assert_int_equal(create("web", true, false, uid, &owner, NULL), 0);
	assert_int_equal(resolve("web", &s, NULL), 0);
	assert_int_equal(snapshot_mount(store, &s, &path, NULL), 0);
	assert_int_equal(kit_count(store, "SELECT count(*) FROM mount"), 0);
	if (snapshot_mount(store, &s, &again, &err) < 0)
		fail_msg("%s", err.text);
	assert_string_equal(path, again);
	assert_int_equal(snapshot_unmount(store, &s, NULL), 0);
	assert_int_equal(mount_is_mounted(path, NULL), 0);
}

static void a_view_is_read_only(void **state)
{
	auto_snapshot struct snapshot s = { 0 };
	auto_free char *path = NULL;
	char uid[STORE_HEX_LEN + 1], file[8300];

	needs_root();
	assert_int_equal(create("view", false, true, uid, NULL, NULL), 0);
	assert_int_equal(snapshot_resolve(store, SNAPSHOT_SCOPE_IMAGES, "view", "image mount", &s,
					  NULL),
			 0);
	assert_int_equal(snapshot_mount(store, &s, &path, NULL), 0);
	(void)snprintf(file, sizeof(file), "%s/base", path);
	assert_contents(file, "one");
	assert_int_equal(open(file, O_WRONLY | O_CLOEXEC), -1);
	assert_int_equal(errno, EROFS);
	assert_int_equal(snapshot_delete(store, &s, true, NULL), 0);
}

static void a_busy_mount_is_not_unmounted_and_its_holder_is_named(void **state)
{
	auto_snapshot struct snapshot s = { 0 };
	auto_free char *path = NULL;
	struct err err = { 0 };
	char pid[32];

	needs_root();
	made("web", &s);
	assert_int_equal(snapshot_mount(store, &s, &path, NULL), 0);
	assert_int_equal(chdir(path), 0);
	assert_int_equal(snapshot_unmount(store, &s, &err), -EBUSY);
	assert_int_equal(chdir(sandbox_root()), 0);
	(void)snprintf(pid, sizeof(pid), "pid %d", getpid());
	assert_words(&err, pid);
	assert_words(&err, "web");
	assert_int_equal(snapshot_unmount(store, &s, NULL), 0);
}

/* ---- invariant 6 ---- */

static void state_is(const struct snapshot *s, bool mounted, bool elsewhere)
{
	auto_mount_state struct snapshot_mount_state state = { 0 };
	struct err err = { 0 };

	if (snapshot_mount_state(store, s->id, &state, &err) < 0)
		fail_msg("%s", err.text);
	assert_int_equal(state.mounted, mounted);
	assert_int_equal(state.elsewhere, elsewhere);
	assert_int_equal(state.target != NULL, mounted);
}

static void invariant_6_a_mount_that_is_gone_is_gone_whatever_the_row_says(void **state)
{
	auto_snapshot struct snapshot s = { 0 };
	auto_free char *path = NULL, *again = NULL;

	needs_root();
	made("web", &s);
	state_is(&s, false, false);
	assert_int_equal(snapshot_mount(store, &s, &path, NULL), 0);
	state_is(&s, true, false);
	assert_int_equal(mount_unmount(path, NULL), 0);
	assert_int_equal(kit_count(store, "SELECT count(*) FROM mount"), 1);
	state_is(&s, false, false);
	assert_int_equal(snapshot_unmount(store, &s, NULL), -EINVAL);
	assert_int_equal(snapshot_mount(store, &s, &again, NULL), 0);
	assert_string_equal(path, again);
	assert_int_equal(kit_count(store, "SELECT count(*) FROM mount"), 1);
	assert_int_equal(snapshot_unmount(store, &s, NULL), 0);
}

static void invariant_6_a_row_of_another_boot_is_stale(void **state)
{
	auto_snapshot struct snapshot s = { 0 };

	made("web", &s);
	assert_int_equal(
		kit_run(store,
			"INSERT INTO mount(snapshot, boot_id, namespace, target)"
			" VALUES(1, '00000000-0000-0000-0000-000000000000', 4026531840, '/')"),
		0);
	state_is(&s, false, false);
	assert_int_equal(snapshot_delete(store, &s, false, NULL), 0);
	assert_int_equal(kit_count(store, "SELECT count(*) FROM mount"), 0);
}

static void invariant_6_a_row_of_a_namespace_that_died_is_stale(void **state)
{
	auto_snapshot struct snapshot s = { 0 };
	auto_free char *path = NULL;

	needs_root();
	made("web", &s);
	assert_int_equal(snapshot_mount(store, &s, &path, NULL), 0);
	assert_int_equal(kit_run(store, "UPDATE mount SET namespace = 7"), 0);
	state_is(&s, false, false);
	assert_int_equal(mount_unmount(path, NULL), 0);
}

static int mount_elsewhere(struct child *parent, void *arg)
{
	const struct snapshot *s = arg;
	char *path = NULL;
	struct store *own = NULL;
	int r = unshare(CLONE_NEWNS) < 0 ? -errno : 0;

	if (r >= 0)
		r = store_open(sandbox_path("store"), sandbox_path("run"), false, true, &own, NULL);
	if (r >= 0)
		r = snapshot_mount(own, s, &path, NULL);
	if (r < 0)
		return -r;
	kit_tell(parent);
	(void)kit_hear(parent);
	return 1;
}

static void invariant_6_a_mount_in_another_living_namespace_counts(void **state)
{
	auto_snapshot struct snapshot s = { 0 };
	auto_free char *path = NULL;
	struct err err = { 0 };
	struct child child;
	char pid[32];

	needs_root();
	made("web", &s);
	child = kit_fork(mount_elsewhere, &s);
	assert_true(kit_hear(&child));
	state_is(&s, true, true);
	assert_int_equal(snapshot_mount(store, &s, &path, &err), -EBUSY);
	(void)snprintf(pid, sizeof(pid), "pid %d", child.pid);
	assert_words(&err, pid);
	assert_int_equal(snapshot_unmount(store, &s, &err), -EBUSY);
	assert_int_equal(snapshot_delete(store, &s, true, &err), -EBUSY);
	assert_true(exists(path_of(s.uid, "/fs")));
	kit_kill(&child);
	state_is(&s, false, false);
	assert_int_equal(snapshot_delete(store, &s, false, NULL), 0);
}

/* ---- deleting ---- */

static void deleting_takes_rows_edges_and_directory(void **state)
{
	auto_snapshot struct snapshot s = { 0 };

	made("web", &s);
	put_file(path_of(s.uid, "/fs/own"), "x");
	assert_int_equal(snapshot_delete(store, &s, false, NULL), 0);
	assert_int_equal(kit_names("store/snapshots"), 0);
	assert_int_equal(kit_names("store/trash"), 1);
	assert_int_equal(kit_count(store, "SELECT count(*) FROM snapshot_layer"), 0);
	assert_int_equal(kit_count(store, "SELECT count(*) FROM layer"), 2);
	assert_int_equal(snapshot_delete(store, &s, false, NULL), -ENOENT);
	assert_int_equal(trash_empty(store, true, NULL), 0);
	assert_int_equal(kit_names("store/trash"), 0);
}

static void a_mounted_one_is_deleted_by_force_only(void **state)
{
	auto_snapshot struct snapshot s = { 0 };
	auto_free char *path = NULL;
	struct err err = { 0 };

	needs_root();
	made("web", &s);
	assert_int_equal(snapshot_mount(store, &s, &path, NULL), 0);
	assert_int_equal(snapshot_delete(store, &s, false, &err), -EBUSY);
	assert_words(&err, path);
	assert_int_equal(mount_is_mounted(path, NULL), 1);
	assert_int_equal(snapshot_delete(store, &s, true, NULL), 0);
	assert_int_equal(mount_is_mounted(path, NULL), 0);
	assert_false(exists(path));
	assert_int_equal(kit_names("store/snapshots"), 0);
}

/* ---- ephemeral ones ---- */

static void an_ephemeral_one_is_its_owners_while_that_lives(void **state)
{
	auto_snapshot struct snapshot s = { 0 }, kept = { 0 };
	char uid[STORE_HEX_LEN + 1];
	int owner = -EBADF;

	assert_int_equal(create("web", true, false, uid, &owner, NULL), 0);
	assert_true(owner >= 0);
	assert_int_equal(resolve("web", &s, NULL), 0);
	assert_true(s.ephemeral);
	assert_false(snapshot_is_abandoned(store, &s));
	assert_int_equal(close(owner), 0);
	assert_true(snapshot_is_abandoned(store, &s));
	assert_true(snapshot_is_abandoned(store, &s));
	made("kept", &kept);
	assert_false(snapshot_is_abandoned(store, &kept));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		snapshot_test(a_snapshot_has_rows_and_edges_and_no_directory_yet),
		snapshot_test(the_directory_of_an_ephemeral_one_is_there_at_once),
		snapshot_test(the_upper_begins_as_the_topmost_root_that_is_said),
		snapshot_test(without_any_root_the_upper_is_plain),
		snapshot_test(a_taken_name_is_refused_and_leaves_nothing),
		snapshot_test(an_image_that_went_meanwhile_makes_no_container),
		snapshot_test(another_image_with_the_same_row_is_not_the_image_that_was_meant),
		snapshot_test(a_container_is_found_by_name_id_and_prefix),
		snapshot_test(an_ambiguous_prefix_lists_the_candidates),
		snapshot_test(a_name_wins_over_a_prefix),
		snapshot_test(scopes_do_not_see_each_other),
		snapshot_test(snapshots_are_listed_newest_first_by_scope_and_image),
		snapshot_test(a_mounted_container_shows_all_layers_and_takes_changes),
		snapshot_test(a_second_mount_gives_the_same_path),
		snapshot_test(an_ephemeral_one_too_is_mounted_once),
		snapshot_test(a_view_is_read_only),
		snapshot_test(a_busy_mount_is_not_unmounted_and_its_holder_is_named),
		snapshot_test(invariant_6_a_mount_that_is_gone_is_gone_whatever_the_row_says),
		snapshot_test(invariant_6_a_row_of_another_boot_is_stale),
		snapshot_test(invariant_6_a_row_of_a_namespace_that_died_is_stale),
		snapshot_test(invariant_6_a_mount_in_another_living_namespace_counts),
		snapshot_test(deleting_takes_rows_edges_and_directory),
		snapshot_test(a_mounted_one_is_deleted_by_force_only),
		snapshot_test(an_ephemeral_one_is_its_owners_while_that_lives),
	};

	return cmocka_run_group_tests_name("snapshot", tests, sandbox_enter, sandbox_leave);
}
