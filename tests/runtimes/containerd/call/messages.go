// SPDX-License-Identifier: Apache-2.0
package main

// Messages of runtime.v1, the interface of the kubelet to containerd, as far as the tests use them. Debian 12 packages
// neither crictl nor the interface's sources; the tags are from k8s.io/cri-api, pkg/apis/runtime/v1/api.proto.

// A message is one because it has these methods; its fields' tags are what is sent.
type message struct{}

func (message) Reset()         {}
func (message) String() string { return "" }
func (message) ProtoMessage()  {}

type imageSpec struct {
	message
	Image string `protobuf:"bytes,1,opt,name=image,proto3" json:"image,omitempty"`
}

// That of PullImage, ImageStatus, RemoveImage.
type imageRequest struct {
	message
	Image         *imageSpec   `protobuf:"bytes,1,opt,name=image,proto3" json:"image,omitempty"`
	SandboxConfig *sandboxSpec `protobuf:"bytes,3,opt,name=sandbox_config,proto3" json:"sandbox_config,omitempty"`
}

type pullImageResponse struct {
	message
	ImageRef string `protobuf:"bytes,1,opt,name=image_ref,proto3" json:"image_ref,omitempty"`
}

type image struct {
	message
	ID          string   `protobuf:"bytes,1,opt,name=id,proto3" json:"id,omitempty"`
	RepoTags    []string `protobuf:"bytes,2,rep,name=repo_tags,proto3" json:"repo_tags,omitempty"`
	RepoDigests []string `protobuf:"bytes,3,rep,name=repo_digests,proto3" json:"repo_digests,omitempty"`
	Size        uint64   `protobuf:"varint,4,opt,name=size,proto3" json:"size,omitempty"`
}

type listImagesResponse struct {
	message
	Images []*image `protobuf:"bytes,1,rep,name=images,proto3" json:"images,omitempty"`
}

type imageStatusResponse struct {
	message
	Image *image `protobuf:"bytes,1,opt,name=image,proto3" json:"image,omitempty"`
}

type empty struct{ message }

type number struct {
	message
	Value uint64 `protobuf:"varint,1,opt,name=value,proto3" json:"value"`
}

type filesystemIdentifier struct {
	message
	Mountpoint string `protobuf:"bytes,1,opt,name=mountpoint,proto3" json:"mountpoint,omitempty"`
}

type filesystemUsage struct {
	message
	Timestamp  int64                 `protobuf:"varint,1,opt,name=timestamp,proto3" json:"timestamp,omitempty"`
	FsID       *filesystemIdentifier `protobuf:"bytes,2,opt,name=fs_id,proto3" json:"fs_id,omitempty"`
	UsedBytes  *number               `protobuf:"bytes,3,opt,name=used_bytes,proto3" json:"used_bytes,omitempty"`
	InodesUsed *number               `protobuf:"bytes,4,opt,name=inodes_used,proto3" json:"inodes_used,omitempty"`
}

type imageFsInfoResponse struct {
	message
	ImageFilesystems []*filesystemUsage `protobuf:"bytes,1,rep,name=image_filesystems,proto3" json:"image_filesystems,omitempty"`
}

type metadata struct {
	message
	Name      string `protobuf:"bytes,1,opt,name=name,proto3" json:"name,omitempty"`
	UID       string `protobuf:"bytes,2,opt,name=uid,proto3" json:"uid,omitempty"`
	Namespace string `protobuf:"bytes,3,opt,name=namespace,proto3" json:"namespace,omitempty"`
}

// Modes: 0 is the pod's, 1 the container's, 2 the host's.
type namespaceOption struct {
	message
	Network int32 `protobuf:"varint,1,opt,name=network,proto3" json:"network,omitempty"`
	Pid     int32 `protobuf:"varint,2,opt,name=pid,proto3" json:"pid,omitempty"`
	Ipc     int32 `protobuf:"varint,3,opt,name=ipc,proto3" json:"ipc,omitempty"`
}

