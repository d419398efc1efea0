/* SPDX-License-Identifier: Apache-2.0 */
#include "driver/mount.h"

#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>

#include "driver/base/auto.h"
#include "driver/base/sys.h"
#include "driver/libmount.h"

#define FSCONFIG_STRING_MAX 255	 /* bytes; fsconfig(2) copies no more */
#define MOUNT_OPTIONS_MAX   4095 /* bytes; mount(2) copies one page, and its last byte is NUL */
#define WORDS_MAX	    512	 /* of the kernel's log; it writes shorter ones */
#define SELF_FD		    "/proc/thread-self/fd"
#define OVERLAY_PARAMETERS  "/sys/module/overlay/parameters"

/* One way being tried. */
struct attempt {
	const struct overlay_plan *plan;
	int target_fd; /* -EBADF: attached nowhere */
	int mount_fd;  /* out: the mount where that is so; owned */
	bool lacking; /* out: it failed for the kernel does not know this way, or a filter hides it */
	struct err *err;
};

/* What a layer could ask of overlayfs through its xattrs is switched off: it comes from outside. */
static const struct option {
	const char *key, *value;
	bool with_userxattr;
} options[] = {
	{ "index", "off", true },
	/* userxattr implies "nofollow"; "off" may mean "follow", and the two conflict */
	{ "redirect_dir", "off", false },
	{ "metacopy", "off", true },
};

static bool option_wanted(const struct option *option, const struct overlay_plan *plan)
{
	return plan->xattrs != OVERLAY_XATTRS_USER || option->with_userxattr;
}

static bool has_upper(const struct overlay_plan *plan)
{
	return plan->upper_fd >= 0;
}

static bool read_only(const struct overlay_plan *plan)
{
	return !has_upper(plan) || (plan->flags & OVERLAY_READ_ONLY);
}

static bool is_volatile(const struct overlay_plan *plan)
{
	return has_upper(plan) && (plan->flags & OVERLAY_VOLATILE);
}

/* What a person can do about a code; begins with "; " or is empty. */
static const char *hint(int code)
{
	static const struct {
		int code;
		const char *text;
	} hints[] = {
		{ -ENODEV,
		  "; this kernel has no overlayfs: modprobe overlay, or a kernel with CONFIG_OVERLAY_FS" },
		{ -EPERM, "; mounting needs root (CAP_SYS_ADMIN)" },
		{ -EBUSY, "; another overlay mount uses this upper or work directory" },
		{ -ELOOP,
		  "; one of the directories stands in the chain twice, or lies within another" },
		{ -EINVAL, "; the kernel's log (dmesg) may say why" },
		{ -ENOSPC, "; the disk is full, or there are more mounts than fs.mount-max" },
	};

	for (size_t i = 0; i < ARRAY_LEN(hints); i++)
		if (hints[i].code == code)
			return hints[i].text;
	return "";
}

/*
 * The kernel's last error in the log of a filesystem context ("e overlay: words\n"), without its
 * mark; empty where there is none. Empties the log.
 */
static void last_kernel_words(int fs_fd, char *out, size_t size)
{
	char line[WORDS_MAX];
	ssize_t len;

	out[0] = 0;
	while ((len = read(fs_fd, line, sizeof(line) - 1)) > 0) {
		line[len] = 0;
		line[strcspn(line, "\n")] = 0;
		if (strncmp(line, "e ", 2) == 0)
			(void)snprintf(out, size, "%s", line + 2);
	}
}

/* Words that the mount API itself writes about a parameter that the filesystem does not know, or
 * not in this form. */
static bool words_mean_unknown(const char *words)
{
	return strstr(words, "Bad value for") || strstr(words, "Unknown parameter") ||
	       strstr(words, "Parameter type");
}

/*
 * A failed call on a filesystem context. `unknown_codes` lists what this call returns, besides the
 * codes of sys_is_missing(), where the kernel does not know this way (ended by 0). EINVAL is also
 * the code of many real refusals, but with those the kernel says why; a way that is unknown leaves
 * nothing, or the words of words_mean_unknown().
 */
