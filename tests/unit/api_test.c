/* SPDX-License-Identifier: Apache-2.0 */
/* graph/overlaid.h from end to end, on small real archives. */
#include "graph/overlaid.h"

#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "driver/base/fd.h"
#include "driver/mount.h"
#include "driver/tree.h"
#include "graph/handle.h"
#include "graph/store/db.h"
#include "tests/unit/kit.h"
#include "tests/unit/sandbox.h"
#include "tests/unit/util.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static const char *const app_layers[] = { "base=one", "etc/app=two", NULL };
static const char *const other_layers[] = { "base=one", "other=three", NULL };

static struct overlaid *o;
static struct digest app, other;

/* app.tar: localhost/app:1 and q.io/app:2. other.tar: q.io/other:1; they share their lower layer. */
static int begin(void **state)
{
	if (sandbox_start(state) < 0)
		return -1;
	o = kit_open();
	kit_docker_archive("app.tar", "[\"localhost/app:1\",\"q.io/app:2\"]", app_layers, &app);
	kit_docker_archive("other.tar", "[\"q.io/other:1\"]", other_layers, &other);
	return 0;
}

static int end(void **state)
{
	overlaid_close(o);
	o = NULL;
	return sandbox_clean(state);
}

#define api_test(f) cmocka_unit_test_setup_teardown(f, begin, end)

static void good(int r, const struct err *err)
{
	if (r < 0)
		fail_msg("%d: %s", r, err->text);
}

/* Extracting sets owners. */
static void load(const char *path)
{
	struct err err = { 0 };

	needs_root();
	good(kit_load(o, path, &err), &err);
}

static int64_t count(const char *sql)
{
	return kit_count(o->store, sql);
}

static void nothing_is_left(void);

/* A collector looks, and somebody pulls it by name before it is removed. */
static void an_image_that_got_a_name_is_no_passing_one(void **state)
{
	struct err err = { 0 };
	char id[DIGEST_TEXT_MAX];

	load("other.tar");
	(void)snprintf(id, sizeof(id), "%s", other.text);
	assert_int_equal(kit_run(o->store, "UPDATE image SET kept_until = 5"), 0);
	assert_int_equal(handle_remove_passed(o, id, 5, NULL), -ENOENT);
	good(overlaid_image_tag(o, id, "q.io/mine:1", &err), &err);
	good(overlaid_image_untag(o, "q.io/mine:1", &err), &err);
	assert_int_equal(handle_remove_passed(o, id, 6, NULL), -ENOENT);
	good(overlaid_reap(o, true, &err), &err);
	assert_int_equal(count("SELECT count(*) FROM image"), 1);
	assert_int_equal(kit_run(o->store, "UPDATE image SET kept_until = 5"), 0);
	good(handle_remove_passed(o, id, 6, &err), &err);
	nothing_is_left();
}

static void nothing_is_left(void)
{
	struct err err = { 0 };

	good(overlaid_reap(o, true, &err), &err);
	assert_int_equal(
		count("SELECT (SELECT count(*) FROM layer) + (SELECT count(*) FROM image) + (SELECT count(*) FROM tag)"
		      " + (SELECT count(*) FROM snapshot) + (SELECT count(*) FROM lease) + (SELECT count(*) FROM blob)"
		      " + (SELECT count(*) FROM mount) + (SELECT count(*) FROM trash)"),
		0);
	assert_int_equal(kit_names("store/layers/sha256"), 0);
	assert_int_equal(kit_names("store/blobs/sha256"), 0);
	assert_int_equal(kit_names("store/snapshots"), 0);
	assert_int_equal(kit_names("store/staging"), 0);
	assert_int_equal(kit_names("store/trash"), 0);
}

static void created(const char *image, const char *name, char id[OVERLAID_ID_LEN + 1])
{
	const struct overlaid_create create = { .image = image, .name = name };
	struct err err = { 0 };

	good(overlaid_container_create(o, &create, id, &err), &err);
}

/* ---- loading ---- */

static int note_loaded(void *arg, const struct overlaid_loaded *loaded)
{
	struct buf *text = arg;

	(void)buf_printf(text, "%.15s %zu/%zu", loaded->image_id, loaded->layers_extracted,
			 loaded->layers);
	for (size_t i = 0; i < loaded->reference_count; i++)
		(void)buf_printf(text, " %s", loaded->references[i]);
	return buf_putc(text, '\n');
}

static void loading_tells_what_was_loaded(void **state)
{
	auto_buf struct buf first = { .max = 0 }, again = { .max = 0 }, shared = { .max = 0 },
			    expected = { .max = 0 };
	const struct overlaid_load load_app = { .path = "app.tar" },
				   load_other = { .path = "other.tar" };
	struct err err = { 0 };

	needs_root();
	good(overlaid_load(o, &load_app, note_loaded, &first, &err), &err);
	(void)buf_printf(&expected, "%.15s 2/2 localhost/app:1 q.io/app:2\n", app.text);
	assert_string_equal(buf_text(&first), buf_text(&expected));
	good(overlaid_load(o, &load_app, note_loaded, &again, &err), &err);
	assert_non_null(strstr(buf_text(&again), " 0/2 "));
	good(overlaid_load(o, &load_other, note_loaded, &shared, &err), &err);
	assert_non_null(strstr(buf_text(&shared), " 1/2 q.io/other:1"));
	assert_int_equal(kit_names("store/layers/sha256"), 3);
	assert_int_equal(kit_names("store/staging"), 0);
}

