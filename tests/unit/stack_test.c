/* SPDX-License-Identifier: Apache-2.0 */
#include "driver/stack.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>
#include <cmocka.h>

#include "driver/base/auto.h"
#include "driver/base/sys.h"
#include "driver/mount.h"
#include "driver/whiteout.h"
#include "tests/unit/sandbox.h"
#include "tests/unit/util.h"

#define LAYERS_MAX 8

/* The layers "0" (topmost), "1", ... of the scratch directory. */
struct layers {
	struct stack_layer items[LAYERS_MAX];
	size_t count;
	struct stack *stack;
	struct err err;
};

static void open_layers(struct layers *l, size_t count)
{
	char name[16];

	*l = (struct layers){ .count = count };
	for (size_t i = 0; i < count; i++) {
		(void)snprintf(name, sizeof(name), "%zu", i);
		put_dir(name);
		l->items[i].fd = open_dir(name, O_RDONLY);
	}
}

/* `paths`: each with a NUL behind it, the whole as a literal. */
static void imply(struct layers *l, size_t layer, const char *paths, size_t size)
{
	l->items[layer].implied = paths;
	l->items[layer].implied_bytes = size - 1;
}

static struct stack *stack_of(struct layers *l)
{
	if (!l->stack &&
	    stack_new(l->items, l->count, OVERLAY_XATTRS_TRUSTED, &l->stack, &l->err) < 0)
		fail_msg("%s", l->err.text);
	return l->stack;
}

static void close_layers(struct layers *l)
{
	stack_freep(&l->stack);
	for (size_t i = 0; i < l->count; i++)
		(void)close(l->items[i].fd);
}

#define auto_layers AUTO(close_layers)

static struct stack_found lookup(struct layers *l, const char *path, unsigned int flags)
{
	struct stack_found found = { 0 };

	if (stack_lookup(stack_of(l), path, flags, &found, &l->err) < 0)
		fail_msg("%s: %s", path, l->err.text);
	return found;
}

static void assert_missing(struct layers *l, const char *path, unsigned int flags)
{
	assert_int_equal(lookup(l, path, flags).type, STACK_MISSING);
}

/* Something that is no directory, whose contents are those of this file. */
static void assert_is(struct layers *l, const char *path, unsigned int flags, const char *file)
{
	struct stack_found found = lookup(l, path, flags);

	assert_int_equal(found.type, STACK_OTHER);
	assert_int_equal(found.st.st_ino, look(file).st_ino);
	assert_int_equal(found.layer, file[0] - '0');
}

/* The directory is merged from these layers: "02". */
static void assert_merged(struct layers *l, const char *path, unsigned int flags,
			  const char *layers)
{
	struct stack_found found = lookup(l, path, flags);
	char have[LAYERS_MAX + 1] = "";

	assert_int_equal(found.type, STACK_DIR);
	for (size_t i = 0; i < found.dir->count; i++)
		have[i] = (char)('0' + found.dir->layers[i]);
	assert_string_equal(have, layers);
	assert_int_equal(found.layer, layers[0] - '0');
}

static void put_link(const char *path, const char *target)
{
	if (symlink(target, path) < 0)
		fail_msg("%s: %m", path);
}

/* ---- which layers ---- */

static void the_topmost_layer_wins(void **state)
{
	auto_layers struct layers l;

	open_layers(&l, 3);
	put_file("1/both", "upper");
	put_file("2/both", "lower");
	put_file("2/dir/only", "lower");
	put_dir("0/dir");
	assert_is(&l, "both", 0, "1/both");
	assert_is(&l, "/dir/only", 0, "2/dir/only");
	assert_missing(&l, "none", 0);
	assert_missing(&l, "dir/none", 0);
	assert_missing(&l, "both/in", 0);
	assert_merged(&l, "dir", 0, "02");
	assert_merged(&l, "", 0, "012");
	assert_merged(&l, "/", 0, "012");
	assert_merged(&l, "dir/..", 0, "012");
	assert_merged(&l, "../../dir/.", 0, "02");
}

