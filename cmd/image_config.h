/* SPDX-License-Identifier: Apache-2.0 */
/* image_config: an image's config, parsed, and what the verbs look for in it. */
#ifndef CMD_IMAGE_CONFIG_H
#define CMD_IMAGE_CONFIG_H

#include "driver/base/err.h"
#include "driver/base/json.h"
#include "graph/overlaid.h"

#define IMAGE_CONFIG_MAX ((size_t)16 << 20)

/* The config of the image that `name` means. *ret is the caller's. */
int image_config_load(struct overlaid *store, const char *name, struct json **ret, struct err *err);

/* Whether the image has the label: "key" with any value, or "key=value". */
bool image_config_has_label(const struct json *config, const char *label);

#endif
