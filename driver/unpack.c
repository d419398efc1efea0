/* SPDX-License-Identifier: Apache-2.0 */
#include "driver/unpack.h"

#include <assert.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "driver/base/fd.h"
#include "driver/base/run.h"
#include "driver/unpack_wire.h"

/* How often who cancels is asked, where nothing else happens. */
#define LOOK_MS 100

#define BLOCK_BYTES ((size_t)256 << 10)
#define PIPE_BYTES  (1 << 20) /* more than this only root may ask for */

struct unpacker {
	pid_t pid; /* 0: gone */
	int socket;
	struct confine_report report;
	bool ready;
};

/* ---- starting ---- */

#define PROGRAM "overlaid-unpack"

/* Beside `file`, or where it is installed if that is in bin or lib. */
static bool is_near(const char *file, char path[PATH_MAX])
{
	static const char *const places[] = { "", "../libexec/overlaid/" };
	const char *slash = strrchr(file, '/');

	for (size_t i = 0; slash && i < ARRAY_LEN(places); i++) {
		(void)snprintf(path, PATH_MAX, "%.*s%s" PROGRAM, (int)(slash + 1 - file), file,
			       places[i]);
		if (access(path, X_OK) == 0)
			return true;
	}
	return false;
}

static int find_program(char path[PATH_MAX], struct err *err)
{
	const char *given = secure_getenv("OVERLAID_UNPACK");
	char self[PATH_MAX];
	ssize_t len = readlink("/proc/self/exe", self, sizeof(self) - 1);
	Dl_info library;

	if (given) {
		/* A file, not a name to look for in PATH. */
		(void)snprintf(path, PATH_MAX, "%s%s", strchr(given, '/') ? "" : "./", given);
		return access(path, X_OK) == 0 ?
			       0 :
			       fail(err, -errno, "%s, which OVERLAID_UNPACK names: %m", path);
	}
	self[len > 0 ? len : 0] = 0;
	if (is_near(self, path) || is_near("/usr/local/bin/", path) || is_near("/usr/bin/", path))
		return 0;
	if (dladdr(&unpack_layer, &library) && library.dli_fname && library.dli_fname[0] == '/' &&
	    is_near(library.dli_fname, path))
		return 0;
	return fail(err, -ENOENT,
		    "the program that unpacks layers, " PROGRAM ", is neither beside %s nor in"
		    " ../libexec/overlaid from there (install overlaid anew, or name it in"
		    " OVERLAID_UNPACK)",
		    self);
}

/* What the program inherits of the environment: where libraries are, and what tells sanitizers. */
static size_t pick_environment(char *to[8])
{
	static const char *const names[] = { "LD_LIBRARY_PATH", "ASAN_OPTIONS", "UBSAN_OPTIONS",
					     "TSAN_OPTIONS" };
	size_t count = 0;

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		size_t len = strlen(names[i]);

		for (char **e = environ; *e; e++) {
			if (!strncmp(*e, names[i], len) && (*e)[len] == '=')
				to[count++] = *e;
		}
	}
	to[count] = NULL;
	return count;
}

/* Descriptors for the program, at numbers that dup2 to the fixed ones cannot hit. */
struct handed {
	int fds[2 + STACK_LAYERS_MAX + 1];
	size_t count;
};

static void handed_freep(struct handed **handed)
{
	for (size_t i = 0; *handed && i < (*handed)->count; i++)
		auto_close_fn(&(*handed)->fds[i]);
	auto_free_fn(handed);
}

/* Takes fd over. */
static int hand(struct handed *h, int fd, size_t total, struct err *err)
{
	int high;

	if (fd < 0)
		return fd;
	high = fcntl(fd, F_DUPFD_CLOEXEC, UNPACK_SOCKET_FD + (int)total);
	auto_close_fn(&fd);
	if (high < 0)
		return fail(err, -errno, "hand on a descriptor: %m");
	h->fds[h->count++] = high;
	return 0;
}

/* The lists of implied directories of the layers beneath, each after its length. */
static int write_implied(const struct stack_layer *layers, size_t count, struct err *err)
{
	auto_close int fd = memfd_create("implied", MFD_CLOEXEC);
	int r = 0;

	if (fd < 0)
		return fail(err, -errno, "make a memory file: %m");
	for (size_t i = 0; i < count && r == 0; i++) {
		uint64_t len = layers[i].implied_bytes;

		r = write_full(fd, &len, sizeof(len));
		if (r == 0)
			r = write_full(fd, layers[i].implied, len);
	}
	if (r < 0)
		return fail(err, r, "write a memory file: %m");
	return take_fd(&fd);
}

static int hand_all(struct handed *h, int socket_fd, int staging_fd, struct stack *parent,
		    struct err *err)
{
	size_t count = 0;
	const struct stack_layer *layers = parent ? stack_layers(parent, &count) : NULL;
	const size_t total = 2 + count + (parent ? 1 : 0);
	int r = hand(h, socket_fd, total, err);

