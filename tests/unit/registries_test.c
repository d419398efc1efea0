/* SPDX-License-Identifier: Apache-2.0 */
#include "graph/fetch/registries.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "driver/base/buf.h"
#include "tests/unit/sandbox.h"
#include "tests/unit/util.h"

#define CONF	   "etc/containers/registries.conf"
#define DROPIN	   "etc/containers/registries.conf.d/"
#define HOME_CONF  "home/.config/containers/registries.conf"
#define CONTAINERD "etc/containerd/certs.d/"
#define DOCKER	   "etc/docker/certs.d/"
#define CERTS	   "etc/containers/certs.d/"

static struct registries_options options;

/* /etc and the home directory are the sandbox's. */
static int start(void **state)
{
	if (sandbox_start(state) < 0)
		return -1;
	(void)setenv("HOME", "/home", 1);
	(void)unsetenv("XDG_CONFIG_HOME");
	(void)unsetenv("CONTAINERS_REGISTRIES_CONF");
	options = (struct registries_options){ .prefix = sandbox_root() };
	return 0;
}

#define in_a_home(f) cmocka_unit_test_setup_teardown(f, start, sandbox_clean)

/* ---- endpoints as text ---- */

/* Names in the sandbox as if it were the root. */
static const char *outside(const char *path)
{
	size_t len = strlen(sandbox_root());

	return strncmp(path, sandbox_root(), len) == 0 && path[len] == '/' ? path + len : path;
}

/* "https HOST PATH REPOSITORY for REGISTRY", then what is not as with most. */
static void describe(const struct endpoint *e, struct buf *text)
{
	static const char *const schemes[] = {
		[ENDPOINT_HTTPS] = "https", [ENDPOINT_HTTP] = "http", [ENDPOINT_EITHER] = "either"
	};

	(void)buf_printf(text, "%s %s %s %s for %s", schemes[e->scheme], e->host, e->path,
			 e->repository, e->registry);
	if (e->mirror)
		(void)buf_puts(text, ", mirror");
	if (e->namespace)
		(void)buf_printf(text, " of %s", e->namespace);
	if (!e->for_tags)
		(void)buf_puts(text, ", no tags");
	if (!e->for_digests)
		(void)buf_puts(text, ", no digests");
	if (!e->for_blobs)
		(void)buf_puts(text, ", no blobs");
	if (e->skip_verify)
		(void)buf_puts(text, ", unverified");
	for (size_t i = 0; i < e->ca_count; i++)
		(void)buf_printf(text, ", ca %s", outside(e->ca_files[i]));
	if (e->client_cert)
		(void)buf_printf(text, ", cert %s", outside(e->client_cert));
	if (e->client_key)
		(void)buf_printf(text, ", key %s", outside(e->client_key));
	for (size_t i = 0; i < e->header_count; i++)
		(void)buf_printf(text, ", header %s", e->headers[i]);
	(void)buf_putc(text, '\n');
}

static void assert_found(const char *name, const char *expected)
{
	auto_registries struct registries *registries = NULL;
	auto_endpoints struct endpoints found = { 0 };
	auto_buf struct buf text = { 0 };
	struct err err = { 0 };
	int r = registries_open(&options, &registries, &err);

	if (r == 0)
		r = registries_find(registries, name, &found, &err);
	if (r != 0)
		fail_msg("%s: %d %s", name, r, err.text);
	for (size_t i = 0; i < found.count; i++)
		describe(&found.items[i], &text);
	assert_string_equal(buf_text(&text), expected);
}

static void assert_not_found(const char *name, int code, const char *words)
{
	auto_registries struct registries *registries = NULL;
	struct endpoints found = { 0 };
	struct err err = { 0 };

	assert_int_equal(registries_open(&options, &registries, &err), 0);
	assert_int_equal(registries_find(registries, name, &found, &err), code);
	assert_null(found.items);
	assert_words(&err, words);
}

static void assert_not_opened(int code, const char *words)
{
	struct registries *registries = NULL;
	struct err err = { 0 };
	int r = registries_open(&options, &registries, &err);

	if (r != code)
		fail_msg("%d, not %d; '%s': %s", r, code, words, err.text);
	assert_null(registries);
	assert_words(&err, words);
}

/* Joined by blanks. */
static void assert_candidates(const char *name, const char *expected)
{
	auto_registries struct registries *registries = NULL;
	auto_buf struct buf text = { 0 };
	char **candidates = NULL;
	struct err err = { 0 };
	int r = registries_open(&options, &registries, &err);

	if (r == 0)
		r = registries_candidates(registries, name, &candidates, &err);
	if (r != 0)
		fail_msg("%s: %d %s", name, r, err.text);
	for (size_t i = 0; candidates && candidates[i]; i++) {
		(void)buf_printf(&text, "%s%s", i ? " " : "", candidates[i]);
		free(candidates[i]);
	}
	free(candidates);
	assert_string_equal(buf_text(&text), expected);
}

/* ---- without configuration ---- */

static void what_is_not_configured_is_https(void **state)
{
	assert_found("docker.io/library/nginx",
		     "https registry-1.docker.io /v2 library/nginx for docker.io\n");
	assert_found("quay.io/team/app:1@sha256:0", "https quay.io /v2 team/app for quay.io\n");
	assert_found("reg.example.com:5000/a/b/c",
		     "https reg.example.com:5000 /v2 a/b/c for reg.example.com:5000\n");
	assert_found("localhost:5000/a", "either localhost:5000 /v2 a for localhost:5000\n");
	assert_found("[::1]:80/a", "either [::1]:80 /v2 a for [::1]:80\n");
	assert_candidates("nginx", "docker.io/library/nginx");
	assert_candidates("team/app", "docker.io/team/app");
	assert_candidates("quay.io/team/app", "quay.io/team/app");
	assert_candidates("docker.io/nginx", "docker.io/library/nginx");
}

