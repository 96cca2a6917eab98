// Package dualstack holds the little that every part of duet says about IP families: their names,
// which one an address belongs to, lists of prefixes as flags write them, and a value per family.
//
// Code that would otherwise exist twice, once for IPv4 and once for IPv6, loops over [Families] and
// keeps its state in a [Pair] instead.
//
// It does no I/O, imports only the standard library and may be imported by everything. What a
// Service may ask of the families is package clusterip's business.
package dualstack

import (
	"iter"
	"net/netip"
	"strings"
)

// Family is an IP family, spelled as core/v1 IPFamily spells it. The zero value is no family.
type Family string

// The two families there are.
const (
	IPv4 Family = "IPv4"
	IPv6 Family = "IPv6"
)

// Families lists both families, IPv4 first, for loops where order does not matter.
func Families() [2]Family { return [2]Family{IPv4, IPv6} }

// Of returns the family of addr. An IPv4-mapped IPv6 address (::ffff:10.0.0.1) counts as IPv4,
// as it does on the wire; the invalid address has no family.
func Of(addr netip.Addr) Family {
	switch {
	case addr.Is4() || addr.Is4In6():
		return IPv4
	case addr.Is6():
		return IPv6
	}
	return ""
}

// OfPrefix returns the family of p.
func OfPrefix(p netip.Prefix) Family { return Of(p.Addr()) }

// Other returns the other family.
func (f Family) Other() Family {
	if f == IPv4 {
		return IPv6
	}
	return IPv4
}

// Bits returns the length of an address of f: 32 or 128.
func (f Family) Bits() int {
	if f == IPv4 {
		return 32
	}
	return 128
}

// Order returns the family of each prefix in turn, which for the value of a flag is: the default
// family, then the secondary one, if any.
func Order(prefixes []netip.Prefix) []Family {
	order := make([]Family, len(prefixes))
	for i, p := range prefixes {
		order[i] = OfPrefix(p)
	}
	return order
}

// Join renders a list as flags and `kubectl get servicecidr` show it: comma, no space.
func Join[T interface{ String() string }](list []T) string {
	text := make([]string, len(list))
	for i, v := range list {
		text[i] = v.String()
	}
	return strings.Join(text, ",")
}

// Pair holds one value for each family. The zero value is ready to use.
type Pair[T any] struct{ v4, v6 T }

// At returns the place of f's value.
func (p *Pair[T]) At(f Family) *T {
	if f == IPv4 {
		return &p.v4
	}
	return &p.v6
}

// All yields both families and the place of their values, IPv4 first.
func (p *Pair[T]) All() iter.Seq2[Family, *T] {
	return func(yield func(Family, *T) bool) {
		for _, f := range Families() {
			if !yield(f, p.At(f)) {
				return
			}
		}
	}
}
