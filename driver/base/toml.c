/* SPDX-License-Identifier: Apache-2.0 */
#include "driver/base/toml.h"

#include <ctype.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "driver/base/buf.h"
#include "driver/base/utf8.h"

#define LONGEST_NUMBER 400 /* bytes, underscores included */
#define KEY_PARTS_MAX  JSON_DEPTH_MAX

/*
 * How a table or array came to be decides what may be added to it later. It stands in `integer` of its
 * node, which means nothing there to who reads the tree: one of these, and above MADE_BITS the section
 * (headers are counted) in which a dotted key made it.
 */
enum made {
	BY_NOTHING, /* named on the way to a table in a header: may have a header of its own, once */
	BY_HEADER,  /* [it] */
	BY_DOTTED,  /* it.key = ...: more dotted keys may add to it in the same section */
	BY_VALUE,   /* = { ... } or = [ ... ]: complete */
	BY_HEADERS, /* [[it]]: an array of tables */
};
#define MADE_BITS 3

struct toml {
	const char *at, *end;
	const char *what;
	struct err *err;
	size_t line, nodes, depth;
	int64_t section;
	struct json *root, *table; /* where keys go */
	locale_t c_locale;
};

struct key {
	char *parts[KEY_PARTS_MAX]; /* owned */
	size_t count;
};

static void key_release(struct key *k)
{
	for (size_t i = 0; i < k->count; i++)
		free(k->parts[i]);
	k->count = 0;
}

/* ---- failing ---- */

static int bad_code(struct toml *t, int code, const char *words)
{
	return fail(t->err, code, "%s: line %zu: %s", t->what, t->line, words);
}

static int bad(struct toml *t, const char *words)
{
	return bad_code(t, -EINVAL, words);
}

static int bad_key(struct toml *t, const char *key, const char *words)
{
	return fail(t->err, -EINVAL, "%s: line %zu: %.100s %s", t->what, t->line, key, words);
}

/* ---- nodes ---- */

static enum made made_by(const struct json *j)
{
	return (enum made)(j->integer & ((1 << MADE_BITS) - 1));
}

static void set_made(struct json *j, enum made made, int64_t section)
{
	j->integer = section << MADE_BITS | made;
}

static int add(struct toml *t, struct json *parent, const char *key, struct json *child)
{
	if (json_add(parent, key, child) < 0)
		return fail_oom(t->err);
	return ++t->nodes > JSON_NODES_MAX ? bad_code(t, -EFBIG, "it has too many values") : 0;
}

static struct json *child_of(const struct json *table, const char *key)
{
	return (struct json *)json_get_key(table, key);
}

/* ---- characters ---- */

static bool is_at(const struct toml *t, const char *text)
{
	size_t len = strlen(text);

	return (size_t)(t->end - t->at) >= len && memcmp(t->at, text, len) == 0;
}

static int peek(const struct toml *t)
{
	return t->at < t->end ? (unsigned char)*t->at : -1;
}

static bool take(struct toml *t, const char *text)
{
	if (!is_at(t, text))
		return false;
	t->at += strlen(text);
	return true;
}

static void skip_blanks(struct toml *t)
{
	while (peek(t) == ' ' || peek(t) == '\t')
		t->at++;
}

static bool is_control(int c)
{
	return (c >= 0 && c < 0x20 && c != '\t') || c == 0x7f;
}

static bool take_newline(struct toml *t)
{
	if (!take(t, "\n") && !take(t, "\r\n"))
		return false;
	t->line++;
	return true;
}

static int skip_comment(struct toml *t)
{
	skip_blanks(t);
	if (peek(t) != '#')
		return 0;
	while (t->at < t->end && !is_at(t, "\n") && !is_at(t, "\r\n")) {
		if (is_control(peek(t)))
			return bad(t, "a control character in a comment");
		t->at++;
	}
	return 0;
}

/* Blanks, comments and newlines. */
static int skip_lines(struct toml *t)
{
	int r;

	do {
		r = skip_comment(t);
	} while (r == 0 && take_newline(t));
	return r;
}

