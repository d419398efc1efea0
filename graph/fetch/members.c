/* SPDX-License-Identifier: Apache-2.0 */
#include "graph/fetch/members.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "driver/base/fd.h"
#include "driver/tree.h"

#define BLOCK_BYTES    ((size_t)256 << 10)
#define LINK_HOPS_MAX  8
#define NAME_BYTES_MAX 4096

struct member {
	char *name;	/* without leading "./" and "/" */
	char *link;	/* of a link: the name it leads to, from the archive's root */
	int64_t offset; /* of its first header block */
	int64_t size;
};

struct members {
	int fd;
	bool directory;
	char *what;
	struct member
		*list; /* sorted by name; of equal names the last one in the archive comes first */
	size_t count, cap;
};

/* ---- reading blocks of a file from an offset ---- */

struct block_reader {
	int fd;
	off_t offset;
	off_t size; /* block_skip only */
	char *block;
	size_t block_len; /* what was read last; it ends at `offset` */
};

static ssize_t block_read(void *arg, const void **ret_block, struct err *err)
{
	struct block_reader *reader = arg;
	ssize_t n = pread_full(reader->fd, reader->block, BLOCK_BYTES, reader->offset);

	if (n < 0)
		return fail(err, (int)n, "read: %m");
	reader->offset += n;
	reader->block_len = (size_t)n;
	*ret_block = reader->block;
	return n;
}

/* Not beyond the end: what is missing there must be missed. */
static int64_t block_skip(void *arg, int64_t len)
{
	struct block_reader *reader = arg;
	int64_t left = reader->size - reader->offset;

	if (len > left)
		len = left > 0 ? left : 0;
	reader->offset += len;
	return len;
}

/* ---- the index of an archive ---- */

static int compare_members(const void *a, const void *b)
{
	const struct member *x = a, *y = b;
	int by_name = strcmp(x->name, y->name);

	if (by_name != 0)
		return by_name;
	return x->offset < y->offset ? 1 : -1;
}

/* Joins and cleans a name lexically: these names are only compared with each other, never given to
 * the kernel. */
static char *clean_name(const char *base, const char *name)
{
	auto_free char *joined = NULL;
	char *out, *save = NULL;
	size_t len = 0;

	if (asprintf(&joined, "%s/%s", name[0] == '/' ? "" : base, name) < 0)
		return NULL;
	out = calloc(1, strlen(joined) + 2);
	if (!out)
		return NULL;
	for (char *part = strtok_r(joined, "/", &save); part; part = strtok_r(NULL, "/", &save)) {
		size_t part_len = strlen(part);

		if (strcmp(part, ".") == 0)
			continue;
		if (strcmp(part, "..") == 0) {
			char *slash = memrchr(out, '/', len);

			len = slash ? (size_t)(slash - out) : 0;
			out[len] = '\0';
			continue;
		}
		if (len > 0)
			out[len++] = '/';
		memcpy(out + len, part, part_len + 1);
		len += part_len;
	}
	return out;
}

static int add_member(struct members *m, const struct tar_entry *entry, int64_t offset,
		      struct err *err)
{
	struct member *member;
	char *slash;

	if (entry->type != TAR_FILE && entry->type != TAR_SYMLINK && entry->type != TAR_HARDLINK)
		return 0;
	if (m->count >= MEMBERS_MAX)
		return fail(err, -EFBIG, "holds more than %d files", MEMBERS_MAX);
	if (strlen(entry->path) > NAME_BYTES_MAX)
		return fail(err, -EBADMSG, "holds a file whose name is longer than %d bytes",
			    NAME_BYTES_MAX);
	if (m->count == m->cap) {
		size_t cap = m->cap ? m->cap * 2 : 64;
		struct member *more = reallocarray(m->list, cap, sizeof(*more));

		if (!more)
			return fail_oom(err);
		m->list = more;
		m->cap = cap;
	}
	member = &m->list[m->count];
	*member = (struct member){ .name = clean_name("", entry->path),
				   .offset = offset,
				   .size = entry->size };
	if (!member->name)
		return fail_oom(err);
	m->count++;
	if (entry->type == TAR_FILE)
		return 0;
	/* A symlink's target is relative to its directory, a hard link's to the root. */
	slash = entry->type == TAR_SYMLINK ? strrchr(member->name, '/') : NULL;
	if (slash)
		*slash = '\0';
	member->link = clean_name(slash ? member->name : "", entry->link);
	if (slash)
		*slash = '/';
	return member->link ? 0 : fail_oom(err);
}

