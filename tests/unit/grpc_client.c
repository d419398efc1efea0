/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/grpc_client.h"

#include <nghttp2/nghttp2.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "driver/base/clock.h"
#include <cmocka.h>

#define HEADERS_MAX 160

struct ask {
	struct client_answer answer;
	char *body;
	size_t len, sent, step;
	bool endless;
};

struct client {
	int fd;
	nghttp2_session *session;
	struct ask **asks; /* of stream 1, 3, ... */
	size_t count, open;
	unsigned int goaways;
	int32_t last_stream;
	bool over;
	struct buf out;
};

static struct ask *find(struct client *c, int32_t stream)
{
	size_t i = (size_t)(stream - 1) / 2;

	return stream > 0 && i < c->count ? c->asks[i] : NULL;
}

static void keep(char *to, size_t size, const uint8_t *value, size_t len)
{
	(void)snprintf(to, size, "%.*s", (int)len, (const char *)value);
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
		     size_t name_len, const uint8_t *value, size_t len, uint8_t flags, void *arg)
{
	struct ask *ask = find(arg, frame->hd.stream_id);
	char number[16];

	if (!ask)
		return 0;
	if (strcmp((const char *)name, ":status") == 0)
		keep(ask->answer.http, sizeof(ask->answer.http), value, len);
	else if (strcmp((const char *)name, "content-type") == 0)
		keep(ask->answer.type, sizeof(ask->answer.type), value, len);
	else if (strcmp((const char *)name, "grpc-message") == 0)
		keep(ask->answer.message, sizeof(ask->answer.message), value, len);
	else if (strcmp((const char *)name, "grpc-status") == 0) {
		keep(number, sizeof(number), value, len);
		ask->answer.status = (int)strtol(number, NULL, 10);
	}
	return 0;
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
	struct client *c = arg;
	struct ask *ask = find(c, frame->hd.stream_id);

	if (frame->hd.type == NGHTTP2_GOAWAY) {
		c->goaways++;
		c->last_stream = frame->goaway.last_stream_id;
	}
	if (frame->hd.type == NGHTTP2_HEADERS && ask)
		ask->answer.header_blocks++;
	return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t stream, const uint8_t *data,
		   size_t len, void *arg)
{
	struct ask *ask = find(arg, stream);

	if (ask)
		(void)buf_append(&ask->answer.data, data, len);
	return 0;
}

static int on_close(nghttp2_session *session, int32_t stream, uint32_t error, void *arg)
{
	struct client *c = arg;
	struct ask *ask = find(c, stream);

	if (!ask)
		return 0;
	ask->answer.closed = true;
	ask->answer.error = error;
	c->open--;
	return 0;
}

static ssize_t read_body(nghttp2_session *session, int32_t stream, uint8_t *to, size_t len,
			 uint32_t *flags, nghttp2_data_source *source, void *arg)
{
	struct ask *ask = source->ptr;
	size_t left = ask->len - ask->sent;

	if (len > left)
		len = left;
	if (ask->step && len > ask->step)
		len = ask->step;
	if (!left && ask->endless)
		return NGHTTP2_ERR_DEFERRED;
	memcpy(to, ask->body + ask->sent, len);
	ask->sent += len;
	if (len == left && !ask->endless)
		*flags |= NGHTTP2_DATA_FLAG_EOF;
	return (ssize_t)len;
}

static void begin(struct client *c)
{
	nghttp2_session_callbacks *callbacks;
	nghttp2_option *option;

	assert_int_equal(nghttp2_session_callbacks_new(&callbacks), 0);
	assert_int_equal(nghttp2_option_new(&option), 0);
	nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
	nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
	nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_close);
	nghttp2_option_set_no_http_messaging(option, 1);
	nghttp2_option_set_peer_max_concurrent_streams(option, 100);
	assert_int_equal(nghttp2_session_client_new2(&c->session, callbacks, c, option), 0);
	nghttp2_session_callbacks_del(callbacks);
	nghttp2_option_del(option);
	assert_int_equal(nghttp2_submit_settings(c->session, 0, NULL, 0), 0);
}

