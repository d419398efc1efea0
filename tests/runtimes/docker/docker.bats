#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
#
# What people do with docker, on layers that our graphdriver plugin keeps. All tests have one dockerd.

load ../../lib/common
load ../../lib/behaviour
load ../../lib/registry
load ../../lib/dockerd

setup_file() {
	docker_setup_file || return 0
	make_images
	machine_start
	plugin_start
	dockerd_start
}

teardown_file() {
	docker_setup_file || return 0
	registries_end
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
	registries_end
}

# ---- images that come and go ----

@test "it is the dockerd that was asked for, with our driver" {
	local version='^20\.'
	[ "${DOCKER_FROM-}" != trixie ] || version='^26\.'
	assert_match "$(d version --format '{{.Server.Version}}')" "$version"
	assert_equal "$(d info --format '{{.Driver}}')" "$STORE_DRIVER"
	# What docker info shows of a driver is its own words.
	[ "$(d info --format '{{len .DriverStatus}}')" -ge 1 ]
}

@test "load: an archive is an image of the same layers" {
	succeeds d load --input "$(docker_archive one shell first second one)"
	assert_contains "$output" "Loaded image: $ONE"
	assert_same <(diff_ids "$IMAGES/one") <(layers_of $ONE)
	assert_equal "$(d image inspect --format '{{.Size}}' $ONE | sed 's/.....$//')" "$(stat -c %s /bin/busybox | sed 's/.....$//')"
	# Again: nothing is added.
	local before
	before=$(settled_directories)
	d load --quiet --input "$T/one.tar" >/dev/null
	eventually same_directories "$before"
}

@test "load: images that share layers have them once" {
	have_one
	d load --quiet --input "$(docker_archive two shell first second two more)" >/dev/null
	assert_same <(layers_of $ONE | head -n 3) <(layers_of localhost/two:1 | head -n 3)
	eventually layers_are_there_once
	assert_equal "$(d_run --rm localhost/two:1)" "from two"
	assert_equal "$(d_run --rm localhost/two:1 cat /etc/two /srv/data /srv/more /etc/name)" $'2\ndata\nmore\nsecond'
	d rmi localhost/two:1 >/dev/null
	assert_equal "$(d_run --rm $ONE)" "from one"
}

layers_are_there_once() {
	[ "$(d images --quiet --no-trunc | sort -u | xargs "$T/bin/docker" -H "unix://$T/s" image inspect \
		--format '{{range .RootFS.Layers}}{{println .}}{{end}}' | sed '/^$/d' | sort -u | wc -l)" = \
		"$(docker_directories | wc -l)" ]
}

@test "load: the three forms of archives are one image, whatever is in its tars" {
	local zoo ids
	zoo=$(image zoo)
	ids=$(for form in docker-archive docker-legacy docker-save; do
		d load --input "$zoo/$form.tar" >/dev/null || exit 1
		d images --quiet --no-trunc localhost/zoo
	done | sort -u)
	assert_match "$ids" "^$FULL_ID\$"
	assert_same <(diff_ids "$zoo/layout") <(layers_of "$ids")
	d rmi --force "$ids" >/dev/null
}

# Docker cannot save what it loaded where tars are sparse.
@test "save: the tars that came, whatever is in them" {
	local zoo
	zoo=$(image zoo)
	mkimage "$HERE/in.tar" --docker-archive --ref localhost/zoo:2 "$zoo/layers/"{1-all,2-over,3-top}
	d load --quiet --input "$HERE/in.tar" >/dev/null
	d save --output "$HERE/out.tar" localhost/zoo:2
	assert_same <(layers_of localhost/zoo:2) <(saved_layers "$HERE/out.tar" "$HERE/out")
	d rmi localhost/zoo:2 >/dev/null
}

@test "load: a cut archive fails, and leaves nothing" {
	local before tar
	before=$(settled_directories)
	tar=$(docker_archive cut shell first alone)
	head -c "$(($(stat -c %s "$tar") - 8000))" "$tar" >"$HERE/cut.tar"
	run d load --input "$HERE/cut.tar"
	[ "$status" != 0 ]
	mkdir "$HERE/x"
	tar -C "$HERE/x" -xf "$tar"
	for layer in $(jq -r '.[0].Layers[]' "$HERE/x/manifest.json"); do
		truncate -s $(($(stat -c %s "$HERE/x/$layer") / 2 + 300)) "$HERE/x/$layer"
	done
	tar -C "$HERE/x" -cf "$HERE/cut.tar" .
	run d load --input "$HERE/cut.tar"
	[ "$status" != 0 ]
	assert_equal "$(d images --quiet localhost/cut)" ""
	eventually same_directories "$before"
}

