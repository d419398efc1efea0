/* SPDX-License-Identifier: Apache-2.0 */
#include "graph/fetch/client.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "tests/unit/httpd.h"
#include "tests/unit/sandbox.h"
#include "tests/unit/util.h"

#define BASIC	 "401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"x\""
/* me:secret */
#define MY_BASIC "Basic bWU6c2VjcmV0"

static struct http *http;
static struct client_options options;
static char notes[4096]; /* each on a line */

static void keep_note(void *arg, const char *text)
{
	size_t len = strlen(notes);

	(void)snprintf(notes + len, sizeof(notes) - len, "%s\n", text);
}

/* Credentials are looked for in the sandbox only. */
static int start(void **state)
{
	if (sandbox_start(state) < 0)
		return -1;
	httpd_environment(sandbox_root());
	options = (struct client_options){ .retries = 3, .delay_ns = 1000, .note = keep_note };
	notes[0] = '\0';
	return http_new(NULL, &http, NULL);
}

static int stop(void **state)
{
	http_freep(&http);
	return sandbox_clean(state);
}

#define in_a_home(f) cmocka_unit_test_setup_teardown(f, start, stop)

static struct endpoint endpoint_of(const char *host)
{
	return (struct endpoint){ .scheme = ENDPOINT_HTTP,
				  .host = (char *)(uintptr_t)host,
				  .path = (char *)(uintptr_t) "/v2",
				  .repository = (char *)(uintptr_t) "a/b",
				  .registry = (char *)(uintptr_t) "registry.example",
				  .for_tags = true,
				  .for_digests = true,
				  .for_blobs = true };
}

static struct client *make(const struct endpoint *endpoint)
{
	struct client *client = NULL;
	struct err err = { 0 };

	if (client_new(http, endpoint, &options, NULL, &client, &err) < 0)
		fail_msg("%s", err.text);
	assert_ptr_equal(client_endpoint(client), endpoint);
	return client;
}

static int try(struct client *client, const char *path, enum http_trouble *trouble, struct err *err)
{
	const struct client_request request = { .path = path, .body_max = 1000 };
	auto_http_response struct http_response response = { 0 };

	*trouble = HTTP_OK;
	return client_try(client, &request, &response, trouble, err);
}

/* client_get, and the body where it works. */
static int get(struct client *client, const char *path, char body[100], struct err *err)
{
	const struct client_request request = { .path = path, .body_max = 1000 };
	auto_http_response struct http_response response = { 0 };
	int r = client_get(client, &request, &response, err);

	(void)snprintf(body, 100, "%s", buf_text(&response.body));
	return r;
}

static bool was_sent(struct httpd *server, size_t n, const char *header)
{
	auto_free char *line = NULL;

	assert_true(asprintf(&line, "\r\n%s", header) > 0);
	return strcasestr(httpd_request(server, n), line) != NULL;
}

static void assert_asked(struct httpd *server, size_t n, const char *line)
{
	if (strncmp(httpd_request(server, n), line, strlen(line)) != 0)
		fail_msg("it was not asked %s but %s", line, httpd_request(server, n));
}

/* ---- requests ---- */

static void a_request_is_made_of_endpoint_and_path(void **state)
{
	static char header[] = "X-Mirror: yes", namespace[] = "docker.io";
	char *headers[] = { header };
	auto_httpd struct httpd *server = httpd_serve(ANSWER("/", "200 OK", "x", .again = true));
	struct endpoint plain = endpoint_of(httpd_host(server)), mirror = plain;
	auto_client struct client *first = make(&plain), *second = NULL;
	auto_http_response struct http_response r = { 0 };
	struct client_request request = { .path = "/a/b/blobs/c",
					  .accept = "text/x, text/y",
					  .from = 10000000000,
					  .validator = "\"tag\"",
					  .body_max = 10 };
	enum http_trouble trouble;

	assert_int_equal(client_try(first, &request, &r, &trouble, NULL), 0);
	assert_asked(server, 0, "GET /v2/a/b/blobs/c HTTP/1.1\r\n");
	assert_true(was_sent(server, 0, "Accept: text/x, text/y\r\n"));
	assert_true(was_sent(server, 0, "Range: bytes=10000000000-\r\n"));
	assert_true(was_sent(server, 0, "If-Range: \"tag\"\r\n"));
	assert_false(was_sent(server, 0, "X-Mirror:"));
	assert_false(was_sent(server, 0, "Authorization:"));

	mirror.namespace = namespace;
	mirror.headers = headers;
	mirror.header_count = 1;
	second = make(&mirror);
	request.from = 0;
	request.head = true;
	assert_int_equal(client_try(second, &request, &r, &trouble, NULL), 0);
	assert_asked(server, 1, "HEAD /v2/a/b/blobs/c?ns=docker.io HTTP/1.1\r\n");
	assert_true(was_sent(server, 1, "X-Mirror: yes\r\n"));
	assert_false(was_sent(server, 1, "Range:"));
	assert_false(was_sent(server, 1, "If-Range:"));
	/* What looks like a whole URL behind the path is none. */
	request.path = "/a/b/tags/list?last=http://x";
	assert_int_equal(client_try(second, &request, &r, &trouble, NULL), 0);
	assert_asked(server, 2, "HEAD /v2/a/b/tags/list?last=http://x&ns=docker.io HTTP/1.1\r\n");
}

