/* SPDX-License-Identifier: Apache-2.0 */
#include "graph/ingest_internal.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "driver/base/fd.h"
#include "driver/base/pool.h"
#include "driver/probe.h"
#include "driver/unpack.h"
#include "graph/store/chain.h"
#include "graph/store/db.h"
#include "graph/store/flush.h"

/* ---- the layers ---- */

struct ingest_layer *ingest_bound_at(const struct ingest *in, size_t place)
{
	return &in->layers[in->plain_count + place];
}

struct ingest_layer *ingest_patch(const struct ingest *in)
{
	return &in->layers[in->plain_count + in->image->layer_count];
}

bool ingest_is_present(const struct ingest_layer *layer)
{
	return layer->row || layer->extracted;
}

static struct ingest_layer *find_plain(struct ingest *in, const struct digest *diff_id)
{
	for (size_t i = 0; i < in->plain_count; i++)
		if (digest_equal(&in->layers[i].diff_id, diff_id))
			return &in->layers[i];
	return NULL;
}

static void name_plain(struct ingest *in)
{
	const struct source_image *image = in->image;

	for (size_t i = 0; i < image->layer_count; i++) {
		struct ingest_layer *layer = find_plain(in, &image->parsed.diff_ids[i]);

		if (!layer) {
			layer = &in->layers[in->plain_count++];
			*layer = (struct ingest_layer){ .kind = LAYER_PLAIN,
							.key = image->parsed.diff_ids[i],
							.diff_id = image->parsed.diff_ids[i],
							.from = &image->layers[i],
							.plain = layer,
							.tree_fd = -EBADF };
		}
		in->plain_at[i] = layer;
	}
}

/* After the plain ones, whose number must be known. */
static int name_derived(struct ingest *in, struct err *err)
{
	const struct source_image *image = in->image;
	const struct digest *chain_id = NULL;
	struct ingest_layer *layer;
	int r = 0;

	for (size_t i = 0; r >= 0 && i < image->layer_count; i++) {
		layer = ingest_bound_at(in, i);
		*layer = (struct ingest_layer){ .kind = LAYER_BOUND,
						.diff_id = image->parsed.diff_ids[i],
						.from = &image->layers[i],
						.plain = in->plain_at[i],
						.tree_fd = -EBADF };
		r = chain_id_next(chain_id, &layer->diff_id, &layer->chain_id, err);
		layer->key = layer->chain_id;
		chain_id = &layer->chain_id;
	}
	layer = ingest_patch(in);
	*layer = (struct ingest_layer){ .kind = LAYER_PATCH, .tree_fd = -EBADF };
	if (r < 0 || !chain_id)
		return r;
	layer->chain_id = *chain_id;
	return chain_patch_key(chain_id, &layer->key, err);
}

int ingest_begin(struct overlaid *handle, struct source *source, const struct source_image *image,
		 struct ingest *ret, struct err *err)
{
	size_t places = image->layer_count;
	int r;

	*ret = (struct ingest)INGEST_INIT;
	ret->handle = handle;
	ret->source = source;
	ret->image = image;
	ret->layers = calloc(2 * places + 1, sizeof(*ret->layers));
	ret->plain_at = calloc(places + 1, sizeof(*ret->plain_at));
	ret->chain = calloc(places + 1, sizeof(*ret->chain));
	if (!ret->layers || !ret->plain_at || !ret->chain)
		return fail_oom(err);
	name_plain(ret);
	ret->count = ret->plain_count + places + 1;
	r = name_derived(ret, err);
	if (r >= 0)
		r = staging_make(handle->store, &ret->staging, err);
	if (r >= 0)
		r = store_locks_open(handle->store, &ret->locks, err);
	return r;
}

size_t ingest_extracted(const struct ingest *in)
{
	size_t count = 0;

	for (size_t i = 0; i < in->plain_count; i++) {
		bool extracted = in->layers[i].extracted;

		for (size_t k = 0; !extracted && k < in->image->layer_count; k++)
			extracted = in->plain_at[k] == &in->layers[i] &&
				    ingest_bound_at(in, k)->extracted;
		count += extracted;
	}
	return count;
}

