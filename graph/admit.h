/* SPDX-License-Identifier: Apache-2.0 */
/*
 * admit: one image of a source becomes one of the store: its layers (graph/ingest.h), its
 * documents, its names, in one transaction.
 */
#ifndef GRAPH_ADMIT_H
#define GRAPH_ADMIT_H

#include "graph/fetch/source.h"
#include "graph/handle.h"

/* Normalised references; all owned. */
struct references {
	char **list;
	size_t count;
};
void references_release(struct references *references);
#define auto_references AUTO(references_release)
/* Adds a reference, normalised; one with a digest only adds nothing. -EINVAL. */
int references_add(struct references *references, const char *name, struct err *err);

struct admission {
	const struct references *references; /* to point at it */
	const char *
		named_digest; /* "docker.io/library/nginx@sha256:...", by which it is known too; or NULL */
	unsigned int keep_seconds; /* as overlaid_pull's */
	bool keep_blobs; /* of the layers that are extracted, where the source has them as files */
};

struct admitted {
	size_t extracted; /* layers, by this call */
	/* Where it failed as a layer's blob did not have its digest: that one. Else NULL. */
	const struct source_layer *mismatched;
};

/* ret is filled on failure too. */
int image_admit(struct overlaid *o, struct source *source, const struct source_image *image,
		const struct admission *admission, struct admitted *ret, struct err *err);

#endif
