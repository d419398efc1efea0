# SPDX-License-Identifier: Apache-2.0
#
# What recipes for test images share. A recipe runs with set -e, as root, in a mount namespace of its
# own; OUT is the directory it fills; its argument is what follows the last dash of the image's name.

export LC_ALL=C.UTF-8 TZ=UTC
umask 022
MIRROR=${OVERLAID_TEST_MIRROR:-http://deb.debian.org/debian}

# The directory of another image, made where it is missing.
image() {
	"$BUILD_IMAGE" "$1"
}

# A busybox root in the new directory $1.
busybox_root() {
	local applet
	mkdir -p "$1"/{bin,dev,etc,proc,root,sys,tmp,usr/bin,var}
	chmod 1777 "$1/tmp"
	chmod 700 "$1/root"
	cp "$(command -v busybox)" "$1/bin/busybox"
	for applet in sh cat echo env id ls mount ps pwd sleep stat test touch true false; do
		ln -s busybox "$1/bin/$applet"
	done
	echo 'root:x:0:0:root:/root:/bin/sh' >"$1/etc/passwd"
	echo 'root:x:0:' >"$1/etc/group"
	find "$1" -exec touch -h -d '2024-01-01 00:00:00 UTC' {} +
}

# capture NAME COMMAND...: runs the command with ROOT, the layers below and those captured before
# merged, and keeps what it changed as the layer $OUT/layers/NAME, in overlay form.
LOWERS=()
capture() {
	local layer=$OUT/layers/$1 joined
	shift
	mkdir -p "$layer" "$OUT/work" "$OUT/merged"
	chmod 755 "$layer"
	joined=$(
		IFS=:
		echo "${LOWERS[*]}"
	)
	mount -t overlay overlay -o "lowerdir=$joined,upperdir=$layer,workdir=$OUT/work,index=off,metacopy=off,redirect_dir=off" \
		"$OUT/merged"
	ROOT=$OUT/merged
	"$@"
	umount "$OUT/merged"
	rm -rf "$OUT/work"
	rmdir "$OUT/merged"
	LOWERS=("$layer" "${LOWERS[@]}")
}

# Overlay form to tar form, in place: character devices 0:0 to .wh.NAME, opaque directories to
# .wh..wh..opq. Times of directories stay.
to_tar_form() {
	local path
	while IFS= read -r -d '' path; do
		[ "$(stat -c %t:%T "$path")" = 0:0 ] || continue
		keeping_time "${path%/*}" replace_whiteout "$path"
	done < <(find "$1" -type c -print0)
	while IFS= read -r path; do
		keeping_time "$path" touch "$path/.wh..wh..opq"
	done < <(getfattr -R --absolute-names -n trusted.overlay.opaque "$1" 2>/dev/null | sed -n 's/^# file: //p')
}

replace_whiteout() {
	rm "$1"
	: >"${1%/*}/.wh.${1##*/}"
}

keeping_time() { # directory, command
	local when
	when=$(stat -c %y "$1")
	"${@:2}"
	touch -d "$when" "$1"
}

# Runs a shell command in the Debian root $ROOT, with a resolver and without services starting.
in_root() {
	local status=0
	cp --remove-destination /etc/resolv.conf "$ROOT/etc/resolv.conf"
	printf '#!/bin/sh\nexit 101\n' >"$ROOT/usr/sbin/policy-rc.d"
	chmod 755 "$ROOT/usr/sbin/policy-rc.d"
	mount -t proc proc "$ROOT/proc"
	mount --bind /dev "$ROOT/dev"
	DEBIAN_FRONTEND=noninteractive PATH=/usr/sbin:/usr/bin:/sbin:/bin \
		chroot "$ROOT" /bin/sh -ec "$1" || status=$?
	umount "$ROOT/dev" "$ROOT/proc"
	rm "$ROOT/usr/sbin/policy-rc.d"
	: >"$ROOT/etc/resolv.conf"
	return $status
}

# What an installation leaves that nobody wants in a layer, or that differs each time.
tidy_debian() {
	rm -rf "$1"/var/cache/apt/* "$1"/var/lib/apt/lists/* "$1"/var/log/*.log "$1"/var/log/apt \
		"$1"/var/cache/ldconfig/aux-cache "$1"/var/cache/debconf/*-old "$1"/var/lib/dpkg/*-old \
		"$1"/etc/*- "$1"/tmp/* "$1"/run/*
}