static void statuses_are_told_apart(void **state)
{
	static const struct {
		const char *head;
		int code;
		enum http_trouble trouble;
		const char *words;
	} cases[] = {
		{ "200 OK", 0, HTTP_OK, "" },
		{ "206 Partial", 0, HTTP_OK, "" },
		{ "400 Bad", -EREMOTEIO, HTTP_LASTING,
		  "/v2/x: status 400, bad request: CODE: so it is" },
		{ "401 Who", -EACCES, HTTP_LASTING, "access denied, asked without credentials" },
		{ "403 No", -EACCES, HTTP_LASTING,
		  "status 403, access denied: CODE: so it is, asked without credentials" },
		{ "404 Gone", -ENOENT, HTTP_LASTING, "status 404, not found" },
		{ "408 Slow", -EREMOTEIO, HTTP_PASSING, "status 408, request timeout" },
		{ "416 Range", -ERANGE, HTTP_LASTING, "status 416, range not satisfiable" },
		{ "418 Teapot", -EREMOTEIO, HTTP_LASTING, "status 418: CODE" },
		{ "429 Much", -EREMOTEIO, HTTP_PASSING, "status 429, too many requests" },
		{ "500 Oh", -EREMOTEIO, HTTP_PASSING, "status 500, internal server error" },
		{ "507 Full", -EREMOTEIO, HTTP_PASSING, "status 507" },
		{ "304 Same", -EREMOTEIO, HTTP_LASTING, "status 304" },
		{ "302 Nowhere", -EREMOTEIO, HTTP_LASTING, "status 302" },
	};
	static const char body[] = "{\"errors\":[{\"code\":\"CODE\",\"message\":\"so it is\"}]}";

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		auto_httpd struct httpd *server = httpd_serve(ANSWER("/v2/x", cases[i].head, body));
		const struct endpoint endpoint = endpoint_of(httpd_host(server));
		auto_client struct client *client = make(&endpoint);
		enum http_trouble trouble;
		struct err err = { 0 };
		int r = try(client, "/x?token=secret", &trouble, &err);

		if (r != cases[i].code || trouble != cases[i].trouble)
			fail_msg("%s: %d, trouble %d: %s", cases[i].head, r, (int)trouble,
				 err.text);
		assert_words(&err, cases[i].words);
		assert_null(strstr(err.text, "secret"));
	}
}

static void what_a_server_says_of_an_error_is_not_trusted(void **state)
{
	static const char *const bodies[] = { "",
					      "<html>",
					      "{\"errors\":5}",
					      "{\"errors\":[]}",
					      "{\"errors\":[1,null,[]]}",
					      "{\"errors\":[{\"code\":3,\"message\":{}}]}",
					      "[[[[[[[[" };

	for (size_t i = 0; i < ARRAY_LEN(bodies); i++) {
		auto_httpd struct httpd *server = httpd_serve(ANSWER("/", "404 Gone", bodies[i]));
		const struct endpoint endpoint = endpoint_of(httpd_host(server));
		auto_client struct client *client = make(&endpoint);
		enum http_trouble trouble;
		struct err err = { 0 };

		assert_int_equal(try(client, "/x", &trouble, &err), -ENOENT);
		assert_words(&err, "status 404, not found");
	}
}

