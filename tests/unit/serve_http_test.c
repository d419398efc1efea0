/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/serve/http.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/resource.h>
#include <sys/un.h>
#include <unistd.h>

#include "cmd/serve/listen.h"
#include "driver/base/clock.h"
#include "tests/unit/http_client.h"
#include "tests/unit/sandbox.h"
#include <cmocka.h>

#undef fail /* cmocka's; ours is meant */

#define SOCKET	  "s"
#define TAG	  ((void *)&rig)
#define BODY_MAX  ((size_t)64 << 10)
#define MEGABYTE  ((size_t)1 << 20)
#define CHUNK	  ((size_t)32 << 10)
#define TYPE	  "application/vnd.docker.plugins.v1.2+json"
#define PAIRS	  8
#define PAIR_SIZE (4 * MEGABYTE)
#define NOBODY	  65534

static struct {
	struct http_server *server;
	int fd;
	struct listen_name name;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	unsigned int held; /* calls of /hold that have begun */
	bool release;
	int read_end,
		send_end; /* what the last /sum and /endless ended with; 1: they have not yet */
	int pipes[PAIRS][2];
	char line[256];
	unsigned int lines; /* that were said */
} rig = { .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER };

/* ---- handlers ---- */

static void answer_text(struct http_call *call, unsigned int status, const char *text)
{
	http_call_answer(call, status, text, strlen(text));
}

static void echo(void *arg, struct http_call *call)
{
	size_t len;
	const void *body = http_call_body(call, &len);

	if (http_call_tag(call) != TAG || strcmp(http_call_path(call), "/echo") != 0)
		abort();
	http_call_answer(call, 200, body, len);
}

static void query(void *arg, struct http_call *call)
{
	char text[256];

	(void)snprintf(text, sizeof(text), "id=%s parent=%s pid=%d", http_call_query(call, "id"),
		       http_call_query(call, "parent"), http_call_peer_pid(call));
	answer_text(call, 200, text);
}

static void silent(void *arg, struct http_call *call)
{
}

static void refuse(void *arg, struct http_call *call)
{
	answer_text(call, 500, "{\"Err\":\"no\"}");
}

static void hold(void *arg, struct http_call *call)
{
	(void)pthread_mutex_lock(&rig.lock);
	rig.held++;
	(void)pthread_cond_broadcast(&rig.changed);
	while (!rig.release)
		(void)pthread_cond_wait(&rig.changed, &rig.lock);
	(void)pthread_mutex_unlock(&rig.lock);
	answer_text(call, 200, "held");
}

static void set(int *at, int value)
{
	(void)pthread_mutex_lock(&rig.lock);
	*at = value;
	(void)pthread_cond_broadcast(&rig.changed);
	(void)pthread_mutex_unlock(&rig.lock);
}

static uint64_t add_up(uint64_t sum, const void *data, size_t len)
{
	const unsigned char *bytes = data;

	for (size_t i = 0; i < len; i++)
		sum = sum * 31 + bytes[i];
	return sum;
}

static void sum_up(void *arg, struct http_call *call)
{
	uint64_t sum = 0, total = 0;
	struct err err = { 0 };
	const void *block;
	char text[64];
	ssize_t n;

	set(&rig.read_end, 1);
	while ((n = http_call_read(call, &block, &err)) > 0) {
		sum = add_up(sum, block, (size_t)n);
		total += (uint64_t)n;
	}
	(void)snprintf(text, sizeof(text), "%llu %016llx", (unsigned long long)total,
		       (unsigned long long)sum);
	answer_text(call, n < 0 ? 500 : 200, text);
	set(&rig.read_end, (int)n);
}

static void give_up_early(void *arg, struct http_call *call)
{
	const void *block;

	(void)http_call_read(call, &block, NULL);
	answer_text(call, 500, "{\"Err\":\"early\"}");
	if (http_call_read(call, &block, NULL) != -EPIPE)
		abort();
}

/* bytes= of them, each the low byte of its place. */
static void stream(void *arg, struct http_call *call)
{
	size_t bytes = strtoul(http_call_query(call, "bytes"), NULL, 10), step = 10007;
	unsigned char piece[10007];

	for (size_t at = 0; at < bytes; at += step) {
		if (step > bytes - at)
			step = bytes - at;
		for (size_t i = 0; i < step; i++)
			piece[i] = (unsigned char)(at + i);
		if (http_call_send(call, piece, step, NULL) < 0)
			return;
	}
	http_call_end(call, true);
}

static void cut(void *arg, struct http_call *call)
{
	char piece[1000] = { 0 };

	(void)http_call_send(call, piece, sizeof(piece), NULL);
	http_call_end(call, false);
}

static void forget_the_end(void *arg, struct http_call *call)
{
	(void)http_call_send(call, "x", 1, NULL);
}

static void cut_nothing(void *arg, struct http_call *call)
{
	http_call_end(call, false);
}

