/* SPDX-License-Identifier: Apache-2.0 */
#include "driver/base/buf.h"
#include "graph/name/oci.h"
#include "tests/unit/util.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/utsname.h>
#include <cmocka.h>

#define HEX64		 "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define DIGEST		 "sha256:" HEX64
#define OCI		 "application/vnd.oci.image."
#define DOCKER		 "application/vnd.docker."
#define CONFIG		 "{\"mediaType\":\"" OCI "config.v1+json\",\"digest\":\"" DIGEST "\",\"size\":7}"
#define LAYER		 "{\"mediaType\":\"" OCI "layer.v1.tar+gzip\",\"digest\":\"" DIGEST "\",\"size\":9}"
#define MANIFEST(layers) "{\"schemaVersion\":2,\"config\":" CONFIG ",\"layers\":[" layers "]}"
#define INDEX(manifests) "{\"schemaVersion\":2,\"manifests\":[" manifests "]}"
#define ROOTFS(diff_ids) "{\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[" diff_ids "]}}"

/* ---- platforms ---- */

static struct oci_platform platform(const char *text)
{
	struct oci_platform p = { .os = "" };
	struct err err = { 0 };

	if (oci_platform_parse(text, &p, &err) < 0)
		fail_msg("%s", err.text);
	return p;
}

static void platforms_are_normalised(void **state)
{
	static const struct {
		const char *text, *normal;
	} table[] = {
		{ "linux/amd64", "linux/amd64" },	{ "linux/x86_64", "linux/amd64" },
		{ "linux/x86-64", "linux/amd64" },	{ "linux/amd64/v1", "linux/amd64" },
		{ "linux/amd64/v2", "linux/amd64/v2" }, { "linux/aarch64", "linux/arm64" },
		{ "linux/arm64/v8", "linux/arm64" },	{ "linux/arm64/8", "linux/arm64" },
		{ "linux/arm64/v9", "linux/arm64/v9" }, { "linux/arm", "linux/arm/v7" },
		{ "linux/armhf", "linux/arm/v7" },	{ "linux/armel", "linux/arm/v6" },
		{ "linux/arm/v5", "linux/arm/v5" },	{ "linux/i686", "linux/386" },
		{ "windows/amd64", "windows/amd64" },	{ "linux/riscv64", "linux/riscv64" },
		{ "linux/s390x", "linux/s390x" },
	};

	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		struct oci_platform p = platform(table[i].text);
		char text[OCI_PLATFORM_TEXT_MAX];

		oci_platform_text(&p, text);
		assert_string_equal(text, table[i].normal);
	}
}

static void platforms_that_are_none_are_refused(void **state)
{
	static const char *const bad[] = { "",
					   "linux",
					   "linux/",
					   "/amd64",
					   "linux//v8",
					   "linux/arm64/",
					   "linux/arm64/v8/x",
					   "linux/abcdefghijklmnopqrstuvwxyz0123456789" };

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct oci_platform p = { .os = "untouched" };
		struct err err = { 0 };

		assert_int_equal(oci_platform_parse(bad[i], &p, &err), -EINVAL);
		assert_words(&err, "os/arch");
		assert_string_equal(p.os, "untouched");
	}
}

static void the_host_is_this_machine(void **state)
{
	struct oci_platform p;
	struct utsname name;

	assert_int_equal(uname(&name), 0);
	oci_platform_host(&p);
	assert_string_equal(p.os, "linux");
	if (strcmp(name.machine, "x86_64") == 0)
		assert_string_equal(p.architecture, "amd64");
	else
		assert_true(p.architecture[0]);
	assert_true(oci_platform_match(&p, &p) > 0);
}

/* Who serves `want` better; 0 in the end: not at all. */
static void expect_order(const char *want, const char *const *best_first, const char *const *never)
{
	struct oci_platform w = platform(want);
	int last = 1000000;

	for (; *best_first; best_first++) {
		struct oci_platform have = platform(*best_first);
		int match = oci_platform_match(&w, &have);

		if (match <= 0 || match >= last)
			fail_msg("%s for %s gives %d after %d", *best_first, want, match, last);
		last = match;
	}
	for (; *never; never++) {
		struct oci_platform have = platform(*never);

		if (oci_platform_match(&w, &have) != 0)
			fail_msg("%s serves %s", *never, want);
	}
}

