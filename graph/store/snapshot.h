/* SPDX-License-Identifier: Apache-2.0 */
/*
 * snapshot: a private directory over a chain of layers; containers, and read-only views of images.
 *
 *	            snapshot_create           snapshot_mount
 *	  (nothing) ----------------> idle <------------------> mounted
 *	            <----------------       snapshot_unmount
 *	             snapshot_delete
 *
 *	active	a container: fs/ takes its changes
 *	view	a mounted image: fs/ stays empty, read-only; exists only while mounted
 *
 * The directory is made at the first mount: a row without one is a snapshot without changes. That is
 * also what a power cut right after a first mount may leave, and nothing was promised then. So
 * creating a snapshot is one commit.
 *
 * fs/ begins with the metadata of the chain's root directory: that of the topmost layer whose tar
 * has an entry for "/". So a mount shows the right root although most layers do not mention it; and
 * a view has an upper, so it needs no padding and has the kernel's whole limit of lowers.
 *
 * A snapshot's edges are its own (snapshot_layer): it keeps its layers also when the image was
 * removed by force. Each function that changes a snapshot takes its object lock. An ephemeral one
 * belongs to a process, which holds flock(2) on the snapshot's directory.
 */
#ifndef GRAPH_STORE_SNAPSHOT_H
#define GRAPH_STORE_SNAPSHOT_H

#include <stdbool.h>
#include <stdint.h>

#include "driver/overlay.h"
#include "graph/store/layer.h"
#include "graph/store/store.h"

#define SNAPSHOT_SCOPE_CLI     "cli"
#define SNAPSHOT_SCOPE_IMAGES  "images" /* views; the name is the image id */
/* The mount table shows a container's mount with this before its name as the source. */
#define SNAPSHOT_SOURCE_PREFIX "overlaid:"
#define SNAPSHOT_NAME_MAX      255

struct snapshot {
	int64_t id;
	int64_t image; /* row, 0: removed */
	int64_t created;
	bool view, ephemeral;
	char uid[STORE_HEX_LEN + 1];
	char scope[64];
	char name[SNAPSHOT_NAME_MAX + 1];
	char image_id[DIGEST_TEXT_MAX];
	char image_name[700];
	char *labels; /* JSON object; owned */
};
void snapshot_release(struct snapshot *snapshot);
#define auto_snapshot AUTO(snapshot_release)

struct snapshot_spec {
	const char *scope, *name;
	int64_t image; /* row */
	const char *image_id, *image_name;
	const char *labels; /* JSON object */
	bool view, ephemeral;
};
/* -EEXIST: the name is taken. -ENOENT: the image went meanwhile. *ret_owner (ephemeral; else
 * untouched) is the descriptor that holds the flock. */
int snapshot_create(struct store *store, const struct snapshot_spec *spec,
		    char ret_uid[STORE_HEX_LEN + 1], int *ret_owner, struct err *err);

/* By name, uid or unique prefix of a uid within a scope: -ENOENT, -ENOTUNIQ with candidates. `what`
 * is "container" or "image mount", for the words. */
int snapshot_resolve(struct store *store, const char *scope, const char *name, const char *what,
		     struct snapshot *ret, struct err *err);

/* Each snapshot of the scope (NULL: of all), newest first, or of one image (`image` != 0). The rows
 * are read before the first call. */
typedef int snapshot_fn(void *arg, const struct snapshot *snapshot);
int snapshot_list(struct store *store, const char *scope, int64_t image, snapshot_fn *fn, void *arg,
		  struct err *err);

/* Each snapshot that has a row in `mount`. */
int snapshot_list_mounted(struct store *store, snapshot_fn *fn, void *arg, struct err *err);

/* Invariant 6. Where a snapshot is mounted. */
struct snapshot_mount_state {
	bool mounted;
	bool elsewhere; /* in another mount namespace that still lives */
	int pid;	/* elsewhere: one process of it */
	char *target;	/* owned; NULL where not mounted */
};
void snapshot_mount_state_release(struct snapshot_mount_state *state);
#define auto_mount_state AUTO(snapshot_mount_state_release)
int snapshot_mount_state(struct store *store, int64_t id, struct snapshot_mount_state *ret,
			 struct err *err);

/* Mounts it at RUN/mnt/<uid>; mounted already: the same path. *ret_path is the caller's. An
 * ephemeral one is mounted volatile and without a row. */
int snapshot_mount(struct store *store, const struct snapshot *snapshot, char **ret_path,
		   struct err *err);
/* -EINVAL: not mounted here; -EBUSY: words name the holders. */
int snapshot_unmount(struct store *store, const struct snapshot *snapshot, struct err *err);
/* Drops the row of a mount that is gone. Hold the snapshot's lock. */
int snapshot_forget_mount(struct store *store, const char *uid, struct err *err);
/* -EBUSY: mounted; `force` unmounts first. Layers that lost their last edge go too. trash_sweep()
 * is done, unlinking is not. */
int snapshot_delete(struct store *store, const struct snapshot *snapshot, bool force,
		    struct err *err);
/* True where an ephemeral snapshot's owner is gone. */
bool snapshot_is_abandoned(const struct store *store, const struct snapshot *snapshot);

/* Its layers, lowest first. */
int snapshot_layers(struct store *store, int64_t id, struct layer_list *ret, struct err *err);
/* Descriptor of its fs/ directory. -ENOENT: it was never mounted. */
int snapshot_open_upper(const struct store *store, const char *uid, struct err *err);

#endif
