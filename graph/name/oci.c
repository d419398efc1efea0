/* SPDX-License-Identifier: Apache-2.0 */
#include "graph/name/oci.h"

#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>

#include "driver/base/json.h"

#define OCI_URLS_MAX 16 /* of a descriptor; more are none */

/* ---- platforms ---- */

static const struct {
	const char *name, *architecture, *variant;
} architecture_names[] = {
	{ "x86_64", "amd64", "" },
	{ "x86-64", "amd64", "" },
	{ "aarch64", "arm64", "" },
	{ "armhf", "arm", "v7" },
	{ "armel", "arm", "v6" },
	{ "armv7l", "arm", "v7" },
	{ "armv6l", "arm", "v6" },
	{ "armv5tel", "arm", "v5" },
	{ "i386", "386", "" },
	{ "i486", "386", "" },
	{ "i586", "386", "" },
	{ "i686", "386", "" },
	{ "loongarch64", "loong64", "" },
};

static void set_field(char ret[32], const char *text, size_t len)
{
	(void)snprintf(ret, 32, "%.*s", (int)len, text);
}

static void platform_normalise(struct oci_platform *p)
{
	for (size_t i = 0; i < ARRAY_LEN(architecture_names); i++) {
		if (strcmp(p->architecture, architecture_names[i].name) != 0)
			continue;
		set_field(p->architecture, architecture_names[i].architecture, 31);
		if (!p->variant[0])
			set_field(p->variant, architecture_names[i].variant, 31);
		break;
	}
	if (strcmp(p->architecture, "arm64") == 0 &&
	    (strcmp(p->variant, "v8") == 0 || strcmp(p->variant, "8") == 0))
		p->variant[0] = '\0';
	if (strcmp(p->architecture, "amd64") == 0 && strcmp(p->variant, "v1") == 0)
		p->variant[0] = '\0';
	if (strcmp(p->architecture, "arm") == 0 && !p->variant[0])
		set_field(p->variant, "v7", 31);
}

int oci_platform_parse(const char *text, struct oci_platform *ret, struct err *err)
{
	struct oci_platform p = { .os = "" };
	char *fields[] = { p.os, p.architecture, p.variant };
	const char *rest = text;

	for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
		size_t len = strcspn(rest, "/");

		if (len == 0 || len > 31 || (rest[len] == '\0' && i == 0))
			break;
		set_field(fields[i], rest, len);
		if (rest[len] == '\0') {
			platform_normalise(&p);
			*ret = p;
			return 0;
		}
		rest += len + 1;
	}
	return fail(err, -EINVAL,
		    "invalid platform \"%.100s\": write os/arch[/variant], as in linux/arm64/v8",
		    text);
}

void oci_platform_host(struct oci_platform *ret)
{
	struct oci_platform p = { .os = "linux" };
	struct utsname name;

	(void)uname(&name);
	set_field(p.architecture, name.machine, 31);
	platform_normalise(&p);
	*ret = p;
}

int oci_platform_match(const struct oci_platform *want, const struct oci_platform *have_as_stated)
{
	struct oci_platform have = *have_as_stated;

	if (!have.os[0] && !have.architecture[0])
		return 1;
	platform_normalise(&have);
	if ((have.os[0] && strcmp(want->os, have.os) != 0) ||
	    (have.architecture[0] && strcmp(want->architecture, have.architecture) != 0))
		return 0;
	if (!have.os[0] || !have.architecture[0])
		return 2;
	if (strcmp(want->variant, have.variant) == 0)
		return 100;
	/* Variants are cumulative (v7 runs v6 code): the highest that is not above ours. */
	if (have.variant[0] == 'v' && want->variant[0] == 'v' &&
	    strcmp(have.variant, want->variant) < 0)
		return 10 + (have.variant[1] - '0');
	return have.variant[0] ? 0 : 5;
}

void oci_platform_text(const struct oci_platform *p, char ret[OCI_PLATFORM_TEXT_MAX])
{
	(void)snprintf(ret, OCI_PLATFORM_TEXT_MAX, "%s/%s%s%s", p->os[0] ? p->os : "unknown",
		       p->architecture[0] ? p->architecture : "unknown", p->variant[0] ? "/" : "",
		       p->variant);
}

static void platform_read(const struct json *j, struct oci_platform *ret)
{
	set_field(ret->os, json_string_or(j, "/os", ""), 31);
	set_field(ret->architecture, json_string_or(j, "/architecture", ""), 31);
	set_field(ret->variant, json_string_or(j, "/variant", ""), 31);
}

/* ---- media types ---- */

