/* SPDX-License-Identifier: Apache-2.0 */
#include "graph/fetch/legacy.h"

#include <stdio.h>
#include <string.h>

#include "driver/inflate.h"

#define BLOCK_BYTES ((size_t)256 << 10)

int legacy_list(struct members *members, struct json **ret, struct err *err)
{
	auto_buf struct buf text = { .max = OCI_DOCUMENT_MAX };
	auto_json struct json *repositories = NULL, *list = json_new_array();
	int r = members_read(members, "repositories", &text, err);

	if (r >= 0)
		r = json_parse(text.data, text.len, OCI_DOCUMENT_MAX, "repositories", &repositories,
			       err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < repositories->count; i++) {
		const struct json *tags = repositories->items[i];

		for (size_t k = 0; tags->type == JSON_OBJECT && k < tags->count; k++) {
			auto_free char *name = NULL;
			struct json *entry = json_new_object();

			if (asprintf(&name, "%s:%s", repositories->keys[i], tags->keys[k]) < 0)
				name = NULL;
			entry = json_set(entry, "RepoTags",
					 json_push(json_new_array(),
						   name ? json_new_string(name) : NULL));
			entry = json_set(entry, "Top", json_copy(tags->items[k]));
			list = json_push(list, entry);
		}
	}
	if (!list)
		return fail_oom(err);
	*ret = take_ptr(list);
	return 0;
}

/* ---- diffIDs ---- */

struct diff_hash {
	struct inflate *inflate;
	struct hasher *hasher;
	char *out;
};

static int hash_block(struct diff_hash *h, const char *in, size_t len, struct err *err)
{
	size_t used, made;

	do {
		int r = inflate_run(h->inflate, in, len, &used, h->out, BLOCK_BYTES, &made, err);

		if (r < 0)
			return r;
		hasher_update(h->hasher, h->out, made);
		in += used;
		len -= used;
	} while (len > 0 || made == BLOCK_BYTES);
	return 0;
}

/* The diffID of one layer's tar, plain or compressed. */
static int hash_layer(struct members *members, const char *member, struct digest *ret,
		      struct err *err)
{
	auto_stream struct source_stream stream = { 0 };
	auto_inflate struct inflate *inflate = NULL;
	auto_hasher struct hasher *hasher = NULL;
	auto_free char *out = malloc(BLOCK_BYTES);
	struct diff_hash h;
	const void *block;
	ssize_t n = members_stream(members, member, -1, &stream, err);

	if (n >= 0)
		n = hasher_new(NULL, &hasher, err);
	if (n >= 0 && !out)
		n = fail_oom(err);
	if (n >= 0)
		n = stream.read(stream.arg, &block, err);
	if (n >= 0) {
		int r = inflate_new(inflate_detect(block, (size_t)n), &inflate, err);

		n = r < 0 ? r : n;
	}
	h = (struct diff_hash){ .inflate = inflate, .hasher = hasher, .out = out };
	while (n > 0) {
		int r = hash_block(&h, block, (size_t)n, err);

		n = r < 0 ? r : stream.read(stream.arg, &block, err);
	}
	if (n >= 0)
		n = inflate_end(inflate, err);
	if (n < 0)
		return err_prefix(err, (int)n, "%s", member);
	hasher_final(hasher, ret);
	return 0;
}

/* ---- the chain of metadata ---- */

struct chain {
	struct json *metadata[LEGACY_LAYERS_MAX]; /* the top first; owned */
	char *ids[LEGACY_LAYERS_MAX];		  /* owned */
	size_t count;
};

static void chain_freep(struct chain **chain)
{
	for (size_t i = 0; *chain && i < (*chain)->count; i++) {
		json_free((*chain)->metadata[i]);
		free((*chain)->ids[i]);
	}
	free(*chain);
}

static int read_metadata(struct members *members, const char *id, struct json **ret,
			 struct err *err)
{
	auto_buf struct buf text = { .max = OCI_DOCUMENT_MAX };
	char name[64 + 6];
	int r;

	if (!hex_valid(id, 64))
		return fail(err, -EBADMSG, "\"%.100s\" is not the id of a layer", id);
	(void)snprintf(name, sizeof(name), "%s/json", id);
	r = members_read(members, name, &text, err);
	return r < 0 ? r : json_parse(text.data, text.len, OCI_DOCUMENT_MAX, name, ret, err);
}

