#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
#
# Damaged archives (tests/lib/damage says what is wrong with each): refused with words that name the
# thing, and the store is what it was; an empty one, and one that has the layers below the damaged one.

load ../lib/common
load ../lib/behaviour

setup_file() {
	command -v python3 >/dev/null && command -v jq >/dev/null && command -v sqlite3 >/dev/null || return 0
	common_setup
	export DAMAGED=$BATS_FILE_TMPDIR/damaged
	local l=$BATS_FILE_TMPDIR/layers
	layer "$l/base" etc/name=base etc/gone=soon
	layer "$l/middle" etc/middle=middle '!etc/gone'
	layer "$l/top" etc/top=top
	# Enough that there is something to cut off: it hardly compresses.
	python3 -c 'import random, sys; sys.stdout.buffer.write(random.Random(1).randbytes(200000))' >"$l/top/noise"
	layer "$l/other" etc/other=other
	mkimage "$BATS_FILE_TMPDIR/good" --ref localhost/damaged:1 "$l/base" "$l/middle" "$l/top"
	mkimage "$BATS_FILE_TMPDIR/neighbour" --ref localhost/neighbour:1 "$l/base" "$l/middle" "$l/other"
	mkdir "$DAMAGED"
	"$TOP/tests/lib/damage" "$BATS_FILE_TMPDIR/good" "$DAMAGED"
	# Two stores to begin with, copied for each case.
	ROOT=$BATS_FILE_TMPDIR/empty ov images >/dev/null
	ROOT=$BATS_FILE_TMPDIR/shared ov -q load "$BATS_FILE_TMPDIR/neighbour" >/dev/null
}

setup() {
	common_setup
	need python3 jq sqlite3
}

