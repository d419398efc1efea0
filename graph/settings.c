/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "graph/handle.h"
#include "graph/store/db.h"

int overlaid_setting_get(struct overlaid *o, const char *name, char **ret_value, struct err *err)
{
	auto_query struct db_query q = DB_QUERY_INIT;
	char *value;
	int r = db_query(o->store->db, &q, err, "SELECT value FROM setting WHERE name = ?", "s",
			 name);

	if (r >= 0)
		r = db_step(&q, err);
	if (r <= 0)
		return r;
	value = strdup(db_text(&q, 0));
	if (!value)
		return fail_oom(err);
	*ret_value = value;
	return 1;
}

int overlaid_setting_set(struct overlaid *o, const char *name, const char *value, struct err *err)
{
	auto_transaction struct db_transaction t = DB_TRANSACTION_INIT;
	int r = db_begin(o->store->db, &t, err);

	if (r >= 0)
		r = db_run(o->store->db, err,
			   "INSERT INTO setting(name, value) VALUES(?1, ?2)"
			   " ON CONFLICT(name) DO UPDATE SET value = ?2",
			   "ss", name, value);
	return r < 0 ? r : db_commit(&t, err);
}
