/* SPDX-License-Identifier: Apache-2.0 */
#include "graph/fetch/auth.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "tests/unit/httpd.h"
#include "tests/unit/util.h"

#define REGISTRY "https://registry.example/v2/a/b/manifests/latest"
#define THREADS	 6

#define auto_auth AUTO(auth_freep)

/* ---- challenges ---- */

static const struct {
	const char *value;
	int r;
	const char *scheme, *realm, *service, *scope;
} challenges[] = {
	{ "Bearer realm=\"https://t/x\",service=\"s\",scope=\"repository:a/b:pull\"", 1, "bearer",
	  "https://t/x", "s", "repository:a/b:pull" },
	{ "bEARER REALM=\"https://t\" , Service = s,\tscope=\"a b\"", 1, "bearer", "https://t", "s",
	  "a b" },
	{ "Bearer realm=\"r\",error=\"invalid_token\",error_description=\"it, is; bad=1\"", 1,
	  "bearer", "r", "", "" },
	{ "Basic realm=\"a, b\"", 1, "basic", "a, b", "", "" },
	{ "Basic realm=\"say \\\"a\\\" \\\\ b\", charset=\"UTF-8\"", 1, "basic", "say \"a\" \\ b",
	  "", "" },
	{ "Basic realm=\"x, Bearer realm=\\\"y\\\"\"", 1, "basic", "x, Bearer realm=\"y\"", "",
	  "" },
	{ "Basic", 1, "basic", "", "", "" },
	{ "Basic realm=\"\"", 1, "basic", "", "", "" },
	{ ", ,Basic realm=x,,", 1, "basic", "x", "", "" },
	/* Several: Bearer goes before Basic. */
	{ "Basic realm=\"x\", Bearer realm=\"y\",service=s", 1, "bearer", "y", "s", "" },
	{ "Bearer realm=\"y\",service=s, Basic realm=\"x\"", 1, "bearer", "y", "s", "" },
	{ "Bearer realm=one, Bearer realm=two", 1, "bearer", "one", "", "" },
	{ "Basic realm=one, Basic realm=two", 1, "basic", "one", "", "" },
	{ "Digest realm=\"d\", nonce=\"abc=\", qop=\"auth,auth-int\", Basic realm=\"x\"", 1,
	  "basic", "x", "", "" },
	/* A Bearer without a realm names nobody to ask. */
	{ "Bearer", 0, "", "", "", "" },
	{ "Bearer service=\"s\"", 0, "", "", "", "" },
	{ "Bearer realm=\"\", Basic realm=x", 1, "basic", "x", "", "" },
	/* Words of other schemes in place of parameters. */
	{ "Negotiate", 0, "", "", "", "" },
	{ "Negotiate, Basic realm=x", 1, "basic", "x", "", "" },
	{ "Negotiate oYG2MIGz, Basic realm=x", 1, "basic", "x", "", "" },
	{ "Negotiate oYG2MIGzo=, Basic realm=x", 1, "basic", "x", "", "" },
	{ "Negotiate oYG2MIGz==, Bearer realm=x", 1, "bearer", "x", "", "" },
	{ "Basic realm=x, Negotiate oYG2/+MIGzo= , NTLM", 1, "basic", "x", "", "" },
	{ "Negotiate oYG2MIGzoAMCAQChCwYJKoZIgvcSAQICooGiBIGfYIGcBgkqhkiG9xIBAgICAG+BjDCBiaAD", 0,
	  "", "", "", "" },
	{ "Negotiate bearer, Basic realm=x", 1, "basic", "x", "", "" },
	{ "NTLM basic", 0, "", "", "", "" },
	/* What is not known. */
	{ "", 0, "", "", "", "" },
	{ " ,\t", 0, "", "", "", "" },
	{ "OAuth realm=\"https://t\"", 0, "", "", "", "" },
	{ "Bearerish realm=\"https://t\"", 0, "", "", "", "" },
	{ "AVeryLongSchemeThatBeginsWithNothing realm=x, Basic realm=y", 1, "basic", "y", "", "" },
	{ "Bearer a-parameter-with-a-name-of-more-than-thirty-two-letters=\"a b\",realm=\"r\"", 1,
	  "bearer", "r", "", "" },
	/* What cannot be read. */
	{ "Bearer realm=\"https://t", -EBADMSG, "", "", "", "" },
	{ "Bearer realm=\"https://t\\\"", -EBADMSG, "", "", "", "" },
	{ "Bearer realm=\"https://t\\", -EBADMSG, "", "", "", "" },
	{ "Bearer service=s, realm=", -EBADMSG, "", "", "", "" },
	{ "Bearer service=s, realm=, Basic realm=x", -EBADMSG, "", "", "", "" },
	{ "Basic realm=\xff", -EBADMSG, "", "", "", "" },
};

