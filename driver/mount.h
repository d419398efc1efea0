/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mount: a plan becomes a mount.
 *
 * Three ways, tried in this order, each with a whole mount (before Linux 6.5 fsconfig("lowerdir+")
 * succeeds and only the final create fails):
 *
 *	MOUNT_BY_FD		fsopen, fsconfig SET_FD on lowerdir+, upperdir, workdir
 *				Linux 6.13; no size limit, no escaping
 *	MOUNT_BY_NAME		fsopen, fsconfig SET_STRING lowerdir+ (each at most 255 bytes)
 *				Linux 6.5
 *	MOUNT_BY_OPTIONS	mount(2) through libmount, lowers as bare numbers in
 *				/proc/self/fd (the calling thread's own working directory),
 *				one page in all
 *
 * Layers that are attached nowhere (plan->lowers_detached) go by descriptor (from Linux 6.15 on), else by
 * name while they are stacked on the target for a moment.
 *
 * The next way is tried only where the error says that the kernel lacks this one; else the error
 * stands, with the kernel's own words from the fs context's log. The kernel's mount table is the
 * truth about mounts (graph/store/store.h, invariant 6); it is read with libmount.
 */
#ifndef DRIVER_MOUNT_H
#define DRIVER_MOUNT_H

#include <stdbool.h>
#include <stdint.h>

#include "driver/base/buf.h"
#include "driver/base/err.h"
#include "driver/overlay.h"

enum mount_way { MOUNT_BY_FD, MOUNT_BY_NAME, MOUNT_BY_OPTIONS, MOUNT_WAYS };
const char *mount_way_name(enum mount_way way); /* "fsconfig by descriptor", ... */

/*
 * Mounts on the existing directory `target` (whose last component may not be a symlink). *ret_way
 * (NULL allowed) says how. Options beside the plan's: index=off, redirect_dir=off, metacopy=off
 * (each left out where this kernel does not know it), userxattr where the plan says so (which
 * itself means that redirects are not followed; redirect_dir is then left out, the kernel finds the
 * two in conflict). -EINVAL, -E2BIG, -ENODEV (no overlayfs), ...
 */
int mount_overlay(const struct overlay_plan *plan, const char *target, enum mount_way *ret_way,
		  struct err *err);

/* One way only, no fallback: for probe and tests. */
int mount_overlay_by(enum mount_way way, const struct overlay_plan *plan, const char *target,
		     struct err *err);

/*
 * The mount, attached nowhere: an O_PATH descriptor of its root, for openat(2) and the like; the mount goes
 * with it (and with what was opened through it). -ENOSYS with words where the kernel has neither of the
 * ways with fsmount(2).
 */
int mount_overlay_detached(const struct overlay_plan *plan, struct err *err);

/*
 * The directory `tree_fd` (O_PATH will do; of this mount namespace) appears on the existing directory
 * `target` (whose last component may not be a symlink) too, without what is mounted within it. Other
 * mount flags are those it has where it was opened.
 */
int mount_bind(int tree_fd, const char *target, bool read_only, struct err *err);

/*
 * Nothing is mounted at exactly `target` any more: each mount that was stacked there is taken off lazily,
 * with what was mounted within; who uses it may go on. Then the mount point is removed, which makes the
 * kernel drop copies of the mounts in other namespaces. No mount there, or no directory, is fine. No
 * symlink as last component is followed: -ENOTDIR. -ENOTEMPTY: the directory beneath has something in it,
 * and stays.
 */
int mount_detach(const char *target, struct err *err);

/* 1: something is mounted at exactly this directory in this mount namespace; 0: no, or no such
 * directory; -errno. One statx(2). */
int mount_is_mounted(const char *target, struct err *err);

/*
 * Unmounts it (not lazily). -EBUSY's words name who holds it, "pid 4711 (nginx), pid ... and 3
 * more", or a mount within it; where nobody is seen to (a stat of the mount point by anyone makes
 * it busy for a microsecond, a process that is ending for longer) it is tried again for an eighth
 * of a second first. -EINVAL: not a mount point.
 */
int mount_unmount(const char *target, struct err *err);

/* Who keeps a mount busy: processes with a root, working directory, open file or mapping on it, as
 * "pid 4711 (nginx), ...", at most 5 named. Empty: nobody found. Copies of the mount in other
 * namespaces are other mounts and don't count. */
int mount_holders(const char *target, struct buf *ret, struct err *err);

/* Every mount point of this namespace beneath `dir` (a prefix by whole components, symlinks
 * resolved; not `dir` itself), deepest last, as they were when it was called: fn may unmount. A
 * missing directory has none. Return non-zero to stop. Reads the table with libmount. */
typedef int mount_fn(void *arg, const char *target, const char *fs_name);
int mount_foreach_below(const char *dir, mount_fn *fn, void *arg, struct err *err);

/* The one mount point beneath `dir` whose source is `source`: 1 and its path (the caller's), 0 where
 * there is none or more than one. */
int mount_find_source(const char *dir, const char *source, char **ret_target, struct err *err);

/* The mount namespace this thread is in, as the inode of /proc/thread-self/ns/mnt. */
int mount_namespace(uint64_t *ret, struct err *err);
/* 1 and one pid in it where some process lives in that mount namespace; 0: none found. */
int mount_namespace_alive(uint64_t ns, int *ret_pid, struct err *err);

#endif
