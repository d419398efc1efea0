/* SPDX-License-Identifier: Apache-2.0 */
#include "driver/contents.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <unistd.h>
#include <cmocka.h>

#include "driver/base/auto.h"
#include "driver/base/buf.h"
#include "driver/base/fd.h"
#include "tests/unit/sandbox.h"
#include "tests/unit/util.h"

#define HEAD	      "#mtree\n# overlaid contents 1\n"
#define DIR	      " type=dir mode=0755 uid=0 gid=0 time=0.000000000"
#define FILE_OF(size) " type=file mode=0644 uid=0 gid=0 time=0.000000000 size=" size

static const uint8_t some_sha256[CONTENTS_SHA256_LEN] = {
	0x00, 0x01, 0x10, 0xff, 0xab, [31] = 0x7f,
};
#define SOME_SHA256 "000110ffab00000000000000000000000000000000000000000000000000007f"

/* ---- helpers ---- */

static int open_file(const char *name, int flags)
{
	int fd = open(name, flags | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	return fd;
}

/* What the command says, and its exit status. */
static int run(const char *command, struct buf *out)
{
	FILE *pipe = popen(command, "re");
	char piece[4096];
	size_t got;

	assert_non_null(pipe);
	while ((got = fread(piece, 1, sizeof(piece), pipe)) > 0)
		assert_int_equal(buf_append(out, piece, got), 0);
	return pclose(pipe);
}

/* What zstd(1) makes of it. */
static void assert_text(const char *name, const char *expected)
{
	auto_buf struct buf command = { 0 }, text = { 0 };

	assert_int_equal(buf_printf(&command, "zstd -qdc %s", name), 0);
	assert_int_equal(run(buf_text(&command), &text), 0);
	assert_string_equal(buf_text(&text), expected);
}

static void write_entries(const char *name, const struct contents_entry *entries, size_t count)
{
	auto_contents_writer struct contents_writer *w = NULL;
	auto_close int fd = open_file(name, O_WRONLY | O_CREAT | O_TRUNC);
	struct err err = { 0 };
	int r = contents_writer_new(fd, &w, &err);

	for (size_t i = 0; i < count && r == 0; i++) {
		if (entries[i].type == CONTENTS_REMOVED)
			r = contents_removed(w, entries[i].path, &err);
		else
			r = contents_add(w, &entries[i], &err);
	}
	if (r == 0)
		r = contents_finish(w, &err);
	if (r < 0)
		fail_msg("%s", err.text);
}

static void assert_same_xattrs(const struct contents_entry *a, const struct contents_entry *b)
{
	assert_int_equal(a->xattr_count, b->xattr_count);
	assert_int_equal(!a->xattrs, !b->xattrs);
	if (!a->xattrs || !b->xattrs)
		return;
	for (size_t i = 0; i < a->xattr_count; i++) {
		assert_string_equal(a->xattrs[i].name, b->xattrs[i].name);
		assert_int_equal(a->xattrs[i].len, b->xattrs[i].len);
		assert_memory_equal(a->xattrs[i].value, b->xattrs[i].value, a->xattrs[i].len);
	}
}

static void assert_same(const struct contents_entry *a, const struct contents_entry *b)
{
	assert_int_equal(a->type, b->type);
	assert_string_equal(a->path, b->path);
	assert_int_equal(a->mode, b->mode);
	assert_int_equal(a->uid, b->uid);
	assert_int_equal(a->gid, b->gid);
	assert_int_equal(a->mtime.tv_sec, b->mtime.tv_sec);
	assert_int_equal(a->mtime.tv_nsec, b->mtime.tv_nsec);
	assert_int_equal(a->size, b->size);
	assert_int_equal(!a->sha256, !b->sha256);
	if (a->sha256)
		assert_memory_equal(a->sha256, b->sha256, CONTENTS_SHA256_LEN);
	assert_int_equal(!a->link, !b->link);
	if (a->link)
		assert_string_equal(a->link, b->link);
	assert_int_equal(a->dev_major, b->dev_major);
	assert_int_equal(a->dev_minor, b->dev_minor);
	assert_int_equal(a->opaque, b->opaque);
	assert_same_xattrs(a, b);
}

static void assert_comes_back(const struct contents_entry *entries, size_t count)
{
	auto_contents_reader struct contents_reader *reader = NULL;
	auto_close int fd = -EBADF;
	const struct contents_entry *got;
	struct err err = { 0 };

	write_entries("contents.zst", entries, count);
	fd = open_file("contents.zst", O_RDONLY);
	assert_int_equal(contents_reader_open(fd, &reader, NULL), 0);
	for (size_t i = 0; i < count; i++) {
		if (contents_next(reader, &got, &err) != 1)
			fail_msg("entry %zu: %s", i, err.text);
		assert_same(got, &entries[i]);
	}
	assert_int_equal(contents_next(reader, &got, &err), 0);
	assert_int_equal(contents_next(reader, &got, &err), 0);
}

/* Reads to the end or the first failure, in pieces of `step` bytes. */
static int read_all(const void *data, size_t len, size_t step, size_t *ret_count, struct err *err)
{
	auto_contents_reader struct contents_reader *reader = NULL;
	struct memory memory = { .data = data, .len = len, .step = step };
	const struct contents_entry *entry;
	int r = contents_reader_new(memory_read, &memory, &reader, err);

	assert_int_equal(r, 0);
	*ret_count = 0;
	while ((r = contents_next(reader, &entry, err)) == 1)
		++*ret_count;
	return r;
}

/* Whatever the pieces, text that is not compressed is read as what is said here. */
static void assert_reads(const char *text, size_t count)
{
	static const size_t steps[] = { 1, 7, 0 };

	for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
		struct err err = { 0 };
		size_t got;

		if (read_all(text, strlen(text), steps[i], &got, &err) < 0)
			fail_msg("%s", err.text);
		assert_int_equal(got, count);
	}
}

