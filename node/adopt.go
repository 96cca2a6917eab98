package node

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/duetk8s/duet/cri"
	"github.com/duetk8s/duet/node/internal/podstate"
)

// labelContainer is the label by which containers of a Pod are known.
const labelContainer = "io.kubernetes.container.name"

// inventory is what the runtime has of one Pod.
type inventory struct {
	sandboxes  []*runtimeapi.PodSandbox
	containers []*runtimeapi.Container
}

// facts are what the runtime said when it was asked about each.
type facts struct {
	sandboxes  []*runtimeapi.PodSandboxStatus
	containers map[string][]podstate.Instance // by name, oldest first
}

// adopt has a new worker take over what there is before it decides anything.
func (w *worker) adopt(ctx context.Context, found inventory) {
	w.adopting = true
	w.after(ctx, func(ctx context.Context) note {
		for wait := 50 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
			f, err := w.ask(ctx, found, nil, nil)
			if err == nil {
				return func(ctx context.Context) {
					w.adopting = false
					w.learn(ctx, f)
					w.remember()
				}
			}
			if !w.sleep(ctx, wait) {
				return nil
			}
		}
	})
}

// relist compares what is known with what there is, after an interruption.
func (w *worker) relist(ctx context.Context, found inventory) {
	if w.adopting {
		return
	}
	var sandboxes, containers []string
	if w.o.Sandbox.ID != "" {
		sandboxes = append(sandboxes, w.o.Sandbox.ID)
	}
	for _, c := range w.o.Containers {
		if c.Current != nil && c.Current.ID != "" {
			containers = append(containers, c.Current.ID)
		}
	}
	w.after(ctx, func(ctx context.Context) note {
		f, err := w.ask(ctx, found, sandboxes, containers)
		if err != nil {
			return nil // the events are interrupted again, or will be: there is another relist then
		}
		return func(ctx context.Context) { w.learn(ctx, f) }
	})
}

// ask gives the status of all that was found, and of what is known but was not found: it may have
// been made since.
func (w *worker) ask(ctx context.Context, found inventory, sandboxes, containers []string) (facts, error) {
	for _, s := range found.sandboxes {
		sandboxes = append(sandboxes, s.GetId())
	}
	f := facts{containers: map[string][]podstate.Instance{}}
	for _, id := range unique(sandboxes) {
		w.owner.add(id, w.uid)
		switch s, err := w.runtime.SandboxStatus(ctx, id); {
		case err == nil:
			f.sandboxes = append(f.sandboxes, s)
		case !cri.IsNotFound(err):
			return facts{}, err
		}
	}
	in := map[string]string{}
	for _, c := range found.containers {
		containers = append(containers, c.GetId())
		in[c.GetId()] = c.GetPodSandboxId()
	}
	for _, id := range unique(containers) {
		w.owner.add(id, w.uid)
		switch s, err := w.runtime.ContainerStatus(ctx, id); {
		case err == nil:
			name := s.GetLabels()[labelContainer]
			f.containers[name] = append(f.containers[name], instanceOf(s, in[id]))
		case !cri.IsNotFound(err):
			return facts{}, err
		}
	}
	slices.SortFunc(f.sandboxes, func(a, b *runtimeapi.PodSandboxStatus) int {
		return cmp.Or(cmp.Compare(a.GetMetadata().GetAttempt(), b.GetMetadata().GetAttempt()), cmp.Compare(a.GetCreatedAt(), b.GetCreatedAt()))
	})
	for _, instances := range f.containers {
		slices.SortFunc(instances, func(a, b podstate.Instance) int {
			return cmp.Or(cmp.Compare(a.Attempt, b.Attempt), a.CreatedAt.Compare(b.CreatedAt))
		})
	}
	return f, nil
}

func unique(ids []string) []string {
	slices.Sort(ids)
	return slices.Compact(ids)
}

// learn takes facts over what was known. What is being made right now is left to those who make it.
func (w *worker) learn(ctx context.Context, f facts) {
	if !w.o.Sandbox.Busy {
		w.learnSandbox(ctx, f.sandboxes)
	}
	for _, list := range [][]corev1.Container{w.pod.Spec.InitContainers, w.pod.Spec.Containers} {
		for i := range list {
			if name := list[i].Name; !w.o.Containers[name].Start.Busy {
				w.learnContainer(ctx, name, f.containers[name])
			}
		}
	}
}

