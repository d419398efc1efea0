#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
#
# tests/lib/traced, on which the tests of attacks rely: programs that do touch something outside are found out, and
# so is each way of doing it.

load ../lib/common

setup() {
	common_setup
	need python3 strace
	# As strace shows it.
	DIR=$(realpath "$BATS_TEST_TMPDIR")
	mkdir -p "$DIR/store/tree" "$DIR/outside"
	TREE=$DIR/store/tree
}

traced() { # file...
	"$TOP/tests/lib/traced" --cwd "$DIR" --store "$DIR/store" --hostile "$DIR/store/tree" --input "$DIR/input" \
		--program /usr/bin "$@"
}

# Runs a program under strace, and looks at what it did.
watch() { # command...
	rm -rf "$DIR/trace" && mkdir "$DIR/trace"
	(cd "$DIR" && LC_ALL=C PATH=/usr/bin strace -f -ff -y -v -s 8192 -e "trace=$("$TOP/tests/lib/traced" --calls)" -o "$DIR/trace/t" "$@" >/dev/null 2>&1) || true
	run traced "$DIR"/trace/t.*
}

# One line of a trace.
line() {
	printf '%s\n' "$1" >"$DIR/line"
	run traced "$DIR/line"
}

found_out() { # words
	[ "$status" = 1 ] || fail "it was not found out (status $status)"
	assert_contains "$output" "$1"
}

passes() {
	[ "$status" = 0 ] || fail "it did nothing wrong"
	assert_equal "$output" ""
}

# ---- programs ----

@test "tar -P, which takes names as they are, is found out" {
	local canary=$DIR/outside/pwned
	mkdir "$DIR/attacks"
	"$TOP/tests/lib/attacks" "$DIR/outside" "$DIR/attacks" names
	python3 - "$DIR/attacks/absolute-file" "$DIR/input" <<-'END'
		import json, sys, tarfile
		with tarfile.open(sys.argv[1]) as tar:
		    read = lambda digest: tar.extractfile("blobs/sha256/" + digest[7:]).read()
		    index = json.load(tar.extractfile("index.json"))
		    manifest = json.loads(read(index["manifests"][0]["digest"]))
		    with open(sys.argv[2], "wb") as f:
		        f.write(read(manifest["layers"][0]["digest"]))
	END
	gzip -dc <"$DIR/input" >"$DIR/input.tar" && mv "$DIR/input.tar" "$DIR/input"
	watch tar -P -x -C "$TREE" -f "$DIR/input"
	found_out "outside: $DIR/outside/secret"
	# It did it, in fact.
	assert_equal "$(cat "$DIR/outside/secret")" pwned
	assert_missing "$canary"
}

@test "programs that read, write, change or run something outside are found out" {
	echo x >"$DIR/outside/file"
	watch cat "$DIR/outside/file"
	found_out "outside: $DIR/outside/file"
	watch touch "$DIR/outside/new"
	found_out "outside: $DIR/outside/new"
	watch stat "$DIR/outside"
	found_out "outside: $DIR/outside"
	watch cat "$DIR/outside/is-not-there"
	found_out "outside: $DIR/outside/is-not-there"
	cp /bin/true "$DIR/outside/true"
	watch env "$DIR/outside/true"
	found_out "outside: $DIR/outside/true"
	watch cat /etc/hostname
	found_out "outside: /etc/hostname"
	watch bash -c 'echo >/dev/tcp/127.0.0.1/9'
	found_out "a socket"
}

@test "programs that go through a link of the tree are found out" {
	echo x >"$DIR/outside/file"
	ln -s "$DIR/outside/file" "$TREE/link"
	ln -s "$DIR/outside" "$TREE/dir"
	watch cat "$TREE/link"
	found_out "resolved by name"
	watch /usr/bin/python3 -S -c 'import os, sys; d = os.open(sys.argv[1], os.O_RDONLY); os.close(os.open("link", os.O_RDONLY, dir_fd=d))' "$TREE"
	found_out "would follow a symlink"
	watch /usr/bin/python3 -S -c 'import os, sys; d = os.open(sys.argv[1], os.O_RDONLY); os.chmod("link", 0o777, dir_fd=d)' "$TREE"
	found_out "would follow a symlink"
	watch /usr/bin/python3 -S -c 'import os, sys; d = os.open(sys.argv[1], os.O_RDONLY); os.unlink("dir/file", dir_fd=d)' "$TREE"
	found_out "more than a name"
}

@test "a program that stays inside passes" {
	echo x >"$DIR/input"
	watch cat "$DIR/input"
	passes
	watch cp "$DIR/input" "$DIR/store/copy"
	passes
}

# ---- calls ----

