// Package queue runs a controller's reconcile function over keys: a key that is added while it is
// being worked on is worked on once more, a key that failed comes back later and later.
//
// It knows nothing about objects. Every package under controllers may import it.
//
// Concurrency: all methods may be called from anywhere. One key is never worked on twice at a time.
package queue

import (
	"context"
	"fmt"
	"sync"
	"time"

	"k8s.io/client-go/util/workqueue"
	"k8s.io/klog/v2"
)

// How long a key that failed waits: doubling from first to last. A conflict is usually settled
// by the next watch event, a few milliseconds away.
const (
	firstRetry = 5 * time.Millisecond
	lastRetry  = 30 * time.Second
)

// patience is how many failures of a key in a row make a line in the log: the first after 5 s,
// then one in about 5 min.
const patience = 10

// Sync brings what key names to its wanted state. An error makes the key come back.
type Sync[K comparable] func(ctx context.Context, key K) error

// Queue is a set of keys to be worked on.
type Queue[K comparable] struct {
	keys workqueue.TypedRateLimitingInterface[K]
	sync Sync[K]
}

// New returns an empty queue. Keys may be added before Run.
func New[K comparable](sync Sync[K]) *Queue[K] {
	limiter := workqueue.NewTypedItemExponentialFailureRateLimiter[K](firstRetry, lastRetry)
	return &Queue[K]{keys: workqueue.NewTypedRateLimitingQueue(limiter), sync: sync}
}

// Add asks for key to be worked on now.
func (q *Queue[K]) Add(key K) { q.keys.Add(key) }

// AddAfter asks for key to be worked on after a while; of several such wishes the first counts.
func (q *Queue[K]) AddAfter(key K, wait time.Duration) { q.keys.AddAfter(key, wait) }

// Run works with the given number of workers until ctx ends, and returns when they are gone.
// A queue runs once; with a ctx that has ended it only frees what the queue holds.
func (q *Queue[K]) Run(ctx context.Context, workers int) {
	var group sync.WaitGroup
	for range workers {
		group.Go(func() {
			for q.next(ctx) {
			}
		})
	}
	<-ctx.Done()
	q.keys.ShutDown()
	group.Wait()
}

// next works on one key and reports whether there may be more.
func (q *Queue[K]) next(ctx context.Context) bool {
	key, stop := q.keys.Get()
	if stop {
		return false
	}
	defer q.keys.Done(key)
	if ctx.Err() != nil {
		return true // shutting down: drop what is left
	}
	if err := q.sync(ctx, key); err != nil {
		q.complain(ctx, key, err)
		q.keys.AddRateLimited(key)
		return true
	}
	q.keys.Forget(key)
	return true
}

// complain logs what keeps failing: conflicts come and go and are nobody's business, but what
// failed many times in a row needs somebody's attention.
func (q *Queue[K]) complain(ctx context.Context, key K, err error) {
	logger := klog.FromContext(ctx).WithValues("key", fmt.Sprint(key))
	switch n := q.keys.NumRequeues(key); {
	case ctx.Err() != nil:
	case n%patience == patience-1:
		logger.Error(err, "Keeps failing, will try again", "failures", n+1)
	default:
		logger.V(2).Info("Will try again", "err", err)
	}
}