static void names_that_are_none_are_refused(void **state)
{
	static const char *const names[] = { "",	  "nginx",     "docker.io/", "docker.io",
					     "../x/y",	  "quay.io/A", "/a",	     "quay.io/../a",
					     "a b.c/x",	  "[::1/a",    ":80/a",	     "h:port/a",
					     "h:123456/a" };

	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		assert_not_found(names[i], -EINVAL, "names no repository");
}

static void loopback_is_known(void **state)
{
	static const char *const yes[] = { "localhost",	     "LOCALHOST:1", "127.0.0.1",
					   "127.1.2.3:5000", "[::1]",	    "[::1]:80" };
	static const char *const no[] = { "",
					  "localhost.example.com",
					  "128.0.0.1",
					  "127.1",
					  "[::2]",
					  "[::1",
					  "[::1]x",
					  "10.0.0.1:127",
					  "local",
					  "mylocalhost",
					  "127.0.0.1.example.com" };

	for (size_t i = 0; i < ARRAY_LEN(yes); i++)
		if (!registries_is_loopback(yes[i]))
			fail_msg("%s", yes[i]);
	for (size_t i = 0; i < ARRAY_LEN(no); i++)
		if (registries_is_loopback(no[i]))
			fail_msg("%s", no[i]);
}

/* ---- [[registry]] ---- */

static void the_longest_prefix_counts(void **state)
{
	put_file(CONF, "[[registry]]\nprefix = 'h.io/a/b'\nlocation = 'one.io'\n"
		       "[[registry]]\nprefix = 'h.io'\nlocation = 'two.io/x/'\n"
		       "[[registry]]\nprefix = 'h.io/a/b'\nlocation = 'late.io'\n"
		       "[[registry]]\nprefix = 'h.io/a/'\nlocation = 'three.io:5000/y'\n");
	assert_found("h.io/a/b/c", "https one.io /v2 c for one.io\n");
	assert_found("h.io/a/bc", "https three.io:5000 /v2 y/bc for three.io:5000\n");
	assert_found("h.io/ab", "https two.io /v2 x/ab for two.io\n");
	assert_found("h.io:443/a/b/c", "https h.io:443 /v2 a/b/c for h.io:443\n");
	assert_found("h.io.net/a/b/c", "https h.io.net /v2 a/b/c for h.io.net\n");
	assert_found("sub.h.io/a", "https sub.h.io /v2 a for sub.h.io\n");
}

static void a_location_may_be_the_prefix(void **state)
{
	put_file(CONF, "[[registry]]\nlocation = 'h.io/a'\ninsecure = true\n"
		       "[[registry]]\nprefix = ''\nlocation = 'i.io'\ninsecure = true\n"
		       "[[registry]]\nprefix = 'j.io'\nlocation = ''\ninsecure = true\n");
	assert_found("h.io/a/b", "either h.io /v2 a/b for h.io, unverified\n");
	assert_found("h.io/b", "https h.io /v2 b for h.io\n");
	assert_found("i.io/b", "either i.io /v2 b for i.io, unverified\n");
	assert_found("j.io/b", "either j.io /v2 b for j.io, unverified\n");
}

static void locations_have_ports_and_paths(void **state)
{
	put_file(CONF, "[[registry]]\nprefix = 'h.io/app'\nlocation = 'localhost:5000/deep/er'\n"
		       "[[registry]]\nprefix = 'hub.io'\nlocation = 'docker.io'\n"
		       "[[registry]]\nprefix = 'one.io/only'\nlocation = 'two.io'\n"
		       "[[registry]]\nprefix = 'c.io'\nlocation = 'my_mirror/x'\n");
	assert_found("h.io/app", "either localhost:5000 /v2 deep/er for localhost:5000\n");
	assert_found("h.io/app/x", "either localhost:5000 /v2 deep/er/x for localhost:5000\n");
	assert_found("hub.io/nginx",
		     "https registry-1.docker.io /v2 library/nginx for docker.io\n");
	assert_found("c.io/a", "https my_mirror /v2 x/a for my_mirror\n");
	assert_not_found("one.io/only", -EINVAL, CONF ": the location \"two.io\" makes no");
}

static void a_prefix_may_have_a_tag_or_digest(void **state)
{
	put_file(CONF,
		 "[[registry]]\nprefix = 'docker.io/library/nginx:1.27'\n"
		 "location = 'pinned.io/nginx'\n"
		 "[[registry]]\nprefix = 'docker.io/library/nginx@sha256:bad'\nblocked = true\n");
	assert_found("docker.io/library/nginx:1.27", "https pinned.io /v2 nginx for pinned.io\n");
	assert_found("docker.io/library/nginx:1.27@sha256:bad",
		     "https pinned.io /v2 nginx for pinned.io\n");
	assert_found("docker.io/library/nginx:1.2",
		     "https registry-1.docker.io /v2 library/nginx for docker.io\n");
	assert_found("docker.io/library/nginx:1.27.1",
		     "https registry-1.docker.io /v2 library/nginx for docker.io\n");
	assert_not_found("docker.io/library/nginx@sha256:bad", -EPERM, CONF);
}

