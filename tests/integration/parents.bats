#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
#
# Layers that lean on those beneath them: directories without an entry, ways through a parent's symlinks,
# hard links to a parent's files. They come out as if they were applied one after the other, each to the
# overlay mounted over those before (tests/lib/parents.py), although they are extracted side by side; and
# what must be derived for that is shared, counted and removed like any layer.

load ../lib/common
load ../lib/behaviour
load ../lib/truth

setup() {
	need_root
	need jq python3 sqlite3
	common_setup
	T=$BATS_TEST_TMPDIR
	mkdir "$T/tars"
}

parents() {
	python3 -B "$TOP/tests/lib/parents.py" "$@"
}

put() { # name of the layer; entries on stdin
	parents tar "$T/tars/$1"
}

# The layers that most tests are about. "base" is a merged /usr, with directories that show whose they are.
put_layers() {
	put base <<-END
		d usr mode=0751 uid=3 mtime=11 user.of=base
		d usr/bin mode=0711 uid=4 mtime=12
		l bin to=usr/bin
		f usr/bin/sh data=shell mode=4755 uid=5 mtime=13 user.cap=yes
		d usr/share mode=2775 uid=6 mtime=14
		d var mode=0700 uid=7 mtime=15
		l sbin to=/usr/sbin
	END
	# /bin is a directory here.
	put other <<-END
		d bin mode=0500 uid=9 mtime=21
		f bin/sh data=other
		d usr mode=0555 uid=9 mtime=22
	END
	put implies <<-END
		f usr/share/doc/a data=a
		f var/b data=b
	END
	put through <<-END
		f bin/tool data=tool uid=8
		w bin/sh
	END
	put links <<-END
		h usr/bin/bash to=bin/sh
	END
	put alone <<-END
		f alone data=alone
	END
}

make_image() { # reference, layers...
	local reference=$1
	shift
	mkimage "$T/layout.$reference" --ref "localhost/$reference:1" "${@/#/$T/tars/}"
}

load_image() { # reference
	ov load --quiet "$T/layout.$1" >/dev/null
}

mounted() { # reference: its tree
	ov image mount "localhost/$1:1"
}

# The image is what its layers make one after the other.
assert_as_serial() { # reference, layers...
	local reference=$1
	shift
	parents serial "$T/serial.$reference" "${@/#/$T/tars/}"
	assert_same <(listing "$T/serial.$reference/tree") <(listing "$(mounted "$reference")")
	umount "$T/serial.$reference/tree"
	ov image umount "localhost/$reference:1" >/dev/null
}

kinds() { # how many layers of each kind there are: "bound:1 plain:2"
	ov layers --json | jq -r '[.[].Kind] | group_by(.) | map("\(.[0]):\(length)") | join(" ")'
}

# ---- what comes out ----

@test "a directory without an entry is what it is in the layer beneath" {
	put_layers
	make_image i base implies
	load_image i
	tree=$(mounted i)
	assert_equal "$(stat -c '%a %u %Y' "$tree/usr")" "751 3 11"
	assert_equal "$(stat -c '%a %u %Y' "$tree/usr/share")" "2775 6 14"
	assert_equal "$(stat -c '%a %u %Y' "$tree/usr/share/doc")" "755 0 0"
	assert_equal "$(stat -c '%a %u %Y' "$tree/var")" "700 7 15"
	assert_equal "$(getfattr --only-values -n user.of "$tree/usr")" base
	assert_as_serial i base implies
	assert_equal "$(kinds)" "patch:1 plain:2"
}

@test "what goes through a parent's symlink ends where the link leads" {
	put_layers
	make_image i base through
	load_image i
	tree=$(mounted i)
	assert_equal "$(readlink "$tree/bin")" usr/bin
	assert_equal "$(cat "$tree/usr/bin/tool")" tool
	assert_missing "$tree/usr/bin/sh"
	assert_equal "$(stat -c '%a %u %Y' "$tree/usr/bin")" "711 4 12"
	assert_as_serial i base through
	# The plain one is of no use to anybody.
	assert_equal "$(kinds)" "bound:1 plain:1"
	assert_store_sound
}

