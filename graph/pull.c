/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pull: images come from registries into the store. Here graph/fetch and graph/store meet.
 */
#include <stdio.h>
#include <string.h>

#include "driver/base/fd.h"
#include "graph/admit.h"
#include "graph/fetch/partial.h"
#include "graph/fetch/registry.h"
#include "graph/name/reference.h"
#include "graph/store/blob.h"
#include "graph/store/image.h"

#define RETRIES_STANDARD  5
#define DELAY_MS_STANDARD 1000
#define PARALLEL_STANDARD 6
#define MISMATCHES_MAX	  4 /* blobs that came wrong and were asked for again */

/* ---- how registries are spoken to ---- */

static void set_client(const struct overlaid_registry *r, struct registry_options *ret)
{
	ret->http = (struct http_options){ .stall_seconds = r->stall_seconds,
					   .min_speed = r->min_speed };
	ret->client.user_password = r->user_password;
	ret->client.authfile = r->authfile;
	ret->client.retries = r->retries < 0  ? 0 :
			      r->retries == 0 ? RETRIES_STANDARD :
						(unsigned int)r->retries;
	ret->client.delay_ns = (uint64_t)(r->delay_ms ? r->delay_ms : DELAY_MS_STANDARD) * 1000000;
	ret->parallel = r->parallel ? r->parallel : PARALLEL_STANDARD;
}

static struct registries_options trust_of(const struct overlaid_registry *r)
{
	static const enum registries_verify verify[] = {
		[OVERLAID_TLS_AS_CONFIGURED] = REGISTRIES_AS_CONFIGURED,
		[OVERLAID_TLS_VERIFY] = REGISTRIES_VERIFY,
		[OVERLAID_TLS_NO_VERIFY] = REGISTRIES_NO_VERIFY,
	};

	return (struct registries_options){ .cert_dir = r->cert_dir, .verify = verify[r->tls] };
}

/* ---- one pull ---- */

struct pulling {
	struct overlaid *o;
	const struct overlaid_pull *pull;
	struct registry_options options;
	struct oci_platform platform;
	struct source *source; /* of one repository */
	const char *repository;
	overlaid_pulled_fn *fn;
	void *arg;
};

static int find_stored(void *arg, const struct digest *digest, struct buf *ret)
{
	struct pulling *p = arg;

	return blob_read(p->o->store, digest->text, ret, NULL) >= 0;
}

static void report_download(void *arg, const struct source_layer *layer, int64_t done)
{
	struct pulling *p = arg;

	handle_report(p->o, OVERLAID_EVENT_LAYER_DOWNLOAD, layer->diff_id.text, (uint64_t)done,
		      (uint64_t)layer->size, NULL);
}

static void report_note(void *arg, const char *text)
{
	struct pulling *p = arg;

	handle_report(p->o, OVERLAID_EVENT_NOTE, NULL, 0, 0, text);
}

/* What is in the store under a name. */
struct here {
	bool found;
	char id[DIGEST_TEXT_MAX], manifest[DIGEST_TEXT_MAX];
	size_t layers;
	const struct oci_platform *platform; /* that it must be for; NULL: any */
	const char *wanted; /* "repository@digest", to look for among its digests; or NULL */
	bool has_digest;
};

static int note_here(void *arg, const struct overlaid_image *image)
{
	struct here *h = arg;
	struct oci_platform have = { .os = "" };

	(void)snprintf(have.os, sizeof(have.os), "%s", image->os);
	(void)snprintf(have.architecture, sizeof(have.architecture), "%s", image->architecture);
	(void)snprintf(have.variant, sizeof(have.variant), "%s", image->variant);
	/* One for another platform than was asked for is another image. */
	if (h->platform && oci_platform_match(h->platform, &have) == 0)
		return 0;
	h->found = true;
	h->layers = image->layer_count;
	(void)snprintf(h->id, sizeof(h->id), "%s", image->id);
	(void)snprintf(h->manifest, sizeof(h->manifest), "%s", image->manifest_digest);
	for (size_t i = 0; h->wanted && i < image->digest_count; i++)
		h->has_digest = h->has_digest || strcmp(image->digests[i], h->wanted) == 0;
	return 0;
}

