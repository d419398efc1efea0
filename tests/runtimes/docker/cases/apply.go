// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"math/rand"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

var applyCases = []testCase{
	{name: "apply/all-kinds", run: applyKinds},
	{name: "apply/modes-and-owners", run: applyModes},
	{name: "apply/names", run: applyNames},
	{name: "apply/xattrs", run: applyXattrs},
	{name: "apply/overlay-xattrs-stay-outside", run: applyOverlayXattrs,
		not: "moby takes trusted.overlay.* from any tar: a layer could hide, or show, what it should not"},
	{name: "apply/duplicates", run: applyDuplicates},
	{name: "apply/file-over-directory-and-back", run: applyRetyped},
	{name: "apply/missing-directories", run: applyMissingDirs},
	{name: "apply/missing-directories-are-the-parents", run: applyParentsDirs,
		not: "overlay2 makes them anew, root's and 0755, also where the layer below has them otherwise"},
	{name: "apply/root-entry-is-ignored", run: applyRoot("./", ".")},
	{name: "apply/root-entry-called-slash", run: applyRoot("/"), not: "overlay2 ignores only one called '.'"},
	{name: "apply/hard-links", run: applyHardLinks},
	{name: "apply/hard-link-to-nothing-is-refused", run: applyLinkToNothing},
	{name: "apply/size-counts-an-inode-once", run: applySize},
	{name: "apply/fractions-of-times", run: applyFractions},
	{name: "apply/to-nothing-is-refused", run: applyToNothing,
		not: "overlay2 makes a directory for a layer that was never created"},
	{name: "apply/chunks-of-any-size", run: applyChunks},
	{name: "apply/many-files", run: applyMany},
}

func applyKinds(t *test) {
	special := func(kind byte, name string) entry {
		e := named(kind, name, 0o640).owned(3, 4)
		e.Devmajor, e.Devminor = 5, 6
		return e
	}
	t.appliesAsMoby("", tarOf(
		dir("d", 0o750).owned(1, 2), file("d/f", "text").owned(5, 6), symlink("l", "d/f").owned(7, 8), hardlink("h", "d/f").owned(5, 6),
		special(tar.TypeChar, "char"), special(tar.TypeBlock, "block"), named(tar.TypeFifo, "fifo", 0o622), file("empty", ""),
		symlink("dangling", "nowhere/at/all"), symlink("loop", "loop")))
}

func applyModes(t *test) {
	var entries []entry
	for i, mode := range []int64{0, 0o777, 0o1777, 0o2775, 0o4755, 0o6711, 0o222} {
		e := file(fmt.Sprintf("f%d", i), "x").owned(i, i+1)
		d := dir(fmt.Sprintf("d%d", i), mode).owned(i, i+1)
		e.Mode = mode
		entries = append(entries, e, d)
	}
	for i, id := range []int{0o7777777, 0o7777777 + 1, 1 << 30, 1<<32 - 2} {
		entries = append(entries, file(fmt.Sprintf("pax%d", i), "").owned(id, id-1))
		entries = append(entries, file(fmt.Sprintf("gnu%d", i), "").owned(id, id-1).as(tar.FormatGNU))
	}
	t.appliesAsMoby("", tarOf(entries...))
}

func applyNames(t *test) {
	long := strings.Repeat("n", 255)
	deep := strings.Repeat("directory/", 40)
	names := []string{
		"\xff\xfe not UTF-8", "new\nline", "tab\t", "back\\slash", `quo"te'`, "ünïcödé", " space ", "-dash", "*?[", "a:b,c", ".hidden", "...",
		strings.Repeat("n", 100), strings.Repeat("n", 101), long, strings.Repeat("m", 99) + "/" + strings.Repeat("m", 99),
	}
	var entries []entry
	for _, name := range names {
		entries = append(entries, file(name, "text of "+name))
	}
	entries = append(entries, file(deep+"end", "deep"), dir("directory/../d", 0o755), symlink("long-link", deep+long))
	entries = append(entries, hardlink("hard", deep+"end"))
	id := t.layer("", tarOf(entries...))
	for _, name := range names {
		t.has(id, name+"=text of "+name)
	}
	t.has(id, deep+"end=deep", "hard=deep", "long-link=-> "+deep+long, "d=directory 755")
	// And they come out as they went in.
	copied := t.layer("", t.diff(id, ""))
	t.sameTree(t.tree(id, looks{}), t.tree(copied, looks{}), "copied")
	for _, name := range []string{long + "x", "d/" + long + "x"} {
		t.refusesTar("", tarOf(file(name, "")), "a name of 256 bytes")
	}
}

