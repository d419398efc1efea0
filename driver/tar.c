/* SPDX-License-Identifier: Apache-2.0 */
#include "driver/tar.h"

#include <archive.h>
#include <archive_entry.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>

#include "driver/base/dl.h"

/* Of a source's block, so much at a time: what libarchive takes for headers is counted in these. */
#define PIECE_MAX ((size_t)256 << 10)

/* Linux's dev_t */
#define DEV_MAJOR_MAX 0xfff
#define DEV_MINOR_MAX 0xfffff

static struct {
	__typeof__(archive_read_new) *new;
	__typeof__(archive_read_free) *free;
	__typeof__(archive_read_support_format_tar) *support_tar;
	__typeof__(archive_read_support_format_empty) *support_empty;
	__typeof__(archive_read_open2) *open;
	__typeof__(archive_read_next_header) *next;
	__typeof__(archive_read_data_skip) *skip;
	__typeof__(archive_read_data_block) *data;
	__typeof__(archive_read_header_position) *position;
	__typeof__(archive_error_string) *words;
	__typeof__(archive_entry_pathname) *pathname;
	__typeof__(archive_entry_symlink) *symlink;
	__typeof__(archive_entry_hardlink) *hardlink;
	__typeof__(archive_entry_filetype) *filetype;
	__typeof__(archive_entry_perm) *perm;
	__typeof__(archive_entry_uid) *uid;
	__typeof__(archive_entry_gid) *gid;
	__typeof__(archive_entry_size) *size;
	__typeof__(archive_entry_mtime) *mtime;
	__typeof__(archive_entry_mtime_nsec) *mtime_nsec;
	__typeof__(archive_entry_rdevmajor) *rdevmajor;
	__typeof__(archive_entry_rdevminor) *rdevminor;
	__typeof__(archive_entry_sparse_count) *sparse_count;
	__typeof__(archive_entry_xattr_reset) *xattr_reset;
	__typeof__(archive_entry_xattr_next) *xattr_next;
	__typeof__(archive_entry_acl_types) *acl_types;
	__typeof__(archive_entry_acl_reset) *acl_reset;
	__typeof__(archive_entry_acl_next) *acl_next;
} la;

static const struct dl_symbol la_symbols[] = {
	{ "archive_read_new", &la.new },
	{ "archive_read_free", &la.free },
	{ "archive_read_support_format_tar", &la.support_tar },
	{ "archive_read_support_format_empty", &la.support_empty },
	{ "archive_read_open2", &la.open },
	{ "archive_read_next_header", &la.next },
	{ "archive_read_data_skip", &la.skip },
	{ "archive_read_data_block", &la.data },
	{ "archive_read_header_position", &la.position },
	{ "archive_error_string", &la.words },
	{ "archive_entry_pathname", &la.pathname },
	{ "archive_entry_symlink", &la.symlink },
	{ "archive_entry_hardlink", &la.hardlink },
	{ "archive_entry_filetype", &la.filetype },
	{ "archive_entry_perm", &la.perm },
	{ "archive_entry_uid", &la.uid },
	{ "archive_entry_gid", &la.gid },
	{ "archive_entry_size", &la.size },
	{ "archive_entry_mtime", &la.mtime },
	{ "archive_entry_mtime_nsec", &la.mtime_nsec },
	{ "archive_entry_rdevmajor", &la.rdevmajor },
	{ "archive_entry_rdevminor", &la.rdevminor },
	{ "archive_entry_sparse_count", &la.sparse_count },
	{ "archive_entry_xattr_reset", &la.xattr_reset },
	{ "archive_entry_xattr_next", &la.xattr_next },
	{ "archive_entry_acl_types", &la.acl_types },
	{ "archive_entry_acl_reset", &la.acl_reset },
	{ "archive_entry_acl_next", &la.acl_next },
};

static struct dl_library la_library = {
	.soname = "libarchive.so.13",
	.package = "libarchive13",
	.symbols = la_symbols,
	.symbol_count = ARRAY_LEN(la_symbols),
	.lock = PTHREAD_MUTEX_INITIALIZER,
};

struct tar {
	struct archive *archive;
	tar_read *read;
	void *arg;
	struct tar_options options;
	locale_t c_locale;
	const char *pending; /* of the source's block, what libarchive has not been given yet */
	size_t pending_len;
	struct err *err; /* that of the call under way, for the source's words */
	int source_code; /* the source's failure, or 0 */
	bool opened;
	bool in_headers;
	size_t header_bytes; /* given to libarchive since it began with this entry's headers */
	bool in_entry;	     /* there may be data to skip */
	int64_t data_end;    /* of the block that tar_data gave last */
	struct tar_entry entry;
	struct tar_xattr *xattrs;
	size_t xattrs_size;
};

/* ---- the stream ---- */

