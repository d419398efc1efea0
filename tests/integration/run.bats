#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
#
# overlaid run: a command in a container that is gone afterwards.

load ../lib/common
load ../lib/behaviour

setup_file() {
	make_images
}

setup() {
	common_setup
	need_root
	need jq sqlite3
	load_quietly "$IMAGES/one"
}

assert_nothing_left() {
	assert_equal "$(ov ps -q)" ""
	assert_equal "$(names_in "$ROOT/snapshots")" ""
	assert_equal "$(names_in "$RUN/mnt")" ""
	assert_equal "$(mounts_below "$RUN")" ""
	assert_store_sound
}

# Runs a command in the background, and waits until it has made $BATS_TEST_TMPDIR/shared/ready.
run_in_background() { # arguments of overlaid run
	mkdir -p "$BATS_TEST_TMPDIR/shared"
	"$OVERLAID" --root "$ROOT" --run "$RUN" run -v "$BATS_TEST_TMPDIR/shared:/mnt" "$@" \
		>"$BATS_TEST_TMPDIR/stdout" 2>"$BATS_TEST_TMPDIR/stderr" 3>&- &
	runner=$!
	until [ -e "$BATS_TEST_TMPDIR/shared/ready" ]; do
		kill -0 $runner || fail "it ended: $(cat "$BATS_TEST_TMPDIR/stderr")"
		sleep 0.01
	done
}

@test "run prints what the command prints, and leaves nothing" {
	run --separate-stderr ov run one:1 cat /etc/name
	assert_equal "$status" 0
	assert_equal "$output" one
	assert_equal "$stderr" ""
	settle
	assert_nothing_left
}

@test "without a command the image's own is run, in its directory and environment" {
	load_quietly "$IMAGES/two"
	assert_equal "$(ov run one:1)" "from one"
	assert_equal "$(ov run one:1 pwd)" /srv
	assert_equal "$(ov run one:1 -- sh -c 'echo $COLOR')" red
	assert_equal "$(ov run -u root two:1)" "entry two"
	assert_equal "$(ov run two:1 other words)" "entry other words"
	assert_equal "$(ov run --entrypoint id two:1)" "$(ov run --entrypoint id -u app two:1)"
	assert_match "$(ov run --entrypoint id two:1)" 'uid=1000\(app\) gid=1000\(app\)'
}

@test "the exit status is the command's; 125, 126 and 127 say what overlaid could not do" {
	load_quietly "$IMAGES/alone"
	run ov run one:1 sh -c 'exit 7'
	assert_equal "$status" 7
	run ov run one:1 false
	assert_equal "$status" 1
	run ov run one:1 sh -c 'sh -c "kill -TERM \$\$"; exit $?'
	assert_equal "$status" 143
	fails_with "no such image: absent" ov run absent true
	assert_equal "$status" 125
	fails_with "no command" ov run alone
	assert_equal "$status" 125
	fails_with "/etc/name" ov run one:1 /etc/name
	assert_equal "$status" 126
	run -127 ov run one:1 nonsense
	assert_contains "$output" "nonsense"
	run -127 ov run one:1 /no/where
	assert_contains "$output" "/no/where"
	fails_with "--bogus" ov run --bogus one:1 true
	assert_equal "$status" 125
	settle
	assert_nothing_left
}

@test "words after the image belong to the command" {
	assert_equal "$(ov run one:1 echo -e --json -q)" "--json -q"
	assert_equal "$(ov run one:1 -- echo -- x)" "-- x"
}

@test "run -e sets variables, and passes on those without a value" {
	export PASSED=on
	assert_equal "$(ov run -e A=1 -e B='x y=z' --env PASSED -e COLOR=blue one:1 sh -c 'echo "$A,$B,$PASSED,$COLOR"')" "1,x y=z,on,blue"
	assert_equal "$(ov run -e UNSET_HERE one:1 sh -c 'echo "${UNSET_HERE-none}"')" none
	assert_equal "$(ov run one:1 sh -c 'echo "${PASSED-none} $HOME"')" "none /root"
	assert_match "$(ov run one:1 sh -c 'echo $PATH')" '/usr/bin.*/bin'
}

