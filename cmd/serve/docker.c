/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/serve/docker.h"

#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cmd/serve/docker_home.h"
#include "cmd/serve/docker_json.h"
#include "cmd/serve/handles.h"
#include "cmd/serve/http.h"
#include "driver/base/auto.h"
#include "driver/base/sys.h"

#define BODY_BYTES_MAX	 ((size_t)1 << 20)
#define ANSWER_BYTES_MAX ((size_t)256 << 20)
#define CONTENT_TYPE	 "application/vnd.docker.plugins.v1.2+json"
#define LABEL_WRITABLE	 "docker.writable" /* made by CreateReadWrite */
#define LABEL_CONTEXT	 "docker.context"  /* MountLabel */

struct docker {
	struct serve *serve;
	const char *name;
	struct handles *handles;
	struct http_server *http;
	atomic_bool draining;
	pthread_mutex_t lock;	     /* of the rest */
	struct docker_home *home;    /* NULL: no Init yet */
	int dockerd_pid, dockerd_fd; /* who said Init; 0 and -EBADF: not known */
	int name_fd;		     /* docker_home_lock */
};

/* One call, with what all of them need. */
struct call {
	struct docker *docker;
	struct http_call *http;
	struct overlaid *store;
	struct docker_home *home;
	struct json *request;
	struct buf answer; /* "" is "{}" */
	struct err err;
	const char *id, *parent;
};

typedef int call_fn(struct call *c);

/* ---- answering ---- */

static void answer_failure(struct call *c)
{
	auto_json struct json *j = json_set(json_new_object(), "Err", json_new_string(c->err.text));
	auto_buf struct buf text = { .max = 65536 };

	if (json_print(j, 0, &text, NULL) < 0)
		(void)buf_puts(&text, "{\"Err\":\"out of memory\"}");
	serve_log("docker: %s: %s", http_call_path(c->http), c->err.text);
	http_call_answer(c->http, 500, buf_text(&text), text.len);
}

static int print(struct call *c, struct json *j)
{
	int r = json_print(j, 0, &c->answer, &c->err);

	json_free(j);
	return r;
}

/* ---- what calls ask for ---- */

static struct docker_home *current_home(struct docker *d)
{
	struct docker_home *home;

	(void)pthread_mutex_lock(&d->lock);
	home = d->home ? docker_home_ref(d->home) : NULL;
	(void)pthread_mutex_unlock(&d->lock);
	return home;
}

static int begin(struct call *c, struct docker *d, struct http_call *http)
{
	*c = (struct call){ .docker = d, .http = http, .answer = { .max = ANSWER_BYTES_MAX } };
	c->store = handles_take(d->handles, &c->err);
	if (!c->store)
		return -EIO;
	c->home = current_home(d);
	return 0;
}

static void end(struct call *c)
{
	handles_give(c->docker->handles, c->store);
	docker_home_unref(c->home);
	json_free(c->request);
	buf_release(&c->answer);
}

static int need_home(struct call *c)
{
	return c->home ?
		       0 :
		       fail(&c->err, -EINVAL, "there was no GraphDriver.Init yet: restart dockerd");
}

static int read_request(struct call *c)
{
	size_t len;
	const void *body = http_call_body(c->http, &len);

	return docker_json_parse(body, len, &c->request, &c->err);
}

/* The layer that is asked about, and its parent. */
static int read_ids(struct call *c)
{
	int r = read_request(c);

	if (r >= 0)
		r = need_home(c);
	if (r >= 0)
		r = docker_json_text(c->request, "ID", &c->id, &c->err);
	if (r >= 0)
		r = docker_json_text(c->request, "Parent", &c->parent, &c->err);
	if (r >= 0)
		r = docker_check_id(c->id, &c->err);
	return r < 0 || !c->parent[0] ? r : docker_check_id(c->parent, &c->err);
}

