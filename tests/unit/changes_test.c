/* SPDX-License-Identifier: Apache-2.0 */
#include "driver/changes.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <cmocka.h>

#include "driver/base/auto.h"
#include "driver/base/buf.h"
#include "driver/mount.h"
#include "tests/unit/sandbox.h"

#define LOWERS 3

/* One walk over "upper" and "l1" (topmost), "l2", "l3": lines of "A /path". */
struct run {
	struct buf text;
	int upper_fd, lower_fds[LOWERS];
	enum overlay_xattrs xattrs;
	enum changes_rules rules;
	int stop_after; /* lines; 0: never */
	struct err err;
};

static int note(void *arg, enum change_kind kind, const char *path)
{
	struct run *run = arg;
	static const char letters[] = {
		[CHANGE_MODIFIED] = 'C', [CHANGE_ADDED] = 'A', [CHANGE_DELETED] = 'D'
	};

	(void)buf_printf(&run->text, "%c %s\n", letters[kind], path);
	return run->stop_after && --run->stop_after == 0 ? 42 : 0;
}

static int walk(void *arg)
{
	struct run *run = arg;

	return changes_walk(run->upper_fd, run->lower_fds, LOWERS, run->xattrs, run->rules, note,
			    run, &run->err);
}

static void open_run(struct run *run, enum overlay_xattrs xattrs)
{
	static const char *const names[] = { "l1", "l2", "l3" };

	*run = (struct run){ .xattrs = xattrs };
	put_dir("upper");
	run->upper_fd = open_dir("upper", O_PATH);
	for (size_t i = 0; i < LOWERS; i++) {
		put_dir(names[i]);
		run->lower_fds[i] = open_dir(names[i], O_PATH);
	}
}

static void close_run(struct run *run)
{
	buf_release(&run->text);
	(void)close(run->upper_fd);
	for (size_t i = 0; i < LOWERS; i++)
		(void)close(run->lower_fds[i]);
}

static void expect_by(enum changes_rules rules, enum overlay_xattrs xattrs, const char *lines)
{
	static const char *const old_kernel[] = { "openat2" };
	struct run run;

	open_run(&run, xattrs);
	run.rules = rules;
	if (walk(&run) != 0)
		fail_msg("%s", run.err.text);
	assert_string_equal(buf_text(&run.text), lines);
	buf_reset(&run.text);
	assert_int_equal(under_deny(old_kernel, 1, walk, &run), 0);
	assert_string_equal(buf_text(&run.text), lines);
	close_run(&run);
}

static void expect_for(enum overlay_xattrs xattrs, const char *lines)
{
	expect_by(CHANGES_OF_UPPER, xattrs, lines);
}

static void expect(const char *lines)
{
	expect_for(OVERLAY_XATTRS_TRUSTED, lines);
}

static void expect_compared(const char *lines)
{
	expect_by(CHANGES_COMPARED, OVERLAY_XATTRS_TRUSTED, lines);
}

/* Gives both the same time, as copy-up does; owner and mode are the same by themselves. */
static void same_time(const char *a, const char *b)
{
	set_mtime(a, 1700000000, 123456789);
	set_mtime(b, 1700000000, 123456789);
}

/* ---- files ---- */

static void an_empty_upper_changes_nothing(void **state)
{
	put_file("l1/a", "");
	put_file("l2/dir/b", "");
	expect("");
}

static void what_no_lower_has_is_added(void **state)
{
	put_file("l1/old", "");
	put_file("upper/new", "");
	put_file("upper/dir/in", "");
	put_dir("upper/empty");
	expect("A /dir\nA /dir/in\nA /empty\nA /new\n");
}

static void what_any_lower_has_is_changed(void **state)
{
	put_file("l1/a", "");
	put_file("l2/b", "");
	put_file("l3/c", "");
	put_file("upper/a", "x");
	put_file("upper/b", "x");
	put_file("upper/c", "x");
	expect("C /a\nC /b\nC /c\n");
}

/* A file that was copied up and put back as it was: Docker says Changed. */
static void a_file_alike_in_all_is_changed_still(void **state)
{
	put_file("l1/a", "same");
	put_file("upper/a", "same");
	same_time("l1/a", "upper/a");
	expect("C /a\n");
}

