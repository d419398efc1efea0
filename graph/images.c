/* SPDX-License-Identifier: Apache-2.0 */
/*
 * images: listing, naming, mounting and removing them.
 */
#include <stdio.h>
#include <string.h>

#include "graph/handle.h"
#include "graph/name/reference.h"
#include "graph/store/blob.h"
#include "graph/store/db.h"
#include "graph/store/image.h"
#include "graph/store/snapshot.h"

#define NAMED_MAX	  5 /* containers named in words */
#define VIEW_ATTEMPTS_MAX 3

int overlaid_images(struct overlaid *o, overlaid_image_fn *fn, void *arg, struct err *err)
{
	return image_list(o->store, 0, fn, arg, err);
}

int overlaid_image_get(struct overlaid *o, const char *name, overlaid_image_fn *fn, void *arg,
		       struct err *err)
{
	struct image_name image = { 0 };
	int r = image_resolve(o->store, name, &image, err);

	return r < 0 ? r : image_list(o->store, image.id, fn, arg, err);
}

int overlaid_image_blob(struct overlaid *o, const char *name, enum overlaid_blob which,
			char **ret_bytes, size_t *ret_len, struct err *err)
{
	auto_query struct db_query q = DB_QUERY_INIT;
	auto_buf struct buf bytes = { .max = 0 };
	struct image_name image = { 0 };
	size_t len;
	char *taken;
	int r = image_resolve(o->store, name, &image, err);

	if (r >= 0)
		r = db_query(o->store->db, &q, err,
			     "SELECT image_id, manifest FROM image WHERE id = ?", "i", image.id);
	if (r >= 0)
		r = db_step(&q, err);
	if (r <= 0)
		return r < 0 ? r : fail(err, -ENOENT, "no such image: %s", name);
	if (which == OVERLAID_BLOB_MANIFEST && db_is_null(&q, 1))
		return fail(err, -ENODATA, "image %s came without a manifest", name);
	r = blob_read(o->store, db_text(&q, which == OVERLAID_BLOB_MANIFEST ? 1 : 0), &bytes, err);
	if (r < 0)
		return r;
	len = bytes.len;
	taken = buf_take(&bytes);
	if (!taken)
		return fail_oom(err);
	*ret_bytes = taken;
	*ret_len = len;
	return 0;
}

/* ---- references ---- */

int overlaid_image_tag(struct overlaid *o, const char *name, const char *reference, struct err *err)
{
	auto_transaction struct db_transaction t = DB_TRANSACTION_INIT;
	struct overlaid_reference ref;
	struct image_name image = { 0 };
	char text[REFERENCE_TEXT_MAX];
	int r = overlaid_reference_parse(reference, &ref, err);

	if (r >= 0 && ref.digest[0])
		r = fail(err, -EINVAL,
			 "%s: a reference with a digest cannot be given to an image; the digest is the image's own",
			 reference);
	if (r >= 0)
		r = db_begin(o->store->db, &t, err);
	if (r >= 0)
		r = image_resolve(o->store, name, &image, err);
	if (r < 0)
		return r;
	reference_text(&ref, text);
	r = image_tag(o->store, image.id, text, err);
	return r < 0 ? r : db_commit(&t, err);
}

int overlaid_image_untag(struct overlaid *o, const char *reference, struct err *err)
{
	auto_transaction struct db_transaction t = DB_TRANSACTION_INIT;
	struct image_name image = { 0 };
	int r = db_begin(o->store->db, &t, err);

	if (r >= 0)
		r = image_resolve(o->store, reference, &image, err);
	if (r >= 0 && !image.reference[0])
		r = fail(err, -EINVAL,
			 "%s is an id or digest, not a reference; name the reference to be removed",
			 reference);
	if (r >= 0)
		r = image_untag(o->store, image.id, image.reference, err);
	return r < 0 ? r : db_commit(&t, err);
}

/* ---- removing ---- */

