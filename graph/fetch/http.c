/* SPDX-License-Identifier: Apache-2.0 */
#include "graph/fetch/http.h"

#include <ctype.h>
#include <curl/curl.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "driver/base/clock.h"
#include "driver/base/dl.h"
#include "driver/base/fd.h"
#include "driver/base/pool.h"
#include "graph/fetch/registries.h"

#define RECEIVE_BYTES	   (512L << 10) /* the most that libcurl reads at once */
#define LOOK_MS		   200 /* how often a waiting caller looks whether it is cancelled */
#define AUTHORITIES_MAX	   ((size_t)8 << 20)
#define MIN_SPEED_STANDARD 1024
#define STALL_STANDARD	   30

/* ---- libcurl ---- */

static struct {
	CURLcode (*global_init)(long);
	CURL *(*easy_init)(void);
	CURLcode (*easy_setopt)(CURL *, CURLoption, ...);
	CURLcode (*easy_getinfo)(CURL *, CURLINFO, ...);
	void (*easy_cleanup)(CURL *);
	const char *(*easy_strerror)(CURLcode);
	CURLM *(*multi_init)(void);
	CURLMcode (*multi_add_handle)(CURLM *, CURL *);
	CURLMcode (*multi_remove_handle)(CURLM *, CURL *);
	CURLMcode (*multi_perform)(CURLM *, int *);
	CURLMcode (*multi_poll)(CURLM *, struct curl_waitfd *, unsigned int, int, int *);
	CURLMcode (*multi_wakeup)(CURLM *);
	CURLMsg *(*multi_info_read)(CURLM *, int *);
	CURLMcode (*multi_cleanup)(CURLM *);
	struct curl_slist *(*slist_append)(struct curl_slist *, const char *);
	void (*slist_free_all)(struct curl_slist *);
	CURLU *(*url)(void);
	void (*url_cleanup)(CURLU *);
	CURLUcode (*url_set)(CURLU *, CURLUPart, const char *, unsigned int);
	CURLUcode (*url_get)(const CURLU *, CURLUPart, char **, unsigned int);
	void (*free)(void *);
	curl_version_info_data *(*version_info)(CURLversion);
} curl;

static const struct dl_symbol curl_symbols[] = {
	{ "curl_global_init", &curl.global_init },
	{ "curl_easy_init", &curl.easy_init },
	{ "curl_easy_setopt", &curl.easy_setopt },
	{ "curl_easy_getinfo", &curl.easy_getinfo },
	{ "curl_easy_cleanup", &curl.easy_cleanup },
	{ "curl_easy_strerror", &curl.easy_strerror },
	{ "curl_multi_init", &curl.multi_init },
	{ "curl_multi_add_handle", &curl.multi_add_handle },
	{ "curl_multi_remove_handle", &curl.multi_remove_handle },
	{ "curl_multi_perform", &curl.multi_perform },
	{ "curl_multi_poll", &curl.multi_poll },
	{ "curl_multi_wakeup", &curl.multi_wakeup },
	{ "curl_multi_info_read", &curl.multi_info_read },
	{ "curl_multi_cleanup", &curl.multi_cleanup },
	{ "curl_slist_append", &curl.slist_append },
	{ "curl_slist_free_all", &curl.slist_free_all },
	{ "curl_url", &curl.url },
	{ "curl_url_cleanup", &curl.url_cleanup },
	{ "curl_url_set", &curl.url_set },
	{ "curl_url_get", &curl.url_get },
	{ "curl_free", &curl.free },
	{ "curl_version_info", &curl.version_info },
};

static struct dl_library curl_library = {
	.soname = "libcurl.so.4",
	.package = "libcurl4",
	.symbols = curl_symbols,
	.symbol_count = ARRAY_LEN(curl_symbols),
	.lock = PTHREAD_MUTEX_INITIALIZER,
};

/* ---- URLs ---- */

static void url_freep(CURLU **url)
{
	if (*url)
		curl.url_cleanup(*url);
}

