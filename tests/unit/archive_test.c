/* SPDX-License-Identifier: Apache-2.0 */
#include "graph/fetch/archive.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "driver/base/fd.h"
#include "graph/fetch/members.h"
#include "tests/unit/kit.h"
#include "tests/unit/sandbox.h"
#include "tests/unit/util.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#define HEX64		  "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define OCI_MANIFEST_TYPE "application/vnd.oci.image.manifest.v1+json"
#define OCI_INDEX_TYPE	  "application/vnd.oci.image.index.v1+json"

static const char *const two_layers[] = { "base=one", "top=two", NULL };
static const char *const other_layers[] = { "base=one", "other=three", NULL };

static int open_for(const char *path, const char *platform, struct source **ret, struct err *err)
{
	auto_close int spool_fd = -EBADF;
	struct oci_platform wanted;
	struct archive_options options = { .path = path };

	put_dir("spool");
	spool_fd = open_dir("spool", 0);
	options.spool_fd = spool_fd;
	if (platform) {
		assert_int_equal(oci_platform_parse(platform, &wanted, NULL), 0);
		options.platform = &wanted;
	}
	return archive_open(&options, ret, err);
}

static struct source *opened(const char *path)
{
	struct source *source = NULL;
	struct err err = { 0 };

	if (open_for(path, NULL, &source, &err) < 0)
		fail_msg("%s", err.text);
	assert_int_equal(kit_names("spool"), 0);
	return source;
}

static void refused_open(const char *path, int code, const char *words)
{
	struct source *source = NULL;
	struct err err = { 0 };
	int r = open_for(path, NULL, &source, &err);

	if (r != code)
		fail_msg("%s: gave %d (%s), not %d", path, r, err.text, code);
	assert_null(source);
	assert_words(&err, words);
}

static void refused_image(struct source *source, size_t index, int code, const char *words)
{
	struct source_image image = { .layer_count = 4711 };
	struct err err = { 0 };
	int r = archive_read_image(source, index, &image, &err);

	if (r != code)
		fail_msg("gave %d (%s), not %d", r, err.text, code);
	assert_int_equal(image.layer_count, 4711);
	assert_words(&err, strchr(source_name(source), ':') + 1);
	assert_words(&err, words);
}

static struct source_image image_of(struct source *source, size_t index)
{
	struct source_image image;
	struct err err = { 0 };

	if (archive_read_image(source, index, &image, &err) < 0)
		fail_msg("%s", err.text);
	return image;
}

/* The bytes of a layer are those of the tar, gzipped or not. */
static void assert_layer(struct source *source, const struct source_layer *layer, const char *as,
			 bool gzip)
{
	auto_buf struct buf tar = { .max = 0 }, expected = { .max = 0 }, bytes = { .max = 0 };
	auto_stream struct source_stream stream = { 0 };
	struct err err = { 0 };
	const void *block;
	ssize_t n;

	kit_layer_tar(&tar, as);
	if (gzip)
		gzip_put(&expected, tar.data, tar.len);
	if (source_open_layer(source, layer, &stream, &err) < 0)
		fail_msg("%s", err.text);
	while ((n = stream.read(stream.arg, &block, &err)) > 0)
		assert_int_equal(buf_append(&bytes, block, (size_t)n), 0);
	if (n < 0)
		fail_msg("%s", err.text);
	assert_int_equal(bytes.len, gzip ? expected.len : tar.len);
	assert_memory_equal(bytes.data, gzip ? expected.data : tar.data, bytes.len);
}

/* A directory as a tar. */
static void tar_of_directory(const char *path, const char *dir, const char *const *names)
{
	auto_buf struct buf tar = { .max = 0 };

	for (; *names; names++) {
		auto_buf struct buf bytes = { .max = 1 << 20 };
		char from[300];

		(void)snprintf(from, sizeof(from), "%s/%s", dir, *names);
		assert_int_equal(read_file_at(AT_FDCWD, from, &bytes, NULL), 0);
		tar_put(&tar, &(struct tar_spec){ .name = *names,
						  .type = '0',
						  .mode = 0644,
						  .size = (int64_t)bytes.len,
						  .data = buf_text(&bytes) });
	}
	tar_put_end(&tar);
	put_bytes(path, &tar);
}

/* ---- docker-archive ---- */

