package node

import (
	"context"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/duetk8s/duet/cri"
	"github.com/duetk8s/duet/node/internal/probes"
)

// podProber puts package probes behind the interface prober.
type podProber struct{ *probes.Prober }

// execIn runs a probe's or hook's command by the runtime.
func execIn(runtime *cri.Runtime) func(ctx context.Context, id string, command []string, timeout time.Duration) ([]byte, int32, error) {
	return func(ctx context.Context, id string, command []string, timeout time.Duration) ([]byte, int32, error) {
		stdout, stderr, code, err := runtime.ExecSync(ctx, id, command, timeout)
		return slices.Concat(stdout, stderr), code, err
	}
}

func (p podProber) Probe(ctx context.Context, t probeTarget, report func(probeResult)) {
	p.Run(ctx, target(t), func(r probes.Result) { report(news(r)) })
}

func (p podProber) Hook(ctx context.Context, t probeTarget, hook *corev1.LifecycleHandler) error {
	return p.Prober.Hook(ctx, target(t), hook)
}

func target(t probeTarget) probes.Target {
	return probes.Target{Pod: t.Pod, Container: t.Container, ContainerID: t.ID, IPs: t.IPs, Started: t.Started, StartupDone: t.StartupDone}
}

// news is what a result means for the container.
func news(r probes.Result) probeResult {
	n := probeResult{Reason: r.Reason, Message: r.Message}
	switch {
	case !r.Changed:
	case r.Kind == probes.Readiness:
		n.Ready = new(r.Passed)
	case !r.Passed:
		n.Condemned, n.Grace = strings.ToLower(string(r.Kind)), r.Grace
	case r.Kind == probes.Startup:
		n.Started = new(true)
	}
	return n
}
