// SPDX-License-Identifier: Apache-2.0
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	api "github.com/containerd/containerd/api/services/snapshots/v1"
	"github.com/containerd/containerd/api/types"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"../rig"
)

// entry is a line of the ledger. A call is "try" before it is made and "ok" when it was answered; "is" is what was
// found of a key after calls that were not answered.
//
//	prepare, view   Key, Parent, Label
//	commit          Key becomes Name, which has Label
//	label           Key has Label now
//	remove          Key
type entry struct {
	Event  string `json:"event"`
	Op     string `json:"op,omitempty"`
	Key    string `json:"key"`
	Name   string `json:"name,omitempty"`
	Parent string `json:"parent,omitempty"`
	Label  string `json:"label,omitempty"`
	State  *state `json:"state,omitempty"`
}

// state is what a key may be: Kind is "" where there is none.
type state struct {
	Kind   string `json:"kind,omitempty"`
	Parent string `json:"parent,omitempty"`
	Label  string `json:"label,omitempty"`
}

func (s state) String() string {
	if s.Kind == "" {
		return "nothing"
	}
	return fmt.Sprintf("%s (parent %q, label %q)", s.Kind, s.Parent, s.Label)
}

// ledger is a file that lines are added to. The server is killed, not the machine: what is written is written.
type ledger struct {
	sync.Mutex
	file *os.File
}

func (l *ledger) add(e entry) {
	line, err := json.Marshal(e)
	if err == nil {
		l.Lock()
		_, err = l.file.Write(append(line, '\n'))
		l.Unlock()
	}
	if err != nil {
		rig.Die("hammer: the ledger: %v", err)
	}
}

func openLedger(name string) *ledger {
	file, err := os.OpenFile(name, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		rig.Die("hammer: %v", err)
	}
	return &ledger{file: file}
}

// ---- recording ----

var errLost = errors.New("the server is gone")

// scribe is a client that writes down what it does.
type scribe struct {
	*client
	*ledger
	run  string
	stop <-chan struct{}
}

// call is written down before and after it. Only that the server is gone is no failure.
func (s *scribe) call(e entry, call func(context.Context) error) error {
	e.Event = "try"
	s.add(e)
	_, err := timed(strings.ToUpper(e.Op[:1])+e.Op[1:], call)
	switch status.Code(err) {
	case codes.OK:
		e.Event = "ok"
		s.add(e)
		return nil
	case codes.Unavailable:
		return errLost
	}
	fail("%s %s: %v", e.Op, e.Key, err)
	return nil
}

// Where what is written into a snapshot goes; "" where nothing can be written.
func upper(mounts []*types.Mount) string {
	for _, m := range mounts {
		if m.Type == "bind" {
			return m.Source
		}
		for _, option := range m.Options {
			if strings.HasPrefix(option, "upperdir=") {
				return option[len("upperdir="):]
			}
		}
	}
	return ""
}

// A chain of a few snapshots with a file in each; the most of it is removed again.
func (s *scribe) turn(number int) error {
	parent := ""
	var made []string
	for depth := 0; depth < 1+s.random.Intn(3); depth++ {
		key := fmt.Sprintf("%s/%s/%d/%d/%d active", *prefix, s.run, s.number, number, depth)
		committed := strings.TrimSuffix(key, " active")
		var mounts []*types.Mount
		err := s.call(entry{Op: "prepare", Key: key, Parent: parent, Label: "new"}, func(ctx context.Context) (err error) {
			mounts, err = s.prepare(ctx, key, parent, map[string]string{mark: "new"})
			return err
		})
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(upper(mounts), "name"), []byte(committed), 0o644); err != nil {
			fail("%s: %v", key, err)
		}
		if s.random.Intn(3) == 0 {
			if err := s.call(entry{Op: "update", Key: key, Label: "changed"}, func(ctx context.Context) error {
				return s.label(ctx, key, mark, "changed")
			}); err != nil {
				return err
			}
		}
		if s.random.Intn(8) == 0 {
			made = append(made, key)
			break
		}
		if err := s.call(entry{Op: "commit", Key: key, Name: committed, Label: "done"}, func(ctx context.Context) error {
			return s.commit(ctx, committed, key, map[string]string{mark: "done"})
		}); err != nil {
			return err
		}
		made = append(made, committed)
		parent = committed
	}
	if parent != "" && s.random.Intn(4) == 0 {
		view := fmt.Sprintf("%s/%s/%d/%d/view", *prefix, s.run, s.number, number)
		if err := s.call(entry{Op: "view", Key: view, Parent: parent}, func(ctx context.Context) error {
			_, err := s.view(ctx, view, parent)
			return err
		}); err != nil {
			return err
		}
		made = append(made, view)
	}
	// Some stay, so that later ones are not alone.
	for keep := s.random.Intn(4) == 0; len(made) > 0 && !keep; made = made[:len(made)-1] {
		key := made[len(made)-1]
		if err := s.call(entry{Op: "remove", Key: key}, func(ctx context.Context) error { return s.remove(ctx, key) }); err != nil {
			return err
		}
	}
	return nil
}

