/* SPDX-License-Identifier: Apache-2.0 */
/*
 * apply_internal: what the files of apply share.
 *
 *	apply.c		the coordinator: entries, limits, whiteouts
 *	apply_decode.c	blob -> digest -> inflate
 *	apply_stream.c	chunks of the tar -> diffID
 *	apply_write.c	contents of files
 *	apply_dirs.c	the directories made so far, by inode and open; their metadata, set at the end
 *	apply_entry.c	what is not a directory: made, owned, dated, counted
 *	apply_parent.c	what the layers beneath have by a name, and copies of it
 *	apply_xattr.c	which xattrs are kept, and setting them
 *	apply_note.c	what was made, told to driver/contents
 */
#ifndef DRIVER_APPLY_INTERNAL_H
#define DRIVER_APPLY_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <time.h>

#include "driver/apply.h"
#include "driver/base/digest_pair.h"
#include "driver/base/err.h"
#include "driver/inflate.h"
#include "driver/stack.h"
#include "driver/tree.h"

/* ---- the blob ---- */

/* Compressed bytes in, tar bytes out. */
struct apply_decoder {
	tar_read *read;
	void *arg;
	const struct apply_options *options;
	const struct apply_limits *limits; /* `compression_ratio` of them */
	struct hasher *blob;		   /* not fed any more where the blob is the tar */
	struct inflate *inflate;	   /* NULL: plain */
	bool started, ended;
	char head[INFLATE_DETECT_BYTES]; /* first bytes that came in short blocks */
	const char *in;			 /* read, not used yet */
	size_t in_len;
	const char *later; /* to be used after `in`: the rest of the block that filled head */
	size_t later_len;
	uint64_t blob_bytes, out_bytes;
};

/* Reads nothing yet. apply_decoder_release also after a failure. */
int apply_decoder_init(struct apply_decoder *d, tar_read *read, void *arg,
		       const struct apply_options *options, const struct apply_limits *limits,
		       struct err *err);
void apply_decoder_release(struct apply_decoder *d);

/* Fills `out`, less only at the end of the blob; 0: there is no more. */
ssize_t apply_decode(struct apply_decoder *d, char *out, size_t cap, struct err *err);

/* ---- between the threads ---- */

/*
 * Three threads share the work where options->threads says so, else one does all of it in turn:
 *
 *	decoder		reads, hashes and inflates the blob, into chunks
 *	applier		hashes the chunks, reads the tar in them, makes every name: what needs the order
 *			of entries is done here
 *	writer		writes the contents of the files that the applier made, gives them owner, mode and
 *			times, closes them: what needs no order
 *
 * One lock for all three: it is taken a few times a chunk, or for a batch of files.
 */
struct apply_pipe {
	bool threads;
	pthread_mutex_t lock;
	pthread_cond_t decoder, applier, writer; /* who waits on which */
	bool stop;				 /* no more chunks are wanted */
};

/* Without threads the locks are there but not used. */
void apply_pipe_init(struct apply_pipe *pipe, bool threads);
void apply_pipe_release(struct apply_pipe *pipe);

/* pool_thread, with words. */
int apply_thread(pthread_t *ret, void *(*run)(void *), void *arg, struct err *err);

/* ---- the tar ---- */

#define APPLY_CHUNK_BYTES ((size_t)256 << 10)
#define APPLY_CHUNKS	  12

struct apply_chunk {
	char *data;
	size_t len;
	bool filled;	    /* the decoder's work is done, the applier's not */
	unsigned int users; /* files in the writer's queue that have bytes here; under the lock */
};

struct apply_stream {
	struct apply_pipe *pipe;
	struct apply_decoder decoder;
	struct digest_pair *digests;
	struct apply_chunk chunks[APPLY_CHUNKS];
	size_t next_filled, next_read;
	struct apply_chunk *now; /* what the applier reads, or NULL */
	const char *hashed;	 /* up to here, of `now` */
	uint64_t tar_bytes;
	const struct apply_limits *limits; /* `bytes` of them */
	pthread_t thread;
	bool started;
	int code; /* the decoder's last word: -errno, or 1 at the end of the blob */
	struct err err;
};

