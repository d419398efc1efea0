/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/serve/wire.h"

#include <cmd/serve/snapshots.pb-c.h>
#include <stdlib.h>
#include <string.h>

#include "driver/base/utf8.h"

#define NS_PER_SECOND 1000000000

/* ---- memory of a request ---- */

struct wire_block {
	struct wire_block *next;
	max_align_t bytes[];
};

struct reader {
	struct wire_request request;
	size_t bytes_left; /* of WIRE_MEMORY_MAX */
	struct err *err;
	int status; /* the first failure; later calls do nothing */
};

/*
 * Nothing is given back before the request is: protobuf-c merges a message that is said again by copying
 * its lists, and so what was said a million times would take as long as its square if freed memory could be
 * taken again. A NUL stands behind each block: what is bytes for protobuf-c is a string for us.
 */
static void *take_memory(void *arg, size_t bytes)
{
	struct reader *r = arg;
	size_t all = sizeof(struct wire_block) + bytes + 1;
	struct wire_block *block;

	if (r->status < 0)
		return NULL;
	if (bytes > r->bytes_left || all > r->bytes_left) {
		r->status = fail(r->err, -EINVAL,
				 "the request has too many parts: they take more than %zu bytes",
				 WIRE_MEMORY_MAX);
		return NULL;
	}
	block = malloc(all);
	if (!block) {
		r->status = fail_oom(r->err);
		return NULL;
	}
	r->bytes_left -= all;
	block->next = r->request.blocks;
	r->request.blocks = block;
	((char *)block->bytes)[bytes] = 0;
	return block->bytes;
}

static void keep_memory(void *arg, void *memory)
{
}

void wire_request_release(struct wire_request *request)
{
	int saved = errno;

	while (request->blocks) {
		struct wire_block *block = request->blocks;

		request->blocks = block->next;
		free(block);
	}
	*request = (struct wire_request){ 0 };
	errno = saved;
}

/* ---- parts of a request ---- */

/* Words for why this is no string, or NULL. */
static const char *string_fault(const void *bytes, size_t len)
{
	if (len && memchr(bytes, 0, len))
		return "has a NUL in it";
	return utf8_span(bytes, len) < len ? "is not UTF-8" : NULL;
}

/* `field` names it in the words. */
static void read_string(struct reader *r, const ProtobufCBinaryData *from, const char *field,
			size_t max_bytes, const char **ret)
{
	const char *fault;

	if (r->status < 0 || !from->len)
		return;
	if (from->len > max_bytes) {
		r->status = fail(r->err, -EINVAL, "%s is longer than %zu bytes", field, max_bytes);
		return;
	}
	fault = string_fault(from->data, from->len);
	if (fault)
		r->status = fail(r->err, -EINVAL, "%s %s", field, fault);
	else
		*ret = (const char *)from->data;
}

static void read_name(struct reader *r, const ProtobufCBinaryData *from, const char *field,
		      const char **ret)
{
	read_string(r, from, field, WIRE_NAME_BYTES_MAX, ret);
}

static bool is_few(struct reader *r, size_t count, const char *field)
{
	if (r->status == 0 && count > WIRE_LIST_MAX)
		r->status = fail(r->err, -EINVAL, "there are more than %zu %s", WIRE_LIST_MAX,
				 field);
	return r->status == 0;
}

/* `one` and `many` name them in the words. */
static void read_strings(struct reader *r, const ProtobufCBinaryData *from, size_t count,
			 const char *one, const char *many, const char *const **ret,
			 size_t *ret_count)
{
	const char **strings;

	if (!count || !is_few(r, count, many))
		return;
	strings = take_memory(r, count * sizeof(*strings));
	for (size_t i = 0; i < count && r->status == 0; i++) {
		strings[i] = "";
		read_string(r, &from[i], one, WIRE_STRING_BYTES_MAX, &strings[i]);
	}
	*ret = strings;
	*ret_count = count;
}

struct said_label {
	struct overlaid_label label;
	size_t at;
};

