#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
#
# What moby's own tests of graph drivers do not ask (tests/runtimes/docker/cases), each on a plugin of its own; and what
# becomes of mounts when the plugin is killed. SEED and ROUNDS say which random trees are tried, and how many.

load ../../lib/common
load ../../lib/behaviour
load ../../lib/registry
load ../../lib/docker

setup() {
	docker_setup
}

teardown() {
	docker_teardown
}

passes() { # case
	local flags=(--socket "$SOCKET" --dir "$T/cases" --seed "${SEED:-1}" --rounds "${ROUNDS:-4}")
	ours || flags+=(--reference)
	docker_start
	run timeout 300 "$DOCKER_GO_TOOLS/cases" "${flags[@]}" "$1"
	[ "$status" = 0 ] || fail "$1 failed; the plugin said: $(tail -n 20 "$T/served/output")"
	[[ $output != SKIP* ]] || skip "${output#SKIP }"
	assert_equal "$output" "PASS $1"
	assert_nothing_kept
}

@test "each of the cases is a test here" {
	assert_same <(sed -nE 's/^@test .* [{] passes (.*); [}]$/\1/p' "$BATS_TEST_FILENAME" | sort) \
		<("$DOCKER_GO_TOOLS/cases" --list | sort)
}

# ---- a plugin that is killed ----

# Layer "a" on "base", mounted; its directory is in $DIR.
mounted_layer() {
	docker_init
	call Create '{"ID": "base"}' >/dev/null
	call Create '{"ID": "a", "Parent": "base"}' >/dev/null
	DIR=$(call Get '{"ID": "a"}' | jq -er .Dir)
	is_mounted "$DIR"
	echo kept >"$DIR/file"
}

unmounted() { # directory
	! is_mounted "$1"
}

