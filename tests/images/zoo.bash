# SPDX-License-Identifier: Apache-2.0
#
# Everything a layer may hold, in three layers that override, delete and hide.
#	layers/		their trees, in tar form, and their tars
#	layout/		OCI layout, localhost/zoo:1, layers gzip
#	layout-zstd/	the same, layers zstd
#	archive.tar	oci-archive, layers plain
#	docker-archive.tar docker-save.tar docker-legacy.tar	as podman, Docker from 25 on and Docker before save it

a=$OUT/layers/1-all b=$OUT/layers/2-over c=$OUT/layers/3-top
busybox_root "$a"
mkdir "$b" "$c"

# Names: long, with a long path, with bytes that are no UTF-8, odd ones.
long=$(printf 'n%.0s' {1..250})
part=$(printf 'd%.0s' {1..90})
mkdir -p "$a/names/$part/$part/$part/$part"
echo long >"$a/names/$long"
echo deep >"$a/names/$part/$part/$part/$part/file"
echo latin >"$a/names/"$'caf\xe9'
echo bytes >"$a/names/"$'\xff\xfe\x80'
echo space >"$a/names/ with space "
echo newline >"$a/names/new"$'\n'"line"
echo dash >"$a/names/-dash"
echo star >"$a/names/*"
echo utf8 >"$a/names/zażółć-漢字"
echo decomposed >"$a/names/"$'e\xcc\x81' # must not become the composed form
echo backslash >"$a/names/back\\slash"

# Types.
mkdir "$a/types"
mkfifo -m 640 "$a/types/fifo"
mknod -m 666 "$a/types/null" c 1 3
mknod -m 660 "$a/types/loop" b 7 1
mknod -m 600 "$a/types/large" c 300 70000
: >"$a/types/empty"
ln -s /etc/passwd "$a/types/absolute"
ln -s ../etc/passwd "$a/types/relative"
ln -s nowhere "$a/types/dangling"
ln -s "$(printf 't%.0s' {1..150})" "$a/types/long-target"
ln -s $'caf\xe9' "$a/types/latin-target"
truncate -s 1M "$a/types/hole"
printf 'start' | dd of="$a/types/sparse" conv=notrunc status=none
printf 'middle' | dd of="$a/types/sparse" bs=1 seek=3000000 conv=notrunc status=none
truncate -s 5000000 "$a/types/sparse"
head -c 300000 /dev/zero | tr '\0' 'z' >"$a/types/big"

# Hard links, in several directories, to files and to what is no file.
mkdir -p "$a/links/sub"
echo linked >"$a/links/one"
ln "$a/links/one" "$a/links/two"
ln "$a/links/one" "$a/links/sub/three"
ln "$a/links/one" "$a/links/$long"
ln "$a/types/fifo" "$a/links/fifo"
ln "$a/types/null" "$a/links/null"
ln -P "$a/types/dangling" "$a/links/symlink"

# Owners and modes.
mkdir "$a/modes"
for mode in 0000 0400 0644 0755 1755 2755 4755 6755 7777; do
	echo "$mode" >"$a/modes/$mode"
	mkdir "$a/modes/d$mode"
done
chown 1000:1000 "$a/modes/0644"
echo huge >"$a/modes/huge-id"
chown 3000000:4294967290 "$a/modes/huge-id"
chown 65534:65534 "$a/modes/d1755"
chown -h 1234:5678 "$a/types/relative"
# Last: chown takes setuid bits away.
for mode in 0000 0400 0644 0755 1755 2755 4755 6755 7777; do
	chmod "$mode" "$a/modes/$mode" "$a/modes/d$mode"
done

# Extended attributes and a file capability.
mkdir "$a/xattrs"
echo x >"$a/xattrs/user"
setfattr -n user.text -v 'some text' "$a/xattrs/user"
setfattr -n user.binary -v 0x0001fe00ff0a3d "$a/xattrs/user"
setfattr -n user.on-a-directory -v yes "$a/xattrs"
cp "$a/bin/busybox" "$a/xattrs/capable"
setcap cap_net_raw,cap_net_admin+ep "$a/xattrs/capable"

# What the upper layers change.
mkdir -p "$a/over/"{gone-dir/sub,hidden/sub,kept,to-file,was-dir} "$b/over/hidden" "$c/over"
echo 1 >"$a/over/three"
echo 2 >"$b/over/three"
echo 3 >"$c/over/three"
echo gone >"$a/over/gone"
echo gone >"$a/over/gone-dir/sub/file"
: >"$b/over/.wh.gone"
: >"$b/over/.wh.gone-dir"
echo hidden >"$a/over/hidden/old"
echo hidden >"$a/over/hidden/sub/old"
: >"$b/over/hidden/.wh..wh..opq"
echo new >"$b/over/hidden/new"
echo kept >"$a/over/kept/file"
mkdir "$b/over/kept"
chmod 700 "$b/over/kept"
echo dir >"$a/over/to-file/inside"
echo 'file now' >"$b/over/to-file"
echo file >"$a/over/to-dir"
mkdir "$b/over/to-dir"
echo inside >"$b/over/to-dir/inside"
echo back >"$a/over/back"
: >"$b/over/.wh.back"
echo 'back again' >"$c/over/back"
mkdir "$c/over/was-dir"
: >"$c/over/was-dir/.wh..wh..opq"
: >"$c/over/.wh.never-was"

# Times, last: nanoseconds, far past and future, a symlink's own.
find "$a" "$b" "$c" -exec touch -h -d '2023-11-12 13:14:15.123456789 UTC' {} +
touch -d '1970-01-01 00:00:00 UTC' "$a/modes/0644"
touch -d '2040-02-29 23:59:59.000000001 UTC' "$a/modes/0755"
touch -h -d '2001-02-03 04:05:06.999999999 UTC' "$a/types/relative"

# GNU tar writes its process id into the names of sparse files: each layer is archived once.
"$MKIMAGE" "$OUT/plain" --plain --sparse "$a" "$b" "$c"
tars=()
for layer in "$a" "$b" "$c"; do tars+=("$layer.tar"); done
manifest=$(sed -n 's/.*"digest":"sha256:\([0-9a-f]*\)".*/\1/p' "$OUT/plain/index.json")
mapfile -t blobs < <(grep -o '"digest":"sha256:[0-9a-f]*"' "$OUT/plain/blobs/sha256/$manifest" | cut -c 18-81)
for i in 0 1 2; do mv "$OUT/plain/blobs/sha256/${blobs[i + 1]}" "${tars[i]}"; done
rm -r "$OUT/plain"

image=(--ref localhost/zoo:1 --cmd '["sh"]' --env ANIMAL=all "${tars[@]}")
"$MKIMAGE" "$OUT/layout" "${image[@]}"
"$MKIMAGE" "$OUT/layout-zstd" --zstd "${image[@]}"
"$MKIMAGE" "$OUT/archive.tar" --archive --plain "${image[@]}"
for shape in docker-archive docker-save docker-legacy; do
	"$MKIMAGE" "$OUT/$shape.tar" --$shape "${image[@]}"
done