static void run(void *arg, struct http_call *http, call_fn *fn)
{
	struct call c;
	int r = begin(&c, arg, http);

	if (r >= 0)
		r = fn(&c);
	if (r < 0)
		answer_failure(&c);
	else if (c.answer.len)
		http_call_answer(http, 200, buf_text(&c.answer), c.answer.len);
	else
		http_call_answer(http, 200, "{}", 2);
	end(&c);
}

/* ---- what changes the store: by its writer, together with others ---- */

struct change {
	struct work_job job;
	struct call *call;
	int (*fn)(struct call *c, struct overlaid *store, void *arg);
	void *arg;
	sem_t told;
	int r;
};

static void run_change(struct work_job *job, struct overlaid *store)
{
	struct change *change = (struct change *)job;

	change->r = change->fn(change->call, store, change->arg);
}

static void finish_change(struct work_job *job, int r, const struct err *err)
{
	struct change *change = (struct change *)job;

	if (r < 0 && change->r >= 0) {
		change->r = r;
		change->call->err = *err;
	}
	(void)sem_post(&change->told);
}

static int change_store(struct call *c, bool lazy,
			int (*fn)(struct call *c, struct overlaid *store, void *arg), void *arg)
{
	struct change change = { .job = { .lazy = lazy, .run = run_change, .finish = finish_change },
				 .call = c,
				 .fn = fn,
				 .arg = arg };

	(void)sem_init(&change.told, 0, 0);
	work_push(c->docker->serve->writer, &change.job);
	while (sem_wait(&change.told) < 0)
		;
	(void)sem_destroy(&change.told);
	return change.r;
}

/* ---- what a layer is ---- */

struct layer {
	bool active, writable, scratch;
	char context[256];
};

static bool is_init(const char *id)
{
	size_t len = strlen(id);

	return len > 5 && strcmp(id + len - 5, "-init") == 0;
}

static int read_layer(void *arg, const struct overlaid_snapshot *s)
{
	struct layer *layer = arg;

	layer->active = s->kind == OVERLAID_SNAPSHOT_ACTIVE;
	for (size_t i = 0; i < s->label_count; i++) {
		if (strcmp(s->labels[i].key, LABEL_WRITABLE) == 0)
			layer->writable = true;
		if (strcmp(s->labels[i].key, LABEL_CONTEXT) == 0)
			(void)snprintf(layer->context, sizeof(layer->context), "%s",
				       s->labels[i].value);
	}
	layer->scratch = !layer->writable || is_init(s->name);
	return 0;
}

static int find_layer(struct call *c, const char *id, struct layer *ret)
{
	struct layer layer = { .active = false };
	int r = overlaid_snapshot_get(c->store, c->home->scope, id, read_layer, &layer, &c->err);

	if (r == -ENOENT)
		return fail(&c->err, -ENOENT, "there is no layer %s", id);
	if (r >= 0)
		*ret = layer;
	return r;
}

/* What is part of an image from now on is durable. */
static int promise(struct call *c, const char *id)
{
	struct layer layer;
	int r = find_layer(c, id, &layer);

	if (r < 0 || !layer.active || is_init(id))
		return r;
	return work_sync(c->docker->serve->helpers, c->store, &c->err);
}

/* ---- the calls: beginning and end ---- */

static int activate(struct call *c)
{
	return buf_puts(&c->answer, "{\"Implements\":[\"GraphDriver\"]}");
}

static int capabilities(struct call *c)
{
	int r = read_request(c);

	return r < 0 ? r :
		       buf_puts(&c->answer, "{\"Capabilities\":{\"ReproducesExactDiffs\":false}}");
}

static bool is_alive(int pidfd)
{
	struct pollfd fd = { .fd = pidfd, .events = POLLIN };

	return pidfd >= 0 && poll(&fd, 1, 0) == 0;
}

/* Calls do not say whose they are: one plugin is for one dockerd, for as long as that lives. Under the lock. */
static int check_free(struct call *c, bool same)
{
	struct docker *d = c->docker;

	if (!d->home || same || !is_alive(d->dockerd_fd))
		return 0;
	return fail(&c->err, -EBUSY,
		    "plugin %s serves the dockerd of %s (pid %d), which has %zu layers mounted; "
		    "give this one a plugin of its own: overlaid serve --docker OTHER-NAME",
		    d->name, d->home->path, d->dockerd_pid, mounts_wanted(d->home->mounts));
}

