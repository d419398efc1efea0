/* SPDX-License-Identifier: Apache-2.0 */
#include "driver/apply_internal.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "driver/base/auto.h"

#define STAT_BLOCK 512 /* the unit of st_blocks, whatever the filesystem */

/* Waking a thread costs as much as a small file: the writer is woken for so many at once, or for so
 * many bytes. */
#define BATCH_FILES 16
#define BATCH_BYTES ((size_t)128 << 10)

/* What a large file has in the page cache is on its way to the disk after so many bytes, so that the
 * sync at the end has little left to wait for. */
#define FLUSH_BYTES ((int64_t)8 << 20)

/* ---- one file ---- */

static int write_at(int fd, const char *data, size_t len, int64_t offset)
{
	while (len) {
		ssize_t done = pwrite(fd, data, len, offset);

		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0)
			return -errno;
		data += done;
		len -= (size_t)done;
		offset += done;
	}
	return 0;
}

static int write_piece(const struct apply_write *w, struct err *err)
{
	const int64_t end = w->offset + (int64_t)w->len;
	const int64_t flushed = w->offset / FLUSH_BYTES * FLUSH_BYTES;
	int r = write_at(w->fd, w->data, w->len, w->offset);

	if (r < 0)
		return fail(err, r, "write: %m");
	/* A hint: what cannot be flushed early is flushed at the end. */
	if (end / FLUSH_BYTES * FLUSH_BYTES > flushed)
		(void)sync_file_range(w->fd, flushed, end - flushed, SYNC_FILE_RANGE_WRITE);
	return 0;
}

/* Making device nodes and giving files away is root's. */
const char *apply_hint(int code)
{
	return code == -EPERM ? " (this needs root, or a user namespace that maps the ids)" : "";
}

/* Size, owner, mode, xattrs, times, in this order: each may undo what comes before its place. */
static int finish_file(const struct apply_writer *writer, const struct apply_write *w,
		       struct stat *ret_st, struct err *err)
{
	struct timespec times[2] = { w->mtime, w->mtime };
	struct stat st;
	int r;

	if (fstat(w->fd, &st) < 0)
		return fail(err, -errno, "look at the file: %m");
	if (st.st_size < w->size && ftruncate(w->fd, w->size) < 0)
		return fail(err, -errno, "set the size: %m");
	if ((st.st_uid != w->uid || st.st_gid != w->gid) && fchown(w->fd, w->uid, w->gid) < 0)
		return fail(err, -errno, "give it to %u:%u: %m%s", w->uid, w->gid,
			    apply_hint(-errno));
	/* It was made without the upper three bits, which a change of owner would have taken. */
	if ((st.st_mode & 07777) != w->mode && fchmod(w->fd, w->mode) < 0)
		return fail(err, -errno, "set the mode: %m");
	if (w->entry) {
		r = apply_xattrs(w->fd, w->entry, false, writer->limits, writer->dropped, err);
		if (r < 0)
			return r;
		/* They may take a block. */
		if (fstat(w->fd, &st) < 0)
			return fail(err, -errno, "look at the file: %m");
	}
	if (futimens(w->fd, times) < 0)
		return fail(err, -errno, "set the times: %m");
	st.st_size = w->size;
	*ret_st = st;
	return 0;
}

static int do_write(struct apply_writer *w, const struct apply_write *write, struct err *err)
{
	struct stat st = { 0 };
	int r = write->len ? write_piece(write, err) : 0;

	if (r < 0 || !write->last)
		return r;
	r = finish_file(w, write, &st, err);
	if (r < 0)
		return r;
	w->bytes += (uint64_t)st.st_size;
	w->disk_bytes += (uint64_t)st.st_blocks * STAT_BLOCK;
	return 0;
}

/* In the writer's thread. After a failure nothing is written any more. */
static void do_queued(struct apply_writer *w, const struct apply_write *write, const char *path)
{
	struct tree_text text;
	struct err err = { 0 };
	int r = atomic_load(&w->code) ? 0 : do_write(w, write, &err);

	if (r < 0) {
		(void)fail(&w->err, r, "%s: %s", tree_printable(path, &text), err.text);
		atomic_store(&w->code, r);
	}
	if (write->last)
		(void)close(write->fd);
}

/* ---- the writer's side ---- */

static void do_batch(struct apply_writer *w, size_t from, size_t to)
{
	for (size_t i = from; i != to; i++) {
		struct apply_queued *q = &w->queue[i % APPLY_QUEUE];

		do_queued(w, &q->write, q->path);
	}
}

