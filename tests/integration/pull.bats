#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
#
# Pulling from registries in good health: whatever they ask of us and wherever the image comes from, it is the image
# that loading its layout makes.

load ../lib/common
load ../lib/behaviour
load ../lib/truth
load ../lib/several
load ../lib/registry

# One docker-registry for all tests, that asks for nothing; others have the same storage.
setup_file() {
	have_registry docker-registry || return 0
	export T=$BATS_FILE_TMPDIR STORAGE=$BATS_FILE_TMPDIR/storage PLAIN
	registry_environment "$T"
	start_docker_registry "$T/plain"
	PLAIN=$REGISTRY
	push "$(image nginx)/layout" test/nginx:1
	push "$(image busybox)/layout" test/busybox:1
	push "$(image zoo)/layout-zstd" test/zoo:zstd
	push "$(image zoo)/layout" test/zoo:gzip
	make_index "$T/multi"
	PUSH_OPTIONS=--all push "$T/multi" test/multi:1
	make_several "$T/several"
	local n
	for n in 1 2 3; do push "$T/several:$n" "test/several:$n"; done
	make_authority "$T/ca"
	make_certificate "$T/ca" server "$LOOPBACK_NAMES,DNS:registry.example.com"
	make_certificate "$T/ca" client DNS:tester
	make_self_signed "$T/tokens" issuer "$LOOPBACK_NAMES"
	mkdir "$T/trust"
	cp "$T/ca/ca.crt" "$T/trust/"
}

teardown_file() {
	registries_end
}

setup() {
	need_registry docker-registry sqlite3
	common_setup
	registry_environment
	FILE=$BATS_FILE_TMPDIR T=$BATS_TEST_TMPDIR REGISTRY=$PLAIN REGISTRY_DIR=$FILE/plain
	nginx=$(image nginx)/layout
	busybox=$(image busybox)/layout
	zoo=$(image zoo)
}

teardown() {
	registries_end
	common_teardown
}

# ---- helpers ----

# docker-registry with the same images, and TLS.
start_tls() {
	start_docker_registry "$T/tls" "REGISTRY_HTTP_TLS_CERTIFICATE=$FILE/ca/server.crt" \
		"REGISTRY_HTTP_TLS_KEY=$FILE/ca/server.key"
}

start_basic() {
	tester_htpasswd >"$T/htpasswd"
	start_docker_registry "$T/basic" REGISTRY_AUTH_HTPASSWD_REALM=tests "REGISTRY_AUTH_HTPASSWD_PATH=$T/htpasswd"
}

# With tokens that another server signs; its log is that in $T/issuer.
start_token() { # option of the other server...
	start_registry "$T/issuer" --token tester:secret --jwt "$FILE/tokens/issuer.crt" "$FILE/tokens/issuer.key" "$@"
	start_docker_registry "$T/token" "REGISTRY_AUTH_TOKEN_REALM=http://$REGISTRY/token" \
		REGISTRY_AUTH_TOKEN_SERVICE=tests REGISTRY_AUTH_TOKEN_ISSUER=tests \
		"REGISTRY_AUTH_TOKEN_ROOTCERTBUNDLE=$FILE/tokens/issuer.crt"
}

# The listing of the tree that loading a layout makes, once for the whole file.
loaded_tree() { # layout
	local ROOT=$T/loaded RUN=$T/loaded-run listing
	listing=$FILE/tree-$(image_id "$1" | cut -d : -f 2)
	if [ ! -e "$listing" ]; then
		ov -q load "$1" >/dev/null
		listing "$(ov image mount "$(image_id "$1")")" >"$listing.new"
		ov image umount "$(image_id "$1")" >/dev/null
		rm -rf "$ROOT"
		mv "$listing.new" "$listing"
	fi
	cat "$listing"
}

# Pulls into a store of its own, and expects the image of the layout: its id, its layers, its tree.
pulls() { # layout, overlaid pull's arguments
	local ROOT=$T/fresh RUN=$T/fresh-run layout=$1 id
	shift
	id=$(image_id "$layout")
	succeeds ov pull "$@"
	assert_equal "$(ov images --quiet --no-trunc)" "$id"
	assert_equal "$(ov inspect "$id" | jq -c '.[0].RootFS.Layers')" "$(image_config "$layout" | jq -c .rootfs.diff_ids)"
	assert_same <(loaded_tree "$layout") <(listing "$(ov image mount "$id")")
	ov image umount "$id" >/dev/null
	settle
	assert_no_leftovers
	assert_store_sound
	rm -rf "$ROOT"
}

# What every registry must give, by tag and by digest.
pulls_everything() { # overlaid pull's options
	pulls "$nginx" "$@" "$REGISTRY/test/nginx:1"
	pulls "$busybox" "$@" "docker://$REGISTRY/test/busybox@$(manifest_digest "$busybox")"
	pulls "$busybox" "$@" "$REGISTRY/test/busybox:1@$(manifest_digest "$busybox")"
	pulls "$zoo/layout-zstd" "$@" "$REGISTRY/test/zoo:zstd"
	pulls_platforms "$@" "$REGISTRY/test/multi:1"
	pulls_platforms "$@" "$REGISTRY/test/multi@$(jq -r '.manifests[0].digest' "$FILE/multi/index.json")"
}

