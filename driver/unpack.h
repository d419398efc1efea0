/* SPDX-License-Identifier: Apache-2.0 */
/*
 * unpack: driver/apply, in a process of its own that can reach only its staging directory.
 *
 * What a layer holds is read by decoders that have had bugs. They run in `overlaid-unpack`, a small
 * program that is started with two descriptors (a socket to us, and a staging directory), confines
 * itself (driver/confine.h) before it sees a byte from outside, and then takes layers in turn. Being a
 * program and not a fork it has none of our memory: no credentials, no database. Whatever ends it
 * is one layer's failure, in words.
 *
 * What confinement cannot give: the digests of a layer are computed in there too, so that a decoder
 * that was taken over could say that what it wrote is some layer which it is not.
 */
#ifndef DRIVER_UNPACK_H
#define DRIVER_UNPACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "driver/apply.h"
#include "driver/base/auto.h"
#include "driver/base/err.h"
#include "driver/confine.h"

struct unpack_options {
	enum overlay_xattrs xattrs;
	bool unconfined;       /* a process of its own, but with all that we may do */
	uint64_t memory_bytes; /* 0: that of confine_plan */
};

struct unpacker;

/*
 * Starts a process that unpacks beneath `staging_fd`. Of the layers beneath (NULL: none), to which
 * all that it unpacks is bound, it may read. It ends when the calling thread ends, if not before.
 * -ENOENT with words where the program is not installed: it is $OVERLAID_UNPACK, else
 * overlaid-unpack beside the running program or our library, or in ../libexec/overlaid from there,
 * /usr/local/bin or /usr/bin.
 */
int unpacker_new(int staging_fd, struct stack *parent, const struct unpack_options *options,
		 struct unpacker **ret, struct err *err);
/* Ends it, whatever it is doing. */
void unpacker_free(struct unpacker *u);
void unpacker_freep(struct unpacker **u);
#define auto_unpacker AUTO(unpacker_freep)

/* How many bytes of a file that still grows are there by now, counted from its beginning;
 * *ret_whole: that is all of it. Negative, with words: what it grows from failed. */
typedef int64_t unpack_grown(void *arg, bool *ret_whole, struct err *err);

/* Where a blob comes from. */
struct unpack_input {
	int fd;		/* a file: `size` bytes from `offset` on; -EBADF: the source below */
	int64_t offset; /* bytes */
	int64_t size;	/* -1: to its end */
	tar_read *read; /* read by us, and handed over through a pipe */
	void *arg;
	/* NULL: the file is whole. Else asked (with `arg`) once all that was there is handed over,
	 * and again whenever grown_fd, an eventfd that is emptied here, is readable. */
	unpack_grown *grown;
	int grown_fd;
};

/*
 * apply() of the input to staging/name/diff, a directory that is there and empty; contents.zst is
 * written beside it. Of the options `xattrs`, `lone`, `limits`, `threads`, `cancelled` and `progress`
 * count. Fails as apply does; -EIO: the process ended, words say how; -EPROTO: it does not speak as
 * we do (another version's). After a failure the unpacker can only be freed.
 */
int unpack_layer(struct unpacker *u, const char *name, const struct unpack_input *input,
		 const struct apply_options *options, struct apply_result *ret, struct err *err);

/* What the process gave up, once a layer was unpacked. */
const struct confine_report *unpacker_report(const struct unpacker *u);

#endif
