/* SPDX-License-Identifier: Apache-2.0 */
/*
 * filter: containerd's filter language (its package filters), over snapshots.
 *
 *	text      := "" | selector ("," selector)*		"": everything
 *	selector  := fieldpath [operator value]			no operator: is it present?
 *	fieldpath := field ("." field)*
 *	field     := [A-Za-z0-9_]+ | quoted
 *	operator  := "==" | "!=" | "~="
 *	value     := quoted | one or more characters that Unicode calls graphic, but for "," and spaces
 *	quoted    := as a string of Go in "", on one line; after ~= also between // or ||
 *
 * Spaces may stand before a field, an operator and a value, though not before "," and "." nor at the end,
 * where an operator is expected. A value that begins with a quote, a separator or a character of operators
 * must be quoted. In // and || too a backslash is one of Go's escapes: a digit is "\\d".
 *
 * Several texts: one must match; none: everything does. Of a text, all selectors must.
 *
 * Fields are name, parent, kind ("view", "active", "committed"; others are absent), whatever follows a dot,
 * and labels.KEY, KEY being all that follows, with the dots. Others are absent. "==" wants the field to be
 * present; to "!=" and "~=" an absent one is "". "~=" finds a regular expression anywhere in the value
 * (cmd/serve/pattern.h); one that is none matches nothing.
 *
 * Differs from containerd where characters are ones that its Go does not know yet: here they are graphic. And
 * \U80000000 and above, where Go's number turns negative and passes, are refused.
 */
#ifndef CMD_SERVE_FILTER_H
#define CMD_SERVE_FILTER_H

#include <stdbool.h>
#include <stddef.h>

#include "cmd/serve/wire.h"
#include "driver/base/auto.h"
#include "driver/base/err.h"

#define FILTER_SELECTORS_MAX ((size_t)10000) /* of all texts */
#define FILTER_PATTERNS_MAX  ((size_t)16)    /* those with ~= */

struct filter;

/* *ret is freed with filter_free, and lives without the texts. -EINVAL, with containerd's words; -ELIBACC
 * where a pattern needs libpcre2-8 and it is not there; -ENOMEM. */
int filter_new(const char *const *texts, size_t count, struct filter **ret, struct err *err);
void filter_free(struct filter *filter); /* NULL allowed */
void filter_freep(struct filter **filter);
#define auto_filter AUTO(filter_freep)

/* Allocates nothing. One thread at a time, where there are patterns. */
bool filter_matches(const struct filter *filter, const struct overlaid_snapshot *info);

#endif
