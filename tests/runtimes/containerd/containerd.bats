#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
#
# containerd with our snapshotter: images come, containers run, and what is removed is gone.

load ../../lib/common
load ../../lib/behaviour
load ../../lib/registry
load ../../lib/containerd

setup_file() {
	[ "$(id -u)" = 0 ] || return 0
	make_images
}

setup() {
	containerd_setup
	need containerd ctr runc setpriv pgrep
	ONE=localhost/one:1 TWO=localhost/two:1
}

teardown() {
	containerd_teardown
}

start_both() {
	serve_start
	containerd_start
}

start_with_images() {
	start_both
	c_import "$(archive_of "$IMAGES/one")"
	c_import "$(archive_of "$IMAGES/two")"
}

# The chainIDs of an image, lowest first.
chain_ids() { # layout
	local chain='' diff_id
	while read -r diff_id; do
		[ -z "$chain" ] && chain=$diff_id || chain=sha256:$(printf '%s %s' "$chain" "$diff_id" | sha256sum | cut -d ' ' -f 1)
		echo "$chain"
	done < <(diff_ids "$1")
}

top_of() { # layout
	chain_ids "$1" | tail -n 1
}

keys() {
	c snapshots --snapshotter overlaid ls | tail -n +2 | awk '{ print $1, $NF }' | sort
}

# ---- images ----

@test "an imported image is a snapshot for each layer, called by its chainID" {
	start_with_images
	assert_same <(chain_ids "$IMAGES/one" "$IMAGES/two" | cat - <(chain_ids "$IMAGES/two") | sort -u | sed 's/$/ Committed/') <(keys)
	assert_equal "$(snapshot_count kind==committed)" 6
	assert_equal "$(snapshot_count kind!=committed)" 0
}

@test "an image imported twice is there once" {
	start_with_images
	c_import "$(archive_of "$IMAGES/one")"
	assert_equal "$(snapshot_count)" 6
}

@test "an image comes from a registry" {
	need_registry docker-registry
	registry_environment
	start_docker_registry "$T/registry"
	push "$IMAGES/one" test/one:1
	start_both
	c_pull "$REGISTRY/test/one:1"
	assert_equal "$(snapshot_count)" 4
	assert_equal "$(c_run --rm "$REGISTRY/test/one:1" pulled)" "from one"
}

@test "a mounted image is the tree that containerd's own snapshotter makes" {
	start_with_images
	c images import --snapshotter overlayfs "$T/two.tar"
	SNAPSHOTTER=overlayfs c_tree $TWO "$T/m" >"$T/expected"
	c_tree $TWO "$T/m" >"$T/listing"
	assert_same "$T/expected" "$T/listing"
	grep -q etc/two "$T/listing"
	! grep -q opt/gone "$T/listing" || fail "what a layer deleted is there"
}

@test "an image mounted to be written to is not changed by it" {
	start_with_images
	mkdir "$T/m"
	c images mount --rw --snapshotter overlaid $ONE "$T/m" >/dev/null
	is_mounted "$T/m"
	echo changed >"$T/m/etc/name"
	rm "$T/m/etc/one"
	c images unmount --rm "$T/m" >/dev/null
	! is_mounted "$T/m"
	c images mount --snapshotter overlaid $ONE "$T/m" >/dev/null
	assert_equal "$(<"$T/m/etc/name")" one
	assert_equal "$(<"$T/m/etc/one")" 1
	fails_with "Read-only file system" touch "$T/m/new"
	c images unmount --rm "$T/m" >/dev/null
}

# ---- containers ----

@test "a container runs, and says so" {
	start_with_images
	assert_equal "$(c_run --rm $ONE first)" "from one"
	run c_run --rm $ONE failing sh -c 'exit 42'
	assert_equal "$status" 42
	eventually collected nothing_of_containers
}

@test "what a container writes is its own, and another process of it sees it" {
	start_with_images
	c_run -d $ONE web sh -c 'echo hello >/srv/said; rm /etc/one; sleep 1000'
	eventually in_container web ls /srv/said
	c_run -d $ONE other sleep 1000
	assert_equal "$(c_exec web cat /srv/said)" hello
	eventually in_container web sh -c '[ ! -e /etc/one ]'
	assert_equal "$(c_exec other cat /etc/one)" 1
	run c_exec other cat /srv/said
	[ "$status" != 0 ] || fail "one container sees what another one wrote"
	c_end web other
	eventually collected nothing_of_containers
}

