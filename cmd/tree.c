/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tree: all images as a forest of layers, in which what images share stands once; or one image's
 * layers.
 *
 * A run of layers without a fork is drawn at one depth, so that an image of 127 layers is not 127
 * columns wide.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/format.h"
#include "cmd/layer_map.h"
#include "cmd/listing.h"
#include "cmd/record.h"
#include "cmd/verbs.h"

struct tree_options {
	bool no_trunc;
};

static const struct option tree_options[] = {
	{ 0, "no-trunc", OPTION_FLAG, offsetof(struct tree_options, no_trunc), NULL, "whole ids" },
};

/* One layer on top of those above it in the forest. */
struct twig {
	char *diff_id, *id; /* id: of what is mounted for it */
	struct buf names;   /* of the images that end here */
	struct twig **children;
	size_t count;
};

struct forest {
	struct twig root; /* no layer */
	struct layer_map layers;
	struct json *records; /* of the images, where --json */
	bool json, no_trunc;
};

/* Frees all twigs below without recursing deeper than the layers of an image. */
static void twig_release(struct twig *twig)
{
	for (size_t i = 0; i < twig->count; i++) {
		twig_release(twig->children[i]);
		free(twig->children[i]);
	}
	free(twig->children);
	free(twig->diff_id);
	free(twig->id);
	buf_release(&twig->names);
}

/* What is mounted for a layer follows from what is beneath it. */
static struct twig *grow(struct twig *parent, const char *diff_id, const char *id)
{
	struct twig **children;
	struct twig *child;

	for (size_t i = 0; i < parent->count; i++) {
		if (strcmp(parent->children[i]->diff_id, diff_id) == 0)
			return parent->children[i];
	}
	children = realloc(parent->children, (parent->count + 1) * sizeof(struct twig *));
	if (!children)
		return NULL;
	parent->children = children;
	child = calloc(1, sizeof(*child));
	if (!child)
		return NULL;
	children[parent->count++] = child;
	child->diff_id = strdup(diff_id);
	child->id = strdup(id);
	return child->diff_id && child->id ? child : NULL;
}

/* An id as it is, or the first digits of it. */
static void print_id(const struct forest *forest, const char *id)
{
	(void)fputs(forest->no_trunc ? id : format_short_id(id).text, stdout);
}

static void add_names(const struct overlaid_image *image, struct buf *out)
{
	for (size_t i = 0; i < image->reference_count; i++) {
		auto_free char *name = familiar_name(image->references[i]);

		(void)buf_puts(out, out->len ? ", " : "");
		append_visible(out, name ? name : image->references[i], 0);
	}
	if (image->reference_count == 0)
		(void)buf_printf(out, "%s<none> %s", out->len ? ", " : "",
				 format_short_id(image->id).text);
}

static struct json *record_tree(const struct forest *forest, const struct overlaid_image *image)
{
	struct json *record = json_new_object(), *layers = json_new_array();

	for (size_t i = 0; i < image->layer_count; i++) {
		const struct layer_entry *found = layer_map_find(&forest->layers, image->chain[i]);
		struct json *layer = json_set(json_new_object(), "Layer",
					      json_new_string(image->layers[i]));

		layer = json_set(layer, "Size", json_new_int(found ? (int64_t)found->bytes : 0));
		layer = json_set(layer, "References",
				 json_new_int(found ? (int64_t)found->references : 0));
		layers = json_push(layers, layer);
	}
	record = json_set(record, "ID", json_new_string(image->id));
	record = json_set(record, "Names",
			  familiar_names(image->references, image->reference_count));
	record = json_set(record, "Size", json_new_int((int64_t)image->bytes));
	return json_set(record, "Layers", layers);
}

static int add_image(void *arg, const struct overlaid_image *image)
{
	struct forest *forest = arg;
	struct twig *twig = &forest->root;

	if (forest->json) {
		forest->records = json_push(forest->records, record_tree(forest, image));
		return 0;
	}
	for (size_t i = 0; twig && i < image->layer_count; i++)
		twig = grow(twig, image->layers[i], image->chain[i]);
	if (!twig)
		return -ENOMEM;
	add_names(image, &twig->names);
	return 0;
}

/* What the terminal can show, told from the environment: setlocale(3) would read files. */
static bool has_utf8(void)
{
	static const char *const variables[] = { "LC_ALL", "LC_CTYPE", "LANG" };

	for (size_t i = 0; i < ARRAY_LEN(variables); i++) {
		const char *value = getenv(variables[i]);

		if (value && *value)
			return strcasestr(value, "utf-8") || strcasestr(value, "utf8");
	}
	return false;
}

struct strokes {
	const char *fork, *last, *down, *none;
};

