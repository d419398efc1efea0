/* SPDX-License-Identifier: Apache-2.0 */
#include "driver/apply.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>
#include <cmocka.h>

#include "driver/base/auto.h"
#include "driver/tree.h"
#include "tests/unit/sandbox.h"
#include "tests/unit/util.h"

#define BENEATH_MAX 3

/* A layer that is applied to "root", over the directories "0" (topmost), "1", ... */
struct bound {
	struct buf tar;
	struct apply_result result;
	struct err err;
	struct stack_layer layers[BENEATH_MAX];
	size_t count;
	bool lone;
};

static void open_beneath(struct bound *b, size_t count)
{
	char name[16];

	*b = (struct bound){ .count = count };
	for (size_t i = 0; i < count; i++) {
		(void)snprintf(name, sizeof(name), "%zu", i);
		put_dir(name);
		b->layers[i].fd = open_dir(name, O_RDONLY);
	}
}

static void bound_release(struct bound *b)
{
	buf_release(&b->tar);
	apply_result_release(&b->result);
	for (size_t i = 0; i < b->count; i++)
		(void)close(b->layers[i].fd);
}

#define auto_bound AUTO(bound_release)

static int apply_bound(struct bound *b)
{
	struct memory from = { buf_text(&b->tar), b->tar.len, 0, 0, 0 };
	auto_stack struct stack *parent = NULL;
	auto_close int root_fd = -EBADF;
	struct apply_options options = { .xattrs = OVERLAY_XATTRS_TRUSTED };

	put_dir("root");
	root_fd = open_dir("root", O_RDONLY);
	assert_int_equal(stack_new(b->layers, b->count, options.xattrs, &parent, NULL), 0);
	options.parent = parent;
	options.lone = b->lone;
	return apply(memory_read, &from, root_fd, &options, &b->result, &b->err);
}

static void assert_applies(struct bound *b)
{
	int r = apply_bound(b);

	if (r)
		fail_msg("%d: %s", r, b->err.text);
}

static void assert_refused(struct bound *b, int code, const char *words)
{
	assert_int_equal(apply_bound(b), code);
	assert_words(&b->err, words);
}

static void assert_implied(const struct bound *b, const char *const *paths)
{
	const char *at = buf_text(&b->result.implied), *end = at + b->result.implied.len;

	for (; *paths; paths++) {
		assert_true(at < end);
		assert_string_equal(at, *paths);
		at += strlen(at) + 1;
	}
	assert_ptr_equal(at, end);
}

#define implied_are(b, ...) assert_implied(b, (const char *const[]){ __VA_ARGS__, NULL })

static void assert_whiteout(const char *path)
{
	struct stat st = look(path);

	assert_true(whiteout_is(&st));
}

static void assert_opaque(const char *path)
{
	assert_xattr(path, "trusted.overlay.opaque", "y", 1);
}

/* Before anything reads it. */
static void assert_mtime(const char *path, int64_t sec, long ns)
{
	struct stat st = look(path);

	assert_int_equal(st.st_mtim.tv_sec, sec);
	assert_int_equal(st.st_mtim.tv_nsec, ns);
}

static void put_link(const char *path, const char *target)
{
	if (symlink(target, path) < 0)
		fail_msg("%s: %m", path);
}

/* What an implied one cannot be. */
static void put_special_dir(const char *path, uid_t uid, mode_t mode, time_t mtime)
{
	put_dir(path);
	assert_int_equal(chown(path, uid, uid + 1), 0);
	assert_int_equal(chmod(path, mode), 0);
	assert_int_equal(setxattr(path, "user.from", path, strlen(path), 0), 0);
	set_mtime(path, mtime, 5);
}

/* ---- symlinks beneath ---- */

