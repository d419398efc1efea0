#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
#
# moby's own tests of graph drivers, through moby's own client of plugins.

load ../../lib/common
load ../../lib/behaviour
load ../../lib/registry
load ../../lib/docker

setup() {
	docker_setup
	# What moby's tests take for a data-root is made here.
	export TMPDIR=$T
}

teardown() {
	docker_teardown
}

CASES='CreateEmpty CreateBase CreateSnap DiffApply10 DiffApply1000 DeepLayerRead128 Changes SetQuota'

@test "these are all of moby's cases" {
	assert_same <(tr ' ' '\n' <<<"$CASES") <("$DOCKER_GO_TOOLS/graphtest" --list)
}

# Only SetQuota may be skipped, by a plugin that says that it has no quotas.
passes() { # case...
	local name
	docker_start
	run timeout 300 "$DOCKER_GO_TOOLS/graphtest" "$SOCKET" "$@"
	[ "$status" = 0 ] || fail "it failed; the plugin said: $(tail -n 20 "$T/served/output")"
	for name; do
		grep -qxF "PASS $name" <<<"$output" || { [ "$name" = SetQuota ] && grep -qxF "SKIP SetQuota" <<<"$output"; } ||
			fail "there is no word of $name"
	done
	assert_nothing_kept
}

@test "all of moby's cases pass, on one plugin" {
	# shellcheck disable=SC2086 # words
	passes $CASES
}

@test "moby: CreateEmpty" { passes CreateEmpty; }
@test "moby: CreateBase" { passes CreateBase; }
@test "moby: CreateSnap" { passes CreateSnap; }
@test "moby: DiffApply of 10 files" { passes DiffApply10; }
@test "moby: DiffApply of 1000 files" { passes DiffApply1000; }
@test "moby: DeepLayerRead of 128 layers" { passes DeepLayerRead128; }
@test "moby: Changes" { passes Changes; }

@test "moby: SetQuota" {
	passes SetQuota
	! grep -qxF "SKIP SetQuota" <<<"$output" || skip "$(grep '^no quotas' <<<"$output")"
}

@test "a plugin that does not answer Init fails moby's cases, where moby skips them" {
	mkfifo "$T/out"
	"$BATS_TEST_DIRNAME/../../lib/refuses" "$SOCKET" </dev/null >"$T/out" 3>&- 4>&- &
	local pid=$!
	read -r _ <"$T/out"
	run timeout 60 "$DOCKER_GO_TOOLS/graphtest" "$SOCKET" CreateEmpty Changes
	kill "$pid"
	wait "$pid" || true
	[ "$status" != 0 ] || fail "it did not fail"
	assert_contains "$output" "FAIL CreateEmpty"
	assert_contains "$output" "FAIL Changes"
	assert_lacks "$output" SKIP
}
