/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/snaps.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>
#include <cmocka.h>

#include "driver/base/auto.h"
#include "driver/base/fd.h"
#include "graph/handle.h"
#include "graph/store/chain.h"
#include "tests/unit/kit.h"
#include "tests/unit/sandbox.h"
#include "tests/unit/util.h"

struct overlaid *snaps;

int snaps_begin(void **state)
{
	if (sandbox_start(state) < 0)
		return -1;
	snaps = kit_open();
	return 0;
}

int snaps_end(void **state)
{
	overlaid_close(snaps);
	snaps = NULL;
	return sandbox_clean(state);
}

void good(int r, const struct err *err)
{
	if (r < 0)
		fail_msg("%d: %s", r, err->text);
}

int64_t count(const char *sql)
{
	return kit_count(snaps->store, sql);
}

/* ---- snapshots ---- */

void snaps_prepare(const char *key, const char *parent)
{
	const struct overlaid_prepare p = { .scope = SNAPS_SCOPE,
					    .key = key,
					    .parent = parent,
					    .kind = OVERLAID_SNAPSHOT_ACTIVE,
					    .settle_parent = true };
	struct err err = { 0 };

	good(overlaid_snapshot_prepare(snaps, &p, NULL, NULL, &err), &err);
}

int snaps_fill(struct overlaid *o, const char *scope, const char *key, const struct buf *tar,
	       uint64_t *ret_bytes, struct err *err)
{
	struct memory memory = { .data = buf_text(tar), .len = tar->len, .step = 4096 };
	uint64_t bytes;

	return overlaid_snapshot_fill(o, scope, key, NULL, memory_read, &memory,
				      ret_bytes ? ret_bytes : &bytes, err);
}

void snaps_layer(const char *key, const char *parent, const struct buf *tar)
{
	struct err err = { 0 };

	snaps_prepare(key, parent);
	good(snaps_fill(snaps, SNAPS_SCOPE, key, tar, NULL, &err), &err);
}

int snaps_remove(const char *key)
{
	return overlaid_snapshot_remove(snaps, SNAPS_SCOPE, key, NULL);
}

void snaps_find(const char *scope, const char *key, struct keyed *ret)
{
	struct err err = { 0 };

	good(keyed_find(snaps->store, scope, key, ret, &err), &err);
}

void snaps_attach(const char *key, const char *at, const struct overlaid_maps *maps)
{
	struct overlaid_attach a = { .scope = SNAPS_SCOPE, .key = key, .target = sandbox_path(at) };
	struct err err = { 0 };

	if (maps)
		a.maps = *maps;
	good(overlaid_snapshot_attach(snaps, &a, &err), &err);
}

void snaps_detach(const char *at)
{
	struct err err = { 0 };

	good(overlaid_detach(sandbox_path(at), &err), &err);
}

const char *snaps_own(const char *key, const char *below)
{
	auto_keyed struct keyed k = { 0 };
	char path[300];

	snaps_find(SNAPS_SCOPE, key, &k);
	(void)snprintf(path, sizeof(path), "store/snapshots/%s/diff%s", k.uid, below);
	return sandbox_path(path);
}

static void find_trees(const char *scope, const char *key, struct keyed_trees *ret)
{
	auto_keyed struct keyed k = { 0 };
	struct err err = { 0 };

	snaps_find(scope, key, &k);
	good(keyed_trees(snaps->store, k.id, ret, &err), &err);
}

const char *snaps_top(const char *key, const char *below)
{
	auto_keyed_trees struct keyed_trees trees = { 0 };
	char path[300];

	find_trees(SNAPS_SCOPE, key, &trees);
	assert_true(trees.count > 0);
	(void)snprintf(path, sizeof(path), "store/%s/%s/diff%s",
		       trees.list[0].own ? "snapshots" : "layers/sha256", trees.list[0].hex, below);
	return sandbox_path(path);
}

void snaps_trees(const char *scope, const char *key, struct buf *ret)
{
	auto_keyed_trees struct keyed_trees trees = { 0 };

	find_trees(scope, key, &trees);
	for (size_t i = 0; i < trees.count; i++)
		(void)buf_printf(ret, trees.list[i].own ? "own " : "%.12s ", trees.list[i].hex);
}

/* ---- layers ---- */

static void put_member(struct buf *archive, const char *name, const struct buf *bytes)
{
	tar_put(archive, &(struct tar_spec){ .name = name,
					     .type = '0',
					     .mode = 0644,
					     .mtime = USUAL_MTIME,
					     .size = (int64_t)bytes->len,
					     .data = buf_text(bytes) });
}

