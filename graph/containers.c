/* SPDX-License-Identifier: Apache-2.0 */
/*
 * containers: a private writable tree over an image's layers, in the command line's scope.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "driver/base/json.h"
#include "driver/changes.h"
#include "driver/tree.h"
#include "graph/handle.h"
#include "graph/name/words.h"
#include "graph/store/chain.h"
#include "graph/store/db.h"
#include "graph/store/image.h"
#include "graph/store/snapshot.h"

#define NAME_ATTEMPTS_MAX 20
#define LABELS_BYTES_MAX  ((size_t)1 << 20)

static int find_container(struct overlaid *o, const char *name, struct snapshot *ret,
			  struct err *err)
{
	return snapshot_resolve(o->store, SNAPSHOT_SCOPE_CLI, name, "container", ret, err);
}

/* ---- creating ---- */

static int labels_to_json(const char *const *labels, struct buf *ret, struct err *err)
{
	auto_json struct json *j = json_new_object();

	for (size_t i = 0; labels && labels[i]; i++) {
		const char *equals = strchr(labels[i], '=');
		auto_free char *key = equals ? strndup(labels[i], (size_t)(equals - labels[i])) :
					       strdup(labels[i]);

		if (!key)
			return fail_oom(err);
		if (!key[0])
			return fail(err, -EINVAL, "label \"%s\": it has no key; write key=value",
				    labels[i]);
		j = json_set(j, key, json_new_string(equals ? equals + 1 : ""));
	}
	return json_print(j, 0, ret, err);
}

/* Tries the name given, or names made up until one is free. */
static int create_named(struct overlaid *o, struct snapshot_spec *spec, char uid[STORE_HEX_LEN + 1],
			int *owner, struct err *err)
{
	char made_up[WORDS_MAX];

	if (spec->name)
		return snapshot_create(o->store, spec, uid, owner, err);
	for (unsigned int attempt = 0;; attempt++) {
		int r;

		words_name(attempt, made_up);
		spec->name = made_up;
		r = snapshot_create(o->store, spec, uid, owner, err);
		spec->name = NULL;
		if (r != -EEXIST || attempt == NAME_ATTEMPTS_MAX)
			return r;
	}
}

static int remember_owner(struct overlaid *o, const char *uid, int *fd, struct err *err)
{
	struct owned *more = reallocarray(o->owned, o->owned_count + 1, sizeof(*more));

	if (!more)
		return fail_oom(err);
	o->owned = more;
	(void)snprintf(more[o->owned_count].uid, sizeof(more->uid), "%s", uid);
	more[o->owned_count].fd = take_fd(fd);
	o->owned_count++;
	return 0;
}

int overlaid_container_create(struct overlaid *o, const struct overlaid_create *create,
			      char ret_id[OVERLAID_ID_LEN + 1], struct err *err)
{
	auto_buf struct buf labels = { .max = LABELS_BYTES_MAX };
	auto_close int owner = -EBADF;
	struct image_name image = { 0 };
	struct snapshot_spec spec = { .scope = SNAPSHOT_SCOPE_CLI,
				      .name = create->name,
				      .image_name = create->image,
				      .ephemeral = create->flags & OVERLAID_CREATE_EPHEMERAL };
	char uid[STORE_HEX_LEN + 1];
	int r;

	if (create->name && !words_valid(create->name))
		return fail(err, -EINVAL,
			    "invalid container name \"%.300s\": only [a-zA-Z0-9][a-zA-Z0-9_.-]* is allowed, "
			    "up to 255 bytes",
			    create->name);
	r = image_resolve(o->store, create->image, &image, err);
	if (r >= 0)
		r = labels_to_json(create->labels, &labels, err);
	if (r < 0)
		return r;
	spec.image = image.id;
	spec.image_id = image.image_id.text;
	spec.labels = buf_text(&labels);
	r = create_named(o, &spec, uid, &owner, err);
	if (r >= 0 && spec.ephemeral)
		r = remember_owner(o, uid, &owner, err);
	if (r >= 0)
		memcpy(ret_id, uid, sizeof(uid));
	return r;
}

