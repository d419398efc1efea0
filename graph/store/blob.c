/* SPDX-License-Identifier: Apache-2.0 */
#include "graph/store/blob.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "driver/base/fd.h"
#include "graph/store/db.h"
#include "graph/store/layer.h"

static void staged_name(char name[STORE_HEX_LEN + 6], const struct digest *digest)
{
	(void)snprintf(name, STORE_HEX_LEN + 6, "%.64s.blob", digest_hex(digest));
}

int blob_stage(const struct staging *staging, const struct digest *digest, const void *data,
	       size_t len, struct err *err)
{
	char name[STORE_HEX_LEN + 6];

	staged_name(name, digest);
	return replace_file_at(staging->fd, name, data, len, 0, err);
}

int blob_publish(struct store *store, const struct staging *staging, const struct digest *digest,
		 bool synced, struct err *err)
{
	auto_close int fd = -EBADF;
	char name[STORE_HEX_LEN + 6];

	staged_name(name, digest);
	if (!synced && store->durable) {
		fd = openat(staging->fd, name, O_RDONLY | O_CLOEXEC);
		if (fd < 0 || fsync(fd) < 0)
			return fail(err, -errno, "sync blob %s: %m", digest->text);
	}
	if (renameat(staging->fd, name, store->blobs_fd, digest_hex(digest)) < 0)
		return fail(err, -errno, "move blob %s into %s/blobs: %m", digest->text,
			    store->root_path);
	return 0;
}

int blob_adopt(struct store *store, int fd, const struct digest *digest, bool synced,
	       struct err *err)
{
	char path[40];

	if (!synced && store->durable && fsync(fd) < 0)
		return fail(err, -errno, "sync blob %s: %m", digest->text);
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (linkat(AT_FDCWD, path, store->blobs_fd, digest_hex(digest), AT_SYMLINK_FOLLOW) < 0 &&
	    errno != EEXIST)
		return fail(err, -errno, "put blob %s into %s/blobs: %m", digest->text,
			    store->root_path);
	return 0;
}

int blob_insert_layer(struct store *store, const struct digest *digest, const char *media_type,
		      int64_t size, int64_t layer, struct err *err)
{
	return db_run(store->db, err,
		      "INSERT INTO blob(digest, media_type, size, stored, layer) VALUES(?, ?, ?, 1, ?)"
		      " ON CONFLICT(digest) DO UPDATE SET stored = 1, layer = excluded.layer",
		      "ssii", digest->text, media_type, size, layer);
}

int blob_insert(struct store *store, const struct digest *digest, const char *media_type,
		size_t size, struct err *err)
{
	return db_run(
		store->db, err,
		"INSERT INTO blob(digest, media_type, size, stored, layer) VALUES(?, ?, ?, 1, NULL)"
		" ON CONFLICT(digest) DO UPDATE SET stored = 1",
		"ssi", digest->text, media_type, (int64_t)size);
}

int blob_collect(struct store *store, const char *digest, struct err *err)
{
	struct digest parsed;
	int r = db_run(store->db, err,
		       "DELETE FROM blob WHERE digest = ?1 AND stored"
		       " AND NOT EXISTS(SELECT 1 FROM image WHERE image_id = ?1 OR manifest = ?1)",
		       "s", digest);

	if (r < 0 || db_changes(store->db) == 0)
		return r;
	r = digest_parse(digest, &parsed, err);
	if (r < 0)
		return r;
	return trash_record(store, "blob", digest_hex(&parsed), err);
}

int blob_read(const struct store *store, const char *digest, struct buf *ret, struct err *err)
{
	struct digest want, have;
	int r = digest_parse(digest, &want, err);

	if (r < 0)
		return r;
	ret->max = BLOB_STORED_MAX;
	r = read_file_at(store->blobs_fd, digest_hex(&want), ret, err);
	if (r >= 0)
		r = digest_of(digest, buf_text(ret), ret->len, &have, err);
	if (r < 0)
		return err_prefix(err, r, "blob %s", digest);
	if (!digest_equal(&want, &have))
		return fail(
			err, -EUCLEAN,
			"blob %s: the file %s/blobs/sha256/%s was changed: its digest is %s now; load the image again",
			digest, store->root_path, digest_hex(&want), have.text);
	return 0;
}
