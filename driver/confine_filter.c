/* SPDX-License-Identifier: Apache-2.0 */
#include "driver/confine_filter.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "driver/base/auto.h"
#include "driver/base/sys.h"

#if defined(__x86_64__)
#define NATIVE_ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define NATIVE_ARCH AUDIT_ARCH_AARCH64
#else
#define NATIVE_ARCH 0
#endif

/* Linux 6.6; since 5.1 new calls have the same number everywhere. */
#ifndef SYS_fchmodat2
#define SYS_fchmodat2 452
#endif
#define NEWEST_KNOWN SYS_fchmodat2

/* ---- the table ---- */

/* Whatever the arguments are. */
static const int plain[] = {
	/* trees */
	SYS_openat,
	SYS_close,
	SYS_write,
	SYS_pwrite64,
	SYS_read,
	SYS_pread64,
	SYS_newfstatat,
	SYS_fstat,
	SYS_mkdirat,
	SYS_utimensat,
	SYS_fchown,
	SYS_fchownat,
	SYS_fchmod,
	SYS_fchmodat,
	SYS_symlinkat,
	SYS_linkat,
	SYS_unlinkat,
	SYS_renameat,
	SYS_renameat2,
	SYS_mknodat,
	SYS_readlinkat,
	SYS_openat2,
	SYS_fsetxattr,
	SYS_fgetxattr,
	SYS_flistxattr,
	SYS_fremovexattr,
	SYS_statx,
	SYS_getdents64,
	SYS_fstatfs,
	SYS_fchmodat2,
	SYS_umask,
	/* files and descriptors */
	SYS_readv,
	SYS_writev,
	SYS_lseek,
	SYS_ftruncate,
	SYS_fallocate,
	SYS_sync_file_range,
	SYS_copy_file_range,
	SYS_fadvise64,
	SYS_fsync,
	SYS_fdatasync,
	SYS_dup,
	SYS_dup3,
	/* the control socket: there is no way to make another one */
	SYS_recvmsg,
	SYS_sendmsg,
	SYS_recvfrom,
	SYS_ppoll,
	/* memory */
	SYS_brk,
	SYS_munmap,
	SYS_mremap,
	/* threads and time */
	SYS_futex,
	SYS_exit,
	SYS_exit_group,
	SYS_set_robust_list,
	SYS_rseq,
	SYS_gettid,
	SYS_getpid,
	SYS_sched_yield,
	SYS_sched_getaffinity,
	SYS_membarrier,
	SYS_getcpu,
	SYS_clock_gettime,
	SYS_clock_getres,
	SYS_clock_nanosleep,
	SYS_nanosleep,
	SYS_gettimeofday,
	SYS_getrusage,
	SYS_restart_syscall,
	/* signals */
	SYS_rt_sigaction,
	SYS_rt_sigprocmask,
	SYS_rt_sigreturn,
	SYS_sigaltstack,
	/* questions that libraries ask */
	SYS_getrandom,
	SYS_getuid,
	SYS_geteuid,
	SYS_getgid,
	SYS_getegid,
	SYS_uname,
	SYS_sysinfo,
#ifdef SYS_poll
	SYS_poll,
	SYS_dup2,
#endif
};

/* One half of an argument; both machines above are little-endian. */
#define LOW(arg)  offsetof(struct seccomp_data, args[arg])
#define HIGH(arg) (LOW(arg) + sizeof(uint32_t))

#define ALL_BITS 0xffffffffu
#define OWN_PID	 0xffffffffu /* as a value: what getpid() says */
#define TESTS	 3

/* Allowed where for each test (half & mask) == value; a mask of 0 is no test. Rules for the same call
 * are alternatives. */
struct rule {
	int number;
	struct test {
		size_t half;
		uint32_t mask, value;
	} tests[TESTS];
};

/* A thread is in our namespaces and under our filter. */
#define CLONE_ODD                                                                      \
	(CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | \
	 CLONE_NEWPID | CLONE_NEWNET | CLONE_VFORK | CLONE_PTRACE | CLONE_PARENT | CLONE_PIDFD)

