/* SPDX-License-Identifier: Apache-2.0 */
#include "graph/limits.h"

#include <inttypes.h>
#include <limits.h>
#include <string.h>

#include "driver/base/auto.h"
#include "driver/overlay.h"

struct row {
	const char *name, *bounds;
	size_t offset, size; /* of the member of struct limits: a uint64_t or a uint32_t */
	uint64_t max;
	bool bytes;
};

#define MEMBER(member) offsetof(struct limits, member), sizeof(((struct limits *)0)->member)

static const struct row rows[] = {
	{ "layer-bytes", "a layer's tar, uncompressed", MEMBER(layer.bytes), UINT64_MAX, true },
	{ "layer-entries", "entries and directories of a layer", MEMBER(layer.entries), UINT64_MAX,
	  false },
	{ "image-bytes", "contents of the files of all layers of an image", MEMBER(image_bytes),
	  UINT64_MAX, true },
	{ "image-entries", "entries of all layers of an image", MEMBER(image_entries), UINT64_MAX,
	  false },
	{ "layers", "layers of an image", MEMBER(layers), OVERLAY_LOWERS_MAX, false },
	{ "file-bytes", "one file, its holes included", MEMBER(layer.file_bytes), INT64_MAX, true },
	{ "path-bytes", "the path of an entry", MEMBER(layer.path_bytes), PATH_MAX - 1, true },
	{ "path-depth", "names in the path of an entry", MEMBER(layer.path_depth), UINT32_MAX,
	  false },
	{ "xattrs", "extended attributes of an entry", MEMBER(layer.xattrs), UINT32_MAX, false },
	{ "xattr-bytes", "the value of one extended attribute", MEMBER(layer.xattr_bytes),
	  XATTR_SIZE_MAX, true },
	{ "header-bytes", "tar headers of an entry", MEMBER(layer.header_bytes), UINT64_MAX, true },
	{ "sparse-pieces", "pieces of a file with holes", MEMBER(layer.sparse_pieces), UINT32_MAX,
	  false },
	{ "compression-ratio", "a layer's tar over its blob, beyond 1G of tar",
	  MEMBER(layer.compression_ratio), UINT32_MAX, false },
};

static uint64_t get(const struct limits *limits, const struct row *row)
{
	const char *at = (const char *)limits + row->offset;
	uint32_t narrow;
	uint64_t wide;

	if (row->size == sizeof(narrow)) {
		memcpy(&narrow, at, sizeof(narrow));
		return narrow;
	}
	memcpy(&wide, at, sizeof(wide));
	return wide;
}

static void put(struct limits *limits, const struct row *row, uint64_t value)
{
	char *at = (char *)limits + row->offset;
	uint32_t narrow = (uint32_t)value;

	if (row->size == sizeof(narrow))
		memcpy(at, &narrow, sizeof(narrow));
	else
		memcpy(at, &value, sizeof(value));
}

void limits_init(struct limits *ret)
{
	*ret = (struct limits){
		.layer = apply_limits_default,
		.image_bytes = (uint64_t)4 << 40,
		.image_entries = 50000000,
		.layers = OVERLAY_LOWERS_MAX,
	};
}

/* ---- settings ---- */

static int unknown(const char *name, size_t len, struct err *err)
{
	auto_buf struct buf known = { .max = 1024 };

	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		(void)buf_printf(&known, "%s%s", i ? ", " : "", rows[i].name);
	return fail(err, -EINVAL, "there is no limit '%.*s'; there are: %s",
		    len < 60 ? (int)len : 60, name, buf_text(&known));
}

