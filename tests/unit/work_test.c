/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/serve/work.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "graph/handle.h"
#include "graph/store/db.h"
#include "tests/unit/kit.h"
#include "tests/unit/sandbox.h"
#include "tests/unit/util.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#define SCOPE	  "containerd:/run/a.sock:overlaid"
#define MANY	  100
#define BATCH_MAX 64 /* cmd/serve/work.c */
#define SIDES	  4  /* jobs side by side */

static struct work *work;
static struct overlaid *reader; /* what others see; used by one thread at a time */
static sem_t gate;
static atomic_int done;

/* ---- a filesystem whose syncs are counted ---- */

static struct {
	atomic_int begun, ended, under_way, most, failing;
} syncs;

/* In the place of libc's: nothing here is worth a real one. */
int syncfs(int fd)
{
	int now = atomic_fetch_add(&syncs.under_way, 1) + 1;
	bool fails;

	if (now > atomic_load(&syncs.most))
		atomic_store(&syncs.most, now);
	atomic_fetch_add(&syncs.begun, 1);
	fails = atomic_exchange(&syncs.failing, 0);
	(void)sched_yield();
	atomic_fetch_add(&syncs.ended, 1);
	atomic_fetch_sub(&syncs.under_way, 1);
	if (!fails)
		return 0;
	errno = EIO;
	return -1;
}

/* ---- jobs ---- */

struct job {
	struct work_job job;
	char key[16];
	int r, batch_r;		     /* of its own work, and of the batch */
	int64_t seen_run, seen_done; /* rows that others see */
	struct overlaid *store;
	int place; /* in the order in which they ran, or were finished */
	int begun, ended;
	char words[200];
};

static int begin(void **state)
{
	if (sandbox_start(state) < 0)
		return -1;
	reader = kit_open();
	work = NULL;
	atomic_store(&done, 0);
	memset(&syncs, 0, sizeof(syncs));
	return sem_init(&gate, 0, 0);
}

static int end(void **state)
{
	work_free(work);
	overlaid_close(reader);
	(void)sem_destroy(&gate);
	return sandbox_clean(state);
}

#define work_test(f) cmocka_unit_test_setup_teardown(f, begin, end)

static void started(size_t threads, bool writer, enum overlaid_durability durability)
{
	const struct overlaid_options options = { .root = sandbox_path("store"),
						  .run = sandbox_path("run"),
						  .durability = durability };
	struct err err = { 0 };

	if (work_new(&options, threads, writer, &work, &err) < 0)
		fail_msg("%s", err.text);
}

/* Its jobs are done. */
static void ended(void)
{
	work_free(work);
	work = NULL;
}

static int64_t seen(void)
{
	int64_t rows = -1;

	(void)db_get_int(reader->store->db, &rows, NULL, "SELECT count(*) FROM keyed", "");
	return rows;
}

static int no_mount(void *arg, const struct overlaid_mount *mount)
{
	return 0;
}

static void prepare(struct work_job *job, struct overlaid *store)
{
	struct job *j = (struct job *)job;
	const struct overlaid_prepare p = {
		.scope = SCOPE, .key = j->key, .parent = "", .kind = OVERLAID_SNAPSHOT_VIEW
	};

	j->seen_run = seen();
	j->r = overlaid_snapshot_prepare(store, &p, no_mount, NULL, NULL);
}

/* A reference to nothing, that is looked at when all is committed. */
static void spoil(struct work_job *job, struct overlaid *store)
{
	struct job *j = (struct job *)job;

	j->r = db_run(store->store->db, NULL, "PRAGMA defer_foreign_keys = 1", "");
	if (j->r >= 0)
		j->r = db_run(store->store->db, NULL,
			      "INSERT INTO tag(reference, image) VALUES('a', 4711)", "");
}

static void finish(struct work_job *job, int r, const struct err *err)
{
	struct job *j = (struct job *)job;

	j->batch_r = r;
	(void)snprintf(j->words, sizeof(j->words), "%s", err->text);
	j->seen_done = seen();
	j->place = atomic_fetch_add(&done, 1);
}

/* The keys are numbered from `from` on. */
static void push_all(struct job *jobs, int from, int to,
		     void (*run)(struct work_job *job, struct overlaid *store))
{
	for (int i = from; i < to; i++) {
		jobs[i] = (struct job){ .job = { .run = run, .finish = finish }, .r = 4711 };
		(void)snprintf(jobs[i].key, sizeof(jobs[i].key), "%d", i);
		work_push(work, &jobs[i].job);
	}
}

/* ---- pools ---- */

static void note_place(struct work_job *job, struct overlaid *store)
{
	struct job *j = (struct job *)job;

	j->store = store;
	j->place = atomic_fetch_add(&done, 1);
}

static void a_pool_runs_every_job(void **state)
{
	static struct job jobs[MANY];

	started(SIDES, false, OVERLAID_VOLATILE);
	push_all(jobs, 0, MANY, note_place);
	ended();
	assert_int_equal(atomic_load(&done), MANY);
	for (int i = 0; i < MANY; i++)
		assert_non_null(jobs[i].store);
}

