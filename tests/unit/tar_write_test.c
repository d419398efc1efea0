/* SPDX-License-Identifier: Apache-2.0 */
#include "driver/tar_write.h"

#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <cmocka.h>

#include "driver/base/auto.h"
#include "driver/base/fd.h"
#include "tests/unit/sandbox.h"
#include "tests/unit/util.h"

#define NOT_UTF8 "raw\xff\xfe\x80"

/* Where the stream goes, and the pieces in which it came. */
struct sink {
	struct buf tar;
	size_t pieces, smallest, last;
	int fail_after; /* pieces; 0: never */
};

static int take(void *arg, const void *bytes, size_t len, struct err *err)
{
	struct sink *sink = arg;

	sink->tar.max = (size_t)1 << 30;
	if (sink->pieces && (!sink->smallest || sink->last < sink->smallest))
		sink->smallest = sink->last;
	sink->last = len;
	sink->pieces++;
	if (sink->fail_after && --sink->fail_after == 0)
		return (fail)(err, -EPIPE, "nobody reads any more");
	return buf_append(&sink->tar, bytes, len);
}

static void put_all(struct tar_writer *w, const struct tar_entry *e, const char *data)
{
	struct err err = { 0 };

	if (tar_writer_entry(w, e, &err) < 0)
		fail_msg("%s", err.text);
	if (e->type == TAR_FILE)
		assert_int_equal(tar_writer_data(w, data, (size_t)e->size, &err), 0);
}

/* One entry alone, and the end. */
static void write_one(struct sink *sink, const struct tar_entry *e, const char *data)
{
	auto_tar_writer struct tar_writer w;

	tar_writer_init(&w, take, sink);
	put_all(&w, e, data);
	assert_int_equal(tar_writer_end(&w, NULL), 0);
	assert_int_equal(sink->tar.len % TAR_BLOCK_BYTES, 0);
	assert_int_equal(w.bytes, sink->tar.len);
}

/* ---- read back ---- */

static size_t slash_at_end(const char *path)
{
	return path[strlen(path) - 1] == '/';
}

static void assert_same_xattrs(const struct tar_entry *a, const struct tar_entry *b)
{
	assert_int_equal(a->xattr_count, b->xattr_count);
	for (size_t i = 0; i < a->xattr_count; i++) {
		const struct tar_xattr *x = NULL;

		for (size_t j = 0; j < b->xattr_count; j++)
			if (!strcmp(b->xattrs[j].name, a->xattrs[i].name))
				x = &b->xattrs[j];
		if (!x) {
			fail_msg("%s is missing", a->xattrs[i].name);
			return;
		}
		assert_int_equal(a->xattrs[i].len, x->len);
		if (x->len)
			assert_memory_equal(a->xattrs[i].value, x->value, x->len);
	}
}

static void assert_same_entry(const struct tar_entry *want, const struct tar_entry *got)
{
	size_t len = strlen(want->path);

	assert_int_equal(got->type, want->type);
	assert_int_equal(strncmp(got->path, want->path, len), 0);
	if (want->type == TAR_DIR)
		assert_string_equal(got->path + len, slash_at_end(want->path) ? "" : "/");
	else
		assert_string_equal(got->path + len, "");
	if (want->link)
		assert_string_equal(got->link, want->link);
	else
		assert_null(got->link);
	assert_int_equal(got->mode, want->mode);
	assert_int_equal(got->uid, want->uid);
	assert_int_equal(got->gid, want->gid);
	assert_int_equal(got->size, want->size);
	assert_int_equal(got->mtime.tv_sec, want->mtime.tv_sec);
	assert_int_equal(got->mtime.tv_nsec, 0);
	assert_int_equal(got->dev_major, want->dev_major);
	assert_int_equal(got->dev_minor, want->dev_minor);
	assert_same_xattrs(want, got);
}