#define LIST(...) ((const char *const[]){ __VA_ARGS__, NULL })

static void the_best_platform_is_the_nearest_that_runs(void **state)
{
	expect_order("linux/arm/v7", LIST("linux/arm/v7", "linux/arm/v6", "linux/arm/v5"),
		     LIST("linux/arm64", "linux/arm/v8", "linux/amd64", "windows/arm/v7"));
	expect_order("linux/arm/v6", LIST("linux/arm/v6", "linux/arm/v5"),
		     LIST("linux/arm/v7", "linux/arm"));
	expect_order("linux/amd64", LIST("linux/amd64"),
		     LIST("linux/amd64/v2", "linux/386", "windows/amd64", "linux/arm64"));
	expect_order("linux/amd64/v3", LIST("linux/amd64/v3", "linux/amd64/v2", "linux/amd64"),
		     LIST("linux/amd64/v4"));
	expect_order("linux/arm64", LIST("linux/arm64/v8"), LIST("linux/arm", "linux/arm64/v9"));
}

static void what_is_not_stated_matches_badly(void **state)
{
	const struct oci_platform want = platform("linux/amd64"), stated = platform("linux/amd64");
	const struct oci_platform none = { .os = "" }, no_os = { "", "amd64", "" },
				  no_architecture = { "linux", "", "" };
	int best = oci_platform_match(&want, &stated);

	assert_in_range(oci_platform_match(&want, &none), 1, best - 1);
	assert_in_range(oci_platform_match(&want, &no_os), 1, best - 1);
	assert_in_range(oci_platform_match(&want, &no_architecture), 1, best - 1);
}

static void names_of_others_for_an_architecture_match(void **state)
{
	const struct oci_platform want = platform("linux/amd64"), have = { "linux", "x86_64", "" };

	assert_int_equal(oci_platform_match(&want, &have), oci_platform_match(&want, &want));
}

/* ---- media types ---- */

static void media_types_of_both_worlds_are_known(void **state)
{
	static const struct {
		const char *media_type;
		enum oci_kind kind;
	} table[] = {
		{ OCI "index.v1+json", OCI_INDEX },
		{ DOCKER "distribution.manifest.list.v2+json", OCI_INDEX },
		{ OCI "manifest.v1+json", OCI_MANIFEST },
		{ DOCKER "distribution.manifest.v2+json", OCI_MANIFEST },
		{ OCI "config.v1+json", OCI_CONFIG },
		{ DOCKER "container.image.v1+json", OCI_CONFIG },
		{ OCI "layer.v1.tar", OCI_LAYER },
		{ OCI "layer.v1.tar+gzip", OCI_LAYER },
		{ OCI "layer.v1.tar+zstd", OCI_LAYER },
		{ DOCKER "image.rootfs.diff.tar.gzip", OCI_LAYER },
		{ DOCKER "image.rootfs.foreign.diff.tar.gzip", OCI_LAYER_FOREIGN },
		{ OCI "layer.nondistributable.v1.tar+gzip", OCI_LAYER_FOREIGN },
		{ DOCKER "distribution.manifest.v1+prettyjws", OCI_OTHER },
		{ OCI "layer.v1.tar+gzip+encrypted", OCI_OTHER },
		{ "", OCI_OTHER },
		{ "application/vnd.in-toto+json", OCI_OTHER },
	};

	for (size_t i = 0; i < ARRAY_LEN(table); i++)
		assert_int_equal(oci_kind_of(table[i].media_type), table[i].kind);
}

/* ---- manifests ---- */

