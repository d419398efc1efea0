// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"math/rand"
	"os"
	"path/filepath"
	"sync"
	"syscall"
)

var countCases = []testCase{
	{name: "counts/gets-nest", run: getsNest},
	{name: "counts/put-without-get-is-harmless", run: putWithoutGet},
	{name: "counts/put-of-nothing-is-harmless", run: putOfNothing},
	{name: "counts/one-directory-for-a-layer", run: oneDirectory},
	{name: "counts/get-of-nothing-is-refused", run: getOfNothing},
	{name: "counts/remove-of-a-mounted-layer", run: removeMounted},
	{name: "counts/remove-takes-the-count-along", run: removeTakesCount,
		not: "overlay2 counts by path, and hands out an empty directory to who makes a removed layer again"},
	{name: "counts/remove-of-nothing-succeeds", run: removeNothing},
	{name: "counts/cleanup-unmounts-all", run: cleanupUnmounts},
	{name: "counts/cleanup-forgets-counts", run: cleanupForgets,
		not: "overlay2 counts on after Cleanup, for dockerd makes a driver anew at its start; a plugin lives on"},
	{name: "counts/unmounted-behind-its-back", run: unmountedBehind,
		not: "overlay2 trusts its count and hands out an empty directory"},
	{name: "counts/written-until-it-has-a-child", run: writtenUntilChild},
	{name: "counts/a-mount-from-before-the-child-stays", run: mountBeforeChild},
	{name: "counts/containers-of-an-image", run: containers},
	{name: "counts/many-at-once", run: manyAtOnce},
	{name: "counts/129-layers", run: deepest},
}

func getsNest(t *test) {
	_, id := t.stack()
	t.get(id)
	t.get(id)
	t.get(id)
	t.put(id)
	t.put(id)
	t.staysMounted(id, "three Gets, two Puts")
	t.put(id)
	t.eventuallyUnmounted(id)
}

func putWithoutGet(t *test) {
	_, id := t.stack()
	t.put(id)
	t.put(id)
	t.get(id)
	t.check(mounted(t.dirs[id]), "a Get after two Puts does not mount")
	t.get(id)
	t.put(id)
	t.staysMounted(id, "Put, Put, Get, Get, Put")
	t.put(id)
	t.eventuallyUnmounted(id)
	t.put(id)
	t.get(id)
	t.check(mounted(t.dirs[id]), "a Get after one Put too many does not mount")
	t.put(id)
	t.eventuallyUnmounted(id)
}

// Whatever the answer, it is one, and nothing comes of it.
func putOfNothing(t *test) {
	if err := t.try("Put", object{"ID": "nothing"}); err != nil {
		t.refused(err, "Put")
	}
	t.check(!t.exists("nothing"), "Put made a layer")
}

func oneDirectory(t *test) {
	_, id := t.stack()
	for i := 0; i < 3; i++ { // get compares
		t.get(id)
		t.get(id)
		t.put(id)
		t.put(id)
		t.eventuallyUnmounted(id)
		t.init()
	}
	t.must(t.try("Cleanup", object{}))
	t.init()
	t.get(id)
	t.put(id)
}

func getOfNothing(t *test) {
	_, err := t.tryGet("nothing")
	t.refused(err, "Get of nothing")
	t.check(!t.exists("nothing"), "Get made a layer")
}

func removeMounted(t *test) {
	base, id := t.stack()
	t.must(t.write(id, "old", "old"))
	t.get(id)
	t.get(id)
	t.remove(id)
	t.eventuallyUnmounted(id)
	t.check(!t.exists(id), "it exists after Remove")
	_, err := t.tryGet(id)
	t.refused(err, "Get after Remove")
	t.check(t.read(base, "old") != "old", "its file is in the parent")
}

func removeTakesCount(t *test) {
	base, id := t.stack()
	t.must(t.write(id, "old", "old"))
	t.get(id)
	t.get(id)
	t.remove(id)
	t.create(id, base)
	t.has(id, "!old", "base=base")
	t.get(id)
	t.put(id)
	t.eventuallyUnmounted(id)
}

func removeNothing(t *test) {
	t.must(t.try("Remove", object{"ID": "nothing"}))
	_, id := t.stack()
	t.remove(id)
	t.must(t.try("Remove", object{"ID": id}))
}

func cleanupUnmounts(t *test) {
	base, a := t.stack()
	b := t.createReadWrite(t.name(), base)
	c := t.create(t.name(), a)
	for _, id := range []string{a, a, b, c, c, c} {
		t.get(id)
	}
	t.must(t.try("Cleanup", object{}))
	for _, id := range []string{a, b, c} {
		t.check(!mounted(t.dirs[id]), "%s is mounted after Cleanup", id)
		t.check(t.exists(id), "%s is gone after Cleanup", id)
	}
}

