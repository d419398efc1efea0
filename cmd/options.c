/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/options.h"

#include <stdlib.h>
#include <string.h>

#include "driver/base/auto.h"

struct words {
	char **items;
	size_t count, at; /* at: the next to read */
};

bool bool_parse(const char *text, bool *ret)
{
	static const char *const yes[] = { "true", "1", "t", "T", "TRUE", "True" };
	static const char *const no[] = { "false", "0", "f", "F", "FALSE", "False" };

	for (size_t i = 0; i < ARRAY_LEN(yes); i++) {
		if (strcmp(text, yes[i]) != 0 && strcmp(text, no[i]) != 0)
			continue;
		*ret = strcmp(text, yes[i]) == 0;
		return true;
	}
	return false;
}

static int append(struct option_list *list, const char *value, struct err *err)
{
	const char **items = realloc(list->items, (list->count + 1) * sizeof(*items));

	if (!items)
		return fail_oom(err);
	items[list->count++] = value;
	list->items = items;
	return 0;
}

/* `shown` is the option as the user wrote it, for the words. */
static int store(const struct option *option, void *base, const char *value, const char *shown,
		 struct err *err)
{
	char *target = (char *)base + option->offset;
	bool on = true;

	switch (option->type) {
	case OPTION_FLAG:
	case OPTION_OFF:
		if (value && !bool_parse(value, &on))
			return fail(err, -EINVAL, "%s takes true or false, not '%s'", shown, value);
		*(bool *)target = on == (option->type == OPTION_FLAG);
		return 0;
	case OPTION_TEXT:
		*(const char **)target = value;
		return 0;
	case OPTION_LIST:
		return append((struct option_list *)target, value, err);
	}
	return 0;
}

static const struct option *find_long(const struct option_set *sets, size_t set_count,
				      const char *name, size_t len, void **ret_base)
{
	for (size_t s = 0; s < set_count; s++) {
		for (size_t i = 0; i < sets[s].count; i++) {
			const struct option *option = &sets[s].options[i];

			if (!option->name || strlen(option->name) != len ||
			    strncmp(option->name, name, len) != 0)
				continue;
			*ret_base = sets[s].base;
			return option;
		}
	}
	return NULL;
}

static const struct option *find_short(const struct option_set *sets, size_t set_count, char letter,
				       void **ret_base)
{
	for (size_t s = 0; s < set_count; s++) {
		for (size_t i = 0; i < sets[s].count; i++) {
			if (sets[s].options[i].letter != letter)
				continue;
			*ret_base = sets[s].base;
			return &sets[s].options[i];
		}
	}
	return NULL;
}

static bool takes_value(const struct option *option)
{
	return option->type == OPTION_TEXT || option->type == OPTION_LIST;
}

/* The value of an option that needs one: what stands behind it in its word, else the next word. */
static const char *value_of(struct words *words, const char *inside)
{
	if (inside)
		return inside;
	return words->at < words->count ? words->items[words->at++] : NULL;
}

static int parse_long(const struct option_set *sets, size_t set_count, struct words *words,
		      const char *word, struct err *err)
{
	const char *name = word + 2;
	const char *equals = strchr(name, '=');
	size_t len = equals ? (size_t)(equals - name) : strlen(name);
	const char *value = equals ? equals + 1 : NULL;
	const struct option *option;
	void *base = NULL;
	char shown[64];

	(void)snprintf(shown, sizeof(shown), "--%.*s", len < 60 ? (int)len : 60, name);
	option = find_long(sets, set_count, name, len, &base);
	if (!option)
		return fail(err, -EINVAL, "unknown option %s", shown);
	if (takes_value(option)) {
		value = value_of(words, value);
		if (!value)
			return fail(err, -EINVAL, "option %s needs a value: %s", shown,
				    option->value);
	}
	return store(option, base, value, shown, err);
}

static int parse_letters(const struct option_set *sets, size_t set_count, struct words *words,
			 const char *word, struct err *err)
{
	for (const char *p = word + 1; *p; p++) {
		char shown[3] = { '-', *p, 0 };
		const struct option *option;
		const char *value = NULL;
		void *base = NULL;
		int r;

		option = find_short(sets, set_count, *p, &base);
		if (!option && word[2])
			return fail(err, -EINVAL, "unknown option %s in %.60s", shown, word);
		if (!option)
			return fail(err, -EINVAL, "unknown option %s", shown);
		if (p[1] == '=')
			value = p + 2;
		else if (takes_value(option) && p[1])
			value = p + 1;
		if (takes_value(option)) {
			value = value_of(words, value);
			if (!value)
				return fail(err, -EINVAL, "option %s needs a value: %s", shown,
					    option->value);
		}
		r = store(option, base, value, shown, err);
		if (r < 0 || value)
			return r;
	}
	return 0;
}

int options_parse(const struct option_set *sets, size_t set_count, size_t stop_after, char **words,
		  size_t count, size_t *ret_count, struct err *err)
{
	struct words in = { .items = words, .count = count };
	size_t kept = 0;

	while (in.at < count) {
		char *word = words[in.at];
		bool is_option = word[0] == '-' && word[1];
		int r;

		if (kept >= stop_after && (stop_after > 0 || !is_option))
			break;
		in.at++;
		if (!is_option) {
			words[kept++] = word;
			continue;
		}
		if (strcmp(word, "--") == 0)
			break;
		if (word[1] == '-')
			r = parse_long(sets, set_count, &in, word, err);
		else
			r = parse_letters(sets, set_count, &in, word, err);
		if (r < 0)
			return r;
	}
	while (in.at < count)
		words[kept++] = words[in.at++];
	*ret_count = kept;
	return 0;
}

void options_release(const struct option_set *set)
{
	for (size_t i = 0; i < set->count; i++) {
		struct option_list *list;

		if (set->options[i].type != OPTION_LIST)
			continue;
		list = (struct option_list *)(void *)((char *)set->base + set->options[i].offset);
		free(list->items);
		*list = (struct option_list){ 0 };
	}
}
