/* SPDX-License-Identifier: Apache-2.0 */
#include "driver/mount.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <cmocka.h>

#include "driver/base/auto.h"
#include "driver/base/fd.h"
#include "driver/base/sys.h"
#include "tests/tools/deny_filter.h"
#include "tests/unit/sandbox.h"

#define assert_ok(r, err)                                     \
	do {                                                  \
		int ok_ = (r);                                \
		if (ok_ < 0)                                  \
			fail_msg("%s (%d)", (err).text, ok_); \
	} while (0)

#define assert_says(err, words)                                                       \
	do {                                                                          \
		if (!strstr((err).text, words))                                       \
			fail_msg("\"%s\" says nothing of \"%s\"", (err).text, words); \
	} while (0)

static const char *merged(void)
{
	return sandbox_path("merged");
}

static void mount_by(enum mount_way way, const struct overlay_plan *plan)
{
	struct err err = { 0 };

	put_dir("merged");
	assert_ok(mount_overlay_by(way, plan, merged(), &err), err);
}

/* The line of the mount table for `merged`. */
static void read_mount_line(struct buf *out)
{
	auto_buf struct buf table = { .max = 1 << 20 };
	char *line, *end;

	assert_int_equal(read_file_at(AT_FDCWD, "/proc/thread-self/mountinfo", &table, NULL), 0);
	line = strstr(table.data, merged());
	assert_non_null(line);
	end = strchr(line, '\n');
	*end = 0;
	assert_int_equal(buf_puts(out, line), 0);
}

/* ---- each way ---- */

static void upper_and_lowers_are_stacked(enum mount_way way)
{
	auto_overlay_plan struct overlay_plan plan = OVERLAY_PLAN_INIT;

	needs_root();
	put_file("top/both", "top");
	put_file("bottom/both", "bottom");
	put_file("bottom/only", "bottom");
	add_lower(&plan, "top");
	add_lower(&plan, "bottom");
	set_upper(&plan, "upper", "work");
	mount_by(way, &plan);
	assert_contents("merged/both", "top");
	assert_contents("merged/only", "bottom");
	put_file("merged/only", "changed");
	assert_contents("upper/only", "changed");
	assert_contents("bottom/only", "bottom");
}

static void five_hundred_layers_mount(enum mount_way way)
{
	auto_overlay_plan struct overlay_plan plan = OVERLAY_PLAN_INIT;
	struct rlimit files = { 4096, 4096 };
	char path[64];

	needs_root();
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &files), 0);
	for (int i = 0; i < OVERLAY_LOWERS_MAX; i++) {
		(void)snprintf(path, sizeof(path), "layer%d/own%d", i, i);
		put_file(path, "");
		(void)snprintf(path, sizeof(path), "layer%d/every", i);
		put_file(path, i == 0 ? "top" : i == OVERLAY_LOWERS_MAX - 1 ? "last" : "");
		(void)snprintf(path, sizeof(path), "layer%d", i);
		add_lower(&plan, path);
	}
	set_upper(&plan, "upper", "work");
	mount_by(way, &plan);
	assert_contents("merged/every", "top");
	assert_true(exists("merged/own0") && exists("merged/own250") && exists("merged/own499"));
}

static void one_layer_with_padding_is_read_only(enum mount_way way)
{
	auto_overlay_plan struct overlay_plan plan = OVERLAY_PLAN_INIT;

	needs_root();
	put_file("image/file", "text");
	add_lower(&plan, "image");
	add_lower(&plan, "pad");
	mount_by(way, &plan);
	assert_contents("merged/file", "text");
	assert_int_equal(open("merged/new", O_WRONLY | O_CREAT, 0644), -1);
	assert_int_equal(errno, EROFS);
}

static void read_only_holds_with_an_upper(enum mount_way way)
{
	auto_overlay_plan struct overlay_plan plan = OVERLAY_PLAN_INIT;

	needs_root();
	put_file("lower/file", "lower");
	put_file("upper/file", "upper");
	add_lower(&plan, "lower");
	set_upper(&plan, "upper", "work");
	plan.flags = OVERLAY_READ_ONLY;
	mount_by(way, &plan);
	assert_contents("merged/file", "upper");
	assert_int_equal(unlink("merged/file"), -1);
	assert_int_equal(errno, EROFS);
}

static void whiteouts_hide(enum mount_way way, enum overlay_xattrs xattrs)
{
	auto_overlay_plan struct overlay_plan plan = OVERLAY_PLAN_INIT;

	needs_root();
	put_file("bottom/gone", "");
	put_file("bottom/dir/old", "");
	put_file("bottom/plain/old", "");
	put_whiteout("top/gone");
	put_opaque_dir("top/dir", xattrs);
	put_file("top/dir/new", "");
	put_file("top/plain/new", "");
	add_lower(&plan, "top");
	add_lower(&plan, "bottom");
	set_upper(&plan, "upper", "work");
	plan.xattrs = xattrs;
	mount_by(way, &plan);
	assert_false(exists("merged/gone"));
	assert_true(exists("merged/dir/new"));
	assert_false(exists("merged/dir/old"));
	assert_true(exists("merged/plain/new") && exists("merged/plain/old"));
}

/* Bytes that the option parsers of libmount and overlayfs give a meaning. */
static void odd_names_arrive(enum mount_way way)
{
	auto_overlay_plan struct overlay_plan plan = OVERLAY_PLAN_INIT;
	const char *target = sandbox_path("mer,ged:\\ \nx");
	struct err err = { 0 };

	needs_root();
	put_file("l,1:a\\b c\n\\054=\"/file", "one");
	put_file("l::2\\:,\\,/file2", "two");
	add_lower(&plan, "l,1:a\\b c\n\\054=\"");
	add_lower(&plan, "l::2\\:,\\,");
	set_upper(&plan, "u\\p,p:e\\\\r", "w:o,r\\k");
	put_dir(target);
	assert_ok(mount_overlay_by(way, &plan, target, &err), err);
	assert_int_equal(mount_is_mounted(target, &err), 1);
	assert_int_equal(chdir(target), 0);
	assert_contents("file", "one");
	assert_contents("file2", "two");
	put_file("written", "here");
	assert_int_equal(chdir(sandbox_root()), 0);
	assert_contents("u\\p,p:e\\\\r/written", "here");
}

static void long_paths_are_no_obstacle(enum mount_way way)
{
	auto_overlay_plan struct overlay_plan plan = OVERLAY_PLAN_INIT;
	char layer[320], upper[320], work[320], file[400];

	needs_root();
	(void)snprintf(layer, sizeof(layer), "%0150d/%0150d", 1, 2);
	(void)snprintf(file, sizeof(file), "%s/file", layer);
	put_file(file, "text");
	(void)snprintf(upper, sizeof(upper), "%0150d/%0150d/upper", 3, 4);
	(void)snprintf(work, sizeof(work), "%0150d/%0150d/work", 3, 4);
	add_lower(&plan, layer);
	set_upper(&plan, upper, work);
	mount_by(way, &plan);
	assert_contents("merged/file", "text");
	put_file("merged/new", "");
	(void)snprintf(file, sizeof(file), "%s/new", upper);
	assert_true(exists(file));
}