func cleanupForgets(t *test) {
	_, id := t.stack()
	t.get(id)
	t.get(id)
	t.must(t.try("Cleanup", object{}))
	t.get(id)
	t.check(mounted(t.dirs[id]), "a Get after Cleanup does not mount")
	t.put(id)
	t.eventuallyUnmounted(id)
}

func unmountedBehind(t *test) {
	_, id := t.stack()
	t.get(id)
	t.must(syscall.Unmount(t.dirs[id], syscall.MNT_DETACH))
	t.get(id)
	t.check(mounted(t.dirs[id]), "a Get hands out what was unmounted")
	t.check(t.read(id, "base") == "base", "its content is missing")
	t.put(id)
	t.put(id)
	t.eventuallyUnmounted(id)
}

func writtenUntilChild(t *test) {
	base, id := t.stack()
	t.must(t.write(id, "one", "1"))
	t.must(t.write(id, "two", "2"))
	child := t.create(t.name(), id)
	t.must(t.write(child, "three", "3"))
	// What is kept from before is let go of.
	t.eventuallyUnmounted(id)
	err := t.write(id, "four", "4")
	t.check(errors.Is(err, syscall.EROFS), "writing to a layer with a child: %v", err)
	t.has(child, "base=base", "one=1", "two=2", "three=3", "!four")
	t.has(id, "base=base", "one=1", "two=2", "!three", "!four")
	t.has(base, "base=base", "!one")
}

// dockerd makes a child while it has the parent mounted.
func mountBeforeChild(t *test) {
	_, id := t.stack()
	dir := t.get(id)
	t.must(os.WriteFile(filepath.Join(dir, "early"), []byte("early"), 0o644))
	child := t.create(t.name(), id)
	t.get(child)
	t.has(child, "early=early")
	t.put(id)
	t.put(child)
	t.eventuallyUnmounted(id)
	t.has(child, "early=early", "base=base")
}

// As dockerd makes, runs and removes a container.
func containers(t *test) {
	_, top := t.stack()
	for _, id := range []string{"c1", "c2"} {
		t.createReadWrite(id+"-init", top)
		t.must(t.write(id+"-init", "hosts", "of "+id))
		t.createReadWrite(id, id+"-init")
		t.get(id)
		t.put(id)
		t.get(id)
		t.must(t.write(id, "log", id))
		t.has(id, "base=base", "hosts=of "+id, "log="+id)
	}
	t.has("c1", "hosts=of c1")
	changes := t.changes("c1", "c1-init")
	t.sameLines([]string{"A /log"}, sorted(changes), "changes")
	for _, id := range []string{"c1", "c2"} {
		t.put(id)
		t.remove(id)
		t.remove(id + "-init")
	}
	t.has(top, "base=base", "!hosts")
}

// What a client holds is mounted, whatever others do with the same layers.
func manyAtOnce(t *test) {
	_, top := t.stack()
	var ids []string
	for i := 0; i < 4; i++ {
		id := t.create(fmt.Sprintf("many-%d", i), top)
		t.must(t.write(id, "mine", id))
		ids = append(ids, id)
	}
	wrong := make(chan error, 1000)
	var all sync.WaitGroup
	for client := 0; client < 12; client++ {
		all.Add(1)
		go func(random *rand.Rand) {
			defer all.Done()
			for i := 0; i < 60; i++ {
				if err := t.holdAndLook(ids[random.Intn(len(ids))]); err != nil {
					wrong <- err
					return
				}
			}
		}(rand.New(rand.NewSource(int64(client))))
	}
	all.Wait()
	close(wrong)
	t.must(<-wrong)
	for _, id := range ids {
		t.eventuallyUnmounted(id)
	}
}

// Of many goroutines: it does not end the case.
func (t *test) holdAndLook(id string) error {
	dir, err := t.tryGet(id)
	if err != nil {
		return err
	}
	if dir != t.dirs[id] {
		return fmt.Errorf("%s is at %s, was at %s", id, dir, t.dirs[id])
	}
	text, err := os.ReadFile(filepath.Join(dir, "mine"))
	if err != nil || string(text) != id {
		return fmt.Errorf("%s has %q while it is held: %v", id, text, err)
	}
	return t.try("Put", object{"ID": id})
}

// As deep as moby's own test goes.
func deepest(t *test) {
	top := t.layer("", tarOf(file("file", "0"), file("deep", "deep")))
	for i := 1; i < 128; i++ {
		top = t.layer(top, tarOf(file("file", fmt.Sprint(i)), file(fmt.Sprintf("only-%d", i), "x")))
	}
	top = t.create(t.name(), top)
	t.must(t.write(top, "written", "on top"))
	t.has(top, "file=127", "deep=deep", "only-1=x", "only-127=x", "written=on top")
}
