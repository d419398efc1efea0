/* SPDX-License-Identifier: Apache-2.0 */
/*
 * patch: the metadata of directories that a stack of layers shows wrongly.
 *
 * A layer that implies a directory has it as root:root 0755 with time 0, and on a mount the topmost
 * layer's metadata is what is seen. Where a layer further down says that it is otherwise
 * (driver/stack.h, "Whose metadata a directory has"), a layer on top puts it right: it holds these
 * directories, and the directories on the way to them, each with owner, mode, xattrs and mtime as they
 * should be, and nothing else. Directories merge, so it hides nothing.
 */
#ifndef DRIVER_PATCH_H
#define DRIVER_PATCH_H

#include "driver/apply.h"
#include "driver/base/buf.h"
#include "driver/base/err.h"
#include "driver/stack.h"

/* Appends the paths of the directories to be put right: each NUL-terminated, sorted, none twice. None
 * where nothing is wrong. */
int patch_find(struct stack *s, struct buf *ret_paths, struct err *err);

/* Makes the layer in root_fd, an empty directory. `ret` as of apply(): disk_bytes, entries (the
 * directories made), root_implied. */
int patch_write(struct stack *s, const struct buf *paths, int root_fd, struct apply_result *ret,
		struct err *err);

#endif
