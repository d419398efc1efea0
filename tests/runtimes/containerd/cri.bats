#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
#
# What the kubelet asks of containerd (CRI), with our snapshotter: images, pods, figures. It tells the snapshotter what
# an unpacked layer will be (snapshot.ref), so that layers that are there are not downloaded.

load ../../lib/common
load ../../lib/behaviour
load ../../lib/registry
load ../../lib/containerd

# docker-registry with one, two (which shares three layers with one) and what a pod begins with.
setup_file() {
	have_registry docker-registry || return 0
	registry_environment "$BATS_FILE_TMPDIR"
	make_images
	shell_layer "$IMAGES/layers/pause"
	mkimage "$IMAGES/pause" --ref localhost/pause:1 --cmd '["/bin/sleep","1000"]' "$IMAGES/layers/pause"
	export PLAIN
	start_docker_registry "$BATS_FILE_TMPDIR/registry"
	PLAIN=$REGISTRY
	push "$IMAGES/one" test/one:1
	push "$IMAGES/two" test/two:1
	push "$IMAGES/pause" test/pause:1
}

teardown_file() {
	registries_end
}

setup() {
	need_registry docker-registry containerd ctr runc
	containerd_setup
	registry_environment
	REGISTRY=$PLAIN REGISTRY_DIR=$FILE/registry
	ONE=$REGISTRY/test/one:1 TWO=$REGISTRY/test/two:1 PAUSE_IMAGE=$REGISTRY/test/pause:1
	DISABLED_PLUGINS=()
	mkdir -p "$CONTAINERD"
	containerd_config "$(cri_config)" >"$CONTAINERD/config.toml"
}

teardown() {
	containerd_teardown
}

start_both() {
	serve_start
	containerd_start
	eventually cri ListImages >/dev/null
}

cri() { # method, JSON
	"$CALL" "$CONTAINERD/s" "$@"
}

about() { # image
	jq -nc --arg name "$1" '{image: {image: $name}}'
}

pull() { # image
	cri PullImage "$(about "$1")" | jq -er .image_ref
}

# GETs of layers at the registry, of all that the log has.
layer_gets() { # layout
	local layer count=0
	for layer in $(manifest "$1" | jq -r '.layers[].digest'); do
		count=$((count + $(docker_requests "$REGISTRY_DIR" "GET /v2/test/[a-z]*/blobs/$layer")))
	done
	echo $count
}

# ---- images ----

@test "an image is pulled, listed, told of and removed" {
	local id
	start_both
	id=$(pull "$ONE")
	assert_equal "$id" "$(image_id "$IMAGES/one")"
	assert_equal "$(cri ListImages | jq -r '.images[] | "\(.id) \(.repo_tags[0])"')" "$id $ONE"
	assert_equal "$(cri ImageStatus "$(about "$ONE")" | jq -r .image.id)" "$id"
	[ "$(cri ImageStatus "$(about "$ONE")" | jq .image.size)" -gt 100000 ]
	assert_equal "$(snapshot_count kind==committed)" 4
	cri RemoveImage "$(about "$ONE")"
	assert_equal "$(cri ImageStatus "$(about "$ONE")")" '{}'
	assert_equal "$(cri ListImages)" '{}'
	eventually collected no_snapshots
	eventually collected nothing_stored busybox
}

@test "the snapshotter is told what each layer is, and of which image" {
	start_both
	pull "$ONE"
	# Every layer was announced with its chainID, and remembers it.
	assert_equal "$(snapshots | jq -r '.[] | .labels["containerd.io/snapshot.ref"] == (.name | split("/")[2])' | sort | uniq -c | tr -s ' ')" " 4 true"
	assert_equal "$(snapshots | jq -r '.[].labels["containerd.io/snapshot/cri.image-ref"]' | sort -u)" "$ONE"
	assert_same <(manifest "$IMAGES/one" | jq -r '.layers[].digest' | sort) \
		<(snapshots | jq -r '.[].labels["containerd.io/snapshot/cri.layer-digest"]' | sort)
}

@test "an image whose lower layers are there brings only the others" {
	local before
	start_both
	pull "$ONE"
	before=$(layer_gets "$IMAGES/two")
	pull "$TWO"
	assert_equal $(($(layer_gets "$IMAGES/two") - before)) 2
	assert_equal "$(snapshot_count kind==committed)" 6
}