static void a_whiteout_hides_what_lies_beneath(void **state)
{
	auto_layers struct layers l;

	needs_root();
	open_layers(&l, 3);
	put_file("2/gone", "");
	put_file("2/dir/file", "");
	put_file("2/back/old", "");
	put_whiteout("1/gone");
	put_whiteout("1/dir");
	put_whiteout("1/back");
	put_file("0/back/new", "");
	assert_missing(&l, "gone", 0);
	assert_missing(&l, "dir", 0);
	assert_missing(&l, "dir/file", 0);
	assert_merged(&l, "back", 0, "0");
	assert_missing(&l, "back/old", 0);
}

static void an_opaque_directory_hides_what_lies_beneath(void **state)
{
	auto_layers struct layers l;

	needs_root();
	open_layers(&l, 3);
	put_file("2/dir/old", "");
	put_opaque_dir("1/dir", OVERLAY_XATTRS_TRUSTED);
	put_file("1/dir/new", "");
	put_dir("0/dir");
	assert_merged(&l, "dir", 0, "01");
	assert_missing(&l, "dir/old", 0);
	assert_is(&l, "dir/new", 0, "1/dir/new");
}

static void beneath_an_opaque_root_there_is_nothing(void **state)
{
	auto_layers struct layers l;

	needs_root();
	open_layers(&l, 3);
	put_file("2/old", "");
	put_opaque_dir("1", OVERLAY_XATTRS_TRUSTED);
	put_file("1/new", "");
	assert_merged(&l, "", 0, "01");
	assert_missing(&l, "old", 0);
	assert_is(&l, "new", 0, "1/new");
}

static void a_file_and_a_directory_hide_each_other(void **state)
{
	auto_layers struct layers l;

	open_layers(&l, 3);
	put_file("0/a", "");
	put_file("1/a/in", "");
	put_dir("0/b");
	put_file("1/b", "");
	put_file("2/b/in", "");
	assert_is(&l, "a", 0, "0/a");
	assert_missing(&l, "a/in", 0);
	assert_merged(&l, "b", 0, "0");
	assert_missing(&l, "b/in", 0);
}

static void a_stack_of_no_layers_is_empty(void **state)
{
	auto_layers struct layers l;

	open_layers(&l, 0);
	assert_missing(&l, "a", 0);
	assert_int_equal(lookup(&l, "", 0).type, STACK_DIR);
}

/* ---- symlinks ---- */

static void symlinks_are_followed_where_asked_and_stay_inside(void **state)
{
	static const unsigned int all = STACK_FOLLOW | STACK_FOLLOW_LAST;
	auto_layers struct layers l;

	open_layers(&l, 2);
	put_file("1/usr/bin/tool", "");
	put_file("0/usr/bin/new", "");
	put_link("1/bin", "usr/bin");
	put_link("1/abs", "/usr/bin");
	put_link("0/up", "../../../usr");
	put_link("0/usr/back", "../bin/tool");
	assert_is(&l, "bin", 0, "1/bin");
	assert_is(&l, "bin", STACK_FOLLOW, "1/bin");
	assert_merged(&l, "bin", all, "01");
	assert_missing(&l, "bin/tool", 0);
	assert_is(&l, "bin/tool", STACK_FOLLOW, "1/usr/bin/tool");
	assert_is(&l, "abs/new", STACK_FOLLOW, "0/usr/bin/new");
	assert_is(&l, "up/bin/../../bin/tool", STACK_FOLLOW, "1/usr/bin/tool");
	assert_is(&l, "up/back", STACK_FOLLOW, "0/usr/back");
	assert_is(&l, "up/back", all, "1/usr/bin/tool");
}

static void links_in_a_circle_are_an_error(void **state)
{
	auto_layers struct layers l;
	struct stack_found found = { .layer = 4711 };

	open_layers(&l, 2);
	put_link("0/a", "b/x");
	put_link("1/b", "a/x");
	assert_int_equal(stack_lookup(stack_of(&l), "a/x", STACK_FOLLOW, &found, &l.err), -ELOOP);
	assert_int_equal(found.layer, 4711);
}

/* ---- whose metadata ---- */

