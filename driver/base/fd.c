/* SPDX-License-Identifier: Apache-2.0 */
#include "driver/base/fd.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define READ_STEP ((size_t)64 << 10)
#define TEMP_HEX  16

ssize_t read_full(int fd, void *data, size_t len)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = read(fd, (char *)data + done, len - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		done += (size_t)n;
	}
	return (ssize_t)done;
}

ssize_t pread_full(int fd, void *data, size_t len, off_t offset)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = pread(fd, (char *)data + done, len - done, offset + (off_t)done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		done += (size_t)n;
	}
	return (ssize_t)done;
}

int write_full(int fd, const void *data, size_t len)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = write(fd, (const char *)data + done, len - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		done += (size_t)n;
	}
	return 0;
}

/* How much to ask for next: what is left of the maximum, and one byte when nothing is, which only
 * the end of the file may answer. */
static size_t next_step(const struct buf *b, char **ret_to, char *spare)
{
	size_t max = b->max ? b->max : BUF_MAX_DEFAULT;
	size_t left = b->len < max ? max - b->len : 0;

	*ret_to = spare;
	if (!left)
		return 1;
	*ret_to = NULL;
	return left < READ_STEP ? left : READ_STEP;
}

int read_to_buf(int fd, struct buf *b, const char *what, struct err *err)
{
	for (;;) {
		char spare, *to;
		size_t step = next_step(b, &to, &spare);
		ssize_t n;

		if (!to)
			to = buf_room(b, step);
		if (!to)
			break;
		n = read_full(fd, to, step);
		if (n < 0)
			return fail(err, (int)n, "read %s: %m", what);
		if (to == &spare && n)
			(void)buf_putc(b, spare); /* one too many: it remembers */
		else if (to != &spare)
			buf_end(b, (size_t)n);
		if (b->status || (size_t)n < step)
			break;
	}
	if (b->status)
		return err_prefix(err, buf_status(b, err), "read %s", what);
	return 0;
}

int read_file_at(int dirfd, const char *name, struct buf *b, struct err *err)
{
	auto_close int fd = openat(dirfd, name, O_RDONLY | O_CLOEXEC | O_NOCTTY);

	if (fd < 0)
		return fail(err, -errno, "open %s: %m", name);
	return read_to_buf(fd, b, name, err);
}

void want_descriptors(size_t count)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur >= count)
		return;
	limit.rlim_cur = limit.rlim_max < count ? limit.rlim_max : count;
	(void)setrlimit(RLIMIT_NOFILE, &limit);
}

void random_hex(char *out, size_t len)
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < len;) {
		unsigned char bytes[64];
		size_t want = (len - i + 1) / 2;

		if (want > sizeof(bytes))
			want = sizeof(bytes);
		/* Up to 256 bytes come whole; EINTR only before the machine has gathered its first
		 * entropy. */
		if (getrandom(bytes, want, 0) != (ssize_t)want) {
			if (errno == EINTR)
				continue;
			abort();
		}
		for (size_t k = 0; k < want; k++) {
			out[i++] = digits[bytes[k] >> 4];
			if (i < len)
				out[i++] = digits[bytes[k] & 15];
		}
	}
	out[len] = 0;
}

