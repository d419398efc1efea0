/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pax headers: the input becomes the records of one, in front of an entry with which it goes, and of
 * another one; and the archive is read to its end.
 *
 * input  ::= how record*
 * record ::= KEY LENGTH value		a byte each; KEY is one of the table, or 255: the value stands
 *					in the header as it is, a record or not
 */
#include <stdlib.h>
#include <string.h>

#include "driver/base/buf.h"
#include "driver/tar.h"
#include "tests/fuzz/archive.h"
#include "tests/fuzz/fuzz.h"

/* In the first byte. */
#define STEP(b)	  (steps[(b)&3])
#define GLOBAL(b) ((b)&0x04)
#define TYPE(b)	  ("01235S76"[(b) >> 3 & 7])

#define RAW 255

static const size_t steps[4] = { 0, 1, 512, 700 };

static const char *const pax_keys[] = {
	"path",
	"linkpath",
	"size",
	"uid",
	"gid",
	"uname",
	"gname",
	"mtime",
	"atime",
	"ctime",
	"hdrcharset",
	"charset",
	"comment",
	"SCHILY.xattr.user.x",
	"SCHILY.xattr.security.capability",
	"SCHILY.xattr.trusted.overlay.opaque",
	"SCHILY.xattr.",
	"LIBARCHIVE.xattr.user.x",
	"LIBARCHIVE.xattr.user.%3d",
	"SCHILY.acl.access",
	"SCHILY.acl.default",
	"SCHILY.acl.ace",
	"SCHILY.devmajor",
	"SCHILY.devminor",
	"SCHILY.dev",
	"SCHILY.ino",
	"SCHILY.nlink",
	"SCHILY.realsize",
	"SCHILY.fflags",
	"SUN.holesdata",
	"GNU.sparse.major",
	"GNU.sparse.minor",
	"GNU.sparse.name",
	"GNU.sparse.realsize",
	"GNU.sparse.size",
	"GNU.sparse.map",
	"GNU.sparse.numblocks",
	"GNU.sparse.offset",
	"GNU.sparse.numbytes",
	"LIBARCHIVE.creationtime",
	"LIBARCHIVE.symlinktype",
	"RHT.security.selinux",
	"",
};

static void put_records(struct buf *records, const uint8_t *data, size_t size)
{
	uint8_t record[512];

	while (size >= 2) {
		size_t len = data[1] < size - 2 ? data[1] : size - 2, record_len;
		const char *key = pax_keys[data[0] % ARRAY_LEN(pax_keys)];

		if (data[0] == RAW) {
			(void)buf_append(records, data + 2, len);
		} else {
			record_len = archive_put_pax(record, sizeof(record), key, data + 2, len);
			(void)buf_append(records, record, record_len);
		}
		data += 2 + len;
		size -= 2 + len;
	}
}

static void put_entry(struct buf *tar, const char *name, char type, const void *contents,
		      size_t len)
{
	static const uint8_t zeros[ARCHIVE_BLOCK];
	uint8_t header[ARCHIVE_BLOCK];

	archive_put_header(header, name, type, len, type == '1' || type == '2' ? "target" : NULL);
	(void)buf_append(tar, header, sizeof(header));
	(void)buf_append(tar, contents, len);
	(void)buf_append(tar, zeros, -tar->len % ARCHIVE_BLOCK);
}

static void make_archive(struct buf *tar, const uint8_t *data, size_t size)
{
	static const char sparse_map[] = "2\n0\n3\n10\n4\nabcdefg";
	static const uint8_t zeros[2 * ARCHIVE_BLOCK];
	auto_buf struct buf records = { 0 };

	put_records(&records, data + 1, size - 1);
	put_entry(tar, "pax", GLOBAL(data[0]) ? 'g' : 'x', buf_text(&records), records.len);
	put_entry(tar, "entry", TYPE(data[0]), sparse_map, sizeof(sparse_map) - 1);
	put_entry(tar, "after", '0', "after", 5);
	(void)buf_append(tar, zeros, sizeof(zeros));
	fuzz_require(!tar->status);
}

static void require_sound(const struct tar_entry *e)
{
	fuzz_require(e->path && *e->path);
	fuzz_require((e->type == TAR_SYMLINK || e->type == TAR_HARDLINK) == !!e->link);
	fuzz_require(!e->link || *e->link);
	fuzz_require(e->mode <= 07777 && e->uid != UINT32_MAX && e->gid != UINT32_MAX);
	fuzz_require(e->size >= 0 && (e->type == TAR_FILE || !e->size));
	fuzz_require(e->mtime.tv_nsec >= 0 && e->mtime.tv_nsec < 1000000000);
	fuzz_require(e->dev_major <= 0xfff && e->dev_minor <= 0xfffff);
	for (size_t i = 0; i < e->xattr_count; i++) {
		fuzz_require(e->xattrs[i].name);
		fuzz_require(e->xattrs[i].value || !e->xattrs[i].len);
	}
}

/* 0, or what tar_data failed with. */
static int read_data(struct tar *tar, const struct tar_entry *entry, struct err *err)
{
	int64_t end = 0, offset = 0;
	unsigned int bits = 0;
	const void *block;
	size_t len = 0;
	int r;

	while ((r = tar_data(tar, &block, &len, &offset, err)) == 1) {
		fuzz_require(len && offset >= end && offset + (int64_t)len <= entry->size);
		end = offset + (int64_t)len;
		/* Each byte can be read. */
		for (size_t i = 0; i < len; i++)
			bits |= ((const uint8_t *)block)[i];
	}
	fuzz_require(bits <= 0xff);
	return r;
}

static int read_all(struct fuzz_source *source, struct err *err)
{
	auto_tar struct tar *tar = NULL;
	const struct tar_entry *entry;
	int64_t before = -1;
	const struct tar_options options = { .sparse_pieces = 64 };
	int r = tar_open(fuzz_read, source, &options, &tar, err);

	while (r >= 0 && (r = tar_next(tar, &entry, err)) == 1) {
		require_sound(entry);
		fuzz_require(tar_entry_offset(tar) > before);
		before = tar_entry_offset(tar);
		r = read_data(tar, entry, err);
	}
	return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	auto_buf struct buf tar = { 0 };
	struct fuzz_source source = { 0 };
	struct err err = { 0 };
	int r;

	if (!size)
		return 0;
	make_archive(&tar, data, size);
	source.data = (const uint8_t *)tar.data;
	source.len = tar.len;
	source.step = STEP(data[0]);
	r = read_all(&source, &err);
	fuzz_require(r == 0 || ((r == -EBADMSG || r == -EFBIG) && err.text[0]), err.text);
	fuzz_source_release(&source);
	return 0;
}
