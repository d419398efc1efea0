/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/template.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "cmd/template_call.h"

#define DEPTH_MAX 32

struct expr {
	enum { EXPR_LITERAL, EXPR_FIELD, EXPR_CALL } kind;
	const struct json *literal;
	/* EXPR_FIELD: keys from `base`, which is NULL for the dot, or for the record where `root` */
	struct expr *base;
	bool root;
	char **keys;
	size_t key_count;
	/* EXPR_CALL */
	const struct template_function *function;
	struct expr **args;
	size_t arg_count;
};

struct nodes {
	struct node *items;
	size_t count;
};

struct node {
	enum { NODE_TEXT, NODE_PRINT, NODE_IF, NODE_RANGE, NODE_WITH } kind;
	char *text;
	struct expr *expr;
	struct nodes body, otherwise;
};

/* Everything a template is made of is freed with it, so that parsing can stop anywhere. */
struct template
{
	struct nodes nodes;
	struct scratch literals;
	void **memory;
	size_t memory_count;
};

struct parser {
	struct template *t;
	const char *start, *at;
	struct err *err;
	int depth;
	bool trim; /* the last action ended with "-}}" */
};

enum ending { END_OF_TEXT, END_OF_BLOCK, END_AT_ELSE };

static int parse_nodes(struct parser *p, struct nodes *nodes, enum ending *ret);
static struct expr *parse_pipeline(struct parser *p);

static int wrong(struct parser *p, const char *what)
{
	if (!*p->at)
		return fail(p->err, -EINVAL, "template: %s at its end", what);
	return fail(p->err, -EINVAL, "template: %s at '%.20s' (character %zu)", what, p->at,
		    (size_t)(p->at - p->start) + 1);
}

/* Zeroed memory that lives as long as the template. */
static void *keep(struct parser *p, size_t size)
{
	struct template *t = p->t;
	void **memory = realloc(t->memory, (t->memory_count + 1) * sizeof(*memory));
	void *piece;

	if (memory)
		t->memory = memory;
	piece = memory ? calloc(1, size) : NULL;
	if (!piece)
		(void)fail_oom(p->err);
	else
		t->memory[t->memory_count++] = piece;
	return piece;
}

static char *keep_text(struct parser *p, const char *text, size_t len)
{
	char *copy = keep(p, len + 1);

	if (copy)
		memcpy(copy, text, len);
	return copy;
}

/* `items` with room for one more: an array that holds a power of two is full, and moves to one of
 * twice the size. */
static void *keep_room(struct parser *p, void *items, size_t count, size_t item_size)
{
	void *grown;

	if (count & (count - 1))
		return items;
	grown = keep(p, (count ? count * 2 : 1) * item_size);
	if (grown && count)
		memcpy(grown, items, count * item_size);
	return grown;
}

static struct node *add_node(struct parser *p, struct nodes *nodes)
{
	struct node *items = keep_room(p, nodes->items, nodes->count, sizeof(*items));

	if (!items)
		return NULL;
	nodes->items = items;
	items[nodes->count] = (struct node){ 0 };
	return &items[nodes->count++];
}

static void skip_space(struct parser *p)
{
	while (isspace((unsigned char)*p->at))
		p->at++;
}

static bool name_char(char c)
{
	return isalnum((unsigned char)c) || c == '_' || (unsigned char)c >= 0x80;
}

static size_t name_len(const char *text)
{
	size_t len = 0;

	while (name_char(text[len]))
		len++;
	return len;
}

static bool at_close(const struct parser *p)
{
	return strncmp(p->at, "}}", 2) == 0 || strncmp(p->at, "-}}", 3) == 0;
}

static int close_action(struct parser *p)
{
	skip_space(p);
	if (!at_close(p))
		return wrong(p, *p->at ? "unexpected words" : "{{ without }}");
	p->trim = *p->at == '-';
	p->at += p->trim ? 3 : 2;
	return 0;
}

/* The word at the cursor is `word` and nothing longer: moves behind it. */
static bool take_word(struct parser *p, const char *word)
{
	size_t len = strlen(word);

	skip_space(p);
	if (name_len(p->at) != len || strncmp(p->at, word, len) != 0)
		return false;
	p->at += len;
	return true;
}

