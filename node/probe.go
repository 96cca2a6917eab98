package node

import (
	"context"

	"github.com/duetk8s/duet/node/internal/podstate"
)

// probe begins to ask the current instance of a container how it is. What no probe asks about is
// well from the start.
func (w *worker) probe(ctx context.Context, name string) {
	known := w.o.Containers[name]
	if known.Current == nil || known.Current.State != podstate.Running {
		return
	}
	c, r := spec(w.pod, name), w.underwayOf(name)
	if r.cancelProbes != nil {
		r.cancelProbes()
	}
	w.container(name, func(k *podstate.Container) {
		k.Started = k.Started || c.StartupProbe == nil
		k.Ready = k.Ready || c.ReadinessProbe == nil
	})
	if c.StartupProbe == nil && c.LivenessProbe == nil && c.ReadinessProbe == nil {
		return
	}
	id, pod := known.Current.ID, w.seen()
	target := probeTarget{
		Pod: pod, Container: c.DeepCopy(), ID: id, IPs: w.podIPs(), Started: known.Current.StartedAt,
		StartupDone: w.o.Containers[name].Started,
	}
	ctx, r.cancelProbes = context.WithCancel(ctx)
	w.ops.Go(func() {
		w.prober.Probe(ctx, target, func(result probeResult) {
			w.tell(func(context.Context) {
				if ctx.Err() == nil {
					w.probed(target, result)
				}
			})
		})
	})
}

// probed takes news from a probe of an instance that still runs.
func (w *worker) probed(target probeTarget, result probeResult) {
	if result.Message != "" {
		w.warnAbout(target.Pod, target.Container, result.Reason, result.Message)
	}
	w.container(target.Container.Name, func(c *podstate.Container) {
		if c.Current == nil || c.Current.ID != target.ID {
			return
		}
		if result.Started != nil {
			c.Started = *result.Started
		}
		if result.Ready != nil {
			c.Ready = *result.Ready
		}
		if result.Condemned != "" {
			c.Unhealthy = &podstate.Unhealthy{Probe: result.Condemned, Grace: result.Grace}
		}
	})
}
