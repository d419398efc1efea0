#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
#
# Nothing is fetched twice: not after a pull that was killed, not by two pulls at once, not where the layer is there.
# Counted by the registry, which holds a blob back at a byte until the test has seen what it wants to see.

load ../lib/common
load ../lib/behaviour
load ../lib/truth
load ../lib/registry

setup_file() {
	have_registry || return 0
	make_images
}

setup() {
	need_registry sqlite3
	common_setup
	registry_environment
	T=$BATS_TEST_TMPDIR
	use_layout "$(image busybox)/layout"
	PULLS=()
}

teardown() {
	local pid
	for pid in "${PULLS[@]}"; do
		kill -KILL "$pid" 2>/dev/null || true
		wait "$pid" 2>/dev/null || true
	done
	registries_end
	common_teardown
}

# ---- helpers ----

# The image that tests/image is to be. Its biggest layer is the one that is held, in the middle.
use_layout() { # layout
	LAYOUT=$1
	ID=$(image_id "$1")
	read -r LAYER SIZE < <(manifest "$1" | jq -r '.layers | max_by(.size) | "\(.digest) \(.size)"')
	HALF=$((SIZE / 2))
	AT_LAYER="\"path\": \"/v2/test/image/blobs/$LAYER\""
	OF_LAYER=".path == \"/v2/test/image/blobs/$LAYER\" and .method == \"GET\""
	PARTIAL=$ROOT/partial/${LAYER#*:}
}

# The registry with these faults.
serve() { # fault...
	start_registry "$T/registry" --serve "test/image=$LAYOUT" --faults "$(faults "$@")"
	NAME=$REGISTRY/test/image:$(tag_of "$LAYOUT")
}

# The first request for the layer gets its first half, and the rest when there is the file $T/go.
held_in_the_middle() {
	echo "{$AT_LAYER, \"do\": \"hold\", \"at\": $HALF, \"reached\": \"$T/reached\", \"until\": \"$T/go\", \"times\": 1}"
}

# Starts a pull, with its output in files of this name; its process is the last of PULLS.
start_pull() { # name, option...
	local name=$1
	shift
	"$OVERLAID" --root "$ROOT" --run "$RUN" --progress json pull --retry-delay 0.05 "$@" "$NAME" \
		>"$T/$name.out" 2>"$T/$name.err" 3>&- 4>&- &
	PULLS+=($!)
}

# Its exit status must be this one.
ended() { # pid, status
	local status=0
	wait "$1" || status=$?
	[ "$status" = "$2" ] || fail "exit status $status: $(cat "$T"/*.err)"
}

# What came so far is in the store: all that was sent, but for what a buffer may hold.
SLACK=131072
partial_has_it() {
	local size
	size=$(stat -c %s "$PARTIAL" 2>/dev/null) && [ "$size" -ge $((HALF - SLACK)) ]
}

# Until the registry holds the layer back, and half of it is in the store.
until_held() {
	eventually test -e "$T/reached"
	eventually partial_has_it
}

# The image is there, whole, and nothing besides.
assert_whole() {
	local fresh=$T/loaded
	assert_equal "$(ov images -q --no-trunc | sort -u)" "$ID"
	assert_store_sound
	[ -e "$fresh.tree" ] || {
		ROOT=$fresh ov -q load "$LAYOUT" >/dev/null
		listing "$(ROOT=$fresh RUN=$fresh-run ov image mount "$ID")" >"$fresh.tree"
		unmount_below "$fresh-run"
	}
	assert_same "$fresh.tree" <(listing "$(ov image mount "$ID")")
	ov image umount "$ID" >/dev/null
	settle
	assert_no_leftovers
}

# Of all blobs of the image, each was sent once, but for so many bytes.
assert_each_blob_sent_once() { # bytes
	local digest size sent
	while read -r digest size; do
		sent=$(sent_bytes ".path == \"/v2/test/image/blobs/$digest\"")
		[ "$sent" -ge "$size" ] && [ "$sent" -le $((size + $1)) ] || fail "of $digest, $size bytes, $sent were sent"
	done < <(blobs_of "$LAYOUT")
}

blobs_of() { # layout: digest and size
	manifest "$1" | jq -r '.config, .layers[] | "\(.digest) \(.size)"' | sort -u
}

# ---- a pull that ended in the middle ----

@test "killed in the middle of a blob, then again: only the rest is fetched" {
	serve "$(held_in_the_middle)"
	start_pull killed
	until_held
	kill -KILL "${PULLS[0]}"
	ended "${PULLS[0]}" 137
	assert_equal "$(ov images -q)" ""
	succeeds ov pull "$NAME"
	assert_whole
	assert_each_blob_sent_once $SLACK
	assert_equal "$(requested "$OF_LAYER and .status == 206")" 1
	assert_equal "$(requested "$OF_LAYER")" 2
}

@test "killed in the middle of an image of seven layers: those that had come are not fetched again" {
	use_layout "$(image nginx)/layout"
	serve "$(held_in_the_middle)"
	start_pull killed
	until_held
	eventually others_are_extracted
	kill -KILL "${PULLS[0]}"
	ended "${PULLS[0]}" 137
	succeeds ov pull "$NAME"
	assert_whole
	assert_each_blob_sent_once $SLACK
}

others_are_extracted() {
	[ "$(jq -r 'select(.event == "extracted") | .layer' "$T/killed.err" | sort -u | wc -l)" = 6 ]
}

@test "killed twice, a third of the blob at a time: still only the rest is fetched" {
	HALF=$((SIZE / 3))
	serve "$(held_in_the_middle)" \
		"{$AT_LAYER, \"do\": \"hold\", \"at\": $HALF, \"reached\": \"$T/reached-2\", \"until\": \"$T/go\", \"times\": 1}"
	start_pull first
	until_held
	kill -KILL "${PULLS[0]}"
	ended "${PULLS[0]}" 137
	start_pull second
	eventually test -e "$T/reached-2"
	HALF=$((2 * SIZE / 3)) until_held
	kill -KILL "${PULLS[1]}"
	ended "${PULLS[1]}" 137
	succeeds ov pull "$NAME"
	assert_whole
	assert_each_blob_sent_once $((2 * SLACK))
	assert_equal "$(requested "$OF_LAYER")" 3
}

@test "interrupted and terminated: stops at once, and the next goes on" {
	local signal
	for signal in INT TERM; do
		rm -rf "$T/registry" "$T/reached" "$ROOT"
		serve "$(held_in_the_middle)"
		# A shell's background processes ignore the interrupt: this one may have it.
		env --default-signal=INT "$OVERLAID" --root "$ROOT" --run "$RUN" --progress none pull "$NAME" \
			>"$T/stopped.out" 2>"$T/stopped.err" 3>&- 4>&- &
		PULLS+=($!)
		until_held
		kill -$signal "${PULLS[-1]}"
		ended "${PULLS[-1]}" $((128 + $(kill -l $signal)))
		assert_equal "$(cat "$T/stopped.out")$(ov images -q)" ""
		succeeds ov pull "$NAME"
		assert_whole
		assert_each_blob_sent_once $SLACK
		registries_end
	done
}

@test "a pull that gave up leaves what came, and the next goes on" {
	serve "{$AT_LAYER, \"do\": \"cut\", \"at\": $HALF, \"by\": \"reset\", \"times\": 1}"
	fails_with "${LAYER:7:12}" ov pull --retry 0 "$NAME"
	partial_has_it || fail "it is not kept"
	succeeds ov pull "$NAME"
	assert_whole
	assert_each_blob_sent_once $SLACK
}

@test "a blob that stalls is asked for again, for the rest, within the same pull" {
	serve "{$AT_LAYER, \"do\": \"hold\", \"at\": $HALF, \"reached\": \"$T/reached\", \"times\": 1}"
	succeeds ov pull --stall-timeout 1 --retry-delay 0.05 "$NAME"
	assert_whole
	assert_each_blob_sent_once $SLACK
	assert_equal "$(requested "$OF_LAYER and .status == 206")" 1
}

@test "what a killed pull left is no image, and gc keeps it to go on with" {
	serve "$(held_in_the_middle)"
	start_pull killed
	until_held
	kill -KILL "${PULLS[0]}"
	ended "${PULLS[0]}" 137
	settle
	assert_equal "$(names_in "$ROOT/staging")" ""
	assert_equal "$(ov images -q)$(layer_dirs)" ""
	assert_store_sound
	succeeds ov pull "$NAME"
	assert_whole
	assert_each_blob_sent_once $SLACK
}

@test "gc --partial takes what could be gone on with, and gc what is older than a week" {
	serve "{$AT_LAYER, \"do\": \"cut\", \"at\": $HALF, \"by\": \"reset\", \"times\": 2}"
	fails_with "${LAYER:7:12}" ov pull --retry 0 "$NAME"
	succeeds ov gc
	assert_exists "$PARTIAL"
	succeeds ov gc --partial --dry-run
	assert_contains "$output" "partial/${LAYER#*:}"
	assert_exists "$PARTIAL"
	succeeds ov gc --partial
	assert_equal "$(names_in "$ROOT/partial")" ""
	fails_with "${LAYER:7:12}" ov pull --retry 0 "$NAME"
	touch -d '8 days ago' "$ROOT"/partial/*
	succeeds ov gc
	assert_contains "$output" "partial/${LAYER#*:}"
	assert_equal "$(names_in "$ROOT/partial")" ""
	succeeds ov pull "$NAME"
	assert_whole
}

@test "a disk too small for the download is said before it is filled, and one too small for the image is not left full" {
	serve
	mkdir -p "$T/small"
	mount -t tmpfs -o size=$((SIZE / 2)) none "$T/small"
	ROOT=$T/small/root
	fails_with "has room for" ov pull --progress none "$NAME"
	assert_equal "$(names_in "$ROOT/partial" | grep -c "${LAYER#*:}")" 0
	mount -t tmpfs -o remount,size=$((SIZE + SIZE / 2)) none "$T/small"
	fails_with "o space left" ov pull --progress none "$NAME"
	succeeds ov images -q
	umount "$T/small"
}

# ---- a partial file that is not what it was ----

# Leaves half of the layer, and then the file as the command makes it.
leaves() { # command with the partial file as its last argument
	registries_end
	rm -rf "$ROOT" "$T/registry"
	serve "{$AT_LAYER, \"do\": \"cut\", \"at\": $HALF, \"by\": \"reset\", \"times\": 1}"
	run ov pull --retry 0 "$NAME"
	assert_exists "$PARTIAL"
	"$@" "$PARTIAL"
}

# Likewise, and the next pull mends it.
mends() { # command
	leaves "$@"
	succeeds ov pull --retry-delay 0.05 "$NAME"
	assert_whole
}

overwrite() { # where, text, file
	printf %s "$2" | dd of="$3" bs=1 seek="$1" conv=notrunc status=none
}

into_a_link() { # target, file
	rm "$2"
	ln -s "$1" "$2"
}

into_a_directory() {
	rm "$1"
	mkdir "$1"
}

@test "a partial file that was cut off: what it still has is used" {
	mends truncate -s $((HALF / 2))
	mends truncate -s 0
	mends rm
}

@test "a partial file with other bytes in it: found out, and fetched anew" {
	mends overwrite 5 X
	mends overwrite $((HALF / 2)) garbage
	mends overwrite $((HALF - 10)) garbage
	mends cp /bin/busybox
}

@test "a partial file that has grown: found out, and mended" {
	mends truncate -s $((HALF + 1000))
	mends truncate -s "$SIZE"
	mends truncate -s $((SIZE + 1))
	mends truncate -s $((10 * SIZE))
}

@test "a partial file that is no file: nothing is written through it" {
	echo precious >"$T/precious"
	leaves into_a_link "$T/precious"
	mends_or_names_it
	assert_equal "$(cat "$T/precious")" precious
	leaves into_a_link "$T/nothing"
	mends_or_names_it
	assert_missing "$T/nothing"
	leaves into_a_directory
	mends_or_names_it
}

# Nobody but an administrator makes such a thing: to be told which it is will do.
mends_or_names_it() {
	run ov pull --retry-delay 0.05 "$NAME"
	if [ "$status" = 0 ]; then
		assert_whole
	else
		assert_contains "$output" "partial/${LAYER#*:}"
		assert_equal "$(ov images -q)" ""
	fi
}

# ---- at once ----

waits() { # name: the pull has said so
	grep -q '"waiting"' "$T/$1.err"
}

@test "two pulls of one image at once: each blob is asked for once" {
	local digest
	serve "$(held_in_the_middle)"
	start_pull first
	until_held
	start_pull second
	eventually waits second
	touch "$T/go"
	ended "${PULLS[0]}" 0
	ended "${PULLS[1]}" 0
	assert_whole
	while read -r digest _; do
		assert_equal "$(requested ".path == \"/v2/test/image/blobs/$digest\"")" 1
	done < <(blobs_of "$LAYOUT")
}

@test "two pulls of the seven layers at once: each layer is asked for once" {
	use_layout "$(image nginx)/layout"
	serve "$(held_in_the_middle)"
	start_pull first
	start_pull second
	eventually test -e "$T/reached"
	eventually one_waits
	touch "$T/go"
	ended "${PULLS[0]}" 0
	ended "${PULLS[1]}" 0
	assert_whole
	assert_equal "$(requested '.path | test("/blobs/")')" "$(blobs_of "$LAYOUT" | wc -l)"
}

one_waits() {
	waits first || waits second
}

@test "two images that share layers at once: each layer is asked for once" {
	use_layout "$IMAGES/one"
	start_registry "$T/registry" --serve "test/image=$IMAGES/one" --serve "test/other=$IMAGES/two" \
		--faults "$(faults "$(held_in_the_middle)")"
	NAME=$REGISTRY/test/image:1 start_pull first
	eventually test -e "$T/reached"
	NAME=$REGISTRY/test/other:1 start_pull second
	eventually waits second
	touch "$T/go"
	ended "${PULLS[0]}" 0
	ended "${PULLS[1]}" 0
	assert_equal "$(ov layers -q | wc -l)" 6
	assert_equal "$(requested '.path | test("/blobs/")')" 8
	assert_store_sound
}

@test "the one that fetched is killed while another waits: that one goes on from there" {
	serve "$(held_in_the_middle)"
	start_pull first
	until_held
	start_pull second
	eventually waits second
	kill -KILL "${PULLS[0]}"
	ended "${PULLS[0]}" 137
	ended "${PULLS[1]}" 0
	assert_whole
	assert_each_blob_sent_once $SLACK
}

@test "the one that waits is killed: the other does not notice" {
	serve "$(held_in_the_middle)"
	start_pull first
	until_held
	start_pull second
	eventually waits second
	kill -KILL "${PULLS[1]}"
	ended "${PULLS[1]}" 137
	touch "$T/go"
	ended "${PULLS[0]}" 0
	assert_whole
	assert_equal "$(requested "$OF_LAYER")" 1
}

# ---- what is there already ----

@test "an image that is there: no blob is asked for" {
	serve
	ov -q pull "$NAME" >/dev/null
	forget_requests
	succeeds ov pull "$NAME"
	assert_contains "$output" "up to date"
	assert_equal "$(requested '.path | test("/blobs/")')" 0
}

@test "an image that was loaded from a file: no layer is asked for" {
	serve
	ov -q load "$LAYOUT" >/dev/null
	succeeds ov pull "$NAME"
	assert_equal "$(requested "$OF_LAYER")" 0
	assert_store_sound
	assert_equal "$(ov layers -q | wc -l)" 1
}

@test "a layer that another image has: not asked for" {
	use_layout "$IMAGES/one"
	serve
	ov -q load "$IMAGES/two" >/dev/null
	run --separate-stderr ov --json pull "$NAME"
	assert_equal "$status" 0
	assert_equal "$(jq -c '.[0] | [.Layers, .LayersExtracted]' <<<"$output")" '[4,1]'
	assert_equal "$(requested '.path | test("/blobs/")')" 2
	assert_store_sound
}

@test "a layer that is there, compressed in another way: not asked for" {
	local zoo
	zoo=$(image zoo)
	start_registry "$T/registry" --serve "test/gzip=$zoo/layout" --serve "test/zstd=$zoo/layout-zstd"
	ov -q pull "$REGISTRY/test/gzip:$(tag_of "$zoo/layout")" >/dev/null
	forget_requests
	succeeds ov pull "$REGISTRY/test/zstd:$(tag_of "$zoo/layout-zstd")"
	# Nor is the configuration: it is one and the same.
	assert_equal "$(requested '.path | test("/blobs/")')" 0
	assert_equal "$(ov layers -q | wc -l)" 3
}

@test "of an image with many layers each is asked for once, few at a time" {
	use_layout "$(image many-127)/layout"
	serve
	succeeds ov --progress none pull --max-downloads 3 "$NAME"
	assert_whole
	assert_equal "$(requested '.path | test("/blobs/")')" "$(blobs_of "$LAYOUT" | wc -l)"
}

@test "--max-downloads: no more than so many at a time" {
	use_layout "$(image nginx)/layout"
	# The first blob but the configuration, whichever it is, is held.
	serve "{\"path\": \"/v2/test/image/blobs/(?!$ID).*\", \"do\": \"hold\", \"at\": 100, \"reached\": \"$T/reached\",
		\"until\": \"$T/go\", \"times\": 1}"
	start_pull alone --max-downloads 1
	eventually test -e "$T/reached"
	assert_equal "$(jq -r .path "$REGISTRY_DIR/log" | grep -v "$ID" | grep -c /blobs/)" 0
	touch "$T/go"
	ended "${PULLS[0]}" 0
	assert_whole
}
