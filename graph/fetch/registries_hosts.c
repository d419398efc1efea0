/* SPDX-License-Identifier: Apache-2.0 */
/* hosts.toml, as containerd reads it (its docs/hosts.md and core/remotes/docker/config). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "driver/base/toml.h"
#include "graph/fetch/registries_internal.h"

struct hosts {
	const char *file, *dir;
	const char *host, *repository; /* that the reference names */
	struct endpoints *list;
};

/* ---- one host ---- */

/* Relative ones are so to the file. */
static int add_path(const struct hosts *h, const char *key, const struct json *value, char **ret,
		    struct err *err)
{
	if (value->type != JSON_STRING || !*value->string)
		return fail(err, -EINVAL, "%s: %s holds what is no file's name", h->file, key);
	return *value->string == '/' ? registries_text(err, ret, "%s", value->string) :
				       registries_text(err, ret, "%s/%s", h->dir, value->string);
}

/* ca = "FILE" or ["FILE", ...] */
static int read_ca(const struct hosts *h, const struct json *table, struct endpoint *e,
		   struct err *err)
{
	const struct json *ca = json_get_key(table, "ca");
	bool several = ca && ca->type == JSON_ARRAY;
	int r = 0;

	for (size_t i = 0; r == 0 && ca && i < (several ? ca->count : 1); i++) {
		char *path = NULL;

		r = add_path(h, "ca", several ? ca->items[i] : ca, &path, err);
		if (r == 0)
			r = strings_add(&e->ca_files, &e->ca_count, path, err);
	}
	return r;
}

/* "FILE" or ["CERT", "KEY"]; KEY may be "". */
static int read_pair(const struct hosts *h, const struct json *pair, char **ret_cert,
		     char **ret_key, struct err *err)
{
	auto_free char *cert = NULL, *key = NULL;
	bool two = pair->type == JSON_ARRAY;
	int r;

	if (two && pair->count != 2)
		return fail(err, -EINVAL,
			    "%s: client holds an array that is no pair of certificate and key",
			    h->file);
	r = add_path(h, "client", two ? pair->items[0] : pair, &cert, err);
	if (r == 0 && two && (pair->items[1]->type != JSON_STRING || *pair->items[1]->string))
		r = add_path(h, "client", pair->items[1], &key, err);
	if (r < 0)
		return r;
	*ret_cert = take_ptr(cert);
	*ret_key = take_ptr(key);
	return 0;
}

/* client = "FILE", ["FILE", ...] or [["CERT", "KEY"], ...]. All are judged, the first is taken. */
static int read_client(const struct hosts *h, const struct json *table, struct endpoint *e,
		       struct err *err)
{
	const struct json *client = json_get_key(table, "client");
	bool several = client && client->type == JSON_ARRAY;
	int r = 0;

	for (size_t i = 0; r == 0 && client && i < (several ? client->count : 1); i++) {
		auto_free char *cert = NULL, *key = NULL;

		r = read_pair(h, several ? client->items[i] : client, &cert, &key, err);
		if (r == 0 && !e->client_cert) {
			e->client_cert = take_ptr(cert);
			e->client_key = take_ptr(key);
		}
	}
	return r;
}

static int read_capabilities(const struct hosts *h, const struct json *table, struct endpoint *e,
			     struct err *err)
{
	const struct json *list;
	int r = registries_member(table, "capabilities", JSON_ARRAY, h->file, &list, err);

	if (r < 0 || !list || !list->count)
		return r;
	e->for_tags = e->for_digests = e->for_blobs = false;
	for (size_t i = 0; i < list->count; i++) {
		const char *word = list->items[i]->string;

		if (!word)
			return fail(err, -EINVAL, "%s: capabilities is no array of strings",
				    h->file);
		if (strcasecmp(word, "pull") == 0)
			e->for_digests = e->for_blobs = true;
		else if (strcasecmp(word, "resolve") == 0)
			e->for_tags = true;
		else if (strcasecmp(word, "push") != 0)
			return fail(err, -EINVAL,
				    "%s: the capability \"%.100s\" is none of pull, resolve, push",
				    h->file, word);
	}
	return 0;
}

