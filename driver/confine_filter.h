/* SPDX-License-Identifier: Apache-2.0 */
/*
 * confine_filter: the system calls that unpacking makes, and a seccomp filter of them in raw BPF,
 * built from one table. The part of driver/confine that deals with system calls.
 *
 * What is not in the table fails with EPERM; calls newer than the table with ENOSYS, as does clone3,
 * so that libc takes its older way. Calls of another architecture, and of x32, fail too. A filter
 * sees numbers and not what pointers point to: names are the business of the other parts.
 */
#ifndef DRIVER_CONFINE_FILTER_H
#define DRIVER_CONFINE_FILTER_H

#include <stdbool.h>

/* Does the kernel have such filters, and is the machine one that the table knows? */
bool confine_filter_possible(void);

/* Installs the filter on the calling thread and those it will start, for good. 0 or -errno; codes of
 * sys_is_missing() where there are no filters. Needs no_new_privs or CAP_SYS_ADMIN. */
int confine_filter_install(void);

#endif
