package hostnet

import (
	"net/netip"

	"github.com/duetk8s/duet/dualstack"
	"github.com/duetk8s/duet/nft"
)

// StandIn is an address that stands in for that of loopback. Packets from and to loopback addresses cannot
// leave the machine: the kernel drops their answers. So while those to ports of Pods and Services are on
// their way both addresses are replaced by one that nobody has: the dummy address of RFC 7600, and one to
// be discarded, of RFC 6666. It is local ([StandIn.Route]), and never leaves either, because such
// connections are masqueraded. The IPv6 one has the same sum as ::1, so that no checksum changes, which
// package nft cannot have changed in IPv6.
type StandIn struct {
	Family dualstack.Family
	Addr   netip.Addr
	For    netip.Addr   // 127.0.0.1, ::1
	Around netip.Prefix // all of loopback: what is sent elsewhere there is for nobody else
}

var standIns = map[dualstack.Family]StandIn{
	dualstack.IPv4: {dualstack.IPv4, netip.MustParseAddr("192.0.0.8"), netip.MustParseAddr("127.0.0.1"), netip.MustParsePrefix("127.0.0.0/8")},
	dualstack.IPv6: {dualstack.IPv6, netip.MustParseAddr("100::ff00"), netip.IPv6Loopback(), netip.MustParsePrefix("::1/128")},
}

// StandInOf returns that of a family.
func StandInOf(f dualstack.Family) StandIn { return standIns[f] }

// Route makes the address local.
func (s StandIn) Route() LinkRoute {
	return LinkRoute{To: netip.PrefixFrom(s.Addr, s.Addr.BitLen()), Index: Loopback, Local: true}
}

// Sent is a rule, of a chain at [nft.Sent], for what the node's own processes send to loopback and to
// matches, too:
//
//	ip saddr 127.0.0.1 ip daddr 127.0.0.1 tcp dport 8080 ip saddr set 192.0.0.8 ip daddr set 192.0.0.8
func (s StandIn) Sent(to nft.Rule) nft.Rule {
	return nft.Join(nft.IsFamily(s.Family), nft.Is(nft.Source(s.Family), s.For), nft.Is(nft.Destination(s.Family), s.For), to, nft.Replace(s.Addr, s.Addr))
}

// Delivered is the rule, of a chain at [nft.Delivered], for what comes back:
//
//	ip saddr 192.0.0.8 ip daddr 192.0.0.8 ct status dnat ip saddr set 127.0.0.1 ip daddr set 127.0.0.1
//
// Only answers of translated connections become loopback's again: who forges the addresses, which the
// kernel lets through in IPv6, must not reach what listens there.
func (s StandIn) Delivered() nft.Rule {
	return nft.Join(nft.IsFamily(s.Family), nft.Is(nft.Source(s.Family), s.Addr), nft.Is(nft.Destination(s.Family), s.Addr),
		nft.IsTranslated(), nft.Replace(s.For, s.For))
}
