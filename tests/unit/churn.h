/* SPDX-License-Identifier: Apache-2.0 */
/*
 * churn: trees that change at random, in the sandbox, for tests that compare what two ways say of them.
 * The same seed, the same trees.
 */
#ifndef TESTS_UNIT_CHURN_H
#define TESTS_UNIT_CHURN_H

#include <stddef.h>
#include <stdint.h>

#include "driver/base/buf.h"

#define CHURN_LAYERS_MAX 6

/* A stack made through mounts: "s/0" is the upper, "s/1" and on are lowers, topmost first. */
struct churn {
	uint64_t state; /* of the random numbers; not 0 */
	size_t lowers;	/* how many there are */
	size_t done;	/* operations so far that did something */
};

/* Fewer than `below`. */
uint32_t churn_random(struct churn *c, uint32_t below);

/* Removes the last stack and makes one of 1 to CHURN_LAYERS_MAX - 1 lowers and an upper, each with up to
 * `operations` random ones, made through overlayfs. */
void churn_stack(struct churn *c, size_t operations);

/* Mounts "s/0" (or `top`, where it is not NULL) over the lowers at s/new, and the lowers alone at s/old,
 * read only. The descriptors are the caller's. */
void churn_mount(const struct churn *c, const char *top, int *ret_new_fd, int *ret_old_fd);
void churn_unmount(void);

/* The lowers' directories, topmost first; the caller closes all. */
void churn_open_lowers(const struct churn *c, int fds[CHURN_LAYERS_MAX]);

enum churn_without { CHURN_USER_XATTRS = 1, CHURN_DIR_XATTRS = 2, CHURN_LINKS = 4 };

/* What a tree is, a line an entry, sorted: type and mode, owner, size, seconds of the mtime, device, link,
 * contents, how many names, and the xattrs that the operations set; `without` some. Sockets, and sizes and
 * times of directories, are left out. */
void churn_list(const char *root, unsigned int without, struct buf *to);

#endif
