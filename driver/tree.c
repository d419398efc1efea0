/* SPDX-License-Identifier: Apache-2.0 */
#include "driver/tree.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "driver/base/auto.h"
#include "driver/base/buf.h"
#include "driver/base/sys.h"

#define RESOLVE (RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS)

/* Both as the kernel has them. */
#define LINKS_MAX     40
#define LINK_TEXT_MAX (PATH_MAX - 1)

/* What all the links of one name may add up to. */
#define WALK_TEXT_MAX ((size_t)LINKS_MAX * PATH_MAX)

const char *tree_printable(const char *name, struct tree_text *text)
{
	char *to = text->text;
	const char *end = text->text + sizeof(text->text) - sizeof("\\ooo...");

	for (; *name && to < end; name++) {
		unsigned char c = (unsigned char)*name;

		if (c >= 0x20 && c != 0x7f && c != '\\') {
			*to++ = (char)c;
			continue;
		}
		*to++ = '\\';
		*to++ = (char)('0' + (c >> 6));
		*to++ = (char)('0' + ((c >> 3) & 7));
		*to++ = (char)('0' + (c & 7));
	}
	if (*name) {
		memcpy(to, "...", 3);
		to += 3;
	}
	*to = 0;
	return text->text;
}

/* ---- the walk for kernels without openat2 ---- */

struct walk {
	int root_fd;
	struct stat root;
	int fd;		 /* O_PATH, of what was reached so far; owned */
	struct buf rest; /* what is still to be resolved */
	size_t at;	 /* where it begins in `rest` */
	unsigned int links;
};

static void walk_release(struct walk *w)
{
	auto_close_fn(&w->fd);
	buf_release(&w->rest);
}

static int walk_move(struct walk *w, int fd)
{
	if (fd < 0)
		return -errno;
	auto_close_fn(&w->fd);
	w->fd = fd;
	return 0;
}

static int walk_to_root(struct walk *w)
{
	return walk_move(w, fcntl(w->root_fd, F_DUPFD_CLOEXEC, 0));
}

/* Above the root lies the root. */
static int walk_up(struct walk *w)
{
	struct stat st;

	if (fstat(w->fd, &st) < 0)
		return -errno;
	if (!S_ISDIR(st.st_mode))
		return -ENOTDIR;
	if (st.st_dev == w->root.st_dev && st.st_ino == w->root.st_ino)
		return 0;
	return walk_move(w, openat(w->fd, "..", O_PATH | O_DIRECTORY | O_CLOEXEC));
}

/* The text of a link takes its place before what is still to be resolved. */
static int walk_link(struct walk *w, int link_fd)
{
	auto_buf struct buf rest = { .max = WALK_TEXT_MAX };
	char text[LINK_TEXT_MAX + 1];
	ssize_t len = readlinkat(link_fd, "", text, sizeof(text));

	if (len < 0)
		return -errno;
	if (++w->links > LINKS_MAX)
		return -ELOOP;
	if (!len || (size_t)len == sizeof(text))
		return len ? -ENAMETOOLONG : -ENOENT;
	(void)buf_append(&rest, text, (size_t)len);
	(void)buf_putc(&rest, '/');
	(void)buf_puts(&rest, buf_text(&w->rest) + w->at);
	if (rest.status)
		return rest.status == -EFBIG ? -ENAMETOOLONG : rest.status;
	buf_release(&w->rest);
	w->rest = rest;
	rest = (struct buf){ 0 };
	w->at = 0;
	return text[0] == '/' ? walk_to_root(w) : 0;
}

