/* SPDX-License-Identifier: Apache-2.0 */
#include "graph/fetch/download.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>
#include <cmocka.h>

#include "driver/base/fd.h"
#include "graph/fetch/partial.h"
#include "tests/unit/httpd.h"
#include "tests/unit/kit.h"
#include "tests/unit/sandbox.h"

#define BLOB_BYTES  ((size_t)5 * 65536)
#define PATIENCE_MS (HTTPD_SECONDS * 1000)

#define auto_downloads AUTO(downloads_freep)

static struct http *http;
static struct client_options options;
static struct endpoint endpoints[2];
static struct client *clients[2];
static int partial_fd;
static char *blob;		  /* BLOB_BYTES, and a NUL */
static struct source_layer layer; /* of those */
static atomic_int_least64_t progress;

static void keep_progress(void *arg, const struct source_layer *of, int64_t done_bytes)
{
	atomic_store(&progress, done_bytes);
}

static struct source_layer layer_of(const void *data, size_t len)
{
	struct source_layer l = { .size = (int64_t)len };

	assert_int_equal(digest_of("sha256", data, len, &l.blob, NULL), 0);
	return l;
}

static int start(void **state)
{
	if (sandbox_start(state) < 0)
		return -1;
	httpd_environment(sandbox_root());
	put_dir("partial");
	partial_fd = open("partial", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	options = (struct client_options){ .retries = 3, .delay_ns = 1000 };
	blob = malloc(BLOB_BYTES + 1);
	if (partial_fd < 0 || !blob)
		return -1;
	for (size_t i = 0; i < BLOB_BYTES; i++)
		blob[i] = (char)('A' + (i * 7 + i / 1000) % 53);
	blob[BLOB_BYTES] = '\0';
	layer = layer_of(blob, BLOB_BYTES);
	atomic_store(&progress, -1);
	return http_new(NULL, &http, NULL);
}

static int stop(void **state)
{
	for (size_t i = 0; i < ARRAY_LEN(clients); i++)
		client_freep(&clients[i]);
	http_freep(&http);
	free(blob);
	(void)close(partial_fd);
	return sandbox_clean(state);
}

#define in_partial(f) cmocka_unit_test_setup_teardown(f, start, stop)

/* Of one server, or two. */
static struct downloads *begin(const struct httpd *first, const struct httpd *second,
			       unsigned int parallel)
{
	const struct httpd *const servers[] = { first, second };
	struct downloads_options how = { .clients = clients,
					 .partial_fd = partial_fd,
					 .parallel = parallel,
					 .progress = keep_progress };
	struct downloads *downloads = NULL;

	for (size_t i = 0; i < ARRAY_LEN(servers) && servers[i]; i++) {
		endpoints[i] = (struct endpoint){ .scheme = ENDPOINT_HTTP,
						  .host = (char *)(uintptr_t)httpd_host(servers[i]),
						  .path = (char *)(uintptr_t) "/v2",
						  .repository = (char *)(uintptr_t) "a/b",
						  .registry = (char *)(uintptr_t) "registry.example",
						  .for_blobs = true };
		client_freep(&clients[i]);
		assert_int_equal(client_new(http, &endpoints[i], &options, NULL, &clients[i], NULL),
				 0);
		how.client_count++;
	}
	assert_int_equal(downloads_new(&how, &downloads, NULL), 0);
	return downloads;
}

static struct source_stream open_it(struct downloads *downloads, const struct source_layer *l)
{
	struct source_stream stream = SOURCE_STREAM_INIT;
	struct err err = { 0 };

	if (downloads_open(downloads, l, &stream, &err) < 0)
		fail_msg("%s", err.text);
	assert_true(stream.fd >= 0);
	assert_int_equal(stream.offset, 0);
	assert_int_equal(stream.size, l->size);
	return stream;
}

/* Waits until the stream has `least` bytes: those that are there. Negative: what it failed with. */
static int64_t wait_for(const struct source_stream *stream, int64_t least, bool *ret_whole,
			struct err *err)
{
	for (;;) {
		struct pollfd wake = { .fd = stream->grown_fd, .events = POLLIN };
		uint64_t count;
		int64_t there;

		*ret_whole = true;
		if (!stream->grown)
			return stream->size;
		there = stream->grown(stream->arg, ret_whole, err);
		if (there < 0 || (there >= least && (least < stream->size || *ret_whole)))
			return there;
		if (poll(&wake, 1, PATIENCE_MS) != 1)
			fail_msg("nothing comes any more");
		assert_int_equal(read(stream->grown_fd, &count, sizeof(count)), sizeof(count));
	}
}

/* All of the blob, compared with what it should be; or what it failed with. */
static int finish(struct downloads *downloads, const struct source_layer *l, const char *expected,
		  struct err *err)
{
	auto_stream struct source_stream stream = open_it(downloads, l);
	auto_free char *have = malloc((size_t)l->size + 1);
	bool whole = false;
	int64_t there = wait_for(&stream, l->size, &whole, err);

	assert_non_null(have);
	if (there < 0)
		return (int)there;
	assert_true(whole);
	assert_int_equal(there, l->size);
	assert_int_equal(pread_full(stream.fd, have, (size_t)l->size + 1, 0), l->size);
	assert_memory_equal(have, expected, (size_t)l->size);
	return 0;
}

static void assert_finished(struct downloads *downloads)
{
	struct err err = { 0 };

	if (finish(downloads, &layer, blob, &err) != 0)
		fail_msg("%s", err.text);
}

static void assert_failed(struct downloads *downloads, int code, const char *words)
{
	struct err err = { 0 };

	assert_int_equal(finish(downloads, &layer, blob, &err), code);
	if (!strstr(err.text, words))
		fail_msg("'%s' is not in: %s", words, err.text);
}

static void assert_sent(struct httpd *server, size_t n, const char *header)
{
	if (!strstr(httpd_request(server, n), header))
		fail_msg("%s is not in: %s", header, httpd_request(server, n));
}

static void assert_not_sent(struct httpd *server, size_t n, const char *header)
{
	assert_true(httpd_request(server, n)[0] != '\0');
	assert_null(strstr(httpd_request(server, n), header));
}

/* "206 ..." for the blob's bytes from there on; the caller's. */
static char *rest_head(size_t from)
{
	char *head;

	assert_true(asprintf(&head, "206 Partial\r\nContent-Range: bytes %zu-%zu/%zu", from,
			     BLOB_BYTES - 1, BLOB_BYTES) > 0);
	return head;
}

/* So many of the blob's bytes, with this validator or NULL, are there from an earlier time. */
static void put_kept(size_t count, const char *validator)
{
	char name[200];
	auto_close int fd = -EBADF;

	(void)snprintf(name, sizeof(name), "partial/%s.validator", digest_hex(&layer.blob));
	if (validator)
		put_file(name, validator);
	*strrchr(name, '.') = '\0';
	fd = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(write_full(fd, blob, count), 0);
}

/* ---- as it should be ---- */

static void a_blob_comes_whole(void **state)
{
	auto_httpd struct httpd *server = httpd_serve(
		ANSWER("/v2/a/b/blobs/sha256:", "200 OK\r\nETag: \"e\"", blob));
	auto_downloads struct downloads *downloads = begin(server, NULL, 2);
	auto_stream struct source_stream again = SOURCE_STREAM_INIT;
	auto_close int fd = -EBADF;

	assert_int_equal(downloads_file(downloads, &layer.blob), -ENODATA);
	assert_int_equal(downloads_expect(downloads, &layer, NULL), 0);
	assert_int_equal(downloads_expect(downloads, &layer, NULL), 0);
	assert_finished(downloads);
	assert_not_sent(server, 0, "Range:");
	assert_sent(server, 0, layer.blob.text);
	/* What is whole is a file like any other. */
	again = open_it(downloads, &layer);
	assert_null(again.grown);
	assert_true(again.grown_fd < 0);
	fd = downloads_file(downloads, &layer.blob);
	assert_true(fd >= 0 && fd != again.fd);
	assert_int_equal(lseek(fd, 0, SEEK_END), BLOB_BYTES);
	assert_int_equal(downloads_check(downloads, &layer.blob, NULL, NULL), 0);
	assert_int_equal(downloads_fetched(downloads), BLOB_BYTES);
	assert_int_equal(atomic_load(&progress), BLOB_BYTES);
	assert_int_equal(httpd_count(server), 1);
	assert_int_equal(kit_names("partial"), 2);
	downloads_done(downloads);
	assert_int_equal(kit_names("partial"), 0);
}

static void a_blob_can_be_read_while_it_grows(void **state)
{
	auto_httpd struct httpd *server = httpd_serve(
		ANSWER("/", "200 OK", blob, .then = HTTPD_WAIT, .first = 1000));
	auto_downloads struct downloads *downloads = begin(server, NULL, 1);
	auto_stream struct source_stream one = open_it(downloads, &layer),
					 two = open_it(downloads, &layer);
	bool whole = true;
	char have[1000];

	assert_true(one.grown_fd != two.grown_fd);
	assert_int_equal(wait_for(&one, 1000, &whole, NULL), 1000);
	assert_false(whole);
	assert_int_equal(wait_for(&two, 1000, &whole, NULL), 1000);
	assert_int_equal(pread_full(one.fd, have, sizeof(have), 0), 1000);
	assert_memory_equal(have, blob, sizeof(have));
	assert_int_equal(downloads_file(downloads, &layer.blob), -ENODATA);
	httpd_go(server);
	assert_int_equal(wait_for(&one, BLOB_BYTES, &whole, NULL), BLOB_BYTES);
	assert_true(whole);
	assert_int_equal(wait_for(&two, BLOB_BYTES, &whole, NULL), BLOB_BYTES);
	assert_finished(downloads);
}

static void an_empty_blob_is_there_at_once(void **state)
{
	auto_httpd struct httpd *server = httpd_serve(ANSWER("/", "200 OK", NULL));
	auto_downloads struct downloads *downloads = begin(server, NULL, 1);
	const struct source_layer empty = layer_of("", 0);

	assert_int_equal(finish(downloads, &empty, "", NULL), 0);
	assert_int_equal(downloads_check(downloads, &empty.blob, NULL, NULL), 0);
	assert_int_equal(httpd_count(server), 0);
}

static void so_many_come_at_once_as_may(void **state)
{
	const struct source_layer a = layer_of("aaa", 3), b = layer_of("bbb", 3);
	auto_downloads struct downloads *downloads = NULL;
	auto_free char *path_a = NULL, *path_b = NULL;
	auto_httpd struct httpd *both = NULL;

	assert_true(asprintf(&path_a, "/v2/a/b/blobs/%s", a.blob.text) > 0);
	assert_true(asprintf(&path_b, "/v2/a/b/blobs/%s", b.blob.text) > 0);
	both = httpd_serve(ANSWER(path_a, "200 OK", "aaa", .then = HTTPD_WAIT, .first = 1),
			   ANSWER(path_b, "200 OK", "bbb", .then = HTTPD_WAIT, .first = 1));
	downloads = begin(both, NULL, 2);
	assert_int_equal(downloads_expect(downloads, &a, NULL), 0);
	assert_int_equal(downloads_expect(downloads, &b, NULL), 0);
	assert_true(httpd_await(both, 2));
	httpd_go(both);
	httpd_go(both);
	assert_int_equal(finish(downloads, &b, "bbb", NULL), 0);
	assert_int_equal(finish(downloads, &a, "aaa", NULL), 0);
	assert_int_equal(downloads_fetched(downloads), 6);
}

static void what_was_not_expected_comes_next(void **state)
{
	const struct source_layer layers[] = { layer_of("first", 5), layer_of("third", 5),
					       layer_of("next!", 5) };
	static const char *const texts[] = { "first", "third", "next!" };
	static const size_t order[] = { 0, 2, 1 };
	struct source_stream stream;
	char *paths[3];
	auto_httpd struct httpd *server = NULL;
	auto_downloads struct downloads *downloads = NULL;

	for (size_t i = 0; i < 3; i++)
		assert_true(asprintf(&paths[i], "/v2/a/b/blobs/%s", layers[i].blob.text) > 0);
	server = httpd_serve(ANSWER(paths[0], "200 OK", texts[0], .then = HTTPD_WAIT, .first = 1),
			     ANSWER(paths[1], "200 OK", texts[1]),
			     ANSWER(paths[2], "200 OK", texts[2]));
	downloads = begin(server, NULL, 1);
	assert_int_equal(downloads_expect(downloads, &layers[0], NULL), 0);
	assert_true(httpd_await(server, 1));
	assert_int_equal(downloads_expect(downloads, &layers[1], NULL), 0);
	stream = open_it(downloads, &layers[2]);
	httpd_go(server);
	source_stream_close(&stream);
	for (size_t i = 0; i < 3; i++)
		assert_int_equal(finish(downloads, &layers[i], texts[i], NULL), 0);
	for (size_t i = 0; i < 3; i++) {
		assert_sent(server, i, paths[order[i]]);
		free(paths[order[i]]);
	}
}

/* ---- resuming ---- */

static void a_blob_that_breaks_off_goes_on(void **state)
{
	auto_free char *head = rest_head(100000);
	auto_httpd struct httpd *server = httpd_serve(ANSWER("/", "200 OK\r\nETag: \"e\"", blob,
							     .then = HTTPD_CUT, .first = 100000),
						      ANSWER("/", head, blob + 100000));
	auto_downloads struct downloads *downloads = begin(server, NULL, 1);

	assert_finished(downloads);
	assert_not_sent(server, 0, "Range:");
	assert_sent(server, 1, "\r\nRange: bytes=100000-\r\n");
	assert_sent(server, 1, "\r\nIf-Range: \"e\"\r\n");
	assert_int_equal(downloads_fetched(downloads), BLOB_BYTES);
}

static void what_is_kept_is_not_fetched_again(void **state)
{
	static const char *const validators[] = { "\"e\"", NULL };

	for (size_t i = 0; i < ARRAY_LEN(validators); i++) {
		auto_free char *head = rest_head(200000);
		auto_httpd struct httpd *server = httpd_serve(ANSWER("/", head, blob + 200000));
		auto_downloads struct downloads *downloads = begin(server, NULL, 1);

		put_kept(200000, validators[i]);
		assert_finished(downloads);
		assert_sent(server, 0, "\r\nRange: bytes=200000-\r\n");
		if (validators[i])
			assert_sent(server, 0, "\r\nIf-Range: \"e\"\r\n");
		else
			assert_not_sent(server, 0, "If-Range:");
		assert_int_equal(downloads_fetched(downloads), BLOB_BYTES - 200000);
		downloads_done(downloads);
	}
}

static void what_is_kept_whole_is_not_asked_for(void **state)
{
	auto_httpd struct httpd *server = httpd_serve(ANSWER("/", "200 OK", blob));
	auto_downloads struct downloads *downloads = begin(server, NULL, 1);

	put_kept(BLOB_BYTES, NULL);
	assert_finished(downloads);
	assert_int_equal(httpd_count(server), 0);
	assert_int_equal(downloads_fetched(downloads), 0);
}

static void who_cannot_resume_sends_all_again(void **state)
{
	static const struct {
		const char *head; /* of the answer to a request for bytes from 5 on */
		bool twice;	  /* it is asked again, for all */
	} cases[] = {
		{ "200 OK", false },
		{ "416 Range Not Satisfiable", true },
		{ "206 Partial", true },
		{ "206 Partial\r\nContent-Range: bytes 0-327679/327680", true },
		{ "206 Partial\r\nContent-Range: bytes 4-327679/327680", true },
		{ "206 Partial\r\nContent-Range: bytes 5-327678/327680", true },
		{ "206 Partial\r\nContent-Range: bytes 5-327679/327681", true },
		{ "206 Partial\r\nContent-Range: bytes 5-327680/*", true },
		{ "206 Partial\r\nContent-Range: bytes */327680", true },
		{ "206 Partial\r\nContent-Range: items 5-327679/327680", true },
		{ "206 Partial\r\nContent-Range: bytes 99999999999999999999-5/7", true },
		{ "206 Partial\r\nContent-Range: ", true },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		auto_httpd struct httpd *server = httpd_serve(ANSWER("/", cases[i].head, blob),
							      ANSWER("/", "200 OK", blob));
		auto_downloads struct downloads *downloads = begin(server, NULL, 1);

		put_kept(5, "\"e\"");
		assert_finished(downloads);
		assert_sent(server, 0, "\r\nRange: bytes=5-\r\n");
		assert_int_equal(httpd_count(server), cases[i].twice ? 2 : 1);
		if (cases[i].twice)
			assert_not_sent(server, 1, "Range:");
		downloads_done(downloads);
	}
}

static void a_range_of_an_unknown_whole_is_taken(void **state)
{
	auto_httpd struct httpd *server = httpd_serve(
		ANSWER("/", "206 Partial\r\nContent-Range: bytes 5-327679/*", blob + 5));
	auto_downloads struct downloads *downloads = begin(server, NULL, 1);

	put_kept(5, NULL);
	assert_finished(downloads);
	assert_int_equal(httpd_count(server), 1);
}

static void a_weak_validator_is_not_kept(void **state)
{
	auto_free char *head = rest_head(1000);
	auto_httpd struct httpd *server = httpd_serve(ANSWER("/", "200 OK\r\nETag: W/\"e\"", blob,
							     .then = HTTPD_CUT, .first = 1000),
						      ANSWER("/", head, blob + 1000));
	auto_downloads struct downloads *downloads = begin(server, NULL, 1);

	assert_finished(downloads);
	assert_sent(server, 1, "\r\nRange: bytes=1000-\r\n");
	assert_not_sent(server, 1, "If-Range:");
	assert_int_equal(kit_names("partial"), 1);
}

static void tries_that_bring_something_are_not_counted(void **state)
{
	char *heads[4];
	auto_httpd struct httpd *server = NULL;
	auto_downloads struct downloads *downloads = NULL;

	for (size_t i = 0; i < 4; i++)
		heads[i] = rest_head((i + 1) * 65536);
	options.retries = 1;
	server = httpd_serve(ANSWER("/", "200 OK", blob, .then = HTTPD_CUT, .first = 65536),
			     ANSWER("/", heads[0], blob + 65536, .then = HTTPD_CUT, .first = 65536),
			     ANSWER("/", heads[1], blob + 131072, .then = HTTPD_CUT,
				    .first = 65536),
			     ANSWER("/", heads[2], blob + 196608, .then = HTTPD_CUT,
				    .first = 65536),
			     ANSWER("/", heads[3], blob + 262144));
	downloads = begin(server, NULL, 1);
	assert_finished(downloads);
	assert_int_equal(httpd_count(server), 5);
	assert_int_equal(downloads_fetched(downloads), BLOB_BYTES);
	for (size_t i = 0; i < 4; i++)
		free(heads[i]);
}

static void tries_that_bring_next_to_nothing_are(void **state)
{
	auto_httpd struct httpd *server = httpd_serve(
		ANSWER("/", "200 OK", blob, .then = HTTPD_CUT, .first = 100, .again = true));
	auto_downloads struct downloads *downloads = begin(server, NULL, 1);

	options.retries = 2;
	assert_failed(downloads, -ECONNRESET, "; tried 3 times");
	assert_int_equal(httpd_count(server), 3);
	/* It is not asked for again by who opens it. */
	assert_int_equal(downloads_open(downloads, &layer,
					&(struct source_stream)SOURCE_STREAM_INIT, NULL),
			 -ECONNRESET);
	assert_int_equal(downloads_check(downloads, &layer.blob, NULL, NULL), 0);
	assert_false(downloads_distrust(downloads, &layer.blob));
}

static void what_is_ended_goes_on_the_next_time(void **state)
{
	auto_free char *head = rest_head(1000);
	auto_httpd struct httpd *server = httpd_serve(ANSWER("/", "200 OK", blob,
							     .then = HTTPD_WAIT, .first = 1000),
						      ANSWER("/", head, blob + 1000));
	struct downloads *first = begin(server, NULL, 1);
	auto_downloads struct downloads *second = NULL;
	struct source_stream stream = open_it(first, &layer);
	bool whole;

	assert_int_equal(wait_for(&stream, 1000, &whole, NULL), 1000);
	source_stream_close(&stream);
	downloads_freep(&first);
	assert_null(first);
	second = begin(server, NULL, 1);
	assert_finished(second);
	assert_sent(server, 1, "\r\nRange: bytes=1000-\r\n");
}

static void what_another_process_fetches_is_left_alone(void **state)
{
	auto_httpd struct httpd *server = httpd_serve(ANSWER("/", "200 OK", blob));
	auto_downloads struct downloads *downloads = begin(server, NULL, 1);
	auto_partial struct partial theirs = PARTIAL_INIT;
	struct stat st;

	put_kept(7, "\"theirs\"");
	assert_int_equal(partial_open(partial_fd, &layer.blob, layer.size, 0, &theirs, NULL), 0);
	assert_finished(downloads);
	assert_not_sent(server, 0, "Range:");
	downloads_done(downloads);
	assert_int_equal(kit_names("partial"), 2);
	assert_int_equal(fstat(theirs.fd, &st), 0);
	assert_int_equal(st.st_size, 7);
}

/* ---- what is wrong ---- */

static void other_sizes_than_promised_are_refused(void **state)
{
	auto_free char *chunked = NULL, *more = NULL;
	const struct {
		const char *head, *body, *words;
		size_t len;
	} cases[] = {
		{ "200 OK", blob, "has 327679 bytes there, the manifest says 327680",
		  BLOB_BYTES - 1 },
		{ "200 OK\r\nContent-Length: 327681", blob, "has 327681 bytes there", 0 },
		{ "200 OK\r\nTransfer-Encoding: chunked", "3\r\nAHO\r\n0\r\n\r\n",
		  "has 3 bytes there, the manifest says", 0 },
		{ "204 No Content", NULL, "has 0 bytes there", 0 },
		{ "200 OK\r\nTransfer-Encoding: chunked", NULL, "is longer there than the 327680",
		  0 },
	};

	assert_true(asprintf(&more, "%sx", blob) > 0);
	assert_true(asprintf(&chunked, "%zx\r\n%s\r\n0\r\n\r\n", BLOB_BYTES + 1, more) > 0);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		bool last = i + 1 == ARRAY_LEN(cases);
		auto_httpd struct httpd *server = httpd_serve(
			ANSWER("/", cases[i].head, last ? chunked : cases[i].body,
			       .len = cases[i].len, .again = true));
		auto_httpd struct httpd *other = httpd_serve(ANSWER("/", "200 OK", blob));
		auto_downloads struct downloads *alone = begin(server, NULL, 1), *both = NULL;

		assert_failed(alone, -EBADMSG, cases[i].words);
		assert_int_equal(httpd_count(server), 1);
		downloads_freep(&alone);
		assert_int_equal(kit_names("partial"), 0);
		/* Another server has it. */
		both = begin(server, other, 1);
		assert_finished(both);
		downloads_done(both);
	}
}

