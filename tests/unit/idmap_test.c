/* SPDX-License-Identifier: Apache-2.0 */
#include "driver/idmap.h"

#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <cmocka.h>

#include "driver/base/auto.h"
#include "driver/base/fd.h"
#include "driver/base/sys.h"
#include "driver/mount.h"
#include "tests/unit/sandbox.h"
#include "tests/unit/util.h"

#define assert_ok(r, err)                                     \
	do {                                                  \
		int ok_ = (r);                                \
		if (ok_ < 0)                                  \
			fail_msg("%s (%d)", (err).text, ok_); \
	} while (0)

static const char *merged(void)
{
	return sandbox_path("merged");
}

/* ---- parsing ---- */

static void maps_are_read(void **state)
{
	auto_idmap struct idmap map = { 0 };
	struct err err = { 0 };

	assert_ok(idmap_parse("0:100000:65536,70000:7:1", "5:4294967294:1", &map, &err), err);
	assert_int_equal(map.uid_count, 2);
	assert_int_equal(map.uids[0].inside, 0);
	assert_int_equal(map.uids[0].outside, 100000);
	assert_int_equal(map.uids[0].count, 65536);
	assert_int_equal(map.uids[1].inside, 70000);
	assert_int_equal(map.uids[1].outside, 7);
	assert_int_equal(map.uids[1].count, 1);
	assert_int_equal(map.gid_count, 1);
	assert_int_equal(map.gids[0].inside, 5);
	assert_int_equal(map.gids[0].outside, 4294967294U);
}

static void what_is_no_map_is_refused(void **state)
{
	static const struct {
		const char *text, *words;
	} bad[] = {
		{ "", "form" },
		{ ",", "form" },
		{ "0:1:2,", "form" },
		{ ",0:1:2", "form" },
		{ "0:1:2,,5:6:7", "form" },
		{ "0:1", "form" },
		{ "0:1:2:3", "form" },
		{ "0:1:", "form" },
		{ "::", "form" },
		{ "0:1:2 ", "form" },
		{ " 0:1:2", "form" },
		{ "+0:1:2", "form" },
		{ "-1:1:2", "form" },
		{ "0x1:1:2", "form" },
		{ "0:1:2\n", "form" },
		{ "0:1:4294967296", "form" },
		{ "0:18446744073709551616:1", "form" },
		{ "0:1:0", "nothing" },
		{ "4294967295:0:1", "beyond" },
		{ "0:4294967295:1", "beyond" },
		{ "0:4294967294:2", "beyond" },
		{ "1:0:4294967295", "beyond" },
		{ "0:100000:10,9:200000:1", "overlap" },
		{ "9:200000:1,0:100000:10", "overlap" },
		{ "0:100000:10,20:100009:1", "overlap" },
		{ "0:100000:10,0:100000:10", "overlap" },
	};

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct idmap map = { .uid_count = 99 };
		struct err err = { 0 };

		assert_int_equal(idmap_parse(bad[i].text, "0:1:2", &map, &err), -EINVAL);
		assert_words(&err, bad[i].words);
		assert_words(&err, "user ids");
		assert_int_equal(idmap_parse("0:1:2", bad[i].text, &map, &err), -EINVAL);
		assert_words(&err, "group ids");
		assert_int_equal(map.uid_count, 99);
	}
}

static void all_ids_can_be_mapped(void **state)
{
	auto_idmap struct idmap map = { 0 };
	struct err err = { 0 };
	uint32_t id = 0;

	assert_ok(idmap_parse("0:0:4294967295", "0:9:1,1:10:1", &map, &err), err);
	assert_true(idmap_outside(map.uids, 1, 4294967294U, &id));
	assert_int_equal(id, 4294967294U);
	assert_false(idmap_outside(map.uids, 1, 4294967295U, &id));
}