static void entries_beyond_a_link_beneath_go_where_it_leads(void **state)
{
	auto_bound struct bound b;

	needs_root();
	open_beneath(&b, 2);
	put_file("1/usr/bin/sh", "");
	put_link("1/bin", "usr/bin");
	put_dir("0/opt");
	put_link("0/abs", "/opt/../opt/x");
	put_link("0/chain", "abs");
	put_dir("0/deep/er");
	put_link("0/deep/er/up", "../../usr");
	tar_put_file(&b.tar, "bin/tool", "t");
	tar_put_file(&b.tar, "abs/new/file", "f");
	tar_put_symlink(&b.tar, "chain/link", "x");
	tar_put_dir(&b.tar, "deep/er/up/bin/dir");
	tar_put_file(&b.tar, "deep/er/up/bin/dir/.wh..wh..opq", "");
	tar_put_file(&b.tar, "bin/.wh.sh", "");
	assert_applies(&b);
	assert_false(exists("root/bin"));
	assert_false(exists("root/abs"));
	assert_false(exists("root/chain"));
	assert_false(exists("root/deep/er/up"));
	assert_contents("root/usr/bin/tool", "t");
	assert_contents("root/opt/x/new/file", "f");
	assert_link("root/opt/x/link", "x");
	assert_opaque("root/usr/bin/dir");
	assert_whiteout("root/usr/bin/sh");
	implied_are(&b, "opt/x", "opt/x/new");
	assert_int_equal(b.result.bytes, 2);
	assert_int_equal(b.result.entries, 6);
}

static void links_beneath_that_the_layer_hides_are_not_followed(void **state)
{
	auto_bound struct bound b;

	needs_root();
	open_beneath(&b, 1);
	put_dir("0/usr");
	put_dir("0/opaque");
	put_link("0/dir", "/usr");
	put_link("0/white", "/usr");
	put_link("0/own", "/usr");
	put_link("0/opaque/in", "/usr");
	tar_put_dir(&b.tar, "dir");
	tar_put_file(&b.tar, "dir/x", "");
	tar_put_file(&b.tar, ".wh.white", "");
	tar_put_file(&b.tar, "white/x", "");
	tar_put_symlink(&b.tar, "own", "elsewhere");
	tar_put_file(&b.tar, "own/x", "");
	tar_put_file(&b.tar, "opaque/.wh..wh..opq", "");
	tar_put_file(&b.tar, "opaque/in/x", "");
	assert_applies(&b);
	assert_true(exists("root/dir/x") && exists("root/white/x") && exists("root/opaque/in/x"));
	assert_opaque("root/white");
	assert_true(exists("root/elsewhere/x"));
	assert_false(exists("root/usr"));
}

static void links_beneath_in_a_circle_are_refused(void **state)
{
	auto_bound struct bound b;

	needs_root();
	open_beneath(&b, 1);
	put_link("0/a", "b/x");
	put_link("0/b", "a/x");
	tar_put_file(&b.tar, "a/file", "");
	assert_refused(&b, -ELOOP, "a/file");
}

static void a_link_beneath_leads_nowhere_outside(void **state)
{
	auto_bound struct bound b;
	char outside[64];

	needs_root();
	open_beneath(&b, 1);
	put_file("outside", "well");
	(void)snprintf(outside, sizeof(outside), "/proc/self/fd/%d", b.layers[0].fd);
	put_link("0/out", sandbox_root());
	put_link("0/up", "../../../../../../../../..");
	put_link("0/self", outside);
	tar_put_file(&b.tar, "out/outside", "x");
	tar_put_file(&b.tar, "up/etc/x", "x");
	tar_put_file(&b.tar, "self/x", "x");
	assert_applies(&b);
	assert_contents("outside", "well");
	assert_contents("root/etc/x", "x");
	assert_false(exists("0/x"));
	assert_false(exists("/etc/x"));
}

static void a_file_beneath_is_hidden_by_a_directory(void **state)
{
	auto_bound struct bound b;

	needs_root();
	open_beneath(&b, 1);
	put_file("0/file", "");
	tar_put_file(&b.tar, "file/x", "x");
	assert_applies(&b);
	assert_contents("root/file/x", "x");
	implied_are(&b, "file");
}