static int context_failed(struct attempt *a, int fs_fd, int code, const int *unknown_codes,
			  const char *what)
{
	char words[WORDS_MAX];

	last_kernel_words(fs_fd, words, sizeof(words));
	while (*unknown_codes && *unknown_codes != code)
		unknown_codes++;
	if (sys_is_missing(code) || *unknown_codes)
		a->lacking = !words[0] || words_mean_unknown(words);
	if (words[0])
		return fail(a->err, code, "%s: %s (%m)", what, words);
	return fail(a->err, code, "%s: %m%s", what, hint(code));
}

static const int unknown_none[] = { 0 };
static const int unknown_einval[] = { -EINVAL, 0 };
/* EBADF: Linux 6.13 and 6.14 take descriptors, but not those of O_PATH. */
static const int unknown_descriptor[] = { -EINVAL, -EBADF, 0 };

static const char *source_of(const struct overlay_plan *plan)
{
	return plan->source ? plan->source : "overlay";
}

static int set_options(struct attempt *a, int fs_fd)
{
	char words[WORDS_MAX];
	int r = sys_fsconfig(fs_fd, FSCONFIG_SET_STRING, "source", source_of(a->plan), 0);

	if (r < 0)
		return context_failed(a, fs_fd, r, unknown_none, "fsconfig source");
	for (size_t i = 0; i < ARRAY_LEN(options); i++) {
		if (!option_wanted(&options[i], a->plan))
			continue;
		r = sys_fsconfig(fs_fd, FSCONFIG_SET_STRING, options[i].key, options[i].value, 0);
		if (r == -EINVAL) /* not in this kernel, so it is off: forget its words */
			last_kernel_words(fs_fd, words, sizeof(words));
		else if (r < 0)
			return context_failed(a, fs_fd, r, unknown_none, options[i].key);
	}
	if (a->plan->xattrs == OVERLAY_XATTRS_USER) {
		r = sys_fsconfig(fs_fd, FSCONFIG_SET_FLAG, "userxattr", NULL, 0);
		if (r < 0)
			return context_failed(a, fs_fd, r, unknown_none,
					      "fsconfig userxattr (Linux 5.11)");
	}
	/* A read-only filesystem, not only a read-only mount of it: unmounting syncs nothing then. */
	if (read_only(a->plan)) {
		r = sys_fsconfig(fs_fd, FSCONFIG_SET_FLAG, "ro", NULL, 0);
		if (r < 0)
			return context_failed(a, fs_fd, r, unknown_none, "fsconfig ro");
	}
	if (is_volatile(a->plan)) {
		r = sys_fsconfig(fs_fd, FSCONFIG_SET_FLAG, "volatile", NULL, 0);
		if (r < 0)
			return context_failed(a, fs_fd, r, unknown_none,
					      "fsconfig volatile (Linux 5.10)");
	}
	if (a->plan->context) {
		r = sys_fsconfig(fs_fd, FSCONFIG_SET_STRING, "context", a->plan->context, 0);
		if (r < 0)
			return context_failed(a, fs_fd, r, unknown_none,
					      "fsconfig context (SELinux, where it is on)");
	}
	return 0;
}

/* Sets one directory by a way's own means: the call's result. */
typedef int set_dir_fn(int fs_fd, const char *key, int fd, const char *path);

static int set_dir_by_fd(int fs_fd, const char *key, int fd, const char *path)
{
	return sys_fsconfig(fs_fd, FSCONFIG_SET_FD, key, NULL, fd);
}

static int set_dir_by_number(int fs_fd, const char *key, int fd, const char *path)
{
	char by_fd[sizeof(SELF_FD) + 16];

	(void)snprintf(by_fd, sizeof(by_fd), "%s/%d", SELF_FD, fd);
	return sys_fsconfig(fs_fd, FSCONFIG_SET_STRING, key, by_fd, 0);
}

/*
 * By its own path, which then stands in the mount table, where that is sure to arrive as it is:
 * overlayfs unescapes backslashes in some of these values, and a relative path would depend on the
 * working directory.
 */
static int set_dir_by_name(int fs_fd, const char *key, int fd, const char *path)
{
	if (path[0] != '/' || strlen(path) > FSCONFIG_STRING_MAX || strchr(path, '\\'))
		return set_dir_by_number(fs_fd, key, fd, path);
	return sys_fsconfig(fs_fd, FSCONFIG_SET_STRING, key, path, 0);
}

