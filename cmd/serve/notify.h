/* SPDX-License-Identifier: Apache-2.0 */
/*
 * notify: what a service says to systemd, and the sockets that it gets of it: sd_notify(3) and
 * sd_listen_fds(3). libsystemd is loaded only where systemd is there (NOTIFY_SOCKET, LISTEN_FDS).
 */
#ifndef CMD_SERVE_NOTIFY_H
#define CMD_SERVE_NOTIFY_H

#include <stddef.h>

#include "driver/base/err.h"

#define NOTIFY_SOCKETS_MAX 64

/* Says "READY=1", "STOPPING=1", "STATUS=..." (lines). 0, also where nobody wants to know. */
int notify(const char *state, struct err *err);

/* Sockets that were passed to this process, and their names (FileDescriptorName=, or "unknown"). */
struct notify_sockets {
	size_t count;
	int fds[NOTIFY_SOCKETS_MAX]; /* close-on-exec; whoever takes one sets it to -EBADF */
	char *names[NOTIFY_SOCKETS_MAX];
};

/* Takes those of the environment, once: children see no LISTEN_FDS. None is no failure. */
int notify_take_sockets(struct notify_sockets *ret, struct err *err);

/* The descriptor that listens at this path, taken; or -ENOENT. */
int notify_find(struct notify_sockets *sockets, const char *path);

/* Closes those that nobody took. */
void notify_sockets_release(struct notify_sockets *sockets);

#endif
