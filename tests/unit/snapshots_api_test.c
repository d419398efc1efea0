/* SPDX-License-Identifier: Apache-2.0 */
/* The snapshots of graph/overlaid.h from end to end, beside real images. */
#include "graph/overlaid.h"

#include <fcntl.h>
#include <ftw.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "driver/base/clock.h"
#include "driver/base/fd.h"
#include "driver/base/sys.h"
#include "driver/tree.h"
#include "graph/handle.h"
#include "graph/store/blob.h"
#include "graph/store/chain.h"
#include "graph/store/db.h"
#include "graph/store/image.h"
#include "graph/store/keyed.h"
#include "tests/unit/kit.h"
#include "tests/unit/sandbox.h"
#include "tests/unit/util.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#define SCOPE "containerd:/run/a.sock:overlaid"
#define OTHER "containerd:/run/b.sock:overlaid"
#define REF   "containerd.io/snapshot.ref"

#define CONTAINERD_OPTION_BYTES_MAX (4096 - 512) /* from there on it shortens them by itself */

static struct overlaid *o;
static char short_run[] = "/tmp/r.XXXXXX"; /* as long as the standard one */
static bool short_run_made;

static int begin(void **state)
{
	if (sandbox_start(state) < 0)
		return -1;
	o = kit_open();
	return 0;
}

static int end(void **state)
{
	overlaid_close(o);
	o = NULL;
	if (short_run_made && tree_remove_at(AT_FDCWD, short_run, NULL) < 0)
		return -1;
	short_run_made = false;
	return sandbox_clean(state);
}

#define snapshots_test(f) cmocka_unit_test_setup_teardown(f, begin, end)

static void good(int r, const struct err *err)
{
	if (r < 0)
		fail_msg("%d: %s", r, err->text);
}

static int64_t count(const char *sql)
{
	return kit_count(o->store, sql);
}

static void reaped(void)
{
	struct err err = { 0 };

	good(overlaid_reap(o, true, &err), &err);
	assert_int_equal(kit_names("store/trash"), 0);
	assert_int_equal(count("SELECT count(*) FROM trash"), 0);
}

/* ---- mounts ---- */

/* "TYPE SOURCE OPTION OPTION...", and the length that containerd looks at. */
struct answer {
	struct buf text;
	struct buf data; /* the options, with commas */
	char type[16], source[4200];
	size_t option_bytes;
	unsigned int calls;
};
#define ANSWER_INIT                                       \
	{                                                 \
		.text = { .max = 0 }, .data = {.max = 0 } \
	}
#define auto_answer AUTO(answer_release)

static void answer_release(struct answer *a)
{
	buf_release(&a->text);
	buf_release(&a->data);
}

static int note_mount(void *arg, const struct overlaid_mount *m)
{
	struct answer *a = arg;

	a->calls++;
	(void)snprintf(a->type, sizeof(a->type), "%s", m->type);
	(void)snprintf(a->source, sizeof(a->source), "%s", m->source);
	(void)buf_printf(&a->text, "%s %s", m->type, m->source);
	for (size_t i = 0; i < m->option_count; i++) {
		(void)buf_printf(&a->text, " %s", m->options[i]);
		(void)buf_printf(&a->data, i ? ",%s" : "%s", m->options[i]);
		a->option_bytes += strlen(m->options[i]);
	}
	return 0;
}

static int prepare_with(const struct overlaid_prepare *given, bool again, struct answer *ret,
			struct err *err)
{
	auto_answer struct answer ignored = ANSWER_INIT;
	struct overlaid_prepare p = *given;

	p.scope = p.scope ? p.scope : SCOPE;
	p.parent = p.parent ? p.parent : "";
	p.kind = p.kind ? p.kind : OVERLAID_SNAPSHOT_ACTIVE;
	ret = ret ? ret : &ignored;
	return again ? overlaid_snapshot_mounts(o, &p, note_mount, ret, err) :
		       overlaid_snapshot_prepare(o, &p, note_mount, ret, err);
}

#define prepare(ret, ...) prepare_with(&(struct overlaid_prepare){ __VA_ARGS__ }, false, ret, NULL)
#define view(ret, ...)	  prepare(ret, .kind = OVERLAID_SNAPSHOT_VIEW, __VA_ARGS__)
#define mounts(ret, ...)  prepare_with(&(struct overlaid_prepare){ __VA_ARGS__ }, true, ret, NULL)

static int commit_with(const struct overlaid_commit *given, struct err *err)
{
	struct overlaid_commit c = *given;
	int r;

	c.scope = c.scope ? c.scope : SCOPE;
	c.parent = c.parent ? c.parent : "";
	r = overlaid_snapshot_flush(o, c.scope, c.key, false, err);
	c.flushed = r > 0;
	if (r > 0)
		r = overlaid_sync(o, err);
	return r < 0 ? r : overlaid_snapshot_commit(o, &c, err);
}

#define commit(...) commit_with(&(struct overlaid_commit){ __VA_ARGS__ }, NULL)

static void find_in(const char *scope, const char *name, struct keyed *ret)
{
	struct err err = { 0 };

	good(keyed_find(o->store, scope, name, ret, &err), &err);
}

/* Below the directory of an active one, or of a committed one whose tree is its own. */
static const char *own(const char *name, const char *below)
{
	auto_keyed struct keyed k = { 0 };
	char path[200];

	find_in(SCOPE, name, &k);
	(void)snprintf(path, sizeof(path), "store/snapshots/%s%s", k.uid, below);
	return sandbox_path(path);
}

static const char *link_of(const char *name)
{
	auto_keyed struct keyed k = { 0 };
	char path[40];

	find_in(SCOPE, name, &k);
	(void)snprintf(path, sizeof(path), "run/l/%s/s%lld", o->store->run_name, (long long)k.id);
	return sandbox_path(path);
}

/* A committed one with a file of its own name. */
static void committed(const char *name, const char *parent)
{
	char path[100];

	assert_int_equal(prepare(NULL, .key = "k", .parent = parent), 0);
	(void)snprintf(path, sizeof(path), "/diff/%s", name);
	put_file(own("k", path), name);
	assert_int_equal(commit(.key = "k", .name = name), 0);
}

static const char *usual_options(void)
{
	static char text[40];
	bool index = access("/sys/module/overlay/parameters/index", F_OK) == 0;

	(void)snprintf(text, sizeof(text), "overlay overlay%s%s", index ? " index=off" : "",
		       o->xattrs == OVERLAY_XATTRS_USER ? " userxattr" : "");
	return text;
}

/* As containerd does it: mount(2), a page of options. */
static void mounted(const struct answer *a, const char *at)
{
	const char *target = sandbox_path(at);
	int r;

	put_dir(at);
	if (strcmp(a->type, "bind") == 0) {
		r = sys_mount(a->source, target, NULL, MS_BIND | MS_REC, NULL);
		if (r == 0 && strncmp(buf_text(&a->data), "ro", 2) == 0)
			r = sys_mount(NULL, target, NULL, MS_BIND | MS_REMOUNT | MS_RDONLY, NULL);
	} else {
		assert_true(a->data.len < 4096);
		r = sys_mount(a->source, target, a->type, 0, buf_text(&a->data));
	}
	if (r < 0)
		fail_msg("%s: %s", buf_text(&a->text), strerror(-r));
}

