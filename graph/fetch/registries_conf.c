/* SPDX-License-Identifier: Apache-2.0 */
/*
 * registries.conf: a file is judged as a whole when it is read, and its tree is kept; what a name means is
 * looked up in the trees.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "driver/base/toml.h"
#include "graph/fetch/registries_internal.h"
#include "graph/name/reference.h"

/* A [[registry]], as it stands in the tree of a file. */
struct rule {
	const struct json *table;
	const char *file;
	const char *prefix; /* never NULL */
	size_t prefix_len;  /* without slashes at its end */
	/* What takes the place of the prefix; NULL: nothing does. */
	const char *location;
	bool insecure, blocked, by_digest_only;
	const struct json *mirrors; /* an array, or NULL */
};

/* A [[registry.mirror]]. */
struct mirror {
	const char *location;
	bool insecure, for_tags, for_digests;
};

static size_t trimmed_len(const char *text)
{
	size_t len = strlen(text);

	while (len && text[len - 1] == '/')
		len--;
	return len;
}

static bool is_wildcard(const struct rule *rule)
{
	return strncmp(rule->prefix, "*.", 2) == 0;
}

/* ---- reading ---- */

static int bad_text(const char *file, const char *key, const char *text, const char *words,
		    struct err *err)
{
	return fail(err, -EINVAL, "%s: %s \"%.200s\" %s", file, key, text, words);
}

static int check_host(const char *file, const char *key, const char *text, struct err *err)
{
	if (strstr(text, "://"))
		return bad_text(file, key, text, "may not have a scheme (see insecure)", err);
	if (!registries_host_valid(text, strcspn(text, "/")))
		return bad_text(file, key, text, "does not begin with a host", err);
	return 0;
}

static int check_prefix(const struct rule *rule, struct err *err)
{
	const char *key = rule->location ? "prefix" : "prefix or location";

	if (!is_wildcard(rule))
		return check_host(rule->file, key, rule->prefix, err);
	if (strpbrk(rule->prefix, "/@:") ||
	    !registries_host_valid(rule->prefix + 2, rule->prefix_len - 2))
		return bad_text(rule->file, key, rule->prefix,
				"is not as \"*.example.com\": \"*\" stands for the first parts of a "
				"host, and neither port nor path follows",
				err);
	return 0;
}

/* What is put before the rest of a name: a host, perhaps with the beginning of a repository's name. */
static int check_location(const char *file, const char *location, struct err *err)
{
	size_t len = trimmed_len(location), host_len = strcspn(location, "/");
	auto_free char *path = NULL;
	int r = check_host(file, "location", location, err);

	if (r < 0 || host_len >= len)
		return r;
	path = strndup(location + host_len + 1, len - host_len - 1);
	if (!path)
		return fail_oom(err);
	return registries_repository_valid(path) ?
		       0 :
		       bad_text(file, "location", location,
				"is no host with the first parts of a repository's name", err);
}

/* Fills what the table says; nothing but types is judged here. */
static int read_rule(const struct json *table, const char *file, struct rule *ret, struct err *err)
{
	struct rule rule = { .table = table, .file = file };
	int r = registries_string(table, "prefix", file, &rule.prefix, err);

	if (r == 0)
		r = registries_string(table, "location", file, &rule.location, err);
	if (r == 0)
		r = registries_bool(table, "insecure", file, &rule.insecure, err);
	if (r == 0)
		r = registries_bool(table, "blocked", file, &rule.blocked, err);
	if (r == 0)
		r = registries_bool(table, "mirror-by-digest-only", file, &rule.by_digest_only,
				    err);
	if (r == 0)
		r = registries_member(table, "mirror", JSON_ARRAY, file, &rule.mirrors, err);
	if (r < 0)
		return r;
	if (rule.location && !*rule.location)
		rule.location = NULL;
	/* A location alone is a prefix: there is nothing that it could take the place of. */
	if (!rule.prefix || !*rule.prefix) {
		rule.prefix = rule.location;
		rule.location = NULL;
	}
	if (!rule.prefix)
		return fail(err, -EINVAL, "%s: a [[registry]] has neither prefix nor location",
			    file);
	rule.prefix_len = trimmed_len(rule.prefix);
	*ret = rule;
	return 0;
}