static void one_thread_runs_them_in_the_order_they_came(void **state)
{
	static struct job jobs[MANY];

	started(1, false, OVERLAID_VOLATILE);
	push_all(jobs, 0, MANY, note_place);
	ended();
	for (int i = 0; i < MANY; i++)
		assert_int_equal(jobs[i].place, i);
}

static pthread_barrier_t all_here;

static void meet(struct work_job *job, struct overlaid *store)
{
	note_place(job, store);
	(void)pthread_barrier_wait(&all_here);
}

static void threads_run_side_by_side_with_a_handle_each(void **state)
{
	static struct job jobs[SIDES];

	assert_int_equal(pthread_barrier_init(&all_here, NULL, SIDES), 0);
	started(SIDES, false, OVERLAID_VOLATILE);
	push_all(jobs, 0, SIDES, meet);
	ended();
	assert_int_equal(pthread_barrier_destroy(&all_here), 0);
	for (int i = 0; i < SIDES; i++)
		for (int k = 0; k < i; k++)
			assert_ptr_not_equal(jobs[i].store, jobs[k].store);
}

static void a_pool_on_no_store_is_not_made(void **state)
{
	const struct overlaid_options options = { .root = sandbox_path("nowhere"),
						  .run = sandbox_path("run"),
						  .must_exist = true };
	struct err err = { 0 };

	assert_int_equal(work_new(&options, SIDES, false, &work, &err), -ENOENT);
	assert_words(&err, "nowhere");
	assert_null(work);
	work_free(NULL);
}

static void a_pool_without_jobs_ends(void **state)
{
	started(SIDES, false, OVERLAID_VOLATILE);
	ended();
	started(1, true, OVERLAID_VOLATILE);
	ended();
}

/* ---- writers ---- */

static sem_t is_busy;

static void say_and_wait(struct work_job *job, struct overlaid *store)
{
	(void)sem_post(&is_busy);
	(void)sem_wait(&gate);
}

/* The first is a batch of its own, that is being run. */
static void with_a_busy_writer(struct job *busy)
{
	assert_int_equal(sem_init(&is_busy, 0, 0), 0);
	*busy = (struct job){ .job = { .run = say_and_wait, .finish = finish } };
	started(1, true, OVERLAID_VOLATILE);
	work_push(work, &busy->job);
	assert_int_equal(sem_wait(&is_busy), 0);
	assert_int_equal(sem_destroy(&is_busy), 0);
}

static void a_batch_is_one_commit_and_none_is_told_before(void **state)
{
	static struct job jobs[MANY], busy;

	with_a_busy_writer(&busy);
	push_all(jobs, 0, MANY, prepare);
	(void)sem_post(&gate);
	ended();
	for (int i = 0; i < MANY; i++) {
		bool first = i < BATCH_MAX;

		assert_int_equal(jobs[i].r, 0);
		assert_int_equal(jobs[i].batch_r, 0);
		assert_int_equal(jobs[i].seen_run, first ? 0 : BATCH_MAX);
		assert_int_equal(jobs[i].seen_done, first ? BATCH_MAX : MANY);
		assert_int_equal(jobs[i].place, i + 1);
	}
	assert_int_equal(busy.place, 0);
}

static void a_job_that_fails_harms_no_other(void **state)
{
	static struct job jobs[6], busy;

	with_a_busy_writer(&busy);
	push_all(jobs, 0, 6, prepare);
	/* They wait: nobody reads it yet. */
	(void)snprintf(jobs[3].key, sizeof(jobs[3].key), "1");
	jobs[4].key[0] = 0;
	(void)sem_post(&gate);
	ended();
	for (int i = 0; i < 6; i++) {
		assert_int_equal(jobs[i].r, i == 3 ? -EEXIST : i == 4 ? -EINVAL : 0);
		assert_int_equal(jobs[i].batch_r, 0);
		assert_int_equal(jobs[i].seen_done, 4);
	}
}

static void a_batch_that_fails_is_told_to_all_and_leaves_nothing(void **state)
{
	static struct job jobs[5], later[1], busy;

	with_a_busy_writer(&busy);
	push_all(jobs, 0, 2, prepare);
	push_all(jobs, 2, 3, spoil);
	push_all(jobs, 3, 5, prepare);
	(void)sem_post(&gate);
	ended();
	assert_int_equal(busy.batch_r, 0);
	for (int i = 0; i < 5; i++) {
		assert_int_equal(jobs[i].r, 0);
		assert_int_equal(jobs[i].batch_r, -EBUSY);
		assert_non_null(strstr(jobs[i].words, "FOREIGN KEY"));
		assert_int_equal(jobs[i].seen_done, 0);
	}
	started(1, true, OVERLAID_VOLATILE);
	push_all(later, 0, 1, prepare);
	ended();
	assert_int_equal(later[0].batch_r, 0);
	assert_int_equal(seen(), 1);
}

