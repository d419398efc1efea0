#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
#
# The daemon itself: its sockets, who may speak to it, how it ends and begins again, and what is whose.

load ../../lib/common
load ../../lib/behaviour
load ../../lib/registry
load ../../lib/containerd

setup_file() {
	make_images
}

setup() {
	containerd_setup
	need_ours "the daemon"
}

teardown() {
	containerd_teardown
}

prepare() { # key, parent, NAME=VALUE of labels...
	local key=$1 parent=$2
	shift 2
	call Snapshots/Prepare "$(jq -nc --arg key "$key" --arg parent "$parent" --args '{snapshotter: "overlaid", $key, $parent,
		labels: ($ARGS.positional | map(split("=") | {(.[0]): .[1]}) | add // {})}' "$@")"
}

commit() { # name, key
	call Snapshots/Commit "$(jq -nc --arg name "$1" --arg key "$2" '{snapshotter: "overlaid", $name, $key}')"
}

remove() { # key
	call Snapshots/Remove "$(jq -nc --arg key "$1" '{snapshotter: "overlaid", $key}')"
}

diff_ids() { # layout
	jq -c .rootfs.diff_ids "$1/blobs/sha256/$(manifest "$1" | jq -r '.config.digest[7:]')"
}

names() {
	snapshots | jq -r '.[].name' | sort
}

# ---- sockets ----

@test "the socket is root's alone, and gone when the server is" {
	serve_start
	assert_equal "$(stat -c '%a %U %F' "$SOCKET")" "600 root socket"
	serve_stop
	[ ! -e "$SOCKET" ]
}

@test "a socket that a server left behind is taken over, one that is served is not" {
	serve_start
	serve_kill
	[ -S "$SOCKET" ]
	serve_start
	run "$OVERLAID" --root "$ROOT" --run "$RUN" serve --containerd "$SOCKET"
	assert_equal "$status" 1
	assert_contains "$output" "$SOCKET"
	assert_contains "$output" "served already"
	# That did not disturb it.
	assert_equal "$(names)" ""
}

@test "a path that is no socket is left alone, and so is a store whose path mounts cannot have" {
	echo precious >"$SOCKET"
	run ov serve --containerd "$SOCKET"
	assert_equal "$status" 1
	assert_equal "$(cat "$SOCKET")" precious
	run "$OVERLAID" --root "$T/a,b" --run "$RUN" serve --containerd "$T/other"
	assert_equal "$status" 1
	assert_contains "$output" "a path with a comma"
	run ov serve
	assert_equal "$status" 125
	assert_contains "$output" "--containerd SOCKET"
	run ov serve --containerd "$T/x" --fetch-keep never
	assert_equal "$status" 125
}

@test "a socket that the service manager listens at is used, and stays when the server ends" {
	need python3
	cat >"$T/manager.py" <<-'END'
		import os, socket, sys
		s = socket.socket(socket.AF_UNIX)
		s.bind(sys.argv[1])
		s.listen(64)
		for _ in range(2):  # the client that comes between two servers waits in the queue
		    pid = os.fork()
		    if pid == 0:
		        os.dup2(s.fileno(), 3)
		        os.set_inheritable(3, True)
		        os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()))
		        os.execv(sys.argv[2], sys.argv[2:])
		    os.waitpid(pid, 0)
	END
	python3 "$T/manager.py" "$SOCKET" "$OVERLAID" --root "$ROOT" --run "$RUN" serve --containerd "$SOCKET" >"$T/manager.out" 2>&1 3>&- 4>&- &
	local manager=$!
	eventually accepting "$SOCKET"
	prepare a "" >/dev/null
	kill -TERM "$(pgrep -P $manager)"
	[ -S "$SOCKET" ]
	eventually accepting "$SOCKET"
	assert_equal "$(names)" a
	kill -TERM "$(pgrep -P $manager)"
	wait_at_most 30 $manager
	[ -S "$SOCKET" ]
}

# ---- ending, and beginning again ----

@test "begun again under load (SIGHUP), it fails no call" {
	serve_start
	local pid
	pid=$(<"$T/serve/pid")
	"$GO_TOOLS/hammer" --socket "$SOCKET" --clients 8 --rounds 60 --cancel 0 --restarted >"$T/hammer" 2>&1 3>&- 4>&- &
	local hammer=$! n
	for n in {1..5}; do
		sleep 0.2
		kill -HUP "$pid"
	done
	wait_at_most 120 $hammer || fail "$(cat "$T/hammer")"
	# It is the same process, which began several times.
	[ "$(grep -c serving "$T/serve/output")" -gt 2 ]
	assert_equal "$(names)" ""
}

