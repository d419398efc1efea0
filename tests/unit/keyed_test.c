/* SPDX-License-Identifier: Apache-2.0 */
#include "graph/store/keyed.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "driver/base/fd.h"
#include "driver/base/json.h"
#include "driver/tree.h"
#include "graph/store/chain.h"
#include "graph/store/db.h"
#include "tests/unit/kit.h"
#include "tests/unit/sandbox.h"
#include "tests/unit/util.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#define SCOPE "containerd:/run/a.sock:overlaid"
#define OTHER "containerd:/run/b.sock:overlaid"
#define REF   "containerd.io/snapshot.ref"

static struct store *store;
static char one[DIGEST_TEXT_MAX], two[DIGEST_TEXT_MAX]; /* chainIDs */

static int begin(void **state)
{
	if (sandbox_start(state) < 0)
		return -1;
	store = kit_store();
	(void)snprintf(one, sizeof(one), "%s", kit_digest("c1").text);
	(void)snprintf(two, sizeof(two), "%s", kit_digest("c2").text);
	return 0;
}

static int end(void **state)
{
	store_freep(&store);
	return sandbox_clean(state);
}

#define keyed_test(f) cmocka_unit_test_setup_teardown(f, begin, end)

static int prepare_spec(const struct keyed_spec *given, struct err *err)
{
	struct keyed_spec spec = *given;

	spec.scope = spec.scope ? spec.scope : SCOPE;
	spec.parent = spec.parent ? spec.parent : "";
	spec.labels = spec.labels ? spec.labels : "{}";
	spec.kind = spec.kind ? spec.kind : OVERLAID_SNAPSHOT_ACTIVE;
	return keyed_prepare(store, &spec, err);
}

#define prepare(...) prepare_spec(&(struct keyed_spec){ __VA_ARGS__ }, NULL)

/* As a runtime does: flushes, and again where that was needless before. */
static int commit_spec(const char *key, const struct keyed_spec *given, struct err *err)
{
	struct keyed_spec spec = *given;
	int r;

	spec.scope = spec.scope ? spec.scope : SCOPE;
	spec.parent = spec.parent ? spec.parent : "";
	spec.labels = spec.labels ? spec.labels : "{}";
	for (bool keep = false;; keep = true) {
		r = keyed_flush(store, spec.scope, key, keep, err);
		spec.flushed = r > 0;
		if (r >= 0)
			r = keyed_commit(store, key, &spec, err);
		if (r != -ESTALE || keep)
			return r;
	}
}

#define commit(key, ...) commit_spec(key, &(struct keyed_spec){ __VA_ARGS__ }, NULL)

static void find_in(const char *scope, const char *name, struct keyed *ret)
{
	struct err err = { 0 };

	if (keyed_find(store, scope, name, ret, &err) < 0)
		fail_msg("%s", err.text);
}

/* A path below the snapshot's directory; in layers/, where that is where it went. */
static const char *path_in(const char *scope, const char *folder, const char *name,
			   const char *below)
{
	auto_keyed struct keyed k = { 0 };
	char path[200];

	find_in(scope, name, &k);
	(void)snprintf(path, sizeof(path), "store/%s/%s%s", folder, k.uid, below);
	return sandbox_path(path);
}

#define own(name, below)     path_in(SCOPE, "snapshots", name, below)
#define adopted(name, below) path_in(SCOPE, "layers/sha256", name, below)

static int64_t count(const char *sql)
{
	return kit_count(store, sql);
}

/* A committed one with a file; no chain. */
static void committed(const char *name, const char *parent)
{
	char key[100];

	(void)snprintf(key, sizeof(key), "key of %s", name);
	assert_int_equal(prepare(.name = key, .parent = parent), 0);
	put_file(own(key, "/diff/file"), name);
	assert_int_equal(commit(key, .name = name), 0);
}

/* The same, as the chain, over what is that chain's parent. */
static void unpacked(const char *scope, const char *name, const char *parent, const char *chain_id)
{
	char key[100];

	(void)snprintf(key, sizeof(key), "key of %s", name);
	assert_int_equal(prepare(.scope = scope, .name = key, .parent = parent,
				 .chain_id = chain_id),
			 0);
	put_file(path_in(scope, "snapshots", key, "/diff/file"), name);
	assert_int_equal(commit(key, .scope = scope, .name = name, .chain_id = chain_id), 0);
}

static mode_t mode_of(const char *path)
{
	return look(path).st_mode & 07777;
}

static void swept(void)
{
	assert_int_equal(trash_sweep(store, NULL), 0);
	assert_int_equal(trash_empty(store, true, NULL), 0);
	assert_int_equal(kit_names("store/trash"), 0);
}

/* ---- preparing ---- */

static void an_active_one_has_its_row_and_its_directory(void **state)
{
	auto_keyed struct keyed k = { 0 };

	assert_int_equal(prepare(.name = "a", .labels = "{\"x\":\"y\"}"), 0);
	find_in(SCOPE, "a", &k);
	assert_string_equal(k.name, "a");
	assert_string_equal(k.parent_name, "");
	assert_string_equal(k.labels, "{\"x\":\"y\"}");
	assert_string_equal(k.chain_id, "");
	assert_int_equal(k.kind, OVERLAID_SNAPSHOT_ACTIVE);
	assert_int_equal(k.parent, 0);
	assert_true(hex_valid(k.uid, STORE_HEX_LEN));
	assert_true(k.created_ns > 1000000000 * (int64_t)1000000000);
	assert_true(k.created_ns == k.updated_ns);
	assert_true(k.disk_bytes == -1 && k.inodes == -1);
	assert_int_equal(kit_names(own("a", "")), 2);
	assert_int_equal(kit_names(own("a", "/diff")), 0);
	assert_int_equal(kit_names(own("a", "/work")), 0);
}

static void a_view_has_no_directory(void **state)
{
	auto_keyed struct keyed k = { 0 };

	assert_int_equal(prepare(.name = "v", .kind = OVERLAID_SNAPSHOT_VIEW), 0);
	committed("base", "");
	assert_int_equal(prepare(.name = "w", .parent = "base", .kind = OVERLAID_SNAPSHOT_VIEW), 0);
	assert_int_equal(kit_names("store/snapshots"), 1);
	find_in(SCOPE, "w", &k);
	assert_int_equal(k.kind, OVERLAID_SNAPSHOT_VIEW);
	assert_string_equal(k.parent_name, "base");
}

static void directories_have_their_modes_whatever_the_umask(void **state)
{
	static const mode_t umasks[] = { 0, 022, 077, 0777 };
	char name[8];

	for (size_t i = 0; i < ARRAY_LEN(umasks); i++) {
		mode_t usual = umask(umasks[i]);
		int r;

		(void)snprintf(name, sizeof(name), "%zu", i);
		r = prepare(.name = name);
		(void)umask(usual);
		assert_int_equal(r, 0);
		assert_int_equal(mode_of(own(name, "")), 0700);
		assert_int_equal(mode_of(own(name, "/diff")), 0755);
		assert_int_equal(mode_of(own(name, "/work")), 0711);
	}
}

static void a_tree_begins_as_its_parents_root(void **state)
{
	struct stat st;

	needs_root();
	assert_int_equal(prepare(.name = "a"), 0);
	assert_int_equal(chown(own("a", "/diff"), 11, 12), 0);
	assert_int_equal(chmod(own("a", "/diff"), 01751), 0);
	assert_int_equal(commit("a", .name = "base"), 0);
	assert_int_equal(prepare(.name = "b", .parent = "base"), 0);
	st = look(own("b", "/diff"));
	assert_int_equal(st.st_uid, 11);
	assert_int_equal(st.st_gid, 12);
	assert_int_equal(st.st_mode & 07777, 01751);
	assert_int_equal(mode_of(own("b", "/work")), 0711);
	/* What is changed counts for the next. */
	assert_int_equal(chmod(own("b", "/diff"), 0700), 0);
	assert_int_equal(commit("b", .name = "top"), 0);
	assert_int_equal(prepare(.name = "c", .parent = "top"), 0);
	assert_int_equal(mode_of(own("c", "/diff")), 0700);
	assert_int_equal(look(own("c", "/diff")).st_uid, 11);
}