static int set_dir(struct attempt *a, int fs_fd, set_dir_fn *set, const char *key, int fd,
		   const char *path, const int *unknown_codes)
{
	char what[PATH_MAX + 32];
	int r = set(fs_fd, key, fd, path);

	if (r >= 0)
		return 0;
	(void)snprintf(what, sizeof(what), "fsconfig %s=%s", key, path);
	return context_failed(a, fs_fd, r, unknown_codes, what);
}

/* Once the first layer was accepted, the kernel knows the way: no later refusal is for lack of it. */
static int set_layers(struct attempt *a, int fs_fd, set_dir_fn *set, const int *unknown_codes)
{
	const struct overlay_plan *plan = a->plan;
	/* At its path there is the directory without the mapping. */
	set_dir_fn *set_lower = plan->lowers_detached && set == set_dir_by_name ?
					set_dir_by_number :
					set;
	int r = 0;

	for (size_t i = 0; i < plan->lower_count && r == 0; i++)
		r = set_dir(a, fs_fd, set_lower, "lowerdir+", plan->lower_fds[i],
			    plan->lower_paths[i], i == 0 ? unknown_codes : unknown_none);
	if (r == 0 && has_upper(plan))
		r = set_dir(a, fs_fd, set, "upperdir", plan->upper_fd, plan->upper_path,
			    unknown_none);
	if (r == 0 && has_upper(plan))
		r = set_dir(a, fs_fd, set, "workdir", plan->work_fd, plan->work_path, unknown_none);
	return r;
}

/* Attaches a mount on top of what is mounted at the target. */
static int attach(struct attempt *a, int mount_fd)
{
	int r = sys_move_mount(mount_fd, "", a->target_fd, "",
			       MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH);

	/* A descriptor of no context: nobody wrote words. */
	return r < 0 ? context_failed(a, -EBADF, r, unknown_none, "move_mount") : 0;
}

/* The mount, attached nowhere yet: a descriptor. */
static int make_by_context(struct attempt *a, set_dir_fn *set, const int *unknown_dir,
			   const int *unknown_create)
{
	auto_close int fs_fd = sys_fsopen("overlay");
	int r;

	if (fs_fd < 0) {
		a->lacking = sys_is_missing(fs_fd);
		return fail(a->err, fs_fd, "fsopen overlay: %m%s", hint(fs_fd));
	}
	r = set_options(a, fs_fd);
	if (r < 0)
		return r;
	r = set_layers(a, fs_fd, set, unknown_dir);
	if (r < 0)
		return r;
	r = sys_fsconfig(fs_fd, FSCONFIG_CMD_CREATE, NULL, NULL, 0);
	if (r < 0)
		return context_failed(a, fs_fd, r, unknown_create, "create the overlay");
	r = sys_fsmount(fs_fd, read_only(a->plan) ? MOUNT_ATTR_RDONLY : 0);
	return r < 0 ? context_failed(a, fs_fd, r, unknown_none, "fsmount") : r;
}

static int place(struct attempt *a, int mount_fd)
{
	auto_close int owned = mount_fd;

	if (owned < 0)
		return owned;
	if (a->target_fd >= 0)
		return attach(a, owned);
	a->mount_fd = take_fd(&owned);
	return 0;
}

static int mount_by_fd(struct attempt *a)
{
	return place(a, make_by_context(a, set_dir_by_fd, unknown_descriptor, unknown_none));
}

/* Takes the uppermost `count` mounts off the target. */
static void detach_lowers(const struct attempt *a, size_t count)
{
	char target[sizeof(SELF_FD) + 16];

	(void)snprintf(target, sizeof(target), "%s/%d", SELF_FD, a->target_fd);
	while (count--)
		(void)sys_umount(target, MNT_DETACH);
}

/*
 * Before Linux 6.15 the kernel takes no layer from a mount that is attached nowhere. They are stacked on
 * the target while the overlay is made, which keeps copies of them. Ends with so many attached as
 * *ret_count says, also on failure.
 */
static int attach_lowers(struct attempt *a, size_t *ret_count)
{
	int r = 0;

	*ret_count = 0;
	while (r == 0 && *ret_count < a->plan->lower_count) {
		r = attach(a, a->plan->lower_fds[*ret_count]);
		*ret_count += r == 0;
	}
	return r;
}

/* Before Linux 6.5 overlayfs keeps any parameter as it comes and looks at it only when the mount is
 * created. */
