/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/progress.h"
#include "tests/unit/util.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#define DIFF_ID "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

/* stderr is a pipe while a test's events happen. */
static int saved_stderr, pipe_fds[2];

static int catch_stderr(void **state)
{
	saved_stderr = dup(STDERR_FILENO);
	return pipe(pipe_fds) < 0 || dup2(pipe_fds[1], STDERR_FILENO) < 0 ? -1 : 0;
}

static int release_stderr(void **state)
{
	(void)dup2(saved_stderr, STDERR_FILENO);
	(void)close(saved_stderr);
	(void)close(pipe_fds[0]);
	return close(pipe_fds[1]);
}

static void caught(const char *expected)
{
	char text[4096] = "";
	ssize_t len;

	assert_int_equal(write(STDERR_FILENO, "", 1), 1); /* there is something to read */
	len = read(pipe_fds[0], text, sizeof(text) - 1);
	assert_true(len > 0);
	assert_string_equal(text, expected);
}

static void happens(struct progress *progress, enum overlaid_event event, uint64_t done,
		    uint64_t total, const char *text)
{
	struct overlaid_progress p = { event, event == OVERLAID_EVENT_NOTE ? NULL : DIFF_ID, done,
				       total, text };

	progress_event(progress, &p);
}

static void elsewhere_each_event_is_a_line(void **state)
{
	struct progress progress;

	assert_int_equal(progress_init(&progress, "auto", false, NULL), 0);
	happens(&progress, OVERLAID_EVENT_LAYER_WAITING, 0, 0, NULL);
	happens(&progress, OVERLAID_EVENT_LAYER_PROGRESS, 5, 10, NULL);
	happens(&progress, OVERLAID_EVENT_LAYER_EXTRACTED, 1500, 1500, NULL);
	happens(&progress, OVERLAID_EVENT_LAYER_EXISTS, 0, 0, NULL);
	happens(&progress, OVERLAID_EVENT_NOTE, 0, 0, "dropped \033[2J\nx");
	progress_pause(&progress);
	caught("0123456789ab: Waiting for another process\n0123456789ab: Extracted 1.5kB\n"
	       "0123456789ab: Already exists\ndropped \\x1b[2J\\x0ax\n");
	progress_release(&progress);
}

static void a_terminal_is_drawn_anew_below_what_is_finished(void **state)
{
	struct progress progress;

	assert_int_equal(progress_init(&progress, "tty", false, NULL), 0);
	happens(&progress, OVERLAID_EVENT_LAYER_PROGRESS, 5, 10, NULL);
	caught("0123456789ab: Extracting [======================>                      ] 5B/10B\n");
	happens(&progress, OVERLAID_EVENT_LAYER_EXTRACTED, 10, 10, NULL);
	caught("\r\033[1A\033[J0123456789ab: Extracted 10B\n");
	happens(&progress, OVERLAID_EVENT_LAYER_WAITING, 0, 0, NULL);
	caught("0123456789ab: Waiting for another process\n");
	progress_pause(&progress);
	caught("\r\033[1A\033[J");
	progress_release(&progress);
}

static void bars_that_only_move_are_drawn_a_few_times_a_second(void **state)
{
	struct progress progress;

	assert_int_equal(progress_init(&progress, "tty", false, NULL), 0);
	progress.drawn_ns = INT64_MAX / 2; /* just now, however slow this machine is */
	happens(&progress, OVERLAID_EVENT_LAYER_PROGRESS, 1, 0, NULL);
	caught("0123456789ab: Extracting 1B\n");
	progress.drawn_ns = INT64_MAX / 2;
	happens(&progress, OVERLAID_EVENT_LAYER_PROGRESS, 2, 0, NULL);
	caught("");
	progress.drawn_ns = 0;
	happens(&progress, OVERLAID_EVENT_LAYER_PROGRESS, 3, 0, NULL);
	caught("\r\033[1A\033[J0123456789ab: Extracting 3B\n");
	progress_release(&progress);
}

static void none_and_quiet_say_nothing(void **state)
{
	struct progress none, quiet;

	assert_int_equal(progress_init(&none, "none", false, NULL), 0);
	assert_int_equal(progress_init(&quiet, NULL, true, NULL), 0);
	happens(&none, OVERLAID_EVENT_LAYER_EXTRACTED, 1, 1, NULL);
	happens(&quiet, OVERLAID_EVENT_LAYER_EXTRACTED, 1, 1, NULL);
	caught("");
}

static void other_modes_are_refused(void **state)
{
	struct progress progress;
	struct err err = { 0 };

	assert_int_equal(progress_init(&progress, "fancy", false, &err), -EINVAL);
	assert_words(&err, "--progress is auto, tty, plain, json or none, not 'fancy'");
}

static void bars_fit_into_the_terminal(void **state)
{
	struct progress_bar bar = { .id = "0123456789ab",
				    .done_bytes = 123456789,
				    .total_bytes = 987654321 };

	for (unsigned int columns = 40; columns < 200; columns++) {
		auto_buf struct buf out = { 0 };

		progress_draw_bar(&bar, columns, &out);
		assert_true(out.len < columns);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(elsewhere_each_event_is_a_line, catch_stderr,
						release_stderr),
		cmocka_unit_test_setup_teardown(a_terminal_is_drawn_anew_below_what_is_finished,
						catch_stderr, release_stderr),
		cmocka_unit_test_setup_teardown(bars_that_only_move_are_drawn_a_few_times_a_second,
						catch_stderr, release_stderr),
		cmocka_unit_test_setup_teardown(none_and_quiet_say_nothing, catch_stderr,
						release_stderr),
		cmocka_unit_test(other_modes_are_refused),
		cmocka_unit_test(bars_fit_into_the_terminal),
	};

	return cmocka_run_group_tests_name("progress", tests, NULL, NULL);
}
