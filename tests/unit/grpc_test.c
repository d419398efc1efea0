/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/serve/grpc.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cmd/serve/listen.h"
#include "driver/base/clock.h"
#include "tests/unit/grpc_client.h"
#include "tests/unit/sandbox.h"
#include <cmocka.h>

#define WORKERS	   2
#define IDS_MAX	   20000
#define BIG_STEP   ((size_t)64 << 10)
#define MEGABYTE   ((size_t)1 << 20)
#define TAG	   ((void *)&rig)
#define NOBODY	   65534
#define CONNECTION "s"

/* A server, and threads that work on its calls. */
static struct {
	struct grpc_server *server;
	pthread_t thread, workers[WORKERS];
	bool runs;
	int fd, result;
	struct listen_name name;
	pthread_mutex_t lock;
	pthread_cond_t come, more; /* a call for the workers; something that the test waits for */
	struct grpc_call *calls[IDS_MAX]; /* waiting, from first to last */
	size_t first, last;
	struct grpc_call *held[IDS_MAX];
	size_t held_count;
	bool hold_none;
	bool stop;
	unsigned char ids[IDS_MAX]; /* how often /t/Id came with it */
	atomic_size_t dispatched, cancelled;
	char line[512];
} rig = { .lock = PTHREAD_MUTEX_INITIALIZER,
	  .come = PTHREAD_COND_INITIALIZER,
	  .more = PTHREAD_COND_INITIALIZER };

/* ---- the service ---- */

static char *text_of(const struct grpc_call *call)
{
	size_t len;
	const uint8_t *message = grpc_call_message(call, &len);
	char *text = strndup((const char *)message, len);

	if (!text)
		abort();
	return text;
}

static void echo(struct grpc_call *call)
{
	size_t len;
	const uint8_t *message = grpc_call_message(call, &len);

	(void)grpc_call_send(call, message, len, NULL);
	grpc_call_finish(call, GRPC_OK, NULL);
}

static void send_big(struct grpc_call *call, const char *megabytes)
{
	size_t count = strtoul(megabytes, NULL, 10) * (MEGABYTE / BIG_STEP);
	auto_free char *step = malloc(BIG_STEP);

	for (size_t i = 0; step && i < count; i++) {
		memset(step, (int)(i & 0xff), BIG_STEP);
		(void)grpc_call_send(call, step, BIG_STEP, NULL);
	}
	grpc_call_finish(call, GRPC_OK, NULL);
}

static void hold(struct grpc_call *call)
{
	bool held;

	(void)pthread_mutex_lock(&rig.lock);
	held = !rig.hold_none;
	if (held)
		rig.held[rig.held_count++] = call;
	(void)pthread_cond_broadcast(&rig.more);
	(void)pthread_mutex_unlock(&rig.lock);
	if (!held)
		echo(call);
}

static void count_id(struct grpc_call *call, const char *id)
{
	(void)pthread_mutex_lock(&rig.lock);
	rig.ids[strtoul(id, NULL, 10)]++;
	(void)pthread_mutex_unlock(&rig.lock);
	echo(call);
}

static void say_deadline(struct grpc_call *call)
{
	int64_t deadline = grpc_call_deadline(call);
	char text[32];
	int len = snprintf(text, sizeof(text), "%lld",
			   deadline == INT64_MAX ? -1LL : (long long)(deadline - clock_ns()));

	(void)grpc_call_send(call, text, (size_t)len, NULL);
	grpc_call_finish(call, GRPC_OK, NULL);
}

static void serve(struct grpc_call *call)
{
	auto_free char *text = text_of(call);
	const char *path = grpc_call_path(call);

	if (grpc_call_tag(call) != TAG)
		abort();
	if (grpc_call_cancelled(call))
		(void)atomic_fetch_add(&rig.cancelled, 1);
	if (strcmp(path, "/t/Big") == 0)
		send_big(call, text);
	else if (strcmp(path, "/t/None") == 0)
		grpc_call_finish(call, GRPC_OK, NULL);
	else if (strcmp(path, "/t/Fail") == 0)
		grpc_call_finish(call, GRPC_NOT_FOUND, text);
	else if (strcmp(path, "/t/Part") == 0) {
		(void)grpc_call_send(call, "part", 4, NULL);
		grpc_call_finish(call, GRPC_INTERNAL, "no more");
	} else if (strcmp(path, "/t/Huge") == 0) {
		if (grpc_call_send(call, text, GRPC_ANSWER_BYTES_MAX + 1, NULL) != -EFBIG)
			abort();
		grpc_call_finish(call, GRPC_OK, NULL);
	} else if (strcmp(path, "/t/Hold") == 0)
		hold(call);
	else if (strcmp(path, "/t/Id") == 0)
		count_id(call, text);
	else if (strcmp(path, "/t/Deadline") == 0)
		say_deadline(call);
	else
		echo(call);
}

