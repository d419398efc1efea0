/* SPDX-License-Identifier: Apache-2.0 */
/*
 * handles: store handles for threads that come and go; those that nobody uses are kept for the next.
 */
#ifndef CMD_SERVE_HANDLES_H
#define CMD_SERVE_HANDLES_H

#include "driver/base/err.h"
#include "graph/overlaid.h"

struct handles;

/* `options` outlives it. *ret is freed with handles_free. */
int handles_new(const struct overlaid_options *options, struct handles **ret, struct err *err);
/* One for the caller alone, until handles_give. NULL: none could be opened. */
struct overlaid *handles_take(struct handles *handles, struct err *err);
void handles_give(struct handles *handles, struct overlaid *store); /* NULL allowed */
void handles_free(struct handles *handles); /* NULL allowed; all were given back */

#endif
