package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	"github.com/duetk8s/duet/controllers/byservice"
	"github.com/duetk8s/duet/controllers/listen"
	"github.com/duetk8s/duet/nft"
)

// What fails is tried again after these times.
const retryFirst, retryLast = 100 * time.Millisecond, 30 * time.Second

// Deps are what the proxy is told by. The caller runs the informers.
type Deps struct {
	Services, EndpointSlices, ServiceCIDRs, Nodes cache.SharedIndexInformer
}

// Config says which node this is.
type Config struct {
	Node string
	// Open opens the table; nil: the real one, in the network namespace of the calling thread.
	Open func() (Table, error)
	// Host is the machine; nil: the real one.
	Host Host
	// Observer is told how the proxy keeps up; nil: nobody.
	Observer Observer
}

// Table is what the proxy writes to. *nft.Table is one.
type Table interface {
	io.Closer
	// Rebuild replaces what is there, whatever it is, in one transaction, as Apply is one.
	Rebuild(s nft.Schema, elements map[string][]nft.Element) error
	// Apply changes what is there; it fails as a whole when that is not what it should be.
	Apply(c nft.Changes) error
	// Intact tells whether the rules are still those that were written.
	Intact() (bool, error)
	// Elements calls each for all of a set.
	Elements(set string, each func(nft.Element)) error
	// Watch calls changed when somebody else changes the table, until ctx ends.
	Watch(ctx context.Context, changed func()) error
}

// Proxy keeps a node's table.
type Proxy struct {
	deps     Deps
	config   Config
	slices   byservice.Slices
	listener listen.Listener
	changed  chan struct{} // capacity 1

	mu     sync.Mutex
	dirty  map[string]bool // Services, by namespace/name
	wide   bool            // what is not a Service's
	links  bool            // of the machine, or their addresses
	taken  bool            // somebody else has changed the table
	rested time.Time       // until then it is not compared

	// Below: Run's alone.
	services map[string]*service
	numbers  numbers
	classes  classes
	ledger   *ledger
	ranges   map[string][]netip.Prefix // by set
	stale    bool                      // the table is not known to be what the ledger says
	table    Table
	ways     ways
	flows    *flows
	suspects suspects // what flows is to be told of once it is written
	// closed are the ranges of ClusterIPs where the table has dropped all that it does not translate since
	// flows was last told of them: no flow there has to be suspected of having begun before its Service.
	closed []netip.Prefix

	unanswered *unanswered
	gone       map[netip.AddrPort]bool // what unanswered is to be told of once it is written

	unchecked []checked // sets that are still to be compared
}

// New registers with the informers.
func New(deps Deps, config Config) (*Proxy, error) {
	p := &Proxy{
		deps: deps, config: config, changed: make(chan struct{}, 1), dirty: map[string]bool{}, wide: true,
		services: map[string]*service{}, numbers: numbers{used: map[uint32]bool{}}, classes: classes{numbers: map[sticky]uint32{}},
		ledger: newLedger(), ranges: map[string][]netip.Prefix{}, stale: true, suspects: suspects{}, gone: map[netip.AddrPort]bool{},
	}
	if p.config.Host == nil {
		p.config.Host = machine{}
	}
	if p.config.Observer == nil {
		p.config.Observer = unobserved{}
	}
	p.flows = &flows{host: p.config.Host, ready: make(chan struct{}, 1), wrong: suspects{}}
	p.unanswered = &unanswered{host: p.config.Host, ready: make(chan struct{}, 1), gone: map[netip.AddrPort]bool{}}
	p.ways = ways{host: p.config.Host, to: map[netip.Prefix]bool{}, stale: true}
	if p.config.Open == nil {
		p.config.Open = func() (Table, error) { return nft.Open(TableName) }
	}
	var err error
	if p.slices, err = byservice.New(deps.EndpointSlices); err != nil {
		return nil, fmt.Errorf("proxy: %w", err)
	}
	p.listener.To(deps.Services, observed(func(_, _ any) { p.config.Observer.ServiceChanged() }, listen.Keys(p.mark)))
	p.listener.To(deps.EndpointSlices, observed(p.sliceChanged, listen.Both(func(s *discoveryv1.EndpointSlice) { p.mark(byservice.Key(s)) })))
	p.listener.To(deps.ServiceCIDRs, listen.Keys(func(string) { p.markWide() }))
	p.listener.To(deps.Nodes, listen.Keys(func(name string) {
		if name == config.Node {
			p.markWide()
		}
	}))
	if err := p.listener.Err(); err != nil {
		return nil, fmt.Errorf("proxy: %w", err)
	}
	return p, nil
}

func (p *Proxy) mark(key string) {
	if key == "" {
		return
	}
	p.mu.Lock()
	p.dirty[key] = true
	p.mu.Unlock()
	p.wake()
}

func (p *Proxy) markWide() {
	p.mu.Lock()
	p.wide = true
	p.mu.Unlock()
	p.wake()
}

func (p *Proxy) markLinks() {
	p.mu.Lock()
	p.links = true
	p.mu.Unlock()
	p.wake()
}

// markTaken has the table compared, at once unless that has just been done.
func (p *Proxy) markTaken() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.taken {
		return
	}
	p.taken = true
	if wait := time.Until(p.rested); wait > 0 {
		time.AfterFunc(wait, p.wake)
	} else {
		p.wake()
	}
}

// rest keeps two proxies in one network namespace, or whoever else insists on a table of his own, from
// taking more than a fifth of a processor. What came meanwhile is looked at afterwards.
func (p *Proxy) rest(since time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	wait := 4 * time.Since(since)
	p.rested = time.Now().Add(wait)
	if p.taken {
		time.AfterFunc(wait, p.wake)
	}
}