static void names_are_of_one_scope(void **state)
{
	auto_keyed struct keyed a = { 0 }, b = { 0 };
	struct err err = { 0 };
	const struct keyed_spec spec = { .name = "n" };

	assert_int_equal(prepare(.name = "n", .labels = "{\"of\":\"a\"}"), 0);
	assert_int_equal(prepare_spec(&spec, &err), -EEXIST);
	assert_words(&err, "\"n\"");
	assert_int_equal(prepare(.name = "n", .kind = OVERLAID_SNAPSHOT_VIEW), -EEXIST);
	assert_int_equal(prepare(.scope = OTHER, .name = "n", .labels = "{\"of\":\"b\"}"), 0);
	find_in(SCOPE, "n", &a);
	find_in(OTHER, "n", &b);
	assert_string_equal(a.labels, "{\"of\":\"a\"}");
	assert_string_equal(b.labels, "{\"of\":\"b\"}");
	assert_string_not_equal(a.uid, b.uid);
	assert_int_equal(kit_names("store/snapshots"), 2);
	/* Nor are parents. */
	committed("base", "");
	assert_int_equal(prepare(.scope = OTHER, .name = "c", .parent = "base"), -ENOENT);
	assert_int_equal(keyed_remove(store, OTHER, "base", NULL), -ENOENT);
	assert_int_equal(keyed_remove(store, OTHER, "n", NULL), 0);
	assert_int_equal(prepare(.name = "n"), -EEXIST);
	/* A committed name is a name like others. */
	assert_int_equal(prepare(.name = "base"), -EEXIST);
}

static void names_are_any_bytes(void **state)
{
	static const char *const names[] = {
		"k8s.io/7/extract-32300239-F79X sha256:d4df",
		"../../../etc",
		"a\nb\x01\xff",
		"'; DELETE FROM keyed; --",
		" ",
	};
	char large[3000];

	memset(large, 'n', sizeof(large) - 1);
	large[sizeof(large) - 1] = 0;
	assert_int_equal(prepare(.name = large), 0);
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		auto_keyed struct keyed k = { 0 };

		assert_int_equal(prepare(.name = names[i]), 0);
		find_in(SCOPE, names[i], &k);
		assert_string_equal(k.name, names[i]);
	}
	assert_int_equal(commit(large, .name = "\xff"), 0);
	assert_int_equal(prepare(.name = "child", .parent = "\xff"), 0);
	assert_int_equal(kit_names("store/snapshots"), ARRAY_LEN(names) + 2);
}

static void a_parent_is_committed(void **state)
{
	const struct keyed_spec of_active = { .name = "c", .parent = "a" },
				of_none = { .name = "c", .parent = "none" };
	struct err err = { 0 };

	assert_int_equal(prepare(.name = "a"), 0);
	assert_int_equal(prepare(.name = "v", .kind = OVERLAID_SNAPSHOT_VIEW), 0);
	assert_int_equal(prepare_spec(&of_active, &err), -EINVAL);
	assert_words(&err, "\"a\" is not committed");
	assert_int_equal(prepare(.name = "c", .parent = "v"), -EINVAL);
	assert_int_equal(prepare(.name = "c", .parent = "a", .kind = OVERLAID_SNAPSHOT_VIEW),
			 -EINVAL);
	assert_int_equal(prepare_spec(&of_none, &err), -ENOENT);
	assert_words(&err, "\"none\"");
	assert_int_equal(prepare(.name = "self", .parent = "self"), -ENOENT);
	assert_int_equal(count("SELECT count(*) FROM keyed"), 2);
	assert_int_equal(kit_names("store/snapshots"), 1);
	assert_int_equal(kit_names("store/trash"), 0);
}

/* ---- finding ---- */

static void what_is_not_there_is_not_found(void **state)
{
	struct keyed k = { .id = 4711 };
	struct err err = { 0 };

	assert_int_equal(keyed_find(store, SCOPE, "gone", &k, &err), -ENOENT);
	assert_words(&err, "snapshot \"gone\"");
	assert_int_equal(k.id, 4711);
}

static int note(void *arg, const struct keyed *k)
{
	return buf_printf(arg, "%s<%s ", k->name, k->parent_name);
}

static int stop_at_second(void *arg, const struct keyed *k)
{
	int *seen = arg;

	return ++*seen == 2 ? 42 : 0;
}

static void a_list_has_the_scope_parents_first(void **state)
{
	auto_buf struct buf ours = { .max = 0 }, theirs = { .max = 0 }, all = { .max = 0 },
			    nobodys = { .max = 0 };
	int seen = 0;

	committed("base", "");
	committed("top", "base");
	assert_int_equal(prepare(.scope = OTHER, .name = "x"), 0);
	assert_int_equal(prepare(.name = "v", .parent = "top", .kind = OVERLAID_SNAPSHOT_VIEW), 0);
	assert_int_equal(prepare(.name = "early"), 0);
	committed("late", "");
	assert_int_equal(keyed_list(store, SCOPE, note, &ours, NULL), 0);
	assert_string_equal(buf_text(&ours), "base< early< late< top<base v<top ");
	assert_int_equal(keyed_list(store, OTHER, note, &theirs, NULL), 0);
	assert_string_equal(buf_text(&theirs), "x< ");
	assert_int_equal(keyed_list(store, "", note, &nobodys, NULL), 0);
	assert_int_equal(nobodys.len, 0);
	assert_int_equal(keyed_list(store, NULL, note, &all, NULL), 0);
	assert_int_equal(all.len, ours.len + theirs.len);
	assert_int_equal(keyed_list(store, SCOPE, stop_at_second, &seen, NULL), 42);
	assert_int_equal(seen, 2);
	assert_int_equal(keyed_remove(store, OTHER, "x", NULL), 0);
}

static int index_of(const char *text, const char *part)
{
	const char *at = strstr(text, part);

	assert_non_null(at);
	return (int)(at - text);
}

/* Whoever gets its parent with the commit was there before it. */
static void a_list_has_parents_first_also_of_what_was_rebased(void **state)
{
	auto_buf struct buf text = { .max = 0 };

	assert_int_equal(prepare(.name = "upper"), 0);
	assert_int_equal(prepare(.name = "lower"), 0);
	assert_int_equal(commit("lower", .name = "base"), 0);
	assert_int_equal(commit("upper", .name = "top", .parent = "base"), 0);
	assert_int_equal(keyed_list(store, SCOPE, note, &text, NULL), 0);
	assert_true(index_of(buf_text(&text), "base<") < index_of(buf_text(&text), "top<base"));
}

/* ---- committing ---- */

static void a_commit_makes_a_parent(void **state)
{
	auto_keyed struct keyed before = { 0 }, k = { 0 };

	assert_int_equal(prepare(.name = "a", .labels = "{\"old\":\"1\",\"both\":\"1\"}"), 0);
	put_file(own("a", "/diff/file"), "contents");
	find_in(SCOPE, "a", &before);
	assert_int_equal(commit("a", .name = "base", .labels = "{\"both\":\"2\"}"), 0);
	find_in(SCOPE, "base", &k);
	assert_int_equal(k.kind, OVERLAID_SNAPSHOT_COMMITTED);
	assert_int_equal(k.id, before.id);
	assert_string_equal(k.uid, before.uid);
	assert_string_equal(k.labels, "{\"both\":\"2\"}");
	assert_true(k.created_ns == k.updated_ns);
	assert_true(k.created_ns > before.created_ns);
	assert_contents(own("base", "/diff/file"), "contents");
	assert_int_equal(count("SELECT count(*) FROM layer"), 0);
	/* The key may be used again at once. */
	assert_int_equal(prepare(.name = "a", .parent = "base"), 0);
	assert_int_equal(kit_names(own("a", "/diff")), 0);
}

static void only_what_is_active_is_committed(void **state)
{
	const struct keyed_spec spec = { .name = "new" };
	struct err err = { 0 };

	committed("base", "");
	assert_int_equal(prepare(.name = "v", .kind = OVERLAID_SNAPSHOT_VIEW), 0);
	assert_int_equal(commit_spec("base", &spec, &err), -EBADFD);
	assert_words(&err, "\"base\" is not active");
	assert_int_equal(commit("v", .name = "new"), -EBADFD);
	assert_int_equal(commit("gone", .name = "new"), -ENOENT);
	assert_int_equal(commit("gone", .scope = OTHER, .name = "new"), -ENOENT);
	assert_int_equal(keyed_flush(store, SCOPE, "gone", false, NULL), -ENOENT);
	assert_int_equal(keyed_flush(store, SCOPE, "v", false, NULL), 0);
	assert_int_equal(count("SELECT count(*) FROM keyed WHERE name = 'new'"), 0);
}

