#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
#
# Containers: making, mounting, comparing and removing them.

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

# ---- create ----

@test "create prints the container's id, and makes a name of two words" {
	succeeds ov create one:1
	assert_match "$output" "^$HEX_ID$"
	assert_match "$(ov ps --format '{{.Names}}')" '^[a-z]+_[a-z]+$'
	assert_equal "$(mounts_below "$RUN")" ""
	assert_store_sound
	ov umount "$(basename "$(ov mount "$output")")"
	assert_equal "$(names_in "$ROOT/snapshots")" "$output"
	assert_store_sound
}

@test "create --name refuses a name that is taken, and what is no name" {
	local name
	ov create --name web one:1 >/dev/null
	fails_with '"web" is in use' ov create --name web one:1
	for name in '' -web .web 'a b' a/b '../x' $'a\nb'; do
		fails_with "name" ov create --name="$name" one:1
	done
	assert_equal "$(ov ps -q | wc -l)" 1
	settle
	assert_store_sound
	assert_no_leftovers
	ov rm web
	succeeds ov create --name web one:1
}

@test "create keeps labels, and refuses what is none" {
	ov create --name web --label a=1 -l b=x=y one:1 >/dev/null
	assert_equal "$(ov inspect -f '{{json .Labels}}' web)" '{"a":"1","b":"x=y"}'
	fails_with "KEY=VALUE" ov create --label novalue one:1
	fails_with "KEY=VALUE" ov create --label =1 one:1
}

@test "create of an image that is not there says so and makes nothing" {
	fails_with "no such image: absent" ov create absent
	assert_equal "$(ov ps -q)" ""
	assert_no_leftovers
}

@test "a container may be made from an image's id" {
	ov create --name web "$(image_id "$IMAGES/one")" >/dev/null
	assert_equal "$(ov inspect -f '{{.Image}}' web)" "$(image_id "$IMAGES/one")"
	assert_equal "$(cat "$(ov mount web)/etc/name")" one
	ov umount web
}

# ---- ps ----

@test "ps lists containers, newest first, mounted ones with the place" {
	ov create --name first one:1 >/dev/null
	ov create --name second one:1 >/dev/null
	local path
	path=$(ov mount first)
	succeeds ov ps
	assert_match "${lines[0]}" '^CONTAINER ID +IMAGE +CREATED +STATUS +NAMES$'
	assert_match "${lines[1]}" "^[0-9a-f]{12} +one:1 +.*ago +Created +second$"
	assert_match "${lines[2]}" "Mounted at $path +first$"
	assert_equal "$(ov containers)" "$(ov ps)"
	assert_equal "$(ov container ls -a)" "$(ov ps)"
	assert_equal "$(ov ps --noheading | wc -l)" 2
	ov umount first
}

@test "ps has quiet, whole and machine-readable forms, and sizes" {
	local id
	id=$(ov create --name web --label k=v one:1)
	assert_equal "$(ov ps -q)" "$(short "$id")"
	assert_equal "$(ov ps -q --no-trunc)" "$id"
	assert_match "$(ov ps --no-trunc | tail -n 1)" "^$id "
	assert_equal "$(ov ps --format '{{.ID}} {{.Names}} {{.State}} {{.Labels}}')" "$(short "$id") web created k=v"
	assert_equal "$(ov ps --format json | jq -c '.[] | [.ID, .Names, .Image, .State, .Labels.k]')" \
		"[\"$id\",\"web\",\"one:1\",\"created\",\"v\"]"
	assert_equal "$(ov ps --json)" "$(ov ps --format json)"
	assert_match "$(ov ps -s | head -n 1)" ' SIZE '
	assert_equal "$(ov ps -s --format json | jq '.[].Size')" 0
	head -c 50000 /dev/zero >"$(ov mount web)/file"
	ov umount web
	assert_equal "$(ov ps -s --format json | jq '.[].Size')" "$(disk_bytes "$ROOT/snapshots/$id")"
}

