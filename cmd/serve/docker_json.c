/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/serve/docker_json.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BODY_BYTES_MAX ((size_t)1 << 20)
#define RANGES_MAX     340

int docker_json_parse(const void *body, size_t len, struct json **ret, struct err *err)
{
	auto_json struct json *j = NULL;
	int r;

	if (len == 0)
		return fail(err, -EBADMSG,
			    "the request came without its body; it was not acted on");
	r = json_parse(body, len, BODY_BYTES_MAX, "the request", &j, err);
	if (r < 0)
		return r;
	if (j->type != JSON_OBJECT)
		return fail(err, -EBADMSG, "the request is no JSON object");
	*ret = take_ptr(j);
	return 0;
}

int docker_json_text(const struct json *j, const char *key, const char **ret, struct err *err)
{
	const struct json *value = json_get_key(j, key);

	if (value && value->type != JSON_STRING && value->type != JSON_NULL)
		return fail(err, -EINVAL, "\"%s\" is not a string", key);
	*ret = value && value->type == JSON_STRING ? value->string : "";
	return 0;
}

int docker_check_id(const char *id, struct err *err)
{
	static const char letters[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-";

	if (id[0] && strlen(id) <= DOCKER_ID_MAX && !id[strspn(id, letters)] &&
	    strcmp(id, ".") != 0 && strcmp(id, "..") != 0)
		return 0;
	return fail(err, -EINVAL, "\"%.100s\" cannot be a layer's id", id);
}

static int add_range(const struct json *range, const char *key, struct buf *text, struct err *err)
{
	int64_t inside = json_int_or(range, "/container_id", -1),
		outside = json_int_or(range, "/host_id", -1),
		count = json_int_or(range, "/size", -1);

	/* (uid_t)-1 is nobody: the last one is 0xfffffffe. */
	if (range->type != JSON_OBJECT || inside < 0 || outside < 0 || count < 1 ||
	    count > UINT32_MAX || inside > UINT32_MAX - count || outside > UINT32_MAX - count)
		return fail(err, -EINVAL, "\"%s\" is no list of mapped ids", key);
	return buf_printf(text, "%s%lld:%lld:%lld", text->len ? "," : "", (long long)inside,
			  (long long)outside, (long long)count);
}

int docker_json_map(const struct json *j, const char *key, char **ret, struct err *err)
{
	const struct json *list = json_get_key(j, key);
	auto_buf struct buf text = { .max = 65536 };
	int r = 0;

	if (list && list->type != JSON_ARRAY && list->type != JSON_NULL)
		return fail(err, -EINVAL, "\"%s\" is no list of mapped ids", key);
	if (list && list->count > RANGES_MAX)
		return fail(err, -E2BIG, "\"%s\" has more than %d ranges", key, RANGES_MAX);
	for (size_t i = 0; list && r >= 0 && i < list->count; i++)
		r = add_range(list->items[i], key, &text, err);
	if (r >= 0)
		r = buf_status(&text, err);
	if (r < 0)
		return r;
	*ret = strdup(buf_text(&text));
	return *ret ? 0 : fail_oom(err);
}

int docker_parse_size(const char *text, uint64_t *ret, struct err *err)
{
	static const char units[] = "kmgt";
	char none[] = "", *end = none;
	unsigned long long number;
	const char *unit;
	unsigned int shift = 0;

	errno = 0;
	number = text[0] >= '0' && text[0] <= '9' ? strtoull(text, &end, 10) : 0;
	if (number == 0 || errno)
		return fail(err, -EINVAL, "\"%.60s\" is no size; one is \"10G\"", text);
	unit = *end ? strchr(units, *end | ' ') : NULL;
	if (unit && *unit) {
		shift = 10 * (unsigned int)(unit - units + 1);
		end += 1 + ((end[1] | ' ') == 'i' && (end[2] | ' ') == 'b');
	}
	if ((*end | ' ') == 'b')
		end++;
	if (*end || number > (UINT64_MAX >> 1) >> shift)
		return fail(err, -EINVAL, "\"%.60s\" is no size; one is \"10G\"", text);
	*ret = number << shift;
	return 0;
}
