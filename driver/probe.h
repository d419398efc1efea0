/* SPDX-License-Identifier: Apache-2.0 */
/*
 * probe: what this kernel and this backing filesystem can do, asked once and kept in a struct. For
 * `overlaid info`, and for decisions that cannot simply be tried.
 */
#ifndef DRIVER_PROBE_H
#define DRIVER_PROBE_H

#include <stdbool.h>

#include "driver/base/err.h"
#include "driver/mount.h"
#include "driver/whiteout.h"

#define PROBE_FS_NAME 16

struct probe {
	char kernel[65];		/* uname release */
	char backing_fs[PROBE_FS_NAME]; /* "ext4", "xfs", "btrfs", "tmpfs", "overlay", or "0x<magic>" */
	bool overlay;			/* an overlay could be mounted in some way */
	bool ways[MOUNT_WAYS]; /* each tried with a whole mount of two lowers, upper and work */
	bool d_type; /* the backing filesystem tells types in readdir: overlayfs wants it of an
			upper */
	bool openat2;
	bool whiteout;		    /* mknod of 0:0 is allowed */
	enum overlay_xattrs xattrs; /* trusted. where we may write it here, else user. */
	bool xattr;		    /* the chosen ones can be written */
	bool reflink;		    /* FICLONE works */
	bool volatile_mount;
};

/* Tries it all in a fresh directory that it makes beneath `dir` (the store's staging directory) and
 * removes again; mounts are made in a private mount namespace of a thread, so none is left however
 * it ends. Who may not mount learns that all ways are false, without an error. */
int probe_run(const char *dir, struct probe *ret, struct err *err);

/* The type of the filesystem, in words as above; unchanged where it can't be asked. */
void probe_fs_name(int dirfd, char out[PROBE_FS_NAME]);

/* Only the cheap question that applying a layer must ask: which xattrs can be written in the
 * directory. */
int probe_xattrs(int dirfd, enum overlay_xattrs *ret, struct err *err);

#endif
