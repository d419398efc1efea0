// SPDX-License-Identifier: Apache-2.0

// reference --root ROOT --run RUN serve --containerd SOCKET
//
// containerd's own overlayfs snapshotter behind the protocol of its proxy snapshotters, called as overlaid is: what
// the tests of ours are tried against, and what its answers and times are compared with. It knows one store, whatever
// name a snapshotter is called by. SIGTERM ends it when what was asked is answered.
package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	snapshotsapi "github.com/containerd/containerd/api/services/snapshots/v1"
	"github.com/containerd/containerd/contrib/snapshotservice"
	"github.com/containerd/containerd/errdefs"
	"github.com/containerd/containerd/snapshots"
	"github.com/containerd/containerd/snapshots/overlay"
	"google.golang.org/grpc"

	"../rig"
)

func main() {
	a := os.Args
	if len(a) != 8 || a[1] != "--root" || a[3] != "--run" || a[5] != "serve" || a[6] != "--containerd" {
		rig.Die("reference: usage: reference --root ROOT --run RUN serve --containerd SOCKET")
	}
	root, run, socket := a[2], a[4], a[7]
	for _, dir := range []string{root, run, filepath.Dir(socket)} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			rig.Die("reference: %v", err)
		}
	}
	snapshotter, err := overlay.NewSnapshotter(root, overlay.AsynchronousRemove)
	if err != nil {
		rig.Die("reference: %v", err)
	}
	// One that was killed after it made a directory, and before it said so in its database, would find the directory
	// in its way, for it numbers them.
	err = snapshotter.(snapshots.Cleaner).Cleanup(context.Background())
	if errdefs.IsNotFound(err) { // the database is empty
		err = os.RemoveAll(filepath.Join(root, "snapshots"))
		if err == nil {
			err = os.Mkdir(filepath.Join(root, "snapshots"), 0o700)
		}
	}
	if err != nil {
		rig.Die("reference: %v", err)
	}
	os.Remove(socket) // one that was killed left it
	listener, err := net.Listen("unix", socket)
	if err != nil {
		rig.Die("reference: %v", err)
	}
	server := grpc.NewServer()
	snapshotsapi.RegisterSnapshotsServer(server, snapshotservice.FromSnapshotter(snapshotter))
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	stopped := make(chan struct{})
	go func() {
		<-signals
		server.GracefulStop()
		close(stopped)
	}()
	fmt.Fprintf(os.Stderr, "reference: serving %s on %s\n", root, socket)
	if err := server.Serve(listener); err != nil {
		rig.Die("reference: %v", err)
	}
	<-stopped
	if err := snapshotter.Close(); err != nil {
		rig.Die("reference: %v", err)
	}
}
