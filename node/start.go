package node

import (
	"context"
	"errors"
	"net/netip"
	"time"

	corev1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/duetk8s/duet/cri"
	"github.com/duetk8s/duet/node/internal/container"
	"github.com/duetk8s/duet/node/internal/podstate"
)

// annotationHash is by which a container whose spec has changed is known after a restart of the
// agent too.
const annotationHash = "io.kubernetes.container.hash"

// starting is an instance on its way: what was known when its start was decided.
type starting struct {
	pod           *corev1.Pod
	c             *corev1.Container
	attempt       uint32
	sandbox       podstate.Sandbox
	sandboxConfig *runtimeapi.PodSandboxConfig
	image         *runtimeapi.Image
	ips           []netip.Addr
	news          int
}

// startContainer makes the next instance of a container and runs its postStart hook.
func (w *worker) startContainer(ctx context.Context, a podstate.Action) {
	r := w.underwayOf(a.Container)
	s := starting{
		pod: w.seen(), c: spec(w.pod, a.Container), attempt: a.Attempt,
		sandbox: w.o.Sandbox, sandboxConfig: w.sandboxConfig, image: r.image, ips: w.podIPs(), news: w.refresh.news,
	}
	w.container(a.Container, func(c *podstate.Container) {
		c.Start.Busy, c.Backoff, c.Unhealthy, c.Started, c.Ready = true, a.Backoff, nil, false, false
	})
	ctx, cancel := context.WithCancel(ctx)
	r.cancelStart = cancel
	w.after(ctx, func(ctx context.Context) note {
		defer cancel()
		id, failed := w.start(ctx, s)
		return func(ctx context.Context) {
			r.cancelStart = nil
			w.started(s, failed)
			if id != "" && failed == nil {
				w.probe(ctx, s.c.Name)
			}
		}
	})
}

// podIPs for a container's environment and hosts file.
func (w *worker) podIPs() []netip.Addr {
	if w.pod.Spec.HostNetwork {
		return podstate.SortIPs(w.hostIPs(), w.hostIPs())
	}
	return w.o.Sandbox.IPs
}

// start gives the id of what was created, "" if nothing was, and what is wrong with it.
func (w *worker) start(ctx context.Context, s starting) (id string, failed *refusal) {
	config, lost, err := w.content.Container(ctx, containerWanted{Pod: s.pod, Container: s.c, PodIPs: s.ips, Attempt: s.attempt, Image: s.image})
	if lost != "" {
		w.warn(s.pod, "HostsFileOverwritten", lost)
	}
	if err != nil {
		r, ok := errors.AsType[*refusal](err)
		if !ok {
			r = &refusal{"CreateContainerConfigError", err.Error()}
		}
		return "", w.refused(ctx, s, r)
	}
	if config.Annotations == nil {
		config.Annotations = map[string]string{}
	}
	config.Annotations[annotationHash] = podstate.Hash(s.c)
	id, err = w.runtime.CreateContainer(ctx, s.sandbox.ID, config, s.sandboxConfig)
	if err != nil {
		return "", w.refused(ctx, s, &refusal{"CreateContainerError", cri.Message(err)})
	}
	w.owner.add(id, w.uid)
	w.eventAbout(s.pod, s.c, "Created", "Container created")
	err = w.runtime.StartContainer(ctx, id)
	instance := w.inspect(ctx, id, s)
	if err != nil {
		w.tell(func(ctx context.Context) { w.begun(ctx, s.c.Name, instance) })
		return id, w.refused(ctx, s, &refusal{"RunContainerError", cri.Message(err)})
	}
	w.eventAbout(s.pod, s.c, "Started", "Container started")
	w.tell(func(ctx context.Context) { w.begun(ctx, s.c.Name, instance) })
	return id, w.postStart(ctx, s, id)
}

// refused tells the user of a start that failed. What was given up is nobody's concern.
func (w *worker) refused(ctx context.Context, s starting, r *refusal) *refusal {
	if ctx.Err() == nil {
		w.warnAbout(s.pod, s.c, "Failed", "Error: "+r.Message)
	}
	return r
}

