/* SPDX-License-Identifier: Apache-2.0 */
#include "graph/store/image.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "driver/base/buf.h"
#include "graph/store/blob.h"
#include "graph/store/db.h"

#define CANDIDATES_NAMED 10

/* ---- names ---- */

static int find_tag(struct store *store, const struct overlaid_reference *ref,
		    struct image_name *ret, struct err *err)
{
	auto_query struct db_query q = DB_QUERY_INIT;
	char text[REFERENCE_TEXT_MAX];
	struct overlaid_reference tagged = *ref;
	int r;

	tagged.digest[0] = '\0';
	reference_text(&tagged, text);
	r = db_query(
		store->db, &q, err,
		"SELECT image.id, image_id FROM tag JOIN image ON image.id = tag.image WHERE reference = ?",
		"s", text);
	if (r >= 0)
		r = db_step(&q, err);
	if (r <= 0)
		return r;
	ret->id = db_int(&q, 0);
	(void)snprintf(ret->image_id.text, DIGEST_TEXT_MAX, "%s", db_text(&q, 1));
	(void)snprintf(ret->reference, sizeof(ret->reference), "%s", text);
	return 1;
}

/* An image by "repo@digest": the digest is a manifest's, an image id, or what was pulled from there
 * (of several, for several platforms, the one that came last). `name` "": in no repository. */
static int find_digest(struct store *store, const char *name, const char *digest,
		       struct image_name *ret, struct err *err)
{
	auto_query struct db_query q = DB_QUERY_INIT;
	int r = db_query(store->db, &q, err,
			 "SELECT id, image_id, loaded FROM image WHERE image_id = ?1"
			 " UNION SELECT id, image_id, loaded FROM image WHERE manifest = ?1"
			 " UNION SELECT id, image_id, loaded FROM image_digest"
			 "  JOIN image ON image.id = image_digest.image WHERE reference = ?2"
			 " ORDER BY loaded DESC, id DESC",
			 "ss", digest, name);

	if (r >= 0)
		r = db_step(&q, err);
	if (r <= 0)
		return r;
	ret->id = db_int(&q, 0);
	(void)snprintf(ret->image_id.text, DIGEST_TEXT_MAX, "%s", db_text(&q, 1));
	ret->reference[0] = '\0';
	return 1;
}

static int find_reference(struct store *store, const char *name, struct image_name *ret,
			  struct err *err)
{
	struct overlaid_reference ref;
	char local[REFERENCE_TEXT_MAX + 10];
	int r;

	if (overlaid_reference_parse(name, &ref, NULL) < 0)
		return 0;
	if (ref.digest[0]) {
		(void)snprintf(local, sizeof(local), "%s@%s", ref.repository, ref.digest);
		return find_digest(store, local, ref.digest, ret, err);
	}
	r = find_tag(store, &ref, ret, err);
	if (r != 0 || strncmp(ref.repository, "docker.io/", 10) != 0 ||
	    strncmp(name, "docker.io/", 10) == 0)
		return r;
	/* No registry was named: an image made here may be meant. */
	(void)snprintf(local, sizeof(local), "localhost/%s", name);
	if (overlaid_reference_parse(local, &ref, NULL) < 0)
		return 0;
	return find_tag(store, &ref, ret, err);
}

/* Ids that begin with the hex digits: from "sha256:HEX" up to before "sha256:HEXg", as "g" follows
 * all hex digits. */
static int find_prefix(struct store *store, const char *name, struct image_name *ret,
		       struct err *err)
{
	auto_query struct db_query q = DB_QUERY_INIT;
	auto_buf struct buf candidates = { .max = 4096 };
	const char *hex = strncmp(name, "sha256:", 7) == 0 ? name + 7 : name;
	char low[DIGEST_TEXT_MAX], high[DIGEST_TEXT_MAX];
	size_t found = 0;
	int r;

	if (hex[0] == '\0' || strlen(hex) > STORE_HEX_LEN || !hex_valid(hex, strlen(hex)))
		return 0;
	(void)snprintf(low, sizeof(low), "sha256:%s", hex);
	(void)snprintf(high, sizeof(high), "sha256:%sg", hex);
	r = db_query(
		store->db, &q, err,
		"SELECT id, image_id, (SELECT min(reference) FROM tag WHERE image = image.id) FROM image"
		" WHERE image_id >= ? AND image_id < ? ORDER BY image_id",
		"ss", low, high);
	while (r >= 0 && (r = db_step(&q, err)) > 0) {
		if (found++ == 0) {
			ret->id = db_int(&q, 0);
			(void)snprintf(ret->image_id.text, DIGEST_TEXT_MAX, "%s", db_text(&q, 1));
			ret->reference[0] = '\0';
		}
		if (found <= CANDIDATES_NAMED)
			(void)buf_printf(&candidates, "\n  %s %s", db_text(&q, 1), db_text(&q, 2));
	}
	if (r < 0 || found <= 1)
		return r < 0 ? r : (int)found;
	return fail(err, -ENOTUNIQ,
		    "\"%s\" is the beginning of %zu image ids; give more of the one you mean:%s",
		    name, found, buf_text(&candidates));
}

