#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
#
# Images: loading, listing, naming, describing and removing them.

load ../lib/common
load ../lib/behaviour

setup_file() {
	make_images
}

setup() {
	common_setup
	need jq sqlite3
}

# ---- load ----

@test "load says what it loaded on stdout, and what it extracted on stderr" {
	run --separate-stderr ov load "$IMAGES/one"
	[ "$status" = 0 ]
	assert_equal "$output" "Loaded image: localhost/one:1"
	assert_equal "$(grep -c Extracted <<<"$stderr")" 4
	assert_store_sound
	assert_no_leftovers
}

@test "load -q prints the image's id and nothing else" {
	run --separate-stderr ov load -q "$IMAGES/one"
	assert_equal "$output" "$(image_id "$IMAGES/one")"
	assert_equal "$stderr" ""
}

@test "load --json tells programs ids, references and layers" {
	run --separate-stderr ov --json load "$IMAGES/two"
	[ "$status" = 0 ]
	assert_equal "$(jq -c '.[] | [.ID, .References, .Layers, .LayersExtracted]' <<<"$output")" \
		"[\"$(image_id "$IMAGES/two")\",[\"localhost/two:1\"],5,5]"
}

@test "an archive on standard input is loaded" {
	tar -C "$IMAGES/one" -cf "$BATS_TEST_TMPDIR/one.tar" .
	run --separate-stderr ov load <"$BATS_TEST_TMPDIR/one.tar"
	assert_equal "$output" "Loaded image: localhost/one:1"
}

@test "loading what is there extracts nothing and leaves the directories alone" {
	load_quietly "$IMAGES/one"
	local before
	before=$(cd "$ROOT/layers" && find . -printf '%i %T@ %C@ %P\n')
	run --separate-stderr ov load "$IMAGES/one"
	[ "$status" = 0 ]
	assert_equal "$(grep -c 'Already exists' <<<"$stderr")" 4
	assert_lacks "$stderr" Extracted
	assert_equal "$(cd "$ROOT/layers" && find . -printf '%i %T@ %C@ %P\n')" "$before"
	assert_equal "$(ov -q --json load "$IMAGES/one" | jq '.[].LayersExtracted')" 0
}

@test "of images that share layers only what is new is extracted" {
	load_quietly "$IMAGES/one"
	assert_equal "$(ov -q --json load "$IMAGES/two" | jq '.[].LayersExtracted')" 2
	assert_equal "$(layer_dirs | wc -l)" 6
}

@test "a reference moves to the image that is loaded with it; the old image stays without a name" {
	load_quietly "$IMAGES/one"
	mkimage "$BATS_TEST_TMPDIR/new" --ref localhost/one:1 "$IMAGES/layers/alone"
	load_quietly "$BATS_TEST_TMPDIR/new"
	assert_equal "$(ov images -q --no-trunc localhost/one:1)" "$(image_id "$BATS_TEST_TMPDIR/new")"
	assert_equal "$(ov images -q --no-trunc -f dangling=true)" "$(image_id "$IMAGES/one")"
}

@test "load refuses a path that is not there, and two sources at once" {
	fails_with "$BATS_TEST_TMPDIR/missing" ov load "$BATS_TEST_TMPDIR/missing"
	run ov load -i "$IMAGES/one" "$IMAGES/two"
	assert_equal "$status" 125
}

# ---- images ----

@test "images prints docker's columns, newest first" {
	load_quietly "$IMAGES/one" "$IMAGES/two" "$IMAGES/alone"
	succeeds ov images
	assert_match "${lines[0]}" '^REPOSITORY +TAG +IMAGE ID +CREATED +SIZE$'
	assert_equal "$(column 1 <<<"$output" | tr '\n' ' ')" "alone localhost/two localhost/one "
	assert_equal "$(column 2 <<<"$output" | tr '\n' ' ')" "latest 1 1 "
	assert_equal "$(column 3 <<<"$output" | tail -n 1)" "$(short "$(image_id "$IMAGES/one")")"
	assert_match "$(column 4 <<<"$output" | tail -n 1)" '^[0-9]+ (months|years) ago$'
	assert_match "$(column 5 <<<"$output" | head -n 1)" '^6B$'
}

