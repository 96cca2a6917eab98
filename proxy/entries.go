package proxy

import (
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/duetk8s/duet/dualstack"
	"github.com/duetk8s/duet/nft"
)

// numbers hands out the numbers by which endpoints are looked up.
type numbers struct {
	used map[uint32]bool
	last uint32
}

// take returns a number that has been free for longest, so that clients that are remembered by an old
// one are not mistaken for those of a new one.
func (n *numbers) take() (uint32, bool) {
	for range idMask {
		n.last = n.last%idMask + 1
		if !n.used[n.last] {
			n.used[n.last] = true
			return n.last, true
		}
	}
	return 0, false
}

// group is a list of endpoints in the kernel, with its number.
type group struct {
	number  uint32
	slots   []netip.AddrPort // the endpoint at each index
	members map[netip.AddrPort]uint32
	last    uint32 // member
}

// groupKey is which endpoints of which port.
type groupKey struct {
	family   dualstack.Family
	protocol uint8
	port     uint16
	local    bool
}

// settle gives endpoints their indices: those that stay keep theirs unless the list gets shorter, so
// that a change of one is a change of one element, or two. It returns those that have gone.
func (g *group) settle(want []netip.AddrPort) (gone []netip.AddrPort) {
	wanted := make(map[netip.AddrPort]bool, len(want))
	for _, e := range want {
		wanted[e] = true
	}
	slots := make([]netip.AddrPort, len(want))
	for i, e := range g.slots {
		switch {
		case !wanted[e]:
			gone = append(gone, e)
		case i < len(slots):
			slots[i] = e
			delete(wanted, e)
		}
	}
	free := 0
	for _, e := range want {
		if !wanted[e] {
			continue
		}
		for slots[free].IsValid() {
			free++
		}
		slots[free] = e
	}
	g.slots = slots
	return gone
}

// member numbers an endpoint among those that clients may stay with.
func (g *group) member(e netip.AddrPort) uint32 {
	if g.members == nil {
		g.members = map[netip.AddrPort]uint32{}
	}
	n, ok := g.members[e]
	if !ok {
		g.last = g.last%(1<<(32-classShift)-1) + 1
		n = g.last
		g.members[e] = n
	}
	return n<<classShift | g.number
}

// value of a service in the maps: how to pick, and among which.
func value(class, number uint32) string { return nft.Bytes(class<<classShift | number) }

// service is what is installed for a Service.
type service struct {
	groups  map[groupKey]*group
	entries []entry
	fronts  map[front]backends
}

// want returns the entries of a Service's ports, and which endpoints of TCP have gone from them. Numbers
// of groups that stay are kept.
func (s *service) want(ports []Port, n *numbers, classes *classes) (entries []entry, gone []netip.AddrPort) {
	w := writer{service: s, numbers: n, classes: classes, groups: map[groupKey]*group{}}
	for i := range ports {
		w.port(&ports[i])
	}
	for key, g := range s.groups {
		if w.groups[key] == nil {
			delete(n.used, g.number)
			w.leave(key.protocol, g.slots)
		}
	}
	s.groups = w.groups
	return w.out, w.gone
}

// writer collects a Service's entries.
type writer struct {
	service *service
	numbers *numbers
	classes *classes
	groups  map[groupKey]*group
	out     []entry
	gone    []netip.AddrPort
}

// leave notes endpoints that have gone.
func (w *writer) leave(protocol uint8, gone []netip.AddrPort) {
	if protocol == unix.IPPROTO_TCP {
		w.gone = append(w.gone, gone...)
	}
}

func (w *writer) add(k kind, f dualstack.Family, key, value string) {
	w.out = append(w.out, entry{place{k, f, key}, value})
}