static void a_manifest_is_read(void **state)
{
	static const char text[] = MANIFEST(
		LAYER ",{\"mediaType\":\"" DOCKER "image.rootfs.diff.tar.gzip\","
		      "\"digest\":\"sha512:" HEX64 HEX64 "\",\"size\":1099511627776}");
	auto_oci_manifest struct oci_manifest m = { 0 };

	assert_int_equal(oci_manifest_parse(text, strlen(text), "m", &m, NULL), 0);
	assert_string_equal(m.media_type, OCI "manifest.v1+json");
	assert_string_equal(m.config.digest.text, DIGEST);
	assert_int_equal(m.config.size, 7);
	assert_int_equal(m.layer_count, 2);
	assert_string_equal(m.layers[0].digest.text, DIGEST);
	assert_int_equal(m.layers[0].size, 9);
	assert_string_equal(m.layers[1].digest.text, "sha512:" HEX64 HEX64);
	assert_int_equal(m.layers[1].size, 1099511627776);
}

static void an_unknown_field_changes_nothing(void **state)
{
	static const char text[] = "{\"schemaVersion\":2,\"new\":{\"a\":[1,2]},\"config\":" CONFIG
				   ",\"layers\":[],"
				   "\"annotations\":{\"x\":\"y\"},\"subject\":" CONFIG "}";
	auto_oci_manifest struct oci_manifest m = { 0 };

	assert_int_equal(oci_manifest_parse(text, strlen(text), "m", &m, NULL), 0);
	assert_int_equal(m.layer_count, 0);
}

static void refused_manifest(const char *text, int code, const char *words, const char *more)
{
	struct oci_manifest m = { .layer_count = 4711 };
	struct err err = { 0 };
	int r = oci_manifest_parse(text, strlen(text), "manifest X", &m, &err);

	if (r != code)
		fail_msg("%.300s: gave %d (%s), not %d", text, r, err.text, code);
	assert_int_equal(m.layer_count, 4711);
	assert_words(&err, "manifest X");
	assert_words(&err, words);
	assert_words(&err, more);
}

static void a_missing_field_is_named(void **state)
{
	refused_manifest("{\"schemaVersion\":2,\"layers\":[]}", -EINVAL, "/config", "missing");
	refused_manifest("{\"schemaVersion\":2,\"config\":" CONFIG "}", -EINVAL, "/layers",
			 "missing");
	refused_manifest(MANIFEST(LAYER ",{\"size\":1}"), -EINVAL, "entry 1", "/digest: missing");
	refused_manifest(MANIFEST(LAYER "," LAYER ",{\"digest\":\"" DIGEST "\"}"), -EINVAL,
			 "entry 2", "/size: missing");
	refused_manifest("{\"config\":{\"size\":1},\"layers\":[]}", -EINVAL, "/config",
			 "/digest: missing");
	refused_manifest(MANIFEST("7"), -EINVAL, "entry 0", "/digest");
	refused_manifest("{\"config\":[],\"layers\":[]}", -EINVAL, "/config", "array");
	refused_manifest("{\"config\":" CONFIG ",\"layers\":{}}", -EINVAL, "/layers", "object");
}

static void words_do_not_stutter(void **state)
{
	static const char text[] = MANIFEST(LAYER ",{\"size\":1}");
	struct oci_manifest m;
	struct err err = { 0 };

	assert_int_equal(oci_manifest_parse(text, strlen(text), "manifest X", &m, &err), -EINVAL);
	if (strstr(strstr(err.text, "manifest X") + 1, "manifest X"))
		fail_msg("says it twice: %s", err.text);
}

#define SIZED(size) \
	"{\"mediaType\":\"" OCI "layer.v1.tar\",\"digest\":\"" DIGEST "\",\"size\":" size "}"

static void sizes_must_be_possible(void **state)
{
	auto_oci_manifest struct oci_manifest m = { 0 };
	static const char limit[] = MANIFEST(SIZED("1125899906842624"));

	refused_manifest(MANIFEST(SIZED("-1")), -EINVAL, "entry 0", "-1");
	refused_manifest(MANIFEST(SIZED("1125899906842625")), -EINVAL, "entry 0",
			 "1125899906842625");
	refused_manifest(MANIFEST(SIZED("9223372036854775807")), -EINVAL, "entry 0", "/size");
	refused_manifest(MANIFEST(SIZED("99999999999999999999")), -EINVAL, "entry 0", "/size");
	refused_manifest(MANIFEST(SIZED("1.5")), -EINVAL, "entry 0", "/size");
	refused_manifest(MANIFEST(SIZED("\"9\"")), -EINVAL, "entry 0", "/size");
	assert_int_equal(oci_manifest_parse(limit, strlen(limit), "m", &m, NULL), 0);
	assert_int_equal(m.layers[0].size, OCI_SIZE_MAX);
}

