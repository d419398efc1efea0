/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Everything is tried from inside: a child confines itself and does one thing. What must be denied is
 * tried by a child that is not confined too, where it must succeed, so that no attempt fails for a
 * reason of its own.
 */
#include "driver/confine.h"

#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/io_uring.h>
#include <linux/keyctl.h>
#include <linux/perf_event.h>
#include <linux/userfaultfd.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/capability.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <cmocka.h>

#include "driver/apply.h"
#include "driver/base/auto.h"
#include "driver/base/fd.h"
#include "driver/base/pool.h"
#include "driver/base/sys.h"
#include "driver/tree.h"
#include "tests/tools/deny_filter.h"
#include "tests/unit/sandbox.h"
#include "tests/unit/util.h"

#ifdef __SANITIZE_ADDRESS__
#define UNDER_ASAN true
#else
#define UNDER_ASAN false
#endif

#ifndef MADV_SOFT_OFFLINE
#define MADV_SOFT_OFFLINE 101
#endif

#define NOBODY 65534

#define FILE_BYTES   ((uint64_t)1 << 20)
#define MEMORY_BYTES ((uint64_t)256 << 20)
#define MAX_FILES    64

/* What attempts use; made before the fork. */
static struct {
	int write_fd, read_fd;	   /* staging, parent */
	int outside_fd, secret_fd; /* descriptors that should not have been handed on */
	int inet_fd, unix_fd;	   /* a TCP and an AF_UNIX datagram socket, likewise */
	int namespace_fd;
	int forgotten_fd; /* without O_CLOEXEC, and not in the plan */
	int control_fds[2];
	pid_t parent;
	char secret[PATH_MAX], socket[sizeof(((struct sockaddr_un *)0)->sun_path)], abstract[64];
	struct sockaddr_in address; /* somebody listens */
	struct {
		struct file_handle handle;
		unsigned char bytes[MAX_HANDLE_SZ];
	} handle; /* of secret */
} w;

static int code(long r)
{
	return r < 0 ? -errno : 0;
}

/* ---- children ---- */

enum without {
	NO_LANDLOCK = 1,
	NO_SECCOMP = 2,
	NO_ROOT = 4,
	NO_VIEW = 8,
	NO_CAPS = 16,
	UNCONFINED = 32, /* all at once */
};

struct outcome {
	int confined, result;
	struct confine_report report;
	struct err err;
};

static void hide_parts(unsigned int without, struct outcome *out)
{
	static const struct {
		unsigned int part;
		const char *rule;
	} rules[] = {
		{ NO_LANDLOCK, "landlock_create_ruleset" },
		{ NO_SECCOMP, "seccomp" },
		{ NO_ROOT, "chroot:EPERM" },
		{ NO_CAPS, "capset" },
	};

	for (size_t i = 0; i < ARRAY_LEN(rules); i++)
		if ((without & rules[i].part) && deny_install_texts(&rules[i].rule, 1) < 0)
			out->confined = -ENOTRECOVERABLE;
}

static void confine(unsigned int without, struct outcome *out)
{
	const int keep[] = { w.outside_fd,   w.secret_fd,      w.inet_fd,	w.unix_fd,
			     w.namespace_fd, w.control_fds[0], w.control_fds[1] };
	const struct confine_plan plan = {
		.write_fd = w.write_fd,
		.read_fds = &w.read_fd,
		.read_count = 1,
		.keep_fds = keep,
		.keep_count = ARRAY_LEN(keep),
		.trusted_xattrs = true,
		.memory_bytes = MEMORY_BYTES,
		.file_bytes = FILE_BYTES,
		.max_files = MAX_FILES,
	};

	hide_parts(without, out);
	if (out->confined == 0)
		out->confined = confine_self(&plan, &out->report, &out->err);
}

/* What fn returns in a child that is confined but for some parts; it must end by itself. */
static struct outcome try(unsigned int without, int (*fn)(void))
{
	struct outcome *shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
				      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct outcome out;
	int status = -1;
	pid_t pid;

	assert_true(shared != MAP_FAILED);
	(void)fflush(NULL);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		if (without & UNCONFINED)
			(void)unshare(CLONE_NEWNS);
		else
			confine(without, shared);
		if (shared->confined == 0)
			shared->result = fn ? fn() : 0;
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	out = *shared;
	(void)munmap(shared, sizeof(*shared));
	/* Not asserted: whoever tries many things has a world to clear away. */
	if (status != 0) {
		(void)snprintf(out.err.text, sizeof(out.err.text), "ended by 0x%x", status);
		out.confined = out.result = -ECHILD;
	}
	if (out.confined < 0)
		print_error("%s\n", out.err.text);
	return out;
}

/* ---- the world ---- */

static int view_of(const char *path, bool writable, bool plain)
{
	int dir = open_dir(path, O_RDONLY);
	struct err err = { 0 };
	int fd;

	if (plain)
		return dir;
	fd = confine_view(dir, writable, &err);
	(void)close(dir);
	if (fd < 0)
		fail_msg("%s", err.text);
	return fd;
}

static void take_directories(bool plain)
{
	w.write_fd = view_of("staging", true, plain);
	w.read_fd = view_of("parent", false, plain);
}

static void drop_directories(void)
{
	(void)close(w.write_fd);
	(void)close(w.read_fd);
}

/* A TCP port with a listener, an address in the abstract namespace and a socket with a name, which
 * take datagrams; all in this process. */
static void listen_everywhere(int fds[3])
{
	struct sockaddr_un named = { .sun_family = AF_UNIX }, hidden = named;
	socklen_t len = sizeof(w.address);

	w.address = (struct sockaddr_in){ .sin_family = AF_INET,
					  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	fds[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(fds[0], (struct sockaddr *)&w.address, len), 0);
	assert_int_equal(getsockname(fds[0], (struct sockaddr *)&w.address, &len), 0);
	assert_int_equal(listen(fds[0], 8), 0);
	(void)snprintf(named.sun_path, sizeof(named.sun_path), "outside/socket");
	fds[1] = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(fds[1], (struct sockaddr *)&named, sizeof(named)), 0);
	(void)snprintf(w.abstract, sizeof(w.abstract), "overlaid-confine-%d", (int)getpid());
	memcpy(hidden.sun_path + 1, w.abstract, strlen(w.abstract));
	fds[2] = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(fds[2], (struct sockaddr *)&hidden, sizeof(hidden)), 0);
}

static int listeners[3];

static int start(void **state)
{
	int mount_id;

	if (sandbox_start(state) < 0)
		return -1;
	put_dir("staging");
	put_file("parent/file", "of the parent");
	put_file("outside/secret", "secret");
	(void)snprintf(w.secret, sizeof(w.secret), "%s", sandbox_path("outside/secret"));
	assert_true(strlen(sandbox_path("outside/socket")) < sizeof(w.socket));
	(void)snprintf(w.socket, sizeof(w.socket), "%s", sandbox_path("outside/socket"));
	w.parent = getpid();
	w.outside_fd = open_dir("outside", O_RDONLY);
	w.secret_fd = open("outside/secret", O_RDWR | O_CLOEXEC);
	w.inet_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	w.unix_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	w.namespace_fd = open("/proc/self/ns/uts", O_RDONLY | O_CLOEXEC);
	w.forgotten_fd = open("outside", O_RDONLY | O_DIRECTORY); /* a host program's, leaked */
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, w.control_fds), 0);
	w.handle.handle.handle_bytes = MAX_HANDLE_SZ;
	(void)name_to_handle_at(w.outside_fd, "secret", &w.handle.handle, &mount_id, 0);
	listen_everywhere(listeners);
	take_directories(false);
	return 0;
}

static int clean(void **state)
{
	const int fds[] = { w.outside_fd,     w.secret_fd,	w.inet_fd,    w.unix_fd,
			    w.namespace_fd,   w.forgotten_fd,	listeners[0], listeners[1],
			    w.control_fds[0], w.control_fds[1], listeners[2] };

	drop_directories();
	for (size_t i = 0; i < ARRAY_LEN(fds); i++)
		(void)close(fds[i]);
	return sandbox_clean(state);
}

/* ---- what must be denied: 0 where it was not, else -errno ---- */

static int try_open(int dir_fd, const char *path, int flags)
{
	return code(openat(dir_fd, path, flags | O_CLOEXEC, 0644));
}