static void endless(void *arg, struct http_call *call)
{
	char piece[4096] = { 0 };
	struct err err = { 0 };
	int r;

	set(&rig.send_end, 1);
	do
		r = http_call_send(call, piece, sizeof(piece), &err);
	while (r == 0);
	http_call_end(call, true);
	set(&rig.send_end, r);
}

static void take_in(void *arg, struct http_call *call)
{
	size_t n = strtoul(http_call_query(call, "n"), NULL, 10);
	const void *block;
	ssize_t len;

	while ((len = http_call_read(call, &block, NULL)) > 0)
		for (ssize_t at = 0, w; at < len; at += w) {
			w = write(rig.pipes[n][1], (const char *)block + at, (size_t)(len - at));
			if (w <= 0)
				abort();
		}
	(void)close(rig.pipes[n][1]);
	answer_text(call, len < 0 ? 500 : 200, "taken");
}

static void give_out(void *arg, struct http_call *call)
{
	size_t n = strtoul(http_call_query(call, "n"), NULL, 10);
	char piece[5000];
	ssize_t len;

	while ((len = read(rig.pipes[n][0], piece, sizeof(piece))) > 0)
		if (http_call_send(call, piece, (size_t)len, NULL) < 0)
			break;
	(void)close(rig.pipes[n][0]);
	http_call_end(call, len == 0);
}

static void keep_line(void *arg, const char *line)
{
	if (arg != TAG)
		abort();
	(void)pthread_mutex_lock(&rig.lock);
	(void)snprintf(rig.line, sizeof(rig.line), "%s", line);
	rig.lines++;
	(void)pthread_cond_broadcast(&rig.changed);
	(void)pthread_mutex_unlock(&rig.lock);
}

static int start(void **state)
{
	static const struct http_route routes[] = {
		{ "/echo", echo, 0 },
		{ "/query", query, 0 },
		{ "/silent", silent, 0 },
		{ "/refuse", refuse, 0 },
		{ "/hold", hold, 0 },
		{ "/sum", sum_up, HTTP_READS_BODY },
		{ "/early", give_up_early, HTTP_READS_BODY },
		{ "/silent-reader", silent, HTTP_READS_BODY },
		{ "/stream", stream, HTTP_STREAMS },
		{ "/cut", cut, HTTP_STREAMS },
		{ "/forget", forget_the_end, HTTP_STREAMS },
		{ "/cut-nothing", cut_nothing, HTTP_STREAMS },
		{ "/refuse-stream", refuse, HTTP_STREAMS },
		{ "/silent-stream", silent, HTTP_STREAMS },
		{ "/stream-early", stream, HTTP_READS_BODY | HTTP_STREAMS },
		{ "/endless", endless, HTTP_STREAMS },
		{ "/in", take_in, HTTP_READS_BODY },
		{ "/out", give_out, HTTP_STREAMS },
	};
	const struct http_options options = { .routes = routes,
					      .route_count = ARRAY_LEN(routes),
					      .body_bytes_max = BODY_MAX,
					      .content_type = TYPE,
					      .arg = TAG,
					      .log = keep_line };
	struct err err = { 0 };

	if (sandbox_start(state) < 0)
		return -1;
	rig.held = 0;
	rig.release = false;
	rig.read_end = rig.send_end = 2;
	rig.line[0] = '\0';
	rig.lines = 0;
	rig.fd = listen_unix(SOCKET, &rig.name, &err);
	assert_true(rig.fd >= 0);
	assert_int_equal(http_server_new(&options, &rig.server, &err), 0);
	assert_int_equal(http_server_listen(rig.server, rig.fd, TAG, &err), 0);
	return 0;
}

static void let_go(void)
{
	(void)pthread_mutex_lock(&rig.lock);
	rig.release = true;
	(void)pthread_cond_broadcast(&rig.changed);
	(void)pthread_mutex_unlock(&rig.lock);
}

static int stop(void **state)
{
	let_go();
	http_server_free(rig.server);
	rig.server = NULL;
	(void)close(rig.fd);
	return sandbox_clean(state);
}

static void await_held(unsigned int count)
{
	(void)pthread_mutex_lock(&rig.lock);
	while (rig.held < count)
		(void)pthread_cond_wait(&rig.changed, &rig.lock);
	(void)pthread_mutex_unlock(&rig.lock);
}

/* Until it is at most that. */
static int await(const int *at, int most)
{
	int value;

	(void)pthread_mutex_lock(&rig.lock);
	while (*at > most)
		(void)pthread_cond_wait(&rig.changed, &rig.lock);
	value = *at;
	(void)pthread_mutex_unlock(&rig.lock);
	return value;
}

/* ---- answers ---- */