	if (r == 0)
		r = hand(h, confine_view(staging_fd, true, err), total, err);
	for (size_t i = 0; i < count && r == 0; i++)
		r = hand(h, confine_view(layers[i].fd, false, err), total, err);
	if (r == 0 && parent)
		r = hand(h, write_implied(layers, count, err), total, err);
	return r;
}

/* Its errors are ours: descriptor 2 stays. */
static int spawn(const char *path, const struct handed *h, pid_t *ret, struct err *err)
{
	char name[] = "overlaid-unpack", *argv[] = { name, NULL }, *env[8];
	int fds[UNPACK_SOCKET_FD + ARRAY_LEN(h->fds)] = { RUN_NULL, RUN_NULL, RUN_KEEP };

	(void)pick_environment(env);
	memcpy(fds + UNPACK_SOCKET_FD, h->fds, h->count * sizeof(*fds));
	return run_spawn(path, argv, env, fds, UNPACK_SOCKET_FD + h->count, ret, err);
}

static int greet(struct unpacker *u, struct stack *parent, const struct unpack_options *options,
		 struct err *err)
{
	struct unpack_greeting greeting = {
		.version = OVERLAID_VERSION,
		.structs = UNPACK_STRUCTS,
		.bound = parent != NULL,
		.confined = !options->unconfined,
		.xattrs = options->xattrs,
		.memory_bytes = options->memory_bytes,
		.parent_pid = getpid(),
	};
	size_t count = 0;

	if (parent) {
		(void)stack_layers(parent, &count);
		greeting.parents = (uint32_t)count;
	}
	if (send(u->socket, &greeting, sizeof(greeting), MSG_NOSIGNAL) < 0)
		return fail(err, -errno, "speak to overlaid-unpack: %m");
	return 0;
}

int unpacker_new(int staging_fd, struct stack *parent, const struct unpack_options *options,
		 struct unpacker **ret, struct err *err)
{
	AUTO(handed_freep) struct handed *handed = calloc(1, sizeof(*handed));
	auto_unpacker struct unpacker *u = calloc(1, sizeof(*u));
	char path[PATH_MAX];
	int pair[2];
	int r;

	if (!handed || !u)
		return fail_oom(err);
	u->socket = -EBADF;
	r = find_program(path, err);
	if (r < 0)
		return r;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return fail(err, -errno, "make a socket: %m");
	u->socket = pair[0];
	r = hand_all(handed, pair[1], staging_fd, parent, err);
	if (r == 0)
		r = spawn(path, handed, &u->pid, err);
	if (r == 0)
		r = greet(u, parent, options, err);
	if (r < 0)
		return r;
	*ret = take_ptr(u);
	return 0;
}

void unpacker_free(struct unpacker *u)
{
	int saved = errno;

	if (!u)
		return;
	auto_close_fn(&u->socket);
	if (u->pid > 0) {
		(void)kill(u->pid, SIGKILL);
		while (waitpid(u->pid, NULL, 0) < 0 && errno == EINTR)
			;
	}
	free(u);
	errno = saved;
}

void unpacker_freep(struct unpacker **u)
{
	unpacker_free(*u);
}

const struct confine_report *unpacker_report(const struct unpacker *u)
{
	return &u->report;
}

/* ---- a layer ---- */

/* One layer under way. */
struct job {
	struct unpacker *u;
	const struct unpack_input *input;
	const struct apply_options *options;
	int pipe; /* our end, or -EBADF: nothing (more) to hand over */
	const char *block;
	size_t block_len;
	char *own_block; /* of input->fd, where it is read by us */
	int64_t offset, left;
	int64_t there; /* of a file that grows: bytes that may be handed over */
	bool whole;
	struct buf implied;
	struct unpack_result result;
	bool done;
};

static void job_release(struct job *job)
{
	auto_close_fn(&job->pipe);
	free(job->own_block);
	buf_release(&job->implied);
}

/* How it ended, in words. */
static int ended(struct unpacker *u, struct err *err)
{
	int status = 0;
	pid_t pid;

	do {
		pid = waitpid(u->pid, &status, 0);
	} while (pid < 0 && errno == EINTR);
	u->pid = 0;
	if (pid > 0 && WIFSIGNALED(status))
		return fail(err, -EIO, "the process that unpacks it was killed by signal %d (%s)",
			    WTERMSIG(status), strsignal(WTERMSIG(status)));
	return fail(err, -EIO, "the process that unpacks it ended by itself (status %d)",
		    pid > 0 ? WEXITSTATUS(status) : -1);
}

