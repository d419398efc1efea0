/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sandbox: a scratch directory for the tests of layers and mounts; as root in a mount namespace of
 * its own, so that no mount outlives the program.
 *
 * Each test begins with an empty directory, the working directory, and what it leaves is unmounted
 * and removed. The put_* functions fail the test where they can't do it. Paths are relative to the
 * scratch directory.
 */
#ifndef TESTS_UNIT_SANDBOX_H
#define TESTS_UNIT_SANDBOX_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include <time.h>

#include "driver/overlay.h"

int sandbox_enter(void **state); /* of the group */
int sandbox_leave(void **state);
int sandbox_start(void **state); /* of each test */
int sandbox_clean(void **state);

#define sandbox_test(f) cmocka_unit_test_setup_teardown(f, sandbox_start, sandbox_clean)

/* Skips the test where it is not run by root. */
#define needs_root()                                   \
	do {                                           \
		if (geteuid() != 0) {                  \
			print_message("needs root\n"); \
			skip();                        \
		}                                      \
	} while (0)

/* The scratch directory; and a name beneath it, in one of a few buffers that are used in turn. */
const char *sandbox_root(void);
const char *sandbox_path(const char *name);

/* Missing parents are made, 0755. */
void put_dir(const char *path);
void put_file(const char *path, const char *contents);
void put_whiteout(const char *path);
void put_opaque_dir(const char *path, enum overlay_xattrs xattrs);
void set_mtime(const char *path, time_t seconds, long ns);

bool exists(const char *path); /* lstat */
void assert_contents(const char *path, const char *contents);

/* The opened directory; `flags` beside O_DIRECTORY | O_CLOEXEC. */
int open_dir(const char *path, int flags);
void add_lower(struct overlay_plan *plan, const char *path);
void set_upper(struct overlay_plan *plan, const char *upper, const char *work);

/*
 * Calls fn(arg) in a thread for which these system calls fail (tests/tools/deny_filter.h), and
 * returns its result. No assertions in fn.
 */
int under_deny(const char *const *rules, size_t count, int (*fn)(void *arg), void *arg);

#endif
