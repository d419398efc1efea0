#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
#
# dockerd with --userns-remap: root of a container is somebody else outside. All tests have one dockerd.

load ../../lib/common
load ../../lib/behaviour
load ../../lib/registry
load ../../lib/dockerd

setup_file() {
	docker_setup_file || return 0
	make_images
	ETC='
		echo "remapped:x:4242:4242::/:/bin/false" >>/etc/passwd
		echo "remapped:x:4242:" >>/etc/group
		echo "remapped:400000:65536" >/etc/subuid
		echo "remapped:500000:65536" >/etc/subgid' machine_start
	# Those who are somebody else have to get to it.
	open_path "$T"
	plugin_start
	dockerd_start --userns-remap remapped
}

open_path() { # directory
	local dir=$1
	while [[ $dir == "$BATS_RUN_TMPDIR"* ]]; do
		chmod o+x "$dir"
		dir=${dir%/*}
	done
}

teardown_file() {
	docker_setup_file || return 0
	machine_stop
}

setup() {
	docker_setup_shared
	ONE=localhost/one:1
	HERE=$BATS_TEST_TMPDIR
}

teardown() {
	[ -e "$T/machine/pid" ] || return 0
	remove_containers
}

@test "root of a container is another one outside" {
	have_one
	d_start web $ONE sleep 1000
	assert_equal "$(d exec web sh -c 'echo x >/srv/x; id -u; stat -c %u:%g /srv/x /etc/passwd')" $'0\n0:0\n0:0'
	assert_equal "$(d exec --user app web sh -c 'touch /tmp/mine; stat -c %u:%g /tmp/mine')" 1000:1000
	local root
	root=$(d inspect --format '{{.GraphDriver.Data.MergedDir}}' web)
	assert_equal "$(inside stat -c %u:%g "$root/srv/x" "$root/etc/passwd" "$root/tmp/mine" "$root")" \
		$'400000:500000\n400000:500000\n401000:501000\n400000:500000'
	assert_match "$(inside cat "/proc/$(d inspect --format '{{.State.Pid}}' web)/uid_map")" '^ +0 +400000 +65536$'
	assert_equal "$(d diff web | sort)" $'A /srv/x\nA /tmp/mine\nC /srv\nC /tmp'
}

@test "a layer has the tar's owners, in as out" {
	tar -C "$IMAGES/layers/shell" --sort=name --owner=5:5 --group=6:6 -cf "$HERE/in.tar" .
	d import --change 'ENV PATH=/bin' "$HERE/in.tar" localhost/imported:1 >/dev/null
	assert_equal "$(d_run --rm --user 5:6 localhost/imported:1 stat -c %u:%g /etc/passwd)" 5:6
	d save --output "$HERE/out.tar" localhost/imported:1
	assert_same <(layers_of localhost/imported:1) <(saved_layers "$HERE/out.tar" "$HERE/out")
	d rmi localhost/imported:1 >/dev/null
}

@test "commit: owners in the image are those in the container" {
	have_one
	d_run --name web $ONE sh -c 'echo a >/srv/a; busybox chown 1000:2000 /srv/a; rm /etc/one; touch /srv/root'
	d commit web localhost/mine:1 >/dev/null
	d save --output "$HERE/mine.tar" localhost/mine:1
	assert_same <(layers_of localhost/mine:1) <(saved_layers "$HERE/mine.tar" "$HERE/mine")
	tar --numeric-owner -tvf "$HERE/mine/$(jq -r '.[0].Layers[-1]' "$HERE/mine/manifest.json")" >"$HERE/names"
	assert_equal "$(awk '{ print $2, $6 }' "$HERE/names" | grep -E '(srv/(a|root)|one)$')" $'0/0 etc/.wh.one\n1000/2000 srv/a\n0/0 srv/root'
	assert_equal "$(d_run --rm localhost/mine:1 stat -c %u:%g /srv/a /srv/root)" $'1000:2000\n0:0'
	d rm web >/dev/null
	d rmi localhost/mine:1 >/dev/null
}

@test "cp into a container makes files of its root" {
	have_one
	echo x >"$HERE/x"
	d_start web $ONE sleep 1000
	d cp "$HERE/x" web:/srv/x
	assert_equal "$(d exec web stat -c %u:%g /srv/x)" 0:0
	d exec web sh -c 'echo y >/srv/x'
	d cp web:/srv/x "$HERE/y"
	assert_equal "$(<"$HERE/y")" y
}

built() { # image
	assert_equal "$(d_run --rm "$1" sh -c 'cat /srv/ran /srv/file; stat -c %u:%g /srv/ran /srv/file /srv/mine')" $'ran\nfile\n0:0\n1000:2000\n1000:1000'
	d rmi "$1" >/dev/null
}

@test "build, of both kinds" {
	have_one
	mkdir "$HERE/c"
	echo file >"$HERE/c/file"
	cat >"$HERE/c/Dockerfile" <<-'END'
		FROM localhost/one:1
		RUN echo ran >/srv/ran && busybox chmod 1777 /srv
		COPY --chown=app:extra file /srv/
		USER app
		RUN touch /srv/mine
	END
	succeeds d_build --tag localhost/built:1 "$HERE/c"
	built localhost/built:1
	succeeds d_buildkit --tag localhost/built:2 "$HERE/c"
	built localhost/built:2
	d image prune --force >/dev/null
	d builder prune --all --force >/dev/null
}

@test "owners that are nobody in the container are refused, and leave nothing" {
	local before
	before=$(settled_directories)
	tar -C "$IMAGES/layers/shell" --owner=70000:70000 -cf "$HERE/in.tar" .
	run d import "$HERE/in.tar" localhost/imported:1
	[ "$status" != 0 ]
	assert_equal "$(d images --quiet localhost/imported)" ""
	eventually same_directories "$before"
}

same_directories() { # as they were
	[ "$(docker_directories | sort)" = "$1" ]
}

@test "dockerd and the plugin start again" {
	have_one
	d_run --name web $ONE sh -c 'echo x >/srv/x'
	spawned_stop dockerd
	plugin_stop
	plugin_start
	dockerd_start --userns-remap remapped
	d start --attach web
	assert_equal "$(d_run --rm $ONE stat -c %u:%g /etc/name)" 0:0
	d cp web:/srv/x "$HERE/x"
	assert_equal "$(<"$HERE/x")" x
	# They end with this test.
	remove_everything
	assert_nothing_stored
	dockerd_stop
	plugin_stop
	assert_equal "$(processes)" ""
	assert_equal "$(layer_mounts)" ""
}
