/* SPDX-License-Identifier: Apache-2.0 */
#include "graph/store/layer.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "driver/base/fd.h"
#include "driver/base/json.h"
#include "driver/tree.h"
#include "graph/store/db.h"

#define IMPLIED_BYTES_MAX ((size_t)1 << 30)

const char *layer_kind_name(enum layer_kind kind)
{
	static const char *const names[] = {
		[LAYER_PLAIN] = "plain", [LAYER_BOUND] = "bound", [LAYER_PATCH] = "patch"
	};

	return names[kind];
}

int layer_list_add(struct layer_list *list, int64_t id, const char *key, struct err *err)
{
	if (list->count == list->cap) {
		size_t cap = list->cap ? list->cap * 2 : 16;
		struct layer_item *items = reallocarray(list->items, cap, sizeof(*items));

		if (!items)
			return fail_oom(err);
		list->items = items;
		list->cap = cap;
	}
	list->items[list->count].id = id;
	(void)snprintf(list->items[list->count].key.text, DIGEST_TEXT_MAX, "%s", key);
	list->count++;
	return 0;
}

void layer_list_release(struct layer_list *list)
{
	free(list->items);
	*list = (struct layer_list){ 0 };
}

int layer_list_query(struct store *store, struct layer_list *list, struct err *err, const char *sql,
		     int64_t parameter)
{
	auto_query struct db_query q = DB_QUERY_INIT;
	int r = db_query(store->db, &q, err, sql, "i", parameter);

	while (r >= 0 && (r = db_step(&q, err)) > 0)
		r = layer_list_add(list, db_int(&q, 0), db_text(&q, 1), err);
	return r;
}

int layer_find(struct store *store, const struct digest *key, int64_t *ret_id, struct err *err)
{
	return db_get_int(store->db, ret_id, err, "SELECT id FROM layer WHERE key = ?", "s",
			  key->text);
}

static int64_t implied_count(const struct buf *implied)
{
	int64_t count = 0;

	for (size_t i = 0; i < implied->len; i++)
		count += !implied->data[i];
	return count;
}

static int write_json(int dir_fd, const struct json *j, struct err *err)
{
	auto_buf struct buf text = { .max = 0 };
	int r = json_print(j, 0, &text, err);

	if (r >= 0 && buf_putc(&text, '\n') < 0)
		r = buf_status(&text, err);
	return r < 0 ? r : replace_file_at(dir_fd, "layer.json", text.data, text.len, 0, err);
}

int layer_write_json(int dir_fd, const struct layer_facts *f, struct err *err)
{
	auto_json struct json *j = json_new_object();
	int r = 0;

	j = json_set(j, "kind", json_new_string(layer_kind_name(f->kind)));
	if (f->kind != LAYER_PATCH)
		j = json_set(j, "diffID", json_new_string(f->diff_id->text));
	if (f->kind != LAYER_PLAIN)
		j = json_set(j, "chainID", json_new_string(f->chain_id->text));
	j = json_set(j, "bytes", json_new_int((int64_t)f->applied->bytes));
	j = json_set(j, "diskBytes", json_new_int((int64_t)f->applied->disk_bytes));
	j = json_set(j, "entries", json_new_int((int64_t)f->applied->entries));
	j = json_set(j, "tarBytes", json_new_int((int64_t)f->applied->tar_bytes));
	j = json_set(j, "created", json_new_int(time(NULL)));
	if (f->from_blob) {
		struct json *blob = json_new_object();

		blob = json_set(blob, "digest", json_new_string(f->applied->blob.text));
		blob = json_set(blob, "size", json_new_int((int64_t)f->applied->blob_bytes));
		blob = json_set(blob, "mediaType",
				json_new_string(f->media_type ? f->media_type : ""));
		j = json_set(j, "blob", blob);
	}
	j = json_set(j, "source", json_new_string(f->source));
	j = json_set(j, "rootImplied", json_new_bool(f->applied->root_implied));
	j = json_set(j, "implied", json_new_int(implied_count(&f->applied->implied)));
	if (f->applied->implied.len)
		r = replace_file_at(dir_fd, "implied", f->applied->implied.data,
				    f->applied->implied.len, 0, err);
	return r < 0 ? r : write_json(dir_fd, j, err);
}

int layer_write_adopted_json(int dir_fd, const char *chain_id, struct err *err)
{
	auto_json struct json *j = json_new_object();

	j = json_set(j, "kind", json_new_string(layer_kind_name(LAYER_BOUND)));
	j = json_set(j, "adopted", json_new_bool(true));
	j = json_set(j, "chainID", json_new_string(chain_id));
	j = json_set(j, "created", json_new_int(time(NULL)));
	return write_json(dir_fd, j, err);
}

