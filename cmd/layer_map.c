/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/layer_map.h"

#include <stdlib.h>
#include <string.h>

void layer_map_release(struct layer_map *map)
{
	int saved = errno;

	for (size_t i = 0; i < map->count; i++) {
		free(map->items[i].id);
		free(map->items[i].path);
	}
	free(map->items);
	*map = (struct layer_map){ 0 };
	errno = saved;
}

static int add_layer(void *arg, const struct overlaid_layer *layer)
{
	struct layer_map *map = arg;
	struct layer_entry entry = { .bytes = layer->bytes, .references = layer->holder_count };

	if (map->count == map->cap) {
		size_t cap = map->cap ? map->cap * 2 : 32;
		struct layer_entry *items = realloc(map->items, cap * sizeof(*items));

		if (!items)
			return -ENOMEM;
		map->items = items;
		map->cap = cap;
	}
	entry.id = strdup(layer->id);
	entry.path = strdup(layer->path);
	map->items[map->count++] = entry; /* also half made: the map frees it */
	return entry.id && entry.path ? 0 : -ENOMEM;
}

int layer_map_load(struct layer_map *map, struct overlaid *store, struct err *err)
{
	int r = overlaid_layers(store, add_layer, map, err);

	return r == -ENOMEM ? fail_oom(err) : r;
}

static int compare(const void *id, const void *entry)
{
	return strcmp(id, ((const struct layer_entry *)entry)->id);
}

const struct layer_entry *layer_map_find(const struct layer_map *map, const char *id)
{
	if (map->count == 0)
		return NULL;
	return bsearch(id, map->items, map->count, sizeof(*map->items), compare);
}
