/* SPDX-License-Identifier: Apache-2.0 */
/*
 * unpack_wire: what is said between driver/unpack.c and the program overlaid-unpack, one message a packet
 * of a SOCK_SEQPACKET. Both are built together, so structures go over as they are; the greeting tells
 * where they are not.
 *
 *	us:	greeting (request+)		a request has the input's descriptor with it
 *	it:	ready (progress* (implied* result))+
 *
 * What it says is not believed: lengths, digests and kinds are checked.
 */
#ifndef DRIVER_UNPACK_WIRE_H
#define DRIVER_UNPACK_WIRE_H

#include <stdbool.h>
#include <stdint.h>

#include "driver/apply.h"
#include "driver/base/digest.h"
#include "driver/base/err.h"
#include "driver/confine.h"

/* Descriptors that the program is started with; those of the layers beneath, topmost first, follow. */
#define UNPACK_SOCKET_FD  3
#define UNPACK_STAGING_FD 4
#define UNPACK_PARENT_FD  5

#define UNPACK_NAME_MAX	   64
#define UNPACK_PACKET_MAX  65536
#define UNPACK_IMPLIED_MAX ((size_t)1 << 30)

struct unpack_greeting {
	char version[32]; /* OVERLAID_VERSION */
	uint32_t structs; /* their sizes, added up */
	uint32_t parents; /* descriptors from UNPACK_PARENT_FD on */
	bool bound, confined;
	enum overlay_xattrs xattrs;
	uint64_t memory_bytes;
	int32_t parent_pid; /* ours: it ends with us */
};

struct unpack_request {
	char name[UNPACK_NAME_MAX + 1];
	bool threads, lone;
	enum overlay_xattrs xattrs;
	struct apply_limits limits;
	int64_t offset, size; /* -1: of a pipe, or to the end */
	bool seekable;
};

enum unpack_kind { UNPACK_READY = 1, UNPACK_PROGRESS, UNPACK_IMPLIED, UNPACK_RESULT };

struct unpack_result {
	int32_t code;
	struct err err;
	struct digest blob, diff_id;
	uint64_t blob_bytes, tar_bytes, bytes, disk_bytes, entries, dropped_xattrs;
	uint32_t max_uid, max_gid;
	bool bound, root_implied;
};

struct unpack_reply {
	uint32_t kind;
	union {
		struct confine_report report; /* UNPACK_READY */
		uint64_t blob_bytes;	      /* UNPACK_PROGRESS */
		struct unpack_result result;
	};
};
#define UNPACK_REPLY_HEAD offsetof(struct unpack_reply, report)

#define UNPACK_STRUCTS                                                               \
	((uint32_t)(sizeof(struct unpack_greeting) + sizeof(struct unpack_request) + \
		    sizeof(struct unpack_reply)))

#endif
