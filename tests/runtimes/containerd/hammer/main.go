// SPDX-License-Identifier: Apache-2.0

// hammer [OPTION...] --socket SOCKET
// hammer [OPTION...] --socket SOCKET --ledger FILE
// hammer [OPTION...] --socket SOCKET --verify FILE
//
// Many clients of a snapshotter at once, each making, asking for, committing and removing snapshots of its own.
//
// In the first form each goes so many rounds; a share of the calls is cancelled or given too little time, and then
// asked again: what was cancelled may or may not have happened. It is a failure that a connection is lost, that
// something not cancelled happened twice or not at all, or that anything is left at the end. Says how long calls took
// that were not cancelled.
//
// In the second form they go on until SIGTERM and write down what they attempt and what was answered, so that the
// server can be killed meanwhile; where it can't be reached they wait for it, and go on with other keys. In the third,
// after that, what was answered must be there, and what was not is there wholly or not at all; what is found is added
// to FILE, and holds from then on.
//
//	--name NAME         what the snapshotter is called (default: overlaid)
//	--clients N         (default: 32)
//	--rounds N          of each (default: 200)
//	--connections N     that the clients share (default: 1)
//	--cancel PERCENT    of the calls (default: 10)
//	--prefix TEXT       of every key (default: hammer)
//	--seed N            of what is random (default: the time; it is printed)
//	--restarted         the server begins again meanwhile: connections may end, but no call fails
//	--json              times as JSON
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math/rand"
	"os"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	api "github.com/containerd/containerd/api/services/snapshots/v1"
	"github.com/containerd/containerd/api/types"
	ptypes "github.com/gogo/protobuf/types"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"../rig"
)

var (
	socket      = flag.String("socket", "", "")
	ledgerFile  = flag.String("ledger", "", "")
	verifyFile  = flag.String("verify", "", "")
	name        = flag.String("name", "overlaid", "")
	clients     = flag.Int("clients", 32, "")
	rounds      = flag.Int("rounds", 200, "")
	connections = flag.Int("connections", 1, "")
	cancel      = flag.Int("cancel", 10, "")
	prefix      = flag.String("prefix", "hammer", "")
	seed        = flag.Int64("seed", time.Now().UnixNano(), "")
	restarted   = flag.Bool("restarted", false, "")
	asJSON      = flag.Bool("json", false, "")
)

const mark = "containerd.io/snapshot/hammer"

// ---- calls ----

// times are those of one kind of call.
type times struct {
	sync.Mutex
	all []time.Duration
}

var (
	latency   = map[string]*times{}
	cancelled int64
	calls     int64
	deadline  = 60 * time.Second
)

func init() {
	for _, what := range []string{"Prepare", "View", "Mounts", "Stat", "Update", "Usage", "List", "Commit", "Remove"} {
		latency[what] = &times{}
	}
}

// client is one of many, with a share of the randomness.
type client struct {
	api.SnapshotsClient
	random *rand.Rand
	number int
}

// failure ends the round of a client, and the program with it.
type failure struct{ words string }

func fail(format string, args ...interface{}) {
	panic(failure{fmt.Sprintf(format, args...)})
}

// timed makes one call to its end, and returns its code.
func timed(what string, call func(context.Context) error) (codes.Code, error) {
	ctx, done := context.WithTimeout(context.Background(), deadline)
	defer done()
	start := time.Now()
	err := call(ctx)
	took := time.Since(start)
	atomic.AddInt64(&calls, 1)
	t := latency[what]
	t.Lock()
	t.all = append(t.all, took)
	t.Unlock()
	return status.Code(err), err
}

// maybeCancelled makes a call that is given up at a random moment, if its turn has come. It may be answered before:
// then nothing is left to do; else it is not known whether it happened.
func (c *client) maybeCancelled(call func(context.Context) error) (tried, answered bool, code codes.Code, err error) {
	if c.random.Intn(100) >= *cancel {
		return false, false, codes.OK, nil
	}
	atomic.AddInt64(&calls, 1)
	// Anywhere between "not sent yet" and "answered long ago".
	after := time.Duration(c.random.ExpFloat64() * float64(time.Millisecond))
	ctx, done := context.WithCancel(context.Background())
	if c.random.Intn(4) == 0 {
		ctx, done = context.WithTimeout(ctx, after) // the server is told of the deadline
	} else {
		timer := time.AfterFunc(after, done)
		defer timer.Stop()
	}
	defer done()
	err = call(ctx)
	code = status.Code(err)
	if code == codes.Canceled || code == codes.DeadlineExceeded {
		atomic.AddInt64(&cancelled, 1)
		return true, false, code, err
	}
	return true, true, code, err
}

