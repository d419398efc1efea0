/* SPDX-License-Identifier: Apache-2.0 */
#include "graph/fetch/source.h"

#include <stdio.h>
#include <string.h>

#define INDEX_DEPTH_MAX 4

void source_init(struct source *s, const struct source_ops *ops,
		 const struct oci_platform *platform)
{
	s->ops = ops;
	s->any_platform = !platform;
	if (platform)
		s->platform = *platform;
	else
		oci_platform_host(&s->platform);
}

void source_freep(struct source **at)
{
	struct source *s = *at;
	char *name;

	if (!s)
		return;
	name = s->name;
	s->ops->free(s);
	free(name);
	*at = NULL;
}

const char *source_name(const struct source *s)
{
	return s->name;
}

int source_open_layer(struct source *s, const struct source_layer *layer, struct source_stream *ret,
		      struct err *err)
{
	return s->ops->open_layer(s, layer, ret, err);
}

void source_stream_close(struct source_stream *stream)
{
	if (stream->close)
		stream->close(stream->arg);
	*stream = (struct source_stream)SOURCE_STREAM_INIT;
}

/* ---- images ---- */

static void layer_release(struct source_layer *layer)
{
	free(layer->media_type);
	free(layer->member);
	for (char **url = layer->urls; url && *url; url++)
		free(*url);
	free(layer->urls);
}

void source_image_release(struct source_image *image)
{
	for (size_t i = 0; i < image->name_count; i++)
		free(image->names[i]);
	free(image->names);
	free(image->tag);
	buf_release(&image->manifest);
	free(image->manifest_media_type);
	buf_release(&image->config);
	oci_config_release(&image->parsed);
	for (size_t i = 0; i < image->layer_count; i++)
		layer_release(&image->layers[i]);
	free(image->layers);
	*image = (struct source_image){ 0 };
}

int source_image_add_name(struct source_image *image, const char *name, struct err *err)
{
	char **names;

	for (size_t i = 0; i < image->name_count; i++)
		if (strcmp(image->names[i], name) == 0)
			return 0;
	names = reallocarray(image->names, image->name_count + 1, sizeof(*names));
	if (!names)
		return fail_oom(err);
	image->names = names;
	names[image->name_count] = strdup(name);
	if (!names[image->name_count])
		return fail_oom(err);
	image->name_count++;
	return 0;
}

/* ---- documents ---- */

static const char *const document_words[] = {
	[SOURCE_INDEX] = "index",
	[SOURCE_MANIFEST] = "manifest",
	[SOURCE_CONFIG] = "config",
};

/* Reads a document and holds it against its descriptor. */
static int read_document(struct source *s, const struct oci_descriptor *d,
			 enum source_document kind, struct buf *ret, struct err *err)
{
	const char *what = document_words[kind];
	struct digest have;
	int r;

	if (strncmp(d->digest.text, "sha256:", 7) != 0)
		return fail(err, -EOPNOTSUPP, "%s: %s %s: documents are kept by sha256 only",
			    s->name, what, d->digest.text);
	r = s->ops->read_document(s, d, kind, ret, err);
	if (r < 0)
		return err_prefix(err, r, "%s %s", what, d->digest.text);
	if ((int64_t)ret->len != d->size)
		return fail(err, -EBADMSG, "%s: %s %s has %zu bytes, its descriptor says %lld",
			    s->name, what, d->digest.text, ret->len, (long long)d->size);
	r = digest_of(d->digest.text, buf_text(ret), ret->len, &have, err);
	if (r < 0)
		return r;
	if (!digest_equal(&have, &d->digest))
		return fail(err, -EBADMSG,
			    "%s: %s should have digest %s, but what is stored has %s", s->name,
			    what, d->digest.text, have.text);
	return 0;
}

/* The best manifest of an index for the platform wanted; of equals the first. */
static int choose_platform(struct source *s, const struct oci_index *index,
			   const struct oci_descriptor **ret, struct err *err)
{
	auto_buf struct buf have = { .max = 4096 };
	char text[OCI_PLATFORM_TEXT_MAX];
	const struct oci_descriptor *best = NULL;
	int best_match = 0;

	for (size_t i = 0; i < index->count; i++) {
		const struct oci_descriptor *d = &index->manifests[i];
		enum oci_kind kind = oci_kind_of(d->media_type);
		int match = oci_platform_match(&s->platform, &d->platform);

		/* Attestations are manifests for platform unknown/unknown. */
		if ((kind != OCI_MANIFEST && kind != OCI_INDEX && d->media_type[0]) ||
		    strcmp(d->platform.os, "unknown") == 0)
			continue;
		oci_platform_text(&d->platform, text);
		(void)buf_printf(&have, "%s%s", have.len ? ", " : "", text);
		if (match > best_match) {
			best = d;
			best_match = match;
		}
	}
	if (!best) {
		oci_platform_text(&s->platform, text);
		return fail(err, -ENOENT, "%s: no image for platform %s; it holds: %s", s->name,
			    text, have.len ? buf_text(&have) : "no image at all");
	}
	*ret = best;
	return 0;
}

