/* SPDX-License-Identifier: Apache-2.0 */
/* overlaid_snapshot_attach and what a mount is made of (graph/attach.c); parents that are settled; settings. */
#include <fcntl.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "driver/base/auto.h"
#include "driver/base/fd.h"
#include "driver/tree.h"
#include "graph/handle.h"
#include "tests/unit/kit.h"
#include "tests/unit/sandbox.h"
#include "tests/unit/snaps.h"
#include "tests/unit/util.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#define SCOPE	      SNAPS_SCOPE
#define OVERLAY_MAGIC 0x794c7630
#define DEEP	      129 /* what graphtest makes */

static const struct overlaid_maps maps = { "0:100000:65536", "0:200000:65536" };

/* ---- snapshots ---- */

/* Filled with the root, a directory and a file in it, which is root's, and one of user 5 and group 6. */
static void layer(const char *key, const char *parent, const char *file, const char *contents)
{
	auto_buf struct buf tar = { .max = 0 };

	tar_put_dir(&tar, "./");
	tar_put_dir(&tar, "dir/");
	tar_put_file(&tar, file, contents);
	tar_put(&tar, &(struct tar_spec){ .name = "dir/users",
					  .type = '0',
					  .mode = 0640,
					  .uid = 5,
					  .gid = 6,
					  .size = 1,
					  .data = "u" });
	tar_put_end(&tar);
	snaps_layer(key, parent, &tar);
}

static int attach_with(const struct overlaid_attach *given, const char *at, struct err *err)
{
	struct overlaid_attach a = *given;

	a.scope = a.scope ? a.scope : SCOPE;
	a.target = sandbox_path(at);
	return overlaid_snapshot_attach(snaps, &a, err);
}

#define attach(at, ...) attach_with(&(struct overlaid_attach){ __VA_ARGS__ }, at, NULL)

static bool is_overlay(const char *path)
{
	struct statfs st;

	assert_int_equal(statfs(path, &st), 0);
	return st.f_type == OVERLAY_MAGIC;
}

static bool is_mounted(const char *at)
{
	int r = overlaid_is_attached(sandbox_path(at), NULL);

	assert_true(r >= 0);
	return r;
}

static void assert_read_only(const char *dir)
{
	char path[200];

	(void)snprintf(path, sizeof(path), "%s/new", dir);
	assert_int_equal(mkdir(path, 0755), -1);
	assert_int_equal(errno, EROFS);
}

static enum overlaid_snapshot_kind kind_of(const char *key)
{
	auto_keyed struct keyed k = { 0 };

	snaps_find(SCOPE, key, &k);
	return k.kind;
}

/* ---- mounts ---- */

static void an_active_one_is_writable_over_its_chain(void **state)
{
	needs_root();
	layer("base", "", "dir/base", "base");
	layer("top", "base", "dir/top", "top");
	snaps_prepare("a", "top");
	snaps_attach("a", "m", NULL);
	assert_true(is_mounted("m"));
	assert_true(is_overlay("m"));
	assert_contents("m/dir/base", "base");
	assert_contents("m/dir/top", "top");
	put_file("m/dir/base", "changed");
	put_file("m/new", "new");
	assert_int_equal(unlink("m/dir/top"), 0);
	assert_contents(snaps_own("a", "/dir/base"), "changed");
	assert_contents(snaps_own("a", "/new"), "new");
	assert_true(S_ISCHR(look(snaps_own("a", "/dir/top")).st_mode));
	snaps_detach("m");
	snaps_attach("a", "m", NULL);
	assert_contents("m/dir/base", "changed");
	assert_false(exists("m/dir/top"));
}

static void what_is_committed_is_read_only(void **state)
{
	needs_root();
	layer("base", "", "dir/base", "base");
	layer("top", "base", "dir/top", "top");
	snaps_prepare("own", "top");
	snaps_attach("own", "m", NULL);
	put_file("m/own", "own");
	snaps_detach("m");
	snaps_prepare("a", "own");
	snaps_attach("top", "t", NULL);
	assert_true(is_overlay("t"));
	assert_contents("t/dir/base", "base");
	assert_read_only("t");
	snaps_attach("own", "o", NULL);
	assert_contents("o/own", "own");
	assert_contents("o/dir/top", "top");
	assert_read_only("o");
}