/* A plain layer is wanted where the layer bound to what is beneath it is not there. */
static void mark_wanted(struct ingest *in)
{
	for (size_t i = 0; i < in->plain_count; i++)
		in->layers[i].wanted = false;
	for (size_t i = 0; i < in->image->layer_count; i++)
		if (!ingest_is_present(ingest_bound_at(in, i)))
			in->plain_at[i]->wanted = true;
}

/* ---- rows and leases ---- */

static int hold(struct ingest *in, const struct ingest_layer *layer, struct err *err)
{
	struct store *store = in->handle->store;
	int r = in->lease ? 0 : lease_make(store, in->staging.name, &in->lease, err);

	return r < 0 ? r : lease_hold(store, in->lease, layer->row, err);
}

static struct layer_facts facts_of(const struct ingest *in, const struct ingest_layer *layer)
{
	return (struct layer_facts){
		.kind = layer->kind,
		.key = &layer->key,
		.diff_id = &layer->diff_id,
		.chain_id = &layer->chain_id,
		.applied = &layer->applied,
		.media_type = layer->from ? layer->from->media_type : NULL,
		.source = source_name(in->source),
		.from_blob = layer->from && layer->from->blob.text[0] != '\0' &&
			     !digest_equal(&layer->applied.blob, &layer->diff_id),
	};
}

static int insert_extracted(struct ingest *in, bool lease, struct err *err)
{
	for (size_t i = 0; i < in->count; i++) {
		struct ingest_layer *layer = &in->layers[i];
		struct layer_facts facts;
		int r;

		if (!layer->published || layer->row)
			continue;
		facts = facts_of(in, layer);
		r = layer_insert(in->handle->store, &facts, &layer->row, err);
		if (r >= 0 && lease)
			r = hold(in, layer, err);
		if (r < 0)
			return r;
	}
	return 0;
}

/* Once for each tar, as it is found or finished. */
static int count_layer(struct ingest *in, const struct ingest_layer *layer, uint64_t bytes,
		       uint64_t entries, struct err *err)
{
	if (layer->plain->counted)
		return 0;
	layer->plain->counted = true;
	return limits_check_image(&in->handle->limits, atomic_fetch_add(&in->bytes, bytes) + bytes,
				  atomic_fetch_add(&in->entries, entries) + entries, err);
}

static int count_present(struct ingest *in, const struct ingest_layer *layer, struct err *err)
{
	struct db *db = in->handle->store->db;
	int64_t bytes = 0, entries = 0;
	int r = db_get_int(db, &bytes, err, "SELECT bytes FROM layer WHERE id = ?", "i",
			   layer->row);

	if (r >= 0)
		r = db_get_int(db, &entries, err, "SELECT entries FROM layer WHERE id = ?", "i",
			       layer->row);
	return r < 0 ? r : count_layer(in, layer, (uint64_t)bytes, (uint64_t)entries, err);
}

/* Finds the layer's row and leases it: 1 where it has one now and had none. */
static int lease_layer(struct ingest *in, struct ingest_layer *layer, struct err *err)
{
	int r;

	if (layer->row || layer->extracted)
		return 0;
	r = layer_find(in->handle->store, &layer->key, &layer->row, err);
	layer->leased = r > 0;
	if (layer->leased)
		r = hold(in, layer, err);
	if (r >= 0 && layer->leased && layer->kind != LAYER_PATCH)
		r = count_present(in, layer, err);
	return r < 0 ? r : layer->leased;
}

/* Most stores, and most images, have nothing derived. */
static int any_derived(struct ingest *in, struct err *err)
{
	int64_t one;

	return db_get_int(in->handle->store->db, &one, err,
			  "SELECT 1 FROM layer WHERE kind <> 'plain' LIMIT 1", "");
}

static const char adopted_of_chain[] =
	"SELECT layer.id, key FROM chain JOIN layer ON layer.id = chain.layer"
	" WHERE chain_id = ? AND adopted";

/* What a runtime unpacked of this chain (graph/store/keyed.h): 1 where there is something, and the layer is that
 * then. */
