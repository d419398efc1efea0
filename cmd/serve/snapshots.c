/* SPDX-License-Identifier: Apache-2.0 */
/*
 * snapshots: containerd.services.snapshots.v1.Snapshots, and grpc.health.v1.Health.
 *
 * A call is a request; its method says who looks at it: readers, helpers, walkers, or, for what changes the store,
 * the writer, before which helpers may do what takes a while (a sync, a patch, a whole image). Statuses and their
 * words are those of containerd's own snapshotters (its errdefs).
 *
 * Sharing. The unpacker asks to prepare a layer with the label "containerd.io/snapshot.ref", its chainID. Where
 * that chain is here the answer is ALREADY_EXISTS, and it then finds a committed snapshot of that label and parent
 * by List, and neither fetches nor unpacks.
 */
#include <semaphore.h>
#include <stdio.h>
#include <string.h>

#include "cmd/serve/filter.h"
#include "cmd/serve/serve.h"
#include "cmd/serve/wire.h"
#include "driver/base/auto.h"
#include "driver/base/buf.h"
#include "driver/base/clock.h"

#define FLUSHES_MAX	 4
#define ANSWER_BYTES_MAX ((size_t)16 << 20)
#define LABEL_REF	 "containerd.io/snapshot.ref"
#define LABEL_UIDS	 "containerd.io/snapshot/uidmapping"
#define LABEL_GIDS	 "containerd.io/snapshot/gidmapping"
#define LABEL_IMAGE	 "containerd.io/snapshot/cri.image-ref"
#define LABEL_MANIFEST	 "containerd.io/snapshot/cri.manifest-digest"

struct request {
	struct fetch_job waiting; /* first: and in it the job */
	struct serve *serve;
	struct grpc_call *call;
	const struct method *method;
	struct wire_request wire;
	char *scope;
	char chain_id[DIGEST_TEXT_MAX]; /* what is, or will be, committed; "": not known */
	struct buf answer;
	struct err err;
	int r;
	bool fetched; /* or not to be had */
	unsigned int flushes;
	bool flushed; /* and synced */
	bool held; /* somebody waits for the writer, to let go of what is held, and then finishes it: */
	sem_t told; /* this says when */
};

typedef int method_fn(struct request *q, struct overlaid *store);

enum where { READERS, HELPERS, WALKERS, WRITER, CHAIN_THEN_WRITER, FLUSH_THEN_WRITER, JANITOR };

struct method {
	const char *path;
	enum wire_kind wire;
	enum where where;
	method_fn *run;
};

/* ---- answering ---- */

static const struct {
	int r;
	enum grpc_status status;
	const char *words; /* what containerd takes off the end, and puts there again */
} statuses[] = {
	{ -ENOENT, GRPC_NOT_FOUND, "not found" },
	{ -EEXIST, GRPC_ALREADY_EXISTS, "already exists" },
	{ -EINVAL, GRPC_INVALID_ARGUMENT, "invalid argument" },
	{ -ENOTEMPTY, GRPC_FAILED_PRECONDITION, "failed precondition" },
	{ -EBADFD, GRPC_FAILED_PRECONDITION, "failed precondition" },
	{ -E2BIG, GRPC_FAILED_PRECONDITION, "failed precondition" },
	{ -EFBIG, GRPC_RESOURCE_EXHAUSTED, "resource exhausted" },
	{ -ENOSPC, GRPC_RESOURCE_EXHAUSTED, "resource exhausted" },
	{ -ECANCELED, GRPC_CANCELLED, "context canceled" },
	{ -ETIMEDOUT, GRPC_DEADLINE_EXCEEDED, "context deadline exceeded" },
	{ -ENOSYS, GRPC_UNIMPLEMENTED, "not implemented" },
};

static void free_request(struct request *q)
{
	wire_request_release(&q->wire);
	buf_release(&q->answer);
	free(q->scope);
	free(q);
}

static void answer_failure(struct request *q)
{
	char words[sizeof(q->err.text) + 64];

	for (size_t i = 0; i < ARRAY_LEN(statuses); i++)
		if (statuses[i].r == q->r) {
			(void)snprintf(words, sizeof(words), "%s: %s", q->err.text,
				       statuses[i].words);
			grpc_call_finish(q->call, statuses[i].status, words);
			return;
		}
	serve_log("%s: %s", q->method->path, q->err.text);
	grpc_call_finish(q->call, GRPC_INTERNAL, q->err.text[0] ? q->err.text : strerror(-q->r));
}

