/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dl: libraries that only some commands need, loaded when first used.
 *
 * Loading libarchive (with libxml2 and ICU behind it) takes 2 ms, libcrypto 0.9 ms, libmount 0.5
 * ms: more than `overlaid images` takes in all. A module that uses such a library keeps a static
 * table of its functions and calls dl_load() first.
 */
#ifndef DRIVER_BASE_DL_H
#define DRIVER_BASE_DL_H

#include <pthread.h>
#include <stddef.h>

#include "driver/base/err.h"

struct dl_symbol {
	const char *name;
	void *slot; /* address of a function pointer */
};

struct dl_library {
	const char *soname;  /* "libarchive.so.13" */
	const char *package; /* what to install, for the words: "libarchive13" */
	const struct dl_symbol *symbols;
	size_t symbol_count;
	pthread_mutex_t lock; /* PTHREAD_MUTEX_INITIALIZER */
	int loaded;	      /* under lock */
};

/* Loads it once and fills the slots; never unloads. 0, or -ELIBACC with words naming library,
 * symbol and package. Thread-safe. */
int dl_load(struct dl_library *library, struct err *err);

#endif
