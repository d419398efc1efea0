#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
#
# The process that unpacks: whatever ends it, one layer fails, with words, and nothing of the image stays; and
# without the system calls that older kernels lack it makes the same trees.

load ../lib/common

setup() {
	need_root
	common_setup
}

# A program in the unpacker's place that starts it in a way of its own.
instead() { # command...
	export OVERLAID_UNPACK=$BATS_TEST_TMPDIR/unpack
	printf '#!/bin/sh\nexec %s "%s/overlaid-unpack"\n' "$*" "$(dirname "$OVERLAID")" >"$OVERLAID_UNPACK"
	chmod +x "$OVERLAID_UNPACK"
}

assert_nothing_left() {
	assert_equal "$(ls -A "$ROOT/staging" "$ROOT/layers/sha256" "$ROOT/blobs/sha256" "$ROOT/trash" | grep -v : | xargs)" ""
	assert_equal "$(ov images -q)" ""
}

@test "kill -9 in the middle of a layer: a message, nothing left, and the next load is whole" {
	need strace
	local nginx call
	nginx=$(image nginx)/layout
	# The very call in which it dies: no luck is needed.
	for call in mkdirat:1 pwrite64:1 pwrite64:300 utimensat:900 symlinkat:20; do
		instead strace -D -f -o /dev/null -e trace="${call%:*}" -e inject="${call%:*}:signal=KILL:when=${call#*:}"
		fails_with "the process that unpacks it was killed by signal 9" ov load --quiet "$nginx"
		assert_contains "$output" "layer sha256:"
		assert_equal "$status" 1
		assert_nothing_left
	done
	unset OVERLAID_UNPACK
	succeeds ov load --quiet "$nginx"
	assert_equal "$(ov images -q | wc -l)" 1
}

@test "it ends by itself before it is done: the same" {
	local nginx
	nginx=$(image nginx)/layout
	export OVERLAID_UNPACK=/bin/true
	fails_with "layer sha256:" ov load --quiet "$nginx"
	assert_nothing_left
}

@test "there is none: a message says where it was looked for" {
	local nginx
	nginx=$(image nginx)/layout
	export OVERLAID_UNPACK=$BATS_TEST_TMPDIR/none
	fails_with "$OVERLAID_UNPACK, which OVERLAID_UNPACK names: No such file" ov load --quiet "$nginx"
	assert_nothing_left
}

# The trees of all layers, loaded by a command that is given.
trees_by() { # command...
	local d=$BATS_TEST_TMPDIR/by tree
	rm -rf "$d"
	"$@" "$OVERLAID" --root "$d/root" --run "$d/run" load --quiet "$zoo" >/dev/null
	for tree in "$d"/root/layers/sha256/*/diff; do "$TOOLS/treels" "$tree"; done
}

@test "without what older kernels lack, one thing or all, the trees are the same" {
	local zoo rules later="openat2 fchmodat2 landlock_create_ruleset seccomp open_tree mount_setattr close_range fsopen"
	zoo=$(image zoo)/layout
	trees_by env >"$BATS_TEST_TMPDIR/whole"
	assert_match "$(cat "$BATS_TEST_TMPDIR/whole")" "sha256="
	for rules in $later "$later"; do
		assert_same "$BATS_TEST_TMPDIR/whole" <(trees_by "$TOOLS/deny" $rules --)
	done
}
