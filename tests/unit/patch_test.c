/* SPDX-License-Identifier: Apache-2.0 */
#include "driver/patch.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>
#include <cmocka.h>

#include "driver/base/auto.h"
#include "driver/bind.h"
#include "driver/mount.h"
#include "tests/unit/sandbox.h"
#include "tests/unit/util.h"

#define LAYERS_MAX 4

/* The layers "0" (topmost), "1", ... of the scratch directory. */
struct layers {
	struct stack_layer items[LAYERS_MAX];
	size_t count;
	struct stack *stack;
	struct buf paths;
	struct apply_result result;
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

static void close_layers(struct layers *l)
{
	stack_freep(&l->stack);
	buf_release(&l->paths);
	for (size_t i = 0; i < l->count; i++)
		(void)close(l->items[i].fd);
}

#define auto_layers AUTO(close_layers)

/* `paths` is a literal with NULs between the paths. */
#define imply(l, layer, paths)                                   \
	do {                                                     \
		(l)->items[layer].implied = (paths);             \
		(l)->items[layer].implied_bytes = sizeof(paths); \
	} while (0)

/* Paths "a\0b\0" as "a b ". */
static void assert_found(struct layers *l, const char *expected)
{
	assert_int_equal(stack_new(l->items, l->count, OVERLAY_XATTRS_TRUSTED, &l->stack, NULL), 0);
	if (patch_find(l->stack, &l->paths, &l->err) < 0)
		fail_msg("%s", l->err.text);
	for (size_t i = 0; i < l->paths.len; i++)
		l->paths.data[i] = l->paths.data[i] ? l->paths.data[i] : ' ';
	assert_string_equal(buf_text(&l->paths), expected);
	for (size_t i = 0; i < l->paths.len; i++)
		l->paths.data[i] = (char)(l->paths.data[i] == ' ' ? 0 : l->paths.data[i]);
}

static void write_patch(struct layers *l)
{
	auto_close int fd = -EBADF;

	put_dir("patch");
	fd = open_dir("patch", O_RDONLY);
	if (patch_write(l->stack, &l->paths, fd, &l->result, &l->err) < 0)
		fail_msg("%s", l->err.text);
}

static void put_said(const char *path, uid_t uid, mode_t mode, time_t mtime)
{
	put_dir(path);
	assert_int_equal(chown(path, uid, uid + 1), 0);
	assert_int_equal(chmod(path, mode), 0);
	set_mtime(path, mtime, 7);
}

/* As apply makes them. */
static void put_implied(const char *path)
{
	put_said(path, 0, 0755, 0);
	assert_int_equal(chown(path, 0, 0), 0);
	set_mtime(path, 0, 0);
}

static void assert_dir(const char *path, uid_t uid, mode_t mode, time_t mtime, long ns)
{
	struct stat st = look(path);

	assert_int_equal(st.st_mode, S_IFDIR | mode);
	assert_int_equal(st.st_uid, uid);
	assert_int_equal(st.st_gid, uid ? uid + 1 : 0);
	assert_int_equal(st.st_mtim.tv_sec, mtime);
	assert_int_equal(st.st_mtim.tv_nsec, ns);
}

static void directories_that_would_show_wrongly_are_put_right(void **state)
{
	auto_overlay_plan struct overlay_plan plan = OVERLAY_PLAN_INIT;
	auto_layers struct layers l;
	struct err err = { 0 };

	needs_root();
	open_layers(&l, 3);
	put_said("2/usr/share/doc", 3, 0700, 33);
	put_said("2/usr/share", 2, 0711, 22);
	put_said("2/usr", 1, 0555, 11);
	assert_int_equal(setxattr("2/usr/share/doc", "user.x", "value", 5, 0), 0);
	put_file("1/usr/share/doc/a", "");
	put_implied("1/usr/share/doc");
	put_said("1/usr/share", 4, 0750, 44);
	put_implied("1/usr");
	put_file("0/usr/share/b", "");
	put_file("0/new/dir/b", "");
	put_implied("0/usr/share");
	put_implied("0/usr");
	imply(&l, 0, "new\0new/dir\0usr\0usr/share");
	imply(&l, 1, "usr\0usr/share/doc");
	assert_found(&l, "usr usr/share usr/share/doc ");
	write_patch(&l);
	assert_int_equal(l.result.entries, 3);
	assert_int_equal(l.result.bytes, 0);
	assert_true(l.result.root_implied);
	assert_true(l.result.disk_bytes >= 4 * 4096);
	assert_false(exists("patch/new"));
	add_lower(&plan, "patch");
	for (size_t i = 0; i < 3; i++)
		add_lower(&plan, (const char *const[]){ "0", "1", "2" }[i]);
	put_dir("merged");
	if (mount_overlay(&plan, sandbox_path("merged"), NULL, &err) < 0)
		fail_msg("%s", err.text);
	assert_dir("merged/usr", 1, 0555, 11, 7);
	assert_dir("merged/usr/share", 4, 0750, 44, 7);
	assert_dir("merged/usr/share/doc", 3, 0700, 33, 7);
	assert_xattr("merged/usr/share/doc", "user.x", "value", 5);
	assert_true(exists("merged/usr/share/doc/a") && exists("merged/usr/share/b"));
	assert_dir("merged/new/dir", 0, 0755, look("0/new/dir").st_mtim.tv_sec,
		   look("0/new/dir").st_mtim.tv_nsec);
}

/* "a" is implied everywhere: it must look so. */
static void the_way_to_a_directory_is_put_right_too(void **state)
{
	auto_layers struct layers l;

	needs_root();
	open_layers(&l, 2);
	put_said("1/a/b/c", 3, 0700, 33);
	put_said("1/a/b", 2, 0711, 22);
	put_said("0/a/b/c", 0, 0755, 0);
	put_said("0/a/b", 9, 01777, 99);
	imply(&l, 0, "a\0a/b/c");
	imply(&l, 1, "a");
	assert_found(&l, "a/b/c ");
	write_patch(&l);
	assert_dir("patch/a", 0, 0755, 0, 0);
	assert_dir("patch/a/b", 9, 01777, 99, 7);
	assert_dir("patch/a/b/c", 3, 0700, 33, 7);
	assert_int_equal(l.result.entries, 3);
}

static void nothing_is_found_where_nothing_is_wrong(void **state)
{
	auto_layers struct layers l;

	needs_root();
	open_layers(&l, 3);
	put_implied("2/alike");
	put_said("2/hidden", 3, 0700, 33);
	put_said("2/gone", 3, 0700, 33);
	put_said("2/file", 3, 0700, 33);
	put_said("2/said", 3, 0700, 33);
	put_whiteout("1/hidden");
	put_dir("1/gone");
	put_dir("1/file");
	put_dir("1/said");
	put_dir("0/alike");
	put_dir("0/hidden");
	put_whiteout("0/gone");
	put_file("0/file", "");
	put_dir("0/said");
	imply(&l, 1, "file\0gone\0said");
	imply(&l, 0, "alike\0hidden");
	assert_found(&l, "");
}

/* ---- which layers must be bound ---- */

static int ask(struct binder *b, const struct layers *l, size_t lowest, const char *implied,
	       size_t size)
{
	struct err err = { 0 };
	int r = binder_ask(b, l->items + l->count - lowest, lowest, implied, size, &err);

	if (r < 0)
		fail_msg("%s", err.text);
	return r;
}

#define must_bind(b, l, lowest, implied) ask(b, l, lowest, implied, sizeof(implied))

static void a_layer_is_bound_where_an_implied_directory_is_a_link_beneath(void **state)
{
	auto_binder struct binder *b = NULL;
	auto_layers struct layers l;

	needs_root();
	open_layers(&l, 3);
	put_dir("2/usr/bin");
	put_dir("2/real");
	assert_int_equal(symlink("usr/bin", "2/bin"), 0);
	assert_int_equal(symlink("real", "2/link"), 0);
	put_dir("1/link/in");
	assert_int_equal(symlink("../bin", "1/usr"), 0);
	put_whiteout("0/usr");
	assert_int_equal(binder_new(OVERLAY_XATTRS_TRUSTED, &b, NULL), 0);
	assert_int_equal(must_bind(b, &l, 0, "bin\0usr"), 0);
	assert_int_equal(must_bind(b, &l, 1, "usr\0usr/bin\0usr/lib"), 0);
	assert_int_equal(must_bind(b, &l, 1, "a\0bin\0c"), 1);
	assert_int_equal(must_bind(b, &l, 1, "link"), 1);
	/* Where it has its own directory on the way, the list has no more than the last name. */
	assert_int_equal(must_bind(b, &l, 1, "bin/sub"), 0);
	assert_int_equal(must_bind(b, &l, 2, "link"), 0);
	assert_int_equal(must_bind(b, &l, 2, "usr"), 1);
	assert_int_equal(must_bind(b, &l, 3, "usr"), 0);
	assert_int_equal(must_bind(b, &l, 3, "bin"), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		sandbox_test(directories_that_would_show_wrongly_are_put_right),
		sandbox_test(the_way_to_a_directory_is_put_right_too),
		sandbox_test(nothing_is_found_where_nothing_is_wrong),
		sandbox_test(a_layer_is_bound_where_an_implied_directory_is_a_link_beneath),
	};

	return cmocka_run_group_tests(tests, sandbox_enter, sandbox_leave);
}
