# SPDX-License-Identifier: Apache-2.0
#
# Small images, and what the store holds told without the program: with find, du and sqlite3. Loaded
# after common.

FULL_ID='sha256:[0-9a-f]{64}'
HEX_ID='[0-9a-f]{64}'

# ---- images ----

# Everything is as old as this, so that ids do not depend on the day.
export SOURCE_DATE_EPOCH=1700000000

# A layer of directories and small files: PATH=TEXT makes a file, PATH/ a directory, !PATH deletes.
layer() { # directory, what...
	local dir=$1 what path
	shift
	mkdir -p "$dir"
	for what; do
		path=$dir/${what%%=*}
		case $what in
		*=*) mkdir -p "${path%/*}" && printf '%s\n' "${what#*=}" >"$path" ;;
		!*) path=$dir/${what#!} && mkdir -p "${path%/*}" && : >"${path%/*}/.wh.${path##*/}" ;;
		*/) mkdir -p "$path" ;;
		*) : >"$path" ;;
		esac
	done
}

# A layer that a shell runs in, with two users.
shell_layer() { # directory
	local command
	layer "$1" bin/ dev/ proc/ sys/ srv/ tmp/ root/ \
		etc/passwd=$'root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000:app:/srv:/bin/sh' \
		etc/group=$'root:x:0:\napp:x:1000:\nextra:x:2000:app'
	cp /bin/busybox "$1/bin/busybox"
	for command in cat echo env false id kill ls mkdir mount pwd rm sh sleep stat touch true; do
		ln -s busybox "$1/bin/$command"
	done
	chmod 1777 "$1/tmp"
}

mkimage() {
	"$TOP/scripts/mkimage" "$@" >/dev/null
}

# Layouts $IMAGES/one (localhost/one:1, four layers), two (localhost/two:1, five layers, the lower three
# of them those of one) and alone (alone:latest, one layer), made once for a test file: call it in setup_file.
make_images() {
	export IMAGES=$BATS_FILE_TMPDIR/images
	local l=$IMAGES/layers
	shell_layer "$l/shell"
	layer "$l/first" etc/name=first usr/share/a=A usr/share/b=B opt/gone=soon
	layer "$l/second" etc/name=second usr/share/b=BB !opt/gone
	layer "$l/one" etc/one=1 etc/name=one
	layer "$l/two" etc/two=2 srv/data=data
	layer "$l/more" srv/more=more
	layer "$l/alone" file=alone
	mkimage "$IMAGES/one" --ref localhost/one:1 --cmd '["sh","-c","echo from one"]' --env COLOR=red \
		--config '"WorkingDir":"/srv","Labels":{"kind":"test","tier":"1"}' --created 2024-01-01T00:00:00Z \
		"$l/shell" "$l/first" "$l/second" "$l/one"
	mkimage "$IMAGES/two" --ref localhost/two:1 --entrypoint '["echo","entry"]' --cmd '["two"]' \
		--config '"User":"app","Labels":{"kind":"test"}' --created 2024-02-01T00:00:00Z \
		"$l/shell" "$l/first" "$l/second" "$l/two" "$l/more"
	mkimage "$IMAGES/alone" --ref alone --created 2024-03-01T00:00:00Z "$l/alone"
}

manifest_digest() { # layout
	jq -er '.manifests[0].digest' "$1/index.json"
}
manifest() { # layout
	cat "$1/blobs/sha256/$(manifest_digest "$1" | cut -d: -f2)"
}
image_id() { # layout
	manifest "$1" | jq -er .config.digest
}
image_config() { # layout
	cat "$1/blobs/sha256/$(image_id "$1" | cut -d: -f2)"
}
diff_ids() { # layout: lowest first
	image_config "$1" | jq -er '.rootfs.diff_ids[]'
}