static void headers_are_limited(void **state)
{
	static char header[] = "X-A: b";
	char *headers[17];
	auto_httpd struct httpd *server = httpd_serve(ANSWER("/", "200 OK", "x", .again = true));
	struct endpoint endpoint = endpoint_of(httpd_host(server));
	auto_client struct client *client = make(&endpoint);
	enum http_trouble trouble;
	struct err err = { 0 };

	for (size_t i = 0; i < ARRAY_LEN(headers); i++)
		headers[i] = header;
	endpoint.headers = headers;
	endpoint.header_count = 16;
	assert_int_equal(try(client, "/x", &trouble, &err), 0);
	endpoint.header_count = 17;
	assert_int_equal(try(client, "/x", &trouble, &err), -E2BIG);
	assert_int_equal(trouble, HTTP_LASTING);
	assert_words(&err, "more than 16 headers");
}

/* ---- credentials ---- */

static void a_challenge_is_answered_once_for_all_requests(void **state)
{
	auto_httpd struct httpd *server = httpd_serve(ANSWER("/v2/x", BASIC, "no"),
						      ANSWER("/v2/x", "200 OK", "yes"),
						      ANSWER("/v2/y", "200 OK", "as well"));
	const struct endpoint endpoint = endpoint_of(httpd_host(server));
	auto_client struct client *client = NULL;
	char body[100];

	options.user_password = "me:secret";
	client = make(&endpoint);
	assert_int_equal(get(client, "/x", body, NULL), 0);
	assert_string_equal(body, "yes");
	assert_false(was_sent(server, 0, "Authorization:"));
	assert_true(was_sent(server, 1, "Authorization: " MY_BASIC "\r\n"));
	assert_int_equal(get(client, "/y", body, NULL), 0);
	assert_true(was_sent(server, 2, "Authorization: " MY_BASIC "\r\n"));
	assert_int_equal(httpd_count(server), 3);
}

static void a_wrong_password_is_said_to_be_one(void **state)
{
	auto_httpd struct httpd *server = httpd_serve(ANSWER("/", BASIC, "no", .again = true));
	const struct endpoint endpoint = endpoint_of(httpd_host(server));
	auto_client struct client *client = NULL, *nobody = make(&endpoint);
	struct err err = { 0 };
	char body[100];

	options.user_password = "me:secret";
	client = make(&endpoint);
	assert_int_equal(get(client, "/x", body, &err), -EACCES);
	assert_words(&err, "access denied, asked with credentials from ");
	assert_words(&err, "user or password is wrong; 'overlaid login registry.example' keeps");
	assert_null(strstr(err.text, "secret"));
	assert_int_equal(httpd_count(server), 2);
	assert_int_equal(get(nobody, "/x", body, &err), -EACCES);
	assert_words(&err, "asked without credentials: it asks for user and password");
	assert_string_equal(notes, "");
}

static void a_token_is_fetched_and_renewed(void **state)
{
	auto_httpd struct httpd
		*tokens = httpd_serve(ANSWER("/token", "200 OK", "{\"token\":\"one\"}"),
				      ANSWER("/token", "200 OK", "{\"token\":\"two\"}"),
				      ANSWER("/token", "403 No", "{}", .again = true));
	auto_free char *bearer = NULL;
	auto_httpd struct httpd *server = NULL;
	struct endpoint endpoint;
	auto_client struct client *client = NULL;
	struct err err = { 0 };
	char body[100];

	assert_true(asprintf(&bearer,
			     "401 Who\r\nWWW-Authenticate: Bearer realm=\"%s\",service=\"s\"",
			     httpd_url(tokens, "/token")) > 0);
	server = httpd_serve(ANSWER("/v2/x", bearer, NULL), ANSWER("/v2/x", "200 OK", "yes"),
			     ANSWER("/v2/y", bearer, NULL), ANSWER("/v2/y", "200 OK", "again"),
			     ANSWER("/v2/z", bearer, NULL));
	endpoint = endpoint_of(httpd_host(server));
	client = make(&endpoint);
	assert_int_equal(get(client, "/x", body, NULL), 0);
	assert_string_equal(body, "yes");
	assert_true(was_sent(server, 1, "Authorization: Bearer one\r\n"));
	/* It ran out. */
	assert_int_equal(get(client, "/y", body, NULL), 0);
	assert_true(was_sent(server, 2, "Authorization: Bearer one\r\n"));
	assert_true(was_sent(server, 3, "Authorization: Bearer two\r\n"));
	assert_int_equal(get(client, "/z", body, &err), -EACCES);
	assert_words(&err, "/v2/z: access denied, asked without credentials: token server ");
}

