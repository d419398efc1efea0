// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
)

var whiteoutCases = []testCase{
	{name: "whiteout/of-files-and-directories", run: whiteoutPlain},
	{name: "whiteout/then-the-same-name", run: whiteoutThenName},
	{name: "whiteout/then-a-directory-of-the-same-name", run: whiteoutThenDir,
		not: "overlay2 lets what was deleted shine through: the directory is not opaque"},
	{name: "whiteout/after-the-same-name", run: whiteoutAfterName, not: "overlay2 fails: mknod of a name that is there"},
	{name: "whiteout/without-its-directory", run: whiteoutNoDir},
	{name: "whiteout/of-nothing", run: whiteoutNothing},
	{name: "whiteout/opaque-before-content", run: opaque(false)},
	{name: "whiteout/opaque-after-content", run: opaque(true)},
	{name: "whiteout/opaque-without-its-directory", run: opaqueNoDir},
	{name: "whiteout/leftovers-of-aufs", run: whiteoutAufs, not: "overlay2 takes their directories for whiteouts of names"},
	{name: "whiteout/in-the-lowest", run: whiteoutLowest},
}

// A layer to delete from.
func (t *test) below() string {
	return t.layer("", tarOf(
		file("a", "a"), file("b", "b"), dir("d", 0o750).owned(1, 2), file("d/x", "x"), file("d/y", "y"), dir("d/e", 0o755), file("d/e/z", "z"),
		symlink("l", "d")))
}

func whiteoutPlain(t *test) {
	base := t.below()
	id := t.appliesAsMoby(base, tarOf(file(".wh.a", ""), dir("d", 0o750).owned(1, 2), file("d/.wh.e", ""), file(".wh.l", "")))
	t.has(id, "!a", "b=b", "d/x=x", "!d/e", "!l")
	t.sameLines([]string{"D /a", "C /d", "D /d/e", "D /l"}, sorted(t.changes(id, base)), "changes")
	t.check(t.diffSize(id, base) == 0, "whiteouts count for %d bytes", t.diffSize(id, base))
	next := t.appliesAsMoby(id, tarOf(file("a", "new"), dir("d", 0o750).owned(1, 2), dir("d/e", 0o755), file("d/e/new", "new")))
	t.has(next, "a=new", "d/e/new=new", "!d/e/z")
}

func whiteoutThenName(t *test) {
	id := t.appliesAsMoby(t.below(), tarOf(
		file(".wh.a", ""), file("a", "new"), file(".wh.d", ""), file("d", "new"), file(".wh.b", ""), symlink("b", "a")))
	t.has(id, "a=new", "d=new", "b=-> a")
}

func whiteoutThenDir(t *test) {
	id := t.appliesAsMoby(t.below(), tarOf(file(".wh.d", ""), dir("d", 0o700), file("d/new", "new"), file(".wh.a", ""), dir("a", 0o755)))
	t.has(id, "d/new=new", "!d/x", "!d/e", "a=directory 755")
}

// "Whiteout files MUST only apply to resources in lower/parent layers" (OCI image-spec, layer.md).
func whiteoutAfterName(t *test) {
	id := t.layer(t.below(), tarOf(
		file("a", "new"), file(".wh.a", ""), dir("new", 0o755), file("new/f", "f"), file(".wh.new", ""), file(".wh.b", ""), file(".wh.b", "")))
	t.has(id, "a=new", "!b", "new/f=f", "d/x=x")
}

func whiteoutNoDir(t *test) {
	id := t.layer(t.below(), tarOf(file("d/.wh.x", ""), file("d/e/.wh.z", "")))
	t.has(id, "!d/x", "d/y=y", "!d/e/z", "a=a")
}

func whiteoutNothing(t *test) {
	id := t.layer(t.below(), tarOf(file(".wh.nothing", ""), file("d/.wh.nothing", "")))
	t.has(id, "a=a", "d/x=x", "!nothing", "!.wh.nothing", "!d/nothing")
}

func opaque(after bool) func(*test) {
	return func(t *test) {
		entries := []entry{dir("d", 0o711), file("d/x", "new"), dir("d/e", 0o755), file("d/e/n", "new")}
		mark := file("d/.wh..wh..opq", "")
		if after {
			entries = append(entries, mark)
		} else {
			entries = append(entries[:1], append([]entry{mark}, entries[1:]...)...)
		}
		base := t.below()
		id := t.appliesAsMoby(base, tarOf(entries...))
		t.has(id, "d/x=new", "!d/y", "!d/e/z", "d/e/n=new", "d=directory 711", "!d/.wh..wh..opq")
		copied := t.layer(base, t.diff(id, base))
		t.sameTree(t.tree(id, looks{}), t.tree(copied, looks{}), "copied")
	}
}

func opaqueNoDir(t *test) {
	id := t.layer(t.below(), tarOf(file("d/.wh..wh..opq", "")))
	t.has(id, "!d/x", "!d/y", "!d/e", "a=a")
}

func whiteoutAufs(t *test) {
	id := t.layer(t.below(), tarOf(
		dir(".wh..wh.plnk", 0o700), file(".wh..wh.plnk/12.3", "linked"), dir(".wh..wh.orph", 0o700),
		file(".wh..wh.aufs", ""), file("new", "new")))
	for name := range t.tree(id, looks{}) {
		t.check(!strings.Contains(name, "wh"), "%q is there", name)
	}
	t.has(id, "new=new", "a=a")
}

func whiteoutLowest(t *test) {
	id := t.layer("", tarOf(file(".wh.a", ""), dir("d", 0o755), file("d/.wh..wh..opq", ""), file("f", "f")))
	child := t.create(t.name(), id)
	t.has(child, "f=f", "!a", "!.wh.a")
}
