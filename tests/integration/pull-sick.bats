#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
#
# Pulling from a registry that is not well: connections that end, patience that is asked for, slowness, headers, blobs
# that are not gone on with as they should be. tests/lib/sick.bash says what may come of it.

load ../lib/common
load ../lib/behaviour
load ../lib/registry
load ../lib/sick

setup_file() {
	sick_setup_file
}

setup() {
	sick_setup
}

teardown() {
	registries_end
	common_teardown
}

@test "every fault of the registry is played by a test" {
	assert_equal "$("$TOP/tests/lib/registry.py" --list-faults | while read -r fault; do
		grep -qE "do.{1,2}: .{1,2}$fault\b" "$TOP"/tests/integration/pull-*.bats || echo "$fault"
	done)" ""
}

# ---- connections that end ----

@test "a blob's connection is reset: the rest is fetched, and no more" {
	sick "{$AT_LAYER, \"do\": \"cut\", \"at\": 300000, \"by\": \"reset\", \"times\": 1}"
	gets_over_it
	assert_sent_at_most $((SIZE + SLACK)) "$OF_LAYER"
	assert_equal "$(requested "$OF_LAYER")" 2
	assert_equal "$(requested "$OF_LAYER and .status == 206 and .if_range == \"\\\"$LAYER\\\"\"")" 1
}

@test "a blob's connection is closed early: the rest is fetched, and no more" {
	sick "{$AT_LAYER, \"do\": \"cut\", \"at\": 300000, \"by\": \"close\", \"times\": 1}"
	gets_over_it
	assert_sent_at_most $((SIZE + SLACK)) "$OF_LAYER"
	assert_equal "$(requested "$OF_LAYER and .status == 206")" 1
}

@test "cut again and again, but later each time: as often as it takes" {
	sick "{$AT_LAYER, \"do\": \"cut\", \"at\": 140000, \"by\": \"reset\", \"times\": 6}"
	gets_over_it --retry 2
	assert_sent_at_most $((SIZE + 6 * SLACK)) "$OF_LAYER"
	assert_equal "$(requested "$OF_LAYER and .fault == \"cut\"")" 6
}

@test "cut without a byte, for ever: given up after --retry times" {
	sick "{$AT_LAYER, \"do\": \"cut\", \"at\": 0, \"by\": \"reset\"}"
	gives_up "${LAYER:7:12}.*(reset|closed|cut|connection|ended|bytes)" --retry 3
	assert_equal "$(requested "$OF_LAYER")" 4
}

@test "no answer but the end of the connection: tried again" {
	sick "{$AT_TAG, \"do\": \"hang_up\", \"by\": \"reset\", \"times\": 2}" \
		"{$AT_LAYER, \"do\": \"hang_up\", \"times\": 2}"
	gets_over_it
}

@test "a configuration that is cut off: tried again" {
	sick "{$AT_CONFIG, \"do\": \"cut\", \"at\": 100, \"times\": 2}" "{$AT_TAG, \"do\": \"cut\", \"at\": 100, \"times\": 2}"
	gets_over_it
}

@test "nobody listens: says where" {
	sick
	registries_end
	gives_up "$REGISTRY.*(refused|connect)" --retry 0
}

@test "what is not HTTP" {
	sick "{$AT_MANIFEST, \"do\": \"garbage\"}"
	gives_up "$REGISTRY"
}

# ---- answers that ask for patience, or none ----

@test "429 with Retry-After in seconds: waits that long" {
	sick "{$AT_TAG, \"do\": \"status\", \"status\": 429, \"headers\": {\"Retry-After\": \"1\"}, \"times\": 1}" \
		"{$AT_LAYER, \"do\": \"status\", \"status\": 429, \"headers\": {\"Retry-After\": \"1\"}, \"times\": 1}"
	timed gets_over_it
	[ "$MS" -ge 2000 ] || fail "waited $MS ms only"
}

@test "429 with Retry-After as a date: waits until then" {
	sick "{$AT_TAG, \"do\": \"status\", \"status\": 429, \"headers\": {\"Retry-After\": \"{date+3}\"}, \"times\": 1}"
	timed gets_over_it
	[ "$MS" -ge 1500 ] || fail "waited $MS ms only"
}

@test "429 with Retry-After a day away: says so instead of waiting" {
	sick "{$AT_TAG, \"do\": \"status\", \"status\": 429, \"headers\": {\"Retry-After\": \"86400\"}}"
	timed gives_up '429|too many requests|rate limit'
	[ "$MS" -lt 10000 ] || fail "waited $MS ms"
}

