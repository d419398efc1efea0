/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "cmd/serve/grpc_internal.h"
#include "driver/base/clock.h"

#define HEADERS_MAX	 128		    /* of a request */
#define REQUESTS_MAX	 ((size_t)32 << 20) /* bytes of all requests that a connection holds */
#define REQUEST_ROOM_MAX ((size_t)64 << 10) /* made at once, whatever length is announced */
#define STATUS_COUNT	 17

/* ---- answers ---- */

static nghttp2_nv header(const char *name, const char *value, size_t len, uint8_t flags)
{
	return (nghttp2_nv){ (uint8_t *)(uintptr_t)name, (uint8_t *)(uintptr_t)value, strlen(name),
			     len, NGHTTP2_NV_FLAG_NO_COPY_NAME | flags };
}

static nghttp2_nv fixed_header(const char *name, const char *value)
{
	return header(name, value, strlen(value), NGHTTP2_NV_FLAG_NO_COPY_VALUE);
}

/* grpc-status and, where there are words, grpc-message: how many. */
static size_t put_status(nghttp2_nv to[2], const struct grpc_call *call)
{
	static const char numbers[STATUS_COUNT][3] = { "0",  "1",  "2",	 "3",  "4",  "5",
						       "6",  "7",  "8",	 "9",  "10", "11",
						       "12", "13", "14", "15", "16" };
	size_t status = call->status < STATUS_COUNT ? call->status : GRPC_UNKNOWN;

	to[0] = fixed_header("grpc-status", numbers[status]);
	if (!call->words.len)
		return 1;
	to[1] = header("grpc-message", call->words.data, call->words.len, NGHTTP2_NV_FLAG_NONE);
	return 2;
}

static ssize_t read_answer(nghttp2_session *session, int32_t stream, uint8_t *to, size_t len,
			   uint32_t *flags, nghttp2_data_source *source, void *arg)
{
	struct grpc_call *call = source->ptr;
	size_t left = call->answer.len - call->answer_sent;
	nghttp2_nv trailers[2];

	if (len > left)
		len = left;
	memcpy(to, call->answer.data + call->answer_sent, len);
	call->answer_sent += len;
	if (len < left)
		return (ssize_t)len;
	*flags |= NGHTTP2_DATA_FLAG_EOF | NGHTTP2_DATA_FLAG_NO_END_STREAM;
	if (nghttp2_submit_trailer(session, stream, trailers, put_status(trailers, call)) < 0)
		return NGHTTP2_ERR_CALLBACK_FAILURE;
	return (ssize_t)len;
}

static void submit_answer(struct grpc_call *call, const char *http_status)
{
	nghttp2_data_provider data = { .source.ptr = call, .read_callback = read_answer };
	nghttp2_nv headers[4] = { fixed_header(":status", http_status),
				  fixed_header("content-type", "application/grpc") };
	bool has_data = call->answer.len > 0;
	size_t count = 2 + (has_data ? 0 : put_status(headers + 2, call));

	if (nghttp2_submit_response(call->conn->session, call->stream, headers, count,
				    has_data ? &data : NULL) < 0)
		call->conn->broken = true; /* no memory */
}

/* ---- calls ---- */

static struct grpc_call *call_new(struct grpc_conn *conn, int32_t stream)
{
	struct grpc_call *call = calloc(1, sizeof(*call));

	if (!call)
		return NULL;
	call->server = conn->server;
	call->conn = conn;
	call->tag = conn->tag;
	call->stream = stream;
	call->deadline_ns = INT64_MAX;
	call->request.max = GRPC_PREFIX_LEN + GRPC_REQUEST_BYTES_MAX;
	call->answer.max = GRPC_ANSWER_BYTES_MAX;
	call->next = conn->calls;
	call->at = &conn->calls;
	if (call->next)
		call->next->at = &call->next;
	conn->calls = call;
	return call;
}

static void drop_request(struct grpc_call *call)
{
	if (call->conn)
		call->conn->request_bytes -= call->request.len;
	buf_release(&call->request);
}

/* The request stays: somebody may be reading it. */
static void call_unlink(struct grpc_call *call)
{
	call->conn->request_bytes -= call->request.len;
	*call->at = call->next;
	if (call->next)
		call->next->at = call->at;
	call->conn = NULL;
}

static void call_free(struct grpc_call *call)
{
	if (call->conn)
		call_unlink(call);
	buf_release(&call->request);
	buf_release(&call->answer);
	buf_release(&call->words);
	free(call);
}

