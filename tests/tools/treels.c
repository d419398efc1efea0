/* SPDX-License-Identifier: Apache-2.0 */
/*
 * treels [OPTION...] DIR: what is in a tree, so that two trees are equal where their listings are.
 *
 *	./etc/passwd f 0644 0:0 mtime=1700000000.000000000 nlink=1 size=1024 sha256=... user.x=0a0b
 *	./bin l 0:0 mtime=... nlink=1 to=usr/bin
 *	./dev/null c 0666 0:0 mtime=... nlink=1 dev=1:3
 *	./etc d 0755 0:0 mtime=...
 *	./etc/shadow- f ... nlink=2 same=./etc/passwd
 *
 * One line an entry: path, type (f d l c b p s), mode but of symlinks, owner, then what the type has,
 * then xattrs sorted by name, values in hex. Names of a directory are sorted by their bytes, a
 * directory stands before what it holds. In names every byte that is not printable ASCII, blanks and
 * backslashes are \ooo. `same` names the first path of a hard-linked inode. What depends on the
 * filesystem (size and link count of directories) is left out. Follows no symlink; any depth.
 *
 *	-x PREFIX	leave out xattrs whose names begin so (repeatable)
 *	--no-nlink	leave out nlink and same
 *	--no-mtime	leave out mtime
 *	--no-dir-mtime	leave out mtime of directories
 *	--no-owner	leave out owners
 *	--no-root	leave out the line of DIR itself
 *	--no-contents	leave out sha256
 */
#include <dirent.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "driver/base/auto.h"
#include "driver/base/digest.h"

#define EXCLUDED_MAX 64
#define PIECE	     ((size_t)1 << 20)

static struct {
	bool no_nlink, no_mtime, no_dir_mtime, no_owner, no_root, no_contents;
	const char *excluded[EXCLUDED_MAX];
	size_t excluded_count;
} options;

/* Names of one directory, sorted. */
struct names {
	char **list;
	size_t count, next, size;
};

/* A directory on the way from the top to where the walk is. */
struct level {
	struct names names;
	size_t path_len;
	dev_t dev;
	ino_t ino;
};

struct linked {
	dev_t dev;
	ino_t ino;
	char *path;
};

static struct level *levels;
static size_t depth, levels_size;
static int dir_fd = -EBADF; /* of the innermost level */
static char *path;	    /* of the entry at hand */
static size_t path_size;
static struct linked *linked; /* open addressing */
static size_t linked_size, linked_count;

static void die(const char *what, ...) __attribute__((format(printf, 1, 2), noreturn));

static void die(const char *what, ...)
{
	int code = errno;
	va_list ap;

	va_start(ap, what);
	(void)fprintf(stderr, "treels: ");
	(void)vfprintf(stderr, what, ap);
	va_end(ap);
	(void)fprintf(stderr, ": %s\n", strerror(code));
	exit(1);
}

static void *need(void *memory)
{
	if (!memory)
		die("memory");
	return memory;
}

/* ---- one entry ---- */

static void print_name(const char *name)
{
	for (; *name; name++) {
		unsigned char c = (unsigned char)*name;

		if (c > ' ' && c < 0x7f && c != '\\')
			(void)putchar(c);
		else
			(void)printf("\\%03o", c);
	}
}

/* The slot of an inode: its own, or the free one where it belongs. */
static struct linked *linked_slot(struct linked *table, size_t size, dev_t dev, ino_t ino)
{
	size_t at = (size_t)((ino ^ dev << 40) * 0x9e3779b97f4a7c15u >> 16);

	while (table[at & (size - 1)].path &&
	       (table[at & (size - 1)].ino != ino || table[at & (size - 1)].dev != dev))
		at++;
	return &table[at & (size - 1)];
}

static void grow_linked(void)
{
	size_t size = linked_size ? linked_size * 2 : 256;
	struct linked *table = need(calloc(size, sizeof(*table)));

	for (size_t i = 0; i < linked_size; i++) {
		if (linked[i].path)
			*linked_slot(table, size, linked[i].dev, linked[i].ino) = linked[i];
	}
	free(linked);
	linked = table;
	linked_size = size;
}

static void print_links(const struct stat *st)
{
	struct linked *slot;

	(void)printf(" nlink=%ju", (uintmax_t)st->st_nlink);
	if (st->st_nlink < 2)
		return;
	if (linked_count * 2 >= linked_size)
		grow_linked();
	slot = linked_slot(linked, linked_size, st->st_dev, st->st_ino);
	if (slot->path) {
		(void)printf(" same=");
		print_name(slot->path);
		return;
	}
	*slot = (struct linked){ st->st_dev, st->st_ino, need(strdup(path)) };
	linked_count++;
}

