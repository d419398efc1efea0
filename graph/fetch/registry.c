/* SPDX-License-Identifier: Apache-2.0 */
#include "graph/fetch/registry.h"

#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "driver/base/fd.h"
#include "driver/base/json.h"
#include "graph/fetch/download.h"
#include "graph/fetch/partial.h"

#define TAGS_PAGE_MAX  ((size_t)8 << 20) /* bytes */
#define CONFIG_WAIT_MS 10000		 /* for another process that fetches it */

static const char manifest_types[] = "application/vnd.oci.image.index.v1+json, "
				     "application/vnd.oci.image.manifest.v1+json, "
				     "application/vnd.docker.distribution.manifest.list.v2+json, "
				     "application/vnd.docker.distribution.manifest.v2+json";

struct registry {
	struct source source;
	const struct registry_options *options;
	char *repository; /* as in the reference: "docker.io/library/nginx" */
	struct endpoints endpoints;
	struct http *http;
	struct client **clients; /* in the order in which to ask */
	size_t count;
	struct downloads *downloads;
	/* what is chosen */
	char tag[129];
	struct digest digest;
	/* what it names, once that was read */
	struct buf root;
	struct oci_descriptor root_descriptor;
	struct partial config;		     /* kept until registry_end */
	const struct oci_descriptor *wanted; /* of the document that is asked for */
};

static struct registry *of(struct source *source)
{
	return (struct registry *)source;
}

/* ---- asking one after another ---- */

static void note_failure(const struct registry *s, const struct client *c, const struct err *err)
{
	char text[2200];

	if (!s->options->client.note)
		return;
	(void)snprintf(text, sizeof(text), "%s: asking the next server, as %s",
		       client_endpoint(c)->host, err->text);
	s->options->client.note(s->options->client.note_arg, text);
}

/* The one that failed is the last from now on. */
static void put_last(struct registry *s, size_t at)
{
	struct client *failed = s->clients[at];

	memmove(&s->clients[at], &s->clients[at + 1],
		(s->count - at - 1) * sizeof(struct client *));
	s->clients[s->count - 1] = failed;
}

typedef bool may_ask_fn(const struct endpoint *endpoint);
typedef int check_fn(struct registry *s, struct http_response *response, struct err *err);

static bool for_tags(const struct endpoint *e)
{
	return e->for_tags;
}

static bool for_digests(const struct endpoint *e)
{
	return e->for_digests;
}

static bool for_blobs(const struct endpoint *e)
{
	return e->for_blobs;
}

/* Asks the servers for "/REPOSITORY/<rest>" until one has an answer that passes `check` (NULL: any). */
static int ask(struct registry *s, may_ask_fn *may_ask, const char *rest,
	       const struct client_request *request, check_fn *check, struct http_response *ret,
	       struct err *err)
{
	enum http_trouble trouble;
	struct err words = { "" };
	size_t at = 0;
	int r = -ENOENT;

	(void)snprintf(words.text, sizeof(words.text), "no server may be asked for it");
	for (size_t asked = 0; asked < s->count; asked++) {
		struct client *c = s->clients[at];
		struct client_request q = *request;
		auto_free char *path = NULL;

		if (!may_ask(client_endpoint(c)) && ++at)
			continue;
		if (asprintf(&path, "/%s/%s", client_endpoint(c)->repository, rest) < 0) {
			path = NULL;
			return fail_oom(err);
		}
		q.path = path;
		http_response_release(ret);
		*ret = (struct http_response){ 0 };
		/* After HEAD comes GET: that has patience. */
		r = q.head ? client_try(c, &q, ret, &trouble, &words) :
			     client_get(c, &q, ret, &words);
		if (r >= 0 && check)
			r = check(s, ret, &words);
		if (r >= 0 || r == -ECANCELED)
			break;
		if (q.head && trouble != HTTP_LASTING) {
			at++;
			continue;
		}
		if (asked + 1 < s->count)
			note_failure(s, c, &words);
		put_last(s, at);
	}
	return r < 0 ? fail(err, r, "%s: %s", s->source.name, words.text) : 0;
}

