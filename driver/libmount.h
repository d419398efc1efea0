/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libmount: the two things of util-linux's library that driver/mount needs, loaded when first used.
 *
 * Apart from driver/mount.c because <libmount.h> brings libc's <sys/mount.h>, which cannot stand
 * beside <linux/mount.h>.
 */
#ifndef DRIVER_LIBMOUNT_H
#define DRIVER_LIBMOUNT_H

#include <stdbool.h>

#include "driver/base/err.h"

/* Loads it. *ret_classic: it mounts with mount(2). From 2.39 on it uses fsopen(2), and only the
 * environment can tell it not to. */
int libmount_load(bool *ret_classic, struct err *err);

/* Mounts an overlay of this source with these options on `target` (not resolved, used as it is): no helper, no
 * fstab, no mtab. 0, or what mount(2) said. */
int libmount_mount_overlay(const char *source, const char *target, const char *options,
			   struct err *err);

/* Every line of this thread's mount table, in its order. Ends with the first non-zero value that fn
 * returns. */
typedef int libmount_fn(void *arg, const char *target, const char *fs_name, const char *source);
int libmount_foreach(libmount_fn *fn, void *arg, struct err *err);

#endif
