/* SPDX-License-Identifier: Apache-2.0 */
/*
 * overlaid: images as overlayfs layer chains. The public interface of liboverlaid, and the only
 * installed header.
 *
 * Conventions
 *
 *  - What can fail returns 0 (or what is stated), else a negative errno value, and writes words
 *    into the caller's `struct err` (NULL allowed).
 *  - Out-parameters come last, are called ret_*, and are untouched on failure. Strings given back
 *    through `char **` are the caller's, to be freed with free(3). Pointers inside a struct handed
 *    to a callback live until the callback returns.
 *  - A callback returns 0 to go on; anything else ends the listing, which then returns that value.
 *  - A handle is for one thread at a time; use one handle a thread. Any number of handles and
 *    processes may work on one store. A handle must not be used in the child after fork(2).
 *  - The library prints nothing, changes no process-wide state (umask, locale, signal handlers,
 *    working directory), and starts no process but overlaid-unpack, which takes layers apart, and the
 *    credential helpers that are configured.
 *
 * Names of images: a reference ("nginx", "docker.io/library/nginx:1.25", "repo@sha256:..."), a
 * manifest digest, an image id ("sha256:<64 hex>", the config's digest, with or without the
 * algorithm), or a unique prefix of an id. Exact references win over ids. A reference without a tag
 * means ":latest"; one without a registry means docker.io, and where that is not in the store,
 * localhost. Names of containers: the name, the id, or a unique prefix of an id. An ambiguous
 * prefix is -ENOTUNIQ, and the words list the candidates; nothing found is -ENOENT.
 */
#ifndef OVERLAID_H
#define OVERLAID_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

#ifndef OVERLAID_STRUCT_ERR
#define OVERLAID_STRUCT_ERR
struct err {
	char text[2048]; /* NUL-terminated; cut with "..." where longer */
};
#endif

/* "0.1.0" */
const char *overlaid_version(void);

/* ---- the store ---- */

struct overlaid; /* an open store */

enum overlaid_durability {
	OVERLAID_DURABLE = 0,  /* what a call has acknowledged survives a power cut */
	OVERLAID_VOLATILE = 1, /* consistent after a crash of processes, not of the machine */
};

enum overlaid_event {
	OVERLAID_EVENT_LAYER_DOWNLOAD, /* so much of it came from the network */
	OVERLAID_EVENT_LAYER_EXISTS,   /* in the store already, nothing to do */
	OVERLAID_EVENT_LAYER_WAITING,  /* another process is extracting it */
	OVERLAID_EVENT_LAYER_PROGRESS,
	OVERLAID_EVENT_LAYER_EXTRACTED,
	OVERLAID_EVENT_NOTE, /* `text` is worth a line: "dropped 3 xattrs of layer ..." */
};

struct overlaid_progress {
	enum overlaid_event event;
	const char *diff_id;  /* of the layer, or NULL */
	uint64_t done_bytes;  /* of the layer as stored in the source (compressed) */
	uint64_t total_bytes; /* 0: unknown */
	const char *text;     /* NULL, or words */
};

struct overlaid_options {
	const char *root; /* NULL: $OVERLAID_ROOT, else /var/lib/overlaid, else (not root)
			     $XDG_DATA_HOME/overlaid */
	const char *run;  /* NULL: $OVERLAID_RUN, else /run/overlaid, else (not root)
			     $XDG_RUNTIME_DIR/overlaid */
	enum overlaid_durability durability;
	bool must_exist; /* do not make a store where there is none: -ENOENT */
	/* By a process that stays, with many handles: the database's log grows longer before it is cut
	 * (overlaid_reap does too), and SQLite, in all of the process, keeps no statistics of memory. */
	bool serving;
	/* "NAME=VALUE" each, as overlaid_limits lists them; they win over those in $OVERLAID_LIMITS. */
	const char *const *limits;
	size_t limit_count;
	/* Called from worker threads, one call at a time; NULL: nobody wants to know. */
	void (*progress)(void *arg, const struct overlaid_progress *progress);
	void *progress_arg;
};

/* Opens the store, makes it where it is missing. `options` may be NULL. -EACCES, -EPROTO (a format
 * this version does not know), -ENOTEMPTY (not a store), -EINVAL (a limit that is none), ... *ret is
 * closed with overlaid_close. */
int overlaid_open(const struct overlaid_options *options, struct overlaid **ret, struct err *err);
void overlaid_close(struct overlaid *store); /* NULL allowed */