static void a_writer_goes_on_after_a_batch_that_failed(void **state)
{
	static struct job jobs[BATCH_MAX + 10], busy;

	with_a_busy_writer(&busy);
	push_all(jobs, 0, 1, spoil);
	push_all(jobs, 1, BATCH_MAX + 10, prepare);
	(void)sem_post(&gate);
	ended();
	for (int i = 0; i < BATCH_MAX + 10; i++) {
		assert_int_equal(jobs[i].batch_r, i < BATCH_MAX ? -EBUSY : 0);
		assert_int_equal(jobs[i].words[0] != 0, i < BATCH_MAX);
	}
	assert_int_equal(seen(), 10);
}

static void what_is_queued_is_finished_before_the_end(void **state)
{
	static struct job jobs[MANY], busy;

	with_a_busy_writer(&busy);
	push_all(jobs, 0, MANY, prepare);
	assert_int_equal(atomic_load(&done), 0);
	(void)sem_post(&gate);
	ended();
	assert_int_equal(atomic_load(&done), MANY + 1);
	assert_int_equal(seen(), MANY);
}

/* Others write between batches, and are waited for. */
static void a_writer_waits_for_other_writers(void **state)
{
	auto_transaction struct db_transaction t = DB_TRANSACTION_INIT;
	static struct job jobs[3];

	started(1, true, OVERLAID_VOLATILE);
	assert_int_equal(db_begin(reader->store->db, &t, NULL), 0);
	push_all(jobs, 0, 3, prepare);
	assert_int_equal(db_run(reader->store->db, NULL,
				"INSERT INTO lease(name, created) VALUES('x', 0)", ""),
			 0);
	assert_int_equal(atomic_load(&done), 0);
	assert_int_equal(db_commit(&t, NULL), 0);
	ended();
	assert_int_equal(seen(), 3);
	assert_int_equal(kit_count(reader->store, "SELECT count(*) FROM lease"), 1);
}

/* ---- syncs ---- */

static void sync_once(struct work_job *job, struct overlaid *store)
{
	struct job *j = (struct job *)job;
	struct err err = { 0 };

	j->begun = atomic_load(&syncs.begun);
	j->r = work_sync(work, store, &err);
	j->ended = atomic_load(&syncs.ended);
	(void)snprintf(j->words, sizeof(j->words), "%s", err.text);
	(void)sem_post(&gate);
}

/* Not `ended`: the jobs use it. */
static void sync_all(struct job *jobs, int count)
{
	push_all(jobs, 0, count, sync_once);
	for (int i = 0; i < count; i++)
		(void)sem_wait(&gate);
	ended();
}

static void a_sync_has_begun_after_it_was_asked_for(void **state)
{
	static struct job jobs[MANY];

	started(2 * SIDES, false, OVERLAID_DURABLE);
	atomic_store(&syncs.begun, 0);
	atomic_store(&syncs.ended, 0);
	sync_all(jobs, MANY);
	for (int i = 0; i < MANY; i++) {
		assert_int_equal(jobs[i].r, 0);
		assert_true(jobs[i].ended > jobs[i].begun);
	}
	assert_int_equal(atomic_load(&syncs.most), 1);
	assert_int_equal(atomic_load(&syncs.begun), atomic_load(&syncs.ended));
	assert_true(atomic_load(&syncs.begun) <= MANY);
}

static void a_sync_that_fails_is_told_to_who_waited_for_it(void **state)
{
	static struct job jobs[MANY];
	int failed = 0;

	started(2 * SIDES, false, OVERLAID_DURABLE);
	atomic_store(&syncs.failing, 1);
	sync_all(jobs, MANY);
	for (int i = 0; i < MANY; i++) {
		failed += jobs[i].r < 0;
		if (jobs[i].r < 0) {
			assert_int_equal(jobs[i].r, -EIO);
			assert_non_null(strstr(jobs[i].words, "sync the filesystem"));
		}
	}
	assert_true(failed >= 1 && failed < MANY);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		work_test(a_pool_runs_every_job),
		work_test(one_thread_runs_them_in_the_order_they_came),
		work_test(threads_run_side_by_side_with_a_handle_each),
		work_test(a_pool_on_no_store_is_not_made),
		work_test(a_pool_without_jobs_ends),
		work_test(a_batch_is_one_commit_and_none_is_told_before),
		work_test(a_job_that_fails_harms_no_other),
		work_test(a_batch_that_fails_is_told_to_all_and_leaves_nothing),
		work_test(a_writer_goes_on_after_a_batch_that_failed),
		work_test(what_is_queued_is_finished_before_the_end),
		work_test(a_writer_waits_for_other_writers),
		work_test(a_sync_has_begun_after_it_was_asked_for),
		work_test(a_sync_that_fails_is_told_to_who_waited_for_it),
	};

	return cmocka_run_group_tests_name("work", tests, sandbox_enter, sandbox_leave);
}