static const struct {
	const char *media_type;
	enum oci_kind kind;
} media_types[] = {
	{ "application/vnd.oci.image.index.v1+json", OCI_INDEX },
	{ "application/vnd.docker.distribution.manifest.list.v2+json", OCI_INDEX },
	{ "application/vnd.oci.image.manifest.v1+json", OCI_MANIFEST },
	{ "application/vnd.docker.distribution.manifest.v2+json", OCI_MANIFEST },
	{ "application/vnd.oci.image.config.v1+json", OCI_CONFIG },
	{ "application/vnd.docker.container.image.v1+json", OCI_CONFIG },
	{ "application/octet-stream", OCI_CONFIG }, /* what old registries call a config */
	{ "application/vnd.oci.image.layer.v1.tar", OCI_LAYER },
	{ "application/vnd.oci.image.layer.v1.tar+gzip", OCI_LAYER },
	{ "application/vnd.oci.image.layer.v1.tar+zstd", OCI_LAYER },
	{ "application/vnd.docker.image.rootfs.diff.tar", OCI_LAYER },
	{ "application/vnd.docker.image.rootfs.diff.tar.gzip", OCI_LAYER },
	{ "application/vnd.docker.image.rootfs.diff.tar.zstd", OCI_LAYER },
	{ "application/vnd.oci.image.layer.nondistributable.v1.tar", OCI_LAYER_FOREIGN },
	{ "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", OCI_LAYER_FOREIGN },
	{ "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd", OCI_LAYER_FOREIGN },
	{ "application/vnd.docker.image.rootfs.foreign.diff.tar", OCI_LAYER_FOREIGN },
	{ "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", OCI_LAYER_FOREIGN },
};

enum oci_kind oci_kind_of(const char *media_type)
{
	for (size_t i = 0; i < ARRAY_LEN(media_types); i++)
		if (strcmp(media_types[i].media_type, media_type) == 0)
			return media_types[i].kind;
	return OCI_OTHER;
}

/* ---- descriptors ---- */

static void descriptor_release(struct oci_descriptor *d)
{
	free(d->media_type);
	free(d->ref_name);
	free(d->image_name);
	for (char **url = d->urls; url && *url; url++)
		free(*url);
	free(d->urls);
	*d = (struct oci_descriptor){ 0 };
}

static int copy_annotation(const struct json *annotations, const char *key, char **ret)
{
	const struct json *value = json_get_key(annotations, key);

	if (!value || value->type != JSON_STRING || !value->string[0])
		return 0;
	*ret = strdup(value->string);
	return *ret ? 0 : -ENOMEM;
}

static int copy_urls(const struct json *list, struct oci_descriptor *ret)
{
	size_t count = 0;

	if (!list || list->type != JSON_ARRAY || !list->count || list->count > OCI_URLS_MAX)
		return 0;
	ret->urls = calloc(list->count + 1, sizeof(*ret->urls));
	if (!ret->urls)
		return -ENOMEM;
	for (size_t i = 0; i < list->count; i++) {
		if (list->items[i]->type != JSON_STRING)
			continue;
		ret->urls[count] = strdup(list->items[i]->string);
		if (!ret->urls[count++])
			return -ENOMEM;
	}
	return 0;
}

/* `what` names the document and the descriptor's place in it. */
static int descriptor_read(const struct json *j, const char *what, struct oci_descriptor *ret,
			   struct err *err)
{
	const char *digest;
	int64_t size;
	int r = json_need_string(j, "/digest", what, &digest, err);

	if (r >= 0)
		r = json_need_int(j, "/size", what, &size, err);
	if (r < 0)
		return r;
	r = digest_parse(digest, &ret->digest, err);
	if (r < 0)
		return err_prefix(err, r, "%s: /digest", what);
	if (size < 0 || size > OCI_SIZE_MAX)
		return fail(err, -EINVAL, "%s: /size: %lld is not a size a blob can have", what,
			    (long long)size);
	ret->size = size;
	ret->media_type = strdup(json_string_or(j, "/mediaType", ""));
	if (!ret->media_type)
		return fail_oom(err);
	platform_read(json_get(j, "/platform"), &ret->platform);
	if (copy_annotation(json_get(j, "/annotations"), "org.opencontainers.image.ref.name",
			    &ret->ref_name) < 0 ||
	    copy_annotation(json_get(j, "/annotations"), "io.containerd.image.name",
			    &ret->image_name) < 0 ||
	    copy_urls(json_get(j, "/urls"), ret) < 0)
		return fail_oom(err);
	return 0;
}

static void descriptors_free(struct oci_descriptor *list, size_t count)
{
	for (size_t i = 0; i < count; i++)
		descriptor_release(&list[i]);
	free(list);
}

