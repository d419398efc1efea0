/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/table.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/format.h"

#define COLUMN_MIN 10
#define COLUMN_GAP 3

void table_release(struct table *table)
{
	int saved = errno;

	buf_release(&table->text);
	free(table->row_cells);
	*table = (struct table){ 0 };
	errno = saved;
}

/* Makes sure that the row being filled has its counter. */
static bool open_row(struct table *table)
{
	size_t cap = table->row_cap ? table->row_cap * 2 : 16;
	size_t *cells;

	if (table->row_count < table->row_cap)
		return true;
	cells = realloc(table->row_cells, cap * sizeof(*cells));
	if (!cells) {
		table->status = -ENOMEM;
		return false;
	}
	memset(cells + table->row_cap, 0, (cap - table->row_cap) * sizeof(*cells));
	table->row_cells = cells;
	table->row_cap = cap;
	return true;
}

void table_cell(struct table *table, const char *text)
{
	if (!open_row(table))
		return;
	append_visible(&table->text, text, 0);
	(void)buf_putc(&table->text, 0);
	table->row_cells[table->row_count]++;
}

void table_end_row(struct table *table)
{
	if (open_row(table))
		table->row_count++;
}

static size_t *column_widths(const struct table *table)
{
	const char *cell = buf_text(&table->text);
	size_t columns = 1;
	size_t *widths;

	for (size_t row = 0; row < table->row_count; row++)
		columns = table->row_cells[row] > columns ? table->row_cells[row] : columns;
	widths = calloc(columns, sizeof(*widths));
	for (size_t row = 0; widths && row < table->row_count; row++) {
		for (size_t i = 0; i < table->row_cells[row]; i++, cell += strlen(cell) + 1) {
			size_t width = text_columns(cell) + COLUMN_GAP;

			widths[i] = width > widths[i] ? width : widths[i];
		}
	}
	return widths;
}

static void pad(struct buf *out, size_t spaces)
{
	char *to = buf_room(out, spaces);

	if (!to)
		return;
	memset(to, ' ', spaces);
	buf_end(out, spaces);
}

int table_print(const struct table *table, struct buf *out, struct err *err)
{
	auto_free size_t *widths = NULL;
	const char *cell = buf_text(&table->text);

	if (table->status || table->text.status)
		return fail_oom(err);
	widths = column_widths(table);
	if (!widths)
		return fail_oom(err);
	for (size_t row = 0; row < table->row_count; row++) {
		size_t owed = 0; /* spaces, paid only where something follows */

		for (size_t i = 0; i < table->row_cells[row]; i++, cell += strlen(cell) + 1) {
			size_t width = widths[i] < COLUMN_MIN ? COLUMN_MIN : widths[i];

			if (*cell) {
				pad(out, owed);
				owed = 0;
			}
			(void)buf_puts(out, cell);
			owed += width - text_columns(cell);
		}
		(void)buf_putc(out, '\n');
	}
	return buf_status(out, err);
}
