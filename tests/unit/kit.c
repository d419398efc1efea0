/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/kit.h"

#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "driver/base/fd.h"
#include "graph/store/blob.h"
#include "graph/store/db.h"
#include "graph/store/image.h"
#include "tests/unit/sandbox.h"
#include "tests/unit/util.h"

static void ok(int r, const struct err *err)
{
	if (r < 0)
		fail_msg("%s", err->text);
}

/* ---- rows and directories ---- */

struct store *kit_store(void)
{
	struct store *store = NULL;
	struct err err = { 0 };

	ok(store_open(sandbox_path("store"), sandbox_path("run"), false, false, &store, &err),
	   &err);
	return store;
}

struct digest kit_digest(const char *start)
{
	char text[DIGEST_TEXT_MAX];
	struct digest digest;

	(void)snprintf(text, sizeof(text), "sha256:%s%0*d", start, (int)(64 - strlen(start)), 0);
	assert_int_equal(digest_parse(text, &digest, NULL), 0);
	return digest;
}

static const char *layer_dir_path(const char *start)
{
	struct digest digest = kit_digest(start);
	char name[200];

	(void)snprintf(name, sizeof(name), "store/layers/sha256/%s", digest_hex(&digest));
	return sandbox_path(name);
}

bool kit_layer_exists(const char *start)
{
	return exists(layer_dir_path(start));
}

void kit_layer_dir(struct store *store, const char *start)
{
	char path[8192];

	(void)snprintf(path, sizeof(path), "%s/diff", layer_dir_path(start));
	put_dir(path);
}

int64_t kit_layer(struct store *store, const char *start)
{
	auto_transaction struct db_transaction t = DB_TRANSACTION_INIT;
	const struct apply_result applied = { .bytes = 100, .disk_bytes = 4096, .entries = 1 };
	const struct digest diff_id = kit_digest(start);
	const struct layer_facts facts = {
		.key = &diff_id, .diff_id = &diff_id, .applied = &applied, .source = "test"
	};
	struct err err = { 0 };
	int64_t id = 0;

	kit_layer_dir(store, start);
	ok(db_begin(store->db, &t, &err), &err);
	ok(layer_insert(store, &facts, &id, &err), &err);
	ok(db_commit(&t, &err), &err);
	return id;
}

int64_t kit_image(struct store *store, const char *start, const int64_t *layers, size_t count)
{
	auto_transaction struct db_transaction t = DB_TRANSACTION_INIT;
	auto_free struct digest *diff_ids = calloc(count + 1, sizeof(*diff_ids));
	const struct digest id = kit_digest(start), none = { "" };
	const struct oci_config config = { .platform = { "linux", "amd64", "" },
					   .created = 1000,
					   .diff_ids = diff_ids,
					   .diff_id_count = count };
	const struct image_facts facts = { .image_id = &id,
					   .manifest = &none,
					   .config = &config,
					   .layer_ids = layers,
					   .layer_count = count };
	struct err err = { 0 };
	char path[200];
	int64_t row = 0;

	(void)snprintf(path, sizeof(path), "store/blobs/sha256/%s", digest_hex(&id));
	put_file(sandbox_path(path), "{}");
	ok(db_begin(store->db, &t, &err), &err);
	ok(blob_insert(store, &id, "application/vnd.oci.image.config.v1+json", 2, &err), &err);
	ok(image_insert(store, &facts, &row, NULL, &err), &err);
	ok(db_commit(&t, &err), &err);
	return row;
}

void kit_tag(struct store *store, int64_t image, const char *reference)
{
	auto_transaction struct db_transaction t = DB_TRANSACTION_INIT;
	struct err err = { 0 };

	ok(db_begin(store->db, &t, &err), &err);
	ok(image_tag(store, image, reference, &err), &err);
	ok(db_commit(&t, &err), &err);
}

void kit_container(struct store *store, int64_t image, const char *image_start, const char *name,
		   struct snapshot *ret)
{
	const struct digest id = kit_digest(image_start);
	const struct snapshot_spec spec = { .scope = SNAPSHOT_SCOPE_CLI,
					    .name = name,
					    .image = image,
					    .image_id = id.text,
					    .image_name = "test",
					    .labels = "{}" };
	char uid[STORE_HEX_LEN + 1];
	struct err err = { 0 };
	int owner = -EBADF;

	ok(snapshot_create(store, &spec, uid, &owner, &err), &err);
	assert_int_equal(owner, -EBADF);
	ok(snapshot_resolve(store, SNAPSHOT_SCOPE_CLI, uid, "container", ret, &err), &err);
}

