/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/serve/docker_home.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>

#include "cmd/serve/docker_json.h"
#include "driver/base/auto.h"
#include "driver/base/digest.h"
#include "driver/base/fd.h"
#include "driver/base/utf8.h"

#define SETTING_BYTES_MAX ((size_t)1 << 20)
#define HOME_BYTES_MAX	  4000
#define TOKEN_LEN	  12

/* ---- a home ---- */

static void home_free(struct docker_home *h)
{
	mounts_unref(h->mounts);
	json_free(h->setting);
	free(h->path);
	free(h->scope);
	free(h->uids);
	free(h->gids);
	free(h);
}

struct docker_home *docker_home_ref(struct docker_home *h)
{
	(void)atomic_fetch_add(&h->users, 1);
	return h;
}

void docker_home_unref(struct docker_home *h)
{
	if (h && atomic_fetch_sub(&h->users, 1) == 1)
		home_free(h);
}

void docker_home_unrefp(struct docker_home **h)
{
	docker_home_unref(*h);
}

struct overlaid_maps docker_home_maps(const struct docker_home *h)
{
	return (struct overlaid_maps){ .uids = h->uids, .gids = h->gids };
}

/* ---- options ---- */

/* "NAME.size=10G" */
static int take_option(struct docker_home *h, const char *name, const char *option, struct err *err)
{
	size_t len = strlen(name);
	int r;

	if (strncmp(option, name, len) != 0 || strncmp(option + len, ".size=", 6) != 0)
		return fail(err, -EINVAL,
			    "storage option \"%.200s\" is not known; there is only %s.size=BYTES",
			    option, name);
	r = docker_parse_size(option + len + 6, &h->size_bytes, err);
	return r < 0 ? err_prefix(err, r, "%s.size", name) : 0;
}

static int take_options(struct docker_home *h, const char *name, struct err *err)
{
	const struct json *options = json_get_key(h->setting, "options");
	int r = 0;

	if (options && options->type != JSON_ARRAY && options->type != JSON_NULL)
		return fail(err, -EINVAL, "\"Opts\" is no list");
	for (size_t i = 0; r >= 0 && options && i < options->count; i++)
		r = options->items[i]->type == JSON_STRING ?
			    take_option(h, name, options->items[i]->string, err) :
			    fail(err, -EINVAL, "\"Opts\" is no list of strings");
	return r;
}

/* ---- making one ---- */

/* RUN/docker/STORE/TOKEN: another home's layers may have the same ids. */
static int open_mounts(struct overlaid *store, struct docker_home *h, const char *name,
		       struct err *err)
{
	auto_free char *dir = NULL, *path = NULL;
	auto_buf struct buf text = { .max = 2 * HOME_BYTES_MAX };
	struct digest digest;
	int r = overlaid_mount_dir(store, "docker", &dir, err);

	if (r >= 0)
		r = buf_printf(&text, "%s %s", name, h->path) < 0 ? buf_status(&text, err) : 0;
	if (r >= 0)
		r = digest_of("sha256", buf_text(&text), text.len, &digest, err);
	if (r < 0)
		return r;
	if (asprintf(&path, "%s/%.*s", dir, TOKEN_LEN, digest_hex(&digest)) < 0)
		return fail_oom(err);
	return mounts_new(path, &h->mounts, err);
}

static bool is_home(const char *path)
{
	if (path[0] != '/' || strlen(path) > HOME_BYTES_MAX)
		return false;
	for (const char *c = path; *c; c++)
		if ((unsigned char)*c < ' ' || *c == 0x7f)
			return false;
	/* Or else it would not come back from its setting as it was ("\udc00" is no character). */
	return utf8_span(path, strlen(path)) == strlen(path);
}

/* All of it but its mounts. Takes the setting over. */
static int make_home(const char *name, struct json *setting, struct docker_home **ret,
		     struct err *err)
{
	auto_docker_home struct docker_home *h = calloc(1, sizeof(*h));
	const char *path;
	int r;

	if (!h) {
		json_free(setting);
		return fail_oom(err);
	}
	atomic_init(&h->users, 1);
	h->setting = setting;
	if (!setting)
		return fail_oom(err);
	path = json_string_or(setting, "/home", "");
	if (!is_home(path))
		return fail(err, -EINVAL, "\"Home\" is no absolute path: \"%.200s\"", path);
	h->path = strdup(path);
	h->uids = strdup(json_string_or(setting, "/uids", ""));
	h->gids = strdup(json_string_or(setting, "/gids", ""));
	if (asprintf(&h->scope, "docker:%s", path) < 0)
		h->scope = NULL;
	if (!h->path || !h->scope || !h->uids || !h->gids)
		return fail_oom(err);
	r = take_options(h, name, err);
	if (r < 0)
		return r;
	*ret = take_ptr(h);
	return 0;
}

