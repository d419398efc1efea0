#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
#
# Layers that Docker and overlaid's own images have in common are there once, and stay while one of them holds them.
# All tests have one dockerd and one store.

load ../../lib/common
load ../../lib/behaviour
load ../../lib/registry
load ../../lib/dockerd

setup_file() {
	docker_setup_file || return 0
	our_plugin || return 0
	make_images
	machine_start
	plugin_start --containerd "$T/sn"
	dockerd_start
}

teardown_file() {
	docker_setup_file || return 0
	machine_stop
}

setup() {
	docker_setup_shared
	need_our_plugin "the store's own images"
	ONE=localhost/one:1
	HERE=$BATS_TEST_TMPDIR
	NGINX=$(image nginx)
}

# Each test begins with an empty store.
teardown() {
	our_plugin && [ -e "$T/machine/pid" ] || return 0
	remove_everything
	forget_images
	assert_nothing_stored
}

forget_images() {
	local ids
	ids=$(ov --quiet images | sort -u)
	# shellcheck disable=SC2086 # a list of ids
	[ -z "$ids" ] || ov rmi --force $ids >/dev/null
}

# Bytes of all layers and of what is being made and deleted, when nothing of that is left.
store_bytes() {
	eventually store_at_rest
	disk_bytes "$ROOT"
}

# Less than a fiftieth more than it was.
assert_no_second_copy() { # bytes before, bytes after
	[ $(($2 - $1)) -lt $(($1 / 50)) ] || fail "the store grew from $1 to $2 bytes"
}

holders() {
	ov --json layers | jq -r '.[] | "\(.Layer) \(.References)"' | LC_ALL=C sort
}

only_layers() { # as they were
	[ "$(layer_dirs)" = "$1" ]
}

@test "what overlaid loaded is no second copy when Docker loads it, and outlives it there" {
	local before layers held
	load_quietly "$NGINX/layout"
	before=$(store_bytes) layers=$(layer_dirs) held=$(holders)
	d load --quiet --input "$NGINX/docker-archive.tar" >/dev/null
	assert_no_second_copy "$before" "$(store_bytes)"
	assert_equal "$(layer_dirs)" "$layers"
	assert_match "$(ov layers --no-trunc)" '[Dd]ocker'
	assert_match "$(d_run --rm nginx:latest nginx -v 2>&1)" '^nginx version: nginx/'
	assert_sound_at_rest
	d rmi nginx:latest >/dev/null
	eventually only_layers "$layers"
	assert_equal "$(holders)" "$held"
	assert_lacks "$(ov layers --no-trunc)" docker
	assert_sound_at_rest
}

@test "what Docker loaded is no second copy when overlaid loads it, and outlives it there" {
	local before layers
	d load --quiet --input "$NGINX/docker-archive.tar" >/dev/null
	before=$(store_bytes) layers=$(layer_dirs)
	load_quietly "$NGINX/layout"
	assert_no_second_copy "$before" "$(store_bytes)"
	assert_equal "$(layer_dirs)" "$layers"
	d rmi nginx:latest >/dev/null
	eventually no_docker_holders
	assert_equal "$(layer_dirs)" "$layers"
	assert_sound_at_rest
	# And the other one first.
	d load --quiet --input "$NGINX/docker-archive.tar" >/dev/null
	forget_images
	assert_equal "$(layer_dirs)" "$layers"
	assert_match "$(d_run --rm nginx:latest nginx -v 2>&1)" '^nginx version: nginx/'
	assert_sound_at_rest
}

no_docker_holders() {
	[[ "$(ov layers --no-trunc)" != *docker* ]]
}