static int compare_labels(const void *a, const void *b)
{
	const struct said_label *left = a, *right = b;
	int r = strcmp(left->label.key, right->label.key);

	return r ? r : (left->at > right->at) - (left->at < right->at);
}

static void read_labels(struct reader *r, Pb__Label *const *from, size_t count)
{
	struct said_label *said;
	struct overlaid_label *labels;
	size_t kept = 0;

	if (!count || !is_few(r, count, "labels"))
		return;
	said = take_memory(r, count * sizeof(*said));
	labels = take_memory(r, count * sizeof(*labels));
	for (size_t i = 0; i < count && r->status == 0; i++) {
		said[i] = (struct said_label){ { "", "" }, i };
		read_name(r, &from[i]->key, "the key of a label", &said[i].label.key);
		read_string(r, &from[i]->value, "the value of a label", WIRE_STRING_BYTES_MAX,
			    &said[i].label.value);
	}
	if (r->status < 0)
		return;
	qsort(said, count, sizeof(*said), compare_labels);
	for (size_t i = 0; i < count; i++)
		if (i + 1 == count || strcmp(said[i].label.key, said[i + 1].label.key) != 0)
			labels[kept++] = said[i].label;
	r->request.labels = labels;
	r->request.label_count = kept;
}

/* ---- requests ---- */

static void read_prepare(struct reader *r, const ProtobufCMessage *message)
{
	const Pb__PrepareRequest *m = (const Pb__PrepareRequest *)message;

	read_name(r, &m->snapshotter, "snapshotter", &r->request.snapshotter);
	read_name(r, &m->key, "key", &r->request.key);
	read_name(r, &m->parent, "parent", &r->request.parent);
	read_labels(r, m->label, m->n_label);
}

static void read_key(struct reader *r, const ProtobufCMessage *message)
{
	const Pb__KeyRequest *m = (const Pb__KeyRequest *)message;

	read_name(r, &m->snapshotter, "snapshotter", &r->request.snapshotter);
	read_name(r, &m->key, "key", &r->request.key);
}

static void read_commit(struct reader *r, const ProtobufCMessage *message)
{
	const Pb__CommitRequest *m = (const Pb__CommitRequest *)message;

	read_name(r, &m->snapshotter, "snapshotter", &r->request.snapshotter);
	read_name(r, &m->name, "name", &r->request.name);
	read_name(r, &m->key, "key", &r->request.key);
	read_name(r, &m->parent, "parent", &r->request.parent);
	read_labels(r, m->label, m->n_label);
}

/* The parent, the kind and the times that are sent along change nothing, and may be anything. */
static void read_update(struct reader *r, const ProtobufCMessage *message)
{
	const Pb__UpdateRequest *m = (const Pb__UpdateRequest *)message;

	read_name(r, &m->snapshotter, "snapshotter", &r->request.snapshotter);
	if (m->info) {
		read_name(r, &m->info->name, "info.name", &r->request.key);
		read_labels(r, m->info->label, m->info->n_label);
	}
	if (m->update_mask) {
		r->request.has_mask = true;
		read_strings(r, m->update_mask->paths, m->update_mask->n_paths,
			     "a path of update_mask", "paths in update_mask", &r->request.mask,
			     &r->request.mask_count);
	}
}

static void read_list(struct reader *r, const ProtobufCMessage *message)
{
	const Pb__ListRequest *m = (const Pb__ListRequest *)message;

	read_name(r, &m->snapshotter, "snapshotter", &r->request.snapshotter);
	read_strings(r, m->filters, m->n_filters, "a filter", "filters", &r->request.filters,
		     &r->request.filter_count);
}

static void read_cleanup(struct reader *r, const ProtobufCMessage *message)
{
	const Pb__CleanupRequest *m = (const Pb__CleanupRequest *)message;

	read_name(r, &m->snapshotter, "snapshotter", &r->request.snapshotter);
}

static void read_health(struct reader *r, const ProtobufCMessage *message)
{
	const Pb__HealthRequest *m = (const Pb__HealthRequest *)message;

	read_name(r, &m->service, "service", &r->request.name);
}