int image_resolve(struct store *store, const char *name, struct image_name *ret, struct err *err)
{
	struct image_name found;
	int r = find_reference(store, name, &found, err);

	if (r == 0 && digest_valid(name))
		r = find_digest(store, "", name, &found, err);
	if (r == 0)
		r = find_prefix(store, name, &found, err);
	if (r < 0)
		return r;
	if (r == 0) {
		struct overlaid_reference ref;

		if (!hex_valid(name, 64) && !digest_valid(name) &&
		    overlaid_reference_parse(name, &ref, err) < 0)
			return -EINVAL;
		return fail(err, -ENOENT, "no such image: %s", name);
	}
	*ret = found;
	return 0;
}

/* ---- listing ---- */

struct listed {
	int64_t id, created, loaded;
	char image_id[DIGEST_TEXT_MAX], manifest[DIGEST_TEXT_MAX], os[32], architecture[32],
		variant[32];
	uint64_t bytes, unique_bytes;
	size_t containers;
	char **references, **digests, **layers, **chain; /* owned */
	size_t reference_count, digest_count, layer_count, chain_count;
};

struct listing {
	struct listed *images; /* by id, until sorted at the end */
	size_t count, cap;
};

static void strings_free(char **list, size_t count)
{
	for (size_t i = 0; i < count; i++)
		free(list[i]);
	free(list);
}

static void listing_release(struct listing *l)
{
	for (size_t i = 0; i < l->count; i++) {
		strings_free(l->images[i].references, l->images[i].reference_count);
		strings_free(l->images[i].digests, l->images[i].digest_count);
		strings_free(l->images[i].layers, l->images[i].layer_count);
		strings_free(l->images[i].chain, l->images[i].chain_count);
	}
	free(l->images);
}

/* Grows by doubling at powers of two: no capacity to keep. */
static int strings_add(char ***list, size_t *count, const char *text)
{
	if ((*count & (*count - 1)) == 0) {
		char **more = reallocarray(*list, *count ? *count * 2 : 1, sizeof(**list));

		if (!more)
			return -ENOMEM;
		*list = more;
	}
	(*list)[*count] = strdup(text);
	if (!(*list)[*count])
		return -ENOMEM;
	++*count;
	return 0;
}

static int read_images(struct store *store, int64_t only, struct listing *l, struct err *err)
{
	static const char all[] =
		"SELECT id, image_id, manifest, os, architecture, variant, created, loaded FROM image"
		" WHERE ?1 = 0 ORDER BY id";
	static const char one[] =
		"SELECT id, image_id, manifest, os, architecture, variant, created, loaded FROM image WHERE id = ?1";
	auto_query struct db_query q = DB_QUERY_INIT;
	int r = db_query(store->db, &q, err, only ? one : all, "i", only);

	while (r >= 0 && (r = db_step(&q, err)) > 0) {
		struct listed *image;

		if (l->count == l->cap) {
			size_t cap = l->cap ? l->cap * 2 : 16;
			struct listed *more = reallocarray(l->images, cap, sizeof(*more));

			if (!more)
				return fail_oom(err);
			l->images = more;
			l->cap = cap;
		}
		image = &l->images[l->count++];
		*image = (struct listed){ .id = db_int(&q, 0),
					  .created = db_int(&q, 6),
					  .loaded = db_int(&q, 7) };
		(void)snprintf(image->image_id, sizeof(image->image_id), "%s", db_text(&q, 1));
		(void)snprintf(image->manifest, sizeof(image->manifest), "%s", db_text(&q, 2));
		(void)snprintf(image->os, sizeof(image->os), "%s", db_text(&q, 3));
		(void)snprintf(image->architecture, sizeof(image->architecture), "%s",
			       db_text(&q, 4));
		(void)snprintf(image->variant, sizeof(image->variant), "%s", db_text(&q, 5));
	}
	return r;
}

