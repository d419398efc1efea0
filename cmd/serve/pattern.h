/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pattern: does a text have a match of a regular expression anywhere? As Go's regexp (RE2) says it, by
 * PCRE2, since RE2 is not in C. libpcre2-8 is loaded when first used.
 *
 * What Go refuses and PCRE2 would take is refused: looking ahead and behind, backreferences, recursion,
 * atomic groups, possessive and doubled repetition, verbs, unknown escapes, flags other than i, m, s, U.
 * What is left is regular, and PCRE2's algorithm for such (pcre2_dfa_match) goes through a text once. Its time
 * is the text's length times, at worst, the square of how many places of the pattern are reached at once; so
 * that is bounded, and however the pattern was made up, a match takes less than a second.
 *
 * What still differs:
 *  - A text has no match where more than PATTERN_STATES_MAX places are reached at once; of longer texts, half of
 *    that from 1 KiB on, a quarter from 4 KiB, an eighth from 16 KiB. A counted repetition may reach one for
 *    each of its steps: "[0-9a-f]{128}" is well within.
 *  - Sizes: a pattern of more than PATTERN_BYTES_MAX, or 64 KiB compiled, is refused here. Nested counted
 *    repetition of more than 1000 in all is refused in Go only, as are spellings of \p{...} that ignore case.
 *  - \s and [[:space:]] have the vertical tab too, and \v stands for any vertical space, not the tab alone.
 *  - Refused here: a repetition of what takes no text (^ $ \b \B \A \z); [: [. and [= where no [[:class:]] is.
 *  - A repetition here, text in Go: {01}, and with PCRE2 10.43 and later {,n}.
 *  - Where (?m) is anywhere in a pattern, a $ outside of it is also before a line feed that ends the text.
 *  - \p{Greek} has the characters that Unicode's Script_Extensions counts as Greek too; and (?i) does not make
 *    \p{Lu} match lower case.
 */
#ifndef CMD_SERVE_PATTERN_H
#define CMD_SERVE_PATTERN_H

#include <stdbool.h>
#include <stddef.h>

#include "driver/base/auto.h"
#include "driver/base/err.h"

#define PATTERN_BYTES_MAX  ((size_t)1024)
#define PATTERN_STATES_MAX 1024

struct pattern;

/* *ret is freed with pattern_free. -EINVAL: it is none; -E2BIG: it is too long; -ELIBACC: there is no
 * libpcre2-8, with words that name the package; -ENOMEM. */
int pattern_new(const char *text, size_t len, struct pattern **ret, struct err *err);
void pattern_free(struct pattern *pattern); /* NULL allowed */
void pattern_freep(struct pattern **pattern);
#define auto_pattern AUTO(pattern_freep)

/* Allocates nothing. What is not UTF-8 has no match. One thread at a time. */
bool pattern_matches(struct pattern *pattern, const char *text, size_t len);

#endif
