/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tar to tree: the first byte of the input says how, the rest is a layer, which is applied to an empty
 * directory in TMPDIR, perhaps over another layer. What becomes of it must be what apply says of it, in
 * its result and in contents.zst. Beside that directory lies another one, and nothing of it may change.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>
#include <zlib.h>

#include "driver/apply.h"
#include "driver/base/buf.h"
#include "driver/base/fd.h"
#include "driver/inflate.h"
#include "driver/stack.h"
#include "driver/tree.h"
#include "tests/fuzz/archive.h"
#include "tests/fuzz/fuzz.h"
#include "tests/unit/same_contents.h"

/* In the first byte. */
#define STEP(b)	    (steps[(b)&3])
#define USER_XATTRS 0x04
#define GZIPPED	    0x08
#define THREADS	    0x10
#define WITH_PARENT 0x20
#define HOW_COUNT   0x40

static const size_t steps[4] = { 0, 1, 512, 700 };

/* ---- where it happens ---- */

/* TMPDIR/overlaid-fuzz.X/{run/root,parent,canary/file}: from root, "../.." is where the canary is. */
static struct {
	char path[PATH_MAX], root_path[PATH_MAX + 16];
	int run_fd, parent_fd, canary_fd;
	struct stat canary, canary_file;
} scratch;

/* Of the first 64 descriptors, those that are open. */
static uint64_t open_fds(void)
{
	uint64_t open = 0;

	for (int fd = 0; fd < 64; fd++)
		open |= (uint64_t)(fcntl(fd, F_GETFD) >= 0) << fd;
	return open;
}

static void remove_scratch(void)
{
	(void)tree_remove_at(AT_FDCWD, scratch.path, NULL);
}

static void look_at_canary(struct stat *ret_dir, struct stat *ret_file)
{
	fuzz_require(fstat(scratch.canary_fd, ret_dir) == 0);
	fuzz_require(fstatat(scratch.canary_fd, "file", ret_file, AT_SYMLINK_NOFOLLOW) == 0);
}

static void make_file(int dirfd, const char *name)
{
	auto_close int fd = openat(dirfd, name, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);

	fuzz_require(fd >= 0 && write_full(fd, name, strlen(name)) == 0);
}

/* What a layer may find beneath itself. Those who may not make whiteouts and opaque marks do without. */
static void make_parent(int dirfd)
{
	static const struct {
		const char *name, *target;
	} symlinks[] = {
		{ "l", "a" },
		{ "p", "/a/c" },
		{ "up", ".." },
		{ "out", "../canary" },
		{ "out2", "../../canary" },
		{ "loop", "loop" },
	};
	auto_close int a_fd = open_or_make_dir_at(dirfd, "a", 0750, NULL);
	auto_close int c_fd = open_or_make_dir_at(a_fd, "c", 0555, NULL);
	auto_close int opaque_fd = open_or_make_dir_at(dirfd, "o", 0755, NULL);

	make_file(a_fd, "b");
	make_file(c_fd, "f");
	make_file(opaque_fd, "f");
	(void)fsetxattr(c_fd, "user.x", "c", 1, 0);
	fuzz_require(linkat(a_fd, "b", dirfd, "h", 0) == 0);
	for (size_t i = 0; i < ARRAY_LEN(symlinks); i++)
		fuzz_require(symlinkat(symlinks[i].target, dirfd, symlinks[i].name) == 0);
	(void)whiteout_create(dirfd, "gone", NULL);
	(void)whiteout_set_opaque(opaque_fd, OVERLAY_XATTRS_TRUSTED, NULL);
	(void)whiteout_set_opaque(opaque_fd, OVERLAY_XATTRS_USER, NULL);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	const char *tmp = getenv("TMPDIR");
	auto_close int dir_fd = -EBADF;

	(void)umask(0);
	(void)snprintf(scratch.path, sizeof(scratch.path), "%s/overlaid-fuzz.XXXXXX",
		       tmp ? tmp : "/tmp");
	fuzz_require(mkdtemp(scratch.path), scratch.path);
	(void)atexit(remove_scratch);
	(void)snprintf(scratch.root_path, sizeof(scratch.root_path), "%s/run/root", scratch.path);
	dir_fd = open_dir_at(AT_FDCWD, scratch.path, NULL);
	scratch.run_fd = open_or_make_dir_at(dir_fd, "run", 0700, NULL);
	scratch.parent_fd = open_or_make_dir_at(dir_fd, "parent", 0755, NULL);
	scratch.canary_fd = open_or_make_dir_at(dir_fd, "canary", 0755, NULL);
	fuzz_require(scratch.run_fd >= 0 && scratch.parent_fd >= 0 && scratch.canary_fd >= 0);
	make_parent(scratch.parent_fd);
	make_file(scratch.canary_fd, "file");
	look_at_canary(&scratch.canary, &scratch.canary_file);
	return 0;
}

