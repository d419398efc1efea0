/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci: index, manifest and config, of OCI image-spec and of Docker (schema 2, manifest list).
 *
 * Parsers of hostile bytes: each takes memory, has a stated maximum, validates every digest and
 * size, skips fields and media types it does not know, and refuses what could be read in two ways
 * (a document with both "manifests" and "layers": CVE-2021-41190). Structures own their strings;
 * release accepts half-built ones.
 */
#ifndef GRAPH_NAME_OCI_H
#define GRAPH_NAME_OCI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "driver/base/auto.h"
#include "driver/base/digest.h"
#include "driver/base/err.h"

#define OCI_DOCUMENT_MAX \
	((size_t)4 << 20) /* bytes of an index or manifest, as the distribution-spec's registries \
			     limit it */
#define OCI_CONFIG_MAX	    ((size_t)16 << 20) /* bytes of a config */
#define OCI_DESCRIPTORS_MAX 100000	       /* in one document */
#define OCI_SIZE_MAX	    ((int64_t)1 << 50) /* bytes of one blob */

struct oci_platform {
	char os[32], architecture[32], variant[32]; /* "" where not stated */
};

/* "linux/arm64/v8"; architecture and variant normalised as containerd does (x86_64 -> amd64,
 * aarch64 -> arm64, arm64/v8 -> arm64). -EINVAL with words. */
int oci_platform_parse(const char *text, struct oci_platform *ret, struct err *err);
/* The platform this machine runs: linux/<machine>. */
void oci_platform_host(struct oci_platform *ret);
/* How well `have` serves `want`: 0 not at all, more is better (an arm/v7 machine runs v6 and v5,
 * best first). An empty field of `have` matches, badly. */
int oci_platform_match(const struct oci_platform *want, const struct oci_platform *have);
#define OCI_PLATFORM_TEXT_MAX 100
void oci_platform_text(const struct oci_platform *platform, char ret[OCI_PLATFORM_TEXT_MAX]);

enum oci_kind {
	OCI_OTHER, /* a media type that is not known here */
	OCI_INDEX,
	OCI_MANIFEST,
	OCI_CONFIG,
	OCI_LAYER,
	OCI_LAYER_FOREIGN, /* non-distributable: not in the archive or registry */
};
/* By media type, OCI's and Docker's. */
enum oci_kind oci_kind_of(const char *media_type);

struct oci_descriptor {
	char *media_type; /* "" where not stated */
	struct digest digest;
	int64_t size; /* bytes */
	struct oci_platform platform;
	char *ref_name;	  /* org.opencontainers.image.ref.name, or NULL */
	char *image_name; /* io.containerd.image.name, or NULL */
	char **urls;	  /* where else the bytes are, NULL-terminated; NULL: not stated */
};

/* What bytes are that nobody says the type of: *ret is OCI's media type of an index or a manifest, static; or the
 * document's own. -EINVAL where it is neither. */
int oci_document_type(const void *data, size_t len, const char *what, const char **ret,
		      struct err *err);

struct oci_index {
	struct oci_descriptor *manifests;
	size_t count;
};
/* `what` names the document in the words. */
int oci_index_parse(const void *data, size_t len, const char *what, struct oci_index *ret,
		    struct err *err);
void oci_index_release(struct oci_index *index);
#define auto_oci_index AUTO(oci_index_release)

struct oci_manifest {
	char *media_type; /* stated, or what the config's media type implies */
	struct oci_descriptor config;
	struct oci_descriptor *layers; /* lowest first */
	size_t layer_count;
};
/* -EINVAL also for schema 1 and for artifacts (words name what they are). Foreign layers pass. */
int oci_manifest_parse(const void *data, size_t len, const char *what, struct oci_manifest *ret,
		       struct err *err);
void oci_manifest_release(struct oci_manifest *manifest);
#define auto_oci_manifest AUTO(oci_manifest_release)

struct oci_config {
	struct oci_platform platform;
	int64_t created;	 /* seconds since 1970, 0 where not stated or not a date */
	struct digest *diff_ids; /* lowest first; all sha256 */
	size_t diff_id_count;
};
int oci_config_parse(const void *data, size_t len, const char *what, struct oci_config *ret,
		     struct err *err);
void oci_config_release(struct oci_config *config);
#define auto_oci_config AUTO(oci_config_release)

#endif