static int find_adopted(struct ingest *in, struct ingest_layer *layer, struct err *err)
{
	auto_query struct db_query q = DB_QUERY_INIT;
	int r = db_query(in->handle->store->db, &q, err, adopted_of_chain, "s",
			 layer->chain_id.text);

	if (r >= 0)
		r = db_step(&q, err);
	if (r > 0) {
		layer->row = db_int(&q, 0);
		(void)snprintf(layer->key.text, sizeof(layer->key.text), "%s", db_text(&q, 1));
	}
	return r;
}

/* It stands for the bound one of its place, unless the plain one is here. Its chainID says of which tar it is. */
static int lease_adopted(struct ingest *in, size_t place, struct err *err)
{
	struct ingest_layer *layer = ingest_bound_at(in, place);
	int64_t row;
	int r = ingest_is_present(layer) || ingest_is_present(layer->plain) ?
			1 :
			layer_find(in->handle->store, &layer->plain->key, &row, err);

	if (r == 0) {
		r = find_adopted(in, layer, err);
		r = r < 0 ? r : r == 0;
	}
	if (r != 0)
		return r < 0 ? r : 0;
	layer->leased = true;
	r = db_run(in->handle->store->db, err,
		   "UPDATE layer SET diff_id = ? WHERE id = ? AND diff_id IS NULL", "si",
		   layer->diff_id.text, layer->row);
	if (r >= 0)
		r = hold(in, layer, err);
	return r < 0 ? r : count_present(in, layer, err);
}

/* Whether there is something to lease: asked without the writer's lock. */
static int is_any_there(struct ingest *in, struct err *err)
{
	int derived = any_derived(in, err);
	int64_t row;
	int r = derived < 0 ? derived : 0;

	for (size_t i = 0; r == 0 && i < (derived > 0 ? in->count : in->plain_count); i++)
		if (!ingest_is_present(&in->layers[i]) && in->layers[i].key.text[0])
			r = layer_find(in->handle->store, &in->layers[i].key, &row, err);
	for (size_t i = 0; r == 0 && derived > 0 && i < in->image->layer_count; i++)
		r = db_get_int(in->handle->store->db, &row, err, adopted_of_chain, "s",
			       ingest_bound_at(in, i)->chain_id.text);
	return r;
}

/* Leases what is derived, and then, of the plain layers, those that are wanted still. */
static int lease_rows(struct ingest *in, struct err *err)
{
	int r = any_derived(in, err);

	/* Of the lowest layer, the chainID is the diffID. */
	for (size_t i = in->plain_count + 1; r > 0 && i < in->count; i++) {
		r = lease_layer(in, &in->layers[i], err);
		r = r < 0 ? r : 1;
	}
	if (r >= 0)
		r = any_derived(in, err);
	for (size_t i = 0; r > 0 && i < in->image->layer_count; i++) {
		r = lease_adopted(in, i, err);
		r = r < 0 ? r : 1;
	}
	mark_wanted(in);
	for (size_t i = 0; r >= 0 && i < in->plain_count; i++)
		if (in->layers[i].wanted)
			r = lease_layer(in, &in->layers[i], err);
	return r;
}

/* Looks which layers have rows and leases those. */
static int lease_present(struct ingest *in, struct err *err)
{
	struct store *store = in->handle->store;
	auto_transaction struct db_transaction t = DB_TRANSACTION_INIT;
	int r = is_any_there(in, err);

	mark_wanted(in);
	if (r <= 0)
		return r;
	for (size_t i = 0; i < in->count; i++)
		in->layers[i].leased = false;
	r = db_begin(store->db, &t, err);
	if (r >= 0)
		r = lease_rows(in, err);
	if (r >= 0)
		r = db_commit(&t, err);
	/* Not before: who listens may be slow (store.h, invariant 7). */
	for (size_t i = 0; r >= 0 && i < in->count; i++)
		if (in->layers[i].leased && in->layers[i].kind != LAYER_PATCH)
			handle_report(in->handle, OVERLAID_EVENT_LAYER_EXISTS,
				      in->layers[i].diff_id.text, 0, 0, NULL);
	return r < 0 ? r : 0;
}