static const struct rule rules[] = {
	/* Memory is never code, and is counted: what is shared is not in RLIMIT_DATA. */
	{ SYS_mmap, { { LOW(2), PROT_EXEC, 0 }, { LOW(3), MAP_SHARED, 0 } } },
	{ SYS_mprotect, { { LOW(2), PROT_EXEC, 0 } } },
	/* With CAP_SYS_ADMIN other advice takes pages from the machine: MADV_HWPOISON. */
	{ SYS_madvise, { { LOW(2), ALL_BITS, MADV_DONTNEED } } },
	{ SYS_madvise, { { LOW(2), ALL_BITS, MADV_FREE } } },
	{ SYS_madvise, { { LOW(2), ALL_BITS, MADV_WILLNEED } } },
	{ SYS_madvise, { { LOW(2), ALL_BITS, MADV_SEQUENTIAL } } },
	{ SYS_madvise, { { LOW(2), ALL_BITS & ~1u, MADV_HUGEPAGE } } }, /* and NOHUGEPAGE */
	{ SYS_madvise, { { LOW(2), ALL_BITS, MADV_DONTDUMP } } },
	/* No signals to others by F_SETOWN, no changes to what the parent has open too by F_SETFL. */
	{ SYS_fcntl, { { LOW(1), ALL_BITS, F_DUPFD_CLOEXEC } } },
	{ SYS_fcntl, { { LOW(1), ALL_BITS, F_DUPFD } } },
	{ SYS_fcntl, { { LOW(1), ALL_BITS, F_GETFL } } },
	{ SYS_fcntl, { { LOW(1), ALL_BITS, F_GETFD } } },
	{ SYS_fcntl, { { LOW(1), ALL_BITS, F_SETFD } } },
	/* Threads; no process. Those of driver/base/pool have a working directory of their own. */
	{ SYS_clone, { { LOW(0), CLONE_THREAD | CLONE_ODD, CLONE_THREAD } } },
	{ SYS_unshare, { { LOW(0), ALL_BITS, CLONE_FS } } },
	{ SYS_tgkill, { { LOW(0), ALL_BITS, OWN_PID } } }, /* abort(3) */
	/* To ask, not to set. */
	{ SYS_prlimit64,
	  { { LOW(0), ALL_BITS, 0 }, { LOW(2), ALL_BITS, 0 }, { HIGH(2), ALL_BITS, 0 } } },
	/* To no other address. */
	{ SYS_sendto, { { LOW(4), ALL_BITS, 0 }, { HIGH(4), ALL_BITS, 0 } } },
};

/* ---- the program ---- */

#define RULE_CODE_MAX  (2 + 3 * TESTS + 1)
#define RANGE_CODE_MAX 5

struct program {
	struct sock_filter
		code[ARRAY_LEN(plain) * RANGE_CODE_MAX + ARRAY_LEN(rules) * RULE_CODE_MAX + 16];
	unsigned short len;
};

static void put(struct program *p, unsigned int code, uint32_t k, size_t jump_true,
		size_t jump_false)
{
	p->code[p->len++] = (struct sock_filter){
		.code = (uint16_t)code, .k = k, .jt = (uint8_t)jump_true, .jf = (uint8_t)jump_false
	};
}

static void put_load(struct program *p, size_t offset)
{
	put(p, BPF_LD | BPF_W | BPF_ABS, (uint32_t)offset, 0, 0);
}

/* Goes on where the loaded word is `value`; else skips `skip` instructions. */
static void put_equal(struct program *p, uint32_t value, size_t skip)
{
	put(p, BPF_JMP | BPF_JEQ | BPF_K, value, 0, skip);
}

static void put_return(struct program *p, uint32_t what)
{
	put(p, BPF_RET | BPF_K, what, 0, 0);
}

/* Numbers that follow each other: many do. */
struct range {
	uint32_t first, last;
};

static int compare(const void *a, const void *b)
{
	return *(const int *)a - *(const int *)b;
}

static size_t find_ranges(struct range ranges[ARRAY_LEN(plain)])
{
	int sorted[ARRAY_LEN(plain)];
	size_t count = 0;

	memcpy(sorted, plain, sizeof(plain));
	qsort(sorted, ARRAY_LEN(sorted), sizeof(sorted[0]), compare);
	for (size_t i = 0; i < ARRAY_LEN(sorted); i++) {
		if (i == 0 || sorted[i] != sorted[i - 1] + 1)
			ranges[count++].first = (uint32_t)sorted[i];
		ranges[count - 1].last = (uint32_t)sorted[i];
	}
	return count;
}