static void dispatch(void *arg, struct grpc_call *call)
{
	(void)atomic_fetch_add(&rig.dispatched, 1);
	if (strcmp(grpc_call_path(call), "/t/Inline") == 0) {
		echo(call);
		return;
	}
	(void)pthread_mutex_lock(&rig.lock);
	rig.calls[rig.last++ % IDS_MAX] = call;
	(void)pthread_cond_signal(&rig.come);
	(void)pthread_mutex_unlock(&rig.lock);
}

static void *work(void *arg)
{
	for (;;) {
		struct grpc_call *call = NULL;

		(void)pthread_mutex_lock(&rig.lock);
		while (rig.first == rig.last && !rig.stop)
			(void)pthread_cond_wait(&rig.come, &rig.lock);
		if (rig.first != rig.last)
			call = rig.calls[rig.first++ % IDS_MAX];
		(void)pthread_mutex_unlock(&rig.lock);
		if (!call)
			return NULL;
		serve(call);
	}
}

static void await_held(size_t count)
{
	(void)pthread_mutex_lock(&rig.lock);
	while (rig.held_count < count)
		(void)pthread_cond_wait(&rig.more, &rig.lock);
	(void)pthread_mutex_unlock(&rig.lock);
}

/* Finishes what is held; how many of these calls were cancelled. */
static size_t release_held(void)
{
	size_t cancelled = 0;

	for (size_t i = 0; i < rig.held_count; i++) {
		cancelled += grpc_call_cancelled(rig.held[i]);
		echo(rig.held[i]);
	}
	rig.held_count = 0;
	return cancelled;
}

static void hold_no_more(void)
{
	(void)pthread_mutex_lock(&rig.lock);
	rig.hold_none = true;
	(void)release_held();
	(void)pthread_mutex_unlock(&rig.lock);
}

static void await_cancelled(const struct grpc_call *call)
{
	while (!grpc_call_cancelled(call))
		(void)usleep(100);
}

static void keep_line(void *arg, const char *line)
{
	(void)pthread_mutex_lock(&rig.lock);
	(void)snprintf(rig.line, sizeof(rig.line), "%s", line);
	(void)pthread_cond_broadcast(&rig.more);
	(void)pthread_mutex_unlock(&rig.lock);
}

static void await_line(const char *part)
{
	(void)pthread_mutex_lock(&rig.lock);
	while (!strstr(rig.line, part))
		(void)pthread_cond_wait(&rig.more, &rig.lock);
	rig.line[0] = '\0';
	(void)pthread_mutex_unlock(&rig.lock);
}

static void *run(void *arg)
{
	struct err err = { 0 };

	rig.result = grpc_server_run(rig.server, &err);
	return NULL;
}

static void start_patient(unsigned int patience_ms)
{
	struct grpc_options options = { .dispatch = dispatch,
					.log = keep_line,
					.patience_ms = patience_ms };
	struct err err = { 0 };

	rig.first = rig.last = rig.held_count = 0;
	rig.stop = rig.hold_none = false;
	rig.line[0] = '\0';
	memset(rig.ids, 0, sizeof(rig.ids));
	atomic_store(&rig.dispatched, 0);
	atomic_store(&rig.cancelled, 0);
	rig.fd = listen_unix(CONNECTION, &rig.name, &err);
	assert_true(rig.fd >= 0);
	assert_int_equal(grpc_server_new(&options, &rig.server, &err), 0);
	assert_int_equal(grpc_server_listen(rig.server, rig.fd, TAG, &err), 0);
	for (int i = 0; i < WORKERS; i++)
		assert_int_equal(pthread_create(&rig.workers[i], NULL, work, NULL), 0);
	assert_int_equal(pthread_create(&rig.thread, NULL, run, NULL), 0);
	rig.runs = true;
}

static void await_server(void)
{
	(void)pthread_join(rig.thread, NULL);
	rig.runs = false;
	assert_int_equal(rig.result, 0);
}

static int start(void **state)
{
	if (sandbox_start(state) < 0)
		return -1;
	start_patient(0);
	return 0;
}

static int stop(void **state)
{
	if (rig.runs) {
		hold_no_more();
		grpc_server_drain(rig.server);
		await_server();
	}
	(void)pthread_mutex_lock(&rig.lock);
	rig.stop = true;
	(void)pthread_cond_broadcast(&rig.come);
	(void)pthread_mutex_unlock(&rig.lock);
	for (int i = 0; i < WORKERS; i++)
		(void)pthread_join(rig.workers[i], NULL);
	grpc_server_free(rig.server);
	(void)close(rig.fd);
	return sandbox_clean(state);
}

/* ---- answers ---- */

