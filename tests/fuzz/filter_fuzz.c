/* SPDX-License-Identifier: Apache-2.0 */
/*
 * containerd's filters: texts with NULs between. Together they are refused where one of them is, and match what
 * one of them matches; and one more selector that is always true changes nothing.
 */
#include <string.h>

#include "cmd/serve/filter.h"
#include "tests/fuzz/fuzz.h"

#define TEXTS_MAX 8

static const struct overlaid_label labels[] = {
	{ "", "empty" },
	{ "a.b", "" },
	{ "containerd.io/snapshot.ref", "sha256:abc" },
	{ "l", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab" },
};

static const struct overlaid_snapshot infos[] = {
	{ .name = "foo", .parent = "", .kind = OVERLAID_SNAPSHOT_ACTIVE },
	{ .name = "b\xc3\xa4r\nbaz",
	  .parent = "ns/2/sha256:def",
	  .kind = OVERLAID_SNAPSHOT_COMMITTED,
	  .labels = labels,
	  .label_count = ARRAY_LEN(labels) },
	{ .kind = OVERLAID_SNAPSHOT_VIEW, .labels = labels, .label_count = 1 },
};

/* NULL: refused. */
static struct filter *new_filter(const char *const *texts, size_t count)
{
	struct filter *filter = NULL;
	struct err err = { 0 };
	int r = filter_new(texts, count, &filter, &err);

	fuzz_require(r == 0 || r == -EINVAL, err.text);
	fuzz_require((r == 0) == (filter != NULL));
	fuzz_require((r == 0) == !err.text[0], err.text);
	fuzz_require(r == 0 || strncmp(err.text, "filters: ", 9) == 0, err.text);
	return filter;
}

static struct filter *new_with_more(const char *text)
{
	auto_buf struct buf more = { 0 };

	(void)buf_printf(&more, "%s%sname", text, *text ? "," : "");
	return new_filter((const char *[]){ buf_text(&more) }, 1);
}

static size_t count_patterns(const char *text)
{
	size_t count = 0;

	for (const char *at = strstr(text, "~="); at; at = strstr(at + 1, "~="))
		count++;
	return count;
}

static void check_texts(const char *const *texts, size_t count)
{
	auto_filter struct filter *all = new_filter(texts, count);
	bool matches[ARRAY_LEN(infos)] = { false }, refused = false;
	size_t patterns = 0;

	for (size_t i = 0; i < count; i++) {
		auto_filter struct filter *one = new_filter(&texts[i], 1);
		auto_filter struct filter *more = new_with_more(texts[i]);

		fuzz_require(!one == !more, texts[i]);
		refused = refused || !one;
		patterns += count_patterns(texts[i]);
		for (size_t k = 0; one && k < ARRAY_LEN(infos); k++) {
			bool fits = filter_matches(one, &infos[k]);

			fuzz_require(fits == filter_matches(more, &infos[k]), texts[i]);
			matches[k] = matches[k] || fits;
		}
	}
	fuzz_require(!all == refused || patterns > FILTER_PATTERNS_MAX);
	for (size_t k = 0; all && k < ARRAY_LEN(infos); k++)
		fuzz_require(filter_matches(all, &infos[k]) == matches[k]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	auto_free char *text = malloc(size + 1);
	const char *texts[TEXTS_MAX];
	size_t count = 0;

	fuzz_require(text);
	memcpy(text, data, size);
	text[size] = 0;
	for (size_t at = 0; at <= size && count < TEXTS_MAX; at += strlen(text + at) + 1)
		texts[count++] = text + at;
	check_texts(texts, count);
	return 0;
}
