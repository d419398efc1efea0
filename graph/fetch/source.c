/* SPDX-License-Identifier: Apache-2.0 */
#include "graph/fetch/source.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "driver/base/auto.h"
#include "driver/base/json.h"
#include "graph/fetch/legacy.h"
#include "graph/fetch/members.h"
#include "graph/fetch/spool.h"

#define INDEX_DEPTH_MAX	  4
#define LAYOUT_MARKER_MAX 4096

struct source {
	struct members *members;
	char *name;
	bool any_platform; /* none was asked for */
	bool legacy;	   /* docker save before 1.10 */
	struct oci_platform platform;
	struct json *docker; /* manifest.json, or what legacy_list() makes of "repositories"; NULL:
				a layout */
	struct oci_index index; /* of index.json; empty where there is none */
};

/* ---- small helpers ---- */

void source_stream_close(struct source_stream *stream)
{
	if (stream->close)
		stream->close(stream->arg);
	*stream = (struct source_stream){ 0 };
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
	for (size_t i = 0; i < image->layer_count; i++) {
		free(image->layers[i].media_type);
		free(image->layers[i].member);
	}
	free(image->layers);
	*image = (struct source_image){ 0 };
}

static int add_name(struct source_image *image, const char *name, struct err *err)
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

static char *blob_member(const struct digest *digest)
{
	char *name;
	size_t algorithm_len = (size_t)(digest_hex(digest) - digest->text) - 1;

	if (asprintf(&name, "blobs/%.*s/%s", (int)algorithm_len, digest->text, digest_hex(digest)) <
	    0)
		return NULL;
	return name;
}

/* Reads a blob and holds it against its descriptor. */
static int read_blob(struct source *s, const struct oci_descriptor *d, const char *what,
		     struct buf *ret, struct err *err)
{
	auto_free char *member = blob_member(&d->digest);
	struct digest have;
	int r;

