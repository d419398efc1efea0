/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/template_call.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "driver/base/auto.h"

void scratch_release(struct scratch *scratch)
{
	for (size_t i = 0; i < scratch->count; i++)
		json_free(scratch->items[i]);
	free(scratch->items);
	*scratch = (struct scratch){ 0 };
}

const struct json *scratch_keep(struct scratch *scratch, struct json *value, struct err *err)
{
	struct json **items = realloc(scratch->items, (scratch->count + 1) * sizeof(struct json *));

	if (items)
		scratch->items = items;
	if (!items || !value) {
		json_free(value);
		(void)fail_oom(err);
		return NULL;
	}
	scratch->items[scratch->count++] = value;
	return value;
}

bool value_true(const struct json *value)
{
	switch (value->type) {
	case JSON_NULL:
		return false;
	case JSON_BOOL:
		return value->boolean;
	case JSON_INT:
		return value->integer != 0;
	case JSON_REAL:
		return value->real != 0;
	case JSON_STRING:
		return value->string[0] != 0;
	case JSON_ARRAY:
	case JSON_OBJECT:
		return value->count > 0;
	}
	return false;
}

const char *value_type(const struct json *value)
{
	static const char *const names[] = {
		[JSON_NULL] = "null",	     [JSON_BOOL] = "a boolean", [JSON_INT] = "a number",
		[JSON_REAL] = "a number",    [JSON_STRING] = "text",	[JSON_ARRAY] = "a list",
		[JSON_OBJECT] = "an object",
	};

	return names[value->type];
}

static int compare_keys(const void *a, const void *b, void *object)
{
	const struct json *o = object;

	return strcmp(o->keys[*(const size_t *)a], o->keys[*(const size_t *)b]);
}

size_t *value_sorted(const struct json *object)
{
	size_t *order = calloc(object->count + 1, sizeof(*order));

	if (!order)
		return NULL;
	for (size_t i = 0; i < object->count; i++)
		order[i] = i;
	qsort_r(order, object->count, sizeof(*order), compare_keys, (void *)(uintptr_t)object);
	return order;
}

static void print_object(const struct json *object, struct buf *out)
{
	auto_free size_t *order = value_sorted(object);

	if (!order) {
		out->status = -ENOMEM;
		return;
	}
	(void)buf_puts(out, "map[");
	for (size_t i = 0; i < object->count; i++) {
		(void)buf_printf(out, "%s%s:", i ? " " : "", object->keys[order[i]]);
		value_print(object->items[order[i]], out);
	}
	(void)buf_putc(out, ']');
}

void value_print(const struct json *value, struct buf *out)
{
	switch (value->type) {
	case JSON_NULL:
		(void)buf_puts(out, "<no value>");
		break;
	case JSON_BOOL:
		(void)buf_puts(out, value->boolean ? "true" : "false");
		break;
	case JSON_INT:
		(void)buf_printf(out, "%" PRId64, value->integer);
		break;
	case JSON_REAL:
		(void)buf_printf(out, "%g", value->real);
		break;
	case JSON_STRING:
		(void)buf_puts(out, value->string);
		break;
	case JSON_ARRAY:
		(void)buf_putc(out, '[');
		for (size_t i = 0; i < value->count; i++) {
			if (i)
				(void)buf_putc(out, ' ');
			value_print(value->items[i], out);
		}
		(void)buf_putc(out, ']');
		break;
	case JSON_OBJECT:
		print_object(value, out);
		break;
	}
}

static const struct json *keep_text(struct scratch *scratch, struct buf *text, struct err *err)
{
	if (buf_status(text, err) < 0)
		return NULL;
	return scratch_keep(scratch, json_new_string(buf_text(text)), err);
}

static const struct json *call_json(struct scratch *scratch, const struct json *const *args,
				    size_t count, struct err *err)
{
	auto_buf struct buf text = { 0 };

	if (json_print(args[0], 0, &text, err) < 0)
		return NULL;
	return keep_text(scratch, &text, err);
}

