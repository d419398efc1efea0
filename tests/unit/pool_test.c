/* SPDX-License-Identifier: Apache-2.0 */
#include "driver/base/pool.h"

#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#undef fail /* cmocka's; ours is meant */

#include "driver/base/auto.h"

static int count_job(size_t index, void *arg, const atomic_bool *cancelled, struct err *err)
{
	atomic_int *runs = arg;

	atomic_fetch_add(&runs[index], 1);
	return 0;
}

static void every_job_runs_once(void **state)
{
	static const unsigned int workers[] = { 0, 1, 2, 7, 100 };

	for (size_t w = 0; w < ARRAY_LEN(workers); w++) {
		atomic_int runs[50] = { 0 };

		assert_int_equal(pool_run(50, workers[w], count_job, runs, NULL), 0);
		for (size_t i = 0; i < 50; i++)
			assert_int_equal(runs[i], 1);
	}
}

static int never_job(size_t index, void *arg, const atomic_bool *cancelled, struct err *err)
{
	return fail(err, -EIO, "must not run");
}

static void no_jobs_are_no_work(void **state)
{
	assert_int_equal(pool_run(0, 4, never_job, NULL, NULL), 0);
}

struct order {
	size_t seen[20];
	size_t count;
};

static int order_job(size_t index, void *arg, const atomic_bool *cancelled, struct err *err)
{
	struct order *order = arg;

	order->seen[order->count++] = index;
	return 0;
}

static void jobs_start_in_order(void **state)
{
	struct order order = { 0 };

	assert_int_equal(pool_run(20, 1, order_job, &order, NULL), 0);
	assert_int_equal(order.count, 20);
	for (size_t i = 0; i < 20; i++)
		assert_int_equal(order.seen[i], i);
}

struct crowd {
	atomic_int inside;
	atomic_int most;
	atomic_int arrived;
	int wait_for; /* so many jobs must be inside at once before any goes on */
};

static int crowd_job(size_t index, void *arg, const atomic_bool *cancelled, struct err *err)
{
	struct crowd *crowd = arg;
	int inside = atomic_fetch_add(&crowd->inside, 1) + 1;
	int most = atomic_load(&crowd->most);

	while (inside > most && !atomic_compare_exchange_weak(&crowd->most, &most, inside))
		;
	atomic_fetch_add(&crowd->arrived, 1);
	while (atomic_load(&crowd->arrived) < crowd->wait_for)
		(void)sched_yield();
	atomic_fetch_sub(&crowd->inside, 1);
	return 0;
}

static void as_many_jobs_as_workers_run_at_once_and_no_more(void **state)
{
	struct crowd crowd = { .wait_for = 3 };

	assert_int_equal(pool_run(30, 3, crowd_job, &crowd, NULL), 0);
	assert_int_equal(crowd.most, 3);
	assert_int_equal(crowd.arrived, 30);
}

static int fifth_fails_job(size_t index, void *arg, const atomic_bool *cancelled, struct err *err)
{
	atomic_int *runs = arg;

	atomic_fetch_add(runs, 1);
	if (index == 5)
		return fail(err, -ENOSPC, "layer %zu: %m", index);
	return 0;
}

static void a_failure_is_returned_and_no_further_job_starts(void **state)
{
	struct err err = { 0 };
	atomic_int runs = 0;

	assert_int_equal(pool_run(100, 1, fifth_fails_job, &runs, &err), -ENOSPC);
	assert_string_equal(err.text, "layer 5: No space left on device");
	assert_int_equal(runs, 6);
	assert_int_equal(pool_run(100, 1, fifth_fails_job, &runs, NULL), -ENOSPC);
}

static int waits_for_cancel_job(size_t index, void *arg, const atomic_bool *cancelled,
				struct err *err)
{
	atomic_bool *waiting = arg;

	if (index == 0) {
		atomic_store(waiting, true);
		while (!atomic_load(cancelled))
			(void)sched_yield();
		return fail(err, -ECANCELED, "given up");
	}
	while (!atomic_load(waiting))
		(void)sched_yield();
	return fail(err, -EBADMSG, "the cause");
}