/* The part, the caller's, or NULL. */
static char *url_part(const CURLU *url, CURLUPart part, unsigned int flags)
{
	char *text = NULL, *copy;

	if (curl.url_get(url, part, &text, flags) != CURLUE_OK)
		return NULL;
	copy = strdup(text);
	curl.free(text);
	return copy;
}

static CURLU *url_parse(const char *text)
{
	CURLU *url = dl_load(&curl_library, NULL) < 0 ? NULL : curl.url();

	if (url && curl.url_set(url, CURLUPART_URL, text, CURLU_NON_SUPPORT_SCHEME) != CURLUE_OK)
		url_freep(&url), url = NULL;
	return url;
}

char *http_url_words(const char *text)
{
	AUTO(url_freep) CURLU *url = url_parse(text);

	if (!url)
		return strdup("(a URL that cannot be read)");
	(void)curl.url_set(url, CURLUPART_QUERY, NULL, 0);
	(void)curl.url_set(url, CURLUPART_FRAGMENT, NULL, 0);
	(void)curl.url_set(url, CURLUPART_USER, NULL, 0);
	(void)curl.url_set(url, CURLUPART_PASSWORD, NULL, 0);
	return url_part(url, CURLUPART_URL, 0);
}

char *http_origin(const char *text)
{
	AUTO(url_freep) CURLU *url = url_parse(text);
	auto_free char *scheme = url ? url_part(url, CURLUPART_SCHEME, 0) : NULL;
	auto_free char *host = url ? url_part(url, CURLUPART_HOST, 0) : NULL;
	auto_free char *port = url ? url_part(url, CURLUPART_PORT, CURLU_DEFAULT_PORT) : NULL;
	char *origin;

	if (!scheme || !host || asprintf(&origin, "%s://%s:%s", scheme, host, port ? port : "") < 0)
		return NULL;
	for (char *p = origin; *p; p++)
		*p = (char)tolower((unsigned char)*p);
	return origin;
}

int http_resolve(const char *base, const char *location, char **ret, struct err *err)
{
	AUTO(url_freep) CURLU *url = url_parse(base);
	auto_free char *scheme = NULL, *full = NULL;

	if (!url || curl.url_set(url, CURLUPART_URL, location,
				 CURLU_NON_SUPPORT_SCHEME | CURLU_URLENCODE) != CURLUE_OK)
		return fail(err, -EPROTO, "it leads to \"%.*s\", which is no URL",
			    (int)strnlen(location, strcspn(location, "?") < 200 ?
							   strcspn(location, "?") :
							   200),
			    location);
	scheme = url_part(url, CURLUPART_SCHEME, 0);
	full = url_part(url, CURLUPART_URL, 0);
	if (!full || !scheme)
		return fail_oom(err);
	if (strcmp(scheme, "https") != 0 && strcmp(scheme, "http") != 0)
		return fail(err, -EPROTO, "it leads to a URL of scheme \"%.50s\", not https",
			    scheme);
	*ret = take_ptr(full);
	return 0;
}

/* ---- one exchange ---- */

struct exchange {
	const struct http_request *request;
	struct http_response *response;
	struct curl_slist *headers;
	CURL *easy;
	char *words; /* the URL */
	size_t header_bytes;
	bool headed; /* all headers are there */
	bool begun;  /* the sink knows */
	bool held;   /* the sink has got something since it was flushed */
	bool enough; /* of an error's body */
	int failed;  /* by us */
	struct err err;
	char curl_error[CURL_ERROR_SIZE];
	CURLcode code;
	bool done; /* under http.lock */
	atomic_bool abandoned;
	struct exchange *next;
};

struct http {
	struct http_options options;
	CURLM *multi;
	pthread_t thread;
	bool started;
	pthread_mutex_t lock;
	pthread_cond_t ended;
	struct exchange *submitted; /* under lock */
	bool stop;		    /* under lock */
	struct exchange *active;    /* the thread's own */
};

void http_response_release(struct http_response *r)
{
	buf_release(&r->headers);
	buf_release(&r->body);
}