int make_unnamed_at(int dirfd, const char *what, struct err *err)
{
	char name[33];
	int fd = openat(dirfd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	if (fd >= 0)
		return fd;
	random_hex(name, sizeof(name) - 1);
	fd = openat(dirfd, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return fail(err, -errno, "make %s: %m", what);
	(void)unlinkat(dirfd, name, 0);
	return fd;
}

int fsync_dir_at(int dirfd, const char *name, struct err *err)
{
	auto_close int fd = open_dir_at(dirfd, name, err);

	if (fd < 0)
		return fd;
	if (fsync(fd) < 0)
		return fail(err, -errno, "sync directory %s: %m", name);
	return 0;
}

static int write_temp(int dirfd, const char *temp, const void *data, size_t len, unsigned int flags)
{
	auto_close int fd = openat(dirfd, temp,
				   O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	int r;

	if (fd < 0)
		return -errno;
	if (fchmod(fd, 0600) < 0) /* whatever the umask is */
		return -errno;
	r = write_full(fd, data, len);
	if (r < 0)
		return r;
	if ((flags & REPLACE_DURABLE) && fsync(fd) < 0)
		return -errno;
	/* close(2) is where NFS and quotas tell about a failed write. */
	return close(take_fd(&fd)) < 0 ? -errno : 0;
}

int replace_file_at(int dirfd, const char *name, const void *data, size_t len, unsigned int flags,
		    struct err *err)
{
	auto_buf struct buf temp = { .max = 8192 };
	const char *slash = strrchr(name, '/');
	const char *base = slash ? slash + 1 : name;
	int dir_len = (int)(base - name);
	char random[TEMP_HEX + 1];
	int r;

	random_hex(random, TEMP_HEX);
	(void)buf_printf(&temp, "%.*s.%s.%s", dir_len, name, base, random);
	r = buf_status(&temp, err);
	if (r < 0)
		return err_prefix(err, r, "write %.255s", name);

	r = write_temp(dirfd, buf_text(&temp), data, len, flags);
	if (r == 0 && renameat(dirfd, buf_text(&temp), dirfd, name) < 0)
		r = -errno;
	if (r < 0) {
		if (r != -EEXIST) /* then it is not ours */
			(void)unlinkat(dirfd, buf_text(&temp), 0);
		return fail(err, r, "write %s: %m", name);
	}
	if (!(flags & REPLACE_DURABLE))
		return 0;
	buf_reset(&temp);
	(void)buf_printf(&temp, "%.*s", dir_len, name);
	return fsync_dir_at(dirfd, temp.len ? buf_text(&temp) : ".", err);
}

/* One directory of mkdir_parents: a directory that is there is left as it is. */
static int make_dir(const char *path, mode_t mode, struct err *err)
{
	struct stat st;
	int code;

	if (mkdir(path, mode) == 0) {
		if (chmod(path, mode) < 0)
			return fail(err, -errno, "set the mode of directory %s: %m", path);
		return 0;
	}
	code = -errno;
	/* A read-only filesystem or an unwritable parent matters only where the directory is
	 * missing. */
	if (stat(path, &st) < 0)
		return fail(err, code, "make directory %s: %m", path);
	if (!S_ISDIR(st.st_mode))
		return fail(err, -ENOTDIR,
			    "make directory %s: there is something else of that name", path);
	return 0;
}

int mkdir_parents(const char *path, mode_t mode, struct err *err)
{
	auto_free char *copy = strdup(path);
	struct stat st;

	if (!copy)
		return fail_oom(err);
	if (stat(path, &st) == 0 && S_ISDIR(st.st_mode))
		return 0;
	for (char *p = copy; *p; p++) {
		int r;

		/* Ends of parts, but not the first of "//" nor the root. */
		if (*p != '/' || p == copy || p[-1] == '/')
			continue;
		*p = 0;
		r = make_dir(copy, mode, err);
		if (r < 0)
			return r;
		*p = '/';
	}
	return make_dir(copy, mode, err);
}

int open_dir_at(int dirfd, const char *name, struct err *err)
{
	int fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return fail(err, -errno, "open directory %s: %m", name);
	return fd;
}

int open_or_make_dir_at(int dirfd, const char *name, mode_t mode, struct err *err)
{
	int fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd >= 0 || errno != ENOENT)
		return fd >= 0 ? fd : fail(err, -errno, "open directory %s: %m", name);
	if (mkdirat(dirfd, name, mode) < 0) {
		if (errno != EEXIST)
			return fail(err, -errno, "make directory %s: %m", name);
	} else if (fchmodat(dirfd, name, mode, 0) < 0) {
		return fail(err, -errno, "set the mode of directory %s: %m", name);
	}
	return open_dir_at(dirfd, name, err);
}

int foreach_name(int dirfd, name_fn *fn, void *arg, struct err *err)
{
	auto_closedir DIR *dir = NULL;
	struct dirent *entry;
	/* A descriptor of its own: reading moves the position. */
	int fd = open_dir_at(dirfd, ".", err), r = 0;

	if (fd < 0)
		return fd;
	dir = fdopendir(fd);
	if (!dir) {
		(void)close(fd);
		return fail(err, -errno, "read a directory: %m");
	}
	while (r == 0 && (entry = readdir(dir)))
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			r = fn(arg, entry->d_name);
	return r;
}
