/* SPDX-License-Identifier: Apache-2.0 */
#include "graph/store/flush.h"

#include <errno.h>
#include <fcntl.h>
#include <time.h>
#include <unistd.h>

#include "driver/base/clock.h"
#include "driver/base/pool.h"

static void *flush_again_and_again(void *arg)
{
	struct flush *f = arg;

	(void)pthread_mutex_lock(&f->lock);
	while (!f->end) {
		const struct timespec until = clock_after(FLUSH_INTERVAL_MS * 1000000LL);
		int r = 0;

		while (!f->end && r != ETIMEDOUT)
			r = pthread_cond_timedwait(&f->wake, &f->lock, &until);
		if (f->end)
			break;
		(void)pthread_mutex_unlock(&f->lock);
		/* An error is told again at the end (store_sync), to who has to know. */
		(void)syncfs(f->fd);
		(void)pthread_mutex_lock(&f->lock);
	}
	(void)pthread_mutex_unlock(&f->lock);
	return NULL;
}

void flush_start(const struct store *store, struct flush *f)
{
	pthread_condattr_t clock;

	*f = (struct flush){ .fd = -EBADF };
	if (!store->durable)
		return;
	f->fd = openat(store->root_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (f->fd < 0)
		return;
	(void)pthread_condattr_init(&clock);
	(void)pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
	(void)pthread_mutex_init(&f->lock, NULL);
	(void)pthread_cond_init(&f->wake, &clock);
	(void)pthread_condattr_destroy(&clock);
	f->started = pool_thread(&f->thread, flush_again_and_again, f) == 0;
}

void flush_stop(struct flush *f)
{
	if (f->fd < 0)
		return;
	if (f->started) {
		(void)pthread_mutex_lock(&f->lock);
		f->end = true;
		(void)pthread_cond_signal(&f->wake);
		(void)pthread_mutex_unlock(&f->lock);
		(void)pthread_join(f->thread, NULL);
	}
	(void)pthread_cond_destroy(&f->wake);
	(void)pthread_mutex_destroy(&f->lock);
	(void)close(f->fd);
	f->fd = -EBADF;
}
