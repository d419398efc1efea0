/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/serve/grpc.h"

#include <assert.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cmd/serve/grpc_internal.h"
#include "driver/base/clock.h"
#include "driver/base/utf8.h"

#define CONNS_MAX	1024
#define EVENTS_MAX	64
#define ACCEPTS_MAX	16 /* in a row, so that calls get their turn */
#define PATIENCE_MS	10000
#define ACCEPT_AGAIN_NS (CLOCK_SECOND_NS / 10) /* after descriptors ran out */
#define WORDS_MAX	((size_t)4 << 10)

/* The server whose I/O thread this one is. */
static _Thread_local const struct grpc_server *thread_of;

void grpc_log(struct grpc_server *server, const char *fmt, ...)
{
	char line[512];
	va_list ap;

	if (!server->options.log)
		return;
	va_start(ap, fmt);
	(void)vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	server->options.log(server->options.arg, line);
}

/* ---- making and ending ---- */

static int watch(struct grpc_server *server, int op, int fd, uint32_t events, void *what)
{
	struct epoll_event event = { .events = events, .data.ptr = what };

	return epoll_ctl(server->epoll_fd, op, fd, &event) < 0 ? -errno : 0;
}

int grpc_server_new(const struct grpc_options *options, struct grpc_server **ret, struct err *err)
{
	struct grpc_server *server = calloc(1, sizeof(*server));
	int r;

	if (!server)
		return fail_oom(err);
	server->options = *options;
	server->patience_ns = (options->patience_ms ? options->patience_ms : PATIENCE_MS) *
			      (CLOCK_SECOND_NS / 1000);
	server->wake = GRPC_WAKE;
	server->finished_end = &server->finished;
	server->spare.max = SIZE_MAX - 1;
	(void)pthread_mutex_init(&server->lock, NULL);
	server->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	server->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	r = server->epoll_fd < 0 || server->wake_fd < 0 ? -errno : 0;
	/* Edge-triggered: each write wakes once, and nobody has to read. */
	if (r == 0)
		r = watch(server, EPOLL_CTL_ADD, server->wake_fd, EPOLLIN | EPOLLET, &server->wake);
	if (r < 0) {
		grpc_server_free(server);
		return fail(err, r, "begin to wait for connections: %m");
	}
	*ret = server;
	return 0;
}

static void take_finished(struct grpc_server *server)
{
	struct grpc_call *call;

	(void)pthread_mutex_lock(&server->lock);
	call = server->finished;
	server->finished = NULL;
	server->finished_end = &server->finished;
	(void)pthread_mutex_unlock(&server->lock);
	for (struct grpc_call *next; call; call = next) {
		next = call->next_finished;
		server->running--;
		grpc_stream_answer(call);
	}
}

static void reap(struct grpc_server *server)
{
	for (struct grpc_conn *conn; (conn = server->dead);) {
		server->dead = conn->next;
		grpc_conn_free(conn);
	}
}

/* Closes it as soon as no event can speak of it any more. */
static void bury(struct grpc_conn *conn)
{
	struct grpc_server *server = conn->server;

	(void)epoll_ctl(server->epoll_fd, EPOLL_CTL_DEL, conn->fd, NULL);
	*conn->at = conn->next;
	if (conn->next)
		conn->next->at = conn->at;
	conn->at = NULL;
	conn->next = server->dead;
	server->dead = conn;
	server->conn_count--;
}

void grpc_server_free(struct grpc_server *server)
{
	if (!server)
		return;
	for (struct grpc_conn *conn; (conn = server->conns);) {
		server->conns = conn->next;
		grpc_conn_free(conn);
	}
	reap(server);
	take_finished(server);
	assert(server->running == 0);
	for (struct grpc_listener *listener; (listener = server->listeners);) {
		server->listeners = listener->next;
		free(listener);
	}
	if (server->wake_fd >= 0)
		(void)close(server->wake_fd);
	if (server->epoll_fd >= 0)
		(void)close(server->epoll_fd);
	buf_release(&server->spare);
	(void)pthread_mutex_destroy(&server->lock);
	free(server);
}

