/* SPDX-License-Identifier: Apache-2.0 */
#include "graph/limits.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "driver/base/auto.h"
#include "driver/overlay.h"
#include "tests/unit/util.h"

static struct limits limits;
static struct err err;

static int begin(void **state)
{
	limits_init(&limits);
	err = (struct err){ 0 };
	return unsetenv("OVERLAID_LIMITS");
}

#define limits_test(f) cmocka_unit_test_setup(f, begin)

static void each_default_is_what_its_header_says(void **state)
{
	assert_int_equal(limits.layer.bytes, (uint64_t)1 << 40);
	assert_int_equal(limits.layer.entries, 10000000);
	assert_int_equal(limits.layer.file_bytes, (uint64_t)1 << 40);
	assert_int_equal(limits.layer.header_bytes, 8 << 20);
	assert_int_equal(limits.layer.path_bytes, 4095);
	assert_int_equal(limits.layer.path_depth, 1024);
	assert_int_equal(limits.layer.xattrs, 128);
	assert_int_equal(limits.layer.xattr_bytes, 65536);
	assert_int_equal(limits.layer.sparse_pieces, 262144);
	assert_int_equal(limits.layer.compression_ratio, 2000);
	assert_int_equal(limits.image_bytes, (uint64_t)4 << 40);
	assert_int_equal(limits.image_entries, 50000000);
	assert_int_equal(limits.layers, OVERLAY_LOWERS_MAX);
}

static void each_name_sets_its_own_limit(void **state)
{
	struct {
		const char *name;
		const void *at;
		size_t size;
	} cases[] = {
		{ "layer-bytes", &limits.layer.bytes, 8 },
		{ "layer-entries", &limits.layer.entries, 8 },
		{ "image-bytes", &limits.image_bytes, 8 },
		{ "image-entries", &limits.image_entries, 8 },
		{ "layers", &limits.layers, 4 },
		{ "file-bytes", &limits.layer.file_bytes, 8 },
		{ "path-bytes", &limits.layer.path_bytes, 4 },
		{ "path-depth", &limits.layer.path_depth, 4 },
		{ "xattrs", &limits.layer.xattrs, 4 },
		{ "xattr-bytes", &limits.layer.xattr_bytes, 4 },
		{ "header-bytes", &limits.layer.header_bytes, 8 },
		{ "sparse-pieces", &limits.layer.sparse_pieces, 4 },
		{ "compression-ratio", &limits.layer.compression_ratio, 4 },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct limits before = limits;
		char setting[64];
		uint64_t value = 0;

		(void)snprintf(setting, sizeof(setting), "%s=%zu", cases[i].name, 7 + i);
		assert_int_equal(limits_set(&limits, setting, &err), 0);
		memcpy(&value, cases[i].at, cases[i].size);
		assert_int_equal(value, 7 + i);
		/* And no other. */
		memcpy((char *)&before + ((const char *)cases[i].at - (const char *)&limits),
		       cases[i].at, cases[i].size);
		assert_memory_equal(&before, &limits, sizeof(limits));
	}
}

static void bytes_take_suffixes_and_counts_do_not(void **state)
{
	assert_int_equal(limits_set(&limits, "layer-bytes=3K", &err), 0);
	assert_int_equal(limits.layer.bytes, 3 << 10);
	assert_int_equal(limits_set(&limits, "layer-bytes=3m", &err), 0);
	assert_int_equal(limits.layer.bytes, 3 << 20);
	assert_int_equal(limits_set(&limits, "layer-bytes=3G", &err), 0);
	assert_int_equal(limits.layer.bytes, (uint64_t)3 << 30);
	assert_int_equal(limits_set(&limits, "layer-bytes=3T", &err), 0);
	assert_int_equal(limits.layer.bytes, (uint64_t)3 << 40);
	assert_int_equal(limits_set(&limits, "layer-entries=3K", &err), -EINVAL);
}

static void unlimited_is_as_much_as_can_be(void **state)
{
	assert_int_equal(limits_set(&limits, "layer-bytes=unlimited", &err), 0);
	assert_int_equal(limits.layer.bytes, UINT64_MAX);
	assert_int_equal(limits_set(&limits, "xattrs=unlimited", &err), 0);
	assert_int_equal(limits.layer.xattrs, UINT32_MAX);
	assert_int_equal(limits_set(&limits, "layers=unlimited", &err), 0);
	assert_int_equal(limits.layers, 500);
	assert_int_equal(limits_set(&limits, "path-bytes=unlimited", &err), 0);
	assert_int_equal(limits.layer.path_bytes, 4095);
}

static void values_that_are_none_are_refused_and_quoted(void **state)
{
	static const char *const wrong[] = {
		"layer-bytes",
		"layer-bytes=",
		"layer-bytes=0",
		"layer-bytes=-1",
		"layer-bytes= 1",
		"layer-bytes=1 ",
		"layer-bytes=K",
		"layer-bytes=1KK",
		"layer-bytes=1KB",
		"layer-bytes=1.5G",
		"layer-bytes=0x10",
		"layer-bytes=1\f",
		"layer-bytes=18446744073709551616",
		"layer-bytes=16777216T",
		"layers=501",
		"path-bytes=4096",
		"path-depth=4294967296",
		"xattr-bytes=64001K",
		"layer-bytes=Unlimited",
		"file-bytes=9223372036854775808",
	};
	const struct limits before = limits;

	for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
		if (limits_set(&limits, wrong[i], &err) != -EINVAL)
			fail_msg("%s was taken", wrong[i]);
		assert_words(&err, wrong[i]);
		assert_words(&err, "or unlimited");
		assert_memory_equal(&before, &limits, sizeof(limits));
	}
}