#define DIGESTED(digest) \
	"{\"mediaType\":\"" OCI "layer.v1.tar\",\"digest\":\"" digest "\",\"size\":1}"

static void digests_must_be_digests(void **state)
{
	refused_manifest(MANIFEST(DIGESTED("")), -EINVAL, "entry 0", "digest");
	refused_manifest(MANIFEST(DIGESTED("sha256:abc")), -EINVAL, "entry 0", "sha256:abc");
	refused_manifest(MANIFEST(DIGESTED("sha256:../../../../etc/passwd")), -EINVAL, "entry 0",
			 "passwd");
	refused_manifest(MANIFEST(DIGESTED("md5:" HEX64)), -EINVAL, "entry 0", "md5");
	refused_manifest(MANIFEST(LAYER "," DIGESTED("SHA256:" HEX64)), -EINVAL, "entry 1",
			 "SHA256");
}

static void what_could_be_read_in_two_ways_is_refused(void **state)
{
	static const char text[] = "{\"schemaVersion\":2,\"config\":" CONFIG ",\"layers\":[" LAYER
				   "],\"manifests\":[]}";
	struct oci_index index;
	struct err err = { 0 };

	refused_manifest(text, -EINVAL, "\"manifests\"", "\"layers\"");
	assert_int_equal(oci_index_parse(text, strlen(text), "index X", &index, &err), -EINVAL);
	assert_words(&err, "index X");
	assert_words(&err, "two ways");
}

static void schema_1_is_refused_by_name(void **state)
{
	refused_manifest("{\"schemaVersion\":1,\"name\":\"x\",\"fsLayers\":[]}", -EINVAL,
			 "schema 1", "convert");
	refused_manifest("{\"fsLayers\":[],\"config\":" CONFIG ",\"layers\":[]}", -EINVAL,
			 "schema 1", "");
	refused_manifest("{\"schemaVersion\":3,\"config\":" CONFIG ",\"layers\":[]}", -EINVAL,
			 "/schemaVersion", "3");
}

static void an_artifact_is_refused_by_type(void **state)
{
	refused_manifest(
		"{\"config\":{\"mediaType\":\"application/vnd.cncf.helm.config.v1+json\",\"digest\":\"" DIGEST
		"\",\"size\":1},\"layers\":[]}",
		-EINVAL, "artifact", "helm");
	refused_manifest(
		"{\"config\":{\"mediaType\":\"application/vnd.oci.empty.v1+json\",\"digest\":\"" DIGEST
		"\",\"size\":2},\"layers\":[]}",
		-EINVAL, "artifact", "empty");
}

#define TYPED(media_type) "{\"mediaType\":\"" media_type "\",\"digest\":\"" DIGEST "\",\"size\":1}"

/* graph/fetch/source.c refuses them, or not. */
static void foreign_layers_pass_with_their_urls(void **state)
{
	const char *text = MANIFEST(LAYER
				    ",{\"mediaType\":\"" OCI
				    "layer.nondistributable.v1.tar+zstd\",\"digest\":\"" DIGEST
				    "\",\"size\":7,\"urls\":[\"https://a/b\",5,\"https://c\"]}");
	auto_oci_manifest struct oci_manifest m = { 0 };

	assert_int_equal(oci_manifest_parse(text, strlen(text), "m", &m, NULL), 0);
	assert_int_equal(m.layer_count, 2);
	assert_null(m.layers[0].urls);
	assert_string_equal(m.layers[1].urls[0], "https://a/b");
	assert_string_equal(m.layers[1].urls[1], "https://c");
	assert_null(m.layers[1].urls[2]);
}