static int end_of_line(struct toml *t)
{
	int r = skip_comment(t);

	if (r < 0 || t->at == t->end || take_newline(t))
		return r;
	return bad(t, "something follows where the line should end");
}

/* ---- strings ---- */

static int put_unicode(struct toml *t, size_t digits, struct buf *out)
{
	char hex[9] = "", bytes[UTF8_MAX];
	unsigned long code;

	if ((size_t)(t->end - t->at) < digits)
		return bad(t, "an escape ends early");
	memcpy(hex, t->at, digits);
	if (strspn(hex, "0123456789abcdefABCDEF") != digits)
		return bad(t, "an escape is not of hexadecimal digits");
	code = strtoul(hex, NULL, 16);
	if (code > 0x10ffff || (code >= 0xd800 && code < 0xe000))
		return bad(t, "an escape is no Unicode character");
	if (!code)
		return bad(t, "a string has a NUL in it, which no name or path can have");
	t->at += digits;
	return buf_append(out, bytes, utf8_put((uint32_t)code, bytes));
}

/* A backslash was taken. */
static int put_escape(struct toml *t, bool lines, struct buf *out)
{
	static const char from[] = "btnfr\"\\", to[] = "\b\t\n\f\r\"\\";
	const char *begin = t->at, *found;
	int c = peek(t);

	if (take(t, "u"))
		return put_unicode(t, 4, out);
	if (take(t, "U"))
		return put_unicode(t, 8, out);
	found = c > 0 ? strchr(from, c) : NULL;
	if (found) {
		t->at++;
		return buf_putc(out, to[found - from]);
	}
	skip_blanks(t);
	if (!lines || !take_newline(t)) {
		t->at = begin;
		return bad(t, "an unknown escape");
	}
	/* The line goes on after all blanks and newlines. */
	do {
		skip_blanks(t);
	} while (take_newline(t));
	return 0;
}

/* The quotes at the end of a multi-line string: up to two of those before the last three are text. */
static bool take_end(struct toml *t, const char *quotes, struct buf *out)
{
	size_t run = 0;

	while (t->at + run < t->end && t->at[run] == quotes[0])
		run++;
	if (strlen(quotes) == 1)
		return take(t, quotes);
	if (run < 3)
		return false;
	run = run > 5 ? 5 : run;
	(void)buf_append(out, t->at, run - 3);
	t->at += run;
	return true;
}

/* quotes: one or three of ' or ". They were taken. */
static int read_quoted(struct toml *t, const char *quotes, struct buf *out)
{
	bool lines = strlen(quotes) == 3;
	int r = 0;

	if (lines)
		(void)take_newline(t);
	while (r == 0 && !take_end(t, quotes, out)) {
		if (t->at == t->end)
			return bad(t, "a string has no end");
		if (quotes[0] == '"' && take(t, "\\")) {
			r = put_escape(t, lines, out);
		} else if (lines && take_newline(t)) {
			r = buf_putc(out, '\n');
		} else if (is_control(peek(t))) {
			return bad(t, lines ? "a control character in a string" :
					      "a string has no end in its line, or a control "
					      "character in it");
		} else {
			r = buf_putc(out, *t->at++);
		}
	}
	return r;
}

/* At a quote. *ret is the caller's. */
static int read_string(struct toml *t, bool lines_too, char **ret)
{
	static const char *const quotes[] = { "\"\"\"", "'''", "\"", "'" };
	auto_buf struct buf out = { .max = (size_t)(t->end - t->at) * 3 + 1 };
	int r = 0;

	for (size_t i = lines_too ? 0 : 2; i < ARRAY_LEN(quotes); i++) {
		if (!take(t, quotes[i]))
			continue;
		r = read_quoted(t, quotes[i], &out);
		break;
	}
	if (r == 0)
		r = buf_status(&out, t->err);
	if (r < 0)
		return r;
	*ret = out.len ? buf_take(&out) : strdup("");
	return *ret ? 0 : fail_oom(t->err);
}

/* ---- keys ---- */

