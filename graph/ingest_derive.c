/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "driver/base/fd.h"
#include "driver/bind.h"
#include "driver/patch.h"
#include "driver/probe.h"
#include "graph/ingest_internal.h"
#include "graph/store/chain.h"

struct derivation {
	struct ingest *in;
	enum overlay_xattrs xattrs;
	struct binder *binder;
	struct stack_layer *layers; /* room for the chain, filled topmost first */
	const struct ingest_layer **busy;
};

static void derivation_release(struct derivation *d)
{
	binder_freep(&d->binder);
	free(d->layers);
}

/* ---- layers as directories ---- */

static int know_implied(struct ingest *in, struct ingest_layer *layer, struct err *err)
{
	int r;

	if (layer->implied_known)
		return 0;
	r = layer_read_implied(in->handle->store, &layer->key, &layer->applied.implied, err);
	layer->implied_known = r >= 0;
	return r;
}

static int open_tree(struct ingest *in, struct ingest_layer *layer, struct err *err)
{
	auto_free char *path = NULL;
	auto_close int dir_fd = -EBADF;

	if (layer->tree_fd >= 0)
		return 0;
	if (layer->row || layer->published) {
		layer->tree_fd = layer_open(in->handle->store, &layer->key, &path, err);
		return layer->tree_fd;
	}
	dir_fd = open_dir_at(in->staging.fd, digest_hex(&layer->key), err);
	if (dir_fd < 0)
		return dir_fd;
	layer->tree_fd = open_dir_at(dir_fd, "diff", err);
	return layer->tree_fd;
}

/* Besides a directory a layer, and another where a process is given them, what a load has open. */
#define OTHER_DESCRIPTORS 256

/* The lowest `count` layers of the chain, topmost first. */
static int open_chain(struct derivation *d, size_t count, struct err *err)
{
	want_descriptors(2 * count + OTHER_DESCRIPTORS);
	for (size_t i = 0; i < count; i++) {
		struct ingest_layer *layer = d->in->chain[i];
		int r = know_implied(d->in, layer, err);

		if (r >= 0)
			r = open_tree(d->in, layer, err);
		if (r < 0)
			return r;
		d->layers[count - 1 - i] = (struct stack_layer){
			.fd = layer->tree_fd,
			.implied = buf_text(&layer->applied.implied),
			.implied_bytes = layer->applied.implied.len
		};
	}
	return 0;
}

/* ---- bound layers ---- */

/* Whether what stands at this place must be bound to the chain beneath it. */
static int must_bind(struct derivation *d, size_t place, struct err *err)
{
	struct ingest_layer *plain = d->in->plain_at[place];
	int r;

	if (plain->unable && place == 0)
		return fail(err, -EBADMSG, "layer %s: %s; it is the lowest", plain->diff_id.text,
			    plain->unable);
	if (plain->unable)
		return 1;
	r = know_implied(d->in, plain, err);
	if (r < 0 || place == 0 || !plain->applied.implied.len)
		return r;
	r = open_chain(d, place, err);
	if (r >= 0 && !d->binder)
		r = binder_new(d->xattrs, &d->binder, err);
	return r < 0 ? r :
		       binder_ask(d->binder, d->layers, place, buf_text(&plain->applied.implied),
				  plain->applied.implied.len, err);
}

static int make_bound(struct derivation *d, size_t place, struct err *err)
{
	struct ingest_layer *layer = ingest_bound_at(d->in, place);
	int r = ingest_lock(d->in, layer, d->busy, err);

	if (r < 0 || !layer->ours)
		return r;
	r = open_chain(d, place, err);
	return r < 0 ? r : ingest_extract_bound(d->in, layer, d->layers, place, err);
}

