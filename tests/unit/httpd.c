/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/httpd.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "driver/base/buf.h"

#include <cmocka.h>

#define ANSWERS_MAX	64
#define CONNECTIONS_MAX 256
#define REQUEST_MAX	((size_t)1 << 20)

struct connection {
	struct httpd *server;
	pthread_t thread;
	int fd; /* under lock; -EBADF: closed */
};

struct httpd {
	int fd;
	char host[32];
	pthread_t thread;
	struct httpd_answer answers[ANSWERS_MAX];
	pthread_mutex_t lock;
	pthread_cond_t changed;
	/* under lock */
	char *requests[CONNECTIONS_MAX];
	size_t count;
	struct connection connections[CONNECTIONS_MAX];
	size_t connected;
	unsigned int goes;
	bool stopping;
};

/* ---- one connection ---- */

static bool send_all(int fd, const char *data, size_t len)
{
	while (len > 0) {
		ssize_t n = send(fd, data, len, MSG_NOSIGNAL);

		if (n <= 0)
			return false;
		data += n;
		len -= (size_t)n;
	}
	return true;
}

/* Whether the head is there, and as much of a body as it states. */
static bool is_whole(const char *text, size_t len)
{
	const char *end = strstr(text, "\r\n\r\n"),
		   *length = strcasestr(text, "\r\ncontent-length:");

	if (!end)
		return false;
	return !length || length > end ||
	       len - (size_t)(end + 4 - text) >= strtoul(length + 17, NULL, 10);
}

/* The request's text; NULL: it did not come. */
static char *read_request(int fd)
{
	auto_buf struct buf text = { .max = REQUEST_MAX };

	for (;;) {
		char *room = buf_room(&text, 65536);
		ssize_t n = room ? recv(fd, room, 65536, 0) : -1;

		if (n <= 0)
			return NULL;
		buf_end(&text, (size_t)n);
		/* A handshake begins with a record of type 22. */
		if (text.data[0] == 22)
			return strdup("TLS");
		if (is_whole(buf_text(&text), text.len))
			return buf_take(&text);
	}
}

/* Takes the request, and the answer that it gets. */
static struct httpd_answer choose(struct httpd *h, char *request)
{
	static const struct httpd_answer none = { .head = "418 Not Expected" };
	static const struct httpd_answer plain = { .body = "HTTP/1.0 400 Bad Request\r\n\r\n" };
	const char *target = strchr(request, ' ');
	struct httpd_answer found = target ? none : plain;

	(void)pthread_mutex_lock(&h->lock);
	for (struct httpd_answer *a = h->answers; target && a->path; a++)
		if (a->path[0] && strncmp(target + 1, a->path, strlen(a->path)) == 0) {
			found = *a;
			if (!a->again)
				a->path = "";
			break;
		}
	h->requests[h->count++] = request;
	(void)pthread_cond_broadcast(&h->changed);
	(void)pthread_mutex_unlock(&h->lock);
	return found;
}

static struct timespec deadline(void)
{
	struct timespec until;

	(void)clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += HTTPD_SECONDS;
	return until;
}

static void wait_for_go(struct httpd *h)
{
	const struct timespec until = deadline();
	int r = 0;

	(void)pthread_mutex_lock(&h->lock);
	while (r == 0 && !h->goes && !h->stopping)
		r = pthread_cond_timedwait(&h->changed, &h->lock, &until);
	if (h->goes)
		h->goes--;
	(void)pthread_mutex_unlock(&h->lock);
}

static bool send_head(int fd, const struct httpd_answer *a, size_t len)
{
	auto_buf struct buf text = { .max = 4 << 20 };

	if (!a->head)
		return true;
	(void)buf_printf(&text, "HTTP/1.1 %s\r\nConnection: close\r\n", a->head);
	if (!strstr(a->head, "Content-Length:") && !strstr(a->head, "Transfer-Encoding:"))
		(void)buf_printf(&text, "Content-Length: %zu\r\n", len);
	(void)buf_puts(&text, "\r\n");
	return send_all(fd, buf_text(&text), text.len);
}