static void *write_all(void *arg)
{
	struct apply_writer *w = arg;
	struct apply_pipe *pipe = w->pipe;
	size_t from, to;

	(void)pthread_mutex_lock(&pipe->lock);
	for (;;) {
		while (w->taken == w->published && !w->end)
			(void)pthread_cond_wait(&pipe->writer, &pipe->lock);
		from = w->taken;
		to = w->published;
		if (from == to)
			break;
		(void)pthread_mutex_unlock(&pipe->lock);
		do_batch(w, from, to);
		(void)pthread_mutex_lock(&pipe->lock);
		for (size_t i = from; i != to; i++) {
			struct apply_chunk *chunk = w->queue[i % APPLY_QUEUE].write.chunk;

			if (chunk)
				chunk->users--;
		}
		w->taken = to;
		(void)pthread_cond_signal(&pipe->applier);
		(void)pthread_cond_signal(&pipe->decoder);
	}
	(void)pthread_mutex_unlock(&pipe->lock);
	return NULL;
}

/* ---- the applier's side ---- */

int apply_writer_init(struct apply_writer *w, struct apply_pipe *pipe,
		      const struct apply_limits *limits, uint64_t *dropped, struct err *err)
{
	int r;

	w->pipe = pipe;
	w->limits = limits;
	w->dropped = dropped;
	r = pipe->threads ? apply_thread(&w->thread, write_all, w, err) : 0;
	w->started = pipe->threads && r == 0;
	return r;
}

void apply_writer_flush(struct apply_writer *w)
{
	if (w->put == w->published)
		return;
	(void)pthread_mutex_lock(&w->pipe->lock);
	for (size_t i = w->published; i != w->put; i++) {
		struct apply_chunk *chunk = w->queue[i % APPLY_QUEUE].write.chunk;

		if (chunk)
			chunk->users++;
	}
	w->published = w->put;
	w->batch_bytes = 0;
	(void)pthread_cond_signal(&w->pipe->writer);
	(void)pthread_mutex_unlock(&w->pipe->lock);
}

/* Until at most `left` of those put are not done. */
static void wait_until(struct apply_writer *w, size_t left)
{
	apply_writer_flush(w);
	(void)pthread_mutex_lock(&w->pipe->lock);
	while (w->put - w->taken > left)
		(void)pthread_cond_wait(&w->pipe->applier, &w->pipe->lock);
	(void)pthread_mutex_unlock(&w->pipe->lock);
}

int apply_writer_failure(const struct apply_writer *w, struct err *err)
{
	int code = atomic_load(&w->code);

	return code ? fail(err, code, "%s", w->err.text) : 0;
}

static void put(struct apply_writer *w, const struct apply_write *write, const char *path)
{
	struct apply_queued *q = &w->queue[w->put % APPLY_QUEUE];

	if (w->put - w->taken >= APPLY_QUEUE)
		wait_until(w, APPLY_QUEUE / 2);
	q->write = *write;
	(void)snprintf(q->path, sizeof(q->path), "%s", path);
	w->put++;
	w->batch_bytes += write->len;
	if (w->put - w->published >= BATCH_FILES || w->batch_bytes >= BATCH_BYTES)
		apply_writer_flush(w);
}

int apply_writer_put(struct apply_writer *w, const struct apply_write *write, const char *path,
		     struct err *err)
{
	struct apply_write rest = *write;
	int r;

	if (!w->pipe->threads || write->entry) {
		r = do_write(w, write, err);
		if (write->last)
			auto_close_fn(&rest.fd);
		return r;
	}
	if (write->len && !write->chunk) {
		r = write_piece(write, err);
		rest.len = 0;
		if (r < 0 || !write->last) {
			if (write->last)
				auto_close_fn(&rest.fd);
			return r;
		}
	}
	put(w, &rest, path);
	return apply_writer_failure(w, err);
}

int apply_writer_finish(struct apply_writer *w, struct apply_result *result, struct err *err)
{
	wait_until(w, 0);
	result->bytes += w->bytes;
	result->disk_bytes += w->disk_bytes;
	return apply_writer_failure(w, err);
}

void apply_writer_release(struct apply_writer *w)
{
	if (!w->started)
		return;
	apply_writer_flush(w);
	(void)pthread_mutex_lock(&w->pipe->lock);
	w->end = true;
	(void)pthread_cond_signal(&w->pipe->writer);
	(void)pthread_mutex_unlock(&w->pipe->lock);
	(void)pthread_join(w->thread, NULL);
}