char *http_header(const struct http_response *r, const char *name, size_t n)
{
	size_t len = strlen(name);

	for (const char *p = buf_text(&r->headers), *end; (end = strchr(p, '\n')); p = end + 1)
		if (strncmp(p, name, len) == 0 && p[len] == ':' && n-- == 0)
			return strndup(p + len + 2, (size_t)(end - p) - len - 2);
	return NULL;
}

/* One line of the headers, without its end, into response->headers. */
static void keep_header(struct http_response *response, const char *line, size_t len)
{
	const char *colon = memchr(line, ':', len);
	size_t at;

	while (len && (line[len - 1] == ' ' || line[len - 1] == '\t'))
		len--;
	/* What is folded is obsolete (RFC 9112, 5.2), and never one that is asked for. */
	if (!colon || colon == line || line[0] == ' ' || line[0] == '\t')
		return;
	for (at = 0; line + at < colon; at++)
		(void)buf_putc(&response->headers, (char)tolower((unsigned char)line[at]));
	(void)buf_puts(&response->headers, ": ");
	for (at++; at < len && (line[at] == ' ' || line[at] == '\t'); at++)
		;
	for (; at < len; at++)
		(void)buf_putc(&response->headers,
			       (unsigned char)line[at] < ' ' || line[at] == 127 ? ' ' : line[at]);
	(void)buf_putc(&response->headers, '\n');
}

static size_t on_header(char *data, size_t size, size_t count, void *arg)
{
	struct exchange *x = arg;
	size_t len = size * count, bare = len;

	x->header_bytes += len;
	if (x->header_bytes > HTTP_HEADERS_MAX) {
		x->failed = fail(&x->err, -EFBIG,
				 "the headers of the answer are longer than %zu bytes",
				 HTTP_HEADERS_MAX);
		return 0;
	}
	while (bare && (data[bare - 1] == '\n' || data[bare - 1] == '\r'))
		bare--;
	/* One of several answers: 100 Continue, say. */
	if (bare > 5 && strncmp(data, "HTTP/", 5) == 0) {
		buf_reset(&x->response->headers);
		x->headed = false;
	} else {
		keep_header(x->response, data, bare);
		x->headed = x->headed || bare == 0;
	}
	return len;
}

static void read_status(struct exchange *x)
{
	long status = 0;
	curl_off_t length = -1;

	(void)curl.easy_getinfo(x->easy, CURLINFO_RESPONSE_CODE, &status);
	(void)curl.easy_getinfo(x->easy, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
	x->response->status = (int)status;
	x->response->length = length;
}

static bool is_success(const struct http_response *r)
{
	return r->status >= 200 && r->status < 300;
}

static int begin_body(struct exchange *x)
{
	const struct http_sink *sink = x->request->sink;
	bool kept;

	read_status(x);
	x->begun = true;
	kept = !sink || !is_success(x->response);
	x->response->body.max = is_success(x->response) ? x->request->body_max :
							  HTTP_ERROR_BODY_MAX;
	if (!kept)
		return sink->begin(sink->arg, x->response, &x->err);
	if (is_success(x->response) && x->response->length > 0 && !x->request->head &&
	    (uint64_t)x->response->length > x->request->body_max)
		return fail(&x->err, -EFBIG,
			    "the answer has %lld bytes, more than the %zu that are allowed",
			    (long long)x->response->length, x->request->body_max);
	return 0;
}

static int take_body(struct exchange *x, const char *data, size_t len)
{
	const struct http_sink *sink = x->request->sink;
	struct buf *body = &x->response->body;

	if (sink && is_success(x->response)) {
		x->held = true;
		return sink->write(sink->arg, data, len, &x->err);
	}
	if (body->len + len <= body->max)
		return buf_append(body, data, len) < 0 ? fail_oom(&x->err) : 0;
	if (is_success(x->response))
		return fail(&x->err, -EFBIG,
			    "the answer is longer than the %zu bytes that are allowed", body->max);
	x->enough = true;
	return -EFBIG;
}

static size_t on_body(char *data, size_t size, size_t count, void *arg)
{
	struct exchange *x = arg;
	size_t len = size * count;

	if (!x->begun)
		x->failed = begin_body(x);
	if (x->failed >= 0)
		x->failed = take_body(x, data, len);
	/* Fewer than were given: the transfer ends. */
	return x->failed < 0 ? (len == 0) : len;
}

static void set_trust(CURL *easy, const struct http_trust *trust)
{
	struct curl_blob blob;

	if (!trust)
		return;
	(void)curl.easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, trust->skip_verify ? 0L : 1L);
	(void)curl.easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, trust->skip_verify ? 0L : 2L);
	if (trust->authorities) {
		blob = (struct curl_blob){ .data = (void *)(uintptr_t)trust->authorities,
					   .len = trust->authorities_len,
					   .flags = CURL_BLOB_NOCOPY };
		(void)curl.easy_setopt(easy, CURLOPT_CAINFO_BLOB, &blob);
	}
	if (trust->client_cert) {
		(void)curl.easy_setopt(easy, CURLOPT_SSLCERT, trust->client_cert);
		(void)curl.easy_setopt(easy, CURLOPT_SSLKEY,
				       trust->client_key ? trust->client_key : trust->client_cert);
	}
}

