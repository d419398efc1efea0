/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The reader of contents.zst, and its writer: the first byte of the input says how, the rest is the
 * text. Each entry that is read can be written, and is then read as the same.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "driver/base/buf.h"
#include "driver/contents.h"
#include "tests/fuzz/fuzz.h"

/* In the first byte. */
#define WITH_HEAD 0x01 /* the two lines of the head stand before the text */
#define STEP(b)	  (steps[(b) >> 1 & 7])

static const size_t steps[8] = { 0, 1, 2, 3, 7, 61, 511, 4096 };
static const char head[] = "#mtree\n# overlaid contents 1\n";

static bool same_text(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) == 0 : a == b;
}

static void require_same_xattrs(const struct contents_entry *a, const struct contents_entry *b)
{
	fuzz_require(a->xattr_count == b->xattr_count);
	for (size_t i = 0; i < a->xattr_count; i++) {
		const struct tar_xattr *x = &a->xattrs[i], *y = &b->xattrs[i];

		fuzz_require(same_text(x->name, y->name) && x->len == y->len);
		fuzz_require(memcmp(x->value, y->value, x->len) == 0);
	}
}

static void require_same(const struct contents_entry *a, const struct contents_entry *b)
{
	fuzz_require(a->type == b->type && same_text(a->path, b->path), a->path);
	fuzz_require(a->mode == b->mode && a->uid == b->uid && a->gid == b->gid);
	fuzz_require(a->mtime.tv_sec == b->mtime.tv_sec && a->mtime.tv_nsec == b->mtime.tv_nsec);
	fuzz_require(a->size == b->size && same_text(a->link, b->link));
	fuzz_require(!a->sha256 == !b->sha256);
	fuzz_require(!a->sha256 || memcmp(a->sha256, b->sha256, CONTENTS_SHA256_LEN) == 0);
	fuzz_require(a->dev_major == b->dev_major && a->dev_minor == b->dev_minor);
	fuzz_require(a->opaque == b->opaque);
	require_same_xattrs(a, b);
}

/* What must hold whatever was read. */
static void require_sound(const struct contents_entry *e)
{
	const char *path = e->path;
	size_t len = strlen(path);

	fuzz_require(path[0] != '/' && (!len || path[len - 1] != '/') && !strstr(path, "//"), path);
	fuzz_require(strcmp(path, "..") != 0 && strncmp(path, "../", 3) != 0 &&
			     !strstr(path, "/../") && !strstr(path, "/./"),
		     path);
	fuzz_require(e->mtime.tv_nsec >= 0 && e->mtime.tv_nsec < 1000000000);
	fuzz_require(e->size >= 0 && e->mode <= 07777 && e->uid != UINT32_MAX);
	fuzz_require(!e->link || *e->link);
}

static int new_reader(struct fuzz_source *source, struct contents_reader **ret)
{
	source->at = 0;
	return contents_reader_new(fuzz_read, source, ret, NULL);
}

/* Reads to the end or the first failure, and writes what was read, where there is a writer. */
static size_t read_all(struct fuzz_source *source, struct contents_writer *w)
{
	auto_contents_reader struct contents_reader *reader = NULL;
	const struct contents_entry *entry;
	struct err err = { 0 };
	size_t count = 0;
	int r = new_reader(source, &reader);

	fuzz_require(r == 0);
	while ((r = contents_next(reader, &entry, &err)) == 1) {
		count++;
		require_sound(entry);
		if (w && entry->type == CONTENTS_REMOVED)
			fuzz_require(contents_removed(w, entry->path, &err) == 0, err.text);
		else if (w)
			fuzz_require(contents_add(w, entry, &err) == 0, err.text);
	}
	fuzz_require(r == 0 || (r == -EBADMSG && strstr(err.text, "contents.zst: ")), err.text);
	return count;
}

/* What was written to fd says what the first `count` statements of the source do. */
static void require_comes_back(int fd, struct fuzz_source *source, size_t count)
{
	auto_contents_reader struct contents_reader *first = NULL, *second = NULL;
	const struct contents_entry *a, *b;
	struct err err = { 0 };

	fuzz_require(lseek(fd, 0, SEEK_SET) == 0);
	fuzz_require(new_reader(source, &first) == 0);
	fuzz_require(contents_reader_open(fd, &second, NULL) == 0);
	for (; count; count--) {
		fuzz_require(contents_next(first, &a, &err) == 1, err.text);
		fuzz_require(contents_next(second, &b, &err) == 1, err.text);
		require_same(a, b);
	}
	fuzz_require(contents_next(second, &b, &err) == 0, err.text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	auto_contents_writer struct contents_writer *w = NULL;
	auto_buf struct buf text = { 0 };
	struct fuzz_source source = { 0 };
	auto_close int fd = -EBADF;
	size_t count;

	if (!size)
		return 0;
	if (data[0] & WITH_HEAD)
		(void)buf_puts(&text, head);
	(void)buf_append(&text, data + 1, size - 1);
	source.data = (const uint8_t *)buf_text(&text);
	source.len = text.len;
	source.step = STEP(data[0]);
	count = read_all(&source, NULL);
	if (count) {
		fd = memfd_create("contents", MFD_CLOEXEC);
		fuzz_require(fd >= 0 && contents_writer_new(fd, &w, NULL) == 0);
		fuzz_require(read_all(&source, w) == count);
		fuzz_require(contents_finish(w, NULL) == 0);
		require_comes_back(fd, &source, count);
	}
	fuzz_source_release(&source);
	return 0;
}
