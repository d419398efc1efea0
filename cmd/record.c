/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/record.h"

#include <stdio.h>
#include <string.h>

#include "cmd/format.h"

static const struct listing_field image_fields[] = {
	{ "Repository", "REPOSITORY", false },
	{ "Tag", "TAG", false },
	{ "Digest", "DIGEST", true },
	{ "ID", "IMAGE ID", false },
	{ "CreatedSince", "CREATED", false },
	{ "CreatedAt", "CREATED AT", true },
	{ "Size", "SIZE", false },
	{ "SharedSize", "SHARED SIZE", true },
	{ "UniqueSize", "UNIQUE SIZE", true },
	{ "Containers", "CONTAINERS", true },
	{ "Layers", "LAYERS", true },
	{ "Platform", "PLATFORM", true },
};
const struct listing image_listing = { image_fields, ARRAY_LEN(image_fields) };

static const struct listing_field container_fields[] = {
	{ "ID", "CONTAINER ID", false },      { "Image", "IMAGE", false },
	{ "ImageID", "IMAGE ID", true },      { "CreatedSince", "CREATED", false },
	{ "CreatedAt", "CREATED AT", true },  { "State", "STATE", true },
	{ "Status", "STATUS", false },	      { "Size", "SIZE", true },
	{ "Mountpoint", "MOUNTPOINT", true }, { "Labels", "LABELS", true },
	{ "Names", "NAMES", false },
};
const struct listing container_listing = { container_fields, ARRAY_LEN(container_fields) };

static const struct listing_field layer_fields[] = {
	{ "Layer", "LAYER", false },
	{ "Kind", "KIND", true },
	{ "DiffID", "DIFF ID", true },
	{ "Size", "SIZE", false },
	{ "DiskSize", "DISK", false },
	{ "Entries", "ENTRIES", false },
	{ "References", "REFS", false },
	{ "HeldBy", "HELD BY", false },
	{ "CreatedSince", "CREATED", true },
	{ "CreatedAt", "CREATED AT", true },
	{ "Path", "PATH", true },
};
const struct listing layer_listing = { layer_fields, ARRAY_LEN(layer_fields) };

struct json *record_size(uint64_t bytes, const struct record_style *style)
{
	if (style->programs)
		return json_new_int(bytes > INT64_MAX ? INT64_MAX : (int64_t)bytes);
	return json_new_string(format_size(bytes, 3).text);
}

struct json *record_id(const char *id, const struct record_style *style)
{
	if (style->programs || style->full_ids)
		return json_new_string(id);
	return json_new_string(format_short_id(id).text);
}

static struct json *set_times(struct json *record, int64_t created,
			      const struct record_style *style)
{
	struct short_text at = style->programs ? format_rfc3339(created) :
						 format_created_at(created);

	record = json_set(record, "CreatedSince",
			  json_new_string(format_ago(created, style->now).text));
	return json_set(record, "CreatedAt",
			json_new_string(created		? at.text :
					style->programs ? "" :
							  "N/A"));
}

char *familiar_name(const char *reference)
{
	struct overlaid_reference parsed;
	auto_buf struct buf text = { 0 };

	if (overlaid_reference_parse(reference, &parsed, NULL) < 0)
		return strdup(reference);
	(void)buf_puts(&text, parsed.familiar);
	if (parsed.tag[0])
		(void)buf_printf(&text, ":%s", parsed.tag);
	if (parsed.digest[0])
		(void)buf_printf(&text, "@%s", parsed.digest);
	return buf_take(&text);
}

struct json *familiar_names(const char *const *references, size_t count)
{
	struct json *names = json_new_array();

	for (size_t i = 0; i < count; i++) {
		auto_free char *name = familiar_name(references[i]);

		names = json_push(names, name ? json_new_string(name) : NULL);
	}
	return names;
}

static struct json *platform(const struct overlaid_image *image)
{
	auto_buf struct buf text = { 0 };