static void unmounted(const char *at)
{
	assert_int_equal(sys_umount(sandbox_path(at), 0), 0);
}

static void an_active_one_of_nothing_is_bound(void **state)
{
	auto_answer struct answer a = ANSWER_INIT, again = ANSWER_INIT;
	auto_buf struct buf expected = { .max = 0 };

	assert_int_equal(prepare(&a, .key = "a"), 0);
	(void)buf_printf(&expected, "bind %s rw rbind", own("a", "/diff"));
	assert_string_equal(buf_text(&a.text), buf_text(&expected));
	assert_int_equal(a.calls, 1);
	assert_int_equal(mounts(&again, .key = "a"), 0);
	assert_string_equal(buf_text(&again.text), buf_text(&expected));
	needs_root();
	mounted(&a, "m");
	put_file("m/file", "written");
	assert_contents(own("a", "/diff/file"), "written");
}

static void a_view_of_nothing_is_empty(void **state)
{
	auto_answer struct answer a = ANSWER_INIT;
	auto_buf struct buf expected = { .max = 0 };

	assert_int_equal(view(&a, .key = "v"), 0);
	(void)buf_printf(&expected, "bind %s ro rbind", sandbox_path("run/empty0"));
	assert_string_equal(buf_text(&a.text), buf_text(&expected));
	assert_int_equal(kit_names("run/empty0"), 0);
	needs_root();
	mounted(&a, "m");
	assert_int_equal(mkdir("m/new", 0755), -1);
	assert_int_equal(errno, EROFS);
}

static void a_view_of_one_is_its_tree(void **state)
{
	auto_answer struct answer a = ANSWER_INIT;
	auto_buf struct buf expected = { .max = 0 };

	committed("base", "");
	assert_int_equal(view(&a, .key = "v", .parent = "base"), 0);
	(void)buf_printf(&expected, "bind %s ro rbind", own("base", "/diff"));
	assert_string_equal(buf_text(&a.text), buf_text(&expected));
	needs_root();
	mounted(&a, "m");
	assert_contents("m/base", "base");
	assert_int_equal(mkdir("m/new", 0755), -1);
}

static void a_view_of_two_is_an_overlay_without_an_upper(void **state)
{
	auto_answer struct answer a = ANSWER_INIT;
	auto_buf struct buf expected = { .max = 0 };

	committed("base", "");
	committed("top", "base");
	if (geteuid() == 0)
		put_whiteout(own("top", "/diff/base"));
	assert_int_equal(view(&a, .key = "v", .parent = "top"), 0);
	(void)buf_printf(&expected, "%s lowerdir=%s:%s", usual_options(), link_of("top"),
			 link_of("base"));
	assert_string_equal(buf_text(&a.text), buf_text(&expected));
	needs_root();
	mounted(&a, "m");
	assert_contents("m/top", "top");
	assert_false(exists("m/base"));
	assert_int_equal(mkdir("m/new", 0755), -1);
	assert_int_equal(errno, EROFS);
}

static void an_active_one_is_an_overlay_with_an_upper(void **state)
{
	auto_answer struct answer a = ANSWER_INIT, again = ANSWER_INIT, deeper = ANSWER_INIT;
	auto_buf struct buf expected = { .max = 0 }, expected_deeper = { .max = 0 };

	committed("base", "");
	committed("top", "base");
	assert_int_equal(prepare(&a, .key = "a", .parent = "base"), 0);
	(void)buf_printf(&expected, "%s workdir=%s upperdir=%s lowerdir=%s", usual_options(),
			 own("a", "/work"), own("a", "/diff"), link_of("base"));
	assert_string_equal(buf_text(&a.text), buf_text(&expected));
	assert_int_equal(mounts(&again, .key = "a"), 0);
	assert_string_equal(buf_text(&again.text), buf_text(&expected));
	assert_int_equal(prepare(&deeper, .key = "b", .parent = "top"), 0);
	(void)buf_printf(&expected_deeper, "%s workdir=%s upperdir=%s lowerdir=%s:%s",
			 usual_options(), own("b", "/work"), own("b", "/diff"), link_of("top"),
			 link_of("base"));
	assert_string_equal(buf_text(&deeper.text), buf_text(&expected_deeper));
	needs_root();
	mounted(&deeper, "m");
	assert_contents("m/base", "base");
	put_file("m/base", "changed");
	assert_int_equal(unlink("m/top"), 0);
	assert_contents(own("b", "/diff/base"), "changed");
	assert_contents(own("base", "/diff/base"), "base");
	assert_true(S_ISCHR(look(own("b", "/diff/top")).st_mode));
	/* While it is mounted: it is committed and is a parent, and its upper is mounted as a lower. */
	assert_int_equal(commit(.key = "b", .name = "third"), 0);
	answer_release(&a);
	a = (struct answer)ANSWER_INIT;
	assert_int_equal(view(&a, .key = "v", .parent = "third"), 0);
	mounted(&a, "n");
	assert_contents("n/base", "changed");
	assert_false(exists("n/top"));
}

/* On a bind mount containerd's applier would lose whiteouts. */
static void a_base_layer_to_be_is_an_overlay_over_nothing(void **state)
{
	auto_answer struct answer a = ANSWER_INIT;
	auto_buf struct buf expected = { .max = 0 };

	assert_int_equal(prepare(&a, .key = "a", .chain_id = kit_digest("c1").text), 0);
	(void)buf_printf(&expected, "%s workdir=%s upperdir=%s lowerdir=%s", usual_options(),
			 own("a", "/work"), own("a", "/diff"), sandbox_path("run/empty0"));
	assert_string_equal(buf_text(&a.text), buf_text(&expected));
	needs_root();
	mounted(&a, "m");
	put_file("m/file", "written");
	assert_contents(own("a", "/diff/file"), "written");
}

static void what_is_committed_has_no_mounts(void **state)
{
	const struct overlaid_prepare p = { .key = "base" };
	struct err err = { 0 };

	committed("base", "");
	assert_int_equal(prepare_with(&p, true, NULL, &err), -EBADFD);
	assert_words(&err, "\"base\" is committed");
	assert_int_equal(mounts(NULL, .key = "gone"), -ENOENT);
	assert_int_equal(mounts(NULL, .scope = OTHER, .key = "base"), -ENOENT);
}

static void links_and_directories_are_made_again(void **state)
{
	auto_answer struct answer a = ANSWER_INIT, again = ANSWER_INIT;

	committed("base", "");
	committed("top", "base");
	assert_int_equal(prepare(&a, .key = "a", .parent = "top"), 0);
	assert_int_equal(tree_remove_at(AT_FDCWD, "run/l", NULL), 0);
	assert_int_equal(tree_remove_at(AT_FDCWD, own("a", ""), NULL), 0);
	assert_int_equal(mounts(&again, .key = "a"), 0);
	assert_string_equal(buf_text(&again.text), buf_text(&a.text));
	assert_link(link_of("top"), own("top", "/diff"));
	assert_link(link_of("base"), own("base", "/diff"));
	assert_true(exists(own("a", "/work")));
	needs_root();
	mounted(&again, "m");
	assert_contents("m/base", "base");
}