/* Under the lock. */
static void set_dockerd(struct docker *d, int pid)
{
	auto_close_fn(&d->dockerd_fd);
	d->dockerd_pid = pid;
	d->dockerd_fd = pid ? sys_pidfd_open(pid) : -EBADF;
}

/* Under the lock. */
static int take_home(struct call *c, struct docker_home *home, int pid, bool same)
{
	struct docker *d = c->docker;
	int r = docker_home_keep(c->store, d->name, home, &c->err);

	if (r < 0)
		return r;
	if (!same) {
		set_dockerd(d, pid);
		mounts_inherit(home->mounts);
	}
	docker_home_unref(d->home);
	d->home = docker_home_ref(home);
	return 0;
}

static int init(struct call *c)
{
	auto_docker_home struct docker_home *home = NULL;
	struct docker *d = c->docker;
	int r = read_request(c), pid = http_call_peer_pid(c->http);
	bool same;

	if (r < 0)
		return r;
	(void)pthread_mutex_lock(&d->lock);
	/* A number may come again, of another process. */
	same = pid && pid == d->dockerd_pid && is_alive(d->dockerd_fd);
	r = check_free(c, same);
	if (r >= 0)
		r = docker_home_of_request(c->store, d->name, c->request, d->home, &home, &c->err);
	if (r >= 0)
		r = take_home(c, home, pid, same);
	(void)pthread_mutex_unlock(&d->lock);
	if (r >= 0)
		serve_log("docker: plugin %s is used for %s", d->name, home->path);
	return r;
}

static int cleanup(struct call *c)
{
	int r = read_request(c);

	return r < 0 || !c->home ? r : mounts_clear(c->home->mounts, &c->err);
}

/* ---- the calls: layers come and go ---- */

static int storage_size(struct call *c, uint64_t *ret)
{
	const struct json *options = json_get_key(c->request, "StorageOpt");
	const char *text;
	int r = 0;

	if (options && options->type != JSON_OBJECT && options->type != JSON_NULL)
		return fail(&c->err, -EINVAL, "\"StorageOpt\" is no object");
	for (size_t i = 0; r >= 0 && options && i < options->count; i++)
		if (strcmp(options->keys[i], "size") != 0)
			r = fail(&c->err, -EINVAL,
				 "storage option \"%.100s\" is not known; there is only size=BYTES",
				 options->keys[i]);
	if (r < 0 || !options || !options->count)
		return r;
	r = docker_json_text(options, "size", &text, &c->err);
	return r < 0 ? r : docker_parse_size(text, ret, &c->err);
}

static int prepare(struct call *c, struct overlaid *store, void *arg)
{
	return overlaid_snapshot_prepare(store, arg, NULL, NULL, &c->err);
}

static int create_as(struct call *c, bool writable)
{
	struct overlaid_label labels[2] = { { LABEL_WRITABLE, writable ? "true" : "" },
					    { LABEL_CONTEXT, "" } };
	struct overlaid_prepare p = { .kind = OVERLAID_SNAPSHOT_ACTIVE,
				      .labels = labels,
				      .label_count = ARRAY_LEN(labels),
				      .plain_root = true, /* as Docker has it */
				      .settle_parent = true };
	int r = read_ids(c);

	if (r >= 0)
		r = docker_json_text(c->request, "MountLabel", &labels[1].value, &c->err);
	if (r >= 0)
		p.quota_bytes = writable ? c->home->size_bytes : 0;
	if (r >= 0)
		r = storage_size(c, &p.quota_bytes);
	if (r >= 0 && c->parent[0])
		r = promise(c, c->parent);
	if (r >= 0 && c->parent[0])
		r = mounts_settle(c->home->mounts, c->parent, &c->err);
	if (r < 0)
		return r;
	p.scope = c->home->scope;
	p.key = c->id;
	p.parent = c->parent;
	p.uid_map = c->home->uids[0] ? c->home->uids : NULL;
	p.gid_map = c->home->gids[0] ? c->home->gids : NULL;
	/* What is filled, exported or beneath something later is durable with that. */
	r = change_store(c, !writable || is_init(c->id), prepare, &p);
	if (r == -EEXIST)
		return fail(&c->err, r, "there is a layer %s already", c->id);
	if (r == -ENOENT)
		return fail(&c->err, r, "there is no layer %s, which is to be the parent of %s",
			    c->parent, c->id);
	return r;
}

