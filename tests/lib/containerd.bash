# SPDX-License-Identifier: Apache-2.0
#
# A snapshotter on a socket, and a containerd of our own that uses it. Loaded after common, behaviour and registry
# (whose start_server and eventually these use).
#
#   serve_start [argument...]       starts "overlaid serve --containerd" on $SOCKET with this test's store
#   serve_stop, serve_kill
#   containerd_start [argument...]  starts containerd, in process and mount namespaces that end with it
#   containerd_stop
#   ROOTFS=DIR                      before it: the containerd of the Debian in DIR
#   c ARGUMENT...                   ctr, of that containerd
#
# With CONTAINERD_RIG=reference the server is containerd's own snapshotter behind the same protocol: what tests is
# tried against it. What only ours can do is skipped then (need_ours).

GO_TOOLS=${TOOLS%/tools}/runtimes/containerd
CALL=$GO_TOOLS/call

# ---- what these tests need ----

need_go_tools() {
	[ -x "$CALL" ] || skip "needs make runtimes-tools: golang-go, golang-github-containerd-containerd-dev (scripts/setup --test)"
}

ours() {
	[ "${CONTAINERD_RIG-}" != reference ]
}

need_ours() { # what for
	ours || skip "$1: not with CONTAINERD_RIG=reference"
}

need_serve() {
	need_root
	need jq
	need_go_tools
	! ours || "$OVERLAID" serve --help 2>&1 | grep -q -e --containerd || skip "needs overlaid serve --containerd"
}

# Call it in setup. T is this test's directory; the names of sockets have to be short.
containerd_setup() {
	common_setup
	need_serve
	T=$BATS_TEST_TMPDIR
	SOCKET=$T/sn FILE=$BATS_FILE_TMPDIR
	CONTAINERD=$T/cd
	# Of containers' cgroups, and so of containerd's namespaces: ours are told from others by it.
	NAMESPACE=overlaid-test-$$-$BATS_TEST_NUMBER
	[ ${#SOCKET} -lt 90 ] || skip "the path of TMPDIR is too long for sockets: $SOCKET"
}

# Call it in teardown. It ends what is left of the test, however that went.
containerd_teardown() {
	[ "$(id -u)" = 0 ] || return 0
	local status=0
	containerd_stop || status=1
	serve_stop || status=1
	registries_end
	remove_cgroups || true
	common_teardown || status=1
	return $status
}

# ---- the snapshotter ----

# How the server is called, for those who start it themselves.
serve_command() { # root, run, socket, argument...
	local program=$OVERLAID root=$1 run=$2 socket=$3
	shift 3
	ours || program=$GO_TOOLS/reference
	SERVE_COMMAND=("$program" --root "$root" --run "$run" serve --containerd "$socket" "$@")
}

serve_start() { # argument...
	serve_command "$ROOT" "$RUN" "$SOCKET" "$@"
	mkdir -p "$T/serve"
	setpriv --pdeathsig KILL "${SERVE_COMMAND[@]}" </dev/null >>"$T/serve/output" 2>&1 3>&- 4>&- &
	echo $! >"$T/serve/pid"
	until_served "$T/serve" accepting "$SOCKET"
}

accepting() { # socket
	[ "$("$CALL" "$1" Snapshots/Stat '{"key": "nothing", "snapshotter": "overlaid"}' 2>&1 | cut -d : -f 1)" = NotFound ]
}

# It must end by itself and well, when told to.
serve_stop() {
	local pid status=0
	[ -e "$T/serve/pid" ] || return 0
	pid=$(<"$T/serve/pid")
	rm "$T/serve/pid"
	kill -TERM "$pid" 2>/dev/null || true
	wait_at_most 30 "$pid" || status=$?
	[ $status = 0 ] || fail "the server ended with $status: $(tail -n 20 "$T/serve/output")"
}

serve_kill() {
	local pid
	pid=$(<"$T/serve/pid")
	rm "$T/serve/pid"
	kill -KILL "$pid"
	wait "$pid" 2>/dev/null || true
}

call() { # method, JSON
	"$CALL" "$SOCKET" "$@"
}

# All that the snapshotter has, by any name it is called, as JSON.
snapshots() { # filter...
	call Snapshots/List "$(jq -nc --args '{snapshotter: "overlaid", filters: $ARGS.positional}' "$@")" | jq -c '.info // []'
}

snapshot_count() { # filter...
	snapshots "$@" | jq length
}

no_snapshots() {
	[ "$(snapshot_count)" = 0 ]
}

# How many files of a name the store has, in whatever directories.
stored() { # file's name
	find "$ROOT" -name "$1" | wc -l
}

nothing_stored() { # file's name
	[ "$(stored "$1")" = 0 ]
}

# ---- containerd ----

containerd_config() { # line... : more of it
	cat <<-END
		version = 2
		root = "$CONTAINERD/root"
		state = "$CONTAINERD/state"
		disabled_plugins = [
			"io.containerd.internal.v1.opt", "io.containerd.internal.v1.restart", "io.containerd.tracing.processor.v1.otlp",
			"io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper",
			"io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.blockfile", "io.containerd.nri.v1.nri",
			$(for plugin in "${DISABLED_PLUGINS[@]}"; do printf '"%s", ' "$plugin"; done)
		]
		[grpc]
		address = "$CONTAINERD/s"
		[ttrpc]
		address = "$CONTAINERD/t"
		[proxy_plugins.overlaid]
		type = "snapshot"
		address = "$SOCKET"
		[plugins."io.containerd.gc.v1.scheduler"]
		startup_delay = "10ms"
		schedule_delay = "0ms"
	END
	printf '%s\n' "$@"
}
DISABLED_PLUGINS=(io.containerd.grpc.v1.cri)

# What the kubelet speaks to; stands between containerd_config's lines.
cri_config() {
	local cri='[plugins."io.containerd.grpc.v1.cri"'
	mkdir -p "$CONTAINERD/cni"
	cat <<-END
		$cri]
		disable_tcp_service = true
		stream_server_address = "127.0.0.1"
		stream_server_port = "0"
		stats_collect_period = 1
		restrict_oom_score_adj = true
		disable_apparmor = true
		sandbox_image = "${PAUSE_IMAGE-localhost/pause:1}"
		$cri.cni]
		bin_dir = "$CONTAINERD/cni"
		conf_dir = "$CONTAINERD/cni"
		$cri.containerd]
		snapshotter = "overlaid"
		disable_snapshot_annotations = false
	END
}

