/* SPDX-License-Identifier: Apache-2.0 */
/* verbs: the table of commands, looking one up, and --help, which prints the table. */
#include "cmd/verbs.h"

#include <stdio.h>
#include <string.h>

#include "driver/base/auto.h"

#define NEAR	     2 /* edits that a typing mistake has at most */
#define NAME_MAX_LEN 24

const struct option global_options[] = {
	{ 0, "root", OPTION_TEXT, offsetof(struct app, root), "DIR",
	  "the store (default $OVERLAID_ROOT or /var/lib/overlaid)" },
	{ 0, "run", OPTION_TEXT, offsetof(struct app, run), "DIR",
	  "mount points (default $OVERLAID_RUN or /run/overlaid)" },
	{ 0, "json", OPTION_FLAG, offsetof(struct app, json), NULL,
	  "print JSON: whole ids, bytes, RFC 3339 times" },
	{ 'q', "quiet", OPTION_FLAG, offsetof(struct app, quiet), NULL,
	  "print ids only, and no progress" },
	{ 'D', "debug", OPTION_FLAG, offsetof(struct app, debug), NULL, "say more about failures" },
	{ 0, "durability", OPTION_TEXT, offsetof(struct app, durability), "full|none",
	  "none: do not wait for the disk (default full)" },
	{ 0, "progress", OPTION_TEXT, offsetof(struct app, progress_name), "MODE",
	  "auto, tty, plain, json or none (default auto)" },
	{ 0, "limit", OPTION_LIST, offsetof(struct app, limits), "NAME=VALUE",
	  "what images may contain: see 'overlaid help limits'" },
	{ 'h', "help", OPTION_FLAG, offsetof(struct app, help), NULL, "print this" },
	{ 'v', "version", OPTION_FLAG, offsetof(struct app, version), NULL, "print the version" },
};
const size_t global_option_count = ARRAY_LEN(global_options);

static const struct verb *const image_group[] = {
	&pull_verb,	   &load_verb,		&images_verb, &inspect_verb, &history_verb,
	&tree_verb,	   &layers_verb,	&tag_verb,    &untag_verb,   &rmi_verb,
	&image_mount_verb, &image_unmount_verb, NULL,
};
static const struct verb *const container_group[] = {
	&run_verb_entry, &create_verb, &ps_verb,     &mount_verb, &unmount_verb,
	&diff_verb,	 &rm_verb,     &bundle_verb, NULL,
};
static const struct verb *const registry_group[] = { &login_verb, &logout_verb, NULL };
static const struct verb *const serve_group[] = { &serve_verb, NULL };
static const struct verb *const system_group[] = { &df_verb, &gc_verb, &info_verb, &version_verb,
						   NULL };

const struct verb_group verb_groups[] = {
	{ "Images", image_group },	  { "Containers", container_group },
	{ "Registries", registry_group }, { "Runtimes", serve_group },
	{ "The store", system_group },	  { NULL, NULL },
};

/* `overlaid NOUN NAMES`, for those who are used to them. */
static const struct {
	const char *noun;
	const char *names;
	const struct verb *verb;
} noun_verbs[] = {
	{ "image", "pull", &pull_verb },
	{ "image", "ls list", &images_verb },
	{ "image", "load import", &load_verb },
	{ "image", "inspect", &inspect_verb },
	{ "image", "history", &history_verb },
	{ "image", "tree", &tree_verb },
	{ "image", "tag", &tag_verb },
	{ "image", "untag", &untag_verb },
	{ "image", "rm remove", &rmi_verb },
	{ "image", "mount", &image_mount_verb },
	{ "image", "umount unmount", &image_unmount_verb },
	{ "container", "run", &run_verb_entry },
	{ "container", "create", &create_verb },
	{ "container", "ls list ps", &ps_verb },
	{ "container", "inspect", &inspect_verb },
	{ "container", "mount", &mount_verb },
	{ "container", "umount unmount", &unmount_verb },
	{ "container", "diff", &diff_verb },
	{ "container", "rm remove", &rm_verb },
	{ "system", "df", &df_verb },
	{ "system", "gc", &gc_verb },
	{ "system", "info", &info_verb },
};

/* Whether `word` is one of the words of `names`. */
static bool has_word(const char *names, const char *word)
{
	size_t len = strlen(word);

	for (const char *p = names; p && *p; p += strcspn(p, " "), p += *p == ' ') {
		if (len > 0 && strcspn(p, " ") == len && strncmp(p, word, len) == 0)
			return true;
	}
	return false;
}

const struct verb *verb_find(const char *name)
{
	for (const struct verb_group *group = verb_groups; group->title; group++) {
		for (const struct verb *const *verb = group->verbs; *verb; verb++) {
			if (strcmp((*verb)->name, name) == 0 || has_word((*verb)->aliases, name))
				return *verb;
		}
	}
	return NULL;
}

const struct verb *verb_find_in(const char *noun, const char *name, bool *ret_noun_known)
{
	for (size_t i = 0; i < ARRAY_LEN(noun_verbs); i++) {
		if (strcmp(noun_verbs[i].noun, noun) != 0)
			continue;
		*ret_noun_known = true;
		if (has_word(noun_verbs[i].names, name))
			return noun_verbs[i].verb;
	}
	return NULL;
}

static size_t least(size_t a, size_t b, size_t c)
{
	size_t ab = a < b ? a : b;

	return ab < c ? ab : c;
}

/* Letters to insert, delete, replace, or swap with the next, to make one of the other. Both at most
 * NAME_MAX_LEN long. */
