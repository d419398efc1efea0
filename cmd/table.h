/* SPDX-License-Identifier: Apache-2.0 */
/*
 * table: rows of cells, printed in columns as docker prints them: each column as wide as its widest
 * cell and three spaces, at least ten, nothing after the last. Control characters in cells are made
 * visible.
 */
#ifndef CMD_TABLE_H
#define CMD_TABLE_H

#include <stddef.h>

#include "driver/base/buf.h"

struct table {
	struct buf text;   /* the cells, each with a NUL behind it */
	size_t *row_cells; /* how many cells each row has */
	size_t row_count, row_cap;
	int status; /* 0 or -ENOMEM */
};

/* A zeroed struct table is an empty one. */
void table_release(struct table *table);
#define auto_table AUTO(table_release)

/* A cell of the row that table_end_row ends. Text is copied. */
void table_cell(struct table *table, const char *text);
void table_end_row(struct table *table);

/* Appends the whole table to `out`. 0 or -ENOMEM, also where a cell was lost before. */
int table_print(const struct table *table, struct buf *out, struct err *err);

#endif
