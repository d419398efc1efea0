/* SPDX-License-Identifier: Apache-2.0 */
#include "driver/stack.h"

#include <assert.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "driver/base/buf.h"
#include "driver/tree.h"

#define LINKS_MAX    40 /* followed for one path, as in the kernel */
#define REST_MAX     ((size_t)LINKS_MAX * PATH_MAX)
#define DIRS_MAX     16384 /* kept in memory; looked at where a walk begins */
#define BUCKET_COUNT 4096
#define OPEN_MAX     8 /* a power of two */
#define OPEN_DIR     (O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)

/* A directory of one layer, kept open. */
struct open_dir {
	const struct stack_dir *dir;
	size_t layer;
	int fd;
};

struct stack {
	struct stack_layer *layers;
	size_t count;
	enum overlay_xattrs xattrs;
	struct stack_dir *root;
	struct stack_dir *newest; /* all of them, but for the root */
	size_t dir_count;
	struct stack_dir *buckets[BUCKET_COUNT]; /* by parent and name */
	struct open_dir open[OPEN_MAX];
	uint16_t *scratch; /* room for a layer's number for each layer */
};

/* ---- begin and end ---- */

int stack_new(const struct stack_layer *layers, size_t count, enum overlay_xattrs xattrs,
	      struct stack **ret, struct err *err)
{
	auto_stack struct stack *s = calloc(1, sizeof(*s));

	assert(count <= STACK_LAYERS_MAX);
	if (!s)
		return fail_oom(err);
	for (size_t i = 0; i < OPEN_MAX; i++)
		s->open[i].fd = -EBADF;
	s->count = count;
	s->xattrs = xattrs;
	s->layers = calloc(count + 1, sizeof(*s->layers));
	s->scratch = calloc(count + 1, sizeof(*s->scratch));
	if (!s->layers || !s->scratch)
		return fail_oom(err);
	if (count)
		memcpy(s->layers, layers, count * sizeof(*layers));
	*ret = take_ptr(s);
	return 0;
}

/* All but the root. */
static void forget_dirs(struct stack *s)
{
	struct stack_dir *dir;

	for (size_t i = 0; i < OPEN_MAX; i++) {
		auto_close_fn(&s->open[i].fd);
		s->open[i] = (struct open_dir){ .fd = -EBADF };
	}
	while ((dir = s->newest)) {
		s->newest = dir->made_before;
		free(dir->layers);
		free(dir);
	}
	memset(s->buckets, 0, sizeof(s->buckets));
	s->dir_count = 0;
}

void stack_free(struct stack *s)
{
	forget_dirs(s);
	if (s->root)
		free(s->root->layers);
	free(s->root);
	free(s->layers);
	free(s->scratch);
	free(s);
}

void stack_freep(struct stack **s)
{
	if (*s)
		stack_free(*s);
}

const struct stack_layer *stack_layers(const struct stack *s, size_t *ret_count)
{
	*ret_count = s->count;
	return s->layers;
}

/* ---- directories ---- */

char *stack_path(const struct stack_dir *dir)
{
	size_t at = dir->path_bytes;
	char *path = malloc(at + 1);

	if (!path)
		return NULL;
	path[at] = 0;
	for (; dir->parent; dir = dir->parent) {
		size_t len = strlen(dir->name);

		at -= len;
		memcpy(path + at, dir->name, len);
		if (at)
			path[--at] = '/';
	}
	return path;
}

/* A directory that the first `count` of s->scratch provide. */
static struct stack_dir *dir_new(struct stack *s, struct stack_dir *parent, const char *name,
				 size_t count)
{
	size_t len = strlen(name);
	struct stack_dir *dir = calloc(1, sizeof(*dir) + len + 1);
	uint16_t *layers = calloc(count + 1, sizeof(*layers));

	if (!dir || !layers) {
		free(dir);
		free(layers);
		return NULL;
	}
	memcpy(dir->name, name, len + 1);
	memcpy(layers, s->scratch, count * sizeof(*layers));
	dir->parent = parent;
	dir->layers = layers;
	dir->count = (uint16_t)count;
	if (parent)
		dir->path_bytes = parent->path_bytes + (uint32_t)len + (parent->parent ? 1 : 0);
	return dir;
}

