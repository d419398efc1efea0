/* SPDX-License-Identifier: Apache-2.0 */
/*
 * record: what the library tells about images, containers and layers, as JSON objects with Docker's
 * field names. JSON, tables and templates all print these. NULL: memory ran out (json_push and the
 * printers take it).
 */
#ifndef CMD_RECORD_H
#define CMD_RECORD_H

#include <stdbool.h>
#include <stdint.h>

#include "cmd/listing.h"
#include "driver/base/json.h"
#include "graph/overlaid.h"

struct record_style {
	bool programs; /* bytes, RFC 3339, whole ids: see listing.h */
	bool full_ids; /* --no-trunc */
	int64_t now;   /* seconds since 1970 */
};

/* The digest by which the image is known in that repository (normalised), the image's; "": none. */
const char *digest_in(const struct overlaid_image *image, const char *repository);

/* One row of `images`: the image under one of its references, or (NULL) under none. */
struct json *record_image(const struct overlaid_image *image, const char *reference,
			  const struct record_style *style);
struct json *record_container(const struct overlaid_container *container,
			      const struct record_style *style);
struct json *record_layer(const struct overlaid_layer *layer, const struct record_style *style);

extern const struct listing image_listing, container_listing, layer_listing;

/* Parts of records: a size, a time in seconds since 1970, an id, each as the style has it. */
struct json *record_size(uint64_t bytes, const struct record_style *style);
struct json *record_id(const char *id, const struct record_style *style);

/* "docker.io/library/nginx:latest" -> "nginx:latest"; what is no reference stays. The caller frees;
 * NULL: memory ran out. */
char *familiar_name(const char *reference);
/* The familiar names of an image's references, an array. */
struct json *familiar_names(const char *const *references, size_t count);
/* "Mounted at /path", "Created", ... */
struct json *container_status(const struct overlaid_container *container);

#endif
