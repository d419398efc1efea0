/* SPDX-License-Identifier: Apache-2.0 */
#include "graph/store/store.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "driver/base/fd.h"
#include "graph/store/db.h"

#define FORMAT_BYTES_MAX 64

/* ---- paths ---- */

static int path_from(const char *given, const char *variable, const char *for_root,
		     const char *user_variable, const char *user_default, char **ret,
		     struct err *err)
{
	const char *set = given ? given : getenv(variable);
	const char *home = getenv("HOME"), *base = getenv(user_variable);
	char *path = NULL;
	int r = 0;

	if (set && set[0])
		path = strdup(set);
	else if (geteuid() == 0)
		path = strdup(for_root);
	else if (base && base[0] == '/')
		r = asprintf(&path, "%s/overlaid", base);
	else if (user_default && home && home[0] == '/')
		r = asprintf(&path, "%s/%s/overlaid", home, user_default);
	else
		return fail(err, -EINVAL,
			    "neither %s nor %s is set, so there is no place for the store; "
			    "set one, or give --root and --run",
			    variable, user_variable);
	if (!path || r < 0)
		return fail_oom(err);
	*ret = path;
	return 0;
}

/* ---- making a store ---- */

struct emptiness {
	const char *path;
	struct err *err;
};

/* What another process that is making the store too may have put there is no stranger. */
static int refuse_stranger(void *arg, const char *name)
{
	struct emptiness *e = arg;

	if (strcmp(name, "lost+found") == 0 || strncmp(name, "format", 6) == 0)
		return 0;
	return fail(e->err, -ENOTEMPTY,
		    "%s: not a store, and not empty (it holds \"%s\"); give an empty directory",
		    e->path, name);
}

/* linkat, not rename: the file's locks are the store's, so of several makers' files exactly one may
 * ever be `format`. */
