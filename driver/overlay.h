/* SPDX-License-Identifier: Apache-2.0 */
/*
 * overlay: a mount plan, pure data: which directories, in which order, with which options.
 *
 * What bounds a chain: the kernel stacks at most OVERLAY_LOWERS_MAX lower directories
 * (OVL_MAX_STACK); the upper is not counted. Without an upper it wants at least two lowers, so a
 * plan for a read-only mount of one layer (or of none) is padded with empty directories at the
 * bottom, where they change nothing. The same directory twice is refused by the kernel (ELOOP); of
 * two equal layers in one chain only the topmost counts: whatever the lower one contributes
 * (entries, whiteouts, opaque marks), the upper one contributes again above all that lies between.
 */
#ifndef DRIVER_OVERLAY_H
#define DRIVER_OVERLAY_H

#include <stdbool.h>
#include <stddef.h>

#include "driver/base/auto.h"
#include "driver/base/err.h"
#include "driver/whiteout.h"

#define OVERLAY_LOWERS_MAX 500

enum overlay_flags {
	OVERLAY_READ_ONLY = 1,
	OVERLAY_VOLATILE = 2, /* no sync of the upper's filesystem, ever; the upper is worthless
				 after a crash (overlayfs.rst, "Volatile mount") */
};

/*
 * Descriptors are of directories, opened in the mount namespace in which the plan will be mounted
 * (the kernel takes no layer from another one), with O_RDONLY | O_DIRECTORY | O_CLOEXEC. O_PATH
 * works too, but Linux 6.13 and 6.14 refuse such as layers by descriptor, and the plan is then
 * mounted by name there.
 */
struct overlay_plan {
	int *lower_fds;	    /* topmost first; owned: closed by overlay_plan_release */
	char **lower_paths; /* for option strings and words; owned */
	size_t lower_count;
	int upper_fd, work_fd; /* owned; -EBADF: none, and then the mount is read-only */
	char *upper_path, *work_path;
	char *source;  /* what the mount table shows as its source; owned; NULL: "overlay" */
	char *context; /* SELinux context of all files in it; owned; NULL: none */
	/*
	 * The lowers are mounts that are attached nowhere (driver/idmap.h); their paths are words alone, and
	 * there is no option string that names them. The plan is good for one try only: before Linux 6.15
	 * they are spent by it.
	 */
	bool lowers_detached;
	unsigned int flags;
	enum overlay_xattrs xattrs;
};
#define OVERLAY_PLAN_INIT                             \
	{                                             \
		.upper_fd = -EBADF, .work_fd = -EBADF \
	}
#define auto_overlay_plan AUTO(overlay_plan_release)

void overlay_plan_release(struct overlay_plan *plan);

/* Adds a lower beneath those already there. Takes fd over, also on failure. A directory already in
 * the plan (same path) is dropped. -E2BIG with the limit in the words. */
int overlay_plan_add_lower(struct overlay_plan *plan, int fd, const char *path, struct err *err);

/* Takes both descriptors over, also on failure. */
int overlay_plan_set_upper(struct overlay_plan *plan, int upper_fd, const char *upper_path,
			   int work_fd, const char *work_path, struct err *err);

/* Lowers that must still be added before the kernel takes the plan: 0, 1 or 2. */
size_t overlay_plan_missing_lowers(const struct overlay_plan *plan);

/*
 * Empties the work directory work_parent_fd/name, itself left as it is, so that an upper that was
 * mounted OVERLAY_VOLATILE can be mounted again, which the kernel refuses else (it leaves
 * work/incompat/volatile). For the caller to know that what was written is all there: it has not crashed
 * since. Must not be mounted. -ENOENT, ...
 */
int overlay_reset_work(int work_parent_fd, const char *name, struct err *err);

/* -E2BIG with words where `lowers` distinct layers cannot be stacked. `what` names the image. Ask
 * before anything is extracted. */
int overlay_check_lowers(size_t lowers, const char *what, struct err *err);

#endif
