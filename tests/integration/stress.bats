#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
#
# Many processes at once on one store. STRESS_SECONDS says for how long (20), STRESS_PROCESSES how
# many (16).

load ../lib/common
load ../lib/behaviour

setup_file() {
	make_images
	local n l=$IMAGES/layers
	for n in {1..4}; do layer "$l/extra$n" "srv/extra=$n"; done
	for n in {1..4}; do
		mkimage "$IMAGES/mix$n" --ref "localhost/mix:$n" "$l/shell" "$l/first" "$l/extra$n" "$l/extra$((n % 4 + 1))"
	done
}

setup() {
	common_setup
	need_root
	need jq sqlite3
}

# Names are no hexadecimal digits: those could be the beginning of another container's id.
# What may go wrong for who works beside others, in the program's words.
acceptable='no such image: |no such container: |no such image or container: |is used by [0-9]+ (mounted )?container'
acceptable+='|the name "[a-z0-9-]+" is in use already|is mounted( at .*)?; unmount it first|image .* is mounted; unmount'
acceptable+='|is not mounted|image .* has [0-9]+ references|is busy: held by|was removed meanwhile'

# One user, who does one thing after the other with images and containers that others use too.
user() { # number
	local images=(one two alone mix1 mix2 mix3 mix4) refs=(localhost/one:1 localhost/two:1 alone localhost/mix:{1..4})
	local end=$((SECONDS + ${STRESS_SECONDS:-20})) number=$1 i path name
	RANDOM=$number
	local log=$BATS_TEST_TMPDIR/log.$number
	# Every failure with what was asked for.
	try() {
		local status=0
		ov "$@" >"$log.out" 2>"$log.err" || status=$?
		echo "$1" >>"$log.done"
		[ "$status" = 0 ] || printf '[%s] %s: %s\n' "$status" "$*" "$(<"$log.err")" >>"$log.failures"
		return $status
	}
	must() {
		try "$@" || { echo "$*: $(<"$log.err")" >>"$log.wrong" && return 1; }
	}
	while [ $SECONDS -lt $end ]; do
		i=$((RANDOM % 7)) name=shared-$((RANDOM % 6))
		case $((RANDOM % 13)) in
		0 | 1 | 2) try -q load "$IMAGES/${images[i]}" ;;
		3 | 4) try create --name "$name" "${refs[i]}" ;;
		5) # A container of one's own must work whatever others do.
			try create --name "own-$number" "${refs[i]}" || continue
			if must mount "own-$number"; then
				path=$(<"$log.out")
				find "$path" -type f -exec cat {} + >/dev/null 2>>"$log.wrong" || echo "cannot read $path" >>"$log.wrong"
				echo "$number" >"$path/mine" 2>>"$log.wrong" || echo "cannot write to $path" >>"$log.wrong"
				[ "$(<"$path/mine")" = "$number" ] || echo "$path/mine is not ours" >>"$log.wrong"
				must umount "own-$number"
			fi
			must rm "own-$number"
			;;
		6) try mount "$name" ;;
		7) try umount "$name" ;;
		8) try rm "$name" ;;
		9) try rmi "${refs[i]}" ;;
		10) try rmi -f "${refs[i]}" ;;
		11) try image mount "${refs[i]}" && try image umount "${refs[i]}" ;;
		12)
			case $((RANDOM % 6)) in
			0) try images ;;
			1) try layers ;;
			2) try ps -s ;;
			3) try df -v ;;
			4) try gc ;;
			5) try tag "${refs[i]}" "tag$((RANDOM % 3))" ;;
			esac
			;;
		esac
	done
	return 0
}