static void what_is_never_enough_is_asked_for_twice(void **state)
{
	auto_httpd struct httpd *tokens = httpd_serve(
		ANSWER("/token", "200 OK", "{\"token\":\"one\"}", .again = true));
	auto_free char *bearer = NULL;
	auto_httpd struct httpd *server = NULL;
	struct endpoint endpoint;
	auto_client struct client *client = NULL;
	struct err err = { 0 };
	char body[100];

	assert_true(asprintf(&bearer, "401 Who\r\nWWW-Authenticate: Bearer realm=\"%s\"",
			     httpd_url(tokens, "/token")) > 0);
	server = httpd_serve(ANSWER("/v2/x", bearer, NULL, .again = true));
	endpoint = endpoint_of(httpd_host(server));
	client = make(&endpoint);
	assert_int_equal(get(client, "/x", body, &err), -EACCES);
	assert_words(&err, "status 401, access denied");
	assert_int_equal(httpd_count(server), 3);
	assert_int_equal(httpd_count(tokens), 2);
}

static void a_mirror_gets_its_own_credentials(void **state)
{
	auto_httpd struct httpd *server = httpd_serve(ANSWER("/", BASIC, "no"),
						      ANSWER("/", "200 OK", "yes"));
	struct endpoint endpoint = endpoint_of(httpd_host(server));
	auto_client struct client *client = NULL;
	char body[100];

	put_file("auth.json", "{\"auths\":{\"mirror.example/a\":{\"auth\":\"dTpw\"}}}");
	endpoint.mirror = true;
	endpoint.registry = (char *)(uintptr_t) "mirror.example";
	options.user_password = "me:secret";
	options.authfile = "auth.json";
	client = make(&endpoint);
	assert_int_equal(get(client, "/x", body, NULL), 0);
	assert_true(was_sent(server, 1, "Authorization: Basic dTpw\r\n"));
}

static void unusable_credentials_are_told_at_once(void **state)
{
	const struct endpoint endpoint = endpoint_of("127.0.0.1:1");
	struct client *client = NULL;
	struct err err = { 0 };

	options.user_password = "me";
	assert_int_equal(client_new(http, &endpoint, &options, NULL, &client, &err), -EINVAL);
	assert_words(&err, "--creds: ");
	options.user_password = NULL;
	options.authfile = "missing";
	assert_int_equal(client_new(http, &endpoint, &options, NULL, &client, &err), -ENOENT);
	assert_words(&err, "credentials for registry.example: ");
	assert_null(client);
}

/* ---- redirects ---- */

static void a_redirect_takes_what_is_secret_nowhere_else(void **state)
{
	static char header[] = "X-Key: secret";
	char *headers[] = { header };
	auto_httpd struct httpd *other = httpd_serve(ANSWER("/blob?sig=a%2Fb", "200 OK", "blob"));
	auto_free char *away = NULL;
	auto_httpd struct httpd *server = NULL;
	struct endpoint endpoint;
	auto_client struct client *client = NULL;
	auto_http_response struct http_response r = { 0 };
	const struct client_request request = {
		.path = "/x", .accept = "text/x", .from = 5, .body_max = 10
	};

	assert_true(asprintf(&away, "307 Away\r\nLocation: %s",
			     httpd_url(other, "/blob?sig=a%2Fb")) > 0);
	server = httpd_serve(ANSWER("/v2/x", BASIC, NULL),
			     ANSWER("/v2/x", "302 Here\r\nLocation: ../there?a", NULL),
			     ANSWER("/there?a", away, NULL));
	endpoint = endpoint_of(httpd_host(server));
	endpoint.headers = headers;
	endpoint.header_count = 1;
	options.user_password = "me:secret";
	client = make(&endpoint);
	assert_int_equal(client_get(client, &request, &r, NULL), 0);
	assert_string_equal(buf_text(&r.body), "blob");
	assert_true(was_sent(server, 2, "Authorization: " MY_BASIC "\r\n"));
	assert_true(was_sent(server, 2, "X-Key: secret\r\n"));
	assert_false(was_sent(other, 0, "Authorization:"));
	assert_false(was_sent(other, 0, "X-Key:"));
	assert_true(was_sent(other, 0, "Accept: text/x\r\n"));
	assert_true(was_sent(other, 0, "Range: bytes=5-\r\n"));
	assert_null(strstr(httpd_request(other, 0), "secret"));
}

