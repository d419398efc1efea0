/* SPDX-License-Identifier: Apache-2.0 */
/* overlaid_snapshot_fill (graph/fill.c): tars become layers that all who have them share. */
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "driver/base/auto.h"
#include "driver/tree.h"
#include "graph/handle.h"
#include "graph/store/db.h"
#include "tests/unit/kit.h"
#include "tests/unit/sandbox.h"
#include "tests/unit/snaps.h"
#include "tests/unit/util.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#define SCOPE	   SNAPS_SCOPE
#define OTHER	   "docker:other"
#define CONTAINERD "containerd:/run/a.sock:overlaid"
#define REF	   "containerd.io/snapshot.ref"

/* ---- tars ---- */

/* "./", and for each "NAME=CONTENTS" a file, "NAME/" a directory, "NAME>TARGET" a symlink, "NAME~TARGET" a hard
 * link. `root`: with an entry for "./". */
static void put_tar(struct buf *tar, bool root, const char *const *entries)
{
	if (root)
		tar_put_dir(tar, "./");
	for (size_t i = 0; entries[i]; i++) {
		size_t len = strcspn(entries[i], "=>~");
		char how = entries[i][len];
		auto_free char *name = strndup(entries[i], len);

		if (how == '=')
			tar_put_file(tar, name, entries[i] + len + 1);
		else if (how == '>')
			tar_put_symlink(tar, name, entries[i] + len + 1);
		else if (how == '~')
			tar_put_hardlink(tar, name, entries[i] + len + 1);
		else
			tar_put_dir(tar, name);
	}
	tar_put_end(tar);
}

#define tar_of(tar, ...) put_tar(tar, true, (const char *const[]){ __VA_ARGS__, NULL })

/* A directory that belongs to user 5 and group 6, 0700, with a file. */
static void put_private_dir(struct buf *tar)
{
	tar_put_dir(tar, "./");
	tar_put(tar,
		&(struct tar_spec){
			.name = "d/", .type = '5', .mode = 0700, .uid = 5, .gid = 6, .mtime = 77 });
	tar_put_file(tar, "d/base", "base");
	tar_put_end(tar);
}

/* ---- layers ---- */

static void prepared_in(const char *scope, const char *key, const char *parent)
{
	const struct overlaid_prepare p = {
		.scope = scope, .key = key, .parent = parent, .kind = OVERLAID_SNAPSHOT_ACTIVE
	};
	struct err err = { 0 };

	good(overlaid_snapshot_prepare(snaps, &p, NULL, NULL, &err), &err);
}

static void filled_in(const char *scope, const char *key, const char *parent, const struct buf *tar)
{
	struct err err = { 0 };

	prepared_in(scope, key, parent);
	good(snaps_fill(snaps, scope, key, tar, NULL, &err), &err);
}

static void assert_trees_in(const char *scope, const char *key, const char *expected)
{
	auto_buf struct buf trees = { .max = 0 };

	snaps_trees(scope, key, &trees);
	assert_string_equal(buf_text(&trees), expected);
}

struct told {
	const char *id;
	enum overlaid_layer_kind kind;
	size_t holders, found;
};

static int note_layer(void *arg, const struct overlaid_layer *layer)
{
	struct told *t = arg;

	if (t->id && strcmp(layer->id, t->id) != 0)
		return 0;
	t->found++;
	t->kind = layer->kind;
	t->holders = layer->holder_count;
	return 0;
}

static void assert_layer(const char *id, enum overlaid_layer_kind kind, size_t holders)
{
	struct told told = { .id = id };
	struct err err = { 0 };

	good(overlaid_layers(snaps, note_layer, &told, &err), &err);
	assert_int_equal(told.found, 1);
	assert_int_equal(told.kind, kind);
	assert_int_equal(told.holders, holders);
}

static size_t extracted;

static int note_loaded(void *arg, const struct overlaid_loaded *loaded)
{
	extracted = loaded->layers_extracted;
	return 0;
}

/* Loads an image of these layers; those that were extracted. */
static size_t load(const char *reference, const struct buf *const *tars, size_t tar_count)
{
	const struct overlaid_load load = { .path = "image.tar" };
	struct err err = { 0 };

	snaps_put_image("image.tar", reference, tars, tar_count);
	extracted = 1000;
	good(overlaid_load(snaps, &load, note_loaded, NULL, &err), &err);
	return extracted;
}

static const char *below_root(const struct buf *tree)
{
	const char *end = strchr(buf_text(tree), '\n');

	assert_non_null(end);
	return end;
}

/* A mount of the image has the same to show as the snapshot's; but at its root, which has an upper to say what it
 * is. */
static void assert_shown_as_image(const char *key, const char *reference)
{
	auto_buf struct buf mine = { .max = 0 }, theirs = { .max = 0 };
	auto_free char *path = NULL;
	struct err err = { 0 };

	snaps_attach(key, "mine", NULL);
	good(overlaid_image_mount(snaps, reference, &path, &err), &err);
	tree_text("mine", &mine);
	tree_text(path, &theirs);
	assert_string_equal(below_root(&mine), below_root(&theirs));
	good(overlaid_image_unmount(snaps, reference, &err), &err);
	snaps_detach("mine");
}

static uint64_t diff_size(const char *key, const char *parent)
{
	const struct overlaid_diff d = { .scope = SCOPE, .key = key, .parent = parent };
	struct err err = { 0 };
	uint64_t bytes = 0;

	good(overlaid_snapshot_diff_size(snaps, &d, &bytes, &err), &err);
	return bytes;
}

/* ---- what a tar becomes ---- */

static void put_all_types(struct buf *tar)
{
	static const unsigned char capability[20] = { 0, 0, 0, 2, 0, 4 };

	tar_put(tar,
		&(struct tar_spec){
			.name = "./", .type = '5', .mode = 0751, .uid = 1, .gid = 2, .mtime = 5 });
	tar_put_dir(tar, "dir/");
	tar_put(tar, &(struct tar_spec){ .name = "dir/suid",
					 .type = '0',
					 .mode = 04711,
					 .uid = 3,
					 .gid = 4,
					 .mtime = 6,
					 .size = 4,
					 .data = "suid" });
	tar_put_hardlink(tar, "dir/link", "dir/suid");
	tar_put_symlink(tar, "dir/symlink", "nowhere");
	tar_put_pax("SCHILY.xattr.security.capability", capability, sizeof(capability));
	tar_put_file(tar, "dir/cap", "12345678");
	tar_put(tar, &(struct tar_spec){ .name = "fifo", .type = '6', .mode = 0600, .mtime = 7 });
	tar_put(tar, &(struct tar_spec){ .name = "device",
					 .type = '3',
					 .mode = 0620,
					 .dev_major = 1,
					 .dev_minor = 3,
					 .mtime = 8 });
	tar_put_end(tar);
}