static void a_docker_archive_is_read(void **state)
{
	auto_source struct source *source = NULL;
	auto_source_image struct source_image image = { 0 };
	struct digest id;

	kit_docker_archive("a.tar", "[\"x:1\",\"quay.io/y:2\",\"x:1\"]", two_layers, &id);
	source = opened("a.tar");
	assert_string_equal(source_name(source), "docker-archive:a.tar");
	assert_int_equal(archive_count(source), 1);
	assert_false(archive_is_layout(source));
	assert_string_equal(archive_entry_name(source, 0), "x:1");
	assert_int_equal(archive_is_best(source, 0, NULL), 1);
	image = image_of(source, 0);
	assert_string_equal(image.config_digest.text, id.text);
	assert_string_equal(image.manifest_digest.text, "");
	assert_int_equal(image.name_count, 2);
	assert_string_equal(image.names[0], "x:1");
	assert_string_equal(image.names[1], "quay.io/y:2");
	assert_null(image.tag);
	assert_int_equal(image.layer_count, 2);
	assert_int_equal(image.layers[0].size, 2560);
	assert_string_equal(image.layers[0].blob.text, "");
	assert_layer(source, &image.layers[0], "base=one", false);
	assert_layer(source, &image.layers[1], "top=two", false);
}

static void streams_do_not_disturb_each_other(void **state)
{
	auto_source struct source *source = NULL;
	auto_source_image struct source_image image = { 0 };
	auto_stream struct source_stream one = { 0 }, other = { 0 };
	const void *a, *b;
	struct digest id;

	kit_docker_archive("a.tar", "null", two_layers, &id);
	source = opened("a.tar");
	image = image_of(source, 0);
	assert_int_equal(source_open_layer(source, &image.layers[0], &one, NULL), 0);
	assert_int_equal(source_open_layer(source, &image.layers[1], &other, NULL), 0);
	assert_true(one.read(one.arg, &a, NULL) > 512);
	assert_true(other.read(other.arg, &b, NULL) > 512);
	assert_memory_equal((const char *)a + 512, "base", 5);
	assert_memory_equal((const char *)b + 512, "top", 4);
}

static void an_archive_may_be_compressed_or_come_through_a_pipe(void **state)
{
	auto_buf struct buf plain = { .max = 1 << 20 }, gzip = { .max = 0 }, zstd = { .max = 0 };
	const char *const paths[] = { "a.tar", "a.tar.gz", "a.tar.zst" };
	struct digest id;

	kit_docker_archive("a.tar", "null", two_layers, &id);
	assert_int_equal(read_file_at(AT_FDCWD, "a.tar", &plain, NULL), 0);
	gzip_put(&gzip, plain.data, plain.len);
	zstd_put(&zstd, plain.data, plain.len);
	put_bytes("a.tar.gz", &gzip);
	put_bytes("a.tar.zst", &zstd);
	put_dir("spool");
	for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
		auto_close int spool_fd = open_dir("spool", 0),
			       in = open(paths[i], O_RDONLY | O_CLOEXEC);
		auto_source struct source *source = opened(paths[i]), *piped = NULL;
		auto_source_image struct source_image image = image_of(source, 0), again = { 0 };
		auto_buf struct buf bytes = { .max = 1 << 20 };
		int ends[2];

		assert_string_equal(image.config_digest.text, id.text);
		assert_layer(source, &image.layers[1], "top=two", false);
		/* It fits into a pipe. */
		assert_int_equal(read_to_buf(in, &bytes, "a", NULL), 0);
		assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
		assert_int_equal(write_full(ends[1], bytes.data, bytes.len), 0);
		assert_int_equal(close(ends[1]), 0);
		assert_int_equal(archive_open(&(struct archive_options){ .fd = ends[0],
									 .spool_fd = spool_fd },
					      &piped, NULL),
				 0);
		assert_int_equal(close(ends[0]), 0);
		again = image_of(piped, 0);
		assert_string_equal(again.config_digest.text, id.text);
		assert_layer(piped, &again.layers[0], "base=one", false);
	}
}

/* As docker save writes them: each layer once, and links to it. */
static void links_between_members_are_followed(void **state)
{
	auto_buf struct buf tar = { .max = 0 }, config = { .max = 0 }, layer = { .max = 0 };
	auto_source struct source *source = NULL;
	auto_source_image struct source_image image = { 0 };
	static const char *const layers[] = { "f=x", "f=x", "f=x", "f=x", NULL };
	struct digest id;

	kit_config(&config, layers, &id);
	kit_layer_tar(&layer, layers[0]);
	tar_put_symlink(&tar, "bbb/layer.tar", "../aaa/layer.tar");
	tar_put(&tar, &(struct tar_spec){ .name = "aaa/layer.tar",
					  .type = '0',
					  .size = (int64_t)layer.len,
					  .data = layer.data });
	tar_put_hardlink(&tar, "ccc/layer.tar", "aaa/layer.tar");
	tar_put_symlink(&tar, "ddd/layer.tar", "/bbb/./layer.tar");
	tar_put(&tar, &(struct tar_spec){ .name = "./config.json",
					  .type = '0',
					  .size = (int64_t)config.len,
					  .data = config.data });
	tar_put_file(&tar, "manifest.json",
		     "[{\"Config\":\"config.json\",\"Layers\":[\"aaa/layer.tar\",\"bbb/layer.tar\","
		     "\"ccc/layer.tar\",\"ddd/layer.tar\"]}]");
	tar_put_end(&tar);
	put_bytes("a.tar", &tar);
	source = opened("a.tar");
	image = image_of(source, 0);
	assert_int_equal(image.name_count, 0);
	for (size_t i = 0; i < 4; i++)
		assert_layer(source, &image.layers[i], "f=x", false);
}

