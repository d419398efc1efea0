/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/tools/deny_filter.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "driver/base/auto.h"

#if defined(__x86_64__)
#define NATIVE_ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define NATIVE_ARCH AUDIT_ARCH_AARCH64
#else
#error "deny_filter knows x86_64 and aarch64 only"
#endif

struct name {
	const char *text;
	int number;
};

static const struct name syscalls[] = {
	{ "capset", SYS_capset },
	{ "chroot", SYS_chroot },
	{ "clone3", SYS_clone3 },
	{ "close_range", SYS_close_range },
	{ "copy_file_range", SYS_copy_file_range },
	{ "fchmodat", SYS_fchmodat },
	{ "fchmodat2", 452 }, /* newer than some headers; one number for all */
	{ "fdatasync", SYS_fdatasync },
	{ "fsconfig", SYS_fsconfig },
	{ "fsmount", SYS_fsmount },
	{ "fsopen", SYS_fsopen },
	{ "fsync", SYS_fsync },
	{ "getrandom", SYS_getrandom },
	{ "ioctl", SYS_ioctl },
	{ "landlock_add_rule", SYS_landlock_add_rule },
	{ "landlock_create_ruleset", SYS_landlock_create_ruleset },
	{ "landlock_restrict_self", SYS_landlock_restrict_self },
	{ "linkat", SYS_linkat },
	{ "mknodat", SYS_mknodat },
	{ "mount", SYS_mount },
	{ "mount_setattr", SYS_mount_setattr },
	{ "move_mount", SYS_move_mount },
	{ "open_tree", SYS_open_tree },
	{ "openat2", SYS_openat2 },
	{ "pidfd_open", SYS_pidfd_open },
	{ "prctl", SYS_prctl },
	{ "prlimit64", SYS_prlimit64 },
	{ "renameat2", SYS_renameat2 },
	{ "seccomp", SYS_seccomp },
	{ "setxattr", SYS_setxattr },
	{ "fsetxattr", SYS_fsetxattr },
	{ "lsetxattr", SYS_lsetxattr },
	{ "statx", SYS_statx },
	{ "syncfs", SYS_syncfs },
	{ "umount2", SYS_umount2 },
	{ "unlinkat", SYS_unlinkat },
	{ "unshare", SYS_unshare },
	{ "utimensat", SYS_utimensat },
};

static const struct name errors[] = {
	{ "E2BIG", E2BIG },	      { "EACCES", EACCES }, { "EBADF", EBADF },
	{ "EBUSY", EBUSY },	      { "EINVAL", EINVAL }, { "EIO", EIO },
	{ "ELOOP", ELOOP },	      { "EMFILE", EMFILE }, { "ENODEV", ENODEV },
	{ "ENOENT", ENOENT },	      { "ENOMEM", ENOMEM }, { "ENOSPC", ENOSPC },
	{ "ENOSYS", ENOSYS },	      { "EPERM", EPERM },   { "EROFS", EROFS },
	{ "EXDEV", EXDEV },	      { "EDQUOT", EDQUOT }, { "ENOTSUP", ENOTSUP },
	{ "EOPNOTSUPP", EOPNOTSUPP },
};

static int find(const struct name *names, size_t count, const char *text, size_t len)
{
	for (size_t i = 0; i < count; i++)
		if (strlen(names[i].text) == len && memcmp(names[i].text, text, len) == 0)
			return names[i].number;
	return -1;
}

/* "INDEX=VALUE" */
static int parse_arg(const char *text, size_t len, struct deny_rule *rule)
{
	unsigned int index = (unsigned int)(text[0] - '0');
	char *end;

	if (index >= DENY_ARGS || len < 3 || text[1] != '=')
		return -EINVAL;
	errno = 0;
	rule->args[index] = strtoull(text + 2, &end, 0);
	if (errno || end != text + len)
		return -EINVAL;
	rule->arg_mask |= 1u << index;
	return 0;
}

