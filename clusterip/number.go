package clusterip

import (
	"encoding/binary"
	"math"
	"math/bits"
	"net/netip"
)

// A number is 128 bits wide: an address of either family, or a port. IPv4 addresses are numbered
// as their IPv4-mapped IPv6 form, ::ffff:0:0/96, which no Service may hold, so that both families
// share one numbering.
type number struct{ hi, lo uint64 }

func numberOf(a netip.Addr) number {
	b := a.As16()
	return number{binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])}
}

// addr undoes numberOf.
func (n number) addr() netip.Addr {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], n.hi)
	binary.BigEndian.PutUint64(b[8:], n.lo)
	return netip.AddrFrom16(b).Unmap()
}

func (n number) less(m number) bool {
	return n.hi < m.hi || n.hi == m.hi && n.lo < m.lo
}

func (n number) plus(m number) number {
	lo, carry := bits.Add64(n.lo, m.lo, 0)
	hi, _ := bits.Add64(n.hi, m.hi, carry)
	return number{hi, lo}
}

func (n number) minus(m number) number {
	lo, borrow := bits.Sub64(n.lo, m.lo, 0)
	hi, _ := bits.Sub64(n.hi, m.hi, borrow)
	return number{hi, lo}
}

func (n number) plus64(m uint64) number { return n.plus(number{lo: m}) }

// word and bit split n into the index of a 64-bit word and a bit of it; join undoes that.
func (n number) word() number { return number{n.hi >> 6, n.lo>>6 | n.hi<<58} }
func (n number) bit() uint    { return uint(n.lo & 63) }
func (n number) join(bit int) number {
	return number{n.hi<<6 | n.lo>>58, n.lo<<6 | uint64(bit)}
}

// saturated returns n, or the largest uint64 where n exceeds it.
func (n number) saturated() uint64 {
	if n.hi > 0 {
		return math.MaxUint64
	}
	return n.lo
}

// draw returns a number below n, which must not be zero. random(m) must return one below m. Above
// 64 bits the draw is not perfectly even, which does not matter for where a search begins.
func draw(n number, random func(uint64) uint64) number {
	if n.hi == 0 {
		return number{lo: random(n.lo)}
	}
	r := number{lo: random(1<<32)<<32 | random(1<<32)}
	if n.hi == math.MaxUint64 {
		r.hi = random(n.hi)
	} else {
		r.hi = random(n.hi + 1)
	}
	if !r.less(n) {
		r = r.minus(n)
	}
	return r
}