// postStart runs the hook; the container does not survive its failure.
func (w *worker) postStart(ctx context.Context, s starting, id string) *refusal {
	if s.c.Lifecycle == nil || s.c.Lifecycle.PostStart == nil {
		return nil
	}
	err := w.prober.Hook(ctx, probeTarget{Pod: s.pod, Container: s.c, ID: id, IPs: s.ips}, s.c.Lifecycle.PostStart)
	if err == nil || ctx.Err() != nil {
		return nil //nolint:nilerr // the agent ends
	}
	w.warnAbout(s.pod, s.c, "FailedPostStartHook", "PostStartHook failed")
	w.eventAbout(s.pod, s.c, "Killing", "FailedPostStartHook")
	if err := w.runtime.StopContainer(ctx, id, container.StopSignal(s.c), graceOf(s.pod)); err != nil {
		return &refusal{"PostStartHookError", cri.Cause(err).Error()}
	}
	return &refusal{"PostStartHookError", err.Error()}
}

func graceOf(pod *corev1.Pod) time.Duration {
	if pod.Spec.TerminationGracePeriodSeconds == nil {
		return 30 * time.Second
	}
	return time.Duration(*pod.Spec.TerminationGracePeriodSeconds) * time.Second
}

// inspect asks for what a status shows of an instance that was just made. Without an answer what is
// known has to do: the next relist knows better.
func (w *worker) inspect(ctx context.Context, id string, s starting) podstate.Instance {
	if status, err := w.runtime.ContainerStatus(ctx, id); err == nil {
		return instanceOf(status, s.sandbox.ID)
	}
	return podstate.Instance{
		ID: id, Sandbox: s.sandbox.ID, Attempt: s.attempt, State: podstate.Running, StartedAt: w.clock.Now(),
		Image: s.c.Image, ImageID: s.image.GetId(), Hash: podstate.Hash(s.c),
	}
}

// begun takes an instance as the current one of its container. It may have ended already.
func (w *worker) begun(ctx context.Context, name string, instance podstate.Instance) {
	exit, ended := w.exits[instance.ID]
	delete(w.exits, instance.ID)
	w.container(name, func(c *podstate.Container) {
		if c.Previous != nil && c.Previous.ID != "" {
			w.discard(ctx, c.Previous.ID)
		}
		c.Previous, c.Current = c.Current, &instance
		c.Image = podstate.Step{}
	})
	switch {
	case instance.State == podstate.Exited:
		w.ended(name, instance)
	case ended:
		w.exited(exit)
	}
}

// discard has an instance removed that nothing refers to any more.
func (w *worker) discard(ctx context.Context, id string) {
	w.ops.Go(func() {
		// One that cannot be removed now goes with its sandbox.
		_ = w.runtime.RemoveContainer(ctx, id)
	})
}

// started notes how a start went.
func (w *worker) started(s starting, failed *refusal) {
	w.container(s.c.Name, func(c *podstate.Container) {
		c.Start.Busy = false
		if failed == nil {
			c.Start.Failed = nil
			return
		}
		c.Start.Failed = w.failure(c.Start, failed.Reason, failed.Message)
		if c.Current == nil || c.Current.Attempt != s.attempt {
			w.refresh.stale(c.Start.Failed, s.news)
		}
	})
}

// instanceOf reads CRI's answer.
func instanceOf(status *runtimeapi.ContainerStatus, sandbox string) podstate.Instance {
	i := podstate.Instance{
		ID: status.GetId(), Sandbox: sandbox, Attempt: status.GetMetadata().GetAttempt(),
		Image: status.GetImage().GetImage(), ImageID: status.GetImageRef(), Hash: status.GetAnnotations()[annotationHash],
		CreatedAt: at(status.GetCreatedAt()), StartedAt: at(status.GetStartedAt()), FinishedAt: at(status.GetFinishedAt()),
		ExitCode: status.GetExitCode(), Reason: status.GetReason(), Message: status.GetMessage(),
	}
	switch status.GetState() {
	case runtimeapi.ContainerState_CONTAINER_CREATED:
		i.State = podstate.Created
	case runtimeapi.ContainerState_CONTAINER_RUNNING:
		i.State = podstate.Running
	case runtimeapi.ContainerState_CONTAINER_EXITED:
		i.State = podstate.Exited
	default:
		i.State = podstate.Unknown
	}
	return i
}

// at reads CRI's times: nanoseconds, 0 for never.
func at(nanoseconds int64) time.Time {
	if nanoseconds == 0 {
		return time.Time{}
	}
	return time.Unix(0, nanoseconds)
}