/* A caller may give any names for words: what is mounted is what the descriptors are. */
static void relative_names_do_not_matter(enum mount_way way)
{
	auto_overlay_plan struct overlay_plan plan = OVERLAY_PLAN_INIT;

	needs_root();
	put_file("lower/file", "text");
	assert_int_equal(overlay_plan_add_lower(&plan, open_dir("lower", O_RDONLY), "no/such/name",
						NULL),
			 0);
	set_upper(&plan, "upper", "work");
	mount_by(way, &plan);
	assert_contents("merged/file", "text");
}

static void volatile_shows_in_the_mount_table(enum mount_way way)
{
	auto_overlay_plan struct overlay_plan plan = OVERLAY_PLAN_INIT;
	auto_buf struct buf line = { .max = 65536 };

	needs_root();
	add_lower(&plan, "lower");
	set_upper(&plan, "upper", "work");
	plan.flags = OVERLAY_VOLATILE;
	mount_by(way, &plan);
	read_mount_line(&line);
	assert_non_null(strstr(buf_text(&line), "volatile")); /* "volatile" or "fsync=volatile" */
	assert_true(exists("work/work/incompat/volatile"));
}

static void an_unpermitted_option_is_off(enum mount_way way)
{
	auto_overlay_plan struct overlay_plan plan = OVERLAY_PLAN_INIT;
	auto_buf struct buf line = { .max = 65536 };

	needs_root();
	add_lower(&plan, "lower");
	set_upper(&plan, "upper", "work");
	mount_by(way, &plan);
	read_mount_line(&line);
	assert_null(strstr(buf_text(&line), "index=on"));
	assert_null(strstr(buf_text(&line), "metacopy=on"));
	assert_null(strstr(buf_text(&line), "redirect_dir=on"));
	assert_null(strstr(buf_text(&line), "userxattr"));
	assert_null(strstr(buf_text(&line), "volatile"));
}

/* ---- the three ways, one test each ---- */

#define FOR_EACH_WAY(name, call)                             \
	static void name##_by_fd(void **state)               \
	{                                                    \
		const enum mount_way way = MOUNT_BY_FD;      \
		call;                                        \
	}                                                    \
	static void name##_by_name(void **state)             \
	{                                                    \
		const enum mount_way way = MOUNT_BY_NAME;    \
		call;                                        \
	}                                                    \
	static void name##_by_options(void **state)          \
	{                                                    \
		const enum mount_way way = MOUNT_BY_OPTIONS; \
		call;                                        \
	}