same_directories() { # as they were
	[ "$(docker_directories | sort)" = "$1" ]
}

@test "import: a tree is an image of one layer" {
	local id
	tar -C "$IMAGES/layers/shell" --sort=name --owner=5:5 --group=6:6 -cf "$HERE/in.tar" .
	id=$(d import --change 'CMD ["sh","-c","echo imported"]' --change 'ENV PATH=/bin' "$HERE/in.tar" localhost/imported:1)
	assert_match "$id" "^$FULL_ID\$"
	assert_equal "$(layers_of localhost/imported:1)" "sha256:$(sha256sum <"$HERE/in.tar" | cut -d ' ' -f 1)"
	assert_equal "$(d_run --rm localhost/imported:1)" imported
	assert_equal "$(d_run --rm localhost/imported:1 stat -c '%u:%g %a' /etc/passwd /tmp)" $'5:6 644\n5:6 1777'
	d rmi localhost/imported:1 >/dev/null
}

@test "a deep image, of 120 layers" {
	local number layers=()
	for number in {1..119}; do
		layer "$HERE/l/$number" "deep/$number=$number" last="$number"
		layers+=("$HERE/l/$number")
	done
	mkimage "$HERE/deep.tar" --docker-archive --ref localhost/deep:1 --env PATH=/bin "$IMAGES/layers/shell" "${layers[@]}"
	d load --quiet --input "$HERE/deep.tar" >/dev/null
	assert_equal "$(layers_of localhost/deep:1 | wc -l)" 120
	assert_equal "$(d_run --rm localhost/deep:1 sh -c 'cat /last /deep/1 /deep/77; ls /deep | busybox wc -l')" $'119\n1\n77\n119'
	d_run --name deep localhost/deep:1 sh -c 'echo more >/deep/more; rm /deep/5'
	assert_equal "$(d diff deep | sort)" $'A /deep/more\nC /deep\nD /deep/5'
	d commit deep localhost/deep:2 >/dev/null
	d rm deep >/dev/null
	assert_equal "$(d_run --rm localhost/deep:2 sh -c 'ls /deep | busybox wc -l; cat /deep/more')" $'119\nmore'
	d rmi localhost/deep:2 localhost/deep:1 >/dev/null
}

@test "tag, history, inspect, rename" {
	have_one
	d tag $ONE localhost/other:x
	assert_equal "$(d images --quiet --no-trunc localhost/other)" "$(d images --quiet --no-trunc $ONE)"
	succeeds d rmi localhost/other:x
	assert_equal "$output" "Untagged: localhost/other:x"
	d_run --name built $ONE touch /srv/x
	d commit --message why built localhost/hist:1 >/dev/null
	assert_equal "$(d history --format '{{.Comment}}' localhost/hist:1 | head -n 1)" why
	assert_equal "$(d history --quiet localhost/hist:1 | grep -c .)" "$(($(d history --quiet $ONE | grep -c .) + 1))"
	d rename built renamed
	assert_equal "$(d inspect --format '{{.Name}} {{.State.ExitCode}}' renamed)" "/renamed 0"
	fails_with "No such" d inspect built
	d rm renamed >/dev/null
	d rmi localhost/hist:1 >/dev/null
}

@test "inspect shows what the driver says of an image and of a container" {
	have_one
	assert_equal "$(d image inspect --format '{{.GraphDriver.Name}}' $ONE)" "$STORE_DRIVER"
	d_start web $ONE sleep 1000
	assert_equal "$(d inspect --format '{{.GraphDriver.Name}}' web)" "$STORE_DRIVER"
	d exec web sh -c 'echo hello >/srv/said'
	assert_equal "$(inside cat "$(d inspect --format '{{.GraphDriver.Data.MergedDir}}' web)/srv/said")" hello
	assert_equal "$(inside cat "$(d inspect --format '{{.GraphDriver.Data.UpperDir}}' web)/srv/said")" hello
	# The container's own, docker's, and the image's four.
	assert_equal "$(d inspect --format '{{.GraphDriver.Data.LowerDir}}' web | tr : '\n' | wc -l)" 5
	for dir in $(d inspect --format '{{.GraphDriver.Data.LowerDir}}' web | tr : ' '); do
		inside test -d "$dir" || fail "$dir is no directory"
	done
	assert_equal "$(layer_mounts)" "$(d inspect --format '{{.GraphDriver.Data.MergedDir}}' web)"
}

