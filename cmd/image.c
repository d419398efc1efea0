/* SPDX-License-Identifier: Apache-2.0 */
/* image: images, history, tag, untag. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "cmd/format.h"
#include "cmd/image_config.h"
#include "cmd/image_filter.h"
#include "cmd/layer_map.h"
#include "cmd/listing.h"
#include "cmd/record.h"
#include "cmd/verbs.h"

struct images_options {
	bool all, digests, no_trunc, no_heading;
	const char *format;
	struct option_list filters;
};

static const struct option images_options[] = {
	{ 'a', "all", OPTION_FLAG, offsetof(struct images_options, all), NULL,
	  "accepted: there are no hidden images" },
	{ 0, "digests", OPTION_FLAG, offsetof(struct images_options, digests), NULL,
	  "show manifest digests" },
	{ 'f', "filter", OPTION_LIST, offsetof(struct images_options, filters), "KEY=VALUE",
	  "reference=, label=, dangling=, before=, since=, id=" },
	{ 0, "format", OPTION_TEXT, offsetof(struct images_options, format), "FORMAT",
	  "json, table, or a template: '{{.ID}}'" },
	{ 0, "no-trunc", OPTION_FLAG, offsetof(struct images_options, no_trunc), NULL,
	  "whole ids" },
	{ 'n', "noheading", OPTION_FLAG, offsetof(struct images_options, no_heading), NULL,
	  "no line of headings" },
};

struct image_rows {
	const struct image_filter *filter;
	struct record_style style;
	struct json *records;
	bool ids_only;
};

static int add_image(void *arg, const struct overlaid_image *image)
{
	struct image_rows *rows = arg;
	size_t count = image->reference_count ? image->reference_count : 1;

	for (size_t i = 0; i < count; i++) {
		const char *reference = image->reference_count ? image->references[i] : NULL;

		if (!image_filter_fits(rows->filter, image, reference))
			continue;
		if (rows->ids_only) {
			(void)puts(rows->style.full_ids ? image->id :
							  format_short_id(image->id).text);
			return 0;
		}
		rows->records = json_push(rows->records,
					  record_image(image, reference, &rows->style));
	}
	return 0;
}

static int images(struct app *app, const void *opts, char **args, size_t count, struct err *err)
{
	static const char *const digests[] = { "Digest", NULL };
	const struct images_options *o = opts;
	struct listing_how how = { .format = o->format,
				   .no_heading = o->no_heading,
				   .also = o->digests ? digests : NULL };
	auto_image_filter struct image_filter filter = { 0 };
	struct image_rows rows = { .filter = &filter, .ids_only = app->quiet };
	struct overlaid *store;
	int r;

	r = image_filter_parse(&filter, &o->filters, count ? args[0] : NULL, err);
	if (r < 0)
		return app_usage(app, "%s", err->text);
	r = app_store(app, &store, err);
	if (r == 0)
		r = image_filter_prepare(&filter, store, err);
	if (r < 0)
		return r;
	rows.style = (struct record_style){ listing_for_programs(app, o->format), o->no_trunc,
					    time(NULL) };
	rows.records = rows.ids_only ? NULL : json_new_array();
	r = overlaid_images(store, add_image, &rows, err);
	if (r == 0 && !rows.ids_only)
		r = listing_print(app, &image_listing, rows.records, &how, err);
	json_free(rows.records);
	return r;
}

const struct verb images_verb = {
	.name = "images",
	.args = "[OPTIONS] [REPOSITORY[:TAG]]",
	.summary = "List images",
	.example =
		"overlaid images --filter reference='nginx:*' --format '{{.ID}} {{.Repository}}:{{.Tag}}'",
	.options = images_options,
	.option_count = ARRAY_LEN(images_options),
	.options_size = sizeof(struct images_options),
	.max_args = 1,
	.run = images,
};

/* ---- history ---- */

struct history_options {
	bool no_trunc, plain;
	const char *format;
};