static int read_bare_key(struct toml *t, char **ret)
{
	const char *begin = t->at;

	while (peek(t) > 0 && (isalnum(peek(t)) || peek(t) == '_' || peek(t) == '-') &&
	       peek(t) < 128)
		t->at++;
	if (t->at == begin)
		return bad(t, "a key is missing");
	*ret = strndup(begin, (size_t)(t->at - begin));
	return *ret ? 0 : fail_oom(t->err);
}

/* A key, or several with dots between. */
static int read_key(struct toml *t, struct key *key)
{
	int r;

	do {
		if (key->count == KEY_PARTS_MAX)
			return bad_code(t, -EFBIG, "a key has too many parts");
		skip_blanks(t);
		r = peek(t) == '"' || peek(t) == '\'' ?
			    read_string(t, false, &key->parts[key->count]) :
			    read_bare_key(t, &key->parts[key->count]);
		if (r < 0)
			return r;
		key->count++;
		skip_blanks(t);
	} while (take(t, "."));
	return 0;
}

/* ---- numbers ---- */

/* Digits with single underscores between them, copied without. 0: there are none such. */
static size_t span_digits(const char *s, const char *digits, char **out)
{
	size_t at = 0;

	while (s[at] && (strchr(digits, s[at]) || s[at] == '_')) {
		if (s[at] == '_' &&
		    (at == 0 || s[at - 1] == '_' || !s[at + 1] || !strchr(digits, s[at + 1])))
			return 0;
		if (s[at] != '_')
			*(*out)++ = s[at];
		at++;
	}
	return at;
}

static bool parse_based(const char *s, struct json **ret)
{
	static const struct {
		const char *prefix, *digits;
		int base;
	} bases[] = { { "0x", "0123456789abcdefABCDEF", 16 },
		      { "0o", "01234567", 8 },
		      { "0b", "01", 2 } };
	char clean[LONGEST_NUMBER + 1], *out = clean, *rest;
	long long value;
	size_t len;

	for (size_t i = 0; i < ARRAY_LEN(bases); i++) {
		if (strncmp(s, bases[i].prefix, 2) != 0)
			continue;
		len = span_digits(s + 2, bases[i].digits, &out);
		*out = 0;
		errno = 0;
		value = strtoll(clean, &rest, bases[i].base);
		if (!len || s[2 + len] || errno || *rest)
			return false;
		*ret = json_new_int(value);
		return true;
	}
	return false;
}

static struct json *new_real(double value)
{
	struct json *j = json_new_int(0);

	if (j) {
		j->type = JSON_REAL;
		j->real = value;
	}
	return j;
}

static bool parse_special(const char *s, struct json **ret)
{
	bool minus = *s == '-';

	s += *s == '+' || *s == '-';
	if (strcmp(s, "inf") != 0 && strcmp(s, "nan") != 0)
		return false;
	*ret = new_real(*s == 'n' ? NAN : minus ? -INFINITY : INFINITY);
	return true;
}

/* [sign] digits [. digits] [e [sign] digits] */
static bool parse_decimal(const char *s, locale_t c_locale, struct json **ret)
{
	static const char digits[] = "0123456789";
	char clean[LONGEST_NUMBER + 1], *out = clean, *rest;
	bool real = false;
	long long value;
	size_t len;

	if (*s == '+' || *s == '-')
		*out++ = *s++;
	len = span_digits(s, digits, &out);
	if (!len || (s[0] == '0' && len > 1))
		return false;
	s += len;
	if (*s == '.') {
		real = true;
		*out++ = *s++;
		len = span_digits(s, digits, &out);
		if (!len)
			return false;
		s += len;
	}
	if (*s == 'e' || *s == 'E') {
		real = true;
		*out++ = *s++;
		if (*s == '+' || *s == '-')
			*out++ = *s++;
		len = span_digits(s, digits, &out);
		if (!len)
			return false;
		s += len;
	}
	*out = 0;
	if (*s)
		return false;
	if (real) {
		*ret = new_real(strtod_l(clean, &rest, c_locale));
		return true;
	}
	errno = 0;
	value = strtoll(clean, &rest, 10);
	if (errno)
		return false;
	*ret = json_new_int(value);
	return true;
}