/* Rows come ordered by image id, as the images do: a merge. */
static struct listed *advance(struct listing *l, size_t *at, int64_t id)
{
	while (*at < l->count && l->images[*at].id < id)
		++*at;
	return *at < l->count && l->images[*at].id == id ? &l->images[*at] : NULL;
}

typedef int row_fn(struct listed *image, const struct db_query *q);

static int merge(struct store *store, int64_t only, struct listing *l, const char *all,
		 const char *one, row_fn *fn, struct err *err)
{
	auto_query struct db_query q = DB_QUERY_INIT;
	size_t at = 0;
	int r = only ? db_query(store->db, &q, err, one, "i", only) :
		       db_query(store->db, &q, err, all, "");

	while (r >= 0 && (r = db_step(&q, err)) > 0) {
		struct listed *image = advance(l, &at, db_int(&q, 0));

		if (image && fn(image, &q) < 0)
			return fail_oom(err);
	}
	return r;
}

static int add_reference(struct listed *image, const struct db_query *q)
{
	return strings_add(&image->references, &image->reference_count, db_text(q, 1));
}

static int add_digest(struct listed *image, const struct db_query *q)
{
	return strings_add(&image->digests, &image->digest_count, db_text(q, 1));
}

static int add_layer(struct listed *image, const struct db_query *q)
{
	if (strings_add(&image->chain, &image->chain_count, db_text(q, 1)) < 0)
		return -ENOMEM;
	return db_is_null(q, 2) ? 0 :
				  strings_add(&image->layers, &image->layer_count, db_text(q, 2));
}

static int add_sizes(struct listed *image, const struct db_query *q)
{
	image->bytes += (uint64_t)db_int(q, 1);
	if (db_int(q, 2) == 1)
		image->unique_bytes += (uint64_t)db_int(q, 1);
	return 0;
}

static int count_containers(struct listed *image, const struct db_query *q)
{
	image->containers = (size_t)db_int(q, 1);
	return 0;
}

#define HOLDERS                                                                                      \
	"(SELECT count(DISTINCT image) FROM image_layer WHERE layer = layer.id) +"                   \
	" (SELECT count(DISTINCT s.id) FROM snapshot_layer sl JOIN snapshot s ON s.id = sl.snapshot" \
	"   WHERE sl.layer = layer.id AND (s.image IS NULL OR s.image <> e.image))"                  \
	" + (SELECT count(DISTINCT keyed) FROM keyed_layer WHERE layer = layer.id)"

static int read_details(struct store *store, int64_t only, struct listing *l, struct err *err)
{
	static const struct {
		const char *all, *one;
		row_fn *fn;
	} parts[] = {
		{ "SELECT image, reference FROM tag ORDER BY image, reference",
		  "SELECT image, reference FROM tag WHERE image = ? ORDER BY reference",
		  add_reference },
		{ "SELECT image, reference FROM image_digest ORDER BY image, reference",
		  "SELECT image, reference FROM image_digest WHERE image = ? ORDER BY reference",
		  add_digest },
		{ "SELECT image, key, diff_id FROM image_layer JOIN layer ON layer.id = layer ORDER BY image, position",
		  "SELECT image, key, diff_id FROM image_layer JOIN layer ON layer.id = layer"
		  " WHERE image = ? ORDER BY position",
		  add_layer },
		{ "SELECT e.image, layer.bytes, " HOLDERS
		  " FROM (SELECT DISTINCT image, layer FROM image_layer) e"
		  " JOIN layer ON layer.id = e.layer ORDER BY e.image",
		  "SELECT e.image, layer.bytes, " HOLDERS
		  " FROM (SELECT DISTINCT image, layer FROM image_layer WHERE image = ?) e"
		  " JOIN layer ON layer.id = e.layer",
		  add_sizes },
		{ "SELECT image, count(*) FROM snapshot WHERE image IS NOT NULL AND kind = 'active'"
		  " GROUP BY image ORDER BY image",
		  "SELECT image, count(*) FROM snapshot WHERE image = ? AND kind = 'active' GROUP BY image",
		  count_containers },
	};

	for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
		int r = merge(store, only, l, parts[i].all, parts[i].one, parts[i].fn, err);

		if (r < 0)
			return r;
	}
	return 0;
}

static int newest_first(const void *a, const void *b)
{
	const struct listed *x = a, *y = b;

	if (x->created != y->created)
		return x->created < y->created ? 1 : -1;
	return x->id < y->id ? 1 : -1;
}