static const struct json *call_len(struct scratch *scratch, const struct json *const *args,
				   size_t count, struct err *err)
{
	const struct json *value = args[0];
	int64_t len;

	if (value->type == JSON_STRING) {
		len = (int64_t)strlen(value->string);
	} else if (value->type == JSON_ARRAY || value->type == JSON_OBJECT ||
		   value->type == JSON_NULL) {
		len = (int64_t)value->count;
	} else {
		(void)fail(err, -EINVAL, "len of %s", value_type(value));
		return NULL;
	}
	return scratch_keep(scratch, json_new_int(len), err);
}

static const struct json *call_join(struct scratch *scratch, const struct json *const *args,
				    size_t count, struct err *err)
{
	auto_buf struct buf text = { 0 };

	if ((args[0]->type != JSON_ARRAY && args[0]->type != JSON_NULL) ||
	    args[1]->type != JSON_STRING) {
		(void)fail(err, -EINVAL, "join wants a list and text, not %s and %s",
			   value_type(args[0]), value_type(args[1]));
		return NULL;
	}
	for (size_t i = 0; i < args[0]->count; i++) {
		if (i)
			(void)buf_puts(&text, args[1]->string);
		value_print(args[0]->items[i], &text);
	}
	return keep_text(scratch, &text, err);
}

static const struct json *index_one(struct scratch *scratch, const struct json *in,
				    const struct json *key, struct err *err)
{
	const struct json *found;

	if (in->type == JSON_ARRAY && key->type == JSON_INT) {
		if (key->integer >= 0 && (uint64_t)key->integer < in->count)
			return in->items[key->integer];
		(void)fail(err, -EINVAL, "index %" PRId64 " of a list of %zu", key->integer,
			   in->count);
		return NULL;
	}
	if ((in->type == JSON_OBJECT || in->type == JSON_NULL) && key->type == JSON_STRING) {
		found = in->type == JSON_OBJECT ? json_get_key(in, key->string) : NULL;
		return found ? found : scratch_keep(scratch, json_new_null(), err);
	}
	(void)fail(err, -EINVAL, "index of %s by %s", value_type(in), value_type(key));
	return NULL;
}

static const struct json *call_index(struct scratch *scratch, const struct json *const *args,
				     size_t count, struct err *err)
{
	const struct json *value = args[0];

	for (size_t i = 1; value && i < count; i++)
		value = index_one(scratch, value, args[i], err);
	return value;
}

/* Letters of ASCII only: what else there is stays as it is. */
static const struct json *change_case(struct scratch *scratch, const struct json *value, char from,
				      char to, struct err *err)
{
	auto_buf struct buf text = { 0 };

	value_print(value, &text);
	for (size_t i = 0; i < text.len; i++) {
		if (text.data[i] >= from && text.data[i] <= from + 25)
			text.data[i] = (char)(text.data[i] - from + to);
	}
	return keep_text(scratch, &text, err);
}

static const struct json *call_upper(struct scratch *scratch, const struct json *const *args,
				     size_t count, struct err *err)
{
	return change_case(scratch, args[0], 'a', 'A', err);
}

static const struct json *call_lower(struct scratch *scratch, const struct json *const *args,
				     size_t count, struct err *err)
{
	return change_case(scratch, args[0], 'A', 'a', err);
}

static const struct json *call_split(struct scratch *scratch, const struct json *const *args,
				     size_t count, struct err *err)
{
	struct json *list = json_new_array();
	const char *p, *next;

	if (args[0]->type != JSON_STRING || args[1]->type != JSON_STRING || !args[1]->string[0]) {
		json_free(list);
		(void)fail(err, -EINVAL, "split wants two texts, the second not empty");
		return NULL;
	}
	for (p = args[0]->string; (next = strstr(p, args[1]->string));
	     p = next + strlen(args[1]->string)) {
		auto_free char *part = strndup(p, (size_t)(next - p));

		list = json_push(list, part ? json_new_string(part) : NULL);
	}
	return scratch_keep(scratch, json_push(list, json_new_string(p)), err);
}

