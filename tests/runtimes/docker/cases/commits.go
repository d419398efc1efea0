// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"math/rand"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
)

var commitCases = []testCase{
	{name: "commit/eight-at-once", run: commits},
	{name: "commit/one-layer-many-times", run: commitsOfOne},
}

// What docker commit does: the Diff of a container is the body of an ApplyDiff. More than any buffer holds.
func commits(t *test) {
	_, top := t.stack()
	const n, each = 8, 24 << 20
	for i := 0; i < n; i++ {
		id := t.createReadWrite(fmt.Sprintf("container-%d", i), top)
		root := t.get(id) // and runs on
		text := make([]byte, each/4)
		for f := 0; f < 4; f++ {
			rand.New(rand.NewSource(int64(10*i + f))).Read(text)
			t.must(os.WriteFile(filepath.Join(root, fmt.Sprintf("data-%d", f)), text, 0o644))
		}
		t.must(os.Remove(filepath.Join(root, "base")))
		t.create(fmt.Sprintf("image-%d", i), top)
	}
	errs := make(chan error, 3*n)
	stop := make(chan struct{})
	var working, looking sync.WaitGroup
	for i := 0; i < n; i++ {
		i := i
		working.Add(1)
		go func() {
			defer working.Done()
			errs <- t.commit(fmt.Sprintf("container-%d", i), fmt.Sprintf("image-%d", i), top, each+0)
		}()
		looking.Add(1)
		go func() {
			defer looking.Done()
			errs <- t.disturb(fmt.Sprintf("container-%d", (i+1)%n), stop)
		}()
	}
	working.Wait()
	close(stop)
	looking.Wait()
	close(errs)
	for err := range errs {
		t.must(err)
	}
	for i := 0; i < n; i++ {
		c, l := fmt.Sprintf("container-%d", i), fmt.Sprintf("image-%d", i)
		t.sameTree(t.tree(c, looks{}), t.tree(l, looks{}), "%s", l)
		t.put(c)
	}
}

func (t *test) commit(from, to, parent string, size int64) error {
	stream, err := t.diffStream(from, parent)
	if err != nil {
		return err
	}
	defer stream.Close()
	said, err := t.plugin.ApplyDiff(to, parent, stream)
	if err == nil && said != size {
		err = fmt.Errorf("%s has %d bytes, should have %d", to, said, size)
	}
	return err
}

// What others do meanwhile.
func (t *test) disturb(id string, stop chan struct{}) error {
	for {
		select {
		case <-stop:
			return nil
		default:
		}
		if _, err := t.tryGet(id); err != nil {
			return err
		}
		if err := t.try("GetMetadata", object{"ID": id}); err != nil {
			return err
		}
		if err := t.try("Put", object{"ID": id}); err != nil {
			return err
		}
	}
}

func commitsOfOne(t *test) {
	base, id := t.stack()
	t.must(t.write(id, "data", strings.Repeat("0123456789abcdef", 1<<19)))
	errs := make(chan error, 8)
	for i := 0; i < 8; i++ {
		to := t.create(t.name(), base)
		go func() { errs <- t.commit(id, to, base, 8<<20) }()
	}
	for i := 0; i < 8; i++ {
		t.must(<-errs)
	}
	want := t.tree(id, looks{})
	for _, to := range t.layers[2:] {
		t.sameTree(want, t.tree(to, looks{}), "%s", to)
		// What is the same may be kept once: what is done to one, where that is allowed, is not done to another.
		if err := t.write(to, "of", to); err != nil {
			t.check(errors.Is(err, syscall.EROFS), "writing: %v", err)
		}
	}
	for _, to := range t.layers[2:] {
		if text := t.read(to, "of"); text != to {
			t.check(strings.Contains(text, "no such file"), "%s has the file of %s", to, text)
		}
	}
}
