// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"path/filepath"
	"strings"
)

var initCases = []testCase{
	{name: "init/again-keeps-layers", run: initKeepsLayers},
	{name: "init/again-keeps-mounts", run: initKeepsMounts},
	{name: "init/unknown-option-is-refused", run: initUnknownOption},
	{name: "init/another-home", run: initAnotherHome},
	{name: "init/relative-home-is-refused", run: initRelativeHome, not: "overlay2 takes any path; dockerd's is absolute"},
	{name: "metadata/is-overlay2s", run: metadata},
	{name: "metadata/of-nothing-is-refused", run: metadataOfNothing},
	{name: "status/is-a-list-of-pairs", run: status},
	{name: "capabilities/are-nested", run: capabilities},
	{name: "activate/says-graphdriver", run: activate},
	{name: "exists/says-what-is", run: exists},
}

func initKeepsLayers(t *test) {
	_, id := t.stack()
	t.must(t.write(id, "kept", "kept"))
	t.init()
	t.check(t.exists(id), "it is gone")
	t.has(id, "kept=kept", "base=base")
}

// With live-restore: a container runs on, and dockerd says Init, Get and Put.
func initKeepsMounts(t *test) {
	_, id := t.stack()
	t.get(id)
	t.init()
	t.check(mounted(t.dirs[id]), "Init unmounts")
	t.get(id)
	t.put(id)
	t.staysMounted(id, "one Get from before Init")
	t.put(id)
	t.eventuallyUnmounted(id)
}

func initUnknownOption(t *test) {
	for _, option := range []string{"nonsense", "nonsense=1", "driver.nonsense=1", "overlay2.nonsense=1", "=", ""} {
		t.refused(t.tryInit([]string{option}), "the option \""+option+"\"")
	}
	t.init()
	t.stack()
}

// What is in the one is not in the other.
func initAnotherHome(t *test) {
	_, id := t.stack()
	t.must(t.write(id, "where", "first"))
	first, layers := t.home, t.layers
	t.home, t.layers = filepath.Join(t.dir, "home", "other"), nil
	t.dirs = map[string]string{}
	t.init()
	t.check(!t.exists(id), "a layer of another Home is here")
	t.create(id, "")
	t.must(t.write(id, "where", "other"))
	t.has(id, "where=other")
	t.remove(id)
	t.home, t.layers = first, layers
	t.dirs = map[string]string{}
	t.init()
	t.has(id, "where=first")
}

func initRelativeHome(t *test) {
	home := t.home
	for _, t.home = range []string{"", "relative/home"} {
		t.refused(t.tryInit(nil), "the Home \""+t.home+"\"")
	}
	t.home = home
	t.init()
}

func (t *test) metadata(id string) map[string]string {
	var answer struct{ Metadata map[string]string }
	t.must(t.plugin.Call("GetMetadata", object{"ID": id}, &answer))
	return answer.Metadata
}

func metadata(t *test) {
	base, id := t.stack()
	top := t.create(t.name(), id)
	said := t.metadata(top)
	for _, key := range []string{"LowerDir", "UpperDir", "WorkDir", "MergedDir"} {
		t.check(filepath.IsAbs(said[key]), "%s is %q", key, said[key])
	}
	t.check(len(strings.Split(said["LowerDir"], ":")) == 2, "LowerDir of a third layer is %q", said["LowerDir"])
	dir := t.get(top)
	t.put(top)
	t.check(said["MergedDir"] == dir, "MergedDir is %q, Dir %q", said["MergedDir"], dir)
	_, ok := t.metadata(base)["LowerDir"]
	t.check(!ok, "the lowest layer has a LowerDir")
	t.must(t.write(top, "up", "in the upper directory"))
	text := t.textOf(said["UpperDir"], "up")
	t.check(text == "in the upper directory", "UpperDir has %q", text)
}

func metadataOfNothing(t *test) {
	t.refused(t.try("GetMetadata", object{"ID": "nothing"}), "GetMetadata of nothing")
}

func status(t *test) {
	var answer struct{ Status [][]string }
	t.must(t.plugin.Call("Status", object{}, &answer))
	t.check(len(answer.Status) > 0, "it says nothing")
	for _, pair := range answer.Status {
		t.check(len(pair) == 2 && pair[0] != "", "%q is not a pair", pair)
	}
}

func capabilities(t *test) {
	var answer struct {
		Capabilities         *struct{ ReproducesExactDiffs bool }
		ReproducesExactDiffs *bool
	}
	status, body, err := t.plugin.Post("Capabilities", strings.NewReader("{}"))
	t.must(err)
	body.Close()
	if status == 404 { // which says that there are none
		return
	}
	t.must(t.plugin.Call("Capabilities", object{}, &answer))
	t.check(answer.Capabilities != nil && answer.ReproducesExactDiffs == nil, "they are not nested")
	t.check(!answer.Capabilities.ReproducesExactDiffs, "it promises the bytes of each tar")
}

func activate(t *test) {
	var answer struct{ Implements []string }
	for i := 0; i < 2; i++ {
		said, err := t.plugin.Raw("Plugin.Activate", nil)
		t.must(err)
		t.must(json.Unmarshal(said, &answer))
		t.check(len(answer.Implements) == 1 && answer.Implements[0] == "GraphDriver", "it implements %q", answer.Implements)
	}
}

func exists(t *test) {
	t.check(!t.exists("layer"), "there is a layer before it was made")
	t.create("layer", "")
	t.check(t.exists("layer"), "it is not there")
	t.check(!t.exists("laye") && !t.exists("layer1"), "others are there")
	t.remove("layer")
	t.check(!t.exists("layer"), "it is there after Remove")
}
