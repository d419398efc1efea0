/* SPDX-License-Identifier: Apache-2.0 */
#include "driver/overlay.h"

#include <assert.h>
#include <fcntl.h>
#include <string.h>

#include "driver/base/fd.h"
#include "driver/tree.h"

#define LOWERS_FIRST_CAPACITY 16 /* most images have fewer layers; a power of two, see grow() */

void overlay_plan_release(struct overlay_plan *plan)
{
	static const struct overlay_plan empty = OVERLAY_PLAN_INIT;

	for (size_t i = 0; i < plan->lower_count; i++) {
		auto_close_fn(&plan->lower_fds[i]);
		auto_free_fn(&plan->lower_paths[i]);
	}
	auto_free_fn(&plan->lower_fds);
	auto_free_fn(&plan->lower_paths);
	auto_close_fn(&plan->upper_fd);
	auto_close_fn(&plan->work_fd);
	auto_free_fn(&plan->upper_path);
	auto_free_fn(&plan->work_path);
	auto_free_fn(&plan->source);
	auto_free_fn(&plan->context);
	*plan = empty;
}

/* Layer paths have a long common start, and all one length: the end, which differs, is compared
 * first. */
static bool same_path(const char *a, const char *b)
{
	size_t len = strlen(a);

	if (len != strlen(b))
		return false;
	while (len && a[len - 1] == b[len - 1])
		len--;
	return len == 0;
}

static bool has_lower(const struct overlay_plan *plan, const char *path)
{
	for (size_t i = 0; i < plan->lower_count; i++)
		if (same_path(plan->lower_paths[i], path))
			return true;
	return false;
}

/* Room for one more. The capacity is not kept: it is the smallest power of two that holds the
 * count. */
static int grow(struct overlay_plan *plan, struct err *err)
{
	size_t count = plan->lower_count;
	size_t capacity = count ? count * 2 : LOWERS_FIRST_CAPACITY;
	int *fds;
	char **paths;

	if (count && (count < LOWERS_FIRST_CAPACITY || (count & (count - 1))))
		return 0;
	fds = reallocarray(plan->lower_fds, capacity, sizeof(*fds));
	if (!fds)
		return fail_oom(err);
	plan->lower_fds = fds;
	paths = reallocarray(plan->lower_paths, capacity, sizeof(*paths));
	if (!paths)
		return fail_oom(err);
	plan->lower_paths = paths;
	return 0;
}

int overlay_plan_add_lower(struct overlay_plan *plan, int fd, const char *path, struct err *err)
{
	auto_close int owned = fd;
	char *copy;
	int r;

	if (has_lower(plan, path))
		return 0;
	if (plan->lower_count >= OVERLAY_LOWERS_MAX)
		return fail(err, -E2BIG, "%s: overlayfs stacks at most %d lower directories", path,
			    OVERLAY_LOWERS_MAX);
	r = grow(plan, err);
	if (r < 0)
		return r;
	copy = strdup(path);
	if (!copy)
		return fail_oom(err);
	plan->lower_fds[plan->lower_count] = take_fd(&owned);
	plan->lower_paths[plan->lower_count++] = copy;
	return 0;
}

int overlay_plan_set_upper(struct overlay_plan *plan, int upper_fd, const char *upper_path,
			   int work_fd, const char *work_path, struct err *err)
{
	auto_close int upper = upper_fd;
	auto_close int work = work_fd;
	auto_free char *upper_copy = strdup(upper_path);
	auto_free char *work_copy = strdup(work_path);

	assert(plan->upper_fd < 0 && plan->work_fd < 0);
	if (!upper_copy || !work_copy)
		return fail_oom(err);
	plan->upper_fd = take_fd(&upper);
	plan->work_fd = take_fd(&work);
	plan->upper_path = take_ptr(upper_copy);
	plan->work_path = take_ptr(work_copy);
	return 0;
}

size_t overlay_plan_missing_lowers(const struct overlay_plan *plan)
{
	size_t wanted = plan->upper_fd >= 0 ? 1 : 2;

	return plan->lower_count < wanted ? wanted - plan->lower_count : 0;
}

struct removal {
	int dirfd;
	struct err *err;
};

static int remove_name(void *arg, const char *name)
{
	struct removal *removal = arg;

	return tree_remove_at(removal->dirfd, name, removal->err);
}

int overlay_reset_work(int work_parent_fd, const char *name, struct err *err)
{
	auto_close int fd = openat(work_parent_fd, name,
				   O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	struct removal removal = { .dirfd = fd, .err = err };
	int r = fd < 0 ? fail(err, -errno, "open it: %m") :
			 foreach_name(fd, remove_name, &removal, err);

	return r < 0 ? err_prefix(err, r, "empty the work directory %s", name) : 0;
}

int overlay_check_lowers(size_t lowers, const char *what, struct err *err)
{
	if (lowers <= OVERLAY_LOWERS_MAX)
		return 0;
	return fail(
		err, -E2BIG,
		"%s has %zu layers, and overlayfs stacks at most %d; rebuild it with fewer (for example with --squash)",
		what, lowers, OVERLAY_LOWERS_MAX);
}