@test "ps --filter takes name=, id=, image= and label=" {
	load_quietly "$IMAGES/two"
	local id
	id=$(ov create --name web-a --label tier=1 --label x=1 one:1)
	ov create --name web-b --label tier=2 one:1 >/dev/null
	ov create --name db --label tier=1 two:1 >/dev/null
	named() {
		ov ps --format '{{.Names}}' "$@" | sort | tr '\n' ' '
	}
	assert_equal "$(named -f name=web)" "web-a web-b "
	assert_equal "$(named -f id="${id:0:20}")" "web-a "
	assert_equal "$(named -f image=two:1)" "db "
	assert_equal "$(named -f ancestor="$(image_id "$IMAGES/one")")" "web-a web-b "
	assert_equal "$(named -f label=tier=1)" "db web-a "
	assert_equal "$(named -f label=tier -f label=x)" "web-a "
	assert_equal "$(named -f name=web-a -f name=db)" "db web-a "
	assert_equal "$(named -f name=db -f label=tier=2)" ""
	fails_with "colour" ov ps -f colour=red
	assert_equal "$status" 125
}

# ---- mount and umount ----

@test "mount prints one path however often, and what is written there stays" {
	local id path
	id=$(ov create --name web one:1)
	path=$(ov mount web)
	assert_equal "$path" "$RUN/mnt/$id"
	assert_equal "$(ov mount "$id")" "$path"
	assert_equal "$(mounts_below "$RUN" | wc -l)" 1
	echo mine >"$path/etc/name"
	rm "$path/etc/one"
	assert_equal "$(ov umount web)" web
	assert_equal "$(mounts_below "$RUN")" ""
	assert_missing "$path"
	path=$(ov mount "${id:0:10}")
	assert_equal "$(cat "$path/etc/name")" mine
	assert_missing "$path/etc/one"
	ov unmount "$id"
}

@test "mount takes several containers and goes on after one that is not there; without one it lists" {
	ov create --name a one:1 >/dev/null
	ov create --name b one:1 >/dev/null
	run --separate-stderr ov mount a absent b
	assert_equal "$status" 1
	assert_equal "$stderr" "overlaid: no such container: absent"
	assert_equal "$(cut -d' ' -f1 <<<"$output")" $'a\nb'
	succeeds ov mount
	assert_match "${lines[0]}" '^CONTAINER ID +NAMES +MOUNTPOINT$'
	assert_equal "$(ov mount --format '{{.Names}}' | sort)" $'a\nb'
	assert_same <(ov mount --format json | jq -r '.[].Mountpoint' | sort) <(mounts_below "$RUN" | sort)
	assert_equal "$(ov umount --all | wc -l)" 2
	assert_equal "$(ov mount --format json | jq -c .)" '[]'
}

@test "containers of one image see the image, and nothing of each other" {
	ov create --name a one:1 >/dev/null
	ov create --name b one:1 >/dev/null
	local a b before
	before=$(cd "$ROOT/layers" && find . -printf '%y %m %s %T@ %C@ %i %P\n')
	a=$(ov mount a) b=$(ov mount b)
	echo A >"$a/etc/name"
	rm -r "$a/usr"
	chmod 700 "$a/srv"
	assert_equal "$(cat "$b/etc/name" "$b/usr/share/b")" $'one\nBB'
	assert_equal "$(stat -c %a "$b/srv")" 755
	assert_equal "$(cd "$ROOT/layers" && find . -printf '%y %m %s %T@ %C@ %i %P\n')" "$before"
	ov umount --all
}

@test "umount refuses what is not mounted or not there; --all and names do not go together" {
	ov create --name web one:1 >/dev/null
	fails_with "web is not mounted" ov umount web
	fails_with "no such container: absent" ov umount absent
	run ov umount --all web
	assert_equal "$status" 125
	run ov umount
	assert_equal "$status" 125
}

@test "umount of a busy container names who keeps it, and leaves it mounted" {
	ov create --name web one:1 >/dev/null
	local path
	path=$(ov mount web)
	(cd "$path" && exec sleep 20) 3>&- &
	local holder=$!
	until [ "$(readlink /proc/$holder/cwd)" = "$path" ]; do :; done
	fails_with "$holder" ov umount web
	assert_contains "$output" sleep
	assert_equal "$(cat "$path/etc/name")" one
	assert_equal "$(ov inspect -f '{{.Mounted}}' web)" true
	kill $holder
	wait $holder || true
	ov umount web
}

