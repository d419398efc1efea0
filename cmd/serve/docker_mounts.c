/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/serve/docker_mounts.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cmd/serve/serve.h"
#include "driver/base/auto.h"
#include "driver/base/clock.h"
#include "driver/base/fd.h"
#include "driver/base/pool.h"
#include "graph/overlaid.h"

#define KEEP_NS	  (CLOCK_SECOND_NS * 3 / 10)
#define COUNT_MAX 1000000
#define DIR_MODE  0711
#define FILLING	  "filling"

/* Found by id under the table's lock; the rest under its own, which may be held for as long as an unmount takes. */
struct entry {
	struct entry *next;
	unsigned int users; /* of the table's lock: threads that look at it */
	pthread_mutex_t lock;
	unsigned int count;
	bool mounted, writable, keep;
	bool dropped;	/* what is mounted is of one that was removed */
	int64_t due_ns; /* mounted and not wanted: when it is to go */
	char id[];
};

struct mounts {
	struct mounts *next; /* of all; under their lock, as `users` is */
	unsigned int users;  /* 0: it ends */
	char *dir;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	pthread_t thread;
	bool ending;
	struct entry *entries;
};

/* All there are: of a directory there is one. */
static struct {
	pthread_mutex_t lock;
	pthread_cond_t ended;
	struct mounts *first;
} all = { .lock = PTHREAD_MUTEX_INITIALIZER, .ended = PTHREAD_COND_INITIALIZER };

/* ---- entries ---- */

static struct entry *find(struct mounts *m, const char *id)
{
	struct entry *e = m->entries;

	while (e && strcmp(e->id, id) != 0)
		e = e->next;
	return e;
}

static struct entry *add(struct mounts *m, const char *id)
{
	size_t len = strlen(id);
	struct entry *e = calloc(1, sizeof(*e) + len + 1);

	if (!e)
		return NULL;
	memcpy(e->id, id, len + 1);
	(void)pthread_mutex_init(&e->lock, NULL);
	e->next = m->entries;
	m->entries = e;
	return e;
}

/* Its lock is ours until leave(). NULL: there is none and `make` is false, or no memory. */
static struct entry *enter(struct mounts *m, const char *id, bool make)
{
	struct entry *e;

	(void)pthread_mutex_lock(&m->lock);
	e = find(m, id);
	if (!e && make)
		e = add(m, id);
	if (e)
		e->users++;
	(void)pthread_mutex_unlock(&m->lock);
	if (e)
		(void)pthread_mutex_lock(&e->lock);
	return e;
}

static void free_entry(struct entry *e)
{
	(void)pthread_mutex_destroy(&e->lock);
	free(e);
}

/* One that nobody else looks at, and that has nothing to be remembered, goes. */
static void leave(struct mounts *m, struct entry *e)
{
	struct entry **at = &m->entries;

	(void)pthread_mutex_unlock(&e->lock);
	(void)pthread_mutex_lock(&m->lock);
	e->users--;
	if (e->users == 0 && !e->mounted && e->count == 0) {
		while (*at != e)
			at = &(*at)->next;
		*at = e->next;
		free_entry(e);
	}
	(void)pthread_mutex_unlock(&m->lock);
}

/* ---- on disk ---- */

char *mounts_path(const struct mounts *m, const char *id)
{
	char *path;

	return asprintf(&path, "%s/%s/fs", m->dir, id) < 0 ? NULL : path;
}

/* Not being able to write it matters to the next run only, and not to most of those. */
static void write_count(const struct mounts *m, const struct entry *e)
{
	auto_free char *path = NULL;
	char text[16];
	int len = snprintf(text, sizeof(text), "%-7u\n", e->count);
	auto_close int fd = -EBADF;

	if (asprintf(&path, "%s/%s/count", m->dir, e->id) < 0) {
		path = NULL;
		return;
	}
	fd = open(path, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd >= 0)
		(void)!pwrite(fd, text, (size_t)len, 0);
}

static unsigned int read_count(const struct mounts *m, const char *id)
{
	auto_free char *path = NULL;
	auto_buf struct buf text = { .max = 64 };
	unsigned long count;
	char *end;

	if (asprintf(&path, "%s/%s/count", m->dir, id) < 0) {
		path = NULL;
		return 1;
	}
	if (read_file_at(AT_FDCWD, path, &text, NULL) < 0)
		return 1;
	count = strtoul(buf_text(&text), &end, 10);
	return end == buf_text(&text) || count > COUNT_MAX ? 1 : (unsigned int)count;
}

static void remove_files(const struct mounts *m, const char *id)
{
	static const char *const names[] = { "fs", "count", "" };
	auto_close int dir_fd = -EBADF;
	auto_free char *path = NULL;

	if (asprintf(&path, "%s/%s", m->dir, id) < 0) {
		path = NULL;
		return;
	}
	dir_fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	for (size_t i = 0; dir_fd >= 0 && i < ARRAY_LEN(names) && names[i][0]; i++)
		(void)unlinkat(dir_fd, names[i], i == 0 ? AT_REMOVEDIR : 0);
	(void)rmdir(path);
}

