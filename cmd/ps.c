/* SPDX-License-Identifier: Apache-2.0 */
/* ps: containers. */
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cmd/format.h"
#include "cmd/listing.h"
#include "cmd/record.h"
#include "cmd/verbs.h"

struct ps_options {
	bool all, no_trunc, no_heading, size;
	const char *format;
	struct option_list filters;
};

static const struct option ps_options[] = {
	{ 'a', "all", OPTION_FLAG, offsetof(struct ps_options, all), NULL,
	  "accepted: all are listed" },
	{ 'f', "filter", OPTION_LIST, offsetof(struct ps_options, filters), "KEY=VALUE",
	  "name=, id=, image=, label=" },
	{ 0, "format", OPTION_TEXT, offsetof(struct ps_options, format), "FORMAT",
	  "json, table, or a template: '{{.Names}}'" },
	{ 0, "no-trunc", OPTION_FLAG, offsetof(struct ps_options, no_trunc), NULL, "whole ids" },
	{ 'n', "noheading", OPTION_FLAG, offsetof(struct ps_options, no_heading), NULL,
	  "no line of headings" },
	{ 's', "size", OPTION_FLAG, offsetof(struct ps_options, size), NULL,
	  "count what their changes take" },
};

/* ---- filters ---- */

static bool fits_label(const struct overlaid_container *container, const char *wanted)
{
	size_t len = strlen(wanted);

	for (size_t i = 0; i < container->label_count; i++) {
		const char *label = container->labels[i];

		if (strcmp(label, wanted) == 0 ||
		    (!strchr(wanted, '=') && strncmp(label, wanted, len) == 0 && label[len] == '='))
			return true;
	}
	return false;
}

/* As in docker a part of the name will do; or a pattern. */
static bool fits_name(const struct overlaid_container *container, const char *wanted)
{
	return strstr(container->name, wanted) || fnmatch(wanted, container->name, 0) == 0;
}

static bool fits_id(const struct overlaid_container *container, const char *wanted)
{
	return strncmp(container->id, wanted, strlen(wanted)) == 0;
}

static bool fits_image(const struct overlaid_container *container, const char *wanted)
{
	const char *hex = strchr(container->image_id, ':');
	auto_free char *given = familiar_name(container->image_name);
	auto_free char *asked = familiar_name(wanted);

	if (strcmp(container->image_name, wanted) == 0 ||
	    (given && asked && strcmp(given, asked) == 0))
		return true;
	return strncmp(container->image_id, wanted, strlen(wanted)) == 0 ||
	       (hex && strncmp(hex + 1, wanted, strlen(wanted)) == 0);
}

static const struct ps_filter {
	const char *key;
	bool (*fits)(const struct overlaid_container *container, const char *wanted);
} ps_filters[] = {
	{ "name", fits_name },	    { "id", fits_id },	     { "image", fits_image },
	{ "ancestor", fits_image }, { "label", fits_label },
};

static const struct ps_filter *find_filter(const char *word, const char **ret_value)
{
	size_t len = strcspn(word, "=");

	for (size_t i = 0; i < ARRAY_LEN(ps_filters); i++) {
		if (strlen(ps_filters[i].key) != len ||
		    strncmp(word, ps_filters[i].key, len) != 0 || !word[len])
			continue;
		*ret_value = word + len + 1;
		return &ps_filters[i];
	}
	return NULL;
}

/* Of several values for one key one must fit, but all the labels. The words were checked before. */
static bool fits(const struct overlaid_container *container, const struct option_list *words)
{
	for (size_t i = 0; i < ARRAY_LEN(ps_filters); i++) {
		size_t asked = 0, fitting = 0;

		for (size_t k = 0; k < words->count; k++) {
			const char *value;

			if (find_filter(words->items[k], &value) != &ps_filters[i])
				continue;
			asked++;
			fitting += ps_filters[i].fits(container, value);
		}
		if (fitting < (ps_filters[i].fits == fits_label ? asked : asked > 0))
			return false;
	}
	return true;
}