static void assert_status(struct client_answer *answer, int status, const char *message)
{
	assert_int_equal(answer->status, status);
	assert_string_equal(answer->message, message);
}

static void assert_text(struct client_answer *answer, const char *text)
{
	size_t len = strlen(text);

	assert_status(answer, GRPC_OK, "");
	assert_int_equal(answer->data.len, 5 + len);
	assert_int_equal((unsigned char)answer->data.data[4], len & 0xff);
	assert_memory_equal(answer->data.data + 5, text, len);
}

static void assert_alive(struct client *client)
{
	assert_text(grpc_client_await(client, grpc_client_call(client, "/t/Echo", "alive")),
		    "alive");
}

static void a_message_is_answered_with_one(void **state)
{
	auto_client struct client *client = grpc_client_new(CONNECTION);
	struct client_answer *answer = grpc_client_await(client, grpc_client_call(client, "/t/Echo",
										  "hello"));

	assert_string_equal(answer->http, "200");
	assert_string_equal(answer->type, "application/grpc");
	assert_int_equal(answer->header_blocks, 2);
	assert_int_equal(answer->error, 0);
	assert_text(answer, "hello");
	assert_text(grpc_client_await(client, grpc_client_call(client, "/t/Inline", "at once")),
		    "at once");
}

static void an_empty_message_is_a_prefix(void **state)
{
	auto_client struct client *client = grpc_client_new(CONNECTION);
	struct client_answer *answer = grpc_client_await(client,
							 grpc_client_call(client, "/t/Echo", ""));

	assert_int_equal(answer->data.len, 5);
	assert_memory_equal(answer->data.data, "\0\0\0\0\0", 5);
	assert_status(answer, GRPC_OK, "");
}

static void no_message_is_trailers_only(void **state)
{
	auto_client struct client *client = grpc_client_new(CONNECTION);
	struct client_answer *answer = grpc_client_await(client,
							 grpc_client_call(client, "/t/None", ""));

	assert_int_equal(answer->header_blocks, 1);
	assert_string_equal(answer->http, "200");
	assert_string_equal(answer->type, "application/grpc");
	assert_int_equal(answer->data.len, 0);
	assert_status(answer, GRPC_OK, "");
}

static void words_are_percent_encoded(void **state)
{
	static const struct {
		const char *words, *sent;
	} cases[] = {
		{ "a: not found", "a: not found" },
		{ "100%\n\x7f~", "100%25%0A%7F~" },
		{ "\xc3\xa4\xf0\x9f\x90\xb3", "%C3%A4%F0%9F%90%B3" },
		{ "\xff"
		  "a\xc3",
		  "%EF%BF%BDa%EF%BF%BD" },
		{ "\xed\xa0\x80", "%EF%BF%BD%EF%BF%BD%EF%BF%BD" },
		{ "", "" },
	};
	auto_client struct client *client = grpc_client_new(CONNECTION);

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct client_answer *answer = grpc_client_await(client,
								 grpc_client_call(client, "/t/Fail",
										  cases[i].words));

		assert_int_equal(answer->header_blocks, 1);
		assert_status(answer, GRPC_NOT_FOUND, cases[i].sent);
	}
}

static void long_words_are_cut(void **state)
{
	auto_client struct client *client = grpc_client_new(CONNECTION);
	auto_free char *words = calloc(1, 100001);
	struct client_answer *answer;

	assert_non_null(words);
	memset(words, '\n', 100000);
	answer = grpc_client_await(client, grpc_client_call(client, "/t/Fail", words));
	assert_int_equal(answer->status, GRPC_NOT_FOUND);
	assert_int_equal(strlen(answer->message), 3 * 4096);
}

static void messages_come_before_a_failure(void **state)
{
	auto_client struct client *client = grpc_client_new(CONNECTION);
	struct client_answer *answer = grpc_client_await(client,
							 grpc_client_call(client, "/t/Part", ""));

	assert_status(answer, GRPC_INTERNAL, "no more");
	assert_int_equal(answer->data.len, 9);
	assert_memory_equal(answer->data.data, "\0\0\0\0\4part", 9);
}

static void an_answer_that_is_too_long_is_a_failure(void **state)
{
	auto_client struct client *client = grpc_client_new(CONNECTION);
	struct client_answer *answer = grpc_client_await(client,
							 grpc_client_call(client, "/t/Huge", ""));

	assert_int_equal(answer->status, GRPC_RESOURCE_EXHAUSTED);
	assert_int_equal(answer->data.len, 0);
	assert_alive(client);
}

static void assert_big(const struct client_answer *answer, size_t megabytes)
{
	assert_int_equal(answer->data.len, megabytes * MEGABYTE / BIG_STEP * (BIG_STEP + 5));
	for (size_t i = 0; i < answer->data.len / (BIG_STEP + 5); i++) {
		const char *message = answer->data.data + i * (BIG_STEP + 5);

		assert_memory_equal(message, "\0\0\1\0\0", 5);
		assert_int_equal((unsigned char)message[5], i & 0xff);
		assert_int_equal((unsigned char)message[4 + BIG_STEP], i & 0xff);
	}
	assert_int_equal(answer->status, GRPC_OK);
}