static void a_whiteout_deletes(void **state)
{
	needs_root();
	put_file("l2/gone", "");
	put_file("l2/dir/a", "");
	put_whiteout("upper/gone");
	put_whiteout("upper/dir");
	expect("D /dir\nD /gone\n");
}

static void a_whiteout_for_nothing_says_nothing(void **state)
{
	needs_root();
	put_file("l1/other", "");
	put_whiteout("upper/never");
	put_whiteout("upper/new/never");
	expect("A /new\n");
}

static void what_a_lower_deleted_is_not_there(void **state)
{
	needs_root();
	put_file("l3/a", "");
	put_file("l3/b", "");
	put_whiteout("l2/a");
	put_whiteout("l2/b");
	put_file("upper/a", "");
	put_whiteout("upper/b");
	expect("A /a\n");
}

static void a_device_other_than_zero_is_a_file(void **state)
{
	needs_root();
	put_dir("upper");
	assert_int_equal(mknod("upper/null", S_IFCHR | 0666, 0x103), 0);
	expect("A /null\n");
}

/* ---- directories ---- */

static void a_copied_up_directory_alone_is_not_reported(void **state)
{
	put_dir("l1/dir");
	put_dir("upper/dir");
	same_time("l1/dir", "upper/dir");
	expect("");
}

static void a_directory_is_changed_by_what_is_in_it(void **state)
{
	put_file("l1/a/b/c/old", "");
	put_file("l1/a/other/x", "");
	put_file("upper/a/b/c/new", "");
	put_dir("upper/a/other");
	same_time("l1/a/b/c", "upper/a/b/c");
	same_time("l1/a/b", "upper/a/b");
	same_time("l1/a/other", "upper/a/other");
	same_time("l1/a", "upper/a");
	expect("C /a\nC /a/b\nC /a/b/c\nA /a/b/c/new\n");
}

/* Reported once, and siblings on the way back are not taken for children. */
static void held_back_directories_come_once_and_in_order(void **state)
{
	put_file("l1/a/f", "");
	put_file("l1/a/q/f", "");
	put_file("l1/a/z/f", "");
	put_file("upper/a/f", "");
	put_dir("upper/a/q");
	put_file("upper/a/z/f", "");
	put_file("l1/a/zz/f", "");
	put_file("upper/a/zz/f", "");
	put_file("upper/b", "");
	same_time("l1/a/zz", "upper/a/zz");
	same_time("l1/a/z", "upper/a/z");
	same_time("l1/a/q", "upper/a/q");
	same_time("l1/a", "upper/a");
	expect("C /a\nC /a/f\nC /a/z\nC /a/z/f\nC /a/zz\nC /a/zz/f\nA /b\n");
}

static void a_directorys_own_metadata_counts(void **state)
{
	put_dir("l1/mode");
	put_dir("upper/mode");
	same_time("l1/mode", "upper/mode");
	assert_int_equal(chmod("upper/mode", 0700), 0);
	put_dir("l1/nanosecond");
	put_dir("upper/nanosecond");
	set_mtime("l1/nanosecond", 5, 1);
	set_mtime("upper/nanosecond", 5, 2);
	put_dir("l1/same");
	put_dir("upper/same");
	same_time("l1/same", "upper/same");
	expect("C /mode\nC /nanosecond\n");
}

static void a_directorys_owner_counts(void **state)
{
	needs_root();
	put_dir("l1/group");
	put_dir("upper/group");
	put_dir("l1/user");
	put_dir("upper/user");
	assert_int_equal(chown("upper/group", 0, 7), 0);
	assert_int_equal(chown("upper/user", 7, 0), 0);
	same_time("l1/group", "upper/group");
	same_time("l1/user", "upper/user");
	expect("C /group\nC /user\n");
}

static void metadata_is_compared_with_the_topmost_lower(void **state)
{
	put_dir("l1/dir");
	put_dir("l2/dir");
	put_dir("upper/dir");
	same_time("l1/dir", "upper/dir");
	set_mtime("l2/dir", 9, 9);
	expect("");
}

static void the_root_is_never_reported(void **state)
{
	put_dir("upper");
	put_dir("l1");
	assert_int_equal(chmod("upper", 0711), 0);
	set_mtime("upper", 1, 1);
	expect("");
}

