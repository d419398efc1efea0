/* SPDX-License-Identifier: Apache-2.0 */
/*
 * contents_internal: what the writer (contents.c) and the reader (contents_read.c) share.
 */
#ifndef DRIVER_CONTENTS_INTERNAL_H
#define DRIVER_CONTENTS_INTERNAL_H

#include <stdbool.h>

#include "driver/contents.h"

#define CONTENTS_LINE_1	 "#mtree"
#define CONTENTS_VERSION "# overlaid contents "
#define CONTENTS_LINE_2	 CONTENTS_VERSION "1"
#define CONTENTS_REMOVAL "#removed "
#define CONTENTS_END	 "# end "

#define CONTENTS_TIME_DIGITS 9 /* of the nanoseconds */

/* The word after "type=", for those that have one: up to CONTENTS_FIFO. */
extern const char *const contents_type_words[CONTENTS_FIFO + 1];

/* Whether it is resolved, as the grammar has it; "" is the root. */
bool contents_path_valid(const char *path);

#endif
