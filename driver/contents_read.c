/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "driver/base/buf.h"
#include "driver/base/fd.h"
#include "driver/contents_internal.h"
#include "driver/inflate.h"
#include "driver/tree.h"

#define IN_BYTES  ((size_t)64 << 10)
#define OUT_BYTES ((size_t)128 << 10)

/* Linux's dev_t */
#define DEV_MAJOR_MAX 0xfff
#define DEV_MINOR_MAX 0xfffff

struct contents_reader {
	tar_read *read;
	void *arg;
	int fd;
	char *file_block; /* what was read from fd */
	struct inflate *inflate;
	const char *in;
	size_t in_len;
	bool in_ended;
	char *out;
	size_t out_at, out_len;
	struct buf line;
	uint64_t lines, entries;
	bool ended;
	/* Of the entry. */
	unsigned int keys;
	struct contents_entry entry;
	uint8_t sha256[CONTENTS_SHA256_LEN];
	struct tar_xattr *xattrs;
	size_t xattrs_size;
};

/* ---- bytes ---- */

static ssize_t read_file(void *arg, const void **ret_block, struct err *err)
{
	struct contents_reader *r = arg;
	ssize_t len = read_full(r->fd, r->file_block, IN_BYTES);

	if (len < 0)
		return fail(err, (int)len, "read contents.zst: %m");
	*ret_block = r->file_block;
	return len;
}

static int more_input(struct contents_reader *r, struct err *err)
{
	const void *block = ""; /* not NULL: it is added to */
	ssize_t len;

	if (r->in_len || r->in_ended)
		return 0;
	len = r->read(r->arg, &block, err);
	if (len < 0)
		return (int)len;
	r->in = block;
	r->in_len = (size_t)len;
	r->in_ended = len == 0;
	if (r->inflate)
		return 0;
	return inflate_new(len && r->in[0] == '#' ? INFLATE_PLAIN : INFLATE_ZSTD, &r->inflate, err);
}

/* More text: 1, or 0 where it ends as it should. */
static int more_text(struct contents_reader *r, struct err *err)
{
	size_t used = 0, made = 0;
	int code;

	do {
		code = more_input(r, err);
		if (code < 0)
			return code;
		code = inflate_run(r->inflate, r->in, r->in_len, &used, r->out, OUT_BYTES, &made,
				   err);
		if (code < 0)
			return err_prefix(err, code, "contents.zst");
		r->in += used;
		r->in_len -= used;
	} while (!made && !r->in_ended);
	r->out_at = 0;
	r->out_len = made;
	if (made)
		return 1;
	code = inflate_end(r->inflate, err);
	return code < 0 ? err_prefix(err, code, "contents.zst") : 0;
}

