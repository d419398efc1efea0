/* SPDX-License-Identifier: Apache-2.0 */
/*
 * err: words for a failure.
 *
 * The code is the return value (0, a count or a descriptor; else -errno); the words are for a
 * person. A function that can fail takes `struct err *err` last. The buffer lives on the caller's
 * stack, is never allocated, and may be NULL. Words say what happened, to which thing, and where it
 * helps, what to do. Outer layers prefix context; only cmd/ prints.
 */
#ifndef DRIVER_BASE_ERR_H
#define DRIVER_BASE_ERR_H

#include <errno.h>
#include <stdarg.h>

/* The same definition stands in graph/overlaid.h, the installed header; scripts/check-headers
 * compares them. */
#ifndef OVERLAID_STRUCT_ERR
#define OVERLAID_STRUCT_ERR
struct err {
	char text[2048]; /* NUL-terminated; cut with "..." where longer */
};
#endif

/*
 * Writes the words and returns `code`, so that a failure is one line: return fail(err, -errno,
 * "open %s: %m", name);
 * `%m` is the text of -code, not of errno at the time of the call. Replaces what err held. Keeps
 * errno.
 */
int fail(struct err *err, int code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4), cold));
int vfail(struct err *err, int code, const char *fmt, va_list ap)
	__attribute__((format(printf, 3, 0)));

/* Puts "<fmt>: " before the words that err holds and returns `code`. */
int err_prefix(struct err *err, int code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4), cold));

/* Empties err. A struct err must be initialised ({ 0 } will do) before it is read. */
void err_clear(struct err *err);

/* -ENOMEM with words. */
int fail_oom(struct err *err);

#endif
