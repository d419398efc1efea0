/* SPDX-License-Identifier: Apache-2.0 */
/* layer_map: all layers of the store by id, for the verbs that show an image's layers. */
#ifndef CMD_LAYER_MAP_H
#define CMD_LAYER_MAP_H

#include <stddef.h>
#include <stdint.h>

#include "driver/base/auto.h"
#include "driver/base/err.h"
#include "graph/overlaid.h"

struct layer_entry {
	char *id, *path; /* id: overlaid_layer's */
	uint64_t bytes;
	size_t references;
};

struct layer_map {
	struct layer_entry *items; /* sorted by id */
	size_t count, cap;
};

/* Fills an empty (zeroed) map. 0 or -errno with words. */
int layer_map_load(struct layer_map *map, struct overlaid *store, struct err *err);
void layer_map_release(struct layer_map *map);
#define auto_layer_map AUTO(layer_map_release)

/* NULL: there is none of this id. */
const struct layer_entry *layer_map_find(const struct layer_map *map, const char *id);

#endif
