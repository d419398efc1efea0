/* SPDX-License-Identifier: Apache-2.0 */
/* overlaid_snapshot_changes, _export and _diff_size (graph/difference.c), beside two mounts compared by hand. */
#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "driver/base/auto.h"
#include "driver/tree.h"
#include "graph/handle.h"
#include "tests/unit/kit.h"
#include "tests/unit/sandbox.h"
#include "tests/unit/snaps.h"
#include "tests/unit/util.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#define SCOPE SNAPS_SCOPE

static const struct overlaid_maps mapped = { "0:100000:65536", "0:200000:65536" };

/* ---- what is told ---- */

static struct overlaid_diff diff_of(const char *key, const char *parent,
				    const struct overlaid_maps *maps)
{
	struct overlaid_diff d = { .scope = SCOPE, .key = key, .parent = parent };

	if (maps)
		d.maps = *maps;
	return d;
}

static int note_change(void *arg, enum overlaid_change change, const char *path)
{
	static const char letters[] = {
		[OVERLAID_CHANGED] = 'C', [OVERLAID_ADDED] = 'A', [OVERLAID_DELETED] = 'D'
	};

	(void)buf_printf(arg, "%c %s\n", letters[change], path);
	return 0;
}

static void changes(const char *key, const char *parent, const struct overlaid_maps *maps,
		    struct buf *ret)
{
	const struct overlaid_diff d = diff_of(key, parent, maps);
	struct err err = { 0 };

	good(overlaid_snapshot_changes(snaps, &d, note_change, ret, &err), &err);
}

static uint64_t size(const char *key, const char *parent, const struct overlaid_maps *maps)
{
	const struct overlaid_diff d = diff_of(key, parent, maps);
	struct err err = { 0 };
	uint64_t bytes = 0;

	good(overlaid_snapshot_diff_size(snaps, &d, &bytes, &err), &err);
	return bytes;
}

static int write_tar(void *arg, const void *bytes, size_t len, struct err *err)
{
	return buf_append(arg, bytes, len);
}

static void export_of(const char *key, const char *parent, const struct overlaid_maps *maps,
		      struct buf *ret)
{
	const struct overlaid_diff d = diff_of(key, parent, maps);
	struct err err = { 0 };

	good(overlaid_snapshot_export(snaps, &d, write_tar, ret, &err), &err);
}

/* ---- by hand ---- */

struct hand {
	struct buf text;
	uint64_t bytes;
	ino_t counted[100];
	size_t counted_count;
};

static bool same_capability(const char *a, const char *b)
{
	char of_a[64], of_b[64];
	ssize_t a_len = lgetxattr(a, "security.capability", of_a, sizeof(of_a));
	ssize_t b_len = lgetxattr(b, "security.capability", of_b, sizeof(of_b));

	return a_len == b_len && (a_len < 0 || memcmp(of_a, of_b, (size_t)a_len) == 0);
}

static bool same(const char *new, const char *old)
{
	struct stat a = look(new), b = look(old);
	bool nanoseconds = a.st_mtim.tv_nsec && b.st_mtim.tv_nsec;

	if (a.st_mode != b.st_mode || a.st_uid != b.st_uid || a.st_gid != b.st_gid ||
	    a.st_rdev != b.st_rdev || !same_capability(new, old))
		return false;
	return S_ISDIR(a.st_mode) ||
	       (a.st_size == b.st_size && a.st_mtim.tv_sec == b.st_mtim.tv_sec &&
		(!nanoseconds || a.st_mtim.tv_nsec == b.st_mtim.tv_nsec));
}

static void count_bytes(struct hand *h, const char *path)
{
	struct stat st = look(path);

	if (S_ISDIR(st.st_mode))
		return;
	for (size_t i = 0; i < h->counted_count; i++)
		if (st.st_nlink > 1 && h->counted[i] == st.st_ino)
			return;
	assert_true(h->counted_count < ARRAY_LEN(h->counted));
	h->counted[h->counted_count++] = st.st_ino;
	h->bytes += (uint64_t)st.st_size;
}