/* ---- what is named ---- */

/* The media type without its parameters. */
static void stated_type(const struct http_response *response, char *ret, size_t size)
{
	auto_free char *value = http_header(response, "content-type", 0);

	(void)snprintf(ret, size, "%.*s", value ? (int)strcspn(value, "; \t") : 0,
		       value ? value : "");
}

/* What says nothing of what it is. */
static bool is_vague(const char *type)
{
	static const char *const types[] = { "", "application/json", "application/octet-stream",
					     "text/plain" };

	for (size_t i = 0; i < ARRAY_LEN(types); i++)
		if (strcmp(types[i], type) == 0)
			return true;
	/* Schema 1: refused with words where it is read. */
	return strncmp(type, "application/vnd.docker.distribution.manifest.v1+", 48) == 0;
}

static int root_type(const struct http_response *response, char **ret, struct err *err)
{
	char stated[200];
	const char *type = stated;
	int r = 0;

	stated_type(response, stated, sizeof(stated));
	if (is_vague(stated))
		r = oci_document_type(response->body.data, response->body.len, "its answer", &type,
				      err);
	else if (oci_kind_of(stated) != OCI_INDEX && oci_kind_of(stated) != OCI_MANIFEST)
		r = fail(err, -EBADMSG,
			 "the answer is of type %s, not a manifest: is this a registry?", stated);
	if (r < 0)
		return r;
	*ret = strdup(type);
	return *ret ? 0 : fail_oom(err);
}

/* The digest that the bytes must have: what was asked for, or what the server says of them. */
static int root_digest(const struct registry *s, const struct http_response *response,
		       struct digest *ret, struct err *err)
{
	auto_free char *header = http_header(response, "docker-content-digest", 0);
	const char *wanted = s->digest.text[0]		    ? s->digest.text :
			     header && digest_valid(header) ? header :
							      NULL;
	struct digest have;
	int r = digest_of(wanted ? wanted : "sha256", buf_text(&response->body), response->body.len,
			  &have, err);

	if (r >= 0 && wanted && strcmp(have.text, wanted) != 0)
		r = fail(err, -EBADMSG,
			 "the manifest should have digest %s, but what was sent has %s", wanted,
			 have.text);
	if (r >= 0)
		*ret = have;
	return r;
}

static int check_root(struct registry *s, struct http_response *response, struct err *err)
{
	auto_free char *type = NULL;
	struct digest digest;
	int r = root_digest(s, response, &digest, err);

	if (r >= 0)
		r = root_type(response, &type, err);
	if (r < 0)
		return r;
	free(s->root_descriptor.media_type);
	s->root_descriptor = (struct oci_descriptor){ .media_type = take_ptr(type),
						      .digest = digest,
						      .size = (int64_t)response->body.len };
	buf_release(&s->root);
	s->root = response->body;
	response->body = (struct buf){ 0 };
	return 0;
}

/* "manifests/latest"; the caller's. */
static char *root_path(const struct registry *s)
{
	char *path;

	return asprintf(&path, "manifests/%s", s->digest.text[0] ? s->digest.text : s->tag) < 0 ?
		       NULL :
		       path;
}

static int read_root(struct registry *s, struct err *err)
{
	const struct client_request request = { .accept = manifest_types,
						.body_max = OCI_DOCUMENT_MAX,
						.max_seconds = CLIENT_DOCUMENT_SECONDS };
	auto_http_response struct http_response response = { 0 };
	auto_free char *path = root_path(s);

	if (s->root_descriptor.media_type)
		return 0;
	if (!path)
		return fail_oom(err);
	return ask(s, s->digest.text[0] ? for_digests : for_tags, path, &request, check_root,
		   &response, err);
}

