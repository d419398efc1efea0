/* SPDX-License-Identifier: Apache-2.0 */
#include "graph/stacked.h"

#include <fcntl.h>
#include <stdio.h>

#include "driver/base/fd.h"
#include "driver/idmap.h"
#include "driver/probe.h"

/* Besides a directory a layer, and another where a process is given them. */
#define OTHER_DESCRIPTORS 256

void stacked_release(struct stacked *s)
{
	stack_freep(&s->stack);
	for (size_t i = 0; i < s->count; i++) {
		auto_close_fn(&s->layers[i].fd);
		buf_release(&s->implied[i]);
	}
	free(s->layers);
	free(s->implied);
}

static int make_room(struct stacked *s, size_t count, struct err *err)
{
	want_descriptors(2 * count + OTHER_DESCRIPTORS);
	s->layers = calloc(count + 1, sizeof(*s->layers));
	s->implied = calloc(count + 1, sizeof(*s->implied));
	return s->layers && s->implied ? 0 : fail_oom(err);
}

static int add_layer(struct store *store, struct stacked *s, const struct digest *key,
		     struct err *err)
{
	struct stack_layer *layer = &s->layers[s->count];
	struct buf *implied = &s->implied[s->count++];
	auto_free char *path = NULL;
	int r;

	layer->fd = -EBADF;
	r = layer_read_implied(store, key, implied, err);
	if (r >= 0)
		r = layer->fd = layer_open(store, key, &path, err);
	layer->implied = buf_text(implied);
	layer->implied_bytes = implied->len;
	return r < 0 ? r : 0;
}

static int open_mapped(int plain_fd, int userns_fd, struct err *err)
{
	auto_close int mount_fd = idmap_clone(plain_fd, userns_fd, err);

	return mount_fd < 0 ? mount_fd : open_dir_at(mount_fd, ".", err);
}

static int add_tree(struct store *store, struct stacked *s, const struct keyed_tree *tree,
		    int userns_fd, struct err *err)
{
	auto_free char *path = NULL;
	auto_close int plain_fd = -EBADF;
	struct digest key;
	int fd;

	if (!tree->own) {
		(void)snprintf(key.text, sizeof(key.text), "sha256:%s", tree->hex);
		return add_layer(store, s, &key, err);
	}
	path = keyed_tree_path(store, tree);
	if (!path)
		return fail_oom(err);
	plain_fd = open_dir_at(AT_FDCWD, path, err);
	fd = plain_fd < 0 || userns_fd < 0 ? take_fd(&plain_fd) :
					     open_mapped(plain_fd, userns_fd, err);
	if (fd >= 0)
		s->layers[s->count++].fd = fd;
	return fd < 0 ? fd : 0;
}

static int finish(struct store *store, struct stacked *s, struct err *err)
{
	enum overlay_xattrs xattrs;
	int r = probe_xattrs(store->staging_fd, &xattrs, err);

	return r < 0 ? r : stack_new(s->layers, s->count, xattrs, &s->stack, err);
}

int stacked_open_layers(struct store *store, const struct layer_list *list, struct stacked *ret,
			struct err *err)
{
	int r = make_room(ret, list->count, err);

	for (size_t i = 0; r >= 0 && i < list->count; i++)
		r = add_layer(store, ret, &list->items[i].key, err);
	return r < 0 ? r : finish(store, ret, err);
}

int stacked_open_trees(struct store *store, const struct keyed_trees *trees, int userns_fd,
		       struct stacked *ret, struct err *err)
{
	int r = make_room(ret, trees->count, err);

	for (size_t i = 0; r >= 0 && i < trees->count; i++)
		r = add_tree(store, ret, &trees->list[i], userns_fd, err);
	return r < 0 ? r : finish(store, ret, err);
}
