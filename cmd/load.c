/* SPDX-License-Identifier: Apache-2.0 */
/* load: images from an archive, a directory or standard input. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cmd/listing.h"
#include "cmd/record.h"
#include "cmd/verbs.h"

struct load_options {
	const char *input, *platform, *name, *reference;
	bool all_tags;
};

static const struct option load_options[] = {
	{ 'i', "input", OPTION_TEXT, offsetof(struct load_options, input), "FILE|DIR",
	  "what to load, instead of standard input" },
	{ 0, "platform", OPTION_TEXT, offsetof(struct load_options, platform), "OS/ARCH",
	  "of an index (default this machine's)" },
	{ 'a', "all-tags", OPTION_FLAG, offsetof(struct load_options, all_tags), NULL,
	  "every image of a layout that holds several" },
	{ 0, "ref", OPTION_TEXT, offsetof(struct load_options, reference), "REFERENCE",
	  "only the image of this name" },
	{ 0, "name", OPTION_TEXT, offsetof(struct load_options, name), "REPOSITORY",
	  "for images that state a tag only" },
};

struct loading {
	struct app *app;
	struct json *records; /* NULL unless --json */
	bool json;
};

static struct json *record_loaded(const struct overlaid_loaded *loaded)
{
	struct json *record = json_new_object();

	record = json_set(record, "ID", json_new_string(loaded->image_id));
	record = json_set(record, "References",
			  familiar_names(loaded->references, loaded->reference_count));
	record = json_set(record, "Layers", json_new_int((int64_t)loaded->layers));
	return json_set(record, "LayersExtracted", json_new_int((int64_t)loaded->layers_extracted));
}

static int say_loaded(void *arg, const struct overlaid_loaded *loaded)
{
	struct loading *loading = arg;

	progress_pause(&loading->app->progress);
	if (loading->json) {
		loading->records = json_push(loading->records, record_loaded(loaded));
		return 0;
	}
	if (loading->app->quiet) {
		(void)puts(loaded->image_id);
		return 0;
	}
	for (size_t i = 0; i < loaded->reference_count; i++) {
		auto_free char *name = familiar_name(loaded->references[i]);

		(void)printf("Loaded image: %s\n", name ? name : loaded->references[i]);
	}
	if (loaded->reference_count == 0)
		(void)printf("Loaded image ID: %s\n", loaded->image_id);
	(void)fflush(stdout); /* the next image may take a while */
	return 0;
}

static int load(struct app *app, const void *opts, char **args, size_t count, struct err *err)
{
	const struct load_options *o = opts;
	const char *path = o->input ? o->input : count ? args[0] : NULL;
	struct overlaid_load load = {
		.fd = STDIN_FILENO,
		.reference = o->reference,
		.platform = o->platform,
		.name = o->name,
		.all_tags = o->all_tags,
	};
	struct loading loading = { .app = app, .json = app->json };
	struct overlaid *store;
	int r;

	if (o->input && count)
		return app_usage(app, "load reads one source: '%s' or '%s'", o->input, args[0]);
	load.path = path && strcmp(path, "-") != 0 ? path : NULL;
	if (!load.path && isatty(STDIN_FILENO))
		return app_usage(
			app,
			"load cannot read an archive from a terminal: name a file, or redirect standard input");
	r = app_store(app, &store, err);
	if (r < 0)
		return r;
	loading.records = loading.json ? json_new_array() : NULL;
	r = overlaid_load(store, &load, say_loaded, &loading, err);
	progress_pause(&app->progress);
	if (r >= 0 && loading.json)
		r = print_json(loading.records, err);
	json_free(loading.records);
	return r;
}

const struct verb load_verb = {
	.name = "load",
	.args = "[OPTIONS] [FILE|DIR]",
	.summary = "Load images from a docker or OCI archive, or an OCI layout directory",
	.example = "skopeo copy docker://nginx docker-archive:/dev/stdout:nginx | overlaid load",
	.options = load_options,
	.option_count = ARRAY_LEN(load_options),
	.options_size = sizeof(struct load_options),
	.max_args = 1,
	.run = load,
};