static void a_tag_of_a_layout_gets_a_repository_from_the_path_or_the_caller(void **state)
{
	auto_buf struct buf index = { .max = 0 }, by_path = { .max = 0 }, by_name = { .max = 0 };
	const struct overlaid_load path = { .path = "My.Layout" },
				   name = { .path = "My.Layout", .name = "q.io/me" };
	struct digest id, manifest;
	struct err err = { 0 };

	needs_root();
	kit_oci_image("My.Layout", &index,
		      ",\"annotations\":{\"org.opencontainers.image.ref.name\":\"v1\"}", app_layers,
		      &id, &manifest);
	kit_oci_index("My.Layout", &index);
	good(overlaid_load(o, &path, note_loaded, &by_path, &err), &err);
	assert_non_null(strstr(buf_text(&by_path), " 2/2 localhost/my:v1\n"));
	good(overlaid_load(o, &name, note_loaded, &by_name, &err), &err);
	assert_non_null(strstr(buf_text(&by_name), " 0/2 q.io/me:v1\n"));
}

static void a_layout_of_several_images_wants_a_choice(void **state)
{
	auto_buf struct buf index = { .max = 0 }, one = { .max = 0 }, all = { .max = 0 };
	struct overlaid_load choice = { .path = "l" };
	struct digest id, manifest;
	struct err err = { 0 };

	needs_root();
	kit_oci_image("l", &index,
		      ",\"annotations\":{\"org.opencontainers.image.ref.name\":\"q.io/a:1\"}",
		      app_layers, &id, &manifest);
	kit_oci_image("l", &index,
		      ",\"annotations\":{\"org.opencontainers.image.ref.name\":\"q.io/b:1\"}",
		      other_layers, &id, &manifest);
	kit_oci_index("l", &index);
	assert_int_equal(overlaid_load(o, &choice, NULL, NULL, &err), -EINVAL);
	assert_words(&err, "q.io/a:1, q.io/b:1");
	choice.reference = "q.io/c:1";
	assert_int_equal(overlaid_load(o, &choice, NULL, NULL, &err), -ENOENT);
	assert_words(&err, "q.io/c:1");
	nothing_is_left();
	choice.reference = "q.io/b:1";
	good(overlaid_load(o, &choice, note_loaded, &one, &err), &err);
	assert_non_null(strstr(buf_text(&one), "q.io/b:1\n"));
	assert_int_equal(count("SELECT count(*) FROM image"), 1);
	choice = (struct overlaid_load){ .path = "l", .all_tags = true };
	good(overlaid_load(o, &choice, note_loaded, &all, &err), &err);
	assert_int_equal(count("SELECT count(*) FROM image"), 2);
}

static void an_image_of_an_archive_is_chosen_by_any_of_its_names(void **state)
{
	struct overlaid_load choice = { .path = "app.tar", .reference = "localhost/app:1" };
	struct err err = { 0 };

	needs_root();
	good(overlaid_load(o, &choice, NULL, NULL, &err), &err);
	choice.reference = "q.io/app:2";
	good(overlaid_load(o, &choice, NULL, NULL, &err), &err);
	choice.reference = "q.io/app:3";
	assert_int_equal(overlaid_load(o, &choice, NULL, NULL, &err), -ENOENT);
}

static void what_does_not_match_is_refused_and_leaves_nothing(void **state)
{
	auto_buf struct buf tar = { .max = 1 << 20 };
	struct err err = { 0 };
	char *found;

	needs_root();
	assert_int_equal(read_file_at(AT_FDCWD, "app.tar", &tar, NULL), 0);
	/* The contents of a file in the second layer. */
	found = memmem(tar.data, tar.len, "two", 3);
	assert_non_null(found);
	memcpy(found, "TWO", 3);
	put_bytes("bad.tar", &tar);
	assert_int_equal(kit_load(o, "bad.tar", &err), -EBADMSG);
	assert_words(&err, "should have diffID");
	nothing_is_left();
	assert_int_equal(overlaid_image_get(o, "q.io/app:2", NULL, NULL, &err), -ENOENT);
}

static void a_blob_that_is_not_the_manifests_is_refused(void **state)
{
	auto_buf struct buf index = { .max = 0 }, tar = { .max = 0 }, gzip = { .max = 0 },
			    text = { .max = 65536 };
	struct digest id, manifest, blob;
	struct err err = { 0 };
	char path[300];

	needs_root();
	kit_layer_tar(&tar, app_layers[0]);
	gzip_put(&gzip, tar.data, tar.len);
	blob = digest_of_buf(&gzip);
	kit_oci_image("l", &index, "", app_layers, &id, &manifest);
	kit_oci_index("l", &index);
	(void)snprintf(path, sizeof(path), "l/blobs/sha256/%s", digest_hex(&blob));
	/* The same contents, packed otherwise: the length may differ, the diffID does not. */
	gzip_put_member(&text, tar.data, tar.len, 0);
	put_bytes(path, &text);
	assert_int_equal(kit_load(o, "l", &err), -EBADMSG);
	assert_words(&err, "layer sha256:");
	nothing_is_left();
	put_bytes(path, &gzip);
	good(kit_load(o, "l", &err), &err);
}

static void an_image_over_the_limit_is_refused_before_anything_is_extracted(void **state)
{
	auto_buf struct buf tar = { .max = 0 }, config = { .max = 0 }, manifest = { .max = 0 };
	struct digest id;
	struct err err = { 0 };

	(void)buf_puts(&config, "{\"rootfs\":{\"diff_ids\":[");
	(void)buf_puts(&manifest, "[{\"Config\":\"c\",\"RepoTags\":[\"q.io/long:1\"],\"Layers\":[");
	for (int i = 0; i < 501; i++) {
		(void)buf_printf(&config, "%s\"sha256:%064x\"", i ? "," : "", (unsigned int)i);
		(void)buf_printf(&manifest, "%s\"l\"", i ? "," : "");
	}
	(void)buf_puts(&config, "]}}");
	(void)buf_puts(&manifest, "]}]");
	id = digest_of_buf(&config);
	tar_put_file(&tar, "l", "");
	tar_put_file(&tar, "c", buf_text(&config));
	tar_put_file(&tar, "manifest.json", buf_text(&manifest));
	tar_put_end(&tar);
	put_bytes("long.tar", &tar);
	assert_int_equal(kit_load(o, "long.tar", &err), -E2BIG);
	assert_words(&err, "500");
	assert_words(&err, "q.io/long:1");
	assert_true(id.text[0]);
	nothing_is_left();
}