static void types_are_found_where_nobody_says_them(void **state)
{
	static const struct {
		const char *text, *type;
	} table[] = {
		{ "{\"manifests\":[]}", OCI "index.v1+json" },
		{ "{\"layers\":[]}", OCI "manifest.v1+json" },
		{ "{\"mediaType\":\"" DOCKER "distribution.manifest.list.v2+json\"}",
		  OCI "index.v1+json" },
		{ "{\"fsLayers\":[]}", OCI "manifest.v1+json" },
	};
	struct err err = { 0 };
	const char *type;

	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		assert_int_equal(oci_document_type(table[i].text, strlen(table[i].text), "m", &type,
						   NULL),
				 0);
		assert_string_equal(type, table[i].type);
	}
	assert_int_equal(oci_document_type("{}", 2, "it", &type, &err), -EINVAL);
	assert_words(&err, "it: neither a manifest nor an index");
}

static void layers_of_unknown_types_are_refused_by_number(void **state)
{
	refused_manifest(MANIFEST(LAYER "," LAYER "," TYPED(OCI "layer.v1.tar+gzip+encrypted")),
			 -EOPNOTSUPP, "layer 2", "+encrypted");
	refused_manifest(MANIFEST(TYPED("application/vnd.in-toto+json")), -EOPNOTSUPP, "layer 0",
			 "in-toto");
	refused_manifest(MANIFEST(TYPED(OCI "config.v1+json")), -EOPNOTSUPP, "layer 0", "config");
}

static void a_layer_without_a_type_is_taken(void **state)
{
	static const char text[] = MANIFEST("{\"digest\":\"" DIGEST "\",\"size\":1}");
	auto_oci_manifest struct oci_manifest m = { 0 };

	assert_int_equal(oci_manifest_parse(text, strlen(text), "m", &m, NULL), 0);
	assert_string_equal(m.layers[0].media_type, "");
}

static void what_is_no_object_is_refused(void **state)
{
	refused_manifest("[]", -EINVAL, "object", "");
	refused_manifest("null", -EINVAL, "object", "");
	refused_manifest("", -EINVAL, "JSON", "");
	refused_manifest("{\"schemaVersion\":2", -EINVAL, "JSON", "");
	refused_manifest(MANIFEST("") "x", -EINVAL, "JSON", "");
	refused_manifest("{\"a\":\"\xff\"}", -EINVAL, "UTF-8", "");
}

static void depth_is_bounded(void **state)
{
	auto_buf struct buf text = { .max = 0 };

	(void)buf_puts(&text, "{\"config\":" CONFIG ",\"layers\":[],\"x\":");
	for (int i = 0; i < 10000; i++)
		(void)buf_putc(&text, '[');
	for (int i = 0; i < 10000; i++)
		(void)buf_putc(&text, ']');
	(void)buf_putc(&text, '}');
	refused_manifest(buf_text(&text), -EFBIG, "deep", "");
}

static void bytes_are_bounded(void **state)
{
	auto_buf struct buf text = { .max = 0 };

	(void)buf_puts(&text, MANIFEST(""));
	while (text.len <= OCI_DOCUMENT_MAX)
		(void)buf_puts(&text,
			       "                                                                ");
	refused_manifest(buf_text(&text), -EFBIG, "4194304", "");
}

static void diff_id_count(struct buf *text, size_t count)
{
	(void)buf_puts(text, "{\"rootfs\":{\"diff_ids\":[");
	for (size_t i = 0; i < count; i++)
		(void)buf_printf(text, "%s\"" DIGEST "\"", i ? "," : "");
	(void)buf_puts(text, "]}}");
}

static void layers_are_bounded(void **state)
{
	auto_buf struct buf text = { .max = 0 }, fits = { .max = 0 };
	auto_oci_config struct oci_config c = { 0 };
	struct err err = { 0 };

	diff_id_count(&text, 100001);
	assert_int_equal(oci_config_parse(text.data, text.len, "config X", &c, &err), -EFBIG);
	assert_words(&err, "config X");
	assert_words(&err, "100001");
	assert_null(c.diff_ids);
	diff_id_count(&fits, 100000);
	assert_int_equal(oci_config_parse(fits.data, fits.len, "config X", &c, &err), 0);
	assert_int_equal(c.diff_id_count, 100000);
}