/* ---- implied directories ---- */

static void implied_directories_are_what_they_are_beneath(void **state)
{
	static const char implied_in_0[] = "both";
	auto_bound struct bound b;
	struct stat st;

	needs_root();
	open_beneath(&b, 2);
	put_dir("0/both");
	put_special_dir("1/both/in", 7, 0700, 70);
	put_special_dir("1/both", 3, 02775, 33);
	put_opaque_dir("1/opaque", OVERLAY_XATTRS_TRUSTED);
	set_mtime("1/opaque", 44, 0);
	b.layers[0].implied = implied_in_0;
	b.layers[0].implied_bytes = sizeof(implied_in_0);
	tar_put_file(&b.tar, "both/in/x", "x");
	tar_put_file(&b.tar, "opaque/new/x", "x");
	assert_applies(&b);
	st = look("root/both");
	assert_int_equal(st.st_mode, S_IFDIR | 02775);
	assert_int_equal(st.st_uid, 3);
	assert_int_equal(st.st_gid, 4);
	assert_mtime("root/both", 33, 5);
	assert_xattr("root/both", "user.from", "1/both", 6);
	assert_int_equal(look("root/both/in").st_mode, S_IFDIR | 0700);
	assert_mtime("root/both/in", 70, 5);
	assert_mtime("root/opaque", 44, 0);
	assert_no_xattr("root/opaque", "trusted.overlay.opaque");
	implied_are(&b, "opaque/new");
	assert_true(b.result.root_implied);
}

static void what_the_layer_says_of_a_directory_counts(void **state)
{
	static const char *const names[] = { "entry", "white", "late", "opaque", "opaque/in" };
	auto_bound struct bound b;
	char path[32];

	needs_root();
	open_beneath(&b, 1);
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		(void)snprintf(path, sizeof(path), "0/%s", names[i]);
		put_special_dir(path, 3, 0700, 3);
	}
	set_mtime("0/opaque", 3, 5);
	tar_put_file(&b.tar, "entry/x", "x");
	tar_put_dir(&b.tar, "entry");
	tar_put_file(&b.tar, ".wh.white", "");
	tar_put_file(&b.tar, "white/x", "x");
	tar_put_file(&b.tar, "late/x", "x");
	tar_put_file(&b.tar, ".wh.late", "");
	tar_put_file(&b.tar, "opaque/in/x", "x");
	tar_put_file(&b.tar, "opaque/.wh..wh..opq", "");
	assert_applies(&b);
	assert_mtime("root/entry", USUAL_MTIME, 0);
	assert_no_xattr("root/entry", "user.from");
	/* Deleted and made anew. */
	assert_int_equal(look("root/white").st_mode, S_IFDIR | 0755);
	assert_no_xattr("root/white", "user.from");
	assert_int_equal(look("root/late").st_uid, 0);
	assert_opaque("root/late");
	/* Emptied, and so what was in it is another one. */
	assert_int_equal(look("root/opaque").st_mode, S_IFDIR | 0700);
	assert_mtime("root/opaque", 3, 5);
	assert_int_equal(look("root/opaque/in").st_mode, S_IFDIR | 0755);
	assert_mtime("root/opaque/in", 0, 0);
	assert_int_equal(b.result.implied.len, 0);
}

/* ---- hard links ---- */