void snaps_put_image(const char *path, const char *reference, const struct buf *const *tars,
		     size_t tar_count)
{
	auto_buf struct buf archive = { .max = 0 }, config = { .max = 0 }, manifest = { .max = 0 };
	char name[40];

	(void)buf_puts(&config, "{\"os\":\"linux\",\"architecture\":\"amd64\",\"rootfs\":"
				"{\"type\":\"layers\",\"diff_ids\":[");
	(void)buf_printf(&manifest, "[{\"Config\":\"c.json\",\"RepoTags\":[\"%s\"],\"Layers\":[",
			 reference);
	for (size_t i = 0; i < tar_count; i++) {
		(void)buf_printf(&config, "%s\"%s\"", i ? "," : "", digest_of_buf(tars[i]).text);
		(void)buf_printf(&manifest, "%s\"%zu.tar\"", i ? "," : "", i);
		(void)snprintf(name, sizeof(name), "%zu.tar", i);
		put_member(&archive, name, tars[i]);
	}
	(void)buf_puts(&config, "]}}");
	(void)buf_puts(&manifest, "]}]");
	put_member(&archive, "c.json", &config);
	put_member(&archive, "manifest.json", &manifest);
	tar_put_end(&archive);
	put_bytes(path, &archive);
}

void snaps_chain_id(const struct buf *const *tars, size_t tar_count, struct digest *ret)
{
	struct digest beneath;

	for (size_t i = 0; i < tar_count; i++) {
		struct digest diff_id = digest_of_buf(tars[i]);

		assert_int_equal(chain_id_next(i ? &beneath : NULL, &diff_id, ret, NULL), 0);
		beneath = *ret;
	}
}

void snaps_assert_consistent(void)
{
	struct err err = { 0 };

	good(overlaid_reap(snaps, true, &err), &err);
	assert_int_equal(kit_names("store/staging"), 0);
	assert_int_equal(kit_names("store/trash"), 0);
	assert_int_equal(count("SELECT count(*) FROM trash"), 0);
	assert_int_equal(count("SELECT count(*) FROM lease"), 0);
	assert_int_equal(count("SELECT count(*) FROM pragma_foreign_key_check"), 0);
	assert_int_equal(kit_names("store/layers/sha256"), count("SELECT count(*) FROM layer"));
	assert_int_equal(kit_names("store/snapshots"),
			 count("SELECT count(*) FROM keyed WHERE kind <> 'view'"
			       " AND id NOT IN (SELECT keyed FROM keyed_layer)"));
	assert_int_equal(
		count("SELECT count(*) FROM layer WHERE id NOT IN"
		      " (SELECT layer FROM keyed_layer UNION SELECT layer FROM image_layer)"),
		0);
}

/* ---- trees ---- */

#define XATTRS_BYTES_MAX 4096

static void put_xattrs(const char *path, struct buf *ret)
{
	char names[XATTRS_BYTES_MAX], value[XATTRS_BYTES_MAX];
	ssize_t len = llistxattr(path, names, sizeof(names));

	for (ssize_t at = 0; at < len; at += (ssize_t)strlen(names + at) + 1) {
		ssize_t value_len = lgetxattr(path, names + at, value, sizeof(value));

		(void)buf_printf(ret, " %s=", names + at);
		for (ssize_t i = 0; i < value_len; i++)
			(void)buf_printf(ret, "%02x", (unsigned char)value[i]);
	}
}

static void put_content(const char *path, const struct stat *st, struct buf *ret)
{
	auto_buf struct buf bytes = { .max = (size_t)1 << 24 };
	char target[PATH_MAX] = "";

	if (S_ISREG(st->st_mode)) {
		assert_int_equal(read_file_at(AT_FDCWD, path, &bytes, NULL), 0);
		(void)buf_printf(ret, " %s", digest_of_buf(&bytes).text);
	} else if (S_ISLNK(st->st_mode)) {
		assert_true(readlink(path, target, sizeof(target) - 1) >= 0);
		(void)buf_printf(ret, " -> %s", target);
	}
}

static void put_line(const char *path, const char *name, struct buf *ret)
{
	struct stat st = look(path);
	bool dir = S_ISDIR(st.st_mode);

	(void)buf_printf(ret, "%s %o %u:%u %lld.%09ld %lld %llu %x", name, st.st_mode, st.st_uid,
			 st.st_gid, (long long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec,
			 dir ? 0 : (long long)st.st_size, dir ? 1 : (unsigned long long)st.st_nlink,
			 (unsigned int)st.st_rdev);
	put_content(path, &st, ret);
	put_xattrs(path, ret);
	(void)buf_puts(ret, "\n");
}

static void put_tree(const char *root, const char *name, struct buf *ret)
{
	char path[2 * PATH_MAX], below[2 * PATH_MAX];
	struct dirent **list = NULL;
	int names;

	(void)snprintf(path, sizeof(path), "%s%s", root, name);
	put_line(path, name[0] ? name : "/", ret);
	if (!S_ISDIR(look(path).st_mode))
		return;
	names = scandir(path, &list, NULL, alphasort);
	assert_true(names >= 0);
	for (int i = 0; i < names; i++) {
		(void)snprintf(below, sizeof(below), "%s/%s", name, list[i]->d_name);
		if (strcmp(list[i]->d_name, ".") != 0 && strcmp(list[i]->d_name, "..") != 0)
			put_tree(root, below, ret);
		free(list[i]);
	}
	free(list);
}

void tree_text(const char *root, struct buf *ret)
{
	auto_free char *copy = strdup(root);

	assert_non_null(copy);
	put_tree(copy, "", ret);
}
