/* SPDX-License-Identifier: Apache-2.0 */
/*
 * view: the trees of a runtime's snapshot (graph/store/keyed.h), stacked.
 *
 * Trees that were unpacked hold ids as they are inside. For who runs in a user namespace (`userns_fd`, else -EBADF)
 * they are seen through idmapped mounts; what was written to a snapshot is on disk as it is seen.
 */
#ifndef GRAPH_VIEW_H
#define GRAPH_VIEW_H

#include "driver/idmap.h"
#include "driver/overlay.h"
#include "graph/handle.h"
#include "graph/store/keyed.h"

/* Which xattrs mark what is here; in o->xattrs. */
int view_know_xattrs(struct overlaid *o, struct err *err);

/* Leaves those that are to be lowers: of equal ones the topmost (driver/overlay.h), and none beneath one whose
 * root is opaque: overlayfs merges the roots of all lowers, whatever they are marked. -E2BIG. */
int view_choose_lowers(struct overlaid *o, struct keyed_trees *trees, struct err *err);

/* Adds what was chosen. */
int view_add_lowers(struct overlaid *o, const struct keyed_trees *trees, int userns_fd,
		    struct overlay_plan *plan, struct err *err);

/* What was chosen as one tree, to be read: a descriptor of its root, which keeps it. None: an empty one. */
int view_open(struct overlaid *o, const struct keyed_trees *trees, int userns_fd, struct err *err);

/* One of the trees: a descriptor. */
int view_open_tree(struct overlaid *o, const struct keyed_tree *tree, int userns_fd,
		   struct err *err);

/* Whether one of the two is given. `maps` NULL: no. */
bool view_is_mapped(const struct overlaid_maps *maps);
/* 1 and the maps, the caller's to release; 0: there are none. -EINVAL: they are none, or one is missing. */
int view_maps(const struct overlaid_maps *maps, struct idmap *ret, struct err *err);

/* The user namespace of the maps (NULL: none): a descriptor, or -EBADF in *ret_fd where nothing is mapped. */
int view_userns(const struct overlaid_maps *maps, int *ret_fd, struct err *err);

#endif