static bool same(const struct stat *a, const struct stat *b)
{
	return a->st_ino == b->st_ino && a->st_mode == b->st_mode && a->st_nlink == b->st_nlink &&
	       a->st_uid == b->st_uid && a->st_size == b->st_size &&
	       a->st_ctim.tv_sec == b->st_ctim.tv_sec && a->st_ctim.tv_nsec == b->st_ctim.tv_nsec;
}

/* ---- one layer ---- */

static const struct apply_limits limits = {
	.entries = 256,
	.bytes = (uint64_t)4 << 20,
	.file_bytes = (uint64_t)16 << 20,
	.path_bytes = 1024,
	.path_depth = 64,
	.xattrs = 16,
	.xattr_bytes = 4096,
	.sparse_pieces = 64,
};

/* What was said of the tree that was made is so. */
static void require_true(const struct apply_result *result, int root_fd, const struct buf *tar)
{
	struct tree_usage usage = { 0 };
	struct digest digest;
	struct err err = { 0 };

	fuzz_require(digest_of("sha256", tar->data, tar->len, &digest, &err) == 0, err.text);
	fuzz_require(digest_equal(&digest, &result->diff_id), result->diff_id.text);
	fuzz_require(result->tar_bytes == tar->len);
	fuzz_require(tree_usage_at(root_fd, ".", &usage, &err) == 0, err.text);
	fuzz_require(usage.bytes == result->bytes);
	fuzz_require(result->implied.len == 0 || !result->implied.data[result->implied.len - 1]);
}

static void require_same_contents(int fd)
{
	fuzz_require(lseek(fd, 0, SEEK_SET) == 0);
	assert_same_contents(fd, scratch.root_path);
}

/* Over the parent, or alone. */
static void apply_to(int root_fd, struct fuzz_source *source, uint8_t how, const struct buf *tar)
{
	const struct stack_layer parent = { .fd = scratch.parent_fd };
	struct apply_options options = {
		.xattrs = how & USER_XATTRS ? OVERLAY_XATTRS_USER : OVERLAY_XATTRS_TRUSTED,
		.limits = limits,
		.threads = how & THREADS,
	};
	auto_close int contents_fd = memfd_create("contents", MFD_CLOEXEC);
	auto_contents_writer struct contents_writer *contents = NULL;
	auto_stack struct stack *stack = NULL;
	struct apply_result result = { 0 };
	struct err err = { 0 };
	int r;

	fuzz_require(contents_writer_new(contents_fd, &contents, &err) == 0, err.text);
	fuzz_require(stack_new(&parent, 1, options.xattrs, &stack, &err) == 0, err.text);
	options.contents = contents;
	options.parent = how & WITH_PARENT ? stack : NULL;
	r = apply(fuzz_read, source, root_fd, &options, &result, &err);
	fuzz_require(r == 0 || (r < 0 && err.text[0]));
	if (r == 0) {
		require_true(&result, root_fd, tar);
		fuzz_require(contents_finish(contents, &err) == 0, err.text);
		require_same_contents(contents_fd);
	}
	apply_result_release(&result);
}

static void gzip(const struct buf *tar, struct buf *to)
{
	size_t room = tar->len + tar->len / 1000 + 128;
	z_stream z = { .next_in = (uint8_t *)tar->data, .avail_in = (uInt)tar->len };

	fuzz_require(buf_room(to, room));
	fuzz_require(deflateInit2(&z, 1, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) == Z_OK);
	z.next_out = (uint8_t *)to->data;
	z.avail_out = (uInt)room;
	fuzz_require(deflate(&z, Z_FINISH) == Z_STREAM_END);
	buf_end(to, z.total_out);
	(void)deflateEnd(&z);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	auto_buf struct buf tar = { 0 }, packed = { 0 };
	struct fuzz_source source = { 0 };
	struct stat dir, file;
	struct err err = { 0 };
	uint64_t open = open_fds();
	int root_fd;

	if (size < 2)
		return 0;
	(void)buf_append(&tar, data + 1, size - 1);
	if (data[0] & GZIPPED)
		gzip(&tar, &packed);
	else
		(void)buf_append(&packed, tar.data, tar.len);
	source.data = (const uint8_t *)packed.data;
	source.len = packed.len;
	source.step = STEP(data[0]);
	root_fd = open_or_make_dir_at(scratch.run_fd, "root", 0755, &err);
	fuzz_require(root_fd >= 0, err.text);
	/* Bytes that inflate knows are another layer than they look. */
	if (data[0] & GZIPPED || inflate_detect(tar.data, tar.len) == INFLATE_PLAIN)
		apply_to(root_fd, &source, data[0], &tar);
	(void)close(root_fd);
	fuzz_source_release(&source);
	fuzz_require(tree_remove_at(scratch.run_fd, "root", &err) == 0, err.text);
	look_at_canary(&dir, &file);
	fuzz_require(same(&dir, &scratch.canary) && same(&file, &scratch.canary_file));
	fuzz_require(open_fds() == open, "a descriptor was left open");
	return 0;
}

