/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wire: between the messages of containerd's snapshots service, as bytes, and plain C.
 *
 * A request comes from outside. What wire_parse hands out:
 *  - Strings are UTF-8 without NUL, as proto3 and C want them.
 *  - Names, keys and keys of labels are at most WIRE_NAME_BYTES_MAX bytes, other strings
 *    WIRE_STRING_BYTES_MAX, and a list has at most WIRE_LIST_MAX of them. (containerd's labels are 4096
 *    bytes, key and value together; its keys about 300.)
 *  - Labels are sorted by key (as strcmp has it) and no key is there twice: the last one said wins, as in
 *    any map of protobuf.
 *  - Fields that nobody here knows are skipped. What is said twice is merged, as protobuf has it.
 *  - Reading takes at most WIRE_MEMORY_MAX bytes, all turns of merging together, and nests no deeper than
 *    the messages do: three. So a small message can neither take much memory nor much time.
 * What is not like that is -EINVAL, with words that name the field.
 *
 * An answer is appended to a buffer, whose maximum must allow it. Strings that are NULL are empty.
 */
#ifndef CMD_SERVE_WIRE_H
#define CMD_SERVE_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "driver/base/auto.h"
#include "driver/base/buf.h"
#include "driver/base/err.h"
#include "graph/overlaid.h"

#define WIRE_NAME_BYTES_MAX   ((size_t)4096)
#define WIRE_STRING_BYTES_MAX ((size_t)65536)
#define WIRE_LIST_MAX	      ((size_t)10000)
#define WIRE_MEMORY_MAX	      ((size_t)16 << 20)

/* ---- requests ---- */

enum wire_kind {
	WIRE_PREPARE, /* and View */
	WIRE_KEY,     /* Mounts, Remove, Stat, Usage */
	WIRE_COMMIT,
	WIRE_UPDATE,
	WIRE_LIST,
	WIRE_CLEANUP,
	WIRE_HEALTH, /* grpc.health.v1: Check and Watch */
};

/* What any of them says: "" and 0 where it says nothing. */
struct wire_request {
	const char *snapshotter;
	const char *key;    /* of Update: info.name */
	const char *parent; /* Prepare, View, Commit */
	const char *name;   /* of Commit; of Health: the service */
	const struct overlaid_label *labels;
	size_t label_count;
	const char *const *filters; /* List */
	size_t filter_count;
	const char *const *mask; /* Update: paths of update_mask */
	size_t mask_count;
	bool has_mask;		   /* there is one, perhaps without paths */
	struct wire_block *blocks; /* all that memory */
};

/* *ret is released with wire_request_release, and lives without the bytes. -EINVAL, -ENOMEM. */
int wire_parse(enum wire_kind kind, const uint8_t *bytes, size_t len, struct wire_request *ret,
	       struct err *err);
void wire_request_release(struct wire_request *request); /* zeroed allowed */
#define auto_wire_request AUTO(wire_request_release)

/* ---- answers ---- */

struct wire_mount {
	const char *type, *source, *target;
	const char *const *options;
	size_t option_count;
};

/* Of Prepare, View and Mounts. -EINVAL: a string is not UTF-8, which no client could read. */
int wire_mounts(const struct wire_mount *mounts, size_t count, struct buf *out, struct err *err);
/* Of Stat and Update. */
int wire_info(const struct overlaid_snapshot *info, struct buf *out, struct err *err);
int wire_usage(int64_t size_bytes, int64_t inodes, struct buf *out, struct err *err);
/* Of grpc.health.v1. status: 1 serving, 2 not serving, 3 no such service. */
int wire_health(int status, struct buf *out, struct err *err);

/*
 * Of List: infos, gathered into messages of at most WIRE_LIST_INFOS infos and WIRE_LIST_BYTES bytes (an
 * info that alone is larger is a message alone).
 *
 *	auto_wire_list struct wire_list list = { .send = send, .arg = arg };
 *	...
 *	r = wire_list_add(&list, &info, err);
 *	...
 *	r = wire_list_end(&list, err);
 */
#define WIRE_LIST_INFOS ((size_t)100)
#define WIRE_LIST_BYTES ((size_t)1 << 20)

struct wire_list {
	/* Takes a message that is complete; a failure of it is one of the call that sent. */
	int (*send)(void *arg, const void *bytes, size_t len, struct err *err);
	void *arg;
	struct buf message; /* what was not sent yet */
	size_t count;
};

/* 0 or -errno, after which the list can only be released. */
int wire_list_add(struct wire_list *list, const struct overlaid_snapshot *info, struct err *err);
/* Sends the rest. Where nothing was added, nothing is sent. */
int wire_list_end(struct wire_list *list, struct err *err);
void wire_list_release(struct wire_list *list);
#define auto_wire_list AUTO(wire_list_release)

#endif
