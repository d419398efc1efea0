/* SPDX-License-Identifier: Apache-2.0 */
/*
 * load: images of an archive or layout come into the store. Here graph/fetch and graph/store meet.
 */
#include <stdio.h>
#include <string.h>

#include "driver/base/fd.h"
#include "graph/fetch/source.h"
#include "graph/handle.h"
#include "graph/ingest.h"
#include "graph/name/reference.h"
#include "graph/store/blob.h"
#include "graph/store/chain.h"
#include "graph/store/db.h"
#include "graph/store/image.h"

/* ---- references ---- */

struct references {
	char **list; /* normalised; owned */
	size_t count;
};

static void references_release(struct references *refs)
{
	for (size_t i = 0; i < refs->count; i++)
		free(refs->list[i]);
	free(refs->list);
}

static int references_add(struct references *refs, const char *name, struct err *err)
{
	struct overlaid_reference ref;
	char text[REFERENCE_TEXT_MAX];
	char **more;
	int r = overlaid_reference_parse(name, &ref, err);

	if (r < 0)
		return r;
	/* A digest names itself; only tags are kept. */
	ref.digest[0] = '\0';
	if (!ref.tag[0])
		return 0;
	reference_text(&ref, text);
	more = reallocarray(refs->list, refs->count + 1, sizeof(*more));
	if (!more)
		return fail_oom(err);
	refs->list = more;
	more[refs->count] = strdup(text);
	if (!more[refs->count])
		return fail_oom(err);
	refs->count++;
	return 0;
}

/* "localhost/<base name of the path>": lower-case, other characters as "-", without a suffix such
 * as ".tar.gz". "" where nothing is left. */
static void name_from_path(const char *path, char ret[256])
{
	char base[128] = "";
	size_t len = strlen(path), from, out = 0;

	while (len > 1 && path[len - 1] == '/')
		len--;
	for (from = len; from > 0 && path[from - 1] != '/'; from--)
		;
	for (size_t i = from; i < len && path[i] != '.' && out < sizeof(base) - 1; i++) {
		char c = path[i] >= 'A' && path[i] <= 'Z' ? (char)(path[i] + ('a' - 'A')) : path[i];
		bool plain = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');

		if (plain || (out > 0 && base[out - 1] != '-'))
			base[out++] = plain ? c : '-';
	}
	while (out > 0 && base[out - 1] == '-')
		out--;
	base[out] = '\0';
	(void)snprintf(ret, 256, "%s%s", out ? "localhost/" : "", base);
}

static int collect_references(const struct overlaid_load *load, const struct source_image *image,
			      struct references *refs, struct err *err)
{
	char repository[256] = "", text[REFERENCE_TEXT_MAX];
	int r = 0;

	for (size_t i = 0; r >= 0 && i < image->name_count; i++)
		r = references_add(refs, image->names[i], err);
	if (r < 0 || !image->tag)
		return r;
	if (load->name)
		(void)snprintf(repository, sizeof(repository), "%s", load->name);
	else if (load->path)
		name_from_path(load->path, repository);
	if (!repository[0])
		return 0;
	(void)snprintf(text, sizeof(text), "%s:%s", repository, image->tag);
	return references_add(refs, text, err);
}

/* ---- which entries ---- */

static bool same_reference(const char *name, const char *wanted)
{
	struct overlaid_reference a, b;

	if (strcmp(name, wanted) == 0)
		return true;
	return overlaid_reference_parse(name, &a, NULL) == 0 &&
	       overlaid_reference_parse(wanted, &b, NULL) == 0 &&
	       strcmp(a.repository, b.repository) == 0 && strcmp(a.tag, b.tag) == 0;
}

static bool entry_matches(const struct source *source, size_t index, const char *wanted)
{
	const char *alias = source_entry_name(source, index);

	for (size_t n = 1; alias; alias = source_entry_alias(source, index, n++))
		if (same_reference(alias, wanted))
			return true;
	return false;
}