static void a_change_of_type_is_a_change(void **state)
{
	put_file("l1/dir-to-file/old", "");
	put_file("upper/dir-to-file", "");
	put_file("l1/file-to-dir", "");
	put_file("upper/file-to-dir/new", "");
	put_dir("l1/dir-to-link");
	assert_int_equal(symlink("/", "upper/dir-to-link"), 0);
	expect("C /dir-to-file\nC /dir-to-link\nC /file-to-dir\nA /file-to-dir/new\n");
}

/* ---- which lowers a directory has ---- */

static void lowers_hidden_by_a_file_do_not_take_part(void **state)
{
	put_file("l3/dir/deep", "");
	put_file("l2/dir", "a file");
	put_file("l1/dir/shallow", "");
	put_file("upper/dir/deep", "");
	put_file("upper/dir/shallow", "");
	same_time("l1/dir", "upper/dir");
	expect("C /dir\nA /dir/deep\nC /dir/shallow\n");
}

static void lowers_hidden_by_a_whiteout_do_not_take_part(void **state)
{
	needs_root();
	put_file("l3/dir/deep", "");
	put_whiteout("l2/dir");
	put_file("l1/dir/shallow", "");
	put_file("upper/dir/deep", "");
	same_time("l1/dir", "upper/dir");
	expect("C /dir\nA /dir/deep\n");
}

static void an_opaque_lower_ends_the_stack(void **state)
{
	needs_root();
	put_file("l3/dir/deep", "");
	put_opaque_dir("l2/dir", OVERLAY_XATTRS_TRUSTED);
	put_file("l2/dir/middle", "");
	put_file("upper/dir/deep", "");
	put_file("upper/dir/middle", "");
	same_time("l2/dir", "upper/dir");
	expect("C /dir\nA /dir/deep\nC /dir/middle\n");
}

static void a_lower_without_the_directory_is_passed_over(void **state)
{
	put_file("l1/elsewhere", "");
	put_file("l3/dir/deep", "");
	put_file("upper/dir/deep", "");
	same_time("l3/dir", "upper/dir");
	expect("C /dir\nC /dir/deep\n");
}

/* ---- opaque uppers ---- */

static void fill_opaque(enum overlay_xattrs xattrs)
{
	put_file("l1/dir/kept", "");
	put_file("l1/dir/sub/deep", "");
	put_file("l2/dir/gone", "");
	put_file("l2/dir/kept", "");
	put_file("l3/dir/tree/a/b", "");
	put_opaque_dir("upper/dir", xattrs);
	put_file("upper/dir/kept", "");
	put_file("upper/dir/new", "");
	same_time("l1/dir", "upper/dir");
}

static void an_opaque_directory_deletes_what_it_hides(void **state)
{
	needs_root();
	fill_opaque(OVERLAY_XATTRS_TRUSTED);
	expect("C /dir\nD /dir/gone\nC /dir/kept\nA /dir/new\nD /dir/sub\nD /dir/tree\n");
}

static void the_user_xattr_counts_where_that_is_used(void **state)
{
	fill_opaque(OVERLAY_XATTRS_USER);
	expect_for(OVERLAY_XATTRS_USER,
		   "C /dir\nD /dir/gone\nC /dir/kept\nA /dir/new\nD /dir/sub\nD /dir/tree\n");
	expect("C /dir\nC /dir/kept\nA /dir/new\n");
}

static void an_opaque_directory_that_looks_alike_is_changed(void **state)
{
	needs_root();
	put_dir("l1/a/dir");
	put_opaque_dir("upper/a/dir", OVERLAY_XATTRS_TRUSTED);
	same_time("l1/a/dir", "upper/a/dir");
	same_time("l1/a", "upper/a");
	expect("C /a\nC /a/dir\n");
}

static void a_new_opaque_directory_is_just_added(void **state)
{
	needs_root();
	put_opaque_dir("upper/dir", OVERLAY_XATTRS_TRUSTED);
	put_file("upper/dir/a", "");
	put_dir("l1");
	expect("A /dir\nA /dir/a\n");
}

/* Within an opaque directory its own subdirectories carry no mark, yet the lowers show through
 * nowhere. */