static void assert_says(struct layers *l, const char *path, bool implied, size_t layer)
{
	struct stack_found found = lookup(l, path, 0);

	assert_int_equal(found.type, STACK_DIR);
	assert_int_equal(found.dir->implied, implied);
	assert_int_equal(found.dir->says, layer);
}

static void the_topmost_layer_that_does_not_imply_it_says_what_a_directory_is(void **state)
{
	auto_layers struct layers l;

	open_layers(&l, 3);
	put_dir("0/a/b");
	put_dir("0/never");
	put_dir("1/a/b");
	put_dir("1/a/c");
	put_dir("2/a/b/c");
	imply(&l, 0, "a\0a/b\0never", sizeof("a\0a/b\0never"));
	imply(&l, 1, "a", sizeof("a"));
	assert_says(&l, "a", false, 2);
	assert_says(&l, "a/b", false, 1);
	assert_says(&l, "a/c", false, 1);
	assert_says(&l, "a/b/c", false, 2);
	assert_says(&l, "never", true, 0);
}

static void what_is_hidden_says_nothing(void **state)
{
	auto_layers struct layers l;

	needs_root();
	open_layers(&l, 3);
	put_dir("0/white");
	put_dir("0/file");
	put_opaque_dir("0/opaque", OVERLAY_XATTRS_TRUSTED);
	put_dir("0/opaque/in");
	put_whiteout("1/white");
	put_file("1/file", "");
	put_dir("2/white");
	put_dir("2/file");
	put_dir("2/opaque/in");
	imply(&l, 0, "file\0opaque\0opaque/in\0white", sizeof("file\0opaque\0opaque/in\0white"));
	assert_says(&l, "white", true, 0);
	assert_says(&l, "file", true, 0);
	assert_says(&l, "opaque/in", true, 0);
	/* The mark hides what is in it. */
	assert_says(&l, "opaque", false, 2);
	assert_merged(&l, "opaque", 0, "0");
}

static void implied_paths_are_found_in_any_list(void **state)
{
	static const char list[] = "a\0a b\0a/b\0b\0b/long/path\0\377";
	static const char *const in[] = { "a", "a b", "a/b", "b", "b/long/path", "\377" },
				 *const out[] = { "",	 "A",	    "a/",
						  "a/a", "b/long",  "b/long/path/",
						  "c",	 "\377\377" };
	auto_layers struct layers l;

	open_layers(&l, 1);
	imply(&l, 0, list, sizeof(list));
	for (size_t i = 0; i < ARRAY_LEN(in); i++)
		assert_true(stack_is_implied(stack_of(&l), 0, in[i]));
	for (size_t i = 0; i < ARRAY_LEN(out); i++)
		assert_false(stack_is_implied(stack_of(&l), 0, out[i]));
}

/* ---- as the kernel has it ---- */

static const char *const names[] = { "a", "b", "c" };
static uint32_t seed;

static uint32_t random_below(uint32_t limit)
{
	seed = seed * 1664525 + 1013904223;
	return (seed >> 8) % limit;
}

static void put_random_dir(const char *path, int depth);

static void put_random(const char *path, int depth)
{
	static const char *const targets[] = { "a", "../b", "/a/b", "../../c", "b/../a", "/" };

	switch (random_below(8)) {
	case 0:
		put_file(path, "");
		break;
	case 1:
		put_whiteout(path);
		break;
	case 2:
		put_link(path, targets[random_below(ARRAY_LEN(targets))]);
		break;
	case 3:
		break;
	default:
		put_random_dir(path, depth);
	}
}

static void put_random_dir(const char *path, int depth)
{
	char name[128];

	if (depth && random_below(6) == 0)
		put_opaque_dir(path, OVERLAY_XATTRS_TRUSTED);
	else
		put_dir(path);
	for (size_t i = 0; depth < 4 && i < ARRAY_LEN(names); i++) {
		(void)snprintf(name, sizeof(name), "%s/%s", path, names[i]);
		put_random(name, depth + 1);
	}
}

