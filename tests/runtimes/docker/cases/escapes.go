// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
)

var escapeCases = []testCase{
	{name: "escape/by-name", run: escapeByName},
	{name: "escape/by-symlink", run: escapeBySymlink},
	{name: "escape/by-symlink-of-the-parent", run: escapeByParent},
	{name: "escape/by-hard-link", run: escapeByLink},
	{name: "escape/by-whiteout", run: escapeByWhiteout},
}

// Applies what wants to get out, however that ends. Nothing outside changes, and nothing of it is inside.
func (t *test) contained(parent string, makes func(out, up string) []entry) {
	out := filepath.Join(t.dir, "outside")
	t.must(os.MkdirAll(filepath.Join(out, "dir"), 0o755))
	t.must(os.WriteFile(filepath.Join(out, "secret"), []byte("secret"), 0o600))
	t.must(os.WriteFile(filepath.Join(out, "dir", "file"), []byte("file"), 0o644))
	before, above := t.list(out, looks{}), names(t, t.dir)
	for _, e := range makes(out, strings.Repeat("../", 24)+out[1:]) {
		for _, entries := range [][]entry{{e}, makes(out, strings.Repeat("../", 24)+out[1:])} {
			id := t.create(t.name(), parent)
			if _, err := t.plugin.ApplyDiff(id, parent, bytes.NewReader(tarOf(entries...))); err != nil {
				t.refused(err, "a way out")
			} else {
				root := t.get(id)
				t.noSecrets(root)
				t.put(id)
			}
			t.remove(id)
			t.sameTree(before, t.list(out, looks{}), "outside")
			t.check(above == names(t, t.dir), "beside: %s, were %s", names(t, t.dir), above)
		}
	}
}

func names(t *test, dir string) string {
	entries, err := os.ReadDir(dir)
	t.must(err)
	var all []string
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return strings.Join(all, " ")
}

func (t *test) noSecrets(root string) {
	filepath.Walk(root, func(path string, info os.FileInfo, err error) error {
		if err == nil && info.Mode().IsRegular() {
			text, _ := os.ReadFile(path)
			t.check(string(text) != "secret", "%s is the secret", path)
		}
		return nil
	})
}

func escapeByName(t *test) {
	t.contained("", func(out, up string) []entry {
		return []entry{
			file(up+"/new", "x"), file(up+"/secret", "x"), file(out+"/new2", "x"), file("../new", "x"), file("../../new", "x"),
			file("a/../../new", "x"), dir(up+"/dir", 0o777), dir("..", 0o777), file("..", "x"), file("a/..", "x"), symlink("../l", "x"),
		}
	})
}

func escapeBySymlink(t *test) {
	t.contained("", func(out, up string) []entry {
		return []entry{
			symlink("abs", out), file("abs/new", "x"), file("abs/secret", "x"), dir("abs/dir", 0o700), file("abs/dir/new", "x"),
			symlink("rel", up), file("rel/new", "x"), dir("rel", 0o700), symlink("f", out+"/secret"), file("f", "x"),
			symlink("one", "."), symlink("one/two", out), file("one/two/new", "x"), symlink("loop", "loop"), file("loop/new", "x"),
			symlink("proc", "/proc/self/root"), file("proc/"+out[1:]+"/new", "x"), symlink("cwd", "/proc/self/cwd"), file("cwd/new", "x"),
		}
	})
}

func escapeByParent(t *test) {
	out := filepath.Join(t.dir, "outside")
	up := strings.Repeat("../", 24) + out[1:]
	base := t.create(t.name(), "")
	root := t.get(base)
	for name, target := range map[string]string{"abs": out, "rel": up, "f": out + "/secret", "d": out + "/dir"} {
		t.must(os.Symlink(target, filepath.Join(root, name)))
	}
	t.put(base)
	t.contained(base, func(string, string) []entry {
		return []entry{
			file("abs/new", "x"), file("rel/new", "x"), file("f", "x"), dir("d", 0o700), file("d/new", "x"), file("abs/.wh.secret", ""),
			file("rel/.wh..wh..opq", ""), hardlink("h", "abs/secret"), file("rel/secret", "x"),
		}
	})
}

func escapeByLink(t *test) {
	t.contained("", func(out, up string) []entry {
		return []entry{
			hardlink("a", out+"/secret"), hardlink("b", up+"/secret"), symlink("l", out), hardlink("c", "l/secret"), symlink("s", out+"/secret"),
			hardlink("d", "s"), file("d", "x"), hardlink("e", "../secret"), hardlink("f", "/proc/self/root"+out+"/secret"),
		}
	})
}

func escapeByWhiteout(t *test) {
	t.contained("", func(out, up string) []entry {
		return []entry{
			file(up+"/.wh.secret", ""), file(out+"/.wh.secret", ""), symlink("l", out), file("l/.wh.secret", ""), file("l/.wh..wh..opq", ""),
			file(".wh...", ""), file(".wh..", ""), file(".wh.", ""), file("a/.wh...", ""), file(up+"/.wh..wh..opq", ""), file("../.wh..wh..opq", ""),
		}
	})
}
