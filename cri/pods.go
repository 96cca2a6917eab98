package cri

import (
	"context"
	"encoding/json"
	"fmt"

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

// NetworkNamespace gives the path of a sandbox's network namespace, "" if it is the node's own. CRI
// has no field for it; containerd and CRI-O both tell it in the verbose status:
//
//	{"pid": 4711, "runtimeSpec": {"linux": {"namespaces": [{"type": "network", "path": "/…/netns/cni-…"}]}}}
func (r *Runtime) NetworkNamespace(ctx context.Context, sandbox string) (path string, err error) {
	answer, err := r.pods.PodSandboxStatus(ctx, &runtimeapi.PodSandboxStatusRequest{PodSandboxId: sandbox, Verbose: true})
	if err != nil {
		return "", failed("PodSandboxStatus", sandbox, err)
	}
	var info struct {
		PID         int `json:"pid"`
		RuntimeSpec struct {
			Linux struct {
				Namespaces []struct{ Type, Path string } `json:"namespaces"`
			} `json:"linux"`
		} `json:"runtimeSpec"`
	}
	if err := json.Unmarshal([]byte(answer.GetInfo()["info"]), &info); err != nil {
		return "", fmt.Errorf("read the verbose status of sandbox %s: %w", sandbox, err)
	}
	for _, n := range info.RuntimeSpec.Linux.Namespaces {
		switch {
		case n.Type != "network":
		case n.Path != "":
			return n.Path, nil
		case info.PID > 0:
			return fmt.Sprintf("/proc/%d/ns/net", info.PID), nil
		default:
			return "", fmt.Errorf("the verbose status of sandbox %s does not tell its network namespace", sandbox)
		}
	}
	return "", nil
}

func absentIsFine(err error) error {
	if IsNotFound(err) {
		return nil
	}
	return err
}
