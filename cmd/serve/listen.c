/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/serve/listen.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "driver/base/auto.h"
#include "driver/base/fd.h"

#define QUEUE	 128 /* connections that are not accepted yet */
#define TEMP_HEX 8

/* A second socket beside the first: its name for the time until it listens. */
struct temp {
	struct sockaddr_un address;
	bool exists;
};

static void temp_release(struct temp *temp)
{
	int saved = errno;

	if (temp->exists)
		(void)unlink(temp->address.sun_path);
	errno = saved;
}

static int name_temp(const char *path, struct temp *temp, struct err *err)
{
	const char *slash = strrchr(path, '/');
	int dir_len = slash ? (int)(slash + 1 - path) : 0;
	char random[TEMP_HEX + 1];
	size_t len = strlen(path), max = sizeof(temp->address.sun_path) - 1;

	if (len < (size_t)dir_len + 1 + TEMP_HEX)
		len = (size_t)dir_len + 1 + TEMP_HEX;
	if (len > max)
		return fail(err, -ENAMETOOLONG,
			    "%s: the path of a unix socket is at most %zu bytes long: %zu too many",
			    path, max, len - max);
	random_hex(random, TEMP_HEX);
	temp->address.sun_family = AF_UNIX;
	(void)snprintf(temp->address.sun_path, sizeof(temp->address.sun_path), "%.*s.%s", dir_len,
		       path, random);
	return 0;
}

/* The directory it is in, the caller's; made where it is missing. */
static int make_parent(const char *path, char **ret, struct err *err)
{
	const char *slash = strrchr(path, '/');
	auto_free char *parent = NULL;
	int r;

	if (!path[0] || (slash && !slash[1]))
		return fail(err, -EINVAL, "\"%s\" cannot be the path of a socket", path);
	if (slash)
		parent = strndup(path, slash == path ? 1 : (size_t)(slash - path));
	else
		parent = strdup(".");
	r = parent ? mkdir_parents(parent, 0755, err) : fail_oom(err);
	if (r == 0)
		*ret = take_ptr(parent);
	return r;
}

/* 1: somebody listens there; 0: nobody does, it was left behind; or -errno. */
static int is_served(const char *path)
{
	auto_close int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	if (fd < 0)
		return -errno;
	(void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0)
		return 1;
	if (errno == ECONNREFUSED)
		return 0;
	/* Its queue is full, or it is of another kind. */
	return errno == EAGAIN || errno == EPROTOTYPE ? 1 : -errno;
}

/* 0 where the path is free, or what is there was left behind. */
static int may_take(const char *path, struct err *err)
{
	struct stat st;
	int r;

	if (lstat(path, &st) < 0)
		return errno == ENOENT ? 0 : fail(err, -errno, "look at %s: %m", path);
	if (!S_ISSOCK(st.st_mode))
		return fail(err, -EEXIST, "%s is there already, and is no socket", path);
	r = is_served(path);
	if (r > 0)
		return fail(err, -EADDRINUSE,
			    "%s is being served already; stop it first or choose another path",
			    path);
	return r < 0 && r != -ENOENT ? fail(err, r, "connect to %s: %m", path) : 0;
}

/* Of two that find the same socket left behind, the second must find the first one's: one at a time. */
static int give_name(struct temp *temp, const char *dir, const char *path, struct err *err)
{
	auto_close int lock = open_dir_at(AT_FDCWD, dir, err);
	int r;

	if (lock < 0)
		return lock;
	do
		r = flock(lock, LOCK_EX);
	while (r < 0 && errno == EINTR);
	if (r < 0)
		return fail(err, -errno, "lock directory %s: %m", dir);
	r = may_take(path, err);
	if (r < 0)
		return r;
	if (rename(temp->address.sun_path, path) < 0)
		return fail(err, -errno, "make the socket %s: %m", path);
	temp->exists = false;
	return 0;
}

int listen_unix(const char *path, struct listen_name *ret_name, struct err *err)
{
	auto_close int fd = -EBADF;
	AUTO(temp_release) struct temp temp = { 0 };
	auto_free char *dir = NULL;
	struct stat st;
	int r = name_temp(path, &temp, err);

	if (r == 0)
		r = make_parent(path, &dir, err);
	if (r < 0)
		return r;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return fail(err, -errno, "make the socket %s: %m", path);
	if (bind(fd, (const struct sockaddr *)&temp.address, sizeof(temp.address)) < 0)
		return fail(err, -errno, "make the socket %s: %m", path);
	temp.exists = true;
	/* Nobody can connect before it listens. */
	if (chmod(temp.address.sun_path, 0600) < 0 || lstat(temp.address.sun_path, &st) < 0 ||
	    listen(fd, QUEUE) < 0)
		return fail(err, -errno, "make the socket %s: %m", path);
	r = give_name(&temp, dir, path, err);
	if (r < 0)
		return r;
	*ret_name = (struct listen_name){ .dev = st.st_dev, .ino = st.st_ino };
	return take_fd(&fd);
}

void listen_remove(const char *path, const struct listen_name *name)
{
	struct stat st;

	if (lstat(path, &st) == 0 && S_ISSOCK(st.st_mode) && st.st_dev == name->dev &&
	    st.st_ino == name->ino)
		(void)unlink(path);
}