int ingest_commit_layers(struct ingest *in, int64_t **ret_ids, struct err *err)
{
	auto_free int64_t *ids = calloc(in->chain_count + 1, sizeof(*ids));
	int r;

	if (!ids)
		return fail_oom(err);
	r = insert_extracted(in, false, err);
	for (size_t i = 0; r >= 0 && i < in->chain_count; i++)
		ids[i] = in->chain[i]->row;
	if (r < 0)
		return r;
	*ret_ids = take_ptr(ids);
	return 0;
}

int ingest_end_lease(struct ingest *in, struct layer_list *removed, struct err *err)
{
	return in->lease ? lease_drop(in->handle->store, in->lease, removed, err) : 0;
}

/* ---- extraction ---- */

/* The process that unpacks for one worker thread. */
struct worker {
	pthread_t thread;
	struct unpacker *unpacker;
};

struct extraction {
	struct ingest *in;
	struct ingest_layer **jobs; /* largest first */
	enum overlay_xattrs xattrs;
	pthread_mutex_t lock; /* of the workers */
	struct worker *workers;
	size_t worker_count, worker_cap;
};

struct job_progress {
	struct ingest *in;
	const struct ingest_layer *layer;
	uint64_t reported;
};

#define PROGRESS_STEP_BYTES ((uint64_t)1 << 20)

static uint64_t total_bytes(const struct ingest_layer *layer)
{
	return layer->from->size > 0 ? (uint64_t)layer->from->size : 0;
}

static void job_report(void *arg, uint64_t done)
{
	struct job_progress *p = arg;

	if (done - p->reported < PROGRESS_STEP_BYTES)
		return;
	p->reported = done;
	handle_report(p->in->handle, OVERLAID_EVENT_LAYER_PROGRESS, p->layer->diff_id.text, done,
		      total_bytes(p->layer), NULL);
}

static int verify(struct ingest *in, const struct ingest_layer *layer, struct err *err)
{
	const struct apply_result *a = &layer->applied;

	if (layer->from->blob.text[0] && !digest_equal(&layer->from->blob, &a->blob))
		atomic_store(&in->mismatched, layer->from);
	if (layer->from->size >= 0 && layer->from->blob.text[0] &&
	    (uint64_t)layer->from->size != a->blob_bytes)
		return fail(err, -EBADMSG, "its blob %s has %llu bytes, the manifest says %lld",
			    layer->from->blob.text, (unsigned long long)a->blob_bytes,
			    (long long)layer->from->size);
	if (layer->from->blob.text[0] && !digest_equal(&layer->from->blob, &a->blob))
		return fail(err, -EBADMSG,
			    "its blob should have digest %s, but what is stored has %s",
			    layer->from->blob.text, a->blob.text);
	if (!digest_equal(&layer->diff_id, &a->diff_id))
		return fail(
			err, -EBADMSG,
			"its uncompressed contents should have diffID %s, but what is stored has %s",
			layer->diff_id.text, a->diff_id.text);
	return 0;
}

/* What cannot be unpacked may be damage on the way, which is another thing than a layer that is no good. */
static int blame(struct ingest *in, const struct ingest_layer *layer, int code,
		 const atomic_bool *cancelled, struct err *err)
{
	struct err words = { "" };

	if (!in->source->ops->check_layer || code == APPLY_NEEDS_PARENT || code == -EFBIG ||
	    code == -ECANCELED || code == -ENOSPC || code == -ENOMEM)
		return code;
	if (in->source->ops->check_layer(in->source, layer->from, cancelled, &words) != -EBADMSG)
		return code;
	atomic_store(&in->mismatched, layer->from);
	return fail(err, -EBADMSG, "%s", words.text);
}

/* This thread's slot: a process ends with the thread that started it. */
static struct worker *find_worker(struct extraction *x)
{
	struct worker *worker = NULL;

	(void)pthread_mutex_lock(&x->lock);
	for (size_t i = 0; i < x->worker_count && !worker; i++)
		if (pthread_equal(x->workers[i].thread, pthread_self()))
			worker = &x->workers[i];
	if (!worker && x->worker_count < x->worker_cap) {
		worker = &x->workers[x->worker_count++];
		worker->thread = pthread_self();
	}
	(void)pthread_mutex_unlock(&x->lock);
	return worker;
}