@test "rmi is refused while a container has the image" {
	have_one
	d_start web $ONE sleep 1000
	fails_with "is using" d rmi $ONE
	d tag $ONE localhost/only:1
	d rmi $ONE >/dev/null
	d_run --name old localhost/only:1 true
	fails_with "is using" d rmi localhost/only:1
	assert_equal "$(d exec web cat /etc/name)" one
	d rm --force web old >/dev/null
	d tag localhost/only:1 $ONE
	d rmi localhost/only:1 >/dev/null
}

@test "rmi deletes child before parent, and keeps what others have" {
	have_one
	d_run --name first $ONE touch /a
	d commit first localhost/a:1 >/dev/null
	d_run --name second localhost/a:1 touch /b
	d commit second localhost/b:1 >/dev/null
	d rm first second >/dev/null
	d rmi localhost/a:1 >/dev/null
	assert_equal "$(d_run --rm localhost/b:1 ls -d /a /b)" $'/a\n/b'
	succeeds d rmi localhost/b:1
	assert_equal "$(grep -c ^Deleted <<<"$output")" 4
	assert_equal "$(d_run --rm $ONE)" "from one"
}

# ---- containers ----

@test "run: words, exit codes, environment, user, directory" {
	have_one
	assert_equal "$(d_run --rm $ONE)" "from one"
	run d_run --rm $ONE sh -c 'echo out; echo err >&2; exit 42'
	assert_equal "$status" 42
	assert_equal "$(sort <<<"$output")" $'err\nout'
	assert_equal "$(d_run --rm --env WHO=me $ONE sh -c 'echo $WHO $COLOR')" "me red"
	assert_equal "$(d_run --rm --user app --workdir /usr/share $ONE sh -c 'id -u; id -g; pwd; cat a')" $'1000\n1000\n/usr/share\nA'
	run -127 d_run --rm $ONE nothing-like-that
}

@test "what a container writes is its own, and exec sees it" {
	have_one
	d_start web $ONE sleep 1000
	d_start other $ONE sleep 1000
	d exec web sh -c 'echo hello >/srv/said; rm /etc/one; echo changed >/etc/name'
	assert_equal "$(d exec web cat /srv/said /etc/name)" $'hello\nchanged'
	fails_with "No such file" d exec web cat /etc/one
	assert_equal "$(d exec other cat /etc/one /etc/name)" $'1\none'
	fails_with "No such file" d exec other cat /srv/said
	run d exec web sh -c 'exit 7'
	assert_equal "$status" 7
}

@test "a container that ends and starts again has what it wrote" {
	have_one
	d_start web $ONE sh -c 'echo $((1 + $(cat /srv/count || echo 0))) >/srv/count; cat /srv/count; sleep 1000'
	eventually logged web 1
	d stop web >/dev/null
	eventually no_layer_mounts
	d start web >/dev/null
	eventually logged web 2
	d restart web >/dev/null
	eventually logged web 3
	assert_equal "$(d logs web 2>/dev/null)" $'1\n2\n3'
	assert_equal "$(layer_mounts | wc -l)" 1
}

logged() { # container, last line
	[ "$(d logs "$1" 2>/dev/null | tail -n 1)" = "$2" ]
}

@test "diff: added, changed, deleted, replaced" {
	have_one
	d_run --name web $ONE sh -c 'echo hello >/srv/said; rm /etc/one; mkdir -p /new/below; touch /new/below/file
		busybox chmod 600 /etc/group; rm -r /usr/share; mkdir /usr/share; touch /usr/share/fresh
		rm /bin/pwd; mkdir /bin/pwd; busybox chown 7:7 /tmp'
	assert_same - <(d diff web | sort) <<-END
		A /new
		A /new/below
		A /new/below/file
		A /srv/said
		A /usr/share/fresh
		C /bin
		C /bin/pwd
		C /etc
		C /etc/group
		C /srv
		C /tmp
		C /usr
		C /usr/share
		D /etc/one
		D /usr/share/a
		D /usr/share/b
	END
}

