/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stack: names in a stack of layer directories, as overlayfs would show them, without a mount.
 *
 * A name is looked for from the topmost layer down (overlayfs.rst, "Upper and Lower", "whiteouts and
 * opaque directories"):
 *  - a whiteout ends the search;
 *  - what is not a directory is it where nothing was found above, and else ends the search;
 *  - directories of one name are one directory, down to an opaque one. Beneath a layer whose root is
 *    opaque there is nothing (overlayfs would merge roots all the same: graph/store/chain.h).
 * Names stay beneath the layers: each is looked up, without following, in a directory that
 * driver/tree opened; symlinks are followed here, inside the stack, and ".." of the root is the root.
 *
 * Whose metadata a directory has: that of the topmost layer that does not merely imply it (see
 * `implied` in driver/apply.h). An opaque mark hides what is in a directory, not what the directory
 * itself is; but a layer that deletes a directory and makes it again does not list it as implied.
 *
 * Layers do not change while they are in a stack. One thread at a time.
 */
#ifndef DRIVER_STACK_H
#define DRIVER_STACK_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#include "driver/base/auto.h"
#include "driver/base/err.h"
#include "driver/whiteout.h"

#define STACK_LAYERS_MAX UINT16_MAX

/* What layers give a directory that they imply: root:root, this mode, time 0, no xattrs. */
#define STACK_IMPLIED_MODE 0755

struct stack_layer {
	int fd;		     /* its tree, readable */
	const char *implied; /* as apply_result.implied: sorted paths, each NUL-terminated; or NULL */
	size_t implied_bytes;
};

struct stack;

/* A directory of the stack. It lives until the next stack_root. Only to be read. */
struct stack_dir {
	struct stack_dir *parent; /* NULL: the root */
	struct stack_dir *next_in_bucket;
	struct stack_dir *made_before;
	uint32_t path_bytes;
	bool implied;	  /* no layer says what it is: it has what implied directories get */
	uint16_t says;	  /* the layer that says what it is; where none does, layers[0] */
	uint16_t count;	  /* how many layers it is merged from, */
	uint16_t *layers; /* and which, topmost first */
	char name[];
};

enum stack_type { STACK_MISSING, STACK_DIR, STACK_OTHER };

struct stack_found {
	enum stack_type type;
	size_t layer;		 /* the topmost that has it; not of a missing one */
	struct stack_dir *dir;	 /* STACK_DIR */
	struct stack_dir *in;	 /* STACK_OTHER: where it is, once all links were followed, */
	char name[NAME_MAX + 1]; /* its name there, */
	struct stat st;		 /* and what it is */
};

/* `layers` is copied, topmost first; its descriptors and lists stay the caller's and must
 * outlive the stack. A stack of none has an empty root. */
int stack_new(const struct stack_layer *layers, size_t count, enum overlay_xattrs xattrs,
	      struct stack **ret, struct err *err);
void stack_free(struct stack *s);
void stack_freep(struct stack **s);
#define auto_stack AUTO(stack_freep)

/* The layers it was made of, topmost first. */
const struct stack_layer *stack_layers(const struct stack *s, size_t *ret_count);

/* Where a walk begins. Directories handed out before are no longer valid. NULL: out of memory. */
struct stack_dir *stack_root(struct stack *s);

/* What `name` is in the directory: neither empty nor "." nor "..", not followed. -errno with words
 * where a layer cannot be read. */
int stack_step(struct stack *s, struct stack_dir *dir, const char *name, struct stack_found *ret,
	       struct err *err);

enum stack_flags {
	STACK_FOLLOW = 1,      /* symlinks on the way */
	STACK_FOLLOW_LAST = 2, /* and the last name, where it is one */
};

/* What `path` means. What is not a directory on the way (a symlink too, unless it is followed) has
 * nothing in it: STACK_MISSING. -ELOOP: more than 40 links. -ENAMETOOLONG. */
int stack_lookup(struct stack *s, const char *path, unsigned int flags, struct stack_found *ret,
		 struct err *err);

/* The text of the symlink that was found. */
int stack_read_link(struct stack *s, const struct stack_found *found, char ret[PATH_MAX],
		    struct err *err);

/* The directory as `layer`, one of those that provide it or says what it is, has it. Readable
 * descriptor, the caller's. */
int stack_open_dir(struct stack *s, const struct stack_dir *dir, size_t layer, struct err *err);

/* Its path, without a leading slash; the root's is "". The caller frees; NULL: out of memory. */
char *stack_path(const struct stack_dir *dir);

/* Whether the layer has only implied the directory of this path. */
bool stack_is_implied(const struct stack *s, size_t layer, const char *path);

#endif
