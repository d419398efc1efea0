// SPDX-License-Identifier: Apache-2.0

// laps [--settle] SOCKET get-put COUNT ID
// laps SOCKET container COUNT PARENT
// laps SOCKET apply TAR...
//
// How long calls of a graphdriver plugin take, from writing a request to having read its answer, without dockerd:
// lines of a name and of microseconds.
//
// get-put calls Get and Put of a layer, one after the other, and says "get-put MICROSECONDS" a lap. With --settle
// each lap begins after a pause, when nothing is mounted there any more; otherwise at once.
//
// container makes the calls of a container's life on a layer, as dockerd does for "docker run --rm", and writes a
// little into it. It says each call's name and time, and of all of a lap "life".
//
// apply makes a chain of layers of tars, the lowest first, as dockerd does: Create and ApplyDiff of each after the
// other. It says "layer", both of them, for each, and "create", "apply" and "both" of all layers together.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"../rig"
)

// The pause, the same whoever unmounts when; and how long a mount may stay when nobody wants it.
const (
	pause      = 400 * time.Millisecond
	settleTime = 10 * time.Second
)

type layer struct{ ID, Parent string }

func call(plugin *rig.Plugin, method string, of layer) string {
	var answer struct{ Dir string }
	if err := plugin.Call(method, of, &answer); err != nil {
		rig.Die("laps: %s of %s: %v", method, of.ID, err)
	}
	return answer.Dir
}

func isMounted(dir string) bool {
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		rig.Die("laps: %v", err)
	}
	for _, line := range strings.Split(string(text), "\n") {
		if words := strings.Fields(line); len(words) > 4 && words[4] == dir {
			return true
		}
	}
	return false
}

func untilUnmounted(dir string) {
	for end := time.Now().Add(settleTime); isMounted(dir); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			rig.Die("laps: %s stays mounted", dir)
		}
	}
}

func say(name string, took time.Duration) {
	fmt.Printf("%s %.1f\n", name, float64(took.Nanoseconds())/1000)
}

// The first lap is not counted: it connects, and learns where the layer is mounted.
func getPut(plugin *rig.Plugin, id string, count int, settle bool) {
	dir := ""
	for lap := 0; lap <= count; lap++ {
		if settle && lap > 0 {
			time.Sleep(pause)
			untilUnmounted(dir)
		}
		began := time.Now()
		dir = call(plugin, "Get", layer{ID: id})
		call(plugin, "Put", layer{ID: id})
		if lap > 0 {
			say("get-put", time.Since(began))
		}
	}
}

func write(dir, name string) {
	if err := os.WriteFile(filepath.Join(dir, name), []byte("of laps\n"), 0o644); err != nil {
		rig.Die("laps: %v", err)
	}
}

func live(plugin *rig.Plugin, parent string, lap int) {
	id := fmt.Sprintf("c%063x", lap+1)
	of, initial := layer{id, id + "-init"}, layer{id + "-init", parent}
	var life time.Duration
	step := func(name, method string, of layer) string {
		began := time.Now()
		dir := call(plugin, method, of)
		took := time.Since(began)
		life += took
		if lap > 0 {
			say(name, took)
		}
		return dir
	}
	step("create-init", "CreateReadWrite", initial)
	write(step("get-init", "Get", layer{ID: initial.ID}), "of-init")
	step("put-init", "Put", layer{ID: initial.ID})
	step("create", "CreateReadWrite", of)
	step("get", "Get", layer{ID: id})
	step("put", "Put", layer{ID: id})
	write(step("get-again", "Get", layer{ID: id}), "of-container")
	step("put-again", "Put", layer{ID: id})
	step("remove", "Remove", layer{ID: id})
	step("remove-init", "Remove", layer{ID: initial.ID})
	if lap > 0 {
		say("life", life)
	}
}

func apply(plugin *rig.Plugin, tars []string) {
	var create, apply time.Duration
	parent := ""
	for i, name := range tars {
		tar, err := os.Open(name)
		if err != nil {
			rig.Die("laps: %v", err)
		}
		id := fmt.Sprintf("%064x", i+1)
		began := time.Now()
		call(plugin, "Create", layer{id, parent})
		created := time.Now()
		if _, err := plugin.ApplyDiff(id, parent, tar); err != nil {
			rig.Die("laps: ApplyDiff of %s: %v", name, err)
		}
		say("layer", time.Since(began))
		create += created.Sub(began)
		apply += time.Since(created)
		tar.Close()
		parent = id
	}
	say("create", create)
	say("apply", apply)
	say("both", create+apply)
}

func main() {
	settle := flag.Bool("settle", false, "")
	flag.Parse()
	args := flag.Args()
	count := 0
	if len(args) == 4 && args[1] != "apply" {
		var err error
		if count, err = strconv.Atoi(args[2]); err != nil {
			rig.Die("laps: %v", err)
		}
	}
	switch {
	case len(args) == 4 && args[1] == "get-put":
		getPut(rig.New(args[0]), args[3], count, *settle)
	case len(args) == 4 && args[1] == "container":
		plugin := rig.New(args[0])
		for lap := 0; lap <= count; lap++ {
			live(plugin, args[3], lap)
		}
	case len(args) > 2 && args[1] == "apply":
		apply(rig.New(args[0]), args[2:])
	default:
		rig.Die("laps: usage: laps [--settle] SOCKET get-put COUNT ID | laps SOCKET container COUNT PARENT |\n" +
			"  laps SOCKET apply TAR...")
	}
}
