/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/serve/listen.h"

#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cmd/serve/notify.h"
#include "driver/base/auto.h"
#include "tests/unit/kit.h"
#include "tests/unit/sandbox.h"
#include "tests/unit/util.h"
#include <cmocka.h>

#define LISTEN_FD 3 /* the first that systemd passes */

static bool answers(const char *path)
{
	auto_close int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	(void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	return connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0;
}

static int must_listen(const char *path, struct listen_name *ret_name)
{
	struct err err = { 0 };
	int fd = listen_unix(path, ret_name, &err);

	if (fd < 0)
		fail_msg("%s", err.text);
	return fd;
}

static void only_the_owner_may_connect_whatever_the_umask_is(void **state)
{
	struct listen_name name;
	auto_close int fd = -EBADF;
	struct stat st;

	(void)umask(0);
	fd = must_listen("run/of/it.sock", &name);
	(void)umask(022);
	st = look("run/of/it.sock");
	assert_true(S_ISSOCK(st.st_mode));
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(look("run/of").st_mode & 07777, 0755);
	assert_int_equal(st.st_ino, name.ino);
	assert_true(answers("run/of/it.sock"));
	assert_int_equal(kit_names("run/of"), 1);
	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
}

static void what_a_dead_server_left_is_replaced(void **state)
{
	struct listen_name first, second;
	int fd = must_listen("s", &first);

	(void)close(fd);
	assert_false(answers("s"));
	fd = must_listen("s", &second);
	assert_true(answers("s"));
	assert_int_equal(kit_names("."), 1);
	(void)close(fd);
}

static void a_server_that_lives_is_not(void **state)
{
	struct listen_name name, other = { 1, 2 };
	auto_close int fd = must_listen("s", &name);
	struct err err = { 0 };

	assert_int_equal(listen_unix("s", &other, &err), -EADDRINUSE);
	assert_words(&err, "s is being served already; stop it first or choose another path");
	assert_int_equal(other.dev, 1);
	assert_true(answers("s"));
	assert_int_equal(look("s").st_ino, name.ino);
	assert_int_equal(kit_names("."), 1);
}

static void a_socket_of_another_kind_lives_too(void **state)
{
	auto_close int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct sockaddr_un address = { AF_UNIX, "s" };
	struct listen_name name;

	assert_int_equal(bind(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen_unix("s", &name, NULL), -EADDRINUSE);
}

static void what_is_no_socket_stays(void **state)
{
	struct listen_name name;
	struct err err = { 0 };

	put_file("file", "precious");
	assert_int_equal(listen_unix("file", &name, &err), -EEXIST);
	assert_words(&err, "no socket");
	assert_contents("file", "precious");
	put_dir("dir");
	assert_int_equal(listen_unix("dir", &name, &err), -EEXIST);
	assert_int_equal(symlink("nowhere", "link"), 0);
	assert_int_equal(listen_unix("link", &name, &err), -EEXIST);
	assert_int_equal(listen_unix("file/s", &name, &err), -ENOTDIR);
	assert_int_equal(listen_unix("dir/", &name, &err), -EINVAL);
	assert_int_equal(listen_unix("", &name, &err), -EINVAL);
	assert_int_equal(kit_names("."), 3);
}

static void a_path_that_is_too_long_is_said_to_be(void **state)
{
	char path[256];
	struct listen_name name;
	struct err err = { 0 };
	int fd;

	memset(path, 'x', sizeof(path));
	path[108] = '\0';
	assert_int_equal(listen_unix(path, &name, &err), -ENAMETOOLONG);
	assert_words(&err, "at most 107 bytes long: 1 too many");
	path[107] = '\0';
	fd = must_listen(path, &name);
	assert_true(answers(path));
	(void)close(fd);
}

static void only_our_own_name_is_removed(void **state)
{
	struct listen_name first, second;
	auto_close int fd = must_listen("s", &first), again = -EBADF;

	listen_remove("s", &first);
	assert_false(exists("s"));
	listen_remove("s", &first);
	again = must_listen("s", &second);
	listen_remove("s", &first);
	assert_true(exists("s"));
	listen_remove("s", &second);
	assert_false(exists("s"));
	put_file("s", "");
	listen_remove("s", &second);
	assert_true(exists("s"));
}

struct race {
	int fd;
	pthread_t thread;
};

static void *race(void *arg)
{
	struct listen_name name;

	((struct race *)arg)->fd = listen_unix("s", &name, NULL);
	return NULL;
}

static void of_many_who_replace_it_one_serves(void **state)
{
	for (int round = 0; round < 50; round++) {
		struct race races[4];
		struct listen_name name;
		size_t won = 0;

		(void)close(must_listen("s", &name));
		for (size_t i = 0; i < ARRAY_LEN(races); i++)
			assert_int_equal(pthread_create(&races[i].thread, NULL, race, &races[i]),
					 0);
		for (size_t i = 0; i < ARRAY_LEN(races); i++)
			(void)pthread_join(races[i].thread, NULL);
		for (size_t i = 0; i < ARRAY_LEN(races); i++)
			won += races[i].fd >= 0;
		assert_int_equal(won, 1);
		assert_true(answers("s"));
		for (size_t i = 0; i < ARRAY_LEN(races); i++)
			auto_close_fn(&races[i].fd);
		assert_int_equal(kit_names("."), 1);
		assert_int_equal(unlink("s"), 0);
	}
}

/* ---- systemd ---- */

static void nobody_is_told_where_nobody_asks(void **state)
{
	struct notify_sockets sockets = { .count = 7 };

	(void)unsetenv("NOTIFY_SOCKET");
	(void)unsetenv("LISTEN_FDS");
	assert_int_equal(notify("READY=1", NULL), 0);
	assert_int_equal(notify_take_sockets(&sockets, NULL), 0);
	assert_int_equal(sockets.count, 0);
	assert_int_equal(notify_find(&sockets, "/x"), -ENOENT);
	notify_sockets_release(&sockets);
}

static void systemd_hears_that_it_is_ready(void **state)
{
	auto_close int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct err err = { 0 };
	char said[64] = "";

	(void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", sandbox_path("notify"));
	assert_int_equal(bind(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
	(void)setenv("NOTIFY_SOCKET", address.sun_path, 1);
	assert_int_equal(notify("READY=1\nSTATUS=serves", &err), 0);
	assert_int_equal(recv(fd, said, sizeof(said) - 1, MSG_DONTWAIT), 21);
	assert_string_equal(said, "READY=1\nSTATUS=serves");
	(void)setenv("NOTIFY_SOCKET", sandbox_path("nobody"), 1);
	assert_true(notify("READY=1", &err) < 0);
	assert_words(&err, "tell systemd");
	(void)unsetenv("NOTIFY_SOCKET");
}

/* In a process of its own, as the numbers of descriptors are systemd's to choose. */
static int take_passed(void)
{
	struct notify_sockets sockets;
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	char pid[16];
	int fd = socket(AF_UNIX, SOCK_STREAM, 0), other;

	(void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", sandbox_path("passed"));
	if (bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0 || listen(fd, 1) < 0)
		return 10;
	other = socket(AF_UNIX, SOCK_DGRAM, 0);
	(void)dup2(fd, 50);
	(void)dup2(other, 51);
	(void)dup2(51, LISTEN_FD);
	(void)dup2(50, LISTEN_FD + 1);
	(void)snprintf(pid, sizeof(pid), "%d", (int)getpid());
	(void)setenv("LISTEN_PID", pid, 1);
	(void)setenv("LISTEN_FDS", "2", 1);
	(void)setenv("LISTEN_FDNAMES", "odd:api", 1);
	if (notify_take_sockets(&sockets, NULL) < 0 || sockets.count != 2)
		return 11;
	if (strcmp(sockets.names[0], "odd") != 0 || strcmp(sockets.names[1], "api") != 0)
		return 12;
	if (getenv("LISTEN_FDS") || !(fcntl(LISTEN_FD + 1, F_GETFD) & FD_CLOEXEC))
		return 13;
	if (notify_find(&sockets, "/other") != -ENOENT)
		return 14;
	if (notify_find(&sockets, address.sun_path) != LISTEN_FD + 1 ||
	    notify_find(&sockets, address.sun_path) != -ENOENT)
		return 15;
	notify_sockets_release(&sockets);
	return fcntl(LISTEN_FD, F_GETFD) < 0 && fcntl(LISTEN_FD + 1, F_GETFD) >= 0 ? 0 : 16;
}

static void a_socket_that_was_passed_is_found_by_its_path(void **state)
{
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0)
		_exit(take_passed());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		sandbox_test(only_the_owner_may_connect_whatever_the_umask_is),
		sandbox_test(what_a_dead_server_left_is_replaced),
		sandbox_test(a_server_that_lives_is_not),
		sandbox_test(a_socket_of_another_kind_lives_too),
		sandbox_test(what_is_no_socket_stays),
		sandbox_test(a_path_that_is_too_long_is_said_to_be),
		sandbox_test(only_our_own_name_is_removed),
		sandbox_test(of_many_who_replace_it_one_serves),
		sandbox_test(nobody_is_told_where_nobody_asks),
		sandbox_test(systemd_hears_that_it_is_ready),
		sandbox_test(a_socket_that_was_passed_is_found_by_its_path),
	};

	(void)alarm(600);
	return cmocka_run_group_tests(tests, sandbox_enter, sandbox_leave);
}
