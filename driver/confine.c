/* SPDX-License-Identifier: Apache-2.0 */
#include "driver/confine.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/landlock.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/capability.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "driver/base/auto.h"
#include "driver/base/buf.h"
#include "driver/base/sys.h"
#include "driver/confine_filter.h"

#if defined(__has_feature)
#define HAS_FEATURE(name) __has_feature(name)
#else
#define HAS_FEATURE(name) 0
#endif

/* Sanitizers: they map more than they use, and one has a thread of its own. */
#if defined(__SANITIZE_ADDRESS__) || HAS_FEATURE(address_sanitizer)
#define UNDER_ASAN 1
#else
#define UNDER_ASAN 0
#endif
#if defined(__SANITIZE_THREAD__) || HAS_FEATURE(thread_sanitizer)
#define UNDER_TSAN 1
#else
#define UNDER_TSAN 0
#endif

#define MEMORY_BYTES ((uint64_t)2 << 30)
#define FILE_BYTES   ((uint64_t)1 << 40)
#define MAX_FILES    1024
#define STACK_BYTES  ((uint64_t)8 << 20)

#if UNDER_ASAN
static bool confined;

/* Searching for leaks takes a process that traces this one. Asked for at the exit. */
int __lsan_is_turned_off(void);
int __lsan_is_turned_off(void)
{
	return confined;
}
#endif

/* ---- descriptors ---- */

static bool kept(const struct confine_plan *plan, int fd)
{
	bool found = fd <= STDERR_FILENO || fd == plan->write_fd;

	for (size_t i = 0; !found && i < plan->read_count; i++)
		found = fd == plan->read_fds[i];
	for (size_t i = 0; !found && i < plan->keep_count; i++)
		found = fd == plan->keep_fds[i];
	return found;
}

static int highest_kept(const struct confine_plan *plan)
{
	int highest = plan->write_fd;

	for (size_t i = 0; i < plan->read_count; i++)
		highest = plan->read_fds[i] > highest ? plan->read_fds[i] : highest;
	for (size_t i = 0; i < plan->keep_count; i++)
		highest = plan->keep_fds[i] > highest ? plan->keep_fds[i] : highest;
	return highest;
}

/* Whoever started us may have had descriptors without O_CLOEXEC. */
static int close_others(const struct confine_plan *plan, struct confine_report *report,
			struct err *err)
{
	const int highest = highest_kept(plan);
	struct rlimit open_files = { 0 };
	int r;

	for (int fd = STDERR_FILENO + 1; fd < highest; fd++)
		if (!kept(plan, fd))
			(void)close(fd);
	r = sys_close_range((unsigned int)highest + 1, UINT_MAX);
	if (r == 0)
		return 0;
	if (!sys_is_missing(r)) /* Linux 5.9 */
		return fail(err, r, "close what is not needed: %m");
	(void)getrlimit(RLIMIT_NOFILE, &open_files);
	for (int fd = highest + 1; (rlim_t)fd < open_files.rlim_cur; fd++)
		(void)close(fd);
	return 0;
}

/* ---- rlimits ---- */

static int limit(int resource, uint64_t most, const char *what, struct err *err)
{
	struct rlimit old, new;

	if (getrlimit((__rlimit_resource_t)resource, &old) < 0)
		return fail(err, -errno, "get the limit of %s: %m", what);
	new.rlim_max = old.rlim_max < most ? old.rlim_max : most;
	new.rlim_cur = old.rlim_cur < most ? old.rlim_cur : most;
	if (setrlimit((__rlimit_resource_t)resource, &new) < 0)
		return fail(err, -errno, "limit %s to %llu: %m", what, (unsigned long long)most);
	return 0;
}

static int limit_resources(const struct confine_plan *plan, struct confine_report *report,
			   struct err *err)
{
	const struct {
		int resource;
		uint64_t most;
		const char *what;
	} limits[] = {
		{ RLIMIT_CORE, 0, "core files" },
		{ RLIMIT_FSIZE, plan->file_bytes ? plan->file_bytes : FILE_BYTES,
		  "the size of a file" },
		{ RLIMIT_NOFILE, plan->max_files ? plan->max_files : MAX_FILES, "open files" },
		{ RLIMIT_STACK, STACK_BYTES, "the stack" },
		/* Not the address space: malloc reserves 64 MiB of it a thread, and uses little. */
		{ RLIMIT_DATA, plan->memory_bytes ? plan->memory_bytes : MEMORY_BYTES, "memory" },
	};
	const size_t count = ARRAY_LEN(limits) - (UNDER_ASAN || UNDER_TSAN ? 1 : 0);