/* Reads nothing yet. apply_stream_release also after a failure. */
int apply_stream_init(struct apply_stream *s, struct apply_pipe *pipe, tar_read *read, void *arg,
		      const struct apply_options *options, const struct apply_limits *limits,
		      struct err *err);
void apply_stream_release(struct apply_stream *s);

/* tar_read: `arg` is the apply_stream. The next bytes of the tar; 0 at the end of the blob. */
ssize_t apply_stream_read(void *arg, const void **ret_block, struct err *err);

/* A piece of a file's contents, as the tar reader gave it: into the file's digest, which
 * apply_stream_end_piece gives. */
void apply_stream_piece(struct apply_stream *s, const char *block, size_t len);
void apply_stream_zeros(struct apply_stream *s, uint64_t len);
/* Bytes that do not come from the tar. */
void apply_stream_own_piece(struct apply_stream *s, const void *data, size_t len);
void apply_stream_end_piece(struct apply_stream *s, uint8_t ret[DIGEST_PIECE_BYTES]);

/* The chunk that the piece lies in, or NULL: it is the tar reader's own, and short-lived. */
struct apply_chunk *apply_stream_chunk(const struct apply_stream *s, const char *block);

/* Reads to the end, then says both digests and counts. Nothing may follow but release. */
int apply_stream_finish(struct apply_stream *s, struct apply_result *result, struct err *err);

/* ---- contents of files ---- */

/* A file that was made, or a piece of it. */
struct apply_write {
	int fd;
	const char *data; /* in `chunk`; len 0: nothing */
	size_t len;
	int64_t offset;
	struct apply_chunk *chunk; /* one of its users is this; NULL: valid until the call returns */
	bool last;		   /* what follows is said, and the fd is the writer's to close */
	int64_t size;
	uid_t uid;
	gid_t gid;
	mode_t mode;
	struct timespec mtime;
	const struct tar_entry
		*entry; /* with xattrs to set, else NULL; done before the call returns */
};

#define APPLY_QUEUE 64

struct apply_queued {
	struct apply_write write;
	char path[256]; /* for words */
};

struct apply_writer {
	struct apply_pipe *pipe;
	struct apply_queued queue[APPLY_QUEUE]; /* a ring */
	size_t put;				/* by the applier alone */
	size_t batch_bytes;			/* likewise: of those not published */
	size_t published;			/* under the lock */
	atomic_size_t taken;			/* likewise; looked at without */
	const struct apply_limits *limits;	/* of xattrs */
	uint64_t *dropped;
	pthread_t thread;
	bool started, end;
	atomic_int code; /* the first failure */
	struct err err;	 /* its words, after code */
	uint64_t bytes, disk_bytes;
};

/* `dropped` counts xattrs. */
int apply_writer_init(struct apply_writer *w, struct apply_pipe *pipe,
		      const struct apply_limits *limits, uint64_t *dropped, struct err *err);
/* All that was given is done on return. */
void apply_writer_release(struct apply_writer *w);

/* Writes, or has it written; closes the fd of a last one whatever happens. A failure may be an
 * earlier file's. `path` is for words. */
int apply_writer_put(struct apply_writer *w, const struct apply_write *write, const char *path,
		     struct err *err);

/* What was put and not handed over yet is handed over: before the applier waits for anything. */
void apply_writer_flush(struct apply_writer *w);

/* 0, or the first failure, with the path in its words. */
int apply_writer_failure(const struct apply_writer *w, struct err *err);

/* " (this needs root...)" for -EPERM, else "". */
const char *apply_hint(int code);

