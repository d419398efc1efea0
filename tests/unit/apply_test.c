/* SPDX-License-Identifier: Apache-2.0 */
#include "driver/apply.h"

#include <fcntl.h>
#include <locale.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <sys/mman.h>
#include <sys/xattr.h>
#include <unistd.h>
#include <cmocka.h>

#include "driver/base/auto.h"
#include "driver/base/buf.h"
#include "driver/base/sys.h"
#include "driver/tree.h"
#include "tests/unit/same_contents.h"
#include "tests/unit/sandbox.h"
#include "tests/unit/util.h"

#define NFD	 "e\xcc\x81"
#define NOT_UTF8 "raw\xff\xfe\x80"

/* A layer that is made, applied to the directory "root", and looked at. */
struct layer {
	struct buf tar;
	struct apply_options options;
	struct apply_result result;
	struct err err;
	size_t step;
};

static bool threads, with_contents;

static void layer_release(struct layer *l)
{
	buf_release(&l->tar);
	apply_result_release(&l->result);
}

#define auto_layer AUTO(layer_release)

/* What was written is told, too. */
static int apply_bytes(struct layer *l, const struct buf *bytes)
{
	struct memory from = { buf_text(bytes), bytes->len, 0, l->step, 0 };
	auto_contents_writer struct contents_writer *contents = NULL;
	auto_close int root_fd = -EBADF, contents_fd = memfd_create("contents", MFD_CLOEXEC);
	int r;

	put_dir("root");
	root_fd = open_dir("root", O_RDONLY);
	assert_int_equal(contents_writer_new(contents_fd, &contents, NULL), 0);
	l->options.threads = threads;
	l->options.contents = with_contents ? contents : NULL;
	r = apply(memory_read, &from, root_fd, &l->options, &l->result, &l->err);
	if (r == 0 && with_contents && geteuid() == 0) {
		assert_int_equal(contents_finish(contents, NULL), 0);
		assert_int_equal(lseek(contents_fd, 0, SEEK_SET), 0);
		assert_same_contents(contents_fd, "root");
	}
	return r;
}

static int apply_layer(struct layer *l)
{
	return apply_bytes(l, &l->tar);
}

static void assert_applies(struct layer *l)
{
	int r = apply_layer(l);

	if (r)
		fail_msg("%d: %s", r, l->err.text);
}

static void assert_refused(struct layer *l, int code, const char *words)
{
	assert_int_equal(apply_layer(l), code);
	assert_words(&l->err, words);
	/* Untouched on failure. */
	assert_int_equal(l->result.tar_bytes, 0);
	assert_null(l->result.implied.data);
}

/* Before anything reads it. */
static void assert_mtime(const char *path, int64_t sec, long ns)
{
	struct stat st = look(path);

	assert_int_equal(st.st_mtim.tv_sec, sec);
	assert_int_equal(st.st_mtim.tv_nsec, ns);
	if (with_contents) /* the comparison has read it */
		return;
	assert_int_equal(st.st_atim.tv_sec, sec);
	assert_int_equal(st.st_atim.tv_nsec, ns);
}

static void assert_mode(const char *path, mode_t mode)
{
	assert_int_equal(look(path).st_mode, mode);
}

static void assert_whiteout(const char *path)
{
	struct stat st = look(path);

	assert_true(whiteout_is(&st));
}

static void assert_opaque(const char *path)
{
	assert_xattr(path, "trusted.overlay.opaque", "y", 1);
}

static void assert_not_opaque(const char *path)
{
	assert_no_xattr(path, "trusted.overlay.opaque");
}

/* "a\0b\0" is written as "a b ". */
static void assert_implied(const struct layer *l, const char *expected)
{
	auto_buf struct buf text = { 0 };

	assert_int_equal(buf_append(&text, buf_text(&l->result.implied), l->result.implied.len), 0);
	for (size_t i = 0; i < text.len; i++) {
		if (!text.data[i])
			text.data[i] = ' ';
	}
	assert_string_equal(buf_text(&text), expected);
}

/* ---- what layers hold ---- */

static void put_every_type(struct buf *t)
{
	tar_put(t,
		&(struct tar_spec){
			.name = "./", .type = '5', .mode = 0711, .uid = 1, .gid = 2, .mtime = 11 });
	tar_put(t, &(struct tar_spec){ .name = "./d/",
				       .type = '5',
				       .mode = 02555,
				       .uid = 3000000,
				       .gid = 4294967294,
				       .mtime = 12 });
	tar_put_pax_text("mtime", "1700000000.123456789");
	tar_put(t, &(struct tar_spec){ .name = "./d/file",
				       .type = '0',
				       .mode = 0640,
				       .uid = 5,
				       .gid = 6,
				       .size = 4,
				       .data = "data" });
	tar_put(t, &(struct tar_spec){ .name = "./d/sym",
				       .type = '2',
				       .mode = 0777,
				       .uid = 7,
				       .gid = 8,
				       .mtime = 13,
				       .link = "../no/where" });
	tar_put(t, &(struct tar_spec){ .name = "./d/char",
				       .type = '3',
				       .mode = 04666,
				       .uid = 9,
				       .gid = 10,
				       .mtime = 14,
				       .dev_major = 1,
				       .dev_minor = 3 });
	tar_put(t, &(struct tar_spec){ .name = "./d/block",
				       .type = '4',
				       .mode = 0660,
				       .mtime = 15,
				       .dev_major = 259,
				       .dev_minor = 70000 });
	tar_put(t,
		&(struct tar_spec){ .name = "./d/fifo", .type = '6', .mode = 0622, .mtime = 16 });
	tar_put_end(t);
}

static void every_type_comes_out_with_its_metadata(void **state)
{
	auto_layer struct layer l = { 0 };
	struct stat st;

	needs_root();
	put_every_type(&l.tar);
	assert_applies(&l);

	assert_mode("root", S_IFDIR | 0711);
	assert_mtime("root", 11, 0);
	st = look("root/d");
	assert_int_equal(st.st_mode, S_IFDIR | 02555);
	assert_int_equal(st.st_uid, 3000000);
	assert_int_equal(st.st_gid, 4294967294);
	assert_mtime("root/d", 12, 0);
	st = look("root/d/file");
	assert_int_equal(st.st_mode, S_IFREG | 0640);
	assert_int_equal(st.st_uid, 5);
	assert_int_equal(st.st_gid, 6);
	assert_mtime("root/d/file", 1700000000, 123456789);
	assert_contents("root/d/file", "data");
	assert_mtime("root/d/sym", 13, 0);
	assert_link("root/d/sym", "../no/where");
	assert_int_equal(look("root/d/sym").st_uid, 7);
	st = look("root/d/char");
	assert_int_equal(st.st_mode, S_IFCHR | 04666);
	assert_int_equal(st.st_rdev, makedev(1, 3));
	assert_int_equal(st.st_gid, 10);
	assert_mtime("root/d/char", 14, 0);
	assert_mode("root/d/block", S_IFBLK | 0660);
	assert_int_equal(look("root/d/block").st_rdev, makedev(259, 70000));
	assert_mode("root/d/fifo", S_IFIFO | 0622);
	assert_int_equal(l.result.entries, 7);
	assert_int_equal(l.result.bytes, 4);
	assert_false(l.result.root_implied);
	assert_implied(&l, "");
}

static void setuid_survives_a_change_of_owner(void **state)
{
	auto_layer struct layer l = { 0 };

	needs_root();
	tar_put(&l.tar, &(struct tar_spec){ .name = "su",
					    .type = '0',
					    .mode = 04755,
					    .uid = 1000,
					    .gid = 1000,
					    .size = 1,
					    .data = "x" });
	tar_put(&l.tar, &(struct tar_spec){ .name = "sg", .type = '0', .mode = 02755 });
	tar_put(&l.tar,
		&(struct tar_spec){ .name = "tmp", .type = '5', .mode = 01777, .uid = 1000 });
	assert_applies(&l);
	assert_mode("root/su", S_IFREG | 04755);
	assert_int_equal(look("root/su").st_uid, 1000);
	assert_mode("root/sg", S_IFREG | 02755);
	assert_mode("root/tmp", S_IFDIR | 01777);
}

