#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
#
# The store as a whole: garbage, sizes, information, wrong use, and stores that are none.

load ../lib/common
load ../lib/behaviour

setup_file() {
	make_images
}

setup() {
	common_setup
	need jq sqlite3
}

# ---- gc ----

@test "gc of a store in order finds nothing" {
	need_root
	load_quietly "$IMAGES/one" "$IMAGES/two"
	ov create --name web one:1 >/dev/null
	ov mount web >/dev/null
	ov image mount two:1 >/dev/null
	store_listing >"$BATS_TEST_TMPDIR/before"
	assert_equal "$(ov gc)" "Total reclaimed space: 0B"
	assert_equal "$(ov gc --dry-run)" "Space that would be reclaimed: 0B"
	assert_equal "$(ov --json gc | jq -c .)" "[]"
	assert_same "$BATS_TEST_TMPDIR/before" <(store_listing)
	ov umount web
	ov image umount two:1
}

# Garbage of every kind but mounts; names it in $garbage.
make_garbage() {
	local hex
	hex=$(printf '%064d' 1234567890123456)
	garbage=("layers/sha256/$hex" "layers/sha256/strange" "snapshots/$hex" "blobs/sha256/$hex" staging/dead)
	mkdir -p "$ROOT/layers/sha256/$hex/diff/etc" "$ROOT/layers/sha256/strange" "$ROOT/snapshots/$hex/fs" "$ROOT/staging/dead/0"
	head -c 100000 /dev/zero >"$ROOT/layers/sha256/$hex/diff/etc/big"
	echo bytes >"$ROOT/blobs/sha256/$hex"
	ln -s /etc/passwd "$ROOT/staging/dead/0/link"
}

@test "gc --dry-run says what nobody holds and why, and leaves it" {
	load_quietly "$IMAGES/one"
	make_garbage
	store_listing >"$BATS_TEST_TMPDIR/before"
	succeeds ov gc --dry-run
	assert_match "${lines[0]}" '^PATH +SIZE +WHY$'
	local path
	for path in "${garbage[@]}"; do assert_contains "$output" "$ROOT/$path"; done
	assert_equal "$(grep -c "^$ROOT/" <<<"$output")" 5
	assert_match "${lines[-1]}" '^Space that would be reclaimed: 1[0-9.]+kB$'
	assert_same "$BATS_TEST_TMPDIR/before" <(store_listing)
}

@test "gc removes what nobody holds, and only that" {
	load_quietly "$IMAGES/one"
	ov create --name web one:1 >/dev/null
	store_listing >"$BATS_TEST_TMPDIR/before"
	make_garbage
	succeeds ov --json gc
	assert_equal "$(jq -r '.[].Path' <<<"$output" | sort)" "$(printf "$ROOT/%s\n" "${garbage[@]}" | sort)"
	assert_equal "$(jq 'map(.Size) | add > 100000' <<<"$output")" true
	assert_same "$BATS_TEST_TMPDIR/before" <(store_listing)
	assert_exists /etc/passwd
	assert_store_sound
}

@test "gc forgets mounts that are gone, and removes mount points that nobody has" {
	need_root
	load_quietly "$IMAGES/one"
	ov create --name web one:1 >/dev/null
	umount "$(ov mount web)"
	umount "$(ov image mount one:1)"
	mkdir -p "$RUN/mnt/stranger"
	assert_equal "$(sql 'SELECT count(*) FROM mount')" 2
	succeeds ov gc --dry-run
	assert_contains "$output" "record of a mount that is gone"
	assert_contains "$output" "mount of an image that is mounted no more"
	assert_contains "$output" "mount point of a container that is gone"
	assert_equal "$(sql 'SELECT count(*) FROM mount')" 2
	ov gc
	assert_equal "$(sql 'SELECT count(*) FROM mount')" 0
	assert_equal "$(sql "SELECT count(*) FROM snapshot WHERE kind = 'view'")" 0
	assert_missing "$RUN/mnt/stranger"
	assert_store_sound
}

@test "a mount recorded in another life of the machine is not believed" {
	need_root
	load_quietly "$IMAGES/one"
	ov create --name web one:1 >/dev/null
	umount "$(ov mount web)"
	sql "UPDATE mount SET boot_id = 'an earlier one'"
	assert_equal "$(ov ps --format '{{.Status}}')" Created
	assert_equal "$(cat "$(ov mount web)/etc/name")" one
	ov umount web
	succeeds ov rm web
}