static void assert_reply(struct http_client *client, int status, const char *body)
{
	auto_http_reply struct http_reply reply = { 0 };

	assert_true(http_client_take(client, &reply));
	assert_int_equal(reply.status, status);
	assert_true(reply.whole);
	assert_string_equal(buf_text(&reply.body), body);
	assert_non_null(strstr(reply.head.data, "\r\nContent-Type: " TYPE "\r\n"));
}

static void assert_alive(struct http_client *client)
{
	assert_true(http_client_ask(client, "/echo", "{\"alive\":true}\n"));
	assert_reply(client, 200, "{\"alive\":true}\n");
}

static void assert_server_alive(void)
{
	auto_http_client struct http_client client = http_client_open(SOCKET);

	assert_alive(&client);
}

/* Begins a chunked body. */
static void begin_chunked(struct http_client *client, const char *path)
{
	assert_true(http_client_head(client, path));
	assert_true(http_client_say(client, "Transfer-Encoding: chunked\r\n\r\n"));
}

static void assert_sum(struct http_client *client, uint64_t total, uint64_t sum)
{
	char text[64];

	(void)snprintf(text, sizeof(text), "%llu %016llx", (unsigned long long)total,
		       (unsigned long long)sum);
	assert_reply(client, 200, text);
}

static void a_connection_is_kept_for_hundreds_of_calls(void **state)
{
	auto_http_client struct http_client client = http_client_open(SOCKET);
	char body[64];

	for (int i = 0; i < 500; i++) {
		(void)snprintf(body, sizeof(body), "{\"ID\":\"%d\"}\n", i);
		assert_true(http_client_ask(&client, "/echo", body));
		assert_reply(&client, 200, body);
	}
}

static void bodies_may_be_empty(void **state)
{
	auto_http_client struct http_client client = http_client_open(SOCKET);

	for (int i = 0; i < 3; i++) {
		assert_true(http_client_ask(&client, "/echo", ""));
		assert_reply(&client, 200, "");
		begin_chunked(&client, "/echo");
		assert_true(http_client_chunk(&client, "", 0));
		assert_reply(&client, 200, "");
		begin_chunked(&client, "/sum");
		assert_true(http_client_chunk(&client, "", 0));
		assert_sum(&client, 0, 0);
		assert_true(http_client_ask(&client, "/sum", ""));
		assert_sum(&client, 0, 0);
	}
}

static void any_host_will_do(void **state)
{
	static const char *const heads[] = {
		"Host: \r\n",
		"Host:\r\n",
		"Host: plugin.moby.localhost\r\n",
	};

	for (size_t i = 0; i < ARRAY_LEN(heads); i++) {
		auto_http_client struct http_client client = http_client_open(SOCKET);

		assert_true(http_client_say(&client, "POST /echo HTTP/1.1\r\n"));
		assert_true(http_client_say(&client, heads[i]));
		assert_true(http_client_say(&client, "Content-Length: 2\r\n\r\n{}"));
		assert_reply(&client, 200, "{}");
		assert_alive(&client);
	}
}

static void calls_may_come_before_the_last_answer(void **state)
{
	auto_http_client struct http_client client = http_client_open(SOCKET);

	for (int i = 0; i < 20; i++)
		assert_true(http_client_ask(&client, "/echo", "{}"));
	for (int i = 0; i < 20; i++)
		assert_reply(&client, 200, "{}");
}

static void chunks_of_any_size_are_one_body(void **state)
{
	static const size_t sizes[] = { 1, 2, 511, 4096, CHUNK, 300000 };
	auto_http_client struct http_client client = http_client_open(SOCKET);
	auto_free char *data = malloc(MEGABYTE);

	for (size_t i = 0; i < MEGABYTE; i++)
		data[i] = (char)(i * 7 + i / 251);
	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		size_t total = sizes[i] == 1 ? 20000 : MEGABYTE, step = sizes[i];

		begin_chunked(&client, "/sum");
		for (size_t at = 0; at < total; at += step) {
			size_t n = step < total - at ? step : total - at;

			assert_true(http_client_chunk(&client, data + at, n));
		}
		assert_true(http_client_chunk(&client, "", 0));
		assert_sum(&client, total, add_up(0, data, total));
	}
}

static void a_body_with_a_length_is_read_as_well(void **state)
{
	auto_http_client struct http_client client = http_client_open(SOCKET);
	auto_free char *data = calloc(1, MEGABYTE);

	assert_true(http_client_head(&client, "/sum"));
	assert_true(http_client_say(&client, "Content-Length: 1048576\r\n\r\n"));
	assert_true(http_client_send(&client, data, MEGABYTE));
	assert_sum(&client, MEGABYTE, add_up(0, data, MEGABYTE));
	assert_alive(&client);
}

