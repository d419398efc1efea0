// SPDX-License-Identifier: Apache-2.0

// reference --socket SOCKET [--state FILE] [--log-times FILE]
//
// moby's own overlay2 driver behind the protocol of graphdriver plugins: what the tests of ours are tried against, and
// what its answers and times are compared with. Layers are kept in the Home that Init names, which is remembered in
// FILE (SOCKET.state), for the next start. A line "METHOD MICROSECONDS" a call goes to the other file. SIGTERM ends it.
//
// Each Init is a start of dockerd: a driver made anew, whose counts begin with what is mounted (moby's RefCounter).
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/docker/docker/daemon/graphdriver"
	"github.com/docker/docker/daemon/graphdriver/overlay2"
	"github.com/docker/docker/pkg/idtools"
	"github.com/docker/docker/pkg/reexec"
	"github.com/docker/docker/pkg/system"

	"../rig"
)

const maxRequest = 1 << 20

type request struct {
	ID, Parent, MountLabel string
	StorageOpt             map[string]string
}

type start struct {
	Home             string
	Opts             []string
	UIDMaps, GIDMaps []idtools.IDMap
}

type server struct {
	mutex  sync.RWMutex
	driver graphdriver.Driver
	state  string
}

// errors that are not the driver's have a type of their own: what a handler answers is always JSON.
var errNoInit = errors.New("there was no Init")

func (s *server) current() (graphdriver.Driver, error) {
	s.mutex.RLock()
	defer s.mutex.RUnlock()
	if s.driver == nil {
		return nil, errNoInit
	}
	return s.driver, nil
}

func (s *server) begin(with start) error {
	driver, err := overlay2.Init(with.Home, with.Opts, with.UIDMaps, with.GIDMaps)
	if err != nil {
		return err
	}
	s.mutex.Lock()
	s.driver = driver
	s.mutex.Unlock()
	return nil
}

func (s *server) init(body io.Reader) (interface{}, error) {
	text, err := io.ReadAll(body)
	if err != nil {
		return nil, err
	}
	var with start
	if err := json.Unmarshal(text, &with); err != nil {
		return nil, err
	}
	if err := s.begin(with); err != nil {
		return nil, err
	}
	return struct{}{}, os.WriteFile(s.state, text, 0o600)
}

// The driver of before a restart: dockerd says Init to who was there when it started.
func (s *server) resume() error {
	text, err := os.ReadFile(s.state)
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		return err
	}
	var with start
	if err := json.Unmarshal(text, &with); err != nil {
		return err
	}
	return s.begin(with)
}

type object map[string]interface{}

type handler func(graphdriver.Driver, *request) (interface{}, error)

func create(d graphdriver.Driver, r *request) (interface{}, error) {
	return object{}, d.Create(r.ID, r.Parent, &graphdriver.CreateOpts{MountLabel: r.MountLabel, StorageOpt: r.StorageOpt})
}

func createReadWrite(d graphdriver.Driver, r *request) (interface{}, error) {
	opts := &graphdriver.CreateOpts{MountLabel: r.MountLabel, StorageOpt: r.StorageOpt}
	return object{}, d.CreateReadWrite(r.ID, r.Parent, opts)
}

func get(d graphdriver.Driver, r *request) (interface{}, error) {
	dir, err := d.Get(r.ID, r.MountLabel)
	if err != nil {
		return nil, err
	}
	return object{"Dir": dir.Path()}, nil
}

var handlers = map[string]handler{
	"Create":          create,
	"CreateReadWrite": createReadWrite,
	"Get":             get,
	"Remove":          func(d graphdriver.Driver, r *request) (interface{}, error) { return object{}, d.Remove(r.ID) },
	"Put":             func(d graphdriver.Driver, r *request) (interface{}, error) { return object{}, d.Put(r.ID) },
	"Exists": func(d graphdriver.Driver, r *request) (interface{}, error) {
		return object{"Exists": d.Exists(r.ID)}, nil
	},
	"Status":  func(d graphdriver.Driver, _ *request) (interface{}, error) { return object{"Status": d.Status()}, nil },
	"Cleanup": func(d graphdriver.Driver, _ *request) (interface{}, error) { return object{}, d.Cleanup() },
	"Capabilities": func(graphdriver.Driver, *request) (interface{}, error) {
		return object{"Capabilities": graphdriver.Capabilities{}}, nil
	},
	"GetMetadata": func(d graphdriver.Driver, r *request) (interface{}, error) {
		metadata, err := d.GetMetadata(r.ID)
		return object{"Metadata": metadata}, err
	},
	"Changes": func(d graphdriver.Driver, r *request) (interface{}, error) {
		changes, err := d.Changes(r.ID, r.Parent)
		return object{"Changes": changes}, err
	},
	"DiffSize": func(d graphdriver.Driver, r *request) (interface{}, error) {
		size, err := d.DiffSize(r.ID, r.Parent)
		return object{"Size": size}, err
	},
}

