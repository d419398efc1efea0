/* SPDX-License-Identifier: Apache-2.0 */
#include "driver/tree.h"

#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "driver/base/auto.h"
#include "driver/base/buf.h"
#include "driver/base/fd.h"
#include "driver/base/sys.h"
#include "tests/unit/sandbox.h"
#include "tests/unit/util.h"

static const char *const no_openat2[] = { "openat2" };

/* ---- names ---- */

/* The scratch directory holds the world outside, "root" the tree. */
static void make_world(void)
{
	put_file("secret", "outside");
	put_dir("root/usr/bin");
	put_file("root/usr/bin/tool", "inside");
	put_file("root/secret", "decoy");
	assert_int_equal(symlink("usr/bin", "root/bin"), 0);
	assert_int_equal(symlink("/usr/bin", "root/absolute"), 0);
	assert_int_equal(symlink("/usr", "root/usr/bin/absolute"), 0);
	assert_int_equal(symlink("../../../..", "root/up"), 0);
	assert_int_equal(symlink("/", "root/slash"), 0);
	assert_int_equal(symlink("loop2", "root/loop1"), 0);
	assert_int_equal(symlink("loop1", "root/loop2"), 0);
	assert_int_equal(symlink("missing", "root/dangling"), 0);
	assert_int_equal(symlink("bin/tool", "root/tool"), 0);
	assert_int_equal(symlink(sandbox_path("secret"), "root/escape"), 0);
}

/* What each name leads to: a path that tells which inode, or NULL and the error. */
static const struct {
	const char *name, *found;
	int error;
} directories[] = {
	{ "", "root", 0 },
	{ ".", "root", 0 },
	{ "/", "root", 0 },
	{ "..", "root", 0 },
	{ "usr/bin", "root/usr/bin", 0 },
	{ "/usr//bin/", "root/usr/bin", 0 },
	{ "./usr/./bin/.", "root/usr/bin", 0 },
	{ "usr/../usr/bin", "root/usr/bin", 0 },
	{ "../../../../usr", "root/usr", 0 },
	{ "bin", "root/usr/bin", 0 },
	{ "absolute", "root/usr/bin", 0 },
	{ "bin/absolute/bin", "root/usr/bin", 0 },
	{ "up", "root", 0 },
	{ "up/usr", "root/usr", 0 },
	{ "slash/slash/usr", "root/usr", 0 },
	{ "usr/bin/../../..", "root", 0 },
	{ "missing", NULL, -ENOENT },
	{ "dangling", NULL, -ENOENT },
	{ "missing/..", NULL, -ENOENT },
	{ "usr/bin/tool", NULL, -ENOTDIR },
	{ "usr/bin/tool/..", NULL, -ENOTDIR },
	{ "loop1", NULL, -ELOOP },
	{ "loop1/x", NULL, -ELOOP },
};

/* 0, or the number of the name that went wrong and one. */
static int open_all(void *arg)
{
	int root_fd = *(int *)arg;

	for (size_t i = 0; i < ARRAY_LEN(directories); i++) {
		auto_close int fd = tree_open_dir(root_fd, directories[i].name, NULL);
		struct stat found, expected;

		if (!directories[i].found) {
			if (fd != directories[i].error)
				return (int)i + 1;
			continue;
		}
		if (fd < 0 || fstat(fd, &found) < 0 || stat(directories[i].found, &expected) < 0 ||
		    found.st_ino != expected.st_ino || (fcntl(fd, F_GETFL) & O_PATH))
			return (int)i + 1;
	}
	return 0;
}

static void names_stay_inside_the_root(void **state)
{
	auto_close int root_fd = -EBADF;
	int wrong;

	make_world();
	root_fd = open_dir("root", O_RDONLY);
	wrong = open_all(&root_fd);
	if (wrong)
		fail_msg("\"%s\" went wrong", directories[wrong - 1].name);
}

