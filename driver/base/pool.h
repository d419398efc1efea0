/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pool: bounded workers; the first error cancels the rest.
 *
 * Jobs are numbered 0..count-1 and started in that order (so the caller puts the longest first).
 * Each worker thread has its own umask (0) and working directory: it has left the process's with
 * unshare(CLONE_FS), so modes given at creation are the modes that come out, and the host program's
 * umask is untouched.
 */
#ifndef DRIVER_BASE_POOL_H
#define DRIVER_BASE_POOL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>

#include "driver/base/err.h"

/* Returns 0 or -errno with words. `cancelled` becomes true once another job has failed: long jobs
 * look at it and return -ECANCELED. */
typedef int pool_job(size_t index, void *arg, const atomic_bool *cancelled, struct err *err);

/* Runs all jobs on at most `workers` threads (0: the processors this process may use) and waits for
 * all. Returns 0 or the first failure's code and words (a later -ECANCELED never covers it). With
 * count == 0 it does nothing. */
int pool_run(size_t count, unsigned int workers, pool_job *job, void *arg, struct err *err);

/* pthread_create(3), with all signals blocked: they are the host program's, whose handlers run on its own
 * threads. 0 or -errno. */
int pool_thread(pthread_t *ret, void *(*run)(void *), void *arg);

/* Processors this process may run on, at least 1. */
unsigned int pool_cpus(void);

#endif