static void one_tree_is_bound(void **state)
{
	needs_root();
	layer("base", "", "dir/base", "base");
	snaps_prepare("own", "");
	snaps_attach("own", "a", NULL);
	assert_false(is_overlay("a"));
	put_file("a/file", "written");
	assert_contents(snaps_own("own", "/file"), "written");
	assert_int_equal(look("a").st_ino, look(snaps_own("own", "")).st_ino);
	snaps_detach("a");
	assert_contents(snaps_own("own", "/file"), "written");
	snaps_attach("base", "b", NULL);
	assert_false(is_overlay("b"));
	assert_contents("b/dir/base", "base");
	assert_read_only("b");
	/* The layer is what it was for others. */
	snaps_prepare("child", "own");
	snaps_attach("own", "a", NULL);
	assert_read_only("a");
	assert_contents("a/file", "written");
}

static void a_view_is_its_parent_read_only(void **state)
{
	static const char *const keys[] = { "v0", "v1", "v2" };
	static const char *const parents[] = { "", "base", "top" };
	struct err err = { 0 };

	needs_root();
	layer("base", "", "dir/base", "base");
	layer("top", "base", "dir/top", "top");
	for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
		const struct overlaid_prepare p = { .scope = SCOPE,
						    .key = keys[i],
						    .parent = parents[i],
						    .kind = OVERLAID_SNAPSHOT_VIEW };
		const struct overlaid_diff d = { .scope = SCOPE,
						 .key = keys[i],
						 .parent = parents[i] };
		uint64_t bytes = 1;

		good(overlaid_snapshot_prepare(snaps, &p, NULL, NULL, &err), &err);
		snaps_attach(keys[i], keys[i], NULL);
		assert_read_only(keys[i]);
		good(overlaid_snapshot_diff_size(snaps, &d, &bytes, &err), &err);
		assert_int_equal(bytes, 0);
	}
	assert_int_equal(kit_names("v0"), 0);
	assert_contents("v1/dir/base", "base");
	assert_contents("v2/dir/top", "top");
	assert_contents("v2/dir/base", "base");
}

static void what_is_mounted_is_busy(void **state)
{
	struct err err = { 0 };

	needs_root();
	layer("base", "", "dir/base", "base");
	snaps_prepare("a", "base");
	snaps_attach("a", "m", NULL);
	assert_int_equal(attach_with(&(struct overlaid_attach){ .key = "a" }, "m", &err), -EBUSY);
	assert_words(&err, "\"a\"");
	assert_int_equal(attach("m", .key = "base"), -EBUSY);
	put_file("m/still", "1");
	snaps_detach("m");
	assert_false(exists("m"));
	assert_int_equal(attach("m", .key = "none"), -ENOENT);
	assert_int_equal(attach("m", .key = "a", .scope = "docker:other"), -ENOENT);
	assert_false(exists("m"));
}

/* Whose filesystem is not synced when it is unmounted: the kernel refuses it a second time unless told. */
static void a_scratch_one_is_mounted_again(void **state)
{
	needs_root();
	layer("base", "", "dir/base", "base");
	snaps_prepare("a", "base");
	for (int i = 0; i < 3; i++) {
		assert_int_equal(attach("m", .key = "a", .scratch = true), 0);
		put_file("m/dir/base", i == 2 ? "third" : "other");
		snaps_detach("m");
	}
	assert_contents(snaps_own("a", "/dir/base"), "third");
	/* Its child does not care. */
	snaps_prepare("b", "a");
	snaps_attach("b", "m", NULL);
	assert_contents("m/dir/base", "third");
	assert_int_equal(attach("n", .key = "a", .scratch = true), 0);
	assert_read_only("n");
}