# Of an id, what lists show of it.
short() {
	local hex=${1#sha256:}
	echo "${hex:0:12}"
}

load_quietly() { # layout...
	local layout
	for layout; do ov -q load "$layout" >/dev/null || fail "load $layout"; done
}

# A line of a list without its heading: columns are set apart by three spaces or more.
column() { # number
	sed -E 's/   +/\t/g' | tail -n +2 | cut -f "$1"
}

# ---- the store, seen from outside ----

sql() { # statement
	sqlite3 -batch -cmd '.timeout 10000' "$ROOT/graph.db" "$1"
}

tables() {
	sql "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name"
}

# All rows of all tables.
dump_rows() {
	local table
	for table in $(tables); do
		echo "== $table"
		sql "SELECT * FROM \"$table\" ORDER BY 1, 2"
	done
}

# Every file of the store but the database's own, with what is in it.
dump_files() {
	(cd "$ROOT" && find . ! -name 'graph.db*' -printf '%y %m %U:%G %n %P -> %l\n' | LC_ALL=C sort &&
		find . -type f ! -name 'graph.db*' -print0 | LC_ALL=C sort -z | xargs -0r sha256sum)
}

store_listing() {
	dump_files && dump_rows
}

names_in() { # directory
	[ ! -d "$1" ] || (cd "$1" && find . -mindepth 1 -maxdepth 1 -printf '%P\n' | LC_ALL=C sort)
}

layer_dirs() {
	names_in "$ROOT/layers/sha256"
}

# Nothing half made, and nothing half deleted.
assert_no_leftovers() {
	assert_equal "$(names_in "$ROOT/staging")" ""
	assert_equal "$(names_in "$ROOT/trash")" ""
	assert_equal "$(names_in "$ROOT/partial")" ""
	assert_equal "$(sql 'SELECT * FROM trash')" ""
	assert_equal "$(sql 'SELECT * FROM lease')" ""
}

# What database and directories say of each other, counted from scratch (the invariants of graph/store/store.h).
assert_store_sound() {
	local edges="SELECT layer FROM image_layer UNION ALL SELECT layer FROM snapshot_layer
		UNION ALL SELECT layer FROM keyed_layer UNION ALL SELECT layer FROM lease_layer"
	assert_equal "$(sql 'PRAGMA integrity_check')" ok
	assert_equal "$(sql 'PRAGMA foreign_key_check')" ""
	assert_same <(sql 'SELECT substr(key, 8) FROM layer ORDER BY 1') <(layer_dirs)
	# A snapshot's directory is made at its first mount.
	assert_equal "$(comm -13 <(sql 'SELECT uid FROM snapshot UNION SELECT uid FROM keyed ORDER BY 1') \
		<(names_in "$ROOT/snapshots"))" ""
	assert_equal "$(comm -23 <(sql 'SELECT uid FROM snapshot JOIN mount ON snapshot.id = mount.snapshot ORDER BY 1') \
		<(names_in "$ROOT/snapshots"))" ""
	assert_same <(sql 'SELECT substr(digest, 8) FROM blob WHERE stored ORDER BY 1') <(names_in "$ROOT/blobs/sha256")
	assert_equal "$(sql "SELECT key FROM layer WHERE id NOT IN ($edges)")" ""
	assert_equal "$(sql "SELECT count(*) FROM ($edges) WHERE layer NOT IN (SELECT id FROM layer)")" 0
	assert_equal "$(sql 'SELECT uid FROM snapshot WHERE id NOT IN (SELECT snapshot FROM snapshot_layer)')" ""
	assert_equal "$(sql 'SELECT digest FROM blob WHERE stored AND digest NOT IN (SELECT image_id FROM image)
		AND digest NOT IN (SELECT manifest FROM image WHERE manifest IS NOT NULL)')" ""
	# What the program counts is what is there.
	assert_same <(ov --json layers | jq -r '.[] | "\(.Layer) \(.References)"' | LC_ALL=C sort) <(
		sql "SELECT key, (SELECT count(DISTINCT image) FROM image_layer WHERE layer = layer.id) +
			(SELECT count(DISTINCT snapshot) FROM snapshot_layer WHERE layer = layer.id) +
			(SELECT count(DISTINCT keyed) FROM keyed_layer WHERE layer = layer.id) +
			(SELECT count(*) FROM lease_layer WHERE layer = layer.id)
			FROM layer ORDER BY 1" | tr '|' ' '
	)
}

# What the database says is mounted is what the kernel says (of this mount namespace).
assert_mounts_recorded() {
	# The record of a mount that is gone goes in the background.
	settle
	assert_same <(mounts_below "$RUN" | sed 's|.*/||' | LC_ALL=C sort) \
		<(sql 'SELECT uid FROM mount JOIN snapshot ON snapshot.id = mount.snapshot ORDER BY 1')
}

# No rows, no directories.
assert_store_empty() {
	local table
	for table in $(tables); do
		[ "$(sql "SELECT count(*) FROM \"$table\"")" = 0 ] || fail "rows are left in $table: $(sql "SELECT * FROM \"$table\"")"
	done
	assert_equal "$(cd "$ROOT" && find layers/sha256 blobs/sha256 snapshots staging trash -mindepth 1)" ""
	assert_equal "$(names_in "$RUN/mnt")" ""
}

disk_bytes() { # directory
	du -s --block-size=1 "$1" | cut -f 1
}
