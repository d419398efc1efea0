/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/same_contents.h"

#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>
#include "driver/base/auto.h"
#include "driver/base/digest.h"
#include "driver/contents.h"

#include <cmocka.h>

#define ENTRIES_MAX 20000

/* What was said of a path last. */
struct said {
	char *path;		     /* NULL: taken back */
	struct contents_entry entry; /* of a hard link: that of the file it was when it was said */
	size_t file;		     /* the same for all names of one file */
	ino_t ino;
	char *link;
	uint8_t sha256[CONTENTS_SHA256_LEN];
	size_t xattr_count;
	char *xattrs; /* name NUL length value, one after the other */
	size_t xattrs_len;
};

static struct said said[ENTRIES_MAX];
static size_t said_count;
static size_t in_tree;

static void forget(struct said *s)
{
	free(s->path);
	free(s->link);
	free(s->xattrs);
	memset(s, 0, sizeof(*s));
}

static bool is_beneath(const char *path, const char *top)
{
	size_t len = strlen(top);

	return !len || (!strncmp(path, top, len) && (path[len] == '/' || !path[len]));
}

static void keep_xattrs(struct said *s, const struct contents_entry *e)
{
	FILE *to = open_memstream(&s->xattrs, &s->xattrs_len);

	for (size_t i = 0; i < e->xattr_count; i++) {
		(void)fprintf(to, "%s%c%08zu:", e->xattrs[i].name, 0, e->xattrs[i].len);
		(void)fwrite(e->xattrs[i].value, 1, e->xattrs[i].len, to);
	}
	(void)fclose(to);
	s->xattr_count = e->xattr_count;
}

static struct said *find(const char *path)
{
	for (size_t i = 0; i < said_count; i++) {
		if (said[i].path && !strcmp(said[i].path, path))
			return &said[i];
	}
	return NULL;
}

/* Another name of what is known. */
static void hear_hardlink(struct said *s, const struct contents_entry *e)
{
	const struct said *of = find(e->link);

	if (!of) {
		fail_msg("%s is said to be %s, of which nothing was said", e->path, e->link);
		return;
	}
	*s = *of;
	s->path = strdup(e->path);
	s->link = of->link ? strdup(of->link) : NULL;
	s->xattrs = malloc(of->xattrs_len + 1);
	memcpy(s->xattrs, of->xattrs, of->xattrs_len);
}

static void hear(const struct contents_entry *e)
{
	struct said *s = &said[said_count];

	assert_true(said_count < ENTRIES_MAX);
	memset(s, 0, sizeof(*s));
	if (e->type == CONTENTS_HARDLINK)
		hear_hardlink(s, e);
	for (size_t i = 0; i < said_count; i++) {
		if (said[i].path &&
		    (e->type == CONTENTS_REMOVED ? is_beneath(said[i].path, e->path) :
						   !strcmp(said[i].path, e->path)))
			forget(&said[i]);
	}
	if (e->type == CONTENTS_REMOVED)
		return;
	said_count++;
	if (e->type == CONTENTS_HARDLINK)
		return;
	s->path = strdup(e->path);
	s->entry = *e;
	s->file = said_count;
	s->link = e->link ? strdup(e->link) : NULL;
	if (e->sha256)
		memcpy(s->sha256, e->sha256, sizeof(s->sha256));
	keep_xattrs(s, e);
}

/* ---- against the tree ---- */

static void check_file(const char *at, const struct said *s, const struct stat *st)
{
	auto_close int fd = open(at, O_RDONLY | O_NOFOLLOW | O_NOATIME);
	auto_free char *data = malloc((size_t)st->st_size + 1);
	struct digest expected, got;

	assert_true(S_ISREG(st->st_mode));
	assert_int_equal(st->st_size, s->entry.size);
	if (!s->entry.sha256)
		return;
	assert_int_equal(read(fd, data, (size_t)st->st_size), st->st_size);
	assert_int_equal(digest_of("sha256", data, (size_t)st->st_size, &expected, NULL), 0);
	digest_from_raw("sha256", s->sha256, sizeof(s->sha256), &got);
	assert_string_equal(got.text, expected.text);
}

