/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests of containerd's snapshots service. The first byte says which. What is taken keeps the header's
 * promises; and as an answer it says the same again: what Stat answers is what Update asks, but for the number of
 * a field.
 */
#include <string.h>

#include "cmd/serve/wire.h"
#include "driver/base/utf8.h"
#include "tests/fuzz/fuzz.h"

static void check_string(const char *text, size_t max_bytes)
{
	size_t len = strlen(text);

	fuzz_require(len <= max_bytes);
	fuzz_require(utf8_span(text, len) == len, text);
}

static void check_strings(const char *const *strings, size_t count)
{
	fuzz_require(count <= WIRE_LIST_MAX);
	for (size_t i = 0; i < count; i++)
		check_string(strings[i], WIRE_STRING_BYTES_MAX);
}

static void check_request(const struct wire_request *r)
{
	check_string(r->snapshotter, WIRE_NAME_BYTES_MAX);
	check_string(r->key, WIRE_NAME_BYTES_MAX);
	check_string(r->parent, WIRE_NAME_BYTES_MAX);
	check_string(r->name, WIRE_NAME_BYTES_MAX);
	check_strings(r->filters, r->filter_count);
	check_strings(r->mask, r->mask_count);
	fuzz_require(r->has_mask || !r->mask_count);
	fuzz_require(r->label_count <= WIRE_LIST_MAX);
	for (size_t i = 0; i < r->label_count; i++) {
		check_string(r->labels[i].key, WIRE_NAME_BYTES_MAX);
		check_string(r->labels[i].value, WIRE_STRING_BYTES_MAX);
		fuzz_require(!i || strcmp(r->labels[i - 1].key, r->labels[i].key) < 0);
	}
}

static void check_same_labels(const struct wire_request *a, const struct wire_request *b)
{
	fuzz_require(a->label_count == b->label_count);
	for (size_t i = 0; i < a->label_count; i++) {
		fuzz_require(strcmp(a->labels[i].key, b->labels[i].key) == 0);
		fuzz_require(strcmp(a->labels[i].value, b->labels[i].value) == 0);
	}
}

/* The answer holds field 1, an info; of Update that is field 2. */
static void check_answer(const struct wire_request *request, int64_t ns)
{
	const struct overlaid_snapshot info = {
		.name = request->key,
		.parent = request->parent,
		.kind = (int)ns,
		.created_ns = ns,
		.updated_ns = -(ns / 2),
		.labels = request->labels,
		.label_count = request->label_count,
	};
	auto_wire_request struct wire_request again = { .key = NULL };
	auto_buf struct buf out = { 0 };
	struct err err = { 0 };

	fuzz_require(wire_info(&info, &out, &err) == 0, err.text);
	fuzz_require(out.data[0] == (1 << 3 | 2));
	out.data[0] = 2 << 3 | 2;
	fuzz_require(wire_parse(WIRE_UPDATE, (const uint8_t *)out.data, out.len, &again, &err) == 0,
		     err.text);
	fuzz_require(strcmp(again.key, request->key) == 0);
	check_same_labels(request, &again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	auto_wire_request struct wire_request request = { .key = NULL };
	struct err err = { 0 };
	int64_t ns = 0;
	int r;

	if (!size || data[0] > WIRE_HEALTH)
		return 0;
	r = wire_parse((enum wire_kind)data[0], data + 1, size - 1, &request, &err);
	if (r < 0) {
		fuzz_require(r == -EINVAL && err.text[0] && !request.blocks, err.text);
		return 0;
	}
	check_request(&request);
	memcpy(&ns, data, size < sizeof(ns) ? size : sizeof(ns));
	check_answer(&request, ns);
	return 0;
}