static void a_body_that_is_too_long_is_refused_once_it_is_read(void **state)
{
	auto_http_client struct http_client client = http_client_open(SOCKET);
	auto_free char *data = calloc(1, MEGABYTE);

	for (int i = 0; i < 2; i++) {
		begin_chunked(&client, "/echo");
		assert_true(http_client_chunk(&client, data, MEGABYTE));
		assert_true(http_client_chunk(&client, data, MEGABYTE));
		assert_true(http_client_chunk(&client, "", 0));
		assert_reply(&client, 413,
			     "{\"Err\":\"the request is too long: more than 65536 bytes\"}\n");
	}
	memset(data, 'x', BODY_MAX);
	data[BODY_MAX] = '\0';
	assert_true(http_client_ask(&client, "/echo", data));
	assert_reply(&client, 200, data);
}

static void what_is_no_call_is_refused(void **state)
{
	auto_http_client struct http_client client = http_client_open(SOCKET);

	assert_true(http_client_ask(&client, "/nothing", "{}"));
	assert_reply(&client, 404, "{\"Err\":\"there is no such call\"}\n");
	assert_true(http_client_ask(&client, "/echo/", "{}"));
	assert_reply(&client, 404, "{\"Err\":\"there is no such call\"}\n");
	assert_true(http_client_say(&client, "GET /echo HTTP/1.1\r\nHost: \r\n\r\n"));
	assert_reply(&client, 405, "{\"Err\":\"calls are POST\"}\n");
	assert_true(http_client_say(&client,
				    "PUT /sum HTTP/1.1\r\nHost: \r\nContent-Length: 3\r\n\r\nabc"));
	assert_reply(&client, 405, "{\"Err\":\"calls are POST\"}\n");
	assert_true(http_client_say(&client, "DELETE /stream HTTP/1.1\r\nHost: \r\n\r\n"));
	assert_reply(&client, 405, "{\"Err\":\"calls are POST\"}\n");
	assert_alive(&client);
}

static void who_returns_without_an_answer_is_answered_for(void **state)
{
	static const char *const paths[] = { "/silent", "/silent-reader", "/silent-stream",
					     "/cut-nothing" };
	auto_http_client struct http_client client = http_client_open(SOCKET);

	for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
		assert_true(http_client_ask(&client, paths[i], "{}"));
		assert_reply(&client, 500, "{\"Err\":\"the call was not answered\"}\n");
	}
	assert_alive(&client);
}

static void errors_are_answers(void **state)
{
	auto_http_client struct http_client client = http_client_open(SOCKET);

	assert_true(http_client_ask(&client, "/refuse", "{}"));
	assert_reply(&client, 500, "{\"Err\":\"no\"}");
	assert_true(http_client_ask(&client, "/refuse-stream", "{}"));
	assert_reply(&client, 500, "{\"Err\":\"no\"}");
	assert_alive(&client);
}

static void a_handler_may_give_up_before_the_end_of_the_body(void **state)
{
	auto_http_client struct http_client client = http_client_open(SOCKET);
	auto_free char *data = calloc(1, MEGABYTE);

	for (int i = 0; i < 3; i++) {
		begin_chunked(&client, "/early");
		for (int j = 0; j < 8; j++)
			assert_true(http_client_chunk(&client, data, MEGABYTE));
		/* Nothing is said before the end. */
		assert_int_equal(recv(client.fd, data, 1, MSG_DONTWAIT), -1);
		assert_int_equal(errno, EAGAIN);
		assert_true(http_client_chunk(&client, "", 0));
		assert_reply(&client, 500, "{\"Err\":\"early\"}");
	}
	assert_alive(&client);
}

static void a_handler_may_send_before_the_end_of_the_body(void **state)
{
	auto_http_client struct http_client client = http_client_open(SOCKET);
	auto_http_reply struct http_reply reply = { 0 };
	auto_free char *data = calloc(1, MEGABYTE);

	begin_chunked(&client, "/stream-early?bytes=3000000");
	for (int j = 0; j < 8; j++)
		assert_true(http_client_chunk(&client, data, MEGABYTE));
	assert_true(http_client_chunk(&client, "", 0));
	assert_true(http_client_take(&client, &reply));
	assert_true(reply.whole);
	assert_int_equal(reply.body.len, 3000000);
	assert_alive(&client);
}

static void queries_are_decoded(void **state)
{
	static const struct {
		const char *query, *id, *parent;
	} cases[] = {
		{ "", "", "" },
		{ "?", "", "" },
		{ "?id=a&parent=", "a", "" },
		{ "?id=6f4b&parent=0a-init", "6f4b", "0a-init" },
		{ "?parent=p&id=i", "i", "p" },
		{ "?id", "", "" },
		{ "?id&parent=p", "", "p" },
		{ "?id=%41%2f%2E%2e&parent=a+b", "A/..", "a b" },
		{ "?id=a=b&parent==", "a=b", "=" },
		{ "?id=first&id=second", "first", "" },
		{ "?id=a%00b&parent=p", "", "p" },
		{ "?%69d=x", "x", "" },
		{ "?ID=x&idx=y&&=z&parent=p", "", "p" },
		{ "?id=%zz&parent=%", "%zz", "%" },
	};
	auto_http_client struct http_client client = http_client_open(SOCKET);
	char path[128], text[256];

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		(void)snprintf(path, sizeof(path), "/query%s", cases[i].query);
		(void)snprintf(text, sizeof(text), "id=%s parent=%s pid=%d", cases[i].id,
			       cases[i].parent, getpid());
		assert_true(http_client_ask(&client, path, "{}"));
		assert_reply(&client, 200, text);
	}
}

