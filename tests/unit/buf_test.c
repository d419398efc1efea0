/* SPDX-License-Identifier: Apache-2.0 */
#include "driver/base/buf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

static void appended_pieces_are_one_text(void **state)
{
	auto_buf struct buf b = { 0 };

	assert_int_equal(buf_append(&b, "layers", 3), 0);
	assert_int_equal(buf_puts(&b, "ers "), 0);
	assert_int_equal(buf_putc(&b, '='), 0);
	assert_int_equal(buf_printf(&b, " %d of %s", 7, "nginx"), 0);
	assert_string_equal(buf_text(&b), "layers = 7 of nginx");
	assert_int_equal(b.len, strlen("layers = 7 of nginx"));
	assert_int_equal(buf_status(&b, NULL), 0);
}

static void text_of_an_empty_buffer_is_empty(void **state)
{
	auto_buf struct buf b = { 0 };

	assert_string_equal(buf_text(&b), "");
	assert_int_equal(buf_append(&b, NULL, 0), 0);
	assert_string_equal(buf_text(&b), "");
}

static void bytes_may_be_nul(void **state)
{
	auto_buf struct buf b = { 0 };

	assert_int_equal(buf_append(&b, "a\0b", 3), 0);
	assert_int_equal(b.len, 3);
	assert_memory_equal(b.data, "a\0b", 4);
}

static void growing_keeps_every_byte(void **state)
{
	auto_buf struct buf b = { 0 };

	for (unsigned int i = 0; i < 300000; i++)
		assert_int_equal(buf_putc(&b, (char)(i % 251)), 0);
	assert_int_equal(b.len, 300000);
	for (unsigned int i = 0; i < 300000; i++)
		assert_int_equal((unsigned char)b.data[i], i % 251);
	assert_int_equal(b.data[b.len], 0);
}

static void exactly_the_maximum_fits(void **state)
{
	auto_buf struct buf b = { .max = 4 };

	assert_int_equal(buf_puts(&b, "1234"), 0);
	assert_string_equal(buf_text(&b), "1234");
	assert_int_equal(buf_append(&b, "", 0), 0);
}

static void over_the_maximum_the_contents_stay(void **state)
{
	auto_buf struct buf b = { .max = 4 };

	assert_int_equal(buf_puts(&b, "123"), 0);
	assert_int_equal(buf_puts(&b, "45"), -EFBIG);
	assert_string_equal(buf_text(&b), "123");
	assert_int_equal(buf_printf(&b, "%d", 45), -EFBIG);
	assert_string_equal(buf_text(&b), "123");
}

static void a_failure_is_remembered_until_reset(void **state)
{
	auto_buf struct buf b = { .max = 4 };
	struct err err = { 0 };

	assert_int_equal(buf_puts(&b, "12345"), -EFBIG);
	assert_int_equal(buf_puts(&b, "1"), -EFBIG); /* it would fit */
	assert_null(buf_room(&b, 1));
	assert_string_equal(buf_text(&b), "");
	assert_int_equal(buf_status(&b, &err), -EFBIG);
	assert_non_null(strstr(err.text, "4 bytes"));

	buf_reset(&b);
	assert_int_equal(buf_status(&b, NULL), 0);
	assert_int_equal(buf_puts(&b, "1"), 0);
	assert_string_equal(buf_text(&b), "1");
}

static void reset_keeps_the_memory(void **state)
{
	auto_buf struct buf b = { 0 };
	const char *data;

	assert_int_equal(buf_puts(&b, "text"), 0);
	data = b.data;
	buf_reset(&b);
	assert_string_equal(buf_text(&b), "");
	assert_ptr_equal(b.data, data);
}

static void the_default_maximum_holds(void **state)
{
	auto_buf struct buf b = { 0 };

	assert_null(buf_room(&b, BUF_MAX_DEFAULT + 1));
	assert_int_equal(b.status, -EFBIG);
	buf_reset(&b);
	assert_null(buf_room(&b, SIZE_MAX)); /* and no sum overflows */
	assert_int_equal(b.status, -EFBIG);
	buf_reset(&b);
	assert_non_null(buf_room(&b, BUF_MAX_DEFAULT));
}

/* Sanitizers end the program where malloc would return NULL, unless told. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
	return "allocator_may_return_null=1";
}

const char *__tsan_default_options(void);
const char *__tsan_default_options(void)
{
	return "allocator_may_return_null=1";
}

static void memory_that_runs_out_is_remembered(void **state)
{
	auto_buf struct buf b = { .max = SIZE_MAX / 2 };
	struct err err = { 0 };

	assert_int_equal(buf_puts(&b, "kept"), 0);
	assert_null(buf_room(&b, SIZE_MAX / 4));
	assert_int_equal(buf_status(&b, &err), -ENOMEM);
	assert_string_equal(err.text, "out of memory");
	assert_string_equal(buf_text(&b), "kept");
	assert_null(buf_take(&b));
}

static void room_is_written_and_ended(void **state)
{
	auto_buf struct buf b = { 0 };
	char *to;

	assert_int_equal(buf_puts(&b, "ab"), 0);
	to = buf_room(&b, 1000);
	assert_non_null(to);
	assert_string_equal(buf_text(&b), "ab");
	memset(to, 'x', 1000);
	buf_end(&b, 3);
	assert_string_equal(buf_text(&b), "abxxx");
	assert_int_equal(b.len, 5);
}

static void take_hands_the_text_on(void **state)
{
	auto_buf struct buf b = { .max = 100 };
	auto_free char *text = NULL;
	auto_free char *empty = NULL;

	assert_int_equal(buf_puts(&b, "text"), 0);
	text = buf_take(&b);
	assert_string_equal(text, "text");
	assert_null(b.data);
	assert_int_equal(b.len, 0);
	assert_int_equal(b.max, 100);

	empty = buf_take(&b);
	assert_string_equal(empty, "");
}

static void printf_knows_errno(void **state)
{
	auto_buf struct buf b = { 0 };

	errno = ENOENT;
	assert_int_equal(buf_printf(&b, "open: %m"), 0);
	assert_string_equal(buf_text(&b), "open: No such file or directory");
}

static void release_keeps_errno(void **state)
{
	struct buf b = { 0 };

	assert_int_equal(buf_puts(&b, "text"), 0);
	errno = ENOTTY;
	buf_release(&b);
	assert_int_equal(errno, ENOTTY);
	assert_null(b.data);
	buf_release(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(appended_pieces_are_one_text),
		cmocka_unit_test(text_of_an_empty_buffer_is_empty),
		cmocka_unit_test(bytes_may_be_nul),
		cmocka_unit_test(growing_keeps_every_byte),
		cmocka_unit_test(exactly_the_maximum_fits),
		cmocka_unit_test(over_the_maximum_the_contents_stay),
		cmocka_unit_test(a_failure_is_remembered_until_reset),
		cmocka_unit_test(reset_keeps_the_memory),
		cmocka_unit_test(the_default_maximum_holds),
		cmocka_unit_test(memory_that_runs_out_is_remembered),
		cmocka_unit_test(room_is_written_and_ended),
		cmocka_unit_test(take_hands_the_text_on),
		cmocka_unit_test(printf_knows_errno),
		cmocka_unit_test(release_keeps_errno),
	};

	return cmocka_run_group_tests_name("buf", tests, NULL, NULL);
}
