/* SPDX-License-Identifier: Apache-2.0 */
/* run_exec: the last steps of the container's first process: give up privilege, become the user,
 * execute the command. */
#ifndef CMD_RUN_EXEC_H
#define CMD_RUN_EXEC_H

#include "cmd/process.h"
#include "cmd/user.h"
#include "driver/base/err.h"

enum {
	EXIT_CANNOT_INVOKE = 126,
	EXIT_NOT_FOUND = 127,
};

/* Loads libcap; to be called before the root is the container's, from which nothing may be loaded. */
int run_exec_prepare(struct err *err);

/* Keeps docker's capabilities and no other, then becomes `user`. The process dies with its parent
 * from here on too: changing ids had undone that. */
int run_exec_become(const struct user *user, struct err *err);

/* Executes the command, looked for in the container's $PATH. Comes back only to say which exit
 * status tells why not, with words. */
int run_exec_command(const struct process *process, struct err *err);

#endif