static int send_request(struct unpacker *u, struct unpack_request *request, int fd, struct err *err)
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

	control.header.cmsg_level = SOL_SOCKET;
	control.header.cmsg_type = SCM_RIGHTS;
	control.header.cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(&control.header), &fd, sizeof(fd));
	if (sendmsg(u->socket, &message, MSG_NOSIGNAL) >= 0)
		return 0;
	if (errno == EPIPE || errno == ECONNRESET)
		return ended(u, err);
	return fail(err, -errno, "speak to overlaid-unpack: %m");
}

/* tar_read of input->fd */
static ssize_t read_file(struct job *job, const void **ret_block, struct err *err)
{
	size_t want = job->left >= 0 && (uint64_t)job->left < BLOCK_BYTES ? (size_t)job->left :
									    BLOCK_BYTES;
	ssize_t len;

	if (!job->own_block)
		job->own_block = malloc(BLOCK_BYTES);
	if (!job->own_block)
		return fail_oom(err);
	len = pread_full(job->input->fd, job->own_block, want, job->offset);
	if (len < 0)
		return fail(err, (int)len, "read the blob: %m");
	job->offset += len;
	if (job->left >= 0)
		job->left -= len;
	*ret_block = job->own_block;
	return len;
}

static int open_pipe(struct job *job, int *ret_read_end, struct err *err)
{
	int ends[2];

	if (pipe2(ends, O_CLOEXEC) < 0)
		return fail(err, -errno, "make a pipe: %m");
	*ret_read_end = ends[0];
	job->pipe = ends[1];
	(void)fcntl(job->pipe, F_SETPIPE_SZ, PIPE_BYTES);
	if (fcntl(job->pipe, F_SETFL, O_NONBLOCK) < 0)
		return fail(err, -errno, "make a pipe: %m");
	return 0;
}

static int ask(struct job *job, const char *name, struct err *err)
{
	const struct apply_options *options = job->options;
	bool piped = job->input->fd < 0 || job->input->grown;
	auto_close int fd = piped ? -EBADF : confine_file_view(job->input->fd);
	struct unpack_request request = {
		.threads = options->threads,
		.lone = options->lone,
		.xattrs = options->xattrs,
		.limits = options->limits,
		.offset = job->input->offset,
		.size = job->input->size,
		.seekable = fd >= 0,
	};
	int r = 0;

	if (strlen(name) > UNPACK_NAME_MAX)
		return fail(err, -ENAMETOOLONG, "the name of a staging directory: %m");
	(void)snprintf(request.name, sizeof(request.name), "%s", name);
	job->offset = job->input->offset;
	job->left = job->input->size;
	if (fd < 0)
		r = open_pipe(job, &fd, err);
	return r < 0 ? r : send_request(job->u, &request, fd, err);
}

/* Nothing more is handed over. */
static void end_pipe(struct job *job)
{
	auto_close_fn(&job->pipe);
	job->pipe = -EBADF;
}

/* What there is by now of a file that grows. */
static int look_at_growth(struct job *job, struct err *err)
{
	uint64_t count;
	int64_t there;

	assert(job->input->grown);
	(void)!read(job->input->grown_fd, &count, sizeof(count));
	there = job->input->grown(job->input->arg, &job->whole, err);
	if (there < 0)
		return (int)there;
	job->there = there;
	if (job->whole && job->offset >= job->there)
		end_pipe(job);
	return 0;
}

