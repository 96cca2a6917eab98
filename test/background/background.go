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

	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"
)

// Informers is a factory of any kind, as [k8s.io/client-go/informers.SharedInformerFactory].
type Informers interface {
	StartWithContext(ctx context.Context)
	Shutdown()
}

// Each has informers that come from no factory run together.
func Each(informers ...cache.SharedIndexInformer) Informers { return &each{informers: informers} }

type each struct {
	informers []cache.SharedIndexInformer
	group     sync.WaitGroup
}

func (e *each) StartWithContext(ctx context.Context) {
	for _, i := range e.informers {
		e.group.Go(func() { i.RunWithContext(ctx) })
	}
}

func (e *each) Shutdown() { e.group.Wait() }

// Synced starts informers and returns when they have all that there is. They go on until stop is called
// or the test ends.
func Synced(t testing.TB, factory informers.SharedInformerFactory) (stop func()) {
	t.Helper()
	stop = Run(t, factory, func(ctx context.Context) error { <-ctx.Done(); return nil })
	factory.WaitForCacheSyncWithContext(t.Context())
	return stop
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
