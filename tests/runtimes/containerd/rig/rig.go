// SPDX-License-Identifier: Apache-2.0

// Package rig has what the programs that talk to a snapshotter begin with: connections to its socket, and words that
// end a program.
package rig

import (
	"context"
	"fmt"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
)

// Die ends the program.
func Die(format string, args ...interface{}) {
	fmt.Fprintf(os.Stderr, format+"\n", args...)
	os.Exit(1)
}

// Dials counts the connections made: more than were asked for means that one was lost.
var Dials int64

// Dial makes a client of a socket. As containerd does it, the server is told ":authority: localhost"; "odd" clients,
// which there are, say the socket's address there.
func Dial(socket string, odd bool) (*grpc.ClientConn, error) {
	target := "unix://" + socket
	if odd {
		target = "passthrough:///unix://" + socket
	}
	dialer := func(ctx context.Context, address string) (net.Conn, error) {
		conn, err := (&net.Dialer{}).DialContext(ctx, "unix", strings.TrimPrefix(address, "unix://"))
		if err == nil {
			atomic.AddInt64(&Dials, 1)
		}
		return conn, err
	}
	// A server that starts again is wanted soon: the default waits a second, and more each time.
	quick := backoff.Config{BaseDelay: 10 * time.Millisecond, Multiplier: 1.2, Jitter: 0.2, MaxDelay: 100 * time.Millisecond}
	return grpc.Dial(target, grpc.WithInsecure(), grpc.WithContextDialer(dialer),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: quick, MinConnectTimeout: 3 * time.Second}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(16<<20), grpc.MaxCallSendMsgSize(16<<20)))
}

// Accepting says whether something listens on a socket.
func Accepting(socket string) bool {
	conn, err := net.Dial("unix", socket)
	if err == nil {
		conn.Close()
	}
	return err == nil
}
