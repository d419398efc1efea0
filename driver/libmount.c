/* SPDX-License-Identifier: Apache-2.0 */
#include "driver/libmount.h"

#include <libmount/libmount.h>
#include <stdio.h>

#include "driver/base/auto.h"
#include "driver/base/dl.h"

#define MOUNT_TABLE	   "/proc/thread-self/mountinfo"
#define FSOPEN_SINCE_MINOR 39 /* of version 2 */

/* clang-format off */
static struct {
	__typeof__(mnt_get_library_version) *get_library_version;
	__typeof__(mnt_new_context) *new_context;
	__typeof__(mnt_free_context) *free_context;
	__typeof__(mnt_context_disable_helpers) *context_disable_helpers;
	__typeof__(mnt_context_disable_mtab) *context_disable_mtab;
	__typeof__(mnt_context_disable_canonicalize) *context_disable_canonicalize;
	__typeof__(mnt_context_set_optsmode) *context_set_optsmode;
	__typeof__(mnt_context_set_fstype) *context_set_fstype;
	__typeof__(mnt_context_set_source) *context_set_source;
	__typeof__(mnt_context_set_target) *context_set_target;
	__typeof__(mnt_context_set_options) *context_set_options;
	__typeof__(mnt_context_mount) *context_mount;
	__typeof__(mnt_context_get_syscall_errno) *context_get_syscall_errno;
	__typeof__(mnt_new_table) *new_table;
	__typeof__(mnt_unref_table) *unref_table;
	__typeof__(mnt_table_parse_file) *table_parse_file;
	__typeof__(mnt_table_next_fs) *table_next_fs;
	__typeof__(mnt_new_iter) *new_iter;
	__typeof__(mnt_free_iter) *free_iter;
	__typeof__(mnt_fs_get_target) *fs_get_target;
	__typeof__(mnt_fs_get_fstype) *fs_get_fstype;
	__typeof__(mnt_fs_get_source) *fs_get_source;
} mnt;

#define SYMBOL(name) { "mnt_" #name, &mnt.name }
static const struct dl_symbol symbols[] = {
	SYMBOL(get_library_version),
	SYMBOL(new_context),
	SYMBOL(free_context),
	SYMBOL(context_disable_helpers),
	SYMBOL(context_disable_mtab),
	SYMBOL(context_disable_canonicalize),
	SYMBOL(context_set_optsmode),
	SYMBOL(context_set_fstype),
	SYMBOL(context_set_source),
	SYMBOL(context_set_target),
	SYMBOL(context_set_options),
	SYMBOL(context_mount),
	SYMBOL(context_get_syscall_errno),
	SYMBOL(new_table),
	SYMBOL(unref_table),
	SYMBOL(table_parse_file),
	SYMBOL(table_next_fs),
	SYMBOL(new_iter),
	SYMBOL(free_iter),
	SYMBOL(fs_get_target),
	SYMBOL(fs_get_fstype),
	SYMBOL(fs_get_source),
};
/* clang-format on */

static struct dl_library library = {
	.soname = "libmount.so.1",
	.package = "libmount1",
	.symbols = symbols,
	.symbol_count = ARRAY_LEN(symbols),
	.lock = PTHREAD_MUTEX_INITIALIZER,
};

static void free_context(struct libmnt_context **context)
{
	if (*context)
		mnt.free_context(*context);
}

static void free_table(struct libmnt_table **table)
{
	if (*table)
		mnt.unref_table(*table);
}

static void free_iter(struct libmnt_iter **iter)
{
	if (*iter)
		mnt.free_iter(*iter);
}

int libmount_load(bool *ret_classic, struct err *err)
{
	unsigned int major = 0, minor = 0;
	const char *version = "";
	int r = dl_load(&library, err);

	if (r < 0)
		return r;
	(void)mnt.get_library_version(&version);
	if (sscanf(version, "%u.%u", &major, &minor) != 2)
		return fail(err, -ELIBACC, "libmount tells no version: \"%s\"", version);
	*ret_classic = major < 2 || (major == 2 && minor < FSOPEN_SINCE_MINOR);
	return 0;
}

/* Everything libmount would be clever about is off: what is mounted where is the caller's choice
 * alone. */
static int set_up(struct libmnt_context *context, const char *source, const char *target,
		  const char *options)
{
	int r = mnt.context_disable_helpers(context, 1);

	if (!r)
		r = mnt.context_disable_mtab(context, 1);
	if (!r)
		r = mnt.context_disable_canonicalize(context, 1);
	if (!r)
		r = mnt.context_set_optsmode(context, MNT_OMODE_NOTAB);
	if (!r)
		r = mnt.context_set_fstype(context, "overlay");
	if (!r)
		r = mnt.context_set_source(context, source);
	if (!r)
		r = mnt.context_set_target(context, target);
	if (!r)
		r = mnt.context_set_options(context, options);
	return r;
}

int libmount_mount_overlay(const char *source, const char *target, const char *options,
			   struct err *err)
{
	AUTO(free_context) struct libmnt_context *context = NULL;
	int r = dl_load(&library, err);

	if (r < 0)
		return r;
	context = mnt.new_context();
	if (!context)
		return fail_oom(err);
	r = set_up(context, source, target, options);
	if (r)
		return fail(err, r, "set up libmount: %m");
	r = mnt.context_mount(context);
	if (!r)
		return 0;
	if (mnt.context_get_syscall_errno(context) > 0)
		r = -mnt.context_get_syscall_errno(context);
	else if (r > 0 || r <= -MNT_ERR_NOFSTAB) /* its own codes begin at 5000: no errno, and never
						    of the system call */
		return fail(err, -EIO, "libmount refuses to mount: its code %d", r);
	return fail(err, r, "mount(2): %m");
}

int libmount_foreach(libmount_fn *fn, void *arg, struct err *err)
{
	AUTO(free_table) struct libmnt_table *table = NULL;
	AUTO(free_iter) struct libmnt_iter *iter = NULL;
	struct libmnt_fs *fs;
	int r = dl_load(&library, err);

	if (r < 0)
		return r;
	table = mnt.new_table();
	iter = mnt.new_iter(MNT_ITER_FORWARD);
	if (!table || !iter)
		return fail_oom(err);
	r = mnt.table_parse_file(table, MOUNT_TABLE);
	if (r)
		return fail(err, r < 0 ? r : -EIO, "read the mount table %s: %m", MOUNT_TABLE);
	while (mnt.table_next_fs(table, iter, &fs) == 0) {
		const char *fs_name = mnt.fs_get_fstype(fs);
		const char *source = mnt.fs_get_source(fs);

		r = fn(arg, mnt.fs_get_target(fs), fs_name ? fs_name : "", source ? source : "");
		if (r)
			return r;
	}
	return 0;
}
