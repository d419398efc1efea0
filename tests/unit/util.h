/* SPDX-License-Identifier: Apache-2.0 */
/*
 * util: archives made by hand, so that odd and hostile ones can be made that no tar would write, and
 * looks at what became of them. What is in a failed test's memory is lost; what is in files is the
 * sandbox's (tests/unit/sandbox.h).
 */
#ifndef TESTS_UNIT_UTIL_H
#define TESTS_UNIT_UTIL_H

#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "driver/base/buf.h"
#include "driver/base/err.h"
#include "driver/tar.h"

#define TAR_BLOCK_BYTES 512

enum tar_style { TAR_USTAR, TAR_GNU, TAR_V7 };

/* One header, and what follows it. Numbers that do not fit in octal are written in base 256. */
struct tar_spec {
	const char *name; /* the first 100 bytes */
	char type;
	mode_t mode;
	int64_t uid, gid, size, mtime;
	const char *link;
	uint64_t dev_major, dev_minor;
	const char *data; /* `size` bytes, padded; NULL: none follow, whatever size says */
	enum tar_style style;
	const char *prefix; /* ustar's, or NULL */
};

/* Appends the entry; records given to tar_put_pax before go with it. */
void tar_put(struct buf *tar, const struct tar_spec *spec);

/* A pax record for the next entry. The value may hold any bytes. */
void tar_put_pax(const char *key, const void *value, size_t len);
void tar_put_pax_text(const char *key, const char *value);

/* Puts the records into a header of their own now: 'x', or 'g'. */
void tar_put_pax_header(struct buf *tar, char type);

/* A GNU long name ('L') or link ('K') for the next entry. */
void tar_put_long(struct buf *tar, char type, const char *text);

/* The usual ones: root:root, 0644 or 0755, mtime 1,000,000,000. */
void tar_put_file(struct buf *tar, const char *name, const char *contents);
void tar_put_dir(struct buf *tar, const char *name);
void tar_put_symlink(struct buf *tar, const char *name, const char *target);
void tar_put_hardlink(struct buf *tar, const char *name, const char *target);

#define USUAL_MTIME 1000000000

/* The two blocks of zeros. */
void tar_put_end(struct buf *tar);

/* What gzip(1) makes of it, appended to `to`. */
void gzip_put(struct buf *to, const void *data, size_t len);

/* A gzip member by hand: `flags` as in RFC 1952 (2 header crc, 4 extra, 8 name, 16 comment), stored blocks. */
void gzip_put_member(struct buf *to, const void *data, size_t len, unsigned int flags);

/* One zstd frame by libzstd, and a skippable one. */
void zstd_put(struct buf *to, const void *data, size_t len);
void zstd_put_skippable(struct buf *to, const void *data, size_t len);

/* A source of bytes (tar_read): blocks of at most `step` bytes, 0: one block. */
struct memory {
	const char *data;
	size_t len, at, step;
	int fail_at_end; /* -errno instead of the end */
};
ssize_t memory_read(void *arg, const void **ret_block, struct err *err);

/* Fills with bytes that compress a little, the same for the same seed. */
void fill_noise(char *data, size_t len, uint32_t seed);

/* lstat(2), or the test fails. */
struct stat look(const char *path);

/* The test fails where it is not so. */
void assert_link(const char *path, const char *target);
void assert_xattr(const char *path, const char *name, const void *value, size_t len);
void assert_no_xattr(const char *path, const char *name);
void assert_words(const struct err *err, const char *part);

#endif