struct stack_dir *stack_root(struct stack *s)
{
	size_t count = 0;
	bool opaque = false;

	if (s->dir_count > DIRS_MAX)
		forget_dirs(s);
	if (s->root)
		return s->root;
	for (; count < s->count && !opaque; count++) {
		s->scratch[count] = (uint16_t)count;
		opaque = whiteout_is_opaque(s->layers[count].fd, s->xattrs);
	}
	s->root = dir_new(s, NULL, "", count);
	return s->root;
}

static struct stack_dir **bucket_of(struct stack *s, const struct stack_dir *parent,
				    const char *name)
{
	uint64_t hash = (uintptr_t)parent;

	for (; *name; name++)
		hash = (hash ^ (unsigned char)*name) * 0x100000001b3u;
	return &s->buckets[(hash * 0x9e3779b97f4a7c15u >> 32) & (BUCKET_COUNT - 1)];
}

static struct stack_dir *find_dir(struct stack *s, const struct stack_dir *parent, const char *name)
{
	struct stack_dir *dir = *bucket_of(s, parent, name);

	while (dir && (dir->parent != parent || strcmp(dir->name, name) != 0))
		dir = dir->next_in_bucket;
	return dir;
}

static void keep_dir(struct stack *s, struct stack_dir *dir)
{
	struct stack_dir **bucket = bucket_of(s, dir->parent, dir->name);

	dir->next_in_bucket = *bucket;
	*bucket = dir;
	dir->made_before = s->newest;
	s->newest = dir;
	s->dir_count++;
}

bool stack_is_implied(const struct stack *s, size_t layer, const char *path)
{
	const struct stack_layer *l = &s->layers[layer];
	size_t low = 0, high = l->implied_bytes;

	/* Both are where a path begins, or the end. */
	while (low < high) {
		size_t at = low + (high - low) / 2;
		int order;

		while (at > low && l->implied[at - 1])
			at--;
		order = strcmp(path, l->implied + at);
		if (!order)
			return true;
		if (order < 0)
			high = at;
		else
			low = at + strlen(l->implied + at) + 1;
	}
	return false;
}

/* ---- layers ---- */

int stack_open_dir(struct stack *s, const struct stack_dir *dir, size_t layer, struct err *err)
{
	auto_free char *path = stack_path(dir);

	return path ? tree_open_dir(s->layers[layer].fd, path, err) : fail_oom(err);
}

/* As stack_open_dir; the descriptor is the stack's, and lives until the next call. */
static int dir_fd(struct stack *s, const struct stack_dir *dir, size_t layer, struct err *err)
{
	size_t slot = (((uintptr_t)dir >> 4) + layer) & (OPEN_MAX - 1);
	struct open_dir *open = &s->open[slot];
	int fd;

	if (!dir->parent)
		return s->layers[layer].fd;
	if (open->dir == dir && open->layer == layer)
		return open->fd;
	fd = stack_open_dir(s, dir, layer, err);
	if (fd < 0)
		return fd;
	auto_close_fn(&open->fd);
	*open = (struct open_dir){ dir, layer, fd };
	return fd;
}

/* What one layer has by this name in the directory: 1 and *ret, 0: nothing. */
static int look(struct stack *s, const struct stack_dir *dir, size_t layer, const char *name,
		struct stat *ret, struct err *err)
{
	struct tree_text text;
	int fd = dir_fd(s, dir, layer, err);

	if (fd < 0)
		return fd;
	if (fstatat(fd, name, ret, AT_SYMLINK_NOFOLLOW) == 0)
		return 1;
	if (errno == ENOENT)
		return 0;
	return fail(err, -errno, "look at %s in a layer: %m", tree_printable(name, &text));
}

static int is_opaque(struct stack *s, const struct stack_dir *dir, size_t layer, const char *name,
		     struct err *err)
{
	struct tree_text text;
	auto_close int fd = -EBADF;
	int in = dir_fd(s, dir, layer, err);