static void names_that_are_none_are_refused_with_those_there_are(void **state)
{
	static const char *const wrong[] = { "layer-byte=1",   "=1",	   "",
					     "layer-bytess=1", "LAYERS=1", "x",
					     "layer-bytes =1" };

	for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
		assert_int_equal(limits_set(&limits, wrong[i], &err), -EINVAL);
		assert_words(&err, "there is no limit");
		assert_words(&err, "layer-bytes, layer-entries");
	}
	assert_int_equal(limits_set(&limits, "layer-byte=1", &err), -EINVAL);
	assert_words(&err, "'layer-byte'");
}

static void a_long_setting_is_cut_in_the_words(void **state)
{
	char setting[4000];

	memset(setting, 'x', sizeof(setting));
	setting[sizeof(setting) - 1] = 0;
	assert_int_equal(limits_set(&limits, setting, &err), -EINVAL);
	assert_true(strlen(err.text) < 400);
	memcpy(setting, "layers=", 7);
	assert_int_equal(limits_set(&limits, setting, &err), -EINVAL);
	assert_true(strlen(err.text) < 400);
}

static void several_stand_with_commas_and_the_last_wins(void **state)
{
	assert_int_equal(limits_set_all(&limits, "", &err), 0);
	assert_int_equal(limits_set_all(&limits, "layers=3,xattrs=4,,layers=5,", &err), 0);
	assert_int_equal(limits.layers, 5);
	assert_int_equal(limits.layer.xattrs, 4);
	assert_int_equal(limits_set_all(&limits, "layers=3,bad=4", &err), -EINVAL);
	assert_words(&err, "'bad'");
	/* A name does not reach into the next setting. */
	assert_int_equal(limits_set_all(&limits, "layers,xattrs=4", &err), -EINVAL);
	assert_words(&err, "'layers'");
}

static void options_win_over_the_environment(void **state)
{
	static const char *const set[] = { "layers=6" };
	const struct overlaid_options options = { .limits = set, .limit_count = 1 }, none = { 0 };

	assert_int_equal(setenv("OVERLAID_LIMITS", "layers=5,xattrs=9", 1), 0);
	assert_int_equal(limits_of_options(&none, &limits, &err), 0);
	assert_int_equal(limits.layers, 5);
	assert_int_equal(limits_of_options(&options, &limits, &err), 0);
	assert_int_equal(limits.layers, 6);
	assert_int_equal(limits.layer.xattrs, 9);
	assert_int_equal(setenv("OVERLAID_LIMITS", "layers=0", 1), 0);
	assert_int_equal(limits_of_options(&options, &limits, &err), -EINVAL);
	assert_words(&err, "OVERLAID_LIMITS: ");
	assert_int_equal(limits.layers, 6);
}

static void an_image_is_what_it_has_in_all(void **state)
{
	assert_int_equal(limits_set_all(&limits, "image-bytes=100,image-entries=10", &err), 0);
	assert_int_equal(limits_check_image(&limits, 100, 10, &err), 0);
	assert_int_equal(limits_check_image(&limits, 101, 10, &err), -EFBIG);
	assert_words(&err, "larger than 100 bytes");
	assert_words(&err, "--limit image-bytes=N");
	assert_int_equal(limits_check_image(&limits, 100, 11, &err), -EFBIG);
	assert_words(&err, "more than 10 entries");
	assert_words(&err, "--limit image-entries=N");
}

static int count(void *arg, const struct overlaid_limit *limit)
{
	size_t *counts = arg;

	assert_true(limit->name && limit->bounds);
	assert_true(limit->standard >= 1 && limit->standard <= limit->max);
	counts[0]++;
	counts[1] += limit->value != limit->standard;
	return strcmp(limit->name, "xattrs") == 0 ? 77 : 0;
}

static void the_list_tells_defaults_and_values(void **state)
{
	static const char *const set[] = { "layers=6" }, *const wrong[] = { "layers=x" };
	const struct overlaid_options options = { .limits = set, .limit_count = 1 },
				      bad = { .limits = wrong, .limit_count = 1 };
	size_t counts[2] = { 0 };

	assert_int_equal(overlaid_limits(&options, count, counts, &err), 77);
	assert_true(counts[0] > 3);
	assert_int_equal(counts[1], 1);
	assert_int_equal(overlaid_limits(&bad, count, counts, &err), -EINVAL);
	assert_int_equal(overlaid_limits(&options, NULL, NULL, &err), 0);
	/* The environment is not asked. */
	assert_int_equal(setenv("OVERLAID_LIMITS", "nonsense", 1), 0);
	counts[1] = 0;
	assert_int_equal(overlaid_limits(NULL, count, counts, &err), 77);
	assert_int_equal(counts[1], 0);
	assert_int_equal(overlaid_limits(&options, NULL, NULL, &err), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		limits_test(each_default_is_what_its_header_says),
		limits_test(each_name_sets_its_own_limit),
		limits_test(bytes_take_suffixes_and_counts_do_not),
		limits_test(unlimited_is_as_much_as_can_be),
		limits_test(values_that_are_none_are_refused_and_quoted),
		limits_test(names_that_are_none_are_refused_with_those_there_are),
		limits_test(a_long_setting_is_cut_in_the_words),
		limits_test(several_stand_with_commas_and_the_last_wins),
		limits_test(options_win_over_the_environment),
		limits_test(an_image_is_what_it_has_in_all),
		limits_test(the_list_tells_defaults_and_values),
	};

	return cmocka_run_group_tests_name("limits", tests, NULL, begin);
}