static int index_archive(struct members *m, struct err *err)
{
	auto_free char *block = malloc(BLOCK_BYTES);
	struct block_reader reader = { .fd = m->fd, .block = block };
	const struct tar_options options = { .skip = block_skip };
	struct stat st;
	auto_tar struct tar *tar = NULL;
	const struct tar_entry *entry;
	int r;

	if (!block)
		return fail_oom(err);
	if (fstat(m->fd, &st) < 0)
		return fail(err, -errno, "look at the archive: %m");
	reader.size = st.st_size;
	r = tar_open(block_read, &reader, &options, &tar, err);
	while (r >= 0 && (r = tar_next(tar, &entry, err)) > 0)
		r = add_member(m, entry, tar_entry_offset(tar), err);
	if (r >= 0 && m->count > 1)
		qsort(m->list, m->count, sizeof(*m->list), compare_members);
	return r;
}

int members_open(int fd, const char *what, struct members **ret, struct err *err)
{
	struct members *m = calloc(1, sizeof(*m));
	struct stat st;
	int r = 0;

	if (!m) {
		(void)close(fd);
		return fail_oom(err);
	}
	m->fd = fd;
	m->what = strdup(what);
	if (!m->what)
		r = fail_oom(err);
	else if (fstat(fd, &st) < 0)
		r = fail(err, -errno, "%s: %m", what);
	if (r == 0) {
		m->directory = S_ISDIR(st.st_mode);
		r = m->directory ? 0 : index_archive(m, err);
		if (r < 0)
			r = err_prefix(err, r, "%s", what);
	}
	if (r < 0) {
		members_freep(&m);
		return r;
	}
	*ret = m;
	return 0;
}

void members_freep(struct members **members)
{
	struct members *m = *members;

	if (!m)
		return;
	for (size_t i = 0; i < m->count; i++) {
		free(m->list[i].name);
		free(m->list[i].link);
	}
	free(m->list);
	free(m->what);
	(void)close(m->fd);
	free(m);
	*members = NULL;
}

/* The regular member that `name` leads to, or NULL. */
static const struct member *find_member(const struct members *m, const char *name)
{
	for (int hops = 0; hops <= LINK_HOPS_MAX; hops++) {
		size_t low = 0, high = m->count;

		while (low < high) {
			size_t middle = (low + high) / 2;

			if (strcmp(m->list[middle].name, name) < 0)
				low = middle + 1;
			else
				high = middle;
		}
		if (low == m->count || strcmp(m->list[low].name, name) != 0)
			return NULL;
		if (!m->list[low].link)
			return &m->list[low];
		name = m->list[low].link;
	}
	return NULL;
}

static const struct member *find_any(const struct members *m, const char *name)
{
	auto_free char *clean = clean_name("", name);

	return clean ? find_member(m, clean) : NULL;
}

bool members_has(struct members *m, const char *name)
{
	auto_close int fd = -EBADF;

	if (!m->directory)
		return find_any(m, name) != NULL;
	fd = tree_open_file(m->fd, name, NULL);
	return fd >= 0;
}

int64_t members_size(struct members *m, const char *name)
{
	auto_close int fd = -EBADF;
	const struct member *member;
	struct stat st;

	if (!m->directory) {
		member = find_any(m, name);
		return member ? member->size : -1;
	}
	fd = tree_open_file(m->fd, name, NULL);
	return fd >= 0 && fstat(fd, &st) == 0 ? (int64_t)st.st_size : -1;
}

/* ---- streams ---- */

struct member_stream {
	const struct members *members;
	char *name;
	int fd; /* of a file in a directory; -EBADF: a member of an archive */
	struct block_reader reader;
	struct tar *tar;
	bool sparse;
	int64_t left;	  /* bytes still promised; -1: any number */
	int64_t position; /* in the member: a gap in an archive's sparse member is zeros */
	int64_t end;
	const char *pending; /* a block that waits for the zeros before it */
	size_t pending_len;
	int64_t pending_offset;
};

static void stream_close(void *arg)
{
	struct member_stream *s = arg;

	tar_closep(&s->tar);
	if (s->fd >= 0)
		(void)close(s->fd);
	free(s->reader.block);
	free(s->name);
	free(s);
}

static ssize_t check_promise(struct member_stream *s, ssize_t n, struct err *err)
{
	if (n <= 0 || s->left < 0)
		return n;
	if (n > s->left)
		return fail(err, -EBADMSG, "%s: %s is longer than it is said to be",
			    s->members->what, s->name);
	s->left -= n;
	return n;
}

static ssize_t file_stream_read(void *arg, const void **ret_block, struct err *err)
{
	struct member_stream *s = arg;
	ssize_t n = block_read(&s->reader, ret_block, err);

	if (n < 0)
		return err_prefix(err, (int)n, "%s/%s", s->members->what, s->name);
	return check_promise(s, n, err);
}

