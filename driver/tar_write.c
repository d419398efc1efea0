/* SPDX-License-Identifier: Apache-2.0 */
#include "driver/tar_write.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "driver/tree.h"

#define BLOCK_BYTES 512

#define NAME_BYTES   100
#define PREFIX_BYTES 155

/* POSIX.1 pax, "ustar Interchange Format". */
struct header {
	char name[NAME_BYTES];
	char mode[8];
	char uid[8];
	char gid[8];
	char size[12];
	char mtime[12];
	char checksum[8];
	char type;
	char link[NAME_BYTES];
	char magic[6];
	char version[2];
	char uname[32];
	char gname[32];
	char dev_major[8];
	char dev_minor[8];
	char prefix[PREFIX_BYTES];
	char pad[12];
};
_Static_assert(sizeof(struct header) == BLOCK_BYTES, "a header is a block");

static const char types[] = {
	[TAR_FILE] = '0', [TAR_DIR] = '5',   [TAR_SYMLINK] = '2', [TAR_HARDLINK] = '1',
	[TAR_CHAR] = '3', [TAR_BLOCK] = '4', [TAR_FIFO] = '6',
};

void tar_writer_init(struct tar_writer *w, tar_write *write, void *arg)
{
	*w = (struct tar_writer){
		.write = write,
		.arg = arg,
		.out = { .max = 2 * TAR_WRITE_BYTES },
		.records = { .max = TAR_HEADERS_MAX },
	};
}

void tar_writer_release(struct tar_writer *w)
{
	buf_release(&w->out);
	buf_release(&w->records);
}

/* ---- handing on ---- */

static int hand_on(struct tar_writer *w, const void *bytes, size_t len, struct err *err)
{
	w->status = w->write(w->arg, bytes, len, err);
	return w->status;
}

static int flush(struct tar_writer *w, struct err *err)
{
	int r = w->out.len ? hand_on(w, w->out.data, w->out.len, err) : 0;

	w->out.len = 0;
	return r;
}

static int put(struct tar_writer *w, const void *bytes, size_t len, struct err *err)
{
	int r;

	w->bytes += len;
	if (w->out.len >= TAR_WRITE_BYTES) {
		r = flush(w, err);
		if (r < 0)
			return r;
	}
	/* Large pieces go by without being copied. */
	if (len >= TAR_WRITE_BYTES) {
		r = flush(w, err);
		return r < 0 ? r : hand_on(w, bytes, len, err);
	}
	w->status = buf_append(&w->out, bytes, len) < 0 ? buf_status(&w->out, err) : 0;
	return w->status;
}

/* Fills the block that was begun. */
static int pad(struct tar_writer *w, struct err *err)
{
	static const char zeros[BLOCK_BYTES];

	return put(w, zeros, -w->bytes % BLOCK_BYTES, err);
}

/* ---- pax ---- */

/* "LENGTH KEY=VALUE\n"; the length counts its own digits. */
static void put_record(struct buf *records, const char *key, const void *value, size_t len)
{
	size_t rest = strlen(key) + len + 3, total = rest + 1;
	char digits[24];

	while (rest + (size_t)snprintf(digits, sizeof(digits), "%zu", total) != total)
		total = rest + strlen(digits);
	(void)buf_printf(records, "%s %s=", digits, key);
	(void)buf_append(records, value, len);
	(void)buf_putc(records, '\n');
}

static void put_number_record(struct buf *records, const char *key, int64_t value)
{
	char digits[24];
	int len = snprintf(digits, sizeof(digits), "%lld", (long long)value);

	put_record(records, key, digits, (size_t)len);
}

static int put_xattr_records(struct tar_writer *w, const struct tar_entry *entry, struct err *err)
{
	char key[sizeof("SCHILY.xattr.") + 256];
	struct tree_text text;

	for (size_t i = 0; i < entry->xattr_count; i++) {
		const struct tar_xattr *xattr = &entry->xattrs[i];
		size_t len = strlen(xattr->name);

		if (!len || len > 255 || strchr(xattr->name, '='))
			return fail(err, -EINVAL, "a tar cannot say the name of xattr \"%s\"",
				    tree_printable(xattr->name, &text));
		(void)snprintf(key, sizeof(key), "SCHILY.xattr.%s", xattr->name);
		put_record(&w->records, key, xattr->value, xattr->len);
	}
	return 0;
}