@test "what Docker built and committed is no second copy when overlaid loads its archive" {
	local before
	have_one
	d_run --name web $ONE sh -c 'busybox dd if=/dev/urandom of=/srv/random bs=1M count=8 2>/dev/null; rm /etc/one'
	d commit web localhost/mine:1 >/dev/null
	d rm web >/dev/null
	d save --output "$HERE/mine.tar" localhost/mine:1
	before=$(store_bytes)
	load_quietly "$HERE/mine.tar"
	assert_no_second_copy "$before" "$(store_bytes)"
	assert_equal "$(ov run localhost/mine:1 sh -c 'busybox sha256sum /srv/random; ls /etc/one 2>&1')" \
		"$(d_run --rm localhost/mine:1 sh -c 'busybox sha256sum /srv/random; ls /etc/one 2>&1')"
	assert_sound_at_rest
}

@test "images of both that have some layers in common" {
	load_quietly "$IMAGES/one"
	d load --quiet --input "$(docker_archive two shell first second two more)" >/dev/null
	eventually store_at_rest
	assert_equal "$(layer_dirs | wc -l)" 6
	assert_equal "$(find "$ROOT/layers" -name busybox -type f | wc -l)" 1
	assert_equal "$(d_run --rm localhost/two:1)" "from two"
	assert_equal "$(ov run localhost/one:1)" "from one"
	forget_images
	assert_equal "$(layer_dirs | wc -l)" 5
	assert_equal "$(d_run --rm localhost/two:1 cat /etc/two)" 2
}

@test "gc takes nothing that Docker has, running or not" {
	have_one
	d_start web $ONE sleep 1000
	d exec web sh -c 'echo hello >/srv/said'
	d_run --name old $ONE sh -c 'echo old >/srv/old'
	ov gc >/dev/null
	assert_equal "$(d exec web cat /srv/said /etc/name)" $'hello\none'
	d cp old:/srv/old "$HERE/old"
	assert_equal "$(<"$HERE/old")" old
	assert_equal "$(d_run --rm $ONE)" "from one"
	assert_sound_at_rest
}

@test "twelve containers, commits and overlaid's own commands at once" {
	local number pids=()
	have_one
	load_quietly "$IMAGES/two"
	for number in {1..4}; do
		d_run --rm $ONE sh -c 'echo $0 >/srv/me; cat /srv/me' "$number" >"$HERE/d.$number" 2>&1 3>&- &
		pids+=($!)
		ov run localhost/two:1 >"$HERE/o.$number" 2>&1 3>&- &
		pids+=($!)
		{ d_start "c$number" $ONE touch /x && d wait "c$number" && d commit "c$number" "localhost/c:$number"; } >"$HERE/c.$number" 2>&1 3>&- &
		pids+=($!)
	done
	for number in "${pids[@]}"; do
		wait "$number" || fail "$(cat "$HERE"/[doc].*)"
	done
	for number in {1..4}; do
		assert_equal "$(<"$HERE/d.$number")" "$number"
		assert_equal "$(<"$HERE/o.$number")" "entry two"
	done
	assert_sound_at_rest
}

@test "one daemon has a face for containerd and one for Docker" {
	local call=${TOOLS%/tools}/runtimes/containerd/call
	[ -x "$call" ] || skip "needs make runtimes-tools (scripts/setup --test)"
	have_one
	d_start web $ONE sleep 1000
	inside "$call" "$T/sn" Snapshots/Prepare '{"snapshotter": "overlaid", "key": "a"}' >/dev/null
	assert_equal "$(inside "$call" "$T/sn" Snapshots/List '{"snapshotter": "overlaid"}' | jq -r '.info[].name')" a
	assert_equal "$(d exec web cat /etc/name)" one
	inside "$call" "$T/sn" Snapshots/Remove '{"snapshotter": "overlaid", "key": "a"}' >/dev/null
	assert_equal "$(d exec web cat /etc/name)" one
}

@test "when both have ended, nothing is left of them" {
	remove_everything
	forget_images
	assert_nothing_stored
	dockerd_stop
	plugin_stop
	assert_equal "$(processes)" ""
	assert_equal "$(layer_mounts)" ""
	assert_sound_at_rest
	assert_no_leftovers
}
