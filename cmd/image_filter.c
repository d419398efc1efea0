/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/image_filter.h"

#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/image_config.h"

static int add(struct option_list *list, const char *value, struct err *err)
{
	const char **items = realloc(list->items, (list->count + 1) * sizeof(*items));

	if (!items)
		return fail_oom(err);
	items[list->count++] = value;
	list->items = items;
	return 0;
}

static int parse_one(struct image_filter *filter, const char *word, struct err *err)
{
	const char *value = strchr(word, '=');
	size_t len = value ? (size_t)(value - word) : 0;
	char key[16] = "";

	if (!value || !*++value)
		return fail(err, -EINVAL, "--filter takes KEY=VALUE, not '%.100s'", word);
	(void)snprintf(key, sizeof(key), "%.*s", len < sizeof(key) ? (int)len : 0, word);
	if (strcmp(key, "reference") == 0)
		return add(&filter->patterns, value, err);
	if (strcmp(key, "id") == 0)
		return add(&filter->ids, value, err);
	if (strcmp(key, "label") == 0)
		return add(&filter->labels, value, err);
	if (strcmp(key, "before") == 0) {
		filter->before_name = value;
	} else if (strcmp(key, "since") == 0) {
		filter->since_name = value;
	} else if (strcmp(key, "dangling") == 0) {
		filter->by_dangling = true;
		if (!bool_parse(value, &filter->dangling))
			return fail(err, -EINVAL,
				    "--filter dangling= takes true or false, not '%.100s'", value);
	} else {
		return fail(
			err, -EINVAL,
			"no filter '%.*s'; there are: before, dangling, id, label, reference, since",
			(int)len, word);
	}
	return 0;
}

int image_filter_parse(struct image_filter *filter, const struct option_list *words,
		       const char *pattern, struct err *err)
{
	int r = pattern ? add(&filter->patterns, pattern, err) : 0;

	for (size_t i = 0; r == 0 && i < words->count; i++)
		r = parse_one(filter, words->items[i], err);
	return r;
}

void image_filter_release(struct image_filter *filter)
{
	int saved = errno;

	for (size_t i = 0; i < filter->labelled_count; i++)
		free(filter->labelled[i]);
	free(filter->labelled);
	free(filter->patterns.items);
	free(filter->ids.items);
	free(filter->labels.items);
	*filter = (struct image_filter){ 0 };
	errno = saved;
}

static int note_created(void *arg, const struct overlaid_image *image)
{
	*(int64_t *)arg = image->created;
	return 0;
}

static int note_id(void *arg, const struct overlaid_image *image)
{
	struct image_filter *filter = arg;
	char **ids = realloc(filter->labelled, (filter->labelled_count + 1) * sizeof(*ids));

	if (!ids)
		return -ENOMEM;
	filter->labelled = ids;
	ids[filter->labelled_count] = strdup(image->id);
	return ids[filter->labelled_count++] ? 0 : -ENOMEM;
}

/* 1: the image has all labels. */
static int has_labels(const struct image_filter *filter, struct overlaid *store, const char *id,
		      struct err *err)
{
	auto_json struct json *config = NULL;
	int r = image_config_load(store, id, &config, err);

	if (r == -ENOENT) /* removed a moment ago */
		return 0;
	for (size_t i = 0; r == 0 && i < filter->labels.count; i++) {
		if (!image_config_has_label(config, filter->labels.items[i]))
			return 0;
	}
	return r < 0 ? r : 1;
}

static int find_labelled(struct image_filter *filter, struct overlaid *store, struct err *err)
{
	size_t kept = 0;
	int r = overlaid_images(store, note_id, filter, err);

	for (size_t i = 0; r >= 0 && i < filter->labelled_count; i++) {
		char *id = filter->labelled[i];

		r = has_labels(filter, store, id, err);
		filter->labelled[i] = filter->labelled[kept];
		filter->labelled[kept] = id;
		kept += r > 0;
	}
	for (size_t i = kept; i < filter->labelled_count; i++)
		free(filter->labelled[i]);
	filter->labelled_count = kept;
	return r < 0 ? r : 0;
}

int image_filter_prepare(struct image_filter *filter, struct overlaid *store, struct err *err)
{
	int r = 0;

	if (filter->before_name)
		r = overlaid_image_get(store, filter->before_name, note_created, &filter->before,
				       err);
	if (r == 0 && filter->since_name)
		r = overlaid_image_get(store, filter->since_name, note_created, &filter->since,
				       err);
	if (r == 0 && filter->labels.count)
		r = find_labelled(filter, store, err);
	return r;
}

bool reference_fits(const char *reference, const char *pattern)
{
	struct overlaid_reference parsed;
	char text[sizeof(parsed.repository) + sizeof(parsed.tag) + sizeof(parsed.digest)];
	const char *names[2] = { parsed.familiar, parsed.repository };

	if (overlaid_reference_parse(reference, &parsed, NULL) < 0)
		return fnmatch(pattern, reference, FNM_PATHNAME) == 0;
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		if (fnmatch(pattern, names[i], FNM_PATHNAME) == 0)
			return true;
		(void)snprintf(text, sizeof(text), "%s%s%s%s%s", names[i], parsed.tag[0] ? ":" : "",
			       parsed.tag, parsed.digest[0] ? "@" : "", parsed.digest);
		if (fnmatch(pattern, text, FNM_PATHNAME) == 0)
			return true;
	}
	return false;
}

static bool fits_reference(const struct image_filter *filter, const char *reference)
{
	for (size_t i = 0; i < filter->patterns.count; i++) {
		if (reference && reference_fits(reference, filter->patterns.items[i]))
			return true;
	}
	return filter->patterns.count == 0;
}

static bool fits_id(const struct image_filter *filter, const char *id)
{
	const char *hex = strchr(id, ':') ? strchr(id, ':') + 1 : id;

	for (size_t i = 0; i < filter->ids.count; i++) {
		const char *want = filter->ids.items[i];

		if (strncmp(id, want, strlen(want)) == 0 || strncmp(hex, want, strlen(want)) == 0)
			return true;
	}
	return filter->ids.count == 0;
}

static bool fits_labels(const struct image_filter *filter, const char *id)
{
	for (size_t i = 0; i < filter->labelled_count; i++) {
		if (strcmp(filter->labelled[i], id) == 0)
			return true;
	}
	return filter->labels.count == 0;
}

bool image_filter_fits(const struct image_filter *filter, const struct overlaid_image *image,
		       const char *reference)
{
	if (filter->by_dangling && filter->dangling != (image->reference_count == 0))
		return false;
	if (filter->before_name && image->created >= filter->before)
		return false;
	if (filter->since_name && image->created <= filter->since)
		return false;
	return fits_reference(filter, reference) && fits_id(filter, image->id) &&
	       fits_labels(filter, image->id);
}