/* RFC 9110, 5.1 and 5.5; what is not so could say more than one header. */
static bool header_valid(const char *name, const char *value)
{
	static const char token[] = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz"
				    "ABCDEFGHIJKLMNOPQRSTUVWXYZ";

	if (!*name || strspn(name, token) != strlen(name))
		return false;
	for (; *value; value++)
		if (((unsigned char)*value < ' ' && *value != '\t') || *value == 0x7f)
			return false;
	return true;
}

static int add_header(const struct hosts *h, const char *name, const struct json *value,
		      struct endpoint *e, struct err *err)
{
	char *text = NULL;

	if (value->type != JSON_STRING)
		return fail(err, -EINVAL,
			    "%s: the header %.100s is no string, nor an array of such", h->file,
			    name);
	if (!header_valid(name, value->string))
		return fail(err, -EINVAL,
			    "%s: the header %.100s cannot be sent: its name or "
			    "value has characters that may not be in a header",
			    h->file, name);
	(void)registries_text(NULL, &text, "%s: %s", name, value->string);
	return strings_add(&e->headers, &e->header_count, text, err);
}

/* header.NAME = "VALUE" or ["VALUE", ...] */
static int read_headers(const struct hosts *h, const struct json *table, struct endpoint *e,
			struct err *err)
{
	const struct json *headers;
	int r = registries_member(table, "header", JSON_OBJECT, h->file, &headers, err);

	for (size_t i = 0; r == 0 && headers && i < headers->count; i++) {
		const struct json *value = headers->items[i];
		bool several = value->type == JSON_ARRAY;

		for (size_t k = 0; r == 0 && k < (several ? value->count : 1); k++)
			r = add_header(h, headers->keys[i], several ? value->items[k] : value, e,
				       err);
	}
	return r;
}

/* Plain HTTP with settings for TLS: containerd then tries https first. */
static bool wants_either(const struct json *table, const struct endpoint *e)
{
	static const char *const keys[] = { "ca", "client", "skip_verify" };
	const char *port = strrchr(e->host, ':');

	if (e->scheme != ENDPOINT_HTTP || (port && strcmp(port, ":80") == 0))
		return false;
	for (size_t i = 0; i < ARRAY_LEN(keys); i++)
		if (json_get_key(table, keys[i]))
			return true;
	return false;
}

static int read_settings(const struct hosts *h, const struct json *table, struct endpoint *e,
			 struct err *err)
{
	int r = registries_bool(table, "skip_verify", h->file, &e->skip_verify, err);

	if (r == 0)
		r = read_ca(h, table, e, err);
	if (r == 0)
		r = read_client(h, table, e, err);
	if (r == 0)
		r = read_headers(h, table, e, err);
	if (r == 0 && wants_either(table, e))
		e->scheme = ENDPOINT_EITHER;
	return r;
}

/* ---- URLs ---- */

struct url {
	bool has_scheme;
	enum endpoint_scheme scheme;
	const char *host;
	size_t host_len;
	const char *path; /* "" or "/..." */
	size_t path_len;  /* without slashes at its end */
};

/* Characters that URLs have in paths; those that begin a query or a fragment are not among them. */
static bool path_valid(const char *path)
{
	static const char allowed[] = "/-._~%!$&'()*+,;=:@0123456789abcdefghijklmnopqrstuvwxyz"
				      "ABCDEFGHIJKLMNOPQRSTUVWXYZ";

	return strspn(path, allowed) == strlen(path) && !strstr(path, "/.");
}

