/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/fuzz/fuzz.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void fuzz_abort(const char *file, int line, const char *condition, const char *words, ...)
{
	(void)fprintf(stderr, "%s:%d: not so: %s %s\n", file, line, condition, words);
	abort();
}

ssize_t fuzz_read(void *arg, const void **ret_block, struct err *err)
{
	struct fuzz_source *source = arg;
	size_t len = source->len - source->at;

	fuzz_source_release(source);
	if (source->step && len > source->step)
		len = source->step;
	if (!len)
		return 0;
	source->block = malloc(len);
	if (!source->block)
		return fail_oom(err);
	memcpy(source->block, source->data + source->at, len);
	source->at += len;
	*ret_block = source->block;
	return (ssize_t)len;
}

void fuzz_source_release(struct fuzz_source *source)
{
	free(source->block);
	source->block = NULL;
}
