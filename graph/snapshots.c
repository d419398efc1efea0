/* SPDX-License-Identifier: Apache-2.0 */
/*
 * snapshots: those that a runtime names and mounts itself (graph/store/keyed.h), and the mounts it is told.
 */
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "driver/base/fd.h"
#include "driver/base/json.h"
#include "driver/overlay.h"
#include "driver/quota.h"
#include "driver/tree.h"
#include "graph/handle.h"
#include "graph/store/chain.h"
#include "graph/store/db.h"
#include "graph/store/keyed.h"
#include "graph/view.h"

#define COUNTING_TRIES 3

/* ---- labels ---- */

static int labels_text(const struct overlaid_label *labels, size_t count, struct buf *ret,
		       struct err *err)
{
	auto_json struct json *j = json_new_object();

	/* One without a value is none, as containerd has it. */
	for (size_t i = 0; i < count; i++)
		if (labels[i].value[0])
			j = json_set(j, labels[i].key, json_new_string(labels[i].value));
	return json_print(j, 0, ret, err);
}

static int by_key(const void *a, const void *b)
{
	return strcmp(((const struct overlaid_label *)a)->key,
		      ((const struct overlaid_label *)b)->key);
}

struct handing {
	overlaid_snapshot_fn *fn;
	void *arg;
	struct err *err;
};

static int hand_over(void *arg, const struct keyed *k)
{
	const struct handing *h = arg;
	auto_free struct overlaid_label *labels = NULL;
	auto_json struct json *j = NULL;
	struct overlaid_snapshot s = { .name = k->name,
				       .parent = k->parent_name,
				       .kind = k->kind,
				       .created_ns = k->created_ns,
				       .updated_ns = k->updated_ns };
	int r = json_parse(k->labels, strlen(k->labels), KEYED_LABELS_BYTES_MAX, "labels", &j,
			   h->err);

	if (r < 0)
		return r;
	labels = calloc(j->count + 1, sizeof(*labels));
	if (!labels)
		return fail_oom(h->err);
	for (size_t i = 0; i < j->count; i++)
		labels[i] = (struct overlaid_label){ j->keys[i], j->items[i]->string ?
									 j->items[i]->string :
									 "" };
	if (j->count > 1)
		qsort(labels, j->count, sizeof(*labels), by_key);
	s.labels = labels;
	s.label_count = j->count;
	return h->fn(h->arg, &s);
}

/* ---- mounts ---- */

#define OPTIONS_MAX 8

struct answer {
	struct overlaid_mount mount;
	char *source, *options[OPTIONS_MAX]; /* owned */
	size_t option_count;
};

static void answer_release(struct answer *a)
{
	free(a->source);
	for (size_t i = 0; i < a->option_count; i++)
		free(a->options[i]);
}

__attribute__((format(printf, 3, 4))) static int add_option(struct answer *a, struct err *err,
							    const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vasprintf(&a->options[a->option_count], fmt, ap);
	va_end(ap);
	if (n < 0)
		return fail_oom(err);
	a->option_count++;
	return 0;
}

/* The lowers, topmost first, with colons between: links, or with `real` the trees themselves. */
static int join_lowers(struct overlaid *o, const struct keyed_trees *trees, bool real,
		       struct buf *ret, struct err *err)
{
	auto_close int l_fd = keyed_open_links(o->store, err);
	int r = l_fd < 0 ? l_fd : 0;

	for (size_t i = 0; r >= 0 && i < trees->count; i++) {
		auto_free char *path = NULL;

		if (real) {
			path = keyed_tree_path(o->store, &trees->list[i]);
			r = path ? 0 : fail_oom(err);
		} else {
			r = keyed_link(o->store, l_fd, &trees->list[i], &path, err);
		}
		if (r >= 0)
			r = buf_printf(ret, i > 0 ? ":%s" : "%s", path);
	}
	return r;
}

static int bind_answer(struct answer *a, char **source, const char *how, struct err *err)
{
	int r = add_option(a, err, "%s", how);

	a->source = take_ptr(*source);
	a->mount.type = "bind";
	return r < 0 ? r : add_option(a, err, "rbind");
}

