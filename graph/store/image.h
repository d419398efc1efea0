/* SPDX-License-Identifier: Apache-2.0 */
/*
 * image: rows of images, their references and their edges to layers.
 */
#ifndef GRAPH_STORE_IMAGE_H
#define GRAPH_STORE_IMAGE_H

#include <stdbool.h>
#include <stdint.h>

#include "graph/name/oci.h"
#include "graph/name/reference.h"
#include "graph/overlaid.h"
#include "graph/store/layer.h"
#include "graph/store/store.h"

/* What a name means: see "Names of images" in overlaid.h. */
struct image_name {
	int64_t id; /* of the row */
	struct digest image_id;
	char reference[REFERENCE_TEXT_MAX]; /* of the tag row it was found by; "" where it was found
					       by id or digest */
};
/* -ENOENT, -ENOTUNIQ (words list the candidates), -EINVAL. */
int image_resolve(struct store *store, const char *name, struct image_name *ret, struct err *err);

/* Hands over one image (`only` != 0) or all of them, newest first, in one consistent view. */
int image_list(struct store *store, int64_t only, overlaid_image_fn *fn, void *arg,
	       struct err *err);

/* What image_insert makes a row of. The blobs' rows exist. */
struct image_facts {
	const struct digest *image_id;
	const struct digest *manifest; /* empty text: none */
	const struct oci_config *config;
	const int64_t *layer_ids; /* rows of its chain (graph/store/chain.h) */
	size_t layer_count;
	/* 0: an image to keep. Else gc takes it after that time (ns since 1970), unless it is loaded again to be
	 * kept, or tagged. */
	int64_t kept_until_ns;
};
/* In a transaction. *ret_id is the new row, or that of the same image, whose manifest, load time
 * and chain are then brought up to date. Layers that lost their last edge go to `removed` (NULL
 * allowed). */
int image_insert(struct store *store, const struct image_facts *facts, int64_t *ret_id,
		 struct layer_list *removed, struct err *err);

/* Points the reference at the image, away from another one if need be. In a transaction. */
int image_tag(struct store *store, int64_t id, const char *reference, struct err *err);

/* Takes the reference away; with the last one in its repository go the digests that the image has
 * there. In a transaction. */
int image_untag(struct store *store, int64_t id, const char *reference, struct err *err);

/* The image is known by "repository@digest" too. In a transaction. */
int image_name_digest(struct store *store, int64_t id, const char *reference, struct err *err);

/* Calls fn with each reference, sorted. */
int image_references(struct store *store, int64_t id, int (*fn)(void *arg, const char *reference),
		     void *arg, struct err *err);

/* Removes references, edges, row and blobs; containers keep their own edges. Layers without edges
 * go to `removed`. In a transaction. */
int image_delete(struct store *store, int64_t id, struct layer_list *removed, struct err *err);

#endif
