/* SPDX-License-Identifier: Apache-2.0 */
#include "driver/compare.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <cmocka.h>

#include "driver/base/auto.h"
#include "driver/base/buf.h"
#include "driver/mount.h"
#include "tests/unit/churn.h"
#include "tests/unit/sandbox.h"

static const char
	letters[] = { [CHANGE_MODIFIED] = 'C', [CHANGE_ADDED] = 'A', [CHANGE_DELETED] = 'D' };

static int note(void *arg, enum change_kind kind, const char *path)
{
	return buf_printf(arg, "%c %s\n", letters[kind], path);
}

/* "new" against "old" says these lines. */
static void expect(const char *lines)
{
	auto_buf struct buf text = { 0 };
	auto_close int new_fd = -EBADF, old_fd = -EBADF;
	struct err err = { 0 };

	put_dir("new");
	put_dir("old");
	new_fd = open_dir("new", O_PATH);
	old_fd = open_dir("old", O_PATH);
	if (compare_walk(new_fd, old_fd, note, &text, &err) < 0)
		fail_msg("%s", err.text);
	assert_string_equal(buf_text(&text), lines);
}

static void put_both(const char *name, const char *contents)
{
	char path[64];

	(void)snprintf(path, sizeof(path), "old/%s", name);
	put_file(path, contents);
	set_mtime(path, 1700000000, 77);
	(void)snprintf(path, sizeof(path), "new/%s", name);
	put_file(path, contents);
	set_mtime(path, 1700000000, 77);
}

static void equal_trees_have_no_changes(void **state)
{
	put_both("a", "same");
	put_both("dir/b", "same");
	set_mtime("new/dir", 1, 1);
	expect("");
}

static void what_differs_is_told_in_order(void **state)
{
	put_both("dir/same", "");
	put_both("dir/size", "");
	put_file("new/dir/size", "longer");
	set_mtime("new/dir/size", 1700000000, 77);
	put_both("time", "");
	set_mtime("new/time", 1700000001, 77);
	put_both("z/same", "");
	put_file("new/dir.new", "");
	put_file("new/made/in", "");
	put_file("old/gone/a/b", "");
	put_file("old/dir/gone", "");
	expect("C /dir\nD /dir/gone\nC /dir/size\nA /dir.new\nD /gone\nA /made\nA /made/in\nC /time\n");
}

static void without_an_old_tree_all_is_added(void **state)
{
	auto_buf struct buf text = { 0 };
	auto_close int fd = -EBADF;

	put_file("new/a/b", "");
	fd = open_dir("new", O_PATH);
	assert_int_equal(compare_walk(fd, -EBADF, note, &text, NULL), 0);
	assert_string_equal(buf_text(&text), "A /a\nA /a/b\n");
}

static void a_change_of_type_hides_what_was_there(void **state)
{
	put_file("old/to-file/a", "");
	put_file("new/to-file", "");
	put_file("old/to-dir", "");
	put_file("new/to-dir/a", "");
	expect("C /to-dir\nA /to-dir/a\nC /to-file\n");
}

static void marks_of_overlayfs_are_not_looked_for(void **state)
{
	needs_root();
	put_both("dir/a", "");
	put_opaque_dir("new/dir", OVERLAY_XATTRS_TRUSTED);
	put_whiteout("new/dir/never");
	expect("");
}

/* overlayfs lists a whiteout in a directory that only one layer has, where that is not marked. */
static void names_that_cannot_be_looked_up_are_not_there(void **state)
{
	auto_overlay_plan struct overlay_plan plan = OVERLAY_PLAN_INIT;
	struct err err = { 0 };

	needs_root();
	put_opaque_dir("layer/dir", OVERLAY_XATTRS_TRUSTED);
	put_whiteout("layer/dir/gone");
	put_whiteout("layer/dir/never");
	put_file("layer/dir/new", "");
	put_file("old/dir/gone", "");
	add_lower(&plan, "layer");
	add_lower(&plan, "pad");
	put_dir("new");
	if (mount_overlay(&plan, sandbox_path("new"), NULL, &err) < 0)
		fail_msg("%s", err.text);
	expect("C /dir\nD /dir/gone\nA /dir/new\n");
}

/* ---- limits ---- */

static void put_deep(const char *root, int depth)
{
	auto_close int fd = -EBADF;

	put_dir(root);
	fd = open_dir(root, O_PATH);
	for (int i = 0; i < depth; i++) {
		auto_close int parent = fd;

		assert_int_equal(mkdirat(parent, "d", 0755), 0);
		fd = openat(parent, "d", O_PATH | O_CLOEXEC);
	}
	assert_int_equal(mkdirat(fd, depth % 2 ? "odd" : "even", 0755), 0);
}