@test "429 with a Retry-After that makes no sense: waits as it would without" {
	local value
	for value in soon -1 99999999999999999999999 "" "Thu, 01 Jan 1970 00:00:00 GMT"; do
		sick "{$AT_TAG, \"do\": \"status\", \"status\": 429, \"headers\": {\"Retry-After\": \"$value\"}, \"times\": 1}"
		timed gets_over_it_or_gives_up '429|too many requests|rate limit'
		[ "$MS" -lt 10000 ] || fail "waited $MS ms"
		anew
	done
}

@test "503 twice, then well: of manifest, configuration and layer" {
	sick "{$AT_TAG, \"do\": \"status\", \"status\": 503, \"times\": 2}" \
		"{$AT_CONFIG, \"do\": \"status\", \"status\": 503, \"times\": 2}" \
		"{$AT_LAYER, \"do\": \"status\", \"status\": 503, \"times\": 2}"
	gets_over_it
}

@test "notes say that it is tried again, and when" {
	sick "{$AT_LAYER, \"do\": \"status\", \"status\": 503, \"times\": 1}"
	run --separate-stderr "$OVERLAID" --root "$ROOT" --run "$RUN" --progress plain pull --retry-delay 0.1 "$NAME"
	assert_equal "$status" 0
	assert_match "$stderr" '503.*retrying in [0-9.]+ s'
	anew
	sick "{$AT_LAYER, \"do\": \"status\", \"status\": 503, \"times\": 1}"
	run --separate-stderr "$OVERLAID" --root "$ROOT" --run "$RUN" --progress json pull --retry-delay 0.1 "$NAME"
	assert_match "$(jq -r 'select(.event == "note") | .text' <<<"$stderr")" retrying
}

@test "500 for ever: given up, with what the registry said" {
	sick "{$AT_LAYER, \"do\": \"status\", \"status\": 500, \"message\": \"the disk is on fire\"}"
	gives_up "500.*the disk is on fire|the disk is on fire.*500"
	assert_equal "$(requested "$OF_LAYER")" 3
}

@test "what a registry says in an error is not printed raw, nor at any length" {
	local said
	said=$(printf 'a%.0s' {1..5000})
	sick "{$AT_TAG, \"do\": \"status\", \"status\": 403, \"message\": \"\\u001b]0;pwned\\u0007\\nsecond line $said\"}"
	gives_up 403
}

@test "delays grow: --retry-delay is the first" {
	sick "{$AT_TAG, \"do\": \"status\", \"status\": 503}"
	timed gives_up 503 --retry 3 --retry-delay 0.2
	# 0.2 + 0.4 + 0.8 seconds, with jitter; nobody waits for more than that.
	[ "$MS" -ge 500 ] && [ "$MS" -lt 10000 ] || fail "took $MS ms"
}

# ---- slowness ----

@test "a blob that trickles: given up, although something always comes" {
	sick "{$AT_LAYER, \"do\": \"trickle\", \"at\": 1000, \"every\": 0.2}"
	timed gives_up 'slow|stall|bytes per second|bytes a second|B/s'
	[ "$MS" -lt 20000 ] || fail "took $MS ms"
}

@test "a blob that trickles once: the rest is fetched" {
	sick "{$AT_LAYER, \"do\": \"trickle\", \"at\": 300000, \"every\": 0.2, \"times\": 1}"
	gets_over_it
	assert_sent_at_most $((SIZE + SLACK)) "$OF_LAYER"
}

@test "--min-speed says how slow is too slow" {
	sick "{$AT_CONFIG, \"do\": \"trickle\", \"at\": $(($(image_config "$LAYOUT" | wc -c) - 10)), \"every\": 0.2}"
	gets_over_it --min-speed 1
}

@test "headers that drip: given up" {
	sick "{$AT_LAYER, \"do\": \"drip\", \"every\": 0.1}"
	timed gives_up 'slow|stall|timed? ?out|no answer|bytes per second|seconds'
	[ "$MS" -lt 20000 ] || fail "took $MS ms"
}

@test "no answer, once: tried again; for ever: given up" {
	sick "{$AT_TAG, \"do\": \"silence\", \"times\": 1}" "{$AT_CONFIG, \"do\": \"silence\", \"times\": 1}" \
		"{$AT_LAYER, \"do\": \"silence\", \"times\": 1}"
	gets_over_it
	anew
	sick "{$AT_TAG, \"do\": \"silence\"}"
	timed gives_up "slow|stall|timed? ?out|no answer|seconds|$REGISTRY" --retry 1
	[ "$MS" -lt 20000 ] || fail "took $MS ms"
}

