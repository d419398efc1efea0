/* SPDX-License-Identifier: Apache-2.0 */
/*
 * confine: a process that can reach only the directory it unpacks into.
 *
 * What unpacks a layer reads hostile bytes with decoders that are not ours. A bug in one of them must
 * harm one staging directory and no more: the process gives up, for good, all it does not need.
 *
 *	descriptors	all are closed but those of the plan, and 0 to 2
 *	rlimits		memory, size of a file, open files; no core
 *	no_new_privs	nothing is gained by executing anything
 *	own root	write_fd becomes root and working directory: absolute names, ".." and links lead
 *			nowhere else. Landlock does not look at chmod, chown, xattrs, times and stat
 *	capabilities	those that making files of any owner, mode and type takes
 *	landlock	files are opened, made, renamed and removed beneath write_fd and read beneath
 *			read_fds only, whatever descriptors there are; no TCP, no signals and no abstract
 *			sockets out of here. Making and writing regular files is left to the view, where
 *			there is one: asked for each file, it would cost more than all else here
 *	seccomp		the system calls of driver/confine_filter.c
 *	nodev view	confine_view(), made by the parent: device nodes beneath cannot be opened, and
 *			".." in it leads nowhere
 *
 * Each is enough against some attacks and is there for when another one fails. A part that this
 * kernel lacks, or that a container's filter hides or its lack of privilege rules out, is left out and
 * reported; a part that is there and fails is an error.
 *
 * What stays possible: using up the machine's processes by starting threads; fchmod(2), fchown(2) and
 * fsetxattr(2) on a descriptor that was given, even if only for reading. So an input that lies in a
 * directory is best opened through a read-only view of that directory. The control socket must be
 * SOCK_STREAM or SOCK_SEQPACKET: a datagram can be sent to other sockets.
 * There is no /proc, no /dev and no library in here: what is loaded when used must have been used once.
 */
#ifndef DRIVER_CONFINE_H
#define DRIVER_CONFINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "driver/base/err.h"

/* 0 means the default. Limits that are lower already stay. */
struct confine_plan {
	int write_fd;	     /* directory: everything beneath may be made, read, changed */
	const int *read_fds; /* directories: what is beneath may be read */
	size_t read_count;
	const int *keep_fds; /* stay open too: the control socket. Nothing is opened beneath these */
	size_t keep_count;
	bool trusted_xattrs;	/* trusted.overlay.* will be written: keeps CAP_SYS_ADMIN */
	uint64_t memory_bytes;	/* 2 GiB; RLIMIT_DATA. Not with sanitizers of memory or threads */
	uint64_t file_bytes;	/* 1 TiB; more is EFBIG, not a signal: SIGXFSZ is ignored */
	unsigned int max_files; /* 1024 open ones */
};

struct confine_report {
	bool rlimits, no_new_privs, root, capabilities, seccomp;
	bool nodev;	  /* all of the plan's directories are on mounts without devices */
	bool detached;	  /* and they are mounts of their own, which nothing is above */
	int landlock_abi; /* 0: none, or the first one, which forbids links between directories */
};

/*
 * Confines the calling process, which must have one thread; those it starts later are confined with
 * it. Irreversible, and where it fails the process is confined in part: it must end. *ret says what
 * was applied. The plan's descriptors stay the caller's and open.
 */
int confine_self(const struct confine_plan *plan, struct confine_report *ret, struct err *err);

/* What could be applied here and now, without doing it. */
void confine_probe(struct confine_report *ret);

/* "landlock (abi 7), seccomp, ..."; what is not there follows after "; missing: ". Cut where longer. */
void confine_describe(const struct confine_report *report, char *text, size_t size);

/*
 * A descriptor of the same directory through a mount of its own that is attached nowhere: no devices,
 * no execution, no setuid, and read-only unless `writable`. It can be read, synced and locked (its
 * locks are its own), and lasts as long as something holds it. Where the kernel lacks this (before
 * Linux 5.12), or the caller the privilege, the same directory opened anew; confine_report.nodev tells.
 * To be called by the parent. Descriptor or -errno with words.
 */
int confine_view(int dir_fd, bool writable, struct err *err);

/* A descriptor to read the same file by, through a read-only mount of its own: neither its bytes nor its
 * mode, owner or xattrs can be changed by it. -EOPNOTSUPP, without words, where that cannot be had here. */
int confine_file_view(int fd);

#endif