/* List has sent its messages already. */
static void finish(struct request *q)
{
	if (q->r >= 0 && q->method->wire != WIRE_LIST)
		q->r = grpc_call_send(q->call, buf_text(&q->answer), q->answer.len, &q->err);
	if (q->r < 0)
		answer_failure(q);
	else
		grpc_call_finish(q->call, GRPC_OK, NULL);
	free_request(q);
}

/* Nobody waits for it any more: it is not begun. */
static bool is_given_up(struct request *q)
{
	if (grpc_call_cancelled(q->call))
		q->r = fail(&q->err, -ECANCELED, "the client gave up");
	else if (clock_ns() > grpc_call_deadline(q->call))
		q->r = fail(&q->err, -ETIMEDOUT, "not begun in time");
	return q->r < 0;
}

static bool is_cancelled(void *call)
{
	return grpc_call_cancelled(call);
}

/* ---- what requests say ---- */

static const char *label(const struct request *q, const char *key)
{
	for (size_t i = 0; i < q->wire.label_count; i++)
		if (strcmp(q->wire.labels[i].key, key) == 0)
			return q->wire.labels[i].value;
	return "";
}

static bool is_chain_id(const char *text)
{
	return strncmp(text, "sha256:", 7) == 0 && digest_valid(text);
}

/* The unpackers' keys: "NAMESPACE/NUMBER/extract-RANDOM CHAINID". */
static const char *chain_of_key(const char *key)
{
	const char *base = strrchr(key, '/');
	const char *space = strrchr(key, ' ');

	base = base ? base + 1 : key;
	if (strncmp(base, "extract-", 8) != 0 || !space || space < base || !is_chain_id(space + 1))
		return "";
	return space + 1;
}

/* And what they commit: "NAMESPACE/NUMBER/CHAINID". */
static const char *chain_of_name(const char *name)
{
	const char *base = strrchr(name, '/');

	base = base ? base + 1 : name;
	return is_chain_id(base) ? base : "";
}

static void know_chain(struct request *q)
{
	const char *ref = label(q, LABEL_REF);
	const char *named = q->method->wire == WIRE_COMMIT ? chain_of_name(q->wire.name) :
							     chain_of_key(q->wire.key);

	/* What is said twice is to be the same. */
	if (named[0] && ref[0] && strcmp(named, ref) != 0)
		return;
	if (!named[0] && q->method->wire == WIRE_PREPARE && is_chain_id(ref))
		named = ref;
	(void)snprintf(q->chain_id, sizeof(q->chain_id), "%s", named);
}

static int read_request(struct request *q)
{
	const struct face *face = grpc_call_tag(q->call);
	const uint8_t *bytes;
	size_t len;
	int r;

	bytes = grpc_call_message(q->call, &len);
	r = wire_parse(q->method->wire, bytes, len, &q->wire, &q->err);
	if (r < 0)
		return r;
	if (asprintf(&q->scope, "containerd:%s:%s", face->path, q->wire.snapshotter) < 0)
		return fail_oom(&q->err);
	if (q->method->wire == WIRE_PREPARE || q->method->wire == WIRE_COMMIT)
		know_chain(q);
	return 0;
}

/* ---- reading ---- */

static int put_mount(void *arg, const struct overlaid_mount *m)
{
	struct request *q = arg;
	const struct wire_mount mount = { .type = m->type,
					  .source = m->source,
					  .options = m->options,
					  .option_count = m->option_count };

	return wire_mounts(&mount, 1, &q->answer, &q->err);
}

static int put_info(void *arg, const struct overlaid_snapshot *s)
{
	struct request *q = arg;

	return wire_info(s, &q->answer, &q->err);
}

static int stat_snapshot(struct request *q, struct overlaid *store)
{
	return overlaid_snapshot_get(store, q->scope, q->wire.key, put_info, q, &q->err);
}

static int usage(struct request *q, struct overlaid *store)
{
	uint64_t disk_bytes, inodes;
	int r = overlaid_snapshot_usage(store, q->scope, q->wire.key, is_cancelled, q->call,
					&disk_bytes, &inodes, &q->err);

	return r < 0 ? r : wire_usage((int64_t)disk_bytes, (int64_t)inodes, &q->answer, &q->err);
}

struct listing {
	struct request *q;
	struct filter *filter;
	struct wire_list list;
};