/* archive_read_callback */
static ssize_t give_bytes(struct archive *archive, void *arg, const void **ret_block)
{
	struct tar *tar = arg;
	size_t len;

	if (tar->in_headers && tar->header_bytes > tar->options.header_bytes) {
		tar->source_code = fail(
			tar->err, -EFBIG,
			"tar: the headers of one entry are larger than %llu bytes" TAR_LIMIT_WORDS(
				"header-bytes"),
			(unsigned long long)tar->options.header_bytes);
		return -1;
	}
	if (!tar->pending_len) {
		const void *block = ""; /* not NULL: it is added to */
		ssize_t r = tar->read(tar->arg, &block, tar->err);

		if (r < 0) {
			tar->source_code = (int)r;
			return -1;
		}
		tar->pending = block;
		tar->pending_len = (size_t)r;
	}
	len = tar->pending_len < PIECE_MAX ? tar->pending_len : PIECE_MAX;
	*ret_block = tar->pending;
	tar->pending += len;
	tar->pending_len -= len;
	if (tar->in_headers)
		tar->header_bytes += len;
	return (ssize_t)len;
}

/* archive_skip_callback: first what of the source's block libarchive has not been given. */
static la_int64_t pass_over(struct archive *archive, void *arg, la_int64_t len)
{
	struct tar *tar = arg;

	if (!tar->pending_len)
		return tar->options.skip(tar->arg, len);
	if ((uint64_t)len > tar->pending_len)
		len = (la_int64_t)tar->pending_len;
	tar->pending += len;
	tar->pending_len -= (size_t)len;
	return len;
}

/* After a call to libarchive failed. */
static int failed(struct tar *tar, struct err *err)
{
	const char *words = la.words(tar->archive);

	if (tar->source_code)
		return tar->source_code;
	words = words ? words : "the archive ends in the middle";
	/* Without an entry there is no place to tell. */
	if (la.position(tar->archive) < 0)
		return fail(err, -EBADMSG, "tar: %s", words);
	return fail(err, -EBADMSG, "tar: %s (entry at byte %lld)", words,
		    (long long)la.position(tar->archive));
}

/* ---- what an entry says ---- */

/*
 * Whether libarchive's warning, if there is one, is of those that change nothing for us: names that
 * it left as they are, and ACLs, which are not kept. It returns ARCHIVE_OK for some warnings.
 */
static bool harmless(const char *words)
{
	static const char left_as_is[] = "current locale.";
	size_t len;

	if (!words || strstr(words, "SCHILY.acl."))
		return true;
	len = strlen(words);
	return len >= sizeof(left_as_is) - 1 &&
	       !strcmp(words + len - (sizeof(left_as_is) - 1), left_as_is);
}

/* -1: none that can be made. */
static int type_of(struct archive_entry *from, const char *path)
{
	mode_t type = la.filetype(from);

	/* The mode field of a hard link may hold any type; a directory has no other name. */
	if (type != AE_IFDIR && la.hardlink(from))
		return TAR_HARDLINK;
	switch (type) {
	case AE_IFREG:
		return path[strlen(path) - 1] == '/' ? TAR_DIR : TAR_FILE;
	case AE_IFDIR:
		return TAR_DIR;
	case AE_IFLNK:
		return TAR_SYMLINK;
	case AE_IFCHR:
		return TAR_CHAR;
	case AE_IFBLK:
		return TAR_BLOCK;
	case AE_IFIFO:
		return TAR_FIFO;
	default:
		return -1;
	}
}

static int read_names(struct tar_entry *to, struct archive_entry *from, struct err *err)
{
	int type;

	to->path = la.pathname(from);
	if (!to->path || !*to->path)
		return fail(err, -EBADMSG, "tar: an entry has no name");
	type = type_of(from, to->path);
	if (type < 0)
		return fail(err, -EBADMSG, "tar: an entry is of a type that cannot be made (%o)",
			    (unsigned int)la.filetype(from));
	to->type = (enum tar_type)type;
	if (to->type != TAR_SYMLINK && to->type != TAR_HARDLINK)
		return 0;
	to->link = to->type == TAR_SYMLINK ? la.symlink(from) : la.hardlink(from);
	if (!to->link || !*to->link)
		return fail(err, -EBADMSG, "tar: a link has no target");
	return 0;
}

/*
 * libarchive reads "-1.5" as -1 and .5, and would so say -0.5. In no other way do negative seconds
 * come with a fraction.
 */
static struct timespec read_mtime(struct archive_entry *from)
{
	struct timespec mtime = { la.mtime(from), la.mtime_nsec(from) };

	if (mtime.tv_sec < 0 && mtime.tv_nsec > 0) {
		mtime.tv_sec--;
		mtime.tv_nsec = 1000000000 - mtime.tv_nsec;
	}
	return mtime;
}