struct users {
	struct store *store;
	struct buf idle, mounted; /* names for the words */
	size_t idle_count, mounted_count;
	bool image_mounted;
	struct err *err;
};

static void name_user(struct buf *list, size_t *count, const struct snapshot *s)
{
	if (++*count <= NAMED_MAX)
		(void)buf_printf(list, "%s%s (%.12s)", list->len ? ", " : "", s->name, s->uid);
	else if (*count == NAMED_MAX + 1)
		(void)buf_puts(list, ", ...");
}

static int sort_user(void *arg, const struct snapshot *s)
{
	auto_mount_state struct snapshot_mount_state state = { 0 };
	struct users *u = arg;
	int r;

	/* A running ephemeral container is mounted, in its own namespace and without a row. */
	if (s->ephemeral && !snapshot_is_abandoned(u->store, s)) {
		name_user(&u->mounted, &u->mounted_count, s);
		return 0;
	}
	r = snapshot_mount_state(u->store, s->id, &state, u->err);
	if (r < 0)
		return r;
	if (s->view) {
		u->image_mounted = u->image_mounted || state.mounted;
		return 0;
	}
	if (state.mounted)
		name_user(&u->mounted, &u->mounted_count, s);
	else
		name_user(&u->idle, &u->idle_count, s);
	return 0;
}

static int refuse_users(const struct users *u, const char *name, bool force, struct err *err)
{
	if (u->image_mounted)
		return fail(err, -EBUSY,
			    "image %s is mounted; unmount it first: overlaid image umount %s", name,
			    name);
	if (u->mounted_count > 0)
		return fail(err, -EBUSY,
			    "image %s is used by %zu mounted container%s: %s; "
			    "-f cannot force this: unmount and remove %s first",
			    name, u->mounted_count, u->mounted_count == 1 ? "" : "s",
			    buf_text(&u->mounted), u->mounted_count == 1 ? "it" : "them");
	if (u->idle_count > 0 && !force)
		return fail(err, -EBUSY,
			    "image %s is used by %zu container%s: %s; remove %s first, "
			    "or use -f to remove the image and let %s keep %s layers",
			    name, u->idle_count, u->idle_count == 1 ? "" : "s", buf_text(&u->idle),
			    u->idle_count == 1 ? "it" : "them", u->idle_count == 1 ? "it" : "them",
			    u->idle_count == 1 ? "its" : "their");
	return 0;
}

static int check_users(struct store *store, int64_t image, const char *name, bool force,
		       struct err *err)
{
	struct users u = {
		.store = store, .idle = { .max = 4096 }, .mounted = { .max = 4096 }, .err = err
	};
	int r = snapshot_list(store, NULL, image, sort_user, &u, err);

	if (r >= 0)
		r = refuse_users(&u, name, force, err);
	buf_release(&u.idle);
	buf_release(&u.mounted);
	return r;
}

struct removing {
	bool force;
	int64_t passed_before_ns; /* 0: whenever */
};

struct removal {
	char **references; /* owned */
	size_t reference_count;
	struct layer_list layers;
	struct digest image_id;
	bool image_deleted;
};

static void removal_release(struct removal *removal)
{
	for (size_t i = 0; i < removal->reference_count; i++)
		free(removal->references[i]);
	free(removal->references);
	layer_list_release(&removal->layers);
}

static int note_reference(void *arg, const char *reference)
{
	struct removal *removal = arg;
	char **more = reallocarray(removal->references, removal->reference_count + 1,
				   sizeof(*more));

	if (!more)
		return -ENOMEM;
	removal->references = more;
	more[removal->reference_count] = strdup(reference);
	if (!more[removal->reference_count])
		return -ENOMEM;
	removal->reference_count++;
	return 0;
}

/* Views of images that are not mounted (a reboot, a dead namespace) hold nothing any more: they go
 * with the image. */