static void check_xattrs(const char *at, const struct said *s)
{
	const char *next = s->xattrs;
	char names[65536], value[65536];
	ssize_t len = llistxattr(at, names, sizeof(names));
	size_t count = 0;

	for (ssize_t i = 0; i < len; i += (ssize_t)strlen(names + i) + 1)
		count += strncmp(names + i, "trusted.overlay.", 16) != 0 &&
			 strncmp(names + i, "user.overlay.", 13) != 0 &&
			 strcmp(names + i, "security.selinux") != 0;
	assert_int_equal(count, s->xattr_count);
	for (size_t i = 0; i < s->xattr_count; i++) {
		const char *name = next;
		size_t size = strtoul(name + strlen(name) + 1, NULL, 10);

		next = name + strlen(name) + 1 + 9 + size;
		assert_int_equal(lgetxattr(at, name, value, sizeof(value)), size);
		assert_memory_equal(value, next - size, size);
	}
}

static bool is_opaque(const char *at)
{
	char value[8];

	return lgetxattr(at, "trusted.overlay.opaque", value, sizeof(value)) == 1 ||
	       lgetxattr(at, "user.overlay.opaque", value, sizeof(value)) == 1;
}

static void check_type(const char *at, const struct said *s, const struct stat *st)
{
	static const mode_t types[] = {
		[CONTENTS_FILE] = S_IFREG, [CONTENTS_DIR] = S_IFDIR,   [CONTENTS_LINK] = S_IFLNK,
		[CONTENTS_CHAR] = S_IFCHR, [CONTENTS_BLOCK] = S_IFBLK, [CONTENTS_FIFO] = S_IFIFO,
	};
	char target[4096] = "";

	assert_int_equal(st->st_mode & S_IFMT, types[s->entry.type]);
	if (s->entry.type == CONTENTS_FILE)
		check_file(at, s, st);
	if (s->entry.type == CONTENTS_LINK) {
		assert_true(readlink(at, target, sizeof(target) - 1) > 0);
		assert_string_equal(target, s->link);
	}
	if (S_ISCHR(st->st_mode) || S_ISBLK(st->st_mode)) {
		assert_int_equal(major(st->st_rdev), s->entry.dev_major);
		assert_int_equal(minor(st->st_rdev), s->entry.dev_minor);
	}
	if (S_ISDIR(st->st_mode))
		assert_int_equal(is_opaque(at), s->entry.opaque);
}

/* Names of one file are one inode, and others are not. */
static void check_names(const struct said *s)
{
	for (const struct said *other = said; other < s; other++) {
		if (other->path && (other->file == s->file) != (other->ino == s->ino))
			fail_msg("%s and %s: one file, or two?", other->path, s->path);
	}
}

/* In the tree's root. */
static void check(struct said *s)
{
	const char *at = *s->path ? s->path : ".";
	struct stat st;

	if (lstat(at, &st) < 0)
		fail_msg("%s is said to be there", at);
	s->ino = st.st_ino;
	check_names(s);
	check_type(at, s, &st);
	if (s->entry.type != CONTENTS_LINK)
		assert_int_equal(st.st_mode & 07777, s->entry.mode);
	assert_int_equal(st.st_uid, s->entry.uid);
	assert_int_equal(st.st_gid, s->entry.gid);
	assert_int_equal(st.st_mtim.tv_sec, s->entry.mtime.tv_sec);
	assert_int_equal(st.st_mtim.tv_nsec, s->entry.mtime.tv_nsec);
	check_xattrs(at, s);
}

static int count_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	in_tree++;
	return 0;
}

void assert_same_contents(int contents_fd, const char *root)
{
	auto_close int before = open(".", O_RDONLY | O_DIRECTORY);
	struct contents_reader *reader = NULL;
	const struct contents_entry *e;
	struct err err = { 0 };
	size_t count = 0;
	int r;

	said_count = 0;
	in_tree = 0;
	assert_int_equal(contents_reader_open(contents_fd, &reader, &err), 0);
	while ((r = contents_next(reader, &e, &err)) == 1)
		hear(e);
	if (r < 0)
		fail_msg("%s", err.text);
	contents_reader_freep(&reader);
	assert_int_equal(chdir(root), 0);
	for (size_t i = 0; i < said_count; i++) {
		if (!said[i].path)
			continue;
		check(&said[i]);
		count++;
	}
	for (size_t i = 0; i < said_count; i++)
		forget(&said[i]);
	assert_int_equal(nftw(".", count_one, 64, FTW_PHYS | FTW_CHDIR), 0);
	assert_int_equal(fchdir(before), 0);
	assert_int_equal(in_tree, count);
}