static int make_workers(struct extraction *x, size_t count, struct err *err)
{
	(void)pthread_mutex_init(&x->lock, NULL);
	x->worker_cap = count;
	x->workers = calloc(count, sizeof(*x->workers));
	return x->workers ? 0 : fail_oom(err);
}

static void release_workers(struct extraction *x)
{
	for (size_t i = 0; i < x->worker_count; i++)
		unpacker_free(x->workers[i].unpacker);
	free(x->workers);
	(void)pthread_mutex_destroy(&x->lock);
}

/* The one place where a layer's tar is applied: alone, or bound to options->parent, in a process of its
 * own that may read those layers. */
static int unpack(struct extraction *x, struct ingest_layer *layer,
		  const struct source_stream *stream, const struct apply_options *options,
		  struct err *err)
{
	const struct unpack_options how = { .xattrs = x->xattrs,
					    .unconfined = handle_is_unconfined() };
	const struct unpack_input input = { .fd = stream->fd,
					    .offset = stream->offset,
					    .size = stream->size,
					    .read = stream->read,
					    .arg = stream->arg,
					    .grown = stream->grown,
					    .grown_fd = stream->grown_fd };
	struct worker *worker = find_worker(x);
	int r = 0;

	if (!worker)
		return fail(err, -EAGAIN, "more threads than were asked for");
	if (!worker->unpacker)
		r = unpacker_new(x->in->staging.fd, options->parent, &how, &worker->unpacker, err);
	if (r >= 0)
		r = unpack_layer(worker->unpacker, digest_hex(&layer->key), &input, options,
				 &layer->applied, err);
	if (r < 0) {
		unpacker_freep(&worker->unpacker);
		worker->unpacker = NULL;
	}
	return r;
}

static int apply_layer(struct extraction *x, struct ingest_layer *layer, int dir_fd,
		       const struct stack_layer *beneath, size_t count,
		       const atomic_bool *cancelled, struct err *err)
{
	struct job_progress progress = { .in = x->in, .layer = layer };
	struct apply_options options = { .xattrs = x->xattrs,
					 .limits = x->in->handle->limits.layer,
					 .cancelled = cancelled,
					 .threads = layer->from->size < 0 ||
						    layer->from->size > 262144,
					 .progress = job_report,
					 .progress_arg = &progress };
	auto_stack struct stack *parent = NULL;
	auto_stream struct source_stream stream = SOURCE_STREAM_INIT;
	auto_close int tree_fd = open_or_make_dir_at(dir_fd, "diff", 0755, err);
	int r = tree_fd < 0 ? tree_fd : source_open_layer(x->in->source, layer->from, &stream, err);

	if (r >= 0 && beneath)
		r = stack_new(beneath, count, x->xattrs, &parent, err);
	options.parent = parent;
	if (r >= 0)
		r = unpack(x, layer, &stream, &options, err);
	return r < 0 ? blame(x->in, layer, r, cancelled, err) : verify(x->in, layer, err);
}

int ingest_finish_layer(struct ingest *in, struct ingest_layer *layer, int dir_fd, struct err *err)
{
	struct layer_facts facts = facts_of(in, layer);
	int r = layer_write_json(dir_fd, &facts, err);

	if (r >= 0)
		layer->extracted = layer->implied_known = true;
	return r;
}

static void report_extracted(struct ingest *in, const struct ingest_layer *layer)
{
	char text[200];

	handle_report(in->handle, OVERLAID_EVENT_LAYER_EXTRACTED, layer->diff_id.text,
		      layer->applied.blob_bytes, total_bytes(layer), NULL);
	if (!layer->applied.dropped_xattrs)
		return;
	(void)snprintf(text, sizeof(text),
		       "dropped %llu extended attributes that a layer may not set",
		       (unsigned long long)layer->applied.dropped_xattrs);
	handle_report(in->handle, OVERLAID_EVENT_NOTE, layer->diff_id.text, 0, 0, text);
}

