/* SPDX-License-Identifier: Apache-2.0 */
#include "graph/store/snapshot.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>

#include "driver/base/fd.h"
#include "driver/mount.h"
#include "driver/tree.h"
#include "graph/store/chain.h"
#include "graph/store/db.h"

#define CANDIDATES_NAMED 10

/* What people call it. */
static const char *label(const struct snapshot *s)
{
	return s->view ? s->image_name : s->name;
}

void snapshot_release(struct snapshot *s)
{
	free(s->labels);
	s->labels = NULL;
}

/* ---- its directory ---- */

/* The topmost layer that says what "/" is, by a query that gives its key: 1 and a descriptor of
 * its tree, 0 where none does. */
static int open_root_layer(struct store *store, const char *sql, int64_t id, int *ret_fd,
			   struct err *err)
{
	auto_query struct db_query q = DB_QUERY_INIT;
	auto_free char *path = NULL;
	struct digest key;
	int r = db_query(store->db, &q, err, sql, "i", id);

	if (r >= 0)
		r = db_step(&q, err);
	if (r > 0)
		r = digest_parse(db_text(&q, 0), &key, err) < 0 ? -EUCLEAN : 1;
	if (r <= 0)
		return r;
	r = layer_open(store, &key, &path, err);
	if (r < 0)
		return r;
	*ret_fd = r;
	return 1;
}

/* A snapshot that has no row yet takes it from its image; later it has layers of its own. */
#define ROOT_OF(table, column)                                                   \
	"SELECT key FROM " table " JOIN layer ON layer.id = layer WHERE " column \
	" = ? AND NOT root_implied ORDER BY position DESC LIMIT 1"
static const char root_of_image[] = ROOT_OF("image_layer", "image");
static const char root_of_snapshot[] = ROOT_OF("snapshot_layer", "snapshot");

static int copy_root(struct store *store, const char *root_sql, int64_t id, int upper_fd,
		     struct err *err)
{
	auto_close int root_fd = -EBADF;
	int r = open_root_layer(store, root_sql, id, &root_fd, err);

	if (r > 0)
		return tree_copy_dir_metadata(root_fd, upper_fd, err);
	if (r == 0 && futimens(upper_fd, (const struct timespec[2]){ { 0 }, { 0 } }) < 0)
		return fail(err, -errno, "set the times of a snapshot's directory: %m");
	return r;
}

/* Makes what is missing of the directory; fs/ appears whole, by a rename. Hold the snapshot's lock.
 * Returns a descriptor of it. */
static int make_directory(struct store *store, const char *uid, const char *root_sql, int64_t id,
			  struct err *err)
{
	auto_close int dir_fd = open_or_make_dir_at(store->snapshots_fd, uid, 0700, err);
	auto_close int work_fd = -EBADF, upper_fd = -EBADF;
	int r;

	if (dir_fd < 0)
		return dir_fd;
	if (faccessat(dir_fd, "fs", F_OK, AT_SYMLINK_NOFOLLOW) == 0)
		return take_fd(&dir_fd);
	work_fd = open_or_make_dir_at(dir_fd, "work", 0700, err);
	if (work_fd < 0)
		return work_fd;
	upper_fd = open_or_make_dir_at(dir_fd, "fs.new", 0755, err);
	if (upper_fd < 0)
		return upper_fd;
	r = copy_root(store, root_sql, id, upper_fd, err);
	if (r >= 0 && renameat(dir_fd, "fs.new", dir_fd, "fs") < 0)
		r = fail(err, -errno, "rename a snapshot's directory: %m");
	return r < 0 ? r : take_fd(&dir_fd);
}

/* ---- creating ---- */

static int insert_rows(struct store *store, const struct snapshot_spec *spec, const char *uid,
		       struct err *err)
{
	auto_transaction struct db_transaction t = DB_TRANSACTION_INIT;
	int64_t id, one;
	int r = db_begin(store->db, &t, err);