#define EACH_WAY(name) \
	sandbox_test(name##_by_fd), sandbox_test(name##_by_name), sandbox_test(name##_by_options)

FOR_EACH_WAY(writable, upper_and_lowers_are_stacked(way))
FOR_EACH_WAY(five_hundred_layers, five_hundred_layers_mount(way))
FOR_EACH_WAY(padded_single_layer, one_layer_with_padding_is_read_only(way))
FOR_EACH_WAY(read_only_upper, read_only_holds_with_an_upper(way))
FOR_EACH_WAY(trusted_whiteouts, whiteouts_hide(way, OVERLAY_XATTRS_TRUSTED))
FOR_EACH_WAY(user_whiteouts, whiteouts_hide(way, OVERLAY_XATTRS_USER))
FOR_EACH_WAY(odd_names, odd_names_arrive(way))
FOR_EACH_WAY(long_paths, long_paths_are_no_obstacle(way))
FOR_EACH_WAY(relative_names, relative_names_do_not_matter(way))
FOR_EACH_WAY(volatile_upper, volatile_shows_in_the_mount_table(way))
FOR_EACH_WAY(default_options, an_unpermitted_option_is_off(way))

/* ---- which way ---- */

struct mount_call {
	const struct overlay_plan *plan;
	enum mount_way way;
	struct err err;
};

static int call_mount(void *arg)
{
	struct mount_call *call = arg;

	return mount_overlay(call->plan, merged(), &call->way, &call->err);
}

/* Mounts while these calls fail, and expects this way. */
static void expect_way(const char *const *rules, size_t count, enum mount_way way)
{
	auto_overlay_plan struct overlay_plan plan = OVERLAY_PLAN_INIT;
	struct mount_call call = { .plan = &plan, .way = MOUNT_WAYS };

	needs_root();
	put_file("lower/file", "text");
	add_lower(&plan, "lower");
	set_upper(&plan, "upper", "work");
	put_dir("merged");
	assert_ok(under_deny(rules, count, call_mount, &call), call.err);
	assert_int_equal(call.way, way);
	assert_contents("merged/file", "text");
	assert_int_equal(mount_unmount(merged(), NULL), 0);
}

static void a_kernel_with_everything_mounts_by_descriptor(void **state)
{
	expect_way(NULL, 0, MOUNT_BY_FD);
}

static void a_kernel_without_layers_by_descriptor_mounts_by_name(void **state)
{
	static const char *const old[] = { "fsconfig:1=5:EINVAL" };
	static const char *const no_o_path[] = { "fsconfig:1=5:EBADF" };
	static const char *const unsupported[] = { "fsconfig:1=5:EOPNOTSUPP" };

	expect_way(old, 1, MOUNT_BY_NAME);
	expect_way(no_o_path, 1, MOUNT_BY_NAME);
	expect_way(unsupported, 1, MOUNT_BY_NAME);
}

static void a_kernel_that_finds_out_at_create_mounts_by_options(void **state)
{
	static const char *const rules[] = { "fsconfig:1=5:EINVAL", "fsconfig:1=6:EINVAL" };

	expect_way(rules, 2, MOUNT_BY_OPTIONS);
}

static void a_kernel_without_the_mount_api_mounts_by_options(void **state)
{
	static const char *const none[] = { "fsopen", "fsconfig", "fsmount", "move_mount" };
	static const char *const filtered[] = { "fsopen:EPERM" };
	static const char *const half[] = { "move_mount:EPERM" };
	static const char *const no_fsmount[] = { "fsmount" };
	static const char *const no_fsconfig[] = { "fsconfig" };

	expect_way(none, 4, MOUNT_BY_OPTIONS);
	expect_way(filtered, 1, MOUNT_BY_OPTIONS);
	expect_way(half, 1, MOUNT_BY_OPTIONS);
	expect_way(no_fsmount, 1, MOUNT_BY_OPTIONS);
	expect_way(no_fsconfig, 1, MOUNT_BY_OPTIONS);
}

static void where_no_way_works_the_last_error_stands(void **state)
{
	static const char *const rules[] = { "fsopen:EPERM", "mount:EPERM" };
	auto_overlay_plan struct overlay_plan plan = OVERLAY_PLAN_INIT;
	struct mount_call call = { .plan = &plan };

	needs_root();
	add_lower(&plan, "a");
	add_lower(&plan, "b");
	put_dir("merged");
	assert_int_equal(under_deny(rules, 2, call_mount, &call), -EPERM);
	assert_says(call.err, "mount(2)");
	assert_says(call.err, "root");
	assert_says(call.err, merged());
}

/* ENODEV is no lack of a way. */
static void a_kernel_without_overlayfs_is_told_at_once(void **state)
{
	static const char *const rules[] = { "fsopen:ENODEV" };
	auto_overlay_plan struct overlay_plan plan = OVERLAY_PLAN_INIT;
	struct mount_call call = { .plan = &plan };

	needs_root();
	add_lower(&plan, "a");
	add_lower(&plan, "b");
	put_dir("merged");
	assert_int_equal(under_deny(rules, 1, call_mount, &call), -ENODEV);
	assert_says(call.err, "modprobe overlay");
	assert_int_equal(mount_is_mounted(merged(), NULL), 0);
}

/* ---- refusals ---- */

static void the_kernels_own_words_are_told(void **state)
{
	auto_overlay_plan struct overlay_plan plan = OVERLAY_PLAN_INIT;
	struct err err = { 0 };
	int file;

	needs_root();
	put_file("file", "");
	add_lower(&plan, "lower");
	file = open("file", O_RDONLY | O_CLOEXEC);
	assert_int_equal(overlay_plan_add_lower(&plan, file, sandbox_path("file"), NULL), 0);
	put_dir("merged");
	assert_int_equal(mount_overlay(&plan, merged(), NULL, &err), -EINVAL);
	assert_says(err, "is not a directory");
	assert_says(err, sandbox_path("file"));
}

/* Also as the first layer, where a refusal might be mistaken for a kernel that doesn't take
 * descriptors. */
static void a_refused_first_layer_is_told_in_the_kernels_words_too(void **state)
{
	auto_overlay_plan struct overlay_plan plan = OVERLAY_PLAN_INIT;
	struct err err = { 0 };

	needs_root();
	put_file("file", "");
	assert_int_equal(overlay_plan_add_lower(&plan, open("file", O_RDONLY | O_CLOEXEC),
						sandbox_path("file"), NULL),
			 0);
	add_lower(&plan, "lower");
	put_dir("merged");
	assert_int_equal(mount_overlay(&plan, merged(), NULL, &err), -EINVAL);
	assert_says(err, "is not a directory");
}

static void a_directory_twice_is_refused(enum mount_way way)
{
	auto_overlay_plan struct overlay_plan plan = OVERLAY_PLAN_INIT;
	struct err err = { 0 };

	needs_root();
	add_lower(&plan, "lower");
	assert_int_equal(overlay_plan_add_lower(&plan, open_dir("lower", O_RDONLY), "other-name",
						NULL),
			 0);
	put_dir("merged");
	assert_int_equal(mount_overlay_by(way, &plan, merged(), &err), -ELOOP);
	assert_says(err, "twice");
	assert_int_equal(mount_is_mounted(merged(), NULL), 0);
}

FOR_EACH_WAY(equal_lowers, a_directory_twice_is_refused(way))

static void too_few_lowers_are_refused(void **state)
{
	auto_overlay_plan struct overlay_plan plan = OVERLAY_PLAN_INIT;
	struct err err = { 0 };

	add_lower(&plan, "lower");
	put_dir("merged");
	assert_int_equal(mount_overlay(&plan, merged(), NULL, &err), -EINVAL);
	assert_says(err, "not enough");
}

static void only_a_directory_is_a_target(void **state)
{
	auto_overlay_plan struct overlay_plan plan = OVERLAY_PLAN_INIT;
	struct err err = { 0 };

	add_lower(&plan, "a");
	add_lower(&plan, "b");
	assert_int_equal(mount_overlay(&plan, merged(), NULL, &err), -ENOENT);
	assert_says(err, merged());
	put_file("file", "");
	assert_int_equal(mount_overlay(&plan, sandbox_path("file"), NULL, &err), -ENOTDIR);
	put_dir("elsewhere");
	assert_int_equal(symlink("elsewhere", "link"), 0);
	assert_int_equal(mount_overlay(&plan, sandbox_path("link"), NULL, &err), -ENOTDIR);
	assert_int_equal(mount_is_mounted(sandbox_path("elsewhere"), NULL), 0);
}

static void options_over_a_page_are_refused(void **state)
{
	struct overlay_plan plan = OVERLAY_PLAN_INIT;
	int fds[OVERLAY_LOWERS_MAX];
	struct err err = { 0 };

	for (size_t i = 0; i < OVERLAY_LOWERS_MAX; i++)
		fds[i] = 1000000000 + (int)i; /* ten digits and a colon: over 4096 in all */
	plan.lower_fds = fds;
	plan.lower_count = OVERLAY_LOWERS_MAX;
	put_dir("merged");
	assert_int_equal(mount_overlay_by(MOUNT_BY_OPTIONS, &plan, merged(), &err), -E2BIG);
	assert_says(err, "4095");
}

/* The calling thread's working directory is the host program's. */
static void the_working_directory_stays(void **state)
{
	auto_overlay_plan struct overlay_plan plan = OVERLAY_PLAN_INIT;
	auto_free char *before = getcwd(NULL, 0);
	auto_free char *after = NULL;

	needs_root();
	add_lower(&plan, "a");
	add_lower(&plan, "b");
	mount_by(MOUNT_BY_OPTIONS, &plan);
	after = getcwd(NULL, 0);
	assert_string_equal(before, after);
}

static void path_descriptors_mount(enum mount_way way)
{
	auto_overlay_plan struct overlay_plan plan = OVERLAY_PLAN_INIT;
	auto_overlay_plan struct overlay_plan opened = OVERLAY_PLAN_INIT;

	needs_root();
	put_file("lower/file", "text");
	add_lower(&opened, "lower");
	set_upper(&opened, "upper", "work");
	assert_int_equal(overlay_plan_add_lower(&plan, open_dir("lower", O_PATH),
						opened.lower_paths[0], NULL),
			 0);
	assert_int_equal(overlay_plan_set_upper(&plan, open_dir("upper", O_PATH), opened.upper_path,
						open_dir("work", O_PATH), opened.work_path, NULL),
			 0);
	mount_by(way, &plan);
	assert_contents("merged/file", "text");
}

FOR_EACH_WAY(o_path, path_descriptors_mount(way))

/* ---- what is mounted ---- */

static void mount_plain(const char *target)
{
	auto_overlay_plan struct overlay_plan plan = OVERLAY_PLAN_INIT;
	struct err err = { 0 };

	add_lower(&plan, "plain-a");
	add_lower(&plan, "plain-b");
	put_dir("plain-a/sub");
	put_dir(target);
	assert_ok(mount_overlay(&plan, sandbox_path(target), NULL, &err), err);
}

static int ask_mounted(void *arg)
{
	return mount_is_mounted(sandbox_path(arg), NULL);
}

/* The same questions with statx(2), and without it by the mount table. */
static void expect_mounted(const char *path, int expected)
{
	static const char *const missing[] = { "statx" };
	static const char *const filtered[] = { "statx:EPERM" };

	assert_int_equal(ask_mounted((void *)(uintptr_t)path), expected);
	assert_int_equal(under_deny(missing, 1, ask_mounted, (void *)(uintptr_t)path), expected);
	assert_int_equal(under_deny(filtered, 1, ask_mounted, (void *)(uintptr_t)path), expected);
}

static void only_the_mount_point_itself_is_mounted(void **state)
{
	needs_root();
	put_dir("me rged");
	expect_mounted("me rged", 0);
	mount_plain("me rged");
	expect_mounted("me rged", 1);
	expect_mounted("me rged/sub", 0);
	expect_mounted(".", 0);
	expect_mounted("missing", 0);
	expect_mounted("missing/below", 0);
	put_file("file", "");
	expect_mounted("file", 0);
	expect_mounted("file/below", 0);
	assert_int_equal(mount_unmount(sandbox_path("me rged"), NULL), 0);
	expect_mounted("me rged", 0);
}

static void a_symlink_to_a_mount_point_is_not_mounted(void **state)
{
	needs_root();
	mount_plain("merged");
	assert_int_equal(symlink("merged", "link"), 0);
	assert_int_equal(mount_is_mounted(sandbox_path("link"), NULL), 0);
}

struct seen {
	struct buf text;
	int stop_after;
};

static int note(void *arg, const char *target, const char *fs_name)
{
	struct seen *seen = arg;

	assert_int_equal(buf_printf(&seen->text, "%s %s\n", target + strlen(sandbox_root()),
				    fs_name),
			 0);
	return --seen->stop_after == 0 ? 7 : 0;
}

static void mounts_below_come_deepest_last(void **state)
{
	struct seen seen = { 0 };
	struct err err = { 0 };

	needs_root();
	mount_plain("dir/b");
	put_dir("plain-a/deep/er");
	mount_plain("dir/b/sub");
	mount_plain("dir/a");
	mount_plain("directory"); /* begins alike */
	mount_plain("dir");	  /* hides those above: they stay mounted */
	assert_int_equal(mount_foreach_below(sandbox_path("dir"), note, &seen, &err), 0);
	assert_string_equal(buf_text(&seen.text),
			    "/dir/b overlay\n/dir/a overlay\n/dir/b/sub overlay\n");
	buf_reset(&seen.text);
	seen.stop_after = 2;
	assert_int_equal(mount_foreach_below(sandbox_root(), note, &seen, &err), 7);
	assert_string_equal(buf_text(&seen.text), "/directory overlay\n/dir overlay\n");
	buf_reset(&seen.text);
	seen.stop_after = 0;
	assert_int_equal(mount_foreach_below(sandbox_path("missing"), note, &seen, &err), 0);
	assert_string_equal(buf_text(&seen.text), "");
	buf_release(&seen.text);
	assert_int_equal(sys_umount(sandbox_path("dir"), 0), 0);
}

/* ---- unmounting, and who holds it ---- */

/* A child process that does setup(arg), says so, and then waits to be ended. */
struct child {
	pid_t pid;
};

static struct child start_child(int (*setup)(void *arg), void *arg)
{
	struct child child;
	int pipe_fds[2];
	char byte = 0;

	assert_int_equal(pipe2(pipe_fds, O_CLOEXEC), 0);
	child.pid = fork();
	assert_true(child.pid >= 0);
	if (child.pid == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		(void)prctl(PR_SET_NAME, "some\thold er");
		byte = setup(arg) == 0 ? 'y' : 'n';
		(void)!write(pipe_fds[1], &byte, 1);
		for (;;)
			(void)pause();
	}
	(void)close(pipe_fds[1]);
	assert_int_equal(read(pipe_fds[0], &byte, 1), 1);
	(void)close(pipe_fds[0]);
	assert_int_equal(byte, 'y');
	return child;
}

static void end_child(const struct child *child)
{
	(void)kill(child->pid, SIGKILL);
	assert_int_equal(waitpid(child->pid, NULL, 0), child->pid);
}

static int enter(void *path)
{
	return chdir(path);
}

static int hold_open(void *path)
{
	return open(path, O_RDONLY) < 0 ? -1 : 0;
}

static int hold_mapped(void *path)
{
	int fd = open(path, O_RDONLY);
	void *map = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 0);

	return map == MAP_FAILED ? -1 : close(fd);
}

