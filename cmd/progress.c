/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/progress.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "cmd/format.h"
#include "driver/base/clock.h"
#include "driver/base/fd.h"
#include "driver/base/json.h"

#define REDRAW_NS 100000000
#define BAR_MAX	  50
#define BAR_MIN	  10

static void find_size(struct progress *progress)
{
	struct winsize size;

	progress->columns = 80;
	progress->rows = 24;
	if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 && size.ws_row > 0) {
		progress->columns = size.ws_col;
		progress->rows = size.ws_row;
	}
}

int progress_init(struct progress *progress, const char *name, bool quiet, struct err *err)
{
	static const struct {
		const char *name;
		enum progress_mode mode;
	} modes[] = { { "none", PROGRESS_NONE },
		      { "plain", PROGRESS_PLAIN },
		      { "json", PROGRESS_JSON },
		      { "tty", PROGRESS_TTY } };
	bool automatic = !name || strcmp(name, "auto") == 0;

	*progress = (struct progress){ .lock = PTHREAD_MUTEX_INITIALIZER };
	if (automatic && !quiet)
		progress->mode = isatty(STDERR_FILENO) ? PROGRESS_TTY : PROGRESS_PLAIN;
	for (size_t i = 0; !automatic && i <= ARRAY_LEN(modes); i++) {
		if (i == ARRAY_LEN(modes))
			return fail(err, -EINVAL,
				    "--progress is auto, tty, plain, json or none, not '%.60s'",
				    name);
		if (strcmp(name, modes[i].name) != 0)
			continue;
		progress->mode = quiet ? PROGRESS_NONE : modes[i].mode;
		break;
	}
	return 0;
}

void progress_release(struct progress *progress)
{
	free(progress->bars);
	progress->bars = NULL;
	progress->count = 0;
	progress->cap = 0;
}

void progress_draw_bar(const struct progress_bar *bar, unsigned int columns, struct buf *out)
{
	struct short_text done = format_size(bar->done_bytes, 4);
	struct short_text total = format_size(bar->total_bytes, 4);
	struct short_text rate = format_size(bar->rate, 4);
	static const char *const words[] = { "Extracting", "Downloading", "Downloaded" };
	const char *doing = words[bar->doing];
	bool rated = bar->doing == BAR_DOWNLOADING && bar->rate;
	size_t used = strlen(bar->id) + strlen(doing) + strlen(":  [] /") + strlen(done.text) +
		      strlen(total.text) + 1 + (rated ? strlen(rate.text) + strlen(" /s") : 0);
	size_t width = columns > used ? columns - used : 0;
	size_t filled;

	if (bar->waiting) {
		(void)buf_printf(out, "%s: Waiting for another process", bar->id);
		return;
	}
	if (bar->total_bytes == 0) {
		(void)buf_printf(out, "%s: %s %s", bar->id, doing, done.text);
		return;
	}
	if (width < BAR_MIN) {
		(void)buf_printf(out, "%s: %s/%s", bar->id, done.text, total.text);
		return;
	}
	width = width > BAR_MAX ? BAR_MAX : width;
	filled = bar->done_bytes >= bar->total_bytes ?
			 width :
			 (size_t)((double)bar->done_bytes / (double)bar->total_bytes *
				  (double)width);
	(void)buf_printf(out, "%s: %s [", bar->id, doing);
	for (size_t i = 0; i < width; i++)
		(void)buf_putc(out, i < filled ? '=' : i == filled ? '>' : ' ');
	(void)buf_printf(out, "] %s/%s", done.text, total.text);
	if (rated)
		(void)buf_printf(out, " %s/s", rate.text);
}

/* Back to the first of the drawn lines, everything from there on cleared. */
static void erase(struct progress *progress, struct buf *out)
{
	if (progress->drawn)
		(void)buf_printf(out, "\r\033[%zuA\033[J", progress->drawn);
	progress->drawn = 0;
}

/* Bars that there is room for. */
static size_t visible(const struct progress *progress)
{
	size_t room = progress->rows > 2 ? progress->rows - 2 : 1;

	return progress->count < room ? progress->count : room;
}