	if (r >= 0)
		r = db_get_int(store->db, &one, err,
			       "SELECT 1 FROM image WHERE id = ? AND image_id = ?", "is",
			       spec->image, spec->image_id);
	if (r == 0)
		return fail(err, -ENOENT, "no such image: %s (it was removed meanwhile)",
			    spec->image_name);
	if (r > 0)
		r = db_run(store->db, err,
			   "INSERT INTO snapshot(scope, name, uid, kind, ephemeral, image, image_id,"
			   " image_name, labels, created)"
			   " VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
			   "ssssiisssi", spec->scope, spec->name, uid,
			   spec->view ? "view" : "active", (int64_t)spec->ephemeral, spec->image,
			   spec->image_id, spec->image_name, spec->labels, (int64_t)time(NULL));
	if (r == -EEXIST)
		return fail(
			err, -EEXIST,
			"the name \"%s\" is in use already; remove that container or choose another name",
			spec->name);
	if (r < 0)
		return r;
	id = db_last_id(store->db);
	r = db_run(store->db, err,
		   "INSERT INTO snapshot_layer(snapshot, position, layer) "
		   "SELECT ?, position, layer FROM image_layer WHERE image = ?",
		   "ii", id, spec->image);
	return r < 0 ? r : db_commit(&t, err);
}

/* The directory of an ephemeral snapshot stands, locked, before anybody can see its row. */
static int own_directory(struct store *store, const struct snapshot_spec *spec, const char *uid,
			 int *ret_owner, struct err *err)
{
	auto_close int dir_fd = make_directory(store, uid, root_of_image, spec->image, err);

	if (dir_fd < 0)
		return dir_fd;
	if (flock(dir_fd, LOCK_EX | LOCK_NB) < 0)
		return fail(err, -errno, "lock the directory of a new snapshot: %m");
	*ret_owner = take_fd(&dir_fd);
	return 0;
}

int snapshot_create(struct store *store, const struct snapshot_spec *spec,
		    char ret_uid[STORE_HEX_LEN + 1], int *ret_owner, struct err *err)
{
	auto_locks struct store_locks locks = STORE_LOCKS_INIT;
	auto_close int owner = -EBADF;
	bool durable = !spec->ephemeral && !spec->view;
	char uid[STORE_HEX_LEN + 1];
	int r;

	random_hex(uid, STORE_HEX_LEN);
	r = store_locks_open(store, &locks, err);
	if (r >= 0)
		r = store_lock_object(&locks, uid, STORE_LOCK_WAIT, err);
	if (r >= 0 && spec->ephemeral)
		r = own_directory(store, spec, uid, &owner, err);
	if (r >= 0 && !durable)
		r = db_set_durable(store->db, false, err);
	if (r >= 0)
		r = insert_rows(store, spec, uid, err);
	if (!durable)
		(void)db_set_durable(store->db, true, NULL);
	if (r < 0) {
		(void)trash_move(store, store->snapshots_fd, uid, NULL);
		return r;
	}
	if (spec->ephemeral)
		*ret_owner = take_fd(&owner);
	(void)snprintf(ret_uid, STORE_HEX_LEN + 1, "%s", uid);
	return 0;
}

/* ---- finding ---- */

#define SNAPSHOT_COLUMNS \
	"id, image, created, kind = 'view', ephemeral, uid, scope, name, image_id, image_name, labels"

static int snapshot_read(const struct db_query *q, struct snapshot *ret, struct err *err)
{
	struct snapshot s = { .id = db_int(q, 0),
			      .image = db_int(q, 1),
			      .created = db_int(q, 2),
			      .view = db_int(q, 3),
			      .ephemeral = db_int(q, 4) };

	(void)snprintf(s.uid, sizeof(s.uid), "%s", db_text(q, 5));
	(void)snprintf(s.scope, sizeof(s.scope), "%s", db_text(q, 6));
	(void)snprintf(s.name, sizeof(s.name), "%s", db_text(q, 7));
	(void)snprintf(s.image_id, sizeof(s.image_id), "%s", db_text(q, 8));
	(void)snprintf(s.image_name, sizeof(s.image_name), "%s", db_text(q, 9));
	s.labels = strdup(db_text(q, 10));
	if (!s.labels)
		return fail_oom(err);
	*ret = s;
	return 0;
}

static int find_name(struct store *store, const char *scope, const char *name, struct snapshot *ret,
		     struct err *err)
{
	auto_query struct db_query q = DB_QUERY_INIT;
	int r = db_query(store->db, &q, err,
			 "SELECT " SNAPSHOT_COLUMNS " FROM snapshot WHERE scope = ? AND name = ?",
			 "ss", scope, name);

