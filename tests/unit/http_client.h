/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http_client: a client of HTTP/1.1 on a unix socket that says what a test wants it to, byte for byte. Nothing
 * waits longer than HTTP_CLIENT_SECONDS.
 */
#ifndef TESTS_UNIT_HTTP_CLIENT_H
#define TESTS_UNIT_HTTP_CLIENT_H

#include <stdbool.h>
#include <stddef.h>

#include "driver/base/auto.h"
#include "driver/base/buf.h"

#define HTTP_CLIENT_SECONDS 30

struct http_client {
	int fd;
	struct buf in; /* read, from `at` on not looked at */
	size_t at;
};

struct http_reply {
	int status;	 /* 0: none came */
	bool whole;	 /* it ended as it should */
	struct buf head; /* its lines */
	struct buf body;
};

/* Fails the test where nobody answers. Not a pointer: http_client_close(&client) ends it. */
struct http_client http_client_open(const char *path);
void http_client_close(struct http_client *client);
#define auto_http_client AUTO(http_client_close)
void http_reply_release(struct http_reply *reply);
#define auto_http_reply AUTO(http_reply_release)

/* False: the other side has gone. */
bool http_client_send(struct http_client *client, const void *data, size_t len);
bool http_client_say(struct http_client *client, const char *text);
/* "POST PATH HTTP/1.1", an empty "Host:", and what dockerd says besides, without the empty line. */
bool http_client_head(struct http_client *client, const char *path);
/* One chunk; of 0 bytes: the last. */
bool http_client_chunk(struct http_client *client, const void *data, size_t len);
/* A whole request, with its Content-Length. */
bool http_client_ask(struct http_client *client, const char *path, const char *body);

/* The next answer's status and headers; false: none came. */
bool http_client_begin(struct http_client *client, struct http_reply *reply);
/* The next piece of a chunked body into reply->body, replacing what is there. False: the end; see whole. */
bool http_client_next(struct http_client *client, struct http_reply *reply);
/* Both, to the end; what came before is lost. */
bool http_client_take(struct http_client *client, struct http_reply *reply);
/* Whether the server has closed the connection, in the time that a test has. */
bool http_client_ended(struct http_client *client);

#endif
