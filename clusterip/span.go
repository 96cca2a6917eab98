package clusterip

import (
	"errors"
	"net/netip"

	"github.com/duetk8s/duet/dualstack"
)

// A span is what one range has to give: the numbers from first to last, of which the first `static`
// are meant for those who ask for a number by name. A number picked for somebody who did not ask
// comes from the rest while that lasts, so that well-known addresses stay free (B6.5, A9.3).
//
//	10.96.0.0/24     .0        .1 … .16      .17 … .254    .255
//	               network   static band   dynamic band  broadcast
type span struct {
	first, last number
	static      uint64
}

// addressSpan returns the usable addresses of p: all but the all-zero host and, in IPv4, the
// broadcast address (B6.2). It reports false if there are none: IPv4 /31 and /32, IPv6 /128.
//
// Any prefix length will do; upstream refuses IPv6 prefixes shorter than /64 (B6.4).
func addressSpan(p netip.Prefix) (span, bool) {
	family := dualstack.OfPrefix(p)
	hostBits := family.Bits() - p.Bits()
	network := numberOf(p.Masked().Addr())
	s := span{
		first:  network.plus64(1),
		last:   network.plus(lowBits(hostBits)),
		static: staticAddresses(hostBits),
	}
	if family == dualstack.IPv4 {
		s.last = s.last.minus(number{lo: 1})
	}
	usable := hostBits >= 1
	if family == dualstack.IPv4 {
		usable = hostBits >= 2
	}
	return s, usable
}

// Usable reports whether a Service can have addr from p (B6.2).
func Usable(p netip.Prefix, addr netip.Addr) bool {
	s, ok := addressSpan(p)
	return ok && p.Contains(addr) && s.contains(numberOf(addr))
}

// ValidateRanges checks the Service ranges of the command line beyond what [dualstack.Parse] does:
// the first one must have room for more than the cluster's own Services (B4.7).
func ValidateRanges(prefixes []netip.Prefix) error {
	if p := prefixes[0]; dualstack.OfPrefix(p).Bits()-p.Bits() < 3 {
		return errors.New("the service cluster IP range must be at least 8 IP addresses")
	}
	return nil
}

// lowBits returns the number whose n lowest bits are set.
func lowBits(n int) number {
	if n >= 64 {
		return number{1<<(n-64) - 1, full}
	}
	return number{lo: 1<<n - 1}
}

// staticAddresses is the size of the static band of a prefix: a sixteenth of it, at least 16 and at
// most 256, and none where 16 would be all of it (B6.5).
func staticAddresses(hostBits int) uint64 {
	switch {
	case hostBits <= 4:
		return 0
	case hostBits >= 12:
		return 256
	}
	return max(16, uint64(1)<<hostBits/16)
}

// contains reports whether n is one of the span's numbers.
func (sp span) contains(n number) bool {
	return !n.less(sp.first) && !sp.last.less(n)
}

// total is how many numbers the span has. It saturates: an IPv6 /64 has exactly as many usable
// addresses as the largest uint64 says, and a shorter prefix is said to have as many.
func (sp span) total() uint64 {
	n := sp.last.minus(sp.first)
	if n.saturated() == full {
		return full
	}
	return n.lo + 1
}

// pick returns a number of the span that is neither taken nor to be skipped: from the dynamic band
// if possible, else from the static one, in each band the first from a random start on, around its
// end (B6.6, A9.3). Skip may be nil.
func (sp span) pick(taken *set, random func(uint64) uint64, skip func(number) bool) (number, bool) {
	dynamic := sp.first.plus64(sp.static)
	if n, ok := pickBetween(dynamic, sp.last, taken, random, skip); ok || sp.static == 0 {
		return n, ok
	}
	return pickBetween(sp.first, dynamic.minus(number{lo: 1}), taken, random, skip)
}

func pickBetween(first, last number, taken *set, random func(uint64) uint64, skip func(number) bool) (number, bool) {
	start := first.plus(draw(last.minus(first).plus64(1), random))
	if n, ok := firstFree(start, last, taken, skip); ok {
		return n, ok
	}
	return firstFree(first, start.minus(number{lo: 1}), taken, skip)
}

// firstFree returns the first number between two others, both included, that may be had.
func firstFree(n, last number, taken *set, skip func(number) bool) (number, bool) {
	for {
		free, ok := taken.next(n)
		if !ok || last.less(free) {
			return number{}, false
		}
		if skip == nil || !skip(free) {
			return free, true
		}
		if free == last {
			return number{}, false
		}
		n = free.plus64(1)
	}
}