static void who_is_elsewhere_gets_no_credentials_by_asking(void **state)
{
	auto_httpd struct httpd *other = httpd_serve(ANSWER("/", BASIC, NULL, .again = true));
	auto_free char *away = NULL;
	auto_httpd struct httpd *server = NULL;
	struct endpoint endpoint;
	auto_client struct client *client = NULL;
	char body[100];

	assert_true(asprintf(&away, "307 Away\r\nLocation: %s", httpd_url(other, "/")) > 0);
	server = httpd_serve(ANSWER("/v2/x", away, NULL));
	endpoint = endpoint_of(httpd_host(server));
	options.user_password = "me:secret";
	client = make(&endpoint);
	assert_int_equal(get(client, "/x", body, NULL), -EACCES);
	assert_int_equal(get(client, httpd_url(other, "/whole"), body, NULL), -EACCES);
	assert_int_equal(httpd_count(other), 2);
	assert_asked(other, 1, "GET /whole ");
	assert_false(was_sent(other, 0, "Authorization:"));
	assert_false(was_sent(other, 1, "Authorization:"));
}

static void a_whole_url_of_the_server_itself_gets_them(void **state)
{
	auto_httpd struct httpd *server = httpd_serve(ANSWER("/z", BASIC, NULL),
						      ANSWER("/z", "200 OK", "yes"));
	const struct endpoint endpoint = endpoint_of(httpd_host(server));
	auto_client struct client *client = NULL;
	char body[100];

	options.user_password = "me:secret";
	client = make(&endpoint);
	assert_int_equal(get(client, httpd_url(server, "/z"), body, NULL), 0);
	assert_true(was_sent(server, 1, "Authorization: " MY_BASIC "\r\n"));
}

static void redirects_have_an_end(void **state)
{
	auto_httpd struct httpd *server =
		httpd_serve(ANSWER("/v2/loop", "302 On\r\nLocation: /v2/loop", NULL, .again = true),
			    ANSWER("/v2/file", "302 On\r\nLocation: file:///etc/passwd", NULL));
	const struct endpoint endpoint = endpoint_of(httpd_host(server));
	auto_client struct client *client = make(&endpoint);
	struct err err = { 0 };
	char body[100];

	assert_int_equal(get(client, "/loop", body, &err), -ELOOP);
	assert_words(&err, "/v2/loop: led on more than 10 times");
	assert_int_equal(httpd_count(server), CLIENT_REDIRECTS_MAX + 1);
	assert_int_equal(get(client, "/file", body, &err), -EPROTO);
	assert_words(&err, "/v2/file: it leads to a URL of scheme \"file\"");
	assert_string_equal(notes, "");
}

/* ---- http or https ---- */

static void who_does_not_speak_tls_is_asked_in_plain(void **state)
{
	auto_httpd struct httpd *server = httpd_serve(
		ANSWER("/v2/x", "200 OK", "x", .again = true));
	struct endpoint endpoint = endpoint_of(httpd_host(server));
	auto_client struct client *either = NULL, *https = NULL;
	enum http_trouble trouble;
	char body[100];

	endpoint.scheme = ENDPOINT_EITHER;
	either = make(&endpoint);
	assert_int_equal(get(either, "/x", body, NULL), 0);
	assert_int_equal(get(either, "/x", body, NULL), 0);
	assert_string_equal(httpd_request(server, 0), "TLS");
	assert_int_equal(httpd_count(server), 3);

	endpoint.scheme = ENDPOINT_HTTPS;
	https = make(&endpoint);
	assert_int_equal(try(https, "/x", &trouble, NULL), -EPROTO);
	assert_int_equal(trouble, HTTP_NO_TLS);
	assert_string_equal(httpd_request(server, 3), "TLS");
	assert_string_equal(notes, "");
}

/* ---- another try ---- */

static void what_passes_is_tried_again(void **state)
{
	auto_httpd struct httpd *server = httpd_serve(ANSWER("/", "503 Busy", "no"),
						      ANSWER("/", "200 OK", "x", .then = HTTPD_CUT),
						      ANSWER("/", NULL, NULL),
						      ANSWER("/", "200 OK", "yes"));
	const struct endpoint endpoint = endpoint_of(httpd_host(server));
	auto_client struct client *client = make(&endpoint);
	char body[100];

	assert_int_equal(get(client, "/x", body, NULL), 0);
	assert_string_equal(body, "yes");
	assert_int_equal(httpd_count(server), 4);
	assert_non_null(strstr(notes, "status 503, service unavailable: retrying in 0.0 s\n"));
}