/* Fills up to one block of zeros before `until`. */
static ssize_t read_hole(struct member_stream *s, int64_t until, const void **ret_block)
{
	static const char zeros[65536];
	int64_t gap = until - s->position;
	size_t len = gap < (int64_t)sizeof(zeros) ? (size_t)gap : sizeof(zeros);

	s->position += (int64_t)len;
	*ret_block = zeros;
	return (ssize_t)len;
}

static ssize_t archive_next(struct member_stream *s, const void **ret_block, struct err *err)
{
	const void *block;
	int r;

	while (!s->pending) {
		r = tar_data(s->tar, &block, &s->pending_len, &s->pending_offset, err);
		if (r < 0)
			return r;
		if (r == 0)
			return s->position < s->end ? read_hole(s, s->end, ret_block) : 0;
		s->pending = s->pending_len > 0 ? block : NULL;
	}
	if (s->position < s->pending_offset)
		return read_hole(s, s->pending_offset, ret_block);
	*ret_block = s->pending;
	s->pending = NULL;
	s->position += (int64_t)s->pending_len;
	return (ssize_t)s->pending_len;
}

static ssize_t archive_stream_read(void *arg, const void **ret_block, struct err *err)
{
	struct member_stream *s = arg;
	ssize_t n = archive_next(s, ret_block, err);

	if (n < 0)
		return err_prefix(err, (int)n, "%s: %s", s->members->what, s->name);
	return check_promise(s, n, err);
}

static int open_in_archive(struct member_stream *s, struct err *err)
{
	const struct member *member = find_any(s->members, s->name);
	const struct tar_entry *entry = NULL;
	int r;

	if (!member)
		return fail(err, -ENOENT, "%s: no file %s in it", s->members->what, s->name);
	s->reader.fd = s->members->fd;
	s->reader.offset = member->offset;
	s->end = member->size;
	r = tar_open(block_read, &s->reader, NULL, &s->tar, err);
	if (r >= 0)
		r = tar_next(s->tar, &entry, err);
	if (r == 0)
		r = fail(err, -EBADMSG, "the archive changed while it was read");
	else if (r == 1)
		s->sparse = entry->sparse;
	return r < 0 ? err_prefix(err, r, "%s: %s", s->members->what, s->name) : 0;
}

/* Whether the stream's bytes lie in one piece, and where. */
static void find_piece(struct member_stream *s, struct source_stream *ret)
{
	const char *begin = s->reader.block, *end = begin + s->reader.block_len;
	const void *block;
	struct stat st;

	if (s->fd >= 0) {
		if (fstat(s->fd, &st) < 0 || (s->left >= 0 && st.st_size > s->left))
			return;
		ret->fd = s->fd;
		ret->size = st.st_size;
		return;
	}
	/* A sparse member, or one that the tar reader had to put together, is read through it. */
	if (s->sparse || (s->left >= 0 && s->end > s->left) ||
	    tar_data(s->tar, &block, &s->pending_len, &s->pending_offset, NULL) != 1)
		return;
	s->pending = s->pending_len > 0 ? block : NULL;
	if ((const char *)block < begin || (const char *)block >= end || s->pending_offset)
		return;
	ret->fd = s->members->fd;
	ret->offset = s->reader.offset - (end - (const char *)block);
	ret->size = s->end;
}

int members_stream(struct members *m, const char *name, int64_t max_bytes,
		   struct source_stream *ret, struct err *err)
{
	struct member_stream *s = calloc(1, sizeof(*s));
	int r = 0;

	if (!s)
		return fail_oom(err);
	*s = (struct member_stream){ .members = m, .fd = -EBADF, .left = max_bytes };
	s->name = strdup(name);
	s->reader.block = malloc(BLOCK_BYTES);
	if (!s->name || !s->reader.block) {
		r = fail_oom(err);
	} else if (!m->directory) {
		r = open_in_archive(s, err);
	} else {
		s->fd = s->reader.fd = tree_open_file(m->fd, name, err);
		if (s->fd < 0)
			r = s->fd == -ENOENT ?
				    fail(err, -ENOENT, "%s: no file %s in it", m->what, name) :
				    err_prefix(err, s->fd, "%s", m->what);
	}
	if (r < 0) {
		stream_close(s);
		return r;
	}
	*ret = (struct source_stream){ .read = m->directory ? file_stream_read :
							      archive_stream_read,
				       .arg = s,
				       .close = stream_close,
				       .fd = -EBADF };
	find_piece(s, ret);
	return 0;
}

int members_read(struct members *m, const char *name, struct buf *ret, struct err *err)
{
	auto_stream struct source_stream stream = { 0 };
	const void *block;
	ssize_t n = members_stream(m, name, -1, &stream, err);

	while (n >= 0 && (n = stream.read(stream.arg, &block, err)) > 0)
		if (buf_append(ret, block, (size_t)n) < 0)
			return err_prefix(err, buf_status(ret, err), "%s: %s", m->what, name);
	return (int)n;
}