static int add_maps(struct answer *a, const struct overlaid_prepare *p, struct err *err)
{
	int r = p->uid_map ? add_option(a, err, "uidmap=%s", p->uid_map) : 0;

	return r < 0 || !p->gid_map ? r : add_option(a, err, "gidmap=%s", p->gid_map);
}

/* index=off: a diff of what is mounted mounts its upper as a lower a second time. */
static int overlay_answer(struct overlaid *o, struct answer *a, const struct keyed *k,
			  const char *lowers, const struct overlaid_prepare *p, struct err *err)
{
	const char *root = o->store->root_path;
	int r = 0;

	a->mount.type = "overlay";
	a->source = strdup("overlay");
	if (!a->source)
		return fail_oom(err);
	if (access("/sys/module/overlay/parameters/index", F_OK) == 0)
		r = add_option(a, err, "index=off");
	if (r >= 0 && o->xattrs == OVERLAY_XATTRS_USER)
		r = add_option(a, err, "userxattr");
	if (r >= 0)
		r = add_maps(a, p, err);
	if (r >= 0 && k->kind == OVERLAID_SNAPSHOT_ACTIVE) {
		r = add_option(a, err, "workdir=%s/snapshots/%s/work", root, k->uid);
		if (r >= 0)
			r = add_option(a, err, "upperdir=%s/snapshots/%s/diff", root, k->uid);
	}
	return r < 0 ? r : add_option(a, err, "lowerdir=%s", lowers);
}

/* A base layer that is being unpacked gets an overlay too, over nothing: on a bind mount, containerd's applier
 * loses whiteouts. */
static int make_answer(struct overlaid *o, const struct keyed *k, const struct overlaid_prepare *p,
		       struct answer *a, struct err *err)
{
	AUTO(keyed_trees_release) struct keyed_trees trees = { 0 };
	auto_buf struct buf lowers = { .max = (size_t)1 << 20 };
	auto_free char *path = NULL;
	bool active = k->kind == OVERLAID_SNAPSHOT_ACTIVE;
	int r = k->parent ? keyed_trees(o->store, k->parent, &trees, err) : 0;

	if (r >= 0)
		r = view_choose_lowers(o, &trees, err);
	if (r < 0)
		return r;
	if (trees.count == 0 && !active) {
		r = chain_empty_path(o->store, 0, &path, err);
		return r < 0 ? r : bind_answer(a, &path, "ro", err);
	}
	if (trees.count == 1 && !active) {
		path = keyed_tree_path(o->store, &trees.list[0]);
		return path ? bind_answer(a, &path, "ro", err) : fail_oom(err);
	}
	if (trees.count == 0 && !k->chain_id[0]) {
		if (asprintf(&path, "%s/snapshots/%s/diff", o->store->root_path, k->uid) < 0)
			return fail_oom(err);
		return bind_answer(a, &path, "rw", err);
	}
	r = join_lowers(o, &trees, p->uid_map || p->gid_map, &lowers, err);
	if (r >= 0 && trees.count == 0) {
		r = chain_empty_path(o->store, 0, &path, err);
		if (r >= 0)
			r = buf_printf(&lowers, "%s", path);
	}
	return r < 0 ? r : overlay_answer(o, a, k, buf_text(&lowers), p, err);
}

static int answer_mount(struct overlaid *o, const struct keyed *k, const struct overlaid_prepare *p,
			overlaid_mount_fn *fn, void *arg, struct err *err)
{
	AUTO(answer_release) struct answer a = { 0 };
	int r = make_answer(o, k, p, &a, err);

	if (r < 0)
		return err_prefix(err, r, "mounts of \"%.300s\"", k->name);
	a.mount.source = a.source;
	a.mount.options = (const char *const *)a.options;
	a.mount.option_count = a.option_count;
	return fn(arg, &a.mount);
}

/* Its directory is there, whatever a power cut left. */
static int ensure_dir(struct overlaid *o, const struct keyed *k, struct err *err)
{
	auto_close int fd = -EBADF;

	if (k->kind != OVERLAID_SNAPSHOT_ACTIVE)
		return 0;
	fd = keyed_open_dir(o->store, k, NULL, err);
	return fd < 0 ? fd : 0;
}

