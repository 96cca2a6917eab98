package nodeipam

import (
	"fmt"
	"math/big"
	"net/netip"
	"slices"

	"github.com/duetk8s/duet/dualstack"
)

// partBits is how long the prefix of each node's block is (D1.2).
func partBits(f dualstack.Family) int {
	if f == dualstack.IPv6 {
		return 64
	}
	return 24
}

// pool hands out the equal parts of one range, each to one node at a time: the next free one after
// the last that was given, round and round (D1.4), so that a block rests before it is used again.
type pool struct {
	whole netip.Prefix
	part  int // bits of a part's prefix
	count uint64
	next  uint64
	taken map[uint64]bool
}

// newPool divides a range. An IPv6 range longer than 16 bits shorter than a part has 2^16 parts at
// most in use (D1.3), which is a limit of the flag, not of this code.
func newPool(whole netip.Prefix) (*pool, error) {
	part := partBits(dualstack.OfPrefix(whole))
	switch spare := part - whole.Bits(); {
	case spare < 0:
		return nil, fmt.Errorf("range %s is smaller than the /%d that each node gets", whole, part)
	case spare > 16:
		return nil, fmt.Errorf("range %s: New CIDR set failed; the node CIDR size is too big", whole)
	default:
		return &pool{whole: whole.Masked(), part: part, count: 1 << spare, taken: map[uint64]bool{}}, nil
	}
}

// at returns part number i.
func (p *pool) at(i uint64) netip.Prefix {
	base := p.whole.Addr().AsSlice()
	shift := uint(len(base)*8 - p.part)
	sum := new(big.Int).Add(new(big.Int).SetBytes(base), new(big.Int).Lsh(new(big.Int).SetUint64(i), shift))
	addr, _ := netip.AddrFromSlice(sum.FillBytes(base))
	return netip.PrefixFrom(addr, p.part)
}

// index is the inverse of at; false for a prefix that is no part of the range.
func (p *pool) index(part netip.Prefix) (uint64, bool) {
	if part.Bits() != p.part || !p.whole.Contains(part.Addr()) {
		return 0, false
	}
	number := new(big.Int).Rsh(new(big.Int).SetBytes(part.Addr().AsSlice()), uint(part.Addr().BitLen()-p.part))
	low := number.And(number, new(big.Int).SetUint64(p.count-1)).Uint64()
	return low, true
}

// occupy marks all parts that overlap a prefix.
func (p *pool) occupy(other netip.Prefix) {
	if i, ok := p.index(other); ok {
		p.taken[i] = true
		return
	}
	if !p.whole.Overlaps(other) {
		return
	}
	for i := range p.count {
		if p.at(i).Overlaps(other) {
			p.taken[i] = true
		}
	}
}

// free gives a part back.
func (p *pool) free(part netip.Prefix) {
	if i, ok := p.index(part); ok {
		delete(p.taken, i)
	}
}

// peek returns the part that would be given next.
func (p *pool) peek() (uint64, bool) {
	for n := range p.count {
		if i := (p.next + n) % p.count; !p.taken[i] {
			return i, true
		}
	}
	return 0, false
}

func (p *pool) take(i uint64) netip.Prefix {
	p.taken[i], p.next = true, (i+1)%p.count
	return p.at(i)
}

// pools are those of all families, in flag order.
type pools []*pool

// errFull says that one family has no block left; then no family gives one (D1.5).
var errFull = fmt.Errorf("CIDR allocation failed; there are no remaining CIDRs left to allocate in the accepted range")

// allocate takes one block of every family, or none.
func (ps pools) allocate() ([]netip.Prefix, error) {
	picks := make([]uint64, len(ps))
	for f, p := range ps {
		i, ok := p.peek()
		if !ok {
			return nil, fmt.Errorf("%s: %w", p.whole, errFull)
		}
		picks[f] = i
	}
	out := make([]netip.Prefix, len(ps))
	for f, p := range ps {
		out[f] = p.take(picks[f])
	}
	return out, nil
}

func (ps pools) occupy(prefixes []netip.Prefix) {
	for _, p := range ps {
		for _, other := range prefixes {
			p.occupy(other)
		}
	}
}

func (ps pools) free(prefixes []netip.Prefix) {
	for _, p := range ps {
		for _, other := range prefixes {
			p.free(other)
		}
	}
}

// parse reads podCIDRs; what cannot be read takes no block.
func parse(cidrs []string) []netip.Prefix {
	var out []netip.Prefix
	for _, c := range cidrs {
		if p, err := netip.ParsePrefix(c); err == nil {
			out = append(out, p)
		}
	}
	return slices.Clip(out)
}
