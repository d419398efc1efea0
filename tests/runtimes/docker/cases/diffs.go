// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/docker/docker/pkg/archive"
)

var diffCases = []testCase{
	{name: "diff/random-to-the-parent", run: randomDiffs(looks{}, func(c []string) string { return c[len(c)-2] })},
	// Of a file that another name has too, moby lists only the names that are changed: links are lost.
	{name: "diff/random-to-a-far-ancestor",
		run: randomDiffs(looks{noLinks: true, noDirTimes: true}, func(c []string) string { return c[0] })},
	{name: "diff/random-to-nothing", run: randomDiffs(looks{}, func([]string) string { return "" })},
	{name: "diff/applied-by-the-plugin", run: diffsApplied},
	{name: "diff/of-the-lowest", run: diffOfLowest},
	{name: "diff/form", run: diffForm},
	{name: "diff/whiteouts-link-to-nothing", run: whiteoutLinks,
		not: "overlay keeps whiteouts as links of one file, and moby writes where they link to: harmless, and untidy"},
	{name: "diff/sockets-are-left-out", run: socketsLeftOut},
	{name: "diff/of-nothing-is-a-status", run: diffOfNothing,
		not: "overlay2 makes an empty tar of a layer that there is not"},
	{name: "diff/while-it-is-mounted", run: diffMounted},
	{name: "diff/given-up-in-the-middle", run: diffGivenUp},
}

func randomDiffs(how looks, parent func([]string) string) func(*test) {
	return func(t *test) {
		t.eachRound(func(seed int64) {
			chain := t.randomChain(seed, 4)
			top := chain[len(chain)-1]
			whole := t.diff(top, parent(chain))
			t.sameTree(t.tree(top, how), t.mobysTree(parent(chain), whole, how), "the diff, applied by moby's archive package")
		})
	}
}

// As at a commit: and what comes of it has the same changes.
func diffsApplied(t *test) {
	t.eachRound(func(seed int64) {
		chain := t.randomChain(seed, 4)
		for i, id := range chain {
			parent := ""
			if i > 0 {
				parent = chain[i-1]
			}
			copied := t.layer(parent, t.diff(id, parent))
			t.sameTree(t.tree(id, looks{}), t.tree(copied, looks{}), "layer %d", i)
			t.sameTree(entries(t, t.diff(id, parent)), entries(t, t.diff(copied, parent)), "the diff of layer %d", i)
		}
	})
}

// What entries a tar has, but for times. moby lists links of whiteouts as such.
func entries(t *test, whole []byte) map[string]string {
	lines := map[string]string{}
	reader := tar.NewReader(bytes.NewReader(whole))
	for {
		header, err := reader.Next()
		if err == io.EOF {
			return lines
		}
		t.must(err)
		_, seen := lines[header.Name]
		t.check(!seen, "%q comes twice", header.Name)
		if strings.Contains(header.Name, archive.WhiteoutPrefix) {
			lines[header.Name] = "whiteout"
			continue
		}
		lines[header.Name] = fmt.Sprintf("%c %o %d:%d %d %q", header.Typeflag, header.Mode&0o7777,
			header.Uid, header.Gid, header.Size, header.Linkname)
	}
}

func diffOfLowest(t *test) {
	whole := tarOf(dir("a", 0o750), file("a/b", "b"), hardlink("a/c", "a/b"), symlink("d", "/a"))
	id := t.layer("", whole)
	t.sameTree(t.mobysTree("", whole, looks{}), t.mobysTree("", t.diff(id, ""), looks{}), "the diff")
}

