/* SPDX-License-Identifier: Apache-2.0 */
/*
 * run: a command in a fresh container that is gone afterwards.
 *
 *	this process	private mount namespace: mounts the container; waits, passes signals on;
 *unmounts, removes its child	PID, IPC, UTS and mount namespaces: sets up the root (run_root),
 *becomes the user, executes (run_exec)
 *
 * The command is PID 1 of its namespace, so whatever it started ends with it, and all of it with us
 *(PR_SET_PDEATHSIG). The kernel keeps signals from a PID 1 that has no handler for them; one that
 *would have ended the command elsewhere ends it here too, see pass_on.
 */
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cmd/format.h"
#include "cmd/image_config.h"
#include "cmd/process.h"
#include "cmd/run_exec.h"
#include "cmd/run_root.h"
#include "cmd/user.h"
#include "cmd/verbs.h"
#include "driver/base/fd.h"
#include "driver/base/sys.h"

#define STACK_BYTES	 ((size_t)512 << 10)
#define HOSTNAME_LEN_MAX 64

struct run_options {
	struct option_list env, volumes;
	const char *workdir, *user, *hostname, *entrypoint, *name;
	bool read_only, terminal, interactive, remove;
};

static const struct option run_options[] = {
	{ 'e', "env", OPTION_LIST, offsetof(struct run_options, env), "KEY[=VALUE]",
	  "set a variable, or pass it on" },
	{ 'v', "volume", OPTION_LIST, offsetof(struct run_options, volumes), "SRC:DST[:ro]",
	  "mount a directory or file of the host" },
	{ 'w', "workdir", OPTION_TEXT, offsetof(struct run_options, workdir), "DIR",
	  "where to start" },
	{ 'u', "user", OPTION_TEXT, offsetof(struct run_options, user), "USER[:GROUP]",
	  "as whom, by name or number" },
	{ 'h', "hostname", OPTION_TEXT, offsetof(struct run_options, hostname), "NAME",
	  "(default: the container's id)" },
	{ 0, "entrypoint", OPTION_TEXT, offsetof(struct run_options, entrypoint), "COMMAND",
	  "instead of the image's" },
	{ 0, "name", OPTION_TEXT, offsetof(struct run_options, name), "NAME",
	  "what to call the container meanwhile" },
	{ 0, "read-only", OPTION_FLAG, offsetof(struct run_options, read_only), NULL,
	  "no writing to the container's tree" },
	{ 't', "tty", OPTION_FLAG, offsetof(struct run_options, terminal), NULL,
	  "accepted: the terminal is handed on" },
	{ 'i', "interactive", OPTION_FLAG, offsetof(struct run_options, interactive), NULL,
	  "accepted: so is standard input" },
	{ 0, "rm", OPTION_FLAG, offsetof(struct run_options, remove), NULL,
	  "accepted: the container is always removed" },
};

/* ---- volumes ---- */

struct volumes {
	struct volume *items;
	size_t count;
};

static void volumes_release(struct volumes *volumes)
{
	for (size_t i = 0; i < volumes->count; i++) {
		free(volumes->items[i].source);
		free(volumes->items[i].target);
	}
	free(volumes->items);
}

static int parse_volume_options(const char *options, struct volume *volume, const char *word,
				struct err *err)
{
	for (const char *p = options; *p; p += strcspn(p, ","), p += *p == ',') {
		size_t len = strcspn(p, ",");

		if (len == 2 && strncmp(p, "ro", 2) == 0)
			volume->read_only = true;
		else if (!(len == 2 && strncmp(p, "rw", 2) == 0) &&
			 !(len == 1 && (*p == 'z' || *p == 'Z')))
			return fail(err, -EINVAL, "-v %.200s: the third part is ro or rw", word);
	}
	return 0;
}

static int parse_volume(const char *word, struct volume *volume, struct err *err)
{
	const char *target = strchr(word, ':');
	size_t len;

	if (!target || target == word || target[1] != '/')
		return fail(err, -EINVAL, "-v takes SOURCE:/TARGET[:ro], not '%.200s'", word);
	target++;
	len = strcspn(target, ":");
	volume->source = strndup(word, (size_t)(target - word) - 1);
	volume->target = strndup(target, len);
	if (!volume->source || !volume->target)
		return fail_oom(err);
	return target[len] ? parse_volume_options(target + len + 1, volume, word, err) : 0;
}

