/* SPDX-License-Identifier: Apache-2.0 */
/*
 * grpc_internal: what the parts of the gRPC server share: grpc.c (the I/O thread, listening, draining,
 * answers that come from other threads), grpc_conn.c (one connection: its bytes, HTTP/2, its end) and
 * grpc_stream.c (one stream: a request, and its answer).
 *
 * A call is the I/O thread's while it is being collected, belongs to whoever works on it from dispatch to
 * grpc_call_finish, and is the I/O thread's again then: so its fields need no lock. `conn` and `stream` are the
 * I/O thread's always. It lives until it is answered and its stream is closed.
 */
#ifndef CMD_SERVE_GRPC_INTERNAL_H
#define CMD_SERVE_GRPC_INTERNAL_H

#include <nghttp2/nghttp2.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cmd/serve/grpc.h"
#include "driver/base/buf.h"

#define GRPC_IN_BYTES	      ((size_t)64 << 10) /* read at once */
#define GRPC_PATH_MAX	      256
#define GRPC_HEADER_BYTES_MAX ((size_t)32 << 10)
#define GRPC_PREFIX_LEN	      5 /* of a message: u8 compressed, u32 length */

/* What epoll tells of begins with one of these. */
enum grpc_source { GRPC_WAKE, GRPC_LISTENER, GRPC_CONN };

enum grpc_call_state { GRPC_COLLECTING, GRPC_RUNNING, GRPC_ANSWERED };

struct grpc_call {
	struct grpc_server *server;
	struct grpc_conn *conn; /* NULL: lost */
	struct grpc_call *next; /* among the connection's */
	struct grpc_call **at;	/* what points to it there */
	void *tag;
	int32_t stream; /* 0: closed */
	enum grpc_call_state state;
	atomic_bool cancelled;

	/* the request */
	unsigned int header_count;
	size_t header_bytes;
	bool is_post, is_grpc, bad_timeout;
	int64_t deadline_ns;
	char path[GRPC_PATH_MAX]; /* "": there was none that could be one */
	struct buf request;	  /* with its prefix */

	/* the answer */
	struct buf answer; /* messages with their prefixes */
	size_t answer_sent;
	enum grpc_status status;
	struct buf words; /* percent-encoded */
	struct grpc_call *next_finished;
};

/* How far a connection is with ending in order. */
enum grpc_stage {
	GRPC_OPEN,
	GRPC_NOTICED, /* told to begin no more streams: what it began before it heard is taken */
	GRPC_LEAVING, /* told which stream was the last */
};

struct grpc_conn {
	enum grpc_source source; /* GRPC_CONN */
	int fd;
	struct grpc_server *server;
	void *tag;
	nghttp2_session *session;
	struct grpc_call *calls;
	size_t running;	      /* calls that somebody works on */
	size_t request_bytes; /* that its calls hold */
	struct buf out;	      /* what the socket did not take yet, from out_at on */
	size_t out_at;
	uint32_t events; /* what epoll looks for */
	enum grpc_stage stage;
	bool heard;	  /* the client has read the notice, or had time to */
	bool left;	  /* the last GOAWAY is written */
	bool broken;	  /* to be closed, whatever is left */
	int64_t until_ns; /* when this stage ends at the latest */
	bool dirty;
	struct grpc_conn *next_dirty;
	struct grpc_conn *next, **at; /* among the server's; or next among the dead */
};

struct grpc_listener {
	enum grpc_source source; /* GRPC_LISTENER */
	int fd;
	void *tag;
	struct grpc_listener *next;
};

struct grpc_server {
	struct grpc_options options;
	int64_t patience_ns;
	enum grpc_source wake; /* GRPC_WAKE */
	int epoll_fd, wake_fd;
	struct grpc_listener *listeners;
	bool accepting;
	bool accept_failing;
	int64_t accept_again_ns; /* 0: now */
	struct grpc_conn *conns, *dirty, *dead;
	size_t conn_count;
	size_t running; /* calls that somebody works on, lost ones too */
	bool draining;
	atomic_bool drain;

	pthread_mutex_t lock;
	struct grpc_call *finished, **finished_end; /* under lock */
	atomic_uint finishing;			    /* threads inside grpc_call_finish */

	struct buf spare; /* a buffer for a connection's `out` */
	uint8_t in[GRPC_IN_BYTES];
};

/* ---- grpc.c ---- */

/* A line for the administrator. */
void grpc_log(struct grpc_server *server, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* The connection has something to write, or is to be looked at again, before the thread sleeps. */
void grpc_touch(struct grpc_conn *conn);

/* A connection that stands already; the descriptor is taken, whatever the result. Before grpc_server_run, or
 * on the I/O thread. */
int grpc_server_adopt(struct grpc_server *server, int fd, void *tag, struct err *err);

/* One turn of the I/O thread: waits at most timeout_ms (-1: as long as it takes). 1: there is nothing left
 * to wait for, after draining; 0; or -errno. */
int grpc_server_turn(struct grpc_server *server, int timeout_ms, struct err *err);

/* ---- grpc_conn.c ---- */

/* Begins HTTP/2 on the connection: SETTINGS are ready to be written. conn->fd, server and tag are set. */
int grpc_conn_begin(struct grpc_conn *conn, struct err *err);
/* Closes it; calls that somebody works on are marked as cancelled and go on. Frees conn. */
void grpc_conn_free(struct grpc_conn *conn);

/* Takes what the socket has. 0, or -errno: the connection is over. */
int grpc_conn_read(struct grpc_conn *conn);
/* Writes what is there and the socket takes, and sets conn->events to what is to be waited for. 0, or
 * -errno: the connection is over; -ESHUTDOWN: and was ended in order. */
int grpc_conn_write(struct grpc_conn *conn);
/* Tells the client that no more calls are taken, and takes the next step of that when it is due. 0, or
 * -ETIMEDOUT: patience is at its end. */
int grpc_conn_drain(struct grpc_conn *conn, int64_t now_ns);

/* ---- grpc_stream.c ---- */

/* What nghttp2 calls for streams; grpc_stream_frame is to be called for each frame of HEADERS and DATA. */
void grpc_stream_callbacks(nghttp2_session_callbacks *callbacks);
void grpc_stream_frame(nghttp2_session *session, const nghttp2_frame *frame);

/* The connection is lost: so are its calls. */
void grpc_stream_forget(struct grpc_conn *conn);

/* Sends what the call was finished with, or frees it where nobody waits for that. */
void grpc_stream_answer(struct grpc_call *call);

#endif