static void without_openat2_names_stay_inside_the_root_too(void **state)
{
	auto_close int root_fd = -EBADF;
	int wrong;

	make_world();
	root_fd = open_dir("root", O_RDONLY);
	wrong = under_deny(no_openat2, 1, open_all, &root_fd);
	if (wrong)
		fail_msg("\"%s\" went wrong", directories[wrong - 1].name);
}

static int many_links(void *arg)
{
	auto_close int fd = tree_open_dir(*(int *)arg, "l0", NULL);

	return fd < 0 ? fd : 0;
}

static void the_walk_follows_as_many_links_as_the_kernel(void **state)
{
	auto_close int root_fd = -EBADF;
	char name[32], target[32];

	put_dir("root/l41");
	for (int i = 40; i >= 0; i--) {
		(void)snprintf(name, sizeof(name), "root/l%d", i);
		(void)snprintf(target, sizeof(target), "l%d", i + 1);
		assert_int_equal(symlink(target, name), 0);
	}
	root_fd = open_dir("root", O_RDONLY);
	assert_int_equal(many_links(&root_fd), -ELOOP);
	assert_int_equal(under_deny(no_openat2, 1, many_links, &root_fd), -ELOOP);
	assert_int_equal(rename("root/l1", "root/l0"), 0);
	assert_int_equal(many_links(&root_fd), 0);
	assert_int_equal(under_deny(no_openat2, 1, many_links, &root_fd), 0);
}

static void a_parent_is_opened_and_its_last_name_kept(void **state)
{
	auto_close int root_fd = -EBADF, fd = -EBADF;
	char name[NAME_MAX + 1];
	struct stat parent, expected;

	make_world();
	root_fd = open_dir("root", O_RDONLY);
	fd = tree_open_parent(root_fd, "bin/tool///", name, NULL);
	assert_true(fd >= 0);
	assert_string_equal(name, "tool");
	assert_int_equal(fstat(fd, &parent), 0);
	expected = look("root/usr/bin");
	assert_int_equal(parent.st_ino, expected.st_ino);

	/* The last component may be a link that leads anywhere: it is not followed. */
	auto_close_fn(&fd);
	fd = tree_open_parent(root_fd, "/escape", name, NULL);
	assert_true(fd >= 0);
	assert_string_equal(name, "escape");
	assert_int_equal(faccessat(fd, name, F_OK, AT_SYMLINK_NOFOLLOW), 0);
}

static void a_name_without_a_last_component_is_refused(void **state)
{
	static const char *const names[] = { "", "/", ".", "..", "a/..", "usr/.", "//", "usr/../" };
	char name[NAME_MAX + 1] = "untouched", too_long[NAME_MAX + 2];
	auto_close int root_fd = -EBADF;

	make_world();
	root_fd = open_dir("root", O_RDONLY);
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		assert_int_equal(tree_open_parent(root_fd, names[i], name, NULL), -EINVAL);
	memset(too_long, 'x', sizeof(too_long) - 1);
	too_long[sizeof(too_long) - 1] = 0;
	assert_int_equal(tree_open_parent(root_fd, too_long, name, NULL), -ENAMETOOLONG);
	assert_string_equal(name, "untouched");
}

static int read_tool(void *arg)
{
	auto_close int fd = tree_open_file(*(int *)arg, "tool", NULL);
	char text[16] = "";

	if (fd < 0)
		return fd;
	return read(fd, text, sizeof(text)) == 6 && !strcmp(text, "inside") ? 0 : -EIO;
}

static void files_are_read_through_links_inside(void **state)
{
	auto_close int root_fd = -EBADF;
	struct err err = { 0 };

	make_world();
	root_fd = open_dir("root", O_RDONLY);
	assert_int_equal(read_tool(&root_fd), 0);
	assert_int_equal(under_deny(no_openat2, 1, read_tool, &root_fd), 0);
	assert_int_equal(tree_open_file(root_fd, "escape", &err), -ENOENT);
	assert_words(&err, "escape");
}

