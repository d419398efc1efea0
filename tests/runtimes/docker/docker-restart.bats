#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
#
# dockerd and our graphdriver plugin end, are killed and start again, in any order, with containers running or not.

load ../../lib/common
load ../../lib/behaviour
load ../../lib/registry
load ../../lib/dockerd

setup_file() {
	[ "$(id -u)" = 0 ] || return 0
	make_images
}

setup() {
	docker_setup
	ONE=localhost/one:1
	machine_start
}

teardown() {
	docker_teardown
}

both_start() { # argument of dockerd...
	plugin_start
	dockerd_start "$@"
}

both_start_with_one() { # argument of dockerd...
	both_start "$@"
	have_one
}

# A container that writes all the time.
ticker_start() {
	d_start web $ONE sh -c 'echo hello >/srv/said; while :; do echo tick >>/srv/ticks; sleep 0.05; done'
	PID=$(d inspect --format '{{.State.Pid}}' web)
	MERGED=$(layer_mounts)
	eventually ticking
}

# Seen from beside it, whether docker is there or not.
ticks() {
	inside sh -c "wc -l <\"/proc/$PID/root/srv/ticks\"" 2>/dev/null || echo 0
}

more_ticks() { # than
	[ "$(ticks)" -gt "$1" ]
}

ticking() {
	more_ticks 0
}

# It goes on, on the same root.
assert_ticking() {
	eventually more_ticks "$(ticks)" || fail "the container does not go on"
	assert_equal "$(inside cat "/proc/$PID/root/srv/said")" hello
	assert_contains "$(layer_mounts)" "$MERGED"
}

# Docker has it too, can do everything with it, and can end it.
assert_works_and_ends() {
	assert_equal "$(d ps --format '{{.Names}}')" web
	assert_equal "$(d exec web cat /srv/said /etc/name)" $'hello\none'
	d cp web:/srv/said "$T/said"
	assert_equal "$(<"$T/said")" hello
	d diff web | grep -qx 'A /srv/said'
	d commit web localhost/mine:1 >/dev/null
	# None of this has taken its root away.
	assert_ticking
	d stop web >/dev/null
	eventually no_layer_mounts || fail "still mounted: $(layer_mounts)"
	d start web >/dev/null
	assert_equal "$(d exec web cat /srv/said)" hello
	d kill web >/dev/null
	d wait web >/dev/null
	eventually no_layer_mounts || fail "still mounted: $(layer_mounts)"
	assert_equal "$(d_run --rm localhost/mine:1 cat /srv/said)" hello
}

assert_all_can_go() {
	remove_everything
	assert_nothing_stored
	dockerd_stop
	plugin_stop
	assert_equal "$(processes)" ""
	assert_equal "$(layer_mounts)" ""
}

# ---- dockerd ----

@test "dockerd ends with its containers, and starts again with what they wrote" {
	both_start_with_one
	ticker_start
	d_run --name old $ONE sh -c 'echo old >/srv/old'
	dockerd_stop
	assert_equal "$(layer_mounts)" ""
	dockerd_start
	assert_equal "$(d ps --all --format '{{.Names}}' | sort | paste -sd ' ')" "old web"
	assert_equal "$(d ps --quiet)" ""
	assert_equal "$(d_run --rm $ONE)" "from one"
	d cp old:/srv/old "$T/old"
	assert_equal "$(<"$T/old")" old
	d start web >/dev/null
	assert_equal "$(d exec web cat /srv/said)" hello
	d kill web >/dev/null
	d wait web >/dev/null
	eventually no_layer_mounts
	assert_all_can_go
}

@test "dockerd ends and starts again under a container that goes on (live-restore)" {
	both_start_with_one --live-restore
	ticker_start
	dockerd_stop
	assert_ticking
	dockerd_start --live-restore
	assert_ticking
	assert_works_and_ends
	assert_all_can_go
}

@test "dockerd is killed: its containers end at its next start, and start again" {
	both_start_with_one
	ticker_start
	dockerd_kill
	dockerd_start
	assert_equal "$(d ps --quiet)" ""
	eventually no_layer_mounts || fail "still mounted: $(layer_mounts)"
	d start web >/dev/null
	assert_equal "$(d exec web cat /srv/said)" hello
	assert_equal "$(layer_mounts | wc -l)" 1
	d kill web >/dev/null
	d wait web >/dev/null
	eventually no_layer_mounts
	assert_all_can_go
}

@test "dockerd is killed under a container that goes on (live-restore)" {
	both_start_with_one --live-restore
	ticker_start
	dockerd_kill
	assert_ticking
	dockerd_start --live-restore
	assert_works_and_ends
	assert_all_can_go
}