static void a_running_job_sees_the_failure_and_does_not_cover_it(void **state)
{
	atomic_bool waiting = false;
	struct err err = { 0 };

	assert_int_equal(pool_run(2, 2, waits_for_cancel_job, &waiting, &err), -EBADMSG);
	assert_string_equal(err.text, "the cause");
}

static int cancelled_first_job(size_t index, void *arg, const atomic_bool *cancelled,
			       struct err *err)
{
	atomic_bool *running = arg;

	if (index == 0) {
		atomic_store(running, true);
		while (!atomic_load(cancelled))
			(void)sched_yield();
		return fail(err, -EIO, "the cause");
	}
	while (!atomic_load(running))
		(void)sched_yield();
	return fail(err, -ECANCELED, "given up");
}

static void a_cause_covers_an_earlier_cancellation(void **state)
{
	atomic_bool running = false;
	struct err err = { 0 };

	assert_int_equal(pool_run(2, 2, cancelled_first_job, &running, &err), -EIO);
	assert_string_equal(err.text, "the cause");
}

struct fs_view {
	mode_t mask;
	char cwd[64];
	bool own_thread;
	bool signals_blocked;
	pthread_t caller;
};

static int fs_job(size_t index, void *arg, const atomic_bool *cancelled, struct err *err)
{
	struct fs_view *view = arg;
	sigset_t blocked;

	view->mask = umask(0111);
	view->own_thread = !pthread_equal(pthread_self(), view->caller);
	view->signals_blocked = pthread_sigmask(SIG_BLOCK, NULL, &blocked) == 0 &&
				sigismember(&blocked, SIGTERM) && sigismember(&blocked, SIGCHLD);
	if (chdir("/proc") < 0 || !getcwd(view->cwd, sizeof(view->cwd)))
		return -errno;
	return 0;
}

static void workers_have_their_own_umask_and_directory(void **state)
{
	struct fs_view view = { .caller = pthread_self() };
	char before[4096], after[4096];
	mode_t mask = umask(0027);
	sigset_t blocked;

	assert_non_null(getcwd(before, sizeof(before)));
	assert_int_equal(pool_run(1, 1, fs_job, &view, NULL), 0);
	assert_non_null(getcwd(after, sizeof(after)));

	assert_int_equal(umask(mask), 0027);
	assert_string_equal(after, before);
	assert_int_equal(view.mask, 0);
	assert_string_equal(view.cwd, "/proc");
	assert_true(view.own_thread);
	assert_true(view.signals_blocked);
	assert_int_equal(pthread_sigmask(SIG_BLOCK, NULL, &blocked), 0);
	assert_false(sigismember(&blocked, SIGTERM));
}

static void processors_are_those_this_process_may_use(void **state)
{
	cpu_set_t before, one;
	int first = 0;

	assert_int_equal(sched_getaffinity(0, sizeof(before), &before), 0);
	assert_int_equal(pool_cpus(), CPU_COUNT(&before));
	while (!CPU_ISSET(first, &before))
		first++;
	CPU_ZERO(&one);
	CPU_SET(first, &one);
	assert_int_equal(sched_setaffinity(0, sizeof(one), &one), 0);
	assert_int_equal(pool_cpus(), 1);
	assert_int_equal(sched_setaffinity(0, sizeof(before), &before), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_job_runs_once),
		cmocka_unit_test(no_jobs_are_no_work),
		cmocka_unit_test(jobs_start_in_order),
		cmocka_unit_test(as_many_jobs_as_workers_run_at_once_and_no_more),
		cmocka_unit_test(a_failure_is_returned_and_no_further_job_starts),
		cmocka_unit_test(a_running_job_sees_the_failure_and_does_not_cover_it),
		cmocka_unit_test(a_cause_covers_an_earlier_cancellation),
		cmocka_unit_test(workers_have_their_own_umask_and_directory),
		cmocka_unit_test(processors_are_those_this_process_may_use),
	};

	return cmocka_run_group_tests_name("pool", tests, NULL, NULL);
}
