# SPDX-License-Identifier: Apache-2.0
#
# What the bats tests share. A test file begins with
#
#	load ../lib/common
#
# and then each test has a store of its own: ov runs the program on it. After each test nothing of it
# may be left mounted. A file with a setup() or teardown() of its own calls common_setup and
# common_teardown there.

bats_require_minimum_version 1.5.0

TOP=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
OVERLAID=${OVERLAID:-$TOP/build/gcc-none/overlaid}
TOOLS=${TOOLS:-$TOP/build/gcc-none/tests/tools}
export OVERLAID TOOLS LC_ALL=C.UTF-8 TZ=UTC

setup() {
	common_setup
}

teardown() {
	common_teardown
}

common_setup() {
	ROOT=$BATS_TEST_TMPDIR/root
	RUN=$BATS_TEST_TMPDIR/run
	export ROOT RUN
}

# The program on this test's store.
ov() {
	"$OVERLAID" --root "$ROOT" --run "$RUN" "$@"
}

# ---- what a test needs ----

need_root() {
	[ "$(id -u)" = 0 ] || skip "needs root"
}

need() { # command...
	local command
	for command; do
		command -v "$command" >/dev/null || skip "needs $command (scripts/setup --test)"
	done
}

# The directory of a test image (tests/images), made where it is missing: layout=$(image nginx)/layout
image() {
	"$TOP/tests/images/build" "$1"
}

# ---- saying what should be ----

# Prints the words and fails the test, with what the last `run` printed.
fail() {
	echo "$*"
	[ -z "${output-}" ] || printf 'output (status %s):\n%s\n' "${status-}" "$output"
	return 1
}

assert_equal() { # actual, expected
	[ "$1" = "$2" ] || fail "expected: '$2'"$'\n'"actual:   '$1'"
}

assert_contains() { # text, part
	[[ $1 == *"$2"* ]] || fail "'$2' is not in: $1"
}

assert_lacks() { # text, part
	[[ $1 != *"$2"* ]] || fail "'$2' is in: $1"
}

assert_match() { # text, extended regular expression
	[[ $1 =~ $2 ]] || fail "'$2' does not match: $1"
}

assert_exists() {
	[ -e "$1" ] || [ -L "$1" ] || fail "$1 does not exist"
}

assert_missing() {
	! [ -e "$1" ] && ! [ -L "$1" ] || fail "$1 exists"
}

# Runs a command that must succeed; $output has its stdout and stderr.
succeeds() {
	run "$@"
	[ "$status" = 0 ] || fail "failed, and should not: $*"
}

# Runs a command that must fail, other than by a signal, with words that contain the first argument.
fails_with() { # part of the message, command...
	run "${@:2}"
	[ "$status" != 0 ] || fail "succeeded, and should not: ${*:2}"
	[ "$status" -lt 128 ] || fail "died: ${*:2}"
	assert_contains "$output" "$1"
}

# Two files or outputs that must be the same: assert_same <(listing a) <(listing b)
assert_same() {
	diff -u "$1" "$2" || fail "they differ"
}

# ---- mounts ----

# Mount points at or below a directory, the deepest first; names as /proc/self/mountinfo escapes them.
mounts_below() {
	awk -v dir="$1" '$5 == dir || index($5, dir "/") == 1 { print length($5) "\t" $5 }' /proc/self/mountinfo |
		sort -rn | cut -f 2
}

is_mounted() {
	[ -n "$(mounts_below "$1" | grep -xF -e "$1")" ]
}

unmount_below() {
	local target
	mounts_below "$1" | while IFS= read -r target; do
		umount "$(printf '%b' "${target//\\/\\0}")" || umount --lazy "$(printf '%b' "${target//\\/\\0}")"
	done
}

# Deleting goes on in the background of a command: gc waits for it.
settle() {
	ov gc >/dev/null
}

# Everything the test mounted goes; then nothing may be left, and the store's directories can be removed.
common_teardown() {
	[ "$(id -u)" = 0 ] || return 0
	unmount_below "$BATS_TEST_TMPDIR"
	if [ -e "$ROOT/graph.db" ]; then
		settle || fail "overlaid gc failed"
	fi
	assert_equal "$(mounts_below "$BATS_TEST_TMPDIR")" ""
}