static bool parse(const struct row *row, const char *text, size_t len, uint64_t *ret)
{
	static const char unlimited[] = "unlimited", suffixes[] = "KMGT";
	uint64_t value = 0;
	size_t i = 0;

	if (len == sizeof(unlimited) - 1 && !memcmp(text, unlimited, len)) {
		*ret = row->max;
		return true;
	}
	for (; i < len && text[i] >= '0' && text[i] <= '9'; i++) {
		if (__builtin_mul_overflow(value, 10, &value) ||
		    __builtin_add_overflow(value, text[i] - '0', &value))
			return false;
	}
	if (row->bytes && i > 0 && i + 1 == len) {
		const char *suffix = memchr(suffixes, text[i] & ~0x20, sizeof(suffixes) - 1);

		if (!suffix ||
		    __builtin_mul_overflow(value, (uint64_t)1024 << 10 * (suffix - suffixes),
					   &value))
			return false;
		i++;
	}
	if (i < len || value < 1 || value > row->max)
		return false;
	*ret = value;
	return true;
}

static int set(struct limits *limits, const char *setting, size_t len, struct err *err)
{
	const char *equals = memchr(setting, '=', len);
	size_t name_len = equals ? (size_t)(equals - setting) : len;
	const struct row *row = NULL;
	uint64_t value;

	for (size_t i = 0; i < ARRAY_LEN(rows) && !row; i++) {
		if (strlen(rows[i].name) == name_len && !memcmp(rows[i].name, setting, name_len))
			row = &rows[i];
	}
	if (!row)
		return unknown(setting, name_len, err);
	if (!equals || !parse(row, equals + 1, len - name_len - 1, &value))
		return fail(err, -EINVAL,
			    "limit %s is a number from 1 to %" PRIu64
			    "%s, or unlimited: not '%.*s'",
			    row->name, row->max, row->bytes ? ", perhaps with K, M, G or T" : "",
			    len < 100 ? (int)len : 100, setting);
	put(limits, row, value);
	return 0;
}

int limits_set(struct limits *limits, const char *setting, struct err *err)
{
	return set(limits, setting, strlen(setting), err);
}

int limits_set_all(struct limits *limits, const char *settings, struct err *err)
{
	int r = 0;

	while (r == 0 && *settings) {
		size_t len = strcspn(settings, ",");

		if (len)
			r = set(limits, settings, len, err);
		settings += len + (settings[len] == ',');
	}
	return r;
}

int limits_of_options(const struct overlaid_options *options, struct limits *ret, struct err *err)
{
	const char *environment = getenv("OVERLAID_LIMITS");
	struct limits limits;
	int r = 0;

	limits_init(&limits);
	if (environment)
		r = limits_set_all(&limits, environment, err);
	if (r < 0)
		return err_prefix(err, r, "OVERLAID_LIMITS");
	for (size_t i = 0; r == 0 && i < options->limit_count; i++)
		r = limits_set(&limits, options->limits[i], err);
	if (r == 0)
		*ret = limits;
	return r;
}

/* ---- what is asked of them ---- */

int limits_check_image(const struct limits *limits, uint64_t bytes, uint64_t entries,
		       struct err *err)
{
	if (bytes > limits->image_bytes)
		return fail(err, -EFBIG,
			    "the files of all layers of the image are larger than %" PRIu64
			    " bytes" APPLY_LIMIT_WORDS("image-bytes"),
			    limits->image_bytes);
	if (entries > limits->image_entries)
		return fail(err, -EFBIG,
			    "the layers of the image have more than %" PRIu64
			    " entries" APPLY_LIMIT_WORDS("image-entries"),
			    limits->image_entries);
	return 0;
}

int overlaid_limits(const struct overlaid_options *options, overlaid_limit_fn *fn, void *arg,
		    struct err *err)
{
	struct limits standard, limits;
	int r = 0;

	limits_init(&standard);
	limits = standard;
	if (options)
		r = limits_of_options(options, &limits, err);
	for (size_t i = 0; fn && r == 0 && i < ARRAY_LEN(rows); i++) {
		const struct overlaid_limit limit = {
			.name = rows[i].name,
			.bounds = rows[i].bounds,
			.bytes = rows[i].bytes,
			.standard = get(&standard, &rows[i]),
			.max = rows[i].max,
			.value = get(&limits, &rows[i]),
		};

		r = fn(arg, &limit);
	}
	return r;
}