	if (in < 0)
		return in;
	fd = openat(in, name, OPEN_DIR);
	if (fd < 0)
		return fail(err, -errno, "open %s in a layer: %m", tree_printable(name, &text));
	return whiteout_is_opaque(fd, s->xattrs);
}

/* ---- one name ---- */

/* The search for a name, layer by layer. */
struct search {
	struct stack *s;
	struct stack_dir *in;
	const char *name;
	char *path;   /* of it; NULL: no layer above needed it so far; owned */
	size_t count; /* directories, in s->scratch */
	bool cut;     /* what lies beneath is not merged any more */
	bool said;    /* a layer was found that says what the directory is: */
	size_t says;
};

static void search_release(struct search *f)
{
	free(f->path);
}

static int is_implied_here(struct search *f, size_t layer, struct err *err)
{
	struct stack_dir *in = f->in;
	auto_free char *parent = NULL;

	if (!f->s->layers[layer].implied_bytes)
		return 0;
	if (!f->path) {
		parent = stack_path(in);
		if (!parent ||
		    asprintf(&f->path, "%s%s%s", parent, *parent ? "/" : "", f->name) < 0) {
			f->path = NULL;
			return fail_oom(err);
		}
	}
	return stack_is_implied(f->s, layer, f->path);
}

/* A directory in one more layer. 1: the search is over. */
static int merge(struct search *f, size_t layer, struct err *err)
{
	int r;

	if (!f->cut)
		f->s->scratch[f->count++] = (uint16_t)layer;
	if (!f->said) {
		r = is_implied_here(f, layer, err);
		if (r < 0)
			return r;
		f->said = !r;
		f->says = layer;
	}
	if (!f->cut) {
		r = is_opaque(f->s, f->in, layer, f->name, err);
		if (r < 0)
			return r;
		f->cut = r;
	}
	return f->cut && f->said;
}

static int search(struct search *f, struct stack_found *ret, struct err *err)
{
	struct stat st;

	for (size_t i = 0; i < f->in->count; i++) {
		size_t layer = f->in->layers[i];
		int r = look(f->s, f->in, layer, f->name, &st, err);

		if (r < 0)
			return r;
		if (r == 0)
			continue;
		if (whiteout_is(&st))
			break;
		if (!S_ISDIR(st.st_mode)) {
			if (!f->count) {
				ret->type = STACK_OTHER;
				ret->layer = layer;
				ret->st = st;
			}
			break;
		}
		r = merge(f, layer, err);
		if (r < 0)
			return r;
		if (r)
			break;
	}
	return 0;
}

int stack_step(struct stack *s, struct stack_dir *dir, const char *name, struct stack_found *ret,
	       struct err *err)
{
	AUTO(search_release) struct search f = { .s = s, .in = dir, .name = name };
	struct stack_found found = { .type = STACK_MISSING, .in = dir };
	struct stack_dir *made = find_dir(s, dir, name);
	size_t len = strlen(name);
	int r;

	if (len > NAME_MAX)
		return fail(err, -ENAMETOOLONG, "a name is longer than %d bytes", NAME_MAX);
	memcpy(found.name, name, len + 1);
	r = made ? 0 : search(&f, &found, err);
	if (r < 0)
		return r;
	if (f.count) {
		made = dir_new(s, dir, name, f.count);
		if (!made)
			return fail_oom(err);
		made->implied = !f.said;
		made->says = f.said ? (uint16_t)f.says : made->layers[0];
		keep_dir(s, made);
	}
	if (made) {
		found.type = STACK_DIR;
		found.dir = made;
		found.layer = made->layers[0];
	}
	*ret = found;
	return 0;
}

int stack_read_link(struct stack *s, const struct stack_found *found, char ret[PATH_MAX],
		    struct err *err)
{
	struct tree_text text;
	char target[PATH_MAX];
	int fd = dir_fd(s, found->in, found->layer, err);
	ssize_t len;

	if (fd < 0)
		return fd;
	len = readlinkat(fd, found->name, target, sizeof(target));
	if (len < 0 || len == sizeof(target))
		return fail(err, len < 0 ? -errno : -ENAMETOOLONG, "read link %s in a layer: %m",
			    tree_printable(found->name, &text));
	memcpy(ret, target, (size_t)len);
	ret[len] = 0;
	return 0;
}

