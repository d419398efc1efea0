/* SPDX-License-Identifier: Apache-2.0 */
#include "graph/fetch/client.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "driver/base/fd.h"
#include "driver/base/json.h"

#define HEADERS_MAX 16
#define ROUNDS_MAX  2 /* of credentials in one request */
#define LOOK_NS	    50000000

struct client {
	struct http *http;
	const struct endpoint *endpoint;
	const struct client_options *options;
	struct auth *auth;
	struct buf authorities;
	struct http_trust trust;  /* of the endpoint */
	struct http_trust others; /* of where it leads to */
	atomic_bool plain;	  /* http it is */
	atomic_bool settled;	  /* no question any more whether http or https */
	atomic_bool reached;	  /* it has answered */
};

/* ---- making one ---- */

static int read_credentials(struct client *c, struct credentials *ret, struct err *err)
{
	const struct endpoint *e = c->endpoint;
	int r;

	if (c->options->user_password && !e->mirror) {
		r = credentials_parse(c->options->user_password, ret, err);
		return r < 0 ? err_prefix(err, r, "--creds") : r;
	}
	r = credentials_find(c->options->authfile, e->registry, e->repository ? e->repository : "",
			     ret, err);
	return r < 0 ? err_prefix(err, r, "credentials for %s", e->registry) : r;
}

static int read_trust(struct client *c, struct err *err)
{
	const struct endpoint *e = c->endpoint;
	int r = 0;

	c->trust.skip_verify = e->skip_verify;
	if (!e->skip_verify && (e->ca_count || secure_getenv("SSL_CERT_FILE"))) {
		r = http_read_authorities(e->ca_files, e->ca_count, &c->authorities, err);
		c->trust.authorities = buf_text(&c->authorities);
		c->trust.authorities_len = c->authorities.len;
	}
	c->others = c->trust;
	c->trust.client_cert = e->client_cert;
	c->trust.client_key = e->client_key;
	return r < 0 ? err_prefix(err, r, "certificates for %s", e->host) : 0;
}

int client_new(struct http *http, const struct endpoint *endpoint,
	       const struct client_options *options, const char *scope, struct client **ret,
	       struct err *err)
{
	auto_client struct client *c = calloc(1, sizeof(*c));
	auto_credentials struct credentials credentials = { 0 };
	int r;

	if (!c)
		return fail_oom(err);
	c->http = http;
	c->endpoint = endpoint;
	c->options = options;
	atomic_store(&c->plain, endpoint->scheme == ENDPOINT_HTTP);
	atomic_store(&c->settled, endpoint->scheme != ENDPOINT_EITHER);
	r = read_trust(c, err);
	if (r >= 0)
		r = read_credentials(c, &credentials, err);
	if (r >= 0)
		r = auth_new(http, &credentials, scope, &c->auth, err);
	if (r < 0)
		return r;
	*ret = take_ptr(c);
	return 0;
}

void client_freep(struct client **at)
{
	struct client *c = *at;

	if (!c)
		return;
	auth_freep(&c->auth);
	buf_release(&c->authorities);
	free(c);
	*at = NULL;
}

const struct endpoint *client_endpoint(const struct client *c)
{
	return c->endpoint;
}

/* ---- words ---- */

/* What a registry says of an error: {"errors":[{"code":"MANIFEST_UNKNOWN","message":"..."}]}. */
static void add_errors(const struct http_response *response, struct buf *words)
{
	auto_json struct json *j = NULL;
	const struct json *errors;

	if (json_parse(response->body.data, response->body.len, HTTP_ERROR_BODY_MAX, "", &j, NULL) <
	    0)
		return;
	errors = json_get(j, "/errors");
	for (size_t i = 0; errors && errors->type == JSON_ARRAY && i < errors->count && i < 3; i++)
		(void)buf_printf(words, ": %.100s: %.300s",
				 json_string_or(errors->items[i], "/code", ""),
				 json_string_or(errors->items[i], "/message", ""));
}

