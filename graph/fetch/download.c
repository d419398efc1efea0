/* SPDX-License-Identifier: Apache-2.0 */
#include "graph/fetch/download.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "driver/base/clock.h"
#include "driver/base/fd.h"
#include "driver/base/pool.h"
#include "graph/fetch/partial.h"

#define PROGRESS_NS 100000000
#define LOOK_NS	    20000000
#define BLOCK_BYTES ((size_t)256 << 10)
#define HELD_BYTES  ((size_t)512 << 10) /* of what came, until it is written */

enum state { QUEUED, RUNNING, DONE, FAILED };

struct blob {
	const struct source_layer *layer;
	struct partial partial;
	bool kept;	      /* begun in an earlier process */
	unsigned int answers; /* that its bytes are of */
	size_t first_client;  /* that is asked */
	size_t last_client;   /* that was asked */
	/* under downloads.lock */
	enum state state;
	int64_t there;
	struct err err;
	int failed;
	struct stream *streams;
	struct blob *next; /* in the queue */
	/* of the try under way */
	int64_t position;
	bool no_range; /* the server cannot resume */
	bool local;    /* what failed is here */
	bool other;    /* a server has something else by that name */
	int64_t reported_ns;
};

struct stream {
	struct downloads *downloads;
	struct blob *blob;
	int grown_fd;
	struct stream *next;
};

struct downloads {
	struct downloads_options options;
	pthread_mutex_t lock;
	pthread_cond_t work;
	struct blob **blobs;
	size_t count, cap;
	struct blob *queue;
	pthread_t *threads;
	size_t thread_count;
	atomic_bool cancelled;
	atomic_uint_least64_t fetched;
};

/* ---- what comes ---- */

static void tell_streams(const struct blob *b)
{
	const uint64_t one = 1;

	for (const struct stream *s = b->streams; s; s = s->next)
		(void)!write(s->grown_fd, &one, sizeof(one));
}

/* "bytes 100-199/200". False where it is not what was asked for. */
static bool is_rest(const struct http_response *response, int64_t from, int64_t size)
{
	auto_free char *value = http_header(response, "content-range", 0);
	long long first, last, total;

	if (!value)
		return false;
	if (sscanf(value, "bytes %lld-%lld/%lld", &first, &last, &total) == 3)
		return first == from && last == size - 1 && total == size;
	return sscanf(value, "bytes %lld-%lld/*", &first, &last) == 2 && first == from &&
	       last == size - 1;
}

struct sink_arg {
	struct downloads *downloads;
	struct blob *blob;
	char *held; /* bytes before blob->position that are not in the file yet */
	size_t held_len;
};

/* The server has something else by that name. */
static int fail_size(struct blob *b, int64_t bytes, struct err *err)
{
	b->other = true;
	return fail(err, -EBADMSG, "%s has %lld bytes there, the manifest says %lld",
		    b->layer->blob.text, (long long)bytes, (long long)b->layer->size);
}

/* As sink_write, on the thread that does all input and output. */
static int sink_begin(void *arg, const struct http_response *response, struct err *err)
{
	struct blob *b = ((struct sink_arg *)arg)->blob;
	auto_free char *etag = http_header(response, "etag", 0);

	if (response->status == 206 && !is_rest(response, b->position, b->layer->size))
		return fail(err, -ESTALE, "it answers with another range than was asked for");
	if (response->status != 206)
		b->position = 0;
	if (response->length >= 0 && response->length != b->layer->size - b->position)
		return fail_size(b, b->position + response->length, err);
	b->answers++;
	/* A weak one does not say that bytes are the same (RFC 9110, 8.8.1). */
	if (b->position == 0)
		partial_set_validator(&b->partial,
				      etag && strncmp(etag, "W/", 2) != 0 ? etag : NULL);
	return 0;
}

static void report(struct downloads *d, struct blob *b, bool always)
{
	int64_t now = clock_ns();

	if (!d->options.progress || (!always && now - b->reported_ns < PROGRESS_NS))
		return;
	b->reported_ns = now;
	d->options.progress(d->options.progress_arg, b->layer, b->position);
}

