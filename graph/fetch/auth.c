/* SPDX-License-Identifier: Apache-2.0 */
#include "graph/fetch/auth.h"

#include <ctype.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "driver/base/base64.h"
#include "driver/base/clock.h"
#include "driver/base/json.h"
#include "graph/fetch/registries.h"

#define EXPIRES_STANDARD 60 /* seconds, of a token that does not say */
#define EXPIRES_MAX	 86400
#define REDIRECTS_MAX	 5

struct auth {
	struct http *http;
	struct credentials credentials;
	char *scope;
	char *words;
	pthread_mutex_t lock;
	char *header;	  /* under lock; NULL: nothing known yet */
	int64_t until_ns; /* of a token, by clock_ns; 0: for good */
};

/* ---- challenges ---- */

static bool is_token_char(char c)
{
	return isalnum((unsigned char)c) || (c && strchr("!#$%&'*+-.^_`|~/=", c));
}

static const char *skip_spaces(const char *p)
{
	return p + strspn(p, " \t");
}

/* A token or a quoted string, into ret. NULL: it is neither, or too long. */
static const char *read_value(const char *p, char *ret, size_t size)
{
	bool quoted = *p == '"';
	size_t len = 0;

	for (p += quoted; *p && (quoted ? *p != '"' : is_token_char(*p)); p++) {
		if (quoted && *p == '\\' && p[1])
			p++;
		if (len + 1 >= size)
			return NULL;
		ret[len++] = *p;
	}
	ret[len] = '\0';
	if (quoted)
		return *p == '"' ? p + 1 : NULL;
	return len ? p : NULL;
}

/* NAME=VALUE: where it ends; p itself where none stands there; NULL: malformed. */
static const char *read_parameter(const char *p, struct challenge *c)
{
	char name[32], other[2048];
	size_t len = strcspn(p, "= \t,\"");
	const char *equals = skip_spaces(p + len);
	char *to = other;
	size_t size = sizeof(other), at;

	if (*equals != '=' || len == 0)
		return p;
	/* One that is cut is none of those below. */
	for (at = 0; at < len && at + 1 < sizeof(name); at++)
		name[at] = (char)tolower((unsigned char)p[at]);
	name[at] = '\0';
	if (strcmp(name, "realm") == 0)
		to = c->realm, size = sizeof(c->realm);
	else if (strcmp(name, "service") == 0)
		to = c->service, size = sizeof(c->service);
	else if (strcmp(name, "scope") == 0)
		to = c->scope, size = sizeof(c->scope);
	return read_value(skip_spaces(equals + 1), to, size);
}

/* The word that some schemes have in place of parameters (RFC 9110, token68): where it ends; p itself where
 * none stands there. */
static const char *skip_word(const char *p)
{
	const char *end = p;

	while (isalnum((unsigned char)*end) || (*end && strchr("-._~+/", *end)))
		end++;
	end += strspn(end, "=");
	end = skip_spaces(end);
	return *end && *end != ',' ? p : end;
}

/* One challenge: its scheme and parameters. Where it ends; NULL: malformed. */
static const char *read_challenge(const char *p, struct challenge *c)
{
	size_t len = strcspn(p, " \t,");
	const char *next;

	*c = (struct challenge){ 0 };
	for (size_t i = 0; i < len && i + 1 < sizeof(c->scheme); i++)
		c->scheme[i] = (char)tolower((unsigned char)p[i]);
	p = skip_spaces(p + len);
	next = skip_word(p);
	if (next != p)
		return next + strspn(next, ", \t");
	for (;;) {
		next = read_parameter(p, c);
		if (!next)
			return NULL;
		if (next == p)
			break;
		p = skip_spaces(next);
		p += strspn(p, ", \t");
	}
	return p + strspn(p, ", \t");
}

int challenge_parse(const char *value, struct challenge *ret, struct err *err)
{
	struct challenge basic = { 0 }, c;
	const char *p = value + strspn(value, ", \t");

	while (*p) {
		const char *next = read_challenge(p, &c);

		if (!next || next == p)
			return fail(
				err, -EBADMSG,
				"it asks for credentials in a way that cannot be read: \"%.200s\"",
				value);
		if (strcmp(c.scheme, "bearer") == 0 && c.realm[0]) {
			*ret = c;
			return 1;
		}
		if (strcmp(c.scheme, "basic") == 0 && !basic.scheme[0])
			basic = c;
		p = next;
	}
	if (!basic.scheme[0])
		return 0;
	*ret = basic;
	return 1;
}

/* ---- one registry's ---- */

