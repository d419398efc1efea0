/* SPDX-License-Identifier: Apache-2.0 */
#include "driver/compare.h"

#include "driver/changes_internal.h"

int compare_walk(int new_fd, int old_fd, change_fn *fn, void *arg, struct err *err)
{
	const struct changes_trees trees = {
		.upper_fd = new_fd,
		.lower_fds = &old_fd,
		.lower_count = old_fd >= 0,
		.rules = CHANGES_COMPARED,
		.marks = false,
	};

	return changes_walk_trees(&trees, fn, arg, err);
}
