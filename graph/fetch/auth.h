/* SPDX-License-Identifier: Apache-2.0 */
/*
 * auth: what to put into the Authorization header of one registry, and what to do about a 401.
 *
 * Challenges (RFC 9110, 11.6.1; distribution's token and oauth2 specifications):
 *
 *	Basic	user and password
 *	Bearer	a token, asked for at the challenge's realm with its service and scope: by GET, with user
 *		and password as Basic where there are some; by POST with an identity token
 *
 * Credentials go to the registry they are for, and to the realm that it names; the realm is https,
 * unless it is on loopback, or on the registry's own
 * host, which is spoken to in plain HTTP. A token goes to the
 * registry only. One struct serves all threads that ask one registry.
 */
#ifndef GRAPH_FETCH_AUTH_H
#define GRAPH_FETCH_AUTH_H

#include <stddef.h>

#include "graph/fetch/credentials.h"
#include "graph/fetch/http.h"

#define AUTH_ANSWER_MAX	    ((size_t)256 << 10) /* bytes of a token server's answer */
#define AUTH_TOKEN_MAX	    ((size_t)64 << 10)
#define AUTH_ANSWER_SECONDS 60

/* One of the challenges of a header. */
struct challenge {
	char scheme[16]; /* in lower case: "bearer" */
	char realm[2048], service[512], scope[2048];
};
/* The first of the value's challenges that is understood: bearer, else basic. 1, 0 (none), or -EBADMSG
 * (it cannot be read, or is too long). */
int challenge_parse(const char *value, struct challenge *ret, struct err *err);

struct auth;

/* `credentials` may be empty; taken over. `scope` is asked for where the challenge names none;
 * NULL: none. */
int auth_new(struct http *http, struct credentials *credentials, const char *scope,
	     struct auth **ret, struct err *err);
void auth_freep(struct auth **auth);

/* "Basic ..." or "Bearer ..." to send next; NULL: nothing yet. The caller's, to be freed. */
char *auth_header(struct auth *auth);

/*
 * The answer to a request that was sent with `used` (or NULL) was this 401 of `url`. 0: ask again,
 * with what auth_header says now; -EACCES: there is nothing better to send. Else what asking for a
 * token failed with, and *trouble says whether another try may do.
 */
int auth_challenged(struct auth *auth, const char *url, const struct http_response *response,
		    const char *used, const struct http_trust *trust, const atomic_bool *cancelled,
		    enum http_trouble *trouble, struct err *err);

/* "with the credentials of auths in /root/.docker/config.json", "without credentials" */
const char *auth_words(const struct auth *auth);

#endif
