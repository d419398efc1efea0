# SPDX-License-Identifier: Apache-2.0
#
# Layers that depend on what lies beneath them: a path through a symlink of the parent, a hard link to
# a file of the parent.
#	symlink/ hardlink/	OCI layouts, localhost/symlink:1 and localhost/hardlink:1
#	layers/			the lower layer's tree and the upper layers' tars

lower=$OUT/layers/1-lower tree=$OUT/tree
busybox_root "$lower"
mkdir -p "$lower/usr/lib" "$lower/data"
ln -s usr/lib "$lower/lib"
echo lower >"$lower/usr/lib/lower"
echo target >"$lower/data/target"
find "$lower" -exec touch -h -d '2022-01-01 00:00:00.5 UTC' {} +

mkdir -p "$tree/lib" "$tree/data"
echo upper >"$tree/lib/upper"
echo target >"$tree/data/target"
ln "$tree/data/target" "$tree/data/link"
find "$tree" -exec touch -h -d '2023-01-01 00:00:00.25 UTC' {} +
pack() { # tar, names
	tar -C "$tree" -c --format=posix --pax-option=delete=atime,delete=ctime --numeric-owner \
		--no-recursion -f "$@"
}
pack "$OUT/layers/2-symlink.tar" lib/upper
pack "$OUT/layers/2-hardlink.tar" data/target data/link
# Only the link stays: its target is in the layer beneath.
tar --delete -f "$OUT/layers/2-hardlink.tar" data/target
rm -rf "$tree"
for what in symlink hardlink; do
	"$MKIMAGE" "$OUT/$what" --ref "localhost/$what:1" --cmd '["sh"]' "$lower" "$OUT/layers/2-$what.tar"
done
