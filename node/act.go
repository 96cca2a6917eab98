package node

import (
	"context"
	"os"
	"slices"

	corev1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/duetk8s/duet/cri"
	"github.com/duetk8s/duet/node/internal/podstate"
)

// act begins an action that was decided.
func (w *worker) act(ctx context.Context, a podstate.Action) {
	switch a.Do {
	case podstate.SetupVolumes:
		w.setupVolumes(ctx)
	case podstate.CreateSandbox:
		w.createSandbox(ctx, a.Attempt)
	case podstate.StopSandbox:
		w.stopSandbox(ctx)
	case podstate.PullImage:
		w.pullImage(ctx, a.Container)
	case podstate.StartContainer:
		w.startContainer(ctx, a)
	case podstate.CancelStart:
		if cancel := w.underwayOf(a.Container).cancelStart; cancel != nil {
			cancel()
		}
	case podstate.StopContainer:
		w.stopContainer(ctx, a)
	case podstate.Cleanup:
		w.cleanup(ctx)
	case podstate.Remove:
		w.remove(ctx)
	}
}

func (w *worker) setupVolumes(ctx context.Context) {
	pod, begun := w.pod, w.refresh.news
	w.o.Volumes.Busy = true
	w.after(ctx, func(ctx context.Context) note {
		err := w.content.SetupVolumes(ctx, pod)
		if err != nil && ctx.Err() == nil {
			w.warn(pod, "FailedMount", err.Error())
		}
		return func(ctx context.Context) {
			failed := w.o.Volumes
			w.o.Volumes = podstate.Step{Done: err == nil}
			if err != nil {
				w.o.Volumes.Failed = w.refresh.stale(w.failure(failed, "FailedMount", err.Error()), begun)
			}
			w.refresh.due = w.o.Volumes.Done
		}
	})
}

// createSandbox makes a sandbox; the one before it goes with its containers still there for their
// logs.
func (w *worker) createSandbox(ctx context.Context, attempt uint32) {
	pod, old := w.pod, w.o.Sandbox.ID
	w.o.Sandbox.Busy = true
	w.after(ctx, func(ctx context.Context) note {
		if old != "" {
			w.event(pod, "SandboxChanged", "Pod sandbox changed, it will be killed and re-created.")
			if err := w.runtime.StopSandbox(ctx, old); err != nil {
				return w.sandboxFailed(pod, "FailedKillPod", "error killing pod: ", err)
			}
		}
		config, warnings, err := w.content.Sandbox(pod, attempt)
		if err != nil {
			return w.sandboxFailed(pod, "FailedCreatePodSandBox", "Failed to create pod sandbox: ", err)
		}
		for _, warning := range warnings {
			w.warn(pod, warning.Reason, warning.Message)
		}
		// The runtime opens log files in it, and makes one itself with mode 0755 anyway.
		if err := os.MkdirAll(config.GetLogDirectory(), 0o755); err != nil {
			return w.sandboxFailed(pod, "FailedCreatePodSandBox", "Failed to create pod sandbox: ", err)
		}
		id, err := w.runtime.RunSandbox(ctx, config, "")
		if err != nil {
			return w.sandboxFailed(pod, "FailedCreatePodSandBox", "Failed to create pod sandbox: ", err)
		}
		w.owner.add(id, pod.UID)
		status, err := w.runtime.SandboxStatus(ctx, id)
		if err != nil {
			return w.sandboxFailed(pod, "FailedPodSandBoxStatus", "Unable to get pod sandbox status: ", err)
		}
		return func(ctx context.Context) {
			// The logs of the last sandbox's containers are wanted, not those before.
			for _, id := range w.old {
				w.after(ctx, func(ctx context.Context) note {
					_ = w.runtime.RemoveSandbox(ctx, id) // if not now, then with the Pod
					return nil
				})
			}
			w.old = nil
			if old != "" {
				w.old = append(w.old, old)
			}
			w.sandboxConfig = config
			w.useSandbox(status)
		}
	})
}

