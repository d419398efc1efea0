/* SPDX-License-Identifier: Apache-2.0 */
/*
 * layers: every layer, with who holds it.
 */
#include <stdio.h>
#include <string.h>

#include "graph/handle.h"
#include "graph/store/db.h"
#include "graph/store/layer.h"

struct held_layer {
	struct overlaid_layer layer;
	int64_t row;
	char *id, *diff_id;
	struct overlaid_holder *holders; /* strings owned */
};

struct holding {
	struct held_layer *layers; /* by row, until sorted at the end */
	size_t count, cap;
};

static void holding_release(struct holding *h)
{
	for (size_t i = 0; i < h->count; i++) {
		struct held_layer *l = &h->layers[i];

		for (size_t k = 0; k < l->layer.holder_count; k++) {
			free((char *)l->holders[k].id);
			free((char *)l->holders[k].name);
			free((char *)l->holders[k].scope);
		}
		free(l->holders);
		free((char *)l->layer.path);
		free(l->id);
		free(l->diff_id);
	}
	free(h->layers);
}

static enum overlaid_layer_kind kind_of(const char *name, bool adopted)
{
	if (adopted)
		return OVERLAID_LAYER_ADOPTED;
	if (strcmp(name, layer_kind_name(LAYER_BOUND)) == 0)
		return OVERLAID_LAYER_BOUND;
	return strcmp(name, layer_kind_name(LAYER_PATCH)) == 0 ? OVERLAID_LAYER_PATCH :
								 OVERLAID_LAYER_PLAIN;
}

static int read_layers(struct store *store, struct holding *h, struct err *err)
{
	auto_query struct db_query q = DB_QUERY_INIT;
	int r = db_query(store->db, &q, err,
			 "SELECT id, key, bytes, disk_bytes, entries, created, diff_id, kind,"
			 " adopted FROM layer ORDER BY id",
			 "");

	while (r >= 0 && (r = db_step(&q, err)) > 0) {
		struct held_layer *l;

		if (h->count == h->cap) {
			size_t cap = h->cap ? h->cap * 2 : 16;
			struct held_layer *more = reallocarray(h->layers, cap, sizeof(*more));

			if (!more)
				return fail_oom(err);
			h->layers = more;
			h->cap = cap;
		}
		l = &h->layers[h->count++];
		*l = (struct held_layer){ .row = db_int(&q, 0),
					  .id = strdup(db_text(&q, 1)),
					  .diff_id = strdup(db_text(&q, 6)) };
		l->layer = (struct overlaid_layer){ .id = l->id,
						    .kind = kind_of(db_text(&q, 7), db_int(&q, 8)),
						    .diff_id = l->diff_id,
						    .path = layer_path(store, db_text(&q, 1)),
						    .bytes = (uint64_t)db_int(&q, 2),
						    .disk_bytes = (uint64_t)db_int(&q, 3),
						    .entries = (uint64_t)db_int(&q, 4),
						    .created = db_int(&q, 5) };
		if (!l->id || !l->diff_id || !l->layer.path)
			return fail_oom(err);
	}
	return r;
}

static int add_holder(struct held_layer *l, enum overlaid_holder_kind kind,
		      const struct db_query *q, struct err *err)
{
	size_t n = l->layer.holder_count;
	struct overlaid_holder *more = (n & (n - 1)) == 0 ? reallocarray(l->holders, n ? n * 2 : 1,
									 sizeof(*more)) :
							    l->holders;

	if (!more)
		return fail_oom(err);
	l->holders = more;
	l->layer.holders = more;
	more[n] = (struct overlaid_holder){ .kind = kind,
					    .id = strdup(db_text(q, 1)),
					    .name = strdup(db_text(q, 2)),
					    .scope = strdup(db_text(q, 3)) };
	l->layer.holder_count++;
	return more[n].id && more[n].name && more[n].scope ? 0 : fail_oom(err);
}

static int read_holders(struct store *store, struct holding *h, enum overlaid_holder_kind kind,
			const char *sql, struct err *err)
{
	auto_query struct db_query q = DB_QUERY_INIT;
	size_t at = 0;
	int r = db_query(store->db, &q, err, sql, "");

	while (r >= 0 && (r = db_step(&q, err)) > 0) {
		while (at < h->count && h->layers[at].row < db_int(&q, 0))
			at++;
		if (at < h->count && h->layers[at].row == db_int(&q, 0))
			r = add_holder(&h->layers[at], kind, &q, err);
	}
	return r;
}

static int by_id(const void *a, const void *b)
{
	return strcmp(((const struct held_layer *)a)->id, ((const struct held_layer *)b)->id);
}

int overlaid_layers(struct overlaid *o, overlaid_layer_fn *fn, void *arg, struct err *err)
{
	static const struct {
		enum overlaid_holder_kind kind;
		const char *sql;
	} holders[] = {
		{ OVERLAID_HELD_BY_IMAGE,
		  "SELECT DISTINCT e.layer, i.image_id, (SELECT min(reference) FROM tag WHERE image = i.id), ''"
		  " FROM image_layer e JOIN image i ON i.id = e.image ORDER BY e.layer, e.image" },
		{ OVERLAID_HELD_BY_CONTAINER,
		  "SELECT DISTINCT e.layer, s.uid,"
		  " CASE s.kind WHEN 'view' THEN s.image_name ELSE s.name END, s.scope FROM snapshot_layer e"
		  " JOIN snapshot s ON s.id = e.snapshot"
		  " ORDER BY e.layer, e.snapshot" },
		{ OVERLAID_HELD_BY_SNAPSHOT,
		  "SELECT DISTINCT e.layer, k.uid, k.name, k.scope FROM keyed_layer e"
		  " JOIN keyed k ON k.id = e.keyed ORDER BY e.layer, e.keyed" },
		{ OVERLAID_HELD_BY_LEASE,
		  "SELECT e.layer, l.name, '', '' FROM lease_layer e"
		  " JOIN lease l ON l.id = e.lease ORDER BY e.layer, e.lease" },
	};
	AUTO(holding_release) struct holding h = { 0 };
	auto_transaction struct db_transaction t = DB_TRANSACTION_INIT;
	int r = db_begin_read(o->store->db, &t, err);

	if (r >= 0)
		r = read_layers(o->store, &h, err);
	for (size_t i = 0; r >= 0 && i < ARRAY_LEN(holders); i++)
		r = read_holders(o->store, &h, holders[i].kind, holders[i].sql, err);
	if (r < 0)
		return r;
	db_rollback(&t);
	if (h.count > 1)
		qsort(h.layers, h.count, sizeof(*h.layers), by_id);
	for (size_t i = 0; i < h.count; i++) {
		r = fn(arg, &h.layers[i].layer);
		if (r != 0)
			return r;
	}
	return 0;
}
