/* SPDX-License-Identifier: Apache-2.0 */
#include "graph/fetch/credentials.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <cmocka.h>

#include "driver/base/base64.h"
#include "tests/unit/sandbox.h"

/* All files are looked for in the sandbox, all helpers in its bin. */
static int start(void **state)
{
	static const struct {
		const char *variable, *path;
	} places[] = { { "HOME", "home" },
		       { "XDG_RUNTIME_DIR", "run" },
		       { "XDG_CONFIG_HOME", "config" },
		       { "DOCKER_CONFIG", "docker" } };
	char path[4200];

	if (sandbox_start(state) < 0)
		return -1;
	for (size_t i = 0; i < ARRAY_LEN(places); i++)
		(void)setenv(places[i].variable, sandbox_path(places[i].path), 1);
	(void)unsetenv("REGISTRY_AUTH_FILE");
	(void)snprintf(path, sizeof(path), "%s:/usr/bin:/bin", sandbox_path("bin"));
	(void)setenv("PATH", path, 1);
	return 0;
}

#define in_a_home(f) cmocka_unit_test_setup_teardown(f, start, sandbox_clean)

static void put_helper(const char *name, const char *script)
{
	char path[100];
	auto_free char *text = NULL;

	(void)snprintf(path, sizeof(path), "bin/docker-credential-%s", name);
	assert_true(asprintf(&text, "#!/bin/sh\n%s\n", script) > 0);
	put_file(path, text);
	assert_int_equal(chmod(path, 0755), 0);
}

static void assert_found(const char *authfile, const char *host, const char *repository,
			 const char *user, const char *secret, const char *source)
{
	auto_credentials struct credentials c = { 0 };
	struct err err = { 0 };
	int r = credentials_find(authfile, host, repository, &c, &err);

	if (r != 1)
		fail_msg("%s/%s: %d %s", host, repository, r, err.text);
	assert_string_equal(c.user, user);
	assert_string_equal(c.secret, secret);
	if (!strstr(c.source, source))
		fail_msg("%s is not from %s", c.source, source);
}

static void assert_none(const char *host, const char *repository)
{
	auto_credentials struct credentials c = { 0 };
	struct err err = { 0 };

	if (credentials_find(NULL, host, repository, &c, &err) != 0)
		fail_msg("%s/%s: %s %s", host, repository, c.source, err.text);
}

static void assert_failure(int code, const char *words)
{
	auto_credentials struct credentials c = { 0 };
	struct err err = { 0 };

	assert_int_equal(credentials_find(NULL, "h", "r", &c, &err), code);
	if (!strstr(err.text, words))
		fail_msg("'%s' is not in: %s", words, err.text);
	assert_null(c.secret);
}

/* dTpw is u:p, YTpi is a:b, Yzpk is c:d. */

static void base64_is_strict(void **state)
{
	static const char *const bad[] = { "Y",	     "YQ",   "YQ=",   "YR==", "YWE=YQ==",
					   "YQ==\n", "Y Q=", "=",     "====", "YWF=",
					   "Y===",   "-_-_", "YWJj\n" };
	auto_buf struct buf out = { 0 };

	for (size_t len = 0; len < 100; len++) {
		auto_buf struct buf text = { 0 }, back = { 0 };
		unsigned char data[100];

		for (size_t i = 0; i < len; i++)
			data[i] = (unsigned char)(i * 37 + len * 11);
		assert_int_equal(base64_encode(data, len, &text), 0);
		assert_int_equal(text.len, (len + 2) / 3 * 4);
		assert_int_equal(base64_decode(buf_text(&text), &back, NULL), 0);
		assert_int_equal(back.len, len);
		assert_memory_equal(buf_text(&back), data, len);
	}
	assert_int_equal(base64_encode("u:p", 3, &out), 0);
	assert_string_equal(buf_text(&out), "dTpw");
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		if (base64_decode(bad[i], &out, NULL) != -EINVAL)
			fail_msg("taken: %s", bad[i]);
		assert_string_equal(buf_text(&out), "dTpw");
	}
}

static void the_command_line_says_user_and_password(void **state)
{
	auto_credentials struct credentials c = { 0 }, none = { 0 };

	assert_int_equal(credentials_parse("me:a:b", &c, NULL), 0);
	assert_string_equal(c.user, "me");
	assert_string_equal(c.secret, "a:b");
	assert_int_equal(credentials_parse("me", &none, NULL), -EINVAL);
	assert_int_equal(credentials_parse(":x", &none, NULL), -EINVAL);
	assert_null(none.source);
}

static void the_most_specific_key_counts(void **state)
{
	put_file("run/containers/auth.json",
		 "{\"auths\":{\"h:5000\":{\"auth\":\"dTpw\"},\"h:5000/a\":{\"auth\":\"YTpi\"},"
		 "\"h:5000/a/b/c\":{\"auth\":\"Yzpk\"}}}");
	assert_found(NULL, "h:5000", "a/b/c", "c", "d", "run/containers/auth.json");
	assert_found(NULL, "h:5000", "a/b", "a", "b", "auth.json");
	assert_found(NULL, "h:5000", "ab", "u", "p", "auth.json");
	assert_none("h", "a");
	assert_none("h:5001", "a");
}