func applyXattrs(t *test) {
	id := t.appliesAsMoby("", tarOf(
		file("cap", "x").pax("SCHILY.xattr.security.capability", string(capability)),
		file("user", "x").pax("SCHILY.xattr.user.test", "value"), dir("d", 0o755).pax("SCHILY.xattr.user.test", "\x00\x01binary")))
	copied := t.layer("", t.diff(id, ""))
	root := t.get(copied)
	value := make([]byte, 64)
	n, err := unix.Lgetxattr(filepath.Join(root, "cap"), "security.capability", value)
	t.check(err == nil && bytes.Equal(value[:n], capability), "Diff has the capability %x: %v", value[:max0(n)], err)
	t.put(copied)
}

func max0(n int) int {
	if n < 0 {
		return 0
	}
	return n
}

// Whether such a tar is refused or its xattrs are left out: nothing of the parent's may be hidden by them.
func applyOverlayXattrs(t *test) {
	base := t.layer("", tarOf(dir("d", 0o755), file("d/f", "below"), dir("e", 0o755), file("e/f", "below")))
	for _, record := range [][2]string{
		{"SCHILY.xattr.trusted.overlay.opaque", "y"}, {"SCHILY.xattr.trusted.overlay.redirect", "/e"},
		{"SCHILY.xattr.trusted.overlay.metacopy", ""}, {"SCHILY.xattr.user.overlay.opaque", "y"},
	} {
		id := t.create(t.name(), base)
		whole := tarOf(dir("d", 0o755).pax(record[0], record[1]), file("e/f", "above").pax(record[0], record[1]))
		if _, err := t.plugin.ApplyDiff(id, base, bytes.NewReader(whole)); err != nil {
			t.refused(err, record[0])
		} else {
			t.has(id, "d/f=below", "e/f=above")
			t.check(!bytes.Contains(t.diff(id, base), []byte("trusted.overlay")), "Diff has %s", record[0])
		}
		t.remove(id)
	}
}

// The last one is what there is.
func applyDuplicates(t *test) {
	entries := []entry{
		file("f", "one"), file("f", "two").owned(1, 1), dir("d", 0o700), file("d/kept", "kept"), dir("d", 0o755).owned(2, 2),
		symlink("l", "one"), symlink("l", "two"), file("x", "file"), symlink("x", "f"), symlink("y", "f"), file("y", "file"),
		file("a", "linked"), hardlink("b", "a"), file("a", "other"),
	}
	id := t.appliesAsMoby("", tarOf(entries...))
	t.has(id, "f=two", "d/kept=kept", "l=-> two", "x=-> f", "y=file", "a=other", "b=linked")
}

func applyRetyped(t *test) {
	base := t.layer("", tarOf(dir("a", 0o755), file("a/x", "1"), file("b", "file"), symlink("c", "a"), dir("d", 0o755), file("d/x", "1")))
	id := t.appliesAsMoby(base, tarOf(
		file("a", "file"), dir("b", 0o755), file("b/y", "2"), dir("c", 0o755), file("c/z", "3"), symlink("d", "b"),
		dir("e", 0o755), file("e/x", "x"), file("e", "file"), dir("e", 0o755), file("e/y", "y")))
	t.has(id, "a=file", "b/y=2", "c/z=3", "d=-> b", "e/y=y", "!e/x", "!a/x")
	third := t.appliesAsMoby(id, tarOf(dir("a", 0o755), file("a/new", "new"), file("b", "again")))
	t.has(third, "a/new=new", "!a/x", "b=again", "!b/y")
}

// An empty lower directory of that name, or none: root's, with what a directory has.
func applyMissingDirs(t *test) {
	id := t.layer("", tarOf(file("one/two/three", "3"), symlink("four/five", "x"), named(tar.TypeFifo, "six/seven", 0o600)))
	t.has(id, "one=directory 755", "one/two=directory 755", "one/two/three=3", "four=directory 755", "six=directory 755")
	for name, line := range t.tree(id, looks{noDirTimes: true}) {
		t.check(strings.Contains(line, " 0:0"), "%q is [%s]", name, line)
	}
}

func applyParentsDirs(t *test) {
	base := t.layer("", tarOf(dir("home", 0o711).owned(7, 8), dir("home/me", 0o700).owned(1000, 1001)))
	id := t.layer(base, tarOf(file("home/me/new", "new").owned(1000, 1001)))
	how := looks{noDirTimes: true}
	want := t.tree(base, how)
	have := t.tree(id, how)
	delete(have, "home/me/new")
	t.sameTree(want, have, "directories above a new file")
}

func applyRoot(names ...string) func(*test) {
	return func(t *test) {
		for _, name := range names {
			root := named(tar.TypeDir, name, 0o700).owned(77, 88)
			id := t.layer("", tarOf(root, file("./a", "a"), file("/b", "b"), file("./././c//d", "d")))
			t.has(id, "a=a", "b=b", "c/d=d")
			// What containers see.
			child := t.createReadWrite(t.name(), id)
			var st unix.Stat_t
			t.must(unix.Stat(t.get(child), &st))
			t.put(child)
			t.check(st.Mode&0o7777 == 0o755 && st.Uid == 0 && st.Gid == 0, "the root is %o, %d:%d", st.Mode, st.Uid, st.Gid)
		}
	}
}

