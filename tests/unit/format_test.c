/* SPDX-License-Identifier: Apache-2.0 */
/* What is expected is what docker prints (docker/go-units). */
#include "cmd/format.h"
#include "driver/base/auto.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>

static void sizes_are_decimal_with_three_digits(void **state)
{
	static const struct {
		uint64_t bytes;
		const char *text;
	} sizes[] = {
		{ 0, "0B" },
		{ 1, "1B" },
		{ 999, "999B" },
		{ 1000, "1kB" },
		{ 1500, "1.5kB" },
		{ 12345, "12.3kB" },
		{ 132999999, "133MB" },
		{ 999999, "1MB" },
		{ 999499, "999kB" },
		{ 1841000000, "1.84GB" },
		{ UINT64_MAX, "18.4EB" },
	};

	for (size_t i = 0; i < ARRAY_LEN(sizes); i++)
		assert_string_equal(format_size(sizes[i].bytes, 3).text, sizes[i].text);
	assert_string_equal(format_size(1841239, 4).text, "1.841MB");
	assert_string_equal(format_size(98050, 4).text, "98.05kB");
}

static void ages_are_said_as_docker_says_them(void **state)
{
	static const struct {
		int64_t seconds;
		const char *text;
	} ages[] = {
		{ -5, "Less than a second ago" },
		{ 0, "Less than a second ago" },
		{ 1, "1 second ago" },
		{ 59, "59 seconds ago" },
		{ 60, "About a minute ago" },
		{ 119, "About a minute ago" },
		{ 120, "2 minutes ago" },
		{ 3599, "59 minutes ago" },
		{ 3600, "About an hour ago" },
		{ 7200, "2 hours ago" },
		{ 47 * 3600, "47 hours ago" },
		{ 48 * 3600, "2 days ago" },
		{ 13 * 86400, "13 days ago" },
		{ 14 * 86400, "2 weeks ago" },
		{ 60 * 86400, "2 months ago" },
		{ 730 * 86400, "2 years ago" },
	};

	for (size_t i = 0; i < ARRAY_LEN(ages); i++)
		assert_string_equal(format_ago(1700000000 - ages[i].seconds, 1700000000).text,
				    ages[i].text);
	assert_string_equal(format_ago(0, 1700000000).text, "N/A");
}

static void times_are_those_of_the_c_library(void **state)
{
	static const int64_t times[] = { 0,	      -1,	    951782400,
					 951868799,   1709164800,   4107542399,
					 -2208988800, -62135596800, 253402300799 };

	for (size_t i = 0; i < ARRAY_LEN(times); i++) {
		time_t t = (time_t)times[i];
		char expected[40];
		struct tm tm;
		int64_t back;

		assert_non_null(gmtime_r(&t, &tm));
		(void)snprintf(expected, sizeof(expected), "%04d-%02d-%02dT%02d:%02d:%02dZ",
			       tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min,
			       tm.tm_sec);
		assert_string_equal(format_rfc3339(times[i]).text, expected);
		assert_true(parse_rfc3339(expected, &back));
		assert_int_equal(back, times[i]);
	}
	assert_string_equal(format_created_at(1700000000).text, "2023-11-14 22:13:20 +0000 UTC");
}

static void times_with_fractions_and_offsets_are_read(void **state)
{
	static const char *const wrong[] = { "",
					     "2023",
					     "2023-11-14",
					     "2023-11-14T22:13:20",
					     "2023-13-14T22:13:20Z",
					     "2023-00-14T22:13:20Z",
					     "2023-11-14T22:13:20+0100",
					     "2023-11-14T22:13:20Zz" };
	int64_t seconds = 7;

	assert_true(parse_rfc3339("2023-11-14T22:13:20.123456789Z", &seconds));
	assert_int_equal(seconds, 1700000000);
	assert_true(parse_rfc3339("2023-11-15T00:13:20+02:00", &seconds));
	assert_int_equal(seconds, 1700000000);
	assert_true(parse_rfc3339("2023-11-14T21:43:20-00:30", &seconds));
	assert_int_equal(seconds, 1700000000);
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
		assert_false(parse_rfc3339(wrong[i], &seconds));
	assert_int_equal(seconds, 1700000000);
}

static void ids_are_cut_to_twelve_digits(void **state)
{
	assert_string_equal(format_short_id("sha256:0123456789abcdef").text, "0123456789ab");
	assert_string_equal(format_short_id("0123456789abcdef").text, "0123456789ab");
	assert_string_equal(format_short_id("abc").text, "abc");
}

static void shares_are_cut_not_rounded(void **state)
{
	assert_int_equal(percent_of(0, 0), 0);
	assert_int_equal(percent_of(2, 3), 66);
	assert_int_equal(percent_of(5, 5), 100);
	assert_int_equal(percent_of(UINT64_MAX / 2, UINT64_MAX), 50);
}

static void shows(const char *text, unsigned int flags, const char *expected)
{
	auto_buf struct buf out = { 0 };

	append_visible(&out, text, flags);
	assert_string_equal(buf_text(&out), expected);
}

static void nothing_printed_drives_a_terminal(void **state)
{
	shows("plain, \xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80", 0,
	      "plain, \xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80");
	shows("\033[2J\r\a\x7f", 0, "\\x1b[2J\\x0d\\x07\\x7f");
	shows("\xc2\x9b"
	      "31m",
	      0, "\\xc2\\x9b31m"); /* CSI as one character of C1 */
	shows("\x9b\xff\xc3", 0, "\\x9b\\xff\\xc3");
	shows("\xc0\xaf\xed\xa0\x80", 0, "\\xc0\\xaf\\xed\\xa0\\x80"); /* overlong, surrogate */
	shows("a\tb\nc", 0, "a\\x09b\\x0ac");
	shows("a\tb\nc", ESCAPE_KEEP_NEWLINE | ESCAPE_KEEP_TAB, "a\tb\nc");
}

static void columns_are_characters(void **state)
{
	assert_int_equal(text_columns(""), 0);
	assert_int_equal(text_columns("a\xc3\xa4\xe2\x82\xac"), 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sizes_are_decimal_with_three_digits),
		cmocka_unit_test(ages_are_said_as_docker_says_them),
		cmocka_unit_test(times_are_those_of_the_c_library),
		cmocka_unit_test(times_with_fractions_and_offsets_are_read),
		cmocka_unit_test(ids_are_cut_to_twelve_digits),
		cmocka_unit_test(shares_are_cut_not_rounded),
		cmocka_unit_test(nothing_printed_drives_a_terminal),
		cmocka_unit_test(columns_are_characters),
	};

	return cmocka_run_group_tests_name("format", tests, NULL, NULL);
}