/* ---- streams ---- */

static void a_stream_comes_whole(void **state)
{
	static const size_t sizes[] = { 0, 1, 10007, 1000000, 20000000 };
	auto_http_client struct http_client client = http_client_open(SOCKET);
	char path[64];

	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		auto_http_reply struct http_reply reply = { 0 };

		(void)snprintf(path, sizeof(path), "/stream?bytes=%zu", sizes[i]);
		assert_true(http_client_ask(&client, path, "{}"));
		assert_true(http_client_take(&client, &reply));
		assert_int_equal(reply.status, 200);
		assert_true(reply.whole);
		assert_int_equal(reply.body.len, sizes[i]);
		for (size_t j = 0; j < reply.body.len; j++)
			if ((unsigned char)reply.body.data[j] != (unsigned char)j)
				assert_int_equal(j, SIZE_MAX);
	}
	assert_alive(&client);
}

static void a_stream_that_fails_is_seen_as_cut(void **state)
{
	static const char *const paths[] = { "/cut", "/forget" };

	for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
		auto_http_client struct http_client client = http_client_open(SOCKET);
		auto_http_reply struct http_reply reply = { 0 };

		assert_true(http_client_ask(&client, paths[i], "{}"));
		assert_true(http_client_take(&client, &reply));
		assert_int_equal(reply.status, 200);
		assert_false(reply.whole);
		assert_true(http_client_ended(&client));
	}
	assert_server_alive();
}

static void a_body_that_is_cut_is_an_error_to_its_reader(void **state)
{
	static const char *const rests[] = {
		"Transfer-Encoding: chunked\r\n\r\n",
		"Transfer-Encoding: chunked\r\n\r\n8000\r\nabc",
		"Transfer-Encoding: chunked\r\n\r\n3\r\nabc",
		"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
		"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0",
		"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nnonsense\r\n",
		"Transfer-Encoding: chunked\r\n\r\n3\r\nabcdef\r\n0\r\n\r\n",
		"Content-Length: 10\r\n\r\nabc",
		"Content-Length: 10\r\n\r\n",
	};

	for (size_t i = 0; i < ARRAY_LEN(rests); i++) {
		auto_http_client struct http_client client = http_client_open(SOCKET);

		set(&rig.read_end, 2);
		assert_true(http_client_head(&client, "/sum"));
		assert_true(http_client_say(&client, rests[i]));
		(void)await(&rig.read_end, 1);
		http_client_close(&client);
		assert_int_equal(await(&rig.read_end, 0), -ECONNRESET);
	}
	assert_server_alive();
}

static void who_sends_is_told_that_the_client_went(void **state)
{
	for (int i = 0; i < 20; i++) {
		auto_http_client struct http_client client = http_client_open(SOCKET);
		auto_http_reply struct http_reply reply = { 0 };

		set(&rig.send_end, 2);
		assert_true(http_client_ask(&client, "/endless", "{}"));
		assert_true(http_client_begin(&client, &reply));
		for (int j = 0; j < i; j++)
			assert_true(http_client_next(&client, &reply));
		http_client_close(&client);
		assert_int_equal(await(&rig.send_end, 0), -EPIPE);
	}
	assert_server_alive();
}

static void clients_may_go_before_their_answer(void **state)
{
	static const char *const paths[] = { "/hold", "/echo", "/stream?bytes=100",
					     "/refuse-stream" };
	struct http_client clients[16];

	for (size_t i = 0; i < ARRAY_LEN(clients); i++) {
		clients[i] = http_client_open(SOCKET);
		assert_true(http_client_ask(&clients[i], paths[i % ARRAY_LEN(paths)], "{}"));
	}
	await_held(ARRAY_LEN(clients) / ARRAY_LEN(paths));
	for (size_t i = 0; i < ARRAY_LEN(clients); i++)
		http_client_close(&clients[i]);
	let_go();
	assert_server_alive();
}

/* ---- at once ---- */

struct pair {
	size_t n;
	bool in_ok;
};

