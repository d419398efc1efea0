/* SPDX-License-Identifier: Apache-2.0 */
/* pull: images from a registry, or from what containers-transports(5) names. */
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>

#include "cmd/listing.h"
#include "cmd/record.h"
#include "cmd/registry.h"
#include "cmd/verbs.h"

struct pull_options {
	struct registry_flags registry;
	const char *platform, *os, *arch, *variant, *policy, *blobs;
	bool all_tags, foreign;
};

static const struct option pull_options[] = {
	{ 'a', "all-tags", OPTION_FLAG, offsetof(struct pull_options, all_tags), NULL,
	  "every tag of the repository" },
	{ 0, "platform", OPTION_TEXT, offsetof(struct pull_options, platform), "OS/ARCH",
	  "of an image for several (default this machine's)" },
	{ 0, "os", OPTION_TEXT, offsetof(struct pull_options, os), "OS", "part of --platform" },
	{ 0, "arch", OPTION_TEXT, offsetof(struct pull_options, arch), "ARCH",
	  "part of --platform" },
	{ 0, "variant", OPTION_TEXT, offsetof(struct pull_options, variant), "VARIANT",
	  "part of --platform" },
	{ 0, "policy", OPTION_TEXT, offsetof(struct pull_options, policy), "POLICY",
	  "when to ask the registry: always, missing, newer, never (default always)" },
	{ 0, "creds", OPTION_TEXT, offsetof(struct pull_options, registry.creds), "USER:PASSWORD",
	  "instead of what 'overlaid login' keeps" },
	REGISTRY_ACCESS_OPTIONS(struct pull_options, registry),
	{ 0, "retry", OPTION_TEXT, offsetof(struct pull_options, registry.retry), "N",
	  "further tries in a row that bring nothing (default 5)" },
	{ 0, "retry-delay", OPTION_TEXT, offsetof(struct pull_options, registry.retry_delay),
	  "SECONDS", "before the first, then doubled (default 1)" },
	{ 0, "stall-timeout", OPTION_TEXT, offsetof(struct pull_options, registry.stall_timeout),
	  "SECONDS", "slower than --min-speed for so long: another try (default 30)" },
	{ 0, "min-speed", OPTION_TEXT, offsetof(struct pull_options, registry.min_speed), "BYTES",
	  "a second (default 1024)" },
	{ 0, "max-downloads", OPTION_TEXT, offsetof(struct pull_options, registry.max_downloads),
	  "N", "layers at once (default 6)" },
	{ 0, "blobs", OPTION_TEXT, offsetof(struct pull_options, blobs), "keep|discard",
	  "keep: layers also as they came, compressed; more disk (default discard)" },
	{ 0, "allow-foreign-layers", OPTION_FLAG, offsetof(struct pull_options, foreign), NULL,
	  "also layers that may not be distributed, from where the manifest says" },
};

struct pulling {
	struct app *app;
	struct json *records; /* NULL unless --json */
};

static struct json *record_pulled(const struct overlaid_pulled *pulled)
{
	struct json *record = json_new_object();

	record = json_set(record, "ID", json_new_string(pulled->image_id));
	record = json_set(record, "Reference", json_new_string(pulled->reference));
	record = json_set(record, "Digest", json_new_string(pulled->digest));
	record = json_set(record, "Downloaded", json_new_bool(pulled->downloaded));
	record = json_set(record, "Layers", json_new_int((int64_t)pulled->layers));
	record = json_set(record, "LayersExtracted",
			  json_new_int((int64_t)pulled->layers_extracted));
	return json_set(record, "BytesFetched", json_new_int((int64_t)pulled->bytes_fetched));
}

static int say_pulled(void *arg, const struct overlaid_pulled *pulled)
{
	struct pulling *p = arg;
	auto_free char *familiar = familiar_name(pulled->reference);
	const char *name = familiar && familiar[0] ? familiar : pulled->image_id;

	progress_pause(&p->app->progress);
	if (p->app->json) {
		p->records = json_push(p->records, record_pulled(pulled));
		return 0;
	}
	if (p->app->quiet) {
		(void)puts(pulled->image_id);
		return 0;
	}
	if (pulled->digest[0])
		(void)printf("Digest: %s\n", pulled->digest);
	(void)printf("Status: %s %s\n",
		     pulled->downloaded ? "Downloaded newer image for" : "Image is up to date for",
		     name);
	(void)puts(pulled->reference[0] ? pulled->reference : pulled->image_id);
	(void)fflush(stdout); /* the next one may take a while */
	return 0;
}

