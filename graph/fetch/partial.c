/* SPDX-License-Identifier: Apache-2.0 */
#include "graph/fetch/partial.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "driver/base/buf.h"
#include "driver/base/fd.h"

#define SUFFIX	      ".validator"
#define NAME_SIZE     (DIGEST_TEXT_MAX + sizeof(SUFFIX))
#define VALIDATOR_MAX 1024
#define LOOK_MS	      20

static void validator_name(const struct digest *digest, char ret[NAME_SIZE])
{
	(void)snprintf(ret, NAME_SIZE, "%s%s", digest_hex(digest), SUFFIX);
}

/* Whether the name still is that file: its last writer may have dropped it before we had the lock. */
static bool is_named(int dir_fd, const char *name, int fd)
{
	struct stat there, here;

	return fstatat(dir_fd, name, &there, AT_SYMLINK_NOFOLLOW) == 0 && fstat(fd, &here) == 0 &&
	       there.st_dev == here.st_dev && there.st_ino == here.st_ino;
}

/* Waits for the lock. -EAGAIN without words: another process kept it for all that time. */
static int lock_within(int fd, unsigned int wait_ms)
{
	const struct timespec slice = { .tv_nsec = LOOK_MS * 1000000L };

	for (unsigned int waited = 0; flock(fd, LOCK_EX | LOCK_NB) < 0; waited += LOOK_MS) {
		if (errno != EWOULDBLOCK && errno != EINTR)
			return -errno;
		if (waited >= wait_ms)
			return -EAGAIN;
		(void)clock_nanosleep(CLOCK_MONOTONIC, 0, &slice, NULL);
	}
	return 0;
}

/* The named one, locked. -EAGAIN without words: another process has it. */
static int open_named(int dir_fd, const char *name, unsigned int wait_ms, struct err *err)
{
	for (;;) {
		auto_close int fd = openat(dir_fd, name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW,
					   0600);
		struct stat st;
		int r;

		if (fd < 0)
			return fail(err, -errno, "open partial/%s: %m", name);
		r = lock_within(fd, wait_ms);
		if (r < 0)
			return r == -EAGAIN ? r : fail(err, r, "lock partial/%s: %m", name);
		if (!is_named(dir_fd, name, fd))
			continue;
		/* It is a kept blob too, by another name, and may not change: one of our own. */
		if (fstat(fd, &st) == 0 && st.st_nlink > 1) {
			(void)unlinkat(dir_fd, name, 0);
			continue;
		}
		return take_fd(&fd);
	}
}

static void read_validator(struct partial *p)
{
	auto_buf struct buf text = { .max = VALIDATOR_MAX };
	char name[NAME_SIZE];

	validator_name(&p->digest, name);
	if (read_file_at(p->dir_fd, name, &text, NULL) >= 0 && text.len &&
	    strlen(buf_text(&text)) == text.len && !strpbrk(buf_text(&text), "\r\n"))
		p->validator = buf_take(&text);
}

int partial_open(int dir_fd, const struct digest *digest, int64_t size, unsigned int wait_ms,
		 struct partial *ret, struct err *err)
{
	auto_partial struct partial p = { .dir_fd = dir_fd, .fd = -EBADF, .digest = *digest };
	struct stat st;

	p.fd = open_named(dir_fd, digest_hex(digest), wait_ms, err);
	if (p.fd == -EAGAIN) {
		p.unnamed = true;
		p.fd = make_unnamed_at(dir_fd, "a file in partial/", err);
	}
	if (p.fd < 0)
		return p.fd;
	if (fstat(p.fd, &st) < 0)
		return fail(err, -errno, "look at partial/%s: %m", digest_hex(digest));
	if (st.st_size > size && ftruncate(p.fd, 0) < 0)
		return fail(err, -errno, "empty partial/%s: %m", digest_hex(digest));
	p.bytes = st.st_size > size ? 0 : st.st_size;
	if (p.bytes)
		read_validator(&p);
	*ret = p;
	p = (struct partial)PARTIAL_INIT;
	return 0;
}

void partial_set_validator(struct partial *p, const char *validator)
{
	char name[NAME_SIZE];

	if (p->validator && validator && strcmp(p->validator, validator) == 0)
		return;
	free(p->validator);
	p->validator = validator ? strdup(validator) : NULL;
	if (p->unnamed)
		return;
	validator_name(&p->digest, name);
	/* Without it, the rest is asked for without a condition. */
	if (!validator ||
	    replace_file_at(p->dir_fd, name, validator, strlen(validator), 0, NULL) < 0)
		(void)unlinkat(p->dir_fd, name, 0);
}

void partial_drop(struct partial *p)
{
	char name[NAME_SIZE];

	if (p->fd < 0 || p->unnamed || !is_named(p->dir_fd, digest_hex(&p->digest), p->fd))
		return;
	validator_name(&p->digest, name);
	(void)unlinkat(p->dir_fd, name, 0);
	(void)unlinkat(p->dir_fd, digest_hex(&p->digest), 0);
}

void partial_close(struct partial *p)
{
	auto_close_fn(&p->fd);
	p->fd = -EBADF;
	free(p->validator);
	p->validator = NULL;
}

struct sweep {
	int dir_fd;
	partial_fn *fn;
	void *arg;
	time_t before;
};

static int sweep_one(void *arg, const char *name)
{
	struct sweep *s = arg;
	size_t hex = strspn(name, "0123456789abcdef");
	auto_close int fd = -EBADF;
	char lock_name[NAME_SIZE];
	struct stat st, blob;

	if (fstatat(s->dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || st.st_mtime >= s->before ||
	    hex >= sizeof(lock_name))
		return 0;
	/* A validator goes with its blob's lock. */
	memcpy(lock_name, name, hex);
	lock_name[hex] = '\0';
	fd = openat(s->dir_fd, lock_name, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) < 0)
		return 0;
	/* Dropped meanwhile, the name is another's, who may be writing it. */
	if (fd >= 0 && (!is_named(s->dir_fd, lock_name, fd) || fstat(fd, &blob) < 0 ||
			blob.st_mtime >= s->before))
		return 0;
	if (!s->fn || s->fn(s->arg, name, st.st_size))
		(void)unlinkat(s->dir_fd, name, 0);
	return 0;
}

int partial_sweep(int dir_fd, time_t age_seconds, partial_fn *fn, void *arg, struct err *err)
{
	struct sweep s = {
		.dir_fd = dir_fd, .fn = fn, .arg = arg, .before = time(NULL) - age_seconds + 1
	};

	return foreach_name(dir_fd, sweep_one, &s, err);
}