@test "images of an empty store is a heading, and with -q nothing" {
	succeeds ov images
	assert_equal "${#lines[@]}" 1
	assert_equal "$(ov images -q)" ""
	assert_equal "$(ov images --format json | jq -c .)" "[]"
}

@test "images -q prints each image once, also under several names" {
	load_quietly "$IMAGES/one"
	ov tag localhost/one:1 also:a
	assert_equal "$(ov images -q)" "$(short "$(image_id "$IMAGES/one")")"
	assert_equal "$(ov images -q --no-trunc)" "$(image_id "$IMAGES/one")"
	assert_equal "$(ov images | tail -n +2 | wc -l)" 2
}

@test "images --digests shows the manifest's digest" {
	load_quietly "$IMAGES/one"
	succeeds ov images --digests
	assert_match "${lines[0]}" '^REPOSITORY +TAG +DIGEST +IMAGE ID'
	assert_equal "$(column 3 <<<"$output")" "$(manifest_digest "$IMAGES/one")"
}

@test "images --no-trunc shows whole ids, --noheading no heading, -a the same as without" {
	load_quietly "$IMAGES/one"
	assert_contains "$(ov images --no-trunc)" "$(image_id "$IMAGES/one")"
	assert_equal "$(ov images -a)" "$(ov images)"
	assert_equal "$(ov images --noheading | wc -l)" 1
}

# References of what a filter lets through, in alphabetical order.
filtered() {
	ov images --format '{{.Repository}}:{{.Tag}}' "$@" | sort | tr '\n' ' '
}

@test "images --filter reference= takes names and patterns, several of them" {
	load_quietly "$IMAGES/one" "$IMAGES/two" "$IMAGES/alone"
	assert_equal "$(filtered -f reference=alone)" "alone:latest "
	assert_equal "$(filtered -f reference='localhost/*')" "localhost/one:1 localhost/two:1 "
	assert_equal "$(filtered -f reference='*/t*:1')" "localhost/two:1 "
	assert_equal "$(filtered -f reference=alone -f reference=localhost/one:1)" "alone:latest localhost/one:1 "
	assert_equal "$(filtered -f reference=docker.io/library/alone)" "alone:latest "
	assert_equal "$(filtered localhost/one)" "localhost/one:1 "
	assert_equal "$(filtered nothing)" ""
}

@test "images --filter label=, id=, before=, since= and dangling= narrow the list together" {
	load_quietly "$IMAGES/one" "$IMAGES/two" "$IMAGES/alone"
	assert_equal "$(filtered -f label=kind)" "localhost/one:1 localhost/two:1 "
	assert_equal "$(filtered -f label=kind=test -f label=tier)" "localhost/one:1 "
	assert_equal "$(filtered -f label=kind=other)" ""
	assert_equal "$(filtered -f id="$(short "$(image_id "$IMAGES/two")")")" "localhost/two:1 "
	assert_equal "$(filtered -f before=localhost/two:1)" "localhost/one:1 "
	assert_equal "$(filtered -f since=localhost/two:1)" "alone:latest "
	assert_equal "$(filtered -f since=localhost/one:1 -f label=kind)" "localhost/two:1 "
	assert_equal "$(filtered -f dangling=true)" ""
	ov untag alone
	assert_equal "$(filtered -f dangling=true)" "<none>:<none> "
	assert_equal "$(filtered --filter dangling=false)" "localhost/one:1 localhost/two:1 "
}

@test "a filter that is unknown, or for an image that is not there, is refused" {
	fails_with "colour" ov images -f colour=red
	assert_equal "$status" 125
	fails_with "dangling" ov images -f dangling=maybe
	fails_with "KEY=VALUE" ov images -f reference
	fails_with "no such image: absent" ov images -f before=absent
	assert_equal "$status" 1
}