/* ---- headers ---- */

/* The field is `len` bytes with its NUL. */
static void set_octal(char *field, size_t len, uint64_t value)
{
	char digits[24];

	(void)snprintf(digits, sizeof(digits), "%0*llo", (int)len - 1, (unsigned long long)value);
	memcpy(field, digits, len);
}

/* What does not fit is 0 in the field, and in a record. */
static void set_number(struct tar_writer *w, char *field, size_t len, const char *key,
		       int64_t value)
{
	bool fits = value >= 0 && value < (int64_t)1 << (3 * (len - 1));

	if (!fits)
		put_number_record(&w->records, key, value);
	set_octal(field, len, fits ? (uint64_t)value : 0);
}

/* Where the name is cut in two for the prefix: the slash, or NULL. The last that leaves a prefix which
 * fits; a slash at the end of a directory's name stays there. */
static const char *find_split(const char *path, size_t len)
{
	size_t at = len - 1 < PREFIX_BYTES ? len - 1 : PREFIX_BYTES;

	for (; at > 0; at--) {
		if (at < len - 1 && path[at] == '/')
			return len - at - 1 <= NAME_BYTES ? path + at : NULL;
	}
	return NULL;
}

/* The whole is in a record. Who cannot read that shall not take a file for a directory. */
static void set_cut_name(struct header *h, const char *path, bool is_dir)
{
	size_t len = NAME_BYTES;

	while (!is_dir && len > 1 && path[len - 1] == '/')
		len--;
	memcpy(h->name, path, len);
}

static void set_path(struct tar_writer *w, struct header *h, const char *path, size_t len,
		     bool is_dir)
{
	const char *split = NULL;

	if (len <= NAME_BYTES) {
		memcpy(h->name, path, len);
		return;
	}
	split = find_split(path, len);
	if (split) {
		memcpy(h->prefix, path, (size_t)(split - path));
		memcpy(h->name, split + 1, len - (size_t)(split - path) - 1);
		return;
	}
	put_record(&w->records, "path", path, len);
	set_cut_name(h, path, is_dir);
}

static void set_link(struct tar_writer *w, struct header *h, const char *link)
{
	size_t len = strlen(link);

	if (len > NAME_BYTES)
		put_record(&w->records, "linkpath", link, len);
	memcpy(h->link, link, len < NAME_BYTES ? len : NAME_BYTES);
}

static void finish_header(struct header *h)
{
	const unsigned char *bytes = (const unsigned char *)h;
	unsigned int sum = 0;

	memcpy(h->magic, "ustar", 6);
	memcpy(h->version, "00", 2);
	memset(h->checksum, ' ', sizeof(h->checksum));
	for (size_t i = 0; i < sizeof(*h); i++)
		sum += bytes[i];
	(void)snprintf(h->checksum, sizeof(h->checksum), "%06o", sum);
}

/* The name says what it belongs to, for who cannot read it and makes a file of it. */
static int put_pax_header(struct tar_writer *w, const char *path, struct err *err)
{
	static const char start[] = "PaxHeaders.0/";
	struct header h = { .type = 'x' };
	size_t len = strlen(path), at;
	int r;

	r = buf_status(&w->records, err);
	if (r < 0)
		return r;
	while (len > 1 && path[len - 1] == '/')
		len--;
	for (at = len; at && path[at - 1] != '/'; at--)
		;
	len -= at;
	if (len > NAME_BYTES - (sizeof(start) - 1))
		len = NAME_BYTES - (sizeof(start) - 1);
	memcpy(h.name, start, sizeof(start) - 1);
	memcpy(h.name + sizeof(start) - 1, path + at, len);
	set_octal(h.mode, sizeof(h.mode), 0644);
	set_octal(h.uid, sizeof(h.uid), 0);
	set_octal(h.gid, sizeof(h.gid), 0);
	set_octal(h.size, sizeof(h.size), w->records.len);
	set_octal(h.mtime, sizeof(h.mtime), 0);
	finish_header(&h);
	r = put(w, &h, sizeof(h), err);
	if (r == 0)
		r = put(w, w->records.data, w->records.len, err);
	return r < 0 ? r : pad(w, err);
}

