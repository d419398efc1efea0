/* SPDX-License-Identifier: Apache-2.0 */
/* container: create, mount, umount, rm, diff; ps is in cmd/ps.c. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/listing.h"
#include "cmd/record.h"
#include "cmd/verbs.h"

/* ---- create ---- */

struct create_options {
	const char *name;
	struct option_list labels;
};

static const struct option create_options[] = {
	{ 0, "name", OPTION_TEXT, offsetof(struct create_options, name), "NAME",
	  "what to call it (default: two words)" },
	{ 'l', "label", OPTION_LIST, offsetof(struct create_options, labels), "KEY=VALUE",
	  "a label; may be repeated" },
};

/* The list as the library wants it: ended by NULL. */
static int end_list(const struct option_list *list, const char ***ret, struct err *err)
{
	const char **items = calloc(list->count + 1, sizeof(*items));

	if (!items)
		return fail_oom(err);
	for (size_t i = 0; i < list->count; i++)
		items[i] = list->items[i];
	*ret = items;
	return 0;
}

static int create(struct app *app, const void *opts, char **args, size_t count, struct err *err)
{
	const struct create_options *o = opts;
	struct overlaid_create how = { .image = args[0], .name = o->name };
	auto_free const char **labels = NULL;
	char id[OVERLAID_ID_LEN + 1];
	struct overlaid *store = NULL;
	int r;

	for (size_t i = 0; i < o->labels.count; i++) {
		if (!strchr(o->labels.items[i], '=') || o->labels.items[i][0] == '=')
			return app_usage(app, "--label takes KEY=VALUE, not '%.100s'",
					 o->labels.items[i]);
	}
	r = end_list(&o->labels, &labels, err);
	if (r == 0)
		r = app_store(app, &store, err);
	if (r < 0)
		return r;
	how.labels = labels;
	r = overlaid_container_create(store, &how, id, err);
	if (r == 0)
		(void)puts(id);
	return r;
}

const struct verb create_verb = {
	.name = "create",
	.args = "[OPTIONS] IMAGE",
	.summary = "Make a container: a writable tree over an image; prints its id",
	.example = "overlaid create --name web nginx",
	.options = create_options,
	.option_count = ARRAY_LEN(create_options),
	.options_size = sizeof(struct create_options),
	.min_args = 1,
	.max_args = 1,
	.run = create,
};

/* ---- names that --all stands for ---- */

struct names {
	char **items;
	size_t count;
	bool mounted_only;
};

static int add_name(void *arg, const struct overlaid_container *container)
{
	struct names *names = arg;
	char **items;

	if (names->mounted_only && !container->mounted)
		return 0;
	items = realloc(names->items, (names->count + 1) * sizeof(*items));
	if (!items)
		return -ENOMEM;
	names->items = items;
	items[names->count] = strdup(container->id);
	return items[names->count++] ? 0 : -ENOMEM;
}

static void names_release(struct names *names)
{
	for (size_t i = 0; i < names->count; i++)
		free(names->items[i]);
	free(names->items);
}

/* ---- mount, umount ---- */

struct mount_options {
	const char *format;
	bool no_trunc;
};

static const struct option mount_options[] = {
	{ 0, "format", OPTION_TEXT, offsetof(struct mount_options, format), "FORMAT",
	  "of the list: json, table, or a template" },
	{ 0, "no-trunc", OPTION_FLAG, offsetof(struct mount_options, no_trunc), NULL,
	  "whole ids in the list" },
};

static const struct listing_field mounted_fields[] = {
	{ "ID", "CONTAINER ID", false },
	{ "Names", "NAMES", false },
	{ "Mountpoint", "MOUNTPOINT", false },
};
static const struct listing mounted_listing = { mounted_fields, ARRAY_LEN(mounted_fields) };

struct mounted {
	struct record_style style;
	struct json *records;
};

static int add_mounted(void *arg, const struct overlaid_container *container)
{
	struct mounted *mounted = arg;
	struct json *record = json_new_object();

	if (!container->mounted) {
		json_free(record);
		return 0;
	}
	record = json_set(record, "ID", record_id(container->id, &mounted->style));
	record = json_set(record, "Names", json_new_string(container->name));
	record = json_set(record, "Mountpoint", json_new_string(container->mounted));
	mounted->records = json_push(mounted->records, record);
	return 0;
}