/* ---- accepting ---- */

int grpc_server_listen(struct grpc_server *server, int listen_fd, void *tag, struct err *err)
{
	auto_free struct grpc_listener *listener = malloc(sizeof(*listener));
	int flags = fcntl(listen_fd, F_GETFL), r;

	if (!listener)
		return fail_oom(err);
	if (flags < 0 || fcntl(listen_fd, F_SETFL, flags | O_NONBLOCK) < 0)
		return fail(err, -errno, "listen: %m");
	*listener = (struct grpc_listener){ GRPC_LISTENER, listen_fd, tag, server->listeners };
	/* Looked at from the first turn on. */
	r = watch(server, EPOLL_CTL_ADD, listen_fd, 0, listener);
	if (r < 0)
		return fail(err, r, "listen: %m");
	server->accepting = false;
	server->listeners = take_ptr(listener);
	return 0;
}

static int add_conn(struct grpc_server *server, struct grpc_conn *conn, struct err *err)
{
	int r = grpc_conn_begin(conn, err);

	if (r < 0)
		return r;
	conn->events = EPOLLIN;
	r = watch(server, EPOLL_CTL_ADD, conn->fd, conn->events, conn);
	if (r < 0)
		return fail(err, r, "wait for a connection: %m");
	conn->next = server->conns;
	conn->at = &server->conns;
	if (conn->next)
		conn->next->at = &conn->next;
	server->conns = conn;
	server->conn_count++;
	grpc_touch(conn);
	return 0;
}

int grpc_server_adopt(struct grpc_server *server, int fd, void *tag, struct err *err)
{
	struct grpc_conn *conn = calloc(1, sizeof(*conn));
	int r;

	if (!conn) {
		(void)close(fd);
		return fail_oom(err);
	}
	conn->source = GRPC_CONN;
	conn->fd = fd;
	conn->server = server;
	conn->tag = tag;
	conn->out.max = server->spare.max;
	r = add_conn(server, conn, err);
	if (r < 0)
		grpc_conn_free(conn);
	return r;
}

/* The mode of the socket says the same; but a directory of a socket that was passed to us may be anybody's. */
static bool is_let_in(struct grpc_server *server, int fd)
{
	struct ucred peer;
	socklen_t len = sizeof(peer);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0) {
		grpc_log(server, "a connection was refused: nobody knows whose it is");
		return false;
	}
	if (peer.uid == 0 || peer.uid == geteuid())
		return true;
	grpc_log(server, "a connection of process %d of user %u was refused: only root may connect",
		 (int)peer.pid, (unsigned int)peer.uid);
	return false;
}

static void accept_failed(struct grpc_server *server, int code)
{
	/* Who hung up in the meantime is no failure. */
	if (code == EAGAIN || code == ECONNABORTED || code == EINTR)
		return;
	/* The connection stays in the queue, and would wake us at once again. */
	errno = code;
	if (!server->accept_failing)
		grpc_log(server, "accept a connection: %m; tried again until it can be");
	server->accept_failing = true;
	server->accept_again_ns = clock_ns() + ACCEPT_AGAIN_NS;
}

