/* SPDX-License-Identifier: Apache-2.0 */
/*
 * flush: what is written goes to the disk while more is being written.
 *
 * The kernel lets data lie for half a minute unless there is very much of it, so a sync at the end would
 * wait for all of it, on one processor, with the others idle. A thread that syncs the store's filesystem
 * again and again during the work leaves little to that last one, which is not spared: it is what makes
 * things durable, and what tells of errors.
 */
#ifndef GRAPH_STORE_FLUSH_H
#define GRAPH_STORE_FLUSH_H

#include <pthread.h>
#include <stdbool.h>

#include "graph/store/store.h"

#define FLUSH_INTERVAL_MS 250 /* less work than that has no use for it */

struct flush {
	int fd; /* of the filesystem; its own, as an error is told once for each open file */
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	bool started, end;
};

/* A store that is not durable needs none, and where there is no thread to be had the work only takes
 * longer: there is no failure. `f` stays where it is until flush_stop, which waits for the thread. */
void flush_start(const struct store *store, struct flush *f);
void flush_stop(struct flush *f);

#endif
