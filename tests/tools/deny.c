/* SPDX-License-Identifier: Apache-2.0 */
/*
 * deny RULE... -- COMMAND [ARGUMENT...]: runs a command for which some system calls fail. Rules:
 *see deny_filter.h.
 *
 *	deny fsconfig:1=5:EINVAL -- overlaid mount web	# a kernel before 6.13: no layers by
 *descriptor deny fsopen openat2 -- overlaid load image.tar	# one before 5.2
 *
 * Exit status: the command's; 125 for a rule that is none or a filter that was refused; 126 and 127
 *as in a shell.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tests/tools/deny_filter.h"

static int parse_rules(char **argv, struct deny_rule *rules, size_t *ret_count)
{
	size_t count = 0;

	for (; argv[count] && strcmp(argv[count], "--") != 0; count++) {
		if (count == DENY_RULES_MAX) {
			(void)fprintf(stderr, "deny: more than %d rules\n", DENY_RULES_MAX);
			return -E2BIG;
		}
		if (deny_rule_parse(argv[count], &rules[count]) < 0) {
			(void)fprintf(stderr,
				      "deny: %s: not a rule (SYSCALL[:INDEX=VALUE][:ERRNO])\n",
				      argv[count]);
			return -EINVAL;
		}
	}
	*ret_count = count;
	return 0;
}

int main(int argc, char **argv)
{
	struct deny_rule rules[DENY_RULES_MAX];
	size_t count;
	char **command;
	int r;

	if (argc < 2 || parse_rules(argv + 1, rules, &count) < 0)
		return 125;
	command = argv + 1 + count;
	if (!command[0] || !command[1]) {
		(void)fprintf(stderr, "usage: deny RULE... -- COMMAND [ARGUMENT...]\n");
		return 125;
	}
	command++;
	r = deny_install(rules, count);
	if (r < 0) {
		(void)fprintf(stderr, "deny: install the filter: %s\n", strerror(-r));
		return 125;
	}
	execvp(command[0], command);
	r = errno;
	(void)fprintf(stderr, "deny: %s: %s\n", command[0], strerror(r));
	return r == ENOENT ? 127 : 126;
}
