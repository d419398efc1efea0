/* SPDX-License-Identifier: Apache-2.0 */
#include "graph/fetch/credentials.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "driver/base/base64.h"
#include "driver/base/fd.h"
#include "driver/base/json.h"
#include "driver/base/run.h"

#define DOCKER_KEY \
	"https://index.docker.io/v1/" /* what Docker calls docker.io in files and to helpers */

void secret_free(char **text)
{
	if (*text)
		explicit_bzero(*text, strlen(*text));
	free(*text);
	*text = NULL;
}

void secret_release(struct buf *b)
{
	if (b->data)
		explicit_bzero(b->data, b->cap);
	buf_release(b);
}

void credentials_release(struct credentials *c)
{
	int saved = errno;

	secret_free(&c->user);
	secret_free(&c->secret);
	free(c->source);
	*c = (struct credentials){ 0 };
	errno = saved;
}

/* ---- texts ---- */

/* "user:password" */
static int split(const char *text, struct credentials *ret, struct err *err)
{
	const char *colon = strchr(text, ':');

	if (!colon || colon == text)
		return fail(err, -EINVAL, "it is not USER:PASSWORD");
	ret->user = strndup(text, (size_t)(colon - text));
	ret->secret = strdup(colon + 1);
	return ret->user && ret->secret ? 0 : fail_oom(err);
}

int credentials_parse(const char *text, struct credentials *ret, struct err *err)
{
	auto_credentials struct credentials c = { .source = strdup("the command line") };
	int r = c.source ? split(text, &c, err) : fail_oom(err);

	if (r < 0)
		return r;
	*ret = c;
	c = (struct credentials){ 0 };
	return 0;
}

/* Docker's registry has three names. */
static const char *one_name(const char *host)
{
	static const char *const names[] = { "index.docker.io", "registry-1.docker.io" };

	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (strcmp(host, names[i]) == 0)
			return "docker.io";
	return host;
}

/* Whether a key of "auths", in one of its older forms too, means the host. */
static bool means_host(const char *key, const char *host)
{
	static const char *const schemes[] = { "https://", "http://" };
	char name[256];
	size_t len;

	for (size_t i = 0; i < ARRAY_LEN(schemes); i++) {
		if (strncmp(key, schemes[i], strlen(schemes[i])) == 0) {
			key += strlen(schemes[i]);
			len = strcspn(key, "/");
			break;
		}
		len = strlen(key);
	}
	if (len >= sizeof(name))
		return false;
	memcpy(name, key, len);
	name[len] = 0;
	return strcmp(one_name(name), one_name(host)) == 0;
}

/* ---- helpers ---- */

static bool is_helper_name(const char *name)
{
	return *name &&
	       strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") ==
		       strlen(name);
}

/* Docker's registry goes by its old name. */
static const char *helper_key(const char *host)
{
	return strcmp(one_name(host), "docker.io") == 0 ? DOCKER_KEY : host;
}

/* docker-credential-NAME VERB with `input`: its exit status, and what it wrote. */
static int ask_helper(const char *name, const char *verb, const char *input, struct buf *out,
		      struct err *err)
{
	char program[300];
	const char *const argv[] = { program, verb, NULL };
	const struct run_plan plan = { .argv = argv,
				       .input = input,
				       .input_len = strlen(input),
				       .timeout_ms = CREDENTIALS_HELPER_MS };
	int r;

	if (!is_helper_name(name) || strlen(name) > 200)
		return fail(err, -EINVAL, "\"%.100s\" is no name of a credential helper", name);
	(void)snprintf(program, sizeof(program), "docker-credential-%s", name);
	out->max = CREDENTIALS_HELPER_MAX;
	r = run_program(&plan, out, err);
	return r == -ENOENT ? fail(err, r, "the credential helper %s is not installed", program) :
			      r;
}

static bool says_not_found(const struct buf *out)
{
	return strstr(buf_text(out), "credentials not found") != NULL;
}

static int take_answer(const char *name, const struct buf *out, struct credentials *ret,
		       struct err *err)
{
	auto_json struct json *j = NULL;
	const char *user = "", *secret = "";
	int r = json_parse(buf_text(out), out->len, CREDENTIALS_HELPER_MAX, "its answer", &j, err);

