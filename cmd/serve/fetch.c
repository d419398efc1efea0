/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fetch: an image that containerd is about to fetch and unpack layer by layer is pulled here instead, all layers at
 * once. It is kept for a while, until containerd has asked for each layer and so holds it.
 *
 * One thread an image; who asks for the same one waits with it. What failed is not tried again for a while:
 * containerd then gets its layers itself, one by one, and asks here before each.
 */
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "cmd/serve/serve.h"
#include "driver/base/auto.h"
#include "driver/base/clock.h"

#define PULLS_MAX     64 /* that are remembered; of them as many at once as PULLS_AT_ONCE */
#define PULLS_AT_ONCE 4
#define FORGET_NS     (60 * CLOCK_SECOND_NS) /* a failure */

struct pull {
	struct fetch *fetch;
	char *source; /* NULL: a free place */
	bool running;
	int64_t failed_ns;
	struct fetch_job *waiting;
};

struct fetch {
	struct serve *serve;
	unsigned int keep_seconds;
	pthread_mutex_t lock;
	struct pull pulls[PULLS_MAX];
	size_t running;
	bool draining; /* nobody is to wait any more */
};

/* The lock is held. */
static void push_waiting(struct pull *p)
{
	struct fetch_job *job = p->waiting, *next;

	p->waiting = NULL;
	for (; job; job = next) {
		next = job->next_waiting;
		work_push(p->fetch->serve->helpers, &job->job);
	}
}

static void end_pull(struct pull *p, int r)
{
	struct fetch *f = p->fetch;

	(void)pthread_mutex_lock(&f->lock);
	push_waiting(p);
	p->running = false;
	p->failed_ns = r < 0 ? clock_ns() : 0;
	if (r >= 0) {
		free(p->source);
		p->source = NULL;
	}
	f->running--;
	(void)pthread_mutex_unlock(&f->lock);
}

static int say_pulled(void *arg, const struct overlaid_pulled *pulled)
{
	const struct pull *p = arg;

	serve_log("fetched %s: %zu layers, %zu of them new, %llu bytes", p->source, pulled->layers,
		  pulled->layers_extracted, (unsigned long long)pulled->bytes_fetched);
	return 0;
}

static void *run_pull(void *arg)
{
	struct pull *p = arg;
	struct overlaid_pull pull = { .source = p->source,
				      .policy = OVERLAID_PULL_ALWAYS,
				      .keep_seconds = p->fetch->keep_seconds };
	struct overlaid *store = NULL;
	struct err err = { 0 };
	int r = overlaid_open(&p->fetch->serve->store, &store, &err);

	if (r >= 0)
		r = overlaid_pull(store, &pull, say_pulled, p, &err);
	overlaid_close(store);
	if (r < 0)
		serve_log("%s is not fetched, containerd does it: %s", p->source, err.text);
	end_pull(p, r);
	return NULL;
}

/* "docker://REPOSITORY@MANIFEST", or with its tag where there is no digest: the caller's. */
static char *source_of(const char *reference, const char *manifest)
{
	struct overlaid_reference ref;
	const char *digest = manifest;
	char *source = NULL;
	int n;

	if (overlaid_reference_parse(reference, &ref, NULL) < 0)
		return NULL;
	if (!digest_valid(digest))
		digest = ref.digest;
	n = digest[0] ? asprintf(&source, "docker://%s@%s", ref.repository, digest) :
			asprintf(&source, "docker://%s:%s", ref.repository, ref.tag);
	return n < 0 ? NULL : source;
}

/* The place of this source, or a free one; NULL: there is none. */
static struct pull *find_place(struct fetch *f, const char *source)
{
	struct pull *place = NULL;

	for (size_t i = 0; i < PULLS_MAX; i++) {
		struct pull *p = &f->pulls[i];

		if (p->source && strcmp(p->source, source) == 0)
			return p;
		if (!place &&
		    (!p->source || (!p->running && clock_ns() - p->failed_ns > FORGET_NS)))
			place = p;
	}
	return place;
}

/* True where its thread runs. */
static bool start_pull(struct fetch *f, struct pull *p, char **source)
{
	pthread_t thread;

	if (f->draining || f->running == PULLS_AT_ONCE)
		return false;
	free(p->source);
	*p = (struct pull){ .fetch = f, .source = take_ptr(*source), .running = true };
	if (pthread_create(&thread, NULL, run_pull, p) != 0) {
		p->running = false;
		p->failed_ns = clock_ns();
		return false;
	}
	(void)pthread_detach(thread);
	f->running++;
	return true;
}

bool fetch_image(struct fetch *f, const char *reference, const char *manifest,
		 struct fetch_job *job)
{
	auto_free char *source = source_of(reference, manifest);
	struct pull *p;
	bool waits = false;

	if (!source)
		return false;
	(void)pthread_mutex_lock(&f->lock);
	p = find_place(f, source);
	if (p && p->source && p->running)
		waits = !f->draining;
	else if (p && !(p->source && strcmp(p->source, source) == 0 && p->failed_ns &&
			clock_ns() - p->failed_ns < FORGET_NS))
		waits = start_pull(f, p, &source);
	if (waits) {
		job->next_waiting = p->waiting;
		p->waiting = job;
	}
	(void)pthread_mutex_unlock(&f->lock);
	return waits;
}

int fetch_new(struct serve *serve, unsigned int keep_seconds, struct fetch **ret, struct err *err)
{
	struct fetch *f = calloc(1, sizeof(*f));

	if (!f)
		return fail_oom(err);
	f->serve = serve;
	f->keep_seconds = keep_seconds;
	(void)pthread_mutex_init(&f->lock, NULL);
	*ret = f;
	return 0;
}

void fetch_drain(struct fetch *f)
{
	(void)pthread_mutex_lock(&f->lock);
	f->draining = true;
	for (size_t i = 0; i < PULLS_MAX; i++)
		push_waiting(&f->pulls[i]);
	(void)pthread_mutex_unlock(&f->lock);
}

void fetch_free(struct fetch *f)
{
	size_t running;

	if (!f)
		return;
	(void)pthread_mutex_lock(&f->lock);
	running = f->running;
	(void)pthread_mutex_unlock(&f->lock);
	/* They end with the process; what they had goes on where it stopped another time. */
	if (running > 0)
		return;
	for (size_t i = 0; i < PULLS_MAX; i++)
		free(f->pulls[i].source);
	(void)pthread_mutex_destroy(&f->lock);
	free(f);
}
