#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
#
# The program starts, says who it is, and links only against the library's public names.

load ../lib/common

@test "version names the program and its version" {
	succeeds "$OVERLAID" version
	assert_match "$output" '[0-9]+\.[0-9]+\.[0-9]+'
}

@test "an unknown command is refused and named" {
	fails_with "no-such-verb" "$OVERLAID" no-such-verb
}

@test "the shared library exports overlaid_* and nothing else" {
	need nm
	run nm -D --defined-only --format=posix "${OVERLAID%/*}/liboverlaid.so"
	[ "$status" = 0 ]
	assert_contains "$output" overlaid_open
	assert_equal "$(grep -vE '^(overlaid_|OVERLAID_0)' <<<"$output")" ""
}

@test "a program can be built against the installed library with pkg-config" {
	need make pkg-config cc
	[[ ${OVERLAID%/*} == */gcc-none ]] || return 0 # what is installed is not sanitized
	local to=$BATS_TEST_TMPDIR/usr
	succeeds make -C "$TOP" install prefix="$to"
	cat >"$BATS_TEST_TMPDIR/user.c" <<-'END'
		#include <overlaid.h>
		#include <stdio.h>
		int fail(void);
		int fail(void) { return 0; } /* a name the library uses inside */
		int main(void) { return puts(overlaid_version()) < 0 || fail(); }
	END
	export PKG_CONFIG_PATH=$to/lib/pkgconfig
	cd "$BATS_TEST_TMPDIR"
	succeeds cc -o shared user.c $(pkg-config --cflags --libs overlaid) -Wl,-rpath,"$to/lib"
	succeeds ./shared
	assert_equal "$output" "$(pkg-config --modversion overlaid)"
	succeeds cc -o static user.c $(pkg-config --cflags overlaid) "$to/lib/liboverlaid.a" \
		-lsqlite3 -lyajl -lcap -lpthread -ldl
	succeeds ./static
	succeeds "$to/bin/overlaid" version
}
