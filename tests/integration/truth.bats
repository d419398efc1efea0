#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
#
# The tree that is mounted is the one other people's tools make of the same image, entry for entry:
# type, mode, owner, time to the nanosecond, size, content, link target, device, hard links, xattrs.
#
# "umoci" unpacks layer after layer into one directory; "containers-storage" is what Podman mounts;
# "the tars" are read by a model of the specification (tests/truth/model.py). All images are in one store.

load ../lib/common
load ../lib/truth

setup_file() {
	[ "$(id -u)" = 0 ] || return 0
	ROOT=$BATS_FILE_TMPDIR/root RUN=$BATS_FILE_TMPDIR/run
	local name
	for name in nginx zoo siblings many-127; do image "$name"; done >/dev/null
	export_layouts
	make_formats "$formats"
	for name in nginx zoo siblings_a siblings_b many formats; do
		ov load --quiet "${!name}" >"$BATS_FILE_TMPDIR/$name.id"
		listing "$(ov image mount "$(image_id_of "${!name}")")" >"$BATS_FILE_TMPDIR/$name.ours"
	done
}

teardown_file() {
	[ "$(id -u)" != 0 ] || unmount_below "$BATS_FILE_TMPDIR"
}

setup() {
	need_root
	need umoci skopeo jq python3 zstd
	common_setup
	export_layouts
}

export_layouts() {
	nginx=$(image nginx)/layout
	zoo=$(image zoo)/layout
	siblings_a=$(image siblings)/a
	siblings_b=$(image siblings)/b
	many=$(image many-127)/layout
	formats=$BATS_FILE_TMPDIR/formats
}

# An image whose layers are in tar's several formats, one of them with an entry for the root.
make_formats() { # new layout
	local d=$BATS_FILE_TMPDIR/formats.d
	mkdir -p "$d"/{gnu,posix,ustar,v7}
	mkdir "$d/gnu/dir"
	echo old >"$d/gnu/dir/before-1970"
	echo huge >"$d/gnu/dir/huge-ids"
	chown 3000000:4000000000 "$d/gnu/dir/huge-ids"
	echo long >"$d/gnu/dir/$(printf 'g%.0s' {1..200})"
	ln -s "$(printf 't%.0s' {1..300})" "$d/gnu/dir/long-target"
	mkdir "$d/posix/dir"
	echo old >"$d/posix/dir/before-1970-fraction"
	mkdir -p "$d/ustar/$(printf 'p%.0s' {1..90})/$(printf 'q%.0s' {1..90})"
	echo prefix >"$d/ustar/$(printf 'p%.0s' {1..90})/$(printf 'q%.0s' {1..90})/file"
	echo v7 >"$d/v7/short"
	find "$d" -exec touch -h -d '2024-01-01 00:00:00 UTC' {} +
	touch -d '1955-11-05 06:15:00 UTC' "$d/gnu/dir/before-1970"
	touch -d '1955-11-05 06:15:00.25 UTC' "$d/posix/dir/before-1970-fraction"
	# Not the last second before 1970: libarchive reads pax "mtime=-0.25" as 0.25, and nothing tells.
	touch -d '2024-02-02 00:00:00 UTC' "$d/gnu" "$d/gnu/dir"
	chmod 0711 "$d/gnu"
	tar -C "$d/gnu" -cf "$d/1-gnu.tar" --format=gnu --numeric-owner .
	tar -C "$d/posix" -cf "$d/2-posix.tar" --format=posix --numeric-owner dir
	tar -C "$d/ustar" -cf "$d/3-ustar.tar" --format=ustar --numeric-owner "$(ls "$d/ustar")"
	tar -C "$d/v7" -cf "$d/4-v7.tar" --format=v7 --numeric-owner short
	"$TOP/scripts/mkimage" "$1" --ref localhost/formats:1 "$d"/?-*.tar >/dev/null
}

as_the_tars_say() {
	assert_same "$BATS_FILE_TMPDIR/$1.ours" <(truth model "${!1}")
}

as_umoci_does() {
	by_umoci "${!1}" "$BATS_TEST_TMPDIR/umoci" >"$BATS_TEST_TMPDIR/listing"
	assert_same "$BATS_FILE_TMPDIR/$1.ours" "$BATS_TEST_TMPDIR/listing"
}

# But for the root itself where no layer has an entry for it: containers-storage makes it 0555 and gives
# it the time of unpacking. Docker and containerd make it 0755, and so do we; the time of unpacking says
# nothing about the image, and makes the same layer differ on each machine.
as_containers_storage_does() {
	by_containers_storage "${!1}" "$BATS_TEST_TMPDIR/peer" >"$BATS_TEST_TMPDIR/listing"
	assert_same <(sed 1d "$BATS_FILE_TMPDIR/$1.ours") <(sed 1d "$BATS_TEST_TMPDIR/listing")
}

@test "nginx of seven layers is what its tars say" { as_the_tars_say nginx; }
@test "nginx of seven layers is what umoci unpacks" { as_umoci_does nginx; }
@test "nginx of seven layers is what containers-storage mounts" { as_containers_storage_does nginx; }

@test "every kind of entry is what the tars say" { as_the_tars_say zoo; }
@test "every kind of entry is what umoci unpacks" { as_umoci_does zoo; }
@test "every kind of entry is what containers-storage mounts" { as_containers_storage_does zoo; }

@test "siblings are each what their tars say" {
	as_the_tars_say siblings_a
	as_the_tars_say siblings_b
}
@test "a sibling is what umoci unpacks" { as_umoci_does siblings_b; }
@test "a sibling is what containers-storage mounts" { as_containers_storage_does siblings_b; }