static void only_regular_files_are_opened(void **state)
{
	auto_close int root_fd = -EBADF;
	struct err err = { 0 };

	put_dir("root/dir");
	assert_int_equal(mkfifo("root/fifo", 0666), 0);
	assert_int_equal(symlink("fifo", "root/link"), 0);
	root_fd = open_dir("root", O_RDONLY);
	assert_int_equal(tree_open_file(root_fd, "fifo", &err), -EINVAL);
	assert_int_equal(tree_open_file(root_fd, "link", &err), -EINVAL);
	assert_int_equal(tree_open_file(root_fd, "dir", &err), -EISDIR);
	assert_words(&err, "not a regular file");
}

static void names_in_words_cannot_drive_a_terminal(void **state)
{
	struct tree_text text;
	char long_name[5000];

	assert_string_equal(tree_printable("a\033[2J\nb\\c\177\303\251", &text),
			    "a\\033[2J\\012b\\134c\\177\303\251");
	assert_string_equal(tree_printable("", &text), "");
	memset(long_name, '\n', sizeof(long_name) - 1);
	long_name[sizeof(long_name) - 1] = 0;
	tree_printable(long_name, &text);
	assert_true(strlen(text.text) < sizeof(text.text));
	assert_string_equal(text.text + strlen(text.text) - 7, "\\012...");
}

/* ---- removing ---- */

static void a_tree_goes_and_links_are_not_followed(void **state)
{
	make_world();
	assert_int_equal(symlink(sandbox_root(), "root/usr/out"), 0);
	assert_int_equal(mkfifo("root/usr/fifo", 0600), 0);
	assert_int_equal(link("secret", "root/usr/hard"), 0);
	assert_int_equal(tree_remove_at(AT_FDCWD, "root", NULL), 0);
	assert_false(exists("root"));
	assert_contents("secret", "outside");
	assert_int_equal(look("secret").st_nlink, 1);
}

static void files_and_links_go_and_nothing_is_success(void **state)
{
	put_file("file", "x");
	put_file("target/keep", "x");
	assert_int_equal(symlink("target", "link"), 0);
	assert_int_equal(tree_remove_at(AT_FDCWD, "file", NULL), 0);
	assert_int_equal(tree_remove_at(AT_FDCWD, "link", NULL), 0);
	assert_int_equal(tree_remove_at(AT_FDCWD, "nothing", NULL), 0);
	assert_false(exists("file"));
	assert_false(exists("link"));
	assert_true(exists("target/keep"));
}

#define DEEP 3000

