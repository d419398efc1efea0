# SPDX-License-Identifier: Apache-2.0
#
# What attacks.bats, attacks-layers.bats and attacks-documents.bats share; loaded after common and behaviour. A test is called as the
# attack (tests/lib/attacks), and its body is `attack`.

# The group of attacks is made once, with a place outside that has something of everything.
attacks_setup_file() { # group...
	command -v python3 >/dev/null && command -v zstd >/dev/null && command -v setfattr >/dev/null || return 0
	[ "$(id -u)" = 0 ] || return 0
	common_setup
	export CANARY=$BATS_FILE_TMPDIR/canary ATTACKS=$BATS_FILE_TMPDIR/attacks
	mkdir -p "$CANARY/dir" "$ATTACKS"
	echo secret >"$CANARY/secret"
	echo '#!/bin/sh' >"$CANARY/exec"
	echo file >"$CANARY/dir/file"
	ln -s secret "$CANARY/link"
	ln "$CANARY/secret" "$CANARY/hard"
	setfattr -n user.canary -v 1 "$CANARY/secret"
	setfattr -n trusted.canary -v 1 "$CANARY/dir"
	chown 1234:5678 "$CANARY/secret" "$CANARY/dir"
	chmod 0640 "$CANARY/secret"
	chmod 4711 "$CANARY/exec"
	chmod 0750 "$CANARY/dir"
	touch -h -d '2001-02-03 04:05:06.789' "$CANARY"/* "$CANARY/dir/file" "$CANARY"
	"$TOP/tests/lib/attacks" "$CANARY" "$ATTACKS" "$@"
	ROOT=$BATS_FILE_TMPDIR/empty
	ov images >/dev/null
	store_listing >"$BATS_FILE_TMPDIR/before"
}

assert_each_has_a_case() { # kind of attacks
	assert_same <("$TOP/tests/lib/attacks" list "$1" | sort) \
		<(sed -nE 's/^@test "(.*)" \{ attack; \}$/\1/p' "$BATS_TEST_FILENAME" | sort)
}

attacks_setup() {
	common_setup
	need_root
	need python3 jq sqlite3 strace zstd setfattr
	look_outside >"$BATS_TEST_TMPDIR/outside"
}

# The canary with every attribute, times of change included; and what was made where nobody should.
look_outside() {
	"$TOOLS/treels" "$CANARY"
	find "$CANARY" -printf '%p %i %C@ %T@\n' | LC_ALL=C sort
	find / /tmp /var/tmp /root /etc /proc/self/cwd/ "$BATS_RUN_TMPDIR" "$BATS_FILE_TMPDIR" "${BATS_TEST_TMPDIR:-/tmp}" \
		-mindepth 1 -maxdepth 1 -name 'pwned*'
	[ ! -d "${ROOT-/nowhere}" ] || find "$ROOT" -path '*/diff' -prune -o -name '*pwned*' -print
}

# The program, on an image, with the attack's own options. With a trace in the directory $TRACE, if set.
attempt() { # arguments...
	local args=() command=()
	mapfile -t args <"$ATTACKS/$BATS_TEST_DESCRIPTION.args"
	[ -z "${TRACE-}" ] || command=(env "ASAN_OPTIONS=$ASAN_OPTIONS:detect_leaks=0" strace -f -ff -y -v -s 8192
		-e "trace=$("$TOP/tests/lib/traced" --calls)" -o "$TRACE/t")
	timeout 120 "${command[@]}" "$OVERLAID" --root "$ROOT" --run "$RUN" --progress none --durability none \
		"${args[@]}" "$@" </dev/null
}

# What was traced of the last attempts.
assert_traced_inside() {
	run "$TOP/tests/lib/traced" --cwd "$PWD" --store "$ROOT" --store "$RUN" --program "$(realpath "${OVERLAID%/*}")" \
		--hostile "$ROOT/(staging/[^/]+/[0-9a-f]{64}/diff|layers/sha256/[0-9a-f]{64}/diff|trash/[^/]+)" \
		--input "$ATTACKS/$BATS_TEST_DESCRIPTION" "$TRACE"/t.*
	[ "$status" = 0 ] || fail "something outside was touched"
	rm -rf "$TRACE"
	unset TRACE
}

# What is left after the attempt is what it said.
assert_outcome() {
	local name=$BATS_TEST_DESCRIPTION
	case $status in
	0)
		[ "$(<"$ATTACKS/$name.outcome")" != refused ] || fail "it was loaded, and should not be"
		[ -n "$TRACE" ] || assert_store_sound
		path=$(ov image mount localhost/attack:1)
		run "$TOP/tests/lib/attacks" compare "$ATTACKS/$name.tree" "$path"
		[ "$status" = 0 ] || fail "the tree is another one"
		ov image umount localhost/attack:1 >/dev/null
		attempt rmi localhost/attack:1 >/dev/null
		settle
		assert_store_empty
		;;
	1)
		[ "$(<"$ATTACKS/$name.outcome")" != inside ] || fail "it was refused, and should not be: $stderr"
		assert_equal "$output" ""
		assert_match "$stderr" '^overlaid: [^[:cntrl:]]+$'
		grep -qE -e "$(<"$ATTACKS/$name.words")" <<<"$stderr" || fail "other words: $stderr"
		assert_same "$BATS_FILE_TMPDIR/before" <(store_listing)
		settle
		assert_no_leftovers
		;;
	*) fail "status $status: $stderr" ;;
	esac
	assert_same "$BATS_TEST_TMPDIR/outside" <(look_outside)
}

# On a store that is empty but for what opening it makes.
fresh_store() {
	rm -rf "$ROOT"
	cp -a "$BATS_FILE_TMPDIR/empty" "$ROOT"
}

# Confined, as it is; and not confined, under strace, when nothing but the code itself keeps it inside.
attack() {
	local confinement
	for confinement in on off; do
		fresh_store
		TRACE=
		if [ $confinement = off ]; then
			export OVERLAID_CONFINEMENT=off
			TRACE=$BATS_TEST_TMPDIR/trace
			mkdir "$TRACE"
		fi
		run --separate-stderr attempt load -i "$ATTACKS/$BATS_TEST_DESCRIPTION"
		assert_outcome
	done
	assert_traced_inside
}

# Some of them under strace with confinement too.
attack_confined_and_traced() { # name...
	local BATS_TEST_DESCRIPTION
	for BATS_TEST_DESCRIPTION; do
		fresh_store
		TRACE=$BATS_TEST_TMPDIR/trace
		mkdir "$TRACE"
		run --separate-stderr attempt load -i "$ATTACKS/$BATS_TEST_DESCRIPTION"
		assert_outcome
		assert_traced_inside
	done
}