static int look_here(struct pulling *p, const char *reference, const struct oci_platform *platform,
		     const char *wanted, struct here *ret, struct err *err)
{
	struct image_name image = { 0 };
	int r = image_resolve(p->o->store, reference, &image, err);

	*ret = (struct here){ .platform = platform, .wanted = wanted };
	if (r == -ENOENT)
		return 0;
	return r < 0 ? r : image_list(p->o->store, image.id, note_here, ret, err);
}

static int tell(struct pulling *p, const struct overlaid_pulled *pulled)
{
	return p->fn ? p->fn(p->arg, pulled) : 0;
}

static int tell_here(struct pulling *p, const struct here *here, const char *reference,
		     const char *digest)
{
	const struct overlaid_pulled pulled = { .image_id = here->id,
						.reference = reference,
						.digest = digest,
						.layers = here->layers };

	return tell(p, &pulled);
}

/* Gets the image that the source has chosen; again, where a blob came wrong that may come right. */
static int admit(struct pulling *p, const struct source_image *image,
		 const struct admission *admission, size_t *ret_extracted, struct err *err)
{
	struct admitted admitted;
	struct err words = { "" };
	int r;

	for (int again = 0;; again++) {
		r = image_admit(p->o, p->source, image, admission, &admitted, &words);
		if (r >= 0 || !admitted.mismatched ||
		    !registry_distrust(p->source, admitted.mismatched) || again == MISMATCHES_MAX)
			break;
		handle_report(p->o, OVERLAID_EVENT_NOTE, admitted.mismatched->diff_id.text, 0, 0,
			      "what came of its blob does not have its digest: fetching it anew");
	}
	if (r < 0)
		return fail(err, r, "%s: %s", source_name(p->source), words.text);
	*ret_extracted = admitted.extracted;
	return 0;
}

static int fetch(struct pulling *p, const struct overlaid_reference *ref, const char *reference,
		 const struct here *here, struct err *err)
{
	auto_references struct references refs = { 0 };
	auto_source_image struct source_image image = { 0 };
	auto_free char *named_digest = NULL;
	struct digest named;
	struct admission admission = { .references = &refs,
				       .keep_seconds = p->pull->keep_seconds,
				       .keep_blobs = p->pull->keep_blobs };
	struct overlaid_pulled pulled = { .reference = reference };
	int r = registry_read_image(p->source, &image, &named, err);

	/* A digest says which image; a tag beside it is words, as docker and podman have it. */
	if (r >= 0 && !ref->digest[0] && !p->pull->keep_seconds)
		r = references_add(&refs, reference, err);
	if (r >= 0 && !p->pull->keep_seconds &&
	    asprintf(&named_digest, "%s@%s", ref->repository, named.text) < 0) {
		named_digest = NULL;
		r = fail_oom(err);
	}
	admission.named_digest = named_digest;
	if (r >= 0)
		r = admit(p, &image, &admission, &pulled.layers_extracted, err);
	pulled.bytes_fetched = registry_end(p->source, r >= 0);
	if (r < 0)
		return r;
	pulled.image_id = image.config_digest.text;
	pulled.digest = named.text;
	pulled.downloaded = !here->found || strcmp(here->id, image.config_digest.text) != 0 ||
			    pulled.layers_extracted > 0;
	pulled.layers = image.layer_count;
	return tell(p, &pulled);
}

/* 1: what is here is what is there. */
static int is_current(struct pulling *p, const struct overlaid_reference *ref,
		      const char *reference, struct here *here, struct digest *ret_named,
		      struct err *err)
{
	auto_free char *wanted = NULL;
	struct oci_platform host;
	int r = registry_resolve(p->source, ret_named, err);

	if (r < 0)
		return r;
	/* Of an index that was pulled for another platform, this machine's is not here. */
	oci_platform_host(&host);
	if (asprintf(&wanted, "%s@%s", ref->repository, ret_named->text) < 0) {
		wanted = NULL;
		return fail_oom(err);
	}
	r = look_here(p, reference, p->options.platform ? p->options.platform : &host, wanted, here,
		      err);
	return r < 0 ? r : here->found && here->has_digest;
}

