// SPDX-License-Identifier: Apache-2.0

// laps [--settle] SOCKET get-put COUNT ID
// laps SOCKET apply TAR...
//
// How long calls of a graphdriver plugin take, from writing a request to having read its answer, without dockerd:
// lines of a name and of microseconds.
//
// get-put calls Get and Put of a layer, one after the other, and says "get-put MICROSECONDS" a lap. With --settle
// each lap begins when nothing is mounted there any more; otherwise at once.
//
// apply makes a chain of layers of tars, the lowest first, as dockerd does: Create and ApplyDiff of each after the
// other. It says "create", "apply" and "both", of all layers together.
package main

import (
	"flag"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"../rig"
)

// How long a mount may stay when nobody wants it.
const settleTime = 10 * time.Second

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
	switch {
	case len(args) == 4 && args[1] == "get-put":
		count, err := strconv.Atoi(args[2])
		if err != nil {
			rig.Die("laps: %v", err)
		}
		getPut(rig.New(args[0]), args[3], count, *settle)
	case len(args) > 2 && args[1] == "apply":
		apply(rig.New(args[0]), args[2:])
	default:
		rig.Die("laps: usage: laps [--settle] SOCKET get-put COUNT ID | laps SOCKET apply TAR...")
	}
}
