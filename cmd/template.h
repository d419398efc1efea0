/* SPDX-License-Identifier: Apache-2.0 */
/*
 * template: what people type behind --format, a part of Go's text/template, over JSON.
 *
 *	text {{.Field}} {{.A.B}} {{.}} {{$}}          fields of the record; {{-  -}} eat the space
 *around
 *	{{if P}} {{else if P}} {{else}} {{end}}       false: false, 0, "", null, empty
 *	{{range P}} {{else}} {{end}}                  items of an array, values of an object by key;
 *{{with P}} likewise P: FUNCTION ARGUMENT... , P | FUNCTION ... , (P), "text", `text`, 12, true,
 *false, nil functions: json len join index upper lower split print println eq ne not and or comments
 *as in Go; no variables
 *
 * "\t" and "\n" written out in the text are a tab and a newline, as docker has it. A field that
 *does not exist is an error that lists those that do; names are compared exactly first, then
 *without regard to case (.Id is .ID). In an object whose keys are data (Labels) a missing key is
 *"<no value>". Limits: TEMPLATE_MAX bytes, blocks and parentheses 32 deep.
 */
#ifndef CMD_TEMPLATE_H
#define CMD_TEMPLATE_H

#include "driver/base/auto.h"
#include "driver/base/buf.h"
#include "driver/base/err.h"
#include "driver/base/json.h"

#define TEMPLATE_MAX ((size_t)64 << 10)

struct template;

/* -EINVAL with words that say where; *ret is the caller's. */
int template_new(const char *text, struct template **ret, struct err *err);
void template_free(struct template *t);
void template_freep(struct template **t);
#define auto_template AUTO(template_freep)

/* Appends what `t` makes of `record`. -EINVAL: the record does not fit the template. */
int template_run(const struct template *t, const struct json *record, struct buf *out,
		 struct err *err);

#endif
