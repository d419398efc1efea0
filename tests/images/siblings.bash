# SPDX-License-Identifier: Apache-2.0
#
# Two images that share their four lower layers; the first adds one, the second two.
#	a/ b/		OCI layouts, localhost/a:1 and localhost/b:1
#	shared/ own/	the layers' trees

busybox_root "$OUT/shared/1-busybox"
for i in 2 3 4; do
	mkdir -p "$OUT/shared/$i-data/srv/$i" "$OUT/shared/$i-data/etc"
	echo "shared $i" >"$OUT/shared/$i-data/srv/$i/file"
	echo "$i" >"$OUT/shared/$i-data/etc/top"
done
mkdir -p "$OUT"/own/{a,b1,b2}/srv/own
echo a >"$OUT/own/a/srv/own/name"
echo b >"$OUT/own/b1/srv/own/name"
: >"$OUT/own/b2/srv/.wh.2"
find "$OUT/shared" "$OUT/own" -exec touch -h -d '2024-01-01 00:00:00 UTC' {} +

"$MKIMAGE" "$OUT/a" --ref localhost/a:1 --cmd '["sh"]' "$OUT"/shared/* "$OUT/own/a"
"$MKIMAGE" "$OUT/b" --ref localhost/b:1 --cmd '["sh"]' "$OUT"/shared/* "$OUT/own/b1" "$OUT/own/b2"