static void the_content_is_the_tar(void **state)
{
	auto_buf struct buf tar = { .max = 0 }, on_disk = { .max = 0 }, seen = { .max = 0 };
	auto_keyed struct keyed k = { 0 };
	struct digest diff_id;
	struct err err = { 0 };
	uint64_t bytes = 0;

	needs_root();
	put_all_types(&tar);
	diff_id = digest_of_buf(&tar);
	snaps_prepare("a", "");
	good(snaps_fill(snaps, SCOPE, "a", &tar, &bytes, &err), &err);
	snaps_find(SCOPE, "a", &k);
	assert_int_equal(k.kind, OVERLAID_SNAPSHOT_COMMITTED);
	assert_string_equal(k.chain_id, diff_id.text);
	assert_layer(diff_id.text, OVERLAID_LAYER_PLAIN, 1);
	/* 4 of suid, once; 7 of the symlink; 8 of cap. */
	assert_int_equal(bytes, 19);
	assert_int_equal(diff_size("a", ""), 19);
	assert_int_equal(look(snaps_top("a", "")).st_mode, S_IFDIR | 0751);
	assert_int_equal(look(snaps_top("a", "/dir/suid")).st_mode, S_IFREG | 04711);
	assert_int_equal(look(snaps_top("a", "/dir/suid")).st_uid, 3);
	assert_int_equal(look(snaps_top("a", "/dir/suid")).st_mtim.tv_sec, 6);
	assert_int_equal(look(snaps_top("a", "/dir/link")).st_nlink, 2);
	assert_link(snaps_top("a", "/dir/symlink"), "nowhere");
	assert_true(S_ISFIFO(look(snaps_top("a", "/fifo")).st_mode));
	assert_int_equal(look(snaps_top("a", "/device")).st_rdev, 0x103);
	snaps_attach("a", "m", NULL);
	tree_text("m", &seen);
	tree_text(snaps_top("a", ""), &on_disk);
	assert_string_equal(buf_text(&seen), buf_text(&on_disk));
	snaps_assert_consistent();
	assert_int_equal(kit_names("store/snapshots"), 0);
}

static void what_a_layer_hides_is_hidden(void **state)
{
	auto_buf struct buf base = { .max = 0 }, top = { .max = 0 };

	needs_root();
	tar_of(&base, "gone=1", "dir/", "dir/a=1", "dir/b=2");
	tar_of(&top, ".wh.gone=", "dir/", "dir/.wh..wh..opq=", "dir/c=3");
	snaps_layer("base", "", &base);
	snaps_layer("top", "base", &top);
	snaps_attach("top", "m", NULL);
	assert_false(exists("m/gone"));
	assert_false(exists("m/dir/a"));
	assert_contents("m/dir/c", "3");
	assert_int_equal(kit_names("m/dir"), 1);
}

static void a_compressed_tar_is_the_same_layer(void **state)
{
	auto_buf struct buf tar = { .max = 0 }, gzip = { .max = 0 }, zstd = { .max = 0 };

	tar_of(&tar, "file=content");
	gzip_put(&gzip, tar.data, tar.len);
	zstd_put(&zstd, tar.data, tar.len);
	snaps_layer("a", "", &tar);
	snaps_layer("b", "", &gzip);
	snaps_layer("c", "", &zstd);
	assert_layer(digest_of_buf(&tar).text, OVERLAID_LAYER_PLAIN, 3);
	assert_int_equal(count("SELECT count(*) FROM layer"), 1);
	snaps_assert_consistent();
}

static void an_empty_tar_is_an_empty_layer(void **state)
{
	auto_buf struct buf nothing = { .max = 0 }, end = { .max = 0 }, base = { .max = 0 };

	tar_put_end(&end);
	tar_of(&base, "file=content");
	snaps_layer("empty", "", &end);
	snaps_layer("base", "", &base);
	snaps_layer("over", "base", &end);
	snaps_layer("over it", "over", &end);
	assert_int_equal(kit_names(snaps_top("empty", "")), 0);
	assert_int_equal(diff_size("empty", ""), 0);
	assert_int_equal(diff_size("over", "base"), 0);
	/* moby takes a stream of no bytes as well. */
	snaps_layer("nothing", "base", &nothing);
	assert_int_equal(count("SELECT count(*) FROM layer"), 3);
	snaps_assert_consistent();
	needs_root();
	snaps_attach("over it", "m", NULL);
	assert_contents("m/file", "content");
	assert_int_equal(kit_names("m"), 1);
	snaps_attach("empty", "n", NULL);
	assert_int_equal(kit_names("n"), 0);
}

/* ---- one copy ---- */

static void scopes_share_a_layer(void **state)
{
	auto_buf struct buf base = { .max = 0 }, top = { .max = 0 };
	struct digest id;

	tar_of(&base, "file=base");
	tar_of(&top, "file=top");
	id = digest_of_buf(&top);
	filled_in(SCOPE, "base", "", &base);
	filled_in(SCOPE, "top", "base", &top);
	filled_in(OTHER, "x", "", &base);
	filled_in(OTHER, "y", "x", &top);
	/* The same layer in another chain. */
	filled_in(OTHER, "alone", "", &top);
	assert_layer(digest_of_buf(&base).text, OVERLAID_LAYER_PLAIN, 2);
	assert_layer(id.text, OVERLAID_LAYER_PLAIN, 3);
	assert_int_equal(kit_names("store/layers/sha256"), 2);
	snaps_assert_consistent();
	assert_int_equal(snaps_remove("top"), 0);
	assert_int_equal(snaps_remove("base"), 0);
	assert_layer(id.text, OVERLAID_LAYER_PLAIN, 2);
	assert_int_equal(overlaid_snapshot_remove(snaps, OTHER, "y", NULL), 0);
	assert_int_equal(overlaid_snapshot_remove(snaps, OTHER, "x", NULL), 0);
	assert_int_equal(overlaid_snapshot_remove(snaps, OTHER, "alone", NULL), 0);
	snaps_assert_consistent();
	assert_int_equal(kit_names("store/layers/sha256"), 0);
	assert_int_equal(count("SELECT count(*) FROM chain"), 0);
}

