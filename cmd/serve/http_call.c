/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/serve/http_internal.h"
#include "driver/base/auto.h"
#include "driver/base/pool.h"

#define RING_BYTES  ((size_t)256 << 10)
#define QUERY_MAX   ((size_t)64 << 10)
#define SEND_BYTES  ((size_t)64 << 10)
#define REFUSAL_MAX 200

/* ---- what the server itself answers ---- */

static const struct {
	unsigned int status;
	const char *words;
} refusals[] = {
	{ MHD_HTTP_NOT_FOUND, "there is no such call" },
	{ MHD_HTTP_METHOD_NOT_ALLOWED, "calls are POST" },
	{ MHD_HTTP_CONTENT_TOO_LARGE, "the request is too long" },
	{ MHD_HTTP_SERVICE_UNAVAILABLE, "there is no memory, or no thread, for this call" },
	{ MHD_HTTP_INTERNAL_SERVER_ERROR, "the call was not answered" },
};

static struct MHD_Response *refusal(const struct http_call *call)
{
	struct MHD_Response *response;
	char text[REFUSAL_MAX];
	size_t i = 0;
	int len;

	while (i < ARRAY_LEN(refusals) - 1 && refusals[i].status != call->refused)
		i++;
	len = call->refused == MHD_HTTP_CONTENT_TOO_LARGE ?
		      snprintf(text, sizeof(text), "{\"Err\":\"%s: more than %zu bytes\"}\n",
			       refusals[i].words, call->server->options.body_bytes_max) :
		      snprintf(text, sizeof(text), "{\"Err\":\"%s\"}\n", refusals[i].words);
	response = http_mhd.response_from_buffer((size_t)len, text, MHD_RESPMEM_MUST_COPY);
	if (response && call->refused == MHD_HTTP_METHOD_NOT_ALLOWED)
		(void)http_mhd.add_response_header(response, MHD_HTTP_HEADER_ALLOW, "POST");
	return response;
}

/* ---- the handler's thread ---- */

static void run_handler(struct http_call *call)
{
	call->route->run(call->server->options.arg, call);
	if (call->in)
		ring_stop(call->in);
	if (call->out)
		ring_end(call->out, -ECANCELED);
	(void)pthread_mutex_lock(&call->lock);
	if (call->decision == HTTP_UNDECIDED) {
		call->decision = HTTP_UNANSWERED;
		(void)pthread_cond_signal(&call->decided);
	}
	(void)pthread_mutex_unlock(&call->lock);
}

static void *handler_thread(void *arg)
{
	run_handler(arg);
	return NULL;
}

static void start_handler(struct http_call *call)
{
	if (pool_thread(&call->thread, handler_thread, call) < 0)
		call->refused = MHD_HTTP_SERVICE_UNAVAILABLE;
	else
		call->has_thread = true;
}

/* ---- the connection's thread ---- */

static enum MHD_Result keep_query(void *arg, enum MHD_ValueKind kind, const char *key,
				  size_t key_len, const char *value, size_t len)
{
	struct http_call *call = arg;

	if (!value || strlen(key) != key_len || strlen(value) != len)
		return MHD_YES;
	(void)buf_append(&call->query, key, key_len + 1);
	(void)buf_append(&call->query, value, len + 1);
	return MHD_YES;
}

static const struct http_route *find_route(const struct http_server *server, const char *path)
{
	for (size_t i = 0; i < server->options.route_count; i++)
		if (strcmp(server->options.routes[i].path, path) == 0)
			return &server->options.routes[i];
	return NULL;
}

static bool make_rings(struct http_call *call)
{
	unsigned int flags = call->route->flags;

	if (flags & HTTP_READS_BODY)
		call->in = ring_new(RING_BYTES);
	if (flags & HTTP_STREAMS)
		call->out = ring_new(RING_BYTES);
	return (call->in || !(flags & HTTP_READS_BODY)) && (call->out || !(flags & HTTP_STREAMS));
}

struct http_call *http_call_begin(struct http_conn *conn, struct MHD_Connection *connection,
				  const char *path, const char *method)
{
	struct http_server *server = conn->listener->server;
	struct http_call *call = calloc(1, sizeof(*call));

	if (!call)
		return NULL;
	call->server = server;
	call->conn = conn;
	call->body.max = server->options.body_bytes_max;
	call->query.max = QUERY_MAX;
	(void)pthread_mutex_init(&call->lock, NULL);
	(void)pthread_cond_init(&call->decided, NULL);
	call->route = find_route(server, path);
	if (!call->route)
		call->refused = MHD_HTTP_NOT_FOUND;
	else if (strcmp(method, MHD_HTTP_METHOD_POST) != 0)
		call->refused = MHD_HTTP_METHOD_NOT_ALLOWED;
	else
		(void)http_mhd.get_connection_values_n(connection, MHD_GET_ARGUMENT_KIND,
						       keep_query, call);
	if (!call->refused && (call->query.status < 0 || !make_rings(call)))
		call->refused = MHD_HTTP_SERVICE_UNAVAILABLE;
	if (!call->refused && call->in)
		start_handler(call);
	return call;
}

void http_call_feed(struct http_call *call, const void *data, size_t len)
{
	if (call->in && call->has_thread) {
		/* Where the handler wants no more, this is how it is read to its end. */
		(void)ring_put(call->in, data, len);
		return;
	}
	if (call->refused || buf_append(&call->body, data, len) == 0)
		return;
	call->refused = call->body.status == -EFBIG ? MHD_HTTP_CONTENT_TOO_LARGE :
						      MHD_HTTP_SERVICE_UNAVAILABLE;
	buf_release(&call->body);
}