static int hand_over(const struct listed *image, overlaid_image_fn *fn, void *arg)
{
	const struct overlaid_image given = {
		.id = image->image_id,
		.manifest_digest = image->manifest,
		.references = (const char *const *)image->references,
		.reference_count = image->reference_count,
		.digests = (const char *const *)image->digests,
		.digest_count = image->digest_count,
		.os = image->os,
		.architecture = image->architecture,
		.variant = image->variant,
		.created = image->created,
		.loaded = image->loaded,
		.bytes = image->bytes,
		.unique_bytes = image->unique_bytes,
		.layers = (const char *const *)image->layers,
		.layer_count = image->layer_count,
		.chain = (const char *const *)image->chain,
		.chain_count = image->chain_count,
		.container_count = image->containers,
	};

	return fn(arg, &given);
}

int image_list(struct store *store, int64_t only, overlaid_image_fn *fn, void *arg, struct err *err)
{
	AUTO(listing_release) struct listing l = { 0 };
	auto_transaction struct db_transaction t = DB_TRANSACTION_INIT;
	int r = db_begin_read(store->db, &t, err);

	if (r >= 0)
		r = read_images(store, only, &l, err);
	if (r >= 0)
		r = read_details(store, only, &l, err);
	if (r < 0)
		return r;
	db_rollback(&t);
	if (l.count > 1)
		qsort(l.images, l.count, sizeof(*l.images), newest_first);
	for (size_t i = 0; i < l.count; i++) {
		r = hand_over(&l.images[i], fn, arg);
		if (r != 0)
			return r;
	}
	return 0;
}

/* ---- changing ---- */

/* The manifest an image has now, "" where it has none or does not exist. */
static int manifest_of(struct store *store, const char *image_id, char ret[DIGEST_TEXT_MAX],
		       struct err *err)
{
	auto_query struct db_query q = DB_QUERY_INIT;
	int r = db_query(store->db, &q, err, "SELECT manifest FROM image WHERE image_id = ?", "s",
			 image_id);

	if (r >= 0)
		r = db_step(&q, err);
	if (r >= 0)
		(void)snprintf(ret, DIGEST_TEXT_MAX, "%s", r > 0 ? db_text(&q, 0) : "");
	return r;
}

/* A store of an older version has chains without what is derived. */
static int replace_chain(struct store *store, const struct image_facts *f, int64_t id,
			 struct layer_list *removed, struct err *err)
{
	auto_layer_list struct layer_list old = { 0 };
	bool same;
	int r = layer_list_query(
		store, &old, err,
		"SELECT layer.id, key FROM image_layer JOIN layer ON layer.id = layer WHERE image = ?"
		" ORDER BY position",
		id);

	if (r < 0)
		return r;
	same = old.count == f->layer_count;
	for (size_t i = 0; same && i < old.count; i++)
		same = old.items[i].id == f->layer_ids[i];
	if (same)
		return 0;
	r = db_run(store->db, err, "DELETE FROM image_layer WHERE image = ?", "i", id);
	for (size_t i = 0; r >= 0 && i < f->layer_count; i++)
		r = db_run(store->db, err,
			   "INSERT INTO image_layer(image, position, layer) VALUES(?, ?, ?)", "iii",
			   id, (int64_t)i, f->layer_ids[i]);
	return r < 0 ? r : layers_collect(store, &old, removed, err);
}

/* Which layers make which chain, and the patch of the whole one. */
static int record_chains(struct store *store, int64_t id, struct err *err)
{
	int r = db_run(store->db, err, DB_FORGET_PATCHES, "i", id);

	if (r >= 0)
		r = db_run(store->db, err, DB_RECORD_CHAINS("image = ?1"), "i", id);
	if (r >= 0)
		r = db_run(store->db, err, DB_RECORD_UNPATCHED("image = ?1"), "i", id);
	return r < 0 ? r : db_run(store->db, err, DB_RECORD_PATCH, "i", id);
}

int image_insert(struct store *store, const struct image_facts *f, int64_t *ret_id,
		 struct layer_list *removed, struct err *err)
{
	const char *manifest = f->manifest->text[0] ? f->manifest->text : NULL;
	char old[DIGEST_TEXT_MAX];
	int64_t id;
	int r = manifest_of(store, f->image_id->text, old, err);