static int extract_layer(size_t index, void *arg, const atomic_bool *cancelled, struct err *err)
{
	struct extraction *x = arg;
	struct ingest_layer *layer = x->jobs[index];
	auto_close int dir_fd = open_or_make_dir_at(x->in->staging.fd, digest_hex(&layer->key),
						    0700, err);
	struct err words = { 0 };
	int r = dir_fd;

	if (r >= 0)
		r = apply_layer(x, layer, dir_fd, NULL, 0, cancelled, &words);
	/* It is to be bound: ingest_derive. */
	if (r == APPLY_NEEDS_PARENT) {
		layer->unable = strdup(words.text);
		return layer->unable ? 0 : fail_oom(err);
	}
	if (r < 0 && dir_fd >= 0)
		(void)fail(err, r, "%s", words.text);
	if (r >= 0)
		r = count_layer(x->in, layer, layer->applied.bytes, layer->applied.entries, err);
	if (r >= 0)
		r = ingest_finish_layer(x->in, layer, dir_fd, err);
	if (r < 0)
		return err_prefix(err, r, "layer %s", layer->diff_id.text);
	report_extracted(x->in, layer);
	return 0;
}

/* One bound layer, as a job. */
struct bound_job {
	struct extraction extraction;
	struct ingest_layer *layer;
	int dir_fd;
	const struct stack_layer *beneath;
	size_t count;
};

static int extract_bound(size_t index, void *arg, const atomic_bool *cancelled, struct err *err)
{
	struct bound_job *job = arg;

	return apply_layer(&job->extraction, job->layer, job->dir_fd, job->beneath, job->count,
			   cancelled, err);
}

int ingest_extract_bound(struct ingest *in, struct ingest_layer *layer,
			 const struct stack_layer *beneath, size_t count, struct err *err)
{
	auto_close int dir_fd = open_or_make_dir_at(in->staging.fd, digest_hex(&layer->key), 0700,
						    err);
	struct bound_job job = { .extraction = { .in = in, .lock = PTHREAD_MUTEX_INITIALIZER },
				 .layer = layer,
				 .dir_fd = dir_fd,
				 .beneath = beneath,
				 .count = count };
	int r = dir_fd < 0 ?
			dir_fd :
			probe_xattrs(in->handle->store->staging_fd, &job.extraction.xattrs, err);

	if (r >= 0)
		r = make_workers(&job.extraction, 1, err);
	if (r >= 0)
		r = pool_run(1, 1, extract_bound, &job, err);
	release_workers(&job.extraction);
	if (r >= 0)
		r = count_layer(in, layer, layer->applied.bytes, layer->applied.entries, err);
	if (r >= 0)
		r = ingest_finish_layer(in, layer, dir_fd, err);
	if (r < 0)
		return err_prefix(err, r,
				  "layer %s, which must be unpacked over the layers beneath it",
				  layer->diff_id.text);
	if (!layer->plain->extracted)
		report_extracted(in, layer);
	return 0;
}

static int largest_first(const void *a, const void *b)
{
	const struct ingest_layer *x = *(struct ingest_layer *const *)a,
				  *y = *(struct ingest_layer *const *)b;

	if (x->from->size == y->from->size)
		return 0;
	return x->from->size < y->from->size ? 1 : -1;
}

static int run_extraction(struct extraction *x, size_t count, struct err *err)
{
	int r = make_workers(x, pool_cpus(), err);
	struct flush flush;

	flush_start(x->in->handle->store, &flush);
	if (r >= 0)
		r = pool_run(count, (unsigned int)x->worker_cap, extract_layer, x, err);
	flush_stop(&flush);
	release_workers(x);
	return r;
}

/* What can be told before a byte was read. */
static int check_blob(const struct ingest *in, const struct source_layer *layer, struct err *err)
{
	uint64_t most = in->handle->limits.layer.bytes;

	if (layer->blob.text[0] && strncmp(layer->blob.text, "sha256:", 7) != 0)
		return fail(err, -EOPNOTSUPP,
			    "layer %s: its blob %s: layers are verified by sha256 only",
			    layer->diff_id.text, layer->blob.text);
	if (layer->size > 0 && most && (uint64_t)layer->size > most)
		return fail(err, -EFBIG,
			    "layer %s: its blob alone has %lld bytes, more than the %llu that are "
			    "allowed" APPLY_LIMIT_WORDS("layer-bytes"),
			    layer->diff_id.text, (long long)layer->size, (unsigned long long)most);
	return 0;
}

