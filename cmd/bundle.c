/* SPDX-License-Identifier: Apache-2.0 */
/* bundle: an OCI runtime bundle (runtime-spec 1.0.2, bundle.md and config.md) of a mounted
 * container. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cmd/defaults.h"
#include "cmd/format.h"
#include "cmd/image_config.h"
#include "cmd/process.h"
#include "cmd/user.h"
#include "cmd/verbs.h"
#include "driver/base/fd.h"

struct bundle_options {
	bool force;
};

static const struct option bundle_options[] = {
	{ 'f', "force", OPTION_FLAG, offsetof(struct bundle_options, force), NULL,
	  "replace a config.json that is there" },
};

struct bundle {
	struct process process;
	struct user user;
	char image_id[80];
	struct short_text hostname;
	char *root; /* where it is mounted */
};

/* ---- config.json ---- */

static struct json *text_array(char *const *items, size_t count)
{
	struct json *array = json_new_array();

	for (size_t i = 0; i < count; i++)
		array = json_push(array, json_new_string(items[i]));
	return array;
}

static struct json *fixed_array(const char *const *items)
{
	struct json *array = json_new_array();

	for (; *items; items++)
		array = json_push(array, json_new_string(*items));
	return array;
}

static struct json *user_object(const struct user *user)
{
	struct json *object = json_new_object();
	struct json *groups = json_new_array();

	object = json_set(object, "uid", json_new_int(user->uid));
	object = json_set(object, "gid", json_new_int(user->gid));
	for (size_t i = 0; i < user->group_count; i++)
		groups = json_push(groups, json_new_int(user->groups[i]));
	if (user->group_count)
		return json_set(object, "additionalGids", groups);
	json_free(groups);
	return object;
}

static struct json *capabilities(void)
{
	static const char *const sets[] = { "bounding", "effective", "permitted" };
	struct json *object = json_new_object();

	for (size_t i = 0; i < ARRAY_LEN(sets); i++)
		object = json_set(object, sets[i], fixed_array(default_capabilities));
	return object;
}

static struct json *process_object(const struct bundle *bundle)
{
	struct json *object = json_new_object();
	struct json *limit = json_new_object();

	limit = json_set(limit, "type", json_new_string("RLIMIT_NOFILE"));
	limit = json_set(limit, "hard", json_new_int(1024));
	limit = json_set(limit, "soft", json_new_int(1024));
	object = json_set(object, "terminal", json_new_bool(false));
	object = json_set(object, "user", user_object(&bundle->user));
	object = json_set(object, "args",
			  text_array(bundle->process.args.items, bundle->process.args.count));
	object = json_set(object, "env",
			  text_array(bundle->process.env.items, bundle->process.env.count));
	object = json_set(object, "cwd", json_new_string(bundle->process.cwd));
	object = json_set(object, "capabilities", capabilities());
	object = json_set(object, "rlimits", json_push(json_new_array(), limit));
	return json_set(object, "noNewPrivileges",
			json_new_bool(false)); /* as docker: su and sudo work */
}

#define OPTIONS_MAX 8

static struct json *mounts(void)
{
	static const struct {
		const char *target, *type, *source;
		const char *options[OPTIONS_MAX];
	} list[] = {
		{ "/proc", "proc", "proc", { "nosuid", "noexec", "nodev" } },
		{ "/dev", "tmpfs", "tmpfs", { "nosuid", "strictatime", "mode=755", "size=65536k" } },
		{ "/dev/pts",
		  "devpts",
		  "devpts",
		  { "nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5" } },
		{ "/dev/shm",
		  "tmpfs",
		  "shm",
		  { "nosuid", "noexec", "nodev", "mode=1777", "size=65536k" } },
		{ "/dev/mqueue", "mqueue", "mqueue", { "nosuid", "noexec", "nodev" } },
		{ "/sys", "sysfs", "sysfs", { "nosuid", "noexec", "nodev", "ro" } },
		{ "/sys/fs/cgroup",
		  "cgroup",
		  "cgroup",
		  { "nosuid", "noexec", "nodev", "relatime", "ro" } },
	};
	struct json *array = json_new_array();

	for (size_t i = 0; i < ARRAY_LEN(list); i++) {
		struct json *mount = json_new_object();

		mount = json_set(mount, "destination", json_new_string(list[i].target));
		mount = json_set(mount, "type", json_new_string(list[i].type));
		mount = json_set(mount, "source", json_new_string(list[i].source));
		array = json_push(array, json_set(mount, "options", fixed_array(list[i].options)));
	}
	return array;
}

static struct json *linux_object(void)
{
	static const char *const namespaces[] = { "pid", "network", "ipc", "uts", "mount" };
	struct json *object = json_new_object(), *list = json_new_array(),
		    *devices = json_new_object();

	for (size_t i = 0; i < ARRAY_LEN(namespaces); i++)
		list = json_push(list, json_set(json_new_object(), "type",
						json_new_string(namespaces[i])));
	devices = json_set(devices, "allow", json_new_bool(false));
	devices = json_set(devices, "access", json_new_string("rwm"));
	object = json_set(object, "resources",
			  json_set(json_new_object(), "devices",
				   json_push(json_new_array(), devices)));
	object = json_set(object, "namespaces", list);
	object = json_set(object, "maskedPaths", fixed_array(default_masked_paths));
	return json_set(object, "readonlyPaths", fixed_array(default_readonly_paths));
}