/* ---- dates and times ---- */

/* Two or four digits at *s, no more than max; -1: there are not. */
static int take_number(const char **s, size_t digits, int max)
{
	int value = 0;

	for (size_t i = 0; i < digits; i++) {
		if (!isdigit((unsigned char)(*s)[i]))
			return -1;
		value = value * 10 + ((*s)[i] - '0');
	}
	*s += digits;
	return value > max ? -1 : value;
}

static bool take_char(const char **s, const char *any)
{
	if (!**s || !strchr(any, **s))
		return false;
	(*s)++;
	return true;
}

static bool take_date(const char **s)
{
	static const int days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
	int year = take_number(s, 4, 9999), month, day, most;

	if (year < 0 || !take_char(s, "-"))
		return false;
	month = take_number(s, 2, 12);
	if (month < 1 || !take_char(s, "-"))
		return false;
	day = take_number(s, 2, 31);
	most = days[month - 1];
	if (month == 2 && year % 4 == 0 && (year % 100 != 0 || year % 400 == 0))
		most = 29;
	return day >= 1 && day <= most;
}

static bool take_time(const char **s)
{
	if (take_number(s, 2, 23) < 0 || !take_char(s, ":") || take_number(s, 2, 59) < 0 ||
	    !take_char(s, ":") || take_number(s, 2, 60) < 0)
		return false;
	if (!take_char(s, "."))
		return true;
	if (!isdigit((unsigned char)**s))
		return false;
	while (isdigit((unsigned char)**s))
		(*s)++;
	return true;
}

static bool take_offset(const char **s)
{
	if (take_char(s, "Zz"))
		return true;
	return take_char(s, "+-") && take_number(s, 2, 23) >= 0 && take_char(s, ":") &&
	       take_number(s, 2, 59) >= 0;
}

static bool is_date_or_time(const char *s)
{
	const char *at = s;

	if (take_time(&at) && !*at)
		return true;
	at = s;
	if (!take_date(&at))
		return false;
	if (!*at)
		return true;
	return take_char(&at, "Tt ") && take_time(&at) && (!*at || (take_offset(&at) && !*at));
}

/* ---- values ---- */

static int read_value(struct toml *t, struct json **ret);

/* The blank between a date and a time is part of it. */
static size_t span_word(const struct toml *t)
{
	static const char word[] =
		"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ+-_.:";
	const char *at = t->at, *date = t->at;
	char text[11] = "";

	while (at < t->end && *at && strchr(word, *at))
		at++;
	if (at - t->at == 10 && t->end - at > 1 && *at == ' ' && isdigit((unsigned char)at[1])) {
		memcpy(text, date, 10);
		date = text;
		if (take_date(&date))
			for (at++; at < t->end && *at && strchr(word, *at);)
				at++;
	}
	return (size_t)(at - t->at);
}

static int read_word(struct toml *t, struct json **ret)
{
	char text[LONGEST_NUMBER + 1];
	size_t len = span_word(t);
	bool known = true;

	if (!len)
		return bad(t, "a value is missing");
	if (len > LONGEST_NUMBER)
		return bad(t, "a number is too long");
	memcpy(text, t->at, len);
	text[len] = 0;
	if (!strcmp(text, "true") || !strcmp(text, "false"))
		*ret = json_new_bool(text[0] == 't');
	else if (is_date_or_time(text))
		*ret = json_new_string(text);
	else
		known = parse_special(text, ret) || parse_based(text, ret) ||
			parse_decimal(text, t->c_locale, ret);
	if (!known)
		return bad_key(t, text, "is no value (or too large a number)");
	t->at += len;
	return *ret ? 0 : fail_oom(t->err);
}

static int read_string_value(struct toml *t, struct json **ret)
{
	auto_free char *text = NULL;
	int r = read_string(t, true, &text);

	if (r < 0)
		return r;
	*ret = json_new_string(text);
	return *ret ? 0 : fail_oom(t->err);
}