type securityContext struct {
	message
	NamespaceOptions *namespaceOption `protobuf:"bytes,1,opt,name=namespace_options,proto3" json:"namespace_options,omitempty"`
}

type linuxSandbox struct {
	message
	CgroupParent    string           `protobuf:"bytes,1,opt,name=cgroup_parent,proto3" json:"cgroup_parent,omitempty"`
	SecurityContext *securityContext `protobuf:"bytes,2,opt,name=security_context,proto3" json:"security_context,omitempty"`
}

type sandboxSpec struct {
	message
	Metadata     *metadata     `protobuf:"bytes,1,opt,name=metadata,proto3" json:"metadata,omitempty"`
	Hostname     string        `protobuf:"bytes,2,opt,name=hostname,proto3" json:"hostname,omitempty"`
	LogDirectory string        `protobuf:"bytes,3,opt,name=log_directory,proto3" json:"log_directory,omitempty"`
	Linux        *linuxSandbox `protobuf:"bytes,8,opt,name=linux,proto3" json:"linux,omitempty"`
}

type runPodSandboxRequest struct {
	message
	Config *sandboxSpec `protobuf:"bytes,1,opt,name=config,proto3" json:"config,omitempty"`
}

// The request or the response of what is about one sandbox or container.
type identifier struct {
	message
	ID string `protobuf:"bytes,1,opt,name=id,proto3" json:"id,omitempty"`
}

type linuxContainer struct {
	message
	SecurityContext *containerSecurity `protobuf:"bytes,2,opt,name=security_context,proto3" json:"security_context,omitempty"`
}

type containerSecurity struct {
	message
	NamespaceOptions *namespaceOption `protobuf:"bytes,3,opt,name=namespace_options,proto3" json:"namespace_options,omitempty"`
}

type containerSpec struct {
	message
	Metadata *metadata       `protobuf:"bytes,1,opt,name=metadata,proto3" json:"metadata,omitempty"`
	Image    *imageSpec      `protobuf:"bytes,2,opt,name=image,proto3" json:"image,omitempty"`
	Command  []string        `protobuf:"bytes,3,rep,name=command,proto3" json:"command,omitempty"`
	LogPath  string          `protobuf:"bytes,11,opt,name=log_path,proto3" json:"log_path,omitempty"`
	Linux    *linuxContainer `protobuf:"bytes,15,opt,name=linux,proto3" json:"linux,omitempty"`
}

type createContainerRequest struct {
	message
	PodSandboxID  string         `protobuf:"bytes,1,opt,name=pod_sandbox_id,proto3" json:"pod_sandbox_id,omitempty"`
	Config        *containerSpec `protobuf:"bytes,2,opt,name=config,proto3" json:"config,omitempty"`
	SandboxConfig *sandboxSpec   `protobuf:"bytes,3,opt,name=sandbox_config,proto3" json:"sandbox_config,omitempty"`
}

type execSyncRequest struct {
	message
	ContainerID string   `protobuf:"bytes,1,opt,name=container_id,proto3" json:"container_id,omitempty"`
	Cmd         []string `protobuf:"bytes,2,rep,name=cmd,proto3" json:"cmd,omitempty"`
	Timeout     int64    `protobuf:"varint,3,opt,name=timeout,proto3" json:"timeout,omitempty"`
}

type execSyncResponse struct {
	message
	Stdout   string `protobuf:"bytes,1,opt,name=stdout,proto3" json:"stdout"`
	Stderr   string `protobuf:"bytes,2,opt,name=stderr,proto3" json:"stderr"`
	ExitCode int32  `protobuf:"varint,3,opt,name=exit_code,proto3" json:"exit_code"`
}

type containerStats struct {
	message
	WritableLayer *filesystemUsage `protobuf:"bytes,4,opt,name=writable_layer,proto3" json:"writable_layer,omitempty"`
}

type containerStatsResponse struct {
	message
	Stats *containerStats `protobuf:"bytes,1,opt,name=stats,proto3" json:"stats,omitempty"`
}