static void assert_reads_back(const struct tar_entry *want)
{
	AUTO(tar_closep) struct tar *tar = NULL;
	struct sink sink = { 0 };
	const struct tar_entry *got;
	struct memory from;
	struct err err = { 0 };
	auto_free char *data = calloc(1, (size_t)want->size + 1);

	fill_noise(data, (size_t)want->size, 1);
	write_one(&sink, want, data);
	from = (struct memory){ sink.tar.data, sink.tar.len, 0, 0, 0 };
	assert_int_equal(tar_open(memory_read, &from, NULL, &tar, &err), 0);
	if (tar_next(tar, &got, &err) != 1)
		fail_msg("%s", err.text);
	assert_same_entry(want, got);
	assert_int_equal(tar_next(tar, &got, &err), 0);
	buf_release(&sink.tar);
}

/* The block of the entry's own header: the first, or what follows a pax header. */
static bool has_pax_header(const struct tar_entry *e)
{
	struct sink sink = { 0 };
	bool has;

	write_one(&sink, e, "");
	has = sink.tar.data[156] == 'x';
	assert_true(has || sink.tar.len == 3 * (size_t)TAR_BLOCK_BYTES);
	buf_release(&sink.tar);
	return has;
}

static void every_type_is_read_back(void **state)
{
	static const struct tar_entry entries[] = {
		{ .type = TAR_FILE, .path = "file", .mode = 04755, .uid = 1, .gid = 2, .size = 5 },
		{ .type = TAR_FILE, .path = "empty", .mtime = { 1700000000, 999999999 } },
		{ .type = TAR_DIR, .path = "dir", .mode = 01777 },
		{ .type = TAR_DIR, .path = "dir/slash/", .mode = 0755 },
		{ .type = TAR_SYMLINK, .path = "sym", .link = "../to", .mode = 0777 },
		{ .type = TAR_HARDLINK, .path = "hard", .link = "file", .mode = 0644 },
		{ .type = TAR_CHAR, .path = "char", .dev_major = 4095, .dev_minor = 1048575 },
		{ .type = TAR_BLOCK, .path = "block", .dev_major = 8, .dev_minor = 1 },
		{ .type = TAR_FIFO, .path = "fifo", .mode = 0600 },
	};

	for (size_t i = 0; i < ARRAY_LEN(entries); i++)
		assert_reads_back(&entries[i]);
}

static void numbers_beyond_the_fields_are_read_back(void **state)
{
	static const uint32_t ids[] = { 0, 2097151, 2097152, 4294967294 };
	static const int64_t times[] = { 0, -1, -5000000000, 8589934591, 8589934592 };
	struct tar_entry e = { .type = TAR_FIFO, .path = "f", .mode = 07777 };

	for (size_t i = 0; i < ARRAY_LEN(ids); i++) {
		e.uid = ids[i];
		e.gid = 0;
		assert_reads_back(&e);
		assert_int_equal(has_pax_header(&e), ids[i] > 2097151);
		e.uid = 0;
		e.gid = ids[i];
		assert_reads_back(&e);
		assert_int_equal(has_pax_header(&e), ids[i] > 2097151);
	}
	e.gid = 0;
	for (size_t i = 0; i < ARRAY_LEN(times); i++) {
		e.mtime.tv_sec = times[i];
		assert_reads_back(&e);
		assert_int_equal(has_pax_header(&e), times[i] < 0 || times[i] > 8589934591);
	}
}

/* 8 GiB less a byte fits. The contents are not looked at. */
static void sizes_beyond_the_field_are_read_back(void **state)
{
	static const int64_t sizes[] = { ((int64_t)8 << 30) - 1, (int64_t)8 << 30 };

	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		const struct tar_entry e = { .type = TAR_FILE, .path = "f", .size = sizes[i] };
		AUTO(tar_closep) struct tar *tar = NULL;
		auto_tar_writer struct tar_writer w;
		struct sink sink = { 0 };
		const struct tar_entry *got;
		struct memory from;
		struct err err = { 0 };
		char zeros[TAR_WRITE_BYTES] = { 0 };

		tar_writer_init(&w, take, &sink);
		assert_int_equal(tar_writer_entry(&w, &e, &err), 0);
		assert_int_equal(tar_writer_data(&w, zeros, sizeof(zeros), &err), 0);
		assert_int_equal(tar_writer_end(&w, &err), -EINVAL);
		assert_words(&err, "lacks 8589");
		from = (struct memory){ sink.tar.data, sink.tar.len, 0, 0, 0 };
		assert_int_equal(tar_open(memory_read, &from, NULL, &tar, &err), 0);
		if (tar_next(tar, &got, &err) != 1)
			fail_msg("%s", err.text);
		assert_same_entry(&e, got);
		assert_int_equal(sink.tar.data[156] == 'x', i == 1);
		buf_release(&sink.tar);
	}
}