int registry_choose(struct source *source, const char *tag, const char *digest, struct err *err)
{
	struct registry *s = of(source);
	auto_endpoints struct endpoints endpoints = { 0 };
	char *name = NULL;
	int r;

	if (asprintf(&name, "docker://%s%s%s%s%s", s->repository, tag[0] ? ":" : "", tag,
		     digest[0] ? "@" : "", digest) < 0)
		return fail_oom(err);
	free(source->name);
	source->name = name;
	/* A tag may be blocked where its repository is not. */
	r = registries_find(s->options->registries, name + strlen("docker://"), &endpoints, err);
	if (r < 0)
		return r;
	(void)snprintf(s->tag, sizeof(s->tag), "%s", tag);
	(void)snprintf(s->digest.text, sizeof(s->digest.text), "%s", digest);
	free(s->root_descriptor.media_type);
	s->root_descriptor = (struct oci_descriptor){ 0 };
	buf_release(&s->root);
	return 0;
}

int registry_resolve(struct source *source, struct digest *ret, struct err *err)
{
	struct registry *s = of(source);
	const struct client_request request = { .accept = manifest_types,
						.head = true,
						.max_seconds = CLIENT_DOCUMENT_SECONDS };
	auto_http_response struct http_response response = { 0 };
	auto_free char *path = root_path(s), *header = NULL;
	int r;

	if (s->digest.text[0]) {
		*ret = s->digest;
		return 0;
	}
	if (!path)
		return fail_oom(err);
	r = ask(s, for_tags, path, &request, NULL, &response, err);
	header = r < 0 ? NULL : http_header(&response, "docker-content-digest", 0);
	if (header && digest_parse(header, ret, NULL) >= 0)
		return 0;
	if (r == -ENOENT || r == -EACCES || r == -ECANCELED)
		return r;
	/* A server that does not answer HEAD, or not in full. */
	r = read_root(s, err);
	if (r >= 0)
		*ret = s->root_descriptor.digest;
	return r;
}

/* ---- documents ---- */

static int copy_answer(const struct http_response *response, struct buf *ret, struct err *err)
{
	return buf_append(ret, buf_text(&response->body), response->body.len) < 0 ?
		       buf_status(ret, err) :
		       0;
}

static bool has_digest(const struct oci_descriptor *d, const struct buf *bytes)
{
	struct digest have;

	return (int64_t)bytes->len == d->size &&
	       digest_of(d->digest.text, buf_text(bytes), bytes->len, &have, NULL) >= 0 &&
	       digest_equal(&have, &d->digest);
}

static int check_document(struct registry *s, struct http_response *response, struct err *err)
{
	struct digest have;
	int r;

	if (has_digest(s->wanted, &response->body))
		return 0;
	r = digest_of(s->wanted->digest.text, buf_text(&response->body), response->body.len, &have,
		      err);
	return r < 0 ? r :
		       fail(err, -EBADMSG,
			    "%s should have %lld bytes and that digest, but what was sent has %zu and %s",
			    s->wanted->digest.text, (long long)s->wanted->size, response->body.len,
			    have.text);
}

static int fetch_document(struct registry *s, const struct oci_descriptor *d, bool blob,
			  struct buf *ret, struct err *err)
{
	const struct client_request request = { .accept = blob ? NULL : manifest_types,
						.body_max = ret->max,
						.max_seconds = CLIENT_DOCUMENT_SECONDS };
	auto_http_response struct http_response response = { 0 };
	auto_free char *rest = NULL;
	int r;

	if (asprintf(&rest, "%s/%s", blob ? "blobs" : "manifests", d->digest.text) < 0) {
		rest = NULL;
		return fail_oom(err);
	}
	s->wanted = d;
	r = ask(s, blob ? for_blobs : for_digests, rest, &request, check_document, &response, err);
	return r < 0 ? r : copy_answer(&response, ret, err);
}

