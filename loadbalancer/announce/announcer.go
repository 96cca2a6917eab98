package announce

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"reflect"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
	"k8s.io/klog/v2"

	"github.com/duetk8s/duet/controllers/byservice"
	"github.com/duetk8s/duet/controllers/listen"
	"github.com/duetk8s/duet/hostnet"
	"github.com/duetk8s/duet/hostnet/neighbor"
)

// Deps are what the announcer works with. The caller starts the informers after New, but for Lease,
// which is run by Run.
type Deps struct {
	Services, EndpointSlices, Nodes cache.SharedIndexInformer
	// Lease has the node's own Lease only: the node's sign of life to the API server, which comes back
	// by this watch, is a sign of the API server's.
	Lease  cache.SharedIndexInformer
	Events record.EventRecorder
}

// Config says which node this is.
type Config struct {
	Node string
	// Cluster is what clusters have not in common.
	Cluster [8]byte
	// Host is the machine; nil: the real one.
	Host Host
}

// Host is what the announcer needs of the machine.
type Host interface {
	// Find returns the link that has an address, and its hardware address; false if no link that is up
	// has it.
	Find(addr netip.Addr) (index int, station string, ok bool, err error)
	// Open opens a link.
	Open(index int, hearer neighbor.Hearer) (Link, error)
	// Watch calls changed after every change of links and addresses, until ctx ends.
	Watch(ctx context.Context, changed func()) error
}

// Link is what *neighbor.Link does.
type Link interface {
	Run(ctx context.Context) error
	Answer(addrs []netip.Addr) error
	Announce(addr netip.Addr) error
	Beat(payload []byte) error
}

// Announcer answers for the addresses that are this node's to answer for.
type Announcer struct {
	deps     Deps
	config   Config
	slices   byservice.Slices
	listener listen.Listener
	wake     chan struct{} // capacity 1
	news     chan func()   // from the link, for Run's goroutine

	mu       sync.Mutex
	services map[string]bool // changed ones, by namespace/name
	nodes    bool            // changed
	moved    bool            // links or addresses of the machine have changed
	contact  time.Time       // with the API server

	// Below: Run's alone.
	claims  map[string]Claim
	members map[string]member
	open    *opened // nil: not on a link
}

// New registers with the informers.
func New(deps Deps, config Config) (*Announcer, error) {
	a := &Announcer{
		deps: deps, config: config, wake: make(chan struct{}, 1), news: make(chan func(), 64),
		services: map[string]bool{}, claims: map[string]Claim{}, members: map[string]member{},
	}
	if a.config.Host == nil {
		a.config.Host = machine{}
	}
	var err error
	if a.slices, err = byservice.New(deps.EndpointSlices); err != nil {
		return nil, fmt.Errorf("announce: %w", err)
	}
	changed := func(service string) { a.note(func() { a.services[service] = true }) }
	a.listener.To(deps.Services, listen.Keys(changed))
	a.listener.To(deps.EndpointSlices, listen.Objects(func(s *discoveryv1.EndpointSlice) {
		if key := byservice.Key(s); key != "" {
			changed(key)
		}
	}))
	a.listener.To(deps.Nodes, listen.Keys(func(string) { a.note(func() { a.nodes = true }) }))
	var contact listen.Listener // a Lease that cannot be read keeps nobody waiting
	contact.To(deps.Lease, listen.Keys(func(string) { a.note(func() { a.contact = time.Now() }) }))
	if err := errors.Join(a.listener.Err(), contact.Err()); err != nil {
		return nil, fmt.Errorf("announce: %w", err)
	}
	return a, nil
}