static void modes_are_exact_whatever_the_umask(void **state)
{
	static const mode_t umasks[] = { 0, 077, 0777 };

	for (size_t i = 0; i < ARRAY_LEN(umasks); i++) {
		auto_layer struct layer l = { 0 };
		int r;

		needs_root();
		tar_put(&l.tar, &(struct tar_spec){ .name = "d", .type = '5', .mode = 0777 });
		tar_put(&l.tar, &(struct tar_spec){ .name = "d/f", .type = '0', .mode = 0666 });
		tar_put(&l.tar,
			&(struct tar_spec){
				.name = "d/p", .type = '6', .mode = 06666, .uid = 9, .gid = 9 });
		tar_put(&l.tar, &(struct tar_spec){ .name = "i/f", .type = '0', .mode = 0 });
		put_dir("root");
		(void)umask(umasks[i]);
		r = apply_layer(&l);
		(void)umask(022);
		assert_int_equal(r, 0);
		assert_mode("root", S_IFDIR | 0755);
		assert_mode("root/d", S_IFDIR | 0777);
		assert_mode("root/d/f", S_IFREG | 0666);
		assert_mode("root/d/p", S_IFIFO | 06666);
		assert_mode("root/i", S_IFDIR | 0755);
		assert_mode("root/i/f", S_IFREG | 0);
		assert_int_equal(tree_remove_at(AT_FDCWD, "root", NULL), 0);
	}
}

static void nothing_is_inherited_from_setgid_directories(void **state)
{
	auto_layer struct layer l = { 0 };

	needs_root();
	put_dir("root");
	assert_int_equal(chown("root", 0, 1234), 0);
	assert_int_equal(chmod("root", 02775), 0);
	tar_put(&l.tar, &(struct tar_spec){ .name = "d", .type = '5', .mode = 02755, .gid = 77 });
	tar_put_file(&l.tar, "d/file", "x");
	tar_put_dir(&l.tar, "d/e");
	tar_put_symlink(&l.tar, "d/e/link", "x");
	assert_applies(&l);
	assert_int_equal(look("root").st_gid, 0);
	assert_mode("root", S_IFDIR | 0755);
	assert_mode("root/d", S_IFDIR | 02755);
	assert_mode("root/d/e", S_IFDIR | 0755);
	assert_int_equal(look("root/d/file").st_gid, 0);
	assert_int_equal(look("root/d/e").st_gid, 0);
	assert_int_equal(look("root/d/e/link").st_gid, 0);
}

static void names_are_kept_byte_for_byte_in_a_utf8_program(void **state)
{
	static const char *const names[] = { NFD,	    "\xc3\xa9", NOT_UTF8, "new\nline",
					     "back\\slash", "a:b,c=d",	" ",	  "..." };
	auto_layer struct layer l = { 0 };
	char name[64];

	needs_root();
	assert_non_null(setlocale(LC_ALL, "C.UTF-8"));
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		tar_put_file(&l.tar, names[i], names[i]);
		(void)snprintf(name, sizeof(name), "pax/%s", names[i]);
		tar_put_pax_text("path", name);
		tar_put_symlink(&l.tar, "x", names[i]);
		(void)snprintf(name, sizeof(name), "hard/%s", names[i]);
		tar_put_pax_text("path", name);
		tar_put_pax_text("linkpath", names[i]);
		tar_put_hardlink(&l.tar, "x", "y");
	}
	assert_applies(&l);
	(void)setlocale(LC_ALL, "C");
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		(void)snprintf(name, sizeof(name), "root/%s", names[i]);
		assert_contents(name, names[i]);
		(void)snprintf(name, sizeof(name), "root/hard/%s", names[i]);
		assert_contents(name, names[i]);
		(void)snprintf(name, sizeof(name), "root/pax/%s", names[i]);
		assert_link(name, names[i]);
	}
}

static void long_paths_work_up_to_the_limit(void **state)
{
	auto_layer struct layer l = { 0 }, longer = { 0 };
	char path[4097], part[101];
	auto_close int root_fd = -EBADF, fd = -EBADF;

	needs_root();
	memset(part, 'p', 100);
	part[100] = 0;
	memset(path, 'p', sizeof(path));
	for (size_t i = 100; i < sizeof(path); i += 101)
		path[i] = '/';
	path[4095] = 0;
	tar_put_file(&l.tar, path, "deep");
	assert_applies(&l);
	root_fd = open_dir("root", O_RDONLY);
	fd = tree_open_file(root_fd, path, NULL);
	assert_true(fd >= 0);
	path[4095] = 'p';
	path[4096] = 0;
	tar_put_file(&longer.tar, path, "too deep");
	assert_refused(&longer, -EFBIG, "longer than 4095 bytes");
}

static void names_of_255_bytes_are_legal_and_longer_ones_are_not(void **state)
{
	auto_layer struct layer l = { 0 }, longer = { 0 }, dir = { 0 };
	char name[300], path[320];

	needs_root();
	memset(name, 'n', sizeof(name));
	name[255] = 0;
	tar_put_file(&l.tar, name, "x");
	assert_applies(&l);
	(void)snprintf(path, sizeof(path), "root/%s", name);
	assert_contents(path, "x");
	name[255] = 'n';
	name[256] = 0;
	tar_put_file(&longer.tar, name, "x");
	assert_refused(&longer, -ENAMETOOLONG, "255");
	name[256] = '/';
	name[257] = 'x';
	name[258] = 0;
	tar_put_file(&dir.tar, name, "x");
	assert_refused(&dir, -ENAMETOOLONG, "255");
}

static void directories_get_their_times_after_what_is_in_them(void **state)
{
	auto_layer struct layer l = { 0 };

	needs_root();
	tar_put(&l.tar, &(struct tar_spec){ .name = "a/", .type = '5', .mode = 0555, .mtime = 1 });
	tar_put_pax_text("mtime", "-1.5");
	tar_put(&l.tar, &(struct tar_spec){ .name = "a/b/", .type = '5', .mode = 0500 });
	tar_put_file(&l.tar, "a/b/late", "x");
	tar_put_file(&l.tar, "a/later", "x");
	assert_applies(&l);
	assert_mtime("root/a", 1, 0);
	assert_mtime("root/a/b", -2, 500000000);
	assert_mode("root/a", S_IFDIR | 0555);
	assert_mode("root/a/b", S_IFDIR | 0500);
	assert_contents("root/a/b/late", "x");
}

static void sparse_files_keep_their_holes(void **state)
{
	auto_layer struct layer l = { 0 };
	struct stat st;
	char data[8];
	auto_close int fd = -EBADF;

	needs_root();
	tar_put_pax_text("GNU.sparse.size", "104857600");
	tar_put_pax_text("GNU.sparse.map", "0,4,52428800,4");
	tar_put(&l.tar, &(struct tar_spec){ .name = "sparse",
					    .type = '0',
					    .mode = 0644,
					    .size = 8,
					    .data = "headtail" });
	assert_applies(&l);
	st = look("root/sparse");
	assert_int_equal(st.st_size, 104857600);
	assert_true(st.st_blocks * 512 <= 1 << 20);
	assert_int_equal(l.result.bytes, 104857600);
	assert_true(l.result.disk_bytes < 1 << 20);
	fd = open("root/sparse", O_RDONLY | O_CLOEXEC);
	assert_int_equal(pread(fd, data, 8, 52428798), 8);
	assert_memory_equal(data, "\0\0tail\0\0", 8);
}

static void large_files_are_whole(void **state)
{
	const size_t size = (5 << 20) + 123;
	auto_free char *data = malloc(size), *got = malloc(size);
	auto_buf struct buf packed = { 0 };
	auto_layer struct layer l = { .step = 10007 };
	auto_close int fd = -EBADF;

	needs_root();
	fill_noise(data, size, 5);
	tar_put(&l.tar, &(struct tar_spec){ .name = "big",
					    .type = '0',
					    .mode = 0644,
					    .size = (int64_t)size,
					    .data = data });
	tar_put_end(&l.tar);
	gzip_put(&packed, l.tar.data, l.tar.len);
	assert_int_equal(apply_bytes(&l, &packed), 0);
	fd = open("root/big", O_RDONLY | O_CLOEXEC);
	assert_int_equal(pread(fd, got, size, 0), size);
	assert_memory_equal(data, got, size);
}

/* ---- hard links ---- */

