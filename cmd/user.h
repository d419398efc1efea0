/* SPDX-License-Identifier: Apache-2.0 */
/*
 * user: "user[:group]" to numbers, by the container's own passwd and group files. No NSS: nothing
 * of an image is loaded or run for it (CVE-2019-14271).
 *
 * As docker: names before numbers; a number need not be in passwd; without a group it is the
 * user's, and the groups that list the user are added.
 */
#ifndef CMD_USER_H
#define CMD_USER_H

#include <stddef.h>
#include <sys/types.h>

#include "driver/base/auto.h"
#include "driver/base/err.h"

#define USER_FILE_MAX ((size_t)4 << 20) /* bytes of passwd or group */
#define USER_ID_MAX   2147483647

struct user {
	uid_t uid;
	gid_t gid;
	gid_t *groups; /* supplementary */
	size_t group_count;
	char *home; /* "/" where passwd has none */
};

void user_release(struct user *user);
#define auto_user AUTO(user_release)

/* `passwd` and `group` are the files' text. -EINVAL with words: no such user or group. "" is root. */
int user_resolve(const char *spec, const char *passwd, const char *group, struct user *ret,
		 struct err *err);

/* The same, reading the files beneath root_fd; one that is missing is empty. */
int user_resolve_in(int root_fd, const char *spec, struct user *ret, struct err *err);

#endif