	if (r >= 0)
		r = db_step(&q, err);
	if (r > 0)
		r = snapshot_read(&q, ret, err) < 0 ? -ENOMEM : 1;
	return r;
}

static int find_uid(struct store *store, const char *scope, const char *name, const char *what,
		    struct snapshot *ret, struct err *err)
{
	auto_query struct db_query q = DB_QUERY_INIT;
	auto_buf struct buf candidates = { .max = 4096 };
	auto_snapshot struct snapshot first = { 0 };
	char high[STORE_HEX_LEN + 2];
	size_t found = 0;
	int r;

	if (name[0] == '\0' || strlen(name) > STORE_HEX_LEN || !hex_valid(name, strlen(name)))
		return 0;
	(void)snprintf(high, sizeof(high), "%sg", name);
	r = db_query(store->db, &q, err,
		     "SELECT " SNAPSHOT_COLUMNS
		     " FROM snapshot WHERE uid >= ? AND uid < ? AND scope = ? ORDER BY uid",
		     "sss", name, high, scope);
	while (r >= 0 && (r = db_step(&q, err)) > 0) {
		if (found++ == 0) {
			r = snapshot_read(&q, &first, err);
			if (r < 0)
				return r;
		}
		if (found <= CANDIDATES_NAMED)
			(void)buf_printf(&candidates, "\n  %.12s %s", db_text(&q, 5),
					 db_text(&q, 7));
	}
	if (r < 0 || found == 0)
		return r;
	if (found > 1)
		return fail(err, -ENOTUNIQ,
			    "\"%s\" is the beginning of %zu %s ids; give more of the one you mean:%s",
			    name, found, what, buf_text(&candidates));
	*ret = first;
	first.labels = NULL;
	return 1;
}

int snapshot_resolve(struct store *store, const char *scope, const char *name, const char *what,
		     struct snapshot *ret, struct err *err)
{
	int r = find_name(store, scope, name, ret, err);

	if (r == 0)
		r = find_uid(store, scope, name, what, ret, err);
	if (r == 0)
		return fail(err, -ENOENT, "no such %s: %s", what, name);
	return r < 0 ? r : 0;
}

/* Reads all rows of the query before the first call. */
static int hand_over(struct db_query *q, snapshot_fn *fn, void *arg, struct err *err)
{
	auto_free struct snapshot *list = NULL;
	size_t count = 0;
	int r;

	while ((r = db_step(q, err)) > 0) {
		struct snapshot *more = (count & (count - 1)) == 0 ?
						reallocarray(list, count ? count * 2 : 1,
							     sizeof(*list)) :
						list;

		if (!more) {
			r = fail_oom(err);
			break;
		}
		list = more;
		r = snapshot_read(q, &list[count], err);
		if (r < 0)
			break;
		count++;
	}
	db_query_release(q);
	for (size_t i = 0; i < count; i++) {
		if (r == 0)
			r = fn(arg, &list[i]);
		snapshot_release(&list[i]);
	}
	return r;
}

int snapshot_list(struct store *store, const char *scope, int64_t image, snapshot_fn *fn, void *arg,
		  struct err *err)
{
	auto_query struct db_query q = DB_QUERY_INIT;
	int r = db_query(store->db, &q, err,
			 "SELECT " SNAPSHOT_COLUMNS
			 " FROM snapshot WHERE (?1 IS NULL OR scope = ?1) AND (?2 = 0 OR image = ?2)"
			 " ORDER BY created DESC, id DESC",
			 "si", scope, image);

	return r < 0 ? r : hand_over(&q, fn, arg, err);
}

int snapshot_list_mounted(struct store *store, snapshot_fn *fn, void *arg, struct err *err)
{
	auto_query struct db_query q = DB_QUERY_INIT;
	int r = db_query(store->db, &q, err,
			 "SELECT " SNAPSHOT_COLUMNS
			 " FROM snapshot WHERE id IN (SELECT snapshot FROM mount)",
			 "");

	return r < 0 ? r : hand_over(&q, fn, arg, err);
}

