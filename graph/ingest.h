/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ingest: the layers of one image come into the store, each extracted once, however many processes
 * want it.
 *
 * 1. Lease what is there, so that nobody deletes it meanwhile.
 * 2. Try the locks of what is missing; extract those got side by side into staging; one sync;
 * rename (store.h, "Order of publishing").
 * 3. Were some locked by others: make ours known, let go of our locks, wait for theirs, and begin
 * again. So nobody waits while holding. The caller adds image and references in the transaction
 * that also makes the layers' rows, and the lease ends with it.
 */
#ifndef GRAPH_INGEST_H
#define GRAPH_INGEST_H

#include <stdatomic.h>

#include "graph/fetch/source.h"
#include "graph/handle.h"
#include "graph/store/layer.h"

struct ingest_layer {
	struct digest diff_id;
	const struct source_layer *from;
	int64_t row;	/* 0: not in the store yet */
	bool leased;	/* found in the store in the last round */
	bool ours;	/* locked by us, to be extracted */
	bool extracted; /* by this call; in staging, or published */
	struct apply_result applied;
};

struct ingest {
	struct overlaid *handle;
	struct source *source;
	const struct source_image *image;
	struct staging staging;
	struct store_locks locks;
	struct ingest_layer *layers; /* distinct */
	size_t count;
	int64_t lease;
	atomic_uint_least64_t bytes, entries; /* of the layers that are there or extracted */
};
#define INGEST_INIT                                                \
	{                                                          \
		.staging = STAGING_INIT, .locks = STORE_LOCKS_INIT \
	}
#define auto_ingest AUTO(ingest_release)

/* Takes the image's distinct layers and makes a staging directory. All three must outlive `ret`,
 * which is released also on failure. */
int ingest_begin(struct overlaid *handle, struct source *source, const struct source_image *image,
		 struct ingest *ret, struct err *err);

/* Gets every layer into place: on return each has a row, or is renamed, durable and locked, its row
 * to be made by ingest_commit_layers. */
int ingest_layers(struct ingest *ingest, struct err *err);

/* Makes the rows that are missing, ends the lease. In the caller's transaction. *ret_ids, one for
 * each of the image's diffIDs, is the caller's. */
int ingest_commit_layers(struct ingest *ingest, int64_t **ret_ids, struct err *err);

/* Layers extracted by this call. */
size_t ingest_extracted(const struct ingest *ingest);

/* Lets go of locks and staging. Where the caller's transaction did not happen, the lease goes too,
 * and the layers that only it held. */
void ingest_release(struct ingest *ingest);

#endif