/* Fills with components of `step` bytes. */
static char *make_path(size_t len, size_t step, const char *pattern)
{
	char *path = malloc(len + 1);

	for (size_t i = 0; i < len; i++)
		path[i] = (i + 1) % step == 0 && i + 1 < len ? '/' : pattern[i % strlen(pattern)];
	path[len] = 0;
	return path;
}

static void names_of_every_length_are_read_back(void **state)
{
	static const size_t steps[] = { 5, 50, 99, 100, 101, 102, 154, 156, 157, 255 };
	static const char *const patterns[] = { "name", NOT_UTF8, "new\nline", "\xc3\xa4" };
	static const enum tar_type kinds[] = { TAR_FILE, TAR_DIR, TAR_SYMLINK };

	for (size_t len = 1; len < 400; len++) {
		auto_free char *path = make_path(len, steps[len % ARRAY_LEN(steps)],
						 patterns[len % ARRAY_LEN(patterns)]);
		struct tar_entry e = { .type = kinds[len % 3], .path = path };

		e.link = e.type == TAR_SYMLINK ? path : NULL;
		assert_reads_back(&e);
	}
}

static void the_longest_names_are_read_back(void **state)
{
	for (size_t step = 200; step <= 256; step += 28) {
		auto_free char *path = make_path(PATH_MAX - 1, step, NOT_UTF8 "\n");
		const struct tar_entry link = { .type = TAR_SYMLINK, .path = path, .link = path };
		const struct tar_entry dir = { .type = TAR_DIR, .path = path };

		assert_reads_back(&link);
		assert_reads_back(&dir);
	}
}

/* A prefix and a name, or a name alone: no pax header where that will do. */
static void what_fits_has_no_pax_header(void **state)
{
	auto_free char *alone = make_path(100, 1000, "n");
	auto_free char *too_long = make_path(101, 1000, "n");
	auto_free char *two = make_path(256, 156, "n");
	auto_free char *too_long_two = make_path(257, 156, "n");
	struct tar_entry e = { .type = TAR_FILE, .path = alone };

	assert_false(has_pax_header(&e));
	e.path = too_long;
	assert_true(has_pax_header(&e));
	e.path = two;
	assert_false(has_pax_header(&e));
	e.path = too_long_two;
	assert_true(has_pax_header(&e));
	e = (struct tar_entry){ .type = TAR_SYMLINK, .path = "l", .link = alone };
	assert_false(has_pax_header(&e));
	e.link = too_long;
	assert_true(has_pax_header(&e));
}

static void xattrs_are_read_back(void **state)
{
	auto_free char *large = calloc(1, 65536);
	const struct tar_xattr xattrs[] = {
		{ "security.capability", "\1\0\0\2\0\n=\0", 8 },
		{ "user.empty", "", 0 },
		{ "user.large", large, 65536 },
		{ "user.100%", "x", 1 },
	};
	const struct tar_entry e = {
		.type = TAR_FILE, .path = "f", .xattrs = xattrs, .xattr_count = ARRAY_LEN(xattrs)
	};

	fill_noise(large, 65536, 3);
	assert_reads_back(&e);
}

/* Lengths around those at which the length of a record gets another digit. */
static void records_of_every_length_are_read_back(void **state)
{
	static const size_t around[] = { 1, 75, 970, 9965 };
	auto_free char *value = calloc(1, 10100);

	fill_noise(value, 10100, 4);
	for (size_t i = 0; i < ARRAY_LEN(around); i++) {
		for (size_t len = around[i]; len < around[i] + 25; len++) {
			const struct tar_xattr xattr = { "user.x", value, len };
			const struct tar_entry e = {
				.type = TAR_DIR, .path = "d", .xattrs = &xattr, .xattr_count = 1
			};

			assert_reads_back(&e);
		}
	}
}

