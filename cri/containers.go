package cri

import (
	"context"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// CreateContainer makes a container in a sandbox; it does not run yet.
func (r *Runtime) CreateContainer(ctx context.Context, sandbox string, config *runtimeapi.ContainerConfig, pod *runtimeapi.PodSandboxConfig) (id string, err error) {
	answer, err := r.pods.CreateContainer(ctx, &runtimeapi.CreateContainerRequest{PodSandboxId: sandbox, Config: config, SandboxConfig: pod})
	return answer.GetContainerId(), failed("CreateContainer", config.GetMetadata().GetName(), err)
}

// StartContainer starts a container that was created. If it fails the container has exited, with
// code 128 and reason StartError.
func (r *Runtime) StartContainer(ctx context.Context, id string) error {
	_, err := r.pods.StartContainer(ctx, &runtimeapi.StartContainerRequest{ContainerId: id})
	return failed("StartContainer", id, err)
}

// StopContainer asks a container to end and kills it after grace, which is rounded up to seconds;
// it returns when the container has ended. A container that is not there is no error. The signal is
// the one that the container was created with; a runtime that knows of none of its own, such as
// containerd 1.6, would send the image's.
func (r *Runtime) StopContainer(ctx context.Context, id string, signal runtimeapi.Signal, grace time.Duration) error {
	if signal != runtimeapi.Signal_SIGNAL_RUNTIME_DEFAULT && grace > 0 {
		status, err := r.ContainerStatus(ctx, id)
		if err == nil && status.GetState() == runtimeapi.ContainerState_CONTAINER_RUNNING && status.GetStopSignal() != signal {
			r.endBy(ctx, id, number(signal), grace)
			grace = 0
		}
	}
	_, err := r.pods.StopContainer(ctx, &runtimeapi.StopContainerRequest{ContainerId: id, Timeout: int64((grace + time.Second - 1) / time.Second)})
	return absentIsFine(failed("StopContainer", id, err))
}

// RemoveContainer removes a container, and kills it first if it still runs. A container that is not
// there is no error.
func (r *Runtime) RemoveContainer(ctx context.Context, id string) error {
	_, err := r.pods.RemoveContainer(ctx, &runtimeapi.RemoveContainerRequest{ContainerId: id})
	return absentIsFine(failed("RemoveContainer", id, err))
}

// ContainerStatus gives all about a container; IsNotFound when there is none.
func (r *Runtime) ContainerStatus(ctx context.Context, id string) (*runtimeapi.ContainerStatus, error) {
	answer, err := r.pods.ContainerStatus(ctx, &runtimeapi.ContainerStatusRequest{ContainerId: id})
	return answer.GetStatus(), failed("ContainerStatus", id, err)
}

// ListContainers gives all containers in every state.
func (r *Runtime) ListContainers(ctx context.Context) ([]*runtimeapi.Container, error) {
	answer, err := r.pods.ListContainers(ctx, &runtimeapi.ListContainersRequest{})
	return answer.GetContainers(), failed("ListContainers", "", err)
}

// ListContainerStats gives what containers use of processor, memory and disk.
func (r *Runtime) ListContainerStats(ctx context.Context) ([]*runtimeapi.ContainerStats, error) {
	answer, err := r.pods.ListContainerStats(ctx, &runtimeapi.ListContainerStatsRequest{})
	return answer.GetStats(), failed("ListContainerStats", "", err)
}

// ReopenLog makes the runtime write a container's log into a new file.
func (r *Runtime) ReopenLog(ctx context.Context, id string) error {
	_, err := r.pods.ReopenContainerLog(ctx, &runtimeapi.ReopenContainerLogRequest{ContainerId: id})
	return failed("ReopenContainerLog", id, err)
}

// ExecSync runs a command in a container and gives what it wrote. A timeout of zero is none. The
// exit code is 0 when err is not nil.
func (r *Runtime) ExecSync(ctx context.Context, id string, command []string, timeout time.Duration) (stdout, stderr []byte, exitCode int32, err error) {
	answer, err := r.pods.ExecSync(ctx, &runtimeapi.ExecSyncRequest{ContainerId: id, Cmd: command, Timeout: int64((timeout + time.Second - 1) / time.Second)})
	return answer.GetStdout(), answer.GetStderr(), answer.GetExitCode(), failed("ExecSync", id, err)
}

// Exec gives the URL on which a command's streams are served, once.
func (r *Runtime) Exec(ctx context.Context, request *runtimeapi.ExecRequest) (url string, err error) {
	answer, err := r.pods.Exec(ctx, request)
	return answer.GetUrl(), failed("Exec", request.GetContainerId(), err)
}

// Attach gives the URL on which a container's own streams are served, once.
func (r *Runtime) Attach(ctx context.Context, request *runtimeapi.AttachRequest) (url string, err error) {
	answer, err := r.pods.Attach(ctx, request)
	return answer.GetUrl(), failed("Attach", request.GetContainerId(), err)
}