static int create(struct call *c)
{
	return create_as(c, false);
}

static int create_writable(struct call *c)
{
	return create_as(c, true);
}

static int remove_rows(struct call *c, struct overlaid *store, void *arg)
{
	return overlaid_snapshot_remove(store, c->home->scope, c->id, &c->err);
}

static int remove_layer(struct call *c)
{
	int r = read_ids(c);

	if (r < 0)
		return r;
	r = change_store(c, false, remove_rows, NULL);
	if (r < 0 && r != -ENOENT)
		return r;
	mounts_drop(c->home->mounts, c->id);
	janitor_wake(c->docker->serve->janitor);
	return 0;
}

static int exists(struct call *c)
{
	struct layer layer;
	int r = read_ids(c);

	if (r >= 0)
		r = find_layer(c, c->id, &layer);
	if (r < 0 && r != -ENOENT)
		return r;
	return buf_puts(&c->answer, r < 0 ? "{\"Exists\":false}" : "{\"Exists\":true}");
}

/* ---- the calls: mounts ---- */

struct mounting {
	struct call *call;
	const struct layer *layer;
	const char *context;
};

static int mount_layer(void *arg, const char *target, struct err *err)
{
	const struct mounting *m = arg;
	const struct docker_home *home = m->call->home;
	const struct overlaid_attach attach = { .scope = home->scope,
						.key = m->call->id,
						.target = target,
						.context = m->context,
						.maps = docker_home_maps(home),
						.scratch = m->layer->scratch };

	return overlaid_snapshot_attach(m->call->store, &attach, err);
}

static int get(struct call *c)
{
	struct layer layer;
	struct mounting m = { .call = c, .layer = &layer };
	struct mounts_how how = { .mount = mount_layer, .arg = &m };
	auto_free char *dir = NULL;
	int r = read_ids(c);

	if (r >= 0)
		r = docker_json_text(c->request, "MountLabel", &m.context, &c->err);
	if (r >= 0)
		r = find_layer(c, c->id, &layer);
	if (r < 0)
		return r;
	if (!m.context[0])
		m.context = layer.context;
	how.writable = layer.active;
	how.keep = layer.active && !layer.scratch;
	r = mounts_get(c->home->mounts, c->id, &how, &dir, &c->err);
	return r < 0 ? r : print(c, json_set(json_new_object(), "Dir", json_new_string(dir)));
}

static int put(struct call *c)
{
	int r = read_ids(c);

	if (r >= 0)
		r = mounts_put(c->home->mounts, c->id, &c->err);
	if (r <= 0)
		return r;
	/* A step of BuildKit's is in its cache from now on. */
	r = promise(c, c->id);
	return r == -ENOENT ? 0 : r;
}

struct describing {
	struct call *call;
	struct json *metadata;
};

/* As overlay2 has it: UpperDir is the layer's own tree, LowerDir what is beneath. */
static int describe(void *arg, const struct overlaid_paths *paths)
{
	auto_buf struct buf lowers = { .max = ANSWER_BYTES_MAX };
	struct describing *d = arg;
	const size_t own = paths->upper[0] ? 0 : 1;
	auto_free char *dir = mounts_path(d->call->home->mounts, d->call->id);
	int r = dir ? 0 : fail_oom(&d->call->err);

	for (size_t i = own; r >= 0 && i < paths->lower_count; i++)
		r = buf_printf(&lowers, i > own ? ":%s" : "%s", paths->lowers[i]);
	if (r < 0)
		return r;
	if (lowers.len)
		d->metadata = json_set(d->metadata, "LowerDir", json_new_string(buf_text(&lowers)));
	d->metadata = json_set(d->metadata, "MergedDir", json_new_string(dir));
	d->metadata = json_set(d->metadata, "UpperDir",
			       json_new_string(own ? paths->lowers[0] : paths->upper));
	if (paths->work[0])
		d->metadata = json_set(d->metadata, "WorkDir", json_new_string(paths->work));
	return 0;
}