static int hold_in_own_namespace(void *path)
{
	return unshare(CLONE_NEWNS) < 0 ? -1 : chdir(path);
}

struct entering {
	const char *path;
	pthread_barrier_t done;
	int result;
};

static void *thread_enter(void *arg)
{
	struct entering *e = arg;

	e->result = unshare(CLONE_FS) < 0 || chdir(e->path) < 0 ? -1 : 0;
	(void)pthread_barrier_wait(&e->done);
	for (;;)
		(void)pause();
	return NULL;
}

/* Only a thread, not the process, is in the directory. */
static int enter_by_thread(void *path)
{
	static struct entering e;
	pthread_t thread;

	e.path = path;
	if (pthread_barrier_init(&e.done, NULL, 2) ||
	    pthread_create(&thread, NULL, thread_enter, &e))
		return -1;
	(void)pthread_barrier_wait(&e.done);
	return e.result;
}

/* Busy, with the holder named; and no longer once it is gone. */
static void expect_held(int (*setup)(void *arg), const char *path)
{
	struct child child;
	struct err err = { 0 };
	char named[64];

	child = start_child(setup, (void *)(uintptr_t)sandbox_path(path));
	(void)snprintf(named, sizeof(named), "pid %d (some?hold er)", (int)child.pid);
	assert_int_equal(mount_unmount(merged(), &err), -EBUSY);
	assert_says(err, named);
	assert_says(err, merged());
	assert_int_equal(mount_is_mounted(merged(), NULL), 1);
	end_child(&child);
	assert_ok(mount_unmount(merged(), &err), err);
	assert_int_equal(mount_is_mounted(merged(), NULL), 0);
}

static void a_working_directory_holds_a_mount(void **state)
{
	needs_root();
	mount_plain("merged");
	expect_held(enter, "merged/sub");
}