@test "gc finishes a removal that was interrupted" {
	load_quietly "$IMAGES/one"
	local hex
	hex=$(diff_ids "$IMAGES/one" | sed -n 4p | cut -d: -f2)
	# Rows are gone, the directory is where it was.
	sql "PRAGMA foreign_keys = ON; BEGIN;
		DELETE FROM image_layer WHERE layer = (SELECT id FROM layer WHERE diff_id = 'sha256:$hex');
		DELETE FROM layer WHERE diff_id = 'sha256:$hex';
		INSERT INTO trash(kind, hex, name) VALUES ('layer', '$hex', 'interrupted'); COMMIT"
	ov gc >/dev/null
	assert_missing "$ROOT/layers/sha256/$hex"
	assert_no_leftovers
}

@test "a load that was killed leaves nothing that gc does not remove" {
	local delay runner
	head -c 30000000 /dev/urandom >"$BATS_TEST_TMPDIR/big"
	mkdir "$BATS_TEST_TMPDIR/l"
	split -b 100000 "$BATS_TEST_TMPDIR/big" "$BATS_TEST_TMPDIR/l/part"
	mkimage "$BATS_TEST_TMPDIR/big.layout" --plain --ref big "$IMAGES/layers/alone" "$BATS_TEST_TMPDIR/l"
	load_quietly "$IMAGES/one"
	store_listing >"$BATS_TEST_TMPDIR/before"
	for delay in 0.01 0.05 0.1; do
		"$OVERLAID" --root "$ROOT" --run "$RUN" -q load "$BATS_TEST_TMPDIR/big.layout" >/dev/null 3>&- &
		runner=$!
		sleep "$delay"
		kill -KILL $runner 2>/dev/null || true
		if wait $runner 2>/dev/null; then ov rmi big >/dev/null; fi
		ov gc >/dev/null
		assert_same "$BATS_TEST_TMPDIR/before" <(store_listing)
	done
	load_quietly "$BATS_TEST_TMPDIR/big.layout"
	assert_store_sound
}

# ---- df ----

@test "df sums to what du says" {
	need_root
	load_quietly "$IMAGES/one" "$IMAGES/two" "$IMAGES/alone"
	ov create --name web one:1 >/dev/null
	local path
	path=$(ov mount web)
	head -c 50000 /dev/zero >"$path/file"
	ov umount web
	settle
	succeeds ov df --format json
	assert_equal "$(jq '.[] | select(.Type == "Total").Size' <<<"$output")" "$(disk_bytes "$ROOT")"
	assert_equal "$(jq '[.[] | select(.Type | IN("Total", "Layers shared", "Layers unique") | not).Size] | add' <<<"$output")" \
		"$(disk_bytes "$ROOT")"
	assert_equal "$(jq '[.[] | select(.Type | startswith("Layers ")).Size] | add' <<<"$output")" \
		"$(jq '.[] | select(.Type == "Images").Size' <<<"$output")"
	assert_equal "$(jq '.[] | select(.Type == "Images").Size' <<<"$output")" \
		"$(du -sc --block-size=1 "$ROOT"/layers/sha256/* | tail -n 1 | cut -f 1)"
	assert_equal "$(jq '.[] | select(.Type == "Containers").Size' <<<"$output")" \
		"$(disk_bytes "$ROOT/snapshots/$(names_in "$ROOT/snapshots")")"
	assert_equal "$(jq -c '.[] | select(.Type == "Images" or .Type == "Containers") | [.TotalCount, .Active]' <<<"$output" | tr '\n' ' ')" \
		"[3,1] [1,0] "
}

@test "df tells what removing images without containers would free" {
	load_quietly "$IMAGES/one" "$IMAGES/alone"
	ov create --name web one:1 >/dev/null
	assert_equal "$(ov df --format json | jq '.[] | select(.Type == "Images").Reclaimable')" \
		"$(disk_bytes "$ROOT/layers/sha256/$(diff_ids "$IMAGES/alone" | cut -d: -f2)")"
}

@test "df and df -v are tables for people" {
	load_quietly "$IMAGES/one" "$IMAGES/two"
	ov create --name web one:1 >/dev/null
	succeeds ov df
	assert_match "${lines[0]}" '^TYPE +TOTAL +ACTIVE +SIZE +RECLAIMABLE$'
	assert_match "${lines[1]}" '^Images +2 +1 +[0-9.]+MB +[0-9.]+[kM]?B \([0-9]+%\)$'
	succeeds ov df -v
	assert_contains "$output" "Images space usage:"
	assert_match "$output" 'localhost/two +1 +[0-9a-f]{12} .* 1.98MB +7B +|localhost/two'
	assert_contains "$output" "Containers space usage:"
	assert_equal "$(ov df -v --format json | jq -c '[(.Images | length), (.Containers | length)]')" "[2,1]"
}

