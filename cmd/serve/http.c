/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/serve/http.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cmd/serve/http_internal.h"
#include "driver/base/auto.h"
#include "driver/base/clock.h"
#include "driver/base/dl.h"

/* Of a connection: half is what is read at once, the other takes an answer's piece and the headers. */
#define CONN_BYTES   ((size_t)256 << 10)
#define LINE_MAX_LEN 1024
#define LINES_MAX    5			    /* of libmicrohttpd, in a second */
#define LOOK_NS	     (CLOCK_SECOND_NS / 20) /* while draining */

/* ---- libmicrohttpd ---- */

struct http_mhd http_mhd;

static const struct dl_symbol symbols[] = {
	{ "MHD_start_daemon", &http_mhd.start_daemon },
	{ "MHD_stop_daemon", &http_mhd.stop_daemon },
	{ "MHD_quiesce_daemon", &http_mhd.quiesce_daemon },
	{ "MHD_get_connection_info", &http_mhd.get_connection_info },
	{ "MHD_get_connection_values_n", &http_mhd.get_connection_values_n },
	{ "MHD_create_response_from_buffer", &http_mhd.response_from_buffer },
	{ "MHD_create_response_from_callback", &http_mhd.response_from_callback },
	{ "MHD_add_response_header", &http_mhd.add_response_header },
	{ "MHD_queue_response", &http_mhd.queue_response },
	{ "MHD_destroy_response", &http_mhd.destroy_response },
};

static struct dl_library library = {
	.soname = "libmicrohttpd.so.12",
	.package = "libmicrohttpd12",
	.symbols = symbols,
	.symbol_count = ARRAY_LEN(symbols),
	.lock = PTHREAD_MUTEX_INITIALIZER,
};

/* Where descriptors run out, libmicrohttpd says so 50000 times a second. */
static bool may_say(struct http_server *server)
{
	long long second = clock_ns() / CLOCK_SECOND_NS;

	if (atomic_exchange(&server->said_second, second) != second)
		atomic_store(&server->said_lines, 0);
	return atomic_fetch_add(&server->said_lines, 1) < LINES_MAX;
}

static void __attribute__((format(printf, 2, 0))) on_log(void *arg, const char *fmt, va_list ap)
{
	struct http_server *server = arg;
	char line[LINE_MAX_LEN];
	int len;

	if (!may_say(server))
		return;
	len = vsnprintf(line, sizeof(line), fmt, ap);
	while (len > 0 && (size_t)len < sizeof(line) && line[len - 1] == '\n')
		line[--len] = '\0';
	if (server->options.log && len > 0)
		server->options.log(server->options.arg, line);
}

/* ---- calls ---- */

static struct http_conn *conn_of(struct MHD_Connection *connection)
{
	const union MHD_ConnectionInfo *info =
		http_mhd.get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);

	return info->socket_context;
}

static void set_call(struct http_conn *conn, struct http_call *call)
{
	struct http_server *server = conn->listener->server;

	(void)pthread_mutex_lock(&server->lock);
	conn->call = call;
	(void)pthread_mutex_unlock(&server->lock);
}

/* First with the headers, then with pieces of the body, then without. */
static enum MHD_Result on_request(void *arg, struct MHD_Connection *connection, const char *url,
				  const char *method, const char *version, const char *data,
				  size_t *len, void **call_at)
{
	struct http_call *call = *call_at;
	struct http_conn *conn;

	if (call && *len) {
		http_call_feed(call, data, *len);
		*len = 0;
		return MHD_YES;
	}
	if (call)
		return http_call_reply(call, connection);
	conn = conn_of(connection);
	call = conn ? http_call_begin(conn, connection, url, method) : NULL;
	if (!call)
		return MHD_NO;
	*call_at = call;
	set_call(conn, call);
	return MHD_YES;
}

/* No more of this connection than what has come: it then ends by itself. */
static void close_input(const struct http_conn *conn)
{
	(void)shutdown(conn->fd, SHUT_RD);
}

static void on_completed(void *arg, struct MHD_Connection *connection, void **call_at,
			 enum MHD_RequestTerminationCode code)
{
	struct http_call *call = *call_at;
	struct http_conn *conn;

	if (!call)
		return;
	conn = conn_of(connection);
	*call_at = NULL;
	http_call_stop(call);
	set_call(conn, NULL);
	http_call_free(call);
	if (atomic_load(&conn->listener->server->draining))
		close_input(conn);
}

/* ---- connections ---- */

