/* SPDX-License-Identifier: Apache-2.0 */
#include "driver/overlay.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <cmocka.h>

static int open_any(void)
{
	int fd = open("/", O_PATH | O_CLOEXEC);

	assert_true(fd >= 0);
	return fd;
}

static bool is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

static int add(struct overlay_plan *plan, const char *path, struct err *err)
{
	return overlay_plan_add_lower(plan, open_any(), path, err);
}

static void add_numbered(struct overlay_plan *plan, int count)
{
	char path[96];

	for (int i = 0; i < count; i++) {
		(void)snprintf(path, sizeof(path), "/layers/sha256/%064d/diff", i);
		assert_int_equal(add(plan, path, NULL), 0);
	}
}

static void lowers_keep_their_order(void **state)
{
	auto_overlay_plan struct overlay_plan plan = OVERLAY_PLAN_INIT;
	int top = open_any();

	assert_int_equal(overlay_plan_add_lower(&plan, top, "/c", NULL), 0);
	assert_int_equal(add(&plan, "/a", NULL), 0);
	assert_int_equal(add(&plan, "/b", NULL), 0);
	assert_int_equal(plan.lower_count, 3);
	assert_string_equal(plan.lower_paths[0], "/c");
	assert_string_equal(plan.lower_paths[1], "/a");
	assert_string_equal(plan.lower_paths[2], "/b");
	assert_int_equal(plan.lower_fds[0], top);
}

static void of_equal_layers_only_the_topmost_is_kept(void **state)
{
	auto_overlay_plan struct overlay_plan plan = OVERLAY_PLAN_INIT;
	int again;

	assert_int_equal(add(&plan, "/a", NULL), 0);
	assert_int_equal(add(&plan, "/empty", NULL), 0);
	assert_int_equal(add(&plan, "/b", NULL), 0);
	again = open_any();
	assert_int_equal(overlay_plan_add_lower(&plan, again, "/empty", NULL), 0);
	assert_false(is_open(again));
	assert_int_equal(add(&plan, "/c", NULL), 0);
	assert_int_equal(plan.lower_count, 4);
	assert_string_equal(plan.lower_paths[1], "/empty");
	assert_string_equal(plan.lower_paths[2], "/b");
	assert_string_equal(plan.lower_paths[3], "/c");
}

static void paths_are_compared_whole(void **state)
{
	auto_overlay_plan struct overlay_plan plan = OVERLAY_PLAN_INIT;

	assert_int_equal(add(&plan, "/x/1/diff", NULL), 0);
	assert_int_equal(add(&plan, "/x/2/diff", NULL), 0);
	assert_int_equal(add(&plan, "/y/1/diff", NULL), 0);
	assert_int_equal(add(&plan, "/1/diff", NULL), 0);
	assert_int_equal(add(&plan, "/x/1/dif", NULL), 0);
	assert_int_equal(plan.lower_count, 5);
}

static void five_hundred_lowers_fit_and_one_more_is_refused(void **state)
{
	auto_overlay_plan struct overlay_plan plan = OVERLAY_PLAN_INIT;
	struct err err = { 0 };
	int refused;

	add_numbered(&plan, OVERLAY_LOWERS_MAX);
	assert_int_equal(plan.lower_count, 500);
	refused = open_any();
	assert_int_equal(overlay_plan_add_lower(&plan, refused, "/one-more", &err), -E2BIG);
	assert_non_null(strstr(err.text, "500"));
	assert_non_null(strstr(err.text, "/one-more"));
	assert_false(is_open(refused));
	assert_int_equal(plan.lower_count, 500);
}

static void a_duplicate_does_not_count_towards_the_limit(void **state)
{
	auto_overlay_plan struct overlay_plan plan = OVERLAY_PLAN_INIT;

	add_numbered(&plan, OVERLAY_LOWERS_MAX);
	assert_int_equal(add(&plan, plan.lower_paths[7], NULL), 0);
	assert_int_equal(plan.lower_count, 500);
}

