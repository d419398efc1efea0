/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/serve/filter.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/serve/pattern.h"
#include "driver/base/buf.h"
#include "driver/base/utf8.h"

#define SHOWN_BYTES_MAX ((size_t)500) /* of a text in the words */

enum field { FIELD_NAME, FIELD_PARENT, FIELD_KIND, FIELD_LABEL, FIELD_UNKNOWN };
enum operator{ OPERATOR_PRESENT, OPERATOR_EQUAL, OPERATOR_NOT_EQUAL, OPERATOR_MATCHES };

struct text {
	char *data; /* owned; may have NULs in it, from escapes */
	size_t len;
};

struct selector {
	enum field field;
	enum operator operator;
	struct text label, value;
	struct pattern *pattern; /* of OPERATOR_MATCHES; NULL: matches nothing */
	bool is_last;		 /* of its text */
};

struct filter {
	struct selector *selectors;
	size_t count, cap, patterns;
	bool everything;
};

/* ---- characters ---- */

enum {
	END = -1,     /* of the text */
	ILLEGAL = -2, /* neither a character nor U+FFFD, which Go takes for the lack of one */
};

/* Unicode's White_Space. */
static bool is_space(int32_t c)
{
	return (c >= '\t' && c <= '\r') || c == ' ' || c == 0x85 || c == 0xa0 || c == 0x1680 ||
	       (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f ||
	       c == 0x205f || c == 0x3000;
}

static bool is_field(int32_t c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       c == '_';
}

static bool is_operator(int32_t c)
{
	return c == '=' || c == '!' || c == '~';
}

static bool is_quote(int32_t c)
{
	return c == '"' || c == '/' || c == '|';
}

/* Unicode's categories Cc, Cf and Co (16.0). */
static bool is_graphic(int32_t c)
{
	static const struct {
		int32_t first, last;
	} ranges[] = {
		{ 0x00, 0x1f },	      { 0x7f, 0x9f },	      { 0xad, 0xad },
		{ 0x600, 0x605 },     { 0x61c, 0x61c },	      { 0x6dd, 0x6dd },
		{ 0x70f, 0x70f },     { 0x890, 0x891 },	      { 0x8e2, 0x8e2 },
		{ 0x180e, 0x180e },   { 0x200b, 0x200f },     { 0x202a, 0x202e },
		{ 0x2060, 0x2064 },   { 0x2066, 0x206f },     { 0xe000, 0xf8ff },
		{ 0xfeff, 0xfeff },   { 0xfff9, 0xfffb },     { 0x110bd, 0x110bd },
		{ 0x110cd, 0x110cd }, { 0x13430, 0x1343f },   { 0x1bca0, 0x1bca3 },
		{ 0x1d173, 0x1d17a }, { 0xe0001, 0xe0001 },   { 0xe0020, 0xe007f },
		{ 0xf0000, 0xffffd }, { 0x100000, 0x10fffd },
	};

	for (size_t i = 0; i < ARRAY_LEN(ranges); i++)
		if (c >= ranges[i].first && c <= ranges[i].last)
			return false;
	return true;
}

static bool is_value(int32_t c)
{
	return c >= 0 && c != ',' && !is_space(c) && is_graphic(c);
}

static int digit_of(int32_t c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : 16;
}

/* ---- tokens ---- */

enum token_kind {
	TOKEN_END,
	TOKEN_FIELD,
	TOKEN_VALUE,
	TOKEN_QUOTED,
	TOKEN_SEPARATOR,
	TOKEN_OPERATOR,
	TOKEN_ILLEGAL,
	TOKEN_OTHER,
};

struct token {
	enum token_kind kind;
	const char *text;
	size_t len;
};

struct parser {
	const char *text, *end;
	const char *at;	   /* the character that was taken last */
	const char *next;  /* the one after it */
	bool wants_value;  /* after an operator */
	const char *fault; /* words for the first that was illegal */
	struct filter *filter;
	struct err *err;
};

static void illegal(struct parser *p, const char *words)
{
	if (!p->fault)
		p->fault = words;
}

static int32_t decode(struct parser *p, const char *from, size_t *ret_len)
{
	const unsigned char *byte = (const unsigned char *)from;
	size_t len = utf8_char(from, (size_t)(p->end - from));
	int32_t c = *byte;

	*ret_len = len ? len : 1;
	if (len > 1) {
		c &= 0x7f >> len;
		for (size_t i = 1; i < len; i++)
			c = c << 6 | (byte[i] & 0x3f);
	}
	if (len && c != 0xfffd)
		return c;
	illegal(p, "rune error");
	return ILLEGAL;
}

static int32_t next(struct parser *p)
{
	size_t len = 0;
	int32_t c;

	p->at = p->next;
	if (p->at == p->end)
		return END;
	c = decode(p, p->at, &len);
	p->next += len;
	return c;
}

static int32_t peek(struct parser *p)
{
	size_t len;

	return p->next == p->end ? END : decode(p, p->next, &len);
}

static void skip_while(struct parser *p, bool (*fits)(int32_t c))
{
	while (fits(peek(p)))
		(void)next(p);
}

/* `count` digits, the first of which is c. Returns what follows. */
static int32_t scan_digits(struct parser *p, int32_t c, int base, int count)
{
	for (; count > 0 && digit_of(c) < base; count--)
		c = next(p);
	if (count > 0)
		illegal(p, "illegal numeric escape sequence");
	return c;
}

/* After a backslash. Returns what follows the escape. */
static int32_t scan_escape(struct parser *p, int32_t quote)
{
	int32_t c = next(p);

	if (c == quote || (c > 0 && c < 0x80 && strchr("abfnrtv\\", c)))
		return next(p);
	if (c >= '0' && c <= '7')
		return scan_digits(p, c, 8, 3);
	if (c == 'x')
		return scan_digits(p, next(p), 16, 2);
	if (c == 'u')
		return scan_digits(p, next(p), 16, 4);
	if (c == 'U')
		return scan_digits(p, next(p), 16, 8);
	illegal(p, "illegal escape sequence");
	return c;
}

/* After its first quote. */
static enum token_kind scan_quoted(struct parser *p, int32_t quote)
{
	int32_t c = next(p);

	while (c != quote) {
		if (c == '\n' || c < 0) {
			illegal(p, "quoted literal not terminated");
			return TOKEN_ILLEGAL;
		}
		c = c == '\\' ? scan_escape(p, quote) : next(p);
	}
	return p->fault ? TOKEN_ILLEGAL : TOKEN_QUOTED;
}

static enum token_kind scan_kind(struct parser *p, int32_t c)
{
	if (c == END)
		return TOKEN_END;
	if (c == ILLEGAL)
		return TOKEN_ILLEGAL;
	if (is_quote(c))
		return scan_quoted(p, c);
	if (c == ',' || c == '.') {
		p->wants_value = false;
		return TOKEN_SEPARATOR;
	}
	if (is_operator(c)) {
		skip_while(p, is_operator);
		p->wants_value = true;
		return TOKEN_OPERATOR;
	}
	if (p->wants_value) { /* whatever c is: containerd looks at what follows it only */
		skip_while(p, is_value);
		p->wants_value = false;
		return TOKEN_VALUE;
	}
	if (!is_field(c))
		return TOKEN_OTHER;
	skip_while(p, is_field);
	return TOKEN_FIELD;
}

static struct token scan(struct parser *p)
{
	struct token token;
	int32_t c;

	do {
		c = next(p);
	} while (is_space(c));
	token.text = p->at;
	token.kind = scan_kind(p, c);
	token.len = (size_t)(p->next - token.text);
	return token;
}

/* ---- failing ---- */

/* Words as containerd's, that show the place; in a long text it is only named. */
static int bad(const struct parser *p, const char *at, const char *words)
{
	size_t len = (size_t)(p->end - p->text), before = (size_t)(at - p->text), shown;

	if (len > SHOWN_BYTES_MAX)
		return fail(p->err, -EINVAL, "filters: parse error at byte %zu of %zu: %s", before,
			    len, words);
	if (at == p->end)
		return fail(p->err, -EINVAL, "filters: parse error: [%s]: %s", p->text, words);
	shown = utf8_char(at, len - before);
	shown = shown ? shown : 1;
	return fail(p->err, -EINVAL, "filters: parse error: [%.*s >|%.*s|< %s]: %s", (int)before,
		    p->text, (int)shown, at, at + shown, words);
}

static int bad_token(const struct parser *p, const struct token *token, const char *expected)
{
	return bad(p, token->text, token->kind == TOKEN_ILLEGAL ? p->fault : expected);
}

/* ---- quoted strings ---- */

static unsigned long digits_value(const char *digits, size_t count, int base)
{
	unsigned long value = 0;

	for (size_t i = 0; i < count; i++)
		value = value * (unsigned long)base + (unsigned long)digit_of(digits[i]);
	return value;
}

/* A character by number: one that is half of a pair of UTF-16 becomes U+FFFD, as in Go. */
static bool put_character(unsigned long code, struct buf *out)
{
	char bytes[UTF8_MAX];

	if (code > 0x10ffff)
		return false;
	if (code >= 0xd800 && code < 0xe000)
		code = 0xfffd;
	(void)buf_append(out, bytes, utf8_put((uint32_t)code, bytes));
	return true;
}

/* *at is behind the backslash of an escape that scan_escape took. False: no such number. */
static bool put_escape(const char **at, struct buf *out)
{
	static const char from[] = "abfnrtv", to[] = "\a\b\f\n\r\t\v";
	const char *escape = (*at)++, *found = strchr(from, *escape);
	size_t digits = *escape == 'x' ? 2 : *escape == 'u' ? 4 : *escape == 'U' ? 8 : 0;
	unsigned long byte;

	if (found) {
		(void)buf_putc(out, to[found - from]);
		return true;
	}
	*at += digits;
	if (*escape == 'x') {
		(void)buf_putc(out, (char)digits_value(escape + 1, 2, 16));
		return true;
	}
	if (digits)
		return put_character(digits_value(escape + 1, digits, 16), out);
	if (*escape < '0' || *escape > '7') {
		(void)buf_putc(out, *escape); /* the quote or a backslash */
		return true;
	}
	*at += 2;
	byte = digits_value(escape, 3, 8);
	(void)buf_putc(out, (char)byte);
	return byte <= 255;
}

static int unquote(struct parser *p, const struct token *token, bool any_quote, struct buf *out)
{
	const char *at = token->text + 1, *end = token->text + token->len - 1;

	if (!any_quote && *token->text != '"')
		return bad(p, token->text, "invalid quote encountered");
	while (at < end) {
		if (*at != '\\') {
			(void)buf_putc(out, *at++);
			continue;
		}
		at++;
		if (!put_escape(&at, out))
			return bad(p, token->text, "unquoting failed: quote syntax error");
	}
	return 0;
}

/* ---- selectors ---- */

static int read_field(struct parser *p, struct buf *out)
{
	struct token token = scan(p);

	if (token.kind == TOKEN_QUOTED)
		return unquote(p, &token, false, out);
	if (token.kind != TOKEN_FIELD)
		return bad_token(p, &token, "expected field or quoted");
	(void)buf_append(out, token.text, token.len);
	return 0;
}

static int take_text(struct buf *from, struct text *to, struct err *err)
{
	size_t len = from->len;
	int r = buf_status(from, err);

	if (r < 0)
		return r;
	to->data = buf_take(from);
	to->len = len;
	return to->data ? 0 : fail_oom(err);
}

static enum field field_called(const struct buf *name)
{
	static const char *const names[] = {
		[FIELD_NAME] = "name",
		[FIELD_PARENT] = "parent",
		[FIELD_KIND] = "kind",
		[FIELD_LABEL] = "labels",
	};

	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (name->len == strlen(names[i]) && !memcmp(buf_text(name), names[i], name->len))
			return (enum field)i;
	return FIELD_UNKNOWN;
}

static int read_fieldpath(struct parser *p, struct selector *selector)
{
	auto_buf struct buf first = { 0 }, rest = { 0 };
	int r = read_field(p, &first);

	for (size_t i = 0; r == 0 && peek(p) == '.'; i++) {
		(void)scan(p);
		if (i)
			(void)buf_putc(&rest, '.');
		r = read_field(p, &rest);
	}
	if (r == 0)
		r = buf_status(&first, p->err);
	if (r == 0)
		r = take_text(&rest, &selector->label, p->err);
	if (r == 0)
		selector->field = field_called(&first);
	return r;
}

static int read_operator(struct parser *p, struct selector *selector)
{
	static const char *const operators[] = {
		[OPERATOR_EQUAL] = "==",
		[OPERATOR_NOT_EQUAL] = "!=",
		[OPERATOR_MATCHES] = "~=",
	};
	struct token token = scan(p);
	auto_buf struct buf words = { 0 };

	if (token.kind != TOKEN_OPERATOR)
		return bad_token(p, &token, "expected an operator (\"==\"|\"!=\"|\"~=\")");
	for (size_t i = OPERATOR_EQUAL; i < ARRAY_LEN(operators); i++) {
		if (token.len == 2 && !memcmp(token.text, operators[i], 2)) {
			selector->operator=(enum operator) i;
			return 0;
		}
	}
	(void)buf_printf(&words, "unsupported operator \"%.*s\"", (int)token.len, token.text);
	return bad(p, token.text, buf_text(&words));
}

static int read_value(struct parser *p, struct selector *selector)
{
	auto_buf struct buf value = { 0 };
	struct token token = scan(p);
	int r = 0;

	if (token.kind == TOKEN_QUOTED)
		r = unquote(p, &token, selector->operator== OPERATOR_MATCHES, &value);
	else if (token.kind == TOKEN_VALUE || token.kind == TOKEN_FIELD)
		(void)buf_append(&value, token.text, token.len);
	else
		r = bad_token(p, &token, "expected value or quoted");
	return r < 0 ? r : take_text(&value, &selector->value, p->err);
}

/* What is no pattern matches nothing; containerd finds out, and says so in its log, when it matches. */
static int read_pattern(struct parser *p, struct selector *selector)
{
	int r;

	if (++p->filter->patterns > FILTER_PATTERNS_MAX)
		return fail(p->err, -EINVAL, "filters: there are more than %zu patterns",
			    FILTER_PATTERNS_MAX);
	r = pattern_new(selector->value.data, selector->value.len, &selector->pattern, p->err);
	if (r == -EINVAL) {
		err_clear(p->err);
		return 0;
	}
	return r == -E2BIG ? err_prefix(p->err, -EINVAL, "filters") : r;
}

static int read_selector(struct parser *p, struct selector *selector)
{
	int r = read_fieldpath(p, selector);

	if (r < 0 || peek(p) == ',' || peek(p) == END)
		return r;
	r = read_operator(p, selector);
	if (r == 0)
		r = read_value(p, selector);
	if (r == 0 && selector->operator== OPERATOR_MATCHES)
		r = read_pattern(p, selector);
	return r;
}

/* ---- filters ---- */

static int add_selector(struct filter *filter, struct selector **ret, struct err *err)
{
	size_t cap = filter->cap ? filter->cap * 2 : 4;
	struct selector *grown;

	if (filter->count == FILTER_SELECTORS_MAX)
		return fail(err, -EINVAL, "filters: there are more than %zu selectors",
			    FILTER_SELECTORS_MAX);
	if (filter->count == filter->cap) {
		grown = reallocarray(filter->selectors, cap, sizeof(*grown));
		if (!grown)
			return fail_oom(err);
		filter->selectors = grown;
		filter->cap = cap;
	}
	*ret = &filter->selectors[filter->count++];
	**ret = (struct selector){ .field = FIELD_UNKNOWN };
	return 0;
}

static int read_text(struct parser *p)
{
	struct selector *selector = NULL;
	int r;

	do {
		r = add_selector(p->filter, &selector, p->err);
		if (r == 0)
			r = read_selector(p, selector);
		if (r < 0)
			return r;
	} while (peek(p) == ',' && scan(p).kind == TOKEN_SEPARATOR);
	if (p->next < p->end) {
		auto_buf struct buf words = { 0 };
		size_t len = utf8_char(p->next, (size_t)(p->end - p->next));

		(void)buf_printf(&words, "unexpected input: %.*s", (int)len, p->next);
		return bad(p, p->next, buf_text(&words));
	}
	selector->is_last = true;
	return 0;
}

int filter_new(const char *const *texts, size_t count, struct filter **ret, struct err *err)
{
	auto_filter struct filter *filter = calloc(1, sizeof(*filter));
	int r = 0;

	if (!filter)
		return fail_oom(err);
	filter->everything = count == 0;
	for (size_t i = 0; i < count && r == 0; i++) {
		struct parser p = { .text = texts[i], .filter = filter, .err = err };

		p.end = p.text + strlen(p.text);
		p.at = p.next = p.text;
		if (*p.text)
			r = read_text(&p);
		else
			filter->everything = true;
	}
	if (r == 0)
		*ret = take_ptr(filter);
	return r;
}

void filter_free(struct filter *filter)
{
	int saved = errno;

	for (size_t i = 0; filter && i < filter->count; i++) {
		free(filter->selectors[i].label.data);
		free(filter->selectors[i].value.data);
		pattern_free(filter->selectors[i].pattern);
	}
	if (filter)
		free(filter->selectors);
	free(filter);
	errno = saved;
}

void filter_freep(struct filter **filter)
{
	filter_free(*filter);
	*filter = NULL;
}

/* ---- matching ---- */

static bool is_text(const char *string, const struct text *text)
{
	return strlen(string) == text->len && memcmp(string, text->data, text->len) == 0;
}

/* NULL: it is absent. */
static const char *find_label(const struct overlaid_snapshot *info, const struct text *key)
{
	for (size_t i = 0; i < info->label_count; i++)
		if (is_text(info->labels[i].key, key))
			return info->labels[i].value;
	return NULL;
}

static const char *field_value(const struct selector *selector,
			       const struct overlaid_snapshot *info)
{
	switch (selector->field) {
	case FIELD_NAME:
		return info->name ? info->name : "";
	case FIELD_PARENT:
		return info->parent ? info->parent : "";
	case FIELD_KIND:
		return info->kind == OVERLAID_SNAPSHOT_VIEW	 ? "view" :
		       info->kind == OVERLAID_SNAPSHOT_ACTIVE	 ? "active" :
		       info->kind == OVERLAID_SNAPSHOT_COMMITTED ? "committed" :
								   NULL;
	case FIELD_LABEL:
		return find_label(info, &selector->label);
	case FIELD_UNKNOWN:
		break;
	}
	return NULL;
}

static bool selector_matches(const struct selector *selector, const struct overlaid_snapshot *info)
{
	const char *present = field_value(selector, info), *value = present ? present : "";

	switch (selector->operator) {
	case OPERATOR_PRESENT:
		return present;
	case OPERATOR_EQUAL:
		return present && is_text(value, &selector->value);
	case OPERATOR_NOT_EQUAL:
		return !is_text(value, &selector->value);
	case OPERATOR_MATCHES:
		return selector->pattern &&
		       pattern_matches(selector->pattern, value, strlen(value));
	}
	return false;
}

bool filter_matches(const struct filter *filter, const struct overlaid_snapshot *info)
{
	bool matches = true;

	if (filter->everything)
		return true;
	for (size_t i = 0; i < filter->count; i++) {
		const struct selector *selector = &filter->selectors[i];

		matches = matches && selector_matches(selector, info);
		if (!selector->is_last)
			continue;
		if (matches)
			return true;
		matches = true;
	}
	return false;
}