/* ---- listing ---- */

struct texts {
	char **list; /* owned */
	size_t count;
};

static void texts_release(struct texts *t)
{
	for (size_t i = 0; i < t->count; i++)
		free(t->list[i]);
	free(t->list);
}

static int texts_room(struct texts *t, size_t count, struct err *err)
{
	t->list = calloc(count + 1, sizeof(*t->list));
	return t->list ? 0 : fail_oom(err);
}

static int labels_from_json(const struct snapshot *s, struct texts *ret, struct err *err)
{
	auto_json struct json *j = NULL;
	int r = json_parse(s->labels, strlen(s->labels), LABELS_BYTES_MAX, "labels", &j, err);

	if (r >= 0)
		r = texts_room(ret, j->count, err);
	for (size_t i = 0; r >= 0 && i < j->count; i++) {
		if (asprintf(&ret->list[ret->count], "%s=%s", j->keys[i],
			     j->items[i]->string ? j->items[i]->string : "") < 0)
			return fail_oom(err);
		ret->count++;
	}
	return r;
}

static int add_text(struct texts *t, const char *text, struct err *err)
{
	char **more = reallocarray(t->list, t->count + 1, sizeof(*more));

	if (!more)
		return fail_oom(err);
	t->list = more;
	more[t->count] = strdup(text);
	return more[t->count++] ? 0 : fail_oom(err);
}

static int read_layers(struct store *store, int64_t id, struct texts *diff_ids, struct texts *chain,
		       struct err *err)
{
	auto_query struct db_query q = DB_QUERY_INIT;
	int r = db_query(store->db, &q, err,
			 "SELECT key, diff_id FROM snapshot_layer JOIN layer ON layer.id = layer"
			 " WHERE snapshot = ? ORDER BY position",
			 "i", id);

	while (r >= 0 && (r = db_step(&q, err)) > 0) {
		r = add_text(chain, db_text(&q, 0), err);
		if (r >= 0 && !db_is_null(&q, 1))
			r = add_text(diff_ids, db_text(&q, 1), err);
	}
	return r;
}

struct listing {
	struct overlaid *o;
	overlaid_container_fn *fn;
	void *arg;
	struct err *err;
};

static int hand_over(void *arg, const struct snapshot *s)
{
	struct listing *l = arg;
	AUTO(texts_release) struct texts labels = { 0 }, layers = { 0 }, chain = { 0 };
	auto_mount_state struct snapshot_mount_state state = { 0 };
	auto_free char *upper = NULL;
	struct overlaid_container c;
	int r = snapshot_mount_state(l->o->store, s->id, &state, l->err);

	if (r >= 0)
		r = labels_from_json(s, &labels, l->err);
	if (r >= 0)
		r = read_layers(l->o->store, s->id, &layers, &chain, l->err);
	if (r < 0)
		return r;
	if (asprintf(&upper, "%s/snapshots/%s/fs", l->o->store->root_path, s->uid) < 0)
		return fail_oom(l->err);
	c = (struct overlaid_container){
		.id = s->uid,
		.name = s->name,
		.image_id = s->image_id,
		.image_name = s->image_name,
		.image_exists = s->image != 0,
		.created = s->created,
		.mounted = state.elsewhere ? NULL : state.target,
		.mounted_elsewhere = state.elsewhere,
		.ephemeral = s->ephemeral,
		.labels = (const char *const *)labels.list,
		.label_count = labels.count,
		.layers = (const char *const *)layers.list,
		.layer_count = layers.count,
		.chain = (const char *const *)chain.list,
		.chain_count = chain.count,
		.upper = upper,
	};
	return l->fn(l->arg, &c);
}

