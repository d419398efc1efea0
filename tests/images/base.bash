# SPDX-License-Identifier: Apache-2.0
#
# A minimal Debian 12, one layer.
#	root/		its tree
#	layout/		OCI layout, localhost/debian:12

mkdir "$OUT/root"
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
debootstrap --variant=minbase --keyring="$keyring" bookworm "$OUT/root" "$MIRROR"
tidy_debian "$OUT/root"
rm -rf "$OUT"/root/dev/*
: >"$OUT/root/etc/resolv.conf"
echo debian >"$OUT/root/etc/hostname"
"$MKIMAGE" "$OUT/layout" --ref localhost/debian:12 --cmd '["bash"]' \
	--env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$OUT/root"
