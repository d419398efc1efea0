/* SPDX-License-Identifier: Apache-2.0 */
#include "graph/fetch/archive.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "driver/base/auto.h"
#include "driver/base/json.h"
#include "graph/fetch/legacy.h"
#include "graph/fetch/members.h"
#include "graph/fetch/spool.h"

#define LAYOUT_MARKER_MAX 4096

struct archive {
	struct source source;
	struct members *members;
	bool legacy;	     /* docker save before 1.10 */
	bool dir;	     /* skopeo's dir:, with manifest.json as the only entry of `index` */
	struct json *docker; /* manifest.json, or what legacy_list() makes of "repositories"; NULL:
				a layout */
	struct oci_index index; /* of index.json; empty where there is none */
};

/* ---- as a source ---- */

static struct archive *of(struct source *source)
{
	return (struct archive *)source;
}

static const struct archive *of_const(const struct source *source)
{
	return (const struct archive *)source;
}

/* Where a blob is. The caller's; NULL: out of memory. */
static char *blob_member(const struct archive *s, const struct digest *digest, bool manifest)
{
	size_t algorithm_len = (size_t)(digest_hex(digest) - digest->text) - 1;
	char *name;
	int r = s->dir ? asprintf(&name, "%s%s", digest_hex(digest),
				  manifest ? ".manifest.json" : "") :
			 asprintf(&name, "blobs/%.*s/%s", (int)algorithm_len, digest->text,
				  digest_hex(digest));

	return r < 0 ? NULL : name;
}

static int read_document(struct source *source, const struct oci_descriptor *d,
			 enum source_document kind, struct buf *ret, struct err *err)
{
	struct archive *s = of(source);
	auto_free char *member = blob_member(s, &d->digest, kind != SOURCE_CONFIG);

	if (!member)
		return fail_oom(err);
	if (s->dir && digest_equal(&d->digest, &s->index.manifests[0].digest))
		return members_read(s->members, "manifest.json", ret, err);
	return members_read(s->members, member, ret, err);
}

static int open_layer(struct source *source, const struct source_layer *layer,
		      struct source_stream *ret, struct err *err)
{
	struct archive *s = of(source);
	auto_free char *member = layer->member[0] ? strdup(layer->member) :
						    blob_member(s, &layer->blob, false);

	if (!member)
		return fail_oom(err);
	return members_stream(s->members, member, layer->size, ret, err);
}

static void archive_free(struct source *source)
{
	struct archive *s = of(source);

	members_freep(&s->members);
	json_free(s->docker);
	oci_index_release(&s->index);
	free(s);
}

static const struct source_ops archive_ops = {
	.read_document = read_document,
	.open_layer = open_layer,
	.free = archive_free,
};

/* ---- opening ---- */

/* The marker of a layout says which: {"imageLayoutVersion": "1.0.0"}. */
static int check_layout_version(struct archive *s, struct err *err)
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

static int read_layout(struct archive *s, struct err *err)
{
	auto_buf struct buf text = { .max = OCI_DOCUMENT_MAX };
	int r = check_layout_version(s, err);

	if (r >= 0)
		r = members_read(s->members, "index.json", &text, err);
	return r < 0 ? r : oci_index_parse(text.data, text.len, "index.json", &s->index, err);
}

/* dir:, whose manifest.json is a manifest or an index. */
static int read_dir(struct archive *s, const struct buf *text, struct err *err)
{
	struct oci_descriptor *entry = calloc(1, sizeof(*entry));
	const char *media_type;
	int r = oci_document_type(text->data, text->len, "manifest.json", &media_type, err);

	if (!entry)
		return fail_oom(err);
	s->dir = true;
	s->index = (struct oci_index){ .manifests = entry, .count = 1 };
	entry->size = (int64_t)text->len;
	if (r >= 0)
		r = digest_of("sha256", buf_text(text), text->len, &entry->digest, err);
	if (r < 0)
		return r;
	entry->media_type = strdup(media_type);
	return entry->media_type ? 0 : fail_oom(err);
}

