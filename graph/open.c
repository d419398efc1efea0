/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>
#include <unistd.h>

#include "graph/handle.h"
#include "graph/store/db.h"

const char *overlaid_version(void)
{
	return OVERLAID_VERSION;
}

int overlaid_open(const struct overlaid_options *options, struct overlaid **ret, struct err *err)
{
	static const struct overlaid_options defaults = { 0 };
	struct overlaid *o = calloc(1, sizeof(*o));
	int r;

	if (!o)
		return fail_oom(err);
	if (!options)
		options = &defaults;
	o->progress = options->progress;
	o->progress_arg = options->progress_arg;
	(void)pthread_mutex_init(&o->progress_lock, NULL);
	if (options->serving)
		db_serving();
	r = limits_of_options(options, &o->limits, err);
	if (r >= 0)
		r = store_open(options->root, options->run, options->durability == OVERLAID_DURABLE,
			       options->must_exist, &o->store, err);
	if (r < 0) {
		overlaid_close(o);
		return r;
	}
	if (options->serving)
		db_set_serving(o->store->db);
	o->serving = options->serving;
	*ret = o;
	return 0;
}

void overlaid_close(struct overlaid *o)
{
	if (!o)
		return;
	for (size_t i = 0; i < o->owned_count; i++)
		if (o->owned[i].fd >= 0)
			(void)close(o->owned[i].fd);
	free(o->owned);
	store_freep(&o->store);
	(void)pthread_mutex_destroy(&o->progress_lock);
	free(o);
}

void handle_report(struct overlaid *o, enum overlaid_event event, const char *diff_id,
		   uint64_t done_bytes, uint64_t total_bytes, const char *text)
{
	const struct overlaid_progress progress = { .event = event,
						    .diff_id = diff_id,
						    .done_bytes = done_bytes,
						    .total_bytes = total_bytes,
						    .text = text };

	if (!o->progress)
		return;
	(void)pthread_mutex_lock(&o->progress_lock);
	o->progress(o->progress_arg, &progress);
	(void)pthread_mutex_unlock(&o->progress_lock);
}

int handle_change(void *changes, enum change_kind kind, const char *path)
{
	static const enum overlaid_change kinds[] = {
		[CHANGE_MODIFIED] = OVERLAID_CHANGED,
		[CHANGE_ADDED] = OVERLAID_ADDED,
		[CHANGE_DELETED] = OVERLAID_DELETED,
	};
	const struct handle_changes *to = changes;

	return to->fn(to->arg, kinds[kind], path);
}

bool handle_is_unconfined(void)
{
	const char *wish = secure_getenv("OVERLAID_CONFINEMENT");

	return wish && strcmp(wish, "off") == 0;
}