static void what_a_map_covers_has_no_holes(void **state)
{
	auto_idmap struct idmap map = { 0 };
	struct err err = { 0 };

	assert_ok(idmap_parse("20:7:10,0:100:20,40:200:1", "1:100:9", &map, &err), err);
	assert_true(idmap_covers(map.uids, map.uid_count, 0));
	assert_true(idmap_covers(map.uids, map.uid_count, 19));
	assert_true(idmap_covers(map.uids, map.uid_count, 20));
	assert_true(idmap_covers(map.uids, map.uid_count, 29));
	assert_false(idmap_covers(map.uids, map.uid_count, 30));
	assert_false(idmap_covers(map.uids, map.uid_count, 40));
	assert_false(idmap_covers(map.uids, map.uid_count, UINT32_MAX));
	assert_false(idmap_covers(map.gids, map.gid_count, 0));
	assert_false(idmap_covers(map.gids, map.gid_count, 5));
	assert_false(idmap_covers(NULL, 0, 0));
	idmap_release(&map);
	assert_ok(idmap_parse("0:0:4294967295", "0:0:1", &map, &err), err);
	assert_true(idmap_covers(map.uids, map.uid_count, UINT32_MAX - 1));
	assert_false(idmap_covers(map.uids, map.uid_count, UINT32_MAX));
}

/* `count` ranges of one id each. */
static char *many_ranges(size_t count, unsigned int first)
{
	struct buf text = { 0 };

	for (size_t i = 0; i < count; i++)
		assert_int_equal(buf_printf(&text, "%s%zu:%zu:1", i ? "," : "", first + 2 * i,
					    first + 2 * i),
				 0);
	return buf_take(&text);
}

static void ranges_are_counted(void **state)
{
	auto_idmap struct idmap map = { 0 };
	auto_free char *most = many_ranges(IDMAP_RANGES_MAX, 0);
	auto_free char *more = many_ranges(IDMAP_RANGES_MAX + 1, 0);
	struct err err = { 0 };

	assert_int_equal(idmap_parse(more, most, &map, &err), -EINVAL);
	assert_words(&err, "340");
	assert_ok(idmap_parse(most, most, &map, &err), err);
	assert_int_equal(map.gid_count, IDMAP_RANGES_MAX);
}

static void ids_are_found_both_ways(void **state)
{
	static const struct idmap_range ranges[] = { { 0, 100000, 10 }, { 20, 5, 2 } };
	static const struct {
		uint32_t inside, outside;
	} pairs[] = { { 0, 100000 }, { 9, 100009 }, { 20, 5 }, { 21, 6 } };
	static const uint32_t not_inside[] = { 10, 19, 22, 100000, UINT32_MAX };
	static const uint32_t not_outside[] = { 0, 4, 7, 99999, 100010, UINT32_MAX };
	uint32_t id;

	for (size_t i = 0; i < ARRAY_LEN(pairs); i++) {
		assert_true(idmap_outside(ranges, 2, pairs[i].inside, &id));
		assert_int_equal(id, pairs[i].outside);
		assert_true(idmap_inside(ranges, 2, pairs[i].outside, &id));
		assert_int_equal(id, pairs[i].inside);
	}
	id = 4711;
	for (size_t i = 0; i < ARRAY_LEN(not_inside); i++)
		assert_false(idmap_outside(ranges, 2, not_inside[i], &id));
	for (size_t i = 0; i < ARRAY_LEN(not_outside); i++)
		assert_false(idmap_inside(ranges, 2, not_outside[i], &id));
	assert_false(idmap_outside(ranges, 0, 0, &id));
	assert_int_equal(id, 4711);
}

/* ---- the namespace ---- */

static int userns(const char *uids, const char *gids)
{
	auto_idmap struct idmap map = { 0 };
	struct err err = { 0 };
	int fd;

	assert_ok(idmap_parse(uids, gids, &map, &err), err);
	fd = idmap_userns(&map, &err);
	assert_ok(fd, err);
	return fd;
}

/* 0 where a process that enters it sees these ids. */
static int look_from_within(int fd, const char *expected_uids, const char *expected_gids)
{
	auto_buf struct buf uids = { .max = 4096 };
	auto_buf struct buf gids = { .max = 4096 };

	if (setns(fd, CLONE_NEWUSER) < 0 ||
	    read_file_at(AT_FDCWD, "/proc/self/uid_map", &uids, NULL) < 0 ||
	    read_file_at(AT_FDCWD, "/proc/self/gid_map", &gids, NULL) < 0)
		return 1;
	return strcmp(buf_text(&uids), expected_uids) || strcmp(buf_text(&gids), expected_gids);
}