/* The first of them is read a little at a time, while another connection is answered. */
static void a_slow_reader_gets_all_and_stops_nobody(void **state)
{
	auto_client struct client *client = grpc_client_new(CONNECTION);
	auto_client struct client *other = grpc_client_new(CONNECTION);
	int32_t stream = grpc_client_call(client, "/t/Big", "8"),
		second = grpc_client_call(client, "/t/Big", "3");

	for (int i = 0; i < 50; i++) {
		assert_true(grpc_client_turn(client, 1000, 1000));
		assert_alive(other);
	}
	while (!grpc_client_answer(client, stream)->closed)
		assert_true(grpc_client_turn(client, 3000, 1000));
	assert_big(grpc_client_answer(client, stream), 8);
	assert_big(grpc_client_await(client, second), 3);
}

static void many_streams_are_answered_side_by_side(void **state)
{
	auto_client struct client *client = grpc_client_new(CONNECTION);
	int32_t streams[900];
	char text[16];

	assert_alive(client); /* so that it has heard how many there may be */
	for (size_t i = 0; i < ARRAY_LEN(streams); i++)
		streams[i] = grpc_client_call(client, "/t/Hold",
					      (snprintf(text, 16, "%zu", i), text));
	while (atomic_load(&rig.dispatched) < 1 + ARRAY_LEN(streams))
		assert_true(grpc_client_turn(client, 0, 1));
	await_held(ARRAY_LEN(streams));
	assert_int_equal(release_held(), 0);
	for (size_t i = 0; i < ARRAY_LEN(streams); i++)
		assert_text(grpc_client_await(client, streams[i]),
			    (snprintf(text, 16, "%zu", i), text));
}

/* ---- requests ---- */

static void odd_authorities_are_nobodys_business(void **state)
{
	static const char *const names[] = { "unix:///run/x.sock", "", "%2Frun%2Fx.sock", "a b",
					     "\xff" };

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		auto_client struct client *client = grpc_client_new(CONNECTION);
		int32_t stream = grpc_client_ask(client,
						 &(struct client_request){ .path = "/t/Echo",
									   .authority = names[i],
									   .body = "\0\0\0\0\1x",
									   .len = 6 });

		assert_text(grpc_client_await(client, stream), "x");
	}
}

static void a_request_may_come_in_tiny_frames(void **state)
{
	auto_client struct client *client = grpc_client_new(CONNECTION);
	char body[1005] = "\0\0\0\3\xe8", text[1001] = "";
	int32_t stream;

	memset(body + 5, 'x', 1000);
	memset(text, 'x', 1000);
	stream = grpc_client_ask(client, &(struct client_request){ .path = "/t/Echo",
								   .body = body,
								   .len = sizeof(body),
								   .step = 1 });
	assert_text(grpc_client_await(client, stream), text);
}

static void the_largest_request_is_taken(void **state)
{
	auto_client struct client *client = grpc_client_new(CONNECTION);
	size_t len = 5 + GRPC_REQUEST_BYTES_MAX;
	auto_free char *body = calloc(1, len);
	struct client_answer *answer;

	assert_non_null(body);
	memcpy(body, "\0\0\x40\0\0", 5);
	memset(body + 5, 'm', len - 5);
	answer = grpc_client_await(client, grpc_client_ask(client, &(struct client_request){
									   .path = "/t/Echo",
									   .body = body,
									   .len = len }));
	assert_status(answer, GRPC_OK, "");
	assert_int_equal(answer->data.len, len);
	assert_memory_equal(answer->data.data, body, len);
}

