# SPDX-License-Identifier: Apache-2.0
#
# Layouts with more than one image, made in the directory $T. Loaded after common.

# An index of images: for this machine, for arm64, for riscv64.
make_index() { # new layout
	local arch
	mkdir -p "$T/trees"
	for arch in '' arm64 riscv64; do
		mkdir "$T/trees/${arch:-mine}"
		echo "${arch:-mine}" >"$T/trees/${arch:-mine}/arch"
	done
	"$TOP/scripts/mkimage" "$1" --ref localhost/multi:1 --arch riscv64 "$T/trees/riscv64" >/dev/null
	"$TOP/scripts/mkimage" "$1" --append --ref localhost/multi:1 --arch arm64 --variant v8 "$T/trees/arm64" >/dev/null
	"$TOP/scripts/mkimage" "$1" --append --ref localhost/multi:1 "$T/trees/mine" >/dev/null
	nest "$1"
}

# The layout's manifests become one index that is a blob, as registries have it and skopeo copies it.
nest() { # layout
	local hex size
	jq -c '.manifests |= map(del(.annotations))' "$1/index.json" >"$T/index"
	hex=$(sha256sum <"$T/index" | cut -d ' ' -f 1)
	size=$(stat -c %s "$T/index")
	mv "$T/index" "$1/blobs/sha256/$hex"
	jq -n --arg digest "sha256:$hex" --argjson size "$size" '{schemaVersion: 2, manifests: [{
		mediaType: "application/vnd.oci.image.index.v1+json", $digest, $size,
		annotations: {"org.opencontainers.image.ref.name": "localhost/multi:1"}}]}' >"$1/index.json"
}

machine_arch() {
	case $(uname -m) in x86_64) echo amd64 ;; aarch64) echo arm64 ;; *) uname -m ;; esac
}

# A layout with three images of their own.
make_several() { # new layout
	local n append=()
	for n in 1 2 3; do
		mkdir -p "$T/trees/$n"
		echo "$n" >"$T/trees/$n/number"
		"$TOP/scripts/mkimage" "$1" "${append[@]}" --ref "localhost/several:$n" "$T/trees/$n" >/dev/null
		append=(--append)
	done
}
