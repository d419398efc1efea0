/* SPDX-License-Identifier: Apache-2.0 */
#include "driver/tar.h"

#include <locale.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "driver/base/buf.h"
#include "tests/unit/util.h"

#define NFD	 "e\xcc\x81" /* e, combining acute: NFC would be one character */
#define NOT_UTF8 "raw\xff\xfe\x80"

/* A reader over an archive made by hand. The archive must outlive it. */
struct reader {
	struct memory from;
	struct tar *tar;
	const struct tar_entry *entry;
	struct err err;
};

static void reader_open_with(struct reader *r, const struct buf *archive, size_t step,
			     const struct tar_options *options)
{
	*r = (struct reader){ .from = { buf_text(archive), archive->len, 0, step, 0 } };
	assert_int_equal(tar_open(memory_read, &r->from, options, &r->tar, &r->err), 0);
}

static void reader_open(struct reader *r, const struct buf *archive, size_t step)
{
	reader_open_with(r, archive, step, NULL);
}

static void reader_close(struct reader *r)
{
	tar_closep(&r->tar);
}

#define auto_reader AUTO(reader_close)

static const struct tar_entry *next(struct reader *r)
{
	int n = tar_next(r->tar, &r->entry, &r->err);

	if (n != 1)
		fail_msg("%d: %s", n, r->err.text);
	return r->entry;
}

static void assert_end(struct reader *r)
{
	assert_int_equal(tar_next(r->tar, &r->entry, &r->err), 0);
}

/* All of the entry's data, holes as NULs. */
static void read_data(struct reader *r, struct buf *to)
{
	const void *block;
	int64_t offset;
	size_t len;
	int n;

	buf_reset(to);
	while ((n = tar_data(r->tar, &block, &len, &offset, &r->err)) == 1) {
		while (to->len < (size_t)offset)
			assert_int_equal(buf_putc(to, 0), 0);
		assert_int_equal(buf_append(to, block, len), 0);
	}
	if (n)
		fail_msg("%s", r->err.text);
	while (to->len < (size_t)r->entry->size)
		assert_int_equal(buf_putc(to, 0), 0);
}

/* The first entry of the archive cannot be read, and the words say this. */
static void assert_refused(const struct buf *archive, int code, const char *words)
{
	auto_reader struct reader r;

	reader_open(&r, archive, 0);
	assert_int_equal(tar_next(r.tar, &r.entry, &r.err), code);
	assert_words(&r.err, words);
}

static void put_every_type(struct buf *t)
{
	tar_put(t, &(struct tar_spec){ .name = "file",
				       .type = '0',
				       .mode = 04755,
				       .uid = 1000,
				       .gid = 2097152,
				       .size = 5,
				       .mtime = 7,
				       .data = "hello" });
	tar_put(t, &(struct tar_spec){ .name = "dir",
				       .type = '5',
				       .mode = 01777,
				       .uid = 4294967294,
				       .gid = 4294967294,
				       .mtime = -5 });
	tar_put(t, &(struct tar_spec){ .name = "sym", .type = '2', .link = "../to" });
	tar_put(t, &(struct tar_spec){ .name = "hard", .type = '1', .link = "/file" });
	tar_put(t, &(struct tar_spec){ .name = "char",
				       .type = '3',
				       .mode = 0660,
				       .dev_major = 4095,
				       .dev_minor = 1048575 });
	tar_put(t, &(struct tar_spec){ .name = "block",
				       .type = '4',
				       .dev_major = 8,
				       .dev_minor = 1,
				       .style = TAR_GNU });
	tar_put(t, &(struct tar_spec){ .name = "fifo", .type = '6', .mode = 0600 });
	tar_put_end(t);
}