static int make_format(int root_fd, const char *path, struct err *err)
{
	char name[40], random[17];
	auto_close int fd = -EBADF;
	int r;

	random_hex(random, 16);
	(void)snprintf(name, sizeof(name), "format.%s", random);
	fd = openat(root_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return fail(err, -errno, "create %s/%s: %m", path, name);
	r = dprintf(fd, "overlaid %d\n", STORE_FORMAT) < 0 || fsync(fd) < 0 ? -errno : 0;
	if (r == 0 && linkat(root_fd, name, root_fd, "format", 0) < 0 && errno != EEXIST)
		r = -errno;
	(void)unlinkat(root_fd, name, 0);
	if (r < 0)
		return fail(err, r, "write %s/format: %m", path);
	return 0;
}

static int check_format(int root_fd, const char *path, struct err *err)
{
	auto_buf struct buf text = { .max = FORMAT_BYTES_MAX };
	int r = read_file_at(root_fd, "format", &text, err);
	int format = -1, end = 0;

	if (r < 0)
		return r;
	if (sscanf(buf_text(&text), "overlaid %d%n", &format, &end) != 1 ||
	    strcmp(buf_text(&text) + end, "\n") != 0)
		return fail(err, -EPROTO, "%s/format: not an overlaid store's (\"%.40s\")", path,
			    buf_text(&text));
	if (format != STORE_FORMAT)
		return fail(
			err, -EPROTO,
			"%s: store format %d is not known to this version of overlaid, which knows %d",
			path, format, STORE_FORMAT);
	return 0;
}

static int open_directories(struct store *store, struct err *err)
{
	static const struct {
		const char *name;
		size_t fd_offset; /* where the descriptor is kept; 0: nowhere */
	} directories[] = {
		{ "layers", 0 },
		{ "layers/sha256", offsetof(struct store, layers_fd) },
		{ "snapshots", offsetof(struct store, snapshots_fd) },
		{ "blobs", 0 },
		{ "blobs/sha256", offsetof(struct store, blobs_fd) },
		{ "partial", 0 },
		{ "staging", offsetof(struct store, staging_fd) },
		{ "trash", offsetof(struct store, trash_fd) },
	};

	for (size_t i = 0; i < ARRAY_LEN(directories); i++) {
		auto_close int fd = -EBADF;

		if (!directories[i].fd_offset &&
		    faccessat(store->root_fd, directories[i].name, F_OK, 0) == 0)
			continue;
		fd = open_or_make_dir_at(store->root_fd, directories[i].name, 0700, err);
		if (fd < 0)
			return err_prefix(err, fd, "%s", store->root_path);
		if (directories[i].fd_offset)
			*(int *)((char *)store + directories[i].fd_offset) = take_fd(&fd);
	}
	return 0;
}

static int open_root(struct store *store, bool must_exist, struct err *err)
{
	char *real;
	struct emptiness emptiness = { .err = err };
	int r;

	if (!must_exist) {
		r = mkdir_parents(store->root_path, 0700, err);
		if (r < 0)
			return r;
	}
	store->root_fd = open_dir_at(AT_FDCWD, store->root_path, err);
	if (store->root_fd < 0)
		return store->root_fd == -ENOENT ?
			       fail(err, -ENOENT, "%s: no store there", store->root_path) :
			       store->root_fd;
	real = realpath(store->root_path, NULL);
	if (!real)
		return fail(err, -errno, "%s: %m", store->root_path);
	free(store->root_path);
	store->root_path = real;
	if (faccessat(store->root_fd, "format", F_OK, 0) == 0)
		return check_format(store->root_fd, store->root_path, err);
	if (must_exist)
		return fail(err, -ENOENT, "%s: no store there (no file named \"format\")",
			    store->root_path);
	emptiness.path = store->root_path;
	r = foreach_name(store->root_fd, refuse_stranger, &emptiness, err);
	/* Not empty, because another process made the store just now. */
	if (r == -ENOTEMPTY && faccessat(store->root_fd, "format", F_OK, 0) == 0)
		r = 0;
	if (r >= 0)
		r = make_format(store->root_fd, store->root_path, err);
	if (r >= 0)
		r = check_format(store->root_fd, store->root_path, err);
	return r;
}

/* Several stores may have one RUN; what is there by a number of one's database is not to be another's. */
static int name_in_run(struct store *store, struct err *err)
{
	static const char digits[] =
		"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_+";
	uint64_t hash = 14695981039346656037u; /* FNV-1a */
	auto_free char *text = NULL;
	struct stat st;

	if (fstat(store->root_fd, &st) < 0)
		return fail(err, -errno, "%s: %m", store->root_path);
	if (asprintf(&text, "%s %llx %llx", store->root_path, (unsigned long long)st.st_dev,
		     (unsigned long long)st.st_ino) < 0)
		return fail_oom(err);
	for (const char *c = text; *c; c++)
		hash = (hash ^ (unsigned char)*c) * 1099511628211u;
	hash ^= hash >> 32;
	for (size_t i = 0; i < STORE_RUN_NAME_LEN; i++, hash >>= 6)
		store->run_name[i] = digits[hash % 64];
	return 0;
}

int store_open_files(const char *root, const char *run, bool durable, bool must_exist,
		     struct store **ret, struct err *err)
{
	auto_store struct store *store = calloc(1, sizeof(*store));
	int r;

	if (!store)
		return fail_oom(err);
	store->root_fd = store->layers_fd = store->snapshots_fd = -EBADF;
	store->blobs_fd = store->staging_fd = store->trash_fd = store->batch_locks.fd = -EBADF;
	store->durable = durable;
	r = path_from(root, "OVERLAID_ROOT", "/var/lib/overlaid", "XDG_DATA_HOME", ".local/share",
		      &store->root_path, err);
	if (r >= 0)
		r = path_from(run, "OVERLAID_RUN", "/run/overlaid", "XDG_RUNTIME_DIR", NULL,
			      &store->run_path, err);
	if (r >= 0)
		r = open_root(store, must_exist, err);
	if (r >= 0)
		r = name_in_run(store, err);
	if (r >= 0)
		r = open_directories(store, err);
	if (r < 0)
		return r;
	*ret = take_ptr(store);
	return 0;
}

int store_open_db(struct store *store, struct err *err)
{
	auto_free char *db_path = NULL, *lock_path = NULL;

	if (asprintf(&db_path, "%s/graph.db", store->root_path) < 0 ||
	    asprintf(&lock_path, "%s/format", store->root_path) < 0)
		return fail_oom(err);
	return db_open(db_path, lock_path, store->durable, &store->db, err);
}

int store_open(const char *root, const char *run, bool durable, bool must_exist, struct store **ret,
	       struct err *err)
{
	auto_store struct store *store = NULL;
	int r = store_open_files(root, run, durable, must_exist, &store, err);

	if (r >= 0)
		r = store_open_db(store, err);
	if (r < 0)
		return r;
	*ret = take_ptr(store);
	return 0;
}

void store_free(struct store *store)
{
	int *fds[] = { &store->root_fd,	 &store->layers_fd,  &store->snapshots_fd,
		       &store->blobs_fd, &store->staging_fd, &store->trash_fd };

	db_free(store->db);
	for (size_t i = 0; i < ARRAY_LEN(fds); i++)
		if (*fds[i] >= 0)
			(void)close(*fds[i]);
	free(store->root_path);
	free(store->run_path);
	free(store);
}

void store_freep(struct store **store)
{
	if (*store)
		store_free(*store);
}

int store_open_mnt(const struct store *store, struct err *err)
{
	auto_free char *path = NULL;
	int r;

	if (asprintf(&path, "%s/mnt", store->run_path) < 0)
		return fail_oom(err);
	r = mkdir_parents(path, 0700, err);
	if (r < 0)
		return r;
	return open_dir_at(AT_FDCWD, path, err);
}

int store_sync(const struct store *store, struct err *err)
{
	if (store->durable && syncfs(store->root_fd) < 0)
		return fail(err, -errno, "sync the filesystem of %s: %m", store->root_path);
	return 0;
}

int store_layers_moved(struct store *store, struct err *err)
{
	if (store->batch) {
		store->layers_moved = true;
		return 0;
	}
	return store->durable ? fsync_dir_at(store->layers_fd, ".", err) : 0;
}

int store_batch_begin(struct store *store, bool durable, struct err *err)
{
	int r = durable ? 0 : db_set_durable(store->db, false, err);

	if (r >= 0)
		r = db_batch_begin(store->db, err);
	if (r < 0 && !durable)
		(void)db_set_durable(store->db, true, NULL);
	store->batch_lazy = !durable;

	store->batch = r >= 0;
	store->layers_moved = false;
	return r;
}

int store_batch_end(struct store *store, struct err *err)
{
	int r = 0;

	store->batch = false;
	if (store->layers_moved)
		r = store_layers_moved(store, err);
	if (r >= 0)
		r = db_batch_end(store->db, err);
	else
		db_batch_drop(store->db);
	if (store->batch_lazy)
		(void)db_set_durable(store->db, true, NULL);
	store_locks_release(&store->batch_locks);
	return r;
}
