/* SPDX-License-Identifier: Apache-2.0 */
/*
 * load: images of an archive or layout come into the store. Here graph/fetch and graph/store meet.
 */
#include <stdio.h>
#include <string.h>

#include "graph/admit.h"
#include "graph/fetch/archive.h"
#include "graph/name/reference.h"

/* ---- names ---- */

/* "localhost/<base name of the path>": lower-case, other characters as "-", without a suffix such
 * as ".tar.gz". "" where nothing is left. */
static void name_from_path(const char *path, char ret[256])
{
	char base[128] = "";
	size_t len = strlen(path), from, out = 0;

	while (len > 1 && path[len - 1] == '/')
		len--;
	for (from = len; from > 0 && path[from - 1] != '/'; from--)
		;
	for (size_t i = from; i < len && path[i] != '.' && out < sizeof(base) - 1; i++) {
		char c = path[i] >= 'A' && path[i] <= 'Z' ? (char)(path[i] + ('a' - 'A')) : path[i];
		bool plain = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');

		if (plain || (out > 0 && base[out - 1] != '-'))
			base[out++] = plain ? c : '-';
	}
	while (out > 0 && base[out - 1] == '-')
		out--;
	base[out] = '\0';
	(void)snprintf(ret, 256, "%s%s", out ? "localhost/" : "", base);
}

static int collect_references(const struct overlaid_load *load, const struct source_image *image,
			      struct references *refs, struct err *err)
{
	char repository[256] = "", text[REFERENCE_TEXT_MAX];
	int r = 0;

	for (size_t i = 0; r >= 0 && i < image->name_count; i++)
		r = references_add(refs, image->names[i], err);
	if (r < 0 || !image->tag)
		return r;
	if (load->name)
		(void)snprintf(repository, sizeof(repository), "%s", load->name);
	else if (load->path)
		name_from_path(load->path, repository);
	if (!repository[0])
		return 0;
	(void)snprintf(text, sizeof(text), "%s:%s", repository, image->tag);
	return references_add(refs, text, err);
}

/* ---- which entries ---- */

static bool same_reference(const char *name, const char *wanted)
{
	struct overlaid_reference a, b;

	if (strcmp(name, wanted) == 0)
		return true;
	return overlaid_reference_parse(name, &a, NULL) == 0 &&
	       overlaid_reference_parse(wanted, &b, NULL) == 0 &&
	       strcmp(a.repository, b.repository) == 0 && strcmp(a.tag, b.tag) == 0;
}

static bool entry_matches(const struct source *source, size_t index, const char *wanted)
{
	const char *alias = archive_entry_name(source, index);

	for (size_t n = 1; alias; alias = archive_entry_alias(source, index, n++))
		if (same_reference(alias, wanted))
			return true;
	return false;
}

static void list_entries(const struct source *source, struct buf *ret)
{
	for (size_t i = 0; i < archive_count(source); i++) {
		const char *name = archive_entry_name(source, i);

		(void)buf_printf(ret, "%s%s", i ? ", " : "", name[0] ? name : "(no name)");
	}
}

/* Entries of a layout that differ in platform only are one image. */
static bool layout_has_one_name(const struct source *source)
{
	for (size_t i = 1; i < archive_count(source); i++)
		if (strcmp(archive_entry_name(source, i), archive_entry_name(source, 0)) != 0)
			return false;
	return true;
}

static int check_choice(const struct overlaid_load *load, const struct source *source,
			struct err *err)
{
	auto_buf struct buf names = { .max = 4096 };
	bool found = false;

	if (archive_count(source) == 0)
		return fail(err, -ENOENT, "%s: holds no image", source_name(source));
	for (size_t i = 0; load->reference && i < archive_count(source); i++)
		found = found || entry_matches(source, i, load->reference);
	list_entries(source, &names);
	if (load->reference && !found)
		return fail(err, -ENOENT, "%s: no image named %s in it; it holds: %s",
			    source_name(source), load->reference, buf_text(&names));
	if (!load->reference && !load->all_tags && archive_is_layout(source) &&
	    !layout_has_one_name(source))
		return fail(err, -EINVAL,
			    "%s: holds several images (%s); name one with --ref, or take --all-tags",
			    source_name(source), buf_text(&names));
	return 0;
}

/* ---- the images ---- */

static int load_entry(struct overlaid *o, const struct overlaid_load *load, struct source *source,
		      size_t index, overlaid_loaded_fn *fn, void *arg, struct err *err)
{
	auto_references struct references refs = { 0 };
	auto_source_image struct source_image image = { 0 };
	const struct admission admission = { .references = &refs };
	struct admitted admitted = { 0 };
	struct overlaid_loaded loaded;
	int r = archive_read_image(source, index, &image, err);

	if (r >= 0)
		r = collect_references(load, &image, &refs, err);
	if (r >= 0)
		r = image_admit(o, source, &image, &admission, &admitted, err);
	if (r < 0 || !fn)
		return r;
	loaded = (struct overlaid_loaded){
		.image_id = image.config_digest.text,
		.references = (const char *const *)refs.list,
		.reference_count = refs.count,
		.layers = image.layer_count,
		.layers_extracted = admitted.extracted,
	};
	return fn(arg, &loaded);
}

static int load_entries(struct overlaid *o, const struct overlaid_load *load, struct source *source,
			overlaid_loaded_fn *fn, void *arg, struct err *err)
{
	for (size_t i = 0; i < archive_count(source); i++) {
		int r;

		if (load->reference && !entry_matches(source, i, load->reference))
			continue;
		r = archive_is_best(source, i, err);
		if (r > 0)
			r = load_entry(o, load, source, i, fn, arg, err);
		if (r != 0)
			return r;
	}
	return 0;
}

int overlaid_load(struct overlaid *o, const struct overlaid_load *load, overlaid_loaded_fn *fn,
		  void *arg, struct err *err)
{
	auto_staging struct staging spool = STAGING_INIT;
	auto_source struct source *source = NULL;
	struct oci_platform platform;
	struct archive_options options = { .path = load->path, .fd = load->fd };
	int r;

	if (load->platform) {
		r = oci_platform_parse(load->platform, &platform, err);
		if (r < 0)
			return r;
		options.platform = &platform;
	}
	r = staging_make(o->store, &spool, err);
	if (r < 0)
		return r;
	options.spool_fd = spool.fd;
	r = archive_open(&options, &source, err);
	if (r >= 0)
		r = check_choice(load, source, err);
	return r < 0 ? r : load_entries(o, load, source, fn, arg, err);
}
