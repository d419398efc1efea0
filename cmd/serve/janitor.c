/* SPDX-License-Identifier: Apache-2.0 */
/* janitor: a thread that deletes what was removed, where nobody asks for it (Cleanup). */
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
	bool woken, ending;
};

void janitor_wake(struct janitor *j)
{
	(void)pthread_mutex_lock(&j->lock);
	j->woken = true;
	(void)pthread_cond_signal(&j->wake);
	(void)pthread_mutex_unlock(&j->lock);
}

/* Until it is woken, or so long. */
static void wait_for(struct janitor *j, int64_t ns)
{
	struct timespec until = clock_after(ns);
	int r = 0;

	while (!j->ending && !j->woken && r == 0)
		r = pthread_cond_timedwait(&j->wake, &j->lock, &until);
}

/* Until it is quiet after a removal, or a round is over. False: the end. */
static bool wait_for_work(struct janitor *j)
{
	bool going;

	(void)pthread_mutex_lock(&j->lock);
	wait_for(j, ROUND_NS);
	for (int i = 0; i < QUIETS_MAX && j->woken && !j->ending; i++) {
		j->woken = false;
		wait_for(j, QUIET_NS);
	}
	going = !j->ending;
	(void)pthread_mutex_unlock(&j->lock);
	return going;
}

static void *clear_away(void *arg)
{
	struct janitor *j = arg;
	struct err err = { 0 };

	/* What a crash left. */
	if (overlaid_gc(j->store, 0, NULL, NULL, &err) < 0)
		serve_log("clearing away: %s", err.text);
	while (wait_for_work(j)) {
		if (overlaid_reap(j->store, false, &err) < 0)
			serve_log("what was removed is still on the disk: %s", err.text);
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
	if (!j)
		return;
	(void)pthread_mutex_lock(&j->lock);
	j->ending = true;
	(void)pthread_cond_signal(&j->wake);
	(void)pthread_mutex_unlock(&j->lock);
	(void)pthread_join(j->thread, NULL);
	overlaid_close(j->store);
	(void)pthread_cond_destroy(&j->wake);
	(void)pthread_mutex_destroy(&j->lock);
	free(j);
}
