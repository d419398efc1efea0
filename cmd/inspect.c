/* SPDX-License-Identifier: Apache-2.0 */
/* inspect: images and containers as Docker's API shows them, always an array. */
#include <stdio.h>
#include <string.h>

#include "cmd/format.h"
#include "cmd/image_config.h"
#include "cmd/layer_map.h"
#include "cmd/listing.h"
#include "cmd/record.h"
#include "cmd/verbs.h"

struct inspect_options {
	const char *type, *format;
	bool size;
};

static const struct option inspect_options[] = {
	{ 0, "type", OPTION_TEXT, offsetof(struct inspect_options, type), "TYPE",
	  "image or container (default: a container, else an image)" },
	{ 'f', "format", OPTION_TEXT, offsetof(struct inspect_options, format), "FORMAT",
	  "json, or a template: '{{.Id}}'" },
	{ 's', "size", OPTION_FLAG, offsetof(struct inspect_options, size), NULL,
	  "containers: count what their changes take" },
};

struct inspecting {
	struct layer_map layers;
	struct overlaid *store;
	struct json *record; /* what the callback made */
	char id[80];
};

/* Paths of layers [0, count) of an image, topmost first, as lowerdir= has them. */
static struct json *lower_dirs(const struct inspecting *in, const char *const *layers, size_t count)
{
	auto_buf struct buf text = { 0 };

	for (size_t i = count; i > 0; i--) {
		const struct layer_entry *layer = layer_map_find(&in->layers, layers[i - 1]);

		(void)buf_printf(&text, "%s%s", text.len ? ":" : "", layer ? layer->path : "");
	}
	return text.status ? NULL : json_new_string(buf_text(&text));
}

static struct json *driver(struct json *data)
{
	return json_set(json_set(json_new_object(), "Name", json_new_string("overlaid")), "Data",
			data);
}

static struct json *root_fs(const char *const *layers, size_t count)
{
	struct json *ids = json_new_array();

	for (size_t i = 0; i < count; i++)
		ids = json_push(ids, json_new_string(layers[i]));
	return json_set(json_set(json_new_object(), "Type", json_new_string("layers")), "Layers",
			ids);
}

/* "repo@digest" for each repository the image is known in: as it was pulled, else by its manifest. */
static struct json *repo_digests(const struct overlaid_image *image)
{
	struct json *digests = familiar_names(image->digests, image->digest_count);
	char last[300] = "";

	for (size_t i = 0; i < image->reference_count; i++) {
		struct overlaid_reference parsed;
		auto_buf struct buf text = { 0 };
		const char *digest;

		if (overlaid_reference_parse(image->references[i], &parsed, NULL) < 0)
			continue;
		digest = digest_in(image, parsed.repository);
		/* References are sorted, so those of one repository stand together. */
		if (digest != image->manifest_digest || !digest[0] ||
		    strcmp(last, parsed.familiar) == 0)
			continue;
		(void)snprintf(last, sizeof(last), "%s", parsed.familiar);
		(void)buf_printf(&text, "%s@%s", parsed.familiar, digest);
		digests = json_push(digests, text.status ? NULL : json_new_string(buf_text(&text)));
	}
	return digests;
}

static struct json *repo_tags(const struct overlaid_image *image)
{
	struct json *tags = json_new_array();

	for (size_t i = 0; i < image->reference_count; i++) {
		auto_free char *name = NULL;

		if (strchr(image->references[i], '@'))
			continue;
		name = familiar_name(image->references[i]);
		tags = json_push(tags, name ? json_new_string(name) : NULL);
	}
	return tags;
}

