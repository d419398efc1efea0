/* SPDX-License-Identifier: Apache-2.0 */
/*
 * inode_map: inodes met so far, for what has more than one name.
 */
#ifndef DRIVER_INODE_MAP_H
#define DRIVER_INODE_MAP_H

#include <stddef.h>
#include <sys/stat.h>

struct inode_place;

/* All zero is an empty one. */
struct inode_map {
	struct inode_place *places; /* open addressing, at most half full */
	size_t size, used;
};

/* Frees the values too, with free(3). */
void inode_map_release(struct inode_map *map);

/*
 * 1: it was not in the map, and is now, with the value NULL; 0: it was. *ret_value (NULL allowed) is the
 * value's place until the next call; what is put there is the map's. -ENOMEM.
 */
int inode_map_add(struct inode_map *map, const struct stat *st, char ***ret_value);

#endif
