/* SPDX-License-Identifier: Apache-2.0 */
#include "driver/base/json.h"

#include <assert.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <yajl/yajl_parse.h>

#include "driver/base/utf8.h"

#define UTF8_REPLACEMENT "\xef\xbf\xbd" /* U+FFFD */

/* ---- the tree ---- */

static struct json *new_node(enum json_type type)
{
	struct json *j = calloc(1, sizeof(*j));

	if (j)
		j->type = type;
	return j;
}

void json_free(struct json *j)
{
	int saved = errno;

	if (!j)
		return;
	for (size_t i = 0; i < j->count; i++) {
		json_free(j->items[i]);
		if (j->keys)
			free(j->keys[i]);
	}
	free(j->items);
	free(j->keys);
	free(j->string);
	free(j);
	errno = saved;
}

void json_freep(struct json **j)
{
	json_free(*j);
}

/* Room for one more child. There is no field for the capacity: it is the next power of two. */
static bool grow(struct json *parent)
{
	size_t cap = parent->count ? parent->count * 2 : 1;
	void *p;

	if (parent->count & (parent->count - 1))
		return true;
	p = reallocarray(parent->items, cap, sizeof(*parent->items));
	if (!p)
		return false;
	parent->items = p;
	if (parent->type == JSON_ARRAY)
		return true;
	p = reallocarray(parent->keys, cap, sizeof(*parent->keys));
	if (!p)
		return false;
	parent->keys = p;
	return true;
}

/* Appends; takes over key and value on success only. */
static bool add_child(struct json *parent, char *key, struct json *value)
{
	if (!grow(parent))
		return false;
	if (parent->type == JSON_OBJECT)
		parent->keys[parent->count] = key;
	parent->items[parent->count++] = value;
	return true;
}

/* ---- parsing ---- */

struct parser {
	struct json *root;
	struct json *stack[JSON_DEPTH_MAX]; /* the open arrays and objects; root owns them */
	size_t depth;
	size_t nodes;
	char *key;	    /* read, its value not yet */
	locale_t c_locale;  /* the host program's may have a decimal comma */
	int code;	    /* why a callback stopped the parser */
	const char *reason; /* words for it */
};

static int stop(struct parser *p, int code, const char *reason)
{
	p->code = code;
	p->reason = reason;
	return 0;
}

/* Hangs the node (taken over; NULL: out of memory) where the parser stands. Callbacks return 1 to
 * go on. */
static int place(struct parser *p, struct json *node)
{
	struct json *parent = p->depth ? p->stack[p->depth - 1] : NULL;

	if (!node)
		return stop(p, -ENOMEM, "out of memory");
	if (++p->nodes > JSON_NODES_MAX) {
		json_free(node);
		return stop(p, -EFBIG, "it has too many values");
	}
	if (!parent) {
		p->root = node;
		return 1;
	}
	if (!add_child(parent, p->key, node)) {
		json_free(node);
		return stop(p, -ENOMEM, "out of memory");
	}
	p->key = NULL;
	return 1;
}

static int on_null(void *ctx)
{
	return place(ctx, json_new_null());
}

static int on_boolean(void *ctx, int value)
{
	return place(ctx, json_new_bool(value));
}

static int on_number(void *ctx, const char *digits, size_t len)
{
	struct parser *p = ctx;
	auto_free char *text = strndup(digits, len);
	struct json *node = text ? new_node(JSON_INT) : NULL;

	if (!node)
		return place(p, NULL);
	errno = 0;
	node->integer = strtoll(text, NULL, 10);
	if (errno == ERANGE || strpbrk(text, ".eE")) {
		node->type = JSON_REAL;
		node->integer = 0;
		node->real = strtod_l(text, NULL, p->c_locale);
		if (!isfinite(node->real)) {
			json_free(node);
			return stop(p, -EINVAL, "a number is too large");
		}
	}
	return place(p, node);
}

/*
 * A C string of what yajl has unescaped; NULL after stop(). The document is UTF-8 as a whole, so
 * the only bytes that may be wrong here come of an escaped half of a surrogate pair, and printing
 * replaces them, as Go does.
 */