static void challenges_are_read(void **state)
{
	for (size_t i = 0; i < ARRAY_LEN(challenges); i++) {
		struct challenge c = { 0 };
		struct err err = { 0 };

		if (challenge_parse(challenges[i].value, &c, &err) != challenges[i].r)
			fail_msg("%s: not %d, %s %s %s", challenges[i].value, challenges[i].r,
				 c.scheme, c.realm, err.text);
		assert_string_equal(c.scheme, challenges[i].scheme);
		assert_string_equal(c.realm, challenges[i].realm);
		assert_string_equal(c.service, challenges[i].service);
		assert_string_equal(c.scope, challenges[i].scope);
		assert_int_equal(err.text[0] != '\0', challenges[i].r < 0);
	}
}

static int parse_long(const char *before, size_t len, const char *after)
{
	auto_free char *value = NULL, *many = malloc(len + 1);
	struct challenge c;

	assert_non_null(many);
	memset(many, 'x', len);
	many[len] = '\0';
	assert_true(asprintf(&value, "%s%s%s", before, many, after) > 0);
	return challenge_parse(value, &c, NULL);
}

static void values_that_are_too_long_are_refused(void **state)
{
	const struct challenge *c = NULL;

	assert_int_equal(parse_long("Bearer realm=\"", sizeof(c->realm) - 1, "\""), 1);
	assert_int_equal(parse_long("Bearer realm=\"", sizeof(c->realm), "\""), -EBADMSG);
	assert_int_equal(parse_long("Bearer realm=", sizeof(c->realm), ""), -EBADMSG);
	assert_int_equal(parse_long("Bearer realm=r,service=\"", sizeof(c->service) - 1, "\""), 1);
	assert_int_equal(parse_long("Bearer realm=r,service=\"", sizeof(c->service), "\""),
			 -EBADMSG);
	assert_int_equal(parse_long("Bearer realm=r,scope=\"", sizeof(c->scope), "\""), -EBADMSG);
	assert_int_equal(parse_long("Bearer realm=r,x=\"", 5000, "\""), -EBADMSG);
	assert_int_equal(parse_long("Negotiate ", 100000, "=, Basic realm=x"), 1);
	assert_int_equal(parse_long("", 100000, " realm=x, Basic realm=x"), 1);
}

/* ---- asking for tokens ---- */

static struct http *http;

static int start(void **state)
{
	struct err err = { 0 };

	httpd_environment(NULL);
	if (http_new(NULL, &http, &err) == 0)
		return 0;
	print_error("%s\n", err.text);
	return -1;
}

static int stop(void **state)
{
	http_freep(&http);
	return 0;
}

/* user and secret NULL: none. */
static struct auth *make(const char *user, const char *secret, bool identity_token)
{
	auto_credentials struct credentials c = { .user = user ? strdup(user) : NULL,
						  .secret = secret ? strdup(secret) : NULL,
						  .identity_token = identity_token,
						  .source = strdup("a test") };
	struct auth *auth = NULL;

	assert_int_equal(auth_new(http, &c, "repository:a/b:pull", &auth, NULL), 0);
	assert_null(c.secret);
	return auth;
}

/* A 401 with these headers ("www-authenticate: ...\n", each) came. */
static int challenged(struct auth *auth, const char *url, const char *headers, const char *used,
		      enum http_trouble *trouble, struct err *err)
{
	auto_http_response struct http_response response = { .status = 401 };

	*trouble = HTTP_OK;
	assert_int_equal(buf_puts(&response.headers, headers), 0);
	return auth_challenged(auth, url, &response, used, NULL, NULL, trouble, err);
}