int mounts_begin_fill(struct mounts *m, const char *id, struct err *err)
{
	auto_close int dir_fd = -EBADF, fd = -EBADF;
	auto_free char *path = NULL;
	int r;

	if (asprintf(&path, "%s/%s", m->dir, id) < 0) {
		path = NULL;
		return fail_oom(err);
	}
	r = mkdir_parents(path, DIR_MODE, err);
	if (r < 0)
		return r;
	dir_fd = open_dir_at(AT_FDCWD, path, err);
	if (dir_fd < 0)
		return dir_fd;
	fd = openat(dir_fd, FILLING, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd >= 0)
		return 0;
	return errno == EEXIST ?
		       fail(err, -EALREADY,
			    "%s was being filled already, when something broke: remove it "
			    "and begin anew",
			    id) :
		       fail(err, -errno, "make %s/%s: %m", path, FILLING);
}

void mounts_end_fill(struct mounts *m, const char *id)
{
	auto_free char *path = NULL;
	char *slash;

	if (asprintf(&path, "%s/%s/%s", m->dir, id, FILLING) < 0) {
		path = NULL;
		return;
	}
	if (unlink(path) < 0)
		return;
	slash = strrchr(path, '/');
	*slash = '\0';
	/* Where it is mounted meanwhile, it stays. */
	(void)rmdir(path);
}

/* Nothing is to be remembered of it: its lock is ours. */
static void forget(const struct mounts *m, struct entry *e)
{
	if (!e->mounted && e->count == 0)
		remove_files(m, e->id);
}

/* Its lock is ours. */
static int detach(struct mounts *m, struct entry *e, struct err *err)
{
	auto_free char *path = mounts_path(m, e->id);
	struct err words = { 0 };
	int r = path ? overlaid_detach(path, &words) : fail_oom(&words);

	/* It is unmounted; somebody wrote there while nothing was mounted, and is told. */
	if (r == -ENOTEMPTY)
		serve_log("docker: %s", words.text);
	else if (r < 0)
		return fail(err, r, "%s", words.text);
	e->mounted = e->dropped = false;
	forget(m, e);
	return 0;
}

/* ---- the thread that unmounts ---- */

/* One that is due, entered; or NULL, and when the next one will be. */
static struct entry *take_due(struct mounts *m, int64_t *ret_next_ns)
{
	int64_t now = clock_ns();

	*ret_next_ns = INT64_MAX;
	for (struct entry *e = m->entries; e; e = e->next) {
		int64_t due = __atomic_load_n(&e->due_ns, __ATOMIC_RELAXED);

		if (due && due <= now) {
			e->users++;
			return e;
		}
		if (due && due < *ret_next_ns)
			*ret_next_ns = due;
	}
	return NULL;
}

static void set_due(struct mounts *m, struct entry *e, int64_t ns)
{
	__atomic_store_n(&e->due_ns, ns, __ATOMIC_RELAXED);
	if (!ns)
		return;
	(void)pthread_mutex_lock(&m->lock);
	(void)pthread_cond_signal(&m->wake);
	(void)pthread_mutex_unlock(&m->lock);
}

static void unmount_due(struct mounts *m, struct entry *e)
{
	int64_t due;
	struct err err;

	(void)pthread_mutex_lock(&e->lock);
	due = e->due_ns;
	if (due && due <= clock_ns()) {
		set_due(m, e, 0);
		if (e->mounted && (e->count == 0 || e->dropped) && detach(m, e, &err) < 0)
			serve_log("%s stays mounted: %s", e->id, err.text);
	}
	leave(m, e);
}

static void *unmount_all_due(void *arg)
{
	struct mounts *m = arg;
	struct timespec until;
	int64_t next;

	(void)pthread_mutex_lock(&m->lock);
	while (!m->ending) {
		struct entry *e = take_due(m, &next);

		if (e) {
			(void)pthread_mutex_unlock(&m->lock);
			unmount_due(m, e);
			(void)pthread_mutex_lock(&m->lock);
		} else if (next == INT64_MAX) {
			(void)pthread_cond_wait(&m->wake, &m->lock);
		} else {
			until = clock_after(next - clock_ns());
			(void)pthread_cond_timedwait(&m->wake, &m->lock, &until);
		}
	}
	(void)pthread_mutex_unlock(&m->lock);
	return NULL;
}

/* ---- getting and putting ---- */

static int mount_it(struct mounts *m, struct entry *e, const struct mounts_how *how,
		    const char *path, struct err *err)
{
	int r = how->mount(how->arg, path, err);

	if (r < 0)
		return r;
	e->mounted = true;
	e->writable = how->writable;
	e->keep = how->keep;
	return 0;
}