# Loads what the test's name says. The store must be as it was at once, without gc.
refused() {
	local sin=${BATS_TEST_DESCRIPTION#refused: } store
	for store in empty shared; do
		ROOT=$BATS_TEST_TMPDIR/$store
		cp -a "$BATS_FILE_TMPDIR/$store" "$ROOT"
		store_listing >"$BATS_TEST_TMPDIR/before"
		run --separate-stderr ov --progress none load "$DAMAGED/$sin"
		[ "$status" = 1 ] || fail "status is $status, on a store that is $store: $stderr"
		assert_equal "$output" ""
		assert_contains "$stderr" "$(cat "$DAMAGED/$sin.names")"
		assert_match "$stderr" '^overlaid: [^'$'\n'']+$'
		assert_same "$BATS_TEST_TMPDIR/before" <(store_listing)
	done
	# What is good can be loaded afterwards.
	ov -q load "$BATS_FILE_TMPDIR/good" >/dev/null
	assert_store_sound
}

# Loads it, and mounts what was loaded.
accepted() {
	local sin=${BATS_TEST_DESCRIPTION#accepted: }
	cp -a "$BATS_FILE_TMPDIR/shared" "$ROOT"
	succeeds ov load "$DAMAGED/$sin"
	assert_store_sound
	[ "$(id -u)" = 0 ] || return 0
	path=$(ov image mount damaged:1)
	assert_equal "$(cat "$path/etc/name" "$path/etc/middle")" $'base\nmiddle'
	assert_missing "$path/etc/gone"
}

@test "each way of damaging has its case here" {
	assert_same <("$TOP/tests/lib/damage" list | sort) \
		<(sed -nE 's/^@test "(refused|accepted): (.*)" .*/\2/p' "$BATS_TEST_FILENAME" | sort)
}

@test "an undamaged image is loaded and mounted" {
	need_root
	ov -q load "$BATS_FILE_TMPDIR/good"
	assert_equal "$(cat "$(ov image mount damaged:1)/etc/top")" top
}

@test "refused: archive-cut-in-first-header" { refused; }
@test "refused: archive-cut-in-layer" { refused; }
@test "refused: archive-cut-in-index" { refused; }
@test "refused: archive-cut-before-index" { refused; }
@test "refused: docker-archive-cut-in-layer" { refused; }
@test "refused: compressed-archive-cut" { refused; }
@test "refused: compressed-archive-flipped" { refused; }
@test "refused: layer-cut" { refused; }
@test "refused: layer-cut-in-gzip-trailer" { refused; }
@test "refused: layer-tar-cut" { refused; }
@test "refused: layer-blob-short" { refused; }
@test "refused: layer-zstd-cut" { refused; }
@test "refused: manifest-flipped" { refused; }
@test "refused: config-flipped" { refused; }
@test "refused: layer-flipped" { refused; }
@test "refused: layer-flipped-in-gzip-header-time" { refused; }
@test "refused: layer-checksum-flipped" { refused; }
@test "refused: index-flipped" { refused; }
@test "refused: docker-layer-flipped" { refused; }
@test "refused: docker-config-flipped" { refused; }
@test "refused: layer-size-too-large" { refused; }
@test "refused: layer-size-too-small" { refused; }
@test "refused: config-size-wrong" { refused; }
@test "refused: manifest-size-wrong" { refused; }
@test "refused: size-negative" { refused; }
@test "refused: size-huge" { refused; }
@test "refused: size-no-number" { refused; }
@test "refused: fewer-diff-ids" { refused; }
@test "refused: more-diff-ids" { refused; }
@test "refused: no-diff-ids" { refused; }
@test "refused: diff-id-wrong" { refused; }
@test "refused: diff-ids-swapped" { refused; }
@test "refused: docker-diff-id-wrong" { refused; }
@test "refused: digest-with-path" { refused; }
@test "refused: manifest-digest-with-path" { refused; }
@test "refused: digest-too-short" { refused; }
@test "refused: digest-of-no-algorithm" { refused; }
@test "refused: layer-missing" { refused; }
@test "refused: config-missing" { refused; }
@test "refused: manifest-missing" { refused; }
@test "refused: index-missing" { refused; }
@test "refused: oci-layout-missing" { refused; }
@test "refused: oci-layout-version" { refused; }
@test "refused: docker-layer-missing" { refused; }
@test "refused: docker-config-missing" { refused; }
@test "refused: docker-layer-outside" { refused; }
@test "refused: docker-config-outside" { refused; }
@test "refused: docker-reference-invalid" { refused; }
@test "refused: docker-no-images" { refused; }
@test "refused: docker-list-no-array" { refused; }
@test "refused: layer-of-unknown-type" { refused; }
@test "refused: layer-encrypted" { refused; }
@test "refused: config-of-unknown-type" { refused; }
@test "refused: manifest-called-a-config" { refused; }
@test "refused: index-called-a-manifest" { refused; }
@test "refused: manifest-that-is-an-index-too" { refused; }
@test "refused: schema-version-1" { refused; }
@test "refused: other-platforms-only" { refused; }
@test "refused: layer-no-tar" { refused; }
@test "refused: layer-with-bad-header" { refused; }
@test "refused: layer-with-empty-whiteout" { refused; }
@test "refused: layer-with-whiteout-of-parent" { refused; }
@test "refused: layer-with-link-to-nothing" { refused; }
@test "refused: layer-with-name-too-long" { refused; }
@test "refused: layer-with-root-a-file" { refused; }
@test "refused: config-too-deep" { refused; }
@test "refused: config-no-json" { refused; }
@test "refused: config-cut" { refused; }
@test "refused: config-an-array" { refused; }
@test "refused: config-empty" { refused; }
@test "refused: manifest-no-json" { refused; }
@test "refused: manifest-without-layers" { refused; }
@test "refused: config-too-large" { refused; }
@test "refused: index-in-index" { refused; }
@test "refused: index-no-json" { refused; }
@test "refused: index-empty" { refused; }
@test "refused: index-without-manifests" { refused; }
@test "refused: empty-file" { refused; }
@test "refused: text-file" { refused; }
@test "refused: zeroes" { refused; }
@test "refused: xz-archive" { refused; }
@test "refused: zip-archive" { refused; }
@test "refused: tar-without-images" { refused; }
@test "refused: empty-directory" { refused; }
@test "refused: layout-directory-with-links" { refused; }

# What could be read in one way only is read.

@test "accepted: layer-of-another-compression" {
	accepted
	need_root
	assert_equal "$(cat "$path/etc/top")" top
}

@test "accepted: layer-plain-that-is-gzip" {
	accepted
	need_root
	assert_equal "$(cat "$path/etc/top")" top
}

@test "accepted: layer-empty-blob" {
	accepted
}

@test "accepted: layer-with-parent-names" {
	accepted
	need_root
	assert_equal "$(cat "$path/outside" "$path/ok")" 21
	assert_missing "$BATS_TEST_TMPDIR/outside"
}

@test "accepted: index-names-twice" {
	accepted
	need_root
	assert_equal "$(cat "$path/etc/top")" top
}

@test "accepted: member-twice" {
	accepted
	need_root
	assert_equal "$(cat "$path/etc/top")" top
}