static const struct {
	const ProtobufCMessageDescriptor *descriptor;
	void (*read)(struct reader *r, const ProtobufCMessage *message);
} kinds[] = {
	[WIRE_PREPARE] = { &pb__prepare_request__descriptor, read_prepare },
	[WIRE_KEY] = { &pb__key_request__descriptor, read_key },
	[WIRE_COMMIT] = { &pb__commit_request__descriptor, read_commit },
	[WIRE_UPDATE] = { &pb__update_request__descriptor, read_update },
	[WIRE_LIST] = { &pb__list_request__descriptor, read_list },
	[WIRE_CLEANUP] = { &pb__cleanup_request__descriptor, read_cleanup },
	[WIRE_HEALTH] = { &pb__health_request__descriptor, read_health },
};

int wire_parse(enum wire_kind kind, const uint8_t *bytes, size_t len, struct wire_request *ret,
	       struct err *err)
{
	struct reader r = {
		.request = { .snapshotter = "", .key = "", .parent = "", .name = "" },
		.bytes_left = WIRE_MEMORY_MAX,
		.err = err,
	};
	ProtobufCAllocator allocator = { take_memory, keep_memory, &r };
	const ProtobufCMessage *message;

	message = protobuf_c_message_unpack(kinds[kind].descriptor, &allocator, len, bytes);
	if (message)
		kinds[kind].read(&r, message);
	else if (r.status == 0)
		r.status = fail(err, -EINVAL, "the request is no message of protobuf");
	if (r.status < 0) {
		wire_request_release(&r.request);
		return r.status;
	}
	*ret = r.request;
	return 0;
}

/* ---- answers ---- */

static ProtobufCBinaryData bytes_of(const char *text)
{
	/* protobuf-c has one type for reading and writing; packing only reads. */
	return (ProtobufCBinaryData){ text ? strlen(text) : 0, (uint8_t *)(uintptr_t)text };
}

static int pack(const ProtobufCMessage *message, struct buf *out, struct err *err)
{
	size_t len = protobuf_c_message_get_packed_size(message);
	char *room = buf_room(out, len);

	if (!room)
		return buf_status(out, err);
	(void)protobuf_c_message_pack(message, (uint8_t *)room);
	buf_end(out, len);
	return 0;
}

/* A message's string is UTF-8, or who receives it refuses all of the message. */
static int set_string(ProtobufCBinaryData *to, const char *text, const char *field, struct err *err)
{
	*to = bytes_of(text);
	if (to->len && utf8_span(text, to->len) < to->len)
		return fail(err, -EINVAL, "%s is not UTF-8", field);
	return 0;
}

/* What has been set up of it is freed with all of the answer. */
static int set_mount(Pb__Mount *to, const struct wire_mount *mount, struct err *err)
{
	int r;

	pb__mount__init(to);
	r = set_string(&to->type, mount->type, "the type of a mount", err);
	if (r == 0)
		r = set_string(&to->source, mount->source, "the source of a mount", err);
	if (r == 0)
		r = set_string(&to->target, mount->target, "the target of a mount", err);
	if (r < 0 || !mount->option_count)
		return r;
	to->options = calloc(mount->option_count, sizeof(*to->options));
	if (!to->options)
		return fail_oom(err);
	to->n_options = mount->option_count;
	for (size_t i = 0; i < mount->option_count && r == 0; i++)
		r = set_string(&to->options[i], mount->options[i], "an option of a mount", err);
	return r;
}

int wire_mounts(const struct wire_mount *mounts, size_t count, struct buf *out, struct err *err)
{
	auto_free Pb__Mount *filled = calloc(count + 1, sizeof(*filled));
	auto_free Pb__Mount **pointers = calloc(count + 1, sizeof(*pointers));
	Pb__MountsResponse response = PB__MOUNTS_RESPONSE__INIT;
	int r = 0;

	if (!filled || !pointers)
		return fail_oom(err);
	for (size_t i = 0; i < count && r == 0; i++) {
		pointers[i] = &filled[i];
		r = set_mount(&filled[i], &mounts[i], err);
	}
	response.mounts = pointers;
	response.n_mounts = count;
	if (r == 0)
		r = pack(&response.base, out, err);
	for (size_t i = 0; i < count; i++)
		free(filled[i].options);
	return r;
}