/* An error page that says 200, say. */
static void a_server_that_has_something_else_is_not_asked_again(void **state)
{
	auto_httpd struct httpd *wrong = httpd_serve(
		ANSWER("/", "200 OK\r\nTransfer-Encoding: chunked", "3\r\nabc\r\n0\r\n\r\n",
		       .again = true));
	auto_httpd struct httpd *right = httpd_serve(ANSWER("/", "200 OK", blob, .again = true));
	auto_downloads struct downloads *downloads = begin(wrong, right, 1);
	auto_free char *mixed = strdup(blob);

	assert_non_null(mixed);
	memcpy(mixed, "abc", 3);
	/* What was there may have been read, and stays. */
	assert_int_equal(finish(downloads, &layer, mixed, NULL), 0);
	assert_sent(right, 0, "\r\nRange: bytes=3-\r\n");
	assert_int_equal(downloads_check(downloads, &layer.blob, NULL, NULL), -EBADMSG);
	assert_true(downloads_distrust(downloads, &layer.blob));
	assert_finished(downloads);
	assert_int_equal(httpd_count(wrong), 1);
}

static void the_next_server_goes_on_where_one_stopped(void **state)
{
	auto_free char *head = rest_head(100000);
	auto_httpd struct httpd *server = httpd_serve(ANSWER("/", "200 OK\r\nETag: \"e\"", blob,
							     .then = HTTPD_CUT, .first = 100000),
						      ANSWER("/", "404 Gone", NULL));
	auto_httpd struct httpd *next = httpd_serve(ANSWER("/", head, blob + 100000));
	auto_downloads struct downloads *downloads = begin(server, next, 1);

	assert_finished(downloads);
	assert_sent(server, 1, "\r\nIf-Range: \"e\"\r\n");
	assert_sent(next, 0, "\r\nRange: bytes=100000-\r\n");
	assert_not_sent(next, 0, "If-Range:");
}