static int descriptors_read(const struct json *array, const char *what, struct oci_descriptor **ret,
			    size_t *ret_count, struct err *err)
{
	struct oci_descriptor *list;

	if (array->count > OCI_DESCRIPTORS_MAX)
		return fail(err, -EFBIG, "%s: lists %zu descriptors, more than %d", what,
			    array->count, OCI_DESCRIPTORS_MAX);
	list = calloc(array->count + 1, sizeof(*list));
	if (!list)
		return fail_oom(err);
	for (size_t i = 0; i < array->count; i++) {
		char place[200];
		int r;

		(void)snprintf(place, sizeof(place), "%.150s: entry %zu", what, i);
		r = descriptor_read(array->items[i], place, &list[i], err);
		if (r < 0) {
			descriptors_free(list, array->count);
			return r;
		}
	}
	*ret = list;
	*ret_count = array->count;
	return 0;
}

/* ---- documents ---- */

/* Parses an index or manifest and refuses what is not clearly the one that `list_key` says. */
static int document_parse(const void *data, size_t len, const char *what, enum oci_kind kind,
			  const char *list_key, const char *other_key, struct json **ret,
			  struct err *err)
{
	auto_json struct json *j = NULL;
	int r = json_parse(data, len, OCI_DOCUMENT_MAX, what, &j, err);
	const char *media_type;
	int64_t version;

	if (r < 0)
		return r;
	if (j->type != JSON_OBJECT)
		return fail(err, -EINVAL, "%s: not a JSON object", what);
	version = json_int_or(j, "/schemaVersion", 2);
	if (version == 1 || json_get(j, "/fsLayers"))
		return fail(
			err, -EINVAL,
			"%s: a schema 1 manifest, which no registry should serve any more; convert the image",
			what);
	if (version != 2)
		return fail(err, -EINVAL, "%s: /schemaVersion is %lld; 2 is the only one known",
			    what, (long long)version);
	if (json_get_key(j, list_key) && json_get_key(j, other_key))
		return fail(
			err, -EINVAL,
			"%s: has both \"%s\" and \"%s\", so it could be read in two ways; refused",
			what, list_key, other_key);
	media_type = json_string_or(j, "/mediaType", "");
	if (media_type[0] && oci_kind_of(media_type) != kind)
		return fail(err, -EINVAL,
			    "%s: is read as %s, but says it is of type %.200s; refused", what,
			    kind == OCI_INDEX ? "an index" : "a manifest", media_type);
	*ret = take_ptr(j);
	return 0;
}

int oci_document_type(const void *data, size_t len, const char *what, const char **ret,
		      struct err *err)
{
	static const char index[] = "application/vnd.oci.image.index.v1+json",
			  manifest[] = "application/vnd.oci.image.manifest.v1+json";
	auto_json struct json *j = NULL;
	const char *stated;
	int r = json_parse(data, len, OCI_DOCUMENT_MAX, what, &j, err);

	if (r < 0)
		return r;
	stated = json_string_or(j, "/mediaType", "");
	if (!stated[0] && !json_get(j, "/manifests") && !json_get(j, "/layers") &&
	    !json_get(j, "/fsLayers"))
		return fail(err, -EINVAL, "%s: neither a manifest nor an index", what);
	*ret = oci_kind_of(stated) == OCI_INDEX || (!stated[0] && json_get(j, "/manifests")) ?
		       index :
		       manifest;
	return 0;
}

int oci_index_parse(const void *data, size_t len, const char *what, struct oci_index *ret,
		    struct err *err)
{
	auto_json struct json *j = NULL;
	const struct json *manifests;
	struct oci_index index = { 0 };
	int r = document_parse(data, len, what, OCI_INDEX, "manifests", "layers", &j, err);

	if (r < 0)
		return r;
	r = json_need_array(j, "/manifests", what, &manifests, err);
	if (r >= 0)
		r = descriptors_read(manifests, what, &index.manifests, &index.count, err);
	if (r < 0)
		return r;
	*ret = index;
	return 0;
}

void oci_index_release(struct oci_index *index)
{
	descriptors_free(index->manifests, index->count);
	*index = (struct oci_index){ 0 };
}

static int manifest_check(const struct oci_manifest *m, const char *artifact, const char *what,
			  struct err *err)
{
	if (m->config.media_type[0] && oci_kind_of(m->config.media_type) != OCI_CONFIG)
		return fail(err, -EINVAL,
			    "%s: not a container image but an artifact of type %.200s", what,
			    artifact[0] ? artifact : m->config.media_type);
	for (size_t i = 0; i < m->layer_count; i++) {
		const struct oci_descriptor *layer = &m->layers[i];
		enum oci_kind kind = oci_kind_of(layer->media_type);

		if (kind != OCI_LAYER && kind != OCI_LAYER_FOREIGN && layer->media_type[0])
			return fail(err, -EOPNOTSUPP,
				    "%s: layer %zu (%s) is of an unknown type, %.200s", what, i,
				    layer->digest.text, layer->media_type);
	}
	return 0;
}