static const struct {
	int status, code;
	enum http_trouble trouble;
	const char *words;
} statuses[] = {
	{ 400, -EREMOTEIO, HTTP_LASTING, "bad request" },
	{ 401, -EACCES, HTTP_LASTING, "access denied" },
	{ 403, -EACCES, HTTP_LASTING, "access denied" },
	{ 404, -ENOENT, HTTP_LASTING, "not found" },
	{ 408, -EREMOTEIO, HTTP_PASSING, "request timeout" },
	{ 416, -ERANGE, HTTP_LASTING, "range not satisfiable" },
	{ 429, -EREMOTEIO, HTTP_PASSING, "too many requests" },
	{ 500, -EREMOTEIO, HTTP_PASSING, "internal server error" },
	{ 502, -EREMOTEIO, HTTP_PASSING, "bad gateway" },
	{ 503, -EREMOTEIO, HTTP_PASSING, "service unavailable" },
	{ 504, -EREMOTEIO, HTTP_PASSING, "gateway timeout" },
};

/* The answer as a code and words. */
static int judge(const struct client *c, const char *url, const struct http_response *response,
		 enum http_trouble *trouble, struct err *err)
{
	auto_free char *shown = http_url_words(url);
	auto_buf struct buf words = { .max = 2000 };
	const char *asked = "", *by = "";
	int status = response->status, code = -EREMOTEIO;

	*trouble = HTTP_OK;
	if (status >= 200 && status < 300)
		return 0;
	*trouble = status >= 500 ? HTTP_PASSING : HTTP_LASTING;
	(void)buf_printf(&words, "status %d", status);
	for (size_t i = 0; i < ARRAY_LEN(statuses); i++)
		if (statuses[i].status == status) {
			(void)buf_printf(&words, ", %s", statuses[i].words);
			code = statuses[i].code;
			*trouble = statuses[i].trouble;
		}
	add_errors(response, &words);
	if (code == -EACCES || code == -ENOENT) {
		asked = ", asked ";
		by = auth_words(c->auth);
	}
	return fail(err, code, "%s: %s%s%s", shown ? shown : "", buf_text(&words), asked, by);
}

/* ---- one try ---- */

/* A request on its way from URL to URL. */
struct journey {
	struct client *client;
	const struct client_request *request;
	char *url;
	char *home; /* origin of the endpoint */
	char *used; /* Authorization sent last, or NULL */
	int hops, rounds;
};

static void journey_release(struct journey *j)
{
	free(j->url);
	free(j->home);
	secret_free(&j->used);
}

static int start(struct journey *j, struct err *err)
{
	const struct endpoint *e = j->client->endpoint;
	const char *scheme = atomic_load(&j->client->plain) ? "http" : "https";
	bool whole = j->request->path[0] != '/';

	free(j->url);
	free(j->home);
	j->home = NULL;
	if (asprintf(&j->url, "%s://%s%s%s%s%s", scheme, e->host, e->path, j->request->path,
		     e->namespace ? (strchr(j->request->path, '?') ? "&ns=" : "?ns=") : "",
		     e->namespace ? e->namespace : "") < 0) {
		j->url = NULL;
		return fail_oom(err);
	}
	j->home = http_origin(j->url);
	if (!j->home)
		return fail(err, -EINVAL, "\"%.300s\" is no name of a server", e->host);
	if (!whole)
		return 0;
	free(j->url);
	j->url = strdup(j->request->path);
	return j->url ? 0 : fail_oom(err);
}

static bool is_home(const struct journey *j)
{
	auto_free char *origin = http_origin(j->url);

	return origin && strcmp(origin, j->home) == 0;
}

struct header_list {
	char *items[HEADERS_MAX];
	size_t count;
};

static void header_list_release(struct header_list *list)
{
	for (size_t i = 0; i < list->count; i++)
		secret_free(&list->items[i]);
}

static int add_header(struct header_list *list, const char *name, const char *value,
		      struct err *err)
{
	if (list->count == HEADERS_MAX)
		return fail(err, -E2BIG, "more than %d headers are configured", HEADERS_MAX);
	if (asprintf(&list->items[list->count], "%s%s%s", name, name[0] ? ": " : "", value) < 0)
		return fail_oom(err);
	list->count++;
	return 0;
}

static int list_headers(struct journey *j, bool home, struct header_list *list, struct err *err)
{
	const struct client_request *request = j->request;
	const struct endpoint *e = j->client->endpoint;
	char range[40];
	int r = 0;

	if (request->accept)
		r = add_header(list, "Accept", request->accept, err);
	if (r >= 0 && request->from > 0) {
		(void)snprintf(range, sizeof(range), "bytes=%lld-", (long long)request->from);
		r = add_header(list, "Range", range, err);
	}
	if (r >= 0 && request->from > 0 && request->validator)
		r = add_header(list, "If-Range", request->validator, err);
	for (size_t i = 0; home && r >= 0 && i < e->header_count; i++)
		r = add_header(list, "", e->headers[i], err);
	if (r >= 0 && home && j->used)
		r = add_header(list, "Authorization", j->used, err);
	return r;
}