static void who_may_not_be_asked_for_blobs_is_not(void **state)
{
	auto_httpd struct httpd *first = httpd_serve(ANSWER("/", "200 OK", blob, .again = true));
	auto_httpd struct httpd *second = httpd_serve(ANSWER("/", "200 OK", blob));
	auto_downloads struct downloads *both = begin(first, second, 1), *none = NULL;

	endpoints[0].for_blobs = false;
	assert_finished(both);
	assert_int_equal(httpd_count(first), 0);
	downloads_done(both);
	downloads_freep(&both);

	none = begin(first, NULL, 1);
	endpoints[0].for_blobs = false;
	assert_failed(none, -ENOENT, "no server may be asked for");
	assert_int_equal(httpd_count(first), 0);
}

static void a_blob_of_another_digest_is_fetched_elsewhere(void **state)
{
	auto_free char *wrong = strdup(blob);
	auto_httpd struct httpd *first = NULL;
	auto_httpd struct httpd *second = httpd_serve(ANSWER("/", "200 OK", blob));
	auto_downloads struct downloads *downloads = NULL;
	struct err err = { 0 };

	assert_non_null(wrong);
	wrong[BLOB_BYTES / 2] ^= 1;
	first = httpd_serve(ANSWER("/", "200 OK", wrong));
	downloads = begin(first, second, 1);
	assert_int_equal(finish(downloads, &layer, wrong, NULL), 0);
	assert_int_equal(downloads_check(downloads, &layer.blob, NULL, &err), -EBADMSG);
	assert_non_null(strstr(err.text, layer.blob.text));
	assert_true(downloads_distrust(downloads, &layer.blob));
	assert_int_equal(downloads_file(downloads, &layer.blob), -ENODATA);
	assert_int_equal(kit_names("partial"), 0);

	assert_finished(downloads);
	assert_int_equal(downloads_check(downloads, &layer.blob, NULL, NULL), 0);
	assert_int_equal(httpd_count(first), 1);
	/* There is no third one. */
	assert_false(downloads_distrust(downloads, &layer.blob));
	assert_failed(downloads, -ENOENT, "no server may be asked for");
}