/* libcurl takes HTTP_PROXY in lower case only, as CGI programs get "Proxy:" of strangers under that
 * name; and it has a proxy for loopback too. */
static void set_proxy(CURL *easy, const char *url_text)
{
	AUTO(url_freep) CURLU *url = url_parse(url_text);
	auto_free char *host = url ? url_part(url, CURLUPART_HOST, 0) : NULL;
	const char *upper = secure_getenv("HTTP_PROXY");

	if (host && registries_is_loopback(host))
		(void)curl.easy_setopt(easy, CURLOPT_PROXY, "");
	else if (upper && !secure_getenv("http_proxy") && !secure_getenv("REQUEST_METHOD") &&
		 strncmp(url_text, "http:", 5) == 0)
		(void)curl.easy_setopt(easy, CURLOPT_PROXY, upper);
}

static int set_headers(struct exchange *x, struct err *err)
{
	for (size_t i = 0; i < x->request->header_count; i++) {
		struct curl_slist *more = curl.slist_append(x->headers, x->request->headers[i]);

		if (!more)
			return fail_oom(err);
		x->headers = more;
	}
	return 0;
}

static int set_options(struct http *http, struct exchange *x, struct err *err)
{
	const struct http_request *request = x->request;
	CURL *easy = x->easy;
	int r = set_headers(x, err);

	if (r < 0)
		return r;
	(void)curl.easy_setopt(easy, CURLOPT_PRIVATE, x);
	(void)curl.easy_setopt(easy, CURLOPT_URL, request->url);
	(void)curl.easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
	(void)curl.easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	(void)curl.easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
	(void)curl.easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_2TLS);
	(void)curl.easy_setopt(easy, CURLOPT_USERAGENT, "overlaid/" OVERLAID_VERSION);
	(void)curl.easy_setopt(easy, CURLOPT_HTTPHEADER, x->headers);
	(void)curl.easy_setopt(easy, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
	(void)curl.easy_setopt(easy, CURLOPT_BUFFERSIZE, RECEIVE_BYTES);
	(void)curl.easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
	(void)curl.easy_setopt(easy, CURLOPT_CONNECTTIMEOUT,
			       http->options.stall_seconds < HTTP_CONNECT_SECONDS ?
				       (long)http->options.stall_seconds :
				       (long)HTTP_CONNECT_SECONDS);
	(void)curl.easy_setopt(easy, CURLOPT_LOW_SPEED_LIMIT, (long)http->options.min_speed);
	(void)curl.easy_setopt(easy, CURLOPT_LOW_SPEED_TIME, (long)http->options.stall_seconds);
	(void)curl.easy_setopt(easy, CURLOPT_TIMEOUT, (long)request->max_seconds);
	(void)curl.easy_setopt(easy, CURLOPT_ERRORBUFFER, x->curl_error);
	(void)curl.easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
	(void)curl.easy_setopt(easy, CURLOPT_HEADERDATA, x);
	(void)curl.easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
	(void)curl.easy_setopt(easy, CURLOPT_WRITEDATA, x);
	if (request->head)
		(void)curl.easy_setopt(easy, CURLOPT_NOBODY, 1L);
	if (request->form)
		(void)curl.easy_setopt(easy, CURLOPT_POSTFIELDS, request->form);
	set_trust(easy, request->trust);
	set_proxy(easy, request->url);
	return 0;
}