static void what_lies_in_an_opaque_directory_hides_too(void **state)
{
	needs_root();
	put_file("l1/dir/sub/old", "");
	put_file("l1/dir/sub/both", "");
	put_opaque_dir("upper/dir", OVERLAY_XATTRS_TRUSTED);
	put_file("upper/dir/sub/both", "");
	same_time("l1/dir/sub", "upper/dir/sub");
	expect("C /dir\nC /dir/sub\nC /dir/sub/both\nD /dir/sub/old\n");
}

static void what_lowers_deleted_is_not_deleted_again(void **state)
{
	needs_root();
	put_file("l3/dir/a", "");
	put_file("l3/dir/b", "");
	put_whiteout("l2/dir/a");
	put_file("l1/dir/c", "");
	put_opaque_dir("upper/dir", OVERLAY_XATTRS_TRUSTED);
	put_whiteout("upper/dir/c");
	expect("C /dir\nD /dir/b\nD /dir/c\n");
}

/* ---- compared ---- */

/* Alike in "upper" and "l1"; at first. */
static void put_both(const char *name, const char *contents)
{
	char path[128];

	(void)snprintf(path, sizeof(path), "l1/%s", name);
	put_file(path, contents);
	set_mtime(path, 1700000000, 123456789);
	(void)snprintf(path, sizeof(path), "upper/%s", name);
	put_file(path, contents);
	set_mtime(path, 1700000000, 123456789);
}

static void a_file_alike_in_both_is_no_change(void **state)
{
	put_both("a", "same");
	put_both("dir/b", "same");
	assert_int_equal(symlink("a", "l1/link"), 0);
	assert_int_equal(symlink("b", "upper/link"), 0);
	same_time("l1/link", "upper/link");
	expect_compared("");
}

static void each_difference_of_a_file_is_a_change(void **state)
{
	static const char *const names[] = { "group", "mode", "same", "second", "size", "user" };

	needs_root();
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		put_both(names[i], "1234");
	put_file("upper/size", "12345");
	set_mtime("upper/size", 1700000000, 123456789);
	set_mtime("upper/second", 1700000001, 123456789);
	assert_int_equal(chmod("upper/mode", 0755), 0);
	assert_int_equal(chown("upper/user", 7, 0), 0);
	assert_int_equal(chown("upper/group", 0, 7), 0);
	assert_int_equal(mknod("l1/device", S_IFCHR | 0600, 0x101), 0);
	assert_int_equal(mknod("upper/device", S_IFCHR | 0600, 0x102), 0);
	same_time("l1/device", "upper/device");
	expect_compared("C /device\nC /group\nC /mode\nC /second\nC /size\nC /user\n");
}

/* A layer that came as a tar has none. */
static void no_nanoseconds_are_any_nanoseconds(void **state)
{
	put_both("a", "");
	put_both("b", "");
	put_both("c", "");
	set_mtime("l1/a", 1700000000, 0);
	set_mtime("upper/b", 1700000000, 0);
	set_mtime("upper/c", 1700000000, 1);
	expect_compared("C /c\n");
}

static void put_capability(const char *path, unsigned char set)
{
	unsigned char value[20] = { 0, 0, 0, 2, set };

	assert_int_equal(setxattr(path, "security.capability", value, sizeof(value), 0), 0);
}

static void a_capability_is_a_difference(void **state)
{
	needs_root();
	put_both("added", "");
	put_capability("upper/added", 1);
	put_both("gone", "");
	put_capability("l1/gone", 1);
	put_both("other", "");
	put_capability("l1/other", 1);
	put_capability("upper/other", 2);
	put_both("same", "");
	put_capability("l1/same", 1);
	put_capability("upper/same", 1);
	put_both("xattr", "");
	assert_int_equal(setxattr("upper/xattr", "user.any", "", 0, 0), 0);
	put_dir("l1/dir");
	put_dir("upper/dir");
	put_capability("upper/dir", 1);
	expect_compared("C /added\nC /dir\nC /gone\nC /other\n");
}

