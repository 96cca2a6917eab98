package hostnet

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
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

// Set installs the table in place of what it held before, in one transaction.
func (t Table) Set() error {
	c, err := nftables.New()
	if err != nil {
		return fmt.Errorf("open nftables: %w", err)
	}
	b := &batch{conn: c, table: &nftables.Table{Family: nftables.TableFamilyINet, Name: TableName}}
	c.AddTable(b.table) // so that deleting it cannot fail
	c.DelTable(b.table)
	c.AddTable(b.table)
	t.masquerade(b)
	t.hostPorts(b)
	t.loopbackPorts(b)
	if b.err != nil {
		return fmt.Errorf("build nftables table %s: %w", TableName, b.err)
	}
	if err := c.Flush(); err != nil {
		return fmt.Errorf("install nftables table %s: %w", TableName, err)
	}
	if len(t.Ports) == 0 {
		return nil
	}
	return ChangeLinkRoutes([]LinkRoute{ipv4.standInRoute(), ipv6.standInRoute()}, nil)
}

// RemoveTable takes the table away, if it is there.
func RemoveTable() error {
	c, err := nftables.New()
	if err != nil {
		return fmt.Errorf("open nftables: %w", err)
	}
	t := &nftables.Table{Family: nftables.TableFamilyINet, Name: TableName}
	c.AddTable(t)
	c.DelTable(t)
	if err := c.Flush(); err != nil {
		return fmt.Errorf("remove nftables table %s: %w", TableName, err)
	}
	return nil
}

// masquerade adds, for each family that has local ranges:
//
//	chain postrouting { type nat hook postrouting priority srcnat;
//	  ip saddr @local-ipv4 ip daddr != @inside-ipv4 masquerade }
func (t Table) masquerade(b *batch) {
	chain := b.chain("postrouting", nftables.ChainHookPostrouting, nftables.ChainPriorityNATSource)
	for _, p := range t.Ports { // a Pod that calls itself by the node's address would not know the answer
		b.rule(chain, isAddr(source, p.To.Addr()), isAddr(destination, p.To.Addr()), isTranslated(), []expr.Any{&expr.Masq{}})
	}
	for _, f := range []family{ipv4, ipv6} {
		if slices.ContainsFunc(t.Ports, func(p HostPort) bool { return f.has(p.To.Addr()) }) {
			b.rule(chain, isAddr(source, f.standIn), isTranslated(), []expr.Any{&expr.Masq{FullyRandom: true}})
		}
	}
	for _, f := range []family{ipv4, ipv6} {
		local := b.set("local-"+f.name, f, t.Local)
		if local == nil {
			continue
		}
		inside := b.set("inside-"+f.name, f, append(slices.Clone(t.Inside), f.neverTranslated...))
		b.rule(chain, inSet(f, source, local, false), inSet(f, destination, inside, true),
			[]expr.Any{&expr.Masq{FullyRandom: true}})
	}
}

// hostPorts adds, for each port, once for what comes in and once for the node's own connections:
//
//	fib daddr type local meta nfproto ipv4 meta l4proto tcp th dport 8080 dnat ip to 10.244.0.5:80
//
// One on a loopback address is for the node's own alone.
func (t Table) hostPorts(b *batch) {
	if len(t.Ports) == 0 {
		return
	}
	for _, hook := range []struct {
		name string
		hook *nftables.ChainHook
	}{{"prerouting", nftables.ChainHookPrerouting}, {"output", nftables.ChainHookOutput}} {
		chain := b.chain(hook.name, hook.hook, nftables.ChainPriorityNATDest)
		for _, p := range t.Ports {
			f := familyOf(p.To.Addr())
			var at []expr.Any
			switch {
			case !p.At.IsValid() || p.At.IsUnspecified():
				at = slices.Concat(isFamily(f), isLocal(), notIn(f, destination, f.loopback))
			case p.At != f.own:
				at = isAddr(destination, p.At)
			case hook.name == "prerouting":
				continue
			default:
				at = isAddr(destination, f.standIn)
			}
			b.rule(chain, at, isPort(p), []expr.Any{
				&expr.Immediate{Register: 1, Data: p.To.Addr().AsSlice()},
				&expr.Immediate{Register: 2, Data: binaryutil.BigEndian.PutUint16(p.To.Port())},
				&expr.NAT{Type: expr.NATTypeDestNAT, Family: f.number, RegAddrMin: 1, RegProtoMin: 2, Specified: true},
			})
		}
	}
}