static void links_in_a_circle_lead_nowhere(void **state)
{
	auto_buf struct buf tar = { .max = 0 };
	struct members *members = NULL;

	tar_put_symlink(&tar, "a", "b");
	tar_put_symlink(&tar, "b", "a");
	tar_put_symlink(&tar, "self", "self");
	tar_put_symlink(&tar, "out", "../../../etc/passwd");
	tar_put_symlink(&tar, "/etc/here", "../../x");
	tar_put_file(&tar, "x", "inside");
	tar_put_dir(&tar, "dir");
	tar_put_end(&tar);
	put_bytes("a.tar", &tar);
	assert_int_equal(members_open(open("a.tar", O_RDONLY | O_CLOEXEC), "a.tar", &members, NULL),
			 0);
	assert_false(members_has(members, "a"));
	assert_false(members_has(members, "self"));
	assert_false(members_has(members, "out"));
	assert_false(members_has(members, "dir"));
	assert_true(members_has(members, "etc/here"));
	assert_true(members_has(members, "./dir/..//x"));
	assert_int_equal(members_size(members, "etc/here"), 6);
	assert_int_equal(members_size(members, "a"), -1);
	members_freep(&members);
}

static void of_equal_names_the_last_counts(void **state)
{
	auto_buf struct buf tar = { .max = 0 }, text = { .max = 100 };
	struct members *members = NULL;

	tar_put_file(&tar, "x", "first");
	tar_put_file(&tar, "y", "other");
	tar_put_file(&tar, "./x", "second");
	tar_put_end(&tar);
	put_bytes("a.tar", &tar);
	assert_int_equal(members_open(open("a.tar", O_RDONLY | O_CLOEXEC), "a.tar", &members, NULL),
			 0);
	assert_int_equal(members_read(members, "x", &text, NULL), 0);
	assert_string_equal(buf_text(&text), "second");
	members_freep(&members);
}

static void what_is_read_whole_is_bounded(void **state)
{
	auto_buf struct buf tar = { .max = 0 }, text = { .max = 3 };
	struct members *members = NULL;
	struct err err = { 0 };

	tar_put_file(&tar, "x", "four");
	tar_put_end(&tar);
	put_bytes("a.tar", &tar);
	assert_int_equal(members_open(open("a.tar", O_RDONLY | O_CLOEXEC), "a.tar", &members, NULL),
			 0);
	assert_int_equal(members_read(members, "x", &text, &err), -EFBIG);
	assert_words(&err, "a.tar: x");
	assert_int_equal(members_read(members, "z", &text, &err), -ENOENT);
	assert_words(&err, "z");
	members_freep(&members);
}

static void several_images_of_an_archive_are_entries(void **state)
{
	auto_buf struct buf tar = { .max = 0 }, config = { .max = 0 };
	auto_source struct source *source = NULL;
	auto_source_image struct source_image image = { 0 };
	static const char *const none[] = { NULL };
	struct digest id;

	kit_config(&config, none, &id);
	tar_put(&tar, &(struct tar_spec){ .name = "c",
					  .type = '0',
					  .size = (int64_t)config.len,
					  .data = config.data });
	tar_put_file(&tar, "manifest.json",
		     "[{\"Config\":\"c\",\"RepoTags\":[\"a:1\"],\"Layers\":[]},"
		     "{\"Config\":\"c\",\"RepoTags\":[\"b:1\"],\"Layers\":[]},"
		     "{\"Config\":\"gone\",\"Layers\":[]}]");
	tar_put_end(&tar);
	put_bytes("a.tar", &tar);
	source = opened("a.tar");
	assert_int_equal(archive_count(source), 3);
	assert_string_equal(archive_entry_name(source, 1), "b:1");
	assert_string_equal(archive_entry_name(source, 2), "");
	image = image_of(source, 1);
	assert_string_equal(image.names[0], "b:1");
	assert_int_equal(image.layer_count, 0);
	refused_image(source, 2, -ENOENT, "gone");
}

/* Writes a docker-archive with this manifest.json; the config has two layers and stands under its id. */
static struct source *archive_with(const char *manifest, const char *config_name,
				   const char *config)
{
	auto_buf struct buf tar = { .max = 0 };

	tar_put_file(&tar, "l", "layer");
	if (config_name)
		tar_put_file(&tar, config_name, config);
	tar_put_file(&tar, "manifest.json", manifest);
	tar_put_end(&tar);
	put_bytes("bad.tar", &tar);
	return opened("bad.tar");
}

