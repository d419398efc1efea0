/* SPDX-License-Identifier: Apache-2.0 */
#include "driver/export.h"

#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <cmocka.h>

#include "driver/apply.h"
#include "driver/compare.h"
#include "tests/unit/churn.h"
#include "tests/unit/sandbox.h"
#include "tests/unit/util.h"

/* An export of the tree "root"; `meddle` is called once, with the first bytes that come out. */
struct run {
	struct export *export;
	struct buf tar;
	int root_fd;
	void (*meddle)(void);
	struct err err;
};

static int take(void *arg, const void *bytes, size_t len, struct err *err)
{
	struct run *run = arg;
	void (*meddle)(void) = run->meddle;

	run->meddle = NULL;
	if (meddle)
		meddle();
	return buf_append(&run->tar, bytes, len);
}

static void begin_at(struct run *run, int root_fd, const struct export_options *options)
{
	*run = (struct run){ .root_fd = root_fd, .tar = { .max = (size_t)1 << 30 } };
	assert_int_equal(export_new(run->root_fd, options, take, run, &run->export, &run->err), 0);
}

static void begin(struct run *run)
{
	put_dir("root");
	begin_at(run, open_dir("root", O_PATH), NULL);
}

static void change(struct run *run, enum change_kind kind, const char *path)
{
	if (export_change(run->export, kind, path) < 0)
		fail_msg("%s", run->err.text);
}

static void finish(struct run *run)
{
	if (export_end(run->export, &run->err) < 0)
		fail_msg("%s", run->err.text);
	export_freep(&run->export);
	(void)close(run->root_fd);
}

static void end_run(struct run *run)
{
	buf_release(&run->tar);
	export_freep(&run->export);
}
#define auto_run AUTO(end_run)

static void add_xattrs(const struct tar_entry *e, struct buf *to)
{
	for (size_t i = 0; i < e->xattr_count; i++)
		(void)buf_printf(to, " %s:%zu", e->xattrs[i].name, e->xattrs[i].len);
}

/* The tar is these lines: type, path, "-> link"; size of files; xattrs. */
static void expect(const struct run *run, const char *lines)
{
	static const char letters[] = {
		[TAR_FILE] = 'f', [TAR_DIR] = 'd',   [TAR_SYMLINK] = 'l', [TAR_HARDLINK] = 'h',
		[TAR_CHAR] = 'c', [TAR_BLOCK] = 'b', [TAR_FIFO] = 'p',
	};
	AUTO(tar_closep) struct tar *tar = NULL;
	struct memory from = { run->tar.data, run->tar.len, 0, 0, 0 };
	auto_buf struct buf text = { 0 };
	const struct tar_entry *e;
	struct err err = { 0 };
	int r;

	assert_int_equal(tar_open(memory_read, &from, NULL, &tar, &err), 0);
	while ((r = tar_next(tar, &e, &err)) == 1) {
		(void)buf_printf(&text, "%c %s", letters[e->type], e->path);
		if (e->link)
			(void)buf_printf(&text, " -> %s", e->link);
		if (e->type == TAR_FILE)
			(void)buf_printf(&text, " %lld", (long long)e->size);
		add_xattrs(e, &text);
		(void)buf_putc(&text, '\n');
	}
	if (r < 0)
		fail_msg("%s", err.text);
	assert_string_equal(buf_text(&text), lines);
}

/* Makes "out" of the tar. */
static void apply_to(const struct buf *tar, const char *out)
{
	const struct apply_options options = { .xattrs = OVERLAY_XATTRS_TRUSTED };
	struct memory from = { tar->data, tar->len, 0, 0, 0 };
	struct apply_result result = { 0 };
	auto_close int fd = -EBADF;
	struct err err = { 0 };

	put_dir(out);
	fd = open_dir(out, O_RDONLY);
	if (apply(memory_read, &from, fd, &options, &result, &err) < 0)
		fail_msg("%s", err.text);
	assert_int_equal(result.implied.len, 0);
	assert_int_equal(result.dropped_xattrs, 0);
	apply_result_release(&result);
}

/* ---- what stands in the tar ---- */

