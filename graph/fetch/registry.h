/* SPDX-License-Identifier: Apache-2.0 */
/*
 * registry: one repository of a registry as a source (graph/fetch/source.h): OCI distribution-spec
 * 1.1 and Docker Registry HTTP API V2, pull.
 *
 *	GET  PATH/REPOSITORY/manifests/TAG-or-DIGEST	index or manifest
 *	GET  PATH/REPOSITORY/blobs/DIGEST		config (kept in partial/ as a layer is), layers
 *	GET  PATH/REPOSITORY/tags/list?n=1000		and on, as "Link" says
 *	GET  PATH/					whether we may come in
 *
 * The servers that have the repository (graph/fetch/registries.h) are asked in turn: one that
 * fails, or whose manifest is not what it should be, is the last to be asked from then on.
 */
#ifndef GRAPH_FETCH_REGISTRY_H
#define GRAPH_FETCH_REGISTRY_H

#include "graph/fetch/client.h"
#include "graph/fetch/source.h"

#define REGISTRY_TAGS_MAX  100000
#define REGISTRY_PAGES_MAX 10000

struct registry_options {
	struct registries *registries;
	struct http_options http;
	struct client_options client;
	const struct oci_platform *platform; /* NULL: this machine's */
	bool foreign;			     /* take layers that may not be distributed */
	unsigned int parallel;		     /* blobs at once */
	int partial_fd;			     /* borrowed */
	/* A document that is in the store: 1 and its bytes, else 0. Asked before the network is.
	 * NULL: none is. */
	int (*stored)(void *arg, const struct digest *digest, struct buf *ret);
	/* See downloads_options. */
	void (*progress)(void *arg, const struct source_layer *layer, int64_t done_bytes);
	void *arg; /* of both */
};

/* `repository` is normalised ("docker.io/library/nginx"); `reference` is it, or it with the tag and digest
 * that are to be chosen, of which configuration files may speak. Asks nothing yet. options must outlive
 * *ret, which is freed with source_freep. -EPERM: blocked. */
int registry_open(const struct registry_options *options, const char *repository,
		  const char *reference, struct source **ret, struct err *err);

/* From here on the source is about what `tag` or, where that is not "", `digest` names. */
int registry_choose(struct source *source, const char *tag, const char *digest, struct err *err);

/* The digest of what is named (an index's, where it is one), without fetching it where the server
 * tells. */
int registry_resolve(struct source *source, struct digest *ret, struct err *err);

/* Reads manifest and config, verified. *ret_named as registry_resolve. */
int registry_read_image(struct source *source, struct source_image *ret, struct digest *ret_named,
			struct err *err);

/* Each tag of the repository; a callback that returns not 0 ends it with that. */
int registry_tags(struct source *source, int (*fn)(void *arg, const char *tag), void *arg,
		  struct err *err);

/* A layer did not have its digest: what was fetched is dropped. True: it may be right when it is opened
 * again (downloads_distrust). */
bool registry_distrust(struct source *source, const struct source_layer *layer);
/* The image that was read last, whose layers are not looked at any more, is in the store (`used`:
 * what was kept for resuming is taken away), or not. Returns the bytes of its layers that came from
 * the network. */
uint64_t registry_end(struct source *source, bool used);

/* Whether the registry ("docker.io", "localhost:5000") lets us in with
 * options->client.user_password. -EACCES: it does not. */
int registry_login(const struct registry_options *options, const char *registry, struct err *err);

#endif