static void exchange_release(struct exchange *x)
{
	if (x->easy)
		curl.easy_cleanup(x->easy);
	if (x->headers)
		curl.slist_free_all(x->headers);
	free(x->words);
}

/* ---- the thread ---- */

static int flush(struct exchange *x)
{
	const struct http_sink *sink = x->request->sink;
	int r = x->held && sink->flush ? sink->flush(sink->arg, &x->err) : 0;

	x->held = false;
	if (r < 0)
		x->failed = r;
	return r;
}

static void end_exchange(struct http *http, struct exchange *x, CURLcode code)
{
	for (struct exchange **at = &http->active; *at; at = &(*at)->next)
		if (*at == x) {
			*at = x->next;
			break;
		}
	(void)curl.multi_remove_handle(http->multi, x->easy);
	/* What came is kept, whatever came after it. */
	if (flush(x) < 0)
		code = CURLE_WRITE_ERROR;
	/* libcurl takes headers that end in the middle for all of an answer. */
	if (code == CURLE_OK && !x->headed)
		code = CURLE_RECV_ERROR;
	if (code == CURLE_OK && !x->begun) {
		x->failed = begin_body(x);
		code = x->failed < 0 ? CURLE_WRITE_ERROR : code;
	}
	read_status(x);
	(void)pthread_mutex_lock(&http->lock);
	x->code = code;
	x->done = true;
	(void)pthread_cond_broadcast(&http->ended);
	(void)pthread_mutex_unlock(&http->lock);
}

/* What was asked for meanwhile. Whether to go on. */
static bool take_submitted(struct http *http)
{
	struct exchange *new;
	bool stop;

	(void)pthread_mutex_lock(&http->lock);
	new = http->submitted;
	http->submitted = NULL;
	stop = http->stop;
	(void)pthread_mutex_unlock(&http->lock);
	while (new) {
		struct exchange *x = new;

		new = x->next;
		x->next = http->active;
		http->active = x;
		if (curl.multi_add_handle(http->multi, x->easy) != CURLM_OK)
			end_exchange(http, x, CURLE_OUT_OF_MEMORY);
	}
	return !stop || http->active;
}

static void end_abandoned(struct http *http)
{
	for (struct exchange *x = http->active, *next; x; x = next) {
		next = x->next;
		if (atomic_load(&x->abandoned))
			end_exchange(http, x, CURLE_ABORTED_BY_CALLBACK);
	}
}

static void flush_all(struct http *http)
{
	for (struct exchange *x = http->active, *next; x; x = next) {
		next = x->next;
		if (flush(x) < 0)
			end_exchange(http, x, CURLE_WRITE_ERROR);
	}
}

static void *run(void *arg)
{
	struct http *http = arg;
	CURLMsg *message;
	int left;

	while (take_submitted(http)) {
		end_abandoned(http);
		(void)curl.multi_perform(http->multi, &left);
		while ((message = curl.multi_info_read(http->multi, &left))) {
			struct exchange *x = NULL;

			(void)curl.easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &x);
			if (message->msg == CURLMSG_DONE && x)
				end_exchange(http, x, message->data.result);
		}
		flush_all(http);
		(void)curl.multi_poll(http->multi, NULL, 0, 1000, NULL);
	}
	return NULL;
}