static int read_by_absolute_name(void)
{
	return try_open(AT_FDCWD, w.secret, O_RDONLY);
}

static int write_by_absolute_name(void)
{
	return try_open(AT_FDCWD, w.secret, O_WRONLY);
}

static int make_by_absolute_name(void)
{
	char path[PATH_MAX + 8];

	(void)snprintf(path, sizeof(path), "%s.new", w.secret);
	return try_open(AT_FDCWD, path, O_WRONLY | O_CREAT);
}

static int read_a_system_file(void)
{
	return try_open(AT_FDCWD, "/etc/passwd", O_RDONLY);
}

static int read_through_dot_dot(void)
{
	return try_open(w.write_fd, "../outside/secret", O_RDONLY);
}

static int read_through_dot_dot_of_the_working_directory(void)
{
	return try_open(AT_FDCWD, "../scratch/outside/secret", O_RDONLY);
}

static int read_through_a_symlink(void)
{
	(void)unlinkat(w.write_fd, "link", 0);
	if (symlinkat(w.secret, w.write_fd, "link") < 0)
		return 0;
	return try_open(w.write_fd, "link", O_RDONLY);
}

static int read_through_proc_root(void)
{
	return try_open(AT_FDCWD, "/proc/self/root/etc/passwd", O_RDONLY);
}

static int open_again_through_proc(void)
{
	char path[32];

	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", w.secret_fd);
	return try_open(AT_FDCWD, path, O_RDONLY);
}

static int read_beneath_a_descriptor(void)
{
	return try_open(w.outside_fd, "secret", O_RDONLY);
}

static int list_a_descriptor(void)
{
	return try_open(w.outside_fd, ".", O_RDONLY | O_DIRECTORY);
}

static int make_beneath_a_descriptor(void)
{
	return try_open(w.outside_fd, "new", O_WRONLY | O_CREAT);
}

static int make_a_directory_beneath_a_descriptor(void)
{
	return code(mkdirat(w.outside_fd, "made", 0755));
}

static int remove_beneath_a_descriptor(void)
{
	return code(unlinkat(w.outside_fd, "socket", 0));
}

static int rename_out(void)
{
	if (mkdirat(w.write_fd, "leaves", 0755) < 0)
		return 0;
	return code(renameat(w.write_fd, "leaves", w.outside_fd, "left"));
}

static int link_in(void)
{
	return code(linkat(w.outside_fd, "secret", w.write_fd, "linked", 0));
}

static int use_a_forgotten_descriptor(void)
{
	return try_open(w.forgotten_fd, "secret", O_RDONLY);
}

static int write_into_a_parent_layer(void)
{
	return try_open(w.read_fd, "file", O_WRONLY);
}

static int make_in_a_parent_layer(void)
{
	return code(mkdirat(w.read_fd, "new", 0755));
}

static int chown_in_a_parent_layer(void)
{
	return code(fchownat(w.read_fd, "file", NOBODY, NOBODY, 0));
}

static int chmod_a_parent_layer(void)
{
	return code(fchmod(w.read_fd, 0700));
}

static int xattr_on_a_parent_layer(void)
{
	return code(fsetxattr(w.read_fd, "trusted.overlay.opaque", "y", 1, 0));
}

static int leave_a_parent_layer_upwards(void)
{
	return try_open(w.read_fd, "../outside/secret", O_RDONLY);
}

static int chown_above_a_parent_layer(void)
{
	return code(fchownat(w.read_fd, "../outside/secret", NOBODY, NOBODY, 0));
}

static int chown_outside(void)
{
	return code(fchownat(AT_FDCWD, w.secret, NOBODY, NOBODY, 0));
}

static int chmod_outside(void)
{
	return code(fchmodat(AT_FDCWD, w.secret, 06755, 0));
}

static int chmod_above(void)
{
	return code(fchmodat(w.write_fd, "../outside/secret", 06755, 0));
}

static int set_times_outside(void)
{
	return code(utimensat(AT_FDCWD, w.secret, NULL, 0));
}

static int look_outside(void)
{
	struct stat st;

	return code(fstatat(AT_FDCWD, w.secret, &st, 0));
}

static int xattr_outside(void)
{
	return code(setxattr(w.secret, "trusted.overlaid", "x", 1, 0));
}

static int truncate_outside(void)
{
	return code(truncate(w.secret, 3));
}

static int change_root_again(void)
{
	return code(chroot("/"));
}

static int enter_a_descriptor(void)
{
	return code(fchdir(w.outside_fd));
}

static int open_a_node(mode_t type, dev_t dev)
{
	(void)unlinkat(w.write_fd, "node", 0);
	if (mknodat(w.write_fd, "node", type | 0600, dev) < 0)
		return 0;
	return try_open(w.write_fd, "node", O_RDONLY | O_NONBLOCK);
}

static int open_a_character_device(void)
{
	return open_a_node(S_IFCHR, makedev(1, 3)); /* null */
}

static int open_a_block_device(void)
{
	int r = open_a_node(S_IFBLK, makedev(7, 0)); /* the first loop device */

	return r == -ENXIO ? -ENOSYS : r;
}

static int execute(void)
{
	char *const argv[] = { (char *)"true", NULL };

	return code(execve("/bin/true", argv, argv + 1)); /* where it is not denied: 0 stands */
}

static int execute_in_staging(void)
{
	char *const argv[] = { (char *)"true", NULL };

	return code(syscall(SYS_execveat, w.write_fd, "program", argv, argv + 1, 0));
}

static int start_a_process(void)
{
	pid_t pid = fork();

	if (pid == 0)
		_exit(0);
	return pid < 0 ? -errno : code(waitpid(pid, NULL, 0));
}

static int start_a_process_with_clone3(void)
{
	uint64_t args[8] = { [4] = SIGCHLD };
	long pid = syscall(SYS_clone3, args, sizeof(args));

	if (pid == 0)
		_exit(0);
	return pid < 0 ? -errno : code(waitpid((pid_t)pid, NULL, 0));
}

static int start_a_process_in_a_user_namespace(void)
{
	long pid = syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0);

	if (pid == 0)
		_exit(0);
	return pid < 0 ? -errno : code(waitpid((pid_t)pid, NULL, 0));
}

static int trace_the_parent(void)
{
	return code(ptrace(PTRACE_SEIZE, w.parent, NULL, NULL));
}

static int read_memory_of_the_parent(void)
{
	char byte;
	struct iovec here = { &byte, 1 }, there = { &w, 1 };

	return code(process_vm_readv(w.parent, &here, 1, &there, 1, 0));
}

static int signal_the_parent(void)
{
	return code(kill(w.parent, 0));
}

static int signal_a_thread_of_the_parent(void)
{
	return code(syscall(SYS_tgkill, w.parent, w.parent, 0));
}

static int open_the_parent(void)
{
	int fd = sys_pidfd_open(w.parent);

	return fd < 0 ? fd : 0;
}

static int signal_by_descriptor(void)
{
	return code(fcntl(w.control_fds[0], F_SETOWN, w.parent));
}

static int change_the_parents_descriptor(void)
{
	return code(fcntl(w.secret_fd, F_SETFL, O_APPEND));
}

static int make_an_inet_socket(void)
{
	return code(socket(AF_INET, SOCK_STREAM, 0));
}

static int make_a_unix_socket(void)
{
	return code(socket(AF_UNIX, SOCK_STREAM, 0));
}

static int make_a_netlink_socket(void)
{
	return code(socket(AF_NETLINK, SOCK_RAW, 0));
}

static int make_a_pair_of_sockets(void)
{
	int fds[2];

	return code(socketpair(AF_UNIX, SOCK_STREAM, 0, fds));
}

static int connect_by_tcp(void)
{
	return code(connect(w.inet_fd, (struct sockaddr *)&w.address, sizeof(w.address)));
}

static int bind_a_tcp_port(void)
{
	struct sockaddr_in any = w.address;

	any.sin_port = 0;
	return code(bind(w.inet_fd, (struct sockaddr *)&any, sizeof(any)));
}

static struct sockaddr_un unix_address(bool abstract)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	const char *name = abstract ? w.abstract : w.socket;

	memcpy(address.sun_path + (abstract ? 1 : 0), name, strlen(name));
	return address;
}

static int connect_to_a_named_socket(void)
{
	struct sockaddr_un address = unix_address(false);

	return code(connect(w.unix_fd, (struct sockaddr *)&address, sizeof(address)));
}