/* What the mount has at the path: compared with what we find. */
static void compare(struct layers *l, int root_fd, const char *path, unsigned int flags)
{
	uint64_t resolve = RESOLVE_IN_ROOT | (flags & STACK_FOLLOW ? 0 : RESOLVE_NO_SYMLINKS);
	uint64_t open_flags = O_PATH | (flags & STACK_FOLLOW_LAST ? 0 : O_NOFOLLOW);
	auto_close int fd = sys_openat2(root_fd, path, open_flags, 0, resolve);
	struct stack_found found = { 0 };
	struct stat st;
	int r = stack_lookup(stack_of(l), path, flags, &found, &l->err);

	if (fd == -ELOOP && (flags & STACK_FOLLOW)) {
		assert_int_equal(r, -ELOOP);
		return;
	}
	assert_int_equal(r, 0);
	if (fd < 0) {
		if (found.type != STACK_MISSING)
			fail_msg("seed %u: %s: not on the mount (%s)", seed, path, strerror(-fd));
		return;
	}
	assert_int_equal(fstat(fd, &st), 0);
	if (S_ISDIR(st.st_mode) != (found.type == STACK_DIR) || found.type == STACK_MISSING)
		fail_msg("seed %u: %s (flags %u): mode %o, found %d", seed, path, flags, st.st_mode,
			 found.type);
	if (found.type == STACK_OTHER)
		assert_int_equal(st.st_ino, found.st.st_ino);
}

/* All paths of up to four of the names. */
static void compare_all(struct layers *l, int root_fd, const char *path, int depth)
{
	char name[128];

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		(void)snprintf(name, sizeof(name), "%s%s%s", path, *path ? "/" : "", names[i]);
		compare(l, root_fd, name, 0);
		compare(l, root_fd, name, STACK_FOLLOW);
		compare(l, root_fd, name, STACK_FOLLOW | STACK_FOLLOW_LAST);
		if (depth < 4)
			compare_all(l, root_fd, name, depth + 1);
	}
}

static void random_stacks_are_what_overlayfs_shows(void **state)
{
	auto_overlay_plan struct overlay_plan plan = OVERLAY_PLAN_INIT;
	auto_layers struct layers l = { 0 };
	auto_close int root_fd = -EBADF;
	struct err err = { 0 };
	char name[16];

	needs_root();
	for (size_t i = 0; i < 4; i++) {
		(void)snprintf(name, sizeof(name), "%zu", i);
		put_random_dir(name, 0);
		add_lower(&plan, name);
	}
	open_layers(&l, 4);
	put_dir("merged");
	if (mount_overlay(&plan, sandbox_path("merged"), NULL, &err) < 0)
		fail_msg("%s", err.text);
	root_fd = open_dir("merged", O_RDONLY);
	compare_all(&l, root_fd, "", 1);
}

/* One test a seed: each has a scratch directory of its own. */
#define random_test(n)                                         \
	static void random_##n(void **state)                   \
	{                                                      \
		seed = n;                                      \
		random_stacks_are_what_overlayfs_shows(state); \
	}
random_test(1);
random_test(2);
random_test(3);
random_test(4);
random_test(5);
random_test(6);
random_test(7);
random_test(8);

int main(void)
{
	const struct CMUnitTest tests[] = {
		sandbox_test(the_topmost_layer_wins),
		sandbox_test(a_whiteout_hides_what_lies_beneath),
		sandbox_test(an_opaque_directory_hides_what_lies_beneath),
		sandbox_test(beneath_an_opaque_root_there_is_nothing),
		sandbox_test(a_file_and_a_directory_hide_each_other),
		sandbox_test(a_stack_of_no_layers_is_empty),
		sandbox_test(symlinks_are_followed_where_asked_and_stay_inside),
		sandbox_test(links_in_a_circle_are_an_error),
		sandbox_test(the_topmost_layer_that_does_not_imply_it_says_what_a_directory_is),
		sandbox_test(what_is_hidden_says_nothing),
		sandbox_test(implied_paths_are_found_in_any_list),
		sandbox_test(random_1),
		sandbox_test(random_2),
		sandbox_test(random_3),
		sandbox_test(random_4),
		sandbox_test(random_5),
		sandbox_test(random_6),
		sandbox_test(random_7),
		sandbox_test(random_8),
	};

	return cmocka_run_group_tests(tests, sandbox_enter, sandbox_leave);
}