	if (r == 0)
		r = json_need_string(j, "/Username", "its answer", &user, err);
	if (r == 0)
		r = json_need_string(j, "/Secret", "its answer", &secret, err);
	if (r < 0)
		return err_prefix(err, r, "docker-credential-%s", name);
	if (!*user && !*secret)
		return 0;
	ret->identity_token = strcmp(user, "<token>") == 0;
	ret->user = strdup(ret->identity_token ? "" : user);
	ret->secret = strdup(secret);
	if (!ret->user || !ret->secret ||
	    asprintf(&ret->source, "the credential helper docker-credential-%s", name) < 0)
		return fail_oom(err);
	explicit_bzero((char *)secret, strlen(secret));
	return 1;
}

static int get_from_helper(const char *name, const char *host, struct credentials *ret,
			   struct err *err)
{
	AUTO(secret_release) struct buf out = { 0 };
	int r = ask_helper(name, "get", helper_key(host), &out, err);

	if (r < 0)
		return r;
	if (r > 0)
		return says_not_found(&out) ?
			       0 :
			       fail(err, -EACCES, "docker-credential-%s get failed: %.200s", name,
				    buf_text(&out));
	return take_answer(name, &out, ret, err);
}

/* ---- entries of "auths" ---- */

static int decode_auth(const char *auth, struct credentials *ret, struct err *err)
{
	AUTO(secret_release) struct buf text = { 0 };
	int r = base64_decode(auth, &text, err);

	if (r == 0)
		r = split(buf_text(&text), ret, err);
	return r < 0 ? err_prefix(err, r, "\"auth\"") : 0;
}

/* 1, or 0 where the entry says nothing: docker leaves such where a helper knows. */
static int read_entry(const struct json *entry, const char *file, struct credentials *ret,
		      struct err *err)
{
	const char *auth = json_string_or(entry, "/auth", "");
	const char *token = json_string_or(entry, "/identitytoken", "");
	const char *user = json_string_or(entry, "/username", "");
	int r = 0;

	if (*auth)
		r = decode_auth(auth, ret, err);
	if (r == 0 && (*token || (!*auth && *user))) {
		secret_free(&ret->user);
		secret_free(&ret->secret);
		ret->identity_token = *token;
		ret->user = strdup(*token ? "" : user);
		ret->secret = strdup(*token ? token : json_string_or(entry, "/password", ""));
		if (!ret->user || !ret->secret)
			r = fail_oom(err);
	}
	if (r < 0 || !ret->user)
		return r;
	return asprintf(&ret->source, "%s", file) < 0 ? fail_oom(err) : 1;
}

/* HOST/a/b, HOST/a, HOST: the longest that is a key. */
static const struct json *find_entry(const struct json *auths, const char *host,
				     const char *repository)
{
	char key[600];
	char *slash;

	(void)snprintf(key, sizeof(key), "%s/%s", host, repository);
	while ((slash = strrchr(key, '/'))) {
		const struct json *entry = json_get_key(auths, key);

		if (entry)
			return entry;
		*slash = 0;
	}
	for (size_t i = 0; auths && auths->type == JSON_OBJECT && i < auths->count; i++)
		if (means_host(auths->keys[i], host))
			return auths->items[i];
	return NULL;
}

/* ---- files ---- */

/* 1, or 0 where it is not there. */
static int load(const char *path, struct json **ret, struct err *err)
{
	AUTO(secret_release) struct buf text = { .max = CREDENTIALS_FILE_MAX };
	int r = read_file_at(AT_FDCWD, path, &text, err);

	if (r == -ENOENT || r == -ENOTDIR)
		return 0;
	if (r < 0)
		return r;
	/* Docker makes empty ones. */
	if (strspn(buf_text(&text), " \t\r\n") == text.len)
		return 0;
	r = json_parse(text.data, text.len, CREDENTIALS_FILE_MAX, path, ret, err);
	return r < 0 ? r : 1;
}

static void wipe_strings(const struct json *j)
{
	if (j->string)
		explicit_bzero(j->string, strlen(j->string));
	for (size_t i = 0; i < j->count; i++)
		wipe_strings(j->items[i]);
}

static void wipe_json(struct json **j)
{
	if (*j)
		wipe_strings(*j);
	json_freep(j);
}

static const char *helper_of(const struct json *file, const char *host)
{
	const struct json *helpers = json_get(file, "/credHelpers");

	for (size_t i = 0; helpers && helpers->type == JSON_OBJECT && i < helpers->count; i++)
		if (means_host(helpers->keys[i], host))
			return json_string_or(helpers->items[i], "", NULL);
	return NULL;
}

/* Who keeps what is stored for the host; NULL: the file itself. */
static const char *keeper_of(const struct json *file, const char *host)
{
	const char *helper = helper_of(file, host);

	return helper ? helper : json_string_or(file, "/credsStore", NULL);
}

