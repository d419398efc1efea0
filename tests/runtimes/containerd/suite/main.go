// SPDX-License-Identifier: Apache-2.0

// suite [FLAG...] --socket SOCKET
// suite [FLAG...] --fresh -- COMMAND...
//
// containerd's own tests of snapshotters, on one behind a socket: all on the server that listens there, or each on a
// server of its own, which COMMAND starts, with {root}, {run} and {socket} put in. That one is ended with SIGTERM, and
// must then end with 0. Cases run side by side.
//
//	--name NAME     what the snapshotter is called (default: overlaid)
//	-test.v, -test.run, ...   as of all Go tests
//
// At the end it says "suite: none of N cases failed"; -test.v tells which they are, and which skip themselves.
package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	snapshotsapi "github.com/containerd/containerd/api/services/snapshots/v1"
	"github.com/containerd/containerd/snapshots"
	"github.com/containerd/containerd/snapshots/proxy"
	"github.com/containerd/containerd/snapshots/testsuite"

	"../rig"
)

var (
	socket = flag.String("socket", "", "")
	fresh  = flag.Bool("fresh", false, "")
	name   = flag.String("name", "overlaid", "")
	cases  int64
)

// The proxy's Close() does nothing, so that the suite can call it twice.
func client(socket string) (snapshots.Snapshotter, func() error, error) {
	conn, err := rig.Dial(socket, false)
	if err != nil {
		return nil, nil, err
	}
	return proxy.NewSnapshotter(snapshotsapi.NewSnapshotsClient(conn), *name), conn.Close, nil
}

// A server of its own for one case, and how it ends.
func start(root string) (string, func() error, error) {
	// The names of sockets are short: not below root, whose name is long.
	dir, err := os.MkdirTemp("", "s")
	if err != nil {
		return "", nil, err
	}
	socket := filepath.Join(dir, "s")
	put := strings.NewReplacer("{root}", root, "{run}", filepath.Join(dir, "run"), "{socket}", socket)
	var words []string
	for _, word := range flag.Args() {
		words = append(words, put.Replace(word))
	}
	var said bytes.Buffer
	command := exec.Command(words[0], words[1:]...)
	command.Stdout, command.Stderr = &said, &said
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started, ended := make(chan error), make(chan error, 1)
	go func() {
		// The server dies with the thread that started it.
		runtime.LockOSThread()
		err := command.Start()
		started <- err
		if err == nil {
			ended <- command.Wait()
		}
	}()
	if err := <-started; err != nil {
		return "", nil, err
	}
	deadline := time.Now().Add(30 * time.Second)
	for !rig.Accepting(socket) {
		select {
		case err := <-ended:
			return "", nil, fmt.Errorf("the server ended (%v) before it listened: %s", err, said.String())
		default:
		}
		if time.Now().After(deadline) {
			command.Process.Kill()
			<-ended
			return "", nil, fmt.Errorf("the server does not listen: %s", said.String())
		}
		time.Sleep(5 * time.Millisecond)
	}
	return socket, func() error {
		defer os.RemoveAll(dir)
		command.Process.Signal(syscall.SIGTERM)
		select {
		case err := <-ended:
			if err != nil {
				return fmt.Errorf("the server did not end well: %v: %s", err, said.String())
			}
			return nil
		case <-time.After(30 * time.Second):
			command.Process.Kill()
			<-ended
			return fmt.Errorf("the server did not end for SIGTERM: %s", said.String())
		}
	}, nil
}

func snapshotter(_ context.Context, root string) (snapshots.Snapshotter, func() error, error) {
	if !*fresh {
		s, end, err := client(*socket)
		return s, end, err
	}
	own, stop, err := start(root)
	if err != nil {
		return nil, nil, err
	}
	s, end, err := client(own)
	if err != nil {
		stop()
		return nil, nil, err
	}
	return s, func() error {
		end()
		return stop()
	}, nil
}

func suite(t *testing.T) {
	t.Run("suite", func(t *testing.T) {
		testsuite.SnapshotterSuite(t, "", func(ctx context.Context, root string) (snapshots.Snapshotter, func() error, error) {
			s, end, err := snapshotter(ctx, root)
			atomic.AddInt64(&cases, 1)
			return s, end, err
		})
	})
	if !t.Failed() {
		fmt.Printf("suite: none of %d cases failed\n", cases)
	}
}

func match(pattern, s string) (bool, error) {
	return regexp.MatchString(pattern, s)
}

func main() {
	testing.Init()
	flag.Parse()
	if *fresh == (*socket != "") || *fresh != (flag.NArg() > 0) {
		rig.Die("suite: either --socket SOCKET, or --fresh -- COMMAND...")
	}
	testing.Main(match, []testing.InternalTest{{Name: "Snapshotter", F: suite}}, nil, nil)
}
