package servicecidr

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/klog/v2"
)

// lostRetry is how long to wait after a watch broke without telling the witness's fate.
const lostRetry = 200 * time.Millisecond

// errLost says that a watch ended without an answer.
var errLost = errors.New("watch ended")

// wait is a ServiceCIDR's waiting for one address that stands in its way.
type wait struct {
	uid   types.UID // of the ServiceCIDR
	guard guard     // under which the witness was found
	stop  context.CancelFunc
}

// stillHeld reports whether the witness of cidr is still there and the reason why it counts
// has not changed, so that there is nothing to find out.
func (c *Controller) stillHeld(cidr *networkingv1.ServiceCIDR) bool {
	c.mu.Lock()
	w := c.waits[cidr.Name]
	c.mu.Unlock()
	if w == nil || w.uid != cidr.UID {
		return false
	}
	all, _ := c.deps.CIDRs.Lister().List(labels.Everything()) // reads memory, cannot fail
	now, err := guardOf(cidr, all)
	return err == nil && now.equal(w.guard)
}

// waitFor has the ServiceCIDR looked at again when witness, seen at revision, is gone. It
// replaces an earlier wait. One worker at a time calls it for a name, by grace of the queue.
func (c *Controller) waitFor(ctx context.Context, cidr *networkingv1.ServiceCIDR, g guard, witness netip.Addr, revision string) {
	c.stopWaiting(cidr.Name)
	ctx, stop := context.WithCancel(ctx)
	w := &wait{uid: cidr.UID, guard: g, stop: stop}
	c.mu.Lock()
	c.waits[cidr.Name] = w
	c.mu.Unlock()
	c.waiting.Go(func() {
		defer stop()
		err := c.untilGone(ctx, witness, revision)
		if !c.forget(cidr.Name, w) {
			return // replaced or not needed any more
		}
		if err != nil {
			klog.FromContext(ctx).V(2).Info("Lost sight of an address in the way", "serviceCIDR", cidr.Name, "address", witness, "err", err)
			c.queue.AddAfter(cidr.Name, lostRetry)
			return
		}
		c.queue.Add(cidr.Name)
	})
}

func (c *Controller) stopWaiting(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if w := c.waits[name]; w != nil {
		delete(c.waits, name)
		w.stop()
	}
}

// forget reports whether w was still the current wait.
func (c *Controller) forget(name string, w *wait) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.waits[name] != w {
		return false
	}
	delete(c.waits, name)
	return true
}

// untilGone returns nil when the address, seen at revision, is deleted or not a Service's any
// more: the server reports an object that leaves the selector as deleted.
func (c *Controller) untilGone(ctx context.Context, addr netip.Addr, revision string) error {
	name := addr.String()
	w, err := c.deps.Client.NetworkingV1().IPAddresses().Watch(ctx, metav1.ListOptions{
		ResourceVersion: revision, LabelSelector: managed,
		FieldSelector: fields.OneTermEqualSelector(metav1.ObjectNameField, name).String(),
	})
	if err != nil {
		return fmt.Errorf("watch IPAddress %s: %w", name, err)
	}
	defer w.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case event, open := <-w.ResultChan():
			if !open || event.Type == watch.Error {
				return fmt.Errorf("watch IPAddress %s: %w", name, errLost)
			}
			if ip, ok := event.Object.(*networkingv1.IPAddress); ok && ip.Name == name && event.Type == watch.Deleted {
				return nil
			}
		}
	}
}
