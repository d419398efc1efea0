/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz: what the fuzz targets (tests/fuzz/NAME_fuzz.c) share.
 *
 * Each target is one program, built in two ways: with libFuzzer, which makes up inputs (`make fuzz
 * FUZZ=NAME SECONDS=600`), and with replay.c, which runs those of tests/fuzz/corpus/NAME (`make check`),
 * or the files it is given. A target does more than not to crash: what must hold is said with
 * fuzz_require, and sanitizers watch the rest.
 */
#ifndef TESTS_FUZZ_FUZZ_H
#define TESTS_FUZZ_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "driver/base/err.h"

/* What libFuzzer calls: the first of these is the target, the others are there where a target has them. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int seed);

/* What libFuzzer offers to a mutator: changes the bytes as it would, and returns how many there are. */
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);

/* Says where and what, and aborts, where it is not so. */
#define fuzz_require(condition, ...)                                                   \
	do {                                                                           \
		if (!(condition))                                                      \
			fuzz_abort(__FILE__, __LINE__, #condition, ##__VA_ARGS__, ""); \
	} while (0)

/* The part after `condition` is text to say with it. */
void fuzz_abort(const char *file, int line, const char *condition, const char *words, ...)
	__attribute__((noreturn));

/* A source of bytes (tar_read) in blocks of `step` bytes, 0: one block. Each block lies in memory of its
 * own that ends where the block does, and dies with the next: as fuzz_source_release does. */
struct fuzz_source {
	const uint8_t *data;
	size_t len, at, step;
	uint8_t *block;
};
ssize_t fuzz_read(void *arg, const void **ret_block, struct err *err);
void fuzz_source_release(struct fuzz_source *source);

#endif