/*
 * What an image that is loaded may contain. A setting is "NAME=VALUE"; VALUE is a number, for bytes
 * also with K, M, G or T behind it (1024, its square, ...), or "unlimited". $OVERLAID_LIMITS has
 * several with commas between. What exceeds a limit is -EFBIG (-E2BIG: layers), and the words name
 * it.
 */
struct overlaid_limit {
	const char *name;   /* "layer-bytes" */
	const char *bounds; /* "a layer's tar, uncompressed" */
	uint64_t standard;  /* the default */
	uint64_t max;	    /* what "unlimited" means */
	uint64_t value;
	bool bytes; /* else a count */
};
typedef int overlaid_limit_fn(void *arg, const struct overlaid_limit *limit);
/* All of them, as a store opened with these options would have them; NULL: the defaults, whatever the
 * environment says. -EINVAL for a setting that is none. `fn` NULL: only looks at the settings. */
int overlaid_limits(const struct overlaid_options *options, overlaid_limit_fn *fn, void *arg,
		    struct err *err);

/* ---- references ---- */

/* A parsed and normalised reference, as Docker's distribution/reference has it. */
struct overlaid_reference {
	char repository[300]; /* "docker.io/library/nginx": host and path, at most 255 bytes */
	char familiar[300];   /* "nginx": what people type */
	char tag[129];	      /* "latest"; "" where there is only a digest */
	char digest[136];     /* "sha256:..." or "" */
};
/* "nginx" -> docker.io/library/nginx, tag latest. -EINVAL with words that quote the text and say
 * what is wrong with it. */
int overlaid_reference_parse(const char *text, struct overlaid_reference *ret, struct err *err);

/* ---- images ---- */

struct overlaid_load {
	const char *path;      /* a file or directory; NULL: read `fd` */
	int fd;		       /* where path is NULL; not closed */
	const char *reference; /* NULL, or load only the image of this name in the archive */
	const char *platform;  /* "os/arch[/variant]"; NULL: this machine's, and where the source
				  holds one image only, that one */
	const char *name;      /* repository for images whose source states a tag only; NULL:
				  localhost/<base name of path> */
	bool all_tags; /* of an OCI layout with several named images: all of them; else that is an
			  error listing them */
};

struct overlaid_loaded {
	const char *image_id;
	const char *const *references; /* now pointing at it, normalised */
	size_t reference_count;
	size_t layers;		 /* in the image */
	size_t layers_extracted; /* of them by this call */
};
typedef int overlaid_loaded_fn(void *arg, const struct overlaid_loaded *loaded);

/* Loads a docker-archive, an oci-archive or an OCI layout directory; the archive may be compressed
 * (gzip, zstd). Every digest is verified; on failure the store is what it was, but for images of
 * the same source that were reported before. -EBADMSG, -ENOENT, -EFBIG, -E2BIG (too many layers),
 * -EOPNOTSUPP, ... */
int overlaid_load(struct overlaid *store, const struct overlaid_load *load, overlaid_loaded_fn *fn,
		  void *arg, struct err *err);

/* ---- from registries ---- */

enum overlaid_pull_policy {
	OVERLAID_PULL_ALWAYS,  /* asks the registry; fetches what is not here yet */
	OVERLAID_PULL_MISSING, /* asks it only where there is no image of that name */
	OVERLAID_PULL_NEWER, /* as always; but an image that is here will do where the registry fails */
	OVERLAID_PULL_NEVER, /* asks nobody: -ENOENT where there is no image of that name */
};

enum overlaid_tls {
	OVERLAID_TLS_AS_CONFIGURED, /* verified, unless registries.conf or hosts.toml say no */
	OVERLAID_TLS_VERIFY,	    /* whatever they say */
	OVERLAID_TLS_NO_VERIFY,	    /* no certificate is looked at, and plain HTTP will do */
};

/* How registries are spoken to. Plain HTTP is tried where https is not spoken at all, and only on
 * loopback or where it is allowed. All pointers may be NULL, all numbers 0: the default. */
struct overlaid_registry {
	const char *
		user_password; /* "user:password"; else what the files of containers-auth.json(5) hold */
	const char *authfile; /* instead of those files */
	const char *cert_dir; /* *.crt, *.cert, *.key, instead of certs.d */
	enum overlaid_tls tls;
	int retries;		    /* in a row without progress; 0: 5; negative: none */
	unsigned int delay_ms;	    /* before the first, then doubled: 1000 */
	unsigned int stall_seconds; /* slower than min_speed for so long is a failure: 30 */
	unsigned int min_speed;	    /* bytes a second: 1024 */
	unsigned int parallel;	    /* blobs at once: 6 */
};

