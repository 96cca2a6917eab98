package queue_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/duetk8s/duet/controllers/queue"
)

func TestFailedKeyComesBackAndRunEnds(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	var tries atomic.Int32
	q := queue.New(func(_ context.Context, key string) error {
		if key != "a" {
			t.Errorf("key %q", key)
		}
		if tries.Add(1) < 3 {
			return errors.New("not yet")
		}
		cancel()
		return nil
	})
	q.Add("a")
	q.Run(ctx, 2)
	if got := tries.Load(); got != 3 {
		t.Errorf("%d tries, want 3", got)
	}
}