static int connect_to_an_abstract_socket(void)
{
	struct sockaddr_un address = unix_address(true);

	return code(connect(w.unix_fd, (struct sockaddr *)&address, sizeof(address)));
}

static int send_to_an_address(void)
{
	struct sockaddr_un address = unix_address(true);

	return code(sendto(w.unix_fd, "x", 1, 0, (struct sockaddr *)&address, sizeof(address)));
}

/* A filter cannot see the address. */
static int send_a_message(bool abstract)
{
	struct sockaddr_un address = unix_address(abstract);
	struct iovec data = { (void *)"x", 1 };
	struct msghdr message = { .msg_name = &address,
				  .msg_namelen = sizeof(address),
				  .msg_iov = &data,
				  .msg_iovlen = 1 };

	return code(sendmsg(w.unix_fd, &message, 0));
}

static int send_a_message_to_an_abstract_socket(void)
{
	return send_a_message(true);
}

static int send_a_message_to_a_named_socket(void)
{
	return send_a_message(false);
}

static int mount_something(void)
{
	return sys_mount("tmpfs", ".", "tmpfs", 0, NULL);
}

static int unmount_something(void)
{
	int r = sys_umount("/proc", MNT_DETACH);

	return r < 0 ? r : 0;
}

static int open_a_filesystem(void)
{
	int r = sys_fsopen("tmpfs");

	return r < 0 ? r : 0;
}

static int clone_a_mount(void)
{
	int r = sys_open_tree(AT_FDCWD, ".", OPEN_TREE_CLONE);

	return r < 0 ? r : 0;
}

static int open_the_mounts_devices(void)
{
	struct mount_attr attr = { .attr_clr = MOUNT_ATTR_NODEV };
	auto_close int tree = sys_open_tree(AT_FDCWD, ".", OPEN_TREE_CLONE);

	return tree < 0 ? tree : sys_mount_setattr(tree, "", AT_EMPTY_PATH, &attr, sizeof(attr));
}

static int take_a_mount_namespace(void)
{
	return code(unshare(CLONE_NEWNS));
}

static int take_a_user_namespace(void)
{
	return code(unshare(CLONE_NEWUSER));
}

static int enter_a_namespace(void)
{
	return code(setns(w.namespace_fd, 0));
}

static int control_a_descriptor(void)
{
	int waiting;

	return code(ioctl(w.unix_fd, FIONREAD, &waiting));
}

static int use_a_keyring(void)
{
	return code(syscall(SYS_keyctl, KEYCTL_GET_KEYRING_ID, KEY_SPEC_PROCESS_KEYRING, 1));
}

static int load_bpf(void)
{
	union bpf_attr attr = {
		.map_type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 4, .max_entries = 1
	};

	return code(syscall(SYS_bpf, BPF_MAP_CREATE, &attr, sizeof(attr)));
}

static int make_a_ring(void)
{
	struct io_uring_params params = { 0 };

	return code(syscall(SYS_io_uring_setup, 1, &params));
}

static int watch_performance(void)
{
	struct perf_event_attr attr = { .type = PERF_TYPE_SOFTWARE,
					.size = sizeof(attr),
					.config = PERF_COUNT_SW_CPU_CLOCK };

	return code(syscall(SYS_perf_event_open, &attr, 0, -1, -1, 0));
}

static int handle_page_faults(void)
{
	return code(syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY));
}

static int make_a_memory_file(void)
{
	return code(memfd_create("x", 0));
}

static int name_a_handle(void)
{
	int mount_id;

	return code(name_to_handle_at(w.outside_fd, "secret", &w.handle.handle, &mount_id, 0));
}

static int open_a_handle(void)
{
	return code(open_by_handle_at(w.outside_fd, &w.handle.handle, O_RDONLY));
}

static int become_nobody(void)
{
	return code(syscall(SYS_setuid, NOBODY)); /* setuid(3) is for all threads */
}

static int change_groups(void)
{
	return code(syscall(SYS_setgroups, 0, NULL));
}

/* In a namespace of its own, for where that is possible. */
static int name_a_machine(void)
{
	int r = code(unshare(CLONE_NEWUTS));

	return r < 0 ? r : code(sethostname("x", 1));
}

static int raise_a_capability(void)
{
	cap_t caps = cap_get_proc();
	const cap_value_t wanted = CAP_SYS_PTRACE;
	int r = caps && cap_set_flag(caps, CAP_EFFECTIVE, 1, &wanted, CAP_SET) == 0 &&
				cap_set_flag(caps, CAP_PERMITTED, 1, &wanted, CAP_SET) == 0 ?
			code(cap_set_proc(caps)) :
			-errno;

	(void)cap_free(caps);
	return r;
}

static int become_dumpable(void)
{
	return code(prctl(PR_SET_DUMPABLE, 1, 0, 0, 0));
}

static int keep_capabilities(void)
{
	return code(prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0));
}

static int make_memory_executable(void)
{
	return code(personality(READ_IMPLIES_EXEC));
}

static int map_code(void)
{
	return mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) ==
			       MAP_FAILED ?
		       -errno :
		       0;
}

static int turn_data_into_code(void)
{
	void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return code(mprotect(page, 4096, PROT_READ | PROT_EXEC));
}

static int map_what_no_limit_counts(void)
{
	return mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0) ==
			       MAP_FAILED ?
		       -errno :
		       0;
}

static int poison_memory(void)
{
	int r = code(madvise(NULL, 0, MADV_SOFT_OFFLINE)); /* of no page at all */

	return r == -EINVAL ? -ENOSYS : r;
}

static int change_a_limit(void)
{
	struct rlimit limit = { 16, 16 };

	return code(setrlimit(RLIMIT_NOFILE, &limit));
}

static int look_at_limits_of_the_parent(void)
{
	struct rlimit limit;

	return code(prlimit(w.parent, RLIMIT_NOFILE, NULL, &limit));
}

#define ANY_ONE (NO_LANDLOCK | NO_SECCOMP | NO_ROOT | NO_VIEW | NO_CAPS)