/* A Bearer challenge that leads to this URL. */
static int led_to(struct auth *auth, const char *realm, const char *more, const char *used,
		  enum http_trouble *trouble, struct err *err)
{
	auto_free char *headers = NULL;

	assert_true(asprintf(&headers, "www-authenticate: Bearer realm=\"%s\"%s\n", realm, more) >
		    0);
	return challenged(auth, REGISTRY, headers, used, trouble, err);
}

static void assert_header(struct auth *auth, const char *value)
{
	auto_free char *header = auth_header(auth);

	if (!header || !value)
		assert_true(header == value);
	else
		assert_string_equal(header, value);
}

/* bWU6c2U6Y3JldA== is me:se:cret. */

static void basic_is_answered_once(void **state)
{
	static const char basic[] = "www-authenticate: Basic realm=\"x\"\n";
	auto_auth struct auth *auth = make("me", "se:cret", false),
			      *nobody = make(NULL, NULL, false);
	auto_auth struct auth *machine = make("me", "token", true);
	enum http_trouble trouble;
	struct err err = { 0 };

	assert_header(auth, NULL);
	assert_string_equal(auth_words(auth), "with credentials from a test");
	assert_int_equal(challenged(auth, REGISTRY, basic, NULL, &trouble, &err), 0);
	assert_header(auth, "Basic bWU6c2U6Y3JldA==");
	/* Another thread's request that was sent before. */
	assert_int_equal(challenged(auth, REGISTRY, basic, NULL, &trouble, &err), 0);
	assert_int_equal(challenged(auth, REGISTRY, basic, "Basic bWU6c2U6Y3JldA==", &trouble,
				    &err),
			 -EACCES);
	assert_words(&err, "user or password is wrong");
	assert_int_equal(trouble, HTTP_LASTING);

	assert_string_equal(auth_words(nobody), "without credentials");
	assert_int_equal(challenged(nobody, REGISTRY, basic, NULL, &trouble, &err), -EACCES);
	assert_words(&err, "it asks for user and password");
	assert_header(nobody, NULL);
	assert_int_equal(challenged(machine, REGISTRY, basic, NULL, &trouble, &err), -EACCES);
}

static void what_is_not_understood_is_refused(void **state)
{
	auto_auth struct auth *auth = make("me", "secret", false);
	enum http_trouble trouble;
	struct err err = { 0 };

	assert_int_equal(challenged(auth, REGISTRY, "", NULL, &trouble, &err), -EACCES);
	assert_words(&err, "no credentials that are known here");
	assert_int_equal(challenged(auth, REGISTRY, "www-authenticate: Digest realm=x\n", NULL,
				    &trouble, &err),
			 -EACCES);
	assert_int_equal(challenged(auth, REGISTRY, "www-authenticate: Bearer realm=\"x\n", NULL,
				    &trouble, &err),
			 -EBADMSG);
	assert_int_equal(trouble, HTTP_LASTING);
	assert_header(auth, NULL);
}

static void the_best_of_several_headers_counts(void **state)
{
	auto_httpd struct httpd *server = httpd_serve(
		ANSWER("/token", "200 OK", "{\"token\":\"abc\"}"));
	auto_auth struct auth *auth = make("me", "secret", false);
	auto_free char *headers = NULL;
	enum http_trouble trouble;

	assert_true(
		asprintf(&headers,
			 "www-authenticate: Negotiate\nwww-authenticate: Basic realm=\"x\"\n"
			 "www-authenticate: Broken realm=\"x\n"
			 "www-authenticate: Bearer realm=\"%s\"\nwww-authenticate: Basic realm=y\n",
			 httpd_url(server, "/token")) > 0);
	assert_int_equal(challenged(auth, REGISTRY, headers, NULL, &trouble, NULL), 0);
	assert_header(auth, "Bearer abc");
}

static void assert_asked(struct httpd *server, size_t n, const char *line,
			 const char *authorization)
{
	const char *request = httpd_request(server, n);
	auto_free char *header = NULL;

	if (strncmp(request, line, strlen(line)) != 0)
		fail_msg("it was not asked %s but %s", line, request);
	if (!authorization) {
		assert_null(strcasestr(request, "\r\nAuthorization:"));
		return;
	}
	assert_true(asprintf(&header, "\r\nAuthorization: %s\r\n", authorization) > 0);
	if (!strstr(request, header))
		fail_msg("%s is not in: %s", header, request);
}

