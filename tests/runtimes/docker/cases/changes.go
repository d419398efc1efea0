// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"time"

	"github.com/docker/docker/pkg/archive"
)

var changesCases = []testCase{
	{name: "changes/random-to-the-parent", run: randomChanges(func(c []string) string { return c[len(c)-2] })},
	{name: "changes/random-to-a-far-ancestor", run: randomChanges(func(c []string) string { return c[0] })},
	{name: "changes/random-to-nothing", run: randomChanges(func([]string) string { return "" })},
	{name: "changes/of-the-lowest", run: changesOfLowest},
	{name: "changes/none", run: noChanges},
	{name: "changes/times-of-a-whole-second", run: wholeSeconds},
	{name: "changes/directory-made-again", run: madeAgain},
	{name: "changes/of-nothing-is-refused", run: changesOfNothing},
	{name: "diffsize/random-to-the-parent", run: randomSizes(func(c []string) string { return c[len(c)-2] })},
	{name: "diffsize/random-to-a-far-ancestor", run: randomSizes(func(c []string) string { return c[0] })},
	{name: "diffsize/random-to-nothing", run: randomSizes(func([]string) string { return "" })},
}

// All orders are right.
func sorted(changes []archive.Change) []string {
	var lines []string
	for _, change := range changes {
		// What is not UTF-8 looks as it does when it came through JSON.
		text, _ := json.Marshal(change.String())
		var line string
		must(json.Unmarshal(text, &line))
		lines = append(lines, line)
	}
	sort.Strings(lines)
	return lines
}

func (t *test) sameLines(want, have []string, what string) {
	wanted, had := map[string]string{}, map[string]string{}
	for _, line := range want {
		wanted[line] += "there"
	}
	for _, line := range have {
		had[line] += "there"
	}
	t.sameTree(wanted, had, "%s", what)
}

// What moby says of two trees that are mounted; "" is an empty one.
func (t *test) mobysChanges(id, parent string) ([]archive.Change, int64) {
	root, other := t.get(id), ""
	defer t.put(id)
	if parent != "" {
		other = t.get(parent)
		defer t.put(parent)
	}
	changes, err := archive.ChangesDirs(root, other)
	t.must(err)
	return changes, archive.ChangesSize(root, changes)
}

func (t *test) eachRound(what func(seed int64)) {
	for s := *seed; s < *seed+*rounds; s++ {
		func() {
			defer func() {
				if words := recover(); words != nil {
					if wrong, ok := words.(failure); ok {
						panic(failure{fmt.Sprintf("--seed %d --rounds 1: %s", s, wrong.words)})
					}
					panic(words)
				}
			}()
			what(s)
			for len(t.layers) > 0 {
				t.remove(t.layers[len(t.layers)-1])
			}
		}()
	}
}

func randomChanges(parent func([]string) string) func(*test) {
	return func(t *test) {
		t.eachRound(func(seed int64) {
			chain := t.randomChain(seed, 4)
			top := chain[len(chain)-1]
			want, _ := t.mobysChanges(top, parent(chain))
			t.check(len(want) > 0, "there are no changes")
			t.sameLines(sorted(want), sorted(t.changes(top, parent(chain))), "changes")
		})
	}
}

// The sum of a layer's files with its parent, of what moby says is changed with others.
func randomSizes(parent func([]string) string) func(*test) {
	return func(t *test) {
		t.eachRound(func(seed int64) {
			chain := t.randomChain(seed, 4)
			top := chain[len(chain)-1]
			_, want := t.mobysChanges(top, parent(chain))
			size := t.diffSize(top, parent(chain))
			t.check(want > 0 && size == want, "DiffSize is %d, should be %d", size, want)
		})
	}
}

func changesOfLowest(t *test) {
	id := t.layer("", tarOf(dir("a", 0o755), file("a/b", "b"), symlink("c", "a")))
	t.sameLines([]string{"A /a", "A /a/b", "A /c"}, sorted(t.changes(id, "")), "changes")
	t.check(t.diffSize(id, "") == 2, "DiffSize is %d", t.diffSize(id, ""))
}

func noChanges(t *test) {
	base, id := t.stack()
	t.check(len(t.changes(id, base)) == 0, "the changes of an empty layer are %v", t.changes(id, base))
	t.check(t.diffSize(id, base) == 0, "the DiffSize of an empty layer is %d", t.diffSize(id, base))
	empty := t.create(t.name(), "")
	t.check(len(t.changes(empty, "")) == 0, "the changes of nothing are %v", t.changes(empty, ""))
	t.check(t.diffSize(empty, "") == 0, "the DiffSize of nothing is %d", t.diffSize(empty, ""))
}

// Times are the same where one has no nanoseconds: what was once in a tar has none.
func wholeSeconds(t *test) {
	base := t.layer("", tarOf(file("same", "same"), file("second", "1"), file("size", "1")))
	id := t.create(t.name(), base)
	root := t.get(id)
	for name, when := range map[string]time.Time{
		"same": then.Add(123456789), "second": then.Add(time.Second), "size": then.Add(5),
	} {
		text := "1"
		if name != "second" {
			text = "same"
		}
		t.must(os.WriteFile(filepath.Join(root, name), []byte(text), 0o644))
		t.must(os.Chtimes(filepath.Join(root, name), when, when))
	}
	t.put(id)
	t.sameLines([]string{"C /second", "C /size"}, sorted(t.changes(id, base)), "changes")
}

func madeAgain(t *test) {
	base := t.layer("", tarOf(dir("d", 0o755), file("d/gone", "1"), file("d/again", "1"), dir("d/sub", 0o755), file("d/sub/x", "1")))
	id := t.create(t.name(), base)
	root := t.get(id)
	t.must(os.RemoveAll(filepath.Join(root, "d")))
	t.must(os.Mkdir(filepath.Join(root, "d"), 0o755))
	t.must(os.WriteFile(filepath.Join(root, "d/again"), []byte("2"), 0o644))
	t.must(os.WriteFile(filepath.Join(root, "d/new"), []byte("2"), 0o644))
	t.put(id)
	t.sameLines([]string{"C /d", "C /d/again", "A /d/new", "D /d/gone", "D /d/sub"}, sorted(t.changes(id, base)), "changes")
}

func changesOfNothing(t *test) {
	base, _ := t.stack()
	t.refused(t.try("Changes", object{"ID": "nothing"}), "Changes of nothing")
	t.refused(t.try("Changes", object{"ID": base, "Parent": "nothing"}), "Changes to nothing")
	t.refused(t.try("DiffSize", object{"ID": base, "Parent": "nothing"}), "DiffSize to nothing")
}
