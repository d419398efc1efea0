/* SPDX-License-Identifier: Apache-2.0 */
/*
 * unmount: a container goes from the mount table, and the database need not be opened for it.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "driver/mount.h"
#include "graph/handle.h"
#include "graph/store/snapshot.h"

/* The uid of the one container of this name that the mount table shows, if it is this store's: 1 and
 * its mount point. */
static int find_in_table(struct store *store, const char *name, char ret_uid[STORE_HEX_LEN + 1],
			 char **ret_target, struct err *err)
{
	auto_free char *dir = NULL, *source = NULL, *target = NULL;
	const char *uid;
	int r;

	if (asprintf(&dir, "%s/mnt", store->run_path) < 0 ||
	    asprintf(&source, SNAPSHOT_SOURCE_PREFIX "%s", name) < 0)
		return fail_oom(err);
	r = mount_find_source(dir, source, &target, err);
	if (r <= 0)
		return r;
	uid = strrchr(target, '/') + 1;
	/* Another store may share the run directory. */
	if (!hex_valid(uid, STORE_HEX_LEN) ||
	    faccessat(store->snapshots_fd, uid, F_OK, AT_SYMLINK_NOFOLLOW) < 0)
		return 0;
	(void)snprintf(ret_uid, STORE_HEX_LEN + 1, "%s", uid);
	*ret_target = take_ptr(target);
	return 1;
}

/* 1 where it was mounted, and is not any more. Its row still says so: overlaid_reap() drops it. */
static int unmount_by_table(struct store *store, const char *name, struct err *err)
{
	auto_locks struct store_locks locks = STORE_LOCKS_INIT;
	auto_free char *target = NULL;
	char uid[STORE_HEX_LEN + 1];
	int r = find_in_table(store, name, uid, &target, err);

	if (r <= 0)
		return r;
	r = store_locks_open(store, &locks, err);
	if (r >= 0)
		r = store_lock_object(&locks, uid, STORE_LOCK_WAIT, err);
	if (r >= 0)
		r = mount_is_mounted(target, err);
	if (r <= 0)
		return r;
	r = mount_unmount(target, err);
	if (r < 0)
		return err_prefix(err, r, "unmount %s", name);
	(void)rmdir(target);
	return 1;
}

static int unmount_by_name(struct store *store, const char *name, struct err *err)
{
	auto_snapshot struct snapshot s = { 0 };
	int r = snapshot_resolve(store, SNAPSHOT_SCOPE_CLI, name, "container", &s, err);

	return r < 0 ? r : snapshot_unmount(store, &s, err);
}

int overlaid_unmount(const struct overlaid_options *options, const char *name, struct err *err)
{
	static const struct overlaid_options defaults = { 0 };
	const struct overlaid_options *o = options ? options : &defaults;
	auto_store struct store *store = NULL;
	int r = store_open_files(o->root, o->run, o->durability == OVERLAID_DURABLE, o->must_exist,
				 &store, err);

	if (r >= 0)
		r = unmount_by_table(store, name, err);
	if (r != 0)
		return r < 0 ? r : 0;
	r = store_open_db(store, err);
	return r < 0 ? r : unmount_by_name(store, name, err);
}
