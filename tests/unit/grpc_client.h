/* SPDX-License-Identifier: Apache-2.0 */
/*
 * grpc_client: a client of gRPC that asks oddly where a test wants it to. Nothing happens but in
 * client_turn, and in those that wait by means of it. Nothing waits longer than CLIENT_SECONDS.
 */
#ifndef TESTS_UNIT_GRPC_CLIENT_H
#define TESTS_UNIT_GRPC_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "driver/base/buf.h"

#define CLIENT_SECONDS 30

/* What is not said is what grpc-go says. "" leaves a header out. */
struct client_request {
	const char *path;
	const char *method;	  /* "POST" */
	const char *authority;	  /* "localhost" */
	const char *content_type; /* "application/grpc" */
	const char *timeout;	  /* "": no grpc-timeout */
	size_t more_headers;	  /* so many of 100 bytes each */
	const void *body;	  /* with its prefix */
	size_t len;
	size_t step;  /* bytes in a frame of DATA; 0: as many as fit */
	bool endless; /* it never ends */
};

struct client_answer {
	int32_t stream;
	bool closed;
	uint32_t error; /* of RST_STREAM */
	unsigned int header_blocks;
	char http[8];
	char type[64];
	int status; /* -1: none yet */
	char message[16384];
	struct buf data; /* with prefixes */
};

struct client;

/* Connects. NULL where nobody answers. */
struct client *grpc_client_new(const char *path);
void grpc_client_freep(struct client **client);
#define auto_client AUTO(grpc_client_freep)

/* The stream's number. Of client_call, a request with one message, "" for an empty one. */
int32_t grpc_client_ask(struct client *client, const struct client_request *request);
int32_t grpc_client_call(struct client *client, const char *path, const char *message);
void grpc_client_cancel(struct client *client, int32_t stream);
/* As many frames of PING. */
void grpc_client_ping(struct client *client, size_t count);

/* Sends what it can, and reads what is there, at most `bytes` (0: 64 KiB), once it comes. False: the
 * connection is over. */
bool grpc_client_turn(struct client *client, size_t bytes, int timeout_ms);
/* Sends what it can, and reads nothing. False: the connection is over. */
bool grpc_client_send(struct client *client);
/* Until the stream is closed; fails the test where it never is. */
struct client_answer *grpc_client_await(struct client *client, int32_t stream);
/* Until the server has closed the connection. */
void grpc_client_await_end(struct client *client);
struct client_answer *grpc_client_answer(struct client *client, int32_t stream);
/* Streams that are not closed. */
size_t grpc_client_open(struct client *client);

/* GOAWAYs that came, and the last stream of the last one. */
unsigned int grpc_client_goaways(const struct client *client);
int32_t grpc_client_last_stream(const struct client *client);
int grpc_client_fd(const struct client *client);

#endif