static const struct strokes *strokes(void)
{
	static const struct strokes utf8 = { "├── ", "└── ", "│   ", "    " };
	static const struct strokes ascii = { "|-- ", "`-- ", "|   ", "    " };

	return has_utf8() ? &utf8 : &ascii;
}

static void print_twig(const struct forest *forest, const struct twig *twig, const char *indent)
{
	const struct layer_entry *layer = layer_map_find(&forest->layers, twig->id);

	(void)fputs(indent, stdout);
	print_id(forest, twig->diff_id);
	(void)printf("  %s", format_size(layer ? layer->bytes : 0, 3).text);
	if (twig->names.len)
		(void)printf("  [%s]", buf_text(&twig->names));
	(void)putchar('\n');
}

static int print_below(const struct forest *forest, const struct twig *twig, const char *indent,
		       struct err *err);

/* The twig, those on top of it up to a fork, and what the fork holds. */
static int print_branch(const struct forest *forest, const struct twig *twig, const char *indent,
			bool last, struct err *err)
{
	const struct strokes *s = strokes();
	auto_buf struct buf first = { 0 }, rest = { 0 };

	(void)buf_printf(&first, "%s%s", indent, last ? s->last : s->fork);
	(void)buf_printf(&rest, "%s%s", indent, last ? s->none : s->down);
	if (first.status || rest.status)
		return fail_oom(err);
	print_twig(forest, twig, buf_text(&first));
	for (; twig->count == 1; twig = twig->children[0])
		print_twig(forest, twig->children[0], buf_text(&rest));
	return print_below(forest, twig, buf_text(&rest), err);
}

static int print_below(const struct forest *forest, const struct twig *twig, const char *indent,
		       struct err *err)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < twig->count; i++)
		r = print_branch(forest, twig->children[i], indent, i + 1 == twig->count, err);
	return r;
}

static const struct twig *find_child(const struct twig *twig, const char *diff_id)
{
	for (size_t i = 0; twig && i < twig->count; i++) {
		if (strcmp(twig->children[i]->diff_id, diff_id) == 0)
			return twig->children[i];
	}
	return NULL;
}

/* As `podman image tree`. */
static int print_image(void *arg, const struct overlaid_image *image)
{
	const struct forest *forest = arg;
	const struct twig *twig = &forest->root;
	const struct strokes *s = strokes();

	(void)fputs("Image ID: ", stdout);
	print_id(forest, image->id);
	(void)fputs("\nTags:     [", stdout);
	for (size_t i = 0; i < image->reference_count; i++)
		(void)printf("%s%s", i ? " " : "", image->references[i]);
	(void)printf("]\nSize:     %s\nImage Layers\n", format_size(image->bytes, 3).text);
	for (size_t i = 0; i < image->layer_count; i++) {
		const struct layer_entry *layer = layer_map_find(&forest->layers, image->chain[i]);

		twig = find_child(twig, image->layers[i]);
		(void)printf("%sID: ", i + 1 == image->layer_count ? s->last : s->fork);
		print_id(forest, image->layers[i]);
		(void)printf(" Size: %s", format_size(layer ? layer->bytes : 0, 3).text);
		if (twig && twig->names.len)
			(void)printf(" Top Layer of: [%s]", buf_text(&twig->names));
		(void)putchar('\n');
	}
	return 0;
}

static int print_forest(struct forest *forest, struct overlaid *store, const char *name,
			struct err *err)
{
	int r;

	if (forest->json && name)
		r = overlaid_image_get(store, name, add_image, forest, err);
	else
		r = overlaid_images(store, add_image, forest, err);
	if (r < 0)
		return r;
	if (forest->json)
		return print_json(forest->records, err);
	if (name)
		return overlaid_image_get(store, name, print_image, forest, err);
	return print_below(forest, &forest->root, "", err);
}

static int tree(struct app *app, const void *opts, char **args, size_t count, struct err *err)
{
	const struct tree_options *o = opts;
	struct forest forest = { .json = app->json, .no_trunc = o->no_trunc };
	struct overlaid *store;
	int r = app_store(app, &store, err);

	forest.records = app->json ? json_new_array() : NULL;
	if (r == 0)
		r = layer_map_load(&forest.layers, store, err);
	if (r == 0)
		r = print_forest(&forest, store, count ? args[0] : NULL, err);
	layer_map_release(&forest.layers);
	twig_release(&forest.root);
	json_free(forest.records);
	return r;
}

const struct verb tree_verb = {
	.name = "tree",
	.args = "[OPTIONS] [IMAGE]",
	.summary = "Show which layers images share",
	.example = "overlaid tree",
	.options = tree_options,
	.option_count = ARRAY_LEN(tree_options),
	.options_size = sizeof(struct tree_options),
	.max_args = 1,
	.run = tree,
};
