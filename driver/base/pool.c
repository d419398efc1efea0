/* SPDX-License-Identifier: Apache-2.0 */
#include "driver/base/pool.h"

#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <sys/stat.h>

#include "driver/base/auto.h"
#include "driver/base/sys.h"

struct pool {
	size_t count;
	pool_job *job;
	void *arg;
	atomic_size_t next;
	atomic_bool cancelled;
	pthread_mutex_t lock; /* of what follows */
	int code;
	struct err err;
};

/* The first failure counts; -ECANCELED only until a job tells a cause. */
static void record(struct pool *pool, int code, const struct err *err)
{
	(void)pthread_mutex_lock(&pool->lock);
	if (!pool->code || (pool->code == -ECANCELED && code != -ECANCELED)) {
		pool->code = code;
		pool->err = *err;
	}
	(void)pthread_mutex_unlock(&pool->lock);
	atomic_store(&pool->cancelled, true);
}

static void *worker(void *arg)
{
	struct pool *pool = arg;
	struct err err = { 0 };
	int r = sys_own_fs();

	if (r < 0) {
		(void)fail(&err, r,
			   "give a worker thread its own umask with unshare(CLONE_FS): %m");
		record(pool, r, &err);
		return NULL;
	}
	(void)umask(0);
	while (!atomic_load(&pool->cancelled)) {
		size_t index = atomic_fetch_add(&pool->next, 1);

		if (index >= pool->count)
			break;
		err_clear(&err);
		r = pool->job(index, pool->arg, &pool->cancelled, &err);
		if (r < 0)
			record(pool, r, &err);
	}
	return NULL;
}

int pool_thread(pthread_t *ret, void *(*run)(void *), void *arg)
{
	sigset_t all, before;
	int r;

	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &before);
	r = pthread_create(ret, NULL, run, arg);
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	return -r;
}

/* Starts up to `wanted` threads; fewer are enough. The count, or -errno when there is none. */
static int start_workers(struct pool *pool, pthread_t *threads, unsigned int wanted)
{
	unsigned int started = 0;
	int r = 0;

	while (started < wanted) {
		r = pool_thread(&threads[started], worker, pool);
		if (r < 0)
			break;
		started++;
	}
	return started ? (int)started : r;
}

int pool_run(size_t count, unsigned int workers, pool_job *job, void *arg, struct err *err)
{
	struct pool pool = {
		.count = count, .job = job, .arg = arg, .lock = PTHREAD_MUTEX_INITIALIZER
	};
	unsigned int wanted = workers ? workers : pool_cpus();
	auto_free pthread_t *threads = NULL;
	int started;

	if (!count)
		return 0;
	if (wanted > count)
		wanted = (unsigned int)count;
	threads = calloc(wanted, sizeof(*threads));
	if (!threads)
		return fail_oom(err);
	started = start_workers(&pool, threads, wanted);
	if (started < 0)
		return fail(err, started, "start a worker thread: %m");
	for (int i = 0; i < started; i++)
		(void)pthread_join(threads[i], NULL);
	(void)pthread_mutex_destroy(&pool.lock);
	if (pool.code < 0)
		return fail(err, pool.code, "%s", pool.err.text);
	return 0;
}

unsigned int pool_cpus(void)
{
	cpu_set_t sets[16]; /* 16384 processors: glibc's 1024 are fewer than Linux can have */
	int count;

	if (sched_getaffinity(0, sizeof(sets), sets) < 0)
		return 1;
	count = CPU_COUNT_S(sizeof(sets), sets);
	return count > 0 ? (unsigned int)count : 1;
}