	if (!member)
		return fail_oom(err);
	r = members_read(s->members, member, ret, err);
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

/* ---- opening ---- */

/* The marker of a layout says which: {"imageLayoutVersion": "1.0.0"}. */
static int check_layout_version(struct source *s, struct err *err)
{
	auto_buf struct buf text = { .max = LAYOUT_MARKER_MAX };
	auto_json struct json *j = NULL;
	const char *version;
	int r = members_read(s->members, "oci-layout", &text, err);

	if (r >= 0)
		r = json_parse(text.data, text.len, LAYOUT_MARKER_MAX, "oci-layout", &j, err);
	if (r >= 0)
		r = json_need_string(j, "/imageLayoutVersion", "oci-layout", &version, err);
	if (r >= 0 && strncmp(version, "1.", 2) != 0)
		r = fail(err, -EOPNOTSUPP,
			 "oci-layout: version %.40s of the layout is not known, only 1.0.0",
			 version);
	return r;
}

static int read_layout(struct source *s, struct err *err)
{
	auto_buf struct buf text = { .max = OCI_DOCUMENT_MAX };
	int r = check_layout_version(s, err);

	if (r >= 0)
		r = members_read(s->members, "index.json", &text, err);
	if (r >= 0)
		r = oci_index_parse(text.data, text.len, "index.json", &s->index, err);
	return r < 0 ? err_prefix(err, r, "%s", s->name) : 0;
}

static int read_docker(struct source *s, struct err *err)
{
	auto_buf struct buf text = { .max = OCI_DOCUMENT_MAX };
	int r = members_read(s->members, "manifest.json", &text, err);

	if (r >= 0)
		r = json_parse(text.data, text.len, OCI_DOCUMENT_MAX, "manifest.json", &s->docker,
			       err);
	if (r >= 0 && s->docker->type != JSON_ARRAY)
		r = fail(err, -EBADMSG, "manifest.json: not an array");
	return r < 0 ? err_prefix(err, r, "%s", s->name) : 0;
}

static int detect(struct source *s, const char *path, struct err *err)
{
	bool layout = members_has(s->members, "oci-layout") &&
		      members_has(s->members, "index.json");
	bool docker = members_has(s->members, "manifest.json");
	int r = 0;

	s->legacy = !docker && !layout && members_has(s->members, "repositories");

	if (asprintf(&s->name, "%s:%s", docker || s->legacy ? "docker-archive" : "oci", path) < 0) {
		s->name = NULL;
		return fail_oom(err);
	}
	if (!docker && !layout && !s->legacy)
		return fail(err, -EBADMSG,
			    "%s: holds no image: neither manifest.json (docker save, podman save) "
			    "nor oci-layout and index.json (OCI layout)",
			    path);
	if (layout)
		r = read_layout(s, err);
	if (r >= 0 && docker)
		r = read_docker(s, err);
	if (r >= 0 && s->legacy) {
		r = legacy_list(s->members, &s->docker, err);
		r = r < 0 ? err_prefix(err, r, "%s", s->name) : r;
	}
	return r;
}

int source_open(const struct source_options *o, struct source **ret, struct err *err)
{
	auto_source struct source *s = calloc(1, sizeof(*s));
	const char *path = o->path ? o->path : "standard input";
	auto_close int opened = -EBADF;
	int fd, r;

	if (!s)
		return fail_oom(err);
	s->any_platform = !o->platform;
	if (o->platform)
		s->platform = *o->platform;
	else
		oci_platform_host(&s->platform);
	if (o->path) {
		opened = open(o->path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
		if (opened < 0)
			return fail(err, -errno, "open %s: %m", o->path);
	}
	fd = spool_open(o->path ? opened : o->fd, o->spool_fd, path, err);
	if (fd < 0)
		return fd;
	r = members_open(fd, path, &s->members, err);
	if (r >= 0)
		r = detect(s, path, err);
	if (r < 0)
		return r;
	*ret = take_ptr(s);
	return 0;
}

void source_freep(struct source **source)
{
	struct source *s = *source;

	if (!s)
		return;
	members_freep(&s->members);
	json_free(s->docker);
	oci_index_release(&s->index);
	free(s->name);
	free(s);
	*source = NULL;
}

const char *source_name(const struct source *s)
{
	return s->name;
}

size_t source_count(const struct source *s)
{
	return s->docker ? s->docker->count : s->index.count;
}

bool source_is_layout(const struct source *s)
{
	return !s->docker;
}

const char *source_entry_name(const struct source *s, size_t index)
{
	const struct oci_descriptor *d;

	if (s->docker)
		return json_string_or(s->docker->items[index], "/RepoTags/0", "");
	d = &s->index.manifests[index];
	if (d->image_name)
		return d->image_name;
	return d->ref_name ? d->ref_name : "";
}

/* ---- an image of a layout ---- */

/* "latest" or "v1.2": a tag; anything with a slash, a colon or an at-sign is a reference. */
static int name_from_descriptor(struct source_image *image, const struct oci_descriptor *d,
				struct err *err)
{
	if (d->image_name)
		return add_name(image, d->image_name, err);
	if (!d->ref_name)
		return 0;
	if (strpbrk(d->ref_name, "/:@"))
		return add_name(image, d->ref_name, err);
	image->tag = strdup(d->ref_name);
	return image->tag ? 0 : fail_oom(err);
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

const char *source_entry_alias(const struct source *s, size_t index, size_t n)
{
	const struct json *tags = s->docker ? json_get(s->docker->items[index], "/RepoTags") : NULL;

	if (!tags || tags->type != JSON_ARRAY || n >= tags->count)
		return NULL;
	return tags->items[n]->type == JSON_STRING ? tags->items[n]->string : "";
}

static int entry_fit(const struct source *s, const struct oci_descriptor *d)
{
	if (oci_kind_of(d->media_type) == OCI_INDEX && !d->platform.os[0])
		return 50;
	return oci_platform_match(&s->platform, &d->platform);
}

int source_is_best(const struct source *s, size_t index, struct err *err)
{
	auto_buf struct buf have = { .max = 4096 };
	const char *name = source_entry_name(s, index);
	char text[OCI_PLATFORM_TEXT_MAX];
	bool best = true, alone = true;
	int fit, best_fit = 0;

	if (s->docker)
		return 1;
	fit = entry_fit(s, &s->index.manifests[index]);
	for (size_t i = 0; i < s->index.count; i++) {
		int other = entry_fit(s, &s->index.manifests[i]);

		if (strcmp(source_entry_name(s, i), name) != 0)
			continue;
		oci_platform_text(&s->index.manifests[i].platform, text);
		(void)buf_printf(&have, "%s%s", have.len ? ", " : "", text);
		alone = alone && i == index;
		/* Without a name, two that fit equally well are two images. */
		best = best && (other < fit || (other == fit && (i >= index || !name[0])));
		best_fit = other > best_fit ? other : best_fit;
	}
	if (alone)
		return 1;
	if (best_fit > 0)
		return best;
	oci_platform_text(&s->platform, text);
	return fail(err, -ENOENT, "%s: no image for platform %s; it holds: %s", s->name, text,
		    buf_text(&have));
}

static int layers_from_manifest(struct source_image *image, const struct oci_manifest *m,
				struct err *err)
{
	image->layers = calloc(m->layer_count + 1, sizeof(*image->layers));
	if (!image->layers)
		return fail_oom(err);
	for (size_t i = 0; i < m->layer_count; i++) {
		struct source_layer *layer = &image->layers[i];

		image->layer_count++;
		layer->blob = m->layers[i].digest;
		layer->size = m->layers[i].size;
		layer->media_type = strdup(m->layers[i].media_type);
		layer->member = blob_member(&layer->blob);
		if (!layer->media_type || !layer->member)
			return fail_oom(err);
	}
	return 0;
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

static int check_layer_count(struct source *s, const struct source_image *image, struct err *err)
{
	if (image->layer_count == image->parsed.diff_id_count)
		return 0;
	return fail(err, -EBADMSG, "%s: image %s: the config lists %zu layers, the manifest %zu",
		    s->name, image->config_digest.text, image->parsed.diff_id_count,
		    image->layer_count);
}

static int read_manifest(struct source *s, const struct oci_descriptor *d,
			 struct source_image *image, struct err *err)
{
	auto_oci_manifest struct oci_manifest m = { 0 };
	char what[DIGEST_TEXT_MAX + 16];
	int r;

	image->manifest.max = OCI_DOCUMENT_MAX;
	r = read_blob(s, d, "manifest", &image->manifest, err);
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
	r = read_blob(s, &m.config, "config", &image->config, err);
	if (r < 0)
		return r;
	(void)snprintf(what, sizeof(what), "config %s", m.config.digest.text);
	r = oci_config_parse(image->config.data, image->config.len, what, &image->parsed, err);
	if (r < 0)
		return err_prefix(err, r, "%s", s->name);
	return layers_from_manifest(image, &m, err);
}

/* Descends from an entry of index.json through nested indexes to one manifest. */
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
	r = read_blob(s, entry, "index", &text, err);
	if (r >= 0)
		r = oci_index_parse(text.data, text.len, entry->digest.text, &index, err);
	if (r >= 0)
		r = choose_platform(s, &index, &chosen, err);
	return r < 0 ? r : read_entry(s, chosen, depth + 1, image, err);
}

/* ---- an image of a docker-archive ---- */

/* Where index.json has the image too (Docker 25 and later), its manifest is the better source: it
 * has digests of the blobs. */
static int read_from_index(struct source *s, const char *config_member, struct source_image *ret,
			   struct err *err)
{
	const char *slash = strrchr(config_member, '/');
	const char *hex = slash ? slash + 1 : config_member;
	struct err why = { "" };
	int r;

	for (size_t i = 0; i < s->index.count; i++) {
		auto_source_image struct source_image image = { 0 };
		const struct oci_descriptor *d = &s->index.manifests[i];

		if (oci_kind_of(d->media_type) != OCI_MANIFEST &&
		    oci_kind_of(d->media_type) != OCI_INDEX)
			continue;
		r = read_entry(s, d, 0, &image, &why);
		/* Damage is damage. But an index may list platforms whose blobs were not saved, and
		 * things that are no images: those are passed over. */
		if (r == -EBADMSG)
			return fail(err, r, "%s", why.text);
		if (r < 0 || strcmp(digest_hex(&image.config_digest), hex) != 0)
			continue;
		*ret = image;
		image = (struct source_image){ 0 };
		return 1;
	}
	return 0;
}

static int read_docker_config(struct source *s, const char *member, struct source_image *image,
			      struct err *err)
{
	const char *slash = strrchr(member, '/');
	const char *base = slash ? slash + 1 : member;
	int r;

	image->config.max = OCI_CONFIG_MAX;
	r = members_read(s->members, member, &image->config, err);
	if (r >= 0)
		r = digest_of("sha256", buf_text(&image->config), image->config.len,
			      &image->config_digest, err);
	if (r < 0)
		return r;
	/* The name is the image id: "<hex>.json", or "blobs/sha256/<hex>". */
	if (strcspn(base, ".") == 64 && strncmp(base, digest_hex(&image->config_digest), 64) != 0)
		return fail(
			err, -EBADMSG,
			"%s: config %s should have digest sha256:%.64s, but what is stored has %s",
			s->name, member, base, image->config_digest.text);
	r = oci_config_parse(image->config.data, image->config.len, member, &image->parsed, err);
	return r < 0 ? err_prefix(err, r, "%s", s->name) : 0;
}

static int read_docker_layers(struct source *s, const struct json *list, struct source_image *image,
			      struct err *err)
{
	image->layers = calloc(list->count + 1, sizeof(*image->layers));
	if (!image->layers)
		return fail_oom(err);
	for (size_t i = 0; i < list->count; i++) {
		struct source_layer *layer = &image->layers[i];

		if (list->items[i]->type != JSON_STRING)
			return fail(err, -EBADMSG, "%s: manifest.json: /Layers/%zu: not a string",
				    s->name, i);
		image->layer_count++;
		layer->member = strdup(list->items[i]->string);
		layer->media_type = strdup("");
		if (!layer->member || !layer->media_type)
			return fail_oom(err);
		layer->size = members_size(s->members, layer->member);
		if (!members_has(s->members, layer->member))
			return fail(err, -EBADMSG, "%s: layer %zu: no file %s in it", s->name, i,
				    layer->member);
	}
	return 0;
}

static int read_docker_members(struct source *s, const struct json *entry,
			       struct source_image *image, struct err *err)
{
	const struct json *layers;
	const char *config;
	int r = json_need_string(entry, "/Config", "manifest.json", &config, err);

	if (r >= 0)
		r = json_need_array(entry, "/Layers", "manifest.json", &layers, err);
	if (r < 0)
		return err_prefix(err, r, "%s", s->name);
	r = read_from_index(s, config, image, err);
	if (r == 0)
		r = read_docker_config(s, config, image, err);
	if (r >= 0 && !image->layers)
		r = read_docker_layers(s, layers, image, err);
	return r;
}

static int read_docker_image(struct source *s, const struct json *entry, struct source_image *image,
			     struct err *err)
{
	const struct json *tags;
	const char *top = s->legacy ? json_string_or(entry, "/Top", "") : NULL;
	int r = top ? legacy_read_image(s->members, top, image, err) :
		      read_docker_members(s, entry, image, err);

	if (r < 0)
		return top ? err_prefix(err, r, "%s", s->name) : r;
	tags = json_get(entry, "/RepoTags");
	for (size_t i = 0; r >= 0 && tags && tags->type == JSON_ARRAY && i < tags->count; i++)
		if (tags->items[i]->type == JSON_STRING)
			r = add_name(image, tags->items[i]->string, err);
	return r;
}

int source_read_image(struct source *s, size_t index, struct source_image *ret, struct err *err)
{
	auto_source_image struct source_image image = { 0 };
	int r;

	if (s->docker) {
		r = read_docker_image(s, s->docker->items[index], &image, err);
	} else {
		r = name_from_descriptor(&image, &s->index.manifests[index], err);
		if (r >= 0)
			r = read_entry(s, &s->index.manifests[index], 0, &image, err);
	}
	if (r >= 0)
		r = check_layer_count(s, &image, err);
	if (r >= 0)
		r = check_platform(s, &image, err);
	if (r < 0)
		return r;
	*ret = image;
	image = (struct source_image){ 0 };
	return 0;
}

int source_open_layer(struct source *s, const struct source_layer *layer, struct source_stream *ret,
		      struct err *err)
{
	return members_stream(s->members, layer->member, layer->size, ret, err);
}