// do makes a call, which must succeed; or, after one that was cancelled, may answer what it answers to a repetition.
// It says whether it was cancelled at first.
func (c *client) do(what, key string, call func(context.Context) error, repeated ...codes.Code) bool {
	tried, answered, code, err := c.maybeCancelled(call)
	if tried && answered {
		if code != codes.OK {
			fail("%s %s: %v", what, key, err)
		}
		return false
	}
	code, err = timed(what, call)
	if code == codes.OK {
		return tried
	}
	for _, r := range repeated {
		if tried && code == r {
			return true
		}
	}
	fail("%s %s (cancelled before: %v): %v", what, key, tried, err)
	return tried
}

func (c *client) prepare(ctx context.Context, key, parent string, labels map[string]string) ([]*types.Mount, error) {
	r, err := c.Prepare(ctx, &api.PrepareSnapshotRequest{Snapshotter: *name, Key: key, Parent: parent, Labels: labels})
	if err != nil {
		return nil, err
	}
	return r.Mounts, nil
}

func (c *client) view(ctx context.Context, key, parent string) ([]*types.Mount, error) {
	r, err := c.View(ctx, &api.ViewSnapshotRequest{Snapshotter: *name, Key: key, Parent: parent})
	if err != nil {
		return nil, err
	}
	return r.Mounts, nil
}

func (c *client) mounts(ctx context.Context, key string) ([]*types.Mount, error) {
	r, err := c.Mounts(ctx, &api.MountsRequest{Snapshotter: *name, Key: key})
	if err != nil {
		return nil, err
	}
	return r.Mounts, nil
}

func (c *client) commit(ctx context.Context, to, key string, labels map[string]string) error {
	_, err := c.Commit(ctx, &api.CommitSnapshotRequest{Snapshotter: *name, Name: to, Key: key, Labels: labels})
	return err
}

func (c *client) remove(ctx context.Context, key string) error {
	_, err := c.Remove(ctx, &api.RemoveSnapshotRequest{Snapshotter: *name, Key: key})
	return err
}

func (c *client) stat(ctx context.Context, key string) (*api.Info, error) {
	r, err := c.Stat(ctx, &api.StatSnapshotRequest{Snapshotter: *name, Key: key})
	if err != nil {
		return nil, err
	}
	return &r.Info, nil
}

func (c *client) label(ctx context.Context, key, label, value string) error {
	_, err := c.Update(ctx, &api.UpdateSnapshotRequest{Snapshotter: *name,
		Info:       api.Info{Name: key, Labels: map[string]string{label: value}},
		UpdateMask: &ptypes.FieldMask{Paths: []string{"labels." + label}}})
	return err
}

func (c *client) usage(ctx context.Context, key string) error {
	r, err := c.Usage(ctx, &api.UsageRequest{Snapshotter: *name, Key: key})
	if err == nil && r.Inodes < 1 {
		fail("Usage %s: %d inodes", key, r.Inodes)
	}
	return err
}

func (c *client) list(ctx context.Context, filters ...string) ([]api.Info, error) {
	stream, err := c.List(ctx, &api.ListSnapshotsRequest{Snapshotter: *name, Filters: filters})
	if err != nil {
		return nil, err
	}
	var all []api.Info
	for {
		r, err := stream.Recv()
		if err == io.EOF {
			return all, nil
		}
		if err != nil {
			return nil, err
		}
		all = append(all, r.Info...)
	}
}

// mine lists what has our prefix, and what stands on it last.
func (c *client) mine(ctx context.Context) ([]api.Info, error) {
	return c.list(ctx, fmt.Sprintf(`name~="^%s/"`, *prefix))
}

// ---- rounds ----

func sameMounts(a, b []*types.Mount) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i].String() != b[i].String() {
			return false
		}
	}
	return true
}

func (c *client) isKind(key string, kind api.Kind, parent, marked string) {
	c.do("Stat", key, func(ctx context.Context) error {
		info, err := c.stat(ctx, key)
		if err == nil && (info.Name != key || info.Kind != kind || info.Parent != parent || info.Labels[mark] != marked) {
			fail("Stat %s: %v, expected kind %v, parent %q, label %q", key, info, kind, parent, marked)
		}
		return err
	})
}

func (c *client) isMissing(key string) {
	code, err := timed("Stat", func(ctx context.Context) error {
		_, err := c.stat(ctx, key)
		return err
	})
	if code != codes.NotFound {
		fail("Stat %s: %v, expected that it is not found", key, err)
	}
}