func (p *Proxy) wake() {
	select {
	case p.changed <- struct{}{}:
	default:
	}
}

// Run keeps the table until ctx ends, and leaves it: connections go on without the proxy. What fails
// is logged and tried again; the error says that the machine cannot be watched at all.
func (p *Proxy) Run(ctx context.Context) error {
	table, err := p.config.Open()
	if err != nil {
		return fmt.Errorf("proxy: %w", err)
	}
	p.table = table
	defer table.Close()
	if !p.listener.Synced(ctx) {
		return nil
	}
	ctx, cancel := context.WithCancel(ctx)
	var group sync.WaitGroup
	defer group.Wait()
	defer cancel()
	watch := make(chan error, 2)
	group.Go(func() { watch <- p.config.Host.WatchLinks(ctx, p.markLinks) })
	group.Go(func() { watch <- table.Watch(ctx, p.markTaken) })
	group.Go(func() { p.flows.run(ctx) })
	group.Go(func() { p.unanswered.run(ctx) })
	resync := time.NewTicker(resyncEvery)
	defer resync.Stop()
	retry := time.NewTimer(0)
	defer retry.Stop()
	backoff := retryFirst
	for {
		var idle chan struct{}
		if len(p.unchecked) > 0 {
			idle = closed
		}
		select {
		case <-ctx.Done():
			return nil
		case err := <-watch:
			return err
		case <-resync.C:
			p.markTaken()
			p.markLinks()
			continue
		case <-p.changed:
		case <-retry.C:
		case <-idle:
		}
		began := time.Now()
		err := p.sync(ctx)
		p.config.Observer.Synced(began, len(p.ledger.held), err)
		if err != nil {
			klog.FromContext(ctx).Error(err, "Services not as wanted, trying again", "in", backoff)
			retry.Reset(backoff)
			backoff = min(2*backoff, retryLast)
			continue
		}
		backoff = retryFirst
	}
}

// closed is always ready.
var closed = func() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

// sync writes all that has changed, what is in the table in one transaction. Routes are last: until
// the table knows an address its packets must not leave.
func (p *Proxy) sync(ctx context.Context) error {
	p.mu.Lock()
	dirty, wide, links := p.dirty, p.wide, p.links
	p.dirty, p.wide, p.links = map[string]bool{}, false, false
	taken := p.taken && !time.Now().Before(p.rested)
	p.taken = p.taken && !taken
	p.mu.Unlock()
	if taken {
		defer p.rest(time.Now())
		p.compare(ctx)
	}
	for _, key := range slices.Sorted(maps.Keys(dirty)) {
		p.look(key)
	}
	var ranges nft.Changes
	if wide {
		ranges = p.lookWide()
	}
	changes := p.ledger.changes(&p.classes)
	maps.Copy(changes.Add, ranges.Add)
	maps.Copy(changes.Remove, ranges.Remove)
	if err := p.write(changes.Changes); err != nil {
		return err
	}
	p.ledger.written()
	p.flows.forget(p.suspects, p.newlyClosed())
	p.suspects = suspects{}
	p.unanswered.leave(p.gone)
	clear(p.gone)
	p.ways.stale = p.ways.stale || links
	err := p.ways.write(changes.came, changes.went)
	if len(p.unchecked) > 0 {
		err = errors.Join(err, p.check(ctx))
	}
	return err
}

// write changes the table, or replaces it if it is not what it should be.
func (p *Proxy) write(c nft.Changes) error {
	if !p.stale {
		if empty(c) {
			return nil
		}
		err := p.table.Apply(c)
		if err == nil {
			return nil
		}
		p.stale = true
		if !nft.IsOutOfStep(err) {
			return err
		}
	}
	return p.rebuild()
}

func empty(c nft.Changes) bool {
	return len(c.Add)+len(c.Remove)+len(c.AddChains)+len(c.RemoveChains)+len(c.AddSets)+len(c.RemoveSets) == 0
}

// look takes up a Service as it is now.
func (p *Proxy) look(key string) {
	var ports []Port
	if o, ok, err := p.deps.Services.GetStore().GetByKey(key); err == nil && ok {
		ports = Ports(o.(*corev1.Service), p.slices.Of(key), p.config.Node)
	}
	p.take(key, ports)
}

// take enters into the ledger what a Service wants now.
func (p *Proxy) take(key string, ports []Port) {
	s := p.services[key]
	if s == nil {
		s = &service{}
	}
	old := s.entries
	var gone []netip.AddrPort
	s.entries, gone = s.want(ports, &p.numbers, &p.classes)
	for _, e := range gone {
		p.gone[e] = true
	}
	p.ledger.replace(old, s.entries)
	now := fronts(ports)
	p.suspects.compare(key, s.fronts, now, p.closed)
	s.fronts = now
	if len(s.entries) == 0 {
		delete(p.services, key)
	} else {
		p.services[key] = s
	}
}

// rebuild writes everything.
func (p *Proxy) rebuild() error {
	p.closed = nil // who knows what was there meanwhile
	s, c := schema(), p.ledger.everything(&p.classes)
	s.Chains = append(s.Chains, c.AddChains...)
	s.Sets = append(s.Sets, c.AddSets...)
	for name, list := range p.ranges {
		if elements := nft.Ranges(list); len(elements) > 0 {
			c.Add[name] = elements
		}
	}
	if err := p.table.Rebuild(s, c.Add); err != nil {
		return err
	}
	p.stale = false
	return nil
}