func (s *server) answer(w http.ResponseWriter, r *http.Request, method string) (interface{}, error) {
	if method == "Init" {
		return s.init(http.MaxBytesReader(w, r.Body, maxRequest))
	}
	driver, err := s.current()
	if err != nil {
		return nil, err
	}
	if method == "ApplyDiff" {
		size, err := driver.ApplyDiff(r.FormValue("id"), r.FormValue("parent"), r.Body)
		// What comes after the tar's end. The client never sees an answer that it is given before.
		if _, rest := io.Copy(io.Discard, r.Body); err == nil {
			err = rest
		}
		return object{"Size": size}, err
	}
	var asked request
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxRequest)).Decode(&asked); err != nil {
		return nil, err
	}
	if method == "Diff" {
		return driver.Diff(asked.ID, asked.Parent)
	}
	return handlers[method](driver, &asked)
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/vnd.docker.plugins.v1.2+json")
	method := strings.TrimPrefix(r.URL.Path, "/GraphDriver.")
	if r.URL.Path == "/Plugin.Activate" {
		io.WriteString(w, `{"Implements":["GraphDriver"]}`)
		return
	}
	streams := method == "Init" || method == "ApplyDiff" || method == "Diff"
	if r.Method != "POST" || method == r.URL.Path || (handlers[method] == nil && !streams) {
		http.NotFound(w, r)
		return
	}
	result, err := s.answer(w, r, method)
	if err != nil {
		io.Copy(io.Discard, r.Body)
		w.WriteHeader(http.StatusInternalServerError)
		result = object{"Err": err.Error()}
	}
	if tar, ok := result.(io.ReadCloser); ok {
		defer tar.Close()
		if _, err := io.Copy(w, tar); err != nil {
			panic(http.ErrAbortHandler) // no final chunk
		}
		return
	}
	json.NewEncoder(w).Encode(result)
}

// timed writes how long each call took, to the end of its answer.
func timed(inner http.Handler, file string) http.Handler {
	if file == "" {
		return inner
	}
	out, err := os.OpenFile(file, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		rig.Die("reference: %v", err)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began := time.Now()
		inner.ServeHTTP(w, r)
		words := strings.Split(r.URL.Path, ".")
		fmt.Fprintf(out, "%s %d\n", words[len(words)-1], time.Since(began).Microseconds())
	})
}

func main() {
	if reexec.Init() { // what moby applies layers with is the program itself, in a chroot
		return
	}
	socket := flag.String("socket", "", "")
	state := flag.String("state", "", "")
	times := flag.String("log-times", "", "")
	flag.Parse()
	if *socket == "" || flag.NArg() > 0 {
		rig.Die("reference: usage: reference --socket SOCKET [--state FILE] [--log-times FILE]")
	}
	s := &server{state: *state}
	if s.state == "" {
		s.state = *socket + ".state"
	}
	if _, err := system.Umask(0); err != nil {
		rig.Die("reference: %v", err)
	}
	if err := s.resume(); err != nil {
		rig.Die("reference: %v", err)
	}
	// A client never finds the name of a socket that does not listen.
	early := *socket + ".new"
	os.Remove(early)
	listener, err := net.Listen("unix", early)
	if err != nil {
		rig.Die("reference: %v", err)
	}
	listener.(*net.UnixListener).SetUnlinkOnClose(false)
	if err := os.Rename(early, *socket); err != nil {
		rig.Die("reference: %v", err)
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	go func() {
		<-signals
		os.Remove(*socket)
		os.Exit(0)
	}()
	fmt.Fprintf(os.Stderr, "reference: serving on %s\n", *socket)
	rig.Die("reference: %v", http.Serve(listener, timed(s, *times)))
}