exists() { # id
	[ "$(call Exists "{\"ID\": \"$1\"}" | jq '.Exists // false')" = true ]
}

remove() { # id...
	local id
	for id; do
		call Remove "{\"ID\": \"$id\"}" >/dev/null
		! exists "$id" || fail "$id exists after Remove"
	done
}

@test "a plugin that is killed leaves the mount, which counts one when it starts again, without Init" {
	local other
	docker_start
	mounted_layer
	docker_kill
	assert_equal "$(<"$DIR/file")" kept
	docker_start
	is_mounted "$DIR"
	assert_equal "$(call Get '{"ID": "a"}' | jq -r .Dir)" "$DIR"
	call Put '{"ID": "a"}'
	# A plugin may keep a mount for a moment: one that was let go of later is unmounted first.
	call Create '{"ID": "b", "Parent": "base"}'
	other=$(call Get '{"ID": "b"}' | jq -er .Dir)
	call Put '{"ID": "b"}'
	eventually unmounted "$other"
	is_mounted "$DIR" || fail "the mount from before went with a Get and a Put"
	assert_equal "$(<"$DIR/file")" kept
	call Put '{"ID": "a"}'
	eventually unmounted "$DIR"
	remove b a base
	assert_nothing_kept
}

@test "after a plugin was killed, one Put is the last of a mount that lives" {
	docker_start
	mounted_layer
	docker_kill
	docker_start
	call Put '{"ID": "a"}'
	eventually unmounted "$DIR"
	call Put '{"ID": "a"}'
	remove a base
	assert_nothing_kept
}

@test "after a plugin was killed, a mounted layer can be removed" {
	docker_start
	mounted_layer
	docker_kill
	docker_start
	remove a
	eventually unmounted "$DIR"
	remove base
	assert_nothing_kept
}

begun() { # layer: its tar comes in
	[ -n "$(find "$RUN/docker" -path "*/$1/filling")" ]
}

# Of layer "a": its tar is what is written to descriptor 5. Sets client.
begin_fill() {
	docker_start
	docker_init
	call Create '{"ID": "a"}'
	mkfifo "$T/tar"
	call ApplyDiff '{"ID": "a"}' <"$T/tar" >"$T/said" 2>&1 3>&- 4>&- &
	client=$!
	exec 5>"$T/tar"
}

# dockerd then sends what is left of the tar, and would take an answer for one to all of it.
@test "after a plugin was killed while a tar came in, what is left of that is no layer" {
	ours || skip "another driver tells nobody what it began"
	local client
	begin_fill
	head -c 700 /usr/bin/env >&5
	eventually begun a
	docker_kill
	exec 5>&-
	! wait $client || fail "the broken connection was no error: $(<"$T/said")"
	docker_start
	run call ApplyDiff '{"ID": "a"}' < <(head -c 1024 /dev/zero)
	[ "$status" != 0 ] || fail "it is a layer now"
	assert_contains "$output" "was being filled already"
	remove a
	call Create '{"ID": "a"}'
	assert_equal "$(head -c 1024 /dev/zero | call ApplyDiff '{"ID": "a"}')" '{"Size":0}'
	remove a
	assert_nothing_kept
}

@test "after a plugin was killed, Cleanup unmounts what lives" {
	docker_start
	mounted_layer
	docker_kill
	docker_start
	call Cleanup
	unmounted "$DIR"
	exists a
	remove a base
	assert_nothing_kept
}

@test "after a power cut nothing is mounted, and Put, Get, Put do as if nothing had been" {
	docker_start
	mounted_layer
	docker_kill
	umount "$DIR"
	docker_start
	docker_init
	call Put '{"ID": "a"}'
	assert_equal "$(call Get '{"ID": "a"}' | jq -r .Dir)" "$DIR"
	is_mounted "$DIR"
	assert_equal "$(<"$DIR/file")" kept
	call Put '{"ID": "a"}'
	eventually unmounted "$DIR"
	remove a base
	assert_nothing_kept
}

@test "a plugin that ends well and starts again has its layers, without Init" {
	docker_start
	mounted_layer
	call Put '{"ID": "a"}'
	docker_stop
	docker_start
	assert_equal "$(call Get '{"ID": "a"}' | jq -r .Dir)" "$DIR"
	assert_equal "$(<"$DIR/file")" kept
	call Put '{"ID": "a"}'
	remove a base
	assert_nothing_kept
}

@test "a plugin ends well while a layer is mounted, and leaves the mount" {
	docker_start
	mounted_layer
	docker_stop
	is_mounted "$DIR"
	docker_start
	call Put '{"ID": "a"}'
	eventually unmounted "$DIR"
	remove a base
	assert_nothing_kept
}

@test "a plugin that starts finds the socket of one that was killed, and takes its name" {
	docker_start
	docker_kill
	[ -S "$SOCKET" ]
	docker_start
	docker_init
	call Status | jq -e '.Status | length > 0'
}

@test "a plugin that ends answers what came in before, and its name is gone at once" {
	ours || skip "another driver just ends"
	local client
	begin_fill
	head -c 512 /dev/zero >&5
	eventually begun a
	kill -TERM "$(<"$T/served/pid")"
	eventually test ! -e "$SOCKET"
	kill -0 "$(<"$T/served/pid")"
	head -c 512 /dev/zero >&5
	exec 5>&-
	wait $client || fail "the call is cut: $(<"$T/said")"
	assert_equal "$(<"$T/said")" '{"Size":0}'
	docker_stop
	docker_start
	remove a
	assert_nothing_kept
}

@test "one name is served once in a store" {
	ours || skip "another driver has no names"
	docker_start
	mkdir "$T/other"
	run timeout 30 "$OVERLAID" --root "$ROOT" --run "$RUN" serve --docker "$T/other/${SOCKET##*/}"
	[ "$status" = 1 ] || fail "it ended with $status: $output"
	assert_contains "$output" "is being served already"
	run timeout 30 "$OVERLAID" --root "$ROOT" --run "$RUN" serve --docker "$T/other/x" --docker "$T/served/x"
	[ "$status" = 1 ] || fail "it ended with $status: $output"
	assert_contains "$output" "is being served already"
	docker_init
}

@test "while a dockerd lives, its plugin is no other's" {
	ours || skip "another driver serves whoever asks"
	docker_start
	docker_init
	mkfifo "$T/tar"
	# A dockerd that lives: its Init, and then nothing.
	"$CALL" "$SOCKET" Init-and-wait "{\"Home\": \"$T/home/first\"}" <"$T/tar" >"$T/said" 2>&1 3>&- 4>&- &
	local client=$!
	exec 5>"$T/tar"
	eventually grep -q . "$T/said"
	assert_equal "$(<"$T/said")" "{}"
	run call Init "{\"Home\": \"$T/home/first\"}"
	[ "$status" != 0 ] || fail "it serves another"
	assert_contains "$output" "give this one a plugin of its own"
	exec 5>&-
	wait $client
	call Init "{\"Home\": \"$T/home/first\"}"
}

@test "by hand, a tar goes in and comes out" {
	docker_start
	docker_init
	mkdir "$T/in" "$T/out"
	echo text >"$T/in/file"
	call Create '{"ID": "a"}'
	assert_equal "$(tar -C "$T/in" -c file | call ApplyDiff '{"ID": "a"}')" '{"Size":5}'
	call Diff '{"ID": "a"}' | tar -C "$T/out" -x
	assert_equal "$(<"$T/out/file")" text
	fails_with "refused with" call Get '{"ID": "nothing"}'
	remove a
	assert_nothing_kept
}

# ---- the cases ----

@test "counts: gets nest" { passes counts/gets-nest; }
@test "counts: put without get is harmless" { passes counts/put-without-get-is-harmless; }
@test "counts: put of nothing is harmless" { passes counts/put-of-nothing-is-harmless; }
@test "counts: one directory for a layer" { passes counts/one-directory-for-a-layer; }
@test "counts: get of nothing is refused" { passes counts/get-of-nothing-is-refused; }
@test "counts: remove of a mounted layer" { passes counts/remove-of-a-mounted-layer; }
@test "counts: remove takes the count along" { passes counts/remove-takes-the-count-along; }
@test "counts: remove of nothing succeeds" { passes counts/remove-of-nothing-succeeds; }
@test "counts: cleanup unmounts all" { passes counts/cleanup-unmounts-all; }
@test "counts: cleanup forgets counts" { passes counts/cleanup-forgets-counts; }
@test "counts: unmounted behind its back" { passes counts/unmounted-behind-its-back; }
@test "counts: written until it has a child" { passes counts/written-until-it-has-a-child; }
@test "counts: a mount from before the child stays" { passes counts/a-mount-from-before-the-child-stays; }
@test "counts: containers of an image" { passes counts/containers-of-an-image; }
@test "counts: many at once" { passes counts/many-at-once; }
@test "counts: 129 layers" { passes counts/129-layers; }
@test "init: again keeps layers" { passes init/again-keeps-layers; }
@test "init: again keeps mounts" { passes init/again-keeps-mounts; }
@test "init: unknown option is refused" { passes init/unknown-option-is-refused; }
@test "init: another home" { passes init/another-home; }
@test "init: relative home is refused" { passes init/relative-home-is-refused; }
@test "metadata: is overlay2s" { passes metadata/is-overlay2s; }
@test "metadata: of nothing is refused" { passes metadata/of-nothing-is-refused; }
@test "status: is a list of pairs" { passes status/is-a-list-of-pairs; }
@test "capabilities: are nested" { passes capabilities/are-nested; }
@test "activate: says graphdriver" { passes activate/says-graphdriver; }
@test "exists: says what is" { passes exists/says-what-is; }
@test "changes: random to the parent" { passes changes/random-to-the-parent; }
@test "changes: random to a far ancestor" { passes changes/random-to-a-far-ancestor; }
@test "changes: random to nothing" { passes changes/random-to-nothing; }
@test "changes: of the lowest" { passes changes/of-the-lowest; }
@test "changes: none" { passes changes/none; }
@test "changes: times of a whole second" { passes changes/times-of-a-whole-second; }
@test "changes: directory made again" { passes changes/directory-made-again; }
@test "changes: of nothing is refused" { passes changes/of-nothing-is-refused; }
@test "diffsize: random to the parent" { passes diffsize/random-to-the-parent; }
@test "diffsize: random to a far ancestor" { passes diffsize/random-to-a-far-ancestor; }
@test "diffsize: random to nothing" { passes diffsize/random-to-nothing; }
@test "diff: random to the parent" { passes diff/random-to-the-parent; }
@test "diff: random to a far ancestor" { passes diff/random-to-a-far-ancestor; }
@test "diff: random to nothing" { passes diff/random-to-nothing; }
@test "diff: applied by the plugin" { passes diff/applied-by-the-plugin; }
@test "diff: of the lowest" { passes diff/of-the-lowest; }
@test "diff: form" { passes diff/form; }
@test "diff: whiteouts link to nothing" { passes diff/whiteouts-link-to-nothing; }
@test "diff: sockets are left out" { passes diff/sockets-are-left-out; }
@test "diff: of nothing is a status" { passes diff/of-nothing-is-a-status; }
@test "diff: while it is mounted" { passes diff/while-it-is-mounted; }
@test "diff: given up in the middle" { passes diff/given-up-in-the-middle; }
@test "apply: all kinds" { passes apply/all-kinds; }
@test "apply: modes and owners" { passes apply/modes-and-owners; }
@test "apply: names" { passes apply/names; }
@test "apply: xattrs" { passes apply/xattrs; }
@test "apply: overlay xattrs stay outside" { passes apply/overlay-xattrs-stay-outside; }
@test "apply: duplicates" { passes apply/duplicates; }
@test "apply: file over directory and back" { passes apply/file-over-directory-and-back; }
@test "apply: missing directories" { passes apply/missing-directories; }
@test "apply: missing directories are the parents" { passes apply/missing-directories-are-the-parents; }
@test "apply: root entry is ignored" { passes apply/root-entry-is-ignored; }
@test "apply: root entry called slash" { passes apply/root-entry-called-slash; }
@test "apply: hard links" { passes apply/hard-links; }
@test "apply: hard link to nothing is refused" { passes apply/hard-link-to-nothing-is-refused; }
@test "apply: size counts an inode once" { passes apply/size-counts-an-inode-once; }
@test "apply: fractions of times" { passes apply/fractions-of-times; }
@test "apply: to nothing is refused" { passes apply/to-nothing-is-refused; }
@test "apply: chunks of any size" { passes apply/chunks-of-any-size; }
@test "apply: many files" { passes apply/many-files; }
@test "tar: v7" { passes tar/v7; }
@test "tar: ustar" { passes tar/ustar; }
@test "tar: gnu long names" { passes tar/gnu-long-names; }
@test "tar: pax" { passes tar/pax; }
@test "tar: pax global is ignored" { passes tar/pax-global-is-ignored; }
@test "tar: base 256" { passes tar/base-256; }
@test "tar: sparse pax" { passes tar/sparse-pax; }
@test "tar: sparse gnu" { passes tar/sparse-gnu; }
@test "tar: type 0 and 7" { passes tar/type-0-and-7; }
@test "tar: type 7" { passes tar/type-7; }
@test "tar: empty" { passes tar/empty; }
@test "tar: without zero blocks" { passes tar/without-zero-blocks; }
@test "tar: bytes after the end" { passes tar/bytes-after-the-end; }
@test "tar: bad checksum is refused" { passes tar/bad-checksum-is-refused; }
@test "tar: garbage is refused" { passes tar/garbage-is-refused; }
@test "tar: absurd sizes are refused" { passes tar/absurd-sizes-are-refused; }
@test "whiteout: of files and directories" { passes whiteout/of-files-and-directories; }
@test "whiteout: then the same name" { passes whiteout/then-the-same-name; }
@test "whiteout: then a directory of the same name" { passes whiteout/then-a-directory-of-the-same-name; }
@test "whiteout: after the same name" { passes whiteout/after-the-same-name; }
@test "whiteout: without its directory" { passes whiteout/without-its-directory; }
@test "whiteout: of nothing" { passes whiteout/of-nothing; }
@test "whiteout: opaque before content" { passes whiteout/opaque-before-content; }
@test "whiteout: opaque after content" { passes whiteout/opaque-after-content; }
@test "whiteout: opaque without its directory" { passes whiteout/opaque-without-its-directory; }
@test "whiteout: leftovers of aufs" { passes whiteout/leftovers-of-aufs; }
@test "whiteout: in the lowest" { passes whiteout/in-the-lowest; }
@test "escape: by name" { passes escape/by-name; }
@test "escape: by symlink" { passes escape/by-symlink; }
@test "escape: by symlink of the parent" { passes escape/by-symlink-of-the-parent; }
@test "escape: by hard link" { passes escape/by-hard-link; }
@test "escape: by whiteout" { passes escape/by-whiteout; }
@test "cut: the tar" { passes cut/the-tar; }
@test "cut: the connection" { passes cut/the-connection; }
@test "cut: the connection without a word" { passes cut/the-connection-without-a-word; }
@test "cut: nothing is left to send" { passes cut/nothing-is-left-to-send; }
@test "commit: eight at once" { passes commit/eight-at-once; }
@test "commit: one layer many times" { passes commit/one-layer-many-times; }
@test "ids: all that docker uses" { passes ids/all-that-docker-uses; }
@test "ids: others are refused" { passes ids/others-are-refused; }
@test "ids: unknown parent is refused" { passes ids/unknown-parent-is-refused; }
@test "ids: own parent is refused" { passes ids/own-parent-is-refused; }
@test "ids: create of what exists is refused" { passes ids/create-of-what-exists-is-refused; }
@test "ids: unknown storage option is refused" { passes ids/unknown-storage-option-is-refused; }
@test "ids: same name many at once" { passes ids/same-name-many-at-once; }
@test "request: empty body is refused" { passes request/empty-body-is-refused; }
@test "request: garbage is refused" { passes request/garbage-is-refused; }
@test "request: wrong types are refused" { passes request/wrong-types-are-refused; }
@test "request: unknown keys are ignored" { passes request/unknown-keys-are-ignored; }
@test "request: huge body is refused" { passes request/huge-body-is-refused; }
@test "request: unknown method is not found" { passes request/unknown-method-is-not-found; }
@test "request: connections are kept" { passes request/connections-are-kept; }
@test "request: hosts of all versions" { passes request/hosts-of-all-versions; }
@test "request: byte by byte" { passes request/byte-by-byte; }
@test "request: 64 connections" { passes request/64-connections; }
@test "request: garbage on a connection" { passes request/garbage-on-a-connection; }
@test "userns: ids are mapped" { passes userns/ids-are-mapped; }
@test "userns: an id outside is refused" { passes userns/an-id-outside-is-refused; }
@test "userns: the hosts id of root is outside" { passes userns/the-hosts-id-of-root-is-outside; }
@test "userns: diff maps back" { passes userns/diff-maps-back; }
@test "userns: diff to nothing maps back" { passes userns/diff-to-nothing-maps-back; }
@test "userns: the root is the containers" { passes userns/the-root-is-the-containers; }
@test "userns: directories above are passed" { passes userns/directories-above-are-passed; }
@test "userns: maps of parts" { passes userns/maps-of-parts; }