static void assert_refused(const char *text, const char *words)
{
	struct err err = { 0 };
	size_t count;

	assert_int_equal(read_all(text, strlen(text), 0, &count, &err), -EBADMSG);
	assert_words(&err, words);
}

/* A whole file whose third line is this one. */
static void assert_line_refused(const char *line, const char *words)
{
	auto_buf struct buf text = { 0 };

	assert_int_equal(buf_printf(&text, HEAD "%s\n# end 1\n", line), 0);
	assert_refused(buf_text(&text), "contents.zst: line 3: ");
	assert_refused(buf_text(&text), words);
}

/* ---- what is written ---- */

static void the_text_is_what_the_header_says(void **state)
{
	static const struct tar_xattr xattrs[] = { { "user.a", "x", 1 },
						   { "user.b=c", "\0\1\2\3", 4 },
						   { "user.empty", "", 0 } };
	const struct contents_entry entries[] = {
		{ .path = "usr/bin/x",
		  .mode = 04755,
		  .uid = 1,
		  .gid = 4294967294,
		  .mtime = { 1700000000, 5 },
		  .size = 1099511627776,
		  .sha256 = some_sha256,
		  .xattrs = xattrs,
		  .xattr_count = 3 },
		{ CONTENTS_HARDLINK, .path = "usr/bin/y", .link = "usr/bin/x" },
		{ CONTENTS_LINK, .path = "a b", .mode = 0777, .link = "/\xc3\xa9#\n" },
		{ CONTENTS_CHAR, .path = "gone", .mtime = { -2, 500000000 } },
		{ CONTENTS_BLOCK, .path = "dev", .mode = 0600, .dev_major = 8, .dev_minor = 17 },
		{ CONTENTS_REMOVED, .path = "usr/bin" },
		{ CONTENTS_FIFO, .path = "p" },
		{ CONTENTS_DIR, .path = "d", .mode = 01777, .opaque = true },
		{ CONTENTS_DIR, .path = "", .mode = 0755 },
	};

	write_entries("contents.zst", entries, ARRAY_LEN(entries));
	assert_text("contents.zst", HEAD
		    "./usr/bin/x type=file mode=04755 uid=1 gid=4294967294"
		    " time=1700000000.000000005 size=1099511627776 sha256digest=" SOME_SHA256
		    " xattr.user.a=eA== xattr.user.b\\075c=AAECAw== xattr.user.empty=\n"
		    "./usr/bin/y hardlink=./usr/bin/x\n"
		    "./a\\040b type=link mode=0777 uid=0 gid=0 time=0.000000000"
		    " link=/\\303\\251\\043\\012\n"
		    "./gone type=char mode=00 uid=0 gid=0 time=-2.500000000 device=linux,0,0\n"
		    "./dev type=block mode=0600 uid=0 gid=0 time=0.000000000 device=linux,8,17\n"
		    "#removed ./usr/bin\n"
		    "./p type=fifo mode=00 uid=0 gid=0 time=0.000000000\n"
		    "./d type=dir mode=01777 uid=0 gid=0 time=0.000000000 opaque\n"
		    ". type=dir mode=0755 uid=0 gid=0 time=0.000000000\n"
		    "# end 8\n");
	assert_comes_back(entries, ARRAY_LEN(entries));
}

