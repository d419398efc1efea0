/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/serve/ring.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* A taker gets at most such a part of the ring at once: the other thread goes on meanwhile. */
#define PARTS 4

struct ring {
	pthread_mutex_t lock;
	pthread_cond_t room, more;
	size_t bytes;
	uint64_t given, taken, put; /* counts since the beginning: given back <= taken <= put */
	bool ended, stopped;
	int status;
	char data[];
};

struct ring *ring_new(size_t bytes)
{
	struct ring *ring = malloc(sizeof(*ring) + bytes);

	if (!ring)
		return NULL;
	*ring = (struct ring){ .bytes = bytes };
	(void)pthread_mutex_init(&ring->lock, NULL);
	(void)pthread_cond_init(&ring->room, NULL);
	(void)pthread_cond_init(&ring->more, NULL);
	return ring;
}

void ring_free(struct ring *ring)
{
	if (!ring)
		return;
	(void)pthread_cond_destroy(&ring->more);
	(void)pthread_cond_destroy(&ring->room);
	(void)pthread_mutex_destroy(&ring->lock);
	free(ring);
}

static size_t least(size_t a, size_t b)
{
	return a < b ? a : b;
}

int ring_put(struct ring *ring, const void *data, size_t len)
{
	const char *from = data;
	int r = 0;

	(void)pthread_mutex_lock(&ring->lock);
	while (len) {
		size_t used, at, n;

		while (ring->put - ring->given == ring->bytes && !ring->ended && !ring->stopped)
			(void)pthread_cond_wait(&ring->room, &ring->lock);
		if (ring->ended || ring->stopped) {
			r = -EPIPE;
			break;
		}
		used = (size_t)(ring->put - ring->given);
		at = (size_t)(ring->put % ring->bytes);
		n = least(len, least(ring->bytes - used, ring->bytes - at));
		/* This room is the putter's until `put` says otherwise. */
		(void)pthread_mutex_unlock(&ring->lock);
		memcpy(ring->data + at, from, n);
		(void)pthread_mutex_lock(&ring->lock);
		ring->put += n;
		(void)pthread_cond_signal(&ring->more);
		from += n;
		len -= n;
	}
	(void)pthread_mutex_unlock(&ring->lock);
	return r;
}

void ring_end(struct ring *ring, int status)
{
	(void)pthread_mutex_lock(&ring->lock);
	if (!ring->ended)
		ring->status = status;
	ring->ended = true;
	(void)pthread_cond_signal(&ring->more);
	(void)pthread_cond_signal(&ring->room);
	(void)pthread_mutex_unlock(&ring->lock);
}

static void give_back(struct ring *ring)
{
	if (ring->given == ring->taken)
		return;
	ring->given = ring->taken;
	(void)pthread_cond_signal(&ring->room);
}

/* Waits, and takes what lies in one piece. */
static ssize_t take_locked(struct ring *ring, size_t max, const char **ret)
{
	size_t at = (size_t)(ring->taken % ring->bytes), n;

	while (ring->put == ring->taken && !ring->ended && !ring->stopped)
		(void)pthread_cond_wait(&ring->more, &ring->lock);
	if (ring->stopped)
		return -EPIPE;
	if (ring->ended && ring->status < 0)
		return ring->status;
	n = least((size_t)(ring->put - ring->taken), least(ring->bytes - at, max));
	ring->taken += n;
	*ret = ring->data + at;
	return (ssize_t)n;
}

ssize_t ring_take(struct ring *ring, const void **ret_block)
{
	const char *block;
	ssize_t n;

	(void)pthread_mutex_lock(&ring->lock);
	give_back(ring);
	n = take_locked(ring, ring->bytes / PARTS, &block);
	(void)pthread_mutex_unlock(&ring->lock);
	if (n > 0)
		*ret_block = block;
	return n;
}

ssize_t ring_read(struct ring *ring, void *to, size_t max)
{
	const char *block;
	ssize_t n;

	(void)pthread_mutex_lock(&ring->lock);
	n = take_locked(ring, max, &block);
	(void)pthread_mutex_unlock(&ring->lock);
	if (n <= 0)
		return n;
	memcpy(to, block, (size_t)n);
	(void)pthread_mutex_lock(&ring->lock);
	give_back(ring);
	(void)pthread_mutex_unlock(&ring->lock);
	return n;
}

void ring_stop(struct ring *ring)
{
	(void)pthread_mutex_lock(&ring->lock);
	ring->stopped = true;
	(void)pthread_cond_signal(&ring->more);
	(void)pthread_cond_signal(&ring->room);
	(void)pthread_mutex_unlock(&ring->lock);
}