/* What is wrong with a request, and what is said of it. */
static void wrong_requests_are_refused(void **state)
{
	static const struct {
		struct client_request request;
		const char *http;
		int status;
	} cases[] = {
		{ { .path = "/t/Echo", .method = "GET" }, "405", GRPC_INTERNAL },
		{ { .path = "/t/Echo", .method = "" }, "405", GRPC_INTERNAL },
		{ { .path = "/t/Echo", .content_type = "text/plain" },
		  "415",
		  GRPC_INVALID_ARGUMENT },
		{ { .path = "/t/Echo", .content_type = "application/grpcx" },
		  "415",
		  GRPC_INVALID_ARGUMENT },
		{ { .path = "/t/Echo", .content_type = "" }, "415", GRPC_INVALID_ARGUMENT },
		{ { .path = "" }, "200", GRPC_UNIMPLEMENTED },
		{ { .path = "t/Echo" }, "200", GRPC_UNIMPLEMENTED },
		{ { .path = "/t /Echo" }, "200", GRPC_UNIMPLEMENTED },
		{ { .path = "/t/Echo", .more_headers = 130 }, "431", GRPC_RESOURCE_EXHAUSTED },
		{ { .path = "/t/Echo", .timeout = "soon" }, "200", GRPC_INTERNAL },
		{ { .path = "/t/Echo", .timeout = "123456789S" }, "200", GRPC_INTERNAL },
		{ { .path = "/t/Echo", .timeout = "S" }, "200", GRPC_INTERNAL },
		/* a message that is compressed, too large, missing, cut, or not alone */
		{ { .path = "/t/Echo", .body = "\1\0\0\0\1x", .len = 6 },
		  "200",
		  GRPC_UNIMPLEMENTED },
		{ { .path = "/t/Echo", .body = "\0\0\x40\0\1x", .len = 6 },
		  "200",
		  GRPC_RESOURCE_EXHAUSTED },
		{ { .path = "/t/Echo", .body = "\0\xff\xff\xff\xff", .len = 5 },
		  "200",
		  GRPC_RESOURCE_EXHAUSTED },
		{ { .path = "/t/Echo" }, "200", GRPC_INTERNAL },
		{ { .path = "/t/Echo", .body = "\0\0\0\0", .len = 4 }, "200", GRPC_INTERNAL },
		{ { .path = "/t/Echo", .body = "\0\0\0\0\2x", .len = 6 }, "200", GRPC_INTERNAL },
		{ { .path = "/t/Echo", .body = "\0\0\0\0\0\0\0\0\0\0", .len = 10 },
		  "200",
		  GRPC_INTERNAL },
		{ { .path = "/t/Echo", .body = "\0\0\0\0\1x\0\0\0\0\1y", .len = 12, .step = 3 },
		  "200",
		  GRPC_INTERNAL },
	};
	auto_client struct client *client = grpc_client_new(CONNECTION);

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct client_answer *answer = grpc_client_await(client,
								 grpc_client_ask(client,
										 &cases[i].request));

		if (answer->status != cases[i].status || strcmp(answer->http, cases[i].http) != 0)
			fail_msg("case %zu: status %d, HTTP %s", i, answer->status, answer->http);
		assert_string_equal(answer->type, "application/grpc");
		assert_true(answer->message[0]);
		assert_int_equal(answer->header_blocks, 1);
		assert_int_equal(answer->error, 0);
	}
	assert_int_equal(atomic_load(&rig.dispatched), 0);
	assert_alive(client);
}

/* It is told before the request has ended, and no more is wanted of it. */
static void a_refused_request_need_not_be_sent_to_its_end(void **state)
{
	auto_client struct client *client = grpc_client_new(CONNECTION);
	struct client_request request = { .path = "/t/Echo", .content_type = "x", .endless = true };
	size_t len = 5 + GRPC_REQUEST_BYTES_MAX + 1;
	auto_free char *body = calloc(1, len);
	struct client_answer *answer = grpc_client_await(client, grpc_client_ask(client, &request));

	assert_non_null(body);
	assert_string_equal(answer->http, "415");
	assert_int_equal(answer->error, 0);
	memcpy(body, "\0\0\x40\0\1", 5);
	request = (struct client_request){ .path = "/t/Echo", .body = body, .len = len };
	answer = grpc_client_await(client, grpc_client_ask(client, &request));
	assert_int_equal(answer->status, GRPC_RESOURCE_EXHAUSTED);
	assert_alive(client);
}

/* Forty of nearly 1 MiB: what a connection may have us hold is 32 MiB. */
static void what_requests_hold_is_bounded(void **state)
{
	auto_client struct client *client = grpc_client_new(CONNECTION);
	size_t len = MEGABYTE - 100, refused = 0;
	auto_free char *body = calloc(1, len);
	int32_t streams[40];

	assert_non_null(body);
	memcpy(body, "\0\0\x40\0\0", 5);
	for (size_t i = 0; i < ARRAY_LEN(streams); i++)
		streams[i] = grpc_client_ask(client, &(struct client_request){ .path = "/t/Echo",
									       .body = body,
									       .len = len,
									       .endless = true });
	while (grpc_client_open(client) > 33)
		assert_true(grpc_client_turn(client, 0, 1000));
	for (size_t i = 0; i < ARRAY_LEN(streams); i++) {
		struct client_answer *answer = grpc_client_answer(client, streams[i]);

		refused += answer->closed;
		if (answer->closed)
			assert_int_equal(answer->status, GRPC_RESOURCE_EXHAUSTED);
		else
			grpc_client_cancel(client, streams[i]);
	}
	assert_true(refused >= 7);
	assert_alive(client);
}