static int parse_volumes(const struct option_list *words, struct volumes *volumes, struct err *err)
{
	int r = 0;

	volumes->items = calloc(words->count + 1, sizeof(*volumes->items));
	if (!volumes->items)
		return fail_oom(err);
	volumes->count = words->count; /* each is empty, or released */
	for (size_t i = 0; r == 0 && i < words->count; i++)
		r = parse_volume(words->items[i], &volumes->items[i], err);
	return r;
}

/* ---- the child ---- */

struct job {
	struct root_plan plan;
	char hostname[HOSTNAME_LEN_MAX + 1];
	struct process process;
	sigset_t old_mask;
	int alive_fd, parent_fd; /* a pipe whose writing end only the parent has: hung up when it is
				    gone */
};

static int die_with_parent(struct job *job, struct err *err)
{
	struct pollfd alive = { .fd = job->alive_fd, .events = POLLIN };

	(void)close(job->parent_fd);
	if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0)
		return fail(err, -errno, "PR_SET_PDEATHSIG: %m");
	/* It may have died before the call. */
	if (poll(&alive, 1, 0) != 0)
		return fail(err, -ESRCH, "overlaid was killed");
	return 0;
}

static int set_up(struct job *job, struct err *err)
{
	auto_user struct user user = { 0 };
	auto_close int root_fd = -EBADF;
	auto_buf struct buf home = { 0 };
	int r;

	(void)umask(022);
	if (sethostname(job->plan.hostname, strlen(job->plan.hostname)) < 0)
		return fail(err, -errno, "set the host name: %m");
	root_fd = run_root_prepare(&job->plan, err);
	if (root_fd < 0)
		return root_fd;
	r = user_resolve_in(root_fd, job->process.user, &user, err);
	(void)buf_printf(&home, "HOME=%s", user.home ? user.home : "/");
	if (r == 0 && !process_get_env(&job->process, "HOME"))
		r = process_set_env(&job->process, buf_text(&home), err);
	if (r == 0)
		r = run_root_enter(root_fd, err);
	if (r == 0 && chdir(job->process.cwd) < 0)
		r = fail(err, -errno, "change to the working directory %s: %m", job->process.cwd);
	if (r == 0)
		r = run_exec_become(&user, err);
	return r;
}

/* Ignored signals would stay ignored in the command. */
static void reset_signals(const sigset_t *mask)
{
	struct sigaction action = { .sa_handler = SIG_DFL };

	for (int sig = 1; sig < NSIG; sig++)
		(void)sigaction(sig, &action, NULL);
	(void)sigprocmask(SIG_SETMASK, mask, NULL);
}

static void complain(const struct err *err)
{
	auto_buf struct buf text = { 0 };

	(void)buf_puts(&text, "overlaid: ");
	append_visible(&text, err->text, 0);
	(void)buf_putc(&text, '\n');
	(void)write_full(STDERR_FILENO, buf_text(&text), text.len);
}

static int child(void *arg)
{
	struct job *job = arg;
	struct err err = { 0 };
	int status = EXIT_USAGE;
	int r = die_with_parent(job, &err);

	if (r == 0)
		r = set_up(job, &err);
	if (r == 0) {
		reset_signals(&job->old_mask);
		closefrom(3);
		status = run_exec_command(&job->process, &err);
	}
	complain(&err);
	_exit(status);
}

/* ---- the parent ---- */

static const int passed_on[] = { SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH };

/* Whether the process has said what is to happen at the signal: SigIgn and SigCgt of
 * /proc/PID/status are masks in hex. */
static bool handles(pid_t pid, int sig)
{
	static const char *const names[] = { "\nSigIgn:", "\nSigCgt:" };
	auto_buf struct buf status = { .max = 64 << 10 };
	char path[32];

	(void)snprintf(path, sizeof(path), "/proc/%d/status", pid);
	if (read_file_at(AT_FDCWD, path, &status, NULL) < 0)
		return true; /* it is gone */
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		const char *line = strstr(buf_text(&status), names[i]);

		if (line && (strtoull(line + strlen(names[i]), NULL, 16) >> (sig - 1) & 1))
			return true;
	}
	return false;
}

