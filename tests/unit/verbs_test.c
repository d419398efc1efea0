/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/image_config.h"
#include "cmd/image_filter.h"
#include "cmd/verbs.h"
#include "driver/base/auto.h"
#include "tests/unit/util.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#define for_each_verb(group, verb)                                                \
	for (const struct verb_group *group = verb_groups; group->title; group++) \
		for (const struct verb *const *verb = group->verbs; *verb; verb++)

static void verbs_are_found_by_name_and_alias(void **state)
{
	assert_ptr_equal(verb_find("images"), &images_verb);
	assert_ptr_equal(verb_find("unmount"), &unmount_verb);
	assert_ptr_equal(verb_find("containers"), &ps_verb);
	assert_null(verb_find("container"));
	assert_null(verb_find(""));
	assert_null(verb_find("image"));
}

static void nouns_have_their_own_verbs(void **state)
{
	bool known = false;

	assert_ptr_equal(verb_find_in("image", "ls", &known), &images_verb);
	assert_ptr_equal(verb_find_in("image", "umount", &known), &image_unmount_verb);
	assert_ptr_equal(verb_find_in("container", "rm", &known), &rm_verb);
	assert_true(known);
	assert_null(verb_find_in("image", "ps", &known));
	known = false;
	assert_null(verb_find_in("volume", "ls", &known));
	assert_false(known);
}

static void mistyped_verbs_are_recognised(void **state)
{
	assert_string_equal(verb_suggest("imagse"), "images");
	assert_string_equal(verb_suggest("inspct"), "inspect");
	assert_string_equal(verb_suggest("laod"), "load");
	assert_string_equal(verb_suggest("contianer"), "container");
	assert_null(verb_suggest("xyzzy"));
	assert_null(verb_suggest("a"));
	assert_null(verb_suggest(""));
	assert_null(verb_suggest("a-word-that-is-longer-than-any-verb-there-is"));
}

static void every_verb_says_what_it_is(void **state)
{
	for_each_verb(group, verb)
	{
		const struct verb *v = *verb;

		assert_true(v->summary && v->args && v->example && v->run);
		assert_true(v->min_args <= v->max_args);
		assert_true(v->options_size <= OPTIONS_SIZE_MAX);
		assert_true(v->option_count == 0 || v->options_size > 0);
		assert_true(v->example && strstr(v->example, "overlaid "));
	}
}

static void no_option_is_there_twice(void **state)
{
	for_each_verb(group, verb)
	{
		const struct option *options = (*verb)->options;

		for (size_t i = 0; i < (*verb)->option_count; i++) {
			for (size_t k = 0; k < i; k++) {
				assert_true(!options[i].letter ||
					    options[i].letter != options[k].letter);
				assert_string_not_equal(options[i].name, options[k].name);
			}
			assert_true(options[i].offset < (*verb)->options_size);
		}
	}
}

static void patterns_fit_familiar_and_full_names(void **state)
{
	static const char nginx[] = "docker.io/library/nginx:1.25",
			  web[] = "registry.example.com:5000/team/web:latest";

	assert_true(reference_fits(nginx, "nginx"));
	assert_true(reference_fits(nginx, "nginx:1.*"));
	assert_true(reference_fits(nginx, "docker.io/library/nginx"));
	assert_true(reference_fits(nginx, "docker.io/*/nginx:1.25"));
	assert_true(reference_fits(web, "*/team/web"));
	assert_false(reference_fits(nginx, "ngin"));
	assert_false(reference_fits(nginx, "nginx:1.26"));
	assert_false(reference_fits(web, "*"));
	assert_false(reference_fits(web, "web"));
}

static void filters_are_read_and_mistakes_named(void **state)
{
	const char *good[] = { "reference=a", "reference=b", "label=x=y", "dangling=true",
			       "before=c" };
	const char *bad[][1] = {
		{ "nonsense=1" }, { "reference" }, { "reference=" }, { "dangling=maybe" }
	};
	const char *why[] = { "no filter 'nonsense'; there are: before",
			      "KEY=VALUE, not 'reference'", "KEY=VALUE", "true or false" };
	auto_image_filter struct image_filter filter = { 0 };
	struct option_list list = { good, ARRAY_LEN(good) };

	assert_int_equal(image_filter_parse(&filter, &list, "nginx", NULL), 0);
	assert_int_equal(filter.patterns.count, 3);
	assert_string_equal(filter.labels.items[0], "x=y");
	assert_true(filter.by_dangling && filter.dangling);
	assert_string_equal(filter.before_name, "c");
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		auto_image_filter struct image_filter wrong = { 0 };
		struct option_list one = { bad[i], 1 };
		struct err err = { 0 };

		assert_int_equal(image_filter_parse(&wrong, &one, NULL, &err), -EINVAL);
		assert_words(&err, why[i]);
	}
}

static void an_image_must_fit_every_kind_of_filter(void **state)
{
	const char *references[] = { "docker.io/library/nginx:latest", "docker.io/library/web:1" };
	const struct overlaid_image image = { .id = "sha256:abcdef",
					      .references = references,
					      .reference_count = 2,
					      .created = 100 };
	const char *words[] = { "reference=nginx", "id=abc" };
	auto_image_filter struct image_filter filter = { 0 };
	struct option_list list = { words, 2 };

	assert_int_equal(image_filter_parse(&filter, &list, NULL, NULL), 0);
	assert_true(image_filter_fits(&filter, &image, references[0]));
	assert_false(image_filter_fits(&filter, &image, references[1]));
	filter.since_name = "x";
	filter.since = 100;
	assert_false(image_filter_fits(&filter, &image, references[0]));
	filter.since = 99;
	assert_true(image_filter_fits(&filter, &image, references[0]));
	filter.by_dangling = true;
	filter.dangling = true;
	assert_false(image_filter_fits(&filter, &image, references[0]));
}

static void labels_are_compared_by_key_and_value(void **state)
{
	static const char text[] = "{\"config\":{\"Labels\":{\"a\":\"b=c\",\"n\":1}}}";
	auto_json struct json *config = NULL;

	assert_int_equal(json_parse(text, strlen(text), SIZE_MAX, "config", &config, NULL), 0);
	assert_true(image_config_has_label(config, "a"));
	assert_true(image_config_has_label(config, "a=b=c"));
	assert_false(image_config_has_label(config, "a=b"));
	assert_false(image_config_has_label(config, "n=1"));
	assert_false(image_config_has_label(config, "z"));
	assert_false(image_config_has_label(NULL, "a"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(verbs_are_found_by_name_and_alias),
		cmocka_unit_test(nouns_have_their_own_verbs),
		cmocka_unit_test(mistyped_verbs_are_recognised),
		cmocka_unit_test(every_verb_says_what_it_is),
		cmocka_unit_test(no_option_is_there_twice),
		cmocka_unit_test(patterns_fit_familiar_and_full_names),
		cmocka_unit_test(filters_are_read_and_mistakes_named),
		cmocka_unit_test(an_image_must_fit_every_kind_of_filter),
		cmocka_unit_test(labels_are_compared_by_key_and_value),
	};

	return cmocka_run_group_tests_name("verbs", tests, NULL, NULL);
}
