/* SPDX-License-Identifier: Apache-2.0 */
#include "driver/inode_map.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>

#define FIRST_SIZE 64 /* a power of two */

struct inode_place {
	uint64_t dev, ino; /* ino 0: a free place */
	char *value;
};

void inode_map_release(struct inode_map *map)
{
	for (size_t i = 0; i < map->size; i++)
		free(map->places[i].value);
	free(map->places);
	*map = (struct inode_map){ 0 };
}

static struct inode_place *find_place(const struct inode_map *map, uint64_t dev, uint64_t ino)
{
	size_t at = (size_t)((ino ^ (dev << 32)) * 0x9e3779b97f4a7c15u >> 20);

	for (;; at++) {
		struct inode_place *place = &map->places[at & (map->size - 1)];

		if (!place->ino || (place->ino == ino && place->dev == dev))
			return place;
	}
}

static int grow(struct inode_map *map)
{
	struct inode_map bigger = { .size = map->size ? map->size * 2 : FIRST_SIZE,
				    .used = map->used };

	bigger.places = calloc(bigger.size, sizeof(*bigger.places));
	if (!bigger.places)
		return -ENOMEM;
	for (size_t i = 0; i < map->size; i++) {
		const struct inode_place *place = &map->places[i];

		if (place->ino)
			*find_place(&bigger, place->dev, place->ino) = *place;
	}
	free(map->places);
	*map = bigger;
	return 0;
}

int inode_map_add(struct inode_map *map, const struct stat *st, char ***ret_value)
{
	struct inode_place *place;
	int is_new;

	if (map->used * 2 >= map->size && grow(map) < 0)
		return -ENOMEM;
	place = find_place(map, st->st_dev, st->st_ino);
	is_new = !place->ino;
	if (is_new) {
		place->dev = st->st_dev;
		place->ino = st->st_ino;
		map->used++;
	}
	if (ret_value)
		*ret_value = &place->value;
	return is_new;
}