/* libarchive puts an ACL's group into the mode, where stat(2) and every tar have its mask. */
static mode_t read_mode(struct archive_entry *from)
{
	mode_t mode = la.perm(from) & 07777;
	int type, permset, tag, id;
	const char *name;

	if (!(la.acl_types(from) & ARCHIVE_ENTRY_ACL_TYPE_ACCESS))
		return mode;
	(void)la.acl_reset(from, ARCHIVE_ENTRY_ACL_TYPE_ACCESS);
	while (la.acl_next(from, ARCHIVE_ENTRY_ACL_TYPE_ACCESS, &type, &permset, &tag, &id,
			   &name) == ARCHIVE_OK) {
		if (tag == ARCHIVE_ENTRY_ACL_MASK)
			mode = (mode & ~(mode_t)070) | ((mode_t)permset & 7) << 3;
	}
	return mode;
}

static int read_numbers(struct tar_entry *to, struct archive_entry *from, uint32_t pieces_max,
			struct err *err)
{
	int64_t uid = la.uid(from), gid = la.gid(from);
	int pieces = 0;

	if (uid < 0 || uid >= UINT32_MAX || gid < 0 || gid >= UINT32_MAX)
		return fail(err, -EBADMSG, "tar: owner %lld:%lld is out of range", (long long)uid,
			    (long long)gid);
	to->uid = (uid_t)uid;
	to->gid = (gid_t)gid;
	to->mode = read_mode(from);
	to->mtime = read_mtime(from);
	if (to->type == TAR_FILE) {
		to->size = la.size(from);
		pieces = la.sparse_count(from);
		to->sparse = pieces > 0;
	}
	if (pieces_max && pieces > 0 && (uint32_t)pieces > pieces_max)
		return fail(err, -EFBIG,
			    "tar: a sparse file of more than %u pieces" TAR_LIMIT_WORDS(
				    "sparse-pieces"),
			    pieces_max);
	if (to->size < 0)
		return fail(err, -EBADMSG, "tar: a negative size");
	if (to->type == TAR_CHAR || to->type == TAR_BLOCK) {
		uint64_t major = la.rdevmajor(from), minor = la.rdevminor(from);

		if (major > DEV_MAJOR_MAX || minor > DEV_MINOR_MAX)
			return fail(err, -EBADMSG, "tar: device number %llu:%llu is out of range",
				    (unsigned long long)major, (unsigned long long)minor);
		to->dev_major = (unsigned int)major;
		to->dev_minor = (unsigned int)minor;
	}
	return 0;
}

/* ---- xattrs ---- */

static int add_xattr(struct tar *tar, size_t count, struct tar_xattr xattr)
{
	if (count == tar->xattrs_size) {
		size_t size = count ? count * 2 : 8;
		struct tar_xattr *xattrs = realloc(tar->xattrs, size * sizeof(*xattrs));

		if (!xattrs)
			return -ENOMEM;
		tar->xattrs = xattrs;
		tar->xattrs_size = size;
	}
	tar->xattrs[count] = xattr;
	return 0;
}

static void reverse(struct tar_xattr *xattrs, size_t count)
{
	for (size_t i = 0; i < count / 2; i++) {
		struct tar_xattr first = xattrs[i];

		xattrs[i] = xattrs[count - 1 - i];
		xattrs[count - 1 - i] = first;
	}
}

/* libarchive lists them last first. */
static int read_xattrs(struct tar *tar, struct archive_entry *from, struct err *err)
{
	static const struct {
		int type;
		const char *name;
	} acls[] = {
		{ ARCHIVE_ENTRY_ACL_TYPE_ACCESS, "system.posix_acl_access" },
		{ ARCHIVE_ENTRY_ACL_TYPE_DEFAULT, "system.posix_acl_default" },
		{ ARCHIVE_ENTRY_ACL_TYPE_NFS4, "system.nfs4_acl" },
	};
	int acl_types = la.acl_types(from);
	struct tar_xattr xattr;
	size_t count = 0;
	int r = 0;

	(void)la.xattr_reset(from);
	while (r == 0 && la.xattr_next(from, &xattr.name, &xattr.value, &xattr.len) == ARCHIVE_OK)
		r = add_xattr(tar, count++, xattr);
	if (r == 0)
		reverse(tar->xattrs, count);
	for (size_t i = 0; r == 0 && i < ARRAY_LEN(acls); i++) {
		if (acl_types & acls[i].type)
			r = add_xattr(tar, count++, (struct tar_xattr){ acls[i].name, "", 0 });
	}
	if (r < 0)
		return fail_oom(err);
	tar->entry.xattrs = tar->xattrs;
	tar->entry.xattr_count = count;
	return 0;
}

/* ---- in the C locale ---- */