static void a_namespace_has_the_maps_and_nobody_in_it(void **state)
{
	auto_close int fd = -EBADF;
	int status = -1;
	pid_t pid;

	needs_root();
	fd = userns("0:100000:65536,70000:7:1", "3:200000:5");
	assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
	assert_int_equal(waitpid(-1, NULL, __WALL), -1);
	assert_int_equal(errno, ECHILD);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) /* what the kernel writes has columns */
		_exit(look_from_within(fd,
				       "         0     100000      65536\n"
				       "     70000          7          1\n",
				       "         3     200000          5\n"));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static void a_map_over_a_page_is_told(void **state)
{
	auto_idmap struct idmap map = { 0 };
	auto_free char *long_lines = many_ranges(IDMAP_RANGES_MAX, 1000000);
	struct err err = { 0 };

	needs_root();
	assert_ok(idmap_parse("0:1:1", long_lines, &map, &err), err);
	assert_int_equal(idmap_userns(&map, &err), -E2BIG);
	assert_words(&err, "page");
	assert_int_equal(waitpid(-1, NULL, __WALL), -1);
	assert_int_equal(errno, ECHILD);
}

struct userns_call {
	struct idmap map;
	struct err err;
};

static int call_userns(void *arg)
{
	struct userns_call *call = arg;

	return idmap_userns(&call->map, &call->err);
}

static void no_more_namespaces_is_told(void **state)
{
	static const char *const rules[] = { "clone3:ENOSPC" };
	struct userns_call call = { 0 };

	needs_root();
	assert_int_equal(idmap_parse("0:1:1", "0:1:1", &call.map, NULL), 0);
	assert_int_equal(under_deny(rules, 1, call_userns, &call), -ENOSPC);
	assert_words(&call.err, "max_user_namespaces");
	idmap_release(&call.map);
}

/* ---- mounts ---- */

#define MAP "0:100000:65536"

static void assert_owner(const char *path, uid_t uid, gid_t gid)
{
	struct stat st = look(path);

	assert_int_equal(st.st_uid, uid);
	assert_int_equal(st.st_gid, gid);
}

static void make_layers(void)
{
	put_file("top/both", "top");
	put_file("bottom/both", "bottom");
	put_file("bottom/dir/own", "text");
	assert_int_equal(chown("bottom/dir/own", 5, 6), 0);
	put_file("bottom/gone", "");
	put_whiteout("top/gone");
	put_dir("upper");
	assert_int_equal(chown("upper", 100000, 100000), 0);
}

static void add_mapped(struct overlay_plan *plan, int userns_fd, const char *path)
{
	auto_close int tree = open_dir(path, O_PATH);
	struct err err = { 0 };
	int fd = idmap_clone(tree, userns_fd, &err);

	assert_ok(fd, err);
	assert_ok(overlay_plan_add_lower(plan, fd, sandbox_path(path), &err), err);
}

/* Two layers with the ids inside, and a plain upper. */
static void mapped_plan(struct overlay_plan *plan)
{
	auto_close int ns = userns(MAP, MAP);

	make_layers();
	add_mapped(plan, ns, "top");
	add_mapped(plan, ns, "bottom");
	plan->lowers_detached = true;
	set_upper(plan, "upper", "work");
	put_dir("merged");
}

static void expect_mapped_overlay(void)
{
	assert_contents("merged/both", "top");
	assert_false(exists("merged/gone"));
	assert_owner("merged", 100000, 100000);
	assert_owner("merged/both", 100000, 100000);
	assert_owner("merged/dir", 100000, 100000);
	assert_owner("merged/dir/own", 100005, 100006);
	/* Copied up, the upper has them on disk. */
	assert_int_equal(chmod("merged/dir/own", 0600), 0);
	assert_owner("upper/dir", 100000, 100000);
	assert_owner("upper/dir/own", 100005, 100006);
	assert_contents("upper/dir/own", "text");
	/* And the layers stay as they are. */
	assert_owner("bottom/dir/own", 5, 6);
	assert_owner("bottom/both", 0, 0);
	assert_int_equal(mount_unmount(merged(), NULL), 0);
	assert_int_equal(mount_is_mounted(merged(), NULL), 0);
}

struct mount_call {
	struct overlay_plan plan;
	enum mount_way way;
	struct err err;
};

static int call_mount(void *arg)
{
	struct mount_call *call = arg;

	return mount_overlay(&call->plan, merged(), &call->way, &call->err);
}