static void every_type_and_number_is_read(void **state)
{
	auto_buf struct buf t = { 0 }, data = { 0 };
	auto_reader struct reader r;
	const struct tar_entry *e;

	put_every_type(&t);
	reader_open(&r, &t, 0);

	e = next(&r);
	assert_int_equal(e->type, TAR_FILE);
	assert_string_equal(e->path, "file");
	assert_null(e->link);
	assert_int_equal(e->mode, 04755);
	assert_int_equal(e->uid, 1000);
	assert_int_equal(e->gid, 2097152);
	assert_int_equal(e->size, 5);
	assert_int_equal(e->mtime.tv_sec, 7);
	assert_false(e->sparse);
	read_data(&r, &data);
	assert_string_equal(buf_text(&data), "hello");
	e = next(&r);
	assert_int_equal(e->type, TAR_DIR);
	assert_int_equal(e->uid, 4294967294);
	assert_int_equal(e->gid, 4294967294);
	assert_int_equal(e->mode, 01777);
	assert_int_equal(e->mtime.tv_sec, -5);
	e = next(&r);
	assert_int_equal(e->type, TAR_SYMLINK);
	assert_string_equal(e->link, "../to");
	e = next(&r);
	assert_int_equal(e->type, TAR_HARDLINK);
	assert_string_equal(e->link, "/file");
	e = next(&r);
	assert_int_equal(e->type, TAR_CHAR);
	assert_int_equal(e->dev_major, 4095);
	assert_int_equal(e->dev_minor, 1048575);
	e = next(&r);
	assert_int_equal(e->type, TAR_BLOCK);
	assert_int_equal(e->dev_major, 8);
	assert_int_equal(e->dev_minor, 1);
	assert_int_equal(next(&r)->type, TAR_FIFO);
	assert_end(&r);
}

static void odd_types_are_what_old_tars_meant(void **state)
{
	auto_buf struct buf t = { 0 }, data = { 0 };
	auto_reader struct reader r;

	tar_put(&t, &(struct tar_spec){ .name = "nul", .type = 0, .size = 1, .data = "a" });
	tar_put(&t, &(struct tar_spec){ .name = "seven", .type = '7', .size = 1, .data = "b" });
	tar_put(&t, &(struct tar_spec){ .name = "old/", .type = 0, .style = TAR_V7 });
	tar_put(&t, &(struct tar_spec){ .name = "slash/", .type = '0' });
	tar_put(&t, &(struct tar_spec){ .name = "vendor", .type = 'Q', .size = 1, .data = "c" });
	tar_put_pax_text("path", NFD "/");
	tar_put(&t, &(struct tar_spec){ .name = "x", .type = '0' });
	reader_open(&r, &t, 0);
	assert_int_equal(next(&r)->type, TAR_FILE);
	read_data(&r, &data);
	assert_string_equal(buf_text(&data), "a");
	assert_int_equal(next(&r)->type, TAR_FILE);
	assert_int_equal(next(&r)->type, TAR_DIR);
	assert_int_equal(next(&r)->type, TAR_DIR);
	assert_int_equal(next(&r)->type, TAR_FILE);
	read_data(&r, &data);
	assert_string_equal(buf_text(&data), "c");
	assert_int_equal(next(&r)->type, TAR_DIR);
	assert_string_equal(r.entry->path, NFD "/");
	assert_end(&r);
}

static void long_names_of_every_kind_are_whole(void **state)
{
	auto_buf struct buf t = { 0 };
	auto_reader struct reader r;
	char name[301], prefixed[256];

	memset(name, 'n', 300);
	for (int i = 50; i < 300; i += 50)
		name[i] = '/';
	name[300] = 0;
	tar_put_pax_text("path", name);
	tar_put(&t, &(struct tar_spec){ .name = "short", .type = '0' });
	tar_put_long(&t, 'L', name);
	tar_put(&t, &(struct tar_spec){ .name = "short", .type = '0', .style = TAR_GNU });
	tar_put_long(&t, 'K', name);
	tar_put(&t,
		&(struct tar_spec){ .name = "l", .type = '2', .link = "short", .style = TAR_GNU });
	tar_put_pax_text("linkpath", name);
	tar_put(&t, &(struct tar_spec){ .name = "h", .type = '1', .link = "short" });
	tar_put(&t, &(struct tar_spec){ .name = name + 151, .type = '0', .prefix = "pre/fix" });
	reader_open(&r, &t, 0);
	assert_string_equal(next(&r)->path, name);
	assert_string_equal(next(&r)->path, name);
	assert_string_equal(next(&r)->link, name);
	assert_string_equal(next(&r)->link, name);
	assert_int_equal(r.entry->type, TAR_HARDLINK);
	(void)snprintf(prefixed, sizeof(prefixed), "pre/fix/%.100s", name + 151);
	assert_string_equal(next(&r)->path, prefixed);
}

