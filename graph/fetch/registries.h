/* SPDX-License-Identifier: Apache-2.0 */
/*
 * registries: which servers have a repository, in the order in which to ask them, and how each is spoken
 * to; as podman, docker and containerd are configured.
 *
 * containers-registries.conf(5), version 2. The first of these that is there, then the drop-ins, sorted by
 * name (containers-registries.conf.d(5)); ~/.config is $XDG_CONFIG_HOME where that is set:
 *
 *	$CONTAINERS_REGISTRIES_CONF		must be there; and no drop-ins
 *	~/.config/containers/registries.conf	and the drop-ins of the second directory only
 *	/etc/containers/registries.conf
 *
 *	*.conf in /etc/containers/registries.conf.d, then in ~/.config/containers/registries.conf.d
 *
 * Understood: unqualified-search-registries; [[registry]] with prefix ("*.example.com" too), location,
 * insecure, blocked, mirror-by-digest-only; [[registry.mirror]] with location, insecure,
 * pull-from-mirror; [aliases]. Other keys are passed over. A later file adds to and replaces what earlier
 * ones say: of the search list all, of [[registry]] what has the same prefix, of aliases what has the same
 * name ("" takes it away). Within one file the first [[registry]] of a prefix counts.
 *
 * The [[registry]] with the longest prefix counts, and fits whole path components only: "example.com" is
 * neither "example.com:5000" nor "example.com.net". "*.example.com" fits hosts with a port too, as it
 * cannot name one, and a prefix of the same length without "*" goes before it.
 *
 * Where no [[registry]] fits: hosts.toml, as containerd has it (docs/hosts.md there), in DIR/HOST, else
 * DIR/_default, DIR being /etc/containerd/certs.d, then /etc/docker/certs.d ("localhost:5000" is first
 * looked for as "localhost_5000_"). The first of these directories that is there counts. Understood:
 * server, [host."URL"] in the order of the file, with capabilities, ca, client, skip_verify, override_path,
 * header. A directory of containerd's without hosts.toml may hold certificates, as below.
 *
 * And for each host the certificates in HOST/ of the directories ~/.config/containers/certs.d,
 * /etc/containers/certs.d and /etc/docker/certs.d (containers-certs.d(5)): *.crt (authorities, beside the
 * system's), *.cert with *.key.
 *
 * Every file is outside input: of at most REGISTRIES_FILE_MAX bytes, and words name the file.
 */
#ifndef GRAPH_FETCH_REGISTRIES_H
#define GRAPH_FETCH_REGISTRIES_H

#include <stdbool.h>
#include <stddef.h>

#include "driver/base/auto.h"
#include "driver/base/err.h"

#define REGISTRIES_FILE_MAX    ((size_t)1 << 20) /* bytes */
#define REGISTRIES_MIRRORS_MAX 64		 /* of one repository */
#define REGISTRIES_DROPINS_MAX 1000		 /* of one directory */

enum endpoint_scheme {
	ENDPOINT_HTTPS,
	ENDPOINT_HTTP,
	ENDPOINT_EITHER, /* https; where that is not spoken at all, http: loopback hosts and insecure ones */
};

/* One server that has the repository. All owned. */
struct endpoint {
	enum endpoint_scheme scheme;
	char *host; /* "registry-1.docker.io", "localhost:5000": what is connected to */
	char *path; /* before "/REPOSITORY/manifests/...": "/v2", or a path of hosts.toml; maybe "" */
	char *repository; /* "library/nginx", as it is called there */
	char *registry;	  /* whose credentials are sent: "docker.io", "localhost:5000" */
	char *namespace;  /* "docker.io": a mirror of hosts.toml is told so ("?ns="); or NULL */
	bool mirror;	  /* neither the registry that the reference names nor its `location` */
	bool for_tags, for_digests; /* may be asked for a manifest by tag, by digest */
	bool for_blobs;
	bool skip_verify; /* of certificates */
	char **ca_files;  /* PEM, beside the system's; from hosts.toml and certs.d */
	size_t ca_count;
	char *client_cert, *client_key; /* PEM files, the first pair of those configured; client_key
					   NULL: in the same file; or both NULL */
	char **headers; /* "name: value", from hosts.toml; no control characters in them */
	size_t header_count;
};

struct endpoints {
	struct endpoint *items; /* in the order in which to ask: mirrors, then the registry itself */
	size_t count;		/* 1 to REGISTRIES_MIRRORS_MAX + 1 */
};
void endpoints_release(struct endpoints *endpoints);
#define auto_endpoints AUTO(endpoints_release)

enum registries_verify {
	REGISTRIES_AS_CONFIGURED,
	REGISTRIES_VERIFY, /* --tls-verify=true: no plain HTTP but for loopback, certificates verified
			      everywhere */
	REGISTRIES_NO_VERIFY, /* --tls-verify=false: every endpoint is ENDPOINT_EITHER, nothing verified */
};

struct registries_options {
	/* --cert-dir: its *.crt, *.cert, *.key count, for every host, and no other directory; it must be
	 * there. Its *.cert goes before one of hosts.toml. */
	const char *cert_dir;
	enum registries_verify verify;
	/* For tests; NULL: "". Put before /etc/... and the home directory's files. */
	const char *prefix;
};

struct registries;

/* Reads the configuration that does not depend on the host. A file that is not there is none; one that
 * cannot be read or understood is an error that names it. -EINVAL, -EFBIG, -EACCES, ... *ret is freed with
 * registries_freep. `options` must outlive it; NULL: all zero. */
int registries_open(const struct registries_options *options, struct registries **ret,
		    struct err *err);
void registries_freep(struct registries **registries);
#define auto_registries AUTO(registries_freep)

/*
 * Where to ask for `repository`, normalised, host first ("docker.io/library/nginx"). docker.io is at
 * registry-1.docker.io. It may have a tag, a digest or both at its end: only a prefix that has such
 * ("docker.io/library/nginx:1.27") looks at them. What is configured for the host is read at each call.
 * -EPERM: blocked, words name the file that says so; else as registries_open. ret is released with
 * endpoints_release.
 */
int registries_find(struct registries *registries, const char *repository, struct endpoints *ret,
		    struct err *err);

/*
 * What a name without a registry may mean: `name` is what was typed without tag and digest ("nginx",
 * "team/app"). An alias: that alone. Else NAME in each of unqualified-search-registries, in their order; where
 * none are configured, in docker.io. A name that has a registry means itself alone. Normalised
 * ("docker.io/library/nginx"), NULL-terminated. *ret is the caller's, each string and the array. -EINVAL: no
 * name.
 */
int registries_candidates(struct registries *registries, const char *name, char ***ret,
			  struct err *err);

/* "localhost", "127.1.2.3:5000", "[::1]:80": where plain HTTP harms nobody. */
bool registries_is_loopback(const char *host);

#endif
