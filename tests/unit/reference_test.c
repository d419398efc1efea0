/* SPDX-License-Identifier: Apache-2.0 */
/* What is expected is what the rules of github.com/distribution/reference say. */
#include "driver/base/auto.h"
#include "graph/name/reference.h"
#include "tests/unit/util.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#define HEX64 "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static struct overlaid_reference parse(const char *text)
{
	struct overlaid_reference ref;
	struct err err = { 0 };

	if (overlaid_reference_parse(text, &ref, &err) < 0)
		fail_msg("%s", err.text);
	return ref;
}

static void refused(const char *text, const char *why)
{
	struct overlaid_reference ref = { .repository = "untouched" };
	struct err err = { 0 };
	int r = overlaid_reference_parse(text, &ref, &err);

	if (r != -EINVAL)
		fail_msg("%s: gave %d, repository %s", text, r, ref.repository);
	assert_string_equal(ref.repository, "untouched");
	assert_words(&err, why);
}

static void names_are_normalised(void **state)
{
	static const struct {
		const char *text, *repository, *familiar;
	} table[] = {
		{ "nginx", "docker.io/library/nginx", "nginx" },
		{ "me/app", "docker.io/me/app", "me/app" },
		{ "a/b/c", "docker.io/a/b/c", "a/b/c" },
		{ "docker.io/nginx", "docker.io/library/nginx", "nginx" },
		{ "docker.io/library/nginx", "docker.io/library/nginx", "nginx" },
		{ "library/nginx", "docker.io/library/nginx", "nginx" },
		{ "library/a/b", "docker.io/library/a/b", "library/a/b" },
		{ "index.docker.io/me/app", "docker.io/me/app", "me/app" },
		{ "index.docker.io/nginx", "docker.io/library/nginx", "nginx" },
		{ "quay.io/nginx", "quay.io/nginx", "quay.io/nginx" },
		{ "quay.io/library/nginx", "quay.io/library/nginx", "quay.io/library/nginx" },
		{ "localhost/x", "localhost/x", "localhost/x" },
		{ "localhost:5000/x", "localhost:5000/x", "localhost:5000/x" },
		{ "127.0.0.1:5000/x/y", "127.0.0.1:5000/x/y", "127.0.0.1:5000/x/y" },
		{ "[::1]:5000/x", "[::1]:5000/x", "[::1]:5000/x" },
		{ "[fe80::1]/x", "[fe80::1]/x", "[fe80::1]/x" },
		{ "FOO/bar", "FOO/bar", "FOO/bar" },
		{ "xn--n3h.com/app", "xn--n3h.com/app", "xn--n3h.com/app" },
		{ "a__b", "docker.io/library/a__b", "a__b" },
		{ "a---b", "docker.io/library/a---b", "a---b" },
		{ "a.b_c-d", "docker.io/library/a.b_c-d", "a.b_c-d" },
	};

	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		struct overlaid_reference ref = parse(table[i].text);

		assert_string_equal(ref.repository, table[i].repository);
		assert_string_equal(ref.familiar, table[i].familiar);
		assert_string_equal(ref.tag, "latest");
		assert_string_equal(ref.digest, "");
	}
}

static void what_is_familiar_means_the_same(void **state)
{
	static const char *const names[] = { "nginx", "me/app", "library/a/b", "quay.io/library/x",
					     "localhost:5/x" };

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		struct overlaid_reference ref = parse(names[i]), again = parse(ref.familiar);

		assert_string_equal(again.repository, ref.repository);
	}
}

static void a_tag_is_taken_from_behind_the_last_slash(void **state)
{
	struct overlaid_reference ref = parse("localhost:5000/nginx:1.25-alpine");

	assert_string_equal(ref.repository, "localhost:5000/nginx");
	assert_string_equal(ref.tag, "1.25-alpine");
	ref = parse("localhost:5000");
	assert_string_equal(ref.repository, "docker.io/library/localhost");
	assert_string_equal(ref.tag, "5000");
	ref = parse("[::1]/x:v");
	assert_string_equal(ref.repository, "[::1]/x");
	assert_string_equal(ref.tag, "v");
}

static void a_digest_alone_has_no_tag(void **state)
{
	struct overlaid_reference ref = parse("nginx@sha256:" HEX64);

	assert_string_equal(ref.repository, "docker.io/library/nginx");
	assert_string_equal(ref.tag, "");
	assert_string_equal(ref.digest, "sha256:" HEX64);
}

static void tag_and_digest_may_stand_together(void **state)
{
	struct overlaid_reference ref = parse("quay.io:80/nginx:1@sha512:" HEX64 HEX64);

	assert_string_equal(ref.repository, "quay.io:80/nginx");
	assert_string_equal(ref.tag, "1");
	assert_string_equal(ref.digest, "sha512:" HEX64 HEX64);
}

static void the_inner_parser_adds_no_tag(void **state)
{
	struct overlaid_reference ref;

	assert_int_equal(reference_parse("nginx", &ref, NULL), 0);
	assert_string_equal(ref.tag, "");
}

static void the_text_form_reads_back(void **state)
{
	static const char *const texts[] = { "docker.io/library/nginx:latest",
					     "localhost:5000/a/b:v1",
					     "docker.io/me/app@sha256:" HEX64,
					     "quay.io/x:1@sha256:" HEX64 };

	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		struct overlaid_reference ref = parse(texts[i]);
		char text[REFERENCE_TEXT_MAX];

		reference_text(&ref, text);
		assert_string_equal(text, texts[i]);
	}
}

