/* SPDX-License-Identifier: Apache-2.0 */
/* overlaid: the command line. From the words to a verb, and from its result to an exit status. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cmd/app.h"
#include "cmd/background.h"
#include "driver/base/auto.h"

/* Descriptors 0 to 2 are open from here on: else the database would become somebody's stdout. */
static bool secure_stdio(void)
{
	for (int fd = 0; fd < 3; fd++) {
		/* What is closed stays useless: reading from 1 or 2 and writing to 0 is not what
		 * programs do. */
		if (fcntl(fd, F_GETFD) < 0 &&
		    open("/dev/null", fd == 0 ? O_WRONLY : O_RDONLY) != fd)
			return false;
	}
	return true;
}

static int take_globals(struct app *app, struct err *err)
{
	if (!app->durability || strcmp(app->durability, "full") == 0)
		app->store_options.durability = OVERLAID_DURABLE;
	else if (strcmp(app->durability, "none") == 0)
		app->store_options.durability = OVERLAID_VOLATILE;
	else
		return fail(err, -EINVAL, "--durability is full or none, not '%.60s'",
			    app->durability);
	app->store_options.root = app->root;
	app->store_options.run = app->run;
	app->store_options.progress = progress_event;
	app->store_options.progress_arg = &app->progress;
	app->store_options.limits = app->limits.items;
	app->store_options.limit_count = app->limits.count;
	if (overlaid_limits(&app->store_options, NULL, NULL, err) < 0)
		return -EINVAL;
	return progress_init(&app->progress, app->progress_name, app->quiet, err);
}

static int check_count(const struct app *app, size_t count)
{
	const struct verb *verb = app->verb;

	if (count < verb->min_args)
		return app_usage(app, "%s needs %s%zu argument%s: overlaid %s %s", verb->name,
				 verb->max_args > verb->min_args ? "at least " : "", verb->min_args,
				 verb->min_args == 1 ? "" : "s", verb->name, verb->args);
	if (count > verb->max_args && verb->max_args == 0)
		return app_usage(app, "%s takes no arguments", verb->name);
	if (count > verb->max_args)
		return app_usage(app, "%s takes at most %zu argument%s: overlaid %s %s", verb->name,
				 verb->max_args, verb->max_args == 1 ? "" : "s", verb->name,
				 verb->args);
	return 0;
}

static int run_verb(struct app *app, char **words, size_t count)
{
	max_align_t options[OPTIONS_SIZE_MAX / sizeof(max_align_t)] = { 0 };
	struct option_set sets[2] = {
		{ app->verb->options, app->verb->option_count, options },
		{ global_options, global_option_count - 1, app }, /* all but --version */
	};
	struct err err = { 0 };
	int r;

	r = options_parse(sets, ARRAY_LEN(sets),
			  app->verb->stop_after ? app->verb->stop_after : SIZE_MAX, words, count,
			  &count, &err);
	if (r == 0 && !app->help)
		r = take_globals(app, &err);
	if (r < 0) {
		r = app_usage(app, "%s", err.text);
	} else if (app->help) {
		help_verb(app->verb);
	} else {
		r = check_count(app, count);
		if (r == 0)
			r = app->verb->run(app, options, words, count, &err);
		if (r < 0) {
			progress_pause(&app->progress);
			app_complain(app, r, &err);
			r = app->verb->failure ? app->verb->failure : EXIT_FAILED;
		}
	}
	options_release(&sets[0]);
	return r;
}

static int unknown_verb(const struct app *app, const char *what, const char *typed)
{
	const char *near = verb_suggest(typed);

	if (near)
		(void)app_usage(app, "'%s' is not an overlaid command; did you mean '%s'?", what,
				near);
	else
		(void)app_usage(app, "'%s' is not an overlaid command", what);
	return EXIT_FAILED;
}

/* `overlaid image ls ...`: the noun's own verb. */
static int run_noun(struct app *app, char **words, size_t count)
{
	const char *sub = count > 1 ? words[1] : "--help";
	bool noun_known = false;
	char what[64];

	app->verb = verb_find_in(words[0], sub, &noun_known);
	if (!noun_known)
		return unknown_verb(app, words[0], words[0]);
	if (!app->verb &&
	    (strcmp(sub, "--help") == 0 || strcmp(sub, "-h") == 0 || strcmp(sub, "help") == 0)) {
		help_noun(words[0]);
		return 0;
	}
	(void)snprintf(what, sizeof(what), "%.20s %.40s", words[0], sub);
	if (!app->verb)
		return unknown_verb(app, what, "");
	app->noun = words[0];
	return run_verb(app, words + 2, count - 2);
}

static int run_help(struct app *app, char **words, size_t count)
{
	bool noun_known = false;

	if (count == 0) {
		help_program();
		return 0;
	}
	if (strcmp(words[0], "limits") == 0) {
		help_limits();
		return 0;
	}
	app->verb = verb_find(words[0]);
	if (!app->verb)
		app->verb = verb_find_in(words[0], count > 1 ? words[1] : "", &noun_known);
	if (app->verb)
		help_verb(app->verb);
	else if (noun_known)
		help_noun(words[0]);
	else
		return unknown_verb(app, words[0], words[0]);
	return 0;
}

static int run(struct app *app, char **words, size_t count)
{
	struct option_set globals = { global_options, global_option_count, app };
	struct err err = { 0 };

	if (options_parse(&globals, 1, 0, words, count, &count, &err) < 0)
		return app_usage(app, "%s", err.text);
	if (app->version)
		return printf("overlaid version %s\n", overlaid_version()) < 0;
	if (app->help || (count > 0 && strcmp(words[0], "help") == 0)) {
		bool named = count > 0 && strcmp(words[0], "help") == 0;

		return run_help(app, words + named, count - named);
	}
	if (count == 0) {
		help_program();
		return EXIT_FAILED;
	}
	app->verb = verb_find(words[0]);
	return app->verb ? run_verb(app, words + 1, count - 1) : run_noun(app, words, count);
}

/* Data that did not arrive is a failure, whatever the verb thinks. */
static int finish_stdout(int status)
{
	int code = 0;

	errno = 0;
	if (fflush(stdout) != 0 || ferror(stdout))
		code = errno ? errno : EIO;
	if (code == 0)
		return status;
	(void)fprintf(stderr, "overlaid: cannot write to standard output: %s\n", strerror(code));
	return status ? status : EXIT_FAILED;
}

int main(int argc, char **argv)
{
	struct app app = { 0 };
	const struct option_set globals = { global_options, global_option_count, &app };
	int status;

	if (!secure_stdio())
		return EXIT_USAGE;
	status = run(&app, argv + 1, argc > 0 ? (size_t)argc - 1 : 0);
	overlaid_close(app.store);
	progress_release(&app.progress);
	status = finish_stdout(status);
	if (app.trash)
		background_reap(&app.store_options);
	options_release(&globals);
	return status;
}
