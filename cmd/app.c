/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/app.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "cmd/format.h"

static void print_words(const char *prefix, const char *words)
{
	auto_buf struct buf text = { 0 };

	(void)buf_puts(&text, prefix);
	append_visible(&text, words, 0);
	(void)fflush(stdout); /* what was said before is to stand before */
	(void)fprintf(stderr, "%s\n", buf_text(&text));
}

void app_complain(const struct app *app, int code, const struct err *err)
{
	print_words("overlaid: ", err->text[0] ? err->text : strerror(-code));
	if (app->debug)
		(void)fprintf(stderr, "overlaid: debug: error %d, %s\n", -code, strerror(-code));
}

static void hint_help(const struct app *app)
{
	if (app->verb)
		(void)fprintf(stderr, "See 'overlaid %s --help'.\n", app->verb->name);
	else
		(void)fputs("See 'overlaid --help'.\n", stderr);
}

int app_usage(const struct app *app, const char *fmt, ...)
{
	struct err words;
	va_list ap;

	va_start(ap, fmt);
	(void)vfail(&words, 0, fmt, ap);
	va_end(ap);
	print_words("overlaid: ", words.text);
	hint_help(app);
	return EXIT_USAGE;
}

int app_store(struct app *app, struct overlaid **ret, struct err *err)
{
	if (!app->store) {
		int r = overlaid_open(&app->store_options, &app->store, err);

		if (r < 0)
			return r;
	}
	*ret = app->store;
	return 0;
}

int app_mount_each(struct app *app, struct overlaid *store, app_mount_fn *mount, char **names,
		   size_t count, struct err *err)
{
	int status = 0;

	for (size_t i = 0; i < count; i++) {
		auto_free char *path = NULL;
		int r = mount(store, names[i], &path, err);

		if (r == 0 && count > 1)
			(void)printf("%s %s\n", names[i], path);
		else if (r == 0)
			(void)puts(path);
		if (r == 0)
			continue;
		app_complain(app, r, err);
		status = EXIT_FAILED;
	}
	return status;
}