static char *copy_string(struct parser *p, const unsigned char *text, size_t len)
{
	char *copy;

	if (memchr(text, 0, len)) {
		stop(p, -EINVAL, "a string holds a NUL");
		return NULL;
	}
	copy = strndup((const char *)text, len);
	if (!copy)
		stop(p, -ENOMEM, "out of memory");
	return copy;
}

static int on_string(void *ctx, const unsigned char *text, size_t len)
{
	struct parser *p = ctx;
	char *copy = copy_string(p, text, len);
	struct json *node;

	if (!copy)
		return 0;
	node = new_node(JSON_STRING);
	if (!node)
		free(copy);
	else
		node->string = copy;
	return place(p, node);
}

static int on_key(void *ctx, const unsigned char *text, size_t len)
{
	struct parser *p = ctx;

	p->key = copy_string(p, text, len);
	return p->key ? 1 : 0;
}

static int open_container(struct parser *p, enum json_type type)
{
	struct json *node;

	if (p->depth == JSON_DEPTH_MAX)
		return stop(p, -EFBIG, "it is nested too deep");
	node = new_node(type);
	if (!place(p, node))
		return 0;
	p->stack[p->depth++] = node;
	return 1;
}

static int on_start_map(void *ctx)
{
	return open_container(ctx, JSON_OBJECT);
}

static int on_start_array(void *ctx)
{
	return open_container(ctx, JSON_ARRAY);
}

static int on_end_array(void *ctx)
{
	struct parser *p = ctx;

	p->depth--;
	return 1;
}

struct member {
	const char *key;
	size_t index;
};

static int compare_members(const void *a, const void *b)
{
	const struct member *x = a, *y = b;
	int order = strcmp(x->key, y->key);

	return order ? order : x->index < y->index ? -1 : x->index > y->index;
}

/* Of members of one name the last stays. By sorting: a hostile document can have a million of them.
 */
static bool drop_duplicates(struct json *object)
{
	auto_free struct member *members = calloc(object->count, sizeof(*members));
	size_t kept = 0;

	if (!members)
		return false;
	for (size_t i = 0; i < object->count; i++)
		members[i] = (struct member){ object->keys[i], i };
	qsort(members, object->count, sizeof(*members), compare_members);
	for (size_t i = 0; i + 1 < object->count; i++) {
		size_t index = members[i].index;

		if (strcmp(members[i].key, members[i + 1].key) != 0)
			continue;
		json_free(object->items[index]);
		object->items[index] = NULL;
	}
	for (size_t i = 0; i < object->count; i++) {
		if (!object->items[i]) {
			free(object->keys[i]);
			continue;
		}
		object->keys[kept] = object->keys[i];
		object->items[kept++] = object->items[i];
	}
	object->count = kept;
	return true;
}

static int on_end_map(void *ctx)
{
	struct parser *p = ctx;
	struct json *object = p->stack[--p->depth];

	if (object->count > 1 && !drop_duplicates(object))
		return stop(p, -ENOMEM, "out of memory");
	return 1;
}

static const yajl_callbacks callbacks = {
	.yajl_null = on_null,
	.yajl_boolean = on_boolean,
	.yajl_number = on_number,
	.yajl_string = on_string,
	.yajl_start_map = on_start_map,
	.yajl_map_key = on_key,
	.yajl_end_map = on_end_map,
	.yajl_start_array = on_start_array,
	.yajl_end_array = on_end_array,
};

/* yajl's own words, one line, without a piece of the document. */
static int fail_syntax(yajl_handle handle, const char *what, struct err *err)
{
	unsigned char *words = yajl_get_error(handle, 0, NULL, 0);
	size_t at = yajl_get_bytes_consumed(handle);
	int r;

	if (!words)
		return fail_oom(err);
	r = fail(err, -EINVAL, "%s is not valid JSON: %.*s near byte %zu", what,
		 (int)strcspn((const char *)words, "\n"), (const char *)words, at);
	yajl_free_error(handle, words);
	return r;
}

static int run_parser(struct parser *p, const void *data, size_t len, const char *what,
		      struct err *err)
{
	yajl_handle handle = yajl_alloc(&callbacks, NULL, p);
	yajl_status status;
	int r = 0;