int auth_new(struct http *http, struct credentials *credentials, const char *scope,
	     struct auth **ret, struct err *err)
{
	AUTO(auth_freep) struct auth *auth = calloc(1, sizeof(*auth));

	if (!auth)
		return fail_oom(err);
	(void)pthread_mutex_init(&auth->lock, NULL);
	auth->http = http;
	auth->credentials = *credentials;
	*credentials = (struct credentials){ 0 };
	auth->scope = strdup(scope ? scope : "");
	if (asprintf(&auth->words, "%s%s",
		     auth->credentials.secret ? "with credentials from " : "without credentials",
		     auth->credentials.secret ? auth->credentials.source : "") < 0)
		auth->words = NULL;
	if (!auth->scope || !auth->words)
		return fail_oom(err);
	*ret = take_ptr(auth);
	return 0;
}

void auth_freep(struct auth **at)
{
	struct auth *auth = *at;

	if (!auth)
		return;
	credentials_release(&auth->credentials);
	secret_free(&auth->header);
	free(auth->scope);
	free(auth->words);
	(void)pthread_mutex_destroy(&auth->lock);
	free(auth);
	*at = NULL;
}

const char *auth_words(const struct auth *auth)
{
	return auth->words;
}

char *auth_header(struct auth *auth)
{
	char *copy;

	(void)pthread_mutex_lock(&auth->lock);
	copy = auth->header ? strdup(auth->header) : NULL;
	(void)pthread_mutex_unlock(&auth->lock);
	return copy;
}

/* "Basic ...": user and password of the credentials. NULL: out of memory. */
static char *basic_header(const struct credentials *c)
{
	AUTO(secret_release) struct buf text = { .max = CREDENTIALS_FILE_MAX };
	AUTO(secret_release) struct buf header = { .max = 2 * CREDENTIALS_FILE_MAX };

	(void)buf_printf(&text, "%s:%s", c->user ? c->user : "", c->secret);
	(void)buf_puts(&header, "Basic ");
	if (base64_encode(buf_text(&text), text.len, &header) < 0 || text.status < 0)
		return NULL;
	return buf_take(&header);
}

static bool has_password(const struct auth *auth)
{
	return auth->credentials.secret && !auth->credentials.identity_token;
}

/* ---- tokens ---- */

static void add_query(struct buf *b, const char *name, const char *value)
{
	(void)buf_printf(b, "%s%s=", b->len ? "&" : "", name);
	for (const unsigned char *p = (const unsigned char *)value; *p; p++)
		(void)(isalnum(*p) || strchr("-._~", *p) ? buf_putc(b, (char)*p) :
							   buf_printf(b, "%%%02X", *p));
}

/* Scopes are a list with spaces; each is a parameter of its own. */
static void add_scopes(struct buf *b, const char *scopes)
{
	char one[2048];

	for (const char *p = scopes; *p; p += strspn(p, " ")) {
		size_t len = strcspn(p, " ");

		if (len && len < sizeof(one)) {
			memcpy(one, p, len);
			one[len] = '\0';
			add_query(b, "scope", one);
		}
		p += len;
	}
}

/* The host of an origin, without its port; the caller's. */
static char *host_of(const char *origin)
{
	const char *from = strstr(origin, "://"), *port;

	from = from ? from + 3 : origin;
	port = strrchr(from, ':');
	return strndup(from, port ? (size_t)(port - from) : strlen(from));
}

/* Whether credentials may go to the realm: see the head of auth.h. */
static int check_realm(const char *realm, const char *registry_url, struct err *err)
{
	auto_free char *origin = http_origin(realm), *registry = http_origin(registry_url);
	auto_free char *host = origin ? host_of(origin) : NULL;
	auto_free char *home = registry ? host_of(registry) : NULL;

	if (!host)
		return fail(err, -EPROTO, "its token server \"%.*s\" is no URL",
			    (int)(strcspn(realm, "?") < 200 ? strcspn(realm, "?") : 200), realm);
	if (strncmp(origin, "https://", 8) == 0)
		return 0;
	if (strncmp(origin, "http://", 7) == 0 &&
	    (registries_is_loopback(host) ||
	     (home && strcmp(host, home) == 0 && strncmp(registry, "http://", 7) == 0)))
		return 0;
	return fail(
		err, -EPROTO,
		"its token server %s is not https: credentials and tokens are not sent in the clear",
		origin);
}