static void wildcards_are_subdomains(void **state)
{
	put_file(CONF, "[[registry]]\nprefix = '*.example.com'\ninsecure = true\n"
		       "[[registry.mirror]]\nlocation = 'm.io/proxy'\n"
		       "[[registry]]\nprefix = 'b.example.com'\n"
		       "[[registry]]\nprefix = '*.deep.example.com'\nlocation = 'd.io'\n");
	assert_found("a.example.com/x/y",
		     "https m.io /v2 proxy/x/y for m.io, mirror\n"
		     "either a.example.com /v2 x/y for a.example.com, unverified\n");
	assert_found("a.c.example.com:5000/x",
		     "https m.io /v2 proxy/x for m.io, mirror\n"
		     "either a.c.example.com:5000 /v2 x for a.c.example.com:5000, unverified\n");
	assert_found("b.example.com/x", "https b.example.com /v2 x for b.example.com\n");
	assert_found("a.deep.example.com/x", "https d.io /v2 x for d.io\n");
	assert_found("example.com/x", "https example.com /v2 x for example.com\n");
	assert_found("a.example.com.net/x",
		     "https a.example.com.net /v2 x for a.example.com.net\n");
	assert_found("h.io/a.example.com", "https h.io /v2 a.example.com for h.io\n");
}

static void mirrors_come_first(void **state)
{
	put_file(CONF, "[[registry]]\nprefix = 'docker.io'\n"
		       "[[registry.mirror]]\nlocation = 'm1.io:5000/hub'\ninsecure = true\n"
		       "[[registry.mirror]]\nlocation = 'm2.io'\npull-from-mirror = 'digest-only'\n"
		       "[[registry.mirror]]\nlocation = 'm3.io'\npull-from-mirror = 'tag-only'\n"
		       "[[registry.mirror]]\nlocation = 'm4.io'\npull-from-mirror = 'all'\n"
		       "[[registry]]\nlocation = 'd.io'\nmirror-by-digest-only = true\n"
		       "[[registry.mirror]]\nlocation = 'm5.io/d'\n");
	assert_found("docker.io/library/nginx",
		     "either m1.io:5000 /v2 hub/library/nginx for m1.io:5000, mirror, unverified\n"
		     "https m2.io /v2 library/nginx for m2.io, mirror, no tags\n"
		     "https m3.io /v2 library/nginx for m3.io, mirror, no digests\n"
		     "https m4.io /v2 library/nginx for m4.io, mirror\n"
		     "https registry-1.docker.io /v2 library/nginx for docker.io\n");
	assert_found("d.io/x", "https m5.io /v2 d/x for m5.io, mirror, no tags\n"
			       "https d.io /v2 x for d.io\n");
}

static void what_is_blocked_is_not_asked(void **state)
{
	put_file(CONF, "[[registry]]\nprefix = 'h.io'\nblocked = true\n"
		       "[[registry]]\nprefix = 'h.io/ours'\n");
	put_file(DROPIN "z.conf", "[[registry]]\nprefix = 'docker.io/evil'\nblocked = true\n");
	assert_not_found("h.io/a", -EPERM, "h.io/a is blocked by \"h.io\" in ");
	assert_not_found("docker.io/evil/a", -EPERM, DROPIN "z.conf");
	assert_found("h.io/ours/a", "https h.io /v2 ours/a for h.io\n");
}

/* As many mirrors as there are numbers, of "docker.io". */
static void put_mirrors(size_t count)
{
	auto_buf struct buf text = { 0 };

	(void)buf_puts(&text, "[[registry]]\nprefix = 'docker.io'\n");
	for (size_t i = 0; i < count; i++)
		(void)buf_printf(&text, "[[registry.mirror]]\nlocation = 'm%zu.io'\n", i);
	put_file(CONF, buf_text(&text));
}

static void mirrors_are_counted(void **state)
{
	auto_registries struct registries *registries = NULL;
	auto_endpoints struct endpoints found = { 0 };

	put_mirrors(REGISTRIES_MIRRORS_MAX);
	assert_int_equal(registries_open(&options, &registries, NULL), 0);
	assert_int_equal(registries_find(registries, "docker.io/a/b", &found, NULL), 0);
	assert_int_equal(found.count, REGISTRIES_MIRRORS_MAX + 1);
	assert_string_equal(found.items[63].host, "m63.io");
	put_mirrors(REGISTRIES_MIRRORS_MAX + 1);
	assert_not_opened(-EFBIG, "\"docker.io\" has 65 mirrors");
}

/* ---- files ---- */

static void later_files_add_and_replace(void **state)
{
	put_file(CONF, "unqualified-search-registries = ['old.io']\n"
		       "[[registry]]\nlocation = 'a.io'\ninsecure = true\n"
		       "[[registry]]\nlocation = 'b.io'\ninsecure = true\n"
		       "[aliases]\none = 'a.io/one'\ntwo = 'a.io/two'\nthree = 'a.io/three'\n");
	put_file(DROPIN "20.conf", "unqualified-search-registries = ['new.io', 'localhost:1']\n"
				   "[[registry]]\nprefix = 'b.io'\nlocation = 'twenty.io'\n");
	put_file(DROPIN "10.conf", "[[registry]]\nprefix = 'b.io'\nlocation = 'ten.io'\n"
				   "[aliases]\ntwo = 'ten.io/two'\nthree = ''\n");
	put_file(DROPIN "99.conf.off", "this is not TOML");
	put_dir(DROPIN "dir.conf");
	put_file("home/.config/containers/registries.conf.d/1.conf",
		 "[[registry]]\nlocation = 'c.io'\ninsecure = true\n");
	assert_found("a.io/x", "either a.io /v2 x for a.io, unverified\n");
	assert_found("b.io/x", "https twenty.io /v2 x for twenty.io\n");
	assert_found("c.io/x", "either c.io /v2 x for c.io, unverified\n");
	assert_candidates("one", "a.io/one");
	assert_candidates("two", "ten.io/two");
	assert_candidates("three", "new.io/three localhost:1/three");
}