	if (!handle)
		return fail_oom(err);
	status = yajl_parse(handle, data, len);
	if (status == yajl_status_ok)
		status = yajl_complete_parse(handle);
	if (p->code < 0)
		r = fail(err, p->code, "%s cannot be used: %s", what, p->reason);
	else if (status != yajl_status_ok)
		r = fail_syntax(handle, what, err);
	yajl_free(handle);
	return r;
}

int json_parse(const void *data, size_t len, size_t max_bytes, const char *what, struct json **ret,
	       struct err *err)
{
	struct parser p = { 0 };
	size_t valid;
	int r;

	if (len > max_bytes)
		return fail(err, -EFBIG, "%s is too large: %zu bytes, and at most %zu are allowed",
			    what, len, max_bytes);
	valid = utf8_span(data, len); /* yajl lets overlong forms and surrogates pass */
	if (valid < len)
		return fail(err, -EINVAL, "%s is not valid JSON: byte %zu is not UTF-8", what,
			    valid);
	p.c_locale = newlocale(LC_ALL_MASK, "C", NULL);
	if (!p.c_locale)
		return fail_oom(err);
	r = run_parser(&p, data, len, what, err);
	freelocale(p.c_locale);
	free(p.key);
	if (r < 0) {
		json_free(p.root);
		return r;
	}
	*ret = p.root;
	return 0;
}

/* ---- getters ---- */

static const struct json *find_member(const struct json *object, const char *key, size_t key_len)
{
	for (size_t i = 0; i < object->count; i++) {
		if (!strncmp(object->keys[i], key, key_len) && !object->keys[i][key_len])
			return object->items[i];
	}
	return NULL;
}

static const struct json *find_item(const struct json *array, const char *digits, size_t len)
{
	size_t index = 0;

	if (!len || len > 9) /* no array has as many items */
		return NULL;
	for (size_t i = 0; i < len; i++) {
		if (digits[i] < '0' || digits[i] > '9')
			return NULL;
		index = index * 10 + (size_t)(digits[i] - '0');
	}
	return index < array->count ? array->items[index] : NULL;
}

const struct json *json_get(const struct json *j, const char *path)
{
	while (j && *path) {
		const char *part = path + 1;
		size_t len = strcspn(part, "/");

		assert(*path == '/');
		if (j->type == JSON_OBJECT)
			j = find_member(j, part, len);
		else
			j = j->type == JSON_ARRAY ? find_item(j, part, len) : NULL;
		path = part + len;
	}
	return j;
}

const struct json *json_get_key(const struct json *j, const char *key)
{
	return j && j->type == JSON_OBJECT ? find_member(j, key, strlen(key)) : NULL;
}

static const char *const type_names[] = {
	[JSON_NULL] = "null",	     [JSON_BOOL] = "a boolean",	 [JSON_INT] = "a number",
	[JSON_REAL] = "a number",    [JSON_STRING] = "a string", [JSON_ARRAY] = "an array",
	[JSON_OBJECT] = "an object",
};

/* The node of that type, or NULL with words. */
static const struct json *need(const struct json *j, const char *path, const char *what,
			       enum json_type type, struct err *err)
{
	const struct json *found = json_get(j, path);
	const char *at = *path ? path : "the document";

	if (!found)
		(void)fail(err, -EINVAL, "%s: %s: missing", what, at);
	else if (found->type == JSON_REAL && type == JSON_INT)
		(void)fail(err, -EINVAL, "%s: %s is not a whole number of 64 bits", what, at);
	else if (found->type != type)
		(void)fail(err, -EINVAL, "%s: %s is %s, not %s", what, at, type_names[found->type],
			   type_names[type]);
	else
		return found;
	return NULL;
}

int json_need_string(const struct json *j, const char *path, const char *what, const char **ret,
		     struct err *err)
{
	const struct json *found = need(j, path, what, JSON_STRING, err);

	if (!found)
		return -EINVAL;
	*ret = found->string;
	return 0;
}

int json_need_int(const struct json *j, const char *path, const char *what, int64_t *ret,
		  struct err *err)
{
	const struct json *found = need(j, path, what, JSON_INT, err);