static int drop_stale_view(void *arg, const struct snapshot *s)
{
	struct users *u = arg;
	auto_mount_state struct snapshot_mount_state state = { 0 };
	int r;

	if (!s->view && !(s->ephemeral && snapshot_is_abandoned(u->store, s)))
		return 0;
	r = s->view ? snapshot_mount_state(u->store, s->id, &state, u->err) : 0;
	if (r < 0 || state.mounted)
		return r;
	/* Somebody removed or mounted it meanwhile: check_users looks again. */
	r = snapshot_delete(u->store, s, false, u->err);
	return r == -ENOENT || r == -EBUSY ? 0 : r;
}

/* Who gives it a name, or wants it as an image like others, does that in a transaction too. */
static int check_passed(struct store *store, int64_t image, int64_t before_ns, struct err *err)
{
	int64_t one;
	int r = db_get_int(store->db, &one, err,
			   "SELECT 1 FROM image WHERE id = ? AND kept_until < ?", "ii", image,
			   before_ns);

	return r == 0 ? fail(err, -ENOENT, "the image is to be kept") : r;
}

static int remove_rows(struct overlaid *o, const char *name, const struct removing *how,
		       struct removal *removal, struct err *err)
{
	auto_transaction struct db_transaction t = DB_TRANSACTION_INIT;
	struct image_name image = { 0 };
	bool force = how->force;
	int r = db_begin(o->store->db, &t, err);

	if (r >= 0)
		r = image_resolve(o->store, name, &image, err);
	if (r >= 0 && how->passed_before_ns)
		r = check_passed(o->store, image.id, how->passed_before_ns, err);
	if (r >= 0)
		r = image_references(o->store, image.id, note_reference, removal, err);
	if (r < 0)
		return r;
	removal->image_id = image.image_id;
	if (image.reference[0] && removal->reference_count > 1) {
		/* Others remain: only this one goes. */
		for (size_t i = 0; i < removal->reference_count; i++)
			free(removal->references[i]);
		removal->reference_count = 0;
		r = note_reference(removal, image.reference);
		if (r >= 0)
			r = image_untag(o->store, image.id, image.reference, err);
		return r < 0 ? r : db_commit(&t, err);
	}
	if (removal->reference_count > 1 && !force)
		return fail(err, -EBUSY,
			    "image %s has %zu references; remove them one by one, or all with -f",
			    name, removal->reference_count);
	r = check_users(o->store, image.id, name, force, err);
	if (r >= 0)
		r = image_delete(o->store, image.id, &removal->layers, err);
	removal->image_deleted = true;
	return r < 0 ? r : db_commit(&t, err);
}

static int report_removal(const struct removal *removal, overlaid_removed_fn *fn, void *arg)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < removal->reference_count; i++)
		r = fn(arg, OVERLAID_UNTAGGED, removal->references[i]);
	if (r == 0 && removal->image_deleted)
		r = fn(arg, OVERLAID_DELETED_IMAGE, removal->image_id.text);
	for (size_t i = 0; r == 0 && i < removal->layers.count; i++)
		r = fn(arg, OVERLAID_DELETED_LAYER, removal->layers.items[i].key.text);
	return r;
}

static int remove_image(struct overlaid *o, const char *name, const struct removing *how,
			overlaid_removed_fn *fn, void *arg, struct err *err)
{
	AUTO(removal_release) struct removal removal = { 0 };
	struct users users = { .store = o->store, .err = err };
	struct image_name image = { 0 };
	int r = image_resolve(o->store, name, &image, err);

	if (r >= 0)
		r = snapshot_list(o->store, NULL, image.id, drop_stale_view, &users, err);
	if (r >= 0)
		r = remove_rows(o, name, how, &removal, err);
	if (r >= 0)
		r = trash_sweep(o->store, err);
	if (r < 0 || !fn)
		return r;
	return report_removal(&removal, fn, arg);
}

