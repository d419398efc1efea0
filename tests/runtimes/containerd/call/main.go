// SPDX-License-Identifier: Apache-2.0

// call SOCKET METHOD [JSON]
//
// Makes a gRPC call with the request given, and prints the response, a line of JSON; of a stream of responses, one
// with all that is in them. Methods are those of containerd's interface of the kubelet (PullImage, ...) and of a
// snapshotter (Snapshots/List, ...). A call that is refused ends it with 1 and the words "CODE: message".
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	api "github.com/containerd/containerd/api/services/snapshots/v1"
	ptypes "github.com/gogo/protobuf/types"
	"github.com/golang/protobuf/proto"
	"google.golang.org/grpc"
	"google.golang.org/grpc/status"

	"../rig"
)

type method struct {
	path              string
	request, response proto.Message
}

var methods = map[string]method{
	"PullImage":        {"runtime.v1.ImageService/", &imageRequest{}, &pullImageResponse{}},
	"ListImages":       {"runtime.v1.ImageService/", &empty{}, &listImagesResponse{}},
	"ImageStatus":      {"runtime.v1.ImageService/", &imageRequest{}, &imageStatusResponse{}},
	"RemoveImage":      {"runtime.v1.ImageService/", &imageRequest{}, &empty{}},
	"ImageFsInfo":      {"runtime.v1.ImageService/", &empty{}, &imageFsInfoResponse{}},
	"RunPodSandbox":    {"runtime.v1.RuntimeService/", &runPodSandboxRequest{}, &identifier{}},
	"StopPodSandbox":   {"runtime.v1.RuntimeService/", &identifier{}, &empty{}},
	"RemovePodSandbox": {"runtime.v1.RuntimeService/", &identifier{}, &empty{}},
	"CreateContainer":  {"runtime.v1.RuntimeService/", &createContainerRequest{}, &identifier{}},
	"StartContainer":   {"runtime.v1.RuntimeService/", &identifier{}, &empty{}},
	"StopContainer":    {"runtime.v1.RuntimeService/", &identifier{}, &empty{}},
	"RemoveContainer":  {"runtime.v1.RuntimeService/", &identifier{}, &empty{}},
	"ExecSync":         {"runtime.v1.RuntimeService/", &execSyncRequest{}, &execSyncResponse{}},
	"ContainerStats":   {"runtime.v1.RuntimeService/", &identifier{}, &containerStatsResponse{}},

	"Snapshots/Prepare": {"containerd.services.snapshots.v1.", &api.PrepareSnapshotRequest{}, &api.PrepareSnapshotResponse{}},
	"Snapshots/View":    {"containerd.services.snapshots.v1.", &api.ViewSnapshotRequest{}, &api.ViewSnapshotResponse{}},
	"Snapshots/Mounts":  {"containerd.services.snapshots.v1.", &api.MountsRequest{}, &api.MountsResponse{}},
	"Snapshots/Commit":  {"containerd.services.snapshots.v1.", &api.CommitSnapshotRequest{}, &ptypes.Empty{}},
	"Snapshots/Remove":  {"containerd.services.snapshots.v1.", &api.RemoveSnapshotRequest{}, &ptypes.Empty{}},
	"Snapshots/Stat":    {"containerd.services.snapshots.v1.", &api.StatSnapshotRequest{}, &api.StatSnapshotResponse{}},
	"Snapshots/Update":  {"containerd.services.snapshots.v1.", &api.UpdateSnapshotRequest{}, &api.UpdateSnapshotResponse{}},
	"Snapshots/List":    {"containerd.services.snapshots.v1.", &api.ListSnapshotsRequest{}, &api.ListSnapshotsResponse{}},
	"Snapshots/Usage":   {"containerd.services.snapshots.v1.", &api.UsageRequest{}, &api.UsageResponse{}},
	"Snapshots/Cleanup": {"containerd.services.snapshots.v1.", &api.CleanupRequest{}, &ptypes.Empty{}},
}

// list is the one call with many responses.
func list(ctx context.Context, conn *grpc.ClientConn, request *api.ListSnapshotsRequest, all *api.ListSnapshotsResponse) error {
	stream, err := api.NewSnapshotsClient(conn).List(ctx, request)
	if err != nil {
		return err
	}
	for {
		r, err := stream.Recv()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		all.Info = append(all.Info, r.Info...)
	}
}

func main() {
	if len(os.Args) < 3 || len(os.Args) > 4 {
		rig.Die("call: usage: call SOCKET METHOD [JSON]")
	}
	socket, name := os.Args[1], os.Args[2]
	m, ok := methods[name]
	if !ok {
		rig.Die("call: there is no method %s", name)
	}
	if len(os.Args) > 3 {
		words := json.NewDecoder(strings.NewReader(os.Args[3]))
		words.DisallowUnknownFields()
		if err := words.Decode(m.request); err != nil {
			rig.Die("call: %v", err)
		}
	}
	conn, err := rig.Dial(socket, false)
	if err != nil {
		rig.Die("call: %v", err)
	}
	ctx, done := context.WithTimeout(context.Background(), 2*time.Minute)
	defer done()
	if request, ok := m.request.(*api.ListSnapshotsRequest); ok {
		err = list(ctx, conn, request, m.response.(*api.ListSnapshotsResponse))
	} else {
		err = conn.Invoke(ctx, "/"+m.path+name, m.request, m.response)
	}
	if err != nil {
		rig.Die("%v: %s", status.Code(err), status.Convert(err).Message())
	}
	text, err := json.Marshal(m.response)
	if err != nil {
		rig.Die("call: %v", err)
	}
	fmt.Println(string(text))
}
