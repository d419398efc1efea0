/* SPDX-License-Identifier: Apache-2.0 */
/*
 * options: getopt_long by table.
 *
 * Understood: --name, --name=value, --name value, -n, -nvalue, -n value, -n=value, several letters
 * in one word (-it), and "--", after which nothing is an option. A flag can be given a value only
 * with "=": --human=false. A lone "-" is an argument. Options and arguments may be mixed.
 */
#ifndef CMD_OPTIONS_H
#define CMD_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>

#include "driver/base/err.h"

enum option_type {
	OPTION_FLAG, /* bool */
	OPTION_OFF,  /* bool that is false by default, and true where --name=false is given */
	OPTION_TEXT, /* const char *: the last one given */
	OPTION_LIST, /* struct option_list: all that were given, in order */
};

struct option_list {
	const char **items;
	size_t count;
};

struct option {
	char letter;	  /* 0: none */
	const char *name; /* NULL: none */
	enum option_type type;
	size_t offset;	   /* of the target in the struct that is filled */
	const char *value; /* what --help calls the value: "FILE" */
	const char *help;  /* NULL: accepted, but not shown */
};

/* A table and the struct its options go to. Of several sets the first that has the option wins. */
struct option_set {
	const struct option *options;
	size_t count;
	void *base;
};

/*
 * Reads `count` words. Arguments are moved to the front of `words`, *ret_count is how many there
 * are. After `stop_after` arguments (SIZE_MAX: never; 0: at the first one) the rest is taken as it
 * is, "--" included. 0, -EINVAL with words, or -ENOMEM.
 */
int options_parse(const struct option_set *sets, size_t set_count, size_t stop_after, char **words,
		  size_t count, size_t *ret_count, struct err *err);

/* Frees the lists that parsing made. */
void options_release(const struct option_set *set);

/* "true", "false" and what else Go's strconv.ParseBool takes. */
bool bool_parse(const char *text, bool *ret);

#endif
