/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/serve/handles.h"

#include <pthread.h>
#include <stdlib.h>

#define IDLE_MAX 16

struct handles {
	const struct overlaid_options *options;
	pthread_mutex_t lock;
	struct overlaid *idle[IDLE_MAX];
	size_t count;
};

int handles_new(const struct overlaid_options *options, struct handles **ret, struct err *err)
{
	struct handles *h = calloc(1, sizeof(*h));

	if (!h)
		return fail_oom(err);
	h->options = options;
	(void)pthread_mutex_init(&h->lock, NULL);
	*ret = h;
	return 0;
}

struct overlaid *handles_take(struct handles *h, struct err *err)
{
	struct overlaid *store = NULL;

	(void)pthread_mutex_lock(&h->lock);
	if (h->count > 0)
		store = h->idle[--h->count];
	(void)pthread_mutex_unlock(&h->lock);
	return store || overlaid_open(h->options, &store, err) >= 0 ? store : NULL;
}

void handles_give(struct handles *h, struct overlaid *store)
{
	if (!store)
		return;
	(void)pthread_mutex_lock(&h->lock);
	if (h->count < IDLE_MAX) {
		h->idle[h->count++] = store;
		store = NULL;
	}
	(void)pthread_mutex_unlock(&h->lock);
	overlaid_close(store);
}

void handles_free(struct handles *h)
{
	if (!h)
		return;
	for (size_t i = 0; i < h->count; i++)
		overlaid_close(h->idle[i]);
	(void)pthread_mutex_destroy(&h->lock);
	free(h);
}
