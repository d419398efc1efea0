// SPDX-License-Identifier: Apache-2.0
package main

// Messages of runtime.v1, the interface of the kubelet to containerd, as far as the tests use them. Debian 12 packages
// neither crictl nor the interface's sources; the tags are from k8s.io/cri-api, pkg/apis/runtime/v1/api.proto.

type imageSpec struct {
	Image string `protobuf:"bytes,1,opt,name=image,proto3" json:"image,omitempty"`
}

// That of PullImage, ImageStatus, RemoveImage.
type imageRequest struct {
	Image         *imageSpec   `protobuf:"bytes,1,opt,name=image,proto3" json:"image,omitempty"`
	SandboxConfig *sandboxSpec `protobuf:"bytes,3,opt,name=sandbox_config,proto3" json:"sandbox_config,omitempty"`
}

type pullImageResponse struct {
	ImageRef string `protobuf:"bytes,1,opt,name=image_ref,proto3" json:"image_ref,omitempty"`
}

type image struct {
	ID          string   `protobuf:"bytes,1,opt,name=id,proto3" json:"id,omitempty"`
	RepoTags    []string `protobuf:"bytes,2,rep,name=repo_tags,proto3" json:"repo_tags,omitempty"`
	RepoDigests []string `protobuf:"bytes,3,rep,name=repo_digests,proto3" json:"repo_digests,omitempty"`
	Size        uint64   `protobuf:"varint,4,opt,name=size,proto3" json:"size,omitempty"`
}

type listImagesResponse struct {
	Images []*image `protobuf:"bytes,1,rep,name=images,proto3" json:"images,omitempty"`
}

type imageStatusResponse struct {
	Image *image `protobuf:"bytes,1,opt,name=image,proto3" json:"image,omitempty"`
}

type empty struct{}

type number struct {
	Value uint64 `protobuf:"varint,1,opt,name=value,proto3" json:"value"`
}

type filesystemIdentifier struct {
	Mountpoint string `protobuf:"bytes,1,opt,name=mountpoint,proto3" json:"mountpoint,omitempty"`
}

type filesystemUsage struct {
	Timestamp  int64                 `protobuf:"varint,1,opt,name=timestamp,proto3" json:"timestamp,omitempty"`
	FsID       *filesystemIdentifier `protobuf:"bytes,2,opt,name=fs_id,proto3" json:"fs_id,omitempty"`
	UsedBytes  *number               `protobuf:"bytes,3,opt,name=used_bytes,proto3" json:"used_bytes,omitempty"`
	InodesUsed *number               `protobuf:"bytes,4,opt,name=inodes_used,proto3" json:"inodes_used,omitempty"`
}

type imageFsInfoResponse struct {
	ImageFilesystems []*filesystemUsage `protobuf:"bytes,1,rep,name=image_filesystems,proto3" json:"image_filesystems,omitempty"`
}

type metadata struct {
	Name      string `protobuf:"bytes,1,opt,name=name,proto3" json:"name,omitempty"`
	UID       string `protobuf:"bytes,2,opt,name=uid,proto3" json:"uid,omitempty"`
	Namespace string `protobuf:"bytes,3,opt,name=namespace,proto3" json:"namespace,omitempty"`
}

// Modes: 0 is the pod's, 1 the container's, 2 the host's.
type namespaceOption struct {
	Network int32 `protobuf:"varint,1,opt,name=network,proto3" json:"network,omitempty"`
	Pid     int32 `protobuf:"varint,2,opt,name=pid,proto3" json:"pid,omitempty"`
	Ipc     int32 `protobuf:"varint,3,opt,name=ipc,proto3" json:"ipc,omitempty"`
}

type securityContext struct {
	NamespaceOptions *namespaceOption `protobuf:"bytes,1,opt,name=namespace_options,proto3" json:"namespace_options,omitempty"`
}

type linuxSandbox struct {
	CgroupParent    string           `protobuf:"bytes,1,opt,name=cgroup_parent,proto3" json:"cgroup_parent,omitempty"`
	SecurityContext *securityContext `protobuf:"bytes,2,opt,name=security_context,proto3" json:"security_context,omitempty"`
}

type sandboxSpec struct {
	Metadata     *metadata     `protobuf:"bytes,1,opt,name=metadata,proto3" json:"metadata,omitempty"`
	Hostname     string        `protobuf:"bytes,2,opt,name=hostname,proto3" json:"hostname,omitempty"`
	LogDirectory string        `protobuf:"bytes,3,opt,name=log_directory,proto3" json:"log_directory,omitempty"`
	Linux        *linuxSandbox `protobuf:"bytes,8,opt,name=linux,proto3" json:"linux,omitempty"`
}

type runPodSandboxRequest struct {
	Config *sandboxSpec `protobuf:"bytes,1,opt,name=config,proto3" json:"config,omitempty"`
}

// The request or the response of what is about one sandbox or container.
type identifier struct {
	ID string `protobuf:"bytes,1,opt,name=id,proto3" json:"id,omitempty"`
}

type linuxContainer struct {
	SecurityContext *containerSecurity `protobuf:"bytes,2,opt,name=security_context,proto3" json:"security_context,omitempty"`
}

type containerSecurity struct {
	NamespaceOptions *namespaceOption `protobuf:"bytes,3,opt,name=namespace_options,proto3" json:"namespace_options,omitempty"`
}

type containerSpec struct {
	Metadata *metadata       `protobuf:"bytes,1,opt,name=metadata,proto3" json:"metadata,omitempty"`
	Image    *imageSpec      `protobuf:"bytes,2,opt,name=image,proto3" json:"image,omitempty"`
	Command  []string        `protobuf:"bytes,3,rep,name=command,proto3" json:"command,omitempty"`
	LogPath  string          `protobuf:"bytes,11,opt,name=log_path,proto3" json:"log_path,omitempty"`
	Linux    *linuxContainer `protobuf:"bytes,15,opt,name=linux,proto3" json:"linux,omitempty"`
}

