package nft

import (
	"net/netip"
	"slices"
	"time"

	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/duetk8s/duet/dualstack"
)

// Rule is a rule or a part of one; [Join] makes rules of parts. A part that compares ends the rule
// for packets that do not match.
type Rule []expr.Any

// Join puts parts together.
func Join(parts ...Rule) Rule { return slices.Concat(parts...) }

// The kernel's registers of four bytes, of which a key takes as many in a row as it needs.
const register = unix.NFT_REG32_00

// header is what the rules about a family differ in.
type header struct {
	number       uint32
	source, dest uint32 // offsets
	length       uint32 // of an address
}

func headerOf(f dualstack.Family) header {
	if f == dualstack.IPv4 {
		return header{number: unix.NFPROTO_IPV4, source: 12, dest: 16, length: 4}
	}
	return header{number: unix.NFPROTO_IPV6, source: 8, dest: 24, length: 16}
}

// Field is one field of a packet, to look something up by.
type Field struct {
	words uint32
	load  func(register uint32) expr.Any
}

// Source is a packet's source address.
func Source(f dualstack.Family) Field { return address(f, headerOf(f).source) }

// Destination is a packet's destination address.
func Destination(f dualstack.Family) Field { return address(f, headerOf(f).dest) }

func address(f dualstack.Family, offset uint32) Field {
	h := headerOf(f)
	return Field{h.length / 4, func(r uint32) expr.Any {
		return &expr.Payload{DestRegister: r, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: h.length}
	}}
}

// Protocol is the transport protocol's number.
func Protocol() Field { return meta(expr.MetaKeyL4PROTO) }

// Mark is the packet's mark.
func Mark() Field { return meta(expr.MetaKeyMARK) }

// Priority is the packet's priority.
func Priority() Field { return meta(expr.MetaKeyPRIORITY) }

func meta(key expr.MetaKey) Field {
	return Field{1, func(r uint32) expr.Any { return &expr.Meta{Key: key, Register: r} }}
}

// DestinationPort of whatever transport protocol.
func DestinationPort() Field {
	return Field{1, func(r uint32) expr.Any {
		return &expr.Payload{DestRegister: r, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2}
	}}
}

// Random is a number below n.
func Random(n uint32) Field {
	return Field{1, func(r uint32) expr.Any {
		return &expr.Numgen{Register: r, Modulus: n, Type: unix.NFT_NG_RANDOM}
	}}
}

// load puts fields side by side into registers.
func load(fields []Field) Rule {
	var out Rule
	first := uint32(register)
	for _, f := range fields {
		out = append(out, f.load(first))
		first += f.words
	}
	return out
}

// IsFamily matches packets of a family.
func IsFamily(f dualstack.Family) Rule {
	return Rule{
		&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: register},
		&expr.Cmp{Op: expr.CmpOpEq, Register: register, Data: []byte{byte(headerOf(f).number)}},
	}
}

// In matches packets whose fields are in a set.
func In(set string, fields ...Field) Rule {
	return append(load(fields), &expr.Lookup{SourceRegister: register, SetName: set})
}

// NotIn matches the others.
func NotIn(set string, fields ...Field) Rule {
	return append(load(fields), &expr.Lookup{SourceRegister: register, SetName: set, Invert: true})
}

// IsTransport matches the protocols that have ports. Rules that translate ports begin with it, or nft
// could not read what it prints of them.
func IsTransport() Rule {
	list := []Element{{Key: "\x06"}, {Key: "\x11"}, {Key: "\x84"}} // TCP, UDP, SCTP
	own := &oneOf{
		Lookup:   expr.Lookup{SourceRegister: register},
		set:      Set{Name: "__set%d", Key: []Type{Proto}, anonymous: true, Size: uint32(len(list))}, //nolint:gosec // few
		elements: list,
	}
	return append(load([]Field{Protocol()}), own)
}

// oneOf matches against a set that belongs to the rule.
type oneOf struct {
	expr.Lookup
	set      Set
	elements []Element
}

// lookup leaves what a map has for the fields in the registers; it ends the rule if there is nothing.
func lookup(m string, fields []Field) Rule {
	return append(load(fields), &expr.Lookup{SourceRegister: register, DestRegister: register, IsDestRegSet: true, SetName: m})
}

// Follow goes where a map of verdicts says, and on with the next rule if it says nothing.
func Follow(m string, fields ...Field) Rule {
	return append(load(fields), &expr.Lookup{SourceRegister: register, DestRegister: unix.NFT_REG_VERDICT, IsDestRegSet: true, SetName: m})
}

