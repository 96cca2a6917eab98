// Package background runs a component and its informers in the background of a test.
//
// It does not know what the component does, and it makes no API: that is a fake of client-go, or a real
// one. Only tests import it.
//
// Concurrency: for the goroutine of the test.
package background

import (
	"context"
	"sync"
	"testing"
)

// Informers is a factory of any kind, as [k8s.io/client-go/informers.SharedInformerFactory].
type Informers interface {
	StartWithContext(ctx context.Context)
	Shutdown()
}

// Run starts informers (nil for none) and run, a component's Run, until stop is called or the test
// ends. Stop returns when all goroutines are gone; the test fails if run does.
func Run(t testing.TB, informers Informers, run func(context.Context) error) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	if informers != nil {
		informers.StartWithContext(ctx)
	}
	done := make(chan error, 1)
	go func() { done <- run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
		if informers != nil {
			informers.Shutdown()
		}
	})
	t.Cleanup(stop)
	return stop
}