static void who_had_the_wrong_bytes_is_not_asked_again(void **state)
{
	auto_free char *wrong = strdup(blob);
	auto_httpd struct httpd *mirror = httpd_serve(ANSWER("/", "404 Gone", NULL, .again = true));
	auto_httpd struct httpd *server = NULL;
	auto_downloads struct downloads *downloads = NULL;

	assert_non_null(wrong);
	wrong[BLOB_BYTES - 1] ^= 1;
	server = httpd_serve(ANSWER("/", "200 OK", wrong, .again = true));
	downloads = begin(mirror, server, 1);
	assert_int_equal(finish(downloads, &layer, wrong, NULL), 0);
	assert_false(downloads_distrust(downloads, &layer.blob));
}

static void wrong_bytes_that_were_kept_are_fetched_again(void **state)
{
	auto_httpd struct httpd *server = httpd_serve(ANSWER("/", "200 OK", blob));
	auto_downloads struct downloads *downloads = begin(server, NULL, 1);

	blob[5] ^= 1;
	put_kept(BLOB_BYTES, "\"e\"");
	assert_int_equal(finish(downloads, &layer, blob, NULL), 0);
	blob[5] ^= 1;
	assert_int_equal(downloads_check(downloads, &layer.blob, NULL, NULL), -EBADMSG);
	assert_true(downloads_distrust(downloads, &layer.blob));
	assert_finished(downloads);
	assert_not_sent(server, 0, "Range:");
	assert_int_equal(downloads_check(downloads, &layer.blob, NULL, NULL), 0);
}