/* Asks for a stream, and sends it on, as a client of two calls does. */
static void *relay(void *arg)
{
	struct pair *pair = arg;
	auto_http_client struct http_client from = http_client_open(SOCKET),
					    to = http_client_open(SOCKET);
	auto_http_reply struct http_reply reply = { 0 };
	char path[64];
	bool ok;

	(void)snprintf(path, sizeof(path), "/stream?bytes=%zu", PAIR_SIZE);
	ok = http_client_ask(&from, path, "{}") && http_client_begin(&from, &reply);
	(void)snprintf(path, sizeof(path), "/in?n=%zu", pair->n);
	ok = ok && http_client_head(&to, path) &&
	     http_client_say(&to, "Transfer-Encoding: chunked\r\n\r\n");
	while (ok && http_client_next(&from, &reply))
		ok = http_client_chunk(&to, reply.body.data, reply.body.len);
	ok = ok && reply.whole && http_client_chunk(&to, "", 0) && http_client_take(&to, &reply);
	pair->in_ok = ok && reply.status == 200;
	return NULL;
}

static void *take_relayed(void *arg)
{
	const struct pair *pair = arg;
	auto_http_client struct http_client client = http_client_open(SOCKET);
	auto_http_reply struct http_reply reply = { 0 };
	bool ok;
	char path[64];

	(void)snprintf(path, sizeof(path), "/out?n=%zu", pair->n);
	ok = http_client_ask(&client, path, "{}") && http_client_take(&client, &reply) &&
	     reply.whole && reply.body.len == PAIR_SIZE;
	for (size_t i = 0; ok && i < PAIR_SIZE; i++)
		ok = (unsigned char)reply.body.data[i] == (unsigned char)i;
	return ok ? arg : NULL;
}

static void what_one_call_takes_another_may_give(void **state)
{
	pthread_t in[PAIRS], out[PAIRS];
	struct pair pairs[PAIRS];

	for (size_t i = 0; i < PAIRS; i++) {
		pairs[i] = (struct pair){ .n = i };
		assert_int_equal(pipe2(rig.pipes[i], O_CLOEXEC), 0);
		assert_int_equal(pthread_create(&out[i], NULL, take_relayed, &pairs[i]), 0);
		assert_int_equal(pthread_create(&in[i], NULL, relay, &pairs[i]), 0);
	}
	for (size_t i = 0; i < PAIRS; i++) {
		void *result;

		assert_int_equal(pthread_join(in[i], NULL), 0);
		assert_int_equal(pthread_join(out[i], &result), 0);
		assert_true(pairs[i].in_ok);
		assert_non_null(result);
	}
}

static void a_hundred_slow_streams_hold_up_nobody(void **state)
{
	struct http_client slow[100];

	for (size_t i = 0; i < ARRAY_LEN(slow); i++) {
		slow[i] = http_client_open(SOCKET);
		if (i % 3 == 0)
			assert_true(http_client_ask(&slow[i], "/endless", "{}"));
		else if (i % 3 == 1)
			begin_chunked(&slow[i], "/sum");
		else
			assert_true(http_client_ask(&slow[i], "/hold", "{}"));
	}
	for (int i = 0; i < 20; i++)
		assert_server_alive();
	let_go();
	for (size_t i = 0; i < ARRAY_LEN(slow); i++)
		http_client_close(&slow[i]);
}

/* ---- what is not HTTP ---- */

static uint32_t rnd(uint32_t *seed)
{
	*seed = *seed * 1664525 + 1013904223;
	return *seed >> 8;
}

static void garbage_is_survived(void **state)
{
	static const char good[] = "POST /sum?id=%41 HTTP/1.1\r\nHost: \r\n"
				   "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
	uint32_t seed = 20240;

	for (int i = 0; i < 1000; i++) {
		auto_http_client struct http_client client = http_client_open(SOCKET);
		char bytes[600];
		size_t len = rnd(&seed) % sizeof(bytes) + 1;

		if (i % 2) {
			for (size_t j = 0; j < len; j++)
				bytes[j] = (char)rnd(&seed);
		} else {
			len = sizeof(good) - 1;
			memcpy(bytes, good, len);
			for (uint32_t j = rnd(&seed) % 4 + 1; j; j--)
				bytes[rnd(&seed) % len] = (char)rnd(&seed);
		}
		(void)http_client_send(&client, bytes, len);
		(void)shutdown(client.fd, SHUT_WR);
		while (!http_client_ended(&client))
			client.at = client.in.len;
	}
	assert_server_alive();
}