int overlaid_image_remove(struct overlaid *o, const char *name, unsigned int flags,
			  overlaid_removed_fn *fn, void *arg, struct err *err)
{
	const struct removing how = { .force = flags & OVERLAID_REMOVE_FORCE };

	return remove_image(o, name, &how, fn, arg, err);
}

int handle_remove_passed(struct overlaid *o, const char *image_id, int64_t before_ns,
			 struct err *err)
{
	const struct removing how = { .passed_before_ns = before_ns };

	return remove_image(o, image_id, &how, NULL, NULL, err);
}

/* ---- mounting ---- */

static int mount_view(struct overlaid *o, const char *name, char **ret_path, struct err *err)
{
	auto_snapshot struct snapshot view = { 0 };
	struct snapshot_spec spec = { .scope = SNAPSHOT_SCOPE_IMAGES,
				      .labels = "{}",
				      .view = true };
	struct image_name image = { 0 };
	char uid[STORE_HEX_LEN + 1];
	int r = image_resolve(o->store, name, &image, err);

	if (r < 0)
		return r;
	r = snapshot_resolve(o->store, SNAPSHOT_SCOPE_IMAGES, image.image_id.text, "image mount",
			     &view, NULL);
	if (r == -ENOENT) {
		spec.name = spec.image_id = image.image_id.text;
		spec.image = image.id;
		spec.image_name = name;
		r = snapshot_create(o->store, &spec, uid, NULL, err);
		/* -EEXIST: another process was faster. */
		if (r >= 0 || r == -EEXIST)
			r = snapshot_resolve(o->store, SNAPSHOT_SCOPE_IMAGES, image.image_id.text,
					     "image mount", &view, err);
	}
	if (r < 0)
		return r;
	return snapshot_mount(o->store, &view, ret_path, err);
}

int overlaid_image_mount(struct overlaid *o, const char *name, char **ret_path, struct err *err)
{
	int r = -ENOENT;

	/* A view that is not mounted yet is nobody's: a collector may take it away just before. */
	for (int attempt = 0; attempt < VIEW_ATTEMPTS_MAX && r == -ENOENT; attempt++)
		r = mount_view(o, name, ret_path, err);
	return r;
}

int overlaid_image_unmount(struct overlaid *o, const char *name, struct err *err)
{
	auto_snapshot struct snapshot view = { 0 };
	struct image_name image = { 0 };
	int r = image_resolve(o->store, name, &image, err);

	if (r < 0)
		return r;
	if (snapshot_resolve(o->store, SNAPSHOT_SCOPE_IMAGES, image.image_id.text, "image mount",
			     &view, NULL) < 0)
		return fail(err, -EINVAL, "image %s is not mounted", name);
	r = snapshot_unmount(o->store, &view, err);
	if (r < 0)
		return err_prefix(err, r, "image %s", name);
	/* Somebody may have removed it, or mounted it again: ours is undone all the same. */
	r = snapshot_delete(o->store, &view, false, err);
	return r == -ENOENT || r == -EBUSY ? 0 : r;
}

struct mounts {
	struct overlaid *o;
	int (*fn)(void *arg, const struct overlaid_image_mount_info *mount);
	void *arg;
	struct err *err;
};

static int list_view(void *arg, const struct snapshot *s)
{
	struct mounts *m = arg;
	auto_mount_state struct snapshot_mount_state state = { 0 };
	struct overlaid_image_mount_info info = { .image_id = s->image_id };
	int r = snapshot_mount_state(m->o->store, s->id, &state, m->err);

	if (r < 0 || !state.mounted || state.elsewhere)
		return r;
	info.path = state.target;
	return m->fn(m->arg, &info);
}

int overlaid_image_mounts(struct overlaid *o,
			  int (*fn)(void *arg, const struct overlaid_image_mount_info *mount),
			  void *arg, struct err *err)
{
	struct mounts m = { .o = o, .fn = fn, .arg = arg, .err = err };

	return snapshot_list(o->store, SNAPSHOT_SCOPE_IMAGES, 0, list_view, &m, err);
}
