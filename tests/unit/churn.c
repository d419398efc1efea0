/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/churn.h"

#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/xattr.h>
#include <cmocka.h>

#include "driver/base/fd.h"
#include "driver/base/sys.h"
#include "driver/mount.h"
#include "driver/tree.h"
#include "tests/unit/sandbox.h"

uint32_t churn_random(struct churn *c, uint32_t below)
{
	c->state ^= c->state << 13;
	c->state ^= c->state >> 7;
	c->state ^= c->state << 17;
	return (uint32_t)(c->state >> 32) % below;
}

/* ---- operations, in s/new; each may fail ---- */

static bool is_dir(const char *path)
{
	struct stat st;

	return lstat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

/* Few names, so that they meet again, mostly in directories that are there. */
static void pick_path(struct churn *c, char path[64])
{
	static const char *const names[] = { "a", "b", "c", "d.x", "new\nline", "\xff", "zz" };
	static const uint32_t depths[] = { 1, 2, 2, 3, 3, 3, 4, 4 };
	uint32_t parts = depths[churn_random(c, ARRAY_LEN(depths))];

	(void)snprintf(path, 64, "s/new");
	for (uint32_t i = 0; i < parts && is_dir(path); i++) {
		size_t len = strlen(path);

		(void)snprintf(path + len, 64 - len, "/%s",
			       names[churn_random(c, ARRAY_LEN(names))]);
	}
}

static bool set_time(struct churn *c, const char *path)
{
	static const struct timespec times[] = {
		{ 1700000000, 0 }, { 1700000000, 5 }, { 1700000000, 6 }, { 1600000000, 0 }
	};
	const struct timespec *time = &times[churn_random(c, ARRAY_LEN(times))];

	return utimensat(AT_FDCWD, path, (const struct timespec[2]){ *time, *time },
			 AT_SYMLINK_NOFOLLOW) == 0;
}

static bool make_dir(struct churn *c, const char *path)
{
	return mkdir(path, 0755) == 0;
}

/* Files of one size have the same contents: moby's rules see no other difference. */
static bool write_file(struct churn *c, const char *path)
{
	auto_close int fd = open(path,
				 O_WRONLY | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC |
					 (churn_random(c, 2) ? O_TRUNC : 0),
				 0644);

	return fd >= 0 && write_full(fd, "the same bytes", churn_random(c, 15)) == 0 &&
	       set_time(c, path);
}

static bool change_mode(struct churn *c, const char *path)
{
	static const mode_t modes[] = { 0755, 0644, 04755, 01777, 0 };
	struct stat st;

	return lstat(path, &st) == 0 && !S_ISLNK(st.st_mode) &&
	       chmod(path, modes[churn_random(c, ARRAY_LEN(modes))]) == 0;
}

static bool change_owner(struct churn *c, const char *path)
{
	static const uint32_t ids[] = { 0, 1000, 3000000 };

	return lchown(path, ids[churn_random(c, 3)], ids[churn_random(c, 3)]) == 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return remove(path);
}

/* As rm -r does it. */
static bool remove_it(struct churn *c, const char *path)
{
	return exists(path) && nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS) == 0;
}

static bool replace_by_dir(struct churn *c, const char *path)
{
	return remove_it(c, path) && make_dir(c, path);
}

/* As before, but for what is missing. */
static bool remake_dir(struct churn *c, const char *path)
{
	static const char *const dirs[] = { "a", "a/b", "b", "b/a" };
	char inner[80];

	if (!replace_by_dir(c, path))
		return false;
	for (size_t i = 0; i < ARRAY_LEN(dirs); i++) {
		(void)snprintf(inner, sizeof(inner), "%s/%s", path, dirs[i]);
		if (churn_random(c, 4))
			(void)make_dir(c, inner);
		(void)snprintf(inner, sizeof(inner), "%s/%s/c", path, dirs[i]);
		if (churn_random(c, 2))
			(void)write_file(c, inner);
	}
	return true;
}

static bool replace_by_file(struct churn *c, const char *path)
{
	return remove_it(c, path) && write_file(c, path);
}