static int read_chain(struct members *members, const char *top, struct chain *chain,
		      struct err *err)
{
	for (const char *id = top; id[0];
	     id = json_string_or(chain->metadata[chain->count - 1], "/parent", "")) {
		int r;

		if (chain->count == LEGACY_LAYERS_MAX)
			return fail(err, -EBADMSG, "layer %s: more than %d ancestors, or a loop",
				    top, LEGACY_LAYERS_MAX);
		r = read_metadata(members, id, &chain->metadata[chain->count], err);
		if (r < 0)
			return r;
		chain->ids[chain->count] = strdup(id);
		if (!chain->ids[chain->count++])
			return fail_oom(err);
	}
	return 0;
}

/* ---- the config ---- */

static bool is_dropped(const char *key)
{
	static const char *const keys[] = { "id",	"parent",    "Size",   "parent_id",
					    "layer_id", "throwaway", "rootfs", "history" };

	for (size_t i = 0; i < ARRAY_LEN(keys); i++)
		if (strcmp(keys[i], key) == 0)
			return true;
	return false;
}

static struct json *history_entry(const struct json *metadata)
{
	const struct json *command = json_get(metadata, "/container_config/Cmd");
	auto_buf struct buf text = { .max = 0 };
	struct json *entry = json_new_object();

	entry = json_set(entry, "created",
			 json_new_string(json_string_or(metadata, "/created", "")));
	for (size_t i = 0; command && i < command->count; i++)
		(void)buf_printf(&text, "%s%s", i ? " " : "",
				 command->items[i]->string ? command->items[i]->string : "");
	entry = json_set(entry, "created_by", json_new_string(buf_text(&text)));
	if (json_string_or(metadata, "/comment", NULL))
		entry = json_set(entry, "comment",
				 json_new_string(json_string_or(metadata, "/comment", "")));
	return entry;
}

static int make_config(const struct chain *chain, const struct digest *diff_ids, struct buf *ret,
		       struct err *err)
{
	auto_json struct json *config = json_new_object();
	struct json *rootfs = json_new_object(), *ids = json_new_array(),
		    *history = json_new_array();

	for (size_t i = 0; i < chain->metadata[0]->count; i++)
		if (!is_dropped(chain->metadata[0]->keys[i]))
			config = json_set(config, chain->metadata[0]->keys[i],
					  json_copy(chain->metadata[0]->items[i]));
	for (size_t i = chain->count; i-- > 0;)
		history = json_push(history, history_entry(chain->metadata[i]));
	for (size_t i = 0; i < chain->count; i++)
		ids = json_push(ids, json_new_string(diff_ids[i].text));
	rootfs = json_set(rootfs, "type", json_new_string("layers"));
	rootfs = json_set(rootfs, "diff_ids", ids);
	config = json_set(config, "history", history);
	config = json_set(config, "rootfs", rootfs);
	return json_print(config, 0, ret, err);
}

static int add_layers(struct members *members, const struct chain *chain,
		      struct source_image *image, struct digest *diff_ids, struct err *err)
{
	for (size_t i = 0; i < chain->count; i++) {
		struct source_layer *layer = &image->layers[i];
		int r;

		image->layer_count++;
		if (asprintf(&layer->member, "%s/layer.tar", chain->ids[chain->count - 1 - i]) < 0)
			layer->member = NULL;
		layer->media_type = strdup("");
		if (!layer->member || !layer->media_type)
			return fail_oom(err);
		layer->size = members_size(members, layer->member);
		r = hash_layer(members, layer->member, &diff_ids[i], err);
		if (r < 0)
			return r;
	}
	return 0;
}

int legacy_read_image(struct members *members, const char *top, struct source_image *image,
		      struct err *err)
{
	AUTO(chain_freep) struct chain *chain = calloc(1, sizeof(*chain));
	auto_free struct digest *diff_ids = NULL;
	int r = chain ? read_chain(members, top, chain, err) : fail_oom(err);

	if (r < 0)
		return r;
	if (chain->count == 0 || chain->metadata[0]->type != JSON_OBJECT)
		return fail(err, -EBADMSG, "layer \"%.100s\": no metadata", top);
	diff_ids = calloc(chain->count, sizeof(*diff_ids));
	image->layers = calloc(chain->count, sizeof(*image->layers));
	if (!diff_ids || !image->layers)
		return fail_oom(err);
	r = add_layers(members, chain, image, diff_ids, err);
	if (r >= 0)
		r = make_config(chain, diff_ids, &image->config, err);
	if (r >= 0)
		r = digest_of("sha256", buf_text(&image->config), image->config.len,
			      &image->config_digest, err);
	return r < 0 ? r :
		       oci_config_parse(image->config.data, image->config.len,
					"the config made of its metadata", &image->parsed, err);
}
