/* SPDX-License-Identifier: Apache-2.0 */
/*
 * progress: what a load says while it works, on stderr.
 *
 * On a terminal: finished layers are lines that stay; the layers in work stand below them, each
 * with its bar, and are drawn anew a few times a second. Elsewhere: one line an event. Words that
 * came from an archive are made harmless before they are printed.
 */
#ifndef CMD_PROGRESS_H
#define CMD_PROGRESS_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "driver/base/buf.h"
#include "driver/base/err.h"
#include "graph/overlaid.h"

enum progress_mode { PROGRESS_NONE, PROGRESS_PLAIN, PROGRESS_TTY };

struct progress_bar {
	char id[16]; /* short */
	uint64_t done_bytes, total_bytes;
	bool waiting;
};

struct progress {
	enum progress_mode mode;
	pthread_mutex_t lock; /* events come from other threads than progress_pause */
	struct progress_bar *bars;
	size_t count, cap;
	size_t drawn;	  /* lines on the terminal that the next drawing replaces */
	int64_t drawn_ns; /* when */
	unsigned int columns, rows;
};

/* `name`: NULL or "auto", "tty", "plain", "none". -EINVAL with words for another. Quiet is none. */
int progress_init(struct progress *progress, const char *name, bool quiet, struct err *err);
void progress_release(struct progress *progress);

/* overlaid_options.progress, with a struct progress as its argument. */
void progress_event(void *arg, const struct overlaid_progress *event);

/* Takes unfinished bars away, so that others can print. */
void progress_pause(struct progress *progress);

/* One bar as a line of at most `columns` columns, without a newline. */
void progress_draw_bar(const struct progress_bar *bar, unsigned int columns, struct buf *out);

#endif