static int get_metadata(struct call *c)
{
	struct describing d = { .call = c, .metadata = json_new_object() };
	int r = read_ids(c);

	if (r >= 0)
		r = overlaid_snapshot_paths(c->store, c->home->scope, c->id, describe, &d, &c->err);
	if (r < 0) {
		json_free(d.metadata);
		return r;
	}
	return print(c, json_set(json_new_object(), "Metadata", d.metadata));
}

/* ---- the calls: content ---- */

static struct overlaid_diff diff_of(const struct call *c)
{
	return (struct overlaid_diff){ .scope = c->home->scope,
				       .key = c->id,
				       .parent = c->parent,
				       .maps = docker_home_maps(c->home) };
}

struct listing {
	struct call *call;
	struct json *list;
};

static int add_change(void *arg, enum overlaid_change change, const char *path)
{
	static const int kinds[] = {
		[OVERLAID_CHANGED] = 0, [OVERLAID_ADDED] = 1, [OVERLAID_DELETED] = 2
	};
	struct listing *l = arg;
	struct json *j = json_set(json_new_object(), "Path", json_new_string(path));

	l->list = json_push(l->list, json_set(j, "Kind", json_new_int(kinds[change])));
	return l->list ? 0 : fail_oom(&l->call->err);
}

static int changes(struct call *c)
{
	struct listing l = { .call = c, .list = json_new_array() };
	struct overlaid_diff diff;
	int r = read_ids(c);

	if (r >= 0) {
		diff = diff_of(c);
		r = overlaid_snapshot_changes(c->store, &diff, add_change, &l, &c->err);
	}
	if (r < 0) {
		json_free(l.list);
		return r;
	}
	return print(c, json_set(json_new_object(), "Changes", l.list));
}

static int diff_size(struct call *c)
{
	struct overlaid_diff diff;
	uint64_t bytes;
	int r = read_ids(c);

	if (r < 0)
		return r;
	diff = diff_of(c);
	r = overlaid_snapshot_diff_size(c->store, &diff, &bytes, &c->err);
	return r < 0 ? r : buf_printf(&c->answer, "{\"Size\":%llu}", (unsigned long long)bytes);
}

struct sending {
	struct http_call *http;
	bool begun;
};

static int send_piece(void *arg, const void *bytes, size_t len, struct err *err)
{
	struct sending *s = arg;

	s->begun = true;
	return http_call_send(s->http, bytes, len, err);
}

static int export(struct call *c, struct sending *s)
{
	struct overlaid_diff diff;
	struct layer layer;
	int r = read_ids(c);

	if (r >= 0)
		r = find_layer(c, c->id, &layer);
	if (r < 0)
		return r;
	diff = diff_of(c);
	r = overlaid_snapshot_export(c->store, &diff, send_piece, s, &c->err);
	/* A step of BuildKit's is an image's layer once this is answered. */
	return r < 0 || layer.writable ? r : promise(c, c->id);
}

struct filling {
	struct http_call *http;
	bool begun;
};

/* Of a connection that broke dockerd sends again what it has not yet read, and takes an answer to that for all of
 * it: that nothing is left is no layer without files, which is two blocks of zeros. */
static ssize_t read_tar(void *arg, const void **ret_block, struct err *err)
{
	struct filling *f = arg;
	ssize_t n = http_call_read(f->http, ret_block, err);

	if (n == 0 && !f->begun)
		return fail(err, -EBADMSG, "the layer came without its tar; it was not filled");
	f->begun = true;
	return n;
}

