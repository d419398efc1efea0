# SPDX-License-Identifier: Apache-2.0
#
# What pull-sick.bats and pull-hostile.bats share: a registry with faults (tests/lib/registry.py has them), an image in
# it, and what may come of pulling it. Loaded after common, behaviour and registry.
#
# What can be got over is: the image is whole. What cannot is one line of words that say what happened, to what, within
# a bounded time, and the store is as it was. Never does a password or token go where it should not, or into what is
# printed.

# Once for a file: an empty store, and an authority.
sick_setup_file() {
	have_registry || return 0
	local ROOT=$BATS_FILE_TMPDIR/empty RUN=$BATS_FILE_TMPDIR/run
	ov images >/dev/null
	make_authority "$BATS_FILE_TMPDIR/ca"
	mkdir "$BATS_FILE_TMPDIR/trust"
	cp "$BATS_FILE_TMPDIR/ca/ca.crt" "$BATS_FILE_TMPDIR/trust/"
}

sick_setup() {
	need_registry sqlite3
	common_setup
	registry_environment
	FILE=$BATS_FILE_TMPDIR T=$BATS_TEST_TMPDIR CA=$BATS_FILE_TMPDIR/ca
	cp -a "$FILE/empty" "$ROOT"
	use_layout "$(image busybox)/layout"
}

# The image that tests/busybox is to be: its parts, and where they are asked for.
use_layout() { # layout
	LAYOUT=$1
	MANIFEST=$(manifest_digest "$1") CONFIG=$(image_id "$1") LAYER=$(manifest "$1" | jq -r '.layers[0].digest')
	SIZE=$(manifest "$1" | jq '.layers[0].size')
	V2=/v2/test/busybox
	AT_TAG="\"path\": \"$V2/manifests/latest\", \"method\": \"GET|HEAD\""
	AT_MANIFEST="\"path\": \"$V2/manifests/.*\", \"method\": \"GET|HEAD\""
	AT_CONFIG="\"path\": \"$V2/blobs/$CONFIG\"" AT_LAYER="\"path\": \"$V2/blobs/$LAYER\""
	OF_LAYER=".path == \"$V2/blobs/$LAYER\""
}

# The registry with these faults, and more options for it in OPTIONS.
sick() { # fault...
	start_registry "$T/registry" --serve "test/busybox=$LAYOUT" --faults "$(faults "$@")" "${OPTIONS[@]}"
	NAME=$REGISTRY/test/busybox
}
OPTIONS=()

# Ends it, for another one, and an empty store again.
anew() {
	registries_end
	rm -rf "$T/registry" "$ROOT"
	cp -a "$FILE/empty" "$ROOT"
}

# With little patience. A pull that does not end is one that died.
pull() { # overlaid pull's options, or another name
	local name=$NAME
	[[ ${*: -1} != "$REGISTRY"/* ]] || name=
	timeout --signal KILL 60 "$OVERLAID" --root "$ROOT" --run "$RUN" --progress none pull \
		--retry 2 --retry-delay 0.05 --stall-timeout 1 "$@" ${name:+"$name"}
}

# The image comes, whole, in spite of it.
gets_over_it() { # pull's options
	run --separate-stderr pull "$@"
	[ "$status" = 0 ] || fail "failed, and should not: $stderr"
	assert_whole
}

assert_whole() {
	assert_equal "$(ov images -q --no-trunc)" "$CONFIG"
	assert_equal "$(sha256sum <"$(ov image mount "$CONFIG")/bin/busybox")" "$(sha256sum </bin/busybox)"
	ov image umount "$CONFIG" >/dev/null
	settle
	assert_no_leftovers
	assert_store_sound
}

# Words that say it (an extended regular expression, of any case), and a store as it was. A part of a blob may be
# kept to go on with.
gives_up() { # words, pull's options
	local words=$1
	shift
	run --separate-stderr pull "$@"
	assert_given_up "$words"
}

assert_given_up() { # words
	[ "$status" = 1 ] || fail "status $status: $output $stderr"
	assert_equal "$output" ""
	assert_match "$stderr" '^overlaid: [^[:cntrl:]]+$'
	[ ${#stderr} -lt 2000 ] || fail "${#stderr} bytes of words"
	grep -qiE -e "$1" <<<"$stderr" || fail "other words: $stderr"
	assert_lacks "$stderr" secret
	assert_lacks "$stderr" test-token
	settle
	rm -rf "$ROOT"/partial/*
	assert_no_leftovers
	assert_same <(ROOT=$FILE/empty store_listing) <(store_listing)
}

# Either, but nothing between.
gets_over_it_or_gives_up() { # words, pull's options
	local words=$1
	shift
	run --separate-stderr pull "$@"
	if [ "$status" = 0 ]; then
		assert_whole
	else
		assert_given_up "$words"
	fi
}

# A document of ours as the manifest, by tag and by digest.
instead() { # file, media type: a fault
	echo "{$AT_MANIFEST, \"do\": \"serve\", \"file\": \"$1\", \"type\": \"$2\"}"
}

OCI_MANIFEST=application/vnd.oci.image.manifest.v1+json
OCI_INDEX=application/vnd.oci.image.index.v1+json

# The manifest changed by a jq expression, on stdout.
changed() { # expression
	manifest "$LAYOUT" | jq -c "$1"
}

now_ms() {
	echo $((${EPOCHREALTIME/./} / 1000))
}

# Runs a command, and sets MS to how long it took.
timed() { # command...
	local before
	before=$(now_ms)
	"$@"
	MS=$(($(now_ms) - before))
}

# What may be sent twice, because it was under way or not yet kept.
SLACK=131072

assert_sent_at_most() { # bytes, jq expression of the requests
	local sent
	sent=$(sent_bytes "$2")
	[ "$sent" -le "$1" ] || fail "$sent bytes were sent, and should be at most $1"
}