/* *killed_by is set where the signal ended the command, which as PID 1 does not get what it has no
 * handler for. */
static void pass_on(pid_t pid, const siginfo_t *info, int *killed_by)
{
	int sig = info->si_signo;

	if (sig != SIGWINCH && !handles(pid, sig)) {
		*killed_by = sig;
		(void)kill(pid, SIGKILL);
		return;
	}
	/* From the terminal it came to the command as well. */
	if (info->si_code != SI_KERNEL)
		(void)kill(pid, sig);
}

/* Until the command has ended: its exit status as a shell has it. */
static int wait_for(pid_t pid, const sigset_t *signals)
{
	int killed_by = 0;

	for (;;) {
		siginfo_t info;
		int status;
		pid_t ended = waitpid(pid, &status, WNOHANG);

		if (ended == pid && WIFEXITED(status))
			return WEXITSTATUS(status);
		if (ended == pid && WIFSIGNALED(status))
			return 128 + (killed_by ? killed_by : WTERMSIG(status));
		if (ended < 0)
			return EXIT_USAGE;
		if (sigwaitinfo(signals, &info) > 0 && info.si_signo != SIGCHLD)
			pass_on(pid, &info, &killed_by);
	}
}

static pid_t start(struct job *job, struct err *err)
{
	auto_free char *stack = aligned_alloc(64, STACK_BYTES);
	int pipe_fds[2];
	pid_t pid;

	if (!stack)
		return fail_oom(err);
	if (pipe2(pipe_fds, O_CLOEXEC) < 0)
		return fail(err, -errno, "pipe: %m");
	job->alive_fd = pipe_fds[0];
	job->parent_fd = pipe_fds[1];
	/* clone(2) and not unshare(2): that would leave this process unable to fork once the
	 * command has ended. The child has a copy of the stack. */
	pid = clone(child, stack + STACK_BYTES,
		    CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWNS | SIGCHLD, job);
	if (pid < 0)
		pid = fail(err, -errno, "start a process in namespaces of its own: %m");
	(void)close(job->alive_fd);
	return pid;
}

/* The exit status of the command, or -errno. */
static int start_and_wait(struct job *job, struct err *err)
{
	struct sigaction by_default = { .sa_handler = SIG_DFL };
	sigset_t signals;
	pid_t pid;

	(void)sigemptyset(&signals);
	(void)sigaddset(&signals, SIGCHLD);
	for (size_t i = 0; i < ARRAY_LEN(passed_on); i++)
		(void)sigaddset(&signals, passed_on[i]);
	(void)sigprocmask(SIG_BLOCK, &signals, &job->old_mask);
	(void)sigaction(SIGCHLD, &by_default,
			NULL); /* ignored, it would take the exit status away */
	pid = start(job, err);
	return pid < 0 ? pid : wait_for(pid, &signals);
}

/* From here on no mount of ours is seen elsewhere, while unmounts elsewhere come here. */
static int own_mounts(struct err *err)
{
	int r;

	if (unshare(CLONE_NEWNS) < 0)
		return fail(err, -errno, "make a private mount namespace: %m%s",
			    errno == EPERM ? " (run needs root)" : "");
	r = sys_mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL);
	return r < 0 ? fail(err, r, "make mounts private: %m") : 0;
}

static int mount_and_run(struct overlaid *store, const char *id, struct job *job, struct err *err)
{
	auto_free char *path = NULL;
	struct err later = { 0 };
	int status, r;

	r = overlaid_container_mount(store, id, &path, err);
	if (r < 0)
		return r;
	job->plan.path = path;
	status = start_and_wait(job, err);
	r = overlaid_container_unmount(store, id, &later);
	if (r < 0)
		complain(&later);
	return status;
}

/* $HOSTNAME, unless the image or the user has set it. */
static int set_hostname(struct job *job, const char *hostname, struct err *err)
{
	auto_buf struct buf variable = { 0 };

	(void)snprintf(job->hostname, sizeof(job->hostname), "%s", hostname);
	job->plan.hostname = job->hostname;
	(void)buf_printf(&variable, "HOSTNAME=%s", hostname);
	if (process_get_env(&job->process, "HOSTNAME"))
		return 0;
	return variable.status ? fail_oom(err) :
				 process_set_env(&job->process, buf_text(&variable), err);
}