/* One tag or digest. */
static int pull_reference(struct pulling *p, const struct overlaid_reference *ref, struct err *err)
{
	enum overlaid_pull_policy policy = p->pull->policy;
	char reference[REFERENCE_TEXT_MAX];
	struct digest named = { "" };
	struct here here;
	int r;

	reference_text(ref, reference);
	r = look_here(p, reference, p->options.platform, NULL, &here, err);
	if (r < 0)
		return r;
	if (here.found && (policy == OVERLAID_PULL_MISSING || policy == OVERLAID_PULL_NEVER))
		return tell_here(p, &here, reference, here.manifest);
	if (policy == OVERLAID_PULL_NEVER)
		return fail(err, -ENOENT, "no such image: %s, and the policy is to ask no registry",
			    reference);
	r = registry_choose(p->source, ref->digest[0] ? "" : ref->tag, ref->digest, err);
	if (r >= 0 && here.found)
		r = is_current(p, ref, reference, &here, &named, err);
	if (r > 0)
		return tell_here(p, &here, reference, named.text);
	if (r >= 0)
		r = fetch(p, ref, reference, &here, err);
	if (r >= 0 || policy != OVERLAID_PULL_NEWER || !here.found)
		return r;
	report_note(p, err ? err->text : "the registry cannot be asked");
	return tell_here(p, &here, reference, here.manifest);
}

/* ---- all tags ---- */

struct tags {
	struct pulling *pulling;
	char **list;
	size_t count;
	struct err *err;
};

static void tags_release(struct tags *tags)
{
	for (size_t i = 0; i < tags->count; i++)
		free(tags->list[i]);
	free(tags->list);
}

static int note_tag(void *arg, const char *tag)
{
	struct tags *tags = arg;
	char **more = reallocarray(tags->list, tags->count + 1, sizeof(*more));

	if (!more)
		return fail_oom(tags->err);
	tags->list = more;
	more[tags->count] = strdup(tag);
	return more[tags->count++] ? 0 : fail_oom(tags->err);
}

static int pull_all_tags(struct pulling *p, struct err *err)
{
	AUTO(tags_release) struct tags tags = { .pulling = p, .err = err };
	struct err why = { "" };
	size_t taken = 0;
	int r = registry_tags(p->source, note_tag, &tags, err);

	for (size_t i = 0; r == 0 && i < tags.count; i++) {
		auto_free char *text = NULL;
		struct overlaid_reference ref;

		if (asprintf(&text, "%s:%s", p->repository, tags.list[i]) < 0) {
			text = NULL;
			return fail_oom(err);
		}
		if (overlaid_reference_parse(text, &ref, &why) < 0) {
			report_note(p, why.text);
			continue;
		}
		taken++;
		r = pull_reference(p, &ref, err);
	}
	if (r == 0 && !taken)
		return fail(err, -ENOENT, "%s: it has no tags", source_name(p->source));
	return r;
}

/* ---- names ---- */

static int pull_repository(struct pulling *p, struct overlaid_reference *ref, struct err *err)
{
	auto_source struct source *source = NULL;
	char reference[REFERENCE_TEXT_MAX];
	int r;

	reference_text(ref, reference);
	r = registry_open(&p->options, ref->repository,
			  p->pull->all_tags ? ref->repository : reference, &source, err);
	if (r < 0)
		return r;
	p->source = source;
	p->repository = ref->repository;
	return p->pull->all_tags ? pull_all_tags(p, err) : pull_reference(p, ref, err);
}

static void strings_freep(char ***list)
{
	for (char **p = *list; p && *p; p++)
		free(*p);
	free(*list);
}

/* Where the name ends and its tag or digest begins. */
static size_t name_len(const char *text)
{
	const char *slash = strrchr(text, '/'), *at = strchr(text, '@');
	const char *colon = strchr(slash ? slash : text, ':');

	if (colon && (!at || colon < at))
		return (size_t)(colon - text);
	return at ? (size_t)(at - text) : strlen(text);
}