/* ---- paths ---- */

/* Where the way through a path has come to. */
struct way {
	struct stack *s;
	struct stack_found at; /* a directory, until the end */
	struct buf rest;       /* of the path, from `next` on */
	size_t next;
	unsigned int links;
};

static void way_release(struct way *way)
{
	buf_release(&way->rest);
}

static void go_to(struct way *way, struct stack_dir *dir)
{
	way->at.type = STACK_DIR;
	way->at.dir = dir;
}

static int follow(struct way *way, const struct stack_found *link, struct err *err)
{
	auto_buf struct buf rest = { .max = REST_MAX };
	struct tree_text text;
	char target[PATH_MAX];
	int r;

	if (++way->links > LINKS_MAX)
		return fail(err, -ELOOP, "%s: %m", tree_printable(link->name, &text));
	r = stack_read_link(way->s, link, target, err);
	if (r < 0)
		return r;
	(void)buf_puts(&rest, target);
	(void)buf_putc(&rest, '/');
	(void)buf_puts(&rest, buf_text(&way->rest) + way->next);
	if (rest.status)
		return buf_status(&rest, err);
	buf_release(&way->rest);
	way->rest = rest;
	rest = (struct buf){ 0 };
	way->next = 0;
	if (target[0] == '/')
		go_to(way, way->s->root);
	return 0;
}

/* The next name of the path into `name`: its length; 0 where there is none. */
static ssize_t next_name(struct way *way, char name[NAME_MAX + 1], bool *ret_last, struct err *err)
{
	const char *at = buf_text(&way->rest) + way->next;
	size_t len;

	at += strspn(at, "/");
	len = strcspn(at, "/");
	if (len > NAME_MAX)
		return fail(err, -ENAMETOOLONG, "a name is longer than %d bytes", NAME_MAX);
	memcpy(name, at, len);
	name[len] = 0;
	way->next = (size_t)(at - buf_text(&way->rest)) + len;
	*ret_last = !at[len + strspn(at + len, "/")];
	return (ssize_t)len;
}

/* 1: on to the next name; 0: *way->at is what there is. */
static int pass(struct way *way, const char *name, bool last, unsigned int flags, struct err *err)
{
	struct stack_dir *dir = way->at.dir;
	int r;

	if (!strcmp(name, ".."))
		go_to(way, dir->parent ? dir->parent : dir);
	if (!strcmp(name, "..") || !strcmp(name, "."))
		return 1;
	r = stack_step(way->s, dir, name, &way->at, err);
	if (r < 0)
		return r;
	if (way->at.type == STACK_DIR)
		return 1;
	if (way->at.type == STACK_OTHER && S_ISLNK(way->at.st.st_mode) &&
	    (flags & (last ? STACK_FOLLOW_LAST : STACK_FOLLOW))) {
		struct stack_found link = way->at;

		go_to(way, dir);
		r = follow(way, &link, err);
		return r < 0 ? r : 1;
	}
	if (!last)
		way->at.type = STACK_MISSING;
	return 0;
}

int stack_lookup(struct stack *s, const char *path, unsigned int flags, struct stack_found *ret,
		 struct err *err)
{
	AUTO(way_release) struct way way = { .s = s, .rest = { .max = REST_MAX } };
	struct stack_dir *root = stack_root(s);
	char name[NAME_MAX + 1];
	bool last = false;
	ssize_t len;
	int r = 1;

	if (!root)
		return fail_oom(err);
	go_to(&way, root);
	(void)buf_puts(&way.rest, path);
	if (way.rest.status)
		return buf_status(&way.rest, err);
	while (r == 1) {
		len = next_name(&way, name, &last, err);
		if (len <= 0) {
			r = (int)len;
			break;
		}
		r = pass(&way, name, last, flags, err);
	}
	if (r < 0)
		return r;
	*ret = way.at;
	if (ret->type == STACK_DIR && root->count)
		ret->layer = ret->dir->layers[0];
	return 0;
}