static void docker_archives_that_contradict_themselves_are_refused(void **state)
{
	static const struct {
		const char *manifest, *config_name, *config;
		int code;
		const char *words;
	} table[] = {
		{ "[{}]", "c", "{}", -EINVAL, "/Config: missing" },
		{ "[7]", "c", "{}", -EINVAL, "/Config" },
		{ "[{\"Config\":\"c\"}]", "c", "{}", -EINVAL, "/Layers: missing" },
		{ "[{\"Config\":\"c\",\"Layers\":[]}]", NULL, NULL, -ENOENT, "no file c" },
		{ "[{\"Config\":\"c\",\"Layers\":[]}]", "c", "{}", -EINVAL,
		  "/rootfs/diff_ids: missing" },
		{ "[{\"Config\":\"c\",\"Layers\":[]}]", "c", "not json", -EINVAL, "JSON" },
		{ "[{\"Config\":\"c\",\"Layers\":[\"l\"]}]", "c", "{\"rootfs\":{\"diff_ids\":[]}}",
		  -EBADMSG, "the config lists 0 layers, the manifest 1" },
		{ "[{\"Config\":\"c\",\"Layers\":[\"m\"]}]", "c",
		  "{\"rootfs\":{\"diff_ids\":[\"sha256:" HEX64 "\"]}}", -EBADMSG,
		  "layer 0: no file m" },
		{ "[{\"Config\":\"c\",\"Layers\":[\"l\",7]}]", "c",
		  "{\"rootfs\":{\"diff_ids\":[]}}", -EBADMSG, "/Layers/1" },
		{ "[{\"Config\":\"" HEX64 ".json\",\"Layers\":[]}]", HEX64 ".json",
		  "{\"rootfs\":{\"diff_ids\":[]}}", -EBADMSG, "should have digest sha256:" HEX64 },
		{ "[{\"Config\":\"../../../../etc/passwd\",\"Layers\":[]}]", "c", "{}", -ENOENT,
		  "passwd" },
	};

	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		auto_source struct source *source = archive_with(table[i].manifest,
								 table[i].config_name,
								 table[i].config);

		refused_image(source, 0, table[i].code, table[i].words);
	}
}

static void a_member_is_no_longer_than_promised(void **state)
{
	auto_source struct source *source = NULL;
	auto_source_image struct source_image image = { 0 };
	auto_stream struct source_stream stream = { 0 };
	struct err err = { 0 };
	const void *block;
	struct digest id;
	ssize_t n;

	kit_docker_archive("a.tar", "null", two_layers, &id);
	source = opened("a.tar");
	image = image_of(source, 0);
	image.layers[1].size = 1000;
	assert_int_equal(source_open_layer(source, &image.layers[1], &stream, NULL), 0);
	while ((n = stream.read(stream.arg, &block, &err)) > 0)
		;
	assert_int_equal(n, -EBADMSG);
	assert_words(&err, "longer");
	assert_words(&err, "layer1/layer.tar");
}

/* ---- what is no source ---- */

static void what_holds_no_image_is_refused(void **state)
{
	auto_buf struct buf tar = { .max = 0 };

	refused_open("nowhere", -ENOENT, "nowhere");
	put_dir("dir");
	refused_open("dir", -EBADMSG, "dir: holds no image");
	put_file("text", "this is a text and no archive at all, however long one looks at it");
	refused_open("text", -EBADMSG, "text");
	put_file("nothing", "");
	refused_open("nothing", -EBADMSG, "nothing");
	tar_put_file(&tar, "README", "hello");
	tar_put_end(&tar);
	put_bytes("other.tar", &tar);
	refused_open("other.tar", -EBADMSG, "holds no image");
	/* oci-layout alone, or index.json alone, is not a layout. */
	put_file("half/index.json", "{}");
	refused_open("half", -EBADMSG, "holds no image");
}

static void archives_that_are_damaged_are_refused(void **state)
{
	auto_buf struct buf bytes = { .max = 1 << 20 }, gzip = { .max = 0 };
	struct digest id;

	kit_docker_archive("a.tar", "null", two_layers, &id);
	assert_int_equal(read_file_at(AT_FDCWD, "a.tar", &bytes, NULL), 0);
	gzip_put(&gzip, bytes.data, bytes.len);
	put_bytes("cut.tar", &bytes);
	assert_int_equal(truncate("cut.tar", 2000), 0);
	refused_open("cut.tar", -EBADMSG, "cut.tar");
	put_bytes("cut.tar.gz", &gzip);
	assert_int_equal(truncate("cut.tar.gz", (off_t)gzip.len / 2), 0);
	refused_open("cut.tar.gz", -EBADMSG, "cut.tar.gz");
	gzip.data[gzip.len / 2] ^= 0x55;
	put_bytes("flip.tar.gz", &gzip);
	refused_open("flip.tar.gz", -EBADMSG, "flip.tar.gz");
}