// note changes what Run has to look at, and wakes it.
func (a *Announcer) note(change func()) {
	a.mu.Lock()
	change()
	a.mu.Unlock()
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// Run answers until ctx ends, and for nothing afterwards.
func (a *Announcer) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var group sync.WaitGroup
	defer group.Wait()
	defer cancel()
	defer a.leave()
	group.Go(func() { a.deps.Lease.RunWithContext(ctx) })
	watch := make(chan error, 1)
	group.Go(func() { watch <- a.config.Host.Watch(ctx, func() { a.note(func() { a.moved = true }) }) })
	if !a.listener.Synced(ctx) {
		return nil
	}
	a.note(func() { a.nodes, a.contact = true, time.Now() })
	for {
		var tick <-chan time.Time
		if a.open != nil {
			tick = a.open.ticker.C
		}
		select {
		case <-ctx.Done():
			return nil
		case err := <-watch:
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("announce: %w", err)
		case <-a.wake:
			a.look(ctx)
		case hear := <-a.news:
			hear()
		case <-tick:
			a.open.tick(ctx)
		}
	}
}

// look takes up what has changed.
func (a *Announcer) look(ctx context.Context) {
	a.mu.Lock()
	services, nodes, moved := a.services, a.nodes, a.moved
	a.services, a.nodes, a.moved = map[string]bool{}, false, false
	a.mu.Unlock()
	var changed []string
	for key := range services {
		if a.lookAt(key) {
			changed = append(changed, key)
		}
	}
	all := nodes && a.lookAtNodes()
	switch {
	case all, len(changed) > 0, moved && a.open == nil:
		a.place(ctx)
	case moved: // as every Pod does that comes or goes
		a.open.moved = true
	}
	switch {
	case a.open == nil:
	case all:
		a.open.electAll(ctx)
	case len(changed) > 0:
		a.open.elect(ctx, changed)
	}
}

// lookAt takes up a Service, and tells whether that matters.
func (a *Announcer) lookAt(key string) bool {
	var now Claim
	claims := false
	if o, exists, err := a.deps.Services.GetStore().GetByKey(key); err == nil && exists {
		now, claims = ClaimOf(o.(*corev1.Service), a.slices.Of(key))
	}
	before, claimed := a.claims[key]
	if claims {
		a.claims[key] = now
	} else {
		delete(a.claims, key)
	}
	return claims != claimed || !reflect.DeepEqual(before, now)
}

func (a *Announcer) lookAtNodes() bool {
	now := map[string]member{}
	for _, o := range a.deps.Nodes.GetStore().List() {
		n := o.(*corev1.Node)
		now[n.Name] = memberOf(n)
	}
	changed := !reflect.DeepEqual(now, a.members)
	a.members = now
	return changed
}

// place goes to the link that has the node's primary address, while there is anything to answer for,
// and leaves any other.
func (a *Announcer) place(ctx context.Context) {
	index, station, ok := 0, "", false
	if own := a.members[a.config.Node].addresses; len(a.claims) > 0 && len(own) > 0 {
		var err error
		if index, station, ok, err = a.config.Host.Find(own[0]); err != nil {
			klog.FromContext(ctx).Error(err, "Cannot find the link of the node's address, where load balancers are answered for")
			a.again()
			return
		}
	}
	if a.open != nil && ok && a.open.index == index && a.open.station == station {
		return
	}
	a.leave()
	if !ok {
		return
	}
	if err := a.enter(ctx, index, station); err != nil {
		klog.FromContext(ctx).Error(err, "Cannot answer for load balancers")
		a.again()
	}
}

// again has the link looked for once more in a while.
func (a *Announcer) again() {
	time.AfterFunc(time.Second, func() { a.note(func() { a.moved = true }) })
}

// machine is the real one.
type machine struct{}

func (machine) Find(addr netip.Addr) (index int, station string, ok bool, err error) {
	state, err := hostnet.Read()
	if err != nil {
		return 0, "", false, err
	}
	for _, a := range state.Addresses {
		if a.Prefix.Addr() != addr {
			continue
		}
		ifi, err := net.InterfaceByIndex(a.Index)
		if err != nil {
			return 0, "", false, nil //nolint:nilerr // it has gone meanwhile
		}
		return a.Index, ifi.HardwareAddr.String(), true, nil
	}
	return 0, "", false, nil
}

func (machine) Open(index int, hearer neighbor.Hearer) (Link, error) {
	return neighbor.Open(index, hearer)
}

func (machine) Watch(ctx context.Context, changed func()) error { return hostnet.Watch(ctx, changed) }