static void answer(struct httpd *h, int fd, const struct httpd_answer *a, bool head_only)
{
	const char *body = a->body ? a->body : "";
	size_t len = a->len ? a->len : strlen(body);
	size_t first = a->then == HTTPD_REST ? len : a->first;
	const struct linger reset = { .l_onoff = 1 };

	if (!send_head(fd, a, len) || head_only || !send_all(fd, body, first))
		return;
	if (a->then == HTTPD_RESET)
		(void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
	if (a->then != HTTPD_WAIT)
		return;
	wait_for_go(h);
	(void)send_all(fd, body + first, len - first);
}

static void *serve(void *arg)
{
	struct connection *c = arg;
	struct httpd *h = c->server;
	int fd = c->fd;
	char *request = read_request(fd);

	if (request) {
		bool head_only = strncmp(request, "HEAD ", 5) == 0;
		struct httpd_answer a = choose(h, request);

		answer(h, fd, &a, head_only);
	}
	(void)pthread_mutex_lock(&h->lock);
	(void)close(fd);
	c->fd = -EBADF;
	(void)pthread_mutex_unlock(&h->lock);
	return NULL;
}

/* ---- the server ---- */

static void *accept_all(void *arg)
{
	const struct timeval limit = { .tv_sec = HTTPD_SECONDS };
	struct httpd *h = arg;
	int fd;

	while ((fd = accept4(h->fd, NULL, NULL, SOCK_CLOEXEC)) >= 0) {
		(void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
		(void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
		(void)pthread_mutex_lock(&h->lock);
		if (h->connected < CONNECTIONS_MAX && !h->stopping) {
			struct connection *c = &h->connections[h->connected];

			*c = (struct connection){ .server = h, .fd = fd };
			if (pthread_create(&c->thread, NULL, serve, c) == 0) {
				h->connected++;
				fd = -EBADF;
			}
		}
		(void)pthread_mutex_unlock(&h->lock);
		auto_close_fn(&fd);
	}
	return NULL;
}

static int bind_somewhere(char host[32])
{
	struct sockaddr_in address = { .sin_family = AF_INET,
				       .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(address);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, len), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &len), 0);
	(void)snprintf(host, 32, "127.0.0.1:%u", (unsigned int)ntohs(address.sin_port));
	return fd;
}

struct httpd *httpd_new(const struct httpd_answer *answers)
{
	struct httpd *h = calloc(1, sizeof(*h));

	assert_non_null(h);
	for (size_t i = 0; answers[i].path; i++) {
		assert_true(i + 1 < ANSWERS_MAX);
		h->answers[i] = answers[i];
	}
	(void)pthread_mutex_init(&h->lock, NULL);
	(void)pthread_cond_init(&h->changed, NULL);
	h->fd = bind_somewhere(h->host);
	assert_int_equal(listen(h->fd, 64), 0);
	assert_int_equal(pthread_create(&h->thread, NULL, accept_all, h), 0);
	return h;
}

void httpd_freep(struct httpd **server)
{
	struct httpd *h = *server;

	if (!h)
		return;
	(void)pthread_mutex_lock(&h->lock);
	h->stopping = true;
	(void)pthread_cond_broadcast(&h->changed);
	(void)shutdown(h->fd, SHUT_RDWR);
	for (size_t i = 0; i < h->connected; i++)
		if (h->connections[i].fd >= 0)
			(void)shutdown(h->connections[i].fd, SHUT_RDWR);
	(void)pthread_mutex_unlock(&h->lock);
	(void)pthread_join(h->thread, NULL);
	for (size_t i = 0; i < h->connected; i++)
		(void)pthread_join(h->connections[i].thread, NULL);
	for (size_t i = 0; i < h->count; i++)
		free(h->requests[i]);
	(void)close(h->fd);
	(void)pthread_mutex_destroy(&h->lock);
	(void)pthread_cond_destroy(&h->changed);
	free(h);
	*server = NULL;
}

/* ---- asking it ---- */

const char *httpd_host(const struct httpd *h)
{
	return h->host;
}

const char *httpd_url(const struct httpd *h, const char *path)
{
	static char urls[8][512];
	static unsigned int turn;
	char *url = urls[turn++ % ARRAY_LEN(urls)];

	(void)snprintf(url, sizeof(urls[0]), "http://%s%s", h->host, path);
	return url;
}

const char *httpd_request(struct httpd *h, size_t n)
{
	const char *request;

	(void)pthread_mutex_lock(&h->lock);
	request = n < h->count ? h->requests[n] : "";
	(void)pthread_mutex_unlock(&h->lock);
	return request;
}

size_t httpd_count(struct httpd *h)
{
	size_t count;

	(void)pthread_mutex_lock(&h->lock);
	count = h->count;
	(void)pthread_mutex_unlock(&h->lock);
	return count;
}

bool httpd_await(struct httpd *h, size_t count)
{
	const struct timespec until = deadline();
	bool there;
	int r = 0;

	(void)pthread_mutex_lock(&h->lock);
	while (r == 0 && h->count < count)
		r = pthread_cond_timedwait(&h->changed, &h->lock, &until);
	there = h->count >= count;
	(void)pthread_mutex_unlock(&h->lock);
	return there;
}

void httpd_go(struct httpd *h)
{
	(void)pthread_mutex_lock(&h->lock);
	h->goes++;
	(void)pthread_cond_broadcast(&h->changed);
	(void)pthread_mutex_unlock(&h->lock);
}

const char *httpd_nobody(void)
{
	static char host[32];

	/* Bound for good, so that nobody else gets it, but nothing listens. */
	if (!host[0])
		(void)bind_somewhere(host);
	return host;
}

void httpd_environment(const char *home)
{
	static const char *const places[] = { "HOME", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME",
					      "DOCKER_CONFIG" };
	static const char *const others[] = { "REGISTRY_AUTH_FILE", "SSL_CERT_FILE", "http_proxy",
					      "HTTP_PROXY",	    "all_proxy",     "ALL_PROXY",
					      "no_proxy",	    "NO_PROXY" };

	(void)alarm(600);
	for (size_t i = 0; home && i < ARRAY_LEN(places); i++)
		(void)setenv(places[i], home, 1);
	for (size_t i = 0; i < ARRAY_LEN(others); i++)
		(void)unsetenv(others[i]);
}