/* What is mounted there is not to be trusted, or not what is wanted now. */
static int check_mounted(struct mounts *m, struct entry *e, const struct mounts_how *how,
			 const char *path, struct err *err)
{
	int r = e->mounted ? overlaid_is_attached(path, err) : 0;

	if (r < 0)
		return r;
	e->mounted = r > 0;
	e->dropped = e->dropped && e->mounted;
	if (e->mounted && (e->dropped || (e->count == 0 && e->writable != how->writable)))
		return detach(m, e, err);
	return 0;
}

int mounts_get(struct mounts *m, const char *id, const struct mounts_how *how, char **ret_dir,
	       struct err *err)
{
	auto_free char *path = mounts_path(m, id);
	struct entry *e = path ? enter(m, id, true) : NULL;
	int r;

	if (!e)
		return fail_oom(err);
	if (e->dropped)
		e->count = 0;
	r = check_mounted(m, e, how, path, err);
	if (r >= 0 && !e->mounted)
		r = mount_it(m, e, how, path, err);
	if (r >= 0) {
		e->count++;
		set_due(m, e, 0);
		write_count(m, e);
		*ret_dir = take_ptr(path);
	} else {
		forget(m, e);
	}
	leave(m, e);
	return r;
}

int mounts_put(struct mounts *m, const char *id, struct err *err)
{
	struct entry *e = enter(m, id, false);
	int r = 0;

	if (!e)
		return 0;
	if (e->count > 0 && !e->dropped) {
		e->count--;
		write_count(m, e);
	}
	if (e->count == 0 && e->mounted) {
		if (e->keep)
			set_due(m, e, clock_ns() + KEEP_NS);
		else
			r = detach(m, e, err);
		if (r == 0 && !e->mounted)
			r = 1;
	}
	forget(m, e);
	leave(m, e);
	return r;
}

void mounts_drop(struct mounts *m, const char *id)
{
	struct entry *e = enter(m, id, false);

	mounts_end_fill(m, id);
	if (!e)
		return;
	e->count = 0;
	e->dropped = e->mounted;
	if (e->mounted) {
		write_count(m, e);
		set_due(m, e, clock_ns());
	}
	forget(m, e);
	leave(m, e);
}

int mounts_settle(struct mounts *m, const char *id, struct err *err)
{
	struct entry *e = enter(m, id, false);
	int r = 0;

	if (!e)
		return 0;
	if (e->mounted && e->count == 0)
		r = detach(m, e, err);
	leave(m, e);
	return r;
}

/* Calls it for each there is now, entered. */
static int for_each(struct mounts *m, int (*fn)(struct mounts *m, struct entry *e, void *arg),
		    void *arg)
{
	struct entry *e, *next;
	int r = 0;

	(void)pthread_mutex_lock(&m->lock);
	e = m->entries;
	if (e)
		e->users++;
	while (e) {
		(void)pthread_mutex_unlock(&m->lock);
		(void)pthread_mutex_lock(&e->lock);
		r = r < 0 ? r : fn(m, e, arg);
		(void)pthread_mutex_unlock(&e->lock);
		(void)pthread_mutex_lock(&m->lock);
		next = e->next;
		if (next)
			next->users++;
		(void)pthread_mutex_unlock(&m->lock);
		(void)pthread_mutex_lock(&e->lock);
		leave(m, e);
		(void)pthread_mutex_lock(&m->lock);
		e = next;
	}
	(void)pthread_mutex_unlock(&m->lock);
	return r;
}

struct clearing {
	struct err *err;
	int r;
};

static int clear_one(struct mounts *m, struct entry *e, void *arg)
{
	struct clearing *c = arg;
	struct err err;

	int r;

	e->count = 0;
	r = e->mounted ? detach(m, e, &err) : 0;
	if (r < 0)
		write_count(m, e);
	if (r < 0 && c->r >= 0)
		c->r = fail(c->err, r, "%s", err.text);
	forget(m, e);
	return 0;
}

int mounts_clear(struct mounts *m, struct err *err)
{
	struct clearing c = { .err = err };

	(void)for_each(m, clear_one, &c);
	return c.r;
}

static int inherit_one(struct mounts *m, struct entry *e, void *arg)
{
	if (e->count > 1) {
		e->count = 1;
		write_count(m, e);
	}
	return 0;
}

void mounts_inherit(struct mounts *m)
{
	(void)for_each(m, inherit_one, NULL);
}

static int count_one(struct mounts *m, struct entry *e, void *arg)
{
	size_t *count = arg;

	*count += e->count > 0;
	return 0;
}

size_t mounts_wanted(struct mounts *m)
{
	size_t count = 0;

	(void)for_each(m, count_one, &count);
	return count;
}