static void compression_that_is_not_read_is_refused_by_name(void **state)
{
	auto_buf struct buf xz = { .max = 0 };

	assert_int_equal(buf_append(&xz,
				    "\xfd"
				    "7zXZ\0\0\4",
				    8),
			 0);
	put_bytes("a.tar.xz", &xz);
	refused_open("a.tar.xz", -EOPNOTSUPP, "xz");
	put_file("a.tar.bz2", "BZh91AY&SY");
	refused_open("a.tar.bz2", -EOPNOTSUPP, "bzip2");
}

/* Before 1.10 docker save wrote no configs. */
static void the_oldest_docker_save_is_read(void **state)
{
	static const char top[] = "ffff" HEX64, base[] = "eeee" HEX64;
	auto_buf struct buf tar = { .max = 0 }, one = { .max = 0 }, two = { .max = 0 };
	auto_source struct source *source = NULL;
	auto_source_image struct source_image image = { 0 };
	char name[100], text[300];

	kit_layer_tar(&one, two_layers[0]);
	kit_layer_tar(&two, two_layers[1]);
	for (int i = 0; i < 2; i++) {
		const struct buf *layer = i ? &two : &one;

		(void)snprintf(name, sizeof(name), "%.64s/layer.tar", i ? top : base);
		tar_put(&tar, &(struct tar_spec){ .name = name,
						  .type = '0',
						  .size = (int64_t)layer->len,
						  .data = layer->data });
		(void)snprintf(name, sizeof(name), "%.64s/json", i ? top : base);
		(void)snprintf(text, sizeof(text),
			       i ? "{\"id\":\"%.64s\",\"parent\":\"%.64s\",\"os\":\"linux\"}" :
				   "{\"id\":\"%.64s\"}",
			       i ? top : base, base);
		tar_put_file(&tar, name, text);
	}
	(void)snprintf(text, sizeof(text), "{\"old/app\":{\"v1\":\"%.64s\"}}", top);
	tar_put_file(&tar, "repositories", text);
	tar_put_end(&tar);
	put_bytes("old.tar", &tar);
	source = opened("old.tar");
	assert_int_equal(archive_count(source), 1);
	assert_string_equal(archive_entry_name(source, 0), "old/app:v1");
	image = image_of(source, 0);
	assert_string_equal(image.names[0], "old/app:v1");
	assert_int_equal(image.layer_count, 2);
	assert_string_equal(image.parsed.diff_ids[0].text, digest_of_buf(&one).text);
	assert_string_equal(image.parsed.diff_ids[1].text, digest_of_buf(&two).text);
	assert_layer(source, &image.layers[1], "top=two", false);
}

static void documents_by_another_digest_than_sha256_are_refused(void **state)
{
	auto_source struct source *source = NULL;

	put_file("l/oci-layout", "{\"imageLayoutVersion\":\"1.0.0\"}");
	put_file("l/index.json", "{\"manifests\":[{\"mediaType\":\"" OCI_MANIFEST_TYPE
				 "\",\"size\":2,\"digest\":\"sha512:" HEX64 HEX64 "\"}]}");
	put_file("l/blobs/sha512/" HEX64 HEX64, "{}");
	source = opened("l");
	refused_image(source, 0, -EOPNOTSUPP, "by sha256 only");
}

static void documents_that_are_none_are_refused(void **state)
{
	put_file("d/manifest.json", "{}");
	refused_open("d", -EINVAL, "manifest.json: neither a manifest nor an index");
	put_file("d/manifest.json", "7");
	refused_open("d", -EBADMSG, "manifest.json: not an array");
	put_file("d/manifest.json", "[");
	refused_open("d", -EINVAL, "manifest.json");
	put_file("l/oci-layout", "{}");
	put_file("l/index.json", "[]");
	refused_open("l", -EINVAL, "oci-layout: /imageLayoutVersion: missing");
	put_file("l/oci-layout", "{\"imageLayoutVersion\":\"2.0.0\"}");
	refused_open("l", -EOPNOTSUPP, "version 2.0.0");
	put_file("l/oci-layout", "{\"imageLayoutVersion\":\"1.0.0\"}");
	refused_open("l", -EINVAL, "index.json: not a JSON object");
	put_file("l/index.json", "{\"manifests\":[],\"layers\":[]}");
	refused_open("l", -EINVAL, "two ways");
	put_file("l/index.json", "{\"manifests\":[{\"digest\":\"sha256:../../x\",\"size\":1}]}");
	refused_open("l", -EINVAL, "entry 0");
}

/* ---- OCI layouts ---- */

#define REF(name)	   ",\"annotations\":{\"org.opencontainers.image.ref.name\":\"" name "\"}"
#define PLATFORM(os, arch) ",\"platform\":{\"os\":\"" os "\",\"architecture\":\"" arch "\"}"

