# SPDX-License-Identifier: Apache-2.0
#
# A dockerd of our own whose layers are kept by our graphdriver plugin. Loaded after common, behaviour and registry
# (whose eventually these use).
#
#   machine_start                 namespaces of mounts and processes, with a /run and an /etc of their own; all that is
#                                 started in them, and mounted, is gone when they are
#   machine_stop                  a power cut; /run is empty afterwards
#   plugin_start [argument...]    starts "overlaid serve --docker" there, on this test's store
#   plugin_stop, plugin_kill
#   dockerd_start [argument...]   starts dockerd there; nothing of the machine's network is changed
#   dockerd_stop, dockerd_kill
#   d ARGUMENT...                 docker, of that dockerd
#   inside COMMAND...             beside them
#   ov ARGUMENT...                the program, there, on the store
#
# T is the directory of it all: with docker_setup the test's own, with docker_setup_file one for all tests of a file.
#
#   DOCKER_FROM=trixie     dockerd, containerd and docker of the Debian in TRIXIE, with this one's runc; else this one's
#   DOCKER_RIG=builtin     dockerd's own overlay2: what tests is tried with it
#   DOCKER_RIG=reference   the same, behind the socket of a plugin (tests/runtimes/docker/reference)
#
# What only our plugin can do, or shows in our store, is skipped with these (need_our_plugin).

DOCKER_GO_TOOLS=${TOOLS%/tools}/runtimes/docker
PLUGIN=overlaid

# ---- what these tests need ----

our_plugin() {
	[ -z "${DOCKER_RIG-}" ]
}

need_our_plugin() { # what for
	our_plugin || skip "$1: not with DOCKER_RIG=$DOCKER_RIG"
}

# The reason why a dockerd cannot be started here; nothing where it can.
docker_lacks() {
	local command
	[ "$(id -u)" = 0 ] || { echo "needs root" && return; }
	for command in jq docker-registry runc docker-init nsenter unshare setpriv; do
		command -v $command >/dev/null || { echo "needs $command (scripts/setup --test)" && return; }
	done
	[ -x /usr/bin/docker ] || { echo "needs /usr/bin/docker (scripts/setup --test)" && return; }
	case ${DOCKER_FROM-} in
	'') [ -x /usr/sbin/dockerd ] || echo "needs /usr/sbin/dockerd (scripts/setup --test)" ;;
	trixie) [ -x "${TRIXIE-}/usr/sbin/dockerd" ] || echo "needs TRIXIE (make check-runtimes)" ;;
	*) echo "DOCKER_FROM=$DOCKER_FROM is not known" ;;
	esac
	case ${DOCKER_RIG-} in
	'') "$OVERLAID" serve --help 2>&1 | grep -q -e --docker || echo "needs overlaid serve --docker" ;;
	reference) [ -x "$DOCKER_GO_TOOLS/reference" ] || echo "needs make runtimes-tools" ;;
	builtin) ;;
	*) echo "DOCKER_RIG=$DOCKER_RIG is not known" ;;
	esac
}

