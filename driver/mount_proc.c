/* SPDX-License-Identifier: Apache-2.0 */
/* mount_proc: what /proc says of processes and mounts: who holds one, and which mount namespaces
 * are alive. */
#include "driver/mount.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>

#include "driver/base/auto.h"
#include "driver/base/fd.h"

#define HOLDERS_NAMED 5
#define PROC_PATH_MAX 512 /* "4194304/map_files/<two addresses>" and the like are much shorter */

/*
 * Which mount a file is on. By mount id where the kernel tells it (5.8), so that the same
 * filesystem mounted elsewhere, or in another namespace, which doesn't make this mount busy, is
 * another one; else by device.
 */
struct place {
	bool by_id;
	uint64_t id;
	dev_t dev;
};

/* Follows the last link: those of /proc/PID lead to the very file, whatever its name is by now. No
 * network filesystem is asked. */
static int place_of(int dirfd, const char *path, struct place *ret)
{
	struct statx stx;
	struct stat st;

	if (statx(dirfd, path, AT_NO_AUTOMOUNT | AT_STATX_DONT_SYNC, STATX_MNT_ID, &stx) == 0 &&
	    (stx.stx_mask & STATX_MNT_ID)) {
		*ret = (struct place){ .by_id = true, .id = stx.stx_mnt_id };
		return 0;
	}
	if (fstatat(dirfd, path, &st, AT_NO_AUTOMOUNT) < 0)
		return -errno;
	*ret = (struct place){ .dev = st.st_dev };
	return 0;
}

static bool same_place(const struct place *a, const struct place *b)
{
	return a->by_id == b->by_id && (a->by_id ? a->id == b->id : a->dev == b->dev);
}

static bool is_number(const char *text)
{
	return isdigit((unsigned char)text[0]) && text[strspn(text, "0123456789")] == 0;
}

/* Calls fn with each number that /proc has in this directory ("." for processes). A directory that
 * is gone has none. */
typedef int number_fn(void *arg, const char *number);

