/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names of whiteouts: the input is one name. What is said of it must be what the table of
 * driver/whiteout.h says, put in other words.
 */
#include <stdlib.h>
#include <string.h>

#include "driver/whiteout.h"
#include "tests/fuzz/fuzz.h"

static bool begins(const char *text, const char *with)
{
	return strncmp(text, with, strlen(with)) == 0;
}

static enum whiteout_kind expected(const char *name)
{
	if (!begins(name, ".wh."))
		return WHITEOUT_NONE;
	if (strcmp(name, ".wh..wh..opq") == 0)
		return WHITEOUT_OPAQUE;
	if (begins(name, ".wh..wh."))
		return WHITEOUT_SKIP;
	if (strcmp(name, ".wh.") == 0 || strcmp(name, ".wh..") == 0 || strcmp(name, ".wh...") == 0)
		return WHITEOUT_INVALID;
	return WHITEOUT_NAME;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *name = strndup((const char *)data, size);
	const char *hidden = NULL;
	enum whiteout_kind kind;

	fuzz_require(name);
	kind = whiteout_parse(name, &hidden);
	fuzz_require(kind == expected(name), name);
	if (kind == WHITEOUT_NAME)
		fuzz_require(hidden == name + 4 && *hidden, name);
	else
		fuzz_require(!hidden, name);
	free(name);
	return 0;
}