@test "a hard link to a parent's file is one" {
	put_layers
	make_image i base links
	load_image i
	tree=$(mounted i)
	assert_equal "$(cat "$tree/usr/bin/bash")" shell
	assert_equal "$(stat -c '%a %u %Y' "$tree/usr/bin/bash")" "4755 5 13"
	assert_equal "$(stat -c %i "$tree/usr/bin/bash")" "$(stat -c %i "$tree/usr/bin/sh")"
	assert_as_serial i base links
}

@test "bound layers are bound to what they are bound to themselves" {
	put_layers
	put more <<-END
		l tools to=bin
	END
	put most <<-END
		f tools/last data=last
		h tools/tool2 to=tools/tool
		h sbin/x to=tools/last
	END
	make_image i base through more most implies
	load_image i
	tree=$(mounted i)
	assert_equal "$(cat "$tree/usr/bin/last" "$tree/usr/bin/tool2" "$tree/usr/sbin/x")" lasttoollast
	assert_as_serial i base through more most implies
	assert_equal "$(kinds)" "bound:2 patch:1 plain:3"
}

@test "a layer that deletes a symlink, or has a directory in its place, is not bound" {
	put_layers
	put deletes <<-END
		w bin
		f bin/x data=x
	END
	put replaces <<-END
		d bin mode=0700
		f bin/x data=x
	END
	make_image i base deletes
	make_image j base replaces
	load_image i
	load_image j
	assert_equal "$(cat "$(mounted i)/bin/x")" x
	assert_as_serial i base deletes
	assert_as_serial j base replaces
	assert_equal "$(kinds)" "plain:3"
}

@test "a hard link to what is in no layer is refused, and nothing is left" {
	put_layers
	put dangling <<-END
		f first data=1
		h link to=bin/none
	END
	make_image i base dangling
	make_image j dangling
	fails_with "bin/none, which is neither in this layer nor in those beneath it" load_image i
	fails_with "it is the lowest" load_image j
	settle
	assert_store_empty
}

