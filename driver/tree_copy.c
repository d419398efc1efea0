/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>
#include <linux/limits.h>
#include <sys/xattr.h>

#include "driver/base/auto.h"
#include "driver/tree.h"

#define XATTR_LIST_MAX 65536

/* Overlayfs's own describe the layer, not the directory; a label is the host's to give. */
static bool is_copied(const char *name)
{
	return strncmp(name, "trusted.overlay.", 16) != 0 &&
	       strncmp(name, "user.overlay.", 13) != 0 && strcmp(name, "security.selinux") != 0;
}

static int copy_xattr(const char *from, int to_fd, const char *name, struct err *err)
{
	char value[XATTR_SIZE_MAX];
	ssize_t len = getxattr(from, name, value, sizeof(value));

	if (len < 0 || fsetxattr(to_fd, name, value, (size_t)len, 0) < 0)
		return fail(err, -errno, "copy the extended attribute %s of a directory: %m", name);
	return 0;
}

static int copy_xattrs(const char *from, int to_fd, struct err *err)
{
	auto_free char *names = malloc(XATTR_LIST_MAX);
	ssize_t len;

	if (!names)
		return fail_oom(err);
	len = listxattr(from, names, XATTR_LIST_MAX);
	if (len < 0)
		return errno == EOPNOTSUPP ?
			       0 :
			       fail(err, -errno, "list the extended attributes of a directory: %m");
	for (const char *name = names; name < names + len; name += strlen(name) + 1) {
		int r = is_copied(name) ? copy_xattr(from, to_fd, name, err) : 0;

		if (r < 0)
			return r;
	}
	return 0;
}

int tree_copy_dir_metadata(int from_fd, int to_fd, struct err *err)
{
	char from[32];
	struct stat st;
	int r;

	/* The xattr calls take no O_PATH descriptor. */
	(void)snprintf(from, sizeof(from), "/proc/self/fd/%d", from_fd);
	if (fstat(from_fd, &st) < 0)
		return fail(err, -errno, "stat a directory: %m");
	if (fchown(to_fd, st.st_uid, st.st_gid) < 0 || fchmod(to_fd, st.st_mode & 07777) < 0)
		return fail(err, -errno, "set owner and mode of a directory: %m");
	r = copy_xattrs(from, to_fd, err);
	if (r >= 0 && futimens(to_fd, (const struct timespec[2]){ st.st_atim, st.st_mtim }) < 0)
		r = fail(err, -errno, "set the times of a directory: %m");
	return r;
}