// loopbackPorts lets the node's own processes reach ports at 127.0.0.1 and ::1. Packets from and to
// these cannot leave the machine: the kernel drops their answers. So while they are on their way both
// addresses are replaced by one that stands in for them: local, nobody's, and masqueraded before it
// leaves. The IPv6 one has the same sum as ::1, so that no checksum changes.
//
//	chain sent { type filter hook output priority raw;
//	  ip saddr 127.0.0.1 ip daddr 127.0.0.1 tcp dport 8080 ip saddr set 192.0.0.8 ip daddr set 192.0.0.8 }
//	chain delivered { type filter hook input priority 150;
//	  ip saddr 192.0.0.8 ip daddr 192.0.0.8 ip saddr set 127.0.0.1 ip daddr set 127.0.0.1 }
func (t Table) loopbackPorts(b *batch) {
	var sent, delivered *nftables.Chain
	for _, f := range []family{ipv4, ipv6} {
		first := true
		for _, p := range t.Ports {
			if !f.has(p.To.Addr()) || p.At.IsValid() && !p.At.IsUnspecified() && p.At != f.own {
				continue
			}
			if sent == nil {
				sent = b.filter("sent", nftables.ChainHookOutput, nftables.ChainPriorityRaw)
				delivered = b.filter("delivered", nftables.ChainHookInput, nftables.ChainPriorityRef(*nftables.ChainPriorityNATSource+50))
			}
			b.rule(sent, isAddr(source, f.own), isAddr(destination, f.own), isPort(p), f.replace(f.standIn))
			if first {
				b.rule(delivered, isAddr(source, f.standIn), isAddr(destination, f.standIn), f.replace(f.own))
				first = false
			}
		}
	}
}

// replace writes an address in place of both, which connection tracking does not know of.
func (f family) replace(by netip.Addr) []expr.Any {
	out := []expr.Any{&expr.Immediate{Register: 1, Data: by.AsSlice()}}
	for _, offset := range f.offsets {
		write := &expr.Payload{
			OperationType: expr.PayloadWrite, SourceRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: f.length,
		}
		if by.Is4() {
			write.CsumType, write.CsumOffset, write.CsumFlags = expr.CsumTypeInet, 10, unix.NFT_PAYLOAD_L4CSUM_PSEUDOHDR
		}
		out = append(out, write)
	}
	return out
}

func (f family) standInRoute() LinkRoute {
	return LinkRoute{To: netip.PrefixFrom(f.standIn, f.standIn.BitLen()), Index: Loopback, Local: true}
}

// batch keeps the first error, so that building rules needs no checks.
type batch struct {
	conn  *nftables.Conn
	table *nftables.Table
	err   error
}

func (b *batch) chain(name string, hook *nftables.ChainHook, priority *nftables.ChainPriority) *nftables.Chain {
	return b.conn.AddChain(&nftables.Chain{Table: b.table, Name: name, Type: nftables.ChainTypeNAT, Hooknum: hook, Priority: priority})
}

func (b *batch) filter(name string, hook *nftables.ChainHook, priority *nftables.ChainPriority) *nftables.Chain {
	return b.conn.AddChain(&nftables.Chain{Table: b.table, Name: name, Type: nftables.ChainTypeFilter, Hooknum: hook, Priority: priority})
}

func (b *batch) rule(chain *nftables.Chain, parts ...[]expr.Any) {
	b.conn.AddRule(&nftables.Rule{Table: b.table, Chain: chain, Exprs: slices.Concat(parts...)})
}

// set adds the ranges of a family as a set; nil if there are none.
func (b *batch) set(name string, f family, ranges []netip.Prefix) *nftables.Set {
	merged := merge(f, ranges)
	if len(merged) == 0 {
		return nil
	}
	s := &nftables.Set{Table: b.table, Name: name, KeyType: f.key, Interval: true}
	var elements []nftables.SetElement
	for _, p := range merged {
		elements = append(elements, nftables.SetElement{Key: p.Addr().AsSlice()})
		if after := last(p).Next(); after.IsValid() { // else the range reaches to the family's end
			elements = append(elements, nftables.SetElement{Key: after.AsSlice(), IntervalEnd: true})
		}
	}
	if err := b.conn.AddSet(s, elements); err != nil && b.err == nil {
		b.err = fmt.Errorf("set %s: %w", name, err)
	}
	return s
}

