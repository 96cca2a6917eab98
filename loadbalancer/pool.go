package loadbalancer

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/duetk8s/duet/dualstack"
)

// Pool is a named stock of addresses. In IPv4 every address of a prefix counts: give no prefix whose
// first or last address the network uses otherwise.
type Pool struct {
	Name     string
	Prefixes []netip.Prefix
	// Refused prefixes have addresses of somebody else's, and whose: nothing more is given from them.
	// What Services have from them stays theirs.
	Refused map[netip.Prefix]Range
}

// Range is where somebody else's addresses are.
type Range struct {
	Prefix netip.Prefix
	Whose  string // "the Pods", "ServiceCIDR kubernetes", "node worker0"
}

// Pools in the order in which they are used up.
type Pools []Pool

// ParsePool reads prefixes and single addresses, separated by commas or white space:
//
//	192.0.2.192/27, 192.0.2.7
//	2001:db8::f000/116
//
// The pool has those that can be read; the error names the others.
func ParsePool(name, text string) (Pool, error) {
	pool := Pool{Name: name}
	var errs []error
	for word := range strings.FieldsFuncSeq(text, func(r rune) bool { return strings.ContainsRune(", \t\r\n", r) }) {
		p, err := parsePrefix(word)
		if err != nil {
			errs = append(errs, fmt.Errorf("pool %s: %q %w", name, word, err))
			continue
		}
		pool.Prefixes = append(pool.Prefixes, p)
	}
	if len(pool.Prefixes) == 0 && len(errs) == 0 {
		errs = append(errs, fmt.Errorf("pool %s has no addresses, want e.g. 192.0.2.192/27, 2001:db8::f000/116", name))
	}
	return pool, errors.Join(errs...)
}

func parsePrefix(word string) (netip.Prefix, error) {
	if addr, err := netip.ParseAddr(word); err == nil && addr.Zone() == "" {
		addr = addr.Unmap()
		return checkPrefix(netip.PrefixFrom(addr, addr.BitLen()))
	}
	p, err := netip.ParsePrefix(word)
	switch {
	case err != nil:
		return p, errors.New("is neither an address nor a prefix, want e.g. 192.0.2.192/27")
	case p.Addr().Is4In6():
		return p, errors.New("must not have an IPv4-mapped IPv6 address")
	case p != p.Masked():
		return p, fmt.Errorf("has bits set beyond the prefix length, want %s", p.Masked())
	}
	return checkPrefix(p)
}

// checkPrefix refuses addresses that no client could use.
func checkPrefix(p netip.Prefix) (netip.Prefix, error) {
	a := p.Addr()
	if p.Bits() == 0 || a.IsLoopback() || a.IsMulticast() || a.IsLinkLocalUnicast() || a.IsUnspecified() {
		return p, errors.New("is no range of the nodes' network")
	}
	return p, nil
}

// ParsePools reads one pool from each entry, in the order of their names; see ParsePool.
func ParsePools(data map[string]string) (ps Pools, errs []error) {
	for _, name := range slices.Sorted(maps.Keys(data)) {
		pool, err := ParsePool(name, data[name])
		if err != nil {
			errs = append(errs, err)
		}
		if len(pool.Prefixes) > 0 {
			ps = append(ps, pool)
		}
	}
	return ps, errs
}

// Against returns the pools with those prefixes refused that have addresses of somebody else's, and
// says which.
func (ps Pools) Against(others []Range) (out Pools, problems []error) {
	out = slices.Clone(ps)
	for i := range out {
		out[i].Refused = map[netip.Prefix]Range{}
		for _, p := range out[i].Prefixes {
			at := slices.IndexFunc(others, func(r Range) bool { return p.Overlaps(r.Prefix) })
			if at >= 0 {
				out[i].Refused[p] = others[at]
				problems = append(problems, errors.New(out[i].refusal(p)))
			}
		}
	}
	return out, problems
}

func (pool Pool) refusal(p netip.Prefix) string {
	r := pool.Refused[p]
	if r.Prefix.IsSingleIP() {
		return fmt.Sprintf("pool %s: %s has the address of %s", pool.Name, p, r.Whose)
	}
	return fmt.Sprintf("pool %s: %s overlaps %s of %s", pool.Name, p, r.Prefix, r.Whose)
}

// prefixes calls f with every prefix of every pool until it returns false.
func (ps Pools) prefixes(f func(Pool, netip.Prefix, bool) bool) {
	for _, pool := range ps {
		for _, p := range pool.Prefixes {
			if _, refused := pool.Refused[p]; !f(pool, p, refused) {
				return
			}
		}
	}
}

// contain tells whether a pool has the address, be it that nothing more is given from there.
func (ps Pools) contain(addr netip.Addr) (found bool) {
	ps.prefixes(func(_ Pool, p netip.Prefix, _ bool) bool {
		found = p.Contains(addr)
		return !found
	})
	return found
}

// may tells whether the address may be given, and if not, why: what is refused, or "" if it is in no
// pool.
func (ps Pools) may(addr netip.Addr) (ok bool, refusal string) {
	ps.prefixes(func(pool Pool, p netip.Prefix, refused bool) bool {
		if p.Contains(addr) {
			if ok = !refused; refused {
				refusal = pool.refusal(p)
			}
		}
		return !ok
	})
	return ok, refusal
}

// free returns the first address of a family that nobody has. exists tells whether there is any
// prefix of the family that addresses are given from; refusals are why others are not.
func (ps Pools) free(family dualstack.Family, taken func(netip.Addr) bool) (addr netip.Addr, exists, ok bool, refusals []string) {
	ps.prefixes(func(pool Pool, p netip.Prefix, refused bool) bool {
		switch {
		case dualstack.OfPrefix(p) != family:
			return true
		case refused:
			refusals = append(refusals, pool.refusal(p))
			return true
		}
		exists = true
		for addr = p.Addr(); p.Contains(addr); addr = addr.Next() {
			if !taken(addr) {
				ok = true
				return false
			}
		}
		return true
	})
	return addr, exists, ok, refusals
}