/* libarchive asks for the first bytes at once. */
static int open_archive(struct tar *tar, struct err *err)
{
	if (tar->opened)
		return 0;
	tar->opened = true;
	if (la.open(tar->archive, tar, NULL, give_bytes, tar->options.skip ? pass_over : NULL,
		    NULL) != ARCHIVE_OK)
		return failed(tar, err);
	return 0;
}

/* Before headers are counted: all that still belongs to the entry before. */
static int skip_rest(struct tar *tar, struct err *err)
{
	int r;

	if (!tar->in_entry)
		return 0;
	tar->in_entry = false;
	r = la.skip(tar->archive);
	return r == ARCHIVE_OK || r == ARCHIVE_EOF ? 0 : failed(tar, err);
}

static int next_entry(struct tar *tar, struct err *err)
{
	struct archive_entry *from = NULL;
	int r = open_archive(tar, err);

	if (r == 0)
		r = skip_rest(tar, err);
	if (r < 0)
		return r;
	tar->in_headers = true;
	tar->header_bytes = 0;
	r = la.next(tar->archive, &from);
	tar->in_headers = false;
	if (r == ARCHIVE_EOF)
		return 0;
	if ((r != ARCHIVE_OK && r != ARCHIVE_WARN) || !harmless(la.words(tar->archive)))
		return failed(tar, err);
	tar->in_entry = true;
	tar->data_end = 0;
	tar->entry = (struct tar_entry){ 0 };
	r = read_names(&tar->entry, from, err);
	if (r == 0)
		r = read_numbers(&tar->entry, from, tar->options.sparse_pieces, err);
	if (r == 0)
		r = read_xattrs(tar, from, err);
	return r < 0 ? r : 1;
}

static int next_data(struct tar *tar, const void **ret_block, size_t *ret_len, int64_t *ret_offset,
		     struct err *err)
{
	const void *block = NULL;
	int64_t offset = 0;
	size_t len = 0;
	int r;

	do {
		r = la.data(tar->archive, &block, &len, &offset);
	} while (r == ARCHIVE_OK && !len);
	if (r == ARCHIVE_EOF)
		return 0;
	if (r != ARCHIVE_OK)
		return failed(tar, err);
	if (offset < tar->data_end || (uint64_t)offset + len > (uint64_t)tar->entry.size)
		return fail(err, -EBADMSG,
			    "tar: a sparse file has pieces out of order or beyond its end");
	tar->data_end = offset + (int64_t)len;
	*ret_block = block;
	*ret_len = len;
	*ret_offset = offset;
	return 1;
}

/* ---- the interface ---- */

int tar_open(tar_read *read, void *arg, const struct tar_options *options, struct tar **ret,
	     struct err *err)
{
	auto_tar struct tar *tar = NULL;
	int r = dl_load(&la_library, err);

	if (r < 0)
		return r;
	tar = calloc(1, sizeof(*tar));
	if (!tar)
		return fail_oom(err);
	tar->read = read;
	tar->arg = arg;
	if (options)
		tar->options = *options;
	if (!tar->options.header_bytes)
		tar->options.header_bytes = TAR_HEADERS_MAX;
	tar->c_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
	tar->archive = la.new();
	if (!tar->archive || !tar->c_locale)
		return fail_oom(err);
	if (la.support_tar(tar->archive) != ARCHIVE_OK ||
	    la.support_empty(tar->archive) != ARCHIVE_OK)
		return fail(err, -ELIBACC, "libarchive cannot read tar: %s",
			    la.words(tar->archive));
	*ret = take_ptr(tar);
	return 0;
}

void tar_closep(struct tar **tar)
{
	int saved = errno;

	if (*tar) {
		if ((*tar)->archive)
			(void)la.free((*tar)->archive);
		if ((*tar)->c_locale)
			freelocale((*tar)->c_locale);
		free((*tar)->xattrs);
		free(*tar);
		*tar = NULL;
	}
	errno = saved;
}

int tar_next(struct tar *tar, const struct tar_entry **ret, struct err *err)
{
	locale_t before = uselocale(tar->c_locale);
	int r;

	tar->err = err;
	r = next_entry(tar, err);
	(void)uselocale(before);
	if (r == 1)
		*ret = &tar->entry;
	return r;
}

int tar_data(struct tar *tar, const void **ret_block, size_t *ret_len, int64_t *ret_offset,
	     struct err *err)
{
	locale_t before;
	int r;

	if (tar->entry.type != TAR_FILE)
		return 0;
	before = uselocale(tar->c_locale);
	tar->err = err;
	r = next_data(tar, ret_block, ret_len, ret_offset, err);
	(void)uselocale(before);
	return r;
}

int64_t tar_entry_offset(const struct tar *tar)
{
	return la.position(tar->archive);
}