static void a_layout_is_read_as_directory_and_as_archive(void **state)
{
	auto_buf struct buf index = { .max = 0 };
	struct digest id, manifest;
	const char *paths[] = { "l", "l.tar" };

	kit_oci_image("l", &index, REF("v1"), two_layers, &id, &manifest);
	kit_oci_index("l", &index);
	{
		auto_source struct source *source = opened("l");
		auto_source_image struct source_image image = image_of(source, 0);
		char blobs[4][100];
		const char *names[] = { "oci-layout", "index.json", blobs[0], blobs[1],
					blobs[2],     blobs[3],	    NULL };

		(void)snprintf(blobs[0], 100, "blobs/sha256/%s", digest_hex(&id));
		(void)snprintf(blobs[1], 100, "blobs/sha256/%s", digest_hex(&manifest));
		(void)snprintf(blobs[2], 100, "blobs/sha256/%s", digest_hex(&image.layers[0].blob));
		(void)snprintf(blobs[3], 100, "blobs/sha256/%s", digest_hex(&image.layers[1].blob));
		tar_of_directory("l.tar", "l", names);
	}
	for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
		auto_source struct source *source = opened(paths[i]);
		auto_source_image struct source_image image = image_of(source, 0);

		assert_true(archive_is_layout(source));
		assert_int_equal(archive_count(source), 1);
		assert_string_equal(archive_entry_name(source, 0), "v1");
		assert_string_equal(image.config_digest.text, id.text);
		assert_string_equal(image.manifest_digest.text, manifest.text);
		assert_string_equal(image.manifest_media_type, OCI_MANIFEST_TYPE);
		assert_string_equal(image.tag, "v1");
		assert_int_equal(image.name_count, 0);
		assert_int_equal(image.layer_count, 2);
		assert_int_equal(image.parsed.created, 1714979289);
		assert_layer(source, &image.layers[0], "base=one", true);
		assert_layer(source, &image.layers[1], "top=two", true);
	}
}

static void names_of_entries_are_references_or_tags(void **state)
{
	auto_buf struct buf index = { .max = 0 };
	auto_source struct source *source = NULL;
	auto_source_image struct source_image a = { 0 }, b = { 0 }, c = { 0 };
	struct digest id, manifest;

	kit_oci_image("l", &index, REF("quay.io/a/b:v1"), two_layers, &id, &manifest);
	kit_oci_image(
		"l", &index,
		",\"annotations\":{\"org.opencontainers.image.ref.name\":\"v2\",\"io.containerd.image.name\":"
		"\"docker.io/library/x:v2\"}",
		other_layers, &id, &manifest);
	kit_oci_image("l", &index, "", two_layers, &id, &manifest);
	kit_oci_index("l", &index);
	source = opened("l");
	assert_int_equal(archive_count(source), 3);
	assert_string_equal(archive_entry_name(source, 1), "docker.io/library/x:v2");
	a = image_of(source, 0);
	b = image_of(source, 1);
	c = image_of(source, 2);
	assert_string_equal(a.names[0], "quay.io/a/b:v1");
	assert_null(a.tag);
	assert_string_equal(b.names[0], "docker.io/library/x:v2");
	assert_null(b.tag);
	assert_int_equal(c.name_count, 0);
	assert_null(c.tag);
}

/* An index as a blob of the layout, with a descriptor for it. */
static void nest(const char *dir, const struct buf *entries, struct buf *ret)
{
	auto_buf struct buf text = { .max = 0 };
	struct digest digest;

	(void)buf_printf(&text, "{\"schemaVersion\":2,\"manifests\":[%s]}", buf_text(entries));
	digest = kit_blob(dir, text.data, text.len);
	(void)buf_printf(ret,
			 "%s{\"mediaType\":\"" OCI_INDEX_TYPE "\",\"digest\":\"%s\",\"size\":%zu}",
			 ret->len ? "," : "", digest.text, text.len);
}

static void an_index_gives_the_platform_that_is_wanted(void **state)
{
	auto_buf struct buf inner = { .max = 0 }, index = { .max = 0 };
	auto_source struct source *arm = NULL, *mips = NULL;
	auto_source_image struct source_image image = { 0 };
	struct digest id, other, manifest;
	struct err err = { 0 };

	(void)buf_puts(&inner, "{\"mediaType\":\"" OCI_MANIFEST_TYPE "\",\"digest\":\"sha256:" HEX64
			       "\",\"size\":9" PLATFORM("unknown", "unknown") "}");
	kit_oci_image("l", &inner, PLATFORM("windows", "amd64"), other_layers, &other, &manifest);
	kit_oci_image("l", &inner, PLATFORM("linux", "amd64"), two_layers, &id, &manifest);
	nest("l", &inner, &index);
	kit_oci_index("l", &index);
	assert_int_equal(open_for("l", "linux/amd64", &arm, NULL), 0);
	image = image_of(arm, 0);
	assert_string_equal(image.config_digest.text, id.text);
	assert_int_equal(open_for("l", "linux/mips", &mips, NULL), 0);
	assert_int_equal(archive_read_image(mips, 0, &image, &err), -ENOENT);
	assert_words(&err, "linux/mips");
	assert_words(&err, "it holds: windows/amd64, linux/amd64");
}