@test "each way out is found out" {
	line "openat(3<$TREE>, \"..\", O_RDONLY) = 4<$DIR/store>"
	found_out "more than a name"
	line "openat2(3<$TREE>, \"a/b\", {flags=O_RDONLY, resolve=0}, 24) = 4<$TREE/a/b>"
	found_out "more than a name"
	line "openat2(3<$TREE>, \"a\", {flags=O_RDONLY, resolve=RESOLVE_IN_ROOT}, 24) = 4<$DIR/outside>"
	found_out "what was opened is $DIR/outside"
	line "openat(3<$TREE>, \"a\", O_RDONLY|O_NOFOLLOW) = 4<$DIR/outside>"
	found_out "what was opened is $DIR/outside"
	line "openat(3<$TREE>, \"$DIR/outside\", O_RDONLY|O_NOFOLLOW) = -1 ENOENT (No such file or directory)"
	found_out "outside: $DIR/outside"
	line "openat(3<$DIR/store>, \"../outside\", O_RDONLY) = -1 ENOENT (No such file or directory)"
	found_out "it climbs"
	line "openat(AT_FDCWD<$DIR>, \"outside\", O_RDONLY) = -1 ENOENT (No such file or directory)"
	found_out "outside: $DIR/outside"
	line "linkat(3<$DIR/outside>, \"a\", 4<$TREE>, \"b\", 0) = 0"
	found_out "outside: $DIR/outside/a"
	line "linkat(3<$TREE>, \"a\", 4<$TREE>, \"b\", AT_SYMLINK_FOLLOW) = 0"
	found_out "would follow"
	line "renameat(3<$TREE>, \"a\", 4<$DIR/outside>, \"b\") = 0"
	found_out "outside: $DIR/outside/b"
	line "fchownat(3<$TREE>, \"a\", 0, 0, 0) = 0"
	found_out "would follow"
	line "utimensat(3<$TREE>, \"a\", [{tv_sec=1, tv_nsec=0}, {tv_sec=1, tv_nsec=0}], 0) = 0"
	found_out "would follow"
	line "chmod(\"/proc/self/fd/7\", 0777) = 0"
	found_out "a descriptor that was not seen"
	line "openat(3<$DIR/outside>, \"..\", O_RDONLY) = 4<$DIR>"
	found_out "it climbs"
	line "openat(AT_FDCWD<$DIR>, \"/proc/self/root/etc\", O_RDONLY) = 4</etc>"
	found_out "outside: /proc/self/root/etc"
	line "openat(AT_FDCWD<$DIR>, \"/lib/x\", O_WRONLY|O_CREAT, 0600) = 4</usr/lib/x>"
	found_out "outside: /lib/x"
	line "execve(\"/bin/sh\", [\"sh\"], 0x1 /* 1 var */) = 0"
	found_out "outside: /bin/sh"
	line 'openat(AT_FDCWD</x>, 0x7ffd, O_RDONLY) = 3'
	found_out "that strace does not show"
	line 'pivot_root("a", "b") = 0'
	found_out "not known here"
	line 'syscall_0x1c4(0x3, 0x7ffd, 0x1ff, 0, 0, 0) = 0'
	found_out "strace does not know"
	line "openat(3<$TREE>, \"a\", O_RDONLY <unfinished ...>"
	found_out "would follow"
	line 'strange( <unfinished ...>'
	found_out "not known here"
	line 'nonsense'
	found_out "not understood"
	line '+++ exited with 0 +++'
	found_out "no call with a path"
}

@test "names that are hard to read change nothing" {
	line "openat(3<$TREE/a\\74\\76,\"b>, \"x, \\\"y\\\"\\n\", O_RDONLY|O_NOFOLLOW) = 4<$TREE/a\\74\\76,\"b/z>"
	passes
	line "openat(3<$TREE/a\\74\\76, 5<b>, \"../x\", O_RDONLY|O_NOFOLLOW) = -1 ENOENT (No such file or directory)"
	found_out ""
}

@test "what stays inside passes" {
	# A process that is killed as it makes a call, which is then not made.
	printf '%s\n' "openat(3<$TREE>, \"f\", O_RDONLY|O_NOFOLLOW) = 7<$TREE/f>" '???( <unfinished ...>' \
		'+++ killed by SIGKILL +++' >"$DIR/killed"
	run traced "$DIR/killed"
	passes
	line "openat(3<$TREE>, \"f\", O_RDONLY|O_NOFOLLOW <unfinished ...>"
	passes
	line "openat2(3<$TREE>, \"../../etc\", {flags=O_RDONLY, resolve=RESOLVE_NO_MAGICLINKS|RESOLVE_IN_ROOT}, 24) = 4<$TREE/etc>"
	passes
	line "openat(3<$TREE/a/b>, \"..\", O_RDONLY|O_DIRECTORY) = 4<$TREE/a>"
	passes
	line "symlinkat(\"$DIR/outside\", 3<$TREE>, \"l\") = 0"
	passes
	line "newfstatat(3<$TREE>, \"a\", {st_mode=S_IFLNK|0777, st_size=1, ...}, AT_SYMLINK_NOFOLLOW) = 0"
	passes
	line "openat(3<$TREE>, \"f\", O_WRONLY|O_CREAT|O_EXCL, 0600) = 4<$TREE/f>"
	passes
	line "newfstatat(3<$TREE>, \"\", {st_mode=S_IFDIR|0755, ...}, AT_EMPTY_PATH) = 0"
	passes
	printf '%s\n' "openat(3<$TREE>, \"f\", O_RDONLY|O_NOFOLLOW|O_PATH) = 7<$TREE/f>" 'chmod("/proc/self/fd/7", 0777) = 0' >"$DIR/two"
	run traced "$DIR/two"
	passes
}