static const struct option history_options[] = {
	{ 0, "no-trunc", OPTION_FLAG, offsetof(struct history_options, no_trunc), NULL,
	  "whole ids and commands" },
	{ 'H', "human", OPTION_OFF, offsetof(struct history_options, plain), NULL,
	  "--human=false: bytes and exact times" },
	{ 0, "format", OPTION_TEXT, offsetof(struct history_options, format), "FORMAT",
	  "json, table, or a template" },
};

static const struct listing_field history_fields[] = {
	{ "ID", "IMAGE", false },
	{ "CreatedSince", "CREATED", false },
	{ "CreatedAt", "CREATED AT", true },
	{ "CreatedBy", "CREATED BY", false },
	{ "Size", "SIZE", false },
	{ "Comment", "COMMENT", false },
	{ "Layer", "LAYER", true },
};
static const struct listing history_listing = { history_fields, ARRAY_LEN(history_fields) };

#define CREATED_BY_MAX 45

struct history {
	struct record_style style;
	bool plain, ids_only;
	const struct layer_map *layers;
	char id[80];			   /* of the image */
	struct json *diff_ids, *layer_ids; /* layer_ids: what is mounted for each diffID */
	struct json *records;
};

/* What docker cuts at 45 characters, and prints in one line. */
static struct json *created_by(const struct json *entry, const struct record_style *style)
{
	const char *text = json_string_or(entry, "/created_by", "");
	auto_buf struct buf line = { 0 };
	size_t columns = 0;

	if (style->programs || (style->full_ids && !strpbrk(text, "\t\n")))
		return json_new_string(text);
	for (; *text; text++) {
		columns += ((unsigned char)*text & 0xc0) != 0x80;
		if (!style->full_ids && columns >= CREATED_BY_MAX && text_columns(text) > 1) {
			(void)buf_puts(&line, "…");
			break;
		}
		(void)buf_putc(&line, *text == '\t' || *text == '\n' ? ' ' : *text);
	}
	return line.status ? NULL : json_new_string(buf_text(&line));
}

static struct json *history_size(const struct history *h, uint64_t bytes)
{
	return h->plain ? json_new_int((int64_t)bytes) : record_size(bytes, &h->style);
}

#define NO_LAYER SIZE_MAX

/* One step of the build; `index` is that of the layer it made, or NO_LAYER. */
static struct json *record_step(const struct history *h, const struct json *entry, size_t index,
				bool top)
{
	const char *layer = index == NO_LAYER ? NULL : h->diff_ids->items[index]->string;
	const struct layer_entry *found =
		layer ? layer_map_find(h->layers, h->layer_ids->items[index]->string) : NULL;
	struct json *record = json_new_object();
	int64_t created = 0;
	struct short_text at;

	(void)parse_rfc3339(json_string_or(entry, "/created", ""), &created);
	at = h->style.programs || h->plain ? format_rfc3339(created) : format_created_at(created);
	record = json_set(record, "ID",
			  top ? record_id(h->id, &h->style) : json_new_string("<missing>"));
	record = json_set(record, "CreatedSince",
			  json_new_string(h->plain && created ?
						  at.text :
						  format_ago(created, h->style.now).text));
	record = json_set(record, "CreatedAt", json_new_string(created ? at.text : "N/A"));
	record = json_set(record, "CreatedBy", created_by(entry, &h->style));
	record = json_set(record, "Size", history_size(h, found ? found->bytes : 0));
	record = json_set(record, "Comment",
			  json_new_string(json_string_or(entry, "/comment", "")));
	return json_set(record, "Layer", json_new_string(layer ? layer : ""));
}

static int note_image(void *arg, const struct overlaid_image *image)
{
	struct history *h = arg;

	(void)snprintf(h->id, sizeof(h->id), "%s", image->id);
	for (size_t i = 0; i < image->layer_count; i++) {
		h->diff_ids = json_push(h->diff_ids, json_new_string(image->layers[i]));
		h->layer_ids = json_push(h->layer_ids, json_new_string(image->chain[i]));
	}
	return h->diff_ids && h->layer_ids ? 0 : -ENOMEM;
}

