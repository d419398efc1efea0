/* SPDX-License-Identifier: Apache-2.0 */
/*
 * docker: a Docker graphdriver plugin (moby, daemon/graphdriver/proxy.go): HTTP and JSON at a socket that dockerd
 * finds by the plugin's name.
 *
 *	docker		the sixteen calls
 *	docker_home	what Init said: whose layers these are, options, maps; kept in the store
 *	docker_mounts	what is mounted, and how often it was asked for
 *	docker_json	what is in requests
 *
 * A layer of Docker's is a snapshot of the store (graph/overlaid.h), in the scope "docker:HOME". It is active until
 * it is filled (ApplyDiff) or has a child. Which calls made it says what it is:
 *
 *	Create			an image's layer, or a step of BuildKit's: durable once it was put back, has a child,
 *				or was exported
 *	CreateReadWrite		a container: what it syncs is synced
 *	CreateReadWrite, -init	the files that dockerd puts beneath a container; worth nothing after a crash
 *
 * What nobody was promised yet is mounted so that nothing waits for the disk.
 */
#ifndef CMD_SERVE_DOCKER_H
#define CMD_SERVE_DOCKER_H

#include "cmd/serve/serve.h"

#define DOCKER_PLUGINS "/run/docker/plugins"

struct docker;

/* The socket of what --docker names: DOCKER_PLUGINS/NAME.sock, or, where it has a slash, that path. And the
 * plugin's name. Both the caller's. -EINVAL: dockerd could not name it so. */
int docker_name(const char *argument, char **ret_path, char **ret_name, struct err *err);

/* `serve` and `name` outlive it. */
int docker_new(struct serve *serve, const char *name, struct docker **ret, struct err *err);
/* Serves at the listening socket, which stays the caller's. */
int docker_listen(struct docker *docker, int fd, struct err *err);
/* No new calls; waits for those under way, at most so long. */
void docker_drain(struct docker *docker, unsigned int seconds);
void docker_free(struct docker *docker); /* NULL allowed */

#endif