/* An answer of ours, before anybody saw the call. What still comes of the request is let go. */
static void refuse(struct grpc_call *call, const char *http_status, enum grpc_status status,
		   const char *words)
{
	drop_request(call);
	call->state = GRPC_ANSWERED;
	call->status = status;
	(void)buf_puts(&call->words, words);
	submit_answer(call, http_status);
}

static void dispatch(struct grpc_call *call)
{
	struct grpc_server *server = call->server;

	call->state = GRPC_RUNNING;
	call->conn->running++;
	server->running++;
	server->options.dispatch(server->options.arg, call);
}

void grpc_stream_answer(struct grpc_call *call)
{
	call->state = GRPC_ANSWERED;
	if (call->conn) {
		call->conn->running--;
		grpc_touch(call->conn);
	}
	if (!call->conn || !call->stream) {
		call_free(call);
		return;
	}
	drop_request(call);
	submit_answer(call, "200");
}

/* ---- requests ---- */

/* TimeoutValue TimeoutUnit: at most eight digits, and one of "HMSmun". */
static bool read_timeout(const char *text, size_t len, int64_t *ret_deadline_ns)
{
	static const struct {
		char name;
		int64_t ns;
	} units[] = { { 'H', 3600 * CLOCK_SECOND_NS },	  { 'M', 60 * CLOCK_SECOND_NS },
		      { 'S', CLOCK_SECOND_NS },		  { 'm', CLOCK_SECOND_NS / 1000 },
		      { 'u', CLOCK_SECOND_NS / 1000000 }, { 'n', 1 } };
	int64_t value = 0, now = clock_ns();

	if (len < 2 || len > 9)
		return false;
	for (size_t i = 0; i < len - 1; i++) {
		if (text[i] < '0' || text[i] > '9')
			return false;
		value = value * 10 + (text[i] - '0');
	}
	for (size_t i = 0; i < ARRAY_LEN(units); i++)
		if (units[i].name == text[len - 1]) {
			if (__builtin_mul_overflow(value, units[i].ns, &value) ||
			    __builtin_add_overflow(value, now, &value))
				value = INT64_MAX;
			*ret_deadline_ns = value;
			return true;
		}
	return false;
}

/* "application/grpc", and what may follow: "+proto", ";charset=utf-8". */
static bool is_grpc_type(const char *value, size_t len)
{
	static const char type[] = "application/grpc";
	size_t n = sizeof(type) - 1;

	return len >= n && memcmp(value, type, n) == 0 &&
	       (len == n || value[n] == '+' || value[n] == ';');
}

static void read_path(struct grpc_call *call, const char *value, size_t len)
{
	if (len < 2 || len >= sizeof(call->path) || value[0] != '/')
		return;
	for (size_t i = 0; i < len; i++)
		if (value[i] <= ' ' || value[i] >= 0x7f)
			return;
	memcpy(call->path, value, len);
	call->path[len] = '\0';
}

static bool is_text(const void *data, size_t len, const char *text)
{
	return len == strlen(text) && memcmp(data, text, len) == 0;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
		     size_t name_len, const uint8_t *data, size_t len, uint8_t flags, void *arg)
{
	struct grpc_call *call = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
	const char *value = (const char *)data;

	if (!call || frame->headers.cat != NGHTTP2_HCAT_REQUEST)
		return 0;
	call->header_count++;
	call->header_bytes += name_len + len;
	if (call->header_count > HEADERS_MAX || call->header_bytes > GRPC_HEADER_BYTES_MAX)
		return 0; /* see check_headers */
	if (is_text(name, name_len, ":path"))
		read_path(call, value, len);
	else if (is_text(name, name_len, ":method"))
		call->is_post = is_text(value, len, "POST");
	else if (is_text(name, name_len, "content-type"))
		call->is_grpc = is_grpc_type(value, len);
	else if (is_text(name, name_len, "grpc-timeout"))
		call->bad_timeout = !read_timeout(value, len, &call->deadline_ns);
	return 0;
}

