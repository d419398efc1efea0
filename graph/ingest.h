/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ingest: the layers of one image come into the store, each extracted once, however many processes
 * want it.
 *
 * 1. Lease what is there, so that nobody deletes it meanwhile.
 * 2. Try the locks of what is missing; extract those got side by side into staging, each by itself.
 * 3. From the lowest layer up: which must be bound to those beneath it (driver/bind.h; or it said so
 *    itself, as it links to a file of theirs)? Those are extracted again, over them. On top of all, a
 *    patch, where directories would show wrongly (driver/patch.h). These have locks like any layer.
 * 4. One sync; rename (store.h, "Order of publishing"). What was extracted alone in vain stays in
 *    staging and goes with it.
 * 5. Were some locked by others: make ours known, let go of our locks, wait for theirs, and begin
 *    again. So nobody waits while holding. The caller adds image and references in the transaction
 *    that also makes the layers' rows, and the lease ends with it.
 */
#ifndef GRAPH_INGEST_H
#define GRAPH_INGEST_H

#include <stdatomic.h>

#include "graph/fetch/source.h"
#include "graph/handle.h"
#include "graph/store/layer.h"

struct ingest_layer {
	enum layer_kind kind;
	struct digest key;
	struct digest diff_id;		 /* of its tar; not of a patch */
	struct digest chain_id;		 /* not of a plain one */
	const struct source_layer *from; /* not of a patch */
	struct ingest_layer *plain;	 /* the plain one of its tar; not of a patch */
	int64_t row;			 /* 0: not in the store yet */
	bool wanted;			 /* a plain one: some place in the chain may be its */
	bool leased;			 /* found in the store in the last round */
	bool ours;			 /* locked by us, to be extracted */
	bool extracted;			 /* by this call; in staging, or published */
	bool published;			 /* by this call; in layers/, without a row perhaps */
	bool counted;			 /* a plain one: its tar is among what the image contains */
	char *unable;			 /* words: it cannot stand alone; owned */
	int tree_fd;			 /* what the layers above look into; or -EBADF */
	struct apply_result applied;	 /* of one that is there, `implied` only */
	bool implied_known;
};

struct ingest {
	struct overlaid *handle;
	struct source *source;
	const struct source_image *image;
	struct staging staging;
	struct store_locks locks;
	struct ingest_layer
		*layers; /* the distinct plain ones; a bound one for each place; the patch */
	size_t plain_count, count;
	struct ingest_layer **plain_at; /* the plain one of each place in the image */
	struct ingest_layer **chain;	/* what is at each place of the chain, once that is known */
	size_t chain_count;
	bool synced; /* what was written to staging before ingest_layers is durable */
	int64_t lease;
	/* One whose blob does not have its digest; or NULL. */
	_Atomic(const struct source_layer *) mismatched;
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

/* Gets every layer of the chain into place: on return each has a row, or is renamed, durable and locked,
 * its row to be made by ingest_commit_layers. */
int ingest_layers(struct ingest *ingest, struct err *err);

/* Makes the rows that are missing. In the caller's transaction. *ret_ids, chain_count rows, is the
 * caller's. */
int ingest_commit_layers(struct ingest *ingest, int64_t **ret_ids, struct err *err);

/* Ends the lease, in the same transaction, after the rows have their edges. Layers that only it held,
 * because they were extracted in vain, go to `removed`. */
int ingest_end_lease(struct ingest *ingest, struct layer_list *removed, struct err *err);

/* The image's distinct diffIDs that were extracted by this call, alone or bound. */
size_t ingest_extracted(const struct ingest *ingest);

/* Lets go of locks and staging. Where the caller's transaction did not happen, the lease goes too,
 * and the layers that only it held. */
void ingest_release(struct ingest *ingest);

#endif
