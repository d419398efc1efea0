/* SPDX-License-Identifier: Apache-2.0 */
#include "driver/base/digest_pair.h"

#include <stdatomic.h>
#include <string.h>

#define BLOCK_BYTES 64

/* A running SHA-256 (FIPS 180-4). */
struct sha256 {
	uint32_t state[8];
	uint64_t bytes;
	uint8_t rest[BLOCK_BYTES]; /* bytes % 64 of them */
};

struct digest_pair {
	struct sha256 stream, piece;
	struct hasher *stream_hasher; /* NULL: this processor's own instructions */
	struct hasher *piece_hasher;
};

static atomic_bool prefer_libcrypto;

/* ---- blocks ---- */

#ifdef __x86_64__
#include <cpuid.h>
#include <immintrin.h>

#define SHA __attribute__((target("sha,sse4.1,ssse3")))

static const uint32_t round_constants[64] __attribute__((aligned(16))) = {
	0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4,
	0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe,
	0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f,
	0x4a7484aa, 0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7,
	0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85, 0x2e1b2138, 0x4d2c6dfc,
	0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b,
	0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116,
	0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
	0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7,
	0xc67178f2,
};

/* The state as sha256rnds2 wants it. */
struct halves {
	__m128i abef, cdgh;
};

SHA static inline struct halves load_state(const uint32_t state[8])
{
	__m128i cdab = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)state), 0xb1);
	__m128i efgh = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)(state + 4)), 0x1b);

	return (struct halves){ _mm_alignr_epi8(cdab, efgh, 8), _mm_blend_epi16(efgh, cdab, 0xf0) };
}

SHA static inline void store_state(struct halves h, uint32_t state[8])
{
	__m128i feba = _mm_shuffle_epi32(h.abef, 0x1b), dchg = _mm_shuffle_epi32(h.cdgh, 0xb1);

	_mm_storeu_si128((__m128i *)state, _mm_blend_epi16(feba, dchg, 0xf0));
	_mm_storeu_si128((__m128i *)(state + 4), _mm_alignr_epi8(dchg, feba, 8));
}

SHA static inline void four_rounds(struct halves *h, __m128i words)
{
	h->cdgh = _mm_sha256rnds2_epu32(h->cdgh, h->abef, words);
	h->abef = _mm_sha256rnds2_epu32(h->abef, h->cdgh, _mm_shuffle_epi32(words, 0x0e));
}

SHA static inline void add_state(struct halves *h, struct halves before)
{
	h->abef = _mm_add_epi32(h->abef, before.abef);
	h->cdgh = _mm_add_epi32(h->cdgh, before.cdgh);
}

/* The same blocks into one state (second: NULL) or two. */
SHA static inline __attribute__((always_inline)) void mix(uint32_t first[8], uint32_t second[8],
							  const uint8_t *data, size_t blocks)
{
	const __m128i big_endian = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);
	struct halves a = load_state(first), b = second ? load_state(second) : a;

	for (; blocks; blocks--, data += BLOCK_BYTES) {
		const struct halves a_before = a, b_before = b;
		__m128i w[4];

		for (int i = 0; i < 4; i++)
			w[i] = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)data + i),
						big_endian);
#pragma GCC unroll 16
		for (int i = 0; i < 16; i++) {
			const __m128i *k = (const __m128i *)round_constants + i;
			__m128i words = _mm_add_epi32(w[i & 3], _mm_load_si128(k)), next;

			four_rounds(&a, words);
			if (second)
				four_rounds(&b, words);
			if (i < 3 || i == 15)
				continue;
			next = _mm_sha256msg1_epu32(w[(i + 1) & 3], w[(i + 2) & 3]);
			next = _mm_add_epi32(next, _mm_alignr_epi8(w[i & 3], w[(i - 1) & 3], 4));
			w[(i + 1) & 3] = _mm_sha256msg2_epu32(next, w[i & 3]);
		}
		add_state(&a, a_before);
		if (second)
			add_state(&b, b_before);
	}
	store_state(a, first);
	if (second)
		store_state(b, second);
}

SHA static void mix_one(uint32_t state[8], const uint8_t *data, size_t blocks)
{
	mix(state, NULL, data, blocks);
}

SHA static void mix_two(uint32_t first[8], uint32_t second[8], const uint8_t *data, size_t blocks)
{
	mix(first, second, data, blocks);
}

static bool ask_processor(void)
{
	unsigned int a, b, c, d;

	if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_SSE4_1) || !(c & bit_SSSE3))
		return false;
	return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & bit_SHA);
}

/* Asked once: in a virtual machine the question goes to the host, which takes 30 us. */
static bool has_instructions(void)
{
	static atomic_int known; /* 0: not asked yet */

	if (!atomic_load_explicit(&known, memory_order_relaxed))
		atomic_store_explicit(&known, ask_processor() ? 1 : -1, memory_order_relaxed);
	return atomic_load_explicit(&known, memory_order_relaxed) > 0;
}

