/* SPDX-License-Identifier: Apache-2.0 */
/*
 * same_contents: whether a contents.zst says what a tree is.
 */
#ifndef TESTS_UNIT_SAME_CONTENTS_H
#define TESTS_UNIT_SAME_CONTENTS_H

/* The statements in the file, taken one after the other, are the tree at `root`, entry for entry: else the
 * test fails. */
void assert_same_contents(int contents_fd, const char *root);

#endif
