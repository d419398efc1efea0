/* SPDX-License-Identifier: Apache-2.0 */
/* layer: layers. */
#include <stdio.h>
#include <time.h>

#include "cmd/format.h"
#include "cmd/listing.h"
#include "cmd/record.h"
#include "cmd/verbs.h"

struct layers_options {
	bool no_trunc, no_heading;
	const char *format;
};

static const struct option layers_options[] = {
	{ 0, "format", OPTION_TEXT, offsetof(struct layers_options, format), "FORMAT",
	  "json, table, or a template: '{{.Layer}}'" },
	{ 0, "no-trunc", OPTION_FLAG, offsetof(struct layers_options, no_trunc), NULL,
	  "whole digests" },
	{ 'n', "noheading", OPTION_FLAG, offsetof(struct layers_options, no_heading), NULL,
	  "no line of headings" },
};

struct layer_rows {
	struct record_style style;
	struct json *records;
	bool ids_only;
	bool any_derived;
};

static int add_layer(void *arg, const struct overlaid_layer *layer)
{
	struct layer_rows *rows = arg;

	if (rows->ids_only)
		(void)puts(rows->style.full_ids ? layer->id : format_short_id(layer->id).text);
	else
		rows->records = json_push(rows->records, record_layer(layer, &rows->style));
	rows->any_derived = rows->any_derived || layer->kind != OVERLAID_LAYER_PLAIN;
	return 0;
}

static int layers(struct app *app, const void *opts, char **args, size_t count, struct err *err)
{
	static const char *const of_derived[] = { "Kind", "DiffID", NULL };
	const struct layers_options *o = opts;
	struct layer_rows rows = { .ids_only = app->quiet };
	struct listing_how how = { .format = o->format, .no_heading = o->no_heading };
	struct overlaid *store;
	int r = app_store(app, &store, err);

	if (r < 0)
		return r;
	rows.style = (struct record_style){ listing_for_programs(app, o->format), o->no_trunc,
					    time(NULL) };
	rows.records = rows.ids_only ? NULL : json_new_array();
	r = overlaid_layers(store, add_layer, &rows, err);
	how.also = rows.any_derived ? of_derived : NULL;
	if (r == 0 && !rows.ids_only)
		r = listing_print(app, &layer_listing, rows.records, &how, err);
	json_free(rows.records);
	return r;
}

const struct verb layers_verb = {
	.name = "layers",
	.args = "[OPTIONS]",
	.summary = "List layers: what each weighs, and who holds it",
	.example = "overlaid layers --format '{{.References}} {{.Layer}}'",
	.options = layers_options,
	.option_count = ARRAY_LEN(layers_options),
	.options_size = sizeof(struct layers_options),
	.run = layers,
};
