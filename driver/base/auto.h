/* SPDX-License-Identifier: Apache-2.0 */
/*
 * auto: whoever holds it frees it by leaving scope.
 *
 *	auto_close int fd = -EBADF;
 *	auto_free char *text = NULL;
 *	...
 *	*ret_fd = take_fd(&fd);
 *
 * Destructors accept NULL, negative descriptors and half-built objects, and keep errno.
 */
#ifndef DRIVER_BASE_AUTO_H
#define DRIVER_BASE_AUTO_H

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

/* AUTO(thing_release) on a variable calls thing_release(&variable) when it leaves scope. */
#define AUTO(fn) __attribute__((cleanup(fn)))

static inline void auto_free_fn(void *p)
{
	int saved = errno;

	free(*(void **)p);
	errno = saved;
}

static inline void auto_close_fn(const int *fd)
{
	int saved = errno;

	if (*fd >= 0)
		(void)close(*fd);
	errno = saved;
}

static inline void auto_closedir_fn(DIR **dir)
{
	int saved = errno;

	if (*dir)
		(void)closedir(*dir);
	errno = saved;
}

#define auto_free     AUTO(auto_free_fn)
#define auto_close    AUTO(auto_close_fn)
#define auto_closedir AUTO(auto_closedir_fn)

/* Hands a descriptor on: the variable no longer owns it. */
static inline int take_fd(int *fd)
{
	int taken = *fd;

	*fd = -EBADF;
	return taken;
}

/* Hands a pointer on: take_ptr(p) yields p and sets p to NULL. */
#define take_ptr(p)                               \
	({                                        \
		__typeof__(p) *take_at_ = &(p);   \
		__typeof__(p) taken_ = *take_at_; \
		*take_at_ = NULL;                 \
		taken_;                           \
	})

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

#endif