@test "a mount that somebody else took away is seen as gone, and can be made again" {
	ov create --name web one:1 >/dev/null
	umount "$(ov mount web)"
	assert_equal "$(ov ps --format '{{.Status}}')" Created
	fails_with "not mounted" ov umount web
	assert_equal "$(cat "$(ov mount web)/etc/name")" one
	ov umount web
	umount "$(ov mount web)"
	succeeds ov rm web
}

@test "a container mounted in another mount namespace is neither removed nor forgotten while that lives" {
	ov create --name web one:1 >/dev/null
	mkfifo "$BATS_TEST_TMPDIR/ready" "$BATS_TEST_TMPDIR/go"
	# The namespace's mounts are its own.
	# It does not wait for ever, so that a failure here is not a test that hangs.
	unshare --mount --propagation private bash -c \
		'"$OVERLAID" --root "$ROOT" --run "$RUN" mount web && read -rt 20 <>"$1" || true' \
		- "$BATS_TEST_TMPDIR/go" >"$BATS_TEST_TMPDIR/ready" 3>&- &
	local other=$!
	read -r _ <"$BATS_TEST_TMPDIR/ready"
	assert_equal "$(mounts_below "$RUN")" ""
	assert_equal "$(ov ps --format '{{.Status}}')" "Mounted in another namespace"
	fails_with "mounted" ov rm web
	fails_with "mounted" ov rmi -f one:1
	fails_with "web" ov mount web
	ov gc >/dev/null
	assert_equal "$(ov ps --format '{{.Status}}')" "Mounted in another namespace"
	echo >"$BATS_TEST_TMPDIR/go"
	wait $other
	assert_equal "$(ov ps --format '{{.Status}}')" Created
	succeeds ov rm web
}

@test "a mount point full of strange files is not mounted over" {
	local id
	id=$(ov create --name web one:1)
	mkdir -p "$RUN/mnt/$id"
	echo precious >"$RUN/mnt/$id/file"
	run ov mount web
	if [ "$status" = 0 ]; then ov umount web; fi
	assert_equal "$(cat "$RUN/mnt/$id/file")" precious
	rm -r "${RUN:?}/mnt/$id"
}

# ---- diff ----

@test "diff shows what was added, changed and deleted, mounted or not" {
	ov create --name web one:1 >/dev/null
	local path
	path=$(ov mount web)
	assert_equal "$(ov diff web)" ""
	echo new >"$path/etc/new"
	echo changed >"$path/etc/name"
	rm "$path/usr/share/a"
	mkdir -p "$path/srv/deep/er"
	local expected=$'C /etc\nC /etc/name\nA /etc/new\nC /srv\nA /srv/deep\nA /srv/deep/er\nC /usr\nC /usr/share\nD /usr/share/a'
	assert_equal "$(ov diff web)" "$expected"
	ov umount web
	assert_equal "$(ov diff web)" "$expected"
	assert_equal "$(ov diff --format json web | jq -c .)" "$(ov --json diff web | jq -c .)"
	assert_equal "$(ov --json diff web | jq -c '[.changed, .added, .deleted]')" \
		'[["/etc","/etc/name","/srv","/usr","/usr/share"],["/etc/new","/srv/deep","/srv/deep/er"],["/usr/share/a"]]'
}

@test "diff of a directory that was replaced shows what is gone" {
	ov create --name web one:1 >/dev/null
	local path
	path=$(ov mount web)
	rm -r "$path/usr/share"
	mkdir "$path/usr/share"
	echo c >"$path/usr/share/c"
	ov umount web
	succeeds ov diff web
	assert_contains "$output" "A /usr/share/c"
	assert_contains "$output" "D /usr/share/a"
	assert_contains "$output" "D /usr/share/b"
}

@test "diff refuses what is not there, and formats it does not have" {
	fails_with "no such container: absent" ov diff absent
	ov create --name web one:1 >/dev/null
	run ov diff --format table web
	assert_equal "$status" 125
}

# ---- inspect ----