/* Names in every field, as raw as they came. */
static void assert_raw_names(void)
{
	static const char *const names[] = {
		NFD, "\xc3\xa9", NOT_UTF8, "new\nline", "\xf0\x9f\x98\x80", "\xed\xa0\x80surrogate"
	};

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		auto_buf struct buf t = { 0 };
		auto_reader struct reader r;

		tar_put(&t, &(struct tar_spec){ .name = names[i], .type = '2', .link = names[i] });
		tar_put_pax_text("path", names[i]);
		tar_put_pax_text("linkpath", names[i]);
		tar_put_pax_text("uname", names[i]);
		tar_put(&t, &(struct tar_spec){ .name = "x", .type = '2', .link = "y" });
		tar_put_pax_text("path", names[i]);
		tar_put_pax_text("linkpath", names[i]);
		tar_put(&t, &(struct tar_spec){ .name = "x", .type = '1', .link = "y" });
		tar_put_long(&t, 'L', names[i]);
		tar_put_long(&t, 'K', names[i]);
		tar_put(&t, &(struct tar_spec){
				    .name = "x", .type = '1', .link = "y", .style = TAR_GNU });
		reader_open(&r, &t, 0);
		for (int n = 0; n < 4; n++) {
			assert_string_equal(next(&r)->path, names[i]);
			assert_string_equal(r.entry->link, names[i]);
		}
		assert_end(&r);
	}
}

static void names_are_raw_bytes_in_every_locale(void **state)
{
	static const char *const locales[] = { "C", "C.UTF-8" };

	for (size_t i = 0; i < ARRAY_LEN(locales); i++) {
		assert_non_null(setlocale(LC_ALL, locales[i]));
		assert_raw_names();
		assert_string_equal(setlocale(LC_ALL, NULL), locales[i]);
		assert_ptr_equal(uselocale((locale_t)0), LC_GLOBAL_LOCALE);
	}
	(void)setlocale(LC_ALL, "C");
}

static void times_have_nanoseconds_before_1970_too(void **state)
{
	static const struct {
		const char *text;
		int64_t sec;
		long ns;
	} times[] = {
		{ "1700000000.123456789", 1700000000, 123456789 },
		{ "1.5", 1, 500000000 },
		{ "0", 0, 0 },
		{ "-1", -1, 0 },
		{ "-1.5", -2, 500000000 },
		{ "-1000000.000000001", -1000001, 999999999 },
		{ "99999999999", 99999999999, 0 },
	};

	for (size_t i = 0; i < ARRAY_LEN(times); i++) {
		auto_buf struct buf t = { 0 };
		auto_reader struct reader r;

		tar_put_pax_text("mtime", times[i].text);
		tar_put(&t, &(struct tar_spec){ .name = "x", .type = '0' });
		reader_open(&r, &t, 0);
		assert_int_equal(next(&r)->mtime.tv_sec, times[i].sec);
		assert_int_equal(r.entry->mtime.tv_nsec, times[i].ns);
	}
}