@test "a manifest that trickles: given up" {
	sick "{$AT_TAG, \"do\": \"trickle\", \"every\": 0.2}"
	timed gives_up 'slow|stall|bytes per second|bytes a second|seconds' --retry 1
	[ "$MS" -lt 20000 ] || fail "took $MS ms"
}

@test "a server that takes the connection and does not speak TLS or anything" {
	mkdir "$T/mute"
	start_server "$T/mute" setpriv --pdeathsig TERM python3 -c 'import os, signal, socket, sys
listening = socket.create_server(("127.0.0.1", 0), backlog=100)
with open(sys.argv[1] + ".new", "w") as port:
    port.write(str(listening.getsockname()[1]))
os.rename(sys.argv[1] + ".new", sys.argv[1])
signal.pause()' "$T/mute/port"
	until_served "$T/mute" test -e "$T/mute/port"
	REGISTRY=localhost:$(<"$T/mute/port") NAME=localhost:$(<"$T/mute/port")/test/busybox
	timed gives_up "$REGISTRY" --retry 0
	[ "$MS" -lt 20000 ] || fail "took $MS ms"
}

# ---- headers ----

@test "headers without end" {
	sick "{$AT_TAG, \"do\": \"header_flood\"}"
	timed gives_up "header|$REGISTRY" --retry 0
	[ "$MS" -lt 20000 ] || fail "took $MS ms"
}

@test "thousands of headers, and one that is huge" {
	sick "{$AT_TAG, \"do\": \"header_flood\", \"count\": 20000}"
	gives_up "header|$REGISTRY" --retry 0
	anew
	sick "{$AT_LAYER, \"do\": \"header_flood\", \"count\": 1, \"bytes\": 20000000}"
	gives_up "header|${LAYER:7:12}" --retry 0
}

@test "100 Continue without end" {
	sick "{$AT_TAG, \"do\": \"informational\"}"
	timed gives_up "header|stall|slow|seconds|$REGISTRY" --retry 0
	[ "$MS" -lt 30000 ] || fail "took $MS ms"
}

# ---- going on where it ended ----

# The layer's connection is cut once; then what a request with a Range is answered is sick, this often.
cut_then() { # fault as JSON members, times
	sick "{$AT_LAYER, \"do\": \"cut\", \"at\": 300000, \"by\": \"reset\", \"times\": 1}" \
		"{$AT_LAYER, \"ranged\": true, \"times\": ${2:-100}, $1}"
}

@test "all of the blob, where a part was wanted: taken from the beginning" {
	cut_then '"do": "no_ranges"'
	gets_over_it
	assert_sent_at_most $((2 * SIZE + SLACK)) "$OF_LAYER"
}

@test "another part than the one wanted: not taken for it" {
	cut_then '"do": "other_range", "by": 1000'
	gets_over_it_or_gives_up 'range|digest'
	anew
	cut_then '"do": "other_range", "by": -1000' 1
	gets_over_it_or_gives_up 'range|digest'
}

@test "a part without a word on which: not taken for it" {
	cut_then '"do": "headers", "headers": {"Content-Range": null}'
	gets_over_it_or_gives_up 'range|digest'
	anew
	cut_then '"do": "headers", "headers": {"Content-Range": "bytes 99999999999999999999-1/zero"}'
	gets_over_it_or_gives_up 'range|digest'
}

@test "the blob has become another one meanwhile: refused, and begun anew where that helps" {
	cut_then '"do": "another_blob"'
	gets_over_it_or_gives_up 'digest|damaged|corrupt|invalid'
	anew
	cut_then '"do": "another_blob"' 1
	gets_over_it_or_gives_up 'digest|damaged|corrupt|invalid'
}

@test "no such part (416): begun anew" {
	cut_then '"do": "no_such_range"'
	gets_over_it_or_gives_up '416|range'
}

@test "a sick part now, a sound registry later: the next pull mends it" {
	sick "{$AT_LAYER, \"do\": \"cut\", \"at\": 300000, \"by\": \"reset\", \"times\": 1}" \
		"{$AT_LAYER, \"do\": \"another_blob\", \"times\": 1}"
	run pull --retry 0
	run pull --retry 0
	gets_over_it
}
