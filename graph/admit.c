/* SPDX-License-Identifier: Apache-2.0 */
#include "graph/admit.h"

#include <string.h>

#include "driver/base/clock.h"
#include "driver/base/fd.h"
#include "graph/ingest.h"
#include "graph/name/reference.h"
#include "graph/store/blob.h"
#include "graph/store/chain.h"
#include "graph/store/db.h"
#include "graph/store/image.h"

/* ---- references ---- */

void references_release(struct references *refs)
{
	for (size_t i = 0; i < refs->count; i++)
		free(refs->list[i]);
	free(refs->list);
}

int references_add(struct references *refs, const char *name, struct err *err)
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

/* ---- documents ---- */

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

/* ---- blobs of layers ---- */

/* Gives the blob its name in the store, where the source has it and its lock can be had without
 * waiting: we hold locks of layers (store.h). 1: it has it now. */
static int keep_blob(struct ingest *in, struct store_locks *locks, size_t place, struct err *err)
{
	const struct source_layer *layer = &in->image->layers[place];
	struct store *store = in->handle->store;
	auto_close int fd = in->source->ops->open_blob(in->source, layer);
	int r;

	if (fd < 0 || strncmp(layer->blob.text, "sha256:", 7) != 0)
		return fd == -ENODATA ? 0 :
		       fd < 0	      ? fail(err, fd, "blob %s: %m", layer->blob.text) :
					0;
	/* A tar that is not compressed has its layer's name, whose lock may be ours. */
	r = digest_equal(&layer->blob, &layer->diff_id) && in->plain_at[place]->ours ?
		    0 :
		    store_lock_object(locks, digest_hex(&layer->blob), STORE_LOCK_TRY, err);
	if (r >= 0)
		r = blob_adopt(store, fd, &layer->blob, in->synced, err);
	/* -ENOENT: on a filesystem without unnamed files, one that has no name cannot get one. */
	return r == -EAGAIN || r == -ENOENT ? 0 : r < 0 ? r : 1;
}

/* kept[i]: the blob of layer i is in blobs/. */
static int keep_blobs(struct ingest *in, struct store_locks *locks, bool *kept, struct err *err)
{
	int r = 0;

	for (size_t i = 0; r >= 0 && i < in->image->layer_count; i++) {
		r = keep_blob(in, locks, i, err);
		kept[i] = r > 0;
	}
	return r;
}

static int insert_kept(struct ingest *in, const bool *kept, struct err *err)
{
	int r = 0;

	for (size_t i = 0; r >= 0 && i < in->image->layer_count; i++)
		if (kept[i])
			r = blob_insert_layer(in->handle->store, &in->image->layers[i].blob,
					      in->image->layers[i].media_type,
					      in->image->layers[i].size, in->chain[i]->row, err);
	return r;
}

/* ---- the image ---- */

/* The one transaction that makes layers, image and references known. */
static int commit_image(struct ingest *in, const struct source_image *image,
			const struct admission *admission, const bool *kept, struct err *err)
{
	const struct references *refs = admission->references;
	struct store *store = in->handle->store;
	auto_transaction struct db_transaction t = DB_TRANSACTION_INIT;
	auto_layer_list struct layer_list removed = { 0 };
	auto_free int64_t *layer_ids = NULL;
	int64_t until_ns = clock_real_ns() + admission->keep_seconds * CLOCK_SECOND_NS;
	struct image_facts facts = { .image_id = &image->config_digest,
				     .manifest = &image->manifest_digest,
				     .config = &image->parsed,
				     .layer_count = in->chain_count,
				     .kept_until_ns = admission->keep_seconds ? until_ns : 0 };
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
	if (r >= 0)
		r = insert_kept(in, kept, err);
	for (size_t i = 0; r >= 0 && i < refs->count; i++)
		r = image_tag(store, id, refs->list[i], err);
	if (r >= 0 && admission->named_digest)
		r = image_name_digest(store, id, admission->named_digest, err);
	if (r >= 0)
		r = db_commit(&t, err);
	return r < 0 || !removed.count ? r : trash_sweep(store, err);
}

static int admit(struct ingest *in, const struct admission *admission, struct err *err)
{
	const struct source_image *image = in->image;
	auto_locks struct store_locks blob_locks = STORE_LOCKS_INIT;
	auto_free bool *kept = calloc(image->layer_count + 1, sizeof(*kept));
	int r = kept ? stage_blobs(in, image, err) : fail_oom(err);

	if (r >= 0)
		r = ingest_layers(in, err);
	if (r >= 0)
		r = lock_blobs(in->handle->store, image, &blob_locks, err);
	if (r >= 0 && admission->keep_blobs && in->source->ops->open_blob)
		r = keep_blobs(in, &blob_locks, kept, err);
	if (r >= 0)
		r = publish_blobs(in, image, err);
	return r < 0 ? r : commit_image(in, image, admission, kept, err);
}

int image_admit(struct overlaid *o, struct source *source, const struct source_image *image,
		const struct admission *admission, struct admitted *ret, struct err *err)
{
	const struct references *refs = admission->references;
	auto_ingest struct ingest in = INGEST_INIT;
	int r = chain_check_length(&image->parsed, o->limits.layers,
				   refs->count ? refs->list[0] : image->config_digest.text, err);

	*ret = (struct admitted){ 0 };
	if (r >= 0)
		r = ingest_begin(o, source, image, &in, err);
	if (r >= 0)
		r = admit(&in, admission, err);
	ret->mismatched = atomic_load(&in.mismatched);
	ret->extracted = r < 0 ? 0 : ingest_extracted(&in);
	return r;
}