/* `deep` holds a directory that holds one, and so on; each also holds a file. */
static void make_deep(const char *name, int depth)
{
	auto_close int fd = -EBADF;

	put_dir(name);
	fd = open_dir(name, O_RDONLY);
	for (int i = 0; i < depth; i++) {
		auto_close int file = -EBADF;
		int next;

		assert_int_equal(mkdirat(fd, "flat-0", 0755), 0);
		file = openat(fd, "file", O_CREAT | O_WRONLY | O_CLOEXEC, 0644);
		assert_true(file >= 0);
		next = openat(fd, "flat-0", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		assert_true(next >= 0);
		auto_close_fn(&fd);
		fd = next;
	}
}

static int remove_deep(void *arg)
{
	return tree_remove_at(AT_FDCWD, "deep", arg);
}

static void depth_needs_few_descriptors_and_no_stack(void **state)
{
	struct rlimit before, few;
	struct err err = { 0 };
	int r;

	make_deep("deep", DEEP);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	few = (struct rlimit){ TREE_FLATTEN_DEPTH + 32, before.rlim_max };
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
	r = remove_deep(&err);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	if (r)
		fail_msg("%s", err.text);
	assert_false(exists("deep"));

	make_deep("deep", 200);
	assert_int_equal(under_deny(no_openat2, 1, remove_deep, &err), 0);
	assert_false(exists("deep"));
}

static void broad_directories_go(void **state)
{
	char name[32];

	for (int i = 0; i < 3000; i++) {
		(void)snprintf(name, sizeof(name), "broad/%d%s", i, i % 3 ? "" : "/sub");
		put_file(name, "");
	}
	assert_int_equal(tree_remove_at(AT_FDCWD, "broad", NULL), 0);
	assert_false(exists("broad"));
}

static int remove_root(void *arg)
{
	return tree_remove_at(AT_FDCWD, "root", arg);
}

static void a_mount_point_is_not_crossed(void **state)
{
	struct err err = { 0 };

	needs_root();
	put_file("precious/file", "keep me");
	put_dir("root/a/mnt");
	assert_int_equal(sys_mount("precious", "root/a/mnt", NULL, MS_BIND, NULL), 0);
	assert_int_equal(remove_root(&err), -EBUSY);
	assert_words(&err, "mnt");
	assert_contents("precious/file", "keep me");
	assert_int_equal(under_deny(no_openat2, 1, remove_root, &err), -EBUSY);
	assert_words(&err, "mnt");
	assert_contents("precious/file", "keep me");
	assert_int_equal(sys_umount("root/a/mnt", 0), 0);
	assert_int_equal(remove_root(&err), 0);
	assert_contents("precious/file", "keep me");
}

/* As an ordinary user, in a child. */
static int remove_as_nobody(void)
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		if (setgid(65534) < 0 || setuid(65534) < 0)
			_exit(99);
		_exit(-tree_remove_at(AT_FDCWD, "nobodys", NULL));
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void a_user_can_remove_directories_without_rights(void **state)
{
	needs_root();
	put_file("nobodys/x/locked/deep/file", "");
	for (int i = 0; i < 5; i++) {
		static const char *const parts[] = { "nobodys", "nobodys/x", "nobodys/x/locked",
						     "nobodys/x/locked/deep",
						     "nobodys/x/locked/deep/file" };

		assert_int_equal(chown(parts[i], 65534, 65534), 0);
	}
	assert_int_equal(chmod(".", 0777), 0);
	assert_int_equal(chmod("..", 0711), 0);
	assert_int_equal(chmod("nobodys/x/locked/deep", 0), 0);
	assert_int_equal(chmod("nobodys/x/locked", 0500), 0);
	assert_int_equal(chmod("nobodys/x", 0555), 0);
	assert_int_equal(remove_as_nobody(), 0);
	assert_false(exists("nobodys"));
}

/* ---- usage ---- */

static uint64_t du(const char *path)
{
	char command[64];
	unsigned long long blocks = 0;
	FILE *pipe;

	(void)snprintf(command, sizeof(command), "du -s --block-size=512 %s", path);
	pipe = popen(command, "re");
	assert_non_null(pipe);
	assert_int_equal(fscanf(pipe, "%llu", &blocks), 1);
	assert_int_equal(pclose(pipe), 0);
	return blocks * 512;
}

static void usage_is_what_du_says(void **state)
{
	struct tree_usage usage = { 0 };
	auto_close int fd = -EBADF;

	make_world();
	assert_int_equal(link("root/usr/bin/tool", "root/usr/again"), 0);
	assert_int_equal(link("root/usr/bin/tool", "root/again"), 0);
	fd = open("root/sparse", O_CREAT | O_RDWR | O_CLOEXEC, 0644);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, 1 << 24), 0);
	assert_int_equal(pwrite(fd, "x", 1, 1 << 20), 1);
	assert_int_equal(tree_usage_at(AT_FDCWD, "root", &usage, NULL), 0);
	assert_int_equal(usage.disk_bytes, du("root"));
	assert_true(usage.disk_bytes < 1 << 20);
	assert_int_equal(usage.bytes, 6 + 5 + (1 << 24));
	/* root usr bin, tool secret sparse, 10 links */
	assert_int_equal(usage.inodes, 16);
}

static void many_hard_links_count_once(void **state)
{
	struct tree_usage usage = { 0 };
	char name[32], again[32];

	put_dir("root");
	for (int i = 0; i < 500; i++) {
		(void)snprintf(name, sizeof(name), "root/f%d", i);
		put_file(name, "x");
		for (int j = 0; j < 3; j++) {
			(void)snprintf(again, sizeof(again), "root/l%d.%d", i, j);
			assert_int_equal(link(name, again), 0);
		}
	}
	assert_int_equal(tree_usage_at(AT_FDCWD, "root", &usage, NULL), 0);
	assert_int_equal(usage.inodes, 501);
	assert_int_equal(usage.bytes, 500);
	assert_int_equal(usage.disk_bytes, du("root"));
}