/* Newest first. Steps that made no layer say so; a config without a history still has its layers. */
static void add_steps(struct history *h, const struct json *steps)
{
	size_t layer = h->diff_ids->count, step_count = steps ? steps->count : 0;
	bool top = true;

	for (size_t i = step_count; i > 0; i--, top = false) {
		const struct json *step = steps->items[i - 1];
		bool empty = json_bool_or(step, "/empty_layer", false) || layer == 0;

		layer -= !empty;
		h->records = json_push(h->records,
				       record_step(h, step, empty ? NO_LAYER : layer, top));
	}
	for (; layer > 0; layer--, top = false)
		h->records = json_push(h->records, record_step(h, NULL, layer - 1, top));
}

static int print_history(struct app *app, struct history *h, const struct json *config,
			 const char *format, struct err *err)
{
	const struct json *steps = json_get(config, "/history");
	struct listing_how how = { .format = format };

	add_steps(h, steps && steps->type == JSON_ARRAY ? steps : NULL);
	if (!h->records)
		return fail_oom(err);
	if (!h->ids_only)
		return listing_print(app, &history_listing, h->records, &how, err);
	for (size_t i = 0; i < h->records->count; i++)
		(void)puts(json_string_or(h->records->items[i], "/ID", ""));
	return 0;
}

static int history(struct app *app, const void *opts, char **args, size_t count, struct err *err)
{
	const struct history_options *o = opts;
	auto_layer_map struct layer_map layers = { 0 };
	auto_json struct json *config = NULL;
	struct history h = { .plain = o->plain, .ids_only = app->quiet, .layers = &layers };
	struct overlaid *store;
	int r = app_store(app, &store, err);

	h.style = (struct record_style){ listing_for_programs(app, o->format), o->no_trunc,
					 time(NULL) };
	h.diff_ids = json_new_array();
	h.layer_ids = json_new_array();
	h.records = json_new_array();
	if (r == 0)
		r = overlaid_image_get(store, args[0], note_image, &h, err);
	if (r == 0)
		r = image_config_load(store, h.id, &config, err);
	if (r == 0)
		r = layer_map_load(&layers, store, err);
	if (r == 0)
		r = print_history(app, &h, config, o->format, err);
	json_free(h.diff_ids);
	json_free(h.layer_ids);
	json_free(h.records);
	return r;
}

const struct verb history_verb = {
	.name = "history",
	.args = "[OPTIONS] IMAGE",
	.summary = "Show how an image was built, and what each step weighs",
	.example = "overlaid history --no-trunc nginx",
	.options = history_options,
	.option_count = ARRAY_LEN(history_options),
	.options_size = sizeof(struct history_options),
	.min_args = 1,
	.max_args = 1,
	.run = history,
};

/* ---- tag, untag ---- */

static int tag(struct app *app, const void *opts, char **args, size_t count, struct err *err)
{
	struct overlaid *store;
	int r = app_store(app, &store, err);

	for (size_t i = 1; r == 0 && i < count; i++)
		r = overlaid_image_tag(store, args[0], args[i], err);
	return r;
}

const struct verb tag_verb = {
	.name = "tag",
	.args = "IMAGE REFERENCE...",
	.summary = "Make further references point at an image",
	.example = "overlaid tag nginx registry.example.com/web/nginx:tested",
	.min_args = 2,
	.max_args = ARGS_MANY,
	.run = tag,
};

static int untag(struct app *app, const void *opts, char **args, size_t count, struct err *err)
{
	struct overlaid *store;
	int status = 0;
	int r = app_store(app, &store, err);

	if (r < 0)
		return r;
	for (size_t i = 0; i < count; i++) {
		r = overlaid_image_untag(store, args[i], err);
		if (r == 0)
			continue;
		app_complain(app, r, err);
		status = EXIT_FAILED;
	}
	return status;
}

const struct verb untag_verb = {
	.name = "untag",
	.args = "REFERENCE...",
	.summary = "Remove references; their images stay",
	.example = "overlaid untag registry.example.com/web/nginx:tested",
	.min_args = 1,
	.max_args = ARGS_MANY,
	.run = untag,
};
