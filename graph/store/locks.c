/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "graph/store/store.h"

#define HEX_OFFSET_DIGITS 15 /* 60 bits: below the offsets of store.h */

int store_locks_open(const struct store *store, struct store_locks *ret, struct err *err)
{
	int fd = openat(store->root_fd, "format", O_RDWR | O_CLOEXEC);

	if (fd < 0)
		return fail(err, -errno, "open %s/format: %m", store->root_path);
	ret->fd = fd;
	return 0;
}

static int lock_range(int fd, int64_t offset, short type, enum store_lock_mode mode)
{
	struct flock range = { .l_type = type, .l_whence = SEEK_SET, .l_start = offset, .l_len = 1 };
	int r;

	do
		r = fcntl(fd, mode == STORE_LOCK_WAIT ? F_OFD_SETLKW : F_OFD_SETLK, &range);
	while (r < 0 && errno == EINTR);
	return r < 0 ? -errno : 0;
}

static int64_t hex_offset(const char *hex)
{
	char digits[HEX_OFFSET_DIGITS + 1];

	(void)snprintf(digits, sizeof(digits), "%s", hex);
	return (int64_t)strtoull(digits, NULL, 16);
}

int store_lock_offset(struct store_locks *locks, int64_t offset, enum store_lock_mode mode,
		      struct err *err)
{
	int r = lock_range(locks->fd, offset, F_WRLCK, mode);

	if (r == -EACCES || r == -EAGAIN)
		return -EAGAIN;
	if (r < 0)
		return fail(err, r, "lock the store: %m");
	return 0;
}

int store_lock_object(struct store_locks *locks, const char *hex, enum store_lock_mode mode,
		      struct err *err)
{
	return store_lock_offset(locks, hex_offset(hex), mode, err);
}

void store_unlock_offset(struct store_locks *locks, int64_t offset)
{
	(void)lock_range(locks->fd, offset, F_UNLCK, STORE_LOCK_TRY);
}

void store_unlock_object(struct store_locks *locks, const char *hex)
{
	store_unlock_offset(locks, hex_offset(hex));
}

void store_locks_release(struct store_locks *locks)
{
	int saved = errno;

	if (locks->fd >= 0)
		(void)close(locks->fd);
	locks->fd = -EBADF;
	errno = saved;
}