/* It was reached, though it never answered. */
static void who_hangs_up_is_tried_as_often_as_is_asked_for(void **state)
{
	auto_httpd struct httpd *server = httpd_serve(ANSWER("/", NULL, NULL),
						      ANSWER("/", NULL, NULL, .then = HTTPD_RESET),
						      ANSWER("/", NULL, NULL),
						      ANSWER("/", "200 OK", "yes"));
	const struct endpoint endpoint = endpoint_of(httpd_host(server));
	auto_client struct client *client = make(&endpoint);
	char body[100];

	assert_int_equal(get(client, "/x", body, NULL), 0);
	assert_int_equal(httpd_count(server), 4);
}

static void tries_are_counted(void **state)
{
	static const struct {
		unsigned int retries;
		size_t tries;
		const char *words;
	} cases[] = { { 0, 1, "bad gateway" },
		      { 1, 2, "bad gateway; tried 2 times" },
		      { 3, 4, "bad gateway; tried 4 times" } };

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		auto_httpd struct httpd *server = httpd_serve(
			ANSWER("/", "502 Bad", NULL, .again = true));
		const struct endpoint endpoint = endpoint_of(httpd_host(server));
		auto_client struct client *client = make(&endpoint);
		struct err err = { 0 };
		char body[100];

		options.retries = cases[i].retries;
		assert_int_equal(get(client, "/x", body, &err), -EREMOTEIO);
		assert_int_equal(httpd_count(server), cases[i].tries);
		assert_int_equal(strcmp(strstr(err.text, "bad"), cases[i].words), 0);
	}
}

static void who_was_never_reached_is_tried_once_more(void **state)
{
	const struct endpoint endpoint = endpoint_of(httpd_nobody());
	auto_client struct client *client = make(&endpoint);
	struct err err = { 0 };
	char body[100];

	assert_int_equal(get(client, "/x", body, &err), -ECONNREFUSED);
	assert_words(&err, "; tried 2 times");
	options.retries = 0;
	assert_int_equal(get(client, "/x", body, &err), -ECONNREFUSED);
	assert_null(strstr(err.text, "tried"));
}

static void what_lasts_is_not_tried_again(void **state)
{
	auto_httpd struct httpd *server = httpd_serve(ANSWER("/", "404 Gone", NULL, .again = true));
	const struct endpoint endpoint = endpoint_of(httpd_host(server));
	auto_client struct client *client = make(&endpoint);
	struct err err = { 0 };
	char body[100];

	assert_int_equal(get(client, "/x", body, &err), -ENOENT);
	assert_null(strstr(err.text, "tried"));
	assert_int_equal(httpd_count(server), 1);
	assert_string_equal(notes, "");
}

/* The pause after a first failure that came with these headers, as the note says it; "" where there is
 * none. *ret_code is the result. Nothing waits: it is cancelled. */
static const char *pause_of(const char *headers, int *ret_code, struct err *err)
{
	const atomic_bool cancelled = true;
	const struct endpoint endpoint = endpoint_of("127.0.0.1:1");
	auto_client struct client *client = make(&endpoint);
	auto_http_response struct http_response response = { .status = 503 };
	struct client_patience patience = { 0 };
	const char *in;

	notes[0] = '\0';
	(void)snprintf(err->text, sizeof(err->text), "it failed");
	assert_int_equal(buf_puts(&response.headers, headers), 0);
	*ret_code = client_wait(client, &patience, &response, HTTP_PASSING, -EREMOTEIO, &cancelled,
				err);
	in = strstr(notes, "it failed: retrying in ");
	return in ? in + strlen("it failed: retrying in ") : "";
}