/* As layers of schema 1 have them. */
static int read_implied_json(int dir_fd, struct buf *ret, struct err *err)
{
	auto_buf struct buf text = { .max = IMPLIED_BYTES_MAX };
	auto_json struct json *j = NULL;
	const struct json *array;
	int r = read_file_at(dir_fd, "layer.json", &text, err);

	if (r >= 0)
		r = json_parse(buf_text(&text), text.len, IMPLIED_BYTES_MAX, "layer.json", &j, err);
	if (r < 0)
		return r;
	array = json_get(j, "/impliedDirectories");
	for (size_t i = 0; array && array->type == JSON_ARRAY && i < array->count; i++) {
		const char *path = array->items[i]->string;

		if (path)
			(void)buf_append(ret, path, strlen(path) + 1);
	}
	return buf_status(ret, err);
}

int layer_read_implied(struct store *store, const struct digest *key, struct buf *ret,
		       struct err *err)
{
	auto_query struct db_query q = DB_QUERY_INIT;
	auto_close int dir_fd = -EBADF;
	int r = db_query(store->db, &q, err, "SELECT implied FROM layer WHERE key = ?", "s",
			 key->text);

	if (r >= 0)
		r = db_step(&q, err);
	if (r <= 0)
		return r < 0 ? r : fail(err, -ENOENT, "layer %s is not in the database", key->text);
	if (!db_is_null(&q, 0) && db_int(&q, 0) == 0)
		return 0;
	dir_fd = open_dir_at(store->layers_fd, digest_hex(key), err);
	if (dir_fd < 0)
		return err_prefix(err, dir_fd, "layer %s", key->text);
	ret->max = IMPLIED_BYTES_MAX;
	r = db_is_null(&q, 0) ? read_implied_json(dir_fd, ret, err) :
				read_file_at(dir_fd, "implied", ret, err);
	/* What is searched as text must end. */
	if (r >= 0 && ret->len && ret->data[ret->len - 1])
		r = fail(err, -EUCLEAN, "its list of implied directories is damaged");
	return r < 0 ? err_prefix(err, r, "layer %s", key->text) : 0;
}

int layer_publish(struct store *store, int from_fd, const struct digest *key, struct err *err)
{
	const char *hex = digest_hex(key);

	for (;;) {
		int r;

		if (renameat(from_fd, hex, store->layers_fd, hex) == 0)
			return 0;
		if (errno != EEXIST && errno != ENOTEMPTY)
			return fail(err, -errno, "move layer %s into %s/layers: %m", key->text,
				    store->root_path);
		/* Invariant 3: no row, so nobody's. */
		r = trash_move(store, store->layers_fd, hex, err);
		if (r < 0)
			return r;
	}
}

int layer_insert(struct store *store, const struct layer_facts *f, int64_t *ret_id, struct err *err)
{
	int64_t id;
	int r = db_run(store->db, err,
		       "INSERT INTO layer(key, kind, diff_id, bytes, disk_bytes, entries,"
		       " root_implied, implied, created) VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?)",
		       "sssiiiiii", f->key->text, layer_kind_name(f->kind),
		       f->kind == LAYER_PATCH ? NULL : f->diff_id->text, (int64_t)f->applied->bytes,
		       (int64_t)f->applied->disk_bytes, (int64_t)f->applied->entries,
		       (int64_t)f->applied->root_implied, implied_count(&f->applied->implied),
		       (int64_t)time(NULL));

	if (r < 0)
		return r;
	id = db_last_id(store->db);
	if (f->from_blob && f->kind == LAYER_PLAIN)
		r = db_run(store->db, err,
			   "INSERT INTO blob(digest, media_type, size, stored, layer) VALUES(?, ?, ?, 0, ?)"
			   " ON CONFLICT(digest) DO UPDATE SET layer = excluded.layer",
			   "ssii", f->applied->blob.text, f->media_type ? f->media_type : "",
			   (int64_t)f->applied->blob_bytes, id);
	if (r < 0)
		return r;
	*ret_id = id;
	return 0;
}

int layer_insert_adopted(struct store *store, const char *key, int64_t *ret_id, struct err *err)
{
	int r = db_run(store->db, err,
		       "INSERT INTO layer(key, kind, bytes, disk_bytes, entries, root_implied, implied,"
		       " created, adopted) VALUES(?, ?, 0, 0, 0, 0, 0, ?, 1)",
		       "ssi", key, layer_kind_name(LAYER_BOUND), (int64_t)time(NULL));

	if (r >= 0)
		*ret_id = db_last_id(store->db);
	return r;
}

static int count_adopted(struct store *store, const struct layer_item *layer, struct err *err)
{
	auto_free char *path = layer_path(store, layer->key.text);
	struct tree_usage usage = { 0 };
	int r = path ? tree_usage_at(AT_FDCWD, path, &usage, err) : fail_oom(err);

	/* It went meanwhile. */
	if (r == -ENOENT)
		return 0;
	if (r >= 0)
		r = db_run(
			store->db, err,
			"UPDATE layer SET bytes = ?, disk_bytes = ?, entries = ?, inodes = ? WHERE id = ?",
			"iiiii", (int64_t)usage.bytes, (int64_t)usage.disk_bytes,
			(int64_t)usage.inodes, (int64_t)usage.inodes, layer->id);
	return r;
}

