/* SPDX-License-Identifier: Apache-2.0 */
#include "driver/apply_internal.h"

#include <string.h>

#include "driver/base/auto.h"

/* What inflate fills before libarchive sees it: large enough that few headers lie across two blocks. */
#define OUT_BYTES ((size_t)256 << 10)

int apply_stream_init(struct apply_stream *s, tar_read *read, void *arg,
		      const struct apply_options *options, uint64_t tar_max, struct err *err)
{
	*s = (struct apply_stream){
		.read = read, .arg = arg, .options = options, .tar_max = tar_max
	};
	return hasher_new("sha256", &s->blob, err);
}

void apply_stream_release(struct apply_stream *s)
{
	hasher_freep(&s->blob);
	hasher_freep(&s->diff);
	inflate_freep(&s->inflate);
	free(s->out);
}

/* ---- the blob ---- */

/* The next block of the blob becomes the input; 0 at its end. */
static ssize_t read_block(struct apply_stream *s, struct err *err)
{
	const struct apply_options *options = s->options;
	const void *block = NULL;
	ssize_t len;

	if (options->cancelled && atomic_load_explicit(options->cancelled, memory_order_relaxed))
		return fail(err, -ECANCELED, "cancelled");
	if (s->ended)
		return 0;
	len = s->read(s->arg, &block, err);
	s->ended = len == 0;
	if (len <= 0)
		return len;
	hasher_update(s->blob, block, (size_t)len);
	s->blob_bytes += (uint64_t)len;
	if (options->progress)
		options->progress(options->progress_arg, s->blob_bytes);
	s->in = block;
	s->in_len = (size_t)len;
	return len;
}

/* Makes `in` not empty, if the blob has more. */
static ssize_t more_input(struct apply_stream *s, struct err *err)
{
	if (s->in_len)
		return (ssize_t)s->in_len;
	if (s->later_len) {
		s->in = s->later;
		s->in_len = s->later_len;
		s->later_len = 0;
		return (ssize_t)s->in_len;
	}
	return read_block(s, err);
}

/* The first bytes, in `in`: INFLATE_DETECT_BYTES at least, unless the blob is shorter. */
static int read_head(struct apply_stream *s, struct err *err)
{
	size_t len = 0;
	ssize_t r = read_block(s, err);

	while (r > 0 && len + s->in_len < sizeof(s->head)) {
		memcpy(s->head + len, s->in, s->in_len);
		len += s->in_len;
		s->in_len = 0;
		r = read_block(s, err);
	}
	if (r < 0)
		return (int)r;
	if (len) {
		size_t missing = sizeof(s->head) - len;

		if (missing > s->in_len)
			missing = s->in_len;
		if (missing)
			memcpy(s->head + len, s->in, missing);
		s->later = s->in + missing;
		s->later_len = s->in_len - missing;
		s->in = s->head;
		s->in_len = len + missing;
	}
	return 0;
}

static int start(struct apply_stream *s, struct err *err)
{
	enum inflate_kind kind;
	int r = read_head(s, err);

	if (r < 0)
		return r;
	s->started = true;
	kind = inflate_detect(s->in, s->in_len);
	if (kind == INFLATE_PLAIN)
		return 0;
	s->out = malloc(OUT_BYTES);
	if (!s->out)
		return fail_oom(err);
	r = inflate_new(kind, &s->inflate, err);
	if (r == 0)
		r = hasher_new("sha256", &s->diff, err);
	return r;
}

/* ---- the tar ---- */

static ssize_t read_plain(struct apply_stream *s, const void **ret_block, struct err *err)
{
	ssize_t len = more_input(s, err);

	if (len > 0)
		*ret_block = s->in;
	s->in_len = 0;
	return len;
}

/* Fills `out` as far as the blob goes. */
static ssize_t read_inflated(struct apply_stream *s, const void **ret_block, struct err *err)
{
	size_t len = 0, used, made;
	ssize_t input;
	int r;

	while (len < OUT_BYTES) {
		input = more_input(s, err);
		if (input < 0)
			return input;
		r = inflate_run(s->inflate, s->in, s->in_len, &used, s->out + len, OUT_BYTES - len,
				&made, err);
		if (r == 0 && !input && !made)
			r = inflate_end(s->inflate, err);
		if (r < 0)
			return r;
		if (!input && !made)
			break;
		s->in += used;
		s->in_len -= used;
		len += made;
	}
	hasher_update(s->diff, s->out, len);
	*ret_block = s->out;
	return (ssize_t)len;
}

ssize_t apply_stream_read(void *arg, const void **ret_block, struct err *err)
{
	struct apply_stream *s = arg;
	ssize_t len = 0;

	if (!s->started)
		len = start(s, err);
	if (len == 0)
		len = s->inflate ? read_inflated(s, ret_block, err) : read_plain(s, ret_block, err);
	if (len <= 0)
		return len;
	s->tar_bytes += (uint64_t)len;
	if (s->tar_bytes > s->tar_max)
		return fail(err, -EFBIG, "the layer is larger than %llu bytes (uncompressed)",
			    (unsigned long long)s->tar_max);
	return len;
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
	hasher_final(s->blob, &result->blob);
	if (s->diff)
		hasher_final(s->diff, &result->diff_id);
	else
		result->diff_id = result->blob;
	result->blob_bytes = s->blob_bytes;
	result->tar_bytes = s->tar_bytes;
	return 0;
}