	(void)buf_printf(&text, "%s/%s", image->os, image->architecture);
	if (image->variant[0])
		(void)buf_printf(&text, "/%s", image->variant);
	return text.status ? NULL : json_new_string(buf_text(&text));
}

/* As what it was pulled from that repository, else its manifest's digest; "" where there is neither. */
const char *digest_in(const struct overlaid_image *image, const char *repository)
{
	size_t len = strlen(repository);

	for (size_t i = 0; i < image->digest_count; i++)
		if (strncmp(image->digests[i], repository, len) == 0 &&
		    image->digests[i][len] == '@')
			return image->digests[i] + len + 1;
	return image->manifest_digest;
}

struct json *record_image(const struct overlaid_image *image, const char *reference,
			  const struct record_style *style)
{
	struct overlaid_reference parsed = { .familiar = "<none>" };
	const char *digest = image->manifest_digest;
	struct json *record = json_new_object();
	uint64_t shared = image->bytes > image->unique_bytes ? image->bytes - image->unique_bytes :
							       0;

	/* One that was pulled by its digest only has a repository, and no tag. */
	if (!reference && image->reference_count == 0 && image->digest_count)
		reference = image->digests[0];
	if (reference && overlaid_reference_parse(reference, &parsed, NULL) < 0)
		(void)snprintf(parsed.familiar, sizeof(parsed.familiar), "%s", reference);
	else if (reference)
		digest = parsed.digest[0] ? parsed.digest : digest_in(image, parsed.repository);
	record = json_set(record, "Repository", json_new_string(parsed.familiar));
	record = json_set(record, "Tag", json_new_string(parsed.tag[0] ? parsed.tag : "<none>"));
	record = json_set(record, "Digest", json_new_string(digest[0] ? digest : "<none>"));
	record = json_set(record, "ID", record_id(image->id, style));
	record = set_times(record, image->created, style);
	record = json_set(record, "Size", record_size(image->bytes, style));
	record = json_set(record, "SharedSize", record_size(shared, style));
	record = json_set(record, "UniqueSize", record_size(image->unique_bytes, style));
	record = json_set(record, "Containers", json_new_int((int64_t)image->container_count));
	record = json_set(record, "Layers", json_new_int((int64_t)image->layer_count));
	return json_set(record, "Platform", platform(image));
}

struct json *container_status(const struct overlaid_container *container)
{
	auto_buf struct buf text = { 0 };

	if (container->mounted)
		(void)buf_printf(&text, "Mounted at %s", container->mounted);
	else
		(void)buf_puts(&text, container->mounted_elsewhere ?
					      "Mounted in another namespace" :
					      "Created");
	return text.status ? NULL : json_new_string(buf_text(&text));
}

/* "key=value" texts as an object, or for people as docker prints them: with commas. */
static struct json *labels(const char *const *pairs, size_t count, bool programs)
{
	struct json *object = json_new_object();
	auto_buf struct buf text = { 0 };

	for (size_t i = 0; i < count; i++) {
		const char *equals = strchr(pairs[i], '=');
		auto_free char *key = strndup(pairs[i], equals ? (size_t)(equals - pairs[i]) :
								 strlen(pairs[i]));

		object = key ? json_set(object, key, json_new_string(equals ? equals + 1 : "")) :
			       (json_free(object), NULL);
		(void)buf_printf(&text, "%s%s", i ? "," : "", pairs[i]);
	}
	if (programs)
		return object;
	json_free(object);
	return text.status ? NULL : json_new_string(buf_text(&text));
}

struct json *record_container(const struct overlaid_container *container,
			      const struct record_style *style)
{
	bool mounted = container->mounted || container->mounted_elsewhere;
	struct json *record = json_new_object();

	record = json_set(record, "ID", record_id(container->id, style));
	record = json_set(record, "Image", json_new_string(container->image_name));
	record = json_set(record, "ImageID", record_id(container->image_id, style));
	record = set_times(record, container->created, style);
	record = json_set(record, "State", json_new_string(mounted ? "mounted" : "created"));
	record = json_set(record, "Status", container_status(container));
	record = json_set(record, "Mountpoint",
			  json_new_string(container->mounted ? container->mounted : ""));
	record = json_set(record, "Labels",
			  labels(container->labels, container->label_count, style->programs));
	return json_set(record, "Names", json_new_string(container->name));
}