int overlaid_snapshot_mounts(struct overlaid *o, const struct overlaid_prepare *p,
			     overlaid_mount_fn *fn, void *arg, struct err *err)
{
	auto_keyed struct keyed k = { 0 };
	int r = keyed_find(o->store, p->scope, p->key, &k, err);

	if (r >= 0 && k.kind == OVERLAID_SNAPSHOT_COMMITTED)
		r = fail(err, -EBADFD, "snapshot \"%.300s\" is committed and has no mounts",
			 p->key);
	if (r >= 0)
		r = ensure_dir(o, &k, err);
	return r < 0 ? r : answer_mount(o, &k, p, fn, arg, err);
}

/* ---- preparing ---- */

/* The id outside that `inside` has: "CONTAINER:HOST:LENGTH,...". */
static int map_id(const char *map, uint32_t inside, uint32_t *ret, struct err *err)
{
	const char *at = map;

	while (*at) {
		unsigned long long first, host, length;
		int used = 0;

		if (sscanf(at, "%10llu:%10llu:%10llu%n", &first, &host, &length, &used) != 3 ||
		    (at[used] && at[used] != ','))
			break;
		if (inside >= first && inside - first < length &&
		    host + inside - first < UINT32_MAX) {
			*ret = (uint32_t)(host + inside - first);
			return 0;
		}
		at += at[used] ? used + 1 : used;
	}
	return fail(err, -EINVAL, "\"%.100s\" is no mapping of id %u", map, inside);
}

/* The upper of what is idmapped belongs to the root of the mapping. */
static int give_to_mapped_root(const struct overlaid_prepare *p, int dir_fd, struct err *err)
{
	uint32_t uid = 0, gid = 0;
	int r = p->uid_map ? map_id(p->uid_map, 0, &uid, err) : 0;

	if (r >= 0 && p->gid_map)
		r = map_id(p->gid_map, 0, &gid, err);
	if (r >= 0 && fchownat(dir_fd, "diff", uid, gid, AT_SYMLINK_NOFOLLOW) < 0)
		r = fail(err, -errno, "give the tree of \"%.300s\" to %u:%u: %m", p->key, uid, gid);
	return r < 0 ? r : 0;
}

/* Projects of the filesystem, from here on, are numbered as the rows of those that have a quota. */
#define PROJECT_FIRST ((uint32_t)0x4f000000)

int overlaid_quota_check(struct overlaid *o, struct err *err)
{
	return quota_check(o->store->snapshots_fd, err);
}

static int limit(uint64_t bytes, const struct keyed *k, int dir_fd, struct err *err)
{
	static const char *const trees[] = { "diff", "work" };
	int r = quota_check(dir_fd, err);

	for (size_t i = 0; r >= 0 && i < ARRAY_LEN(trees); i++) {
		auto_close int fd = open_dir_at(dir_fd, trees[i], err);

		r = fd < 0 ? fd : quota_set(fd, PROJECT_FIRST + (uint32_t)k->id, bytes, err);
	}
	return r;
}

struct preparing {
	struct overlaid *o;
	const struct overlaid_prepare *p;
	overlaid_mount_fn *fn;
	void *arg;
};

/* In the transaction that makes it: what fails leaves nothing, and the parent as it was. */
static int finish_prepared(void *arg, const struct keyed *k, struct err *err)
{
	const struct preparing *to = arg;
	const struct overlaid_prepare *p = to->p;
	bool active = p->kind == OVERLAID_SNAPSHOT_ACTIVE;
	auto_close int dir_fd = active ? keyed_open_dir(to->o->store, k, NULL, err) : -EBADF;
	int r = active && dir_fd < 0 ? dir_fd : 0;

	if (r >= 0 && active && (p->uid_map || p->gid_map || p->plain_root))
		r = give_to_mapped_root(p, dir_fd, err);
	if (r >= 0 && active && p->plain_root && fchmodat(dir_fd, "diff", 0755, 0) < 0)
		r = fail(err, -errno, "set the mode of the root of \"%.300s\": %m", p->key);
	if (r >= 0 && active && p->quota_bytes)
		r = limit(p->quota_bytes, k, dir_fd, err);
	return r < 0 || !to->fn ? r : overlaid_snapshot_mounts(to->o, p, to->fn, to->arg, err);
}