static void descriptors_are_bounded(void **state)
{
	auto_buf struct buf text = { .max = 0 };

	(void)buf_puts(&text, "{\"config\":" CONFIG ",\"layers\":[0");
	for (size_t i = 0; i < 100000; i++)
		(void)buf_puts(&text, ",0");
	(void)buf_puts(&text, "]}");
	refused_manifest(buf_text(&text), -EFBIG, "100001", "100000");
}

/* ---- indexes ---- */

#define INDEXED(more) \
	"{\"mediaType\":\"" OCI "manifest.v1+json\",\"digest\":\"" DIGEST "\",\"size\":5" more "}"

static void an_index_is_read(void **state)
{
	static const char text[] = INDEX(
		INDEXED(",\"platform\":{\"os\":\"linux\",\"architecture\":\"arm\",\"variant\":\"v6\"}") "," INDEXED(
			",\"annotations\":{\"org.opencontainers.image.ref.name\":\"v1\","
			"\"io.containerd.image.name\":\"q.io/a:v1\"}"));
	auto_oci_index struct oci_index index = { 0 };

	assert_int_equal(oci_index_parse(text, strlen(text), "i", &index, NULL), 0);
	assert_int_equal(index.count, 2);
	assert_string_equal(index.manifests[0].platform.os, "linux");
	assert_string_equal(index.manifests[0].platform.architecture, "arm");
	assert_string_equal(index.manifests[0].platform.variant, "v6");
	assert_null(index.manifests[0].ref_name);
	assert_string_equal(index.manifests[1].ref_name, "v1");
	assert_string_equal(index.manifests[1].image_name, "q.io/a:v1");
	assert_string_equal(index.manifests[1].platform.os, "");
}

static void annotations_of_other_types_are_passed_over(void **state)
{
	static const char text[] = INDEX(INDEXED(
		",\"platform\":7,\"annotations\":{\"org.opencontainers.image.ref.name\":7}"));
	auto_oci_index struct oci_index index = { 0 };

	assert_int_equal(oci_index_parse(text, strlen(text), "i", &index, NULL), 0);
	assert_null(index.manifests[0].ref_name);
	assert_string_equal(index.manifests[0].platform.os, "");
}

static void an_index_without_manifests_is_refused(void **state)
{
	struct oci_index index = { .count = 4711 };
	struct err err = { 0 };

	assert_int_equal(oci_index_parse("{}", 2, "index X", &index, &err), -EINVAL);
	assert_words(&err, "index X: /manifests: missing");
	assert_int_equal(index.count, 4711);
}

/* ---- configs ---- */

static struct oci_config config(const char *text)
{
	struct oci_config c = { 0 };
	struct err err = { 0 };

	if (oci_config_parse(text, strlen(text), "config", &c, &err) < 0)
		fail_msg("%s", err.text);
	return c;
}

static void a_config_is_read(void **state)
{
	auto_oci_config struct oci_config c = config(
		"{\"os\":\"linux\",\"architecture\":\"arm64\",\"variant\":\"v8\","
		"\"created\":\"2020-01-02T03:04:05.678Z\","
		"\"rootfs\":{\"diff_ids\":[\"" DIGEST "\",\"" DIGEST "\"]}}");

	assert_string_equal(c.platform.os, "linux");
	assert_string_equal(c.platform.architecture, "arm64");
	assert_string_equal(c.platform.variant, "v8");
	assert_int_equal(c.created, 1577934245);
	assert_int_equal(c.diff_id_count, 2);
	assert_string_equal(c.diff_ids[1].text, DIGEST);
}

static void dates_of_all_kinds(void **state)
{
	static const struct {
		const char *text;
		int64_t seconds;
	} table[] = {
		{ "1970-01-01T00:00:00Z", 0 },
		{ "2020-01-02T03:04:05Z", 1577934245 },
		{ "2020-01-02T05:04:05+02:00", 1577934245 },
		{ "2020-01-01T21:34:05.123456789-05:30", 1577934245 },
		{ "1969-12-31T23:59:59Z", -1 },
		{ "0001-01-01T00:00:00Z", 0 },
		{ "yesterday", 0 },
		{ "", 0 },
		{ "2020-01-02", 0 },
	};

	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		auto_buf struct buf text = { .max = 0 };
		struct oci_config c;

		(void)buf_printf(&text, "{\"created\":\"%s\",\"rootfs\":{\"diff_ids\":[]}}",
				 table[i].text);
		c = config(buf_text(&text));
		assert_int_equal(c.created, table[i].seconds);
		oci_config_release(&c);
	}
}