static void a_token_is_asked_for(void **state)
{
	auto_httpd struct httpd *server =
		httpd_serve(ANSWER("/token?service=reg%20x&scope=repository%3Aa%2Fb%3Apull&scope=c ",
				   "200 OK", "{\"token\":\"a.b-c_d\",\"expires_in\":300}"),
			    ANSWER("/token?a=b&scope=repository%3Aa%2Fb%3Apull ", "200 OK",
				   "{\"access_token\":\"second\",\"token\":\"\"}"));
	auto_auth struct auth *auth = make(NULL, NULL, false);
	enum http_trouble trouble;

	assert_int_equal(led_to(auth, httpd_url(server, "/token"),
				",service=\"reg x\",scope=\"repository:a/b:pull  c\"", NULL,
				&trouble, NULL),
			 0);
	assert_asked(server, 0, "GET /token", NULL);
	assert_header(auth, "Bearer a.b-c_d");
	/* It is not enough; what is named nowhere else is asked for. */
	assert_int_equal(led_to(auth, httpd_url(server, "/token?a=b"), "", "Bearer a.b-c_d",
				&trouble, NULL),
			 0);
	assert_header(auth, "Bearer second");
	assert_int_equal(httpd_count(server), 2);
}

static void a_token_is_asked_for_with_user_and_password(void **state)
{
	auto_httpd struct httpd *server = httpd_serve(ANSWER("/", "200 OK", "{\"token\":\"abc\"}"));
	auto_auth struct auth *auth = make("me", "se:cret", false);
	enum http_trouble trouble;

	assert_int_equal(led_to(auth, httpd_url(server, "/"), ",service=s,scope=x", NULL, &trouble,
				NULL),
			 0);
	assert_asked(server, 0, "GET /?account=me&service=s&scope=x HTTP/1.1\r\n",
		     "Basic bWU6c2U6Y3JldA==");
	assert_header(auth, "Bearer abc");
}

static void an_identity_token_is_posted(void **state)
{
	auto_httpd struct httpd *server = httpd_serve(
		ANSWER("/oauth2", "200 OK", "{\"access_token\":\"abc\"}"));
	auto_auth struct auth *auth = make(NULL, "id/+=", true);
	enum http_trouble trouble;

	assert_int_equal(led_to(auth, httpd_url(server, "/oauth2"), ",service=s,scope=x", NULL,
				&trouble, NULL),
			 0);
	assert_asked(server, 0, "POST /oauth2 HTTP/1.1\r\n", NULL);
	assert_non_null(strstr(httpd_request(server, 0),
			       "\r\n\r\ngrant_type=refresh_token&service=s&client_id=overlaid"
			       "&refresh_token=id%2F%2B%3D&scope=x"));
	assert_header(auth, "Bearer abc");
}

static void a_token_that_is_valid_is_not_asked_for_again(void **state)
{
	static const char *const times[] = { "300", "9223372036854775807", "0", "-5", "\"soon\"",
					     "1e30" };

	for (size_t i = 0; i < ARRAY_LEN(times); i++) {
		auto_free char *body = NULL;
		auto_httpd struct httpd *server = NULL;
		auto_auth struct auth *auth = make(NULL, NULL, false);
		enum http_trouble trouble;

		assert_true(asprintf(&body, "{\"token\":\"abc\",\"expires_in\":%s}", times[i]) > 0);
		server = httpd_serve(ANSWER("/", "200 OK", body, .again = true));
		for (int asked = 0; asked < 3; asked++) {
			assert_int_equal(led_to(auth, httpd_url(server, "/"), "", NULL, &trouble,
						NULL),
					 0);
			assert_header(auth, "Bearer abc");
		}
		assert_int_equal(httpd_count(server), 1);
		/* It was sent and is not enough. */
		assert_int_equal(led_to(auth, httpd_url(server, "/"), "", "Bearer abc", &trouble,
					NULL),
				 0);
		assert_int_equal(httpd_count(server), 2);
	}
}

