/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/table.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

/* A row of cells, ended by NULL. */
static void row(struct table *table, const char *const *cells)
{
	for (; *cells; cells++)
		table_cell(table, *cells);
	table_end_row(table);
}

#define ROW(table, ...) row(table, (const char *const[]){ __VA_ARGS__, NULL })

static void prints(const struct table *table, const char *expected)
{
	auto_buf struct buf out = { 0 };

	assert_int_equal(table_print(table, &out, NULL), 0);
	assert_string_equal(buf_text(&out), expected);
}

static void columns_are_as_wide_as_docker_makes_them(void **state)
{
	auto_table struct table table = { 0 };

	ROW(&table, "REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE");
	ROW(&table, "nginx", "latest", "0123456789ab", "2 hours ago", "133MB");
	prints(&table, "REPOSITORY   TAG       IMAGE ID       CREATED       SIZE\n"
		       "nginx        latest    0123456789ab   2 hours ago   133MB\n");
}

static void no_line_ends_with_spaces(void **state)
{
	auto_table struct table table = { 0 };

	ROW(&table, "A", "B", "C");
	ROW(&table, "long enough to push", "", "");
	ROW(&table, "", "", "c");
	prints(&table,
	       "A                     B         C\nlong enough to push\n                                c\n");
}

static void width_is_counted_in_characters(void **state)
{
	auto_table struct table table = { 0 };

	ROW(&table, "\xc3\xa4\xc3\xb6\xc3\xbc\xc3\xa4\xc3\xb6\xc3\xbc\xc3\xa4\xc3\xb6", "x");
	ROW(&table, "12345678", "y");
	prints(&table,
	       "\xc3\xa4\xc3\xb6\xc3\xbc\xc3\xa4\xc3\xb6\xc3\xbc\xc3\xa4\xc3\xb6   x\n12345678   y\n");
}

static void control_characters_do_not_leave_their_cell(void **state)
{
	auto_table struct table table = { 0 };

	ROW(&table, "a\nb", "\033[1m");
	prints(&table, "a\\x0ab    \\x1b[1m\n");
}

static void an_empty_table_is_no_text(void **state)
{
	auto_table struct table table = { 0 };

	prints(&table, "");
	table_end_row(&table);
	prints(&table, "\n");
}

static void rows_may_be_many_and_of_different_length(void **state)
{
	auto_table struct table table = { 0 };
	auto_buf struct buf out = { 0 };

	for (int i = 0; i < 1000; i++)
		row(&table, i % 2 ? (const char *const[]){ "a", "b", NULL } :
				    (const char *const[]){ "c", NULL });
	assert_int_equal(table_print(&table, &out, NULL), 0);
	assert_int_equal(out.len, 500 * strlen("a         b\nc\n"));
	assert_memory_equal(out.data, "c\na         b\nc\n", 16);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(columns_are_as_wide_as_docker_makes_them),
		cmocka_unit_test(no_line_ends_with_spaces),
		cmocka_unit_test(width_is_counted_in_characters),
		cmocka_unit_test(control_characters_do_not_leave_their_cell),
		cmocka_unit_test(an_empty_table_is_no_text),
		cmocka_unit_test(rows_may_be_many_and_of_different_length),
	};

	return cmocka_run_group_tests_name("table", tests, NULL, NULL);
}
