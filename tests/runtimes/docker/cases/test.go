// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/docker/docker/pkg/archive"
	"github.com/docker/docker/pkg/idtools"

	"../rig"
)

// What a case works with. Its functions end the case where a call fails.
type test struct {
	plugin *rig.Plugin
	dir    string // the case's own
	home   string // what Init names
	maps   []idtools.IDMap
	layers []string          // made, and not removed
	dirs   map[string]string // where layers were mounted
	number int
}

func (t *test) fatal(format string, args ...interface{}) {
	panic(failure{fmt.Sprintf(format, args...)})
}

func (t *test) must(err error) {
	if err != nil {
		t.fatal("%v", err)
	}
}

func (t *test) check(truth bool, format string, args ...interface{}) {
	if !truth {
		t.fatal(format, args...)
	}
}

// Of a call that must be answered with a refusal, which is not that of a method that is missing.
func (t *test) refused(err error, what string) {
	var said *rig.Refused
	t.check(err != nil, "%s is not refused", what)
	t.check(errors.As(err, &said), "%s is not answered: %v", what, err)
	t.check(said.Status != 404 && strings.TrimSpace(said.Words) != "", "%s is refused with %d %q", what, said.Status, said.Words)
}

func (t *test) eventually(what string, true func() bool) {
	for end := time.Now().Add(30 * time.Second); !true(); time.Sleep(5 * time.Millisecond) {
		t.check(time.Now().Before(end), "never came true: %s", what)
	}
}

// ---- calls ----

type object map[string]interface{}

func (t *test) try(method string, request object) error {
	return t.plugin.Call(method, request, nil)
}

func (t *test) tryInit(opts []string) error {
	return t.try("Init", object{"Home": t.home, "Opts": opts, "UIDMaps": t.maps, "GIDMaps": t.maps})
}

func (t *test) init() {
	t.must(t.tryInit(nil))
}

func (t *test) tryCreate(method, id, parent string) error {
	request := object{"ID": id}
	if parent != "" {
		request["Parent"] = parent
	}
	err := t.try(method, request)
	if err == nil {
		t.layers = append(t.layers, id)
	}
	return err
}

func (t *test) create(id, parent string) string {
	t.must(t.tryCreate("Create", id, parent))
	return id
}

func (t *test) createReadWrite(id, parent string) string {
	t.must(t.tryCreate("CreateReadWrite", id, parent))
	return id
}

func (t *test) tryGet(id string) (string, error) {
	var answer struct{ Dir string }
	err := t.plugin.Call("Get", object{"ID": id}, &answer)
	return answer.Dir, err
}

// Get must say the same directory each time.
func (t *test) get(id string) string {
	dir, err := t.tryGet(id)
	t.must(err)
	t.check(filepath.IsAbs(dir), "Get(%s) says %q", id, dir)
	if before, ok := t.dirs[id]; ok {
		t.check(before == dir, "Get(%s) says %s, and said %s", id, dir, before)
	}
	t.dirs[id] = dir
	return dir
}

func (t *test) put(id string) {
	t.must(t.try("Put", object{"ID": id}))
}

func (t *test) remove(id string) {
	t.must(t.try("Remove", object{"ID": id}))
	t.forget(id)
}

func (t *test) forget(id string) {
	for i := range t.layers {
		if t.layers[i] == id {
			t.layers = append(t.layers[:i], t.layers[i+1:]...)
			return
		}
	}
}

func (t *test) exists(id string) bool {
	var answer struct{ Exists bool }
	t.must(t.plugin.Call("Exists", object{"ID": id}, &answer))
	return answer.Exists
}

func (t *test) changes(id, parent string) []archive.Change {
	var answer struct{ Changes []archive.Change }
	t.must(t.plugin.Call("Changes", pair(id, parent), &answer))
	return answer.Changes
}

func (t *test) diffSize(id, parent string) int64 {
	var answer struct{ Size int64 }
	t.must(t.plugin.Call("DiffSize", pair(id, parent), &answer))
	return answer.Size
}

func pair(id, parent string) object {
	if parent == "" {
		return object{"ID": id}
	}
	return object{"ID": id, "Parent": parent}
}

func (t *test) diffStream(id, parent string) (io.ReadCloser, error) {
	text, err := json.Marshal(pair(id, parent))
	t.must(err)
	return t.plugin.Stream("Diff", bytes.NewReader(text))
}

func (t *test) diff(id, parent string) []byte {
	stream, err := t.diffStream(id, parent)
	t.must(err)
	defer stream.Close()
	tar, err := io.ReadAll(stream)
	t.must(err)
	return tar
}

// A layer of a tar, with a name of its own; its Size must be its DiffSize.
func (t *test) layer(parent string, tar []byte) string {
	id := t.create(t.name(), parent)
	size, err := t.plugin.ApplyDiff(id, parent, bytes.NewReader(tar))
	t.must(err)
	if now := t.diffSize(id, parent); now != size {
		t.fatal("ApplyDiff says %d bytes, DiffSize %d", size, now)
	}
	return id
}

// A tar that must be refused; its layer can be removed, and the id has no past.
func (t *test) refusesTar(parent string, tar []byte, what string) {
	id := t.create(t.name(), parent)
	_, err := t.plugin.ApplyDiff(id, parent, bytes.NewReader(tar))
	t.refused(err, what)
	t.remove(id)
	t.check(!t.exists(id), "%s: the layer exists after Remove", what)
}

func (t *test) name() string {
	t.number++
	return fmt.Sprintf("layer-%d", t.number)
}

// A layer with a file, and one on it, which is mounted by Get as the lowest may not be.
func (t *test) stack() (string, string) {
	base := t.layer("", tarOf(file("base", "base")))
	return base, t.create(t.name(), base)
}

// ---- mounts ----

// Whether a directory is one where something is mounted.
func mounted(dir string) bool {
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		panic(err)
	}
	for _, line := range strings.Split(string(table), "\n") {
		if words := strings.Fields(line); len(words) > 4 && words[4] == dir {
			return true
		}
	}
	return false
}

func (t *test) eventuallyUnmounted(id string) {
	t.eventually(id+" is unmounted", func() bool { return !mounted(t.dirs[id]) })
}

// Of a mount that must not go: a plugin may keep a mount for a moment after its last Put, so this one is looked at after
// another, let go of later, is gone.
func (t *test) staysMounted(id, why string) {
	_, other := t.stack()
	t.get(other)
	t.put(other)
	t.eventuallyUnmounted(other)
	t.check(mounted(t.dirs[id]), "%s is not mounted: %s", id, why)
	t.remove(other)
}

func (t *test) write(id, name, text string) error {
	dir := t.get(id)
	defer t.put(id)
	return os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644)
}

func (t *test) read(id, name string) string {
	dir := t.get(id)
	defer t.put(id)
	text, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// Removes what the case made, also where it failed: children first.
func (t *test) finish() {
	words := recover()
	var wrong []string
	for i := len(t.layers) - 1; i >= 0; i-- {
		if err := t.try("Remove", object{"ID": t.layers[i]}); err != nil {
			wrong = append(wrong, fmt.Sprintf("Remove(%s): %v", t.layers[i], err))
		}
	}
	if err := t.try("Cleanup", object{}); err != nil {
		wrong = append(wrong, fmt.Sprintf("Cleanup: %v", err))
	}
	for id, dir := range t.dirs {
		if mounted(dir) {
			wrong = append(wrong, fmt.Sprintf("%s is mounted still", id))
		}
	}
	switch {
	case words != nil:
		panic(words)
	case wrong != nil:
		t.fatal("at the end: %s", strings.Join(wrong, "; "))
	}
}