static int list_mounted(struct app *app, struct overlaid *store, const struct mount_options *o,
			struct err *err)
{
	struct mounted mounted = { .style = { .programs = listing_for_programs(app, o->format),
					      .full_ids = o->no_trunc } };
	struct listing_how how = { .format = o->format };
	int r;

	mounted.records = json_new_array();
	r = overlaid_containers(store, add_mounted, &mounted, err);
	if (r == 0)
		r = listing_print(app, &mounted_listing, mounted.records, &how, err);
	json_free(mounted.records);
	return r;
}

static int mount_containers(struct app *app, const void *opts, char **args, size_t count,
			    struct err *err)
{
	struct overlaid *store;
	int r = app_store(app, &store, err);

	if (r < 0)
		return r;
	if (count == 0)
		return list_mounted(app, store, opts, err);
	return app_mount_each(app, store, overlaid_container_mount, args, count, err);
}

const struct verb mount_verb = {
	.name = "mount",
	.args = "[OPTIONS] [CONTAINER...]",
	.summary = "Mount a container and print where; without one, list what is mounted",
	.example = "cp nginx.conf \"$(overlaid mount web)/etc/nginx/\"",
	.options = mount_options,
	.option_count = ARRAY_LEN(mount_options),
	.options_size = sizeof(struct mount_options),
	.max_args = ARGS_MANY,
	.run = mount_containers,
};

struct unmount_options {
	bool all;
};

static const struct option unmount_options[] = {
	{ 'a', "all", OPTION_FLAG, offsetof(struct unmount_options, all), NULL,
	  "every mounted container" },
};

static int unmount_each(struct app *app, char **names, size_t count, struct err *err)
{
	int status = 0;

	for (size_t i = 0; i < count; i++) {
		int r = overlaid_unmount(&app->store_options, names[i], err);

		if (r == 0) {
			(void)puts(names[i]);
			app->trash = true; /* and a record of the mount */
			continue;
		}
		app_complain(app, r, err);
		status = EXIT_FAILED;
	}
	return status;
}

static int unmount_containers(struct app *app, const void *opts, char **args, size_t count,
			      struct err *err)
{
	const struct unmount_options *o = opts;
	AUTO(names_release) struct names names = { .mounted_only = true };
	struct overlaid *store;
	int r;

	if (o->all == (count > 0))
		return app_usage(app, "umount takes containers, or --all");
	if (!o->all)
		return unmount_each(app, args, count, err);
	r = app_store(app, &store, err);
	if (r == 0)
		r = overlaid_containers(store, add_name, &names, err);
	return r < 0 ? r : unmount_each(app, names.items, names.count, err);
}

const struct verb unmount_verb = {
	.name = "umount",
	.aliases = "unmount",
	.args = "CONTAINER... | --all",
	.summary = "Unmount containers; their changes stay",
	.example = "overlaid umount web",
	.options = unmount_options,
	.option_count = ARRAY_LEN(unmount_options),
	.options_size = sizeof(struct unmount_options),
	.max_args = ARGS_MANY,
	.run = unmount_containers,
};

/* ---- rm ---- */

struct rm_options {
	bool all, force, ignore;
};

static const struct option rm_options[] = {
	{ 'a', "all", OPTION_FLAG, offsetof(struct rm_options, all), NULL, "every container" },
	{ 'f', "force", OPTION_FLAG, offsetof(struct rm_options, force), NULL,
	  "also where it is mounted: unmounts it first" },
	{ 'i', "ignore", OPTION_FLAG, offsetof(struct rm_options, ignore), NULL,
	  "a container that is not there is no failure" },
};

static bool was_given(char **args, size_t at)
{
	for (size_t i = 0; i < at; i++) {
		if (strcmp(args[i], args[at]) == 0)
			return true;
	}
	return false;
}