# The image for this machine and the one for another, of make_index.
pulls_platforms() { # overlaid pull's arguments
	local ROOT=$T/fresh RUN=$T/fresh-run
	succeeds ov pull "$@"
	assert_equal "$(cat "$(ov image mount "$(ov images -q --no-trunc)")/arch")" mine
	unmount_below "$RUN"
	rm -rf "$ROOT" "$RUN"
	succeeds ov pull --platform linux/riscv64 "$@"
	assert_equal "$(cat "$(ov image mount "$(ov images -q --no-trunc)")/arch")" riscv64
	unmount_below "$RUN"
	rm -rf "$ROOT" "$RUN"
}

registries_conf() { # on stdin
	cat >"$CONTAINERS_REGISTRIES_CONF"
}

# A command that sees a directory's files in /etc, before the machine's own.
with_etc() { # directory, command...
	# shellcheck disable=SC2016 # its own variables
	unshare --mount --propagation private -- bash -ec '
		mount -t overlay overlay -o "ro,lowerdir=$1:/etc" /etc
		shift
		exec "$@"' bash "$@"
}

# ---- docker-registry, as it can be configured ----

@test "from a registry that asks for nothing, over plain HTTP" {
	pulls_everything
	pulls "$nginx" "$REGISTRY/test/nginx@$(manifest_digest "$nginx")"
	pulls "$nginx" "$REGISTRY/test/nginx:1@$(manifest_digest "$nginx")"
	pulls "$zoo/layout-zstd" "$REGISTRY/test/zoo@$(manifest_digest "$zoo/layout-zstd")"
}

@test "from a registry with TLS and an authority of its own" {
	start_tls
	pulls_everything --cert-dir "$FILE/trust"
}

@test "from a registry with basic authentication" {
	start_basic
	pulls_everything --creds tester:secret
}

@test "from a registry that wants a token, which another server gives to us" {
	start_token
	pulls_everything --creds tester:secret
	REGISTRY_DIR=$T/issuer
	[ "$(requested '.path == "/token" and .status == 200 and .user == "tester"')" -gt 0 ] ||
		fail "no token was asked for"
	assert_equal "$(requested '.path == "/token" and .scheme != "Basic"')" 0
}

@test "from a registry that wants a token, which another server gives to everybody" {
	start_token --anonymous
	pulls "$busybox" "$REGISTRY/test/busybox:1"
	REGISTRY_DIR=$T/issuer
	assert_equal "$(requested '.path == "/token" and .user == "nobody"')" 1
}

@test "one token is enough for one image, and is good for that image only" {
	local query
	start_registry "$T/own" --token tester:secret --serve "test/nginx=$nginx" --serve "test/busybox=$busybox"
	succeeds ov pull --creds tester:secret "$REGISTRY/test/nginx:latest" "$REGISTRY/test/busybox:latest"
	assert_equal "$(requested '.path == "/token"')" 2
	query=$(registry_log log | jq -r 'select(.path == "/token") | .query' | sed 's/%3A/:/g; s|%2F|/|g')
	assert_contains "$query" scope=repository:test/nginx:pull
	assert_contains "$query" scope=repository:test/busybox:pull
	assert_contains "$query" service=tests
}

@test "with TLS, what is said of the registry's certificate counts: --tls-verify" {
	start_tls
	fails_with certificate ov pull --retry 0 "$REGISTRY/test/busybox:1"
	assert_equal "$(ov images -q)" ""
	pulls "$busybox" --tls-verify=false "$REGISTRY/test/busybox:1"
	fails_with certificate ov pull --retry 0 --tls-verify=true "$REGISTRY/test/busybox:1"
	pulls "$busybox" --tls-verify --cert-dir "$FILE/trust" "$REGISTRY/test/busybox:1"
}

@test "with TLS, a registry may want a certificate of ours" {
	start_registry "$T/mutual" --tls "$FILE/ca/server.crt" "$FILE/ca/server.key" --clients "$FILE/ca/ca.crt" \
		--serve "test/busybox=$busybox"
	run ov pull --retry 0 --cert-dir "$FILE/trust" "$REGISTRY/test/busybox:latest"
	[ "$status" = 1 ] || fail "it was pulled without a certificate"
	cp -r "$FILE/trust" "$T/trust"
	cp "$FILE/ca/client.crt" "$T/trust/client.cert"
	cp "$FILE/ca/client.key" "$T/trust/client.key"
	pulls "$busybox" --cert-dir "$T/trust" "$REGISTRY/test/busybox:latest"
}

@test "certificates are found in /etc/containers/certs.d and /etc/docker/certs.d, by the registry's name" {
	local place
	start_tls
	for place in containers docker; do
		mkdir -p "$T/$place/$place/certs.d/$REGISTRY"
		cp "$FILE/ca/ca.crt" "$T/$place/$place/certs.d/$REGISTRY/"
		succeeds with_etc "$T/$place" "$OVERLAID" --root "$T/$place-root" --run "$T/$place-run" pull \
			"$REGISTRY/test/busybox:1"
		rm -rf "$T/$place-root"
	done
}

# ---- what is said of what was pulled ----