in_container() { # container, command...
	c_exec "$@" >/dev/null 2>&1
}

nothing_of_containers() {
	[ "$(snapshot_count kind==active)" = 0 ] && nothing_stored said
}

@test "what a container says goes to a log" {
	start_with_images
	c_run -d --log-uri "file://$T/log" $ONE talker sh -c 'echo hello; cat /etc/name'
	eventually grep -q one "$T/log"
	assert_equal "$(<"$T/log")" $'hello\none'
	c_end talker
}

@test "a running container's writes survive that snapshotter and containerd are started again" {
	start_with_images
	c_run -d $ONE web sleep 1000
	c_exec web sh -c 'echo hello >/srv/said'
	serve_stop
	assert_equal "$(c_exec web cat /srv/said)" hello
	serve_start
	serve_kill
	serve_start
	assert_equal "$(c_exec web cat /srv/said)" hello
	# It takes containerd a moment to connect again.
	eventually runs_again
	c_end web
	eventually collected nothing_of_containers
}

@test "containerd starts without the snapshotter, which may come later and go again" {
	containerd_start
	run timeout 60 ctr --address "$CONTAINERD/s" --namespace "$NAMESPACE" images import --snapshotter overlaid "$(archive_of "$IMAGES/one")"
	[ "$status" != 0 ] || fail "succeeded, and should not"
	serve_start
	eventually c_import "$T/one.tar"
	assert_equal "$(c_run --rm $ONE first)" "from one"
	serve_stop
	serve_start
	eventually runs_again
}

runs_again() {
	[ "$(c_run --rm $ONE "again-$RANDOM")" = "from one" ]
}

@test "forty containers at once" {
	start_with_images
	local number pids=()
	for number in {1..40}; do
		c_run --rm $ONE "many-$number" sh -c 'echo $0 >/srv/me; cat /srv/me' "$number" >"$T/said.$number" 2>&1 3>&- &
		pids+=($!)
	done
	for number in {1..40}; do
		wait "${pids[number - 1]}" || fail "container $number: $(cat "$T/said.$number")"
		assert_equal "$(<"$T/said.$number")" "$number"
	done
	eventually collected nothing_of_containers
}

# ---- snapshots ----

@test "snapshots have the tree of their parents, and as much in them as was written" {
	local parent='' chain depth=0
	start_with_images
	c_run -d $ONE web sleep 1000
	while read -r chain; do
		assert_equal "$(snapshots "name~=/$chain\$/" | jq -r '.[0].parent // "" | split("/")[2] // ""')" "$parent"
		parent=$chain
	done < <(chain_ids "$IMAGES/one")
	assert_equal "$(snapshots kind==active | jq -r '.[0].parent | split("/")[2]')" "$parent"
	assert_equal "$(c snapshots --snapshotter overlaid tree | grep -c .)" 7
	c_exec web sh -c 'dd if=/dev/zero of=/srv/MiB bs=1024 count=1024 2>/dev/null; sync'
	read -r _ bytes inodes < <(c snapshots --snapshotter overlaid usage --b web | tail -n 1)
	[ "$bytes" -ge 1048576 ] && [ "$bytes" -lt 1200000 ] || fail "its usage is $bytes bytes"
	[ "$inodes" -ge 3 ] && [ "$inodes" -lt 12 ] || fail "its usage is $inodes inodes"
	c_end web
}

@test "the usage of an image's layers is what du says of them" {
	start_with_images
	local chain bytes sum=0 largest=0
	while read -r chain; do
		read -r _ bytes _ < <(c snapshots --snapshotter overlaid usage --b "$chain" | tail -n 1)
		sum=$((sum + bytes))
		[ "$bytes" -le $largest ] || largest=$bytes
	done < <(chain_ids "$IMAGES/one")
	# busybox, and the rest is small.
	local busybox
	busybox=$(disk_bytes /bin/busybox)
	[ "$largest" -ge "$busybox" ] && [ "$largest" -lt $((busybox + 200000)) ] || fail "the largest layer has $largest bytes"
	[ "$sum" -lt $((busybox + 400000)) ] || fail "all have $sum bytes"
}

