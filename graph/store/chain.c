/* SPDX-License-Identifier: Apache-2.0 */
#include "graph/store/chain.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "driver/base/fd.h"
#include "driver/probe.h"
#include "driver/whiteout.h"

int chain_add_lowers(struct store *store, const struct layer_list *layers,
		     struct overlay_plan *plan, struct err *err)
{
	bool opaque = false;
	int r = probe_xattrs(store->staging_fd, &plan->xattrs, err);

	for (size_t i = layers->count; r >= 0 && i-- > 0 && !opaque;) {
		auto_free char *path = NULL;
		int fd = layer_open(store, &layers->items[i].key, &path, err);

		if (fd < 0)
			return fd;
		/* Overlayfs merges the roots of all lowers, whatever they are marked. */
		opaque = whiteout_is_opaque(fd, plan->xattrs);
		r = overlay_plan_add_lower(plan, fd, path, err);
	}
	return r;
}

int chain_set_upper(struct store *store, const char *uid, const char *tree,
		    struct overlay_plan *plan, struct err *err)
{
	auto_free char *upper_path = NULL, *work_path = NULL;
	auto_close int upper_fd = -EBADF, work_fd = -EBADF;

	if (asprintf(&upper_path, "%s/snapshots/%s/%s", store->root_path, uid, tree) < 0 ||
	    asprintf(&work_path, "%s/snapshots/%s/work", store->root_path, uid) < 0)
		return fail_oom(err);
	upper_fd = open(upper_path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	work_fd = open(work_path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (upper_fd < 0 || work_fd < 0)
		return fail(err, -errno, "open the directories of %s/snapshots/%s: %m",
			    store->root_path, uid);
	return overlay_plan_set_upper(plan, take_fd(&upper_fd), upper_path, take_fd(&work_fd),
				      work_path, err);
}

int chain_empty_path(const struct store *store, size_t i, char **ret, struct err *err)
{
	auto_free char *path = NULL;
	int r;

	if (asprintf(&path, "%s/empty%zu", store->run_path, i) < 0)
		return fail_oom(err);
	r = mkdir_parents(path, 0755, err);
	if (r >= 0)
		*ret = take_ptr(path);
	return r;
}

int chain_pad(struct store *store, struct overlay_plan *plan, struct err *err)
{
	size_t missing = overlay_plan_missing_lowers(plan);

	for (size_t i = 0; i < missing; i++) {
		auto_free char *path = NULL;
		int fd, r = chain_empty_path(store, i, &path, err);

		if (r < 0)
			return r;
		fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (fd < 0)
			return fail(err, -errno, "open %s: %m", path);
		r = overlay_plan_add_lower(plan, fd, path, err);
		if (r < 0)
			return r;
	}
	return 0;
}

int chain_id_next(const struct digest *parent, const struct digest *diff_id, struct digest *ret,
		  struct err *err)
{
	char text[2 * DIGEST_TEXT_MAX];

	if (!parent) {
		*ret = *diff_id;
		return 0;
	}
	(void)snprintf(text, sizeof(text), "%s %s", parent->text, diff_id->text);
	return digest_of("sha256", text, strlen(text), ret, err);
}

int chain_patch_key(const struct digest *chain_id, struct digest *ret, struct err *err)
{
	char text[2 * DIGEST_TEXT_MAX];

	(void)snprintf(text, sizeof(text), "overlaid patch 1 %s", chain_id->text);
	return digest_of("sha256", text, strlen(text), ret, err);
}

int chain_check_derived(size_t directories, bool patched, const char *what, struct err *err)
{
	if (directories > OVERLAY_LOWERS_MAX && patched)
		return fail(err, -E2BIG,
			    "%s has %zu layers and needs one more, with the metadata of directories "
			    "that its layers only imply, and overlayfs stacks at most %d; rebuild it "
			    "with fewer (for example with --squash)",
			    what, directories - 1, OVERLAY_LOWERS_MAX);
	return overlay_check_lowers(directories, what, err);
}

static int compare_digests(const void *a, const void *b)
{
	return strcmp(((const struct digest *)a)->text, ((const struct digest *)b)->text);
}

int chain_check_length(const struct oci_config *config, uint32_t max, const char *what,
		       struct err *err)
{
	auto_free struct digest *sorted = NULL;
	size_t distinct = 0;
	int r;

	if (config->diff_id_count <= max)
		return 0;
	sorted = calloc(config->diff_id_count, sizeof(*sorted));
	if (!sorted)
		return fail_oom(err);
	memcpy(sorted, config->diff_ids, config->diff_id_count * sizeof(*sorted));
	qsort(sorted, config->diff_id_count, sizeof(*sorted), compare_digests);
	for (size_t i = 0; i < config->diff_id_count; i++)
		distinct += i == 0 || !digest_equal(&sorted[i], &sorted[i - 1]);
	r = overlay_check_lowers(distinct, what, err);
	if (r == 0 && distinct > max)
		r = fail(err, -E2BIG, "%s has %zu layers, more than %u" APPLY_LIMIT_WORDS("layers"),
			 what, distinct, max);
	return r;
}
