/* SPDX-License-Identifier: Apache-2.0 */
/*
 * run_root: makes a mounted tree the root of the calling process, with /proc, /dev, /sys and the
 * user's volumes in it.
 *
 * The process must have mount, PID, IPC and UTS namespaces of its own, and no mount may be shared.
 * All places in the tree are opened beneath its root (cmd/rootfs.h) and mounted on by descriptor.
 * There is no device cgroup here, so nothing in the tree opens as a device: it is mounted nodev, and
 * /dev holds binds of the host's few harmless nodes.
 */
#ifndef CMD_RUN_ROOT_H
#define CMD_RUN_ROOT_H

#include <stdbool.h>
#include <stddef.h>

#include "driver/base/err.h"

struct volume {
	char *source; /* on the host */
	char *target; /* absolute, in the container */
	bool read_only;
};

struct root_plan {
	const char *path; /* where the container is mounted */
	const char *hostname;
	const char *cwd; /* made where it is missing */
	bool read_only;
	const struct volume *volumes; /* in the order they are mounted */
	size_t volume_count;
};

/* Mounts what belongs there. The root's descriptor or -errno with words. */
int run_root_prepare(const struct root_plan *plan, struct err *err);
/* pivot_root(2) into it; the old root is gone after. */
int run_root_enter(int root_fd, struct err *err);

#endif