/* ---- changing layers ---- */

#define ENTRY_MAX   ((size_t)8 * ARCHIVE_BLOCK)
#define ENTRIES_MAX 64

static const char *const names[] = {
	"a",
	"b",
	"a/b",
	"a/b/c",
	"b/",
	"./",
	"./a/./b//",
	"..",
	"a/../b",
	"../x",
	"../../canary",
	"/a",
	"/../canary/file",
	"l",
	"l/x",
	"l/b/",
	".wh.a",
	".wh.l",
	"a/.wh.b",
	"l/.wh.x",
	"a/.wh..wh..opq",
	".wh..wh..opq",
	".wh..wh.plnk/x",
	".wh.",
	"out/file",
	"out2",
	"up/canary",
	"loop/x",
	"gone/x",
	"o/x",
	"h",
	"p/f",
	"a/c/x",
	".wh.h",
	"a/.wh..",
	".wh.a/b",
	"l/../../x",
	"\xff\n",
};

static const char *const links[] = {
	"a", "b",   "a/b", "/a",     "/",      "..", "../..", "../../canary", "../../canary/file",
	"l", "l/x", ".",   "/a/b/c", "b/../a", "",
};

static const struct {
	const char *key, *value;
} records[] = {
	{ "path", "a/b" },
	{ "path", "../../canary/file" },
	{ "linkpath", "../../canary" },
	{ "linkpath", "a" },
	{ "size", "3" },
	{ "size", "999999999" },
	{ "uid", "70000" },
	{ "mtime", "-1.5" },
	{ "SCHILY.xattr.user.x", "value" },
	{ "SCHILY.xattr.user.overlay.opaque", "y" },
	{ "SCHILY.xattr.trusted.overlay.redirect", "/a" },
	{ "SCHILY.xattr.security.capability", "\1" },
	{ "SCHILY.xattr.security.selinux", "s0" },
	{ "GNU.sparse.major", "1" },
	{ "GNU.sparse.minor", "0" },
	{ "GNU.sparse.realsize", "100000" },
	{ "GNU.sparse.name", "a/s" },
	{ "GNU.sparse.size", "4096" },
	{ "GNU.sparse.map", "0,1,4000,2" },
	{ "GNU.sparse.numblocks", "2" },
};

static const char types[] = "0000555221134670LKSxg";

struct mutator {
	uint8_t *data;
	size_t size, max_size;
	uint32_t seed;
	size_t starts[ENTRIES_MAX + 1]; /* of entries; the last one is the size */
	size_t count;
};

static size_t pick(struct mutator *m, size_t count)
{
	m->seed = m->seed * 1664525 + 1013904223;
	return (size_t)((uint64_t)(m->seed >> 4) * count >> 28);
}

static void find_entries(struct mutator *m)
{
	size_t at = 0;

	for (m->count = 0; at < m->size && m->count < ENTRIES_MAX; m->count++) {
		m->starts[m->count] = at;
		at += archive_entry_len(m->data + at, m->size - at);
	}
	m->starts[m->count] = at;
}

static void insert(struct mutator *m, size_t at, const uint8_t *bytes, size_t len)
{
	if (len > m->max_size - m->size)
		return;
	memmove(m->data + at + len, m->data + at, m->size - at);
	memcpy(m->data + at, bytes, len);
	m->size += len;
}

static size_t padded(size_t len)
{
	return (len + ARCHIVE_BLOCK - 1) / ARCHIVE_BLOCK * ARCHIVE_BLOCK;
}

