package servicecidr

import (
	"fmt"
	"net/netip"
	"slices"

	networkingv1 "k8s.io/api/networking/v1"

	"github.com/duetk8s/duet/clusterip"
)

// guard is what a ServiceCIDR that is being deleted still protects: an address in one of own and
// in none of others (rules B5.4 to B5.6).
type guard struct {
	// own are its prefixes that no ServiceCIDR that stays contains.
	own []netip.Prefix
	// others are the prefixes of ServiceCIDRs that stay, as far as they overlap own.
	others []netip.Prefix
}

// guardOf tells what subject protects among all ServiceCIDRs, subject itself included or not.
// Unlike upstream (B5.6), one that is itself being deleted protects nobody: otherwise two that
// are deleted together let go of an address both held.
func guardOf(subject *networkingv1.ServiceCIDR, all []*networkingv1.ServiceCIDR) (guard, error) {
	mine, err := prefixes(subject)
	if err != nil {
		return guard{}, err
	}
	var staying []netip.Prefix
	for _, other := range all {
		if other.Name == subject.Name || other.DeletionTimestamp != nil {
			continue
		}
		theirs, err := prefixes(other)
		if err != nil {
			return guard{}, err
		}
		staying = append(staying, theirs...)
	}
	var g guard
	for _, p := range mine {
		if !slices.ContainsFunc(staying, func(s netip.Prefix) bool { return covers(s, p) }) {
			g.own = append(g.own, p)
		}
	}
	for _, s := range staying {
		if slices.ContainsFunc(g.own, s.Overlaps) {
			g.others = append(g.others, s)
		}
	}
	// Lists come in any order; equal guards must compare equal.
	slices.SortFunc(g.others, netip.Prefix.Compare)
	return g, nil
}

// protects reports whether addr would be in no ServiceCIDR without this one.
func (g guard) protects(addr netip.Addr) bool {
	in := func(p netip.Prefix) bool { return clusterip.Usable(p, addr) }
	return slices.ContainsFunc(g.own, in) && !slices.ContainsFunc(g.others, in)
}

// equal reports whether both protect the same addresses for the same reasons.
func (g guard) equal(other guard) bool {
	return slices.Equal(g.own, other.own) && slices.Equal(g.others, other.others)
}

// covers reports whether outer contains all of inner.
func covers(outer, inner netip.Prefix) bool {
	return outer.Bits() <= inner.Bits() && outer.Contains(inner.Addr())
}

func prefixes(cidr *networkingv1.ServiceCIDR) ([]netip.Prefix, error) {
	list := make([]netip.Prefix, 0, len(cidr.Spec.CIDRs))
	for i, s := range cidr.Spec.CIDRs {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			return nil, fmt.Errorf("ServiceCIDR %s: spec.cidrs[%d]: %w", cidr.Name, i, err)
		}
		list = append(list, p.Masked())
	}
	return list, nil
}

// overlap reports whether the fate of an address can depend on both.
func overlap(a, b *networkingv1.ServiceCIDR) bool {
	as, errA := prefixes(a)
	bs, errB := prefixes(b)
	if errA != nil || errB != nil {
		return true // cannot tell: have a look
	}
	return slices.ContainsFunc(as, func(p netip.Prefix) bool { return slices.ContainsFunc(bs, p.Overlaps) })
}