/* Overlayfs merges the roots of all lowers, whatever they are marked, and wants two of them without an upper. */
static void nothing_beneath_an_opaque_root_is_mounted(void **state)
{
	auto_answer struct answer a = ANSWER_INIT, v = ANSWER_INIT, two = ANSWER_INIT;

	needs_root();
	committed("base", "");
	committed("opaque", "base");
	put_opaque_dir(own("opaque", "/diff"), OVERLAY_XATTRS_TRUSTED);
	committed("top", "opaque");
	assert_int_equal(prepare(&a, .key = "a", .parent = "opaque"), 0);
	mounted(&a, "a");
	assert_false(exists("a/base"));
	assert_contents("a/opaque", "opaque");
	assert_int_equal(view(&two, .key = "w", .parent = "top"), 0);
	mounted(&two, "w");
	assert_false(exists("w/base"));
	assert_contents("w/opaque", "opaque");
	assert_contents("w/top", "top");
	assert_int_equal(view(&v, .key = "v", .parent = "opaque"), 0);
	mounted(&v, "v");
	assert_false(exists("v/base"));
	assert_contents("v/opaque", "opaque");
	assert_int_equal(mkdir("v/new", 0755), -1);
}

/* ---- long chains ---- */

/* "n0", "n1", ..., each the parent of the next. */
static void chain_of(int from, int to, char name[16])
{
	char parent[16];

	for (int i = from; i < to; i++) {
		(void)snprintf(parent, sizeof(parent), i ? "n%d" : "", i - 1);
		(void)snprintf(name, 16, "n%d", i);
		committed(name, parent);
	}
}

static struct overlaid *open_short(void)
{
	const struct overlaid_options options = { .root = sandbox_path("store"),
						  .run = short_run,
						  .durability = OVERLAID_VOLATILE };
	struct overlaid *opened = NULL;
	struct err err = { 0 };

	assert_int_equal(strlen(short_run), strlen("/run/overlaid"));
	assert_non_null(mkdtemp(short_run));
	short_run_made = true;
	good(overlaid_open(&options, &opened, &err), &err);
	return opened;
}

static void a_hundred_and_twenty_layers_fit_into_the_options(void **state)
{
	auto_answer struct answer a = ANSWER_INIT, v = ANSWER_INIT;
	char name[16];

	overlaid_close(o);
	o = open_short();
	chain_of(0, 120, name);
	assert_int_equal(prepare(&a, .key = "a", .parent = name), 0);
	assert_int_equal(view(&v, .key = "v", .parent = name), 0);
	assert_true(a.option_bytes < CONTAINERD_OPTION_BYTES_MAX);
	needs_root();
	mounted(&a, "m");
	assert_contents("m/n0", "n0");
	assert_contents("m/n119", "n119");
	mounted(&v, "v");
	assert_contents("v/n60", "n60");
}

static void assert_ends(const char *text, const char *with)
{
	size_t len = strlen(text), with_len = strlen(with);

	if (len < with_len || strcmp(text + len - with_len, with) != 0)
		fail_msg("\"%s\" does not end with \"%s\"", text, with);
}

static void more_than_five_hundred_layers_are_refused(void **state)
{
	auto_answer struct answer a = ANSWER_INIT;
	const struct overlaid_prepare p = { .key = "b", .parent = "n500" };
	struct err err = { 0 };
	char name[16];

	needs_root();
	chain_of(0, 501, name);
	assert_int_equal(prepare(NULL, .key = "a", .parent = "n499"), 0);
	assert_int_equal(prepare_with(&p, false, NULL, &err), -E2BIG);
	assert_words(&err, "501 layers");
	assert_words(&err, "at most 500");
	assert_int_equal(mounts(NULL, .key = "b"), -ENOENT);
	/* What is not mounted does not count. */
	put_opaque_dir(own("n1", "/diff"), OVERLAY_XATTRS_TRUSTED);
	assert_int_equal(prepare(&a, .key = "c", .parent = "n500"), 0);
	assert_ends(buf_text(&a.text), link_of("n1"));
}

/* ---- where the store is ---- */

static void paths_that_break_options_are_refused(void **state)
{
	static const char *const bad[] = { "with,comma", "with:colon", "with\\backslash",
					   "with\"quote" };
	struct err err = { 0 };

	assert_int_equal(overlaid_snapshots_check(o, NULL), 0);
	for (size_t i = 0; i < 2 * ARRAY_LEN(bad); i++) {
		const char *name = bad[i / 2];
		const struct overlaid_options options = {
			.root = sandbox_path(i % 2 ? name : "store"),
			.run = sandbox_path(i % 2 ? "run" : name),
			.durability = OVERLAID_VOLATILE,
		};
		struct overlaid *odd = NULL;

		good(overlaid_open(&options, &odd, &err), &err);
		assert_int_equal(overlaid_snapshots_check(odd, &err), -EINVAL);
		assert_words(&err, name);
		assert_words(&err, "choose another");
		overlaid_close(odd);
	}
}

/* ---- user namespaces ---- */

static void what_is_idmapped_belongs_to_the_mapped_root(void **state)
{
	static const char one[] = "0:100000:65536", several[] = "1000:1000:1,0:200000:1000";
	auto_answer struct answer a = ANSWER_INIT, b = ANSWER_INIT;
	auto_buf struct buf expected = { .max = 0 };

	needs_root();
	committed("base", "");
	committed("top", "base");
	assert_int_equal(prepare(&a, .key = "a", .parent = "top", .uid_map = one,
				 .gid_map = several),
			 0);
	(void)buf_printf(&expected, "%s uidmap=%s gidmap=%s workdir=%s upperdir=%s lowerdir=%s:%s",
			 usual_options(), one, several, own("a", "/work"), own("a", "/diff"),
			 own("top", "/diff"), own("base", "/diff"));
	assert_string_equal(buf_text(&a.text), buf_text(&expected));
	assert_int_equal(look(own("a", "/diff")).st_uid, 100000);
	assert_int_equal(look(own("a", "/diff")).st_gid, 200000);
	assert_int_equal(look(own("a", "/diff")).st_mode & 07777, 0755);
	assert_int_equal(look(own("top", "/diff")).st_uid, 0);
	assert_int_equal(mounts(&b, .key = "a", .uid_map = one, .gid_map = several), 0);
	assert_string_equal(buf_text(&b.text), buf_text(&expected));
	assert_int_equal(prepare(NULL, .key = "b", .uid_map = one, .gid_map = one), 0);
	assert_int_equal(look(own("b", "/diff")).st_uid, 100000);
	assert_int_equal(view(NULL, .key = "v", .parent = "top", .uid_map = one), 0);
}

static void a_mapping_that_is_none_prepares_nothing(void **state)
{
	static const char *const maps[] = { "x",	 "0:1",	    "1:100000:65536",
					    "0:1:2x",	 "0:1:2;3", "0:4294967295:1",
					    "0:100000:0" };
	struct err err = { 0 };

	for (size_t i = 0; i < ARRAY_LEN(maps); i++) {
		const struct overlaid_prepare p = { .key = "a",
						    .uid_map = i % 2 ? maps[i] : NULL,
						    .gid_map = i % 2 ? NULL : maps[i] };

		assert_int_equal(prepare_with(&p, false, NULL, &err), -EINVAL);
		assert_words(&err, maps[i]);
		assert_int_equal(count("SELECT count(*) FROM keyed"), 0);
	}
	reaped();
	assert_int_equal(kit_names("store/snapshots"), 0);
}

/* ---- labels ---- */