# containerd is the child of a shell that is the first process of its namespace: all that it started, and mounted, is
# gone when that shell is. /run is empty there: the machine's own containerd is not met. With ROOTFS, another Debian,
# it is the containerd of that one, which is not written to; the test's directory is where it is outside. Not within
# "run" or "$(...)": it ends with the shell that starts it, at the latest.
containerd_start() { # argument...
	mkdir -p "$CONTAINERD/work" "$CONTAINERD/upper" "$CONTAINERD/rootfs"
	[ -e "$CONTAINERD/config.toml" ] || containerd_config >"$CONTAINERD/config.toml"
	# shellcheck disable=SC2016 # the inner shells'
	ROOTFS=${ROOTFS-} CONTAINERD=$CONTAINERD T=$T setpriv --pdeathsig KILL unshare --mount --propagation private --pid --fork --kill-child --mount-proc bash -c '
		set -e
		main=$1
		shift
		if [ -n "$ROOTFS" ]; then
			mount -t overlay -o "lowerdir=$ROOTFS,upperdir=$CONTAINERD/upper,workdir=$CONTAINERD/work" overlay "$CONTAINERD/rootfs"
			cd "$CONTAINERD/rootfs"
			for dir in proc sys dev; do mount --rbind "/$dir" "$dir"; done
			mkdir -p "./$T"
			mount --bind "$T" "./$T"
			# runc wants the root of the namespace to be the root.
			pivot_root . mnt
			exec chroot . bash -ec "umount --lazy /mnt; $main" bash "$@"
		fi
		exec bash -c "$main" bash "$@"' outer '
		mount -t tmpfs overlaid-test /run
		trap "kill -TERM \$child" TERM
		"$@" &
		child=$!
		until wait $child; status=$?; ! kill -0 $child 2>/dev/null; do :; done
		exit $status' containerd --config "$CONTAINERD/config.toml" "$@" \
		</dev/null >"$CONTAINERD/output" 2>&1 3>&- 4>&- &
	echo $! >"$CONTAINERD/pid"
	until_served "$CONTAINERD" containerd_answers
}

# The first process of its namespaces.
containerd_inner() {
	tr -d ' ' <"/proc/$(<"$CONTAINERD/pid")/task/$(<"$CONTAINERD/pid")/children" 2>/dev/null
}

# A command beside it.
inside() { # command...
	nsenter --target "$(containerd_inner)" --mount --pid --wd=/ -- "$@"
}

containerd_answers() {
	c version >/dev/null 2>&1
}

containerd_stop() {
	local outer inner
	[ -e "$CONTAINERD/pid" ] || return 0
	outer=$(<"$CONTAINERD/pid")
	inner=$(containerd_inner) || inner=
	rm "$CONTAINERD/pid"
	[ -z "$inner" ] || kill -TERM "$inner" 2>/dev/null || true
	wait_at_most 20 "$outer" >/dev/null || true
}

c() { # argument...
	local command=(timeout --kill-after=5 120 ctr --address "$CONTAINERD/s" --namespace "$NAMESPACE" "$@")
	if [ -n "${ROOTFS-}" ]; then inside "${command[@]}"; else "${command[@]}"; fi
}

# ctr's verbs that make snapshots.
c_import() { # archive
	c images import --snapshotter overlaid "$1"
}

c_pull() { # name
	c images pull --plain-http --snapshotter overlaid "$1" >"$T/pulled" || fail "$(cat "$T/pulled")"
}

c_run() { # argument of ctr run...
	c run --snapshotter overlaid --env PATH=/bin --fifo-dir "$T/fifo" --cgroup "/$NAMESPACE/$BATS_TEST_NUMBER-$RANDOM" "$@"
}

c_exec() { # container, command...
	c task exec --fifo-dir "$T/fifo" --exec-id "exec-$RANDOM" "$@"
}

# Ends a container and removes it.
c_end() { # container...
	local id
	for id; do
		c task rm --force "$id" >/dev/null 2>&1 || true
		c container rm "$id"
	done
}

# Whether a command succeeds after containerd collected garbage, for "eventually": when many containers end at once, its
# scheduler may miss the last.
collected() { # command...
	local id
	id=$(c leases create) && c leases delete --sync "$id" >/dev/null && "$@"
}

# runc leaves the directories above those of containers.
remove_cgroups() {
	find /sys/fs/cgroup -mindepth 1 -maxdepth 4 -depth -type d -path "*/$NAMESPACE*" -exec rmdir {} + 2>/dev/null
}

# The tar that ctr imports of an image of make_images.
archive_of() { # layout
	tar -C "$1" -cf "$T/${1##*/}.tar" .
	echo "$T/${1##*/}.tar"
}

# What a path of an image's mounted tree has.
c_tree() { # image, directory to mount it on
	mkdir -p "$2"
	c images mount --snapshotter "${SNAPSHOTTER-overlaid}" "$1" "$2" >/dev/null
	"$TOOLS/treels" "$2"
	c images unmount --rm "$2" >/dev/null
}