static void files_are_asked_in_their_order(void **state)
{
	put_file("docker/config.json",
		 "{\"auths\":{\"h\":{\"auth\":\"dTpw\"},\"i\":{\"auth\":\"dTpw\"}}}");
	assert_found(NULL, "h", "x", "u", "p", "docker/config.json");
	put_file("config/containers/auth.json", "{\"auths\":{\"h\":{\"auth\":\"YTpi\"}}}");
	assert_found(NULL, "h", "x", "a", "b", "config/containers/auth.json");
	put_file("run/containers/auth.json", "{\"auths\":{\"h\":{\"auth\":\"Yzpk\"}}}");
	assert_found(NULL, "h", "x", "c", "d", "run/containers/auth.json");
	assert_found(NULL, "i", "x", "u", "p", "docker/config.json");
	put_file("own", "{\"auths\":{\"h\":{\"auth\":\"eDp5\"}}}");
	assert_found("own", "h", "x", "x", "y", "own");
	(void)setenv("REGISTRY_AUTH_FILE", sandbox_path("own"), 1);
	assert_found(NULL, "h", "x", "x", "y", "own");
	assert_none("i", "x");
}

static void the_old_names_of_docker_hub_are_one(void **state)
{
	static const char *const keys[] = { "docker.io", "index.docker.io",
					    "https://index.docker.io/v1/", "registry-1.docker.io",
					    "http://index.docker.io" };
	char text[200];

	for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
		(void)snprintf(text, sizeof(text), "{\"auths\":{\"%s\":{\"auth\":\"dTpw\"}}}",
			       keys[i]);
		put_file("docker/config.json", text);
		assert_found(NULL, "docker.io", "library/nginx", "u", "p", "config.json");
		assert_none("docker.io.example", "nginx");
	}
	put_file("docker/config.json", "{\"auths\":{\"https://quay.io/v2/\":{\"auth\":\"dTpw\"}}}");
	assert_found(NULL, "quay.io", "a/b", "u", "p", "config.json");
}

static void entries_have_several_forms(void **state)
{
	auto_credentials struct credentials c = { 0 };

	put_file("docker/config.json",
		 "{\"auths\":{\"t\":{\"auth\":\"dTpw\",\"identitytoken\":\"tok\"},\"e\":{},"
		 "\"n\":{\"username\":\"me\",\"password\":\"pw\"},\"w\":{\"auth\":\"dTo=\"}}}");
	assert_int_equal(credentials_find(NULL, "t", "x", &c, NULL), 1);
	assert_true(c.identity_token);
	assert_string_equal(c.secret, "tok");
	assert_none("e", "x");
	assert_found(NULL, "n", "x", "me", "pw", "config.json");
	assert_found(NULL, "w", "x", "u", "", "config.json");
}

static void helpers_are_asked(void **state)
{
	put_helper("one", "url=$(cat); [ \"$1\" = get ] && "
			  "printf '{\"Username\":\"me\",\"Secret\":\"for %s\"}' \"$url\"");
	put_helper("none", "echo 'credentials not found in native keychain'; exit 1");
	put_helper("token", "cat >/dev/null; echo '{\"Username\":\"<token>\",\"Secret\":\"t\"}'");
	put_file("docker/config.json",
		 "{\"credsStore\":\"one\",\"credHelpers\":{\"g\":\"none\",\"i\":\"token\"},"
		 "\"auths\":{\"g\":{\"auth\":\"dTpw\"},\"k\":{}}}");
	assert_found(NULL, "h", "x", "me", "for h", "docker-credential-one");
	assert_found(NULL, "k", "x", "me", "for k", "docker-credential-one");
	assert_found(NULL, "docker.io", "x", "me", "for https://index.docker.io/v1/", "one");
	assert_found(NULL, "g", "x", "u", "p", "config.json");
	assert_found(NULL, "i", "x", "", "t", "docker-credential-token");
}

static void helpers_that_fail_are_named(void **state)
{
	static const struct {
		const char *script, *words;
	} bad[] = { { "echo locked; exit 3", "docker-credential-bad get failed: locked" },
		    { "echo nonsense", "docker-credential-bad: its answer" },
		    { "echo '{\"Username\":1,\"Secret\":\"x\"}'", "/Username" },
		    { "while :; do echo aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa; done",
		      "what docker-credential-bad writes" },
		    { "kill -9 $$", "docker-credential-bad get failed" } };

	put_file("docker/config.json", "{\"credHelpers\":{\"h\":\"bad\"}}");
	assert_failure(-ENOENT, "docker-credential-bad is not installed");
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		auto_credentials struct credentials c = { 0 };
		struct err err = { 0 };

		put_helper("bad", bad[i].script);
		assert_true(credentials_find(NULL, "h", "r", &c, &err) < 0);
		if (!strstr(err.text, bad[i].words) || !strstr(err.text, "docker/config.json"))
			fail_msg("'%s' is not in: %s", bad[i].words, err.text);
	}
	put_file("docker/config.json", "{\"credHelpers\":{\"h\":\"../../bin/evil\"}}");
	assert_failure(-EINVAL, "no name of a credential helper");
}