/* The statuses are those of grpc-go. */
static void check_headers(struct grpc_call *call)
{
	if (call->header_count > HEADERS_MAX || call->header_bytes > GRPC_HEADER_BYTES_MAX)
		refuse(call, "431", GRPC_RESOURCE_EXHAUSTED, "the request has too many headers");
	else if (!call->is_post)
		refuse(call, "405", GRPC_INTERNAL, "the request's method is not POST");
	else if (!call->is_grpc)
		refuse(call, "415", GRPC_INVALID_ARGUMENT,
		       "the request's content-type is not application/grpc");
	else if (!call->path[0])
		refuse(call, "200", GRPC_UNIMPLEMENTED, "malformed method name");
	else if (call->bad_timeout)
		refuse(call, "200", GRPC_INTERNAL, "malformed grpc-timeout");
}

static size_t message_len(const struct grpc_call *call)
{
	const uint8_t *p = (const uint8_t *)call->request.data;

	return (size_t)p[1] << 24 | (size_t)p[2] << 16 | (size_t)p[3] << 8 | p[4];
}

/* Once the prefix is there. */
static void check_prefix(struct grpc_call *call)
{
	if (call->request.data[0])
		refuse(call, "200", GRPC_UNIMPLEMENTED, "compressed messages are not understood");
	else if (message_len(call) > GRPC_REQUEST_BYTES_MAX)
		refuse(call, "200", GRPC_RESOURCE_EXHAUSTED, "the message is larger than 4 MiB");
	else if (call->request.len > GRPC_PREFIX_LEN + message_len(call))
		refuse(call, "200", GRPC_INTERNAL,
		       "more than one message for a method that takes one");
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t stream, const uint8_t *data,
		   size_t len, void *arg)
{
	struct grpc_call *call = nghttp2_session_get_stream_user_data(session, stream);
	struct grpc_conn *conn = arg;
	size_t had, room;

	if (!call || call->state != GRPC_COLLECTING)
		return 0;
	had = call->request.len;
	if (conn->request_bytes + len > REQUESTS_MAX ||
	    len > call->request.max - call->request.len ||
	    buf_append(&call->request, data, len) < 0) {
		refuse(call, "200", GRPC_RESOURCE_EXHAUSTED, "there are too many large requests");
		return 0;
	}
	conn->request_bytes += len;
	if (call->request.len < GRPC_PREFIX_LEN)
		return 0;
	check_prefix(call);
	if (had >= GRPC_PREFIX_LEN || call->state != GRPC_COLLECTING)
		return 0;
	room = GRPC_PREFIX_LEN + message_len(call) - call->request.len;
	if (room <= REQUEST_ROOM_MAX)
		(void)buf_room(&call->request, room);
	return 0;
}

static void on_request_end(struct grpc_call *call)
{
	if (call->state != GRPC_COLLECTING)
		return;
	if (call->request.len < GRPC_PREFIX_LEN ||
	    call->request.len < GRPC_PREFIX_LEN + message_len(call))
		refuse(call, "200", GRPC_INTERNAL, "the request ends before its message does");
	else
		dispatch(call);
}

/* ---- streams ---- */

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
	struct grpc_call *call;

	if (frame->headers.cat != NGHTTP2_HCAT_REQUEST)
		return 0;
	call = call_new(arg, frame->hd.stream_id);
	if (!call)
		return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
	(void)nghttp2_session_set_stream_user_data(session, frame->hd.stream_id, call);
	return 0;
}

void grpc_stream_frame(nghttp2_session *session, const nghttp2_frame *frame)
{
	struct grpc_call *call = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);

	if (!call)
		return;
	if (frame->hd.type == NGHTTP2_HEADERS && frame->headers.cat == NGHTTP2_HCAT_REQUEST)
		check_headers(call);
	if (frame->hd.flags & NGHTTP2_FLAG_END_STREAM)
		on_request_end(call);
}

static void stream_lost(struct grpc_call *call)
{
	call->stream = 0;
	if (call->state == GRPC_RUNNING)
		atomic_store_explicit(&call->cancelled, true, memory_order_relaxed);
	else
		call_free(call);
}

static int on_stream_close(nghttp2_session *session, int32_t stream, uint32_t code, void *arg)
{
	struct grpc_call *call = nghttp2_session_get_stream_user_data(session, stream);

	if (call)
		stream_lost(call);
	return 0;
}

void grpc_stream_forget(struct grpc_conn *conn)
{
	for (struct grpc_call *call; (call = conn->calls);) {
		call_unlink(call);
		stream_lost(call);
	}
}

void grpc_stream_callbacks(nghttp2_session_callbacks *callbacks)
{
	nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, on_begin_headers);
	nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
	nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_close);
}