static int remove_each(struct app *app, struct overlaid *store, const struct rm_options *o,
		       char **names, size_t count, struct err *err)
{
	int status = 0;

	for (size_t i = 0; i < count; i++) {
		int r;

		if (was_given(names, i))
			continue;
		r = overlaid_container_remove(store, names[i], o->force ? OVERLAID_REMOVE_FORCE : 0,
					      err);
		if (r == 0) {
			app->trash = true;
			(void)puts(names[i]);
		} else if (r != -ENOENT || !o->ignore) {
			app_complain(app, r, err);
			status = EXIT_FAILED;
		}
	}
	return status;
}

static int rm(struct app *app, const void *opts, char **args, size_t count, struct err *err)
{
	const struct rm_options *o = opts;
	AUTO(names_release) struct names names = { 0 };
	struct overlaid *store;
	int r;

	if (o->all == (count > 0))
		return app_usage(app, "rm takes containers, or --all");
	r = app_store(app, &store, err);
	if (r == 0 && o->all)
		r = overlaid_containers(store, add_name, &names, err);
	if (r < 0)
		return r;
	return remove_each(app, store, o, o->all ? names.items : args, o->all ? names.count : count,
			   err);
}

const struct verb rm_verb = {
	.name = "rm",
	.args = "[OPTIONS] CONTAINER... | --all",
	.summary = "Remove containers with their changes",
	.example = "overlaid rm -f web",
	.options = rm_options,
	.option_count = ARRAY_LEN(rm_options),
	.options_size = sizeof(struct rm_options),
	.max_args = ARGS_MANY,
	.run = rm,
};

/* ---- diff ---- */

struct diff_options {
	const char *format;
};

static const struct option diff_options[] = {
	{ 0, "format", OPTION_TEXT, offsetof(struct diff_options, format), "json",
	  "an object of lists: changed, added, deleted" },
};

struct changes {
	bool json;
	struct json *lists[3]; /* by enum overlaid_change */
};

static int add_change(void *arg, enum overlaid_change change, const char *path)
{
	static const char letters[] = {
		[OVERLAID_CHANGED] = 'C', [OVERLAID_ADDED] = 'A', [OVERLAID_DELETED] = 'D'
	};
	struct changes *changes = arg;

	if (changes->json) {
		changes->lists[change] = json_push(changes->lists[change], json_new_string(path));
		return 0;
	}
	(void)printf("%c ", letters[change]);
	print_text(path);
	(void)putchar('\n');
	return 0;
}

/* As podman: what there is none of is left out. */
static struct json *record_changes(struct changes *changes)
{
	static const char *const names[] = {
		[OVERLAID_CHANGED] = "changed", [OVERLAID_ADDED] = "added", [OVERLAID_DELETED] = "deleted"
	};
	struct json *record = json_new_object();

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		if (changes->lists[i] && changes->lists[i]->count == 0)
			json_free(changes->lists[i]);
		else
			record = json_set(record, names[i], changes->lists[i]);
	}
	return record;
}

static int diff(struct app *app, const void *opts, char **args, size_t count, struct err *err)
{
	const struct diff_options *o = opts;
	struct changes changes = { .json = app->json || o->format };
	auto_json struct json *record = NULL;
	struct overlaid *store;
	int r;

	if (o->format && strcmp(o->format, "json") != 0)
		return app_usage(app, "diff --format is json, not '%.60s'", o->format);
	r = app_store(app, &store, err);
	if (r < 0)
		return r;
	for (size_t i = 0; changes.json && i < ARRAY_LEN(changes.lists); i++)
		changes.lists[i] = json_new_array();
	r = overlaid_container_changes(store, args[0], add_change, &changes, err);
	if (!changes.json)
		return r;
	record = record_changes(&changes);
	return r < 0 ? r : print_json(record, err);
}

const struct verb diff_verb = {
	.name = "diff",
	.args = "[OPTIONS] CONTAINER",
	.summary = "List what a container changed: A added, C changed, D deleted",
	.example = "overlaid diff web",
	.options = diff_options,
	.option_count = ARRAY_LEN(diff_options),
	.options_size = sizeof(struct diff_options),
	.min_args = 1,
	.max_args = 1,
	.run = diff,
};