/* Waits until all is done; adds what the files take to the result. */
int apply_writer_finish(struct apply_writer *w, struct apply_result *result, struct err *err);

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
	bool passed;  /* entries went through it when it could still have been a symlink beneath */
	bool opaque;  /* nothing in it comes from the layers beneath */
	bool anew;    /* opaque, and not what they call so: that was deleted in this layer */
	bool gone;    /* replaced by something else, or in something that was */
	bool lent;    /* no entry is in it: it is here for copies of what is beneath */
	bool xattrs;  /* it may have some that layers set */
	mode_t mode;  /* what it is to have at the end */
	uid_t uid;
	gid_t gid;
	struct timespec mtime;
	struct apply_copy *copies; /* in it (apply_copy_up) */
	size_t borrowed; /* how many copies and lent directories it is, and has beneath it */
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
	struct stack *parent; /* the layers beneath; NULL: not known */
	bool lone;	      /* see apply_options */
	bool bound;	      /* something of theirs was taken, or their symlinks followed */
	const struct apply_limits *limits;
	struct apply_dir *root;
	struct apply_dir *newest; /* all of them, children before parents */
	struct apply_dir **buckets;
	size_t bucket_count, count;
	bool passed;   /* one of them is */
	void *copies;  /* tree of struct apply_copy */
	bool followed; /* a symlink beneath: names may mean something else after any entry */
	bool to_lend;  /* what is made now is made for a copy */
	char copied[NAME_MAX + 1]; /* where a way ended with -ENOTDIR: a copy, in */
	struct apply_place copied_in;
	struct apply_cached cache[APPLY_CACHE];
	uint64_t lookups;
};

/* The root is recorded as implied. root_fd and `parent` stay the caller's. apply_dirs_release also after a
 * failure. */
int apply_dirs_init(struct apply_dirs *d, int root_fd, struct stack *parent,
		    const struct apply_limits *limits, struct err *err);
void apply_dirs_release(struct apply_dirs *d);

/*
 * The directory that `path` means, symlinks followed inside the root. What is missing on the way is
 * made where `make` says so (implied), in place of a whiteout too; else it is -ENOENT. Where the layers
 * beneath are known, their symlinks are followed like those of this layer.
 */
int apply_dirs_open(struct apply_dirs *d, const char *path, bool make, enum overlay_xattrs xattrs,
		    struct apply_place *ret, struct err *err);

/* Opens it; the descriptor is the caller's. */
int apply_dirs_reopen(const struct apply_dirs *d, const struct apply_dir *dir, struct err *err);

/* Its path from the root, without a leading slash; the root's is "". The caller frees; NULL: out of
 * memory. */
char *apply_dir_path(const struct apply_dir *dir);

/* The directory parent/name, which exists: opened, recorded as implied where it is new to us, and found
 * under `path` (NULL: not) by later lookups. */
int apply_dirs_add(struct apply_dirs *d, const struct apply_place *parent, const char *name,
		   const char *path, struct apply_place *ret, struct err *err);

/* Hides what the layers beneath have in the directory; `anew`: and that it is theirs at all. */
int apply_dirs_set_opaque(const struct apply_place *place, enum overlay_xattrs xattrs, bool anew,
			  struct err *err);

/* Before parent/name, of inode `ino`, is removed: it and all in it are no longer ours. */
void apply_dirs_forget(struct apply_dirs *d, uint64_t ino);

/* After a directory or a symlink was removed: names may mean something else now. */
void apply_dirs_forget_names(struct apply_dirs *d);

/* Gives all directories their owner, mode and times, implied ones those of the layers beneath where these
 * are known; adds what they take on disk, and apply_result.implied. */
int apply_dirs_finish(struct apply_dirs *d, struct apply_result *result, struct err *err);

/* ---- xattrs ---- */

