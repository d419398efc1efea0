/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/serve/pattern.h"

#include <ctype.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "driver/base/buf.h"
#include "driver/base/dl.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

/* What pcre2_dfa_match keeps: two lists of places, of three ints each. */
#define WORKSPACE_LEN(states) ((size_t)2 + 2 * 3 * (states))

/* The square of the places reached at once, times the bytes of the text: half a second. */
#define WORK_MAX ((size_t)1 << 30)

#define REPEAT_MAX 1000 /* as in Go */

static struct {
	__typeof__(pcre2_compile) *compile;
	__typeof__(pcre2_code_free) *code_free;
	__typeof__(pcre2_match_data_create) *match_data_create;
	__typeof__(pcre2_match_data_free) *match_data_free;
	__typeof__(pcre2_dfa_match) *match;
} pcre2;

static const struct dl_symbol pcre2_symbols[] = {
	{ "pcre2_compile_8", &pcre2.compile },
	{ "pcre2_code_free_8", &pcre2.code_free },
	{ "pcre2_match_data_create_8", &pcre2.match_data_create },
	{ "pcre2_match_data_free_8", &pcre2.match_data_free },
	{ "pcre2_dfa_match_8", &pcre2.match },
};

static struct dl_library pcre2_library = {
	.soname = "libpcre2-8.so.0",
	.package = "libpcre2-8-0",
	.symbols = pcre2_symbols,
	.symbol_count = ARRAY_LEN(pcre2_symbols),
	.lock = PTHREAD_MUTEX_INITIALIZER,
};

struct pattern {
	pcre2_code *code;
	pcre2_match_data *match;
	int workspace[WORKSPACE_LEN(PATTERN_STATES_MAX)];
};

/* ---- what Go takes ---- */

/*
 * Whether a pattern has only what Go knows; what neither knows is left to PCRE2. Each of these steps over one
 * thing and says false where Go would refuse it.
 */
struct reading {
	const char *at, *end;
	bool lines; /* (?m) was seen */
};

static int peek(const struct reading *r, size_t ahead)
{
	return (size_t)(r->end - r->at) > ahead ? (unsigned char)r->at[ahead] : -1;
}

static bool is_one_of(int c, const char *any)
{
	return c > 0 && strchr(any, c);
}

static bool take(struct reading *r, const char *text)
{
	size_t len = strlen(text);

	if ((size_t)(r->end - r->at) < len || memcmp(r->at, text, len) != 0)
		return false;
	r->at += len;
	return true;
}

/* Up to and with `text`; or to the end. */
static void skip_past(struct reading *r, const char *text)
{
	while (r->at < r->end && !take(r, text))
		r->at++;
}

/* After \x, \p or \P: {...}, or characters that need no care. */
static bool skip_braces(struct reading *r, int escape)
{
	if (peek(r, 0) == '{')
		skip_past(r, "}");
	else if (escape == 'x')
		return peek(r, 0) > 0 && isxdigit(peek(r, 0)) && peek(r, 1) > 0 &&
		       isxdigit(peek(r, 1));
	return true;
}

static bool skip_escape(struct reading *r, bool in_class)
{
	int c = peek(r, 1);

	r->at += c < 0 ? 1 : 2;
	if (is_one_of(c, "xpP"))
		return skip_braces(r, c);
	if (c == 'Q' && !in_class) {
		skip_past(r, "\\E");
		return true;
	}
	if (is_one_of(c, "1234567")) /* alone it is a backreference */
		return is_one_of(peek(r, 0), "01234567");
	if (c >= 0 && c < 0x80 && !isalnum(c))
		return true;
	return is_one_of(c, in_class ? "0afnrtvdDsSwW" : "0afnrtvdDsSwWAbBz");
}

/* [:alpha:] */
static bool take_named_class(struct reading *r)
{
	size_t len = 2;

	if (peek(r, 0) != '[' || peek(r, 1) != ':')
		return false;
	while (peek(r, len) == '^' || (peek(r, len) > 0 && isalpha(peek(r, len))))
		len++;
	if (peek(r, len) != ':' || peek(r, len + 1) != ']')
		return false;
	r->at += len + 2;
	return true;
}

static bool skip_class(struct reading *r)
{
	r->at++;
	(void)take(r, "^");
	(void)take(r, "]"); /* text, where it is the first */
	while (r->at < r->end && peek(r, 0) != ']') {
		if (peek(r, 0) == '\\') {
			if (!skip_escape(r, true))
				return false;
		} else if (!take_named_class(r)) {
			r->at++;
		}
	}
	(void)take(r, "]");
	return true;
}

static bool skip_group(struct reading *r)
{
	bool cleared = false;

	r->at++;
	if (!take(r, "?"))
		return peek(r, 0) != '*';
	if (take(r, "P<"))
		return true;
	if (take(r, "<"))
		return peek(r, 0) == '_' || (peek(r, 0) > 0 && isalpha(peek(r, 0)));
	while (is_one_of(peek(r, 0), "imsU") || (peek(r, 0) == '-' && !cleared)) {
		cleared = cleared || peek(r, 0) == '-';
		r->lines = r->lines || peek(r, 0) == 'm';
		r->at++;
	}
	return r->at[-1] != '-' && (take(r, ":") || take(r, ")"));
}

