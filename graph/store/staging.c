/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "driver/base/fd.h"
#include "driver/tree.h"
#include "graph/store/store.h"

/* True where dirfd/name is still the directory that `fd` has open. */
static bool is_linked(int dirfd, const char *name, int fd)
{
	struct stat by_name, by_fd;

	return fstatat(dirfd, name, &by_name, AT_SYMLINK_NOFOLLOW) == 0 && fstat(fd, &by_fd) == 0 &&
	       by_name.st_ino == by_fd.st_ino && by_name.st_dev == by_fd.st_dev;
}

int staging_make(const struct store *store, struct staging *ret, struct err *err)
{
	/* Between mkdir and flock a collector may take the directory for a dead one: then make
	 * another. */
	for (;;) {
		char name[sizeof(ret->name)];
		auto_close int fd = -EBADF;

		random_hex(name, sizeof(name) - 1);
		if (mkdirat(store->staging_fd, name, 0700) < 0)
			return fail(err, -errno, "create %s/staging/%s: %m", store->root_path,
				    name);
		fd = openat(store->staging_fd, name,
			    O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (fd < 0 && errno != ENOENT)
			return fail(err, -errno, "open %s/staging/%s: %m", store->root_path, name);
		if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) < 0 ||
		    !is_linked(store->staging_fd, name, fd))
			continue;
		ret->store = store;
		(void)snprintf(ret->name, sizeof(ret->name), "%s", name);
		ret->fd = take_fd(&fd);
		return 0;
	}
}

void staging_release(struct staging *staging)
{
	int saved = errno;

	if (staging->fd < 0)
		return;
	/* What cannot be removed now is found by gc: the lock is gone then. */
	(void)tree_remove_at(staging->store->staging_fd, staging->name, NULL);
	(void)close(staging->fd);
	staging->fd = -EBADF;
	errno = saved;
}

bool staging_is_dead(const struct store *store, const char *name, int *ret_fd)
{
	auto_close int fd = openat(store->staging_fd, name,
				   O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) < 0 || !is_linked(store->staging_fd, name, fd))
		return false;
	*ret_fd = take_fd(&fd);
	return true;
}