static void hard_links_share_an_inode_wherever_they_point(void **state)
{
	auto_layer struct layer l = { 0 };

	needs_root();
	tar_put_file(&l.tar, "a/file", "shared");
	tar_put_hardlink(&l.tar, "relative", "a/file");
	tar_put_hardlink(&l.tar, "b/absolute", "/a/file");
	tar_put_hardlink(&l.tar, "dotted", "./a/../a/file");
	tar_put_symlink(&l.tar, "link", "a");
	tar_put_hardlink(&l.tar, "through", "link/file");
	tar_put_hardlink(&l.tar, "outside", "../../a/file");
	tar_put(&l.tar,
		&(struct tar_spec){ .name = "sized", .type = '1', .link = "a/file", .size = 6 });
	tar_put_end(&l.tar);
	assert_applies(&l);
	assert_int_equal(look("root/a/file").st_nlink, 7);
	assert_int_equal(look("root/sized").st_ino, look("root/a/file").st_ino);
	assert_contents("root/outside", "shared");
	assert_int_equal(l.result.bytes, 6);
}

static void hard_links_lead_to_any_type_but_directories(void **state)
{
	auto_layer struct layer l = { 0 }, dir = { 0 }, root = { 0 };

	needs_root();
	tar_put_symlink(&l.tar, "sym", "/etc/passwd");
	tar_put_hardlink(&l.tar, "sym2", "sym");
	tar_put(&l.tar,
		&(struct tar_spec){
			.name = "null", .type = '3', .mode = 0666, .dev_major = 1, .dev_minor = 3 });
	tar_put_hardlink(&l.tar, "null2", "null");
	tar_put(&l.tar, &(struct tar_spec){ .name = "fifo", .type = '6', .mode = 0666 });
	tar_put_hardlink(&l.tar, "fifo2", "fifo");
	assert_applies(&l);
	assert_link("root/sym2", "/etc/passwd");
	assert_int_equal(look("root/sym2").st_ino, look("root/sym").st_ino);
	assert_int_equal(look("root/null2").st_rdev, makedev(1, 3));
	assert_int_equal(look("root/fifo").st_nlink, 2);

	tar_put_dir(&dir.tar, "d");
	tar_put_hardlink(&dir.tar, "h", "d");
	assert_refused(&dir, -EBADMSG, "hard link to a directory");
	tar_put_hardlink(&root.tar, "h", "/");
	assert_refused(&root, -EBADMSG, "hard link to a directory");
}

static void a_hard_link_out_of_the_layer_needs_a_parent(void **state)
{
	static const char *const targets[] = { "missing", "d/missing", "no/dir",
					       "file/x",  "hidden",    "/etc/passwd" };

	needs_root();
	for (size_t i = 0; i < ARRAY_LEN(targets); i++) {
		auto_layer struct layer l = { 0 };

		tar_put_dir(&l.tar, "d");
		tar_put_file(&l.tar, "file", "x");
		tar_put_file(&l.tar, ".wh.hidden", "");
		tar_put_hardlink(&l.tar, "link", targets[i]);
		assert_refused(&l, APPLY_NEEDS_PARENT, "not in this layer");
		assert_words(&l.err, targets[i]);
		assert_false(exists("root/link"));
		assert_int_equal(tree_remove_at(AT_FDCWD, "root", NULL), 0);
	}
}

static void a_hard_link_to_itself_changes_nothing(void **state)
{
	auto_layer struct layer l = { 0 };

	needs_root();
	tar_put_file(&l.tar, "file", "kept");
	tar_put_hardlink(&l.tar, "file", "file");
	tar_put_hardlink(&l.tar, "./file", "/file");
	tar_put_hardlink(&l.tar, "other", "file");
	tar_put_hardlink(&l.tar, "other", "file");
	assert_applies(&l);
	assert_contents("root/file", "kept");
	assert_int_equal(look("root/file").st_nlink, 2);
}

static void a_hard_link_replaces_what_has_its_name(void **state)
{
	auto_layer struct layer l = { 0 };

	needs_root();
	tar_put_file(&l.tar, "file", "wins");
	tar_put_file(&l.tar, "old", "loses");
	tar_put_hardlink(&l.tar, "old", "file");
	tar_put_file(&l.tar, "dir/x", "gone");
	tar_put_hardlink(&l.tar, "dir", "file");
	assert_applies(&l);
	assert_contents("root/old", "wins");
	assert_contents("root/dir", "wins");
	assert_int_equal(look("root/file").st_nlink, 3);
	assert_int_equal(l.result.bytes, 4);
}

/* ---- whiteouts ---- */

static void whiteouts_become_devices_of_the_entry_s_owner(void **state)
{
	auto_layer struct layer l = { 0 };
	struct stat st;

	needs_root();
	tar_put(&l.tar, &(struct tar_spec){ .name = "d/.wh.gone",
					    .type = '0',
					    .mode = 0644,
					    .uid = 11,
					    .gid = 12,
					    .mtime = 13 });
	tar_put_hardlink(&l.tar, ".wh.linked", "d/.wh..wh.aufs");
	assert_applies(&l);
	assert_whiteout("root/d/gone");
	st = look("root/d/gone");
	assert_int_equal(st.st_mode, S_IFCHR);
	assert_int_equal(st.st_uid, 11);
	assert_int_equal(st.st_gid, 12);
	assert_mtime("root/d/gone", 13, 0);
	assert_whiteout("root/linked");
	assert_false(exists("root/d/.wh.gone"));
	assert_implied(&l, "d ");
	assert_int_equal(l.result.bytes, 0);
}

static void an_entry_wins_over_its_whiteout_in_either_order(void **state)
{
	auto_layer struct layer l = { 0 };

	needs_root();
	tar_put_file(&l.tar, ".wh.after", "");
	tar_put_file(&l.tar, "after", "here");
	tar_put_file(&l.tar, "before", "here");
	tar_put_file(&l.tar, ".wh.before", "");
	tar_put_file(&l.tar, ".wh.sym", "");
	tar_put_symlink(&l.tar, "sym", "x");
	tar_put_file(&l.tar, ".wh.hard", "");
	tar_put_hardlink(&l.tar, "hard", "before");
	tar_put_file(&l.tar, ".wh.twice", "");
	tar_put_file(&l.tar, ".wh.twice", "");
	assert_applies(&l);
	assert_contents("root/after", "here");
	assert_contents("root/before", "here");
	assert_link("root/sym", "x");
	assert_contents("root/hard", "here");
	assert_whiteout("root/twice");
}

static void a_whiteout_and_a_directory_are_an_opaque_directory(void **state)
{
	auto_layer struct layer l = { 0 };

	needs_root();
	tar_put_file(&l.tar, ".wh.after", "");
	tar_put_dir(&l.tar, "after/");
	tar_put_file(&l.tar, "after/x", "x");
	tar_put_dir(&l.tar, "before/");
	tar_put_file(&l.tar, "before/x", "x");
	tar_put_file(&l.tar, ".wh.before", "");
	tar_put_file(&l.tar, ".wh.implied", "");
	tar_put_file(&l.tar, "implied/deep/x", "x");
	tar_put_dir(&l.tar, "ordinary/");
	assert_applies(&l);
	assert_opaque("root/after");
	assert_contents("root/after/x", "x");
	assert_opaque("root/before");
	assert_contents("root/before/x", "x");
	assert_opaque("root/implied");
	assert_contents("root/implied/deep/x", "x");
	assert_not_opaque("root/implied/deep");
	assert_not_opaque("root/ordinary");
	/* It is not the one that was deleted: the layers beneath do not say what it is. */
	assert_implied(&l, "");
}

static void opaque_markers_count_wherever_they_stand(void **state)
{
	auto_layer struct layer l = { 0 };

	needs_root();
	tar_put_file(&l.tar, "early/.wh..wh..opq", "");
	tar_put_dir(&l.tar, "early/");
	tar_put_dir(&l.tar, "late/");
	tar_put_file(&l.tar, "late/x", "x");
	tar_put_file(&l.tar, "late/.wh..wh..opq", "");
	tar_put_file(&l.tar, "alone/.wh..wh..opq", "");
	tar_put_file(&l.tar, "alone/deep/x", "x");
	assert_applies(&l);
	assert_opaque("root/early");
	assert_opaque("root/late");
	assert_contents("root/late/x", "x");
	assert_opaque("root/alone");
	/* The mark hides what is in it, and so the deeper one; it is still the one it was. */
	assert_implied(&l, "/early alone ");
	assert_false(exists("root/late/.wh..wh..opq"));
	/* The mark survives a second entry for the directory. */
	assert_mode("root/early", S_IFDIR | 0755);
}