/* Letters, digits and signs only: it becomes part of a header. */
static bool is_token(const char *text)
{
	size_t len = strlen(text);

	for (size_t i = 0; i < len; i++)
		if (text[i] <= ' ' || text[i] > '~')
			return false;
	return len > 0 && len <= AUTH_TOKEN_MAX;
}

static int read_token(const struct http_response *response, char **ret_header, int64_t *ret_seconds,
		      struct err *err)
{
	auto_json struct json *j = NULL;
	const char *token;
	int r = json_parse(response->body.data, response->body.len, AUTH_ANSWER_MAX, "its answer",
			   &j, err);

	if (r < 0)
		return r;
	token = json_string_or(j, "/token", "");
	if (!token[0])
		token = json_string_or(j, "/access_token", "");
	if (!is_token(token))
		return fail(err, -EBADMSG, "its answer has no usable token");
	*ret_seconds = json_int_or(j, "/expires_in", EXPIRES_STANDARD);
	if (asprintf(ret_header, "Bearer %s", token) < 0)
		return fail_oom(err);
	return 0;
}

/* What the token server says that it does not give. */
static int judge(const struct auth *auth, const struct http_response *response,
		 enum http_trouble *trouble, struct err *err)
{
	int status = response->status;

	*trouble = status == 429 || status >= 500 ? HTTP_PASSING : HTTP_LASTING;
	if (status == 200)
		return 0;
	if (status == 401 || status == 403 || status == 400)
		return fail(err, -EACCES, "it gives no token (status %d), asked %s%s", status,
			    auth->words,
			    auth->credentials.secret ? ": are user and password right?" : "");
	return fail(err, -EREMOTEIO, "it gives no token (status %d)", status);
}

struct token_request {
	char *url;
	struct buf form; /* of a POST; else empty */
	char *basic;	 /* header, or NULL */
};

static void token_request_release(struct token_request *t)
{
	free(t->url);
	secret_release(&t->form);
	secret_free(&t->basic);
}

static int build_token_request(struct auth *auth, const struct challenge *c,
			       struct token_request *ret, struct err *err)
{
	auto_buf struct buf query = { .max = 65536 };
	const char *scopes = c->scope[0] ? c->scope : auth->scope;
	bool post = auth->credentials.secret && auth->credentials.identity_token;

	ret->form.max = CREDENTIALS_FILE_MAX;
	if (post) {
		add_query(&ret->form, "grant_type", "refresh_token");
		add_query(&ret->form, "service", c->service);
		add_query(&ret->form, "client_id", "overlaid");
		add_query(&ret->form, "refresh_token", auth->credentials.secret);
		add_query(&ret->form, "scope", scopes);
		ret->url = strdup(c->realm);
		return ret->url && ret->form.status >= 0 ? 0 : fail_oom(err);
	}
	if (has_password(auth)) {
		auto_free char *value = basic_header(&auth->credentials);

		if (!value || asprintf(&ret->basic, "Authorization: %s", value) < 0)
			return fail_oom(err);
		if (auth->credentials.user)
			add_query(&query, "account", auth->credentials.user);
	}
	if (c->service[0])
		add_query(&query, "service", c->service);
	add_scopes(&query, scopes);
	if (asprintf(&ret->url, "%s%s%s", c->realm,
		     !query.len		   ? "" :
		     strchr(c->realm, '?') ? "&" :
					     "?",
		     buf_text(&query)) < 0)
		ret->url = NULL;
	return ret->url && query.status >= 0 ? 0 : fail_oom(err);
}

/* Asks, following redirects; what is secret goes to the realm's origin only. */
static int ask(struct auth *auth, struct token_request *t, const struct http_trust *trust,
	       const atomic_bool *cancelled, struct http_response *ret, enum http_trouble *trouble,
	       struct err *err)
{
	auto_free char *home = http_origin(t->url);

	for (int hop = 0;; hop++) {
		auto_free char *origin = http_origin(t->url);
		auto_free char *location = NULL;
		char *next = NULL;
		bool same = home && origin && strcmp(home, origin) == 0;
		const char *const headers[] = { t->basic };
		const struct http_request request = { .url = t->url,
						      .form = t->form.len ? buf_text(&t->form) :
									    NULL,
						      .headers = headers,
						      .header_count = t->basic && same,
						      .trust = trust,
						      .body_max = AUTH_ANSWER_MAX,
						      .max_seconds = AUTH_ANSWER_SECONDS,
						      .cancelled = cancelled };
		int r;

		if (t->form.len && !same)
			return fail(err, -EPROTO,
				    "it leads to another server, and is not followed");
		http_response_release(ret);
		r = http_request(auth->http, &request, ret, trouble, err);
		if (r < 0 || ret->status < 300 || ret->status >= 400 ||
		    !(location = http_header(ret, "location", 0)))
			return r;
		*trouble = HTTP_LASTING;
		if (hop == REDIRECTS_MAX)
			return fail(err, -ELOOP, "it leads on and on");
		r = http_resolve(t->url, location, &next, err);
		if (r >= 0 && strncmp(t->url, "https:", 6) == 0)
			r = check_realm(next, "https:", err);
		if (r < 0) {
			free(next);
			return r;
		}
		free(t->url);
		t->url = next;
	}
}