// doubtful are keys that a cancelled call may make even after its repetition was answered and what that made is gone.
var doubtful sync.Map

func (c *client) round(number int, base string) {
	id := fmt.Sprintf("%d-%d", c.number, number)
	// As containerd's keys are: with spaces, colons and slashes.
	key := fmt.Sprintf("%s/%s/extract-%d sha256:%064d", *prefix, id, number, number)
	committed := fmt.Sprintf("%s/%s/sha256:%064d", *prefix, id, number)
	labels := map[string]string{mark: id}
	parent := base
	if number%4 == 0 {
		parent = ""
	}
	var mounts []*types.Mount
	cancelled := c.do("Prepare", key, func(ctx context.Context) (err error) {
		mounts, err = c.prepare(ctx, key, parent, labels)
		return err
	}, codes.AlreadyExists)
	if cancelled {
		doubtful.Store(key, true)
	}
	c.do("Mounts", key, func(ctx context.Context) error {
		again, err := c.mounts(ctx, key)
		if err == nil && mounts != nil && !sameMounts(mounts, again) {
			fail("Mounts %s: %v, and Prepare said %v", key, again, mounts)
		}
		return err
	})
	c.isKind(key, api.KindActive, parent, id)
	if number%8 == 1 {
		c.do("Usage", key, func(ctx context.Context) error { return c.usage(ctx, key) })
	}
	if number%8 == 2 {
		c.do("List", key, func(ctx context.Context) error {
			found, err := c.list(ctx, fmt.Sprintf(`kind==active,labels.%q==%s`, mark, id))
			if err == nil && (len(found) != 1 || found[0].Name != key) {
				fail("List of %s: %v", key, found)
			}
			return err
		})
	}
	if number%8 == 3 {
		c.do("Update", key, func(ctx context.Context) error { return c.label(ctx, key, mark, "updated") })
		c.isKind(key, api.KindActive, parent, "updated")
	}
	c.do("Commit", key, func(ctx context.Context) error { return c.commit(ctx, committed, key, labels) },
		codes.NotFound, codes.AlreadyExists)
	c.isKind(committed, api.KindCommitted, parent, id)
	if number%8 == 4 {
		c.viewOf(committed, id)
	}
	c.do("Remove", committed, func(ctx context.Context) error { return c.remove(ctx, committed) }, codes.NotFound)
	c.isMissing(committed)
}

// A view of a snapshot holds it.
func (c *client) viewOf(committed, id string) {
	view := fmt.Sprintf("%s/%s/view of it", *prefix, id)
	if c.do("View", view, func(ctx context.Context) error {
		_, err := c.view(ctx, view, committed)
		return err
	}, codes.AlreadyExists) {
		doubtful.Store(view, true)
	}
	code, err := timed("Remove", func(ctx context.Context) error { return c.remove(ctx, committed) })
	if code != codes.FailedPrecondition {
		fail("Remove %s, of which there is a view: %v", committed, err)
	}
	c.do("Remove", view, func(ctx context.Context) error { return c.remove(ctx, view) }, codes.NotFound)
}

// ---- all of them ----

// connect makes the clients, which share the connections.
func connect(number int) []*client {
	var services []api.SnapshotsClient
	for i := 0; i < *connections; i++ {
		conn, err := rig.Dial(*socket, i%2 == 1)
		if err != nil {
			rig.Die("hammer: %v", err)
		}
		services = append(services, api.NewSnapshotsClient(conn))
	}
	var all []*client
	for i := 0; i < number; i++ {
		all = append(all, &client{services[i%len(services)], rand.New(rand.NewSource(*seed + int64(i))), i})
	}
	return all
}

// together runs something in every client, and says whether nothing failed.
func together(all []*client, what func(c *client)) bool {
	var group sync.WaitGroup
	var failures int64
	for _, c := range all {
		group.Add(1)
		go func(c *client) {
			defer group.Done()
			defer func() {
				if r := recover(); r != nil {
					f, ok := r.(failure)
					if !ok {
						panic(r)
					}
					atomic.AddInt64(&failures, 1)
					fmt.Fprintf(os.Stderr, "hammer: client %d: %s\n", c.number, f.words)
				}
			}()
			what(c)
		}(c)
	}
	group.Wait()
	return failures == 0
}

func main() {
	flag.Parse()
	if *socket == "" || flag.NArg() > 0 || *clients < 1 || *connections < 1 || (*ledgerFile != "" && *verifyFile != "") {
		rig.Die("hammer: --socket SOCKET is needed; the head of its source tells the options")
	}
	switch {
	case *ledgerFile != "":
		record(*ledgerFile)
	case *verifyFile != "":
		verify(*verifyFile)
	default:
		hammer()
	}
}