static void an_opaque_root_hides_all_that_others_could_say(void **state)
{
	auto_layer struct layer l = { 0 };

	needs_root();
	tar_put_file(&l.tar, "dir/x", "x");
	tar_put_file(&l.tar, ".wh..wh..opq", "");
	assert_applies(&l);
	assert_opaque("root");
	/* But not what the root itself is. */
	assert_true(l.result.root_implied);
	assert_implied(&l, "/dir ");
}

static void user_xattrs_mark_where_asked_for(void **state)
{
	auto_layer struct layer l = { .options = { .xattrs = OVERLAY_XATTRS_USER } };

	needs_root();
	tar_put_file(&l.tar, "d/.wh..wh..opq", "");
	assert_applies(&l);
	assert_xattr("root/d", "user.overlay.opaque", "y", 1);
	assert_not_opaque("root/d");
}

static void aufs_leftovers_are_skipped(void **state)
{
	auto_layer struct layer l = { 0 };

	needs_root();
	tar_put_file(&l.tar, ".wh..wh.aufs", "");
	tar_put_dir(&l.tar, ".wh..wh.plnk/");
	tar_put_file(&l.tar, ".wh..wh.plnk/123.456", "secret");
	tar_put_dir(&l.tar, "d/.wh..wh.orph/");
	tar_put_file(&l.tar, "kept", "x");
	assert_applies(&l);
	assert_contents("root/kept", "x");
	assert_false(exists("root/.wh..wh.aufs"));
	assert_false(exists("root/.wh..wh.plnk"));
	assert_false(exists("root/d"));
	assert_int_equal(l.result.entries, 5);
}

static void impossible_whiteouts_are_refused(void **state)
{
	static const char *const names[] = { ".wh.",	    ".wh..",	      ".wh...",
					     "d/.wh.",	    "d/.wh../",	      ".wh.a/b",
					     "d/.wh.x/y/z", ".wh..wh..opq/x", ".wh.../etc" };

	needs_root();
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		auto_layer struct layer l = { 0 };

		tar_put_file(&l.tar, "d/keep", "x");
		tar_put_file(&l.tar, names[i], "");
		assert_refused(&l, -EBADMSG, "whiteout");
		assert_contents("root/d/keep", "x");
		assert_int_equal(tree_remove_at(AT_FDCWD, "root", NULL), 0);
	}
}

static void a_device_0_0_in_the_tar_is_a_whiteout(void **state)
{
	auto_layer struct layer l = { 0 };

	needs_root();
	tar_put(&l.tar, &(struct tar_spec){ .name = "a", .type = '3', .mode = 0600 });
	tar_put(&l.tar, &(struct tar_spec){ .name = "b", .type = '3', .mode = 0600 });
	tar_put_dir(&l.tar, "b");
	assert_applies(&l);
	assert_whiteout("root/a");
	assert_opaque("root/b");
}

/* ---- twice the same name ---- */

static void a_later_entry_replaces_an_earlier_one(void **state)
{
	static const char types[] = "0256";

	needs_root();
	for (size_t i = 0; i < 4; i++) {
		for (size_t j = 0; j < 4; j++) {
			const struct tar_spec first = { .name = "x",
							.type = types[i],
							.mode = 0700,
							.link = types[i] == '2' ? "first" : NULL };
			const struct tar_spec second = { .name = "x",
							 .type = types[j],
							 .mode = 0711,
							 .link = types[j] == '2' ? "second" :
										   NULL };
			const mode_t formats[] = { S_IFREG, S_IFLNK, S_IFDIR, S_IFIFO };
			auto_layer struct layer l = { 0 };

			tar_put(&l.tar, &first);
			tar_put(&l.tar, &second);
			assert_applies(&l);
			assert_int_equal(look("root/x").st_mode & S_IFMT, formats[j]);
			if (types[j] == '2')
				assert_link("root/x", "second");
			else
				assert_int_equal(look("root/x").st_mode & 07777, 0711);
			assert_int_equal(tree_remove_at(AT_FDCWD, "root", NULL), 0);
		}
	}
}

static void a_directory_over_a_directory_changes_metadata_only(void **state)
{
	auto_layer struct layer l = { 0 };

	needs_root();
	tar_put_pax_text("SCHILY.xattr.user.old", "1");
	tar_put_pax_text("SCHILY.xattr.user.both", "1");
	tar_put(&l.tar,
		&(struct tar_spec){ .name = "d", .type = '5', .mode = 0700, .uid = 1, .mtime = 1 });
	tar_put_file(&l.tar, "d/file", "stays");
	tar_put_file(&l.tar, "d/.wh..wh..opq", "");
	tar_put_pax_text("SCHILY.xattr.user.both", "2");
	tar_put(&l.tar, &(struct tar_spec){
				.name = "d/", .type = '5', .mode = 0750, .uid = 2, .mtime = 2 });
	assert_applies(&l);
	assert_contents("root/d/file", "stays");
	assert_mode("root/d", S_IFDIR | 0750);
	assert_int_equal(look("root/d").st_uid, 2);
	assert_mtime("root/d", 2, 0);
	assert_no_xattr("root/d", "user.old");
	assert_xattr("root/d", "user.both", "2", 1);
	assert_opaque("root/d");
}

static void a_replaced_directory_takes_all_its_records_along(void **state)
{
	auto_layer struct layer l = { 0 };
	char name[64];

	needs_root();
	/* Inodes that are free again are used again: records of the dead must not reach the living. */
	for (int i = 0; i < 50; i++) {
		(void)snprintf(name, sizeof(name), "d/%d/e", i);
		tar_put(&l.tar,
			&(struct tar_spec){
				.name = name, .type = '5', .mode = 0701, .uid = 9, .mtime = 9 });
	}
	tar_put_file(&l.tar, "d", "a file now");
	for (int i = 0; i < 100; i++) {
		(void)snprintf(name, sizeof(name), "new%d/sub/file", i);
		tar_put_file(&l.tar, name, "x");
	}
	assert_applies(&l);
	assert_contents("root/d", "a file now");
	for (int i = 0; i < 100; i++) {
		(void)snprintf(name, sizeof(name), "root/new%d/sub", i);
		assert_mode(name, S_IFDIR | 0755);
		assert_int_equal(look(name).st_uid, 0);
		assert_mtime(name, 0, 0);
	}
	assert_non_null(memmem(l.result.implied.data, l.result.implied.len, "new0", 5));
	assert_int_equal(l.result.bytes, 10 + 100);
}

static void a_replaced_symlink_leads_elsewhere_from_then_on(void **state)
{
	auto_layer struct layer l = { 0 };

	needs_root();
	tar_put_dir(&l.tar, "one");
	tar_put_dir(&l.tar, "two");
	tar_put_symlink(&l.tar, "way", "one");
	tar_put_file(&l.tar, "way/a", "1");
	tar_put_symlink(&l.tar, "way", "two");
	tar_put_file(&l.tar, "way/b", "2");
	tar_put_dir(&l.tar, "way");
	tar_put_file(&l.tar, "way/c", "3");
	assert_applies(&l);
	assert_contents("root/one/a", "1");
	assert_contents("root/two/b", "2");
	assert_contents("root/way/c", "3");
	assert_false(exists("root/two/c"));
	assert_false(exists("root/one/b"));
}

static void a_renewed_directory_does_not_keep_old_files(void **state)
{
	auto_layer struct layer l = { 0 };

	needs_root();
	tar_put_file(&l.tar, "d/old", "x");
	tar_put_file(&l.tar, "d", "file");
	tar_put_file(&l.tar, "d/new", "x");
	/* Whoever has layers beneath tries again with those: d could be a symlink there. */
	assert_refused(&l, APPLY_NEEDS_PARENT, "not a directory");
	assert_words(&l.err, "d/new");
}

/* ---- what has no entry ---- */

static void implied_directories_are_roots_and_named(void **state)
{
	auto_layer struct layer l = { 0 };

	needs_root();
	tar_put_file(&l.tar, "usr/share/doc/x/copyright", "c");
	tar_put_file(&l.tar, "./usr/lib/y", "y");
	tar_put_file(&l.tar, "/usr-local/z", "z");
	tar_put_dir(&l.tar, "usr/share/");
	assert_applies(&l);
	/* What comes to have an entry later is named as one that could have been a symlink before. */
	assert_implied(&l, "/usr/share usr usr-local usr/lib usr/share/doc usr/share/doc/x ");
	assert_true(l.result.root_implied);
	assert_mode("root/usr/share/doc", S_IFDIR | 0755);
	assert_int_equal(look("root/usr/lib").st_uid, 0);
	assert_mtime("root/usr/lib", 0, 0);
	assert_mtime("root", 0, 0);
	assert_mtime("root/usr/share", USUAL_MTIME, 0);
}

