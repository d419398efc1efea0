# SPDX-License-Identifier: Apache-2.0
#
# A graphdriver plugin on a socket of the test's own. Loaded after common, behaviour and registry (whose eventually and
# until_served these use).
#
#   docker_start [argument...]   starts "overlaid serve --docker" on $SOCKET with this test's store
#   docker_stop, docker_kill
#   call METHOD [JSON]           one call
#
# With DOCKER_RIG=reference the plugin is moby's overlay2 driver behind the same protocol: what tests is tried against
# it. Layers are kept below $T, whichever it is.

DOCKER_GO_TOOLS=${TOOLS%/tools}/runtimes/docker
CALL=$DOCKER_GO_TOOLS/call

ours() {
	[ "${DOCKER_RIG-}" != reference ]
}

# Call it in setup. T is this test's directory; the names of sockets have to be short.
docker_setup() {
	common_setup
	need_root
	need jq setpriv tar
	[ -x "$CALL" ] || skip "needs make runtimes-tools: golang-go, golang-github-docker-docker-dev (scripts/setup --test)"
	! ours || "$OVERLAID" serve --help 2>&1 | grep -q -e --docker || skip "needs overlaid serve --docker"
	T=$BATS_TEST_TMPDIR SOCKET=$BATS_TEST_TMPDIR/plugin
	# The root of a container in a user namespace has to get there.
	chmod 0711 "$BATS_RUN_TMPDIR" "$BATS_RUN_TMPDIR/test" "$T"
	[ ${#SOCKET} -lt 90 ] || skip "the path of TMPDIR is too long for sockets: $SOCKET"
	mkdir -p "$T/served" "$T/home"
}

# Call it in teardown. It ends what is left of the test, however that went.
docker_teardown() {
	[ "$(id -u)" = 0 ] || return 0
	local status=0
	docker_stop || status=1
	common_teardown || status=1
	return $status
}

docker_start() { # argument...
	local command=("$OVERLAID" --root "$ROOT" --run "$RUN" serve --docker "$SOCKET" "$@")
	ours || command=("$DOCKER_GO_TOOLS/reference" --socket "$SOCKET" --log-times "$T/served/times")
	setpriv --pdeathsig KILL "${command[@]}" </dev/null >>"$T/served/output" 2>&1 3>&- 4>&- &
	echo $! >"$T/served/pid"
	until_served "$T/served" accepting
}

accepting() {
	call Activate >/dev/null 2>&1
}

call() { # method, JSON
	"$CALL" "$SOCKET" "$@"
}

# dockerd's first words.
docker_init() {
	call Init "$(jq -nc --arg home "$T/home/driver" '{Home: $home, Opts: null, UIDMaps: null, GIDMaps: null}')" >/dev/null
}

# It must end by itself and well, when told to, and take its socket along.
docker_stop() {
	local pid status=0
	[ -e "$T/served/pid" ] || return 0
	pid=$(<"$T/served/pid")
	rm "$T/served/pid"
	kill -TERM "$pid" 2>/dev/null || true
	wait_at_most 30 "$pid" || status=$?
	[ $status = 0 ] || fail "the plugin ended with $status: $(tail -n 20 "$T/served/output")" || return 1
	assert_missing "$SOCKET"
}

docker_kill() {
	local pid
	pid=$(<"$T/served/pid")
	rm "$T/served/pid"
	kill -KILL "$pid"
	wait "$pid" 2>/dev/null || true
}

# ---- what is left ----

# Of layers that were all removed nothing is kept, and nothing is mounted.
assert_nothing_kept() {
	eventually nothing_stored || fail "left: $(stored)"
	assert_equal "$(mounts_below "$T")" ""
}

# Layers are removed in the background, for which nobody waits here.
stored() {
	if ours; then
		[ ! -e "$ROOT/graph.db" ] || ov layers -q
		find "$ROOT/layers" "$ROOT/snapshots" "$ROOT/trash" "$ROOT/staging" -mindepth 1 \
			! -path "$ROOT/layers/sha256" 2>/dev/null || true
	else
		find "$T" -mindepth 1 -path '*/driver/*' ! -path '*/driver/l' ! -path '*/driver/l/*' 2>/dev/null || true
	fi
}

nothing_stored() {
	[ -z "$(stored)" ]
}
