/* SPDX-License-Identifier: Apache-2.0 */
/*
 * background: what removals left in the trash is deleted by a process of its own, so that the
 * command ends at once. Killed, or without a chance to start, it leaves the rest to the next one or
 * to `overlaid gc`.
 */
#ifndef CMD_BACKGROUND_H
#define CMD_BACKGROUND_H

#include "graph/overlaid.h"

/* Starts it and returns; the caller is to end soon, as it does not wait for its child. No store may
 * be open in this process, and nothing may wait in stdio's buffers. */
void background_reap(const struct overlaid_options *options);

#endif
