/* SPDX-License-Identifier: Apache-2.0 */
/*
 * source: where images come from: an OCI layout directory, an oci-archive, a docker-archive.
 *
 * A source lists images; each has its documents (manifest, config: read, verified against their
 * digests) and layers whose bytes are streamed when asked for. Bytes of a layer are not verified
 * here: who reads them compares both digests.
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
 *	index.json, oci-layout		OCI layout
 *	repositories			docker save before 1.10 (graph/fetch/legacy.h)
 */
#ifndef GRAPH_FETCH_SOURCE_H
#define GRAPH_FETCH_SOURCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "driver/base/buf.h"
#include "driver/base/digest.h"
#include "driver/base/err.h"
#include "driver/tar.h"
#include "graph/name/oci.h"

#define SOURCE_MEMBERS_MAX 200000 /* of an archive */

struct source;

struct source_layer {
	struct digest blob; /* "" where the source does not say (old docker-archives) */
	int64_t size;	    /* bytes as stored; -1: not known */
	char *media_type;   /* "" where not stated */
	char *member;	    /* name inside the source */
};

struct source_image {
	char **names; /* full references as the source writes them, not normalised */
	size_t name_count;
	char *tag; /* a bare tag ("latest") where the source states no more; or NULL */
	struct digest manifest_digest; /* "" where there is no manifest */
	struct buf manifest;
	char *manifest_media_type;
	struct digest config_digest; /* the image id */
	struct buf config;
	struct oci_config parsed;
	struct source_layer *layers; /* lowest first; as many as parsed.diff_ids */
	size_t layer_count;
};
void source_image_release(struct source_image *image);
#define auto_source_image AUTO(source_image_release)

struct source_options {
	const char *path; /* file or directory; NULL: fd */
	int fd;
	int spool_fd;			     /* directory for what must be spooled */
	const struct oci_platform *platform; /* NULL: this machine's, leniently (see source_next) */
};

/* -ENOENT, -EBADMSG (neither tar nor layout), -EOPNOTSUPP (xz, bzip2; too old), ... *ret is freed
 * with source_freep. */
int source_open(const struct source_options *options, struct source **ret, struct err *err);
void source_freep(struct source **source);
#define auto_source AUTO(source_freep)

/* "docker-archive:/path", for records and words. */
const char *source_name(const struct source *source);

/* How many entries source_next will see; for an OCI layout those of index.json, each an image or an
 * index of images. */
size_t source_count(const struct source *source);
/* True for an OCI layout, where an entry is chosen rather than all loaded. */
bool source_is_layout(const struct source *source);
/* The name by which entry `index` is asked for: its first reference, or tag; "" where it has none. */
const char *source_entry_name(const struct source *source, size_t index);
/* The names it has beside that, from 1 on; NULL after the last. */
const char *source_entry_alias(const struct source *source, size_t index, size_t n);

/*
 * Entries of a layout that have one name are one image for several platforms. 1 for the one of them
 * that fits best, and for an entry that stands alone; else 0. -ENOENT where none of its name fits:
 * words list the platforms.
 */
int source_is_best(const struct source *source, size_t index, struct err *err);

/*
 * Reads entry `index` and chooses the platform inside it. Verified: manifest against index, config
 * against manifest, sizes, as many diffIDs as layers. Without options.platform an entry that is one
 * image is taken whatever its platform; an index must hold this machine's (-ENOENT: words list what
 * it holds).
 */
int source_read_image(struct source *source, size_t index, struct source_image *ret,
		      struct err *err);

/* One layer's bytes, for driver/apply. Any number may be open at once, each used by one thread. */
struct source_stream {
	tar_read *read;
	void *arg;
	void (*close)(void *arg);
	/* Where the same bytes lie in a file, if they do in one piece; fd -EBADF: not so. Open until close. */
	int fd;
	int64_t offset, size;
};
void source_stream_close(struct source_stream *stream);
#define auto_stream AUTO(source_stream_close)
int source_open_layer(struct source *source, const struct source_layer *layer,
		      struct source_stream *ret, struct err *err);

#endif