static int read_mirror(const struct rule *rule, const struct json *table, struct mirror *ret,
		       struct err *err)
{
	struct mirror mirror = { 0 };
	const char *pull = NULL;
	int r;

	if (table->type != JSON_OBJECT)
		return fail(err, -EINVAL, "%s: mirror is no array of tables", rule->file);
	r = registries_string(table, "location", rule->file, &mirror.location, err);
	if (r == 0)
		r = registries_bool(table, "insecure", rule->file, &mirror.insecure, err);
	if (r == 0)
		r = registries_string(table, "pull-from-mirror", rule->file, &pull, err);
	if (r < 0)
		return r;
	if (!mirror.location || !*mirror.location)
		return fail(err, -EINVAL, "%s: a mirror of \"%.200s\" has no location", rule->file,
			    rule->prefix);
	pull = pull ? pull : "";
	if (*pull && rule->by_digest_only)
		return fail(err, -EINVAL,
			    "%s: \"%.200s\" has mirror-by-digest-only, and its mirror "
			    "pull-from-mirror: only one of them may be there",
			    rule->file, rule->prefix);
	if (*pull && strcmp(pull, "all") != 0 && strcmp(pull, "digest-only") != 0 &&
	    strcmp(pull, "tag-only") != 0)
		return bad_text(rule->file, "pull-from-mirror", pull,
				"is none of all, digest-only, tag-only", err);
	mirror.for_tags = !rule->by_digest_only && strcmp(pull, "digest-only") != 0;
	mirror.for_digests = strcmp(pull, "tag-only") != 0;
	*ret = mirror;
	return 0;
}

static int check_rule(const struct json *table, const char *file, struct err *err)
{
	struct rule rule = { 0 };
	int r;

	if (table->type != JSON_OBJECT)
		return fail(err, -EINVAL, "%s: registry is no array of tables", file);
	r = read_rule(table, file, &rule, err);
	if (r == 0)
		r = check_prefix(&rule, err);
	if (r == 0 && rule.location)
		r = check_location(file, rule.location, err);
	if (r == 0 && json_get_key(table, "pull-from-mirror"))
		r = fail(err, -EINVAL, "%s: pull-from-mirror belongs to a [[registry.mirror]]",
			 file);
	if (r == 0 && rule.mirrors && rule.mirrors->count > REGISTRIES_MIRRORS_MAX)
		r = fail(err, -EFBIG, "%s: \"%.200s\" has %zu mirrors; at most %d are understood",
			 file, rule.prefix, rule.mirrors->count, REGISTRIES_MIRRORS_MAX);
	for (size_t i = 0; r == 0 && rule.mirrors && i < rule.mirrors->count; i++) {
		struct mirror mirror = { 0 };

		r = read_mirror(&rule, rule.mirrors->items[i], &mirror, err);
		if (r == 0)
			r = check_location(file, mirror.location, err);
	}
	return r;
}

static bool reads_back(const char *text, const char *host)
{
	struct overlaid_reference ref;
	size_t len = strlen(host);

	return reference_parse(text, &ref, NULL) == 0 && !ref.tag[0] && !ref.digest[0] &&
	       strncmp(ref.repository, host, len) == 0 && ref.repository[len] == '/';
}

static bool names_registry(const char *text)
{
	char host[256];
	size_t len = strcspn(text, "/");

	if (!text[len] || len >= sizeof(host))
		return false;
	memcpy(host, text, len);
	host[len] = 0;
	return reads_back(text, strcmp(host, "index.docker.io") == 0 ? "docker.io" : host);
}

