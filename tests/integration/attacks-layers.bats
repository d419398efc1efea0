#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
#
# What layers hold beside names and symlinks (tests/lib/attacks says what each attack does); what is asked of each,
# attacks.bats says.

load ../lib/common
load ../lib/behaviour
load ../lib/attacks

setup_file() {
	attacks_setup_file layers
}

setup() {
	attacks_setup
}

@test "each attack has its case here" {
	assert_each_has_a_case layers
}

@test "nobody else gets to what an image holds" {
	local path
	ov -q load -i "$ATTACKS/setuid-for-everybody" >/dev/null
	path=$(ov --json layers | jq -r '.[0].Path')
	assert_exists "$path/open/pwned"
	run setpriv --reuid 65534 --regid 65534 --clear-groups cat "$path/open/pwned"
	[ "$status" != 0 ] || fail "it was read"
	run setpriv --reuid 65534 --regid 65534 --clear-groups find "$ROOT" -mindepth 1
	[ "$status" != 0 ] || fail "the store was listed"
	# However it is entered: each directory from the store to the trees is closed by itself.
	assert_equal "$(stat -c %a "$ROOT" "$ROOT/layers" "$ROOT/layers/sha256" "${path%/diff}" "$ROOT/staging" | sort -u)" 700
}

@test "what confines the unpacker reaches for nothing outside when layers build on others" {
	attack_confined_and_traced link-of-the-layer-below-file link-of-the-layer-below-link hard-link-of-the-layer-below \
		root-a-link-0 trusted-overlay-redirect
}

@test "root-a-link-0" { attack; }
@test "root-a-link-1" { attack; }
@test "root-a-link-2" { attack; }
@test "root-a-file" { attack; }
@test "root-a-device" { attack; }
@test "root-a-hard-link" { attack; }
@test "root-setuid-and-foreign" { attack; }
@test "whiteout-of-nothing-0" { attack; }
@test "whiteout-of-nothing-1" { attack; }
@test "whiteout-of-nothing-2" { attack; }
@test "whiteout-of-nothing-3" { attack; }
@test "whiteout-of-nothing-4" { attack; }
@test "whiteout-in-a-path" { attack; }
@test "whiteout-beyond-the-root" { attack; }
@test "device-called-a-whiteout" { attack; }
@test "link-called-a-whiteout" { attack; }
@test "device-that-is-a-whiteout" { attack; }
@test "opaque-marker-a-link" { attack; }
@test "aufs-directory" { attack; }
@test "block-device-of-the-host" { attack; }
@test "device-number-too-large" { attack; }
@test "hard-link-absolute" { attack; }
@test "hard-link-dotdot" { attack; }
@test "hard-link-etc-passwd" { attack; }
@test "hard-link-proc-self-exe" { attack; }
@test "hard-link-proc-self-fd" { attack; }
@test "hard-link-to-the-root" { attack; }
@test "hard-link-to-dotdot" { attack; }
@test "hard-link-to-a-directory" { attack; }
@test "hard-link-to-itself" { attack; }
@test "hard-link-to-a-whiteout" { attack; }
@test "hard-link-to-what-a-whiteout-hides" { attack; }
@test "file-over-a-hard-link" { attack; }
@test "hard-link-absolute-and-legal" { attack; }
@test "hard-link-far-up-and-legal" { attack; }
@test "trusted-overlay-redirect" { attack; }
@test "trusted-overlay-metacopy" { attack; }
@test "trusted-overlay-opaque" { attack; }
@test "trusted-overlay-origin" { attack; }
@test "trusted-overlay-overlay-redirect" { attack; }
@test "user-overlay-redirect" { attack; }
@test "user-overlay-whiteout" { attack; }
@test "overlay-redirect-of-a-file" { attack; }
@test "overlay-redirect-of-a-link" { attack; }
@test "overlay-redirect-of-the-root" { attack; }
@test "overlay-redirect-as-libarchive-writes-it" { attack; }
@test "overlay-redirect-percent-encoded" { attack; }
@test "overlay-redirect-in-a-global-header" { attack; }
@test "xattrs-of-other-namespaces" { attack; }
@test "capability-that-is-none" { attack; }
@test "xattr-flood" { attack; }
@test "xattr-too-large" { attack; }
@test "xattr-name-too-long" { attack; }
@test "link-of-the-layer-below-file" { attack; }
@test "link-of-the-layer-below-directory" { attack; }
@test "link-of-the-layer-below-whiteout" { attack; }
@test "link-of-the-layer-below-opaque" { attack; }
@test "link-of-the-layer-below-device" { attack; }
@test "link-of-the-layer-below-metadata" { attack; }
@test "link-of-the-layer-below-link" { attack; }
@test "link-of-the-layer-below-dotdot" { attack; }
@test "hard-link-of-the-layer-below" { attack; }
@test "hard-link-to-a-link-of-the-layer-below" { attack; }
@test "directory-becomes-a-link-in-the-layer-above" { attack; }
@test "link-of-the-layer-below-far-up" { attack; }
@test "link-of-the-layer-below-to-proc" { attack; }
@test "link-loop-across-layers" { attack; }
@test "etc-passwd-a-link" { attack; }
@test "etc-passwd-a-fifo" { attack; }
@test "etc-passwd-a-device" { attack; }
@test "libraries-of-ours" { attack; }
@test "setuid-for-everybody" { attack; }
