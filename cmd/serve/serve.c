/* SPDX-License-Identifier: Apache-2.0 */
/* serve: the daemon. */
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cmd/serve/docker.h"
#include "cmd/serve/notify.h"
#include "cmd/serve/serve.h"
#include "cmd/verbs.h"
#include "driver/base/auto.h"
#include "driver/base/clock.h"
#include "driver/base/fd.h"

#define READERS		    2
#define WALKERS		    4
#define HELPERS		    8
#define FACES_MAX	    16
#define AGAIN_ENV	    "OVERLAID_SERVE_AGAIN"
#define AGAIN_FD	    3
#define FETCH_KEEP_STANDARD 300
#define DRAIN_SECONDS	    30
#define DESCRIPTORS \
	65536 /* hundreds of calls, each with a store's and those of a deep chain's layers */

struct serve_options {
	struct option_list containerd, docker;
	const char *fetch_keep;
	bool fetch, no_share, remap;
};

static const struct option serve_options[] = {
	{ 0, "containerd", OPTION_LIST, offsetof(struct serve_options, containerd), "SOCKET",
	  "a snapshotter for containerd's proxy_plugins, at this unix socket" },
	{ 0, "docker", OPTION_LIST, offsetof(struct serve_options, docker), "NAME",
	  "a graphdriver plugin for dockerd --storage-driver=NAME (or the path of its socket)" },
	{ 0, "fetch", OPTION_FLAG, offsetof(struct serve_options, fetch), NULL,
	  "get images ourselves, where containerd says which (CRI, Docker)" },
	{ 0, "fetch-keep", OPTION_TEXT, offsetof(struct serve_options, fetch_keep), "SECONDS",
	  "until what --fetch got is dropped where containerd did not take it (default 300)" },
	{ 0, "no-share", OPTION_FLAG, offsetof(struct serve_options, no_share), NULL,
	  "let containerd fetch and unpack also what is here" },
	{ 0, "remap-ids", OPTION_FLAG, offsetof(struct serve_options, remap), NULL,
	  "idmapped mounts, for containerd 2.0 and later with that capability" },
};

void serve_log(const char *fmt, ...)
{
	struct err words;
	va_list ap;

	va_start(ap, fmt);
	(void)vfail(&words, 0, fmt, ap);
	va_end(ap);
	for (char *c = words.text; *c; c++)
		if ((unsigned char)*c < ' ' || *c == 0x7f)
			*c = ' ';
	(void)fprintf(stderr, "overlaid: %s\n", words.text);
}

static void log_line(void *arg, const char *line)
{
	serve_log("%s", line);
}

/* ---- the daemon ---- */

struct daemon {
	struct serve serve;
	struct face faces[FACES_MAX];
	size_t face_count;
	struct grpc_server *server;
	unsigned int fetch_keep; /* seconds */
	pthread_t signals;
	bool has_signals;
	atomic_bool ending; /* by itself */
	bool again;	    /* SIGHUP: begin anew, with the program as it is on disk now */
	char exe[PATH_MAX];
};

static void fill_signals(sigset_t *set)
{
	(void)sigemptyset(set);
	(void)sigaddset(set, SIGTERM);
	(void)sigaddset(set, SIGINT);
	(void)sigaddset(set, SIGHUP);
	(void)sigaddset(set, SIGUSR1);
}

/*
 * Whoever connects while we end is not accepted, and has written his call when that is cut: dockerd has lost what it
 * said then. Where the name is gone he cannot connect, and tries again with all of it.
 */
static void drain_docker(struct daemon *d)
{
	for (size_t i = 0; i < d->face_count; i++)
		if (d->faces[i].docker && !d->faces[i].passed && !d->again)
			listen_remove(d->faces[i].path, &d->faces[i].name);
	for (size_t i = 0; i < d->face_count; i++)
		if (d->faces[i].docker)
			docker_drain(d->faces[i].docker, DRAIN_SECONDS);
}