static void list_entries(const struct source *source, struct buf *ret)
{
	for (size_t i = 0; i < source_count(source); i++) {
		const char *name = source_entry_name(source, i);

		(void)buf_printf(ret, "%s%s", i ? ", " : "", name[0] ? name : "(no name)");
	}
}

/* Entries of a layout that differ in platform only are one image. */
static bool layout_has_one_name(const struct source *source)
{
	for (size_t i = 1; i < source_count(source); i++)
		if (strcmp(source_entry_name(source, i), source_entry_name(source, 0)) != 0)
			return false;
	return true;
}

static int check_choice(const struct overlaid_load *load, const struct source *source,
			struct err *err)
{
	auto_buf struct buf names = { .max = 4096 };
	bool found = false;

	if (source_count(source) == 0)
		return fail(err, -ENOENT, "%s: holds no image", source_name(source));
	for (size_t i = 0; load->reference && i < source_count(source); i++)
		found = found || entry_matches(source, i, load->reference);
	list_entries(source, &names);
	if (load->reference && !found)
		return fail(err, -ENOENT, "%s: no image named %s in it; it holds: %s",
			    source_name(source), load->reference, buf_text(&names));
	if (!load->reference && !load->all_tags && source_is_layout(source) &&
	    !layout_has_one_name(source))
		return fail(err, -EINVAL,
			    "%s: holds several images (%s); name one with --ref, or take --all-tags",
			    source_name(source), buf_text(&names));
	return 0;
}

/* ---- one image ---- */

static int lock_blobs(struct store *store, const struct source_image *image,
		      struct store_locks *locks, struct err *err)
{
	const char *first = digest_hex(&image->config_digest),
		   *second = digest_hex(&image->manifest_digest);
	int r = store_locks_open(store, locks, err);

	/* In one order for everybody. */
	if (second[0] && strcmp(second, first) < 0) {
		const char *swap = first;

		first = second;
		second = swap;
	}
	if (r >= 0)
		r = store_lock_object(locks, first, STORE_LOCK_WAIT, err);
	if (r >= 0 && second[0])
		r = store_lock_object(locks, second, STORE_LOCK_WAIT, err);
	return r;
}

static int stage_blobs(struct ingest *in, const struct source_image *image, struct err *err)
{
	int r = blob_stage(&in->staging, &image->config_digest, buf_text(&image->config),
			   image->config.len, err);

	if (r >= 0 && image->manifest_digest.text[0])
		r = blob_stage(&in->staging, &image->manifest_digest, buf_text(&image->manifest),
			       image->manifest.len, err);
	return r;
}

static int publish_blobs(struct ingest *in, const struct source_image *image, struct err *err)
{
	struct store *store = in->handle->store;
	int r = blob_publish(store, &in->staging, &image->config_digest, in->synced, err);

	if (r >= 0 && image->manifest_digest.text[0])
		r = blob_publish(store, &in->staging, &image->manifest_digest, in->synced, err);
	if (r >= 0 && store->durable)
		r = fsync_dir_at(store->blobs_fd, ".", err);
	return r;
}

/* The one transaction that makes layers, image and references known. */
static int commit_image(struct ingest *in, const struct source_image *image,
			const struct references *refs, struct err *err)
{
	struct store *store = in->handle->store;
	auto_transaction struct db_transaction t = DB_TRANSACTION_INIT;
	auto_layer_list struct layer_list removed = { 0 };
	auto_free int64_t *layer_ids = NULL;
	struct image_facts facts = { .image_id = &image->config_digest,
				     .manifest = &image->manifest_digest,
				     .config = &image->parsed,
				     .layer_count = in->chain_count };
	int64_t id = 0;
	int r = db_begin(store->db, &t, err);

	if (r >= 0)
		r = ingest_commit_layers(in, &layer_ids, err);
	if (r >= 0)
		r = blob_insert(store, &image->config_digest,
				"application/vnd.oci.image.config.v1+json", image->config.len, err);
	if (r >= 0 && image->manifest_digest.text[0])
		r = blob_insert(store, &image->manifest_digest, image->manifest_media_type,
				image->manifest.len, err);
	facts.layer_ids = layer_ids;
	if (r >= 0)
		r = image_insert(store, &facts, &id, &removed, err);
	if (r >= 0)
		r = ingest_end_lease(in, &removed, err);
	for (size_t i = 0; r >= 0 && i < refs->count; i++)
		r = image_tag(store, id, refs->list[i], err);
	if (r >= 0)
		r = db_commit(&t, err);
	return r < 0 || !removed.count ? r : trash_sweep(store, err);
}