static const struct json *print_all(struct scratch *scratch, const struct json *const *args,
				    size_t count, bool line, struct err *err)
{
	auto_buf struct buf text = { 0 };

	for (size_t i = 0; i < count; i++) {
		bool texts = i &&
			     (args[i - 1]->type == JSON_STRING || args[i]->type == JSON_STRING);

		if (i && (line || !texts)) /* Sprint and Sprintln differ in this */
			(void)buf_putc(&text, ' ');
		value_print(args[i], &text);
	}
	if (line)
		(void)buf_putc(&text, '\n');
	return keep_text(scratch, &text, err);
}

static const struct json *call_print(struct scratch *scratch, const struct json *const *args,
				     size_t count, struct err *err)
{
	return print_all(scratch, args, count, false, err);
}

static const struct json *call_println(struct scratch *scratch, const struct json *const *args,
				       size_t count, struct err *err)
{
	return print_all(scratch, args, count, true, err);
}

static bool equal(const struct json *a, const struct json *b)
{
	if (a->type != b->type)
		return false;
	switch (a->type) {
	case JSON_NULL:
		return true;
	case JSON_BOOL:
		return a->boolean == b->boolean;
	case JSON_INT:
		return a->integer == b->integer;
	case JSON_STRING:
		return strcmp(a->string, b->string) == 0;
	case JSON_REAL:
	case JSON_ARRAY:
	case JSON_OBJECT:
		break;
	}
	return false;
}

/* eq a b c is true where a is one of the others. */
static const struct json *call_eq(struct scratch *scratch, const struct json *const *args,
				  size_t count, struct err *err)
{
	bool found = false;

	for (size_t i = 1; i < count; i++)
		found = found || equal(args[0], args[i]);
	return scratch_keep(scratch, json_new_bool(found), err);
}

static const struct json *call_ne(struct scratch *scratch, const struct json *const *args,
				  size_t count, struct err *err)
{
	return scratch_keep(scratch, json_new_bool(!equal(args[0], args[1])), err);
}

static const struct json *call_not(struct scratch *scratch, const struct json *const *args,
				   size_t count, struct err *err)
{
	return scratch_keep(scratch, json_new_bool(!value_true(args[0])), err);
}

/* and, or give the argument that decided, as Go's do. */
static const struct json *call_and(struct scratch *scratch, const struct json *const *args,
				   size_t count, struct err *err)
{
	size_t i = 0;

	while (i + 1 < count && value_true(args[i]))
		i++;
	return args[i];
}

static const struct json *call_or(struct scratch *scratch, const struct json *const *args,
				  size_t count, struct err *err)
{
	size_t i = 0;

	while (i + 1 < count && !value_true(args[i]))
		i++;
	return args[i];
}

static const struct template_function functions[] = {
	{ "json", 1, 1, call_json },	   { "len", 1, 1, call_len },
	{ "join", 2, 2, call_join },	   { "index", 1, 9, call_index },
	{ "upper", 1, 1, call_upper },	   { "lower", 1, 1, call_lower },
	{ "split", 2, 2, call_split },	   { "print", 0, 9, call_print },
	{ "println", 0, 9, call_println }, { "eq", 2, 9, call_eq },
	{ "ne", 2, 2, call_ne },	   { "not", 1, 1, call_not },
	{ "and", 1, 9, call_and },	   { "or", 1, 9, call_or },
};

const struct template_function *template_function_find(const char *name, size_t len)
{
	for (size_t i = 0; i < ARRAY_LEN(functions); i++) {
		if (strlen(functions[i].name) == len && strncmp(functions[i].name, name, len) == 0)
			return &functions[i];
	}
	return NULL;
}

void template_function_names(struct buf *out)
{
	for (size_t i = 0; i < ARRAY_LEN(functions); i++)
		(void)buf_printf(out, "%s%s", i ? ", " : "", functions[i].name);
}
