#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
#
# Many clients at once, of which some give up in the middle: nothing is lost, done twice, or left.

load ../../lib/common
load ../../lib/behaviour
load ../../lib/registry
load ../../lib/containerd

setup() {
	containerd_setup
	need setpriv
}

teardown() {
	containerd_teardown
}

hammered() { # argument...
	run timeout 300 "$GO_TOOLS/hammer" --socket "$SOCKET" "$@"
	echo "# $(grep -E '^(Prepare|Stat|Commit|Remove|[0-9]+ calls)' <<<"$output" | tr -s ' ' | paste -sd '; ')" >&3
	[ "$status" = 0 ] || fail "hammer failed"
	eventually no_directories
}

# None of what was removed is kept; ours may remember layers, of which there was none.
no_directories() {
	if ours; then
		[ -z "$(names_in "$ROOT/snapshots")$(names_in "$ROOT/staging")$(names_in "$ROOT/trash")$(layer_dirs)" ]
	else
		[ -z "$(names_in "$ROOT/snapshots")" ]
	fi
}

@test "32 clients on one connection, 200 rounds each, one call of ten cancelled" {
	serve_start
	hammered
	# nghttp2 takes more than a thousand cancellations for an attack, unless told not to.
	[ "$(sed -nE 's/.* ([0-9]+) cancelled.*/\1/p' <<<"$output")" -gt 1200 ]
	assert_equal "$(snapshot_count)" 0
	serve_stop
}

@test "32 clients on 8 connections, 50 rounds each, one call of two cancelled" {
	serve_start
	hammered --connections 8 --rounds 50 --cancel 50
	assert_equal "$(snapshot_count)" 0
	serve_stop
}

@test "two names of a snapshotter on one socket each have their own snapshots" {
	need_ours "two scopes of one store"
	serve_start
	call Snapshots/Prepare '{"snapshotter": "overlaid", "key": "a"}'
	call Snapshots/Prepare '{"snapshotter": "other", "key": "a"}'
	call Snapshots/Prepare '{"snapshotter": "other", "key": "b"}'
	assert_equal "$(snapshots | jq -r '.[].name')" a
	fails_with NotFound call Snapshots/Stat '{"snapshotter": "overlaid", "key": "b"}'
	call Snapshots/Remove '{"snapshotter": "overlaid", "key": "a"}'
	call Snapshots/Stat '{"snapshotter": "other", "key": "a"}'
}
