package probes

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// worker asks one probe of one container, and counts the answers.
type worker struct {
	*Prober
	target Target
	kind   Kind
	probe  *corev1.Probe
	report func(Result)

	passed bool  // the container's state as it was reported, or as it is before
	last   bool  // what the last attempt found
	agree  int32 // how many attempts in a row found that
}

func newWorker(p *Prober, t Target, kind Kind, probe *corev1.Probe, report func(Result)) *worker {
	return &worker{Prober: p, target: t, kind: kind, probe: probe, report: report, passed: kind == Liveness}
}

// run asks until ctx ends, or the answer is final. It returns whether a startup probe has passed.
func (w *worker) run(ctx context.Context) (started bool) {
	wait := w.target.Started.Add(seconds(w.probe.InitialDelaySeconds, 0)).Sub(w.cfg.Clock.Now())
	period := seconds(w.probe.PeriodSeconds, 10)
	for {
		if !w.sleep(ctx, wait) {
			return false
		}
		begin := w.cfg.Clock.Now()
		a := w.ask(ctx)
		if ctx.Err() != nil {
			return false
		}
		if r := w.count(a); r.Changed || r.Message != "" {
			w.report(r)
			if r.Changed && w.kind != Readiness && !r.Passed || r.Changed && w.kind == Startup {
				return r.Passed
			}
		}
		wait = period - w.cfg.Clock.Since(begin)
	}
}

// count takes one answer and says what changes by it. An answer of which nothing can be told does
// not count.
func (w *worker) count(a answer) Result {
	r := Result{Kind: w.kind, Passed: a.outcome == passed, Grace: w.probe.TerminationGracePeriodSeconds}
	r.Reason, r.Message = a.event(w.kind)
	if a.outcome == unknown {
		return r
	}
	if r.Passed == w.last {
		w.agree++
	} else {
		w.agree = 1
	}
	w.last = r.Passed
	threshold := w.probe.FailureThreshold
	if r.Passed {
		threshold = w.probe.SuccessThreshold
	}
	// A startup probe has no state before its first answer, so a failure is always a change to it.
	differs := r.Passed != w.passed || w.kind == Startup
	if w.agree >= max(threshold, 1) && differs {
		w.passed, r.Changed = r.Passed, true
	}
	return r
}

func (w *worker) sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := w.cfg.Clock.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C():
		return true
	case <-ctx.Done():
		return false
	}
}

// seconds reads a field of a probe; 0 is what the API's default would be.
func seconds(n, otherwise int32) time.Duration {
	if n == 0 {
		n = otherwise
	}
	return time.Duration(n) * time.Second
}