@test "the output names digest, status and reference" {
	local digest
	digest=$(manifest_digest "$busybox")
	run --separate-stderr ov pull "$REGISTRY/test/busybox:1"
	assert_equal "$status" 0
	assert_equal "$output" "Digest: $digest
Status: Downloaded newer image for $REGISTRY/test/busybox:1
$REGISTRY/test/busybox:1"
	run --separate-stderr ov pull "docker://$REGISTRY/test/busybox:1"
	assert_equal "$status" 0
	assert_equal "$output" "Digest: $digest
Status: Image is up to date for $REGISTRY/test/busybox:1
$REGISTRY/test/busybox:1"
}

@test "of an index, the digest said is the index's" {
	succeeds ov pull "$REGISTRY/test/multi:1"
	assert_contains "$output" "Digest: $(jq -r '.manifests[0].digest' "$FILE/multi/index.json")"
}

@test "--quiet prints nothing but the image's id" {
	run --separate-stderr ov pull --quiet "$REGISTRY/test/busybox:1"
	assert_equal "$status" 0
	assert_equal "$output" "$(image_id "$busybox")"
	assert_equal "$stderr" ""
}

@test "--json says it for programs" {
	local size
	size=$(manifest "$nginx" | jq '[.layers[].size] | add')
	run --separate-stderr ov --progress none --json pull "$REGISTRY/test/nginx:1"
	assert_equal "$status" 0
	assert_equal "$(jq -c 'map(del(.BytesFetched))' <<<"$output")" "$(jq -nc --arg id "$(image_id "$nginx")" \
		--arg name "$REGISTRY/test/nginx:1" --arg digest "$(manifest_digest "$nginx")" \
		'[{ID: $id, Reference: $name, Digest: $digest, Downloaded: true, Layers: 7, LayersExtracted: 7}]')"
	jq -e ".[0].BytesFetched | . >= $size and . < $size + 100000" <<<"$output" >/dev/null || fail "other bytes"
	run --separate-stderr ov --progress none --json pull "$REGISTRY/test/nginx:1"
	assert_equal "$(jq -c 'map([.ID, .Downloaded, .LayersExtracted])' <<<"$output")" \
		"$(jq -nc --arg id "$(image_id "$nginx")" '[[$id, false, 0]]')"
}

@test "progress: a line an event, as text" {
	local blob
	run --separate-stderr ov --progress plain pull "$REGISTRY/test/nginx:1"
	assert_equal "$status" 0
	while read -r blob; do
		assert_match "$stderr" "$blob: Downloading"
		assert_match "$stderr" "$blob: Extracted [0-9.]+[kM]?B"
	done < <(shorts_in "$stderr")
	assert_equal "$(shorts_in "$stderr" | wc -l)" 7
	run --separate-stderr ov --progress plain pull "$REGISTRY/test/nginx:1"
	assert_lacks "$stderr" Downloading
	assert_lacks "$stderr" Extracted
}

# The layers that lines speak of.
shorts_in() { # lines
	sed -nE 's/^([0-9a-f]{12}): .*/\1/p' <<<"$1" | sort -u
}

@test "progress: an object an event, as JSON" {
	local events
	run --separate-stderr ov --progress json pull "$REGISTRY/test/nginx:1"
	assert_equal "$status" 0
	events=$(jq -sc . <<<"$stderr")
	assert_equal "$(jq -c '
		map(.event) - ["download", "extract", "exists", "waiting", "extracted", "note"]' <<<"$events")" '[]'
	assert_equal "$(jq '[.[] | select(.event == "extracted") | .layer] | unique | length' <<<"$events")" 7
	assert_equal "$(jq '[.[] | select(.event == "download") | .layer] | unique | length' <<<"$events")" 7
	assert_equal "$(jq -c 'map(select(.event == "download" and (.done > .total or .done < 0)))' <<<"$events")" '[]'
	assert_equal "$(jq -c '
		map(select(.layer != null and (.layer | test("^sha256:[0-9a-f]{64}$") | not)))' <<<"$events")" '[]'
	run --separate-stderr ov --progress json pull "$REGISTRY/test/nginx:1"
	assert_equal "$(jq -sc 'map(select(.event == "download" or .event == "extracted"))' <<<"$stderr")" '[]'
}

# ---- what is recorded ----

@test "the digest pulled is recorded with the repository, and names the image" {
	local digest id
	digest=$(manifest_digest "$busybox") id=$(image_id "$busybox")
	ov -q pull "$REGISTRY/test/busybox:1" >/dev/null
	assert_equal "$(ov inspect "$id" | jq -c '.[0].RepoDigests')" "[\"$REGISTRY/test/busybox@$digest\"]"
	assert_equal "$(ov inspect "$REGISTRY/test/busybox@$digest" | jq -r '.[0].Id')" "$id"
	assert_equal "$(ov inspect "$id" | jq -c '.[0].RepoTags')" "[\"$REGISTRY/test/busybox:1\"]"
}