static void count_events(void *arg, const struct overlaid_progress *progress)
{
	int *events = arg;

	events[progress->event]++;
}

static void progress_is_told(void **state)
{
	int events[8] = { 0 };
	const struct overlaid_options options = { .root = sandbox_path("told"),
						  .run = sandbox_path("run"),
						  .durability = OVERLAID_VOLATILE,
						  .progress = count_events,
						  .progress_arg = events };
	struct overlaid *told = NULL;
	struct err err = { 0 };

	needs_root();
	good(overlaid_open(&options, &told, &err), &err);
	good(kit_load(told, "app.tar", &err), &err);
	assert_int_equal(events[OVERLAID_EVENT_LAYER_EXTRACTED], 2);
	assert_int_equal(events[OVERLAID_EVENT_LAYER_EXISTS], 0);
	good(kit_load(told, "other.tar", &err), &err);
	assert_int_equal(events[OVERLAID_EVENT_LAYER_EXTRACTED], 3);
	assert_int_equal(events[OVERLAID_EVENT_LAYER_EXISTS], 1);
	overlaid_close(told);
}

/* ---- images ---- */

static int note_image(void *arg, const struct overlaid_image *image)
{
	struct buf *text = arg;

	(void)buf_printf(text,
			 "%.15s %s/%s created %lld layers %zu bytes %llu unique %llu containers %zu",
			 image->id, image->os, image->architecture, (long long)image->created,
			 image->layer_count, (unsigned long long)image->bytes,
			 (unsigned long long)image->unique_bytes, image->container_count);
	for (size_t i = 0; i < image->reference_count; i++)
		(void)buf_printf(text, " %s", image->references[i]);
	return buf_putc(text, '\n');
}

static void an_image_is_listed_with_its_facts(void **state)
{
	auto_buf struct buf text = { .max = 0 }, all = { .max = 0 }, expected = { .max = 0 };
	struct err err = { 0 };

	load("app.tar");
	load("other.tar");
	good(overlaid_image_get(o, "localhost/app:1", note_image, &text, &err), &err);
	(void)buf_printf(&expected,
			 "%.15s linux/amd64 created 1714979289 layers 2 bytes 6 unique 3 containers 0"
			 " localhost/app:1 q.io/app:2\n",
			 app.text);
	assert_string_equal(buf_text(&text), buf_text(&expected));
	good(overlaid_images(o, note_image, &all, &err), &err);
	assert_non_null(strstr(buf_text(&all), buf_text(&expected)));
	assert_non_null(strstr(buf_text(&all), "bytes 8 unique 5 containers 0 q.io/other:1\n"));
}

static void config_and_manifest_come_back_byte_for_byte(void **state)
{
	auto_buf struct buf index = { .max = 0 }, config = { .max = 0 };
	auto_free char *bytes = NULL, *manifest_bytes = NULL;
	struct digest id, manifest, digest;
	struct err err = { 0 };
	size_t len = 4711;

	load("app.tar");
	kit_config(&config, app_layers, &id);
	good(overlaid_image_blob(o, "q.io/app:2", OVERLAID_BLOB_CONFIG, &bytes, &len, &err), &err);
	assert_int_equal(len, config.len);
	assert_string_equal(bytes, buf_text(&config));
	assert_int_equal(overlaid_image_blob(o, "q.io/app:2", OVERLAID_BLOB_MANIFEST,
					     &manifest_bytes, &len, &err),
			 -ENODATA);
	assert_null(manifest_bytes);
	kit_oci_image("l", &index, "", app_layers, &id, &manifest);
	kit_oci_index("l", &index);
	load("l");
	good(overlaid_image_blob(o, manifest.text, OVERLAID_BLOB_MANIFEST, &manifest_bytes, &len,
				 &err),
	     &err);
	assert_int_equal(digest_of("sha256", manifest_bytes, len, &digest, NULL), 0);
	assert_string_equal(digest.text, manifest.text);
}

static void tagging_and_untagging(void **state)
{
	auto_buf struct buf text = { .max = 0 };
	struct err err = { 0 };
	char pinned[200];

	load("app.tar");
	good(overlaid_image_tag(o, "q.io/app:2", "mine", &err), &err);
	good(overlaid_image_get(o, "docker.io/library/mine:latest", note_image, &text, &err), &err);
	assert_non_null(strstr(buf_text(&text),
			       " docker.io/library/mine:latest localhost/app:1 q.io/app:2\n"));
	(void)snprintf(pinned, sizeof(pinned), "mine@%s", app.text);
	assert_int_equal(overlaid_image_tag(o, "q.io/app:2", pinned, &err), -EINVAL);
	assert_int_equal(overlaid_image_tag(o, "q.io/app:2", "Bad", &err), -EINVAL);
	assert_int_equal(overlaid_image_tag(o, "nothing", "x", &err), -ENOENT);
	good(overlaid_image_untag(o, "mine", &err), &err);
	assert_int_equal(overlaid_image_untag(o, "mine", &err), -ENOENT);
	assert_int_equal(overlaid_image_untag(o, app.text, &err), -EINVAL);
	assert_words(&err, "not a reference");
	good(overlaid_image_untag(o, "localhost/app:1", &err), &err);
	good(overlaid_image_untag(o, "q.io/app:2", &err), &err);
	/* The image stays, also without a name. */
	good(overlaid_image_get(o, app.text, note_image, &text, &err), &err);
}

static void a_tag_moves_when_another_image_is_loaded_under_it(void **state)
{
	struct err err = { 0 };
	struct digest newer;
	auto_buf struct buf text = { .max = 0 };

	load("other.tar");
	kit_docker_archive("newer.tar", "[\"q.io/other:1\"]", app_layers, &newer);
	load("newer.tar");
	good(overlaid_image_get(o, "q.io/other:1", note_image, &text, &err), &err);
	assert_memory_equal(buf_text(&text), newer.text, 15);
	good(overlaid_image_get(o, other.text, note_image, &text, &err), &err);
	assert_int_equal(count("SELECT count(*) FROM tag"), 1);
}