static int find_in(const char *path, const char *host, const char *repository,
		   struct credentials *ret, struct err *err)
{
	AUTO(wipe_json) struct json *file = NULL;
	const struct json *entry;
	const char *helper, *store;
	int r = load(path, &file, err);

	if (r <= 0)
		return r;
	helper = helper_of(file, host);
	store = json_string_or(file, "/credsStore", NULL);
	if (helper)
		r = get_from_helper(helper, host, ret, err);
	else
		r = 0;
	entry = find_entry(json_get(file, "/auths"), host, repository);
	if (r == 0 && entry)
		r = read_entry(entry, path, ret, err);
	if (r == 0 && store && !helper)
		r = get_from_helper(store, host, ret, err);
	return r < 0 ? err_prefix(err, r, "%s", path) : r;
}

/* A path below what an environment variable names, or below a default; NULL in *ret where neither is. */
static int path_below(const char *variable, const char *fallback, const char *name, char **ret,
		      struct err *err)
{
	const char *dir = secure_getenv(variable);

	*ret = NULL;
	if (!dir || !*dir)
		dir = fallback;
	if (!dir)
		return 0;
	return asprintf(ret, "%s/%s", dir, name) < 0 ? fail_oom(err) : 0;
}

static int runtime_file(char **ret, struct err *err)
{
	char fallback[64];

	(void)snprintf(fallback, sizeof(fallback), "/run/containers/%u", (unsigned int)getuid());
	if (secure_getenv("XDG_RUNTIME_DIR") && *secure_getenv("XDG_RUNTIME_DIR"))
		return path_below("XDG_RUNTIME_DIR", NULL, "containers/auth.json", ret, err);
	return path_below("XDG_RUNTIME_DIR", fallback, "auth.json", ret, err);
}

static int home_file(const char *variable, const char *below_home, const char *name, char **ret,
		     struct err *err)
{
	auto_free char *fallback = NULL;
	int r = path_below("HOME", NULL, below_home, &fallback, err);

	return r < 0 ? r : path_below(variable, fallback, name, ret, err);
}

/* The `number`th of the files; NULL in *ret where the environment names none. */
static int file_number(size_t number, char **ret, struct err *err)
{
	switch (number) {
	case 0:
		return runtime_file(ret, err);
	case 1:
		return home_file("XDG_CONFIG_HOME", ".config", "containers/auth.json", ret, err);
	default:
		return home_file("DOCKER_CONFIG", ".docker", "config.json", ret, err);
	}
}

#define FILES 3

static const char *given_file(const char *authfile)
{
	const char *named = secure_getenv("REGISTRY_AUTH_FILE");

	if (authfile)
		return authfile;
	return named && *named ? named : NULL;
}

int credentials_find(const char *authfile, const char *host, const char *repository,
		     struct credentials *ret, struct err *err)
{
	auto_credentials struct credentials c = { 0 };
	const char *given = given_file(authfile);
	int r = 0;

	if (given && access(given, F_OK) < 0)
		return fail(err, -errno, "the authentication file %s: %m", given);
	if (given)
		r = find_in(given, host, repository, &c, err);
	for (size_t i = 0; !given && r == 0 && i < FILES; i++) {
		auto_free char *path = NULL;

		r = file_number(i, &path, err);
		if (r == 0 && path)
			r = find_in(path, host, repository, &c, err);
	}
	if (r <= 0)
		return r;
	*ret = c;
	c = (struct credentials){ 0 };
	return 1;
}

/* ---- changing ---- */

static int open_for_change(const char *authfile, char **ret_path, struct json **ret,
			   struct err *err)
{
	const char *given = given_file(authfile);
	auto_free char *path = NULL;
	int r = 0;

	if (given)
		path = strdup(given);
	else
		r = runtime_file(&path, err);
	if (r == 0 && !path)
		r = fail_oom(err);
	if (r == 0)
		r = load(path, ret, err);
	if (r == 0)
		*ret = json_new_object();
	if (r >= 0 && (!*ret || (*ret)->type != JSON_OBJECT))
		r = fail(err, -EINVAL, "%s: it holds no JSON object", path);
	if (r < 0)
		return r;
	*ret_path = take_ptr(path);
	return 0;
}

