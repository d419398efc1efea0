/* SPDX-License-Identifier: Apache-2.0 */
/*
 * work: threads that do what calls ask for, each with a store handle of its own.
 *
 * A pool runs jobs side by side, in the order they came. A writer is one thread that runs all jobs which wait as
 * one batch: what they change becomes durable together, with one sync of the disk, and then each is told. So
 * thirty-two clients that want something made wait for one sync, not for thirty-two.
 */
#ifndef CMD_SERVE_WORK_H
#define CMD_SERVE_WORK_H

#include <stdbool.h>

#include "driver/base/err.h"
#include "graph/overlaid.h"

/* To be the first member of what is to be done. It belongs to the worker until `run`, or `finish`, is called. */
struct work_job {
	struct work_job *next;
	bool lazy; /* in a writer: need not survive a power cut before something later does */
	/* In a pool: does it. In a writer: changes the store, in the batch; keeps what came out. */
	void (*run)(struct work_job *job, struct overlaid *store);
	/* In a writer, after the batch: 0, or why all of it came to nothing. */
	void (*finish)(struct work_job *job, int r, const struct err *err);
};

struct work;

/* `count` threads, or with `writer` one that batches. *ret is freed with work_free. */
int work_new(const struct overlaid_options *options, size_t count, bool writer, struct work **ret,
	     struct err *err);
void work_push(struct work *work, struct work_job *job);
/* In a job: overlaid_sync(), one for all jobs of the pool that ask for it while another is under way. */
int work_sync(struct work *work, struct overlaid *store, struct err *err);
/* Waits until all jobs are done, and ends the threads. NULL allowed. */
void work_free(struct work *work);

#endif