@test "what images take is told" {
	start_both
	pull "$ONE"
	# It is counted once a second.
	eventually tells_usage
	cri ImageFsInfo | jq -e '.image_filesystems[0].fs_id.mountpoint' >/dev/null
}

tells_usage() {
	[ "$(cri ImageFsInfo | jq '[.image_filesystems[].used_bytes.value] | add')" -ge "$(disk_bytes /bin/busybox)" ]
}

# ---- sharing ----

shares_what_overlaid_has() {
	local before
	start_both
	before=$(layer_gets "$IMAGES/one")
	pull "$ONE"
	assert_equal $(($(layer_gets "$IMAGES/one") - before)) 0
	assert_equal "$(snapshot_count kind==committed)" 4
	assert_equal "$(stored busybox)" 1
}

gone_when_both_removed_it() {
	cri RemoveImage "$(about "$ONE")"
	eventually collected no_snapshots
	settle
	assert_equal "$(stored busybox)" 1
	ov rmi -f "$(image_id "$IMAGES/one")" >/dev/null
	settle
	eventually collected nothing_stored busybox
	assert_equal "$(layer_dirs)" ""
}

@test "an image that overlaid loaded is pulled without a layer, and gone when both removed it" {
	need_ours "the store's own images"
	load_quietly "$IMAGES/one"
	shares_what_overlaid_has
	gone_when_both_removed_it
}

@test "an image that overlaid pulled is pulled without a layer, and gone when both removed it" {
	need_ours "the store's own images"
	ov pull --quiet --tls-verify=false "$ONE" >/dev/null
	shares_what_overlaid_has
	gone_when_both_removed_it
}

@test "what overlaid removed meanwhile stays for containerd" {
	local cgroup=/$NAMESPACE/ctr
	need_ours "the store's own images"
	load_quietly "$IMAGES/one"
	shares_what_overlaid_has
	ov rmi "$(image_id "$IMAGES/one")" >/dev/null
	settle
	assert_equal "$(stored busybox)" 1
	assert_equal "$(NAMESPACE=k8s.io c run --rm --snapshotter overlaid --fifo-dir "$T/fifo" --env PATH=/bin \
		--cgroup "$cgroup" "$ONE" one)" "from one"
	cri RemoveImage "$(about "$ONE")"
	eventually collected no_snapshots
	eventually collected nothing_stored busybox
}

@test "of an image that overlaid has in part, the rest is brought" {
	local before
	need_ours "the store's own images"
	load_quietly "$IMAGES/two"
	start_both
	before=$(layer_gets "$IMAGES/one")
	pull "$ONE"
	assert_equal $(($(layer_gets "$IMAGES/one") - before)) 1
	assert_equal "$(snapshot_count kind==committed)" 4
}

# ---- fetching ----

# Who asked the registry for a layer, after its log had $log_lines: "containerd", "overlaid", one a line.
askers() { # layout
	local layer
	for layer in $(manifest "$1" | jq -r '.layers[].digest'); do
		tail -n +$((log_lines + 1)) "$REGISTRY_DIR/output" | grep "GET /v2/test/[a-z]*/blobs/$layer" | grep -oE 'http.request.useragent="?[^" /]+|"[a-z]+/[^"]*"$' |
			sed -E 's/.*="?//; s/^"//; s|/.*||'
	done | sort -u
}

@test "with --fetch an image comes by overlaid, all of it, and containerd brings no layer" {
	need_ours "--fetch"
	local log_lines
	log_lines=$(wc -l <"$REGISTRY_DIR/output")
	serve_start --fetch --fetch-keep 1
	containerd_start
	eventually cri ListImages >/dev/null
	pull "$ONE"
	assert_contains "$(cat "$T/serve/output")" "fetched docker://$REGISTRY/test/one@sha256:"
	assert_equal "$(askers "$IMAGES/one")" overlaid
	assert_equal "$(snapshot_count kind==committed)" 4
	assert_equal "$(stored busybox)" 1
	assert_equal "$(NAMESPACE=k8s.io c run --rm --snapshotter overlaid --fifo-dir "$T/fifo" --env PATH=/bin "$ONE" one)" "from one"
	# What overlaid got for containerd is containerd's: it is no image here once it was handed over.
	eventually no_image_here
	assert_equal "$(NAMESPACE=k8s.io c run --rm --snapshotter overlaid --fifo-dir "$T/fifo" --env PATH=/bin "$ONE" two)" "from one"
	cri RemoveImage "$(about "$ONE")"
	eventually collected no_snapshots
	eventually collected nothing_stored busybox
}