static void a_foreign_layer_is_not_fetched_in_plain(void **state)
{
	auto_httpd struct httpd *server = httpd_serve(ANSWER("/v2/", "404 Gone", NULL,
							     .again = true),
						      ANSWER("/elsewhere", "200 OK", blob));
	auto_downloads struct downloads *downloads = begin(server, NULL, 1);
	char *urls[] = { (char *)(uintptr_t)httpd_url(server, "/elsewhere"), NULL };

	layer.urls = urls;
	assert_failed(downloads, -ENOENT, "status 404");
	assert_int_equal(httpd_count(server), 1);
}

/* No other server can help here. */
static void what_cannot_be_written_is_not_asked_for_again(void **state)
{
	auto_httpd struct httpd *first = httpd_serve(ANSWER("/", "200 OK", blob, .again = true));
	auto_httpd struct httpd *second = httpd_serve(ANSWER("/", "200 OK", blob));
	auto_downloads struct downloads *downloads = begin(first, second, 1);
	struct rlimit before, limit;

	(void)signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
	limit = before;
	limit.rlim_cur = 1000;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
	assert_failed(downloads, -EFBIG, "write partial/");
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
	assert_int_equal(httpd_count(first), 1);
	assert_int_equal(httpd_count(second), 0);
}

static void a_file_that_cannot_be_made_is_nothing_to_wait_for(void **state)
{
	auto_httpd struct httpd *server = httpd_serve(ANSWER("/", "200 OK", blob));
	auto_downloads struct downloads *downloads = begin(server, NULL, 1);
	struct source_stream stream = SOURCE_STREAM_INIT;
	auto_free char *name = NULL;

	assert_true(asprintf(&name, "partial/%s", digest_hex(&layer.blob)) > 0);
	put_dir(name);
	assert_int_equal(downloads_expect(downloads, &layer, NULL), -EISDIR);
	assert_int_equal(downloads_open(downloads, &layer, &stream, NULL), -EISDIR);
	assert_int_equal(downloads_check(downloads, &layer.blob, NULL, NULL), 0);
	assert_int_equal(rmdir(name), 0);
	assert_finished(downloads);
}