static bool is_stored(struct registry *s, const struct oci_descriptor *d, struct buf *ret)
{
	size_t max = ret->max;
	bool stored;

	buf_reset(ret);
	stored = s->options->stored && s->options->stored(s->options->arg, &d->digest, ret) > 0 &&
		 has_digest(d, ret);
	ret->max = max;
	if (!stored)
		buf_reset(ret);
	return stored;
}

static bool is_kept(struct registry *s, const struct oci_descriptor *d, struct buf *ret)
{
	if (s->config.bytes == d->size && read_to_buf(s->config.fd, ret, "partial", NULL) >= 0 &&
	    has_digest(d, ret))
		return true;
	buf_reset(ret);
	return false;
}

/* A config is a blob as any other: of several processes one fetches it, and the others find it in
 * partial/. */
static int fetch_config(struct registry *s, const struct oci_descriptor *d, struct buf *ret,
			struct err *err)
{
	int r;

	partial_close(&s->config);
	r = partial_open(s->options->partial_fd, &d->digest, d->size, CONFIG_WAIT_MS, &s->config,
			 err);
	if (r < 0)
		return r;
	if (!is_kept(s, d, ret) && !is_stored(s, d, ret)) {
		r = fetch_document(s, d, true, ret, err);
		if (r >= 0 && has_digest(d, ret) &&
		    (ftruncate(s->config.fd, 0) < 0 || lseek(s->config.fd, 0, SEEK_SET) < 0 ||
		     write_full(s->config.fd, buf_text(ret), ret->len) < 0))
			r = fail(err, -errno, "write partial/%s: %m", digest_hex(&d->digest));
		if (r < 0 || !has_digest(d, ret))
			partial_drop(&s->config);
	}
	(void)flock(s->config.fd, LOCK_UN);
	return r;
}

static int read_document(struct source *source, const struct oci_descriptor *d,
			 enum source_document kind, struct buf *ret, struct err *err)
{
	struct registry *s = of(source);

	if (s->root_descriptor.media_type && digest_equal(&d->digest, &s->root_descriptor.digest))
		return buf_append(ret, buf_text(&s->root), s->root.len) < 0 ? buf_status(ret, err) :
									      0;
	if ((uint64_t)d->size > ret->max)
		return fail(err, -EFBIG,
			    "%s: it has %lld bytes, more than the %zu that are allowed",
			    source->name, (long long)d->size, ret->max);
	if (is_stored(s, d, ret))
		return 0;
	return kind == SOURCE_CONFIG ? fetch_config(s, d, ret, err) :
				       fetch_document(s, d, false, ret, err);
}

int registry_read_image(struct source *source, struct source_image *ret, struct digest *ret_named,
			struct err *err)
{
	auto_source_image struct source_image image = { 0 };
	struct registry *s = of(source);
	int r = read_root(s, err);

	if (r >= 0)
		r = source_read_manifest(source, &s->root_descriptor, &image, err);
	if (r >= 0)
		r = source_check_image(source, &image, err);
	if (r < 0)
		return r;
	*ret_named = s->root_descriptor.digest;
	*ret = image;
	image = (struct source_image){ 0 };
	return 0;
}

/* ---- layers ---- */

/* Once it is known which server has the manifest: that one is first. */
static int begin_downloads(struct registry *s, struct err *err)
{
	const struct downloads_options options = { .clients = s->clients,
						   .client_count = s->count,
						   .partial_fd = s->options->partial_fd,
						   .parallel = s->options->parallel,
						   .progress = s->options->progress,
						   .progress_arg = s->options->arg };

	return s->downloads ? 0 : downloads_new(&options, &s->downloads, err);
}

static int expect(struct source *source, const struct source_layer *const *layers, size_t count,
		  struct err *err)
{
	struct registry *s = of(source);
	int r = begin_downloads(s, err);