/* From the lowest place up, as what is beneath must be there. */
static int choose_layers(struct derivation *d, struct err *err)
{
	struct ingest *in = d->in;

	for (size_t i = 0; i < in->image->layer_count; i++) {
		struct ingest_layer *bound = ingest_bound_at(in, i);
		int r = 0, bind = ingest_is_present(bound) ? 1 : must_bind(d, i, err);

		if (bind < 0)
			return bind;
		if (bind && !ingest_is_present(bound))
			r = make_bound(d, i, err);
		if (r < 0 || *d->busy)
			return r;
		in->chain[i] = bind ? bound : in->plain_at[i];
	}
	in->chain_count = in->image->layer_count;
	return 0;
}

/* ---- the patch ---- */

static bool is_first(const struct ingest *in, size_t place)
{
	for (size_t i = 0; i < place; i++)
		if (in->chain[i] == in->chain[place])
			return false;
	return true;
}

/* `what` names the image for people. */
static int check_length(const struct ingest *in, struct err *err)
{
	const struct source_image *image = in->image;
	const char *what = image->name_count ? image->names[0] : image->config_digest.text;
	bool patched = in->chain_count > image->layer_count;
	size_t distinct = 0;

	if (in->chain_count <= OVERLAY_LOWERS_MAX)
		return 0;
	for (size_t i = 0; i < in->chain_count; i++)
		distinct += is_first(in, i);
	return chain_check_derived(distinct, patched, what, err);
}

static int write_patch(struct ingest *in, struct stack *s, const struct buf *paths, struct err *err)
{
	struct ingest_layer *patch = ingest_patch(in);
	auto_close int dir_fd = open_or_make_dir_at(in->staging.fd, digest_hex(&patch->key), 0700,
						    err);
	auto_close int tree_fd = dir_fd < 0 ? dir_fd :
					      open_or_make_dir_at(dir_fd, "diff", 0755, err);
	int r = tree_fd < 0 ? tree_fd : patch_write(s, paths, tree_fd, &patch->applied, err);

	if (r >= 0)
		r = ingest_finish_layer(in, patch, dir_fd, err);
	return r;
}

/* Puts the patch on the chain, and makes it where it is missing. */
static int put_patch(struct derivation *d, struct stack *s, const struct buf *paths,
		     struct err *err)
{
	struct ingest *in = d->in;
	struct ingest_layer *patch = ingest_patch(in);
	int r;

	in->chain[in->chain_count++] = patch;
	r = check_length(in, err);
	if (r < 0 || ingest_is_present(patch))
		return r;
	r = ingest_lock(in, patch, d->busy, err);
	return r < 0 || !patch->ours ? r : write_patch(in, s, paths, err);
}

static int patch_chain(struct derivation *d, struct err *err)
{
	auto_buf struct buf paths = { .max = (size_t)1 << 30 };
	auto_stack struct stack *s = NULL;
	struct ingest *in = d->in;
	bool implied = false;
	int r = 0;

	if (ingest_is_present(ingest_patch(in)))
		return put_patch(d, NULL, &paths, err);
	for (size_t i = 0; r >= 0 && i < in->chain_count; i++) {
		r = know_implied(in, in->chain[i], err);
		implied = implied || in->chain[i]->applied.implied.len;
	}
	if (r < 0 || !implied)
		return r < 0 ? r : check_length(in, err);
	r = open_chain(d, in->chain_count, err);
	if (r >= 0)
		r = stack_new(d->layers, in->chain_count, d->xattrs, &s, err);
	if (r >= 0)
		r = patch_find(s, &paths, err);
	if (r >= 0 && paths.len)
		return put_patch(d, s, &paths, err);
	return r < 0 ? r : check_length(in, err);
}

int ingest_derive(struct ingest *in, const struct ingest_layer **ret_busy, struct err *err)
{
	AUTO(derivation_release) struct derivation d = { .in = in, .busy = ret_busy };
	int r = probe_xattrs(in->handle->store->staging_fd, &d.xattrs, err);

	in->chain_count = 0;
	d.layers = calloc(in->image->layer_count + 1, sizeof(*d.layers));
	if (r >= 0 && !d.layers)
		r = fail_oom(err);
	if (r >= 0)
		r = choose_layers(&d, err);
	if (r >= 0 && !*ret_busy)
		r = patch_chain(&d, err);
	return r;
}