static void xattrs_keep_their_bytes_and_order(void **state)
{
	auto_buf struct buf t = { 0 };
	auto_reader struct reader r;
	const struct tar_xattr *x;

	tar_put_pax("SCHILY.xattr.user.nul", "a\0b\nc=d", 7);
	tar_put_pax_text("LIBARCHIVE.xattr.user.b64%20name", "AAH/");
	tar_put_pax_text("SCHILY.xattr.user.empty", "");
	tar_put_pax_text("SCHILY.xattr.user.twice", "first");
	tar_put_pax_text("SCHILY.xattr.user.twice", "second");
	tar_put_pax_text("SCHILY.xattr.user." NFD, "name");
	tar_put_pax_text("RHT.security.selinux", "label");
	tar_put(&t, &(struct tar_spec){ .name = "x", .type = '0' });
	tar_put_file(&t, "none", "");
	reader_open(&r, &t, 0);
	assert_int_equal(next(&r)->xattr_count, 7);
	x = r.entry->xattrs;
	assert_string_equal(x[0].name, "user.nul");
	assert_int_equal(x[0].len, 7);
	assert_memory_equal(x[0].value, "a\0b\nc=d", 7);
	assert_string_equal(x[1].name, "user.b64 name");
	assert_int_equal(x[1].len, 3);
	assert_memory_equal(x[1].value, "\0\1\xff", 3);
	assert_string_equal(x[2].name, "user.empty");
	assert_int_equal(x[2].len, 0);
	assert_memory_equal(x[3].value, "first", 5);
	assert_memory_equal(x[4].value, "second", 6);
	assert_string_equal(x[5].name, "user." NFD);
	assert_string_equal(x[6].name, "security.selinux");
	assert_int_equal(next(&r)->xattr_count, 0);
}

static void an_acl_is_named_and_leaves_the_mode_alone(void **state)
{
	auto_buf struct buf t = { 0 };
	auto_reader struct reader r;

	tar_put_pax_text("SCHILY.acl.access",
			 "user::rw-,user:1000:rwx,group::r--,mask::rwx,other::r--");
	tar_put_pax_text("SCHILY.acl.default", "user::rwx,group::r-x,other::r-x");
	tar_put(&t, &(struct tar_spec){ .name = "x", .type = '5', .mode = 0674 });
	tar_put_pax_text("SCHILY.acl.access", "no acl at all");
	tar_put(&t, &(struct tar_spec){ .name = "y", .type = '0', .mode = 0640 });
	reader_open(&r, &t, 0);
	assert_int_equal(next(&r)->mode, 0674);
	assert_int_equal(r.entry->xattr_count, 2);
	assert_string_equal(r.entry->xattrs[0].name, "system.posix_acl_access");
	assert_string_equal(r.entry->xattrs[1].name, "system.posix_acl_default");
	assert_int_equal(next(&r)->mode, 0640);
}

static void global_pax_headers_do_no_harm(void **state)
{
	auto_buf struct buf t = { 0 };
	auto_reader struct reader r;

	tar_put_pax_text("comment", "made by git archive");
	tar_put_pax_header(&t, 'g');
	tar_put_file(&t, "one", "1");
	tar_put_pax_text("path", "two");
	tar_put_file(&t, "x", "2");
	reader_open(&r, &t, 0);
	assert_string_equal(next(&r)->path, "one");
	assert_string_equal(next(&r)->path, "two");
	assert_end(&r);
}

/* "head", a hole to 100000, "tail" at 100000, a hole to 200000 */
#define SPARSE_SIZE 200000
static void assert_sparse(const struct buf *t)
{
	auto_buf struct buf data = { 0 };
	auto_reader struct reader r;
	const void *block;
	int64_t offset;
	size_t len;

	reader_open(&r, t, 700);
	assert_string_equal(next(&r)->path, "sparse");
	assert_int_equal(r.entry->type, TAR_FILE);
	assert_int_equal(r.entry->size, SPARSE_SIZE);
	assert_true(r.entry->sparse);
	assert_int_equal(tar_data(r.tar, &block, &len, &offset, NULL), 1);
	assert_int_equal(offset, 0);
	assert_int_equal(len, 4);
	assert_memory_equal(block, "head", 4);
	assert_int_equal(tar_data(r.tar, &block, &len, &offset, NULL), 1);
	assert_int_equal(offset, 100000);
	assert_int_equal(len, 4);
	assert_memory_equal(block, "tail", 4);
	assert_int_equal(tar_data(r.tar, &block, &len, &offset, NULL), 0);
	assert_string_equal(next(&r)->path, "after");
	read_data(&r, &data);
	assert_string_equal(buf_text(&data), "next file");
	assert_end(&r);
}

static void put_after(struct buf *t)
{
	tar_put_file(t, "after", "next file");
	tar_put_end(t);
}

