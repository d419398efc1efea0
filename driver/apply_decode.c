/* SPDX-License-Identifier: Apache-2.0 */
#include "driver/apply_internal.h"

#include <string.h>

#include "driver/base/auto.h"

int apply_decoder_init(struct apply_decoder *d, tar_read *read, void *arg,
		       const struct apply_options *options, const struct apply_limits *limits,
		       struct err *err)
{
	*d = (struct apply_decoder){
		.read = read, .arg = arg, .options = options, .limits = limits
	};
	return hasher_new("sha256", &d->blob, err);
}

void apply_decoder_release(struct apply_decoder *d)
{
	hasher_freep(&d->blob);
	inflate_freep(&d->inflate);
}

/* The next block of the blob becomes the input; 0 at its end. */
static ssize_t read_block(struct apply_decoder *d, struct err *err)
{
	const struct apply_options *options = d->options;
	const void *block = NULL;
	ssize_t len;

	if (options->cancelled && atomic_load_explicit(options->cancelled, memory_order_relaxed))
		return fail(err, -ECANCELED, "cancelled");
	if (d->ended)
		return 0;
	len = d->read(d->arg, &block, err);
	d->ended = len == 0;
	if (len <= 0)
		return len;
	if (!d->started || d->inflate)
		hasher_update(d->blob, block, (size_t)len);
	d->blob_bytes += (uint64_t)len;
	if (options->progress)
		options->progress(options->progress_arg, d->blob_bytes);
	d->in = block;
	d->in_len = (size_t)len;
	return len;
}

/* Makes `in` not empty, if the blob has more. */
static ssize_t more_input(struct apply_decoder *d, struct err *err)
{
	if (d->in_len)
		return (ssize_t)d->in_len;
	if (d->later_len) {
		d->in = d->later;
		d->in_len = d->later_len;
		d->later_len = 0;
		return (ssize_t)d->in_len;
	}
	return read_block(d, err);
}

/* The first bytes, in `in`: INFLATE_DETECT_BYTES at least, unless the blob is shorter. */
static int read_head(struct apply_decoder *d, struct err *err)
{
	size_t len = 0;
	ssize_t r = read_block(d, err);

	while (r > 0 && len + d->in_len < sizeof(d->head)) {
		memcpy(d->head + len, d->in, d->in_len);
		len += d->in_len;
		d->in_len = 0;
		r = read_block(d, err);
	}
	if (r < 0)
		return (int)r;
	if (len) {
		size_t missing = sizeof(d->head) - len;

		if (missing > d->in_len)
			missing = d->in_len;
		if (missing)
			memcpy(d->head + len, d->in, missing);
		d->later = d->in + missing;
		d->later_len = d->in_len - missing;
		d->in = d->head;
		d->in_len = len + missing;
	}
	return 0;
}

static int start(struct apply_decoder *d, struct err *err)
{
	enum inflate_kind kind;
	int r = read_head(d, err);

	if (r < 0)
		return r;
	d->started = true;
	kind = inflate_detect(d->in, d->in_len);
	return kind == INFLATE_PLAIN ? 0 : inflate_new(kind, &d->inflate, err);
}

/* As far as it goes; 0 where nothing came and the blob has ended. */
static ssize_t decode_some(struct apply_decoder *d, char *out, size_t cap, struct err *err)
{
	ssize_t input;
	size_t used, made;
	int r;

	do {
		input = more_input(d, err);
		if (input < 0)
			return input;
		if (!d->inflate) {
			used = made = d->in_len < cap ? d->in_len : cap;
			if (made)
				memcpy(out, d->in, made);
			r = 0;
		} else {
			r = inflate_run(d->inflate, d->in, d->in_len, &used, out, cap, &made, err);
		}
		if (r == 0 && d->inflate && !input && !made)
			r = inflate_end(d->inflate, err);
		if (r < 0)
			return r;
		d->in += used;
		d->in_len -= used;
	} while (input && !made);
	return (ssize_t)made;
}

static int check_ratio(const struct apply_decoder *d, struct err *err)
{
	if (!d->inflate || d->out_bytes <= APPLY_RATIO_FROM ||
	    d->out_bytes / d->limits->compression_ratio <= d->blob_bytes)
		return 0;
	return fail(err, -EFBIG,
		    "the layer unpacks to more than %u times its size" APPLY_LIMIT_WORDS(
			    "compression-ratio"),
		    d->limits->compression_ratio);
}

ssize_t apply_decode(struct apply_decoder *d, char *out, size_t cap, struct err *err)
{
	size_t len = 0;
	ssize_t made = d->started ? 0 : start(d, err);

	if (made < 0)
		return made;
	while (len < cap) {
		made = decode_some(d, out + len, cap - len, err);
		if (made < 0)
			return made;
		if (made == 0)
			break;
		len += (size_t)made;
	}
	d->out_bytes += len;
	made = check_ratio(d, err);
	return made < 0 ? made : (ssize_t)len;
}