static void a_way_through_symlinks_is_made_where_they_lead(void **state)
{
	auto_layer struct layer l = { 0 };

	needs_root();
	tar_put_symlink(&l.tar, "bin", "usr/bin");
	tar_put_symlink(&l.tar, "abs", "/opt/abs");
	tar_put_symlink(&l.tar, "d/up", "../../../up/here");
	tar_put_file(&l.tar, "bin/tool", "t");
	tar_put_file(&l.tar, "abs/x/file", "f");
	tar_put_file(&l.tar, "d/up/g", "g");
	assert_applies(&l);
	assert_link("root/bin", "usr/bin");
	assert_contents("root/usr/bin/tool", "t");
	assert_contents("root/opt/abs/x/file", "f");
	assert_contents("root/up/here/g", "g");
	assert_implied(&l, "d opt opt/abs opt/abs/x up up/here usr usr/bin ");
}

/* ---- hostile ---- */

/* A file and a directory outside the root, which no layer may reach. */
static void put_victims(void)
{
	put_file("victim", "untouched");
	put_file("victims/file", "untouched");
	assert_int_equal(chmod("victim", 0600), 0);
	set_mtime("victim", 5, 0);
	set_mtime("victims", 5, 0);
}

static void assert_victims_are_well(void)
{
	struct stat st = look("victim");

	assert_contents("victim", "untouched");
	assert_contents("victims/file", "untouched");
	assert_int_equal(st.st_mode, S_IFREG | 0600);
	assert_int_equal(st.st_uid, geteuid());
	assert_int_equal(st.st_mtim.tv_sec, 5);
	assert_int_equal(st.st_nlink, 1);
	assert_int_equal(look("victims").st_mtim.tv_sec, 5);
	assert_int_equal(look("victims").st_nlink, 2);
	assert_not_opaque("victims");
}

static void dots_and_absolute_names_stay_inside(void **state)
{
	auto_layer struct layer l = { 0 };

	needs_root();
	put_victims();
	tar_put_file(&l.tar, "../victim", "inside");
	tar_put_file(&l.tar, "a/../../../victims/file", "inside");
	tar_put_file(&l.tar, sandbox_path("victim"), "inside");
	tar_put_file(&l.tar, "/etc/passwd", "inside");
	tar_put_file(&l.tar, "../.wh.victims", "");
	assert_applies(&l);
	assert_victims_are_well();
	assert_contents("root/victim", "inside");
	assert_contents("root/victims/file", "inside");
	assert_contents("root/etc/passwd", "inside");
	assert_opaque("root/victims");
}

static void dot_dot_as_a_name_is_refused(void **state)
{
	static const char *const names[] = { "..", "a/..", "../", "./..", "a/../.." };

	needs_root();
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		auto_layer struct layer l = { 0 };

		tar_put_dir(&l.tar, names[i]);
		assert_refused(&l, -EBADMSG, "\"..\" cannot be made");
		assert_int_equal(tree_remove_at(AT_FDCWD, "root", NULL), 0);
	}
}

static void nothing_is_written_through_a_symlink(void **state)
{
	auto_layer struct layer l = { 0 };
	const char *victim = sandbox_path("victim"), *victims = sandbox_path("victims");

	needs_root();
	put_victims();
	/* The leaf is a link: replaced, not followed. */
	tar_put_symlink(&l.tar, "leaf", victim);
	tar_put_file(&l.tar, "leaf", "inside");
	tar_put_symlink(&l.tar, "leafdir", victims);
	tar_put(&l.tar,
		&(struct tar_spec){ .name = "leafdir/", .type = '5', .mode = 0777, .uid = 99 });
	tar_put_file(&l.tar, "leafdir/.wh..wh..opq", "");
	/* The way is a link: resolved inside. */
	tar_put_symlink(&l.tar, "way", victims);
	tar_put_file(&l.tar, "way/file", "inside");
	tar_put_file(&l.tar, "way/.wh.file2", "");
	tar_put_file(&l.tar, "way/.wh..wh..opq", "");
	tar_put_symlink(&l.tar, "up", "../../../../../../../..");
	tar_put_file(&l.tar, "up/from-up", "inside");
	/* Metadata of a link, not of what it leads to. */
	tar_put_symlink(&l.tar, "meta", victim);
	tar_put(&l.tar, &(struct tar_spec){ .name = "meta",
					    .type = '2',
					    .link = victim,
					    .uid = 99,
					    .mode = 06777,
					    .mtime = 99 });
	tar_put_pax_text("SCHILY.xattr.user.x", "1");
	tar_put(&l.tar, &(struct tar_spec){ .name = "meta2", .type = '2', .link = victim });
	assert_applies(&l);
	assert_victims_are_well();
	assert_no_xattr("victim", "user.x");
	assert_contents("root/leaf", "inside");
	assert_opaque("root/leafdir");
	assert_contents("root/from-up", "inside");
	assert_false(exists("victims/file2"));
	assert_int_equal(look("root/meta").st_uid, 99);
}

static void hard_links_never_leave_the_root(void **state)
{
	const char *victim = sandbox_path("victim");
	char dots[2048] = "../../../../../../../..";

	needs_root();
	put_victims();
	(void)strncat(dots, victim, sizeof(dots) - strlen(dots) - 1);
	for (int i = 0; i < 4; i++) {
		auto_layer struct layer l = { 0 };

		tar_put_symlink(&l.tar, "out", sandbox_root());
		tar_put_symlink(&l.tar, "self", "/proc/self");
		tar_put_hardlink(&l.tar, "h",
				 i == 0 ? victim :
				 i == 1 ? dots :
				 i == 2 ? "out/victim" :
					  "self/exe");
		assert_refused(&l, APPLY_NEEDS_PARENT, "not in this layer");
		assert_victims_are_well();
		assert_int_equal(tree_remove_at(AT_FDCWD, "root", NULL), 0);
	}
}

static void the_root_stays_a_directory(void **state)
{
	static const char *const names[] = { "./", "/", ".", "/.", "././." };

	needs_root();
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		auto_layer struct layer link = { 0 }, fifo = { 0 }, dir = { 0 };

		tar_put_symlink(&link.tar, names[i], "/etc");
		assert_refused(&link, -EBADMSG, "root of a layer");
		tar_put(&fifo.tar, &(struct tar_spec){ .name = names[i], .type = '6' });
		assert_refused(&fifo, -EBADMSG, "root of a layer");
		tar_put(&dir.tar,
			&(struct tar_spec){ .name = names[i], .type = '5', .mode = 0751 });
		assert_applies(&dir);
		assert_mode("root", S_IFDIR | 0751);
	}
}

static void link_loops_end(void **state)
{
	auto_layer struct layer l = { 0 }, growing = { 0 }, late = { 0 };

	needs_root();
	tar_put_symlink(&l.tar, "a", "b");
	tar_put_symlink(&l.tar, "b", "a");
	tar_put_file(&l.tar, "a/file", "x");
	assert_refused(&l, -ELOOP, "a/file");
	/* Each pass makes the way longer. */
	tar_put_symlink(&growing.tar, "c", "c/x");
	tar_put_file(&growing.tar, "c/file", "x");
	assert_refused(&growing, -ELOOP, "c/file");
	/* The kernel stops at what is missing, and the loop is found while making it. */
	tar_put_symlink(&late.tar, "a", "b");
	tar_put_symlink(&late.tar, "b", "a");
	tar_put_file(&late.tar, "missing/../a/file", "x");
	assert_refused(&late, APPLY_NEEDS_PARENT, "missing/../a/file");
}

static void a_bomb_of_nested_directories_is_defused(void **state)
{
	auto_layer struct layer l = { .options.limits.path_depth = 50 }, m = { 0 };
	auto_buf struct buf path = { 0 };
	char target[400] = "";

	needs_root();
	for (int i = 0; i < 51; i++)
		assert_int_equal(buf_puts(&path, "d/"), 0);
	tar_put_dir(&l.tar, buf_text(&path));
	assert_refused(&l, -EFBIG, "more than 50 names");
	/* Deep by links, each entry with a short name. */
	m.options.limits.path_depth = 50;
	for (int i = 0; i < 40; i++)
		(void)strncat(target, "e/", sizeof(target) - strlen(target) - 1);
	tar_put_symlink(&m.tar, "s", target);
	tar_put_symlink(&m.tar, "s/s", target);
	tar_put_file(&m.tar, "s/s/file", "x");
	assert_refused(&m, -EFBIG, "nested more than 50 deep");
}

