/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stacked: layers of the store, or the trees of a runtime's snapshots, opened as one stack (driver/stack.h).
 */
#ifndef GRAPH_STACKED_H
#define GRAPH_STACKED_H

#include "driver/stack.h"
#include "graph/store/keyed.h"
#include "graph/store/layer.h"

struct stacked {
	struct stack_layer *layers; /* topmost first; their descriptors and lists are ours */
	struct buf *implied;
	size_t count;
	struct stack *stack;
};
void stacked_release(struct stacked *stacked);
#define auto_stacked AUTO(stacked_release)

/* Topmost first. What is opened is held by somebody meanwhile. *ret is zeroed before, and released also after a
 * failure. */
int stacked_open_layers(struct store *store, const struct layer_list *list, struct stacked *ret,
			struct err *err);
/* Of trees that are no layers, the ids are seen through this user namespace; -EBADF: as they are. */
int stacked_open_trees(struct store *store, const struct keyed_trees *trees, int userns_fd,
		       struct stacked *ret, struct err *err);

#endif
