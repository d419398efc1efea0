/* SPDX-License-Identifier: Apache-2.0 */
/*
 * download: blobs of one repository, several at a time, into files of partial/ that can be read while
 * they grow.
 *
 * A blob is asked for at each client in turn, resumed where the one before stopped. What a server
 * sends is taken only as far as the blob's size, and is not verified here: who reads it does, and
 * says so with downloads_distrust where it is wrong. A server that cannot resume sends all again,
 * over what is there.
 */
#ifndef GRAPH_FETCH_DOWNLOAD_H
#define GRAPH_FETCH_DOWNLOAD_H

#include "graph/fetch/client.h"
#include "graph/fetch/source.h"

#define DOWNLOAD_PROGRESS_BYTES ((int64_t)64 << 10) /* a try that brought so much was not in vain */

struct downloads_options {
	struct client *const *clients; /* in the order in which to ask */
	size_t client_count;
	int partial_fd;	       /* borrowed */
	unsigned int parallel; /* at most so many at once */
	/* From any thread, now and then, and at the end of each. NULL: nobody wants to know. */
	void (*progress)(void *arg, const struct source_layer *layer, int64_t done_bytes);
	void *progress_arg;
};

struct downloads;

/* options, and what it points to, must outlive it. */
int downloads_new(const struct downloads_options *options, struct downloads **ret, struct err *err);
/* Ends what is under way; no stream may be open. What has come stays for the next time. */
void downloads_freep(struct downloads **downloads);

/* Has the layer's blob fetched, after those that were asked for before; known ones are no harm. The
 * layer must outlive `downloads`. */
int downloads_expect(struct downloads *downloads, const struct source_layer *layer,
		     struct err *err);
/* As source_open_layer. One that was not expected comes next. */
int downloads_open(struct downloads *downloads, const struct source_layer *layer,
		   struct source_stream *ret, struct err *err);
/* The whole file of a blob that was fetched: a descriptor, the caller's. -ENODATA: it was not. */
int downloads_file(struct downloads *downloads, const struct digest *blob);

/* Waits for the rest of a blob, and holds all of it against its digest. -EBADMSG: it is another; 0:
 * it is the one, or could not be had. */
int downloads_check(struct downloads *downloads, const struct digest *blob,
		    const atomic_bool *cancelled, struct err *err);
/* A blob did not have its digest. It is dropped; true where it may be right if it is opened again:
 * it was not all of one server, and there is another one to ask or it was kept from an earlier
 * time. No stream of it may be open. */
bool downloads_distrust(struct downloads *downloads, const struct digest *blob);

/* All was used: takes the files away. */
void downloads_done(struct downloads *downloads);

/* Bytes that came from the network. */
uint64_t downloads_fetched(struct downloads *downloads);

#endif
