package clusterip

import (
	"cmp"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"

	"github.com/duetk8s/duet/dualstack"
)

// Config is what a Space is told once. It is not checked: flags are, where they are read.
type Config struct {
	// Families are the families of the Service ranges in flag order. The first is the default
	// family; a family that is missing here is not configured, whatever ServiceCIDRs say (B4.9).
	Families []dualstack.Family
	// NodePorts is the range of node ports. Zero means DefaultNodePorts.
	NodePorts PortRange
	// Rand returns a number below n, for n > 0. It decides where a search for a free number
	// begins, nothing else, and must be safe for concurrent use. Nil means math/rand/v2.
	Rand func(n uint64) uint64
}

// Range is one ServiceCIDR.
type Range struct {
	// Name of the ServiceCIDR. Ranges are tried in the order of names.
	Name string
	// Prefixes are its one or two CIDRs.
	Prefixes []netip.Prefix
	// Ready says that addresses may be taken from it (B6.1, B6.14). One that is not still counts
	// in Usage.
	Ready bool
	// Revision of the ServiceCIDR object in etcd, for Guard.
	Revision int64
}

// Change says that a key came or went. Exactly one of Addr and Port is set.
type Change struct {
	Addr  netip.Addr
	Port  int32
	Taken bool
}

// Usage counts one prefix of one ServiceCIDR. Total and Free saturate, see span.total.
type Usage struct {
	Name              string
	Prefix            netip.Prefix
	Ready             bool
	Used, Free, Total uint64
}

// Space is what is known about Service addresses and node ports: the ranges, and what is taken.
// One set of taken addresses serves all ranges and both families, so ranges that overlap agree.
type Space struct {
	families  []dualstack.Family
	nodePorts PortRange
	random    func(uint64) uint64

	mu    sync.RWMutex // guards all below
	pools []pool       // one for each prefix, by name of its ServiceCIDR, then in its order
	addrs tracked
	ports tracked
	// usedPorts counts the taken ports of the range, as pool.used counts addresses.
	usedPorts uint64
}

// A pool is one prefix of one ServiceCIDR, with a count of what is taken of it.
type pool struct {
	owner  Range
	prefix netip.Prefix
	span   span
	empty  bool // no usable address at all, B6.2
	used   uint64
}

func (p *pool) contains(n number) bool { return !p.empty && p.span.contains(n) }

func (p *pool) total() uint64 {
	if p.empty {
		return 0
	}
	return p.span.total()
}

// offers reports whether p may give an address of f.
func (p *pool) offers(f dualstack.Family) bool {
	return p.owner.Ready && !p.empty && dualstack.OfPrefix(p.prefix) == f
}

// tracked is a set with the revision of the last change that a watch brought.
type tracked struct {
	taken  set
	rev    int64
	listed bool
}

// NewSpace returns a Space without ranges in which nothing is taken.
func NewSpace(c Config) *Space {
	s := &Space{families: slices.Clone(c.Families), nodePorts: c.NodePorts, random: c.Rand}
	if s.nodePorts == (PortRange{}) {
		s.nodePorts = DefaultNodePorts()
	}
	if s.random == nil {
		s.random = rand.Uint64N
	}
	return s
}

// SetRanges replaces all ranges. It costs a visit to everything taken, but only for prefixes that
// were not there before.
func (s *Space) SetRanges(ranges []Range) {
	ranges = slices.Clone(ranges)
	slices.SortStableFunc(ranges, func(a, b Range) int { return cmp.Compare(a.Name, b.Name) })

	s.mu.Lock()
	defer s.mu.Unlock()
	counted := make(map[netip.Prefix]uint64, len(s.pools))
	for i := range s.pools {
		counted[s.pools[i].prefix] = s.pools[i].used
	}
	s.pools = nil
	for _, r := range ranges {
		for _, prefix := range r.Prefixes {
			p := pool{owner: r, prefix: prefix.Masked()}
			sp, ok := addressSpan(p.prefix)
			p.span, p.empty = sp, !ok
			if used, ok := counted[p.prefix]; ok {
				p.used = used
			} else if !p.empty {
				p.used = s.addrs.taken.count(sp.first, sp.last)
			}
			s.pools = append(s.pools, p)
		}
	}
}

// ReplaceAddrs makes addrs, listed at revision rev, all that is taken.
func (s *Space) ReplaceAddrs(rev int64, addrs []netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.addrs = tracked{rev: rev, listed: true}
	for i := range s.pools {
		s.pools[i].used = 0
	}
	for _, a := range addrs {
		s.note(Change{Addr: a, Taken: true})
	}
}