static struct expr *new_expr(struct parser *p, int kind)
{
	struct expr *e = keep(p, sizeof(*e));

	if (e)
		e->kind = kind;
	return e;
}

static struct expr *literal(struct parser *p, struct json *value)
{
	const struct json *kept = scratch_keep(&p->t->literals, value, p->err);
	struct expr *e = kept ? new_expr(p, EXPR_LITERAL) : NULL;

	if (e)
		e->literal = kept;
	return e;
}

/* ".A.B" from the cursor, on top of `base`. */
static struct expr *parse_fields(struct parser *p, struct expr *base, bool root)
{
	struct expr *e = new_expr(p, EXPR_FIELD);

	if (!e)
		return NULL;
	e->base = base;
	e->root = root;
	while (*p->at == '.') {
		size_t len = name_len(p->at + 1);
		char **keys;

		if (len == 0 && e->key_count == 0 && !base && !root) { /* the dot alone */
			p->at++;
			return e;
		}
		if (len == 0) {
			(void)wrong(p, "'.' without a field's name");
			return NULL;
		}
		keys = keep_room(p, e->keys, e->key_count, sizeof(*keys));
		if (!keys)
			return NULL;
		e->keys = keys;
		e->keys[e->key_count] = keep_text(p, p->at + 1, len);
		if (!e->keys[e->key_count++])
			return NULL;
		p->at += len + 1;
	}
	return e;
}

/* A character behind a backslash, as far as Go's strings and shell habits need them. */
static char unescape(char c)
{
	switch (c) {
	case 'n':
		return '\n';
	case 't':
		return '\t';
	case '"':
	case '\\':
		return c;
	}
	return 0;
}

static struct expr *parse_string(struct parser *p)
{
	auto_buf struct buf text = { .max = TEMPLATE_MAX };
	char quote = *p->at++;

	while (*p->at && *p->at != quote) {
		char c = *p->at;

		if (c == '\\' && quote == '"') {
			c = unescape(p->at[1]);
			if (!c) {
				(void)wrong(p, "unknown escape");
				return NULL;
			}
			p->at++;
		}
		(void)buf_putc(&text, c);
		p->at++;
	}
	if (!*p->at) {
		(void)wrong(p, "text without its closing quote");
		return NULL;
	}
	p->at++;
	return literal(p, json_new_string(buf_text(&text)));
}

static struct expr *parse_parentheses(struct parser *p)
{
	struct expr *e;

	if (++p->depth > DEPTH_MAX) {
		(void)wrong(p, "too deep");
		return NULL;
	}
	p->at++;
	e = parse_pipeline(p);
	p->depth--;
	if (!e)
		return NULL;
	skip_space(p);
	if (*p->at != ')') {
		(void)wrong(p, "( without )");
		return NULL;
	}
	p->at++;
	return *p->at == '.' ? parse_fields(p, e, false) : e;
}

static struct expr *parse_number(struct parser *p)
{
	char *end;
	long long value;

	errno = 0;
	value = strtoll(p->at, &end, 10);
	if (errno || name_char(*end) || *end == '.') {
		(void)wrong(p, "not a whole number");
		return NULL;
	}
	p->at = end;
	return literal(p, json_new_int(value));
}

static struct expr *parse_operand(struct parser *p)
{
	skip_space(p);
	if (*p->at == '.')
		return parse_fields(p, NULL, false);
	if (*p->at == '$') {
		if (name_len(p->at + 1)) {
			(void)wrong(p, "variables are not supported,");
			return NULL;
		}
		p->at++;
		return parse_fields(p, NULL, true);
	}
	if (*p->at == '"' || *p->at == '`')
		return parse_string(p);
	if (*p->at == '(')
		return parse_parentheses(p);
	if (isdigit((unsigned char)*p->at) || (*p->at == '-' && isdigit((unsigned char)p->at[1])))
		return parse_number(p);
	if (take_word(p, "true"))
		return literal(p, json_new_bool(true));
	if (take_word(p, "false"))
		return literal(p, json_new_bool(false));
	if (take_word(p, "nil"))
		return literal(p, json_new_null());
	(void)wrong(p, at_close(p) || !*p->at ? "nothing to print" : "not understood:");
	return NULL;
}