static int write_at(struct blob *b, const char *data, size_t len, int64_t offset, struct err *err)
{
	while (len > 0) {
		ssize_t n = pwrite(b->partial.fd, data, len, offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			b->local = true;
			return fail(err, -errno, "write partial/%s: %m",
				    digest_hex(&b->layer->blob));
		}
		data += n;
		len -= (size_t)n;
		offset += n;
	}
	return 0;
}

/* What is held goes into the file, and is there. */
static int sink_flush(void *arg, struct err *err)
{
	struct sink_arg *s = arg;
	struct blob *b = s->blob;
	int r = write_at(b, s->held, s->held_len, b->position - (int64_t)s->held_len, err);

	s->held_len = 0;
	if (r < 0)
		return r;
	(void)pthread_mutex_lock(&s->downloads->lock);
	if (b->position > b->there) {
		b->there = b->position;
		tell_streams(b);
	}
	(void)pthread_mutex_unlock(&s->downloads->lock);
	report(s->downloads, b, false);
	return 0;
}

static int sink_write(void *arg, const void *data, size_t len, struct err *err)
{
	struct sink_arg *s = arg;
	struct blob *b = s->blob;
	int64_t there = b->there + (int64_t)s->held_len;
	size_t known;
	int r = 0;

	if ((int64_t)len > b->layer->size - b->position) {
		b->other = true;
		return fail(err, -EBADMSG,
			    "%s is longer there than the %lld bytes that the manifest says",
			    b->layer->blob.text, (long long)b->layer->size);
	}
	atomic_fetch_add(&s->downloads->fetched, len);
	/* What was read may have been hashed already: it stays as it is, whatever is sent now. */
	known = b->position >= there		   ? 0 :
		there - b->position < (int64_t)len ? (size_t)(there - b->position) :
						     len;
	b->position += (int64_t)known;
	data = (const char *)data + known;
	len -= known;
	while (r >= 0 && len > 0) {
		size_t room = HELD_BYTES - s->held_len, part = len < room ? len : room;

		memcpy(s->held + s->held_len, data, part);
		s->held_len += part;
		b->position += (int64_t)part;
		data = (const char *)data + part;
		len -= part;
		if (s->held_len == HELD_BYTES)
			r = sink_flush(arg, err);
	}
	return r;
}

/* ---- one blob ---- */

/* One try at one server. */
static int try_once(struct downloads *d, struct blob *b, struct client *client, const char *path,
		    struct http_response *response, enum http_trouble *trouble, struct err *err)
{
	auto_free char *held = malloc(HELD_BYTES);
	struct sink_arg arg = { .downloads = d, .blob = b, .held = held };
	const struct http_sink sink = { sink_begin, sink_write, sink_flush, &arg };
	const struct client_request request = { .path = path,
						.from = b->no_range ? 0 : b->there,
						.validator = b->partial.validator,
						.sink = &sink,
						.cancelled = &d->cancelled };
	int r;

	if (!held)
		return fail_oom(err);
	b->position = request.from;
	r = client_try(client, &request, response, trouble, err);
	if (r >= 0 && b->position != b->layer->size) {
		*trouble = HTTP_LASTING;
		r = fail_size(b, b->position, err);
	}
	return r;
}

/* One server, until it works or there is no use. */
static int fetch_from(struct downloads *d, struct blob *b, struct client *client, const char *path,
		      struct err *err)
{
	struct client_patience patience = { 0 };
	struct err words;
	int r;

	b->no_range = false;
	do {
		auto_http_response struct http_response response = { 0 };
		enum http_trouble trouble = HTTP_LASTING;
		int64_t before = b->there;

		words.text[0] = '\0';
		r = try_once(d, b, client, path, &response, &trouble, &words);
		if (r >= 0)
			return 0;
		if ((r == -ERANGE || r == -ESTALE) && !b->no_range) {
			b->no_range = true;
			r = 0;
			continue;
		}
		if (b->there - before >= DOWNLOAD_PROGRESS_BYTES)
			patience.tries = 0;
		r = client_wait(client, &patience, &response, trouble, r, &d->cancelled, &words);
	} while (r == 0);
	return fail(err, r, "%s", words.text);
}

/* What a manifest says of where a foreign layer is: no place for credentials, nor for plain http. */
static int fetch_elsewhere(struct downloads *d, struct blob *b, int code, struct err *err)
{
	for (char **url = b->layer->urls; url && *url && code < 0 && code != -ECANCELED; url++)
		if (strncmp(*url, "https://", 8) == 0)
			code = fetch_from(d, b, d->options.clients[0], *url, err);
	return code;
}

