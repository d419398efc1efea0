/* SPDX-License-Identifier: Apache-2.0 */
/*
 * changes: what an upper tree adds to, modifies in and deletes from the trees beneath it.
 *
 * The answer is Docker's and Podman's `diff`: a path is Added where no lower has it, Changed where
 * one does, Deleted where a whiteout (or an opaque directory, or a change of type over a directory)
 * hides it. A directory that was only copied up on the way to a change is reported as Changed where
 * something beneath it changed or its own metadata did, and not otherwise.
 */
#ifndef DRIVER_CHANGES_H
#define DRIVER_CHANGES_H

#include <stddef.h>

#include "driver/base/err.h"
#include "driver/whiteout.h"

enum change_kind { CHANGE_MODIFIED, CHANGE_ADDED, CHANGE_DELETED };

/* `path` begins with "/", raw bytes. Return 0 to go on, else the walk ends with that value. */
typedef int change_fn(void *arg, enum change_kind kind, const char *path);

#define CHANGES_DEPTH_MAX \
	1024 /* directories within one another; what apply takes of a layer, too */

/*
 * CHANGES_OF_UPPER: all that the upper has is a change, but directories that were only copied up: those
 * have the type, owner, mode and mtime of the lowers'. An opaque directory is always Changed.
 *
 * CHANGES_COMPARED: what moby's comparison of the two mounted trees says, `docker diff`. What the upper has
 * is a change only where it differs from what the lowers show: in type, mode, owner, device number,
 * security.capability, and but for directories in size or mtime (where either has no nanoseconds, seconds
 * count). A directory that does not differ is Changed where something in it is, and so is an opaque one.
 */
enum changes_rules { CHANGES_OF_UPPER, CHANGES_COMPARED };

/*
 * lowers: topmost first. Paths come in the order of a depth-first walk, names of a directory in
 * byte order, a directory before what it holds; "/" itself is never reported. In an opaque
 * directory every name that a lower shows there and the upper has not is Deleted, and of what lay
 * beneath that name nothing more is said. Descriptors need not be open for reading (O_PATH will do).
 * The upper may be in use: what vanishes meanwhile is not there, or is reported and holds nothing.
 * CHANGES_COMPARED needs /proc for the capabilities, and takes a file for one without where it is missing.
 * -ELOOP: deeper than CHANGES_DEPTH_MAX; -ENAMETOOLONG: a path over PATH_MAX - 1 bytes.
 */
int changes_walk(int upper_fd, const int *lower_fds, size_t lower_count, enum overlay_xattrs xattrs,
		 enum changes_rules rules, change_fn *fn, void *arg, struct err *err);

#endif
