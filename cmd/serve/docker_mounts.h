/* SPDX-License-Identifier: Apache-2.0 */
/*
 * docker_mounts: what is mounted for one dockerd, and how often it asked for that.
 *
 *	DIR/ID/fs	where ID is mounted, the same at each Get
 *	DIR/ID/count	how many Gets have had no Put yet, in digits
 *	DIR/ID/filling	an ApplyDiff began, and we did not live to its end
 *
 * DIR is below RUN, which a reboot empties, as it does the mount table. So counts live as long as the mounts that
 * they are of, over the end of this program too: a count without a mount is none, and a mount without a count was
 * got once.
 *
 * A mount goes at its last Put. That of a container's own tree is kept a while (dockerd gets it again at once), and
 * is then unmounted by a thread of ours, for it may take long: the filesystem beneath is synced with it.
 */
#ifndef CMD_SERVE_DOCKER_MOUNTS_H
#define CMD_SERVE_DOCKER_MOUNTS_H

#include <stdbool.h>

#include "driver/base/err.h"

struct mounts;

/* How to mount one. `writable` and `keep` are remembered with it. */
struct mounts_how {
	bool writable;
	bool keep; /* for a while after the last Put */
	int (*mount)(void *arg, const char *target, struct err *err);
	void *arg;
};

/* Finds what an earlier run left, below `dir` (absolute, copied; made when it is needed). Who asks again for a
 * directory gets the same. *ret is given back with mounts_unref. */
int mounts_new(const char *dir, struct mounts **ret, struct err *err);
struct mounts *mounts_ref(struct mounts *mounts);
/* The last one ends it: what is kept is unmounted; what is in use stays mounted, for the next run. NULL allowed. */
void mounts_unref(struct mounts *mounts);

/* One more wants it. *ret_dir: where it is, the caller's. */
int mounts_get(struct mounts *mounts, const char *id, const struct mounts_how *how, char **ret_dir,
	       struct err *err);
/* One less. Nobody did: nothing happens. 1: it was the last, and is unmounted. */
int mounts_put(struct mounts *mounts, const char *id, struct err *err);
/* It was removed: it is unmounted, soon, and all is forgotten. */
void mounts_drop(struct mounts *mounts, const char *id);
/* It is to be beneath another: if it is only kept, it is unmounted now. */
int mounts_settle(struct mounts *mounts, const char *id, struct err *err);
/* All are unmounted now, whoever wants them. */
int mounts_clear(struct mounts *mounts, struct err *err);
/* Another dockerd took over: what a dead one asked for several times, it knows of once. */
void mounts_inherit(struct mounts *mounts);
/* How many are wanted. */
size_t mounts_wanted(struct mounts *mounts);
/* Its tar comes in. Who asks again because we ended in the middle has lost the tar's beginning: -EALREADY, until it
 * was dropped. */
int mounts_begin_fill(struct mounts *mounts, const char *id, struct err *err);
void mounts_end_fill(struct mounts *mounts, const char *id);
/* Where it is, or would be: the caller's; NULL: out of memory. */
char *mounts_path(const struct mounts *mounts, const char *id);

#endif