int snapshot_layers(struct store *store, int64_t id, struct layer_list *ret, struct err *err)
{
	return layer_list_query(
		store, ret, err,
		"SELECT layer.id, key FROM snapshot_layer JOIN layer ON layer.id = layer WHERE snapshot = ?"
		" ORDER BY position",
		id);
}

int snapshot_open_upper(const struct store *store, const char *uid, struct err *err)
{
	char name[STORE_HEX_LEN + 4];

	(void)snprintf(name, sizeof(name), "%.64s/fs", uid);
	return open_dir_at(store->snapshots_fd, name, err);
}

bool snapshot_is_abandoned(const struct store *store, const struct snapshot *s)
{
	auto_close int fd = -EBADF;

	if (!s->ephemeral)
		return false;
	fd = openat(store->snapshots_fd, s->uid, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return fd < 0 ? errno == ENOENT : flock(fd, LOCK_EX | LOCK_NB) == 0;
}

/* ---- mounting ---- */

void snapshot_mount_state_release(struct snapshot_mount_state *state)
{
	free(state->target);
	state->target = NULL;
}

static int read_boot_id(char ret[40], struct err *err)
{
	auto_buf struct buf text = { .max = 128 };
	int r = read_file_at(AT_FDCWD, "/proc/sys/kernel/random/boot_id", &text, err);

	if (r >= 0)
		(void)snprintf(ret, 40, "%.36s", buf_text(&text));
	return r;
}

int snapshot_mount_state(struct store *store, int64_t id, struct snapshot_mount_state *ret,
			 struct err *err)
{
	auto_query struct db_query q = DB_QUERY_INIT;
	auto_mount_state struct snapshot_mount_state state = { 0 };
	uint64_t ours;
	char boot_id[40];
	int r = db_query(store->db, &q, err,
			 "SELECT boot_id, namespace, target FROM mount WHERE snapshot = ?", "i",
			 id);

	if (r >= 0)
		r = db_step(&q, err);
	if (r <= 0) {
		if (r == 0)
			*ret = (struct snapshot_mount_state){ 0 };
		return r;
	}
	r = read_boot_id(boot_id, err);
	if (r >= 0)
		r = mount_namespace(&ours, err);
	if (r < 0)
		return r;
	state.elsewhere = (uint64_t)db_int(&q, 1) != ours;
	if (strcmp(boot_id, db_text(&q, 0)) == 0) {
		r = state.elsewhere ?
			    mount_namespace_alive((uint64_t)db_int(&q, 1), &state.pid, err) :
			    mount_is_mounted(db_text(&q, 2), err);
		if (r < 0)
			return r;
		state.mounted = r > 0;
	}
	state.elsewhere = state.elsewhere && state.mounted;
	if (state.mounted) {
		state.target = strdup(db_text(&q, 2));
		if (!state.target)
			return fail_oom(err);
	}
	*ret = state;
	state.target = NULL;
	return 0;
}

static int mount_path(const struct store *store, const char *uid, char **ret, struct err *err)
{
	if (asprintf(ret, "%s/mnt/%s", store->run_path, uid) < 0)
		return fail_oom(err);
	return 0;
}

/* Lowers, upper and work of the snapshot. */
static int make_plan(struct store *store, const struct snapshot *s, struct overlay_plan *plan,
		     struct err *err)
{
	auto_layer_list struct layer_list layers = { 0 };
	int r = snapshot_layers(store, s->id, &layers, err);

	if (r >= 0)
		r = chain_add_lowers(store, &layers, plan, err);
	if (r >= 0)
		r = chain_set_upper(store, s->uid, "fs", plan, err);
	if (r >= 0)
		r = chain_pad(store, plan, err);
	if (r >= 0 && strcmp(s->scope, SNAPSHOT_SCOPE_CLI) == 0 &&
	    asprintf(&plan->source, SNAPSHOT_SOURCE_PREFIX "%s", s->name) < 0) {
		plan->source = NULL;
		return fail_oom(err);
	}
	if (s->view)
		plan->flags |= OVERLAY_READ_ONLY;
	if (s->ephemeral)
		plan->flags |= OVERLAY_VOLATILE;
	return r;
}

static int record_mount(struct store *store, int64_t id, const char *target, struct err *err)
{
	auto_transaction struct db_transaction t = DB_TRANSACTION_INIT;
	char boot_id[40];
	uint64_t ns;
	int r = read_boot_id(boot_id, err);

	if (r >= 0)
		r = mount_namespace(&ns, err);
	/* A boot ends every mount, so the row need not survive a power cut. */
	if (r >= 0)
		r = db_set_durable(store->db, false, err);
	if (r >= 0)
		r = db_begin(store->db, &t, err);
	if (r >= 0)
		r = db_run(store->db, err,
			   "INSERT OR REPLACE INTO mount(snapshot, boot_id, namespace, target) SELECT id, ?, ?, ?"
			   " FROM snapshot WHERE id = ? AND (kind = 'active' OR image IS NOT NULL)",
			   "sisi", boot_id, (int64_t)ns, target, id);
	if (r >= 0 && db_changes(store->db) == 0)
		r = fail(err, -ENOENT, "the image was removed meanwhile");
	if (r >= 0)
		r = db_commit(&t, err);
	db_rollback(&t);
	(void)db_set_durable(store->db, true, NULL);
	return r;
}

int snapshot_forget_mount(struct store *store, const char *uid, struct err *err)
{
	auto_transaction struct db_transaction t = DB_TRANSACTION_INIT;
	int r = db_set_durable(store->db, false, err);

	if (r >= 0)
		r = db_begin(store->db, &t, err);
	if (r >= 0)
		r = db_run(
			store->db, err,
			"DELETE FROM mount WHERE snapshot = (SELECT id FROM snapshot WHERE uid = ?)",
			"s", uid);
	if (r >= 0)
		r = db_commit(&t, err);
	db_rollback(&t);
	(void)db_set_durable(store->db, true, NULL);
	return r;
}

static int do_mount(struct store *store, const struct snapshot *s, const char *target,
		    struct err *err)
{
	auto_overlay_plan struct overlay_plan plan = OVERLAY_PLAN_INIT;
	auto_close int mnt_fd = store_open_mnt(store, err);
	auto_close int dir_fd = -EBADF;
	int r;

	if (mnt_fd < 0)
		return mnt_fd;
	dir_fd = make_directory(store, s->uid, root_of_snapshot, s->id, err);
	if (dir_fd < 0)
		return dir_fd;
	if (mkdirat(mnt_fd, s->uid, 0700) < 0 && errno != EEXIST)
		return fail(err, -errno, "create %s: %m", target);
	r = make_plan(store, s, &plan, err);
	/* Invariant 6: a row without its mount is seen through, a mount without its row would not be. */
	if (r >= 0 && !s->ephemeral)
		r = record_mount(store, s->id, target, err);
	if (r >= 0) {
		r = mount_overlay(&plan, target, NULL, err);
		if (r < 0 && !s->ephemeral)
			(void)snapshot_forget_mount(store, s->uid, NULL);
	}
	if (r < 0)
		(void)unlinkat(mnt_fd, s->uid, AT_REMOVEDIR);
	return r;
}

/* Whether the row is still there, now that the lock is held. */
static int check_exists(struct store *store, const struct snapshot *s, struct err *err)
{
	int64_t one;
	int r = db_get_int(store->db, &one, err, "SELECT 1 FROM snapshot WHERE id = ? AND uid = ?",
			   "is", s->id, s->uid);

	return r == 0 ? fail(err, -ENOENT, "%s was removed meanwhile", label(s)) : r;
}

/* An ephemeral snapshot has no row that says where it is mounted: it is where it is always mounted.
 */
static int find_mount(struct store *store, const struct snapshot *s,
		      struct snapshot_mount_state *ret, struct err *err)
{
	int r;

	if (!s->ephemeral)
		return snapshot_mount_state(store, s->id, ret, err);
	r = mount_path(store, s->uid, &ret->target, err);
	if (r >= 0)
		r = mount_is_mounted(ret->target, err);
	ret->mounted = r > 0;
	return r < 0 ? r : 0;
}

int snapshot_mount(struct store *store, const struct snapshot *s, char **ret_path, struct err *err)
{
	auto_locks struct store_locks locks = STORE_LOCKS_INIT;
	auto_mount_state struct snapshot_mount_state state = { 0 };
	auto_free char *target = NULL;
	int r = store_locks_open(store, &locks, err);

	if (r >= 0)
		r = store_lock_object(&locks, s->uid, STORE_LOCK_WAIT, err);
	if (r >= 0)
		r = check_exists(store, s, err);
	if (r >= 0)
		r = find_mount(store, s, &state, err);
	if (r < 0)
		return r;
	if (state.elsewhere)
		return fail(
			err, -EBUSY,
			"%s is mounted in another mount namespace (pid %d lives in it); unmount it there",
			label(s), state.pid);
	if (state.mounted) {
		*ret_path = take_ptr(state.target);
		return 0;
	}
	r = mount_path(store, s->uid, &target, err);
	if (r >= 0)
		r = do_mount(store, s, target, err);
	if (r < 0)
		return err_prefix(err, r, "mount %s", label(s));
	*ret_path = take_ptr(target);
	return 0;
}

/* The lock is held. */
static int unmount_locked(struct store *store, const struct snapshot *s,
			  const struct snapshot_mount_state *state, struct err *err)
{
	int r;

	if (state->elsewhere)
		return fail(
			err, -EBUSY,
			"%s is mounted in another mount namespace (pid %d lives in it); unmount it there",
			label(s), state->pid);
	r = mount_unmount(state->target, err);
	if (r < 0)
		return err_prefix(err, r, "unmount %s", label(s));
	(void)rmdir(state->target);
	return s->ephemeral ? 0 : snapshot_forget_mount(store, s->uid, err);
}

int snapshot_unmount(struct store *store, const struct snapshot *s, struct err *err)
{
	auto_locks struct store_locks locks = STORE_LOCKS_INIT;
	auto_mount_state struct snapshot_mount_state state = { 0 };
	int r = store_locks_open(store, &locks, err);

	if (r >= 0)
		r = store_lock_object(&locks, s->uid, STORE_LOCK_WAIT, err);
	if (r >= 0)
		r = find_mount(store, s, &state, err);
	if (r >= 0 && !state.mounted)
		r = fail(err, -EINVAL, "%s is not mounted", label(s));
	return r < 0 ? r : unmount_locked(store, s, &state, err);
}

static int delete_rows(struct store *store, const struct snapshot *s, struct err *err)
{
	static const char *const statements[] = {
		"DELETE FROM mount WHERE snapshot = ?",
		"DELETE FROM snapshot_layer WHERE snapshot = ?",
		"DELETE FROM snapshot WHERE id = ?",
	};
	auto_transaction struct db_transaction t = DB_TRANSACTION_INIT;
	auto_layer_list struct layer_list layers = { 0 };
	int r = db_begin(store->db, &t, err);

	if (r >= 0)
		r = check_exists(store, s, err);
	if (r >= 0)
		r = snapshot_layers(store, s->id, &layers, err);
	for (size_t i = 0; r >= 0 && i < ARRAY_LEN(statements); i++)
		r = db_run(store->db, err, statements[i], "i", s->id);
	if (r >= 0)
		r = layers_collect(store, &layers, NULL, err);
	/* The lock is held: no directory appears meanwhile. */
	if (r >= 0 && faccessat(store->snapshots_fd, s->uid, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
		r = trash_record(store, "snapshot", s->uid, err);
	return r < 0 ? r : db_commit(&t, err);
}

int snapshot_delete(struct store *store, const struct snapshot *s, bool force, struct err *err)
{
	auto_locks struct store_locks locks = STORE_LOCKS_INIT;
	auto_mount_state struct snapshot_mount_state state = { 0 };
	bool durable = !s->ephemeral && !s->view;
	int r = store_locks_open(store, &locks, err);

	if (r >= 0)
		r = store_lock_object(&locks, s->uid, STORE_LOCK_WAIT, err);
	if (r >= 0)
		r = find_mount(store, s, &state, err);
	if (r >= 0 && state.mounted && !force)
		return fail(err, -EBUSY, "%s is mounted at %s; unmount it first, or use -f",
			    label(s), state.target);
	if (r >= 0 && state.mounted)
		r = unmount_locked(store, s, &state, err);
	if (r >= 0 && !durable)
		r = db_set_durable(store->db, false, err);
	if (r >= 0)
		r = delete_rows(store, s, err);
	if (!durable)
		(void)db_set_durable(store->db, true, NULL);
	store_locks_release(&locks);
	return r < 0 ? r : trash_sweep(store, err);
}