static void an_image_and_a_fill_share_layers(void **state)
{
	auto_buf struct buf base = { .max = 0 }, top = { .max = 0 }, more = { .max = 0 };
	const struct buf *tars[] = { &base, &top, &more };
	struct err err = { 0 };

	tar_of(&base, "file=base");
	tar_of(&top, "file=top");
	tar_of(&more, "file=more");
	assert_int_equal(load("localhost/x:1", tars, 2), 2);
	snaps_layer("a", "", &base);
	snaps_layer("b", "a", &top);
	snaps_layer("c", "b", &more);
	assert_int_equal(kit_names("store/layers/sha256"), 3);
	assert_layer(digest_of_buf(&top).text, OVERLAID_LAYER_PLAIN, 2);
	/* And the other way round. */
	assert_int_equal(load("localhost/y:1", tars, 3), 0);
	assert_layer(digest_of_buf(&more).text, OVERLAID_LAYER_PLAIN, 2);
	good(overlaid_image_remove(snaps, "localhost/x:1", 0, NULL, NULL, &err), &err);
	good(overlaid_image_remove(snaps, "localhost/y:1", 0, NULL, NULL, &err), &err);
	assert_layer(digest_of_buf(&base).text, OVERLAID_LAYER_PLAIN, 1);
	snaps_assert_consistent();
}

static int share(const char *parent, const char *chain_id)
{
	const struct overlaid_label label = { REF, chain_id };
	const struct overlaid_prepare p = { .scope = CONTAINERD,
					    .key = "k",
					    .parent = parent,
					    .kind = OVERLAID_SNAPSHOT_ACTIVE,
					    .labels = &label,
					    .label_count = 1,
					    .chain_id = chain_id };

	return overlaid_snapshot_share(snaps, &p, REF, NULL);
}

static void containerd_finds_a_chain_that_was_filled(void **state)
{
	auto_buf struct buf base = { .max = 0 }, top = { .max = 0 }, mine = { .max = 0 };
	const struct buf *tars[] = { &base, &top };
	struct overlaid_hold *hold = NULL;
	struct digest lower, upper;

	put_private_dir(&base);
	put_tar(&top, false, (const char *const[]){ "d/top=top", NULL });
	snaps_chain_id(tars, 1, &lower);
	snaps_chain_id(tars, 2, &upper);
	snaps_layer("base", "", &base);
	snaps_layer("top", "base", &top);
	assert_int_equal(overlaid_chain_hold(snaps, upper.text, &hold, NULL), 1);
	assert_null(hold);
	assert_int_equal(share("", lower.text), 1);
	assert_int_equal(share(lower.text, upper.text), 1);
	snaps_trees(SCOPE, "top", &mine);
	assert_trees_in(CONTAINERD, upper.text, buf_text(&mine));
	/* Two layers and a patch. */
	assert_int_equal(count("SELECT count(*) FROM layer"), 3);
	assert_int_equal(snaps_remove("top"), 0);
	assert_int_equal(snaps_remove("base"), 0);
	assert_int_equal(count("SELECT count(*) FROM layer"), 3);
	snaps_assert_consistent();
}

/* As containerd's unpacker does it. */
static void unpacked(const char *name, const char *parent, const char *chain_id, const char *file)
{
	const struct overlaid_prepare p = { .scope = CONTAINERD,
					    .key = "k",
					    .parent = parent,
					    .kind = OVERLAID_SNAPSHOT_ACTIVE,
					    .chain_id = chain_id };
	const struct overlaid_commit c = { .scope = CONTAINERD,
					   .key = "k",
					   .name = name,
					   .parent = parent,
					   .chain_id = chain_id,
					   .flushed = true };
	auto_keyed struct keyed k = { 0 };
	struct err err = { 0 };
	char path[200];

	good(overlaid_snapshot_prepare(snaps, &p, NULL, NULL, &err), &err);
	snaps_find(CONTAINERD, "k", &k);
	(void)snprintf(path, sizeof(path), "store/snapshots/%s/diff/%s", k.uid, file);
	put_file(path, file);
	good(overlaid_snapshot_flush(snaps, CONTAINERD, "k", false, &err), &err);
	good(overlaid_snapshot_commit(snaps, &c, &err), &err);
}

static void a_fill_finds_what_containerd_unpacked(void **state)
{
	auto_buf struct buf base = { .max = 0 }, top = { .max = 0 }, theirs = { .max = 0 };
	const struct buf *tars[] = { &base, &top };
	struct digest lower, upper;

	tar_of(&base, "base=base");
	tar_of(&top, "top=top");
	snaps_chain_id(tars, 1, &lower);
	snaps_chain_id(tars, 2, &upper);
	unpacked("base", "", lower.text, "base");
	unpacked("top", "base", upper.text, "top");
	assert_int_equal(count("SELECT count(*) FROM layer WHERE adopted"), 2);
	snaps_layer("a", "", &base);
	snaps_layer("b", "a", &top);
	snaps_trees(CONTAINERD, "top", &theirs);
	assert_trees_in(SCOPE, "b", buf_text(&theirs));
	assert_int_equal(count("SELECT count(*) FROM layer"), 2);
	snaps_assert_consistent();
}

/* A chain is of the layer that an image has for it, and goes with that. */
static void a_parent_whose_chain_was_forgotten_is_filled_over(void **state)
{
	auto_buf struct buf base = { .max = 0 }, middle = { .max = 0 }, top = { .max = 0 };
	const struct buf *tars[] = { &base, &middle, &top };
	auto_keyed struct keyed k = { 0 };
	struct digest lower, upper;
	struct err err = { 0 };

	tar_of(&base, "base=base");
	tar_of(&middle, "middle=middle");
	tar_of(&top, "top=top");
	snaps_chain_id(tars, 1, &lower);
	snaps_chain_id(tars, 3, &upper);
	unpacked("base", "", lower.text, "base");
	snaps_layer("a", "", &base);
	snaps_layer("b", "a", &middle);
	snaps_layer("base over another", "b", &base);
	assert_int_equal(load("localhost/x:1", tars, 1), 0);
	assert_int_equal(snaps_remove("base over another"), 0);
	good(overlaid_image_remove(snaps, "localhost/x:1", 0, NULL, NULL, &err), &err);
	assert_int_equal(count("SELECT count(*) FROM chain"), 0);
	snaps_layer("c", "b", &top);
	snaps_find(SCOPE, "c", &k);
	assert_string_equal(k.chain_id, upper.text);
	assert_int_equal(count("SELECT count(*) FROM chain"), 3);
	assert_int_equal(count("SELECT count(*) FROM layer"), 3);
	snaps_assert_consistent();
}