/* What a manifest says of a layer that may not be distributed: the registry need not have it. */
static int check_foreign(struct source *s, const struct oci_manifest *m, size_t i, struct err *err)
{
	const struct oci_descriptor *layer = &m->layers[i];

	if (oci_kind_of(layer->media_type) != OCI_LAYER_FOREIGN || s->foreign)
		return 0;
	return fail(err, -EOPNOTSUPP,
		    "%s: layer %zu (%s) is non-distributable (%s): its contents are elsewhere%s%.300s;"
		    " 'overlaid pull --allow-foreign-layers' gets it there",
		    s->name, i, layer->digest.text, layer->media_type, layer->urls ? ", at " : "",
		    layer->urls ? layer->urls[0] : "");
}

static int layers_from_manifest(struct source *s, struct source_image *image,
				struct oci_manifest *m, struct err *err)
{
	int r = 0;

	image->layers = calloc(m->layer_count + 1, sizeof(*image->layers));
	if (!image->layers)
		return fail_oom(err);
	for (size_t i = 0; r >= 0 && i < m->layer_count; i++) {
		struct source_layer *layer = &image->layers[i];

		r = check_foreign(s, m, i, err);
		image->layer_count++;
		layer->blob = m->layers[i].digest;
		layer->size = m->layers[i].size;
		layer->media_type = take_ptr(m->layers[i].media_type);
		layer->urls = take_ptr(m->layers[i].urls);
		layer->member = strdup("");
		if (!layer->member)
			return fail_oom(err);
	}
	return r;
}

static int check_platform(struct source *s, const struct source_image *image, struct err *err)
{
	char want[OCI_PLATFORM_TEXT_MAX], have[OCI_PLATFORM_TEXT_MAX];

	if (s->any_platform || oci_platform_match(&s->platform, &image->parsed.platform) > 0)
		return 0;
	oci_platform_text(&s->platform, want);
	oci_platform_text(&image->parsed.platform, have);
	return fail(err, -ENOENT, "%s: the image is for platform %s, not %s", s->name, have, want);
}

static int read_manifest(struct source *s, const struct oci_descriptor *d,
			 struct source_image *image, struct err *err)
{
	auto_oci_manifest struct oci_manifest m = { 0 };
	char what[DIGEST_TEXT_MAX + 16];
	int r;

	image->manifest.max = OCI_DOCUMENT_MAX;
	r = read_document(s, d, SOURCE_MANIFEST, &image->manifest, err);
	if (r < 0)
		return r;
	(void)snprintf(what, sizeof(what), "manifest %s", d->digest.text);
	r = oci_manifest_parse(image->manifest.data, image->manifest.len, what, &m, err);
	if (r < 0)
		return err_prefix(err, r, "%s", s->name);
	image->manifest_digest = d->digest;
	image->manifest_media_type = take_ptr(m.media_type);
	image->config_digest = m.config.digest;
	image->config.max = OCI_CONFIG_MAX;
	r = read_document(s, &m.config, SOURCE_CONFIG, &image->config, err);
	if (r < 0)
		return r;
	(void)snprintf(what, sizeof(what), "config %s", m.config.digest.text);
	r = oci_config_parse(image->config.data, image->config.len, what, &image->parsed, err);
	if (r < 0)
		return err_prefix(err, r, "%s", s->name);
	return layers_from_manifest(s, image, &m, err);
}

/* Descends through nested indexes to one manifest. */
static int read_entry(struct source *s, const struct oci_descriptor *entry, int depth,
		      struct source_image *image, struct err *err)
{
	auto_oci_index struct oci_index index = { 0 };
	auto_buf struct buf text = { .max = OCI_DOCUMENT_MAX };
	const struct oci_descriptor *chosen = NULL;
	int r;

	if (oci_kind_of(entry->media_type) == OCI_MANIFEST || !entry->media_type[0])
		return read_manifest(s, entry, image, err);
	if (oci_kind_of(entry->media_type) != OCI_INDEX)
		return fail(err, -EINVAL,
			    "%s: %s is of type %.200s, neither a manifest nor an index", s->name,
			    entry->digest.text, entry->media_type);
	if (depth == INDEX_DEPTH_MAX)
		return fail(err, -EBADMSG, "%s: indexes nested more than %d deep", s->name,
			    INDEX_DEPTH_MAX);
	r = read_document(s, entry, SOURCE_INDEX, &text, err);
	if (r >= 0)
		r = oci_index_parse(text.data, text.len, entry->digest.text, &index, err);
	if (r >= 0)
		r = choose_platform(s, &index, &chosen, err);
	return r < 0 ? r : read_entry(s, chosen, depth + 1, image, err);
}

int source_read_manifest(struct source *s, const struct oci_descriptor *entry,
			 struct source_image *image, struct err *err)
{
	return read_entry(s, entry, 0, image, err);
}

int source_check_image(struct source *s, struct source_image *image, struct err *err)
{
	if (image->layer_count != image->parsed.diff_id_count)
		return fail(err, -EBADMSG,
			    "%s: image %s: the config lists %zu layers, the manifest %zu", s->name,
			    image->config_digest.text, image->parsed.diff_id_count,
			    image->layer_count);
	for (size_t i = 0; i < image->layer_count; i++)
		image->layers[i].diff_id = image->parsed.diff_ids[i];
	return check_platform(s, image, err);
}