/* No descriptor is left to accept with, which is tried, and told, as often as a loop turns. */
static void what_is_said_without_end_is_said_a_few_times(void **state)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	auto_close int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	auto_close int last = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	int64_t until_ns = clock_ns() + 2 * CLOCK_SECOND_NS;
	struct rlimit before, few;
	unsigned int lines;

	(void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", SOCKET);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	few = before;
	few.rlim_cur = (rlim_t)last;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
	assert_int_equal(connect(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
	(void)pthread_mutex_lock(&rig.lock);
	while (clock_ns() < until_ns)
		(void)pthread_cond_wait(&rig.changed, &rig.lock);
	lines = rig.lines;
	(void)pthread_mutex_unlock(&rig.lock);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	assert_in_range(lines, 5, 20);
	assert_server_alive();
}

static void headers_without_end_are_refused(void **state)
{
	auto_http_client struct http_client client = http_client_open(SOCKET);
	char line[128];
	bool sent = true;

	assert_true(http_client_head(&client, "/echo"));
	for (int i = 0; i < 100000 && sent; i++) {
		(void)snprintf(line, sizeof(line), "X-Header-%d: %0100d\r\n", i, i);
		sent = http_client_say(&client, line);
	}
	assert_false(sent);
	assert_server_alive();
}

static void a_line_without_end_is_refused(void **state)
{
	auto_http_client struct http_client client = http_client_open(SOCKET);
	char block[4096];
	bool sent = true;

	memset(block, 'a', sizeof(block));
	assert_true(http_client_say(&client, "POST /"));
	for (int i = 0; i < 10000 && sent; i++)
		sent = http_client_send(&client, block, sizeof(block));
	assert_false(sent);
	assert_server_alive();
}

static void only_root_is_let_in(void **state)
{
	int status;
	pid_t pid;

	needs_root();
	assert_int_equal(chmod(SOCKET, 0666), 0);
	assert_int_equal(chmod(sandbox_root(), 0755), 0);
	pid = fork();
	if (pid == 0) {
		if (setgid(NOBODY) < 0 || setuid(NOBODY) < 0)
			_exit(2);
		struct http_client client = http_client_open(SOCKET);

		(void)http_client_ask(&client, "/echo", "{}");
		_exit(recv(client.fd, &status, 1, 0) > 0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	assert_server_alive();
}

static size_t count_of(const char *path)
{
	auto_closedir DIR *dir = opendir(path);
	size_t count = 0;

	assert_non_null(dir);
	while (readdir(dir))
		count++;
	return count;
}

static void nothing_is_left_of_connections_that_end(void **state)
{
	size_t fds, threads;

	assert_server_alive();
	http_server_free(rig.server);
	rig.server = NULL;
	fds = count_of("/proc/self/fd");
	threads = count_of("/proc/self/task");
	(void)stop(state);
	assert_int_equal(start(state), 0);
	for (int i = 0; i < 300; i++) {
		auto_http_client struct http_client client = http_client_open(SOCKET);

		if (i % 3 == 0) {
			assert_alive(&client);
		} else if (i % 3 == 1) {
			begin_chunked(&client, "/sum");
			assert_true(http_client_chunk(&client, "abc", 3));
		} else {
			assert_true(http_client_ask(&client, "/endless", "{}"));
		}
	}
	http_server_drain(rig.server, HTTP_CLIENT_SECONDS);
	http_server_free(rig.server);
	rig.server = NULL;
	assert_int_equal(count_of("/proc/self/fd"), fds);
	assert_int_equal(count_of("/proc/self/task"), threads);
}

/* ---- the end ---- */

static void *drain(void *arg)
{
	http_server_drain(rig.server, *(const unsigned int *)arg);
	return NULL;
}

static void draining_waits_for_calls_under_way(void **state)
{
	auto_http_client struct http_client busy = http_client_open(SOCKET),
					    idle = http_client_open(SOCKET),
					    sender = http_client_open(SOCKET);
	auto_http_reply struct http_reply reply = { 0 };
	unsigned int seconds = HTTP_CLIENT_SECONDS;
	int64_t begun = clock_ns();
	pthread_t thread;

	assert_alive(&idle);
	begin_chunked(&sender, "/sum");
	assert_true(http_client_chunk(&sender, "abc", 3));
	(void)await(&rig.read_end, 1);
	assert_true(http_client_ask(&busy, "/hold", "{}"));
	await_held(1);
	assert_int_equal(pthread_create(&thread, NULL, drain, &seconds), 0);
	assert_true(http_client_ended(&idle));
	/* That one has ended, so it is draining; and these calls go on. */
	assert_true(http_client_chunk(&sender, "def", 3));
	assert_true(http_client_chunk(&sender, "", 0));
	assert_sum(&sender, 6, add_up(0, "abcdef", 6));
	assert_true(http_client_ended(&sender));
	let_go();
	assert_true(http_client_take(&busy, &reply));
	assert_int_equal(reply.status, 200);
	assert_string_equal(buf_text(&reply.body), "held");
	assert_non_null(strcasestr(reply.head.data, "\r\nConnection: close\r\n"));
	assert_true(http_client_ended(&busy));
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_in_range(clock_ns() - begun, 0, 20 * CLOCK_SECOND_NS);
}

static void draining_cuts_what_takes_too_long(void **state)
{
	auto_http_client struct http_client stream = http_client_open(SOCKET),
					    body = http_client_open(SOCKET);
	auto_http_reply struct http_reply reply = { 0 };

	begin_chunked(&body, "/sum");
	assert_true(http_client_ask(&stream, "/endless", "{}"));
	assert_true(http_client_begin(&stream, &reply));
	assert_true(http_client_next(&stream, &reply));
	(void)await(&rig.read_end, 1);
	http_server_drain(rig.server, 1);
	while (http_client_next(&stream, &reply))
		;
	assert_false(reply.whole);
	assert_int_equal(await(&rig.send_end, 0), -EPIPE);
	assert_int_equal(await(&rig.read_end, 0), -ECONNRESET);
}

static void what_was_asked_before_the_draining_is_answered(void **state)
{
	struct http_client clients[50];

	for (size_t i = 0; i < ARRAY_LEN(clients); i++) {
		clients[i] = http_client_open(SOCKET);
		assert_alive(&clients[i]);
	}
	for (size_t i = 0; i < ARRAY_LEN(clients); i++)
		assert_true(http_client_ask(&clients[i], "/echo", "{\"last\":1}"));
	http_server_drain(rig.server, HTTP_CLIENT_SECONDS);
	for (size_t i = 0; i < ARRAY_LEN(clients); i++) {
		assert_reply(&clients[i], 200, "{\"last\":1}");
		http_client_close(&clients[i]);
	}
}

static void the_callers_socket_goes_on_listening(void **state)
{
	struct pollfd p = { .fd = rig.fd, .events = POLLIN };
	auto_http_client struct http_client client = { .fd = -EBADF };
	int fd;

	assert_server_alive();
	http_server_drain(rig.server, 1);
	http_server_free(rig.server);
	rig.server = NULL;
	client = http_client_open(SOCKET);
	assert_int_equal(poll(&p, 1, HTTP_CLIENT_SECONDS * 1000), 1);
	fd = accept(rig.fd, NULL, NULL);
	assert_true(fd >= 0);
	(void)close(fd);
}

static void several_sockets_have_tags_of_their_own(void **state)
{
	auto_http_client struct http_client client = { .fd = -EBADF };
	struct listen_name name;
	struct err err = { 0 };
	int fd = listen_unix("t", &name, &err);

	assert_true(fd >= 0);
	assert_int_equal(http_server_listen(rig.server, fd, TAG, &err), 0);
	client = http_client_open("t");
	assert_alive(&client);
	assert_server_alive();
	(void)close(fd);
	assert_alive(&client);
}

static void freeing_alone_ends_everything(void **state)
{
	auto_http_client struct http_client stream = http_client_open(SOCKET),
					    body = http_client_open(SOCKET),
					    idle = http_client_open(SOCKET);
	auto_http_reply struct http_reply reply = { 0 };

	assert_alive(&idle);
	begin_chunked(&body, "/sum");
	assert_true(http_client_ask(&stream, "/endless", "{}"));
	assert_true(http_client_begin(&stream, &reply));
	(void)await(&rig.read_end, 1);
	http_server_free(rig.server);
	rig.server = NULL;
	assert_int_equal(rig.read_end, -ECONNRESET);
	assert_int_equal(rig.send_end, -EPIPE);
	assert_true(http_client_ended(&idle));
}

#define served(f) cmocka_unit_test_setup_teardown(f, start, stop)

int main(void)
{
	const struct CMUnitTest tests[] = {
		served(a_connection_is_kept_for_hundreds_of_calls),
		served(bodies_may_be_empty),
		served(any_host_will_do),
		served(calls_may_come_before_the_last_answer),
		served(chunks_of_any_size_are_one_body),
		served(a_body_with_a_length_is_read_as_well),
		served(a_body_that_is_too_long_is_refused_once_it_is_read),
		served(what_is_no_call_is_refused),
		served(who_returns_without_an_answer_is_answered_for),
		served(errors_are_answers),
		served(a_handler_may_give_up_before_the_end_of_the_body),
		served(a_handler_may_send_before_the_end_of_the_body),
		served(queries_are_decoded),
		served(a_stream_comes_whole),
		served(a_stream_that_fails_is_seen_as_cut),
		served(a_body_that_is_cut_is_an_error_to_its_reader),
		served(who_sends_is_told_that_the_client_went),
		served(clients_may_go_before_their_answer),
		served(what_one_call_takes_another_may_give),
		served(a_hundred_slow_streams_hold_up_nobody),
		served(garbage_is_survived),
		served(what_is_said_without_end_is_said_a_few_times),
		served(headers_without_end_are_refused),
		served(a_line_without_end_is_refused),
		served(only_root_is_let_in),
		served(nothing_is_left_of_connections_that_end),
		served(draining_waits_for_calls_under_way),
		served(draining_cuts_what_takes_too_long),
		served(what_was_asked_before_the_draining_is_answered),
		served(the_callers_socket_goes_on_listening),
		served(several_sockets_have_tags_of_their_own),
		served(freeing_alone_ends_everything),
	};

	(void)alarm(600);
	return cmocka_run_group_tests(tests, sandbox_enter, sandbox_leave);
}
