#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
#
# containerd 1.7 of Debian 13, with our snapshotter.

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
	ROOTFS=$TRIXIE ONE=localhost/one:1 TWO=localhost/two:1
	mkdir -p "$CONTAINERD"
	# What "ctr images pull --local=false" unpacks with.
	containerd_config '[plugins."io.containerd.transfer.v1.local"]' \
		'[[plugins."io.containerd.transfer.v1.local".unpack_config]]' \
		"platform = \"linux/$(machine_arch)\"" 'snapshotter = "overlaid"' >"$CONTAINERD/config.toml"
	serve_start
	# Its transfer service speaks HTTPS only.
	make_authority "$T/ca"
	make_certificate "$T/ca" server "$LOOPBACK_NAMES"
	SSL_CERT_FILE=$T/ca/ca.crt containerd_start
}

teardown() {
	containerd_teardown
}

machine_arch() {
	case $(uname -m) in x86_64) echo amd64 ;; aarch64) echo arm64 ;; *) uname -m ;; esac
}

start_registry_with_images() { # NAME=VALUE...
	start_docker_registry "$T/registry" "$@"
	push "$IMAGES/one" test/one:1
	push "$IMAGES/two" test/two:1
}

start_tls_registry() {
	start_registry_with_images "REGISTRY_HTTP_TLS_CERTIFICATE=$T/ca/server.crt" "REGISTRY_HTTP_TLS_KEY=$T/ca/server.key"
}

# It unpacks only for a platform that is named.
transfer() { # name
	c images pull --local=false --platform "linux/$(machine_arch)" --snapshotter overlaid "$1" >"$T/pulled"
}

@test "it is containerd 1.7" {
	assert_match "$(c version)" 'Server:[[:space:]]+Version: +1\.7\.'
}

@test "an imported image runs, and is gone when removed" {
	c_import "$(archive_of "$IMAGES/one")"
	assert_equal "$(snapshot_count kind==committed)" 4
	assert_equal "$(c_run --rm $ONE first)" "from one"
	c_run -d $ONE web sleep 1000
	c_exec web sh -c 'echo hello >/srv/said; rm /etc/one'
	assert_equal "$(c_exec web cat /srv/said)" hello
	c snapshots --snapshotter overlaid diff web >"$T/diff.tar.gz"
	assert_same <(printf '%s\n' etc/.wh.one srv/said) <(tar -tf "$T/diff.tar.gz" | grep -v '/$' | sort)
	c_end web
	c images rm --sync $ONE >/dev/null
	eventually collected no_snapshots
	eventually collected nothing_stored busybox
}

@test "an image comes from a registry" {
	start_registry_with_images
	c_pull "$REGISTRY/test/one:1"
	assert_equal "$(c_run --rm "$REGISTRY/test/one:1" pulled)" "from one"
}

@test "the transfer service tells what each layer is, and one that is there is not brought again" {
	local layer
	start_tls_registry
	transfer "$REGISTRY/test/one:1"
	assert_equal "$(snapshots | jq -r '.[] | .labels["containerd.io/snapshot.ref"] == (.name | split("/")[2])' | sort | uniq -c | tr -s ' ')" " 4 true"
	transfer "$REGISTRY/test/two:1"
	assert_equal "$(snapshot_count kind==committed)" 6
	assert_equal "$(c_run --rm "$REGISTRY/test/two:1" pulled)" "entry two"
	layer=$(manifest "$IMAGES/two" | jq -r '.layers[0].digest')
	assert_equal "$(docker_requests "$REGISTRY_DIR" "GET /v2/test/two/blobs/$layer")" 0
}

@test "what overlaid loaded is pulled by the transfer service without a layer" {
	need_ours "the store's own images"
	local layer
	start_tls_registry
	load_quietly "$IMAGES/one"
	transfer "$REGISTRY/test/one:1"
	for layer in $(manifest "$IMAGES/one" | jq -r '.layers[].digest'); do
		assert_equal "$(docker_requests "$REGISTRY_DIR" "GET /v2/test/one/blobs/$layer")" 0
	done
	assert_equal "$(c_run --rm "$REGISTRY/test/one:1" pulled)" "from one"
	assert_equal "$(stored busybox)" 1
}
