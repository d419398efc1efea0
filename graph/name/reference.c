/* SPDX-License-Identifier: Apache-2.0 */
#include "graph/name/reference.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "driver/base/digest.h"

#define DEFAULT_HOST   "docker.io"
#define NAME_BYTES_MAX 255
#define TAG_BYTES_MAX  128

static bool is_lower_or_digit(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

static bool is_alnum(char c)
{
	return is_lower_or_digit(c) || (c >= 'A' && c <= 'Z');
}

/* The length of a separator at s (".", "_", "__" or any number of "-"), 0 where there is none. */
static size_t separator_len(const char *s)
{
	if (s[0] == '.')
		return 1;
	if (s[0] == '_')
		return s[1] == '_' ? 2 : 1;
	return strspn(s, "-");
}

static bool path_component_valid(const char *s, size_t len)
{
	const char *end = s + len;

	if (len == 0 || !is_lower_or_digit(*s))
		return false;
	while (s < end) {
		size_t sep;

		while (s < end && is_lower_or_digit(*s))
			s++;
		if (s == end)
			return true;
		sep = separator_len(s);
		s += sep;
		if (sep == 0 || s >= end || !is_lower_or_digit(*s))
			return false;
	}
	return true;
}

static bool path_valid(const char *path)
{
	for (;;) {
		size_t len = strcspn(path, "/");

		if (!path_component_valid(path, len))
			return false;
		if (path[len] == '\0')
			return true;
		path += len + 1;
	}
}

/* Letters, digits and inner hyphens: one label of a host name. */
static bool label_valid(const char *label, size_t len)
{
	if (len == 0 || label[0] == '-' || label[len - 1] == '-')
		return false;
	for (size_t i = 0; i < len; i++)
		if (!is_alnum(label[i]) && label[i] != '-')
			return false;
	return true;
}

/* Labels with dots between them. */
static bool host_name_valid(const char *name, size_t len)
{
	for (;;) {
		const char *dot = memchr(name, '.', len);
		size_t label_len = dot ? (size_t)(dot - name) : len;

		if (!label_valid(name, label_len))
			return false;
		if (!dot)
			return true;
		name += label_len + 1;
		len -= label_len + 1;
	}
}

/* A host name, an IPv4 address or a bracketed IPv6 address, with an optional port. */
static bool host_valid(const char *host, size_t len)
{
	size_t name_len = 0;

	if (len > 0 && host[0] == '[') {
		name_len = strspn(host + 1, "0123456789abcdefABCDEF:") + 1;
		if (name_len < 3 || name_len >= len || host[name_len++] != ']')
			return false;
	} else {
		while (name_len < len && host[name_len] != ':')
			name_len++;
		if (!host_name_valid(host, name_len))
			return false;
	}
	if (name_len == len)
		return true;
	if (host[name_len++] != ':' || name_len == len)
		return false;
	return name_len + strspn(host + name_len, "0123456789") >= len;
}

static bool is_host(const char *text, size_t len)
{
	if (len == 9 && memcmp(text, "localhost", 9) == 0)
		return true;
	for (size_t i = 0; i < len; i++)
		if (text[i] == '.' || text[i] == ':' || (text[i] >= 'A' && text[i] <= 'Z'))
			return true;
	return false;
}

static bool tag_valid(const char *tag)
{
	size_t len = strlen(tag);

	if (len == 0 || len > TAG_BYTES_MAX || tag[0] == '.' || tag[0] == '-')
		return false;
	for (size_t i = 0; i < len; i++)
		if (!is_alnum(tag[i]) && tag[i] != '_' && tag[i] != '.' && tag[i] != '-')
			return false;
	return true;
}

static int refuse(struct err *err, const char *text, const char *why)
{
	return fail(err, -EINVAL, "invalid reference \"%.300s\": %s", text, why);
}

/* Splits "host/path" and fills repository and familiar. */
static int normalise_name(const char *text, const char *name, struct overlaid_reference *ref,
			  struct err *err)
{
	const char *slash = strchr(name, '/');
	size_t host_len = slash && is_host(name, (size_t)(slash - name)) ? (size_t)(slash - name) :
									   0;
	const char *path = host_len ? slash + 1 : name;
	char host[NAME_BYTES_MAX + 1] = DEFAULT_HOST;
	bool official;

	if (host_len > NAME_BYTES_MAX)
		return refuse(err, text, "the name is longer than 255 bytes");
	if (host_len && !host_valid(name, host_len))
		return refuse(err, text, "the registry's host is not valid");
	if (strpbrk(path, "ABCDEFGHIJKLMNOPQRSTUVWXYZ"))
		return refuse(err, text, "the repository name must be lower-case");
	if (!path_valid(path))
		return refuse(err, text, "the repository name is not valid");
	if (host_len) {
		memcpy(host, name, host_len);
		host[host_len] = '\0';
		if (strcmp(host, "index.docker.io") == 0)
			(void)snprintf(host, sizeof(host), "%s", DEFAULT_HOST);
	}
	official = strcmp(host, DEFAULT_HOST) == 0;
	(void)snprintf(ref->repository, sizeof(ref->repository), "%s/%s%s", host,
		       official && !strchr(path, '/') ? "library/" : "", path);
	if (strlen(ref->repository) > NAME_BYTES_MAX)
		return refuse(err, text, "the name is longer than 255 bytes");
	if (official && strncmp(path, "library/", 8) == 0 && !strchr(path + 8, '/'))
		path += 8;
	(void)snprintf(ref->familiar, sizeof(ref->familiar), "%s%s%s", official ? "" : host,
		       official ? "" : "/", path);
	return 0;
}

int reference_parse(const char *text, struct overlaid_reference *ret, struct err *err)
{
	struct overlaid_reference ref = { .tag = "" };
	char name[REFERENCE_TEXT_MAX];
	char *at, *colon;
	int r;

	if (text[0] == '\0')
		return fail(err, -EINVAL, "invalid reference: it is empty");
	if (strlen(text) >= sizeof(name))
		return refuse(err, text, "it is too long");
	if (hex_valid(text, 64))
		return refuse(err, text, "64 hexadecimal digits are an id, not a name");
	(void)snprintf(name, sizeof(name), "%s", text);
	at = strchr(name, '@');
	if (at) {
		*at++ = '\0';
		if (!digest_valid(at))
			return refuse(err, text, "what follows @ is not a digest");
		(void)snprintf(ref.digest, sizeof(ref.digest), "%s", at);
	}
	colon = strrchr(name, ':');
	if (colon && !strchr(colon, '/')) {
		*colon++ = '\0';
		if (!tag_valid(colon))
			return refuse(err, text, "the tag is not valid");
		(void)snprintf(ref.tag, sizeof(ref.tag), "%s", colon);
	}
	r = normalise_name(text, name, &ref, err);
	if (r < 0)
		return r;
	*ret = ref;
	return 0;
}

int overlaid_reference_parse(const char *text, struct overlaid_reference *ret, struct err *err)
{
	struct overlaid_reference ref;
	int r = reference_parse(text, &ref, err);

	if (r < 0)
		return r;
	if (!ref.tag[0] && !ref.digest[0])
		(void)snprintf(ref.tag, sizeof(ref.tag), "latest");
	*ret = ref;
	return 0;
}

void reference_text(const struct overlaid_reference *ref, char ret[REFERENCE_TEXT_MAX])
{
	(void)snprintf(ret, REFERENCE_TEXT_MAX, "%s%s%s%s%s", ref->repository,
		       ref->tag[0] ? ":" : "", ref->tag, ref->digest[0] ? "@" : "", ref->digest);
}