type createContainerRequest struct {
	PodSandboxID  string         `protobuf:"bytes,1,opt,name=pod_sandbox_id,proto3" json:"pod_sandbox_id,omitempty"`
	Config        *containerSpec `protobuf:"bytes,2,opt,name=config,proto3" json:"config,omitempty"`
	SandboxConfig *sandboxSpec   `protobuf:"bytes,3,opt,name=sandbox_config,proto3" json:"sandbox_config,omitempty"`
}

type execSyncRequest struct {
	ContainerID string   `protobuf:"bytes,1,opt,name=container_id,proto3" json:"container_id,omitempty"`
	Cmd         []string `protobuf:"bytes,2,rep,name=cmd,proto3" json:"cmd,omitempty"`
	Timeout     int64    `protobuf:"varint,3,opt,name=timeout,proto3" json:"timeout,omitempty"`
}

type execSyncResponse struct {
	Stdout   string `protobuf:"bytes,1,opt,name=stdout,proto3" json:"stdout"`
	Stderr   string `protobuf:"bytes,2,opt,name=stderr,proto3" json:"stderr"`
	ExitCode int32  `protobuf:"varint,3,opt,name=exit_code,proto3" json:"exit_code"`
}

type containerStats struct {
	WritableLayer *filesystemUsage `protobuf:"bytes,4,opt,name=writable_layer,proto3" json:"writable_layer,omitempty"`
}

type containerStatsResponse struct {
	Stats *containerStats `protobuf:"bytes,1,opt,name=stats,proto3" json:"stats,omitempty"`
}

// A struct is a message because it has these methods; the tags of its fields say how they are sent.

func (*imageSpec) Reset()              {}
func (*imageRequest) Reset()           {}
func (*pullImageResponse) Reset()      {}
func (*image) Reset()                  {}
func (*listImagesResponse) Reset()     {}
func (*imageStatusResponse) Reset()    {}
func (*empty) Reset()                  {}
func (*number) Reset()                 {}
func (*filesystemIdentifier) Reset()   {}
func (*filesystemUsage) Reset()        {}
func (*imageFsInfoResponse) Reset()    {}
func (*metadata) Reset()               {}
func (*namespaceOption) Reset()        {}
func (*securityContext) Reset()        {}
func (*linuxSandbox) Reset()           {}
func (*sandboxSpec) Reset()            {}
func (*runPodSandboxRequest) Reset()   {}
func (*identifier) Reset()             {}
func (*linuxContainer) Reset()         {}
func (*containerSecurity) Reset()      {}
func (*containerSpec) Reset()          {}
func (*createContainerRequest) Reset() {}
func (*execSyncRequest) Reset()        {}
func (*execSyncResponse) Reset()       {}
func (*containerStats) Reset()         {}
func (*containerStatsResponse) Reset() {}

func (*imageSpec) ProtoMessage()              {}
func (*imageRequest) ProtoMessage()           {}
func (*pullImageResponse) ProtoMessage()      {}
func (*image) ProtoMessage()                  {}
func (*listImagesResponse) ProtoMessage()     {}
func (*imageStatusResponse) ProtoMessage()    {}
func (*empty) ProtoMessage()                  {}
func (*number) ProtoMessage()                 {}
func (*filesystemIdentifier) ProtoMessage()   {}
func (*filesystemUsage) ProtoMessage()        {}
func (*imageFsInfoResponse) ProtoMessage()    {}
func (*metadata) ProtoMessage()               {}
func (*namespaceOption) ProtoMessage()        {}
func (*securityContext) ProtoMessage()        {}
func (*linuxSandbox) ProtoMessage()           {}
func (*sandboxSpec) ProtoMessage()            {}
func (*runPodSandboxRequest) ProtoMessage()   {}
func (*identifier) ProtoMessage()             {}
func (*linuxContainer) ProtoMessage()         {}
func (*containerSecurity) ProtoMessage()      {}
func (*containerSpec) ProtoMessage()          {}
func (*createContainerRequest) ProtoMessage() {}
func (*execSyncRequest) ProtoMessage()        {}
func (*execSyncResponse) ProtoMessage()       {}
func (*containerStats) ProtoMessage()         {}
func (*containerStatsResponse) ProtoMessage() {}

func (*imageSpec) String() string              { return "" }
func (*imageRequest) String() string           { return "" }
func (*pullImageResponse) String() string      { return "" }
func (*image) String() string                  { return "" }
func (*listImagesResponse) String() string     { return "" }
func (*imageStatusResponse) String() string    { return "" }
func (*empty) String() string                  { return "" }
func (*number) String() string                 { return "" }
func (*filesystemIdentifier) String() string   { return "" }
func (*filesystemUsage) String() string        { return "" }
func (*imageFsInfoResponse) String() string    { return "" }
func (*metadata) String() string               { return "" }
func (*namespaceOption) String() string        { return "" }
func (*securityContext) String() string        { return "" }
func (*linuxSandbox) String() string           { return "" }
func (*sandboxSpec) String() string            { return "" }
func (*runPodSandboxRequest) String() string   { return "" }
func (*identifier) String() string             { return "" }
func (*linuxContainer) String() string         { return "" }
func (*containerSecurity) String() string      { return "" }
func (*containerSpec) String() string          { return "" }
func (*createContainerRequest) String() string { return "" }
func (*execSyncRequest) String() string        { return "" }
func (*execSyncResponse) String() string       { return "" }
func (*containerStats) String() string         { return "" }
func (*containerStatsResponse) String() string { return "" }
