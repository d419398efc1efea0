/* SPDX-License-Identifier: Apache-2.0 */
/*
 * members: named files of a directory or of a tar archive, read as streams.
 */
#ifndef GRAPH_FETCH_MEMBERS_H
#define GRAPH_FETCH_MEMBERS_H

#include <stdbool.h>
#include <stdint.h>

#include "driver/base/buf.h"
#include "driver/base/err.h"
#include "graph/fetch/source.h"

#define MEMBERS_MAX 200000 /* of an archive */

struct members;

/* Takes `fd` over, also on failure: a directory, or a tar file that can be read at any offset.
 * `what` names it in words. */
int members_open(int fd, const char *what, struct members **ret, struct err *err);
void members_freep(struct members **members);

/* True where there is a regular file of that name (links inside an archive followed). */
bool members_has(struct members *members, const char *name);

/* Its size in bytes, -1 where unknown or missing. */
int64_t members_size(struct members *members, const char *name);

/* The whole file, bounded by ret->max. -ENOENT with words. */
int members_read(struct members *members, const char *name, struct buf *ret, struct err *err);

/* Opens it as a stream. `max_bytes` (-1: any) is what the source promised: more is -EBADMSG. Fewer
 * bytes are found by the digest. */
int members_stream(struct members *members, const char *name, int64_t max_bytes,
		   struct source_stream *ret, struct err *err);

#endif
