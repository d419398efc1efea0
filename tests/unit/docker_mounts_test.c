/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/serve/docker_mounts.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include "cmd/serve/serve.h"
#include "driver/base/auto.h"
#include "driver/base/fd.h"
#include "tests/unit/sandbox.h"
#include "tests/unit/util.h"
#include <cmocka.h>

#define THREADS 8
#define ROUNDS	200

/* What mounts here: a tmpfs; how often it did. */
static atomic_int mounted;

static int mount_tmpfs(void *arg, const char *target, struct err *err)
{
	int r = mkdir_parents(target, 0711, err);

	if (r < 0)
		return r;
	if (arg) {
		(void)snprintf(err->text, sizeof(err->text), "no room");
		return -ENOSPC;
	}
	atomic_fetch_add(&mounted, 1);
	return mount("tmpfs", target, "tmpfs", 0, "size=4k") < 0 ? -errno : 0;
}

static const struct mounts_how kept = { .writable = true, .keep = true, .mount = mount_tmpfs },
			       plain = { .writable = true, .mount = mount_tmpfs },
			       read_only = { .mount = mount_tmpfs };

void serve_log(const char *fmt, ...)
{
}

static struct mounts *begin_at(const char *dir)
{
	struct mounts *m = NULL;
	struct err err = { 0 };

	atomic_store(&mounted, 0);
	if (mounts_new(dir, &m, &err) < 0)
		fail_msg("%s", err.text);
	return m;
}

static struct mounts *begin(void)
{
	return begin_at(sandbox_path("dir"));
}

static void get(struct mounts *m, const char *id, const struct mounts_how *how)
{
	auto_free char *dir = NULL, *path = mounts_path(m, id);
	struct err err = { 0 };

	if (mounts_get(m, id, how, &dir, &err) < 0)
		fail_msg("%s", err.text);
	assert_string_equal(dir, path);
	assert_int_equal(overlaid_is_attached(path, NULL), 1);
}

static void put(struct mounts *m, const char *id)
{
	assert_true(mounts_put(m, id, NULL) >= 0);
}

static bool is_mounted(struct mounts *m, const char *id)
{
	auto_free char *path = mounts_path(m, id);

	return overlaid_is_attached(path, NULL) > 0;
}

/* A thread does it. */
static void await_unmounted(struct mounts *m, const char *id)
{
	while (is_mounted(m, id))
		(void)sched_yield();
}

static void it_is_mounted_while_somebody_wants_it(void **state)
{
	struct mounts *m;

	needs_root();
	m = begin();
	get(m, "a", &plain);
	get(m, "a", &plain);
	assert_int_equal(mounted, 1);
	assert_int_equal(mounts_wanted(m), 1);
	put(m, "a");
	assert_true(is_mounted(m, "a"));
	put(m, "a");
	assert_false(is_mounted(m, "a"));
	assert_false(exists("dir/a"));
	put(m, "a");
	put(m, "never");
	assert_int_equal(mounts_wanted(m), 0);
	mounts_unref(m);
}

static void what_is_kept_is_not_mounted_again_and_goes_by_itself(void **state)
{
	struct mounts *m;

	needs_root();
	m = begin();
	get(m, "a", &kept);
	put(m, "a");
	assert_true(is_mounted(m, "a"));
	get(m, "a", &kept);
	assert_int_equal(mounted, 1);
	put(m, "a");
	await_unmounted(m, "a");
	mounts_unref(m);
	assert_false(exists("dir/a"));
}

static void what_is_kept_is_mounted_anew_where_it_may_no_longer_be_written_to(void **state)
{
	struct mounts *m;

	needs_root();
	m = begin();
	get(m, "a", &kept);
	put(m, "a");
	get(m, "a", &read_only);
	assert_int_equal(mounted, 2);
	put(m, "a");
	assert_false(is_mounted(m, "a"));
	mounts_unref(m);
}

static void what_was_removed_is_unmounted_whoever_wants_it(void **state)
{
	struct mounts *m;

	needs_root();
	m = begin();
	get(m, "a", &kept);
	get(m, "a", &kept);
	mounts_drop(m, "a");
	get(m, "a", &kept);
	assert_int_equal(mounted, 2);
	put(m, "a");
	mounts_drop(m, "a");
	await_unmounted(m, "a");
	mounts_drop(m, "never");
	mounts_unref(m);
	assert_false(exists("dir/a"));
}

static void all_can_be_unmounted_at_once(void **state)
{
	struct mounts *m;

	needs_root();
	m = begin();
	get(m, "a", &kept);
	get(m, "b", &plain);
	get(m, "c", &kept);
	put(m, "c");
	assert_int_equal(mounts_clear(m, NULL), 0);
	assert_false(is_mounted(m, "a") || is_mounted(m, "b") || is_mounted(m, "c"));
	assert_int_equal(mounts_wanted(m), 0);
	put(m, "a");
	mounts_unref(m);
}