static void every_type_stands_in_the_tar(void **state)
{
	auto_run struct run run;

	needs_root();
	put_file("root/dir/file", "12345");
	assert_int_equal(symlink("/dir/file", "root/link"), 0);
	assert_int_equal(mkfifo("root/fifo", 0600), 0);
	assert_int_equal(mknod("root/char", S_IFCHR | 0600, makedev(1, 3)), 0);
	assert_int_equal(mknod("root/block", S_IFBLK | 0600, makedev(7, 0)), 0);
	assert_int_equal(mknod("root/socket", S_IFSOCK | 0600, 0), 0);
	begin(&run);
	change(&run, CHANGE_ADDED, "/block");
	change(&run, CHANGE_ADDED, "/char");
	change(&run, CHANGE_MODIFIED, "/dir");
	change(&run, CHANGE_DELETED, "/dir/gone");
	change(&run, CHANGE_ADDED, "/dir/file");
	change(&run, CHANGE_ADDED, "/fifo");
	change(&run, CHANGE_DELETED, "/gone");
	change(&run, CHANGE_MODIFIED, "/link");
	change(&run, CHANGE_ADDED, "/socket");
	change(&run, CHANGE_MODIFIED, "/socket"); /* it stands where something else stood */
	finish(&run);
	expect(&run, "b block\nc char\nd dir/\nf dir/.wh.gone 0\nf dir/file 5\np fifo\n"
		     "f .wh.gone 0\nl link -> /dir/file\nf .wh.socket 0\n");
}

static uint32_t minus_1000(void *arg, uint32_t id)
{
	return id - 1000 + *(uint32_t *)arg;
}

static uint32_t minus_2000(void *arg, uint32_t id)
{
	return id - 2000 + *(uint32_t *)arg;
}

/* Of the file but not of the whiteout. */
static void ids_are_mapped(void **state)
{
	uint32_t more = 5;
	const struct export_options options = { minus_1000, minus_2000, &more };
	AUTO(tar_closep) struct tar *tar = NULL;
	const struct tar_entry *e;
	struct memory from;
	auto_run struct run run;

	needs_root();
	put_file("root/file", "");
	assert_int_equal(chown("root/file", 1000, 2001), 0);
	assert_int_equal(chmod("root/file", 04751), 0);
	set_mtime("root/file", -3, 999999999);
	begin_at(&run, open_dir("root", O_PATH), &options);
	change(&run, CHANGE_ADDED, "/file");
	change(&run, CHANGE_DELETED, "/gone");
	finish(&run);
	from = (struct memory){ run.tar.data, run.tar.len, 0, 0, 0 };
	assert_int_equal(tar_open(memory_read, &from, NULL, &tar, NULL), 0);
	assert_int_equal(tar_next(tar, &e, NULL), 1);
	assert_int_equal(e->uid, 5);
	assert_int_equal(e->gid, 6);
	assert_int_equal(e->mode, 04751);
	assert_int_equal(e->mtime.tv_sec, -3);
	assert_int_equal(e->mtime.tv_nsec, 0);
	assert_int_equal(tar_next(tar, &e, NULL), 1);
	assert_string_equal(e->path, ".wh.gone");
	assert_int_equal(e->uid, 0);
	assert_int_equal(e->gid, 0);
	assert_int_equal(e->mode, 0600);
	assert_int_equal(e->mtime.tv_sec, 0);
}

static void names_of_one_inode_are_hard_links(void **state)
{
	auto_run struct run run;

	needs_root();
	put_file("root/a/first", "123");
	assert_int_equal(link("root/a/first", "root/a/second"), 0);
	assert_int_equal(link("root/a/first", "root/b"), 0);
	assert_int_equal(link("root/a/first", "root/not-told"), 0);
	assert_int_equal(symlink("x", "root/s1"), 0);
	assert_int_equal(linkat(AT_FDCWD, "root/s1", AT_FDCWD, "root/s2", 0), 0);
	assert_int_equal(mkfifo("root/p1", 0600), 0);
	assert_int_equal(link("root/p1", "root/p2"), 0);
	assert_int_equal(mknod("root/u1", S_IFSOCK | 0600, 0), 0);
	assert_int_equal(link("root/u1", "root/u2"), 0);
	begin(&run);
	change(&run, CHANGE_MODIFIED, "/a");
	change(&run, CHANGE_ADDED, "/a/first");
	change(&run, CHANGE_ADDED, "/a/second");
	change(&run, CHANGE_ADDED, "/b");
	change(&run, CHANGE_ADDED, "/p1");
	change(&run, CHANGE_ADDED, "/p2");
	change(&run, CHANGE_ADDED, "/s1");
	change(&run, CHANGE_ADDED, "/s2");
	change(&run, CHANGE_ADDED, "/u1");
	change(&run, CHANGE_ADDED, "/u2");
	finish(&run);
	expect(&run, "d a/\nf a/first 3\nh a/second -> a/first\nh b -> a/first\n"
		     "p p1\nh p2 -> p1\nl s1 -> x\nh s2 -> s1\n");
	apply_to(&run.tar, "out");
	assert_int_equal(look("out/a/first").st_nlink, 3);
	assert_int_equal(look("out/s1").st_nlink, 2);
	assert_int_equal(look("out/p1").st_nlink, 2);
}