@test "diff: nothing, of a container that wrote nothing" {
	have_one
	d_run --name web $ONE true
	assert_equal "$(d diff web)" ""
}

@test "cp: into a container and out of it, running or not" {
	have_one
	mkdir -p "$HERE/in/below"
	echo one >"$HERE/in/first"
	echo two >"$HERE/in/below/second"
	d_start web $ONE sleep 1000
	d cp "$HERE/in" web:/srv/copied
	assert_equal "$(d exec web cat /srv/copied/first /srv/copied/below/second)" $'one\ntwo'
	d cp web:/srv/copied "$HERE/out"
	diff -r "$HERE/in" "$HERE/out"
	d kill web >/dev/null
	d wait web >/dev/null
	d cp "$HERE/in/first" web:/srv/third
	d cp web:/srv/third - | tar -xO >"$HERE/third"
	assert_equal "$(<"$HERE/third")" one
	d cp web:/etc/one "$HERE/one"
	assert_equal "$(<"$HERE/one")" 1
	fails_with nowhere d cp web:/nowhere "$HERE/x"
	assert_equal "$(d diff web | sort | tail -n 1)" "C /srv"
	eventually no_layer_mounts
}

@test "logs: of a container that ended" {
	have_one
	d_run --detach --name talker $ONE sh -c 'echo sorry >&2; echo hello; cat /etc/name' >/dev/null
	assert_equal "$(d wait talker)" 0
	assert_equal "$(d logs talker 2>/dev/null)" $'hello\none'
	assert_equal "$(d logs talker 2>&1 >/dev/null)" sorry
}

@test "--rm and rm --force leave nothing of a container" {
	have_one
	local before
	before=$(settled_directories)
	d_run --rm $ONE sh -c 'echo x >/srv/x'
	d_start web $ONE sh -c 'echo x >/srv/x; sleep 1000'
	[ "$(docker_directories | wc -l)" -gt "$(wc -l <<<"$before")" ]
	fails_with "running" d rm web
	d rm --force web >/dev/null
	assert_equal "$(d ps --all --quiet)" ""
	eventually same_directories "$before"
	eventually no_layer_mounts
}

@test "a read-only root cannot be written to, but for its tmpfs" {
	have_one
	fails_with "Read-only file system" d_run --rm --read-only $ONE touch /srv/x
	assert_equal "$(d_run --rm --read-only --tmpfs /srv $ONE sh -c 'echo x >/srv/x; cat /srv/x /etc/name')" $'x\none'
}

@test "volumes: a new one has what the image has there, and outlives the container" {
	have_one
	d volume create data >/dev/null
	d_run --rm --volume data:/usr/share $ONE sh -c 'cat /usr/share/b; echo mine >/usr/share/b; echo c >/usr/share/c'
	assert_equal "$(d_run --rm --volume data:/usr/share $ONE cat /usr/share/a /usr/share/b /usr/share/c)" $'A\nmine\nc'
	assert_equal "$(d_run --rm $ONE cat /usr/share/b)" BB
	mkdir "$HERE/bound"
	d_run --rm --volume "$HERE/bound:/srv" $ONE sh -c 'cat /etc/name >/srv/name'
	assert_equal "$(<"$HERE/bound/name")" one
	d_run --name anonymous --volume /etc $ONE true
	assert_equal "$(d diff anonymous)" ""
	d rm --volumes anonymous >/dev/null
	assert_equal "$(d volume ls --quiet)" data
	d volume rm data >/dev/null
}

@test "ps --size and system df count what is written" {
	have_one
	d_start web $ONE sleep 1000
	assert_equal "$(d inspect --size --format '{{.SizeRw}}' web)" 0
	d exec web sh -c 'busybox dd if=/dev/zero of=/srv/zeros bs=1000 count=250 2>/dev/null; busybox ln /srv/zeros /srv/same; rm /usr/share/b; echo 12345 >/etc/name'
	assert_equal "$(d inspect --size --format '{{.SizeRw}}' web)" 250006
	assert_match "$(d ps --size --format '{{.Size}}')" '^250kB \(virtual '
	assert_equal "$(d system df --format '{{.Type}}:{{.TotalCount}}:{{.Active}}:{{.Size}}' | grep ^Containers)" "Containers:1:1:250kB"
	assert_match "$(d system df --format '{{.Type}}:{{.Active}}:{{.Size}}' | grep ^Images)" '^Images:1:[0-9.]+MB$'
}