/* Makes the container, and takes it away whatever happens between. */
static int with_container(struct overlaid *store, const struct overlaid_create *create,
			  const char *hostname, struct job *job, struct err *err)
{
	char id[OVERLAID_ID_LEN + 1];
	struct short_text short_id;
	struct err later = { 0 };
	int status, r;

	r = overlaid_container_create(store, create, id, err);
	if (r < 0)
		return r;
	short_id = format_short_id(id);
	status = set_hostname(job, hostname ? hostname : short_id.text, err);
	if (status == 0)
		status = mount_and_run(store, id, job, err);
	r = overlaid_container_remove(store, id, OVERLAID_REMOVE_FORCE, &later);
	/* At once, not in the background: when the command has ended, nothing is left of it. */
	if (r >= 0)
		r = overlaid_reap(store, false, &later);
	if (r < 0)
		complain(&later);
	return status;
}

struct image_id {
	char text[80];
};

static int note_id(void *arg, const struct overlaid_image *image)
{
	struct image_id *id = arg;

	(void)snprintf(id->text, sizeof(id->text), "%s", image->id);
	return 0;
}

/* Fills job->process. The id is what the container is then made from: the name may move meanwhile. */
static int read_image(struct overlaid *store, const char *name, const struct wishes *wishes,
		      struct job *job, struct image_id *ret_id, struct err *err)
{
	auto_json struct json *config = NULL;
	int r = overlaid_image_get(store, name, note_id, ret_id, err);

	if (r == 0)
		r = image_config_load(store, ret_id->text, &config, err);
	return r < 0 ? r : process_make(config, wishes, &job->process, err);
}

static int run_image(struct app *app, const struct run_options *o, const char *image,
		     const struct wishes *wishes, struct job *job, struct err *err)
{
	struct overlaid_create create = { .name = o->name, .flags = OVERLAID_CREATE_EPHEMERAL };
	struct image_id id = { "" };
	struct overlaid *store = NULL;
	int r;

	r = run_exec_prepare(err);
	if (r == 0)
		r = own_mounts(err);
	if (r == 0)
		r = app_store(app, &store, err);
	if (r == 0)
		r = read_image(store, image, wishes, job, &id, err);
	if (r < 0)
		return r;
	create.image = id.text;
	job->plan.cwd = job->process.cwd;
	job->plan.read_only = o->read_only;
	return with_container(store, &create, o->hostname, job, err);
}

static int run(struct app *app, const void *opts, char **args, size_t count, struct err *err)
{
	const struct run_options *o = opts;
	size_t skip = count > 1 && strcmp(args[1], "--") == 0 ? 2 : 1;
	struct wishes wishes = {
		.env = &o->env,
		.entrypoint = o->entrypoint,
		.workdir = o->workdir,
		.user = o->user,
		.command = args + skip,
		.command_count = count - skip,
		.terminal = o->terminal || isatty(STDIN_FILENO),
	};
	AUTO(volumes_release) struct volumes volumes = { 0 };
	struct job job = { 0 };
	int r;

	if (o->hostname && (!*o->hostname || strlen(o->hostname) > HOSTNAME_LEN_MAX))
		return app_usage(app, "a host name has 1 to %d characters", HOSTNAME_LEN_MAX);
	r = parse_volumes(&o->volumes, &volumes, err);
	if (r < 0)
		return app_usage(app, "%s", err->text);
	job.plan.volumes = volumes.items;
	job.plan.volume_count = volumes.count;
	r = run_image(app, o, args[0], &wishes, &job, err);
	process_release(&job.process);
	return r;
}

const struct verb run_verb_entry = {
	.name = "run",
	.args = "[OPTIONS] IMAGE [--] [COMMAND [ARGUMENTS]]",
	.summary = "Run a command in a fresh container, and remove it",
	.example = "overlaid run -v \"$PWD:/src:ro\" -w /src debian make -n",
	.options = run_options,
	.option_count = ARRAY_LEN(run_options),
	.options_size = sizeof(struct run_options),
	.min_args = 1,
	.max_args = ARGS_MANY,
	.stop_after = 1,
	.failure = EXIT_USAGE,
	.run = run,
};