static void each_limit_has_its_own_words(void **state)
{
	static const struct {
		struct apply_limits limits;
		const char *words, *setting;
	} cases[] = {
		{ { .entries = 3 }, "more than 3 entries", "layer-entries" },
		{ { .bytes = 2048 }, "larger than 2048 bytes (uncompressed)", "layer-bytes" },
		{ { .file_bytes = 9 },
		  "d/file: the file is larger than 9 bytes (10)",
		  "file-bytes" },
		{ { .path_bytes = 5 }, "d/file: the name is longer than 5 bytes (6)", "path-bytes" },
		{ { .path_depth = 1 }, "d/file: more than 1 names", "path-depth" },
		{ { .xattrs = 1 }, "d/file: more than 1 xattrs (2)", "xattrs" },
		{ { .xattr_bytes = 4 },
		  "d/file: xattr user.b is larger than 4 bytes (5)",
		  "xattr-bytes" },
	};
	char raise[64];

	needs_root();
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		auto_layer struct layer l = { .options.limits = cases[i].limits };

		tar_put_dir(&l.tar, "d");
		tar_put_pax_text("SCHILY.xattr.user.a", "1234");
		tar_put_pax_text("SCHILY.xattr.user.b", "12345");
		tar_put_file(&l.tar, "d/file", "0123456789");
		tar_put_file(&l.tar, "e", "");
		tar_put_file(&l.tar, "f", "");
		assert_refused(&l, -EFBIG, cases[i].words);
		(void)snprintf(raise, sizeof(raise), "--limit %s=N", cases[i].setting);
		assert_words(&l.err, raise);
		assert_int_equal(tree_remove_at(AT_FDCWD, "root", NULL), 0);
	}
}

/* There is nothing to be raised. */
static void words_about_a_limit_of_linux_name_no_setting(void **state)
{
	auto_layer struct layer l = { 0 };
	auto_free char *name = calloc(1, 5000);

	needs_root();
	memset(name, '/', 4999);
	name[0] = 'a';
	name[4998] = 'a';
	tar_put_pax_text("path", name);
	tar_put_file(&l.tar, "x", "");
	assert_refused(&l, -EFBIG, "longer than 4095 bytes (4999)");
	assert_null(strstr(l.err.text, "--limit"));
}

static void the_ratio_of_a_small_layer_does_not_matter(void **state)
{
	auto_layer struct layer l = { .options.limits.compression_ratio = 1 };
	auto_buf struct buf packed = { 0 };
	auto_free char *zeros = calloc(1, 8 << 20);

	needs_root();
	tar_put(&l.tar,
		&(struct tar_spec){ .name = "file", .type = '0', .size = 8 << 20, .data = zeros });
	gzip_put(&packed, l.tar.data, l.tar.len);
	assert_int_equal(apply_bytes(&l, &packed), 0);
}

static void implied_directories_count_against_the_limit(void **state)
{
	auto_layer struct layer l = { .options.limits.entries = 10 };

	needs_root();
	tar_put_file(&l.tar, "1/2/3/4/5/6/7/8/9/10/11", "x");
	assert_refused(&l, -EFBIG, "more than 10 directories");
}

static void a_bomb_stops_at_the_limit(void **state)
{
	auto_layer struct layer l = { .options.limits.bytes = 1 << 20 };
	auto_buf struct buf bomb = { 0 };
	auto_free char *zeros = calloc(1, 8 << 20);

	needs_root();
	tar_put(&l.tar,
		&(struct tar_spec){ .name = "bomb", .type = '0', .size = 8 << 20, .data = zeros });
	gzip_put(&bomb, l.tar.data, l.tar.len);
	assert_true(bomb.len < 65536);
	assert_int_equal(apply_bytes(&l, &bomb), -EFBIG);
	assert_words(&l.err, "larger than 1048576 bytes");
	assert_true(look("root/bomb").st_blocks * 512 <= 1 << 20);
}

static void words_about_hostile_names_are_harmless(void **state)
{
	auto_layer struct layer l = { 0 };

	needs_root();
	tar_put_hardlink(&l.tar, "x\033]0;owned\007", "y\033[2J");
	assert_refused(&l, APPLY_NEEDS_PARENT, "x\\033]0;owned\\007");
	assert_words(&l.err, "y\\033[2J");
	assert_null(strchr(l.err.text, '\033'));
}

/* ---- xattrs ---- */

/* version 2, no flags: cap_net_bind_service, permitted and effective */
static const char capability[20] = "\1\0\0\2\0\4\0\0\0\0\0\0\0\0\0\0\0\0\0\0";

static void kept_xattrs_are_set_and_others_counted(void **state)
{
	auto_layer struct layer l = { 0 };

	needs_root();
	tar_put_pax("SCHILY.xattr.security.capability", capability, sizeof(capability));
	tar_put_pax("SCHILY.xattr.user.binary", "\0\1\n=\xff", 5);
	tar_put_pax_text("SCHILY.xattr.user.empty", "");
	tar_put_pax_text("SCHILY.xattr.security.selinux", "system_u:object_r:etc_t:s0");
	tar_put_pax_text("SCHILY.xattr.trusted.other", "1");
	tar_put_pax_text("SCHILY.xattr.system.posix_acl_access", "1");
	tar_put_pax_text("SCHILY.xattr.nonsense", "1");
	tar_put_pax_text("SCHILY.acl.access",
			 "user::rwx,user:1:r--,group::r--,mask::r-x,other::r-x");
	/* Owner and setuid: neither may cost the capability. */
	tar_put(&l.tar, &(struct tar_spec){ .name = "file",
					    .type = '0',
					    .mode = 04755,
					    .uid = 1000,
					    .size = 1,
					    .data = "x" });
	tar_put_pax_text("SCHILY.xattr.user.dir", "d");
	tar_put_dir(&l.tar, "dir");
	tar_put_pax_text("SCHILY.xattr.user.root", "r");
	tar_put_dir(&l.tar, "./");
	tar_put_pax_text("SCHILY.xattr.user.fifo", "f");
	tar_put(&l.tar, &(struct tar_spec){ .name = "fifo", .type = '6' });
	assert_applies(&l);
	assert_xattr("root/file", "security.capability", capability, sizeof(capability));
	assert_xattr("root/file", "user.binary", "\0\1\n=\xff", 5);
	assert_xattr("root/file", "user.empty", "", 0);
	assert_no_xattr("root/file", "trusted.other");
	assert_mode("root/file", S_IFREG | 04755);
	assert_xattr("root/dir", "user.dir", "d", 1);
	assert_xattr("root", "user.root", "r", 1);
	assert_int_equal(l.result.dropped_xattrs, 6);
}

static void of_an_xattr_that_stands_twice_the_last_counts(void **state)
{
	auto_layer struct layer l = { 0 };

	needs_root();
	tar_put_pax_text("SCHILY.xattr.user.x", "1");
	tar_put_pax_text("SCHILY.xattr.user.y", "2");
	tar_put_pax_text("SCHILY.xattr.user.x", "3");
	tar_put_file(&l.tar, "file", "");
	assert_applies(&l);
	assert_xattr("root/file", "user.x", "3", 1);
	assert_xattr("root/file", "user.y", "2", 1);
}

static void xattrs_that_overlayfs_obeys_are_refused(void **state)
{
	static const char *const names[] = { "trusted.overlay.opaque",	 "trusted.overlay.redirect",
					     "trusted.overlay.metacopy", "user.overlay.opaque",
					     "user.overlay.redirect",	 "trusted.overlay." };
	static const char types[] = "0526";

	needs_root();
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		for (size_t j = 0; j < 4; j++) {
			auto_layer struct layer l = { 0 };
			char key[64];

			(void)snprintf(key, sizeof(key), "SCHILY.xattr.%s", names[i]);
			tar_put_pax_text(key, "y");
			tar_put(&l.tar,
				&(struct tar_spec){
					.name = "x", .type = types[j], .mode = 0755, .link = "y" });
			assert_refused(&l, -EBADMSG, names[i]);
			if (exists("root/x"))
				assert_no_xattr("root/x", names[i]);
			assert_int_equal(tree_remove_at(AT_FDCWD, "root", NULL), 0);
		}
	}
}

