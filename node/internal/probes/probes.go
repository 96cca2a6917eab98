// Package probes asks containers whether they have started, live and are ready: by a command, by
// HTTP, TCP or gRPC, over either IP family.
//
// [Prober.Run] belongs to one start of one container. It reports what it finds; killing, statuses
// and events are the business of the Pod's worker. [Prober.Hook] runs a container's lifecycle hooks,
// which ask in the same ways.
//
// # Concurrency
//
// Run has one goroutine for each of the container's probes and ends when all of them have. It calls
// report once at a time.
package probes

import (
	"context"
	"net/netip"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/clock"
)

// Kind is what a probe asks, as event messages begin.
type Kind string

// The three kinds. Until the startup probe has passed, the others do not ask.
const (
	Startup   Kind = "Startup"
	Liveness  Kind = "Liveness"
	Readiness Kind = "Readiness"
)

// Config is what a Prober needs.
type Config struct {
	// Exec runs a command in a container and returns what it printed, to both outputs. An exit code
	// other than 0 is no error; err satisfies errors.Is(err, context.DeadlineExceeded), or is that
	// gRPC status, if the command took longer than timeout.
	Exec  func(ctx context.Context, containerID string, command []string, timeout time.Duration) (output []byte, exitCode int32, err error)
	Clock clock.Clock
}

// Prober runs probes.
type Prober struct{ cfg Config }

// New returns a Prober.
func New(cfg Config) *Prober { return &Prober{cfg} }

// Target is one running container.
type Target struct {
	Pod         *corev1.Pod
	Container   *corev1.Container
	ContainerID string
	IPs         []netip.Addr // status.podIPs; the first is asked (D3.7)
	Started     time.Time    // when the container started
	// StartupDone: its startup probe has passed before, and the agent has been started anew.
	StartupDone bool
}

// Result is what one attempt found.
type Result struct {
	Kind   Kind
	Passed bool
	// Changed: enough attempts agree for the container's state to change. Before the first change
	// a container is alive, not ready if it has a readiness probe, and not started if it has a
	// startup probe. A container that failed its liveness or startup probe is not asked again.
	Changed bool
	// Reason and Message are the event to report, empty for none.
	Reason, Message string
	// Grace is the probe's terminationGracePeriodSeconds: how long a container that failed may take
	// to stop, nil for as long as its Pod says.
	Grace *int64
}

// Reasons of events.
const (
	reasonUnhealthy = "Unhealthy"
	reasonWarning   = "ProbeWarning"
)

// Run asks until ctx ends or nothing is left to ask. Readiness is asked for at once when the
// container has started, unless it asks for a delay.
func (p *Prober) Run(ctx context.Context, t Target, report func(Result)) {
	var reporting sync.Mutex
	one := func(r Result) {
		reporting.Lock()
		defer reporting.Unlock()
		if ctx.Err() == nil { // what a container says that is being stopped does not count
			report(r)
		}
	}
	started := make(chan struct{})
	var wg sync.WaitGroup
	if probe := t.Container.StartupProbe; probe == nil || t.StartupDone {
		close(started)
	} else {
		wg.Go(func() {
			if w := newWorker(p, t, Startup, probe, one); w.run(ctx) {
				close(started)
			}
		})
	}
	for kind, probe := range map[Kind]*corev1.Probe{Liveness: t.Container.LivenessProbe, Readiness: t.Container.ReadinessProbe} {
		if probe == nil {
			continue
		}
		wg.Go(func() {
			select {
			case <-started:
				newWorker(p, t, kind, probe, one).run(ctx)
			case <-ctx.Done():
			}
		})
	}
	wg.Wait()
}
