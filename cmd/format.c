/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/format.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SHORT_ID 12
#define DAY	 86400

struct short_text format_size(uint64_t bytes, int digits)
{
	static const char *const units[] = { "B", "kB", "MB", "GB", "TB", "PB", "EB" };
	struct short_text out;
	double value = (double)bytes;
	size_t unit = 0;

	/* A value that would be printed as 1000 of its unit is 1 of the next. */
	while (unit + 1 < ARRAY_LEN(units)) {
		char rounded[32];

		(void)snprintf(rounded, sizeof(rounded), "%.*g", digits, value);
		if (strtod(rounded, NULL) < 1000)
			break;
		value /= 1000;
		unit++;
	}
	(void)snprintf(out.text, sizeof(out.text), "%.*g%s", digits, value, units[unit]);
	return out;
}

static void say_duration(int64_t seconds, char *out, size_t size)
{
	int64_t minutes = seconds / 60;
	int64_t hours = (seconds + 1800) / 3600;

	if (seconds < 1)
		(void)snprintf(out, size, "Less than a second");
	else if (seconds == 1)
		(void)snprintf(out, size, "1 second");
	else if (seconds < 60)
		(void)snprintf(out, size, "%lld seconds", (long long)seconds);
	else if (minutes == 1)
		(void)snprintf(out, size, "About a minute");
	else if (minutes < 60)
		(void)snprintf(out, size, "%lld minutes", (long long)minutes);
	else if (hours == 1)
		(void)snprintf(out, size, "About an hour");
	else if (hours < 48)
		(void)snprintf(out, size, "%lld hours", (long long)hours);
	else if (hours < 24 * 7 * 2)
		(void)snprintf(out, size, "%lld days", (long long)(hours / 24));
	else if (hours < 24 * 30 * 2)
		(void)snprintf(out, size, "%lld weeks", (long long)(hours / 24 / 7));
	else if (hours < 24 * 365 * 2)
		(void)snprintf(out, size, "%lld months", (long long)(hours / 24 / 30));
	else
		(void)snprintf(out, size, "%lld years", (long long)(hours / 24 / 365));
}

struct short_text format_ago(int64_t then, int64_t now)
{
	struct short_text out = { "N/A" };
	char duration[32];

	if (then == 0)
		return out;
	say_duration(now - then, duration, sizeof(duration));
	(void)snprintf(out.text, sizeof(out.text), "%s ago", duration);
	return out;
}

/* gmtime_r(3) would read /etc/localtime the first time, though it needs nothing of it. Howard
 * Hinnant's algorithm: years begin in March. */
struct civil {
	long long year;
	unsigned int month, day, hour, minute, second;
};

static struct civil civil_of(int64_t seconds)
{
	int64_t days = seconds / DAY - (seconds % DAY < 0);
	unsigned int of_day = (unsigned int)(seconds - days * DAY);
	int64_t z = days + 719468;
	int64_t era = (z >= 0 ? z : z - 146096) / 146097;
	unsigned int doe = (unsigned int)(z - era * 146097);
	unsigned int yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
	unsigned int doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
	unsigned int mp = (5 * doy + 2) / 153;
	struct civil c = { .year = (long long)yoe + era * 400 };

	c.day = doy - (153 * mp + 2) / 5 + 1;
	c.month = mp < 10 ? mp + 3 : mp - 9;
	c.year += c.month <= 2;
	c.hour = of_day / 3600;
	c.minute = of_day / 60 % 60;
	c.second = of_day % 60;
	return c;
}

static int64_t days_from_civil(int64_t year, unsigned int month, unsigned int day)
{
	int64_t y = year - (month <= 2);
	int64_t era = (y >= 0 ? y : y - 399) / 400;
	unsigned int yoe = (unsigned int)(y - era * 400);
	unsigned int doy = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;
	unsigned int doe = yoe * 365 + yoe / 4 - yoe / 100 + doy;

	return era * 146097 + (int64_t)doe - 719468;
}

struct short_text format_rfc3339(int64_t seconds)
{
	struct civil c = civil_of(seconds);
	struct short_text out;

	(void)snprintf(out.text, sizeof(out.text), "%04lld-%02u-%02uT%02u:%02u:%02uZ", c.year,
		       c.month, c.day, c.hour, c.minute, c.second);
	return out;
}

struct short_text format_created_at(int64_t seconds)
{
	struct civil c = civil_of(seconds);
	struct short_text out;

	(void)snprintf(out.text, sizeof(out.text), "%04lld-%02u-%02u %02u:%02u:%02u +0000 UTC",
		       c.year, c.month, c.day, c.hour, c.minute, c.second);
	return out;
}