static void a_hard_link_to_a_file_beneath_copies_it_up(void **state)
{
	static const unsigned char capability[20] = { 1, 0, 0, 2, 0, 0x20 };
	auto_bound struct bound b;
	struct stat st;

	needs_root();
	open_beneath(&b, 2);
	put_file("1/usr/bin/ping", "ping");
	assert_int_equal(chown("1/usr/bin/ping", 5, 6), 0);
	assert_int_equal(chmod("1/usr/bin/ping", 04755), 0);
	assert_int_equal(setxattr("1/usr/bin/ping", "security.capability", capability,
				  sizeof(capability), 0),
			 0);
	set_mtime("1/usr/bin/ping", 1234, 5678);
	put_special_dir("1/usr/bin", 9, 0711, 99);
	put_link("0/bin", "usr/bin");
	tar_put_hardlink(&b.tar, "first", "bin/ping");
	tar_put_hardlink(&b.tar, "second", "/usr/bin/../bin/ping");
	assert_applies(&b);
	st = look("root/usr/bin/ping");
	assert_int_equal(st.st_nlink, 3);
	assert_int_equal(st.st_mode, S_IFREG | 04755);
	assert_int_equal(st.st_uid, 5);
	assert_int_equal(st.st_gid, 6);
	assert_mtime("root/usr/bin/ping", 1234, 5678);
	assert_int_equal(look("root/first").st_ino, st.st_ino);
	assert_int_equal(look("root/second").st_ino, st.st_ino);
	assert_xattr("root/first", "security.capability", capability, sizeof(capability));
	assert_contents("root/first", "ping");
	assert_int_equal(look("root/usr/bin").st_mode, S_IFDIR | 0711);
	assert_mtime("root/usr/bin", 99, 5);
	assert_int_equal(look("1/usr/bin/ping").st_nlink, 1);
	assert_int_equal(b.result.bytes, 4);
	assert_int_equal(b.result.entries, 2);
}

static void a_hard_link_to_a_link_or_a_device_beneath_is_one(void **state)
{
	auto_bound struct bound b;

	needs_root();
	open_beneath(&b, 1);
	put_dir("0/d");
	put_link("0/d/sym", "no/where");
	assert_int_equal(lchown("0/d/sym", 3, 4), 0);
	set_mtime("0/d/sym", 77, 1);
	assert_int_equal(mknod("0/d/null", S_IFCHR, makedev(1, 3)), 0);
	assert_int_equal(chmod("0/d/null", 0666), 0);
	assert_int_equal(mkfifo("0/d/fifo", 0622), 0);
	tar_put_hardlink(&b.tar, "sym", "d/sym");
	tar_put_hardlink(&b.tar, "null", "d/null");
	tar_put_hardlink(&b.tar, "fifo", "d/fifo");
	assert_applies(&b);
	assert_link("root/sym", "no/where");
	assert_int_equal(look("root/sym").st_uid, 3);
	assert_mtime("root/sym", 77, 1);
	assert_int_equal(look("root/sym").st_ino, look("root/d/sym").st_ino);
	assert_int_equal(look("root/null").st_mode, S_IFCHR | 0666);
	assert_int_equal(look("root/null").st_rdev, makedev(1, 3));
	assert_int_equal(look("root/null").st_nlink, 2);
	assert_true(S_ISFIFO(look("root/fifo").st_mode));
	assert_int_equal(b.result.bytes, 0);
}

static void a_copy_keeps_its_holes(void **state)
{
	auto_close int fd = -EBADF;
	auto_bound struct bound b;
	char text[5] = "";

	needs_root();
	open_beneath(&b, 1);
	put_file("0/sparse", "head");
	fd = open("0/sparse", O_RDWR | O_CLOEXEC);
	assert_int_equal(pwrite(fd, "mid", 3, 8 << 20), 3);
	assert_int_equal(ftruncate(fd, 16 << 20), 0);
	tar_put_hardlink(&b.tar, "link", "sparse");
	assert_applies(&b);
	assert_int_equal(look("root/link").st_size, 16 << 20);
	assert_true(look("root/link").st_blocks < 1 << 10);
	(void)close(fd);
	fd = open("root/link", O_RDONLY | O_CLOEXEC);
	assert_int_equal(pread(fd, text, 4, 0), 4);
	assert_string_equal(text, "head");
	assert_int_equal(pread(fd, text, 3, 8 << 20), 3);
	assert_memory_equal(text, "mid", 3);
	assert_int_equal(b.result.bytes, 16 << 20);
}