	for (size_t i = 0; r >= 0 && i < count; i++)
		r = downloads_expect(s->downloads, layers[i], err);
	return r;
}

static int open_layer(struct source *source, const struct source_layer *layer,
		      struct source_stream *ret, struct err *err)
{
	struct registry *s = of(source);
	int r = begin_downloads(s, err);

	return r < 0 ? r : downloads_open(s->downloads, layer, ret, err);
}

static int open_blob(struct source *source, const struct source_layer *layer)
{
	struct registry *s = of(source);

	return s->downloads ? downloads_file(s->downloads, &layer->blob) : -ENODATA;
}

static int check_layer(struct source *source, const struct source_layer *layer,
		       const atomic_bool *cancelled, struct err *err)
{
	struct registry *s = of(source);

	return s->downloads ? downloads_check(s->downloads, &layer->blob, cancelled, err) : 0;
}

bool registry_distrust(struct source *source, const struct source_layer *layer)
{
	struct registry *s = of(source);

	return s->downloads && downloads_distrust(s->downloads, &layer->blob);
}

uint64_t registry_end(struct source *source, bool used)
{
	struct registry *s = of(source);
	uint64_t fetched = s->downloads ? downloads_fetched(s->downloads) : 0;

	if (used && s->downloads)
		downloads_done(s->downloads);
	if (used)
		partial_drop(&s->config);
	downloads_freep(&s->downloads);
	partial_close(&s->config);
	return fetched;
}

/* ---- tags ---- */

/* Where the next page is, by 'Link: </v2/x/tags/list?last=b&n=2>; rel="next"'; the caller's. NULL:
 * nowhere. */
static char *next_page(const struct http_response *response)
{
	auto_free char *link = http_header(response, "link", 0);
	char *from = link ? strchr(link, '<') : NULL, *to = from ? strchr(from, '>') : NULL;

	if (!to || !strstr(to, "next"))
		return NULL;
	return strndup(from + 1, (size_t)(to - from) - 1);
}

struct tag_list {
	int (*fn)(void *arg, const char *tag);
	void *arg;
	size_t count;
};

static int read_tags(const struct http_response *response, struct tag_list *list, struct err *err)
{
	auto_json struct json *j = NULL;
	const struct json *tags;
	int r = json_parse(response->body.data, response->body.len, TAGS_PAGE_MAX,
			   "the list of tags", &j, err);

	/* An empty repository has null there. */
	tags = r < 0 ? NULL : json_get(j, "/tags");
	for (size_t i = 0; r == 0 && tags && tags->type == JSON_ARRAY && i < tags->count; i++) {
		if (tags->items[i]->type != JSON_STRING)
			continue;
		if (++list->count > REGISTRY_TAGS_MAX)
			return fail(err, -EFBIG, "it has more than %d tags", REGISTRY_TAGS_MAX);
		r = list->fn(list->arg, tags->items[i]->string);
	}
	return r;
}

/* What "Link" says is a whole URL, a path from the root, or "?last=b": behind the endpoint's path
 * again. */
static const char *rest_of(const char *link, const char *start)
{
	const char *query = strchr(link, '?');

	return query ? query + 1 : start;
}

int registry_tags(struct source *source, int (*fn)(void *arg, const char *tag), void *arg,
		  struct err *err)
{
	const struct client_request request = { .accept = "application/json",
						.body_max = TAGS_PAGE_MAX,
						.max_seconds = CLIENT_DOCUMENT_SECONDS };
	struct registry *s = of(source);
	struct tag_list list = { fn, arg, 0 };
	auto_free char *rest = strdup("tags/list?n=1000");
	int r = rest ? 0 : fail_oom(err);