static int finish_home(struct overlaid *store, const char *name, struct docker_home *h,
		       const struct docker_home *before, struct err *err)
{
	int r = h->size_bytes ? overlaid_quota_check(store, err) : 0;

	if (r >= 0 && before && strcmp(before->path, h->path) == 0)
		h->mounts = mounts_ref(before->mounts);
	else if (r >= 0)
		r = open_mounts(store, h, name, err);
	return r;
}

int docker_home_of_request(struct overlaid *store, const char *name, const struct json *request,
			   const struct docker_home *before, struct docker_home **ret,
			   struct err *err)
{
	const struct json *options = json_get_key(request, "Opts");
	auto_docker_home struct docker_home *h = NULL;
	auto_free char *uids = NULL, *gids = NULL;
	struct json *setting;
	const char *home;
	int r = docker_json_text(request, "Home", &home, err);

	if (r >= 0)
		r = docker_json_map(request, "UIDMaps", &uids, err);
	if (r >= 0)
		r = docker_json_map(request, "GIDMaps", &gids, err);
	if (r >= 0 && !uids[0] != !gids[0])
		r = fail(err, -EINVAL, "users are mapped without groups, or groups without users");
	if (r < 0)
		return r;
	setting = json_set(json_new_object(), "home", json_new_string(home));
	setting = json_set(setting, "options", options ? json_copy(options) : json_new_null());
	setting = json_set(setting, "uids", json_new_string(uids));
	setting = json_set(setting, "gids", json_new_string(gids));
	r = make_home(name, setting, &h, err);
	if (r >= 0)
		r = finish_home(store, name, h, before, err);
	if (r < 0)
		return r;
	*ret = take_ptr(h);
	return 0;
}

/* ---- one of a name ---- */

/* RUN/docker/STORE/NAME.lock: sockets in two directories may have the same name. */
int docker_home_lock(struct overlaid *store, const char *name, struct err *err)
{
	auto_free char *dir = NULL, *path = NULL;
	auto_close int fd = -EBADF;
	int r = overlaid_mount_dir(store, "docker", &dir, err);

	if (r >= 0)
		r = mkdir_parents(dir, 0711, err);
	if (r < 0)
		return r;
	if (asprintf(&path, "%s/%s.lock", dir, name) < 0) {
		path = NULL;
		return fail_oom(err);
	}
	fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return fail(err, -errno, "open %s: %m", path);
	if (flock(fd, LOCK_EX | LOCK_NB) < 0)
		return errno == EWOULDBLOCK ?
			       fail(err, -EADDRINUSE,
				    "it is being served already, of this store: stop that first, or "
				    "give this one another name") :
			       fail(err, -errno, "lock %s: %m", path);
	return take_fd(&fd);
}

/* ---- what is kept ---- */

static int setting_name(const char *name, char **ret, struct err *err)
{
	return asprintf(ret, "docker:%s", name) < 0 ? fail_oom(err) : 0;
}

static int read_setting(const char *name, const char *key, const char *text,
			struct docker_home **ret, struct err *err)
{
	struct json *setting;
	int r = json_parse(text, strlen(text), SETTING_BYTES_MAX, key, &setting, err);

	if (r >= 0)
		r = make_home(name, setting, ret, err);
	return r < 0 && r != -ENOMEM ? err_prefix(err, -EBADMSG, "setting \"%.200s\"", key) : r;
}

int docker_home_load(struct overlaid *store, const char *name, struct docker_home **ret,
		     struct err *err)
{
	auto_docker_home struct docker_home *h = NULL;
	auto_free char *key = NULL, *text = NULL;
	int r = setting_name(name, &key, err);

	if (r >= 0)
		r = overlaid_setting_get(store, key, &text, err);
	if (r <= 0)
		return r;
	r = read_setting(name, key, text, &h, err);
	/* Not whether there are quotas still: dockerd was told, and its containers go on. */
	if (r >= 0)
		r = open_mounts(store, h, name, err);
	if (r < 0)
		return r;
	*ret = take_ptr(h);
	return 1;
}

int docker_home_keep(struct overlaid *store, const char *name, const struct docker_home *h,
		     struct err *err)
{
	auto_buf struct buf text = { .max = SETTING_BYTES_MAX };
	auto_free char *key = NULL;
	int r = setting_name(name, &key, err);

	if (r >= 0)
		r = json_print(h->setting, 0, &text, err);
	return r < 0 ? r : overlaid_setting_set(store, key, buf_text(&text), err);
}
