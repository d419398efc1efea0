/* SPDX-License-Identifier: Apache-2.0 */
/*
 * janitor: a thread that deletes what was removed: a while after, or when it is asked to (Cleanup). Deleting may
 * take minutes, and what is left of it the next one finds: so the end of the daemon waits for none of it.
 */
#include <pthread.h>
#include <string.h>

#include "cmd/serve/serve.h"
#include "driver/base/auto.h"
#include "driver/base/clock.h"

#define QUIET_NS   (2 * CLOCK_SECOND_NS)  /* after the last removal: more may follow */
#define QUIETS_MAX 15			  /* that one waits for */
#define ROUND_NS   (60 * CLOCK_SECOND_NS) /* also without: images that were kept for a while */

struct janitor {
	struct overlaid *store;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	bool woken, draining, ending;
	bool waiting;		      /* the thread does */
	struct work_job *asked, *now; /* who waits for the next round, and for this one */
};

void janitor_wake(struct janitor *j)
{
	(void)pthread_mutex_lock(&j->lock);
	j->woken = true;
	(void)pthread_cond_signal(&j->wake);
	(void)pthread_mutex_unlock(&j->lock);
}

static void tell(struct work_job *jobs, int r, const struct err *err)
{
	for (struct work_job *next; jobs; jobs = next) {
		next = jobs->next;
		jobs->finish(jobs, r, err);
	}
}

void janitor_ask(struct janitor *j, struct work_job *job)
{
	static const struct err none = { 0 };
	bool draining;

	(void)pthread_mutex_lock(&j->lock);
	draining = j->draining;
	job->next = draining ? NULL : j->asked;
	if (!draining)
		j->asked = job;
	(void)pthread_cond_signal(&j->wake);
	(void)pthread_mutex_unlock(&j->lock);
	if (draining)
		tell(job, 0, &none);
}

void janitor_drain(struct janitor *j)
{
	static const struct err none = { 0 };
	struct work_job *asked, *now;

	(void)pthread_mutex_lock(&j->lock);
	j->draining = true;
	asked = j->asked;
	now = j->now;
	j->asked = j->now = NULL;
	(void)pthread_mutex_unlock(&j->lock);
	tell(asked, 0, &none);
	tell(now, 0, &none);
}

/* Until there is something to do, or so long. */
static void wait_for(struct janitor *j, int64_t ns)
{
	struct timespec until = clock_after(ns);
	int r = 0;

	j->waiting = true;
	while (!j->ending && !j->woken && !j->asked && r == 0)
		r = pthread_cond_timedwait(&j->wake, &j->lock, &until);
	j->waiting = false;
}

/* Until it is quiet after a removal, somebody asks, or a round is over. False: the end. */
static bool wait_for_work(struct janitor *j, bool *ret_asked)
{
	bool going;

	(void)pthread_mutex_lock(&j->lock);
	wait_for(j, ROUND_NS);
	for (int i = 0; i < QUIETS_MAX && j->woken && !j->ending && !j->asked; i++) {
		j->woken = false;
		wait_for(j, QUIET_NS);
	}
	*ret_asked = j->asked;
	if (j->asked)
		j->woken = false;
	j->now = j->asked;
	j->asked = NULL;
	going = !j->ending;
	(void)pthread_mutex_unlock(&j->lock);
	return going;
}

static void tell_round(struct janitor *j, int r, const struct err *err)
{
	struct work_job *jobs;

	(void)pthread_mutex_lock(&j->lock);
	jobs = j->now;
	j->now = NULL;
	(void)pthread_mutex_unlock(&j->lock);
	tell(jobs, r, err);
}

static void *clear_away(void *arg)
{
	struct janitor *j = arg;
	struct err err = { 0 };
	bool asked;

	/* What a crash left, and what the last one did not come to. */
	if (overlaid_gc(j->store, 0, NULL, NULL, &err) < 0 ||
	    overlaid_reap(j->store, false, &err) < 0)
		serve_log("clearing away: %s", err.text);
	while (wait_for_work(j, &asked)) {
		/* Who asks wants it done, also where another process is at it. */
		int r = overlaid_reap(j->store, asked, &err);

		if (r < 0)
			serve_log("what was removed is still on the disk: %s", err.text);
		tell_round(j, r < 0 ? r : 0, &err);
	}
	return NULL;
}

int janitor_new(const struct overlaid_options *options, struct janitor **ret, struct err *err)
{
	struct janitor *j = calloc(1, sizeof(*j));
	pthread_condattr_t monotonic;
	int r = j ? overlaid_open(options, &j->store, err) : fail_oom(err);

	if (r < 0) {
		free(j);
		return r;
	}
	(void)pthread_mutex_init(&j->lock, NULL);
	(void)pthread_condattr_init(&monotonic);
	(void)pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	(void)pthread_cond_init(&j->wake, &monotonic);
	(void)pthread_condattr_destroy(&monotonic);
	r = -pthread_create(&j->thread, NULL, clear_away, j);
	if (r < 0) {
		overlaid_close(j->store);
		free(j);
		return fail(err, r, "start a thread: %s", strerror(-r));
	}
	*ret = j;
	return 0;
}

void janitor_free(struct janitor *j)
{
	bool waiting;

	if (!j)
		return;
	janitor_drain(j);
	(void)pthread_mutex_lock(&j->lock);
	j->ending = true;
	waiting = j->waiting;
	(void)pthread_cond_signal(&j->wake);
	(void)pthread_mutex_unlock(&j->lock);
	/* It ends with the process. */
	if (!waiting) {
		(void)pthread_detach(j->thread);
		return;
	}
	(void)pthread_join(j->thread, NULL);
	overlaid_close(j->store);
	(void)pthread_cond_destroy(&j->wake);
	(void)pthread_mutex_destroy(&j->lock);
	free(j);
}
