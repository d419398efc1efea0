/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/run_exec.h"

#include <grp.h>
#include <signal.h>
#include <string.h>
#include <sys/capability.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cmd/defaults.h"
#include "driver/base/buf.h"
#include "driver/base/dl.h"

/* Only `run` needs libcap, so only `run` loads it. */
static struct {
	cap_t (*init)(void);
	int (*free)(void *);
	int (*from_name)(const char *, cap_value_t *);
	int (*set_flag)(cap_t, cap_flag_t, int, const cap_value_t *, cap_flag_value_t);
	int (*set_proc)(cap_t);
	int (*drop_bound)(cap_value_t);
	int (*get_bound)(cap_value_t);
	int (*reset_ambient)(void);
} cap;

static const struct dl_symbol symbols[] = {
	{ "cap_init", &cap.init },	     { "cap_free", &cap.free },
	{ "cap_from_name", &cap.from_name }, { "cap_set_flag", &cap.set_flag },
	{ "cap_set_proc", &cap.set_proc },   { "cap_drop_bound", &cap.drop_bound },
	{ "cap_get_bound", &cap.get_bound }, { "cap_reset_ambient", &cap.reset_ambient },
};

static struct dl_library library = {
	.soname = "libcap.so.2",
	.package = "libcap2",
	.symbols = symbols,
	.symbol_count = ARRAY_LEN(symbols),
	.lock = PTHREAD_MUTEX_INITIALIZER,
};

int run_exec_prepare(struct err *err)
{
	return dl_load(&library, err);
}

/* Fills `values` with what is to be kept; returns how many. */
static int kept_values(cap_value_t *values)
{
	int count = 0;

	for (const char *const *name = default_capabilities; *name; name++) {
		/* What this kernel does not know, or was taken from us, cannot be kept. */
		if (cap.from_name(*name, &values[count]) == 0 && cap.get_bound(values[count]) == 1)
			count++;
	}
	return count;
}

static int drop_others(const cap_value_t *kept, int count, struct err *err)
{
	for (cap_value_t value = 0; cap.get_bound(value) >= 0; value++) {
		bool keep = false;

		for (int i = 0; i < count; i++)
			keep = keep || kept[i] == value;
		if (!keep && cap.get_bound(value) == 1 && cap.drop_bound(value) < 0)
			return fail(err, -errno, "drop capability %d: %m", value);
	}
	return 0;
}

static int drop_capabilities(struct err *err)
{
	cap_value_t kept[32];
	int count = kept_values(kept);
	cap_t set;
	int r = drop_others(kept, count, err);

	if (r < 0)
		return r;
	set = cap.init();
	if (!set)
		return fail_oom(err);
	/* Nothing inheritable and nothing ambient: what a user other than root gets comes from
	 * files. */
	if (cap.reset_ambient() < 0 || cap.set_flag(set, CAP_PERMITTED, count, kept, CAP_SET) < 0 ||
	    cap.set_flag(set, CAP_EFFECTIVE, count, kept, CAP_SET) < 0 || cap.set_proc(set) < 0)
		r = fail(err, -errno, "drop capabilities: %m");
	(void)cap.free(set);
	return r;
}

int run_exec_become(const struct user *user, struct err *err)
{
	int r = drop_capabilities(err);

	if (r < 0)
		return r;
	if (setgroups(user->group_count, user->groups) < 0)
		return fail(err, -errno, "set the groups: %m");
	if (setresgid(user->gid, user->gid, user->gid) < 0)
		return fail(err, -errno, "become group %u: %m", user->gid);
	if (setresuid(user->uid, user->uid, user->uid) < 0)
		return fail(err, -errno, "become user %u: %m", user->uid);
	if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0)
		return fail(err, -errno, "PR_SET_PDEATHSIG: %m");
	return 0;
}

/* The exit status that tells why `path` did not execute. */
static int explain(const char *path, int code, struct err *err)
{
	struct stat st;
	bool there = stat(path, &st) == 0;

	if (code == -ENOENT && there)
		(void)fail(err, code,
			   "cannot run %s: its interpreter or loader is not in the container",
			   path);
	else if (code == -EACCES && there && S_ISDIR(st.st_mode))
		(void)fail(err, -EISDIR, "cannot run %s: %m", path);
	else
		(void)fail(err, code, "cannot run %s: %m", path);
	return code == -ENOENT || code == -ENOTDIR ? EXIT_NOT_FOUND : EXIT_CANNOT_INVOKE;
}

/* Looks through $PATH as execvp(3) does: what may not be executed is passed over, but told if
 * nothing else is found. */
static int exec_by_path(const struct process *process, const char *name, struct err *err)
{
	const char *dirs = process_get_env(process, "PATH");
	int refused = 0;

	for (const char *p = dirs ? dirs : ""; *p;) {
		size_t len = strcspn(p, ":");
		auto_buf struct buf path = { 0 };

		(void)buf_printf(&path, "%.*s/%s", len ? (int)len : 1, len ? p : ".", name);
		p += len + (p[len] == ':');
		if (path.status)
			return fail_oom(err), EXIT_CANNOT_INVOKE;
		(void)execve(buf_text(&path), process->args.items, process->env.items);
		if (errno == EACCES)
			refused = explain(buf_text(&path), -EACCES, err);
		else if (errno != ENOENT && errno != ENOTDIR && errno != ENAMETOOLONG &&
			 errno != ELOOP)
			return explain(buf_text(&path), -errno, err);
		else if (access(buf_text(&path), F_OK) == 0)
			return explain(buf_text(&path), -ENOENT,
				       err); /* it is its interpreter that is missing */
	}
	if (refused)
		return refused;
	(void)fail(err, -ENOENT, "cannot run %s: not found in the container's PATH (%s)", name,
		   dirs ? dirs : "");
	return EXIT_NOT_FOUND;
}

int run_exec_command(const struct process *process, struct err *err)
{
	const char *name = process->args.items[0];

	if (!strchr(name, '/'))
		return exec_by_path(process, name, err);
	(void)execve(name, process->args.items, process->env.items);
	return explain(name, -errno, err);
}
