/* SPDX-License-Identifier: Apache-2.0 */
#include "graph/fetch/registries.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "driver/base/fd.h"
#include "graph/fetch/registries_internal.h"
#include "graph/name/reference.h"

#define HUB	 "docker.io"
#define HUB_HOST "registry-1.docker.io"

/* ---- releasing ---- */

static void strings_free(char **items, size_t count)
{
	for (size_t i = 0; i < count; i++)
		free(items[i]);
	free(items);
}

static void endpoint_release(struct endpoint *e)
{
	free(e->host);
	free(e->path);
	free(e->repository);
	free(e->registry);
	free(e->namespace);
	strings_free(e->ca_files, e->ca_count);
	free(e->client_cert);
	free(e->client_key);
	strings_free(e->headers, e->header_count);
}

void endpoints_release(struct endpoints *endpoints)
{
	int saved = errno;

	for (size_t i = 0; i < endpoints->count; i++)
		endpoint_release(&endpoints->items[i]);
	free(endpoints->items);
	*endpoints = (struct endpoints){ 0 };
	errno = saved;
}

void names_release(struct names *names)
{
	int saved = errno;

	strings_free(names->items, names->count);
	*names = (struct names){ 0 };
	errno = saved;
}

void registries_release(struct registries *registries)
{
	int saved = errno;

	for (size_t i = 0; i < registries->count; i++) {
		free(registries->files[i].path);
		json_free(registries->files[i].tree);
	}
	free(registries->files);
	*registries = (struct registries){ 0 };
	errno = saved;
}

void registries_freep(struct registries **registries)
{
	int saved = errno;

	if (*registries)
		registries_release(*registries);
	free(*registries);
	*registries = NULL;
	errno = saved;
}

/* ---- files and directories ---- */

int registries_read(const char *path, struct buf *text, struct err *err)
{
	int r = read_file_at(AT_FDCWD, path, text, err);

	if (r == -ENOENT || r == -ENOTDIR)
		return 0;
	return r < 0 ? r : 1;
}

int registries_path(const struct registries *registries, const char *path, char **ret,
		    struct err *err)
{
	const char *prefix = registries->options->prefix;

	return registries_text(err, ret, "%s%s", prefix ? prefix : "", path);
}

int registries_home_path(const struct registries *registries, const char *name, char **ret,
			 struct err *err)
{
	const char *config = secure_getenv("XDG_CONFIG_HOME"), *home = secure_getenv("HOME");
	const char *prefix = registries->options->prefix ? registries->options->prefix : "";

	if (config && *config)
		return registries_text(err, ret, "%s%s/containers/%s", prefix, config, name);
	if (home && *home)
		return registries_text(err, ret, "%s%s/.config/containers/%s", prefix, home, name);
	*ret = NULL;
	return 0;
}

int registries_text(struct err *err, char **ret, const char *fmt, ...)
{
	va_list ap;
	char *text;
	int n;

	va_start(ap, fmt);
	n = vasprintf(&text, fmt, ap);
	va_end(ap);
	if (n < 0)
		return fail_oom(err);
	*ret = text;
	return 0;
}

int strings_add(char ***items, size_t *count, char *text, struct err *err)
{
	char **grown = text ? reallocarray(*items, *count + 1, sizeof(*grown)) : NULL;

	if (!grown) {
		free(text);
		return fail_oom(err);
	}
	*items = grown;
	grown[(*count)++] = text;
	return 0;
}

bool registries_ends_in(const char *name, const char *suffix)
{
	size_t len = strlen(name), suffix_len = strlen(suffix);

	return len > suffix_len && strcmp(name + len - suffix_len, suffix) == 0;
}

struct listing {
	const char *const *suffixes;
	struct names names;
	struct err *err;
};