static int send_infos(void *call, const void *bytes, size_t len, struct err *err)
{
	return grpc_call_send(call, bytes, len, err);
}

static int list_one(void *arg, const struct overlaid_snapshot *s)
{
	struct listing *l = arg;

	if (grpc_call_cancelled(l->q->call))
		return fail(&l->q->err, -ECANCELED, "the client gave up");
	return filter_matches(l->filter, s) ? wire_list_add(&l->list, s, &l->q->err) : 0;
}

static int list(struct request *q, struct overlaid *store)
{
	struct listing l = { .q = q, .list = { .send = send_infos, .arg = q->call } };
	int r = filter_new(q->wire.filters, q->wire.filter_count, &l.filter, &q->err);

	if (r >= 0)
		r = overlaid_snapshots(store, q->scope, list_one, &l, &q->err);
	if (r >= 0)
		r = wire_list_end(&l.list, &q->err);
	wire_list_release(&l.list);
	filter_free(l.filter);
	return r;
}

static int health(struct request *q, struct overlaid *store)
{
	static const char ours[] = "containerd.services.snapshots.v1.Snapshots";

	if (q->wire.name[0] && strcmp(q->wire.name, ours) != 0)
		return fail(&q->err, -ENOENT, "service \"%.100s\"", q->wire.name);
	return wire_health(1, &q->answer, &q->err);
}

/* ---- changing ---- */

static void take_maps(const struct request *q, struct overlaid_prepare *p)
{
	const char *uids = label(q, LABEL_UIDS), *gids = label(q, LABEL_GIDS);

	if (!q->serve->remap)
		return;
	p->uid_map = uids[0] ? uids : NULL;
	p->gid_map = gids[0] ? gids : NULL;
}

static struct overlaid_prepare prepare_of(const struct request *q, enum overlaid_snapshot_kind kind)
{
	struct overlaid_prepare p = { .scope = q->scope,
				      .key = q->wire.key,
				      .parent = q->wire.parent,
				      .kind = kind,
				      .labels = q->wire.labels,
				      .label_count = q->wire.label_count,
				      .chain_id = q->chain_id[0] ? q->chain_id : NULL };

	take_maps(q, &p);
	return p;
}

/* Who does not send the label would not know what ALREADY_EXISTS means. */
static bool may_share(const struct request *q)
{
	return q->serve->share && q->chain_id[0] && strcmp(label(q, LABEL_REF), q->chain_id) == 0;
}

static int prepare(struct request *q, struct overlaid *store)
{
	struct overlaid_prepare p = prepare_of(q, OVERLAID_SNAPSHOT_ACTIVE);
	int r = may_share(q) ? overlaid_snapshot_share(store, &p, LABEL_REF, &q->err) : 0;

	if (r > 0)
		return fail(&q->err, -EEXIST, "target snapshot \"%s\"", q->chain_id);
	return r < 0 ? r : overlaid_snapshot_prepare(store, &p, put_mount, q, &q->err);
}

static int view(struct request *q, struct overlaid *store)
{
	struct overlaid_prepare p = prepare_of(q, OVERLAID_SNAPSHOT_VIEW);

	p.chain_id = NULL;
	return overlaid_snapshot_prepare(store, &p, put_mount, q, &q->err);
}

/* The labels that it was prepared with say how it is mapped. */
struct mapping {
	char uids[512], gids[512];
};

static int read_maps(void *arg, const struct overlaid_snapshot *s)
{
	struct mapping *m = arg;

	for (size_t i = 0; i < s->label_count; i++) {
		if (strcmp(s->labels[i].key, LABEL_UIDS) == 0)
			(void)snprintf(m->uids, sizeof(m->uids), "%s", s->labels[i].value);
		if (strcmp(s->labels[i].key, LABEL_GIDS) == 0)
			(void)snprintf(m->gids, sizeof(m->gids), "%s", s->labels[i].value);
	}
	return 0;
}

static int mounts(struct request *q, struct overlaid *store)
{
	struct overlaid_prepare p = { .scope = q->scope, .key = q->wire.key };
	struct mapping m = { .uids = "" };
	int r = q->serve->remap ? overlaid_snapshot_get(store, q->scope, q->wire.key, read_maps, &m,
							&q->err) :
				  0;

	p.uid_map = m.uids[0] ? m.uids : NULL;
	p.gid_map = m.gids[0] ? m.gids : NULL;
	return r < 0 ? r : overlaid_snapshot_mounts(store, &p, put_mount, q, &q->err);
}