static void a_name_that_is_taken_is_not_committed_to(void **state)
{
	auto_keyed struct keyed k = { 0 };
	const struct keyed_spec spec = { .name = "base", .labels = "{\"a\":\"b\"}" };
	struct err err = { 0 };

	committed("base", "");
	assert_int_equal(prepare(.name = "a"), 0);
	assert_int_equal(prepare(.name = "b"), 0);
	assert_int_equal(commit_spec("a", &spec, &err), -EEXIST);
	assert_words(&err, "\"base\"");
	assert_int_equal(commit("a", .name = "b"), -EEXIST);
	assert_int_equal(commit("a", .name = "a"), -EEXIST);
	find_in(SCOPE, "a", &k);
	assert_int_equal(k.kind, OVERLAID_SNAPSHOT_ACTIVE);
	assert_string_equal(k.labels, "{}");
	assert_true(exists(own("a", "/diff")));
	/* Another scope's name is no obstacle. */
	assert_int_equal(prepare(.scope = OTHER, .name = "a"), 0);
	assert_int_equal(commit("a", .scope = OTHER, .name = "base"), 0);
}

static void a_parent_may_come_with_the_commit(void **state)
{
	auto_keyed struct keyed k = { 0 }, same = { 0 };

	committed("base", "");
	committed("more", "base");
	assert_int_equal(prepare(.name = "a"), 0);
	assert_int_equal(commit("a", .name = "top", .parent = "more"), 0);
	find_in(SCOPE, "top", &k);
	assert_string_equal(k.parent_name, "more");
	assert_int_equal(keyed_remove(store, SCOPE, "more", NULL), -ENOTEMPTY);
	/* It may be said of one that has it. */
	assert_int_equal(prepare(.name = "b", .parent = "base"), 0);
	assert_int_equal(commit("b", .name = "same", .parent = "base"), 0);
	find_in(SCOPE, "same", &same);
	assert_string_equal(same.parent_name, "base");
}

static void a_wrong_parent_at_the_commit_changes_nothing(void **state)
{
	auto_keyed struct keyed k = { 0 };
	const struct keyed_spec other = { .name = "new", .parent = "more" };
	struct err err = { 0 };

	committed("base", "");
	committed("more", "base");
	assert_int_equal(prepare(.name = "a"), 0);
	assert_int_equal(prepare(.name = "b", .parent = "base"), 0);
	assert_int_equal(prepare(.name = "v", .kind = OVERLAID_SNAPSHOT_VIEW), 0);
	assert_int_equal(commit_spec("b", &other, &err), -EINVAL);
	assert_words(&err, "another parent, \"base\"");
	assert_int_equal(commit("a", .name = "new", .parent = "none"), -ENOENT);
	assert_int_equal(commit("a", .name = "new", .parent = "b"), -EBADFD);
	assert_int_equal(commit("a", .name = "new", .parent = "v"), -EBADFD);
	assert_int_equal(commit("a", .name = "new", .parent = "a"), -EBADFD);
	find_in(SCOPE, "a", &k);
	assert_int_equal(k.kind, OVERLAID_SNAPSHOT_ACTIVE);
	assert_int_equal(k.parent, 0);
	assert_int_equal(count("SELECT count(*) FROM keyed WHERE name = 'new'"), 0);
}

/* ---- changing ---- */

static void labels_change_and_with_them_the_time(void **state)
{
	auto_keyed struct keyed before = { 0 }, k = { 0 };

	assert_int_equal(prepare(.name = "a", .labels = "{\"x\":\"1\"}"), 0);
	find_in(SCOPE, "a", &before);
	assert_int_equal(keyed_relabel(store, &before, "{\"y\":\"2\"}", NULL), 0);
	find_in(SCOPE, "a", &k);
	assert_string_equal(k.labels, "{\"y\":\"2\"}");
	assert_true(k.created_ns == before.created_ns);
	assert_true(k.updated_ns > before.updated_ns);
	assert_int_equal(keyed_remove(store, SCOPE, "a", NULL), 0);
	assert_int_equal(keyed_relabel(store, &before, "{}", NULL), -ENOENT);
}

static void usage_is_kept_of_what_is_committed(void **state)
{
	auto_keyed struct keyed a = { 0 }, base = { 0 }, again = { 0 };

	committed("base", "");
	assert_int_equal(prepare(.name = "a"), 0);
	find_in(SCOPE, "a", &a);
	find_in(SCOPE, "base", &base);
	assert_int_equal(keyed_set_usage(store, &a, 5, 6, NULL), 0);
	assert_int_equal(keyed_set_usage(store, &base, (uint64_t)1 << 40, 7, NULL), 0);
	find_in(SCOPE, "base", &again);
	assert_true(again.disk_bytes == (int64_t)1 << 40);
	assert_int_equal(again.inodes, 7);
	keyed_release(&a);
	find_in(SCOPE, "a", &a);
	assert_true(a.disk_bytes == -1 && a.inodes == -1);
}

static void an_adopted_layer_is_counted_once_by_who_has_time(void **state)
{
	int64_t disk_bytes;

	unpacked(SCOPE, "base", "", one);
	unpacked(OTHER, "base", "", one);
	assert_int_equal(count("SELECT count(*) FROM layer WHERE inodes IS NULL AND disk_bytes = 0"),
			 1);
	assert_int_equal(layers_count_adopted(store, NULL), 0);
	disk_bytes = count("SELECT disk_bytes FROM layer");
	assert_true(disk_bytes > 0);
	/* Its root, and the file in it. */
	assert_int_equal(count("SELECT inodes FROM layer"), 2);
	assert_int_equal(count("SELECT bytes FROM layer"), strlen("base"));
	assert_int_equal(count("SELECT count(*) FROM layer WHERE inodes IS NULL"), 0);
	assert_int_equal(layers_count_adopted(store, NULL), 0);
	assert_int_equal(count("SELECT disk_bytes FROM layer"), disk_bytes);
}

/* ---- removing ---- */

static void what_has_children_stays(void **state)
{
	static const enum overlaid_snapshot_kind kinds[] = { OVERLAID_SNAPSHOT_ACTIVE,
							     OVERLAID_SNAPSHOT_VIEW };
	struct err err = { 0 };

	committed("base", "");
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
		assert_int_equal(prepare(.name = "c", .parent = "base", .kind = kinds[i]), 0);
		assert_int_equal(keyed_remove(store, SCOPE, "base", &err), -ENOTEMPTY);
		assert_words(&err, "cannot remove snapshot \"base\"");
		assert_int_equal(keyed_remove(store, SCOPE, "c", NULL), 0);
	}
	committed("top", "base");
	assert_int_equal(keyed_remove(store, SCOPE, "base", NULL), -ENOTEMPTY);
	swept();
	assert_contents(own("base", "/diff/file"), "base");
	assert_int_equal(keyed_remove(store, SCOPE, "top", NULL), 0);
	assert_int_equal(keyed_remove(store, SCOPE, "base", NULL), 0);
	assert_int_equal(keyed_remove(store, SCOPE, "base", &err), -ENOENT);
	assert_words(&err, "\"base\"");
	swept();
	assert_int_equal(kit_names("store/snapshots"), 0);
	assert_int_equal(count("SELECT count(*) FROM trash"), 0);
}

static void a_name_is_free_before_its_directory_is_gone(void **state)
{
	assert_int_equal(prepare(.name = "a"), 0);
	put_file(own("a", "/diff/file"), "old");
	assert_int_equal(keyed_remove(store, SCOPE, "a", NULL), 0);
	assert_int_equal(kit_names("store/snapshots"), 1);
	assert_int_equal(prepare(.name = "a"), 0);
	assert_int_equal(kit_names(own("a", "/diff")), 0);
	put_file(own("a", "/diff/file"), "new");
	swept();
	assert_int_equal(kit_names("store/snapshots"), 1);
	assert_contents(own("a", "/diff/file"), "new");
}

static void a_view_leaves_nothing_to_sweep(void **state)
{
	assert_int_equal(prepare(.name = "v", .kind = OVERLAID_SNAPSHOT_VIEW), 0);
	assert_int_equal(keyed_remove(store, SCOPE, "v", NULL), 0);
	assert_int_equal(count("SELECT count(*) FROM trash"), 0);
	assert_int_equal(count("SELECT count(*) FROM keyed"), 0);
}

/* ---- directories ---- */

static void opened(const char *name)
{
	auto_keyed struct keyed k = { 0 };
	auto_close int fd = -EBADF;
	struct err err = { 0 };

	find_in(SCOPE, name, &k);
	fd = keyed_open_dir(store, &k, NULL, &err);
	if (fd < 0)
		fail_msg("%s", err.text);
	assert_int_equal(faccessat(fd, "diff", F_OK, 0), 0);
	assert_int_equal(faccessat(fd, "work", F_OK, 0), 0);
}