@test "a size that cannot be kept is refused, and leaves nothing" {
	have_one
	local before
	before=$(settled_directories)
	run d_run --rm --storage-opt color=red $ONE true
	[ "$status" != 0 ]
	assert_equal "$(d ps --all --quiet)" ""
}

@test "twelve containers at once" {
	local number pids=()
	have_one
	for number in {1..12}; do
		d_run --rm $ONE sh -c 'echo $0 >/srv/me; cat /srv/me /etc/name' "$number" >"$HERE/said.$number" 2>&1 3>&- &
		pids+=($!)
	done
	for number in {1..12}; do
		wait "${pids[number - 1]}" || fail "container $number: $(cat "$HERE/said.$number")"
		assert_equal "$(<"$HERE/said.$number")" "$number"$'\none'
	done
	eventually no_layer_mounts
}

# ---- commit ----

@test "commit: what was added, changed and deleted is in the image" {
	have_one
	d_run --name web $ONE sh -c 'echo hello >/srv/said; rm /etc/one; rm -r /usr/share; mkdir /usr/share; echo f >/usr/share/fresh
		busybox ln /srv/said /srv/hard; busybox ln -s said /srv/soft; busybox chown 12:34 /srv/said; busybox mkfifo /srv/fifo'
	d commit --change 'ENV MORE=yes' --change 'CMD ["sh","-c","echo $MORE"]' web localhost/mine:1 >/dev/null
	assert_equal "$(layers_of localhost/mine:1 | wc -l)" 5
	assert_equal "$(d_run --rm localhost/mine:1)" yes
	assert_equal "$(d_run --rm localhost/mine:1 sh -c 'cat /srv/hard /srv/soft; stat -c "%h %u:%g %F" /srv/said /srv/fifo; ls /usr/share; ls /etc/one 2>&1')" \
		$'hello\nhello\n2 12:34 regular file\n1 0:0 fifo\nfresh\nls: /etc/one: No such file or directory'
	# The layer's tar says the same.
	d save --output "$HERE/mine.tar" localhost/mine:1
	assert_same <(layers_of localhost/mine:1) <(saved_layers "$HERE/mine.tar" "$HERE/mine")
	tar -tf "$HERE/mine/$(jq -r '.[0].Layers[-1]' "$HERE/mine/manifest.json")" | sort >"$HERE/names"
	grep -qx etc/.wh.one "$HERE/names"
	grep -qx usr/share/fresh "$HERE/names"
	grep -qxE 'usr/share/\.wh\.(\.wh\.\.opq|a)' "$HERE/names"
	d rmi localhost/mine:1 >/dev/null
}

@test "commit: of a running container, which goes on; and of more than fits into a socket" {
	have_one
	d_start web $ONE sleep 1000
	d exec web busybox dd if=/dev/urandom of=/srv/random bs=1M count=24 2>/dev/null
	d commit web localhost/big:1 >/dev/null
	assert_equal "$(d_run --rm localhost/big:1 busybox sha256sum /srv/random)" "$(d exec web busybox sha256sum /srv/random)"
	d exec web touch /srv/later
	d commit --pause=false web localhost/big:2 >/dev/null
	assert_equal "$(d_run --rm localhost/big:2 ls /srv)" $'later\nrandom'
	d rm --force web >/dev/null
	d rmi localhost/big:1 localhost/big:2 >/dev/null
}