/* ---- bound layers ---- */

static const char *const linking[] = { "usr/", "usr/lib/", "usr/lib/old=old", "lib>usr/lib", NULL };
static const char *const passing[] = { "lib/new=new", NULL };

static void assert_bound_and_shared(const struct buf *base, const struct buf *top)
{
	const struct buf *tars[] = { base, top };
	struct digest chain;

	snaps_chain_id(tars, 2, &chain);
	snaps_layer("base", "", base);
	snaps_layer("top", "base", top);
	assert_layer(chain.text, OVERLAID_LAYER_BOUND, 1);
	filled_in(OTHER, "x", "", base);
	filled_in(OTHER, "y", "x", top);
	assert_layer(chain.text, OVERLAID_LAYER_BOUND, 2);
	assert_int_equal(kit_names("store/layers/sha256"), 2);
}

static void a_symlink_of_the_parent_is_followed(void **state)
{
	auto_buf struct buf base = { .max = 0 }, top = { .max = 0 }, other = { .max = 0 };
	const struct buf *tars[] = { &base, &top };
	struct digest chain;

	put_tar(&base, true, linking);
	put_tar(&top, false, passing);
	tar_of(&other, "lib/");
	assert_bound_and_shared(&base, &top);
	assert_contents(snaps_top("top", "/usr/lib/new"), "new");
	assert_false(exists(snaps_top("top", "/lib")));
	assert_int_equal(diff_size("top", "base"), 3);
	/* Where nothing is in the way it is another layer: a plain one. */
	snaps_layer("other", "", &other);
	snaps_layer("over other", "other", &top);
	assert_layer(digest_of_buf(&top).text, OVERLAID_LAYER_PLAIN, 1);
	/* What an image of the same layers would have, it has. */
	snaps_chain_id(tars, 2, &chain);
	assert_int_equal(load("localhost/x:1", tars, 2), 0);
	assert_layer(chain.text, OVERLAID_LAYER_BOUND, 3);
	snaps_assert_consistent();
	needs_root();
	assert_shown_as_image("top", "localhost/x:1");
}

static void a_bound_layer_of_an_image_is_used(void **state)
{
	auto_buf struct buf base = { .max = 0 }, top = { .max = 0 }, theirs = { .max = 0 };
	auto_buf struct buf ours = { .max = 0 };
	const struct buf *tars[] = { &base, &top };
	char path[200];
	struct digest chain;
	struct err err = { 0 };

	put_tar(&base, true, linking);
	put_tar(&top, false, passing);
	snaps_chain_id(tars, 2, &chain);
	(void)load("localhost/x:1", tars, 2);
	(void)snprintf(path, sizeof(path), "store/layers/sha256/%s/diff", digest_hex(&chain));
	tree_text(path, &theirs);
	snaps_layer("base", "", &base);
	snaps_layer("top", "base", &top);
	assert_layer(chain.text, OVERLAID_LAYER_BOUND, 2);
	assert_int_equal(snaps_remove("top"), 0);
	/* Made anew, it is the same. */
	good(overlaid_image_remove(snaps, "localhost/x:1", 0, NULL, NULL, &err), &err);
	snaps_assert_consistent();
	assert_int_equal(count("SELECT count(*) FROM layer"), 1);
	snaps_layer("top", "base", &top);
	assert_layer(chain.text, OVERLAID_LAYER_BOUND, 1);
	tree_text(snaps_top("top", ""), &ours);
	assert_string_equal(buf_text(&ours), buf_text(&theirs));
	snaps_assert_consistent();
}

static void a_hard_link_to_a_file_of_the_parent_is_bound(void **state)
{
	auto_buf struct buf base = { .max = 0 }, top = { .max = 0 };
	const struct buf *tars[] = { &base, &top };

	tar_of(&base, "dir/", "dir/file=of the base", "dir/other=1");
	tar_of(&top, "link~dir/file");
	assert_bound_and_shared(&base, &top);
	assert_contents(snaps_top("top", "/link"), "of the base");
	assert_int_equal(look(snaps_top("top", "/link")).st_nlink, 2);
	assert_int_equal(diff_size("top", "base"), strlen("of the base"));
	assert_int_equal(load("localhost/x:1", tars, 2), 0);
	snaps_assert_consistent();
	needs_root();
	assert_shown_as_image("top", "localhost/x:1");
}

static void a_hard_link_to_nothing_is_refused(void **state)
{
	auto_buf struct buf tar = { .max = 0 }, base = { .max = 0 };
	struct err err = { 0 };

	tar_of(&tar, "link~none");
	tar_of(&base, "file=1");
	snaps_prepare("a", "");
	assert_int_equal(snaps_fill(snaps, SCOPE, "a", &tar, NULL, &err), -EBADMSG);
	assert_words(&err, "none");
	snaps_layer("base", "", &base);
	snaps_prepare("b", "base");
	assert_true(snaps_fill(snaps, SCOPE, "b", &tar, NULL, &err) < 0);
	snaps_assert_consistent();
}

/* ---- implied directories ---- */

