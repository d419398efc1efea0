/* SPDX-License-Identifier: Apache-2.0 */
#include "driver/idmap.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>

#include "driver/base/buf.h"
#include "driver/base/sys.h"
#include "driver/probe.h"

#define MAP_TEXT_MAX 4095 /* bytes; the kernel takes less than a page */

void idmap_release(struct idmap *map)
{
	auto_free_fn(&map->uids);
	auto_free_fn(&map->gids);
	*map = (struct idmap){ 0 };
}

/* ---- parsing ---- */

static bool parse_number(const char **at, char end, uint32_t *ret)
{
	uint64_t value = 0;
	const char *c = *at;

	for (; *c >= '0' && *c <= '9'; c++) {
		value = value * 10 + (uint64_t)(*c - '0');
		if (value > UINT32_MAX)
			return false;
	}
	if (c == *at || *c != end)
		return false;
	*at = c + 1;
	*ret = (uint32_t)value;
	return true;
}

/* `count` ids from `first` on are ids. */
static bool fits(uint32_t first, uint32_t count)
{
	return (uint64_t)first + count <= UINT32_MAX;
}

static bool overlap(uint32_t a, uint32_t a_count, uint32_t b, uint32_t b_count)
{
	return a < b ? b - a < a_count : a - b < b_count;
}

static int check_range(const struct idmap_range *ranges, size_t count,
		       const struct idmap_range *new, struct err *err)
{
	if (!new->count)
		return fail(err, -EINVAL, "%u:%u:0 maps nothing", new->inside, new->outside);
	if (!fits(new->inside, new->count) || !fits(new->outside, new->count))
		return fail(err, -EINVAL, "%u:%u:%u goes beyond the greatest id, 4294967294",
			    new->inside, new->outside, new->count);
	for (size_t i = 0; i < count; i++)
		if (overlap(ranges[i].inside, ranges[i].count, new->inside, new->count) ||
		    overlap(ranges[i].outside, ranges[i].count, new->outside, new->count))
			return fail(err, -EINVAL, "%u:%u:%u and %u:%u:%u overlap", ranges[i].inside,
				    ranges[i].outside, ranges[i].count, new->inside, new->outside,
				    new->count);
	return 0;
}

/* One range; *at is then at the next one, or at the end. */
static bool parse_range(const char **at, struct idmap_range *ret)
{
	const char *rest;

	if (!parse_number(at, ':', &ret->inside) || !parse_number(at, ':', &ret->outside))
		return false;
	rest = *at;
	if (parse_number(at, '\0', &ret->count)) {
		*at -= 1; /* stays at the NUL */
		return true;
	}
	*at = rest;
	/* A comma must be followed by another one. */
	return parse_number(at, ',', &ret->count) && **at;
}

static int parse_map(const char *text, struct idmap_range **ret, size_t *ret_count, struct err *err)
{
	auto_free struct idmap_range *ranges = calloc(IDMAP_RANGES_MAX, sizeof(*ranges));
	const char *at = text;
	size_t count = 0;
	int r = 0;

	if (!ranges)
		return fail_oom(err);
	do {
		struct idmap_range range = { 0 };

		if (count == IDMAP_RANGES_MAX)
			return fail(err, -EINVAL, "more than %d ranges", IDMAP_RANGES_MAX);
		if (!parse_range(&at, &range))
			return fail(err, -EINVAL,
				    "\"%.100s\" is not of the form inside:outside:count,...", text);
		r = check_range(ranges, count, &range, err);
		ranges[count++] = range;
	} while (r == 0 && *at);
	if (r < 0)
		return r;
	*ret = take_ptr(ranges);
	*ret_count = count;
	return 0;
}

int idmap_parse(const char *uids, const char *gids, struct idmap *ret, struct err *err)
{
	auto_idmap struct idmap map = { 0 };
	int r = parse_map(uids, &map.uids, &map.uid_count, err);

	if (r < 0)
		return err_prefix(err, r, "mapping of user ids");
	r = parse_map(gids, &map.gids, &map.gid_count, err);
	if (r < 0)
		return err_prefix(err, r, "mapping of group ids");
	*ret = map;
	map = (struct idmap){ 0 };
	return 0;
}

bool idmap_outside(const struct idmap_range *ranges, size_t count, uint32_t inside, uint32_t *ret)
{
	for (size_t i = 0; i < count; i++)
		if (inside >= ranges[i].inside && inside - ranges[i].inside < ranges[i].count) {
			*ret = ranges[i].outside + (inside - ranges[i].inside);
			return true;
		}
	return false;
}

bool idmap_inside(const struct idmap_range *ranges, size_t count, uint32_t outside, uint32_t *ret)
{
	for (size_t i = 0; i < count; i++)
		if (outside >= ranges[i].outside && outside - ranges[i].outside < ranges[i].count) {
			*ret = ranges[i].inside + (outside - ranges[i].outside);
			return true;
		}
	return false;
}