static void expect_way(const char *const *rules, size_t count, enum mount_way way)
{
	struct mount_call call = { .plan = OVERLAY_PLAN_INIT, .way = MOUNT_WAYS };

	needs_root();
	mapped_plan(&call.plan);
	assert_ok(under_deny(rules, count, call_mount, &call), call.err);
	overlay_plan_release(&call.plan);
	assert_int_equal(call.way, way);
	expect_mapped_overlay();
}

static void mapped_layers_are_stacked_by_descriptor(void **state)
{
	expect_way(NULL, 0, MOUNT_BY_FD);
}

/* Linux 6.5 to 6.12; and 6.13, which takes no O_PATH. */
static void an_older_kernel_stacks_them_by_name(void **state)
{
	static const char *const rules[] = { "fsconfig:1=5:EINVAL" };

	expect_way(rules, 1, MOUNT_BY_NAME);
}

static void a_kernel_that_takes_no_o_path_stacks_them_by_name(void **state)
{
	static const char *const rules[] = { "fsconfig:1=5:EBADF" };

	expect_way(rules, 1, MOUNT_BY_NAME);
}

static void expect_no_way(const char *const *rules, size_t count)
{
	struct mount_call call = { .plan = OVERLAY_PLAN_INIT };

	needs_root();
	mapped_plan(&call.plan);
	assert_int_equal(under_deny(rules, count, call_mount, &call), -ENOSYS);
	assert_words(&call.err, "Linux 6.5");
	assert_int_equal(mount_is_mounted(merged(), NULL), 0);
	overlay_plan_release(&call.plan);
}

/* By option strings the directories themselves would be mounted, with the wrong ids. */
static void without_the_mount_api_mapped_layers_are_refused(void **state)
{
	static const char *const rules[] = { "fsopen" };

	expect_no_way(rules, 1);
}

static void a_kernel_that_finds_out_at_create_refuses_mapped_layers(void **state)
{
	static const char *const rules[] = { "fsconfig:1=5:EINVAL", "fsconfig:1=6:EINVAL" };

	expect_no_way(rules, 2);
}

/* Half of the layers were stacked on the target when it fails: none stays. */
static void a_failure_midway_leaves_nothing_on_the_target(void **state)
{
	static const char *const rules[] = { "fsconfig:1=5:EINVAL", "fsmount:EIO" };
	struct mount_call call = { .plan = OVERLAY_PLAN_INIT };

	needs_root();
	mapped_plan(&call.plan);
	assert_int_equal(under_deny(rules, 2, call_mount, &call), -EIO);
	assert_int_equal(mount_is_mounted(merged(), NULL), 0);
	overlay_plan_release(&call.plan);
}

static void a_mapped_overlay_can_be_attached_nowhere(void **state)
{
	auto_overlay_plan struct overlay_plan plan = OVERLAY_PLAN_INIT;
	auto_close int fd = -EBADF;
	struct err err = { 0 };
	struct stat st;

	needs_root();
	mapped_plan(&plan);
	fd = mount_overlay_detached(&plan, &err);
	assert_ok(fd, err);
	assert_int_equal(fstatat(fd, "dir/own", &st, AT_SYMLINK_NOFOLLOW), 0);
	assert_int_equal(st.st_uid, 100005);
	assert_int_equal(mount_is_mounted(merged(), NULL), 0);
}

/* What has no id outside is of nobody, and can't be copied up with it. */
static void what_is_not_in_the_map_is_of_nobody(void **state)
{
	auto_overlay_plan struct overlay_plan plan = OVERLAY_PLAN_INIT;
	struct err err = { 0 };

	needs_root();
	put_file("bottom/foreign", "text");
	assert_int_equal(chown("bottom/foreign", 65536, 0), 0);
	mapped_plan(&plan);
	assert_ok(mount_overlay(&plan, merged(), NULL, &err), err);
	assert_owner("merged/foreign", 65534, 100000);
	assert_int_equal(chmod("merged/foreign", 0600), -1);
	assert_int_equal(errno, EOVERFLOW);
	assert_false(exists("upper/foreign"));
}

