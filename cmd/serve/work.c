/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/serve/work.h"

#include <pthread.h>
#include <string.h>

#include "driver/base/auto.h"

#define THREADS_MAX 64
#define BATCH_MAX   64 /* others of this store wait meanwhile */

struct worker {
	struct work *work;
	struct overlaid *store;
	pthread_t thread;
};

struct work {
	struct worker workers[THREADS_MAX];
	size_t count; /* that run */
	bool writer, ending;
	struct work_job *first, **last; /* what waits */
	pthread_mutex_t lock;
	pthread_cond_t wake;
	struct {
		pthread_mutex_t lock;
		pthread_cond_t done;
		uint64_t begun, ended; /* syncs, by number; one at a time */
		uint64_t failed;       /* the last that did, */
		int r;		       /* and why */
		struct err err;
	} sync;
};

/* ---- syncing ---- */

/* One that has begun already may have passed what we wrote: the next one will do, whoever makes it. */
int work_sync(struct work *w, struct overlaid *store, struct err *err)
{
	struct err words = { 0 };
	uint64_t wanted;
	int r;

	(void)pthread_mutex_lock(&w->sync.lock);
	wanted = w->sync.begun + 1;
	while (w->sync.ended < wanted && w->sync.begun > w->sync.ended)
		(void)pthread_cond_wait(&w->sync.done, &w->sync.lock);
	if (w->sync.ended < wanted) {
		w->sync.begun++;
		(void)pthread_mutex_unlock(&w->sync.lock);
		r = overlaid_sync(store, &words);
		(void)pthread_mutex_lock(&w->sync.lock);
		w->sync.ended++;
		if (r < 0) {
			w->sync.failed = w->sync.ended;
			w->sync.r = r;
			w->sync.err = words;
		}
		(void)pthread_cond_broadcast(&w->sync.done);
	}
	r = w->sync.failed >= wanted ? w->sync.r : 0;
	if (r < 0 && err)
		*err = w->sync.err;
	(void)pthread_mutex_unlock(&w->sync.lock);
	return r;
}

/* ---- jobs ---- */

void work_push(struct work *w, struct work_job *job)
{
	job->next = NULL;
	(void)pthread_mutex_lock(&w->lock);
	*w->last = job;
	w->last = &job->next;
	(void)pthread_cond_signal(&w->wake);
	(void)pthread_mutex_unlock(&w->lock);
}

/* Up to `max` jobs, linked; NULL: there will be no more. */
static struct work_job *take(struct work *w, size_t max)
{
	struct work_job *jobs, **end;

	(void)pthread_mutex_lock(&w->lock);
	while (!w->first && !w->ending)
		(void)pthread_cond_wait(&w->wake, &w->lock);
	jobs = w->first;
	for (end = &w->first; *end && max > 0; max--)
		end = &(*end)->next;
	w->first = *end;
	if (jobs)
		*end = NULL;
	if (!w->first)
		w->last = &w->first;
	(void)pthread_mutex_unlock(&w->lock);
	return jobs;
}

static void *run_jobs(void *arg)
{
	struct worker *worker = arg;
	struct work_job *job;

	while ((job = take(worker->work, 1)))
		job->run(job, worker->store);
	return NULL;
}

static bool are_lazy(const struct work_job *jobs)
{
	while (jobs && jobs->lazy)
		jobs = jobs->next;
	return !jobs;
}

static void *run_batches(void *arg)
{
	struct worker *worker = arg;
	struct work_job *jobs, *next;

	while ((jobs = take(worker->work, BATCH_MAX))) {
		struct err err = { 0 };
		int r = overlaid_batch_begin(worker->store, !are_lazy(jobs), &err);

		for (struct work_job *job = jobs; r >= 0 && job; job = job->next)
			job->run(job, worker->store);
		if (r >= 0)
			r = overlaid_batch_end(worker->store, &err);
		for (struct work_job *job = jobs; job; job = next) {
			next = job->next;
			job->finish(job, r < 0 ? r : 0, &err);
		}
	}
	return NULL;
}

/* ---- threads ---- */

static int start(struct work *w, const struct overlaid_options *options, struct err *err)
{
	struct worker *worker = &w->workers[w->count];
	int r = overlaid_open(options, &worker->store, err);

	if (r < 0)
		return r;
	worker->work = w;
	r = -pthread_create(&worker->thread, NULL, w->writer ? run_batches : run_jobs, worker);
	if (r < 0) {
		overlaid_close(worker->store);
		return fail(err, r, "start a thread: %s", strerror(-r));
	}
	w->count++;
	return 0;
}

int work_new(const struct overlaid_options *options, size_t count, bool writer, struct work **ret,
	     struct err *err)
{
	struct work *w = calloc(1, sizeof(*w));
	int r = 0;

	if (!w)
		return fail_oom(err);
	w->writer = writer;
	w->last = &w->first;
	(void)pthread_mutex_init(&w->lock, NULL);
	(void)pthread_cond_init(&w->wake, NULL);
	(void)pthread_mutex_init(&w->sync.lock, NULL);
	(void)pthread_cond_init(&w->sync.done, NULL);
	for (size_t i = 0; r >= 0 && i < count && i < THREADS_MAX; i++)
		r = start(w, options, err);
	if (r < 0) {
		work_free(w);
		return r;
	}
	*ret = w;
	return 0;
}

void work_free(struct work *w)
{
	if (!w)
		return;
	(void)pthread_mutex_lock(&w->lock);
	w->ending = true;
	(void)pthread_cond_broadcast(&w->wake);
	(void)pthread_mutex_unlock(&w->lock);
	for (size_t i = 0; i < w->count; i++) {
		(void)pthread_join(w->workers[i].thread, NULL);
		overlaid_close(w->workers[i].store);
	}
	(void)pthread_cond_destroy(&w->sync.done);
	(void)pthread_mutex_destroy(&w->sync.lock);
	(void)pthread_cond_destroy(&w->wake);
	(void)pthread_mutex_destroy(&w->lock);
	free(w);
}
