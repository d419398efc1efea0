/* SPDX-License-Identifier: Apache-2.0 */
/* system: gc, info, version; df is in cmd/df.c. */
#include <stdio.h>
#include <string.h>

#include "cmd/format.h"
#include "cmd/listing.h"
#include "cmd/record.h"
#include "cmd/verbs.h"

/* ---- gc ---- */

struct gc_options {
	bool dry_run, partial;
	const char *format;
};

static const struct option gc_options[] = {
	{ 0, "partial", OPTION_FLAG, offsetof(struct gc_options, partial), NULL,
	  "also downloads that the next pull would go on with" },
	{ 'n', "dry-run", OPTION_FLAG, offsetof(struct gc_options, dry_run), NULL,
	  "say what would go, and leave it" },
	{ 0, "format", OPTION_TEXT, offsetof(struct gc_options, format), "FORMAT",
	  "json, table, or a template" },
};

static const struct listing_field garbage_fields[] = {
	{ "Path", "PATH", false },
	{ "Size", "SIZE", false },
	{ "Why", "WHY", false },
};
static const struct listing garbage_listing = { garbage_fields, ARRAY_LEN(garbage_fields) };

struct garbage {
	struct record_style style;
	struct json *records;
	uint64_t disk_bytes;
};

static int add_garbage(void *arg, const struct overlaid_garbage *found)
{
	struct garbage *garbage = arg;
	struct json *record = json_new_object();

	record = json_set(record, "Path", json_new_string(found->path));
	record = json_set(record, "Size", record_size(found->disk_bytes, &garbage->style));
	record = json_set(record, "Why", json_new_string(found->why));
	garbage->records = json_push(garbage->records, record);
	garbage->disk_bytes += found->disk_bytes;
	return 0;
}

static int gc(struct app *app, const void *opts, char **args, size_t count, struct err *err)
{
	const struct gc_options *o = opts;
	bool programs = listing_for_programs(app, o->format);
	struct garbage garbage = { .style = { .programs = programs }, .records = json_new_array() };
	struct listing_how how = { .format = o->format };
	unsigned int flags = (o->dry_run ? OVERLAID_GC_DRY_RUN : 0) |
			     (o->partial ? OVERLAID_GC_PARTIAL : 0);
	struct overlaid *store;
	int r = app_store(app, &store, err);

	if (r == 0)
		r = overlaid_gc(store, flags, add_garbage, &garbage, err);
	if (r == 0 && !app->quiet && (!garbage.records || garbage.records->count > 0 || programs))
		r = listing_print(app, &garbage_listing, garbage.records, &how, err);
	if (r == 0 && !app->quiet && !programs && !o->format)
		(void)printf("%s: %s\n",
			     o->dry_run ? "Space that would be reclaimed" : "Total reclaimed space",
			     format_size(garbage.disk_bytes, 4).text);
	json_free(garbage.records);
	return r;
}

const struct verb gc_verb = {
	.name = "gc",
	.aliases = "prune",
	.args = "[OPTIONS]",
	.summary = "Find what nobody holds, say why, and remove it",
	.example = "overlaid gc --dry-run",
	.options = gc_options,
	.option_count = ARRAY_LEN(gc_options),
	.options_size = sizeof(struct gc_options),
	.run = gc,
};

/* ---- info ---- */

struct info_options {
	const char *format;
};

static const struct option info_options[] = {
	{ 'f', "format", OPTION_TEXT, offsetof(struct info_options, format), "FORMAT",
	  "json, or a template: '{{.Root}}'" },
};

/* "key: value" lines of the library, as members. */
static struct json *findings(const struct overlaid_info *info)
{
	struct json *object = json_new_object();

	for (size_t i = 0; i < info->line_count; i++) {
		const char *colon = strstr(info->lines[i], ": ");
		size_t len = colon ? (size_t)(colon - info->lines[i]) : strlen(info->lines[i]);
		auto_free char *key = strndup(info->lines[i], len);

		if (!key) {
			json_free(object);
			return NULL;
		}
		object = json_set(object, key, json_new_string(colon ? colon + 2 : ""));
	}
	return object;
}

