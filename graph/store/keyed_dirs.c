/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "driver/base/fd.h"
#include "driver/tree.h"
#include "graph/store/db.h"
#include "graph/store/keyed.h"

/* ---- trees ---- */

void keyed_trees_release(struct keyed_trees *trees)
{
	free(trees->list);
	*trees = (struct keyed_trees){ 0 };
}

static int add_tree(struct keyed_trees *trees, const struct keyed_tree *tree, struct err *err)
{
	size_t n = trees->count;
	struct keyed_tree *list = (n & (n - 1)) == 0 ?
					  reallocarray(trees->list, n ? n * 2 : 1, sizeof(*list)) :
					  trees->list;

	if (!list)
		return fail_oom(err);
	trees->list = list;
	list[trees->count++] = *tree;
	return 0;
}

/* What a snapshot and its ancestors are made of, topmost first: id, uid, layer, key, root_implied. A view has
 * nothing of its own. */
#define TREES                                                                             \
	"WITH RECURSIVE up(id, parent, uid, kind, depth) AS ("                            \
	" SELECT id, parent, uid, kind, 0 FROM keyed WHERE id = ?1 UNION ALL"             \
	" SELECT k.id, k.parent, k.uid, k.kind, depth + 1 FROM keyed k"                   \
	"  JOIN up ON k.id = up.parent)"                                                  \
	" SELECT up.id, up.uid, l.id, l.key, l.root_implied FROM up"                      \
	" LEFT JOIN keyed_layer e ON e.keyed = up.id LEFT JOIN layer l ON l.id = e.layer" \
	" WHERE up.kind <> 'view'"

static struct keyed_tree read_tree(const struct db_query *q)
{
	struct keyed_tree tree = { .own = db_is_null(q, 2) };

	tree.number = db_int(q, tree.own ? 0 : 2);
	(void)snprintf(tree.hex, sizeof(tree.hex), "%s",
		       tree.own ? db_text(q, 1) : db_text(q, 3) + strlen("sha256:"));
	return tree;
}

static int list_trees(struct store *store, const char *sql, int64_t id, struct keyed_trees *ret,
		      struct err *err)
{
	auto_query struct db_query q = DB_QUERY_INIT;
	int r = db_query(store->db, &q, err, sql, "i", id);

	while (r >= 0 && (r = db_step(&q, err)) > 0) {
		struct keyed_tree tree = read_tree(&q);

		r = add_tree(ret, &tree, err);
	}
	return r;
}

int keyed_trees(struct store *store, int64_t id, struct keyed_trees *ret, struct err *err)
{
	return list_trees(store, TREES " ORDER BY up.depth, e.position DESC", id, ret, err);
}

int keyed_trees_of(struct store *store, int64_t id, struct keyed_trees *ret, struct err *err)
{
	return list_trees(store, TREES " AND up.id = ?1", id, ret, err);
}

char *keyed_tree_path(const struct store *store, const struct keyed_tree *tree)
{
	char *path;

	if (asprintf(&path, tree->own ? "%s/snapshots/%s/diff" : "%s/layers/sha256/%s/diff",
		     store->root_path, tree->hex) < 0)
		return NULL;
	return path;
}

/* ---- the directory of one ---- */

/* Gives a new tree the metadata that a mount of its parents shows at "/": of the topmost tree that says what
 * it is. */
static int copy_root(struct store *store, int64_t parent, int diff_fd, struct err *err)
{
	auto_query struct db_query q = DB_QUERY_INIT;
	auto_close int root_fd = -EBADF;
	auto_free char *path = NULL;
	struct keyed_tree tree;
	int r;

	if (!parent)
		return 0;
	r = db_query(
		store->db, &q, err,
		TREES
		" AND (l.id IS NULL OR NOT l.root_implied) ORDER BY up.depth, e.position DESC LIMIT 1",
		"i", parent);
	if (r >= 0)
		r = db_step(&q, err);
	if (r <= 0)
		return r;
	tree = read_tree(&q);
	path = keyed_tree_path(store, &tree);
	if (!path)
		return fail_oom(err);
	root_fd = open_dir_at(AT_FDCWD, path, err);
	return root_fd < 0 ? root_fd : tree_copy_dir_metadata(root_fd, diff_fd, err);
}

/* diff/ appears whole, by a rename. */
static int make_dir(struct store *store, const struct keyed *k, struct err *err)
{
	auto_close int dir_fd = open_or_make_dir_at(store->snapshots_fd, k->uid, 0700, err);
	auto_close int work_fd = -EBADF, diff_fd = -EBADF;
	int r;

	if (dir_fd < 0)
		return dir_fd;
	work_fd = open_or_make_dir_at(dir_fd, "work", 0711, err);
	if (work_fd < 0)
		return work_fd;
	diff_fd = open_or_make_dir_at(dir_fd, "diff.new", 0755, err);
	if (diff_fd < 0)
		return diff_fd;
	r = copy_root(store, k->parent, diff_fd, err);
	if (r >= 0 && renameat(dir_fd, "diff.new", dir_fd, "diff") < 0)
		r = fail(err, -errno, "make the directory of a snapshot: %m");
	return r < 0 ? r : take_fd(&dir_fd);
}

/* What a commit that never came moved to layers/ comes back. 1 where it did. */
static int take_back(struct store *store, const struct keyed *k, struct err *err)
{
	if (renameat(store->layers_fd, k->uid, store->snapshots_fd, k->uid) == 0)
		return 1;
	return errno == ENOENT ? 0 :
				 fail(err, -errno, "take %s back from %s/layers: %m", k->uid,
				      store->root_path);
}