// Waits until the server answers, or this is to end.
func (s *scribe) awaitServer() {
	for {
		ctx, done := context.WithTimeout(context.Background(), time.Second)
		_, err := s.stat(ctx, *prefix+"/nothing")
		done()
		if status.Code(err) == codes.NotFound {
			return
		}
		select {
		case <-s.stop:
			return
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func record(name string) {
	book := openLedger(name)
	stop := make(chan struct{})
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	go func() {
		<-signals
		close(stop)
	}()
	run := fmt.Sprint(time.Now().UnixNano())
	if !together(connect(*clients), func(c *client) {
		s := &scribe{c, book, run, stop}
		for number := 0; ; number++ {
			select {
			case <-stop:
				return
			default:
			}
			if s.turn(number) == errLost {
				s.awaitServer()
			}
		}
	}) {
		os.Exit(1)
	}
}

// ---- verifying ----

// open is a call that was not answered: it made all of these so, or none.
type open struct {
	op    string
	after map[string]state
}

// account is what the ledger says: what keys are, and the calls on them of which nobody knows. There is at most one
// of these for a key.
type account struct {
	known map[string]state
	open  map[string]*open
}

func (a *account) effects(e entry) map[string]state {
	switch e.Op {
	case "prepare":
		return map[string]state{e.Key: {"ACTIVE", e.Parent, e.Label}}
	case "view":
		return map[string]state{e.Key: {"VIEW", e.Parent, e.Label}}
	case "update":
		was := a.known[e.Key]
		return map[string]state{e.Key: {was.Kind, was.Parent, e.Label}}
	case "commit":
		return map[string]state{e.Key: {}, e.Name: {"COMMITTED", a.known[e.Key].Parent, e.Label}}
	case "remove":
		return map[string]state{e.Key: {}}
	}
	rig.Die("hammer: the ledger has an unknown call %q", e.Op)
	return nil
}

func (a *account) take(e entry) {
	switch e.Event {
	case "try":
		a.open[e.Key] = &open{e.Op, a.effects(e)}
	case "ok":
		for key, s := range a.effects(e) {
			a.known[key] = s
		}
		delete(a.open, e.Key)
	case "is":
		a.known[e.Key] = *e.State
		delete(a.open, e.Key)
	}
}

func readLedger(name string) *account {
	file, err := os.Open(name)
	if err != nil {
		rig.Die("hammer: %v", err)
	}
	defer file.Close()
	a := &account{map[string]state{}, map[string]*open{}}
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		var e entry
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			rig.Die("hammer: %s: %v", name, err)
		}
		a.take(e)
	}
	if err := lines.Err(); err != nil {
		rig.Die("hammer: %s: %v", name, err)
	}
	return a
}

func stateOf(info api.Info) state {
	return state{info.Kind.String(), info.Parent, info.Labels[mark]}
}

var wrong int

func complain(format string, args ...interface{}) {
	wrong++
	if wrong <= 20 {
		fmt.Fprintf(os.Stderr, "hammer: "+format+"\n", args...)
	}
}

// settle decides what became of a call that was not answered: all of its effects are there, or none.
func (a *account) settle(o *open, there map[string]state) map[string]state {
	before := map[string]state{}
	done, undone := true, true
	for key, after := range o.after {
		before[key] = a.known[key]
		done = done && there[key] == after
		undone = undone && there[key] == before[key]
	}
	if done {
		return o.after
	}
	if !undone {
		for key, after := range o.after {
			complain("%s of %q was not answered, and is half done: it is %s, was %s, and would be %s", o.op, key, there[key],
				before[key], after)
		}
	}
	return before
}

func verify(name string) {
	a := readLedger(name)
	book := openLedger(name)
	c := connect(1)[0]
	ctx, done := context.WithTimeout(context.Background(), 5*time.Minute)
	defer done()
	found, err := c.mine(ctx)
	if err != nil {
		rig.Die("hammer: List: %v", err)
	}
	there := map[string]state{}
	for _, info := range found {
		if _, ok := there[info.Name]; ok {
			complain("List has %q twice", info.Name)
		}
		there[info.Name] = stateOf(info)
	}
	unanswered := len(a.open)
	happened := 0
	for _, o := range a.open {
		for key, s := range a.settle(o, there) {
			if a.known[key] != s {
				happened++
			}
			a.known[key] = s
			s := s
			book.add(entry{Event: "is", Key: key, State: &s})
		}
	}
	a.open = map[string]*open{}
	for key, s := range a.known {
		if there[key] != s {
			complain("%q is %s, and should be %s", key, there[key], s)
		}
	}
	for key := range there {
		if _, ok := a.known[key]; !ok {
			complain("%q is there, and nobody made it", key)
		}
	}
	c.look(ctx, a.known)
	fmt.Printf("%d keys, %d of them there; %d calls were not answered, which changed %d keys\n", len(a.known), len(there),
		unanswered, happened)
	if wrong > 0 {
		rig.Die("hammer: %d things are wrong", wrong)
	}
}

// looked is how many snapshots are looked into.
const looked = 300

// look compares Stat with List, and the directories with what was written into them.
func (c *client) look(ctx context.Context, known map[string]state) {
	count := 0
	for key, s := range known {
		if count++; count > looked {
			return
		}
		info, err := c.stat(ctx, key)
		if s.Kind == "" {
			if status.Code(err) != codes.NotFound {
				complain("Stat %q: %v, %v; it should not be found", key, info, err)
			}
			continue
		}
		if err != nil || stateOf(*info) != s {
			complain("Stat %q: %v, %v; it should be %s", key, info, err, s)
			continue
		}
		c.lookInto(ctx, key, s)
	}
}

func (c *client) lookInto(ctx context.Context, key string, s state) {
	of, content := key, strings.TrimSuffix(key, " active")
	switch s.Kind {
	case "VIEW":
		content = s.Parent
	case "COMMITTED":
		of = *prefix + "/verify " + key
		if _, err := c.view(ctx, of, key); err != nil {
			complain("View of %q: %v", key, err)
			return
		}
		defer func() {
			if err := c.remove(ctx, of); err != nil {
				complain("Remove %q: %v", of, err)
			}
		}()
	}
	mounts, err := c.mounts(ctx, of)
	if err != nil {
		complain("Mounts %q: %v", of, err)
		return
	}
	dirs := directories(mounts)
	if len(dirs) == 0 {
		complain("Mounts %q: %v: no directory", of, mounts)
		return
	}
	for _, dir := range dirs {
		if st, err := os.Stat(dir); err != nil || !st.IsDir() {
			complain("Mounts %q: %s: %v", of, dir, err)
		}
	}
	// The server may have been killed before the file was written into one that is active still.
	text, err := os.ReadFile(filepath.Join(dirs[0], "name"))
	if (err != nil && s.Kind != "ACTIVE") || (err == nil && string(text) != content && len(text) > 0) {
		complain("%q has the file %q in %s (%v)", key, text, dirs[0], err)
	}
}

// directories that mounts name, the uppermost first.
func directories(mounts []*types.Mount) []string {
	var upper, lower, work []string
	for _, m := range mounts {
		if m.Type == "bind" {
			upper = append(upper, m.Source)
		}
		for _, option := range m.Options {
			switch value := option[strings.Index(option, "=")+1:]; {
			case strings.HasPrefix(option, "upperdir="):
				upper = append(upper, value)
			case strings.HasPrefix(option, "lowerdir="):
				lower = append(lower, strings.Split(value, ":")...)
			case strings.HasPrefix(option, "workdir="):
				work = append(work, value)
			}
		}
	}
	return append(append(upper, lower...), work...)
}