need_docker() {
	local lack
	lack=$(docker_lacks | head -n 1)
	[ -z "$lack" ] || skip "$lack"
	# Of sockets in it.
	[ ${#T} -lt 80 ] || skip "the path of TMPDIR is too long for sockets: $T"
}

# Where everything is, below a directory.
docker_paths() { # directory
	T=$1 ROOT=$1/root RUN=$1/run
	STORE_DRIVER=$PLUGIN
	[ "${DOCKER_RIG-}" != builtin ] || STORE_DRIVER=overlay2
	# Of containers' cgroups: ours are told from others by it.
	NAMESPACE=overlaid-docker-$(cksum <<<"$T" | cut -d ' ' -f 1)
	export T ROOT RUN STORE_DRIVER NAMESPACE
}

# Call it in setup, for a machine for each test, with docker_teardown in teardown.
docker_setup() {
	common_setup
	docker_paths "$BATS_TEST_TMPDIR"
	need_docker
}

# Ends what is left of it, however the test went.
docker_teardown() {
	machine_stop
	common_teardown
}

# For tests that share one: in setup_file, which cannot skip, where it succeeds; the tests do (docker_setup_shared, in
# setup). In teardown_file machine_stop.
docker_setup_file() {
	docker_paths "$BATS_FILE_TMPDIR"
	[ -z "$(docker_lacks)" ]
}

docker_setup_shared() {
	common_setup
	docker_paths "$BATS_FILE_TMPDIR"
	need_docker
	[ ! -e "$T/skip" ] || skip "$(<"$T/skip")"
}

# What tests that share one put in teardown: the containers of one test are not in the way of the next.
remove_containers() {
	local ids
	ids=$(d ps --all --quiet) || return 0
	# shellcheck disable=SC2086 # a list of ids
	[ -z "$ids" ] || d rm --force --volumes $ids >/dev/null
}

# ---- the machine ----

# /etc is written to (dockerd's key, users); its changes are kept out of the real one. The first process waits for
# those whose parents are gone. ETC, if set, is a command to be run there before anything else.
machine_start() {
	mkdir -p "$T/machine/etc" "$T/machine/work" "$T/config" "$T/bin"
	rm -f "$T/machine/ready"
	link_programs
	# shellcheck disable=SC2016 # the inner shell's
	T=$T ETC=${ETC-} setpriv --pdeathsig KILL unshare --mount --propagation private --pid --fork --kill-child --mount-proc bash -ec '
		mount -t tmpfs overlaid-test /run
		mount -t overlay -o "lowerdir=/etc,upperdir=$T/machine/etc,workdir=$T/machine/work" overlay /etc
		mkdir -p /run/docker/plugins /etc/docker/plugins
		eval "$ETC"
		: >"$T/machine/ready"
		exec docker-init -- sleep infinity' </dev/null >"$T/machine/output" 2>&1 3>&- 4>&- &
	echo $! >"$T/machine/pid"
	until_served "$T/machine" test -e "$T/machine/ready"
	tr -d ' ' <"/proc/$!/task/$!/children" >"$T/machine/init"
}

# Docker's own programs, of whichever Debian, come before the others.
link_programs() {
	local from='' name
	[ "${DOCKER_FROM-}" != trixie ] || from=$TRIXIE
	for name in dockerd docker docker-proxy docker-init containerd containerd-shim containerd-shim-runc-v2 ctr; do
		for dir in /usr/sbin /usr/bin; do
			[ ! -x "$from$dir/$name" ] || ln -sfn "$from$dir/$name" "$T/bin/$name"
		done
	done
}

machine_stop() {
	local pid status=0
	[ -e "$T/machine/pid" ] || return 0
	pid=$(<"$T/machine/pid")
	kill -KILL "$(<"$T/machine/init")" 2>/dev/null || kill -KILL "$pid" 2>/dev/null || true
	rm -f "$T/machine/pid" "$T/machine/init" "$T/dockerd/inner" "$T/plugin/inner"
	eventually gone "$pid" || status=1
	eventually no_cgroups || status=1
	return $status
}

gone() { # pid
	! kill -0 "$1" 2>/dev/null || [[ $(ps -o stat= -p "$1") == Z* ]]
}

# runc leaves the directories above those of containers.
no_cgroups() {
	find /sys/fs/cgroup -mindepth 1 -maxdepth 4 -depth -type d -path "*/$NAMESPACE*" -exec rmdir {} + 2>/dev/null
	[ -z "$(find /sys/fs/cgroup -mindepth 1 -maxdepth 4 -type d -path "*/$NAMESPACE*")" ]
}

inside() { # command...
	nsenter --target "$(<"$T/machine/init")" --mount --pid --wd=/ -- "$@"
}

# Mounts are those of this namespace.
ov() { # argument...
	if [ -e "$T/machine/init" ]; then
		inside "$OVERLAID" --root "$ROOT" --run "$RUN" "$@"
	else
		"$OVERLAID" --root "$ROOT" --run "$RUN" "$@"
	fi
}

# Starts a command there. DIRECTORY/output has what it says, DIRECTORY/inner its process id there, and
# DIRECTORY/status, when it has ended, how.
spawn() { # name of a directory, command...
	local dir=$T/$1
	shift
	mkdir -p "$dir"
	rm -f "$dir/inner" "$dir/status"
	# shellcheck disable=SC2016 # the inner shell's
	{
		status=0
		PATH=$T/bin:$PATH inside bash -c 'echo $$ >"$0/inner"; exec "$@"' "$dir" "$@" || status=$?
		echo $status >"$dir/status"
	} </dev/null >>"$dir/output" 2>&1 3>&- 4>&- &
	echo $! >"$dir/pid"
}

# It must end by itself and well, when told to.
spawned_stop() { # name
	spawned_signal TERM "$1"
	eventually test -e "$T/$1/status" || fail "$1 does not end: $(tail -n 20 "$T/$1/output")" || return 1
	rm "$T/$1/inner"
	[ "$(<"$T/$1/status")" = 0 ] || fail "$1 ended with $(<"$T/$1/status"): $(tail -n 20 "$T/$1/output")"
}

spawned_kill() { # name
	spawned_signal KILL "$1"
	eventually test -e "$T/$1/status"
	rm "$T/$1/inner"
}

spawned_signal() { # signal, name
	inside kill -s "$1" "$(<"$T/$2/inner")"
}

# Processes that live there, but for the first two and this one.
processes() {
	inside ps -e -o comm=,args= | grep -vE '^[^ ]+ +(docker-init -- sleep infinity|sleep infinity|ps -e .*)$' || true
}

# ---- the plugin ----

# As the argument of --docker: SOCKET, or its name.
plugin_start() { # argument...
	local socket=${SOCKET-$PLUGIN} path before
	path=$socket
	[[ $socket == */* ]] || path=/run/docker/plugins/$socket.sock
	before=$(inside stat -c %i "$path" 2>/dev/null) || true
	case ${DOCKER_RIG-} in
	builtin) return 0 ;;
	reference) spawn plugin "$DOCKER_GO_TOOLS/reference" --socket "$path" --state "$T/reference-state" ;;
	*) spawn plugin "$OVERLAID" --root "$ROOT" --run "$RUN" serve --docker "$socket" "$@" ;;
	esac
	until_served "$T/plugin" new_socket "$path" "$before"
}

# One that was killed leaves its own.
new_socket() { # path, inode of the one before
	local inode
	inode=$(inside stat -c %i "$1" 2>/dev/null) && [ "$inode" != "$2" ]
}

plugin_stop() {
	[ "${DOCKER_RIG-}" = builtin ] || spawned_stop plugin
}

plugin_kill() {
	[ "${DOCKER_RIG-}" = builtin ] || spawned_kill plugin
}

plugin_signal() { # signal
	[ "${DOCKER_RIG-}" = builtin ] || spawned_signal "$1" plugin
}

# ---- dockerd ----

dockerd_start() { # argument...
	dockerd_spawn "$@"
	until_served "$T/dockerd" dockerd_answers
}

# Without waiting for it.
dockerd_spawn() { # argument...
	[ -e "$T/daemon.json" ] || echo '{}' >"$T/daemon.json"
	spawn dockerd dockerd --config-file "$T/daemon.json" --experimental --storage-driver "$STORE_DRIVER" \
		--data-root "$T/data" -H "unix://$T/s" --bridge none --iptables=false --ip6tables=false --ip-forward=false \
		--ip-masq=false --exec-opt native.cgroupdriver=cgroupfs --cgroup-parent "/$NAMESPACE" "$@"
}

dockerd_answers() {
	d version >/dev/null 2>&1
}

dockerd_stop() {
	spawned_stop dockerd
}

# containerd is told by the kernel to end with it; only then it can be started again.
dockerd_kill() {
	spawned_kill dockerd
	eventually no_containerd
	inside rm -f /run/docker.pid /run/docker/containerd/containerd.pid
}

no_containerd() {
	! processes | grep -q '^containerd '
}

# No proxy, no credentials.
d() { # argument...
	DOCKER_CONFIG=$T/config timeout --kill-after=5 120 "$T/bin/docker" -H "unix://$T/s" "$@"
}

# A container needs a command that ends when told to, or it takes ten seconds.
d_run() { # argument of docker run...
	d run --network none "$@"
}

d_start() { # name, image, argument...
	d run --detach --network none --stop-signal KILL --name "$@" >/dev/null
}

# One of BuildKit, and one of the builder before it. For BuildKit Docker 26 wants a further program; the older docker
# does without.
d_build() { # argument of docker build...
	DOCKER_BUILDKIT=0 d build --network none "$@" 2>&1
}

d_buildkit() { # argument of docker build...
	DOCKER_BUILDKIT=1 DOCKER_CONFIG=$T/config timeout --kill-after=5 120 /usr/bin/docker -H "unix://$T/s" \
		build --progress plain --network none "$@" 2>&1
}

# ---- images ----

# An archive of layers of make_images: localhost/NAME:1, whose command says "from NAME".
docker_archive() { # name, layer...
	local name=$1
	shift
	[ -e "$T/$name.tar" ] || mkimage "$T/$name.tar" --docker-archive --ref "localhost/$name:1" \
		--cmd '["sh","-c","echo from '"$name"'"]' --env PATH=/bin --env COLOR=red --created 2024-01-01T00:00:00Z \
		"${@/#/$IMAGES/layers/}"
	echo "$T/$name.tar"
}

# localhost/one:1 is there, and its layers.
have_one() {
	[ -n "$(d images --quiet localhost/one:1)" ] ||
		d load --quiet --input "$(docker_archive one shell first second one)" >/dev/null
}

layers_of() { # image: diffIDs, lowest first
	d image inspect --format '{{range .RootFS.Layers}}{{println .}}{{end}}' "$1" | sed '/^$/d'
}

# The digests of layers in an archive that docker saved, lowest first.
saved_layers() { # archive, new directory
	local layer
	mkdir "$2"
	tar -C "$2" -xf "$1"
	jq -r '.[0].Layers[]' "$2/manifest.json" | while read -r layer; do
		sha256sum <"$2/$layer" | sed 's/\(.*\)  -/sha256:\1/'
	done
}

# ---- what is left ----

# Mounts of layers there: all overlays but /etc.
layer_mounts() {
	# shellcheck disable=SC2016 # awk's
	inside awk '{ for (i = 7; $i != "-"; i++); if ($(i + 1) == "overlay" && $5 != "/etc") print $5 }' /proc/self/mountinfo
}

no_layer_mounts() {
	[ -z "$(layer_mounts)" ]
}

# Of how many layers and containers dockerd or the store has something.
docker_rows() {
	if our_plugin; then
		[ ! -e "$ROOT/graph.db" ] || sql 'SELECT (SELECT count(*) FROM keyed) + (SELECT count(*) FROM layer) +
			(SELECT count(*) FROM image) + (SELECT count(*) FROM lease) + (SELECT count(*) FROM trash)'
	else
		docker_directories | wc -l
	fi
}

# Directories that hold a layer or a container's changes.
docker_directories() {
	if our_plugin; then
		find "$ROOT/layers/sha256" "$ROOT/snapshots" "$ROOT/staging" "$ROOT/trash" -mindepth 1 -maxdepth 1
	else
		find "$T/data" -maxdepth 4 -path "*/$STORE_DRIVER/*" -type d -name diff 2>/dev/null
	fi
}

# The same, sorted, once nothing is left to be deleted.
settled_directories() {
	! our_plugin || ov gc >/dev/null
	docker_directories | sort
}

nothing_is_stored() {
	[ "$(docker_rows)" = 0 ] && [ -z "$(docker_directories)" ] && no_layer_mounts
}

# Deleting goes on in the background.
assert_nothing_stored() {
	eventually nothing_is_stored || fail "left: $(docker_rows) rows; $(docker_directories); $(layer_mounts)"
}

# Nothing is made in our store, and all is deleted that has to be.
store_at_rest() {
	[ "$(sql 'SELECT count(*) FROM trash')" = 0 ] && [ -z "$(names_in "$ROOT/staging")$(names_in "$ROOT/trash")" ]
}

assert_sound_at_rest() {
	eventually store_at_rest
	assert_store_sound
}

# Everything that docker has, is removed.
remove_everything() {
	remove_containers
	remove_images
	d builder prune --all --force >/dev/null
	d volume prune --force >/dev/null
}

# A parent goes after its children.
remove_images() {
	local ids before=
	while ids=$(d images --all --quiet | sort -u) && [ -n "$ids" ]; do
		[ "$ids" != "$before" ] || fail "images stay: $ids" || return 1
		before=$ids
		# shellcheck disable=SC2086 # a list of ids
		d rmi --force $ids >/dev/null 2>&1 || true
	done
}