static int send(struct journey *j, struct http_response *ret, enum http_trouble *trouble,
		struct err *err)
{
	AUTO(header_list_release) struct header_list list = { .count = 0 };
	struct client *c = j->client;
	const struct client_request *q = j->request;
	bool home = is_home(j);
	struct http_request request = { .url = j->url,
					.head = q->head,
					.headers = (const char *const *)list.items,
					.trust = home ? &c->trust : &c->others,
					.sink = q->sink,
					.body_max = q->body_max,
					.max_seconds = q->max_seconds,
					.cancelled = q->cancelled };
	int r;

	secret_free(&j->used);
	j->used = home ? auth_header(c->auth) : NULL;
	r = list_headers(j, home, &list, err);
	if (r < 0)
		return r;
	request.header_count = list.count;
	http_response_release(ret);
	r = http_request(c->http, &request, ret, trouble, err);
	/* Or broke off amid its answer. */
	if (home && (r >= 0 || ret->status > 0)) {
		atomic_store(&c->settled, true);
		atomic_store(&c->reached, true);
	}
	return r;
}

/* A server that may be asked in either way, and cannot be had by TLS: plain HTTP is tried, and kept to
 * where that works. A certificate that is not right is an answer. */
static bool try_plain(struct client *c, enum http_trouble trouble)
{
	if (atomic_load(&c->settled) || trouble == HTTP_LASTING)
		return false;
	atomic_store(&c->plain, !atomic_load(&c->plain));
	return atomic_load(&c->plain);
}

/* Where the answer leads to: 1 and j->url is it; 0: nowhere. */
static int follow(struct journey *j, const struct http_response *response, struct err *err)
{
	auto_free char *location = NULL, *words = NULL;
	char *next = NULL;
	int r;

	if (response->status < 301 || response->status > 308)
		return 0;
	location = http_header(response, "location", 0);
	if (!location || !location[0])
		return 0;
	words = http_url_words(j->url);
	if (j->hops++ == CLIENT_REDIRECTS_MAX)
		return fail(err, -ELOOP, "%s: led on more than %d times", words ? words : "",
			    CLIENT_REDIRECTS_MAX);
	r = http_resolve(j->url, location, &next, err);
	if (r >= 0 && strncmp(j->url, "https:", 6) == 0 && strncmp(next, "https:", 6) != 0)
		r = fail(err, -EPROTO, "it leads from https to http, which is not followed");
	if (r < 0) {
		free(next);
		return err_prefix(err, r, "%s", words ? words : "");
	}
	free(j->url);
	j->url = next;
	return 1;
}

/* 1: ask again, with other credentials. */
static int answer_challenge(struct journey *j, const struct http_response *response,
			    enum http_trouble *trouble, struct err *err)
{
	struct client *c = j->client;
	auto_free char *words = NULL;
	int r;

	if (response->status != 401 || j->rounds++ == ROUNDS_MAX || !is_home(j))
		return 0;
	r = auth_challenged(c->auth, j->url, response, j->used, &c->trust, j->request->cancelled,
			    trouble, err);
	if (r >= 0)
		return 1;
	if (r == -ECANCELED)
		return r;
	words = http_url_words(j->url);
	return r == -EACCES ?
		       fail(err, r,
			    "%s: access denied, asked %s: %s; 'overlaid login %s' keeps others",
			    words ? words : "", auth_words(c->auth), err ? err->text : "",
			    c->endpoint->registry) :
		       err_prefix(err, r, "%s", words ? words : "");
}

/* -EAGAIN: ask on. */
static int step(struct journey *j, struct http_response *ret, enum http_trouble *trouble,
		struct err *err)
{
	struct err why = { "" };
	int r = send(j, ret, trouble, &why);

	if (r < 0 && try_plain(j->client, *trouble)) {
		r = start(j, err);
		return r < 0 ? r : -EAGAIN;
	}
	if (r < 0)
		return fail(err, r, "%s", why.text);
	*trouble = HTTP_LASTING;
	r = follow(j, ret, err);
	if (r == 0)
		r = answer_challenge(j, ret, trouble, &why);
	if (r < 0 && why.text[0])
		return fail(err, r, "%s", why.text);
	if (r != 0)
		return r < 0 ? r : -EAGAIN;
	return judge(j->client, j->url, ret, trouble, err);
}