// ReplacePorts makes ports, listed at revision rev, all that is taken.
func (s *Space) ReplacePorts(rev int64, ports []int32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ports = tracked{rev: rev, listed: true}
	s.usedPorts = 0
	for _, p := range ports {
		s.note(Change{Port: p, Taken: true})
	}
}

// Apply takes over what a watch delivered: all changes of one revision, revisions in order.
func (s *Space) Apply(rev int64, changes []Change) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range changes {
		s.trackedFor(c).rev = rev
		s.note(c)
	}
}

// Observe takes over what a transaction of our own did, or found, at revision rev. Changes that the
// watch has overtaken are ignored. See the package comment for why this is sound.
func (s *Space) Observe(rev int64, changes []Change) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range changes {
		if rev > s.trackedFor(c).rev {
			s.note(c)
		}
	}
}

// trackedFor returns the watched prefix that c belongs to. The caller holds mu.
func (s *Space) trackedFor(c Change) *tracked {
	if c.Addr.IsValid() {
		return &s.addrs
	}
	return &s.ports
}

// note writes one change down and keeps the counters. The caller holds mu for writing.
func (s *Space) note(c Change) {
	n := portNumber(c.Port)
	if c.Addr.IsValid() {
		n = numberOf(c.Addr)
	}
	taken := &s.trackedFor(c).taken
	var step uint64
	switch {
	case c.Taken && taken.add(n):
		step = 1
	case !c.Taken && taken.remove(n):
		step = ^uint64(0) // minus one
	default:
		return
	}
	if !c.Addr.IsValid() {
		if s.nodePorts.Contains(c.Port) {
			s.usedPorts += step
		}
		return
	}
	for i := range s.pools {
		if s.pools[i].contains(n) {
			s.pools[i].used += step
		}
	}
}

// Guard returns a ready range that addr could have been picked from. A transaction that takes addr
// checks that the range's Revision still holds, so that a range on its way out gives nothing more.
func (s *Space) Guard(addr netip.Addr) (Range, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if p := s.readyPool(addr); p != nil {
		return p.owner, true
	}
	return Range{}, false
}

// readyPool returns the first ready pool that addr belongs to (B6.3), or nil. The caller holds mu.
func (s *Space) readyPool(addr netip.Addr) *pool {
	if !addr.IsValid() {
		return nil
	}
	n := numberOf(addr)
	for i := range s.pools {
		if p := &s.pools[i]; p.owner.Ready && p.contains(n) {
			return p
		}
	}
	return nil
}

// Usage counts each prefix of each ServiceCIDR, in the order in which they are tried.
func (s *Space) Usage() []Usage {
	s.mu.RLock()
	defer s.mu.RUnlock()
	usage := make([]Usage, len(s.pools))
	for i, p := range s.pools {
		total := p.total()
		usage[i] = Usage{
			Name: p.owner.Name, Prefix: p.prefix, Ready: p.owner.Ready,
			Used: p.used, Free: total - p.used, Total: total,
		}
	}
	return usage
}

// PortUsage counts the range of node ports.
func (s *Space) PortUsage() (used, total uint64) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.usedPorts, s.nodePorts.span().total()
}

// pickAddr returns a free address of f, or false if every ready range of f is full. A full range is
// told by its counter, without a search.
func (s *Space) pickAddr(f dualstack.Family) (netip.Addr, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for i := range s.pools {
		p := &s.pools[i]
		if !p.offers(f) || p.used == p.total() {
			continue
		}
		if n, ok := p.span.pick(&s.addrs.taken, s.random, nil); ok {
			return n.addr(), true
		}
	}
	return netip.Addr{}, false
}

// checkAddr says why addr, which a client asked for, cannot be had (A7.1, A7.2, A7.4), or nil.
func (s *Space) checkAddr(addr netip.Addr) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	switch {
	case !s.addrs.listed:
		return errNotReady
	case s.readyPool(addr) == nil:
		return errNoRange
	case s.addrs.taken.has(numberOf(addr)):
		return errAddrTaken
	}
	return nil
}

// pickPort returns a free node port that skip does not refuse, or false if there is none.
func (s *Space) pickPort(skip func(number) bool) (int32, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	sp := s.nodePorts.span()
	if s.usedPorts == sp.total() {
		return 0, false
	}
	n, ok := sp.pick(&s.ports.taken, s.random, skip)
	return int32(n.lo), ok
}

// portTaken reports whether somebody holds port.
func (s *Space) portTaken(port int32) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.ports.taken.has(portNumber(port))
}
