/* SPDX-License-Identifier: Apache-2.0 */
/*
 * idmap: ids inside a container and those they are outside of it, and mounts that show the ones as the
 * others.
 *
 * A layer has on disk the ids that it was unpacked with, those inside. An overlay whose lowers are idmapped
 * mounts of layers, and whose upper is a plain directory, shows the ids outside: with 0:100000:65536 what
 * is of 0 on disk is of 100000 in the overlay, and when it is copied up, the upper has 100000 on disk. So
 * one layer serves containers with any mapping. What is not in the map shows as the overflow id (65534),
 * and can't be copied up (EOVERFLOW).
 *
 * The kernel takes such a layer for overlays from Linux 5.19 on. Which filesystems can be idmapped: ext4 and
 * xfs from 5.12, btrfs from 5.15, tmpfs from 6.3; an overlay cannot.
 *
 *	map	::= range ("," range)*
 *	range	::= inside ":" outside ":" count		decimal numbers without sign
 */
#ifndef DRIVER_IDMAP_H
#define DRIVER_IDMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "driver/base/auto.h"
#include "driver/base/err.h"

#define IDMAP_RANGES_MAX 340 /* user_namespaces(7) */

/* The ids from `inside` on are those from `outside` on; no id is 2^32-1. */
struct idmap_range {
	uint32_t inside, outside, count;
};

struct idmap {
	struct idmap_range *uids, *gids; /* owned */
	size_t uid_count, gid_count;
};
#define auto_idmap AUTO(idmap_release)

void idmap_release(struct idmap *map);

/* -EINVAL with words: empty, not of this form, ids over 2^32-2, a count of 0, overlapping ranges (on
 * either side), more than IDMAP_RANGES_MAX. *ret is to be released. */
int idmap_parse(const char *uids, const char *gids, struct idmap *ret, struct err *err);

/* The other id of one; false: it is in no range. */
bool idmap_outside(const struct idmap_range *ranges, size_t count, uint32_t inside, uint32_t *ret);
bool idmap_inside(const struct idmap_range *ranges, size_t count, uint32_t outside, uint32_t *ret);
/* Whether each id from 0 to `last` is inside. */
bool idmap_covers(const struct idmap_range *ranges, size_t count, uint32_t last);

/*
 * A new user namespace with these maps, in which nobody lives: a descriptor. Needs root. -E2BIG: a map that
 * the kernel does not take, for the text of it is a page or longer. Makes a process for a moment, which
 * the host program's waits don't see.
 */
int idmap_userns(const struct idmap *map, struct err *err);

/*
 * The tree at tree_fd (of this mount namespace; O_PATH will do) with the ids of that namespace, read-only,
 * as a mount that is attached nowhere: an O_PATH descriptor, which a plan takes as lower with
 * lowers_detached (driver/overlay.h). -EOPNOTSUPP with words: the filesystem can't be idmapped. -ENOSYS: nor
 * any, before Linux 5.12.
 */
int idmap_clone(int tree_fd, int userns_fd, struct err *err);

#endif