static int fill(struct call *c)
{
	struct filling filling = { .http = c->http };
	struct overlaid_maps maps;
	uint64_t bytes;
	int r = need_home(c);

	c->id = http_call_query(c->http, "id");
	if (r >= 0)
		r = docker_check_id(c->id, &c->err);
	if (r >= 0)
		r = mounts_begin_fill(c->home->mounts, c->id, &c->err);
	if (r < 0)
		return r;
	maps = docker_home_maps(c->home);
	r = overlaid_snapshot_fill(c->store, c->home->scope, c->id, &maps, read_tar, &filling,
				   &bytes, &c->err);
	/* Whom we cut off comes again, to whoever serves then. */
	if (r >= 0 || !atomic_load(&c->docker->draining))
		mounts_end_fill(c->home->mounts, c->id);
	if (r < 0)
		return r;
	/* The directory that it was to be written to. */
	janitor_wake(c->docker->serve->janitor);
	r = mounts_settle(c->home->mounts, c->id, &c->err);
	return r < 0 ? r : buf_printf(&c->answer, "{\"Size\":%llu}", (unsigned long long)bytes);
}

/* ---- the calls: what an administrator sees ---- */

static struct json *add_row(struct json *rows, const char *key, const char *value)
{
	struct json *row = json_push(json_new_array(), json_new_string(key));

	return json_push(rows, json_push(row, json_new_string(value)));
}

static int add_info(void *arg, const struct overlaid_info *info)
{
	struct json **rows = arg;
	char layers[32];

	(void)snprintf(layers, sizeof(layers), "%zu", info->layer_count);
	*rows = add_row(*rows, "Store", info->root);
	*rows = add_row(*rows, "Backing Filesystem", info->backing_fs);
	*rows = add_row(*rows, "Mounts", info->mount_way);
	*rows = add_row(*rows, "Unpacker", info->confinement);
	*rows = add_row(*rows, "Layers", layers);
	return 0;
}

static int status(struct call *c)
{
	struct json *rows = add_row(json_new_array(), "Overlaid", overlaid_version());
	int r = read_request(c);

	if (r >= 0)
		r = overlaid_info(c->store, add_info, &rows, &c->err);
	if (r < 0) {
		json_free(rows);
		return r;
	}
	return print(c, json_set(json_new_object(), "Status", rows));
}

/* ---- the table ---- */

#define CALL(name, fn)                                            \
	static void run_##name(void *arg, struct http_call *http) \
	{                                                         \
		run(arg, http, fn);                               \
	}

CALL(activate, activate)
CALL(init, init)
CALL(capabilities, capabilities)
CALL(create, create)
CALL(create_writable, create_writable)
CALL(remove, remove_layer)
CALL(get, get)
CALL(put, put)
CALL(exists, exists)
CALL(status, status)
CALL(get_metadata, get_metadata)
CALL(cleanup, cleanup)
CALL(changes, changes)
CALL(diff_size, diff_size)
CALL(fill, fill)

/* An error is not a 200, or else a stream that does not end as it should. */
static void run_export(void *arg, struct http_call *http)
{
	struct sending s = { .http = http };
	struct call c;
	int r = begin(&c, arg, http);

	if (r >= 0)
		r = export(&c, &s);
	if (r < 0 && !s.begun) {
		answer_failure(&c);
	} else {
		if (r < 0)
			serve_log("docker: %s of %s is cut: %s", http_call_path(http), c.id,
				  c.err.text);
		http_call_end(http, r >= 0);
	}
	end(&c);
}