static ssize_t read_out(void *arg, uint64_t at, char *to, size_t max)
{
	struct http_call *call = arg;
	ssize_t n = ring_read(call->out, to, max);

	if (n == 0)
		return MHD_CONTENT_READER_END_OF_STREAM;
	return n < 0 ? MHD_CONTENT_READER_END_WITH_ERROR : n;
}

/* Lets the handler come to an answer. */
static void decide(struct http_call *call)
{
	if (call->refused)
		return;
	if (!call->route->flags) {
		run_handler(call);
		return;
	}
	if (call->in)
		ring_end(call->in, 0);
	else
		start_handler(call);
	if (!call->has_thread)
		return;
	(void)pthread_mutex_lock(&call->lock);
	while (call->decision == HTTP_UNDECIDED)
		(void)pthread_cond_wait(&call->decided, &call->lock);
	(void)pthread_mutex_unlock(&call->lock);
}

enum MHD_Result http_call_reply(struct http_call *call, struct MHD_Connection *connection)
{
	const struct http_options *options = &call->server->options;
	struct MHD_Response *response;
	enum MHD_Result r = MHD_YES;

	decide(call);
	if (!call->refused && call->decision == HTTP_UNANSWERED)
		call->refused = MHD_HTTP_INTERNAL_SERVER_ERROR;
	if (call->refused) {
		call->status = call->refused;
		response = refusal(call);
	} else if (call->decision == HTTP_STREAMING) {
		call->status = MHD_HTTP_OK;
		response = http_mhd.response_from_callback(MHD_SIZE_UNKNOWN, SEND_BYTES, read_out,
							   call, NULL);
	} else {
		response = take_ptr(call->response);
	}
	if (!response)
		return MHD_NO;
	if (options->content_type)
		r = http_mhd.add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE,
						 options->content_type);
	if (r == MHD_YES && atomic_load(&call->server->draining))
		r = http_mhd.add_response_header(response, MHD_HTTP_HEADER_CONNECTION, "close");
	if (r == MHD_YES)
		r = http_mhd.queue_response(connection, call->status, response);
	http_mhd.destroy_response(response);
	return r;
}

void http_call_cut(struct http_call *call)
{
	if (call->in)
		ring_end(call->in, -ECONNRESET);
	if (call->out)
		ring_stop(call->out);
}

void http_call_stop(struct http_call *call)
{
	http_call_cut(call);
	if (call->has_thread)
		(void)pthread_join(call->thread, NULL);
}

void http_call_free(struct http_call *call)
{
	if (call->response)
		http_mhd.destroy_response(call->response);
	ring_free(call->in);
	ring_free(call->out);
	buf_release(&call->body);
	buf_release(&call->query);
	(void)pthread_cond_destroy(&call->decided);
	(void)pthread_mutex_destroy(&call->lock);
	free(call);
}

/* ---- for the handler ---- */

const char *http_call_path(const struct http_call *call)
{
	return call->route->path;
}

void *http_call_tag(const struct http_call *call)
{
	return call->conn->listener->tag;
}

int http_call_peer_pid(const struct http_call *call)
{
	return call->conn->pid;
}

const char *http_call_query(struct http_call *call, const char *key)
{
	const char *pairs = buf_text(&call->query);

	for (size_t at = 0; at < call->query.len;) {
		const char *value = pairs + at + strlen(pairs + at) + 1;

		if (strcmp(pairs + at, key) == 0)
			return value;
		at = (size_t)(value - pairs) + strlen(value) + 1;
	}
	return "";
}

const void *http_call_body(struct http_call *call, size_t *ret_len)
{
	*ret_len = call->body.len;
	return buf_text(&call->body);
}

ssize_t http_call_read(void *arg, const void **ret_block, struct err *err)
{
	struct http_call *call = arg;
	ssize_t n = ring_take(call->in, ret_block);

	if (n == -EPIPE)
		return fail(err, -EPIPE, "the call is answered already");
	return n < 0 ? fail(err, (int)n, "the client went away before the end of its request") : n;
}

/* Who answers wants no more of the request. */
static void settle(struct http_call *call, enum http_decision decision, unsigned int status,
		   struct MHD_Response *response)
{
	if (call->in)
		ring_stop(call->in);
	(void)pthread_mutex_lock(&call->lock);
	assert(call->decision == HTTP_UNDECIDED);
	call->decision = decision;
	call->status = status;
	call->response = response;
	(void)pthread_cond_signal(&call->decided);
	(void)pthread_mutex_unlock(&call->lock);
}

void http_call_answer(struct http_call *call, unsigned int status, const void *bytes, size_t len)
{
	/* With that flag it only reads. */
	void *copy = (void *)(uintptr_t)bytes;

	settle(call, HTTP_ANSWERED, status,
	       http_mhd.response_from_buffer(len, copy, MHD_RESPMEM_MUST_COPY));
}

int http_call_send(void *arg, const void *bytes, size_t len, struct err *err)
{
	struct http_call *call = arg;
	int r;

	/* Only the handler changes it. */
	if (call->decision == HTTP_UNDECIDED)
		settle(call, HTTP_STREAMING, MHD_HTTP_OK, NULL);
	r = ring_put(call->out, bytes, len);
	return r < 0 ? fail(err, r, "the client went away before the end of the answer") : 0;
}

void http_call_end(struct http_call *call, bool whole)
{
	if (call->decision == HTTP_UNDECIDED && !whole)
		return;
	if (call->decision == HTTP_UNDECIDED)
		settle(call, HTTP_STREAMING, MHD_HTTP_OK, NULL);
	ring_end(call->out, whole ? 0 : -ECANCELED);
}