/* Words about the line under way. */
#define bad_line(r, err, fmt, ...)                                                           \
	fail(err, -EBADMSG, "contents.zst: line %llu: " fmt, (unsigned long long)(r)->lines, \
	     ##__VA_ARGS__)

static int next_line(struct contents_reader *r, struct err *err)
{
	const char *newline = NULL;

	buf_reset(&r->line);
	r->lines++;
	while (!newline) {
		const char *from;
		size_t len;
		int code;

		if (r->out_at == r->out_len) {
			code = more_text(r, err);
			if (code < 0)
				return code;
			if (code == 0)
				return bad_line(r, err, "it is cut here");
		}
		from = r->out + r->out_at;
		len = r->out_len - r->out_at;
		newline = memchr(from, '\n', len);
		if (newline)
			len = (size_t)(newline - from);
		if (buf_append(&r->line, from, len) == -ENOMEM)
			return fail_oom(err);
		if (r->line.status)
			return bad_line(r, err, "it is longer than %zu bytes", CONTENTS_LINE_MAX);
		r->out_at += len + (newline ? 1 : 0);
	}
	if (memchr(buf_text(&r->line), 0, r->line.len))
		return bad_line(r, err, "a NUL byte");
	return 0;
}

/* ---- values ---- */

/* All of it is digits of `base`, and at most `max`. */
static bool number(const char *text, unsigned int base, uint64_t max, uint64_t *ret)
{
	uint64_t value = 0;

	if (!*text)
		return false;
	for (; *text; text++) {
		unsigned int digit = (unsigned int)(unsigned char)*text - '0';

		if (digit >= base || value > (max - digit) / base)
			return false;
		value = value * base + digit;
	}
	*ret = value;
	return true;
}

/* Takes \ooo out of it, in place. */
static bool unescape(char *text)
{
	char *to = text;

	for (; *text; to++) {
		uint64_t byte;
		char octal[4];

		if (*text != '\\') {
			*to = *text++;
			continue;
		}
		memccpy(octal, text + 1, 0, 3);
		octal[3] = 0;
		if (strlen(octal) != 3 || !number(octal, 8, 0377, &byte) || !byte)
			return false;
		*to = (char)byte;
		text += 4;
	}
	*to = 0;
	return true;
}

/* "." or "./NAME" becomes "" or NAME. */
static bool path_value(char *text, const char **ret)
{
	if (text[0] != '.' || (text[1] && (text[1] != '/' || !text[2])) || !unescape(text))
		return false;
	text += text[1] ? 2 : 1;
	if (!contents_path_valid(text))
		return false;
	*ret = text;
	return true;
}

static int digit_of(const char *digits, char c)
{
	const char *at = c ? strchr(digits, c) : NULL;

	return at ? (int)(at - digits) : -1;
}

static bool hex_value(const char *text, uint8_t *to, size_t len)
{
	static const char digits[] = "0123456789abcdef";

	if (strlen(text) != 2 * len)
		return false;
	for (size_t i = 0; i < len; i++) {
		int high = digit_of(digits, text[2 * i]), low = digit_of(digits, text[2 * i + 1]);

		if (high < 0 || low < 0)
			return false;
		to[i] = (uint8_t)(high << 4 | low);
	}
	return true;
}

static int base64_digit(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* In place. */
static bool base64_value(char *text, size_t *ret_len)
{
	size_t len = strlen(text), padding = 0, made = 0;

	if (len % 4)
		return false;
	while (padding < 2 && padding < len && text[len - 1 - padding] == '=')
		padding++;
	for (size_t at = 0; at < len; at += 4) {
		size_t digits = at + 4 == len ? 4 - padding : 4;
		uint32_t three = 0;

		for (size_t i = 0; i < 4; i++) {
			int digit = i < digits ? base64_digit(text[at + i]) : 0;

			if (digit < 0)
				return false;
			three = three << 6 | (uint32_t)digit;
		}
		for (size_t i = 0; i + 1 < digits; i++)
			text[made++] = (char)(three >> (16 - 8 * i));
	}
	*ret_len = made;
	return true;
}

/* ---- keywords ---- */

enum contents_key {
	KEY_TYPE = 1 << 0,
	KEY_MODE = 1 << 1,
	KEY_UID = 1 << 2,
	KEY_GID = 1 << 3,
	KEY_TIME = 1 << 4,
	KEY_SIZE = 1 << 5,
	KEY_SHA256 = 1 << 6,
	KEY_LINK = 1 << 7,
	KEY_DEVICE = 1 << 8,
	KEY_OPAQUE = 1 << 9,
	KEY_HARDLINK = 1 << 10,
	KEY_XATTR = 1 << 11,
	KEYS_COMMON = KEY_TYPE | KEY_MODE | KEY_UID | KEY_GID | KEY_TIME,
};

/* What an entry of a type must have, and may. */
static const struct {
	unsigned int must, may;
} keys_of[] = {
	[CONTENTS_FILE] = { KEYS_COMMON | KEY_SIZE, KEY_SHA256 | KEY_XATTR },
	[CONTENTS_DIR] = { KEYS_COMMON, KEY_OPAQUE | KEY_XATTR },
	[CONTENTS_LINK] = { KEYS_COMMON | KEY_LINK, KEY_XATTR },
	[CONTENTS_CHAR] = { KEYS_COMMON | KEY_DEVICE, KEY_XATTR },
	[CONTENTS_BLOCK] = { KEYS_COMMON | KEY_DEVICE, KEY_XATTR },
	[CONTENTS_FIFO] = { KEYS_COMMON, KEY_XATTR },
	[CONTENTS_HARDLINK] = { KEY_HARDLINK, 0 },
};

/* Each takes the text after "=" and may write to it. */
typedef bool key_fn(struct contents_reader *r, char *value);

static bool key_type(struct contents_reader *r, char *value)
{
	for (unsigned int i = 0; i < ARRAY_LEN(contents_type_words); i++) {
		if (strcmp(value, contents_type_words[i]) != 0)
			continue;
		r->entry.type = (enum contents_type)i;
		return true;
	}
	return false;
}

static bool key_mode(struct contents_reader *r, char *value)
{
	uint64_t mode;

	if (!number(value, 8, 07777, &mode))
		return false;
	r->entry.mode = (mode_t)mode;
	return true;
}

/* 2^32 - 1 is nobody's: chown(2) takes it for "as it is". */
static bool key_uid(struct contents_reader *r, char *value)
{
	uint64_t uid;

	if (!number(value, 10, UINT32_MAX - 1, &uid))
		return false;
	r->entry.uid = (uid_t)uid;
	return true;
}

static bool key_gid(struct contents_reader *r, char *value)
{
	uint64_t gid;

	if (!number(value, 10, UINT32_MAX - 1, &gid))
		return false;
	r->entry.gid = (gid_t)gid;
	return true;
}

static bool key_time(struct contents_reader *r, char *value)
{
	bool negative = *value == '-';
	char *dot = strchr(value, '.');
	uint64_t seconds, ns;

	if (!dot || strlen(dot + 1) != CONTENTS_TIME_DIGITS || !number(dot + 1, 10, 999999999, &ns))
		return false;
	*dot = 0;
	if (!number(value + negative, 10, (uint64_t)INT64_MAX + negative, &seconds))
		return false;
	r->entry.mtime.tv_sec = (time_t)(negative ? -seconds : seconds);
	r->entry.mtime.tv_nsec = (long)ns;
	return true;
}

static bool key_size(struct contents_reader *r, char *value)
{
	uint64_t size;

	if (!number(value, 10, INT64_MAX, &size))
		return false;
	r->entry.size = (int64_t)size;
	return true;
}

static bool key_sha256(struct contents_reader *r, char *value)
{
	r->entry.sha256 = r->sha256;
	return hex_value(value, r->sha256, CONTENTS_SHA256_LEN);
}

static bool key_link(struct contents_reader *r, char *value)
{
	r->entry.link = value;
	return *value && unescape(value);
}

static bool key_device(struct contents_reader *r, char *value)
{
	static const char format[] = "linux,";
	uint64_t major, minor;
	char *comma;

	if (strncmp(value, format, sizeof(format) - 1) != 0)
		return false;
	value += sizeof(format) - 1;
	comma = strchr(value, ',');
	if (!comma)
		return false;
	*comma = 0;
	if (!number(value, 10, DEV_MAJOR_MAX, &major) ||
	    !number(comma + 1, 10, DEV_MINOR_MAX, &minor))
		return false;
	r->entry.dev_major = (unsigned int)major;
	r->entry.dev_minor = (unsigned int)minor;
	return true;
}

static bool key_hardlink(struct contents_reader *r, char *value)
{
	r->entry.type = CONTENTS_HARDLINK;
	return path_value(value, &r->entry.link) && *r->entry.link;
}

static const struct {
	const char *name;
	enum contents_key key;
	key_fn *read;
} keys[] = {
	{ "type", KEY_TYPE, key_type },
	{ "mode", KEY_MODE, key_mode },
	{ "uid", KEY_UID, key_uid },
	{ "gid", KEY_GID, key_gid },
	{ "time", KEY_TIME, key_time },
	{ "size", KEY_SIZE, key_size },
	{ "sha256digest", KEY_SHA256, key_sha256 },
	{ "link", KEY_LINK, key_link },
	{ "device", KEY_DEVICE, key_device },
	{ "hardlink", KEY_HARDLINK, key_hardlink },
};

/* ---- entries ---- */

static int add_xattr(struct contents_reader *r, char *name, char *value, struct err *err)
{
	struct contents_entry *e = &r->entry;
	size_t len;

	if (e->xattr_count == CONTENTS_XATTRS_MAX)
		return bad_line(r, err, "more than %d xattrs", CONTENTS_XATTRS_MAX);
	if (!*name || !unescape(name) || !base64_value(value, &len))
		return bad_line(r, err, "an xattr that cannot be read");
	if (e->xattr_count == r->xattrs_size) {
		size_t size = r->xattrs_size ? 2 * r->xattrs_size : 8;
		struct tar_xattr *xattrs = realloc(r->xattrs, size * sizeof(*xattrs));

		if (!xattrs)
			return fail_oom(err);
		r->xattrs = xattrs;
		r->xattrs_size = size;
	}
	r->xattrs[e->xattr_count++] = (struct tar_xattr){ name, value, len };
	e->xattrs = r->xattrs;
	r->keys |= KEY_XATTR;
	return 0;
}

static int add_key(struct contents_reader *r, char *name, char *value, struct err *err)
{
	static const char xattr[] = "xattr.";

	if (!strncmp(name, xattr, sizeof(xattr) - 1))
		return add_xattr(r, name + sizeof(xattr) - 1, value, err);
	for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
		if (strcmp(name, keys[i].name) != 0)
			continue;
		if (r->keys & keys[i].key)
			return bad_line(r, err, "\"%s\" stands twice", keys[i].name);
		r->keys |= keys[i].key;
		if (!keys[i].read(r, value))
			return bad_line(r, err, "\"%s\" has a value that cannot be read",
					keys[i].name);
		break;
	}
	return 0;
}

/* A keyword, with its value or alone. */
static int add_word(struct contents_reader *r, char *word, struct err *err)
{
	char *equals = strchr(word, '=');

	if (equals) {
		*equals = 0;
		return add_key(r, word, equals + 1, err);
	}
	if (strcmp(word, "opaque") != 0)
		return 0;
	if (r->keys & KEY_OPAQUE)
		return bad_line(r, err, "\"%s\" stands twice", word);
	r->keys |= KEY_OPAQUE;
	r->entry.opaque = true;
	return 0;
}

static int check_keys(const struct contents_reader *r, struct err *err)
{
	enum contents_type type = r->entry.type;
	unsigned int missing = keys_of[type].must & ~r->keys;
	unsigned int extra = r->keys & ~(keys_of[type].must | keys_of[type].may);

	for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
		if (missing & keys[i].key)
			return bad_line(r, err, "it has no \"%s\"", keys[i].name);
		if (extra & keys[i].key)
			return bad_line(r, err, "\"%s\" has no place in it", keys[i].name);
	}
	return extra ? bad_line(r, err, "a keyword has no place in it") : 0;
}

