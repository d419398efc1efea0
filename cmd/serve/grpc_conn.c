/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cmd/serve/grpc_internal.h"
#include "driver/base/clock.h"

#define STREAMS_MAX	 1000
#define WINDOW_BYTES	 (1 << 20)	   /* of a stream, and of a connection, to us */
#define RUNNING_MAX	 (2 * STREAMS_MAX) /* calls, cancelled ones too, before reading waits */
#define QUEUE_MAX	 8192		   /* frames to write, before reading waits */
#define ACKS_MAX	 ((size_t)1 << 16) /* never reached: reading waits at QUEUE_MAX */
#define READ_TURNS	 4
#define WRITE_TURNS	 8
#define WRITE_BYTES	 ((size_t)128 << 10)
#define SPARE_MAX	 ((size_t)1 << 20)
#define NOTICE_NS	 (CLOCK_SECOND_NS / 4) /* for the answer to the ping after the first GOAWAY */
#define NOTICE_ID	 INT32_MAX
#define RESETS_UNLIMITED ((uint64_t)1 << 40)

/* ---- frames ---- */

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
	struct grpc_conn *conn = arg;

	if (frame->hd.type == NGHTTP2_HEADERS || frame->hd.type == NGHTTP2_DATA)
		grpc_stream_frame(session, frame);
	else if (frame->hd.type == NGHTTP2_PING && frame->hd.flags & NGHTTP2_FLAG_ACK)
		conn->heard = true;
	return 0;
}

static int on_sent(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
	struct grpc_conn *conn = arg;

	/* Answered before the request has ended: nobody wants the rest (RFC 9113, 8.1). */
	if (frame->hd.type == NGHTTP2_HEADERS && frame->hd.flags & NGHTTP2_FLAG_END_STREAM &&
	    nghttp2_session_get_stream_remote_close(session, frame->hd.stream_id) == 0)
		(void)nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, frame->hd.stream_id,
						NGHTTP2_NO_ERROR);
	if (frame->hd.type != NGHTTP2_GOAWAY)
		return 0;
	if (frame->goaway.error_code != NGHTTP2_NO_ERROR)
		grpc_log(conn->server, "a connection ends: wrong HTTP/2: %s",
			 nghttp2_http2_strerror(frame->goaway.error_code));
	/* Who answers the ping has read what went before it. */
	if (frame->goaway.last_stream_id == NOTICE_ID)
		(void)nghttp2_submit_ping(session, NGHTTP2_FLAG_NONE, NULL);
	else
		conn->left = true;
	return 0;
}

/* ---- the connection ---- */

static int new_session(struct grpc_conn *conn)
{
	nghttp2_session_callbacks *callbacks = NULL;
	nghttp2_option *option = NULL;
	int r = nghttp2_session_callbacks_new(&callbacks);

	if (r == 0)
		r = nghttp2_option_new(&option);
	if (r == 0) {
		grpc_stream_callbacks(callbacks);
		nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
		nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, on_sent);
		/* Clients send ":authority: unix:///path", which nghttp2 takes for an error. */
		nghttp2_option_set_no_http_messaging(option, 1);
		/* Cancelling is nothing bad, and a connection that ends loses answers. */
		nghttp2_option_set_stream_reset_rate_limit(option, RESETS_UNLIMITED,
							   RESETS_UNLIMITED);
		nghttp2_option_set_max_outbound_ack(option, ACKS_MAX);
		nghttp2_option_set_no_closed_streams(option, 1);
		r = nghttp2_session_server_new2(&conn->session, callbacks, conn, option);
	}
	nghttp2_option_del(option);
	nghttp2_session_callbacks_del(callbacks);
	return r;
}

int grpc_conn_begin(struct grpc_conn *conn, struct err *err)
{
	static const nghttp2_settings_entry settings[] = {
		{ NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, STREAMS_MAX },
		{ NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, WINDOW_BYTES },
		{ NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, GRPC_HEADER_BYTES_MAX },
	};
	int r = new_session(conn);

	if (r == 0)
		r = nghttp2_submit_settings(conn->session, NGHTTP2_FLAG_NONE, settings,
					    ARRAY_LEN(settings));
	if (r == 0)
		r = nghttp2_session_set_local_window_size(conn->session, NGHTTP2_FLAG_NONE, 0,
							  WINDOW_BYTES);
	conn->until_ns = INT64_MAX;
	return r < 0 ? fail_oom(err) : 0;
}

void grpc_conn_free(struct grpc_conn *conn)
{
	grpc_stream_forget(conn);
	nghttp2_session_del(conn->session);
	buf_release(&conn->out);
	(void)close(conn->fd);
	free(conn);
}