static void an_open_file_holds_a_mount(void **state)
{
	needs_root();
	put_file("plain-a/file", "text");
	mount_plain("merged");
	expect_held(hold_open, "merged/file");
}

static void a_mapping_holds_a_mount(void **state)
{
	needs_root();
	put_file("plain-a/file", "text");
	mount_plain("merged");
	expect_held(hold_mapped, "merged/file");
}

static int hold_by_st_dev(void *arg)
{
	return mount_holders(merged(), arg, NULL);
}

static void before_mount_ids_the_device_tells_the_holder(void **state)
{
	static const char *const rules[] = { "statx" };
	auto_buf struct buf who = { .max = 4096 };
	struct child child;
	char named[64];

	needs_root();
	mount_plain("merged");
	child = start_child(enter, (void *)(uintptr_t)sandbox_path("merged/sub"));
	assert_int_equal(under_deny(rules, 1, hold_by_st_dev, &who), 0);
	end_child(&child);
	(void)snprintf(named, sizeof(named), "pid %d (some?hold er)", (int)child.pid);
	assert_string_equal(buf_text(&who), named);
}

static void many_holders_are_counted(void **state)
{
	struct child children[7];
	struct err err = { 0 };

	needs_root();
	mount_plain("merged");
	for (size_t i = 0; i < ARRAY_LEN(children); i++)
		children[i] = start_child(enter, (void *)(uintptr_t)sandbox_path("merged"));
	assert_int_equal(mount_unmount(merged(), &err), -EBUSY);
	for (size_t i = 0; i < ARRAY_LEN(children); i++)
		end_child(&children[i]);
	assert_says(err, " and 2 more");
}

static void a_mount_nobody_uses_has_no_holders(void **state)
{
	auto_buf struct buf who = { .max = 4096 };
	struct child child;

	needs_root();
	mount_plain("merged");
	mount_plain("other");
	child = start_child(enter, (void *)(uintptr_t)sandbox_path("other"));
	assert_int_equal(mount_holders(merged(), &who, NULL), 0);
	end_child(&child);
	assert_string_equal(buf_text(&who), "");
}

static void another_namespace_holds_only_its_own_copy(void **state)
{
	auto_buf struct buf who = { .max = 4096 };
	struct child child;
	struct err err = { 0 };

	needs_root();
	mount_plain("merged");
	child = start_child(hold_in_own_namespace, (void *)(uintptr_t)sandbox_path("merged"));
	assert_int_equal(mount_holders(merged(), &who, NULL), 0);
	assert_string_equal(buf_text(&who), "");
	assert_ok(mount_unmount(merged(), &err), err);
	end_child(&child);
}

static void we_ourselves_are_named_where_it_is_us(void **state)
{
	struct err err = { 0 };
	char named[64];

	needs_root();
	mount_plain("merged");
	assert_int_equal(chdir("merged"), 0);
	assert_int_equal(mount_unmount(merged(), &err), -EBUSY);
	(void)snprintf(named, sizeof(named), "pid %d (", (int)getpid());
	assert_says(err, named);
	assert_int_equal(chdir(sandbox_root()), 0);
	assert_ok(mount_unmount(merged(), &err), err);
}

static void a_mount_within_is_named(void **state)
{
	struct err err = { 0 };

	needs_root();
	mount_plain("merged");
	mount_plain("merged/sub");
	assert_int_equal(mount_unmount(merged(), &err), -EBUSY);
	assert_says(err, sandbox_path("merged/sub"));
	assert_ok(mount_unmount(sandbox_path("merged/sub"), &err), err);
	assert_ok(mount_unmount(merged(), &err), err);
}

/* umount2(2) says busy, and there is nobody: as when a process is just ending. It is tried again,
 * not for ever. */
static int call_unmount(void *arg)
{
	return mount_unmount(merged(), arg);
}

static void busy_without_a_holder_ends_in_time(void **state)
{
	static const char *const rules[] = { "umount2:EBUSY" };
	struct err err = { 0 };

	needs_root();
	mount_plain("merged");
	assert_int_equal(under_deny(rules, 1, call_unmount, &err), -EBUSY);
	assert_says(err, "no process");
}

static void what_is_not_mounted_cannot_be_unmounted(void **state)
{
	struct err err = { 0 };

	needs_root();
	put_dir("merged");
	assert_int_equal(mount_unmount(merged(), &err), -EINVAL);
	assert_says(err, "not a mount point");
	assert_int_equal(mount_unmount(sandbox_path("missing"), &err), -ENOENT);
	assert_says(err, "missing");
}

static void unmounting_follows_no_symlink(void **state)
{
	struct err err = { 0 };

	needs_root();
	mount_plain("merged");
	assert_int_equal(symlink("merged", "link"), 0);
	assert_int_equal(mount_unmount(sandbox_path("link"), &err), -EINVAL);
	assert_int_equal(mount_is_mounted(merged(), NULL), 1);
}

/* ---- namespaces ---- */

static int own_namespace(void *arg)
{
	return unshare(CLONE_NEWNS);
}

static uint64_t namespace_of(pid_t pid)
{
	char path[64];
	struct stat st;

	(void)snprintf(path, sizeof(path), "/proc/%d/ns/mnt", (int)pid);
	assert_int_equal(stat(path, &st), 0);
	return st.st_ino;
}

static void a_namespace_lives_as_long_as_a_process_in_it(void **state)
{
	uint64_t ours = 0, theirs;
	struct child child;
	int pid = 0;

	needs_root();
	assert_int_equal(mount_namespace(&ours, NULL), 0);
	assert_int_equal(ours, namespace_of(getpid()));
	child = start_child(own_namespace, NULL);
	theirs = namespace_of(child.pid);
	assert_true(theirs != ours);
	assert_int_equal(mount_namespace_alive(theirs, &pid, NULL), 1);
	assert_int_equal(pid, child.pid);
	end_child(&child);
	pid = -1;
	assert_int_equal(mount_namespace_alive(theirs, &pid, NULL), 0);
	assert_int_equal(pid, -1);
	assert_int_equal(mount_namespace_alive(ours, &pid, NULL), 1);
	assert_true(pid > 0);
}

static int ask_from_own_namespace(void *arg)
{
	int *pid = arg;
	uint64_t ns = 0;

	if (unshare(CLONE_NEWNS) < 0 || mount_namespace(&ns, NULL) < 0)
		return -1;
	return mount_namespace_alive(ns, pid, NULL);
}

static void a_thread_alone_keeps_a_namespace_alive(void **state)
{
	int pid = 0;

	needs_root();
	assert_int_equal(under_deny(NULL, 0, ask_from_own_namespace, &pid), 1);
	assert_int_equal(pid, getpid());
}

static void a_thread_alone_holds_a_mount(void **state)
{
	needs_root();
	mount_plain("merged");
	expect_held(enter_by_thread, "merged/sub");
}

/* ---- a context ---- */