@test "images --format json and --json give the same array, with whole ids, bytes and times" {
	load_quietly "$IMAGES/one"
	assert_equal "$(ov images --format json)" "$(ov --json images)"
	assert_equal "$(ov images --json)" "$(ov --json images)"
	succeeds ov images --format json
	assert_equal "$(jq -r '.[0].ID' <<<"$output")" "$(image_id "$IMAGES/one")"
	assert_equal "$(jq -r '.[0].Digest' <<<"$output")" "$(manifest_digest "$IMAGES/one")"
	assert_equal "$(jq -r '.[0].CreatedAt' <<<"$output")" 2024-01-01T00:00:00Z
	assert_equal "$(jq -c '.[0] | [.Repository, .Tag, .Layers, .Containers, .SharedSize]' <<<"$output")" \
		'["localhost/one","1",4,0,0]'
	assert_equal "$(jq '.[0].Size' <<<"$output")" "$(jq '.[0].UniqueSize' <<<"$output")"
}

@test "shared and unique sizes tell what another image holds too" {
	load_quietly "$IMAGES/one" "$IMAGES/two"
	succeeds ov images --format json
	# etc/one and etc/name of the layer one; srv/data, etc/two and srv/more of the other.
	assert_equal "$(jq -c '[.[] | {(.Repository): .UniqueSize}] | add' <<<"$output")" '{"localhost/two":12,"localhost/one":6}'
	assert_equal "$(jq -c 'all(.SharedSize + .UniqueSize == .Size)' <<<"$output")" true
}

@test "images --format takes templates, with functions, and tables of them" {
	load_quietly "$IMAGES/one"
	assert_equal "$(ov images --format '{{.Repository}}|{{.Tag}}|{{upper .Tag}}')" 'localhost/one|1|1'
	assert_equal "$(ov images --format '{{json .Layers}}')" 4
	succeeds ov images --format 'table {{.Repository}}\t{{.ID}}'
	assert_match "${lines[0]}" '^REPOSITORY +IMAGE ID$'
	assert_match "${lines[1]}" '^localhost/one +[0-9a-f]{12}$'
	fails_with "Nonsense" ov images --format '{{.Nonsense}}'
	fails_with "overlaid:" ov images --format '{{.Tag'
}

# ---- inspect ----

@test "inspect shows what the image's own documents say, in docker's words" {
	load_quietly "$IMAGES/one"
	succeeds ov inspect localhost/one:1
	assert_equal "$(jq -r 'type, length' <<<"$output" | tr '\n' ' ')" "array 1 "
	assert_equal "$(jq -r '.[0].Id' <<<"$output")" "$(image_id "$IMAGES/one")"
	assert_same <(jq -r '.[0].RootFS.Layers[]' <<<"$output") <(diff_ids "$IMAGES/one")
	assert_equal "$(jq -c '.[0].RepoTags' <<<"$output")" '["localhost/one:1"]'
	assert_equal "$(jq -c '.[0].RepoDigests' <<<"$output")" "[\"localhost/one@$(manifest_digest "$IMAGES/one")\"]"
	assert_equal "$(jq -r '.[0].Created' <<<"$output")" 2024-01-01T00:00:00Z
	assert_equal "$(jq -r '.[0].Os' <<<"$output")" linux
	assert_equal "$(jq -r '.[0].Architecture' <<<"$output")" "$(image_config "$IMAGES/one" | jq -r .architecture)"
	assert_equal "$(jq -c '.[0].Config | [.Env, .Cmd, .Entrypoint, .WorkingDir, .User, .Labels.tier]' <<<"$output")" \
		'[["COLOR=red"],["sh","-c","echo from one"],null,"/srv","","1"]'
	assert_equal "$(jq -r '.[0].Size' <<<"$output")" "$(ov images --format json | jq '.[0].Size')"
}