static void a_directory_that_is_missing_is_made_again(void **state)
{
	committed("base", "");
	assert_int_equal(chmod(own("base", "/diff"), 0710), 0);
	assert_int_equal(prepare(.name = "a", .parent = "base"), 0);
	assert_int_equal(tree_remove_at(AT_FDCWD, own("a", ""), NULL), 0);
	opened("a");
	assert_int_equal(mode_of(own("a", "/diff")), 0710);
	assert_int_equal(mode_of(own("a", "/work")), 0711);
	/* What is there is not made anew. */
	put_file(own("a", "/diff/file"), "kept");
	opened("a");
	assert_contents(own("a", "/diff/file"), "kept");
	/* One that was half made. */
	assert_int_equal(tree_remove_at(AT_FDCWD, own("a", "/diff"), NULL), 0);
	put_dir(own("a", "/diff.new"));
	opened("a");
	assert_int_equal(kit_names(own("a", "")), 2);
	assert_int_equal(mode_of(own("a", "/diff")), 0710);
}

static void what_is_removed_gets_no_directory(void **state)
{
	auto_keyed struct keyed k = { 0 };
	struct err err = { 0 };

	assert_int_equal(prepare(.name = "a"), 0);
	find_in(SCOPE, "a", &k);
	assert_int_equal(keyed_remove(store, SCOPE, "a", NULL), 0);
	swept();
	assert_int_equal(keyed_open_dir(store, &k, NULL, &err), -ENOENT);
	assert_words(&err, "removed");
	assert_int_equal(kit_names("store/snapshots"), 0);
}

/* "own", or "layer", and the first digits; topmost first. */
static void trees_text(const char *name, bool all, struct buf *ret)
{
	auto_keyed_trees struct keyed_trees trees = { 0 };
	auto_keyed struct keyed k = { 0 };

	find_in(SCOPE, name, &k);
	assert_int_equal(all ? keyed_trees(store, k.id, &trees, NULL) :
			       keyed_trees_of(store, k.id, &trees, NULL),
			 0);
	for (size_t i = 0; i < trees.count; i++) {
		auto_free char *path = keyed_tree_path(store, &trees.list[i]);

		assert_true(exists(path));
		(void)buf_printf(ret, "%s%.8s ", trees.list[i].own ? "own" : "layer",
				 trees.list[i].hex);
	}
}

static void trees_are_listed_from_the_top(void **state)
{
	auto_buf struct buf all = { .max = 0 }, top = { .max = 0 }, expected = { .max = 0 };
	auto_keyed struct keyed base = { 0 }, middle = { 0 }, upper = { 0 };

	unpacked(SCOPE, "base", "", one);
	unpacked(SCOPE, "middle", "base", two);
	committed("top", "middle");
	find_in(SCOPE, "base", &base);
	find_in(SCOPE, "middle", &middle);
	find_in(SCOPE, "top", &upper);
	trees_text("top", true, &all);
	(void)buf_printf(&expected, "own%.8s layer%.8s layer%.8s ", upper.uid, middle.uid,
			 base.uid);
	assert_string_equal(buf_text(&all), buf_text(&expected));
	trees_text("middle", false, &top);
	buf_release(&expected);
	(void)buf_printf(&expected, "layer%.8s ", middle.uid);
	assert_string_equal(buf_text(&top), buf_text(&expected));
}

static void links_are_made_where_they_are_missing(void **state)
{
	auto_keyed_trees struct keyed_trees trees = { 0 };
	auto_keyed struct keyed k = { 0 };
	auto_close int l_fd = keyed_open_links(store, NULL);
	const char *names[2];
	char name[2][60], dir[20];

	unpacked(SCOPE, "base", "", one);
	committed("top", "base");
	find_in(SCOPE, "top", &k);
	assert_int_equal(keyed_trees(store, k.id, &trees, NULL), 0);
	assert_int_equal(trees.count, 2);
	(void)snprintf(name[0], sizeof(name[0]), "run/l/%s/s%lld", store->run_name,
		       (long long)k.id);
	(void)snprintf(name[1], sizeof(name[1]), "run/l/%s/%lld", store->run_name,
		       (long long)count("SELECT id FROM layer"));
	for (int i = 0; i < 2; i++) {
		auto_free char *path = NULL, *again = NULL, *target = NULL;
		struct stat st;

		names[i] = sandbox_path(name[i]);
		target = keyed_tree_path(store, &trees.list[i]);
		assert_int_equal(keyed_link(store, l_fd, &trees.list[i], &path, NULL), 0);
		assert_string_equal(path, names[i]);
		assert_link(names[i], target);
		st = look(names[i]);
		assert_int_equal(keyed_link(store, l_fd, &trees.list[i], &again, NULL), 0);
		assert_int_equal(look(names[i]).st_ino, st.st_ino);
		/* One that means something else, of a number that was given again. */
		assert_int_equal(unlink(names[i]), 0);
		assert_int_equal(symlink("/elsewhere", names[i]), 0);
		free(again);
		assert_int_equal(keyed_link(store, l_fd, &trees.list[i], &again, NULL), 0);
		assert_link(names[i], target);
	}
	(void)snprintf(dir, sizeof(dir), "run/l/%s", store->run_name);
	assert_int_equal(kit_names(dir), 2);
}

static void links_go_after_their_rows(void **state)
{
	auto_keyed_trees struct keyed_trees trees = { 0 };
	auto_keyed struct keyed k = { 0 };
	auto_close int l_fd = -EBADF;
	char dir[20];

	assert_int_equal(keyed_drop_links(store, NULL), 0);
	l_fd = keyed_open_links(store, NULL);
	(void)snprintf(dir, sizeof(dir), "run/l/%s", store->run_name);
	unpacked(SCOPE, "base", "", one);
	committed("top", "base");
	find_in(SCOPE, "top", &k);
	assert_int_equal(keyed_trees(store, k.id, &trees, NULL), 0);
	for (int i = 0; i < 2; i++) {
		auto_free char *path = NULL;

		assert_int_equal(keyed_link(store, l_fd, &trees.list[i], &path, NULL), 0);
	}
	assert_int_equal(keyed_drop_links(store, NULL), 0);
	assert_int_equal(kit_names(dir), 2);
	assert_int_equal(keyed_remove(store, SCOPE, "top", NULL), 0);
	assert_int_equal(keyed_drop_links(store, NULL), 0);
	assert_int_equal(kit_names(dir), 1);
	assert_int_equal(keyed_remove(store, SCOPE, "base", NULL), 0);
	assert_int_equal(keyed_drop_links(store, NULL), 0);
	assert_int_equal(kit_names(dir), 0);
}

static void links_of_two_stores_with_one_run_are_two(void **state)
{
	auto_keyed_trees struct keyed_trees trees = { 0 };
	auto_free char *ours = NULL, *theirs = NULL;
	char path[300];
	auto_store struct store *other = NULL;
	auto_keyed struct keyed k = { 0 };
	auto_close int l_fd = keyed_open_links(store, NULL), other_fd = -EBADF;

	unpacked(SCOPE, "base", "", one);
	find_in(SCOPE, "base", &k);
	assert_int_equal(keyed_trees(store, k.id, &trees, NULL), 0);
	assert_int_equal(keyed_link(store, l_fd, &trees.list[0], &ours, NULL), 0);
	assert_int_equal(store_open(sandbox_path("other"), store->run_path, true, false, &other,
				    NULL),
			 0);
	other_fd = keyed_open_links(other, NULL);
	assert_int_equal(keyed_link(other, other_fd, &trees.list[0], &theirs, NULL), 0);
	assert_string_not_equal(ours, theirs);
	(void)snprintf(path, sizeof(path), "%s/file", ours);
	assert_contents(path, "base");
}

/* ---- adopting ---- */

