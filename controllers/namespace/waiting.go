package namespace

import (
	"context"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/klog/v2"
)

// What is left of a namespace is counted again at once when the last object of a kind went, and
// otherwise so seldom that a thousand pods going one by one do not mean a thousand counts.
const (
	recountAfterDelete = 100 * time.Millisecond
	recountAfterUpdate = time.Second // a finalizer may be off
	recountAfterLoss   = time.Second // the watch broke
)

// waitFor has the namespace looked at again when something of what is left goes. It ends with
// the next look.
func (c *Controller) waitFor(ctx context.Context, name string, left []remainder) {
	ctx, stop := context.WithCancel(ctx)
	c.mu.Lock()
	c.waits[name] = stop
	c.mu.Unlock()
	for _, r := range left {
		c.waiting.Go(func() { c.watch(ctx, name, r) })
	}
}

func (c *Controller) stopWaiting(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if stop, ok := c.waits[name]; ok {
		delete(c.waits, name)
		stop()
	}
}

func (c *Controller) watch(ctx context.Context, name string, r remainder) {
	w, err := c.deps.Metadata.Resource(r.kind.GroupVersionResource).Namespace(name).Watch(ctx, metav1.ListOptions{ResourceVersion: r.revision})
	if err != nil {
		if ctx.Err() == nil {
			klog.FromContext(ctx).V(2).Info("Cannot watch what is left", "namespace", name, "resource", r.kind.Resource, "err", err)
			c.queue.AddAfter(name, recountAfterLoss)
		}
		return
	}
	defer w.Stop()
	for left := r.objects; ; {
		select {
		case <-ctx.Done():
			return
		case event, open := <-w.ResultChan():
			switch {
			case !open || event.Type == watch.Error:
				c.queue.AddAfter(name, recountAfterLoss)
				return
			case event.Type == watch.Modified:
				c.queue.AddAfter(name, recountAfterUpdate)
			case event.Type == watch.Added:
				left++
			case event.Type == watch.Deleted:
				if left--; left <= 0 {
					c.queue.Add(name)
					return
				}
				c.queue.AddAfter(name, recountAfterDelete)
			}
		}
	}
}
