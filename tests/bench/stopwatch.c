/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stopwatch FILE COMMAND [ARGUMENT...]: runs a command and writes four numbers into FILE: when it
 * was started and when it had ended (CLOCK_MONOTONIC, ns), the CPU time it took (us), and the peak
 * memory of the largest process (KiB); both with the children it waited for. What is between is
 * starting the process, the process, and its end: no shell.
 *
 * The kernel counts into a process's peak what the one was that started it, before exec: hence a
 * small program, where a script's interpreter would be the largest.
 *
 * Exit status: the command's; 128 and the signal's number where one ended it; 125 to 127 as env(1).
 */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>

struct measured {
	int64_t start_ns, end_ns, cpu_us, peak_kib;
	int status;
};

static int64_t now_ns(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static int64_t to_us(struct timeval time)
{
	return (int64_t)time.tv_sec * 1000000 + time.tv_usec;
}

/* 0 or an errno: posix_spawn's convention. */
static int measure(char **command, struct measured *ret)
{
	struct measured m;
	struct rusage usage;
	pid_t pid;
	int r;

	m.start_ns = now_ns();
	r = posix_spawnp(&pid, command[0], NULL, NULL, command, environ);
	if (r != 0)
		return r;
	while (wait4(pid, &m.status, 0, &usage) < 0)
		if (errno != EINTR)
			return errno;
	m.end_ns = now_ns();
	m.cpu_us = to_us(usage.ru_utime) + to_us(usage.ru_stime);
	m.peak_kib = usage.ru_maxrss;
	*ret = m;
	return 0;
}

static int write_result(const char *path, const struct measured *m)
{
	FILE *file = fopen(path, "we");

	if (!file)
		return -errno;
	(void)fprintf(file, "%" PRId64 " %" PRId64 " %" PRId64 " %" PRId64 "\n", m->start_ns,
		      m->end_ns, m->cpu_us, m->peak_kib);
	return fclose(file) != 0 ? -errno : 0;
}

int main(int argc, char **argv)
{
	struct measured m = { 0 };
	int r;

	if (argc < 3) {
		(void)fprintf(stderr, "usage: stopwatch FILE COMMAND [ARGUMENT...]\n");
		return 125;
	}
	r = measure(argv + 2, &m);
	if (r != 0) {
		(void)fprintf(stderr, "stopwatch: %s: %s\n", argv[2], strerror(r));
		return r == ENOENT ? 127 : 126;
	}
	r = write_result(argv[1], &m);
	if (r < 0) {
		(void)fprintf(stderr, "stopwatch: %s: %s\n", argv[1], strerror(-r));
		return 125;
	}
	return WIFEXITED(m.status) ? WEXITSTATUS(m.status) : 128 + WTERMSIG(m.status);
}