int64_t kit_lease(struct store *store, const char *name, const int64_t *layers, size_t count)
{
	auto_transaction struct db_transaction t = DB_TRANSACTION_INIT;
	struct err err = { 0 };
	int64_t id;

	ok(db_begin(store->db, &t, &err), &err);
	ok(db_run(store->db, &err, "INSERT INTO lease(name, created) VALUES(?, 0)", "s", name),
	   &err);
	id = db_last_id(store->db);
	for (size_t i = 0; i < count; i++)
		ok(db_run(store->db, &err, "INSERT INTO lease_layer(lease, layer) VALUES(?, ?)",
			  "ii", id, layers[i]),
		   &err);
	ok(db_commit(&t, &err), &err);
	return id;
}

int64_t kit_count(struct store *store, const char *sql)
{
	struct err err = { 0 };
	int64_t value = -1;

	ok(db_get_int(store->db, &value, &err, sql, ""), &err);
	return value;
}

int kit_run(struct store *store, const char *sql)
{
	auto_transaction struct db_transaction t = DB_TRANSACTION_INIT;
	struct err err = { 0 };
	int r;

	ok(db_begin(store->db, &t, &err), &err);
	r = db_run(store->db, &err, sql, "");
	return r < 0 ? r : db_commit(&t, NULL);
}

size_t kit_names(const char *path)
{
	auto_closedir DIR *dir = opendir(path);
	struct dirent *entry;
	size_t count = 0;

	if (!dir) {
		fail_msg("%s: %s", path, strerror(errno));
		return 0;
	}
	while ((entry = readdir(dir)))
		count += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
	return count;
}

/* ---- archives ---- */

void kit_layer_tar(struct buf *tar, const char *layer)
{
	const char *equals = strchr(layer, '=');
	auto_free char *name = NULL;

	assert_non_null(equals);
	name = strndup(layer, (size_t)(equals - layer));
	tar_put_dir(tar, "./");
	tar_put_file(tar, name, equals + 1);
	tar_put_end(tar);
}

struct digest digest_of_buf(const struct buf *bytes)
{
	struct digest digest;

	assert_int_equal(digest_of("sha256", buf_text(bytes), bytes->len, &digest, NULL), 0);
	return digest;
}

void kit_config(struct buf *config, const char *const *layers, struct digest *ret_id)
{
	(void)buf_puts(
		config,
		"{\"os\":\"linux\",\"architecture\":\"amd64\",\"created\":\"2024-05-06T07:08:09Z\","
		"\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[");
	for (size_t i = 0; layers[i]; i++) {
		auto_buf struct buf tar = { .max = 0 };
		struct digest digest;

		kit_layer_tar(&tar, layers[i]);
		digest = digest_of_buf(&tar);
		(void)buf_printf(config, "%s\"%s\"", i ? "," : "", digest.text);
	}
	(void)buf_puts(config, "]}}");
	assert_int_equal(config->status, 0);
	*ret_id = digest_of_buf(config);
}

void put_bytes(const char *path, const struct buf *bytes)
{
	put_file(path, "");
	assert_int_equal(replace_file_at(AT_FDCWD, path, buf_text(bytes), bytes->len, 0, NULL), 0);
}

static void tar_put_bytes(struct buf *tar, const char *name, const struct buf *bytes)
{
	tar_put(tar, &(struct tar_spec){ .name = name,
					 .type = '0',
					 .mode = 0644,
					 .mtime = USUAL_MTIME,
					 .size = (int64_t)bytes->len,
					 .data = buf_text(bytes) });
}

void kit_docker_archive(const char *path, const char *tags, const char *const *layers,
			struct digest *ret_id)
{
	auto_buf struct buf tar = { .max = 0 }, config = { .max = 0 }, manifest = { .max = 0 };
	char name[100];

	kit_config(&config, layers, ret_id);
	(void)snprintf(name, sizeof(name), "%s.json", digest_hex(ret_id));
	tar_put_bytes(&tar, name, &config);
	(void)buf_printf(&manifest, "[{\"Config\":\"%s\",\"RepoTags\":%s,\"Layers\":[", name, tags);
	for (size_t i = 0; layers[i]; i++) {
		auto_buf struct buf layer = { .max = 0 };

		kit_layer_tar(&layer, layers[i]);
		(void)snprintf(name, sizeof(name), "layer%zu/layer.tar", i);
		tar_put_bytes(&tar, name, &layer);
		(void)buf_printf(&manifest, "%s\"%s\"", i ? "," : "", name);
	}
	(void)buf_puts(&manifest, "]}]");
	tar_put_bytes(&tar, "manifest.json", &manifest);
	tar_put_end(&tar);
	put_bytes(path, &tar);
}

