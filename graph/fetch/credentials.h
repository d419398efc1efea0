/* SPDX-License-Identifier: Apache-2.0 */
/*
 * credentials: who we are for a registry, as docker, podman and skopeo keep it.
 *
 * Files, the first that has an answer counts (containers-auth.json(5)):
 *
 *	the one named by the caller (--authfile), or by $REGISTRY_AUTH_FILE: then no other
 *	$XDG_RUNTIME_DIR/containers/auth.json, or /run/containers/UID/auth.json
 *	$XDG_CONFIG_HOME/containers/auth.json, or ~/.config/containers/auth.json
 *	$DOCKER_CONFIG/config.json, or ~/.docker/config.json
 *
 * Of a file:
 *
 *	{"credHelpers": {"HOST": "NAME"},	docker-credential-NAME is asked
 *	 "auths": {"HOST/PATH": {"auth": "BASE64 OF USER:PASSWORD"}},
 *	 "credsStore": "NAME"}			likewise, where nothing else has an answer
 *
 * A helper for the host comes first; then the most specific key of "auths" (HOST/a/b, HOST/a, HOST); older
 * docker keys such as "https://HOST/v1/" mean HOST. docker.io, index.docker.io and registry-1.docker.io are one.
 * An entry may have "identitytoken" (for an OAuth2 token server), or "username" and "password".
 */
#ifndef GRAPH_FETCH_CREDENTIALS_H
#define GRAPH_FETCH_CREDENTIALS_H

#include <stdbool.h>

#include "driver/base/auto.h"
#include "driver/base/buf.h"
#include "driver/base/err.h"

#define CREDENTIALS_FILE_MAX   ((size_t)1 << 20) /* bytes */
#define CREDENTIALS_HELPER_MAX ((size_t)64 << 10)
#define CREDENTIALS_HELPER_MS  30000

/* Free a text, or a buffer's, after overwriting it. */
void secret_free(char **text);
void secret_release(struct buf *b);

/* All owned; release wipes them. */
struct credentials {
	char *user;
	char *secret;	     /* a password, or */
	bool identity_token; /* this */
	char *source; /* words on where they are from: "auths of /root/.docker/config.json" */
};
void credentials_release(struct credentials *c);
#define auto_credentials AUTO(credentials_release)

/* "user:password", as --creds takes it: -EINVAL where it is not. */
int credentials_parse(const char *text, struct credentials *ret, struct err *err);

/*
 * 1 and the credentials for `repository` ("library/nginx") of `host` ("docker.io", "localhost:5000"), 0
 * where there are none. authfile NULL: the files above; else it must be there. A file that cannot be read or
 * is not as it should be is an error that names it, but none that is missing.
 */
int credentials_find(const char *authfile, const char *host, const char *repository,
		     struct credentials *ret, struct err *err);

/*
 * Keeps them for the host, or forgets those that are kept: in authfile, or the first of the files above that
 * the environment names; by the helper, where that file has one for the host or for all. The file is replaced at
 * once, mode 0600, and all else in it stays. *ret_file is the file, the caller's. credentials_forget: 1, or 0
 * where there were none; host NULL: of all hosts, but not what a helper keeps.
 */
int credentials_store(const char *authfile, const char *host, const char *user, const char *secret,
		      char **ret_file, struct err *err);
int credentials_forget(const char *authfile, const char *host, char **ret_file, struct err *err);

#endif
