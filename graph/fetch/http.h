/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http: one request, one answer; by libcurl's multi interface, which keeps connections and speaks
 * HTTP/2 where it is offered.
 *
 * One thread does all input and output; any number of threads may have a request each, and wait for it.
 * Nothing is followed, retried or authorised here: redirects, credentials and another try are the
 * caller's (graph/fetch/client.h), so that no header goes where the caller did not send it. Proxies are
 * those of the environment (http_proxy, https_proxy, all_proxy, no_proxy; upper case too), but none for
 * loopback.
 *
 * Bounded: HTTP_HEADERS_MAX bytes of headers; a body of request.body_max, or what request.sink
 * takes; the time to connect, the time without progress (http_options), and request.max_seconds.
 */
#ifndef GRAPH_FETCH_HTTP_H
#define GRAPH_FETCH_HTTP_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "driver/base/auto.h"
#include "driver/base/buf.h"
#include "driver/base/err.h"

#define HTTP_HEADERS_MAX     ((size_t)256 << 10) /* bytes */
#define HTTP_ERROR_BODY_MAX  ((size_t)64 << 10)	 /* kept of an answer that is not 2xx */
#define HTTP_CONNECT_SECONDS 30

struct http_options {
	unsigned int stall_seconds; /* slower than min_speed for so long: -ETIMEDOUT; 0: 30 */
	unsigned int min_speed;	    /* bytes a second; 0: 1024 */
};

struct http;

/* -ELIBACC where libcurl is missing. `options` may be NULL. */
int http_new(const struct http_options *options, struct http **ret, struct err *err);
/* No request may be under way. */
void http_freep(struct http **http);
#define auto_http AUTO(http_freep)

/* What a server's certificate is held against, and what it is shown. Must outlive the requests. */
struct http_trust {
	bool skip_verify;
	const char *authorities; /* PEM, all of them; NULL: the system's */
	size_t authorities_len;
	const char *client_cert, *client_key; /* files, or NULL */
};
/* The system's authorities and those of the files, one after another. */
int http_read_authorities(char *const *files, size_t count, struct buf *ret, struct err *err);

struct http_response {
	int status;	    /* 200 */
	struct buf headers; /* "name: value\n" each, names in lower case */
	struct buf body;    /* what the sink did not take */
	int64_t length;	    /* stated, of the body; -1: not */
};
void http_response_release(struct http_response *r);
#define auto_http_response AUTO(http_response_release)
/* The n-th header of the name (in lower case), from 0 on; the caller's, NULL: there is none. */
char *http_header(const struct http_response *r, const char *name, size_t n);

/* Gets the body of a 2xx answer, on the thread that does all input and output: it must not wait for
 * anything. `begin` comes before the first `write`, also for an empty body; `flush` (NULL: not
 * wanted) after the last one that is at hand for now, as libcurl hands over small pieces. Negative
 * ends the request with that value; words are kept. */
struct http_sink {
	int (*begin)(void *arg, const struct http_response *response, struct err *err);
	int (*write)(void *arg, const void *data, size_t len, struct err *err);
	int (*flush)(void *arg, struct err *err);
	void *arg;
};

struct http_request {
	const char *url; /* http or https */
	bool head;
	const char *form; /* POST with this body, application/x-www-form-urlencoded; NULL: GET */
	const char *const *headers; /* "Name: value"; NULL: none */
	size_t header_count;
	const struct http_trust *trust; /* NULL: the system's */
	const struct http_sink *sink;	/* NULL: the body is kept in the response */
	size_t body_max;		/* bytes of it; more is -EFBIG */
	unsigned int max_seconds;	/* for all of it; 0: any */
	const atomic_bool *cancelled;	/* NULL, or looked at now and then: -ECANCELED */
};

/* How a request failed that got no answer. */
enum http_trouble {
	HTTP_OK,
	HTTP_PASSING, /* of the network: another try may do */
	HTTP_NO_TLS,  /* what answers does not speak TLS, or nothing answers where TLS should be */
	HTTP_LASTING, /* it will be so the next time: certificates, names, limits, the sink */
};

/*
 * 0 and an answer, whatever its status; or -ETIMEDOUT, -ECONNRESET, -ECONNREFUSED, -EHOSTUNREACH (no
 * such host), -EKEYREJECTED (certificate), -EFBIG, -EPROTO, -ECANCELED, ... with words that name
 * the URL without its query. *trouble says what may help. ret is released by the caller, also after
 * a failure.
 */
int http_request(struct http *http, const struct http_request *request, struct http_response *ret,
		 enum http_trouble *trouble, struct err *err);

/* The URL as words show it: without query, user and password. The caller's; NULL: out of memory. */
char *http_url_words(const char *url);

/* "https://host:port" of a URL, in lower case and with the port always; the caller's, NULL: not a
 * URL. */
char *http_origin(const char *url);
/* What `location` means on the page `url`; the caller's. -EPROTO where it is neither http nor https. */
int http_resolve(const char *url, const char *location, char **ret, struct err *err);

#endif
