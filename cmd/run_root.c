/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/run_root.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "cmd/defaults.h"
#include "cmd/rootfs.h"
#include "driver/base/auto.h"
#include "driver/base/fd.h"
#include "driver/base/sys.h"

#define HOSTS_MAX ((size_t)1 << 20)
#define LOCKED	  (MS_NOSUID | MS_NODEV | MS_NOEXEC)

/* glibc has it, but no header says so. */
int pivot_root(const char *new_root, const char *put_old);

/* A filesystem on `path`, which is made where it is missing. */
static int mount_fs(int root_fd, const char *path, const char *fs_name, unsigned long flags,
		    const char *data, struct err *err)
{
	auto_close int fd = root_make(root_fd, path, ROOT_DIRECTORY, err);
	int r;

	if (fd < 0)
		return fd;
	r = sys_mount(fs_name, fd_path(fd).text, fs_name, flags, data);
	return r < 0 ? fail(err, r, "mount %s on %s in the container: %m", fs_name, path) : 0;
}

/* Adds flags to the mount that is now on `path`, and keeps those it has. */
static int restrict_mount(int root_fd, const char *path, unsigned long add, struct err *err)
{
	auto_close int fd = root_open(root_fd, path, err);
	struct statvfs st;
	int r;

	if (fd < 0)
		return fd;
	if (fstatvfs(fd, &st) < 0)
		return fail(err, -errno, "%s in the container: %m", path);
	add |= st.f_flag & (MS_RDONLY | LOCKED); /* ST_* and MS_* are the same bits */
	r = sys_mount(NULL, fd_path(fd).text, NULL, MS_REMOUNT | MS_BIND | add, NULL);
	return r < 0 ? fail(err, r, "restrict the mount on %s in the container: %m", path) : 0;
}

/* `source` of the host on `path`. */
static int bind(int root_fd, const char *source, const char *path, enum root_kind kind,
		struct err *err)
{
	auto_close int fd = root_make(root_fd, path, kind, err);
	int r;

	if (fd < 0)
		return fd;
	r = sys_mount(source, fd_path(fd).text, NULL, MS_BIND | MS_REC, NULL);
	return r < 0 ? fail(err, r, "mount %s on %s in the container: %m", source, path) : 0;
}

/* ---- /dev ---- */

static int make_nodes(int root_fd, struct err *err)
{
	static const char *const nodes[] = { "/dev/null",   "/dev/zero",    "/dev/full",
					     "/dev/random", "/dev/urandom", "/dev/tty" };

	for (size_t i = 0; i < ARRAY_LEN(nodes); i++) {
		struct stat st;
		int r;

		if (stat(nodes[i], &st) < 0 || !S_ISCHR(st.st_mode)) /* the host does without it */
			continue;
		r = bind(root_fd, nodes[i], nodes[i], ROOT_FILE, err);
		if (r < 0)
			return r;
	}
	return 0;
}

static int make_links(int root_fd, struct err *err)
{
	static const char *const links[][2] = {
		{ "fd", "/proc/self/fd" },	 { "stdin", "/proc/self/fd/0" },
		{ "stdout", "/proc/self/fd/1" }, { "stderr", "/proc/self/fd/2" },
		{ "ptmx", "pts/ptmx" },
	};
	auto_close int dev_fd = root_open(root_fd, "/dev", err);

	if (dev_fd < 0)
		return dev_fd;
	for (size_t i = 0; i < ARRAY_LEN(links); i++) {
		if (symlinkat(links[i][1], dev_fd, links[i][0]) < 0)
			return fail(err, -errno, "make /dev/%s in the container: %m", links[i][0]);
	}
	return 0;
}

/* ---- filesystems ---- */

static int mount_sys(int root_fd, struct err *err)
{
	int r = mount_fs(root_fd, "/sys", "sysfs", MS_RDONLY | LOCKED, NULL, err);

	if (r != -EPERM)
		return r;
	/* Ours only if the network namespace is; the host's view of it will do. */
	r = bind(root_fd, "/sys", "/sys", ROOT_DIRECTORY, err);
	return r < 0 ? r : restrict_mount(root_fd, "/sys", MS_RDONLY | LOCKED, err);
}

