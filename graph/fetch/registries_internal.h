/* SPDX-License-Identifier: Apache-2.0 */
/*
 * registries, within: the readers of registries.conf, hosts.toml and certs.d, and what they share. Only
 * registries*.c and their tests include it. What reads a file takes its bytes; `file` is its name, for words.
 */
#ifndef GRAPH_FETCH_REGISTRIES_INTERNAL_H
#define GRAPH_FETCH_REGISTRIES_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>

#include "driver/base/buf.h"
#include "driver/base/err.h"
#include "driver/base/json.h"
#include "graph/fetch/registries.h"

/* One registries.conf or drop-in, found to be in order when it was read. */
struct registries_file {
	char *path;
	struct json *tree;
};

struct registries {
	const struct registries_options *options;
	struct registries_file *files; /* what stands in a later one counts more */
	size_t count;
};
void registries_release(struct registries *registries);

/* ---- what the readers share ---- */

/* 1 and its contents, 0 where it is not there. `text` is one with a maximum. */
int registries_read(const char *path, struct buf *text, struct err *err);

/* A path below options->prefix; and below the home directory's ~/.config/containers, NULL in *ret where there
 * is no home directory. *ret is the caller's. */
int registries_path(const struct registries *registries, const char *path, char **ret,
		    struct err *err);
int registries_home_path(const struct registries *registries, const char *name, char **ret,
			 struct err *err);

/* 1 and the names in the directory that end in one of the NULL-terminated `suffixes`, sorted; 0 where there is
 * no such directory. -EFBIG: more than REGISTRIES_DROPINS_MAX. */
struct names {
	char **items;
	size_t count;
};
void names_release(struct names *names);
#define auto_names AUTO(names_release)
int registries_names(const char *dir, const char *const *suffixes, struct names *ret,
		     struct err *err);

/* Whether something stands before the suffix, too. */
bool registries_ends_in(const char *name, const char *suffix);

/* *ret is the caller's. 0 or -ENOMEM. */
int registries_text(struct err *err, char **ret, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* Appends `text`, taken over whatever happens; NULL: memory ran out where it was made. */
int strings_add(char ***items, size_t *count, char *text, struct err *err);

/* The member of a table of that type, NULL in *ret where it is not there. -EINVAL where it is of another: the
 * words begin with `file`. */
int registries_member(const struct json *table, const char *key, enum json_type type,
		      const char *file, const struct json **ret, struct err *err);
/* Likewise, NULL or false where it is not there. */
int registries_string(const struct json *table, const char *key, const char *file, const char **ret,
		      struct err *err);
int registries_bool(const struct json *table, const char *key, const char *file, bool *ret,
		    struct err *err);

/* A host as URLs have it, with a port or without: safe as a name in a path and in a URL. */
bool registries_host_valid(const char *host, size_t len);
/* "docker.io" for any of its names, else the host as it is. */
const char *registries_one_name(const char *host);
/* How long "docker.io/library/nginx:1.27@sha256:..." is without tag and digest. */
size_t registries_name_len(const char *name);
/* "library/nginx" */
bool registries_repository_valid(const char *repository);

/* The server of the host, as it is where nothing is configured for it; *ret is the list's, until the next is
 * added. docker.io and its other names become registry-1.docker.io. */
int endpoints_add(struct endpoints *list, const char *host, const char *repository,
		  struct endpoint **ret, struct err *err);

/* ---- registries_conf.c ---- */

/* Reads one file, the next to count. */
int registries_add(struct registries *registries, const char *file, const void *data, size_t len,
		   struct err *err);

/* 1 and the endpoints that [[registry]] gives for the name; 0 where none fits. -EPERM: blocked. */
int registries_conf_find(const struct registries *registries, const char *name,
			 struct endpoints *ret, struct err *err);

/* What the name stands for, a file's; NULL: no alias. */
const char *registries_conf_alias(const struct registries *registries, const char *name);
/* The array of strings, a file's; NULL: none is configured. */
const struct json *registries_conf_search(const struct registries *registries);

/* ---- registries_hosts.c ---- */

/* The endpoints that a hosts.toml in `dir` gives for the repository of the host. */
int hosts_parse(const void *data, size_t len, const char *dir, const char *host,
		const char *repository, struct endpoints *ret, struct err *err);

/* 1 and the endpoints that a directory for the host gives, 0 where there is none. */
int hosts_find(const struct registries *registries, const char *host, const char *repository,
	       struct endpoints *ret, struct err *err);

/* ---- registries_certs.c ---- */

/* Adds what lies in the directory; the first client certificate counts. 1, or 0 where it is not there. */
int certs_read(const char *dir, struct endpoint *endpoint, struct err *err);

/* Adds what is configured for the endpoint's host. */
int certs_find(const struct registries *registries, struct endpoint *endpoint, struct err *err);

#endif