// FollowMasked is [Follow] by the packet's priority, some bits of it.
func FollowMasked(m string, mask uint32) Rule {
	return Join(maskedPriority(mask), Rule{
		&expr.Lookup{SourceRegister: register, DestRegister: unix.NFT_REG_VERDICT, IsDestRegSet: true, SetName: m},
	})
}

// SetPriority sets the packet's priority to what a map has for the fields.
func SetPriority(m string, fields ...Field) Rule {
	return append(lookup(m, fields), setMeta(expr.MetaKeyPRIORITY))
}

// MaskPriority keeps some bits of the packet's priority.
func MaskPriority(mask uint32) Rule {
	return append(maskedPriority(mask), setMeta(expr.MetaKeyPRIORITY))
}

// SetMark sets the packet's mark to what a map has for the fields.
func SetMark(m string, fields ...Field) Rule {
	return append(lookup(m, fields), setMeta(expr.MetaKeyMARK))
}

// NoPriority sets the packet's priority to none.
func NoPriority() Rule { return zero(expr.MetaKeyPRIORITY) }

// HasPriority matches packets whose priority is set.
func HasPriority() Rule {
	return Rule{
		&expr.Meta{Key: expr.MetaKeyPRIORITY, Register: register},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: register, Data: make([]byte, 4)},
	}
}

// NoMark sets the packet's mark to none.
func NoMark() Rule { return zero(expr.MetaKeyMARK) }

func zero(key expr.MetaKey) Rule {
	return Rule{&expr.Immediate{Register: register, Data: make([]byte, 4)}, setMeta(key)}
}

func setMeta(key expr.MetaKey) expr.Any {
	return &expr.Meta{Key: key, SourceRegister: true, Register: register}
}

func maskedPriority(mask uint32) Rule {
	return Rule{
		&expr.Meta{Key: expr.MetaKeyPRIORITY, Register: register},
		&expr.Bitwise{
			SourceRegister: register, DestRegister: register, Len: 4,
			Mask: binaryutil.NativeEndian.PutUint32(mask), Xor: make([]byte, 4),
		},
	}
}

// Remember adds key → data to a dynamic map, or renews it if the key is there: then the data stays.
func Remember(m string, key []Field, data Field, timeout time.Duration) Rule {
	return dynamic(m, key, data, unix.NFT_DYNSET_OP_UPDATE, timeout)
}

// Forget takes a key out of a dynamic map.
func Forget(m string, key []Field, data Field) Rule {
	return dynamic(m, key, data, dynsetDelete, 0)
}

const dynsetDelete = 2 // NFT_DYNSET_OP_DELETE

func dynamic(m string, key []Field, data Field, operation uint32, timeout time.Duration) Rule {
	value := uint32(register)
	for _, f := range key {
		value += f.words
	}
	return append(load(append(slices.Clone(key), data)), &expr.Dynset{
		SrcRegKey: register, SrcRegData: value, SetName: m, Operation: operation, Timeout: timeout,
	})
}

// Translate sends a connection to the address and port that a map has for the fields.
func Translate(m string, f dualstack.Family, fields ...Field) Rule {
	h := headerOf(f)
	return append(Join(IsTransport(), lookup(m, fields)), &expr.NAT{
		Type: expr.NATTypeDestNAT, Family: h.number, RegAddrMin: register, RegProtoMin: register + h.length/4, Specified: true,
	})
}

// IsTranslated matches connections whose destination was another one at first.
func IsTranslated() Rule {
	const dnat = 1 << 5 // IPS_DST_NAT
	return Rule{
		&expr.Ct{Key: expr.CtKeySTATUS, Register: register},
		&expr.Bitwise{SourceRegister: register, DestRegister: register, Len: 4, Mask: binaryutil.NativeEndian.PutUint32(dnat), Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: register, Data: make([]byte, 4)},
	}
}

// IsLocal matches packets to an address of this machine.
func IsLocal() Rule {
	return Rule{
		&expr.Fib{Register: register, FlagDADDR: true, ResultADDRTYPE: true},
		&expr.Cmp{Op: expr.CmpOpEq, Register: register, Data: binaryutil.NativeEndian.PutUint32(unix.RTN_LOCAL)},
	}
}

// Is matches packets whose field is this address.
func Is(address Field, value netip.Addr) Rule {
	return append(load([]Field{address}), &expr.Cmp{Op: expr.CmpOpEq, Register: register, Data: value.AsSlice()})
}

