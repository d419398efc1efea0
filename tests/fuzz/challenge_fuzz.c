/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The reader of WWW-Authenticate: what it takes is a challenge that can be answered, and written down again it
 * is read as the same.
 */
#include <string.h>

#include "graph/fetch/auth.h"
#include "tests/fuzz/fuzz.h"

#define is_text(array) (memchr((array), 0, sizeof(array)) != NULL)

static void add(struct buf *header, const char *name, const char *value)
{
	(void)buf_printf(header, ",%s=\"", name);
	for (; *value; value++)
		(void)buf_printf(header, *value == '"' || *value == '\\' ? "\\%c" : "%c", *value);
	(void)buf_putc(header, '"');
}

static void check_again(const struct challenge *c)
{
	auto_buf struct buf header = { 0 };
	struct challenge again;
	struct err err = { 0 };

	(void)buf_printf(&header, "NTLM TlRM=, %s x=y", c->scheme);
	add(&header, "realm", c->realm);
	add(&header, "service", c->service);
	add(&header, "scope", c->scope);
	fuzz_require(challenge_parse(buf_text(&header), &again, &err) == 1, buf_text(&header));
	fuzz_require(strcmp(c->scheme, again.scheme) == 0 && strcmp(c->realm, again.realm) == 0 &&
			     strcmp(c->service, again.service) == 0 &&
			     strcmp(c->scope, again.scope) == 0,
		     buf_text(&header));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	auto_free char *value = strndup((const char *)data, size);
	struct challenge c, untouched;
	struct err err = { 0 };
	int r;

	memset(&c, 'u', sizeof(c));
	untouched = c;
	r = challenge_parse(value, &c, &err);
	if (r != 1) {
		fuzz_require(r == 0 || r == -EBADMSG);
		fuzz_require((r < 0) == (err.text[0] != '\0'), err.text);
		fuzz_require(memcmp(&c, &untouched, sizeof(c)) == 0);
		return 0;
	}
	fuzz_require(is_text(c.scheme) && is_text(c.realm) && is_text(c.service) &&
		     is_text(c.scope));
	fuzz_require(strcmp(c.scheme, "bearer") == 0 ? c.realm[0] != '\0' :
						       strcmp(c.scheme, "basic") == 0,
		     c.scheme);
	fuzz_require(!err.text[0], err.text);
	check_again(&c);
	return 0;
}
