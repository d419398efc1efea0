/* SPDX-License-Identifier: Apache-2.0 */
/* What is expected is what Go's text/template prints, where nothing else is said. */
#include "cmd/template.h"
#include "tests/unit/util.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

static const char record_text[] =
	"{\"ID\":\"sha256:ab\",\"Size\":1500,\"Ok\":true,\"No\":false,\"Nothing\":null,\"Empty\":\"\","
	"\"Tags\":[\"nginx:latest\",\"nginx:1\"],\"None\":[],\"Labels\":{\"b\":\"2\",\"a\":\"1\"},"
	"\"Config\":{\"Env\":[\"A=1\",\"B=2\"],\"User\":\"web\",\"Labels\":{\"org.x\":\"y\"}},"
	"\"Mounts\":[{\"Source\":\"/a\"},{\"Source\":\"/b\"}]}";

static struct json *record;

static int parse_record(void **state)
{
	return json_parse(record_text, strlen(record_text), SIZE_MAX, "record", &record, NULL);
}

static int free_record(void **state)
{
	json_free(record);
	return 0;
}

static void gives(const char *text, const char *expected)
{
	auto_template struct template *t = NULL;
	auto_buf struct buf out = { 0 };
	struct err err = { 0 };

	if (template_new(text, &t, &err) < 0 || template_run(t, record, &out, &err) < 0)
		fail_msg("%s: %s", text, err.text);
	assert_string_equal(buf_text(&out), expected);
}

/* Fails, while it is read or when it runs. */
static void refused(const char *text, const char *why)
{
	auto_template struct template *t = NULL;
	auto_buf struct buf out = { 0 };
	struct err err = { 0 };

	if (template_new(text, &t, &err) == 0 && template_run(t, record, &out, &err) == 0)
		fail_msg("%s: gave '%s'", text, buf_text(&out));
	assert_words(&err, why);
}

static void fields_are_printed_as_go_prints_them(void **state)
{
	gives("{{.ID}} {{.Size}} {{ .Ok }}/{{.No}}", "sha256:ab 1500 true/false");
	gives("{{.Tags}} {{.Labels}} {{.None}}", "[nginx:latest nginx:1] map[a:1 b:2] []");
	gives("{{.Config.User}}{{.Config.Labels}}{{.Empty}}", "webmap[org.x:y]");
	gives("{{.Nothing}} {{.Nothing.Deeper}}", "<no value> <no value>");
	gives("no action }} here {", "no action }} here {");
	gives("", "");
}

static void field_names_need_not_match_in_case(void **state)
{
	gives("{{.Id}} {{.config.user}}", "sha256:ab web");
}

static void an_unknown_field_is_named_with_those_that_exist(void **state)
{
	refused("{{.Foo}}",
		"no field Foo; there are: ID, Size, Ok, No, Nothing, Empty, Tags, None, Labels, Config, Mounts");
	refused("{{.Config.Foo}}", "no field Foo; there are: Env, User, Labels");
	refused("{{.Size.Foo}}", ".Size is a number");
	gives("{{.Labels.nope}} {{.Config.Labels.nope}}", "<no value> <no value>");
}

static void functions_work_on_values(void **state)
{
	gives("{{json .Tags}} {{json .ID}} {{json .Nothing}}",
	      "[\"nginx:latest\",\"nginx:1\"] \"sha256:ab\" null");
	gives("{{len .Tags}} {{len .ID}} {{len .Labels}} {{len .Nothing}}", "2 9 2 0");
	gives("{{join .Tags \", \"}}|{{join .Nothing \",\"}}", "nginx:latest, nginx:1|");
	gives("{{index .Tags 1}} {{index .Labels \"a\"}}", "nginx:1 1");
	gives("{{index .Config.Labels \"org.x\"}} {{index .Mounts 1 \"Source\"}}", "y /b");
	gives("{{index .Labels \"zz\"}}", "<no value>");
	gives("{{upper .ID}} {{lower \"ABC\"}} {{split \"a:b\" \":\"}}", "SHA256:AB abc [a b]");
	gives("{{println .ID 1}}{{print \"a\" 1 2 \"b\"}}", "sha256:ab 1\na1 2b");
	gives("{{eq .ID \"sha256:ab\"}} {{eq .Size 1 1500}} {{ne .Ok true}} {{not .Empty}}",
	      "true true false true");
	gives("{{and .Ok .ID}} {{or .Empty .ID}} {{or .Empty .No}}", "sha256:ab sha256:ab false");
}

static void pipes_and_parentheses_nest(void **state)
{
	gives("{{.Tags | len}} {{.Config.Env | json}} {{index .Tags 0 | upper}}",
	      "2 [\"A=1\",\"B=2\"] NGINX:LATEST");
	gives("{{len (index .Tags 0)}} {{(index .Mounts 0).Source}} {{ ( .ID ) }}",
	      "12 /a sha256:ab");
	gives("{{\"a|b)\" | print}}", "a|b)");
}