/* ---- the beginning, and the end ---- */

struct finding {
	struct mounts *mounts;
	struct err *err;
};

/* What cannot be looked at is no reason to serve nobody. */
static int find_left(void *arg, const char *id)
{
	struct finding *f = arg;
	struct mounts *m = f->mounts;
	auto_free char *path = mounts_path(m, id);
	struct err words = { 0 };
	struct entry *e;
	int r = path ? overlaid_is_attached(path, &words) : fail_oom(f->err);

	if (r < 0 && path)
		serve_log("docker: it is left as it is: %s", words.text);
	if (r == 0)
		remove_files(m, id);
	if (r <= 0)
		return path ? 0 : r;
	e = add(m, id);
	if (!e)
		return fail_oom(f->err);
	/* Of what kind it is, nobody knows any more: it is treated as the one that takes time. */
	e->mounted = e->writable = e->keep = true;
	e->count = read_count(m, id);
	e->due_ns = e->count == 0 ? clock_ns() : 0;
	return 0;
}

static int find_all_left(struct mounts *m, struct err *err)
{
	struct finding f = { .mounts = m, .err = err };
	auto_close int fd = open(m->dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	if (fd < 0)
		return errno == ENOENT ? 0 : fail(err, -errno, "open directory %s: %m", m->dir);
	return foreach_name(fd, find_left, &f, err);
}

static void release(struct mounts *m)
{
	for (struct entry *e = m->entries, *next; e; e = next) {
		next = e->next;
		free_entry(e);
	}
	(void)pthread_cond_destroy(&m->wake);
	(void)pthread_mutex_destroy(&m->lock);
	free(m->dir);
	free(m);
}

/* Nobody makes another meanwhile. */
static int make(const char *dir, struct mounts **ret, struct err *err)
{
	struct mounts *m = calloc(1, sizeof(*m));
	pthread_condattr_t monotonic;
	int r;

	if (!m)
		return fail_oom(err);
	m->users = 1;
	(void)pthread_mutex_init(&m->lock, NULL);
	(void)pthread_condattr_init(&monotonic);
	(void)pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	(void)pthread_cond_init(&m->wake, &monotonic);
	(void)pthread_condattr_destroy(&monotonic);
	m->dir = strdup(dir);
	r = m->dir ? find_all_left(m, err) : fail_oom(err);
	if (r >= 0)
		r = pool_thread(&m->thread, unmount_all_due, m) < 0 ?
			    fail(err, -EAGAIN, "there is no thread to be had") :
			    0;
	if (r < 0) {
		release(m);
		return r;
	}
	m->next = all.first;
	all.first = m;
	*ret = m;
	return 0;
}

/* The one of this directory; one that ends is waited for. */
static struct mounts *find_mounts(const char *dir)
{
	for (;;) {
		struct mounts *m = all.first;

		while (m && strcmp(m->dir, dir) != 0)
			m = m->next;
		if (!m || m->users > 0)
			return m;
		(void)pthread_cond_wait(&all.ended, &all.lock);
	}
}

int mounts_new(const char *dir, struct mounts **ret, struct err *err)
{
	struct mounts *m;
	int r = 0;

	(void)pthread_mutex_lock(&all.lock);
	m = find_mounts(dir);
	if (m)
		m->users++;
	else
		r = make(dir, &m, err);
	(void)pthread_mutex_unlock(&all.lock);
	if (r >= 0)
		*ret = m;
	return r;
}

static int end_one(struct mounts *m, struct entry *e, void *arg)
{
	struct err err;

	if (e->mounted && e->count == 0 && detach(m, e, &err) < 0)
		serve_log("%s stays mounted: %s", e->id, err.text);
	return 0;
}

struct mounts *mounts_ref(struct mounts *m)
{
	(void)pthread_mutex_lock(&all.lock);
	m->users++;
	(void)pthread_mutex_unlock(&all.lock);
	return m;
}

static void end(struct mounts *m)
{
	struct mounts **at = &all.first;

	(void)pthread_mutex_lock(&m->lock);
	m->ending = true;
	(void)pthread_cond_signal(&m->wake);
	(void)pthread_mutex_unlock(&m->lock);
	(void)pthread_join(m->thread, NULL);
	(void)for_each(m, end_one, NULL);
	(void)pthread_mutex_lock(&all.lock);
	while (*at != m)
		at = &(*at)->next;
	*at = m->next;
	(void)pthread_cond_broadcast(&all.ended);
	(void)pthread_mutex_unlock(&all.lock);
	release(m);
}

void mounts_unref(struct mounts *m)
{
	bool last;

	if (!m)
		return;
	(void)pthread_mutex_lock(&all.lock);
	last = --m->users == 0;
	(void)pthread_mutex_unlock(&all.lock);
	if (last)
		end(m);
}