static int parse_entry(struct contents_reader *r, char *line, struct err *err)
{
	char *rest = line, *word = strsep(&rest, " ");
	int code = 0;

	r->keys = 0;
	r->entry = (struct contents_entry){ .type = CONTENTS_FILE };
	if (!path_value(word, &r->entry.path))
		return bad_line(r, err, "it does not begin with a path");
	while (rest && code == 0) {
		word = strsep(&rest, " ");
		code = add_word(r, word, err);
	}
	if (code == 0)
		code = check_keys(r, err);
	if (code < 0)
		return code;
	r->entries++;
	return 1;
}

/* ---- lines that begin with # ---- */

/* What stands after `prefix`, or NULL. */
static char *after(char *line, const char *prefix)
{
	size_t len = strlen(prefix);

	return strncmp(line, prefix, len) != 0 ? NULL : line + len;
}

static int parse_removed(struct contents_reader *r, char *path, struct err *err)
{
	r->entry = (struct contents_entry){ .type = CONTENTS_REMOVED };
	if (!path_value(path, &r->entry.path) || !*r->entry.path)
		return bad_line(r, err, "what it says is removed is not a path");
	return 1;
}

static int parse_end(struct contents_reader *r, const char *count, struct err *err)
{
	uint64_t entries;
	int code;

	if (!number(count, 10, UINT64_MAX, &entries))
		return bad_line(r, err, "it does not say how many entries there are");
	if (entries != r->entries)
		return bad_line(r, err, "it says that there are %llu entries, but there are %llu",
				(unsigned long long)entries, (unsigned long long)r->entries);
	code = r->out_at == r->out_len ? more_text(r, err) : 1;
	if (code > 0) {
		r->lines++;
		return bad_line(r, err, "it stands after the end");
	}
	r->ended = code == 0;
	return code;
}

