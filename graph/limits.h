/* SPDX-License-Identifier: Apache-2.0 */
/*
 * limits: what an image from outside may contain; each a setting with a name, a default and words of
 * its own when it is exceeded.
 *
 *	setting = NAME "=" ( NUMBER [ K | M | G | T ] | "unlimited" )
 *	settings = [ setting *( "," setting ) ]		; $OVERLAID_LIMITS
 *
 * The table in limits.c is the one list of them. K is 1024, and so on, for what is counted in bytes;
 * "unlimited" is as much as can be at all. There is no setting that means nothing (0).
 */
#ifndef GRAPH_LIMITS_H
#define GRAPH_LIMITS_H

#include "driver/apply.h"
#include "graph/overlaid.h"

struct limits {
	struct apply_limits layer;
	uint64_t image_bytes;	/* contents of its distinct layers' files: 4 TiB */
	uint64_t image_entries; /* of its distinct layers: 50,000,000 */
	uint32_t layers;	/* distinct ones of an image: OVERLAY_LOWERS_MAX, the most that
				   overlayfs takes */
};

/* The defaults. */
void limits_init(struct limits *ret);

/* One setting. -EINVAL with words that say what is wrong, and what would be right. */
int limits_set(struct limits *limits, const char *setting, struct err *err);

/* Several, with commas between; "" is none. */
int limits_set_all(struct limits *limits, const char *settings, struct err *err);

/* $OVERLAID_LIMITS, then those of `options`. */
int limits_of_options(const struct overlaid_options *options, struct limits *ret, struct err *err);

/* -EFBIG where an image with so much in it is too large. */
int limits_check_image(const struct limits *limits, uint64_t bytes, uint64_t entries,
		       struct err *err);

#endif
