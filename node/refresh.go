package node

import (
	"context"
	"time"

	"github.com/duetk8s/duet/node/internal/podstate"
)

// refresh is when a Pod's volumes are to be brought up to date.
type refresh struct {
	busy, due bool
	at        time.Time
	// news counts what was heard of sources: what failed may not have seen the last of it.
	news int
}

// stale makes a failure one that may be tried again now, if there was news since it was begun.
func (r *refresh) stale(f *podstate.Failure, begun int) *podstate.Failure {
	if r.news != begun {
		f.At = time.Time{}
	}
	return f
}

// sourceChanged: a ConfigMap or Secret that the Pod names has. What failed for want of it is tried
// again now.
func (w *worker) sourceChanged() {
	w.refresh.due = true
	w.refresh.news++
	if f := w.o.Volumes.Failed; f != nil {
		w.o.Volumes.Failed = nil
	}
	for name, c := range w.o.Containers {
		if f := c.Start.Failed; f != nil && f.Reason == "CreateContainerConfigError" {
			shown := *f
			shown.At = time.Time{}
			c.Start.Failed = &shown
			w.o.Containers[name] = c
		}
	}
}

// refreshVolumes begins to bring volumes up to date if that is due, and tells when it will be.
func (w *worker) refreshVolumes(ctx context.Context) time.Time {
	r := &w.refresh
	if !w.o.Volumes.Done || !w.o.EndingSince.IsZero() || r.busy {
		return time.Time{}
	}
	if !r.due && (r.at.IsZero() || w.clock.Now().Before(r.at)) {
		return r.at
	}
	r.busy, r.due = true, false
	pod := w.seen()
	w.after(ctx, func(ctx context.Context) note {
		next, err := w.content.RefreshVolumes(ctx, pod)
		if err != nil && ctx.Err() == nil {
			w.warn(pod, "FailedMount", err.Error())
		}
		return func(ctx context.Context) {
			r.busy, r.at = false, next
			if err != nil {
				r.at = w.clock.Now().Add(10 * time.Second)
			}
		}
	})
	return time.Time{}
}