@test "dockerd is killed while images come: they come again, and nothing is left of the first time" {
	local number
	both_start
	docker_archive one shell first second one >/dev/null
	for number in 1 2 3 4; do
		d load --input "$T/one.tar" >/dev/null 2>&1 3>&- &
		sleep "0.$(printf %03d $((RANDOM % 150)))"
		dockerd_kill
		wait $! || true
		dockerd_start
	done
	have_one
	assert_equal "$(d_run --rm $ONE)" "from one"
	d save --output "$T/saved.tar" $ONE
	assert_same <(layers_of $ONE) <(saved_layers "$T/saved.tar" "$T/saved")
}

# ---- the plugin ----

@test "the plugin ends and starts again under a running container" {
	both_start_with_one
	ticker_start
	plugin_stop
	assert_ticking
	plugin_start
	assert_ticking
	assert_works_and_ends
	assert_all_can_go
}

@test "the plugin is killed and starts again under a running container" {
	both_start_with_one
	ticker_start
	plugin_kill
	assert_ticking
	plugin_start
	assert_works_and_ends
	assert_all_can_go
}

@test "the plugin is killed and starts again, and the first thing is that the container ends" {
	both_start_with_one
	ticker_start
	plugin_kill
	plugin_start
	d kill web >/dev/null
	d wait web >/dev/null
	eventually no_layer_mounts || fail "still mounted: $(layer_mounts)"
	assert_all_can_go
}

@test "the plugin is killed again and again: counts stay right" {
	local number
	both_start_with_one
	ticker_start
	for number in 1 2 3; do
		plugin_kill
		plugin_start
		d cp web:/srv/said - | tar -xO >"$T/said"
		assert_equal "$(<"$T/said")" hello
		d_run --rm $ONE true
	done
	assert_ticking
	assert_works_and_ends
	assert_all_can_go
}

@test "what docker asks while the plugin is away is done when it is back" {
	both_start_with_one
	plugin_stop
	inside test ! -e "/run/docker/plugins/$PLUGIN.sock"
	d_run --rm $ONE >"$T/said" 2>&1 3>&- &
	local client=$!
	if [ "${DOCKER_RIG-}" != builtin ]; then
		eventually grep -q "Unable to connect to plugin" "$T/dockerd/output"
	fi
	plugin_start
	wait $client
	assert_equal "$(<"$T/said")" "from one"
	assert_all_can_go
}

@test "the plugin is killed under load: commands may fail, and nothing is left of them" {
	local number pids=()
	both_start_with_one
	for number in 1 2 3 4 5 6; do
		{
			d_run --rm $ONE sh -c 'echo x >/srv/x; sleep 0.1'
			d_start "busy$number" $ONE sh -c 'echo x >/srv/x'
			d commit "busy$number" "localhost/busy:$number"
		} >"$T/said.$number" 2>&1 3>&- &
		pids+=($!)
	done
	sleep "0.$(printf %03d $((RANDOM % 500)))"
	plugin_kill
	plugin_start
	wait "${pids[@]}" || true
	assert_equal "$(d_run --rm $ONE)" "from one"
	# Those whose removal had failed are removed now.
	dockerd_stop
	dockerd_start
	remove_everything
	eventually no_layer_mounts || fail "still mounted: $(layer_mounts)"
	dockerd_stop
	plugin_stop
	assert_equal "$(processes)" ""
}

@test "SIGHUP does not end the plugin" {
	need_our_plugin SIGHUP
	both_start_with_one
	ticker_start
	plugin_signal HUP
	assert_works_and_ends
	[ ! -e "$T/plugin/status" ] || fail "it ended: $(tail "$T/plugin/output")"
	assert_all_can_go
}

@test "both are killed under a container that goes on (live-restore)" {
	both_start_with_one --live-restore
	ticker_start
	dockerd_kill
	plugin_kill
	assert_ticking
	both_start --live-restore
	assert_works_and_ends
	assert_all_can_go
}

# ---- the machine ----

@test "after a power cut containers start again" {
	both_start_with_one
	ticker_start
	d_run --name old $ONE sh -c 'echo old >/srv/old'
	d commit old localhost/old:1 >/dev/null
	machine_stop
	rm -rf --one-file-system "$RUN"
	machine_start
	both_start
	assert_equal "$(d ps --all --format '{{.Names}}' | sort | paste -sd ' ')" "old web"
	assert_equal "$(d ps --quiet)" ""
	assert_equal "$(d_run --rm localhost/old:1 cat /srv/old)" old
	d start web >/dev/null
	assert_equal "$(d exec web cat /srv/said)" hello
	d kill web >/dev/null
	d wait web >/dev/null
	eventually no_layer_mounts || fail "still mounted: $(layer_mounts)"
	assert_equal "$(d diff old | sort)" $'A /srv/old\nC /srv'
	assert_all_can_go
}