@test "processes that load, create, mount, unmount and remove at once: nothing fails that should not, and the references are right" {
	local number running=()
	for number in $(seq "${STRESS_PROCESSES:-16}"); do
		(set +eE && trap - ERR DEBUG && user "$number") 3>&- </dev/null &
		running+=($!)
	done
	wait "${running[@]}"
	cat "$BATS_TEST_TMPDIR"/log.*.done | sort | uniq -c | sort -rn
	echo "--- failures"
	cat "$BATS_TEST_TMPDIR"/log.*.failures | sed -E 's/[0-9a-f]{12,}/ID/g; s/^\[([0-9]+)\] .*: overlaid:/[\1] overlaid:/' | sort | uniq -c | sort -rn
	# Nobody's own container was touched, and nobody was told what makes no sense.
	assert_equal "$(cat "$BATS_TEST_TMPDIR"/log.*.wrong 2>/dev/null)" ""
	assert_equal "$(cat "$BATS_TEST_TMPDIR"/log.*.failures | grep -vE "^\[1\] .*: overlaid: .*($acceptable)")" ""
	[ "$(cat "$BATS_TEST_TMPDIR"/log.*.done | wc -l)" -gt 100 ] || fail "hardly anything was done"

	# What is left is sound, and works.
	ov gc >/dev/null
	assert_store_sound
	assert_no_leftovers
	assert_mounts_recorded
	assert_equal "$(ov --json gc | jq -c .)" "[]"
	for number in one two alone mix1 mix2 mix3 mix4; do
		assert_contains "$(ov -q --json load "$IMAGES/$number")" "$(image_id "$IMAGES/$number")"
	done
	assert_store_sound
	assert_equal "$(cat "$(ov image mount mix:2)/srv/extra")" 3
	ov image umount mix:2

	# And it can all be removed.
	ov rm -f --all
	ov image umount --all
	ov rmi -f $(ov images -q)
	settle
	assert_store_empty
	assert_equal "$(mounts_below "$RUN")" ""
}

@test "sixteen loads of one image at once extract each layer once" {
	local n running=() extracted
	for n in {1..16}; do
		ov -q --json load "$IMAGES/two" >"$BATS_TEST_TMPDIR/out.$n" 3>&- &
		running+=($!)
	done
	for n in "${running[@]}"; do wait "$n"; done
	extracted=$(jq -s 'map(.[].LayersExtracted) | add' "$BATS_TEST_TMPDIR"/out.*)
	assert_equal "$extracted" 5
	settle
	assert_store_sound
	assert_no_leftovers
}

@test "a container that is created while its image is removed keeps all its layers, or is refused" {
	local round created=0
	for round in {1..15}; do
		load_quietly "$IMAGES/one"
		ov create --name web one:1 >"$BATS_TEST_TMPDIR/out" 2>"$BATS_TEST_TMPDIR/err" 3>&- &
		ov rmi -f one:1 >/dev/null || fail "rmi failed"
		if wait $!; then
			created=$((created + 1))
			assert_equal "$(cat "$(ov mount web)/etc/name")" one
			ov rm -f web
		else
			assert_match "$(cat "$BATS_TEST_TMPDIR/err")" "$acceptable"
		fi
	done
	echo "$created of $round were created"
	settle
	assert_store_empty
}

# One overlaid that a user of the last test runs, or nothing.
child_of() { # pid
	pgrep -P "$1" | shuf -n 1
}

@test "processes killed at any moment leave a store that opens, and that gc makes clean" {
	local round number pid running=()
	for round in 1 2 3; do
		running=()
		for number in 1 2 3 4; do
			(set +eE && trap - ERR DEBUG && STRESS_SECONDS=100 && user "$((round * 10 + number))") 3>&- </dev/null &
			running+=($!)
			disown # the shell says nothing about its end
		done
		for number in {1..15}; do
			sleep 0.1
			for pid in "${running[@]}"; do kill -KILL $(child_of "$pid") 2>/dev/null || true; done
		done
		for pid in "${running[@]}"; do
			kill -STOP "$pid"
			kill -KILL $(child_of "$pid") "$pid" 2>/dev/null || true
			while [ -e "/proc/$pid" ]; do sleep 0.01; done
		done
		# What they were at is killed too, but not dead at once.
		while pgrep -f -- "--root $ROOT" >/dev/null; do sleep 0.01; done
		settle
		assert_store_sound
		assert_no_leftovers
		assert_mounts_recorded
	done
	ov rm -f --all >/dev/null
	ov image umount --all >/dev/null
	ov rmi -f $(ov images -q) >/dev/null
	settle
	assert_store_empty
}

@test "a mount that is killed half way is either made or not made" {
	load_quietly "$IMAGES/one"
	ov create --name web one:1 >/dev/null
	local round
	for round in {1..60}; do
		"$OVERLAID" --root "$ROOT" --run "$RUN" mount web >/dev/null 2>&1 3>&- &
		# The command takes some milliseconds.
		sleep "0.00$((round % 10))"
		kill -KILL $! 2>/dev/null || true
		wait $! 2>/dev/null || true
		settle
		assert_mounts_recorded
		if [ -n "$(mounts_below "$RUN")" ]; then ov umount web >/dev/null; fi
	done
	assert_equal "$(cat "$(ov mount web)/etc/name")" one
	ov umount web
}