struct client *grpc_client_new(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct client *c = calloc(1, sizeof(*c));

	assert_non_null(c);
	(void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	c->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(c->fd >= 0);
	begin(c);
	if (connect(c->fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
		grpc_client_freep(&c);
	return c;
}

void grpc_client_freep(struct client **client)
{
	struct client *c = *client;

	if (!c)
		return;
	*client = NULL;
	nghttp2_session_del(c->session);
	for (size_t i = 0; i < c->count; i++) {
		buf_release(&c->asks[i]->answer.data);
		free(c->asks[i]->body);
		free(c->asks[i]);
	}
	free(c->asks);
	buf_release(&c->out);
	(void)close(c->fd);
	free(c);
}

static struct ask *add_ask(struct client *c, const struct client_request *r)
{
	struct ask *ask = calloc(1, sizeof(*ask));

	assert_non_null(ask);
	c->asks = realloc(c->asks, (c->count + 1) * sizeof(struct ask *));
	assert_non_null(c->asks);
	c->asks[c->count++] = ask;
	c->open++;
	ask->answer.status = -1;
	ask->len = r->len;
	ask->step = r->step;
	ask->endless = r->endless;
	ask->body = malloc(r->len + 1);
	assert_non_null(ask->body);
	if (r->len)
		memcpy(ask->body, r->body, r->len);
	return ask;
}

static void add_header(nghttp2_nv *headers, size_t *count, const char *name, const char *value,
		       const char *standard)
{
	if (!value)
		value = standard;
	if (!value[0])
		return;
	assert_true(*count < HEADERS_MAX);
	headers[(*count)++] = (nghttp2_nv){ (uint8_t *)(uintptr_t)name, (uint8_t *)(uintptr_t)value,
					    strlen(name), strlen(value), NGHTTP2_NV_FLAG_NONE };
}

int32_t grpc_client_ask(struct client *c, const struct client_request *r)
{
	static const char long_value[] =
		"0123456789012345678901234567890123456789012345678901234567890123456789"
		"012345678901234567890123";
	nghttp2_nv headers[HEADERS_MAX];
	nghttp2_data_provider data = { .read_callback = read_body };
	size_t count = 0;
	int32_t stream;

	add_header(headers, &count, ":method", r->method, "POST");
	add_header(headers, &count, ":scheme", NULL, "http");
	add_header(headers, &count, ":path", r->path, "");
	add_header(headers, &count, ":authority", r->authority, "localhost");
	add_header(headers, &count, "content-type", r->content_type, "application/grpc");
	add_header(headers, &count, "user-agent", NULL, "grpc-go/1.64.0");
	add_header(headers, &count, "te", NULL, "trailers");
	add_header(headers, &count, "grpc-timeout", r->timeout, "");
	for (size_t i = 0; i < r->more_headers; i++)
		add_header(headers, &count, "x-more", NULL, long_value);
	data.source.ptr = add_ask(c, r);
	stream = nghttp2_submit_request(c->session, NULL, headers, count,
					r->len || r->endless ? &data : NULL, NULL);
	assert_int_equal(stream, 2 * (int)c->count - 1);
	c->asks[c->count - 1]->answer.stream = stream;
	return stream;
}

int32_t grpc_client_call(struct client *c, const char *path, const char *message)
{
	auto_buf struct buf body = { 0 };
	size_t len = strlen(message);
	uint8_t prefix[5] = { 0, (uint8_t)(len >> 24), (uint8_t)(len >> 16), (uint8_t)(len >> 8),
			      (uint8_t)len };

	(void)buf_append(&body, prefix, sizeof(prefix));
	(void)buf_append(&body, message, len);
	return grpc_client_ask(c, &(struct client_request){
					  .path = path, .body = body.data, .len = body.len });
}

void grpc_client_cancel(struct client *c, int32_t stream)
{
	assert_int_equal(nghttp2_submit_rst_stream(c->session, 0, stream, NGHTTP2_CANCEL), 0);
}

void grpc_client_ping(struct client *c, size_t count)
{
	for (size_t i = 0; i < count; i++)
		assert_int_equal(nghttp2_submit_ping(c->session, 0, NULL), 0);
}

/* As much as the socket takes. */
static void send_some(struct client *c)
{
	for (;;) {
		const uint8_t *data;
		ssize_t n;

		if (!c->out.len) {
			n = nghttp2_session_mem_send(c->session, &data);
			assert_true(n >= 0);
			if (n == 0)
				return;
			(void)buf_append(&c->out, data, (size_t)n);
		}
		n = send(c->fd, c->out.data, c->out.len, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n < 0)
			return; /* reading tells why */
		memmove(c->out.data, c->out.data + n, c->out.len - (size_t)n);
		c->out.len -= (size_t)n;
	}
}

bool grpc_client_turn(struct client *c, size_t bytes, int timeout_ms)
{
	static uint8_t in[65536];
	struct pollfd poll_for = { .fd = c->fd, .events = POLLIN };
	ssize_t n;

	if (c->over)
		return false;
	send_some(c);
	/* As clients do that were told to go, and wait for nothing. */
	if (!c->out.len && !nghttp2_session_want_read(c->session) &&
	    !nghttp2_session_want_write(c->session))
		(void)shutdown(c->fd, SHUT_RDWR);
	if (c->out.len)
		poll_for.events |= POLLOUT;
	if (poll(&poll_for, 1, timeout_ms) <= 0 || !(poll_for.revents & ~POLLOUT))
		return true;
	n = recv(c->fd, in, bytes ? bytes : sizeof(in), 0);
	if (n <= 0) {
		c->over = true;
		return false;
	}
	assert_int_equal(nghttp2_session_mem_recv(c->session, in, (size_t)n), n);
	send_some(c);
	return true;
}

bool grpc_client_send(struct client *c)
{
	if (!c->over)
		send_some(c);
	return !c->over;
}

struct client_answer *grpc_client_await(struct client *c, int32_t stream)
{
	int64_t until = clock_ns() + CLIENT_SECONDS * CLOCK_SECOND_NS;
	struct client_answer *answer = grpc_client_answer(c, stream);

	while (!answer->closed) {
		if (clock_ns() > until)
			fail_msg("stream %d is never closed", stream);
		if (!grpc_client_turn(c, 0, 100))
			fail_msg("the connection is over before stream %d", stream);
	}
	return answer;
}

void grpc_client_await_end(struct client *c)
{
	int64_t until = clock_ns() + CLIENT_SECONDS * CLOCK_SECOND_NS;

	while (grpc_client_turn(c, 0, 100))
		if (clock_ns() > until)
			fail_msg("the connection never ends");
}

struct client_answer *grpc_client_answer(struct client *c, int32_t stream)
{
	return &find(c, stream)->answer;
}

size_t grpc_client_open(struct client *c)
{
	return c->open;
}

unsigned int grpc_client_goaways(const struct client *c)
{
	return c->goaways;
}

int32_t grpc_client_last_stream(const struct client *c)
{
	return c->last_stream;
}

int grpc_client_fd(const struct client *c)
{
	return c->fd;
}
