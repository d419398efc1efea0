/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tar_write: entries become a tar stream (POSIX.1 pax, "ustar Interchange Format" and "pax Header Block").
 *
 * The same entries give the same bytes. What the ustar header can hold stands there and nowhere else; for
 * the rest a pax extended header goes before it, with the records path, linkpath, uid, gid, size, mtime,
 * SCHILY.devmajor and SCHILY.devminor, and SCHILY.xattr.NAME for each xattr. Names are raw bytes in both:
 * what is not UTF-8 stays as it is, as GNU tar and Go's archive/tar have it. Names of users and groups
 * are empty.
 */
#ifndef DRIVER_TAR_WRITE_H
#define DRIVER_TAR_WRITE_H

#include <stddef.h>
#include <stdint.h>

#include "driver/base/buf.h"
#include "driver/base/err.h"
#include "driver/tar.h"

/* Takes all the bytes: 0, or -errno with words, which ends the stream. */
typedef int tar_write(void *arg, const void *bytes, size_t len, struct err *err);

/* What is written is handed on in pieces of at least this much, but for the last. */
#define TAR_WRITE_BYTES 65536

/* Storage is the caller's; the members are ours. */
struct tar_writer {
	tar_write *write;
	void *arg;
	struct buf out;	    /* not handed on yet */
	struct buf records; /* of the pax header at hand */
	uint64_t left;	    /* contents of the entry at hand that are still to come */
	uint64_t bytes;	    /* of the stream so far */
	int status;	    /* the first failure: all that follows fails with it, without words */
};

/* tar_writer_release after, also where a call failed. */
void tar_writer_init(struct tar_writer *w, tar_write *write, void *arg);
void tar_writer_release(struct tar_writer *w);
#define auto_tar_writer AUTO(tar_writer_release)

/*
 * The headers of the next entry. `path` and `link` as they shall stand in the tar, but that a directory's
 * path ends in a slash here. mtime is cut to whole seconds, downwards; `sparse` does not count. After a
 * TAR_FILE come its `size` bytes by tar_writer_data. -EINVAL: contents of the last entry are missing, or
 * an xattr's name is empty or has a "=", which no pax record can say; -EFBIG: more than TAR_HEADERS_MAX.
 */
int tar_writer_entry(struct tar_writer *w, const struct tar_entry *entry, struct err *err);

/* Contents, in pieces of any size. -EINVAL: more than the entry's size. */
int tar_writer_data(struct tar_writer *w, const void *bytes, size_t len, struct err *err);

/* The two blocks of zeros; all is handed on. -EINVAL: contents of the last entry are missing. */
int tar_writer_end(struct tar_writer *w, struct err *err);

#endif