/* ---- removing ---- */

static int note_removed(void *arg, enum overlaid_removed what, const char *name)
{
	static const char *const words[] = { "untagged", "deleted image", "deleted layer" };

	return buf_printf(arg, "%s %.15s\n", words[what], name);
}

static void removing_by_reference_takes_the_image_with_the_last(void **state)
{
	auto_buf struct buf first = { .max = 0 }, last = { .max = 0 }, expected = { .max = 0 };
	struct err err = { 0 };

	load("app.tar");
	load("other.tar");
	good(overlaid_image_remove(o, "localhost/app:1", 0, note_removed, &first, &err), &err);
	assert_string_equal(buf_text(&first), "untagged localhost/app:1\n");
	good(overlaid_image_remove(o, "q.io/app:2", 0, note_removed, &last, &err), &err);
	(void)buf_printf(&expected, "untagged q.io/app:2\ndeleted image %.15s\ndeleted layer ",
			 app.text);
	assert_memory_equal(buf_text(&last), buf_text(&expected), expected.len);
	/* One layer of the two: the other image has the lower one too. */
	assert_int_equal(last.len, expected.len + 15 + 1);
	assert_int_equal(kit_names("store/layers/sha256"), 2);
	good(overlaid_image_remove(o, "q.io/other:1", 0, NULL, NULL, &err), &err);
	nothing_is_left();
}

static void removing_by_id_wants_force_for_several_references(void **state)
{
	auto_buf struct buf text = { .max = 0 };
	struct err err = { 0 };

	load("app.tar");
	assert_int_equal(overlaid_image_remove(o, app.text, 0, NULL, NULL, &err), -EBUSY);
	assert_words(&err, "2 references");
	assert_int_equal(count("SELECT count(*) FROM tag"), 2);
	good(overlaid_image_remove(o, app.text, OVERLAID_REMOVE_FORCE, note_removed, &text, &err),
	     &err);
	assert_memory_equal(buf_text(&text),
			    "untagged localhost/app:1\nuntagged q.io/app:2\ndeleted image", 58);
	nothing_is_left();
}

static void an_image_with_containers_is_removed_by_force_only(void **state)
{
	char id[OVERLAID_ID_LEN + 1];
	struct err err = { 0 };

	load("other.tar");
	created("q.io/other:1", "web", id);
	assert_int_equal(overlaid_image_remove(o, "q.io/other:1", 0, NULL, NULL, &err), -EBUSY);
	assert_words(&err, "web");
	assert_words(&err, "-f");
	assert_int_equal(count("SELECT count(*) FROM image"), 1);
	good(overlaid_image_remove(o, "q.io/other:1", OVERLAID_REMOVE_FORCE, NULL, NULL, &err),
	     &err);
	assert_int_equal(count("SELECT count(*) FROM image"), 0);
	assert_int_equal(kit_names("store/layers/sha256"), 2);
	good(overlaid_container_remove(o, "web", 0, &err), &err);
	nothing_is_left();
}

static void an_image_of_a_mounted_container_is_not_removed_by_force(void **state)
{
	auto_free char *path = NULL;
	char id[OVERLAID_ID_LEN + 1];
	struct err err = { 0 };

	needs_root();
	load("other.tar");
	created("q.io/other:1", "web", id);
	good(overlaid_container_mount(o, "web", &path, &err), &err);
	assert_int_equal(overlaid_image_remove(o, "q.io/other:1", OVERLAID_REMOVE_FORCE, NULL, NULL,
					       &err),
			 -EBUSY);
	assert_words(&err, "web");
	assert_words(&err, "cannot force");
	good(overlaid_container_unmount(o, id, &err), &err);
	good(overlaid_image_remove(o, "q.io/other:1", OVERLAID_REMOVE_FORCE, NULL, NULL, &err),
	     &err);
	good(overlaid_container_remove(o, id, 0, &err), &err);
	nothing_is_left();
}

static void what_was_removed_can_be_loaded_and_removed_again_before_it_is_reaped(void **state)
{
	struct err err = { 0 };

	for (int i = 0; i < 3; i++) {
		load("other.tar");
		assert_int_equal(kit_names("store/layers/sha256"), 2);
		good(overlaid_image_remove(o, "q.io/other:1", 0, NULL, NULL, &err), &err);
		assert_int_equal(kit_names("store/layers/sha256"), 0);
	}
	nothing_is_left();
}

/* ---- mounts of images ---- */

static int note_mount(void *arg, const struct overlaid_image_mount_info *mount)
{
	return buf_printf(arg, "%s %s\n", mount->image_id, mount->path);
}

static void an_image_is_mounted_once_read_only(void **state)
{
	auto_free char *path = NULL, *again = NULL;
	auto_buf struct buf text = { .max = 0 }, expected = { .max = 0 }, none = { .max = 0 };
	struct err err = { 0 };
	char file[8300];

	needs_root();
	load("app.tar");
	assert_int_equal(overlaid_image_unmount(o, "q.io/app:2", &err), -EINVAL);
	good(overlaid_image_mount(o, "q.io/app:2", &path, &err), &err);
	good(overlaid_image_mount(o, app.text, &again, &err), &err);
	assert_string_equal(path, again);
	(void)snprintf(file, sizeof(file), "%s/etc/app", path);
	assert_contents(file, "two");
	assert_int_equal(open(file, O_WRONLY | O_CLOEXEC), -1);
	good(overlaid_image_mounts(o, note_mount, &text, &err), &err);
	(void)buf_printf(&expected, "%s %s\n", app.text, path);
	assert_string_equal(buf_text(&text), buf_text(&expected));
	assert_int_equal(overlaid_image_remove(o, app.text, OVERLAID_REMOVE_FORCE, NULL, NULL,
					       &err),
			 -EBUSY);
	assert_words(&err, "mounted");
	good(overlaid_image_unmount(o, "q.io/app:2", &err), &err);
	assert_false(exists(path));
	good(overlaid_image_mounts(o, note_mount, &none, &err), &err);
	assert_string_equal(buf_text(&none), "");
	good(overlaid_image_remove(o, app.text, OVERLAID_REMOVE_FORCE, NULL, NULL, &err), &err);
	nothing_is_left();
}

