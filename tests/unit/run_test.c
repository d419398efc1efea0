/* SPDX-License-Identifier: Apache-2.0 */
#include "driver/base/run.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <cmocka.h>

#define PLENTY_MS 60000

static int run_script(const char *script, const void *input, size_t len, unsigned int timeout_ms,
		      struct buf *out, struct err *err)
{
	const char *const argv[] = { "sh", "-c", script, NULL };
	const struct run_plan plan = {
		.argv = argv, .input = input, .input_len = len, .timeout_ms = timeout_ms
	};

	return run_program(&plan, out, err);
}

static void what_it_writes_and_how_it_ends_is_told(void **state)
{
	auto_buf struct buf out = { 0 };

	assert_int_equal(run_script("cat; echo x >&2; exit 3", "hello", 5, PLENTY_MS, &out, NULL),
			 3);
	assert_string_equal(buf_text(&out), "hello");
	assert_int_equal(run_script("kill -TERM $$", "", 0, PLENTY_MS, &out, NULL), 128 + SIGTERM);
	assert_int_equal(run_script("exit 0", "ignored", 7, PLENTY_MS, &out, NULL), 0);
	assert_string_equal(buf_text(&out), "hello");
}

static void much_goes_in_and_out(void **state)
{
	const size_t len = 3 << 20;
	auto_buf struct buf out = { .max = 4 << 20 };
	auto_free char *input = malloc(len);

	assert_non_null(input);
	for (size_t i = 0; i < len; i++)
		input[i] = (char)(i * 7 >> 3);
	assert_int_equal(run_script("cat", input, len, PLENTY_MS, &out, NULL), 0);
	assert_int_equal(out.len, len);
	assert_memory_equal(out.data, input, len);
}

static void what_is_too_much_or_too_slow_is_ended(void **state)
{
	auto_buf struct buf out = { .max = 5000 }, none = { 0 };
	struct err err = { 0 };

	assert_int_equal(run_script("exec yes", "", 0, PLENTY_MS, &out, &err), -EFBIG);
	assert_non_null(strstr(err.text, "what sh writes"));
	assert_int_equal(run_script("exec sleep 1000", "", 0, 1, &none, &err), -ETIMEDOUT);
	assert_non_null(strstr(err.text, "sh: no answer for 1 ms"));
	assert_int_equal(run_script("exec >&- <&-; exec sleep 1000", "", 0, 300, &none, &err),
			 -ETIMEDOUT);
	/* None of them is left. */
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
}

static void a_program_that_is_not_there_is_enoent(void **state)
{
	const char *const argv[] = { "overlaid-no-such-program", NULL };
	const struct run_plan plan = { .argv = argv, .timeout_ms = PLENTY_MS };
	auto_buf struct buf out = { 0 };
	struct err err = { 0 };

	assert_int_equal(run_program(&plan, &out, &err), -ENOENT);
	assert_non_null(strstr(err.text, "start overlaid-no-such-program"));
}

static void signals_are_as_at_the_start_of_a_login(void **state)
{
	auto_buf struct buf out = { 0 };
	sigset_t all, before;

	(void)sigfillset(&all);
	(void)sigprocmask(SIG_SETMASK, &all, &before);
	(void)signal(SIGPIPE, SIG_IGN);
	assert_int_equal(run_script("kill -PIPE $$; echo ignored", "", 0, PLENTY_MS, &out, NULL),
			 128 + SIGPIPE);
	(void)signal(SIGPIPE, SIG_DFL);
	(void)sigprocmask(SIG_SETMASK, &before, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_it_writes_and_how_it_ends_is_told),
		cmocka_unit_test(much_goes_in_and_out),
		cmocka_unit_test(what_is_too_much_or_too_slow_is_ended),
		cmocka_unit_test(a_program_that_is_not_there_is_enoent),
		cmocka_unit_test(signals_are_as_at_the_start_of_a_login),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