static int check_search(const struct json *tree, const char *file, struct err *err)
{
	static const char key[] = "unqualified-search-registries";
	const struct json *search;
	int r = registries_member(tree, key, JSON_ARRAY, file, &search, err);

	for (size_t i = 0; r == 0 && search && i < search->count; i++) {
		const char *host = search->items[i]->string;
		char text[256 + 2] = "";

		if (search->items[i]->type != JSON_STRING)
			return fail(err, -EINVAL, "%s: %s is no array of strings", file, key);
		if (strlen(host) < sizeof(text) - 2 && !strchr(host, '/'))
			(void)snprintf(text, sizeof(text), "%s/x", host);
		if (!names_registry(text))
			return bad_text(file, key, host, "is no host of a registry", err);
	}
	return r;
}

static int check_aliases(const struct json *tree, const char *file, struct err *err)
{
	const struct json *aliases;
	int r = registries_member(tree, "aliases", JSON_OBJECT, file, &aliases, err);

	for (size_t i = 0; r == 0 && aliases && i < aliases->count; i++) {
		const char *name = aliases->keys[i], *value;

		r = registries_string(aliases, name, file, &value, err);
		if (r < 0)
			break;
		if (names_registry(name) || !registries_repository_valid(name))
			r = bad_text(file, "the alias", name,
				     "is no name without registry, tag and digest", err);
		else if (*value && !names_registry(value))
			r = bad_text(file, name, value,
				     "is no name with a registry, without tag and digest", err);
	}
	return r;
}

static int check_file(const struct json *tree, const char *file, struct err *err)
{
	const struct json *rules;
	int r;

	if (json_get_key(tree, "registries"))
		return fail(err, -EINVAL,
			    "%s: [registries.search], [registries.insecure], [registries.block] are "
			    "of version 1 of this format; only version 2 is understood "
			    "(containers-registries.conf(5))",
			    file);
	r = registries_member(tree, "registry", JSON_ARRAY, file, &rules, err);
	for (size_t i = 0; r == 0 && rules && i < rules->count; i++)
		r = check_rule(rules->items[i], file, err);
	if (r == 0)
		r = check_search(tree, file, err);
	return r == 0 ? check_aliases(tree, file, err) : r;
}

int registries_add(struct registries *registries, const char *file, const void *data, size_t len,
		   struct err *err)
{
	struct registries_file *grown;
	auto_json struct json *tree = NULL;
	auto_free char *path = strdup(file);
	int r = toml_parse(data, len, REGISTRIES_FILE_MAX, file, &tree, err);

	if (r == 0)
		r = check_file(tree, file, err);
	if (r < 0)
		return r;
	if (!path)
		return fail_oom(err);
	grown = reallocarray(registries->files, registries->count + 1, sizeof(*grown));
	if (!grown)
		return fail_oom(err);
	registries->files = grown;
	grown[registries->count++] = (struct registries_file){ .path = take_ptr(path),
							       .tree = take_ptr(tree) };
	return 0;
}

/* ---- finding ---- */

/* How much of the name the prefix takes, 0: it does not fit. */
static size_t fits(const struct rule *rule, const char *name)
{
	size_t len = rule->prefix_len - 1, host_len = strcspn(name, ":/");
	char next;

	if (is_wildcard(rule))
		return host_len > len &&
				       strncmp(name + host_len - len, rule->prefix + 1, len) == 0 ?
			       strcspn(name, "/") :
			       0;
	if (strncmp(name, rule->prefix, rule->prefix_len) != 0)
		return 0;
	next = name[rule->prefix_len];
	/* After a host, ":" is that of a port: another registry. */
	if (next && next != '/' && (!memchr(name, '/', rule->prefix_len) || !strchr(":@", next)))
		return 0;
	return rule->prefix_len;
}

static bool goes_before(const struct rule *rule, const struct rule *best)
{
	if (rule->prefix_len != best->prefix_len)
		return rule->prefix_len > best->prefix_len;
	if (is_wildcard(rule) != is_wildcard(best))
		return is_wildcard(best);
	return rule->file != best->file;
}