@test "eight commits at once, of one container and of several" {
	local number pids=()
	have_one
	for number in {1..4}; do
		d_start "web$number" $ONE sleep 1000
		d exec "web$number" sh -c 'echo $0 >/srv/me; busybox dd if=/dev/urandom of=/srv/random bs=1M count=2 2>/dev/null' "$number"
	done
	for number in {1..8}; do
		d commit --pause=false "web$(((number - 1) / 2 + 1))" "localhost/at-once:$number" >"$HERE/said.$number" 2>&1 3>&- &
		pids+=($!)
	done
	for number in {1..8}; do
		wait "${pids[number - 1]}" || fail "commit $number: $(cat "$HERE/said.$number")"
	done
	for number in {1..8}; do
		assert_equal "$(d_run --rm "localhost/at-once:$number" cat /srv/me)" "$(((number - 1) / 2 + 1))"
	done
	assert_equal "$(d_run --rm localhost/at-once:3 busybox sha256sum /srv/random)" "$(d exec web2 busybox sha256sum /srv/random)"
	remove_containers
	# shellcheck disable=SC2046 # a list
	d rmi $(printf 'localhost/at-once:%s ' {1..8}) >/dev/null
}

# ---- save, push, pull ----

@test "save and load again: the same layers" {
	local one
	have_one
	one=$(d images --quiet --no-trunc $ONE)
	d save --output "$HERE/one.tar" $ONE
	assert_same <(layers_of $ONE) <(saved_layers "$HERE/one.tar" "$HERE/one")
	d rmi $ONE >/dev/null
	fails_with "o such image" d image inspect $ONE
	succeeds d load --input "$HERE/one.tar"
	assert_equal "$(d images --quiet --no-trunc $ONE)" "$one"
	assert_equal "$(d_run --rm $ONE)" "from one"
	# What came from it is saved as it came.
	d save --output "$HERE/again.tar" $ONE
	assert_same <(layers_of $ONE) <(saved_layers "$HERE/again.tar" "$HERE/again")
}

@test "push and pull: through a registry, the same image" {
	registry_environment
	have_one
	start_docker_registry "$HERE/registry"
	local id name=$REGISTRY/test/one:1
	id=$(d images --quiet --no-trunc $ONE)
	d tag $ONE "$name"
	succeeds d push "$name"
	assert_match "$output" "1: digest: $FULL_ID size"
	assert_equal "$(skopeo inspect --tls-verify=false --config "docker://$name" | jq -r '.rootfs.diff_ids[]')" "$(layers_of $ONE)"
	d rmi $ONE "$name" >/dev/null
	succeeds d pull "$name"
	assert_contains "$output" "Status: Downloaded newer image"
	assert_equal "$(d images --quiet --no-trunc "$name")" "$id"
	assert_equal "$(d_run --rm "$name")" "from one"
	d tag "$name" $ONE
	# A layer more: only that one is sent, and fetched.
	d_run --name web $ONE sh -c 'echo more >/srv/more'
	d commit web "$REGISTRY/test/one:2" >/dev/null
	d rm web >/dev/null
	succeeds d push "$REGISTRY/test/one:2"
	assert_equal "$(grep -c 'Layer already exists' <<<"$output")" 4
	d rmi "$REGISTRY/test/one:2" >/dev/null
	succeeds d pull "$REGISTRY/test/one:2"
	assert_equal "$(grep -c 'Already exists' <<<"$output")" 4
	assert_equal "$(d_run --rm "$REGISTRY/test/one:2" cat /srv/more)" more
	d rmi "$REGISTRY/test/one:2" "$name" >/dev/null
}

@test "pull: of an image that others pushed, all its tars" {
	registry_environment
	local zoo
	zoo=$(image zoo)
	start_docker_registry "$HERE/registry"
	push "$zoo/layout:$(jq -r '.manifests[0].annotations["org.opencontainers.image.ref.name"]' "$zoo/layout/index.json")" test/zoo:1
	d pull --quiet "$REGISTRY/test/zoo:1" >/dev/null
	assert_same <(diff_ids "$zoo/layout") <(layers_of "$REGISTRY/test/zoo:1")
	d rmi "$REGISTRY/test/zoo:1" >/dev/null
}

# ---- builds ----

context() {
	mkdir -p "$HERE/c/dir/below" "$HERE/packed"
	echo file >"$HERE/c/file"
	echo below >"$HERE/c/dir/below/file"
	echo packed >"$HERE/packed/inside"
	tar -C "$HERE/packed" -czf "$HERE/c/packed.tar.gz" inside
	cat >"$HERE/c/Dockerfile"
}

