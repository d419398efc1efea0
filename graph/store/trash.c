/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "driver/base/fd.h"
#include "driver/tree.h"
#include "graph/store/db.h"
#include "graph/store/keyed.h"
#include "graph/store/store.h"

int trash_move(const struct store *store, int dirfd, const char *name, struct err *err)
{
	char trash_name[TRASH_NAME_LEN + 1];

	random_hex(trash_name, TRASH_NAME_LEN);
	if (renameat(dirfd, name, store->trash_fd, trash_name) < 0 && errno != ENOENT)
		return fail(err, -errno, "move %s to %s/trash: %m", name, store->root_path);
	return 0;
}

struct doomed {
	char kind[12], hex[STORE_HEX_LEN + 1], name[TRASH_NAME_LEN + 1];
	int64_t id;
};

/* The rows of `trash`, read before anything is done so that no statement stays open. *ret is the
 * caller's. */
static int doomed_list(struct store *store, struct doomed **ret, size_t *ret_count, struct err *err)
{
	auto_query struct db_query q = DB_QUERY_INIT;
	auto_free struct doomed *list = NULL;
	size_t count = 0, cap = 0;
	int r = db_query(store->db, &q, err, "SELECT id, kind, hex, name FROM trash", "");

	while (r >= 0 && (r = db_step(&q, err)) > 0) {
		if (count == cap) {
			struct doomed *more = reallocarray(list, cap ? cap * 2 : 16, sizeof(*list));

			if (!more)
				return fail_oom(err);
			list = more;
			cap = cap ? cap * 2 : 16;
		}
		list[count].id = db_int(&q, 0);
		(void)snprintf(list[count].kind, sizeof(list[count].kind), "%s", db_text(&q, 1));
		(void)snprintf(list[count].hex, sizeof(list[count].hex), "%s", db_text(&q, 2));
		(void)snprintf(list[count].name, sizeof(list[count].name), "%s", db_text(&q, 3));
		count++;
	}
	if (r < 0)
		return r;
	*ret = take_ptr(list);
	*ret_count = count;
	return 0;
}

static const struct {
	const char *kind;
	size_t dirfd_offset;
	const char *row; /* finds the row that has come back */
} kinds[] = {
	{ "layer", offsetof(struct store, layers_fd),
	  "SELECT 1 FROM layer WHERE key = 'sha256:' || ?" },
	{ "blob", offsetof(struct store, blobs_fd),
	  "SELECT 1 FROM blob WHERE stored AND digest = 'sha256:' || ?" },
	{ "snapshot", offsetof(struct store, snapshots_fd), KEYED_DIR_ROW },
};

/* Invariant 4: rename after the rows are gone, under the object's lock, and only while no row is
 * back. 1: somebody has the lock, so try again later. */
static int sweep_one(struct store *store, const struct doomed *d, struct err *err)
{
	auto_locks struct store_locks locks = STORE_LOCKS_INIT;
	size_t kind = 0;
	int64_t one;
	int dirfd, r;

	while (kind < ARRAY_LEN(kinds) && strcmp(kinds[kind].kind, d->kind) != 0)
		kind++;
	if (kind == ARRAY_LEN(kinds) || !hex_valid(d->hex, STORE_HEX_LEN) ||
	    !hex_valid(d->name, TRASH_NAME_LEN))
		return 0;
	dirfd = *(const int *)((const char *)store + kinds[kind].dirfd_offset);
	if (faccessat(dirfd, d->hex, F_OK, AT_SYMLINK_NOFOLLOW) < 0)
		return 0;
	r = store_locks_open(store, &locks, err);
	if (r >= 0)
		r = store_lock_object(&locks, d->hex, STORE_LOCK_TRY, err);
	if (r == -EAGAIN)
		return 1;
	if (r >= 0)
		r = db_get_int(store->db, &one, err, kinds[kind].row, "s", d->hex);
	if (r != 0)
		return r < 0 ? r : 0;
	if (renameat(dirfd, d->hex, store->trash_fd, d->name) == 0 || errno == ENOENT)
		return 0;
	/* It was here again and removed again while its first incarnation is still being unlinked. */
	if (errno == ENOTEMPTY || errno == EEXIST)
		return trash_move(store, dirfd, d->hex, err);
	return fail(err, -errno, "move %s %s to %s/trash: %m", d->kind, d->hex, store->root_path);
}

int trash_sweep(struct store *store, struct err *err)
{
	auto_free struct doomed *list = NULL;
	size_t count = 0;
	int r = doomed_list(store, &list, &count, err);

	for (size_t i = 0; r >= 0 && i < count; i++)
		r = sweep_one(store, &list[i], err);
	return r < 0 ? r : 0;
}

struct unlinking {
	const struct store *store;
	size_t count;
	struct err *err;
};

static int unlink_one(void *arg, const char *name)
{
	struct unlinking *u = arg;
	int r = tree_remove_at(u->store->trash_fd, name, u->err);

	if (r < 0)
		return err_prefix(u->err, r, "delete %s/trash/%s", u->store->root_path, name);
	u->count++;
	return 0;
}

/* Deleting them twice does no harm, so this need not survive a power cut. */
static int drop_rows(struct store *store, const struct doomed *list, size_t count, struct err *err)
{
	auto_transaction struct db_transaction t = DB_TRANSACTION_INIT;
	int r = db_set_durable(store->db, false, err);

	if (r >= 0)
		r = db_begin(store->db, &t, err);
	for (size_t i = 0; r >= 0 && i < count; i++)
		r = db_run(store->db, err, "DELETE FROM trash WHERE id = ?", "i", list[i].id);
	if (r >= 0)
		r = db_commit(&t, err);
	db_rollback(&t);
	(void)db_set_durable(store->db, true, NULL);
	return r;
}

/* One round: rename, unlink, and drop the rows that were there at its start. *ret_kept: rows that
 * must wait for a lock. */
static int empty_once(struct store *store, size_t *ret_done, int64_t *ret_kept, struct err *err)
{
	auto_free struct doomed *list = NULL;
	struct unlinking unlinking = { .store = store, .err = err };
	size_t count = 0, swept = 0;
	int r = doomed_list(store, &list, &count, err);

	for (size_t i = 0; r >= 0 && i < count; i++) {
		r = sweep_one(store, &list[i], err);
		if (r == 0)
			list[swept++] = list[i];
	}
	if (r >= 0)
		r = foreach_name(store->trash_fd, unlink_one, &unlinking, err);
	if (r < 0)
		return r;
	if (swept > 0)
		r = drop_rows(store, list, swept, err);
	*ret_done = unlinking.count + swept;
	*ret_kept = (int64_t)(count - swept);
	return r;
}

int trash_empty(struct store *store, bool wait, struct err *err)
{
	int64_t kept = 0, rows = 0;
	size_t done;
	int r;

	/* Who fails to get the lock relies on its holder to look again after letting go. */
	do {
		auto_locks struct store_locks locks = STORE_LOCKS_INIT;

		r = store_locks_open(store, &locks, err);
		if (r >= 0)
			r = store_lock_offset(&locks, STORE_LOCK_REAPER,
					      wait ? STORE_LOCK_WAIT : STORE_LOCK_TRY, err);
		do {
			done = 0;
			if (r >= 0)
				r = empty_once(store, &done, &kept, err);
		} while (r >= 0 && done > 0);
		store_locks_release(&locks);
		if (r >= 0)
			r = db_get_int(store->db, &rows, err, "SELECT count(*) FROM trash", "");
	} while (r >= 0 && rows > kept);
	return r < 0 ? r : 0;
}