@test "run -w chooses the directory, which is made where it is missing" {
	assert_equal "$(ov run -w /usr/share one:1 cat a)" A
	assert_equal "$(ov run -w /not/yet one:1 pwd)" /not/yet
	fails_with "/etc/name" ov run -w /etc/name one:1 pwd
	assert_equal "$status" 125
}

@test "run -u takes names and numbers, groups too" {
	assert_match "$(ov run -u app one:1 id)" '^uid=1000\(app\) gid=1000\(app\) groups=.*2000\(extra\)'
	assert_match "$(ov run -u 1234:5678 one:1 id)" '^uid=1234 gid=5678'
	assert_match "$(ov run -u app:extra one:1 id)" '^uid=1000\(app\) gid=2000\(extra\)'
	assert_match "$(ov run one:1 id)" '^uid=0\(root\) gid=0\(root\)'
	assert_equal "$(ov run -u app one:1 sh -c 'echo $HOME; touch /etc/x 2>/dev/null || echo denied')" $'/srv\ndenied'
	fails_with "nobody-here" ov run -u nobody-here one:1 id
	assert_equal "$status" 125
}

@test "run -v mounts directories and files of the host, read-only where it is said so" {
	mkdir "$BATS_TEST_TMPDIR/src"
	echo host >"$BATS_TEST_TMPDIR/src/file"
	assert_equal "$(ov run -v "$BATS_TEST_TMPDIR/src:/data" one:1 sh -c 'cat /data/file; echo new >/data/new')" host
	assert_equal "$(cat "$BATS_TEST_TMPDIR/src/new")" new
	fails_with "Read-only" ov run -v "$BATS_TEST_TMPDIR/src:/data:ro" one:1 touch /data/x
	assert_equal "$(ov run -v "$BATS_TEST_TMPDIR/src/file:/etc/name:ro" one:1 cat /etc/name)" host
	fails_with "/not/there" ov run -v /not/there:/data one:1 true
	assert_equal "$status" 125
	fails_with "SOURCE:/TARGET" ov run -v only one:1 true
	assert_equal "$status" 125
	fails_with "ro or rw" ov run -v /tmp:/x:bogus one:1 true
	settle
	assert_nothing_left
}

@test "a volume's target that is a symlink stays inside the container" {
	layer "$BATS_TEST_TMPDIR/l" etc/
	ln -s "$BATS_TEST_TMPDIR/outside" "$BATS_TEST_TMPDIR/l/link"
	mkdir "$BATS_TEST_TMPDIR/src" "$BATS_TEST_TMPDIR/outside"
	mkimage "$BATS_TEST_TMPDIR/linked" --ref linked "$IMAGES/layers/shell" "$BATS_TEST_TMPDIR/l"
	load_quietly "$BATS_TEST_TMPDIR/linked"
	run ov run -v "$BATS_TEST_TMPDIR/src:/link" linked touch /link/file
	assert_equal "$(names_in "$BATS_TEST_TMPDIR/outside")" ""
}

@test "the command has /proc of its own processes, /dev, /sys, its hostname, and only its root" {
	succeeds ov run one:1 sh -c 'echo $$; cat /proc/1/comm; echo x >/dev/null; ls /sys | head -n 1; ls /proc | grep -c "^[0-9]"'
	assert_equal "${lines[0]}" 1
	assert_equal "${lines[1]}" sh
	assert_equal "$(ov run --hostname box one:1 sh -c 'cat /proc/sys/kernel/hostname; echo $HOSTNAME')" $'box\nbox'
	assert_match "$(ov run one:1 cat /proc/sys/kernel/hostname)" '^[0-9a-f]{12}$'
	assert_equal "$(ov run one:1 sh -c "[ -e '$ROOT' ] || echo hidden")" hidden
	assert_equal "$(ov run one:1 sh -c 'cd /; cd ..; pwd; cat ../../etc/name')" $'/\none'
}