static int save(const char *path, const struct json *file, struct err *err)
{
	AUTO(secret_release) struct buf text = { 0 };
	auto_free char *dir = strdup(path);
	char *slash;
	int r = dir ? json_print(file, 8, &text, err) : fail_oom(err);

	if (r < 0)
		return r;
	slash = strrchr(dir, '/');
	if (slash && slash != dir) {
		*slash = 0;
		r = mkdir_parents(dir, 0700, err);
	}
	if (r == 0 && buf_putc(&text, '\n') < 0)
		r = buf_status(&text, err);
	return r < 0 ? r :
		       replace_file_at(AT_FDCWD, path, text.data, text.len, REPLACE_DURABLE, err);
}

/* The objects that hold it are known to be there or made. */
static struct json *auths_of(struct json **file)
{
	struct json *auths = (struct json *)json_get(*file, "/auths");

	if (auths && auths->type == JSON_OBJECT)
		return auths;
	*file = json_set(*file, "auths", json_new_object());
	return (struct json *)json_get(*file, "/auths");
}

static int store_by_helper(const char *name, const char *host, const char *user, const char *secret,
			   struct err *err)
{
	AUTO(secret_release) struct buf text = { 0 }, out = { 0 };
	AUTO(wipe_json) struct json *j = json_new_object();
	int r;

	j = json_set(j, "ServerURL", json_new_string(helper_key(host)));
	j = json_set(j, "Username", json_new_string(user));
	j = json_set(j, "Secret", json_new_string(secret));
	r = json_print(j, 0, &text, err);
	if (r == 0)
		r = ask_helper(name, "store", buf_text(&text), &out, err);
	return r > 0 ? fail(err, -EACCES, "docker-credential-%s store failed: %.200s", name,
			    buf_text(&out)) :
		       r;
}

static int store_in_file(struct json **file, const char *host, const char *user, const char *secret,
			 struct err *err)
{
	AUTO(secret_release) struct buf text = { 0 }, auth = { 0 };
	struct json *entry = json_new_object();
	struct json *auths = auths_of(file);

	(void)buf_printf(&text, "%s:%s", user, secret);
	if (buf_status(&text, err) < 0 || base64_encode(text.data, text.len, &auth) < 0)
		return fail_oom(err);
	entry = json_set(entry, "auth", json_new_string(buf_text(&auth)));
	if (!auths || !entry || json_put(auths, host, entry) < 0)
		return fail_oom(err);
	return 0;
}

int credentials_store(const char *authfile, const char *host, const char *user, const char *secret,
		      char **ret_file, struct err *err)
{
	AUTO(wipe_json) struct json *file = NULL;
	auto_free char *path = NULL;
	const char *helper;
	int r;

	if (strchr(user, ':') || !*user)
		return fail(err, -EINVAL, "a user name is not empty, and has no colon");
	r = open_for_change(authfile, &path, &file, err);
	if (r < 0)
		return r;
	helper = keeper_of(file, host);
	r = helper ? store_by_helper(helper, host, user, secret, err) :
		     store_in_file(&file, host, user, secret, err);
	if (r == 0 && !helper)
		r = save(path, file, err);
	if (r < 0)
		return r;
	*ret_file = take_ptr(path);
	return 0;
}

static int forget_in_file(struct json *file, const char *host)
{
	struct json *auths = (struct json *)json_get(file, "/auths");
	int found = 0;

	for (size_t i = 0; auths && auths->type == JSON_OBJECT && i < auths->count;) {
		if (host && !means_host(auths->keys[i], host)) {
			i++;
			continue;
		}
		(void)json_remove(auths, auths->keys[i]);
		found = 1;
	}
	return found;
}

static int forget_by_helper(const char *name, const char *host, struct err *err)
{
	AUTO(secret_release) struct buf out = { 0 };
	int r = ask_helper(name, "erase", helper_key(host), &out, err);

	if (r > 0)
		return says_not_found(&out) ?
			       0 :
			       fail(err, -EACCES, "docker-credential-%s erase failed: %.200s", name,
				    buf_text(&out));
	return r < 0 ? r : 1;
}

int credentials_forget(const char *authfile, const char *host, char **ret_file, struct err *err)
{
	AUTO(wipe_json) struct json *file = NULL;
	auto_free char *path = NULL;
	const char *helper;
	int by_helper = 0, in_file = 0;
	int r = open_for_change(authfile, &path, &file, err);

	if (r < 0)
		return r;
	helper = host ? keeper_of(file, host) : NULL;
	if (helper)
		by_helper = forget_by_helper(helper, host, err);
	if (by_helper < 0)
		return by_helper;
	in_file = forget_in_file(file, host);
	r = in_file ? save(path, file, err) : 0;
	if (r < 0)
		return r;
	*ret_file = take_ptr(path);
	return by_helper || in_file;
}