static void print_contents(const char *name)
{
	static char piece[PIECE];
	auto_close int fd = openat(dir_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	auto_hasher struct hasher *h = NULL;
	struct err err = { 0 };
	struct digest digest;
	ssize_t len;

	if (fd < 0)
		die("%s", path);
	if (hasher_new("sha256", &h, &err) < 0)
		die("%s", err.text);
	while ((len = read(fd, piece, sizeof(piece))) > 0)
		hasher_update(h, piece, (size_t)len);
	if (len < 0)
		die("%s", path);
	hasher_final(h, &digest);
	(void)printf(" sha256=%s", digest_hex(&digest));
}

static void print_target(const char *name)
{
	char target[PATH_MAX + 1];
	ssize_t len = readlinkat(dir_fd, name, target, PATH_MAX);

	if (len < 0)
		die("%s", path);
	target[len] = 0;
	(void)printf(" to=");
	print_name(target);
}

static int by_bytes(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static bool excluded(const char *xattr)
{
	for (size_t i = 0; i < options.excluded_count; i++) {
		if (!strncmp(xattr, options.excluded[i], strlen(options.excluded[i])))
			return true;
	}
	return false;
}

static void print_xattr(const char *proc, const char *name)
{
	static unsigned char value[65536];
	ssize_t len = lgetxattr(proc, name, value, sizeof(value));

	if (len < 0)
		die("%s: %s", path, name);
	(void)putchar(' ');
	print_name(name);
	(void)putchar('=');
	for (ssize_t i = 0; i < len; i++)
		(void)printf("%02x", value[i]);
}

/* No system call takes xattrs of a bare name in a directory; /proc leads there. */
static void print_xattrs(const char *name)
{
	static char list[65536];
	char proc[NAME_MAX + 64];
	char *sorted[sizeof(list) / 2];
	size_t count = 0;
	ssize_t len;

	(void)snprintf(proc, sizeof(proc), "/proc/self/fd/%d/%s", dir_fd, name);
	len = llistxattr(proc, list, sizeof(list));
	if (len < 0 && errno != EOPNOTSUPP)
		die("%s: xattrs", path);
	for (ssize_t at = 0; at < len; at += (ssize_t)strlen(list + at) + 1)
		sorted[count++] = list + at;
	qsort(sorted, count, sizeof(sorted[0]), by_bytes);
	for (size_t i = 0; i < count; i++) {
		if (!excluded(sorted[i]))
			print_xattr(proc, sorted[i]);
	}
}

static char type_letter(mode_t mode)
{
	static const char letters[] = { [S_IFREG >> 12] = 'f', [S_IFDIR >> 12] = 'd',
					[S_IFLNK >> 12] = 'l', [S_IFCHR >> 12] = 'c',
					[S_IFBLK >> 12] = 'b', [S_IFIFO >> 12] = 'p',
					[S_IFSOCK >> 12] = 's' };

	return letters[(mode & S_IFMT) >> 12];
}

/* The line of dir_fd/name, which is what `path` is. */
static void print_entry(const char *name, const struct stat *st)
{
	print_name(path);
	(void)printf(" %c", type_letter(st->st_mode));
	if (!S_ISLNK(st->st_mode))
		(void)printf(" %04o", st->st_mode & 07777);
	if (!options.no_owner)
		(void)printf(" %u:%u", st->st_uid, st->st_gid);
	if (!options.no_mtime && !(options.no_dir_mtime && S_ISDIR(st->st_mode)))
		(void)printf(" mtime=%jd.%09ld", (intmax_t)st->st_mtim.tv_sec, st->st_mtim.tv_nsec);
	if (!options.no_nlink && !S_ISDIR(st->st_mode))
		print_links(st);
	if (S_ISREG(st->st_mode))
		(void)printf(" size=%jd", (intmax_t)st->st_size);
	if (S_ISREG(st->st_mode) && !options.no_contents)
		print_contents(name);
	if (S_ISLNK(st->st_mode))
		print_target(name);
	if (S_ISCHR(st->st_mode) || S_ISBLK(st->st_mode))
		(void)printf(" dev=%u:%u", major(st->st_rdev), minor(st->st_rdev));
	print_xattrs(name);
	(void)putchar('\n');
}

/* ---- the walk ---- */

static void set_path(size_t len, const char *name)
{
	size_t need_bytes = len + strlen(name) + 2;

	if (need_bytes > path_size) {
		path_size = need_bytes * 2;
		path = need(realloc(path, path_size));
	}
	if (len)
		path[len++] = '/';
	memcpy(path + len, name, strlen(name) + 1);
}

static void read_names(struct names *names)
{
	int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	auto_closedir DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *entry;

	if (!dir)
		die("%s", path);
	for (errno = 0; (entry = readdir(dir)); errno = 0) {
		if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
			continue;
		if (names->count == names->size) {
			names->size = names->size ? names->size * 2 : 16;
			names->list = need(
				realloc(names->list, names->size * sizeof(*names->list)));
		}
		names->list[names->count++] = need(strdup(entry->d_name));
	}
	if (errno)
		die("%s", path);
	if (names->count)
		qsort(names->list, names->count, sizeof(*names->list), by_bytes);
}

/* dir_fd is a new innermost directory now, at `path`. */
static void enter(const struct stat *st)
{
	if (depth == levels_size) {
		levels_size = levels_size ? levels_size * 2 : 64;
		levels = need(realloc(levels, levels_size * sizeof(*levels)));
	}
	levels[depth] = (struct level){ .path_len = strlen(path),
					.dev = st->st_dev,
					.ino = st->st_ino };
	read_names(&levels[depth].names);
	depth++;
}

/* Only the innermost directory is open: the way back is "..". */
static void leave(void)
{
	struct level *level = &levels[--depth];
	struct stat st;
	int fd;

	free(level->names.list);
	if (!depth)
		return;
	fd = openat(dir_fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0)
		die("%s/..", path);
	if (st.st_ino != levels[depth - 1].ino || st.st_dev != levels[depth - 1].dev) {
		errno = EAGAIN;
		die("%s: the tree changes", path);
	}
	(void)close(dir_fd);
	dir_fd = fd;
}

static void step(void)
{
	struct level *level = &levels[depth - 1];
	auto_free char *name = NULL;
	struct stat st;
	int fd;

	if (level->names.next == level->names.count) {
		leave();
		return;
	}
	name = level->names.list[level->names.next++];
	set_path(level->path_len, name);
	if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT) < 0)
		die("%s", path);
	print_entry(name, &st);
	if (!S_ISDIR(st.st_mode))
		return;
	fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		die("%s", path);
	(void)close(dir_fd);
	dir_fd = fd;
	enter(&st);
}

