#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
#
# Docker 26 of Debian 13 with containerd's image store, on our snapshotter.

load ../../lib/common
load ../../lib/behaviour
load ../../lib/registry
load ../../lib/containerd

setup_file() {
	[ "$(id -u)" = 0 ] || return 0
	make_images
}

setup() {
	[ -n "${TRIXIE-}" ] || skip "needs TRIXIE (make check-runtimes)"
	need_registry docker-registry
	containerd_setup
	registry_environment
	ROOTFS=$TRIXIE
	serve_start
	containerd_start
	dockerd_start
}

teardown() {
	containerd_teardown
}

# It ends with containerd's namespaces. No network of its own: that would be the machine's.
dockerd_start() {
	mkdir -p "$T/docker"
	echo '{"features": {"containerd-snapshotter": true}, "storage-driver": "overlaid"}' >"$T/docker/daemon.json"
	inside dockerd --config-file "$T/docker/daemon.json" --containerd "$CONTAINERD/s" --data-root "$T/docker/data" \
		--exec-root "$T/docker/exec" --pidfile "$T/docker/pidfile" -H "unix://$T/docker/s" --bridge none \
		--iptables=false --ip6tables=false --ip-forward=false --ip-masq=false --cgroup-parent "/$NAMESPACE" \
		</dev/null >"$T/docker/output" 2>&1 3>&- 4>&- &
	echo $! >"$T/docker/pid"
	until_served "$T/docker" dockerd_answers
}

dockerd_answers() {
	d version >/dev/null 2>&1
}

d() { # argument...
	inside timeout --kill-after=5 120 docker -H "unix://$T/docker/s" "$@"
}

# Docker's archive of an image of make_images.
docker_archive() { # name, layer...
	local name=$1
	shift
	mkimage "$T/$name.tar" --docker-save --ref "localhost/$name:1" --cmd '["sh","-c","echo from '"$name"'"]' \
		--env PATH=/bin "${@/#/$IMAGES/layers/}"
	echo "$T/$name.tar"
}

@test "it is Docker with containerd's images, on our snapshotter" {
	assert_match "$(d info --format '{{.ServerVersion}} {{.Driver}} {{.DriverStatus}}')" '^26\..* overlaid .*io.containerd.snapshotter.v1'
}

@test "an image is loaded, runs, is committed, and is gone when removed" {
	d load --quiet --input "$(docker_archive one shell first second one)" >/dev/null
	assert_equal "$(snapshot_count kind==committed)" 4
	assert_equal "$(d run --rm --network none localhost/one:1)" "from one"
	d run --network none --name web localhost/one:1 sh -c 'echo hello >/srv/said; rm /etc/one' >/dev/null
	assert_equal "$(d diff web | sort | paste -sd ' ')" "A /srv/said C /etc C /srv D /etc/one"
	d commit web localhost/mine:1 >/dev/null
	d rm web >/dev/null
	assert_equal "$(d run --rm --network none localhost/mine:1 sh -c 'cat /srv/said; ls /etc/one 2>&1')" \
		$'hello\nls: /etc/one: No such file or directory'
	d rmi --force localhost/mine:1 localhost/one:1 >/dev/null
	eventually collected no_snapshots
	eventually collected nothing_stored busybox
}

@test "a running container is committed, and goes on" {
	d load --quiet --input "$(docker_archive one shell first second one)" >/dev/null
	d run --detach --network none --name web localhost/one:1 sleep 1000 >/dev/null
	d exec web sh -c 'echo hello >/srv/said'
	d commit web localhost/mine:1 >/dev/null
	assert_equal "$(d exec web cat /srv/said)" hello
	assert_equal "$(d run --rm --network none localhost/mine:1 cat /srv/said)" hello
	[ "$(d ps --size --format '{{.Size}}')" != "" ]
	d rm --force web >/dev/null
}

@test "images come from a registry, and share their lower layers" {
	start_docker_registry "$T/registry"
	push "$IMAGES/one" test/one:1
	push "$IMAGES/two" test/two:1
	d pull --quiet "$REGISTRY/test/one:1" >/dev/null
	d pull --quiet "$REGISTRY/test/two:1" >/dev/null
	assert_equal "$(snapshot_count kind==committed)" 6
	assert_equal "$(d run --rm --network none --env PATH=/bin "$REGISTRY/test/one:1")" "from one"
	d rmi --force "$REGISTRY/test/one:1" >/dev/null
	assert_equal "$(d run --rm --network none --env PATH=/bin "$REGISTRY/test/two:1")" "entry two"
	d rmi --force "$REGISTRY/test/two:1" >/dev/null
	eventually collected no_snapshots
	eventually collected nothing_stored busybox
}

@test "twenty containers at once" {
	local number pids=()
	d load --quiet --input "$(docker_archive one shell first second one)" >/dev/null
	for number in {1..20}; do
		d run --rm --network none localhost/one:1 sh -c 'echo $0 >/srv/me; cat /srv/me' "$number" >"$T/said.$number" 2>&1 3>&- &
		pids+=($!)
	done
	for number in {1..20}; do
		wait "${pids[number - 1]}" || fail "container $number: $(cat "$T/said.$number")"
		assert_equal "$(<"$T/said.$number")" "$number"
	done
	eventually collected nothing_stored me
}
