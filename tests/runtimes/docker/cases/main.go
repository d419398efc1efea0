// SPDX-License-Identifier: Apache-2.0

// cases --socket SOCKET --dir DIR [FLAG...] [CASE...]
//
// What moby's own tests of graph drivers do not ask, of the plugin that listens on SOCKET: how mounts are counted, what
// is said of changes beside moby's own comparison, tar in all its dialects, what is refused. Each case begins with an
// Init, with a Home below DIR, and removes what it made: then it must be gone. A line a case: "PASS name", "FAIL name:
// why" or "SKIP name: why".
//
//	--list        only says which cases there are
//	--reference   the plugin is moby's overlay2: leaves out what that one does otherwise, and says why ours should not
//	--seed N      where random trees begin (1)
//	--rounds N    how many of them a case tries (4)
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"../rig"
)

// A case. Where moby's driver is not asked, not says why.
type testCase struct {
	name string
	run  func(*test)
	not  string
}

var groups = [][]testCase{
	countCases, initCases, changesCases, diffCases, applyCases, dialectCases, whiteoutCases, escapeCases,
	truncationCases, commitCases, idCases, requestCases, usernsCases,
}

var (
	socket    = flag.String("socket", "", "")
	directory = flag.String("dir", "", "")
	list      = flag.Bool("list", false, "")
	reference = flag.Bool("reference", false, "")
	seed      = flag.Int64("seed", 1, "")
	rounds    = flag.Int64("rounds", 4, "")
)

// Ends a case that failed.
type failure struct{ words string }

// Runs one, and says whether it passed.
func pass(c testCase) (passed bool) {
	t := &test{
		plugin: rig.New(*socket),
		dir:    filepath.Join(*directory, strings.ReplaceAll(c.name, "/", "-")),
		dirs:   map[string]string{},
	}
	defer func() {
		switch words := recover().(type) {
		case nil:
			fmt.Println("PASS", c.name)
			passed = true
		case failure:
			fmt.Printf("FAIL %s: %s\n", c.name, words.words)
		default:
			fmt.Printf("FAIL %s: %v\n%s\n", c.name, words, debug.Stack())
		}
	}()
	if err := os.MkdirAll(t.dir, 0o711); err != nil {
		t.fatal("%v", err)
	}
	t.home = filepath.Join(t.dir, "home", "driver")
	t.must(os.MkdirAll(filepath.Dir(t.home), 0o711))
	// What hangs is a failure, with words that tell where.
	watch := time.AfterFunc(4*time.Minute, func() {
		fmt.Printf("FAIL %s: it hangs\n", c.name)
		panic("hangs")
	})
	defer watch.Stop()
	defer t.finish()
	t.init()
	c.run(t)
	return
}

func wanted() []testCase {
	var cases []testCase
	named := map[string]bool{}
	for _, name := range flag.Args() {
		named[name] = true
	}
	for _, group := range groups {
		for _, c := range group {
			if flag.NArg() == 0 || named[c.name] {
				cases = append(cases, c)
			}
			delete(named, c.name)
		}
	}
	for name := range named {
		rig.Die("cases: there is no case %s", name)
	}
	return cases
}

func main() {
	flag.Parse()
	if !*list && (*socket == "" || *directory == "") {
		rig.Die("cases: usage: cases --socket SOCKET --dir DIR [CASE...]")
	}
	syscall.Umask(0)
	failed := 0
	for _, c := range wanted() {
		switch {
		case *list:
			fmt.Println(c.name)
		case *reference && c.not != "":
			fmt.Printf("SKIP %s: not with the reference: %s\n", c.name, c.not)
		case !pass(c):
			failed++
		}
	}
	if failed > 0 {
		rig.Die("cases: %d failed", failed)
	}
}