static void the_files_of_the_home_directory_replace_those_of_etc(void **state)
{
	put_file(CONF, "[[registry]]\nlocation = 'a.io'\ninsecure = true\n");
	put_file(DROPIN "a.conf", "[[registry]]\nlocation = 'b.io'\ninsecure = true\n");
	put_file(HOME_CONF, "[[registry]]\nlocation = 'c.io'\ninsecure = true\n");
	put_file("home/.config/containers/registries.conf.d/1.conf",
		 "[[registry]]\nlocation = 'd.io'\ninsecure = true\n");
	assert_found("a.io/x", "https a.io /v2 x for a.io\n");
	assert_found("b.io/x", "https b.io /v2 x for b.io\n");
	assert_found("c.io/x", "either c.io /v2 x for c.io, unverified\n");
	assert_found("d.io/x", "either d.io /v2 x for d.io, unverified\n");
	(void)setenv("XDG_CONFIG_HOME", "/elsewhere", 1);
	assert_found("b.io/x", "either b.io /v2 x for b.io, unverified\n");
	put_file("elsewhere/containers/registries.conf", "");
	assert_found("b.io/x", "https b.io /v2 x for b.io\n");
	(void)unsetenv("XDG_CONFIG_HOME");
	(void)unsetenv("HOME");
	assert_found("b.io/x", "either b.io /v2 x for b.io, unverified\n");
	assert_found("d.io/x", "https d.io /v2 x for d.io\n");
}

static void a_file_that_is_named_counts_alone(void **state)
{
	put_file("named", "[[registry]]\nlocation = 'n.io'\ninsecure = true\n");
	put_file(CONF, "this is not TOML");
	put_file(DROPIN "a.conf", "nor is this");
	(void)setenv("CONTAINERS_REGISTRIES_CONF", sandbox_path("named"), 1);
	assert_found("n.io/x", "either n.io /v2 x for n.io, unverified\n");
	(void)setenv("CONTAINERS_REGISTRIES_CONF", sandbox_path("missing"), 1);
	assert_not_opened(-ENOENT, "missing: No such file");
	(void)setenv("CONTAINERS_REGISTRIES_CONF", "", 1);
	assert_not_opened(-EINVAL, CONF ": line 1");
}

static void bad_files_are_named(void **state)
{
	static const struct {
		const char *text, *words;
	} bad[] = {
		{ "registry", "line 1" },
		{ "[registries.search]\nregistries = ['docker.io']\n", "only version 2" },
		{ "[registries.block]\nregistries = []\n", "only version 2" },
		{ "registry = 1", "registry is no array" },
		{ "registry = [1]", "no array of tables" },
		{ "[registry]\nprefix = 'a.io'", "registry is no array" },
		{ "[[registry]]\ninsecure = true", "neither prefix nor location" },
		{ "[[registry]]\nprefix = 1", "prefix is no string" },
		{ "[[registry]]\nlocation = ['a.io']", "location is no string" },
		{ "[[registry]]\nlocation = 'a.io'\ninsecure = 'true'", "insecure is neither" },
		{ "[[registry]]\nlocation = 'a.io'\nblocked = 1", "blocked is neither" },
		{ "[[registry]]\nlocation = 'a.io'\nmirror = 'm.io'", "mirror is no array" },
		{ "[[registry]]\nlocation = 'a.io'\nmirror = ['m.io']", "no array of tables" },
		{ "[[registry]]\nlocation = 'a.io'\nmirror = [{}]", "has no location" },
		{ "[[registry]]\nlocation = 'a.io'\nmirror = [{location = 1}]", "no string" },
		{ "[[registry]]\nlocation = 'https://a.io'", "may not have a scheme" },
		{ "[[registry]]\nprefix = 'http://a.io'", "may not have a scheme" },
		{ "[[registry]]\nlocation = '/'", "does not begin with a host" },
		{ "[[registry]]\nprefix = 'a.io'\nlocation = 'b.io/../c'", "is no host with" },
		{ "[[registry]]\nprefix = 'a.io'\nlocation = 'b.io/c:tag'", "is no host with" },
		{ "[[registry]]\nprefix = 'a.io'\nlocation = 'b io'", "does not begin with" },
		{ "[[registry]]\nprefix = 'a.io'\nlocation = '*.b.io'", "does not begin with" },
		{ "[[registry]]\nprefix = '*.a.io:5000'", "is not as \"*.example.com\"" },
		{ "[[registry]]\nprefix = '*.a.io/x'", "is not as \"*.example.com\"" },
		{ "[[registry]]\nprefix = '*.'", "is not as \"*.example.com\"" },
		{ "[[registry]]\nprefix = 'a.*.io'", "does not begin with a host" },
		{ "[[registry]]\nprefix = 'a.io'\npull-from-mirror = 'all'", "belongs to a" },
		{ "[[registry]]\nprefix = 'a.io'\n[[registry.mirror]]\nlocation = 'm.io'\n"
		  "pull-from-mirror = 'never'",
		  "\"never\" is none of" },
		{ "[[registry]]\nprefix = 'a.io'\nmirror-by-digest-only = true\n"
		  "[[registry.mirror]]\nlocation = 'm.io'\npull-from-mirror = 'all'",
		  "only one of them" },
		{ "unqualified-search-registries = 'docker.io'", "is no array" },
		{ "unqualified-search-registries = [1]", "no array of strings" },
		{ "unqualified-search-registries = ['mirror']", "\"mirror\" is no host" },
		{ "unqualified-search-registries = ['a.io/x']", "\"a.io/x\" is no host" },
		{ "unqualified-search-registries = ['']", "\"\" is no host" },
		{ "aliases = []", "aliases is no table" },
		{ "[aliases]\na = 1", "a is no string" },
		{ "[aliases]\na = 'nginx'", "\"nginx\" is no name with a registry" },
		{ "[aliases]\na = 'a.io/x:tag'", "\"a.io/x:tag\" is no name with" },
		{ "[aliases]\n'a.io/x' = 'b.io/x'", "the alias \"a.io/x\" is no name without" },
		{ "[aliases]\n'a:1' = 'b.io/x'", "the alias \"a:1\" is no name without" },
	};

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		put_file(CONF, bad[i].text);
		assert_not_opened(-EINVAL, bad[i].words);
		assert_not_opened(-EINVAL, CONF ": ");
	}
}