static void sparse_0_0_and_0_1_are_read(void **state)
{
	auto_buf struct buf t00 = { 0 }, t01 = { 0 };
	const struct tar_spec spec = { .name = "fake", .type = '0', .size = 8, .data = "headtail" };

	tar_put_pax_text("GNU.sparse.size", "200000");
	tar_put_pax_text("GNU.sparse.numblocks", "2");
	tar_put_pax_text("GNU.sparse.offset", "0");
	tar_put_pax_text("GNU.sparse.numbytes", "4");
	tar_put_pax_text("GNU.sparse.offset", "100000");
	tar_put_pax_text("GNU.sparse.numbytes", "4");
	tar_put_pax_text("GNU.sparse.name", "sparse");
	tar_put(&t00, &spec);
	put_after(&t00);
	assert_sparse(&t00);
	tar_put_pax_text("GNU.sparse.size", "200000");
	tar_put_pax_text("GNU.sparse.numblocks", "2");
	tar_put_pax_text("GNU.sparse.map", "0,4,100000,4");
	tar_put_pax_text("GNU.sparse.name", "sparse");
	tar_put(&t01, &spec);
	put_after(&t01);
	assert_sparse(&t01);
}

static void sparse_1_0_is_read(void **state)
{
	auto_buf struct buf t = { 0 };
	char data[TAR_BLOCK_BYTES + 8] = "2\n0\n4\n100000\n4\n";

	memcpy(data + TAR_BLOCK_BYTES, "headtail", 8);
	tar_put_pax_text("GNU.sparse.major", "1");
	tar_put_pax_text("GNU.sparse.minor", "0");
	tar_put_pax_text("GNU.sparse.name", "sparse");
	tar_put_pax_text("GNU.sparse.realsize", "200000");
	tar_put(&t, &(struct tar_spec){
			    .name = "fake", .type = '0', .size = sizeof(data), .data = data });
	put_after(&t);
	assert_sparse(&t);
}

static void old_gnu_sparse_is_read(void **state)
{
	auto_buf struct buf t = { 0 };
	unsigned char *h;
	unsigned int sum = 0;

	tar_put(&t, &(struct tar_spec){ .name = "sparse",
					.type = 'S',
					.size = 8,
					.data = "headtail",
					.style = TAR_GNU });
	h = (unsigned char *)t.data;
	memcpy(h + 386, "00000000000\00000000000004\0", 24);
	memcpy(h + 410, "00000303240\00000000000004\0", 24);
	memcpy(h + 483, "00000606500", 12);
	memset(h + 148, ' ', 8);
	for (size_t i = 0; i < TAR_BLOCK_BYTES; i++)
		sum += h[i];
	(void)snprintf((char *)h + 148, 8, "%06o", sum);
	put_after(&t);
	assert_sparse(&t);
}

static void a_sparse_map_that_lies_is_an_error(void **state)
{
	static const char *const maps[] = { "0,4,2,4", "100,4,0,4", "0,4,199999,4" };

	for (size_t i = 0; i < ARRAY_LEN(maps); i++) {
		auto_buf struct buf t = { 0 };
		auto_reader struct reader r;
		const void *block;
		int64_t offset;
		size_t len;
		int n;

		tar_put_file(&t, "first", "");
		tar_put_pax_text("GNU.sparse.size", "200000");
		tar_put_pax_text("GNU.sparse.map", maps[i]);
		tar_put(&t, &(struct tar_spec){
				    .name = "x", .type = '0', .size = 8, .data = "headtail" });
		reader_open(&r, &t, 0);
		next(&r);
		next(&r);
		while ((n = tar_data(r.tar, &block, &len, &offset, &r.err)) == 1)
			;
		assert_int_equal(n, -EBADMSG);
		assert_words(&r.err, "out of order or beyond");
	}
}

static void endless_headers_are_refused(void **state)
{
	auto_buf struct buf t = { 0 };
	char *map = malloc(12 << 20);
	auto_reader struct reader r;

	assert_non_null(map);
	(void)snprintf(map, 16, "6000000\n");
	for (size_t i = 8; i < 12 << 20; i += 2)
		memcpy(map + i, "0\n", 2);
	tar_put_file(&t, "first", "");
	tar_put_pax_text("GNU.sparse.major", "1");
	tar_put_pax_text("GNU.sparse.minor", "0");
	tar_put_pax_text("GNU.sparse.realsize", "1");
	tar_put(&t, &(struct tar_spec){ .name = "x", .type = '0', .size = 12 << 20, .data = map });
	free(map);
	reader_open(&r, &t, 0);
	next(&r);
	assert_int_equal(tar_next(r.tar, &r.entry, &r.err), -EFBIG);
	assert_words(&r.err, "headers of one entry");
}