static int get_token(struct auth *auth, const struct challenge *c, const char *registry_url,
		     const struct http_trust *trust, const atomic_bool *cancelled,
		     enum http_trouble *trouble, struct err *err)
{
	AUTO(token_request_release) struct token_request t = { 0 };
	auto_http_response struct http_response response = { 0 };
	auto_free char *words = http_url_words(c->realm);
	auto_free char *here = http_origin(registry_url), *there = http_origin(c->realm);
	const struct http_trust elsewhere = { .skip_verify = trust && trust->skip_verify,
					      .authorities = trust ? trust->authorities : NULL,
					      .authorities_len = trust ? trust->authorities_len :
									 0 };
	int64_t seconds = 0;
	char *header;
	int r = check_realm(c->realm, registry_url, err);

	if (r >= 0)
		r = build_token_request(auth, c, &t, err);
	if (r < 0)
		return r;
	/* The registry's client certificate is not shown to another server. */
	r = ask(auth, &t, here && there && strcmp(here, there) == 0 ? trust : &elsewhere, cancelled,
		&response, trouble, err);
	if (r >= 0)
		r = judge(auth, &response, trouble, err);
	if (r >= 0) {
		*trouble = HTTP_LASTING;
		r = read_token(&response, &header, &seconds, err);
	}
	if (r < 0)
		return err_prefix(err, r, "token server %s", words ? words : "");
	secret_free(&auth->header);
	auth->header = header;
	if (seconds <= 0 || seconds > EXPIRES_MAX)
		seconds = seconds <= 0 ? EXPIRES_STANDARD : EXPIRES_MAX;
	auth->until_ns = clock_ns() + seconds * CLOCK_SECOND_NS;
	return 0;
}

/* As challenge_parse, of all headers: one that cannot be read is no harm where another one can. */
static int pick_challenge(const struct http_response *response, struct challenge *ret,
			  struct err *err)
{
	struct challenge found = { 0 }, c;
	char *value;
	int failed = 0;

	for (size_t n = 0; (value = http_header(response, "www-authenticate", n)); n++) {
		int r = challenge_parse(value, &c, err);

		free(value);
		if (r < 0)
			failed = r;
		if (r > 0 && strcmp(found.scheme, "bearer") != 0)
			found = c;
	}
	if (!found.scheme[0])
		return failed;
	*ret = found;
	return 1;
}

static int answer_locked(struct auth *auth, const char *url, const struct challenge *c,
			 const char *used, const struct http_trust *trust,
			 const atomic_bool *cancelled, enum http_trouble *trouble, struct err *err)
{
	/* Another thread was faster. */
	if (auth->header && (!used || strcmp(auth->header, used) != 0) &&
	    (!auth->until_ns || clock_ns() < auth->until_ns))
		return 0;
	if (strcmp(c->scheme, "bearer") == 0)
		return get_token(auth, c, url, trust, cancelled, trouble, err);
	if (!has_password(auth))
		return fail(err, -EACCES, "it asks for user and password");
	if (auth->header && strncmp(auth->header, "Basic ", 6) == 0)
		return fail(err, -EACCES, "user or password is wrong");
	secret_free(&auth->header);
	auth->until_ns = 0;
	auth->header = basic_header(&auth->credentials);
	return auth->header ? 0 : fail_oom(err);
}

int auth_challenged(struct auth *auth, const char *url, const struct http_response *response,
		    const char *used, const struct http_trust *trust, const atomic_bool *cancelled,
		    enum http_trouble *trouble, struct err *err)
{
	struct challenge c;
	int r = pick_challenge(response, &c, err);

	*trouble = HTTP_LASTING;
	if (r < 0)
		return r;
	if (r == 0)
		return fail(err, -EACCES, "it asks for no credentials that are known here");
	(void)pthread_mutex_lock(&auth->lock);
	r = answer_locked(auth, url, &c, used, trust, cancelled, trouble, err);
	(void)pthread_mutex_unlock(&auth->lock);
	return r;
}
