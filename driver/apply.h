/* SPDX-License-Identifier: Apache-2.0 */
/*
 * apply: a layer's tar stream becomes a tree in overlay form.
 *
 * compressed bytes -> digest -> inflate -> diffID -> tar -> files beneath root_fd, in one pass and in
 * bounded memory. Conversion rules are those of OCI image-spec layer.md and driver/whiteout.h.
 * Applying a tar is applying an attack: names are resolved by driver/tree only, leaves are made with
 * O_EXCL | O_NOFOLLOW, metadata is set through the descriptor (or with AT_SYMLINK_NOFOLLOW on a bare
 * name).
 *
 * What comes out, whatever the order of entries:
 *  - a later entry of the same name replaces the earlier one; a directory over a directory changes its
 *    metadata only;
 *  - whiteouts act on lower layers only: an entry of the same name in this layer stays; a directory
 *    that takes the place of a whiteout, or of anything else but a directory, is opaque; a character
 *    device 0:0 in the tar is what overlayfs takes it for, a whiteout;
 *  - hard links to any type but directories, target anywhere inside root, absolute or not; one whose
 *    target is not in this layer is APPLY_NEEDS_PARENT;
 *  - owner first, then mode, then xattrs (so capabilities survive), times last; times of directories
 *    after all entries; access times are set to the modification times;
 *  - sparse files keep their holes; device nodes keep mode and numbers;
 *  - xattrs of files and directories: user.* and security.capability, security.ima kept;
 *    trusted.overlay.* and user.overlay.* refused; all others (trusted.*, security.selinux, system.*
 *    with ACLs among them) dropped and counted, as are those of links, devices and fifos;
 *  - a path whose parent directory has no entry: the parent is made root:root 0755 with time 0, and
 *    named in `implied` unless an entry follows, or this layer deletes what lies beneath by that name; so
 *    is what a symlink on the way points to, where it is not in this layer;
 *  - all bytes after the end of the archive count into the diffID.
 *
 * With a parent (apply_options) the layer is bound to the layers beneath it, and comes out as if it were
 * unpacked, entry by entry, into an overlay mounted over them:
 *  - a symlink of theirs on the way to an entry, a whiteout, an opaque mark or a hard link's target is
 *    followed, unless this layer has hidden it before; what is found beyond it may again be theirs;
 *  - a directory without an entry has the owner, mode, xattrs and mtime that it has there, and is then
 *    not listed as implied;
 *  - a hard link to a file of theirs: the file is copied into this layer by its own name, with all its
 *    metadata, and linked; a whiteout of that name that follows takes the copy away; -ENOENT where the
 *    target is nowhere.
 * A layer of which none of this was true (apply_result.bound) came out as it would have alone. With `lone` a
 * directory without an entry takes nothing from theirs but in a layer that is bound by something else.
 *
 * Refused with -EBADMSG: "/" as anything but a directory, ".." as last component, whiteouts of
 * nothing, whiteout names inside a path (in aufs's .wh..wh.* directories: skipped).
 * On failure root_fd holds part of a tree: the caller throws it away.
 */
#ifndef DRIVER_APPLY_H
#define DRIVER_APPLY_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "driver/base/buf.h"
#include "driver/base/digest.h"
#include "driver/base/err.h"
#include "driver/contents.h"
#include "driver/stack.h"
#include "driver/tar.h"
#include "driver/whiteout.h"

/* What a layer may contain. 0 means the default. Each has its own words when exceeded (-EFBIG), which
 * end in APPLY_LIMIT_WORDS. */
struct apply_limits {
	uint64_t entries;	/* and directories, implied ones included: 10,000,000 */
	uint64_t bytes;		/* of the uncompressed tar: 1 TiB */
	uint64_t file_bytes;	/* one file, holes included: 1 TiB */
	uint64_t header_bytes;	/* all headers of one entry, its sparse map included: 8 MiB */
	uint32_t path_bytes;	/* as written, and of a directory when resolved: 4095, the most that
				   Linux takes */
	uint32_t path_depth;	/* components, likewise: 1024 */
	uint32_t xattrs;	/* of one entry: 128 */
	uint32_t xattr_bytes;	/* one value: 65536, the most that Linux takes */
	uint32_t sparse_pieces; /* of one file: 262,144 */
	/* The uncompressed tar over the blob, looked at only once APPLY_RATIO_FROM bytes were unpacked, as
	 * a small layer of zeros does no harm: 2000. */
	uint32_t compression_ratio;
};
#define APPLY_RATIO_FROM ((uint64_t)1 << 30)

/* With no member 0. */
extern const struct apply_limits apply_limits_default;

#define APPLY_LIMIT_WORDS(name) TAR_LIMIT_WORDS(name)

/* The layer cannot stand alone: it links to a file of a layer beneath it, or what it says makes no sense
 * unless one of the directories it implies is a symlink there. Apply it again, with a parent. */
#define APPLY_NEEDS_PARENT (-ENOLINK)

struct apply_options {
	enum overlay_xattrs xattrs;
	struct stack
		*parent; /* the layers beneath, to bind this one to; NULL: it is to stand alone */
	bool lone; /* with a parent: it may be needed, and is not to be used where it is not */
	struct apply_limits limits;
	struct contents_writer *contents; /* NULL, or told all that is made; finishing it is the
					   * caller's */
	const atomic_bool *cancelled;	  /* NULL, or looked at now and then: -ECANCELED */
	bool threads; /* two more than the caller's, for a layer of any size: worth it from 1 MiB on */
	/* NULL, or called with the bytes read so far, at most once a block; by any thread, never two */
	void (*progress)(void *arg, uint64_t compressed_bytes);
	void *progress_arg;
};

/* Zero it before; apply_result_release after, also on failure. */
struct apply_result {
	struct digest blob;    /* of the bytes as they came */
	struct digest diff_id; /* of the uncompressed tar */
	uint64_t blob_bytes;
	uint64_t tar_bytes;
	uint64_t bytes; /* contents of regular files, each hard-linked inode once: Docker's SIZE */
	uint64_t disk_bytes; /* what du(1) says of the tree now; writing it back may add to that */
	uint64_t entries;    /* in the tar */
	uint64_t dropped_xattrs;
	uint32_t max_uid, max_gid; /* of its entries */
	bool bound;		   /* something of the parent's is in it */
	bool root_implied;  /* the tar says nothing of the root: it is root:root 0755 with time 0 */
	struct buf implied; /* paths of directories of which the layer says nothing, so that those
			     * beneath say what they are: without a leading slash, resolved, each
			     * NUL-terminated, sorted; and, with a leading slash, those of which it
			     * says or hides something only after it has put something into them,
			     * which matters where one of them is a symlink beneath */
};
void apply_result_release(struct apply_result *r);

/* `read` yields the blob's bytes (plain, gzip or zstd: told by the first bytes). root_fd is an empty
 * directory. The calling thread should have umask 0 (driver/base/pool): any other costs time only. */
int apply(tar_read *read, void *arg, int root_fd, const struct apply_options *options,
	  struct apply_result *ret, struct err *err);

#endif