static void draw(struct progress *progress, struct buf *out)
{
	size_t count = visible(progress);

	for (size_t i = 0; i < count; i++) {
		progress_draw_bar(&progress->bars[i], progress->columns, out);
		(void)buf_putc(out, '\n');
		progress->drawn++;
	}
}

static struct progress_bar *find_bar(struct progress *progress, const char *id, bool make)
{
	for (size_t i = 0; i < progress->count; i++) {
		if (strcmp(progress->bars[i].id, id) == 0)
			return &progress->bars[i];
	}
	if (!make)
		return NULL;
	if (progress->count == progress->cap) {
		size_t cap = progress->cap ? progress->cap * 2 : 8;
		struct progress_bar *bars = realloc(progress->bars, cap * sizeof(*bars));

		if (!bars)
			return NULL;
		progress->bars = bars;
		progress->cap = cap;
	}
	progress->bars[progress->count] = (struct progress_bar){ 0 };
	(void)snprintf(progress->bars[progress->count].id, sizeof(progress->bars->id), "%s", id);
	return &progress->bars[progress->count++];
}

static void drop_bar(struct progress *progress, const char *id)
{
	struct progress_bar *bar = find_bar(progress, id, false);
	size_t behind;

	if (!bar)
		return;
	behind = progress->count - (size_t)(bar - progress->bars) - 1;
	memmove(bar, bar + 1, behind * sizeof(*bar));
	progress->count--;
}

/* The event as a line that stays; false: it only moves a bar. */
static bool say(const struct overlaid_progress *event, const char *id, struct buf *out)
{
	switch (event->event) {
	case OVERLAID_EVENT_LAYER_EXISTS:
		(void)buf_printf(out, "%s: Already exists\n", id);
		return true;
	case OVERLAID_EVENT_LAYER_EXTRACTED:
		(void)buf_printf(out, "%s: Extracted", id);
		if (event->total_bytes)
			(void)buf_printf(out, " %s", format_size(event->total_bytes, 4).text);
		(void)buf_putc(out, '\n');
		return true;
	case OVERLAID_EVENT_NOTE:
		append_visible(out, event->text ? event->text : "", 0);
		(void)buf_putc(out, '\n');
		return true;
	case OVERLAID_EVENT_LAYER_WAITING:
	case OVERLAID_EVENT_LAYER_DOWNLOAD:
	case OVERLAID_EVENT_LAYER_PROGRESS:
		break;
	}
	return false;
}

/* What an event tells about a bar. */
static void move_bar(struct progress_bar *bar, const struct overlaid_progress *event)
{
	bool download = event->event == OVERLAID_EVENT_LAYER_DOWNLOAD;
	int64_t now = clock_ns(), elapsed;

	bar->waiting = event->event == OVERLAID_EVENT_LAYER_WAITING;
	if (download && !bar->first_ns) {
		bar->first_ns = now;
		bar->first_bytes = event->done_bytes;
	}
	/* It is unpacked while it comes: that shows once it is here. */
	if (event->event == OVERLAID_EVENT_LAYER_PROGRESS && bar->doing == BAR_DOWNLOADING)
		return;
	bar->done_bytes = event->done_bytes;
	bar->total_bytes = event->total_bytes;
	bar->doing = !download				    ? BAR_EXTRACTING :
		     event->done_bytes < event->total_bytes ? BAR_DOWNLOADING :
							      BAR_DOWNLOADED;
	elapsed = now - bar->first_ns;
	if (download && elapsed > REDRAW_NS && event->done_bytes > bar->first_bytes)
		bar->rate = (uint64_t)((double)(event->done_bytes - bar->first_bytes) * 1e9 /
				       (double)elapsed);
}