static int describe_image(void *arg, const struct overlaid_image *image)
{
	struct inspecting *in = arg;
	size_t lowers = image->chain_count ? image->chain_count - 1 : 0;
	struct json *record = json_new_object();
	struct json *data = json_new_object();

	(void)snprintf(in->id, sizeof(in->id), "%s", image->id);
	if (lowers)
		data = json_set(data, "LowerDir", lower_dirs(in, image->chain, lowers));
	if (image->chain_count) /* docker calls the topmost layer so, though nothing is written to
				   it */
		data = json_set(data, "UpperDir", lower_dirs(in, image->chain + lowers, 1));
	record = json_set(record, "Id", json_new_string(image->id));
	record = json_set(record, "RepoTags", repo_tags(image));
	record = json_set(record, "RepoDigests", repo_digests(image));
	record = json_set(record, "Parent", json_new_string(""));
	record = json_set(record, "Architecture", json_new_string(image->architecture));
	record = json_set(record, "Variant", json_new_string(image->variant));
	record = json_set(record, "Os", json_new_string(image->os));
	record = json_set(record, "Size", json_new_int((int64_t)image->bytes));
	record = json_set(record, "GraphDriver", driver(data));
	record = json_set(record, "RootFS", root_fs(image->layers, image->layer_count));
	in->record = json_set(record, "Metadata",
			      json_set(json_new_object(), "LastTagTime",
				       json_new_string(format_rfc3339(image->loaded).text)));
	return 0;
}

/* The config's settings; those that docker always prints are there, so that templates find them. */
static struct json *settings(const struct json *config)
{
	static const char *const texts[] = { "User", "WorkingDir" };
	static const char *const others[] = { "Env",	      "Cmd",	"Entrypoint", "Volumes",
					      "ExposedPorts", "Labels", "OnBuild" };
	const struct json *found = json_get(config, "/config");
	struct json *copy = found && found->type == JSON_OBJECT ? json_copy(found) :
								  json_new_object();

	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		if (copy && !json_get_key(copy, texts[i]))
			copy = json_set(copy, texts[i], json_new_string(""));
	}
	for (size_t i = 0; i < ARRAY_LEN(others); i++) {
		if (copy && !json_get_key(copy, others[i]))
			copy = json_set(copy, others[i], json_new_null());
	}
	return copy;
}

static struct json *add_config(struct json *record, const struct json *config)
{
	record = json_set(record, "Comment",
			  json_new_string(json_string_or(config, "/comment", "")));
	record = json_set(record, "Created",
			  json_new_string(json_string_or(config, "/created", "")));
	record = json_set(record, "DockerVersion",
			  json_new_string(json_string_or(config, "/docker_version", "")));
	record = json_set(record, "Author", json_new_string(json_string_or(config, "/author", "")));
	return json_set(record, "Config", settings(config));
}

static int inspect_image(struct inspecting *in, const char *name, struct json **ret,
			 struct err *err)
{
	auto_json struct json *config = NULL;
	int r = overlaid_image_get(in->store, name, describe_image, in, err);

	if (r < 0)
		return r;
	r = image_config_load(in->store, in->id, &config, err);
	if (r == 0)
		*ret = add_config(take_ptr(in->record), config);
	json_free(in->record);
	in->record = NULL;
	return r;
}

static struct json *label_object(const struct overlaid_container *container)
{
	struct record_style style = { .programs = true };
	auto_json struct json *record = record_container(container, &style);

	return json_copy(json_get_key(record, "Labels"));
}

/* Beside the upper directory, as overlayfs wants both on one filesystem. */
static struct json *work_dir(const char *upper)
{
	const char *slash = strrchr(upper, '/');
	auto_buf struct buf text = { 0 };

	(void)buf_printf(&text, "%.*s/work", slash ? (int)(slash - upper) : 0, upper);
	return text.status ? NULL : json_new_string(buf_text(&text));
}