static void unknown_keys_are_passed_over(void **state)
{
	put_file(CONF, "short-name-mode = 'enforcing'\ncredential-helpers = ['x']\nnew = 1\n"
		       "[[registry]]\nlocation = 'a.io'\nnew = {}\ninsecure = true\n"
		       "[[registry.mirror]]\nlocation = 'm.io'\nnew = 1979-05-27\n");
	assert_found("a.io/x", "https m.io /v2 x for m.io, mirror\n"
			       "either a.io /v2 x for a.io, unverified\n");
}

/* A file of one byte more than there may be. */
static void put_large(const char *path)
{
	auto_free char *text = malloc(REGISTRIES_FILE_MAX + 2);

	assert_non_null(text);
	memset(text, '\n', REGISTRIES_FILE_MAX + 1);
	text[REGISTRIES_FILE_MAX + 1] = 0;
	put_file(path, text);
}

static void large_files_are_refused(void **state)
{
	put_large("large");
	(void)setenv("CONTAINERS_REGISTRIES_CONF", sandbox_path("large"), 1);
	assert_not_opened(-EFBIG, "large");
	(void)unsetenv("CONTAINERS_REGISTRIES_CONF");
	put_large(CONTAINERD "h.io/hosts.toml");
	assert_not_found("h.io/x", -EFBIG, CONTAINERD "h.io/hosts.toml");
}

static void dropins_are_counted(void **state)
{
	char path[100];

	for (int i = 0; i <= REGISTRIES_DROPINS_MAX; i++) {
		(void)snprintf(path, sizeof(path), DROPIN "%04d.conf", i);
		put_file(path, "");
	}
	assert_not_opened(-EFBIG, "registries.conf.d: it holds more than 1000 files");
}

/* ---- short names ---- */

static void short_names_are_looked_for_in_order(void **state)
{
	put_file(CONF,
		 "unqualified-search-registries = ['quay.io', 'docker.io', 'localhost:5000']\n"
		 "[aliases]\n'team/app' = 'docker.io/app'\nfedora = 'fedoraproject.org/fedora'\n");
	assert_candidates("nginx", "quay.io/nginx docker.io/library/nginx localhost:5000/nginx");
	assert_candidates("other/app",
			  "quay.io/other/app docker.io/other/app localhost:5000/other/app");
	assert_candidates("team/app", "docker.io/library/app");
	assert_candidates("fedora", "fedoraproject.org/fedora");
	assert_candidates("localhost/fedora", "localhost/fedora");
	put_file(DROPIN "a.conf", "unqualified-search-registries = []\n");
	assert_candidates("nginx", "docker.io/library/nginx");
}

static void what_is_no_short_name_is_refused(void **state)
{
	static const char *const names[] = { "", "A", "a:tag", "a@sha256:0", "a//b", "../a" };
	auto_registries struct registries *registries = NULL;
	char **candidates = NULL;

	assert_int_equal(registries_open(&options, &registries, NULL), 0);
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (registries_candidates(registries, names[i], &candidates, NULL) != -EINVAL)
			fail_msg("%s", names[i]);
	assert_null(candidates);
}

/* ---- hosts.toml ---- */

static void hosts_are_asked_in_the_order_of_the_file(void **state)
{
	put_file(CONTAINERD "docker.io/hosts.toml",
		 "server = 'https://registry-1.docker.io'\n"
		 "[host.'https://z.example.com']\ncapabilities = ['pull']\n"
		 "[host.'https://z.example.com'.header]\nx-a = 'b'\n"
		 "[host.'http://a.example.com:8080']\ncapabilities = ['pull', 'resolve']\n"
		 "[host.'m.example.com/sub/']\ncapabilities = ['Resolve']\n"
		 "[host.'localhost:1']\n[host.'push.example.com']\ncapabilities = ['push']\n");
	assert_found("docker.io/library/nginx",
		     "https z.example.com /v2 library/nginx for z.example.com, mirror of docker.io, "
		     "no tags, header x-a: b\n"
		     "http a.example.com:8080 /v2 library/nginx for a.example.com:8080, mirror of "
		     "docker.io\n"
		     "https m.example.com /sub/v2 library/nginx for m.example.com, mirror of "
		     "docker.io, no digests, no blobs\n"
		     "either localhost:1 /v2 library/nginx for localhost:1, mirror of docker.io\n"
		     "https push.example.com /v2 library/nginx for push.example.com, mirror of "
		     "docker.io, no tags, no digests, no blobs\n"
		     "https registry-1.docker.io /v2 library/nginx for docker.io\n");
}

static void the_server_may_be_another_one(void **state)
{
	put_file(CONTAINERD "_default/hosts.toml", "server = 'https://only.example.com'\n"
						   "capabilities = ['pull', 'resolve']\n"
						   "skip_verify = true\n");
	put_file(CONTAINERD "docker.io/hosts.toml", "server = 'https://docker.io'\n");
	put_file(CONTAINERD "quay.io/hosts.toml", "capabilities = ['pull']\n"
						  "[header]\nx-a = ['1', '2']\nx-b = '3'\n");
	assert_found("gcr.io/x", "https only.example.com /v2 x for only.example.com, mirror of "
				 "gcr.io, unverified\n");
	assert_found("docker.io/library/nginx",
		     "https registry-1.docker.io /v2 library/nginx for docker.io\n");
	assert_found("quay.io/x", "https quay.io /v2 x for quay.io, header x-a: 1, header x-a: 2, "
				  "header x-b: 3\n");
}