# ---- views: a worker that is given mounts of its own, in which strace calls everything as if they were "/" ----

# The lines of a worker that has opened the tree of a layer.
worker() { # lines...
	printf '%s\n' 'execve("/usr/bin/overlaid-unpack", ["overlaid-unpack"], 0x1 /* 1 var */) = 0' 'chroot(".") = 0' \
		"openat(4</>, \"$HEX\", O_RDONLY|O_NOFOLLOW|O_DIRECTORY) = 6</$HEX>" \
		"openat(6</$HEX>, \"contents.zst\", O_WRONLY|O_CREAT|O_TRUNC, 0600) = 8</$HEX/contents.zst>" \
		"openat(6</$HEX>, \"diff\", O_RDONLY|O_NOFOLLOW|O_DIRECTORY) = 7</$HEX/diff>" "$@" >"$DIR/lines"
	run traced "$DIR/lines"
}

@test "in a worker's views everything is hostile, and known by what it was opened beneath" {
	HEX=$(printf 'a%.0s' {1..64})
	worker "openat2(7</$HEX/diff>, \"x/../y\", {flags=O_RDONLY, resolve=RESOLVE_IN_ROOT}, 24) = 9</$HEX/diff/y>" \
		"openat(9</$HEX/diff/y>, \"f\", O_WRONLY|O_CREAT|O_EXCL, 0600) = 10</$HEX/diff/y/f>" \
		"openat2(5</>, \"etc\", {flags=O_RDONLY, resolve=RESOLVE_IN_ROOT}, 24) = 11</etc>" \
		'syscall_0x1c4(0x7, 0x7ffd, 0x1ff, 0x100, 0, 0) = 0'
	passes
	worker "openat(7</$HEX/diff>, \"x\", O_RDONLY) = 9</$HEX/diff/x>"
	found_out "would follow a symlink"
	worker "openat(7</$HEX/diff>, \"x\", O_RDONLY|O_NOFOLLOW) = 9</etc>"
	found_out "what was opened is /etc"
	worker "openat2(7</$HEX/diff>, \"x\", {flags=O_RDONLY, resolve=RESOLVE_IN_ROOT}, 24) = 9</$HEX>"
	found_out "what was opened is /$HEX"
	worker "openat(7</$HEX/diff>, \"..\", O_RDONLY) = 9</$HEX>"
	found_out "more than a name"
	worker "openat(4</>, \"..\", O_RDONLY) = 9</>"
	found_out "it climbs"
	worker 'openat(AT_FDCWD</>, "/etc/passwd", O_RDONLY) = 9</etc/passwd>'
	found_out "outside: /etc/passwd"
	worker "openat(5</etc>, \"passwd\", O_RDONLY) = 9</etc/passwd>"
	found_out "would follow a symlink"
	worker 'execve("/usr/bin/overlaid-unpack-not", ["x"], 0x1 /* 1 var */) = 0' 'execve("/bin/sh", ["sh"], 0x1 /* 1 var */) = 0'
	found_out "outside: /bin/sh"
	worker 'syscall_0x1c4(0x7, 0x7ffd, 0x1ff, 0, 0, 0) = 0'
	found_out "strace does not know"
}

@test "a view that a program makes stands for what it is made of" {
	printf '%s\n' "open_tree(16<$DIR/input>, \"\", OPEN_TREE_CLONE|OPEN_TREE_CLOEXEC|AT_EMPTY_PATH) = 21</>" \
		'mount_setattr(21</>, "", AT_EMPTY_PATH, {attr_set=MOUNT_ATTR_RDONLY}, 32) = 0</dev/null>' \
		'openat(AT_FDCWD</x>, "/proc/self/fd/21", O_RDONLY|O_CLOEXEC) = 22</>' \
		'openat2(22</>, "blobs", {flags=O_RDONLY, resolve=RESOLVE_IN_ROOT}, 24) = 23</blobs>' >"$DIR/lines"
	run traced "$DIR/lines"
	passes
	echo 'openat(23</blobs>, "x", O_WRONLY|O_CREAT, 0600) = 24</blobs/x>' >>"$DIR/lines"
	run traced "$DIR/lines"
	found_out "outside: $DIR/input/blobs/x"
	line "open_tree(16<$DIR/outside>, \"\", OPEN_TREE_CLONE|OPEN_TREE_CLOEXEC|AT_EMPTY_PATH) = 21</>"
	found_out "what was opened is $DIR/outside"
}