static void a_tree_without_entries_is_written_and_read(void **state)
{
	assert_comes_back(NULL, 0);
	assert_text("contents.zst", HEAD "# end 0\n");
}

static void every_byte_of_a_name_comes_back(void **state)
{
	for (int byte = 1; byte < 256; byte++) {
		char path[] = "dir/?", link[] = "?";
		struct contents_entry entry = { CONTENTS_LINK, .path = path, .link = link };

		link[0] = (char)byte;
		path[4] = (char)byte;
		if (byte == '.' || byte == '/')
			path[4] = 'x';
		assert_comes_back(&entry, 1);
	}
}

static void numbers_at_their_limits_come_back(void **state)
{
	const struct contents_entry entries[] = {
		{ .path = "a", .mtime = { INT64_MIN, 0 }, .size = INT64_MAX, .mode = 07777 },
		{ .path = "b", .mtime = { INT64_MAX, 999999999 }, .uid = UINT32_MAX - 1 },
		{ .path = "c", .mtime = { -1, 999999999 } },
		{ CONTENTS_CHAR, .path = "d", .dev_major = 0xfff, .dev_minor = 0xfffff },
	};

	assert_comes_back(entries, ARRAY_LEN(entries));
}

static void long_names_and_large_xattrs_come_back(void **state)
{
	auto_free char *path = malloc(100001), *value = malloc(65536);
	struct tar_xattr xattrs[128];
	struct contents_entry entry = { CONTENTS_LINK, .path = path, .link = path, .xattrs = xattrs,
					.xattr_count = ARRAY_LEN(xattrs) };

	for (size_t i = 0; i < 100000; i++)
		path[i] = i % 2 ? '/' : '\n';
	path[99999] = 'x';
	path[100000] = 0;
	fill_noise(value, 65536, 3);
	for (size_t i = 0; i < ARRAY_LEN(xattrs); i++)
		xattrs[i] = (struct tar_xattr){ "user.x", value, 65536 - i };
	assert_comes_back(&entry, 1);
}

static void many_entries_come_back(void **state)
{
	static const size_t count = 20000;
	auto_free struct contents_entry *entries = calloc(count, sizeof(*entries));
	auto_free char(*names)[32] = calloc(count, sizeof(*names));

	for (size_t i = 0; i < count; i++) {
		(void)snprintf(names[i], sizeof(names[i]), "dir %zu/file", i);
		entries[i] = (struct contents_entry){ .path = names[i],
						      .size = (int64_t)i,
						      .sha256 = some_sha256 };
	}
	assert_comes_back(entries, count);
}

