/* SPDX-License-Identifier: Apache-2.0 */
/*
 * httpd: a server on loopback, at a port of the kernel's choice, that gives the answers which a test wrote
 * down and keeps the requests that it got.
 *
 *	auto_httpd struct httpd *server = httpd_serve(
 *		ANSWER("/v2/", "200 OK", "{}"),
 *		ANSWER("/blob", "200 OK", "abc", .then = HTTPD_CUT, .first = 2));
 *
 * Each request gets the first answer that is left and whose path its target begins with; one that nothing
 * was written down for, 418. Each answer ends its connection. Nothing here waits longer than
 * HTTPD_SECONDS.
 */
#ifndef TESTS_UNIT_HTTPD_H
#define TESTS_UNIT_HTTPD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "driver/base/auto.h"

#define HTTPD_SECONDS 30

enum httpd_then {
	HTTPD_REST,  /* all of the body is sent */
	HTTPD_CUT,   /* after `first` bytes of it the connection is closed, */
	HTTPD_RESET, /* broken, */
	HTTPD_WAIT,  /* or silent until httpd_go; then comes the rest */
};

struct httpd_answer {
	const char *path;
	/* "404 Not Found", and more lines of headers, joined by "\r\n". "Content-Length" is added
	 * where neither it nor "Transfer-Encoding" is there. NULL: the body is all that is sent. */
	const char *head;
	const char *body; /* NULL: empty */
	size_t len;	  /* of the body; 0: it is text */
	enum httpd_then then;
	size_t first;
	bool again; /* for any number of requests, not just one */
};

/* Path, head, body, and what else is to be said: ANSWER("/x", "200 OK", "abc", .again = true). */
#define ANSWER(p, h, b, ...)                                         \
	{                                                            \
		.path = (p), .head = (h), .body = (b), ##__VA_ARGS__ \
	}

struct httpd;

/* `answers` end with one without a path; what they point to must outlive the server. Fails the test
 * where it cannot start. */
struct httpd *httpd_new(const struct httpd_answer *answers);
#define httpd_serve(...) httpd_new((const struct httpd_answer[]){ __VA_ARGS__, { .path = NULL } })
void httpd_freep(struct httpd **server);
#define auto_httpd AUTO(httpd_freep)

/* "127.0.0.1:PORT" */
const char *httpd_host(const struct httpd *server);
/* "http://127.0.0.1:PORT" and the path, in one of a few buffers that are used in turn. */
const char *httpd_url(const struct httpd *server, const char *path);

/* The n-th request, from 0 on, with its body; "TLS" where it was not plain. "" where there were
 * fewer. Stays until the server is freed. */
const char *httpd_request(struct httpd *server, size_t n);
size_t httpd_count(struct httpd *server);
/* Waits until there were so many requests. False: there were not. */
bool httpd_await(struct httpd *server, size_t count);
/* Lets one answer go on that waits, or will. */
void httpd_go(struct httpd *server);

/* A port of loopback where nothing answers: "127.0.0.1:PORT". */
const char *httpd_nobody(void);

/* What a program that asks such a server begins with: it ends after ten minutes, no proxy and no file of the
 * environment's counts, and credentials are looked for below `home` only (NULL: that is left as it is). */
void httpd_environment(const char *home);

#endif