static const struct http_route routes[] = {
	{ "/Plugin.Activate", run_activate, 0 },
	{ "/GraphDriver.Init", run_init, 0 },
	{ "/GraphDriver.Capabilities", run_capabilities, 0 },
	{ "/GraphDriver.Create", run_create, 0 },
	{ "/GraphDriver.CreateReadWrite", run_create_writable, 0 },
	{ "/GraphDriver.Remove", run_remove, 0 },
	{ "/GraphDriver.Get", run_get, 0 },
	{ "/GraphDriver.Put", run_put, 0 },
	{ "/GraphDriver.Exists", run_exists, 0 },
	{ "/GraphDriver.Status", run_status, 0 },
	{ "/GraphDriver.GetMetadata", run_get_metadata, 0 },
	{ "/GraphDriver.Cleanup", run_cleanup, 0 },
	{ "/GraphDriver.Changes", run_changes, 0 },
	{ "/GraphDriver.DiffSize", run_diff_size, 0 },
	{ "/GraphDriver.Diff", run_export, HTTP_STREAMS },
	{ "/GraphDriver.ApplyDiff", run_fill, HTTP_READS_BODY },
};

/* ---- the face ---- */

int docker_name(const char *argument, char **ret_path, char **ret_name, struct err *err)
{
	const char *base = strrchr(argument, '/');
	auto_free char *path = NULL, *name = NULL;
	size_t len;

	base = base ? base + 1 : argument;
	len = strlen(base);
	if (base != argument && len > 5 && strcmp(base + len - 5, ".sock") == 0)
		len -= 5;
	name = strndup(base, len);
	if (!name)
		return fail_oom(err);
	if (docker_check_id(name, NULL) < 0)
		return fail(
			err, -EINVAL,
			"--docker %s: a plugin's name is made of letters, digits, '_', '.' and '-'",
			argument);
	path = base == argument ? NULL : strdup(argument);
	if (!path && asprintf(&path, "%s/%s.sock", DOCKER_PLUGINS, name) < 0)
		return fail_oom(err);
	*ret_path = take_ptr(path);
	*ret_name = take_ptr(name);
	return 0;
}

static void log_http(void *arg, const char *line)
{
	serve_log("docker: %s", line);
}

static int load_home(struct docker *d, struct err *err)
{
	struct overlaid *store = handles_take(d->handles, err);
	int r = store ? docker_home_lock(store, d->name, err) : -EIO;

	if (r >= 0) {
		d->name_fd = r;
		r = docker_home_load(store, d->name, &d->home, err);
	}
	handles_give(d->handles, store);
	/* The next Init puts another in its place; who is served beside dockerd need not wait for it. */
	if (r == -EBADMSG)
		serve_log("docker: plugin %s: %s: dockerd has to be started again", d->name,
			  err->text);
	return r < 0 && r != -EBADMSG ? err_prefix(err, r, "plugin %s", d->name) : 0;
}

int docker_new(struct serve *serve, const char *name, struct docker **ret, struct err *err)
{
	struct http_options http = { .routes = routes,
				     .route_count = ARRAY_LEN(routes),
				     .body_bytes_max = BODY_BYTES_MAX,
				     .content_type = CONTENT_TYPE,
				     .log = log_http };
	struct docker *d = calloc(1, sizeof(*d));
	int r;

	if (!d)
		return fail_oom(err);
	d->serve = serve;
	d->name = name;
	d->dockerd_fd = d->name_fd = -EBADF;
	(void)pthread_mutex_init(&d->lock, NULL);
	http.arg = d;
	r = handles_new(&serve->store, &d->handles, err);
	if (r >= 0)
		r = load_home(d, err);
	if (r >= 0)
		r = http_server_new(&http, &d->http, err);
	if (r < 0) {
		docker_free(d);
		return r;
	}
	*ret = d;
	return 0;
}

int docker_listen(struct docker *d, int fd, struct err *err)
{
	return http_server_listen(d->http, fd, NULL, err);
}

void docker_drain(struct docker *d, unsigned int seconds)
{
	atomic_store(&d->draining, true);
	http_server_drain(d->http, seconds);
}

void docker_free(struct docker *d)
{
	if (!d)
		return;
	atomic_store(&d->draining, true);
	http_server_free(d->http);
	docker_home_unref(d->home);
	handles_free(d->handles);
	auto_close_fn(&d->dockerd_fd);
	auto_close_fn(&d->name_fd);
	(void)pthread_mutex_destroy(&d->lock);
	free(d);
}