/* What a confined process gets, and without which single parts it is denied still. */
static const struct {
	const char *name;
	int (*fn)(void);
	int error;
	unsigned int still;
} attempts[] = {
#define ATTEMPT(fn, error, still)     \
	{                             \
#fn, fn, error, still \
	}
	ATTEMPT(read_by_absolute_name, -ENOENT, ANY_ONE),
	ATTEMPT(write_by_absolute_name, -ENOENT, ANY_ONE),
	ATTEMPT(make_by_absolute_name, -ENOENT, ANY_ONE),
	ATTEMPT(read_a_system_file, -ENOENT, ANY_ONE),
	ATTEMPT(read_through_dot_dot, -ENOENT, ANY_ONE),
	ATTEMPT(read_through_dot_dot_of_the_working_directory, -ENOENT, ANY_ONE),
	ATTEMPT(read_through_a_symlink, -ENOENT, ANY_ONE),
	ATTEMPT(read_through_proc_root, -ENOENT, ANY_ONE),
	ATTEMPT(open_again_through_proc, -ENOENT, ANY_ONE),
	ATTEMPT(read_beneath_a_descriptor, -EACCES, ANY_ONE & ~NO_LANDLOCK),
	ATTEMPT(list_a_descriptor, -EACCES, ANY_ONE & ~NO_LANDLOCK),
	ATTEMPT(make_a_directory_beneath_a_descriptor, -EACCES, ANY_ONE & ~NO_LANDLOCK),
	ATTEMPT(remove_beneath_a_descriptor, -EACCES, ANY_ONE & ~NO_LANDLOCK),
	ATTEMPT(rename_out, -EXDEV, ANY_ONE),
	ATTEMPT(link_in, -EXDEV, ANY_ONE),
	ATTEMPT(use_a_forgotten_descriptor, -EBADF, ANY_ONE),
	ATTEMPT(write_into_a_parent_layer, -EROFS, ANY_ONE),
	ATTEMPT(make_in_a_parent_layer, -EROFS, ANY_ONE),
	ATTEMPT(chown_in_a_parent_layer, -EROFS, ANY_ONE & ~NO_VIEW),
	ATTEMPT(chmod_a_parent_layer, -EROFS, ANY_ONE & ~NO_VIEW),
	ATTEMPT(xattr_on_a_parent_layer, -EROFS, ANY_ONE & ~NO_VIEW),
	ATTEMPT(leave_a_parent_layer_upwards, -ENOENT, ANY_ONE),
	ATTEMPT(chown_above_a_parent_layer, -ENOENT, ANY_ONE & ~NO_VIEW),
	ATTEMPT(chown_outside, -ENOENT, ANY_ONE & ~NO_ROOT),
	ATTEMPT(chmod_outside, -ENOENT, ANY_ONE & ~NO_ROOT),
	ATTEMPT(chmod_above, -ENOENT, ANY_ONE),
	ATTEMPT(set_times_outside, -ENOENT, ANY_ONE & ~NO_ROOT),
	ATTEMPT(look_outside, -ENOENT, ANY_ONE & ~NO_ROOT),
	ATTEMPT(xattr_outside, -EPERM, ANY_ONE),
	ATTEMPT(truncate_outside, -EPERM, ANY_ONE),
	ATTEMPT(change_root_again, -EPERM, ANY_ONE),
	ATTEMPT(enter_a_descriptor, -EPERM, ANY_ONE & ~NO_SECCOMP),
	ATTEMPT(open_a_character_device, -EACCES, ANY_ONE & ~NO_VIEW),
	ATTEMPT(open_a_block_device, -EACCES, ANY_ONE & ~NO_VIEW),
	ATTEMPT(execute, -EPERM, ANY_ONE),
	ATTEMPT(execute_in_staging, -EPERM, ANY_ONE),
	ATTEMPT(start_a_process, -EPERM, ANY_ONE & ~NO_SECCOMP),
	ATTEMPT(start_a_process_with_clone3, -ENOSYS, ANY_ONE & ~NO_SECCOMP),
	ATTEMPT(start_a_process_in_a_user_namespace, -EPERM, ANY_ONE),
	ATTEMPT(trace_the_parent, -EPERM, ANY_ONE),
	ATTEMPT(read_memory_of_the_parent, -EPERM, ANY_ONE),
	ATTEMPT(signal_the_parent, -EPERM, ANY_ONE),
	ATTEMPT(signal_a_thread_of_the_parent, -EPERM, ANY_ONE),
	ATTEMPT(open_the_parent, -EPERM, ANY_ONE & ~NO_SECCOMP),
	ATTEMPT(signal_by_descriptor, -EPERM, ANY_ONE & ~NO_SECCOMP),
	ATTEMPT(change_the_parents_descriptor, -EPERM, ANY_ONE & ~NO_SECCOMP),
	ATTEMPT(make_an_inet_socket, -EPERM, ANY_ONE & ~NO_SECCOMP),
	ATTEMPT(make_a_unix_socket, -EPERM, ANY_ONE & ~NO_SECCOMP),
	ATTEMPT(make_a_netlink_socket, -EPERM, ANY_ONE & ~NO_SECCOMP),
	ATTEMPT(make_a_pair_of_sockets, -EPERM, ANY_ONE & ~NO_SECCOMP),
	ATTEMPT(connect_by_tcp, -EPERM, ANY_ONE),
	ATTEMPT(bind_a_tcp_port, -EPERM, ANY_ONE),
	ATTEMPT(connect_to_a_named_socket, -EPERM, ANY_ONE),
	ATTEMPT(connect_to_an_abstract_socket, -EPERM, ANY_ONE),
	ATTEMPT(send_to_an_address, -EPERM, ANY_ONE),
	ATTEMPT(send_a_message_to_an_abstract_socket, -EPERM, ANY_ONE & ~NO_LANDLOCK),
	ATTEMPT(send_a_message_to_a_named_socket, -ENOENT, ANY_ONE & ~NO_ROOT),
	ATTEMPT(mount_something, -EPERM, ANY_ONE),
	ATTEMPT(unmount_something, -EPERM, ANY_ONE),
	ATTEMPT(open_a_filesystem, -EPERM, ANY_ONE & ~NO_SECCOMP),
	ATTEMPT(clone_a_mount, -EPERM, ANY_ONE),
	ATTEMPT(open_the_mounts_devices, -EPERM, ANY_ONE),
	ATTEMPT(take_a_mount_namespace, -EPERM, ANY_ONE & ~NO_SECCOMP),
	ATTEMPT(take_a_user_namespace, -EPERM, ANY_ONE),
	ATTEMPT(enter_a_namespace, -EPERM, ANY_ONE & ~NO_SECCOMP),
	ATTEMPT(control_a_descriptor, -EPERM, ANY_ONE & ~NO_SECCOMP),
	ATTEMPT(use_a_keyring, -EPERM, ANY_ONE & ~NO_SECCOMP),
	ATTEMPT(load_bpf, -EPERM, ANY_ONE & ~NO_SECCOMP),
	ATTEMPT(make_a_ring, -EPERM, ANY_ONE & ~NO_SECCOMP),
	ATTEMPT(watch_performance, -EPERM, ANY_ONE & ~NO_SECCOMP),
	ATTEMPT(handle_page_faults, -EPERM, ANY_ONE & ~NO_SECCOMP),
	ATTEMPT(make_a_memory_file, -EPERM, ANY_ONE & ~NO_SECCOMP),
	ATTEMPT(name_a_handle, -EPERM, ANY_ONE & ~NO_SECCOMP),
	ATTEMPT(open_a_handle, -EPERM, ANY_ONE),
	ATTEMPT(become_nobody, -EPERM, ANY_ONE),
	ATTEMPT(change_groups, -EPERM, ANY_ONE),
	ATTEMPT(name_a_machine, -EPERM, ANY_ONE & ~NO_SECCOMP),
	ATTEMPT(raise_a_capability, -EPERM, ANY_ONE),
	ATTEMPT(become_dumpable, -EPERM, ANY_ONE & ~NO_SECCOMP),
	ATTEMPT(keep_capabilities, -EPERM, ANY_ONE & ~NO_SECCOMP),
	ATTEMPT(make_memory_executable, -EPERM, ANY_ONE & ~NO_SECCOMP),
	ATTEMPT(map_code, -EPERM, ANY_ONE & ~NO_SECCOMP),
	ATTEMPT(turn_data_into_code, -EPERM, ANY_ONE & ~NO_SECCOMP),
	ATTEMPT(map_what_no_limit_counts, -EPERM, ANY_ONE & ~NO_SECCOMP),
	ATTEMPT(poison_memory, -EPERM, ANY_ONE & ~NO_SECCOMP),
	ATTEMPT(change_a_limit, -EPERM, ANY_ONE & ~NO_SECCOMP),
	ATTEMPT(look_at_limits_of_the_parent, -EPERM, ANY_ONE & ~NO_SECCOMP),
};

/* ---- a fresh world for each ---- */

static void put_program(const char *path)
{
	auto_buf struct buf program = { .max = 1 << 20 };

	assert_int_equal(read_file_at(AT_FDCWD, "/bin/true", &program, NULL), 0);
	assert_int_equal(replace_file_at(AT_FDCWD, path, program.data, program.len, 0, NULL), 0);
	assert_int_equal(chmod(path, 0755), 0);
}

static unsigned int left_out; /* enum without */

static struct outcome attempt_of(int (*fn)(void))
{
	struct outcome out;

	assert_int_equal(start(NULL), 0);
	put_program("staging/program");
	if (left_out & (NO_VIEW | UNCONFINED)) {
		drop_directories();
		take_directories(true);
	}
	out = try(left_out, fn);
	assert_int_equal(clean(NULL), 0);
	return out;
}

static struct outcome attempt(size_t i)
{
	return attempt_of(attempts[i].fn);
}

static void everything_can_be_done_by_who_is_not_confined(void **state)
{
	int wrong = 0;

	needs_root();
	left_out = UNCONFINED;
	for (size_t i = 0; i < ARRAY_LEN(attempts); i++) {
		int r = attempt(i).result;

		if (r == -ENOSYS) {
			print_message("%s: this kernel has no such thing\n", attempts[i].name);
		} else if (r != 0) {
			print_error("%s: %s\n", attempts[i].name, strerror(-r));
			wrong++;
		}
	}
	assert_int_equal(wrong, 0);
}

/* The first kernels with Landlock know neither signals nor sockets. */
#define SCOPES_ABI 6