static int add_arg(struct parser *p, struct expr *call, struct expr *arg)
{
	struct expr **args = arg ? keep_room(p, call->args, call->arg_count,
					     sizeof(struct expr *)) :
				   NULL;

	if (!args)
		return -EINVAL; /* words are there */
	call->args = args;
	call->args[call->arg_count++] = arg;
	return 0;
}

static int unknown_function(struct parser *p, size_t len)
{
	auto_buf struct buf names = { 0 };

	template_function_names(&names);
	return fail(p->err, -EINVAL, "template: no function %.*s; there are: %s", (int)len, p->at,
		    buf_text(&names));
}

static struct expr *parse_call(struct parser *p, size_t len, struct expr *piped)
{
	struct expr *e = new_expr(p, EXPR_CALL);

	if (!e)
		return NULL;
	e->function = template_function_find(p->at, len);
	if (!e->function) {
		(void)unknown_function(p, len);
		return NULL;
	}
	p->at += len;
	for (skip_space(p); *p->at && *p->at != '|' && *p->at != ')' && !at_close(p);
	     skip_space(p)) {
		if (add_arg(p, e, parse_operand(p)) < 0)
			return NULL;
	}
	if (piped && add_arg(p, e, piped) < 0)
		return NULL;
	if (e->arg_count < e->function->min_args || e->arg_count > e->function->max_args) {
		(void)fail(p->err, -EINVAL, "template: %s takes %zu%s arguments, not %zu",
			   e->function->name, e->function->min_args,
			   e->function->max_args > e->function->min_args ? " or more" : "",
			   e->arg_count);
		return NULL;
	}
	return e;
}

static bool at_word(const struct parser *p, size_t len, const char *word)
{
	return strlen(word) == len && strncmp(p->at, word, len) == 0;
}

static struct expr *parse_command(struct parser *p, struct expr *piped)
{
	size_t len;

	skip_space(p);
	len = isdigit((unsigned char)*p->at) ? 0 : name_len(p->at);
	if (len && !at_word(p, len, "true") && !at_word(p, len, "false") && !at_word(p, len, "nil"))
		return parse_call(p, len, piped);
	if (piped) {
		(void)wrong(p, "no function behind |");
		return NULL;
	}
	return parse_operand(p);
}

static struct expr *parse_pipeline(struct parser *p)
{
	struct expr *e = parse_command(p, NULL);

	for (skip_space(p); e && *p->at == '|'; skip_space(p)) {
		p->at++;
		e = parse_command(p, e);
	}
	return e;
}

/* From behind "{{if" to behind its "{{end}}". */
static int parse_block(struct parser *p, struct node *node)
{
	enum ending ending;
	struct node *nested;
	int r;

	if (++p->depth > DEPTH_MAX)
		return wrong(p, "too deep");
	node->expr = parse_pipeline(p);
	if (!node->expr)
		return -EINVAL;
	r = close_action(p);
	if (r == 0)
		r = parse_nodes(p, &node->body, &ending);
	if (r == 0 && ending == END_AT_ELSE && take_word(p, "if")) {
		nested = add_node(p, &node->otherwise);
		if (!nested)
			return -ENOMEM;
		nested->kind = NODE_IF;
		r = parse_block(p, nested); /* its end is ours */
		p->depth--;
		return r;
	}
	if (r == 0)
		r = ending == END_OF_TEXT ? wrong(p, "a block without {{end}}") : close_action(p);
	if (r == 0 && ending == END_AT_ELSE) {
		r = parse_nodes(p, &node->otherwise, &ending);
		if (r == 0)
			r = ending == END_OF_BLOCK ? close_action(p) :
						     wrong(p, "a block without {{end}}");
	}
	p->depth--;
	return r;
}

/* What stands in {{ }}. *ret_ending: whether it ends the nodes around it; the cursor is then behind
 * the word. */
