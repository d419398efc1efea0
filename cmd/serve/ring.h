/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ring: bytes that go from one thread to another, through a buffer that does not grow.
 *
 * One thread puts, one takes; each waits for the other. Either may give up, also a third for them. What is put
 * in small pieces is taken in large ones, where the taker is busy meanwhile.
 */
#ifndef CMD_SERVE_RING_H
#define CMD_SERVE_RING_H

#include <stddef.h>
#include <sys/types.h>

struct ring;

/* NULL: no memory. */
struct ring *ring_new(size_t bytes);
void ring_free(struct ring *ring); /* NULL allowed; nobody may be in it */

/* Waits until all of it is in the ring: 0, or -EPIPE where it ended, or nobody takes any more. */
int ring_put(struct ring *ring, const void *data, size_t len);

/* Nothing follows. status 0: the taker gets what is in it, then the end. -errno: it gets that, at once. Only
 * the first end counts. Any thread. */
void ring_end(struct ring *ring, int status);

/* Waits for bytes, which stay the taker's until it asks for more. Their count, 0 at the end, or the status. */
ssize_t ring_take(struct ring *ring, const void **ret_block);
/* As ring_take; they are copied. */
ssize_t ring_read(struct ring *ring, void *to, size_t max);

/* Nobody takes any more: the putter gets -EPIPE, and so does a taker that asks all the same. Any thread. */
void ring_stop(struct ring *ring);

#endif
