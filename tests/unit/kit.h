/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kit: small stores and small images for the tests of graph/. Everything lies in the sandbox
 * (tests/unit/sandbox.h): the store in "store", its run-time state in "run".
 */
#ifndef TESTS_UNIT_KIT_H
#define TESTS_UNIT_KIT_H

#include <stdbool.h>
#include <stdint.h>

#include "driver/base/buf.h"
#include "driver/base/digest.h"
#include "graph/overlaid.h"
#include "graph/store/layer.h"
#include "graph/store/snapshot.h"
#include "graph/store/store.h"

/* ---- rows and directories, without an archive ---- */

/* The sandbox's store, volatile. Fails the test where it can't be opened. */
struct store *kit_store(void);

/* "sha256:<start>000..." */
struct digest kit_digest(const char *start);

/* A layer with an empty tree and its row; nothing holds it. */
int64_t kit_layer(struct store *store, const char *start);
/* A directory alone. */
void kit_layer_dir(struct store *store, const char *start);
/* An image of these layers (ids of rows), with its config's blob, row and file. */
int64_t kit_image(struct store *store, const char *start, const int64_t *layers, size_t count);
void kit_tag(struct store *store, int64_t image, const char *reference);
/* A container of the image; *ret is to be released. */
void kit_container(struct store *store, int64_t image, const char *image_start, const char *name,
		   struct snapshot *ret);
/* A lease on these layers, of a holder that is called `name`. */
int64_t kit_lease(struct store *store, const char *name, const int64_t *layers, size_t count);

/* One number from a query without parameters. */
int64_t kit_count(struct store *store, const char *sql);
/* One statement in a transaction of its own; its result. */
int kit_run(struct store *store, const char *sql);
bool kit_layer_exists(const char *start);
/* Names in a directory, "." and ".." left out. */
size_t kit_names(const char *path);

/* ---- archives ---- */

/*
 * Layers are written "NAME=CONTENTS": a tar with the root directory and that one file. Arrays of them
 * end with NULL.
 */
void kit_layer_tar(struct buf *tar, const char *layer);
/* A config that names these layers; the digest is the image's id. */
void kit_config(struct buf *config, const char *const *layers, struct digest *ret_id);
/* `tags` is JSON: "[\"a:1\"]" or "null". */
void kit_docker_archive(const char *path, const char *tags, const char *const *layers,
			struct digest *ret_id);
void put_bytes(const char *path, const struct buf *bytes);
struct digest digest_of_buf(const struct buf *bytes);

/* An OCI layout directory that is written blob by blob. */
struct digest kit_blob(const char *dir, const void *data, size_t len);
/* Config and manifest of an image with gzipped layers. The manifest's descriptor is appended to `index`. */
void kit_oci_image(const char *dir, struct buf *index, const char *more, const char *const *layers,
		   struct digest *ret_id, struct digest *ret_manifest);
/* oci-layout and index.json. */
void kit_oci_index(const char *dir, const struct buf *index);

/* ---- the public interface ---- */

struct overlaid *kit_open(void);
/* Loads it; the result. */
int kit_load(struct overlaid *o, const char *path, struct err *err);

/* ---- processes ---- */

struct child {
	int pid;
	int to, from;
};
/*
 * Forks; the child calls fn(arg), and its result is what kit_wait returns. What it writes with
 * kit_tell the parent reads with kit_hear, and the other way round. No assertions in fn.
 */
struct child kit_fork(int (*fn)(struct child *parent, void *arg), void *arg);
void kit_tell(const struct child *other);
bool kit_hear(const struct child *other); /* false: it ended without a word */
int kit_wait(struct child *child);
/* Waits for all; the first result that is not 0. */
int kit_wait_all(struct child *children, size_t count);
void kit_kill(struct child *child);

#endif
