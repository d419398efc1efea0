/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/sandbox.h"

#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>
#include <cmocka.h>

#include "driver/base/auto.h"
#include "driver/base/fd.h"
#include "driver/base/sys.h"
#include "driver/mount.h"
#include "driver/tree.h"
#include "tests/tools/deny_filter.h"

static char root[PATH_MAX];

static int complain(const char *what)
{
	print_error("sandbox: %s: %s\n", what, strerror(errno));
	return -1;
}

int sandbox_enter(void **state)
{
	const char *tmp = getenv("TMPDIR");

	(void)snprintf(root, sizeof(root), "%s/overlaid-unit.XXXXXX",
		       tmp && tmp[0] == '/' ? tmp : "/tmp");
	if (!mkdtemp(root))
		return complain(root);
	if (geteuid() != 0)
		return 0;
	if (unshare(CLONE_NEWNS) < 0)
		return complain("unshare(CLONE_NEWNS)");
	errno = -sys_mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL);
	return errno ? complain("make mounts private") : 0;
}

int sandbox_leave(void **state)
{
	return chdir("/") < 0 || rmdir(root) < 0 ? complain(root) : 0;
}

int sandbox_start(void **state)
{
	(void)umask(022);
	return mkdir(sandbox_path("scratch"), 0755) < 0 || chdir(sandbox_path("scratch")) < 0 ?
		       complain(root) :
		       0;
}

static int detach(void *arg, const char *target, const char *fs_name)
{
	(void)sys_umount(target, MNT_DETACH | UMOUNT_NOFOLLOW);
	return 0;
}

int sandbox_clean(void **state)
{
	struct err err = { 0 };

	if (chdir("/") < 0)
		return complain("/");
	if (mount_foreach_below(root, detach, NULL, &err) < 0 ||
	    tree_remove_at(AT_FDCWD, sandbox_path("scratch"), &err) < 0) {
		print_error("sandbox: %s\n", err.text);
		return -1;
	}
	return 0;
}

const char *sandbox_root(void)
{
	static char scratch[PATH_MAX + 16];

	(void)snprintf(scratch, sizeof(scratch), "%s/scratch", root);
	return scratch;
}

const char *sandbox_path(const char *name)
{
	static char paths[8][2 * PATH_MAX];
	static unsigned int turn;
	char *path = paths[turn++ % ARRAY_LEN(paths)];

	if (strcmp(name, "scratch") == 0)
		(void)snprintf(path, sizeof(paths[0]), "%s/scratch", root);
	else
		(void)snprintf(path, sizeof(paths[0]), "%s/scratch/%s", root, name);
	return path;
}

static void put_parents(const char *path)
{
	auto_free char *parent = strdup(path);
	char *slash = strrchr(parent, '/');

	if (!slash || slash == parent)
		return;
	*slash = 0;
	assert_int_equal(mkdir_parents(parent, 0755, NULL), 0);
}

void put_dir(const char *path)
{
	assert_int_equal(mkdir_parents(path, 0755, NULL), 0);
}

void put_file(const char *path, const char *contents)
{
	auto_close int fd = -EBADF;

	put_parents(path);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	assert_true(fd >= 0);
	assert_int_equal(write_full(fd, contents, strlen(contents)), 0);
}

void put_whiteout(const char *path)
{
	put_parents(path);
	assert_int_equal(mknod(path, S_IFCHR, makedev(0, 0)), 0);
}

void put_opaque_dir(const char *path, enum overlay_xattrs xattrs)
{
	auto_close int fd = -EBADF;

	put_dir(path);
	fd = open_dir(path, O_RDONLY);
	assert_int_equal(whiteout_set_opaque(fd, xattrs, NULL), 0);
}

void set_mtime(const char *path, time_t seconds, long ns)
{
	struct timespec times[2] = { { .tv_sec = seconds, .tv_nsec = ns },
				     { .tv_sec = seconds, .tv_nsec = ns } };

	assert_int_equal(utimensat(AT_FDCWD, path, times, AT_SYMLINK_NOFOLLOW), 0);
}

bool exists(const char *path)
{
	struct stat st;

	return lstat(path, &st) == 0;
}

void assert_contents(const char *path, const char *contents)
{
	auto_buf struct buf text = { .max = 65536 };

	assert_int_equal(read_file_at(AT_FDCWD, path, &text, NULL), 0);
	assert_string_equal(buf_text(&text), contents);
}

int open_dir(const char *path, int flags)
{
	int fd = open(path, flags | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		fail_msg("open %s: %s", path, strerror(errno));
	return fd;
}

static void put_absolute(char out[2 * PATH_MAX], const char *path)
{
	(void)snprintf(out, 2 * PATH_MAX, "%s", path[0] == '/' ? path : sandbox_path(path));
}

void add_lower(struct overlay_plan *plan, const char *path)
{
	char absolute[2 * PATH_MAX];

	put_absolute(absolute, path);
	put_dir(path);
	assert_int_equal(overlay_plan_add_lower(plan, open_dir(path, O_RDONLY), absolute, NULL), 0);
}

void set_upper(struct overlay_plan *plan, const char *upper, const char *work)
{
	char upper_path[2 * PATH_MAX], work_path[2 * PATH_MAX];

	put_absolute(upper_path, upper);
	put_absolute(work_path, work);
	put_dir(upper);
	put_dir(work);
	assert_int_equal(overlay_plan_set_upper(plan, open_dir(upper, O_RDONLY), upper_path,
						open_dir(work, O_RDONLY), work_path, NULL),
			 0);
}

struct denied {
	const char *const *rules;
	size_t count;
	int (*fn)(void *arg);
	void *arg;
	int installed, result;
};

static void *denied_thread(void *arg)
{
	struct denied *d = arg;

	d->installed = deny_install_texts(d->rules, d->count);
	if (d->installed == 0)
		d->result = d->fn(d->arg);
	return NULL;
}

int under_deny(const char *const *rules, size_t count, int (*fn)(void *arg), void *arg)
{
	struct denied d = { .rules = rules, .count = count, .fn = fn, .arg = arg };
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, denied_thread, &d), 0);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(d.installed, 0);
	return d.result;
}