int grpc_conn_read(struct grpc_conn *conn)
{
	uint8_t *in = conn->server->in;

	for (int i = 0; i < READ_TURNS; i++) {
		ssize_t n = recv(conn->fd, in, GRPC_IN_BYTES, 0), used;

		if (n < 0)
			return errno == EAGAIN || errno == EINTR ? 0 : -errno;
		if (n == 0)
			return -ECONNRESET;
		used = nghttp2_session_mem_recv(conn->session, in, (size_t)n);
		if (used < 0) {
			grpc_log(conn->server, "a connection was closed: %s",
				 nghttp2_strerror((int)used));
			return -EPROTO;
		}
		if ((size_t)n < GRPC_IN_BYTES)
			break;
	}
	return 0;
}

/* Collects frames: 1, or 0 where there are none. */
static int fill_out(struct grpc_conn *conn)
{
	struct buf *out = &conn->out;

	if (!out->data) {
		*out = conn->server->spare;
		conn->server->spare = (struct buf){ .max = out->max };
	}
	buf_reset(out);
	conn->out_at = 0;
	while (out->len < WRITE_BYTES) {
		const uint8_t *data;
		ssize_t n = nghttp2_session_mem_send(conn->session, &data);

		if (n < 0)
			return -EPROTO;
		if (n == 0)
			break;
		if (buf_append(out, data, (size_t)n) < 0)
			return out->status;
	}
	return out->len > 0;
}

/* 1: all of it is gone. 0: the socket takes no more for now. */
static int send_out(struct grpc_conn *conn)
{
	while (conn->out_at < conn->out.len) {
		ssize_t n = send(conn->fd, conn->out.data + conn->out_at,
				 conn->out.len - conn->out_at, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN ? 0 : -errno;
		conn->out_at += (size_t)n;
	}
	return 1;
}

/* A connection that has nothing to send keeps no buffer. */
static void give_back(struct grpc_conn *conn)
{
	struct buf *spare = &conn->server->spare;

	if (!spare->data && conn->out.cap <= SPARE_MAX) {
		*spare = conn->out;
		conn->out = (struct buf){ .max = spare->max };
	} else {
		buf_release(&conn->out);
	}
	conn->out_at = 0;
}

/* Reading waits where it would only pile up work, or what is to be written; and between the last GOAWAY's
 * number and its being on its way no stream may begin. */
static bool may_read(const struct grpc_conn *conn)
{
	return conn->running < RUNNING_MAX &&
	       nghttp2_session_get_outbound_queue_size(conn->session) < QUEUE_MAX &&
	       (conn->stage != GRPC_LEAVING || conn->left);
}

/* Only while nothing is being read, as its number is of the last stream that was. */
static void leave(struct grpc_conn *conn)
{
	int32_t last = nghttp2_session_get_last_proc_stream_id(conn->session);

	conn->stage = GRPC_LEAVING;
	conn->until_ns = clock_ns() + conn->server->patience_ns;
	if (nghttp2_submit_goaway(conn->session, NGHTTP2_FLAG_NONE, last, NGHTTP2_NO_ERROR, NULL,
				  0) < 0)
		conn->broken = true;
}

int grpc_conn_write(struct grpc_conn *conn)
{
	int r = 1;

	if (conn->stage == GRPC_NOTICED && conn->heard)
		leave(conn);
	for (int i = 0; i < WRITE_TURNS && r > 0; i++) {
		if (conn->out_at == conn->out.len)
			r = fill_out(conn);
		if (r == 0) {
			give_back(conn);
			break;
		}
		if (r > 0)
			r = send_out(conn);
	}
	if (r < 0 || conn->broken)
		return r < 0 ? r : -ENOMEM;
	if (!conn->out.len && !nghttp2_session_want_read(conn->session) &&
	    !nghttp2_session_want_write(conn->session))
		return -ESHUTDOWN;
	conn->events = (conn->out.len ? EPOLLOUT : 0) | (may_read(conn) ? EPOLLIN : 0);
	return 0;
}

/* ---- draining ---- */

static void give_notice(struct grpc_conn *conn, int64_t now_ns)
{
	int64_t patience_ns = conn->server->patience_ns / 2;

	conn->stage = GRPC_NOTICED;
	conn->until_ns = now_ns + (patience_ns < NOTICE_NS ? patience_ns : NOTICE_NS);
	if (nghttp2_submit_shutdown_notice(conn->session) < 0)
		conn->broken = true;
	grpc_touch(conn);
}

int grpc_conn_drain(struct grpc_conn *conn, int64_t now_ns)
{
	switch (conn->stage) {
	case GRPC_OPEN:
		give_notice(conn, now_ns);
		break;
	case GRPC_NOTICED:
		if (now_ns >= conn->until_ns)
			conn->heard = true;
		grpc_touch(conn);
		break;
	case GRPC_LEAVING:
		/* Its patience begins when it has all that it waits for. */
		if (conn->running)
			conn->until_ns = INT64_MAX;
		else if (conn->until_ns == INT64_MAX)
			conn->until_ns = now_ns + conn->server->patience_ns;
		else if (now_ns >= conn->until_ns)
			return -ETIMEDOUT;
		break;
	}
	return 0;
}
