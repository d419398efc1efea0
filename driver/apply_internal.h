/* SPDX-License-Identifier: Apache-2.0 */
/*
 * apply_internal: what the files of apply share.
 *
 *	apply.c		the coordinator: entries, limits, whiteouts
 *	apply_stream.c	blob -> digest -> inflate -> diffID
 *	apply_dirs.c	the directories made so far, by inode and open; their metadata, set at the end
 *	apply_entry.c	what is not a directory: made, owned, dated, counted
 *	apply_xattr.c	which xattrs are kept, and setting them
 */
#ifndef DRIVER_APPLY_INTERNAL_H
#define DRIVER_APPLY_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <time.h>

#include "driver/apply.h"
#include "driver/base/err.h"
#include "driver/inflate.h"
#include "driver/tree.h"

/* ---- the stream ---- */

struct apply_stream {
	tar_read *read;
	void *arg;
	const struct apply_options *options;
	uint64_t tar_max; /* bytes */
	struct hasher *blob;
	struct hasher *diff;	 /* NULL: the blob is the tar, and one digest says it all */
	struct inflate *inflate; /* NULL: plain */
	bool started, ended;
	char head[INFLATE_DETECT_BYTES]; /* first bytes that came in short blocks */
	const char *in;			 /* read, not used yet */
	size_t in_len;
	const char *later; /* to be used after `in`: the rest of the block that filled head */
	size_t later_len;
	char *out;
	uint64_t blob_bytes, tar_bytes;
};

/* Reads nothing yet. apply_stream_release also after a failure. */
int apply_stream_init(struct apply_stream *s, tar_read *read, void *arg,
		      const struct apply_options *options, uint64_t tar_max, struct err *err);
void apply_stream_release(struct apply_stream *s);

/* tar_read: `arg` is the apply_stream. The next bytes of the tar; 0 at the end of the blob. */
ssize_t apply_stream_read(void *arg, const void **ret_block, struct err *err);

/* Reads to the end, then says both digests and counts. Nothing may follow but release. */
int apply_stream_finish(struct apply_stream *s, struct apply_result *result, struct err *err);

/* ---- directories ---- */

/*
 * A directory in the tree. root_fd was empty, so every directory there has one of these, none ever
 * moves, and the chain of parents is its path: real directories all the way, no symlinks.
 */
struct apply_dir {
	struct apply_dir *parent; /* NULL: the root */
	struct apply_dir *first_child;
	struct apply_dir *next_sibling;
	struct apply_dir **listed_at; /* what points to this one among the children of its parent */
	struct apply_dir *made_before;
	struct apply_dir *next_in_bucket;
	uint64_t ino;
	uint32_t depth;
	uint32_t path_bytes;
	bool implied; /* no entry yet */
	bool gone;    /* replaced by something else, or in something that was */
	mode_t mode;  /* what it is to have at the end */
	uid_t uid;
	gid_t gid;
	struct timespec mtime;
	char name[];
};

/* A directory, open. The descriptor is the cache's, and lives until another APPLY_CACHE - 1 directories
 * were opened. */
struct apply_place {
	int fd;
	struct apply_dir *dir;
};

#define APPLY_CACHE 8

struct apply_cached {
	char *path; /* as an entry spelled it; NULL: nobody may find this one any more */
	struct apply_place place;
	uint64_t used; /* when, in lookups */
};

struct apply_dirs {
	int root_fd;
	const struct apply_limits *limits;
	struct apply_dir *root;
	struct apply_dir *newest; /* all of them, children before parents */
	struct apply_dir **buckets;
	size_t bucket_count, count;
	struct apply_cached cache[APPLY_CACHE];
	uint64_t lookups;
};

/* The root is recorded as implied. root_fd stays the caller's. apply_dirs_release also after a failure. */
int apply_dirs_init(struct apply_dirs *d, int root_fd, const struct apply_limits *limits,
		    struct err *err);
void apply_dirs_release(struct apply_dirs *d);

/*
 * The directory that `path` means, symlinks followed inside the root. What is missing on the way is
 * made where `make` says so (implied), in place of a whiteout too; else it is -ENOENT.
 */
int apply_dirs_open(struct apply_dirs *d, const char *path, bool make, enum overlay_xattrs xattrs,
		    struct apply_place *ret, struct err *err);

/* The directory parent/name, which exists: opened, recorded as implied where it is new to us, and found
 * under `path` (NULL: not) by later lookups. */
int apply_dirs_add(struct apply_dirs *d, const struct apply_place *parent, const char *name,
		   const char *path, struct apply_place *ret, struct err *err);

/* Before parent/name, of inode `ino`, is removed: it and all in it are no longer ours. */
void apply_dirs_forget(struct apply_dirs *d, uint64_t ino);

/* After a directory or a symlink was removed: names may mean something else now. */
void apply_dirs_forget_names(struct apply_dirs *d);

/* Gives all directories their owner, mode and times; adds what they take on disk, and the paths of the
 * implied ones, sorted. */
int apply_dirs_finish(struct apply_dirs *d, struct apply_result *result, struct err *err);

/* ---- xattrs ---- */

/* Sets those of the entry that are kept; counts the others in *dropped. `replace`: removes from the file or
 * directory what an earlier entry set. */
int apply_xattrs(int fd, const struct tar_entry *entry, bool replace,
		 const struct apply_limits *limits, uint64_t *dropped, struct err *err);

/* For what cannot have any: refuses what must be refused, and counts the rest. */
int apply_no_xattrs(const struct tar_entry *entry, const struct apply_limits *limits,
		    uint64_t *dropped, struct err *err);

/* ---- entries ---- */

/* A name from the archive, taken apart. */
struct apply_name {
	char *path;	  /* without slashes and dots at its end; "": the root itself */
	char *parent;	  /* what stands before the last component */
	const char *last; /* in path */
	bool skip;	  /* it lies in an aufs directory, which layers do not have */
};

struct applier {
	const struct apply_options *options;
	struct apply_limits limits;
	struct apply_stream stream;
	struct apply_dirs dirs;
	struct tar *tar;
	const struct tar_entry *entry;
	struct apply_name name;	  /* of the entry */
	struct apply_name target; /* of a hard link */
	struct apply_result result;
	bool recount; /* something that was counted has been replaced */
};

/* -EBADMSG, -EFBIG: words say why no entry may be called this. */
int apply_name_set(struct apply_name *name, const char *path, const struct apply_limits *limits,
		   struct err *err);

/* Removes place/name, whatever it is. */
int apply_clear(struct applier *a, const struct apply_place *place, const char *name,
		struct err *err);

/* The entry, in the place of what has its name. apply_hardlink: -ENOENT where the target is not in this
 * layer. */
int apply_file(struct applier *a, const struct apply_place *place, struct err *err);
int apply_symlink(struct applier *a, const struct apply_place *place, struct err *err);
int apply_hardlink(struct applier *a, const struct apply_place *place, struct err *err);
int apply_node(struct applier *a, const struct apply_place *place, struct err *err);

/* The entry's owner and times, and `mode` (07777), for place/name, which is neither a directory nor a
 * regular file; counts it. */
int apply_metadata(struct applier *a, const struct apply_place *place, const char *name,
		   mode_t mode, struct err *err);

#endif