static int copy_sparse(void *arg)
{
	const int *fds = arg;

	return tree_copy_leaf(fds[0], "sparse", fds[1], NULL);
}

static void copies_are_made_by_hand_where_the_kernel_does_not(void **state)
{
	static const char *const filter[] = { "copy_file_range" };
	auto_close int fd = -EBADF;
	char text[4] = "";
	int fds[2];

	put_file("from/sparse", "head");
	fd = open("from/sparse", O_RDWR | O_CLOEXEC);
	assert_int_equal(pwrite(fd, "end", 3, 1 << 20), 3);
	put_dir("to");
	fds[0] = open_dir("from", O_RDONLY);
	fds[1] = open_dir("to", O_RDONLY);
	assert_int_equal(under_deny(filter, 1, copy_sparse, fds), 0);
	(void)close(fds[0]);
	(void)close(fds[1]);
	(void)close(fd);
	fd = open("to/sparse", O_RDONLY | O_CLOEXEC);
	assert_int_equal(look("to/sparse").st_size, (1 << 20) + 3);
	assert_int_equal(pread(fd, text, 3, 1 << 20), 3);
	assert_string_equal(text, "end");
	assert_int_equal(pread(fd, text, 3, 0), 3);
	assert_string_equal(text, "hea");
}

/* As it would on the mounted filesystem: the link is made, then its source deleted. */
static void a_whiteout_takes_a_copy_away_but_not_an_entry(void **state)
{
	auto_bound struct bound b;

	needs_root();
	open_beneath(&b, 1);
	put_file("0/d/old", "text");
	put_file("0/d/own", "text");
	put_file("0/d/self", "text");
	tar_put_hardlink(&b.tar, "d/new", "d/old");
	tar_put_file(&b.tar, "d/.wh.old", "");
	tar_put_hardlink(&b.tar, "d/other", "d/own");
	tar_put_file(&b.tar, "d/own", "entry");
	tar_put_file(&b.tar, "d/.wh.own", "");
	tar_put_hardlink(&b.tar, "d/self", "d/self");
	tar_put_file(&b.tar, "d/.wh.self", "");
	assert_applies(&b);
	assert_whiteout("root/d/old");
	assert_contents("root/d/new", "text");
	assert_int_equal(look("root/d/new").st_nlink, 1);
	assert_contents("root/d/other", "text");
	assert_contents("root/d/own", "entry");
	assert_contents("root/d/self", "text");
	assert_int_equal(b.result.bytes, 4 + 4 + 5 + 4);
}

static void a_hard_link_to_nothing_beneath_is_refused(void **state)
{
	static const struct {
		const char *target;
		int code;
		const char *words;
	} cases[] = {
		{ "none", -ENOENT, "nor in those beneath it" },
		{ "d/none", -ENOENT, "nor in those beneath it" },
		{ "file/x", -ENOENT, "nor in those beneath it" },
		{ "white", -ENOENT, "nor in those beneath it" },
		{ "gone", -ENOENT, "nor in those beneath it" },
		{ "d", -EBADMSG, "a hard link to a directory" },
		{ "/", -EBADMSG, "a hard link to a directory" },
	};

	needs_root();
	put_dir("1/d");
	put_file("1/file", "");
	put_file("1/white", "");
	put_file("1/gone", "");
	put_whiteout("0/gone");
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		auto_bound struct bound b;

		open_beneath(&b, 2);
		tar_put_file(&b.tar, ".wh.white", "");
		tar_put_hardlink(&b.tar, "link", cases[i].target);
		assert_refused(&b, cases[i].code, cases[i].words);
		assert_int_equal(tree_remove_at(AT_FDCWD, "root", NULL), 0);
	}
}