static int split_url(const struct hosts *h, const char *text, struct url *ret, struct err *err)
{
	static const struct {
		const char *text;
		enum endpoint_scheme scheme;
	} schemes[] = { { "https://", ENDPOINT_HTTPS }, { "http://", ENDPOINT_HTTP } };
	struct url url = { .host = text };

	for (size_t i = 0; i < ARRAY_LEN(schemes) && !url.has_scheme; i++) {
		if (strncmp(text, schemes[i].text, strlen(schemes[i].text)) != 0)
			continue;
		url.has_scheme = true;
		url.scheme = schemes[i].scheme;
		url.host = text + strlen(schemes[i].text);
	}
	url.host_len = strcspn(url.host, "/");
	url.path = url.host + url.host_len;
	url.path_len = strlen(url.path);
	while (url.path_len && url.path[url.path_len - 1] == '/')
		url.path_len--;
	if (!registries_host_valid(url.host, url.host_len) || !path_valid(url.path))
		return fail(err, -EINVAL,
			    "%s: \"%.300s\" is not as http://HOST[:PORT][/PATH] or https://...",
			    h->file, text);
	*ret = url;
	return 0;
}

static bool ends_in_v2(const struct url *url)
{
	return url->path_len >= 3 && memcmp(url->path + url->path_len - 3, "/v2", 3) == 0;
}

/* Adds the server at the URL, as the table has it. */
static int add_host(const struct hosts *h, const char *text, const struct json *table,
		    struct err *err)
{
	auto_free char *host = NULL, *path = NULL;
	bool override_path = false;
	struct endpoint *e = NULL;
	struct url url = { 0 };
	int r = split_url(h, text, &url, err);

	if (r == 0)
		r = registries_bool(table, "override_path", h->file, &override_path, err);
	if (r < 0)
		return r;
	host = strndup(url.host, url.host_len);
	if (!host)
		return fail_oom(err);
	r = registries_text(err, &path, "%.*s%s", (int)url.path_len, url.path,
			    override_path || ends_in_v2(&url) ? "" : "/v2");
	if (r < 0)
		return r;
	r = endpoints_add(h->list, host, h->repository, &e, err);
	if (r < 0)
		return r;
	free(e->path);
	e->path = take_ptr(path);
	if (url.has_scheme)
		e->scheme = url.scheme;
	r = read_capabilities(h, table, e, err);
	return r == 0 ? read_settings(h, table, e, err) : r;
}

/* ---- a file ---- */

/* What stands outside of [host] is about the server. */
static int add_server(const struct hosts *h, const struct json *tree, struct err *err)
{
	struct endpoint *e = NULL;
	const char *server;
	int r = registries_string(tree, "server", h->file, &server, err);

	if (r < 0)
		return r;
	if (server && *server)
		return add_host(h, server, tree, err);
	/* The registry's own can do all, whatever capabilities says: so it is with containerd. */
	r = endpoints_add(h->list, h->host, h->repository, &e, err);
	return r == 0 ? read_settings(h, tree, e, err) : r;
}

static int add_hosts(const struct hosts *h, const struct json *tree, struct err *err)
{
	const struct json *hosts;
	int r = registries_member(tree, "host", JSON_OBJECT, h->file, &hosts, err);

	if (r == 0 && hosts && hosts->count > REGISTRIES_MIRRORS_MAX)
		return fail(err, -EFBIG, "%s: it has %zu hosts; at most %d are understood", h->file,
			    hosts->count, REGISTRIES_MIRRORS_MAX);
	for (size_t i = 0; r == 0 && hosts && i < hosts->count; i++) {
		if (hosts->items[i]->type != JSON_OBJECT)
			return fail(err, -EINVAL, "%s: host.\"%.300s\" is no table", h->file,
				    hosts->keys[i]);
		r = add_host(h, hosts->keys[i], hosts->items[i], err);
	}
	return r;
}

/* Whoever is not the registry itself is told for whom it answers. */
static int tell_mirrors(const struct hosts *h, struct err *err)
{
	const char *registry = registries_one_name(h->host);

	for (size_t i = 0; i < h->list->count; i++) {
		struct endpoint *e = &h->list->items[i];

		if (strcmp(e->registry, registry) == 0)
			continue;
		e->mirror = true;
		e->namespace = strdup(registry);
		if (!e->namespace)
			return fail_oom(err);
	}
	return 0;
}

