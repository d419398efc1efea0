/* SPDX-License-Identifier: Apache-2.0 */
/*
 * docker_json: what is in requests of the graphdriver protocol. Keys are those of moby's proxy, as it writes them;
 * others are ignored.
 */
#ifndef CMD_SERVE_DOCKER_JSON_H
#define CMD_SERVE_DOCKER_JSON_H

#include <stdint.h>

#include "driver/base/json.h"

#define DOCKER_ID_MAX 255

/* The body of a call. An empty one is a retry whose body dockerd has lost: -EBADMSG. */
int docker_json_parse(const void *body, size_t len, struct json **ret, struct err *err);

/* The text of a key, "" where it is missing or null; -EINVAL: it is something else. */
int docker_json_text(const struct json *j, const char *key, const char **ret, struct err *err);

/* A layer's id: [A-Za-z0-9_.-]+, but not "." and "..". */
int docker_check_id(const char *id, struct err *err);

/* [{"container_id":0,"host_id":100000,"size":65536},...] as "0:100000:65536,..."; null is "". The caller's. */
int docker_json_map(const struct json *j, const char *key, char **ret, struct err *err);

/* "10G", "512m", "1024": bytes; k, m, g, t are powers of 1024, with a "b" or "ib" behind them or without. Not 0. */
int docker_parse_size(const char *text, uint64_t *ret, struct err *err);

#endif