/* What comes from elsewhere needs room for itself, and then for what is in it. */
static int check_room(const struct ingest *in, uint64_t bytes, struct err *err)
{
	struct statvfs fs;
	uint64_t room;

	if (fstatvfs(in->staging.fd, &fs) < 0)
		return 0;
	room = (uint64_t)fs.f_bavail * fs.f_frsize;
	return bytes <= room ? 0 :
			       fail(err, -ENOSPC,
				    "%llu bytes are to be downloaded, and %s has room for %llu",
				    (unsigned long long)bytes, in->handle->store->root_path,
				    (unsigned long long)room);
}

/* Says to the source what will be read. */
static int expect_layers(struct ingest *in, struct ingest_layer *const *jobs, size_t count,
			 struct err *err)
{
	auto_free const struct source_layer **layers = calloc(count, sizeof(*layers));
	uint64_t bytes = 0;
	int r = 0;

	if (!layers)
		return fail_oom(err);
	for (size_t i = 0; r >= 0 && i < count; i++) {
		layers[i] = jobs[i]->from;
		bytes += layers[i]->size > 0 ? (uint64_t)layers[i]->size : 0;
		r = check_blob(in, layers[i], err);
	}
	if (r < 0 || !in->source->ops->expect)
		return r;
	r = check_room(in, bytes, err);
	return r < 0 ? r : in->source->ops->expect(in->source, layers, count, err);
}

static int extract_ours(struct ingest *in, struct err *err)
{
	auto_free struct ingest_layer **jobs = calloc(in->plain_count + 1, sizeof(*jobs));
	struct extraction x = { .in = in, .jobs = jobs };
	size_t count = 0;
	int r;

	if (!jobs)
		return fail_oom(err);
	for (size_t i = 0; i < in->plain_count; i++)
		if (in->layers[i].ours && !in->layers[i].extracted && !in->layers[i].unable)
			jobs[count++] = &in->layers[i];
	if (count == 0)
		return 0;
	qsort(jobs, count, sizeof(struct ingest_layer *), largest_first);
	r = expect_layers(in, jobs, count, err);
	if (r >= 0)
		r = probe_xattrs(in->handle->store->staging_fd, &x.xattrs, err);
	return r < 0 ? r : run_extraction(&x, count, err);
}

/* Invariants 1 and 2: durable, then renamed, then the rename durable; the rows come after. */
static int publish_extracted(struct ingest *in, struct err *err)
{
	struct store *store = in->handle->store;
	bool any = false;
	int r = 0;

	mark_wanted(in);
	for (size_t i = 0; r >= 0 && i < in->count; i++) {
		struct ingest_layer *layer = &in->layers[i];

		if (!layer->extracted || layer->published ||
		    (layer->kind == LAYER_PLAIN && !layer->wanted))
			continue;
		if (!any)
			r = store_sync(store, err);
		any = in->synced = true;
		if (r >= 0)
			r = layer_publish(store, in->staging.fd, &layer->key, err);
		layer->published = r >= 0;
	}
	if (r >= 0 && any && store->durable)
		r = fsync_dir_at(store->layers_fd, ".", err);
	return r;
}

/* ---- taking turns with others ---- */

int ingest_lock(struct ingest *in, struct ingest_layer *layer, const struct ingest_layer **ret_busy,
		struct err *err)
{
	int64_t row;
	int r = store_lock_object(&in->locks, digest_hex(&layer->key), STORE_LOCK_TRY, err);

	if (r == -EAGAIN) {
		*ret_busy = layer;
		return 0;
	}
	/* Its last holder may have made it just now. */
	if (r >= 0)
		r = layer_find(in->handle->store, &layer->key, &row, err);
	if (r < 0)
		return r;
	layer->ours = r == 0;
	if (!layer->ours) {
		/* To be leased in the next round. */
		store_unlock_object(&in->locks, digest_hex(&layer->key));
		*ret_busy = layer;
	}
	return 0;
}