/* ---- what others read ---- */

static void put_tar(const char *path, const struct buf *tar)
{
	auto_close int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	assert_true(fd >= 0);
	assert_int_equal(write_full(fd, tar->data, tar->len), 0);
}

static void expect_output(const char *command, const char *lines)
{
	char text[65536] = "";
	FILE *pipe = popen(command, "re");

	assert_non_null(pipe);
	assert_true(fread(text, 1, sizeof(text) - 1, pipe) < sizeof(text) - 1);
	assert_int_equal(pclose(pipe), 0);
	assert_string_equal(text, lines);
}

static void write_some(struct sink *sink, const char *long_path)
{
	static const struct tar_xattr xattr = { "user.x", "a\nb", 3 };
	const struct tar_entry entries[] = {
		{ .type = TAR_DIR, .path = "d", .mode = 0751, .uid = 3000000, .mtime = { 12, 9 } },
		{ .type = TAR_FILE, .path = "d/" NOT_UTF8, .mode = 0640, .size = 600 },
		{ .type = TAR_HARDLINK, .path = "d/hard", .link = "d/" NOT_UTF8, .mode = 0640 },
		{ .type = TAR_SYMLINK, .path = "d/sym", .link = long_path, .mode = 0777 },
		{ .type = TAR_FILE, .path = long_path, .mode = 0644, .mtime = { -77, 5 } },
		{ .type = TAR_CHAR, .path = "c", .mode = 0600, .dev_major = 1, .dev_minor = 3 },
		{ .type = TAR_FILE, .path = "x", .xattrs = &xattr, .xattr_count = 1, .size = 1 },
	};
	auto_tar_writer struct tar_writer w;
	char data[600];

	memset(data, 'z', sizeof(data));
	tar_writer_init(&w, take, sink);
	for (size_t i = 0; i < ARRAY_LEN(entries); i++)
		put_all(&w, &entries[i], data);
	assert_int_equal(tar_writer_end(&w, NULL), 0);
}

static void python_reads_the_same(void **state)
{
	static const char script[] =
		"import tarfile\n"
		"for m in tarfile.open('t.tar', errors='surrogateescape'):\n"
		"    print(m.type.decode(), ascii(m.name)[:30], len(m.name), ascii(m.linkname)[:20],\n"
		"          oct(m.mode), m.uid, m.gid, m.size, int(m.mtime), m.devmajor, m.devminor,\n"
		"          m.pax_headers.get('SCHILY.xattr.user.x'), [m.uname, m.gname])\n";
	auto_free char *long_path = make_path(1000, 200, "long");
	struct sink sink = { 0 };

	write_some(&sink, long_path);
	put_tar("t.tar", &sink.tar);
	put_file("read.py", script);
	buf_release(&sink.tar);
	expect_output("python3 read.py",
		      "5 'd' 1 '' 0o751 3000000 0 0 12 0 0 None ['', '']\n"
		      "0 'd/raw\\udcff\\udcfe\\udc80' 8 '' 0o640 0 0 600 0 0 0 None ['', '']\n"
		      "1 'd/hard' 6 'd/raw\\udcff\\udcfe\\u 0o640 0 0 0 0 0 0 None ['', '']\n"
		      "2 'd/sym' 5 'longlonglonglonglon 0o777 0 0 0 0 0 0 None ['', '']\n"
		      "0 'longlonglonglonglonglonglongl 1000 '' 0o644 0 0 0 -77 0 0 None ['', '']\n"
		      "3 'c' 1 '' 0o600 0 0 0 0 1 3 None ['', '']\n"
		      "0 'x' 1 '' 0o0 0 0 1 0 0 0 a\nb ['', '']\n");
}