static void usage_of_deep_trees_needs_few_descriptors(void **state)
{
	struct tree_usage usage = { 0 };
	struct rlimit before, few;
	int r;

	make_deep("deep", DEEP);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	few = (struct rlimit){ 32, before.rlim_max };
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
	r = tree_usage_at(AT_FDCWD, "deep", &usage, NULL);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	assert_int_equal(r, 0);
	assert_int_equal(usage.inodes, 2 * DEEP + 1);
}

static void usage_takes_files_links_and_a_descriptor_itself(void **state)
{
	auto_close int fd = -EBADF;
	struct tree_usage usage = { 0 };
	struct err err = { 0 };

	put_file("root/file", "12345");
	assert_int_equal(symlink("root", "link"), 0);
	assert_int_equal(tree_usage_at(AT_FDCWD, "root/file", &usage, NULL), 0);
	assert_int_equal(usage.bytes, 5);
	assert_int_equal(usage.inodes, 1);
	assert_int_equal(tree_usage_at(AT_FDCWD, "link", &usage, NULL), 0);
	assert_int_equal(usage.inodes, 1);
	assert_int_equal(usage.bytes, 0);
	fd = open_dir("root", O_RDONLY);
	assert_int_equal(tree_usage_at(fd, ".", &usage, NULL), 0);
	assert_int_equal(usage.inodes, 2);
	assert_int_equal(tree_usage_at(fd, "nothing", &usage, &err), -ENOENT);
	assert_words(&err, "nothing");
	assert_int_equal(usage.inodes, 2);
}

static void contents_are_all_but_directories_once(void **state)
{
	uint64_t bytes = 0;
	struct err err = { 0 };

	needs_root();
	put_file("root/a/file", "12345");
	assert_int_equal(link("root/a/file", "root/again"), 0);
	assert_int_equal(symlink("to/there", "root/link"), 0);
	put_whiteout("root/gone");
	assert_int_equal(link("root/gone", "root/a/gone"), 0);
	assert_int_equal(mkfifo("root/fifo", 0600), 0);
	assert_int_equal(tree_content_bytes(AT_FDCWD, "root", &bytes, &err), 0);
	assert_int_equal(bytes, 5 + 8);
	assert_int_equal(tree_content_bytes(AT_FDCWD, "nothing", &bytes, &err), -ENOENT);
	assert_int_equal(bytes, 5 + 8);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		sandbox_test(names_stay_inside_the_root),
		sandbox_test(without_openat2_names_stay_inside_the_root_too),
		sandbox_test(the_walk_follows_as_many_links_as_the_kernel),
		sandbox_test(a_parent_is_opened_and_its_last_name_kept),
		sandbox_test(a_name_without_a_last_component_is_refused),
		sandbox_test(files_are_read_through_links_inside),
		sandbox_test(only_regular_files_are_opened),
		cmocka_unit_test(names_in_words_cannot_drive_a_terminal),
		sandbox_test(a_tree_goes_and_links_are_not_followed),
		sandbox_test(files_and_links_go_and_nothing_is_success),
		sandbox_test(depth_needs_few_descriptors_and_no_stack),
		sandbox_test(broad_directories_go),
		sandbox_test(a_mount_point_is_not_crossed),
		sandbox_test(a_user_can_remove_directories_without_rights),
		sandbox_test(usage_is_what_du_says),
		sandbox_test(many_hard_links_count_once),
		sandbox_test(usage_of_deep_trees_needs_few_descriptors),
		sandbox_test(usage_takes_files_links_and_a_descriptor_itself),
		sandbox_test(contents_are_all_but_directories_once),
	};

	return cmocka_run_group_tests_name("tree", tests, sandbox_enter, sandbox_leave);
}
