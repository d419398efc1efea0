#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
#
# containerd's own tests of snapshotters, through its proxy client.

load ../../lib/common
load ../../lib/behaviour
load ../../lib/registry
load ../../lib/containerd

setup() {
	containerd_setup
	need setpriv
	TMPDIR=$T
}

teardown() {
	containerd_teardown
}

# All of them, so that none is missing where one is new or renamed. "Rename" skips itself whatever the snapshotter:
# overlayfs does not rename directories of lower layers unless told to (redirect_dir).
CASES='Basic StatActive StatComitted TransitivityTest PreareViewFailingtest Update Remove Walk LayerFileupdate
	RemoveDirectoryInLowerLayer Chown DirectoryPermissionOnCommit RemoveIntermediateSnapshot DeletedFilesInChildSnapshot
	MoveFileFromLowerLayer ViewReadonly StatInWalk CloseTwice RootPermission 128LayersMount'
SKIPS_ITSELF=Rename

passes_suite() { # argument...
	run timeout 300 "$GO_TOOLS/suite" -test.v "$@"
	output=$(grep -vE '^=== (RUN|PAUSE|CONT|NAME)' <<<"$output")
	[ "$status" = 0 ] || fail "it failed"
	assert_same <(tr -s ' \t\n' '\n' <<<"$CASES" | sort) \
		<(sed -nE 's|^ +--- PASS: Snapshotter/suite/([^ ]+) .*|\1|p' <<<"$output" | sort)
	assert_equal "$(sed -nE 's|^ +--- SKIP: Snapshotter/suite/([^ ]+) .*|\1|p' <<<"$output")" $SKIPS_ITSELF
	assert_contains "$output" "none of 21 cases failed"
}

@test "containerd's suite passes on one server, case beside case" {
	serve_start
	passes_suite --socket "$SOCKET" -test.parallel 21
}

@test "containerd's suite passes with a server for each case, which ends well" {
	serve_command {root} {run} {socket}
	passes_suite --fresh -- "${SERVE_COMMAND[@]}"
}