static void all_is_denied_to_the_confined(void **state)
{
	int wrong = 0;

	needs_root();
	left_out = 0;
	for (size_t i = 0; i < ARRAY_LEN(attempts); i++) {
		struct outcome out = attempt(i);

		if (out.result == attempts[i].error && out.confined == 0)
			continue;
		if (attempts[i].fn == send_a_message_to_an_abstract_socket &&
		    out.report.landlock_abi < SCOPES_ABI)
			continue;
		print_error("%s: %d, not %d\n", attempts[i].name, out.result, attempts[i].error);
		wrong++;
	}
	assert_int_equal(wrong, 0);
}

/* Two locks on each door, where the table says so; where it does not, that one is not idle. */
static void check_without(unsigned int part)
{
	int wrong = 0;

	left_out = part;
	for (size_t i = 0; i < ARRAY_LEN(attempts); i++) {
		bool denied = attempts[i].still & part;
		struct outcome out = attempt(i);

		if (part != NO_LANDLOCK && out.report.landlock_abi < SCOPES_ABI) {
			print_message("needs Landlock's ABI %d (Linux 6.12)\n", SCOPES_ABI);
			skip();
		}
		if (out.confined == 0 && (denied == (out.result < 0) || out.result == -ENOSYS))
			continue;
		print_error("%s: %d, %s\n", attempts[i].name, out.result,
			    denied ? "should be denied still" : "should be possible");
		wrong++;
	}
	assert_int_equal(wrong, 0);
}

static void without_landlock_most_is_denied_still(void **state)
{
	needs_root();
	check_without(NO_LANDLOCK);
}

static void without_seccomp_files_and_processes_are_out_of_reach_still(void **state)
{
	needs_root();
	check_without(NO_SECCOMP);
}

static void without_a_root_of_its_own_no_file_outside_is_opened_still(void **state)
{
	needs_root();
	check_without(NO_ROOT);
}

static void without_views_no_file_outside_is_opened_still(void **state)
{
	needs_root();
	check_without(NO_VIEW);
}

static void with_all_capabilities_all_is_denied_still(void **state)
{
	needs_root();
	check_without(NO_CAPS);
}

/* Where each new file of a layer costs nothing, Landlock does not look at any: that no descriptor of
 * another directory is there is close_others' part. */
static void regular_files_are_landlocks_where_there_is_no_view(void **state)
{
	needs_root();
	for (left_out = NO_VIEW; left_out; left_out = left_out == NO_VIEW ? NO_ROOT : 0)
		assert_int_equal(attempt_of(make_beneath_a_descriptor).result, -EACCES);
	assert_true(attempt_of(make_beneath_a_descriptor).result >= 0);
}

/* ---- limits ---- */

static int grow_a_file(void)
{
	auto_close int fd = openat(w.write_fd, "big", O_WRONLY | O_CREAT | O_CLOEXEC, 0644);

	if (fd < 0 || pwrite(fd, "x", 1, FILE_BYTES - 1) != 1)
		return 1;
	if (pwrite(fd, "x", 1, FILE_BYTES) >= 0 || errno != EFBIG)
		return 2;
	return code(ftruncate(fd, FILE_BYTES + 1));
}

static int allocate_a_file(void)
{
	auto_close int fd = openat(w.write_fd, "big", O_WRONLY | O_CREAT | O_CLOEXEC, 0644);

	return fd < 0 ? 1 : code(fallocate(fd, 0, 0, FILE_BYTES + 1));
}

static int open_many_files(void)
{
	for (int i = 0; i < MAX_FILES; i++)
		if (dup(w.write_fd) < 0)
			return -errno;
	return 0;
}

static int take_memory(size_t bytes)
{
	char *block = malloc(bytes);

	if (!block)
		return -errno;
	for (size_t i = 0; i < bytes; i += 4096)
		block[i] = 1;
	free(block);
	return 0;
}

static int take_much_memory(void)
{
	return take_memory(MEMORY_BYTES);
}

static void *pieces; /* end with the process */

static int take_memory_in_pieces(void)
{
	for (size_t taken = 0; taken < 2 * MEMORY_BYTES; taken += 65536) {
		void **piece = malloc(65536);

		if (!piece)
			return -errno;
		*piece = pieces;
		pieces = piece;
	}
	return 0;
}

static int map_memory(void)
{
	void *block = mmap(NULL, MEMORY_BYTES, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return block == MAP_FAILED ? -errno : 0;
}

static int unlock_memory(void)
{
	void *block = mmap(NULL, MEMORY_BYTES, PROT_NONE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return block == MAP_FAILED ? 1 :
				     code(mprotect(block, MEMORY_BYTES, PROT_READ | PROT_WRITE));
}

static int ask_for_cores(void)
{
	struct rlimit limit = { 1, 1 };

	return getrlimit(RLIMIT_CORE, &limit) < 0 ? 1 : -(int)(limit.rlim_cur + limit.rlim_max);
}

static void each_limit_is_an_error_and_not_the_end(void **state)
{
	static const struct {
		int (*fn)(void);
		int error;
		bool memory;
	} limits[] = {
		{ grow_a_file, -EFBIG, false },		  { allocate_a_file, -EFBIG, false },
		{ open_many_files, -EMFILE, false },	  { take_much_memory, -ENOMEM, true },
		{ take_memory_in_pieces, -ENOMEM, true }, { map_memory, -ENOMEM, true },
		{ unlock_memory, -ENOMEM, true },	  { ask_for_cores, 0, false },
	};

	for (size_t i = 0; i < ARRAY_LEN(limits); i++) {
		if (UNDER_ASAN && limits[i].memory)
			continue; /* it takes all memory itself */
		assert_int_equal(try(0, limits[i].fn).result, limits[i].error);
	}
}

static int abort_now(void)
{
	abort();
}

static void who_aborts_leaves_no_core(void **state)
{
	int status = 0;
	pid_t pid;

	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		struct outcome out = { 0 };

		confine(0, &out);
		_exit(out.confined < 0 ? 1 : abort_now());
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGABRT);
	assert_false(WCOREDUMP(status));
}

/* ---- what must work: 0, or the number of the step that failed ---- */

static int make_each_type(void)
{
	auto_close int fd = openat(w.write_fd, "file", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC,
				   0640);

	if (fd < 0 || write_full(fd, "data", 4) < 0)
		return 1;
	if (mkdirat(w.write_fd, "dir", 0755) < 0 || symlinkat("/etc/passwd", w.write_fd, "sym") < 0)
		return 2;
	if (mknodat(w.write_fd, "fifo", S_IFIFO | 0644, 0) < 0 ||
	    mknodat(w.write_fd, "whiteout", S_IFCHR, 0) < 0)
		return 3;
	if (mknodat(w.write_fd, "char", S_IFCHR | 0666, makedev(1, 3)) < 0 ||
	    mknodat(w.write_fd, "block", S_IFBLK | 0660, makedev(8, 0)) < 0)
		return 4;
	if (linkat(w.write_fd, "file", w.write_fd, "dir/link", 0) < 0 ||
	    linkat(w.write_fd, "char", w.write_fd, "dir/char", 0) < 0)
		return 5;
	return renameat(w.write_fd, "dir/link", w.write_fd, "moved") < 0 ? 6 : 0;
}

static int set_owners_and_modes(void)
{
	const struct timespec times[2] = { { .tv_sec = -5, .tv_nsec = 7 }, { .tv_sec = -5 } };
	auto_close int fd = -EBADF;
	struct stat st;

	if (make_each_type() != 0)
		return 1;
	fd = openat(w.write_fd, "file", O_WRONLY | O_CLOEXEC);
	if (fd < 0 || fchown(fd, 1000, 2000) < 0 || fchmod(fd, 06755) < 0)
		return 2;
	if (fchownat(w.write_fd, "sym", 1000, 1000, AT_SYMLINK_NOFOLLOW) < 0 ||
	    fchownat(w.write_fd, "char", 3, 4, AT_SYMLINK_NOFOLLOW) < 0 ||
	    fchmodat(w.write_fd, "char", 0640, 0) < 0)
		return 3;
	if (futimens(fd, times) < 0 || utimensat(w.write_fd, "sym", times, AT_SYMLINK_NOFOLLOW) < 0)
		return 4;
	if (fchown(w.write_fd, 5, 6) < 0 || fchmod(w.write_fd, 0711) < 0)
		return 5;
	if (fstat(fd, &st) < 0 || st.st_uid != 1000 || st.st_gid != 2000 ||
	    st.st_mode != (S_IFREG | 06755))
		return 6;
	/* What belongs to others and is closed to all is no obstacle. */
	if (mkdirat(w.write_fd, "closed", 0) < 0 ||
	    fchownat(w.write_fd, "closed", 1000, 1000, 0) < 0)
		return 7;
	return mkdirat(w.write_fd, "closed/inside", 0755) < 0 ? 8 : 0;
}

static int set_xattrs(void)
{
	static const unsigned char caps[20] = {
		0, 0, 0, 2, 0, 4
	}; /* revision 2, NET_BIND_SERVICE */
	auto_close int fd = openat(w.write_fd, "file", O_WRONLY | O_CREAT | O_CLOEXEC, 0755);
	char value[64];

	if (fd < 0 || fsetxattr(fd, "security.capability", caps, sizeof(caps), 0) < 0)
		return 1;
	if (fgetxattr(fd, "security.capability", value, sizeof(value)) != sizeof(caps))
		return 2;
	if (whiteout_set_opaque(w.write_fd, OVERLAY_XATTRS_TRUSTED, NULL) < 0)
		return 3;
	if (fsetxattr(fd, "user.name", "a\0b", 3, 0) < 0 && errno != EOPNOTSUPP)
		return 4;
	return flistxattr(w.write_fd, value, sizeof(value)) < 0 ? 5 : 0;
}

static int write_sparsely(void)
{
	auto_close int fd = openat(w.write_fd, "sparse", O_RDWR | O_CREAT | O_CLOEXEC, 0644);
	auto_close int copy = openat(w.write_fd, "copy", O_RDWR | O_CREAT | O_CLOEXEC, 0644);
	off_t from = 0, to = 0;

	if (fd < 0 || copy < 0 || ftruncate(fd, 65536) < 0 || pwrite(fd, "x", 1, 32768) != 1)
		return 1;
	if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096) < 0 &&
	    errno != EOPNOTSUPP)
		return 2;
	if (sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WRITE) < 0 || posix_fadvise(fd, 0, 0, 4) != 0)
		return 3;
	return copy_file_range(fd, &from, copy, &to, 65536, 0) != 65536 ? 4 : 0;
}