struct overlaid_pull {
	/* "nginx", "ghcr.io/a/b:v1", "repo@sha256:...", "docker://..."; or what
	 * containers-transports(5) calls oci:PATH[:REF], oci-archive:PATH[:REF],
	 * docker-archive:PATH[:REF], dir:PATH. */
	const char *source;
	const char *platform; /* "os/arch[/variant]"; NULL: this machine's */
	bool all_tags;	      /* of the repository */
	enum overlaid_pull_policy policy;
	bool keep_blobs;     /* layers also as they came; they go with the layers */
	bool foreign_layers; /* also those that may not be distributed */
	/* Not to be kept as an image: without a name, and gone so long after, unless somebody else wants it. 0: an
	 * image like any other. */
	unsigned int keep_seconds;
	struct overlaid_registry registry;
};

struct overlaid_pulled {
	const char *image_id;
	const char *
		reference; /* "docker.io/library/nginx:latest", "...@sha256:..."; "" without name */
	const char *digest; /* of what was named, index or manifest; "" where there is none */
	bool downloaded;    /* false: it was here as it is there, or nobody was asked */
	size_t layers;
	size_t layers_extracted; /* of them by this call */
	uint64_t bytes_fetched;	 /* of layers, from the network */
};
typedef int overlaid_pulled_fn(void *arg, const struct overlaid_pulled *pulled);

/*
 * Gets an image, or with all_tags several, and calls fn for each. What is here is not fetched
 * again; several processes that want one layer fetch it once; a download that broke off goes on
 * where it stopped, also in another process. Every digest is verified. -ENOENT, -EACCES, -EBADMSG,
 * -ECONNREFUSED, -ETIMEDOUT, -EKEYREJECTED (certificate), -EPERM (blocked by registries.conf), ...
 */
int overlaid_pull(struct overlaid *store, const struct overlaid_pull *pull, overlaid_pulled_fn *fn,
		  void *arg, struct err *err);

/* Asks the registry ("docker.io", "localhost:5000"; NULL: docker.io) whether
 * registry->user_password may come in, and keeps it for the next time. *ret_file is where, the
 * caller's. -EACCES. */
int overlaid_login(const struct overlaid_registry *registry, const char *name, char **ret_file,
		   struct err *err);
/* The user that is kept, the caller's. -ENOENT. */
int overlaid_login_user(const struct overlaid_registry *registry, const char *name, char **ret_user,
			struct err *err);
/* Forgets it; name NULL: all of the file. -ENOENT: nothing was kept. */
int overlaid_logout(const struct overlaid_registry *registry, const char *name, char **ret_file,
		    struct err *err);

struct overlaid_image {
	const char *id;		       /* "sha256:<hex>": digest of the config */
	const char *manifest_digest;   /* "" where the source had no manifest (docker-archive) */
	const char *const *references; /* sorted; "docker.io/library/nginx:latest" */
	size_t reference_count;
	const char *const
		*digests; /* "docker.io/library/nginx@sha256:...": as what it was pulled; sorted */
	size_t digest_count;
	const char *os, *architecture, *variant; /* "" where not stated */
	int64_t created;	   /* seconds since 1970 from the config; 0 where not stated */
	int64_t loaded;		   /* seconds since 1970 */
	uint64_t bytes;		   /* sum of its layers' contents */
	uint64_t unique_bytes;	   /* of them in layers that no other image or container holds */
	const char *const *layers; /* diffIDs, lowest first */
	size_t layer_count;
	/* Ids of the layers that are mounted, lowest first: one for each of `layers`, and on top, where
	 * it needs one, a patch. */
	const char *const *chain;
	size_t chain_count;
	size_t container_count; /* containers made from it that still exist, of every scope */
};
typedef int overlaid_image_fn(void *arg, const struct overlaid_image *image);

/* All images, newest (created) first. */
int overlaid_images(struct overlaid *store, overlaid_image_fn *fn, void *arg, struct err *err);
/* The one image that `name` means. */
int overlaid_image_get(struct overlaid *store, const char *name, overlaid_image_fn *fn, void *arg,
		       struct err *err);