static void what_a_runtime_unpacked_becomes_a_layer(void **state)
{
	auto_buf struct buf text = { .max = 4096 };
	auto_keyed struct keyed k = { 0 };
	auto_json struct json *j = NULL;

	assert_int_equal(prepare(.name = "a", .chain_id = one), 0);
	put_file(own("a", "/diff/file"), "contents");
	assert_int_equal(commit("a", .name = "base", .chain_id = one), 0);
	find_in(SCOPE, "base", &k);
	assert_string_equal(k.chain_id, one);
	assert_contents(adopted("base", "/diff/file"), "contents");
	assert_false(exists(own("base", "")));
	assert_int_equal(read_file_at(AT_FDCWD, adopted("base", "/layer.json"), &text, NULL), 0);
	assert_int_equal(json_parse(buf_text(&text), text.len, 4096, "", &j, NULL), 0);
	assert_string_equal(json_string_or(j, "/chainID", ""), one);
	assert_string_equal(json_string_or(j, "/kind", ""), "bound");
	assert_non_null(json_get(j, "/adopted"));
	assert_int_equal(count("SELECT count(*) FROM layer JOIN keyed_layer ON layer = layer.id"
			       " JOIN keyed ON keyed = keyed.id WHERE adopted AND layer.kind = 'bound'"
			       " AND key = 'sha256:' || uid AND diff_id IS NULL AND position = 0"),
			 1);
	assert_int_equal(count("SELECT count(*) FROM chain c JOIN keyed k ON k.chain_id = c.chain_id"
			       " JOIN keyed_layer e ON e.layer = c.layer WHERE c.parent IS NULL"),
			 1);
	assert_int_equal(count("SELECT count(*) FROM chain_patch WHERE layer IS NULL"), 1);
	assert_int_equal(count("SELECT count(*) FROM trash"), 0);
	unpacked(SCOPE, "top", "base", two);
	assert_contents(adopted("top", "/diff/file"), "top");
	assert_int_equal(count("SELECT count(*) FROM chain c JOIN chain p ON c.parent = p.chain_id"
			       " JOIN keyed k ON k.chain_id = c.chain_id WHERE k.name = 'top'"),
			 1);
}

/* Directories that its tar only implies are as they were made there. */
static void what_was_unpacked_without_its_parent_is_not_adopted(void **state)
{
	auto_keyed struct keyed k = { 0 };

	assert_int_equal(prepare(.name = "lower", .chain_id = one), 0);
	assert_int_equal(prepare(.name = "upper", .chain_id = two), 0);
	assert_int_equal(commit("lower", .name = "base", .chain_id = one), 0);
	assert_int_equal(commit("upper", .name = "top", .parent = "base", .chain_id = two), 0);
	assert_true(exists(own("top", "/diff")));
	find_in(SCOPE, "top", &k);
	assert_string_equal(k.parent_name, "base");
	assert_string_equal(k.chain_id, "");
	assert_int_equal(count("SELECT count(*) FROM chain"), 1);
	/* What is right is taken in its place, where it is here. */
	unpacked(OTHER, "base", "", one);
	unpacked(OTHER, "top", "base", two);
	assert_int_equal(prepare(.name = "again", .chain_id = two), 0);
	assert_int_equal(commit("again", .name = "same", .parent = "base", .chain_id = two), 0);
	assert_int_equal(count("SELECT count(*) FROM keyed_layer"), 4);
}

static void a_second_scope_shares_the_layer(void **state)
{
	auto_keyed struct keyed ours = { 0 }, theirs = { 0 };

	unpacked(SCOPE, "base", "", one);
	unpacked(OTHER, "base", "", one);
	find_in(SCOPE, "base", &ours);
	find_in(OTHER, "base", &theirs);
	assert_string_equal(theirs.chain_id, one);
	assert_string_not_equal(theirs.uid, ours.uid);
	assert_int_equal(count("SELECT count(*) FROM layer"), 1);
	assert_int_equal(count("SELECT count(*) FROM keyed_layer"), 2);
	assert_int_equal(count("SELECT count(*) FROM trash WHERE kind = 'snapshot'"), 1);
	assert_int_equal(kit_names("store/snapshots"), 1);
	swept();
	assert_int_equal(kit_names("store/snapshots"), 0);
	assert_int_equal(kit_names("store/layers/sha256"), 1);
	/* And what is put on it. */
	unpacked(SCOPE, "top", "base", two);
	unpacked(OTHER, "top", "base", two);
	assert_int_equal(count("SELECT count(*) FROM layer"), 2);
	assert_int_equal(count("SELECT count(*) FROM chain"), 2);
	assert_int_equal(count("SELECT count(*) FROM keyed_layer"), 4);
}

/* Its own tree is content again, and must be durable first. */
static void a_layer_that_goes_between_flush_and_commit_is_noticed(void **state)
{
	struct keyed_spec spec = {
		.scope = OTHER, .name = "base", .parent = "", .labels = "{}", .chain_id = one
	};
	struct err err = { 0 };

	unpacked(SCOPE, "base", "", one);
	assert_int_equal(prepare(.scope = OTHER, .name = "a", .chain_id = one), 0);
	put_file(path_in(OTHER, "snapshots", "a", "/diff/file"), "second");
	assert_int_equal(keyed_flush(store, OTHER, "a", false, NULL), 0);
	assert_false(exists(path_in(OTHER, "snapshots", "a", "/layer.json")));
	assert_int_equal(keyed_remove(store, SCOPE, "base", NULL), 0);
	assert_int_equal(keyed_commit(store, "a", &spec, &err), -ESTALE);
	assert_words(&err, "written to the disk");
	assert_contents(path_in(OTHER, "snapshots", "a", "/diff/file"), "second");
	assert_int_equal(count("SELECT count(*) FROM layer"), 0);
	assert_int_equal(keyed_flush(store, OTHER, "a", false, NULL), 1);
	spec.flushed = true;
	assert_int_equal(keyed_commit(store, "a", &spec, NULL), 0);
	assert_contents(path_in(OTHER, "layers/sha256", "base", "/diff/file"), "second");
	swept();
	assert_int_equal(kit_names("store/layers/sha256"), 1);
}

/* What is here would do, but is not what it is committed as: its own tree is content. */
static void a_tree_that_is_kept_after_all_is_flushed(void **state)
{
	struct keyed_spec cases[] = {
		{ .name = "said differently" },
		{ .name = "over what nobody knows", .parent = "unknown", .chain_id = two },
		{ .name = "over another", .chain_id = two },
	};

	unpacked(SCOPE, "base", "", one);
	unpacked(SCOPE, "top", "base", two);
	committed("unknown", "");
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct keyed_spec *spec = &cases[i];

		spec->scope = SCOPE;
		spec->labels = "{}";
		spec->parent = spec->parent ? spec->parent : "";
		assert_int_equal(prepare(.name = "a", .parent = spec->parent, .chain_id = two), 0);
		put_file(own("a", "/diff/file"), "ours");
		assert_int_equal(keyed_flush(store, SCOPE, "a", false, NULL), 0);
		assert_int_equal(keyed_commit(store, "a", spec, NULL), -ESTALE);
		assert_int_equal(keyed_flush(store, SCOPE, "a", true, NULL), 1);
		spec->flushed = true;
		assert_int_equal(keyed_commit(store, "a", spec, NULL), 0);
		assert_contents(own(spec->name, "/diff/file"), "ours");
	}
}

static void a_chain_that_is_said_once_only_is_not_believed(void **state)
{
	static const struct {
		const char *at_prepare, *at_commit;
	} cases[] = { { one, NULL }, { NULL, one }, { one, two } };
	char key[8], name[8];

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		auto_keyed struct keyed k = { 0 };

		(void)snprintf(key, sizeof(key), "a%zu", i);
		(void)snprintf(name, sizeof(name), "b%zu", i);
		assert_int_equal(prepare(.name = key, .chain_id = cases[i].at_prepare), 0);
		assert_int_equal(commit(key, .name = name, .chain_id = cases[i].at_commit), 0);
		find_in(SCOPE, name, &k);
		assert_string_equal(k.chain_id, "");
		assert_true(exists(own(name, "/diff")));
	}
	/* Nor over a parent of which nothing is known. */
	unpacked(SCOPE, "top", "b0", two);
	assert_true(exists(own("top", "/diff")));
	assert_int_equal(count("SELECT count(*) FROM chain"), 0);
	assert_int_equal(count("SELECT count(*) FROM layer"), 0);
	assert_int_equal(kit_names("store/layers/sha256"), 0);
}

static void a_chain_that_is_known_over_another_parent_keeps_its_own_tree(void **state)
{
	unpacked(SCOPE, "base", "", one);
	unpacked(SCOPE, "top", "base", two);
	unpacked(SCOPE, "odd", "", two);
	assert_contents(own("odd", "/diff/file"), "odd");
	assert_int_equal(count("SELECT count(*) FROM layer"), 2);
	assert_int_equal(count("SELECT count(*) FROM trash"), 0);
}