/* A runtime's snapshot, for people: of "default/14/sha256:565b..." the digits, and whose it is. */
static struct json *snapshot_name(const struct overlaid_holder *holder)
{
	const char *slash = strrchr(holder->name, '/');
	const char *base = slash ? slash + 1 : holder->name;
	auto_buf struct buf text = { 0 };

	(void)buf_printf(&text, "snapshot %s (%.*s)",
			 strncmp(base, "sha256:", 7) == 0 ? format_short_id(base).text :
							    holder->name,
			 (int)strcspn(holder->scope, ":"), holder->scope);
	return text.status ? NULL : json_new_string(buf_text(&text));
}

/* Who holds a layer, in the words its user knows. */
static struct json *holder_name(const struct overlaid_holder *holder, bool programs)
{
	static const char *const kinds[] = {
		[OVERLAID_HELD_BY_IMAGE] = "",
		[OVERLAID_HELD_BY_CONTAINER] = "container ",
		[OVERLAID_HELD_BY_SNAPSHOT] = "snapshot ",
		[OVERLAID_HELD_BY_LEASE] = "lease ",
	};
	auto_free char *name = NULL;
	auto_buf struct buf text = { 0 };
	struct short_text id = format_short_id(holder->id);
	const char *shown = holder->kind == OVERLAID_HELD_BY_LEASE ? holder->id : id.text;

	if (holder->kind == OVERLAID_HELD_BY_SNAPSHOT && !programs)
		return snapshot_name(holder);
	if (holder->name && holder->name[0]) {
		name = holder->kind == OVERLAID_HELD_BY_IMAGE ? familiar_name(holder->name) :
								strdup(holder->name);
		shown = name ? name : "";
	}
	if (holder->scope && strcmp(holder->scope, "images") == 0) {
		(void)buf_printf(&text, "mount of %s", shown);
		return text.status ? NULL : json_new_string(buf_text(&text));
	}
	(void)buf_printf(&text, "%s%s", kinds[holder->kind], shown);
	if (holder->scope && holder->scope[0] && strcmp(holder->scope, "cli") != 0)
		(void)buf_printf(&text, " (%s)", holder->scope);
	return text.status ? NULL : json_new_string(buf_text(&text));
}

static const char *const layer_kinds[] = {
	[OVERLAID_LAYER_PLAIN] = "plain",
	[OVERLAID_LAYER_BOUND] = "bound",
	[OVERLAID_LAYER_ADOPTED] = "adopted",
	[OVERLAID_LAYER_PATCH] = "patch",
};

struct json *record_layer(const struct overlaid_layer *layer, const struct record_style *style)
{
	struct json *holders = json_new_array();
	struct json *record = json_new_object();

	for (size_t i = 0; i < layer->holder_count; i++)
		holders = json_push(holders, holder_name(&layer->holders[i], style->programs));
	record = json_set(record, "Layer", record_id(layer->id, style));
	record = json_set(record, "Kind", json_new_string(layer_kinds[layer->kind]));
	record = json_set(record, "DiffID",
			  layer->diff_id[0] ? record_id(layer->diff_id, style) :
					      json_new_string(""));
	record = json_set(record, "Size", record_size(layer->bytes, style));
	record = json_set(record, "DiskSize", record_size(layer->disk_bytes, style));
	record = json_set(record, "Entries", json_new_int((int64_t)layer->entries));
	record = json_set(record, "References", json_new_int((int64_t)layer->holder_count));
	record = json_set(record, "HeldBy", holders);
	record = set_times(record, layer->created, style);
	return json_set(record, "Path", json_new_string(layer->path));
}
