/* SPDX-License-Identifier: Apache-2.0 */
/*
 * image_filter: `images --filter KEY=VALUE` and `images NAME[:TAG]`.
 *
 * reference, id: one of those given must fit. label: all of them. dangling, before, since: the last
 * one given counts. A pattern of a reference is compared with the familiar and the full name, each
 * with and without the tag; "*" does not match "/".
 */
#ifndef CMD_IMAGE_FILTER_H
#define CMD_IMAGE_FILTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cmd/options.h"
#include "driver/base/auto.h"
#include "driver/base/err.h"
#include "graph/overlaid.h"

struct image_filter {
	struct option_list patterns, ids, labels; /* point into the caller's words */
	const char *before_name, *since_name;
	int64_t before, since; /* created before and after that, where the names are set */
	bool by_dangling, dangling;
	char **labelled; /* ids of the images that have all the labels */
	size_t labelled_count;
};

/* Reads the words into a zeroed filter. -EINVAL with words. `pattern` may be NULL. */
int image_filter_parse(struct image_filter *filter, const struct option_list *words,
		       const char *pattern, struct err *err);
/* Asks the store what the filter needs to know; before image_filter_fits. */
int image_filter_prepare(struct image_filter *filter, struct overlaid *store, struct err *err);
void image_filter_release(struct image_filter *filter);
#define auto_image_filter AUTO(image_filter_release)

/* Whether the image is wanted under this reference (NULL: under none). */
bool image_filter_fits(const struct image_filter *filter, const struct overlaid_image *image,
		       const char *reference);

/* Whether a normalised reference fits the pattern. */
bool reference_fits(const char *reference, const char *pattern);

#endif
