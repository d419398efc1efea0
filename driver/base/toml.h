/* SPDX-License-Identifier: Apache-2.0 */
/*
 * toml: TOML 1.0.0 (https://toml.io/en/v1.0.0), read into the tree of driver/base/json, whose getters
 * then serve for both.
 *
 * It is strict: what the specification calls invalid is refused, with the line. Tables and inline tables
 * are objects, arrays and arrays of tables are arrays, floats are JSON_REAL; dates and times are strings, as they
 * were written. Refused too, as the tree cannot hold it: a string or key with a NUL in it.
 */
#ifndef DRIVER_BASE_TOML_H
#define DRIVER_BASE_TOML_H

#include <stddef.h>

#include "driver/base/err.h"
#include "driver/base/json.h"

/* `what` names the document in the words. *ret is the caller's, to be freed with json_free. -EINVAL (not
 * TOML), -EFBIG (over max_bytes, nested more than JSON_DEPTH_MAX deep, more than JSON_NODES_MAX values). */
int toml_parse(const void *data, size_t len, size_t max_bytes, const char *what, struct json **ret,
	       struct err *err);

#endif
