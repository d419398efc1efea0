// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/docker/docker/pkg/idtools"
	"golang.org/x/sys/unix"
)

const (
	hostRoot = 400000
	mapSize  = 65536
)

var usernsCases = []testCase{
	{name: "userns/ids-are-mapped", run: usernsMapped},
	{name: "userns/an-id-outside-is-refused", run: usernsOutside},
	{name: "userns/the-hosts-id-of-root-is-outside", run: usernsHostRoot, not: "moby takes it for one that is mapped already"},
	{name: "userns/diff-maps-back", run: usernsDiff},
	{name: "userns/diff-to-nothing-maps-back", run: usernsDiffAll, not: "moby forgets the maps there"},
	{name: "userns/the-root-is-the-containers", run: usernsRoot},
	{name: "userns/directories-above-are-passed", run: usernsAbove},
	{name: "userns/maps-of-parts", run: usernsParts},
}

func (t *test) remapped(maps ...idtools.IDMap) {
	if maps == nil {
		maps = []idtools.IDMap{{ContainerID: 0, HostID: hostRoot, Size: mapSize}}
	}
	t.maps = maps
	t.home = filepath.Join(t.dir, "home", fmt.Sprintf("%d.%d", maps[0].HostID, maps[0].HostID), "driver")
	t.must(os.MkdirAll(filepath.Dir(t.home), 0o711))
	t.init()
}

func (t *test) ownedBy(root, name string, uid, gid int) {
	var st unix.Stat_t
	t.must(unix.Lstat(filepath.Join(root, name), &st))
	t.check(int(st.Uid) == uid && int(st.Gid) == gid, "%q is %d:%d's, should be %d:%d's", name, st.Uid, st.Gid, uid, gid)
}

func mappedTar() []byte {
	return tarOf(
		dir("d", 0o755).owned(1, 2), file("d/root", "x"), file("d/last", "x").owned(65535, 65535), file("some", "x").owned(1000, 5),
		symlink("l", "d").owned(7, 8), hardlink("h", "some").owned(1000, 5), file("made/for", "x").owned(9, 9))
}

func usernsMapped(t *test) {
	t.remapped()
	base := t.layer("", mappedTar())
	for _, id := range []string{base, t.create(t.name(), base)} {
		root := t.get(id)
		t.ownedBy(root, "d", hostRoot+1, hostRoot+2)
		t.ownedBy(root, "d/root", hostRoot, hostRoot)
		t.ownedBy(root, "d/last", hostRoot+65535, hostRoot+65535)
		t.ownedBy(root, "some", hostRoot+1000, hostRoot+5)
		t.ownedBy(root, "h", hostRoot+1000, hostRoot+5)
		t.ownedBy(root, "l", hostRoot+7, hostRoot+8)
		t.ownedBy(root, "made", hostRoot, hostRoot)
		t.put(id)
	}
}

func usernsOutside(t *test) {
	t.remapped()
	for _, e := range []entry{
		file("a", "x").owned(65536, 0), file("a", "x").owned(0, 65536), dir("a", 0o755).owned(70000, 0), symlink("a", "b").owned(1<<31, 0),
	} {
		t.refusesTar("", tarOf(e), fmt.Sprintf("an entry of %d:%d", e.Uid, e.Gid))
	}
	t.layer("", mappedTar())
}

func usernsHostRoot(t *test) {
	t.remapped()
	t.refusesTar("", tarOf(file("a", "x").owned(hostRoot, hostRoot)), "an entry of the host's root")
}

func usernsDiff(t *test) {
	t.remapped()
	base := t.layer("", mappedTar())
	id := t.layer(base, tarOf(dir("new", 0o750).owned(4, 5), file("new/f", "x").owned(6, 7), file(".wh.some", ""), file("d/.wh..wh..opq", "")))
	have := entries(t, t.diff(id, base))
	t.check(have["new/"] == `5 750 4:5 0 ""` && have["new/f"] == `0 644 6:7 1 ""`, "the diff has %q", have)
	// An opaque directory may also be told by what it hides.
	hidden := have["d/.wh..wh..opq"] == "whiteout" || have["d/.wh.root"] == "whiteout" && have["d/.wh.last"] == "whiteout"
	t.check(have[".wh.some"] == "whiteout" && hidden, "the diff has %q", have)
	copied := t.layer(base, t.diff(id, base))
	t.sameTree(t.tree(id, looks{}), t.tree(copied, looks{}), "copied")
}

func usernsDiffAll(t *test) {
	t.remapped()
	base := t.layer("", mappedTar())
	id := t.layer(base, tarOf(file("f", "x").owned(6, 7)))
	all := entries(t, t.diff(id, ""))
	t.check(all["f"] == `0 644 6:7 1 ""` && all["d/"] == `5 755 1:2 0 ""`, "all of it is %q", all)
	copied := t.layer("", t.diff(id, ""))
	t.sameTree(t.tree(id, looks{}), t.tree(copied, looks{}), "copied")
}

func usernsRoot(t *test) {
	t.remapped()
	base := t.layer("", mappedTar())
	init := t.createReadWrite("c-init", base)
	t.get(init)
	t.put(init)
	for _, id := range []string{base, init, t.createReadWrite("c", init)} {
		root := t.get(id)
		t.ownedBy(root, ".", hostRoot, hostRoot)
		t.put(id)
	}
}

// All directories between the test's own, which --dir is in, and where a layer is mounted: the container's root can pass
// each.
func usernsAbove(t *test) {
	t.remapped()
	top := filepath.Dir(*directory)
	base := t.layer("", mappedTar())
	for _, id := range []string{base, t.createReadWrite("c", base)} {
		t.check(strings.HasPrefix(t.get(id), top+"/"), "it is at %s, and not below %s", t.dirs[id], top)
		for dir := t.dirs[id]; dir != top; dir = filepath.Dir(dir) {
			var st unix.Stat_t
			t.must(unix.Lstat(dir, &st))
			passed := st.Mode&0o001 != 0 || (st.Gid == hostRoot && st.Mode&0o010 != 0) || (st.Uid == hostRoot && st.Mode&0o100 != 0)
			t.check(passed, "%s is %o, %d:%d's", dir, st.Mode, st.Uid, st.Gid)
		}
		t.put(id)
	}
}

func usernsParts(t *test) {
	t.remapped(idtools.IDMap{ContainerID: 0, HostID: 500000, Size: 1}, idtools.IDMap{ContainerID: 1, HostID: 600000, Size: 999},
		idtools.IDMap{ContainerID: 1000, HostID: 1000, Size: 1}, idtools.IDMap{ContainerID: 1001, HostID: 601000, Size: 60000})
	id := t.layer("", tarOf(file("0", ""), file("1", "").owned(1, 999),
		file("1000", "").owned(1000, 1000), file("1001", "").owned(1001, 61000)))
	root := t.get(id)
	t.ownedBy(root, "0", 500000, 500000)
	t.ownedBy(root, "1", 600000, 600998)
	t.ownedBy(root, "1000", 1000, 1000)
	t.ownedBy(root, "1001", 601000, 660999)
	t.put(id)
	have := entries(t, t.diff(id, ""))
	t.check(have["1001"] == `0 644 1001:61000 0 ""` && have["1000"] == `0 644 1000:1000 0 ""`, "the diff has %q", have)
	t.refusesTar("", tarOf(file("a", "").owned(61001, 0)), "an id outside of the maps")
}
