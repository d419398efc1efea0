#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
#
# The server is killed at any moment: what it answered is there when it is started again, and the rest is there wholly
# or not at all.

load ../../lib/common
load ../../lib/behaviour
load ../../lib/registry
load ../../lib/containerd

setup() {
	containerd_setup
	need setpriv
}

# The client is a child of ours as well, and ends before the server.
teardown() {
	scribe_stop || true
	containerd_teardown
}

scribe_start() {
	setpriv --pdeathsig KILL "$GO_TOOLS/hammer" --socket "$SOCKET" --clients 8 --ledger "$T/ledger" </dev/null >>"$T/scribe" 2>&1 3>&- 4>&- &
	echo $! >"$T/scribe.pid"
}

# It ends with 0 where nothing was refused.
scribe_stop() {
	local pid
	[ -e "$T/scribe.pid" ] || return 0
	pid=$(<"$T/scribe.pid")
	rm "$T/scribe.pid"
	kill -TERM "$pid"
	wait_at_most 60 "$pid" || fail "the client failed: $(cat "$T/scribe")"
}

# How many calls were answered so far.
answered() {
	[ -e "$T/ledger" ] && grep -c '"event":"ok"' "$T/ledger" || true
}

more_answered() { # than
	[ "$(answered)" -gt "$1" ] || [ ! -e "/proc/$(<"$T/scribe.pid")" ]
}

# The moment is a random one, from the first answer on; an 80th of a second is some tens of calls.
killed_under_load() {
	local before
	before=$(answered)
	scribe_start
	eventually more_answered "${before:-0}"
	sleep "0.$(printf %03d $((RANDOM % 80)))"
	serve_kill
}

verified() {
	run timeout 120 "$GO_TOOLS/hammer" --socket "$SOCKET" --verify "$T/ledger"
	[ "$status" = 0 ] || fail "after kill $1: it is not as it was answered; $(tail -n 3 "$T/serve/output")"
}

@test "killed 50 times under load, it has what it answered, and nothing by halves" {
	local number before
	serve_start
	for number in {1..50}; do
		killed_under_load
		serve_start
		# Every other time, the clients go on with the new one first.
		if [ $((number % 2)) = 0 ]; then
			before=$(answered)
			eventually more_answered "$before"
		fi
		scribe_stop
		verified "$number"
	done
	echo "# $output" >&3
	serve_stop
}

@test "killed and started again, and emptied, it leaves no directory" {
	local number key
	serve_start
	for number in {1..5}; do
		killed_under_load
		serve_start
		scribe_stop
	done
	until no_snapshots; do
		# What nothing stands on goes first.
		snapshots | jq -r 'map(.parent) as $parents | .[].name | select(IN($parents[]) | not)' >"$T/leaves"
		while read -r key; do
			call Snapshots/Remove "$(jq -nc --arg key "$key" '{snapshotter: "overlaid", $key}')" >/dev/null
		done <"$T/leaves"
	done
	call Snapshots/Cleanup '{"snapshotter": "overlaid"}' >/dev/null
	eventually nothing_stored name
	serve_stop
	if ours; then assert_no_leftovers && assert_store_sound; fi
}