/* Before the commit that never came. */
static void moved_to_layers(const char *name)
{
	assert_int_equal(rename(own(name, ""), adopted(name, "")), 0);
}

static void a_commit_that_never_came_is_taken_back(void **state)
{
	struct overlaid *o;

	assert_int_equal(prepare(.name = "a", .chain_id = one), 0);
	put_file(own("a", "/diff/file"), "contents");
	assert_int_equal(keyed_flush(store, SCOPE, "a", false, NULL), 1);
	moved_to_layers("a");
	o = kit_open();
	assert_int_equal(overlaid_gc(o, 0, NULL, NULL, NULL), 0);
	assert_int_equal(overlaid_reap(o, true, NULL), 0);
	overlaid_close(o);
	assert_contents(adopted("a", "/diff/file"), "contents");
	opened("a");
	assert_contents(own("a", "/diff/file"), "contents");
	assert_false(exists(adopted("a", "")));
	/* And also by the commit itself, when it comes again. */
	moved_to_layers("a");
	assert_int_equal(commit("a", .name = "base", .chain_id = one), 0);
	assert_contents(adopted("base", "/diff/file"), "contents");
	assert_int_equal(kit_names("store/snapshots"), 0);
}

static void what_was_left_in_layers_goes_with_its_row(void **state)
{
	struct overlaid *o;

	assert_int_equal(prepare(.name = "a", .chain_id = one), 0);
	moved_to_layers("a");
	assert_int_equal(keyed_remove(store, SCOPE, "a", NULL), 0);
	o = kit_open();
	assert_int_equal(overlaid_gc(o, 0, NULL, NULL, NULL), 0);
	overlaid_close(o);
	assert_int_equal(kit_names("store/layers/sha256"), 0);
	assert_int_equal(kit_names("store/trash"), 0);
}

/* ---- in a batch ---- */

static void what_a_batch_adopted_and_lost_is_taken_back(void **state)
{
	auto_keyed struct keyed k = { 0 };

	assert_int_equal(prepare(.name = "a", .chain_id = one), 0);
	put_file(own("a", "/diff/file"), "contents");
	assert_int_equal(keyed_flush(store, SCOPE, "a", false, NULL), 1);
	assert_int_equal(store_batch_begin(store, true, NULL), 0);
	assert_int_equal(commit("a", .name = "base", .chain_id = one), 0);
	assert_int_equal(prepare(.name = "b", .parent = "base"), 0);
	assert_int_equal(kit_run(store, "PRAGMA defer_foreign_keys = 1"), 0);
	assert_int_equal(kit_run(store, "INSERT INTO tag(reference, image) VALUES('a', 4711)"), 0);
	assert_int_equal(store_batch_end(store, NULL), -EBUSY);
	find_in(SCOPE, "a", &k);
	assert_int_equal(k.kind, OVERLAID_SNAPSHOT_ACTIVE);
	assert_int_equal(count("SELECT count(*) FROM keyed"), 1);
	assert_int_equal(count("SELECT count(*) FROM layer"), 0);
	opened("a");
	assert_contents(own("a", "/diff/file"), "contents");
	assert_int_equal(commit("a", .name = "base", .chain_id = one), 0);
	assert_contents(adopted("base", "/diff/file"), "contents");
}

static void a_batch_makes_chains_one_over_the_other(void **state)
{
	assert_int_equal(store_batch_begin(store, true, NULL), 0);
	unpacked(SCOPE, "base", "", one);
	unpacked(SCOPE, "top", "base", two);
	unpacked(OTHER, "base", "", one);
	/* What fails takes nothing with it. */
	assert_int_equal(prepare(.name = "top"), -EEXIST);
	assert_int_equal(keyed_remove(store, SCOPE, "base", NULL), -ENOTEMPTY);
	assert_int_equal(keyed_remove(store, OTHER, "base", NULL), 0);
	assert_int_equal(store_batch_end(store, NULL), 0);
	assert_int_equal(count("SELECT count(*) FROM keyed"), 2);
	assert_int_equal(count("SELECT count(*) FROM layer"), 2);
	assert_contents(adopted("top", "/diff/file"), "top");
	swept();
	assert_int_equal(kit_names("store/snapshots"), 0);
	assert_int_equal(kit_names("store/layers/sha256"), 2);
}

static void what_a_batch_makes_is_locked_until_it_is_committed(void **state)
{
	auto_locks struct store_locks locks = STORE_LOCKS_INIT;
	char uid[STORE_HEX_LEN + 1];

	assert_int_equal(store_locks_open(store, &locks, NULL), 0);
	assert_int_equal(store_batch_begin(store, true, NULL), 0);
	assert_int_equal(prepare(.name = "a"), 0);
	{
		auto_keyed struct keyed k = { 0 };

		find_in(SCOPE, "a", &k);
		(void)snprintf(uid, sizeof(uid), "%s", k.uid);
	}
	assert_int_equal(store_lock_object(&locks, uid, STORE_LOCK_TRY, NULL), -EAGAIN);
	assert_int_equal(store_batch_end(store, NULL), 0);
	assert_int_equal(store_lock_object(&locks, uid, STORE_LOCK_TRY, NULL), 0);
}

/* ---- the last holder ---- */

static void a_layer_goes_with_its_last_holder(void **state)
{
	unpacked(SCOPE, "base", "", one);
	unpacked(OTHER, "base", "", one);
	swept();
	assert_int_equal(keyed_remove(store, SCOPE, "base", NULL), 0);
	swept();
	assert_int_equal(count("SELECT count(*) FROM layer"), 1);
	assert_int_equal(count("SELECT count(*) FROM chain"), 1);
	assert_int_equal(kit_names("store/layers/sha256"), 1);
	assert_int_equal(keyed_remove(store, OTHER, "base", NULL), 0);
	assert_int_equal(count("SELECT count(*) FROM layer"), 0);
	assert_int_equal(count("SELECT count(*) FROM chain"), 0);
	assert_int_equal(count("SELECT count(*) FROM chain_patch"), 0);
	assert_int_equal(count("SELECT count(*) FROM trash WHERE kind = 'layer'"), 1);
	assert_int_equal(trash_sweep(store, NULL), 0);
	assert_int_equal(kit_names("store/layers/sha256"), 0);
	assert_int_equal(kit_names("store/trash"), 1);
	swept();
}

/* An image's layer takes the place of the adopted one in the chain, and goes with the image. */
static void chains_above_a_layer_that_goes_are_forgotten_and_not_their_content(void **state)
{
	const struct digest diff_id = kit_digest("1a");
	int64_t layer, image;

	unpacked(SCOPE, "base", "", diff_id.text);
	unpacked(SCOPE, "top", "base", two);
	layer = kit_layer(store, "1a");
	image = kit_image(store, "e1", &layer, 1);
	assert_true(image > 0);
	assert_int_equal(count("SELECT count(*) FROM layer"), 3);
	assert_int_equal(count("SELECT layer FROM chain WHERE parent IS NULL"), layer);
	assert_int_equal(kit_run(store, "DELETE FROM image_layer"), 0);
	assert_int_equal(kit_run(store, "DELETE FROM layer WHERE NOT adopted"), 0);
	assert_int_equal(count("SELECT count(*) FROM chain"), 0);
	assert_int_equal(count("SELECT count(*) FROM keyed_layer"), 2);
	assert_contents(adopted("base", "/diff/file"), "base");
	/* It is content like any other from then on. */
	assert_int_equal(prepare(.name = "c", .parent = "top"), 0);
	assert_int_equal(keyed_remove(store, SCOPE, "c", NULL), 0);
	assert_int_equal(keyed_remove(store, SCOPE, "top", NULL), 0);
	assert_int_equal(keyed_remove(store, SCOPE, "base", NULL), 0);
	assert_int_equal(count("SELECT count(*) FROM layer"), 0);
}

/* ---- sharing what an image has ---- */

static char image_chain[2][DIGEST_TEXT_MAX];
static int64_t image_layers[2];

/* Layers 1a and 2a, and an image of them; of both chains it is known that they need no patch. */
static void with_image(void)
{
	struct digest ids[2], chain;
	char path[200];

	for (int i = 0; i < 2; i++) {
		ids[i] = kit_digest(i ? "2a" : "1a");
		image_layers[i] = kit_layer(store, i ? "2a" : "1a");
		(void)snprintf(path, sizeof(path), "store/layers/sha256/%s/diff/file",
			       digest_hex(&ids[i]));
		put_file(path, i ? "upper" : "lower");
	}
	assert_int_equal(chain_id_next(&ids[0], &ids[1], &chain, NULL), 0);
	(void)snprintf(image_chain[0], DIGEST_TEXT_MAX, "%s", ids[0].text);
	(void)snprintf(image_chain[1], DIGEST_TEXT_MAX, "%s", chain.text);
	assert_true(kit_image(store, "e1", image_layers, 2) > 0);
	assert_int_equal(count("SELECT count(*) FROM chain_patch WHERE layer IS NULL"), 2);
}