static void what_could_not_be_read_is_not_written(void **state)
{
	static const char *const paths[] = {
		"/", "/a", "a/", "a//b", ".", "..", "./a", "../a", "a/./b", "a/.", "a/..", "b/../c",
	};
	auto_contents_writer struct contents_writer *w = NULL;
	auto_close int fd = open_file("contents.zst", O_RDWR | O_CREAT);
	auto_free char *large = calloc(1, CONTENTS_LINE_MAX);
	struct tar_xattr xattr = { "user.large", large, CONTENTS_LINE_MAX };
	struct contents_entry entry = { .path = "ok" };
	struct err err = { 0 };

	assert_int_equal(contents_writer_new(fd, &w, &err), 0);
	for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
		entry.path = paths[i];
		assert_int_equal(contents_add(w, &entry, &err), -EINVAL);
		assert_words(&err, paths[i]);
		assert_int_equal(contents_removed(w, paths[i], &err), -EINVAL);
	}
	assert_int_equal(contents_removed(w, "", &err), -EINVAL);
	entry = (struct contents_entry){ CONTENTS_HARDLINK, .path = "a", .link = "../b" };
	assert_int_equal(contents_add(w, &entry, &err), -EINVAL);
	entry.link = "";
	assert_int_equal(contents_add(w, &entry, &err), -EINVAL);
	entry = (struct contents_entry){ CONTENTS_LINK, .path = "a" };
	assert_int_equal(contents_add(w, &entry, &err), -EINVAL);
	entry = (struct contents_entry){ .path = "a", .size = -1 };
	assert_int_equal(contents_add(w, &entry, &err), -EINVAL);
	entry = (struct contents_entry){ .path = "a", .xattrs = &xattr, .xattr_count = 1 };
	assert_int_equal(contents_add(w, &entry, &err), -EFBIG);
	assert_words(&err, "take more than");
	entry.xattr_count = CONTENTS_XATTRS_MAX + 1;
	assert_int_equal(contents_add(w, &entry, &err), -EFBIG);
	assert_words(&err, "more than 1024 xattrs");
	assert_int_equal(contents_finish(w, &err), 0);
	assert_text("contents.zst", HEAD "# end 0\n");
}

static void a_file_that_cannot_be_written_stays_so(void **state)
{
	auto_contents_writer struct contents_writer *w = NULL;
	auto_close int fd = open_file("/dev/full", O_WRONLY);
	auto_free char *value = malloc(65536);
	struct tar_xattr xattr = { "user.x", value, 65536 };
	struct contents_entry entry = { .path = "a", .xattrs = &xattr, .xattr_count = 1 };
	struct err err = { 0 };
	int r = 0;

	fill_noise(value, 65536, 11);
	assert_int_equal(contents_writer_new(fd, &w, &err), 0);
	for (int i = 0; i < 100 && r == 0; i++)
		r = contents_add(w, &entry, &err);
	assert_int_equal(r, -ENOSPC);
	assert_words(&err, "write contents.zst: No space left on device");
	assert_int_equal(contents_add(w, &entry, &err), -ENOSPC);
	assert_int_equal(contents_removed(w, "a", &err), -ENOSPC);
	assert_int_equal(contents_finish(w, &err), -ENOSPC);
	assert_words(&err, "contents.zst could not be written");
}

static void a_file_that_cannot_be_written_at_the_end_is_noticed(void **state)
{
	auto_contents_writer struct contents_writer *w = NULL;
	auto_close int fd = open_file("/dev/full", O_WRONLY);

	assert_int_equal(contents_writer_new(fd, &w, NULL), 0);
	assert_int_equal(contents_finish(w, NULL), -ENOSPC);
}

static void a_file_that_cannot_be_read_is_named(void **state)
{
	auto_contents_reader struct contents_reader *reader = NULL;
	auto_close int fd = open_file(".", O_RDONLY | O_DIRECTORY);
	const struct contents_entry *entry;
	struct err err = { 0 };

	assert_int_equal(contents_reader_open(fd, &reader, NULL), 0);
	assert_int_equal(contents_next(reader, &entry, &err), -EISDIR);
	assert_words(&err, "read contents.zst: ");
}

/* ---- what others make of it ---- */

static void bsdtar_lists_it(void **state)
{
	const struct contents_entry entries[] = {
		{ .path = "usr/a file", .mode = 0644, .size = 12, .sha256 = some_sha256 },
		{ CONTENTS_LINK, .path = "link", .mode = 0777, .link = "usr/a file" },
		{ CONTENTS_CHAR, .path = "null", .dev_major = 1, .dev_minor = 3 },
		{ CONTENTS_DIR, .path = "usr", .mode = 0755, .uid = 7, .gid = 8 },
		{ CONTENTS_DIR, .path = "", .mode = 0755 },
	};
	auto_buf struct buf out = { 0 };

	if (run("command -v bsdtar", &out) != 0) {
		print_message("needs bsdtar (libarchive-tools)\n");
		skip();
	}
	buf_reset(&out);
	write_entries("contents.zst", entries, ARRAY_LEN(entries));
	assert_int_equal(run("zstd -qdc contents.zst | TZ=UTC bsdtar -tvf - 2>&1", &out), 0);
	assert_string_equal(buf_text(&out),
			    "-rw-r--r--  0 0      0          12 Jan  1  1970 ./usr/a file\n"
			    "lrwxrwxrwx  0 0      0           0 Jan  1  1970 ./link -> usr/a file\n"
			    "c---------  0 0      0         1,3 Jan  1  1970 ./null\n"
			    "drwxr-xr-x  0 7      8           0 Jan  1  1970 ./usr\n"
			    "drwxr-xr-x  0 0      0           0 Jan  1  1970 .\n");
}