/* ---- containers ---- */

struct seen {
	char name[256], image_id[200], labels[200], upper[4096];
	size_t count, layers;
	bool mounted, ephemeral, image_exists;
};

static int see(void *arg, const struct overlaid_container *c)
{
	struct seen *s = arg;

	s->count++;
	(void)snprintf(s->name, sizeof(s->name), "%s", c->name);
	(void)snprintf(s->image_id, sizeof(s->image_id), "%s", c->image_id);
	(void)snprintf(s->upper, sizeof(s->upper), "%s", c->upper);
	s->labels[0] = '\0';
	for (size_t i = 0; i < c->label_count; i++)
		(void)snprintf(s->labels + strlen(s->labels), sizeof(s->labels) - strlen(s->labels),
			       "%s;", c->labels[i]);
	s->layers = c->layer_count;
	s->mounted = c->mounted != NULL;
	s->ephemeral = c->ephemeral;
	s->image_exists = c->image_exists;
	return 0;
}

static void a_container_is_created_with_labels_and_found(void **state)
{
	const char *const labels[] = { "a=1", "b=x=y", "c", NULL };
	const struct overlaid_create create = { .image = "q.io/app:2",
						.name = "web-1",
						.labels = labels };
	char id[OVERLAID_ID_LEN + 1], prefix[13];
	struct seen seen = { .count = 0 };
	struct err err = { 0 };

	load("app.tar");
	good(overlaid_container_create(o, &create, id, &err), &err);
	assert_true(hex_valid(id, OVERLAID_ID_LEN));
	(void)snprintf(prefix, sizeof(prefix), "%s", id);
	good(overlaid_container_get(o, prefix, see, &seen, &err), &err);
	assert_string_equal(seen.name, "web-1");
	assert_string_equal(seen.image_id, app.text);
	assert_string_equal(seen.labels, "a=1;b=x=y;c=;");
	assert_int_equal(seen.layers, 2);
	assert_true(seen.image_exists && !seen.mounted && !seen.ephemeral);
	assert_false(exists(seen.upper));
	assert_int_equal(overlaid_container_create(o, &create, id, &err), -EEXIST);
	assert_int_equal(overlaid_container_get(o, "web-2", see, &seen, &err), -ENOENT);
}

static void bad_names_and_labels_make_no_container(void **state)
{
	const char *const labels[] = { "=1", NULL };
	char id[OVERLAID_ID_LEN + 1];
	struct err err = { 0 };

	load("app.tar");
	assert_int_equal(overlaid_container_create(o,
						   &(struct overlaid_create){ .image = "q.io/app:2",
									      .name = "-x" },
						   id, &err),
			 -EINVAL);
	assert_words(&err, "-x");
	assert_int_equal(overlaid_container_create(o,
						   &(struct overlaid_create){ .image = "q.io/app:2",
									      .labels = labels },
						   id, &err),
			 -EINVAL);
	assert_words(&err, "key=value");
	assert_int_equal(overlaid_container_create(o,
						   &(struct overlaid_create){ .image = "nothing" },
						   id, &err),
			 -ENOENT);
	assert_int_equal(kit_names("store/snapshots"), 0);
}

static void containers_get_names_of_their_own(void **state)
{
	char id[OVERLAID_ID_LEN + 1];
	struct seen seen = { .count = 0 };
	struct err err = { 0 };

	load("app.tar");
	for (int i = 0; i < 10; i++)
		created("q.io/app:2", NULL, id);
	good(overlaid_containers(o, see, &seen, &err), &err);
	assert_int_equal(seen.count, 10);
	assert_non_null(strchr(seen.name, '_'));
	assert_int_equal(count("SELECT count(DISTINCT name) FROM snapshot"), 10);
}

static int note_change(void *arg, enum overlaid_change change, const char *path)
{
	return buf_printf(arg, "%c %s\n", "CAD"[change], path);
}

static void changes_and_usage_are_the_containers_own(void **state)
{
	auto_buf struct buf text = { .max = 0 };
	auto_free char *path = NULL;
	char id[OVERLAID_ID_LEN + 1], file[8300];
	uint64_t before = 0, after = 0;
	struct err err = { 0 };

	needs_root();
	load("app.tar");
	created("q.io/app:2", "web", id);
	good(overlaid_container_usage(o, "web", &before, &err), &err);
	good(overlaid_container_mount(o, "web", &path, &err), &err);
	(void)snprintf(file, sizeof(file), "%s/base", path);
	assert_int_equal(unlink(file), 0);
	(void)snprintf(file, sizeof(file), "%s/etc/app", path);
	put_file(file, "changed");
	(void)snprintf(file, sizeof(file), "%s/new", path);
	put_file(file, "new");
	good(overlaid_container_unmount(o, "web", &err), &err);
	good(overlaid_container_changes(o, "web", note_change, &text, &err), &err);
	assert_string_equal(buf_text(&text), "D /base\nC /etc\nC /etc/app\nA /new\n");
	good(overlaid_container_usage(o, "web", &after, &err), &err);
	assert_true(after >= before + 8192);
}

static void a_mounted_container_is_removed_by_force_only(void **state)
{
	auto_free char *path = NULL;
	char id[OVERLAID_ID_LEN + 1];
	struct seen seen = { .count = 0 };
	struct err err = { 0 };

	needs_root();
	load("app.tar");
	created("q.io/app:2", "web", id);
	good(overlaid_container_mount(o, "web", &path, &err), &err);
	good(overlaid_container_get(o, "web", see, &seen, &err), &err);
	assert_true(seen.mounted);
	assert_int_equal(overlaid_container_remove(o, "web", 0, &err), -EBUSY);
	good(overlaid_container_remove(o, "web", OVERLAID_REMOVE_FORCE, &err), &err);
	assert_int_equal(mount_is_mounted(path, NULL), 0);
	assert_int_equal(overlaid_container_remove(o, "web", 0, &err), -ENOENT);
}