/* Overlayfs makes all whiteouts links to one. */
static void whiteouts_are_no_hard_links(void **state)
{
	auto_run struct run run;

	needs_root();
	put_whiteout("root/a");
	put_dir("root/dir");
	assert_int_equal(link("root/a", "root/b"), 0);
	assert_int_equal(link("root/a", "root/dir/c"), 0);
	begin(&run);
	change(&run, CHANGE_DELETED, "/a");
	change(&run, CHANGE_MODIFIED, "/b"); /* deleted since it was looked at */
	change(&run, CHANGE_ADDED, "/dir/c");
	finish(&run);
	expect(&run, "f .wh.a 0\nf .wh.b 0\n");
}

static void set_xattr(const char *path, const char *name, const char *value)
{
	if (setxattr(path, name, value, strlen(value), 0) < 0)
		fail_msg("%s: %s", name, strerror(errno));
}

static void only_xattrs_for_layers_go_along(void **state)
{
	static const unsigned char capability[20] = { 1, 0, 0, 2, 1 };
	static const char *const paths[] = { "root/dir", "root/file" };
	auto_run struct run run;

	needs_root();
	put_dir("root/dir");
	put_file("root/file", "");
	for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
		set_xattr(paths[i], "user.z", "");
		set_xattr(paths[i], "user.a", "12");
		set_xattr(paths[i], "user.b=c", "12");
		set_xattr(paths[i], "user.overlay.opaque", "y");
		set_xattr(paths[i], "trusted.overlay.origin", "");
		set_xattr(paths[i], "trusted.any", "1");
		assert_int_equal(setxattr(paths[i], "security.capability", capability,
					  sizeof(capability), 0),
				 0);
	}
	begin(&run);
	change(&run, CHANGE_MODIFIED, "/dir");
	change(&run, CHANGE_MODIFIED, "/file");
	finish(&run);
	expect(&run, "d dir/ security.capability:20 user.a:2 user.z:0\n"
		     "f file 0 security.capability:20 user.a:2 user.z:0\n");
	apply_to(&run.tar, "out");
	assert_xattr("out/file", "security.capability", capability, sizeof(capability));
	assert_xattr("out/dir", "user.a", "12", 2);
	assert_no_xattr("out/dir", "user.overlay.opaque");
}

/* capabilities(7): version 3 has the root that it is for behind it. */
static void a_capability_forgets_its_root(void **state)
{
	static const unsigned char of_a_root[24] = { 1, 0, 0, 3, 1, 0, 0, 0, 0, 0, 0, 0,
						     0, 0, 0, 0, 0, 0, 0, 0, 7, 0, 1, 0 };
	static const unsigned char of_any[20] = { 1, 0, 0, 2, 1 };
	auto_run struct run run;

	needs_root();
	put_file("root/file", "");
	assert_int_equal(setxattr("root/file", "security.capability", of_a_root, sizeof(of_a_root),
				  0),
			 0);
	begin(&run);
	change(&run, CHANGE_ADDED, "/file");
	finish(&run);
	expect(&run, "f file 0 security.capability:20\n");
	apply_to(&run.tar, "out");
	assert_xattr("out/file", "security.capability", of_any, sizeof(of_any));
}

static void names_that_a_layer_means_otherwise_are_left_out(void **state)
{
	auto_run struct run run;

	put_file("root/.wh.etc", "");
	put_file("root/.wh..wh..opq", "");
	put_file("root/.wh.dir/in", "");
	put_file("root/x.wh.y", "");
	begin(&run);
	change(&run, CHANGE_ADDED, "/.wh..wh..opq");
	change(&run, CHANGE_ADDED, "/.wh.dir");
	change(&run, CHANGE_ADDED, "/.wh.dir/in");
	change(&run, CHANGE_ADDED, "/.wh.etc");
	change(&run, CHANGE_DELETED, "/.wh.gone");
	change(&run, CHANGE_ADDED, "/x.wh.y");
	finish(&run);
	expect(&run, "f x.wh.y 0\n");
}