# ---- info, version, help ----

@test "info tells where the store is and what the kernel can do" {
	need_root
	load_quietly "$IMAGES/one"
	succeeds ov info
	assert_contains "$output" "Root: $ROOT"
	assert_contains "$output" "Images: 1"
	assert_contains "$output" "Layers: 4"
	succeeds ov info --format json
	assert_equal "$(jq -c '[.Root, .Run, .Format, .Images, .Containers]' <<<"$output")" "[\"$ROOT\",\"$RUN\",1,1,0]"
	assert_equal "$(jq -r .KernelVersion <<<"$output")" "$(uname -r)"
	assert_match "$(ov info --format '{{.Mounting}}')" '[a-z]'
	assert_match "$(ov info --format '{{.Confinement}}')" 'seccomp, capabilities, no_new_privs'
	assert_equal "$(mounts_below "$BATS_TEST_TMPDIR")" ""
}

@test "info tells which parts of the unpacker's confinement this kernel lacks" {
	need_root
	run "$TOOLS/deny" landlock_create_ruleset seccomp mount_setattr -- \
		"$OVERLAID" --root "$ROOT" --run "$RUN" info
	assert_contains "$output" $'\nConfinement: capabilities, no_new_privs, own root, rlimits; missing: landlock, seccomp, nodev view\n'
}

@test "version is one line, and a member of JSON" {
	assert_match "$(ov version)" '^overlaid version [0-9.]+$'
	assert_equal "$(ov --version)" "$(ov version)"
	assert_equal "overlaid version $(ov version --json | jq -r .Version)" "$(ov version)"
	assert_missing "$ROOT"
}

@test "every command has a help with its options, and makes no store for it" {
	local verb
	for verb in load images inspect history tree layers tag untag rmi 'image mount' 'image umount' 'image tree' \
		run create ps containers mount umount unmount diff rm bundle df gc info version; do
		# shellcheck disable=SC2086 # two words
		run --separate-stderr ov $verb --help
		assert_equal "$status" 0
		assert_match "$output" '^Usage: overlaid '
		assert_equal "$stderr" ""
		assert_contains "$(ov --help)" "${verb##* }" || [[ $verb == containers || $verb == unmount || $verb == 'image tree' ]]
	done
	assert_missing "$ROOT"
}

@test "limits are listed in the help, and in info where they are not the default" {
	succeeds ov help limits
	assert_match "$output" 'layer-bytes +1T '
	assert_match "$output" 'layers +500 '
	need_root
	assert_equal "$(ov --json info | jq -c .Limits)" '{}'
	assert_lacks "$(ov info)" Limits
	export OVERLAID_LIMITS=layer-bytes=1G,layers=7
	assert_equal "$(ov --json info --limit layers=8 | jq -c .Limits)" '{"layer-bytes":1073741824,"layers":8}'
	assert_contains "$(ov info)" $'Limits:\n  layer-bytes: 1073741824\n  layers: 7'
}

# ---- wrong use ----

@test "wrong use says what was wrong, on stderr, and exits 125" {
	local words
	for words in "rmi" "images --bogus" "images -Z" "tag one" "create" "create a b" "history" "images --format" \
		"--durability=maybe images" "--limit layer-bytes=0 images" "images --limit nothing=1" "inspect" "diff" "version extra" "layers extra" "untag" "images --no-trunc=perhaps"; do
		# shellcheck disable=SC2086 # words
		run --separate-stderr ov $words
		assert_equal "$words: $status" "$words: 125"
		assert_equal "$output" ""
		assert_match "$stderr" '^overlaid: .'
		assert_contains "$stderr" "--help"
	done
	assert_missing "$ROOT"
}

@test "a command that is not one is named, with the nearest that is" {
	fails_with "did you mean 'images'" ov imags
	fails_with "'image frobnicate'" ov image frobnicate
	run ov
	assert_contains "$output" "Usage: overlaid"
	[ "$status" != 0 ]
}

@test "data that cannot be written is a failure" {
	load_quietly "$IMAGES/one"
	local words
	for words in "images" "images -q" "--json images" "inspect one:1" "history one:1" "layers" "tree" "df" "ps" "info" "version" "--help" "gc"; do
		# shellcheck disable=SC2086 # words
		run -1 bash -c '"$OVERLAID" --root "$ROOT" --run "$RUN" "$@" >/dev/full' - $words
		assert_contains "$output" "standard output: No space left on device"
	done
	# What was done stays done.
	run -1 bash -c '"$OVERLAID" --root "$ROOT" --run "$RUN" rmi one:1 >/dev/full'
	assert_equal "$(ov images -q)" ""
}