static int remove_a_tree(void)
{
	if (make_each_type() != 0 || mkdirat(w.write_fd, "dir/a", 0) < 0 ||
	    mkdirat(w.write_fd, "dir/a/b", 0755) < 0)
		return 1;
	if (tree_remove_at(w.write_fd, "dir", NULL) < 0)
		return 2;
	return faccessat(w.write_fd, "dir", F_OK, 0) < 0 ? 0 : 3;
}

static int read_the_parent_layer(void)
{
	auto_buf struct buf text = { .max = 100 };

	if (read_file_at(w.read_fd, "file", &text, NULL) < 0)
		return 1;
	return strcmp(buf_text(&text), "of the parent") == 0 ? 0 : 2;
}

static int resolve_beneath(void)
{
	auto_close int fd = -EBADF;

	if (make_each_type() != 0)
		return 1;
	fd = tree_open_dir(w.write_fd, "dir/../../dir", NULL);
	return fd < 0 ? 2 : 0;
}

static int count(size_t index, void *arg, const atomic_bool *cancelled, struct err *err)
{
	atomic_int *sum = arg;

	(void)atomic_fetch_add(sum, (int)index + 1);
	return take_memory(1 << 20);
}

static int run_threads(void)
{
	atomic_int sum = 0;

	if (pool_run(16, 4, count, &sum, NULL) < 0)
		return 1;
	return sum == 136 ? 0 : 2;
}

static int allocate(void)
{
	return take_memory((size_t)64 << 20);
}

/* A descriptor comes over the control socket, and is read. */
static int talk(void)
{
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = { .header = { .cmsg_len = CMSG_LEN(sizeof(int)),
				  .cmsg_level = SOL_SOCKET,
				  .cmsg_type = SCM_RIGHTS } };
	char text[8] = "hello";
	struct iovec data = { text, 5 };
	struct msghdr message = { .msg_iov = &data,
				  .msg_iovlen = 1,
				  .msg_control = control.bytes,
				  .msg_controllen = sizeof(control.bytes) };
	int fd;

	memcpy(CMSG_DATA(&control.header), &w.secret_fd, sizeof(int));
	if (sendmsg(w.control_fds[0], &message, 0) != 5)
		return 1;
	if (recvmsg(w.control_fds[1], &message, MSG_CMSG_CLOEXEC) != 5)
		return 2;
	memcpy(&fd, CMSG_DATA(&control.header), sizeof(int));
	if (pread(fd, text, 6, 0) != 6 || memcmp(text, "secret", 6) != 0)
		return 3;
	return send(w.control_fds[0], "x", 1, 0) == 1 && recv(w.control_fds[1], text, 1, 0) == 1 ?
		       0 :
		       4;
}

static int ask(void)
{
	char hex[17];
	struct rlimit limit;
	cpu_set_t cpus;

	random_hex(hex, 16);
	if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur != MAX_FILES)
		return 1;
	if (sched_getaffinity(0, sizeof(cpus), &cpus) < 0 || getpid() <= 1)
		return 2;
	return getenv("PATH") && signal(SIGUSR1, SIG_IGN) != SIG_ERR ? 0 : 3;
}

static const struct {
	const char *name;
	int (*fn)(void);
} duties[] = {
	{ "make each type", make_each_type },
	{ "set owners and modes", set_owners_and_modes },
	{ "set xattrs", set_xattrs },
	{ "write sparsely", write_sparsely },
	{ "remove a tree", remove_a_tree },
	{ "read the parent layer", read_the_parent_layer },
	{ "resolve beneath", resolve_beneath },
	{ "run threads", run_threads },
	{ "allocate", allocate },
	{ "talk", talk },
	{ "ask", ask },
};

static void check_duties(unsigned int without)
{
	for (size_t i = 0; i < ARRAY_LEN(duties); i++) {
		struct outcome out;

		assert_int_equal(start(NULL), 0);
		out = try(without, duties[i].fn);
		assert_int_equal(clean(NULL), 0);
		if (out.confined || out.result)
			fail_msg("%s (without 0x%x): step %d", duties[i].name, without, out.result);
	}
}

static void unpacking_can_do_what_it_must(void **state)
{
	static const unsigned int withouts[] = { 0, NO_LANDLOCK, NO_SECCOMP, NO_ROOT, NO_CAPS };

	needs_root();
	for (size_t i = 0; i < ARRAY_LEN(withouts); i++)
		check_duties(withouts[i]);
}

/* ---- a whole layer ---- */

static struct buf layer;

static void put_layer(void)
{
	auto_buf struct buf tar = { .max = 1 << 20 };
	const struct tar_spec setuid = { .name = "dir/\xc3\xa4",
					 .type = '0',
					 .mode = 06755,
					 .uid = 7,
					 .gid = 8,
					 .size = 4,
					 .data = "data" };

	const struct tar_spec fifo = { .name = "fifo", .type = '6', .mode = 06644, .uid = 7 };

	tar_put_dir(&tar, "dir/");
	tar_put_pax_text("path", "dir/\xc3\xa4 \xff name");
	tar_put_pax_text("mtime", "-1.5");
	tar_put_file(&tar, "dir/a", "contents");
	tar_put(&tar, &setuid);
	tar_put(&tar, &fifo);
	tar_put_symlink(&tar, "link", "/dir");
	tar_put_file(&tar, "link/through", "x");
	tar_put_file(&tar, "implied/file", "y");
	tar_put_hardlink(&tar, "hard", "implied/file");
	tar_put_file(&tar, "dir/.wh..wh..opq", "");
	tar_put_file(&tar, "dir/.wh.gone", "");
	tar_put_end(&tar);
	layer = (struct buf){ .max = 1 << 20 };
	gzip_put(&layer, tar.data, tar.len);
}