	if (!found)
		return -EINVAL;
	*ret = found->integer;
	return 0;
}

int json_need_array(const struct json *j, const char *path, const char *what,
		    const struct json **ret, struct err *err)
{
	const struct json *found = need(j, path, what, JSON_ARRAY, err);

	if (!found)
		return -EINVAL;
	*ret = found;
	return 0;
}

int json_need_object(const struct json *j, const char *path, const char *what,
		     const struct json **ret, struct err *err)
{
	const struct json *found = need(j, path, what, JSON_OBJECT, err);

	if (!found)
		return -EINVAL;
	*ret = found;
	return 0;
}

const char *json_string_or(const struct json *j, const char *path, const char *fallback)
{
	const struct json *found = json_get(j, path);

	return found && found->type == JSON_STRING ? found->string : fallback;
}

int64_t json_int_or(const struct json *j, const char *path, int64_t fallback)
{
	const struct json *found = json_get(j, path);

	return found && found->type == JSON_INT ? found->integer : fallback;
}

bool json_bool_or(const struct json *j, const char *path, bool fallback)
{
	const struct json *found = json_get(j, path);

	return found && found->type == JSON_BOOL ? found->boolean : fallback;
}

/* ---- building ---- */

struct json *json_new_object(void)
{
	return new_node(JSON_OBJECT);
}

struct json *json_new_array(void)
{
	return new_node(JSON_ARRAY);
}

struct json *json_new_null(void)
{
	return new_node(JSON_NULL);
}

struct json *json_new_string(const char *text)
{
	struct json *j = new_node(text ? JSON_STRING : JSON_NULL);

	if (!j || !text)
		return j;
	j->string = strdup(text);
	if (!j->string) {
		json_free(j);
		return NULL;
	}
	return j;
}

struct json *json_new_int(int64_t value)
{
	struct json *j = new_node(JSON_INT);

	if (j)
		j->integer = value;
	return j;
}

struct json *json_new_bool(bool value)
{
	struct json *j = new_node(JSON_BOOL);

	if (j)
		j->boolean = value;
	return j;
}

/* Frees both; the way out of json_set and json_push. */
static struct json *drop(struct json *parent, struct json *value)
{
	json_free(parent);
	json_free(value);
	return NULL;
}

int json_add(struct json *parent, const char *key, struct json *value)
{
	char *copy = key ? strdup(key) : NULL;

	if (value && (copy || !key) && add_child(parent, copy, value))
		return 0;
	free(copy);
	json_free(value);
	return -ENOMEM;
}

int json_put(struct json *object, const char *key, struct json *value)
{
	for (size_t i = 0; value && i < object->count; i++) {
		if (strcmp(object->keys[i], key) != 0)
			continue;
		json_free(object->items[i]);
		object->items[i] = value;
		return 0;
	}
	return json_add(object, key, value);
}

/* More room is left than grow() thinks: no harm. */
bool json_remove(struct json *object, const char *key)
{
	size_t at = 0;

	while (at < object->count && strcmp(object->keys[at], key) != 0)
		at++;
	if (at == object->count)
		return false;
	json_free(object->items[at]);
	free(object->keys[at]);
	object->count--;
	memmove(object->items + at, object->items + at + 1,
		(object->count - at) * sizeof(*object->items));
	memmove(object->keys + at, object->keys + at + 1,
		(object->count - at) * sizeof(*object->keys));
	return true;
}

struct json *json_set(struct json *object, const char *key, struct json *value)
{
	if (!object || !value)
		return drop(object, value);
	assert(object->type == JSON_OBJECT);
	return json_put(object, key, value) == 0 ? object : drop(object, NULL);
}

struct json *json_push(struct json *array, struct json *value)
{
	if (!array || !value)
		return drop(array, value);
	assert(array->type == JSON_ARRAY);
	return json_add(array, NULL, value) == 0 ? array : drop(array, NULL);
}

struct json *json_copy(const struct json *j)
{
	struct json *copy;