static struct mount_options {
	bool note;
	char text[4096];
} options_given;

int __real_sys_mount(const char *source, const char *target, const char *fs_name,
		     unsigned long flags, const void *data);
int __wrap_sys_mount(const char *source, const char *target, const char *fs_name,
		     unsigned long flags, const void *data);

/* Stands for mount(2) where a test wants to see what it would be given. */
int __wrap_sys_mount(const char *source, const char *target, const char *fs_name,
		     unsigned long flags, const void *data)
{
	if (!options_given.note)
		return __real_sys_mount(source, target, fs_name, flags, data);
	(void)snprintf(options_given.text, sizeof(options_given.text), "%s", (const char *)data);
	return 0;
}

#define CONTEXT "system_u:object_r:container_file_t:s0:c1,c2"

static int mount_with_context(enum mount_way way, const char *context, struct err *err)
{
	auto_overlay_plan struct overlay_plan plan = OVERLAY_PLAN_INIT;

	add_lower(&plan, "lower");
	set_upper(&plan, "upper", "work");
	plan.context = strdup(context);
	put_dir("merged");
	return mount_overlay_by(way, &plan, merged(), err);
}

/* The kernel takes a comma for the next option, unless it stands in quotes. */
static void a_context_is_quoted_among_options(void **state)
{
	struct err err = { 0 };

	needs_root();
	options_given.note = true;
	assert_ok(mount_with_context(MOUNT_BY_OPTIONS, CONTEXT, &err), err);
	options_given.note = false;
	assert_non_null(strstr(options_given.text, ",context=\"" CONTEXT "\""));
	assert_ptr_equal(strstr(options_given.text, "lowerdir="), options_given.text);
}

/* Where SELinux is off it is refused, in each way: by name, and not for a part of it. */
static void a_context_reaches_the_kernel(void **state)
{
	struct err err = { 0 };
	int r;

	needs_root();
	for (enum mount_way way = 0; way < MOUNT_WAYS; way++) {
		r = mount_with_context(way, CONTEXT, &err);
		if (access("/sys/fs/selinux/enforce", F_OK) == 0) {
			assert_ok(r, err);
			assert_ok(mount_unmount(merged(), &err), err);
			continue;
		}
		assert_int_equal(r, -EINVAL);
		if (way != MOUNT_BY_OPTIONS)
			assert_says(err, "context");
		assert_int_equal(mount_is_mounted(merged(), NULL), 0);
	}
}

static void what_is_no_context_is_refused(void **state)
{
	static const char *const bad[] = { "", "a\"b", "a b", "a\\b", "a\nb" };
	struct err err = { 0 };
	char long_one[300];

	needs_root();
	memset(long_one, 'c', sizeof(long_one));
	long_one[256] = 0;
	assert_int_equal(mount_with_context(MOUNT_BY_FD, long_one, &err), -EINVAL);
	assert_says(err, "no SELinux context");
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		auto_overlay_plan struct overlay_plan plan = OVERLAY_PLAN_INIT;

		add_lower(&plan, "a");
		add_lower(&plan, "b");
		plan.context = strdup(bad[i]);
		assert_int_equal(mount_overlay(&plan, merged(), NULL, &err), -EINVAL);
		assert_says(err, "no SELinux context");
		assert_int_equal(mount_overlay_detached(&plan, &err), -EINVAL);
	}
}

/* ---- attached nowhere ---- */

static int call_detached(void *arg)
{
	struct mount_call *call = arg;

	return mount_overlay_detached(call->plan, &call->err);
}

static void expect_detached(const char *const *rules, size_t count)
{
	auto_overlay_plan struct overlay_plan plan = OVERLAY_PLAN_INIT;
	struct mount_call call = { .plan = &plan };
	auto_buf struct buf text = { .max = 4096 };
	auto_close int fd = -EBADF;
	struct seen seen = { 0 };

	needs_root();
	put_file("upper/both", "upper");
	put_file("lower/both", "lower");
	put_file("lower/only", "lower");
	add_lower(&plan, "lower");
	set_upper(&plan, "upper", "work");
	fd = under_deny(rules, count, call_detached, &call);
	assert_ok(fd, call.err);
	assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
	assert_int_equal(mount_foreach_below(sandbox_root(), note, &seen, NULL), 0);
	assert_string_equal(buf_text(&seen.text), "");
	assert_int_equal(read_file_at(fd, "both", &text, NULL), 0);
	assert_int_equal(read_file_at(fd, "only", &text, NULL), 0);
	assert_string_equal(buf_text(&text), "upperlower");
	/* It has gone with its descriptor, else the kernel would call upper and work in use. */
	assert_int_equal(close(take_fd(&fd)), 0);
	put_dir("merged");
	assert_ok(mount_overlay(&plan, merged(), NULL, &call.err), call.err);
}

static void an_overlay_can_be_attached_nowhere(void **state)
{
	expect_detached(NULL, 0);
}

static void an_overlay_attached_nowhere_is_made_by_name_too(void **state)
{
	static const char *const rules[] = { "fsconfig:1=5:EINVAL" };

	expect_detached(rules, 1);
}

static void without_fsmount_no_overlay_is_attached_nowhere(void **state)
{
	static const char *const none[] = { "fsopen" };
	static const char *const filtered[] = { "fsmount:EPERM" };
	static const char *const refused[] = { "fsopen:ENODEV" };
	auto_overlay_plan struct overlay_plan plan = OVERLAY_PLAN_INIT;
	struct mount_call call = { .plan = &plan };

	needs_root();
	add_lower(&plan, "a");
	add_lower(&plan, "b");
	assert_int_equal(under_deny(none, 1, call_detached, &call), -ENOSYS);
	assert_says(call.err, "Linux 6.5");
	assert_int_equal(under_deny(filtered, 1, call_detached, &call), -ENOSYS);
	assert_int_equal(under_deny(refused, 1, call_detached, &call), -ENODEV);
	assert_says(call.err, "modprobe overlay");
}

/* ---- binding ---- */

struct bind_call {
	int tree_fd;
	bool read_only;
	struct err err;
};

static int call_bind(void *arg)
{
	struct bind_call *call = arg;

	return mount_bind(call->tree_fd, merged(), call->read_only, &call->err);
}

static void expect_bound(const char *const *rules, size_t count, bool read_only)
{
	auto_close int tree_fd = -EBADF;
	struct bind_call call = { .read_only = read_only };

	needs_root();
	put_file("tree/file", "text");
	put_dir("merged");
	tree_fd = open_dir("tree", O_PATH);
	call.tree_fd = tree_fd;
	assert_ok(under_deny(rules, count, call_bind, &call), call.err);
	assert_int_equal(mount_is_mounted(merged(), NULL), 1);
	assert_contents("merged/file", "text");
	assert_int_equal(access("merged/file", W_OK), read_only ? -1 : 0);
	if (read_only)
		assert_int_equal(errno, EROFS);
	put_file("tree/file2", "the tree itself stays writable");
	assert_contents("merged/file2", "the tree itself stays writable");
	assert_int_equal(mount_unmount(merged(), NULL), 0);
	assert_int_equal(mount_is_mounted(merged(), NULL), 0);
}