static int load_image(struct overlaid *o, struct source *source, const struct source_image *image,
		      const struct references *refs, size_t *ret_extracted, struct err *err)
{
	auto_ingest struct ingest in = INGEST_INIT;
	auto_locks struct store_locks blob_locks = STORE_LOCKS_INIT;
	int r = chain_check_length(&image->parsed, o->limits.layers,
				   refs->count ? refs->list[0] : image->config_digest.text, err);

	if (r >= 0)
		r = ingest_begin(o, source, image, &in, err);
	if (r >= 0)
		r = stage_blobs(&in, image, err);
	if (r >= 0)
		r = ingest_layers(&in, err);
	if (r >= 0)
		r = lock_blobs(o->store, image, &blob_locks, err);
	if (r >= 0)
		r = publish_blobs(&in, image, err);
	if (r >= 0)
		r = commit_image(&in, image, refs, err);
	if (r < 0)
		return r;
	*ret_extracted = ingest_extracted(&in);
	return 0;
}

static int load_entry(struct overlaid *o, const struct overlaid_load *load, struct source *source,
		      size_t index, overlaid_loaded_fn *fn, void *arg, struct err *err)
{
	AUTO(references_release) struct references refs = { 0 };
	auto_source_image struct source_image image = { 0 };
	struct overlaid_loaded loaded;
	size_t extracted = 0;
	int r = source_read_image(source, index, &image, err);

	if (r >= 0)
		r = collect_references(load, &image, &refs, err);
	if (r >= 0)
		r = load_image(o, source, &image, &refs, &extracted, err);
	if (r < 0 || !fn)
		return r;
	loaded = (struct overlaid_loaded){
		.image_id = image.config_digest.text,
		.references = (const char *const *)refs.list,
		.reference_count = refs.count,
		.layers = image.layer_count,
		.layers_extracted = extracted,
	};
	return fn(arg, &loaded);
}

static int load_entries(struct overlaid *o, const struct overlaid_load *load, struct source *source,
			overlaid_loaded_fn *fn, void *arg, struct err *err)
{
	for (size_t i = 0; i < source_count(source); i++) {
		int r;

		if (load->reference && !entry_matches(source, i, load->reference))
			continue;
		r = source_is_best(source, i, err);
		if (r > 0)
			r = load_entry(o, load, source, i, fn, arg, err);
		if (r != 0)
			return r;
	}
	return 0;
}

int overlaid_load(struct overlaid *o, const struct overlaid_load *load, overlaid_loaded_fn *fn,
		  void *arg, struct err *err)
{
	auto_staging struct staging spool = STAGING_INIT;
	auto_source struct source *source = NULL;
	struct oci_platform platform;
	struct source_options options = { .path = load->path, .fd = load->fd };
	int r;

	if (load->platform) {
		r = oci_platform_parse(load->platform, &platform, err);
		if (r < 0)
			return r;
		options.platform = &platform;
	}
	r = staging_make(o->store, &spool, err);
	if (r < 0)
		return r;
	options.spool_fd = spool.fd;
	r = source_open(&options, &source, err);
	if (r >= 0)
		r = check_choice(load, source, err);
	return r < 0 ? r : load_entries(o, load, source, fn, arg, err);
}