int overlaid_containers(struct overlaid *o, overlaid_container_fn *fn, void *arg, struct err *err)
{
	struct listing l = { .o = o, .fn = fn, .arg = arg, .err = err };

	return snapshot_list(o->store, SNAPSHOT_SCOPE_CLI, 0, hand_over, &l, err);
}

int overlaid_container_get(struct overlaid *o, const char *name, overlaid_container_fn *fn,
			   void *arg, struct err *err)
{
	struct listing l = { .o = o, .fn = fn, .arg = arg, .err = err };
	auto_snapshot struct snapshot s = { 0 };
	int r = find_container(o, name, &s, err);

	return r < 0 ? r : hand_over(&l, &s);
}

/* ---- using ---- */

int overlaid_container_mount(struct overlaid *o, const char *name, char **ret_path, struct err *err)
{
	auto_snapshot struct snapshot s = { 0 };
	int r = find_container(o, name, &s, err);

	return r < 0 ? r : snapshot_mount(o->store, &s, ret_path, err);
}

int overlaid_container_unmount(struct overlaid *o, const char *name, struct err *err)
{
	auto_snapshot struct snapshot s = { 0 };
	int r = find_container(o, name, &s, err);

	return r < 0 ? r : snapshot_unmount(o->store, &s, err);
}

static struct owned *find_owned(struct overlaid *o, const char *uid)
{
	for (size_t i = 0; i < o->owned_count; i++)
		if (o->owned[i].fd >= 0 && strcmp(o->owned[i].uid, uid) == 0)
			return &o->owned[i];
	return NULL;
}

int overlaid_container_remove(struct overlaid *o, const char *name, unsigned int flags,
			      struct err *err)
{
	auto_snapshot struct snapshot s = { 0 };
	struct owned *owned;
	int r = find_container(o, name, &s, err);

	if (r < 0)
		return r;
	owned = find_owned(o, s.uid);
	if (s.ephemeral && !owned && !snapshot_is_abandoned(o->store, &s))
		return fail(
			err, -EBUSY,
			"container %s is running (overlaid run); it is removed when its command ends",
			s.name);
	r = snapshot_delete(o->store, &s, flags & OVERLAID_REMOVE_FORCE, err);
	if (r >= 0 && owned) {
		int fd = take_fd(&owned->fd);

		(void)close(fd);
	}
	return r;
}

int overlaid_container_changes(struct overlaid *o, const char *name, overlaid_change_fn *fn,
			       void *arg, struct err *err)
{
	auto_overlay_plan struct overlay_plan plan = OVERLAY_PLAN_INIT;
	auto_layer_list struct layer_list layers = { 0 };
	auto_snapshot struct snapshot s = { 0 };
	auto_close int upper_fd = -EBADF;
	struct handle_changes changes = { .fn = fn, .arg = arg };
	int r = find_container(o, name, &s, err);

	if (r >= 0)
		r = snapshot_layers(o->store, s.id, &layers, err);
	if (r >= 0)
		r = chain_add_lowers(o->store, &layers, &plan, err);
	if (r < 0)
		return r;
	r = upper_fd = snapshot_open_upper(o->store, s.uid, err);
	/* Never mounted, so never changed. */
	if (r == -ENOENT)
		return 0;
	return r < 0 ? r :
		       changes_walk(upper_fd, plan.lower_fds, plan.lower_count, plan.xattrs,
				    CHANGES_OF_UPPER, handle_change, &changes, err);
}

int overlaid_container_usage(struct overlaid *o, const char *name, uint64_t *ret_disk_bytes,
			     struct err *err)
{
	auto_snapshot struct snapshot s = { 0 };
	struct tree_usage usage = { 0 };
	int r = find_container(o, name, &s, err);

	if (r < 0)
		return r;
	r = tree_usage_at(o->store->snapshots_fd, s.uid, &usage, err);
	if (r < 0 && r != -ENOENT)
		return r;
	*ret_disk_bytes = usage.disk_bytes;
	return 0;
}
