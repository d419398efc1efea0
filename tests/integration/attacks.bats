#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
#
# Layers that try to reach outside (tests/lib/attacks says what each does). Each is loaded by the confined
# unpacker, and by one that is not, under strace: it is refused with words that fit and leaves the store as it was,
# or it stays inside and makes the tree it says. A canary outside, with every attribute, stays what it was, and no
# system call that takes a path leaves the store (tests/lib/traced).

load ../lib/common
load ../lib/behaviour
load ../lib/attacks

setup_file() {
	attacks_setup_file tar
}

setup() {
	attacks_setup
}

@test "each attack has its case here" {
	assert_same <("$TOP/tests/lib/attacks" list tar | sort) \
		<(sed -nE 's/^@test "(.*)" \{ attack; \}$/\1/p' "$BATS_TEST_FILENAME" | sort)
}

# The words for the classes stand in the head of tests/lib/attacks, with their CVEs.
@test "each class of attacks has its cases" {
	local class classes
	classes=$("$TOP/tests/lib/attacks" classes tar documents)
	[ "$(wc -l <<<"$classes")" -ge 60 ]
	for class in $(sed -nE '/^The classes/,/^"""/s/^    ([a-z]+) +.*/\1/p' "$TOP/tests/lib/attacks"); do
		grep -qE " $class( |\$)" <<<"$classes" || fail "no attack of class $class"
	done
	assert_equal "$(cut -d' ' -f2- <<<"$classes" | tr ' ' '\n' | sort -u | wc -l)" \
		"$(sed -nE '/^The classes/,/^"""/s/^    ([a-z]+) +.*/\1/p' "$TOP/tests/lib/attacks" | wc -l)"
}

@test "what confines the unpacker reaches for nothing outside" {
	attack_confined_and_traced dotdot-to-canary file-through-a-directory-link directory-becomes-a-link-and-back \
		root-a-link-0 hard-link-absolute trusted-overlay-redirect link-of-the-layer-below-file libraries-of-ours
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

@test "dotdot-file" { attack; }
@test "dotdot-file-far" { attack; }
@test "dotdot-below-a-directory" { attack; }
@test "dotdot-to-canary" { attack; }
@test "absolute-file" { attack; }
@test "absolute-many-slashes" { attack; }
@test "dotdot-after-a-directory" { attack; }
@test "dotdot-through-what-is-missing" { attack; }
@test "dotdot-in-the-ustar-prefix" { attack; }
@test "dotdot-in-a-long-name" { attack; }
@test "dotdot-in-a-pax-path" { attack; }
@test "dotdot-in-a-global-pax-path" { attack; }
@test "dotdot-directory" { attack; }
@test "dotdot-directory-deep" { attack; }
@test "dotdot-directory-slash" { attack; }
@test "dotdot-symlink" { attack; }
@test "dotdot-hard-link" { attack; }
@test "dotdot-with-dots-behind" { attack; }
@test "lexically-inside" { attack; }
@test "lexically-inside-relative" { attack; }
@test "backslashes" { attack; }
@test "name-of-an-escape-sequence" { attack; }
@test "name-with-a-nul" { attack; }
@test "no-name" { attack; }
@test "name-of-300-bytes" { attack; }
@test "path-of-5000-bytes" { attack; }
@test "path-of-1500-names" { attack; }
@test "link-target-of-5000-bytes" { attack; }
@test "link-loop" { attack; }
@test "link-to-itself" { attack; }
@test "link-chain" { attack; }
@test "depth-10000-by-links" { attack; }
@test "file-over-a-link" { attack; }
@test "file-through-a-link" { attack; }
@test "file-through-a-directory-link" { attack; }
@test "directory-through-a-link" { attack; }
@test "symlink-through-a-link" { attack; }
@test "device-through-a-link" { attack; }
@test "fifo-through-a-link" { attack; }
@test "whiteout-through-a-link" { attack; }
@test "opaque-through-a-link" { attack; }
@test "hard-link-put-through-a-link" { attack; }
@test "hard-link-of-what-is-behind-a-link" { attack; }
@test "hard-link-to-a-link" { attack; }
@test "relative-link-out" { attack; }
@test "link-to-proc-self-cwd" { attack; }
@test "link-to-proc-self-root" { attack; }
@test "link-to-proc-self-fd" { attack; }
@test "link-to-proc-self-fd-below-an-own-proc" { attack; }
@test "chmod-through-a-link" { attack; }
@test "chown-through-a-link" { attack; }
@test "utimes-through-a-link" { attack; }
@test "xattr-through-a-link" { attack; }
@test "directory-over-a-link" { attack; }
@test "directory-becomes-a-link" { attack; }
@test "directory-becomes-a-link-and-back" { attack; }
@test "parent-becomes-a-link" { attack; }
@test "implied-parent-becomes-a-link" { attack; }
@test "link-is-turned-round" { attack; }
@test "directory-with-metadata-becomes-a-link" { attack; }
@test "directory-with-metadata-has-its-parent-replaced" { attack; }
@test "removal-of-a-directory-of-links" { attack; }
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