	for (size_t i = 0; i < count; i++) {
		int r = limit(limits[i].resource, limits[i].most, limits[i].what, err);

		if (r < 0)
			return sys_is_missing(r) ? 0 : r;
	}
	(void)signal(SIGXFSZ, SIG_IGN);
	report->rlimits = true;
	return 0;
}

/* ---- privileges ---- */

static int forbid_new_privileges(const struct confine_plan *plan, struct confine_report *report,
				 struct err *err)
{
	/* A core pattern with a pipe runs its helper whatever RLIMIT_CORE is, on memory that an attacker
	 * shaped; and no other process of this user may look in. */
	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 && !sys_is_missing(-errno))
		return fail(err, -errno, "forbid dumps: %m");
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return sys_is_missing(-errno) ? 0 : fail(err, -errno, "set no_new_privs: %m");
	report->no_new_privs = true;
	return 0;
}

static int change_root(const struct confine_plan *plan, struct confine_report *report,
		       struct err *err)
{
	if (fchdir(plan->write_fd) < 0)
		return fail(err, -errno, "enter the directory to unpack into: %m");
	if (chroot(".") < 0)
		return sys_is_missing(-errno) ? 0 :
						fail(err, -errno,
						     "make the directory to unpack "
						     "into the root: %m");
	report->root = true;
	return 0;
}

static void caps_free(cap_t *caps)
{
	if (*caps)
		(void)cap_free(*caps);
}

static bool has_cap(cap_t caps, cap_value_t cap, cap_flag_t flag)
{
	cap_flag_value_t value = CAP_CLEAR;

	return cap_get_flag(caps, cap, flag, &value) == 0 && value == CAP_SET;
}

/* What would be executed could have none. Where that is hidden, no_new_privs says the same. */
static int empty_bounding_set(struct err *err)
{
	int present;

	for (cap_value_t cap = 0; (present = cap_get_bound(cap)) >= 0; cap++)
		if (present && cap_drop_bound(cap) < 0 && !sys_is_missing(-errno))
			return fail(err, -errno, "empty the capability bounding set: %m");
	return 0;
}

static int cut_capabilities(const struct confine_plan *plan, struct confine_report *report,
			    struct err *err)
{
	static const cap_value_t wanted[] = { CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_FOWNER,	 CAP_FSETID,
					      CAP_MKNOD, CAP_SETFCAP,	   CAP_SYS_ADMIN };
	const size_t count = ARRAY_LEN(wanted) - (plan->trusted_xattrs ? 0 : 1);
	AUTO(caps_free) cap_t now = cap_get_proc();
	AUTO(caps_free) cap_t cut = cap_init();
	int r = 0;

	if (!now || !cut)
		return fail(err, -errno, "look at the capabilities: %m");
	for (size_t i = 0; i < count; i++)
		if (has_cap(now, wanted[i], CAP_PERMITTED) &&
		    (cap_set_flag(cut, CAP_PERMITTED, 1, &wanted[i], CAP_SET) < 0 ||
		     cap_set_flag(cut, CAP_EFFECTIVE, 1, &wanted[i], CAP_SET) < 0))
			return fail(err, -errno, "choose capabilities: %m");
	if (has_cap(now, CAP_SETPCAP, CAP_EFFECTIVE))
		r = empty_bounding_set(err);
	if (r < 0)
		return r;
	(void)cap_reset_ambient(); /* there is no such set before Linux 4.3 */
	if (cap_set_proc(cut) < 0)
		return sys_is_missing(-errno) ? 0 : fail(err, -errno, "give up capabilities: %m");
	report->capabilities = true;
	return 0;
}

/* ---- Landlock ---- */

/*
 * The kernel's Documentation/userspace-api/landlock.rst; the headers to build with may be older than
 * the kernel to run on.
 */
#define FS_FIRST       ((LANDLOCK_ACCESS_FS_MAKE_SYM << 1) - 1) /* all rights of the first ABI */
#define FS_REFER       (1ull << 13)
#define FS_TRUNCATE    (1ull << 14)
#define FS_IOCTL_DEV   (1ull << 15)
#define NET_TCP	       3ull /* bind, connect */
#define SCOPE_ALL      3ull /* abstract sockets, signals */
#define LANDLOCK_LEAST 2    /* the first ABI refuses all links and renames between directories */

/*
 * For each of these the kernel walks from a new file up to the directory that a rule is about: 2.5 us a
 * file, 5 % of the CPU time of unpacking 100,000 of them. In a detached mount there is nothing outside that
 * a name could lead to, so there they are not looked at.
 */