/* With the label that says which chain it is, or with `said` in its place. */
static int share(const char *parent, const char *chain_id, const char *said)
{
	auto_buf struct buf labels = { .max = 0 };
	struct keyed_spec spec = { .scope = SCOPE, .parent = parent, .chain_id = chain_id };

	(void)buf_printf(&labels, "{\"" REF "\":\"%s\",\"x\":\"y\"}", said ? said : chain_id);
	spec.labels = buf_text(&labels);
	return keyed_share(store, &spec, REF, NULL);
}

static void an_images_chain_is_shared_from_the_bottom_up(void **state)
{
	auto_keyed struct keyed base = { 0 }, top = { 0 };
	auto_buf struct buf trees = { .max = 0 };

	with_image();
	assert_int_equal(share("", image_chain[0], NULL), 1);
	assert_int_equal(share(image_chain[0], image_chain[1], NULL), 1);
	find_in(SCOPE, image_chain[0], &base);
	find_in(SCOPE, image_chain[1], &top);
	assert_int_equal(base.kind, OVERLAID_SNAPSHOT_COMMITTED);
	assert_string_equal(base.parent_name, "");
	assert_string_equal(base.chain_id, image_chain[0]);
	assert_non_null(strstr(base.labels, "\"x\":\"y\""));
	assert_true(base.created_ns == base.updated_ns);
	assert_string_equal(top.parent_name, image_chain[0]);
	assert_string_equal(top.chain_id, image_chain[1]);
	trees_text(image_chain[1], true, &trees);
	assert_string_equal(buf_text(&trees), "layer2a000000 layer1a000000 ");
	assert_int_equal(kit_names("store/snapshots"), 0);
	assert_int_equal(count("SELECT count(*) FROM layer"), 2);
	/* A parent like others. */
	assert_int_equal(prepare(.name = "a", .parent = image_chain[1]), 0);
}

static void sharing_twice_gives_one(void **state)
{
	with_image();
	for (int i = 0; i < 3; i++) {
		assert_int_equal(share("", image_chain[0], NULL), 1);
		assert_int_equal(share(image_chain[0], image_chain[1], NULL), 1);
	}
	assert_int_equal(count("SELECT count(*) FROM keyed"), 2);
	assert_int_equal(count("SELECT count(*) FROM keyed_layer"), 2);
}

/* One that was unpacked and committed with the label is as good. */
static void what_was_committed_with_the_label_is_shared(void **state)
{
	auto_buf struct buf labels = { .max = 0 };

	(void)buf_printf(&labels, "{\"" REF "\":\"%s\"}", one);
	assert_int_equal(prepare(.name = "a", .chain_id = one), 0);
	assert_int_equal(commit("a", .name = "base", .chain_id = one, .labels = buf_text(&labels)),
			 0);
	assert_int_equal(share("", one, NULL), 1);
	assert_int_equal(count("SELECT count(*) FROM keyed"), 1);
}

static void another_label_makes_another_one(void **state)
{
	auto_keyed struct keyed k = { 0 };
	char name[DIGEST_TEXT_MAX + 8];

	with_image();
	assert_int_equal(share("", image_chain[0], "something else"), 1);
	assert_int_equal(share("", image_chain[0], NULL), 1);
	assert_int_equal(count("SELECT count(*) FROM keyed"), 2);
	(void)snprintf(name, sizeof(name), "%s-2", image_chain[0]);
	find_in(SCOPE, name, &k);
	assert_string_equal(k.chain_id, image_chain[0]);
	assert_int_equal(share("", image_chain[0], NULL), 1);
	assert_int_equal(count("SELECT count(*) FROM keyed"), 2);
}

static void the_same_content_over_another_parent_gets_another_name(void **state)
{
	auto_keyed struct keyed k = { 0 };
	char name[DIGEST_TEXT_MAX + 8];

	with_image();
	assert_int_equal(share("", image_chain[0], NULL), 1);
	unpacked(SCOPE, "mine", "", image_chain[0]);
	assert_int_equal(share(image_chain[0], image_chain[1], NULL), 1);
	assert_int_equal(share("mine", image_chain[1], NULL), 1);
	(void)snprintf(name, sizeof(name), "%s-2", image_chain[1]);
	find_in(SCOPE, name, &k);
	assert_string_equal(k.parent_name, "mine");
	assert_int_equal(count("SELECT count(*) FROM layer"), 2);
}

static void what_cannot_be_shared_is_to_be_prepared(void **state)
{
	with_image();
	committed("unknown", "");
	assert_int_equal(prepare(.name = "active"), 0);
	assert_int_equal(share("", one, NULL), 0);
	assert_int_equal(share("none", image_chain[0], NULL), 0);
	assert_int_equal(share("active", image_chain[0], NULL), 0);
	assert_int_equal(share("unknown", image_chain[0], NULL), 0);
	assert_int_equal(share("", image_chain[1], NULL), 0);
	assert_int_equal(share("unknown", image_chain[1], NULL), 0);
	/* Nobody knows whether it needs a patch. */
	assert_int_equal(kit_run(store, "DELETE FROM chain_patch"), 0);
	assert_int_equal(share("", image_chain[0], NULL), 0);
	assert_int_equal(count("SELECT count(*) FROM keyed"), 2);
	assert_int_equal(count("SELECT count(*) FROM keyed_layer"), 0);
}

static void a_shared_chain_has_its_patch_on_top(void **state)
{
	auto_buf struct buf trees = { .max = 0 }, alone = { .max = 0 };
	int64_t patch;

	with_image();
	patch = kit_layer(store, "fa");
	assert_int_equal(kit_run(store,
				 "UPDATE layer SET kind = 'patch' WHERE key LIKE 'sha256:fa%'"),
			 0);
	assert_int_equal(kit_run(store, "UPDATE chain_patch SET layer ="
					" (SELECT id FROM layer WHERE kind = 'patch')"
					" WHERE chain_id LIKE 'sha256:1a%'"),
			 0);
	assert_int_equal(share("", image_chain[0], NULL), 1);
	assert_int_equal(share(image_chain[0], image_chain[1], NULL), 1);
	assert_int_equal(kit_count(store, "SELECT layer FROM keyed_layer WHERE position = 1"),
			 patch);
	trees_text(image_chain[1], true, &trees);
	assert_string_equal(buf_text(&trees), "layer2a000000 layerfa000000 layer1a000000 ");
	trees_text(image_chain[0], true, &alone);
	assert_string_equal(buf_text(&alone), "layerfa000000 layer1a000000 ");
}

static void a_tree_begins_as_the_topmost_root_that_is_said(void **state)
{
	struct digest lower = kit_digest("1a"), upper = kit_digest("2a");
	char path[200];

	with_image();
	(void)snprintf(path, sizeof(path), "store/layers/sha256/%s/diff", digest_hex(&lower));
	assert_int_equal(chmod(path, 0711), 0);
	(void)snprintf(path, sizeof(path), "store/layers/sha256/%s/diff", digest_hex(&upper));
	assert_int_equal(chmod(path, 0700), 0);
	assert_int_equal(kit_run(store,
				 "UPDATE layer SET root_implied = 1 WHERE key LIKE 'sha256:2a%'"),
			 0);
	assert_int_equal(share("", image_chain[0], NULL), 1);
	assert_int_equal(share(image_chain[0], image_chain[1], NULL), 1);
	assert_int_equal(prepare(.name = "a", .parent = image_chain[1]), 0);
	assert_int_equal(mode_of(own("a", "/diff")), 0711);
	/* None does. */
	assert_int_equal(kit_run(store, "UPDATE layer SET root_implied = 1"), 0);
	assert_int_equal(prepare(.name = "b", .parent = image_chain[1]), 0);
	assert_int_equal(mode_of(own("b", "/diff")), 0755);
}

