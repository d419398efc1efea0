/* SPDX-License-Identifier: Apache-2.0 */
/*
 * info: what the store holds, and what kernel and filesystem can do for it.
 */
#include <stdio.h>

#include "driver/confine.h"
#include "driver/probe.h"
#include "graph/handle.h"
#include "graph/store/db.h"

#define LINES_MAX 16

struct lines {
	char *list[LINES_MAX];
	size_t count;
};

static void lines_release(struct lines *l)
{
	for (size_t i = 0; i < l->count; i++)
		free(l->list[i]);
}

static void lines_add(struct lines *l, const char *key, const char *value)
{
	if (l->count < LINES_MAX && asprintf(&l->list[l->count], "%s: %s", key, value) >= 0)
		l->count++;
}

static const char *yes(bool value)
{
	return value ? "yes" : "no";
}

static void describe(const struct probe *p, struct lines *l)
{
	for (int way = 0; way < MOUNT_WAYS; way++) {
		char key[64];

		(void)snprintf(key, sizeof(key), "mount by %s",
			       mount_way_name((enum mount_way)way));
		lines_add(l, key, yes(p->ways[way]));
	}
	lines_add(l, "d_type", yes(p->d_type));
	lines_add(l, "openat2", yes(p->openat2));
	lines_add(l, "whiteouts", yes(p->whiteout));
	lines_add(l, "overlay xattrs",
		  p->xattr ? (p->xattrs == OVERLAY_XATTRS_TRUSTED ? "trusted" : "user") : "no");
	lines_add(l, "reflink", yes(p->reflink));
	lines_add(l, "volatile mounts", yes(p->volatile_mount));
}

static const char *best_way(const struct probe *p)
{
	for (int way = 0; way < MOUNT_WAYS; way++)
		if (p->ways[way])
			return mount_way_name((enum mount_way)way);
	return "none";
}

int overlaid_info(struct overlaid *o, int (*fn)(void *arg, const struct overlaid_info *info),
		  void *arg, struct err *err)
{
	AUTO(lines_release) struct lines lines = { .count = 0 };
	auto_staging struct staging staging = STAGING_INIT;
	int64_t images = 0, layers = 0, containers = 0;
	auto_free char *dir = NULL;
	struct confine_report confine;
	char confinement[256];
	struct probe probe;
	struct overlaid_info info;
	int r = staging_make(o->store, &staging, err);

	if (r >= 0 && asprintf(&dir, "%s/staging/%s", o->store->root_path, staging.name) < 0)
		r = fail_oom(err);
	if (r >= 0)
		r = probe_run(dir, &probe, err);
	if (r >= 0)
		r = db_get_int(o->store->db, &images, err, "SELECT count(*) FROM image", "");
	if (r >= 0)
		r = db_get_int(o->store->db, &layers, err, "SELECT count(*) FROM layer", "");
	if (r >= 0)
		r = db_get_int(o->store->db, &containers, err,
			       "SELECT count(*) FROM snapshot WHERE scope = 'cli'", "");
	if (r < 0)
		return r;
	describe(&probe, &lines);
	confine_probe(&confine);
	confine_describe(&confine, confinement, sizeof(confinement));
	info = (struct overlaid_info){
		.root = o->store->root_path,
		.run = o->store->run_path,
		.kernel = probe.kernel,
		.backing_fs = probe.backing_fs,
		.mount_way = best_way(&probe),
		.confinement = confinement,
		.lines = (const char *const *)lines.list,
		.line_count = lines.count,
		.format = STORE_FORMAT,
		.image_count = (size_t)images,
		.layer_count = (size_t)layers,
		.container_count = (size_t)containers,
	};
	return fn(arg, &info);
}
