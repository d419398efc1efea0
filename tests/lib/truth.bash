# SPDX-License-Identifier: Apache-2.0
#
# What other people's tools make of an image, as listings to compare with ours. Loaded after common.
# Nothing here asks the program that is tested.

truth() {
	python3 -B "$TOP/tests/truth/run" "$@"
}

# A tree, a line an entry. How many links an inode has is left out: in a stack of layers a deleted link
# still counts, on one directory it does not. Which names are links of one another is in the listing.
listing() { # directory
	"$TOOLS/treels" "$1" | sed -E 's/ nlink=[0-9]+//'
	return "${PIPESTATUS[0]}"
}

# The tag of the first image in a layout; mkimage writes it there.
tag_of() { # layout
	jq -er '.manifests[0].annotations["org.opencontainers.image.ref.name"]' "$1/index.json"
}

# A document of the first image in a layout.
manifest_of() { # layout
	cat "$1/blobs/sha256/$(jq -r '.manifests[0].digest | sub("sha256:"; "")' "$1/index.json")"
}
config_of() { # layout
	cat "$1/blobs/sha256/$(manifest_of "$1" | jq -r '.config.digest | sub("sha256:"; "")')"
}
image_id_of() { # layout
	manifest_of "$1" | jq -r .config.digest
}

# A tree that no overlay took part in: umoci applies layer after layer to one directory.
by_umoci() { # layout, new directory
	umoci raw unpack --image "$1:$(tag_of "$1")" "$2" >"$2.log" 2>&1 || fail "umoci: $(cat "$2.log")"
	listing "$2"
}

# The directories containers-storage (Podman, CRI-O, Buildah) unpacks, mounted as it mounts them.
by_containers_storage() { # layout, new directory
	local store=$2/store layer lower
	mkdir -p "$2/tree"
	skopeo --insecure-policy copy --quiet "oci:$1:$(tag_of "$1")" \
		"containers-storage:[overlay@$store+$2/run]localhost/image:1"
	layer=$(jq -er '.[0].layer' "$store/overlay-images/images.json")
	lower=$layer/empty # the lowest layer has no file "lower" but an empty directory to go with it
	[ ! -e "$store/overlay/$layer/lower" ] || lower=$(cat "$store/overlay/$layer/lower")
	(cd "$store/overlay" && mount -t overlay -o "ro,lowerdir=$layer/diff:$lower" overlay "$2/tree")
	listing "$2/tree"
}
