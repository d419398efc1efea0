/* SPDX-License-Identifier: Apache-2.0 */
#include "driver/base/run.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>

#include "driver/base/auto.h"
#include "driver/base/clock.h"
#include "driver/base/sys.h"

struct child {
	const struct run_plan *plan;
	pid_t pid;
	int fd; /* a socket: its stdin and stdout */
	size_t sent;
	int64_t deadline_ms;
};

static int left_ms(const struct child *c)
{
	int64_t left = c->deadline_ms - clock_ns() / 1000000;

	return left > 0 ? (int)left : 0;
}

static int place_descriptors(posix_spawn_file_actions_t *actions, const int *fds, size_t count)
{
	int r = 0;

	for (size_t i = 0; i < count && !r; i++) {
		if (fds[i] == RUN_NULL)
			r = posix_spawn_file_actions_addopen(actions, (int)i, "/dev/null", O_RDWR,
							     0);
		else if (fds[i] != RUN_KEEP)
			r = posix_spawn_file_actions_adddup2(actions, fds[i], (int)i);
	}
	return r ? r : posix_spawn_file_actions_addclosefrom_np(actions, (int)count);
}

int run_spawn(const char *program, char *const argv[], char *const env[], const int *fds,
	      size_t count, pid_t *ret, struct err *err)
{
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
	sigset_t signals;
	int r;

	(void)posix_spawn_file_actions_init(&actions);
	(void)posix_spawnattr_init(&attributes);
	(void)sigfillset(&signals);
	(void)posix_spawnattr_setsigdefault(&attributes, &signals);
	(void)sigemptyset(&signals);
	(void)posix_spawnattr_setsigmask(&attributes, &signals);
	(void)posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
	r = place_descriptors(&actions, fds, count);
	if (!r)
		r = posix_spawnp(ret, program, &actions, &attributes, argv, env);
	(void)posix_spawn_file_actions_destroy(&actions);
	(void)posix_spawnattr_destroy(&attributes);
	return r ? fail(err, -r, "start %s: %m", program) : 0;
}

/* What it has not read when it ends does not matter. */
static void feed(struct child *c)
{
	const char *input = c->plan->input;
	ssize_t done = 0;

	if (c->sent < c->plan->input_len)
		done = send(c->fd, input + c->sent, c->plan->input_len - c->sent,
			    MSG_NOSIGNAL | MSG_DONTWAIT);
	if (done > 0)
		c->sent += (size_t)done;
	if (done < 0 && errno != EAGAIN && errno != EINTR)
		c->sent = c->plan->input_len;
	if (c->sent == c->plan->input_len)
		(void)shutdown(c->fd, SHUT_WR);
}

/* 1: there may be more. */
static int drain(struct child *c, struct buf *out, struct err *err)
{
	char *room = buf_room(out, 4096);
	ssize_t len;

	if (!room)
		return buf_status(out, err);
	len = recv(c->fd, room, 4096, MSG_DONTWAIT);
	if (len < 0 && (errno == EAGAIN || errno == EINTR))
		return 1;
	buf_end(out, len > 0 ? (size_t)len : 0);
	return len > 0;
}

static int converse(struct child *c, struct buf *out, struct err *err)
{
	int r = 1;

	feed(c);
	while (r == 1) {
		struct pollfd p = { .fd = c->fd, .events = POLLIN };

		if (c->sent < c->plan->input_len)
			p.events |= POLLOUT;
		r = poll(&p, 1, left_ms(c));
		if (r == 0)
			return fail(err, -ETIMEDOUT, "%s: no answer for %u ms", c->plan->argv[0],
				    c->plan->timeout_ms);
		if (r < 0 && errno != EINTR)
			return fail(err, -errno, "wait for %s: %m", c->plan->argv[0]);
		if (p.revents & POLLOUT && c->sent < c->plan->input_len)
			feed(c);
		r = drain(c, out, err);
	}
	return r < 0 ? err_prefix(err, r, "what %s writes", c->plan->argv[0]) : 0;
}

/* Until it has ended, killed where `r` says that it failed or where it takes too long. */
static int reap(struct child *c, int r, struct err *err)
{
	auto_close int pidfd = sys_pidfd_open(c->pid);
	struct pollfd p = { .fd = pidfd, .events = POLLIN };
	int status;

	if (r == 0 && pidfd >= 0 && poll(&p, 1, left_ms(c)) == 0)
		r = fail(err, -ETIMEDOUT, "%s does not end", c->plan->argv[0]);
	if (r < 0)
		(void)kill(c->pid, SIGKILL);
	while (waitpid(c->pid, &status, 0) < 0)
		if (errno != EINTR)
			return r < 0 ? r : fail(err, -errno, "wait for %s: %m", c->plan->argv[0]);
	if (r < 0)
		return r;
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

int run_program(const struct run_plan *plan, struct buf *out, struct err *err)
{
	struct child c = { .plan = plan, .deadline_ms = clock_ns() / 1000000 + plan->timeout_ms };
	auto_close int ours = -EBADF, its = -EBADF;
	int pair[2], fds[3] = { RUN_NULL, RUN_NULL, RUN_NULL }, r;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return fail(err, -errno, "make a socket: %m");
	ours = c.fd = pair[0];
	its = pair[1];
	fds[0] = fds[1] = its;
	r = run_spawn(plan->argv[0], (char *const *)plan->argv, environ, fds, ARRAY_LEN(fds),
		      &c.pid, err);
	if (r < 0)
		return r;
	(void)close(take_fd(&its));
	r = converse(&c, out, err);
	return reap(&c, r, err);
}