static int unpack_into(int dir_fd, struct apply_result *ret)
{
	auto_close int fd = openat(dir_fd, "contents", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	struct memory memory = { .data = layer.data, .len = layer.len, .step = 100 };
	auto_contents_writer struct contents_writer *contents = NULL;
	struct apply_options options = { .xattrs = OVERLAY_XATTRS_TRUSTED, .threads = true };
	auto_close int root_fd = -EBADF;
	int r;

	(void)umask(0);
	if (fd < 0 || mkdirat(dir_fd, "diff", 0755) < 0)
		return -errno;
	root_fd = openat(dir_fd, "diff", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	r = contents_writer_new(fd, &contents, NULL);
	options.contents = contents;
	if (r == 0)
		r = apply(memory_read, &memory, root_fd, &options, ret, NULL);
	return r < 0 ? r : contents_finish(contents, NULL);
}

static struct digest expected;

static int unpack(void)
{
	struct apply_result result = { 0 };
	int r = unpack_into(w.write_fd, &result);

	return r < 0 ? r : memcmp(&result.diff_id, &expected, sizeof(expected)) != 0;
}

static void a_layer_comes_out_the_same(void **state)
{
	struct apply_result result = { 0 };
	auto_close int fd = -EBADF;

	needs_root();
	put_layer();
	put_dir("free");
	fd = open_dir("free", O_RDONLY);
	assert_int_equal(unpack_into(fd, &result), 0); /* and the libraries are loaded */
	expected = result.diff_id;
	apply_result_release(&result);
	(void)umask(022);
	assert_int_equal(try(0, unpack).result, 0);
	assert_contents("staging/diff/dir/through", "x");
	assert_contents("staging/diff/dir/\xc3\xa4 \xff name", "contents");
	assert_xattr("staging/diff/dir", "trusted.overlay.opaque", "y", 1);
	assert_true(S_ISCHR(look("staging/diff/dir/gone").st_mode));
	assert_int_equal(look("staging/diff/dir/\xc3\xa4").st_mode, S_IFREG | 06755);
	assert_int_equal(look("staging/diff/fifo").st_mode, S_IFIFO | 06644);
	assert_int_equal(look("staging/diff/dir/\xc3\xa4 \xff name").st_mtim.tv_sec, -2);
	assert_int_equal(look("staging/diff/hard").st_nlink, 2);
	assert_true(look("staging/contents").st_size > 100);
	buf_release(&layer);
}

/* ---- what is reported ---- */

static void a_kernel_with_everything_reports_everything(void **state)
{
	struct confine_report report = try(0, NULL).report, probed;

	needs_root();
	assert_true(report.rlimits && report.no_new_privs && report.root && report.capabilities &&
		    report.seccomp && report.nodev && report.detached && report.landlock_abi > 0);
	confine_probe(&probed);
	assert_memory_equal(&probed, &report, sizeof(report));
}

static void a_part_that_is_missing_is_reported(void **state)
{
	needs_root();
	assert_int_equal(try(NO_LANDLOCK, NULL).report.landlock_abi, 0);
	assert_false(try(NO_SECCOMP, NULL).report.seccomp);
	assert_false(try(NO_ROOT, NULL).report.root);
	assert_false(try(NO_CAPS, NULL).report.capabilities);
	assert_true(try(NO_LANDLOCK, NULL).report.seccomp);
	assert_true(try(NO_SECCOMP, NULL).report.landlock_abi > 0);
	drop_directories();
	take_directories(true);
	assert_false(try(0, NULL).report.nodev);
}

static const char *denied_rule;

static int confine_under_rule(void)
{
	struct outcome out = { 0 };

	if (deny_install_texts(&denied_rule, 1) < 0)
		return 1;
	confine(0, &out);
	return out.confined < 0 ? out.confined : !out.report.no_new_privs + 2 * !out.report.rlimits;
}

static void what_is_there_and_fails_is_an_error(void **state)
{
	static const struct {
		const char *rule;
		int result;
	} rules[] = {
		{ "landlock_restrict_self:E2BIG", -E2BIG },
		{ "landlock_add_rule:EINVAL", -EINVAL },
		{ "seccomp:0=1:EINVAL", -EINVAL },
		{ "chroot:EIO", -EIO },
		{ "capset:EINVAL", -EINVAL },
		{ "unshare:EINVAL", -EINVAL },	  /* as with several threads */
		{ "close_range:ENOSYS", 0 },	  /* by hand */
		{ "prctl:0=38:EINVAL", -EINVAL }, /* no_new_privs */
		{ "prctl:0=38:ENOSYS", 1 },
		{ "prlimit64:EPERM", 2 },
	};

	needs_root();
	for (size_t i = 0; i < ARRAY_LEN(rules); i++) {
		int r;

		denied_rule = rules[i].rule;
		r = try(UNCONFINED, confine_under_rule).result;
		if (r != rules[i].result)
			fail_msg("%s: %d", rules[i].rule, r);
	}
}

static int close_by_hand(void)
{
	struct outcome out = { 0 };
	static const char *const rule = "close_range";

	if (deny_install_texts(&rule, 1) < 0)
		return 2;
	confine(0, &out);
	return out.confined < 0 ? 3 : use_a_forgotten_descriptor();
}

static void descriptors_are_closed_without_close_range_too(void **state)
{
	needs_root();
	assert_int_equal(try(UNCONFINED, close_by_hand).result, -EBADF);
}

static void *wait_for_end(void *arg)
{
	for (;;)
		(void)pause();
	return arg;
}

static int confine_with_a_thread(void)
{
	struct outcome out = { 0 };
	pthread_t thread;

	if (pthread_create(&thread, NULL, wait_for_end, NULL) != 0)
		return 1;
	confine(0, &out);
	return out.confined == -EINVAL && strstr(out.err.text, "threads") ? 0 : 2;
}

static void a_process_with_threads_is_refused(void **state)
{
	needs_root();
	assert_int_equal(try(UNCONFINED, confine_with_a_thread).result, 0);
}

static int confine_as_nobody(void)
{
	struct outcome out = { 0 };

	if (setgid(NOBODY) < 0 || setuid(NOBODY) < 0)
		return 1;
	confine(0, &out);
	if (out.confined < 0 || out.report.root || !out.report.seccomp || !out.report.rlimits ||
	    !out.report.landlock_abi)
		return 2;
	if (mkdirat(w.write_fd, "dir", 0755) < 0)
		return 3;
	return read_by_absolute_name() == -EACCES ? 0 : 4;
}

static void who_is_not_root_is_confined_too(void **state)
{
	needs_root();
	assert_int_equal(chown("staging", NOBODY, NOBODY), 0);
	assert_int_equal(chmod(sandbox_path(".."), 0755), 0);
	assert_int_equal(try(UNCONFINED, confine_as_nobody).result, 0);
}

/* /proc/PID/status of a confined child that waits meanwhile. */
static void read_status(struct buf *text)
{
	struct outcome out = { 0 };
	char path[32], byte;
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		confine(0, &out);
		_exit(out.confined < 0 || write(w.control_fds[0], "x", 1) != 1 ||
		      read(w.control_fds[0], &byte, 1) != 1);
	}
	assert_int_equal(read(w.control_fds[1], &byte, 1), 1);
	(void)snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	assert_int_equal(read_file_at(AT_FDCWD, path, text, NULL), 0);
	assert_int_equal(write(w.control_fds[1], "x", 1), 1);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static void the_kernel_tells_the_same(void **state)
{
	/* CHOWN, DAC_OVERRIDE, FOWNER, FSETID; SYS_ADMIN; MKNOD, SETFCAP */
	static const char *const lines[] = {
		"CapInh:\t0000000000000000\n",
		"CapPrm:\t000000008820001b\n",
		"CapEff:\t000000008820001b\n",
		"CapBnd:\t0000000000000000\n",
		"CapAmb:\t0000000000000000\n",
		"NoNewPrivs:\t1\n",
		"Seccomp:\t2\n",
		"Speculation_Store_Bypass:\t",
	};
	auto_buf struct buf text = { .max = 65536 };

	needs_root();
	read_status(&text);
	for (size_t i = 0; i < ARRAY_LEN(lines); i++)
		if (!strstr(buf_text(&text), lines[i]))
			fail_msg("no line \"%s\" in\n%s", lines[i], buf_text(&text));
	assert_null(strstr(buf_text(&text), "Store_Bypass:\tthread force mitigated"));
}

static void a_report_is_told_in_words(void **state)
{
	const struct confine_report all = { true, true, true, true, true, true, true, 7 };
	const struct confine_report some = { .rlimits = true, .no_new_privs = true };
	const struct confine_report none = { 0 };
	char text[256], few[8];

	confine_describe(&all, text, sizeof(text));
	assert_string_equal(text, "landlock (abi 7), seccomp, capabilities, no_new_privs, own "
				  "root, nodev view, rlimits");
	confine_describe(&some, text, sizeof(text));
	assert_string_equal(text, "no_new_privs, rlimits; missing: landlock, seccomp, "
				  "capabilities, own root, nodev view");
	confine_describe(&none, text, sizeof(text));
	assert_string_equal(text, "none; missing: landlock, seccomp, capabilities, no_new_privs, "
				  "own root, nodev view, rlimits");
	confine_describe(&all, few, sizeof(few));
	assert_string_equal(few, "landloc");
}

/* ---- views ---- */

static unsigned long flags_of(int fd)
{
	struct statvfs st;

	assert_int_equal(fstatvfs(fd, &st), 0);
	return st.f_flag;
}

static bool same_inode(int a, int b)
{
	struct stat first, second;

	assert_int_equal(fstat(a, &first), 0);
	assert_int_equal(fstat(b, &second), 0);
	return first.st_dev == second.st_dev && first.st_ino == second.st_ino;
}

static void a_view_is_the_directory_without_devices(void **state)
{
	const unsigned long closed = ST_NODEV | ST_NOEXEC | ST_NOSUID;
	auto_close int dir = open_dir("staging", O_RDONLY);

	needs_root();
	assert_true(same_inode(dir, w.write_fd));
	assert_int_equal(flags_of(w.write_fd) & (closed | ST_RDONLY), closed);
	assert_int_equal(flags_of(w.read_fd) & (closed | ST_RDONLY), closed | ST_RDONLY);
	assert_int_equal(flags_of(dir) & ST_RDONLY,
			 0); /* the mount it was made of stays as it is */
	assert_int_equal(fcntl(w.write_fd, F_GETFL) & O_PATH, 0);
	assert_int_equal(fcntl(w.write_fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
	assert_int_equal(fsync(w.write_fd), 0);
}

static void what_is_made_in_a_view_is_in_the_directory(void **state)
{
	needs_root();
	assert_int_equal(make_each_type(), 0);
	assert_contents("staging/moved", "data");
	assert_int_equal(look("staging/moved").st_nlink, 2);
	assert_true(S_ISBLK(look("staging/block").st_mode));
}

static void a_lock_on_the_directory_is_not_the_views(void **state)
{
	auto_close int dir = open_dir("staging", O_RDONLY);
	auto_close int again = -EBADF;

	needs_root();
	assert_int_equal(flock(dir, LOCK_EX | LOCK_NB), 0);
	assert_int_equal(flock(w.write_fd, LOCK_SH | LOCK_NB), -1);
	assert_int_equal(errno, EWOULDBLOCK);
	assert_int_equal(flock(w.write_fd, LOCK_UN), 0); /* takes nothing away */
	again = open_dir("staging", O_RDONLY);
	assert_int_equal(flock(again, LOCK_SH | LOCK_NB), -1);
}

static void a_file_is_read_by_a_view_of_it_and_nothing_is_changed(void **state)
{
	auto_close int file = open("parent/file", O_RDWR | O_CLOEXEC);
	auto_close int view = -EBADF;
	char text[13];

	needs_root();
	assert_int_equal(read(file, text, 3), 3); /* its place is its own */
	view = confine_file_view(file);
	assert_true(view >= 0);
	assert_int_equal(read(view, text, sizeof(text)), sizeof(text));
	assert_memory_equal(text, "of the parent", sizeof(text));
	assert_true(same_inode(file, view));
	assert_int_equal(fchmod(view, 0777), -1);
	assert_int_equal(errno, EROFS);
	assert_int_equal(fchown(view, 1, 1), -1);
	assert_int_equal(errno, EROFS);
	assert_int_equal(fsetxattr(view, "trusted.overlaid", "x", 1, 0), -1);
	assert_int_equal(errno, EROFS);
	assert_int_equal(fchmod(file, 0600), 0);
}

static void what_is_no_file_has_no_view(void **state)
{
	needs_root();
	assert_int_equal(confine_file_view(w.control_fds[0]), -EOPNOTSUPP);
	assert_int_equal(confine_file_view(-1), -EOPNOTSUPP);
}

static void no_view_is_in_the_mount_table(void **state)
{
	auto_buf struct buf before = { .max = 1 << 20 }, after = { .max = 1 << 20 };

	needs_root();
	assert_int_equal(read_file_at(AT_FDCWD, "/proc/self/mountinfo", &before, NULL), 0);
	drop_directories();
	take_directories(false);
	assert_int_equal(read_file_at(AT_FDCWD, "/proc/self/mountinfo", &after, NULL), 0);
	assert_string_equal(buf_text(&before), buf_text(&after));
}

static int make_a_view(void *arg)
{
	struct err err = { 0 };
	int fd = confine_view(*(int *)arg, false, &err);

	return fd < 0 && !err.text[0] ? -ENOTRECOVERABLE : fd;
}

static void where_there_are_no_views_the_directory_is_opened_anew(void **state)
{
	static const char *const rules[] = { "open_tree", "open_tree:EPERM", "open_tree:EINVAL",
					     "mount_setattr", "mount_setattr:EPERM" };
	static const char *const broken[] = { "open_tree:EMFILE", "mount_setattr:EINVAL" };
	auto_close int dir = open_dir("staging", O_RDONLY);

	assert_int_equal(flock(dir, LOCK_EX), 0);
	for (size_t i = 0; i < ARRAY_LEN(rules); i++) {
		auto_close int fd = under_deny(&rules[i], 1, make_a_view, &dir);

		assert_true(fd >= 0);
		assert_true(same_inode(dir, fd));
		assert_int_equal(flags_of(fd), flags_of(dir));
		assert_int_equal(flock(fd, LOCK_SH | LOCK_NB), -1);
	}
	assert_int_equal(under_deny(&broken[0], 1, make_a_view, &dir), -EMFILE);
	assert_int_equal(under_deny(&broken[1], 1, make_a_view, &dir), -EINVAL);
}

#define confine_test(f) cmocka_unit_test_setup_teardown(f, start, clean)

#ifdef __SANITIZE_THREAD__
#define UNDER_TSAN true
#else
#define UNDER_TSAN false
#endif

/* ThreadSanitizer has a thread of its own: a forked child can start none, and is not one to confine. */
#define WITHOUT_CHILDREN 8

int main(void)
{
	const struct CMUnitTest tests[] = {
		confine_test(a_report_is_told_in_words),
		confine_test(a_view_is_the_directory_without_devices),
		confine_test(what_is_made_in_a_view_is_in_the_directory),
		confine_test(a_lock_on_the_directory_is_not_the_views),
		confine_test(a_file_is_read_by_a_view_of_it_and_nothing_is_changed),
		confine_test(what_is_no_file_has_no_view),
		confine_test(no_view_is_in_the_mount_table),
		confine_test(where_there_are_no_views_the_directory_is_opened_anew),
		cmocka_unit_test(everything_can_be_done_by_who_is_not_confined),
		cmocka_unit_test(all_is_denied_to_the_confined),
		cmocka_unit_test(without_landlock_most_is_denied_still),
		cmocka_unit_test(without_seccomp_files_and_processes_are_out_of_reach_still),
		cmocka_unit_test(without_a_root_of_its_own_no_file_outside_is_opened_still),
		cmocka_unit_test(without_views_no_file_outside_is_opened_still),
		cmocka_unit_test(regular_files_are_landlocks_where_there_is_no_view),
		cmocka_unit_test(with_all_capabilities_all_is_denied_still),
		confine_test(each_limit_is_an_error_and_not_the_end),
		confine_test(who_aborts_leaves_no_core),
		cmocka_unit_test(unpacking_can_do_what_it_must),
		confine_test(a_layer_comes_out_the_same),
		confine_test(a_kernel_with_everything_reports_everything),
		confine_test(a_part_that_is_missing_is_reported),
		confine_test(what_is_there_and_fails_is_an_error),
		confine_test(descriptors_are_closed_without_close_range_too),
		confine_test(a_process_with_threads_is_refused),
		confine_test(who_is_not_root_is_confined_too),
		confine_test(the_kernel_tells_the_same),
	};
	const size_t tested = UNDER_TSAN ? WITHOUT_CHILDREN : ARRAY_LEN(tests);

	return _cmocka_run_group_tests("confine", tests, tested, sandbox_enter, sandbox_leave);
}