static int mount_by_name(struct attempt *a)
{
	size_t attached = 0;
	int r = 0;

	if (a->plan->lowers_detached && a->target_fd >= 0)
		r = attach_lowers(a, &attached);
	if (r == 0)
		r = make_by_context(a, set_dir_by_name, unknown_einval, unknown_einval);
	detach_lowers(a, attached);
	return place(a, r);
}

/* Is there this parameter? Asked only where all are visible, which is where the module is loaded. */
static bool option_known(const char *key)
{
	char path[sizeof(OVERLAY_PARAMETERS) + 32];

	(void)snprintf(path, sizeof(path), "%s/%s", OVERLAY_PARAMETERS, key);
	return access(OVERLAY_PARAMETERS, F_OK) < 0 || access(path, F_OK) == 0;
}

/* Directories are named by bare descriptor numbers: the working directory is SELF_FD. */
static int format_options(const struct overlay_plan *plan, struct buf *out, struct err *err)
{
	(void)buf_puts(out, read_only(plan) ? "ro,lowerdir=" : "lowerdir=");
	for (size_t i = 0; i < plan->lower_count; i++)
		(void)buf_printf(out, i ? ":%d" : "%d", plan->lower_fds[i]);
	if (has_upper(plan))
		(void)buf_printf(out, ",upperdir=%d,workdir=%d", plan->upper_fd, plan->work_fd);
	for (size_t i = 0; i < ARRAY_LEN(options); i++)
		if (option_wanted(&options[i], plan) && option_known(options[i].key))
			(void)buf_printf(out, ",%s=%s", options[i].key, options[i].value);
	if (plan->xattrs == OVERLAY_XATTRS_USER)
		(void)buf_puts(out, ",userxattr");
	if (is_volatile(plan))
		(void)buf_puts(out, ",volatile");
	/* Its categories have commas between them. The kernel knows no escape, but quotes. */
	if (plan->context)
		(void)buf_printf(out, ",context=\"%s\"", plan->context);
	if (buf_status(out, NULL) == -EFBIG)
		return fail(
			err, -E2BIG,
			"the options of %zu layers are longer than the %d bytes that mount(2) takes",
			plan->lower_count, MOUNT_OPTIONS_MAX);
	return buf_status(out, err);
}

struct options_job {
	struct attempt *attempt;
	const char *options;
	int result;
};

/* `options` as mount(2) has them. What comes before "lowerdir=" is no option of overlayfs but a
 * mount flag. */
static int mount_with_options(struct attempt *a, const char *text)
{
	char target[sizeof(SELF_FD) + 16];
	bool classic;
	int r = libmount_load(&classic, a->err);

	if (r < 0)
		return r;
	(void)snprintf(target, sizeof(target), "%s/%d", SELF_FD, a->target_fd);
	/* It leaves a context out, silently, where SELinux is off. */
	if (classic && !a->plan->context)
		return libmount_mount_overlay(source_of(a->plan), target, text, a->err);
	/* A newer libmount would use fsconfig(2), which takes no value over FSCONFIG_STRING_MAX,
	 * and may be hidden by a filter. */
	r = sys_mount(source_of(a->plan), target, "overlay", read_only(a->plan) ? MS_RDONLY : 0,
		      strstr(text, "lowerdir="));
	return r < 0 ? fail(a->err, r, "mount(2): %m") : 0;
}

static void *options_thread(void *arg)
{
	struct options_job *job = arg;
	struct attempt *a = job->attempt;

	job->result = sys_own_fs();
	if (job->result < 0) {
		(void)fail(a->err, job->result,
			   "give a thread its own working directory with unshare(CLONE_FS): %m");
		return NULL;
	}
	if (chdir(SELF_FD) < 0) {
		job->result = fail(a->err, -errno, "enter %s: %m", SELF_FD);
		return NULL;
	}
	job->result = mount_with_options(a, job->options);
	if (job->result < 0 && hint(job->result)[0])
		(void)fail(a->err, job->result, "%s%s", a->err ? a->err->text : "",
			   hint(job->result));
	return NULL;
}

/* mount(2) is in every kernel, so this way is never lacking: it is the last one, and its error
 * stands. */
