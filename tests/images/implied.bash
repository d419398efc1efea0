# SPDX-License-Identifier: Apache-2.0
#
# A layer whose tar lacks the entries of directories: some exist in the layer beneath, with a mode,
# owner and time of their own that must come out on top; some exist nowhere.
#	layout/		OCI layout, localhost/implied:1
#	layers/		the lower layer's tree and the upper layer's tar

lower=$OUT/layers/1-lower upper=$OUT/layers/2-upper.tar tree=$OUT/tree
busybox_root "$lower"
mkdir -p "$lower/private/sub"
chown 12:34 "$lower/private"
chmod 710 "$lower/private"
chmod 2775 "$lower/private/sub"
setfattr -n user.kept -v yes "$lower/private"
find "$lower" -exec touch -h -d '2022-01-01 00:00:00.5 UTC' {} +

mkdir -p "$tree/private/sub/new" "$tree/fresh/dir"
echo deep >"$tree/private/sub/new/file"
echo fresh >"$tree/fresh/dir/file"
find "$tree" -exec touch -h -d '2023-01-01 00:00:00.25 UTC' {} +
tar -C "$tree" -c -f "$upper" --format=posix --pax-option=delete=atime,delete=ctime --numeric-owner \
	--no-recursion private/sub/new/file fresh/dir/file
rm -rf "$tree"
"$MKIMAGE" "$OUT/layout" --ref localhost/implied:1 --cmd '["sh"]' "$lower" "$upper"
