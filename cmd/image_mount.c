/* SPDX-License-Identifier: Apache-2.0 */
/* image_mount: image mount, image umount. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/listing.h"
#include "cmd/record.h"
#include "cmd/verbs.h"

struct mounts_options {
	const char *format;
};

static const struct option mounts_options[] = {
	{ 0, "format", OPTION_TEXT, offsetof(struct mounts_options, format), "FORMAT",
	  "of the list: json, table, or a template" },
};

static const struct listing_field mount_fields[] = {
	{ "ID", "IMAGE ID", false },
	{ "Repositories", "REPOSITORIES", false },
	{ "mountpoint", "MOUNTPOINT", false },
};
static const struct listing mount_listing = { mount_fields, ARRAY_LEN(mount_fields) };

struct mounts {
	char **ids, **paths;
	size_t count;
};

static int add_mount(void *arg, const struct overlaid_image_mount_info *mount)
{
	struct mounts *mounts = arg;
	size_t size = (mounts->count + 1) * sizeof(char *);
	char **ids = realloc(mounts->ids, size);
	char **paths = ids ? realloc(mounts->paths, size) : NULL;

	if (ids)
		mounts->ids = ids;
	if (!paths)
		return -ENOMEM;
	mounts->paths = paths;
	ids[mounts->count] = strdup(mount->image_id);
	paths[mounts->count] = strdup(mount->path);
	mounts->count++;
	return ids[mounts->count - 1] && paths[mounts->count - 1] ? 0 : -ENOMEM;
}

static void mounts_release(struct mounts *mounts)
{
	for (size_t i = 0; i < mounts->count; i++) {
		free(mounts->ids[i]);
		free(mounts->paths[i]);
	}
	free(mounts->ids);
	free(mounts->paths);
}

static int note_names(void *arg, const struct overlaid_image *image)
{
	*(struct json **)arg = familiar_names(image->references, image->reference_count);
	return 0;
}

static int list_mounts(struct app *app, struct overlaid *store, const char *format, struct err *err)
{
	AUTO(mounts_release) struct mounts mounts = { 0 };
	auto_json struct json *records = json_new_array();
	struct record_style style = { .programs = listing_for_programs(app, format) };
	struct listing_how how = { .format = format };
	int r = overlaid_image_mounts(store, add_mount, &mounts, err);

	for (size_t i = 0; r == 0 && i < mounts.count; i++) {
		struct json *record = json_new_object();
		struct json *names = NULL;

		r = overlaid_image_get(store, mounts.ids[i], note_names, &names, err);
		record = json_set(record, "ID", record_id(mounts.ids[i], &style));
		record = json_set(record, "Repositories", names);
		records = json_push(records, json_set(record, "mountpoint",
						      json_new_string(mounts.paths[i])));
	}
	return r < 0 ? r : listing_print(app, &mount_listing, records, &how, err);
}

static int image_mount(struct app *app, const void *opts, char **args, size_t count,
		       struct err *err)
{
	const struct mounts_options *o = opts;
	struct overlaid *store;
	int r = app_store(app, &store, err);

	if (r < 0)
		return r;
	if (count == 0)
		return list_mounts(app, store, o->format, err);
	return app_mount_each(app, store, overlaid_image_mount, args, count, err);
}

const struct verb image_mount_verb = {
	.name = "image mount",
	.args = "[OPTIONS] [IMAGE...]",
	.summary = "Mount an image read-only and print where; without one, list what is mounted",
	.example = "ls \"$(overlaid image mount nginx)\"",
	.options = mounts_options,
	.option_count = ARRAY_LEN(mounts_options),
	.options_size = sizeof(struct mounts_options),
	.max_args = ARGS_MANY,
	.run = image_mount,
};

struct unmount_options {
	bool all;
};

static const struct option unmount_options[] = {
	{ 'a', "all", OPTION_FLAG, offsetof(struct unmount_options, all), NULL,
	  "every mounted image" },
};

static int unmount_each(struct app *app, struct overlaid *store, char **names, size_t count,
			struct err *err)
{
	int status = 0;

	for (size_t i = 0; i < count; i++) {
		int r = overlaid_image_unmount(store, names[i], err);

		if (r == 0) {
			(void)puts(names[i]);
			continue;
		}
		app_complain(app, r, err);
		status = EXIT_FAILED;
	}
	return status;
}

static int image_unmount(struct app *app, const void *opts, char **args, size_t count,
			 struct err *err)
{
	const struct unmount_options *o = opts;
	AUTO(mounts_release) struct mounts mounts = { 0 };
	struct overlaid *store;
	int r;

	if (o->all == (count > 0))
		return app_usage(app, "image umount takes images, or --all");
	r = app_store(app, &store, err);
	if (r == 0 && o->all)
		r = overlaid_image_mounts(store, add_mount, &mounts, err);
	if (r < 0)
		return r;
	return unmount_each(app, store, o->all ? mounts.ids : args, o->all ? mounts.count : count,
			    err);
}

const struct verb image_unmount_verb = {
	.name = "image umount",
	.args = "IMAGE... | --all",
	.summary = "Unmount images",
	.example = "overlaid image umount nginx",
	.options = unmount_options,
	.option_count = ARRAY_LEN(unmount_options),
	.options_size = sizeof(struct unmount_options),
	.max_args = ARGS_MANY,
	.run = image_unmount,
};
