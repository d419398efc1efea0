/* SPDX-License-Identifier: Apache-2.0 */
/*
 * export: changes of a tree become a layer's tar, the reverse of apply.
 *
 *	changes_walk or compare_walk -> export_change -> tar_write
 *
 * What comes out, in the order of the changes:
 *  - Added and Modified: the entry as it stands in the tree, with what ustar and pax have (driver/tar_write.h):
 *    mtime in seconds; of a file or directory the xattrs security.capability and user.*, sorted by name, but
 *    user.overlay.*, a capability without the root that it is for, and never one of trusted.*; one that no
 *    pax record can say (a "=" in its name) is left out;
 *  - Deleted: DIR/.wh.NAME, an empty file of root with mode 0600 and time 0 (OCI image-spec layer.md);
 *  - of names that are one inode all but the first are hard links to it, in this tar; a directory is never
 *    opaque: all that it hides was reported as Deleted;
 *  - left out: sockets (one that is Modified, and so has taken the place of something, is a whiteout of
 *    that), and names that begin with ".wh.", with what they hold: in a layer they mean something else.
 *
 * The tree may be in use. No name is followed: every component is a real directory, or what it names is
 * gone. What is gone before its header is written is left out; a file that shrinks is filled with zeros to
 * the size that the header said, one that grows is cut there. Nothing but regular files is opened for
 * reading: a device that takes a file's place is not touched. Needs /proc.
 */
#ifndef DRIVER_EXPORT_H
#define DRIVER_EXPORT_H

#include <stdint.h>

#include "driver/base/auto.h"
#include "driver/base/err.h"
#include "driver/changes.h"
#include "driver/tar_write.h"

struct export_options {
	/* Ids on disk -> ids in the tar, but not of whiteouts; NULL: as they are. */
	uint32_t (*map_uid)(void *arg, uint32_t id);
	uint32_t (*map_gid)(void *arg, uint32_t id);
	void *map_arg;
};

struct export;

/*
 * root_fd is the tree that has what was added and modified: an upper, or a mount. It stays the caller's,
 * and like `arg`, `err` and map_arg lives until export_free; `options` (NULL: none) need not. `err` also
 * takes the words of export_change.
 */
int export_new(int root_fd, const struct export_options *options, tar_write *write, void *arg,
	       struct export **ret, struct err *err);
void export_free(struct export *e);
void export_freep(struct export **e);
#define auto_export AUTO(export_freep)

/* A change_fn: 0, or -errno with words in the `err` given to export_new. It is fastest where changes come
 * in the order of a walk. */
int export_change(void *export, enum change_kind kind, const char *path);

/* The end of the archive. */
int export_end(struct export *e, struct err *err);

#endif