static bool is_dir(const char *path)
{
	struct stat st;

	return lstat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

/* Names of both, sorted, each once. */
static size_t names_of(const char *new, const char *old, char names[100][256])
{
	const char *const dirs[] = { new, old };
	size_t used = 0;

	for (size_t i = 0; i < 2; i++) {
		struct dirent **list = NULL;
		int found = is_dir(dirs[i]) ? scandir(dirs[i], &list, NULL, NULL) : 0;

		for (int k = 0; k < found; k++) {
			bool known = list[k]->d_name[0] == '.' &&
				     strspn(list[k]->d_name, ".") == strlen(list[k]->d_name);

			for (size_t n = 0; n < used; n++)
				known = known || strcmp(names[n], list[k]->d_name) == 0;
			if (!known)
				(void)snprintf(names[used++], 256, "%s", list[k]->d_name);
			assert_true(used < 100);
			free(list[k]);
		}
		free(list);
	}
	qsort(names, used, 256, (int (*)(const void *, const void *))strcmp);
	return used;
}

static void compare_dirs(struct hand *h, const char *new, const char *old, const char *path);

static void compare_name(struct hand *h, const char *new, const char *old, const char *path)
{
	auto_buf struct buf before = { .max = 0 };
	size_t len;
	bool own;

	if (!exists(new)) {
		(void)buf_printf(&h->text, "D %s\n", path);
		return;
	}
	if (!exists(old)) {
		(void)buf_printf(&h->text, "A %s\n", path);
		count_bytes(h, new);
		compare_dirs(h, new, "", path);
		return;
	}
	own = !same(new, old);
	if (own)
		count_bytes(h, new);
	(void)buf_append(&before, buf_text(&h->text), h->text.len);
	len = h->text.len;
	(void)buf_printf(&h->text, "C %s\n", path);
	if (is_dir(new)) {
		size_t with = h->text.len;

		compare_dirs(h, new, is_dir(old) ? old : "", path);
		own = own || h->text.len > with;
	}
	if (!own)
		h->text.len = len;
}

static void compare_dirs(struct hand *h, const char *new, const char *old, const char *path)
{
	char names[100][256], of_new[1000], of_old[1000], below[1000];
	size_t used = is_dir(new) ? names_of(new, old, names) : 0;

	for (size_t i = 0; i < used; i++) {
		(void)snprintf(of_new, sizeof(of_new), "%.600s/%s", new, names[i]);
		(void)snprintf(of_old, sizeof(of_old), "%.600s/%s", old, names[i]);
		(void)snprintf(below, sizeof(below), "%.600s/%s", path, names[i]);
		compare_name(h, of_new, old[0] ? of_old : "", below);
	}
}

/* What the library says of the two is what their mounts say. */
static void assert_as_by_hand(const char *key, const char *parent, const struct overlaid_maps *maps)
{
	auto_buf struct buf told = { .max = 0 };
	struct hand h = { .bytes = 0 };
	char *text;

	changes(key, parent, maps, &told);
	snaps_attach(key, "hand-new", maps);
	if (parent[0])
		snaps_attach(parent, "hand-old", maps);
	compare_dirs(&h, "hand-new", parent[0] ? "hand-old" : "", "");
	text = strndup(buf_text(&h.text), h.text.len);
	buf_release(&h.text);
	assert_string_equal(buf_text(&told), text);
	free(text);
	/* The size of a tree over its own parent has what was copied up in it, changed or not: quiet/file. */
	if (strcmp(key, "mid") == 0 && strcmp(parent, "base") == 0)
		h.bytes += strlen("quiet");
	assert_int_equal(size(key, parent, maps), h.bytes);
	snaps_detach("hand-new");
	snaps_detach("hand-old");
}

/* The tar of the changes over the parent is the snapshot. */
static void assert_tar_is(const char *key, const char *parent, const struct overlaid_maps *maps)
{
	auto_buf struct buf tar = { .max = 0 }, told = { .max = 0 };
	struct memory memory;
	struct err err = { 0 };
	uint64_t bytes = 0;

	export_of(key, parent, maps, &tar);
	memory = (struct memory){ .data = tar.data, .len = tar.len };
	snaps_prepare("again", parent);
	good(overlaid_snapshot_fill(snaps, SCOPE, "again", maps, memory_read, &memory, &bytes,
				    &err),
	     &err);
	assert_int_equal(bytes, size("again", parent, maps));
	changes("again", key, maps, &told);
	assert_string_equal(buf_text(&told), "");
	changes(key, "again", maps, &told);
	assert_string_equal(buf_text(&told), "");
	assert_int_equal(snaps_remove("again"), 0);
}

/* ---- a family ---- */

static void put_base(struct buf *tar)
{
	static const unsigned char capability[20] = { 0, 0, 0, 2, 0, 4 };

	tar_put_dir(tar, "./");
	tar_put_dir(tar, "dir/");
	tar_put_file(tar, "dir/kept", "kept");
	tar_put_file(tar, "dir/gone", "gone");
	tar_put_file(tar, "dir/changed", "old");
	tar_put_dir(tar, "dir/deep/");
	tar_put_file(tar, "dir/deep/file", "deep");
	tar_put_dir(tar, "old/");
	tar_put_file(tar, "old/file", "old");
	tar_put_dir(tar, "quiet/");
	tar_put_file(tar, "quiet/file", "quiet");
	tar_put_file(tar, "becomes-dir", "file");
	tar_put_dir(tar, "becomes-file/");
	tar_put_file(tar, "becomes-file/x", "x");
	tar_put_symlink(tar, "symlink", "dir/kept");
	tar_put_file(tar, "linked", "0123456789");
	tar_put_hardlink(tar, "linked2", "linked");
	tar_put_pax("SCHILY.xattr.security.capability", capability, sizeof(capability));
	tar_put_file(tar, "capable", "cap");
	tar_put(tar, &(struct tar_spec){ .name = "users",
					 .type = '0',
					 .mode = 0644,
					 .uid = 7,
					 .gid = 8,
					 .mtime = 5,
					 .size = 2,
					 .data = "us" });
	tar_put_end(tar);
}

/* Changes of all kinds in what is mounted at `at`. */
static void change_things(const char *at)
{
	assert_int_equal(chdir(at), 0);
	put_file("dir/changed", "newer");
	assert_int_equal(unlink("dir/gone"), 0);
	put_file("dir/deep/added", "added");
	assert_int_equal(tree_remove_at(AT_FDCWD, "old", NULL), 0);
	assert_int_equal(unlink("becomes-dir"), 0);
	put_file("becomes-dir/in/it", "1");
	assert_int_equal(tree_remove_at(AT_FDCWD, "becomes-file", NULL), 0);
	put_file("becomes-file", "a file");
	assert_int_equal(unlink("symlink"), 0);
	assert_int_equal(symlink("elsewhere", "symlink"), 0);
	assert_int_equal(removexattr("capable", "security.capability"), 0);
	assert_int_equal(chown("users", 9, 10), 0);
	put_file("first", "twice");
	assert_int_equal(link("first", "second"), 0);
	assert_int_equal(mkfifo("fifo", 0600), 0);
	/* Nothing of this is a change. */
	set_mtime("quiet", 99, 0);
	assert_int_equal(chmod("quiet/file", 0600), 0);
	assert_int_equal(chmod("quiet/file", 0644), 0);
	assert_int_equal(chdir(sandbox_root()), 0);
}

static void change_more(const char *at)
{
	assert_int_equal(chdir(at), 0);
	put_file("dir/changed", "a third time");
	put_file("old/again", "again");
	assert_int_equal(unlink("second"), 0);
	assert_int_equal(chmod("dir/deep", 0700), 0);
	assert_int_equal(chdir(sandbox_root()), 0);
}

static int give_to_mapped(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return st->st_uid >= 100000 ? 0 : lchown(path, 100000 + st->st_uid, 200000 + st->st_gid);
}

/* Changes what is mounted; what the maps' root would have made is its own. */
static void change(const char *key, void (*things)(const char *at),
		   const struct overlaid_maps *maps)
{
	snaps_attach(key, "m", maps);
	things("m");
	if (maps)
		assert_int_equal(nftw("m", give_to_mapped, 20, FTW_PHYS), 0);
	snaps_detach("m");
}

/* base, filled; mid, which was written to, over it; fill, over that; top, active. */
static void family(const struct overlaid_maps *maps)
{
	auto_buf struct buf base = { .max = 0 }, fill = { .max = 0 };
	struct memory memory;
	struct err err = { 0 };
	uint64_t bytes;

	put_base(&base);
	snaps_layer("base", "", &base);
	snaps_prepare("mid", "base");
	change("mid", change_things, maps);
	snaps_prepare("fill", "mid");
	tar_put_file(&fill, "filled", "of a tar");
	tar_put_file(&fill, ".wh.fifo", "");
	tar_put_end(&fill);
	memory = (struct memory){ .data = fill.data, .len = fill.len };
	good(overlaid_snapshot_fill(snaps, SCOPE, "fill", maps, memory_read, &memory, &bytes, &err),
	     &err);
	snaps_prepare("top", "fill");
	change("top", change_more, maps);
}

static const char *const members[] = { "base", "mid", "fill", "top", "" };

static void a_written_one_and_its_parent(void **state)
{
	auto_buf struct buf told = { .max = 0 };

	needs_root();
	family(NULL);
	changes("mid", "base", NULL, &told);
	assert_string_equal(buf_text(&told), "C /becomes-dir\nA /becomes-dir/in\n"
					     "A /becomes-dir/in/it\nC /becomes-file\nC /capable\n"
					     "C /dir\nC /dir/changed\nC /dir/deep\n"
					     "A /dir/deep/added\nD /dir/gone\nA /fifo\nA /first\n"
					     "D /old\nA /second\nC /symlink\nC /users\n");
	/* it, becomes-file, capable, changed, added, first, symlink, users; and quiet/file, which its tree has. */
	assert_int_equal(size("mid", "base", NULL), 1 + 6 + 3 + 5 + 5 + 5 + 9 + 2 + 5);
	assert_as_by_hand("top", "fill", NULL);
}

static void compare_all(const struct overlaid_maps *maps)
{
	family(maps);
	for (size_t i = 0; i < 4; i++)
		for (size_t k = 0; k < ARRAY_LEN(members); k++)
			assert_as_by_hand(members[i], members[k], maps);
}

static void any_two_are_compared(void **state)
{
	needs_root();
	compare_all(NULL);
}

static void any_two_are_compared_by_maps(void **state)
{
	needs_root();
	compare_all(&mapped);
}

static void tars_of_any_two_make_the_one_of_the_other(void **state)
{
	needs_root();
	family(NULL);
	for (size_t i = 0; i < 4; i++)
		for (size_t k = 0; k < ARRAY_LEN(members); k++) {
			/* Also backwards: what a parent has over its child. An active one would be settled by that. */
			if (strcmp(members[k], "top") != 0)
				assert_tar_is(members[i], members[k], NULL);
		}
}

static void tars_have_the_ids_inside(void **state)
{
	auto_buf struct buf tar = { .max = 0 };

	needs_root();
	family(&mapped);
	export_of("base", "", &mapped, &tar);
	snaps_layer("copy", "", &tar);
	assert_int_equal(look(snaps_top("copy", "/users")).st_uid, 7);
	assert_int_equal(look(snaps_top("copy", "/users")).st_gid, 8);
	for (size_t i = 0; i < 4; i++)
		for (size_t k = 0; k < ARRAY_LEN(members); k++)
			if (strcmp(members[k], "top") != 0)
				assert_tar_is(members[i], members[k], &mapped);
}

/* Which the kernel shows to nobody who has it not in his map (EOVERFLOW). */
static void a_capability_of_a_root_that_is_not_mapped_is_none(void **state)
{
	static const unsigned char capability[24] = { 1, 0, 0, 3, 1, [20] = 0x70, 0x11, 1 };
	auto_buf struct buf tar = { .max = 0 }, told = { .max = 0 };

	needs_root();
	tar_put_pax("SCHILY.xattr.security.capability", capability, sizeof(capability));
	tar_put_file(&tar, "capable", "1");
	tar_put_end(&tar);
	snaps_layer("base", "", &tar);
	assert_int_equal(getxattr(snaps_top("base", "/capable"), "security.capability", NULL, 0),
			 sizeof(capability));
	snaps_prepare("a", "base");
	snaps_attach("a", "m", &mapped);
	assert_int_equal(getxattr("m/capable", "security.capability", NULL, 0), -1);
	assert_int_equal(errno, EOVERFLOW);
	snaps_detach("m");
	changes("a", "base", &mapped, &told);
	assert_string_equal(buf_text(&told), "");
	buf_release(&tar);
	export_of("a", "", &mapped, &tar);
	snaps_layer("again", "", &tar);
	assert_no_xattr(snaps_top("again", "/capable"), "security.capability");
}

static void one_that_is_mounted_is_compared(void **state)
{
	auto_buf struct buf told = { .max = 0 }, parents = { .max = 0 };

	needs_root();
	family(NULL);
	snaps_attach("top", "t", NULL);
	put_file("t/mounted", "1");
	changes("top", "fill", NULL, &told);
	assert_non_null(strstr(buf_text(&told), "A /mounted\n"));
	buf_release(&told);
	changes("top", "base", NULL, &told);
	assert_non_null(strstr(buf_text(&told), "A /mounted\n"));
	/* It is as it was for who has it. */
	assert_contents("t/mounted", "1");
	put_file("t/after", "1");
	changes("fill", "mid", NULL, &parents);
	assert_string_equal(buf_text(&parents), "D /fifo\nA /filled\n");
}

static void one_without_a_parent_is_all_added(void **state)
{
	auto_buf struct buf told = { .max = 0 };

	snaps_prepare("a", "");
	changes("a", "", NULL, &told);
	assert_string_equal(buf_text(&told), "");
	assert_int_equal(size("a", "", NULL), 0);
	put_file(snaps_own("a", "/dir/file"), "12345");
	changes("a", "", NULL, &told);
	assert_string_equal(buf_text(&told), "A /dir\nA /dir/file\n");
	assert_int_equal(size("a", "", NULL), 5);
	needs_root();
	assert_tar_is("a", "", NULL);
}

static void equal_ones_do_not_differ(void **state)
{
	auto_buf struct buf told = { .max = 0 }, tar = { .max = 0 };

	needs_root();
	family(NULL);
	for (size_t i = 0; i < 4; i++) {
		changes(members[i], members[i], NULL, &told);
		assert_int_equal(size(members[i], members[i], NULL), 0);
	}
	assert_string_equal(buf_text(&told), "");
	export_of("top", "top", NULL, &tar);
	assert_int_equal(tar.len, 1024);
}

static void a_filled_ones_size_is_what_the_fill_said(void **state)
{
	auto_buf struct buf tar = { .max = 0 };
	struct err err = { 0 };
	uint64_t bytes = 0;

	put_base(&tar);
	snaps_prepare("a", "");
	good(snaps_fill(snaps, SCOPE, "a", &tar, &bytes, &err), &err);
	assert_int_equal(size("a", "", NULL), bytes);
	snaps_prepare("b", "a");
	good(snaps_fill(snaps, SCOPE, "b", &tar, &bytes, &err), &err);
	assert_int_equal(size("b", "a", NULL), bytes);
	/* The same again adds nothing. */
	needs_root();
	assert_as_by_hand("b", "", NULL);
}

static int end(void *arg, enum overlaid_change change, const char *path)
{
	return ++*(int *)arg == 2 ? 42 : 0;
}

static int refuse(void *arg, const void *bytes, size_t len, struct err *err)
{
	(void)snprintf(err->text, sizeof(err->text), "nobody reads");
	return -EPIPE;
}

static void who_is_told_may_end_it(void **state)
{
	const struct overlaid_diff d = diff_of("a", "", NULL);
	auto_buf struct buf tar = { .max = 0 };
	struct err err = { 0 };
	int calls = 0;

	put_base(&tar);
	snaps_layer("a", "", &tar);
	assert_int_equal(overlaid_snapshot_changes(snaps, &d, end, &calls, &err), 42);
	assert_int_equal(calls, 2);
	assert_int_equal(overlaid_snapshot_export(snaps, &d, refuse, NULL, &err), -EPIPE);
	assert_words(&err, "nobody reads");
}

static void what_is_not_there_is_not_compared(void **state)
{
	const struct overlaid_diff pairs[] = { diff_of("none", "", NULL),
					       diff_of("a", "none", NULL) };
	auto_buf struct buf text = { .max = 0 };
	struct err err = { 0 };
	uint64_t bytes = 5;

	snaps_prepare("a", "");
	for (size_t i = 0; i < ARRAY_LEN(pairs); i++) {
		const struct overlaid_diff *d = &pairs[i];

		assert_int_equal(overlaid_snapshot_changes(snaps, d, note_change, &text, &err),
				 -ENOENT);
		assert_words(&err, "\"none\"");
		assert_int_equal(overlaid_snapshot_export(snaps, d, write_tar, &text, &err),
				 -ENOENT);
		assert_int_equal(overlaid_snapshot_diff_size(snaps, d, &bytes, &err), -ENOENT);
	}
	assert_int_equal(bytes, 5);
	assert_int_equal(text.len, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		snaps_test(a_written_one_and_its_parent),
		snaps_test(any_two_are_compared),
		snaps_test(any_two_are_compared_by_maps),
		snaps_test(tars_of_any_two_make_the_one_of_the_other),
		snaps_test(tars_have_the_ids_inside),
		snaps_test(a_capability_of_a_root_that_is_not_mapped_is_none),
		snaps_test(one_that_is_mounted_is_compared),
		snaps_test(one_without_a_parent_is_all_added),
		snaps_test(equal_ones_do_not_differ),
		snaps_test(a_filled_ones_size_is_what_the_fill_said),
		snaps_test(who_is_told_may_end_it),
		snaps_test(what_is_not_there_is_not_compared),
	};

	return cmocka_run_group_tests_name("difference", tests, sandbox_enter, sandbox_leave);
}