static int commit(struct request *q, struct overlaid *store)
{
	const struct overlaid_commit c = { .scope = q->scope,
					   .key = q->wire.key,
					   .name = q->wire.name,
					   .parent = q->wire.parent,
					   .chain_id = q->chain_id[0] ? q->chain_id : NULL,
					   .labels = q->wire.labels,
					   .label_count = q->wire.label_count,
					   .flushed = q->flushed };

	int r = overlaid_snapshot_commit(store, &c, &q->err);

	/* Where its layer was here, its own tree goes. */
	if (r >= 0)
		janitor_wake(q->serve->janitor);
	return r;
}

static int remove_snapshot(struct request *q, struct overlaid *store)
{
	int r = overlaid_snapshot_remove(store, q->scope, q->wire.key, &q->err);

	if (r >= 0)
		janitor_wake(q->serve->janitor);
	return r;
}

/* A mask of paths "labels" and "labels.KEY"; none: all labels. */
static int update(struct request *q, struct overlaid *store)
{
	auto_free struct overlaid_label *changes = calloc(q->wire.mask_count + 1, sizeof(*changes));
	bool all = q->wire.mask_count == 0;
	size_t count = 0;

	if (!changes)
		return fail_oom(&q->err);
	for (size_t i = 0; i < q->wire.mask_count; i++) {
		const char *path = q->wire.mask[i];

		if (strcmp(path, "labels") == 0)
			all = true;
		else if (strncmp(path, "labels.", 7) == 0)
			changes[count++] = (struct overlaid_label){ path + 7, label(q, path + 7) };
		else
			return fail(&q->err, -EINVAL,
				    "cannot update \"%.100s\" field on snapshot \"%.300s\"", path,
				    q->wire.key);
	}
	return overlaid_snapshot_update(store, q->scope, q->wire.key,
					all ? q->wire.labels : changes,
					all ? q->wire.label_count : count, all, put_info, q,
					&q->err);
}

/* ---- who does it ---- */

static struct request *request_of(struct work_job *job)
{
	return (struct request *)job;
}

static void run_reading(struct work_job *job, struct overlaid *store)
{
	struct request *q = request_of(job);

	if (!is_given_up(q))
		q->r = q->method->run(q, store);
	finish(q);
}

static void run_writing(struct work_job *job, struct overlaid *store)
{
	struct request *q = request_of(job);

	if (!is_given_up(q))
		q->r = q->method->run(q, store);
}

static void run_flush(struct work_job *job, struct overlaid *store);

/* What seemed to make a flush needless may not, or be gone before the writer comes to it. */
static void finish_or_flush_again(struct request *q)
{
	if (q->r != -ESTALE || q->flushes == FLUSHES_MAX) {
		finish(q);
		return;
	}
	q->r = 0;
	q->waiting.job.run = run_flush;
	work_push(q->serve->helpers, &q->waiting.job);
}

static void finish_writing(struct work_job *job, int r, const struct err *err)
{
	struct request *q = request_of(job);

	if (r < 0 && q->r >= 0) {
		q->r = r;
		q->err = *err;
	}
	if (q->held)
		(void)sem_post(&q->told);
	else
		finish_or_flush_again(q);
}

static void to_writer(struct request *q)
{
	q->waiting.job.run = run_writing;
	q->waiting.job.finish = finish_writing;
	work_push(q->serve->writer, &q->waiting.job);
}

/* What is held stays until the writer is done with it. */
static void to_writer_holding(struct request *q, struct overlaid_hold *hold)
{
	if (!hold) {
		to_writer(q);
		return;
	}
	(void)sem_init(&q->told, 0, 0);
	q->held = true;
	to_writer(q);
	while (sem_wait(&q->told) < 0)
		;
	(void)sem_destroy(&q->told);
	q->held = false;
	overlaid_hold_release(hold);
	finish_or_flush_again(q);
}

static void run_chain(struct work_job *job, struct overlaid *store)
{
	struct request *q = request_of(job);
	struct overlaid_hold *hold = NULL;
	int r;

	if (is_given_up(q)) {
		finish(q);
		return;
	}
	r = overlaid_chain_hold(store, q->chain_id, &hold, &q->err);
	/* It can still be unpacked. */
	if (r < 0)
		serve_log("%s is not shared: %s", q->chain_id, q->err.text);
	if (r == 0 && q->serve->fetch && !q->fetched && label(q, LABEL_IMAGE)[0]) {
		q->fetched = true;
		if (fetch_image(q->serve->fetch, label(q, LABEL_IMAGE), label(q, LABEL_MANIFEST),
				&q->waiting))
			return;
	}
	to_writer_holding(q, hold);
}