static void a_timeout_is_a_deadline(void **state)
{
	static const struct {
		const char *timeout;
		double least, most; /* ns */
	} cases[] = {
		{ "", -1, -1 },
		{ "3841448u", 3e9, 3841448e3 },
		{ "99999999n", -60e9, 99999999 },
		{ "100m", -60e9, 1e8 },
		{ "60S", 1, 60e9 },
		{ "2M", 1, 120e9 },
		{ "1H", 3500e9, 3600e9 },
		{ "99999999H", -1, -1 }, /* as good as none */
	};
	auto_client struct client *client = grpc_client_new(CONNECTION);

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct client_answer *answer =
			grpc_client_await(client,
					  grpc_client_ask(client,
							  &(struct client_request){
								  .path = "/t/Deadline",
								  .timeout = cases[i].timeout,
								  .body = "\0\0\0\0\0",
								  .len = 5 }));
		double left;

		assert_status(answer, GRPC_OK, "");
		left = strtod(answer->data.data + 5, NULL);
		if (left < cases[i].least || left > cases[i].most)
			fail_msg("%s: %.0f ns are left", cases[i].timeout, left);
	}
}

/* ---- giving up ---- */

static void cancelling_ten_thousand_calls_costs_the_connection_nothing(void **state)
{
	auto_client struct client *client = grpc_client_new(CONNECTION);

	for (int i = 0; i < 10000; i++) {
		int32_t stream = grpc_client_call(client, "/t/Id", "1");

		assert_true(grpc_client_turn(client, 0, 0));
		grpc_client_cancel(client, stream);
	}
	assert_alive(client);
	assert_int_equal(grpc_client_goaways(client), 0);
	assert_int_equal(grpc_client_open(client), 0);
}

static void a_cancelled_call_is_worked_on_and_not_answered(void **state)
{
	auto_client struct client *client = grpc_client_new(CONNECTION);
	int32_t first = grpc_client_call(client, "/t/Hold", "first");
	int32_t second = grpc_client_call(client, "/t/Hold", "second");
	bool is_first;

	while (atomic_load(&rig.dispatched) < 2)
		assert_true(grpc_client_turn(client, 0, 1));
	await_held(2);
	grpc_client_cancel(client, first);
	assert_true(grpc_client_turn(client, 0, 0));
	is_first = memcmp(grpc_call_message(rig.held[0], &(size_t){ 0 }), "first", 5) == 0;
	await_cancelled(rig.held[is_first ? 0 : 1]);
	assert_int_equal(release_held(), 1);
	assert_text(grpc_client_await(client, second), "second");
	assert_int_equal(grpc_client_answer(client, first)->header_blocks, 0);
}

/* Calls that nobody waits for any more are no fewer to work on. */
static void cancelled_calls_do_not_pile_up_without_end(void **state)
{
	auto_client struct client *client = grpc_client_new(CONNECTION);

	assert_alive(client);
	for (int i = 0; i < 6000; i++) {
		int32_t stream = grpc_client_call(client, "/t/Hold", "");

		assert_true(grpc_client_turn(client, 0, 0));
		grpc_client_cancel(client, stream);
	}
	for (int i = 0; i < 10; i++)
		assert_true(grpc_client_turn(client, 0, 10));
	/* And what one read brings. */
	assert_true(atomic_load(&rig.dispatched) <= 4000);
	hold_no_more();
	assert_alive(client);
}

static void a_client_may_vanish(void **state)
{
	auto_client struct client *witness = grpc_client_new(CONNECTION);

	for (int i = 0; i < 20; i++) {
		struct client *client = grpc_client_new(CONNECTION);
		size_t before = atomic_load(&rig.dispatched);

		(void)grpc_client_call(client, "/t/Hold", "held");
		(void)grpc_client_call(client, "/t/Big", "4");
		(void)grpc_client_ask(client, &(struct client_request){ .path = "/t/Echo",
									.endless = true });
		while (atomic_load(&rig.dispatched) < before + 2)
			assert_true(grpc_client_turn(client, 100, 1));
		await_held(1);
		grpc_client_freep(&client);
		await_cancelled(rig.held[0]);
		assert_int_equal(release_held(), 1);
		assert_alive(witness);
	}
}

static void pings_that_nobody_reads_answers_to_are_no_more_than_so_many(void **state)
{
	auto_client struct client *client = grpc_client_new(CONNECTION);
	auto_client struct client *other = grpc_client_new(CONNECTION);

	assert_alive(client);
	for (int i = 0; i < 100; i++) {
		grpc_client_ping(client, 1000);
		assert_true(grpc_client_send(client));
	}
	assert_alive(other);
	assert_alive(client);
	assert_int_equal(grpc_client_goaways(client), 0);
}

/* ---- who does not speak HTTP/2, or may not ---- */

