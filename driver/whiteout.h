/* SPDX-License-Identifier: Apache-2.0 */
/*
 * whiteout: how a layer says "deleted", in a tar and on an overlayfs.
 *
 *	in the tar (OCI image-spec layer.md)	on disk (overlayfs.rst)
 *	DIR/.wh.NAME				DIR/NAME, a character device 0:0
 *	DIR/.wh..wh..opq			xattr {trusted,user}.overlay.opaque = "y" on DIR
 *	DIR/.wh..wh.OTHER			nothing (aufs left-overs such as .wh..wh.plnk)
 *
 * Both act on lower layers only, wherever in the stream they stand.
 */
#ifndef DRIVER_WHITEOUT_H
#define DRIVER_WHITEOUT_H

#include <stdbool.h>
#include <sys/stat.h>

#include "driver/base/err.h"

enum whiteout_kind {
	WHITEOUT_NONE,	  /* an ordinary name */
	WHITEOUT_NAME,	  /* hides one name */
	WHITEOUT_OPAQUE,  /* hides all that lies beneath the directory */
	WHITEOUT_SKIP,	  /* aufs metadata: ignore the entry */
	WHITEOUT_INVALID, /* ".wh.", ".wh..", ".wh...": refuse the archive */
};

/* What a bare tar name means. For WHITEOUT_NAME *ret_hidden points into `name`, at the hidden name; else it
 * is untouched. */
enum whiteout_kind whiteout_parse(const char *name, const char **ret_hidden);

/* Which xattrs this kernel lets us write for overlayfs: "trusted." needs CAP_SYS_ADMIN in the first user
 * namespace, "user." goes with mount option userxattr. */
enum overlay_xattrs { OVERLAY_XATTRS_TRUSTED, OVERLAY_XATTRS_USER };

const char *whiteout_opaque_xattr(
	enum overlay_xattrs xattrs); /* "trusted.overlay.opaque" or "user.overlay.opaque" */

/* True for what overlayfs takes for a whiteout: a character device 0:0. Ask it before looking at hard links:
 * overlayfs links all whiteouts of an upper to one inode. */
bool whiteout_is(const struct stat *st);

/* Makes the whiteout of dirfd/name, mode 0. -EEXIST where something has this name. */
int whiteout_create(int dirfd, const char *name, struct err *err);

/* Hides what lies beneath the directory in lower layers. The descriptor is not O_PATH. */
int whiteout_set_opaque(int dir_fd, enum overlay_xattrs xattrs, struct err *err);

/*
 * Says that the directory may hold whiteouts (an empty overlay.origin). Without it overlayfs lists
 * those of a directory that only one layer has, as names that cannot be looked up: it takes whiteouts
 * out of a listing only where it merges directories, or finds this mark (ovl_get_inode).
 */
int whiteout_mark_parent(int dir_fd, enum overlay_xattrs xattrs, struct err *err);

/* True for a directory that whiteout_set_opaque marked. */
bool whiteout_is_opaque(int dir_fd, enum overlay_xattrs xattrs);
bool whiteout_path_is_opaque(const char *path, enum overlay_xattrs xattrs);

#endif
