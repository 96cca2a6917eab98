package loadbalancer

import (
	"fmt"
	"net/netip"

	"github.com/duetk8s/duet/dualstack"
)

// Pool is a named stock of addresses. In IPv4 every address of a prefix counts: give no prefix whose
// first or last address the network uses otherwise.
type Pool struct {
	Name     string
	Prefixes []netip.Prefix
}

// Pools in the order in which they are used up.
type Pools []Pool

// Check returns an error that names a prefix of a pool which has addresses of somebody else's.
func (ps Pools) Check(others map[string][]netip.Prefix) error {
	for _, pool := range ps {
		for _, p := range pool.Prefixes {
			for whose, list := range others {
				for _, other := range list {
					if p.Overlaps(other) {
						return fmt.Errorf("load balancer pool %s: %s overlaps %s of the %s", pool.Name, p, other, whose)
					}
				}
			}
		}
	}
	return nil
}

// contain tells whether a pool has the address.
func (ps Pools) contain(addr netip.Addr) bool {
	for _, pool := range ps {
		for _, p := range pool.Prefixes {
			if p.Contains(addr) {
				return true
			}
		}
	}
	return false
}

// free returns the first address of a family that nobody has. exists tells whether there is any
// prefix of the family.
func (ps Pools) free(family dualstack.Family, taken func(netip.Addr) bool) (addr netip.Addr, exists, ok bool) {
	for _, pool := range ps {
		for _, p := range pool.Prefixes {
			if dualstack.OfPrefix(p) != family {
				continue
			}
			exists = true
			for a := p.Addr(); p.Contains(a); a = a.Next() {
				if !taken(a) {
					return a, true, true
				}
			}
		}
	}
	return netip.Addr{}, exists, false
}
