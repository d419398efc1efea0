/* SPDX-License-Identifier: Apache-2.0 */
/*
 * archive: images in files: an OCI layout directory, an oci-archive, a docker-archive, a directory as
 * skopeo's "dir:" has it.
 *
 * Archives are tar files, themselves plain, gzip or zstd. A plain one that can be read at any
 * offset is used in place; any other is first written, uncompressed, to an unnamed file in the
 * spool directory. Members are found by name in an index made in one pass; links between members
 * (docker save wrote layers once, and symlinks) are followed within the archive.
 *
 * Kinds, told by what is there; the first that fits:
 *
 *	manifest.json			docker-archive, of docker save and podman save:
 *					one image for each of its elements
 *	  with index.json, oci-layout	as Docker 25 and later write: the images are those of
 *					manifest.json, with the OCI manifests of index.json
 *	  that is an object		dir: (containers-transports(5)): the manifest of one image, or an
 *					index; blobs beside it, named by their hex digits
 *	index.json, oci-layout		OCI layout
 *	repositories			docker save before 1.10 (graph/fetch/legacy.h)
 */
#ifndef GRAPH_FETCH_ARCHIVE_H
#define GRAPH_FETCH_ARCHIVE_H

#include "graph/fetch/source.h"

struct archive_options {
	const char *path; /* file or directory; NULL: fd */
	int fd;
	int spool_fd;			     /* directory for what must be spooled */
	const struct oci_platform *platform; /* NULL: this machine's, leniently */
};

/* -ENOENT, -EBADMSG (neither tar nor layout), -EOPNOTSUPP (xz, bzip2; too old), ... *ret is freed
 * with source_freep. */
int archive_open(const struct archive_options *options, struct source **ret, struct err *err);
/* How many entries archive_read_image will see; for an OCI layout those of index.json, each an
 * image or an index of images. */
size_t archive_count(const struct source *source);
/* True for an OCI layout, where an entry is chosen rather than all loaded. */
bool archive_is_layout(const struct source *source);
/* The name by which entry `index` is asked for: its first reference, or tag; "" where it has none. */
const char *archive_entry_name(const struct source *source, size_t index);
/* The names it has beside that, from 1 on; NULL after the last. */
const char *archive_entry_alias(const struct source *source, size_t index, size_t n);

/*
 * Entries of a layout that have one name are one image for several platforms. 1 for the one of them
 * that fits best, and for an entry that stands alone; else 0. -ENOENT where none of its name fits:
 * words list the platforms.
 */
int archive_is_best(const struct source *source, size_t index, struct err *err);

/*
 * Reads entry `index` and chooses the platform inside it. Verified: manifest against index, config
 * against manifest, sizes, as many diffIDs as layers. Without options.platform an entry that is one
 * image is taken whatever its platform; an index must hold this machine's (-ENOENT: words list what
 * it holds).
 */
int archive_read_image(struct source *source, size_t index, struct source_image *ret,
		       struct err *err);

#endif