/* ---- what is read ---- */

static void comments_and_unknown_keywords_are_skipped(void **state)
{
	assert_reads(HEAD "# end 0\n", 0);
	assert_reads(HEAD "#\n\n# written for fun\n#remove ./x\n"
			  "./a flags=none nochange" FILE_OF("0") "  cksum=12\n"
								 "#removed ./a\n"
								 "# end 1\n",
		     2);
}

static void other_files_are_refused(void **state)
{
	assert_refused("", "contents.zst: zstd: the stream ends in the middle");
	assert_refused("\x1f\x8b\x08\0\0\0\0\0\0\0", "contents.zst: zstd: ");
	assert_refused("#mtree 2\n", "line 1: it is not \"#mtree\"");
	assert_refused("#mtree\n#\n", "line 2: it is not \"# overlaid contents 1\"");
	assert_refused("#mtree\n# overlaid contents 2\n", "another version of overlaid");
	assert_refused("#mtree\n# overlaid contents 1 \033[2J\n", "contents 1 \\033[2J");
}

static const struct {
	const char *line, *words;
} bad_lines[] = {
	{ "a" DIR, "does not begin with a path" },
	{ "/a" DIR, "does not begin with a path" },
	{ "./" DIR, "does not begin with a path" },
	{ ".." DIR, "does not begin with a path" },
	{ "./../a" DIR, "does not begin with a path" },
	{ "./a/" DIR, "does not begin with a path" },
	{ "./a//b" DIR, "does not begin with a path" },
	{ "./a/\\056\\056/b" DIR, "does not begin with a path" },
	{ "./a\\000b" DIR, "does not begin with a path" },
	{ "./a\\400b" DIR, "does not begin with a path" },
	{ "./a\\08" DIR, "does not begin with a path" },
	{ "./a\\" DIR, "does not begin with a path" },
	{ "./a\\1" DIR, "does not begin with a path" },
	{ " ./a" DIR, "does not begin with a path" },
	{ "./a", "no \"type\"" },
	{ "./a type=socket", "\"type\" has a value" },
	{ "./a" DIR " type=dir", "\"type\" stands twice" },
	{ "./a" DIR " opaque opaque", "\"opaque\" stands twice" },
	{ "./a" FILE_OF("1") " opaque", "a keyword has no place" },
	{ "./a" DIR " size=1", "\"size\" has no place" },
	{ "./a" DIR " link=a", "\"link\" has no place" },
	{ "./a" DIR " sha256digest=" SOME_SHA256, "\"sha256digest\" has no place" },
	{ "./a type=file mode=0644 uid=0 gid=0 time=0.000000000", "no \"size\"" },
	{ "./a type=link mode=0644 uid=0 gid=0 time=0.000000000", "no \"link\"" },
	{ "./a type=char mode=0644 uid=0 gid=0 time=0.000000000", "no \"device\"" },
	{ "./a type=dir mode=0644 uid=0 gid=0", "no \"time\"" },
	{ "./a" FILE_OF("-1"), "\"size\" has a value" },
	{ "./a" FILE_OF(""), "\"size\" has a value" },
	{ "./a" FILE_OF("9223372036854775808"), "\"size\" has a value" },
	{ "./a" FILE_OF("99999999999999999999999"), "\"size\" has a value" },
	{ "./a" FILE_OF("1") " sha256digest=00", "\"sha256digest\" has a value" },
	{ "./a" FILE_OF("1") " sha256digest=G" SOME_SHA256, "\"sha256digest\" has a value" },
	{ "./a type=dir mode=0888", "\"mode\" has a value" },
	{ "./a type=dir mode=10000", "\"mode\" has a value" },
	{ "./a type=dir mode", "no \"mode\"" },
	{ "./a type=dir uid=4294967295", "\"uid\" has a value" },
	{ "./a type=dir gid=4294967295", "\"gid\" has a value" },
	{ "./a type=dir time=1", "\"time\" has a value" },
	{ "./a type=dir time=1.0", "\"time\" has a value" },
	{ "./a type=dir time=.000000000", "\"time\" has a value" },
	{ "./a type=dir time=--1.000000000", "\"time\" has a value" },
	{ "./a type=dir time=9223372036854775808.000000000", "\"time\" has a value" },
	{ "./a type=dir time=-9223372036854775809.000000000", "\"time\" has a value" },
	{ "./a type=char device=native,1,2", "\"device\" has a value" },
	{ "./a type=char device=linux,1", "\"device\" has a value" },
	{ "./a type=char device=linux,4096,0", "\"device\" has a value" },
	{ "./a type=char device=linux,0,1048576", "\"device\" has a value" },
	{ "./a type=link link=", "\"link\" has a value" },
	{ "./a type=link link=a\\", "\"link\" has a value" },
	{ "./a hardlink=b", "\"hardlink\" has a value" },
	{ "./a hardlink=.", "\"hardlink\" has a value" },
	{ "./a hardlink=./../b", "\"hardlink\" has a value" },
	{ "./a hardlink=./b mode=0644", "\"mode\" has no place" },
	{ "./a hardlink=./b type=file", "no \"mode\"" },
	{ "./a type=file hardlink=./b", "has no place" },
	{ "./a hardlink=./b xattr.user.x=", "has no place" },
	{ "./a" DIR " xattr.=", "an xattr that cannot be read" },
	{ "./a" DIR " xattr.user.x=AAA", "an xattr that cannot be read" },
	{ "./a" DIR " xattr.user.x=A===", "an xattr that cannot be read" },
	{ "./a" DIR " xattr.user.x=====", "an xattr that cannot be read" },
	{ "./a" DIR " xattr.user.x=AA==AAAA", "an xattr that cannot be read" },
	{ "./a" DIR " xattr.user.x=AA-_", "an xattr that cannot be read" },
	{ "./a" DIR " xattr.user\\0x=AAAA", "an xattr that cannot be read" },
	{ "#removed .", "not a path" },
	{ "#removed a", "not a path" },
	{ "#removed ./a/../b", "not a path" },
	{ "# end x", "does not say how many" },
	{ "# end ", "does not say how many" },
	{ "# end 2", "there are 2 entries, but there are 0" },
	{ "# end 18446744073709551616", "does not say how many" },
};