static size_t distance(const char *a, const char *b)
{
	size_t rows[3][NAME_MAX_LEN + 1]; /* of the last three prefixes of a */
	size_t len = strlen(b);

	for (size_t j = 0; j <= len; j++)
		rows[0][j] = j;
	for (size_t i = 1; i <= strlen(a); i++) {
		size_t *row = rows[i % 3];
		const size_t *above = rows[(i - 1) % 3];

		row[0] = i;
		for (size_t j = 1; j <= len; j++) {
			row[j] = least(above[j] + 1, row[j - 1] + 1,
				       above[j - 1] + (a[i - 1] != b[j - 1]));
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
				row[j] = least(row[j], rows[(i - 2) % 3][j - 2] + 1, SIZE_MAX);
		}
	}
	return rows[strlen(a) % 3][len];
}

static void consider(const char *typed, const char *name, const char **best, size_t *best_distance)
{
	size_t d = distance(typed, name);

	/* Two edits make any short word another one. */
	if (d >= *best_distance || d * 2 > strlen(name))
		return;
	*best = name;
	*best_distance = d;
}

const char *verb_suggest(const char *typed)
{
	size_t best_distance = NEAR + 1;
	const char *best = NULL;

	if (!*typed || strlen(typed) > NAME_MAX_LEN)
		return NULL;
	for (const struct verb_group *group = verb_groups; group->title; group++) {
		for (const struct verb *const *verb = group->verbs; *verb; verb++)
			consider(typed, (*verb)->name, &best, &best_distance);
	}
	for (size_t i = 0; i < ARRAY_LEN(noun_verbs); i++)
		consider(typed, noun_verbs[i].noun, &best, &best_distance);
	return best;
}

/* "  -q, --quiet" or "      --root DIR", and its help in a column. */
static void print_option(const struct option *option)
{
	char words[80];
	char letter[6] = "    ";

	if (!option->help)
		return;
	if (option->letter)
		(void)snprintf(letter, sizeof(letter), "-%c%s", option->letter,
			       option->name ? ", " : "");
	(void)snprintf(words, sizeof(words), "%s%s%s%s%s", letter, option->name ? "--" : "",
		       option->name ? option->name : "", option->value ? " " : "",
		       option->value ? option->value : "");
	(void)printf("  %-26s  %s\n", words, option->help);
}

static void print_options(const char *title, const struct option *options, size_t count)
{
	(void)printf("\n%s:\n", title);
	for (size_t i = 0; i < count; i++)
		print_option(&options[i]);
}

void help_program(void)
{
	(void)fputs(
		"Usage: overlaid [OPTIONS] COMMAND [ARGUMENTS]\n\n"
		"Container images as overlayfs layers: each layer once on disk, stacked and mounted.\n",
		stdout);
	for (const struct verb_group *group = verb_groups; group->title; group++) {
		(void)printf("\n%s:\n", group->title);
		for (const struct verb *const *verb = group->verbs; *verb; verb++)
			(void)printf("  %-14s  %s\n", (*verb)->name, (*verb)->summary);
	}
	print_options("Options, before or after the command", global_options, global_option_count);
	(void)fputs(
		"\n'overlaid COMMAND --help' says more. 'overlaid image ls' and the like work too.\n",
		stdout);
}

/* 8M where that is exact. */
static int print_limit(void *arg, const struct overlaid_limit *limit)
{
	static const char *const suffixes[] = { "", "K", "M", "G", "T" };
	uint64_t value = limit->standard;
	size_t power = 0;
	char text[32];

	while (limit->bytes && power + 1 < ARRAY_LEN(suffixes) && value % 1024 == 0) {
		value /= 1024;
		power++;
	}
	(void)snprintf(text, sizeof(text), "%llu%s", (unsigned long long)value, suffixes[power]);
	(void)printf("  %-18s  %-10s  %s\n", limit->name, text, limit->bounds);
	return 0;
}

void help_limits(void)
{
	(void)fputs("Limits of what an image may contain, as it is loaded\n\n"
		    "  --limit NAME=VALUE, before or after the command, as often as wanted\n"
		    "  OVERLAID_LIMITS=\"NAME=VALUE,...\" in the environment; --limit wins\n\n"
		    "VALUE is a number, for bytes also with K, M, G or T behind it; or unlimited.\n\n"
		    "  NAME                DEFAULT     OF WHAT\n",
		    stdout);
	(void)overlaid_limits(NULL, print_limit, NULL, NULL);
}

void help_noun(const char *noun)
{
	(void)printf("Usage: overlaid %s COMMAND [ARGUMENTS]\n\n", noun);
	for (size_t i = 0; i < ARRAY_LEN(noun_verbs); i++) {
		const char *names = noun_verbs[i].names;

		if (strcmp(noun_verbs[i].noun, noun) == 0)
			(void)printf("  %-14.*s  %s\n", (int)strcspn(names, " "), names,
				     noun_verbs[i].verb->summary);
	}
}

void help_verb(const struct verb *verb)
{
	(void)printf("Usage: overlaid %s %s\n\n%s\n", verb->name, verb->args, verb->summary);
	if (verb->aliases)
		(void)printf("\nAlso called: %s\n", verb->aliases);
	if (verb->option_count)
		print_options("Options", verb->options, verb->option_count);
	if (verb->example)
		(void)printf("\nExample:\n  %s\n", verb->example);
	(void)fputs("\nOptions of every command: overlaid --help\n", stdout);
}