/* A search tree of some ranges: with the kernel running this for every number there is when it is
 * installed, a list would cost more. What is found in none jumps to 0, to be patched. */
static void put_tree(struct program *p, const struct range *ranges, size_t count)
{
	const size_t half = count / 2;
	unsigned short at = p->len;

	if (count == 1) {
		put(p, BPF_JMP | BPF_JGE | BPF_K, ranges->first, 0, 2);
		put(p, BPF_JMP | BPF_JGT | BPF_K, ranges->last, 1, 0);
		put_return(p, SECCOMP_RET_ALLOW);
		put(p, BPF_JMP | BPF_JA, 0, 0, 0);
		return;
	}
	put(p, BPF_JMP | BPF_JGE | BPF_K, ranges[half].first, 0, 0);
	put_tree(p, ranges, half);
	p->code[at].jt = (uint8_t)(p->len - at - 1);
	put_tree(p, ranges + half, count - half);
}

static void put_plain(struct program *p)
{
	struct range ranges[ARRAY_LEN(plain)];
	const size_t count = find_ranges(ranges);
	const unsigned short from = p->len;

	put_tree(p, ranges, count);
	for (unsigned short i = from; i < p->len; i++)
		if (p->code[i].code == (BPF_JMP | BPF_JA))
			p->code[i].k = (uint32_t)(p->len - i - 1);
}

/* A jump over half of the tree has 8 bits. */
_Static_assert((ARRAY_LEN(plain) + 1) / 2 * RANGE_CODE_MAX < 256, "too many calls for one tree");

static void put_rule(struct program *p, const struct rule *rule)
{
	size_t left = 1; /* instructions up to the end of the rule */

	for (size_t i = 0; i < TESTS && rule->tests[i].mask; i++)
		left += 3;
	put_load(p, offsetof(struct seccomp_data, nr));
	put_equal(p, (uint32_t)rule->number, left);
	for (size_t i = 0; i < TESTS && rule->tests[i].mask; i++) {
		const struct test *test = &rule->tests[i];

		left -= 3;
		put_load(p, test->half);
		put(p, BPF_ALU | BPF_AND | BPF_K, test->mask, 0, 0);
		put_equal(p, test->value == OWN_PID ? (uint32_t)getpid() : test->value, left);
	}
	put_return(p, SECCOMP_RET_ALLOW);
}

static void build(struct program *p)
{
	put_load(p, offsetof(struct seccomp_data, arch));
	put(p, BPF_JMP | BPF_JEQ | BPF_K, NATIVE_ARCH, 1, 0);
	put_return(p, SECCOMP_RET_ERRNO | EPERM);
	put_load(p, offsetof(struct seccomp_data, nr));
	put_plain(p);
	for (size_t i = 0; i < ARRAY_LEN(rules); i++)
		put_rule(p, &rules[i]);
	put_load(p, offsetof(struct seccomp_data, nr));
	put(p, BPF_JMP | BPF_JEQ | BPF_K, SYS_clone3, 2, 0);
	put(p, BPF_JMP | BPF_JGT | BPF_K, NEWEST_KNOWN, 1, 0); /* those of x32 among them */
	put_return(p, SECCOMP_RET_ERRNO | EPERM);
	put_return(p, SECCOMP_RET_ERRNO | ENOSYS);
}

bool confine_filter_possible(void)
{
	uint32_t action = SECCOMP_RET_ERRNO;

	return NATIVE_ARCH && sys_seccomp(SECCOMP_GET_ACTION_AVAIL, 0, &action) == 0;
}

int confine_filter_install(void)
{
	struct program p = { .len = 0 };
	struct sock_fprog prog = { .filter = p.code };

	if (!NATIVE_ARCH)
		return -ENOSYS;
	build(&p);
	prog.len = p.len;
	/* Before Linux 5.16 a filter would also switch off the processor's speculation about stores, at
	 * a cost for all code; there is no secret in this process to be guessed. */
	return sys_seccomp(SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_SPEC_ALLOW, &prog);
}