static int parse_policy(const char *text, enum overlaid_pull_policy *ret, struct err *err)
{
	static const struct {
		const char *name;
		enum overlaid_pull_policy policy;
	} policies[] = {
		{ "always", OVERLAID_PULL_ALWAYS },
		{ "missing", OVERLAID_PULL_MISSING },
		{ "newer", OVERLAID_PULL_NEWER },
		{ "never", OVERLAID_PULL_NEVER },
	};

	for (size_t i = 0; text && i < ARRAY_LEN(policies); i++)
		if (strcmp(policies[i].name, text) == 0) {
			*ret = policies[i].policy;
			return 0;
		}
	return text ? fail(err, -EINVAL, "--policy is always, missing, newer or never, not '%.60s'",
			   text) :
		      0;
}

/* --os, --arch and --variant as --platform; "" where none is given. */
static int join_platform(const struct pull_options *o, char ret[200], struct err *err)
{
	struct utsname machine;

	ret[0] = '\0';
	if (!o->os && !o->arch && !o->variant)
		return 0;
	if (o->platform)
		return fail(err, -EINVAL,
			    "--platform says all that --os, --arch and --variant say");
	(void)uname(&machine);
	(void)snprintf(ret, 200, "%.60s/%.60s%s%.60s", o->os ? o->os : "linux",
		       o->arch ? o->arch : machine.machine, o->variant ? "/" : "",
		       o->variant ? o->variant : "");
	return 0;
}

static int read_options(const struct pull_options *o, char platform[200], struct overlaid_pull *ret,
			struct err *err)
{
	int r = parse_policy(o->policy, &ret->policy, err);

	if (r >= 0)
		r = join_platform(o, platform, err);
	if (r >= 0)
		r = registry_settings(&o->registry, &ret->registry, err);
	ret->platform = platform[0] ? platform : o->platform;
	ret->all_tags = o->all_tags;
	ret->foreign_layers = o->foreign;
	ret->keep_blobs = o->blobs && strcmp(o->blobs, "keep") == 0;
	if (r >= 0 && o->blobs && !ret->keep_blobs && strcmp(o->blobs, "discard") != 0)
		r = fail(err, -EINVAL, "--blobs is keep or discard, not '%.60s'", o->blobs);
	return r;
}

static int pull(struct app *app, const void *opts, char **args, size_t count, struct err *err)
{
	struct overlaid_pull pull = { .policy = OVERLAID_PULL_ALWAYS };
	struct pulling pulling = { .app = app };
	struct overlaid *store;
	char platform[200] = "";
	int r = read_options(opts, platform, &pull, err);

	if (r < 0)
		return app_usage(app, "%s", err->text);
	r = app_store(app, &store, err);
	if (r < 0)
		return r;
	pulling.records = app->json ? json_new_array() : NULL;
	for (size_t i = 0; r >= 0 && i < count; i++) {
		pull.source = args[i];
		r = overlaid_pull(store, &pull, say_pulled, &pulling, err);
		progress_pause(&app->progress);
	}
	if (r >= 0 && app->json)
		r = print_json(pulling.records, err);
	json_free(pulling.records);
	return r;
}

const struct verb pull_verb = {
	.name = "pull",
	.args = "[OPTIONS] IMAGE|TRANSPORT:SOURCE...",
	.summary = "Get images from a registry",
	.example = "overlaid pull nginx    overlaid pull --platform linux/arm64 ghcr.io/me/app:v1",
	.options = pull_options,
	.option_count = ARRAY_LEN(pull_options),
	.options_size = sizeof(struct pull_options),
	.min_args = 1,
	.max_args = ARGS_MANY,
	.run = pull,
};