/* SIGTERM, SIGINT: ends. SIGHUP: ends, and begins again with the same sockets. */
static void *take_signals(void *arg)
{
	struct daemon *d = arg;
	char state[64];
	sigset_t set;
	int signal;

	fill_signals(&set);
	/* SIGUSR1 is ours, to be woken with; from others it means nothing. */
	do
		if (sigwait(&set, &signal) != 0)
			signal = SIGUSR1;
	while (signal == SIGUSR1 && !atomic_load(&d->ending));
	if (signal == SIGUSR1)
		return NULL;
	d->again = signal == SIGHUP;
	(void)snprintf(state, sizeof(state),
		       d->again ? "RELOADING=1\nMONOTONIC_USEC=%lld" : "STOPPING=1",
		       (long long)(clock_ns() / 1000));
	(void)notify(state, NULL);
	drain_docker(d);
	grpc_server_drain(d->server);
	janitor_drain(d->serve.janitor);
	if (d->serve.fetch)
		fetch_drain(d->serve.fetch);
	return NULL;
}

/* Before any thread is started, so that all of them leave signals to one. */
static void block_signals(void)
{
	sigset_t set;

	fill_signals(&set);
	(void)pthread_sigmask(SIG_BLOCK, &set, NULL);
	(void)signal(SIGPIPE, SIG_IGN);
}

/* Layers and mounts are told by absolute paths, and a store is known by them. */
static int know_path(struct face *face, struct err *err)
{
	char *slash = strrchr(face->path, '/');
	char dir[PATH_MAX];
	char *whole = NULL;

	if (slash)
		*slash = '\0';
	if (!realpath(slash ? (slash == face->path ? "/" : face->path) : ".", dir))
		return fail(err, -errno, "%s: %m", face->path);
	if (asprintf(&whole, "%s/%s", strcmp(dir, "/") == 0 ? "" : dir,
		     slash ? slash + 1 : face->path) < 0)
		return fail_oom(err);
	free(face->path);
	face->path = whole;
	return 0;
}

/*
 * The sockets that we had before we began again: descriptors from AGAIN_FD on, for each a letter in the environment,
 * "p" where the service manager had passed it. Not by sd_listen_fds(3), whose library need not be here, and which
 * would look for the path that a socket was bound to: ours were moved (cmd/serve/listen.h).
 */
static int find_own(size_t number, size_t count, const char *path, struct face *face)
{
	const char *letters = getenv(AGAIN_ENV);
	int fd = AGAIN_FD + (int)number, listens = 0;
	socklen_t len = sizeof(listens);
	struct stat st;

	if (!letters || strlen(letters) != count ||
	    getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &len) < 0 || !listens ||
	    fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
		return -ENOENT;
	face->passed = letters[number] == 'p';
	if (stat(path, &st) == 0)
		face->name = (struct listen_name){ st.st_dev, st.st_ino };
	return fd;
}

static void release_face(struct face *face)
{
	docker_free(face->docker);
	free(face->path);
	free(face->plugin);
}

/* Takes `face` over, whose path is set. */
static int open_face(struct daemon *d, struct face face, size_t count,
		     struct notify_sockets *passed, struct err *err)
{
	if (!face.path)
		return fail_oom(err);
	face.fd = find_own(d->face_count, count, face.path, &face);
	if (face.fd < 0) {
		face.fd = notify_find(passed, face.path);
		face.passed = face.fd >= 0;
	}
	if (face.fd < 0)
		face.fd = listen_unix(face.path, &face.name, err);
	if (face.fd < 0) {
		release_face(&face);
		return face.fd;
	}
	d->faces[d->face_count++] = face;
	return know_path(&d->faces[d->face_count - 1], err);
}

static int open_docker(struct daemon *d, const char *argument, size_t count,
		       struct notify_sockets *passed, struct err *err)
{
	struct face face = { .docker = NULL };
	int r = docker_name(argument, &face.path, &face.plugin, err);

	if (r >= 0)
		r = open_face(d, face, count, passed, err);
	return r < 0 ? r :
		       docker_new(&d->serve, face.plugin, &d->faces[d->face_count - 1].docker, err);
}