static int read_head(struct contents_reader *r, struct err *err)
{
	struct tree_text text;
	int code = next_line(r, err);

	if (code < 0)
		return code;
	if (strcmp(buf_text(&r->line), CONTENTS_LINE_1) != 0)
		return bad_line(r, err, "it is not \"" CONTENTS_LINE_1 "\"");
	code = next_line(r, err);
	if (code < 0)
		return code;
	if (strcmp(buf_text(&r->line), CONTENTS_LINE_2) == 0)
		return 0;
	if (after(r->line.data, CONTENTS_VERSION))
		return bad_line(r, err, "it was written by another version of overlaid, as %s",
				tree_printable(r->line.data, &text));
	return bad_line(r, err, "it is not \"" CONTENTS_LINE_2 "\"");
}

/* 1: a statement, 0: the end, 2: neither. */
static int parse_line(struct contents_reader *r, char *line, struct err *err)
{
	char *rest;

	if (*line != '#' && *line)
		return parse_entry(r, line, err);
	rest = after(line, CONTENTS_REMOVAL);
	if (rest)
		return parse_removed(r, rest, err);
	rest = after(line, CONTENTS_END);
	return rest ? parse_end(r, rest, err) : 2;
}

int contents_next(struct contents_reader *r, const struct contents_entry **ret, struct err *err)
{
	int code = 0;

	if (r->ended)
		return 0;
	if (!r->lines)
		code = read_head(r, err);
	if (code < 0)
		return code;
	do {
		code = next_line(r, err);
		if (code == 0)
			code = parse_line(r, r->line.data, err);
	} while (code == 2);
	if (code == 1)
		*ret = &r->entry;
	return code;
}