@test "what is pulled by digest has that digest, and no tag" {
	local digest
	digest=$(manifest_digest "$busybox")
	succeeds ov pull "$REGISTRY/test/busybox@$digest"
	assert_contains "$output" "Digest: $digest"
	assert_equal "$(ov inspect "$REGISTRY/test/busybox@$digest" | jq -c '.[0].RepoDigests')" \
		"[\"$REGISTRY/test/busybox@$digest\"]"
	assert_equal "$(ov inspect "$(image_id "$busybox")" | jq -r '.[0].RepoTags | length')" 0
	assert_store_sound
}

@test "of a tag with a digest, the digest counts" {
	local digest
	digest=$(jq -r '.manifests[1].digest' "$FILE/several/index.json")
	ov -q pull "$REGISTRY/test/several:1@$digest" >/dev/null
	assert_equal "$(cat "$(ov image mount "$REGISTRY/test/several@$digest")/number")" 2
}

@test "a manifest and a configuration are kept byte for byte" {
	local digest
	ov -q pull "$REGISTRY/test/busybox:1" >/dev/null
	for digest in "$(manifest_digest "$busybox")" "$(image_id "$busybox")"; do
		cmp "$ROOT/blobs/sha256/${digest#*:}" "$busybox/blobs/sha256/${digest#*:}" || fail "other bytes"
	done
	assert_equal "$(names_in "$ROOT/blobs/sha256" | wc -l)" 2
}

@test "--blobs keep keeps layers as they came, until the image goes" {
	local digest
	ov -q pull --blobs keep "$REGISTRY/test/zoo:gzip" >/dev/null
	while read -r digest; do
		cmp "$ROOT/blobs/sha256/${digest#*:}" "$zoo/layout/blobs/sha256/${digest#*:}" || fail "other bytes"
	done < <(manifest "$zoo/layout" | jq -r '.layers[].digest, .config.digest')
	ov rmi "$REGISTRY/test/zoo:gzip" >/dev/null
	settle
	assert_no_leftovers
	assert_store_empty
}

@test "each layer says where it is from" {
	local layer
	ov -q pull "$REGISTRY/test/zoo:gzip" >/dev/null
	while read -r layer; do
		assert_contains "$(jq -r .source "$ROOT/layers/sha256/$layer/layer.json")" "docker://$REGISTRY/test/zoo:gzip"
	done < <(layer_dirs)
	assert_equal "$(layer_dirs | wc -l)" 3
}

@test "what was pulled is used and removed as what was loaded" {
	ov -q pull "$REGISTRY/test/busybox:1" >/dev/null
	succeeds ov run "$REGISTRY/test/busybox:1" -- echo hello
	assert_equal "$output" hello
	ov -q load "$busybox" >/dev/null
	assert_equal "$(ov layers -q | wc -l)" 1
	ov rmi "$REGISTRY/test/busybox:1" >/dev/null
	assert_equal "$(ov layers -q | wc -l)" 1
	ov rmi localhost/busybox:latest >/dev/null
	settle
	assert_store_empty
}

# ---- which image ----

@test "of an index, the image that skopeo takes for a platform" {
	local wanted arch
	for wanted in "--platform linux/arm64/v8" "--platform linux/arm64" "--os linux --arch arm64 --variant v8" \
		"--arch riscv64"; do
		arch=$(grep -oE 'arm64|riscv64' <<<"$wanted")
		# shellcheck disable=SC2086 # several options
		ov -q pull $wanted "$REGISTRY/test/multi:1" >/dev/null
		assert_equal "$(ov inspect "$REGISTRY/test/multi:1" | jq -r '.[0].Id')" \
			"sha256:$(skopeo --override-arch "$arch" inspect --tls-verify=false --raw --config \
				"docker://$REGISTRY/test/multi:1" | sha256sum | cut -d ' ' -f 1)"
	done
}

@test "a platform that an index lacks is refused, and those it has are named" {
	fails_with s390x ov pull --platform linux/s390x "$REGISTRY/test/multi:1"
	assert_contains "$output" riscv64
	assert_contains "$output" arm64
	assert_equal "$(ov images -q)$(layer_dirs)" ""
}

@test "an image for another machine, which is no index, is pulled when asked for by digest" {
	local digest
	digest=$(jq -r '.manifests[0].digest | sub("sha256:"; "")' "$FILE/multi/index.json")
	digest=$(jq -r '.manifests[] | select(.platform.architecture == "riscv64") | .digest' \
		"$FILE/multi/blobs/sha256/$digest")
	succeeds ov pull --platform linux/riscv64 "$REGISTRY/test/multi@$digest"
	assert_equal "$(ov inspect "$REGISTRY/test/multi@$digest" | jq -r '.[0].Architecture')" riscv64
}

@test "without a tag it is latest" {
	push "$busybox" test/untagged:latest
	succeeds ov pull "$REGISTRY/test/untagged"
	assert_contains "$output" "$REGISTRY/test/untagged:latest"
}

@test "several images at once, each with its lines" {
	run --separate-stderr ov pull "$REGISTRY/test/busybox:1" "$REGISTRY/test/several:1"
	assert_equal "$status" 0
	assert_equal "$(grep -c Downloaded <<<"$output")" 2
	assert_equal "$(ov images -q | wc -l)" 2
}