@test "inspect of a container tells its layers, directories and state" {
	local id path
	id=$(ov create --name web one:1)
	path=$(ov mount web)
	succeeds ov inspect web
	assert_equal "$(jq -c '.[0] | [.Id, .Name, .Image, .ImageName, .Mounted, .State.Status]' <<<"$output")" \
		"[\"$id\",\"web\",\"$(image_id "$IMAGES/one")\",\"one:1\",true,\"mounted\"]"
	assert_same <(jq -r '.[0].RootFS.Layers[]' <<<"$output") <(diff_ids "$IMAGES/one")
	assert_equal "$(jq -c '.[0].GraphDriver.Data | [.UpperDir, .WorkDir, .MergedDir]' <<<"$output")" \
		"[\"$ROOT/snapshots/$id/fs\",\"$ROOT/snapshots/$id/work\",\"$path\"]"
	assert_equal "$(jq -r '.[0].GraphDriver.Data.LowerDir' <<<"$output" | tr : '\n' | wc -l)" 4
	ov umount web
	assert_equal "$(ov inspect -s -f '{{.SizeRw}}' web)" "$(disk_bytes "$ROOT/snapshots/$id")"
	assert_equal "$(ov container inspect -f '{{.GraphDriver.Data.MergedDir}}' web)" ""
}

# ---- rm ----

@test "rm removes the container with its changes, and prints the name as given" {
	local id path
	id=$(ov create --name web one:1)
	path=$(ov mount web)
	echo x >"$path/x"
	ov umount web
	assert_equal "$(ov rm "${id:0:12}")" "${id:0:12}"
	fails_with "no such container: web" ov inspect --type container web
	settle
	assert_equal "$(names_in "$ROOT/snapshots")" ""
	assert_equal "$(layer_dirs | wc -l)" 4
	assert_store_sound
	assert_no_leftovers
}

@test "rm of a mounted container is refused; -f unmounts it first" {
	ov create --name web one:1 >/dev/null
	local path
	path=$(ov mount web)
	fails_with "$path" ov rm web
	assert_contains "$output" "-f"
	assert_equal "$(cat "$path/etc/name")" one
	assert_equal "$(ov rm -f web)" web
	assert_equal "$(mounts_below "$RUN")" ""
	assert_missing "$path"
}

@test "rm -f of a busy container says who keeps it, and removes nothing" {
	ov create --name web one:1 >/dev/null
	local path
	path=$(ov mount web)
	exec 7<"$path/etc/name"
	fails_with "$$" ov rm -f web
	assert_equal "$(cat "$path/etc/name")" one
	exec 7<&-
	succeeds ov rm -f web
}

@test "rm takes several, goes on after one that is not there, and -i does not mind" {
	ov create --name a one:1 >/dev/null
	ov create --name b one:1 >/dev/null
	run --separate-stderr ov rm a absent b
	assert_equal "$status" 1
	assert_equal "$output" $'a\nb'
	assert_equal "$stderr" "overlaid: no such container: absent"
	succeeds ov rm -i absent
	assert_equal "$output" ""
	run ov rm
	assert_equal "$status" 125
}

@test "rm --all removes all but mounted ones, with -f those too" {
	ov create --name a one:1 >/dev/null
	ov create --name b one:1 >/dev/null
	ov mount a >/dev/null
	fails_with "a is mounted" ov rm --all
	assert_equal "$(ov ps --format '{{.Names}}')" a
	ov rm --all -f
	assert_equal "$(ov ps -q)" ""
	ov rmi one:1
	settle
	assert_store_empty
}

@test "a beginning that several containers' ids have is refused, and lists them" {
	local n id
	local -A by_digit=()
	for n in {1..17}; do
		id=$(ov create --name "c$n" one:1)
		[ -z "${by_digit[${id:0:1}]-}" ] || break
		by_digit[${id:0:1}]=$id
	done
	fails_with "$(short "$id")" ov rm -f "${id:0:1}"
	assert_contains "$output" "$(short "${by_digit[${id:0:1}]}")"
	assert_equal "$(ov ps -q | wc -l)" "$n"
}

@test "a name wins over the beginning of an id" {
	local id
	id=$(ov create --name web one:1)
	ov create --name "${id:0:6}" one:1 >/dev/null
	ov rm "${id:0:6}"
	assert_equal "$(ov ps --format '{{.Names}}')" web
}
