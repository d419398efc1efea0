/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/listing.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cmd/format.h"
#include "cmd/table.h"
#include "cmd/template.h"
#include "cmd/template_call.h"

static bool is_json(const char *format)
{
	return format && (strcmp(format, "json") == 0 || strcmp(format, "{{json .}}") == 0);
}

bool listing_for_programs(const struct app *app, const char *format)
{
	return (app->json && (!format || !*format)) || (format && strcmp(format, "json") == 0);
}

static bool to_terminal(void)
{
	static int known = -1;

	if (known < 0)
		known = isatty(STDOUT_FILENO);
	return known == 1;
}

static void print_bytes(const struct buf *text)
{
	if (text->len)
		(void)fwrite(text->data, 1, text->len, stdout); /* main looks at ferror(3) */
}

void print_text(const char *text)
{
	auto_buf struct buf visible = { 0 };

	if (!to_terminal()) {
		(void)fputs(text, stdout);
		return;
	}
	append_visible(&visible, text, ESCAPE_KEEP_NEWLINE | ESCAPE_KEEP_TAB);
	print_bytes(&visible);
}

int print_json(const struct json *value, struct err *err)
{
	auto_buf struct buf text = { 0 };
	int r;

	if (!value)
		return fail_oom(err);
	r = json_print(value, 4, &text, err);
	if (r < 0)
		return r;
	(void)buf_putc(&text, '\n');
	print_bytes(&text);
	return buf_status(&text, err);
}

/* A field's value as a cell shows it: a list with commas. */
static void cell(struct table *table, const struct json *value)
{
	auto_buf struct buf text = { 0 };

	if (!value || value->type == JSON_NULL) {
		table_cell(table, "");
		return;
	}
	if (value->type == JSON_ARRAY) {
		for (size_t i = 0; i < value->count; i++) {
			(void)buf_puts(&text, i ? ", " : "");
			value_print(value->items[i], &text);
		}
	} else {
		value_print(value, &text);
	}
	table_cell(table, buf_text(&text));
}

static bool is_shown(const struct listing_field *field, const char *const *also)
{
	if (!field->hidden)
		return true;
	for (; also && *also; also++) {
		if (strcmp(*also, field->name) == 0)
			return true;
	}
	return false;
}

static int print_table(const struct listing *listing, const struct json *records,
		       const struct listing_how *how, struct err *err)
{
	auto_table struct table table = { 0 };
	auto_buf struct buf text = { 0 };
	int r;

	for (size_t i = 0; !how->no_heading && i < listing->count; i++) {
		if (is_shown(&listing->fields[i], how->also))
			table_cell(&table, listing->fields[i].heading);
	}
	if (!how->no_heading)
		table_end_row(&table);
	for (size_t row = 0; row < records->count; row++) {
		for (size_t i = 0; i < listing->count; i++) {
			if (is_shown(&listing->fields[i], how->also))
				cell(&table,
				     json_get_key(records->items[row], listing->fields[i].name));
		}
		table_end_row(&table);
	}
	r = table_print(&table, &text, err);
	if (r == 0)
		print_bytes(&text);
	return r;
}

/* The row of headings, as the same template makes it of the fields' headings. */
static struct json *heading_record(const struct listing *listing)
{
	struct json *record = json_new_object();

	for (size_t i = 0; i < listing->count; i++)
		record = json_set(record, listing->fields[i].name,
				  json_new_string(listing->fields[i].heading));
	return record;
}

/* Tabs of the line divide it into cells. */
static void add_line(struct table *table, char *line)
{
	for (char *tab; (tab = strchr(line, '\t')); line = tab + 1) {
		*tab = 0;
		table_cell(table, line);
	}
	table_cell(table, line);
	table_end_row(table);
}

static int add_rendered(struct table *table, const struct template *t, const struct json *record,
			struct err *err)
{
	auto_buf struct buf line = { 0 };
	int r = record ? template_run(t, record, &line, err) : fail_oom(err);
	char *p, *end;

	if (r < 0)
		return r;
	(void)buf_putc(&line, '\n');
	r = buf_status(&line, err);
	for (p = line.data; r == 0 && (end = strchr(p, '\n')); p = end + 1) {
		*end = 0;
		add_line(table, p);
	}
	return r;
}

static int print_template_table(const struct listing *listing, const struct json *records,
				const struct listing_how *how, struct err *err)
{
	auto_template struct template *t = NULL;
	auto_table struct table table = { 0 };
	auto_json struct json *headings = heading_record(listing);
	auto_buf struct buf text = { 0 };
	int r = template_new(how->format + strlen("table "), &t, err);

	if (r == 0 && !how->no_heading)
		r = add_rendered(&table, t, headings, err);
	for (size_t i = 0; r == 0 && i < records->count; i++)
		r = add_rendered(&table, t, records->items[i], err);
	if (r == 0)
		r = table_print(&table, &text, err);
	if (r == 0)
		print_bytes(&text);
	return r;
}

static int print_template(const struct template *t, const struct json *record, struct err *err)
{
	auto_buf struct buf text = { 0 };
	int r = template_run(t, record, &text, err);

	if (r < 0)
		return r;
	print_text(buf_text(&text));
	(void)putchar('\n');
	return 0;
}

int listing_print_one(const struct json *record, const char *format, struct err *err)
{
	auto_template struct template *t = NULL;
	int r;

	if (!record)
		return fail_oom(err);
	if (is_json(format))
		return print_json(record, err);
	r = template_new(format, &t, err);
	return r < 0 ? r : print_template(t, record, err);
}

int listing_print(const struct app *app, const struct listing *listing, const struct json *records,
		  const struct listing_how *how, struct err *err)
{
	auto_template struct template *t = NULL;
	int r;

	if (!records)
		return fail_oom(err);
	if (listing_for_programs(app, how->format))
		return print_json(records, err);
	if (!how->format || !*how->format || strcmp(how->format, "table") == 0)
		return print_table(listing, records, how, err);
	if (strncmp(how->format, "table ", strlen("table ")) == 0)
		return print_template_table(listing, records, how, err);
	r = template_new(how->format, &t, err);
	for (size_t i = 0; r == 0 && i < records->count; i++)
		r = print_template(t, records->items[i], err);
	return r;
}