/* More directories on both ways than are kept open. */
static void the_way_to_a_target_beneath_may_be_long(void **state)
{
	static const char deep[] = "1/2/3/4/5/6/7/8/9/10/11/12/13/14/15/16/17/18";
	char path[128], target[128];
	auto_bound struct bound b;

	needs_root();
	open_beneath(&b, 1);
	(void)snprintf(path, sizeof(path), "0/%s/file", deep);
	put_file(path, "deep");
	(void)snprintf(path, sizeof(path), "a/%s/link", deep);
	(void)snprintf(target, sizeof(target), "%s/file", deep);
	tar_put_hardlink(&b.tar, path, target);
	assert_applies(&b);
	(void)snprintf(path, sizeof(path), "root/a/%s/link", deep);
	assert_contents(path, "deep");
}

static void a_whiteout_further_up_takes_a_copy_away_with_its_way(void **state)
{
	auto_bound struct bound b;

	needs_root();
	open_beneath(&b, 1);
	put_file("0/gone/way/file", "beneath");
	put_file("0/kept/way/file", "beneath");
	tar_put_hardlink(&b.tar, "a", "gone/way/file");
	tar_put_file(&b.tar, ".wh.gone", "");
	tar_put_hardlink(&b.tar, "b", "kept/way/file");
	tar_put_file(&b.tar, "kept/ours", "ours");
	tar_put_file(&b.tar, ".wh.kept", "");
	assert_applies(&b);
	assert_contents("root/a", "beneath");
	assert_whiteout("root/gone");
	assert_opaque("root/kept");
	assert_contents("root/kept/ours", "ours");
	assert_false(exists("root/kept/way"));
}

static void an_opaque_marker_takes_copies_away(void **state)
{
	auto_bound struct bound b;

	needs_root();
	open_beneath(&b, 1);
	put_file("0/dir/file", "beneath");
	tar_put_hardlink(&b.tar, "dir/link", "dir/file");
	tar_put_file(&b.tar, "dir/.wh..wh..opq", "");
	assert_applies(&b);
	assert_opaque("root/dir");
	assert_contents("root/dir/link", "beneath");
	assert_false(exists("root/dir/file"));
}

static void a_copy_gives_way_to_a_directory_as_its_original_would(void **state)
{
	auto_bound struct bound b;

	needs_root();
	open_beneath(&b, 1);
	put_file("0/file", "beneath");
	tar_put_hardlink(&b.tar, "link", "file");
	tar_put_file(&b.tar, "file/x", "x");
	assert_applies(&b);
	assert_contents("root/link", "beneath");
	assert_contents("root/file/x", "x");
}

static void a_link_beneath_that_was_followed_can_be_replaced(void **state)
{
	auto_bound struct bound b;

	needs_root();
	open_beneath(&b, 1);
	put_link("0/lib", "usr/lib");
	tar_put_file(&b.tar, "lib/through", "x");
	tar_put_dir(&b.tar, "lib");
	tar_put_file(&b.tar, "lib/in", "x");
	assert_applies(&b);
	assert_contents("root/usr/lib/through", "x");
	assert_contents("root/lib/in", "x");
	assert_false(exists("root/usr/lib/in"));
}

static void over_no_layers_it_is_as_if_alone(void **state)
{
	auto_bound struct bound b;

	needs_root();
	open_beneath(&b, 0);
	tar_put_file(&b.tar, "a/b", "x");
	assert_applies(&b);
	assert_contents("root/a/b", "x");
	implied_are(&b, "a");
}

/* ---- layers that may stand alone ---- */

static void a_layer_that_needs_no_parent_is_as_it_would_be_alone(void **state)
{
	auto_bound struct bound b;

	needs_root();
	open_beneath(&b, 1);
	b.lone = true;
	put_special_dir("0/dir", 3, 0700, 3);
	put_file("0/file", "x");
	tar_put_file(&b.tar, "dir/in/x", "x");
	tar_put_hardlink(&b.tar, "dir/y", "dir/in/x");
	tar_put_file(&b.tar, "late/x", "x");
	tar_put_dir(&b.tar, "late");
	tar_put_file(&b.tar, ".wh.file", "");
	assert_applies(&b);
	assert_false(b.result.bound);
	assert_int_equal(look("root/dir").st_mode, S_IFDIR | 0755);
	assert_mtime("root/dir", 0, 0);
	/* Whether another chain has a symlink there can be asked later. */
	implied_are(&b, "/late", "dir", "dir/in");
}