static int fill_array(struct toml *t, struct json *array)
{
	struct json *item = NULL;
	int r;

	for (;;) {
		r = skip_lines(t);
		if (r < 0 || take(t, "]"))
			return r;
		r = read_value(t, &item);
		if (r == 0)
			r = add(t, array, NULL, item);
		if (r == 0)
			r = skip_lines(t);
		if (r < 0 || take(t, "]"))
			return r;
		if (!take(t, ","))
			return bad(t, "an array has neither a comma nor an end after a value");
	}
}

static int read_pair(struct toml *t, struct json *table, int64_t section);

static int fill_inline_table(struct toml *t, struct json *table)
{
	int64_t section = ++t->section;
	int r;

	skip_blanks(t);
	if (take(t, "}"))
		return 0;
	for (;;) {
		r = read_pair(t, table, section);
		skip_blanks(t);
		if (r < 0 || take(t, "}"))
			return r;
		if (!take(t, ","))
			return bad(t,
				   "an inline table has neither a comma nor an end after a value");
	}
}

/* What dotted keys made in an inline table is complete with it. */
static void complete(struct json *j)
{
	set_made(j, BY_VALUE, 0);
	for (size_t i = 0; i < j->count; i++)
		if (j->items[i]->type == JSON_OBJECT)
			complete(j->items[i]);
}

static int read_nested(struct toml *t, struct json **ret)
{
	bool is_array = *t->at == '[';
	auto_json struct json *j = is_array ? json_new_array() : json_new_object();
	int r;

	if (!j)
		return fail_oom(t->err);
	if (++t->depth > JSON_DEPTH_MAX)
		return bad_code(t, -EFBIG, "it is nested too deep");
	t->at++;
	r = is_array ? fill_array(t, j) : fill_inline_table(t, j);
	t->depth--;
	if (r < 0)
		return r;
	complete(j);
	*ret = take_ptr(j);
	return 0;
}

static int read_value(struct toml *t, struct json **ret)
{
	skip_blanks(t);
	if (peek(t) == '"' || peek(t) == '\'')
		return read_string_value(t, ret);
	if (peek(t) == '[' || peek(t) == '{')
		return read_nested(t, ret);
	return read_word(t, ret);
}

/* ---- tables ---- */

static int make_table(struct toml *t, struct json *parent, const char *key, enum made made,
		      int64_t section, struct json **ret)
{
	struct json *table = json_new_object();
	int r;

	if (table)
		set_made(table, made, section);
	r = add(t, parent, key, table);
	if (r == 0)
		*ret = table;
	return r;
}

/* From a table through the parts of a dotted key but the last. */
static int descend_dotted(struct toml *t, struct json **table, const struct key *key,
			  int64_t section)
{
	for (size_t i = 0; i + 1 < key->count; i++) {
		struct json *child = child_of(*table, key->parts[i]);
		int r;

		if (!child) {
			r = make_table(t, *table, key->parts[i], BY_DOTTED, section, &child);
			if (r < 0)
				return r;
		} else if (child->type != JSON_OBJECT || made_by(child) != BY_DOTTED ||
			   child->integer >> MADE_BITS != section) {
			return bad_key(t, key->parts[i], "is there already, and complete");
		}
		*table = child;
	}
	return 0;
}

/* key = value */
static int read_pair(struct toml *t, struct json *table, int64_t section)
{
	AUTO(key_release) struct key key = { .count = 0 };
	struct json *value = NULL;
	int r = read_key(t, &key);

	if (r < 0)
		return r;
	if (!take(t, "="))
		return bad(t, "a key has no \"=\" after it");
	r = descend_dotted(t, &table, &key, section);
	if (r < 0)
		return r;
	if (child_of(table, key.parts[key.count - 1]))
		return bad_key(t, key.parts[key.count - 1], "is there already");
	r = read_value(t, &value);
	return r < 0 ? r : add(t, table, key.parts[key.count - 1], value);
}