@test "told to end under load, it answers what it began, and ends well" {
	serve_start
	"$GO_TOOLS/hammer" --socket "$SOCKET" --clients 8 --ledger "$T/ledger" >"$T/hammer" 2>&1 3>&- 4>&- &
	local hammer=$!
	eventually [ -s "$T/ledger" ]
	sleep 0.3
	serve_stop
	serve_start
	kill -TERM $hammer
	wait_at_most 60 $hammer || fail "$(cat "$T/hammer")"
	succeeds timeout 60 "$GO_TOOLS/hammer" --socket "$SOCKET" --verify "$T/ledger"
}

# Deleting takes as long as another process is at it: who holds the lock of that (graph/store/store.h).
hold_reaper() {
	python3 -c '
import fcntl, os, struct, sys, time
fd = os.open(sys.argv[1], os.O_RDWR)
fcntl.fcntl(fd, 38, struct.pack("hhqqi", fcntl.F_WRLCK, 0, (1 << 61) + 1, 1, 0))
open(sys.argv[2], "w").close()
time.sleep(120)' "$ROOT/format" "$T/held" 3>&- 4>&- &
	HOLDER=$!
	eventually [ -e "$T/held" ]
}

began_again() {
	[ "$(grep -c serving "$T/serve/output")" -eq 2 ]
}

@test "its end, and its beginning again, wait for nothing that is being deleted" {
	serve_start
	local pid cleanup
	pid=$(<"$T/serve/pid")
	hold_reaper
	call Snapshots/Cleanup '{"snapshotter": "overlaid"}' 3>&- 4>&- &
	cleanup=$!
	prepare a ""
	kill -HUP "$pid"
	wait_at_most 10 $cleanup
	eventually began_again
	prepare b ""
	serve_stop
	kill $HOLDER
}

@test "a signal that means nothing to it changes nothing" {
	serve_start
	kill -USR1 "$(<"$T/serve/pid")"
	prepare a ""
	serve_stop
}

# ---- what is whose ----

@test "two daemons and two names on one store see their own snapshots only, and share layers" {
	local chain=sha256:$(printf %064d 7) other=$T/other mounts
	serve_start
	setpriv --pdeathsig KILL "$OVERLAID" --root "$ROOT" --run "$RUN" serve --containerd "$other" </dev/null >"$T/other.out" 2>&1 3>&- 4>&- &
	local second=$!
	eventually accepting "$other"
	prepare "ns/1/extract-1 $chain" "" containerd.io/snapshot.ref=$chain >/dev/null
	commit "ns/2/$chain" "ns/1/extract-1 $chain"
	assert_equal "$(names)" "ns/2/$chain"
	assert_equal "$("$CALL" "$other" Snapshots/List '{"snapshotter": "overlaid"}' | jq '.info | length')" 0
	assert_equal "$(call Snapshots/List '{"snapshotter": "another"}' | jq '.info | length')" 0
	# The other one need not unpack it.
	run "$CALL" "$other" Snapshots/Prepare "$(jq -nc --arg key "ns/1/extract-9 $chain" --arg chain "$chain" \
		'{snapshotter: "overlaid", $key, labels: {"containerd.io/snapshot.ref": $chain}}')"
	assert_contains "$output" AlreadyExists
	assert_equal "$("$CALL" "$other" Snapshots/List '{"snapshotter": "overlaid"}' | jq -r '.info[].name')" "$chain"
	assert_equal "$(layer_dirs | wc -l)" 1
	assert_equal "$(ov --json layers | jq -r '.[0] | "\(.Kind) \(.References)"')" "adopted 2"
	# Each lets go of its own.
	remove "ns/2/$chain"
	call Snapshots/Cleanup '{"snapshotter": "overlaid"}'
	assert_equal "$(layer_dirs | wc -l)" 1
	"$CALL" "$other" Snapshots/Remove "$(jq -nc --arg key "$chain" '{snapshotter: "overlaid", $key}')"
	"$CALL" "$other" Snapshots/Cleanup '{"snapshotter": "overlaid"}'
	assert_equal "$(layer_dirs)" ""
	kill -TERM $second
	wait_at_most 30 $second
	serve_stop
	assert_no_leftovers
}