static int connect_raw(void)
{
	struct sockaddr_un address = { AF_UNIX, CONNECTION };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(connect(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

/* Until the end. */
static void drop_all(int fd)
{
	char in[4096];

	while (recv(fd, in, sizeof(in), 0) > 0)
		;
}

static void settings_come_before_anything_is_asked(void **state)
{
	auto_close int fd = connect_raw();
	unsigned char in[9];

	assert_int_equal(recv(fd, in, sizeof(in), MSG_WAITALL), 9);
	assert_int_equal(in[3], 4); /* SETTINGS */
}

static void garbage_ends_a_connection(void **state)
{
	static const char *const garbage[] = {
		"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
		"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
		"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
	};

	for (size_t i = 0; i < ARRAY_LEN(garbage); i++) {
		auto_close int fd = connect_raw();
		auto_client struct client *client = grpc_client_new(CONNECTION);

		assert_true(send(fd, garbage[i], strlen(garbage[i]), MSG_NOSIGNAL) > 0);
		drop_all(fd);
		await_line("a connection ");
		assert_alive(client);
	}
}

static int connect_as_nobody(void)
{
	struct sockaddr_un address = { AF_UNIX, CONNECTION };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	char byte;

	if (setresuid(NOBODY, NOBODY, NOBODY) < 0)
		return 10;
	if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
		return 11;
	return recv(fd, &byte, 1, 0) > 0 ? 12 : 0;
}

static void only_root_is_let_in(void **state)
{
	int status;
	pid_t pid;

	needs_root();
	assert_int_equal(chmod(CONNECTION, 0666), 0);
	assert_int_equal(chmod(".", 0755), 0);
	assert_int_equal(chmod("..", 0755), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		_exit(connect_as_nobody());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	await_line("of user 65534 was refused");
}

static void many_connections_come_and_go(void **state)
{
	for (int round = 0; round < 3; round++) {
		struct client *clients[100];

		for (size_t i = 0; i < ARRAY_LEN(clients); i++) {
			clients[i] = grpc_client_new(CONNECTION);
			assert_non_null(clients[i]);
		}
		for (size_t i = 0; i < ARRAY_LEN(clients); i++)
			assert_alive(clients[i]);
		for (size_t i = 0; i < ARRAY_LEN(clients); i++)
			grpc_client_freep(&clients[i]);
	}
}

static int64_t cpu_ns(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
	return (int64_t)now.tv_sec * CLOCK_SECOND_NS + now.tv_nsec;
}

static void who_comes_while_descriptors_are_out_waits(void **state)
{
	auto_client struct client *client = grpc_client_new(CONNECTION);
	auto_close int fd = connect_raw(), second = -EBADF;
	struct rlimit limit, low;
	unsigned char in[9];
	int64_t before;

	assert_int_equal(recv(fd, in, sizeof(in), MSG_WAITALL), 9);
	/* The next that is opened is the last. */
	second = dup(fd);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	low = limit;
	low.rlim_cur = (rlim_t)second + 1;
	(void)close(second);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
	second = connect_raw();
	await_line("accept a connection: Too many open files");
	assert_alive(client);
	before = cpu_ns();
	(void)poll(NULL, 0, 300);
	assert_true(cpu_ns() - before < CLOCK_SECOND_NS / 10);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	assert_int_equal(recv(second, in, sizeof(in), MSG_WAITALL), 9);
}

/* ---- draining ---- */

static void draining_without_clients_ends_at_once(void **state)
{
	grpc_server_drain(rig.server);
	await_server();
}

static void draining_ends_idle_connections_in_order(void **state)
{
	auto_client struct client *client = grpc_client_new(CONNECTION);
	auto_client struct client *silent = grpc_client_new(CONNECTION);

	assert_alive(client);
	assert_true(grpc_client_turn(silent, 0, 1000));
	grpc_server_drain(rig.server);
	grpc_client_await_end(client);
	assert_true(grpc_client_goaways(client) > 0);
	await_server();
	grpc_client_await_end(silent);
	assert_true(grpc_client_goaways(silent) > 0);
}

static void what_was_begun_is_answered_while_draining(void **state)
{
	auto_client struct client *client = grpc_client_new(CONNECTION);
	int32_t stream = grpc_client_call(client, "/t/Hold", "begun");

	assert_true(grpc_client_turn(client, 0, 0));
	await_held(1);
	grpc_server_drain(rig.server);
	while (grpc_client_goaways(client) < 2)
		assert_true(grpc_client_turn(client, 0, 1000));
	assert_int_equal(grpc_client_last_stream(client), stream);
	assert_int_equal(release_held(), 0);
	assert_text(grpc_client_await(client, stream), "begun");
	grpc_client_await_end(client);
	await_server();
}

/* Each call is either done once and answered, or is above the last GOAWAY's stream and was never begun. */
static size_t assert_done_once_or_never(struct client *client, size_t count)
{
	size_t done = 0;

	for (size_t i = 0; i < count; i++) {
		struct client_answer *answer = grpc_client_answer(client, (int32_t)(2 * i + 1));
		bool begun = answer->stream <= grpc_client_last_stream(client);

		if (rig.ids[i] != begun || answer->status != (begun ? GRPC_OK : -1))
			fail_msg("stream %d of at most %d was done %d times, status %d",
				 answer->stream, grpc_client_last_stream(client), rig.ids[i],
				 answer->status);
		done += begun;
	}
	return done;
}

static void call_id(struct client *client, size_t id)
{
	char text[16];

	(void)snprintf(text, sizeof(text), "%zu", id);
	(void)grpc_client_call(client, "/t/Id", text);
}

static void no_call_is_lost_or_done_twice_by_draining(void **state)
{
	auto_client struct client *client = grpc_client_new(CONNECTION);
	size_t count = 0;

	while (grpc_client_turn(client, 0, 0) && !grpc_client_goaways(client)) {
		if (grpc_client_open(client) >= 90 || count == IDS_MAX)
			continue;
		call_id(client, count++);
		if (count == 3000)
			grpc_server_drain(rig.server);
	}
	grpc_client_await_end(client);
	await_server();
	assert_true(assert_done_once_or_never(client, count) >= 2900);
}

/* It goes on asking, until it reads that its calls are no more taken, and since when. */
static void who_hears_late_is_told_what_was_not_begun(void **state)
{
	auto_client struct client *client = grpc_client_new(CONNECTION);
	size_t count = 0, done;

	assert_true(grpc_client_turn(client, 0, 1000));
	while (count < 900) {
		call_id(client, count++);
		assert_true(grpc_client_send(client));
		if (count == 300)
			grpc_server_drain(rig.server);
		if (count > 300)
			(void)poll(NULL, 0, 1);
	}
	grpc_client_await_end(client);
	await_server();
	done = assert_done_once_or_never(client, count);
	assert_in_range(done, 300, 899);
}

/* A client of which nobody knows whether it reads: it neither takes the answer nor hears the notice. */
static void patience_with_who_takes_no_answer_ends(void **state)
{
	auto_client struct client *client = NULL;
	int64_t begun;

	(void)stop(state);
	assert_int_equal(sandbox_start(state), 0);
	start_patient(300);
	client = grpc_client_new(CONNECTION);
	(void)grpc_client_call(client, "/t/Big", "8");
	(void)grpc_client_ask(client,
			      &(struct client_request){ .path = "/t/Echo", .endless = true });
	while (atomic_load(&rig.dispatched) < 1)
		assert_true(grpc_client_turn(client, 100, 1));
	begun = clock_ns();
	grpc_server_drain(rig.server);
	await_server();
	assert_in_range(clock_ns() - begun, CLOCK_SECOND_NS / 4, 20 * CLOCK_SECOND_NS);
}

#define served(f) cmocka_unit_test_setup_teardown(f, start, stop)

int main(void)
{
	const struct CMUnitTest tests[] = {
		served(a_message_is_answered_with_one),
		served(an_empty_message_is_a_prefix),
		served(no_message_is_trailers_only),
		served(words_are_percent_encoded),
		served(long_words_are_cut),
		served(messages_come_before_a_failure),
		served(an_answer_that_is_too_long_is_a_failure),
		served(a_slow_reader_gets_all_and_stops_nobody),
		served(many_streams_are_answered_side_by_side),
		served(odd_authorities_are_nobodys_business),
		served(a_request_may_come_in_tiny_frames),
		served(the_largest_request_is_taken),
		served(wrong_requests_are_refused),
		served(a_refused_request_need_not_be_sent_to_its_end),
		served(what_requests_hold_is_bounded),
		served(a_timeout_is_a_deadline),
		served(cancelling_ten_thousand_calls_costs_the_connection_nothing),
		served(a_cancelled_call_is_worked_on_and_not_answered),
		served(cancelled_calls_do_not_pile_up_without_end),
		served(a_client_may_vanish),
		served(pings_that_nobody_reads_answers_to_are_no_more_than_so_many),
		served(settings_come_before_anything_is_asked),
		served(garbage_ends_a_connection),
		served(only_root_is_let_in),
		served(many_connections_come_and_go),
		served(who_comes_while_descriptors_are_out_waits),
		served(draining_without_clients_ends_at_once),
		served(draining_ends_idle_connections_in_order),
		served(what_was_begun_is_answered_while_draining),
		served(no_call_is_lost_or_done_twice_by_draining),
		served(who_hears_late_is_told_what_was_not_begun),
		served(patience_with_who_takes_no_answer_ends),
	};

	(void)alarm(600);
	return cmocka_run_group_tests(tests, sandbox_enter, sandbox_leave);
}