walkthrough_file() {
	context <<-'END'
		FROM localhost/one:1 AS tools
		RUN echo "$COLOR" >/srv/tool && busybox chmod 755 /srv/tool && rm /etc/one
		FROM localhost/one:1
		ENV GREETING=hi
		RUN echo "$GREETING" >/srv/greeting
		COPY file /srv/
		COPY --chown=app:extra dir /srv/dir
		ADD packed.tar.gz /srv/packed/
		COPY --from=tools /srv/tool /bin/tool
		RUN rm -r /usr/share && mkdir /usr/share && echo new >/usr/share/new
		WORKDIR /srv/made
		USER app
		RUN id -u >/tmp/user
		CMD ["sh", "-c", "echo $GREETING from $(pwd)"]
	END
}

walkthrough_image() { # image
	assert_equal "$(d_run --rm "$1")" "hi from /srv/made"
	assert_equal "$(d_run --rm "$1" sh -c 'cat /srv/greeting /srv/file /srv/dir/below/file /srv/packed/inside /bin/tool /usr/share/new /tmp/user /etc/one')" \
		$'hi\nfile\nbelow\npacked\nred\nnew\n1000\n1'
	assert_equal "$(d_run --rm "$1" sh -c 'ls /usr/share; stat -c "%U:%G %a" /srv/dir/below/file; stat -c %a /bin/tool; id -un')" \
		$'new\napp:extra 644\n755\napp'
	d save --output "$HERE/built.tar" "$1"
	assert_same <(layers_of "$1") <(saved_layers "$HERE/built.tar" "$HERE/built")
}

@test "build, classic: RUN, COPY, ADD, stages, ENV, USER" {
	have_one
	walkthrough_file
	succeeds d_build --tag localhost/built:1 "$HERE/c"
	walkthrough_image localhost/built:1
	local id
	id=$(d images --quiet --no-trunc localhost/built:1)
	# Again: all of it is there.
	succeeds d_build --tag localhost/built:2 "$HERE/c"
	assert_equal "$(grep -c 'Using cache' <<<"$output")" 12
	assert_equal "$(d images --quiet --no-trunc localhost/built:2)" "$id"
	d rmi localhost/built:1 localhost/built:2 >/dev/null
	d image prune --force >/dev/null
}

@test "build, BuildKit: the same" {
	have_one
	walkthrough_file
	succeeds d_buildkit --tag localhost/kit:1 "$HERE/c"
	walkthrough_image localhost/kit:1
	echo changed >"$HERE/c/file"
	succeeds d_buildkit --tag localhost/kit:2 "$HERE/c"
	assert_match "$output" 'CACHED'
	assert_equal "$(d_run --rm localhost/kit:2 cat /srv/file /srv/greeting)" $'changed\nhi'
	assert_equal "$(layers_of localhost/kit:2 | wc -l)" "$(layers_of localhost/kit:1 | wc -l)"
	d rmi localhost/kit:1 localhost/kit:2 >/dev/null
	succeeds d builder prune --all --force
	assert_match "$output" 'Total.*:.*[1-9]'
}

@test "build, BuildKit: steps side by side, and mounts of caches" {
	have_one
	context <<-'END'
		FROM localhost/one:1 AS a
		RUN --mount=type=cache,target=/cache echo a >/cache/a; echo a >/srv/a
		FROM localhost/one:1 AS b
		RUN --mount=type=bind,target=/context cat /context/file >/srv/b
		FROM localhost/one:1 AS c
		RUN --mount=type=tmpfs,target=/tmp echo c >/srv/c; echo lost >/tmp/lost
		FROM localhost/one:1
		COPY --from=a /srv/a /srv/
		COPY --from=b /srv/b /srv/
		COPY --from=c /srv/c /srv/
	END
	succeeds d_buildkit --tag localhost/kit:3 "$HERE/c"
	assert_equal "$(d_run --rm localhost/kit:3 sh -c 'cat /srv/a /srv/b /srv/c; ls /tmp')" $'a\nfile\nc'
	d rmi localhost/kit:3 >/dev/null
	d builder prune --all --force >/dev/null
}