static void gnu_tar_makes_the_same(void **state)
{
	auto_free char *long_path = make_path(1000, 200, "long");
	struct sink sink = { 0 };
	struct stat st;

	needs_root();
	write_some(&sink, long_path);
	put_tar("t.tar", &sink.tar);
	buf_release(&sink.tar);
	put_dir("out");
	expect_output("tar -xpf t.tar -C out --numeric-owner --xattrs --xattrs-include='*' >log 2>&1 "
		      "|| cat log",
		      "");
	assert_int_equal(chdir("out"), 0);
	st = look("d");
	assert_int_equal(st.st_mode, S_IFDIR | 0751);
	assert_int_equal(st.st_uid, 3000000);
	assert_int_equal(st.st_mtime, 12);
	st = look("d/" NOT_UTF8);
	assert_int_equal(st.st_size, 600);
	assert_int_equal(st.st_ino, look("d/hard").st_ino);
	assert_link("d/sym", long_path);
	assert_int_equal(look(long_path).st_mtime, -77);
	assert_int_equal(look("c").st_rdev, makedev(1, 3));
	assert_xattr("x", "user.x", "a\nb", 3);
}

/* ---- the stream ---- */

static void the_same_entries_give_the_same_bytes(void **state)
{
	auto_free char *long_path = make_path(1000, 200, "long");
	struct sink a = { 0 }, b = { 0 };

	write_some(&a, long_path);
	write_some(&b, long_path);
	assert_int_equal(a.tar.len, b.tar.len);
	assert_memory_equal(a.tar.data, b.tar.data, a.tar.len);
	buf_release(&a.tar);
	buf_release(&b.tar);
}

static void what_is_handed_on_is_large(void **state)
{
	static const size_t steps[] = {
		1, 511, 5000, TAR_WRITE_BYTES - 1, TAR_WRITE_BYTES, 1000000
	};
	auto_free char *data = malloc(1000000);
	struct buf first = { 0 };

	fill_noise(data, 1000000, 5);
	for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
		struct tar_entry e = { .type = TAR_FILE, .path = "f", .size = 1000000 };
		auto_tar_writer struct tar_writer w;
		struct sink sink = { 0 };

		tar_writer_init(&w, take, &sink);
		assert_int_equal(tar_writer_entry(&w, &e, NULL), 0);
		for (size_t at = 0; at < 1000000; at += steps[i])
			assert_int_equal(tar_writer_data(&w, data + at,
							 at + steps[i] < 1000000 ? steps[i] :
										   1000000 - at,
							 NULL),
					 0);
		for (size_t j = 0; j < 1000; j++) {
			e.size = (int64_t)j;
			put_all(&w, &e, data);
		}
		assert_int_equal(tar_writer_end(&w, NULL), 0);
		if (steps[i] < TAR_WRITE_BYTES)
			assert_true(sink.smallest >= TAR_WRITE_BYTES);
		assert_int_equal(w.bytes, sink.tar.len);
		if (i == 0)
			first = sink.tar;
		assert_int_equal(first.len, sink.tar.len);
		assert_memory_equal(first.data, sink.tar.data, first.len);
		if (i)
			buf_release(&sink.tar);
	}
	buf_release(&first);
}

static void an_archive_without_entries_is_two_blocks(void **state)
{
	static const char zeros[2 * TAR_BLOCK_BYTES];
	auto_tar_writer struct tar_writer w;
	struct sink sink = { 0 };

	tar_writer_init(&w, take, &sink);
	assert_int_equal(tar_writer_end(&w, NULL), 0);
	assert_int_equal(sink.tar.len, sizeof(zeros));
	assert_memory_equal(sink.tar.data, zeros, sizeof(zeros));
	buf_release(&sink.tar);
}

/* ---- what cannot be ---- */