/* ---- answers that are no good ---- */

static void assert_refused(const char *head, const char *body, int code, enum http_trouble expected,
			   const char *words)
{
	auto_httpd struct httpd *server = httpd_serve(ANSWER("/token", head, body));
	auto_auth struct auth *auth = make("me", "secret", false);
	enum http_trouble trouble;
	struct err err = { 0 };
	int r = led_to(auth, httpd_url(server, "/token"), "", NULL, &trouble, &err);

	if (r != code || trouble != expected)
		fail_msg("%s: %d, trouble %d: %s", head, r, (int)trouble, err.text);
	assert_words(&err, words);
	assert_words(&err, "token server ");
	assert_null(strstr(err.text, "secret"));
	assert_header(auth, NULL);
}

static void answers_without_a_usable_token_are_refused(void **state)
{
	static const char *const useless[] = {
		"{}",
		"{\"token\":null}",
		"{\"token\":[\"a\"]}",
		"{\"token\":\"\"}",
		"{\"token\":\"a b\"}",
		"{\"token\":\"a\\r\\nX-Evil: 1\"}",
		"{\"token\":\"\\u00e4\"}",
		"{\"token\":\"\",\"access_token\":\"\\u007f\"}",
		"[\"token\"]",
		"\"token\"",
	};
	static const char *const broken[] = { "", "{", "<html>", "token", "{\"token\":\"a\"} x" };

	for (size_t i = 0; i < ARRAY_LEN(useless); i++)
		assert_refused("200 OK", useless[i], -EBADMSG, HTTP_LASTING, "no usable token");
	for (size_t i = 0; i < ARRAY_LEN(broken); i++)
		assert_refused("200 OK", broken[i], -EINVAL, HTTP_LASTING, "its answer");
}

static void a_token_is_at_most_as_long_as_is_allowed(void **state)
{
	static const struct {
		size_t len;
		int code;
	} cases[] = { { AUTH_TOKEN_MAX, 0 },
		      { AUTH_TOKEN_MAX + 1, -EBADMSG },
		      { AUTH_ANSWER_MAX, -EFBIG } };

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		auto_free char *body = NULL, *token = malloc(cases[i].len + 1);
		auto_httpd struct httpd *server = NULL;
		auto_auth struct auth *auth = make("me", "secret", false);
		enum http_trouble trouble;

		assert_non_null(token);
		memset(token, 't', cases[i].len);
		token[cases[i].len] = '\0';
		assert_true(asprintf(&body, "{\"token\":\"%s\"}", token) > 0);
		server = httpd_serve(ANSWER("/", "200 OK", body));
		assert_int_equal(led_to(auth, httpd_url(server, "/"), "", NULL, &trouble, NULL),
				 cases[i].code);
	}
}

static void statuses_say_whether_another_try_may_do(void **state)
{
	assert_refused("401 Unauthorized", "no", -EACCES, HTTP_LASTING,
		       "no token (status 401), asked with credentials from a test: are user and");
	assert_refused("403 Forbidden", "no", -EACCES, HTTP_LASTING, "status 403");
	assert_refused("400 Bad Request", "no", -EACCES, HTTP_LASTING, "status 400");
	assert_refused("404 Not Found", "no", -EREMOTEIO, HTTP_LASTING, "status 404");
	assert_refused("301 Moved", "no", -EREMOTEIO, HTTP_LASTING, "status 301");
	assert_refused("429 Too Many", "no", -EREMOTEIO, HTTP_PASSING, "status 429");
	assert_refused("500 Oh", "no", -EREMOTEIO, HTTP_PASSING, "status 500");
	assert_refused("503 Busy", "no", -EREMOTEIO, HTTP_PASSING, "status 503");
	assert_refused("200 OK\r\nContent-Length: 100", "{}", -ECONNRESET, HTTP_PASSING, "/token");
}

/* ---- where credentials may go ---- */

