/* SPDX-License-Identifier: Apache-2.0 */
#include "graph/fetch/partial.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "driver/base/fd.h"
#include "tests/unit/kit.h"
#include "tests/unit/sandbox.h"

#define A	"partial/aa00000000000000000000000000000000000000000000000000000000000000"
#define B	"partial/bb00000000000000000000000000000000000000000000000000000000000000"
#define ETAG	".validator"
#define OTHER	"partial/.aa00.validator.0123456789abcdef"
#define LONG_MS 60000
#define LONG	((time_t)PARTIAL_KEPT_SECONDS + 60)

static int dir_fd = -EBADF;

static int start(void **state)
{
	(void)alarm(120);
	if (sandbox_start(state) < 0)
		return -1;
	put_dir("partial");
	dir_fd = open("partial", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return dir_fd < 0 ? -1 : 0;
}

static int stop(void **state)
{
	(void)close(dir_fd);
	return sandbox_clean(state);
}

#define in_partial(f) cmocka_unit_test_setup_teardown(f, start, stop)

static struct partial open_it(const char *digest, int64_t size)
{
	const struct digest which = kit_digest(digest);
	struct partial p = PARTIAL_INIT;
	struct err err = { 0 };

	if (partial_open(dir_fd, &which, size, 0, &p, &err) < 0)
		fail_msg("%s: %s", digest, err.text);
	return p;
}

static void put_bytes_into(const struct partial *p, const char *text)
{
	assert_int_equal(pwrite(p->fd, text, strlen(text), 0), strlen(text));
}

static void what_has_come_is_there_the_next_time(void **state)
{
	auto_partial struct partial first = open_it("aa", 100), second = PARTIAL_INIT;
	char text[10] = "";
	struct stat st;

	assert_false(first.unnamed);
	assert_int_equal(first.bytes, 0);
	assert_null(first.validator);
	partial_set_validator(&first, "\"tag\"");
	assert_string_equal(first.validator, "\"tag\"");
	put_bytes_into(&first, "hello");
	partial_close(&first);
	assert_true(first.fd < 0);
	assert_contents(A ETAG, "\"tag\"");
	assert_int_equal(stat(A, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);

	second = open_it("aa", 100);
	assert_false(second.unnamed);
	assert_int_equal(second.bytes, 5);
	assert_string_equal(second.validator, "\"tag\"");
	assert_int_equal(pread(second.fd, text, sizeof(text), 0), 5);
	assert_string_equal(text, "hello");
}

static void a_validator_is_replaced_and_forgotten(void **state)
{
	auto_partial struct partial p = open_it("aa", 100);

	partial_set_validator(&p, "one");
	partial_set_validator(&p, "two");
	assert_contents(A ETAG, "two");
	partial_set_validator(&p, NULL);
	assert_null(p.validator);
	assert_false(exists(A ETAG));
	partial_set_validator(&p, NULL);
	assert_false(exists(A ETAG));
}

/* It is sent in a header. */
static void a_validator_that_cannot_be_sent_is_none(void **state)
{
	static const char *const bad[] = { "", "a\r\nb", "a\nb", "\n" };
	auto_free char *much = malloc(4001);

	assert_non_null(much);
	memset(much, 'x', 4000);
	much[4000] = '\0';
	put_file(A, "hello");
	for (size_t i = 0; i <= ARRAY_LEN(bad); i++) {
		auto_partial struct partial p = PARTIAL_INIT;

		put_file(A ETAG, i < ARRAY_LEN(bad) ? bad[i] : much);
		p = open_it("aa", 100);
		assert_int_equal(p.bytes, 5);
		assert_null(p.validator);
	}
}

static void a_validator_says_nothing_of_no_bytes(void **state)
{
	auto_partial struct partial p = PARTIAL_INIT;

	put_file(A ETAG, "tag");
	p = open_it("aa", 100);
	assert_int_equal(p.bytes, 0);
	assert_null(p.validator);
}

static void one_that_is_too_long_is_emptied(void **state)
{
	auto_partial struct partial whole = PARTIAL_INIT, longer = PARTIAL_INIT;
	struct stat st;

	put_file(A, "hello");
	put_file(A ETAG, "tag");
	whole = open_it("aa", 5);
	assert_int_equal(whole.bytes, 5);
	partial_close(&whole);
	longer = open_it("aa", 4);
	assert_int_equal(longer.bytes, 0);
	assert_null(longer.validator);
	assert_int_equal(fstat(longer.fd, &st), 0);
	assert_int_equal(st.st_size, 0);
}

static void who_comes_second_gets_one_of_his_own(void **state)
{
	auto_partial struct partial first = open_it("aa", 100), second = PARTIAL_INIT;

	partial_set_validator(&first, "mine");
	put_bytes_into(&first, "hello");
	second = open_it("aa", 100);
	assert_true(second.unnamed);
	assert_int_equal(second.bytes, 0);
	assert_null(second.validator);
	put_bytes_into(&second, "other");
	/* What is said of it touches nothing of the first. */
	partial_set_validator(&second, "yours");
	assert_string_equal(second.validator, "yours");
	partial_drop(&second);
	partial_close(&second);
	assert_contents(A, "hello");
	assert_contents(A ETAG, "mine");
	assert_int_equal(kit_names("partial"), 2);
}

static void who_waited_long_enough_gets_one_of_his_own(void **state)
{
	auto_partial struct partial first = open_it("aa", 100), second = PARTIAL_INIT;
	const struct digest which = kit_digest("aa");

	put_bytes_into(&first, "hello");
	assert_int_equal(partial_open(dir_fd, &which, 100, 30, &second, NULL), 0);
	assert_true(second.unnamed);
	assert_int_equal(second.bytes, 0);
}

/* As it is kept in the store: what is written here would change it there. */
static void one_that_has_another_name_is_begun_anew(void **state)
{
	auto_partial struct partial p = PARTIAL_INIT;

	put_file("kept", "hello");
	assert_int_equal(link("kept", A), 0);
	p = open_it("aa", 3);
	assert_false(p.unnamed);
	assert_int_equal(p.bytes, 0);
	put_bytes_into(&p, "other");
	assert_contents("kept", "hello");
	assert_contents(A, "other");
}

static void what_is_dropped_can_still_be_read(void **state)
{
	auto_partial struct partial p = open_it("aa", 100), next = PARTIAL_INIT;
	char text[10] = "";

	partial_set_validator(&p, "tag");
	put_bytes_into(&p, "hello");
	partial_drop(&p);
	assert_int_equal(kit_names("partial"), 0);
	assert_int_equal(pread(p.fd, text, sizeof(text), 0), 5);
	assert_string_equal(text, "hello");

	/* The name is free, and not the first one's to drop. */
	next = open_it("aa", 100);
	assert_false(next.unnamed);
	assert_int_equal(next.bytes, 0);
	partial_drop(&p);
	assert_true(exists(A));
}

static void what_was_never_opened_can_be_dropped_and_closed(void **state)
{
	struct partial p = PARTIAL_INIT;

	partial_drop(&p);
	partial_close(&p);
	partial_close(&p);
	assert_true(p.fd < 0);
}

static void a_link_is_not_followed(void **state)
{
	const struct digest which = kit_digest("aa");
	struct partial p = PARTIAL_INIT;
	struct err err = { 0 };

	put_file("victim", "precious");
	assert_int_equal(symlink("../victim", A), 0);
	assert_int_equal(partial_open(dir_fd, &which, 3, 0, &p, &err), -ELOOP);
	assert_non_null(strstr(err.text, "open partial/aa0"));
	assert_contents("victim", "precious");
	assert_true(p.fd < 0);
}

/* ---- waiting ---- */

/* Waits for the blob, and says how many bytes it found: 255 for a failure. The holder's descriptor,
 * which it got by the fork, would keep the lock. */
static int wait_for_it(struct child *parent, void *arg)
{
	auto_close int dir = open("partial", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	const struct partial *held = arg;
	const struct digest *which = &held->digest;
	auto_partial struct partial p = PARTIAL_INIT;
	struct stat st;

	(void)alarm(60);
	(void)close(held->fd);
	kit_tell(parent);
	if (partial_open(dir, which, 100, LONG_MS, &p, NULL) < 0 || p.unnamed ||
	    fstatat(dir, digest_hex(which), &st, 0) < 0)
		return 255;
	return (int)p.bytes;
}

/* Waits until the process has the file open. */
static void let_it_open(const struct child *child, const char *path)
{
	const struct timespec slice = { .tv_nsec = 5000000 };
	struct stat wanted, have;
	char name[64];

	assert_int_equal(stat(path, &wanted), 0);
	for (int i = 0; i < 4000; i++) {
		for (int fd = 3; fd < 64; fd++) {
			(void)snprintf(name, sizeof(name), "/proc/%d/fd/%d", child->pid, fd);
			if (stat(name, &have) == 0 && have.st_ino == wanted.st_ino &&
			    have.st_dev == wanted.st_dev)
				return;
		}
		(void)nanosleep(&slice, NULL);
	}
	fail_msg("nobody opens %s", path);
}

static void who_waits_finds_what_has_come(void **state)
{
	auto_partial struct partial first = open_it("aa", 100);
	struct child child = kit_fork(wait_for_it, &first);

	assert_true(kit_hear(&child));
	let_it_open(&child, A);
	put_bytes_into(&first, "hello");
	partial_close(&first);
	assert_int_equal(kit_wait(&child), 5);
}

static void who_waits_for_what_is_dropped_makes_it_anew(void **state)
{
	auto_partial struct partial first = open_it("aa", 100);
	struct child child = kit_fork(wait_for_it, &first);

	assert_true(kit_hear(&child));
	let_it_open(&child, A);
	put_bytes_into(&first, "hello");
	partial_drop(&first);
	partial_close(&first);
	assert_int_equal(kit_wait(&child), 0);
	assert_true(exists(A));
}

/* ---- sweeping ---- */

static void put_old(const char *path, const char *contents)
{
	put_file(path, contents);
	set_mtime(path, time(NULL) - LONG, 0);
}

static void sweep(partial_fn *fn, void *arg)
{
	struct err err = { 0 };

	if (partial_sweep(dir_fd, PARTIAL_KEPT_SECONDS, fn, arg, &err) != 0)
		fail_msg("%s", err.text);
}

static void what_is_old_is_swept(void **state)
{
	put_old(A, "hello");
	put_old(A ETAG, "tag");
	put_old(OTHER, "a temporary file that a crash left");
	put_file(B, "hello");
	put_old(B ETAG, "tag");
	set_mtime(B, time(NULL) - PARTIAL_KEPT_SECONDS + 60, 0);
	sweep(NULL, NULL);
	/* A validator is as old as its blob. */
	assert_true(exists(B));
	assert_true(exists(B ETAG));
	assert_int_equal(kit_names("partial"), 2);
}

static void a_validator_without_its_blob_is_swept(void **state)
{
	put_old(A ETAG, "tag");
	put_file(B ETAG, "tag");
	sweep(NULL, NULL);
	assert_false(exists(A ETAG));
	assert_true(exists(B ETAG));
}

static void what_is_being_written_is_not_swept(void **state)
{
	auto_partial struct partial p = open_it("aa", 100);

	partial_set_validator(&p, "tag");
	set_mtime(A, time(NULL) - LONG, 0);
	set_mtime(A ETAG, time(NULL) - LONG, 0);
	sweep(NULL, NULL);
	assert_int_equal(kit_names("partial"), 2);
	partial_close(&p);
	sweep(NULL, NULL);
	assert_int_equal(kit_names("partial"), 0);
}

struct asked {
	size_t count;
	int64_t bytes;
};

static bool keep_b(void *arg, const char *name, int64_t bytes)
{
	struct asked *asked = arg;

	asked->count++;
	asked->bytes += bytes;
	return strncmp(name, "bb", 2) != 0;
}

static void who_asks_for_it_decides(void **state)
{
	struct asked asked = { 0 };

	put_old(A, "hello");
	put_old(A ETAG, "tag");
	put_old(B, "hello you");
	put_old(B ETAG, "tag");
	put_file("partial/cc", "young");
	sweep(keep_b, &asked);
	assert_int_equal(asked.count, 4);
	assert_int_equal(asked.bytes, 5 + 3 + 9 + 3);
	assert_false(exists(A));
	assert_false(exists(A ETAG));
	assert_true(exists(B));
	assert_true(exists(B ETAG));
	assert_true(exists("partial/cc"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		in_partial(what_has_come_is_there_the_next_time),
		in_partial(a_validator_is_replaced_and_forgotten),
		in_partial(a_validator_that_cannot_be_sent_is_none),
		in_partial(a_validator_says_nothing_of_no_bytes),
		in_partial(one_that_is_too_long_is_emptied),
		in_partial(who_comes_second_gets_one_of_his_own),
		in_partial(who_waited_long_enough_gets_one_of_his_own),
		in_partial(one_that_has_another_name_is_begun_anew),
		in_partial(what_is_dropped_can_still_be_read),
		in_partial(what_was_never_opened_can_be_dropped_and_closed),
		in_partial(a_link_is_not_followed),
		in_partial(who_waits_finds_what_has_come),
		in_partial(who_waits_for_what_is_dropped_makes_it_anew),
		in_partial(what_is_old_is_swept),
		in_partial(a_validator_without_its_blob_is_swept),
		in_partial(what_is_being_written_is_not_swept),
		in_partial(who_asks_for_it_decides),
	};

	return cmocka_run_group_tests(tests, sandbox_enter, sandbox_leave);
}
