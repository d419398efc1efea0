/* SPDX-License-Identifier: Apache-2.0 */
/* process: what an image's config and the user's wishes say about the process to start. Pure;
 * shared by run and bundle. */
#ifndef CMD_PROCESS_H
#define CMD_PROCESS_H

#include <stdbool.h>
#include <stddef.h>

#include "cmd/options.h"
#include "driver/base/auto.h"
#include "driver/base/err.h"
#include "driver/base/json.h"

struct wishes {
	const struct option_list *env; /* -e KEY=VALUE, or KEY: the value it has here; NULL: none */
	const char *entrypoint;	       /* --entrypoint; "": none; NULL: the image's */
	const char *workdir, *user;    /* NULL: the image's */
	char *const *command;	       /* instead of the image's Cmd */
	size_t command_count;
	const char *hostname; /* for $HOSTNAME */
	bool terminal;	      /* hands $TERM on */
};

/* Texts, ended by NULL. */
struct text_list {
	char **items;
	size_t count;
};

struct process {
	struct text_list args, env;
	char *cwd;  /* absolute */
	char *user; /* "user[:group]", "" for root */
};

/* 0, or -EINVAL with words: no command, a workdir that is not absolute, a config of another shape. */
int process_make(const struct json *config, const struct wishes *wishes, struct process *ret,
		 struct err *err);
void process_release(struct process *process);
#define auto_process AUTO(process_release)

/* Sets KEY=VALUE, replacing a variable of that name. */
int process_set_env(struct process *process, const char *variable, struct err *err);
/* The value, or NULL. */
const char *process_get_env(const struct process *process, const char *name);

#endif
