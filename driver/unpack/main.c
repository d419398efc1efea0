/* SPDX-License-Identifier: Apache-2.0 */
/*
 * overlaid-unpack: the program in which layers are unpacked. driver/unpack.c starts it; driver/unpack_wire.h
 * says what the two say to each other.
 */
#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "driver/apply.h"
#include "driver/base/auto.h"
#include "driver/base/fd.h"
#include "driver/contents.h"
#include "driver/inflate.h"
#include "driver/unpack_wire.h"

#define BLOCK_BYTES	    ((size_t)256 << 10)
#define PROGRESS_STEP_BYTES ((uint64_t)1 << 20)

struct service {
	struct unpack_greeting greeting;
	struct stack *parent;
	struct stack_layer *layers; /* the parent's */
	struct buf implied;	    /* their lists */
};

/* ---- what it says ---- */

static int say(const void *packet, size_t len)
{
	return send(UNPACK_SOCKET_FD, packet, len, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

static int say_implied(const struct buf *implied)
{
	char packet[UNPACK_PACKET_MAX / 2];
	const size_t head = UNPACK_REPLY_HEAD, room = sizeof(packet) - head;
	const struct unpack_reply reply = { .kind = UNPACK_IMPLIED };
	int r = 0;

	memcpy(packet, &reply, head);
	for (size_t at = 0; at < implied->len && r == 0; at += room) {
		size_t len = implied->len - at < room ? implied->len - at : room;

		memcpy(packet + head, implied->data + at, len);
		r = say(packet, head + len);
	}
	return r;
}

static int say_result(int code, const struct err *err, const struct apply_result *result)
{
	struct unpack_reply reply = { .kind = UNPACK_RESULT };
	int r = code < 0 ? 0 : say_implied(&result->implied);

	reply.result = (struct unpack_result){
		.code = code,
		.err = *err,
		.blob = result->blob,
		.diff_id = result->diff_id,
		.blob_bytes = result->blob_bytes,
		.tar_bytes = result->tar_bytes,
		.bytes = result->bytes,
		.disk_bytes = result->disk_bytes,
		.entries = result->entries,
		.dropped_xattrs = result->dropped_xattrs,
		.max_uid = result->max_uid,
		.max_gid = result->max_gid,
		.bound = result->bound,
		.root_implied = result->root_implied,
	};
	return r < 0 ? r : say(&reply, sizeof(reply));
}

/* ---- input ---- */

struct input {
	int fd;
	bool seekable;
	int64_t offset, left; /* left -1: to the end */
	char *block;
	uint64_t said;
};

static ssize_t read_input(void *arg, const void **ret_block, struct err *err)
{
	struct input *in = arg;
	size_t want = in->left >= 0 && (uint64_t)in->left < BLOCK_BYTES ? (size_t)in->left :
									  BLOCK_BYTES;
	ssize_t len;

	do {
		len = in->seekable ? pread(in->fd, in->block, want, in->offset) :
				     read(in->fd, in->block, want);
	} while (len < 0 && errno == EINTR);
	if (len < 0)
		return fail(err, -errno, "read the blob: %m");
	in->offset += len;
	if (in->left >= 0)
		in->left -= len;
	*ret_block = in->block;
	return len;
}

static void progress(void *arg, uint64_t blob_bytes)
{
	struct input *in = arg;
	struct unpack_reply reply = { .kind = UNPACK_PROGRESS, .blob_bytes = blob_bytes };

	if (blob_bytes - in->said < PROGRESS_STEP_BYTES)
		return;
	in->said = blob_bytes;
	(void)say(&reply, UNPACK_REPLY_HEAD + sizeof(reply.blob_bytes));
}

/* ---- a layer ---- */

static int unpack_into(struct service *s, const struct unpack_request *request, struct input *in,
		       int dir_fd, struct apply_result *ret, struct err *err)
{
	auto_close int tree_fd = openat(dir_fd, "diff",
					O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	auto_close int contents_fd = openat(dir_fd, "contents.zst",
					    O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC,
					    0600);
	auto_contents_writer struct contents_writer *contents = NULL;
	struct apply_options options = {
		.xattrs = request->xattrs,
		.parent = s->parent,
		.lone = request->lone,
		.limits = request->limits,
		.threads = request->threads,
		.progress = progress,
		.progress_arg = in,
	};
	int r;

	if (tree_fd < 0 || contents_fd < 0)
		return fail(err, -errno, "open the layer's directory in staging: %m");
	r = contents_writer_new(contents_fd, &contents, err);
	options.contents = contents;
	if (r == 0)
		r = apply(read_input, in, tree_fd, &options, ret, err);
	return r < 0 ? r : contents_finish(contents, err);
}

static int unpack(struct service *s, const struct unpack_request *request, int fd,
		  struct apply_result *ret, struct err *err)
{
	auto_free char *block = malloc(BLOCK_BYTES);
	struct input in = { .fd = fd,
			    .seekable = request->seekable,
			    .offset = request->offset,
			    .left = request->size,
			    .block = block };
	auto_close int dir_fd = openat(UNPACK_STAGING_FD, request->name,
				       O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	if (!block)
		return fail_oom(err);
	if (dir_fd < 0)
		return fail(err, -errno, "open the layer's directory in staging: %m");
	return unpack_into(s, request, &in, dir_fd, ret, err);
}

/* 1 and a request with its descriptor, 0 when nothing more is wanted. */
static int hear(struct unpack_request *request, int *ret_fd)
{
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(sizeof(int))];
	} control = { 0 };
	struct iovec bytes = { request, sizeof(*request) };
	struct msghdr message = { .msg_iov = &bytes,
				  .msg_iovlen = 1,
				  .msg_control = control.room,
				  .msg_controllen = sizeof(control.room) };
	struct cmsghdr *header;
	ssize_t len;

	do {
		len = recvmsg(UNPACK_SOCKET_FD, &message, MSG_CMSG_CLOEXEC);
	} while (len < 0 && errno == EINTR);
	if (len == 0 || (len < 0 && errno == ECONNRESET))
		return 0;
	header = CMSG_FIRSTHDR(&message);
	if (len != (ssize_t)sizeof(*request) || !header || header->cmsg_type != SCM_RIGHTS)
		return -EPROTO;
	memcpy(ret_fd, CMSG_DATA(header), sizeof(*ret_fd));
	return 1;
}

static int serve(struct service *s)
{
	struct unpack_request request;
	int r, fd = -EBADF;

	while ((r = hear(&request, &fd)) == 1) {
		struct apply_result result = { 0 };
		struct err err = { 0 };
		int code = unpack(s, &request, fd, &result, &err);

		auto_close_fn(&fd);
		r = say_result(code, &err, &result);
		apply_result_release(&result);
		if (r < 0)
			break;
	}
	return r;
}

/* ---- the beginning ---- */

/* A gzip member and a tar of nothing: what is loaded or looked up when first used is, before the
 * confinement. */
static ssize_t read_nothing(void *arg, const void **ret_block, struct err *err)
{
	return 0;
}

static int warm_up(struct err *err)
{
	static const enum inflate_kind kinds[] = { INFLATE_GZIP, INFLATE_ZSTD };
	const struct tar_entry *entry;
	auto_tar struct tar *tar = NULL;
	struct digest digest;
	int r = digest_of("sha256", "", 0, &digest, err);

	for (size_t i = 0; i < ARRAY_LEN(kinds) && r == 0; i++) {
		auto_inflate struct inflate *inflate = NULL;

		r = inflate_new(kinds[i], &inflate, err);
	}
	if (r == 0)
		r = tar_open(read_nothing, NULL, NULL, &tar, err);
	return r < 0 ? r : tar_next(tar, &entry, err);
}

static int read_implied(struct service *s, struct err *err)
{
	const size_t count = s->greeting.parents;
	auto_close int fd = UNPACK_PARENT_FD + (int)count;
	size_t at = 0;
	int r;

	if (lseek(fd, 0, SEEK_SET) < 0)
		return fail(err, -errno, "read the lists of implied directories: %m");
	s->implied.max = UNPACK_IMPLIED_MAX * 2;
	r = read_to_buf(fd, &s->implied, "implied directories", err);
	for (size_t i = 0; i < count && r == 0; i++) {
		uint64_t len = 0;

		if (s->implied.len - at < sizeof(len))
			return fail(err, -EPROTO, "the lists of implied directories are cut");
		memcpy(&len, s->implied.data + at, sizeof(len));
		at += sizeof(len);
		if (s->implied.len - at < len)
			return fail(err, -EPROTO, "the lists of implied directories are cut");
		s->layers[i] = (struct stack_layer){ .fd = UNPACK_PARENT_FD + (int)i,
						     .implied = s->implied.data + at,
						     .implied_bytes = (size_t)len };
		at += len;
	}
	return r;
}

static int make_parent(struct service *s, struct err *err)
{
	int r;

	if (!s->greeting.bound)
		return 0;
	s->layers = calloc((size_t)s->greeting.parents + 1, sizeof(*s->layers));
	if (!s->layers)
		return fail_oom(err);
	r = read_implied(s, err);
	return r < 0 ? r :
		       stack_new(s->layers, s->greeting.parents, s->greeting.xattrs, &s->parent,
				 err);
}

static int confine(struct service *s, struct confine_report *report, struct err *err)
{
	static const int keep[] = { UNPACK_SOCKET_FD };
	const size_t count = s->greeting.bound ? s->greeting.parents : 0;
	auto_free int *parents = calloc(count + 1, sizeof(*parents));
	const struct confine_plan plan = {
		.write_fd = UNPACK_STAGING_FD,
		.read_fds = parents,
		.read_count = count,
		.keep_fds = keep,
		.keep_count = 1,
		.trusted_xattrs = s->greeting.xattrs == OVERLAY_XATTRS_TRUSTED,
		.memory_bytes = s->greeting.memory_bytes,
	};

	if (!parents)
		return fail_oom(err);
	for (size_t i = 0; i < count; i++)
		parents[i] = UNPACK_PARENT_FD + (int)i;
	return s->greeting.confined ? confine_self(&plan, report, err) : 0;
}

/* Ends with who started it, and not by keys that are meant for that. */
static void belong_to(pid_t parent)
{
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
	(void)signal(SIGINT, SIG_IGN);
	(void)signal(SIGQUIT, SIG_IGN);
	(void)signal(SIGTSTP, SIG_IGN);
	(void)signal(SIGPIPE, SIG_IGN);
	(void)umask(0);
}

static int begin(struct service *s, struct err *err)
{
	struct unpack_reply ready = { .kind = UNPACK_READY };
	int r;

	if (recv(UNPACK_SOCKET_FD, &s->greeting, sizeof(s->greeting), 0) !=
		    (ssize_t)sizeof(s->greeting) ||
	    strcmp(s->greeting.version, OVERLAID_VERSION) != 0 ||
	    s->greeting.structs != UNPACK_STRUCTS)
		return fail(err, -EPROTO,
			    "overlaid-unpack is of another version (%s) than what started it",
			    OVERLAID_VERSION);
	belong_to(s->greeting.parent_pid);
	r = make_parent(s, err);
	if (r == 0)
		r = warm_up(err);
	if (r == 0)
		r = confine(s, &ready.report, err);
	if (r == 0)
		r = say(&ready, UNPACK_REPLY_HEAD + sizeof(ready.report));
	return r;
}

/* The buffers of one layer are those of the next: given back in between, each page would be cleared
 * again. The greatest of them are well below this. */
#define KEPT_BYTES (32 << 20)

static void keep_memory(void)
{
	(void)mallopt(M_ARENA_MAX, 1);
	(void)mallopt(M_MMAP_THRESHOLD, KEPT_BYTES);
	(void)mallopt(M_TRIM_THRESHOLD, KEPT_BYTES);
}

int main(void)
{
	static struct service s;
	struct err err = { 0 };
	struct stat st;
	int r;

	if (fstat(UNPACK_SOCKET_FD, &st) < 0 || !S_ISSOCK(st.st_mode)) {
		(void)fprintf(stderr,
			      "overlaid-unpack unpacks layers for overlaid, which starts it: it"
			      " does nothing by itself\n");
		return 2;
	}
	keep_memory();
	r = begin(&s, &err);
	if (r < 0) {
		static const struct apply_result nothing;

		(void)say_result(r, &err, &nothing);
		return 1;
	}
	return serve(&s) < 0;
}