@test "--all-tags pulls every tag, whatever is on a page of them" {
	local n
	succeeds ov pull --all-tags "$REGISTRY/test/several"
	assert_equal "$(ov images --format '{{.Tag}}' | sort | xargs)" "1 2 3"
	start_registry "$T/pages" --page 1 --serve "test/several=$FILE/several"
	succeeds ov pull -a "$REGISTRY/test/several"
	for n in 1 2 3; do
		assert_equal "$(cat "$(ov image mount "$REGISTRY/test/several:$n")/number")" "$n"
	done
	assert_equal "$(requested '.path == "/v2/test/several/tags/list" and .status == 200')" 3
}

@test "--all-tags and a tag exclude each other" {
	fails_with tag ov pull --all-tags "$REGISTRY/test/several:1"
	assert_equal "$(ov images -q)" ""
}

@test "an image with Docker's media types (schema 2)" {
	mkdir "$T/tree"
	echo schema >"$T/tree/file"
	mkimage "$T/docker" --schema2 --ref localhost/schema:2 "$T/tree"
	start_registry "$T/schema2" --serve "test/schema=$T/docker"
	pulls "$T/docker" "$REGISTRY/test/schema:2"
}

@test "what we take is said in Accept" {
	local accept
	start_registry "$T/accept" --serve "test/busybox=$busybox"
	ov -q pull "$REGISTRY/test/busybox:latest" >/dev/null
	accept=$(registry_log log | jq -r 'select(.path | test("/manifests/")) | .accept')
	assert_contains "$accept" application/vnd.oci.image.index.v1+json
	assert_contains "$accept" application/vnd.oci.image.manifest.v1+json
	assert_contains "$accept" application/vnd.docker.distribution.manifest.list.v2+json
	assert_contains "$accept" application/vnd.docker.distribution.manifest.v2+json
}

# ---- when to ask ----

# $REGISTRY/test/moving:1 is the first of several, then the second.
moving_tag() { # number
	REGISTRY=$PLAIN push "$FILE/several:$1" test/moving:1
}
number() {
	cat "$(ov image mount "$PLAIN/test/moving:1")/number"
	unmount_below "$RUN"
}

@test "--policy always: what the tag names now" {
	moving_tag 1
	ov -q pull "$REGISTRY/test/moving:1" >/dev/null
	assert_equal "$(number)" 1
	moving_tag 2
	succeeds ov pull --policy always "$REGISTRY/test/moving:1"
	assert_contains "$output" "Downloaded newer image"
	assert_equal "$(number)" 2
}

@test "--policy newer: what the tag names now, and asks for no more than that" {
	local before
	moving_tag 1
	ov -q pull --policy newer "$REGISTRY/test/moving:1" >/dev/null
	before=$(docker_requests "$REGISTRY_DIR" 'GET /v2/test/moving/blobs')
	succeeds ov pull --policy newer "$REGISTRY/test/moving:1"
	assert_contains "$output" "up to date"
	assert_equal "$(docker_requests "$REGISTRY_DIR" 'GET /v2/test/moving/blobs')" "$before"
	moving_tag 3
	succeeds ov pull --policy newer "$REGISTRY/test/moving:1"
	assert_contains "$output" "Downloaded newer image"
	assert_equal "$(number)" 3
}

@test "--policy newer: an image that is there is good enough where the registry is not" {
	start_registry "$T/gone" --serve "test/busybox=$busybox"
	ov -q pull "$REGISTRY/test/busybox:latest" >/dev/null
	registries_end
	succeeds ov pull --policy newer --retry 0 "$REGISTRY/test/busybox:latest"
	assert_contains "$output" "up to date"
	fails_with "$REGISTRY" ov pull --policy always --retry 0 "$REGISTRY/test/busybox:latest"
}

@test "--policy missing: nobody is asked where there is an image of that name" {
	start_registry "$T/asked" --serve "test/busybox=$busybox"
	succeeds ov pull --policy missing "$REGISTRY/test/busybox:latest"
	assert_contains "$output" "Downloaded newer image"
	forget_requests
	succeeds ov pull --policy missing "$REGISTRY/test/busybox:latest"
	assert_contains "$output" "up to date"
	succeeds ov pull --policy missing "$REGISTRY/test/busybox@$(manifest_digest "$busybox")"
	assert_equal "$(requested true)" 0
}

@test "--policy never: nobody is asked at all" {
	start_registry "$T/asked" --serve "test/busybox=$busybox"
	fails_with "$REGISTRY/test/busybox" ov pull --policy never "$REGISTRY/test/busybox:latest"
	assert_equal "$(requested true)" 0
	ov -q pull "$REGISTRY/test/busybox:latest" >/dev/null
	forget_requests
	succeeds ov pull --policy never "$REGISTRY/test/busybox:latest"
	assert_equal "$(requested true)" 0
}

@test "a policy there is not is refused, and those there are are named" {
	fails_with missing ov pull --policy sometimes "$REGISTRY/test/busybox:1"
}

# ---- mirrors, aliases, caches, proxies ----

# Nobody listens there.
ORIGIN=localhost:1