static void set_numbers(struct tar_writer *w, struct header *h, const struct tar_entry *entry)
{
	set_octal(h->mode, sizeof(h->mode), entry->mode & 07777);
	set_number(w, h->uid, sizeof(h->uid), "uid", entry->uid);
	set_number(w, h->gid, sizeof(h->gid), "gid", entry->gid);
	set_number(w, h->size, sizeof(h->size), "size", entry->type == TAR_FILE ? entry->size : 0);
	set_number(w, h->mtime, sizeof(h->mtime), "mtime", entry->mtime.tv_sec);
	if (entry->type == TAR_CHAR || entry->type == TAR_BLOCK) {
		set_number(w, h->dev_major, sizeof(h->dev_major), "SCHILY.devmajor",
			   entry->dev_major);
		set_number(w, h->dev_minor, sizeof(h->dev_minor), "SCHILY.devminor",
			   entry->dev_minor);
	} else {
		set_octal(h->dev_major, sizeof(h->dev_major), 0);
		set_octal(h->dev_minor, sizeof(h->dev_minor), 0);
	}
}

/* A directory's path with its slash, in `ret_path` where it must be added. */
static const char *slashed(const struct tar_entry *entry, struct buf *ret_path)
{
	size_t len = strlen(entry->path);

	if (entry->type != TAR_DIR || (len && entry->path[len - 1] == '/'))
		return entry->path;
	(void)buf_append(ret_path, entry->path, len);
	(void)buf_putc(ret_path, '/');
	return buf_text(ret_path);
}

static int put_headers(struct tar_writer *w, const struct tar_entry *entry, const char *path,
		       struct err *err)
{
	struct header h = { .type = types[entry->type] };
	int r;

	buf_reset(&w->records);
	set_path(w, &h, path, strlen(path), entry->type == TAR_DIR);
	if (entry->link)
		set_link(w, &h, entry->link);
	set_numbers(w, &h, entry);
	r = put_xattr_records(w, entry, err);
	if (r == 0 && w->records.len)
		r = put_pax_header(w, path, err);
	if (r < 0)
		return r;
	finish_header(&h);
	return put(w, &h, sizeof(h), err);
}

static int check_complete(const struct tar_writer *w, struct err *err)
{
	if (w->status < 0)
		return w->status;
	if (w->left)
		return fail(err, -EINVAL, "a file in a tar lacks %llu bytes of its contents",
			    (unsigned long long)w->left);
	return 0;
}

int tar_writer_entry(struct tar_writer *w, const struct tar_entry *entry, struct err *err)
{
	auto_buf struct buf path = { 0 };
	int r = check_complete(w, err);

	assert(entry->size >= 0);
	if (r < 0)
		return r;
	r = put_headers(w, entry, slashed(entry, &path), err);
	if (r == 0 && path.status)
		r = fail_oom(err);
	if (r < 0) {
		w->status = r;
		return r;
	}
	w->left = entry->type == TAR_FILE ? (uint64_t)entry->size : 0;
	return 0;
}

int tar_writer_data(struct tar_writer *w, const void *bytes, size_t len, struct err *err)
{
	int r;

	if (w->status < 0)
		return w->status;
	if (len > w->left)
		return fail(err, -EINVAL,
			    "a file in a tar gets %llu bytes more than it was to have",
			    (unsigned long long)(len - w->left));
	if (!len)
		return 0;
	w->left -= len;
	r = put(w, bytes, len, err);
	return r < 0 || w->left ? r : pad(w, err);
}

int tar_writer_end(struct tar_writer *w, struct err *err)
{
	static const char zeros[2 * BLOCK_BYTES];
	int r = check_complete(w, err);

	if (r == 0)
		r = put(w, zeros, sizeof(zeros), err);
	return r < 0 ? r : flush(w, err);
}