static void event_on_terminal(struct progress *progress, const struct overlaid_progress *event,
			      const char *id)
{
	bool moves = event->event == OVERLAID_EVENT_LAYER_PROGRESS ||
		     event->event == OVERLAID_EVENT_LAYER_DOWNLOAD ||
		     event->event == OVERLAID_EVENT_LAYER_WAITING;
	struct progress_bar *bar = event->diff_id ? find_bar(progress, id, moves) : NULL;
	auto_buf struct buf out = { 0 };

	if (bar && moves)
		move_bar(bar, event);
	if (progress->columns == 0)
		find_size(progress);
	if (moves && progress->drawn == visible(progress) &&
	    clock_ns() - progress->drawn_ns < REDRAW_NS)
		return;
	erase(progress, &out);
	if (say(event, id, &out) && event->diff_id && event->event != OVERLAID_EVENT_NOTE)
		drop_bar(progress, id);
	draw(progress, &out);
	progress->drawn_ns = clock_ns();
	(void)write_full(STDERR_FILENO, buf_text(&out), out.len);
}

/* The beginning and the end of a download are worth a line. */
static bool say_download(struct progress *progress, const struct overlaid_progress *event,
			 const char *id, struct buf *out)
{
	struct progress_bar *bar = find_bar(progress, id, false);
	bool first = !bar, all = event->done_bytes >= event->total_bytes;

	bar = bar ? bar : find_bar(progress, id, true);
	if (!bar || (!first && (!all || bar->said_all)))
		return false;
	bar->said_all = all;
	if (first)
		(void)buf_printf(out, "%s: Downloading %s\n", id,
				 format_size(event->total_bytes, 4).text);
	if (all)
		(void)buf_printf(out, "%s: Download complete\n", id);
	return true;
}

static void event_as_line(struct progress *progress, const struct overlaid_progress *event,
			  const char *id)
{
	auto_buf struct buf out = { 0 };

	if (event->event == OVERLAID_EVENT_LAYER_WAITING)
		(void)buf_printf(&out, "%s: Waiting for another process\n", id);
	else if (event->event == OVERLAID_EVENT_LAYER_DOWNLOAD) {
		if (!say_download(progress, event, id, &out))
			return;
	} else if (!say(event, id, &out))
		return;
	(void)write_full(STDERR_FILENO, buf_text(&out), out.len);
}

static void event_as_json(const struct overlaid_progress *event)
{
	static const char *const names[] = {
		[OVERLAID_EVENT_LAYER_DOWNLOAD] = "download",
		[OVERLAID_EVENT_LAYER_EXISTS] = "exists",
		[OVERLAID_EVENT_LAYER_WAITING] = "waiting",
		[OVERLAID_EVENT_LAYER_PROGRESS] = "extract",
		[OVERLAID_EVENT_LAYER_EXTRACTED] = "extracted",
		[OVERLAID_EVENT_NOTE] = "note",
	};
	struct json *line = json_set(json_new_object(), "event",
				     json_new_string(names[event->event]));
	auto_buf struct buf out = { 0 };

	if (event->diff_id)
		line = json_set(line, "layer", json_new_string(event->diff_id));
	if (event->event == OVERLAID_EVENT_NOTE) {
		line = json_set(line, "text", json_new_string(event->text ? event->text : ""));
	} else {
		line = json_set(line, "done", json_new_int((int64_t)event->done_bytes));
		line = json_set(line, "total", json_new_int((int64_t)event->total_bytes));
	}
	if (line && json_print(line, 0, &out, NULL) >= 0) {
		(void)buf_putc(&out, '\n');
		(void)write_full(STDERR_FILENO, buf_text(&out), out.len);
	}
	json_free(line);
}

void progress_event(void *arg, const struct overlaid_progress *event)
{
	struct progress *progress = arg;
	struct short_text id = format_short_id(event->diff_id ? event->diff_id : "");

	if (progress->mode == PROGRESS_NONE)
		return;
	(void)pthread_mutex_lock(&progress->lock);
	if (progress->mode == PROGRESS_TTY)
		event_on_terminal(progress, event, id.text);
	else if (progress->mode == PROGRESS_JSON)
		event_as_json(event);
	else
		event_as_line(progress, event, id.text);
	(void)pthread_mutex_unlock(&progress->lock);
}

void progress_pause(struct progress *progress)
{
	auto_buf struct buf out = { 0 };

	(void)pthread_mutex_lock(&progress->lock);
	erase(progress, &out);
	progress->count = 0;
	(void)pthread_mutex_unlock(&progress->lock);
	(void)write_full(STDERR_FILENO, buf_text(&out), out.len);
}