no_image_here() {
	ov gc >/dev/null
	[ "$(ov images -q | wc -l)" = 0 ]
}

@test "where --fetch fails, containerd gets the image itself" {
	need_ours "--fetch"
	local log_lines
	log_lines=$(wc -l <"$REGISTRY_DIR/output")
	# Ours may not go to that registry; containerd does not ask this file.
	mkdir -p "$T/etc"
	printf '[[registry]]\nlocation = "%s"\nblocked = true\n' "$REGISTRY" >"$T/etc/registries.conf"
	CONTAINERS_REGISTRIES_CONF=$T/etc/registries.conf serve_start --fetch
	containerd_start
	eventually cri ListImages >/dev/null
	pull "$ONE"
	assert_contains "$(cat "$T/serve/output")" "is not fetched, containerd does it"
	assert_equal "$(askers "$IMAGES/one")" containerd
	assert_equal "$(snapshot_count kind==committed)" 4
	assert_equal "$(NAMESPACE=k8s.io c run --rm --snapshotter overlaid --fifo-dir "$T/fifo" --env PATH=/bin "$ONE" one)" "from one"
}

@test "with --fetch, of an image that is here in part overlaid gets the rest" {
	local before
	need_ours "--fetch"
	serve_start --fetch
	containerd_start
	eventually cri ListImages >/dev/null
	pull "$ONE"
	before=$(layer_gets "$IMAGES/two")
	pull "$TWO"
	assert_equal $(($(layer_gets "$IMAGES/two") - before)) 2
	assert_equal "$(stored busybox)" 1
	assert_equal "$(snapshot_count kind==committed)" 6
}

# ---- pods ----

sandbox_config() {
	mkdir -p "$T/logs"
	jq -nc --arg name pod --arg logs "$T/logs" --arg parent "/$NAMESPACE" '{metadata: {name: $name, uid: "1", namespace: "test"},
		log_directory: $logs, linux: {cgroup_parent: $parent,
		security_context: {namespace_options: {network: 2}}}}'
}

# A pod with the host's network, for which no plugin is needed, and a container in it: $POD, $CONTAINER.
run_container() { # image, command as JSON
	run cri RunPodSandbox "$(jq -nc --argjson config "$(sandbox_config)" '{$config}')"
	[ "$status" = 0 ] || fail "RunPodSandbox: $(tail -n 3 "$CONTAINERD/output")"
	POD=$(jq -r .id <<<"$output")
	CONTAINER=$(cri CreateContainer "$(jq -nc --arg pod "$POD" --arg image "$1" --argjson sandbox "$(sandbox_config)" \
		--argjson command "$2" '{pod_sandbox_id: $pod, sandbox_config: $sandbox, config: {metadata: {name: "container"},
		image: {$image}, $command, log_path: "log", linux: {security_context: {namespace_options: {network: 2}}}}}')" | jq -er .id)
	cri StartContainer "$(jq -nc --arg id "$CONTAINER" '{$id}')"
}

of() { # id
	jq -nc --arg id "$1" '{$id}'
}

@test "a pod's container runs, is looked into, and its writes are counted" {
	start_both
	pull "$ONE"
	run_container "$ONE" '["/bin/sh", "-c", "echo started; exec sleep 1000"]'
	eventually grep -q started "$T/logs/log"
	succeeds cri ExecSync "$(jq -nc --arg id "$CONTAINER" '{container_id: $id,
		cmd: ["/bin/sh", "-c", "dd if=/dev/zero of=/srv/MiB bs=1024 count=1024 2>/dev/null; sync; cat /etc/name"], timeout: 10}')"
	assert_equal "$(jq -r '"\(.exit_code) \(.stdout)"' <<<"$output")" "0 one"
	eventually counts_writes
	cri StopContainer "$(of "$CONTAINER")"
	cri RemoveContainer "$(of "$CONTAINER")"
	cri StopPodSandbox "$(of "$POD")"
	cri RemovePodSandbox "$(of "$POD")"
	eventually collected nothing_stored MiB
	cri RemoveImage "$(about "$ONE")"
	cri RemoveImage "$(about "$PAUSE_IMAGE")"
	eventually collected no_snapshots
	eventually collected nothing_stored busybox
}

counts_writes() {
	[ "$(cri ContainerStats "$(of "$CONTAINER")" | jq '.stats.writable_layer.used_bytes.value // 0')" -ge 1048576 ]
}
