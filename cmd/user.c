/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/user.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/rootfs.h"
#include "driver/base/buf.h"

/* A piece of a line: not ended by NUL. */
struct field {
	const char *text;
	size_t len;
};

void user_release(struct user *user)
{
	int saved = errno;

	free(user->groups);
	free(user->home);
	*user = (struct user){ 0 };
	errno = saved;
}

static bool field_is(struct field field, const char *text, size_t len)
{
	return field.len == len && memcmp(field.text, text, len) == 0;
}

/* 0..USER_ID_MAX in decimal digits, nothing else. */
static bool parse_id(struct field field, unsigned int *ret)
{
	unsigned long long id = 0;

	if (field.len == 0 || field.len > 10)
		return false;
	for (size_t i = 0; i < field.len; i++) {
		if (field.text[i] < '0' || field.text[i] > '9')
			return false;
		id = id * 10 + (unsigned int)(field.text[i] - '0');
	}
	if (id > USER_ID_MAX)
		return false;
	*ret = (unsigned int)id;
	return true;
}

/* The next line's fields, at most `max`; *at moves on. Returns how many, 0 at the end; lines that
 * hold nothing are passed over. */
static size_t next_line(const char **at, struct field *fields, size_t max)
{
	while (**at) {
		size_t len = strcspn(*at, "\n");
		const char *p = *at, *end = p + len;
		size_t count = 0;

		*at = end + (*end == '\n');
		if (len == 0 || *p == '#')
			continue;
		while (count < max) {
			const char *colon = memchr(p, ':', (size_t)(end - p));
			const char *stop = colon ? colon : end;

			fields[count++] = (struct field){ p, (size_t)(stop - p) };
			if (!colon)
				break;
			p = colon + 1;
		}
		return count;
	}
	return 0;
}

struct passwd_entry {
	struct field name, home;
	unsigned int uid, gid;
};

/* The first entry of that name, else the first of that number. */
static bool find_passwd(const char *passwd, const char *name, size_t name_len,
			struct passwd_entry *ret)
{
	struct field wanted = { name, name_len };
	struct field f[7];
	unsigned int uid = 0;
	bool numeric = parse_id(wanted, &uid), found = false;

	for (size_t count; (count = next_line(&passwd, f, ARRAY_LEN(f))) > 0;) {
		struct passwd_entry entry = { .name = f[0] };
		bool by_name = field_is(f[0], name, name_len);

		if (count < 4 || !parse_id(f[2], &entry.uid) || !parse_id(f[3], &entry.gid))
			continue;
		if (!by_name && (found || !numeric || entry.uid != uid))
			continue;
		entry.home = count > 5 ? f[5] : (struct field){ "", 0 };
		*ret = entry;
		found = true;
		if (by_name)
			return true;
	}
	return found;
}

static bool find_group(const char *group, const char *name, size_t name_len, unsigned int *ret)
{
	struct field f[4];

	for (size_t count; (count = next_line(&group, f, ARRAY_LEN(f))) > 0;) {
		if (count >= 3 && field_is(f[0], name, name_len) && parse_id(f[2], ret))
			return true;
	}
	return parse_id((struct field){ name, name_len }, ret);
}

/* Whether the comma-separated list holds the name. */
static bool lists(struct field members, struct field name)
{
	const char *p = members.text, *end = p + members.len;

	while (p < end) {
		const char *comma = memchr(p, ',', (size_t)(end - p));
		const char *stop = comma ? comma : end;

		if (field_is(name, p, (size_t)(stop - p)))
			return true;
		p = stop + 1;
	}
	return false;
}

static int add_groups(const char *group, struct field name, struct user *user, struct err *err)
{
	struct field f[4];
	unsigned int gid;

	for (size_t count; (count = next_line(&group, f, ARRAY_LEN(f))) > 0;) {
		gid_t *groups;

		if (count < 4 || !parse_id(f[2], &gid) || !lists(f[3], name))
			continue;
		groups = realloc(user->groups, (user->group_count + 1) * sizeof(*groups));
		if (!groups)
			return fail_oom(err);
		user->groups = groups;
		groups[user->group_count++] = gid;
	}
	return 0;
}

int user_resolve(const char *spec, const char *passwd, const char *group, struct user *ret,
		 struct err *err)
{
	auto_user struct user user = { 0 };
	struct passwd_entry entry = { 0 };
	const char *colon = strchr(spec, ':');
	size_t len = colon ? (size_t)(colon - spec) : strlen(spec);
	const char *name = len ? spec : "0";
	unsigned int gid;
	bool known;
	int r = 0;

	len = len ? len : 1;
	known = find_passwd(passwd, name, len, &entry);
	if (!known && !parse_id((struct field){ name, len }, &entry.uid))
		return fail(err, -EINVAL, "no user '%.*s' in the container's /etc/passwd",
			    len < 100 ? (int)len : 100, name);
	user.uid = entry.uid;
	user.gid = entry.gid;
	if (colon && colon[1]) {
		if (!find_group(group, colon + 1, strlen(colon + 1), &gid))
			return fail(err, -EINVAL, "no group '%.100s' in the container's /etc/group",
				    colon + 1);
		user.gid = gid;
	} else if (known) {
		r = add_groups(group, entry.name, &user, err);
	}
	if (r < 0)
		return r;
	user.home = entry.home.len ? strndup(entry.home.text, entry.home.len) : strdup("/");
	if (!user.home)
		return fail_oom(err);
	*ret = user;
	user = (struct user){ 0 };
	return 0;
}

static int read_optional(int root_fd, const char *path, struct buf *b, struct err *err)
{
	int r = root_read(root_fd, path, b, err);

	return r == -ENOENT || r == -ENOTDIR ? 0 : r;
}

int user_resolve_in(int root_fd, const char *spec, struct user *ret, struct err *err)
{
	auto_buf struct buf passwd = { .max = USER_FILE_MAX };
	auto_buf struct buf group = { .max = USER_FILE_MAX };
	int r = read_optional(root_fd, "/etc/passwd", &passwd, err);

	if (r == 0)
		r = read_optional(root_fd, "/etc/group", &group, err);
	return r < 0 ? r : user_resolve(spec, buf_text(&passwd), buf_text(&group), ret, err);
}
