package hostnet

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/duetk8s/duet/dualstack"
	"github.com/duetk8s/duet/nft"
)

// TableName is our table's: `nft list table inet duet-node`.
const TableName = "duet-node"

// Table is what a node's table translates. Service addresses are not its business.
type Table struct {
	// Local are the ranges of this node's Pods. What they send to anything outside of Inside leaves
	// with the node's address.
	Local []netip.Prefix
	// Inside are the ranges within which addresses are kept: all Pods', all nodes'.
	Inside []netip.Prefix
	// Ports of the node that belong to Pods.
	Ports []HostPort
}

// HostPort is a port of the node that leads to a Pod.
type HostPort struct {
	Protocol uint8      // an IP protocol number
	At       netip.Addr // one address of the node; the zero value means all in the Pod's family
	Port     uint16
	To       netip.AddrPort
}

// neverTranslated are one link's business.
var neverTranslated = []netip.Prefix{
	netip.MustParsePrefix("169.254.0.0/16"), netip.MustParsePrefix("224.0.0.0/4"),
	netip.MustParsePrefix("fe80::/10"), netip.MustParsePrefix("ff00::/8"),
}

// Rules returns what the table consists of, to be written with package nft.
func (t Table) Rules() (nft.Schema, map[string][]nft.Element) {
	var s nft.Schema
	elements := map[string][]nft.Element{}
	s.Chains = []nft.Chain{{Name: "postrouting", Hook: nft.Postrouting}}
	t.masquerade(&s, elements)
	if len(t.Ports) > 0 {
		s.Chains = append(s.Chains,
			nft.Chain{Name: "prerouting", Hook: nft.Prerouting, Rules: t.hostPorts(false)},
			nft.Chain{Name: "output", Hook: nft.Output, Rules: t.hostPorts(true)})
		s.Chains = append(s.Chains, t.loopbackPorts()...)
	}
	return s, elements
}

// masquerade adds, for each family that has local ranges:
//
//	chain postrouting { type nat hook postrouting priority srcnat;
//	  ip saddr @local-ipv4 ip daddr != @inside-ipv4 masquerade }
func (t Table) masquerade(s *nft.Schema, elements map[string][]nft.Element) {
	rules := &s.Chains[0].Rules
	for _, p := range t.Ports { // a Pod that calls itself by the node's address would not know the answer
		to := p.To.Addr()
		f := dualstack.Of(to)
		*rules = append(*rules, nft.Join(nft.IsFamily(f), nft.Is(nft.Source(f), to), nft.Is(nft.Destination(f), to), nft.IsTranslated(), nft.Masquerade()))
	}
	for _, f := range dualstack.Families() {
		if slices.ContainsFunc(t.Ports, func(p HostPort) bool { return p.onLoopback(f) }) {
			*rules = append(*rules, nft.Join(nft.IsFamily(f), nft.Is(nft.Source(f), standIns[f].Addr), nft.IsTranslated(), nft.Masquerade()))
		}
		of := func(list []netip.Prefix) []nft.Element {
			return nft.Ranges(slices.DeleteFunc(slices.Clone(list), func(p netip.Prefix) bool { return dualstack.OfPrefix(p) != f }))
		}
		local, inside := of(t.Local), of(append(slices.Clone(t.Inside), neverTranslated...))
		if len(local) == 0 {
			continue
		}
		addr := nft.Addr4
		if f == dualstack.IPv6 {
			addr = nft.Addr6
		}
		family := strings.ToLower(string(f))
		for _, name := range []string{"local-", "inside-"} {
			s.Sets = append(s.Sets, nft.Set{Name: name + family, Key: []nft.Type{addr}, Interval: true})
		}
		elements["local-"+family], elements["inside-"+family] = local, inside
		*rules = append(*rules, nft.Join(nft.IsFamily(f),
			nft.In("local-"+family, nft.Source(f)), nft.NotIn("inside-"+family, nft.Destination(f)), nft.Masquerade()))
	}
}

// onLoopback: the node's own processes reach the port at 127.0.0.1 or ::1, whichever f has.
func (p HostPort) onLoopback(f dualstack.Family) bool {
	return dualstack.Of(p.To.Addr()) == f && (!p.At.IsValid() || p.At.IsUnspecified() || p.At == standIns[f].For)
}

// loopbackPorts let the node's own processes reach ports at 127.0.0.1 and ::1, see [StandIn]:
//
//	chain sent { type filter hook output priority raw; … }
//	chain delivered { type filter hook input priority 150; … }
func (t Table) loopbackPorts() []nft.Chain {
	var sent, delivered []nft.Rule
	for _, f := range dualstack.Families() {
		some := false
		for _, p := range t.Ports {
			if p.onLoopback(f) {
				some = true
				sent = append(sent, standIns[f].Sent(nft.IsPort(p.Protocol, p.Port)))
			}
		}
		if some {
			delivered = append(delivered, standIns[f].Delivered())
		}
	}
	return []nft.Chain{{Name: "sent", Hook: nft.Sent, Rules: sent}, {Name: "delivered", Hook: nft.Delivered, Rules: delivered}}
}

// hostPorts are, for each port, once for what comes in and once for the node's own connections:
//
//	fib daddr type local meta nfproto ipv4 meta l4proto tcp th dport 8080 dnat ip to 10.244.0.5:80
//
// Those at loopback alone are for the node's own.
func (t Table) hostPorts(ofNode bool) []nft.Rule {
	var out []nft.Rule
	for _, p := range t.Ports {
		f := dualstack.Of(p.To.Addr())
		at := nft.Join(nft.IsLocal(), nft.IsFamily(f), nft.NotWithin(nft.Destination(f), standIns[f].Around))
		switch {
		case !p.At.IsValid() || p.At.IsUnspecified():
		case p.onLoopback(f) && !ofNode:
			continue
		case p.onLoopback(f):
			at = nft.Join(nft.IsFamily(f), nft.Is(nft.Destination(f), standIns[f].Addr))
		default:
			at = nft.Join(nft.IsFamily(f), nft.Is(nft.Destination(f), p.At))
		}
		out = append(out, nft.Join(at, nft.IsPort(p.Protocol, p.Port), nft.TranslateTo(p.To)))
	}
	return out
}
