package proxy

import (
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"

	"github.com/duetk8s/duet/dualstack"
	"github.com/duetk8s/duet/nft"
)

// lookWide takes up the ranges as they are now, and the node's addresses. It returns how the sets of
// ranges change.
func (p *Proxy) lookWide() nft.Changes {
	c := nft.Changes{Add: map[string][]nft.Element{}, Remove: map[string][]nft.Element{}}
	now, own := p.wantedRanges()
	if !slices.Equal(own, p.ways.own) {
		p.ways.own, p.ways.stale = own, true
	}
	p.ledger.replace(routes(p.ranges), routes(now))
	for name, list := range now {
		if slices.Equal(list, p.ranges[name]) {
			continue
		}
		if old := nft.Ranges(p.ranges[name]); len(old) > 0 {
			c.Remove[name] = old
		}
		if elements := nft.Ranges(list); len(elements) > 0 {
			c.Add[name] = elements
		}
	}
	p.ranges = now
	return c
}

// routes to ClusterIPs.
func routes(ranges map[string][]netip.Prefix) []entry {
	var out []entry
	for _, f := range dualstack.Families() {
		for _, p := range ranges[kindCIDRs.of(f)] {
			out = append(out, route(p))
		}
	}
	return out
}

// newlyClosed says which ranges flows is to be told of, now that they are written.
func (p *Proxy) newlyClosed() []netip.Prefix {
	var now []netip.Prefix
	for _, f := range dualstack.Families() {
		now = append(now, p.ranges[kindCIDRs.of(f)]...)
	}
	if slices.Equal(now, p.closed) {
		return nil
	}
	p.closed = now
	return now
}

// wantedRanges by the name of the set: the node's Pods', and those of ClusterIPs; and the node's
// addresses.
func (p *Proxy) wantedRanges() (out map[string][]netip.Prefix, own []netip.Addr) {
	out = map[string][]netip.Prefix{}
	for _, f := range dualstack.Families() {
		out[kindPods.of(f)], out[kindCIDRs.of(f)] = nil, nil
	}
	put := func(k kind, list []string) {
		for _, text := range list {
			if r, err := netip.ParsePrefix(text); err == nil {
				name := k.of(dualstack.OfPrefix(r))
				out[name] = append(out[name], r.Masked())
			}
		}
	}
	if o, ok, err := p.deps.Nodes.GetStore().GetByKey(p.config.Node); err == nil && ok {
		put(kindPods, o.(*corev1.Node).Spec.PodCIDRs)
		own = nodeAddresses(o.(*corev1.Node))
	}
	for _, o := range p.deps.ServiceCIDRs.GetStore().List() {
		put(kindCIDRs, o.(*networkingv1.ServiceCIDR).Spec.CIDRs)
	}
	for _, list := range out {
		slices.SortFunc(list, func(a, b netip.Prefix) int { return a.Compare(b) })
	}
	return out, own
}
