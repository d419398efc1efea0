/* SPDX-License-Identifier: Apache-2.0 */
/*
 * contents: what a layer's tree contains, written while it is unpacked, in contents.zst: what check,
 * repair, diff and export compare with and know without reading the tree.
 *
 * It is one zstd frame with a checksum; what is in it is text, mtree(5) as libarchive and people read
 * it (`zstdcat contents.zst | bsdtar -tvf -`), with three keywords of our own, which libarchive grumbles
 * about (opaque, hardlink, xattr.NAME; the last is go-mtree's):
 *
 *	contents ::= "#mtree\n" "# overlaid contents 1\n" line* "# end " ENTRIES "\n"
 *	line     ::= (entry | removed | comment) "\n"
 *	entry    ::= path (common | hardlink)
 *	common   ::= " type=" ("file" | "dir" | "link" | "char" | "block" | "fifo")
 *		     " mode=" OCTAL " uid=" DECIMAL " gid=" DECIMAL " time=" ["-"] DECIMAL "." NINE_DIGITS
 *		     [" size=" DECIMAL [" sha256digest=" HEX]]	file: size always
 *		     [" link=" name]					link: always
 *		     [" device=linux," DECIMAL "," DECIMAL]		char, block: always; major, minor
 *		     [" opaque"]					dir
 *		     (" xattr." name "=" BASE64)*
 *	hardlink ::= " hardlink=" path
 *	removed  ::= "#removed " path
 *	path     ::= "." | "./" name		"." is the tree's root
 *	name     ::= bytes; those outside "!".."~", and # * = ? [ \, are "\" and three octal digits
 *	comment  ::= "" | "#" ...		anything that is not one of the lines above
 *
 * Paths are resolved: what lies between slashes is neither empty nor "." nor "..". A time is in
 * seconds since 1970, rounded down, and nanoseconds to add: half a second before 1970 is
 * -1.500000000. A character device 0,0 is a whiteout; `opaque` is overlayfs's mark on a directory.
 * ENTRIES counts the entries, so that a file that was cut is noticed. Keywords that are not known are
 * skipped; where a known one stands twice, is missing, or stands where its type has none, the file is
 * refused.
 *
 * Lines stand in the order in which the tree was made, and what is said later counts:
 *  - an entry replaces what was said of its path before, not what was said of paths beneath it;
 *  - `removed` voids all that was said of its path, and beneath it;
 *  - `hardlink` says that its path is the same file as the other one, which was said before, is now:
 *    what becomes of the other path later changes nothing for this one.
 */
#ifndef DRIVER_CONTENTS_H
#define DRIVER_CONTENTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#include "driver/base/auto.h"
#include "driver/base/err.h"
#include "driver/tar.h"

#define CONTENTS_LINE_MAX   ((size_t)16 << 20) /* bytes; 128 xattrs of 64 KiB are 11 MiB */
#define CONTENTS_XATTRS_MAX 1024	       /* of one entry */
#define CONTENTS_SHA256_LEN 32

enum contents_type {
	CONTENTS_FILE,
	CONTENTS_DIR,
	CONTENTS_LINK, /* a symbolic one */
	CONTENTS_CHAR,
	CONTENTS_BLOCK,
	CONTENTS_FIFO,
	CONTENTS_HARDLINK, /* only path and link mean something */
	CONTENTS_REMOVED,  /* only path does; made by contents_removed */
};

struct contents_entry {
	enum contents_type type;
	const char *path; /* without "./"; "": the root */
	mode_t mode;	  /* 07777 */
	uid_t uid;
	gid_t gid;
	struct timespec mtime;
	int64_t size;	       /* of a file, holes included */
	const uint8_t *sha256; /* of a file: CONTENTS_SHA256_LEN bytes; NULL: not known */
	const char *link;      /* CONTENTS_LINK: its target, any text; CONTENTS_HARDLINK: a path */
	unsigned int dev_major, dev_minor; /* CONTENTS_CHAR, CONTENTS_BLOCK */
	bool opaque;			   /* CONTENTS_DIR */
	const struct tar_xattr *xattrs;
	size_t xattr_count;
};

/* ---- writing ---- */

/* One thread's. About 1 MiB of memory, however much is written. */
struct contents_writer;

/* To `fd` from where it stands; it stays the caller's, and open until the end. -ELIBACC where libzstd is
 * missing. */
int contents_writer_new(int fd, struct contents_writer **ret, struct err *err);
void contents_writer_freep(struct contents_writer **w);
#define auto_contents_writer AUTO(contents_writer_freep)

/*
 * One entry, and that a path and all beneath it is gone. -EINVAL: the entry cannot be written (a path
 * that is not resolved, a link without target); -EFBIG: its line would be over CONTENTS_LINE_MAX, or
 * it has too many xattrs; nothing was written, and the writer goes on. Any other failure is that of
 * the file, which is then useless: so says every later call.
 */
int contents_add(struct contents_writer *w, const struct contents_entry *entry, struct err *err);
int contents_removed(struct contents_writer *w, const char *path, struct err *err);

/* The last line, and all that is still in memory goes to the file; making it durable is the caller's.
 * Nothing may follow but free. */
int contents_finish(struct contents_writer *w, struct err *err);

/* ---- reading ---- */

struct contents_reader;

/* Of a file, from where it stands: the descriptor stays the caller's. Reads nothing yet. */
int contents_reader_open(int fd, struct contents_reader **ret, struct err *err);

/* Of bytes from anywhere: `arg` must outlive the reader. Both take text that is not compressed too: it
 * begins with "#". */
int contents_reader_new(tar_read *read, void *arg, struct contents_reader **ret, struct err *err);
void contents_reader_freep(struct contents_reader **r);
#define auto_contents_reader AUTO(contents_reader_freep)

/*
 * 1 and the next statement, in *ret until the next call; 0 at the end, where the last line was right
 * and nothing follows it; -EBADMSG with words ("contents.zst: line 12: ..."): then the reader is only
 * good to be freed. Paths are as the grammar has them, numbers in the range of their types, names hold no
 * NUL: all else is the writer's word.
 */
int contents_next(struct contents_reader *r, const struct contents_entry **ret, struct err *err);

#endif