static int note_snapshot(void *arg, const struct overlaid_snapshot *s)
{
	struct buf *text = arg;

	(void)buf_printf(text, "%s<%s %d", s->name, s->parent, (int)s->kind);
	for (size_t i = 0; i < s->label_count; i++)
		(void)buf_printf(text, " %s=%s", s->labels[i].key, s->labels[i].value);
	return buf_putc(text, '\n');
}

static void assert_snapshot(const char *key, const char *expected)
{
	auto_buf struct buf text = { .max = 0 };
	struct err err = { 0 };

	good(overlaid_snapshot_get(o, SCOPE, key, note_snapshot, &text, &err), &err);
	assert_string_equal(buf_text(&text), expected);
}

static void updated(bool replace, const struct overlaid_label *labels, size_t label_count,
		    const char *expected)
{
	auto_buf struct buf text = { .max = 0 };
	struct err err = { 0 };

	good(overlaid_snapshot_update(o, SCOPE, "a", labels, label_count, replace, note_snapshot,
				      &text, &err),
	     &err);
	assert_string_equal(buf_text(&text), expected);
	assert_snapshot("a", expected);
}

#define update(replace, expected, ...)                                   \
	updated(replace, (const struct overlaid_label[]){ __VA_ARGS__ }, \
		ARRAY_LEN(((const struct overlaid_label[]){ __VA_ARGS__ })), expected)

static void labels_are_set_taken_away_and_replaced(void **state)
{
	static const struct overlaid_label labels[] = { { "b", "2" },
							{ "empty", "" },
							{ "a", "1" } };
	auto_keyed struct keyed before = { 0 }, after = { 0 };

	committed("base", "");
	assert_int_equal(prepare(NULL, .key = "a", .parent = "base", .labels = labels,
				 .label_count = ARRAY_LEN(labels)),
			 0);
	assert_snapshot("a", "a<base 2 a=1 b=2\n");
	find_in(SCOPE, "a", &before);
	update(false, "a<base 2 a=1 b=3 c=4\n", { "c", "4" }, { "b", "3" });
	update(false, "a<base 2 a=1 c=4\n", { "b", "" }, { "none", "" });
	update(false, "a<base 2 c=4\n", { "a", NULL });
	update(true, "a<base 2 d=5\n", { "d", "5" }, { "e", "" }, { "f", NULL });
	updated(false, NULL, 0, "a<base 2 d=5\n");
	updated(true, NULL, 0, "a<base 2\n");
	find_in(SCOPE, "a", &after);
	assert_true(after.created_ns == before.created_ns);
	assert_true(after.updated_ns > before.updated_ns);
	assert_int_equal(overlaid_snapshot_update(o, SCOPE, "gone", NULL, 0, true, note_snapshot,
						  NULL, NULL),
			 -ENOENT);
	assert_int_equal(overlaid_snapshot_get(o, OTHER, "a", note_snapshot, NULL, NULL), -ENOENT);
}

static void a_commit_has_labels_of_its_own(void **state)
{
	static const struct overlaid_label old[] = { { "old", "1" }, { "both", "1" } },
					   new[] = { { "both", "2" }, { "empty", "" } };

	assert_int_equal(prepare(NULL, .key = "a", .labels = old, .label_count = 2), 0);
	assert_int_equal(commit(.key = "a", .name = "base", .labels = new, .label_count = 2), 0);
	assert_snapshot("base", "base< 3 both=2\n");
}

static void labels_are_kept_byte_for_byte(void **state)
{
	static const char odd[] = "a\"b\\c\n\t\x01/'\xc3\xa4 ";
	char large[4000], expected[8300];
	const struct overlaid_label labels[] = { { odd, large }, { "k", odd } };

	memset(large, 'v', sizeof(large) - 1);
	large[sizeof(large) - 1] = 0;
	assert_int_equal(prepare(NULL, .key = "a", .labels = labels, .label_count = 2), 0);
	(void)snprintf(expected, sizeof(expected), "a< 2 %s=%s k=%s\n", odd, large, odd);
	assert_snapshot("a", expected);
}

static void a_snapshot_has_a_name(void **state)
{
	assert_int_equal(prepare(NULL, .key = ""), -EINVAL);
	assert_int_equal(prepare(NULL, .key = "a"), 0);
	assert_int_equal(commit(.key = "a", .name = ""), -EINVAL);
	assert_int_equal(count("SELECT count(*) FROM keyed"), 1);
}

static void scopes_are_listed_apart(void **state)
{
	auto_buf struct buf ours = { .max = 0 }, theirs = { .max = 0 };

	committed("base", "");
	assert_int_equal(prepare(NULL, .key = "a", .parent = "base"), 0);
	assert_int_equal(view(NULL, .scope = OTHER, .key = "base"), 0);
	assert_int_equal(overlaid_snapshots(o, SCOPE, note_snapshot, &ours, NULL), 0);
	assert_string_equal(buf_text(&ours), "base< 3\na<base 2\n");
	assert_int_equal(overlaid_snapshots(o, OTHER, note_snapshot, &theirs, NULL), 0);
	assert_string_equal(buf_text(&theirs), "base< 1\n");
}

/* ---- usage ---- */

/* What du(1) counts: each inode once. */
static struct {
	ino_t seen[64];
	size_t count;
	uint64_t bytes;
} du;

static int add_to_du(const char *path, const struct stat *st, int type, struct FTW *where)
{
	for (size_t i = 0; i < du.count; i++)
		if (du.seen[i] == st->st_ino)
			return 0;
	assert_true(du.count < ARRAY_LEN(du.seen));
	du.seen[du.count++] = st->st_ino;
	du.bytes += (uint64_t)st->st_blocks * 512;
	return 0;
}

static void count_du(const char *path)
{
	du.count = 0;
	du.bytes = 0;
	assert_int_equal(nftw(path, add_to_du, 16, FTW_PHYS), 0);
}

static void assert_usage(const char *key, uint64_t bytes, uint64_t inodes)
{
	uint64_t have_bytes = 4711, have_inodes = 4711;
	struct err err = { 0 };

	good(overlaid_snapshot_usage(o, SCOPE, key, NULL, NULL, &have_bytes, &have_inodes, &err),
	     &err);
	if (have_bytes != bytes || have_inodes != inodes)
		fail_msg("%s: %llu bytes, %llu inodes; not %llu, %llu", key,
			 (unsigned long long)have_bytes, (unsigned long long)have_inodes,
			 (unsigned long long)bytes, (unsigned long long)inodes);
}

static void put_odd_files(const char *key)
{
	char path[4300];

	put_file(own(key, "/diff/dir/file"), "contents");
	assert_int_equal(link(own(key, "/diff/dir/file"), own(key, "/diff/link")), 0);
	assert_int_equal(symlink("dir", own(key, "/diff/symlink")), 0);
	(void)snprintf(path, sizeof(path), "%s", own(key, "/diff/sparse"));
	put_file(path, "");
	assert_int_equal(truncate(path, (off_t)1 << 30), 0);
}

