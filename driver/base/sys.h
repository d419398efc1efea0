/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sys: every raw syscall(2) in the tree. glibc 2.36 lacks some, and wraps others in headers that
 * clash with <linux/mount.h>.
 *
 * Each returns the call's result or -errno. Nothing here chooses a fallback: callers ask
 * driver/probe or try in a stated order.
 */
#ifndef DRIVER_BASE_SYS_H
#define DRIVER_BASE_SYS_H

#include <linux/mount.h>
#include <linux/openat2.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* openat2(2); O_CLOEXEC is added. `resolve` is RESOLVE_* bits. EINTR and EAGAIN are retried. */
int sys_openat2(int dirfd, const char *path, uint64_t flags, mode_t mode, uint64_t resolve);

/* The mount API: fsopen(2), fsconfig(2), fsmount(2), move_mount(2), open_tree(2), mount_setattr(2).
 * Descriptors are O_CLOEXEC. */
int sys_fsopen(const char *fs_name);
int sys_fsconfig(int fs_fd, unsigned int cmd, const char *key, const void *value, int aux);
int sys_fsmount(int fs_fd, unsigned int attr_flags);
int sys_move_mount(int from_fd, const char *from, int to_fd, const char *to, unsigned int flags);
int sys_open_tree(int dirfd, const char *path, unsigned int flags);
int sys_mount_setattr(int dirfd, const char *path, unsigned int flags, struct mount_attr *attr,
		      size_t size);

/*
 * mount(2) and umount2(2), here because <sys/mount.h> cannot stand beside <linux/mount.h>. Flags
 * are MS_* of <linux/mount.h>, and these:
 */
#ifndef MNT_DETACH
#define MNT_DETACH 2
#endif
#ifndef UMOUNT_NOFOLLOW
#define UMOUNT_NOFOLLOW 8
#endif
int sys_mount(const char *source, const char *target, const char *fs_name, unsigned long flags,
	      const void *data);
int sys_umount(const char *target, int flags);

/* "This kernel does not have it (or a filter hides it)": ENOSYS, EOPNOTSUPP, and EPERM from a
 * container's seccomp filter. `code` is -errno. */
bool sys_is_missing(int code);

/* Gives the calling thread its own working directory, root and umask: unshare(CLONE_FS). 0 or
 * -errno. */
int sys_own_fs(void);

/*
 * fork(2) into a new user namespace, by clone3(2) (Linux 5.3), without the signal to the parent when the
 * child ends: wait for it with __WALL. In the child of a process with threads only what signal handlers
 * may do. 0 in the child.
 */
pid_t sys_fork_userns(void);

/*
 * quotactl_fd(2) (Linux 5.14) for the filesystem that `fd` is on, quotactl(2) for that of the block device
 * `special`. `cmd` is QCMD(), of <linux/quota.h>.
 */
int sys_quotactl_fd(int fd, unsigned int cmd, uint32_t id, void *addr);
int sys_quotactl(const char *special, unsigned int cmd, uint32_t id, void *addr);

/* setns(2)/unshare(2) for namespaces are libc's and are called directly. pidfd_open(2): descriptor
 * or -errno. */
int sys_pidfd_open(pid_t pid);

/*
 * The mode of dirfd/name, which is never followed: -ELOOP where it is a symlink. glibc's fchmodat wants
 * /proc for this. Before Linux 6.6, where the kernel cannot, it is looked at first: then nobody else may
 * change the directory meanwhile.
 */
int sys_chmod_at(int dirfd, const char *name, mode_t mode);

/* close_range(2) of both ends and all between. */
int sys_close_range(unsigned int first, unsigned int last);

/* landlock_create_ruleset(2) (a descriptor, or the ABI's version), landlock_add_rule(2),
 * landlock_restrict_self(2), seccomp(2). */
int sys_landlock_create_ruleset(const void *attr, size_t size, uint32_t flags);
int sys_landlock_add_rule(int ruleset_fd, int type, const void *attr, uint32_t flags);
int sys_landlock_restrict_self(int ruleset_fd, uint32_t flags);
int sys_seccomp(unsigned int operation, unsigned int flags, void *args);

#endif