/* How much of the name the best rule's prefix takes, 0: there is none. */
static size_t find_rule(const struct registries *registries, const char *name, struct rule *ret)
{
	struct rule best = { .prefix = "" };
	size_t best_fits = 0;

	for (size_t i = 0; i < registries->count; i++) {
		const struct registries_file *file = &registries->files[i];
		const struct json *rules = json_get_key(file->tree, "registry");

		for (size_t k = 0; rules && k < rules->count; k++) {
			struct rule rule;
			size_t n = 0;

			if (read_rule(rules->items[k], file->path, &rule, NULL) == 0)
				n = fits(&rule, name);
			if (n && (!best_fits || goes_before(&rule, &best))) {
				best = rule;
				best_fits = n;
			}
		}
	}
	*ret = best;
	return best_fits;
}

/* A name as it is found: host and path, and where its tag or digest begins. */
struct sought {
	const char *name;
	size_t len;  /* without tag and digest */
	size_t fits; /* of the prefix; at most len */
};

/* Adds the server of the name in which `location` (NULL: as it is) takes the place of the prefix. */
static int add_place(const struct rule *rule, const struct sought *sought, const char *location,
		     bool insecure, struct endpoints *list, struct endpoint **ret, struct err *err)
{
	auto_free char *text = NULL;
	char *slash;
	int rest = (int)(sought->len - sought->fits);
	int r = location ? registries_text(err, &text, "%.*s%.*s", (int)trimmed_len(location),
					   location, rest, sought->name + sought->fits) :
			   registries_text(err, &text, "%.*s", (int)sought->len, sought->name);

	if (r < 0)
		return r;
	slash = strchr(text, '/');
	if (slash)
		*slash++ = 0;
	if (!slash || !registries_repository_valid(slash))
		return fail(err, -EINVAL,
			    "%s: the location \"%.200s\" makes no repository's name of %.300s",
			    rule->file, location ? location : "", sought->name);
	r = endpoints_add(list, text, slash, ret, err);
	if (r == 0 && insecure) {
		(*ret)->scheme = ENDPOINT_EITHER;
		(*ret)->skip_verify = true;
	}
	return r;
}

static int add_mirrors(const struct rule *rule, const struct sought *sought, struct endpoints *list,
		       struct err *err)
{
	int r = 0;

	for (size_t i = 0; r == 0 && rule->mirrors && i < rule->mirrors->count; i++) {
		struct mirror mirror = { 0 };
		struct endpoint *e = NULL;

		r = read_mirror(rule, rule->mirrors->items[i], &mirror, err);
		if (r == 0)
			r = add_place(rule, sought, mirror.location, mirror.insecure, list, &e,
				      err);
		if (r != 0)
			break;
		e->mirror = true;
		e->for_tags = mirror.for_tags;
		e->for_digests = mirror.for_digests;
	}
	return r;
}

int registries_conf_find(const struct registries *registries, const char *name,
			 struct endpoints *ret, struct err *err)
{
	struct rule rule = { 0 };
	struct sought sought = { .name = name, .fits = find_rule(registries, name, &rule) };
	struct endpoint *e = NULL;
	int r;

	if (!sought.fits)
		return 0;
	if (rule.blocked)
		return fail(err, -EPERM, "%.300s is blocked by \"%.200s\" in %s", name, rule.prefix,
			    rule.file);
	sought.len = registries_name_len(name);
	if (sought.fits > sought.len)
		sought.fits = sought.len;
	r = add_mirrors(&rule, &sought, ret, err);
	if (r == 0)
		r = add_place(&rule, &sought, rule.location, rule.insecure, ret, &e, err);
	return r < 0 ? r : 1;
}

const char *registries_conf_alias(const struct registries *registries, const char *name)
{
	const struct json *alias = NULL;

	for (size_t i = registries->count; i-- > 0 && !alias;)
		alias = json_get_key(json_get_key(registries->files[i].tree, "aliases"), name);
	return alias && *alias->string ? alias->string : NULL;
}

const struct json *registries_conf_search(const struct registries *registries)
{
	const struct json *search = NULL;

	for (size_t i = registries->count; i-- > 0 && !search;)
		search = json_get_key(registries->files[i].tree, "unqualified-search-registries");
	return search;
}