/* ---- while it changes ---- */

#define LARGE (3 << 20)

static void put_large(const char *path)
{
	auto_free char *text = malloc(LARGE + 1);

	memset(text, 'x', LARGE);
	text[LARGE] = 0;
	put_file(path, text);
}

static void shrink(void)
{
	assert_int_equal(truncate("root/large", (1 << 20) + 5), 0);
}

static void grow(void)
{
	assert_int_equal(truncate("root/large", LARGE + 4096), 0);
}

static void unlink_it(void)
{
	assert_int_equal(unlink("root/large"), 0);
}

/* The file is touched after its first MiB was read, and "after" follows it. `kept` bytes are its own. */
static void export_meddled(void (*meddle)(void), size_t kept)
{
	auto_run struct run run;
	const char *data;

	put_large("root/large");
	put_file("root/after", "12");
	begin(&run);
	run.meddle = meddle;
	change(&run, CHANGE_ADDED, "/large");
	change(&run, CHANGE_ADDED, "/after");
	finish(&run);
	assert_null(run.meddle);
	data = run.tar.data + TAR_BLOCK_BYTES;
	for (size_t i = 0; i < LARGE; i++)
		if (data[i] != (i < kept ? 'x' : 0))
			fail_msg("byte %zu is %d", i, data[i]);
	expect(&run, "f large 3145728\nf after 2\n");
}

static void a_file_that_shrinks_is_filled(void **state)
{
	export_meddled(shrink, (1 << 20) + 5);
}

static void a_file_that_grows_is_cut(void **state)
{
	export_meddled(grow, LARGE);
}

static void a_file_that_is_unlinked_is_whole(void **state)
{
	export_meddled(unlink_it, LARGE);
}

static void what_is_gone_is_left_out(void **state)
{
	auto_run struct run run;

	put_file("root/a/b/file", "");
	put_file("outside/file", "");
	put_file("root/c/file", "");
	put_file("root/file", "");
	begin(&run);
	change(&run, CHANGE_ADDED, "/missing");
	change(&run, CHANGE_ADDED, "/missing/in");
	change(&run, CHANGE_ADDED, "/a");
	change(&run, CHANGE_ADDED, "/a/b");
	assert_int_equal(rename("root/a/b", "root/a/away"), 0);
	assert_int_equal(symlink("../../outside", "root/a/b"), 0);
	change(&run, CHANGE_ADDED, "/a/b/file");
	change(&run, CHANGE_ADDED, "/file/in");
	change(&run, CHANGE_ADDED, "/c/file");
	finish(&run);
	expect(&run, "d a/\nd a/b/\nf c/file 0\n");
}

/* What was looked up last is of use where it leads to what is next, and nowhere else. Each file has
 * another size. */
static void directories_are_found_in_any_order(void **state)
{
	static const char *const paths[] = { "/a/f",	   "/abc/f",   "/xyz/f",  "/a/b/f",
					     "/a/b/c/d/f", "/f",       "/ab/c/f", "/a/c/f",
					     "/a/z/f",	   "/a/b/c/f", "/a/bc/f" };
	static const char order[] = "011034053460123456789:543:70926178";
	auto_buf struct buf lines = { 0 };
	auto_run struct run run;

	for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
		char path[32];

		(void)snprintf(path, sizeof(path), "root%s", paths[i]);
		put_file(path, "1234567890." + i);
	}
	begin(&run);
	for (const char *at = order; *at; at++) {
		const char *path = paths[*at - '0'];

		change(&run, CHANGE_ADDED, path);
		(void)buf_printf(&lines, "f %s %d\n", path + 1, 11 - (*at - '0'));
	}
	finish(&run);
	expect(&run, buf_text(&lines));
}

/* Nor in the directories that lead to it, with or without openat2(2). */
static int export_through_symlink(void *arg)
{
	struct run *run = arg;

	return export_change(run->export, CHANGE_ADDED, "/dir/link/in/file");
}