static int parse_error(const char *text, size_t len, struct deny_rule *rule)
{
	char *end;

	rule->error = find(errors, ARRAY_LEN(errors), text, len);
	if (rule->error > 0)
		return 0;
	rule->error = (int)strtoul(text, &end, 10);
	return end == text + len && rule->error > 0 && rule->error < 4096 ? 0 : -EINVAL;
}

int deny_rule_parse(const char *text, struct deny_rule *ret)
{
	struct deny_rule rule = { .error = ENOSYS };
	const char *part = text;
	size_t len = strcspn(part, ":");

	rule.syscall = find(syscalls, ARRAY_LEN(syscalls), part, len);
	if (rule.syscall < 0)
		return -EINVAL;
	for (part += len; *part == ':'; part += len) {
		int r;

		len = strcspn(++part, ":");
		if (memchr(part, '=', len))
			r = parse_arg(part, len, &rule);
		else
			r = part[len] ? -EINVAL :
					parse_error(part, len, &rule); /* only at the end */
		if (r < 0)
			return -EINVAL;
	}
	*ret = rule;
	return 0;
}

/* A program under construction; big enough for DENY_RULES_MAX rules with all arguments. */
struct program {
	struct sock_filter code[4 + DENY_RULES_MAX * (2 + 4 * DENY_ARGS)];
	unsigned short len;
};

static void put(struct program *p, unsigned short code, uint32_t k, size_t jump_true,
		size_t jump_false)
{
	p->code[p->len++] = (struct sock_filter)BPF_JUMP(code, k, (uint8_t)jump_true,
							 (uint8_t)jump_false);
}

static void put_load(struct program *p, size_t offset)
{
	put(p, BPF_LD | BPF_W | BPF_ABS, (uint32_t)offset, 0, 0);
}

/* Compares the loaded word; where it differs, skips to the end of the rule, which is `left`
 * instructions on. */
static void put_equal(struct program *p, uint32_t value, size_t left)
{
	put(p, BPF_JMP | BPF_JEQ | BPF_K, value, 0, left);
}

/* Each argument is two 32-bit words: the machines above are little-endian, so the low one is first.
 */
static void put_rule(struct program *p, const struct deny_rule *rule)
{
	size_t left = (size_t)__builtin_popcount(rule->arg_mask) * 4 + 1;

	put_load(p, offsetof(struct seccomp_data, nr));
	put_equal(p, (uint32_t)rule->syscall, left);
	for (size_t i = 0; i < DENY_ARGS; i++) {
		size_t offset = offsetof(struct seccomp_data, args) + i * sizeof(uint64_t);

		if (!(rule->arg_mask & (1u << i)))
			continue;
		put_load(p, offset);
		put_equal(p, (uint32_t)rule->args[i], left - 2);
		put_load(p, offset + sizeof(uint32_t));
		put_equal(p, (uint32_t)(rule->args[i] >> 32), left - 4);
		left -= 4;
	}
	put(p, BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (uint32_t)rule->error, 0, 0);
}

int deny_install(const struct deny_rule *rules, size_t count)
{
	struct program p = { .len = 0 };
	struct sock_fprog prog = { .filter = p.code };

	if (count > DENY_RULES_MAX)
		return -E2BIG;
	put_load(&p, offsetof(struct seccomp_data, arch));
	put(&p, BPF_JMP | BPF_JEQ | BPF_K, NATIVE_ARCH, 1, 0);
	put(&p, BPF_RET | BPF_K, SECCOMP_RET_ALLOW, 0, 0);
	for (size_t i = 0; i < count; i++)
		put_rule(&p, &rules[i]);
	put(&p, BPF_RET | BPF_K, SECCOMP_RET_ALLOW, 0, 0);
	prog.len = p.len;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return -errno;
	return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog) < 0 ? -errno : 0;
}

int deny_install_texts(const char *const *texts, size_t count)
{
	struct deny_rule rules[DENY_RULES_MAX];

	if (count > DENY_RULES_MAX)
		return -E2BIG;
	for (size_t i = 0; i < count; i++) {
		int r = deny_rule_parse(texts[i], &rules[i]);

		if (r < 0)
			return r;
	}
	return deny_install(rules, count);
}