int overlaid_snapshot_prepare(struct overlaid *o, const struct overlaid_prepare *p,
			      overlaid_mount_fn *fn, void *arg, struct err *err)
{
	struct preparing preparing = { .o = o, .p = p, .fn = fn, .arg = arg };
	auto_buf struct buf labels = { .max = KEYED_LABELS_BYTES_MAX };
	struct keyed_spec spec = { .scope = p->scope,
				   .name = p->key,
				   .parent = p->parent,
				   .kind = p->kind,
				   .chain_id = p->chain_id,
				   .settle_parent = p->settle_parent,
				   .made = finish_prepared,
				   .made_arg = &preparing };
	int r = p->key[0] ? labels_text(p->labels, p->label_count, &labels, err) :
			    fail(err, -EINVAL, "a snapshot needs a key");

	if (r < 0)
		return r;
	spec.labels = buf_text(&labels);
	return keyed_prepare(o->store, &spec, err);
}

int overlaid_snapshot_share(struct overlaid *o, const struct overlaid_prepare *p, const char *label,
			    struct err *err)
{
	auto_buf struct buf labels = { .max = KEYED_LABELS_BYTES_MAX };
	struct keyed_spec spec = { .scope = p->scope,
				   .parent = p->parent,
				   .chain_id = p->chain_id };
	int64_t one;
	int r = db_get_int(o->store->db, &one, err, "SELECT 1 FROM chain WHERE chain_id = ?", "s",
			   p->chain_id);

	if (r > 0)
		r = labels_text(p->labels, p->label_count, &labels, err) < 0 ? -ENOMEM : 1;
	spec.labels = buf_text(&labels);
	return r <= 0 ? r : keyed_share(o->store, &spec, label, err);
}

/* ---- the others ---- */

int overlaid_snapshot_flush(struct overlaid *o, const char *scope, const char *key, bool keep,
			    struct err *err)
{
	return keyed_flush(o->store, scope, key, keep, err);
}

int overlaid_sync(struct overlaid *o, struct err *err)
{
	return store_sync(o->store, err);
}

int overlaid_snapshot_commit(struct overlaid *o, const struct overlaid_commit *c, struct err *err)
{
	auto_buf struct buf labels = { .max = KEYED_LABELS_BYTES_MAX };
	struct keyed_spec spec = { .scope = c->scope,
				   .name = c->name,
				   .parent = c->parent,
				   .chain_id = c->chain_id,
				   .flushed = c->flushed };
	int r = c->name[0] ? labels_text(c->labels, c->label_count, &labels, err) :
			     fail(err, -EINVAL, "a snapshot needs a name");

	spec.labels = buf_text(&labels);
	return r < 0 ? r : keyed_commit(o->store, c->key, &spec, err);
}

int overlaid_snapshot_remove(struct overlaid *o, const char *scope, const char *key,
			     struct err *err)
{
	return keyed_remove(o->store, scope, key, err);
}

int overlaid_snapshot_get(struct overlaid *o, const char *scope, const char *key,
			  overlaid_snapshot_fn *fn, void *arg, struct err *err)
{
	struct handing h = { .fn = fn, .arg = arg, .err = err };
	auto_keyed struct keyed k = { 0 };
	int r = keyed_find(o->store, scope, key, &k, err);

	return r < 0 ? r : hand_over(&h, &k);
}

int overlaid_snapshots(struct overlaid *o, const char *scope, overlaid_snapshot_fn *fn, void *arg,
		       struct err *err)
{
	struct handing h = { .fn = fn, .arg = arg, .err = err };

	return keyed_list(o->store, scope, hand_over, &h, err);
}

static int change_labels(const struct keyed *k, const struct overlaid_label *labels, size_t count,
			 bool replace, struct buf *ret, struct err *err)
{
	auto_json struct json *j = NULL;
	int r = 0;

	if (replace)
		j = json_new_object();
	else
		r = json_parse(k->labels, strlen(k->labels), KEYED_LABELS_BYTES_MAX, "labels", &j,
			       err);
	for (size_t i = 0; r >= 0 && i < count; i++) {
		if (labels[i].value && labels[i].value[0])
			j = json_set(j, labels[i].key, json_new_string(labels[i].value));
		else if (j)
			(void)json_remove(j, labels[i].key);
	}
	return r < 0 ? r : json_print(j, 0, ret, err);
}

