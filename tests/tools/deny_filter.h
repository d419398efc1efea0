/* SPDX-License-Identifier: Apache-2.0 */
/*
 * deny_filter: a seccomp filter that makes named system calls fail, so that a new kernel can stand
 *in for an old one, or for a container whose filter hides calls. Raw BPF: no library but libc.
 *
 *	rule	::= name (":" index "=" value)* (":" errno)?
 *	name	::= a system call of the table in deny_filter.c, such as "fsopen"
 *	index	::= "0".."5", the argument that must equal `value` (strtoull's notation, 64 bits);
 *several must all match errno	::= a name such as "EINVAL", or a number; without it ENOSYS
 *
 * The first rule that matches counts. Calls of other architectures (32-bit ones on a 64-bit kernel)
 *pass unhindered.
 */
#ifndef TESTS_TOOLS_DENY_FILTER_H
#define TESTS_TOOLS_DENY_FILTER_H

#include <stddef.h>
#include <stdint.h>

#define DENY_RULES_MAX 64
#define DENY_ARGS      6

struct deny_rule {
	int syscall;
	unsigned int arg_mask; /* bit i: args[i] must match */
	uint64_t args[DENY_ARGS];
	int error; /* positive */
};

/* 0, or -EINVAL: not a rule, or a name that is not in the tables. */
int deny_rule_parse(const char *text, struct deny_rule *ret);

/* Installs the filter on the calling thread and its future children, for good; sets no_new_privs. 0
 * or -errno. */
int deny_install(const struct deny_rule *rules, size_t count);

/* Parses and installs. 0 or -errno. */
int deny_install_texts(const char *const *texts, size_t count);

#endif