func applyHardLinks(t *test) {
	id := t.appliesAsMoby("", tarOf(
		dir("d", 0o755), file("d/a", "a"), hardlink("b", "d/a"), hardlink("d/c", "b"), hardlink("e", "/d/a"),
		hardlink("f", "./d/../d/a"), symlink("s", "nowhere"), hardlink("t", "s"), named(tar.TypeFifo, "fifo", 0o644), hardlink("g", "fifo")))
	t.has(id, "b=a", "d/c=a", "e=a", "f=a", "t=-> nowhere")
	// Twice the same, and itself.
	again := t.layer("", tarOf(file("a", "a"), hardlink("b", "a"), hardlink("b", "a")))
	t.has(again, "a=a", "b=a")
}

func applyLinkToNothing(t *test) {
	base := t.layer("", tarOf(file("below", "below")))
	t.refusesTar("", tarOf(hardlink("a", "later"), file("later", "x")), "a link to what comes later")
	// That a link reaches into the parent was never promised: one that does must have the file.
	id := t.create(t.name(), base)
	if _, err := t.plugin.ApplyDiff(id, base, bytes.NewReader(tarOf(hardlink("a", "below")))); err != nil {
		t.refused(err, "a link to a file of the parent")
	} else {
		t.has(id, "a=below", "below=below")
	}
	t.refusesTar("", tarOf(dir("d", 0o755), hardlink("a", "d")), "a link to a directory")
	t.refusesTar("", tarOf(hardlink("a", "")), "a link to no name")
}

func applySize(t *test) {
	id := t.create(t.name(), "")
	size, err := t.plugin.ApplyDiff(id, "", bytes.NewReader(tarOf(
		dir("d", 0o755), file("d/a", "12345"), hardlink("b", "d/a"), symlink("s", "123"), named(tar.TypeFifo, "p", 0o600), file("e", ""))))
	t.must(err)
	t.check(size == 8, "Size is %d", size)
	t.check(t.diffSize(id, "") == 8, "DiffSize is %d", t.diffSize(id, ""))
}

func applyFractions(t *test) {
	f := file("f", "").as(tar.FormatPAX)
	f.ModTime = time.Unix(1234567890, 123456789)
	id := t.layer("", tarOf(f))
	root := t.get(id)
	defer t.put(id)
	var st unix.Stat_t
	t.must(unix.Lstat(filepath.Join(root, "f"), &st))
	t.check(st.Mtim.Sec == 1234567890 && st.Mtim.Nsec == 123456789, "the time is %v", st.Mtim)
}

func applyToNothing(t *test) {
	_, err := t.plugin.ApplyDiff("nothing", "", bytes.NewReader(tarOf(file("a", "a"))))
	t.refused(err, "ApplyDiff to nothing")
	t.check(!t.exists("nothing"), "ApplyDiff made a layer")
}

// Reads as many bytes at a time as it is told: each becomes a chunk.
type pieces struct {
	io.Reader
	size func() int
}

func (p pieces) Read(b []byte) (int, error) {
	if n := p.size(); n < len(b) {
		b = b[:n]
	}
	return p.Reader.Read(b)
}

func applyChunks(t *test) {
	whole := tarOf(dir("d", 0o755), file("d/f", strings.Repeat("0123456789", 3000)), symlink("l", "d"), file("g", "end"))
	want := t.tree(t.layer("", whole), looks{})
	random := rand.New(rand.NewSource(*seed))
	sizes := map[string]func() int{"random": func() int { return 1 + random.Intn(1500) }}
	for _, n := range []int{1, 7, 511, 512, 513, 4096, 32768} {
		n := n
		sizes[fmt.Sprint(n)] = func() int { return n }
	}
	for name, size := range sizes {
		id := t.create(t.name(), "")
		_, err := t.plugin.ApplyDiff(id, "", pieces{bytes.NewReader(whole), size})
		t.check(err == nil, "chunks of %s: %v", name, err)
		t.sameTree(want, t.tree(id, looks{}), "chunks of %s", name)
	}
}

func applyMany(t *test) {
	var entries []entry
	for i := 0; i < 5000; i++ {
		entries = append(entries, file(fmt.Sprintf("%03d/%d", i%200, i), fmt.Sprint(i)))
	}
	id := t.layer("", tarOf(entries...))
	t.check(len(t.tree(id, looks{})) == 5200, "there are %d entries", len(t.tree(id, looks{})))
	t.has(id, "199/4999=4999", "000/0=0")
}