static int mount_filesystems(int root_fd, struct err *err)
{
	static const struct {
		const char *path, *fs_name, *data;
		unsigned long flags;
	} mounts[] = {
		{ "/proc", "proc", NULL, LOCKED },
		{ "/dev", "tmpfs", "mode=755,size=65536k", MS_NOSUID | MS_NODEV | MS_STRICTATIME },
		{ "/dev/pts", "devpts", "newinstance,ptmxmode=0666,mode=0620,gid=5",
		  MS_NOSUID | MS_NOEXEC },
		{ "/dev/shm", "tmpfs", "mode=1777,size=65536k", LOCKED },
	};
	int r = 0;

	for (size_t i = 0; r == 0 && i < ARRAY_LEN(mounts); i++)
		r = mount_fs(root_fd, mounts[i].path, mounts[i].fs_name, mounts[i].flags,
			     mounts[i].data, err);
	if (r == 0)
		r = make_nodes(root_fd, err);
	if (r == 0)
		r = make_links(root_fd, err);
	if (r == 0)
		r = mount_sys(root_fd, err);
	if (r < 0)
		return r;
	r = mount_fs(root_fd, "/dev/mqueue", "mqueue", LOCKED, NULL, err);
	return r == -ENODEV ? 0 : r; /* a kernel without POSIX message queues */
}

/* ---- /etc ---- */

/* An image that has no place for the file (its /etc is a file, or a link to nowhere) does without. */
static int bind_read_only(int root_fd, const char *source, const char *path, struct err *err)
{
	auto_close int place = root_make(root_fd, path, ROOT_FILE, NULL);
	int r;

	if (place < 0)
		return 0;
	r = bind(root_fd, source, path, ROOT_FILE, err);
	return r < 0 ? r : restrict_mount(root_fd, path, MS_RDONLY | LOCKED, err);
}

