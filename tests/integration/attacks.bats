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
	attacks_setup_file names
}

setup() {
	attacks_setup
}

@test "each attack has its case here" {
	assert_each_has_a_case names
}

# The words for the classes stand in the head of tests/lib/attacks, with their CVEs.
@test "each class of attacks has its cases" {
	local class classes
	classes=$("$TOP/tests/lib/attacks" classes names layers documents)
	[ "$(wc -l <<<"$classes")" -ge 60 ]
	for class in $(sed -nE '/^The classes/,/^"""/s/^    ([a-z]+) +.*/\1/p' "$TOP/tests/lib/attacks"); do
		grep -qE " $class( |\$)" <<<"$classes" || fail "no attack of class $class"
	done
	assert_equal "$(cut -d' ' -f2- <<<"$classes" | tr ' ' '\n' | sort -u | wc -l)" \
		"$(sed -nE '/^The classes/,/^"""/s/^    ([a-z]+) +.*/\1/p' "$TOP/tests/lib/attacks" | wc -l)"
}

@test "what confines the unpacker reaches for nothing outside" {
	attack_confined_and_traced dotdot-to-canary hard-link-put-through-a-link file-through-a-directory-link \
		directory-becomes-a-link-and-back link-to-proc-self-root
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