static int read_docker(struct archive *s, struct err *err)
{
	auto_buf struct buf text = { .max = OCI_DOCUMENT_MAX };
	auto_json struct json *j = NULL;
	int r = members_read(s->members, "manifest.json", &text, err);

	if (r >= 0)
		r = json_parse(text.data, text.len, OCI_DOCUMENT_MAX, "manifest.json", &j, err);
	if (r >= 0 && j->type == JSON_OBJECT && !s->index.count)
		r = read_dir(s, &text, err);
	else if (r >= 0 && j->type == JSON_ARRAY)
		s->docker = take_ptr(j);
	else if (r >= 0)
		r = fail(err, -EBADMSG, "manifest.json: not an array");
	return r;
}

static int detect(struct archive *s, const char *path, struct err *err)
{
	bool layout = members_has(s->members, "oci-layout") &&
		      members_has(s->members, "index.json");
	bool docker = members_has(s->members, "manifest.json");
	struct err why = { "" };
	int r = 0;

	s->legacy = !docker && !layout && members_has(s->members, "repositories");
	if (!docker && !layout && !s->legacy)
		return fail(err, -EBADMSG,
			    "%s: holds no image: neither manifest.json (docker save, podman save) "
			    "nor oci-layout and index.json (OCI layout)",
			    path);
	if (layout)
		r = read_layout(s, &why);
	if (r >= 0 && docker)
		r = read_docker(s, &why);
	if (r >= 0 && s->legacy)
		r = legacy_list(s->members, &s->docker, &why);
	if (asprintf(&s->source.name, "%s:%s",
		     s->dir		 ? "dir" :
		     docker || s->legacy ? "docker-archive" :
					   "oci",
		     path) < 0) {
		s->source.name = NULL;
		return fail_oom(err);
	}
	return r < 0 ? fail(err, r, "%s: %s", s->source.name, why.text) : 0;
}