/* Original bytes of its config or (-ENODATA: none) manifest, NUL-terminated. */
enum overlaid_blob { OVERLAID_BLOB_CONFIG, OVERLAID_BLOB_MANIFEST };
int overlaid_image_blob(struct overlaid *store, const char *name, enum overlaid_blob which,
			char **ret_bytes, size_t *ret_len, struct err *err);

/* Makes `reference` point at the image; if it pointed at another one, it moves. A reference with a
 * digest is -EINVAL. */
int overlaid_image_tag(struct overlaid *store, const char *name, const char *reference,
		       struct err *err);
/* Removes the reference; the image stays, also as its last reference goes. */
int overlaid_image_untag(struct overlaid *store, const char *reference, struct err *err);

enum overlaid_remove_flags {
	OVERLAID_REMOVE_FORCE = 1,
};
enum overlaid_removed { OVERLAID_UNTAGGED, OVERLAID_DELETED_IMAGE, OVERLAID_DELETED_LAYER };
/* `name` is a normalised reference, an image id or a layer's id. */
typedef int overlaid_removed_fn(void *arg, enum overlaid_removed what, const char *name);
/*
 * By reference: removes that reference, and the image with its last one. By id: the image with all
 * its references; more than one wants FORCE. Layers that nothing else holds are deleted with it:
 * the rows now, the directories by overlaid_reap. -EBUSY where containers exist: the words name
 * them and say whether FORCE may help (containers that are not mounted: they keep their layers) or
 * not (mounted ones).
 */
int overlaid_image_remove(struct overlaid *store, const char *name, unsigned int flags,
			  overlaid_removed_fn *fn, void *arg, struct err *err);

/* Mounts the image read-only (once; a second call gives the same path). The image cannot be removed
 * while it is mounted. */
int overlaid_image_mount(struct overlaid *store, const char *name, char **ret_path,
			 struct err *err);
/* -EINVAL: not mounted; -EBUSY: words name the holders. */
int overlaid_image_unmount(struct overlaid *store, const char *name, struct err *err);

struct overlaid_image_mount_info {
	const char *image_id;
	const char *path;
};
/* Every image mounted in this mount namespace. */
int overlaid_image_mounts(struct overlaid *store,
			  int (*fn)(void *arg, const struct overlaid_image_mount_info *mount),
			  void *arg, struct err *err);

/* ---- layers ---- */

enum overlaid_holder_kind {
	OVERLAID_HELD_BY_IMAGE,
	OVERLAID_HELD_BY_CONTAINER,
	OVERLAID_HELD_BY_SNAPSHOT, /* of a runtime */
	OVERLAID_HELD_BY_LEASE
};
struct overlaid_holder {
	enum overlaid_holder_kind kind;
	const char *id;	  /* image id, container id, or lease name */
	const char *name; /* one reference of the image, the container's or snapshot's name, or "" */
	const char *scope; /* "cli", "images" (a mounted image), "containerd:SOCKET:NAME"; or "" */
};
/* A layer is made of its tar alone and shared by all images that have it. What depends on the layers
 * beneath is derived: */
enum overlaid_layer_kind {
	OVERLAID_LAYER_PLAIN,
	OVERLAID_LAYER_BOUND, /* the tar goes through symlinks of the layers beneath, or links to their
				 files: it was unpacked over them, for images that begin so */
	OVERLAID_LAYER_ADOPTED, /* a runtime unpacked it over the layers beneath, and says which chain it is */
	OVERLAID_LAYER_PATCH, /* no tar: the metadata of directories that an image's layers only imply */
};
struct overlaid_layer {
	const char
		*id; /* "sha256:<hex>": of a plain one its diffID, of another a digest of its own */
	enum overlaid_layer_kind kind;
	const char *diff_id; /* of its tar; "" of a patch and an adopted one */
	const char *path;    /* its tree: ROOT/layers/sha256/<hex of id>/diff */
	uint64_t bytes;	     /* contents */
	uint64_t disk_bytes; /* as du(1) sees it */
	uint64_t entries;
	int64_t created; /* seconds since 1970: when it was extracted here */
	/* One for each holder, however often it uses the layer: the layer's references. */
	const struct overlaid_holder *holders;
	size_t holder_count;
};
typedef int overlaid_layer_fn(void *arg, const struct overlaid_layer *layer);
/* Every layer, sorted by id. */
int overlaid_layers(struct overlaid *store, overlaid_layer_fn *fn, void *arg, struct err *err);