func diffForm(t *test) {
	base, id := t.stack()
	root := t.get(id)
	t.must(os.MkdirAll(filepath.Join(root, "a/b"), 0o755))
	t.must(os.WriteFile(filepath.Join(root, "a/b/c"), []byte("c"), 0o644))
	t.must(os.WriteFile(filepath.Join(root, "a.d"), nil, 0o644))
	t.must(os.Remove(filepath.Join(root, "base")))
	t.put(id)
	whole := t.diff(id, base)
	t.check(len(whole)%512 == 0 && bytes.HasSuffix(whole, zeros), "it does not end with two blocks of zeros")
	seen := map[string]bool{"": true}
	for name := range entries(t, whole) {
		seen[strings.TrimSuffix(name, "/")] = true
	}
	reader := tar.NewReader(bytes.NewReader(whole))
	for before := ""; ; {
		header, err := reader.Next()
		if err == io.EOF {
			break
		}
		t.must(err)
		t.check(!strings.HasPrefix(header.Name, "/") && !strings.HasPrefix(header.Name, "./"), "a name is %q", header.Name)
		t.check(strings.HasSuffix(header.Name, "/") == (header.Typeflag == tar.TypeDir), "a name is %q of %c", header.Name, header.Typeflag)
		parent := strings.TrimPrefix("/"+filepath.Dir(strings.TrimSuffix(header.Name, "/")), "/.")
		t.check(seen[strings.TrimPrefix(parent, "/")], "%q has no directory (%q)", header.Name, parent)
		for key := range header.PAXRecords {
			t.check(!strings.Contains(key, "overlay"), "%q has %s", header.Name, key)
		}
		t.check(header.ModTime.Nanosecond() == 0, "%q is of %v", header.Name, header.ModTime)
		t.check(before != header.Name, "%q comes twice", before)
		before = header.Name
	}
	t.check(seen[".wh.base"], "there is no whiteout of base")
}

func whiteoutLinks(t *test) {
	base := t.layer("", tarOf(file("a", "1"), file("b", "1"), file("c", "1")))
	id := t.layer(base, tarOf(file(".wh.a", ""), file(".wh.b", ""), file(".wh.c", "")))
	reader := tar.NewReader(bytes.NewReader(t.diff(id, base)))
	for n := 0; ; n++ {
		header, err := reader.Next()
		if err == io.EOF {
			t.check(n == 3, "there are %d entries", n)
			return
		}
		t.must(err)
		t.check(header.Typeflag == tar.TypeReg && header.Linkname == "" && header.Size == 0,
			"%q is of type %c, and a link to %q", header.Name, header.Typeflag, header.Linkname)
	}
}

func socketsLeftOut(t *test) {
	base, id := t.stack()
	// Names of sockets are short.
	dir, err := os.MkdirTemp("", "s")
	t.must(err)
	defer os.RemoveAll(dir)
	t.must(os.Symlink(t.get(id), filepath.Join(dir, "d")))
	listener, err := net.Listen("unix", filepath.Join(dir, "d/socket"))
	t.must(err)
	listener.(*net.UnixListener).SetUnlinkOnClose(false)
	listener.Close()
	t.put(id)
	t.must(t.write(id, "file", "file"))
	t.sameTree(map[string]string{"file": `0 644 0:0 4 ""`}, entries(t, t.diff(id, base)), "the diff")
}

// Whatever has status 200 is taken for a tar.
func diffOfNothing(t *test) {
	base, id := t.stack()
	for _, of := range []object{{"ID": "nothing"}, {"ID": id, "Parent": "nothing"}, {"ID": base, "Parent": "nothing"}, {}} {
		text, _ := json.Marshal(of)
		status, body, err := t.plugin.Post("Diff", bytes.NewReader(text))
		t.must(err)
		said, _ := io.ReadAll(body)
		body.Close()
		t.check(status == 500 || status == 400, "Diff of %s: %d, %q", text, status, said)
	}
}

// As dockerd asks for it, of a container that runs.
func diffMounted(t *test) {
	base, id := t.stack()
	root := t.get(id)
	t.must(os.WriteFile(filepath.Join(root, "open"), []byte("open"), 0o644))
	t.sameTree(map[string]string{"open": `0 644 0:0 4 ""`}, entries(t, t.diff(id, base)), "the diff")
	t.must(os.WriteFile(filepath.Join(root, "more"), nil, 0o644))
	t.check(len(t.changes(id, base)) == 2, "the changes are %v", t.changes(id, base))
	t.put(id)
	t.eventuallyUnmounted(id)
}

func diffGivenUp(t *test) {
	base, id := t.stack()
	t.must(t.write(id, "big", strings.Repeat("0123456789abcdef", 1<<20)))
	for i := 0; i < 8; i++ {
		stream, err := t.diffStream(id, base)
		t.must(err)
		_, err = io.CopyN(io.Discard, stream, int64(i)*70000)
		t.must(err)
		stream.Close()
	}
	t.check(len(t.diff(id, base)) > 16<<20, "it is short afterwards")
	t.remove(id)
}