	if (!j)
		return NULL;
	if (j->type == JSON_STRING)
		return json_new_string(j->string);
	copy = new_node(j->type);
	if (!copy)
		return NULL;
	copy->boolean = j->boolean;
	copy->integer = j->integer;
	copy->real = j->real;
	for (size_t i = 0; i < j->count; i++) {
		struct json *item = json_copy(j->items[i]);
		char *key = j->keys ? strdup(j->keys[i]) : NULL;

		if (!item || (j->keys && !key) || !add_child(copy, key, item)) {
			free(key);
			return drop(copy, item);
		}
	}
	return copy;
}

/* ---- printing ---- */

static void print_escaped(struct buf *out, unsigned char c)
{
	static const char plain[] = "\"\\\b\f\n\r\t";
	static const char letters[] = "\"\\bfnrt";
	const char *found = strchr(plain, c);

	if (found)
		(void)buf_printf(out, "\\%c", letters[found - plain]);
	else
		(void)buf_printf(out, "\\u%04x", c);
}

static void print_string(struct buf *out, const char *text)
{
	const unsigned char *s = (const unsigned char *)text;
	size_t len = strlen(text);
	size_t done = 0; /* written */
	size_t at = 0;

	(void)buf_putc(out, '"');
	while (at < len) {
		size_t n = utf8_char(s + at, len - at);

		if (n && s[at] >= 0x20 && s[at] != '"' && s[at] != '\\') {
			at += n;
			continue;
		}
		(void)buf_append(out, text + done, at - done);
		if (n)
			print_escaped(out, s[at]);
		else
			(void)buf_puts(out, UTF8_REPLACEMENT);
		done = ++at;
	}
	(void)buf_append(out, text + done, len - done);
	(void)buf_putc(out, '"');
}

/* The fewest digits that read back as the same number, and never a decimal comma. */
static void print_real(struct buf *out, double real)
{
	locale_t c_locale = newlocale(LC_ALL_MASK, "C", NULL);
	locale_t before;
	char text[40];

	if (!c_locale) {
		out->status = -ENOMEM;
		return;
	}
	before = uselocale(c_locale);
	for (int digits = 15; digits <= 17; digits++) {
		(void)snprintf(text, sizeof(text), "%.*g", digits, real);
		if (strtod(text, NULL) == real)
			break;
	}
	/* "-0" would be read as an integer, which has no such zero. */
	if (strcmp(text, "-0") == 0)
		(void)snprintf(text, sizeof(text), "-0.0");
	(void)uselocale(before);
	freelocale(c_locale);
	(void)buf_puts(out, text);
}

static void print_newline(struct buf *out, int indent, int depth)
{
	if (indent)
		(void)buf_printf(out, "\n%*s", indent * depth, "");
}

static void print_node(struct buf *out, const struct json *j, int indent, int depth);

static void print_children(struct buf *out, const struct json *j, int indent, int depth)
{
	for (size_t i = 0; i < j->count; i++) {
		if (i)
			(void)buf_putc(out, ',');
		print_newline(out, indent, depth + 1);
		if (j->type == JSON_OBJECT) {
			print_string(out, j->keys[i]);
			(void)buf_puts(out, indent ? ": " : ":");
		}
		print_node(out, j->items[i], indent, depth + 1);
	}
	if (j->count)
		print_newline(out, indent, depth);
}

static void print_node(struct buf *out, const struct json *j, int indent, int depth)
{
	switch (j->type) {
	case JSON_NULL:
		(void)buf_puts(out, "null");
		break;
	case JSON_BOOL:
		(void)buf_puts(out, j->boolean ? "true" : "false");
		break;
	case JSON_INT:
		(void)buf_printf(out, "%lld", (long long)j->integer);
		break;
	case JSON_REAL:
		print_real(out, j->real);
		break;
	case JSON_STRING:
		print_string(out, j->string);
		break;
	case JSON_ARRAY:
	case JSON_OBJECT:
		(void)buf_putc(out, j->type == JSON_ARRAY ? '[' : '{');
		print_children(out, j, indent, depth);
		(void)buf_putc(out, j->type == JSON_ARRAY ? ']' : '}');
		break;
	}
}

int json_print(const struct json *j, int indent, struct buf *out, struct err *err)
{
	if (!j)
		return fail_oom(err);
	print_node(out, j, indent, 0);
	return buf_status(out, err);
}
