#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
#
# Runtimes run what we mount: the seven-layer nginx, through an OCI bundle.

load ../lib/common
load ../lib/truth

# One store for all, with nginx in it; each test makes its own container.
setup_file() {
	[ "$(id -u)" = 0 ] || return 0
	ROOT=$BATS_FILE_TMPDIR/root RUN=$BATS_FILE_TMPDIR/run
	ov load --quiet "$(image nginx)/layout" >/dev/null
}

setup() {
	need_root
	need crun runc jq
	T=$BATS_TEST_TMPDIR
	ROOT=$BATS_FILE_TMPDIR/root RUN=$BATS_FILE_TMPDIR/run
	nginx=$(image nginx)/layout
}

teardown() {
	[ "$(id -u)" = 0 ] || return 0
	[ -z "$(ov ps --quiet)" ] || ov rm --force web >/dev/null
	ov image umount --all >/dev/null
	common_teardown
	assert_equal "$(mounts_below "$BATS_FILE_TMPDIR")" ""
}

# A bundle of the container web, whose command is the one given.
bundle() { # command...
	ov create --name web nginx >/dev/null
	succeeds ov bundle web "$T/bundle"
	[ $# -eq 0 ] || set_command "$@"
}

set_command() {
	jq --slurpfile args <(printf '%s\n' "$@" | jq -R .) '.process.args = $args' \
		<"$T/bundle/config.json" >"$T/config.json"
	cp "$T/config.json" "$T/bundle/config.json"
}

# Runs the bundle; $output is what it says. Its state is not shared with other runtimes' containers.
# crun refuses to start anything on a machine of cgroup v1 that has controllers left in v2: it is not
# shown the latter.
runs() { # runtime
	run unshare --mount --propagation slave sh -c '
		unified=/sys/fs/cgroup/unified
		[ "$1" != crun ] || ! grep -qs . "$unified/cgroup.controllers" || umount "$unified"
		exec "$@"' sh "$1" --root "$T/state" run --bundle "$T/bundle" "overlaid-test-$1-$$"
}

prints_nginx_version() { # runtime
	bundle nginx -v
	runs "$1"
	[ "$status" = 0 ] || fail "$1 failed"
	assert_contains "$output" "nginx version: nginx/$(config_of "$nginx" |
		jq -r '.config.Env[] | select(startswith("NGINX_VERSION=")) | sub(".*=(?<v>[0-9.]*).*"; "\(.v)")')"
}

@test "inspect shows the seven layers of nginx by their diffIDs" {
	succeeds ov inspect nginx:latest
	assert_equal "$(jq -c '.[0].RootFS' <<<"$output")" \
		"$(config_of "$nginx" | jq -c '{Type: "layers", Layers: .rootfs.diff_ids}')"
	assert_equal "$(jq '.[0].RootFS.Layers | length' <<<"$output")" 7
	assert_equal "$(jq -r '.[0].RootFS.Layers[]' <<<"$output" | grep -cE '^sha256:[0-9a-f]{64}$')" 7
	assert_equal "$(jq -r '.[0].Id' <<<"$output")" "$(image_id_of "$nginx")"
}

@test "the docker-archive of nginx is the same seven layers" {
	local layers
	layers=$(ov inspect nginx | jq -c '.[0].RootFS.Layers')
	succeeds ov load "$(image nginx)/docker-archive.tar"
	assert_lacks "$output" Extracted
	assert_equal "$(ov inspect nginx | jq -c '.[0].RootFS.Layers')" "$layers"
}

@test "crun runs nginx -v in a bundle" { prints_nginx_version crun; }

@test "runc runs nginx -v in a bundle" { prints_nginx_version runc; }

@test "a bundle runs the image's own entry point and command" {
	bundle
	assert_equal "$(jq -c .process.args "$T/bundle/config.json")" \
		"$(config_of "$nginx" | jq -c '.config | .Entrypoint + .Cmd')"
	jq '.process.args = [.process.args[0], "nginx", "-t"]' "$T/bundle/config.json" >"$T/config.json"
	cp "$T/config.json" "$T/bundle/config.json"
	runs crun
	assert_contains "$output" "test is successful"
	assert_equal "$status" 0
}

@test "a bundle has the image's environment, user and working directory" {
	config_of "$nginx" | jq -c '.config.Env[]' >"$T/env"
	bundle
	assert_equal "$(jq -c '.process.env[]' "$T/bundle/config.json" | grep -cxFf "$T/env")" "$(wc -l <"$T/env")"
	assert_equal "$(jq -c '.process | [.cwd, .user.uid, .user.gid]' "$T/bundle/config.json")" '["/",0,0]'
	set_command sh -c 'id -u; pwd; echo $NGINX_VERSION'
	runs crun
	assert_equal "$status" 0
	assert_equal "$(tr '\n' ' ' <<<"$output")" "0 / $(jq -r 'select(startswith("NGINX_VERSION=")) | .[14:]' "$T/env") "
}

@test "what a container in a bundle writes is its own change" {
	bundle sh -c 'echo hello >/srv/said && rm /docker-entrypoint.sh'
	runs runc
	[ "$status" = 0 ] || fail "runc failed"
	local changes
	changes=$(ov diff web)
	assert_contains "$changes" "A /srv/said"
	assert_contains "$changes" "D /docker-entrypoint.sh"
	assert_exists "$(ov image mount nginx)/docker-entrypoint.sh"
}

@test "a command's exit status comes through both runtimes" {
	bundle sh -c 'exit 42'
	runs crun
	assert_equal "$status" 42
	runs runc
	assert_equal "$status" 42
}

@test "an image with a container in a bundle stays, and goes after umount and rm" {
	common_setup # a store of its own
	ov load --quiet "$nginx" >/dev/null
	bundle
	fails_with web ov rmi nginx
	succeeds ov umount web
	succeeds ov rm web
	succeeds ov rmi nginx
	settle
	assert_equal "$(ls -A "$ROOT/layers/sha256")" ""
}

@test "run runs nginx -v and leaves nothing behind" {
	run "$OVERLAID" --root "$ROOT" --run "$RUN" run nginx -- nginx -v
	[ "$status" = 0 ] || fail "run failed"
	assert_contains "$output" "nginx version: nginx/"
	assert_equal "$(ov ps -q)" ""
	assert_equal "$(ls -A "$ROOT/snapshots")" ""
}
