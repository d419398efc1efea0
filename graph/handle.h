/* SPDX-License-Identifier: Apache-2.0 */
/*
 * handle: what stands behind `struct overlaid`.
 */
#ifndef GRAPH_HANDLE_H
#define GRAPH_HANDLE_H

#include <pthread.h>

#include "driver/changes.h"
#include "driver/whiteout.h"
#include "graph/limits.h"
#include "graph/overlaid.h"
#include "graph/store/store.h"

struct overlaid {
	struct store *store;
	struct limits limits;
	void (*progress)(void *arg, const struct overlaid_progress *progress);
	void *progress_arg;
	pthread_mutex_t progress_lock; /* one call at a time */
	struct owned {
		char uid[STORE_HEX_LEN + 1];
		int fd;
	} * owned; /* ephemeral snapshots of this handle, and the descriptors that hold their
		      locks */
	size_t owned_count;
	bool serving;
	bool xattrs_known;
	enum overlay_xattrs xattrs; /* that layers and uppers here are marked with */
};

/* Reports, if somebody wants to know. From any thread. */
void handle_report(struct overlaid *o, enum overlaid_event event, const char *diff_id,
		   uint64_t done_bytes, uint64_t total_bytes, const char *text);

/* Who is told of changes. handle_change is a change_fn (driver/changes.h) with one of these. */
struct handle_changes {
	overlaid_change_fn *fn;
	void *arg;
};
int handle_change(void *changes, enum change_kind kind, const char *path);

/* $OVERLAID_CONFINEMENT=off: what unpacks may do all that we may. For finding out whether confinement is what is in
 * the way. */
bool handle_is_unconfined(void);

/* overlaid_image_remove of an image that was to be kept only until a time before this one (ns since 1970).
 * -ENOENT: it is to be kept now, or gone already. */
int handle_remove_passed(struct overlaid *o, const char *image_id, int64_t before_ns,
			 struct err *err);

#endif