int oci_manifest_parse(const void *data, size_t len, const char *what, struct oci_manifest *ret,
		       struct err *err)
{
	auto_json struct json *j = NULL;
	auto_oci_manifest struct oci_manifest m = { 0 };
	const struct json *config, *layers;
	char place[200];
	int r = document_parse(data, len, what, OCI_MANIFEST, "layers", "manifests", &j, err);

	if (r < 0)
		return r;
	r = json_need_object(j, "/config", what, &config, err);
	if (r >= 0)
		r = json_need_array(j, "/layers", what, &layers, err);
	if (r < 0)
		return r;
	(void)snprintf(place, sizeof(place), "%.150s: /config", what);
	r = descriptor_read(config, place, &m.config, err);
	if (r >= 0)
		r = descriptors_read(layers, what, &m.layers, &m.layer_count, err);
	if (r >= 0)
		r = manifest_check(&m, json_string_or(j, "/artifactType", ""), what, err);
	if (r < 0)
		return r;
	m.media_type = strdup(
		json_string_or(j, "/mediaType", "application/vnd.oci.image.manifest.v1+json"));
	if (!m.media_type)
		return fail_oom(err);
	*ret = m;
	m = (struct oci_manifest){ 0 };
	return 0;
}

void oci_manifest_release(struct oci_manifest *m)
{
	free(m->media_type);
	descriptor_release(&m->config);
	descriptors_free(m->layers, m->layer_count);
	*m = (struct oci_manifest){ 0 };
}

/* RFC 3339 to seconds; 0 where it is not one. The fraction is left out. */
static int64_t parse_time(const char *text)
{
	struct tm tm = { 0 };
	const char *rest = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);
	int hours = 0, minutes = 0, sign = 0;
	int64_t seconds;

	if (!rest)
		return 0;
	if (*rest == '.')
		rest += 1 + strspn(rest + 1, "0123456789");
	if (*rest == '+' || *rest == '-') {
		sign = *rest == '+' ? 1 : -1;
		if (sscanf(rest + 1, "%2d:%2d", &hours, &minutes) != 2)
			return 0;
	}
	seconds = (int64_t)timegm(&tm) - (int64_t)sign * (hours * 3600 + minutes * 60);
	/* Go's zero time, year 1, means "not stated". */
	return seconds < -62000000000 ? 0 : seconds;
}

int oci_config_parse(const void *data, size_t len, const char *what, struct oci_config *ret,
		     struct err *err)
{
	auto_json struct json *j = NULL;
	auto_oci_config struct oci_config c = { 0 };
	const struct json *list;
	int r = json_parse(data, len, OCI_CONFIG_MAX, what, &j, err);

	if (r >= 0)
		r = json_need_array(j, "/rootfs/diff_ids", what, &list, err);
	if (r < 0)
		return r;
	if (list->count > OCI_DESCRIPTORS_MAX)
		return fail(err, -EFBIG, "%s: lists %zu layers, more than %d", what, list->count,
			    OCI_DESCRIPTORS_MAX);
	c.diff_ids = calloc(list->count + 1, sizeof(*c.diff_ids));
	if (!c.diff_ids)
		return fail_oom(err);
	for (size_t i = 0; i < list->count; i++) {
		const struct json *item = list->items[i];

		if (item->type != JSON_STRING)
			return fail(err, -EINVAL, "%s: /rootfs/diff_ids/%zu: not a string", what,
				    i);
		r = digest_parse(item->string, &c.diff_ids[i], err);
		if (r < 0)
			return err_prefix(err, r, "%s: /rootfs/diff_ids/%zu", what, i);
		if (strncmp(item->string, "sha256:", 7) != 0)
			return fail(
				err, -EOPNOTSUPP,
				"%s: /rootfs/diff_ids/%zu: layers are kept by sha256, this is %.7s",
				what, i, item->string);
		c.diff_id_count++;
	}
	platform_read(j, &c.platform);
	c.created = parse_time(json_string_or(j, "/created", ""));
	*ret = c;
	c = (struct oci_config){ 0 };
	return 0;
}

void oci_config_release(struct oci_config *c)
{
	free(c->diff_ids);
	*c = (struct oci_config){ 0 };
}