func hammer() {
	fmt.Fprintf(os.Stderr, "hammer: --seed %d\n", *seed)
	all := connect(*clients)
	base := *prefix + "/base"
	start := time.Now()
	good := together(all[:1], func(c *client) {
		if code, err := timed("Prepare", func(ctx context.Context) error {
			_, err := c.prepare(ctx, base+" of all", "", nil)
			return err
		}); code != codes.OK {
			fail("Prepare: %v", err)
		}
		if code, err := timed("Commit", func(ctx context.Context) error { return c.commit(ctx, base, base+" of all", nil) }); code != codes.OK {
			fail("Commit: %v", err)
		}
	})
	good = good && together(all, func(c *client) {
		for number := 0; number < *rounds; number++ {
			c.round(number, base)
		}
	})
	took := time.Since(start)
	orphans := 0
	good = together(all[:1], func(c *client) { orphans = c.clean(good, base) }) && good
	if dials := atomic.LoadInt64(&rig.Dials); dials != int64(*connections) && !*restarted {
		fmt.Fprintf(os.Stderr, "hammer: %d connections were made, and %d were wanted: some were lost\n", dials, *connections)
		good = false
	}
	report(took, orphans)
	if !good {
		os.Exit(1)
	}
}

// clean removes the base; and what cancelled calls have made after all, which is few and told. After a failure, all.
func (c *client) clean(good bool, base string) int {
	left, err := c.mine(context.Background())
	if err != nil {
		fail("List: %v", err)
	}
	orphans := 0
	// What stands on something was made after it.
	sort.Slice(left, func(i, j int) bool { return left[i].CreatedAt.After(left[j].CreatedAt) })
	for _, info := range left {
		if info.Name != base {
			orphans++
			if _, ok := doubtful.Load(info.Name); good && !ok {
				fail("%s is left, which no cancelled call was about", info.Name)
			}
		}
		if err := c.remove(context.Background(), info.Name); err != nil && good {
			fail("Remove %s: %v", info.Name, err)
		}
	}
	if left, err = c.mine(context.Background()); err != nil || (good && len(left) != 0) {
		fail("after all was removed: %v, %v", left, err)
	}
	if _, err = c.Cleanup(context.Background(), &api.CleanupRequest{Snapshotter: *name}); err != nil && status.Code(err) != codes.Unimplemented {
		fail("Cleanup: %v", err)
	}
	return orphans
}

// ---- what is said of it ----

type summary struct {
	Count int     `json:"count"`
	P50   float64 `json:"p50_ms"`
	P99   float64 `json:"p99_ms"`
	Max   float64 `json:"max_ms"`
}

func summarize(all []time.Duration) summary {
	sort.Slice(all, func(i, j int) bool { return all[i] < all[j] })
	at := func(share float64) float64 {
		return float64(all[int(share*float64(len(all)-1))].Microseconds()) / 1000
	}
	return summary{len(all), at(.5), at(.99), at(1)}
}

func report(took time.Duration, orphans int) {
	result := struct {
		Clients     int                `json:"clients"`
		Rounds      int                `json:"rounds"`
		Connections int                `json:"connections"`
		Seed        int64              `json:"seed"`
		Seconds     float64            `json:"seconds"`
		Calls       int64              `json:"calls"`
		Cancelled   int64              `json:"cancelled"`
		Orphans     int                `json:"orphans"`
		Latency     map[string]summary `json:"latency"`
	}{*clients, *rounds, *connections, *seed, took.Seconds(), calls, cancelled, orphans, map[string]summary{}}
	for what, t := range latency {
		if len(t.all) > 0 {
			result.Latency[what] = summarize(t.all)
		}
	}
	if *asJSON {
		text, _ := json.Marshal(result)
		fmt.Println(string(text))
		return
	}
	for _, what := range strings.Fields("Prepare View Mounts Stat Update Usage List Commit Remove") {
		if s, ok := result.Latency[what]; ok {
			fmt.Printf("%-8s p50 %8.3f ms   p99 %8.3f ms   max %8.3f ms   n %d\n", what, s.P50, s.P99, s.Max, s.Count)
		}
	}
	fmt.Printf("%d calls in %.1f s (%.0f a second), %d cancelled, %d orphans of cancelled calls\n", calls, took.Seconds(),
		float64(calls)/took.Seconds(), cancelled, orphans)
}