/* An entry of this type; pax and GNU headers for another one that follows are entries too. */
static size_t make_entry(struct mutator *m, char type, uint8_t entry[ENTRY_MAX])
{
	const char *name = names[pick(m, ARRAY_LEN(names))];
	const char *link = links[pick(m, ARRAY_LEN(links))];
	uint8_t *contents = entry + ARCHIVE_BLOCK;
	size_t len = 0;

	memset(entry, 0, ENTRY_MAX);
	if (type == 'x' || type == 'g') {
		for (size_t count = 1 + pick(m, 4); count; count--) {
			size_t i = pick(m, ARRAY_LEN(records));

			len += archive_put_pax(contents + len, ARCHIVE_BLOCK, records[i].key,
					       records[i].value, strlen(records[i].value));
		}
	} else if (type == 'L' || type == 'K') {
		const char *text = type == 'L' ? name : link;

		len = strlen(text) + 1;
		memcpy(contents, text, len);
	} else if (type == '0') {
		len = pick(m, 3) ? pick(m, 20) : pick(m, 2 * ARCHIVE_BLOCK);
		memset(contents, 'x', len);
	}
	archive_put_header(entry, name, type, len, type == '1' || type == '2' ? link : NULL);
	return ARCHIVE_BLOCK + padded(len);
}

static void insert_new(struct mutator *m)
{
	uint8_t entry[ENTRY_MAX];
	char type = types[pick(m, sizeof(types) - 1)];
	size_t len = make_entry(m, type, entry), at = m->starts[pick(m, m->count + 1)];

	insert(m, at, entry, len);
	/* What a header is for comes after it. */
	if (strchr("LKxg", type)) {
		size_t more = make_entry(m, types[pick(m, sizeof(types) - 1)], entry);

		if (m->size >= at + len)
			insert(m, at + len, entry, more);
	}
}

static void remove_one(struct mutator *m)
{
	size_t i = pick(m, m->count), at = m->starts[i], end = m->starts[i + 1];

	memmove(m->data + at, m->data + end, m->size - end);
	m->size -= end - at;
}

static void copy_one(struct mutator *m)
{
	size_t i = pick(m, m->count), len = m->starts[i + 1] - m->starts[i];
	auto_free uint8_t *copy = malloc(len);

	if (!copy)
		return;
	memcpy(copy, m->data + m->starts[i], len);
	insert(m, m->starts[pick(m, m->count + 1)], copy, len);
}

/* Another name, type, link, or whatever libFuzzer makes of a field. */
static void change_field(struct mutator *m)
{
	size_t at = m->starts[pick(m, m->count)];
	struct archive_field field;
	uint8_t *h = m->data + at;

	if (m->size - at < ARCHIVE_BLOCK)
		return;
	switch (pick(m, 5)) {
	case 0:
		archive_put_text(h, archive_fields[0], names[pick(m, ARRAY_LEN(names))]);
		break;
	case 1:
		archive_put_text(h, archive_fields[7], links[pick(m, ARRAY_LEN(links))]);
		break;
	case 2:
		h[archive_fields[6].at] = (uint8_t)types[pick(m, sizeof(types) - 1)];
		break;
	default:
		field = archive_fields[pick(m, archive_field_count)];
		(void)LLVMFuzzerMutate(h + field.at, field.len, field.len);
	}
}

static void change_contents(struct mutator *m)
{
	size_t i = pick(m, m->count), at = m->starts[i] + ARCHIVE_BLOCK, end = m->starts[i + 1];

	if (at < end)
		(void)LLVMFuzzerMutate(m->data + at, end - at, end - at);
}

static void change_bytes(struct mutator *m)
{
	m->size = LLVMFuzzerMutate(m->data, m->size, m->max_size);
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int seed)
{
	static void (*const ways[])(struct mutator * m) = {
		insert_new,   insert_new,   insert_new,	     remove_one,   copy_one,
		change_field, change_field, change_contents, change_bytes,
	};
	struct mutator m = { data + 1, size - 1, max_size - 1, seed, { 0 }, 0 };

	if (size < 2 || max_size < 2 * ARCHIVE_BLOCK)
		return LLVMFuzzerMutate(data, size, max_size);
	if (pick(&m, 50) == 0)
		data[0] = (uint8_t)pick(&m, HOW_COUNT);
	for (size_t turns = 1 + pick(&m, 3); turns; turns--) {
		find_entries(&m);
		if (m.count)
			ways[pick(&m, ARRAY_LEN(ways))](&m);
		else
			insert_new(&m);
	}
	archive_fix(m.data, m.size);
	return 1 + m.size;
}