static int foreach_entry(int proc_fd, const char *dir_name, bool numbers_only, number_fn *fn,
			 void *arg)
{
	int fd = openat(proc_fd, dir_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	auto_closedir DIR *dir = NULL;
	struct dirent *entry;
	int r;

	if (fd < 0)
		return 0; /* ended meanwhile, or not ours to look into */
	dir = fdopendir(fd);
	if (!dir) {
		(void)close(fd);
		return -ENOMEM;
	}
	while ((entry = readdir(dir))) {
		if (entry->d_name[0] == '.' || (numbers_only && !is_number(entry->d_name)))
			continue;
		r = fn(arg, entry->d_name);
		if (r)
			return r;
	}
	return 0;
}

struct holders {
	int proc_fd;
	struct place place;
	const char *pid;    /* the process being looked at */
	const char *subdir; /* and the directory of links in it */
	struct buf *out;
	unsigned int count;
};

static int link_on_mount(struct holders *h, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* 1: this link of /proc leads to the mount. */
static int link_on_mount(struct holders *h, const char *fmt, ...)
{
	char path[PROC_PATH_MAX];
	struct place place = { 0 };
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(path, sizeof(path), fmt, ap);
	va_end(ap);
	return place_of(h->proc_fd, path, &place) == 0 && same_place(&place, &h->place);
}

static int check_link(void *arg, const char *name)
{
	struct holders *h = arg;

	return link_on_mount(h, "%s/%s/%s", h->pid, h->subdir, name);
}

/* Threads may have a working directory and root of their own. */
static int check_task(void *arg, const char *tid)
{
	struct holders *h = arg;

	return link_on_mount(h, "%s/task/%s/cwd", h->pid, tid) ||
	       link_on_mount(h, "%s/task/%s/root", h->pid, tid);
}

static int check_links(struct holders *h, const char *subdir)
{
	char path[PROC_PATH_MAX];

	h->subdir = subdir;
	(void)snprintf(path, sizeof(path), "%s/%s", h->pid, subdir);
	return foreach_entry(h->proc_fd, path, false, check_link, h);
}

static int holds(struct holders *h)
{
	char tasks[PROC_PATH_MAX];
	int r;

	if (link_on_mount(h, "%s/cwd", h->pid) || link_on_mount(h, "%s/root", h->pid) ||
	    link_on_mount(h, "%s/exe", h->pid))
		return 1;
	(void)snprintf(tasks, sizeof(tasks), "%s/task", h->pid);
	r = foreach_entry(h->proc_fd, tasks, true, check_task, h);
	if (r == 0)
		r = check_links(h, "fd");
	if (r == 0)
		r = check_links(h, "map_files");
	return r;
}

/* " (name)", or nothing where the process is gone. A process chooses its name: what can't be
 * printed becomes "?". */
static void append_name(struct holders *h)
{
	char path[PROC_PATH_MAX];
	auto_buf struct buf name = { .max = 256 };
	size_t len;

	(void)snprintf(path, sizeof(path), "%s/comm", h->pid);
	if (read_file_at(h->proc_fd, path, &name, NULL) < 0)
		return;
	len = strcspn(buf_text(&name), "\n");
	for (size_t i = 0; i < len; i++)
		if (!isprint((unsigned char)name.data[i]))
			name.data[i] = '?';
	(void)buf_printf(h->out, " (%.*s)", (int)len, buf_text(&name));
}

static int check_process(void *arg, const char *pid)
{
	struct holders *h = arg;
	int r;

	h->pid = pid;
	r = holds(h);
	if (r <= 0)
		return r;
	if (h->count++ >= HOLDERS_NAMED)
		return 0;
	(void)buf_printf(h->out, "%spid %s", h->count > 1 ? ", " : "", pid);
	append_name(h);
	return 0;
}

int mount_holders(const char *target, struct buf *ret, struct err *err)
{
	struct holders h = { .out = ret };
	auto_close int proc_fd = open_dir_at(AT_FDCWD, "/proc", err);
	int r;

	if (proc_fd < 0)
		return proc_fd;
	h.proc_fd = proc_fd;
	r = place_of(AT_FDCWD, target, &h.place);
	if (r < 0)
		return fail(err, r, "stat %s: %m", target);
	r = foreach_entry(proc_fd, ".", true, check_process, &h);
	if (r < 0)
		return fail(err, r, "read /proc: %m");
	if (h.count > HOLDERS_NAMED)
		(void)buf_printf(ret, " and %u more", h.count - HOLDERS_NAMED);
	return buf_status(ret, err);
}

int mount_namespace(uint64_t *ret, struct err *err)
{
	struct stat st;

	if (stat("/proc/thread-self/ns/mnt", &st) < 0)
		return fail(err, -errno, "stat /proc/thread-self/ns/mnt: %m");
	*ret = st.st_ino;
	return 0;
}

struct namespace_search {
	int proc_fd;
	uint64_t ns;
	const char *pid; /* the process whose threads are looked at */
	long found;
};

static int check_namespace(struct namespace_search *s, const char *pid, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

static int check_namespace(struct namespace_search *s, const char *pid, const char *fmt, ...)
{
	char path[PROC_PATH_MAX];
	struct stat st;
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(path, sizeof(path), fmt, ap);
	va_end(ap);
	if (fstatat(s->proc_fd, path, &st, 0) < 0 || st.st_ino != s->ns)
		return 0;
	s->found = strtol(pid, NULL, 10);
	return 1;
}

static int in_namespace(void *arg, const char *pid)
{
	return check_namespace(arg, pid, "%s/ns/mnt", pid);
}

static int thread_in_namespace(void *arg, const char *tid)
{
	struct namespace_search *s = arg;

	return check_namespace(s, s->pid, "%s/task/%s/ns/mnt", s->pid, tid);
}

static int any_thread_in_namespace(void *arg, const char *pid)
{
	struct namespace_search *s = arg;
	char tasks[PROC_PATH_MAX];

	s->pid = pid;
	(void)snprintf(tasks, sizeof(tasks), "%s/task", pid);
	return foreach_entry(s->proc_fd, tasks, true, thread_in_namespace, s);
}

int mount_namespace_alive(uint64_t ns, int *ret_pid, struct err *err)
{
	auto_close int proc_fd = open_dir_at(AT_FDCWD, "/proc", err);
	struct namespace_search s = { .ns = ns };
	int r;

	if (proc_fd < 0)
		return proc_fd;
	s.proc_fd = proc_fd;
	/* Nearly always a process as a whole is there; single threads (a Go runtime's) are looked
	 * at only when none is. */
	r = foreach_entry(proc_fd, ".", true, in_namespace, &s);
	if (r == 0)
		r = foreach_entry(proc_fd, ".", true, any_thread_in_namespace, &s);
	if (r < 0)
		return fail(err, r, "read /proc: %m");
	if (r == 1)
		*ret_pid = (int)s.found;
	return r;
}