int overlaid_snapshot_update(struct overlaid *o, const char *scope, const char *key,
			     const struct overlaid_label *labels, size_t count, bool replace,
			     overlaid_snapshot_fn *fn, void *arg, struct err *err)
{
	auto_transaction struct db_transaction t = DB_TRANSACTION_INIT;
	auto_buf struct buf text = { .max = KEYED_LABELS_BYTES_MAX };
	auto_keyed struct keyed k = { 0 };
	int r = db_begin(o->store->db, &t, err);

	if (r >= 0)
		r = keyed_find(o->store, scope, key, &k, err);
	if (r >= 0)
		r = change_labels(&k, labels, count, replace, &text, err);
	if (r >= 0)
		r = keyed_relabel(o->store, &k, buf_text(&text), err);
	if (r >= 0)
		r = db_commit(&t, err);
	return r < 0 ? r : overlaid_snapshot_get(o, scope, key, fn, arg, err);
}

/* ---- usage ---- */

/* A container that moves directories while they are counted is counted again. */
static int count_tree(int dirfd, const char *name, bool (*stop)(void *arg), void *arg,
		      struct tree_usage *ret, struct err *err)
{
	int r = -EAGAIN;

	for (int tries = 0; r == -EAGAIN && tries < COUNTING_TRIES; tries++)
		r = tree_usage_until(dirfd, name, stop, arg, ret, err);
	return r;
}

static int count_trees(struct overlaid *o, const struct keyed *k, bool (*stop)(void *arg),
		       void *arg, struct tree_usage *sum, struct err *err)
{
	AUTO(keyed_trees_release) struct keyed_trees trees = { 0 };
	int r = keyed_trees_of(o->store, k->id, &trees, err);

	for (size_t i = 0; r >= 0 && i < trees.count; i++) {
		auto_free char *path = keyed_tree_path(o->store, &trees.list[i]);
		struct tree_usage usage = { 0 };

		r = path ? count_tree(AT_FDCWD, path, stop, arg, &usage, err) : fail_oom(err);
		sum->disk_bytes += usage.disk_bytes;
		sum->inodes += usage.inodes;
	}
	return r;
}

int overlaid_snapshot_usage(struct overlaid *o, const char *scope, const char *key,
			    bool (*stop)(void *arg), void *arg, uint64_t *ret_disk_bytes,
			    uint64_t *ret_inodes, struct err *err)
{
	auto_keyed struct keyed k = { 0 };
	struct tree_usage usage = { 0 };
	int r = keyed_find(o->store, scope, key, &k, err);

	if (r >= 0 && k.disk_bytes >= 0) {
		usage.disk_bytes = (uint64_t)k.disk_bytes;
		usage.inodes = (uint64_t)k.inodes;
	} else if (r >= 0 && k.kind != OVERLAID_SNAPSHOT_VIEW) {
		r = ensure_dir(o, &k, err);
		if (r >= 0)
			r = count_trees(o, &k, stop, arg, &usage, err);
		if (r >= 0 && k.kind == OVERLAID_SNAPSHOT_COMMITTED)
			r = keyed_set_usage(o->store, &k, usage.disk_bytes, usage.inodes, err);
	}
	if (r < 0)
		return r == -ENOENT ? r : err_prefix(err, r, "usage of \"%.300s\"", key);
	*ret_disk_bytes = usage.disk_bytes;
	*ret_inodes = usage.inodes;
	return 0;
}

int overlaid_snapshots_check(struct overlaid *o, struct err *err)
{
	const char *paths[] = { o->store->root_path, o->store->run_path };

	for (size_t i = 0; i < ARRAY_LEN(paths); i++)
		if (strpbrk(paths[i], ",:\\\""))
			return fail(err, -EINVAL,
				    "%s: a path with a comma, a colon, a quote or a backslash cannot stand in the "
				    "options of a mount; choose another --root or --run",
				    paths[i]);
	return 0;
}

/* ---- batches ---- */

int overlaid_batch_begin(struct overlaid *o, bool durable, struct err *err)
{
	return store_batch_begin(o->store, durable, err);
}

int overlaid_batch_end(struct overlaid *o, struct err *err)
{
	return store_batch_end(o->store, err);
}