/* Text as a file: it lives in /dev's tmpfs without a name, held by the bind mount. */
static int bind_text(int root_fd, const struct buf *text, const char *path, struct err *err)
{
	auto_close int dev_fd = root_open(root_fd, "/dev", err);
	auto_close int fd = -EBADF;
	int r;

	if (dev_fd < 0)
		return dev_fd;
	fd = openat(dev_fd, ".text", O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	if (fd < 0)
		return fail(err, -errno, "make a file for %s: %m", path);
	r = write_full(fd, buf_text(text), text->len);
	if (r < 0)
		r = fail(err, r, "write the file for %s: %m", path);
	else
		r = bind_read_only(root_fd, fd_path(fd).text, path, err);
	(void)unlinkat(dev_fd, ".text", 0);
	return r;
}

static int bind_names(int root_fd, const char *hostname, struct err *err)
{
	auto_buf struct buf hosts = { .max = HOSTS_MAX };
	auto_buf struct buf own_name = { 0 };
	int r = read_file_at(AT_FDCWD, "/etc/hosts", &hosts, err);

	if (r == -ENOENT)
		(void)buf_puts(&hosts, "127.0.0.1\tlocalhost\n::1\tlocalhost\n");
	else if (r < 0)
		return r;
	if (hosts.len && hosts.data[hosts.len - 1] != '\n')
		(void)buf_putc(&hosts, '\n');
	(void)buf_printf(&hosts, "127.0.1.1\t%s\n", hostname);
	(void)buf_printf(&own_name, "%s\n", hostname);
	r = buf_status(&hosts, err);
	if (r == 0)
		r = bind_text(root_fd, &hosts, "/etc/hosts", err);
	return r < 0 ? r : bind_text(root_fd, &own_name, "/etc/hostname", err);
}

static int bind_etc(int root_fd, const char *hostname, struct err *err)
{
	int r = 0;

	if (access("/etc/resolv.conf", R_OK) == 0)
		r = bind_read_only(root_fd, "/etc/resolv.conf", "/etc/resolv.conf", err);
	return r < 0 ? r : bind_names(root_fd, hostname, err);
}

/* ---- volumes ---- */

/* A volume of the host's devices was asked for as such; in others nothing opens as a device. */
static bool is_devices(const struct stat *source)
{
	struct stat dev;

	return S_ISCHR(source->st_mode) || S_ISBLK(source->st_mode) ||
	       (stat("/dev", &dev) == 0 && dev.st_dev == source->st_dev);
}

static int mount_volume(int root_fd, const struct volume *volume, struct err *err)
{
	unsigned long flags = volume->read_only ? MS_RDONLY : 0;
	struct stat st;
	int r;

	if (stat(volume->source, &st) < 0)
		return fail(err, -errno, "volume %s: %m", volume->source);
	r = bind(root_fd, volume->source, volume->target,
		 S_ISDIR(st.st_mode) ? ROOT_DIRECTORY : ROOT_FILE, err);
	if (!is_devices(&st))
		flags |= MS_NODEV;
	return r < 0 || !flags ? r : restrict_mount(root_fd, volume->target, flags, err);
}

/* ---- what is not to be seen or written ---- */

static int mask(int root_fd, const char *path, struct err *err)
{
	auto_close int fd = root_open(root_fd, path, NULL);
	struct stat st;
	int r;

	if (fd < 0 || fstat(fd, &st) < 0)
		return 0; /* this kernel does not have it */
	if (S_ISDIR(st.st_mode))
		r = sys_mount("tmpfs", fd_path(fd).text, "tmpfs", MS_RDONLY | LOCKED, "size=0k");
	else
		r = sys_mount("/dev/null", fd_path(fd).text, NULL, MS_BIND, NULL);
	return r < 0 ? fail(err, r, "hide %s in the container: %m", path) : 0;
}

static int make_readonly(int root_fd, const char *path, struct err *err)
{
	auto_close int fd = root_open(root_fd, path, NULL);
	int r;

	if (fd < 0)
		return 0; /* this kernel does not have it */
	r = sys_mount(fd_path(fd).text, fd_path(fd).text, NULL, MS_BIND | MS_REC, NULL);
	if (r < 0)
		return fail(err, r, "protect %s in the container: %m", path);
	return restrict_mount(root_fd, path, MS_RDONLY, err);
}

static int protect(int root_fd, struct err *err)
{
	int r = 0;

	for (const char *const *path = default_readonly_paths; r == 0 && *path; path++)
		r = make_readonly(root_fd, *path, err);
	for (const char *const *path = default_masked_paths; r == 0 && *path; path++)
		r = mask(root_fd, *path, err);
	return r;
}

static int make_cwd(int root_fd, const char *cwd, struct err *err)
{
	auto_close int fd = root_make(root_fd, cwd, ROOT_DIRECTORY, err);

	return fd < 0 ? fd : 0;
}

int run_root_prepare(const struct root_plan *plan, struct err *err)
{
	auto_close int root_fd = open(plan->path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	int r;

	if (root_fd < 0)
		return fail(err, -errno, "open %s: %m", plan->path);
	r = restrict_mount(root_fd, "/", MS_NODEV, err);
	if (r == 0)
		r = mount_filesystems(root_fd, err);
	if (r == 0)
		r = bind_etc(root_fd, plan->hostname, err);
	for (size_t i = 0; r == 0 && i < plan->volume_count; i++)
		r = mount_volume(root_fd, &plan->volumes[i], err);
	if (r == 0)
		r = make_cwd(root_fd, plan->cwd, err);
	if (r == 0)
		r = protect(root_fd, err);
	if (r == 0 && plan->read_only)
		r = restrict_mount(root_fd, "/", MS_RDONLY, err);
	return r < 0 ? r : take_fd(&root_fd);
}

int run_root_enter(int root_fd, struct err *err)
{
	int r;

	/* "." twice: the old root is stacked on the new one, and taken off again, without a
	 * directory for it (pivot_root(2), NOTES). */
	if (fchdir(root_fd) < 0 || pivot_root(".", ".") < 0)
		return fail(err, -errno, "pivot_root: %m");
	r = sys_umount(".", MNT_DETACH);
	if (r < 0)
		return fail(err, r, "detach the old root: %m");
	return chdir("/") < 0 ? fail(err, -errno, "chdir /: %m") : 0;
}