static int parse_action(struct parser *p, struct nodes *nodes, enum ending *ret_ending)
{
	static const struct {
		const char *word;
		int kind;
	} blocks[] = { { "if", NODE_IF }, { "range", NODE_RANGE }, { "with", NODE_WITH } };
	struct node *node;

	if (take_word(p, "end")) {
		*ret_ending = END_OF_BLOCK;
		return 0;
	}
	if (take_word(p, "else")) {
		*ret_ending = END_AT_ELSE;
		return 0;
	}
	node = add_node(p, nodes);
	if (!node)
		return -ENOMEM;
	for (size_t i = 0; i < ARRAY_LEN(blocks); i++) {
		struct node block = { .kind = blocks[i].kind };

		if (!take_word(p, blocks[i].word))
			continue;
		*node = block;
		return parse_block(p, node);
	}
	node->kind = NODE_PRINT;
	node->expr = parse_pipeline(p);
	return node->expr ? close_action(p) : -EINVAL;
}

/* Text up to `end`, with "\t" and "\n" made what they stand for. */
static int add_text(struct parser *p, struct nodes *nodes, const char *end, bool trim_end)
{
	struct node *node;
	size_t len = 0;
	char *text;

	while (p->trim && p->at < end && isspace((unsigned char)*p->at))
		p->at++;
	p->trim = false;
	while (trim_end && end > p->at && isspace((unsigned char)end[-1]))
		end--;
	if (p->at >= end)
		return 0;
	node = add_node(p, nodes);
	text = node ? keep(p, (size_t)(end - p->at) + 1) : NULL;
	if (!text)
		return -ENOMEM;
	for (const char *c = p->at; c < end; c++) {
		bool escape = *c == '\\' && c + 1 < end && (c[1] == 'n' || c[1] == 't');

		text[len++] = escape ? unescape(c[1]) : *c;
		c += escape;
	}
	node->kind = NODE_TEXT;
	node->text = text;
	return 0;
}

static int skip_comment(struct parser *p)
{
	const char *end = strstr(p->at, "*/");

	if (!end)
		return wrong(p, "comment without its end");
	p->at = end + 2;
	return close_action(p);
}

static int parse_nodes(struct parser *p, struct nodes *nodes, enum ending *ret)
{
	enum ending ending = END_OF_TEXT;
	int r = 0;

	while (r == 0 && ending == END_OF_TEXT && *p->at) {
		const char *open = strstr(p->at, "{{");
		bool trim = open && open[2] == '-' && isspace((unsigned char)open[3]);

		r = add_text(p, nodes, open ? open : p->at + strlen(p->at), trim);
		if (r < 0)
			return r;
		if (!open) {
			p->at += strlen(p->at);
			break;
		}
		p->at = open + (trim ? 3 : 2);
		skip_space(p);
		r = strncmp(p->at, "/*", 2) == 0 ? skip_comment(p) :
						   parse_action(p, nodes, &ending);
	}
	*ret = ending;
	return r;
}

int template_new(const char *text, struct template **ret, struct err *err)
{
	auto_template struct template *t = calloc(1, sizeof(*t));
	struct parser p = { .t = t, .start = text, .at = text, .err = err };
	enum ending ending;
	int r;

	if (!t)
		return fail_oom(err);
	if (strlen(text) > TEMPLATE_MAX)
		return fail(err, -EINVAL, "template: longer than %zu bytes", TEMPLATE_MAX);
	r = parse_nodes(&p, &t->nodes, &ending);
	if (r < 0)
		return r;
	if (ending != END_OF_TEXT)
		return wrong(&p, "{{end}} or {{else}} without a block");
	*ret = take_ptr(t);
	return 0;
}

void template_free(struct template *t)
{
	if (!t)
		return;
	scratch_release(&t->literals);
	for (size_t i = 0; i < t->memory_count; i++)
		free(t->memory[i]);
	free(t->memory);
	free(t);
}

void template_freep(struct template **t)
{
	int saved = errno;

	template_free(*t);
	errno = saved;
}

/* ---- running ---- */

struct run {
	const struct json *record;
	struct scratch scratch;
	struct buf *out;
	struct err *err;
};

static const struct json *eval(struct run *run, const struct expr *e, const struct json *dot);
static int run_nodes(struct run *run, const struct nodes *nodes, const struct json *dot);

/* Objects whose keys are the user's data, not ours: a missing one is no mistake. */
static bool is_data(const char *name)
{
	static const char *const names[] = { "Labels", "Annotations", "ExposedPorts", "Volumes" };

	for (size_t i = 0; name && i < ARRAY_LEN(names); i++) {
		if (strcasecmp(names[i], name) == 0)
			return true;
	}
	return false;
}