/* The first client from there on that may be asked for blobs; client_count: none. */
static size_t next_client(const struct downloads *d, size_t from)
{
	while (from < d->options.client_count &&
	       !client_endpoint(d->options.clients[from])->for_blobs)
		from++;
	return from;
}

static int fetch(struct downloads *d, struct blob *b, struct err *err)
{
	int r = fail(err, -ENOENT, "no server may be asked for %s", b->layer->blob.text);

	for (size_t i = next_client(d, b->first_client); i < d->options.client_count;
	     i = next_client(d, i + 1)) {
		struct client *client = d->options.clients[i];
		auto_free char *path = NULL;

		if (asprintf(&path, "/%s/blobs/%s", client_endpoint(client)->repository,
			     b->layer->blob.text) < 0) {
			path = NULL;
			return fail_oom(err);
		}
		b->last_client = i;
		r = fetch_from(d, b, client, path, err);
		if (r >= 0 || r == -ECANCELED || b->local)
			return r;
		/* It is not asked again, should the bytes be distrusted. */
		if (b->other)
			b->first_client = i + 1;
		/* Of another server's bytes this one's validator says nothing. */
		partial_set_validator(&b->partial, NULL);
	}
	b->last_client = d->options.client_count;
	return fetch_elsewhere(d, b, r, err);
}

static void end_blob(struct downloads *d, struct blob *b, int r, const struct err *err)
{
	(void)pthread_mutex_lock(&d->lock);
	/* What nobody has room for is not kept for later either, nor what is of something else. */
	if (r == -ENOSPC || r == -EDQUOT || (r < 0 && b->other))
		partial_drop(&b->partial);
	b->failed = r;
	b->err = *err;
	b->state = r < 0 ? FAILED : DONE;
	tell_streams(b);
	(void)pthread_mutex_unlock(&d->lock);
}

static struct blob *take_work(struct downloads *d)
{
	struct blob *b;

	(void)pthread_mutex_lock(&d->lock);
	while (!d->queue && !atomic_load(&d->cancelled))
		(void)pthread_cond_wait(&d->work, &d->lock);
	b = atomic_load(&d->cancelled) ? NULL : d->queue;
	if (b) {
		d->queue = b->next;
		b->state = RUNNING;
	}
	(void)pthread_mutex_unlock(&d->lock);
	return b;
}

static void *run(void *arg)
{
	struct downloads *d = arg;
	struct blob *b;

	while ((b = take_work(d))) {
		struct err err = { "" };
		int r;

		b->position = b->there;
		report(d, b, true);
		r = fetch(d, b, &err);
		if (r >= 0)
			report(d, b, true);
		end_blob(d, b, r, &err);
	}
	return NULL;
}

/* ---- the set ---- */

int downloads_new(const struct downloads_options *options, struct downloads **ret, struct err *err)
{
	struct downloads *d = calloc(1, sizeof(*d));

	if (!d)
		return fail_oom(err);
	d->options = *options;
	d->threads = calloc(options->parallel + 1, sizeof(*d->threads));
	if (!d->threads) {
		free(d);
		return fail_oom(err);
	}
	(void)pthread_mutex_init(&d->lock, NULL);
	(void)pthread_cond_init(&d->work, NULL);
	*ret = d;
	return 0;
}

void downloads_freep(struct downloads **at)
{
	struct downloads *d = *at;
	int saved = errno;

	if (!d)
		return;
	(void)pthread_mutex_lock(&d->lock);
	atomic_store(&d->cancelled, true);
	(void)pthread_cond_broadcast(&d->work);
	(void)pthread_mutex_unlock(&d->lock);
	for (size_t i = 0; i < d->thread_count; i++)
		(void)pthread_join(d->threads[i], NULL);
	for (size_t i = 0; i < d->count; i++) {
		partial_close(&d->blobs[i]->partial);
		free(d->blobs[i]);
	}
	free(d->blobs);
	free(d->threads);
	(void)pthread_mutex_destroy(&d->lock);
	(void)pthread_cond_destroy(&d->work);
	free(d);
	*at = NULL;
	errno = saved;
}

