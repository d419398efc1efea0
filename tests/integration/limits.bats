#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
#
# Limits of what an image may contain: at the limit it is loaded, beyond it is refused with words that
# name the limit, and the store is what it was. header-bytes, sparse-pieces and compression-ratio take
# archives of a kind that tests/lib/attacks makes: attacks.bats has them.

load ../lib/common
load ../lib/behaviour

setup_file() {
	common_setup
	local dir=$BATS_FILE_TMPDIR
	command -v python3 >/dev/null || return 0
	python3 - "$dir/first.tar" "$dir/second.tar" <<-'END'
		import io, sys, tarfile

		def write(path, *entries):
		    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
		        for name, data, pax in entries:
		            info = tarfile.TarInfo(name)
		            info.type = tarfile.DIRTYPE if data is None else tarfile.REGTYPE
		            info.size = len(data or b"")
		            info.pax_headers = pax
		            tar.addfile(info, io.BytesIO(data or b""))

		xattrs = {"SCHILY.xattr.user.a": "1234", "SCHILY.xattr.user.b": "12345"}
		write(sys.argv[1], ("d", None, {}), ("d/file", b"0123456789", xattrs), ("e", b"", {}), ("f", b"", {}))
		write(sys.argv[2], ("g", b"0123456", {}))
	END
	mkimage "$dir/first" --ref localhost/first:1 "$dir/first.tar"
	mkimage "$dir/both" --ref localhost/both:1 "$dir/first.tar" "$dir/second.tar"
	ROOT=$dir/empty ov images >/dev/null
}

setup() {
	common_setup
	need python3 jq sqlite3
	need_root
	IMAGE=$BATS_FILE_TMPDIR/both
}

# The image is loaded with the limit at what it has, and refused with one less.
at_most() { # limit, what the image has, words
	cp -a "$BATS_FILE_TMPDIR/empty" "$ROOT"
	store_listing >"$BATS_TEST_TMPDIR/before"
	run --separate-stderr ov --progress none --limit "$1=$(($2 - 1))" load "$IMAGE"
	[ "$status" = 1 ] || fail "status is $status: $stderr"
	assert_equal "$output" ""
	assert_match "$stderr" '^overlaid: [^'$'\n'']+$'
	assert_contains "$stderr" "$3; if you trust it, raise the limit with --limit $1=N"
	assert_same "$BATS_TEST_TMPDIR/before" <(store_listing)
	settle
	assert_no_leftovers
	succeeds ov --progress none --limit "$1=$2" load "$IMAGE"
	assert_store_sound
}

@test "layer-bytes" {
	local bytes
	bytes=$(stat -c %s "$BATS_FILE_TMPDIR/first.tar")
	at_most layer-bytes "$bytes" "the layer is larger than $((bytes - 1)) bytes (uncompressed)"
}

@test "layer-entries" {
	at_most layer-entries 4 "the layer has more than 3 entries"
}

@test "image-bytes" {
	at_most image-bytes 17 "the files of all layers of the image are larger than 16 bytes"
}

@test "image-entries" {
	at_most image-entries 5 "the layers of the image have more than 4 entries"
}

@test "layers" {
	at_most layers 2 "localhost/both:1 has 2 layers, more than 1"
}

@test "file-bytes" {
	at_most file-bytes 10 "d/file: the file is larger than 9 bytes (10)"
}

@test "path-bytes" {
	at_most path-bytes 6 "d/file: the name is longer than 5 bytes (6)"
}

@test "path-depth" {
	at_most path-depth 2 "d/file: more than 1 names in one path"
}

@test "xattrs" {
	at_most xattrs 2 "d/file: more than 1 xattrs (2)"
}

@test "xattr-bytes" {
	at_most xattr-bytes 5 "d/file: xattr user.b is larger than 4 bytes (5)"
}

# The store's own layers are part of an image, although nothing is unpacked of them.
@test "layers that are there already count" {
	cp -a "$BATS_FILE_TMPDIR/empty" "$ROOT"
	ov -q load "$BATS_FILE_TMPDIR/first"
	store_listing >"$BATS_TEST_TMPDIR/before"
	fails_with "--limit image-bytes=N" ov --limit image-bytes=16 load "$IMAGE"
	fails_with "--limit image-entries=N" ov --limit image-entries=4 load "$IMAGE"
	assert_same "$BATS_TEST_TMPDIR/before" <(store_listing)
	assert_no_leftovers
	# Once each, however often they are listed.
	mkimage "$BATS_TEST_TMPDIR/thrice" --ref localhost/thrice:1 "$BATS_FILE_TMPDIR/first.tar" \
		"$BATS_FILE_TMPDIR/second.tar" "$BATS_FILE_TMPDIR/first.tar"
	succeeds ov --limit image-bytes=17 --limit image-entries=5 --limit layers=2 load "$BATS_TEST_TMPDIR/thrice"
	assert_store_sound
}

@test "the environment sets limits, and the command line wins" {
	export OVERLAID_LIMITS=xattrs=1,file-bytes=9
	fails_with "--limit file-bytes=N" ov --limit xattrs=2 load "$IMAGE"
	fails_with "--limit xattrs=N" ov --limit file-bytes=1K load "$IMAGE"
	succeeds ov --limit file-bytes=10 load "$IMAGE" --limit xattrs=unlimited
	assert_store_sound
}

@test "a limit that is none is wrong use" {
	local words
	for words in layer-bytes=0 layer-bytes=1X layer-byte=1 layers=501 layers; do
		run --separate-stderr ov --limit "$words" load "$IMAGE"
		assert_equal "$words: $status" "$words: 125"
		assert_contains "$stderr" "${words%%=*}"
		run --separate-stderr env OVERLAID_LIMITS="xattrs=3,$words" "$OVERLAID" --root "$ROOT" --run "$RUN" load "$IMAGE"
		assert_equal "$words: $status" "$words: 125"
		assert_contains "$stderr" "OVERLAID_LIMITS: "
	done
	assert_missing "$ROOT"
}
