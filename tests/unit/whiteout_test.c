/* SPDX-License-Identifier: Apache-2.0 */
#include "driver/whiteout.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <sys/sysmacros.h>
#include <cmocka.h>

#include "driver/base/auto.h"
#include "tests/unit/sandbox.h"
#include "tests/unit/util.h"

static void names_mean_what_the_specification_says(void **state)
{
	static const struct {
		const char *name;
		enum whiteout_kind kind;
		const char *hidden;
	} names[] = {
		{ "passwd", WHITEOUT_NONE, NULL },
		{ ".wh", WHITEOUT_NONE, NULL },
		{ "x.wh.y", WHITEOUT_NONE, NULL },
		{ "", WHITEOUT_NONE, NULL },
		{ ".wh.passwd", WHITEOUT_NAME, "passwd" },
		{ ".wh....", WHITEOUT_NAME, "..." },
		{ ".wh..hidden", WHITEOUT_NAME, ".hidden" },
		{ ".wh..wh", WHITEOUT_NAME, ".wh" },
		{ ".wh..wh..opq", WHITEOUT_OPAQUE, NULL },
		{ ".wh..wh..opq2", WHITEOUT_SKIP, NULL },
		{ ".wh..wh.plnk", WHITEOUT_SKIP, NULL },
		{ ".wh..wh.aufs", WHITEOUT_SKIP, NULL },
		{ ".wh..wh.orph", WHITEOUT_SKIP, NULL },
		{ ".wh.", WHITEOUT_INVALID, NULL },
		{ ".wh..", WHITEOUT_INVALID, NULL },
		{ ".wh...", WHITEOUT_INVALID, NULL },
	};

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		const char *hidden = NULL;

		assert_int_equal(whiteout_parse(names[i].name, &hidden), names[i].kind);
		if (names[i].hidden)
			assert_string_equal(hidden, names[i].hidden);
		else
			assert_null(hidden);
	}
}

static void a_made_one_is_a_character_device_0_0(void **state)
{
	struct err err = { 0 };
	struct stat st;

	needs_root();
	assert_int_equal(whiteout_create(AT_FDCWD, "gone", &err), 0);
	st = look("gone");
	assert_true(S_ISCHR(st.st_mode));
	assert_int_equal(st.st_mode & 07777, 0);
	assert_int_equal(major(st.st_rdev), 0);
	assert_int_equal(minor(st.st_rdev), 0);
	assert_true(whiteout_is(&st));
	assert_int_equal(whiteout_create(AT_FDCWD, "gone", &err), -EEXIST);
	assert_words(&err, "gone");
}

static void other_devices_are_not_whiteouts(void **state)
{
	struct stat st;

	needs_root();
	assert_int_equal(mknod("null", S_IFCHR | 0666, makedev(1, 3)), 0);
	assert_int_equal(mknod("block", S_IFBLK | 0666, makedev(0, 0)), 0);
	put_file("file", "");
	st = look("null");
	assert_false(whiteout_is(&st));
	st = look("block");
	assert_false(whiteout_is(&st));
	st = look("file");
	assert_false(whiteout_is(&st));
}

static void opaque_marks_are_in_the_namespace_asked_for(void **state)
{
	auto_close int trusted = -EBADF, user = -EBADF;

	needs_root();
	put_dir("trusted");
	put_dir("user");
	trusted = open_dir("trusted", O_RDONLY);
	user = open_dir("user", O_RDONLY);
	assert_int_equal(whiteout_set_opaque(trusted, OVERLAY_XATTRS_TRUSTED, NULL), 0);
	assert_int_equal(whiteout_set_opaque(user, OVERLAY_XATTRS_USER, NULL), 0);
	assert_xattr("trusted", "trusted.overlay.opaque", "y", 1);
	assert_xattr("user", "user.overlay.opaque", "y", 1);
	assert_true(whiteout_is_opaque(trusted, OVERLAY_XATTRS_TRUSTED));
	assert_false(whiteout_is_opaque(trusted, OVERLAY_XATTRS_USER));
	assert_true(whiteout_is_opaque(user, OVERLAY_XATTRS_USER));
	assert_false(whiteout_is_opaque(user, OVERLAY_XATTRS_TRUSTED));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_mean_what_the_specification_says),
		sandbox_test(a_made_one_is_a_character_device_0_0),
		sandbox_test(other_devices_are_not_whiteouts),
		sandbox_test(opaque_marks_are_in_the_namespace_asked_for),
	};

	return cmocka_run_group_tests_name("whiteout", tests, sandbox_enter, sandbox_leave);
}