static void a_clone_is_read_only_and_attached_nowhere(void **state)
{
	auto_close int ns = -EBADF, tree = -EBADF, fd = -EBADF;
	struct err err = { 0 };

	needs_root();
	put_file("top/file", "text");
	tree = open_dir("top", O_RDONLY);
	ns = userns(MAP, MAP);
	fd = idmap_clone(tree, ns, &err);
	assert_ok(fd, err);
	assert_int_equal(openat(fd, "new", O_WRONLY | O_CREAT | O_CLOEXEC, 0600), -1);
	assert_int_equal(errno, EROFS);
	assert_int_equal(mount_is_mounted(sandbox_path("top"), NULL), 0);
}

static void tmpfs_is_mapped_too(void **state)
{
	auto_close int ns = -EBADF, tree = -EBADF, fd = -EBADF;
	struct err err = { 0 };
	struct stat st;

	needs_root();
	put_dir("ram");
	assert_int_equal(sys_mount("none", sandbox_path("ram"), "tmpfs", 0, NULL), 0);
	put_file("ram/file", "");
	tree = open_dir("ram", O_RDONLY);
	ns = userns(MAP, "0:200000:1");
	fd = idmap_clone(tree, ns, &err);
	assert_ok(fd, err);
	assert_int_equal(fstatat(fd, "file", &st, 0), 0);
	assert_int_equal(st.st_uid, 100000);
	assert_int_equal(st.st_gid, 200000);
}

static void what_cannot_be_mapped_is_named(void **state)
{
	auto_overlay_plan struct overlay_plan plan = OVERLAY_PLAN_INIT;
	auto_close int ns = -EBADF, tree = -EBADF;
	struct err err = { 0 };

	needs_root();
	add_lower(&plan, "a");
	add_lower(&plan, "b");
	put_dir("merged");
	assert_ok(mount_overlay(&plan, merged(), NULL, &err), err);
	tree = open_dir("merged", O_RDONLY);
	ns = userns(MAP, MAP);
	assert_int_equal(idmap_clone(tree, ns, &err), -EOPNOTSUPP);
	assert_words(&err, "type overlay");
}

struct clone_call {
	int tree, ns;
	struct err err;
};

static int call_clone(void *arg)
{
	struct clone_call *call = arg;

	return idmap_clone(call->tree, call->ns, &call->err);
}

static void an_old_kernel_is_told(void **state)
{
	static const char *const no_tree[] = { "open_tree" };
	static const char *const no_attr[] = { "mount_setattr" };
	struct clone_call call = { 0 };

	needs_root();
	put_dir("top");
	call.tree = open_dir("top", O_RDONLY);
	call.ns = userns(MAP, MAP);
	assert_int_equal(under_deny(no_tree, 1, call_clone, &call), -ENOSYS);
	assert_words(&call.err, "Linux 5.12");
	assert_int_equal(under_deny(no_attr, 1, call_clone, &call), -ENOSYS);
	assert_words(&call.err, "Linux 5.12");
	(void)close(call.tree);
	(void)close(call.ns);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(maps_are_read),
		cmocka_unit_test(what_is_no_map_is_refused),
		cmocka_unit_test(all_ids_can_be_mapped),
		cmocka_unit_test(what_a_map_covers_has_no_holes),
		cmocka_unit_test(ranges_are_counted),
		cmocka_unit_test(ids_are_found_both_ways),
		sandbox_test(a_namespace_has_the_maps_and_nobody_in_it),
		sandbox_test(a_map_over_a_page_is_told),
		sandbox_test(no_more_namespaces_is_told),
		sandbox_test(mapped_layers_are_stacked_by_descriptor),
		sandbox_test(an_older_kernel_stacks_them_by_name),
		sandbox_test(a_kernel_that_takes_no_o_path_stacks_them_by_name),
		sandbox_test(without_the_mount_api_mapped_layers_are_refused),
		sandbox_test(a_kernel_that_finds_out_at_create_refuses_mapped_layers),
		sandbox_test(a_failure_midway_leaves_nothing_on_the_target),
		sandbox_test(a_mapped_overlay_can_be_attached_nowhere),
		sandbox_test(what_is_not_in_the_map_is_of_nobody),
		sandbox_test(a_clone_is_read_only_and_attached_nowhere),
		sandbox_test(tmpfs_is_mapped_too),
		sandbox_test(what_cannot_be_mapped_is_named),
		sandbox_test(an_old_kernel_is_told),
	};

	return cmocka_run_group_tests_name("idmap", tests, sandbox_enter, sandbox_leave);
}