// merge returns the ranges of a family in order, without those that others contain.
func merge(f family, ranges []netip.Prefix) []netip.Prefix {
	var out []netip.Prefix
	sorted := slices.SortedFunc(slices.Values(ranges), func(a, b netip.Prefix) int {
		if c := a.Masked().Addr().Compare(b.Masked().Addr()); c != 0 {
			return c
		}
		return a.Bits() - b.Bits()
	})
	for _, p := range sorted {
		if familyOf(p.Addr()).number != f.number || len(out) > 0 && out[len(out)-1].Contains(p.Addr()) {
			continue
		}
		out = append(out, p.Masked())
	}
	return out
}

func last(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

// family is what rules about IPv4 and IPv6 differ in.
type family struct {
	name            string
	number          uint32
	key             nftables.SetDatatype
	offsets         [2]uint32 // of source and destination in the header
	length          uint32    // of an address
	loopback        netip.Prefix
	own, standIn    netip.Addr     // loopback's first address, and what stands in for it: see loopbackPorts, package proxy
	neverTranslated []netip.Prefix // one link's business
}

var (
	ipv4 = family{
		"ipv4", unix.NFPROTO_IPV4, nftables.TypeIPAddr,
		[2]uint32{12, 16},
		4, netip.MustParsePrefix("127.0.0.0/8"),
		netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("192.0.0.8"), // the dummy address of RFC 7600
		[]netip.Prefix{netip.MustParsePrefix("169.254.0.0/16"), netip.MustParsePrefix("224.0.0.0/4")},
	}
	ipv6 = family{
		"ipv6", unix.NFPROTO_IPV6, nftables.TypeIP6Addr,
		[2]uint32{8, 24},
		16, netip.MustParsePrefix("::1/128"),
		netip.IPv6Loopback(), netip.MustParseAddr("100::ff00"), // one to be discarded, of RFC 6666
		[]netip.Prefix{netip.MustParsePrefix("fe80::/10"), netip.MustParsePrefix("ff00::/8")},
	}
)

func (f family) has(a netip.Addr) bool { return uint32(len(a.AsSlice())) == f.length }

func familyOf(a netip.Addr) family {
	if a.Is4() {
		return ipv4
	}
	return ipv6
}

const (
	source = iota
	destination
)

func isFamily(f family) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{byte(f.number)}},
	}
}

func loadAddr(f family, which int) []expr.Any {
	return append(isFamily(f), &expr.Payload{
		DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: f.offsets[which], Len: f.length,
	})
}

func isAddr(which int, a netip.Addr) []expr.Any {
	return append(loadAddr(familyOf(a), which), &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: a.AsSlice()})
}

func notIn(f family, which int, p netip.Prefix) []expr.Any {
	mask, zero := make([]byte, f.length), make([]byte, f.length)
	for i := range p.Bits() {
		mask[i/8] |= 0x80 >> (i % 8)
	}
	return append(loadAddr(f, which),
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: f.length, Mask: mask, Xor: zero},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: p.Addr().AsSlice()})
}

func inSet(f family, which int, s *nftables.Set, not bool) []expr.Any {
	return append(loadAddr(f, which), &expr.Lookup{SourceRegister: 1, SetName: s.Name, SetID: s.ID, Invert: not})
}

// isLocal: the destination is an address of this machine.
func isLocal() []expr.Any {
	return []expr.Any{
		&expr.Fib{Register: 1, FlagDADDR: true, ResultADDRTYPE: true},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binaryutil.NativeEndian.PutUint32(unix.RTN_LOCAL)},
	}
}

func isPort(p HostPort) []expr.Any {
	port := binary.BigEndian.AppendUint16(nil, p.Port)
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{p.Protocol}},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: port},
	}
}

// isTranslated: the connection's destination was another one at first.
func isTranslated() []expr.Any {
	const dnat = 1 << 5 // IPS_DST_NAT
	return []expr.Any{
		&expr.Ct{Key: expr.CtKeySTATUS, Register: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: binaryutil.NativeEndian.PutUint32(dnat), Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: make([]byte, 4)},
	}
}