int client_try(struct client *c, const struct client_request *request, struct http_response *ret,
	       enum http_trouble *trouble, struct err *err)
{
	AUTO(journey_release) struct journey j = { .client = c, .request = request };
	int r = start(&j, err);

	*trouble = HTTP_LASTING;
	if (r < 0)
		return r;
	do {
		r = step(&j, ret, trouble, err);
	} while (r == -EAGAIN);
	return r;
}

/* ---- another try ---- */

/* Seconds that Retry-After asks for; -1: it does not. RFC 9110, 10.2.3: a number, or a date. */
static int64_t retry_after(const struct http_response *response)
{
	static const char format[] = "%a, %d %b %Y %H:%M:%S GMT";
	auto_free char *value = http_header(response, "retry-after", 0);
	struct tm tm = { 0 };
	char *end;
	int64_t seconds;

	if (!value)
		return -1;
	seconds = strtoll(value, &end, 10);
	if (end != value && !*end)
		return seconds < 0 ? -1 : seconds;
	end = strptime(value, format, &tm);
	if (!end || *end)
		return -1;
	seconds = (int64_t)timegm(&tm) - (int64_t)time(NULL);
	return seconds < 0 ? 0 : seconds;
}

/* 0.75 to 1.25 times, so that many do not come back at once. */
static uint64_t vary(uint64_t ns)
{
	char digits[5];

	random_hex(digits, 4);
	return ns / 4 * 3 + ns / 2 / 65536 * (uint64_t)strtoul(digits, NULL, 16);
}

static uint64_t backoff(const struct client *c, unsigned int tries)
{
	uint64_t most = (uint64_t)CLIENT_DELAY_MAX_SECONDS * 1000000000, ns = c->options->delay_ns;

	for (unsigned int i = 1; i < tries && ns < most; i++)
		ns *= 2;
	return vary(ns < most ? ns : most);
}

static int pause_ns(uint64_t ns, const atomic_bool *cancelled, struct err *err)
{
	while (ns > 0) {
		uint64_t slice = ns < LOOK_NS ? ns : LOOK_NS;
		const struct timespec ts = { .tv_nsec = (long)slice };

		if (cancelled && atomic_load(cancelled))
			return fail(err, -ECANCELED, "cancelled");
		(void)clock_nanosleep(CLOCK_MONOTONIC, 0, &ts, NULL);
		ns -= slice;
	}
	return 0;
}

int client_wait(struct client *c, struct client_patience *patience,
		const struct http_response *response, enum http_trouble trouble, int code,
		const atomic_bool *cancelled, struct err *err)
{
	bool absent = !atomic_load(&c->reached) && (code == -ECONNREFUSED || code == -EHOSTUNREACH);
	unsigned int most = absent && c->options->retries > 1 ? 1 : c->options->retries;
	int64_t seconds = retry_after(response);
	uint64_t ns;
	char text[2200];

	/* TLS that cannot be had may be a connection that broke while it was made. */
	if (trouble != HTTP_PASSING && !(trouble == HTTP_NO_TLS && atomic_load(&c->reached)))
		return code;
	if (seconds > CLIENT_RETRY_AFTER_MAX_SECONDS)
		return fail(err, code, "%s; it wants to be asked again in %lld s: try later",
			    err ? err->text : "", (long long)seconds);
	if (patience->tries++ >= most)
		return most == 0 ? code :
				   fail(err, code, "%s; tried %u times", err ? err->text : "",
					patience->tries);
	ns = seconds >= 0 ? (uint64_t)seconds * 1000000000 : backoff(c, patience->tries);
	(void)snprintf(text, sizeof(text), "%s: retrying in %.1f s", err ? err->text : "",
		       (double)ns / 1e9);
	if (c->options->note)
		c->options->note(c->options->note_arg, text);
	return pause_ns(ns, cancelled, err);
}

int client_get(struct client *c, const struct client_request *request, struct http_response *ret,
	       struct err *err)
{
	struct client_patience patience = { 0 };
	enum http_trouble trouble;
	struct err words;
	int r;

	do {
		words.text[0] = '\0';
		r = client_try(c, request, ret, &trouble, &words);
		if (r < 0)
			r = client_wait(c, &patience, ret, trouble, r, request->cancelled, &words);
		else
			return r;
	} while (r == 0);
	return fail(err, r, "%s", words.text);
}