/* ---- the list ---- */

struct container_rows {
	const struct ps_options *options;
	struct record_style style;
	struct json **records;
	char **ids;
	size_t count;
	bool ids_only, with_sizes;
};

static int add_container(void *arg, const struct overlaid_container *container)
{
	struct container_rows *rows = arg;
	size_t size = (rows->count + 1) * sizeof(void *);
	struct json **records;
	char **ids;

	if (!fits(container, &rows->options->filters))
		return 0;
	if (rows->ids_only) {
		(void)puts(rows->style.full_ids ? container->id :
						  format_short_id(container->id).text);
		return 0;
	}
	records = realloc(rows->records, size);
	if (records)
		rows->records = records;
	ids = realloc(rows->ids, size);
	if (ids)
		rows->ids = ids;
	if (!records || !ids)
		return -ENOMEM;
	records[rows->count] = record_container(container, &rows->style);
	ids[rows->count] = strdup(container->id);
	rows->count++;
	return records[rows->count - 1] && ids[rows->count - 1] ? 0 : -ENOMEM;
}

static void rows_release(struct container_rows *rows)
{
	for (size_t i = 0; i < rows->count; i++) {
		json_free(rows->records[i]);
		free(rows->ids[i]);
	}
	free(rows->records);
	free(rows->ids);
}

/* Hands the records over to an array, each with its size where that is asked for. */
static int collect(struct container_rows *rows, struct overlaid *store, struct json **ret,
		   struct err *err)
{
	auto_json struct json *records = json_new_array();

	for (size_t i = 0; i < rows->count; i++) {
		struct json *record = take_ptr(rows->records[i]);
		uint64_t disk_bytes = 0;
		int r = 0;

		if (rows->with_sizes)
			r = overlaid_container_usage(store, rows->ids[i], &disk_bytes, err);
		if (r < 0) {
			json_free(record);
			if (r == -ENOENT) /* removed a moment ago */
				continue;
			return r;
		}
		if (rows->with_sizes)
			record = json_set(record, "Size", record_size(disk_bytes, &rows->style));
		records = json_push(records, record);
	}
	*ret = take_ptr(records);
	return 0;
}

static int ps(struct app *app, const void *opts, char **args, size_t count, struct err *err)
{
	static const char *const sizes[] = { "Size", NULL };
	const struct ps_options *o = opts;
	AUTO(rows_release) struct container_rows rows = { .options = o, .ids_only = app->quiet };
	struct listing_how how = { .format = o->format,
				   .no_heading = o->no_heading,
				   .also = o->size ? sizes : NULL };
	auto_json struct json *records = NULL;
	struct overlaid *store;
	const char *value;
	int r;

	for (size_t i = 0; i < o->filters.count; i++) {
		if (!find_filter(o->filters.items[i], &value))
			return app_usage(app,
					 "no filter '%.100s'; there are: id=, image=, label=, name=",
					 o->filters.items[i]);
	}
	r = app_store(app, &store, err);
	if (r < 0)
		return r;
	rows.style = (struct record_style){ listing_for_programs(app, o->format), o->no_trunc,
					    time(NULL) };
	rows.with_sizes = o->size || (o->format && strstr(o->format, ".Size"));
	r = overlaid_containers(store, add_container, &rows, err);
	if (r < 0 || rows.ids_only)
		return r;
	r = collect(&rows, store, &records, err);
	return r < 0 ? r : listing_print(app, &container_listing, records, &how, err);
}

const struct verb ps_verb = {
	.name = "ps",
	.aliases = "containers",
	.args = "[OPTIONS]",
	.summary = "List containers",
	.example = "overlaid ps --filter image=nginx --format '{{.ID}} {{.Names}}'",
	.options = ps_options,
	.option_count = ARRAY_LEN(ps_options),
	.options_size = sizeof(struct ps_options),
	.run = ps,
};
