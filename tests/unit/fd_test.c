/* SPDX-License-Identifier: Apache-2.0 */
#include "driver/base/fd.h"

#include <fcntl.h>
#include <ftw.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "driver/base/digest.h"

#define BIG ((size_t)300000) /* more than a pipe and a read step hold */

/* Every test has a fresh directory, which is also the working directory. */
static char scratch[64];
static int top_fd = -EBADF;

static int enter_scratch(void **state)
{
	(void)snprintf(scratch, sizeof(scratch), "/tmp/overlaid-fd.XXXXXX");
	if (!mkdtemp(scratch) || chdir(scratch) < 0)
		return -1;
	top_fd = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	(void)umask(022);
	return top_fd < 0 ? -1 : 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
	return remove(path);
}

static int leave_scratch(void **state)
{
	(void)umask(022);
	(void)close(top_fd);
	if (chdir("/") < 0)
		return -1;
	return nftw(scratch, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void make_file(const char *name, const void *data, size_t len)
{
	auto_close int fd = openat(top_fd, name, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0644);

	assert_true(fd >= 0);
	assert_int_equal(write_full(fd, data, len), 0);
}

static mode_t mode_of(const char *name)
{
	struct stat st;

	assert_int_equal(fstatat(top_fd, name, &st, AT_SYMLINK_NOFOLLOW), 0);
	return st.st_mode;
}

static void assert_contents(const char *name, const char *expected)
{
	auto_buf struct buf b = { 0 };

	assert_int_equal(read_file_at(top_fd, name, &b, NULL), 0);
	assert_string_equal(buf_text(&b), expected);
}

/* How many names the directory has, "." and ".." not counted. */
static int names_in(const char *path)
{
	auto_closedir DIR *dir = opendir(path);
	int count = -2;

	assert_non_null(dir);
	while (readdir(dir))
		count++;
	return count;
}

static void reading_ends_with_the_file(void **state)
{
	auto_close int fd = -EBADF;
	char data[16] = "";

	make_file("f", "0123456789", 10);
	fd = open("f", O_RDONLY | O_CLOEXEC);
	assert_int_equal(read_full(fd, data, 4), 4);
	assert_memory_equal(data, "0123", 5);
	assert_int_equal(read_full(fd, data, 16), 6);
	assert_memory_equal(data, "456789", 6);
	assert_int_equal(read_full(fd, data, 16), 0);
	assert_int_equal(pread_full(fd, data, 3, 2), 3);
	assert_memory_equal(data, "234", 3);
	assert_int_equal(pread_full(fd, data, 16, 8), 2);
	assert_int_equal(pread_full(fd, data, 16, 10), 0);
}

static void reading_and_writing_tell_errors(void **state)
{
	auto_close int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
	char c;

	assert_int_equal(read_full(-1, &c, 1), -EBADF);
	assert_int_equal(pread_full(top_fd, &c, 1, 0), -EISDIR);
	assert_int_equal(write_full(full, "x", 1), -ENOSPC);
	assert_int_equal(write_full(full, "", 0), 0);
}

static void *write_slowly(void *arg)
{
	auto_close int fd = *(int *)arg;
	auto_free char *data = malloc(BIG);

	for (size_t i = 0; i < BIG; i++)
		data[i] = (char)(i % 251);
	/* A piece that read_full must not take for the end; then more than the pipe holds. */
	if (write_full(fd, data, 100) < 0 || write_full(fd, data + 100, BIG - 100) < 0)
		*(int *)arg = -1;
	return NULL;
}

static void a_pipe_is_read_and_written_in_full(void **state)
{
	auto_buf struct buf b = { 0 };
	auto_close int from = -EBADF;
	pthread_t writer;
	int ends[2];

	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	from = ends[0];
	assert_int_equal(pthread_create(&writer, NULL, write_slowly, &ends[1]), 0);
	assert_int_equal(read_to_buf(from, &b, "pipe", NULL), 0);
	assert_int_equal(pthread_join(writer, NULL), 0);
	assert_int_not_equal(ends[1], -1);
	assert_int_equal(b.len, BIG);
	for (size_t i = 0; i < BIG; i++)
		assert_int_equal((unsigned char)b.data[i], i % 251);
}

static void a_file_of_exactly_the_maximum_is_read(void **state)
{
	auto_buf struct buf b = { .max = 10 };
	auto_buf struct buf empty = { .max = 10 };

	make_file("f", "0123456789", 10);
	make_file("empty", "", 0);
	assert_int_equal(read_file_at(top_fd, "f", &b, NULL), 0);
	assert_string_equal(buf_text(&b), "0123456789");
	assert_int_equal(read_file_at(top_fd, "empty", &empty, NULL), 0);
	assert_string_equal(buf_text(&empty), "");
}

static void a_file_over_the_maximum_is_refused(void **state)
{
	auto_buf struct buf b = { .max = 9 };
	struct err err = { 0 };

	make_file("f", "0123456789", 10);
	assert_int_equal(read_file_at(top_fd, "f", &b, &err), -EFBIG);
	assert_string_equal(err.text, "read f: larger than the allowed 9 bytes");
}

static void reading_appends(void **state)
{
	auto_buf struct buf b = { 0 };

	make_file("f", "file", 4);
	assert_int_equal(buf_puts(&b, "before "), 0);
	assert_int_equal(read_file_at(top_fd, "f", &b, NULL), 0);
	assert_string_equal(buf_text(&b), "before file");
}

static void a_missing_file_is_told_apart(void **state)
{
	auto_buf struct buf b = { 0 };
	struct err err = { 0 };

	assert_int_equal(read_file_at(top_fd, "nothing", &b, &err), -ENOENT);
	assert_string_equal(err.text, "open nothing: No such file or directory");
	assert_int_equal(read_file_at(top_fd, ".", &b, &err), -EISDIR);
	assert_string_equal(err.text, "read .: Is a directory");
}

static void a_file_is_made_and_replaced(void **state)
{
	assert_int_equal(replace_file_at(top_fd, "f", "first", 5, 0, NULL), 0);
	assert_contents("f", "first");
	assert_int_equal(replace_file_at(top_fd, "f", "2", 1, REPLACE_DURABLE, NULL), 0);
	assert_contents("f", "2");
	assert_int_equal(replace_file_at(top_fd, "f", NULL, 0, REPLACE_DURABLE, NULL), 0);
	assert_contents("f", "");
	assert_int_equal(names_in("."), 1);
}

static void a_replaced_file_has_mode_0600_whatever_the_umask(void **state)
{
	(void)umask(0777);
	assert_int_equal(replace_file_at(top_fd, "a", "x", 1, 0, NULL), 0);
	(void)umask(0);
	assert_int_equal(replace_file_at(top_fd, "b", "x", 1, 0, NULL), 0);
	assert_int_equal(mode_of("a"), S_IFREG | 0600);
	assert_int_equal(mode_of("b"), S_IFREG | 0600);
}

static void a_file_in_a_subdirectory_is_replaced_there(void **state)
{
	assert_int_equal(mkdir("sub", 0700), 0);
	assert_int_equal(replace_file_at(top_fd, "sub/f", "x", 1, REPLACE_DURABLE, NULL), 0);
	assert_contents("sub/f", "x");
	assert_int_equal(names_in("."), 1);
	assert_int_equal(names_in("sub"), 1);
}

static void a_failed_replacement_leaves_nothing_behind(void **state)
{
	struct err err = { 0 };

	assert_int_equal(mkdir("taken", 0700), 0);
	assert_int_equal(replace_file_at(top_fd, "taken", "x", 1, REPLACE_DURABLE, &err), -EISDIR);
	assert_string_equal(err.text, "write taken: Is a directory");
	assert_int_equal(names_in("."), 1);
	assert_int_equal(names_in("taken"), 0);
	assert_int_equal(replace_file_at(top_fd, "no/f", "x", 1, 0, &err), -ENOENT);
	assert_string_equal(err.text, "write no/f: No such file or directory");
}

static void a_link_is_replaced_not_followed(void **state)
{
	make_file("target", "old", 3);
	assert_int_equal(symlink("target", "link"), 0);
	assert_int_equal(replace_file_at(top_fd, "link", "new", 3, 0, NULL), 0);
	assert_contents("target", "old");
	assert_contents("link", "new");
	assert_true(S_ISREG(mode_of("link")));
}

static void *replace_often(void *arg)
{
	auto_free char *data = malloc(BIG);
	atomic_bool *done = arg;

	for (int i = 0; i < 50; i++) {
		memset(data, 'a' + i % 2, BIG);
		(void)replace_file_at(top_fd, "f", data, BIG, 0, NULL);
	}
	atomic_store(done, true);
	return NULL;
}

static void readers_see_the_old_or_the_new_bytes(void **state)
{
	auto_buf struct buf b = { 0 };
	atomic_bool done = false;
	pthread_t writer;

	assert_int_equal(replace_file_at(top_fd, "f", "first", 5, 0, NULL), 0);
	assert_int_equal(pthread_create(&writer, NULL, replace_often, &done), 0);
	while (!atomic_load(&done)) {
		buf_reset(&b);
		if (read_file_at(top_fd, "f", &b, NULL) < 0 || (b.len != BIG && b.len != 5) ||
		    (b.len == BIG && memcmp(b.data, b.data + 1, BIG - 1) != 0))
			break;
	}
	assert_int_equal(pthread_join(writer, NULL), 0);
	assert_true(b.len == 5 || (b.len == BIG && !memcmp(b.data, b.data + 1, BIG - 1)));
	assert_int_equal(names_in("."), 1);
}

static void a_directory_is_synced(void **state)
{
	struct err err = { 0 };

	assert_int_equal(fsync_dir_at(top_fd, ".", NULL), 0);
	assert_int_equal(fsync_dir_at(AT_FDCWD, scratch, NULL), 0);
	assert_int_equal(fsync_dir_at(top_fd, "nothing", &err), -ENOENT);
	assert_string_equal(err.text, "open directory nothing: No such file or directory");
}

static void parents_are_made_with_their_mode(void **state)
{
	(void)umask(077);
	assert_int_equal(mkdir_parents("a/b/c", 0755, NULL), 0);
	assert_int_equal(mode_of("a"), S_IFDIR | 0755);
	assert_int_equal(mode_of("a/b"), S_IFDIR | 0755);
	assert_int_equal(mode_of("a/b/c"), S_IFDIR | 0755);
	(void)umask(0);
	assert_int_equal(mkdir_parents("a//x///y/", 0700, NULL), 0);
	assert_int_equal(mode_of("a/x/y"), S_IFDIR | 0700);
}

static void directories_that_are_there_stay_as_they_are(void **state)
{
	char path[128];

	assert_int_equal(mkdir("a", 0711), 0);
	(void)snprintf(path, sizeof(path), "%s/a/b", scratch);
	assert_int_equal(mkdir_parents(path, 0750, NULL), 0);
	assert_int_equal(mkdir_parents(path, 0700, NULL), 0);
	assert_int_equal(mode_of("a"), S_IFDIR | 0711);
	assert_int_equal(mode_of("a/b"), S_IFDIR | 0750);
	assert_int_equal(symlink("a", "link"), 0);
	assert_int_equal(mkdir_parents("link/c", 0700, NULL), 0);
	assert_int_equal(mode_of("a/c"), S_IFDIR | 0700);
	assert_int_equal(mkdir_parents("/", 0700, NULL), 0);
}

static void a_file_in_the_way_is_told(void **state)
{
	struct err err = { 0 };

	make_file("f", "x", 1);
	assert_int_equal(mkdir_parents("f", 0700, &err), -ENOTDIR);
	assert_non_null(strstr(err.text, "make directory f: "));
	assert_int_equal(mkdir_parents("f/sub/x", 0700, &err), -ENOTDIR);
	assert_non_null(strstr(err.text, "make directory f: "));
	assert_int_equal(symlink("nowhere", "dangling"), 0);
	assert_int_equal(mkdir_parents("dangling/x", 0700, &err), -EEXIST);
	assert_non_null(strstr(err.text, "make directory dangling: "));
	assert_int_equal(mkdir_parents("", 0700, &err), -ENOENT);
}

static void a_directory_is_opened_to_be_read(void **state)
{
	auto_close int fd = -EBADF;
	struct err err = { 0 };

	make_file("f", "x", 1);
	assert_int_equal(mkdir("d", 0700), 0);
	fd = open_dir_at(top_fd, "d", NULL);
	assert_true(fd >= 0);
	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	assert_false(fcntl(fd, F_GETFL) & O_PATH);
	assert_int_equal(fsync(fd), 0);
	assert_int_equal(open_dir_at(top_fd, "f", &err), -ENOTDIR);
	assert_string_equal(err.text, "open directory f: Not a directory");
	assert_int_equal(open_dir_at(top_fd, "nothing", &err), -ENOENT);
}

static void a_missing_directory_is_made(void **state)
{
	auto_close int first = -EBADF;
	auto_close int second = -EBADF;
	struct err err = { 0 };

	(void)umask(077);
	first = open_or_make_dir_at(top_fd, "d", 0751, NULL);
	assert_true(first >= 0);
	assert_int_equal(mode_of("d"), S_IFDIR | 0751);
	second = open_or_make_dir_at(top_fd, "d", 0700, NULL);
	assert_true(second >= 0);
	assert_int_equal(mode_of("d"), S_IFDIR | 0751);
	assert_int_equal(open_or_make_dir_at(top_fd, "no/d", 0700, &err), -ENOENT);
	assert_string_equal(err.text, "make directory no/d: No such file or directory");
	make_file("f", "x", 1);
	assert_int_equal(open_or_make_dir_at(top_fd, "f", 0700, &err), -ENOTDIR);
}

static void random_hex_is_hex_of_its_length(void **state)
{
	static const size_t lengths[] = { 0, 2, 16, 64, 128, 130, 600 };
	char a[601], b[601];

	for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
		size_t len = lengths[i];

		memset(a, 'x', sizeof(a));
		random_hex(a, len);
		random_hex(b, len);
		assert_true(hex_valid(a, len));
		assert_true(len < sizeof(a) - 1 ? a[len + 1] == 'x' : true);
		if (len >= 16)
			assert_string_not_equal(a, b);
	}
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, enter_scratch, leave_scratch)

static void descriptors_that_are_wanted_may_be_opened(void **state)
{
	struct rlimit before, now;

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	now = before;
	now.rlim_cur = 64;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &now), 0);
	want_descriptors(32);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &now), 0);
	assert_int_equal(now.rlim_cur, 64);
	want_descriptors(200);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &now), 0);
	assert_int_equal(now.rlim_cur, 200);
	want_descriptors(SIZE_MAX);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &now), 0);
	assert_int_equal(now.rlim_cur, before.rlim_max);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(reading_ends_with_the_file),
		TEST(reading_and_writing_tell_errors),
		TEST(a_pipe_is_read_and_written_in_full),
		TEST(a_file_of_exactly_the_maximum_is_read),
		TEST(a_file_over_the_maximum_is_refused),
		TEST(reading_appends),
		TEST(a_missing_file_is_told_apart),
		TEST(a_file_is_made_and_replaced),
		TEST(a_replaced_file_has_mode_0600_whatever_the_umask),
		TEST(a_file_in_a_subdirectory_is_replaced_there),
		TEST(a_failed_replacement_leaves_nothing_behind),
		TEST(a_link_is_replaced_not_followed),
		TEST(readers_see_the_old_or_the_new_bytes),
		TEST(a_directory_is_synced),
		TEST(parents_are_made_with_their_mode),
		TEST(directories_that_are_there_stay_as_they_are),
		TEST(a_file_in_the_way_is_told),
		TEST(a_directory_is_opened_to_be_read),
		TEST(a_missing_directory_is_made),
		cmocka_unit_test(random_hex_is_hex_of_its_length),
		cmocka_unit_test(descriptors_that_are_wanted_may_be_opened),
	};

	return cmocka_run_group_tests_name("fd", tests, NULL, NULL);
}
