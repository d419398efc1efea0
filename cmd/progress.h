/* SPDX-License-Identifier: Apache-2.0 */
/*
 * progress: what a load or pull says while it works, on stderr.
 *
 * On a terminal: finished layers are lines that stay; the layers in work stand below them, each
 * with its bar, and are drawn anew a few times a second. Elsewhere: one line an event. Words that
 * came from an archive or a registry are made harmless before they are printed.
 *
 * --progress json: one object a line, and nothing else:
 *
 *	{"event": "download" | "exists" | "waiting" | "extract" | "extracted" | "note",
 *	 "layer": "sha256:...",		the layer's diffID; not there where a note is about none
 *	 "done": BYTES, "total": BYTES,	of the layer as the registry has it; total 0: not known
 *	 "text": "..."}			of a note
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

enum progress_mode { PROGRESS_NONE, PROGRESS_PLAIN, PROGRESS_TTY, PROGRESS_JSON };

struct progress_bar {
	char id[16]; /* short */
	uint64_t done_bytes, total_bytes;
	bool waiting;
	enum {
		BAR_EXTRACTING,
		BAR_DOWNLOADING,
		BAR_DOWNLOADED, /* its turn has not come yet */
	} doing;
	bool said_all;	      /* plain: that all has come was told */
	uint64_t rate;	      /* of the download, bytes a second; 0: not known yet */
	uint64_t first_bytes; /* that were there when it began, at */
	int64_t first_ns;
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

/* `name`: NULL or "auto", "tty", "plain", "json", "none". -EINVAL with words for another. Quiet is none. */
int progress_init(struct progress *progress, const char *name, bool quiet, struct err *err);
void progress_release(struct progress *progress);

/* overlaid_options.progress, with a struct progress as its argument. */
void progress_event(void *arg, const struct overlaid_progress *event);

/* Takes unfinished bars away, so that others can print. */
void progress_pause(struct progress *progress);

/* One bar as a line of at most `columns` columns, without a newline. */
void progress_draw_bar(const struct progress_bar *bar, unsigned int columns, struct buf *out);

#endif