static void directories_for_hosts_have_several_names(void **state)
{
	put_file(CONTAINERD "h.io_5000_/hosts.toml", "[host.'under.io']\n");
	put_file(CONTAINERD "h.io:5000/hosts.toml", "[host.'colon.io']\n");
	put_file(CONTAINERD "i.io:1/hosts.toml", "[host.'i.io']\n");
	put_file(CONTAINERD "_default/hosts.toml", "[host.'default.io']\n");
	put_file(DOCKER "h.io/hosts.toml", "[host.'docker-dir.io']\n");
	assert_found("h.io:5000/x", "https under.io /v2 x for under.io, mirror of h.io:5000\n"
				    "https h.io:5000 /v2 x for h.io:5000\n");
	assert_found("i.io:1/x", "https i.io /v2 x for i.io, mirror of i.io:1\n"
				 "https i.io:1 /v2 x for i.io:1\n");
	assert_found("h.io/x", "https default.io /v2 x for default.io, mirror of h.io\n"
			       "https h.io /v2 x for h.io\n");
	assert_found("[::1]/x", "https default.io /v2 x for default.io, mirror of [::1]\n"
				"either [::1] /v2 x for [::1]\n");
}

static void dockers_directory_is_the_second(void **state)
{
	put_file(DOCKER "h.io/hosts.toml", "[host.'docker-dir.io']\n");
	put_file(DOCKER "h.io/ca.crt", "");
	assert_found("h.io/x", "https docker-dir.io /v2 x for docker-dir.io, mirror of h.io\n"
			       "https h.io /v2 x for h.io, ca /" DOCKER "h.io/ca.crt\n");
	put_dir(CONTAINERD "h.io");
	assert_found("h.io/x", "https h.io /v2 x for h.io, ca /" DOCKER "h.io/ca.crt\n");
}

static void registries_conf_goes_before_hosts_toml(void **state)
{
	put_file(CONTAINERD "_default/hosts.toml", "[host.'default.io']\n");
	put_file(CONF, "[[registry]]\nlocation = 'h.io/a'\n");
	assert_found("h.io/a/x", "https h.io /v2 a/x for h.io\n");
	assert_found("h.io/b/x", "https default.io /v2 b/x for default.io, mirror of h.io\n"
				 "https h.io /v2 b/x for h.io\n");
}

static void paths_may_be_overridden(void **state)
{
	put_file(CONTAINERD "h.io/hosts.toml",
		 "server = 'https://s.io/root'\noverride_path = true\n"
		 "[host.'https://a.io/v2/up']\noverride_path = true\n"
		 "[host.'https://b.io/v2/']\n[host.'https://c.io/x/v2']\n[host.'https://d.io/']\n"
		 "[host.'https://e.io/']\noverride_path = true\n[host.'https://f.io/av2']\n"
		 "[host.'https://v2']\n");
	assert_found("h.io/x", "https a.io /v2/up x for a.io, mirror of h.io\n"
			       "https b.io /v2 x for b.io, mirror of h.io\n"
			       "https c.io /x/v2 x for c.io, mirror of h.io\n"
			       "https d.io /v2 x for d.io, mirror of h.io\n"
			       "https e.io  x for e.io, mirror of h.io\n"
			       "https f.io /av2/v2 x for f.io, mirror of h.io\n"
			       "https v2 /v2 x for v2, mirror of h.io\n"
			       "https s.io /root x for s.io, mirror of h.io\n");
}

static void certificates_have_several_forms(void **state)
{
	put_file(CONTAINERD "h.io/hosts.toml",
		 "ca = 'root.pem'\n"
		 "[host.'a.io']\nca = ['/abs.pem', 'sub/rel.pem']\nclient = 'both.pem'\n"
		 "[host.'b.io']\nclient = ['one.pem', 'two.pem']\n"
		 "[host.'c.io']\nclient = [['c.cert', '/c.key'], ['d.pem', '']]\n"
		 "[host.'d.io']\nclient = [['d.pem', ''], ['c.cert', '/c.key']]\n"
		 "[host.'e.io']\nca = []\nclient = []\n");
#define IN "/" CONTAINERD "h.io/"
	assert_found("h.io/x",
		     "https a.io /v2 x for a.io, mirror of h.io, ca /abs.pem, ca " IN
		     "sub/rel.pem, cert " IN "both.pem\n"
		     "https b.io /v2 x for b.io, mirror of h.io, cert " IN "one.pem\n"
		     "https c.io /v2 x for c.io, mirror of h.io, cert " IN "c.cert, key /c.key\n"
		     "https d.io /v2 x for d.io, mirror of h.io, cert " IN "d.pem\n"
		     "https e.io /v2 x for e.io, mirror of h.io\n"
		     "https h.io /v2 x for h.io, ca " IN "root.pem\n");
#undef IN
}

static void http_with_certificates_is_either(void **state)
{
	put_file(CONTAINERD "h.io/hosts.toml",
		 "[host.'http://a.io:5000']\nskip_verify = true\n"
		 "[host.'http://b.io']\nskip_verify = false\n"
		 "[host.'http://c.io:80']\nskip_verify = true\n[host.'http://d.io']\n");
	assert_found("h.io/x", "either a.io:5000 /v2 x for a.io:5000, mirror of h.io, unverified\n"
			       "either b.io /v2 x for b.io, mirror of h.io\n"
			       "http c.io:80 /v2 x for c.io:80, mirror of h.io, unverified\n"
			       "http d.io /v2 x for d.io, mirror of h.io\n"
			       "https h.io /v2 x for h.io\n");
}