@test "run hands on standard input, output and errors" {
	assert_equal "$(echo in | ov run -i one:1 cat)" in
	run --separate-stderr ov run one:1 sh -c 'echo out; echo err >&2'
	assert_equal "$output/$stderr" out/err
}

@test "what the command writes is gone with it; --read-only lets it write nothing" {
	ov run one:1 sh -c 'echo x >/etc/name; rm -r /usr'
	assert_equal "$(ov run one:1 cat /etc/name /usr/share/b)" $'one\nBB'
	fails_with "Read-only" ov run --read-only one:1 touch /etc/x
}

@test "while a command runs its container is listed, and protects image and layers" {
	run_in_background --name busy one:1 sh -c 'touch /mnt/ready; while [ ! -e /mnt/go ]; do sleep 0.05; done; cat /etc/name'
	assert_equal "$(ov ps --format '{{.Names}}')" busy
	fails_with "busy" ov rmi -f one:1
	fails_with "running" ov rm -f busy
	ov gc >/dev/null
	touch "$BATS_TEST_TMPDIR/shared/go"
	wait $runner
	assert_equal "$(cat "$BATS_TEST_TMPDIR/stdout")" one
	settle
	assert_nothing_left
	succeeds ov rmi one:1
}

@test "signals reach the command, and end one that has no handler" {
	run_in_background one:1 sh -c 'trap "echo caught; exit 5" TERM; touch /mnt/ready; while :; do sleep 0.05; done'
	local status=0
	kill -TERM $runner
	wait $runner || status=$?
	assert_equal "$status" 5
	assert_equal "$(cat "$BATS_TEST_TMPDIR/stdout")" caught
	rm "$BATS_TEST_TMPDIR/shared/ready"
	run_in_background one:1 sh -c 'touch /mnt/ready; exec sleep 20'
	kill -TERM $runner
	status=0
	wait $runner || status=$?
	assert_equal "$status" 143
	settle
	assert_nothing_left
}

@test "kill -9 of the command: overlaid says 137 and cleans up" {
	run_in_background one:1 sh -c 'touch /mnt/ready; exec sleep 21'
	kill -KILL "$(pgrep -P $runner)"
	local status=0
	wait $runner || status=$?
	assert_equal "$status" 137
	settle
	assert_nothing_left
}

@test "kill -9 of overlaid itself: the command dies with it, and gc leaves nothing" {
	run_in_background --name doomed one:1 sh -c 'touch /mnt/ready; sleep 22 & exec sleep 22'
	local command
	command=$(pgrep -P $runner)
	kill -KILL $runner
	wait $runner || true
	local tries=0
	while [ -e "/proc/$command" ] && [ $tries -lt 500 ]; do
		tries=$((tries + 1))
		sleep 0.01
	done
	assert_missing "/proc/$command"
	succeeds ov gc --dry-run
	assert_contains "$output" "ephemeral container of a process that died"
	ov gc
	assert_nothing_left
	assert_equal "$(ov gc)" "Total reclaimed space: 0B"
	succeeds ov rmi one:1
	settle
	assert_store_empty
}

@test "an image whose only user was killed can be removed without gc" {
	run_in_background one:1 sh -c 'touch /mnt/ready; exec sleep 23'
	kill -KILL $runner
	wait $runner || true
	succeeds ov rmi one:1
	settle
	assert_store_empty
}

@test "run works without a database of users, and on an image of one layer" {
	mkdir -p "$BATS_TEST_TMPDIR/l/bin"
	cp /bin/busybox "$BATS_TEST_TMPDIR/l/bin/sh"
	mkimage "$BATS_TEST_TMPDIR/bare" --ref bare "$BATS_TEST_TMPDIR/l"
	load_quietly "$BATS_TEST_TMPDIR/bare"
	assert_equal "$(ov run -u 5 bare sh -c 'echo *')" "bin dev etc proc sys"
}