static void usage_is_what_du_says(void **state)
{
	committed("base", "");
	assert_int_equal(prepare(NULL, .key = "a", .parent = "base"), 0);
	count_du(own("a", "/diff"));
	assert_usage("a", du.bytes, 1);
	put_odd_files("a");
	count_du(own("a", "/diff"));
	assert_int_equal(du.count, 5);
	assert_usage("a", du.bytes, 5);
	assert_int_equal(commit(.key = "a", .name = "top"), 0);
	assert_usage("top", du.bytes, 5);
	/* Counted once. */
	put_file(own("top", "/diff/late"), "late");
	assert_usage("top", du.bytes, 5);
	assert_int_equal(view(NULL, .key = "v", .parent = "top"), 0);
	assert_usage("v", 0, 0);
	assert_int_equal(overlaid_snapshot_usage(o, SCOPE, "gone", NULL, NULL, NULL, NULL, NULL),
			 -ENOENT);
}

static void usage_of_an_adopted_one_is_its_layers(void **state)
{
	const struct digest chain = kit_digest("c1");

	assert_int_equal(prepare(NULL, .key = "a", .chain_id = chain.text), 0);
	put_odd_files("a");
	count_du(own("a", "/diff"));
	assert_int_equal(commit(.key = "a", .name = "base", .chain_id = chain.text), 0);
	assert_usage("base", du.bytes, 5);
	assert_int_equal(overlaid_reap(o, true, NULL), 0);
	assert_true(count("SELECT disk_bytes FROM layer") == (int64_t)du.bytes);
	assert_int_equal(count("SELECT inodes FROM layer"), 5);
}

static bool stop_at_once(void *arg)
{
	++*(int *)arg;
	return true;
}

static void counting_can_be_given_up(void **state)
{
	uint64_t bytes = 4711, inodes = 4711;
	int asked = 0;

	committed("base", "");
	assert_int_equal(prepare(NULL, .key = "a"), 0);
	assert_int_equal(overlaid_snapshot_usage(o, SCOPE, "a", stop_at_once, &asked, &bytes,
						 &inodes, NULL),
			 -ECANCELED);
	assert_int_equal(overlaid_snapshot_usage(o, SCOPE, "base", stop_at_once, &asked, &bytes,
						 &inodes, NULL),
			 -ECANCELED);
	assert_int_equal(asked, 2);
	assert_true(bytes == 4711 && inodes == 4711);
	/* Nothing was kept of it. */
	count_du(own("base", "/diff"));
	assert_usage("base", du.bytes, 2);
}

/* ---- images ---- */

#define LAYERS_MAX 4

struct image {
	struct digest id, chain[LAYERS_MAX];
};

/* A docker-archive of these layers, loaded. */
static void loaded(const char *reference, struct buf *tars, size_t layer_count, struct image *ret)
{
	auto_buf struct buf tar = { .max = 0 }, config = { .max = 0 }, manifest = { .max = 0 };
	struct tar_spec file = { .type = '0', .mode = 0644 };
	struct err err = { 0 };
	char name[20];

	(void)buf_puts(&config, "{\"os\":\"linux\",\"architecture\":\"amd64\",\"rootfs\":"
				"{\"type\":\"layers\",\"diff_ids\":[");
	(void)buf_printf(&manifest, "[{\"Config\":\"c.json\",\"RepoTags\":[\"%s\"],\"Layers\":[",
			 reference);
	for (size_t i = 0; i < layer_count; i++) {
		struct digest diff_id = digest_of_buf(&tars[i]);

		assert_int_equal(chain_id_next(i ? &ret->chain[i - 1] : NULL, &diff_id,
					       &ret->chain[i], NULL),
				 0);
		(void)buf_printf(&config, "%s\"%s\"", i ? "," : "", diff_id.text);
		(void)snprintf(name, sizeof(name), "%zu.tar", i);
		(void)buf_printf(&manifest, "%s\"%s\"", i ? "," : "", name);
		file.name = name;
		file.size = (int64_t)tars[i].len;
		file.data = buf_text(&tars[i]);
		tar_put(&tar, &file);
	}
	(void)buf_puts(&config, "]}}");
	(void)buf_puts(&manifest, "]}]");
	ret->id = digest_of_buf(&config);
	tar_put_file(&tar, "c.json", buf_text(&config));
	tar_put_file(&tar, "manifest.json", buf_text(&manifest));
	tar_put_end(&tar);
	put_bytes("image.tar", &tar);
	good(kit_load(o, "image.tar", &err), &err);
}

static void put_dir_of_mode(struct buf *tar, const char *name, mode_t mode)
{
	tar_put(tar, &(struct tar_spec){
			     .name = name, .type = '5', .mode = mode, .mtime = USUAL_MTIME });
}

/* Three layers: the first says that etc/ is 0711, the two above have a file in it and say nothing of it. */
static void load_implying(struct image *ret)
{
	struct buf tars[3] = { { .max = 0 }, { .max = 0 }, { .max = 0 } };

	put_dir_of_mode(&tars[0], "./", 0751);
	put_dir_of_mode(&tars[0], "etc/", 0711);
	tar_put_file(&tars[0], "etc/a", "one");
	tar_put_file(&tars[1], "etc/b", "two");
	tar_put_file(&tars[2], "etc/c", "three");
	for (size_t i = 0; i < 3; i++)
		tar_put_end(&tars[i]);
	loaded("q.io/app:1", tars, 3, ret);
	for (size_t i = 0; i < 3; i++)
		buf_release(&tars[i]);
}

static int share(const char *scope, const char *parent, const char *chain_id)
{
	const struct overlaid_label label = { REF, chain_id };
	const struct overlaid_prepare p = { .scope = scope,
					    .key = "extract",
					    .parent = parent,
					    .kind = OVERLAID_SNAPSHOT_ACTIVE,
					    .chain_id = chain_id,
					    .labels = &label,
					    .label_count = 1 };

	return overlaid_snapshot_share(o, &p, REF, NULL);
}

/* As the unpacker has it: from the bottom up, each held while it is asked for. */
static void shared(const char *scope, const struct image *image, size_t layer_count)
{
	for (size_t i = 0; i < layer_count; i++) {
		struct overlaid_hold *hold = NULL;

		assert_int_equal(overlaid_chain_hold(o, image->chain[i].text, &hold, NULL), 1);
		assert_int_equal(share(scope, i ? image->chain[i - 1].text : "",
				       image->chain[i].text),
				 1);
		overlaid_hold_release(hold);
	}
}

static void removed_chain(const char *scope, const struct image *image, size_t layer_count)
{
	for (size_t i = layer_count; i-- > 0;)
		assert_int_equal(overlaid_snapshot_remove(o, scope, image->chain[i].text, NULL), 0);
}

static int64_t patches(void)
{
	return count("SELECT count(*) FROM layer WHERE kind = 'patch'");
}

static void a_chain_that_is_not_here_is_not_held(void **state)
{
	struct overlaid_hold *hold = (void *)&hold;

	assert_int_equal(overlaid_chain_hold(o, kit_digest("c1").text, &hold, NULL), 0);
	assert_int_equal(overlaid_chain_hold(o, "nonsense", &hold, NULL), 0);
	assert_int_equal(share(SCOPE, "", kit_digest("c1").text), 0);
	assert_ptr_equal(hold, &hold);
	overlaid_hold_release(NULL);
}

static void a_whole_image_has_its_patch_already(void **state)
{
	struct overlaid_hold *hold = NULL;
	struct image image;

	needs_root();
	load_implying(&image);
	assert_int_equal(patches(), 1);
	assert_int_equal(overlaid_chain_hold(o, image.chain[2].text, &hold, NULL), 1);
	assert_null(hold);
	/* Nothing that the first layer has is implied. */
	assert_int_equal(overlaid_chain_hold(o, image.chain[0].text, &hold, NULL), 1);
	assert_null(hold);
	assert_int_equal(patches(), 1);
	assert_int_equal(count("SELECT count(*) FROM lease"), 0);
	assert_int_equal(count("SELECT count(*) FROM chain_patch"), 2);
}

