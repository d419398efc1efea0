/* SPDX-License-Identifier: Apache-2.0 */
/* run: other programs; their input and output, bounded in size and time. */
#ifndef DRIVER_BASE_RUN_H
#define DRIVER_BASE_RUN_H

#include <stddef.h>
#include <sys/types.h>

#include "driver/base/buf.h"
#include "driver/base/err.h"

#define RUN_KEEP (-1) /* the descriptor of this number, as it is */
#define RUN_NULL (-2) /* /dev/null */

/*
 * Starts a program (without a slash: of PATH): descriptor i of it is fds[i], taken in this order, so that
 * none may have the number of an earlier one; it has no other. Its signals are as at a login, whatever the
 * host program blocks or ignores. 0 or -errno with words.
 */
int run_spawn(const char *program, char *const argv[], char *const env[], const int *fds,
	      size_t count, pid_t *ret, struct err *err);

struct run_plan {
	const char *const *argv; /* argv[0] is looked for in PATH; NULL at the end */
	const void *input;
	size_t input_len;
	unsigned int timeout_ms;
};

/*
 * Runs it with the environment of this process, its stderr to /dev/null, and appends what it writes to
 * `out`, up to out->max. Returns its exit status (128 and the number of the signal that ended it), or
 * -ENOENT (there is no such program), -ETIMEDOUT, -EFBIG (more output); it has ended in each case. No
 * signal of the host program's is blocked or ignored in it, and none reaches us by its end.
 */
int run_program(const struct run_plan *plan, struct buf *out, struct err *err);

#endif