static void entries_of_one_name_are_one_image_for_several_platforms(void **state)
{
	auto_buf struct buf index = { .max = 0 };
	auto_source struct source *source = NULL, *mips = NULL;
	struct digest id, manifest;
	struct err err = { 0 };

	kit_oci_image("l", &index, PLATFORM("linux", "arm64") REF("v1"), two_layers, &id,
		      &manifest);
	kit_oci_image("l", &index, PLATFORM("linux", "amd64") REF("v1"), other_layers, &id,
		      &manifest);
	kit_oci_image("l", &index, PLATFORM("linux", "s390x") REF("v2"), two_layers, &id,
		      &manifest);
	kit_oci_index("l", &index);
	assert_int_equal(open_for("l", "linux/amd64", &source, NULL), 0);
	assert_int_equal(archive_is_best(source, 0, NULL), 0);
	assert_int_equal(archive_is_best(source, 1, NULL), 1);
	assert_int_equal(archive_is_best(source, 2, NULL), 1);
	assert_int_equal(open_for("l", "linux/mips", &mips, NULL), 0);
	assert_int_equal(archive_is_best(mips, 0, &err), -ENOENT);
	assert_words(&err, "linux/arm64, linux/amd64");
}

static void one_image_is_checked_against_the_platform_only_where_one_is_asked_for(void **state)
{
	auto_source struct source *any = NULL, *other = NULL;
	auto_source_image struct source_image image = { 0 };
	struct digest id;

	kit_docker_archive("a.tar", "null", two_layers, &id);
	any = opened("a.tar");
	image = image_of(any, 0);
	assert_int_equal(open_for("a.tar", "linux/s390x", &other, NULL), 0);
	refused_image(other, 0, -ENOENT, "linux/amd64, not linux/s390x");
}

static void indexes_nested_too_deep_are_refused(void **state)
{
	auto_buf struct buf index = { .max = 0 };
	auto_source struct source *source = NULL;
	struct digest id, manifest;

	kit_oci_image("l", &index, "", two_layers, &id, &manifest);
	for (int i = 0; i < 6; i++) {
		auto_buf struct buf outer = { .max = 0 };

		nest("l", &index, &outer);
		buf_reset(&index);
		assert_int_equal(buf_puts(&index, buf_text(&outer)), 0);
	}
	kit_oci_index("l", &index);
	source = opened("l");
	refused_image(source, 0, -EBADMSG, "nested");
}

static const char *blob_path(const char *dir, const struct digest *digest)
{
	static char path[300];

	(void)snprintf(path, sizeof(path), "%s/blobs/sha256/%s", dir, digest_hex(digest));
	return path;
}

static void changed_documents_are_refused_with_both_digests(void **state)
{
	auto_buf struct buf index = { .max = 0 }, text = { .max = 65536 };
	auto_source struct source *source = NULL;
	struct digest id, manifest, have;

	kit_oci_image("l", &index, "", two_layers, &id, &manifest);
	kit_oci_index("l", &index);
	source = opened("l");
	assert_int_equal(read_file_at(AT_FDCWD, blob_path("l", &id), &text, NULL), 0);
	/* Another digit in the year. */
	*strstr(text.data, "2024") = '3';
	have = digest_of_buf(&text);
	put_bytes(blob_path("l", &id), &text);
	refused_image(source, 0, -EBADMSG, id.text);
	refused_image(source, 0, -EBADMSG, have.text);
	assert_int_equal(buf_putc(&text, ' '), 0);
	put_bytes(blob_path("l", &id), &text);
	refused_image(source, 0, -EBADMSG, "its descriptor says");
	assert_int_equal(unlink(blob_path("l", &id)), 0);
	refused_image(source, 0, -ENOENT, id.text);
	put_file(blob_path("l", &manifest), "{}");
	refused_image(source, 0, -EBADMSG, manifest.text);
}

/* A link that leads out of the layout must not be followed out of it. */
static void a_layout_does_not_lead_out_of_itself(void **state)
{
	auto_buf struct buf index = { .max = 0 };
	auto_source struct source *source = NULL;
	struct digest id, manifest;

	kit_oci_image("l", &index, "", two_layers, &id, &manifest);
	kit_oci_index("l", &index);
	assert_int_equal(rename(blob_path("l", &id), "outside"), 0);
	assert_int_equal(symlink("../../../outside", blob_path("l", &id)), 0);
	source = opened("l");
	refused_image(source, 0, -ENOENT, id.text);
	assert_int_equal(unlink(blob_path("l", &id)), 0);
	assert_int_equal(symlink(sandbox_path("outside"), blob_path("l", &id)), 0);
	refused_image(source, 0, -ENOENT, id.text);
	assert_int_equal(unlink(blob_path("l", &id)), 0);
	assert_int_equal(mkfifo(blob_path("l", &id), 0644), 0);
	refused_image(source, 0, -EINVAL, id.text);
}