int layers_count_adopted(struct store *store, struct err *err)
{
	auto_layer_list struct layer_list list = { 0 };
	int r = layer_list_query(store, &list, err,
				 "SELECT id, key FROM layer WHERE adopted = ? AND inodes IS NULL",
				 1);

	for (size_t i = 0; r >= 0 && i < list.count; i++)
		r = count_adopted(store, &list.items[i], err);
	return r;
}

int trash_record(struct store *store, const char *kind, const char *hex, struct err *err)
{
	char name[TRASH_NAME_LEN + 1];

	random_hex(name, TRASH_NAME_LEN);
	return db_run(store->db, err, "INSERT INTO trash(kind, hex, name) VALUES(?, ?, ?)", "sss",
		      kind, hex, name);
}

#define UNHELD                                                           \
	" AND NOT EXISTS(SELECT 1 FROM image_layer WHERE layer = ?1)"    \
	" AND NOT EXISTS(SELECT 1 FROM snapshot_layer WHERE layer = ?1)" \
	" AND NOT EXISTS(SELECT 1 FROM keyed_layer WHERE layer = ?1)"    \
	" AND NOT EXISTS(SELECT 1 FROM lease_layer WHERE layer = ?1)"

int layers_collect(struct store *store, const struct layer_list *candidates,
		   struct layer_list *removed, struct err *err)
{
	static const char drop_blobs[] =
		"INSERT INTO trash(kind, hex, name) SELECT 'blob', substr(digest, 8), lower(hex(randomblob(16)))"
		" FROM blob WHERE layer = ?1 AND stored" UNHELD,
			  delete_unheld[] = "DELETE FROM layer WHERE id = ?1" UNHELD;

	for (size_t i = 0; i < candidates->count; i++) {
		const struct layer_item *layer = &candidates->items[i];
		int r = db_run(store->db, err, drop_blobs, "i", layer->id);

		if (r >= 0)
			r = db_run(store->db, err, delete_unheld, "i", layer->id);
		if (r < 0)
			return r;
		if (db_changes(store->db) == 0)
			continue;
		r = trash_record(store, "layer", digest_hex(&layer->key), err);
		if (r >= 0 && removed)
			r = layer_list_add(removed, layer->id, layer->key.text, err);
		if (r < 0)
			return r;
	}
	return 0;
}

int lease_make(struct store *store, const char *name, int64_t *ret_id, struct err *err)
{
	int r = db_run(store->db, err, "INSERT INTO lease(name, created) VALUES(?, ?)", "si", name,
		       (int64_t)time(NULL));

	if (r >= 0)
		*ret_id = db_last_id(store->db);
	return r;
}

int lease_hold(struct store *store, int64_t id, int64_t layer, struct err *err)
{
	return db_run(store->db, err,
		      "INSERT INTO lease_layer(lease, layer) VALUES(?, ?) ON CONFLICT DO NOTHING",
		      "ii", id, layer);
}

int lease_drop(struct store *store, int64_t id, struct layer_list *removed, struct err *err)
{
	auto_layer_list struct layer_list held = { 0 };
	int r = layer_list_query(
		store, &held, err,
		"SELECT layer.id, key FROM lease_layer JOIN layer ON layer.id = layer WHERE lease = ?",
		id);

	if (r >= 0)
		r = db_run(store->db, err, "DELETE FROM lease WHERE id = ?", "i", id);
	return r < 0 ? r : layers_collect(store, &held, removed, err);
}

int lease_end(struct store *store, int64_t id, const char *name, struct err *err)
{
	auto_transaction struct db_transaction t = DB_TRANSACTION_INIT;
	int64_t one;
	int r = db_begin(store->db, &t, err);

	if (r >= 0)
		r = db_get_int(store->db, &one, err,
			       "SELECT 1 FROM lease WHERE id = ? AND name = ?", "is", id, name);
	if (r == 0)
		return 0;
	if (r >= 0)
		r = lease_drop(store, id, NULL, err);
	return r < 0 ? r : db_commit(&t, err);
}

char *layer_path(const struct store *store, const char *key)
{
	const char *hex = strchr(key, ':');
	char *path;

	if (asprintf(&path, "%s/layers/sha256/%s/diff", store->root_path, hex ? hex + 1 : key) < 0)
		return NULL;
	return path;
}

int layer_open(const struct store *store, const struct digest *key, char **ret_path,
	       struct err *err)
{
	char name[STORE_HEX_LEN + 6];
	char *path;
	int fd;

	(void)snprintf(name, sizeof(name), "%.64s/diff", digest_hex(key));
	fd = openat(store->layers_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return fail(err, -errno,
			    "layer %s is in the database, but its directory cannot be opened: %m",
			    key->text);
	path = layer_path(store, key->text);
	if (!path) {
		(void)close(fd);
		return fail_oom(err);
	}
	*ret_path = path;
	return fd;
}