/* Ranges do not overlap. */
bool idmap_covers(const struct idmap_range *ranges, size_t count, uint32_t last)
{
	uint64_t covered = 0;

	for (size_t i = 0; i < count; i++) {
		uint64_t end = (uint64_t)ranges[i].inside + ranges[i].count;

		if (ranges[i].inside <= last)
			covered += (end <= last ? end : (uint64_t)last + 1) - ranges[i].inside;
	}
	return covered == (uint64_t)last + 1;
}

/* ---- the namespace ---- */

/* Waits for the end of what holds the other end, and touches nothing that is not its own. */
static _Noreturn void live(const int pipe_fds[2])
{
	char byte;

	(void)close(pipe_fds[1]);
	while (read(pipe_fds[0], &byte, 1) < 0 && errno == EINTR)
		;
	_exit(0);
}

static int open_proc(pid_t pid, const char *name, int flags, struct err *err)
{
	char path[64];
	int fd;

	(void)snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
	fd = open(path, flags | O_CLOEXEC);
	return fd < 0 ? fail(err, -errno, "open %s: %m", path) : fd;
}

/* The kernel takes it in one write, once. */
static int write_map(pid_t pid, const char *name, const struct idmap_range *ranges, size_t count,
		     struct err *err)
{
	auto_buf struct buf text = { .max = MAP_TEXT_MAX };
	auto_close int fd = -EBADF;
	ssize_t len;

	for (size_t i = 0; i < count; i++)
		(void)buf_printf(&text, "%u %u %u\n", ranges[i].inside, ranges[i].outside,
				 ranges[i].count);
	if (buf_status(&text, NULL) == -EFBIG)
		return fail(err, -E2BIG, "%zu ranges are longer than the page the kernel takes",
			    count);
	if (buf_status(&text, err) < 0)
		return -ENOMEM;
	fd = open_proc(pid, name, O_WRONLY, err);
	if (fd < 0)
		return fd;
	len = write(fd, text.data, text.len);
	if (len != (ssize_t)text.len)
		return fail(err, len < 0 ? -errno : -EIO, "write %s: %m", name);
	return 0;
}

static int map_namespace(pid_t pid, const struct idmap *map, struct err *err)
{
	int r = write_map(pid, "uid_map", map->uids, map->uid_count, err);

	if (r == 0)
		r = write_map(pid, "gid_map", map->gids, map->gid_count, err);
	return r < 0 ? r : open_proc(pid, "ns/user", O_RDONLY, err);
}

int idmap_userns(const struct idmap *map, struct err *err)
{
	int pipe_fds[2], r;
	sigset_t all, old;
	pid_t pid;

	if (pipe2(pipe_fds, O_CLOEXEC) < 0)
		return fail(err, -errno, "make a pipe: %m");
	/* No handler of the host program runs in the child. */
	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &old);
	pid = sys_fork_userns();
	if (pid == 0)
		live(pipe_fds);
	(void)pthread_sigmask(SIG_SETMASK, &old, NULL);
	(void)close(pipe_fds[0]);
	if (pid < 0) {
		r = fail(err, pid, "make a user namespace: %m%s",
			 pid == -ENOSPC ? "; more are not allowed (user.max_user_namespaces)" : "");
	} else {
		r = map_namespace(pid, map, err);
		(void)kill(pid, SIGKILL);
		while (waitpid(pid, NULL, __WALL) < 0 && errno == EINTR)
			;
	}
	(void)close(pipe_fds[1]);
	return r < 0 ? err_prefix(err, r, "user namespace for mapped ids") : r;
}

/* ---- the mount ---- */

static int explain_refusal(int tree_fd, int code, struct err *err)
{
	char fs_name[PROBE_FS_NAME] = "an unknown type";

	if (code == -ENOSYS)
		return fail(err, code, "mounts with mapped ids need Linux 5.12 or later");
	if (code != -EINVAL && code != -EOPNOTSUPP)
		return fail(err, code, "map the ids of a mount: %m");
	probe_fs_name(tree_fd, fs_name);
	return fail(err, -EOPNOTSUPP,
		    "this kernel maps no ids on a filesystem of type %s;"
		    " ext4, xfs and btrfs can, and tmpfs from Linux 6.3 on",
		    fs_name);
}

int idmap_clone(int tree_fd, int userns_fd, struct err *err)
{
	struct mount_attr attr = { .attr_set = MOUNT_ATTR_IDMAP | MOUNT_ATTR_RDONLY,
				   .userns_fd = (uint64_t)userns_fd };
	auto_close int fd = sys_open_tree(tree_fd, "", OPEN_TREE_CLONE | AT_EMPTY_PATH);
	int r;

	if (fd < 0 && fd != -ENOSYS)
		return fail(err, fd, "clone the mount of a layer: %m");
	r = fd < 0 ? fd : sys_mount_setattr(fd, "", AT_EMPTY_PATH, &attr, sizeof(attr));
	return r < 0 ? explain_refusal(tree_fd, r, err) : take_fd(&fd);
}