static int describe_container(void *arg, const struct overlaid_container *container)
{
	struct inspecting *in = arg;
	bool mounted = container->mounted || container->mounted_elsewhere;
	struct json *record = json_new_object(), *data = json_new_object(),
		    *state = json_new_object();

	(void)snprintf(in->id, sizeof(in->id), "%s", container->id);
	state = json_set(state, "Status", json_new_string(mounted ? "mounted" : "created"));
	state = json_set(state, "Mounted", json_new_bool(mounted));
	data = json_set(data, "LowerDir", lower_dirs(in, container->chain, container->chain_count));
	data = json_set(data, "UpperDir", json_new_string(container->upper));
	data = json_set(data, "WorkDir", work_dir(container->upper));
	data = json_set(data, "MergedDir",
			json_new_string(container->mounted ? container->mounted : ""));
	record = json_set(record, "Id", json_new_string(container->id));
	record = json_set(record, "Created",
			  json_new_string(format_rfc3339(container->created).text));
	record = json_set(record, "Name", json_new_string(container->name));
	record = json_set(record, "State", state);
	record = json_set(record, "Image", json_new_string(container->image_id));
	record = json_set(record, "ImageName", json_new_string(container->image_name));
	record = json_set(record, "ImageExists", json_new_bool(container->image_exists));
	record = json_set(record, "Mounted", json_new_bool(mounted));
	record = json_set(record, "GraphDriver", driver(data));
	record = json_set(record, "RootFS", root_fs(container->layers, container->layer_count));
	record = json_set(record, "Ephemeral", json_new_bool(container->ephemeral));
	in->record = json_set(record, "Labels", label_object(container));
	return 0;
}

static int inspect_container(struct inspecting *in, const char *name, bool size, struct json **ret,
			     struct err *err)
{
	struct json *record;
	uint64_t disk_bytes;
	int r = overlaid_container_get(in->store, name, describe_container, in, err);

	if (r < 0)
		return r;
	record = take_ptr(in->record);
	if (size) {
		r = overlaid_container_usage(in->store, in->id, &disk_bytes, err);
		if (r == 0)
			record = json_set(record, "SizeRw", json_new_int((int64_t)disk_bytes));
	}
	if (r == 0)
		*ret = record;
	else
		json_free(record);
	return r;
}

/* As docker: a container of that name, else an image, unless --type or `overlaid image inspect`
 * says which. */
static int inspect_one(struct app *app, struct inspecting *in, const struct inspect_options *o,
		       const char *name, struct json **ret, struct err *err)
{
	const char *type = o->type ? o->type : app->noun ? app->noun : "";
	int r = -ENOENT;

	if (strcmp(type, "image") != 0)
		r = inspect_container(in, name, o->size, ret, err);
	if (r == -ENOENT && strcmp(type, "container") != 0) {
		r = inspect_image(in, name, ret, err);
		if (r == -ENOENT && !type[0])
			r = fail(err, -ENOENT, "no such image or container: %s", name);
	}
	return r;
}

static int inspect_all(struct app *app, struct inspecting *in, const struct inspect_options *o,
		       char **args, size_t count, struct err *err)
{
	auto_json struct json *found = json_new_array();
	int status = 0;
	int r = 0;

	for (size_t i = 0; r == 0 && i < count; i++) {
		struct json *record = NULL;
		int one = inspect_one(app, in, o, args[i], &record, err);

		if (one < 0) {
			app_complain(app, one, err);
			status = EXIT_FAILED;
		} else if (o->format && *o->format && strcmp(o->format, "json") != 0) {
			r = listing_print_one(record, o->format, err);
			json_free(record);
		} else {
			found = json_push(found, record);
		}
	}
	if (r == 0 && (!o->format || !*o->format || strcmp(o->format, "json") == 0))
		r = print_json(found, err);
	return r < 0 ? r : status;
}

static int inspect(struct app *app, const void *opts, char **args, size_t count, struct err *err)
{
	const struct inspect_options *o = opts;
	struct inspecting in = { 0 };
	int r;

	if (o->type && strcmp(o->type, "image") != 0 && strcmp(o->type, "container") != 0)
		return app_usage(app, "--type is image or container, not '%s'", o->type);
	r = app_store(app, &in.store, err);
	if (r == 0)
		r = layer_map_load(&in.layers, in.store, err);
	if (r == 0)
		r = inspect_all(app, &in, o, args, count, err);
	layer_map_release(&in.layers);
	return r;
}

const struct verb inspect_verb = {
	.name = "inspect",
	.args = "[OPTIONS] NAME...",
	.summary = "Say all there is about images and containers, as JSON",
	.example = "overlaid inspect -f '{{join .RootFS.Layers \"\\n\"}}' nginx",
	.options = inspect_options,
	.option_count = ARRAY_LEN(inspect_options),
	.options_size = sizeof(struct inspect_options),
	.min_args = 1,
	.max_args = ARGS_MANY,
	.run = inspect,
};