	for (int page = 0; r == 0 && rest; page++) {
		auto_http_response struct http_response response = { 0 };
		auto_free char *link = NULL;
		char *next = NULL;

		if (page == REGISTRY_PAGES_MAX)
			return fail(err, -EFBIG, "%s: its list of tags has no end", source->name);
		r = ask(s, for_tags, rest, &request, NULL, &response, err);
		if (r < 0)
			return r;
		r = read_tags(&response, &list, err);
		if (r < 0)
			return err_prefix(err, r, "%s", source->name);
		link = next_page(&response);
		if (link && asprintf(&next, "tags/list?%s", rest_of(link, "n=1000")) < 0)
			return fail_oom(err);
		if (next && strcmp(next, rest) == 0) {
			free(next);
			next = NULL;
		}
		free(rest);
		rest = next;
	}
	return r;
}

/* ---- the source ---- */

static void registry_free(struct source *source)
{
	struct registry *s = of(source);

	downloads_freep(&s->downloads);
	for (size_t i = 0; i < s->count; i++)
		client_freep(&s->clients[i]);
	free(s->clients);
	http_freep(&s->http);
	endpoints_release(&s->endpoints);
	free(s->repository);
	free(s->root_descriptor.media_type);
	buf_release(&s->root);
	partial_close(&s->config);
	free(s);
}

static const struct source_ops registry_ops = {
	.read_document = read_document,
	.open_layer = open_layer,
	.expect = expect,
	.check_layer = check_layer,
	.open_blob = open_blob,
	.free = registry_free,
};

static int make_clients(struct registry *s, struct err *err)
{
	int r = 0;

	s->clients = calloc(s->endpoints.count + 1, sizeof(struct client *));
	if (!s->clients)
		return fail_oom(err);
	for (size_t i = 0; r >= 0 && i < s->endpoints.count; i++) {
		const struct endpoint *e = &s->endpoints.items[i];
		auto_free char *scope = NULL;

		if (asprintf(&scope, "repository:%s:pull", e->repository) < 0) {
			scope = NULL;
			return fail_oom(err);
		}
		r = client_new(s->http, e, &s->options->client, scope, &s->clients[i], err);
		s->count += r >= 0;
	}
	return r;
}

int registry_open(const struct registry_options *options, const char *repository,
		  const char *reference, struct source **ret, struct err *err)
{
	struct registry *s = calloc(1, sizeof(*s));
	auto_source struct source *source = NULL;
	int r;

	if (!s)
		return fail_oom(err);
	source = &s->source;
	source_init(source, &registry_ops, options->platform);
	source->foreign = options->foreign;
	s->options = options;
	s->config = (struct partial)PARTIAL_INIT;
	s->repository = strdup(repository);
	if (!s->repository || asprintf(&source->name, "docker://%s", repository) < 0)
		return fail_oom(err);
	r = registries_find(options->registries, reference, &s->endpoints, err);
	if (r >= 0)
		r = http_new(&options->http, &s->http, err);
	if (r >= 0)
		r = make_clients(s, err);
	if (r < 0)
		return r;
	*ret = take_ptr(source);
	return 0;
}

int registry_login(const struct registry_options *options, const char *registry, struct err *err)
{
	const struct client_request request = { .path = "/",
						.body_max = HTTP_ERROR_BODY_MAX,
						.max_seconds = CLIENT_DOCUMENT_SECONDS };
	auto_endpoints struct endpoints endpoints = { 0 };
	auto_http struct http *http = NULL;
	auto_client struct client *client = NULL;
	auto_http_response struct http_response response = { 0 };
	auto_free char *repository = NULL;
	int r;

	if (asprintf(&repository, "%s/library/x", registry) < 0) {
		repository = NULL;
		return fail_oom(err);
	}
	r = registries_find(options->registries, repository, &endpoints, err);
	if (r >= 0)
		r = http_new(&options->http, &http, err);
	if (r >= 0)
		r = client_new(http, &endpoints.items[endpoints.count - 1], &options->client, NULL,
			       &client, err);
	return r < 0 ? r : client_get(client, &request, &response, err);
}
