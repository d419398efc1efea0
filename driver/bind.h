/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bind: whether a layer that was applied alone would have come out otherwise over the layers beneath.
 *
 * It would where one of the directories it implies is a symlink beneath it: on a mount, what the layer
 * has there would have gone where the link leads. (That it links to files of theirs it says itself, with
 * APPLY_NEEDS_PARENT.) Nearly always there is none, so each implied path is first looked for in each
 * layer once, however many layers imply it; only where a layer has a symlink by that name is the whole
 * stack asked.
 */
#ifndef DRIVER_BIND_H
#define DRIVER_BIND_H

#include <stddef.h>

#include "driver/base/auto.h"
#include "driver/base/err.h"
#include "driver/stack.h"

struct binder; /* for the layers of one chain, asked about from the lowest up */

/* The caller frees it with binder_freep. */
int binder_new(enum overlay_xattrs xattrs, struct binder **ret, struct err *err);
void binder_freep(struct binder **binder);
#define auto_binder AUTO(binder_freep)

/*
 * 1 where a layer with this list of implied directories (apply_result.implied) must be bound to the
 * `count` layers beneath it, topmost first; else 0. Of a chain's layers those that were beneath in one
 * call are the lowest in the next.
 */
int binder_ask(struct binder *binder, const struct stack_layer *beneath, size_t count,
	       const char *implied, size_t implied_bytes, struct err *err);

#endif