static void counts_outlive_us(void **state)
{
	struct mounts *m;

	needs_root();
	m = begin();
	get(m, "a", &kept);
	get(m, "a", &kept);
	get(m, "b", &kept);
	put(m, "b");
	mounts_unref(m);
	m = begin();
	assert_false(is_mounted(m, "b"));
	assert_int_equal(mounts_wanted(m), 1);
	get(m, "a", &kept);
	assert_int_equal(mounted, 0);
	put(m, "a");
	put(m, "a");
	assert_true(is_mounted(m, "a"));
	assert_int_equal(mounts_wanted(m), 1);
	put(m, "a");
	assert_int_equal(mounts_wanted(m), 0);
	await_unmounted(m, "a");
	mounts_unref(m);
}

static void a_dead_dockerd_wanted_it_once_at_most(void **state)
{
	struct mounts *m;

	needs_root();
	m = begin();
	get(m, "a", &plain);
	get(m, "a", &plain);
	get(m, "b", &kept);
	put(m, "b");
	mounts_inherit(m);
	put(m, "a");
	assert_false(is_mounted(m, "a"));
	mounts_unref(m);
}

/* As after a reboot. */
static void a_count_without_a_mount_is_none(void **state)
{
	auto_free char *path = NULL;
	struct mounts *m;

	needs_root();
	m = begin();
	get(m, "a", &plain);
	path = mounts_path(m, "a");
	mounts_unref(m);
	assert_int_equal(umount2(path, MNT_DETACH), 0);
	m = begin();
	assert_int_equal(mounts_wanted(m), 0);
	assert_false(exists("dir/a"));
	put(m, "a");
	get(m, "a", &plain);
	assert_int_equal(mounted, 1);
	put(m, "a");
	mounts_unref(m);
}

static void a_mount_without_a_count_was_wanted_once(void **state)
{
	struct mounts *m;

	needs_root();
	m = begin();
	get(m, "a", &plain);
	get(m, "a", &plain);
	mounts_unref(m);
	assert_int_equal(unlink(sandbox_path("dir/a/count")), 0);
	m = begin();
	put(m, "a");
	assert_int_equal(mounts_wanted(m), 0);
	await_unmounted(m, "a");
	mounts_unref(m);
}

static void a_torn_count_is_one(void **state)
{
	static const char *const torn[] = { "", "x", "-1", "99999999999999999999", "1000001" };
	struct mounts *m;

	needs_root();
	for (size_t i = 0; i < ARRAY_LEN(torn); i++) {
		m = begin();
		get(m, "a", &plain);
		get(m, "a", &plain);
		mounts_unref(m);
		put_file("dir/a/count", torn[i]);
		m = begin();
		assert_true(is_mounted(m, "a"));
		put(m, "a");
		assert_int_equal(mounts_wanted(m), 0);
		await_unmounted(m, "a");
		mounts_unref(m);
	}
}

static void what_else_lies_there_is_no_harm(void **state)
{
	struct mounts *m;

	needs_root();
	put_file("dir/file", "x");
	put_file("dir/no-directory/fs", "x");
	put_file("dir/full/fs/x", "x");
	put_file("dir/counted/count", "5");
	put_file("other/fs/x", "x");
	put_file("other/count", "x");
	put_dir("dir/a");
	assert_int_equal(symlink("loop", sandbox_path("dir/loop")), 0);
	assert_int_equal(symlink("../other", sandbox_path("dir/link")), 0);
	assert_int_equal(symlink("../../other/count", sandbox_path("dir/a/count")), 0);
	m = begin();
	assert_int_equal(mounts_wanted(m), 0);
	assert_false(exists("dir/counted"));
	get(m, "a", &plain);
	get(m, "full", &plain);
	put(m, "a");
	put(m, "full");
	assert_false(is_mounted(m, "full"));
	get(m, "full", &plain);
	assert_int_equal(mounts_clear(m, NULL), 0);
	mounts_unref(m);
	assert_contents("dir/full/fs/x", "x");
	assert_contents("other/fs/x", "x");
	assert_contents("other/count", "x");
}

static void a_tar_that_came_in_when_we_ended_comes_in_no_more(void **state)
{
	struct err err = { 0 };
	struct mounts *m;

	needs_root();
	m = begin();
	for (int i = 0; i < 2; i++) {
		assert_int_equal(mounts_begin_fill(m, "a", &err), 0);
		mounts_end_fill(m, "a");
		assert_false(exists("dir/a"));
	}
	assert_int_equal(mounts_begin_fill(m, "a", &err), 0);
	mounts_unref(m);
	m = begin();
	assert_int_equal(mounts_begin_fill(m, "a", &err), -EALREADY);
	assert_words(&err, "remove it");
	get(m, "a", &plain);
	put(m, "a");
	assert_int_equal(mounts_begin_fill(m, "a", &err), -EALREADY);
	mounts_drop(m, "a");
	assert_false(exists("dir/a"));
	assert_int_equal(mounts_begin_fill(m, "a", &err), 0);
	mounts_drop(m, "a");
	mounts_unref(m);
}