static void contents_of_another_size_are_refused(void **state)
{
	const struct tar_entry e = { .type = TAR_FILE, .path = "f", .size = 3 };
	auto_tar_writer struct tar_writer w;
	struct sink sink = { 0 };
	struct err err = { 0 };

	tar_writer_init(&w, take, &sink);
	assert_int_equal(tar_writer_entry(&w, &e, &err), 0);
	assert_int_equal(tar_writer_data(&w, "1234", 4, &err), -EINVAL);
	assert_words(&err, "1 bytes more");
	assert_int_equal(tar_writer_data(&w, "12", 2, &err), 0);
	assert_int_equal(tar_writer_entry(&w, &e, &err), -EINVAL);
	assert_words(&err, "lacks 1 bytes");
	assert_int_equal(tar_writer_end(&w, &err), -EINVAL);
	assert_int_equal(tar_writer_data(&w, "3", 1, &err), 0);
	assert_int_equal(tar_writer_end(&w, &err), 0);
	assert_int_equal(sink.tar.len, 4 * TAR_BLOCK_BYTES);
	buf_release(&sink.tar);
}

static void names_that_no_record_can_say_are_refused(void **state)
{
	static const char *const names[] = { "", "user.a=b" };

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		const struct tar_xattr xattr = { names[i], "", 0 };
		const struct tar_entry e = {
			.type = TAR_FILE, .path = "f", .xattrs = &xattr, .xattr_count = 1
		};
		auto_tar_writer struct tar_writer w;
		struct sink sink = { 0 };
		struct err err = { 0 };

		tar_writer_init(&w, take, &sink);
		assert_int_equal(tar_writer_entry(&w, &e, &err), -EINVAL);
		assert_words(&err, "a tar cannot say");
	}
}

static void headers_beyond_the_limit_are_refused(void **state)
{
	auto_free char *value = calloc(1, TAR_HEADERS_MAX);
	const struct tar_xattr xattr = { "user.x", value, TAR_HEADERS_MAX };
	const struct tar_entry e = {
		.type = TAR_FILE, .path = "f", .xattrs = &xattr, .xattr_count = 1
	};
	auto_tar_writer struct tar_writer w;
	struct sink sink = { 0 };

	tar_writer_init(&w, take, &sink);
	assert_int_equal(tar_writer_entry(&w, &e, NULL), -EFBIG);
	assert_int_equal(tar_writer_end(&w, NULL), -EFBIG);
}

static void a_sinks_failure_ends_the_stream(void **state)
{
	const struct tar_entry e = { .type = TAR_FILE, .path = "f", .size = 1 << 20 };
	auto_free char *data = calloc(1, 1 << 20);
	auto_tar_writer struct tar_writer w;
	struct sink sink = { .fail_after = 2 };
	struct err err = { 0 };

	tar_writer_init(&w, take, &sink);
	assert_int_equal(tar_writer_entry(&w, &e, &err), 0);
	assert_int_equal(tar_writer_data(&w, data, 1 << 20, &err), -EPIPE);
	assert_words(&err, "nobody reads any more");
	assert_int_equal(tar_writer_data(&w, data, 1, NULL), -EPIPE);
	assert_int_equal(tar_writer_entry(&w, &e, NULL), -EPIPE);
	assert_int_equal(tar_writer_end(&w, NULL), -EPIPE);
	assert_int_equal(sink.pieces, 2);
	buf_release(&sink.tar);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_type_is_read_back),
		cmocka_unit_test(numbers_beyond_the_fields_are_read_back),
		cmocka_unit_test(sizes_beyond_the_field_are_read_back),
		cmocka_unit_test(names_of_every_length_are_read_back),
		cmocka_unit_test(the_longest_names_are_read_back),
		cmocka_unit_test(what_fits_has_no_pax_header),
		cmocka_unit_test(xattrs_are_read_back),
		cmocka_unit_test(records_of_every_length_are_read_back),
		sandbox_test(python_reads_the_same),
		sandbox_test(gnu_tar_makes_the_same),
		cmocka_unit_test(the_same_entries_give_the_same_bytes),
		cmocka_unit_test(what_is_handed_on_is_large),
		cmocka_unit_test(an_archive_without_entries_is_two_blocks),
		cmocka_unit_test(contents_of_another_size_are_refused),
		cmocka_unit_test(names_that_no_record_can_say_are_refused),
		cmocka_unit_test(headers_beyond_the_limit_are_refused),
		cmocka_unit_test(a_sinks_failure_ends_the_stream),
	};

	return cmocka_run_group_tests_name("tar_write", tests, sandbox_enter, sandbox_leave);
}
