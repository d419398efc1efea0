/* SPDX-License-Identifier: Apache-2.0 */
#include "driver/whiteout.h"

#include <fcntl.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include "driver/tree.h"

#define PREFIX	    ".wh."
#define PREFIX_LEN  (sizeof(PREFIX) - 1)
#define OPAQUE_NAME ".wh..opq" /* after the prefix */

enum whiteout_kind whiteout_parse(const char *name, const char **ret_hidden)
{
	const char *hidden;

	if (strncmp(name, PREFIX, PREFIX_LEN))
		return WHITEOUT_NONE;
	hidden = name + PREFIX_LEN;
	if (!strcmp(hidden, "") || !strcmp(hidden, ".") || !strcmp(hidden, ".."))
		return WHITEOUT_INVALID;
	if (!strcmp(hidden, OPAQUE_NAME))
		return WHITEOUT_OPAQUE;
	if (!strncmp(hidden, PREFIX, PREFIX_LEN))
		return WHITEOUT_SKIP;
	*ret_hidden = hidden;
	return WHITEOUT_NAME;
}

const char *whiteout_opaque_xattr(enum overlay_xattrs xattrs)
{
	return xattrs == OVERLAY_XATTRS_USER ? "user.overlay.opaque" : "trusted.overlay.opaque";
}

bool whiteout_is(const struct stat *st)
{
	return S_ISCHR(st->st_mode) && st->st_rdev == makedev(0, 0);
}

int whiteout_create(int dirfd, const char *name, struct err *err)
{
	struct tree_text text;

	if (mknodat(dirfd, name, S_IFCHR, makedev(0, 0)) < 0)
		return fail(err, -errno, "make the whiteout of %s: %m",
			    tree_printable(name, &text));
	return 0;
}

int whiteout_set_opaque(int dir_fd, enum overlay_xattrs xattrs, struct err *err)
{
	const char *name = whiteout_opaque_xattr(xattrs);

	if (fsetxattr(dir_fd, name, "y", 1, 0) < 0)
		return fail(err, -errno, "mark a directory opaque (%s): %m", name);
	return 0;
}

int whiteout_mark_parent(int dir_fd, enum overlay_xattrs xattrs, struct err *err)
{
	const char *name = xattrs == OVERLAY_XATTRS_USER ? "user.overlay.origin" :
							   "trusted.overlay.origin";

	if (fsetxattr(dir_fd, name, "", 0, 0) < 0)
		return fail(err, -errno, "mark a directory that holds whiteouts (%s): %m", name);
	return 0;
}

bool whiteout_is_opaque(int dir_fd, enum overlay_xattrs xattrs)
{
	char value[2];

	return fgetxattr(dir_fd, whiteout_opaque_xattr(xattrs), value, sizeof(value)) == 1 &&
	       value[0] == 'y';
}

bool whiteout_path_is_opaque(const char *path, enum overlay_xattrs xattrs)
{
	char value[2];

	return getxattr(path, whiteout_opaque_xattr(xattrs), value, sizeof(value)) == 1 &&
	       value[0] == 'y';
}