#else

static bool has_instructions(void)
{
	return false;
}

/* Not reached: everything goes to libcrypto. */
static void mix_one(uint32_t state[8], const uint8_t *data, size_t blocks)
{
	abort();
}

static void mix_two(uint32_t first[8], uint32_t second[8], const uint8_t *data, size_t blocks)
{
	abort();
}

#endif

/* ---- running digests ---- */

static void begin(struct sha256 *s)
{
	*s = (struct sha256){
		.state = { 0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c,
			   0x1f83d9ab, 0x5be0cd19 },
	};
}

static void update(struct sha256 *s, const uint8_t *data, size_t len)
{
	size_t held = s->bytes % BLOCK_BYTES, missing = BLOCK_BYTES - held;

	s->bytes += len;
	if (held && len >= missing) {
		memcpy(s->rest + held, data, missing);
		mix_one(s->state, s->rest, 1);
		data += missing;
		len -= missing;
		held = 0;
	}
	if (!held && len >= BLOCK_BYTES) {
		mix_one(s->state, data, len / BLOCK_BYTES);
		data += len / BLOCK_BYTES * BLOCK_BYTES;
		len %= BLOCK_BYTES;
	}
	if (len)
		memcpy(s->rest + held, data, len);
}

static void end(struct sha256 *s, uint8_t ret[DIGEST_PIECE_BYTES])
{
	static const uint8_t padding[BLOCK_BYTES] = { 0x80 };
	const uint64_t bits = s->bytes * 8;
	uint8_t length[8];

	for (int i = 0; i < 8; i++)
		length[i] = (uint8_t)(bits >> (56 - 8 * i));
	update(s, padding, 1 + (BLOCK_BYTES * 2 - 1 - 8 - s->bytes % BLOCK_BYTES) % BLOCK_BYTES);
	update(s, length, sizeof(length));
	for (int i = 0; i < DIGEST_PIECE_BYTES; i++)
		ret[i] = (uint8_t)(s->state[i / 4] >> (24 - 8 * (i % 4)));
}

/* ---- the pair ---- */

void digest_pair_prefer_libcrypto(bool on)
{
	atomic_store(&prefer_libcrypto, on);
}

int digest_pair_new(struct digest_pair **ret, struct err *err)
{
	AUTO(digest_pair_freep) struct digest_pair *pair = calloc(1, sizeof(*pair));
	int r = 0;

	if (!pair)
		return fail_oom(err);
	begin(&pair->stream);
	begin(&pair->piece);
	if (atomic_load(&prefer_libcrypto) || !has_instructions()) {
		r = hasher_new("sha256", &pair->stream_hasher, err);
		if (r == 0)
			r = hasher_new("sha256", &pair->piece_hasher, err);
	}
	if (r < 0)
		return r;
	*ret = take_ptr(pair);
	return 0;
}

void digest_pair_freep(struct digest_pair **pair)
{
	if (!*pair)
		return;
	hasher_freep(&(*pair)->stream_hasher);
	hasher_freep(&(*pair)->piece_hasher);
	auto_free_fn(pair);
	*pair = NULL;
}

void digest_pair_stream(struct digest_pair *pair, const void *data, size_t len)
{
	if (pair->stream_hasher)
		hasher_update(pair->stream_hasher, data, len);
	else
		update(&pair->stream, data, len);
}

void digest_pair_piece(struct digest_pair *pair, const void *data, size_t len)
{
	if (pair->piece_hasher)
		hasher_update(pair->piece_hasher, data, len);
	else
		update(&pair->piece, data, len);
}

void digest_pair_both(struct digest_pair *pair, const void *data, size_t len)
{
	size_t blocks = len / BLOCK_BYTES, paired = blocks * BLOCK_BYTES;

	if (!pair->stream_hasher && pair->stream.bytes % BLOCK_BYTES == 0 &&
	    pair->piece.bytes % BLOCK_BYTES == 0) {
		if (blocks)
			mix_two(pair->stream.state, pair->piece.state, data, blocks);
		pair->stream.bytes += paired;
		pair->piece.bytes += paired;
		data = (const char *)data + paired;
		len -= paired;
	}
	digest_pair_stream(pair, data, len);
	digest_pair_piece(pair, data, len);
}

void digest_pair_end_piece(struct digest_pair *pair, uint8_t ret[DIGEST_PIECE_BYTES])
{
	if (pair->piece_hasher) {
		hasher_final_raw(pair->piece_hasher, ret);
		hasher_restart(pair->piece_hasher);
		return;
	}
	end(&pair->piece, ret);
	begin(&pair->piece);
}

void digest_pair_end(struct digest_pair *pair, struct digest *ret)
{
	uint8_t raw[DIGEST_PIECE_BYTES];

	if (pair->stream_hasher) {
		hasher_final(pair->stream_hasher, ret);
		return;
	}
	end(&pair->stream, raw);
	digest_from_raw("sha256", raw, sizeof(raw), ret);
}