/* ---- containers: a private writable tree over an image's layers ---- */

enum overlaid_create_flags {
	/* Belongs to this handle: removed by overlaid_container_remove, or after the process died
	 * by the next overlaid_gc. Not listed as a container to keep, not durable, mounted volatile
	 * and without a record (so only in a private mount namespace). */
	OVERLAID_CREATE_EPHEMERAL = 1,
};
struct overlaid_create {
	const char *image;
	const char *name; /* NULL: two words are made up. [a-zA-Z0-9][a-zA-Z0-9_.-]*, -EEXIST where
			     taken */
	const char *const *labels; /* "key=value", NULL-terminated; NULL: none */
	unsigned int flags;
};
#define OVERLAID_ID_LEN 64
int overlaid_container_create(struct overlaid *store, const struct overlaid_create *create,
			      char ret_id[OVERLAID_ID_LEN + 1], struct err *err);

struct overlaid_container {
	const char *id; /* 64 hex */
	const char *name;
	const char *image_id;	/* also where the image is gone */
	const char *image_name; /* as given at create */
	bool image_exists;
	int64_t created;	/* seconds since 1970 */
	const char *mounted;	/* where in this mount namespace, or NULL; as the kernel has it */
	bool mounted_elsewhere; /* in a mount namespace that is not the caller's */
	bool ephemeral;
	const char *const *labels; /* "key=value" */
	size_t label_count;
	const char *const *layers; /* diffIDs, lowest first */
	size_t layer_count;
	const char *const *chain; /* as an image's */
	size_t chain_count;
	const char *upper; /* directory of its own changes; made at the first mount */
};
typedef int overlaid_container_fn(void *arg, const struct overlaid_container *container);
/* All, newest first. */
int overlaid_containers(struct overlaid *store, overlaid_container_fn *fn, void *arg,
			struct err *err);
int overlaid_container_get(struct overlaid *store, const char *name, overlaid_container_fn *fn,
			   void *arg, struct err *err);

/* Mounts it below the run directory (mounted already: the same path again). */
int overlaid_container_mount(struct overlaid *store, const char *name, char **ret_path,
			     struct err *err);
/* As overlaid_image_unmount. */
int overlaid_container_unmount(struct overlaid *store, const char *name, struct err *err);
/*
 * As overlaid_container_unmount, without a handle, and sooner: unmounting an overlay syncs the whole
 * filesystem of its upper, and an open database has just written to it. So a container that the mount
 * table names is unmounted without looking into the database; overlaid_reap tells that afterwards.
 */
int overlaid_unmount(const struct overlaid_options *options, const char *name, struct err *err);
/* Removes it with its changes. -EBUSY where it is mounted, unless FORCE, which unmounts it first. */
int overlaid_container_remove(struct overlaid *store, const char *name, unsigned int flags,
			      struct err *err);

enum overlaid_change { OVERLAID_CHANGED, OVERLAID_ADDED, OVERLAID_DELETED };
/* `path` begins with "/"; raw bytes. */
typedef int overlaid_change_fn(void *arg, enum overlaid_change change, const char *path);
/* What the container changed, as `docker diff` says it; mounted or not. */
int overlaid_container_changes(struct overlaid *store, const char *name, overlaid_change_fn *fn,
			       void *arg, struct err *err);
/* Disk bytes of its own changes, counted now. */
int overlaid_container_usage(struct overlaid *store, const char *name, uint64_t *ret_disk_bytes,
			     struct err *err);

/* ---- snapshots: for runtimes that name them, and mount them themselves ----
 *
 * As containerd's snapshots API has them (snapshots.Snapshotter): an active one takes changes over a committed
 * parent, or none; committing it makes it a parent for others. `scope` separates users ("containerd:SOCKET:NAME");
 * none sees another's, all share layers. `key`, `name` and `parent` are any bytes but NUL. Who writes to the
 * tree of an active one is the runtime; the store never mounts it.
 */
enum overlaid_snapshot_kind {
	OVERLAID_SNAPSHOT_VIEW = 1, /* read-only */
	OVERLAID_SNAPSHOT_ACTIVE = 2,
	OVERLAID_SNAPSHOT_COMMITTED = 3,
};
struct overlaid_label {
	const char *key, *value;
};
struct overlaid_snapshot {
	const char *name;
	const char *parent; /* "": none */
	enum overlaid_snapshot_kind kind;
	int64_t created_ns, updated_ns; /* since 1970 */
	const struct overlaid_label *labels;
	size_t label_count;
};
typedef int overlaid_snapshot_fn(void *arg, const struct overlaid_snapshot *snapshot);