@test "layers by chance come out as one after the other" {
	local seed
	for seed in {1..15}; do
		mkdir "$T/$seed"
		parents random "$seed" "$T/$seed"
		mkimage "$T/layout.$seed" --ref "localhost/$seed:1" "$T/$seed"/*.tar
		load_image "$seed"
		assert_same <(listing "$T/$seed/serial/tree") <(listing "$(mounted "$seed")")
		umount "$T/$seed/serial/tree"
	done
	# Or this would prove little.
	assert_match "$(kinds)" '^bound:[1-9][0-9]* patch:[1-9]'
	assert_store_sound
}

# ---- what is known of them ----

@test "images show their own layers, and the store what was derived of them" {
	put_layers
	make_image i base through implies
	load_image i
	assert_same <(ov inspect localhost/i:1 | jq -r '.[0].RootFS.Layers[]') <(diff_ids "$T/layout.i")
	assert_same <(ov history --format '{{.Layer}}' localhost/i:1 | grep . | tac) <(diff_ids "$T/layout.i")
	assert_equal "$(ov inspect localhost/i:1 | jq -r '.[0].GraphDriver.Data | "\(.UpperDir):\(.LowerDir)"' |
		tr : '\n' | wc -l)" 4
	ov inspect localhost/i:1 | jq -r '.[0].GraphDriver.Data | .UpperDir, .LowerDir' | tr : '\n' |
		while read -r dir; do assert_exists "$dir"; done
	assert_match "$(ov history --format '{{.Size}}' localhost/i:1 | tr '\n' ' ')" '^2B 4B 5B'

	local bound=$T/bound.json patch=$T/patch.json
	ov layers --json | jq '.[] | select(.Kind == "bound")' >"$bound"
	ov layers --json | jq '.[] | select(.Kind == "patch")' >"$patch"
	assert_equal "$(jq -r .DiffID "$bound")" "$(diff_ids "$T/layout.i" | sed -n 2p)"
	assert_equal "$(jq -r .DiffID "$patch")" ""
	assert_equal "$(jq -c '[.HeldBy, .References]' "$bound" "$patch" | sort -u)" '[["localhost/i:1"],1]'
	# chainID, as image-spec config.md has it.
	assert_equal "$(jq -r .Layer "$bound")" \
		"sha256:$(printf '%s %s' "$(diff_ids "$T/layout.i" | sed -n 1p)" "$(diff_ids "$T/layout.i" | sed -n 2p)" | sha256sum | cut -d' ' -f1)"
	assert_equal "$(jq -r '"\(.kind) \(.chainID) \(.diffID)"' "$(jq -r .Path "$bound" | sed 's|/diff$||')/layer.json")" \
		"bound $(jq -r '"\(.Layer) \(.DiffID)"' "$bound")"
	assert_contains "$(ov layers)" "DIFF ID"
}

@test "containers of such images are what they should be" {
	put_layers
	make_image i base through implies
	load_image i
	ov create --name c localhost/i:1 >/dev/null
	assert_same <(listing "$(ov mount c)") <(listing "$(mounted i)")
	assert_equal "$(ov diff c)" ""
	echo new >"$(ov mount c)/bin/tool"
	assert_equal "$(ov diff c | sort | tr '\n' ' ')" "C /usr C /usr/bin C /usr/bin/tool "
	assert_same <(ov inspect c | jq -r '.[0].RootFS.Layers[]') <(diff_ids "$T/layout.i")
	# It keeps its layers when the image goes.
	ov umount c >/dev/null
	ov image umount localhost/i:1 >/dev/null
	ov rmi --force localhost/i:1 >/dev/null
	assert_store_sound
	assert_equal "$(cat "$(ov mount c)/usr/bin/tool")" new
	ov umount c >/dev/null
	ov rm c >/dev/null
	settle
	assert_store_empty
}

@test "the root's own metadata stays, under a patch too" {
	put_layers
	put root <<-END
		d . mode=0711 uid=2 mtime=9
	END
	make_image i base root implies
	load_image i
	assert_equal "$(kinds)" "patch:1 plain:3"
	assert_equal "$(stat -c '%a %u %Y' "$(mounted i)")" "711 2 9"
	ov create --name c localhost/i:1 >/dev/null
	assert_equal "$(stat -c '%a %u %Y' "$(ov mount c)")" "711 2 9"
}

# ---- shared, in any order ----

@test "a layer is bound only where it must be, and the plain one is shared" {
	put_layers
	make_image i base through
	make_image j other through
	make_image k other through alone
	load_image i
	load_image j
	assert_equal "$(kinds)" "bound:1 patch:1 plain:3"
	succeeds ov load "$T/layout.k"
	assert_equal "$(grep -c 'Already exists' <<<"$output")" 2
	assert_equal "$(kinds)" "bound:1 patch:2 plain:4"
	assert_as_serial i base through
	assert_as_serial j other through
	assert_as_serial k other through alone
	assert_store_sound
	ov rmi localhost/j:1 localhost/k:1 >/dev/null
	assert_equal "$(kinds)" "bound:1 plain:1"
	ov rmi localhost/i:1 >/dev/null
	settle
	assert_store_empty
}

@test "in whatever order images come, their trees are the same, and nothing is left of them" {
	local order reference
	local -A tree=()
	put_layers
	make_image i base through implies
	make_image j other through implies
	make_image k base links through
	for order in "i j k" "k j i" "j i k" "k i j"; do
		for reference in $order; do load_image "$reference"; done
		for reference in $order; do
			listing "$(mounted "$reference")" >"$T/$reference.now"
			ov image umount "localhost/$reference:1" >/dev/null
			[ -n "${tree[$reference]-}" ] || cp "$T/$reference.now" "$T/$reference.first"
			tree[$reference]=1
			assert_same "$T/$reference.first" "$T/$reference.now"
		done
		assert_store_sound
		ov layers -q --no-trunc >"$T/layers.now"
		[ -e "$T/layers.first" ] || cp "$T/layers.now" "$T/layers.first"
		assert_same "$T/layers.first" "$T/layers.now"
		for reference in $order; do
			ov rmi "localhost/$reference:1" >/dev/null
			assert_store_sound
		done
		settle
		assert_store_empty
	done
}

@test "an image that is there is not derived again" {
	put_layers
	make_image i base links through implies
	load_image i
	find "$ROOT/layers/sha256" -maxdepth 1 -printf '%f %i\n' | sort >"$T/before"
	succeeds ov load "$T/layout.i"
	assert_lacks "$output" Extracted
	assert_same "$T/before" <(find "$ROOT/layers/sha256" -maxdepth 1 -printf '%f %i\n' | sort)
	assert_equal "$(ls -A "$ROOT/staging" "$ROOT/trash" | grep -v '^$\|:$')" ""
}

@test "a layer that must be bound, but whose blob is not in the source, is named" {
	local blob
	put_layers
	make_image j other through
	make_image i base through
	load_image j
	blob=$(manifest "$T/layout.i" | jq -r '.layers[1].digest | sub("sha256:"; "")')
	rm "$T/layout.i/blobs/sha256/$blob"
	fails_with "must be unpacked over the layers beneath it" load_image i
	assert_contains "$output" "$blob"
	settle
	assert_store_sound
	assert_equal "$(ov images -q | wc -l)" 1
}

# ---- several at once, and sudden ends ----

@test "loads of the same and of other images at once derive each layer once" {
	local pids=() pid n reference
	put_layers
	make_image i base through implies
	make_image j other through implies
	make_image k base links through
	for n in 1 2 3; do
		for reference in i j k; do
			ov load --quiet "$T/layout.$reference" >/dev/null 2>"$T/log.$reference.$n" &
			pids+=($!)
		done
	done
	for pid in "${pids[@]}"; do wait "$pid" || fail "$(cat "$T"/log.*)"; done
	settle
	assert_store_sound
	assert_no_leftovers
	# i: base, through bound to it, implies, a patch; j: other, through, a patch; k: links, through bound to both.
	assert_equal "$(kinds)" "bound:3 patch:2 plain:4"
	assert_as_serial i base through implies
	assert_as_serial j other through implies
	assert_as_serial k base links through
}

@test "a load that is killed at any moment leaves what gc cleans, and another finishes" {
	local n
	put_layers
	dd if=/dev/urandom of="$T/noise" bs=1M count=3 2>/dev/null
	{
		parents tar "$T/tars/big" <<<"f bin/small data=x"
		tar -C "$T" --transform 's|^|bin/|' -rf "$T/tars/big" noise
	}
	make_image i base links big implies
	for n in {1..16}; do
		"$OVERLAID" --root "$ROOT" --run "$RUN" load --quiet "$T/layout.i" >/dev/null 2>&1 &
		sleep "0.00$((RANDOM % 10))$((n % 3))"
		kill -9 $! 2>/dev/null || true
		wait $! 2>/dev/null || true
		[ $((n % 4)) != 0 ] || load_image i
		settle
		assert_store_sound
		assert_no_leftovers
		[ $((n % 4)) != 0 ] || {
			assert_equal "$(kinds)" "bound:2 patch:1 plain:2"
			assert_as_serial i base links big implies
			rm -rf "$T/serial.i"
			ov rmi localhost/i:1 >/dev/null
			settle
			assert_store_empty
		}
	done
}

# ---- long chains ----

many_layers() { # how many; the topmost implies a directory that the lowest has
	local n
	mkdir -m 0700 "$T/dir" && chown 7 "$T/dir" && touch "$T/dir/file"
	tar -C "$T" --no-recursion -cf "$T/tars/000" dir
	tar -C "$T" -cf "$T/tars/999" dir/file
	for ((n = 1; n < $1 - 1; n++)); do
		: >"$T/file$n"
		tar -C "$T" -cf "$T/tars/$(printf %03d "$n")" "file$n"
	done
}

@test "499 layers and a patch mount" {
	many_layers 499
	mkimage "$T/layout.many" --ref localhost/many:1 "$T"/tars/*
	load_image many
	assert_equal "$(stat -c '%a %u' "$(mounted many)/dir")" "700 7"
	assert_equal "$(ls "$(mounted many)" | wc -l)" 498
}

@test "a layer is bound to 499 beneath it" {
	many_layers 500
	ln -s dir "$T/link"
	tar -C "$T" -rf "$T/tars/000" link
	rm "$T/tars/999"
	put 999 <<<"f link/bound data=bound"
	mkimage "$T/layout.many" --ref localhost/many:1 "$T"/tars/*
	(ulimit -Sn 1024 && load_image many)
	assert_equal "$(cat "$(mounted many)/dir/bound")" bound
	assert_equal "$(stat -c '%a %u' "$(mounted many)/dir")" "700 7"
	assert_equal "$(kinds)" "bound:1 plain:499"
}

@test "500 layers that need a patch are refused in words, and nothing is left" {
	many_layers 500
	mkimage "$T/layout.many" --ref localhost/many:1 "$T"/tars/*
	fails_with "has 500 layers and needs one more" load_image many
	assert_contains "$output" "localhost/many:1"
	settle
	assert_store_empty
}