struct filled_info {
	Pb__Info info;
	Pb__Timestamp created, updated;
	Pb__Label *labels;
	Pb__Label **pointers;
};

static void filled_info_release(struct filled_info *filled)
{
	free(filled->labels);
	free(filled->pointers);
}

/* nanos counts forward, also before 1970 (google/protobuf/timestamp.proto). */
static void set_time(Pb__Timestamp *to, int64_t ns)
{
	pb__timestamp__init(to);
	to->seconds = ns / NS_PER_SECOND;
	to->nanos = (int32_t)(ns % NS_PER_SECOND);
	if (to->nanos < 0) {
		to->seconds--;
		to->nanos += NS_PER_SECOND;
	}
}

/* Points into the info and itself. */
static int fill_info(struct filled_info *to, const struct overlaid_snapshot *info, struct err *err)
{
	pb__info__init(&to->info);
	set_time(&to->created, info->created_ns);
	set_time(&to->updated, info->updated_ns);
	to->labels = calloc(info->label_count + 1, sizeof(*to->labels));
	to->pointers = calloc(info->label_count + 1, sizeof(*to->pointers));
	if (!to->labels || !to->pointers)
		return fail_oom(err);
	for (size_t i = 0; i < info->label_count; i++) {
		pb__label__init(&to->labels[i]);
		to->labels[i].key = bytes_of(info->labels[i].key);
		to->labels[i].value = bytes_of(info->labels[i].value);
		to->pointers[i] = &to->labels[i];
	}
	to->info.name = bytes_of(info->name);
	to->info.parent = bytes_of(info->parent);
	to->info.kind = info->kind;
	to->info.created_at = &to->created;
	to->info.updated_at = &to->updated;
	to->info.label = to->pointers;
	to->info.n_label = info->label_count;
	return 0;
}

int wire_info(const struct overlaid_snapshot *info, struct buf *out, struct err *err)
{
	AUTO(filled_info_release) struct filled_info filled = { .labels = NULL };
	Pb__InfoResponse response = PB__INFO_RESPONSE__INIT;
	int r = fill_info(&filled, info, err);

	response.info = &filled.info;
	return r < 0 ? r : pack(&response.base, out, err);
}

int wire_usage(int64_t size_bytes, int64_t inodes, struct buf *out, struct err *err)
{
	Pb__UsageResponse response = PB__USAGE_RESPONSE__INIT;

	response.size = size_bytes;
	response.inodes = inodes;
	return pack(&response.base, out, err);
}

int wire_health(int status, struct buf *out, struct err *err)
{
	Pb__HealthResponse response = PB__HEALTH_RESPONSE__INIT;

	response.status = status;
	return pack(&response.base, out, err);
}

/* ---- lists ---- */

int wire_list_end(struct wire_list *list, struct err *err)
{
	int r;

	if (!list->count)
		return 0;
	r = list->send(list->arg, list->message.data, list->message.len, err);
	buf_reset(&list->message);
	list->count = 0;
	return r;
}

/* Messages that follow one another are their lists one after the other: each info is packed as a message of
 * one, and appended. */
int wire_list_add(struct wire_list *list, const struct overlaid_snapshot *info, struct err *err)
{
	AUTO(filled_info_release) struct filled_info filled = { .labels = NULL };
	Pb__ListResponse response = PB__LIST_RESPONSE__INIT;
	Pb__Info *one = &filled.info;
	int r = fill_info(&filled, info, err);

	if (r < 0)
		return r;
	response.info = &one;
	response.n_info = 1;
	if (list->count == WIRE_LIST_INFOS ||
	    list->message.len + protobuf_c_message_get_packed_size(&response.base) >
		    WIRE_LIST_BYTES) {
		r = wire_list_end(list, err);
		if (r < 0)
			return r;
	}
	r = pack(&response.base, &list->message, err);
	if (r == 0)
		list->count++;
	return r;
}

void wire_list_release(struct wire_list *list)
{
	buf_release(&list->message);
	list->count = 0;
}
