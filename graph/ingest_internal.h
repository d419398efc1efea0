/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ingest_internal: what the files of ingest share.
 *
 *	ingest.c	rows, leases, locks, extraction, publishing
 *	ingest_derive.c	what depends on the layers beneath: bound layers and the patch
 */
#ifndef GRAPH_INGEST_INTERNAL_H
#define GRAPH_INGEST_INTERNAL_H

#include "driver/stack.h"
#include "graph/ingest.h"

/* The bound layer of a place in the image, and the patch, whether they are wanted or not. */
struct ingest_layer *ingest_bound_at(const struct ingest *in, size_t place);
struct ingest_layer *ingest_patch(const struct ingest *in);

/* Is there, in the store or in our staging directory. */
bool ingest_is_present(const struct ingest_layer *layer);

/* Takes the lock of a layer that is missing. Where somebody else has it, or has just made the layer, it
 * is not `ours` after, and *ret_busy is it. */
int ingest_lock(struct ingest *in, struct ingest_layer *layer, const struct ingest_layer **ret_busy,
		struct err *err);

/* Extracts a bound layer, which is ours, over the `count` layers beneath it, topmost first. */
int ingest_extract_bound(struct ingest *in, struct ingest_layer *layer,
			 const struct stack_layer *beneath, size_t count, struct err *err);

/* Writes what a layer says of itself into its directory in staging: it is extracted. */
int ingest_finish_layer(struct ingest *in, struct ingest_layer *layer, int dir_fd, struct err *err);

/* Decides what is at each place of the chain, and makes what is derived. *ret_busy is set where that had
 * to stop, as somebody else has the lock of one. */
int ingest_derive(struct ingest *in, const struct ingest_layer **ret_busy, struct err *err);

#endif