static void long_xattr_names_are_refused(void **state)
{
	auto_layer struct layer l = { 0 };
	char key[300] = "SCHILY.xattr.user.";

	needs_root();
	memset(key + 18, 'x', 255);
	tar_put_pax_text(key, "y");
	tar_put_file(&l.tar, "file", "");
	assert_refused(&l, -EFBIG, "name of xattr");
}

static void a_filesystem_without_xattrs_is_named(void **state)
{
	auto_layer struct layer l = { 0 };

	needs_root();
	put_dir("root");
	assert_int_equal(sys_mount("ramfs", "root", "ramfs", 0, NULL), 0);
	tar_put_pax_text("SCHILY.xattr.user.x", "y");
	tar_put_file(&l.tar, "file", "");
	assert_refused(&l, -EOPNOTSUPP,
		       "file: the filesystem (type 0x858458f6) cannot keep xattr user.x");
}

/* ---- streams ---- */

/* sha256sum of the piece of memory */
static void assert_digest(const struct digest *got, const struct buf *of)
{
	struct digest expected;

	assert_int_equal(digest_of("sha256", of->data, of->len, &expected, NULL), 0);
	assert_string_equal(got->text, expected.text);
}

static void digests_and_counts_are_those_of_the_bytes(void **state)
{
	auto_layer struct layer plain = { 0 }, packed = { 0 }, frames = { 0 };
	auto_buf struct buf gzip = { 0 }, zstd = { 0 };

	needs_root();
	tar_put_file(&plain.tar, "file", "contents");
	tar_put_end(&plain.tar);
	assert_int_equal(apply_layer(&plain), 0);
	assert_digest(&plain.result.blob, &plain.tar);
	assert_digest(&plain.result.diff_id, &plain.tar);
	assert_int_equal(plain.result.blob_bytes, plain.tar.len);
	assert_int_equal(plain.result.tar_bytes, plain.tar.len);

	gzip_put(&gzip, plain.tar.data, 700);
	gzip_put(&gzip, plain.tar.data + 700, plain.tar.len - 700);
	assert_int_equal(tree_remove_at(AT_FDCWD, "root", NULL), 0);
	packed.step = 3;
	assert_int_equal(apply_bytes(&packed, &gzip), 0);
	assert_digest(&packed.result.blob, &gzip);
	assert_digest(&packed.result.diff_id, &plain.tar);
	assert_int_equal(packed.result.blob_bytes, gzip.len);
	assert_int_equal(packed.result.tar_bytes, plain.tar.len);
	assert_contents("root/file", "contents");

	zstd_put(&zstd, plain.tar.data, 1000);
	zstd_put_skippable(&zstd, "toc", 3);
	zstd_put(&zstd, plain.tar.data + 1000, plain.tar.len - 1000);
	assert_int_equal(tree_remove_at(AT_FDCWD, "root", NULL), 0);
	assert_int_equal(apply_bytes(&frames, &zstd), 0);
	assert_digest(&frames.result.blob, &zstd);
	assert_digest(&frames.result.diff_id, &plain.tar);
	assert_contents("root/file", "contents");
}

static void what_follows_the_archive_counts_into_the_diff_id(void **state)
{
	auto_layer struct layer l = { 0 };
	auto_buf struct buf packed = { 0 };

	needs_root();
	tar_put_file(&l.tar, "file", "contents");
	tar_put_end(&l.tar);
	for (int i = 0; i < 100000; i++)
		assert_int_equal(buf_puts(&l.tar, "garbage "), 0);
	gzip_put(&packed, l.tar.data, l.tar.len);
	assert_int_equal(apply_bytes(&l, &packed), 0);
	assert_digest(&l.result.blob, &packed);
	assert_digest(&l.result.diff_id, &l.tar);
	assert_int_equal(l.result.tar_bytes, l.tar.len);
	assert_int_equal(l.result.entries, 1);
}

static void an_empty_layer_is_legal(void **state)
{
	auto_layer struct layer l = { 0 }, nothing = { 0 };

	needs_root();
	tar_put_end(&l.tar);
	assert_applies(&l);
	assert_string_equal(
		l.result.diff_id.text,
		"sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef");
	assert_int_equal(l.result.entries, 0);
	assert_true(l.result.root_implied);
	assert_applies(&nothing);
	assert_int_equal(nothing.result.tar_bytes, 0);
}

static void every_cut_of_a_compressed_layer_is_seen(void **state)
{
	auto_layer struct layer l = { 0 };
	auto_buf struct buf gzip = { 0 };

	needs_root();
	tar_put_file(&l.tar, "file", "contents");
	tar_put_end(&l.tar);
	gzip_put(&gzip, l.tar.data, l.tar.len);
	for (size_t len = 3; len < gzip.len; len++) {
		struct layer cut = { 0 };
		auto_buf struct buf part = { 0 };

		assert_int_equal(buf_append(&part, gzip.data, len), 0);
		assert_int_equal(apply_bytes(&cut, &part), -EBADMSG);
		assert_words(&cut.err, "gzip: the stream ends in the middle");
		assert_int_equal(tree_remove_at(AT_FDCWD, "root", NULL), 0);
	}
}

static void a_cut_plain_layer_is_seen(void **state)
{
	auto_layer struct layer l = { 0 };

	needs_root();
	tar_put_file(&l.tar, "file", "contents");
	l.tar.len -= 100;
	assert_refused(&l, -EBADMSG, "tar: ");
}

static void damage_after_the_last_entry_is_seen(void **state)
{
	auto_layer struct layer l = { 0 };
	auto_buf struct buf gzip = { 0 };

	needs_root();
	tar_put_file(&l.tar, "file", "contents");
	tar_put_end(&l.tar);
	gzip_put(&gzip, l.tar.data, l.tar.len);
	gzip.data[gzip.len - 1] ^= 1;
	assert_int_equal(apply_bytes(&l, &gzip), -EBADMSG);
	assert_words(&l.err, "checksum or length");
}

static void other_compressions_are_refused_by_name(void **state)
{
	auto_layer struct layer l = { 0 };
	auto_buf struct buf xz = { 0 };

	assert_int_equal(buf_append(&xz,
				    "\xfd"
				    "7zXZ\0\0\4",
				    8),
			 0);
	assert_int_equal(apply_bytes(&l, &xz), -EOPNOTSUPP);
	assert_words(&l.err, "xz");
}

static void the_source_s_error_comes_through(void **state)
{
	auto_layer struct layer l = { 0 };
	struct memory from = { .fail_at_end = -ECONNRESET };
	auto_close int root_fd = -EBADF;

	needs_root();
	tar_put_file(&l.tar, "file", "contents");
	from.data = l.tar.data;
	from.len = l.tar.len - 10;
	put_dir("root");
	root_fd = open_dir("root", O_RDONLY);
	assert_int_equal(apply(memory_read, &from, root_fd, &l.options, &l.result, &l.err),
			 -ECONNRESET);
	assert_words(&l.err, "the source: Connection reset");
}

static void progress(void *arg, uint64_t bytes)
{
	uint64_t *seen = arg;

	assert_true(bytes > seen[0]);
	seen[0] = bytes;
	seen[1]++;
}

static void progress_is_told_and_cancelling_heard(void **state)
{
	auto_layer struct layer l = { .step = 512 }, again = { 0 };
	uint64_t seen[2] = { 0 };
	atomic_bool cancelled = false;

	needs_root();
	l.options.progress = progress;
	l.options.progress_arg = seen;
	l.options.cancelled = &cancelled;
	tar_put_file(&l.tar, "file", "contents");
	tar_put_end(&l.tar);
	assert_applies(&l);
	assert_int_equal(seen[0], l.tar.len);
	assert_int_equal(seen[1], l.tar.len / 512);
	cancelled = true;
	again.options.cancelled = &cancelled;
	tar_put_file(&again.tar, "file", "contents");
	assert_refused(&again, -ECANCELED, "cancelled");
}