/* Whether layers may set it. */
bool apply_keeps_xattr(const char *name);

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
	struct apply_pipe pipe;
	struct apply_stream stream;
	struct apply_writer writer;
	struct apply_dirs dirs;
	struct tar *tar;
	const struct tar_entry *entry;
	struct apply_name name;	  /* of the entry */
	struct apply_name target; /* of a hard link */
	struct apply_result result;
	uint8_t digest[DIGEST_PIECE_BYTES]; /* of the file's contents, where has_digest */
	bool has_digest;
	uint64_t hashed_holes;		  /* bytes */
	bool recount;			  /* something that was counted has been replaced */
	struct buf note_path;		  /* the path of what was noted last */
	const struct apply_dir *note_dir; /* of which this is the path, up to note_dir_len */
	size_t note_dir_len;
};

/* -EBADMSG, -EFBIG: words say why no entry may be called this. */
int apply_name_set(struct apply_name *name, const char *path, const struct apply_limits *limits,
		   struct err *err);

/* Removes place/name, whatever it is. */
int apply_clear(struct applier *a, const struct apply_place *place, const char *name,
		struct err *err);

/* The entry, in the place of what has its name. apply_hardlink: APPLY_NEEDS_PARENT where the target is not
 * in this layer; -ENOENT where it is not beneath it either. */
int apply_file(struct applier *a, const struct apply_place *place, struct err *err);
int apply_symlink(struct applier *a, const struct apply_place *place, struct err *err);
int apply_hardlink(struct applier *a, const struct apply_place *place, struct err *err);
int apply_node(struct applier *a, const struct apply_place *place, struct err *err);

/* ---- the layers beneath ---- */

/* What they have by this name in the directory, as far as this layer does not hide it. For apply_dirs with
 * a parent. */
int apply_parent_find(struct apply_dirs *d, const struct apply_dir *dir, const char *name,
		      struct stack_found *ret, struct err *err);

/*
 * Copies what was found to place/name, as link(2) on a mounted overlay does first, and counts it. It is
 * remembered: the copy is not an entry of this layer, so a whiteout that follows takes it away.
 */
int apply_copy_up(struct applier *a, const struct apply_place *place,
		  const struct stack_found *found, struct stat *ret_st, struct err *err);

/* Whether place/name, of inode `ino`, is such a copy; and that it is no more, or all in a directory. */
bool apply_is_copy(const struct apply_dirs *d, const struct apply_place *place, const char *name,
		   uint64_t ino);
void apply_forget_copy(struct apply_dirs *d, const struct apply_place *place, const char *name,
		       uint64_t ino);
void apply_forget_copies(struct apply_dirs *d, struct apply_dir *dir);
void apply_copies_release(struct apply_dirs *d);

/* Whether the directory is lent. */
void apply_lend(struct apply_dir *dir, bool lent);

/* Before a directory hides what is beneath it: removes the copies in it, and directories that are there
 * for them only. */
int apply_hide_copies(struct applier *a, struct apply_dir *dir, struct err *err);

/* ---- metadata ---- */

/* The entry's owner and times, and `mode` (07777), for place/name, which is neither a directory nor a
 * regular file; counts it. */
int apply_metadata(struct applier *a, const struct apply_place *place, const char *name,
		   mode_t mode, struct err *err);

/* ---- notes ---- */

/* Each does nothing where nobody wants to know (apply_options.contents). */

/* The entry, a file with the digest in a->digest; or what place/name, with `mode`, is. */
int apply_note_file(struct applier *a, const struct apply_place *place, struct err *err);
int apply_note_node(struct applier *a, const struct apply_place *place, const char *name,
		    const struct stat *st, mode_t mode, struct err *err);
/* The entry, a hard link to target/a->target.last. */
int apply_note_link(struct applier *a, const struct apply_place *place,
		    const struct apply_place *target, struct err *err);
/* place/name and all in it is gone; a copy of a file of the layers beneath is there; the directories, when
 * they are what they are to be. */
int apply_note_removed(struct applier *a, const struct apply_place *place, const char *name,
		       struct err *err);
int apply_note_copy(struct applier *a, const struct apply_place *place, const char *name,
		    const struct stat *st, struct err *err);
int apply_note_dirs(struct applier *a, struct err *err);

#endif