static void credentials_go_to_https_only(void **state)
{
	static const struct {
		const char *realm, *words;
	} cases[] = { { "http://token.example/", "http://token.example:80 is not https" },
		      { "http://127.0.0.1.example/", "is not https" },
		      { "http://localhost@token.example/", "is not https" },
		      { "ftp://token.example/", "is not https" },
		      { "/token", "is no URL" },
		      { "token.example/token", "is no URL" },
		      { "http://", "is no URL" } };
	auto_auth struct auth *auth = make("me", "secret", false);
	enum http_trouble trouble;

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct err err = { 0 };

		assert_int_equal(led_to(auth, cases[i].realm, "", NULL, &trouble, &err), -EPROTO);
		assert_int_equal(trouble, HTTP_LASTING);
		assert_words(&err, cases[i].words);
		assert_header(auth, NULL);
	}
}

/* All other tests ask a token server on loopback, from a registry that speaks https. */
static void a_plain_registry_may_have_a_plain_token_server_itself(void **state)
{
	auto_httpd struct httpd *server = httpd_serve(
		ANSWER("/token", "200 OK", "{\"token\":\"abc\"}"));
	auto_auth struct auth *auth = make("me", "secret", false);
	auto_free char *headers = NULL;
	enum http_trouble trouble;

	/* This machine as well, but not by a name that says so. */
	assert_true(asprintf(&headers,
			     "www-authenticate: Bearer realm=\"http://0.0.0.0%s/token\"\n",
			     strchr(httpd_host(server), ':')) > 0);
	assert_int_equal(challenged(auth, REGISTRY, headers, NULL, &trouble, NULL), -EPROTO);
	assert_int_equal(challenged(auth, "http://registry.example/v2/", headers, NULL, &trouble,
				    NULL),
			 -EPROTO);
	assert_int_equal(challenged(auth, "https://0.0.0.0/v2/", headers, NULL, &trouble, NULL),
			 -EPROTO);
	assert_int_equal(httpd_count(server), 0);
	assert_int_equal(challenged(auth, "http://0.0.0.0/v2/", headers, NULL, &trouble, NULL), 0);
	assert_header(auth, "Bearer abc");
}

static void a_redirect_takes_no_password_elsewhere(void **state)
{
	auto_httpd struct httpd *other = httpd_serve(ANSWER("/there",
							    "302 Found\r\nLocation: /then", NULL),
						     ANSWER("/then", "200 OK",
							    "{\"token\":\"abc\"}"));
	auto_free char *location = NULL;
	auto_httpd struct httpd *server = NULL;
	auto_auth struct auth *auth = make("me", "secret", false);
	enum http_trouble trouble;

	assert_true(asprintf(&location, "307 Elsewhere\r\nLocation: %s",
			     httpd_url(other, "/there")) > 0);
	server = httpd_serve(ANSWER("/token", "301 Moved\r\nLocation: here?a", NULL),
			     ANSWER("/here?a", location, NULL));
	assert_int_equal(led_to(auth, httpd_url(server, "/token"), "", NULL, &trouble, NULL), 0);
	assert_header(auth, "Bearer abc");
	assert_asked(server, 0, "GET /token", "Basic bWU6c2VjcmV0");
	assert_asked(server, 1, "GET /here?a ", "Basic bWU6c2VjcmV0");
	assert_asked(other, 0, "GET /there ", NULL);
	assert_asked(other, 1, "GET /then ", NULL);
}

static void a_redirect_takes_no_identity_token_elsewhere(void **state)
{
	auto_httpd struct httpd *other = httpd_serve(ANSWER("/", "200 OK", "{\"token\":\"abc\"}"));
	auto_free char *location = NULL;
	auto_httpd struct httpd *server = NULL;
	auto_auth struct auth *auth = make(NULL, "secret", true);
	enum http_trouble trouble;
	struct err err = { 0 };

	assert_true(asprintf(&location, "307 Elsewhere\r\nLocation: %s", httpd_url(other, "/")) >
		    0);
	server = httpd_serve(ANSWER("/token", "307 Here\r\nLocation: /here", NULL),
			     ANSWER("/here", location, NULL));
	assert_int_equal(led_to(auth, httpd_url(server, "/token"), "", NULL, &trouble, &err),
			 -EPROTO);
	assert_int_equal(trouble, HTTP_LASTING);
	assert_words(&err, "it leads to another server");
	assert_non_null(strstr(httpd_request(server, 1), "refresh_token=secret"));
	assert_int_equal(httpd_count(other), 0);
}

