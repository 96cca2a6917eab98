package kubernetesservice

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"time"

	networkinginformers "k8s.io/client-go/informers/networking/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"

	"github.com/duetk8s/duet/controllers/listen"
	"github.com/duetk8s/duet/controllers/queue"
)

// leaveTimeout bounds the good-bye of a server that stops.
const leaveTimeout = time.Second

// Deps is what the controller acts through. The caller starts the informer after New.
type Deps struct {
	Client kubernetes.Interface
	CIDRs  networkinginformers.ServiceCIDRInformer
	Events record.EventRecorder
}

// Config comes from the server's flags.
type Config struct {
	// Ranges are the Service ranges in flag order, one or two of different families.
	Ranges []netip.Prefix
	// Advertise are this server's addresses. The one in the family of the first range becomes an
	// endpoint of default/kubernetes.
	Advertise []netip.Addr
	// Port on which this server serves.
	Port int32
	// Shared is true when other servers may use the same etcd. False spares the Lease.
	Shared bool
}

// Controller keeps the objects.
type Controller struct {
	deps     Deps
	config   Config
	flags    []string // Ranges as text
	address  netip.Addr
	queue    *queue.Queue[struct{}]
	listener listen.Listener // to ServiceCIDRs
	now      func() time.Time

	reported map[string]bool // reasons of events, each sent once per process (B4.2); only the worker touches it
}

// New checks the configuration and registers with the informer.
func New(deps Deps, config Config) (*Controller, error) {
	c := &Controller{deps: deps, config: config, now: time.Now, reported: map[string]bool{}}
	if len(config.Ranges) == 0 {
		return nil, errors.New("no Service range")
	}
	for _, r := range config.Ranges {
		c.flags = append(c.flags, r.Masked().String())
	}
	for _, a := range config.Advertise {
		if a.Is4() == config.Ranges[0].Addr().Is4() {
			c.address = a
			break
		}
	}
	if !c.address.IsValid() {
		return nil, fmt.Errorf("service IP family %q must match public address family %q", c.flags[0], addresses(config.Advertise))
	}
	c.queue = queue.New(func(ctx context.Context, _ struct{}) error {
		return (&pass{Controller: c, client: deps.Client}).all(ctx)
	})
	c.listener.To(deps.CIDRs.Informer(), c.wake())
	return c, c.listener.Err()
}

// Ensure makes what is missing, for a server that is about to become ready. With a client that
// stays inside the process it takes a few milliseconds.
//
// A Service that the API refuses, because its address is taken or in no range just now, is left
// to Run and is no error: a cluster in the middle of a change of ranges (B4.10) must start.
func (c *Controller) Ensure(ctx context.Context, client kubernetes.Interface) error {
	return (&pass{Controller: c, client: client, starting: true}).all(ctx)
}

// Run keeps the objects until ctx ends, and returns when all goroutines are gone. If there may be
// other servers it says good-bye to them first, and returns an error if that failed.
func (c *Controller) Run(ctx context.Context) error {
	var group sync.WaitGroup
	for _, informer := range c.informers() {
		if _, err := informer.AddEventHandler(c.wake()); err != nil {
			return fmt.Errorf("watch the objects of Service kubernetes: %w", err)
		}
		group.Go(func() { informer.RunWithContext(ctx) })
	}
	if c.config.Shared {
		group.Go(func() { c.renewal(ctx) })
	}
	c.listener.Synced(ctx)
	c.queue.Add(struct{}{})
	c.queue.Run(ctx, 1)
	group.Wait()
	if c.config.Shared {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveTimeout)
		defer cancel()
		return (&pass{Controller: c, client: c.deps.Client}).leave(ctx)
	}
	return nil
}

// renewal has the Lease renewed and the other servers' looked at.
func (c *Controller) renewal(ctx context.Context) {
	ticker := time.NewTicker(renewEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			c.queue.Add(struct{}{})
		}
	}
}

// wake asks for a look at everything whenever anything happens to one of the objects. There are
// few of them and they hardly ever change.
func (c *Controller) wake() cache.ResourceEventHandler {
	return listen.Keys(func(string) { c.queue.Add(struct{}{}) })
}

func addresses(list []netip.Addr) string {
	text := make([]string, len(list))
	for i, a := range list {
		text[i] = a.String()
	}
	return strings.Join(text, ",")
}