static void a_layer_that_needs_its_parent_for_one_thing_has_it_for_all(void **state)
{
	auto_bound struct bound b;

	needs_root();
	open_beneath(&b, 1);
	b.lone = true;
	put_special_dir("0/dir", 3, 0700, 3);
	put_link("0/bin", "usr/bin");
	tar_put_file(&b.tar, "dir/x", "x");
	tar_put_file(&b.tar, "bin/tool", "t");
	assert_applies(&b);
	assert_true(b.result.bound);
	assert_contents("root/usr/bin/tool", "t");
	assert_int_equal(look("root/dir").st_mode, S_IFDIR | 0700);
	implied_are(&b, "usr", "usr/bin");
}

static void a_file_of_the_parent_binds_also_where_it_is_hidden_again(void **state)
{
	auto_bound struct bound b;

	needs_root();
	open_beneath(&b, 1);
	b.lone = true;
	put_file("0/file", "x");
	tar_put_hardlink(&b.tar, "link", "file");
	tar_put_file(&b.tar, ".wh.file", "");
	assert_applies(&b);
	assert_true(b.result.bound);
	assert_contents("root/link", "x");
	assert_whiteout("root/file");
}

static void metadata_of_the_parent_binds_where_it_is_taken(void **state)
{
	auto_bound struct bound b;

	needs_root();
	open_beneath(&b, 1);
	put_special_dir("0/dir", 3, 0700, 3);
	tar_put_file(&b.tar, "new/x", "x");
	assert_applies(&b);
	assert_false(b.result.bound);
	bound_release(&b);
	open_beneath(&b, 1);
	tar_put_file(&b.tar, "dir/x", "x");
	assert_applies(&b);
	assert_true(b.result.bound);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		sandbox_test(a_layer_that_needs_no_parent_is_as_it_would_be_alone),
		sandbox_test(a_layer_that_needs_its_parent_for_one_thing_has_it_for_all),
		sandbox_test(a_file_of_the_parent_binds_also_where_it_is_hidden_again),
		sandbox_test(metadata_of_the_parent_binds_where_it_is_taken),
		sandbox_test(entries_beyond_a_link_beneath_go_where_it_leads),
		sandbox_test(links_beneath_that_the_layer_hides_are_not_followed),
		sandbox_test(links_beneath_in_a_circle_are_refused),
		sandbox_test(a_link_beneath_leads_nowhere_outside),
		sandbox_test(a_file_beneath_is_hidden_by_a_directory),
		sandbox_test(implied_directories_are_what_they_are_beneath),
		sandbox_test(what_the_layer_says_of_a_directory_counts),
		sandbox_test(a_hard_link_to_a_file_beneath_copies_it_up),
		sandbox_test(a_hard_link_to_a_link_or_a_device_beneath_is_one),
		sandbox_test(a_copy_keeps_its_holes),
		sandbox_test(copies_are_made_by_hand_where_the_kernel_does_not),
		sandbox_test(a_whiteout_takes_a_copy_away_but_not_an_entry),
		sandbox_test(a_hard_link_to_nothing_beneath_is_refused),
		sandbox_test(the_way_to_a_target_beneath_may_be_long),
		sandbox_test(a_whiteout_further_up_takes_a_copy_away_with_its_way),
		sandbox_test(an_opaque_marker_takes_copies_away),
		sandbox_test(a_copy_gives_way_to_a_directory_as_its_original_would),
		sandbox_test(a_link_beneath_that_was_followed_can_be_replaced),
		sandbox_test(over_no_layers_it_is_as_if_alone),
	};

	return cmocka_run_group_tests(tests, sandbox_enter, sandbox_leave);
}