/* What is to be given to mount(8): "overlay" with lowers and, but for a view, an upper; or "bind". */
struct overlaid_mount {
	const char *type, *source;
	const char *const *options;
	size_t option_count;
};
typedef int overlaid_mount_fn(void *arg, const struct overlaid_mount *mount);

struct overlaid_prepare {
	const char *scope, *key;
	const char *parent;		  /* "": none */
	enum overlaid_snapshot_kind kind; /* VIEW or ACTIVE */
	const struct overlaid_label *labels;
	size_t label_count;
	/* What will be committed is the topmost layer of this chain (OCI image-spec config.md, chainID): the
	 * mount is one that whiteouts can be written to. NULL: something else. */
	const char *chain_id;
	/* Mounts with "uidmap=" and "gidmap=" by these ("0:100000:65536"), and lowers by their real paths, which
	 * containerd >= 2.0 idmaps; the upper belongs to the mapped root. NULL: as they are. */
	const char *uid_map, *gid_map;
	bool plain_root;    /* its root directory is root's, 0755, whatever the layers say of "/" */
	bool settle_parent; /* a parent that is active becomes committed with this, as it is */
	uint64_t quota_bytes; /* that its own tree may take, by a project quota; 0: no limit */
};
/* Whether the store's paths can stand in options of mount(8): -EINVAL where not. */
int overlaid_snapshots_check(struct overlaid *store, struct err *err);

/* -EEXIST: the key is taken; -ENOENT: no such parent; -EINVAL: the parent is not committed; -EOPNOTSUPP: a quota,
 * and words say what it lacks. `fn` (NULL: nobody wants to know the mount) is called once; where it, or anything
 * else, fails, nothing was prepared. */
int overlaid_snapshot_prepare(struct overlaid *store, const struct overlaid_prepare *prepare,
			      overlaid_mount_fn *fn, void *arg, struct err *err);
/* The same mount again. -ENOENT; -EBADFD: it is committed. */
int overlaid_snapshot_mounts(struct overlaid *store, const struct overlaid_prepare *prepare,
			     overlaid_mount_fn *fn, void *arg, struct err *err);

/*
 * Where the layers of prepare->chain_id are here: keeps them here until the hold is released (by the same
 * handle), and finds out what else a mount of them needs, which may take a while. 1, and *ret_hold, which is
 * NULL where nothing has to be kept; 0: they are not here.
 */
struct overlaid_hold;
int overlaid_chain_hold(struct overlaid *store, const char *chain_id,
			struct overlaid_hold **ret_hold, struct err *err);
void overlaid_hold_release(struct overlaid_hold *hold); /* NULL allowed */
/* Instead of preparing: 1 where there is now a committed snapshot of prepare->chain_id over prepare->parent, whose
 * label of the name `label` is the chainID, with these labels if it is new. 0: prepare it. */
int overlaid_snapshot_share(struct overlaid *store, const struct overlaid_prepare *prepare,
			    const char *label, struct err *err);

struct overlaid_commit {
	const char *scope, *key, *name;
	const char *parent; /* "": the one it has; else, of one without, the one it gets */
	const char
		*chain_id; /* as in overlaid_prepare, else NULL: believed where both say the same */
	const struct overlaid_label *labels; /* instead of those it had */
	size_t label_count;
	bool flushed; /* overlaid_snapshot_flush gave 1, and overlaid_sync came after */
};
/* To come before overlaid_snapshot_commit, outside of a batch. 1: after overlaid_sync(), what was written to it is
 * durable; 0, but not with `keep`: it need not be, as a copy is here. -ENOENT. */
int overlaid_snapshot_flush(struct overlaid *store, const char *scope, const char *key, bool keep,
			    struct err *err);
/* Makes all that was written to the store's filesystem so far durable; one call does for many snapshots. */
int overlaid_sync(struct overlaid *store, struct err *err);
/* After overlaid_snapshot_flush. -ENOENT; -EEXIST: the name is taken; -EBADFD: it, or the new parent, is of the
 * wrong kind; -EINVAL: it has another parent; -ESTALE: it is kept all the same, flush it again, with `keep`. */
int overlaid_snapshot_commit(struct overlaid *store, const struct overlaid_commit *commit,
			     struct err *err);

