/* SPDX-License-Identifier: Apache-2.0 */
#include "driver/base/digest.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

#include "driver/base/dl.h"

static struct {
	__typeof__(EVP_MD_CTX_new) *ctx_new;
	__typeof__(EVP_MD_CTX_free) *ctx_free;
	__typeof__(EVP_sha256) *sha256;
	__typeof__(EVP_sha512) *sha512;
	__typeof__(EVP_DigestInit_ex) *init;
	__typeof__(EVP_DigestUpdate) *update;
	__typeof__(EVP_DigestFinal_ex) *final;
} crypto;

static const struct dl_symbol crypto_symbols[] = {
	{ "EVP_MD_CTX_new", &crypto.ctx_new },	 { "EVP_MD_CTX_free", &crypto.ctx_free },
	{ "EVP_sha256", &crypto.sha256 },	 { "EVP_sha512", &crypto.sha512 },
	{ "EVP_DigestInit_ex", &crypto.init },	 { "EVP_DigestUpdate", &crypto.update },
	{ "EVP_DigestFinal_ex", &crypto.final },
};

static struct dl_library crypto_library = {
	.soname = "libcrypto.so.3",
	.package = "libssl3",
	.symbols = crypto_symbols,
	.symbol_count = ARRAY_LEN(crypto_symbols),
	.lock = PTHREAD_MUTEX_INITIALIZER,
};

struct algorithm {
	const char *name;
	size_t name_len;
	size_t bytes;
	__typeof__(EVP_sha256) **evp;
};

static const struct algorithm algorithms[] = {
	{ "sha256", 6, 32, &crypto.sha256 },
	{ "sha512", 6, 64, &crypto.sha512 },
};

struct hasher {
	EVP_MD_CTX *ctx;
	const struct algorithm *algorithm;
};

/* The algorithm that `text` names, alone or before a colon. */
static const struct algorithm *find_algorithm(const char *text)
{
	size_t len = strcspn(text, ":");

	for (size_t i = 0; i < ARRAY_LEN(algorithms); i++) {
		if (len == algorithms[i].name_len && !memcmp(text, algorithms[i].name, len))
			return &algorithms[i];
	}
	return NULL;
}

bool hex_valid(const char *text, size_t len)
{
	return text && strspn(text, "0123456789abcdef") == len && !text[len];
}

int digest_parse(const char *text, struct digest *ret, struct err *err)
{
	const struct algorithm *algorithm;
	const char *hex;

	if (!text)
		return fail(err, -EINVAL, "a digest is missing");
	hex = strchr(text, ':');
	if (!hex)
		return fail(err, -EINVAL, "\"%.150s\" is not a digest: algorithm:hex is expected",
			    text);
	algorithm = find_algorithm(text);
	if (!algorithm)
		return fail(
			err, -EINVAL,
			"\"%.150s\" is not a digest that is known here: only sha256 and sha512 are",
			text);
	hex++;
	if (!hex_valid(hex, algorithm->bytes * 2))
		return fail(err, -EINVAL,
			    "\"%.150s\" is not a %s digest: %zu lower-case hex digits are expected",
			    text, algorithm->name, algorithm->bytes * 2);
	memcpy(ret->text, text, strlen(text) + 1);
	return 0;
}

bool digest_valid(const char *text)
{
	struct digest d;

	return digest_parse(text, &d, NULL) == 0;
}

bool digest_equal(const struct digest *a, const struct digest *b)
{
	return !strcmp(a->text, b->text);
}

const char *digest_hex(const struct digest *d)
{
	const char *colon = strchr(d->text, ':');

	return colon ? colon + 1 : "";
}

int hasher_new(const char *algorithm, struct hasher **ret, struct err *err)
{
	const struct algorithm *found = algorithm ? find_algorithm(algorithm) : &algorithms[0];
	auto_hasher struct hasher *h = NULL;
	int r;

	if (!found)
		return fail(
			err, -EINVAL,
			"digest algorithm \"%.150s\" is not known here: only sha256 and sha512 are",
			algorithm);
	r = dl_load(&crypto_library, err);
	if (r < 0)
		return r;
	h = calloc(1, sizeof(*h));
	if (!h)
		return fail_oom(err);
	h->algorithm = found;
	h->ctx = crypto.ctx_new();
	if (!h->ctx)
		return fail_oom(err);
	/* A machine in FIPS mode or with a broken provider configuration ends here. */
	if (!crypto.init(h->ctx, (*found->evp)(), NULL))
		return fail(err, -ELIBACC,
			    "libcrypto offers no %s: look at its configuration (openssl.cnf)",
			    found->name);
	*ret = take_ptr(h);
	return 0;
}

/* After init, libcrypto's hashes fail only for a bug of ours; a wrong digest must never come out of
 * it. */
static void must(int ok)
{
	if (!ok)
		abort();
}

void hasher_update(struct hasher *h, const void *data, size_t len)
{
	must(crypto.update(h->ctx, data, len));
}

void hasher_final_raw(struct hasher *h, unsigned char *ret)
{
	unsigned char raw[EVP_MAX_MD_SIZE];
	unsigned int len = 0;

	must(crypto.final(h->ctx, raw, &len));
	must(len == h->algorithm->bytes);
	memcpy(ret, raw, len);
}

void hasher_restart(struct hasher *h)
{
	must(crypto.init(h->ctx, NULL, NULL));
}

void digest_from_raw(const char *algorithm, const unsigned char *raw, size_t len,
		     struct digest *ret)
{
	static const char digits[] = "0123456789abcdef";
	char *to = stpncpy(ret->text, algorithm, DIGEST_TEXT_MAX - 2 * len - 2);

	*to++ = ':';
	for (size_t i = 0; i < len; i++) {
		*to++ = digits[raw[i] >> 4];
		*to++ = digits[raw[i] & 15];
	}
	*to = 0;
}

void hasher_final(struct hasher *h, struct digest *ret)
{
	unsigned char raw[EVP_MAX_MD_SIZE];

	hasher_final_raw(h, raw);
	digest_from_raw(h->algorithm->name, raw, h->algorithm->bytes, ret);
}

void hasher_free(struct hasher *h)
{
	int saved = errno;

	if (!h)
		return;
	if (h->ctx)
		crypto.ctx_free(h->ctx);
	free(h);
	errno = saved;
}

void hasher_freep(struct hasher **h)
{
	hasher_free(*h);
}

int digest_of(const char *algorithm, const void *data, size_t len, struct digest *ret,
	      struct err *err)
{
	auto_hasher struct hasher *h = NULL;
	int r = hasher_new(algorithm, &h, err);

	if (r < 0)
		return r;
	hasher_update(h, data, len);
	hasher_final(h, ret);
	return 0;
}