static void data_is_not_counted_as_headers(void **state)
{
	size_t size = TAR_HEADERS_MAX + (4 << 20);
	auto_free char *data = calloc(1, size);
	auto_buf struct buf t = { 0 };
	auto_reader struct reader r;

	assert_non_null(data);
	tar_put(&t, &(struct tar_spec){
			    .name = "big", .type = '0', .size = (int64_t)size, .data = data });
	tar_put_file(&t, "after", "");
	reader_open(&r, &t, 0);
	next(&r);
	assert_string_equal(next(&r)->path, "after");
}

static void the_limit_on_headers_can_be_lower(void **state)
{
	const struct tar_options options = { .header_bytes = 1024 };
	auto_buf struct buf t = { 0 };
	auto_reader struct reader r;
	char value[4000];

	memset(value, 'x', sizeof(value) - 1);
	value[sizeof(value) - 1] = 0;
	tar_put_pax_text("comment", value);
	tar_put_file(&t, "file", "");
	reader_open_with(&r, &t, 512, &options);
	assert_int_equal(tar_next(r.tar, &r.entry, &r.err), -EFBIG);
	assert_words(&r.err, "larger than 1024 bytes; if you trust it, raise the limit with "
			     "--limit header-bytes=N");
}

static void pieces_of_a_sparse_file_are_limited(void **state)
{
	const struct tar_options two = { .sparse_pieces = 2 }, three = { .sparse_pieces = 3 };
	auto_buf struct buf t = { 0 };
	auto_reader struct reader r, enough;

	tar_put_pax_text("GNU.sparse.size", "100000");
	tar_put_pax_text("GNU.sparse.numblocks", "3");
	tar_put_pax_text("GNU.sparse.map", "0,1,1000,1,2000,1");
	tar_put(&t, &(struct tar_spec){ .name = "sparse", .type = '0', .size = 3, .data = "abc" });
	reader_open_with(&r, &t, 0, &two);
	assert_int_equal(tar_next(r.tar, &r.entry, &r.err), -EFBIG);
	assert_words(&r.err, "more than 2 pieces");
	reader_open_with(&enough, &t, 0, &three);
	assert_true(next(&enough)->sparse);
}

static int64_t memory_skip(void *arg, int64_t len)
{
	struct memory *m = arg;
	size_t left = m->len - m->at, part = (uint64_t)len < left ? (size_t)len : left;

	m->at += part;
	return (int64_t)part;
}

static void what_nobody_reads_is_passed_over(void **state)
{
	const struct tar_options options = { .skip = memory_skip };
	const size_t size = 3 << 20;
	auto_free char *data = calloc(1, size);
	auto_buf struct buf t = { 0 };
	auto_reader struct reader r, cut;

	assert_non_null(data);
	tar_put(&t, &(struct tar_spec){
			    .name = "big", .type = '0', .size = (int64_t)size, .data = data });
	tar_put_file(&t, "after", "text");
	tar_put_end(&t);
	reader_open_with(&r, &t, 1024, &options);
	assert_string_equal(next(&r)->path, "big");
	assert_string_equal(next(&r)->path, "after");
	assert_end(&r);
	t.len = size / 2;
	reader_open_with(&cut, &t, 1024, &options);
	assert_string_equal(next(&cut)->path, "big");
	assert_int_equal(tar_next(cut.tar, &cut.entry, &cut.err), -EBADMSG);
}

static void empty_archives_have_no_entries(void **state)
{
	auto_buf struct buf nothing = { 0 }, zeros = { 0 }, no_end = { 0 };
	auto_reader struct reader r1, r2, r3;

	reader_open(&r1, &nothing, 0);
	assert_end(&r1);
	tar_put_end(&zeros);
	reader_open(&r2, &zeros, 0);
	assert_end(&r2);
	tar_put_file(&no_end, "file", "x");
	reader_open(&r3, &no_end, 0);
	next(&r3);
	assert_end(&r3);
}