static void scratch_is_bound_where_there_is_no_parent(void **state)
{
	needs_root();
	snaps_prepare("a", "");
	assert_int_equal(attach("m", .key = "a", .scratch = true), 0);
	put_file("m/file", "1");
	snaps_detach("m");
	assert_int_equal(attach("m", .key = "a", .scratch = true), 0);
	assert_contents("m/file", "1");
}

static void a_missing_target_is_made_to_be_passed(void **state)
{
	needs_root();
	layer("base", "", "dir/base", "base");
	(void)umask(077);
	snaps_attach("base", "x/y/z/m", NULL);
	assert_int_equal(look("x").st_mode & 07777, 0711);
	assert_int_equal(look("x/y/z").st_mode & 07777, 0711);
	snaps_detach("x/y/z/m");
	assert_true(exists("x/y/z"));
	assert_false(exists("x/y/z/m"));
	/* One that is there stays as it is. */
	assert_int_equal(mkdir("x/there", 0700), 0);
	snaps_attach("base", "x/there/m", NULL);
	assert_int_equal(look("x/there").st_mode & 07777, 0700);
}

static void detaching_takes_off_all_and_removes_the_directory(void **state)
{
	struct err err = { 0 };
	auto_close int fd = -EBADF;

	needs_root();
	layer("base", "", "dir/base", "base");
	snaps_prepare("a", "base");
	snaps_detach("never");
	snaps_detach("never/was/here");
	put_dir("empty");
	snaps_detach("empty");
	assert_false(exists("empty"));
	/* Somebody uses it, has mounted in it, and over it. */
	snaps_attach("a", "m", NULL);
	fd = open("m/dir/base", O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(mount("none", "m/dir", "tmpfs", 0, NULL), 0);
	assert_int_equal(mount("none", "m", "tmpfs", 0, NULL), 0);
	snaps_detach("m");
	assert_false(exists("m"));
	assert_false(is_mounted("m"));
	/* What is not a mount's is not touched. */
	put_file("full/file", "1");
	assert_int_equal(overlaid_detach(sandbox_path("full"), &err), -ENOTEMPTY);
	assert_contents("full/file", "1");
}

static void a_parent_that_is_mounted_writable_is_used(void **state)
{
	needs_root();
	layer("base", "", "dir/base", "base");
	snaps_prepare("p", "base");
	snaps_attach("p", "p", NULL);
	put_file("p/before", "1");
	snaps_prepare("c", "p");
	assert_int_equal(kind_of("p"), OVERLAID_SNAPSHOT_COMMITTED);
	snaps_attach("c", "c", NULL);
	assert_contents("c/before", "1");
	assert_contents("c/dir/base", "base");
	put_file("c/mine", "1");
	/* Nobody stops it: what was writable is. */
	put_file("p/after", "1");
	snaps_attach("p", "q", NULL);
	assert_read_only("q");
	assert_contents("q/before", "1");
	snaps_detach("p");
	assert_contents("c/before", "1");
	assert_false(exists("q/mine"));
}

static void many_layers_are_stacked(void **state)
{
	char key[16] = "", parent[16], path[40];

	needs_root();
	for (int i = 0; i < DEEP; i++) {
		auto_buf struct buf tar = { .max = 0 };

		(void)snprintf(parent, sizeof(parent), "%s", key);
		(void)snprintf(key, sizeof(key), "n%d", i);
		tar_put_file(&tar, key, key);
		tar_put_end(&tar);
		snaps_layer(key, parent, &tar);
	}
	snaps_prepare("a", key);
	snaps_attach("a", "a", NULL);
	snaps_attach(key, "c", NULL);
	snaps_prepare("b", key);
	snaps_attach("b", "b", &maps);
	snaps_attach(key, "d", &maps);
	for (int i = 0; i < DEEP; i += 32) {
		(void)snprintf(key, sizeof(key), "n%d", i);
		for (const char *at = "abcd"; *at; at++) {
			(void)snprintf(path, sizeof(path), "%c/%s", *at, key);
			assert_contents(path, key);
			assert_int_equal(look(path).st_uid, *at == 'b' || *at == 'd' ? 100000 : 0);
		}
	}
	put_file("a/n64", "changed");
	assert_contents("c/n64", "n64");
}

/* Overlayfs merges the roots of all lowers, whatever they are marked. */
static void nothing_beneath_an_opaque_root_is_seen(void **state)
{
	auto_buf struct buf tar = { .max = 0 };

	needs_root();
	layer("base", "", "dir/base", "base");
	tar_put_dir(&tar, "./");
	tar_put_file(&tar, ".wh..wh..opq", "");
	tar_put_file(&tar, "only", "only");
	tar_put_end(&tar);
	snaps_layer("opaque", "base", &tar);
	snaps_attach("opaque", "o", NULL);
	assert_int_equal(kit_names("o"), 1);
	snaps_prepare("a", "opaque");
	snaps_attach("a", "a", NULL);
	assert_int_equal(kit_names("a"), 1);
	assert_contents("a/only", "only");
}

/* ---- maps ---- */

struct as_user {
	const char *at; /* the working directory */
	uid_t uid;
	gid_t gid;
};

/* Writes files there as somebody would in a user namespace, by the ids outside. */
static int write_as(struct child *parent, void *arg)
{
	const struct as_user *who = arg;
	auto_close int fd = -EBADF;

	if (chdir(who->at) < 0 || setresgid(who->gid, who->gid, who->gid) < 0 ||
	    setresuid(who->uid, who->uid, who->uid) < 0)
		return errno;
	fd = open("dir/new", O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
	if (fd < 0)
		return errno;
	if (chmod("dir/base", 0604) < 0)
		return errno;
	return open("dir/users", O_RDONLY | O_CLOEXEC) < 0 ? 0 : EEXIST;
}

static void prepare_mapped(const char *key, const char *parent)
{
	const struct overlaid_prepare p = { .scope = SCOPE,
					    .key = key,
					    .parent = parent,
					    .kind = OVERLAID_SNAPSHOT_ACTIVE,
					    .uid_map = maps.uids,
					    .gid_map = maps.gids };
	struct err err = { 0 };

	good(overlaid_snapshot_prepare(snaps, &p, NULL, NULL, &err), &err);
}

static void layers_are_seen_by_the_maps(void **state)
{
	auto_buf struct buf before = { .max = 0 }, after = { .max = 0 };
	struct as_user who = { .uid = 100000, .gid = 200000 };
	struct child child;

	needs_root();
	layer("base", "", "dir/base", "base");
	layer("top", "base", "dir/top", "top");
	tree_text(snaps_top("base", ""), &before);
	prepare_mapped("a", "top");
	assert_int_equal(look(snaps_own("a", "")).st_uid, 100000);
	assert_int_equal(look(snaps_own("a", "")).st_gid, 200000);
	snaps_attach("a", "m", &maps);
	assert_int_equal(look("m").st_uid, 100000);
	assert_int_equal(look("m").st_gid, 200000);
	assert_int_equal(look("m/dir/users").st_uid, 100005);
	assert_int_equal(look("m/dir/users").st_gid, 200006);
	/* It is the mapped root that works in it. It may not read 0640 without capabilities. */
	who.at = sandbox_path("m");
	child = kit_fork(write_as, &who);
	assert_int_equal(kit_wait(&child), 0);
	assert_int_equal(look("m/dir/new").st_uid, 100000);
	assert_int_equal(look(snaps_own("a", "/dir/new")).st_uid, 100000);
	assert_int_equal(look(snaps_own("a", "/dir/new")).st_gid, 200000);
	assert_int_equal(look(snaps_own("a", "/dir/base")).st_uid, 100000);
	assert_int_equal(look(snaps_own("a", "/dir/base")).st_mode & 07777, 0604);
	/* By us. */
	assert_int_equal(chmod("m/dir/users", 0600), 0);
	assert_int_equal(look(snaps_own("a", "/dir/users")).st_uid, 100005);
	snaps_detach("m");
	tree_text(snaps_top("base", ""), &after);
	assert_string_equal(buf_text(&after), buf_text(&before));
	assert_int_equal(look(snaps_top("base", "/dir/users")).st_uid, 5);
	/* And with the maps that it has not: as it is on disk. */
	snaps_attach("a", "m", NULL);
	assert_int_equal(look("m/dir/new").st_uid, 100000);
	assert_int_equal(look("m/dir/top").st_uid, 0);
}

static void what_was_written_is_seen_as_it_is(void **state)
{
	needs_root();
	layer("base", "", "dir/base", "base");
	prepare_mapped("a", "base");
	snaps_attach("a", "a", &maps);
	put_file("a/written", "new");
	assert_int_equal(chown("a/written", 100007, 200008), 0);
	snaps_detach("a");
	snaps_prepare("b", "a");
	snaps_attach("a", "a", &maps);
	assert_read_only("a");
	assert_int_equal(look("a/written").st_uid, 100007);
	assert_int_equal(look("a/dir/base").st_uid, 100000);
	snaps_attach("b", "b", &maps);
	assert_int_equal(look("b/written").st_gid, 200008);
	assert_int_equal(look("b/dir/users").st_gid, 200006);
	/* One tree alone. */
	snaps_attach("base", "c", &maps);
	assert_read_only("c");
	assert_int_equal(look("c/dir/users").st_uid, 100005);
	prepare_mapped("alone", "");
	assert_int_equal(look(snaps_own("alone", "")).st_uid, 100000);
	snaps_attach("alone", "d", &maps);
	assert_int_equal(look("d").st_uid, 100000);
	put_file("d/file", "1");
	assert_int_equal(look(snaps_own("alone", "/file")).st_uid, 0);
}

static void two_maps_share_a_layer(void **state)
{
	const struct overlaid_maps others = { "0:300000:1000,1000:500000:1000", "0:300000:1000" };

	needs_root();
	layer("base", "", "dir/base", "base");
	snaps_attach("base", "a", &maps);
	snaps_attach("base", "b", &others);
	snaps_attach("base", "c", NULL);
	assert_int_equal(look("a/dir/users").st_uid, 100005);
	assert_int_equal(look("b/dir/users").st_uid, 300005);
	assert_int_equal(look("c/dir/users").st_uid, 5);
	assert_int_equal(count("SELECT count(*) FROM layer"), 1);
}

static void half_a_map_is_refused(void **state)
{
	const struct overlaid_maps halves[] = {
		{ maps.uids, NULL }, { NULL, maps.gids }, { maps.uids, "" }, { "1", maps.gids }
	};
	const struct overlaid_maps none = { "", "" };
	struct err err = { 0 };

	needs_root();
	layer("base", "", "dir/base", "base");
	for (size_t i = 0; i < ARRAY_LEN(halves); i++) {
		const struct overlaid_attach a = { .key = "base", .maps = halves[i] };
		const struct overlaid_diff d = {
			.scope = SCOPE, .key = "base", .parent = "", .maps = halves[i]
		};

		assert_int_equal(attach_with(&a, "m", &err), -EINVAL);
		assert_int_equal(overlaid_snapshot_changes(snaps, &d, NULL, NULL, &err), -EINVAL);
		assert_int_equal(overlaid_snapshot_export(snaps, &d, NULL, NULL, &err), -EINVAL);
	}
	snaps_attach("base", "m", &none);
	assert_int_equal(look("m/dir/users").st_uid, 5);
}

static void the_mapped_root_comes_to_what_is_beneath_run(void **state)
{
	needs_root();
	layer("base", "", "dir/base", "base");
	put_dir("run");
	assert_int_equal(chmod("run", 0700), 0);
	snaps_attach("base", "run/docker/a", NULL);
	assert_int_equal(look("run").st_mode & 07777, 0700);
	snaps_attach("base", "run2/b", &maps);
	assert_int_equal(look("run").st_mode & 07777, 0700);
	snaps_attach("base", "run/docker/b", &maps);
	assert_int_equal(look("run").st_mode & 07777, 0711);
	assert_int_equal(look("run/docker").st_mode & 07777, 0711);
}

/* ---- paths ---- */

static int note_paths(void *arg, const struct overlaid_paths *p)
{
	struct buf *text = arg;

	for (size_t i = 0; i < p->lower_count; i++)
		(void)buf_printf(text, "%s:", p->lowers[i]);
	(void)buf_printf(text, "|%s|%s", p->upper, p->work);
	return 7;
}

static void assert_paths(const char *key, const char *expected)
{
	auto_buf struct buf text = { .max = 0 };

	assert_int_equal(overlaid_snapshot_paths(snaps, SCOPE, key, note_paths, &text, NULL), 7);
	assert_string_equal(buf_text(&text), expected);
}

static void paths_are_those_of_the_mount(void **state)
{
	auto_buf struct buf lowers = { .max = 0 }, upper = { .max = 0 }, text = { .max = 0 };
	auto_keyed struct keyed k = { 0 };

	layer("base", "", "dir/base", "base");
	layer("top", "base", "dir/top", "top");
	(void)buf_printf(&lowers, "%s:", snaps_top("base", ""));
	(void)buf_printf(&text, "%s||", buf_text(&lowers));
	assert_paths("base", buf_text(&text));
	buf_release(&lowers);
	buf_release(&text);
	(void)buf_printf(&lowers, "%s:%s:", snaps_top("top", ""), snaps_top("base", ""));
	(void)buf_printf(&text, "%s||", buf_text(&lowers));
	assert_paths("top", buf_text(&text));
	snaps_prepare("a", "top");
	snaps_find(SCOPE, "a", &k);
	(void)buf_printf(&lowers, "|%s/%s/diff|%s/%s/work", sandbox_path("store/snapshots"), k.uid,
			 sandbox_path("store/snapshots"), k.uid);
	assert_paths("a", buf_text(&lowers));
	keyed_release(&k);
	snaps_prepare("own", "");
	snaps_find(SCOPE, "own", &k);
	(void)buf_printf(&upper, "|%s/%s/diff|%s/%s/work", sandbox_path("store/snapshots"), k.uid,
			 sandbox_path("store/snapshots"), k.uid);
	assert_paths("own", buf_text(&upper));
	assert_int_equal(overlaid_snapshot_paths(snaps, SCOPE, "none", note_paths, &text, NULL),
			 -ENOENT);
}

/* A layer twice in a chain is mounted once. */
static void a_layer_twice_is_one_lower(void **state)
{
	auto_buf struct buf text = { .max = 0 };

	layer("a", "", "dir/file", "same");
	layer("b", "a", "dir/other", "other");
	layer("c", "b", "dir/file", "same");
	(void)buf_printf(&text, "%s:%s:||", snaps_top("c", ""), snaps_top("b", ""));
	assert_paths("c", buf_text(&text));
	needs_root();
	snaps_attach("c", "m", NULL);
	assert_contents("m/dir/file", "same");
	assert_contents("m/dir/other", "other");
}

/* ---- parents that are settled ---- */

static int prepare_over(const char *key, const char *parent, bool settle, const char *map,
			overlaid_mount_fn *fn)
{
	const struct overlaid_prepare p = { .scope = SCOPE,
					    .key = key,
					    .parent = parent,
					    .kind = OVERLAID_SNAPSHOT_ACTIVE,
					    .settle_parent = settle,
					    .uid_map = map };

	return overlaid_snapshot_prepare(snaps, &p, fn, NULL, NULL);
}

static int refuse(void *arg, const struct overlaid_mount *mount)
{
	return -ECANCELED;
}

static void a_parent_is_settled_by_its_first_child(void **state)
{
	snaps_prepare("p", "");
	put_file(snaps_own("p", "/file"), "1");
	assert_int_equal(prepare_over("a", "p", false, NULL, NULL), -EINVAL);
	assert_int_equal(kind_of("p"), OVERLAID_SNAPSHOT_ACTIVE);
	assert_int_equal(prepare_over("a", "p", true, NULL, NULL), 0);
	assert_int_equal(kind_of("p"), OVERLAID_SNAPSHOT_COMMITTED);
	assert_contents(snaps_own("p", "/file"), "1");
	assert_int_equal(prepare_over("b", "p", true, NULL, NULL), 0);
	assert_int_equal(prepare_over("c", "p", false, NULL, NULL), 0);
	assert_int_equal(snaps_remove("p"), -ENOTEMPTY);
	assert_int_equal(snaps_remove("a"), 0);
	assert_int_equal(snaps_remove("b"), 0);
	assert_int_equal(snaps_remove("c"), 0);
	/* Once settled it stays so. */
	assert_int_equal(kind_of("p"), OVERLAID_SNAPSHOT_COMMITTED);
	assert_int_equal(snaps_remove("p"), 0);
	snaps_assert_consistent();
}

static void a_child_that_fails_leaves_its_parent_active(void **state)
{
	static const char *const keys[] = { "taken", "", "mapped", "mounted", "limited" };
	struct overlaid_prepare limited = { .scope = SCOPE,
					    .key = "limited",
					    .parent = "p",
					    .kind = OVERLAID_SNAPSHOT_ACTIVE,
					    .settle_parent = true,
					    .quota_bytes = 1 << 20 };
	struct err err = { 0 };
	int64_t snapshots;

	snaps_prepare("p", "");
	snaps_prepare("taken", "");
	snapshots = count("SELECT count(*) FROM keyed");
	assert_int_equal(prepare_over(keys[0], "p", true, NULL, NULL), -EEXIST);
	assert_int_equal(prepare_over(keys[1], "p", true, NULL, NULL), -EINVAL);
	assert_int_equal(prepare_over(keys[2], "p", true, "1:100000:10", NULL), -EINVAL);
	assert_int_equal(prepare_over(keys[3], "p", true, NULL, refuse), -ECANCELED);
	if (overlaid_quota_check(snaps, NULL) < 0) {
		assert_int_equal(overlaid_snapshot_prepare(snaps, &limited, NULL, NULL, &err),
				 -EOPNOTSUPP);
		assert_true(err.text[0]);
	}
	assert_int_equal(prepare_over("x", "none", true, NULL, NULL), -ENOENT);
	assert_int_equal(kind_of("p"), OVERLAID_SNAPSHOT_ACTIVE);
	assert_int_equal(count("SELECT count(*) FROM keyed"), snapshots);
	snaps_assert_consistent();
	/* Nothing is in the way of another try. */
	for (size_t i = 2; i < ARRAY_LEN(keys); i++)
		assert_int_equal(prepare_over(keys[i], "p", true, NULL, NULL), 0);
	snaps_assert_consistent();
}

static void a_view_settles_too(void **state)
{
	const struct overlaid_prepare v = { .scope = SCOPE,
					    .key = "v",
					    .parent = "p",
					    .kind = OVERLAID_SNAPSHOT_VIEW,
					    .settle_parent = true };
	struct err err = { 0 };

	snaps_prepare("p", "");
	good(overlaid_snapshot_prepare(snaps, &v, NULL, NULL, &err), &err);
	assert_int_equal(kind_of("p"), OVERLAID_SNAPSHOT_COMMITTED);
	/* A view is nobody's parent. */
	assert_int_equal(prepare_over("a", "v", true, NULL, NULL), -EINVAL);
	assert_int_equal(kind_of("v"), OVERLAID_SNAPSHOT_VIEW);
}

/* What was said of it at its beginning, it need not have become. */
static void a_settled_one_is_no_chain(void **state)
{
	const struct digest one = kit_digest("1a");
	const struct overlaid_prepare p = { .scope = SCOPE,
					    .key = "p",
					    .parent = "",
					    .kind = OVERLAID_SNAPSHOT_ACTIVE,
					    .chain_id = one.text };
	auto_keyed struct keyed k = { 0 };
	struct err err = { 0 };

	good(overlaid_snapshot_prepare(snaps, &p, NULL, NULL, &err), &err);
	snaps_prepare("a", "p");
	snaps_find(SCOPE, "p", &k);
	assert_string_equal(k.chain_id, "");
	assert_int_equal(count("SELECT count(*) FROM chain"), 0);
}

/* ---- settings and places ---- */

static void settings_stay(void **state)
{
	struct err err = { 0 };
	char *value = NULL;

	assert_int_equal(overlaid_setting_get(snaps, "docker:x", &value, &err), 0);
	assert_null(value);
	good(overlaid_setting_set(snaps, "docker:x", "{\"a\":\"\xff\"}", &err), &err);
	good(overlaid_setting_set(snaps, "docker:y", "", &err), &err);
	good(overlaid_setting_set(snaps, "docker:x", "second", &err), &err);
	overlaid_close(snaps);
	snaps = kit_open();
	assert_int_equal(overlaid_setting_get(snaps, "docker:x", &value, &err), 1);
	assert_string_equal(value, "second");
	auto_free_fn(&value);
	assert_int_equal(overlaid_setting_get(snaps, "docker:y", &value, &err), 1);
	assert_string_equal(value, "");
	auto_free_fn(&value);
	assert_int_equal(overlaid_setting_get(snaps, "docker", &value, &err), 0);
}

static void mounts_of_two_stores_have_two_places(void **state)
{
	const struct overlaid_options options = { .root = sandbox_path("other"),
						  .run = sandbox_path("run"),
						  .durability = OVERLAID_VOLATILE };
	auto_free char *mine = NULL, *theirs = NULL;
	struct overlaid *other = NULL;
	struct err err = { 0 };

	good(overlaid_open(&options, &other, &err), &err);
	good(overlaid_mount_dir(snaps, "docker", &mine, &err), &err);
	good(overlaid_mount_dir(other, "docker", &theirs, &err), &err);
	overlaid_close(other);
	assert_int_equal(strncmp(mine, sandbox_path("run/docker/"),
				 strlen(sandbox_path("run/docker/"))),
			 0);
	assert_string_not_equal(mine, theirs);
	assert_false(exists("run/docker"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		snaps_test(an_active_one_is_writable_over_its_chain),
		snaps_test(what_is_committed_is_read_only),
		snaps_test(one_tree_is_bound),
		snaps_test(a_view_is_its_parent_read_only),
		snaps_test(what_is_mounted_is_busy),
		snaps_test(a_scratch_one_is_mounted_again),
		snaps_test(scratch_is_bound_where_there_is_no_parent),
		snaps_test(a_missing_target_is_made_to_be_passed),
		snaps_test(detaching_takes_off_all_and_removes_the_directory),
		snaps_test(a_parent_that_is_mounted_writable_is_used),
		snaps_test(many_layers_are_stacked),
		snaps_test(nothing_beneath_an_opaque_root_is_seen),
		snaps_test(layers_are_seen_by_the_maps),
		snaps_test(what_was_written_is_seen_as_it_is),
		snaps_test(two_maps_share_a_layer),
		snaps_test(half_a_map_is_refused),
		snaps_test(the_mapped_root_comes_to_what_is_beneath_run),
		snaps_test(paths_are_those_of_the_mount),
		snaps_test(a_layer_twice_is_one_lower),
		snaps_test(a_parent_is_settled_by_its_first_child),
		snaps_test(a_child_that_fails_leaves_its_parent_active),
		snaps_test(a_view_settles_too),
		snaps_test(a_settled_one_is_no_chain),
		snaps_test(settings_stay),
		snaps_test(mounts_of_two_stores_have_two_places),
	};

	return cmocka_run_group_tests_name("attach", tests, sandbox_enter, sandbox_leave);
}
