/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tar: entries of a tar stream, by libarchive (reading only; ustar, pax, GNU, old GNU and pax
 * sparse, base-256 numbers).
 *
 * Names are the archive's raw bytes. libarchive converts pax names to the thread's character set,
 * and to NFC where that is UTF-8, which would change names; so every call here runs under the C
 * locale (uselocale), where libarchive hands over the bytes it read and warns that it could not
 * convert them: that one warning is not an error, all others are.
 */
#ifndef DRIVER_TAR_H
#define DRIVER_TAR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#include "driver/base/auto.h"
#include "driver/base/err.h"

/* What the headers of one entry may take up by default, its sparse map included: libarchive keeps all of
 * it in memory, some pieces twelve times. Beyond: -EFBIG. */
#define TAR_HEADERS_MAX ((size_t)8 << 20)

/* How the words about a limit end: `name` is its setting's (graph/limits.h), a literal. */
#define TAR_LIMIT_WORDS(name) "; if you trust it, raise the limit with --limit " name "=N"

enum tar_type { TAR_FILE, TAR_DIR, TAR_SYMLINK, TAR_HARDLINK, TAR_CHAR, TAR_BLOCK, TAR_FIFO };

struct tar_xattr {
	const char *name; /* with its namespace: "security.capability" */
	const void *value;
	size_t len;
};

/* One entry. Pointers live until the next tar_next. */
struct tar_entry {
	enum tar_type type;
	const char *path; /* never NULL or empty; NUL-terminated */
	const char *link; /* target of a symlink or hard link (never empty), else NULL */
	mode_t mode;	  /* 07777 */
	uid_t uid;
	gid_t gid;
	int64_t size; /* of a file's contents, holes included; 0 for others */
	struct timespec mtime;
	unsigned int dev_major, dev_minor;
	bool sparse;
	/* In the archive's order. An ACL stands here without its value, as "system.posix_acl_access",
	 * "system.posix_acl_default" or "system.nfs4_acl". */
	const struct tar_xattr *xattrs;
	size_t xattr_count;
};

/* Where bytes come from: the next block, owned by the source until the next call. Returns its length,
 * 0 at the end, -errno with words. */
typedef ssize_t tar_read(void *arg, const void **ret_block, struct err *err);

/* Passes over up to `len` bytes that nobody wants to see. Returns how many, less only where the source
 * ends; 0: read them. */
typedef int64_t tar_skip(void *arg, int64_t len);

struct tar_options {
	tar_skip *skip;		/* NULL: all is read */
	uint64_t header_bytes;	/* of one entry; 0: TAR_HEADERS_MAX */
	uint32_t sparse_pieces; /* of one file; 0: any number that the headers have room for */
};

struct tar;

/* libarchive may be missing: -ELIBACC. `arg` must outlive the reader, `options` (NULL: none) need not.
 * Reads nothing yet. */
int tar_open(tar_read *read, void *arg, const struct tar_options *options, struct tar **ret,
	     struct err *err);
void tar_closep(struct tar **tar);
#define auto_tar AUTO(tar_closep)

/*
 * 1 and an entry, 0 at the end of the archive, -EBADMSG (not a tar, damaged, cut short), or the
 * source's own error. Skips data not read. A regular file whose name ends in a slash is a directory;
 * types that no tar knows are files (POSIX pax, "ustar Interchange Format"). Sockets are -EBADMSG. An
 * empty stream is an archive without entries. Numbers out of range (ids over 2^32-2, a negative size,
 * device numbers that Linux has not) are -EBADMSG. An mtime between -1 and 0 loses its sign in
 * libarchive.
 */
int tar_next(struct tar *tar, const struct tar_entry **ret, struct err *err);

/* Contents of the entry, block by block, offsets rising: 1 and a block with its offset in the file
 * (gaps are holes), 0 at the end, -errno with words. */
int tar_data(struct tar *tar, const void **ret_block, size_t *ret_len, int64_t *ret_offset,
	     struct err *err);

/* Offset in the stream of the entry's first header block (with its pax or GNU long-name headers): a new
 * reader started there sees the same entry first. */
int64_t tar_entry_offset(const struct tar *tar);

#endif