/* -ENOENT; -ENOTEMPTY: it has children. Its disk is freed by overlaid_reap. */
int overlaid_snapshot_remove(struct overlaid *store, const char *scope, const char *key,
			     struct err *err);
int overlaid_snapshot_get(struct overlaid *store, const char *scope, const char *key,
			  overlaid_snapshot_fn *fn, void *arg, struct err *err);
/* Sets labels, or takes away those whose value is NULL or ""; `replace`: all others go too. `fn` gets the result. */
int overlaid_snapshot_update(struct overlaid *store, const char *scope, const char *key,
			     const struct overlaid_label *labels, size_t count, bool replace,
			     overlaid_snapshot_fn *fn, void *arg, struct err *err);
/* Every one of the scope, parents before children. `fn` must not use the handle. */
int overlaid_snapshots(struct overlaid *store, const char *scope, overlaid_snapshot_fn *fn,
		       void *arg, struct err *err);
/* Of its own tree, without parents': disk bytes and inodes, the root among them. Counted once of a committed one;
 * 0 of a view. `stop` (NULL: never) ends the counting: -ECANCELED. */
int overlaid_snapshot_usage(struct overlaid *store, const char *scope, const char *key,
			    bool (*stop)(void *arg), void *arg, uint64_t *ret_disk_bytes,
			    uint64_t *ret_inodes, struct err *err);

/*
 * The same snapshots, for runtimes that leave mounting, unpacking and comparing to the store (Docker's graphdriver).
 * A map is "INSIDE:OUTSIDE:COUNT,..." of ids, NULL or "": none; both or none. With maps, the layers that were
 * unpacked are shown by them, through idmapped mounts: one copy does for all. What is written to a snapshot is on
 * disk as it is seen.
 */
struct overlaid_maps {
	const char *uids, *gids;
};

/* The layer's tar, uncompressed or not, that `read` yields (the next block, 0: its end, -errno with words), becomes
 * the content of the active snapshot, which was never mounted, and commits it. It is durable then. A layer that
 * is here already is used, whoever brought it. -ENOENT, -EBADFD: not active; -ENOTEMPTY: it was written to; -ERANGE:
 * ids that are not in the maps, or above a hole in them; -EBADMSG, -EFBIG, ...: what is wrong with the tar.
 * *ret_bytes: as overlaid_snapshot_diff_size. */
typedef ssize_t overlaid_read_fn(void *arg, const void **ret_block, struct err *err);
int overlaid_snapshot_fill(struct overlaid *store, const char *scope, const char *key,
			   const struct overlaid_maps *maps, overlaid_read_fn *read, void *arg,
			   uint64_t *ret_bytes, struct err *err);

struct overlaid_attach {
	const char *scope, *key;
	const char *target;  /* absolute path of a directory; made where it is missing */
	const char *context; /* SELinux context of the mount; NULL or "": none */
	struct overlaid_maps maps;
	bool scratch; /* nobody was promised anything of it yet: its filesystem is not synced when it is unmounted */
};
/* Mounts it at the target: an active one writable, others read-only. -ENOENT, -EBUSY: something is mounted there. */
int overlaid_snapshot_attach(struct overlaid *store, const struct overlaid_attach *attach,
			     struct err *err);
/* 1: something is mounted at this directory. */
int overlaid_is_attached(const char *target, struct err *err);
/* Unmounts what is mounted there, whoever uses it, and removes the directory. Nothing there is success. It may
 * have to wait for the disk. */
int overlaid_detach(const char *target, struct err *err);

/* RUN/`what`/STORE, a directory for a daemon's mounts of this store; not made. The path is the caller's. */
int overlaid_mount_dir(struct overlaid *store, const char *what, char **ret_path, struct err *err);

/* Whether trees can have quotas here: -EOPNOTSUPP, and words say what is missing. */
int overlaid_quota_check(struct overlaid *store, struct err *err);

struct overlaid_paths {
	const char *const *lowers; /* topmost first */
	size_t lower_count;
	const char *upper, *work; /* "" but of an active one */
};
typedef int overlaid_paths_fn(void *arg, const struct overlaid_paths *paths);
/* What a mount of it is made of. -ENOENT. */
int overlaid_snapshot_paths(struct overlaid *store, const char *scope, const char *key,
			    overlaid_paths_fn *fn, void *arg, struct err *err);