static void what_is_no_tar_is_refused(void **state)
{
	auto_buf struct buf text = { 0 }, small = { 0 };

	for (int i = 0; i < 200; i++)
		assert_int_equal(buf_puts(&text, "this is no archive\n"), 0);
	assert_refused(&text, -EBADMSG, "tar: ");
	assert_int_equal(buf_puts(&small, "x"), 0);
	assert_refused(&small, -EBADMSG, "tar: ");
}

static void every_cut_within_an_entry_is_seen(void **state)
{
	auto_buf struct buf whole = { 0 };

	tar_put_pax_text("path", "a name in a pax header");
	tar_put(&whole,
		&(struct tar_spec){
			.name = "x", .type = '0', .size = 600, .data = (char[600]){ "data" } });
	for (size_t len = 1; len < whole.len; len += 41) {
		auto_buf struct buf t = { 0 };
		auto_reader struct reader r;
		int n;

		assert_int_equal(buf_append(&t, whole.data, len), 0);
		reader_open(&r, &t, 0);
		n = tar_next(r.tar, &r.entry, &r.err);
		if (n == 1)
			n = tar_next(r.tar, &r.entry, &r.err);
		assert_int_equal(n, -EBADMSG);
		assert_words(&r.err, "tar: ");
	}
}

static void a_damaged_header_is_seen(void **state)
{
	auto_buf struct buf t = { 0 };
	auto_reader struct reader r;

	tar_put_file(&t, "one", "1");
	tar_put_file(&t, "two", "2");
	t.data[2 * TAR_BLOCK_BYTES + 3] ^= 1;
	reader_open(&r, &t, 0);
	next(&r);
	assert_int_equal(tar_next(r.tar, &r.entry, &r.err), -EBADMSG);
	assert_words(&r.err, "at byte 1024");
}

static void numbers_out_of_range_are_refused(void **state)
{
	static const struct {
		struct tar_spec spec;
		const char *words;
	} bad[] = {
		{ { .name = "x", .type = '0', .uid = 4294967295 }, "owner 4294967295:0" },
		{ { .name = "x", .type = '0', .gid = (int64_t)1 << 40 }, "owner 0:1099511627776" },
		{ { .name = "x", .type = '0', .uid = -2 }, "owner -2:0" },
		{ { .name = "x", .type = '0', .size = -1 }, "negative size" },
		{ { .name = "x", .type = '0', .size = INT64_MAX }, "size overflow" },
		{ { .name = "x", .type = '3', .dev_major = 4096 }, "device number" },
		{ { .name = "x", .type = '4', .dev_minor = 1048576 }, "device number" },
		{ { .name = "x", .type = '2' }, "no target" },
		{ { .name = "x", .type = '1' }, "type that cannot be made" },
		{ { .name = "", .type = '0', .mode = 0644 }, "no name" },
		{ { .name = "x", .type = 'M', .mode = 0140644 }, "type that cannot be made" },
	};

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		auto_buf struct buf t = { 0 };

		tar_put(&t, &bad[i].spec);
		assert_refused(&t, -EBADMSG, bad[i].words);
	}
}

static void malformed_pax_records_are_refused(void **state)
{
	static const char *const records[] = { "5 a=b\n", "abc path=x\n", "99 path=x\n",
					       "9 path x\n" };

	for (size_t i = 0; i < ARRAY_LEN(records); i++) {
		auto_buf struct buf t = { 0 };

		tar_put(&t, &(struct tar_spec){ .name = "pax",
						.type = 'x',
						.size = (int64_t)strlen(records[i]),
						.data = records[i] });
		tar_put_file(&t, "x", "");
		assert_refused(&t, -EBADMSG, "pax");
	}
}