@test "127 layers are what their tars say" { as_the_tars_say many; }
@test "127 layers are what umoci unpacks" { as_umoci_does many; }

@test "GNU, pax, ustar and v7 layers, times before 1970 and an entry for the root are what the tars say" {
	as_the_tars_say formats
}
@test "GNU, pax, ustar and v7 layers, times before 1970 and an entry for the root are what umoci unpacks" {
	as_umoci_does formats
}
# containers-storage makes every time before 1970 the first second of 1970; the tar says otherwise.
@test "GNU, pax, ustar and v7 layers are what containers-storage mounts, but for times before 1970" {
	by_containers_storage "$formats" "$BATS_TEST_TMPDIR/peer" >"$BATS_TEST_TMPDIR/listing"
	assert_same <(sed '1d; /before-1970/s/mtime=-[0-9.]*/mtime=0.000000000/' "$BATS_FILE_TMPDIR/formats.ours") \
		<(sed 1d "$BATS_TEST_TMPDIR/listing")
}

@test "a container's tree is the image's" {
	local root=$BATS_FILE_TMPDIR/root run=$BATS_FILE_TMPDIR/run tree
	"$OVERLAID" --root "$root" --run "$run" create --name twin localhost/zoo:1 >/dev/null
	tree=$("$OVERLAID" --root "$root" --run "$run" mount twin)
	assert_same "$BATS_FILE_TMPDIR/zoo.ours" <(listing "$tree")
	"$OVERLAID" --root "$root" --run "$run" rm --force twin
}

@test "a layer's holes stay holes" {
	local tree=$BATS_TEST_TMPDIR/tree
	ov load --quiet "$zoo" >/dev/null
	tree=$(ov image mount localhost/zoo:1)
	assert_equal "$(stat -c %b "$tree/types/hole")" 0
	[ "$(stat -c %b "$tree/types/sparse")" -lt 100 ] || fail "types/sparse has $(stat -c %b "$tree/types/sparse") blocks"
}

# A whiteout of what no layer beneath has, in a directory that only this layer has: overlayfs lists such
# a directory without looking for whiteouts in it. Podman shows a name that does not exist.
@test "a whiteout of nothing, in a directory that one layer has, is not in the directory's listing" {
	local d=$BATS_TEST_TMPDIR/layers tree
	mkdir -p "$d/1/low" "$d/2/new/sub" "$d/2/low" "$d/3/opaque"
	touch "$d/1/.wh.ghost" "$d/1/low/.wh.ghost" "$d/2/new/.wh.ghost" "$d/2/new/sub/.wh.ghost" "$d/2/low/.wh.ghost" \
		"$d/3/opaque/.wh.ghost" "$d/3/opaque/.wh..wh..opq"
	"$TOP/scripts/mkimage" "$BATS_TEST_TMPDIR/layout" --ref localhost/ghost:1 "$d"/?
	ov load --quiet "$BATS_TEST_TMPDIR/layout" >/dev/null
	tree=$(ov image mount localhost/ghost:1)
	assert_equal "$(cd "$tree" && find . | sort | tr '\n' ' ')" ". ./low ./new ./new/sub ./opaque "
	ov create --name c localhost/ghost:1 >/dev/null
	assert_equal "$(cd "$(ov mount c)" && find . | sort | tr '\n' ' ')" ". ./low ./new ./new/sub ./opaque "
	rm -r "$(ov mount c)/new"
}

# Layers by chance (tests/truth/stacks.py), the same ones each time. umoci is asked what it gets right: it
# gives directories that have no entry the time of unpacking, and knows no pax global header.
umoci_knows=none,root,twice,odd-names,xattrs,caps,formats,base256,old-times,types,own-symlink,garbage,no-end

@test "25 random images are what their tars say, and what umoci unpacks" {
	local seed d
	for seed in {1..25}; do
		d=$BATS_TEST_TMPDIR/$seed
		mkdir "$d"
		truth random "$seed" "$d" --features "$umoci_knows"
		"$TOP/scripts/mkimage" "$d/layout" --ref "localhost/random:$seed" "$d"/*.tar >/dev/null
		ov load --quiet "$d/layout" >/dev/null || fail "seed $seed"
		listing "$(ov image mount "localhost/random:$seed")" >"$d/ours" || fail "seed $seed"
		assert_same "$d/ours" <(truth model "$d/layout") || fail "seed $seed"
		by_umoci "$d/layout" "$d/umoci" >"$d/theirs"
		assert_same "$d/ours" "$d/theirs" || fail "seed $seed"
		rm -rf "$d/umoci"
	done
}

# "truth stacks" has a scratch tmpfs and a mount namespace of its own. More of them: tests/truth/run.
@test "150 random images of every kind are what their tars say" {
	succeeds truth stacks --count 150 --seed 1
	assert_contains "$output" "150 stacks from seed 1, overlaid: 0 failures"
}

@test "40 random images are what containerd unpacks" {
	need containerd ctr
	succeeds truth stacks --count 40 --seed 1001 --containerd
	assert_contains "$output" "40 stacks from seed 1001, overlaid and containerd: 0 failures"
}

# What the model says of parents' symlinks, links to parents' files and directories without an entry.
@test "40 random images whose layers need their parents are for containerd what their tars say" {
	need containerd ctr
	succeeds truth stacks --count 40 --seed 2001 --containerd --no-overlaid
	assert_contains "$output" "40 stacks from seed 2001, containerd: 0 failures"
	assert_contains "$output" " parent-symlink "
	assert_contains "$output" " parent-link "
	assert_contains "$output" " implied "
}