/* Locks what can be had of the missing layers. *ret_busy: one that somebody else has, or NULL. */
static int lock_missing(struct ingest *in, const struct ingest_layer **ret_busy, struct err *err)
{
	int r = 0;

	for (size_t i = 0; r >= 0 && i < in->plain_count; i++) {
		struct ingest_layer *layer = &in->layers[i];

		if (layer->wanted && !ingest_is_present(layer) && !layer->ours && !layer->unable)
			r = ingest_lock(in, layer, ret_busy, err);
	}
	return r;
}

/* Makes what we extracted known and ours to keep, then lets go of all locks. */
static int settle(struct ingest *in, struct err *err)
{
	auto_transaction struct db_transaction t = DB_TRANSACTION_INIT;
	int r = db_begin(in->handle->store->db, &t, err);

	if (r >= 0)
		r = insert_extracted(in, true, err);
	if (r >= 0)
		r = db_commit(&t, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < in->count; i++) {
		if (in->layers[i].ours)
			store_unlock_object(&in->locks, digest_hex(&in->layers[i].key));
		in->layers[i].ours = false;
	}
	return 0;
}

static int wait_for(struct ingest *in, const struct ingest_layer *layer, struct err *err)
{
	int r;

	if (layer->kind != LAYER_PATCH)
		handle_report(in->handle, OVERLAID_EVENT_LAYER_WAITING, layer->diff_id.text, 0, 0,
			      NULL);
	r = store_lock_object(&in->locks, digest_hex(&layer->key), STORE_LOCK_WAIT, err);
	if (r >= 0)
		store_unlock_object(&in->locks, digest_hex(&layer->key));
	return r;
}

int ingest_layers(struct ingest *in, struct err *err)
{
	for (;;) {
		const struct ingest_layer *busy = NULL;
		int r = lease_present(in, err);

		if (r >= 0)
			r = lock_missing(in, &busy, err);
		if (r >= 0)
			r = extract_ours(in, err);
		if (r >= 0 && !busy)
			r = ingest_derive(in, &busy, err);
		if (r >= 0)
			r = publish_extracted(in, err);
		if (r < 0 || !busy)
			return r;
		r = settle(in, err);
		if (r >= 0)
			r = wait_for(in, busy, err);
		if (r < 0)
			return r;
	}
}

/* ---- the end ---- */

/* A lease that still stands: the caller failed. Layers that only it held go. */
static void drop_lease(struct ingest *in)
{
	struct store *store = in->handle->store;
	int64_t one;

	if (!in->lease ||
	    db_get_int(store->db, &one, NULL, "SELECT 1 FROM lease WHERE id = ? AND name = ?", "is",
		       in->lease, in->staging.name) <= 0)
		return;
	/* Should this fail, gc does it: the staging directory's lock ends with us. */
	if (lease_end(store, in->lease, in->staging.name, NULL) < 0)
		return;
	(void)trash_sweep(store, NULL);
}

/* What was renamed into place but got no row is nobody's (invariant 3): move it out while its lock
 * is ours. */
static void drop_unpublished(struct ingest *in)
{
	struct store *store = in->handle->store;
	int64_t row;

	for (size_t i = 0; i < in->count; i++) {
		const struct ingest_layer *layer = &in->layers[i];

		if (layer->ours && layer->published &&
		    layer_find(store, &layer->key, &row, NULL) == 0)
			(void)trash_move(store, store->layers_fd, digest_hex(&layer->key), NULL);
	}
}

void ingest_release(struct ingest *in)
{
	int saved = errno;

	if (!in->handle)
		return;
	drop_unpublished(in);
	drop_lease(in);
	store_locks_release(&in->locks);
	staging_release(&in->staging);
	for (size_t i = 0; i < in->count; i++) {
		apply_result_release(&in->layers[i].applied);
		auto_close_fn(&in->layers[i].tree_fd);
		free(in->layers[i].unable);
	}
	free(in->layers);
	free(in->plain_at);
	free(in->chain);
	*in = (struct ingest)INGEST_INIT;
	errno = saved;
}
