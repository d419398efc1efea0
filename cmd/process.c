/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/process.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEFAULT_PATH "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

static void list_release(struct text_list *list)
{
	for (size_t i = 0; i < list->count; i++)
		free(list->items[i]);
	free(list->items);
	*list = (struct text_list){ 0 };
}

void process_release(struct process *process)
{
	int saved = errno;

	list_release(&process->args);
	list_release(&process->env);
	free(process->cwd);
	free(process->user);
	*process = (struct process){ 0 };
	errno = saved;
}

static int push(struct text_list *list, const char *text, struct err *err)
{
	char **items = realloc(list->items, (list->count + 2) * sizeof(*items));

	if (!items)
		return fail_oom(err);
	list->items = items;
	items[list->count] = strdup(text);
	items[list->count + 1] = NULL;
	return items[list->count] ? (list->count++, 0) : fail_oom(err);
}

static int push_config(struct text_list *list, const struct json *config, const char *path,
		       struct err *err)
{
	const struct json *texts = json_get(config, path);
	int r = 0;

	if (!texts || texts->type == JSON_NULL)
		return 0;
	if (texts->type != JSON_ARRAY)
		return fail(err, -EINVAL, "the image's config: %s is not a list", path);
	for (size_t i = 0; r == 0 && i < texts->count; i++) {
		if (texts->items[i]->type != JSON_STRING)
			return fail(err, -EINVAL, "the image's config: %s/%zu is not text", path,
				    i);
		r = push(list, texts->items[i]->string, err);
	}
	return r;
}

/* Where the variable stands whose name is that of `variable`, up to its "="; NULL: nowhere. */
static char **find_env(const struct process *process, const char *variable)
{
	size_t len = strcspn(variable, "=");

	for (size_t i = 0; i < process->env.count; i++) {
		char *item = process->env.items[i];

		if (strncmp(item, variable, len) == 0 && item[len] == '=')
			return &process->env.items[i];
	}
	return NULL;
}

int process_set_env(struct process *process, const char *variable, struct err *err)
{
	char **found = find_env(process, variable);
	char *copy;

	if (!found)
		return push(&process->env, variable, err);
	copy = strdup(variable);
	if (!copy)
		return fail_oom(err);
	free(*found);
	*found = copy;
	return 0;
}

const char *process_get_env(const struct process *process, const char *name)
{
	char **found = find_env(process, name);

	return found ? strchr(*found, '=') + 1 : NULL;
}

static int set_named(struct process *process, const char *name, const char *value, struct err *err)
{
	auto_buf struct buf text = { 0 };

	(void)buf_printf(&text, "%s=%s", name, value);
	return text.status ? fail_oom(err) : process_set_env(process, buf_text(&text), err);
}

static int set_wanted(struct process *process, const struct option_list *wanted, struct err *err)
{
	int r = 0;

	for (size_t i = 0; wanted && r == 0 && i < wanted->count; i++) {
		const char *word = wanted->items[i];
		const char *here = strchr(word, '=') ? NULL : getenv(word);

		if (!*word || *word == '=')
			return fail(err, -EINVAL, "-e takes KEY=VALUE or KEY, not '%.100s'", word);
		if (strchr(word, '='))
			r = process_set_env(process, word, err);
		else if (here)
			r = set_named(process, word, here, err);
	}
	return r;
}

/* The user's wishes over the image's settings over ours. */
static int make_env(const struct json *config, const struct wishes *wishes, struct process *process,
		    struct err *err)
{
	struct text_list image = { 0 };
	const char *term = wishes->terminal ? getenv("TERM") : NULL;
	int r = process_set_env(process, DEFAULT_PATH, err);

	if (r == 0 && wishes->hostname)
		r = set_named(process, "HOSTNAME", wishes->hostname, err);
	if (r == 0 && term)
		r = set_named(process, "TERM", term, err);
	if (r == 0)
		r = push_config(&image, config, "/config/Env", err);
	for (size_t i = 0; r == 0 && i < image.count; i++) {
		if (strchr(image.items[i],
			   '=')) /* others name nothing; docker drops them as well */
			r = process_set_env(process, image.items[i], err);
	}
	list_release(&image);
	return r < 0 ? r : set_wanted(process, wishes->env, err);
}

/* Entrypoint, then the command; the image's Cmd only belongs to its own Entrypoint. */
static int make_args(const struct json *config, const struct wishes *wishes,
		     struct process *process, struct err *err)
{
	int r = 0;

	if (!wishes->entrypoint)
		r = push_config(&process->args, config, "/config/Entrypoint", err);
	else if (*wishes->entrypoint)
		r = push(&process->args, wishes->entrypoint, err);
	for (size_t i = 0; r == 0 && i < wishes->command_count; i++)
		r = push(&process->args, wishes->command[i], err);
	if (r == 0 && wishes->command_count == 0 && !wishes->entrypoint)
		r = push_config(&process->args, config, "/config/Cmd", err);
	if (r == 0 && process->args.count == 0)
		return fail(
			err, -EINVAL,
			"no command: the image states neither Entrypoint nor Cmd; name one after the image");
	if (r == 0 && !*process->args.items[0])
		return fail(err, -EINVAL, "the command is empty text");
	return r;
}

int process_make(const struct json *config, const struct wishes *wishes, struct process *ret,
		 struct err *err)
{
	auto_process struct process process = { 0 };
	const char *cwd = wishes->workdir ? wishes->workdir :
					    json_string_or(config, "/config/WorkingDir", "");
	const char *user = wishes->user ? wishes->user : json_string_or(config, "/config/User", "");
	int r = make_args(config, wishes, &process, err);

	if (r == 0)
		r = make_env(config, wishes, &process, err);
	if (r < 0)
		return r;
	if (*cwd && *cwd != '/')
		return fail(err, -EINVAL, "the working directory '%.200s' is not an absolute path",
			    cwd);
	process.cwd = strdup(*cwd ? cwd : "/");
	process.user = strdup(user);
	if (!process.cwd || !process.user)
		return fail_oom(err);
	*ret = process;
	process = (struct process){ 0 };
	return 0;
}
