/* SPDX-License-Identifier: Apache-2.0 */
/*
 * grpc: a gRPC server on unix sockets: HTTP/2 without TLS (nghttp2), one thread for all input and
 * output. It knows frames, streams and statuses, and no method.
 *
 * A call comes to `dispatch` on the I/O thread once all of its request is there. Whoever takes it answers it
 * from any thread: messages with grpc_call_send, and, always, once, grpc_call_finish, after which the call is
 * gone. The I/O thread never waits for anybody; dispatch must not either.
 *
 *  - A client that gives up (RST_STREAM, or a connection that is lost) only marks the call as cancelled: who
 *    works on it may look, and finishes it all the same. Nothing is sent then.
 *  - Cancellations never count against a connection, and no stream is refused: grpc-go sends again what looks
 *    as if it had not been looked at, and most calls must not be done twice.
 *  - Draining: listening ends. Each connection is told to begin no more calls; those that it began before it
 *    heard are taken. Then it is told the last stream that was looked at: what lies above was not begun, and
 *    never is. What was begun is answered, then the connection is closed. So whoever works on calls must do so
 *    until grpc_server_run returns.
 *
 * https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md, RFC 9113.
 */
#ifndef CMD_SERVE_GRPC_H
#define CMD_SERVE_GRPC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "driver/base/err.h"

/* https://grpc.github.io/grpc/core/md_doc_statuscodes.html */
enum grpc_status {
	GRPC_OK = 0,
	GRPC_CANCELLED = 1,
	GRPC_UNKNOWN = 2,
	GRPC_INVALID_ARGUMENT = 3,
	GRPC_DEADLINE_EXCEEDED = 4,
	GRPC_NOT_FOUND = 5,
	GRPC_ALREADY_EXISTS = 6,
	GRPC_PERMISSION_DENIED = 7,
	GRPC_RESOURCE_EXHAUSTED = 8,
	GRPC_FAILED_PRECONDITION = 9,
	GRPC_UNIMPLEMENTED = 12,
	GRPC_INTERNAL = 13,
	GRPC_UNAVAILABLE = 14,
};

/* As grpc-go has it by default; more is RESOURCE_EXHAUSTED. */
#define GRPC_REQUEST_BYTES_MAX ((size_t)4 << 20)
#define GRPC_ANSWER_BYTES_MAX  ((size_t)1 << 30) /* all messages of a call */

struct grpc_server;
struct grpc_call;

/* Takes the call; called on the I/O thread, which must not wait. */
typedef void grpc_dispatch_fn(void *arg, struct grpc_call *call);

struct grpc_options {
	grpc_dispatch_fn *dispatch;
	void *arg;
	/* One line for an administrator, on the I/O thread; NULL: nobody wants to know. */
	void (*log)(void *arg, const char *line);
	/* While draining: how long a connection may take to take its answers, 0: 10 s. */
	unsigned int patience_ms;
};

/* *ret is freed with grpc_server_free, after grpc_server_run has returned. */
int grpc_server_new(const struct grpc_options *options, struct grpc_server **ret, struct err *err);
void grpc_server_free(struct grpc_server *server); /* NULL allowed */

/* Accepts on a listening unix socket; the descriptor stays the caller's. `tag` comes back from
 * grpc_call_tag. Only processes of root, and of the user that this process is, are let in (SO_PEERCRED).
 * Before grpc_server_run. */
int grpc_server_listen(struct grpc_server *server, int listen_fd, void *tag, struct err *err);

/* The I/O thread: returns once grpc_server_drain was called, every call is finished and every answer is taken
 * (or, for connections that do not take their answers, patience_ms after). 0 or -errno. */
int grpc_server_run(struct grpc_server *server, struct err *err);

/* From any thread, and from a signal handler. */
void grpc_server_drain(struct grpc_server *server);

/* ---- calls ---- */

/* "/containerd.services.snapshots.v1.Snapshots/Stat"; lives as long as the call. */
const char *grpc_call_path(const struct grpc_call *call);
/* The request's message, without the prefix of five bytes. */
const uint8_t *grpc_call_message(const struct grpc_call *call, size_t *ret_len);
void *grpc_call_tag(const struct grpc_call *call);
/* What grpc-timeout says, in ns of CLOCK_MONOTONIC; INT64_MAX where it says nothing. */
int64_t grpc_call_deadline(const struct grpc_call *call);
bool grpc_call_cancelled(const struct grpc_call *call);

/* Adds a message to the answer; it is copied, and sent with the end. One thread at a time. -ENOMEM, or -EFBIG
 * where the answer gets longer than GRPC_ANSWER_BYTES_MAX: the call then ends as RESOURCE_EXHAUSTED. */
int grpc_call_send(struct grpc_call *call, const void *message, size_t len, struct err *err);
/* Ends it; `message` (NULL: none) is UTF-8, words for people (what is not UTF-8 is replaced, what is over 4 KiB
 * is cut). The call is gone after. */
void grpc_call_finish(struct grpc_call *call, enum grpc_status status, const char *message);

#endif
