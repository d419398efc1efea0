/* SPDX-License-Identifier: Apache-2.0 */
/*
 * chain: a list of layers becomes a mount plan.
 */
#ifndef GRAPH_STORE_CHAIN_H
#define GRAPH_STORE_CHAIN_H

#include "driver/overlay.h"
#include "graph/name/oci.h"
#include "graph/store/layer.h"
#include "graph/store/store.h"

/* Adds the layers (lowest first, as images list them) as lowers, topmost first, and says which xattrs
 * they are marked with. Nothing beneath a layer whose root is opaque belongs to the chain. */
int chain_add_lowers(struct store *store, const struct layer_list *layers,
		     struct overlay_plan *plan, struct err *err);

/* The snapshot's fs/ and work/. */
int chain_set_upper(struct store *store, const char *uid, struct overlay_plan *plan,
		    struct err *err);

/* Adds the empty directories that the kernel wants beneath a short chain. */
int chain_pad(struct store *store, struct overlay_plan *plan, struct err *err);

/* Refuses an image with more distinct layers than `max`, or than can be stacked, before anything is
 * extracted: -E2BIG. `what` names the image. */
int chain_check_length(const struct oci_config *config, uint32_t max, const char *what,
		       struct err *err);

#endif