static void the_source_s_own_error_comes_through(void **state)
{
	auto_buf struct buf t = { 0 };
	auto_reader struct reader r;

	tar_put_file(&t, "one", "1");
	reader_open(&r, &t, 100);
	r.from.fail_at_end = -EIO;
	next(&r);
	assert_int_equal(tar_next(r.tar, &r.entry, &r.err), -EIO);
	assert_words(&r.err, "the source: Input/output error");
}

static void blocks_may_be_of_any_size(void **state)
{
	auto_free char *data = malloc(300000);
	auto_buf struct buf t = { 0 };

	fill_noise(data, 300000, 3);
	tar_put_pax_text("path", "large");
	tar_put(&t, &(struct tar_spec){ .name = "x", .type = '0', .size = 300000, .data = data });
	tar_put_file(&t, "small", "s");
	tar_put_end(&t);
	for (size_t step = 1; step < 1 << 20; step = step * 3 + 1) {
		auto_buf struct buf got = { 0 };
		auto_reader struct reader r;

		reader_open(&r, &t, step);
		assert_string_equal(next(&r)->path, "large");
		read_data(&r, &got);
		assert_int_equal(got.len, 300000);
		assert_memory_equal(got.data, data, 300000);
		assert_string_equal(next(&r)->path, "small");
		assert_end(&r);
	}
}

static void a_reader_started_at_an_entry_s_offset_sees_it_first(void **state)
{
	static const char *const names[] = { "plain", "in pax", "a gnu long name", "last" };
	auto_buf struct buf t = { 0 };
	auto_reader struct reader r;

	tar_put_file(&t, names[0], "some data");
	tar_put_pax_text("path", names[1]);
	tar_put_file(&t, "x", "more data");
	tar_put_long(&t, 'L', names[2]);
	tar_put(&t, &(struct tar_spec){ .name = "x", .type = '0', .style = TAR_GNU });
	tar_put_file(&t, names[3], "");
	tar_put_end(&t);
	reader_open(&r, &t, 0);
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		auto_buf struct buf tail = { 0 };
		auto_reader struct reader again;
		size_t at;

		assert_string_equal(next(&r)->path, names[i]);
		at = (size_t)tar_entry_offset(r.tar);
		assert_int_equal(buf_append(&tail, t.data + at, t.len - at), 0);
		reader_open(&again, &tail, 0);
		assert_string_equal(next(&again)->path, names[i]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_type_and_number_is_read),
		cmocka_unit_test(odd_types_are_what_old_tars_meant),
		cmocka_unit_test(long_names_of_every_kind_are_whole),
		cmocka_unit_test(names_are_raw_bytes_in_every_locale),
		cmocka_unit_test(times_have_nanoseconds_before_1970_too),
		cmocka_unit_test(xattrs_keep_their_bytes_and_order),
		cmocka_unit_test(an_acl_is_named_and_leaves_the_mode_alone),
		cmocka_unit_test(global_pax_headers_do_no_harm),
		cmocka_unit_test(sparse_0_0_and_0_1_are_read),
		cmocka_unit_test(sparse_1_0_is_read),
		cmocka_unit_test(old_gnu_sparse_is_read),
		cmocka_unit_test(a_sparse_map_that_lies_is_an_error),
		cmocka_unit_test(endless_headers_are_refused),
		cmocka_unit_test(data_is_not_counted_as_headers),
		cmocka_unit_test(the_limit_on_headers_can_be_lower),
		cmocka_unit_test(pieces_of_a_sparse_file_are_limited),
		cmocka_unit_test(what_nobody_reads_is_passed_over),
		cmocka_unit_test(empty_archives_have_no_entries),
		cmocka_unit_test(what_is_no_tar_is_refused),
		cmocka_unit_test(every_cut_within_an_entry_is_seen),
		cmocka_unit_test(a_damaged_header_is_seen),
		cmocka_unit_test(numbers_out_of_range_are_refused),
		cmocka_unit_test(malformed_pax_records_are_refused),
		cmocka_unit_test(the_source_s_own_error_comes_through),
		cmocka_unit_test(blocks_may_be_of_any_size),
		cmocka_unit_test(a_reader_started_at_an_entry_s_offset_sees_it_first),
	};

	return cmocka_run_group_tests_name("tar", tests, NULL, NULL);
}