static void a_directory_appears_in_a_second_place(void **state)
{
	static const char *const old[] = { "open_tree", "mount_setattr", "move_mount" };
	static const char *const middle[] = { "mount_setattr" };
	static const char *const filtered[] = { "open_tree:EPERM" };

	for (int read_only = 0; read_only < 2; read_only++) {
		expect_bound(NULL, 0, read_only);
		expect_bound(old, ARRAY_LEN(old), read_only);
		expect_bound(middle, ARRAY_LEN(middle), read_only);
		expect_bound(filtered, ARRAY_LEN(filtered), read_only);
	}
}

/* What the store's filesystem forbids stays forbidden. */
static void binding_read_only_keeps_the_other_flags(void **state)
{
	static const char *const rules[] = { "open_tree" };
	auto_buf struct buf line = { .max = 65536 };
	struct bind_call call = { .read_only = true };

	needs_root();
	put_dir("tree");
	put_dir("merged");
	assert_int_equal(sys_mount("none", sandbox_path("tree"), "tmpfs",
				   MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_NOATIME, NULL),
			 0);
	call.tree_fd = open_dir("tree", O_RDONLY);
	assert_ok(under_deny(rules, 1, call_bind, &call), call.err);
	(void)close(call.tree_fd);
	read_mount_line(&line);
	assert_non_null(strstr(buf_text(&line), " ro,nosuid,nodev,noexec,noatime "));
}

static void a_failed_binding_leaves_nothing(void **state)
{
	static const char *const rules[] = { "open_tree", "mount:3=4129:EIO" };
	struct bind_call call = { .read_only = true };
	struct err err = { 0 };

	needs_root();
	put_dir("tree");
	put_dir("merged");
	call.tree_fd = open_dir("tree", O_RDONLY);
	assert_int_equal(symlink("merged", "link"), 0);
	assert_int_equal(mount_bind(call.tree_fd, sandbox_path("link"), true, &err), -ENOTDIR);
	assert_int_equal(mount_bind(call.tree_fd, sandbox_path("missing"), true, &err), -ENOENT);
	assert_says(err, "missing");
	assert_int_equal(under_deny(rules, 2, call_bind, &call), -EIO);
	(void)close(call.tree_fd);
	assert_int_equal(mount_is_mounted(merged(), NULL), 0);
}

/* ---- mount points that go ---- */

static void all_that_is_stacked_is_detached(void **state)
{
	struct err err = { 0 };
	int fd;

	needs_root();
	put_file("plain-a/file", "text");
	mount_plain("merged");
	mount_plain("merged/sub");
	mount_plain("merged");
	fd = open("merged/file", O_RDONLY | O_CLOEXEC); /* who uses it is no obstacle */
	assert_true(fd >= 0);
	mount_plain("merged");
	assert_ok(mount_detach(merged(), &err), err);
	assert_false(exists("merged"));
	(void)close(fd);
	assert_ok(mount_detach(merged(), &err), err);
}

static void detaching_what_is_not_mounted_removes_the_directory(void **state)
{
	struct err err = { 0 };

	needs_root();
	put_dir("merged");
	assert_ok(mount_detach(merged(), &err), err);
	assert_false(exists("merged"));
	assert_ok(mount_detach(sandbox_path("missing/below"), &err), err);
	put_file("merged/file", "kept");
	assert_int_equal(mount_detach(merged(), &err), -ENOTEMPTY);
	assert_says(err, merged());
	assert_contents("merged/file", "kept");
}

static void detaching_follows_no_symlink(void **state)
{
	struct err err = { 0 };

	needs_root();
	mount_plain("merged");
	assert_int_equal(symlink("merged", "link"), 0);
	assert_int_equal(mount_detach(sandbox_path("link"), &err), -ENOTDIR);
	assert_true(exists("link"));
	assert_int_equal(mount_is_mounted(merged(), NULL), 1);
}

static bool umount_does_nothing;
int __real_sys_umount(const char *target, int flags);
int __wrap_sys_umount(const char *target, int flags);

int __wrap_sys_umount(const char *target, int flags)
{
	return umount_does_nothing ? 0 : __real_sys_umount(target, flags);
}

static void detaching_comes_to_an_end(void **state)
{
	struct err err = { 0 };

	needs_root();
	mount_plain("merged");
	umount_does_nothing = true;
	assert_int_equal(mount_detach(merged(), &err), -EBUSY);
	umount_does_nothing = false;
	assert_says(err, merged());
	assert_int_equal(mount_is_mounted(merged(), NULL), 1);
}

/* A copy in a namespace that was made meanwhile ends too: the upper is free for another mount. */
static void copies_in_other_namespaces_go_with_the_mount_point(void **state)
{
	auto_buf struct buf table = { .max = 1 << 20 };
	struct child child;
	struct err err = { 0 };
	char path[64];

	needs_root();
	mount_plain("merged");
	child = start_child(own_namespace, NULL);
	(void)snprintf(path, sizeof(path), "/proc/%d/mountinfo", (int)child.pid);
	assert_int_equal(read_file_at(AT_FDCWD, path, &table, NULL), 0);
	assert_non_null(strstr(buf_text(&table), merged()));
	assert_ok(mount_detach(merged(), &err), err);
	buf_reset(&table);
	assert_int_equal(read_file_at(AT_FDCWD, path, &table, NULL), 0);
	end_child(&child);
	assert_null(strstr(buf_text(&table), merged()));
}

/* ---- used volatile before ---- */

static int mount_volatile(struct err *err)
{
	auto_overlay_plan struct overlay_plan plan = OVERLAY_PLAN_INIT;

	add_lower(&plan, "lower");
	set_upper(&plan, "upper", "work");
	plan.flags = OVERLAY_VOLATILE;
	put_dir("merged");
	return mount_overlay(&plan, merged(), NULL, err);
}