static bool is_whole(const struct store *store, const char *uid)
{
	char name[STORE_HEX_LEN + 6];

	(void)snprintf(name, sizeof(name), "%.64s/diff", uid);
	return faccessat(store->snapshots_fd, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

int keyed_open_dir(struct store *store, const struct keyed *k, struct store_locks *locks,
		   struct err *err)
{
	auto_locks struct store_locks own = STORE_LOCKS_INIT;
	int64_t one;
	int r = 0;

	if (is_whole(store, k->uid))
		return open_dir_at(store->snapshots_fd, k->uid, err);
	if (!locks) {
		r = store_locks_open(store, &own, err);
		if (r >= 0)
			r = store_lock_object(&own, k->uid, STORE_LOCK_WAIT, err);
		if (r >= 0)
			r = db_get_int(store->db, &one, err,
				       "SELECT 1 FROM keyed WHERE id = ? AND uid = ? AND NOT EXISTS"
				       " (SELECT 1 FROM keyed_layer WHERE keyed = id)",
				       "is", k->id, k->uid);
		if (r == 0)
			r = fail(err, -ENOENT, "the snapshot was removed or committed meanwhile");
		if (r >= 0)
			r = take_back(store, k, err);
	}
	if (r >= 0)
		r = is_whole(store, k->uid) ? open_dir_at(store->snapshots_fd, k->uid, err) :
					      make_dir(store, k, err);
	return r;
}

/* ---- links ---- */

int keyed_open_links(const struct store *store, struct err *err)
{
	auto_free char *path = NULL;
	int r, fd;

	if (asprintf(&path, "%s/l/%s", store->run_path, store->run_name) < 0)
		return fail_oom(err);
	fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd >= 0)
		return fd;
	r = mkdir_parents(path, 0755, err);
	return r < 0 ? r : open_dir_at(AT_FDCWD, path, err);
}

/* A link appears, or changes, whole. */
static int make_link(int l_fd, const char *name, const char *target, struct err *err)
{
	char new_name[40];

	(void)snprintf(new_name, sizeof(new_name), "new.");
	random_hex(new_name + 4, 32);
	if (symlinkat(target, l_fd, new_name) < 0)
		return fail(err, -errno, "make the link l/%s: %m", name);
	if (renameat(l_fd, new_name, l_fd, name) < 0) {
		int r = fail(err, -errno, "make the link l/%s: %m", name);

		(void)unlinkat(l_fd, new_name, 0);
		return r;
	}
	return 0;
}

int keyed_link(const struct store *store, int l_fd, const struct keyed_tree *tree, char **ret_path,
	       struct err *err)
{
	auto_free char *target = keyed_tree_path(store, tree);
	char name[24], now[PATH_MAX];
	ssize_t len;
	int r = 0;

	if (!target)
		return fail_oom(err);
	(void)snprintf(name, sizeof(name), tree->own ? "s%lld" : "%lld", (long long)tree->number);
	len = readlinkat(l_fd, name, now, sizeof(now));
	if (len != (ssize_t)strlen(target) || memcmp(now, target, (size_t)len) != 0)
		r = make_link(l_fd, name, target, err);
	if (r >= 0 && asprintf(ret_path, "%s/l/%s/%s", store->run_path, store->run_name, name) < 0)
		r = fail_oom(err);
	return r;
}

struct dropping {
	struct store *store;
	int l_fd;
	struct err *err;
};

/* 1 where the row of a link's name is there, or the name is none of ours. */
static int is_linked(struct store *store, const char *name, struct err *err)
{
	bool own = name[0] == 's';
	const char *digits = name + own;
	int64_t one;

	if (!digits[0] || digits[strspn(digits, "0123456789")])
		return 1;
	return db_get_int(store->db, &one, err,
			  own ? "SELECT 1 FROM keyed WHERE id = CAST(? AS INTEGER)" :
				"SELECT 1 FROM layer WHERE id = CAST(? AS INTEGER)",
			  "s", digits);
}

/* A layer's number may be given again: while nobody can write, nobody makes a link for a row that is not seen. */
static int drop_link(void *arg, const char *name)
{
	auto_transaction struct db_transaction t = DB_TRANSACTION_INIT;
	struct dropping *d = arg;
	int r = is_linked(d->store, name, d->err);

	if (r != 0)
		return r < 0 ? r : 0;
	r = db_begin(d->store->db, &t, d->err);
	if (r >= 0)
		r = is_linked(d->store, name, d->err);
	if (r == 0 && unlinkat(d->l_fd, name, 0) < 0 && errno != ENOENT)
		r = fail(d->err, -errno, "remove the link %s of a tree that is gone: %m", name);
	return r < 0 ? r : 0;
}

int keyed_drop_links(struct store *store, struct err *err)
{
	struct dropping d = { .store = store, .err = err };
	auto_close int l_fd = -EBADF;
	auto_free char *path = NULL;

	if (asprintf(&path, "%s/l/%s", store->run_path, store->run_name) < 0)
		return fail_oom(err);
	l_fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (l_fd < 0)
		return errno == ENOENT ? 0 : fail(err, -errno, "open directory %s: %m", path);
	d.l_fd = l_fd;
	return foreach_name(l_fd, drop_link, &d, err);
}
