/* SPDX-License-Identifier: Apache-2.0 */
/* df: what the store takes on disk, in parts that sum to what du(1) says. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cmd/format.h"
#include "cmd/listing.h"
#include "cmd/record.h"
#include "cmd/verbs.h"

struct df_options {
	bool verbose;
	const char *format;
};

static const struct option df_options[] = {
	{ 'v', "verbose", OPTION_FLAG, offsetof(struct df_options, verbose), NULL,
	  "every image and container" },
	{ 0, "format", OPTION_TEXT, offsetof(struct df_options, format), "FORMAT",
	  "json, table, or a template: '{{.Type}} {{.Size}}'" },
};

static const struct listing_field usage_fields[] = {
	{ "Type", "TYPE", false },
	{ "TotalCount", "TOTAL", false },
	{ "Active", "ACTIVE", false },
	{ "Size", "SIZE", false },
	{ "Reclaimable", "RECLAIMABLE", false },
};
static const struct listing usage_listing = { usage_fields, ARRAY_LEN(usage_fields) };

static const struct listing_field image_fields[] = {
	{ "Repository", "REPOSITORY", false },
	{ "Tag", "TAG", false },
	{ "ID", "IMAGE ID", false },
	{ "CreatedSince", "CREATED", false },
	{ "Size", "SIZE", false },
	{ "SharedSize", "SHARED SIZE", false },
	{ "UniqueSize", "UNIQUE SIZE", false },
	{ "Containers", "CONTAINERS", false },
};
static const struct listing image_usage_listing = { image_fields, ARRAY_LEN(image_fields) };

/* A line of the table. Sizes are disk bytes. */
struct usage_row {
	const char *type, *shown; /* for programs, for people: parts of the row above are set in */
	bool has_counts, has_reclaimable;
	size_t count, active;
	uint64_t bytes, reclaimable;
};

static struct json *record_bytes(uint64_t bytes, bool programs)
{
	return programs ? json_new_int((int64_t)bytes) :
			  json_new_string(format_size(bytes, 4).text);
}

static struct json *record_reclaimable(const struct usage_row *row, bool programs)
{
	struct short_text size = format_size(row->reclaimable, 4);
	char text[80];

	if (!row->has_reclaimable)
		return programs ? json_new_null() : json_new_string("");
	if (programs)
		return json_new_int((int64_t)row->reclaimable);
	(void)snprintf(text, sizeof(text), "%s (%u%%)", size.text,
		       percent_of(row->reclaimable, row->bytes));
	return json_new_string(text);
}

static struct json *record_count(const struct usage_row *row, size_t count, bool programs)
{
	if (row->has_counts)
		return json_new_int((int64_t)count);
	return programs ? json_new_null() : json_new_string("");
}

static struct json *record_rows(const struct overlaid_usage *u, bool programs)
{
	const struct usage_row rows[] = {
		{ "Images", "Images", true, true, u->image_count, u->images_active, u->layers,
		  u->layers_reclaimable },
		{ "Layers shared", "  shared layers", .bytes = u->layers_shared },
		{ "Layers unique", "  unique layers", .bytes = u->layers_unique },
		{ "Containers", "Containers", true, true, u->container_count, u->containers_active,
		  u->containers, u->containers_reclaimable },
		{ "Blobs", "Blobs", .bytes = u->blobs },
		{ "Database", "Database", .bytes = u->database },
		{ "Transient", "Transient", .bytes = u->transient },
		{ "Other", "Other", .bytes = u->other },
		{ "Total", "Total", .has_reclaimable = true, .bytes = u->total,
		  .reclaimable = u->layers_reclaimable + u->containers_reclaimable },
	};
	struct json *records = json_new_array();

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct json *record = json_new_object();

		record = json_set(record, "Type",
				  json_new_string(programs ? rows[i].type : rows[i].shown));
		record = json_set(record, "TotalCount",
				  record_count(&rows[i], rows[i].count, programs));
		record = json_set(record, "Active",
				  record_count(&rows[i], rows[i].active, programs));
		record = json_set(record, "Size", record_bytes(rows[i].bytes, programs));
		record = json_set(record, "Reclaimable", record_reclaimable(&rows[i], programs));
		records = json_push(records, record);
	}
	return records;
}

/* ---- df -v ---- */

struct parts {
	struct record_style style;
	struct json *images, *containers;
	char **ids; /* of the containers */
	size_t count;
};

