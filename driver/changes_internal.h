/* SPDX-License-Identifier: Apache-2.0 */
/*
 * changes_internal: the walk that changes and compare share. Two plain trees are compared as an upper
 * whose root is opaque, over one lower.
 */
#ifndef DRIVER_CHANGES_INTERNAL_H
#define DRIVER_CHANGES_INTERNAL_H

#include <stdbool.h>

#include "driver/changes.h"

struct changes_trees {
	int upper_fd;
	const int *lower_fds; /* topmost first */
	size_t lower_count;
	enum changes_rules rules;
	bool marks; /* directories may be marked opaque; false: all are, and no mark is looked for */
	enum overlay_xattrs xattrs; /* of the marks */
};

/* As changes_walk. */
int changes_walk_trees(const struct changes_trees *trees, change_fn *fn, void *arg,
		       struct err *err);

#endif