/* Two snapshots of a scope, of any kinds. */
struct overlaid_diff {
	const char *scope, *key;
	const char *parent; /* what it is compared with; "": nothing */
	struct overlaid_maps maps;
};
/* As `docker diff` says it: a name is modified where its type, mode, owner, device, capability, or, of what is not a
 * directory, size or mtime differ, and a directory where something in it is listed. Sorted by directory. */
int overlaid_snapshot_changes(struct overlaid *store, const struct overlaid_diff *diff,
			      overlaid_change_fn *fn, void *arg, struct err *err);
/* The changes as a layer's tar (OCI image-spec layer.md), with ids as they are inside. `write` returns -errno
 * with words to end it. */
typedef int overlaid_write_fn(void *arg, const void *bytes, size_t len, struct err *err);
int overlaid_snapshot_export(struct overlaid *store, const struct overlaid_diff *diff,
			     overlaid_write_fn *write, void *arg, struct err *err);
/* The sum of the sizes of what was added or modified and is no directory, each file once. */
int overlaid_snapshot_diff_size(struct overlaid *store, const struct overlaid_diff *diff,
				uint64_t *ret_bytes, struct err *err);

/* What a daemon is to know when it comes back, by name. 1 and the value, the caller's; 0: there is none. */
int overlaid_setting_get(struct overlaid *store, const char *name, char **ret_value,
			 struct err *err);
int overlaid_setting_set(struct overlaid *store, const char *name, const char *value,
			 struct err *err);

/* Between these, changes to snapshots by this handle become durable together, at the end: where that fails, none
 * of them is made. Nobody else can write meanwhile: be quick. Not `durable`: a power cut may undo them, but nothing
 * that was durable later and not these. */
int overlaid_batch_begin(struct overlaid *store, bool durable, struct err *err);
int overlaid_batch_end(struct overlaid *store, struct err *err);

/* ---- housekeeping ---- */

/* Deletes what removals left in trash/, and the records of mounts that are gone, until there is
 * nothing or another process is at it (`wait`: then waits for that process and looks again). */
int overlaid_reap(struct overlaid *store, bool wait, struct err *err);

struct overlaid_garbage {
	const char *path;
	const char *why; /* "directory without a record", "staging of a process that died", ... */
	uint64_t disk_bytes;
};
enum overlaid_gc_flags {
	OVERLAID_GC_DRY_RUN = 1,
	OVERLAID_GC_PARTIAL = 2, /* also downloads that could still be gone on with */
};
/* Finds everything that nobody holds, says it, removes it (and waits until it is gone), but for
 * work in progress. */
int overlaid_gc(struct overlaid *store, unsigned int flags,
		int (*fn)(void *arg, const struct overlaid_garbage *garbage), void *arg,
		struct err *err);

/* What du(1) would say, walked now. total is the sum of the parts, and of `du -s ROOT` within what
 * its writers are doing. */
struct overlaid_usage {
	uint64_t layers;		 /* all layer directories */
	uint64_t layers_shared;		 /* of them held by more than one image or container */
	uint64_t layers_unique;		 /* by exactly one */
	uint64_t layers_reclaimable;	 /* in images without containers, counted once */
	uint64_t containers;		 /* uppers and work directories */
	uint64_t containers_reclaimable; /* of containers that are not mounted */
	uint64_t blobs;
	uint64_t database;
	uint64_t transient; /* staging, partial, trash */
	uint64_t other;	    /* the directories that hold all this, and strangers */
	uint64_t total;
	size_t image_count, images_active, layer_count, container_count, containers_active;
};
int overlaid_usage(struct overlaid *store, struct overlaid_usage *ret, struct err *err);

struct overlaid_info {
	const char *root, *run;
	const char *kernel;	  /* "6.18.0" */
	const char *backing_fs;	  /* "ext4" */
	const char *mount_way;	  /* "fsconfig by descriptor", ... or "none" */
	const char *confinement;  /* of what unpacks: "landlock (abi 7), ...; missing: ..." */
	const char *const *lines; /* further findings, "key: value" */
	size_t line_count;
	int format; /* of the store */
	size_t image_count, layer_count, container_count;
};
/* Asks kernel and filesystem what they can do (mounts and unmounts in a namespace of its own). */
int overlaid_info(struct overlaid *store, int (*fn)(void *arg, const struct overlaid_info *info),
		  void *arg, struct err *err);

#ifdef __cplusplus
}
#endif

#endif