static bool rename_it(struct churn *c, const char *path)
{
	char to[64];

	pick_path(c, to);
	return rename(path, to) == 0;
}

static bool link_it(struct churn *c, const char *path)
{
	char to[64];

	pick_path(c, to);
	return link(path, to) == 0;
}

static bool make_symlink(struct churn *c, const char *path)
{
	static const char *const targets[] = { "a", "b", "/etc/passwd" };

	return symlink(targets[churn_random(c, 3)], path) == 0 && set_time(c, path);
}

static bool make_node(struct churn *c, const char *path)
{
	static const mode_t types[] = { S_IFIFO, S_IFCHR, S_IFBLK, S_IFSOCK };

	return mknod(path, types[churn_random(c, 4)] | 0600, makedev(1, churn_random(c, 3) + 1)) ==
		       0 &&
	       set_time(c, path);
}

static bool set_user_xattr(struct churn *c, const char *path)
{
	char value = (char)churn_random(c, 256);

	return lsetxattr(path, "user.test", &value, churn_random(c, 2), 0) == 0 &&
	       set_time(c, path);
}

/* A version 2 capability with one of three sets. */
static bool set_capability(struct churn *c, const char *path)
{
	unsigned char value[20] = { 0, 0, 0, 2, (unsigned char)churn_random(c, 3) };
	struct stat st;

	return lstat(path, &st) == 0 && (S_ISREG(st.st_mode) || S_ISDIR(st.st_mode)) &&
	       setxattr(path, "security.capability", value, sizeof(value), 0) == 0;
}

/* More of what is wanted more often. */
static bool (*const operations[])(struct churn *c, const char *path) = {
	make_dir,	make_dir,	make_dir,	 write_file,	 write_file, write_file,
	write_file,	set_time,	change_mode,	 change_owner,	 remove_it,  remove_it,
	replace_by_dir, replace_by_dir, replace_by_file, rename_it,	 rename_it,  link_it,
	make_symlink,	make_node,	set_user_xattr,	 set_capability, remake_dir, remake_dir,
};

/* ---- stacks ---- */

static void layer_path(char path[16], size_t layer)
{
	(void)snprintf(path, 16, "s/%zu", layer);
}

static void add_lowers(struct overlay_plan *plan, size_t from, size_t to)
{
	static const char *const pads[] = { "s/pad0", "s/pad1" };
	char path[16];

	for (size_t i = from; i <= to; i++) {
		layer_path(path, i);
		add_lower(plan, path);
	}
	for (size_t i = 0; i < ARRAY_LEN(pads) && overlay_plan_missing_lowers(plan); i++)
		add_lower(plan, pads[i]);
}

static void mount_plan(const struct overlay_plan *plan, const char *target)
{
	struct err err = { 0 };

	put_dir(target);
	if (mount_overlay(plan, sandbox_path(target), NULL, &err) < 0)
		fail_msg("%s", err.text);
}

static void churn_layer(struct churn *c, size_t layer, size_t operations_wanted)
{
	auto_overlay_plan struct overlay_plan plan = OVERLAY_PLAN_INIT;
	char path[64], work[32];

	layer_path(path, layer);
	(void)snprintf(work, sizeof(work), "s/work%zu", layer);
	set_upper(&plan, path, work);
	add_lowers(&plan, layer + 1, c->lowers);
	plan.flags = OVERLAY_VOLATILE;
	mount_plan(&plan, "s/new");
	for (size_t i = 0; i < operations_wanted; i++) {
		pick_path(c, path);
		c->done += operations[churn_random(c, ARRAY_LEN(operations))](c, path);
	}
	churn_unmount();
}

void churn_stack(struct churn *c, size_t operations_wanted)
{
	assert_int_equal(tree_remove_at(AT_FDCWD, "s", NULL), 0);
	put_dir("s");
	c->lowers = 1 + churn_random(c, CHURN_LAYERS_MAX - 1);
	for (size_t i = c->lowers + 1; i-- > 0;)
		churn_layer(c, i, 1 + churn_random(c, operations_wanted));
}