static void run_flush(struct work_job *job, struct overlaid *store)
{
	struct request *q = request_of(job);
	struct overlaid_hold *hold = NULL;

	q->flushes++;
	if (!is_given_up(q) && q->chain_id[0] &&
	    overlaid_chain_hold(store, q->chain_id, &hold, &q->err) < 0)
		serve_log("%s is not shared: %s", q->chain_id, q->err.text);
	if (q->r >= 0)
		q->r = overlaid_snapshot_flush(store, q->scope, q->wire.key, q->flushes > 1,
					       &q->err);
	q->flushed = q->r > 0;
	if (q->r > 0)
		q->r = work_sync(q->serve->helpers, store, &q->err);
	if (q->r < 0) {
		overlaid_hold_release(hold);
		finish(q);
		return;
	}
	to_writer_holding(q, hold);
}

static void finish_cleaning(struct work_job *job, int r, const struct err *err)
{
	struct request *q = request_of(job);

	q->r = r;
	q->err = *err;
	finish(q);
}

#define SNAPSHOTS "/containerd.services.snapshots.v1.Snapshots/"

static const struct method methods[] = {
	{ SNAPSHOTS "Stat", WIRE_KEY, READERS, stat_snapshot },
	{ SNAPSHOTS "Mounts", WIRE_KEY, READERS, mounts },
	{ SNAPSHOTS "Prepare", WIRE_PREPARE, CHAIN_THEN_WRITER, prepare },
	{ SNAPSHOTS "View", WIRE_PREPARE, WRITER, view },
	{ SNAPSHOTS "Commit", WIRE_COMMIT, FLUSH_THEN_WRITER, commit },
	{ SNAPSHOTS "Remove", WIRE_KEY, WRITER, remove_snapshot },
	{ SNAPSHOTS "Update", WIRE_UPDATE, WRITER, update },
	{ SNAPSHOTS "List", WIRE_LIST, HELPERS, list },
	{ SNAPSHOTS "Usage", WIRE_KEY, WALKERS, usage },
	{ SNAPSHOTS "Cleanup", WIRE_CLEANUP, JANITOR, NULL },
	{ "/grpc.health.v1.Health/Check", WIRE_HEALTH, READERS, health },
};

static void send_to(struct request *q)
{
	enum where where = q->method->where;
	struct work_job *job = &q->waiting.job;

	if (where == CHAIN_THEN_WRITER && !may_share(q))
		where = WRITER;
	switch (where) {
	case READERS:
	case HELPERS:
	case WALKERS:
		job->run = run_reading;
		work_push(where == READERS ? q->serve->readers :
			  where == HELPERS ? q->serve->helpers :
					     q->serve->walkers,
			  job);
		break;
	case WRITER:
		to_writer(q);
		break;
	case CHAIN_THEN_WRITER:
	case FLUSH_THEN_WRITER:
		job->run = where == CHAIN_THEN_WRITER ? run_chain : run_flush;
		work_push(q->serve->helpers, job);
		break;
	case JANITOR:
		job->finish = finish_cleaning;
		janitor_ask(q->serve->janitor, job);
		break;
	}
}

void snapshots_dispatch(void *arg, struct grpc_call *call)
{
	const char *path = grpc_call_path(call);
	const struct method *method = NULL;
	struct request *q;

	for (size_t i = 0; i < ARRAY_LEN(methods) && !method; i++)
		if (strcmp(methods[i].path, path) == 0)
			method = &methods[i];
	if (!method) {
		grpc_call_finish(call, GRPC_UNIMPLEMENTED, "there is no such method here");
		return;
	}
	q = calloc(1, sizeof(*q));
	if (!q) {
		grpc_call_finish(call, GRPC_RESOURCE_EXHAUSTED, "out of memory");
		return;
	}
	q->serve = arg;
	q->call = call;
	q->method = method;
	q->answer.max = ANSWER_BYTES_MAX;
	q->r = read_request(q);
	if (q->r < 0)
		finish(q);
	else
		send_to(q);
}