static int hold_ephemeral(struct child *parent, void *arg)
{
	const struct overlaid_options options = { .root = sandbox_path("store"),
						  .run = sandbox_path("run"),
						  .durability = OVERLAID_VOLATILE };
	const struct overlaid_create create = { .image = "q.io/app:2",
						.name = "job",
						.flags = OVERLAID_CREATE_EPHEMERAL };
	char id[OVERLAID_ID_LEN + 1];
	struct overlaid *own = NULL;
	char *path = NULL;
	int r = geteuid() == 0 && unshare(CLONE_NEWNS) < 0 ? -errno : 0;

	if (r >= 0)
		r = overlaid_open(&options, &own, NULL);
	if (r >= 0)
		r = overlaid_container_create(own, &create, id, NULL);
	if (r >= 0 && geteuid() == 0)
		r = overlaid_container_mount(own, id, &path, NULL);
	if (r < 0)
		return -r;
	kit_tell(parent);
	(void)kit_hear(parent);
	return -overlaid_container_remove(own, id, OVERLAID_REMOVE_FORCE, NULL);
}

static void an_ephemeral_container_goes_with_its_process(void **state)
{
	struct child child;
	struct err err = { 0 };

	load("app.tar");
	child = kit_fork(hold_ephemeral, NULL);
	assert_true(kit_hear(&child));
	assert_int_equal(overlaid_container_remove(o, "job", OVERLAID_REMOVE_FORCE, &err), -EBUSY);
	assert_words(&err, "running");
	assert_int_equal(overlaid_image_remove(o, app.text, OVERLAID_REMOVE_FORCE, NULL, NULL,
					       &err),
			 -EBUSY);
	assert_words(&err, "job");
	good(overlaid_gc(o, 0, NULL, NULL, &err), &err);
	assert_int_equal(count("SELECT count(*) FROM snapshot"), 1);
	kit_kill(&child);
	good(overlaid_gc(o, 0, NULL, NULL, &err), &err);
	assert_int_equal(count("SELECT count(*) FROM snapshot"), 0);
	assert_int_equal(kit_names("store/snapshots"), 0);
}

static void an_ephemeral_containers_owner_removes_it(void **state)
{
	struct child child;

	load("app.tar");
	child = kit_fork(hold_ephemeral, NULL);
	assert_true(kit_hear(&child));
	kit_tell(&child);
	assert_int_equal(kit_wait(&child), 0);
	assert_int_equal(count("SELECT count(*) FROM snapshot"), 0);
}

static void an_image_can_be_removed_when_only_the_dead_use_it(void **state)
{
	struct child child;
	struct err err = { 0 };

	load("app.tar");
	child = kit_fork(hold_ephemeral, NULL);
	assert_true(kit_hear(&child));
	kit_kill(&child);
	good(overlaid_image_remove(o, app.text, OVERLAID_REMOVE_FORCE, NULL, NULL, &err), &err);
	nothing_is_left();
}

/* ---- layers ---- */

static int note_layer(void *arg, const struct overlaid_layer *layer)
{
	struct buf *text = arg;

	assert_true(exists(layer->path));
	assert_true(layer->disk_bytes >= layer->bytes);
	(void)buf_printf(text, "bytes %llu entries %llu:", (unsigned long long)layer->bytes,
			 (unsigned long long)layer->entries);
	for (size_t i = 0; i < layer->holder_count; i++) {
		const struct overlaid_holder *h = &layer->holders[i];

		(void)buf_printf(text, " %s[%s,%s]",
				 h->kind == OVERLAID_HELD_BY_IMAGE     ? "image" :
				 h->kind == OVERLAID_HELD_BY_CONTAINER ? "container" :
									 "lease",
				 h->name, h->scope);
	}
	return buf_putc(text, '\n');
}

static void layers_name_their_holders(void **state)
{
	auto_buf struct buf text = { .max = 0 };
	char id[OVERLAID_ID_LEN + 1];
	struct err err = { 0 };
	int64_t layer;

	load("app.tar");
	load("other.tar");
	created("q.io/other:1", "web", id);
	layer = count(
		"SELECT layer FROM image_layer JOIN tag USING(image) WHERE reference = 'q.io/app:2' AND position = 1");
	(void)kit_lease(o->store, "somebody", &layer, 1);
	good(overlaid_layers(o, note_layer, &text, &err), &err);
	assert_non_null(strstr(
		buf_text(&text),
		"bytes 3 entries 2: image[localhost/app:1,] image[q.io/other:1,] container[web,cli]\n"));
	assert_non_null(
		strstr(buf_text(&text), "bytes 3 entries 2: image[localhost/app:1,] lease[,]\n"));
	assert_non_null(strstr(buf_text(&text),
			       "bytes 5 entries 2: image[q.io/other:1,] container[web,cli]\n"));
}

/* ---- garbage ---- */

static int note_garbage(void *arg, const struct overlaid_garbage *garbage)
{
	const char *slash = strrchr(garbage->path, '/');

	return buf_printf(arg, "%.12s: %s\n", slash + 1, garbage->why);
}

static void collected(unsigned int flags, const char *words)
{
	auto_buf struct buf text = { .max = 0 };
	struct err err = { 0 };

	good(overlaid_gc(o, flags, note_garbage, &text, &err), &err);
	if (words[0] ? !strstr(buf_text(&text), words) : text.len > 0)
		fail_msg("gc says \"%s\", not \"%s\"", buf_text(&text), words);
}

static void a_clean_store_has_no_garbage(void **state)
{
	char id[OVERLAID_ID_LEN + 1];

	load("app.tar");
	created("q.io/app:2", "web", id);
	collected(0, "");
	assert_int_equal(kit_names("store/layers/sha256"), 2);
	assert_int_equal(count("SELECT count(*) FROM snapshot"), 1);
}