void churn_mount(const struct churn *c, const char *top, int *ret_new_fd, int *ret_old_fd)
{
	auto_overlay_plan struct overlay_plan new_plan = OVERLAY_PLAN_INIT;
	auto_overlay_plan struct overlay_plan old_plan = OVERLAY_PLAN_INIT;

	if (top)
		add_lower(&new_plan, top);
	add_lowers(&new_plan, top ? 1 : 0, c->lowers);
	add_lowers(&old_plan, 1, c->lowers);
	mount_plan(&new_plan, "s/new");
	mount_plan(&old_plan, "s/old");
	*ret_new_fd = open_dir("s/new", O_RDONLY);
	*ret_old_fd = open_dir("s/old", O_RDONLY);
}

void churn_unmount(void)
{
	(void)sys_umount(sandbox_path("s/new"), MNT_DETACH);
	(void)sys_umount(sandbox_path("s/old"), MNT_DETACH);
}

void churn_open_lowers(const struct churn *c, int fds[CHURN_LAYERS_MAX])
{
	char path[16];

	for (size_t i = 1; i <= c->lowers; i++) {
		layer_path(path, i);
		fds[i - 1] = open_dir(path, O_PATH);
	}
}

/* ---- listings ---- */

static void list_xattr(const char *path, const char *name, struct buf *to)
{
	unsigned char value[64];
	ssize_t len = lgetxattr(path, name, value, sizeof(value));

	if (len < 0)
		return;
	(void)buf_printf(to, " %s=", name);
	for (ssize_t i = 0; i < len; i++)
		(void)buf_printf(to, "%02x", value[i]);
}

static void list_xattrs(const char *path, const struct stat *st, unsigned int without,
			struct buf *to)
{
	if (S_ISDIR(st->st_mode) && (without & CHURN_DIR_XATTRS))
		return;
	if (!(without & CHURN_USER_XATTRS))
		list_xattr(path, "user.test", to);
	list_xattr(path, "security.capability", to);
}

static void list_one(const char *path, const struct stat *st, size_t root_len, unsigned int without,
		     struct buf *to)
{
	char text[256] = "";

	(void)buf_printf(to, "%s: %o %u:%u", path + root_len, st->st_mode, st->st_uid, st->st_gid);
	if (!S_ISDIR(st->st_mode))
		(void)buf_printf(to, " %lld @%lld", (long long)st->st_size,
				 (long long)st->st_mtim.tv_sec);
	if (S_ISCHR(st->st_mode) || S_ISBLK(st->st_mode))
		(void)buf_printf(to, " %u,%u", major(st->st_rdev), minor(st->st_rdev));
	if (S_ISLNK(st->st_mode)) {
		assert_true(readlink(path, text, sizeof(text) - 1) >= 0);
		(void)buf_printf(to, " -> %s", text);
	}
	if (S_ISREG(st->st_mode)) {
		auto_buf struct buf contents = { 0 };

		assert_int_equal(read_file_at(AT_FDCWD, path, &contents, NULL), 0);
		(void)buf_printf(to, " \"%s\"", buf_text(&contents));
	}
	if (!S_ISDIR(st->st_mode) && !(without & CHURN_LINKS))
		(void)buf_printf(to, " links %lu", (unsigned long)st->st_nlink);
	list_xattrs(path, st, without, to);
	(void)buf_puts(to, "\n");
}

static void list_below(const char *path, size_t root_len, unsigned int without, struct buf *to)
{
	struct dirent **names = NULL;
	int count = scandir(path, &names, NULL, alphasort);

	assert_true(count >= 0);
	for (int i = 0; i < count; i++) {
		const char *name = names[i]->d_name;
		char child[PATH_MAX];
		struct stat st;

		(void)snprintf(child, sizeof(child), "%s/%s", path, name);
		if (strcmp(name, ".") && strcmp(name, "..") && lstat(child, &st) == 0 &&
		    !S_ISSOCK(st.st_mode)) {
			list_one(child, &st, root_len, without, to);
			if (S_ISDIR(st.st_mode))
				list_below(child, root_len, without, to);
		}
		free(names[i]);
	}
	free(names);
}

void churn_list(const char *root, unsigned int without, struct buf *to)
{
	list_below(root, strlen(root), without, to);
	assert_int_equal(to->status, 0);
}