static struct blob *find(const struct downloads *d, const struct digest *digest)
{
	for (size_t i = 0; i < d->count; i++)
		if (digest_equal(&d->blobs[i]->layer->blob, digest))
			return d->blobs[i];
	return NULL;
}

static int add(struct downloads *d, const struct source_layer *layer, struct blob **ret,
	       struct err *err)
{
	struct blob *b;

	if (d->count == d->cap) {
		size_t cap = d->cap ? d->cap * 2 : 16;
		struct blob **more = reallocarray(d->blobs, cap, sizeof(struct blob *));

		if (!more)
			return fail_oom(err);
		d->blobs = more;
		d->cap = cap;
	}
	b = calloc(1, sizeof(*b));
	if (!b)
		return fail_oom(err);
	b->layer = layer;
	b->partial.fd = -EBADF;
	d->blobs[d->count++] = b;
	*ret = b;
	return 0;
}

/* Opens its file and puts it into the queue, unless it is whole. Locked. */
static int enqueue(struct downloads *d, struct blob *b, bool next, struct err *err)
{
	struct blob **at = &d->queue;
	int r;

	partial_close(&b->partial);
	r = partial_open(d->options.partial_fd, &b->layer->blob, b->layer->size, 0, &b->partial,
			 err);
	b->state = FAILED;
	b->failed = r;
	if (r < 0)
		return r;
	b->there = b->partial.bytes;
	b->kept = b->there > 0;
	b->answers = 0;
	b->failed = 0;
	b->local = b->other = false;
	b->state = b->there == b->layer->size ? DONE : QUEUED;
	if (b->state == DONE)
		return 0;
	while (!next && *at)
		at = &(*at)->next;
	b->next = *at;
	*at = b;
	if (d->thread_count < d->options.parallel) {
		r = pool_thread(&d->threads[d->thread_count], run, d);
		if (r >= 0)
			d->thread_count++;
		else if (d->thread_count == 0) {
			*at = b->next;
			b->state = FAILED;
			partial_close(&b->partial);
			return fail(err, r, "start a thread: %m");
		}
	}
	(void)pthread_cond_signal(&d->work);
	return 0;
}

/* The blob, known from now on. Locked. */
static int know(struct downloads *d, const struct source_layer *layer, bool next, struct blob **ret,
		struct err *err)
{
	struct blob *b = find(d, &layer->blob);
	int r;

	*ret = b;
	if (b && b->partial.fd >= 0)
		return 0;
	r = b ? 0 : add(d, layer, &b, err);
	if (r >= 0)
		r = enqueue(d, b, next, err);
	*ret = b;
	return r;
}

int downloads_expect(struct downloads *d, const struct source_layer *layer, struct err *err)
{
	struct blob *b;
	int r;

	(void)pthread_mutex_lock(&d->lock);
	r = know(d, layer, false, &b, err);
	(void)pthread_mutex_unlock(&d->lock);
	return r;
}

static int64_t stream_grown(void *arg, bool *ret_whole, struct err *err)
{
	struct stream *s = arg;
	struct downloads *d = s->downloads;
	int64_t r;

	(void)pthread_mutex_lock(&d->lock);
	r = s->blob->there;
	*ret_whole = s->blob->state == DONE;
	if (s->blob->state == FAILED)
		r = fail(err, s->blob->failed, "%s", s->blob->err.text);
	(void)pthread_mutex_unlock(&d->lock);
	return r;
}

static void stream_close(void *arg)
{
	struct stream *s = arg;

	(void)pthread_mutex_lock(&s->downloads->lock);
	for (struct stream **at = &s->blob->streams; *at; at = &(*at)->next)
		if (*at == s) {
			*at = s->next;
			break;
		}
	(void)pthread_mutex_unlock(&s->downloads->lock);
	auto_close_fn(&s->grown_fd);
	free(s);
}

/* Locked. */
static int open_stream(struct downloads *d, struct blob *b, struct source_stream *ret,
		       struct err *err)
{
	struct stream *s;