static void invariant_3_directories_without_a_row_are_garbage(void **state)
{
	static const char *const lost[] = {
		"store/layers/sha256/ab00000000000000000000000000000000000000000000000000000000000000/diff/x",
		"store/layers/sha256/stranger/x",
		"store/blobs/sha256/cd00000000000000000000000000000000000000000000000000000000000000",
		"store/snapshots/ef00000000000000000000000000000000000000000000000000000000000000/fs/x",
	};

	load("app.tar");
	for (size_t i = 0; i < ARRAY_LEN(lost); i++)
		put_file(lost[i], "lost");
	collected(OVERLAID_GC_DRY_RUN,
		  "ab0000000000: in the store's directories without a record\n");
	for (size_t i = 0; i < ARRAY_LEN(lost); i++)
		assert_true(exists(lost[i]));
	collected(0, "ef0000000000: in the store's directories without a record\n");
	assert_int_equal(kit_names("store/layers/sha256"), 2);
	assert_int_equal(kit_names("store/blobs/sha256"), 1);
	assert_int_equal(kit_names("store/snapshots"), 0);
	assert_int_equal(kit_names("store/trash"), 0);
	collected(0, "");
}

static void invariant_3_what_somebody_has_locked_is_left(void **state)
{
	auto_locks struct store_locks locks = STORE_LOCKS_INIT;
	struct digest digest = kit_digest("ab");

	kit_layer_dir(o->store, "ab");
	assert_int_equal(store_locks_open(o->store, &locks, NULL), 0);
	assert_int_equal(store_lock_object(&locks, digest_hex(&digest), STORE_LOCK_TRY, NULL), 0);
	collected(0, "");
	assert_true(kit_layer_exists("ab"));
	store_locks_release(&locks);
	collected(0, "ab00");
	assert_false(kit_layer_exists("ab"));
}

static void invariant_4_gc_finishes_a_removal(void **state)
{
	load("app.tar");
	put_file("store/trash/half/of/a/tree", "x");
	kit_layer_dir(o->store, "ab");
	assert_int_equal(kit_run(o->store,
				 "INSERT INTO trash(kind, hex, name) VALUES('layer',"
				 " 'ab00000000000000000000000000000000000000000000000000000000000000',"
				 " '0123456789abcdef0123456789abcdef')"),
			 0);
	collected(OVERLAID_GC_DRY_RUN, "half: removed, and not yet deleted\n");
	assert_true(exists("store/trash/half/of/a/tree"));
	collected(0, "");
	assert_false(kit_layer_exists("ab"));
	assert_int_equal(kit_names("store/trash"), 0);
	assert_int_equal(count("SELECT count(*) FROM trash"), 0);
}

static void invariant_4_the_next_removal_finishes_one_that_was_interrupted(void **state)
{
	struct err err = { 0 };

	load("app.tar");
	load("other.tar");
	kit_layer_dir(o->store, "ab");
	assert_int_equal(kit_run(o->store,
				 "INSERT INTO trash(kind, hex, name) VALUES('layer',"
				 " 'ab00000000000000000000000000000000000000000000000000000000000000',"
				 " '0123456789abcdef0123456789abcdef')"),
			 0);
	good(overlaid_image_remove(o, "q.io/other:1", 0, NULL, NULL, &err), &err);
	assert_false(kit_layer_exists("ab"));
	assert_int_equal(kit_names("store/layers/sha256"), 2);
}

static int hold_lease(struct child *parent, void *arg)
{
	struct store *store = NULL;
	struct staging staging = STAGING_INIT;
	int r = store_open(sandbox_path("store"), sandbox_path("run"), false, true, &store, NULL);

	if (r >= 0)
		r = staging_make(store, &staging, NULL);
	if (r >= 0)
		r = write_full(parent->to, staging.name, 32);
	(void)kit_hear(parent);
	return r < 0 ? -r : 1;
}

static void a_lease_of_a_dead_process_ends_and_its_layers_go(void **state)
{
	int64_t layer = kit_layer(o->store, "ab"), kept;
	struct child child = kit_fork(hold_lease, NULL);
	char name[33] = "";

	load("app.tar");
	kept = count("SELECT min(layer) FROM image_layer");
	assert_int_equal(read_full(child.from, name, 32), 32);
	(void)kit_lease(o->store, name, (const int64_t[]){ layer, kept }, 2);
	(void)kit_lease(o->store, "00000000000000000000000000000000", (const int64_t[]){ kept }, 1);
	/* The one whose staging directory is gone ends; that of the living stays. */
	collected(0, "lease of a process that died");
	assert_int_equal(count("SELECT count(*) FROM lease"), 1);
	assert_int_equal(kit_names("store/staging"), 1);
	assert_true(kit_layer_exists("ab"));
	kit_kill(&child);
	collected(OVERLAID_GC_DRY_RUN, "left behind by a process that died");
	assert_int_equal(count("SELECT count(*) FROM lease"), 1);
	collected(0, "left behind by a process that died");
	assert_int_equal(count("SELECT count(*) FROM lease"), 0);
	assert_int_equal(count("SELECT count(*) FROM layer"), 2);
	assert_false(kit_layer_exists("ab"));
	assert_int_equal(kit_names("store/staging"), 0);
	assert_int_equal(kit_names("store/trash"), 0);
}

static void invariant_6_gc_forgets_mounts_that_are_gone(void **state)
{
	auto_free char *path = NULL, *view = NULL;
	char id[OVERLAID_ID_LEN + 1];
	struct err err = { 0 };

	needs_root();
	load("app.tar");
	created("q.io/app:2", "web", id);
	good(overlaid_container_mount(o, "web", &path, &err), &err);
	good(overlaid_image_mount(o, "q.io/app:2", &view, &err), &err);
	collected(0, "");
	assert_int_equal(count("SELECT count(*) FROM mount"), 2);
	assert_int_equal(mount_unmount(path, NULL), 0);
	assert_int_equal(mount_unmount(view, NULL), 0);
	collected(OVERLAID_GC_DRY_RUN, "web: record of a mount that is gone\n");
	assert_int_equal(count("SELECT count(*) FROM mount"), 2);
	collected(0, "mount of an image that is mounted no more");
	assert_int_equal(count("SELECT count(*) FROM mount"), 0);
	assert_int_equal(count("SELECT count(*) FROM snapshot"), 1);
}