int hosts_parse(const void *data, size_t len, const char *dir, const char *host,
		const char *repository, struct endpoints *ret, struct err *err)
{
	auto_endpoints struct endpoints list = { 0 };
	auto_json struct json *tree = NULL;
	auto_free char *file = NULL;
	struct hosts h = { .dir = dir, .host = host, .repository = repository, .list = &list };
	int r = registries_text(err, &file, "%s/hosts.toml", dir);

	if (r < 0)
		return r;
	h.file = file;
	r = toml_parse(data, len, REGISTRIES_FILE_MAX, file, &tree, err);
	if (r == 0)
		r = add_hosts(&h, tree, err);
	if (r == 0)
		r = add_server(&h, tree, err);
	if (r == 0)
		r = tell_mirrors(&h, err);
	if (r < 0)
		return r;
	*ret = list;
	list = (struct endpoints){ 0 };
	return 0;
}

/* ---- directories ---- */

static int is_dir(const char *path, struct err *err)
{
	struct stat st;

	if (stat(path, &st) == 0)
		return S_ISDIR(st.st_mode);
	return errno == ENOENT || errno == ENOTDIR ? 0 : fail(err, -errno, "%s: %m", path);
}

/* "localhost_5000_"; NULL in *ret where there is no port. */
static int name_with_port(const char *host, char **ret, struct err *err)
{
	const char *colon = strrchr(host, ':');

	*ret = NULL;
	if (!colon || strchr(colon, ']'))
		return 0;
	return registries_text(err, ret, "%.*s_%s_", (int)(colon - host), host, colon + 1);
}

/* 1 and the first directory of `root` that is for the host, 0 where there is none. */
static int find_dir(const char *root, const char *host, char **ret, struct err *err)
{
	auto_free char *with_port = NULL;
	int r = name_with_port(host, &with_port, err);
	const char *const names[] = { with_port, host, "_default" };

	for (size_t i = 0; r == 0 && i < ARRAY_LEN(names); i++) {
		auto_free char *dir = NULL;

		if (!names[i])
			continue;
		r = registries_text(err, &dir, "%s/%s", root, names[i]);
		if (r == 0)
			r = is_dir(dir, err);
		if (r == 1)
			*ret = take_ptr(dir);
	}
	return r;
}

/* No hosts.toml, or an empty one: certificates may lie there. */
static int use_default(const struct registries *registries, const char *dir, bool certs,
		       const char *host, const char *repository, struct endpoints *ret,
		       struct err *err)
{
	struct endpoint *e = NULL;
	int r = endpoints_add(ret, host, repository, &e, err);

	if (r == 0 && certs && !registries->options->cert_dir)
		r = certs_read(dir, e, err);
	return r < 0 ? r : 1;
}

int hosts_find(const struct registries *registries, const char *host, const char *repository,
	       struct endpoints *ret, struct err *err)
{
	/* Certificates in the second are found for every endpoint (registries_certs.c). */
	static const struct {
		const char *path;
		bool certs;
	} roots[] = { { "/etc/containerd/certs.d", true }, { "/etc/docker/certs.d", false } };

	for (size_t i = 0; i < ARRAY_LEN(roots); i++) {
		auto_free char *root = NULL, *dir = NULL, *file = NULL;
		auto_buf struct buf text = { .max = REGISTRIES_FILE_MAX };
		int r = registries_path(registries, roots[i].path, &root, err);

		if (r == 0)
			r = find_dir(root, host, &dir, err);
		if (r < 0)
			return r;
		if (r == 0)
			continue;
		r = registries_text(err, &file, "%s/hosts.toml", dir);
		if (r == 0)
			r = registries_read(file, &text, err);
		if (r < 0)
			return r;
		if (r == 0 || text.len == 0)
			return use_default(registries, dir, roots[i].certs, host, repository, ret,
					   err);
		r = hosts_parse(text.data, text.len, dir, host, repository, ret, err);
		return r < 0 ? r : 1;
	}
	return 0;
}