static void a_helper_need_not_read(void **state)
{
	put_helper("deaf", "exec 0<&-; echo '{\"Username\":\"u\",\"Secret\":\"p\"}'");
	put_file("docker/config.json", "{\"credHelpers\":{\"h\":\"deaf\"}}");
	assert_found(NULL, "h", "x", "u", "p", "deaf");
}

static void bad_files_are_named(void **state)
{
	put_file("docker/config.json", "{\"auths\":{\"h\":{\"auth\":\"*\"}}}");
	assert_failure(-EINVAL, "docker/config.json: \"auth\": it is not base64");
	put_file("docker/config.json", "{\"auths\":{\"h\":{\"auth\":\"dQ==\"}}}");
	assert_failure(-EINVAL, "\"auth\": it is not USER:PASSWORD");
	put_file("docker/config.json", "not json");
	assert_failure(-EINVAL, "docker/config.json");
	put_file("docker/config.json", " \n");
	assert_none("h", "x");
	put_file("docker/config.json", "{\"auths\":[],\"credHelpers\":3}");
	assert_none("h", "x");
	(void)setenv("REGISTRY_AUTH_FILE", sandbox_path("missing"), 1);
	assert_failure(-ENOENT, "the authentication file");
}

static void what_is_stored_is_found_and_forgotten(void **state)
{
	auto_free char *path = NULL, *again = NULL, *gone = NULL, *never = NULL;
	struct stat st;

	put_file("run/containers/auth.json",
		 "{\"auths\":{\"other\":{\"auth\":\"YTpi\"}},\"kept\":[1]}");
	assert_int_equal(credentials_store(NULL, "h:1", "me", "s\"e:c\xc3\xa9", &path, NULL), 0);
	assert_string_equal(path, sandbox_path("run/containers/auth.json"));
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_found(NULL, "h:1", "x", "me", "s\"e:c\xc3\xa9", "auth.json");
	assert_int_equal(credentials_store(NULL, "h:1", "you", "two", &again, NULL), 0);
	assert_found(NULL, "h:1", "x", "you", "two", "auth.json");
	assert_found(NULL, "other", "x", "a", "b", "auth.json");
	assert_int_equal(credentials_forget(NULL, "h:1", &gone, NULL), 1);
	assert_none("h:1", "x");
	assert_int_equal(credentials_forget(NULL, "h:1", &never, NULL), 0);
	assert_found(NULL, "other", "x", "a", "b", "auth.json");
	assert_contents(
		"run/containers/auth.json",
		"{\n        \"auths\": {\n                \"other\": {\n                        "
		"\"auth\": \"YTpi\"\n                }\n        },\n        \"kept\": [\n                1\n"
		"        ]\n}\n");
}

static void a_store_makes_its_file(void **state)
{
	auto_free char *path = NULL, *other = NULL;
	struct err err = { 0 };

	assert_int_equal(credentials_store("new/deep/auth.json", "h", "u", "p", &path, &err), 0);
	assert_found("new/deep/auth.json", "h", "x", "u", "p", "new/deep/auth.json");
	assert_int_equal(credentials_store("new", "h", "a:b", "p", &other, &err), -EINVAL);
	assert_null(other);
}

static void helpers_store_and_erase(void **state)
{
	auto_free char *path = NULL, *gone = NULL;

	put_helper("keep", "case $1 in store) cat >stored;; erase) cat >erased;; esac");
	put_file("run/containers/auth.json", "{\"credHelpers\":{\"h\":\"keep\"}}");
	assert_int_equal(credentials_store(NULL, "h", "u", "p", &path, NULL), 0);
	assert_contents("stored", "{\"ServerURL\":\"h\",\"Username\":\"u\",\"Secret\":\"p\"}");
	assert_contents("run/containers/auth.json", "{\"credHelpers\":{\"h\":\"keep\"}}");
	assert_int_equal(credentials_forget(NULL, "h", &gone, NULL), 1);
	assert_contents("erased", "h");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(base64_is_strict),
		cmocka_unit_test(the_command_line_says_user_and_password),
		in_a_home(the_most_specific_key_counts),
		in_a_home(files_are_asked_in_their_order),
		in_a_home(the_old_names_of_docker_hub_are_one),
		in_a_home(entries_have_several_forms),
		in_a_home(helpers_are_asked),
		in_a_home(helpers_that_fail_are_named),
		in_a_home(a_helper_need_not_read),
		in_a_home(bad_files_are_named),
		in_a_home(what_is_stored_is_found_and_forgotten),
		in_a_home(a_store_makes_its_file),
		in_a_home(helpers_store_and_erase),
	};

	return cmocka_run_group_tests(tests, sandbox_enter, sandbox_leave);
}