static void deep_trees_need_few_descriptors(void **state)
{
	struct rlimit before, few;
	auto_buf struct buf text = { 0 };
	auto_close int new_fd = -EBADF, old_fd = -EBADF;
	int r;

	put_deep("new", CHANGES_DEPTH_MAX - 1);
	put_deep("old", CHANGES_DEPTH_MAX - 2);
	new_fd = open_dir("new", O_PATH);
	old_fd = open_dir("old", O_PATH);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	few = (struct rlimit){ 32, before.rlim_max };
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
	r = compare_walk(new_fd, old_fd, note, &text, NULL);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	assert_int_equal(r, 0);
	assert_true(text.len > 1000000);
	assert_non_null(strstr(buf_text(&text), "/d/d/odd\n"));
	assert_non_null(strstr(buf_text(&text), "/d/d/even\n"));
}

static void deeper_trees_are_refused(void **state)
{
	auto_close int fd = -EBADF;
	auto_buf struct buf text = { 0 };

	put_deep("new", CHANGES_DEPTH_MAX);
	fd = open_dir("new", O_PATH);
	assert_int_equal(compare_walk(fd, -EBADF, note, &text, NULL), -ELOOP);
}

/* ---- while it changes ---- */

/* The walk has read the directory, and is told of its first change. */
static int remove_the_rest(void *arg, enum change_kind kind, const char *path)
{
	(void)note(arg, kind, path);
	if (!strcmp(path, "/a")) {
		assert_int_equal(rename("new/b", "away"), 0);
		assert_int_equal(rename("new/c", "new/c2"), 0);
		assert_int_equal(symlink("/etc", "new/c"), 0);
	}
	return 0;
}

static void directories_that_go_meanwhile_hold_nothing(void **state)
{
	auto_close int new_fd = -EBADF;
	auto_buf struct buf text = { 0 };

	put_file("new/a", "");
	put_file("new/b/in", "");
	put_file("new/c/in", "");
	put_file("new/d/in", "");
	new_fd = open_dir("new", O_PATH);
	assert_int_equal(compare_walk(new_fd, -EBADF, remove_the_rest, &text, NULL), 0);
	assert_string_equal(buf_text(&text), "A /a\nA /b\nA /c\nA /d\nA /d/in\n");
}

/* ---- against a plain model, and against the walk over an upper ---- */

/* Two directories, and the same path in both. */
struct model {
	const char *path;
	char new_path[PATH_MAX], old_path[PATH_MAX];
};

static bool capabilities_differ(const struct model *m)
{
	char a[64], b[64];
	ssize_t a_len = lgetxattr(m->new_path, "security.capability", a, sizeof(a));
	ssize_t b_len = lgetxattr(m->old_path, "security.capability", b, sizeof(b));

	return a_len != b_len || (a_len > 0 && memcmp(a, b, (size_t)a_len) != 0);
}

static bool differ(const struct model *m, const struct stat *a, const struct stat *b)
{
	bool times = a->st_mtim.tv_sec != b->st_mtim.tv_sec ||
		     (a->st_mtim.tv_nsec && b->st_mtim.tv_nsec &&
		      a->st_mtim.tv_nsec != b->st_mtim.tv_nsec);

	return a->st_mode != b->st_mode || a->st_uid != b->st_uid || a->st_gid != b->st_gid ||
	       a->st_rdev != b->st_rdev || capabilities_differ(m) ||
	       (!S_ISDIR(a->st_mode) && (times || a->st_size != b->st_size));
}

static int real_name(const struct dirent *entry)
{
	return strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
}

