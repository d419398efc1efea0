/* SPDX-License-Identifier: Apache-2.0 */
/*
 * legacy: archives of docker save before 1.10, whose images have no config.
 *
 *	repositories	{"repository": {"tag": "<id of the top layer>", ...}, ...}
 *	<id>/json	metadata of one layer, with "parent": "<id>" where there is one
 *	<id>/layer.tar	its tar
 *
 * A config is made of the top layer's metadata (without its ids), the diffIDs, which are found by
 * reading the tars once, and a history of all layers: the way Docker itself upgraded such images.
 */
#ifndef GRAPH_FETCH_LEGACY_H
#define GRAPH_FETCH_LEGACY_H

#include "driver/base/json.h"
#include "graph/fetch/members.h"
#include "graph/fetch/source.h"

#define LEGACY_LAYERS_MAX 1000

/* Turns "repositories" into what manifest.json is for later archives: [{"RepoTags":
 * ["repository:tag"], "Top": "<id>"}, ...]. *ret is the caller's. */
int legacy_list(struct members *members, struct json **ret, struct err *err);

/* Fills config, its digest and the layers of the image whose top layer is `top`. */
int legacy_read_image(struct members *members, const char *top, struct source_image *image,
		      struct err *err);

#endif