static void redirects_have_an_end(void **state)
{
	auto_httpd struct httpd *server =
		httpd_serve(ANSWER("/loop", "302 Found\r\nLocation: /loop", NULL, .again = true),
			    ANSWER("/file", "302 Found\r\nLocation: file:///etc/passwd", NULL));
	auto_auth struct auth *auth = make("me", "secret", false);
	enum http_trouble trouble;
	struct err err = { 0 };

	assert_int_equal(led_to(auth, httpd_url(server, "/loop"), "", NULL, &trouble, &err),
			 -ELOOP);
	assert_int_equal(trouble, HTTP_LASTING);
	assert_int_equal(httpd_count(server), 6);
	assert_int_equal(led_to(auth, httpd_url(server, "/file"), "", NULL, &trouble, &err),
			 -EPROTO);
	assert_words(&err, "scheme \"file\"");
}

static void a_token_server_that_is_not_there_may_come_back(void **state)
{
	auto_auth struct auth *auth = make("me", "secret", false);
	auto_free char *realm = NULL;
	enum http_trouble trouble;
	struct err err = { 0 };

	assert_true(asprintf(&realm, "http://%s/token", httpd_nobody()) > 0);
	assert_int_equal(led_to(auth, realm, "", NULL, &trouble, &err), -ECONNREFUSED);
	assert_int_equal(trouble, HTTP_PASSING);
	assert_words(&err, "token server http://127.0.0.1:");
}

/* ---- several threads ---- */

struct asker {
	struct auth *auth;
	struct httpd *server;
};

static void *ask(void *arg)
{
	const struct asker *a = arg;
	auto_http_response struct http_response response = { .status = 401 };
	enum http_trouble trouble;
	intptr_t r;

	(void)buf_printf(&response.headers, "www-authenticate: Bearer realm=\"http://%s/\"\n",
			 httpd_host(a->server));
	r = auth_challenged(a->auth, REGISTRY, &response, NULL, NULL, NULL, &trouble, NULL);
	return (void *)r;
}

static void one_token_serves_all_threads(void **state)
{
	auto_httpd struct httpd *server = httpd_serve(
		ANSWER("/", "200 OK", "{\"token\":\"abc\"}", .again = true));
	auto_auth struct auth *auth = make("me", "secret", false);
	struct asker asker = { .auth = auth, .server = server };
	pthread_t threads[THREADS];
	void *r;

	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, ask, &asker), 0);
	for (int i = 0; i < THREADS; i++) {
		assert_int_equal(pthread_join(threads[i], &r), 0);
		assert_null(r);
	}
	assert_int_equal(httpd_count(server), 1);
	assert_header(auth, "Bearer abc");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(challenges_are_read),
		cmocka_unit_test(values_that_are_too_long_are_refused),
		cmocka_unit_test(basic_is_answered_once),
		cmocka_unit_test(what_is_not_understood_is_refused),
		cmocka_unit_test(the_best_of_several_headers_counts),
		cmocka_unit_test(a_token_is_asked_for),
		cmocka_unit_test(a_token_is_asked_for_with_user_and_password),
		cmocka_unit_test(an_identity_token_is_posted),
		cmocka_unit_test(a_token_that_is_valid_is_not_asked_for_again),
		cmocka_unit_test(answers_without_a_usable_token_are_refused),
		cmocka_unit_test(a_token_is_at_most_as_long_as_is_allowed),
		cmocka_unit_test(statuses_say_whether_another_try_may_do),
		cmocka_unit_test(credentials_go_to_https_only),
		cmocka_unit_test(a_plain_registry_may_have_a_plain_token_server_itself),
		cmocka_unit_test(a_redirect_takes_no_password_elsewhere),
		cmocka_unit_test(a_redirect_takes_no_identity_token_elsewhere),
		cmocka_unit_test(redirects_have_an_end),
		cmocka_unit_test(a_token_server_that_is_not_there_may_come_back),
		cmocka_unit_test(one_token_serves_all_threads),
	};

	return cmocka_run_group_tests(tests, start, stop);
}
