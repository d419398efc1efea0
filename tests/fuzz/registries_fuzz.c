/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The readers of registries.conf and of hosts.toml: each gets all of the input. Names that the input's
 * prefixes fit are looked for in it, and whatever endpoints come out can be asked.
 */
#include <stdlib.h>
#include <string.h>

#include "driver/base/json.h"
#include "graph/fetch/registries_internal.h"
#include "graph/name/reference.h"
#include "tests/fuzz/fuzz.h"

/* Nothing lies there. */
static const struct registries_options options = { .prefix = "/nonexistent" };

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)unsetenv("HOME");
	(void)unsetenv("XDG_CONFIG_HOME");
	return 0;
}

static bool has_control(const char *text)
{
	for (; *text; text++)
		if (((unsigned char)*text < ' ' && *text != '\t') || *text == 0x7f)
			return true;
	return false;
}

static void check_endpoint(const struct endpoint *e)
{
	fuzz_require(e->host && registries_host_valid(e->host, strlen(e->host)));
	fuzz_require(e->registry && registries_host_valid(e->registry, strlen(e->registry)));
	fuzz_require(e->path && (!*e->path || *e->path == '/'), e->path);
	fuzz_require(!strpbrk(e->path, " ?#\\\"") && !has_control(e->path), e->path);
	fuzz_require(e->repository && registries_repository_valid(e->repository), e->repository);
	fuzz_require(!e->namespace || e->mirror);
	fuzz_require(!e->client_key || e->client_cert);
	for (size_t i = 0; i < e->ca_count; i++)
		fuzz_require(e->ca_files[i][0] == '/', e->ca_files[i]);
	fuzz_require(!e->client_cert || *e->client_cert == '/', e->client_cert);
	for (size_t i = 0; i < e->header_count; i++)
		fuzz_require(strstr(e->headers[i], ": ") && !has_control(e->headers[i]),
			     e->headers[i]);
}

static void check_endpoints(const struct endpoints *list)
{
	fuzz_require(list->count >= 1 && list->count <= REGISTRIES_MIRRORS_MAX + 1);
	for (size_t i = 0; i < list->count; i++)
		check_endpoint(&list->items[i]);
}

static void find(struct registries *registries, const char *name)
{
	auto_endpoints struct endpoints found = { 0 };
	struct err err = { 0 };
	int r = registries_find(registries, name, &found, &err);

	fuzz_require(r < 0 ? !found.items && *err.text : found.count > 0, err.text);
	if (r == 0)
		check_endpoints(&found);
}

/* Names below the prefix, and beside it. */
static void find_below(struct registries *registries, const char *prefix)
{
	static const char *const more[] = { "", "/x", "/x/y:tag", "x/y", ":5000/x" };
	bool wildcard = strncmp(prefix, "*.", 2) == 0;

	for (size_t i = 0; i < ARRAY_LEN(more); i++) {
		auto_free char *name = NULL;
		int len = (int)strlen(prefix);

		while (len && prefix[len - 1] == '/')
			len--;
		if (registries_text(NULL, &name, "%s%.*s%s", wildcard ? "w" : "",
				    len - (int)wildcard, prefix + wildcard, more[i]) == 0)
			find(registries, name);
	}
}

static void find_candidates(struct registries *registries, const char *name)
{
	struct overlaid_reference ref;
	char **candidates = NULL;
	struct err err = { 0 };

	if (registries_candidates(registries, name, &candidates, &err) < 0) {
		fuzz_require(!candidates && *err.text);
		return;
	}
	fuzz_require(candidates[0] != NULL);
	for (size_t i = 0; candidates[i]; i++) {
		fuzz_require(reference_parse(candidates[i], &ref, NULL) == 0 &&
				     strcmp(ref.repository, candidates[i]) == 0,
			     candidates[i]);
		free(candidates[i]);
	}
	free(candidates);
}

static void read_conf(const uint8_t *data, size_t size)
{
	AUTO(registries_release) struct registries registries = { .options = &options };
	const struct json *rules, *aliases;
	struct err err = { 0 };

	if (registries_add(&registries, "input", data, size, &err) < 0) {
		fuzz_require(registries.count == 0 && strncmp(err.text, "input: ", 7) == 0,
			     err.text);
		return;
	}
	rules = json_get_key(registries.files[0].tree, "registry");
	aliases = json_get_key(registries.files[0].tree, "aliases");
	/* A few say as much as many. */
	for (size_t i = 0; rules && i < rules->count && i < 8; i++) {
		find_below(&registries, json_string_or(rules->items[i], "/prefix", "x.io"));
		find_below(&registries, json_string_or(rules->items[i], "/location", "x.io"));
	}
	for (size_t i = 0; aliases && i < aliases->count && i < 8; i++)
		find_candidates(&registries, aliases->keys[i]);
	find_candidates(&registries, "nginx");
	find(&registries, "docker.io/library/nginx");
}

static void read_hosts(const uint8_t *data, size_t size, const char *host)
{
	auto_endpoints struct endpoints list = { 0 };
	struct err err = { 0 };

	if (hosts_parse(data, size, "/dir", host, "library/nginx", &list, &err) < 0) {
		fuzz_require(!list.items && strncmp(err.text, "/dir/hosts.toml: ", 17) == 0,
			     err.text);
		return;
	}
	check_endpoints(&list);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	read_conf(data, size);
	read_hosts(data, size, "docker.io");
	read_hosts(data, size, "localhost:5000");
	return 0;
}