@test "build --squash: one layer on the base, with all that the steps did" {
	have_one
	context <<-'END'
		FROM localhost/one:1
		RUN echo big >/srv/big; echo kept >/srv/kept; rm /etc/one
		RUN rm /srv/big; echo b >/usr/share/b; rm -r /opt
		COPY dir /srv/dir
	END
	succeeds d_build --squash --tag localhost/squashed:1 "$HERE/c"
	assert_equal "$(layers_of localhost/squashed:1 | wc -l)" 5
	assert_same <(layers_of $ONE) <(layers_of localhost/squashed:1 | head -n 4)
	assert_equal "$(d_run --rm localhost/squashed:1 sh -c 'cat /srv/kept /srv/dir/below/file /usr/share/b; ls /srv; ls -d /etc/one /opt 2>&1')" \
		$'kept\nbelow\nb\ndir\nkept\nls: /etc/one: No such file or directory\nls: /opt: No such file or directory'
	d save --output "$HERE/squashed.tar" localhost/squashed:1
	assert_same <(layers_of localhost/squashed:1) <(saved_layers "$HERE/squashed.tar" "$HERE/squashed")
	tar -tf "$HERE/squashed/$(jq -r '.[0].Layers[-1]' "$HERE/squashed/manifest.json")" >"$HERE/names"
	! grep -q big "$HERE/names" || fail "what a step deleted is there"
	d rmi localhost/squashed:1 >/dev/null
	d image prune --force >/dev/null
}

@test "build from scratch, squashed and not" {
	context <<-'END'
		FROM scratch
		COPY file /a
		COPY dir /dir
	END
	succeeds d_build --tag localhost/scratch:1 "$HERE/c"
	assert_equal "$(layers_of localhost/scratch:1 | wc -l)" 2
	succeeds d_build --squash --no-cache --tag localhost/scratch:2 "$HERE/c"
	assert_equal "$(layers_of localhost/scratch:2 | wc -l)" 1
	d create --name made localhost/scratch:2 x >/dev/null
	d cp made:/dir/below/file "$HERE/got"
	assert_equal "$(<"$HERE/got")" below
	d rm made >/dev/null
	d rmi localhost/scratch:1 localhost/scratch:2 >/dev/null
	d image prune --force >/dev/null
}

@test "a build that fails leaves what it had, and prune takes that" {
	local before
	have_one
	d image prune --force >/dev/null
	d builder prune --all --force >/dev/null
	before=$(settled_directories)
	context <<-'END'
		FROM localhost/one:1
		RUN echo x >/srv/x
		RUN echo y >/srv/y; exit 3
	END
	fails_with "returned a non-zero code: 3" d_build "$HERE/c"
	fails_with "exit code: 3" d_buildkit "$HERE/c"
	remove_containers
	d image prune --force >/dev/null
	d builder prune --all --force >/dev/null
	eventually same_directories "$before"
}

# ---- pruning ----

@test "prune: containers, images, everything" {
	have_one
	d_run --name old $ONE touch /x
	d commit old localhost/dangling:1 >/dev/null
	d tag $ONE localhost/dangling:1
	d_start web $ONE sleep 1000
	assert_contains "$(d container prune --force)" "Deleted Containers"
	assert_equal "$(d ps --all --format '{{.Names}}')" web
	assert_contains "$(d image prune --force)" "deleted: sha256:"
	d load --quiet --input "$(docker_archive two shell first second two more)" >/dev/null
	d image prune --all --force >/dev/null
	assert_equal "$(d images --quiet localhost/two)" ""
	assert_equal "$(d exec web cat /etc/name)" one
	remove_containers
	succeeds d system prune --all --force --volumes
	assert_contains "$output" "Total reclaimed space"
	assert_equal "$(d images --all --quiet)" ""
	assert_nothing_stored
}

@test "rmi of all images leaves an empty store, and docker starts over" {
	have_one
	d load --quiet --input "$(docker_archive two shell first second two more)" >/dev/null
	d_run --name web $ONE touch /x
	d commit web localhost/mine:1 >/dev/null
	d rm web >/dev/null
	# shellcheck disable=SC2046 # a list
	d rmi --force $(d images --quiet) >/dev/null
	assert_nothing_stored
	have_one
	assert_equal "$(d_run --rm $ONE)" "from one"
	remove_everything
	assert_nothing_stored
	if our_plugin; then
		assert_sound_at_rest
		assert_no_leftovers
	fi
}

@test "when both have ended, nothing is left of them" {
	remove_everything
	dockerd_stop
	plugin_stop
	assert_equal "$(processes)" ""
	assert_equal "$(layer_mounts)" ""
	inside test ! -e /run/docker/plugins/$PLUGIN.sock
	assert_nothing_stored
}
