/* SPDX-License-Identifier: Apache-2.0 */
/*
 * json: yajl behind typed getters.
 *
 * A document is a tree of `struct json`. Reading: strict JSON (no comments, valid UTF-8, one
 * value), at most JSON_DEPTH_MAX deep and as many bytes as the caller allows; of duplicate keys the
 * last wins, as in Go. Getters take a path such as
 * "/config/Env/0" (a leading slash, keys and array indexes; a key that holds a slash cannot be
 * named this way, use json_get_key), and their errors name it. Writing: the same tree, built with
 * json_new_* and json_set/json_push, printed compact or indented.
 */
#ifndef DRIVER_BASE_JSON_H
#define DRIVER_BASE_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "driver/base/auto.h"
#include "driver/base/buf.h"
#include "driver/base/err.h"

#define JSON_DEPTH_MAX 64
#define JSON_NODES_MAX 1000000

enum json_type { JSON_NULL, JSON_BOOL, JSON_INT, JSON_REAL, JSON_STRING, JSON_ARRAY, JSON_OBJECT };

struct json {
	enum json_type type;
	bool boolean;
	int64_t integer; /* JSON_INT */
	double real;	 /* JSON_REAL, and numbers that no int64_t holds */
	char *string;	 /* JSON_STRING; NUL-terminated; a string with an embedded NUL is refused at
			    parsing */
	size_t count;	 /* children of an array or object */
	struct json **items;
	char **keys; /* of an object, in the document's order; keys[i] belongs to items[i] */
};

/* `what` names the document in the words. *ret is the caller's, to be freed. -EINVAL (not JSON),
 * -EFBIG (over max_bytes, too deep, too many nodes). */
int json_parse(const void *data, size_t len, size_t max_bytes, const char *what, struct json **ret,
	       struct err *err);
void json_free(struct json *j);
void json_freep(struct json **j);
#define auto_json AUTO(json_freep)

/* The node at `path` or NULL. j may be NULL. Result is j's. A JSON null is returned as a node of
 * type JSON_NULL. */
const struct json *json_get(const struct json *j, const char *path);
const struct json *json_get_key(const struct json *j, const char *key);

/*
 * Typed: required ones fail with -EINVAL ("manifest: /layers/3/digest: missing" or "... is a
 * number, not a string"); `what` as at parsing. The *_or ones give `fallback` where the node is
 * missing, null, or of another type.
 */
int json_need_string(const struct json *j, const char *path, const char *what, const char **ret,
		     struct err *err);
int json_need_int(const struct json *j, const char *path, const char *what, int64_t *ret,
		  struct err *err);
int json_need_array(const struct json *j, const char *path, const char *what,
		    const struct json **ret, struct err *err);
int json_need_object(const struct json *j, const char *path, const char *what,
		     const struct json **ret, struct err *err);
const char *json_string_or(const struct json *j, const char *path, const char *fallback);
int64_t json_int_or(const struct json *j, const char *path, int64_t fallback);
bool json_bool_or(const struct json *j, const char *path, bool fallback);

/* Building. Out of memory gives NULL, and every function here takes NULL and passes it on: check
 * json_print's result once. */
struct json *json_new_object(void);
struct json *json_new_array(void);
struct json *json_new_string(const char *text); /* NULL text: JSON null. Bytes that are not UTF-8
						   are written as U+FFFD */
struct json *json_new_int(int64_t value);
struct json *json_new_bool(bool value);
struct json *json_new_null(void);
struct json *json_copy(const struct json *j); /* deep */
/* Puts `value` (taken over, also on failure) under `key`, replacing one of that name. Returns
 * object, or NULL when either was NULL or memory ran out (object is then freed). */
struct json *json_set(struct json *object, const char *key, struct json *value);
struct json *json_push(struct json *array, struct json *value);

/* As these, without a search for the same key (NULL: of an array), and the parent stays whatever happens:
 * 0 or -ENOMEM, and `value` was freed. */
int json_add(struct json *parent, const char *key, struct json *value);
/* As json_set, and the object stays whatever happens. json_remove: whether there was one of that name. */
int json_put(struct json *object, const char *key, struct json *value);
bool json_remove(struct json *object, const char *key);

/* Prints j. indent 0: one line without spaces; else that many spaces a level, as `docker inspect`
 * does with 4. 0 or -ENOMEM. */
int json_print(const struct json *j, int indent, struct buf *out, struct err *err);

#endif
