/* SPDX-License-Identifier: Apache-2.0 */
/*
 * partial: the bytes of a blob as far as they have come, in a directory of the store, so that a
 * download goes on where it stopped, in this process or the next.
 *
 *	partial/HEX		the blob's first bytes; who writes it holds flock(2) on it
 *	partial/HEX.validator	the ETag that they came with, for If-Range
 *
 * What is kept needs no state of the digest: the bytes are read again, from the first on, by who
 * unpacks them, and both digests are made there. PARTIAL_KEPT_SECONDS after they were last written
 * they are dropped.
 */
#ifndef GRAPH_FETCH_PARTIAL_H
#define GRAPH_FETCH_PARTIAL_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "driver/base/auto.h"
#include "driver/base/digest.h"
#include "driver/base/err.h"

#define PARTIAL_KEPT_SECONDS (7 * 24 * 3600)

struct partial {
	int dir_fd; /* borrowed */
	int fd;
	struct digest digest;
	int64_t bytes;	 /* that were there when it was opened */
	char *validator; /* that they came with; NULL: not known */
	bool unnamed;	 /* another process is writing the named one */
};
#define PARTIAL_INIT         \
	{                    \
		.fd = -EBADF \
	}
#define auto_partial AUTO(partial_close)

/* Opens or makes it, locked. One that has more than `size` bytes is emptied. Where another process has
 * it: waits so long, and then gives one of our own that nobody finds. */
int partial_open(int dir_fd, const struct digest *digest, int64_t size, unsigned int wait_ms,
		 struct partial *ret, struct err *err);
/* What later bytes are asked for with; NULL forgets it. */
void partial_set_validator(struct partial *partial, const char *validator);
/* Takes it away; the descriptor still works. */
void partial_drop(struct partial *partial);
void partial_close(struct partial *partial);

/* Drops what nobody writes and was last written at least so many seconds ago. With fn: asks it, for each
 * of those, whether it is to be dropped (its name and bytes). */
typedef bool partial_fn(void *arg, const char *name, int64_t bytes);
int partial_sweep(int dir_fd, time_t age_seconds, partial_fn *fn, void *arg, struct err *err);

#endif
