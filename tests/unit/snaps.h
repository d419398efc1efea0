/* SPDX-License-Identifier: Apache-2.0 */
/*
 * snaps: snapshots that the store fills and mounts itself (graph/overlaid.h), for their tests: the sandbox's store by
 * one handle, snapshots of one scope. What says so fails the test where it cannot do it.
 */
#ifndef TESTS_UNIT_SNAPS_H
#define TESTS_UNIT_SNAPS_H

#include <stdbool.h>
#include <stdint.h>

#include "driver/base/buf.h"
#include "graph/overlaid.h"
#include "graph/store/keyed.h"

#define SNAPS_SCOPE "docker:test"

extern struct overlaid *snaps; /* of the test that runs */

/* Before and after each test. */
int snaps_begin(void **state);
int snaps_end(void **state);
#define snaps_test(f) cmocka_unit_test_setup_teardown(f, snaps_begin, snaps_end)

/* Fails the test with the words. */
void good(int r, const struct err *err);

/* One number from a query without parameters. */
int64_t count(const char *sql);

/* ---- snapshots ---- */

/* An active one; a parent that is active is settled. Fails the test. */
void snaps_prepare(const char *key, const char *parent);
/* overlaid_snapshot_fill from memory. */
int snaps_fill(struct overlaid *o, const char *scope, const char *key, const struct buf *tar,
	       uint64_t *ret_bytes, struct err *err);
/* An active one that is filled. Fails the test. */
void snaps_layer(const char *key, const char *parent, const struct buf *tar);
int snaps_remove(const char *key);
void snaps_find(const char *scope, const char *key, struct keyed *ret);

/* At the directory `at` of the sandbox, with the maps or NULL. Fails the test. */
void snaps_attach(const char *key, const char *at, const struct overlaid_maps *maps);
void snaps_detach(const char *at);

/* The path of its own tree with `below` behind; and of the topmost tree that it has. As sandbox_path gives one. */
const char *snaps_own(const char *key, const char *below);
const char *snaps_top(const char *key, const char *below);
/* The keys of its layers, its ancestors' after: "1a2b3c4d5e6f ", or "own ". */
void snaps_trees(const char *scope, const char *key, struct buf *ret);

/* ---- layers ---- */

/* An archive of an image of these layers. */
void snaps_put_image(const char *path, const char *reference, const struct buf *const *tars,
		     size_t tar_count);
/* Of their diffIDs. */
void snaps_chain_id(const struct buf *const *tars, size_t tar_count, struct digest *ret);

/* Each row has its directory and each directory its row, each layer is held, nothing is in staging/, and after a reap
 * nothing in trash/. Else the test fails. */
void snaps_assert_consistent(void);

/* ---- trees ---- */

/* All that can be seen of the tree but times of access and change, a line a name, sorted. */
void tree_text(const char *root, struct buf *ret);

#endif