static void a_server_may_say_when_to_come_back(void **state)
{
	static const struct {
		const char *header;
		int code;
		const char *pause;
	} cases[] = {
		{ "retry-after: 7\n", -ECANCELED, "7.0 s\n" },
		{ "retry-after: 300\n", -ECANCELED, "300.0 s\n" },
		{ "retry-after: 301\n", -EREMOTEIO, "" },
		{ "retry-after: 99999999999999999999999\n", -EREMOTEIO, "" },
		{ "retry-after: Wed, 21 Oct 2093 07:28:00 GMT\n", -EREMOTEIO, "" },
		/* These are not understood: the delay of our own. */
		{ "retry-after: -1\n", -ECANCELED, "0.0 s\n" },
		{ "retry-after: soon\n", -ECANCELED, "0.0 s\n" },
		{ "retry-after: 7 s\n", -ECANCELED, "0.0 s\n" },
		{ "retry-after: \n", -ECANCELED, "0.0 s\n" },
		{ "", -ECANCELED, "0.0 s\n" },
	};
	struct err err = { 0 };
	int code;

	options.delay_ns = 1000000;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		const char *pause = pause_of(cases[i].header, &code, &err);

		if (code != cases[i].code || strcmp(pause, cases[i].pause) != 0)
			fail_msg("%s: %d, %s", cases[i].header, code, pause);
	}
	(void)pause_of("retry-after: 301\n", &code, &err);
	assert_string_equal(err.text, "it failed; it wants to be asked again in 301 s: try later");
	/* A time that is over: at once, with nothing to cancel. */
	(void)pause_of("retry-after: Wed, 21 Oct 2015 07:28:00 GMT\n", &code, &err);
	assert_int_equal(code, 0);
}

static void a_date_to_come_back_is_a_time_from_now(void **state)
{
	const time_t then = time(NULL) + 100;
	char header[100];
	struct err err = { 0 };
	struct tm tm;
	double seconds;
	int code;

	(void)strftime(header, sizeof(header), "retry-after: %a, %d %b %Y %H:%M:%S GMT\n",
		       gmtime_r(&then, &tm));
	seconds = strtod(pause_of(header, &code, &err), NULL);
	assert_true(seconds > 60 && seconds <= 100);
}

static void pauses_double_up_to_a_minute(void **state)
{
	const atomic_bool cancelled = true;
	auto_httpd struct httpd *server = httpd_serve(ANSWER("/", "200 OK", NULL));
	const struct endpoint endpoint = endpoint_of(httpd_host(server));
	auto_client struct client *client = make(&endpoint);
	struct http_response response = { 0 };
	enum http_trouble trouble;
	struct err err = { 0 };

	options.retries = 20;
	options.delay_ns = 1000000000;
	assert_int_equal(try(client, "/", &trouble, NULL), 0);
	for (unsigned int tries = 0; tries < 12; tries++) {
		double expected = tries < 6 ? 1 << tries : CLIENT_DELAY_MAX_SECONDS, seconds;
		struct client_patience patience = { .tries = tries };

		notes[0] = err.text[0] = '\0';
		assert_int_equal(client_wait(client, &patience, &response, HTTP_PASSING, -EREMOTEIO,
					     &cancelled, &err),
				 -ECANCELED);
		seconds = strtod(notes + strlen(": retrying in "), NULL);
		assert_true(seconds >= expected * 0.75 - 0.1 && seconds <= expected * 1.25 + 0.1);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		in_a_home(a_request_is_made_of_endpoint_and_path),
		in_a_home(statuses_are_told_apart),
		in_a_home(what_a_server_says_of_an_error_is_not_trusted),
		in_a_home(headers_are_limited),
		in_a_home(a_challenge_is_answered_once_for_all_requests),
		in_a_home(a_wrong_password_is_said_to_be_one),
		in_a_home(a_token_is_fetched_and_renewed),
		in_a_home(what_is_never_enough_is_asked_for_twice),
		in_a_home(a_mirror_gets_its_own_credentials),
		in_a_home(unusable_credentials_are_told_at_once),
		in_a_home(a_redirect_takes_what_is_secret_nowhere_else),
		in_a_home(who_is_elsewhere_gets_no_credentials_by_asking),
		in_a_home(a_whole_url_of_the_server_itself_gets_them),
		in_a_home(redirects_have_an_end),
		in_a_home(who_does_not_speak_tls_is_asked_in_plain),
		in_a_home(what_passes_is_tried_again),
		in_a_home(who_hangs_up_is_tried_as_often_as_is_asked_for),
		in_a_home(tries_are_counted),
		in_a_home(who_was_never_reached_is_tried_once_more),
		in_a_home(what_lasts_is_not_tried_again),
		in_a_home(a_server_may_say_when_to_come_back),
		in_a_home(a_date_to_come_back_is_a_time_from_now),
		in_a_home(pauses_double_up_to_a_minute),
	};

	return cmocka_run_group_tests(tests, sandbox_enter, sandbox_leave);
}