@test "the difference of a container, also while it runs, is a layer with what it changed" {
	start_with_images
	c_run -d $ONE web sleep 1000
	c_exec web sh -c 'echo hello >/srv/said; rm /etc/one'
	c snapshots --snapshotter overlaid diff web >"$T/diff.tar.gz"
	assert_same <(printf '%s\n' etc/.wh.one srv/said) <(tar -tf "$T/diff.tar.gz" | grep -v '/$' | sort)
	c snapshots --snapshotter overlaid diff "$(top_of "$IMAGES/one")" >"$T/layer.tar.gz"
	assert_equal "$(tar -xOf "$T/layer.tar.gz" etc/one)" 1
	c_end web
	# What it was compared with was for that only.
	eventually collected only_layers 6
}

only_layers() { # number
	[ "$(snapshots | jq -c 'map(.kind) | unique')" = '[3]' ] && [ "$(snapshot_count)" = "$1" ]
}

has_ended() { # container
	c task ls | grep -qE "^$1 .*STOPPED"
}

@test "a committed snapshot is what was written, and others stand on it" {
	start_with_images
	c_run -d $ONE web sh -c 'echo hello >/srv/said'
	eventually has_ended web
	c snapshots --snapshotter overlaid commit mine web
	c_end web
	assert_equal "$(snapshots 'name~=/mine$/' | jq -r '.[0] | "\(.kind) \(.parent | split("/")[2])"')" "3 $(top_of "$IMAGES/one")"
	mkdir "$T/m"
	c snapshots --snapshotter overlaid prepare --target "$T/m" on-mine mine | bash
	is_mounted "$T/m"
	assert_equal "$(<"$T/m/srv/said") $(<"$T/m/etc/name")" "hello one"
	umount "$T/m"
	fails_with "" c snapshots --snapshotter overlaid rm mine
	c snapshots --snapshotter overlaid rm on-mine
	c snapshots --snapshotter overlaid rm mine
	eventually collected only_layers 6
}

# ---- going ----

@test "what no image needs goes from the store when the image is removed, and what another one needs stays" {
	start_with_images
	c images rm --sync $ONE >/dev/null
	eventually collected only_layers 5
	eventually collected nothing_stored one
	assert_equal "$(stored busybox)" 1
	assert_equal "$(c_run --rm $TWO two)" "entry two"
	c images rm --sync $TWO >/dev/null
	eventually collected no_snapshots
	eventually collected nothing_stored busybox
	assert_equal "$(c content ls -q)" ""
	c_import "$T/one.tar"
	assert_equal "$(c_run --rm $ONE again)" "from one"
}

@test "an image that a container runs stays until that is gone" {
	start_with_images
	c_run -d $ONE web sleep 1000
	c images rm --sync $ONE $TWO >/dev/null
	eventually collected nothing_stored two
	assert_equal "$(c_exec web cat /etc/one)" 1
	c_end web
	eventually collected no_snapshots
	eventually collected nothing_stored busybox
}

has_snapshots() { # how many
	[ "$(snapshot_count)" = "$1" ]
}

@test "two namespaces have an image each, and one copy of its layers" {
	start_with_images
	local other=$NAMESPACE-b
	NAMESPACE=$other c_import "$T/one.tar"
	assert_equal "$(NAMESPACE=$other c_run --rm $ONE there)" "from one"
	# Their snapshots have names of their own.
	eventually collected has_snapshots 10
	c images rm --sync $ONE $TWO >/dev/null
	eventually collected only_layers 4
	assert_equal "$(NAMESPACE=$other c_run --rm $ONE there)" "from one"
	NAMESPACE=$other c images rm --sync $ONE >/dev/null
	eventually collected no_snapshots
	eventually collected nothing_stored busybox
}

@test "two namespaces share every layer directory" {
	need_ours "shared layers"
	start_with_images
	NAMESPACE=$NAMESPACE-b c_import "$T/one.tar"
	eventually stored_once
	assert_equal "$(layer_dirs | wc -l)" 6
}

stored_once() {
	[ "$(stored busybox)" = 1 ]
}

@test "an image that overlaid loaded and containerd imported is stored once, and gone when both removed it" {
	need_ours "the store's own images"
	serve_start
	load_quietly "$IMAGES/one"
	containerd_start
	c_import "$(archive_of "$IMAGES/one")"
	assert_equal "$(c_run --rm $ONE first)" "from one"
	eventually stored_once
	ov rmi $ONE >/dev/null
	settle
	assert_equal "$(c_run --rm $ONE second)" "from one"
	assert_equal "$(stored busybox)" 1
	c images rm --sync $ONE >/dev/null
	eventually collected no_snapshots
	eventually collected nothing_stored busybox
}