static void disk_bytes_are_what_du_says(void **state)
{
	auto_layer struct layer l = { 0 }, changed = { 0 };
	auto_free char *data = malloc(100000);
	struct tree_usage usage = { 0 };
	char name[64];

	needs_root();
	fill_noise(data, 100000, 1);
	for (int i = 0; i < 300; i++) {
		(void)snprintf(name, sizeof(name), "d%d/sub/file%d", i % 7, i);
		tar_put(&l.tar, &(struct tar_spec){ .name = name,
						    .type = '0',
						    .mode = 0644,
						    .size = i * 333,
						    .data = data });
		(void)snprintf(name, sizeof(name), "link%d", i);
		tar_put_symlink(&l.tar, name,
				i % 2 ? "short" :
					sandbox_path("a long target that is not in the inode"));
	}
	tar_put_hardlink(&l.tar, "hard", "d1/sub/file1");
	tar_put_file(&l.tar, ".wh.gone", "");
	assert_int_equal(buf_append(&changed.tar, l.tar.data, l.tar.len), 0);
	assert_applies(&l);
	assert_int_equal(tree_usage_at(AT_FDCWD, "root", &usage, NULL), 0);
	assert_int_equal(l.result.disk_bytes, usage.disk_bytes);
	assert_int_equal(l.result.bytes, usage.bytes);

	assert_int_equal(tree_remove_at(AT_FDCWD, "root", NULL), 0);
	tar_put_file(&changed.tar, "d1", "replaced");
	tar_put_file(&changed.tar, "d2/sub/file2", "replaced");
	assert_applies(&changed);
	assert_int_equal(tree_usage_at(AT_FDCWD, "root", &usage, NULL), 0);
	assert_int_equal(changed.result.disk_bytes, usage.disk_bytes);
	assert_int_equal(changed.result.bytes, usage.bytes);
	assert_true(changed.result.bytes < l.result.bytes);
}

static int apply_as_nobody(struct layer *l)
{
	int status;
	pid_t pid;

	put_dir("root");
	assert_int_equal(chown("root", 65534, 65534), 0);
	pid = fork();
	if (pid == 0) {
		if (setgid(65534) < 0 || setuid(65534) < 0)
			_exit(99);
		_exit(-apply_layer(l));
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void without_root_ones_own_files_can_be_made(void **state)
{
	auto_layer struct layer l = { 0 }, theirs = { 0 };

	needs_root();
	tar_put(&l.tar,
		&(struct tar_spec){
			.name = "./", .type = '5', .mode = 0500, .uid = 65534, .gid = 65534 });
	tar_put(&l.tar, &(struct tar_spec){
				.name = "d", .type = '5', .mode = 0, .uid = 65534, .gid = 65534 });
	tar_put(&l.tar, &(struct tar_spec){ .name = "d/file",
					    .type = '0',
					    .mode = 0,
					    .uid = 65534,
					    .gid = 65534,
					    .size = 4,
					    .data = "mine" });
	assert_int_equal(apply_as_nobody(&l), 0);
	assert_mode("root", S_IFDIR | 0500);
	assert_mode("root/d", S_IFDIR | 0);
	assert_mode("root/d/file", S_IFREG | 0);
	assert_int_equal(look("root/d/file").st_uid, 65534);
	assert_contents("root/d/file", "mine");

	assert_int_equal(tree_remove_at(AT_FDCWD, "root", NULL), 0);
	tar_put_file(&theirs.tar, "roots", "x");
	assert_int_equal(apply_as_nobody(&theirs), EPERM);
}

static const char *const no_openat2[] = { "openat2" };

static int apply_under_deny(void *arg)
{
	return apply_layer(arg);
}

static void without_openat2_the_same_comes_out(void **state)
{
	auto_layer struct layer l = { 0 };

	needs_root();
	put_victims();
	tar_put_symlink(&l.tar, "way", sandbox_path("victims"));
	tar_put_file(&l.tar, "way/file", "inside");
	tar_put_file(&l.tar, "../../../victim", "inside");
	tar_put_symlink(&l.tar, "bin", "usr/bin");
	tar_put_file(&l.tar, "bin/tool", "t");
	tar_put_file(&l.tar, "bin/tool2", "t2");
	put_dir("root");
	if (under_deny(no_openat2, 1, apply_under_deny, &l))
		fail_msg("%s", l.err.text);
	assert_victims_are_well();
	assert_contents("root/victim", "inside");
	assert_contents("root/usr/bin/tool2", "t2");
}

static const struct CMUnitTest tests[] = {
	sandbox_test(every_type_comes_out_with_its_metadata),
	sandbox_test(setuid_survives_a_change_of_owner),
	sandbox_test(modes_are_exact_whatever_the_umask),
	sandbox_test(nothing_is_inherited_from_setgid_directories),
	sandbox_test(names_are_kept_byte_for_byte_in_a_utf8_program),
	sandbox_test(long_paths_work_up_to_the_limit),
	sandbox_test(names_of_255_bytes_are_legal_and_longer_ones_are_not),
	sandbox_test(directories_get_their_times_after_what_is_in_them),
	sandbox_test(sparse_files_keep_their_holes),
	sandbox_test(large_files_are_whole),
	sandbox_test(hard_links_share_an_inode_wherever_they_point),
	sandbox_test(hard_links_lead_to_any_type_but_directories),
	sandbox_test(a_hard_link_out_of_the_layer_needs_a_parent),
	sandbox_test(a_hard_link_to_itself_changes_nothing),
	sandbox_test(a_hard_link_replaces_what_has_its_name),
	sandbox_test(whiteouts_become_devices_of_the_entry_s_owner),
	sandbox_test(an_entry_wins_over_its_whiteout_in_either_order),
	sandbox_test(a_whiteout_and_a_directory_are_an_opaque_directory),
	sandbox_test(opaque_markers_count_wherever_they_stand),
	sandbox_test(an_opaque_root_hides_all_that_others_could_say),
	sandbox_test(user_xattrs_mark_where_asked_for),
	sandbox_test(aufs_leftovers_are_skipped),
	sandbox_test(impossible_whiteouts_are_refused),
	sandbox_test(a_device_0_0_in_the_tar_is_a_whiteout),
	sandbox_test(a_later_entry_replaces_an_earlier_one),
	sandbox_test(a_directory_over_a_directory_changes_metadata_only),
	sandbox_test(a_replaced_directory_takes_all_its_records_along),
	sandbox_test(a_replaced_symlink_leads_elsewhere_from_then_on),
	sandbox_test(a_renewed_directory_does_not_keep_old_files),
	sandbox_test(implied_directories_are_roots_and_named),
	sandbox_test(a_way_through_symlinks_is_made_where_they_lead),
	sandbox_test(dots_and_absolute_names_stay_inside),
	sandbox_test(dot_dot_as_a_name_is_refused),
	sandbox_test(nothing_is_written_through_a_symlink),
	sandbox_test(hard_links_never_leave_the_root),
	sandbox_test(the_root_stays_a_directory),
	sandbox_test(link_loops_end),
	sandbox_test(a_bomb_of_nested_directories_is_defused),
	sandbox_test(each_limit_has_its_own_words),
	sandbox_test(words_about_a_limit_of_linux_name_no_setting),
	sandbox_test(the_ratio_of_a_small_layer_does_not_matter),
	sandbox_test(implied_directories_count_against_the_limit),
	sandbox_test(a_bomb_stops_at_the_limit),
	sandbox_test(words_about_hostile_names_are_harmless),
	sandbox_test(kept_xattrs_are_set_and_others_counted),
	sandbox_test(of_an_xattr_that_stands_twice_the_last_counts),
	sandbox_test(xattrs_that_overlayfs_obeys_are_refused),
	sandbox_test(long_xattr_names_are_refused),
	sandbox_test(a_filesystem_without_xattrs_is_named),
	sandbox_test(digests_and_counts_are_those_of_the_bytes),
	sandbox_test(what_follows_the_archive_counts_into_the_diff_id),
	sandbox_test(an_empty_layer_is_legal),
	sandbox_test(every_cut_of_a_compressed_layer_is_seen),
	sandbox_test(a_cut_plain_layer_is_seen),
	sandbox_test(damage_after_the_last_entry_is_seen),
	sandbox_test(other_compressions_are_refused_by_name),
	sandbox_test(the_source_s_error_comes_through),
	sandbox_test(progress_is_told_and_cancelling_heard),
	sandbox_test(disk_bytes_are_what_du_says),
	sandbox_test(without_root_ones_own_files_can_be_made),
	sandbox_test(without_openat2_the_same_comes_out),
};

int main(void)
{
	int failed = cmocka_run_group_tests_name("apply", tests, sandbox_enter, sandbox_leave);

	threads = true;
	failed += cmocka_run_group_tests_name("apply with threads", tests, sandbox_enter,
					      sandbox_leave);
	with_contents = geteuid() == 0;
	return failed + cmocka_run_group_tests_name("apply with contents", tests, sandbox_enter,
						    sandbox_leave);
}
