/* SPDX-License-Identifier: Apache-2.0 */
#include "driver/apply_internal.h"

#include <string.h>

#include "driver/base/auto.h"
#include "driver/base/pool.h"

/* ---- threads ---- */

void apply_pipe_init(struct apply_pipe *pipe, bool threads)
{
	*pipe = (struct apply_pipe){ .threads = threads };
	(void)pthread_mutex_init(&pipe->lock, NULL);
	(void)pthread_cond_init(&pipe->decoder, NULL);
	(void)pthread_cond_init(&pipe->applier, NULL);
	(void)pthread_cond_init(&pipe->writer, NULL);
}

void apply_pipe_release(struct apply_pipe *pipe)
{
	(void)pthread_mutex_destroy(&pipe->lock);
	(void)pthread_cond_destroy(&pipe->decoder);
	(void)pthread_cond_destroy(&pipe->applier);
	(void)pthread_cond_destroy(&pipe->writer);
}

int apply_thread(pthread_t *ret, void *(*run)(void *), void *arg, struct err *err)
{
	int r = pool_thread(ret, run, arg);

	return r < 0 ? fail(err, r, "start a thread: %m") : 0;
}

/* ---- the decoder's side ---- */

/* The next chunk to fill, once nobody uses it; NULL: no more are wanted. */
static struct apply_chunk *next_free(struct apply_stream *s)
{
	struct apply_chunk *chunk = &s->chunks[s->next_filled % APPLY_CHUNKS];

	(void)pthread_mutex_lock(&s->pipe->lock);
	while (!s->pipe->stop && (chunk->filled || chunk->users))
		(void)pthread_cond_wait(&s->pipe->decoder, &s->pipe->lock);
	if (s->pipe->stop)
		chunk = NULL;
	(void)pthread_mutex_unlock(&s->pipe->lock);
	return chunk;
}

static int fill(struct apply_stream *s, struct apply_chunk *chunk, struct err *err)
{
	ssize_t len;

	if (!chunk->data)
		chunk->data = malloc(APPLY_CHUNK_BYTES);
	if (!chunk->data)
		return fail_oom(err);
	len = apply_decode(&s->decoder, chunk->data, APPLY_CHUNK_BYTES, err);
	if (len < 0)
		return (int)len;
	chunk->len = (size_t)len;
	return len ? 0 : 1;
}

static void *decode_all(void *arg)
{
	struct apply_stream *s = arg;
	struct apply_chunk *chunk;
	int code = 0;

	while (!code && (chunk = next_free(s))) {
		code = fill(s, chunk, &s->err);
		(void)pthread_mutex_lock(&s->pipe->lock);
		s->code = code;
		chunk->filled = !code;
		s->next_filled++;
		(void)pthread_cond_signal(&s->pipe->applier);
		(void)pthread_mutex_unlock(&s->pipe->lock);
	}
	return NULL;
}

/* ---- the applier's side ---- */

int apply_stream_init(struct apply_stream *s, struct apply_pipe *pipe, tar_read *read, void *arg,
		      const struct apply_options *options, const struct apply_limits *limits,
		      struct err *err)
{
	int r;

	s->pipe = pipe;
	s->limits = limits;
	r = apply_decoder_init(&s->decoder, read, arg, options, limits, err);
	return r < 0 ? r : digest_pair_new(&s->digests, err);
}

void apply_stream_release(struct apply_stream *s)
{
	if (s->started) {
		(void)pthread_mutex_lock(&s->pipe->lock);
		s->pipe->stop = true;
		(void)pthread_cond_signal(&s->pipe->decoder);
		(void)pthread_mutex_unlock(&s->pipe->lock);
		(void)pthread_join(s->thread, NULL);
	}
	for (size_t i = 0; i < APPLY_CHUNKS; i++)
		free(s->chunks[i].data);
	digest_pair_freep(&s->digests);
	apply_decoder_release(&s->decoder);
}

