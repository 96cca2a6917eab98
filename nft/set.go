package nft

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
)

// Type of a key's or value's field.
type Type int

// The types, by the names that nft prints.
const (
	Addr4   Type = iota // ipv4_addr
	Addr6               // ipv6_addr
	Proto               // inet_proto
	Port                // inet_service
	Class               // classid: a packet's priority, used as a register
	Number              // mark: a number in the machine's byte order
	Index               // numgen: a random number, see [Random]
	Verdict             // a chain to go or jump to, or drop
)

// Set describes a set, or a map if it has data.
type Set struct {
	Name      string
	Key, Data []Type
	Interval  bool // elements are ranges, see [Ranges]
	Dynamic   bool // rules add elements, which expire
	Size      uint32

	anonymous bool // of one rule
}

// Element of a set. Keys and data are the fields' bytes, each padded to four, see [Bytes].
type Element struct {
	Key, Data string
	Verdict   Jump // instead of Data in a map of verdicts
	End       bool // of a range, the first address beyond it
}

// Jump is where a map of verdicts sends a packet. The zero value is drop.
type Jump struct {
	Chain string
	Goto  bool // do not come back
}

// Bytes joins fields into a key or data: [netip.Addr], uint8 for a protocol, uint16 for a port,
// uint32 for a number or class.
func Bytes(fields ...any) string {
	var b []byte
	for _, f := range fields {
		switch f := f.(type) {
		case netip.Addr:
			b = append(b, f.AsSlice()...)
		case uint8:
			b = append(b, f, 0, 0, 0)
		case uint16:
			b = append(binary.BigEndian.AppendUint16(b, f), 0, 0)
		case uint32:
			b = binary.NativeEndian.AppendUint32(b, f)
		default:
			panic(fmt.Sprintf("nft: no field: %T", f))
		}
	}
	return string(b)
}

// Ranges returns the elements of an interval set that holds these prefixes: those that overlap or
// touch are joined, because the kernel refuses them.
func Ranges(prefixes []netip.Prefix) []Element {
	sorted := slices.Clone(prefixes)
	for i := range sorted {
		sorted[i] = sorted[i].Masked()
	}
	slices.SortFunc(sorted, func(a, b netip.Prefix) int { return a.Addr().Compare(b.Addr()) })
	var out []Element
	var next netip.Addr // the first address after the last range; invalid: the range reaches the end
	for i, p := range sorted {
		if i > 0 && (!next.IsValid() || p.Addr().Less(next)) {
			if next.IsValid() && next.Less(after(p)) || !after(p).IsValid() {
				out, next = end(out, next, after(p))
			}
			continue
		}
		if i > 0 && p.Addr() == next {
			out, next = end(out, next, after(p))
			continue
		}
		out = append(out, Element{Key: Bytes(p.Addr())})
		out, next = end(out, netip.Addr{}, after(p))
	}
	return out
}

// end moves the end of the last range from old, if it has one, to now.
func end(out []Element, old, now netip.Addr) ([]Element, netip.Addr) {
	if old.IsValid() {
		out = out[:len(out)-1]
	}
	if now.IsValid() {
		out = append(out, Element{Key: Bytes(now), End: true})
	}
	return out, now
}

// after returns the first address after a prefix, invalid if there is none.
func after(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a.Next()
}