@test "through a mirror of registries.conf, with the origin down" {
	registries_conf <<-END
		[[registry]]
		prefix = "$ORIGIN"
		location = "$ORIGIN"
		[[registry.mirror]]
		location = "127.0.0.1:1"
		insecure = true
		[[registry.mirror]]
		location = "$PLAIN"
		insecure = true
	END
	pulls "$nginx" --retry 0 "$ORIGIN/test/nginx:1"
	pulls "$busybox" --retry 0 "$ORIGIN/test/busybox@$(manifest_digest "$busybox")"
	succeeds ov pull --retry 0 "$ORIGIN/test/busybox:1"
	assert_contains "$output" "Downloaded newer image for $ORIGIN/test/busybox:1"
	assert_equal "$(ov inspect "$ORIGIN/test/busybox:1" | jq -r '.[0].RepoDigests[0]')" \
		"$ORIGIN/test/busybox@$(manifest_digest "$busybox")"
}

@test "what a mirror lacks is asked of the origin" {
	start_registry "$T/empty" --serve "other/image=$busybox"
	registries_conf <<-END
		[[registry]]
		location = "$PLAIN"
		[[registry.mirror]]
		location = "$REGISTRY"
	END
	pulls "$busybox" --retry 0 "$PLAIN/test/busybox:1"
	[ "$(requested '.path == "/v2/test/busybox/manifests/1" and .status == 404')" -gt 0 ] || fail "no mirror was asked"
}

@test "a mirror for digests only is not asked for tags" {
	start_registry "$T/mirror" --serve "mirrored/busybox=$busybox"
	registries_conf <<-END
		[[registry]]
		prefix = "$PLAIN/test"
		location = "$PLAIN/test"
		[[registry.mirror]]
		location = "$REGISTRY/mirrored"
		pull-from-mirror = "digest-only"
	END
	pulls "$busybox" "$PLAIN/test/busybox:1"
	assert_equal "$(requested '.path | test("manifests/1$")')" 0
	pulls "$busybox" "$PLAIN/test/busybox@$(manifest_digest "$busybox")"
	[ "$(requested '.status == 200 and (.path | test("manifests/sha256:"))')" -gt 0 ] || fail "the mirror was not asked"
}

@test "a registry that is blocked is not asked" {
	start_registry "$T/blocked" --serve "test/busybox=$busybox"
	registries_conf <<-END
		[[registry]]
		prefix = "$REGISTRY"
		location = "$REGISTRY"
		blocked = true
	END
	fails_with blocked ov pull "$REGISTRY/test/busybox:latest"
	assert_contains "$output" "$CONTAINERS_REGISTRIES_CONF"
	assert_equal "$(requested true)" 0
}

@test "short names: aliases, and registries to search in" {
	registries_conf <<-END
		unqualified-search-registries = ["$ORIGIN", "$PLAIN"]
		[aliases]
		"our-zoo" = "$PLAIN/test/zoo"
	END
	succeeds ov pull our-zoo:gzip
	assert_contains "$output" "$PLAIN/test/zoo:gzip"
	succeeds ov pull --retry 0 test/busybox:1
	assert_contains "$output" "$PLAIN/test/busybox:1"
}

@test "registries.conf that cannot be understood is named, with the line" {
	printf '[[registry]\nlocation = "x"\n' | registries_conf
	fails_with "$CONTAINERS_REGISTRIES_CONF" ov pull "$PLAIN/test/busybox:1"
}

@test "through a mirror of containerd's hosts.toml, with the origin down" {
	rm "$CONTAINERS_REGISTRIES_CONF"
	unset CONTAINERS_REGISTRIES_CONF
	mkdir -p "$T/etc/containerd/certs.d/registry.example.com" "$T/etc/containers"
	: >"$T/etc/containers/registries.conf"
	cat >"$T/etc/containerd/certs.d/registry.example.com/hosts.toml" <<-END
		server = "https://registry.example.com"
		[host."http://$ORIGIN"]
		  capabilities = ["pull", "resolve"]
		[host."http://$PLAIN"]
		  capabilities = ["pull", "resolve"]
	END
	succeeds with_etc "$T/etc" "$OVERLAID" --root "$ROOT" --run "$RUN" pull --retry 0 \
		registry.example.com/test/nginx:1
	assert_equal "$(ov images --quiet --no-trunc)" "$(image_id "$nginx")"
	assert_contains "$output" "Downloaded newer image for registry.example.com/test/nginx:1"
	assert_same <(loaded_tree "$nginx") <(listing "$(ov image mount registry.example.com/test/nginx:1)")
}

@test "a mirror of hosts.toml may have an authority and headers of its own" {
	start_registry "$T/mirror" --tls "$FILE/ca/server.crt" "$FILE/ca/server.key" --serve "test/busybox=$busybox"
	rm "$CONTAINERS_REGISTRIES_CONF"
	unset CONTAINERS_REGISTRIES_CONF
	mkdir -p "$T/etc/containerd/certs.d/_default" "$T/etc/containers"
	: >"$T/etc/containers/registries.conf"
	cat >"$T/etc/containerd/certs.d/_default/hosts.toml" <<-END
		[host."https://$REGISTRY"]
		  capabilities = ["pull", "resolve"]
		  ca = "$FILE/ca/ca.crt"
	END
	succeeds with_etc "$T/etc" "$OVERLAID" --root "$ROOT" --run "$RUN" pull --retry 0 \
		registry.example.com/test/busybox:latest
	assert_equal "$(ov images --quiet --no-trunc)" "$(image_id "$busybox")"
	# The mirror is told whose image it is.
	assert_equal "$(requested '(.path | test("manifests")) and .query == "ns=registry.example.com"')" \
		"$(requested '.path | test("manifests")')"
}

