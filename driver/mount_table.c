/* SPDX-License-Identifier: Apache-2.0 */
/* mount_table: what is mounted where, and unmounting it. */
#include "driver/mount.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "driver/base/auto.h"
#include "driver/base/sys.h"
#include "driver/libmount.h"

#define UNMOUNT_TRIES	       8
#define UNMOUNT_FIRST_PAUSE_NS 1000000L /* doubled each time: an eighth of a second in all */

static int stop_at_target(void *arg, const char *target, const char *fs_name, const char *source)
{
	return strcmp(target, arg) == 0;
}

/* Kernels before 5.8 don't tell a mount's root by statx(2): the table does, by canonical path. */
static int is_mounted_by_table(const char *target, struct err *err)
{
	auto_free char *canonical = realpath(target, NULL);

	if (!canonical)
		return errno == ENOENT || errno == ENOTDIR ?
			       0 :
			       fail(err, -errno, "resolve %s: %m", target);
	return libmount_foreach(stop_at_target, canonical, err);
}

int mount_is_mounted(const char *target, struct err *err)
{
	struct statx st;

	if (statx(AT_FDCWD, target, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT, STATX_TYPE, &st) < 0) {
		if (errno == ENOENT || errno == ENOTDIR)
			return 0;
		if (sys_is_missing(-errno)) /* a container's filter from before statx(2) */
			return is_mounted_by_table(target, err);
		return fail(err, -errno, "stat %s: %m", target);
	}
	if (!S_ISDIR(st.stx_mode))
		return 0;
	if (!(st.stx_attributes_mask & STATX_ATTR_MOUNT_ROOT))
		return is_mounted_by_table(target, err);
	return !!(st.stx_attributes & STATX_ATTR_MOUNT_ROOT);
}

/* One mount point beneath the directory asked for. */
struct point {
	char *target, *fs_name;
	size_t depth, order;
};

struct points {
	const char *dir;
	size_t dir_len; /* without a trailing slash: 0 for "/" */
	struct point *items;
	size_t count;
};

static void points_release(struct points *points)
{
	for (size_t i = 0; i < points->count; i++) {
		free(points->items[i].target);
		free(points->items[i].fs_name);
	}
	free(points->items);
}

static size_t count_slashes(const char *path)
{
	size_t count = 0;

	for (; *path; path++)
		count += *path == '/';
	return count;
}

static int collect(void *arg, const char *target, const char *fs_name, const char *source)
{
	struct points *points = arg;
	struct point point = { .order = points->count };
	struct point *items;

	if (strncmp(target, points->dir, points->dir_len) != 0 || target[points->dir_len] != '/' ||
	    !target[points->dir_len + 1])
		return 0;
	items = reallocarray(points->items, points->count + 1, sizeof(*items));
	if (!items)
		return -ENOMEM;
	points->items = items;
	point.depth = count_slashes(target);
	point.target = strdup(target);
	point.fs_name = strdup(fs_name);
	items[points->count++] = point;
	return point.target && point.fs_name ? 0 : -ENOMEM;
}

static int by_depth(const void *left, const void *right)
{
	const struct point *a = left, *b = right;

	if (a->depth != b->depth)
		return a->depth < b->depth ? -1 : 1;
	return a->order < b->order ? -1 : a->order > b->order;
}

int mount_foreach_below(const char *dir, mount_fn *fn, void *arg, struct err *err)
{
	auto_free char *canonical = realpath(dir, NULL);
	AUTO(points_release) struct points points = { .dir = canonical };
	int r;

	if (!canonical)
		return errno == ENOENT || errno == ENOTDIR ?
			       0 :
			       fail(err, -errno, "resolve %s: %m", dir);
	points.dir_len = strcmp(canonical, "/") == 0 ? 0 : strlen(canonical);
	r = libmount_foreach(collect, &points, err);
	if (r == -ENOMEM)
		return fail_oom(err);
	if (r < 0)
		return r;
	if (points.count)
		qsort(points.items, points.count, sizeof(*points.items), by_depth);
	for (size_t i = 0; i < points.count; i++) {
		r = fn(arg, points.items[i].target, points.items[i].fs_name);
		if (r)
			return r;
	}
	return 0;
}

struct search {
	const char *dir; /* canonical */
	const char *source;
	char *target; /* owned */
	size_t found;
};

static int note_source(void *arg, const char *target, const char *fs_name, const char *source)
{
	struct search *s = arg;
	size_t dir_len = strlen(s->dir);

	if (strcmp(source, s->source) != 0 || strncmp(target, s->dir, dir_len) != 0 ||
	    target[dir_len] != '/')
		return 0;
	if (s->found++ > 0)
		return 0;
	s->target = strdup(target);
	return s->target ? 0 : -ENOMEM;
}

int mount_find_source(const char *dir, const char *source, char **ret_target, struct err *err)
{
	auto_free char *canonical = realpath(dir, NULL);
	struct search search = { .dir = canonical, .source = source };
	int r = canonical ? libmount_foreach(note_source, &search, err) : 0;

	if (r == 0 && search.found == 1) {
		*ret_target = search.target;
		return 1;
	}
	free(search.target);
	return r == -ENOMEM ? fail_oom(err) : r;
}

static int take_first(void *arg, const char *target, const char *fs_name)
{
	struct buf *out = arg;

	(void)buf_puts(out, target);
	return 1;
}

/* 1 where the words for a busy mount are written, 0 where nobody is seen to hold it. */
static int explain_busy(const char *target, struct err *err)
{
	auto_buf struct buf who = { .max = 4096 };
	int r = mount_foreach_below(target, take_first, &who, err);

	if (r < 0)
		return r;
	if (r > 0)
		return fail(err, 1, "%s is busy: %s is mounted within it; unmount that first",
			    target, buf_text(&who));
	r = mount_holders(target, &who, err);
	if (r < 0)
		return r;
	if (!who.len)
		return 0;
	return fail(err, 1, "%s is busy: held by %s; end what uses it, then unmount it again",
		    target, buf_text(&who));
}

int mount_unmount(const char *target, struct err *err)
{
	struct timespec pause = { .tv_nsec = UNMOUNT_FIRST_PAUSE_NS };
	int r;

	for (int try = 1;; try++) {
		r = sys_umount(target, UMOUNT_NOFOLLOW);
		if (r != -EBUSY)
			break;
		r = explain_busy(target, err);
		if (r < 0)
			return err_prefix(err, -EBUSY, "%s is busy, and nobody can say why",
					  target);
		if (r > 0)
			return -EBUSY;
		/* A stat of the mount point by anyone holds it for a microsecond, a process that is
		 * ending for a little longer. */
		if (try == UNMOUNT_TRIES)
			return fail(err, -EBUSY, "%s is busy: no process seen here holds it",
				    target);
		(void)nanosleep(&pause, NULL);
		pause.tv_nsec *= 2;
	}
	if (r == -EINVAL)
		return fail(err, r, "%s is not a mount point", target);
	return r < 0 ? fail(err, r, "unmount %s: %m%s", target,
			    r == -EPERM ? "; it needs root (CAP_SYS_ADMIN)" : "") :
		       0;
}