func (w *writer) port(p *Port) {
	f := p.Family
	w.add(kindClusterIPs, f, nft.Bytes(p.ClusterIP), "")
	for _, a := range p.OnNode {
		w.add(kindHairpin, f, nft.Bytes(a, a), "")
	}
	all, local := w.lazily(p, false), w.lazily(p, true)
	inside := all
	if p.InternalLocal {
		inside = local
	}
	at := func(a netip.Addr) string { return nft.Bytes(a, p.Protocol, p.Port) }
	w.add(kindServices, f, at(p.ClusterIP), inside())
	external := slices.Concat(p.External, p.Balancers)
	for _, a := range external {
		w.out = append(w.out, route(netip.PrefixFrom(a, a.BitLen())))
		w.add(kindServices, f, at(a), all())
		if p.ExternalLocal {
			w.add(kindLocalServices, f, at(a), local())
		}
	}
	if p.Restricted {
		ranges := dualstack.Join(p.Sources)
		w.add(kindSources, f, ranges, "")
		for _, a := range p.Balancers {
			w.add(kindFirewall, f, at(a), ranges)
		}
	}
	if p.NodePort != 0 {
		key := nft.Bytes(p.Protocol, p.NodePort)
		w.add(kindNodePorts, f, key, all())
		if len(p.All) > 0 {
			w.add(kindLoopback, f, key, "")
		}
		if p.ExternalLocal {
			w.add(kindLocalNodePorts, f, key, local())
		}
	}
}

// lazily returns the value of a port's endpoints, and writes them when it is first asked for.
func (w *writer) lazily(p *Port, local bool) func() string {
	var done string
	return func() string {
		if done == "" {
			done = w.group(p, local)
		}
		return done
	}
}

func (w *writer) group(p *Port, local bool) string {
	list := p.All
	if local {
		list = p.Local
	}
	switch {
	case len(p.All) == 0:
		return value(classRefuse, 0)
	case len(list) == 0:
		return value(classDrop, 0)
	case len(list) > maxPick:
		list = list[:maxPick]
	}
	key := groupKey{p.Family, p.Protocol, p.Port, local}
	g := w.service.groups[key]
	if g == nil {
		number, ok := w.numbers.take()
		if !ok {
			return value(classRefuse, 0) // a million ports
		}
		g = &group{number: number}
	}
	w.groups[key] = g
	w.leave(p.Protocol, g.settle(list))
	class, ok := uint32(len(list)), true //nolint:gosec // few
	if p.Sticky != 0 {
		class, ok = w.classes.of(sticky{len(list), p.Sticky})
	}
	if p.Sticky == 0 || !ok {
		class = uint32(len(list)) //nolint:gosec // few
		w.add(kindClasses, p.Family, nft.Bytes(class<<classShift), "")
		for i, e := range g.slots {
			w.add(kindEndpoints, p.Family, nft.Bytes(g.number, uint32(i)), nft.Bytes(e.Addr(), e.Port())) //nolint:gosec // few
		}
		return value(class, g.number)
	}
	w.add(kindClasses, p.Family, nft.Bytes(class<<classShift), "")
	w.add(kindNumbers, p.Family, value(class, g.number), nft.Bytes(g.number))
	for i, e := range g.slots {
		m := nft.Bytes(g.member(e))
		w.add(kindMembers, p.Family, nft.Bytes(g.number, uint32(i)), m) //nolint:gosec // few
		w.add(kindLive, p.Family, m, "")
		w.add(kindMember, p.Family, m, nft.Bytes(e.Addr(), e.Port()))
	}
	return value(class, g.number)
}

// classes numbers the ways to stay with clients.
type classes struct {
	numbers map[sticky]uint32
	list    []sticky
}

func (c *classes) of(s sticky) (uint32, bool) {
	if n, ok := c.numbers[s]; ok {
		return n, true
	}
	n := uint32(firstSticky + len(c.list)) //nolint:gosec // few
	if n >= classRefuse {
		return 0, false
	}
	c.numbers[s] = n
	c.list = append(c.list, s)
	return n, true
}

// chain of a class.
func (c *classes) chain(f dualstack.Family, class uint32) nft.Chain {
	if class < firstSticky {
		return pick(f, int(class))
	}
	return stick(f, c.list[class-firstSticky])
}