static void an_emptied_work_directory_serves_again(void **state)
{
	struct err err = { 0 };
	struct stat before, after;
	int root_fd;

	needs_root();
	put_dir("work");
	assert_int_equal(chmod("work", 0711), 0);
	assert_int_equal(chown("work", 12, 34), 0);
	assert_int_equal(stat("work", &before), 0);
	assert_ok(mount_volatile(&err), err);
	put_file("merged/file", "text");
	assert_ok(mount_unmount(merged(), &err), err);
	assert_int_equal(mount_volatile(&err), -EINVAL);
	root_fd = open_dir(".", O_RDONLY);
	assert_ok(overlay_reset_work(root_fd, "work", &err), err);
	assert_int_equal(stat("work", &after), 0);
	assert_int_equal(after.st_ino, before.st_ino);
	assert_int_equal(after.st_mode, before.st_mode);
	assert_int_equal(after.st_uid, 12);
	assert_int_equal(after.st_gid, 34);
	assert_false(exists("work/work"));
	assert_ok(mount_volatile(&err), err);
	assert_contents("merged/file", "text");
	assert_int_equal(overlay_reset_work(root_fd, "missing", &err), -ENOENT);
	assert_says(err, "missing");
	put_file("elsewhere/file", "kept");
	assert_int_equal(symlink("elsewhere", "link"), 0);
	assert_true(overlay_reset_work(root_fd, "link", &err) < 0);
	assert_contents("elsewhere/file", "kept");
	(void)close(root_fd);
}

/* ---- words ---- */

static void each_way_has_a_name(void **state)
{
	assert_string_equal(mount_way_name(MOUNT_BY_FD), "fsconfig by descriptor");
	assert_string_equal(mount_way_name(MOUNT_BY_NAME), "fsconfig by name");
	assert_string_equal(mount_way_name(MOUNT_BY_OPTIONS), "mount(2) with options");
}

static void deny_rules_are_read(void **state)
{
	struct deny_rule rule = { 0 };

	assert_int_equal(deny_rule_parse("fsopen", &rule), 0);
	assert_int_equal(rule.error, ENOSYS);
	assert_int_equal(rule.arg_mask, 0);
	assert_int_equal(deny_rule_parse("fsconfig:1=5:EINVAL", &rule), 0);
	assert_int_equal(rule.error, EINVAL);
	assert_int_equal(rule.arg_mask, 2);
	assert_int_equal(rule.args[1], 5);
	assert_int_equal(deny_rule_parse("ioctl:1=0x40049409:2=7:22", &rule), 0);
	assert_int_equal(rule.error, 22);
	assert_int_equal(rule.arg_mask, 6);
	assert_int_equal(rule.args[1], 0x40049409);
	assert_int_equal(deny_rule_parse("nosuchcall", &rule), -EINVAL);
	assert_int_equal(deny_rule_parse("fsopen:ENOSUCH", &rule), -EINVAL);
	assert_int_equal(deny_rule_parse("fsopen:6=1", &rule), -EINVAL);
	assert_int_equal(deny_rule_parse("fsopen:1=x", &rule), -EINVAL);
	assert_int_equal(deny_rule_parse("fsopen:EPERM:1=2", &rule), -EINVAL);
	assert_int_equal(deny_rule_parse("fsopen:", &rule), -EINVAL);
	assert_int_equal(deny_rule_parse("", &rule), -EINVAL);
	assert_int_equal(rule.error, 22);
}

static int run_mounting(void)
{
	const struct CMUnitTest tests[] = {
		EACH_WAY(writable),
		EACH_WAY(five_hundred_layers),
		EACH_WAY(padded_single_layer),
		EACH_WAY(read_only_upper),
		EACH_WAY(trusted_whiteouts),
		EACH_WAY(user_whiteouts),
		EACH_WAY(odd_names),
		EACH_WAY(long_paths),
		EACH_WAY(relative_names),
		EACH_WAY(volatile_upper),
		EACH_WAY(default_options),
		EACH_WAY(equal_lowers),
		EACH_WAY(o_path),
		sandbox_test(a_kernel_with_everything_mounts_by_descriptor),
		sandbox_test(a_kernel_without_layers_by_descriptor_mounts_by_name),
		sandbox_test(a_kernel_that_finds_out_at_create_mounts_by_options),
		sandbox_test(a_kernel_without_the_mount_api_mounts_by_options),
		sandbox_test(where_no_way_works_the_last_error_stands),
		sandbox_test(a_kernel_without_overlayfs_is_told_at_once),
		sandbox_test(the_kernels_own_words_are_told),
		sandbox_test(a_refused_first_layer_is_told_in_the_kernels_words_too),
		sandbox_test(too_few_lowers_are_refused),
		sandbox_test(only_a_directory_is_a_target),
		sandbox_test(options_over_a_page_are_refused),
		sandbox_test(the_working_directory_stays),
		sandbox_test(a_context_is_quoted_among_options),
		sandbox_test(a_context_reaches_the_kernel),
		sandbox_test(what_is_no_context_is_refused),
		sandbox_test(an_overlay_can_be_attached_nowhere),
		sandbox_test(an_overlay_attached_nowhere_is_made_by_name_too),
		sandbox_test(without_fsmount_no_overlay_is_attached_nowhere),
		sandbox_test(a_directory_appears_in_a_second_place),
		sandbox_test(binding_read_only_keeps_the_other_flags),
		sandbox_test(a_failed_binding_leaves_nothing),
		sandbox_test(all_that_is_stacked_is_detached),
		sandbox_test(detaching_what_is_not_mounted_removes_the_directory),
		sandbox_test(detaching_follows_no_symlink),
		sandbox_test(detaching_comes_to_an_end),
		sandbox_test(copies_in_other_namespaces_go_with_the_mount_point),
		sandbox_test(an_emptied_work_directory_serves_again),
		cmocka_unit_test(each_way_has_a_name),
		cmocka_unit_test(deny_rules_are_read),
	};

	return cmocka_run_group_tests_name("mount", tests, sandbox_enter, sandbox_leave);
}

static int run_mounted(void)
{
	const struct CMUnitTest tests[] = {
		sandbox_test(only_the_mount_point_itself_is_mounted),
		sandbox_test(a_symlink_to_a_mount_point_is_not_mounted),
		sandbox_test(mounts_below_come_deepest_last),
		sandbox_test(a_working_directory_holds_a_mount),
		sandbox_test(an_open_file_holds_a_mount),
		sandbox_test(a_mapping_holds_a_mount),
		sandbox_test(a_thread_alone_holds_a_mount),
		sandbox_test(before_mount_ids_the_device_tells_the_holder),
		sandbox_test(many_holders_are_counted),
		sandbox_test(a_mount_nobody_uses_has_no_holders),
		sandbox_test(another_namespace_holds_only_its_own_copy),
		sandbox_test(we_ourselves_are_named_where_it_is_us),
		sandbox_test(a_mount_within_is_named),
		sandbox_test(busy_without_a_holder_ends_in_time),
		sandbox_test(what_is_not_mounted_cannot_be_unmounted),
		sandbox_test(unmounting_follows_no_symlink),
		sandbox_test(a_namespace_lives_as_long_as_a_process_in_it),
		sandbox_test(a_thread_alone_keeps_a_namespace_alive),
	};

	return cmocka_run_group_tests_name("mounted", tests, sandbox_enter, sandbox_leave);
}

int main(void)
{
	int failed = run_mounting();

	return failed + run_mounted();
}
