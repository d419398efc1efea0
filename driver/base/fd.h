/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fd: reading and writing in full, and the few durable file operations the store is built of.
 *
 * All names here are ours (never from an archive or a user): see driver/tree.h for the others.
 * Every open is O_CLOEXEC.
 */
#ifndef DRIVER_BASE_FD_H
#define DRIVER_BASE_FD_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "driver/base/buf.h"
#include "driver/base/err.h"

/* Reads until `len` bytes or end of file; returns the count (short only at end of file) or -errno.
 * EINTR is retried. */
ssize_t read_full(int fd, void *data, size_t len);
ssize_t pread_full(int fd, void *data, size_t len, off_t offset);

/* Writes all of it: 0 or -errno. */
int write_full(int fd, const void *data, size_t len);

/* Appends the rest of the file to `b` (bounded by b->max). 0 or -errno with words. `what` names the
 * file in the words. */
int read_to_buf(int fd, struct buf *b, const char *what, struct err *err);

/* The whole file dirfd/name into `b`. -ENOENT is returned without prefixing anything odd, so that
 * callers can test for it. */
int read_file_at(int dirfd, const char *name, struct buf *b, struct err *err);

enum replace_flags {
	REPLACE_DURABLE = 1, /* fsync the file and the directory before returning */
};

/* Makes dirfd/name hold exactly these bytes, mode 0600: temporary file beside it, rename. Readers
 * see the old or the new bytes, never part. */
int replace_file_at(int dirfd, const char *name, const void *data, size_t len, unsigned int flags,
		    struct err *err);

/* A new file below dirfd that has no name, to be read and written: a descriptor. Where the filesystem has no
 * such files, one whose name is taken away at once. `what` is it, in words. */
int make_unnamed_at(int dirfd, const char *what, struct err *err);

/* fsync(2) of a directory: what was renamed or created in it is durable after. */
int fsync_dir_at(int dirfd, const char *name, struct err *err);

/* mkdir -p for one of our own absolute or relative paths, each missing part with `mode` whatever
 * the umask is. */
int mkdir_parents(const char *path, mode_t mode, struct err *err);

/* Opens dirfd/name as a directory (O_PATH is not used: the result can be read, synced, locked).
 * Descriptor or -errno with words. */
int open_dir_at(int dirfd, const char *name, struct err *err);

/* As open_dir_at, making it with `mode` where it is missing. */
int open_or_make_dir_at(int dirfd, const char *name, mode_t mode, struct err *err);

/* Calls fn with each name in the directory but "." and "..", in no order, until it returns non-zero: that
 * value. Names that fn removes are no harm. */
typedef int name_fn(void *arg, const char *name);
int foreach_name(int dirfd, name_fn *fn, void *arg, struct err *err);

/* Makes room for so many descriptors, as far as the process's hard limit goes: who really lacks them is
 * told so by what needs them. */
void want_descriptors(size_t count);

/* Fills `out` with `len` (even) random lower-case hex digits and a NUL: out has room for len + 1.
 * getrandom(2) cannot fail here. */
void random_hex(char *out, size_t len);

#endif