/* ---- checking ---- */

static void *let_go(void *arg)
{
	struct httpd *server = arg;

	if (httpd_await(server, 1))
		httpd_go(server);
	return NULL;
}

static void a_check_waits_for_the_rest(void **state)
{
	auto_httpd struct httpd *server = httpd_serve(
		ANSWER("/", "200 OK", blob, .then = HTTPD_WAIT, .first = 1000));
	auto_downloads struct downloads *downloads = begin(server, NULL, 1);
	const atomic_bool cancelled = true;
	pthread_t thread;

	assert_int_equal(downloads_check(downloads, &layer.blob, NULL, NULL), 0);
	assert_int_equal(downloads_expect(downloads, &layer, NULL), 0);
	assert_int_equal(downloads_check(downloads, &layer.blob, &cancelled, NULL), 0);
	assert_int_equal(downloads_file(downloads, &layer.blob), -ENODATA);
	assert_int_equal(pthread_create(&thread, NULL, let_go, server), 0);
	assert_int_equal(downloads_check(downloads, &layer.blob, NULL, NULL), 0);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_finished(downloads);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		in_partial(a_blob_comes_whole),
		in_partial(a_blob_can_be_read_while_it_grows),
		in_partial(an_empty_blob_is_there_at_once),
		in_partial(so_many_come_at_once_as_may),
		in_partial(what_was_not_expected_comes_next),
		in_partial(a_blob_that_breaks_off_goes_on),
		in_partial(what_is_kept_is_not_fetched_again),
		in_partial(what_is_kept_whole_is_not_asked_for),
		in_partial(who_cannot_resume_sends_all_again),
		in_partial(a_range_of_an_unknown_whole_is_taken),
		in_partial(a_weak_validator_is_not_kept),
		in_partial(tries_that_bring_something_are_not_counted),
		in_partial(tries_that_bring_next_to_nothing_are),
		in_partial(what_is_ended_goes_on_the_next_time),
		in_partial(what_another_process_fetches_is_left_alone),
		in_partial(other_sizes_than_promised_are_refused),
		in_partial(a_server_that_has_something_else_is_not_asked_again),
		in_partial(the_next_server_goes_on_where_one_stopped),
		in_partial(who_may_not_be_asked_for_blobs_is_not),
		in_partial(a_blob_of_another_digest_is_fetched_elsewhere),
		in_partial(who_had_the_wrong_bytes_is_not_asked_again),
		in_partial(wrong_bytes_that_were_kept_are_fetched_again),
		in_partial(a_foreign_layer_is_not_fetched_in_plain),
		in_partial(what_cannot_be_written_is_not_asked_for_again),
		in_partial(a_file_that_cannot_be_made_is_nothing_to_wait_for),
		in_partial(a_check_waits_for_the_rest),
	};

	return cmocka_run_group_tests(tests, sandbox_enter, sandbox_leave);
}