static void an_implied_directory_is_the_parents(void **state)
{
	auto_buf struct buf base = { .max = 0 }, top = { .max = 0 }, more = { .max = 0 };
	const struct buf *tars[] = { &base, &top, &more };
	auto_buf struct buf trees = { .max = 0 };
	struct stat st;

	needs_root();
	put_private_dir(&base);
	put_tar(&top, false, (const char *const[]){ "d/top=top", NULL });
	put_tar(&more, false, (const char *const[]){ "d/more=more", "e/more=more", NULL });
	snaps_layer("base", "", &base);
	snaps_layer("top", "base", &top);
	snaps_layer("more", "top", &more);
	/* The layer is as it is alone, so that others share it. */
	assert_layer(digest_of_buf(&top).text, OVERLAID_LAYER_PLAIN, 1);
	assert_int_equal(count("SELECT count(*) FROM layer WHERE kind = 'patch'"), 2);
	snaps_attach("top", "m", NULL);
	st = look("m/d");
	assert_int_equal(st.st_mode & 07777, 0700);
	assert_int_equal(st.st_uid, 5);
	assert_int_equal(st.st_gid, 6);
	assert_int_equal(st.st_mtim.tv_sec, 77);
	snaps_attach("more", "n", NULL);
	assert_int_equal(look("n/d").st_uid, 5);
	assert_int_equal(look("n/e").st_uid, 0);
	snaps_prepare("child", "more");
	snaps_attach("child", "c", NULL);
	assert_int_equal(look("c/d").st_uid, 5);
	put_file("c/d/new", "new");
	assert_int_equal(look(snaps_own("child", "/d")).st_uid, 5);
	snaps_trees(SCOPE, "more", &trees);
	assert_int_equal(trees.len, 5 * 13);
	assert_int_equal(load("localhost/x:1", tars, 3), 0);
	assert_shown_as_image("more", "localhost/x:1");
	snaps_assert_consistent();
}

static void a_second_fill_has_the_patch_too(void **state)
{
	auto_buf struct buf base = { .max = 0 }, top = { .max = 0 }, mine = { .max = 0 };

	put_private_dir(&base);
	put_tar(&top, false, (const char *const[]){ "d/top=top", NULL });
	snaps_layer("base", "", &base);
	snaps_layer("top", "base", &top);
	filled_in(OTHER, "x", "", &base);
	filled_in(OTHER, "y", "x", &top);
	snaps_trees(SCOPE, "top", &mine);
	assert_trees_in(OTHER, "y", buf_text(&mine));
	assert_int_equal(snaps_remove("top"), 0);
	assert_int_equal(overlaid_snapshot_remove(snaps, OTHER, "y", NULL), 0);
	snaps_assert_consistent();
	assert_int_equal(kit_names("store/layers/sha256"), 1);
}

/* An image has them without anybody having asked for the shorter chain. */
static void a_chain_within_an_image_gets_its_patch(void **state)
{
	auto_buf struct buf base = { .max = 0 }, top = { .max = 0 }, more = { .max = 0 };
	const struct buf *tars[] = { &base, &top, &more };

	needs_root();
	put_private_dir(&base);
	put_tar(&top, false, (const char *const[]){ "d/top=top", NULL });
	put_tar(&more, false, (const char *const[]){ "more=more", NULL });
	(void)load("localhost/x:1", tars, 3);
	snaps_layer("base", "", &base);
	snaps_layer("top", "base", &top);
	snaps_attach("top", "m", NULL);
	assert_int_equal(look("m/d").st_uid, 5);
	snaps_assert_consistent();
}

/* ---- over what is no chain ---- */

static void over_a_tree_of_its_own_plain_layers_are_shared(void **state)
{
	auto_buf struct buf plain = { .max = 0 }, end = { .max = 0 };
	auto_keyed struct keyed k = { 0 };

	tar_of(&plain, "new/", "new/file=1");
	snaps_prepare("own", "");
	put_file(snaps_own("own", "/lib/file"), "1");
	snaps_layer("a", "own", &plain);
	snaps_layer("b", "", &plain);
	assert_layer(digest_of_buf(&plain).text, OVERLAID_LAYER_PLAIN, 2);
	snaps_find(SCOPE, "a", &k);
	assert_string_equal(k.chain_id, "");
	assert_int_equal(k.kind, OVERLAID_SNAPSHOT_COMMITTED);
	assert_int_equal(count("SELECT count(*) FROM chain"), 1);
	tar_put_end(&end);
	snaps_layer("c", "a", &end);
	snaps_assert_consistent();
}

static void over_a_tree_of_its_own_bound_layers_are_private(void **state)
{
	auto_buf struct buf plain = { .max = 0 }, link = { .max = 0 }, implied = { .max = 0 };

	needs_root();
	tar_of(&plain, "lib/", "lib/new=1");
	tar_of(&link, "link~usr/file");
	put_tar(&implied, false, (const char *const[]){ "usr/implied=1", NULL });
	snaps_prepare("own", "");
	put_file(snaps_own("own", "/usr/file"), "of its own");
	assert_int_equal(chown(snaps_own("own", "/usr"), 7, 8), 0);
	snaps_layer("a", "own", &link);
	snaps_layer("b", "a", &implied);
	snaps_prepare("again", "own");
	assert_int_equal(snaps_fill(snaps, SCOPE, "again", &link, NULL, NULL), 0);
	assert_int_equal(count("SELECT count(*) FROM layer WHERE kind = 'bound'"), 3);
	assert_int_equal(count("SELECT count(*) FROM chain"), 0);
	assert_int_equal(count("SELECT count(*) FROM layer WHERE key = diff_id"), 0);
	snaps_attach("b", "m", NULL);
	assert_contents("m/link", "of its own");
	assert_contents("m/usr/implied", "1");
	assert_int_equal(look("m/usr").st_uid, 7);
	snaps_detach("m");
	snaps_assert_consistent();
	assert_int_equal(snaps_remove("again"), 0);
	assert_int_equal(snaps_remove("b"), 0);
	assert_int_equal(snaps_remove("a"), 0);
	snaps_assert_consistent();
	assert_int_equal(kit_names("store/layers/sha256"), 0);
}

/* ---- what is refused ---- */

static void assert_untouched(const char *key, const char *parent)
{
	auto_buf struct buf tar = { .max = 0 };
	auto_keyed struct keyed k = { 0 };
	struct err err = { 0 };

	snaps_find(SCOPE, key, &k);
	assert_int_equal(k.kind, OVERLAID_SNAPSHOT_ACTIVE);
	assert_int_equal(kit_names("store/staging"), 0);
	snaps_assert_consistent();
	assert_int_equal(snaps_remove(key), 0);
	snaps_prepare(key, parent);
	tar_of(&tar, "file=whole");
	good(snaps_fill(snaps, SCOPE, key, &tar, NULL, &err), &err);
	assert_int_equal(snaps_remove(key), 0);
}