static void accept_some(struct grpc_server *server, const struct grpc_listener *listener)
{
	struct err err = { 0 };

	for (int i = 0; i < ACCEPTS_MAX && server->conn_count < CONNS_MAX; i++) {
		int fd = accept4(listener->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

		if (fd < 0) {
			accept_failed(server, errno);
			return;
		}
		server->accept_failing = false;
		if (!is_let_in(server, fd))
			(void)close(fd);
		else if (grpc_server_adopt(server, fd, listener->tag, &err) < 0)
			grpc_log(server, "a connection was closed: %s", err.text);
	}
}

/* Connections wait in the kernel's queue while there are too many, or no descriptors. */
static void set_accepting(struct grpc_server *server)
{
	bool accepting = !server->draining && server->conn_count < CONNS_MAX;

	if (server->accept_again_ns && clock_ns() >= server->accept_again_ns)
		server->accept_again_ns = 0;
	accepting = accepting && !server->accept_again_ns;
	if (accepting == server->accepting)
		return;
	server->accepting = accepting;
	for (struct grpc_listener *l = server->listeners; l; l = l->next)
		(void)watch(server, EPOLL_CTL_MOD, l->fd, accepting ? EPOLLIN : 0, l);
}

/* ---- the I/O thread ---- */

void grpc_touch(struct grpc_conn *conn)
{
	if (conn->dirty)
		return;
	conn->dirty = true;
	conn->next_dirty = conn->server->dirty;
	conn->server->dirty = conn;
}

static void write_touched(struct grpc_server *server)
{
	for (struct grpc_conn *conn; (conn = server->dirty);) {
		uint32_t events = conn->events;
		int r;

		server->dirty = conn->next_dirty;
		conn->dirty = false;
		if (!conn->at)
			continue; /* buried */
		r = grpc_conn_write(conn);
		if (r == 0 && conn->events != events)
			r = watch(server, EPOLL_CTL_MOD, conn->fd, conn->events, conn);
		if (r < 0)
			bury(conn);
	}
}

static void drain_all(struct grpc_server *server)
{
	int64_t now = clock_ns();

	server->draining = true;
	for (struct grpc_conn *conn = server->conns, *next; conn; conn = next) {
		next = conn->next;
		if (grpc_conn_drain(conn, now) < 0)
			bury(conn);
	}
}

/* When something is due that no event tells of. */
static int sleep_ms(const struct grpc_server *server)
{
	int64_t until = server->accept_again_ns ? server->accept_again_ns : INT64_MAX, left;

	for (struct grpc_conn *conn = server->draining ? server->conns : NULL; conn;
	     conn = conn->next)
		if (conn->until_ns < until)
			until = conn->until_ns;
	if (until == INT64_MAX)
		return -1;
	left = (until - clock_ns()) / (CLOCK_SECOND_NS / 1000) + 1;
	if (left < 0)
		return 0;
	return left > INT_MAX ? INT_MAX : (int)left;
}

static void handle(struct grpc_server *server, const struct epoll_event *event)
{
	struct grpc_conn *conn = event->data.ptr;

	switch (*(const enum grpc_source *)event->data.ptr) {
	case GRPC_WAKE:
		break;
	case GRPC_LISTENER:
		accept_some(server, event->data.ptr);
		break;
	case GRPC_CONN:
		if (!conn->at)
			break; /* buried */
		/* What hung up while it is not read from would be told of again and again. */
		if (conn->events & EPOLLIN ?
			    event->events & ~(uint32_t)EPOLLOUT && grpc_conn_read(conn) < 0 :
			    event->events & (EPOLLHUP | EPOLLERR))
			bury(conn);
		else
			grpc_touch(conn);
		break;
	}
}

int grpc_server_turn(struct grpc_server *server, int timeout_ms, struct err *err)
{
	struct epoll_event events[EVENTS_MAX];
	int count, ms;

	take_finished(server);
	if (atomic_load(&server->drain))
		drain_all(server);
	write_touched(server);
	reap(server);
	set_accepting(server);
	if (server->draining && !server->conns && server->running == 0)
		return 1;
	ms = sleep_ms(server);
	if (timeout_ms >= 0 && (ms < 0 || timeout_ms < ms))
		ms = timeout_ms;
	count = epoll_wait(server->epoll_fd, events, EVENTS_MAX, ms);
	if (count < 0 && errno != EINTR)
		return fail(err, -errno, "wait for connections: %m");
	for (int i = 0; i < count; i++)
		handle(server, &events[i]);
	return 0;
}

int grpc_server_run(struct grpc_server *server, struct err *err)
{
	int r;

	thread_of = server;
	do
		r = grpc_server_turn(server, -1, err);
	while (r == 0);
	thread_of = NULL;
	/* Who finished the last call may be about to wake us. */
	while (atomic_load(&server->finishing) > 0)
		(void)sched_yield();
	return r < 0 ? r : 0;
}

static void wake(struct grpc_server *server)
{
	static const uint64_t one = 1;

	(void)!write(server->wake_fd, &one, sizeof(one));
}

void grpc_server_drain(struct grpc_server *server)
{
	int saved = errno;

	atomic_store(&server->drain, true);
	wake(server);
	errno = saved;
}

/* ---- calls ---- */

const char *grpc_call_path(const struct grpc_call *call)
{
	return call->path;
}

const uint8_t *grpc_call_message(const struct grpc_call *call, size_t *ret_len)
{
	*ret_len = call->request.len - GRPC_PREFIX_LEN;
	return (const uint8_t *)call->request.data + GRPC_PREFIX_LEN;
}

void *grpc_call_tag(const struct grpc_call *call)
{
	return call->tag;
}

int64_t grpc_call_deadline(const struct grpc_call *call)
{
	return call->deadline_ns;
}

bool grpc_call_cancelled(const struct grpc_call *call)
{
	return atomic_load_explicit(&call->cancelled, memory_order_relaxed);
}

int grpc_call_send(struct grpc_call *call, const void *message, size_t len, struct err *err)
{
	uint8_t prefix[GRPC_PREFIX_LEN] = { 0, (uint8_t)(len >> 24), (uint8_t)(len >> 16),
					    (uint8_t)(len >> 8), (uint8_t)len };

	if (len > GRPC_ANSWER_BYTES_MAX)
		call->answer.status = -EFBIG;
	/* Both or neither. */
	if (buf_room(&call->answer, sizeof(prefix) + len)) {
		(void)buf_append(&call->answer, prefix, sizeof(prefix));
		(void)buf_append(&call->answer, message, len);
	}
	return buf_status(&call->answer, err);
}

/* Percent-encoded, as PROTOCOL-HTTP2.md has it for grpc-message. */
static void encode_words(struct buf *to, const char *text)
{
	size_t len = strnlen(text, WORDS_MAX), step;

	for (size_t i = 0; i < len; i += step) {
		unsigned char c = (unsigned char)text[i];

		step = utf8_char(text + i, len - i);
		if (!step) {
			(void)buf_puts(to, "%EF%BF%BD"); /* U+FFFD, for what is not UTF-8 */
			step = 1;
		} else if (c >= 0x20 && c <= 0x7e && c != '%') {
			(void)buf_putc(to, (char)c);
		} else {
			for (size_t k = 0; k < step; k++)
				(void)buf_printf(to, "%%%02X", (unsigned char)text[i + k]);
		}
	}
}

void grpc_call_finish(struct grpc_call *call, enum grpc_status status, const char *message)
{
	struct grpc_server *server = call->server;
	bool was_empty;

	if (call->answer.status) {
		status = GRPC_RESOURCE_EXHAUSTED;
		message = "the answer is too long, or there is too little memory for it";
		buf_release(&call->answer);
	}
	call->status = status;
	if (message)
		encode_words(&call->words, message);
	call->next_finished = NULL;

	(void)atomic_fetch_add(&server->finishing, 1);
	(void)pthread_mutex_lock(&server->lock);
	was_empty = !server->finished;
	*server->finished_end = call;
	server->finished_end = &call->next_finished;
	(void)pthread_mutex_unlock(&server->lock);
	/* The I/O thread looks by itself before it sleeps. */
	if (was_empty && thread_of != server)
		wake(server);
	(void)atomic_fetch_sub(&server->finishing, 1);
}