static void list_tree(const char *top)
{
	struct stat st;

	dir_fd = open(top, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir_fd < 0 || fstat(dir_fd, &st) < 0)
		die("%s", top);
	set_path(0, ".");
	if (!options.no_root)
		print_entry(".", &st);
	enter(&st);
	while (depth)
		step();
}

/* ---- the command ---- */

static void usage(void)
{
	(void)fprintf(stderr,
		      "usage: treels [-x PREFIX]... [--no-nlink] [--no-mtime] [--no-dir-mtime] "
		      "[--no-owner] [--no-root] [--no-contents] DIR\n");
	exit(2);
}

static void parse_options(int argc, char **argv)
{
	static const struct option long_options[] = {
		{ "no-nlink", no_argument, NULL, 'n' },
		{ "no-mtime", no_argument, NULL, 't' },
		{ "no-dir-mtime", no_argument, NULL, 'd' },
		{ "no-owner", no_argument, NULL, 'o' },
		{ "no-root", no_argument, NULL, 'r' },
		{ "no-contents", no_argument, NULL, 'c' },
		{ 0 },
	};
	bool *const flags[] = {
		['n'] = &options.no_nlink, ['t'] = &options.no_mtime, ['d'] = &options.no_dir_mtime,
		['o'] = &options.no_owner, ['r'] = &options.no_root,  ['c'] = &options.no_contents,
	};
	int c;

	while ((c = getopt_long(argc, argv, "x:", long_options, NULL)) != -1) {
		if (c == '?' || (c == 'x' && options.excluded_count == EXCLUDED_MAX))
			usage();
		if (c == 'x')
			options.excluded[options.excluded_count++] = optarg;
		else
			*flags[c] = true;
	}
	if (optind + 1 != argc)
		usage();
}

int main(int argc, char **argv)
{
	parse_options(argc, argv);
	list_tree(argv[optind]);
	if (fflush(stdout) || ferror(stdout))
		die("standard output");
	return 0;
}