/* From the root through the parts of a header's key but the last. */
static int descend_header(struct toml *t, struct json **table, const struct key *key)
{
	for (size_t i = 0; i + 1 < key->count; i++) {
		struct json *child = child_of(*table, key->parts[i]);
		int r;

		if (!child) {
			r = make_table(t, *table, key->parts[i], BY_NOTHING, 0, &child);
			if (r < 0)
				return r;
		}
		if (child && child->type == JSON_ARRAY && made_by(child) == BY_HEADERS)
			child = child->items[child->count - 1];
		if (!child || child->type != JSON_OBJECT || made_by(child) == BY_VALUE)
			return bad_key(t, key->parts[i],
				       "is there already, and no table to add to");
		*table = child;
	}
	return 0;
}

static int open_table(struct toml *t, struct json *parent, const char *name)
{
	struct json *child = child_of(parent, name);

	if (!child)
		return make_table(t, parent, name, BY_HEADER, 0, &t->table);
	if (child->type != JSON_OBJECT || made_by(child) != BY_NOTHING)
		return bad_key(t, name, "is there already");
	set_made(child, BY_HEADER, 0);
	t->table = child;
	return 0;
}

static int open_element(struct toml *t, struct json *parent, const char *name)
{
	struct json *array = child_of(parent, name);
	int r = 0;

	if (!array) {
		array = json_new_array();
		if (array)
			set_made(array, BY_HEADERS, 0);
		r = add(t, parent, name, array);
	} else if (array->type != JSON_ARRAY || made_by(array) != BY_HEADERS) {
		return bad_key(t, name, "is there already, and no array of tables");
	}
	return r < 0 ? r : make_table(t, array, NULL, BY_HEADER, 0, &t->table);
}

/* [key] or [[key]] */
static int read_header(struct toml *t)
{
	AUTO(key_release) struct key key = { .count = 0 };
	bool element = take(t, "[[");
	struct json *parent = t->root;
	int r;

	if (!element)
		(void)take(t, "[");
	r = read_key(t, &key);
	if (r < 0)
		return r;
	if (!take(t, element ? "]]" : "]"))
		return bad(t, "a header has no end");
	t->section++;
	r = descend_header(t, &parent, &key);
	if (r < 0)
		return r;
	return element ? open_element(t, parent, key.parts[key.count - 1]) :
			 open_table(t, parent, key.parts[key.count - 1]);
}

/* ---- a document ---- */

static int read_document(struct toml *t)
{
	int64_t section = 0;
	int r = skip_lines(t);

	while (r == 0 && t->at < t->end) {
		if (*t->at == '[') {
			r = read_header(t);
			section = t->section;
		} else {
			r = read_pair(t, t->table, section);
		}
		if (r == 0)
			r = end_of_line(t);
		if (r == 0)
			r = skip_lines(t);
	}
	return r;
}

/* Keys of headers, dotted keys and values nest in one another: each is bounded, all together here. */
static bool is_within(const struct json *j, int depth)
{
	bool within = (j->type != JSON_ARRAY && j->type != JSON_OBJECT) || depth > 0;

	for (size_t i = 0; i < j->count && within; i++)
		within = is_within(j->items[i], depth - 1);
	return within;
}

int toml_parse(const void *data, size_t len, size_t max_bytes, const char *what, struct json **ret,
	       struct err *err)
{
	auto_json struct json *root = json_new_object();
	struct toml t = { .at = data, .what = what, .err = err, .line = 1, .root = root };
	int r;

	if (!root)
		return fail_oom(err);
	if (len > max_bytes)
		return fail(err, -EFBIG, "%s: it is larger than %zu bytes (%zu)", what, max_bytes,
			    len);
	if (utf8_span(data, len) < len)
		return fail(err, -EINVAL, "%s: byte %zu is not UTF-8", what, utf8_span(data, len));
	t.end = t.at + len;
	t.table = root;
	t.c_locale = newlocale(LC_ALL_MASK, "C", NULL);
	if (!t.c_locale)
		return fail_oom(err);
	r = read_document(&t);
	freelocale(t.c_locale);
	if (r < 0)
		return r;
	if (!is_within(root, JSON_DEPTH_MAX))
		return fail(err, -EFBIG, "%s: it is nested too deep", what);
	*ret = take_ptr(root);
	return 0;
}
