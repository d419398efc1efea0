/* SPDX-License-Identifier: Apache-2.0 */
/*
 * format: sizes, times and ids as docker writes them. Pure; each gives its text back by value.
 */
#ifndef CMD_FORMAT_H
#define CMD_FORMAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "driver/base/buf.h"

struct short_text {
	char text[48];
};

/* 1500 -> "1.5kB": decimal units, `digits` significant ones (docker: 3 for images, 4 in `system
 * df`). */
struct short_text format_size(uint64_t bytes, int digits);

/* "2 hours ago"; "N/A" for then == 0, which stands for "not stated". A time to come is "Less than a
 * second ago". */
struct short_text format_ago(int64_t then, int64_t now);

/* Seconds since 1970 as "2024-05-03T19:49:21Z", and as docker prints CreatedAt: "2024-05-03
 * 19:49:21 +0000 UTC". */
struct short_text format_rfc3339(int64_t seconds);
struct short_text format_created_at(int64_t seconds);

/* RFC 3339, with or without a fraction and an offset, to seconds since 1970; false: it is not one. */
bool parse_rfc3339(const char *text, int64_t *ret_seconds);

/* The first 12 digits of an id or digest, without the algorithm. */
struct short_text format_short_id(const char *id);

/* A share of the whole in full percent, cut, as docker does; 0 of nothing. */
unsigned int percent_of(uint64_t part, uint64_t whole);

enum escape_flags {
	ESCAPE_KEEP_NEWLINE = 1,
	ESCAPE_KEEP_TAB = 2,
};

/* Appends text with control characters, and bytes that are not UTF-8, as \xNN: what comes from an
 * image cannot drive a terminal. */
void append_visible(struct buf *out, const char *text, unsigned int flags);

/* How many columns a text of UTF-8 takes: its code points. */
size_t text_columns(const char *text);

#endif