static void blocks_choose_and_repeat(void **state)
{
	gives("{{if .Ok}}yes{{else}}no{{end}} {{if .Empty}}yes{{else}}no{{end}} {{if .None}}x{{end}}",
	      "yes no ");
	gives("{{if .No}}a{{else if .Empty}}b{{else if .Ok}}c{{else}}d{{end}}!", "c!");
	gives("{{range .Tags}}<{{.}}>{{end}} {{range .None}}x{{else}}none{{end}}",
	      "<nginx:latest><nginx:1> none");
	gives("{{range .Labels}}{{.}},{{end}}", "1,2,");
	gives("{{range .Mounts}}{{.Source}}={{$.Size}} {{end}}", "/a=1500 /b=1500 ");
	gives("{{with .Config}}{{.User}}{{end}}{{with .Nothing}}x{{else}}-{{end}}", "web-");
	gives("{{range .Mounts}}{{range $.Tags}}{{if eq . \"nginx:1\"}}{{.}} {{end}}{{end}}{{end}}",
	      "nginx:1 nginx:1 ");
}

static void spaces_are_trimmed_where_dashes_say_so(void **state)
{
	gives("a  {{- .Size -}}  \n b", "a1500b");
	gives("a {{/* a comment }} */}}b {{- /* c */ -}} c", "a bc");
	gives("{{-1}}", "-1");
}

static void escapes_in_the_text_are_made_what_they_stand_for(void **state)
{
	gives("{{.ID}}\\t{{.Size}}\\n\\x", "sha256:ab\t1500\n\\x");
	gives("{{join .Tags \"\\n\"}}", "nginx:latest\nnginx:1");
	gives("{{`raw\\n`}}", "raw\\n");
}

static void mistakes_are_refused_with_their_place(void **state)
{
	refused("{{.ID", "{{ without }}");
	refused("ab {{.ID x}}", "unexpected words at 'x}}' (character 10)");
	refused("{{}}", "nothing to print");
	refused("{{nope .ID}}", "no function nope; there are: json, len");
	refused("{{join .Tags}}", "join takes 2 arguments, not 1");
	refused("{{if .Ok}}x", "without {{end}}");
	refused("{{if .Ok}}x{{else}}y", "without {{end}}");
	refused("x{{end}}", "without a block");
	refused("{{if .Ok}}{{else}}{{else}}{{end}}", "{{end}}");
	refused("{{range $i, $e := .Tags}}{{end}}", "variables are not supported");
	refused("{{\"abc}}", "closing quote");
	refused("{{(.ID}}", "( without )");
	refused("{{.ID | .Size}}", "no function behind |");
	refused("{{.}}{{..}}", "unexpected words at '.}}'");
	refused("{{.ID.}}", "without a field's name");
	refused("{{12x}}", "not a whole number");
	refused("{{99999999999999999999}}", "not a whole number");
	refused("{{range .ID}}{{end}}", "range over text");
	refused("{{index .Tags 2}}", "index 2 of a list of 2");
	refused("{{index .Tags -1}}", "index -1 of a list of 2");
	refused("{{len .Ok}}", "len of a boolean");
	refused("{{/* x", "comment");
}

static void depth_and_length_have_limits(void **state)
{
	auto_buf struct buf deep = { 0 }, blocks = { 0 }, longest = { 0 };
	auto_template struct template *t = NULL;

	for (int i = 0; i < 40; i++) {
		(void)buf_puts(&deep, i ? "(" : "{{(");
		(void)buf_puts(&blocks, "{{if .Ok}}");
	}
	refused(buf_text(&deep), "too deep");
	refused(buf_text(&blocks), "too deep");
	while (longest.len + 5 <= TEMPLATE_MAX)
		(void)buf_puts(&longest, "{{.}}");
	assert_int_equal(template_new(buf_text(&longest), &t, NULL), 0);
	(void)buf_puts(&longest, "12345");
	refused(buf_text(&longest), "longer than 65536 bytes");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fields_are_printed_as_go_prints_them),
		cmocka_unit_test(field_names_need_not_match_in_case),
		cmocka_unit_test(an_unknown_field_is_named_with_those_that_exist),
		cmocka_unit_test(functions_work_on_values),
		cmocka_unit_test(pipes_and_parentheses_nest),
		cmocka_unit_test(blocks_choose_and_repeat),
		cmocka_unit_test(spaces_are_trimmed_where_dashes_say_so),
		cmocka_unit_test(escapes_in_the_text_are_made_what_they_stand_for),
		cmocka_unit_test(mistakes_are_refused_with_their_place),
		cmocka_unit_test(depth_and_length_have_limits),
	};

	return cmocka_run_group_tests_name("template", tests, parse_record, free_record);
}