@test "through a pull-through cache" {
	STORAGE=$T/cached start_docker_registry "$T/cache" "REGISTRY_PROXY_REMOTEURL=http://$PLAIN"
	pulls "$nginx" "$REGISTRY/test/nginx:1"
	pulls "$nginx" "$REGISTRY/test/nginx@$(manifest_digest "$nginx")"
	pulls_platforms "$REGISTRY/test/multi:1"
	pulls "$zoo/layout-zstd" "$REGISTRY/test/zoo:zstd"
}

@test "through an HTTP proxy, to a registry that only it can reach" {
	start_registry "$T/far" --tls "$FILE/ca/server.crt" "$FILE/ca/server.key" --elsewhere-plain \
		--serve "test/busybox=$busybox"
	export https_proxy=http://$(elsewhere) no_proxy=localhost,127.0.0.1
	pulls "$busybox" --cert-dir "$FILE/trust" registry.example.com/test/busybox:latest
	assert_contains "$(registry_log elsewhere-log)" '"path": "registry.example.com:443"'
	# no_proxy: not for those.
	forget_requests
	pulls "$busybox" --cert-dir "$FILE/trust" "$REGISTRY/test/busybox:latest"
	assert_equal "$(registry_log elsewhere-log)" ""
}

# ---- other transports ----

@test "from an OCI layout directory" {
	pulls "$zoo/layout" "oci:$zoo/layout"
	pulls "$zoo/layout" "oci:$zoo/layout:$(tag_of "$zoo/layout")"
	fails_with several ov pull "oci:$FILE/several:nothing"
	succeeds ov pull "oci:$FILE/several:2"
	assert_equal "$(ov images --format '{{.Tag}}')" 2
}

@test "from archives: oci-archive, docker-archive" {
	local id
	skopeo --insecure-policy copy -q "oci:$busybox:latest" "oci-archive:$T/oci.tar:localhost/busybox:latest"
	pulls "$busybox" "oci-archive:$T/oci.tar"
	pulls "$busybox" "oci-archive:$T/oci.tar:localhost/busybox:latest"
	skopeo --insecure-policy copy -q "oci:$busybox:latest" "docker-archive:$T/docker.tar:localhost/busybox:3"
	id=sha256:$(skopeo --insecure-policy inspect --raw --config "docker-archive:$T/docker.tar" |
		sha256sum | cut -d ' ' -f 1)
	succeeds ov pull "docker-archive:$T/docker.tar"
	assert_equal "$(ov inspect localhost/busybox:3 | jq -r '.[0].Id')" "$id"
	succeeds ov pull --quiet "docker-archive:$T/docker.tar:localhost/busybox:3"
	assert_equal "$output" "$id"
}

@test "from a directory as skopeo writes it" {
	skopeo --insecure-policy copy -q "oci:$zoo/layout:$(tag_of "$zoo/layout")" "dir:$T/directory"
	pulls "$zoo/layout" "dir:$T/directory"
}

@test "a damaged directory is refused" {
	local layer
	skopeo --insecure-policy copy -q "oci:$busybox:latest" "dir:$T/directory"
	layer=$(manifest "$busybox" | jq -r '.layers[0].digest | sub("sha256:"; "")')
	printf x | dd of="$T/directory/$layer" bs=1 seek=5 conv=notrunc status=none
	fails_with digest ov pull "dir:$T/directory"
	assert_equal "$(ov images -q)$(layer_dirs)" ""
}

@test "a transport there is not is refused, and those there are are named" {
	fails_with docker-archive ov pull containers-storage:busybox
}

@test "what is no reference is refused before anyone is asked" {
	local name
	for name in "$PLAIN/Test/Upper:1" "$PLAIN/test/busybox:" "$PLAIN/test/busybox@sha256:12" "$PLAIN/../busybox" \
		"docker://" "$PLAIN/test/busybox:1 " "$PLAIN/test/busy?box:1" ""; do
		run ov pull "$name"
		[ "$status" != 0 ] || fail "pulled: '$name'"
		assert_match "$output" '^overlaid: [^[:cntrl:]]+'
	done
}

# ---- logging in and out ----

@test "login keeps what the registry accepts, for pulls to come; logout forgets it" {
	start_basic
	local file=$XDG_RUNTIME_DIR/containers/auth.json
	run ov pull "$REGISTRY/test/busybox:1"
	assert_equal "$status" 1
	assert_contains "$output" login
	succeeds ov login -u tester -p secret "$REGISTRY"
	assert_contains "$output" "Login Succeeded!"
	assert_equal "$(stat -c %a "$file")" 600
	assert_equal "$(jq -r ".auths[\"$REGISTRY\"].auth | @base64d" "$file")" tester:secret
	assert_equal "$(ov login --get-login "$REGISTRY")" tester
	pulls "$busybox" "$REGISTRY/test/busybox:1"
	succeeds ov logout "$REGISTRY"
	assert_equal "$(jq -c '.auths // {}' "$file")" '{}'
	fails_with "$REGISTRY" ov pull "$REGISTRY/test/busybox:1"
	run ov login --get-login "$REGISTRY"
	[ "$status" != 0 ] || fail "somebody is still logged in"
}

