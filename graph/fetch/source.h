/* SPDX-License-Identifier: Apache-2.0 */
/*
 * source: where images come from. Two kinds: graph/fetch/archive.h (files and directories) and
 * graph/fetch/registry.h.
 *
 * A source gives documents (index, manifest, config), which are verified here against their digests and
 * sizes, and layers, whose bytes are streamed when asked for. Bytes of a layer are not verified
 * here: who reads them compares both digests.
 */
#ifndef GRAPH_FETCH_SOURCE_H
#define GRAPH_FETCH_SOURCE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "driver/base/buf.h"
#include "driver/base/digest.h"
#include "driver/base/err.h"
#include "driver/tar.h"
#include "driver/unpack.h"
#include "graph/name/oci.h"

struct source_layer {
	struct digest blob; /* "" where the source does not say (old docker-archives) */
	struct digest diff_id;
	int64_t size;	  /* bytes as stored; -1: not known */
	char *media_type; /* "" where not stated */
	char *member;	  /* name inside the source, or "" */
	char **urls; /* of a foreign layer: where else its bytes are, NULL-terminated; or NULL */
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
/* Unless it is there already. */
int source_image_add_name(struct source_image *image, const char *name, struct err *err);

/* One layer's bytes, for driver/unpack. Any number may be open at once, each used by one thread. */
struct source_stream {
	tar_read *read; /* NULL where the bytes are in a file */
	void *arg;
	void (*close)(void *arg);
	/* Where the same bytes lie in a file, if they do in one piece; fd -EBADF: not so. Open
	 * until close. */
	int fd;
	int64_t offset, size;
	/* NULL: the file is whole. Else it grows: see unpack_input (driver/unpack.h). */
	unpack_grown *grown;
	int grown_fd;
};
#define SOURCE_STREAM_INIT                       \
	{                                        \
		.fd = -EBADF, .grown_fd = -EBADF \
	}
void source_stream_close(struct source_stream *stream);
#define auto_stream AUTO(source_stream_close)

enum source_document { SOURCE_INDEX, SOURCE_MANIFEST, SOURCE_CONFIG };

struct source;
struct source_ops {
	/* A document's bytes, at most ret->max, as they are: they are verified after. */
	int (*read_document)(struct source *source, const struct oci_descriptor *descriptor,
			     enum source_document kind, struct buf *ret, struct err *err);
	int (*open_layer)(struct source *source, const struct source_layer *layer,
			  struct source_stream *ret, struct err *err);
	/* These will be opened soon, the first ones first. NULL: it makes no difference. */
	int (*expect)(struct source *source, const struct source_layer *const *layers, size_t count,
		      struct err *err);
	/* Of a layer that could not be unpacked: -EBADMSG where what was given does not have its
	 * digest, which may want waiting for the rest of it. NULL: nothing is known. */
	int (*check_layer)(struct source *source, const struct source_layer *layer,
			   const atomic_bool *cancelled, struct err *err);
	/* A layer's whole blob as a file, for keeping: a descriptor, the caller's; -ENODATA: not
	 * there. NULL: never. */
	int (*open_blob)(struct source *source, const struct source_layer *layer);
	void (*free)(struct source *source);
};

/* The part that all kinds have. */
struct source {
	const struct source_ops *ops;
	char *name;
	bool any_platform; /* none was asked for */
	bool foreign;	   /* layers that may not be distributed are taken too */
	struct oci_platform platform;
};
/* platform NULL: this machine's, leniently (see source_read_manifest). */
void source_init(struct source *source, const struct source_ops *ops,
		 const struct oci_platform *platform);
void source_freep(struct source **source);
#define auto_source AUTO(source_freep)

/* "docker-archive:/path", "docker://docker.io/library/nginx:latest": for records and words. */
const char *source_name(const struct source *source);

/*
 * Descends from an index, or nested ones, to the manifest for the platform, and reads that and its
 * config into `image`. An index must hold one for the platform (-ENOENT: words list what it holds);
 * an entry that is a manifest is taken as it is. Fails with -EBADMSG where bytes do not have their
 * digest or size.
 */
int source_read_manifest(struct source *source, const struct oci_descriptor *entry,
			 struct source_image *image, struct err *err);

/* The last look at an image that was read: as many diffIDs as layers, which get them; the platform
 * that was asked for (no question where none was). */
int source_check_image(struct source *source, struct source_image *image, struct err *err);

/* What ops->open_layer says. */
int source_open_layer(struct source *source, const struct source_layer *layer,
		      struct source_stream *ret, struct err *err);

#endif