static const struct json *no_field(struct run *run, const struct json *object, const char *key)
{
	auto_buf struct buf names = { .max = 1500 };

	for (size_t i = 0; i < object->count; i++)
		(void)buf_printf(&names, "%s%s", i ? ", " : "", object->keys[i]);
	(void)fail(run->err, -EINVAL, "template: no field %s; there are: %s", key,
		   buf_text(&names));
	return NULL;
}

static const struct json *get_field(struct run *run, const struct json *in, const char *key,
				    const char *parent)
{
	const struct json *found;

	if (in->type == JSON_NULL)
		return in;
	if (in->type != JSON_OBJECT) {
		(void)fail(run->err, -EINVAL, "template: no field %s: %s%s is %s", key,
			   parent ? "." : "the value", parent ? parent : "", value_type(in));
		return NULL;
	}
	found = json_get_key(in, key);
	for (size_t i = 0; !found && !is_data(parent) && i < in->count; i++) {
		if (strcasecmp(in->keys[i], key) == 0)
			found = in->items[i];
	}
	if (found)
		return found;
	return is_data(parent) ? scratch_keep(&run->scratch, json_new_null(), run->err) :
				 no_field(run, in, key);
}

static const struct json *eval_field(struct run *run, const struct expr *e, const struct json *dot)
{
	const struct json *value = e->base ? eval(run, e->base, dot) : e->root ? run->record : dot;

	for (size_t i = 0; value && i < e->key_count; i++)
		value = get_field(run, value, e->keys[i], i ? e->keys[i - 1] : NULL);
	return value;
}

static const struct json *eval_call(struct run *run, const struct expr *e, const struct json *dot)
{
	const struct json *args[10];

	for (size_t i = 0; i < e->arg_count; i++) {
		args[i] = eval(run, e->args[i], dot);
		if (!args[i])
			return NULL;
	}
	return e->function->call(&run->scratch, args, e->arg_count, run->err);
}

/* NULL: failed, with words. */
static const struct json *eval(struct run *run, const struct expr *e, const struct json *dot)
{
	if (e->kind == EXPR_LITERAL)
		return e->literal;
	return e->kind == EXPR_FIELD ? eval_field(run, e, dot) : eval_call(run, e, dot);
}

static int run_range(struct run *run, const struct node *node, const struct json *over,
		     const struct json *dot)
{
	auto_free size_t *order = NULL;

	if (over->type != JSON_ARRAY && over->type != JSON_OBJECT && over->type != JSON_NULL)
		return fail(run->err, -EINVAL, "template: range over %s", value_type(over));
	if (over->count == 0)
		return run_nodes(run, &node->otherwise, dot);
	if (over->type == JSON_OBJECT) {
		order = value_sorted(over);
		if (!order)
			return fail_oom(run->err);
	}
	for (size_t i = 0; i < over->count; i++) {
		int r = run_nodes(run, &node->body, over->items[order ? order[i] : i]);

		if (r < 0)
			return r;
	}
	return 0;
}

static int run_node(struct run *run, const struct node *node, const struct json *dot)
{
	const struct json *value;

	if (node->kind == NODE_TEXT) {
		(void)buf_puts(run->out, node->text);
		return buf_status(run->out, run->err);
	}
	value = eval(run, node->expr, dot);
	if (!value)
		return -EINVAL;
	if (node->kind == NODE_RANGE)
		return run_range(run, node, value, dot);
	if (node->kind == NODE_PRINT) {
		value_print(value, run->out);
		return buf_status(run->out, run->err);
	}
	if (!value_true(value))
		return run_nodes(run, &node->otherwise, dot);
	return run_nodes(run, &node->body, node->kind == NODE_WITH ? value : dot);
}

static int run_nodes(struct run *run, const struct nodes *nodes, const struct json *dot)
{
	for (size_t i = 0; i < nodes->count; i++) {
		int r = run_node(run, &nodes->items[i], dot);

		if (r < 0)
			return r;
	}
	return 0;
}

int template_run(const struct template *t, const struct json *record, struct buf *out,
		 struct err *err)
{
	struct run run = { .record = record, .out = out, .err = err };
	int r = run_nodes(&run, &t->nodes, record);

	scratch_release(&run.scratch);
	return r;
}