static void bad_hosts_are_named(void **state)
{
	static const struct {
		const char *text, *words;
	} bad[] = {
		{ "server", "line 1" },
		{ "server = 1", "server is no string" },
		{ "server = 'ftp://a.io'", "is not as http://HOST" },
		{ "server = 'https://'", "is not as http://HOST" },
		{ "server = 'https://user@a.io'", "is not as http://HOST" },
		{ "server = 'https://a.io/x?y'", "is not as http://HOST" },
		{ "server = 'https://a.io/x#y'", "is not as http://HOST" },
		{ "server = 'https://a.io/x/../y'", "is not as http://HOST" },
		{ "server = 'https://a.io:/x'", "is not as http://HOST" },
		{ "host = 'a.io'", "host is no table" },
		{ "[host]\n'a.io' = 1", "host.\"a.io\" is no table" },
		{ "[host.'a.io:x']", "is not as http://HOST" },
		{ "[host.'']", "is not as http://HOST" },
		{ "[host.'a.io']\ncapabilities = 'pull'", "capabilities is no array" },
		{ "[host.'a.io']\ncapabilities = [1]", "no array of strings" },
		{ "[host.'a.io']\ncapabilities = ['fly']", "\"fly\" is none of" },
		{ "[host.'a.io']\nca = 1", "ca holds what is no file's name" },
		{ "[host.'a.io']\nca = [1]", "ca holds what is no file's name" },
		{ "[host.'a.io']\nca = ''", "ca holds what is no file's name" },
		{ "[host.'a.io']\nclient = true", "client holds what is no file's name" },
		{ "[host.'a.io']\nclient = ['a', 1]", "client holds what is no file's name" },
		{ "[host.'a.io']\nclient = [['a']]", "that is no pair" },
		{ "[host.'a.io']\nclient = [['a', 'b', 'c']]", "that is no pair" },
		{ "[host.'a.io']\nclient = [['a', 1]]", "client holds what is no file's name" },
		{ "[host.'a.io']\nclient = [['', 'a']]", "client holds what is no file's name" },
		{ "[host.'a.io']\nskip_verify = 'no'", "skip_verify is neither" },
		{ "[host.'a.io']\noverride_path = 1", "override_path is neither" },
		{ "[host.'a.io']\nheader = 'a: b'", "header is no table" },
		{ "[host.'a.io'.header]\na = 1", "header a is no string" },
		{ "[host.'a.io'.header]\na = [1]", "header a is no string" },
		{ "[host.'a.io'.header]\na = \"b\\r\\nc: d\"", "header a cannot be sent" },
		{ "[host.'a.io'.header]\n'a b' = 'c'", "header a b cannot be sent" },
		{ "[host.'a.io'.header]\n'' = 'c'", "cannot be sent" },
	};

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		put_file(CONTAINERD "h.io/hosts.toml", bad[i].text);
		assert_not_found("h.io/x", -EINVAL, bad[i].words);
		assert_not_found("h.io/x", -EINVAL, CONTAINERD "h.io/hosts.toml: ");
		assert_found("i.io/x", "https i.io /v2 x for i.io\n");
	}
}

static void hosts_are_counted(void **state)
{
	auto_buf struct buf text = { 0 };

	for (int i = 0; i <= REGISTRIES_MIRRORS_MAX; i++)
		(void)buf_printf(&text, "[host.'m%d.io']\n", i);
	put_file(CONTAINERD "h.io/hosts.toml", buf_text(&text));
	assert_not_found("h.io/x", -EFBIG, "it has 65 hosts");
}

/* ---- certificates ---- */

static void certificates_lie_in_directories(void **state)
{
	put_file(CERTS "h.io:5000/b.crt", "");
	put_file(CERTS "h.io:5000/a.crt", "");
	put_file(CERTS "h.io:5000/z.cert", "");
	put_file(CERTS "h.io:5000/z.key", "");
	put_file(CERTS "h.io:5000/client.cert", "");
	put_file(CERTS "h.io:5000/client.key", "");
	put_file(CERTS "h.io:5000/notes.txt", "");
	put_file(DOCKER "h.io:5000/c.crt", "");
	put_file(DOCKER "docker.io/hub.crt", "");
	put_file("home/.config/containers/certs.d/h.io:5000/home.crt", "");
	assert_found("h.io:5000/x",
		     "https h.io:5000 /v2 x for h.io:5000, "
		     "ca /home/.config/containers/certs.d/h.io:5000/home.crt, "
		     "ca /" CERTS "h.io:5000/a.crt, ca /" CERTS "h.io:5000/b.crt, "
		     "ca /" DOCKER "h.io:5000/c.crt, cert /" CERTS "h.io:5000/client.cert, "
		     "key /" CERTS "h.io:5000/client.key\n");
	assert_found("h.io/x", "https h.io /v2 x for h.io\n");
	assert_found("docker.io/library/nginx",
		     "https registry-1.docker.io /v2 library/nginx for docker.io, ca /" DOCKER
		     "docker.io/hub.crt\n");
}

static void mirrors_have_their_own_certificates(void **state)
{
	put_file(CONF,
		 "[[registry]]\nlocation = 'h.io'\n[[registry.mirror]]\nlocation = 'm.io/x'\n");
	put_file(CERTS "m.io/m.crt", "");
	put_file(CERTS "h.io/h.crt", "");
	assert_found("h.io/a", "https m.io /v2 x/a for m.io, mirror, ca /" CERTS "m.io/m.crt\n"
			       "https h.io /v2 a for h.io, ca /" CERTS "h.io/h.crt\n");
}