static int listen_at(struct daemon *d, struct face *face, struct err *err)
{
	return face->docker ? docker_listen(face->docker, face->fd, err) :
			      grpc_server_listen(d->server, face->fd, face, err);
}

static int open_faces(struct daemon *d, const struct serve_options *o, struct err *err)
{
	const size_t count = o->containerd.count + o->docker.count;
	struct notify_sockets passed = { 0 };
	int r = notify_take_sockets(&passed, err);

	if (r >= 0 && count > FACES_MAX)
		r = fail(err, -E2BIG, "at most %d sockets", FACES_MAX);
	for (size_t i = 0; r >= 0 && i < o->containerd.count; i++)
		r = open_face(d, (struct face){ .path = strdup(o->containerd.items[i]) }, count,
			      &passed, err);
	for (size_t i = 0; r >= 0 && i < o->docker.count; i++)
		r = open_docker(d, o->docker.items[i], count, &passed, err);
	for (size_t i = 0; r >= 0 && i < d->face_count; i++)
		r = listen_at(d, &d->faces[i], err);
	notify_sockets_release(&passed);
	(void)unsetenv(AGAIN_ENV);
	return r;
}

static int start(struct daemon *d, const struct serve_options *o, struct err *err)
{
	const struct grpc_options grpc = { .dispatch = snapshots_dispatch,
					   .arg = &d->serve,
					   .log = log_line };
	struct serve *s = &d->serve;
	int r = work_new(&s->store, READERS, false, &s->readers, err);

	if (r >= 0)
		r = work_new(&s->store, WALKERS, false, &s->walkers, err);
	if (r >= 0)
		r = work_new(&s->store, HELPERS, false, &s->helpers, err);
	if (r >= 0)
		r = work_new(&s->store, 1, true, &s->writer, err);
	if (r >= 0 && o->fetch)
		r = fetch_new(s, d->fetch_keep, &s->fetch, err);
	if (r >= 0)
		r = janitor_new(&s->store, &s->janitor, err);
	if (r >= 0)
		r = grpc_server_new(&grpc, &d->server, err);
	if (r >= 0)
		r = open_faces(d, o, err);
	if (r >= 0)
		r = -pthread_create(&d->signals, NULL, take_signals, d);
	d->has_signals = r == 0;
	return r;
}

static void stop(struct daemon *d)
{
	struct serve *s = &d->serve;

	atomic_store(&d->ending, true);
	if (d->has_signals) {
		(void)pthread_kill(d->signals, SIGUSR1);
		(void)pthread_join(d->signals, NULL);
	}
	for (size_t i = 0; i < d->face_count; i++) {
		docker_free(d->faces[i].docker);
		d->faces[i].docker = NULL;
	}
	/* Helpers give to the writer. */
	work_free(s->readers);
	work_free(s->walkers);
	work_free(s->helpers);
	work_free(s->writer);
	janitor_free(s->janitor);
	fetch_free(s->fetch);
	grpc_server_free(d->server);
	for (size_t i = 0; i < d->face_count && !d->again; i++) {
		if (!d->faces[i].passed)
			listen_remove(d->faces[i].path, &d->faces[i].name);
		(void)close(d->faces[i].fd);
		release_face(&d->faces[i]);
	}
}

/* ---- again ---- */

/* The words of our own command line, as they were: the caller's. */
static int own_words(struct buf *text, char ***ret, struct err *err)
{
	size_t count = 0;
	char **words;
	int r = read_file_at(AT_FDCWD, "/proc/self/cmdline", text, err);

	if (r < 0)
		return r;
	for (size_t i = 0; i < text->len; i++)
		count += !text->data[i];
	words = calloc(count + 1, sizeof(*words));
	if (!words)
		return fail_oom(err);
	for (size_t i = 0, at = 0; i < count; i++) {
		words[i] = (char *)text->data + at;
		at += strlen(words[i]) + 1;
	}
	*ret = words;
	return 0;
}

