/* SPDX-License-Identifier: Apache-2.0 */
#include "driver/base/dl.h"

#include <dlfcn.h>
#include <string.h>

static int load_locked(struct dl_library *library, struct err *err)
{
	/* Kept for good: its atexit and thread-exit handlers must find their code. */
	void *handle = dlopen(library->soname, RTLD_LAZY | RTLD_LOCAL | RTLD_NODELETE);

	if (!handle)
		return fail(err, -ELIBACC, "cannot load %s: %s; install the package %s",
			    library->soname, dlerror(), library->package);
	for (size_t i = 0; i < library->symbol_count; i++) {
		const struct dl_symbol *symbol = &library->symbols[i];
		void *address = dlsym(handle, symbol->name);

		if (!address) {
			(void)dlclose(handle);
			return fail(err, -ELIBACC,
				    "%s has no %s: too old a version? upgrade the package %s",
				    library->soname, symbol->name, library->package);
		}
		memcpy(symbol->slot, &address,
		       sizeof(address)); /* ISO C has no cast from void * to a function */
	}
	library->loaded = 1;
	return 0;
}

int dl_load(struct dl_library *library, struct err *err)
{
	int r = 0;

	(void)pthread_mutex_lock(&library->lock);
	if (!library->loaded)
		r = load_locked(library, err);
	(void)pthread_mutex_unlock(&library->lock);
	return r;
}
