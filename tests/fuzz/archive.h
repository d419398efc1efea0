/* SPDX-License-Identifier: Apache-2.0 */
/*
 * archive: tars for the fuzz targets: made of nothing, and put right after bytes in them were changed,
 * so that a wrong checksum isn't all that a reader ever sees.
 */
#ifndef TESTS_FUZZ_ARCHIVE_H
#define TESTS_FUZZ_ARCHIVE_H

#include <stddef.h>
#include <stdint.h>

#define ARCHIVE_BLOCK 512

/* Where fields of a header begin, and how long they are (POSIX pax, "ustar Interchange Format"). */
struct archive_field {
	size_t at, len;
};
extern const struct archive_field archive_fields[];
extern const size_t archive_field_count;

/* A ustar header: 0644, root, time 1; `link` may be NULL. */
void archive_put_header(uint8_t h[ARCHIVE_BLOCK], const char *name, char type, uint64_t size,
			const char *link);

/* Text into a field, cut where it is too long. */
void archive_put_text(uint8_t h[ARCHIVE_BLOCK], struct archive_field field, const char *text);

/* Makes the checksum that of the header. */
void archive_put_checksum(uint8_t h[ARCHIVE_BLOCK]);

/* "LENGTH KEY=VALUE\n" at `to`; returns its length, or 0 where there is no room. */
size_t archive_put_pax(uint8_t *to, size_t room, const char *key, const void *value, size_t len);

/* How much of `data` the entry at its beginning takes up: its header and, by what that says, whole blocks
 * of contents; a block of zeros; or all there is. */
size_t archive_entry_len(const uint8_t *data, size_t len);

/* Puts the checksums of all headers right. */
void archive_fix(uint8_t *data, size_t len);

#endif
