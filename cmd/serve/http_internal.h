/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the two files of http share: http.c has the sockets and libmicrohttpd's callbacks, http_call.c one call.
 *
 * A call lives from its first header to the end of its answer, as libmicrohttpd tells (http_call_begin,
 * http_call_free: on the connection's thread). Between the connection's thread and the handler's there are two
 * rings, and what the handler decided: an answer, or a stream. The server's lock is held for no longer than it
 * takes to find a connection.
 */
#ifndef CMD_SERVE_HTTP_INTERNAL_H
#define CMD_SERVE_HTTP_INTERNAL_H

#include <microhttpd.h>
#include <pthread.h>
#include <stdatomic.h>

#include "cmd/serve/http.h"
#include "cmd/serve/ring.h"
#include "driver/base/buf.h"

/* libmicrohttpd's functions, loaded by http_server_new. */
struct http_mhd {
	__typeof__(MHD_start_daemon) *start_daemon;
	__typeof__(MHD_stop_daemon) *stop_daemon;
	__typeof__(MHD_quiesce_daemon) *quiesce_daemon;
	__typeof__(MHD_get_connection_info) *get_connection_info;
	__typeof__(MHD_get_connection_values_n) *get_connection_values_n;
	__typeof__(MHD_create_response_from_buffer) *response_from_buffer;
	__typeof__(MHD_create_response_from_callback) *response_from_callback;
	__typeof__(MHD_add_response_header) *add_response_header;
	__typeof__(MHD_queue_response) *queue_response;
	__typeof__(MHD_destroy_response) *destroy_response;
};
extern struct http_mhd http_mhd;

struct http_listener {
	struct http_server *server;
	struct MHD_Daemon *daemon;
	int fd; /* ours, a duplicate */
	void *tag;
	struct http_listener *next;
};

struct http_conn {
	struct http_listener *listener;
	int fd; /* libmicrohttpd's; open as long as this is in the list */
	int pid;
	struct http_call *call; /* under way, or NULL */
	struct http_conn *next, *prev;
};

struct http_server {
	struct http_options options;
	struct http_listener *listeners;
	atomic_bool draining;
	atomic_llong said_second; /* when libmicrohttpd said something, and how much in that second */
	atomic_uint said_lines;
	pthread_mutex_t lock; /* of what follows */
	pthread_cond_t fewer; /* connections */
	struct http_conn *conns;
};

enum http_decision { HTTP_UNDECIDED, HTTP_ANSWERED, HTTP_STREAMING, HTTP_UNANSWERED };

struct http_call {
	struct http_server *server;
	const struct http_conn *conn;
	const struct http_route *route;
	unsigned int
		refused; /* the status that the server itself answers with; 0: the handler does */
	struct buf body;
	struct buf query; /* key NUL value NUL, ... */
	struct ring *in, *out;
	bool has_thread;
	pthread_t thread;
	pthread_mutex_t lock; /* of what follows */
	pthread_cond_t decided;
	enum http_decision decision;
	unsigned int status;
	struct MHD_Response *response; /* HTTP_ANSWERED; NULL: no memory */
};

/* NULL: no memory. */
struct http_call *http_call_begin(struct http_conn *conn, struct MHD_Connection *connection,
				  const char *path, const char *method);
/* Some of the body. */
void http_call_feed(struct http_call *call, const void *data, size_t len);
/* The body has ended: waits for the handler, and answers. MHD_NO: the connection must end. */
enum MHD_Result http_call_reply(struct http_call *call, struct MHD_Connection *connection);
/* The server ends: the handler's next read or send fails. Any thread. */
void http_call_cut(struct http_call *call);
/* The answer was taken, or never will be: waits for the handler. */
void http_call_stop(struct http_call *call);
void http_call_free(struct http_call *call); /* after that */

#endif