static struct json *config_object(const struct bundle *bundle)
{
	struct json *object = json_new_object(), *root = json_new_object();

	root = json_set(root, "path", json_new_string(bundle->root));
	root = json_set(root, "readonly", json_new_bool(false));
	object = json_set(object, "ociVersion", json_new_string("1.0.2"));
	object = json_set(object, "process", process_object(bundle));
	object = json_set(object, "root", root);
	object = json_set(object, "hostname", json_new_string(bundle->hostname.text));
	object = json_set(object, "mounts", mounts());
	return json_set(object, "linux", linux_object());
}

/* ---- the verb ---- */

static int note_container(void *arg, const struct overlaid_container *container)
{
	struct bundle *bundle = arg;

	(void)snprintf(bundle->image_id, sizeof(bundle->image_id), "%s", container->image_id);
	bundle->hostname = format_short_id(container->id);
	return 0;
}

static int resolve_user(struct bundle *bundle, struct err *err)
{
	auto_close int root_fd = open(bundle->root, O_PATH | O_DIRECTORY | O_CLOEXEC);
	auto_buf struct buf home = { 0 };
	int r;

	if (root_fd < 0)
		return fail(err, -errno, "open %s: %m", bundle->root);
	r = user_resolve_in(root_fd, bundle->process.user, &bundle->user, err);
	if (r < 0 || process_get_env(&bundle->process, "HOME"))
		return r;
	(void)buf_printf(&home, "HOME=%s", bundle->user.home);
	return home.status ? fail_oom(err) :
			     process_set_env(&bundle->process, buf_text(&home), err);
}

/* Everything that can be wrong is found out before the container is mounted, but for its user. */
static int make_bundle(struct overlaid *store, const char *name, const struct wishes *wishes,
		       struct bundle *bundle, struct err *err)
{
	auto_json struct json *config = NULL;
	struct wishes named = *wishes;
	int r = overlaid_container_get(store, name, note_container, bundle, err);

	if (r == 0)
		r = image_config_load(store, bundle->image_id, &config, err);
	named.hostname = bundle->hostname.text;
	if (r == 0)
		r = process_make(config, &named, &bundle->process, err);
	if (r == 0)
		r = overlaid_container_mount(store, name, &bundle->root, err);
	return r < 0 ? r : resolve_user(bundle, err);
}

static int write_config(int dir_fd, const struct bundle *bundle, struct err *err)
{
	auto_json struct json *config = config_object(bundle);
	auto_buf struct buf text = { 0 };
	int r;

	if (!config)
		return fail_oom(err);
	r = json_print(config, 4, &text, err);
	(void)buf_putc(&text, '\n');
	if (r == 0)
		r = buf_status(&text, err);
	return r < 0 ? r :
		       replace_file_at(dir_fd, "config.json", buf_text(&text), text.len, 0, err);
}

static int open_target(const char *dir, bool force, struct err *err)
{
	auto_close int fd = -EBADF;
	struct stat st;
	int r = mkdir_parents(dir, 0755, err);

	if (r < 0)
		return r;
	fd = open_dir_at(AT_FDCWD, dir, err);
	if (fd < 0)
		return fd;
	if (force)
		return take_fd(&fd);
	if (fstatat(fd, "config.json", &st, AT_SYMLINK_NOFOLLOW) == 0)
		return fail(err, -EEXIST, "%s/config.json is there already; --force replaces it",
			    dir);
	if (errno != ENOENT)
		return fail(err, -errno, "%s/config.json: %m", dir);
	return take_fd(&fd);
}

static int bundle(struct app *app, const void *opts, char **args, size_t count, struct err *err)
{
	const struct bundle_options *o = opts;
	size_t skip = count > 2 && strcmp(args[2], "--") == 0 ? 3 : 2;
	struct wishes wishes = { .command = args + skip, .command_count = count - skip };
	struct bundle made = { 0 };
	auto_close int dir_fd = -EBADF;
	struct overlaid *store;
	int r = app_store(app, &store, err);

	if (r < 0)
		return r;
	dir_fd = open_target(args[1], o->force, err);
	if (dir_fd < 0)
		return dir_fd;
	r = make_bundle(store, args[0], &wishes, &made, err);
	if (r == 0)
		r = write_config(dir_fd, &made, err);
	if (r == 0 && !app->quiet)
		(void)puts(args[1]);
	process_release(&made.process);
	user_release(&made.user);
	free(made.root);
	return r;
}

const struct verb bundle_verb = {
	.name = "bundle",
	.args = "[OPTIONS] CONTAINER DIR [--] [COMMAND [ARGUMENTS]]",
	.summary = "Mount a container and write an OCI runtime bundle for it",
	.example = "overlaid bundle web /tmp/web && crun run -b /tmp/web web",
	.options = bundle_options,
	.option_count = ARRAY_LEN(bundle_options),
	.options_size = sizeof(struct bundle_options),
	.min_args = 2,
	.max_args = ARGS_MANY,
	.stop_after = 2,
	.run = bundle,
};
