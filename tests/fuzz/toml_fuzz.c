/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The reader of TOML. What it takes is printed as JSON where JSON can say it, and is then read as the same by
 * the reader of that.
 */
#include <math.h>
#include <string.h>

#include "driver/base/toml.h"
#include "tests/fuzz/fuzz.h"

static bool has_odd_number(const struct json *j)
{
	bool odd = j->type == JSON_REAL && !isfinite(j->real);

	for (size_t i = 0; i < j->count && !odd; i++)
		odd = has_odd_number(j->items[i]);
	return odd;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	auto_json struct json *toml = NULL, *json = NULL;
	auto_buf struct buf first = { 0 }, second = { 0 };
	struct err err = { 0 };

	if (toml_parse(data, size, size, "input", &toml, &err) < 0) {
		fuzz_require(!toml && strncmp(err.text, "input: ", 7) == 0, err.text);
		return 0;
	}
	if (has_odd_number(toml))
		return 0;
	fuzz_require(json_print(toml, 0, &first, &err) == 0, err.text);
	fuzz_require(json_parse(buf_text(&first), first.len, first.len + 1, "printed", &json,
				&err) == 0,
		     err.text);
	fuzz_require(json_print(json, 0, &second, &err) == 0, err.text);
	fuzz_require(strcmp(buf_text(&first), buf_text(&second)) == 0, buf_text(&first));
	return 0;
}