static void upper_case_is_refused_by_name(void **state)
{
	refused("Nginx", "lower-case");
	refused("me/App", "lower-case");
	refused("quay.io/ME/app", "lower-case");
}

static void names_that_are_none_are_refused(void **state)
{
	static const char *const bad[] = {
		" nginx", "nginx ", "-nginx",	   "nginx-", ".nginx", "_nginx",     "a..b",
		"a___b",  "a.-b",   "a//b",	   "/a",     "a/",     "docker.io/", "quay.io//x",
		"a/-b",	  "a\nb",   "n\xc3\xa4me", "a b/c",  "a$b",    "..",	     "a/../b",
	};

	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		refused(bad[i], "not valid");
}

static void hosts_that_are_none_are_refused(void **state)
{
	static const char *const bad[] = {
		"https://quay.io/x", "foo_bar.com/x", "-a.com/x",      "a.com-/x", ".com/x",
		"a.com:/x",	     "a.com:80a/x",   "a.com:80:90/x", "[::1/x",   "[]:5/x",
		"[::g]/x",	     "[::1]x/y",      "a..com/x",      "a-.com/x", "a.-b.com/x",
	};

	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		refused(bad[i], "host");
}

static void nothing_is_refused(void **state)
{
	refused("", "empty");
	refused(":latest", "not valid");
	refused("@sha256:" HEX64, "not valid");
}

static void sixty_four_hex_digits_are_an_id(void **state)
{
	struct overlaid_reference ref;

	refused(HEX64, "an id");
	ref = parse(HEX64 ":latest");
	assert_string_equal(ref.familiar, HEX64);
	ref = parse(HEX64 "0");
	assert_string_equal(ref.familiar, HEX64 "0");
	ref = parse("me/" HEX64);
	assert_string_equal(ref.familiar, "me/" HEX64);
}

static void tags_have_their_letters_and_their_length(void **state)
{
	static const char *const bad[] = { "nginx:",	"nginx:-a",  "nginx:.a",
					   "nginx:a b", "nginx:a+b", "nginx:\xc3\xa4" };
	char text[200] = "nginx:";
	struct overlaid_reference ref;

	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		refused(bad[i], "tag");
	memset(text + 6, 'T', 128);
	text[6 + 128] = '\0';
	ref = parse(text);
	assert_int_equal(strlen(ref.tag), 128);
	text[6 + 128] = 'T';
	text[6 + 129] = '\0';
	refused(text, "tag");
	ref = parse("nginx:_A.b-C");
	assert_string_equal(ref.tag, "_A.b-C");
}

static void digests_must_be_digests(void **state)
{
	refused("nginx@sha256:abc", "digest");
	refused("nginx@", "digest");
	refused("nginx@sha256:" HEX64 "0", "digest");
	refused("nginx@sha256:0123456789ABCDEF" HEX64, "digest");
	refused("nginx@md5:" HEX64, "digest");
	refused("nginx@sha256:" HEX64 "@sha256:" HEX64, "digest");
	refused("nginx@sha256:" HEX64 ":tag", "digest");
}

/* "quay.io/" and n letters. */
static const char *long_name(const char *start, size_t bytes)
{
	static char text[1200];
	size_t len = strlen(start);

	memcpy(text, start, len);
	memset(text + len, 'a', bytes - len);
	text[bytes] = '\0';
	return text;
}

static void a_repository_has_at_most_255_bytes(void **state)
{
	struct overlaid_reference ref = parse(long_name("quay.io/", 255));

	assert_int_equal(strlen(ref.repository), 255);
	refused(long_name("quay.io/", 256), "255 bytes");
	refused(long_name("quay.io/", 1100), "too long");
}

static void what_normalising_adds_counts_too(void **state)
{
	struct overlaid_reference ref = parse(long_name("", 255 - strlen("docker.io/library/")));

	assert_int_equal(strlen(ref.repository), 255);
	refused(long_name("", 255 - strlen("docker.io/library/") + 1), "255 bytes");
}

static void words_quote_a_part_of_what_is_long(void **state)
{
	struct overlaid_reference ref;
	struct err err = { 0 };

	assert_int_equal(overlaid_reference_parse(long_name("BAD", 1100), &ref, &err), -EINVAL);
	assert_words(&err, "\"BADaaa");
	assert_true(strlen(err.text) < 500);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_are_normalised),
		cmocka_unit_test(what_is_familiar_means_the_same),
		cmocka_unit_test(a_tag_is_taken_from_behind_the_last_slash),
		cmocka_unit_test(a_digest_alone_has_no_tag),
		cmocka_unit_test(tag_and_digest_may_stand_together),
		cmocka_unit_test(the_inner_parser_adds_no_tag),
		cmocka_unit_test(the_text_form_reads_back),
		cmocka_unit_test(upper_case_is_refused_by_name),
		cmocka_unit_test(names_that_are_none_are_refused),
		cmocka_unit_test(hosts_that_are_none_are_refused),
		cmocka_unit_test(nothing_is_refused),
		cmocka_unit_test(sixty_four_hex_digits_are_an_id),
		cmocka_unit_test(tags_have_their_letters_and_their_length),
		cmocka_unit_test(digests_must_be_digests),
		cmocka_unit_test(a_repository_has_at_most_255_bytes),
		cmocka_unit_test(what_normalising_adds_counts_too),
		cmocka_unit_test(words_quote_a_part_of_what_is_long),
	};

	return cmocka_run_group_tests_name("reference", tests, NULL, NULL);
}
