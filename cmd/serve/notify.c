/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/serve/notify.h"

#include <stdlib.h>
#include <sys/socket.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "driver/base/auto.h"
#include "driver/base/dl.h"

static struct {
	int (*notify)(int, const char *);
	int (*listen_fds_with_names)(int, char ***);
	int (*is_socket_unix)(int, int, int, const char *, size_t);
} sd;

static const struct dl_symbol symbols[] = {
	{ "sd_notify", &sd.notify },
	{ "sd_listen_fds_with_names", &sd.listen_fds_with_names },
	{ "sd_is_socket_unix", &sd.is_socket_unix },
};

static struct dl_library library = {
	.soname = "libsystemd.so.0",
	.package = "libsystemd0",
	.symbols = symbols,
	.symbol_count = ARRAY_LEN(symbols),
	.lock = PTHREAD_MUTEX_INITIALIZER,
};

int notify(const char *state, struct err *err)
{
	int r;

	if (!getenv("NOTIFY_SOCKET"))
		return 0;
	r = dl_load(&library, err);
	if (r < 0)
		return err_prefix(err, r, "tell systemd");
	r = sd.notify(0, state);
	return r < 0 ? fail(err, r, "tell systemd: %m") : 0;
}

int notify_take_sockets(struct notify_sockets *ret, struct err *err)
{
	struct notify_sockets sockets = { 0 };
	char **names = NULL;
	int r;

	if (!getenv("LISTEN_FDS")) {
		*ret = sockets;
		return 0;
	}
	r = dl_load(&library, err);
	if (r < 0)
		return err_prefix(err, r, "take the sockets that were passed");
	r = sd.listen_fds_with_names(1, &names);
	if (r < 0)
		return fail(err, r, "take the sockets that were passed: %m");
	for (int i = 0; i < r; i++) {
		if (sockets.count == NOTIFY_SOCKETS_MAX) {
			(void)close(SD_LISTEN_FDS_START + i);
			free(names[i]);
			continue;
		}
		sockets.fds[sockets.count] = SD_LISTEN_FDS_START + i;
		sockets.names[sockets.count++] = names[i];
	}
	free(names);
	*ret = sockets;
	return 0;
}

int notify_find(struct notify_sockets *sockets, const char *path)
{
	for (size_t i = 0; i < sockets->count; i++)
		if (sockets->fds[i] >= 0 &&
		    sd.is_socket_unix(sockets->fds[i], SOCK_STREAM, 1, path, 0) > 0)
			return take_fd(&sockets->fds[i]);
	return -ENOENT;
}

void notify_sockets_release(struct notify_sockets *sockets)
{
	for (size_t i = 0; i < sockets->count; i++) {
		auto_close_fn(&sockets->fds[i]);
		free(sockets->names[i]);
	}
	sockets->count = 0;
}
