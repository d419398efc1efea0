/* SPDX-License-Identifier: Apache-2.0 */
#include "driver/apply_internal.h"

#include <string.h>
#include <sys/vfs.h>
#include <sys/xattr.h>

#include "driver/base/auto.h"

#define XATTR_NAME_BYTES_MAX 255

enum verdict { DROP, KEEP, REFUSE };

/* The first rule whose text fits counts. */
static const struct {
	const char *text; /* a prefix where it ends in a dot, else the whole name */
	enum verdict verdict;
} rules[] = {
	{ "trusted.overlay.", REFUSE }, /* overlayfs obeys these: redirects to any path, for one */
	{ "user.overlay.", REFUSE },	 { "user.", KEEP },
	{ "security.capability", KEEP }, { "security.ima", KEEP },
};

static enum verdict judge(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(rules); i++) {
		size_t len = strlen(rules[i].text);

		if (rules[i].text[len - 1] != '.' ? !strcmp(name, rules[i].text) :
						    !strncmp(name, rules[i].text, len))
			return rules[i].verdict;
	}
	return DROP;
}

bool apply_keeps_xattr(const char *name)
{
	return judge(name) == KEEP;
}

static int check(const struct tar_xattr *xattr, const struct apply_limits *limits, struct err *err)
{
	struct tree_text name;

	tree_printable(xattr->name, &name);
	if (judge(xattr->name) == REFUSE)
		return fail(err, -EBADMSG, "xattr %s is not for layers to set: overlayfs obeys it",
			    name.text);
	if (strlen(xattr->name) > XATTR_NAME_BYTES_MAX)
		return fail(err, -EFBIG, "the name of xattr %s is longer than %d bytes", name.text,
			    XATTR_NAME_BYTES_MAX);
	if (xattr->len > limits->xattr_bytes)
		return fail(err, -EFBIG, "xattr %s is larger than %u bytes (%zu)%s", name.text,
			    limits->xattr_bytes, xattr->len,
			    limits->xattr_bytes < XATTR_SIZE_MAX ?
				    APPLY_LIMIT_WORDS("xattr-bytes") :
				    "");
	return 0;
}

static int check_all(const struct tar_entry *entry, const struct apply_limits *limits,
		     struct err *err)
{
	int r = 0;

	if (entry->xattr_count > limits->xattrs)
		return fail(err, -EFBIG, "more than %u xattrs (%zu)" APPLY_LIMIT_WORDS("xattrs"),
			    limits->xattrs, entry->xattr_count);
	for (size_t i = 0; r == 0 && i < entry->xattr_count; i++)
		r = check(&entry->xattrs[i], limits, err);
	return r;
}

static int set(int fd, const struct tar_xattr *xattr, struct err *err)
{
	struct tree_text name;
	struct statfs fs = { 0 };
	int code;

	if (fsetxattr(fd, xattr->name, xattr->value, xattr->len, 0) == 0)
		return 0;
	code = -errno;
	tree_printable(xattr->name, &name);
	if (code != -EOPNOTSUPP)
		return fail(err, code, "set xattr %s: %m", name.text);
	(void)fstatfs(fd, &fs);
	return fail(err, code, "the filesystem (type 0x%lx) cannot keep xattr %s",
		    (unsigned long)fs.f_type, name.text);
}

/* What an entry could have set before, and overlayfs's own marks are not among it. */
static int remove_kept(int fd, struct err *err)
{
	ssize_t size = flistxattr(fd, NULL, 0);
	auto_free char *names = NULL;

	if (size == 0 || (size < 0 && errno == EOPNOTSUPP))
		return 0;
	names = size > 0 ? malloc((size_t)size) : NULL;
	if (size > 0 && !names)
		return fail_oom(err);
	if (size > 0)
		size = flistxattr(fd, names, (size_t)size);
	for (const char *name = names; size > 0 && name < names + size; name += strlen(name) + 1) {
		if (judge(name) == KEEP && fremovexattr(fd, name) < 0)
			size = -1;
	}
	if (size < 0)
		return fail(err, -errno, "replace xattrs: %m");
	return 0;
}

int apply_xattrs(int fd, const struct tar_entry *entry, bool replace,
		 const struct apply_limits *limits, uint64_t *dropped, struct err *err)
{
	int r = check_all(entry, limits, err);

	if (r == 0 && replace)
		r = remove_kept(fd, err);
	for (size_t i = 0; r == 0 && i < entry->xattr_count; i++) {
		if (judge(entry->xattrs[i].name) == KEEP)
			r = set(fd, &entry->xattrs[i], err);
		else
			(*dropped)++;
	}
	return r;
}

int apply_no_xattrs(const struct tar_entry *entry, const struct apply_limits *limits,
		    uint64_t *dropped, struct err *err)
{
	int r = check_all(entry, limits, err);

	if (r == 0)
		*dropped += entry->xattr_count;
	return r;
}