#define FS_WRITE (LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_WRITE_FILE | FS_TRUNCATE)

struct ruleset {
	uint64_t handled_fs, handled_net, scoped;
};

static int landlock_abi(void)
{
	int abi = sys_landlock_create_ruleset(NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);

	return abi < LANDLOCK_LEAST ? 0 : abi;
}

static struct ruleset ruleset_of(int abi, size_t *ret_size)
{
	struct ruleset set = { .handled_fs = FS_FIRST | FS_REFER };

	*ret_size = offsetof(struct ruleset, handled_net);
	if (abi >= 3)
		set.handled_fs |= FS_TRUNCATE;
	if (abi >= 4) {
		set.handled_net = NET_TCP;
		*ret_size = offsetof(struct ruleset, scoped);
	}
	if (abi >= 5)
		set.handled_fs |= FS_IOCTL_DEV;
	if (abi >= 6) {
		set.scoped = SCOPE_ALL;
		*ret_size = sizeof(struct ruleset);
	}
	return set;
}

static int allow_beneath(int ruleset_fd, int dir_fd, uint64_t access, struct err *err)
{
	const struct landlock_path_beneath_attr rule = { .allowed_access = access,
							 .parent_fd = dir_fd };
	int r = sys_landlock_add_rule(ruleset_fd, LANDLOCK_RULE_PATH_BENEATH, &rule, 0);

	return r < 0 ? fail(err, r, "landlock: allow access beneath a directory: %m") : 0;
}

static int restrict_files(const struct confine_plan *plan, struct confine_report *report,
			  struct err *err)
{
	const uint64_t never = LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_MAKE_SOCK |
			       FS_IOCTL_DEV;
	const uint64_t read = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR;
	const int abi = landlock_abi();
	auto_close int ruleset_fd = -EBADF;
	struct ruleset set;
	size_t size;
	int r;

	if (!abi)
		return 0;
	set = ruleset_of(abi, &size);
	if (report->detached && report->root)
		set.handled_fs &= ~FS_WRITE;
	ruleset_fd = sys_landlock_create_ruleset(&set, size, 0);
	if (ruleset_fd < 0)
		return fail(err, ruleset_fd, "landlock: make a set of rules: %m");
	r = allow_beneath(ruleset_fd, plan->write_fd, set.handled_fs & ~never, err);
	for (size_t i = 0; r == 0 && i < plan->read_count; i++)
		r = allow_beneath(ruleset_fd, plan->read_fds[i], read, err);
	if (r < 0)
		return r;
	r = sys_landlock_restrict_self(ruleset_fd, 0);
	if (r < 0)
		return fail(err, r, "landlock: %m%s",
			    r == -E2BIG ? " (the kernel allows 16 nested sets of rules)" : "");
	report->landlock_abi = abi;
	return 0;
}

/* ---- system calls ---- */

static int restrict_calls(const struct confine_plan *plan, struct confine_report *report,
			  struct err *err)
{
	int r;

#if UNDER_ASAN
	confined = true;
#endif
	r = confine_filter_install();
	if (r < 0)
		return sys_is_missing(r) ? 0 : fail(err, r, "install the system call filter: %m");
	report->seccomp = true;
	return 0;
}

/* ---- all of it ---- */

/* Landlock, capabilities and the filter are those of a thread. unshare(2) has nothing to do for a
 * process with one, and refuses others. */
static int check_alone(const struct confine_plan *plan, struct confine_report *report,
		       struct err *err)
{
	if (!UNDER_TSAN && unshare(CLONE_THREAD) < 0 && errno == EINVAL)
		return fail(err, -EINVAL, "this process has several threads, or shares its memory");
	return 0;
}

static bool without_devices(int fd)
{
	struct statvfs st;

	return fstatvfs(fd, &st) == 0 && (st.f_flag & ST_NODEV);
}

/* The root of a mount that is in no tree of mounts: ".." is where it was. */
static bool is_detached(int fd)
{
	struct stat self, up;

	return fstat(fd, &self) == 0 && fstatat(fd, "..", &up, 0) == 0 &&
	       self.st_ino == up.st_ino && self.st_dev == up.st_dev;
}

static int look_at_views(const struct confine_plan *plan, struct confine_report *report,
			 struct err *err)
{
	report->nodev = without_devices(plan->write_fd);
	report->detached = is_detached(plan->write_fd);
	for (size_t i = 0; i < plan->read_count; i++) {
		report->nodev = report->nodev && without_devices(plan->read_fds[i]);
		report->detached = report->detached && is_detached(plan->read_fds[i]);
	}
	return 0;
}