static void release_closes_all_and_leaves_an_empty_plan(void **state)
{
	struct overlay_plan plan = OVERLAY_PLAN_INIT;
	int lower = open_any(), upper = open_any(), work = open_any();

	assert_int_equal(overlay_plan_add_lower(&plan, lower, "/l", NULL), 0);
	assert_int_equal(overlay_plan_set_upper(&plan, upper, "/u", work, "/w", NULL), 0);
	assert_int_equal(plan.upper_fd, upper);
	assert_int_equal(plan.work_fd, work);
	assert_string_equal(plan.upper_path, "/u");
	assert_string_equal(plan.work_path, "/w");
	overlay_plan_release(&plan);
	assert_false(is_open(lower) || is_open(upper) || is_open(work));
	assert_int_equal(plan.lower_count, 0);
	assert_true(plan.upper_fd < 0 && plan.work_fd < 0);
	overlay_plan_release(&plan);
}

static void release_keeps_errno(void **state)
{
	struct overlay_plan plan = OVERLAY_PLAN_INIT;

	assert_int_equal(add(&plan, "/l", NULL), 0);
	errno = EXDEV;
	overlay_plan_release(&plan);
	assert_int_equal(errno, EXDEV);
}

static void without_an_upper_two_lowers_are_wanted(void **state)
{
	auto_overlay_plan struct overlay_plan plan = OVERLAY_PLAN_INIT;

	assert_int_equal(overlay_plan_missing_lowers(&plan), 2);
	assert_int_equal(add(&plan, "/a", NULL), 0);
	assert_int_equal(overlay_plan_missing_lowers(&plan), 1);
	assert_int_equal(add(&plan, "/b", NULL), 0);
	assert_int_equal(overlay_plan_missing_lowers(&plan), 0);
	assert_int_equal(add(&plan, "/c", NULL), 0);
	assert_int_equal(overlay_plan_missing_lowers(&plan), 0);
}

static void with_an_upper_one_lower_is_enough(void **state)
{
	auto_overlay_plan struct overlay_plan plan = OVERLAY_PLAN_INIT;

	assert_int_equal(overlay_plan_set_upper(&plan, open_any(), "/u", open_any(), "/w", NULL),
			 0);
	assert_int_equal(overlay_plan_missing_lowers(&plan), 1);
	assert_int_equal(add(&plan, "/a", NULL), 0);
	assert_int_equal(overlay_plan_missing_lowers(&plan), 0);
}

static void an_image_over_the_limit_is_refused_by_name(void **state)
{
	struct err err = { 0 };

	assert_int_equal(overlay_check_lowers(0, "tiny", &err), 0);
	assert_int_equal(overlay_check_lowers(500, "big", &err), 0);
	assert_string_equal(err.text, "");
	assert_int_equal(overlay_check_lowers(501, "docker.io/library/huge:latest", &err), -E2BIG);
	assert_non_null(strstr(err.text, "docker.io/library/huge:latest"));
	assert_non_null(strstr(err.text, "501"));
	assert_non_null(strstr(err.text, "500"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lowers_keep_their_order),
		cmocka_unit_test(of_equal_layers_only_the_topmost_is_kept),
		cmocka_unit_test(paths_are_compared_whole),
		cmocka_unit_test(five_hundred_lowers_fit_and_one_more_is_refused),
		cmocka_unit_test(a_duplicate_does_not_count_towards_the_limit),
		cmocka_unit_test(release_closes_all_and_leaves_an_empty_plan),
		cmocka_unit_test(release_keeps_errno),
		cmocka_unit_test(without_an_upper_two_lowers_are_wanted),
		cmocka_unit_test(with_an_upper_one_lower_is_enough),
		cmocka_unit_test(an_image_over_the_limit_is_refused_by_name),
	};

	return cmocka_run_group_tests_name("overlay", tests, NULL, NULL);
}