/* Digits; -1: there are none; more than REPEAT_MAX: that or more. */
static long take_number(struct reading *r)
{
	long n = -1;

	for (; peek(r, 0) > 0 && isdigit(peek(r, 0)); r->at++)
		n = (n < 0 ? 0 : n > REPEAT_MAX ? n : n * 10) + (*r->at - '0');
	return n;
}

/* *, +, ?, {n}, {n,}, {n,m}; *too_many: a number is above what Go takes. */
static bool take_repetition(struct reading *r, bool *too_many)
{
	struct reading braces = *r;
	long least, most;

	if (take(r, "*") || take(r, "+") || take(r, "?"))
		return true;
	if (!take(&braces, "{"))
		return false;
	least = most = take_number(&braces);
	if (take(&braces, ","))
		most = take_number(&braces);
	if (least < 0 || !take(&braces, "}"))
		return false; /* then it is text */
	*too_many = least > REPEAT_MAX || most > REPEAT_MAX;
	*r = braces;
	return true;
}

static bool is_known_to_go(const char *text, size_t len, bool *ret_lines)
{
	struct reading r = { text, text + len, false };
	bool fits = true, repeated = false, too_many = false;

	while (fits && r.at < r.end) {
		if (take_repetition(&r, &too_many)) {
			(void)take(&r, "?");
			fits = !repeated && !too_many;
			repeated = true;
			continue;
		}
		repeated = false;
		if (*r.at == '\\')
			fits = skip_escape(&r, false);
		else if (*r.at == '[')
			fits = skip_class(&r);
		else if (*r.at == '(')
			fits = skip_group(&r);
		else
			r.at++;
	}
	*ret_lines = r.lines;
	return fits;
}

/* ---- patterns ---- */

static int compile(const char *text, size_t len, uint32_t options, pcre2_code **ret,
		   struct err *err)
{
	PCRE2_SIZE at = 0;
	int code = 0;

	*ret = pcre2.compile((PCRE2_SPTR)text, len, options, &code, &at, NULL);
	if (*ret)
		return 0;
	if (code == PCRE2_ERROR_HEAP_FAILED)
		return fail_oom(err);
	return fail(err, -EINVAL, "PCRE2 refuses the pattern at byte %zu (its error %d)", at, code);
}

/*
 * Anything may come before the match: said in the pattern and not left to the search, which would begin anew
 * at each byte. What stands around it needs it to be a pattern in itself: ")(" is none. The \E ends a \Q that
 * has none. A dot is anything but a line feed; the limits are for what is_known_to_go should keep out.
 */
static int compile_search(struct pattern *pattern, const char *text, size_t len, uint32_t options,
			  struct err *err)
{
	static const char before[] = "(*LF)(*LIMIT_MATCH=1000)(*LIMIT_DEPTH=100)(*LIMIT_HEAP=64)"
				     "(?s:.*?)(?:";
	auto_buf struct buf search = { 0 };
	pcre2_code *alone;
	int r = compile(text, len, options, &alone, err);

	if (r < 0)
		return r;
	pcre2.code_free(alone);
	(void)buf_puts(&search, before);
	(void)buf_append(&search, text, len);
	(void)buf_puts(&search, "\\E)");
	r = buf_status(&search, err);
	return r < 0 ? r : compile(search.data, search.len, options, &pattern->code, err);
}

int pattern_new(const char *text, size_t len, struct pattern **ret, struct err *err)
{
	auto_pattern struct pattern *pattern = NULL;
	uint32_t options = PCRE2_UTF | PCRE2_NO_AUTO_CAPTURE | PCRE2_ALT_CIRCUMFLEX;
	bool lines = false;
	int r;

	if (len > PATTERN_BYTES_MAX)
		return fail(err, -E2BIG, "a pattern is longer than %zu bytes", PATTERN_BYTES_MAX);
	r = dl_load(&pcre2_library, err);
	if (r < 0)
		return r;
	if (!is_known_to_go(text, len, &lines))
		return fail(err, -EINVAL, "the pattern has what RE2 does not know");
	/* pcre2_dfa_match applies it to the $ of (?m) too, where it would be wrong. */
	if (!lines)
		options |= PCRE2_DOLLAR_ENDONLY;
	pattern = calloc(1, sizeof(*pattern));
	if (!pattern)
		return fail_oom(err);
	r = compile_search(pattern, text, len, options, err);
	if (r < 0)
		return r;
	pattern->match = pcre2.match_data_create(1, NULL);
	if (!pattern->match)
		return fail_oom(err);
	*ret = take_ptr(pattern);
	return 0;
}

void pattern_free(struct pattern *pattern)
{
	int saved = errno;

	if (!pattern)
		return;
	if (pattern->match)
		pcre2.match_data_free(pattern->match);
	if (pattern->code)
		pcre2.code_free(pattern->code);
	free(pattern);
	errno = saved;
}

void pattern_freep(struct pattern **pattern)
{
	pattern_free(*pattern);
	*pattern = NULL;
}

bool pattern_matches(struct pattern *pattern, const char *text, size_t len)
{
	size_t states = PATTERN_STATES_MAX;

	while (states > 1 && len && states * states > WORK_MAX / len)
		states /= 2;
	/* The shortest match is enough. No match, and no room for its states, are below 0. */
	return pcre2.match(pattern->code, (PCRE2_SPTR)text, len, 0,
			   PCRE2_ANCHORED | PCRE2_DFA_SHORTEST, pattern->match, NULL,
			   pattern->workspace, WORKSPACE_LEN(states)) >= 0;
}