/* Pages of the file go into the pipe as they are, without a copy. */
static int pump_growing(struct job *job, struct err *err)
{
	loff_t offset = job->offset;
	ssize_t len = splice(job->input->fd, &offset, job->pipe, NULL,
			     (size_t)(job->there - job->offset), SPLICE_F_NONBLOCK | SPLICE_F_MOVE);

	if (len < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (len < 0 && errno != EPIPE)
		return fail(err, -errno, "read the blob: %m");
	if (len == 0)
		return fail(err, -EIO, "read the blob: the file is shorter than it was");
	if (len < 0)
		end_pipe(job);
	job->offset = offset;
	return job->offset < job->there ? 0 : look_at_growth(job, err);
}

/* As much of the source as the pipe takes. */
static int pump(struct job *job, struct err *err)
{
	ssize_t len;

	if (!job->block_len) {
		const void *block = NULL;

		len = job->input->fd >= 0 ? read_file(job, &block, err) :
					    job->input->read(job->input->arg, &block, err);
		if (len < 0)
			return (int)len;
		if (!len) {
			end_pipe(job);
			return 0;
		}
		job->block = block;
		job->block_len = (size_t)len;
	}
	len = write(job->pipe, job->block, job->block_len);
	if (len < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	/* Nobody reads it any more: why, it says or its end does. */
	if (len < 0) {
		end_pipe(job);
		return 0;
	}
	job->block += len;
	job->block_len -= (size_t)len;
	return 0;
}

static int not_understood(struct err *err)
{
	return fail(err, -EPROTO,
		    "overlaid-unpack says what cannot be understood: is it of another"
		    " version than this?");
}

static int hear(struct job *job, const char *packet, size_t len, struct err *err)
{
	struct unpack_reply reply = { 0 };
	const size_t head = UNPACK_REPLY_HEAD;

	if (len < head)
		return not_understood(err);
	memcpy(&reply, packet, len < sizeof(reply) ? len : sizeof(reply));
	switch (reply.kind) {
	case UNPACK_READY:
		job->u->report = reply.report;
		job->u->ready = true;
		return 0;
	case UNPACK_PROGRESS:
		if (job->options->progress)
			job->options->progress(job->options->progress_arg, reply.blob_bytes);
		return 0;
	case UNPACK_IMPLIED:
		job->implied.max = UNPACK_IMPLIED_MAX;
		return buf_append(&job->implied, packet + head, len - head) < 0 ?
			       buf_status(&job->implied, err) :
			       0;
	case UNPACK_RESULT:
		if (len != sizeof(reply))
			return not_understood(err);
		job->result = reply.result;
		job->done = true;
		return 0;
	default:
		return not_understood(err);
	}
}

static int receive(struct job *job, struct err *err)
{
	auto_free char *packet = malloc(UNPACK_PACKET_MAX);
	ssize_t len;

	if (!packet)
		return fail_oom(err);
	len = recv(job->u->socket, packet, UNPACK_PACKET_MAX, MSG_DONTWAIT);
	if (len < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (len < 0 && errno != ECONNRESET)
		return fail(err, -errno, "hear what overlaid-unpack says: %m");
	return len <= 0 ? ended(job->u, err) : hear(job, packet, (size_t)len, err);
}

static int converse(struct job *job, struct err *err)
{
	const atomic_bool *cancelled = job->options->cancelled;
	bool grows = job->input->grown != NULL;
	int r = grows ? look_at_growth(job, err) : 0;

	while (r == 0 && !job->done) {
		/* Of a file that grows: either there is something to hand over, or more is awaited. */
		bool waits = grows && job->offset >= job->there;
		struct pollfd fds[] = {
			{ .fd = job->u->socket, .events = POLLIN },
			{ .fd = waits ? -1 : job->pipe, .events = POLLOUT },
			{ .fd = waits && job->pipe >= 0 ? job->input->grown_fd : -1,
			  .events = POLLIN },
		};

		if (cancelled && atomic_load_explicit(cancelled, memory_order_relaxed))
			return fail(err, -ECANCELED, "cancelled");
		if (poll(fds, ARRAY_LEN(fds), LOOK_MS) < 0 && errno != EINTR)
			return fail(err, -errno, "wait for overlaid-unpack: %m");
		if (fds[0].revents)
			r = receive(job, err);
		else if (fds[1].revents)
			r = grows ? pump_growing(job, err) : pump(job, err);
		else if (fds[2].revents)
			r = look_at_growth(job, err);
	}
	return r;
}

static bool is_terminated(const char *text, size_t size)
{
	return memchr(text, 0, size) != NULL;
}

static int take_result(struct job *job, struct apply_result *ret, struct err *err)
{
	const struct unpack_result *from = &job->result;

	if (!is_terminated(from->err.text, sizeof(from->err.text)) || from->code > 0 ||
	    (job->implied.len && job->implied.data[job->implied.len - 1]))
		return not_understood(err);
	if (from->code < 0)
		return fail(err, from->code, "%s", from->err.text);
	if (!is_terminated(from->blob.text, sizeof(from->blob.text)) ||
	    !is_terminated(from->diff_id.text, sizeof(from->diff_id.text)) ||
	    !digest_valid(from->blob.text) || !digest_valid(from->diff_id.text))
		return not_understood(err);
	*ret = (struct apply_result){
		.blob = from->blob,
		.diff_id = from->diff_id,
		.blob_bytes = from->blob_bytes,
		.tar_bytes = from->tar_bytes,
		.bytes = from->bytes,
		.disk_bytes = from->disk_bytes,
		.entries = from->entries,
		.dropped_xattrs = from->dropped_xattrs,
		.max_uid = from->max_uid,
		.max_gid = from->max_gid,
		.bound = from->bound,
		.root_implied = from->root_implied,
		.implied = job->implied,
	};
	job->implied = (struct buf){ 0 };
	return 0;
}

int unpack_layer(struct unpacker *u, const char *name, const struct unpack_input *input,
		 const struct apply_options *options, struct apply_result *ret, struct err *err)
{
	AUTO(job_release)
	struct job job = { .u = u, .input = input, .options = options, .pipe = -EBADF };
	int r = ask(&job, name, err);

	if (r == 0)
		r = converse(&job, err);
	return r < 0 ? r : take_result(&job, ret, err);
}