/* As after the fourth migration. */
static void a_patch_that_is_there_is_found_again(void **state)
{
	struct overlaid_hold *hold = NULL;
	struct image image;

	needs_root();
	load_implying(&image);
	assert_int_equal(kit_run(o->store, "DELETE FROM chain_patch"), 0);
	assert_int_equal(overlaid_chain_hold(o, image.chain[2].text, &hold, NULL), 1);
	assert_int_equal(patches(), 1);
	assert_int_equal(count("SELECT count(*) FROM chain_patch WHERE layer ="
			       " (SELECT id FROM layer WHERE kind = 'patch')"),
			 1);
	overlaid_hold_release(hold);
	assert_int_equal(patches(), 1);
	assert_int_equal(count("SELECT count(*) FROM lease"), 0);
	assert_int_equal(kit_names("store/staging"), 0);
}

static void a_part_of_an_image_gets_a_patch_while_it_is_held(void **state)
{
	struct overlaid_hold *hold = NULL;
	struct image image;

	needs_root();
	load_implying(&image);
	assert_int_equal(overlaid_chain_hold(o, image.chain[1].text, &hold, NULL), 1);
	assert_non_null(hold);
	assert_int_equal(patches(), 2);
	assert_int_equal(kit_names("store/layers/sha256"), 5);
	/* Even where the image goes. */
	assert_int_equal(overlaid_image_remove(o, "q.io/app:1", 0, NULL, NULL, NULL), 0);
	reaped();
	assert_int_equal(count("SELECT count(*) FROM layer"), 3);
	assert_int_equal(kit_names("store/layers/sha256"), 3);
	assert_int_equal(overlaid_gc(o, 0, NULL, NULL, NULL), 0);
	assert_int_equal(kit_names("store/layers/sha256"), 3);
	overlaid_hold_release(hold);
	assert_int_equal(count("SELECT count(*) FROM layer"), 0);
	assert_int_equal(count("SELECT count(*) FROM chain"), 0);
	assert_int_equal(count("SELECT count(*) FROM lease"), 0);
	assert_int_equal(kit_names("store/layers/sha256"), 0);
	assert_int_equal(kit_names("store/staging"), 0);
}

static void a_patch_that_nobody_took_goes_with_the_hold(void **state)
{
	struct overlaid_hold *hold = NULL;
	struct image image;

	needs_root();
	load_implying(&image);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(overlaid_chain_hold(o, image.chain[1].text, &hold, NULL), 1);
		overlaid_hold_release(hold);
		assert_int_equal(patches(), 1);
		assert_int_equal(kit_names("store/layers/sha256"), 4);
		/* Nobody knows of it any more: there are the lowest layer, and the whole image. */
		assert_int_equal(count("SELECT count(*) FROM chain_patch"), 2);
	}
}

static void a_patch_that_a_snapshot_took_stays_with_it(void **state)
{
	auto_answer struct answer a = ANSWER_INIT;
	struct image image;

	needs_root();
	load_implying(&image);
	shared(SCOPE, &image, 2);
	assert_int_equal(patches(), 2);
	assert_int_equal(count("SELECT count(*) FROM keyed_layer"), 3);
	assert_int_equal(view(&a, .key = "v", .parent = image.chain[1].text), 0);
	mounted(&a, "m");
	assert_int_equal(look("m/etc").st_mode & 07777, 0711);
	assert_contents("m/etc/a", "one");
	assert_contents("m/etc/b", "two");
	assert_false(exists("m/etc/c"));
	unmounted("m");
	/* The image goes, and of its layers what nobody else has. */
	assert_int_equal(overlaid_image_remove(o, "q.io/app:1", 0, NULL, NULL, NULL), 0);
	reaped();
	assert_int_equal(count("SELECT count(*) FROM layer"), 3);
	assert_int_equal(kit_names("store/layers/sha256"), 3);
	mounted(&a, "m");
	assert_int_equal(look("m/etc").st_mode & 07777, 0711);
	unmounted("m");
	assert_int_equal(overlaid_snapshot_remove(o, SCOPE, "v", NULL), 0);
	removed_chain(SCOPE, &image, 2);
	reaped();
	assert_int_equal(count("SELECT count(*) FROM layer"), 0);
	assert_int_equal(kit_names("store/layers/sha256"), 0);
	assert_int_equal(count("SELECT count(*) FROM chain"), 0);
}

static void a_shared_image_looks_as_the_image(void **state)
{
	auto_answer struct answer a = ANSWER_INIT;
	auto_free char *path = NULL;
	struct image image;
	struct err err = { 0 };

	needs_root();
	load_implying(&image);
	shared(SCOPE, &image, 3);
	shared(OTHER, &image, 3);
	assert_int_equal(count("SELECT count(*) FROM keyed"), 6);
	assert_int_equal(prepare(&a, .key = "a", .parent = image.chain[2].text), 0);
	mounted(&a, "m");
	good(overlaid_image_mount(o, "q.io/app:1", &path, &err), &err);
	assert_int_equal(look("m").st_mode & 07777, 0751);
	assert_int_equal(look(path).st_mode & 07777, 0751);
	assert_int_equal(look("m/etc").st_mode & 07777, 0711);
	assert_int_equal(look("m/etc").st_mtime, USUAL_MTIME);
	assert_contents("m/etc/a", "one");
	assert_contents("m/etc/b", "two");
	assert_contents("m/etc/c", "three");
}

/* Several empty layers are common. Overlayfs takes no directory twice. */
static void a_layer_that_an_image_has_twice_is_mounted_once(void **state)
{
	auto_answer struct answer a = ANSWER_INIT, v = ANSWER_INIT, real = ANSWER_INIT;
	auto_buf struct buf base = { .max = 0 }, other = { .max = 0 };
	struct image image;
	const char *lowers;
	char links[40];

	needs_root();
	put_dir_of_mode(&base, "./", 0755);
	tar_put_file(&base, "file", "first");
	tar_put_end(&base);
	put_dir_of_mode(&other, "./", 0755);
	tar_put_file(&other, "file", "second");
	tar_put_file(&other, "other", "second");
	tar_put_end(&other);
	loaded("q.io/twice:1", (struct buf[]){ base, other, base, base }, 4, &image);
	assert_int_equal(count("SELECT count(*) FROM layer"), 2);
	shared(SCOPE, &image, 4);
	assert_int_equal(prepare(&a, .key = "a", .parent = image.chain[3].text), 0);
	mounted(&a, "m");
	assert_contents("m/file", "first");
	assert_contents("m/other", "second");
	assert_int_equal(view(&v, .key = "v", .parent = image.chain[2].text), 0);
	mounted(&v, "v");
	assert_contents("v/file", "first");
	assert_int_equal(prepare(&real, .key = "r", .parent = image.chain[3].text,
				 .uid_map = "0:0:1", .gid_map = "0:0:1"),
			 0);
	lowers = strstr(buf_text(&real.text), "lowerdir=");
	assert_non_null(lowers);
	assert_ptr_equal(strchr(lowers, ':'), strrchr(lowers, ':'));
	(void)snprintf(links, sizeof(links), "run/l/%s", o->store->run_name);
	assert_int_equal(kit_names(links), 2);
}

