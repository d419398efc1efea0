/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rootfs: names in a container's tree, while we are still outside of it.
 *
 * Every name is resolved by the kernel as a process chrooted to root_fd would see it (openat2,
 * RESOLVE_IN_ROOT): symlinks and ".." of an image end inside the tree, and magic links of a procfs
 * that is mounted there are refused. So an /etc or /dev that is a symlink cannot lead to the host's.
 */
#ifndef CMD_ROOTFS_H
#define CMD_ROOTFS_H

#include "driver/base/buf.h"
#include "driver/base/err.h"

enum root_kind { ROOT_DIRECTORY, ROOT_FILE };

/* An O_PATH descriptor of what is there. -ENOENT, -ELOOP, ... with words. */
int root_open(int root_fd, const char *path, struct err *err);

/* As root_open; what is missing is made: directories (0755) on the way, and at the end a directory
 * or an empty file (0644), also where a symlink points at nothing yet. -ENOTDIR, -EISDIR: something
 * of the other kind is there. */
int root_make(int root_fd, const char *path, enum root_kind kind, struct err *err);

/* Appends a regular file to `b`; -EINVAL for anything else, which is not even opened. */
int root_read(int root_fd, const char *path, struct buf *b, struct err *err);

/* "/proc/self/fd/N": the name by which mount(2) takes a descriptor. */
struct fd_path {
	char text[32];
};
struct fd_path fd_path(int fd);

#endif
