/* SPDX-License-Identifier: Apache-2.0 */
/*
 * docker_home: what GraphDriver.Init said. It does not come again when only we begin anew, so it is kept in the store,
 * as the setting "docker:NAME":
 *
 *	{"home":"/var/lib/docker/NAME", "options":["NAME.size=10G"], "uids":"0:100000:65536", "gids":"..."}
 *
 * A home is counted: a call holds the one it began with while Init puts another in its place.
 */
#ifndef CMD_SERVE_DOCKER_HOME_H
#define CMD_SERVE_DOCKER_HOME_H

#include <stdatomic.h>
#include <stdint.h>

#include "cmd/serve/docker_mounts.h"
#include "driver/base/json.h"
#include "graph/overlaid.h"

struct docker_home {
	atomic_uint users;
	char *path;	      /* dockerd's directory; nothing is kept there */
	char *scope;	      /* "docker:PATH" */
	char *uids, *gids;    /* maps; "": none */
	uint64_t size_bytes;  /* of containers that do not say how much they may write; 0: any */
	struct json *setting; /* as it is kept */
	struct mounts *mounts;
};

/* A plugin is served once in a store: a descriptor, which is that for as long as it is open. -EADDRINUSE. */
int docker_home_lock(struct overlaid *store, const char *name, struct err *err);

/* What a request of Init, of the plugin `name`, says: -EINVAL, -EOPNOTSUPP with words. `before` (NULL: there was
 * none) is the one it replaces. Nothing is kept yet. */
int docker_home_of_request(struct overlaid *store, const char *name, const struct json *request,
			   const struct docker_home *before, struct docker_home **ret,
			   struct err *err);
/* What was kept: 1, or 0: there was no Init yet. -EBADMSG: it makes no sense. */
int docker_home_load(struct overlaid *store, const char *name, struct docker_home **ret,
		     struct err *err);
int docker_home_keep(struct overlaid *store, const char *name, const struct docker_home *home,
		     struct err *err);

/* One more who has it, and one less. */
struct docker_home *docker_home_ref(struct docker_home *home);
void docker_home_unref(struct docker_home *home); /* NULL allowed */
void docker_home_unrefp(struct docker_home **home);
#define auto_docker_home AUTO(docker_home_unrefp)

/* Its maps, as the store wants them; they stay the home's. */
struct overlaid_maps docker_home_maps(const struct docker_home *home);

#endif
