/* SPDX-License-Identifier: Apache-2.0 */
/*
 * compare: what one directory tree adds to, modifies in and deletes from another.
 *
 * The trees are plain: two mounts, say, where changes would need their uppers and lowers. The answer is
 * that of CHANGES_COMPARED (driver/changes.h).
 */
#ifndef DRIVER_COMPARE_H
#define DRIVER_COMPARE_H

#include "driver/changes.h"

/*
 * As changes_walk with CHANGES_COMPARED, order and limits included. old_fd -EBADF: none, all of the new
 * tree is Added. The new tree may be in use: what vanishes meanwhile is not there, or is reported and
 * holds nothing; the old one does not change. Marks of overlayfs mean nothing here, but a character
 * device 0:0 is not there: overlayfs lists some that cannot be looked up. Three descriptors at any depth.
 */
int compare_walk(int new_fd, int old_fd, change_fn *fn, void *arg, struct err *err);

#endif