/* An adopted layer says all its directories, and the plain one of the same tar may not. */
static void a_patch_is_not_known_of_another_layer(void **state)
{
	struct digest lower = kit_digest("1a"), upper = kit_digest("2a"), chain;
	int64_t layers[3];

	assert_int_equal(chain_id_next(&lower, &upper, &chain, NULL), 0);
	unpacked(SCOPE, "base", "", lower.text);
	unpacked(SCOPE, "top", "base", chain.text);
	assert_int_equal(count("SELECT count(*) FROM chain_patch"), 2);
	layers[0] = kit_layer(store, "1a");
	layers[1] = kit_layer(store, "2a");
	layers[2] = kit_layer(store, "3a");
	assert_int_equal(kit_run(store, "UPDATE layer SET implied = 1 WHERE NOT adopted"), 0);
	assert_true(kit_image(store, "e1", layers, 3) > 0);
	assert_int_equal(count("SELECT count(*) FROM chain JOIN layer ON id = layer AND adopted"),
			 0);
	assert_int_equal(count("SELECT count(*) FROM chain_patch"), 1);
	assert_int_equal(share("", lower.text, NULL), 0);
	/* Of what stays the same it stays known. */
	assert_int_equal(kit_run(store, "INSERT INTO chain_patch(chain_id, layer)"
					" SELECT chain_id, NULL FROM chain WHERE parent IS NULL"),
			 0);
	assert_true(kit_image(store, "e2", layers, 3) > 0);
	assert_int_equal(count("SELECT count(*) FROM chain_patch"), 2);
	assert_int_equal(share("", lower.text, NULL), 1);
}

static void what_is_unpacked_again_is_the_images_layer(void **state)
{
	with_image();
	unpacked(SCOPE, "base", "", image_chain[0]);
	unpacked(SCOPE, "top", "base", image_chain[1]);
	assert_int_equal(count("SELECT count(*) FROM layer"), 2);
	assert_int_equal(count("SELECT count(*) FROM keyed_layer e JOIN layer l ON l.id = e.layer"
			       " WHERE NOT adopted"),
			 2);
	swept();
	assert_int_equal(kit_names("store/snapshots"), 0);
	/* They hold them. */
	assert_int_equal(kit_run(store, "DELETE FROM layer"), -EBUSY);
}

/* ---- several at once ---- */

#define CROWD 6

/* Each in a scope of its own: unpacks, commits, removes, over and over. */
static int come_and_go(struct child *parent, void *arg)
{
	struct err err = { 0 };
	int r = store_open(sandbox_path("store"), sandbox_path("run"), false, true, &store, &err);

	kit_tell(parent);
	if (!kit_hear(parent))
		return 99;
	for (int i = 0; r >= 0 && i < 15; i++) {
		const struct keyed_spec lower = { .scope = arg, .name = "l", .chain_id = one },
					base = { .scope = arg, .name = "base", .chain_id = one },
					upper = { .scope = arg,
						  .name = "u",
						  .parent = "base",
						  .chain_id = two },
					top = { .scope = arg, .name = "top", .chain_id = two };

		r = prepare_spec(&lower, &err);
		if (r >= 0)
			r = commit_spec("l", &base, &err);
		if (r >= 0)
			r = prepare_spec(&upper, &err);
		if (r >= 0)
			r = commit_spec("u", &top, &err);
		if (r >= 0 && i < 14)
			r = keyed_remove(store, arg, "top", &err);
		if (r >= 0 && i < 14)
			r = keyed_remove(store, arg, "base", &err);
		if (r >= 0)
			r = trash_empty(store, false, &err);
		r = r == -EAGAIN ? 0 : r;
	}
	if (r < 0)
		(void)fprintf(stderr, "%s\n", err.text);
	store_freep(&store);
	return -r;
}

static void a_crowd_that_comes_and_goes_ends_with_one_copy(void **state)
{
	static char scopes[CROWD][8];
	struct child children[CROWD];

	store_freep(&store);
	store = NULL;
	for (int i = 0; i < CROWD; i++) {
		(void)snprintf(scopes[i], sizeof(scopes[i]), "%d", i);
		children[i] = kit_fork(come_and_go, scopes[i]);
		assert_true(kit_hear(&children[i]));
	}
	for (int i = 0; i < CROWD; i++)
		kit_tell(&children[i]);
	assert_int_equal(kit_wait_all(children, CROWD), 0);
	store = kit_store();
	swept();
	assert_int_equal(count("SELECT count(*) FROM keyed"), 2 * CROWD);
	assert_int_equal(count("SELECT count(*) FROM chain"), 2);
	/* Each holds a layer, or a tree of its own where the chain was known otherwise at that moment. */
	assert_int_equal(kit_names("store/layers/sha256"), count("SELECT count(*) FROM layer"));
	assert_int_equal(kit_names("store/snapshots"),
			 count("SELECT count(*) FROM keyed WHERE id NOT IN"
			       " (SELECT keyed FROM keyed_layer)"));
	assert_int_equal(count("SELECT count(*) FROM layer WHERE id NOT IN"
			       " (SELECT layer FROM keyed_layer)"),
			 0);
	assert_int_equal(count("SELECT count(*) FROM keyed_layer e JOIN keyed k ON k.id = e.keyed"
			       " JOIN chain c ON c.chain_id = k.chain_id WHERE c.layer <> e.layer"),
			 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		keyed_test(an_active_one_has_its_row_and_its_directory),
		keyed_test(a_view_has_no_directory),
		keyed_test(directories_have_their_modes_whatever_the_umask),
		keyed_test(a_tree_begins_as_its_parents_root),
		keyed_test(names_are_of_one_scope),
		keyed_test(names_are_any_bytes),
		keyed_test(a_parent_is_committed),
		keyed_test(what_is_not_there_is_not_found),
		keyed_test(a_list_has_the_scope_parents_first),
		keyed_test(a_list_has_parents_first_also_of_what_was_rebased),
		keyed_test(a_commit_makes_a_parent),
		keyed_test(only_what_is_active_is_committed),
		keyed_test(a_name_that_is_taken_is_not_committed_to),
		keyed_test(a_parent_may_come_with_the_commit),
		keyed_test(a_wrong_parent_at_the_commit_changes_nothing),
		keyed_test(labels_change_and_with_them_the_time),
		keyed_test(usage_is_kept_of_what_is_committed),
		keyed_test(an_adopted_layer_is_counted_once_by_who_has_time),
		keyed_test(what_has_children_stays),
		keyed_test(a_name_is_free_before_its_directory_is_gone),
		keyed_test(a_view_leaves_nothing_to_sweep),
		keyed_test(a_directory_that_is_missing_is_made_again),
		keyed_test(what_is_removed_gets_no_directory),
		keyed_test(trees_are_listed_from_the_top),
		keyed_test(links_are_made_where_they_are_missing),
		keyed_test(links_go_after_their_rows),
		keyed_test(links_of_two_stores_with_one_run_are_two),
		keyed_test(what_a_runtime_unpacked_becomes_a_layer),
		keyed_test(what_was_unpacked_without_its_parent_is_not_adopted),
		keyed_test(a_second_scope_shares_the_layer),
		keyed_test(a_layer_that_goes_between_flush_and_commit_is_noticed),
		keyed_test(a_tree_that_is_kept_after_all_is_flushed),
		keyed_test(a_chain_that_is_said_once_only_is_not_believed),
		keyed_test(a_chain_that_is_known_over_another_parent_keeps_its_own_tree),
		keyed_test(a_commit_that_never_came_is_taken_back),
		keyed_test(what_was_left_in_layers_goes_with_its_row),
		keyed_test(what_a_batch_adopted_and_lost_is_taken_back),
		keyed_test(a_batch_makes_chains_one_over_the_other),
		keyed_test(what_a_batch_makes_is_locked_until_it_is_committed),
		keyed_test(a_layer_goes_with_its_last_holder),
		keyed_test(chains_above_a_layer_that_goes_are_forgotten_and_not_their_content),
		keyed_test(an_images_chain_is_shared_from_the_bottom_up),
		keyed_test(sharing_twice_gives_one),
		keyed_test(what_was_committed_with_the_label_is_shared),
		keyed_test(another_label_makes_another_one),
		keyed_test(the_same_content_over_another_parent_gets_another_name),
		keyed_test(what_cannot_be_shared_is_to_be_prepared),
		keyed_test(a_shared_chain_has_its_patch_on_top),
		keyed_test(a_tree_begins_as_the_topmost_root_that_is_said),
		keyed_test(a_patch_is_not_known_of_another_layer),
		keyed_test(what_is_unpacked_again_is_the_images_layer),
		keyed_test(a_crowd_that_comes_and_goes_ends_with_one_copy),
	};

	return cmocka_run_group_tests_name("keyed", tests, sandbox_enter, sandbox_leave);
}