static void containerds_directory_may_hold_certificates(void **state)
{
	put_file(CONTAINERD "h.io/ca.crt", "");
	put_file(CONTAINERD "i.io/ca.crt", "");
	put_file(CONTAINERD "i.io/hosts.toml", "server = 'https://i.io'\n");
	put_file(CONTAINERD "j.io/ca.crt", "");
	put_file(CONTAINERD "j.io/hosts.toml", "");
	assert_found("h.io/x", "https h.io /v2 x for h.io, ca /" CONTAINERD "h.io/ca.crt\n");
	assert_found("i.io/x", "https i.io /v2 x for i.io\n");
	assert_found("j.io/x", "https j.io /v2 x for j.io, ca /" CONTAINERD "j.io/ca.crt\n");
}

static void certificates_need_their_keys(void **state)
{
	put_file(CERTS "h.io/client.cert", "");
	put_file(CERTS "i.io/client.key", "");
	assert_not_found("h.io/x", -EINVAL, "client.cert lacks its key, client.key");
	assert_not_found("h.io/x", -EINVAL, CERTS "h.io: ");
	assert_not_found("i.io/x", -EINVAL, "client.key lacks its client certificate, client.cert");
}

static void a_directory_that_is_named_counts_alone(void **state)
{
	char named[4200];

	(void)snprintf(named, sizeof(named), "%s/named", sandbox_root());
	options.cert_dir = named;
	put_file(CERTS "h.io/h.crt", "");
	put_file(CONTAINERD "h.io/hosts.toml", "client = 'h.pem'\n[host.'m.io']\nca = '/m.pem'\n");
	put_file(CONTAINERD "i.io/i.crt", "");
	assert_not_found("h.io/x", -ENOENT, "named: No such file");
	put_file("named/a.crt", "");
	assert_found("h.io/x", "https m.io /v2 x for m.io, mirror of h.io, ca /m.pem, "
			       "ca /named/a.crt\n"
			       "https h.io /v2 x for h.io, ca /named/a.crt, cert /" CONTAINERD
			       "h.io/h.pem\n");
	assert_found("i.io/x", "https i.io /v2 x for i.io, ca /named/a.crt\n");
	put_file("named/b.cert", "");
	put_file("named/b.key", "");
	assert_found("h.io/x", "https m.io /v2 x for m.io, mirror of h.io, ca /m.pem, "
			       "ca /named/a.crt, cert /named/b.cert, key /named/b.key\n"
			       "https h.io /v2 x for h.io, ca /named/a.crt, cert /named/b.cert, "
			       "key /named/b.key\n");
}

static void the_command_line_decides_on_verifying(void **state)
{
	put_file(CONF, "[[registry]]\nlocation = 'h.io'\ninsecure = true\n"
		       "[[registry.mirror]]\nlocation = 'm.io'\n"
		       "[[registry]]\nlocation = 'localhost:1'\ninsecure = true\n");
	put_file(CONTAINERD "i.io/hosts.toml",
		 "[host.'http://m.io']\n[host.'http://127.0.0.1:1']\n");
	options.verify = REGISTRIES_VERIFY;
	assert_found("h.io/x", "https m.io /v2 x for m.io, mirror\nhttps h.io /v2 x for h.io\n");
	assert_found("localhost:1/x", "either localhost:1 /v2 x for localhost:1\n");
	assert_found("i.io/x", "https m.io /v2 x for m.io, mirror of i.io\n"
			       "http 127.0.0.1:1 /v2 x for 127.0.0.1:1, mirror of i.io\n"
			       "https i.io /v2 x for i.io\n");
	options.verify = REGISTRIES_NO_VERIFY;
	assert_found("h.io/x", "either m.io /v2 x for m.io, mirror, unverified\n"
			       "either h.io /v2 x for h.io, unverified\n");
	assert_found("i.io/x",
		     "either m.io /v2 x for m.io, mirror of i.io, unverified\n"
		     "either 127.0.0.1:1 /v2 x for 127.0.0.1:1, mirror of i.io, unverified\n"
		     "either i.io /v2 x for i.io, unverified\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		in_a_home(what_is_not_configured_is_https),
		in_a_home(names_that_are_none_are_refused),
		cmocka_unit_test(loopback_is_known),
		in_a_home(the_longest_prefix_counts),
		in_a_home(a_location_may_be_the_prefix),
		in_a_home(locations_have_ports_and_paths),
		in_a_home(a_prefix_may_have_a_tag_or_digest),
		in_a_home(wildcards_are_subdomains),
		in_a_home(mirrors_come_first),
		in_a_home(what_is_blocked_is_not_asked),
		in_a_home(mirrors_are_counted),
		in_a_home(later_files_add_and_replace),
		in_a_home(the_files_of_the_home_directory_replace_those_of_etc),
		in_a_home(a_file_that_is_named_counts_alone),
		in_a_home(bad_files_are_named),
		in_a_home(unknown_keys_are_passed_over),
		in_a_home(large_files_are_refused),
		in_a_home(dropins_are_counted),
		in_a_home(short_names_are_looked_for_in_order),
		in_a_home(what_is_no_short_name_is_refused),
		in_a_home(hosts_are_asked_in_the_order_of_the_file),
		in_a_home(the_server_may_be_another_one),
		in_a_home(directories_for_hosts_have_several_names),
		in_a_home(dockers_directory_is_the_second),
		in_a_home(registries_conf_goes_before_hosts_toml),
		in_a_home(paths_may_be_overridden),
		in_a_home(certificates_have_several_forms),
		in_a_home(http_with_certificates_is_either),
		in_a_home(bad_hosts_are_named),
		in_a_home(hosts_are_counted),
		in_a_home(certificates_lie_in_directories),
		in_a_home(mirrors_have_their_own_certificates),
		in_a_home(containerds_directory_may_hold_certificates),
		in_a_home(certificates_need_their_keys),
		in_a_home(a_directory_that_is_named_counts_alone),
		in_a_home(the_command_line_decides_on_verifying),
	};

	return cmocka_run_group_tests(tests, sandbox_enter, sandbox_leave);
}
