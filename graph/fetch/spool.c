/* SPDX-License-Identifier: Apache-2.0 */
#include "graph/fetch/spool.h"

#include <fcntl.h>
#include <stdbool.h>
#include <sys/stat.h>

#include "driver/base/auto.h"
#include "driver/base/fd.h"
#include "driver/inflate.h"

#define BLOCK_BYTES ((size_t)256 << 10)

struct copy {
	struct inflate *inflate;
	int to_fd;
	uint64_t bytes;
	char *out;
};

/* Inflates one block of input and writes what comes out. */
static int copy_block(struct copy *c, const char *in, size_t len, struct err *err)
{
	size_t used, made;

	do {
		int r = inflate_run(c->inflate, in, len, &used, c->out, BLOCK_BYTES, &made, err);

		if (r < 0)
			return r;
		c->bytes += made;
		if (c->bytes > SPOOL_BYTES_MAX)
			return fail(err, -EFBIG, "longer than %llu bytes uncompressed",
				    (unsigned long long)SPOOL_BYTES_MAX);
		r = write_full(c->to_fd, c->out, made);
		if (r < 0)
			return fail(err, r, "write a temporary copy: %m");
		in += used;
		len -= used;
	} while (len > 0 || made == BLOCK_BYTES);
	return 0;
}

/* `head` holds the first `n` bytes and is used as the input buffer from then on. */
static int copy_all(int fd, char *head, ssize_t n, struct copy *c, struct err *err)
{
	while (n > 0) {
		int r = copy_block(c, head, (size_t)n, err);

		if (r < 0)
			return r;
		n = read_full(fd, head, BLOCK_BYTES);
	}
	if (n < 0)
		return fail(err, (int)n, "read: %m");
	return inflate_end(c->inflate, err);
}

static int spool_copy(int fd, char *head, ssize_t n, int spool_fd, struct err *err)
{
	auto_free char *out = malloc(BLOCK_BYTES);
	auto_inflate struct inflate *inflate = NULL;
	auto_close int to_fd = -EBADF;
	struct copy copy;
	int r = inflate_new(inflate_detect(head, (size_t)n), &inflate, err);

	if (r < 0)
		return r;
	if (!out)
		return fail_oom(err);
	to_fd = make_unnamed_at(spool_fd, "a temporary file", err);
	if (to_fd < 0)
		return to_fd;
	copy = (struct copy){ .inflate = inflate, .to_fd = to_fd, .out = out };
	r = copy_all(fd, head, n, &copy, err);
	return r < 0 ? r : take_fd(&to_fd);
}

/* Fills `head` with the file's beginning. *ret_in_place: the file can be used as it stands, and
 * nothing of it was consumed. */
static ssize_t look_at(int fd, const struct stat *st, char *head, bool *ret_in_place)
{
	ssize_t n;

	*ret_in_place = true;
	if (S_ISDIR(st->st_mode))
		return 0;
	if (S_ISREG(st->st_mode) && lseek(fd, 0, SEEK_CUR) == 0) {
		n = pread_full(fd, head, INFLATE_DETECT_BYTES, 0);
		if (n <= 0 || inflate_detect(head, (size_t)n) == INFLATE_PLAIN)
			return n;
	}
	*ret_in_place = false;
	return read_full(fd, head, BLOCK_BYTES);
}

int spool_open(int fd, int spool_fd, const char *what, struct err *err)
{
	auto_free char *head = malloc(BLOCK_BYTES);
	bool in_place;
	struct stat st;
	ssize_t n;
	int r;

	if (!head)
		return fail_oom(err);
	if (fstat(fd, &st) < 0)
		return fail(err, -errno, "%s: %m", what);
	n = look_at(fd, &st, head, &in_place);
	if (n < 0)
		return fail(err, (int)n, "read %s: %m", what);
	if (n == 0 && !S_ISDIR(st.st_mode))
		return fail(err, -EBADMSG, "%s: it is empty", what);
	if (in_place) {
		r = fcntl(fd, F_DUPFD_CLOEXEC, 3);
		return r < 0 ? fail(err, -errno, "%s: %m", what) : r;
	}
	r = spool_copy(fd, head, n, spool_fd, err);
	return r < 0 ? err_prefix(err, r, "%s", what) : r;
}