static void a_line_that_breaks_the_grammar_is_refused(void **state)
{
	for (size_t i = 0; i < ARRAY_LEN(bad_lines); i++)
		assert_line_refused(bad_lines[i].line, bad_lines[i].words);
}

static void what_follows_the_end_is_refused(void **state)
{
	assert_refused(HEAD "# end 0\n\n", "line 4: it stands after the end");
	assert_refused(HEAD "# end 0\n# end 0\n", "line 4: it stands after the end");
}

static void a_nul_byte_is_refused(void **state)
{
	static const char text[] = HEAD "./a\0" DIR "\n# end 1\n";
	struct err err = { 0 };
	size_t count;

	assert_int_equal(read_all(text, sizeof(text) - 1, 0, &count, &err), -EBADMSG);
	assert_words(&err, "line 3: a NUL byte");
}

static void limits_are_kept(void **state)
{
	auto_buf struct buf text = { 0 };

	assert_int_equal(buf_puts(&text, HEAD "#"), 0);
	while (text.len < CONTENTS_LINE_MAX + 64)
		assert_int_equal(buf_puts(&text, "0123456789abcdef0123456789abcdef"), 0);
	assert_refused(buf_text(&text), "line 3: it is longer than 16777216 bytes");
	buf_reset(&text);
	assert_int_equal(buf_puts(&text, HEAD "./a" DIR), 0);
	for (int i = 0; i <= CONTENTS_XATTRS_MAX; i++)
		assert_int_equal(buf_puts(&text, " xattr.user.x=AAAA"), 0);
	assert_int_equal(buf_puts(&text, "\n# end 1\n"), 0);
	assert_refused(buf_text(&text), "line 3: more than 1024 xattrs");
}