func (w *worker) learnSandbox(ctx context.Context, all []*runtimeapi.PodSandboxStatus) {
	if len(all) == 0 {
		w.o.Sandbox = podstate.Sandbox{}
		return
	}
	newest := all[len(all)-1]
	w.old = nil
	for _, s := range all[:len(all)-1] {
		w.old = append(w.old, s.GetId())
	}
	if w.sandboxConfig == nil || newest.GetId() != w.o.Sandbox.ID {
		config, _, err := w.content.Sandbox(w.pod, newest.GetMetadata().GetAttempt())
		if err != nil {
			w.logger(ctx).Error(err, "A sandbox that was found cannot be used")
			return
		}
		w.sandboxConfig = config
	}
	ips := w.o.Sandbox.IPs
	w.useSandbox(newest)
	if len(w.o.Sandbox.IPs) == 0 {
		w.o.Sandbox.IPs = ips // a sandbox that is not ready has forgotten them
	}
}

func (w *worker) learnContainer(ctx context.Context, name string, all []podstate.Instance) {
	// One that was created and not started belongs to an agent that died in between.
	all = slices.DeleteFunc(all, func(i podstate.Instance) bool {
		if i.State == podstate.Created {
			w.discard(ctx, i.ID)
		}
		return i.State == podstate.Created
	})
	known := w.o.Containers[name].Current
	if len(all) == 0 {
		if known.Alive() {
			w.ended(name, podstate.Instance{
				ExitCode: killed, Reason: "ContainerStatusUnknown", FinishedAt: w.clock.Now(),
				Message: "The container could not be located when the pod was terminated",
			})
		}
		return
	}
	newest := all[len(all)-1]
	if known != nil && known.ID == newest.ID {
		if known.Alive() && newest.State == podstate.Exited {
			w.ended(name, newest)
		}
		return
	}
	w.container(name, func(c *podstate.Container) {
		c.Previous, c.Current = c.Current, &newest
		if len(all) > 1 {
			c.Previous = &all[len(all)-2]
		}
	})
	for _, i := range all[:max(len(all)-2, 0)] {
		w.discard(ctx, i.ID)
	}
	if newest.State == podstate.Exited {
		w.ended(name, newest)
		return
	}
	if before := statusOf(w.pod, name); before != nil && before.ContainerID == "containerd://"+newest.ID {
		w.container(name, func(c *podstate.Container) {
			c.Ready, c.Started = before.Ready, before.Started != nil && *before.Started
		})
	}
	w.probe(ctx, name)
}

// remember takes from the API what the runtime has forgotten about containers: they have run.
func (w *worker) remember() {
	for _, list := range [][]corev1.Container{w.pod.Spec.InitContainers, w.pod.Spec.Containers} {
		for i := range list {
			before := statusOf(w.pod, list[i].Name)
			if before == nil || before.ContainerID == "" || w.o.Containers[list[i].Name].Current != nil {
				continue
			}
			lost := podstate.Instance{
				Attempt: uint32(max(before.RestartCount, 0)), State: podstate.Exited, Image: before.Image, ImageID: before.ImageID, //nolint:gosec // not negative
				ExitCode: killed, Reason: "ContainerStatusUnknown", FinishedAt: w.clock.Now(),
				Message: "The container could not be located when the pod was terminated",
			}
			_, lost.ID, _ = strings.Cut(before.ContainerID, "://")
			if r := before.State.Running; r != nil {
				lost.StartedAt = r.StartedAt.Time
			}
			if t := before.State.Terminated; t != nil {
				lost.ExitCode, lost.Reason, lost.Message = t.ExitCode, t.Reason, t.Message
				lost.StartedAt, lost.FinishedAt = t.StartedAt.Time, t.FinishedAt.Time
			}
			w.container(list[i].Name, func(c *podstate.Container) { c.Current = &lost })
		}
	}
}

func statusOf(pod *corev1.Pod, name string) *corev1.ContainerStatus {
	for _, list := range [][]corev1.ContainerStatus{pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses} {
		if i := slices.IndexFunc(list, func(s corev1.ContainerStatus) bool { return s.Name == name }); i >= 0 {
			return &list[i]
		}
	}
	return nil
}