static void fill_and_fail(struct memory *memory, const char *parent, int expected)
{
	struct err err = { 0 };
	uint64_t bytes = 4711;
	int64_t layers = count("SELECT count(*) FROM layer");
	int r;

	snaps_prepare("a", parent);
	r = overlaid_snapshot_fill(snaps, SCOPE, "a", NULL, memory_read, memory, &bytes, &err);
	if (r >= 0 || (expected && r != expected))
		fail_msg("%d: %s", r, err.text);
	assert_true(err.text[0]);
	assert_int_equal(bytes, 4711);
	assert_int_equal(count("SELECT count(*) FROM layer"), layers);
	assert_untouched("a", parent);
}

static void what_is_no_whole_tar_leaves_nothing(void **state)
{
	auto_buf struct buf tar = { .max = 0 }, gzip = { .max = 0 }, base = { .max = 0 };
	const size_t cuts[] = { 1, 100, 511, 513, 1025, 1536 };
	static char long_file[3000];

	fill_noise(long_file, sizeof(long_file) - 1, 1);
	for (size_t i = 0; i < sizeof(long_file) - 1; i++)
		long_file[i] = long_file[i] ? long_file[i] : 'x';
	tar_put_file(&tar, "file", long_file);
	tar_put_end(&tar);
	tar_of(&base, "base=base");
	snaps_layer("base", "", &base);
	for (size_t i = 0; i < ARRAY_LEN(cuts); i++) {
		struct memory memory = { .data = tar.data, .len = cuts[i] };

		fill_and_fail(&memory, i % 2 ? "base" : "", 0);
	}
	gzip_put(&gzip, tar.data, tar.len);
	fill_and_fail(&(struct memory){ .data = gzip.data, .len = gzip.len / 2 }, "base", 0);
	gzip.data[gzip.len / 2] ^= 1;
	fill_and_fail(&(struct memory){ .data = gzip.data, .len = gzip.len }, "base", 0);
	tar.data[150] ^= 1;
	fill_and_fail(&(struct memory){ .data = tar.data, .len = tar.len }, "base", -EBADMSG);
	fill_and_fail(&(struct memory){ .data = "no tar, but words that say so", .len = 29 }, "",
		      0);
}

static void an_error_of_the_reader_is_the_fills(void **state)
{
	auto_buf struct buf tar = { .max = 0 };

	tar_of(&tar, "file=content", "other=content");
	/* At once, within a file, between two, after the end. */
	for (size_t len = 0; len <= tar.len; len += 512) {
		struct memory memory = {
			.data = tar.data, .len = len, .step = 100, .fail_at_end = -ECONNRESET
		};

		fill_and_fail(&memory, "", -ECONNRESET);
	}
}

static ssize_t read_and_die(void *arg, const void **ret_block, struct err *err)
{
	struct memory *memory = arg;

	if (memory->at >= memory->len)
		(void)kill(getpid(), SIGKILL);
	return memory_read(memory, ret_block, err);
}

static int fill_and_die(struct child *parent, void *arg)
{
	struct overlaid *o = kit_open();
	uint64_t bytes;

	(void)overlaid_snapshot_fill(o, SCOPE, "a", NULL, read_and_die, arg, &bytes, NULL);
	return 99;
}

static void what_a_dead_process_began_is_collected(void **state)
{
	auto_buf struct buf tar = { .max = 0 };
	struct memory memory;
	struct child child;
	struct err err = { 0 };

	tar_of(&tar, "file=content", "other=content");
	memory = (struct memory){ .data = tar.data, .len = 1700, .step = 100 };
	snaps_prepare("a", "");
	child = kit_fork(fill_and_die, &memory);
	assert_int_equal(kit_wait(&child), -SIGKILL);
	assert_int_equal(kit_names("store/staging"), 1);
	good(overlaid_gc(snaps, 0, NULL, NULL, &err), &err);
	snaps_assert_consistent();
	good(snaps_fill(snaps, SCOPE, "a", &tar, NULL, &err), &err);
	snaps_assert_consistent();
}

static void a_fill_can_be_durable(void **state)
{
	const struct overlaid_options options = { .root = sandbox_path("store"),
						  .run = sandbox_path("run") };
	auto_buf struct buf base = { .max = 0 }, top = { .max = 0 };
	struct err err = { 0 };

	overlaid_close(snaps);
	good(overlaid_open(&options, &snaps, &err), &err);
	put_private_dir(&base);
	put_tar(&top, false, (const char *const[]){ "d/top=top", NULL });
	snaps_layer("base", "", &base);
	snaps_layer("top", "base", &top);
	filled_in(OTHER, "x", "", &top);
	assert_int_equal(count("SELECT count(*) FROM layer"), 3);
	snaps_assert_consistent();
}

static void only_an_active_one_that_is_empty_is_filled(void **state)
{
	const struct overlaid_prepare view = {
		.scope = SCOPE, .key = "v", .parent = "", .kind = OVERLAID_SNAPSHOT_VIEW
	};
	auto_buf struct buf tar = { .max = 0 };
	struct err err = { 0 };

	tar_of(&tar, "file=content");
	assert_int_equal(snaps_fill(snaps, SCOPE, "none", &tar, NULL, &err), -ENOENT);
	snaps_layer("a", "", &tar);
	assert_int_equal(snaps_fill(snaps, SCOPE, "a", &tar, NULL, &err), -EBADFD);
	assert_words(&err, "\"a\"");
	assert_int_equal(snaps_fill(snaps, OTHER, "a", &tar, NULL, &err), -ENOENT);
	good(overlaid_snapshot_prepare(snaps, &view, NULL, NULL, &err), &err);
	assert_int_equal(snaps_fill(snaps, SCOPE, "v", &tar, NULL, &err), -EBADFD);
	snaps_prepare("b", "a");
	put_file(snaps_own("b", "/written"), "1");
	assert_int_equal(snaps_fill(snaps, SCOPE, "b", &tar, NULL, &err), -ENOTEMPTY);
	assert_contents(snaps_own("b", "/written"), "1");
	/* One that is a parent was settled. */
	snaps_prepare("c", "a");
	snaps_prepare("d", "c");
	assert_int_equal(snaps_fill(snaps, SCOPE, "c", &tar, NULL, &err), -EBADFD);
	snaps_assert_consistent();
}

/* ---- ids ---- */