static void a_mount_point_that_nobody_has_is_garbage(void **state)
{
	put_dir("run/mnt/ab00000000000000000000000000000000000000000000000000000000000000");
	collected(0, "ab0000000000: mount point of a container that is gone\n");
	assert_int_equal(kit_names("run/mnt"), 0);
}

static int stop(void *arg, const struct overlaid_garbage *garbage)
{
	return 77;
}

static void a_caller_can_end_the_collection(void **state)
{
	kit_layer_dir(o->store, "ab");
	assert_int_equal(overlaid_gc(o, 0, stop, NULL, NULL), 77);
	assert_true(kit_layer_exists("ab"));
}

/* ---- usage ---- */

static uint64_t disk_bytes(const char *path)
{
	struct tree_usage usage;

	assert_int_equal(tree_usage_at(AT_FDCWD, path, &usage, NULL), 0);
	return usage.disk_bytes;
}

static void usage_sums_to_what_is_on_disk(void **state)
{
	char id[OVERLAID_ID_LEN + 1];
	struct overlaid_usage u;
	struct err err = { 0 };

	load("app.tar");
	load("other.tar");
	created("q.io/other:1", "web", id);
	kit_layer_dir(o->store, "ab");
	put_file("store/trash/x", "trash");
	put_file("store/stranger", "strange");
	good(overlaid_usage(o, &u, &err), &err);
	assert_int_equal(u.total, disk_bytes("store"));
	assert_int_equal(u.total,
			 u.layers + u.containers + u.blobs + u.database + u.transient + u.other);
	assert_int_equal(u.layers, u.layers_shared + u.layers_unique);
	assert_int_equal(u.containers, disk_bytes("store/snapshots") - 4096);
	assert_int_equal(u.containers_reclaimable, u.containers);
	assert_true(u.layers_shared > 0 && u.layers_reclaimable > 0 && u.transient >= 4096);
	assert_int_equal(u.image_count, 2);
	assert_int_equal(u.images_active, 1);
	assert_int_equal(u.layer_count, 3);
	assert_int_equal(u.container_count, 1);
	assert_int_equal(u.containers_active, 0);
}

static int check_info(void *arg, const struct overlaid_info *info)
{
	*(int *)arg += 1;
	assert_string_equal(info->root, sandbox_path("store"));
	assert_string_equal(info->run, sandbox_path("run"));
	assert_int_equal(info->format, 1);
	assert_int_equal(info->image_count, 1);
	assert_int_equal(info->layer_count, 2);
	assert_int_equal(info->container_count, 0);
	assert_true(info->line_count > 0 && info->kernel[0] && info->backing_fs[0]);
	return 0;
}

static void info_tells_what_there_is(void **state)
{
	struct err err = { 0 };
	int calls = 0;

	load("app.tar");
	good(overlaid_info(o, check_info, &calls, &err), &err);
	assert_int_equal(calls, 1);
	assert_true(overlaid_version()[0] >= '0' && overlaid_version()[0] <= '9');
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		api_test(an_image_that_got_a_name_is_no_passing_one),
		api_test(loading_tells_what_was_loaded),
		api_test(a_tag_of_a_layout_gets_a_repository_from_the_path_or_the_caller),
		api_test(a_layout_of_several_images_wants_a_choice),
		api_test(an_image_of_an_archive_is_chosen_by_any_of_its_names),
		api_test(what_does_not_match_is_refused_and_leaves_nothing),
		api_test(a_blob_that_is_not_the_manifests_is_refused),
		api_test(an_image_over_the_limit_is_refused_before_anything_is_extracted),
		api_test(progress_is_told),
		api_test(an_image_is_listed_with_its_facts),
		api_test(config_and_manifest_come_back_byte_for_byte),
		api_test(tagging_and_untagging),
		api_test(a_tag_moves_when_another_image_is_loaded_under_it),
		api_test(removing_by_reference_takes_the_image_with_the_last),
		api_test(removing_by_id_wants_force_for_several_references),
		api_test(an_image_with_containers_is_removed_by_force_only),
		api_test(an_image_of_a_mounted_container_is_not_removed_by_force),
		api_test(what_was_removed_can_be_loaded_and_removed_again_before_it_is_reaped),
		api_test(an_image_is_mounted_once_read_only),
		api_test(a_container_is_created_with_labels_and_found),
		api_test(bad_names_and_labels_make_no_container),
		api_test(containers_get_names_of_their_own),
		api_test(changes_and_usage_are_the_containers_own),
		api_test(a_mounted_container_is_removed_by_force_only),
		api_test(an_ephemeral_container_goes_with_its_process),
		api_test(an_ephemeral_containers_owner_removes_it),
		api_test(an_image_can_be_removed_when_only_the_dead_use_it),
		api_test(layers_name_their_holders),
		api_test(a_clean_store_has_no_garbage),
		api_test(invariant_3_directories_without_a_row_are_garbage),
		api_test(invariant_3_what_somebody_has_locked_is_left),
		api_test(invariant_4_gc_finishes_a_removal),
		api_test(invariant_4_the_next_removal_finishes_one_that_was_interrupted),
		api_test(a_lease_of_a_dead_process_ends_and_its_layers_go),
		api_test(invariant_6_gc_forgets_mounts_that_are_gone),
		api_test(a_mount_point_that_nobody_has_is_garbage),
		api_test(a_caller_can_end_the_collection),
		api_test(usage_sums_to_what_is_on_disk),
		api_test(info_tells_what_there_is),
	};

	return cmocka_run_group_tests_name("api", tests, sandbox_enter, sandbox_leave);
}