static void a_view_of_one_layer_twice_is_bound(void **state)
{
	auto_answer struct answer v = ANSWER_INIT;
	auto_buf struct buf base = { .max = 0 };
	struct image image;

	needs_root();
	put_dir_of_mode(&base, "./", 0755);
	tar_put_file(&base, "file", "first");
	tar_put_end(&base);
	loaded("q.io/twice:1", (struct buf[]){ base, base }, 2, &image);
	shared(SCOPE, &image, 2);
	assert_int_equal(view(&v, .key = "v", .parent = image.chain[1].text), 0);
	mounted(&v, "v");
	assert_contents("v/file", "first");
	assert_int_equal(mkdir("v/new", 0755), -1);
}

/* ---- layers and who holds them ---- */

static int note_layer(void *arg, const struct overlaid_layer *l)
{
	struct buf *text = arg;

	(void)buf_printf(text, "kind %d diff \"%s\"", (int)l->kind, l->diff_id);
	assert_true(exists(l->path));
	for (size_t i = 0; i < l->holder_count; i++)
		(void)buf_printf(text, " %d:%s:%s", (int)l->holders[i].kind, l->holders[i].name,
				 l->holders[i].scope);
	return buf_putc(text, '\n');
}

static void adopted_layers_are_listed_with_their_holders(void **state)
{
	const struct digest chain = kit_digest("c1");
	auto_buf struct buf text = { .max = 0 }, expected = { .max = 0 };

	for (int i = 0; i < 2; i++) {
		const char *scope = i ? OTHER : SCOPE;

		assert_int_equal(prepare(NULL, .scope = scope, .key = "a", .chain_id = chain.text),
				 0);
		assert_int_equal(commit(.scope = scope, .key = "a", .name = i ? "theirs" : "ours",
					.chain_id = chain.text),
				 0);
	}
	assert_int_equal(overlaid_layers(o, note_layer, &text, NULL), 0);
	(void)buf_printf(&expected, "kind %d diff \"\" %d:ours:%s %d:theirs:%s\n",
			 (int)OVERLAID_LAYER_ADOPTED, (int)OVERLAID_HELD_BY_SNAPSHOT, SCOPE,
			 (int)OVERLAID_HELD_BY_SNAPSHOT, OTHER);
	assert_string_equal(buf_text(&text), buf_text(&expected));
}

/* ---- housekeeping ---- */

static int count_garbage(void *arg, const struct overlaid_garbage *garbage)
{
	++*(int *)arg;
	return 0;
}

static void what_is_in_use_is_no_garbage(void **state)
{
	const struct digest chain = kit_digest("c1");
	auto_answer struct answer a = ANSWER_INIT;
	int found = 0;

	committed("base", "");
	committed("top", "base");
	assert_int_equal(prepare(NULL, .key = "a", .parent = "top"), 0);
	put_file(own("a", "/diff/file"), "contents");
	assert_int_equal(view(NULL, .key = "v", .parent = "top"), 0);
	assert_int_equal(prepare(NULL, .key = "x", .chain_id = chain.text), 0);
	assert_int_equal(commit(.key = "x", .name = "adopted", .chain_id = chain.text), 0);
	assert_int_equal(overlaid_gc(o, OVERLAID_GC_DRY_RUN, count_garbage, &found, NULL), 0);
	assert_int_equal(found, 0);
	assert_int_equal(overlaid_gc(o, OVERLAID_GC_PARTIAL, count_garbage, &found, NULL), 0);
	assert_int_equal(found, 0);
	reaped();
	assert_int_equal(kit_names("store/snapshots"), 3);
	assert_int_equal(kit_names("store/layers/sha256"), 1);
	assert_contents(own("a", "/diff/file"), "contents");
	assert_contents(own("base", "/diff/base"), "base");
	assert_int_equal(mounts(&a, .key = "a"), 0);
}

static void what_a_crash_left_is_garbage(void **state)
{
	const struct digest chain = kit_digest("c1");
	char path[200];
	int found = 0;

	committed("base", "");
	(void)snprintf(path, sizeof(path), "store/snapshots/%s/diff", digest_hex(&chain));
	put_dir(path);
	/* A tree beside the layer that it became. */
	assert_int_equal(prepare(NULL, .key = "x", .chain_id = chain.text), 0);
	assert_int_equal(commit(.key = "x", .name = "adopted", .chain_id = chain.text), 0);
	put_dir(own("adopted", "/diff"));
	assert_int_equal(overlaid_gc(o, 0, count_garbage, &found, NULL), 0);
	assert_int_equal(found, 2);
	assert_int_equal(kit_names("store/snapshots"), 1);
	assert_int_equal(kit_names("store/layers/sha256"), 1);
	assert_contents(own("base", "/diff/base"), "base");
}

static void a_batch_is_seen_when_it_ends(void **state)
{
	struct overlaid *second = kit_open();
	auto_buf struct buf during = { .max = 0 }, after = { .max = 0 };

	assert_int_equal(overlaid_batch_begin(o, true, NULL), 0);
	committed("base", "");
	assert_int_equal(prepare(NULL, .key = "a", .parent = "base"), 0);
	assert_int_equal(prepare(NULL, .key = "a", .parent = "base"), -EEXIST);
	assert_int_equal(overlaid_snapshot_remove(o, SCOPE, "base", NULL), -ENOTEMPTY);
	assert_int_equal(overlaid_snapshots(second, SCOPE, note_snapshot, &during, NULL), 0);
	assert_int_equal(during.len, 0);
	assert_int_equal(overlaid_batch_end(o, NULL), 0);
	assert_int_equal(overlaid_snapshots(second, SCOPE, note_snapshot, &after, NULL), 0);
	assert_string_equal(buf_text(&after), "base< 3\na<base 2\n");
	overlaid_close(second);
}

/* ---- images that are kept for a while ---- */

/* An image of one layer of its own, to be kept until then; 0: for good. The same again is brought up to date. */
static int64_t passing(const char *start, int64_t kept_until_ns)
{
	auto_transaction struct db_transaction t = DB_TRANSACTION_INIT;
	const struct digest id = kit_digest(start), none = { "" };
	struct digest diff_id = id;
	const struct oci_config config = { .platform = { "linux", "amd64", "" },
					   .diff_ids = &diff_id,
					   .diff_id_count = 1 };
	int64_t layer = 0, row = 0;
	struct image_facts facts = { .image_id = &id,
				     .manifest = &none,
				     .config = &config,
				     .layer_ids = &layer,
				     .layer_count = 1,
				     .kept_until_ns = kept_until_ns };
	struct err err = { 0 };
	char path[200];

	if (layer_find(o->store, &id, &layer, NULL) == 0)
		layer = kit_layer(o->store, start);
	(void)snprintf(path, sizeof(path), "store/blobs/sha256/%s", digest_hex(&id));
	put_file(path, "{}");
	good(db_begin(o->store->db, &t, &err), &err);
	good(blob_insert(o->store, &id, "application/vnd.oci.image.config.v1+json", 2, &err), &err);
	good(image_insert(o->store, &facts, &row, NULL, &err), &err);
	good(db_commit(&t, &err), &err);
	return row;
}

static int64_t in_seconds(int64_t seconds)
{
	return ((int64_t)time(NULL) + seconds) * CLOCK_SECOND_NS;
}