static void symlinks_are_not_followed(void **state)
{
	static const char *const old_kernel[] = { "openat2" };
	auto_run struct run run;

	put_file("root/real/in/file", "");
	put_dir("root/dir");
	assert_int_equal(symlink("../real", "root/dir/link"), 0);
	begin(&run);
	assert_int_equal(export_through_symlink(&run), 0);
	change(&run, CHANGE_ADDED, "/dir/link");
	assert_int_equal(export_through_symlink(&run), 0);
	assert_int_equal(under_deny(old_kernel, 1, export_through_symlink, &run), 0);
	finish(&run);
	expect(&run, "l dir/link -> ../real\n");
}

/* ---- limits ---- */

static int export_all(void *arg)
{
	struct run *run = arg;

	return compare_walk(run->root_fd, -EBADF, export_change, run->export, &run->err);
}

static void deep_trees_need_few_descriptors(void **state)
{
	static const char *const old_kernel[] = { "openat2" };
	auto_close int fd = -EBADF;
	struct rlimit before, few;
	auto_run struct run run;
	int r;

	put_dir("root");
	fd = open_dir("root", O_PATH);
	for (int i = 0; i < CHANGES_DEPTH_MAX; i++) {
		auto_close int parent = fd;

		assert_int_equal(mkdirat(parent, "d", 0755), 0);
		assert_int_equal(symlinkat("x", parent, "e"), 0);
		fd = openat(parent, "d", O_PATH | O_CLOEXEC);
	}
	begin(&run);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	few = (struct rlimit){ 32, before.rlim_max };
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
	r = export_all(&run);
	if (r == 0)
		r = under_deny(old_kernel, 1, export_all, &run);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	if (r < 0)
		fail_msg("%s", run.err.text);
	finish(&run);
	apply_to(&run.tar, "out");
	assert_true(exists("out/d/d/d/d/d/d/d/d/e"));
}

static void the_longest_names_are_exported(void **state)
{
	char name[257], *last = name + 1;
	auto_run struct run run;
	struct stat st;

	needs_root();
	memset(name, 'n', 256);
	name[0] = '/';
	name[256] = 0;
	put_dir("root");
	assert_int_equal(chdir("root"), 0);
	for (int i = 0; i < 15; i++) {
		assert_int_equal(mkdir(last, 0755), 0);
		assert_int_equal(chdir(last), 0);
	}
	put_file(last + 1, "");
	assert_int_equal(chdir(sandbox_root()), 0);
	begin(&run);
	assert_int_equal(export_all(&run), 0);
	last[0] = 'z';
	change(&run, CHANGE_DELETED, name);
	finish(&run);
	apply_to(&run.tar, "out");
	assert_int_equal(chdir("out"), 0);
	st = look(last);
	assert_true(whiteout_is(&st));
}

static int refuse(void *arg, const void *bytes, size_t len, struct err *err)
{
	return (fail)(err, -EPIPE, "nobody reads any more");
}

static void a_sinks_failure_ends_the_walk(void **state)
{
	auto_close int root_fd = -EBADF;
	auto_export struct export *export = NULL;
	struct err err = { 0 };

	put_large("root/large");
	put_file("root/zz", "");
	root_fd = open_dir("root", O_PATH);
	assert_int_equal(export_new(root_fd, NULL, refuse, NULL, &export, &err), 0);
	assert_int_equal(compare_walk(root_fd, -EBADF, export_change, export, &err), -EPIPE);
	assert_string_equal(err.text, "/large: nobody reads any more");
	assert_int_equal(export_end(export, &err), -EPIPE);
}

/* ---- there and back ---- */

struct way {
	const char *name;
	unsigned int without; /* what it does not see */
	int (*walk)(struct run *run, const struct churn *c, int old_fd);
	bool from_mount;
};

static int walk_upper_by(struct run *run, const struct churn *c, enum changes_rules rules)
{
	int lower_fds[CHURN_LAYERS_MAX];
	int r;

	churn_open_lowers(c, lower_fds);
	r = changes_walk(run->root_fd, lower_fds, c->lowers, OVERLAY_XATTRS_TRUSTED, rules,
			 export_change, run->export, &run->err);
	for (size_t i = 0; i < c->lowers; i++)
		(void)close(lower_fds[i]);
	return r;
}

static int walk_upper(struct run *run, const struct churn *c, int old_fd)
{
	return walk_upper_by(run, c, CHANGES_OF_UPPER);
}

static int walk_compared(struct run *run, const struct churn *c, int old_fd)
{
	return walk_upper_by(run, c, CHANGES_COMPARED);
}