static int open_members(struct archive *s, const struct archive_options *o, struct err *err)
{
	const char *path = o->path ? o->path : "standard input";
	auto_close int opened = -EBADF;
	int fd, r;

	if (o->path) {
		opened = open(o->path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
		if (opened < 0)
			return fail(err, -errno, "open %s: %m", o->path);
	}
	fd = spool_open(o->path ? opened : o->fd, o->spool_fd, path, err);
	if (fd < 0)
		return fd;
	r = members_open(fd, path, &s->members, err);
	return r < 0 ? r : detect(s, path, err);
}

int archive_open(const struct archive_options *o, struct source **ret, struct err *err)
{
	struct archive *s = calloc(1, sizeof(*s));
	auto_source struct source *source = NULL;
	int r;

	if (!s)
		return fail_oom(err);
	source = &s->source;
	source_init(source, &archive_ops, o->platform);
	r = open_members(s, o, err);
	if (r < 0)
		return r;
	*ret = take_ptr(source);
	return 0;
}

size_t archive_count(const struct source *source)
{
	const struct archive *s = of_const(source);

	return s->docker ? s->docker->count : s->index.count;
}

bool archive_is_layout(const struct source *source)
{
	return !of_const(source)->docker;
}

const char *archive_entry_name(const struct source *source, size_t index)
{
	const struct archive *s = of_const(source);
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
		return source_image_add_name(image, d->image_name, err);
	if (!d->ref_name)
		return 0;
	if (strpbrk(d->ref_name, "/:@"))
		return source_image_add_name(image, d->ref_name, err);
	image->tag = strdup(d->ref_name);
	return image->tag ? 0 : fail_oom(err);
}

const char *archive_entry_alias(const struct source *source, size_t index, size_t n)
{
	const struct archive *s = of_const(source);
	const struct json *tags = s->docker ? json_get(s->docker->items[index], "/RepoTags") : NULL;

	/* What skopeo calls an image of a layout, beside containerd's name for it. */
	if (!s->docker && n == 1 && s->index.manifests[index].image_name)
		return s->index.manifests[index].ref_name;
	if (!tags || tags->type != JSON_ARRAY || n >= tags->count)
		return NULL;
	return tags->items[n]->type == JSON_STRING ? tags->items[n]->string : "";
}

static int entry_fit(const struct archive *s, const struct oci_descriptor *d)
{
	if (oci_kind_of(d->media_type) == OCI_INDEX && !d->platform.os[0])
		return 50;
	return oci_platform_match(&s->source.platform, &d->platform);
}

int archive_is_best(const struct source *source, size_t index, struct err *err)
{
	const struct archive *s = of_const(source);
	auto_buf struct buf have = { .max = 4096 };
	const char *name = archive_entry_name(source, index);
	char text[OCI_PLATFORM_TEXT_MAX];
	bool best = true, alone = true;
	int fit, best_fit = 0;

	if (s->docker)
		return 1;
	fit = entry_fit(s, &s->index.manifests[index]);
	for (size_t i = 0; i < s->index.count; i++) {
		int other = entry_fit(s, &s->index.manifests[i]);

		if (strcmp(archive_entry_name(source, i), name) != 0)
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
	oci_platform_text(&s->source.platform, text);
	return fail(err, -ENOENT, "%s: no image for platform %s; it holds: %s", s->source.name,
		    text, buf_text(&have));
}

/* ---- an image of a docker-archive ---- */

/* Where index.json has the image too (Docker 25 and later), its manifest is the better source: it
 * has digests of the blobs. */
static int read_from_index(struct archive *s, const char *config_member, struct source_image *ret,
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
		r = source_read_manifest(&s->source, d, &image, &why);
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

static int read_docker_config(struct archive *s, const char *member, struct source_image *image,
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
			s->source.name, member, base, image->config_digest.text);
	r = oci_config_parse(image->config.data, image->config.len, member, &image->parsed, err);
	return r < 0 ? err_prefix(err, r, "%s", s->source.name) : 0;
}

static int read_docker_layers(struct archive *s, const struct json *list,
			      struct source_image *image, struct err *err)
{
	image->layers = calloc(list->count + 1, sizeof(*image->layers));
	if (!image->layers)
		return fail_oom(err);
	for (size_t i = 0; i < list->count; i++) {
		struct source_layer *layer = &image->layers[i];

		if (list->items[i]->type != JSON_STRING)
			return fail(err, -EBADMSG, "%s: manifest.json: /Layers/%zu: not a string",
				    s->source.name, i);
		image->layer_count++;
		layer->member = strdup(list->items[i]->string);
		layer->media_type = strdup("");
		if (!layer->member || !layer->media_type)
			return fail_oom(err);
		layer->size = members_size(s->members, layer->member);
		if (!members_has(s->members, layer->member))
			return fail(err, -EBADMSG, "%s: layer %zu: no file %s in it",
				    s->source.name, i, layer->member);
	}
	return 0;
}

static int read_docker_members(struct archive *s, const struct json *entry,
			       struct source_image *image, struct err *err)
{
	const struct json *layers;
	const char *config;
	int r = json_need_string(entry, "/Config", "manifest.json", &config, err);

	if (r >= 0)
		r = json_need_array(entry, "/Layers", "manifest.json", &layers, err);
	if (r < 0)
		return err_prefix(err, r, "%s", s->source.name);
	r = read_from_index(s, config, image, err);
	if (r == 0)
		r = read_docker_config(s, config, image, err);
	if (r >= 0 && !image->layers)
		r = read_docker_layers(s, layers, image, err);
	return r;
}

static int read_docker_image(struct archive *s, const struct json *entry,
			     struct source_image *image, struct err *err)
{
	const struct json *tags;
	const char *top = s->legacy ? json_string_or(entry, "/Top", "") : NULL;
	int r = top ? legacy_read_image(s->members, top, image, err) :
		      read_docker_members(s, entry, image, err);

	if (r < 0)
		return top ? err_prefix(err, r, "%s", s->source.name) : r;
	tags = json_get(entry, "/RepoTags");
	for (size_t i = 0; r >= 0 && tags && tags->type == JSON_ARRAY && i < tags->count; i++)
		if (tags->items[i]->type == JSON_STRING)
			r = source_image_add_name(image, tags->items[i]->string, err);
	return r;
}

int archive_read_image(struct source *source, size_t index, struct source_image *ret,
		       struct err *err)
{
	auto_source_image struct source_image image = { 0 };
	struct archive *s = of(source);
	int r;

	if (s->docker) {
		r = read_docker_image(s, s->docker->items[index], &image, err);
	} else {
		r = name_from_descriptor(&image, &s->index.manifests[index], err);
		if (r >= 0)
			r = source_read_manifest(source, &s->index.manifests[index], &image, err);
	}
	if (r >= 0)
		r = source_check_image(source, &image, err);
	if (r < 0)
		return r;
	*ret = image;
	image = (struct source_image){ 0 };
	return 0;
}
