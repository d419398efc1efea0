#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
#
# Whatever an image comes as, it is the same image: one id, one tree, and each layer extracted once.

load ../lib/common
load ../lib/truth
load ../lib/several

# The zoo as an OCI layout is what every other source must come to.
setup() {
	need_root
	need skopeo jq zstd gzip
	common_setup
	zoo=$(image zoo)
	id=$(image_id_of "$zoo/layout")
	T=$BATS_TEST_TMPDIR
}

# Loads into a fresh store with the arguments given, and expects the zoo's id, layers, reference and tree.
loads_the_zoo() { # overlaid load's arguments; LOADED_AS: another reference
	local ROOT=$T/fresh RUN=$T/fresh-run
	succeeds ov load "$@"
	assert_contains "$output" "Loaded image: ${LOADED_AS-localhost/zoo:1}"
	assert_equal "$(ov images --quiet --no-trunc)" "$id"
	assert_equal "$(ov inspect "$id" | jq -c '.[0].RootFS.Layers')" \
		"$(config_of "$zoo/layout" | jq -c .rootfs.diff_ids)"
	assert_same <(zoo_tree) <(listing "$(ov image mount "$id")")
	ov image umount "$id" >/dev/null
	rm -rf "$ROOT"
}

zoo_tree() {
	[ -e "$BATS_FILE_TMPDIR/zoo" ] || truth model "$zoo/layout" >"$BATS_FILE_TMPDIR/zoo"
	cat "$BATS_FILE_TMPDIR/zoo"
}

# The id that skopeo, who reads the same file, gives to the image.
skopeo_id() { # transport:name
	echo "sha256:$(skopeo --insecure-policy inspect --raw --config "$1" | sha256sum | cut -d ' ' -f 1)"
}

@test "an OCI layout directory, layers gzip" { loads_the_zoo "$zoo/layout"; }

@test "an OCI layout directory, layers zstd" { loads_the_zoo "$zoo/layout-zstd"; }

@test "an oci-archive, layers plain" { loads_the_zoo --input "$zoo/archive.tar"; }

@test "a docker-archive as podman saves it" { loads_the_zoo "$zoo/docker-archive.tar"; }

@test "an archive as Docker from 25 on saves it" { loads_the_zoo "$zoo/docker-save.tar"; }

@test "an archive as Docker before 25 saves it" { loads_the_zoo "$zoo/docker-legacy.tar"; }

@test "archives as skopeo writes them" {
	local made
	skopeo --insecure-policy copy -q "oci:$zoo/layout:1" "docker-archive:$T/docker.tar:localhost/zoo:1"
	# skopeo makes a Docker config of the OCI one: another id, the same layers.
	made=$(skopeo_id "docker-archive:$T/docker.tar")
	id=$made loads_the_zoo "$T/docker.tar"
	skopeo --insecure-policy copy -q "oci:$zoo/layout:1" "oci-archive:$T/oci.tar:localhost/zoo:1"
	assert_equal "$(skopeo_id "oci-archive:$T/oci.tar")" "$id"
	loads_the_zoo "$T/oci.tar"
}

@test "an archive from standard input, also from a pipe" {
	local shape
	for shape in archive docker-archive docker-save docker-legacy; do
		loads_the_zoo <"$zoo/$shape.tar"
		loads_the_zoo < <(cat "$zoo/$shape.tar")
	done
}

@test "an archive compressed as a whole, gzip and zstd, from a file and from a pipe" {
	local shape
	for shape in archive docker-archive docker-save docker-legacy; do
		gzip -1 <"$zoo/$shape.tar" >"$T/$shape.tar.gz"
		zstd -q -1 <"$zoo/$shape.tar" >"$T/$shape.tar.zst"
		loads_the_zoo "$T/$shape.tar.gz"
		loads_the_zoo "$T/$shape.tar.zst"
		loads_the_zoo < <(cat "$T/$shape.tar.zst")
	done
}

