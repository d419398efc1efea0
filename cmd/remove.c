/* SPDX-License-Identifier: Apache-2.0 */
/* remove: rmi. */
#include <stdio.h>
#include <string.h>

#include "cmd/listing.h"
#include "cmd/record.h"
#include "cmd/verbs.h"

struct rmi_options {
	bool force, ignore, no_prune;
};

static const struct option rmi_options[] = {
	{ 'f', "force", OPTION_FLAG, offsetof(struct rmi_options, force), NULL,
	  "also with several references, or with containers that are not mounted" },
	{ 'i', "ignore", OPTION_FLAG, offsetof(struct rmi_options, ignore), NULL,
	  "an image that is not there is no failure" },
	{ 0, "no-prune", OPTION_FLAG, offsetof(struct rmi_options, no_prune), NULL, NULL },
};

struct removing {
	struct app *app;
	struct json *records; /* where --json */
};

static int say_removed(void *arg, enum overlaid_removed what, const char *name)
{
	struct removing *removing = arg;
	auto_free char *familiar = what == OVERLAID_UNTAGGED ? familiar_name(name) : NULL;
	const char *word = what == OVERLAID_UNTAGGED ? "Untagged" : "Deleted";

	if (familiar)
		name = familiar;
	if (what == OVERLAID_DELETED_LAYER)
		removing->app->trash = true;
	if (removing->app->json)
		removing->records = json_push(removing->records, json_set(json_new_object(), word,
									  json_new_string(name)));
	else if (!removing->app->quiet)
		(void)printf("%s: %s\n", word, name);
	return 0;
}

static bool was_given(char **args, size_t at)
{
	for (size_t i = 0; i < at; i++) {
		if (strcmp(args[i], args[at]) == 0)
			return true;
	}
	return false;
}

static int rmi(struct app *app, const void *opts, char **args, size_t count, struct err *err)
{
	const struct rmi_options *o = opts;
	struct removing removing = { .app = app };
	struct overlaid *store;
	int status = 0;
	int r = app_store(app, &store, err);

	if (r < 0)
		return r;
	removing.records = app->json ? json_new_array() : NULL;
	for (size_t i = 0; i < count; i++) {
		if (was_given(args, i))
			continue;
		r = overlaid_image_remove(store, args[i], o->force ? OVERLAID_REMOVE_FORCE : 0,
					  say_removed, &removing, err);
		if (r >= 0 || (r == -ENOENT && o->ignore))
			continue;
		app_complain(app, r, err);
		status = EXIT_FAILED;
	}
	r = app->json ? print_json(removing.records, err) : 0;
	json_free(removing.records);
	return r < 0 ? r : status;
}

const struct verb rmi_verb = {
	.name = "rmi",
	.args = "[OPTIONS] IMAGE...",
	.summary = "Remove references, and images with their last one",
	.example = "overlaid rmi nginx:latest 3f8a00f137a0",
	.options = rmi_options,
	.option_count = ARRAY_LEN(rmi_options),
	.options_size = sizeof(struct rmi_options),
	.min_args = 1,
	.max_args = ARGS_MANY,
	.run = rmi,
};