static int add_image(void *arg, const struct overlaid_image *image)
{
	struct parts *parts = arg;

	for (size_t i = 0; i < image->reference_count; i++)
		parts->images = json_push(parts->images,
					  record_image(image, image->references[i], &parts->style));
	if (image->reference_count == 0)
		parts->images = json_push(parts->images, record_image(image, NULL, &parts->style));
	return 0;
}

static int note_container(void *arg, const struct overlaid_container *container)
{
	struct parts *parts = arg;
	char **ids = realloc(parts->ids, (parts->count + 1) * sizeof(*ids));

	if (!ids)
		return -ENOMEM;
	parts->ids = ids;
	ids[parts->count] = strdup(container->id);
	return ids[parts->count++] ? 0 : -ENOMEM;
}

struct one {
	const struct record_style *style;
	struct json *record;
};

static int describe(void *arg, const struct overlaid_container *container)
{
	struct one *one = arg;

	one->record = record_container(container, one->style);
	return 0;
}

static int load_parts(struct overlaid *store, struct parts *parts, struct err *err)
{
	int r = overlaid_images(store, add_image, parts, err);

	if (r == 0)
		r = overlaid_containers(store, note_container, parts, err);
	for (size_t i = 0; r == 0 && i < parts->count; i++) {
		struct one one = { .style = &parts->style };
		uint64_t disk_bytes;

		r = overlaid_container_usage(store, parts->ids[i], &disk_bytes, err);
		if (r == 0)
			r = overlaid_container_get(store, parts->ids[i], describe, &one, err);
		if (r == -ENOENT) { /* removed a moment ago */
			r = 0;
			continue;
		}
		if (r == 0)
			one.record = json_set(one.record, "Size",
					      record_size(disk_bytes, &parts->style));
		parts->containers = json_push(parts->containers, one.record);
	}
	return r;
}

static int print_parts(struct app *app, struct parts *parts, const struct json *rows,
		       struct err *err)
{
	static const char *const sizes[] = { "Size", NULL };
	struct listing_how how = { 0 }, with_sizes = { .also = sizes };
	auto_json struct json *all = NULL;
	int r;

	if (parts->style.programs) {
		all = json_set(json_new_object(), "Usage", json_copy(rows));
		all = json_set(all, "Images", take_ptr(parts->images));
		all = json_set(all, "Containers", take_ptr(parts->containers));
		return print_json(all, err);
	}
	r = listing_print(app, &usage_listing, rows, &how, err);
	(void)puts("\nImages space usage:\n");
	if (r == 0)
		r = listing_print(app, &image_usage_listing, parts->images, &how, err);
	(void)puts("\nContainers space usage:\n");
	if (r == 0)
		r = listing_print(app, &container_listing, parts->containers, &with_sizes, err);
	return r;
}

static void parts_release(struct parts *parts)
{
	for (size_t i = 0; i < parts->count; i++)
		free(parts->ids[i]);
	free(parts->ids);
	json_free(parts->images);
	json_free(parts->containers);
}

static int df(struct app *app, const void *opts, char **args, size_t count, struct err *err)
{
	const struct df_options *o = opts;
	bool programs = listing_for_programs(app, o->format);
	AUTO(parts_release)
	struct parts parts = { .style = { .programs = programs, .now = time(NULL) } };
	struct listing_how how = { .format = o->format };
	auto_json struct json *rows = NULL;
	struct overlaid_usage usage = { 0 };
	struct overlaid *store;
	int r;

	if (o->verbose && o->format && strcmp(o->format, "json") != 0)
		return app_usage(app, "df --verbose is printed as tables or --format json");
	r = app_store(app, &store, err);
	if (r == 0)
		r = overlaid_usage(store, &usage, err);
	if (r < 0)
		return r;
	rows = record_rows(&usage, programs);
	if (!o->verbose)
		return listing_print(app, &usage_listing, rows, &how, err);
	parts.images = json_new_array();
	parts.containers = json_new_array();
	r = load_parts(store, &parts, err);
	return r < 0 ? r : print_parts(app, &parts, rows, err);
}

const struct verb df_verb = {
	.name = "df",
	.args = "[OPTIONS]",
	.summary = "Show what the store takes on disk, and what could be reclaimed",
	.example = "overlaid df -v",
	.options = df_options,
	.option_count = ARRAY_LEN(df_options),
	.options_size = sizeof(struct df_options),
	.run = df,
};