@test "an archive whose members come in the reverse order" {
	local names shape
	for shape in archive docker-archive docker-save docker-legacy; do
		mkdir "$T/$shape"
		tar -C "$T/$shape" -xf "$zoo/$shape.tar"
		mapfile -t names < <(cd "$T/$shape" && find . ! -type d -printf '%P\n' | sort -r)
		tar -C "$T/$shape" -cf "$T/$shape.tar" "${names[@]}"
		loads_the_zoo "$T/$shape.tar"
		loads_the_zoo < <(cat "$T/$shape.tar")
	done
}

@test "an archive unpacked into a directory is an OCI layout" {
	mkdir "$T/unpacked"
	tar -C "$T/unpacked" -xf "$zoo/archive.tar"
	loads_the_zoo "$T/unpacked"
}

# Docker before 1.10: no manifest.json, no config with digests; the layers are a chain of JSON files.
@test "an archive of before Docker 1.10, with nothing but repositories" {
	local ROOT=$T/fresh RUN=$T/fresh-run
	mkdir "$T/old"
	tar -C "$T/old" -xf "$zoo/docker-legacy.tar"
	rm "$T"/old/*.json
	tar -C "$T/old" -cf "$T/old.tar" .
	succeeds ov load "$T/old.tar"
	assert_contains "$output" "Loaded image: localhost/zoo:1"
	assert_equal "$(ov inspect localhost/zoo:1 | jq -c '.[0].RootFS.Layers')" \
		"$(config_of "$zoo/layout" | jq -c .rootfs.diff_ids)"
	assert_same <(zoo_tree) <(listing "$(ov image mount localhost/zoo:1)")
}

@test "Docker's media types (schema 2) are as good as OCI's" {
	mkdir "$T/tree"
	echo schema >"$T/tree/file"
	"$TOP/scripts/mkimage" "$T/docker" --schema2 --ref localhost/schema:2 "$T/tree" >"$T/id"
	"$TOP/scripts/mkimage" "$T/oci" --ref localhost/schema:1 "$T/tree" >/dev/null
	succeeds ov load "$T/docker"
	assert_equal "$(ov images -q --no-trunc)" "$(<"$T/id")"
	succeeds ov load "$T/oci"
	assert_equal "$(ov images -q --no-trunc)" "$(<"$T/id")"
	assert_equal "$(cat "$(ov image mount localhost/schema:2)/file")" schema
}

@test "loading again extracts nothing, whatever the source is" {
	local source before
	succeeds ov load "$zoo/layout"
	assert_equal "$(grep -c Extracted <<<"$output")" 3
	before=$(layer_directories)
	for source in layout layout-zstd archive.tar docker-archive.tar docker-save.tar docker-legacy.tar; do
		succeeds ov load "$zoo/$source"
		assert_lacks "$output" Extracted
		assert_equal "$(grep -c 'Already exists' <<<"$output")" 3
		assert_contains "$output" "Loaded image: localhost/zoo:1"
		succeeds ov load <"$zoo/archive.tar"
		assert_lacks "$output" Extracted
	done
	assert_equal "$(layer_directories)" "$before"
	assert_equal "$(ls -A "$ROOT/staging" "$ROOT/partial" | grep -v :)" ""
	assert_equal "$(ov images -q | wc -l)" 1
}

# Each with its inode: a directory made anew would have another.
layer_directories() {
	find "$ROOT/layers" -mindepth 1 -maxdepth 3 -printf '%p %i\n' | sort
}

# ---- several images in one source ----

@test "of an index, this machine's image is taken" {
	[ "$(machine_arch)" != arm64 ] || return 0 # then both are the same
	make_index "$T/multi"
	succeeds ov load "$T/multi"
	assert_equal "$(ov images --format '{{.Repository}}:{{.Tag}}')" localhost/multi:1
	assert_equal "$(ov inspect localhost/multi:1 | jq -r '.[0].Architecture')" "$(machine_arch)"
	assert_equal "$(cat "$(ov image mount localhost/multi:1)/arch")" mine
	assert_equal "$(ov layers -q | wc -l)" 1
}

@test "of an index, --platform takes another image" {
	local wanted
	make_index "$T/multi"
	for wanted in linux/arm64/v8 linux/arm64 linux/riscv64; do
		succeeds ov load --platform "$wanted" "$T/multi"
		assert_equal "$(ov inspect localhost/multi:1 | jq -r '.[0] | .Os + "/" + .Architecture')" \
			"$(cut -d / -f 1,2 <<<"$wanted")"
	done
	assert_equal "$(cat "$(ov image mount localhost/multi:1)/arch")" riscv64
}

@test "of an index, the image is the one skopeo takes" {
	make_index "$T/multi"
	ov load --quiet --platform linux/arm64 "$T/multi"
	skopeo --insecure-policy --override-arch arm64 copy -q "oci:$T/multi:localhost/multi:1" "oci:$T/one:1"
	assert_equal "$(ov images -q --no-trunc)" "$(image_id_of "$T/one")"
}

@test "a platform that an index lacks is refused, and those it has are named" {
	make_index "$T/multi"
	fails_with linux/s390x ov load --platform linux/s390x "$T/multi"
	assert_contains "$output" riscv64
	assert_equal "$(ov images -q)" ""
	assert_equal "$(ls -A "$ROOT/layers/sha256")" ""
}

@test "of a layout with several images none is taken unasked, and they are named" {
	make_several "$T/several"
	fails_with "several:2" ov load "$T/several"
	assert_contains "$output" all-tags
	assert_equal "$(ov images -q)" ""
}

@test "--all-tags loads every image of a layout" {
	local n
	make_several "$T/several"
	succeeds ov load --all-tags "$T/several"
	assert_equal "$(ov images --format '{{.Repository}}:{{.Tag}}' | sort | tr '\n' ' ')" \
		"localhost/several:1 localhost/several:2 localhost/several:3 "
	for n in 1 2 3; do
		assert_equal "$(cat "$(ov image mount "localhost/several:$n")/number")" "$n"
	done
}

@test "--ref loads one image of a layout" {
	make_several "$T/several"
	succeeds ov load --ref localhost/several:2 "$T/several"
	assert_equal "$(ov images --format '{{.Repository}}:{{.Tag}}')" localhost/several:2
	assert_equal "$(cat "$(ov image mount localhost/several:2)/number")" 2
}

@test "a docker-archive with several images loads all of them" {
	mkdir "$T/both"
	make_several "$T/several"
	skopeo --insecure-policy copy -q "oci:$T/several:1" "docker-archive:$T/both/1.tar:localhost/several:1"
	skopeo --insecure-policy copy -q "oci:$T/several:2" "docker-archive:$T/both/2.tar:localhost/several:2"
	mkdir "$T/both/in"
	tar -C "$T/both/in" -xf "$T/both/1.tar"
	mv "$T/both/in/manifest.json" "$T/both/1.json"
	tar -C "$T/both/in" -xf "$T/both/2.tar"
	jq -s add "$T/both/1.json" "$T/both/in/manifest.json" >"$T/both/all.json"
	mv "$T/both/all.json" "$T/both/in/manifest.json"
	tar -C "$T/both/in" -cf "$T/both.tar" .
	succeeds ov load "$T/both.tar"
	assert_equal "$(ov images --format '{{.Repository}}:{{.Tag}}' | sort | tr '\n' ' ')" \
		"localhost/several:1 localhost/several:2 "
	assert_equal "$(cat "$(ov image mount localhost/several:1)/number")" 1
}

@test "a hard link to a file of the layer beneath, and a way through its symlink, are what they say" {
	local tree
	ov load --quiet "$(image parents)/hardlink" >/dev/null
	tree=$(ov image mount localhost/hardlink:1)
	assert_equal "$(cat "$tree/data/link")" target
	assert_equal "$(stat -c %i "$tree/data/link")" "$(stat -c %i "$tree/data/target")"
	ov load --quiet "$(image parents)/symlink" >/dev/null
	tree=$(ov image mount localhost/symlink:1)
	assert_equal "$(readlink "$tree/lib")" usr/lib
	assert_equal "$(cat "$tree/lib/upper" "$tree/lib/lower")" "upper"$'\n'"lower"
}
