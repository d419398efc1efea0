/* SPDX-License-Identifier: Apache-2.0 */
#include "driver/base/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SYS_quotactl_fd /* Linux 5.14; one number for all */
#define SYS_quotactl_fd 443
#endif
#ifndef SYS_fchmodat2 /* Linux 6.6; one number for all */
#define SYS_fchmodat2 452
#endif

/* The kernel gives EAGAIN when a rename or mount raced with a scoped lookup; only an attacker who
 * never stops gets this far. */
#define OPENAT2_TRIES 64

static int result(long r)
{
	return r < 0 ? -errno : (int)r;
}

int sys_openat2(int dirfd, const char *path, uint64_t flags, mode_t mode, uint64_t resolve)
{
	struct open_how how = { .flags = flags | O_CLOEXEC, .mode = mode, .resolve = resolve };
	int tries = OPENAT2_TRIES;
	int fd;

	do {
		fd = result(syscall(SYS_openat2, dirfd, path, &how, sizeof(how)));
	} while (fd == -EINTR || (fd == -EAGAIN && --tries));
	return fd;
}

int sys_fsopen(const char *fs_name)
{
	return result(syscall(SYS_fsopen, fs_name, FSOPEN_CLOEXEC));
}

int sys_fsconfig(int fs_fd, unsigned int cmd, const char *key, const void *value, int aux)
{
	return result(syscall(SYS_fsconfig, fs_fd, cmd, key, value, aux));
}

int sys_fsmount(int fs_fd, unsigned int attr_flags)
{
	return result(syscall(SYS_fsmount, fs_fd, FSMOUNT_CLOEXEC, attr_flags));
}

int sys_move_mount(int from_fd, const char *from, int to_fd, const char *to, unsigned int flags)
{
	return result(syscall(SYS_move_mount, from_fd, from, to_fd, to, flags));
}

int sys_open_tree(int dirfd, const char *path, unsigned int flags)
{
	return result(syscall(SYS_open_tree, dirfd, path, flags | OPEN_TREE_CLOEXEC));
}

int sys_chmod_at(int dirfd, const char *name, mode_t mode)
{
	struct stat st;
	int r = result(syscall(SYS_fchmodat2, dirfd, name, mode, AT_SYMLINK_NOFOLLOW));

	/* A filter that does not know it says EPERM; so may the kernel mean it, and then says so again. */
	if (r == -EOPNOTSUPP)
		return -ELOOP;
	if (r != -ENOSYS && r != -EPERM)
		return r;
	if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	if (S_ISLNK(st.st_mode))
		return -ELOOP;
	return fchmodat(dirfd, name, mode, 0) < 0 ? -errno : 0;
}

int sys_mount_setattr(int dirfd, const char *path, unsigned int flags, struct mount_attr *attr,
		      size_t size)
{
	return result(syscall(SYS_mount_setattr, dirfd, path, flags, attr, size));
}

int sys_mount(const char *source, const char *target, const char *fs_name, unsigned long flags,
	      const void *data)
{
	return result(syscall(SYS_mount, source, target, fs_name, flags, data));
}

int sys_umount(const char *target, int flags)
{
	return result(syscall(SYS_umount2, target, flags));
}

bool sys_is_missing(int code)
{
	return code == -ENOSYS || code == -EOPNOTSUPP || code == -EPERM;
}

int sys_own_fs(void)
{
	return result(unshare(CLONE_FS));
}

pid_t sys_fork_userns(void)
{
	struct clone_args args = { .flags = CLONE_NEWUSER }; /* exit_signal 0: none */

	return result(syscall(SYS_clone3, &args, sizeof(args)));
}

int sys_quotactl_fd(int fd, unsigned int cmd, uint32_t id, void *addr)
{
	return result(syscall(SYS_quotactl_fd, fd, cmd, id, addr));
}

int sys_quotactl(const char *special, unsigned int cmd, uint32_t id, void *addr)
{
	return result(syscall(SYS_quotactl, cmd, special, id, addr));
}

int sys_pidfd_open(pid_t pid)
{
	return result(syscall(SYS_pidfd_open, pid, 0));
}

int sys_close_range(unsigned int first, unsigned int last)
{
	return result(syscall(SYS_close_range, first, last, 0));
}

int sys_landlock_create_ruleset(const void *attr, size_t size, uint32_t flags)
{
	return result(syscall(SYS_landlock_create_ruleset, attr, size, flags));
}

int sys_landlock_add_rule(int ruleset_fd, int type, const void *attr, uint32_t flags)
{
	return result(syscall(SYS_landlock_add_rule, ruleset_fd, type, attr, flags));
}

int sys_landlock_restrict_self(int ruleset_fd, uint32_t flags)
{
	return result(syscall(SYS_landlock_restrict_self, ruleset_fd, flags));
}

int sys_seccomp(unsigned int operation, unsigned int flags, void *args)
{
	return result(syscall(SYS_seccomp, operation, flags, args));
}