/* 0 and the next chunk, 1 at the end of the blob. */
static int wait_for_chunk(struct apply_stream *s, struct apply_chunk **ret, struct err *err)
{
	struct apply_chunk *chunk = &s->chunks[s->next_read % APPLY_CHUNKS];
	int code;

	if (!s->started) {
		code = apply_thread(&s->thread, decode_all, s, err);
		if (code < 0)
			return code;
		s->started = true;
	}
	(void)pthread_mutex_lock(&s->pipe->lock);
	while (!chunk->filled && !s->code)
		(void)pthread_cond_wait(&s->pipe->applier, &s->pipe->lock);
	code = chunk->filled ? 0 : s->code;
	(void)pthread_mutex_unlock(&s->pipe->lock);
	if (code < 0)
		return fail(err, code, "%s", s->err.text);
	*ret = chunk;
	return code;
}

/* As wait_for_chunk, without the decoder's thread. Who has files with bytes in a chunk writes them
 * before the next one is wanted. */
static int make_chunk(struct apply_stream *s, struct apply_chunk **ret, struct err *err)
{
	*ret = &s->chunks[0];
	return fill(s, *ret, err);
}

static void leave_chunk(struct apply_stream *s)
{
	struct apply_chunk *chunk = s->now;

	digest_pair_stream(s->digests, s->hashed, (size_t)(chunk->data + chunk->len - s->hashed));
	s->now = NULL;
	if (!s->pipe->threads)
		return;
	(void)pthread_mutex_lock(&s->pipe->lock);
	chunk->filled = false;
	(void)pthread_cond_signal(&s->pipe->decoder);
	(void)pthread_mutex_unlock(&s->pipe->lock);
	s->next_read++;
}

ssize_t apply_stream_read(void *arg, const void **ret_block, struct err *err)
{
	struct apply_stream *s = arg;
	struct apply_chunk *chunk = NULL;
	int r;

	if (s->now)
		leave_chunk(s);
	r = s->pipe->threads ? wait_for_chunk(s, &chunk, err) : make_chunk(s, &chunk, err);
	if (r)
		return r < 0 ? r : 0;
	s->now = chunk;
	s->hashed = chunk->data;
	s->tar_bytes += chunk->len;
	if (s->tar_bytes > s->limits->bytes)
		return fail(err, -EFBIG,
			    "the layer is larger than %llu bytes (uncompressed)" APPLY_LIMIT_WORDS(
				    "layer-bytes"),
			    (unsigned long long)s->limits->bytes);
	*ret_block = chunk->data;
	return (ssize_t)chunk->len;
}

struct apply_chunk *apply_stream_chunk(const struct apply_stream *s, const char *block)
{
	if (!s->now || block < s->now->data || block >= s->now->data + s->now->len)
		return NULL;
	return s->now;
}

void apply_stream_piece(struct apply_stream *s, const char *block, size_t len)
{
	if (!apply_stream_chunk(s, block) || block < s->hashed) {
		digest_pair_piece(s->digests, block, len);
		return;
	}
	digest_pair_stream(s->digests, s->hashed, (size_t)(block - s->hashed));
	digest_pair_both(s->digests, block, len);
	s->hashed = block + len;
}

void apply_stream_zeros(struct apply_stream *s, uint64_t len)
{
	static const char zeros[65536];

	for (size_t part; len; len -= part) {
		part = len < sizeof(zeros) ? (size_t)len : sizeof(zeros);
		digest_pair_piece(s->digests, zeros, part);
	}
}

void apply_stream_own_piece(struct apply_stream *s, const void *data, size_t len)
{
	digest_pair_piece(s->digests, data, len);
}

void apply_stream_end_piece(struct apply_stream *s, uint8_t ret[DIGEST_PIECE_BYTES])
{
	digest_pair_end_piece(s->digests, ret);
}

int apply_stream_finish(struct apply_stream *s, struct apply_result *result, struct err *err)
{
	const void *block;
	ssize_t len;

	do {
		len = apply_stream_read(s, &block, err);
	} while (len > 0);
	if (len < 0)
		return (int)len;
	digest_pair_end(s->digests, &result->diff_id);
	if (s->decoder.inflate)
		hasher_final(s->decoder.blob, &result->blob);
	else
		result->blob = result->diff_id;
	result->blob_bytes = s->decoder.blob_bytes;
	result->tar_bytes = s->tar_bytes;
	return 0;
}