	if (r >= 0)
		r = db_run(
			store->db, err,
			"INSERT INTO image(image_id, manifest, os, architecture, variant, created, loaded,"
			" kept_until) VALUES(?, ?, ?, ?, ?, ?, ?, nullif(?, 0)) ON CONFLICT(image_id) DO"
			" UPDATE SET manifest = coalesce(excluded.manifest, manifest),"
			" loaded = excluded.loaded,"
			" kept_until = CASE WHEN kept_until IS NULL THEN NULL ELSE excluded.kept_until END",
			"sssssiii", f->image_id->text, manifest, f->config->platform.os,
			f->config->platform.architecture, f->config->platform.variant,
			f->config->created, (int64_t)time(NULL), f->kept_until_ns);
	/* The same config under another manifest: the one that came last stays. */
	if (r >= 0 && old[0] && manifest && strcmp(old, manifest) != 0)
		r = blob_collect(store, old, err);
	if (r >= 0)
		r = db_get_int(store->db, &id, err, "SELECT id FROM image WHERE image_id = ?", "s",
			       f->image_id->text);
	if (r >= 0)
		r = replace_chain(store, f, id, removed, err);
	if (r >= 0)
		r = record_chains(store, id, err);
	if (r < 0)
		return r;
	*ret_id = id;
	return 0;
}

int image_tag(struct store *store, int64_t id, const char *reference, struct err *err)
{
	int r = db_run(store->db, err, "UPDATE image SET kept_until = NULL WHERE id = ?", "i", id);

	if (r < 0)
		return r;
	return db_run(store->db, err,
		      "INSERT INTO tag(reference, image) VALUES(?, ?)"
		      " ON CONFLICT(reference) DO UPDATE SET image = excluded.image",
		      "si", reference, id);
}

int image_name_digest(struct store *store, int64_t id, const char *reference, struct err *err)
{
	return db_run(
		store->db, err,
		"INSERT INTO image_digest(reference, image) VALUES(?, ?) ON CONFLICT DO NOTHING",
		"si", reference, id);
}

int image_untag(struct store *store, int64_t id, const char *reference, struct err *err)
{
	struct overlaid_reference ref;
	int r = db_run(store->db, err, "DELETE FROM tag WHERE reference = ?", "s", reference);

	if (r < 0 || overlaid_reference_parse(reference, &ref, NULL) < 0)
		return r;
	/* "repo:" to before "repo;" are its tags, "repo@" to before "repoA" its digests. */
	return db_run(store->db, err,
		      "DELETE FROM image_digest WHERE image = ?1"
		      " AND reference >= ?2 || '@' AND reference < ?2 || 'A'"
		      " AND NOT EXISTS(SELECT 1 FROM tag WHERE image = ?1"
		      "  AND reference >= ?2 || ':' AND reference < ?2 || ';')",
		      "is", id, ref.repository);
}

int image_references(struct store *store, int64_t id, int (*fn)(void *arg, const char *reference),
		     void *arg, struct err *err)
{
	auto_query struct db_query q = DB_QUERY_INIT;
	int r = db_query(store->db, &q, err,
			 "SELECT reference FROM tag WHERE image = ? ORDER BY reference", "i", id);

	while (r >= 0 && (r = db_step(&q, err)) > 0) {
		r = fn(arg, db_text(&q, 0));
		if (r != 0)
			return r;
	}
	return r;
}

int image_delete(struct store *store, int64_t id, struct layer_list *removed, struct err *err)
{
	static const char *const statements[] = {
		"UPDATE snapshot SET image = NULL WHERE image = ?",
		"DELETE FROM tag WHERE image = ?",
		"DELETE FROM image_digest WHERE image = ?",
		"DELETE FROM image_layer WHERE image = ?",
		"DELETE FROM image WHERE id = ?",
	};
	auto_layer_list struct layer_list layers = { 0 };
	auto_query struct db_query q = DB_QUERY_INIT;
	char config[DIGEST_TEXT_MAX], manifest[DIGEST_TEXT_MAX];
	int r = db_query(store->db, &q, err, "SELECT image_id, manifest FROM image WHERE id = ?",
			 "i", id);

	if (r >= 0)
		r = db_step(&q, err);
	if (r <= 0)
		return r < 0 ? r : fail(err, -ENOENT, "the image was removed meanwhile");
	(void)snprintf(config, sizeof(config), "%s", db_text(&q, 0));
	(void)snprintf(manifest, sizeof(manifest), "%s", db_text(&q, 1));
	db_query_release(&q);
	r = layer_list_query(
		store, &layers, err,
		"SELECT DISTINCT layer.id, key FROM image_layer JOIN layer ON layer.id = layer WHERE image = ?",
		id);
	for (size_t i = 0; r >= 0 && i < ARRAY_LEN(statements); i++)
		r = db_run(store->db, err, statements[i], "i", id);
	if (r >= 0)
		r = layers_collect(store, &layers, removed, err);
	if (r >= 0)
		r = blob_collect(store, config, err);
	if (r >= 0 && manifest[0])
		r = blob_collect(store, manifest, err);
	return r;
}
