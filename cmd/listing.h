/* SPDX-License-Identifier: Apache-2.0 */
/*
 * listing: rows of records, printed as --format wants it: a table, JSON, or by template.
 *
 * A record is a JSON object. Made for people its sizes and times are words ("133MB", "2 hours ago")
 * and its ids short; made for programs
 * (--json, --format json) they are bytes, RFC 3339 and in full. The names of the fields are the
 * same.
 */
#ifndef CMD_LISTING_H
#define CMD_LISTING_H

#include <stdbool.h>
#include <stddef.h>

#include "cmd/app.h"
#include "driver/base/err.h"
#include "driver/base/json.h"

/* One field of the records: its name, and the heading of its column. */
struct listing_field {
	const char *name;
	const char *heading;
	bool hidden; /* not a column of the table that is printed without --format; see `also` */
};

struct listing {
	const struct listing_field *fields;
	size_t count;
};

/* Whether records are to be made for programs. */
bool listing_for_programs(const struct app *app, const char *format);

struct listing_how {
	const char *format;	 /* --format or NULL */
	const char *const *also; /* hidden fields to show, ended by NULL; NULL: none */
	bool no_heading;
};

/* Prints `records`, a JSON array or NULL (memory ran out while it was made). 0 or -errno with
 * words. */
int listing_print(const struct app *app, const struct listing *listing, const struct json *records,
		  const struct listing_how *how, struct err *err);

/* One record and no table: JSON, or by template with a newline behind it. */
int listing_print_one(const struct json *record, const char *format, struct err *err);

/* To stdout, with 4 spaces a level, as `docker inspect`. */
int print_json(const struct json *value, struct err *err);

/* Text that may come from an image, to stdout: control characters are made visible where that is a
 * terminal. */
void print_text(const char *text);

#endif
