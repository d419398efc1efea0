/* SPDX-License-Identifier: Apache-2.0 */
/*
 * listen: a unix socket with a name.
 *
 * The name appears with a socket that listens already, mode 0600: it is bound to another name beside it, and
 * moved. What a server that died left there is replaced; a server that lives is not.
 */
#ifndef CMD_SERVE_LISTEN_H
#define CMD_SERVE_LISTEN_H

#include <sys/types.h>

#include "driver/base/err.h"

/* Which socket of that name ours is. */
struct listen_name {
	dev_t dev;
	ino_t ino;
};

/*
 * Listens at the path; missing directories are made (0755). A descriptor, or
 *  -ENAMETOOLONG  no unix socket can be called so
 *  -EADDRINUSE    somebody serves there
 *  -EEXIST        there is something of that name which is no socket
 */
int listen_unix(const char *path, struct listen_name *ret_name, struct err *err);

/* Removes the name, if it is still ours. */
void listen_remove(const char *path, const struct listen_name *name);

#endif