static int walk_mounts(struct run *run, const struct churn *c, int old_fd)
{
	return compare_walk(run->root_fd, old_fd, export_change, run->export, &run->err);
}

static const struct way ways[] = {
	{ "the upper", CHURN_DIR_XATTRS, walk_upper, false },
	{ "the upper, compared", CHURN_USER_XATTRS | CHURN_LINKS, walk_compared, false },
	{ "the two mounts", CHURN_USER_XATTRS | CHURN_LINKS, walk_mounts, true },
};

static void assert_same_text(const char *what, uint64_t seed, const struct buf *a,
			     const struct buf *b)
{
	if (strcmp(buf_text(a), buf_text(b)) != 0)
		fail_msg("seed %llu, %s:\n%s\nbut:\n%s", (unsigned long long)seed, what,
			 buf_text(a), buf_text(b));
}

/* Exports, applies what came out, and mounts that in the upper's place. */
static void there_and_back(const struct churn *c, uint64_t seed, const struct way *way)
{
	auto_buf struct buf before = { 0 }, after = { 0 };
	int new_fd, old_fd;
	auto_run struct run run;
	char out[16];

	(void)snprintf(out, sizeof(out), "s/out%zu", (size_t)(way - ways));
	churn_mount(c, NULL, &new_fd, &old_fd);
	churn_list("s/new", way->without, &before);
	begin_at(&run, way->from_mount ? dup(new_fd) : open_dir("s/0", O_PATH), NULL);
	if (way->walk(&run, c, old_fd) < 0)
		fail_msg("seed %llu, %s: %s", (unsigned long long)seed, way->name, run.err.text);
	finish(&run);
	(void)close(new_fd);
	(void)close(old_fd);
	churn_unmount();
	apply_to(&run.tar, out);
	churn_mount(c, out, &new_fd, &old_fd);
	churn_list("s/new", way->without, &after);
	(void)close(new_fd);
	(void)close(old_fd);
	churn_unmount();
	assert_same_text(way->name, seed, &before, &after);
}

/* All in one layer. */
static void squash(const struct churn *c, uint64_t seed)
{
	auto_buf struct buf before = { 0 }, after = { 0 };
	int new_fd, old_fd;
	auto_run struct run run;

	churn_mount(c, NULL, &new_fd, &old_fd);
	churn_list("s/new", CHURN_LINKS, &before);
	begin_at(&run, new_fd, NULL);
	assert_int_equal(export_all(&run), 0);
	finish(&run);
	(void)close(old_fd);
	churn_unmount();
	apply_to(&run.tar, "s/squashed");
	churn_list("s/squashed", CHURN_LINKS, &after);
	assert_same_text("squashed", seed, &before, &after);
}

#define ROUNDS	   15
#define OPERATIONS 120

static void random_trees_come_back_as_they_were(void **state)
{
	struct churn c = { 0 };

	needs_root();
	for (uint64_t seed = 1; seed <= ROUNDS; seed++) {
		c.state = seed * 0x9e3779b97f4a7c15u;
		churn_stack(&c, OPERATIONS);
		for (size_t i = 0; i < ARRAY_LEN(ways); i++)
			there_and_back(&c, seed, &ways[i]);
		squash(&c, seed);
	}
	print_message("%zu operations\n", c.done);
	assert_true(c.done > 1000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		sandbox_test(every_type_stands_in_the_tar),
		sandbox_test(ids_are_mapped),
		sandbox_test(names_of_one_inode_are_hard_links),
		sandbox_test(whiteouts_are_no_hard_links),
		sandbox_test(only_xattrs_for_layers_go_along),
		sandbox_test(a_capability_forgets_its_root),
		sandbox_test(names_that_a_layer_means_otherwise_are_left_out),
		sandbox_test(a_file_that_shrinks_is_filled),
		sandbox_test(a_file_that_grows_is_cut),
		sandbox_test(a_file_that_is_unlinked_is_whole),
		sandbox_test(what_is_gone_is_left_out),
		sandbox_test(directories_are_found_in_any_order),
		sandbox_test(symlinks_are_not_followed),
		sandbox_test(deep_trees_need_few_descriptors),
		sandbox_test(the_longest_names_are_exported),
		sandbox_test(a_sinks_failure_ends_the_walk),
		sandbox_test(random_trees_come_back_as_they_were),
	};

	return cmocka_run_group_tests_name("export", tests, sandbox_enter, sandbox_leave);
}