static void a_directory_has_one_of_these(void **state)
{
	struct mounts *m, *same;

	needs_root();
	m = begin();
	same = begin();
	assert_ptr_equal(m, same);
	get(m, "a", &kept);
	put(m, "a");
	mounts_unref(m);
	assert_true(is_mounted(same, "a"));
	get(same, "a", &kept);
	assert_int_equal(mounted, 1);
	put(same, "a");
	mounts_unref(same);
	assert_false(exists("dir/a"));
}

struct beginning {
	pthread_t thread;
	const char *dir, *id;
};

static void *begin_and_end(void *arg)
{
	const struct beginning *b = arg;

	for (int i = 0; i < ROUNDS; i++) {
		struct mounts *m = begin_at(b->dir);

		get(m, b->id, &kept);
		put(m, b->id);
		mounts_unref(m);
	}
	return NULL;
}

/* Who begins waits for the end of the one before. */
static void it_may_end_and_begin_at_once(void **state)
{
	static const char *const ids[] = { "a", "b", "c" };
	const char *dir = sandbox_path("dir");
	struct beginning threads[THREADS];

	needs_root();
	for (size_t i = 0; i < THREADS; i++) {
		threads[i] = (struct beginning){ .dir = dir, .id = ids[i % ARRAY_LEN(ids)] };
		assert_int_equal(pthread_create(&threads[i].thread, NULL, begin_and_end,
						&threads[i]),
				 0);
	}
	for (size_t i = 0; i < THREADS; i++)
		assert_int_equal(pthread_join(threads[i].thread, NULL), 0);
	assert_false(exists("dir/a") || exists("dir/b") || exists("dir/c"));
}

static void a_mount_that_is_gone_is_made_again(void **state)
{
	auto_free char *path = NULL;
	struct mounts *m;

	needs_root();
	m = begin();
	get(m, "a", &plain);
	path = mounts_path(m, "a");
	assert_int_equal(umount2(path, MNT_DETACH), 0);
	get(m, "a", &plain);
	assert_int_equal(mounted, 2);
	put(m, "a");
	put(m, "a");
	assert_false(is_mounted(m, "a"));
	mounts_unref(m);
}

static void a_mount_that_fails_leaves_nothing(void **state)
{
	const struct mounts_how full = { .mount = mount_tmpfs, .arg = &mounted };
	struct err err = { 0 };
	struct mounts *m;
	char *dir = NULL;

	needs_root();
	m = begin();
	assert_int_equal(mounts_get(m, "a", &full, &dir, &err), -ENOSPC);
	assert_words(&err, "no room");
	assert_null(dir);
	assert_false(exists("dir/a"));
	assert_int_equal(mounts_wanted(m), 0);
	get(m, "a", &plain);
	put(m, "a");
	mounts_unref(m);
}

static void *get_and_put(void *arg)
{
	static const char *const ids[] = { "a", "b", "c" };
	struct mounts *m = arg;

	for (int i = 0; i < ROUNDS; i++) {
		get(m, ids[i % 3], i % 2 ? &kept : &plain);
		put(m, ids[i % 3]);
	}
	return NULL;
}

static void many_want_them_at_once(void **state)
{
	pthread_t threads[THREADS];
	struct mounts *m;

	needs_root();
	m = begin();
	for (size_t i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, get_and_put, m), 0);
	for (size_t i = 0; i < THREADS; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	assert_int_equal(mounts_wanted(m), 0);
	await_unmounted(m, "a");
	await_unmounted(m, "b");
	await_unmounted(m, "c");
	mounts_unref(m);
	assert_false(exists("dir/a") || exists("dir/b") || exists("dir/c"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		sandbox_test(it_is_mounted_while_somebody_wants_it),
		sandbox_test(what_is_kept_is_not_mounted_again_and_goes_by_itself),
		sandbox_test(what_is_kept_is_mounted_anew_where_it_may_no_longer_be_written_to),
		sandbox_test(what_was_removed_is_unmounted_whoever_wants_it),
		sandbox_test(all_can_be_unmounted_at_once),
		sandbox_test(counts_outlive_us),
		sandbox_test(a_dead_dockerd_wanted_it_once_at_most),
		sandbox_test(a_count_without_a_mount_is_none),
		sandbox_test(a_mount_without_a_count_was_wanted_once),
		sandbox_test(a_torn_count_is_one),
		sandbox_test(what_else_lies_there_is_no_harm),
		sandbox_test(a_tar_that_came_in_when_we_ended_comes_in_no_more),
		sandbox_test(a_directory_has_one_of_these),
		sandbox_test(it_may_end_and_begin_at_once),
		sandbox_test(a_mount_that_is_gone_is_made_again),
		sandbox_test(a_mount_that_fails_leaves_nothing),
		sandbox_test(many_want_them_at_once),
	};

	return cmocka_run_group_tests(tests, sandbox_enter, sandbox_leave);
}
