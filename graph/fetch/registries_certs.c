/* SPDX-License-Identifier: Apache-2.0 */
/* Directories of certificates: containers-certs.d(5), and the same of docker. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "graph/fetch/registries_internal.h"

/* Whether the name that has `other` instead of its `suffix` is there. */
static bool has_partner(const struct names *names, const char *name, const char *suffix,
			const char *other)
{
	size_t len = strlen(name) - strlen(suffix);

	for (size_t i = 0; i < names->count; i++)
		if (strncmp(names->items[i], name, len) == 0 &&
		    strcmp(names->items[i] + len, other) == 0)
			return true;
	return false;
}

static int add_client(const char *dir, const char *name, struct endpoint *e, struct err *err)
{
	int len = (int)(strlen(name) - strlen(".cert")), r;

	if (e->client_cert)
		return 0;
	r = registries_text(err, &e->client_cert, "%s/%s", dir, name);
	return r == 0 ? registries_text(err, &e->client_key, "%s/%.*s.key", dir, len, name) : r;
}

static int add_file(const char *dir, const struct names *names, const char *name,
		    struct endpoint *e, struct err *err)
{
	if (registries_ends_in(name, ".crt")) {
		char *path = NULL;

		(void)registries_text(NULL, &path, "%s/%s", dir, name);
		return strings_add(&e->ca_files, &e->ca_count, path, err);
	}
	if (registries_ends_in(name, ".cert")) {
		if (!has_partner(names, name, ".cert", ".key"))
			return fail(err, -EINVAL,
				    "%s: the client certificate %s lacks its key, %.*s.key (a "
				    "certificate of an authority is called NAME.crt)",
				    dir, name, (int)(strlen(name) - strlen(".cert")), name);
		return add_client(dir, name, e, err);
	}
	if (!has_partner(names, name, ".key", ".cert"))
		return fail(err, -EINVAL, "%s: the key %s lacks its client certificate, %.*s.cert",
			    dir, name, (int)(strlen(name) - strlen(".key")), name);
	return 0;
}

int certs_read(const char *dir, struct endpoint *endpoint, struct err *err)
{
	static const char *const suffixes[] = { ".crt", ".cert", ".key", NULL };
	auto_names struct names names = { 0 };
	int r = registries_names(dir, suffixes, &names, err), status = 0;

	for (size_t i = 0; status == 0 && i < names.count; i++)
		status = add_file(dir, &names, names.items[i], endpoint, err);
	return status < 0 ? status : r;
}

/* What the command line names goes before what hosts.toml does. */
static int use_cert_dir(const char *dir, struct endpoint *e, struct err *err)
{
	auto_free char *cert = take_ptr(e->client_cert), *key = take_ptr(e->client_key);
	int r = certs_read(dir, e, err);

	if (r == 0)
		r = fail(err, -ENOENT, "the directory of certificates %s: %m", dir);
	if (r > 0 && !e->client_cert) {
		e->client_cert = take_ptr(cert);
		e->client_key = take_ptr(key);
	}
	return r < 0 ? r : 0;
}

static int read_below(const char *root, struct endpoint *e, struct err *err)
{
	auto_free char *dir = NULL;
	int r = registries_text(err, &dir, "%s/%s", root, e->registry);

	return r == 0 ? certs_read(dir, e, err) : r;
}

int certs_find(const struct registries *registries, struct endpoint *endpoint, struct err *err)
{
	static const char *const roots[] = { "/etc/containers/certs.d", "/etc/docker/certs.d" };
	auto_free char *home = NULL;
	int r;

	if (registries->options->cert_dir)
		return use_cert_dir(registries->options->cert_dir, endpoint, err);
	r = registries_home_path(registries, "certs.d", &home, err);
	if (r == 0 && home)
		r = read_below(home, endpoint, err);
	for (size_t i = 0; r >= 0 && i < ARRAY_LEN(roots); i++) {
		auto_free char *root = NULL;

		r = registries_path(registries, roots[i], &root, err);
		if (r == 0)
			r = read_below(root, endpoint, err);
	}
	return r < 0 ? r : 0;
}