struct digest kit_blob(const char *dir, const void *data, size_t len)
{
	struct digest digest;
	char path[300];

	assert_int_equal(digest_of("sha256", data, len, &digest, NULL), 0);
	(void)snprintf(path, sizeof(path), "%s/blobs/sha256/%s", dir, digest_hex(&digest));
	put_file(path, "");
	assert_int_equal(replace_file_at(AT_FDCWD, path, data, len, 0, NULL), 0);
	return digest;
}

void kit_oci_image(const char *dir, struct buf *index, const char *more, const char *const *layers,
		   struct digest *ret_id, struct digest *ret_manifest)
{
	auto_buf struct buf config = { .max = 0 }, manifest = { .max = 0 };

	kit_config(&config, layers, ret_id);
	(void)kit_blob(dir, config.data, config.len);
	(void)buf_printf(
		&manifest,
		"{\"schemaVersion\":2,\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\","
		"\"config\":{\"mediaType\":\"application/vnd.oci.image.config.v1+json\","
		"\"digest\":\"%s\",\"size\":%zu},\"layers\":[",
		ret_id->text, config.len);
	for (size_t i = 0; layers[i]; i++) {
		auto_buf struct buf layer = { .max = 0 }, gzip = { .max = 0 };
		struct digest digest;

		kit_layer_tar(&layer, layers[i]);
		gzip_put(&gzip, layer.data, layer.len);
		digest = kit_blob(dir, gzip.data, gzip.len);
		(void)buf_printf(&manifest,
				 "%s{\"mediaType\":\"application/vnd.oci.image.layer.v1.tar+gzip\","
				 "\"digest\":\"%s\",\"size\":%zu}",
				 i ? "," : "", digest.text, gzip.len);
	}
	(void)buf_puts(&manifest, "]}");
	*ret_manifest = kit_blob(dir, buf_text(&manifest), manifest.len);
	(void)buf_printf(
		index,
		"%s{\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\",\"digest\":\"%s\","
		"\"size\":%zu%s}",
		index->len ? "," : "", ret_manifest->text, manifest.len, more);
}

void kit_oci_index(const char *dir, const struct buf *index)
{
	auto_buf struct buf text = { .max = 0 };
	char path[300];

	(void)snprintf(path, sizeof(path), "%s/oci-layout", dir);
	put_file(path, "{\"imageLayoutVersion\":\"1.0.0\"}");
	(void)buf_printf(&text, "{\"schemaVersion\":2,\"manifests\":[%s]}", buf_text(index));
	(void)snprintf(path, sizeof(path), "%s/index.json", dir);
	put_file(path, buf_text(&text));
}

/* ---- the public interface ---- */

struct overlaid *kit_open(void)
{
	const struct overlaid_options options = { .root = sandbox_path("store"),
						  .run = sandbox_path("run"),
						  .durability = OVERLAID_VOLATILE };
	struct overlaid *o = NULL;
	struct err err = { 0 };

	ok(overlaid_open(&options, &o, &err), &err);
	return o;
}

int kit_load(struct overlaid *o, const char *path, struct err *err)
{
	const struct overlaid_load load = { .path = path };

	return overlaid_load(o, &load, NULL, NULL, err);
}

/* ---- processes ---- */

struct child kit_fork(int (*fn)(struct child *parent, void *arg), void *arg)
{
	struct child child = { .pid = -1 };
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	child.pid = fork();
	assert_true(child.pid >= 0);
	if (child.pid == 0) {
		struct child parent = { .pid = 0, .to = pair[1], .from = pair[1] };

		(void)close(pair[0]);
		_exit(fn(&parent, arg) & 0xff);
	}
	(void)close(pair[1]);
	child.to = child.from = pair[0];
	return child;
}

void kit_tell(const struct child *other)
{
	(void)write_full(other->to, "x", 1);
}

bool kit_hear(const struct child *other)
{
	char word;

	return read_full(other->from, &word, 1) == 1;
}

int kit_wait(struct child *child)
{
	int status;

	if (waitpid(child->pid, &status, 0) != child->pid)
		fail_msg("waitpid: %s", strerror(errno));
	(void)close(child->to);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

int kit_wait_all(struct child *children, size_t count)
{
	int first = 0;

	for (size_t i = 0; i < count; i++) {
		int result = kit_wait(&children[i]);

		first = first ? first : result;
	}
	return first;
}

void kit_kill(struct child *child)
{
	assert_int_equal(kill(child->pid, SIGKILL), 0);
	assert_int_equal(kit_wait(child), -SIGKILL);
}