@test "closed descriptors do no harm" {
	load_quietly "$IMAGES/one"
	run bash -c '"$OVERLAID" --root "$ROOT" --run "$RUN" images >&-'
	[ "$status" != 0 ]
	succeeds bash -c '"$OVERLAID" --root "$ROOT" --run "$RUN" create --name web one:1 <&- 2>&-'
	assert_equal "$(sql 'PRAGMA integrity_check')" ok
	assert_store_sound
}

# ---- stores ----

@test "a store of an unknown format is refused, and left alone" {
	load_quietly "$IMAGES/one"
	local format before
	for format in "overlaid 2" "overlaid 0" "something else" ""; do
		printf '%s\n' "$format" >"$ROOT/format"
		before=$(dump_files)
		fails_with "$ROOT" ov images
		fails_with "format" ov -q load "$IMAGES/two"
		assert_equal "$(dump_files)" "$before"
	done
	echo "overlaid 1" >"$ROOT/format"
	succeeds ov images -q
}

@test "a database of a later version is refused" {
	local version
	load_quietly "$IMAGES/one"
	version=$(sql "PRAGMA user_version")
	sql "PRAGMA user_version = 99"
	fails_with "99" ov images
	sql "PRAGMA user_version = $version"
	succeeds ov images -q
}

@test "a root that is a file, or cannot be made, is refused and named" {
	echo text >"$BATS_TEST_TMPDIR/file"
	fails_with "$BATS_TEST_TMPDIR/file" "$OVERLAID" --root "$BATS_TEST_TMPDIR/file" --run "$RUN" images
	fails_with "$BATS_TEST_TMPDIR/file" "$OVERLAID" --root "$BATS_TEST_TMPDIR/file/below" --run "$RUN" images
}

@test "the store's directory is for its owner only" {
	ov images >/dev/null
	assert_equal "$(stat -c %a "$ROOT")" 700
}

@test "root and run directories come from the environment, options win" {
	load_quietly "$IMAGES/one"
	export OVERLAID_ROOT=$ROOT OVERLAID_RUN=$RUN
	assert_equal "$("$OVERLAID" images -q)" "$(short "$(image_id "$IMAGES/one")")"
	assert_equal "$("$OVERLAID" images -q --root "$BATS_TEST_TMPDIR/other")" ""
	unset OVERLAID_ROOT OVERLAID_RUN
}

@test "two stores know nothing of each other" {
	need_root
	load_quietly "$IMAGES/one"
	ov create --name web one:1 >/dev/null
	second() {
		"$OVERLAID" --root "$BATS_TEST_TMPDIR/root2" --run "$BATS_TEST_TMPDIR/run2" "$@"
	}
	second -q load "$IMAGES/two" >/dev/null
	assert_equal "$(second images --format '{{.Repository}}')" localhost/two
	assert_equal "$(second ps -q)" ""
	second create --name web two:1 >/dev/null
	local a b
	a=$(ov mount web) b=$(second mount web)
	assert_equal "$(cat "$a/etc/name" "$b/etc/name")" $'one\nsecond'
	second gc >/dev/null
	second umount web
	second rm web
	second rmi two:1
	assert_equal "$(cat "$a/etc/name")" one
	ov umount web
	assert_store_sound
}

@test "a store works from a relative path, and from names that options of mount would trip over" {
	need_root
	local odd="$BATS_TEST_TMPDIR/a:b,c d\\e"
	mkdir "$odd"
	cd "$odd"
	"$OVERLAID" --root root --run run -q load "$IMAGES/one"
	"$OVERLAID" --root root --run run create --name web one:1
	local path
	path=$("$OVERLAID" --root root --run run mount web)
	assert_equal "$(cat "$path/etc/name")" one
	assert_equal "$("$OVERLAID" --root root --run run ps --format '{{.State}}')" mounted
	"$OVERLAID" --root root --run run umount web
}

@test "--durability=none makes the same store" {
	"$OVERLAID" --root "$ROOT" --run "$RUN" --durability none -q load "$IMAGES/one" >/dev/null
	local files
	files=$(cd "$ROOT" && find layers blobs -printf '%y %m %P\n' | sort)
	rm -rf "$ROOT"
	load_quietly "$IMAGES/one"
	assert_equal "$(cd "$ROOT" && find layers blobs -printf '%y %m %P\n' | sort)" "$files"
}
