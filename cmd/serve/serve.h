/* SPDX-License-Identifier: Apache-2.0 */
/*
 * serve: the daemon's parts.
 *
 *	grpc		frames and streams; the I/O thread
 *	wire, filter	messages of containerd's snapshots service, and what List asks for
 *	snapshots	the service: what each call means
 *	http, docker	Docker's graphdriver protocol (docker.h says more)
 *	handles		store handles for threads that come and go
 *	fetch		images that containerd is about to unpack, got by ourselves instead
 *	work		the threads that use the store
 *	listen, notify	sockets, and the service manager
 */
#ifndef CMD_SERVE_SERVE_H
#define CMD_SERVE_SERVE_H

#include <stdbool.h>
#include <stdint.h>

#include "cmd/serve/grpc.h"
#include "cmd/serve/listen.h"
#include "cmd/serve/work.h"
#include "driver/base/digest.h"
#include "graph/overlaid.h"

struct docker;
struct fetch;

struct serve {
	struct overlaid_options store;
	struct work *readers; /* short questions */
	struct work *walkers; /* count trees, as long as it takes */
	struct work *helpers; /* what may take a while, and others wait for: lists, syncs, patches */
	struct work *writer;
	struct fetch *fetch; /* NULL: --fetch was not given */
	bool share;	     /* what is here is not unpacked again */
	bool remap;	     /* --remap-ids */
	struct janitor *janitor;
};

/* One socket. */
struct face {
	char *path; /* absolute, without symlinks in its directory */
	int fd;
	struct listen_name name;
	bool passed;	       /* by the service manager, or by ourselves before a restart */
	struct docker *docker; /* NULL: it is containerd's */
	char *plugin;	       /* its name */
};

/* One line to stderr. */
void serve_log(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* What grpc calls for each call: `arg` is the struct serve, the call's tag a struct face. */
void snapshots_dispatch(void *arg, struct grpc_call *call);

/* ---- the janitor: deletes what was removed, a while after ---- */

int janitor_new(const struct overlaid_options *options, struct janitor **ret, struct err *err);
void janitor_wake(struct janitor *janitor);
/* Now, and job->finish is called after: from its thread, or at once where that is to end. Does not wait. */
void janitor_ask(struct janitor *janitor, struct work_job *job);
/* Who waits for it is told at once, from here on. From any thread. */
void janitor_drain(struct janitor *janitor);
/* NULL allowed. After janitor_drain, and before the process ends: what is being deleted is not waited for. */
void janitor_free(struct janitor *janitor);

/* ---- fetch ---- */

/* What is done once an image is here, or is not to be had: pushed to the helpers. */
struct fetch_job {
	struct work_job job;
	struct fetch_job *next_waiting;
};

/* What nobody took is dropped so many seconds after. */
int fetch_new(struct serve *serve, unsigned int keep_seconds, struct fetch **ret, struct err *err);
/* Gets the image ("docker.io/library/nginx:1.25") of this manifest digest ("": the one its tag means), or waits for
 * who does; `job` is pushed after. False: it failed a while ago, and the job is the caller's still. Does not wait. */
bool fetch_image(struct fetch *fetch, const char *reference, const char *manifest,
		 struct fetch_job *job);
/* Who waits goes on without. From any thread. */
void fetch_drain(struct fetch *fetch);
void fetch_free(
	struct fetch *fetch); /* NULL allowed. After fetch_drain, and before the process ends */

#endif
