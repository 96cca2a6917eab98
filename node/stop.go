package node

import (
	"context"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/duetk8s/duet/cri"
	"github.com/duetk8s/duet/node/internal/container"
	"github.com/duetk8s/duet/node/internal/podstate"
)

// killed is the exit code of an instance that received SIGKILL, reasonOOM why it may have.
const (
	killed    = 137
	reasonOOM = "OOMKilled"
)

// leastGrace is what is left for a container's end after its preStop hook.
const leastGrace = 2 * time.Second

// stopContainer ends the current instance of a container. A stop under way is replaced: the new one
// is more urgent.
func (w *worker) stopContainer(ctx context.Context, a podstate.Action) {
	pod, c, r := w.seen(), spec(w.pod, a.Container), w.underwayOf(a.Container)
	id, ips := w.o.Containers[a.Container].Current.ID, w.podIPs()
	if r.cancelStop != nil {
		r.cancelStop()
	} else {
		w.eventAbout(pod, c, "Killing", a.Message)
	}
	w.container(a.Container, func(c *podstate.Container) { c.Stopping, c.StopDeadline = true, a.Deadline })
	ctx, cancel := context.WithCancel(ctx)
	r.cancelStop = cancel
	w.after(ctx, func(ctx context.Context) note {
		defer cancel()
		grace := a.Deadline.Sub(w.clock.Now())
		if a.Hooks && c.Lifecycle != nil && c.Lifecycle.PreStop != nil && grace > 0 {
			hook, done := context.WithTimeout(ctx, grace)
			err := w.prober.Hook(hook, probeTarget{Pod: pod, Container: c, ID: id, IPs: ips}, c.Lifecycle.PreStop)
			done()
			if err != nil && ctx.Err() == nil {
				w.warnAbout(pod, c, "FailedPreStopHook", "PreStopHook failed")
			}
			grace = max(a.Deadline.Sub(w.clock.Now()), leastGrace)
		}
		instance, ok := w.stop(ctx, id, container.StopSignal(c), max(grace, 0))
		if !ok {
			return nil
		}
		return func(ctx context.Context) {
			r.cancelStop = nil
			w.ended(a.Container, instance)
		}
	})
}

// stop asks the runtime until it has stopped an instance, or ctx ends: ok is false then.
func (w *worker) stop(ctx context.Context, id string, signal runtimeapi.Signal, grace time.Duration) (instance podstate.Instance, ok bool) {
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		err := w.runtime.StopContainer(ctx, id, signal, grace)
		if err == nil {
			break
		}
		select {
		case <-ctx.Done():
			return podstate.Instance{}, false
		case <-w.clock.After(wait):
		}
	}
	status, err := w.runtime.ContainerStatus(ctx, id)
	if err != nil || instanceOf(status, "").State != podstate.Exited {
		return podstate.Instance{ID: id, ExitCode: killed, Reason: "Error", FinishedAt: w.clock.Now()}, ctx.Err() == nil
	}
	return instanceOf(status, ""), true
}

// exited takes the runtime's word for the end of a process.
func (w *worker) exited(e cri.Event) {
	if e.ID == w.o.Sandbox.ID {
		w.o.Sandbox.Ready = false
		return
	}
	for name, c := range w.o.Containers {
		if c.Current == nil || c.Current.ID != e.ID {
			continue
		}
		end := podstate.Instance{ID: e.ID, ExitCode: e.ExitCode, FinishedAt: e.At, Reason: "Error"}
		if e.ExitCode == 0 {
			end.Reason = "Completed"
		}
		w.ended(name, end)
		return
	}
	w.exits[e.ID] = e // of an instance that is being started, or of one that is none of ours
}

// oomed: the kernel killed a process of an instance for its memory. It may be told before the
// instance is known, and after its end.
func (w *worker) oomed(id string) {
	for name, c := range w.o.Containers {
		i := c.Current
		if i == nil || i.ID != id || i.State != podstate.Exited {
			continue
		}
		last := *i
		last.Reason = reasonOOM
		w.container(name, func(c *podstate.Container) { c.Current = &last })
		return
	}
	w.oom[id] = true
}

// ended notes the end of a container's current instance. It may be told more than once, and of an
// instance that the next has followed already.
func (w *worker) ended(name string, end podstate.Instance) {
	i := w.o.Containers[name].Current
	if i == nil || end.ID != "" && i.ID != end.ID {
		return
	}
	if r := w.underwayOf(name); r.cancelProbes != nil {
		r.cancelProbes()
		r.cancelProbes = nil
	}
	last := *i
	if last.State != podstate.Exited {
		last.State, last.ExitCode, last.Reason, last.FinishedAt, last.Message = podstate.Exited, end.ExitCode, end.Reason, end.FinishedAt, end.Message
	}
	if w.oom[last.ID] { // CRI does not always know
		last.Reason = reasonOOM
	}
	if last.StartedAt.IsZero() {
		last.StartedAt = last.CreatedAt
	}
	w.lastWords(name, &last)
	w.container(name, func(c *podstate.Container) {
		c.Current, c.Stopping, c.Unhealthy, c.Started, c.Ready = &last, false, nil, false, false
	})
	delete(w.oom, last.ID)
}