static int fill_mapped(const char *uids, const char *gids, int64_t uid, int64_t gid)
{
	const struct overlaid_maps maps = { uids, gids };
	auto_buf struct buf tar = { .max = 0 };
	struct memory memory = { 0 };
	struct err err = { 0 };
	uint64_t bytes;
	int r;

	tar_put_dir(&tar, "./");
	tar_put(&tar, &(struct tar_spec){
			      .name = "file", .type = '0', .mode = 0644, .uid = uid, .gid = gid });
	tar_put_end(&tar);
	memory.data = tar.data;
	memory.len = tar.len;
	snaps_prepare("a", "");
	r = overlaid_snapshot_fill(snaps, SCOPE, "a", &maps, memory_read, &memory, &bytes, &err);
	if (r < 0) {
		assert_int_equal(count("SELECT count(*) FROM layer"), 0);
		assert_untouched("a", "");
	} else {
		assert_int_equal(snaps_remove("a"), 0);
	}
	return r;
}

static void ids_must_be_mapped(void **state)
{
	const char *map = "0:100000:65536";

	needs_root();
	assert_int_equal(fill_mapped(map, map, 65535, 65535), 0);
	assert_int_equal(fill_mapped(map, map, 65536, 0), -ERANGE);
	assert_int_equal(fill_mapped(map, map, 0, 65536), -ERANGE);
	assert_int_equal(fill_mapped("0:100000:10,10:200000:10", map, 15, 0), 0);
	assert_int_equal(fill_mapped("1:100000:10", map, 5, 0), -ERANGE);
	/* In a hole, and beyond it: the files' own directory is root's. */
	assert_int_equal(fill_mapped("0:100000:10,20:200000:10", map, 15, 0), -ERANGE);
	assert_int_equal(fill_mapped(NULL, NULL, 65536, 65536), 0);
	assert_int_equal(fill_mapped("", "", 65536, 65536), 0);
	assert_int_equal(fill_mapped("nonsense", map, 0, 0), -EINVAL);
	assert_int_equal(fill_mapped(map, "0:1", 0, 0), -EINVAL);
	/* One without the other is none. */
	assert_int_equal(fill_mapped(map, NULL, 0, 0), -EINVAL);
	assert_int_equal(fill_mapped(NULL, map, 0, 0), -EINVAL);
}

static void ids_in_a_hole_are_refused_also_beneath_greater_ones(void **state)
{
	const struct overlaid_maps maps = { "0:100000:10,20:200000:10", "0:100000:10" };
	auto_buf struct buf tar = { .max = 0 };
	struct memory memory;
	uint64_t bytes;

	tar_put(&tar, &(struct tar_spec){ .name = "in", .type = '0', .mode = 0644, .uid = 15 });
	tar_put(&tar, &(struct tar_spec){ .name = "beyond", .type = '0', .mode = 0644, .uid = 25 });
	tar_put_end(&tar);
	memory = (struct memory){ .data = tar.data, .len = tar.len };
	snaps_prepare("a", "");
	assert_int_equal(overlaid_snapshot_fill(snaps, SCOPE, "a", &maps, memory_read, &memory,
						&bytes, NULL),
			 -ERANGE);
	assert_untouched("a", "");
}

/* What was written is on disk as it is seen from outside, and a layer as inside. */
static void what_is_taken_from_a_tree_of_its_own_has_its_ids_inside(void **state)
{
	const struct overlaid_maps maps = { "0:100000:65536", "0:200000:65536" };
	auto_buf struct buf base = { .max = 0 }, tar = { .max = 0 };
	struct memory memory;
	struct err err = { 0 };
	uint64_t bytes;

	needs_root();
	tar_of(&base, "base=base");
	snaps_layer("base", "", &base);
	snaps_prepare("own", "base");
	put_file(snaps_own("own", "/dir/file"), "of its own");
	assert_int_equal(chown(snaps_own("own", "/dir"), 100007, 200008), 0);
	assert_int_equal(chown(snaps_own("own", "/dir/file"), 100009, 200010), 0);
	put_tar(&tar, false, (const char *const[]){ "dir/new=1", "link~dir/file", NULL });
	memory = (struct memory){ .data = tar.data, .len = tar.len };
	snaps_prepare("a", "own");
	good(overlaid_snapshot_fill(snaps, SCOPE, "a", &maps, memory_read, &memory, &bytes, &err),
	     &err);
	assert_int_equal(look(snaps_top("a", "/dir")).st_uid, 7);
	assert_int_equal(look(snaps_top("a", "/dir")).st_gid, 8);
	assert_int_equal(look(snaps_top("a", "/link")).st_uid, 9);
	snaps_attach("a", "m", &maps);
	assert_int_equal(look("m/dir").st_uid, 100007);
	assert_int_equal(look("m/dir").st_gid, 200008);
	assert_int_equal(look("m/link").st_uid, 100009);
	assert_int_equal(look("m/base").st_uid, 100000);
	assert_contents("m/link", "of its own");
	snaps_assert_consistent();
}

/* ---- several at once ---- */

#define CROWD  8
#define ROUNDS 200

struct worker {
	pthread_t thread;
	struct overlaid *o;
	const struct buf *base, *top;
	char scope[40];
	int rounds;
	int result;
	struct err err;
};

static int come(struct worker *w, const char *key, const char *parent, const struct buf *tar)
{
	const struct overlaid_prepare p = {
		.scope = w->scope, .key = key, .parent = parent, .kind = OVERLAID_SNAPSHOT_ACTIVE
	};
	int r = overlaid_snapshot_prepare(w->o, &p, NULL, NULL, &w->err);

	return r < 0 ? r : snaps_fill(w->o, w->scope, key, tar, NULL, &w->err);
}

static void *come_and_go(void *arg)
{
	struct worker *w = arg;

	for (int i = 0; w->result >= 0 && i < w->rounds; i++) {
		w->result = come(w, "base", "", w->base);
		if (w->result >= 0)
			w->result = come(w, "top", "base", w->top);
		if (w->result < 0 || i == w->rounds - 1)
			break;
		w->result = overlaid_snapshot_remove(w->o, w->scope, "top", &w->err);
		if (w->result >= 0)
			w->result = overlaid_snapshot_remove(w->o, w->scope, "base", &w->err);
		if (w->result >= 0 && i % 3 == 0)
			w->result = overlaid_reap(w->o, false, &w->err);
		if (w->result >= 0 && i % 20 == 19)
			w->result = overlaid_gc(w->o, 0, NULL, NULL, &w->err);
	}
	return NULL;
}

