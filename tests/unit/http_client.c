/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/http_client.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>
#include <cmocka.h>

#define READ_BYTES ((size_t)64 << 10)

struct http_client http_client_open(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct timeval limit = { .tv_sec = HTTP_CLIENT_SECONDS };
	struct http_client client = { .fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0) };

	(void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	assert_true(client.fd >= 0);
	(void)setsockopt(client.fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	(void)setsockopt(client.fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	assert_int_equal(connect(client.fd, (struct sockaddr *)&address, sizeof(address)), 0);
	return client;
}

void http_client_close(struct http_client *client)
{
	auto_close_fn(&client->fd);
	client->fd = -EBADF;
	buf_release(&client->in);
	client->at = 0;
}

void http_reply_release(struct http_reply *reply)
{
	buf_release(&reply->head);
	buf_release(&reply->body);
	*reply = (struct http_reply){ 0 };
}

bool http_client_send(struct http_client *client, const void *data, size_t len)
{
	const char *from = data;

	while (len) {
		ssize_t n = send(client->fd, from, len, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		from += n;
		len -= (size_t)n;
	}
	return true;
}

bool http_client_say(struct http_client *client, const char *text)
{
	return http_client_send(client, text, strlen(text));
}

bool http_client_head(struct http_client *client, const char *path)
{
	char head[4096];

	(void)snprintf(head, sizeof(head),
		       "POST %s HTTP/1.1\r\nHost: \r\nUser-Agent: Go-http-client/1.1\r\n"
		       "Accept: application/vnd.docker.plugins.v1.2+json\r\n",
		       path);
	return http_client_say(client, head);
}

bool http_client_chunk(struct http_client *client, const void *data, size_t len)
{
	auto_buf struct buf chunk = { 0 };

	(void)buf_printf(&chunk, "%zx\r\n", len);
	(void)buf_append(&chunk, data, len);
	(void)buf_puts(&chunk, "\r\n");
	return http_client_send(client, chunk.data, chunk.len);
}

bool http_client_ask(struct http_client *client, const char *path, const char *body)
{
	auto_buf struct buf rest = { 0 };

	(void)buf_printf(&rest, "Content-Length: %zu\r\n\r\n%s", strlen(body), body);
	return http_client_head(client, path) && http_client_send(client, rest.data, rest.len);
}

/* ---- answers ---- */

/* Reads more: its count, 0 at the end. */
static size_t fill(struct http_client *client)
{
	ssize_t n;
	char *room;

	if (client->at == client->in.len) {
		buf_reset(&client->in);
		client->at = 0;
	}
	room = buf_room(&client->in, READ_BYTES);
	assert_non_null(room);
	do
		n = recv(client->fd, room, READ_BYTES, 0);
	while (n < 0 && errno == EINTR);
	/* The time is up. */
	assert_false(n < 0 && errno == EAGAIN);
	buf_end(&client->in, n > 0 ? (size_t)n : 0);
	return n > 0 ? (size_t)n : 0;
}

/* A line, with its end, appended; false: there is none. */
static bool take_line(struct http_client *client, struct buf *to)
{
	const char *end;
	size_t len;

	while (!(end = memchr(buf_text(&client->in) + client->at, '\n',
			      client->in.len - client->at)))
		if (!fill(client))
			return false;
	len = (size_t)(end + 1 - (client->in.data + client->at));
	assert_int_equal(buf_append(to, client->in.data + client->at, len), 0);
	client->at += len;
	return true;
}

static bool take_bytes(struct http_client *client, struct buf *to, size_t len)
{
	while (len) {
		size_t there = client->in.len - client->at;

		if (!there && !fill(client))
			return false;
		there = client->in.len - client->at;
		if (there > len)
			there = len;
		assert_int_equal(buf_append(to, client->in.data + client->at, there), 0);
		client->at += there;
		len -= there;
	}
	return true;
}

bool http_client_begin(struct http_client *client, struct http_reply *reply)
{
	http_reply_release(reply);
	do
		if (!take_line(client, &reply->head))
			return false;
	while (reply->head.len < 4 ||
	       memcmp(reply->head.data + reply->head.len - 4, "\r\n\r\n", 4) != 0);
	assert_int_equal(sscanf(reply->head.data, "HTTP/1.%*d %d", &reply->status), 1);
	return true;
}

bool http_client_next(struct http_client *client, struct http_reply *reply)
{
	auto_buf struct buf line = { 0 };
	size_t len;

	buf_reset(&reply->body);
	if (!take_line(client, &line))
		return false;
	len = strtoul(line.data, NULL, 16);
	buf_reset(&line);
	if (!take_bytes(client, &reply->body, len) || !take_line(client, &line))
		return false;
	assert_string_equal(line.data, "\r\n");
	reply->whole = len == 0;
	return len > 0;
}

bool http_client_take(struct http_client *client, struct http_reply *reply)
{
	auto_buf struct buf all = { .max = SIZE_MAX };
	const char *length;

	if (!http_client_begin(client, reply))
		return false;
	if (!strcasestr(reply->head.data, "\r\nTransfer-Encoding: chunked\r\n")) {
		length = strcasestr(reply->head.data, "\r\nContent-Length: ");
		assert_non_null(length);
		reply->whole = take_bytes(client, &reply->body, strtoul(length + 18, NULL, 10));
		return true;
	}
	while (http_client_next(client, reply))
		assert_int_equal(buf_append(&all, reply->body.data, reply->body.len), 0);
	buf_release(&reply->body);
	reply->body = all;
	all = (struct buf){ 0 };
	return true;
}

bool http_client_ended(struct http_client *client)
{
	return client->at == client->in.len && !fill(client);
}