/* As Docker 25 and later write: manifest.json beside index.json. */
static void with_both_kinds_the_manifest_comes_from_the_index(void **state)
{
	auto_buf struct buf index = { .max = 0 }, docker = { .max = 0 };
	auto_source struct source *source = NULL;
	auto_source_image struct source_image image = { 0 }, plain = { 0 };
	struct digest id, manifest;

	kit_oci_image("l", &index, "", two_layers, &id, &manifest);
	kit_oci_index("l", &index);
	{
		auto_source struct source *layout = opened("l");

		plain = image_of(layout, 0);
	}
	(void)buf_printf(&docker,
			 "[{\"Config\":\"blobs/sha256/%s\",\"RepoTags\":[\"x:1\"],"
			 "\"Layers\":[\"blobs/sha256/%s\",\"blobs/sha256/%s\"]}]",
			 digest_hex(&id), digest_hex(&plain.layers[0].blob),
			 digest_hex(&plain.layers[1].blob));
	put_bytes("l/manifest.json", &docker);
	source = opened("l");
	assert_false(archive_is_layout(source));
	image = image_of(source, 0);
	assert_string_equal(image.manifest_digest.text, manifest.text);
	assert_string_equal(image.names[0], "x:1");
	assert_string_equal(image.layers[0].blob.text, plain.layers[0].blob.text);
	assert_layer(source, &image.layers[1], "top=two", true);
}

static void an_entry_for_something_else_does_not_spoil_the_image_beside_it(void **state)
{
	auto_buf struct buf index = { .max = 0 }, docker = { .max = 0 };
	static const char artifact[] =
		"{\"schemaVersion\":2,\"config\":{\"mediaType\":\"application/vnd.oci.empty.v1+json\","
		"\"digest\":\"sha256:" HEX64 "\",\"size\":2},\"layers\":[]}";
	auto_source struct source *source = NULL;
	auto_source_image struct source_image image = { 0 };
	struct digest id, manifest, other = kit_blob("l", artifact, strlen(artifact));

	(void)buf_printf(&index,
			 "{\"mediaType\":\"" OCI_MANIFEST_TYPE "\",\"digest\":\"%s\",\"size\":%zu}",
			 other.text, strlen(artifact));
	kit_oci_image("l", &index, "", two_layers, &id, &manifest);
	kit_oci_index("l", &index);
	(void)buf_printf(&docker, "[{\"Config\":\"blobs/sha256/%s\",\"Layers\":[]}]",
			 digest_hex(&id));
	put_bytes("l/manifest.json", &docker);
	source = opened("l");
	image = image_of(source, 0);
	assert_string_equal(image.manifest_digest.text, manifest.text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		sandbox_test(a_docker_archive_is_read),
		sandbox_test(streams_do_not_disturb_each_other),
		sandbox_test(an_archive_may_be_compressed_or_come_through_a_pipe),
		sandbox_test(links_between_members_are_followed),
		sandbox_test(links_in_a_circle_lead_nowhere),
		sandbox_test(of_equal_names_the_last_counts),
		sandbox_test(what_is_read_whole_is_bounded),
		sandbox_test(several_images_of_an_archive_are_entries),
		sandbox_test(docker_archives_that_contradict_themselves_are_refused),
		sandbox_test(a_member_is_no_longer_than_promised),
		sandbox_test(what_holds_no_image_is_refused),
		sandbox_test(archives_that_are_damaged_are_refused),
		sandbox_test(compression_that_is_not_read_is_refused_by_name),
		sandbox_test(the_oldest_docker_save_is_read),
		sandbox_test(documents_that_are_none_are_refused),
		sandbox_test(documents_by_another_digest_than_sha256_are_refused),
		sandbox_test(a_layout_is_read_as_directory_and_as_archive),
		sandbox_test(names_of_entries_are_references_or_tags),
		sandbox_test(an_index_gives_the_platform_that_is_wanted),
		sandbox_test(entries_of_one_name_are_one_image_for_several_platforms),
		sandbox_test(one_image_is_checked_against_the_platform_only_where_one_is_asked_for),
		sandbox_test(indexes_nested_too_deep_are_refused),
		sandbox_test(changed_documents_are_refused_with_both_digests),
		sandbox_test(a_layout_does_not_lead_out_of_itself),
		sandbox_test(with_both_kinds_the_manifest_comes_from_the_index),
		sandbox_test(an_entry_for_something_else_does_not_spoil_the_image_beside_it),
	};

	return cmocka_run_group_tests_name("source", tests, sandbox_enter, sandbox_leave);
}