/* Exactly `digits` decimal digits at *p, at most `max`; moves *p. */
static bool read_number(const char **p, int digits, unsigned int max, unsigned int *ret)
{
	unsigned int n = 0;

	for (int i = 0; i < digits; i++, (*p)++) {
		if (**p < '0' || **p > '9')
			return false;
		n = n * 10 + (unsigned int)(**p - '0');
	}
	*ret = n;
	return n <= max;
}

static bool read_char(const char **p, const char *allowed)
{
	if (!**p || !strchr(allowed, **p))
		return false;
	(*p)++;
	return true;
}

/* "Z" or "+hh:mm" at the end, in seconds east of Greenwich. */
static bool read_offset(const char *p, int64_t *ret)
{
	unsigned int hours, minutes;
	bool west = *p == '-';

	if (strcmp(p, "Z") == 0 || strcmp(p, "z") == 0) {
		*ret = 0;
		return true;
	}
	if (!read_char(&p, "+-") || !read_number(&p, 2, 23, &hours) || !read_char(&p, ":") ||
	    !read_number(&p, 2, 59, &minutes) || *p)
		return false;
	*ret = (int64_t)(hours * 3600 + minutes * 60) * (west ? -1 : 1);
	return true;
}

bool parse_rfc3339(const char *text, int64_t *ret_seconds)
{
	unsigned int year, month, day, hour, minute, second;
	const char *p = text;
	int64_t offset;

	if (!read_number(&p, 4, 9999, &year) || !read_char(&p, "-") ||
	    !read_number(&p, 2, 12, &month) || !read_char(&p, "-") ||
	    !read_number(&p, 2, 31, &day) || !read_char(&p, "Tt ") ||
	    !read_number(&p, 2, 23, &hour) || !read_char(&p, ":") ||
	    !read_number(&p, 2, 59, &minute) || !read_char(&p, ":") ||
	    !read_number(&p, 2, 60, &second))
		return false;
	if (month == 0 || day == 0)
		return false;
	if (*p == '.') {
		p++;
		p += strspn(p, "0123456789");
	}
	if (!read_offset(p, &offset))
		return false;
	*ret_seconds = days_from_civil(year, month, day) * DAY + hour * 3600 + minute * 60 +
		       second - offset;
	return true;
}

struct short_text format_short_id(const char *id)
{
	const char *colon = strchr(id, ':');
	struct short_text out;

	(void)snprintf(out.text, sizeof(out.text), "%.*s", SHORT_ID, colon ? colon + 1 : id);
	return out;
}

unsigned int percent_of(uint64_t part, uint64_t whole)
{
	if (whole == 0)
		return 0;
	return (unsigned int)((double)part * 100 / (double)whole);
}

/* Length of the UTF-8 sequence at s, 0 where there is none. Overlong forms, surrogates and C1
 * control characters are none. */
static size_t sequence_len(const unsigned char *s)
{
	static const struct {
		unsigned char first_min, first_max, second_min, second_max, len;
	} forms[] = {
		{ 0xc2, 0xc2, 0xa0, 0xbf, 2 }, { 0xc3, 0xdf, 0x80, 0xbf, 2 },
		{ 0xe0, 0xe0, 0xa0, 0xbf, 3 }, { 0xe1, 0xec, 0x80, 0xbf, 3 },
		{ 0xed, 0xed, 0x80, 0x9f, 3 }, { 0xee, 0xef, 0x80, 0xbf, 3 },
		{ 0xf0, 0xf0, 0x90, 0xbf, 4 }, { 0xf1, 0xf3, 0x80, 0xbf, 4 },
		{ 0xf4, 0xf4, 0x80, 0x8f, 4 },
	};

	for (size_t i = 0; i < ARRAY_LEN(forms); i++) {
		if (s[0] < forms[i].first_min || s[0] > forms[i].first_max)
			continue;
		if (s[1] < forms[i].second_min || s[1] > forms[i].second_max)
			return 0;
		for (size_t k = 2; k < forms[i].len; k++) {
			if (s[k] < 0x80 || s[k] > 0xbf)
				return 0;
		}
		return forms[i].len;
	}
	return 0;
}

void append_visible(struct buf *out, const char *text, unsigned int flags)
{
	const unsigned char *s = (const unsigned char *)text;

	while (*s) {
		bool plain = (*s >= 0x20 && *s < 0x7f) ||
			     (*s == '\n' && (flags & ESCAPE_KEEP_NEWLINE)) ||
			     (*s == '\t' && (flags & ESCAPE_KEEP_TAB));
		size_t len = plain ? 1 : *s >= 0x80 ? sequence_len(s) : 0;

		if (len)
			(void)buf_append(out, s, len);
		else
			(void)buf_printf(out, "\\x%02x", *s);
		s += len ? len : 1;
	}
}

size_t text_columns(const char *text)
{
	size_t n = 0;

	for (; *text; text++)
		n += ((unsigned char)*text & 0xc0) != 0x80;
	return n;
}
