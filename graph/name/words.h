/* SPDX-License-Identifier: Apache-2.0 */
/*
 * words: names for containers that were given none.
 */
#ifndef GRAPH_NAME_WORDS_H
#define GRAPH_NAME_WORDS_H

#include <stdbool.h>
#include <stddef.h>

#define WORDS_MAX 64

/* "quiet_harbour"; with a number behind it from the `attempt`th try on, as short names run out. */
void words_name(unsigned int attempt, char ret[WORDS_MAX]);

/* [a-zA-Z0-9][a-zA-Z0-9_.-]*, at most 255 bytes: what Docker and Podman take for a container's
 * name. */
bool words_valid(const char *name);

#endif
