/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests of Docker's graphdriver protocol. What is taken for an id is the name of a file; maps are lists of
 * ranges of ids that there can be, and a size is a number of bytes. The input is a text, too, of which each may be
 * made.
 */
#include "cmd/serve/docker_json.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "tests/fuzz/fuzz.h"

static void check_id(const char *id)
{
	struct err err = { 0 };
	int r = docker_check_id(id, &err);

	fuzz_require((r == 0) == !err.text[0], err.text);
	if (r < 0)
		return;
	fuzz_require(id[0] && strlen(id) <= DOCKER_ID_MAX && !strchr(id, '/'), id);
	fuzz_require(strcmp(id, ".") != 0 && strcmp(id, "..") != 0);
	for (const char *c = id; *c; c++)
		fuzz_require((unsigned char)*c > ' ' && (unsigned char)*c < 0x7f);
}

/* A size says the same in bytes, and without its "b" or "ib". */
static void check_size(const char *text)
{
	struct err err = { 0 };
	uint64_t bytes = 0, again = 0;
	char digits[32];
	int r = docker_parse_size(text, &bytes, &err);

	fuzz_require((r == 0) == !err.text[0], err.text);
	if (r < 0) {
		fuzz_require(r == -EINVAL && bytes == 0, text);
		return;
	}
	fuzz_require(bytes > 0 && bytes <= INT64_MAX, text);
	fuzz_require(isdigit((unsigned char)text[0]), text);
	(void)snprintf(digits, sizeof(digits), "%llu", (unsigned long long)bytes);
	fuzz_require(docker_parse_size(digits, &again, NULL) == 0 && again == bytes, text);
}

static void check_map(const struct json *j, const char *key)
{
	auto_free char *text = NULL;
	struct err err = { 0 };
	int used = 0;

	if (docker_json_map(j, key, &text, &err) < 0) {
		fuzz_require(!text && err.text[0]);
		return;
	}
	for (const char *at = text; *at; at += used + (at[used] == ',')) {
		unsigned long long inside, outside, count;

		fuzz_require(sscanf(at, "%10llu:%10llu:%10llu%n", &inside, &outside, &count,
				    &used) == 3,
			     text);
		fuzz_require(at[used] == ',' ? at[used + 1] != 0 : !at[used], text);
		fuzz_require(count > 0 && inside + count <= UINT32_MAX &&
				     outside + count <= UINT32_MAX,
			     text);
	}
}

static void check_text(const struct json *j, const char *key)
{
	const char *text = NULL;
	struct err err = { 0 };
	int r = docker_json_text(j, key, &text, &err);

	fuzz_require((r == 0) == (text != NULL) && (r == 0) == !err.text[0], err.text);
	if (r < 0 || !text)
		return;
	check_id(text);
	check_size(text);
}

static void check_request(const struct json *j)
{
	static const char *const names[] = { "ID", "Parent", "MountLabel", "Home", "size" };

	fuzz_require(j->type == JSON_OBJECT);
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		check_text(j, names[i]);
	check_text(json_get_key(j, "StorageOpt"), "size");
	check_map(j, "UIDMaps");
	check_map(j, "GIDMaps");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	auto_free char *text = malloc(size + 1);
	auto_json struct json *j = NULL;
	struct err err = { 0 };
	int r;

	fuzz_require(text);
	memcpy(text, data, size);
	text[size] = 0;
	check_id(text);
	check_size(text);
	r = docker_json_parse(data, size, &j, &err);
	fuzz_require((r == 0) == (j != NULL) && (r == 0) == !err.text[0], err.text);
	if (r == 0)
		check_request(j);
	return 0;
}
