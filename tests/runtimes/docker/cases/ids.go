// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
)

var idCases = []testCase{
	{name: "ids/all-that-docker-uses", run: idsAccepted},
	{name: "ids/others-are-refused", run: idsRefused, not: "overlay2 trusts dockerd"},
	{name: "ids/unknown-parent-is-refused", run: unknownParent},
	{name: "ids/own-parent-is-refused", run: ownParent, not: "overlay2 makes the directory before it looks for the parent's"},
	{name: "ids/create-of-what-exists-is-refused", run: createExisting, not: "overlay2 makes the one in the other's directory"},
	{name: "ids/unknown-storage-option-is-refused", run: storageOption},
	{name: "ids/same-name-many-at-once", run: sameName, not: "as create-of-what-exists"},
}

func idsAccepted(t *test) {
	base, _ := t.stack()
	hex := strings.Repeat("0123456789abcdef", 4)
	for _, id := range []string{
		hex, hex + "-init", "Base", "empty", "pluginTest", "k3z9xw0a1b2c3d4e5f6g7h8i9", "a", "A.b_c-d",
		".hidden", "a..b", "0", strings.Repeat("x", 128),
	} {
		t.createReadWrite(id, base)
		t.must(t.write(id, "mine", id))
		t.has(id, "mine="+id, "base=base")
	}
	for _, id := range append([]string{}, t.layers[2:]...) {
		t.has(id, "mine="+id)
		t.remove(id)
	}
}

func idsRefused(t *test) {
	base, _ := t.stack()
	before := t.homeTree()
	for _, id := range []string{
		"", ".", "..", "/", "a/b", "/a", "a/", "../layer-1", "../../x", "a\x00b", "a b",
		"a\nb", "ä", "a:b", "a,b", "a\\b", strings.Repeat("x", 5000), "*", "%2e%2e",
	} {
		for _, method := range []string{"Create", "CreateReadWrite", "Get", "Diff", "DiffSize", "Changes", "GetMetadata"} {
			t.refused(t.try(method, object{"ID": id}), fmt.Sprintf("%s of %.40q", method, id))
		}
		for _, method := range []string{"Remove", "Put"} { // these do nothing, whether or not they say so
			if err := t.try(method, object{"ID": id}); err != nil {
				t.refused(err, method)
			}
		}
		if id != "" {
			t.refused(t.try("Create", object{"ID": "child", "Parent": id}), fmt.Sprintf("the parent %.40q", id))
		}
	}
	for _, id := range []string{"", ".", "..", "../x", "a%2fb", "%2e%2e"} {
		_, err := t.plugin.ApplyDiff(id, "", strings.NewReader(string(zeros)))
		t.refused(err, "ApplyDiff to "+id)
	}
	t.check(!t.exists("child") && t.exists(base), "a layer came, or went")
	t.check(t.homeTree() == before, "in Home there is %s, was %s", t.homeTree(), before)
}

// What stands where Home says; those who keep layers elsewhere have nothing there.
func (t *test) homeTree() string {
	var names []string
	filepath.Walk(filepath.Join(t.dir, "home"), func(path string, _ os.FileInfo, err error) error {
		names = append(names, path)
		return nil
	})
	return strings.Join(names, " ")
}

func unknownParent(t *test) {
	before := t.homeTree()
	for _, method := range []string{"Create", "CreateReadWrite"} {
		t.refused(t.try(method, object{"ID": "orphan", "Parent": "nothing"}), "an unknown parent")
	}
	t.check(!t.exists("orphan"), "a failed Create leaves a layer")
	// moby's own leaves a name in "l".
	if !*reference {
		t.check(t.homeTree() == before, "in Home there is %s, was %s", t.homeTree(), before)
	}
	t.create("orphan", "")
}

func ownParent(t *test) {
	t.refused(t.try("Create", object{"ID": "itself", "Parent": "itself"}), "a layer that is its own parent")
	t.check(!t.exists("itself"), "a failed Create leaves a layer")
}

func createExisting(t *test) {
	base, id := t.stack()
	t.must(t.write(id, "kept", "kept"))
	for _, method := range []string{"Create", "CreateReadWrite"} {
		t.refused(t.try(method, object{"ID": id, "Parent": base}), "a second layer of a name")
		t.refused(t.try(method, object{"ID": id}), "a second layer of a name")
	}
	t.has(id, "kept=kept", "base=base")
}

func storageOption(t *test) {
	base, _ := t.stack()
	before := t.homeTree()
	for _, options := range []map[string]string{{"nonsense": "1"}, {"": ""}, {"size": "rubbish"}, {"size": "-5"}, {"size": ""}} {
		t.refused(t.try("CreateReadWrite", object{"ID": "opted", "Parent": base, "StorageOpt": options}), fmt.Sprint(options))
		t.check(!t.exists("opted"), "a refused Create leaves a layer")
	}
	t.check(t.homeTree() == before, "in Home there is %s, was %s", t.homeTree(), before)
	t.must(t.try("CreateReadWrite", object{"ID": "opted", "Parent": base, "StorageOpt": map[string]string{}}))
	t.remove("opted")
}

// One of them makes it.
func sameName(t *test) {
	base, _ := t.stack()
	for round := 0; round < 20; round++ {
		var made int64
		var all sync.WaitGroup
		for i := 0; i < 8; i++ {
			all.Add(1)
			go func() {
				defer all.Done()
				if t.try("Create", object{"ID": "wanted", "Parent": base}) == nil {
					atomic.AddInt64(&made, 1)
				}
			}()
		}
		all.Wait()
		t.check(made == 1, "%d of 8 made the same layer", made)
		t.has("wanted", "base=base")
		t.remove("wanted")
	}
}
