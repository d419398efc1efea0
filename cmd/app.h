/* SPDX-License-Identifier: Apache-2.0 */
/*
 * app: one run of the program, and what a verb is.
 *
 * A verb is a row of a table (struct verb): its name, its words for --help, its options, and a
 * function. main finds the row, reads the options into a zeroed struct of the verb's own, and calls
 * the function. What the function returns is the exit status; a negative errno means that `err`
 * holds the words, which main prints once, as "overlaid: <words>". A verb that goes on after a
 * failure (several images to remove) prints each itself, with app_complain, and returns 1.
 *
 * Data goes to stdout through stdio, everything else to stderr. main checks at the end that stdout
 * took it all.
 */
#ifndef CMD_APP_H
#define CMD_APP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cmd/options.h"
#include "cmd/progress.h"
#include "driver/base/err.h"
#include "graph/overlaid.h"

enum {
	EXIT_FAILED = 1,
	EXIT_USAGE = 125, /* as docker and podman; also what `run` says when overlaid itself failed */
};

struct app;

struct verb {
	const char *name;    /* "images" */
	const char *aliases; /* further names, with a space between; NULL: none */
	const char *args;    /* "[OPTIONS] IMAGE..." */
	const char *summary; /* one line, no full stop */
	const char *example;
	const struct option *options;
	size_t option_count;
	size_t options_size; /* of the verb's struct that the options are read into; at most
				OPTIONS_SIZE_MAX */
	size_t min_args, max_args;
	size_t stop_after; /* words after this many arguments are not looked at for options; 0:
			      there is no such number */
	int failure;	   /* exit status of a negative return; 0: EXIT_FAILED */
	int (*run)(struct app *app, const void *options, char **args, size_t count,
		   struct err *err);
};

#define OPTIONS_SIZE_MAX 512
#define ARGS_MANY	 SIZE_MAX

/* Verbs that belong together, for --help. */
struct verb_group {
	const char *title;
	const struct verb *const *verbs; /* ended by NULL */
};

struct app {
	/* global options, as given */
	const char *root, *run, *durability, *progress_name;
	struct option_list limits;
	bool json, quiet, debug, help, version;

	const struct verb *verb;
	const char *noun; /* "image", "container", "system" where the verb was given as `overlaid
			     image ls`, else NULL */
	struct overlaid_options store_options;
	struct overlaid *store; /* once app_store was called */
	struct progress progress;
	bool trash; /* something is left to be cleared away after the answer: main starts
		       them in the background */
};

/* The store, opened when first asked for. 0 or -errno with words. */
int app_store(struct app *app, struct overlaid **ret, struct err *err);

/* Mounts each by its name and prints where: the path alone, or with the name before it where there
 * are several. What fails is complained of and does not stop the others. An exit status. */
typedef int app_mount_fn(struct overlaid *store, const char *name, char **ret_path,
			 struct err *err);
int app_mount_each(struct app *app, struct overlaid *store, app_mount_fn *mount, char **names,
		   size_t count, struct err *err);

/* Prints "overlaid: <words>" to stderr, control characters made visible. */
void app_complain(const struct app *app, int code, const struct err *err);

/* Prints wrong use of the verb with a hint at its --help; returns EXIT_USAGE. */
int app_usage(const struct app *app, const char *fmt, ...)
	__attribute__((format(printf, 2, 3), cold));

/* cmd/verbs.c: all of them, ended by a group without a title. */
extern const struct verb_group verb_groups[];

/* The verb that `name` means, an alias too; NULL: there is none. */
const struct verb *verb_find(const char *name);
/* `overlaid NOUN NAME`; *ret_noun_known tells a wrong name from a wrong noun. */
const struct verb *verb_find_in(const char *noun, const char *name, bool *ret_noun_known);
/* The verb or noun whose name is nearest to what was typed, or NULL where none is near. */
const char *verb_suggest(const char *typed);
/* Prints the help of the program, of a noun, of a verb. */
void help_program(void);
void help_noun(const char *noun);
void help_verb(const struct verb *verb);
/* The settings of --limit. */
void help_limits(void);
/* The options that may stand before and after every verb. */
extern const struct option global_options[];
extern const size_t global_option_count;

#endif