static int mount_by_options(struct attempt *a)
{
	auto_buf struct buf text = { .max = MOUNT_OPTIONS_MAX };
	struct options_job job = { .attempt = a };
	sigset_t all, old;
	pthread_t thread;
	int r = format_options(a->plan, &text, a->err);

	if (r < 0)
		return r;
	job.options = buf_text(&text);
	/* The host program's signals are for its own threads. */
	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &old);
	r = pthread_create(&thread, NULL, options_thread, &job);
	(void)pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (r)
		return fail(a->err, -r, "start a thread: %m");
	(void)pthread_join(thread, NULL);
	return job.result;
}

static const struct {
	const char *name;
	int (*mount)(struct attempt *a);
} ways[MOUNT_WAYS] = {
	[MOUNT_BY_FD] = { "fsconfig by descriptor", mount_by_fd },
	[MOUNT_BY_NAME] = { "fsconfig by name", mount_by_name },
	[MOUNT_BY_OPTIONS] = { "mount(2) with options", mount_by_options },
};

const char *mount_way_name(enum mount_way way)
{
	return ways[way].name;
}

static bool context_is_sane(const char *context)
{
	size_t len = strlen(context);

	for (const char *c = context; *c; c++)
		if ((unsigned char)*c <= ' ' || *c == 0x7f || *c == '"' || *c == '\\')
			return false;
	return len > 0 && len <= FSCONFIG_STRING_MAX;
}

static int check_plan(const struct overlay_plan *plan, struct err *err)
{
	if (overlay_plan_missing_lowers(plan))
		return fail(err, -EINVAL, "%zu lower directories are not enough",
			    plan->lower_count);
	if (plan->context && !context_is_sane(plan->context))
		return fail(err, -EINVAL, "\"%.300s\" is no SELinux context", plan->context);
	return 0;
}

/* Tries the ways from `first` to `last`. a->lacking: the kernel has none of them. */
static int try_ways(struct attempt *a, enum mount_way first, enum mount_way last,
		    enum mount_way *ret_way)
{
	enum mount_way way = first;
	int r;

	for (;; way++) {
		a->lacking = false;
		r = ways[way].mount(a);
		if (r == 0 || !a->lacking || way == last)
			break;
	}
	if (r == 0 && ret_way)
		*ret_way = way;
	return r;
}

static int mount_by_ways(const struct overlay_plan *plan, const char *target, enum mount_way first,
			 enum mount_way last, enum mount_way *ret_way, struct err *err)
{
	auto_close int target_fd = -EBADF;
	struct attempt a = { .plan = plan, .err = err };
	int r = check_plan(plan, err);

	if (r == 0) {
		target_fd = open(target, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (target_fd < 0)
			return fail(err, -errno, "mount point %s: %m", target);
		a.target_fd = target_fd;
		r = try_ways(&a, first, last, ret_way);
	}
	if (r < 0 && a.lacking && plan->lowers_detached)
		r = fail(err, -ENOSYS,
			 "layers with mapped ids need the mount API of Linux 6.5 or later");
	return r < 0 ? err_prefix(err, r, "mount an overlay of %zu layers on %s", plan->lower_count,
				  target) :
		       0;
}

int mount_overlay(const struct overlay_plan *plan, const char *target, enum mount_way *ret_way,
		  struct err *err)
{
	enum mount_way last = plan->lowers_detached ? MOUNT_BY_NAME : MOUNT_WAYS - 1;

	return mount_by_ways(plan, target, 0, last, ret_way, err);
}

int mount_overlay_by(enum mount_way way, const struct overlay_plan *plan, const char *target,
		     struct err *err)
{
	return mount_by_ways(plan, target, way, way, NULL, err);
}

int mount_overlay_detached(const struct overlay_plan *plan, struct err *err)
{
	struct attempt a = { .plan = plan, .target_fd = -EBADF, .mount_fd = -EBADF, .err = err };
	int r = check_plan(plan, err);

	if (r == 0)
		r = try_ways(&a, MOUNT_BY_FD, MOUNT_BY_NAME, NULL);
	if (r < 0 && a.lacking)
		r = fail(err, -ENOSYS,
			 "an overlay that is attached nowhere needs Linux %s or later (or a filter hides fsopen)",
			 plan->lowers_detached ? "6.15" : "6.5");
	return r < 0 ? err_prefix(err, r, "mount an overlay of %zu layers", plan->lower_count) :
		       a.mount_fd;
}