/* As in graph/name/reference.h: whether it begins with a host. */
static bool has_registry(const char *text)
{
	size_t len = strcspn(text, "/");

	return text[len] == '/' && (memchr(text, '.', len) || memchr(text, ':', len) ||
				    (len == 9 && strncmp(text, "localhost", 9) == 0));
}

static int pull_candidate(struct pulling *p, const char *repository, const char *rest,
			  struct err *err)
{
	struct overlaid_reference ref;
	auto_free char *text = NULL;
	int r;

	if (asprintf(&text, "%s%s", repository, rest) < 0) {
		text = NULL;
		return fail_oom(err);
	}
	r = overlaid_reference_parse(text, &ref, err);
	return r < 0 ? r : pull_repository(p, &ref, err);
}

/* A name without a registry means what registries.conf says, in turn. */
static int pull_short_name(struct pulling *p, const char *text, struct err *err)
{
	auto_free char *name = strndup(text, name_len(text));
	AUTO(strings_freep) char **candidates = NULL;
	int r = name ? registries_candidates(p->options.registries, name, &candidates, err) :
		       fail_oom(err);

	if (r < 0)
		return r;
	for (char **c = candidates; *c; c++) {
		r = pull_candidate(p, *c, text + name_len(text), err);
		if (r >= 0 ||
		    (r != -ENOENT && r != -EACCES && r != -EHOSTUNREACH && r != -ECONNREFUSED &&
		     r != -EKEYREJECTED) ||
		    !c[1])
			return r;
		report_note(p, err ? err->text : *c);
	}
	return fail(err, -ENOENT, "%s: registries.conf names no registry to look for it", text);
}

static int pull_from_registry(struct pulling *p, const char *text, struct err *err)
{
	struct registries_options trust = trust_of(&p->pull->registry);
	auto_registries struct registries *registries = NULL;
	auto_close int partial_fd = -EBADF;
	struct overlaid_reference ref;
	int r = overlaid_reference_parse(text, &ref, err);

	if (r >= 0 && p->pull->all_tags && text[name_len(text)])
		r = fail(err, -EINVAL, "%s: with all tags, a repository is named without a tag",
			 text);
	if (r >= 0)
		r = registries_open(&trust, &registries, err);
	if (r < 0)
		return r;
	partial_fd = open_or_make_dir_at(p->o->store->root_fd, "partial", 0700, err);
	if (partial_fd < 0)
		return partial_fd;
	(void)partial_sweep(partial_fd, PARTIAL_KEPT_SECONDS, NULL, NULL, NULL);
	p->options.registries = registries;
	p->options.partial_fd = partial_fd;
	return has_registry(text) ? pull_repository(p, &ref, err) : pull_short_name(p, text, err);
}

/* ---- files ---- */

static int tell_loaded(void *arg, const struct overlaid_loaded *loaded)
{
	struct pulling *p = arg;
	const struct overlaid_pulled pulled = {
		.image_id = loaded->image_id,
		.reference = loaded->reference_count ? loaded->references[0] : "",
		.digest = "",
		.downloaded = loaded->layers_extracted > 0,
		.layers = loaded->layers,
		.layers_extracted = loaded->layers_extracted,
	};

	return tell(p, &pulled);
}

static int pull_from_file(struct pulling *p, const char *text, bool has_name, struct err *err)
{
	size_t len = has_name ? strcspn(text, ":") : strlen(text);
	auto_free char *path = strndup(text, len);
	const struct overlaid_load load = { .path = path,
					    .reference = text[len] ? text + len + 1 : NULL,
					    .platform = p->pull->platform,
					    .all_tags = p->pull->all_tags };

	if (!path)
		return fail_oom(err);
	if (!path[0])
		return fail(err, -EINVAL, "%s: no path is named", p->pull->source);
	return overlaid_load(p->o, &load, tell_loaded, p, err);
}