@test "login where a token is wanted" {
	start_token
	succeeds ov login -u tester --password-stdin "$REGISTRY" <<<secret
	assert_contains "$output" "Login Succeeded!"
	pulls "$busybox" "$REGISTRY/test/busybox:1"
	run ov login -u tester --password-stdin --authfile "$T/other.json" "$REGISTRY" <<<guess
	assert_equal "$status" 1
	assert_lacks "$output" Succeeded
	assert_missing "$T/other.json"
}

@test "login with a wrong password keeps nothing, and does not say the password" {
	start_basic
	run ov login -u tester -p mistaken "$REGISTRY"
	assert_equal "$status" 1
	assert_contains "$output" "$REGISTRY"
	assert_lacks "$output" mistaken
	assert_missing "$XDG_RUNTIME_DIR/containers/auth.json"
}

@test "login over TLS takes --cert-dir and --tls-verify" {
	start_registry "$T/secured" --tls "$FILE/ca/server.crt" "$FILE/ca/server.key" --basic tester:secret \
		--serve "test/busybox=$busybox"
	fails_with certificate ov login -u tester -p secret "$REGISTRY"
	assert_equal "$(requested true)" 0
	succeeds ov login -u tester -p secret --cert-dir "$FILE/trust" "$REGISTRY"
	succeeds ov login -u tester -p secret --tls-verify=false "$REGISTRY"
	pulls "$busybox" --cert-dir "$FILE/trust" "$REGISTRY/test/busybox:latest"
}

@test "--authfile and REGISTRY_AUTH_FILE: that file and no other" {
	start_basic
	succeeds ov login --authfile "$T/mine.json" -u tester -p secret "$REGISTRY"
	assert_missing "$XDG_RUNTIME_DIR/containers/auth.json"
	run ov pull "$REGISTRY/test/busybox:1"
	assert_equal "$status" 1
	pulls "$busybox" --authfile "$T/mine.json" "$REGISTRY/test/busybox:1"
	REGISTRY_AUTH_FILE=$T/mine.json pulls "$busybox" "$REGISTRY/test/busybox:1"
	succeeds ov logout --all --authfile "$T/mine.json"
	assert_equal "$(jq -c '.auths // {}' "$T/mine.json")" '{}'
}

@test "what others wrote is understood, and left as it is but for what we change" {
	start_basic
	local file=$XDG_RUNTIME_DIR/containers/auth.json docker=$HOME/.docker/config.json
	skopeo login -u tester -p secret --tls-verify=false "$REGISTRY" >/dev/null
	assert_exists "$file"
	pulls "$busybox" "$REGISTRY/test/busybox:1"
	mkdir "$HOME/.docker"
	jq '. + {HttpHeaders: {"X-Mine": "1"}}' "$file" >"$docker"
	rm "$file"
	pulls "$busybox" "$REGISTRY/test/busybox:1"
	succeeds ov login --authfile "$docker" -u tester -p secret "$REGISTRY"
	assert_equal "$(jq -c .HttpHeaders "$docker")" '{"X-Mine":"1"}'
	# And they understand what we wrote.
	ov login -u tester -p secret "$REGISTRY" >/dev/null
	rm "$docker"
	succeeds skopeo inspect --tls-verify=false --raw "docker://$REGISTRY/test/busybox:1"
}

@test "credentials of the most specific key, and of helpers" {
	start_basic
	mkdir "$T/bin"
	cat >"$T/bin/docker-credential-told" <<-'END'
		#!/bin/sh
		[ "$1" = get ] || exit 1
		read -r host
		echo "$host" >>"${0%/bin/*}/asked"
		printf '{"ServerURL": "%s", "Username": "tester", "Secret": "secret"}' "$host"
	END
	chmod +x "$T/bin/docker-credential-told"
	jq -n --arg host "$REGISTRY" '{auths: {($host): {auth: ("nobody:wrong" | @base64)},
		($host + "/test"): {auth: ("tester:secret" | @base64)}}}' >"$T/keys.json"
	pulls "$busybox" --authfile "$T/keys.json" "$REGISTRY/test/busybox:1"
	jq -n --arg host "$REGISTRY" '{credHelpers: {($host): "told"}}' >"$T/helpers.json"
	PATH=$T/bin:$PATH pulls "$busybox" --authfile "$T/helpers.json" "$REGISTRY/test/busybox:1"
	assert_equal "$(sort -u "$T/asked")" "$REGISTRY"
	jq -n '{credsStore: "told"}' >"$T/store.json"
	PATH=$T/bin:$PATH pulls "$busybox" --authfile "$T/store.json" "$REGISTRY/test/busybox:1"
}

@test "logout of a registry nobody logged in to is said" {
	run ov logout "$REGISTRY"
	[ "$status" != 0 ] || assert_match "$output" "[Nn]ot logged in"
	assert_contains "$output" "$REGISTRY"
}