static int list_name(void *arg, const char *name)
{
	struct listing *l = arg;
	bool wanted = false;

	for (size_t i = 0; l->suffixes[i] && !wanted; i++)
		wanted = registries_ends_in(name, l->suffixes[i]);
	if (!wanted)
		return 0;
	if (l->names.count == REGISTRIES_DROPINS_MAX)
		return fail(l->err, -EFBIG, "it holds more than %d files", REGISTRIES_DROPINS_MAX);
	return strings_add(&l->names.items, &l->names.count, strdup(name), l->err);
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

int registries_names(const char *dir, const char *const *suffixes, struct names *ret,
		     struct err *err)
{
	struct listing l = { .suffixes = suffixes, .err = err };
	auto_close int fd = open_dir_at(AT_FDCWD, dir, err);
	int r;

	if (fd == -ENOENT || fd == -ENOTDIR)
		return 0;
	if (fd < 0)
		return fd;
	r = foreach_name(fd, list_name, &l, err);
	if (r < 0) {
		names_release(&l.names);
		return err_prefix(err, r, "%s", dir);
	}
	if (l.names.count)
		qsort(l.names.items, l.names.count, sizeof(*l.names.items), by_name);
	*ret = l.names;
	return 1;
}

/* ---- members of tables ---- */

int registries_member(const struct json *table, const char *key, enum json_type type,
		      const char *file, const struct json **ret, struct err *err)
{
	static const char *const names[] = { [JSON_BOOL] = "neither true nor false",
					     [JSON_STRING] = "no string",
					     [JSON_ARRAY] = "no array",
					     [JSON_OBJECT] = "no table" };
	const struct json *found = json_get_key(table, key);

	if (found && found->type != type)
		return fail(err, -EINVAL, "%s: %s is %s", file, key, names[type]);
	*ret = found;
	return 0;
}

int registries_string(const struct json *table, const char *key, const char *file, const char **ret,
		      struct err *err)
{
	const struct json *found;
	int r = registries_member(table, key, JSON_STRING, file, &found, err);

	if (r == 0)
		*ret = found ? found->string : NULL;
	return r;
}

int registries_bool(const struct json *table, const char *key, const char *file, bool *ret,
		    struct err *err)
{
	const struct json *found;
	int r = registries_member(table, key, JSON_BOOL, file, &found, err);

	if (r == 0)
		*ret = found && found->boolean;
	return r;
}

/* ---- hosts and names ---- */

#define DIGITS	"0123456789"
#define LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

/* The length of what stands before the port: "[::1]", "localhost". */
static size_t name_len(const char *host)
{
	return host[0] == '[' ? strcspn(host, "]") + 1 : strcspn(host, ":");
}

bool registries_host_valid(const char *host, size_t len)
{
	char text[256];
	size_t name, port;

	if (len == 0 || len >= sizeof(text) || memchr(host, 0, len))
		return false;
	memcpy(text, host, len);
	text[len] = 0;
	name = name_len(text);
	if (name > len)
		return false;
	/* Names of containers, which have "_", are hosts too. */
	if (text[0] == '[' ?
		    name < 4 || strspn(text + 1, DIGITS "abcdefABCDEF:") != name - 2 :
		    strspn(text, DIGITS LETTERS "-._") != name || !strchr(DIGITS LETTERS, text[0]))
		return false;
	if (name == len)
		return true;
	port = strspn(text + name + 1, DIGITS);
	return text[name] == ':' && port >= 1 && port <= 5 && name + 1 + port == len;
}

size_t registries_name_len(const char *name)
{
	size_t len = strcspn(name, "@");
	const char *slash = memrchr(name, '/', len);
	const char *colon = slash ? memchr(slash, ':', len - (size_t)(slash - name)) : NULL;

	return colon ? (size_t)(colon - name) : len;
}

bool registries_repository_valid(const char *repository)
{
	struct overlaid_reference ref;
	char text[300];
	/* As long a name as there may be has as short a host as there is. */
	int n = snprintf(text, sizeof(text), "a.a/%s", repository);

	return n > 0 && (size_t)n < sizeof(text) && reference_parse(text, &ref, NULL) == 0 &&
	       !ref.tag[0] && !ref.digest[0];
}

bool registries_is_loopback(const char *host)
{
	char name[64];
	struct in6_addr six;
	struct in_addr four;
	size_t len = name_len(host), end = strlen(host);

	if (len > end || len >= sizeof(name) || (host[len] && host[len] != ':'))
		return false;
	memcpy(name, host, len);
	name[len] = 0;
	if (strcasecmp(name, "localhost") == 0)
		return true;
	if (name[0] == '[') {
		name[len - 1] = 0;
		return inet_pton(AF_INET6, name + 1, &six) == 1 && IN6_IS_ADDR_LOOPBACK(&six);
	}
	return inet_pton(AF_INET, name, &four) == 1 && ntohl(four.s_addr) >> 24 == 127;
}

/* ---- endpoints ---- */

const char *registries_one_name(const char *host)
{
	static const char *const names[] = { "index.docker.io", HUB_HOST };

	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (strcmp(host, names[i]) == 0)
			return HUB;
	return host;
}

int endpoints_add(struct endpoints *list, const char *host, const char *repository,
		  struct endpoint **ret, struct err *err)
{
	struct endpoint *grown = reallocarray(list->items, list->count + 1, sizeof(*list->items));
	const char *name = registries_one_name(host);
	bool hub = strcmp(name, HUB) == 0;
	struct endpoint *e = NULL;

	if (!grown)
		return fail_oom(err);
	list->items = grown;
	e = &grown[list->count++];
	*e = (struct endpoint){ .for_tags = true, .for_digests = true, .for_blobs = true };
	e->scheme = registries_is_loopback(host) ? ENDPOINT_EITHER : ENDPOINT_HTTPS;
	e->host = strdup(hub ? HUB_HOST : host);
	e->registry = strdup(name);
	e->path = strdup("/v2");
	if (!e->host || !e->registry || !e->path)
		return fail_oom(err);
	*ret = e;
	/* A `location` may be written as people do. */
	return registries_text(err, &e->repository, "%s%s",
			       hub && !strchr(repository, '/') ? "library/" : "", repository);
}

static void obey_verify(enum registries_verify verify, struct endpoint *e)
{
	if (verify == REGISTRIES_NO_VERIFY) {
		e->scheme = ENDPOINT_EITHER;
		e->skip_verify = true;
	}
	if (verify == REGISTRIES_VERIFY) {
		e->skip_verify = false;
		if (!registries_is_loopback(e->host))
			e->scheme = ENDPOINT_HTTPS;
	}
}

static int find_endpoints(const struct registries *registries, const char *name,
			  struct endpoints *list, struct err *err)
{
	size_t host_len = strcspn(name, "/"), len = registries_name_len(name);
	size_t skip = host_len < len ? host_len + 1 : len;
	auto_free char *host = strndup(name, host_len);
	auto_free char *repository = strndup(name + skip, len - skip);
	struct endpoint *e = NULL;
	int r;

	if (!host || !repository)
		return fail_oom(err);
	/* The host becomes a part of paths. */
	if (!registries_host_valid(host, host_len) || !registries_repository_valid(repository))
		return fail(err, -EINVAL, "\"%.300s\" names no repository of a registry", name);
	r = registries_conf_find(registries, name, list, err);
	if (r == 0)
		r = hosts_find(registries, host, repository, list, err);
	return r != 0 ? r : endpoints_add(list, host, repository, &e, err);
}

int registries_find(struct registries *registries, const char *repository, struct endpoints *ret,
		    struct err *err)
{
	auto_endpoints struct endpoints list = { 0 };
	int r = find_endpoints(registries, repository, &list, err);

	for (size_t i = 0; r >= 0 && i < list.count; i++) {
		r = certs_find(registries, &list.items[i], err);
		obey_verify(registries->options->verify, &list.items[i]);
	}
	if (r < 0)
		return r;
	*ret = list;
	list = (struct endpoints){ 0 };
	return 0;
}

/* ---- short names ---- */

/* Whether the text, which is a valid name, begins with a host. */
static bool has_registry(const char *text, const struct overlaid_reference *ref)
{
	return strncmp(ref->repository, HUB "/", strlen(HUB "/")) != 0 ||
	       strncmp(text, HUB "/", strlen(HUB "/")) == 0 ||
	       strncmp(text, "index." HUB "/", strlen("index." HUB "/")) == 0;
}

static int add_candidate(struct names *names, const char *host, const char *name, struct err *err)
{
	struct overlaid_reference ref;
	char text[600];
	int r;

	(void)snprintf(text, sizeof(text), "%.250s%s%.300s", host, *host ? "/" : "", name);
	r = reference_parse(text, &ref, err);
	return r < 0 ? r : strings_add(&names->items, &names->count, strdup(ref.repository), err);
}

static int collect_candidates(const struct registries *registries, const char *name,
			      struct names *names, struct err *err)
{
	const struct json *search = registries_conf_search(registries);
	const char *alias = registries_conf_alias(registries, name);
	int r = 0;

	if (alias)
		return add_candidate(names, "", alias, err);
	if (!search || !search->count)
		return add_candidate(names, "", name, err);
	for (size_t i = 0; r == 0 && i < search->count; i++)
		r = add_candidate(names, search->items[i]->string, name, err);
	return r;
}

int registries_candidates(struct registries *registries, const char *name, char ***ret,
			  struct err *err)
{
	auto_names struct names names = { 0 };
	struct overlaid_reference ref;
	char **grown;
	int r = reference_parse(name, &ref, err);

	if (r < 0)
		return r;
	if (ref.tag[0] || ref.digest[0])
		return fail(err, -EINVAL, "\"%.300s\" has a tag or a digest", name);
	if (has_registry(name, &ref))
		r = add_candidate(&names, "", name, err);
	else
		r = collect_candidates(registries, name, &names, err);
	if (r < 0)
		return r;
	grown = reallocarray(names.items, names.count + 1, sizeof(*grown));
	if (!grown)
		return fail_oom(err);
	grown[names.count] = NULL;
	*ret = grown;
	names = (struct names){ 0 };
	return 0;
}

/* ---- opening ---- */

/* 1, or 0 where the file is not there. */
static int load(struct registries *registries, const char *path, struct err *err)
{
	auto_buf struct buf text = { .max = REGISTRIES_FILE_MAX };
	int r = registries_read(path, &text, err);

	if (r <= 0)
		return r;
	r = registries_add(registries, path, buf_text(&text), text.len, err);
	return r < 0 ? r : 1;
}

static int load_dropins(struct registries *registries, const char *dir, struct err *err)
{
	static const char *const suffixes[] = { ".conf", NULL };
	auto_names struct names names = { 0 };
	int r = registries_names(dir, suffixes, &names, err);

	for (size_t i = 0; r >= 0 && i < names.count; i++) {
		auto_free char *path = NULL;

		r = registries_text(err, &path, "%s/%s", dir, names.items[i]);
		if (r == 0)
			r = load(registries, path, err);
		if (r == -EISDIR)
			r = 0;
	}
	return r < 0 ? r : 0;
}

static int load_all(struct registries *registries, struct err *err)
{
	auto_free char *home = NULL, *home_dir = NULL, *etc = NULL, *etc_dir = NULL;
	int r = registries_home_path(registries, "registries.conf", &home, err);

	if (r == 0)
		r = registries_home_path(registries, "registries.conf.d", &home_dir, err);
	if (r == 0)
		r = registries_path(registries, "/etc/containers/registries.conf", &etc, err);
	if (r == 0)
		r = registries_path(registries, "/etc/containers/registries.conf.d", &etc_dir, err);
	if (r == 0 && home)
		r = load(registries, home, err);
	if (r == 0) {
		r = load(registries, etc, err);
		if (r >= 0)
			r = load_dropins(registries, etc_dir, err);
	}
	if (r >= 0 && home_dir)
		r = load_dropins(registries, home_dir, err);
	return r < 0 ? r : 0;
}

int registries_open(const struct registries_options *options, struct registries **ret,
		    struct err *err)
{
	static const struct registries_options defaults;
	const char *named = secure_getenv("CONTAINERS_REGISTRIES_CONF");
	auto_registries struct registries *registries = calloc(1, sizeof(*registries));
	int r;

	if (!registries)
		return fail_oom(err);
	registries->options = options ? options : &defaults;
	if (named && *named) {
		r = load(registries, named, err);
		if (r == 0)
			r = fail(err, -ENOENT, "$CONTAINERS_REGISTRIES_CONF names %s: %m", named);
	} else {
		r = load_all(registries, err);
	}
	if (r < 0)
		return r;
	*ret = take_ptr(registries);
	return 0;
}