/* Sockets stay open: a client that connects meanwhile waits in their queue. */
static int begin_again(struct daemon *d, struct err *err)
{
	auto_buf struct buf text = { .max = 1 << 20 };
	auto_free char **words = NULL;
	char letters[FACES_MAX + 1] = "";
	int r = own_words(&text, &words, err);

	/* Out of the way first: their numbers now may be each other's then. */
	for (size_t i = 0; r >= 0 && i < d->face_count; i++) {
		int moved = fcntl(d->faces[i].fd, F_DUPFD_CLOEXEC, AGAIN_FD + FACES_MAX);

		if (moved < 0)
			r = fail(err, -errno, "keep a socket: %m");
		else
			d->faces[i].fd = moved;
	}
	for (size_t i = 0; r >= 0 && i < d->face_count; i++) {
		if (dup2(d->faces[i].fd, AGAIN_FD + (int)i) < 0)
			r = fail(err, -errno, "keep a socket: %m");
		letters[i] = d->faces[i].passed ? 'p' : 'o';
	}
	if (r < 0)
		return r;
	(void)setenv(AGAIN_ENV, letters, 1);
	(void)execv(d->exe, words);
	return fail(err, -errno, "start %s again: %m", d->exe);
}

/* So that what begin_again puts there closes nothing that a thread, which deletes or pulls to the end, still writes
 * with. */
static void keep_numbers(size_t count)
{
	for (int fd = 3; fd < 3 + (int)count && fd < 3 + FACES_MAX; fd++) {
		auto_close int null_fd = -EBADF;

		if (fcntl(fd, F_GETFD) >= 0)
			continue;
		null_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
		if (null_fd == fd)
			(void)take_fd(&null_fd);
	}
}

static int parse_seconds(const char *text, unsigned int *ret)
{
	unsigned long seconds = FETCH_KEEP_STANDARD;
	char none[] = "", *end = none;

	if (text)
		seconds = strtoul(text, &end, 10);
	if (*end || (text && (text[0] < '0' || text[0] > '9')) || seconds < 1 || seconds > 86400)
		return -EINVAL;
	*ret = (unsigned int)seconds;
	return 0;
}

static int serve(struct app *app, const void *opts, char **args, size_t count, struct err *err)
{
	const struct serve_options *o = opts;
	struct daemon d = {
		.serve = { .store = app->store_options, .share = !o->no_share, .remap = o->remap }
	};
	struct overlaid *store;
	ssize_t len = readlink("/proc/self/exe", d.exe, sizeof(d.exe) - 1);
	int r;

	if (o->containerd.count + o->docker.count == 0)
		return app_usage(app,
				 "what is to be served? --containerd SOCKET, --docker NAME, or both");
	if (parse_seconds(o->fetch_keep, &d.fetch_keep) < 0)
		return app_usage(app,
				 "--fetch-keep is a number of seconds, 1 to 86400, not '%.60s'",
				 o->fetch_keep);
	app->store_options.serving = d.serve.store.serving = true;
	d.serve.store.progress = NULL;
	keep_numbers(o->containerd.count + o->docker.count);
	r = len < 0 ? fail(err, -errno, "/proc/self/exe: %m") : app_store(app, &store, err);
	if (r >= 0)
		r = overlaid_snapshots_check(store, err);
	if (r < 0)
		return r;
	block_signals();
	want_descriptors(DESCRIPTORS);
	r = start(&d, o, err);
	for (size_t i = 0; r >= 0 && i < d.face_count; i++)
		serve_log("serving %s at %s", d.faces[i].docker ? "Docker" : "containerd",
			  d.faces[i].path);
	if (r >= 0) {
		(void)notify("READY=1", NULL);
		r = grpc_server_run(d.server, err);
	}
	stop(&d);
	return r >= 0 && d.again ? begin_again(&d, err) : r;
}

const struct verb serve_verb = {
	.name = "serve",
	.args = "[--containerd SOCKET]... [--docker NAME]... [OPTIONS]",
	.summary = "Serve container runtimes, as a daemon in the foreground",
	.example = "overlaid serve --containerd /run/overlaid/containerd.sock",
	.options = serve_options,
	.option_count = ARRAY_LEN(serve_options),
	.options_size = sizeof(struct serve_options),
	.run = serve,
};