static void refused_config(const char *text, int code, const char *words)
{
	struct oci_config c = { .diff_id_count = 4711 };
	struct err err = { 0 };

	assert_int_equal(oci_config_parse(text, strlen(text), "config X", &c, &err), code);
	assert_int_equal(c.diff_id_count, 4711);
	assert_words(&err, "config X");
	assert_words(&err, words);
}

static void a_bad_config_is_refused_with_the_place(void **state)
{
	refused_config("{}", -EINVAL, "/rootfs/diff_ids: missing");
	refused_config("[]", -EINVAL, "/rootfs/diff_ids");
	refused_config("{\"rootfs\":{\"diff_ids\":7}}", -EINVAL, "/rootfs/diff_ids");
	refused_config(ROOTFS("\"" DIGEST "\",7"), -EINVAL, "/rootfs/diff_ids/1");
	refused_config(ROOTFS("\"" DIGEST "\",null"), -EINVAL, "/rootfs/diff_ids/1");
	refused_config(ROOTFS("\"sha256:xyz\""), -EINVAL, "/rootfs/diff_ids/0");
	refused_config(ROOTFS("\"sha512:" HEX64 HEX64 "\""), -EOPNOTSUPP, "/rootfs/diff_ids/0");
}

static void a_config_without_a_platform_is_read(void **state)
{
	auto_oci_config struct oci_config c = config(
		"{\"os\":7,\"created\":null,\"rootfs\":{\"diff_ids\":[]}}");

	assert_string_equal(c.platform.os, "");
	assert_string_equal(c.platform.architecture, "");
	assert_int_equal(c.created, 0);
	assert_int_equal(c.diff_id_count, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(platforms_are_normalised),
		cmocka_unit_test(platforms_that_are_none_are_refused),
		cmocka_unit_test(the_host_is_this_machine),
		cmocka_unit_test(the_best_platform_is_the_nearest_that_runs),
		cmocka_unit_test(what_is_not_stated_matches_badly),
		cmocka_unit_test(names_of_others_for_an_architecture_match),
		cmocka_unit_test(media_types_of_both_worlds_are_known),
		cmocka_unit_test(a_manifest_is_read),
		cmocka_unit_test(an_unknown_field_changes_nothing),
		cmocka_unit_test(a_missing_field_is_named),
		cmocka_unit_test(words_do_not_stutter),
		cmocka_unit_test(sizes_must_be_possible),
		cmocka_unit_test(digests_must_be_digests),
		cmocka_unit_test(what_could_be_read_in_two_ways_is_refused),
		cmocka_unit_test(schema_1_is_refused_by_name),
		cmocka_unit_test(an_artifact_is_refused_by_type),
		cmocka_unit_test(foreign_layers_pass_with_their_urls),
		cmocka_unit_test(types_are_found_where_nobody_says_them),
		cmocka_unit_test(layers_of_unknown_types_are_refused_by_number),
		cmocka_unit_test(a_layer_without_a_type_is_taken),
		cmocka_unit_test(what_is_no_object_is_refused),
		cmocka_unit_test(depth_is_bounded),
		cmocka_unit_test(bytes_are_bounded),
		cmocka_unit_test(layers_are_bounded),
		cmocka_unit_test(descriptors_are_bounded),
		cmocka_unit_test(an_index_is_read),
		cmocka_unit_test(annotations_of_other_types_are_passed_over),
		cmocka_unit_test(an_index_without_manifests_is_refused),
		cmocka_unit_test(a_config_is_read),
		cmocka_unit_test(dates_of_all_kinds),
		cmocka_unit_test(a_bad_config_is_refused_with_the_place),
		cmocka_unit_test(a_config_without_a_platform_is_read),
	};

	return cmocka_run_group_tests_name("oci", tests, NULL, NULL);
}