static bool let_in(struct http_conn *conn)
{
	struct ucred peer;
	socklen_t len = sizeof(peer);

	if (getsockopt(conn->fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0)
		return false;
	conn->pid = peer.pid;
	return peer.uid == 0 || peer.uid == geteuid();
}

static struct http_conn *conn_new(struct http_listener *listener, int fd)
{
	struct http_server *server = listener->server;
	struct http_conn *conn = calloc(1, sizeof(*conn));

	/* Without one, on_request ends it. */
	if (!conn || fd < 0) {
		free(conn);
		return NULL;
	}
	conn->listener = listener;
	conn->fd = fd;
	if (!let_in(conn)) {
		(void)shutdown(fd, SHUT_RDWR);
		if (server->options.log)
			server->options.log(server->options.arg,
					    "a connection was closed: it is of another user");
	}
	(void)pthread_mutex_lock(&server->lock);
	conn->next = server->conns;
	if (conn->next)
		conn->next->prev = conn;
	server->conns = conn;
	(void)pthread_mutex_unlock(&server->lock);
	return conn;
}

static void conn_free(struct http_conn *conn)
{
	struct http_server *server = conn->listener->server;

	(void)pthread_mutex_lock(&server->lock);
	if (conn->next)
		conn->next->prev = conn->prev;
	*(conn->prev ? &conn->prev->next : &server->conns) = conn->next;
	(void)pthread_cond_signal(&server->fewer);
	(void)pthread_mutex_unlock(&server->lock);
	free(conn);
}

static void on_connection(void *arg, struct MHD_Connection *connection, void **conn_at,
			  enum MHD_ConnectionNotificationCode code)
{
	const union MHD_ConnectionInfo *info;

	if (code == MHD_CONNECTION_NOTIFY_STARTED) {
		info = http_mhd.get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
		*conn_at = conn_new(arg, info ? info->connect_fd : -EBADF);
	} else if (*conn_at) {
		conn_free(*conn_at);
		*conn_at = NULL;
	}
}

/* ---- the server ---- */

int http_server_new(const struct http_options *options, struct http_server **ret, struct err *err)
{
	struct http_server *server;
	pthread_condattr_t attr;
	int r = dl_load(&library, err);

	if (r < 0)
		return r;
	server = calloc(1, sizeof(*server));
	if (!server)
		return fail_oom(err);
	server->options = *options;
	(void)pthread_condattr_init(&attr);
	(void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	(void)pthread_cond_init(&server->fewer, &attr);
	(void)pthread_condattr_destroy(&attr);
	(void)pthread_mutex_init(&server->lock, NULL);
	*ret = server;
	return 0;
}

static struct MHD_Daemon *start(struct http_listener *listener)
{
	const unsigned int flags = MHD_USE_THREAD_PER_CONNECTION | MHD_USE_INTERNAL_POLLING_THREAD |
				   MHD_USE_POLL | MHD_USE_ITC | MHD_USE_ERROR_LOG |
				   MHD_USE_SUPPRESS_DATE_NO_CLOCK;
	struct MHD_Daemon *daemon;
	sigset_t all, before;

	/* As pool_thread does, for the same reason. */
	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &before);
	/* The logger comes first: it is told of what the other options are wrong in. */
	daemon = http_mhd.start_daemon(flags, 0, NULL, NULL, on_request, listener,
				       MHD_OPTION_EXTERNAL_LOGGER, on_log, listener->server,
				       MHD_OPTION_LISTEN_SOCKET, listener->fd,
				       MHD_OPTION_CONNECTION_LIMIT,
				       (unsigned int)HTTP_CONNECTIONS_MAX,
				       MHD_OPTION_CONNECTION_MEMORY_LIMIT, CONN_BYTES,
				       MHD_OPTION_CONNECTION_TIMEOUT, 0U,
				       MHD_OPTION_NOTIFY_COMPLETED, on_completed, listener,
				       MHD_OPTION_NOTIFY_CONNECTION, on_connection, listener,
				       MHD_OPTION_END);
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	return daemon;
}

int http_server_listen(struct http_server *server, int fd, void *tag, struct err *err)
{
	struct http_listener *listener = calloc(1, sizeof(*listener));

	if (!listener)
		return fail_oom(err);
	*listener = (struct http_listener){ .server = server, .tag = tag };
	listener->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (listener->fd < 0) {
		free(listener);
		return fail(err, -errno, "listen for HTTP: %m");
	}
	listener->daemon = start(listener);
	if (!listener->daemon) {
		/* Whether it has closed its descriptor it does not tell. */
		free(listener);
		return fail(err, -ENOMEM, "listen for HTTP: libmicrohttpd does not start");
	}
	listener->next = server->listeners;
	server->listeners = listener;
	return 0;
}

/* ---- the end ---- */

static bool has_input(const struct http_conn *conn)
{
	int bytes = 0;

	return ioctl(conn->fd, FIONREAD, &bytes) == 0 && bytes > 0;
}

static void cut_locked(struct http_server *server)
{
	for (struct http_conn *conn = server->conns; conn; conn = conn->next) {
		if (conn->call)
			http_call_cut(conn->call);
		(void)shutdown(conn->fd, SHUT_RDWR);
	}
}

static void stop_accepting(struct http_server *server)
{
	if (atomic_exchange(&server->draining, true))
		return;
	for (struct http_listener *l = server->listeners; l; l = l->next)
		(void)http_mhd.quiesce_daemon(l->daemon);
}

void http_server_drain(struct http_server *server, unsigned int seconds)
{
	int64_t until_ns = clock_ns() + (int64_t)seconds * CLOCK_SECOND_NS;

	stop_accepting(server);
	(void)pthread_mutex_lock(&server->lock);
	while (server->conns && clock_ns() < until_ns) {
		struct timespec look = clock_after(LOOK_NS);

		/* What is on its way in is a call yet to come. */
		for (struct http_conn *conn = server->conns; conn; conn = conn->next)
			if (!conn->call && !has_input(conn))
				close_input(conn);
		(void)pthread_cond_timedwait(&server->fewer, &server->lock, &look);
	}
	cut_locked(server);
	(void)pthread_mutex_unlock(&server->lock);
}

void http_server_free(struct http_server *server)
{
	if (!server)
		return;
	stop_accepting(server);
	(void)pthread_mutex_lock(&server->lock);
	cut_locked(server);
	(void)pthread_mutex_unlock(&server->lock);
	for (struct http_listener *l = server->listeners, *next; l; l = next) {
		next = l->next;
		http_mhd.stop_daemon(l->daemon);
		(void)close(l->fd);
		free(l);
	}
	(void)pthread_cond_destroy(&server->fewer);
	(void)pthread_mutex_destroy(&server->lock);
	free(server);
}