static int add_limit(void *arg, const struct overlaid_limit *limit)
{
	struct json **object = arg;

	/* Beyond 2^63 JSON's readers differ, and there is nothing to tell apart. */
	if (limit->value != limit->standard)
		*object = json_set(*object, limit->name,
				   json_new_int(limit->value > INT64_MAX ? INT64_MAX :
									   (int64_t)limit->value));
	return 0;
}

/* Those that are not the default. */
static struct json *limits(const struct app *app)
{
	struct json *object = json_new_object();

	(void)overlaid_limits(&app->store_options, add_limit, &object, NULL);
	return object;
}

static int record_info(void *arg, const struct overlaid_info *info)
{
	struct json *record = json_new_object();

	record = json_set(record, "Version", json_new_string(overlaid_version()));
	record = json_set(record, "Root", json_new_string(info->root));
	record = json_set(record, "Run", json_new_string(info->run));
	record = json_set(record, "Format", json_new_int(info->format));
	record = json_set(record, "Images", json_new_int((int64_t)info->image_count));
	record = json_set(record, "Layers", json_new_int((int64_t)info->layer_count));
	record = json_set(record, "Containers", json_new_int((int64_t)info->container_count));
	record = json_set(record, "KernelVersion", json_new_string(info->kernel));
	record = json_set(record, "BackingFilesystem", json_new_string(info->backing_fs));
	record = json_set(record, "Mounting", json_new_string(info->mount_way));
	record = json_set(record, "Confinement", json_new_string(info->confinement));
	*(struct json **)arg = json_set(record, "Findings", findings(info));
	return 0;
}

static void print_pairs(const struct json *object, const char *indent)
{
	for (size_t i = 0; i < object->count; i++) {
		const struct json *value = object->items[i];

		if (value->type == JSON_OBJECT && value->count == 0)
			continue;
		(void)printf("%s%s:", indent, object->keys[i]);
		if (value->type == JSON_INT)
			(void)printf(" %lld\n", (long long)value->integer);
		else if (value->type == JSON_STRING)
			(void)printf(" %s\n", value->string);
		else
			(void)putchar('\n');
		if (value->type == JSON_OBJECT)
			print_pairs(value, "  ");
	}
}

static int info(struct app *app, const void *opts, char **args, size_t count, struct err *err)
{
	const struct info_options *o = opts;
	auto_json struct json *record = NULL;
	struct overlaid *store;
	int r = app_store(app, &store, err);

	if (r == 0)
		r = overlaid_info(store, record_info, &record, err);
	if (r < 0)
		return r;
	record = json_set(record, "Limits", limits(app));
	if (!record)
		return fail_oom(err);
	if (listing_for_programs(app, o->format))
		return print_json(record, err);
	if (o->format && *o->format)
		return listing_print_one(record, o->format, err);
	print_pairs(record, "");
	return 0;
}

const struct verb info_verb = {
	.name = "info",
	.args = "[OPTIONS]",
	.summary = "Say where the store is, and what kernel and filesystem can do",
	.example = "overlaid info --format '{{.BackingFilesystem}}'",
	.options = info_options,
	.option_count = ARRAY_LEN(info_options),
	.options_size = sizeof(struct info_options),
	.run = info,
};

/* ---- version ---- */

static int version(struct app *app, const void *opts, char **args, size_t count, struct err *err)
{
	const struct info_options *o = opts;
	auto_json struct json *record = json_set(json_new_object(), "Version",
						 json_new_string(overlaid_version()));

	if (!record)
		return fail_oom(err);
	if (listing_for_programs(app, o->format))
		return print_json(record, err);
	if (o->format && *o->format)
		return listing_print_one(record, o->format, err);
	(void)printf("overlaid version %s\n", overlaid_version());
	return 0;
}

const struct verb version_verb = {
	.name = "version",
	.args = "[OPTIONS]",
	.summary = "Print the version",
	.example = "overlaid version --format '{{.Version}}'",
	.options = info_options,
	.option_count = ARRAY_LEN(info_options),
	.options_size = sizeof(struct info_options),
	.run = version,
};