// NotWithin matches packets whose field is no address of a range.
func NotWithin(address Field, r netip.Prefix) Rule {
	mask := make([]byte, r.Addr().BitLen()/8)
	for i := range r.Bits() {
		mask[i/8] |= 0x80 >> (i % 8)
	}
	return append(load([]Field{address}),
		&expr.Bitwise{SourceRegister: register, DestRegister: register, Len: uint32(len(mask)), Mask: mask, Xor: make([]byte, len(mask))}, //nolint:gosec // an address
		&expr.Cmp{Op: expr.CmpOpNeq, Register: register, Data: r.Masked().Addr().AsSlice()})
}

// LeavesBy matches packets that leave by the link of this name.
func LeavesBy(link string) Rule { return leaves(expr.CmpOpEq, link) }

// LeavesByOther matches packets that leave by any link but that of this name.
func LeavesByOther(link string) Rule { return leaves(expr.CmpOpNeq, link) }

func leaves(op expr.CmpOp, link string) Rule {
	name := make([]byte, unix.IFNAMSIZ) // zeros at the end
	copy(name, link)
	return Rule{&expr.Meta{Key: expr.MetaKeyOIFNAME, Register: register}, &expr.Cmp{Op: op, Register: register, Data: name}}
}

// IsPort matches packets to a port.
func IsPort(protocol uint8, port uint16) Rule {
	return Join(
		load([]Field{Protocol()}), Rule{&expr.Cmp{Op: expr.CmpOpEq, Register: register, Data: []byte{protocol}}},
		load([]Field{DestinationPort()}), Rule{&expr.Cmp{Op: expr.CmpOpEq, Register: register, Data: binaryutil.BigEndian.PutUint16(port)}})
}

// TranslateTo sends a connection to an address and port.
func TranslateTo(to netip.AddrPort) Rule {
	h := headerOf(dualstack.Of(to.Addr()))
	port := register + h.length/4
	return Rule{
		&expr.Immediate{Register: register, Data: to.Addr().AsSlice()},
		&expr.Immediate{Register: port, Data: binaryutil.BigEndian.PutUint16(to.Port())},
		&expr.NAT{Type: expr.NATTypeDestNAT, Family: h.number, RegAddrMin: register, RegProtoMin: port, Specified: true},
	}
}

// Replace writes other source and destination addresses into a packet, which connection tracking does
// not know of. In IPv6 their sum must be that of the old ones, because checksums stay as they are.
func Replace(source, destination netip.Addr) Rule {
	h := headerOf(dualstack.Of(source))
	var out Rule
	for _, part := range []struct {
		offset uint32
		value  netip.Addr
	}{{h.source, source}, {h.dest, destination}} {
		write := &expr.Payload{
			OperationType: expr.PayloadWrite, SourceRegister: register, Base: expr.PayloadBaseNetworkHeader,
			Offset: part.offset, Len: h.length,
		}
		if source.Is4() {
			write.CsumType, write.CsumOffset, write.CsumFlags = expr.CsumTypeInet, 10, unix.NFT_PAYLOAD_L4CSUM_PSEUDOHDR
		}
		out = append(out, &expr.Immediate{Register: register, Data: part.value.AsSlice()}, write)
	}
	return out
}

// Masquerade lets a connection leave with this machine's address.
func Masquerade() Rule { return Rule{&expr.Masq{FullyRandom: true}} }

// Reset answers TCP that nobody listens; it does not match anything else. Clients believe it at once: a
// message that the port is unreachable is lost on one that is still busy sending, which IPv6 clients
// always are, and each peer gets one of those a second at most.
func Reset() Rule {
	return append(load([]Field{Protocol()}),
		&expr.Cmp{Op: expr.CmpOpEq, Register: register, Data: []byte{unix.IPPROTO_TCP}},
		&expr.Reject{Type: unix.NFT_REJECT_TCP_RST})
}

// Reject answers that the port is unreachable.
func Reject() Rule {
	return Rule{&expr.Reject{Type: unix.NFT_REJECT_ICMPX_UNREACH, Code: unix.NFT_REJECT_ICMPX_PORT_UNREACH}}
}

// Drop ends a packet.
func Drop() Rule { return Rule{&expr.Verdict{Kind: expr.VerdictDrop}} }

// To sends a packet to a chain.
func To(j Jump) Rule { return Rule{j.expr()} }

func (j Jump) expr() *expr.Verdict {
	switch {
	case j.Chain == "":
		return &expr.Verdict{Kind: expr.VerdictDrop}
	case j.Goto:
		return &expr.Verdict{Kind: expr.VerdictGoto, Chain: j.Chain}
	}
	return &expr.Verdict{Kind: expr.VerdictJump, Chain: j.Chain}
}