static void crowd(size_t workers, int rounds, const struct buf *base, const struct buf *top)
{
	struct worker *w = calloc(workers, sizeof(*w));

	assert_non_null(w);
	for (size_t i = 0; i < workers; i++) {
		w[i] = (struct worker){
			.o = kit_open(), .base = base, .top = top, .rounds = rounds
		};
		(void)snprintf(w[i].scope, sizeof(w[i].scope), "docker:%zu", i);
	}
	for (size_t i = 0; i < workers; i++)
		assert_int_equal(pthread_create(&w[i].thread, NULL, come_and_go, &w[i]), 0);
	for (size_t i = 0; i < workers; i++)
		assert_int_equal(pthread_join(w[i].thread, NULL), 0);
	for (size_t i = 0; i < workers; i++) {
		overlaid_close(w[i].o);
		good(w[i].result, &w[i].err);
	}
	free(w);
}

/* Each has both, and the same. */
static void assert_crowd(size_t workers, int64_t layers)
{
	auto_buf struct buf first = { .max = 0 };

	snaps_assert_consistent();
	assert_int_equal(count("SELECT count(*) FROM layer"), layers);
	assert_int_equal(count("SELECT count(*) FROM chain"), 2);
	snaps_trees("docker:0", "top", &first);
	for (size_t i = 1; i < workers; i++) {
		char scope[40];

		(void)snprintf(scope, sizeof(scope), "docker:%zu", i);
		assert_trees_in(scope, "top", buf_text(&first));
	}
}

static void the_same_tar_at_once_is_one_layer(void **state)
{
	auto_buf struct buf base = { .max = 0 }, top = { .max = 0 };

	tar_of(&base, "dir/", "file=base");
	tar_of(&top, "file=top");
	crowd(CROWD, 1, &base, &top);
	assert_crowd(CROWD, 2);
}

static void the_same_bound_tar_at_once_is_one_layer(void **state)
{
	auto_buf struct buf base = { .max = 0 }, top = { .max = 0 };

	put_tar(&base, true, linking);
	put_tar(&top, false, passing);
	crowd(CROWD, 1, &base, &top);
	assert_crowd(CROWD, 2);
}

static void the_same_chain_at_once_has_one_patch(void **state)
{
	auto_buf struct buf base = { .max = 0 }, top = { .max = 0 };

	put_private_dir(&base);
	put_tar(&top, false, (const char *const[]){ "d/top=top", NULL });
	crowd(CROWD, 1, &base, &top);
	assert_crowd(CROWD, 3);
}

static void *fill_the_one(void *arg)
{
	struct worker *w = arg;

	w->result = snaps_fill(w->o, SCOPE, "a", w->base, NULL, &w->err);
	return NULL;
}

static void of_several_fills_of_one_snapshot_one_is_it(void **state)
{
	auto_buf struct buf first = { .max = 0 }, second = { .max = 0 };
	const struct buf *tars[] = { &first, &second };
	auto_keyed struct keyed k = { 0 };
	struct worker w[CROWD / 2] = { 0 };
	size_t won = 0;

	tar_of(&first, "file=one");
	tar_of(&second, "file=two");
	snaps_prepare("a", "");
	for (size_t i = 0; i < ARRAY_LEN(w); i++) {
		w[i] = (struct worker){ .o = kit_open(), .base = tars[i % 2] };
		assert_int_equal(pthread_create(&w[i].thread, NULL, fill_the_one, &w[i]), 0);
	}
	for (size_t i = 0; i < ARRAY_LEN(w); i++)
		assert_int_equal(pthread_join(w[i].thread, NULL), 0);
	snaps_find(SCOPE, "a", &k);
	for (size_t i = 0; i < ARRAY_LEN(w); i++) {
		overlaid_close(w[i].o);
		won += w[i].result >= 0;
		if (w[i].result >= 0)
			assert_string_equal(k.chain_id, digest_of_buf(w[i].base).text);
	}
	assert_int_equal(won, 1);
	snaps_assert_consistent();
	assert_int_equal(count("SELECT count(*) FROM layer"), 1);
}

static void fills_and_removals_of_one_layer_get_along(void **state)
{
	auto_buf struct buf base = { .max = 0 }, top = { .max = 0 };

	put_private_dir(&base);
	put_tar(&top, false, (const char *const[]){ "d/top=top", NULL });
	crowd(2, ROUNDS, &base, &top);
	assert_crowd(2, 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		snaps_test(the_content_is_the_tar),
		snaps_test(what_a_layer_hides_is_hidden),
		snaps_test(a_compressed_tar_is_the_same_layer),
		snaps_test(an_empty_tar_is_an_empty_layer),
		snaps_test(scopes_share_a_layer),
		snaps_test(an_image_and_a_fill_share_layers),
		snaps_test(containerd_finds_a_chain_that_was_filled),
		snaps_test(a_fill_finds_what_containerd_unpacked),
		snaps_test(a_parent_whose_chain_was_forgotten_is_filled_over),
		snaps_test(a_symlink_of_the_parent_is_followed),
		snaps_test(a_bound_layer_of_an_image_is_used),
		snaps_test(a_hard_link_to_a_file_of_the_parent_is_bound),
		snaps_test(a_hard_link_to_nothing_is_refused),
		snaps_test(an_implied_directory_is_the_parents),
		snaps_test(a_second_fill_has_the_patch_too),
		snaps_test(a_chain_within_an_image_gets_its_patch),
		snaps_test(over_a_tree_of_its_own_plain_layers_are_shared),
		snaps_test(over_a_tree_of_its_own_bound_layers_are_private),
		snaps_test(what_is_no_whole_tar_leaves_nothing),
		snaps_test(an_error_of_the_reader_is_the_fills),
		snaps_test(what_a_dead_process_began_is_collected),
		snaps_test(a_fill_can_be_durable),
		snaps_test(only_an_active_one_that_is_empty_is_filled),
		snaps_test(ids_must_be_mapped),
		snaps_test(ids_in_a_hole_are_refused_also_beneath_greater_ones),
		snaps_test(what_is_taken_from_a_tree_of_its_own_has_its_ids_inside),
		snaps_test(the_same_tar_at_once_is_one_layer),
		snaps_test(the_same_bound_tar_at_once_is_one_layer),
		snaps_test(the_same_chain_at_once_has_one_patch),
		snaps_test(of_several_fills_of_one_snapshot_one_is_it),
		snaps_test(fills_and_removals_of_one_layer_get_along),
	};

	return cmocka_run_group_tests_name("fill", tests, sandbox_enter, sandbox_leave);
}
