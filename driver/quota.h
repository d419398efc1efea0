/* SPDX-License-Identifier: Apache-2.0 */
/*
 * quota: a limit in bytes for one directory tree, by project quotas of ext4 and xfs.
 *
 * Each inode belongs to one project, a number; 0 is that of all others. A directory with a project id of its
 * own and the flag to inherit it gives it to what is made in it, and what the inodes of a project take on
 * disk together is counted and limited. To write beyond it ends with EDQUOT (ENOSPC on xfs); on ext4 who has
 * CAP_SYS_RESOURCE may. Nothing is renamed or linked into such a directory from another project (EXDEV), so
 * an overlay's upper and work directory must be of one: made within the directory that has it. Numbers of
 * projects are the caller's to choose, one a tree; nothing else knows them, so they must not be those of
 * somebody else on the filesystem (/etc/projid).
 *
 * The limit is the filesystem's own and stays until it is taken away, also when the tree is removed: take it
 * away (0 bytes) before a number is given to another tree.
 *
 * Asked with the calls of xfs, which the kernel translates for ext4: quotactl_fd(2), before Linux 5.14
 * quotactl(2) on the block device. Descriptors are of directories, not O_PATH. Needs root.
 */
#ifndef DRIVER_QUOTA_H
#define DRIVER_QUOTA_H

#include <stdint.h>

#include "driver/base/err.h"

/* 0: project quotas are there and enforced on the filesystem of dirfd; -EOPNOTSUPP with words that say what
 * is missing and what to do. Needs no root. */
int quota_check(int dirfd, struct err *err);

/*
 * Gives the new and still empty directory this project id (not 0), inherited by all that is made in it, and
 * limits the project to so many bytes, rounded up to 512; 0 takes the limit away. -EOPNOTSUPP with the words
 * of quota_check. On failure the directory may have the id.
 */
int quota_set(int dirfd, uint32_t project, uint64_t bytes, struct err *err);

/* What the project's inodes take on the filesystem of dirfd, on disk. */
int quota_used(int dirfd, uint32_t project, uint64_t *ret_bytes, struct err *err);

#endif