@test "with --no-share what is here is prepared all the same" {
	local chain=sha256:$(printf %064d 7)
	serve_start --no-share
	prepare "ns/1/extract-1 $chain" "" containerd.io/snapshot.ref=$chain >/dev/null
	commit "ns/2/$chain" "ns/1/extract-1 $chain"
	prepare "ns/1/extract-2 $chain" "" containerd.io/snapshot.ref=$chain | jq -e '.mounts[0].type' >/dev/null
}

@test "with --remap-ids mounts are told how to be mapped, and the upper is the mapped root's" {
	local chain=sha256:$(printf %064d 7) mounts upper
	serve_start --remap-ids
	prepare "ns/1/extract-1 $chain" "" containerd.io/snapshot.ref=$chain >/dev/null
	commit "ns/2/$chain" "ns/1/extract-1 $chain"
	mounts=$(prepare box "ns/2/$chain" containerd.io/snapshot/uidmapping=0:100000:65536 containerd.io/snapshot/gidmapping=0:200000:65536)
	assert_contains "$(jq -r '.mounts[0].options[]' <<<"$mounts")" uidmap=0:100000:65536
	assert_contains "$(jq -r '.mounts[0].options[]' <<<"$mounts")" gidmap=0:200000:65536
	# Layers by their own paths: containerd maps what is above all of them.
	assert_contains "$(jq -r '.mounts[0].options[]' <<<"$mounts")" "lowerdir=$ROOT/layers/sha256/"
	upper=$(jq -r '.mounts[0].options[] | select(startswith("upperdir=")) | .[9:]' <<<"$mounts")
	assert_equal "$(stat -c %u:%g "$upper")" 100000:200000
	# And said again as before.
	assert_equal "$(call Snapshots/Mounts '{"snapshotter": "overlaid", "key": "box"}' | jq -c .)" "$(jq -c . <<<"$mounts")"
	# What is refused leaves its key free.
	run prepare odd "ns/2/$chain" containerd.io/snapshot/uidmapping=5:100000:65536
	assert_contains "$output" InvalidArgument
	prepare odd "ns/2/$chain" >/dev/null
}

@test "layers of the command line's images, and the links to them, survive that the run directory goes" {
	load_quietly "$IMAGES/one"
	serve_start
	local chain link
	chain=$(diff_ids "$IMAGES/one" | jq -r '.[0]')
	run prepare "ns/1/extract-1 $chain" "" containerd.io/snapshot.ref=$chain
	assert_contains "$output" AlreadyExists
	prepare box "$chain" >/dev/null
	link=$(call Snapshots/Mounts '{"snapshotter": "overlaid", "key": "box"}' | jq -r '.mounts[0].options[] | select(startswith("lowerdir=")) | .[9:]')
	[ -d "$link/." ]
	rm -r "$RUN/l"
	assert_equal "$(call Snapshots/Mounts '{"snapshotter": "overlaid", "key": "box"}' | jq -r '.mounts[0].options[] | select(startswith("lowerdir=")) | .[9:]')" "$link"
	[ -d "$link/." ]
}

@test "what containerd unpacked is not fetched and not unpacked again by the command line" {
	need ctr containerd runc
	serve_start
	containerd_start
	c_import "$(archive_of "$IMAGES/two")"
	eventually counted
	assert_equal "$(ov -q --json load "$IMAGES/two" | jq '.[0].LayersExtracted')" 0
	assert_equal "$(ov --json layers | jq -r '.[].Kind' | sort -u)" adopted
	assert_equal "$(ov inspect two:1 -f '{{json .RootFS.Layers}}' | jq -c .)" "$(diff_ids "$IMAGES/two" | jq -c .)"
	# It is the same tree, from either, also when one has let go of it.
	# But for the root's time, which is that of the mount where ctr makes it.
	c_tree localhost/two:1 "$T/m" | tail -n +2 >"$T/theirs"
	assert_same "$T/theirs" <("$TOOLS/treels" "$(ov image mount two:1)" | tail -n +2)
	c images rm --sync localhost/two:1 >/dev/null
	eventually no_snapshots
	assert_same "$T/theirs" <("$TOOLS/treels" "$(ov image mount two:1)" | tail -n +2)
	ov image umount two:1
	# Of another image that begins so, only the rest.
	assert_equal "$(ov -q --json load "$IMAGES/one" | jq '.[0].LayersExtracted')" 1
	ov rmi two:1 one:1 >/dev/null
	settle
	assert_equal "$(layer_dirs)" ""
}

counted() {
	[ "$(ov --json layers | jq '[.[] | select(.Entries == 0)] | length')" = 0 ]
}