int http_new(const struct http_options *options, struct http **ret, struct err *err)
{
	auto_http struct http *http = calloc(1, sizeof(*http));
	pthread_condattr_t monotonic;
	int r = dl_load(&curl_library, err);

	if (r < 0)
		return r;
	if (!http)
		return fail_oom(err);
	if (options)
		http->options = *options;
	if (!http->options.min_speed)
		http->options.min_speed = MIN_SPEED_STANDARD;
	if (!http->options.stall_seconds)
		http->options.stall_seconds = STALL_STANDARD;
	(void)pthread_mutex_init(&http->lock, NULL);
	(void)pthread_condattr_init(&monotonic);
	(void)pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	(void)pthread_cond_init(&http->ended, &monotonic);
	(void)pthread_condattr_destroy(&monotonic);
	/* CURLOPT_PROTOCOLS_STR, and an initialisation that any thread may do. */
	if (curl.version_info(CURLVERSION_NOW)->version_num < 0x075500)
		return fail(err, -ELIBACC,
			    "libcurl is older than 7.85: upgrade the package libcurl4");
	if (curl.global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
		return fail(err, -ELIBACC, "libcurl cannot be initialised");
	http->multi = curl.multi_init();
	if (!http->multi)
		return fail_oom(err);
	r = pool_thread(&http->thread, run, http);
	if (r < 0)
		return fail(err, r, "start a thread: %m");
	http->started = true;
	*ret = take_ptr(http);
	return 0;
}

void http_freep(struct http **at)
{
	struct http *http = *at;
	int saved = errno;

	if (!http)
		return;
	if (http->started) {
		(void)pthread_mutex_lock(&http->lock);
		http->stop = true;
		(void)pthread_mutex_unlock(&http->lock);
		(void)curl.multi_wakeup(http->multi);
		(void)pthread_join(http->thread, NULL);
	}
	if (http->multi)
		(void)curl.multi_cleanup(http->multi);
	(void)pthread_mutex_destroy(&http->lock);
	(void)pthread_cond_destroy(&http->ended);
	free(http);
	*at = NULL;
	errno = saved;
}

/* ---- asking ---- */

/* What libcurl's codes mean; those that are not here are lasting, and -EIO. */
static const struct meaning {
	CURLcode code;
	int error;
	enum http_trouble trouble;
} meanings[] = {
	{ CURLE_COULDNT_RESOLVE_HOST, -EHOSTUNREACH, HTTP_PASSING },
	{ CURLE_COULDNT_RESOLVE_PROXY, -EHOSTUNREACH, HTTP_PASSING },
	{ CURLE_COULDNT_CONNECT, -ECONNREFUSED, HTTP_PASSING },
	{ CURLE_OPERATION_TIMEDOUT, -ETIMEDOUT, HTTP_PASSING },
	{ CURLE_RECV_ERROR, -ECONNRESET, HTTP_PASSING },
	{ CURLE_SEND_ERROR, -ECONNRESET, HTTP_PASSING },
	{ CURLE_GOT_NOTHING, -ECONNRESET, HTTP_PASSING },
	{ CURLE_PARTIAL_FILE, -ECONNRESET, HTTP_PASSING },
	{ CURLE_HTTP2, -ECONNRESET, HTTP_PASSING },
	{ CURLE_HTTP2_STREAM, -ECONNRESET, HTTP_PASSING },
	{ CURLE_SSL_CONNECT_ERROR, -EPROTO, HTTP_NO_TLS },
	{ CURLE_PEER_FAILED_VERIFICATION, -EKEYREJECTED, HTTP_LASTING },
	{ CURLE_SSL_CERTPROBLEM, -EKEYREJECTED, HTTP_LASTING },
	{ CURLE_SSL_CACERT_BADFILE, -EKEYREJECTED, HTTP_LASTING },
	{ CURLE_SSL_ISSUER_ERROR, -EKEYREJECTED, HTTP_LASTING },
	{ CURLE_WEIRD_SERVER_REPLY, -EPROTO, HTTP_LASTING },
	{ CURLE_UNSUPPORTED_PROTOCOL, -EPROTO, HTTP_LASTING },
	{ CURLE_URL_MALFORMAT, -EINVAL, HTTP_LASTING },
	{ CURLE_OUT_OF_MEMORY, -ENOMEM, HTTP_LASTING },
};

static const char *certificate_hint(int code, const struct exchange *x)
{
	if (code != -EKEYREJECTED || (x->request->trust && x->request->trust->client_cert))
		return "";
	return " (an authority that the system does not know is named by --cert-dir or certs.d;"
	       " --tls-verify=false looks at no certificate)";
}

/* What libcurl says; but it quotes a proxy's URL with user and password. */
static const char *curl_words(const struct exchange *x)
{
	return x->curl_error[0] && !strstr(x->curl_error, "://") && !strchr(x->curl_error, '@') ?
		       x->curl_error :
		       curl.easy_strerror(x->code);
}

static int explain(const struct http *http, const struct exchange *x, enum http_trouble *trouble,
		   struct err *err)
{
	struct meaning found = { x->code, -EIO, HTTP_LASTING };

	*trouble = HTTP_OK;
	if (x->code == CURLE_OK || (x->enough && x->code == CURLE_WRITE_ERROR))
		return 0;
	*trouble = HTTP_LASTING;
	if (atomic_load(&x->abandoned))
		return fail(err, -ECANCELED, "cancelled");
	if (x->failed < 0)
		return fail(err, x->failed, "%s: %s", x->words, x->err.text);
	for (size_t i = 0; i < ARRAY_LEN(meanings); i++)
		if (meanings[i].code == x->code)
			found = meanings[i];
	*trouble = found.trouble;
	if (found.error == -ETIMEDOUT)
		return fail(err, found.error,
			    "%s: %s (slower than %u bytes a second for %u s is a failure)",
			    x->words, curl_words(x), http->options.min_speed,
			    http->options.stall_seconds);
	return fail(err, found.error, "%s: %s%s", x->words, curl_words(x),
		    certificate_hint(found.error, x));
}

/* Hands it over and waits; cancelled, it is over soon. */
static void wait_for(struct http *http, struct exchange *x)
{
	const atomic_bool *cancelled = x->request->cancelled;

	(void)pthread_mutex_lock(&http->lock);
	x->next = http->submitted;
	http->submitted = x;
	(void)pthread_mutex_unlock(&http->lock);
	(void)curl.multi_wakeup(http->multi);
	(void)pthread_mutex_lock(&http->lock);
	while (!x->done) {
		struct timespec until = clock_after(LOOK_MS * 1000000LL);

		(void)pthread_cond_timedwait(&http->ended, &http->lock, &until);
		if (!x->done && cancelled && atomic_load(cancelled) &&
		    !atomic_load(&x->abandoned)) {
			atomic_store(&x->abandoned, true);
			(void)curl.multi_wakeup(http->multi);
		}
	}
	(void)pthread_mutex_unlock(&http->lock);
}

int http_request(struct http *http, const struct http_request *request, struct http_response *ret,
		 enum http_trouble *trouble, struct err *err)
{
	AUTO(exchange_release) struct exchange x = { .request = request, .response = ret };
	int r;

	*trouble = HTTP_LASTING;
	*ret = (struct http_response){ .length = -1, .headers = { .max = HTTP_HEADERS_MAX * 2 } };
	x.words = http_url_words(request->url);
	x.easy = curl.easy_init();
	if (!x.words || !x.easy)
		return fail_oom(err);
	r = set_options(http, &x, err);
	if (r < 0)
		return r;
	wait_for(http, &x);
	return explain(http, &x, trouble, err);
}

/* ---- authorities ---- */

int http_read_authorities(char *const *files, size_t count, struct buf *ret, struct err *err)
{
	const char *bundle = secure_getenv("SSL_CERT_FILE");
	const curl_version_info_data *about;
	int r = dl_load(&curl_library, err);

	if (r < 0)
		return r;
	about = curl.version_info(CURLVERSION_NOW);
	if (!bundle && about->age >= CURLVERSION_SEVENTH)
		bundle = about->cainfo;
	ret->max = AUTHORITIES_MAX;
	r = bundle ? read_file_at(AT_FDCWD, bundle, ret, err) : 0;
	/* A system without authorities of its own has those that are named. */
	if (r == -ENOENT)
		r = 0;
	for (size_t i = 0; r >= 0 && i < count; i++) {
		(void)buf_putc(ret, '\n');
		r = read_file_at(AT_FDCWD, files[i], ret, err);
	}
	return r < 0 ? r : buf_status(ret, err);
}