static int by_bytes(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

static void model_dir(const char *path, const bool in[2], struct buf *to);

static void model_name(const char *path, bool in_new, bool in_old, struct buf *to)
{
	struct model m = { .path = path };
	auto_buf struct buf below = { 0 };
	struct stat a, b;
	bool is_new, is_old;
	char kind = 0;

	(void)snprintf(m.new_path, sizeof(m.new_path), "s/new%s", path);
	(void)snprintf(m.old_path, sizeof(m.old_path), "s/old%s", path);
	is_new = in_new && lstat(m.new_path, &a) == 0;
	is_old = in_old && lstat(m.old_path, &b) == 0;
	if (is_new && S_ISDIR(a.st_mode))
		model_dir(path, (bool[2]){ true, is_old && S_ISDIR(b.st_mode) }, &below);
	if (is_new && is_old)
		kind = differ(&m, &a, &b) || below.len ? 'C' : 0;
	else
		kind = is_new ? 'A' : is_old ? 'D' : 0;
	if (kind)
		(void)buf_printf(to, "%c %s\n", kind, path);
	(void)buf_append(to, buf_text(&below), below.len);
}

/* Names of a directory that is in these of the two trees. */
static void model_dir(const char *path, const bool in[2], struct buf *to)
{
	static const char *const roots[] = { "s/new", "s/old" };
	char dir[PATH_MAX], child[PATH_MAX];
	struct dirent **names[2] = { NULL, NULL };
	int counts[2], at[2] = { 0, 0 };

	for (int i = 0; i < 2; i++) {
		(void)snprintf(dir, sizeof(dir), "%s%s", roots[i], path);
		counts[i] = in[i] ? scandir(dir, &names[i], real_name, by_bytes) : 0;
		assert_true(counts[i] >= 0);
	}
	while (at[0] < counts[0] || at[1] < counts[1]) {
		const char *a = at[0] < counts[0] ? names[0][at[0]]->d_name : NULL;
		const char *b = at[1] < counts[1] ? names[1][at[1]]->d_name : NULL;
		int order = !a ? 1 : !b ? -1 : strcmp(a, b);

		(void)snprintf(child, sizeof(child), "%s/%s", path, order <= 0 ? a : b);
		model_name(child, order <= 0, order >= 0, to);
		if (order <= 0)
			free(names[0][at[0]++]);
		if (order >= 0)
			free(names[1][at[1]++]);
	}
	free(names[0]);
	free(names[1]);
}

static void assert_same_text(const char *what, uint64_t seed, const struct buf *a,
			     const struct buf *b)
{
	if (strcmp(buf_text(a), buf_text(b)) != 0)
		fail_msg("seed %llu, %s:\n%s\nbut:\n%s", (unsigned long long)seed, what,
			 buf_text(a), buf_text(b));
}

static void compare_ways(struct churn *c, uint64_t seed)
{
	auto_buf struct buf compared = { 0 }, walked = { 0 }, model = { 0 };
	int lower_fds[CHURN_LAYERS_MAX];
	auto_close int new_fd = -EBADF, old_fd = -EBADF, upper_fd = open_dir("s/0", O_PATH);
	struct err err = { 0 };
	int r;

	churn_open_lowers(c, lower_fds);
	churn_mount(c, NULL, &new_fd, &old_fd);
	r = compare_walk(new_fd, old_fd, note, &compared, &err);
	if (r == 0)
		r = changes_walk(upper_fd, lower_fds, c->lowers, OVERLAY_XATTRS_TRUSTED,
				 CHANGES_COMPARED, note, &walked, &err);
	model_dir("", (bool[2]){ true, true }, &model);
	churn_unmount();
	for (size_t i = 0; i < c->lowers; i++)
		(void)close(lower_fds[i]);
	if (r < 0)
		fail_msg("seed %llu: %s", (unsigned long long)seed, err.text);
	assert_same_text("the model and the two mounts", seed, &model, &compared);
	assert_same_text("the two mounts and the upper", seed, &compared, &walked);
}

#define ROUNDS	   40
#define OPERATIONS 150

static void random_trees_are_the_same_by_each_way(void **state)
{
	struct churn c = { 0 };

	needs_root();
	for (uint64_t seed = 1; seed <= ROUNDS; seed++) {
		c.state = seed * 0x9e3779b97f4a7c15u;
		churn_stack(&c, OPERATIONS);
		compare_ways(&c, seed);
	}
	print_message("%zu operations\n", c.done);
	assert_true(c.done > 4000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		sandbox_test(equal_trees_have_no_changes),
		sandbox_test(what_differs_is_told_in_order),
		sandbox_test(without_an_old_tree_all_is_added),
		sandbox_test(a_change_of_type_hides_what_was_there),
		sandbox_test(marks_of_overlayfs_are_not_looked_for),
		sandbox_test(names_that_cannot_be_looked_up_are_not_there),
		sandbox_test(deep_trees_need_few_descriptors),
		sandbox_test(deeper_trees_are_refused),
		sandbox_test(directories_that_go_meanwhile_hold_nothing),
		sandbox_test(random_trees_are_the_same_by_each_way),
	};

	return cmocka_run_group_tests_name("compare", tests, sandbox_enter, sandbox_leave);
}
