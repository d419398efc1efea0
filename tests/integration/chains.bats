#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
#
# Layers stacked: what is on top wins, what is deleted is gone, up to 500 of them, and shared ones are
# there once.

load ../lib/common
load ../lib/truth

setup() {
	need_root
	need jq
	common_setup
	T=$BATS_TEST_TMPDIR
}

# Loads an image of the directories $T/layers/* and mounts it: its tree is $tree.
stack() { # reference, layers (default: all)
	local reference=$1
	shift
	[ $# -gt 0 ] || set -- "$T"/layers/*
	"$TOP/scripts/mkimage" "$T/layout.$reference" --ref "localhost/$reference" "$@" >/dev/null
	ov load --quiet "$T/layout.$reference" >/dev/null
	tree=$(ov image mount "localhost/$reference")
}

diff_of() { # diffID or its hex: the layer's directory
	echo "$ROOT/layers/sha256/${1#sha256:}/diff"
}

# ---- what is seen ----

@test "of a file in three layers the topmost one is seen, whole" {
	local n
	for n in 1 2 3; do
		mkdir -p "$T/layers/$n/etc"
		printf "%0$((40 - n * 10))d" "$n" >"$T/layers/$n/etc/file"
		chmod "60$n" "$T/layers/$n/etc/file"
		chown "$n:$n" "$T/layers/$n/etc/file"
	done
	stack three
	assert_equal "$(cat "$tree/etc/file")" 0000000003
	assert_equal "$(stat -c '%a %u:%g' "$tree/etc/file")" "603 3:3"
}

@test "a whiteout hides the file, and a later layer may bring it back" {
	mkdir -p "$T"/layers/{1,2,3}/dir
	echo old >"$T/layers/1/dir/file"
	echo other >"$T/layers/1/dir/other"
	: >"$T/layers/2/dir/.wh.file"
	echo new >"$T/layers/3/dir/file"
	stack deleted "$T/layers/1" "$T/layers/2"
	assert_equal "$(ls -A "$tree/dir")" other
	assert_missing "$tree/dir/file"
	stack back
	assert_equal "$(cat "$tree/dir/file")" new
}

@test "a whiteout hides a directory with all that is in it" {
	mkdir -p "$T/layers/1/gone/sub" "$T/layers/2"
	echo file >"$T/layers/1/gone/sub/file"
	: >"$T/layers/2/.wh.gone"
	stack hidden
	assert_equal "$(ls -A "$tree")" ""
	assert_missing "$tree/gone/sub/file"
}

@test "an opaque directory hides what lies beneath, and nothing of its own layer" {
	mkdir -p "$T"/layers/{1,2,3}/dir/sub
	echo old >"$T/layers/1/dir/old"
	echo old >"$T/layers/1/dir/sub/old"
	: >"$T/layers/2/dir/.wh..wh..opq"
	echo new >"$T/layers/2/dir/new"
	echo top >"$T/layers/3/dir/top"
	stack opaque
	assert_equal "$(cd "$tree" && find dir | sort | tr '\n' ' ')" "dir dir/new dir/sub dir/top "
}

# overlayfs itself merges the roots of all layers, opaque or not.
@test "an opaque marker in the root of a layer hides all layers beneath" {
	mkdir -p "$T"/layers/{1,2,3}/dir
	touch "$T/layers/1/dir/old" "$T/layers/1/old" "$T/layers/2/.wh..wh..opq" "$T/layers/2/dir/new" "$T/layers/3/top"
	stack root
	assert_equal "$(cd "$tree" && find . | sort | tr '\n' ' ')" ". ./dir ./dir/new ./top "
	ov create --name c localhost/root >/dev/null
	assert_equal "$(cd "$(ov mount c)" && find . | sort | tr '\n' ' ')" ". ./dir ./dir/new ./top "
}

# The file took the directory's place; the directory that follows is another one.
@test "a layer in which a name is a file first and then a directory hides the directory beneath" {
	mkdir -p "$T/layers/1/x" "$T/file" "$T/dir/x"
	touch "$T/layers/1/x/old" "$T/file/x" "$T/dir/x/new"
	tar -C "$T/file" -cf "$T/layers/2.tar" x
	tar -C "$T/dir" -rf "$T/layers/2.tar" x
	stack again
	assert_equal "$(ls -A "$tree/x")" new
}

@test "a directory that becomes a file, a link and a directory again has nothing of before" {
	mkdir -p "$T"/layers/{1,4}/x "$T"/layers/{2,3}
	echo first >"$T/layers/1/x/first"
	echo file >"$T/layers/2/x"
	ln -s /nowhere "$T/layers/3/x"
	echo last >"$T/layers/4/x/last"
	stack two "$T/layers/1" "$T/layers/2"
	assert_equal "$(cat "$tree/x")" file
	stack three "$T"/layers/[123]
	assert_equal "$(readlink "$tree/x")" /nowhere
	stack four
	assert_equal "$(ls -A "$tree/x")" last
}

@test "the same layer twice in an image: the upper one counts" {
	mkdir -p "$T/layers/1" "$T/layers/2" "$T/layers/3"
	echo base >"$T/layers/1/base"
	echo file >"$T/layers/2/file"
	: >"$T/layers/3/.wh.file"
	stack present "$T/layers/1" "$T/layers/2" "$T/layers/3" "$T/layers/2"
	assert_equal "$(cat "$tree/file")" file
	stack absent "$T/layers/1" "$T/layers/3" "$T/layers/2" "$T/layers/3"
	assert_missing "$tree/file"
	assert_equal "$(ov inspect localhost/present | jq '.[0].RootFS.Layers | length')" 4
	assert_equal "$(ov layers -q | wc -l)" 3
	ov image umount --all >/dev/null
	# One reference a holder, however often it has the layer.
	assert_equal "$(ov layers --json | jq -c '[.[].References] | unique')" '[2]'
	succeeds ov rmi localhost/present localhost/absent
	assert_equal "$(ls -A "$ROOT/layers/sha256")" ""
}

@test "an image of one layer mounts, and one whose layer is empty" {
	mkdir -p "$T/layers/1" "$T/empty/1"
	echo only >"$T/layers/1/only"
	stack one
	assert_equal "$(cat "$tree/only")" only
	stack empty "$T/empty/1"
	assert_equal "$(ls -A "$tree")" ""
	assert_equal "$(stat -c %a "$tree")" 755
	ov create --name c localhost/empty >/dev/null
	echo written >"$(ov mount c)/file"
}

@test "an image's mount is read-only, a container's is its own" {
	mkdir -p "$T/layers/1"
	echo image >"$T/layers/1/file"
	stack own
	fails_with "Read-only" touch "$tree/file"
	ov create --name a localhost/own >/dev/null
	ov create --name b localhost/own >/dev/null
	echo a >"$(ov mount a)/file"
	assert_equal "$(cat "$(ov mount b)/file")" image
	assert_equal "$(cat "$tree/file")" image
	assert_equal "$(ov diff a)" "C /file"
}

# ---- long chains ----

mounts_in_full() { # layers
	local tree n=$1
	ov load --quiet "$(image "many-$n")/layout" >/dev/null
	tree=$(ov image mount "localhost/many:$n")
	assert_equal "$(cat "$tree/etc/last")" "$n"
	assert_equal "$(ls "$tree/opt/layer" | wc -l)" $((n - 1))
	assert_equal "$(cat "$tree/opt/layer/002")" "layer 002"
	ov create --name long "localhost/many:$n" >/dev/null
	tree=$(ov mount long)
	assert_equal "$(cat "$tree/etc/last")" "$n"
	rm "$tree/opt/layer/002"
	echo changed >"$tree/etc/last"
	assert_equal "$(ov diff long | sort | tr '\n' ' ')" "C /etc C /etc/last C /opt C /opt/layer D /opt/layer/002 "
	assert_equal "$(cat "$(ov image mount "localhost/many:$n")/etc/last")" "$n"
	ov rm --force long >/dev/null
	ov image umount "localhost/many:$n" >/dev/null
	assert_equal "$(ov rmi "localhost/many:$n" | grep -c Deleted)" $((n + 1))
	settle
	assert_equal "$(ls -A "$ROOT/layers/sha256")" ""
}

@test "127 layers mount, read-only and as a container" { mounts_in_full 127; }

@test "500 layers mount, read-only and as a container" { mounts_in_full 500; }

@test "501 layers are refused before anything is extracted, and the limit is named" {
	local before
	ov load --quiet "$(image busybox)/layout" >/dev/null
	before=$(store_listing)
	fails_with 500 ov load "$(image many-501)/layout"
	assert_contains "$output" 501
	assert_contains "$output" many
	assert_lacks "$output" Extracted
	assert_equal "$(store_listing)" "$before"
	fails_with 500 ov load < <(tar -C "$(image many-501)/layout" -c .)
	assert_equal "$(store_listing)" "$before"
}

# All names in the store but the database's own, with inodes: what is made anew has another.
store_listing() {
	find "$ROOT" ! -name 'graph.db*' -printf '%P %i %y %s\n' | sort
	ov images --no-trunc --json
	ov layers --json | jq -c 'map(del(.CreatedSince))'
}

# ---- shared layers ----

@test "of two images that share four layers each shared directory exists once, with two references" {
	local a b shared id
	a=$(image siblings)/a b=$(image siblings)/b
	succeeds ov load "$a"
	assert_equal "$(grep -c Extracted <<<"$output")" 5
	find "$ROOT/layers" -maxdepth 2 -printf '%p %i\n' >"$T/first"
	succeeds ov load "$b"
	assert_equal "$(grep -c 'Already exists' <<<"$output")" 4
	assert_equal "$(grep -c Extracted <<<"$output")" 2
	assert_equal "$(grep -vxFf <(find "$ROOT/layers" -maxdepth 2 -printf '%p %i\n') "$T/first")" ""
	assert_equal "$(ls "$ROOT/layers/sha256" | sort)" \
		"$({ config_of "$a" && config_of "$b"; } | jq -r '.rootfs.diff_ids[] | sub("sha256:"; "")' | sort -u)"

	mapfile -t shared < <(config_of "$a" | jq -r '.rootfs.diff_ids[:4][]')
	for id in "${shared[@]}"; do
		assert_equal "$(ov layers --json | jq -c --arg id "$id" '.[] | select(.Layer == $id) | [.References, .HeldBy]')" \
			'[2,["localhost/a:1","localhost/b:1"]]'
	done
	assert_equal "$(ov layers --json | jq -c 'map(.References) | sort')" '[1,1,1,2,2,2,2]'

	succeeds ov rmi localhost/a:1
	settle
	for id in "${shared[@]}"; do assert_exists "$(diff_of "$id")"; done
	assert_equal "$(ov layers --json | jq -c 'map(.References) | sort')" '[1,1,1,1,1,1]'
	assert_equal "$(ls "$ROOT/layers/sha256" | wc -l)" 6
	assert_same <(truth model "$b") <(listing "$(ov image mount localhost/b:1)")
	ov image umount localhost/b:1 >/dev/null

	succeeds ov rmi localhost/b:1
	settle
	assert_equal "$(ov layers -q)" ""
	assert_equal "$(ls -A "$ROOT/layers/sha256" "$ROOT/trash" "$ROOT/staging" "$ROOT/blobs/sha256" | grep -v '^$\|:$')" ""
}

@test "a store that is emptied takes what an empty one takes" {
	local before
	ov images >/dev/null
	before=$(find "$ROOT" ! -name 'graph.db*' | sort)
	ov load --quiet "$(image siblings)/a" >/dev/null
	ov load --quiet "$(image siblings)/b" >/dev/null
	ov load --quiet "$(image zoo)/layout" >/dev/null
	ov create --name c localhost/a:1 >/dev/null
	ov rm c >/dev/null
	# shellcheck disable=SC2046 # ids
	succeeds ov rmi --force $(ov images --quiet)
	settle
	assert_equal "$(find "$ROOT" ! -name 'graph.db*' | sort)" "$before"
	assert_equal "$(ov layers -q)$(ov images -q -a)$(ov ps -q)" ""
}

@test "a layer is shared by images that have it in different places" {
	mkdir -p "$T"/layers/{1,2,3}
	echo 1 >"$T/layers/1/one"
	echo 2 >"$T/layers/2/one"
	echo 3 >"$T/layers/3/three"
	stack up "$T/layers/1" "$T/layers/2" "$T/layers/3"
	assert_equal "$(cat "$tree/one")" 2
	stack down "$T/layers/3" "$T/layers/2" "$T/layers/1"
	assert_equal "$(cat "$tree/one")" 1
	assert_equal "$(ov layers -q | wc -l)" 3
}

# ---- older kernels ----

# One mount that needs all of it, under the rules given: what is seen must be what it always is.
same_tree_without() { # rules for deny...
	[ -x "$TOOLS/deny" ] || fail "$TOOLS/deny is not built"
	ov load --quiet "$(image zoo)/layout" >/dev/null
	ov load --quiet "$(image many-127)/layout" >/dev/null
	local name layout
	for name in zoo:1 many:127; do
		layout=$(image "${name/:1*/}$([ $name = zoo:1 ] || echo -127)")/layout
		succeeds "$TOOLS/deny" "$@" -- "$OVERLAID" --root "$ROOT" --run "$RUN" image mount "localhost/$name"
		assert_same <(truth model "$layout") <(listing "${lines[-1]}")
		ov create --name "c-${name%:*}" "localhost/$name" >/dev/null
		succeeds "$TOOLS/deny" "$@" -- "$OVERLAID" --root "$ROOT" --run "$RUN" mount "c-${name%:*}"
		assert_same <(truth model "$layout") <(listing "${lines[-1]}")
		rm -r "${lines[-1]}/etc"
		succeeds ov umount "c-${name%:*}"
	done
}

way_without() { # rules for deny...
	"$TOOLS/deny" "$@" -- "$OVERLAID" --root "$ROOT" --run "$RUN" info | sed -n 's/^Mounting: //p'
}

@test "a kernel before 6.13, without layers by descriptor: by name, the same tree" {
	same_tree_without fsconfig:1=5:EINVAL
	assert_contains "$(way_without fsconfig:1=5:EINVAL)" name
}

@test "a kernel before 5.2, without fsopen: by mount options, the same tree" {
	same_tree_without fsopen
	assert_contains "$(way_without fsopen)" options
}

@test "a kernel without openat2: loaded and mounted, the same tree" {
	local tree zoo
	zoo=$(image zoo)/layout
	succeeds "$TOOLS/deny" openat2 -- "$OVERLAID" --root "$ROOT" --run "$RUN" load "$zoo"
	tree=$("$TOOLS/deny" openat2 -- "$OVERLAID" --root "$ROOT" --run "$RUN" image mount localhost/zoo:1)
	assert_same <(truth model "$zoo") <(listing "$tree")
}