int confine_self(const struct confine_plan *plan, struct confine_report *ret, struct err *err)
{
	static int (*const parts[])(const struct confine_plan *plan, struct confine_report *report,
				    struct err *err) = {
		check_alone,	  look_at_views,	 close_others,
		limit_resources,  forbid_new_privileges, change_root,
		cut_capabilities, restrict_files,	 restrict_calls,
	};
	struct confine_report report = { 0 };
	int r = 0;

	for (size_t i = 0; r == 0 && i < ARRAY_LEN(parts); i++)
		r = parts[i](plan, &report, err);
	if (r < 0)
		return err_prefix(err, r, "confine the unpacker");
	*ret = report;
	return 0;
}

void confine_probe(struct confine_report *ret)
{
	AUTO(caps_free) cap_t now = cap_get_proc();
	auto_close int view_fd = confine_view(AT_FDCWD, false, NULL);

	*ret = (struct confine_report){
		.rlimits = true,
		.no_new_privs = prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) >= 0,
		.root = now && has_cap(now, CAP_SYS_CHROOT, CAP_EFFECTIVE),
		.capabilities = now != NULL,
		.landlock_abi = landlock_abi(),
		.seccomp = confine_filter_possible(),
		.nodev = view_fd >= 0 && without_devices(view_fd),
		.detached = view_fd >= 0 && is_detached(view_fd),
	};
}

void confine_describe(const struct confine_report *report, char *text, size_t size)
{
	char landlock[32] = "landlock";
	const struct {
		const char *name;
		bool there;
	} parts[] = {
		{ landlock, report->landlock_abi > 0 },
		{ "seccomp", report->seccomp },
		{ "capabilities", report->capabilities },
		{ "no_new_privs", report->no_new_privs },
		{ "own root", report->root },
		{ "nodev view", report->nodev },
		{ "rlimits", report->rlimits },
	};
	auto_buf struct buf words = { .max = 1024 };
	const char *between = "";

	if (report->landlock_abi)
		(void)snprintf(landlock, sizeof(landlock), "landlock (abi %d)",
			       report->landlock_abi);
	for (int there = 1; there >= 0; there--) {
		for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
			if (parts[i].there != there)
				continue;
			(void)buf_printf(&words, "%s%s", between, parts[i].name);
			between = ", ";
		}
		between = words.len ? "; missing: " : "none; missing: ";
	}
	(void)snprintf(text, size, "%s", buf_text(&words));
}

/* ---- the view ---- */

/* "." makes a descriptor that is no O_PATH, and a lock of its own. */
static int open_anew(int dir_fd, struct err *err)
{
	int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 ? fail(err, -errno, "open the directory to unpack into: %m") : fd;
}

int confine_view(int dir_fd, bool writable, struct err *err)
{
	struct mount_attr attr = { .attr_set = MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC |
					       MOUNT_ATTR_NOSUID |
					       (writable ? 0 : MOUNT_ATTR_RDONLY) };
	auto_close int tree_fd = sys_open_tree(dir_fd, "", OPEN_TREE_CLONE | AT_EMPTY_PATH);
	int r;

	/* EINVAL: of a mount namespace that is not ours */
	if (sys_is_missing(tree_fd) || tree_fd == -EINVAL)
		return open_anew(dir_fd, err);
	if (tree_fd < 0)
		return fail(err, tree_fd, "make a view of the directory to unpack into: %m");
	r = sys_mount_setattr(tree_fd, "", AT_EMPTY_PATH, &attr, sizeof(attr));
	if (sys_is_missing(r))
		return open_anew(dir_fd, err);
	if (r < 0)
		return fail(err, r,
			    "keep devices out of a view of the directory to unpack into: %m");
	return open_anew(tree_fd, err);
}

int confine_file_view(int fd)
{
	struct mount_attr attr = { .attr_set = MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC |
					       MOUNT_ATTR_NOSUID | MOUNT_ATTR_RDONLY };
	auto_close int tree_fd = sys_open_tree(fd, "", OPEN_TREE_CLONE | AT_EMPTY_PATH);
	char path[32];
	int view;

	if (tree_fd < 0 || sys_mount_setattr(tree_fd, "", AT_EMPTY_PATH, &attr, sizeof(attr)) < 0)
		return -EOPNOTSUPP;
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", tree_fd);
	view = open(path, O_RDONLY | O_CLOEXEC);
	return view < 0 ? -EOPNOTSUPP : view;
}
