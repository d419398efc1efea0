// SPDX-License-Identifier: Apache-2.0

// graphtest SOCKET [CASE...]
//
// moby's own tests of graph drivers, through moby's own proxy of plugins, on the plugin that listens on SOCKET. A line
// a case: "PASS name", "FAIL name" or "SKIP name"; what went wrong is said before it. Only SetQuota may be skipped,
// where the plugin answers that it has no quotas. What moby's cases leave is removed, and must then be gone.
//
//	--list   only says which cases there are
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/docker/docker/daemon/graphdriver"
	"github.com/docker/docker/daemon/graphdriver/graphtest"
	"github.com/docker/docker/pkg/idtools"
	"github.com/docker/docker/pkg/plugingetter"
	"github.com/docker/docker/pkg/plugins"
	"github.com/docker/docker/quota"
)

// The driver is registered as this; graphtest knows built-in drivers only.
const name = "tested"

var cases = []testing.InternalTest{
	{Name: "CreateEmpty", F: func(t *testing.T) { graphtest.DriverTestCreateEmpty(t, name) }},
	{Name: "CreateBase", F: func(t *testing.T) { graphtest.DriverTestCreateBase(t, name) }},
	{Name: "CreateSnap", F: func(t *testing.T) { graphtest.DriverTestCreateSnap(t, name) }},
	{Name: "DiffApply10", F: func(t *testing.T) { graphtest.DriverTestDiffApply(t, 10, name) }},
	{Name: "DiffApply1000", F: func(t *testing.T) { graphtest.DriverTestDiffApply(t, 1000, name) }},
	{Name: "DeepLayerRead128", F: func(t *testing.T) { graphtest.DriverTestDeepLayerRead(t, 128, name) }},
	{Name: "Changes", F: func(t *testing.T) { graphtest.DriverTestChanges(t, name) }},
	{Name: "SetQuota", F: func(t *testing.T) { graphtest.DriverTestSetQuota(t, name, false) }},
}

// found is where dockerd would have found the plugin.
type found struct {
	socket string
}

func (f found) client() (*plugins.Client, error) {
	return plugins.NewClient("unix://"+f.socket, nil)
}

func (f found) Get(string, string, int) (plugingetter.CompatPlugin, error) {
	client, err := f.client()
	if err != nil {
		return nil, err
	}
	var manifest plugins.Manifest
	if err := client.Call("Plugin.Activate", nil, &manifest); err != nil {
		return nil, err
	}
	if len(manifest.Implements) != 1 || manifest.Implements[0] != "GraphDriver" {
		return nil, fmt.Errorf("the plugin implements %q", manifest.Implements)
	}
	return plugin{client}, nil
}

func (f found) GetAllByCap(string) ([]plugingetter.CompatPlugin, error) { return nil, nil }
func (f found) GetAllManagedPluginsByCap(string) []plugingetter.CompatPlugin {
	return nil
}
func (f found) Handle(string, func(string, *plugins.Client)) {}

type plugin struct {
	client *plugins.Client
}

func (p plugin) Name() string                  { return name }
func (p plugin) ScopedPath(path string) string { return path }
func (p plugin) IsV1() bool                    { return true }
func (p plugin) Client() *plugins.Client       { return p.client }

// tracked is moby's proxy, and remembers what was made through it.
type tracked struct {
	graphdriver.Driver
	made []string
}

func (d *tracked) Create(id, parent string, opts *graphdriver.CreateOpts) error {
	return d.remember(id, d.Driver.Create(id, parent, opts))
}

func (d *tracked) CreateReadWrite(id, parent string, opts *graphdriver.CreateOpts) error {
	err := d.Driver.CreateReadWrite(id, parent, opts)
	if err != nil && opts != nil && opts.StorageOpt["size"] != "" && strings.Contains(err.Error(), "quota") {
		fmt.Printf("no quotas: %v\n", err)
		return quota.ErrQuotaNotSupported // what a built-in driver answers
	}
	return d.remember(id, err)
}

func (d *tracked) remember(id string, err error) error {
	if err == nil {
		d.made = append(d.made, id)
	}
	return err
}

// Cleanup is the last thing a case does. The proxy says nothing of a failed Cleanup; Remove does.
func (d *tracked) Cleanup() error {
	for i := len(d.made) - 1; i >= 0; i-- {
		if err := d.Driver.Remove(d.made[i]); err != nil {
			return fmt.Errorf("remove %s: %v", d.made[i], err)
		}
		if d.Driver.Exists(d.made[i]) {
			return fmt.Errorf("%s exists after it was removed", d.made[i])
		}
	}
	return d.Driver.Cleanup()
}

// Makes an InitFunc of a socket. graphtest would skip what is "not supported", which is what moby makes of each failure
// of Init: here it is one that fails the case.
func driver(socket string) graphdriver.InitFunc {
	return func(home string, options []string, uids, gids []idtools.IDMap) (graphdriver.Driver, error) {
		d, err := graphdriver.GetDriver("plugin", found{socket}, graphdriver.Options{
			Root: filepath.Dir(home), DriverOptions: options, UIDMaps: uids, GIDMaps: gids, ExperimentalEnabled: true,
		})
		if err != nil {
			return nil, errors.New("the plugin's Init failed: the line above says why")
		}
		return &tracked{Driver: d}, nil
	}
}

// reporting prints how a case ended, also where it ended by a panic.
func reporting(test testing.InternalTest) testing.InternalTest {
	inner := test.F
	test.F = func(t *testing.T) {
		ended := false
		defer func() {
			switch {
			case t.Failed() || (!ended && !t.Skipped()):
				fmt.Println("FAIL", test.Name)
			case t.Skipped() && test.Name != "SetQuota":
				t.Errorf("%s was skipped", test.Name)
				fmt.Println("FAIL", test.Name)
			case t.Skipped():
				fmt.Println("SKIP", test.Name)
			default:
				fmt.Println("PASS", test.Name)
			}
		}()
		inner(t)
		ended = true
	}
	return test
}

func main() {
	list := flag.Bool("list", false, "")
	testing.Init()
	flag.Parse()
	if *list {
		for _, test := range cases {
			fmt.Println(test.Name)
		}
		return
	}
	if flag.NArg() == 0 {
		fmt.Fprintln(os.Stderr, "graphtest: usage: graphtest SOCKET [CASE...]")
		os.Exit(2)
	}
	if err := graphdriver.Register(name, driver(flag.Arg(0))); err != nil {
		fmt.Fprintln(os.Stderr, "graphtest:", err)
		os.Exit(2)
	}
	wanted := map[string]bool{}
	for _, word := range flag.Args()[1:] {
		wanted[word] = true
	}
	var tests []testing.InternalTest
	for _, test := range cases {
		if flag.NArg() == 1 || wanted[test.Name] {
			delete(wanted, test.Name)
			tests = append(tests, reporting(test))
		}
	}
	for word := range wanted {
		fmt.Fprintln(os.Stderr, "graphtest: there is no case", word)
		os.Exit(2)
	}
	testing.Main(regexp.MatchString, tests, nil, nil)
}
