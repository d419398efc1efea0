/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/image_config.h"

#include <string.h>

int image_config_load(struct overlaid *store, const char *name, struct json **ret, struct err *err)
{
	auto_free char *bytes = NULL;
	size_t len;
	int r;

	r = overlaid_image_blob(store, name, OVERLAID_BLOB_CONFIG, &bytes, &len, err);
	if (r < 0)
		return r;
	return json_parse(bytes, len, IMAGE_CONFIG_MAX, "the image's config", ret, err);
}

bool image_config_has_label(const struct json *config, const char *label)
{
	const struct json *labels = json_get(config, "/config/Labels");
	const char *equals = strchr(label, '=');
	size_t key_len = equals ? (size_t)(equals - label) : strlen(label);

	if (!labels || labels->type != JSON_OBJECT)
		return false;
	for (size_t i = 0; i < labels->count; i++) {
		const struct json *value = labels->items[i];

		if (strlen(labels->keys[i]) != key_len ||
		    strncmp(labels->keys[i], label, key_len) != 0)
			continue;
		return !equals ||
		       (value->type == JSON_STRING && strcmp(value->string, equals + 1) == 0);
	}
	return false;
}