// useSandbox takes a sandbox as the present one.
func (w *worker) useSandbox(status *runtimeapi.PodSandboxStatus) {
	ready := status.GetState() == runtimeapi.PodSandboxState_SANDBOX_READY
	if _, dead := w.exits[status.GetId()]; dead {
		ready = false
	}
	w.o.Sandbox = podstate.Sandbox{
		ID: status.GetId(), Attempt: status.GetMetadata().GetAttempt(), Ready: ready,
		IPs: podstate.SortIPs(addresses(status.GetNetwork()), w.hostIPs()),
	}
}

func (w *worker) sandboxFailed(pod *corev1.Pod, reason, text string, err error) note {
	err = cri.Cause(err)
	w.warn(pod, reason, text+err.Error())
	return func(ctx context.Context) {
		w.o.Sandbox.Busy = false
		w.o.Sandbox.Failed = w.failure(w.o.Sandbox.Step, reason, err.Error())
	}
}

// stopSandbox kills what is left in a sandbox whose first process died. What ran there has ended,
// whether the runtime told of it or not.
func (w *worker) stopSandbox(ctx context.Context) {
	pod, id := w.pod, w.o.Sandbox.ID
	w.o.Sandbox.Busy = true
	w.after(ctx, func(ctx context.Context) note {
		if err := w.runtime.StopSandbox(ctx, id); err != nil {
			return w.sandboxFailed(pod, "FailedKillPod", "error killing pod: ", err)
		}
		return func(ctx context.Context) {
			w.o.Sandbox.Busy, w.o.Sandbox.Failed = false, nil
			for name, c := range w.o.Containers {
				if c.Current.Alive() && c.Current.Sandbox == id {
					w.ended(name, podstate.Instance{ExitCode: 137, Reason: "Error", FinishedAt: w.clock.Now()})
				}
			}
		}
	})
}

// cleanup gives back what a Pod that ended needs no more: its addresses, its volumes.
func (w *worker) cleanup(ctx context.Context) {
	uid, sandboxes := w.uid, w.sandboxes()
	w.o.Cleanup.Busy = true
	w.after(ctx, func(ctx context.Context) note {
		var err error
		for _, id := range sandboxes {
			err = firstError(err, w.runtime.StopSandbox(ctx, id))
		}
		if err == nil {
			err = w.content.RemoveVolumes(uid)
		}
		return func(ctx context.Context) {
			w.stepped(ctx, &w.o.Cleanup, "FailedKillPod", err)
			w.o.Sandbox.Ready = w.o.Sandbox.Ready && err != nil
		}
	})
}

// remove leaves nothing of the Pod on the node.
func (w *worker) remove(ctx context.Context) {
	pod, sandboxes := w.pod, w.sandboxes()
	w.o.Removal.Busy = true
	w.after(ctx, func(ctx context.Context) note {
		var err error
		for _, id := range sandboxes {
			err = firstError(err, w.runtime.StopSandbox(ctx, id))
			if err == nil {
				err = w.runtime.RemoveSandbox(ctx, id)
			}
		}
		if err == nil {
			err = firstError(w.content.RemoveVolumes(pod.UID), w.content.RemoveLogs(pod))
		}
		return func(ctx context.Context) {
			w.stepped(ctx, &w.o.Removal, "FailedKillPod", err)
			w.o.Sandbox.Ready = w.o.Sandbox.Ready && err != nil
		}
	})
}

// stepped notes how a step went.
func (w *worker) stepped(ctx context.Context, step *podstate.Step, reason string, err error) {
	step.Busy, step.Done = false, err == nil
	if err == nil {
		step.Failed = nil
		return
	}
	step.Failed = w.failure(*step, reason, err.Error())
	if ctx.Err() == nil {
		w.logger(ctx).Error(err, "What a pod held could not be given back", "tries", step.Failed.Count)
		w.warn(w.pod, reason, "error killing pod: "+cri.Cause(err).Error())
	}
}

// sandboxes are all that the runtime has of the Pod, newest last.
func (w *worker) sandboxes() []string {
	all := slices.Clone(w.old)
	if w.o.Sandbox.ID != "" {
		all = append(all, w.o.Sandbox.ID)
	}
	return all
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
