/* SPDX-License-Identifier: Apache-2.0 */
/*
 * chain: a list of layers becomes a mount plan; the names of what is derived for one.
 *
 * An image's chain is a layer for each of its diffIDs, lowest first, plain or bound, and on top, where
 * it is needed, a patch (graph/store/layer.h). It follows from the diffIDs alone: whoever loads the
 * image, in whatever order, gets the same.
 */
#ifndef GRAPH_STORE_CHAIN_H
#define GRAPH_STORE_CHAIN_H

#include <stdbool.h>

#include "driver/overlay.h"
#include "graph/name/oci.h"
#include "graph/store/layer.h"
#include "graph/store/store.h"

/* Adds the layers (lowest first, as images list them) as lowers, topmost first, and says which xattrs
 * they are marked with. Nothing beneath a layer whose root is opaque belongs to the chain. */
int chain_add_lowers(struct store *store, const struct layer_list *layers,
		     struct overlay_plan *plan, struct err *err);

/* The snapshot's directory `tree` ("fs", or "diff" of one that a runtime names) and work/. */
int chain_set_upper(struct store *store, const char *uid, const char *tree,
		    struct overlay_plan *plan, struct err *err);

/* An empty directory to be a lower, the i-th; made where it is missing. *ret is the caller's. */
int chain_empty_path(const struct store *store, size_t i, char **ret, struct err *err);

/* Adds the empty directories that the kernel wants beneath a short chain. */
int chain_pad(struct store *store, struct overlay_plan *plan, struct err *err);

/* The chainID of a layer over those of `parent` (NULL: over none). */
int chain_id_next(const struct digest *parent, const struct digest *diff_id, struct digest *ret,
		  struct err *err);

/* The key of the patch of the chain: sha256 of "overlaid patch 1 " and the chainID. */
int chain_patch_key(const struct digest *chain_id, struct digest *ret, struct err *err);

/* Refuses a chain of so many distinct directories, the patch among them, that it cannot be stacked. */
int chain_check_derived(size_t directories, bool patched, const char *what, struct err *err);

/* Refuses an image with more distinct layers than `max`, or than can be stacked, before anything is
 * extracted: -E2BIG. `what` names the image. */
int chain_check_length(const struct oci_config *config, uint32_t max, const char *what,
		       struct err *err);

#endif
