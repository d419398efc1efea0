/* SPDX-License-Identifier: Apache-2.0 */
/*
 * banned: functions that may not be named in this tree. The Makefile includes this file before
 * every source of ours
 * (-include), so that a use is an error at compile time.
 */
#ifndef DRIVER_BASE_BANNED_H
#define DRIVER_BASE_BANNED_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Macros of <alloca.h>, and of <stdio.h> with clang and _FORTIFY_SOURCE. */
#undef alloca
#undef sprintf
#undef vsprintf
#pragma GCC poison strcpy strcat sprintf vsprintf strtok atoi atol atof mktemp tmpnam system alloca

#endif