/* The next component; *ret_more is false where there is none. */
static int walk_step(struct walk *w, bool *ret_more)
{
	auto_close int fd = -EBADF;
	char name[NAME_MAX + 1];
	const char *at = buf_text(&w->rest) + w->at;
	struct stat st;
	size_t len;

	at += strspn(at, "/");
	len = strcspn(at, "/");
	w->at = (size_t)(at - buf_text(&w->rest)) + len;
	*ret_more = len > 0;
	if (!len)
		return 0;
	if (len > NAME_MAX)
		return -ENAMETOOLONG;
	memcpy(name, at, len);
	name[len] = 0;
	if (!strcmp(name, ".."))
		return walk_up(w);

	fd = openat(w->fd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	if (S_ISLNK(st.st_mode))
		return walk_link(w, fd);
	return walk_move(w, take_fd(&fd));
}

/* An O_PATH descriptor of what `path` names beneath root, or -errno. */
static int walk_path(int root_fd, const char *path)
{
	AUTO(walk_release) struct walk w = { .root_fd = root_fd, .fd = -EBADF };
	bool more = true;
	int r;

	w.rest.max = WALK_TEXT_MAX;
	r = fstat(root_fd, &w.root) < 0 ? -errno : buf_puts(&w.rest, path);
	if (r == 0)
		r = walk_to_root(&w);
	while (r == 0 && more)
		r = walk_step(&w, &more);
	if (r < 0)
		return r;
	return take_fd(&w.fd);
}

/* ---- names ---- */

static int open_beneath(int root_fd, const char *path, int flags)
{
	auto_close int fd = -EBADF;
	int r;

	if (!*path)
		path = ".";
	r = sys_openat2(root_fd, path, (uint64_t)flags, 0, RESOLVE);
	if (!sys_is_missing(r))
		return r;
	fd = walk_path(root_fd, path);
	if (fd < 0 || flags == O_PATH)
		return take_fd(&fd);
	r = openat(fd, ".", flags | O_CLOEXEC);
	return r < 0 ? -errno : r;
}

int tree_open_dir(int root_fd, const char *path, struct err *err)
{
	struct tree_text text;
	int fd = open_beneath(root_fd, path, O_RDONLY | O_DIRECTORY);

	if (fd < 0)
		return fail(err, fd, "%s: %m", tree_printable(path, &text));
	return fd;
}

int tree_open_real_dir(int root_fd, const char *path)
{
	int fd = sys_openat2(root_fd, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0,
			     RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS);

	if (!sys_is_missing(fd))
		return fd;
	/* Before Linux 5.6 the same is done a component at a time. */
	fd = openat(root_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	while (fd >= 0 && *path) {
		auto_close int parent = fd;
		char name[NAME_MAX + 1] = { 0 };
		size_t len = strcspn(path, "/");

		if (len > NAME_MAX)
			return -ENAMETOOLONG;
		memcpy(name, path, len);
		path += len + (path[len] == '/');
		fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	}
	return fd < 0 ? -errno : fd;
}

int tree_open_parent(int root_fd, const char *path, char ret_name[NAME_MAX + 1], struct err *err)
{
	auto_free char *parent = NULL;
	struct tree_text text;
	size_t end = strlen(path), start;
	int fd;

	while (end && path[end - 1] == '/')
		end--;
	for (start = end; start && path[start - 1] != '/';)
		start--;
	if (end == start || !strncmp(path + start, ".", end - start) ||
	    (end - start == 2 && !memcmp(path + start, "..", 2)))
		return fail(err, -EINVAL, "\"%s\" names nothing in a directory",
			    tree_printable(path, &text));
	if (end - start > NAME_MAX)
		return fail(err, -ENAMETOOLONG, "%s: %m", tree_printable(path, &text));
	parent = strndup(path, start);
	if (!parent)
		return fail_oom(err);
	fd = tree_open_dir(root_fd, parent, err);
	if (fd < 0)
		return fd;
	memcpy(ret_name, path + start, end - start);
	ret_name[end - start] = 0;
	return fd;
}

int tree_open_file(int root_fd, const char *path, struct err *err)
{
	auto_close int path_fd = open_beneath(root_fd, path, O_PATH);
	char proc[sizeof("/proc/self/fd/") + 3 * sizeof(int)];
	struct tree_text text;
	struct stat st;
	int fd;

	tree_printable(path, &text);
	if (path_fd < 0)
		return fail(err, path_fd, "%s: %m", text.text);
	if (fstat(path_fd, &st) < 0)
		return fail(err, -errno, "%s: %m", text.text);
	if (!S_ISREG(st.st_mode))
		return fail(err, S_ISDIR(st.st_mode) ? -EISDIR : -EINVAL, "%s: not a regular file",
			    text.text);
	/* What was looked at is what is opened, whoever renames meanwhile. */
	(void)snprintf(proc, sizeof(proc), "/proc/self/fd/%d", path_fd);
	fd = open(proc, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return fail(err, -errno, "%s: %m%s", text.text,
			    errno == ENOENT ? " (is /proc mounted?)" : "");
	return fd;
}