static void images_pass_when_their_time_is_over(void **state)
{
	int found = 0;

	(void)passing("1a", in_seconds(-10));
	(void)passing("2a", in_seconds(1000));
	(void)passing("3a", 0);
	assert_int_equal(overlaid_gc(o, OVERLAID_GC_DRY_RUN, count_garbage, &found, NULL), 0);
	assert_int_equal(count("SELECT count(*) FROM image"), 3);
	reaped();
	assert_int_equal(count("SELECT count(*) FROM image"), 2);
	assert_false(kit_layer_exists("1a"));
	assert_true(kit_layer_exists("2a") && kit_layer_exists("3a"));
	(void)passing("1a", in_seconds(-10));
	assert_int_equal(overlaid_gc(o, 0, NULL, NULL, NULL), 0);
	assert_false(kit_layer_exists("1a"));
	assert_int_equal(count("SELECT count(*) FROM layer"), 2);
	assert_int_equal(count("SELECT count(*) FROM blob"), 2);
	assert_int_equal(kit_names("store/blobs/sha256"), 2);
}

static void many_images_pass(void **state)
{
	char start[8];

	for (int i = 0; i < 40; i++) {
		(void)snprintf(start, sizeof(start), "a%02d", i);
		(void)passing(start, in_seconds(-10));
	}
	for (int i = 0; i < 3; i++)
		reaped();
	assert_int_equal(count("SELECT count(*) FROM image"), 0);
	assert_int_equal(kit_names("store/layers/sha256"), 0);
}

static void an_image_that_is_wanted_does_not_pass(void **state)
{
	auto_snapshot struct snapshot container = { 0 };
	const struct digest mounted_id = kit_digest("3a");
	int64_t tagged = passing("1a", in_seconds(-10)), used = passing("2a", in_seconds(-10));

	/* A name keeps it for good, also after the name went. */
	kit_tag(o->store, tagged, "q.io/kept:1");
	kit_container(o->store, used, "2a", "web", &container);
	/* Loaded to be kept, before or after. */
	(void)passing("3a", in_seconds(-10));
	(void)passing("3a", 0);
	(void)passing("4a", 0);
	(void)passing("4a", in_seconds(-10));
	/* Loaded again for a while: the later time counts. */
	(void)passing("5a", in_seconds(-10));
	(void)passing("5a", in_seconds(1000));
	reaped();
	assert_int_equal(count("SELECT count(*) FROM image"), 5);
	assert_int_equal(overlaid_image_untag(o, "q.io/kept:1", NULL), 0);
	reaped();
	assert_int_equal(count("SELECT count(*) FROM image"), 5);
	assert_int_equal(overlaid_container_remove(o, "web", 0, NULL), 0);
	reaped();
	assert_int_equal(count("SELECT count(*) FROM image"), 4);
	assert_false(kit_layer_exists("2a"));
	needs_root();
	{
		auto_free char *path = NULL;

		assert_int_equal(overlaid_image_mount(o, mounted_id.text, &path, NULL), 0);
		assert_int_equal(kit_run(o->store, "UPDATE image SET kept_until = 1"), 0);
		reaped();
		assert_int_equal(count("SELECT count(*) FROM image"), 1);
		assert_int_equal(overlaid_image_unmount(o, mounted_id.text, NULL), 0);
	}
	reaped();
	assert_int_equal(count("SELECT count(*) FROM image"), 0);
}

static void a_shared_chain_keeps_the_layers_of_an_image_that_passes(void **state)
{
	struct image image;

	needs_root();
	load_implying(&image);
	shared(SCOPE, &image, 3);
	assert_int_equal(kit_run(o->store, "DELETE FROM tag"), 0);
	assert_int_equal(kit_run(o->store, "UPDATE image SET kept_until = 1"), 0);
	reaped();
	assert_int_equal(count("SELECT count(*) FROM image"), 0);
	/* Three, and a patch for each of the two that need one. */
	assert_int_equal(count("SELECT count(*) FROM layer"), 5);
	assert_int_equal(kit_names("store/layers/sha256"), 5);
	assert_int_equal(count("SELECT count(*) FROM chain"), 3);
	/* And may be shared again from them. */
	shared(OTHER, &image, 3);
	removed_chain(SCOPE, &image, 3);
	reaped();
	assert_int_equal(kit_names("store/layers/sha256"), 5);
	removed_chain(OTHER, &image, 3);
	assert_int_equal(count("SELECT count(*) FROM layer"), 0);
	assert_int_equal(count("SELECT count(*) FROM chain"), 0);
	reaped();
	assert_int_equal(kit_names("store/layers/sha256"), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		snapshots_test(an_active_one_of_nothing_is_bound),
		snapshots_test(a_view_of_nothing_is_empty),
		snapshots_test(a_view_of_one_is_its_tree),
		snapshots_test(a_view_of_two_is_an_overlay_without_an_upper),
		snapshots_test(an_active_one_is_an_overlay_with_an_upper),
		snapshots_test(a_base_layer_to_be_is_an_overlay_over_nothing),
		snapshots_test(what_is_committed_has_no_mounts),
		snapshots_test(links_and_directories_are_made_again),
		snapshots_test(nothing_beneath_an_opaque_root_is_mounted),
		snapshots_test(a_hundred_and_twenty_layers_fit_into_the_options),
		snapshots_test(more_than_five_hundred_layers_are_refused),
		snapshots_test(paths_that_break_options_are_refused),
		snapshots_test(what_is_idmapped_belongs_to_the_mapped_root),
		snapshots_test(a_mapping_that_is_none_prepares_nothing),
		snapshots_test(labels_are_set_taken_away_and_replaced),
		snapshots_test(a_commit_has_labels_of_its_own),
		snapshots_test(labels_are_kept_byte_for_byte),
		snapshots_test(a_snapshot_has_a_name),
		snapshots_test(scopes_are_listed_apart),
		snapshots_test(usage_is_what_du_says),
		snapshots_test(usage_of_an_adopted_one_is_its_layers),
		snapshots_test(counting_can_be_given_up),
		snapshots_test(a_chain_that_is_not_here_is_not_held),
		snapshots_test(a_whole_image_has_its_patch_already),
		snapshots_test(a_patch_that_is_there_is_found_again),
		snapshots_test(a_part_of_an_image_gets_a_patch_while_it_is_held),
		snapshots_test(a_patch_that_nobody_took_goes_with_the_hold),
		snapshots_test(a_patch_that_a_snapshot_took_stays_with_it),
		snapshots_test(a_shared_image_looks_as_the_image),
		snapshots_test(a_layer_that_an_image_has_twice_is_mounted_once),
		snapshots_test(a_view_of_one_layer_twice_is_bound),
		snapshots_test(adopted_layers_are_listed_with_their_holders),
		snapshots_test(what_is_in_use_is_no_garbage),
		snapshots_test(what_a_crash_left_is_garbage),
		snapshots_test(a_batch_is_seen_when_it_ends),
		snapshots_test(images_pass_when_their_time_is_over),
		snapshots_test(many_images_pass),
		snapshots_test(an_image_that_is_wanted_does_not_pass),
		snapshots_test(a_shared_chain_keeps_the_layers_of_an_image_that_passes),
	};

	return cmocka_run_group_tests_name("snapshots api", tests, sandbox_enter, sandbox_leave);
}
