/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http: an HTTP/1.1 server on unix sockets (libmicrohttpd, loaded when first used), as Docker's plugin protocol
 * wants it: calls are POST, bodies are JSON or a tar of any length, connections stay for hours.
 *
 *  - Each connection has a thread, and a handler that reads or streams has one of its own beside it: nobody
 *    waits for another connection. Handlers may wait as long as they like.
 *  - A request is read to its end before it is answered, also where the handler has given up early: on a unix
 *    socket, closing with unread input costs the client its answer.
 *  - No connection is closed on our own accord but by http_server_drain and http_server_free, and where it is
 *    not HTTP that comes: a client that believes it can use one again loses a call.
 *  - What the server itself answers is {"Err":"words"}: 404 no such path, 405 not POST, 413 too long, 500.
 *    libmicrohttpd answers what is not HTTP, and headers that are too long, in words of its own.
 *
 * RFC 9110, RFC 9112; https://docs.docker.com/engine/extend/plugin_api/.
 */
#ifndef CMD_SERVE_HTTP_H
#define CMD_SERVE_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "driver/base/err.h"

struct http_server;
struct http_call; /* one request, and its answer */

enum http_route_flags {
	HTTP_READS_BODY = 1, /* the handler reads the body itself, as it comes (http_call_read) */
	HTTP_STREAMS = 2,    /* the answer may be sent piece by piece (http_call_send) */
};

/* Answers the call: with http_call_answer, or of a route with HTTP_STREAMS with http_call_send and
 * http_call_end. Who returns without is answered for: 500. The call is gone after. */
typedef void http_handler(void *arg, struct http_call *call);

struct http_route {
	const char *path; /* "/Plugin.Activate" */
	http_handler *run;
	unsigned int flags; /* without: it runs once all of the body is there */
};

struct http_options {
	const struct http_route *routes; /* must outlive the server, as `content_type` must */
	size_t route_count;
	size_t body_bytes_max; /* of requests that the handler does not read itself, not 0; more: 413 */
	const char *content_type; /* of all answers; NULL: none */
	void *arg;		  /* of the handlers, and of log */
	/* One line for an administrator, on any thread; NULL: nobody wants to know. */
	void (*log)(void *arg, const char *line);
};

/* Connections to one listening socket at once. More wait in its queue. */
#define HTTP_CONNECTIONS_MAX 1000

/* *ret is freed with http_server_free. -ELIBACC: libmicrohttpd is not there. */
int http_server_new(const struct http_options *options, struct http_server **ret, struct err *err);

/* Accepts on a listening unix socket, from now on; `tag` comes back from http_call_tag. The descriptor stays the
 * caller's: it is never closed nor shut down here (it becomes non-blocking). Only processes of root, and of the
 * user that this process is, are let in (SO_PEERCRED). */
int http_server_listen(struct http_server *server, int fd, void *tag, struct err *err);

/*
 * Accepts no more, closes connections without a call, and waits until those calls that are under way are
 * answered, at most so long; then all connections are cut. Who answers a call meanwhile says "Connection:
 * close". Once, and not beside http_server_listen.
 */
void http_server_drain(struct http_server *server, unsigned int seconds);

/* NULL allowed. Cuts what is under way, and waits for handlers. */
void http_server_free(struct http_server *server);

/* ---- calls: by their handler ---- */

const char *http_call_path(const struct http_call *call); /* the route's */
void *http_call_tag(const struct http_call *call);

/* The value of the query's first such key, decoded (%41, +); "" where there is none, or where it holds a NUL.
 * Stays with the call. */
const char *http_call_query(struct http_call *call, const char *key);

/* Who connected, by SO_PEERCRED; 0: not known (it is in a namespace that has our processes not). */
int http_call_peer_pid(const struct http_call *call);

/* The body, of a route without HTTP_READS_BODY. Never NULL; stays with the call. */
const void *http_call_body(struct http_call *call, size_t *ret_len);

/*
 * Of a route with HTTP_READS_BODY: the next bytes of the body, which stay until the next call; has the type
 * tar_read (driver/tar.h). Their count, 0 once the body has ended as it should (its final chunk was seen), or
 * -ECONNRESET: the client went away before, or the server ends. Not after an answer.
 */
ssize_t http_call_read(void *call, const void **ret_block, struct err *err);

/* The whole answer, once; the bytes are copied. */
void http_call_answer(struct http_call *call, unsigned int status, const void *bytes, size_t len);

/*
 * Of a route with HTTP_STREAMS: one piece of the answer, whose status is 200 from the first one on. Waits for
 * the client. 0, or -EPIPE: it went away, or the server ends.
 */
int http_call_send(void *call, const void *bytes, size_t len, struct err *err);

/* The end of an answer in pieces, of none too. Not `whole`: the connection ends without the final chunk, or,
 * where nothing was sent, the answer is 500. Who sent and returns without has cut it. */
void http_call_end(struct http_call *call, bool whole);

#endif