static void every_cut_of_the_text_is_noticed(void **state)
{
	static const char text[] = HEAD
		"./a" FILE_OF("1") "\n#removed ./a\n. type=dir mode=0755"
				   " uid=0 gid=0 time=0.000000000\n# end 2\n";

	assert_reads(text, 3);
	for (size_t len = 1; len < sizeof(text) - 1; len++) {
		struct err err = { 0 };
		size_t count;

		assert_int_equal(read_all(text, len, 0, &count, &err), -EBADMSG);
		assert_words(&err, "contents.zst: line ");
	}
}

/* What is in a contents.zst of three entries. */
static void read_small(struct buf *file)
{
	const struct contents_entry entries[] = {
		{ .path = "usr/bin/x", .size = 12, .sha256 = some_sha256 },
		{ CONTENTS_DIR, .path = "usr" },
		{ CONTENTS_DIR, .path = "" },
	};

	write_entries("contents.zst", entries, ARRAY_LEN(entries));
	assert_int_equal(read_file_at(AT_FDCWD, "contents.zst", file, NULL), 0);
}

static void every_cut_of_the_file_is_noticed(void **state)
{
	auto_buf struct buf file = { 0 };

	read_small(&file);
	for (size_t len = 0; len < file.len; len++) {
		struct err err = { 0 };
		size_t count;

		assert_int_equal(read_all(file.data, len, 0, &count, &err), -EBADMSG);
		assert_words(&err, "contents.zst: ");
	}
}

/* The frame's checksum says so where nothing else does. */
static void every_changed_byte_of_the_file_is_noticed(void **state)
{
	auto_buf struct buf file = { 0 };

	read_small(&file);
	for (size_t at = 0; at < file.len; at++) {
		struct err err = { 0 };
		size_t count;

		file.data[at] ^= 0x04;
		assert_int_equal(read_all(file.data, file.len, 0, &count, &err), -EBADMSG);
		assert_words(&err, "contents.zst: ");
		file.data[at] ^= 0x04;
	}
}

static void a_source_that_fails_says_so(void **state)
{
	auto_contents_reader struct contents_reader *reader = NULL;
	struct memory memory = { .data = HEAD, .len = sizeof(HEAD) - 1, .fail_at_end = -EIO };
	const struct contents_entry *entry;
	struct err err = { 0 };

	assert_int_equal(contents_reader_new(memory_read, &memory, &reader, &err), 0);
	assert_int_equal(contents_next(reader, &entry, &err), -EIO);
	assert_words(&err, "the source: ");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		sandbox_test(the_text_is_what_the_header_says),
		sandbox_test(a_tree_without_entries_is_written_and_read),
		sandbox_test(every_byte_of_a_name_comes_back),
		sandbox_test(numbers_at_their_limits_come_back),
		sandbox_test(long_names_and_large_xattrs_come_back),
		sandbox_test(many_entries_come_back),
		sandbox_test(what_could_not_be_read_is_not_written),
		sandbox_test(a_file_that_cannot_be_written_stays_so),
		sandbox_test(a_file_that_cannot_be_written_at_the_end_is_noticed),
		sandbox_test(a_file_that_cannot_be_read_is_named),
		sandbox_test(bsdtar_lists_it),
		cmocka_unit_test(comments_and_unknown_keywords_are_skipped),
		cmocka_unit_test(other_files_are_refused),
		cmocka_unit_test(a_line_that_breaks_the_grammar_is_refused),
		cmocka_unit_test(what_follows_the_end_is_refused),
		cmocka_unit_test(a_nul_byte_is_refused),
		cmocka_unit_test(limits_are_kept),
		cmocka_unit_test(every_cut_of_the_text_is_noticed),
		sandbox_test(every_cut_of_the_file_is_noticed),
		sandbox_test(every_changed_byte_of_the_file_is_noticed),
		cmocka_unit_test(a_source_that_fails_says_so),
	};

	return cmocka_run_group_tests_name("contents", tests, sandbox_enter, sandbox_leave);
}