@test "inspect names the layers' directories as overlayfs would have them, topmost first" {
	load_quietly "$IMAGES/one"
	local expected='' id
	while read -r id; do
		expected=$ROOT/layers/sha256/${id#sha256:}/diff${expected:+:$expected}
	done < <(diff_ids "$IMAGES/one")
	assert_equal "$(ov inspect -f '{{.GraphDriver.Data.UpperDir}}:{{.GraphDriver.Data.LowerDir}}' localhost/one:1)" "$expected"
	assert_exists "${expected%%:*}/etc/one"
}

@test "inspect takes several names; of those it does not know it says so, and fails" {
	load_quietly "$IMAGES/one" "$IMAGES/alone"
	succeeds ov inspect localhost/one:1 alone
	assert_equal "$(jq length <<<"$output")" 2
	run --separate-stderr ov inspect absent alone
	assert_equal "$status" 1
	assert_contains "$stderr" "no such image or container: absent"
	assert_equal "$(jq -r '.[].RepoTags[]' <<<"$output")" alone:latest
}

@test "inspect --format prints a line for each, --type says what is meant" {
	load_quietly "$IMAGES/one" "$IMAGES/alone"
	ov create --name alone alone >/dev/null
	assert_equal "$(ov inspect --format '{{.Id}}' localhost/one:1 --type image alone)" \
		"$(image_id "$IMAGES/one")"$'\n'"$(image_id "$IMAGES/alone")"
	assert_match "$(ov inspect --format '{{.Id}}' alone)" "^$HEX_ID$"
	assert_equal "$(ov image inspect -f '{{len .RootFS.Layers}}' alone)" 1
	fails_with "no such container: localhost/one:1" ov inspect --type container localhost/one:1
	run ov inspect --type volume alone
	assert_equal "$status" 125
}

# ---- history ----

@test "history lists the steps, topmost first, with what each layer weighs" {
	load_quietly "$IMAGES/one"
	succeeds ov history localhost/one:1
	assert_match "${lines[0]}" '^IMAGE +CREATED +CREATED BY +SIZE +COMMENT$'
	assert_equal "${#lines[@]}" 6
	assert_match "${lines[1]}" "^$(short "$(image_id "$IMAGES/one")") .*CMD \[\"sh\",\"-c\".* 0B"
	assert_match "${lines[2]}" '^<missing> .*COPY one / # mkimage +6B'
	assert_match "${lines[5]}" 'COPY shell /'
}

@test "history has quiet, whole, exact and machine-readable forms" {
	load_quietly "$IMAGES/one"
	assert_equal "$(ov history -q localhost/one:1 | head -n 1)" "$(short "$(image_id "$IMAGES/one")")"
	assert_equal "$(ov history -q --no-trunc localhost/one:1 | tr '\n' ' ')" \
		"$(image_id "$IMAGES/one") <missing> <missing> <missing> <missing> "
	succeeds ov history --human=false localhost/one:1
	assert_match "${lines[2]}" '2024-01-01T00:00:00Z.* 6( |$)'
	assert_equal "$(ov history --format json localhost/one:1 | jq -c '[.[].Size][:2]')" "[0,6]"
	assert_equal "$(ov history --format '{{.Layer}}' localhost/one:1 | grep .)" "$(diff_ids "$IMAGES/one" | tac)"
	fails_with "no such image: absent" ov history absent
}

# ---- names ----

@test "references are normalised as docker does" {
	load_quietly "$IMAGES/alone"
	local id name
	id=$(image_id "$IMAGES/alone")
	for name in alone alone:latest library/alone docker.io/alone docker.io/library/alone index.docker.io/library/alone:latest; do
		assert_equal "$(ov inspect -f '{{.Id}}' "$name")" "$id"
	done
	fails_with "no such image" ov inspect --type image alone:1
	fails_with "no such image" ov inspect --type image quay.io/alone
}

@test "a short name that docker.io has not is looked for at localhost" {
	load_quietly "$IMAGES/one"
	assert_equal "$(ov inspect -f '{{.Id}}' one:1)" "$(image_id "$IMAGES/one")"
}

@test "an image is named by its id, its digest, and unique beginnings of the id" {
	load_quietly "$IMAGES/one"
	local id hex digest name
	id=$(image_id "$IMAGES/one") digest=$(manifest_digest "$IMAGES/one")
	hex=${id#sha256:}
	for name in "$id" "$hex" "${hex:0:12}" "${hex:0:3}" "sha256:${hex:0:5}" "$digest" "localhost/one@$digest" "localhost/one:1@$digest"; do
		assert_equal "$(ov inspect -f '{{.Id}}' "$name")" "$id"
	done
	fails_with "no such image" ov inspect --type image "localhost/one@sha256:${digest: -1}${digest:8}"
}

@test "a beginning that several ids have is refused, and lists them" {
	local n id first
	local -A by_digit=()
	for n in {1..20}; do
		mkimage "$BATS_TEST_TMPDIR/$n" --ref "localhost/n:$n" --env "N=$n" "$IMAGES/layers/alone"
		load_quietly "$BATS_TEST_TMPDIR/$n"
		id=$(image_id "$BATS_TEST_TMPDIR/$n")
		first=${id:7:1}
		[ -z "${by_digit[$first]-}" ] || break
		by_digit[$first]=$id
	done
	fails_with "$(short "$id")" ov inspect --type image "$first"
	assert_contains "$output" "$(short "${by_digit[$first]}")"
	fails_with "$(short "$id")" ov rmi -f "$first"
	assert_equal "$(ov images -q | wc -l)" "$n"
}

@test "tag adds names, and moves them" {
	load_quietly "$IMAGES/one" "$IMAGES/two"
	assert_equal "$(ov tag localhost/one:1 nginx example.com:5000/team/app:v1)" ""
	assert_equal "$(ov inspect -f '{{json .RepoTags}}' one:1)" '["nginx:latest","example.com:5000/team/app:v1","localhost/one:1"]'
	assert_equal "$(sql "SELECT reference FROM tag WHERE reference LIKE '%nginx%'")" docker.io/library/nginx:latest
	ov tag two:1 nginx
	assert_equal "$(ov inspect -f '{{.Id}}' nginx)" "$(image_id "$IMAGES/two")"
	assert_equal "$(ov images -q | wc -l)" 2
}

@test "tag refuses what is not a reference, a digest, and an image that is not there" {
	load_quietly "$IMAGES/alone"
	local bad
	for bad in UPPER:tag 'a b' '' :tag name: 'name:-tag' 'a//b' "$(image_id "$IMAGES/alone" | cut -d: -f2)" "name@$(manifest_digest "$IMAGES/alone")"; do
		fails_with "overlaid: " ov tag alone "$bad"
		assert_contains "$output" "$bad"
	done
	fails_with "no such image: absent" ov tag absent name
	assert_equal "$(sql 'SELECT count(*) FROM tag')" 1
}

@test "untag removes the name and keeps the image, without a name at last" {
	load_quietly "$IMAGES/alone"
	ov tag alone other:1
	assert_equal "$(ov untag other:1)" ""
	assert_equal "$(ov inspect -f '{{json .RepoTags}}' alone)" '["alone:latest"]'
	ov untag alone
	succeeds ov images
	assert_match "${lines[1]}" '^<none> +<none> +[0-9a-f]{12}'
	fails_with "alone" ov untag alone
	fails_with "not a reference" ov untag "$(image_id "$IMAGES/alone")"
	assert_store_sound
}

# ---- rmi ----

@test "rmi of one name of several removes that name only" {
	load_quietly "$IMAGES/one"
	ov tag one:1 other
	assert_equal "$(ov rmi other)" "Untagged: other:latest"
	assert_equal "$(layer_dirs | wc -l)" 4
}

@test "rmi of the last name removes the image and says what went" {
	load_quietly "$IMAGES/one"
	succeeds ov rmi one:1
	assert_equal "${lines[0]}" "Untagged: localhost/one:1"
	assert_equal "${lines[1]}" "Deleted: $(image_id "$IMAGES/one")"
	assert_same <(printf '%s\n' "${lines[@]:2}" | sort) <(diff_ids "$IMAGES/one" | sed 's/^/Deleted: /' | sort)
	settle
	assert_store_empty
}

@test "rmi by id wants -f where there are several names" {
	load_quietly "$IMAGES/one"
	ov tag one:1 other
	fails_with "-f" ov rmi "$(image_id "$IMAGES/one")"
	assert_contains "$output" "2 references"
	assert_equal "$(ov images --noheading | wc -l)" 2
	succeeds ov rmi -f "$(short "$(image_id "$IMAGES/one")")"
	assert_equal "$(grep -c ^Untagged: <<<"$output")" 2
	settle
	assert_store_empty
}

@test "rmi goes on after an image that is not there; -i does not mind; a name given twice counts once" {
	load_quietly "$IMAGES/one" "$IMAGES/alone"
	run --separate-stderr ov rmi absent alone alone
	assert_equal "$status" 1
	assert_equal "$stderr" "overlaid: no such image: absent"
	assert_contains "$output" "Untagged: alone:latest"
	succeeds ov rmi -i absent one:1
	assert_lacks "$output" absent
	settle
	assert_store_empty
}

@test "rmi has a quiet and a machine-readable form" {
	load_quietly "$IMAGES/one" "$IMAGES/alone"
	assert_equal "$(ov rmi -q alone)" ""
	succeeds ov --json rmi one:1
	assert_equal "$(jq -c '.[0:2]' <<<"$output")" "[{\"Untagged\":\"localhost/one:1\"},{\"Deleted\":\"$(image_id "$IMAGES/one")\"}]"
}

@test "rmi of an image with containers is refused, names them and says that -f may force it" {
	load_quietly "$IMAGES/one"
	local id
	id=$(ov create --name web one:1)
	ov create --name other one:1 >/dev/null
	fails_with "used by 2 containers" ov rmi one:1
	assert_contains "$output" "web ($(short "$id"))"
	assert_contains "$output" "other"
	assert_contains "$output" "-f"
	assert_equal "$(ov images -q | wc -l)" 1
	assert_equal "$(layer_dirs | wc -l)" 4
}

@test "rmi of an image with many containers names some and counts all" {
	load_quietly "$IMAGES/alone"
	local n
	for n in {1..9}; do ov create --name "c$n" alone >/dev/null; done
	fails_with "9 containers" ov rmi alone
	assert_contains "$output" "..."
}

@test "rmi -f with unmounted containers: they keep their layers, and work" {
	load_quietly "$IMAGES/one"
	local path
	ov create --name web one:1 >/dev/null
	path=$(ov mount web)
	echo mine >"$path/etc/mine"
	ov umount web
	succeeds ov rmi -f one:1
	assert_equal "$output" "Untagged: localhost/one:1"$'\n'"Deleted: $(image_id "$IMAGES/one")"
	assert_equal "$(ov images -q)" ""
	settle
	assert_equal "$(layer_dirs | wc -l)" 4
	assert_equal "$(ov --json layers | jq -c '[.[] | [.References, .HeldBy[0]]] | unique')" '[[1,"container web"]]'
	assert_equal "$(ov inspect -f '{{.ImageExists}} {{len .RootFS.Layers}}' web)" "false 4"
	path=$(ov mount web)
	assert_equal "$(cat "$path/etc/name" "$path/etc/mine")" "one"$'\n'"mine"
	assert_missing "$path/opt/gone"
	assert_equal "$(ov diff web)" $'C /etc\nA /etc/mine'
	assert_store_sound
	ov rm -f web
	settle
	assert_store_empty
}

@test "an image removed by force and loaded again shares its layers with the containers it had" {
	load_quietly "$IMAGES/one"
	ov create --name web one:1 >/dev/null
	ov rmi -f one:1
	assert_equal "$(ov -q --json load "$IMAGES/one" | jq '.[].LayersExtracted')" 0
	assert_equal "$(ov --json layers | jq -c '[.[].References] | unique')" '[2]'
	ov rm web
	assert_store_sound
}

@test "rmi of an image with a mounted container is refused also with -f, and says so" {
	load_quietly "$IMAGES/one"
	ov create --name web one:1 >/dev/null
	ov create --name idle one:1 >/dev/null
	local path flag
	path=$(ov mount web)
	for flag in '' -f; do
		fails_with "mounted" ov rmi $flag one:1
		assert_contains "$output" "web ("
		assert_contains "$output" "-f cannot force this"
	done
	assert_equal "$(cat "$path/etc/name")" one
	ov umount web
	succeeds ov rmi -f one:1
}

@test "rmi of a mounted image is refused also with -f" {
	load_quietly "$IMAGES/one"
	local path
	path=$(ov image mount one:1)
	fails_with "overlaid image umount" ov rmi one:1
	fails_with "mounted" ov rmi -f one:1
	assert_equal "$(cat "$path/etc/name")" one
	ov image umount one:1
	succeeds ov rmi one:1
}

@test "two images that share three layers: each directory is there once, with two references, until the last goes" {
	load_quietly "$IMAGES/one" "$IMAGES/two"
	local shared
	shared=$(comm -12 <(diff_ids "$IMAGES/one" | sort) <(diff_ids "$IMAGES/two" | sort))
	assert_equal "$(wc -l <<<"$shared")" 3
	assert_equal "$(layer_dirs | wc -l)" 6
	assert_same <(ov --json layers | jq -r '.[] | select(.References == 2) | .Layer') <(echo "$shared")
	ov rmi one:1 >"$BATS_TEST_TMPDIR/said"
	assert_equal "$(grep -c '^Deleted: ' "$BATS_TEST_TMPDIR/said")" 2 # the image and its own layer
	settle
	assert_same <(layer_dirs) <(diff_ids "$IMAGES/two" | cut -d: -f2 | sort)
	assert_store_sound
	ov rmi two:1
	settle
	assert_store_empty
}

@test "a layer that an image has twice is one directory and one reference" {
	mkimage "$BATS_TEST_TMPDIR/twice" --ref twice "$IMAGES/layers/alone" "$IMAGES/layers/first" "$IMAGES/layers/alone"
	load_quietly "$BATS_TEST_TMPDIR/twice"
	assert_equal "$(layer_dirs | wc -l)" 2
	assert_equal "$(ov --json layers | jq -c '[.[].References]')" '[1,1]'
	assert_equal "$(ov inspect -f '{{len .RootFS.Layers}}' twice)" 3
	assert_equal "$(cat "$(ov image mount twice)/file")" alone
	ov image umount twice
	ov rmi twice
	settle
	assert_store_empty
}

@test "rmi \$(overlaid images -q) -f leaves an empty store, and the disk as it was" {
	ov images >/dev/null
	settle
	# As at the end: what looks into the database may take its shared memory file away.
	assert_store_empty
	local before
	before=$(disk_bytes "$ROOT")
	load_quietly "$IMAGES/one" "$IMAGES/two" "$IMAGES/alone"
	ov tag one:1 further:1
	ov tag two:1 further:2
	ov create --name web one:1 >/dev/null
	ov rm web >/dev/null
	ov rmi $(ov images -q) -f
	settle
	assert_store_empty
	assert_equal "$(disk_bytes "$ROOT")" "$before"
}

@test "what rmi removed is deleted in the background, without being asked" {
	load_quietly "$IMAGES/one"
	ov rmi one:1
	local tries=0
	while [ -n "$(names_in "$ROOT/trash")" ] && [ $tries -lt 1000 ]; do
		tries=$((tries + 1))
		sleep 0.01
	done
	assert_no_leftovers
}

# ---- mounted images ----

@test "image mount shows the image, read-only, at one path however often" {
	load_quietly "$IMAGES/one"
	local path
	path=$(ov image mount one:1)
	assert_equal "$(ov image mount one:1)" "$path"
	assert_equal "$(mounts_below "$RUN" | wc -l)" 1
	assert_equal "$(cat "$path/etc/name" "$path/usr/share/a" "$path/usr/share/b")" $'one\nA\nBB'
	assert_missing "$path/opt/gone"
	run touch "$path/new"
	assert_contains "$output" "Read-only file system"
	assert_equal "$(ov image umount one:1)" one:1
	assert_equal "$(mounts_below "$RUN")" ""
	assert_equal "$(sql 'SELECT count(*) FROM snapshot')" 0
}

@test "image mount lists what is mounted, and takes several images" {
	load_quietly "$IMAGES/one" "$IMAGES/alone"
	run --separate-stderr ov image mount one:1 absent alone
	assert_equal "$status" 1
	assert_equal "$stderr" "overlaid: no such image: absent"
	assert_equal "$(cut -d' ' -f1 <<<"$output")" $'one:1\nalone'
	assert_same <(cut -d' ' -f2 <<<"$output" | sort) <(mounts_below "$RUN" | sort)
	assert_same <(ov image mount --format '{{.ID}} {{.Mountpoint}}' | cut -d' ' -f2 | sort) <(mounts_below "$RUN" | sort)
	succeeds ov image mount
	assert_match "${lines[0]}" '^IMAGE ID +REPOSITORIES +MOUNTPOINT$'
	assert_equal "${#lines[@]}" 3
}

@test "image umount --all leaves nothing mounted" {
	load_quietly "$IMAGES/one" "$IMAGES/alone"
	ov image mount one:1 alone >/dev/null
	ov image umount --all
	assert_equal "$(mounts_below "$RUN")" ""
	assert_equal "$(ov image umount --all)" ""
}

@test "image umount names who keeps the mount busy, and says where nothing is mounted" {
	load_quietly "$IMAGES/one"
	local path
	path=$(ov image mount one:1)
	exec 7<"$path/etc/name"
	fails_with "$$" ov image umount one:1
	exec 7<&-
	ov image umount one:1
	fails_with "not mounted" ov image umount one:1
	fails_with "no such image" ov image umount absent
}

# ---- layers, tree ----

@test "layers lists every layer with size, entries, references and holders" {
	load_quietly "$IMAGES/one" "$IMAGES/two"
	ov create --name web one:1 >/dev/null
	succeeds ov layers
	assert_match "${lines[0]}" '^LAYER +SIZE +DISK +ENTRIES +REFS +HELD BY$'
	assert_equal "${#lines[@]}" 7
	local first
	first=$(diff_ids "$IMAGES/one" | sed -n 2p)
	assert_match "$output" "$(short "$first") +15B +[0-9.kKMB]+ +[0-9]+ +3 +.*container web"
	assert_equal "$(ov layers -q | wc -l)" 6
	assert_same <(ov layers -q --no-trunc) <({ diff_ids "$IMAGES/one" && diff_ids "$IMAGES/two"; } | sort -u)
	assert_equal "$(ov layers --format '{{.Path}}' | head -n 1)" "$ROOT/layers/sha256/$(layer_dirs | head -n 1)/diff"
}

@test "layers counts as du does" {
	load_quietly "$IMAGES/one"
	local path bytes
	ov --json layers | jq -r '.[] | "\(.Path) \(.DiskSize)"' | while read -r path bytes; do
		assert_equal "$bytes" "$(disk_bytes "$path")"
	done
}

@test "tree shows shared layers once, and image tree one image's layers" {
	load_quietly "$IMAGES/one" "$IMAGES/two"
	succeeds ov tree
	assert_equal "${#lines[@]}" 6
	assert_contains "$output" "[localhost/one:1]"
	assert_contains "$output" "[localhost/two:1]"
	assert_equal "$(ov --json tree | jq 'length')" 2
	succeeds ov image tree one:1
	assert_equal "$(grep -c 'ID: .* Size: ' <<<"$output")" 4
	assert_match "${lines[-1]}" 'Top Layer of: \[localhost/one:1\]'
	assert_contains "$(ov tree --no-trunc)" "$(diff_ids "$IMAGES/one" | head -n 1)"
	fails_with "no such image: absent" ov image tree absent
}
