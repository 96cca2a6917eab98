package nodestatus

import (
	"cmp"
	"fmt"
	"math"
	"net/netip"
	"slices"

	"github.com/duetk8s/duet/dualstack"
	"github.com/duetk8s/duet/hostnet"
)

// Preference says which of a machine's addresses are to be the node's.
type Preference struct {
	// Given are the addresses of --node-ip; an unspecified one only says which family comes first.
	Given []netip.Addr
	// Families in order, used when no address is given; none: IPv4, IPv6.
	Families []dualstack.Family
	// Current are the node's addresses up to now: among equals they stay.
	Current []netip.Addr
	// Pods are ranges of the node that are not its own addresses, like the bridge's.
	Pods []netip.Prefix
}

// Choose returns the node's addresses, at most one of each family, the primary one first. The error
// says what is wrong with a given address (D2.3).
//
// Without given addresses the order of preference is: not deprecated, on the link with the best
// default route, static before dynamic before temporary, the present one, global before unique local
// ones, the smaller one.
func Choose(s hostnet.State, p Preference) ([]netip.Addr, error) {
	families := p.Families
	if len(families) == 0 {
		families = []dualstack.Family{dualstack.IPv4, dualstack.IPv6}
	}
	if len(p.Given) == 1 && p.Given[0].IsUnspecified() {
		f := dualstack.Of(p.Given[0])
		families = []dualstack.Family{f, f.Other()}
	} else if len(p.Given) > 0 {
		for _, a := range p.Given {
			if err := usable(s, a); err != nil {
				return nil, err
			}
		}
		return p.Given, nil
	}
	for _, f := range dualstack.Families() { // the order may name one family only
		if !slices.Contains(families, f) {
			families = append(slices.Clip(families), f)
		}
	}
	var out []netip.Addr
	for _, f := range families {
		if a, ok := best(s, p, f); ok {
			out = append(out, a)
		}
	}
	return out, nil
}

// usable is upstream's judgement of an address that was given.
func usable(s hostnet.State, a netip.Addr) error {
	switch {
	case a.IsLoopback():
		return fmt.Errorf("nodeIP can't be loopback address")
	case a.IsMulticast():
		return fmt.Errorf("nodeIP can't be a multicast address")
	case a.IsLinkLocalUnicast():
		return fmt.Errorf("nodeIP can't be a link-local unicast address")
	case a.IsUnspecified():
		return fmt.Errorf("nodeIP can't be an all zeros address")
	}
	if !slices.ContainsFunc(s.Addresses, func(h hostnet.Address) bool { return h.Prefix.Addr() == a }) {
		return fmt.Errorf("node IP: %q not found in the host's network interfaces", a)
	}
	return nil
}

func best(s hostnet.State, p Preference, f dualstack.Family) (netip.Addr, bool) {
	var candidates []hostnet.Address
	for _, a := range s.Addresses {
		addr := a.Prefix.Addr()
		pods := slices.ContainsFunc(p.Pods, func(r netip.Prefix) bool { return r.Contains(addr) })
		if dualstack.Of(addr) == f && addr.IsGlobalUnicast() && !addr.IsLinkLocalUnicast() && !a.Pending && !pods {
			candidates = append(candidates, a)
		}
	}
	if len(candidates) == 0 {
		return netip.Addr{}, false
	}
	return slices.MinFunc(candidates, func(a, b hostnet.Address) int {
		x, y := a.Prefix.Addr(), b.Prefix.Addr()
		return cmp.Or(
			compareBool(a.Deprecated, b.Deprecated),
			cmp.Compare(distance(s, a), distance(s, b)),
			cmp.Compare(a.Lifetime, b.Lifetime),
			compareBool(!slices.Contains(p.Current, x), !slices.Contains(p.Current, y)),
			compareBool(x.IsPrivate() && x.Is6(), y.IsPrivate() && y.Is6()),
			cmp.Compare(a.Index, b.Index),
			x.Compare(y),
		)
	}).Prefix.Addr(), true
}

// distance is the metric of the best default route by the address's link, in its family or else,
// after all of those, in the other: an IPv6 address without a route out belongs beside the IPv4
// address with one.
func distance(s hostnet.State, a hostnet.Address) int {
	const otherFamily, none = math.MaxInt32, math.MaxInt
	least := none
	for _, d := range s.Defaults {
		if d.Index != a.Index {
			continue
		}
		metric := min(d.Metric, otherFamily-1)
		if d.IPv6 != a.Prefix.Addr().Is6() {
			metric += otherFamily
		}
		least = min(least, metric)
	}
	return least
}

// compareBool puts false first.
func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}