@test "after a power cut while images were made, all images that are there are whole" {
	local number name
	both_start_with_one
	for number in 1 2 3 4; do
		{
			d_run --name "busy$number" $ONE sh -c 'busybox dd if=/dev/urandom of=/srv/random bs=1M count=3 2>/dev/null; busybox sha256sum /srv/random >/srv/sum'
			d commit "busy$number" "localhost/busy:$number"
		} >/dev/null 2>&1 3>&- &
	done
	eventually test -n "$(eventually busy_image && d images --quiet localhost/busy)"
	machine_stop
	wait $(jobs -p) 2>/dev/null || true
	rm -rf --one-file-system "$RUN"
	machine_start
	both_start
	for name in $(d images --format '{{.Repository}}:{{.Tag}}' localhost/busy); do
		d_run --rm "$name" busybox sha256sum -c /srv/sum
		d save --output "$T/saved.tar" "$name"
		assert_same <(layers_of "$name") <(saved_layers "$T/saved.tar" "$T/saved.${name##*:}")
	done
	remove_everything
	eventually no_layer_mounts
}

busy_image() {
	[ -n "$(d images --quiet localhost/busy)" ]
}

# ---- starting ----

need_socket() {
	[ "${DOCKER_RIG-}" != builtin ] || skip "a socket: not with DOCKER_RIG=builtin"
}

@test "dockerd waits for a plugin that starts after it" {
	need_socket
	dockerd_spawn
	eventually grep -qi 'plugin.*not found\|Unable to locate plugin\|unable to connect\|Unable to connect' "$T/dockerd/output"
	plugin_start
	until_served "$T/dockerd" dockerd_answers
	assert_equal "$(d info --format '{{.Driver}}')" "$STORE_DRIVER"
	dockerd_stop
}

@test "a plugin at another path is found by its .spec or .json" {
	need_socket
	SOCKET=$T/elsewhere plugin_start
	inside sh -c "echo 'unix://$T/elsewhere' >/etc/docker/plugins/$PLUGIN.spec"
	dockerd_start
	have_one
	assert_equal "$(d_run --rm $ONE)" "from one"
	dockerd_stop
	inside sh -c "rm /etc/docker/plugins/$PLUGIN.spec; echo '{\"Name\": \"$PLUGIN\", \"Addr\": \"unix://$T/elsewhere\"}' >/etc/docker/plugins/$PLUGIN.json"
	dockerd_start
	assert_equal "$(d_run --rm $ONE)" "from one"
	assert_all_can_go
	assert_missing "$T/elsewhere"
}

@test "an option that the driver does not know is refused, by its name" {
	plugin_start
	dockerd_spawn --storage-opt "$STORE_DRIVER.nonsense=1"
	eventually test -e "$T/dockerd/status"
	[ "$(<"$T/dockerd/status")" != 0 ]
	assert_contains "$(<"$T/dockerd/output")" "nonsense"
	dockerd_start
	have_one
	assert_equal "$(d_run --rm $ONE)" "from one"
	assert_all_can_go
}

# ---- what Docker 26 forgets: it keeps references that it had for this, with every driver ----

@test "export, and save of images that share layers" {
	both_start_with_one
	d_run --name web $ONE sh -c 'echo hello >/srv/said; rm /etc/one'
	d export --output "$T/web.tar" web
	assert_equal "$(tar -xOf "$T/web.tar" srv/said)" hello
	assert_equal "$(tar -xOf "$T/web.tar" etc/name)" one
	assert_equal "$(tar -xOf "$T/web.tar" bin/busybox | sha256sum)" "$(sha256sum </bin/busybox)"
	tar -tf "$T/web.tar" | sort >"$T/names"
	! grep -qx etc/one "$T/names"
	! grep -q 'opt/gone\|\.wh\.' "$T/names"
	d load --quiet --input "$(docker_archive two shell first second two more)" >/dev/null
	d save --output "$T/both.tar" $ONE localhost/two:1
	mkdir "$T/both"
	tar -C "$T/both" -xf "$T/both.tar"
	assert_same <(layers_of $ONE) <(jq -r '.[] | select(.RepoTags[0] == "localhost/one:1").Layers[]' "$T/both/manifest.json" |
		while read -r layer; do sha256sum <"$T/both/$layer" | sed 's/\(.*\)  -/sha256:\1/'; done)
	if [ "${DOCKER_FROM-}" = trixie ]; then
		remove_everything
		dockerd_stop
		assert_equal "$(layer_mounts)" ""
	else
		assert_all_can_go
	fi
}
