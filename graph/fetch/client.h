/* SPDX-License-Identifier: Apache-2.0 */
/*
 * client: requests to one server of a repository (struct endpoint): who we are, redirects, another try.
 *
 * A redirect is followed CLIENT_REDIRECTS_MAX times, never from https to http, and what the server
 * was to know (Authorization, headers of its configuration, client certificate) stays at its
 * origin: scheme, host and port.
 *
 * Another try: after failures of the network (connections that break or stall) and the answers 408,
 * 429 and 5xx, `retries` times in a row without progress; once, where there is no such host, or nobody listens.
 * Between them lies the delay, doubled each time up to CLIENT_DELAY_MAX_SECONDS, times 0.75 to 1.25
 * by chance; or what Retry-After says, up to CLIENT_RETRY_AFTER_MAX_SECONDS: beyond that we give
 * up. A client serves any number of threads.
 */
#ifndef GRAPH_FETCH_CLIENT_H
#define GRAPH_FETCH_CLIENT_H

#include "graph/fetch/auth.h"
#include "graph/fetch/registries.h"

#define CLIENT_REDIRECTS_MAX	       10
#define CLIENT_DELAY_MAX_SECONDS       60
#define CLIENT_RETRY_AFTER_MAX_SECONDS 300
#define CLIENT_DOCUMENT_SECONDS	       300 /* for one request of a document */

struct client_options {
	const char *user_password; /* --creds, for the registry itself, not its mirrors; or NULL */
	const char *authfile;	   /* --authfile, or NULL */
	unsigned int retries;
	uint64_t delay_ns;
	/* Worth a line: "retrying in 2.1 s: ...". From any thread; NULL: nobody wants to know. */
	void (*note)(void *arg, const char *text);
	void *note_arg;
};

struct client;

/* Reads credentials and certificates, and asks nothing yet. http, endpoint and options must outlive
 * it. `scope`: what tokens are to allow ("repository:library/nginx:pull"); NULL: nothing. */
int client_new(struct http *http, const struct endpoint *endpoint,
	       const struct client_options *options, const char *scope, struct client **ret,
	       struct err *err);
void client_freep(struct client **client);
#define auto_client AUTO(client_freep)
const struct endpoint *client_endpoint(const struct client *client);

struct client_request {
	/* Behind the endpoint's path: "/library/nginx/tags/list"; or a whole URL, which gets
	 * neither credentials nor headers unless it is of the endpoint's origin. */
	const char *path;
	const char *accept; /* media types; NULL: any */
	bool head;
	int64_t from;		      /* bytes that are there: asks for those behind; 0: all */
	const char *validator;	      /* of the bytes that are there (If-Range); NULL: none known */
	const struct http_sink *sink; /* NULL: the body is kept */
	size_t body_max;
	unsigned int max_seconds;
	const atomic_bool *cancelled;
};

/* One try. 0 for a 2xx; -ENOENT (404), -EACCES (401, 403), -ERANGE (416), or as http_request, with
 * all words that a user needs. *trouble: HTTP_PASSING where another try may do. ret is released by
 * the caller. */
int client_try(struct client *client, const struct client_request *request,
	       struct http_response *ret, enum http_trouble *trouble, struct err *err);

/* Tries in a row that brought nothing. */
struct client_patience {
	unsigned int tries;
};
/* After a failed try, whose code and words are given: waits and returns 0, or -errno with words
 * that say how often it was tried. */
int client_wait(struct client *client, struct client_patience *patience,
		const struct http_response *response, enum http_trouble trouble, int code,
		const atomic_bool *cancelled, struct err *err);

/* client_try until it works or there is no use. */
int client_get(struct client *client, const struct client_request *request,
	       struct http_response *ret, struct err *err);

#endif
