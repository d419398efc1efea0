/* SPDX-License-Identifier: Apache-2.0 */
/*
 * reference: "host/repository:tag@digest" as Docker's distribution/reference has it.
 *
 *	reference	::= name [":" tag] ["@" digest]
 *	name		::= [host "/"] path-component ["/" path-component]*
 *	host		::= component with ".", ":" or an upper-case letter, or "localhost"
 *	path-component	::= [a-z0-9]+ ((\. | _ | __ | -+) [a-z0-9]+)*
 *	tag		::= [A-Za-z0-9_] [A-Za-z0-9_.-]{0,127}
 *
 * Normalising: no host means docker.io; docker.io with one path component gets "library/";
 * index.docker.io is docker.io. Host and path together have at most 255 bytes. 64 hex digits alone
 * are an id, not a name.
 */
#ifndef GRAPH_NAME_REFERENCE_H
#define GRAPH_NAME_REFERENCE_H

#include <stddef.h>

#include "graph/overlaid.h"

/* overlaid_reference_parse() is declared in overlaid.h; tag stays "" where the text has neither tag
 * nor digest. */
int reference_parse(const char *text, struct overlaid_reference *ret, struct err *err);

/* Room for the text form of any reference. */
#define REFERENCE_TEXT_MAX (300 + 1 + 128 + 1 + 136)

/* "docker.io/library/nginx:latest", with "@digest" where there is one. */
void reference_text(const struct overlaid_reference *ref, char ret[REFERENCE_TEXT_MAX]);

#endif
