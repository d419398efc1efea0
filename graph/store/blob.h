/* SPDX-License-Identifier: Apache-2.0 */
/*
 * blob: manifests and configs, byte for byte as they came, in blobs/sha256/<hex>; and those blobs of
 * layers that are to be kept.
 */
#ifndef GRAPH_STORE_BLOB_H
#define GRAPH_STORE_BLOB_H

#include "driver/base/buf.h"
#include "driver/base/digest.h"
#include "graph/store/store.h"

#define BLOB_STORED_MAX ((size_t)16 << 20) /* bytes of a manifest or config */

/* Writes the bytes to staging/<hex>.blob, to be synced by the caller. The digest was verified by
 * who read the bytes. */
int blob_stage(const struct staging *staging, const struct digest *digest, const void *data,
	       size_t len, struct err *err);

/* Renames a staged blob to its place (replacing equal bytes), fsynced first unless `synced`. Needs
 * the blob's lock; the caller fsyncs blobs/ after. */
int blob_publish(struct store *store, const struct staging *staging, const struct digest *digest,
		 bool synced, struct err *err);

/* Row of a stored blob, or the mark that a known one is stored now. In a transaction. */
int blob_insert(struct store *store, const struct digest *digest, const char *media_type,
		size_t size, struct err *err);

/* Gives the file behind `fd`, a layer's blob that was verified, its place too (one that stands
 * there is left). Synced first unless `synced`. Needs the blob's lock; the caller fsyncs blobs/
 * after. */
int blob_adopt(struct store *store, int fd, const struct digest *digest, bool synced,
	       struct err *err);
/* Row of such a blob: it goes when its layer goes. In a transaction. */
int blob_insert_layer(struct store *store, const struct digest *digest, const char *media_type,
		      int64_t size, int64_t layer, struct err *err);

/* Removes row and file (through trash) where no image names the blob. In a transaction. */
int blob_collect(struct store *store, const char *digest, struct err *err);

/* The bytes. -ENOENT, -EUCLEAN where they do not have the digest any more. */
int blob_read(const struct store *store, const char *digest, struct buf *ret, struct err *err);

#endif