/* ---- begin and end ---- */

int contents_reader_new(tar_read *read, void *arg, struct contents_reader **ret, struct err *err)
{
	auto_contents_reader struct contents_reader *r = calloc(1, sizeof(*r));

	if (!r)
		return fail_oom(err);
	r->read = read;
	r->arg = arg;
	r->fd = -EBADF;
	r->line.max = CONTENTS_LINE_MAX;
	r->out = malloc(OUT_BYTES);
	if (!r->out)
		return fail_oom(err);
	*ret = take_ptr(r);
	return 0;
}

int contents_reader_open(int fd, struct contents_reader **ret, struct err *err)
{
	auto_contents_reader struct contents_reader *r = NULL;
	int code = contents_reader_new(read_file, NULL, &r, err);

	if (code < 0)
		return code;
	r->arg = r;
	r->fd = fd;
	r->file_block = malloc(IN_BYTES);
	if (!r->file_block)
		return fail_oom(err);
	*ret = take_ptr(r);
	return 0;
}

void contents_reader_freep(struct contents_reader **r)
{
	int saved = errno;

	if (*r) {
		inflate_freep(&(*r)->inflate);
		buf_release(&(*r)->line);
		free((*r)->file_block);
		free((*r)->out);
		free((*r)->xattrs);
		free(*r);
		*r = NULL;
	}
	errno = saved;
}
