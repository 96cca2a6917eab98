package cri

import (
	"context"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// RunSandbox makes and starts a sandbox: namespaces, network, the pause process.
func (r *Runtime) RunSandbox(ctx context.Context, config *runtimeapi.PodSandboxConfig, handler string) (id string, err error) {
	answer, err := r.pods.RunPodSandbox(ctx, &runtimeapi.RunPodSandboxRequest{Config: config, RuntimeHandler: handler})
	return answer.GetPodSandboxId(), failed("RunPodSandbox", config.GetMetadata().GetNamespace()+"/"+config.GetMetadata().GetName(), err)
}

// StopSandbox kills what runs in a sandbox and gives its addresses back. It may be called again;
// a sandbox that is not there is no error.
func (r *Runtime) StopSandbox(ctx context.Context, id string) error {
	_, err := r.pods.StopPodSandbox(ctx, &runtimeapi.StopPodSandboxRequest{PodSandboxId: id})
	return absentIsFine(failed("StopPodSandbox", id, err))
}

// RemoveSandbox removes a sandbox with all its containers. A sandbox that is not there is no error.
func (r *Runtime) RemoveSandbox(ctx context.Context, id string) error {
	_, err := r.pods.RemovePodSandbox(ctx, &runtimeapi.RemovePodSandboxRequest{PodSandboxId: id})
	return absentIsFine(failed("RemovePodSandbox", id, err))
}

// SandboxStatus with addresses; IsNotFound when there is no such sandbox.
func (r *Runtime) SandboxStatus(ctx context.Context, id string) (*runtimeapi.PodSandboxStatus, error) {
	answer, err := r.pods.PodSandboxStatus(ctx, &runtimeapi.PodSandboxStatusRequest{PodSandboxId: id})
	return answer.GetStatus(), failed("PodSandboxStatus", id, err)
}

// ListSandboxes gives all sandboxes, ready or not.
func (r *Runtime) ListSandboxes(ctx context.Context) ([]*runtimeapi.PodSandbox, error) {
	answer, err := r.pods.ListPodSandbox(ctx, &runtimeapi.ListPodSandboxRequest{})
	return answer.GetItems(), failed("ListPodSandbox", "", err)
}

// PortForward gives the URL on which a stream to ports of a sandbox is served, once.
func (r *Runtime) PortForward(ctx context.Context, request *runtimeapi.PortForwardRequest) (url string, err error) {
	answer, err := r.pods.PortForward(ctx, request)
	return answer.GetUrl(), failed("PortForward", request.GetPodSandboxId(), err)
}

func absentIsFine(err error) error {
	if IsNotFound(err) {
		return nil
	}
	return err
}
