/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tree: names beneath a root.
 *
 * Every name that came from outside (an archive entry, a link target, a directory listing of a
 * container) is resolved here and nowhere else. Invariants:
 *  - resolution is the kernel's, by openat2(2) with RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS beneath
 *    a root descriptor: "..", absolute names and symlinks stay inside; no lexical check decides
 *    anything. Where the kernel lacks openat2 (before 5.6), or a filter hides it, a component-wise
 *    walk does the same with O_NOFOLLOW opens, following links itself;
 *  - the last component is never followed: callers act on (parent descriptor, bare name) with
 *    AT_SYMLINK_NOFOLLOW.
 */
#ifndef DRIVER_TREE_H
#define DRIVER_TREE_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include "driver/base/err.h"

/*
 * The directory at `path` beneath root, symlinks followed inside it; "" and "." and "/" are the root
 * itself. Readable descriptor or -errno: -ENOENT (something on the way is missing), -ENOTDIR
 * (something on the way is no directory), -ELOOP, ...
 */
int tree_open_dir(int root_fd, const char *path, struct err *err);

/*
 * The directory at `path` ("." is the root), of which every component is a real directory: for a tree
 * that may be in use as we look, so that who swaps one for a symlink gains nothing. `path` has no "..",
 * and no slash at either end. Readable descriptor or -errno, without words: -ENOENT, -ENOTDIR, -ELOOP.
 */
int tree_open_real_dir(int root_fd, const char *path);

/*
 * The parent directory of `path` (symlinks followed inside root) and the bare last component, copied
 * to `ret_name`; slashes at the end of `path` do not count. -EINVAL where the last component is "",
 * "." or "..". The descriptor is the caller's.
 */
int tree_open_parent(int root_fd, const char *path, char ret_name[NAME_MAX + 1], struct err *err);

/*
 * A regular file for reading: never blocks on a fifo, never opens a device, follows symlinks inside
 * root. Descriptor or -errno; -EISDIR for a directory, -EINVAL for other types. Needs /proc.
 */
int tree_open_file(int root_fd, const char *path, struct err *err);

/*
 * Removes dirfd/name and everything in it; nothing there is success. Follows no symlink, crosses no
 * mount point (-EBUSY with words), makes unreadable directories readable where it must (and may), and
 * needs neither recursion nor more than TREE_FLATTEN_DEPTH descriptors however deep the tree is: what
 * lies deeper is renamed up first.
 */
#define TREE_FLATTEN_DEPTH 64
int tree_remove_at(int dirfd, const char *name, struct err *err);

/* What a tree takes on disk, as du(1) sees it: a hard-linked inode once, directories included, holes
 * not; what is mounted in it is left out. */
struct tree_usage {
	uint64_t disk_bytes;
	uint64_t inodes;
	uint64_t bytes; /* contents of regular files, a hard-linked one once */
};

/* Walks dirfd/name ("." is dirfd itself), without recursion and with two descriptors however deep it
 * is. What vanishes meanwhile is not counted. -errno with words. */
int tree_usage_at(int dirfd, const char *name, struct tree_usage *ret, struct err *err);
/* As tree_usage_at; `stop`, asked at each directory, ends it: -ECANCELED. */
typedef bool tree_stop_fn(void *arg);
int tree_usage_until(int dirfd, const char *name, tree_stop_fn *stop, void *arg,
		     struct tree_usage *ret, struct err *err);

/* What Docker calls the size of a layer: the sum of st_size of all in dirfd/name but directories, each
 * inode once; a symlink counts with its length, a whiteout nothing. Walks as tree_usage_at does. */
int tree_content_bytes(int dirfd, const char *name, uint64_t *ret, struct err *err);

/*
 * A name from outside as it may stand in words: bytes that could drive a terminal (below 0x20, and
 * 0x7f) and backslashes as \ooo, a long one cut with "...". Returns text->text.
 */
struct tree_text {
	char text[800];
};
const char *tree_printable(const char *name, struct tree_text *text);

/* Gives the directory `to` the owner, mode, xattrs (but overlayfs's own) and times of the directory
 * `from`, for which an O_PATH descriptor will do. */
int tree_copy_dir_metadata(int from_fd, int to_fd, struct err *err);

/* The xattrs alone, of directories or files; whether there are any that would be copied. */
int tree_copy_xattrs(int from_fd, int to_fd, struct err *err);
int tree_has_xattrs(int fd, struct err *err);

/*
 * Copies from_fd/name, which is no directory, to the same name in to_fd, where there is none: type,
 * contents (shared where the filesystem can, holes kept), owner, mode, mtime (as access time too), link
 * text, device numbers; a file's xattrs but overlayfs's own. Not followed, not synced. On failure part of
 * it may stand.
 */
int tree_copy_leaf(int from_fd, const char *name, int to_fd, struct err *err);

#endif