/* Makes top/nnn.../... of 4009 bytes, a file of 70 bytes in it, and gives that a capability. */
static void put_far_capability(const char *top, unsigned char set)
{
	auto_close int fd = -EBADF, file = -EBADF;
	char name[251] = "", last[71] = "";
	unsigned char value[20] = { 0, 0, 0, 2, set };

	memset(name, 'n', sizeof(name) - 1);
	memset(last, 'l', sizeof(last) - 1);
	put_dir(top);
	fd = open_dir(top, O_PATH);
	for (int i = 0; i < 16; i++) {
		auto_close int parent = fd;

		assert_int_equal(mkdirat(parent, name, 0755), 0);
		fd = openat(parent, name, O_PATH | O_CLOEXEC);
	}
	file = openat(fd, last, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
	assert_true(file >= 0);
	assert_int_equal(fsetxattr(file, "security.capability", value, sizeof(value), 0), 0);
	assert_int_equal(futimens(file, (const struct timespec[2]){ { 1, 0 }, { 1, 0 } }), 0);
}

static void capabilities_are_compared_at_the_longest_path(void **state)
{
	needs_root();
	put_far_capability("l1", 1);
	put_far_capability("upper", 1);
	expect_compared("");
}

static void a_directorys_time_is_no_difference(void **state)
{
	put_both("dir/same", "");
	put_both("mode/same", "");
	put_both("in/same", "");
	put_file("upper/in/new", "");
	set_mtime("upper/dir", 1, 1);
	assert_int_equal(chmod("upper/mode", 0700), 0);
	expect_compared("C /in\nA /in/new\nC /mode\n");
}

static void a_directory_made_again_is_compared(void **state)
{
	needs_root();
	put_both("a/dir/same", "");
	put_both("a/dir/sub/same", "");
	put_opaque_dir("upper/a/dir", OVERLAY_XATTRS_TRUSTED);
	expect_compared("");
	put_file("upper/a/dir/new", "");
	put_file("l2/a/dir/gone/x", "");
	put_file("l2/a/dir/sub/gone", "");
	put_file("upper/a/dir/sub/new", "");
	expect_compared("C /a\nC /a/dir\nD /a/dir/gone\nA /a/dir/new\n"
			"C /a/dir/sub\nD /a/dir/sub/gone\nA /a/dir/sub/new\n");
}

static void a_directory_made_again_that_lacks_something_is_changed(void **state)
{
	needs_root();
	put_both("dir/same", "");
	put_file("l3/dir/gone", "");
	put_opaque_dir("upper/dir", OVERLAY_XATTRS_TRUSTED);
	expect_compared("C /dir\nD /dir/gone\n");
}

static void types_and_whiteouts_are_compared_too(void **state)
{
	needs_root();
	put_file("l1/dir-to-file/old", "");
	put_file("upper/dir-to-file", "");
	put_file("l1/file-to-dir", "");
	put_file("upper/file-to-dir/new", "");
	put_file("l2/gone", "");
	put_whiteout("upper/gone");
	put_whiteout("upper/never");
	put_file("upper/new/in", "");
	expect_compared("C /dir-to-file\nC /file-to-dir\nA /file-to-dir/new\nD /gone\n"
			"A /new\nA /new/in\n");
}

/* ---- order, names, limits ---- */

static void names_come_in_byte_order(void **state)
{
	put_file("upper/b", "");
	put_file("upper/B", "");
	put_file("upper/a.b", "");
	put_file("upper/a/x", "");
	put_file("upper/a-b", "");
	put_file("upper/\xff\xfe", "");
	put_file("upper/\xc3\xa4", "");
	put_file("upper/new\nline", "");
	expect("A /B\nA /a\nA /a/x\nA /a-b\nA /a.b\nA /b\nA /new\nline\nA /\xc3\xa4\nA /\xff\xfe\n");
}

static void a_caller_can_stop(void **state)
{
	struct run run;

	put_file("upper/a", "");
	put_file("upper/b/c", "");
	put_file("upper/d", "");
	open_run(&run, OVERLAY_XATTRS_TRUSTED);
	run.stop_after = 3;
	assert_int_equal(walk(&run), 42);
	assert_string_equal(buf_text(&run.text), "A /a\nA /b\nA /b/c\n");
	close_run(&run);
}

static void no_lowers_at_all_means_all_is_added(void **state)
{
	struct run run;

	put_file("upper/a/b", "");
	open_run(&run, OVERLAY_XATTRS_TRUSTED);
	assert_int_equal(changes_walk(run.upper_fd, NULL, 0, run.xattrs, run.rules, note, &run,
				      &run.err),
			 0);
	assert_string_equal(buf_text(&run.text), "A /a\nA /a/b\n");
	close_run(&run);
}

/* Makes upper/d/d/... of this depth. */
static void put_deep(int depth)
{
	auto_close int fd = -EBADF;

	put_dir("upper");
	fd = open_dir("upper", O_PATH);
	for (int i = 0; i < depth; i++) {
		auto_close int parent = fd;

		assert_int_equal(mkdirat(parent, "d", 0755), 0);
		fd = openat(parent, "d", O_PATH | O_CLOEXEC);
	}
}

static size_t count_lines(const char *text)
{
	size_t lines = 0;

	for (; *text; text++)
		lines += *text == '\n';
	return lines;
}

static void deep_trees_need_few_descriptors(void **state)
{
	struct rlimit old, few = { 32, 32 };
	struct run run;
	int r;

	put_deep(CHANGES_DEPTH_MAX);
	open_run(&run, OVERLAY_XATTRS_TRUSTED);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	few.rlim_max = old.rlim_max;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
	r = walk(&run);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	assert_int_equal(r, 0);
	assert_int_equal(count_lines(buf_text(&run.text)), CHANGES_DEPTH_MAX);
	close_run(&run);
}

static void deeper_trees_are_refused(void **state)
{
	struct run run;

	put_deep(CHANGES_DEPTH_MAX + 1);
	open_run(&run, OVERLAY_XATTRS_TRUSTED);
	assert_int_equal(walk(&run), -ELOOP);
	assert_non_null(strstr(run.err.text, "1024"));
	close_run(&run);
}

static void paths_over_the_limit_are_refused(void **state)
{
	char name[251];
	auto_close int fd = -EBADF;
	struct run run;

	memset(name, 'n', sizeof(name) - 1);
	name[sizeof(name) - 1] = 0;
	put_dir("upper");
	fd = open_dir("upper", O_PATH);
	for (int i = 0; i < 17; i++) {
		auto_close int parent = fd;

		assert_int_equal(mkdirat(parent, name, 0755), 0);
		fd = openat(parent, name, O_PATH | O_CLOEXEC);
	}
	open_run(&run, OVERLAY_XATTRS_TRUSTED);
	assert_int_equal(walk(&run), -ENAMETOOLONG);
	assert_non_null(strstr(run.err.text, "4095"));
	close_run(&run);
}

/* ---- with the kernel's own uppers ---- */

static void remove_file(const char *path)
{
	assert_int_equal(unlink(path), 0);
}

static void mount_lowers(struct overlay_plan *plan)
{
	struct err err = { 0 };

	add_lower(plan, "l1");
	add_lower(plan, "l2");
	add_lower(plan, "l3");
	set_upper(plan, "upper", "work");
	put_dir("merged");
	if (mount_overlay(plan, sandbox_path("merged"), NULL, &err) < 0)
		fail_msg("%s", err.text);
}

static void what_a_container_does_is_what_is_told(void **state)
{
	auto_overlay_plan struct overlay_plan plan = OVERLAY_PLAN_INIT;

	needs_root();
	put_file("l1/etc/passwd", "root");
	put_file("l2/etc/hosts", "local");
	put_file("l2/usr/bin/tool", "#!");
	put_file("l2/usr/share/doc/readme", "");
	put_file("l3/var/log/old", "");
	put_file("l3/var/cache/a", "");
	put_file("l3/var/cache/b", "");
	put_file("l3/untouched/file", "");
	mount_lowers(&plan);
	put_file("merged/etc/hosts", "changed");
	remove_file("merged/etc/passwd");
	assert_int_equal(chmod("merged/usr/bin/tool", 0755), 0);
	put_file("merged/usr/local/bin/new", "");
	remove_file("merged/var/cache/a");
	remove_file("merged/var/cache/b");
	assert_int_equal(rmdir("merged/var/cache"), 0);
	put_file("merged/var/cache/c", "");
	put_file("merged/tmp/scratch", "");
	remove_file("merged/tmp/scratch");
	expect("C /etc\nC /etc/hosts\nD /etc/passwd\nA /tmp\nC /usr\nC /usr/bin\nC /usr/bin/tool\n"
	       "A /usr/local\nA /usr/local/bin\nA /usr/local/bin/new\n"
	       "C /var\nC /var/cache\nD /var/cache/a\nD /var/cache/b\nA /var/cache/c\n");
}

/* Opened for writing: copied up with its parents, which keep their times. */
static void a_copy_up_deep_down_changes_the_directories_above(void **state)
{
	auto_overlay_plan struct overlay_plan plan = OVERLAY_PLAN_INIT;

	needs_root();
	put_file("l3/a/b/c/file", "old");
	put_file("l3/a/b/sibling/file", "old");
	mount_lowers(&plan);
	put_file("merged/a/b/c/file", "new");
	expect("C /a\nC /a/b\nC /a/b/c\nC /a/b/c/file\n");
}

/* Many whiteouts made by overlayfs are one inode. */
static void a_kernels_shared_whiteouts_are_whiteouts(void **state)
{
	auto_overlay_plan struct overlay_plan plan = OVERLAY_PLAN_INIT;
	struct stat st;

	needs_root();
	put_file("l1/dir/a", "");
	put_file("l1/dir/b", "");
	put_file("l1/dir/c", "");
	mount_lowers(&plan);
	remove_file("merged/dir/a");
	remove_file("merged/dir/b");
	assert_int_equal(lstat("upper/dir/a", &st), 0);
	assert_true(st.st_nlink > 1);
	expect("C /dir\nD /dir/a\nD /dir/b\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		sandbox_test(an_empty_upper_changes_nothing),
		sandbox_test(what_no_lower_has_is_added),
		sandbox_test(what_any_lower_has_is_changed),
		sandbox_test(a_file_alike_in_all_is_changed_still),
		sandbox_test(a_whiteout_deletes),
		sandbox_test(a_whiteout_for_nothing_says_nothing),
		sandbox_test(what_a_lower_deleted_is_not_there),
		sandbox_test(a_device_other_than_zero_is_a_file),
		sandbox_test(a_copied_up_directory_alone_is_not_reported),
		sandbox_test(a_directory_is_changed_by_what_is_in_it),
		sandbox_test(held_back_directories_come_once_and_in_order),
		sandbox_test(a_directorys_own_metadata_counts),
		sandbox_test(a_directorys_owner_counts),
		sandbox_test(metadata_is_compared_with_the_topmost_lower),
		sandbox_test(the_root_is_never_reported),
		sandbox_test(a_change_of_type_is_a_change),
		sandbox_test(lowers_hidden_by_a_file_do_not_take_part),
		sandbox_test(lowers_hidden_by_a_whiteout_do_not_take_part),
		sandbox_test(an_opaque_lower_ends_the_stack),
		sandbox_test(a_lower_without_the_directory_is_passed_over),
		sandbox_test(an_opaque_directory_deletes_what_it_hides),
		sandbox_test(the_user_xattr_counts_where_that_is_used),
		sandbox_test(an_opaque_directory_that_looks_alike_is_changed),
		sandbox_test(a_new_opaque_directory_is_just_added),
		sandbox_test(what_lies_in_an_opaque_directory_hides_too),
		sandbox_test(what_lowers_deleted_is_not_deleted_again),
		sandbox_test(a_file_alike_in_both_is_no_change),
		sandbox_test(each_difference_of_a_file_is_a_change),
		sandbox_test(no_nanoseconds_are_any_nanoseconds),
		sandbox_test(a_capability_is_a_difference),
		sandbox_test(capabilities_are_compared_at_the_longest_path),
		sandbox_test(a_directorys_time_is_no_difference),
		sandbox_test(a_directory_made_again_is_compared),
		sandbox_test(a_directory_made_again_that_lacks_something_is_changed),
		sandbox_test(types_and_whiteouts_are_compared_too),
		sandbox_test(names_come_in_byte_order),
		sandbox_test(a_caller_can_stop),
		sandbox_test(no_lowers_at_all_means_all_is_added),
		sandbox_test(deep_trees_need_few_descriptors),
		sandbox_test(deeper_trees_are_refused),
		sandbox_test(paths_over_the_limit_are_refused),
		sandbox_test(what_a_container_does_is_what_is_told),
		sandbox_test(a_copy_up_deep_down_changes_the_directories_above),
		sandbox_test(a_kernels_shared_whiteouts_are_whiteouts),
	};

	return cmocka_run_group_tests_name("changes", tests, sandbox_enter, sandbox_leave);
}