static const struct {
	const char *prefix;
	enum { REGISTRY, NAMED_FILE, FILE_ONLY, UNKNOWN } kind;
} transports[] = {
	{ "docker://", REGISTRY },	{ "oci:", NAMED_FILE },
	{ "oci-archive:", NAMED_FILE }, { "docker-archive:", NAMED_FILE },
	{ "dir:", FILE_ONLY },		{ "containers-storage:", UNKNOWN },
	{ "docker-daemon:", UNKNOWN },	{ "docker:", UNKNOWN },
	{ "atomic:", UNKNOWN },		{ "sif:", UNKNOWN },
	{ "tarball:", UNKNOWN },	{ "ostree:", UNKNOWN },
};

static int pull_from(struct pulling *p, struct err *err)
{
	const char *text = p->pull->source;

	for (size_t i = 0; i < ARRAY_LEN(transports); i++) {
		size_t len = strlen(transports[i].prefix);

		if (strncmp(text, transports[i].prefix, len) != 0)
			continue;
		if (transports[i].kind == UNKNOWN)
			return fail(err, -EOPNOTSUPP,
				    "%s: images come from docker://, oci:, oci-archive:, docker-archive: "
				    "or dir:, not from %s",
				    text, transports[i].prefix);
		return transports[i].kind == REGISTRY ?
			       pull_from_registry(p, text + len, err) :
			       pull_from_file(p, text + len, transports[i].kind == NAMED_FILE, err);
	}
	return pull_from_registry(p, text, err);
}

int overlaid_pull(struct overlaid *o, const struct overlaid_pull *pull, overlaid_pulled_fn *fn,
		  void *arg, struct err *err)
{
	struct pulling p = { .o = o, .pull = pull, .fn = fn, .arg = arg };
	int r;

	if (pull->platform) {
		r = oci_platform_parse(pull->platform, &p.platform, err);
		if (r < 0)
			return r;
		p.options.platform = &p.platform;
	}
	set_client(&pull->registry, &p.options);
	p.options.foreign = pull->foreign_layers;
	p.options.stored = find_stored;
	p.options.progress = report_download;
	p.options.arg = &p;
	p.options.client.note = report_note;
	p.options.client.note_arg = &p;
	return pull_from(&p, err);
}

/* ---- credentials ---- */

#define LOGIN_STANDARD "docker.io"

/* "https://HOST/v2/" means HOST, to people; the caller's. NULL: out of memory. */
static char *registry_name(const char *name)
{
	const char *host = name ? name : LOGIN_STANDARD;
	const char *scheme = strstr(host, "://");

	host = scheme ? scheme + 3 : host;
	return strndup(host, strcspn(host, "/"));
}

int overlaid_login(const struct overlaid_registry *registry, const char *name, char **ret_file,
		   struct err *err)
{
	struct registries_options trust = trust_of(registry);
	auto_registries struct registries *registries = NULL;
	auto_credentials struct credentials given = { 0 };
	struct registry_options options = { 0 };
	auto_free char *host = registry_name(name);
	int r = host ? credentials_parse(registry->user_password, &given, err) : fail_oom(err);

	if (r >= 0)
		r = registries_open(&trust, &registries, err);
	if (r < 0)
		return r;
	set_client(registry, &options);
	options.registries = registries;
	r = registry_login(&options, host, err);
	return r < 0 ? r :
		       credentials_store(registry->authfile, host, given.user, given.secret,
					 ret_file, err);
}

int overlaid_login_user(const struct overlaid_registry *registry, const char *name, char **ret_user,
			struct err *err)
{
	auto_credentials struct credentials found = { 0 };
	auto_free char *host = registry_name(name);
	int r = host ? credentials_find(registry->authfile, host, "", &found, err) : fail_oom(err);

	if (r < 0)
		return r;
	if (r == 0 || !found.user)
		return fail(err, -ENOENT, "not logged in to %s", host);
	*ret_user = take_ptr(found.user);
	return 0;
}

int overlaid_logout(const struct overlaid_registry *registry, const char *name, char **ret_file,
		    struct err *err)
{
	auto_free char *host = name ? registry_name(name) : NULL;
	int r = name && !host ? fail_oom(err) :
				credentials_forget(registry->authfile, host, ret_file, err);

	if (r == 0)
		return fail(err, -ENOENT, "not logged in to %s", name ? name : "any registry");
	return r < 0 ? r : 0;
}
