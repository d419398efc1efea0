/* SPDX-License-Identifier: Apache-2.0 */
/* login, logout: credentials for registries. */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "cmd/registry.h"
#include "cmd/verbs.h"
#include "driver/base/buf.h"
#include "driver/base/fd.h"

#define SECRET_MAX 65536

struct login_options {
	struct registry_flags registry;
	const char *user, *password;
	bool from_stdin, get_login;
};

static const struct option login_options[] = {
	{ 'u', "username", OPTION_TEXT, offsetof(struct login_options, user), "USER", "who" },
	{ 'p', "password", OPTION_TEXT, offsetof(struct login_options, password), "PASSWORD",
	  "seen by whoever lists processes: better is" },
	{ 0, "password-stdin", OPTION_FLAG, offsetof(struct login_options, from_stdin), NULL,
	  "reads the password from standard input" },
	{ 0, "get-login", OPTION_FLAG, offsetof(struct login_options, get_login), NULL,
	  "prints the user that is kept, and asks nobody" },
	REGISTRY_ACCESS_OPTIONS(struct login_options, registry),
};

/* A line from the terminal or a pipe, without its end. */
static int read_line(struct buf *line, struct err *err)
{
	char c;
	ssize_t n;

	while ((n = read_full(STDIN_FILENO, &c, 1)) == 1 && c != '\n')
		if (buf_putc(line, c) < 0)
			return buf_status(line, err);
	if (n < 0)
		return fail(err, (int)n, "read standard input: %m");
	while (line->len && line->data[line->len - 1] == '\r')
		line->data[--line->len] = '\0';
	return 0;
}

/* The terminal as it was, for a signal that ends us while it is quiet. */
static struct termios terminal_before;

static void end_by_signal(int number)
{
	(void)tcsetattr(STDIN_FILENO, TCSAFLUSH, &terminal_before);
	(void)signal(number, SIG_DFL);
	(void)raise(number);
}

static void hide_typing(bool hide)
{
	static const int numbers[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT };
	struct termios quiet = terminal_before;

	for (size_t i = 0; i < ARRAY_LEN(numbers); i++)
		(void)signal(numbers[i], hide ? end_by_signal : SIG_DFL);
	quiet.c_lflag &= ~(tcflag_t)ECHO;
	(void)tcsetattr(STDIN_FILENO, TCSAFLUSH, hide ? &quiet : &terminal_before);
}

static int ask(const char *question, bool secret, struct buf *answer, struct err *err)
{
	bool hide = secret && tcgetattr(STDIN_FILENO, &terminal_before) == 0;
	int r;

	(void)fprintf(stderr, "%s: ", question);
	if (hide)
		hide_typing(true);
	r = read_line(answer, err);
	if (hide) {
		hide_typing(false);
		(void)fputc('\n', stderr);
	}
	return r;
}

static int find_out(struct app *app, const struct login_options *o, struct buf *user,
		    struct buf *password, struct err *err)
{
	bool terminal = isatty(STDIN_FILENO);
	int r = 0;

	if (o->password && o->from_stdin)
		return app_usage(app,
				 "--password and --password-stdin are two ways to say one thing");
	if (!o->user && (o->from_stdin || !terminal))
		return app_usage(app, "login needs --username");
	if (!o->password && !o->from_stdin && !terminal)
		return app_usage(app, "login needs --password-stdin");
	if (o->user)
		(void)buf_puts(user, o->user);
	else
		r = ask("Username", false, user, err);
	if (r >= 0 && o->password)
		(void)buf_puts(password, o->password);
	else if (r >= 0)
		r = o->from_stdin ? read_line(password, err) : ask("Password", true, password, err);
	return r;
}

static int print_login(const struct overlaid_registry *registry, const char *name, struct err *err)
{
	auto_free char *user = NULL;
	int r = overlaid_login_user(registry, name, &user, err);

	if (r >= 0)
		(void)puts(user);
	return r;
}

static int login(struct app *app, const void *opts, char **args, size_t count, struct err *err)
{
	const struct login_options *o = opts;
	const char *name = count ? args[0] : NULL;
	auto_buf struct buf user = { .max = SECRET_MAX }, password = { .max = SECRET_MAX };
	auto_buf struct buf both = { .max = 2 * SECRET_MAX };
	auto_free char *file = NULL;
	struct overlaid_registry registry;
	int r = registry_settings(&o->registry, &registry, err);

	if (r >= 0 && o->get_login)
		return print_login(&registry, name, err);
	if (r >= 0)
		r = find_out(app, o, &user, &password, err);
	if (r != 0)
		return r;
	(void)buf_printf(&both, "%s:%s", buf_text(&user), buf_text(&password));
	registry.user_password = buf_text(&both);
	r = overlaid_login(&registry, name, &file, err);
	if (password.data)
		explicit_bzero(password.data, password.len);
	if (both.data)
		explicit_bzero(both.data, both.len);
	if (r < 0)
		return r;
	(void)puts("Login Succeeded!");
	return 0;
}

const struct verb login_verb = {
	.name = "login",
	.args = "[OPTIONS] [REGISTRY]",
	.summary = "Keep credentials for a registry (default docker.io)",
	.example = "overlaid login -u me --password-stdin ghcr.io < token",
	.options = login_options,
	.option_count = ARRAY_LEN(login_options),
	.options_size = sizeof(struct login_options),
	.max_args = 1,
	.run = login,
};

struct logout_options {
	const char *authfile;
	bool all;
};

static const struct option logout_options[] = {
	{ 'a', "all", OPTION_FLAG, offsetof(struct logout_options, all), NULL,
	  "all that the file keeps" },
	{ 0, "authfile", OPTION_TEXT, offsetof(struct logout_options, authfile), "FILE",
	  "instead of the usual files" },
};

static int logout(struct app *app, const void *opts, char **args, size_t count, struct err *err)
{
	const struct logout_options *o = opts;
	const struct overlaid_registry registry = { .authfile = o->authfile };
	const char *name = o->all ? NULL : count ? args[0] : "docker.io";
	auto_free char *file = NULL;
	int r;

	if (o->all && count)
		return app_usage(app, "logout takes a registry or --all");
	r = overlaid_logout(&registry, name, &file, err);
	if (r < 0)
		return r;
	(void)printf("Removed login credentials for %s\n", name ? name : "all registries");
	return 0;
}

const struct verb logout_verb = {
	.name = "logout",
	.args = "[OPTIONS] [REGISTRY]",
	.summary = "Forget credentials for a registry (default docker.io)",
	.example = "overlaid logout ghcr.io",
	.options = logout_options,
	.option_count = ARRAY_LEN(logout_options),
	.options_size = sizeof(struct logout_options),
	.max_args = 1,
	.run = logout,
};
