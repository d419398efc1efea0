/* SPDX-License-Identifier: Apache-2.0 */
/*
 * template_call: the functions of a template and the values they work on. Only cmd/template.c uses
 * it.
 */
#ifndef CMD_TEMPLATE_CALL_H
#define CMD_TEMPLATE_CALL_H

#include <stdbool.h>
#include <stddef.h>

#include "driver/base/buf.h"
#include "driver/base/err.h"
#include "driver/base/json.h"

/* Values made while a template runs; they live as long as it runs. */
struct scratch {
	struct json **items;
	size_t count;
};

void scratch_release(struct scratch *scratch);
/* Takes `value` over and gives it back; NULL with words where it is NULL or memory ran out. */
const struct json *scratch_keep(struct scratch *scratch, struct json *value, struct err *err);

struct template_function {
	const char *name;
	size_t min_args, max_args;
	/* NULL with words on failure. */
	const struct json *(*call)(struct scratch *scratch, const struct json *const *args,
				   size_t count, struct err *err);
};

/* NULL: there is none of this name. */
const struct template_function *template_function_find(const char *name, size_t len);
/* "json, len, ..." for the words of an error. */
void template_function_names(struct buf *out);

/* What Go takes for true. */
bool value_true(const struct json *value);
/* As Go prints it: text as it is, [a b], map[key:value]; null is "<no value>". */
void value_print(const struct json *value, struct buf *out);
/* Indexes of an object's members by key; the caller frees. NULL: memory ran out. */
size_t *value_sorted(const struct json *object);
const char *value_type(const struct json *value);

#endif