	if (b->state == FAILED)
		return fail(err, b->failed, "%s", b->err.text);
	*ret = (struct source_stream){ .fd = b->partial.fd,
				       .size = b->layer->size,
				       .grown_fd = -EBADF };
	if (b->state == DONE)
		return 0;
	s = calloc(1, sizeof(*s));
	if (!s)
		return fail_oom(err);
	*s = (struct stream){ .downloads = d, .blob = b, .next = b->streams };
	s->grown_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (s->grown_fd < 0) {
		free(s);
		return fail(err, -errno, "make an eventfd: %m");
	}
	b->streams = s;
	ret->grown = stream_grown;
	ret->grown_fd = s->grown_fd;
	ret->arg = s;
	ret->close = stream_close;
	return 0;
}

int downloads_open(struct downloads *d, const struct source_layer *layer, struct source_stream *ret,
		   struct err *err)
{
	struct blob *b;
	int r;

	(void)pthread_mutex_lock(&d->lock);
	r = know(d, layer, true, &b, err);
	if (r >= 0)
		r = open_stream(d, b, ret, err);
	(void)pthread_mutex_unlock(&d->lock);
	return r;
}

int downloads_file(struct downloads *d, const struct digest *digest)
{
	struct blob *b;
	int fd = -ENODATA;

	(void)pthread_mutex_lock(&d->lock);
	b = find(d, digest);
	if (b && b->state == DONE && b->partial.fd >= 0) {
		fd = fcntl(b->partial.fd, F_DUPFD_CLOEXEC, 3);
		fd = fd < 0 ? -errno : fd;
	}
	(void)pthread_mutex_unlock(&d->lock);
	return fd;
}

/* Whether it is, or will be, there. */
static bool is_awaited(struct downloads *d, const struct digest *digest)
{
	const struct blob *b;
	bool awaited;

	(void)pthread_mutex_lock(&d->lock);
	b = find(d, digest);
	awaited = b && (b->state == QUEUED || b->state == RUNNING);
	(void)pthread_mutex_unlock(&d->lock);
	return awaited;
}

static int hash_file(int fd, const struct digest *kind, struct digest *ret, struct err *err)
{
	auto_free char *block = malloc(BLOCK_BYTES);
	auto_hasher struct hasher *hasher = NULL;
	off_t offset = 0;
	ssize_t n;
	int r = hasher_new(kind->text, &hasher, err);

	if (r < 0)
		return r;
	if (!block)
		return fail_oom(err);
	while ((n = pread_full(fd, block, BLOCK_BYTES, offset)) > 0) {
		hasher_update(hasher, block, (size_t)n);
		offset += n;
	}
	if (n < 0)
		return fail(err, (int)n, "read what was downloaded: %m");
	hasher_final(hasher, ret);
	return 0;
}

int downloads_check(struct downloads *d, const struct digest *digest, const atomic_bool *cancelled,
		    struct err *err)
{
	const struct timespec slice = { .tv_nsec = LOOK_NS };
	auto_close int fd = -EBADF;
	struct digest have;
	int r;

	while (is_awaited(d, digest) && !(cancelled && atomic_load(cancelled)))
		(void)clock_nanosleep(CLOCK_MONOTONIC, 0, &slice, NULL);
	fd = downloads_file(d, digest);
	r = fd < 0 ? 0 : hash_file(fd, digest, &have, err);
	if (fd < 0 || r < 0 || digest_equal(digest, &have))
		return 0;
	return fail(err, -EBADMSG, "its blob should have digest %s, but what came has %s",
		    digest->text, have.text);
}

bool downloads_distrust(struct downloads *d, const struct digest *digest)
{
	struct blob *b;
	bool again = false;

	(void)pthread_mutex_lock(&d->lock);
	b = find(d, digest);
	if (b && b->state == DONE && b->partial.fd >= 0) {
		if (!b->kept && b->answers <= 1)
			b->first_client = b->last_client + 1;
		again = next_client(d, b->first_client) < d->options.client_count;
		partial_drop(&b->partial);
		partial_close(&b->partial);
	}
	(void)pthread_mutex_unlock(&d->lock);
	return again;
}

void downloads_done(struct downloads *d)
{
	(void)pthread_mutex_lock(&d->lock);
	for (size_t i = 0; i < d->count; i++)
		if (d->blobs[i]->state == DONE)
			partial_drop(&d->blobs[i]->partial);
	(void)pthread_mutex_unlock(&d->lock);
}

uint64_t downloads_fetched(struct downloads *d)
{
	return atomic_load(&d->fetched);
}
