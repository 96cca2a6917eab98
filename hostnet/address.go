package hostnet

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Lifetime says how long an address is meant to stay. Smaller is longer.
type Lifetime int

// The lifetimes, in the order in which a node prefers them.
const (
	// Static addresses were configured and never expire.
	Static Lifetime = iota
	// Dynamic ones come from DHCP or router advertisements and are renewed.
	Dynamic
	// Temporary ones are IPv6 privacy addresses (RFC 8981), which change every day, and secondary
	// IPv4 addresses: the kernel has one flag for both.
	Temporary
)

// Address is one address of the machine.
type Address struct {
	Prefix     netip.Prefix // the address, and which of its neighbours are on the link
	Link       string
	Index      int // of the link
	MTU        int // of the link
	Lifetime   Lifetime
	Deprecated bool // still valid, no longer to be used for anything new
	Pending    bool // duplicate address detection has not ended, or has failed
}

// Default is a default route.
type Default struct {
	IPv6       bool
	Index      int // of the link
	Metric     int
	Advertised bool // learned by the kernel from a router advertisement
}

// State is what a machine's addresses and ways out look like at one moment.
type State struct {
	Addresses []Address // in the kernel's order, links that are down left out
	Defaults  []Default
}

// Read returns the present state.
func Read() (State, error) {
	var s State
	links, err := dump(netlink.LinkList)
	if err != nil {
		return s, fmt.Errorf("list links: %w", err)
	}
	byIndex := make(map[int]*netlink.LinkAttrs, len(links))
	for _, l := range links {
		byIndex[l.Attrs().Index] = l.Attrs()
	}
	list, err := dump(func() ([]netlink.Addr, error) { return netlink.AddrList(nil, netlink.FAMILY_ALL) })
	if err != nil {
		return s, fmt.Errorf("list addresses: %w", err)
	}
	for _, a := range list {
		link, addr := byIndex[a.LinkIndex], prefixOf(a.IPNet)
		if link == nil || !addr.IsValid() || link.Flags&net.FlagUp == 0 {
			continue
		}
		s.Addresses = append(s.Addresses, Address{
			Prefix: addr, Link: link.Name, Index: link.Index, MTU: link.MTU,
			Lifetime:   lifetime(a.Flags),
			Deprecated: a.Flags&unix.IFA_F_DEPRECATED != 0,
			Pending:    a.Flags&(unix.IFA_F_TENTATIVE|unix.IFA_F_DADFAILED) != 0 && a.Flags&unix.IFA_F_OPTIMISTIC == 0,
		})
	}
	s.Defaults, err = defaults()
	return s, err
}

func defaults() ([]Default, error) {
	var out []Default
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		routes, err := dump(func() ([]netlink.Route, error) {
			return netlink.RouteListFiltered(family, &netlink.Route{Table: unix.RT_TABLE_MAIN}, netlink.RT_FILTER_TABLE|netlink.RT_FILTER_DST)
		})
		if err != nil {
			return nil, fmt.Errorf("list default routes: %w", err)
		}
		for _, r := range routes {
			for _, index := range hops(r) {
				out = append(out, Default{
					IPv6: family == netlink.FAMILY_V6, Index: index, Metric: r.Priority,
					Advertised: r.Protocol == unix.RTPROT_RA,
				})
			}
		}
	}
	return out, nil
}

// hops returns the links that a route leaves by.
func hops(r netlink.Route) []int {
	if len(r.MultiPath) == 0 {
		if r.Type != unix.RTN_UNICAST {
			return nil
		}
		return []int{r.LinkIndex}
	}
	var out []int
	for _, h := range r.MultiPath {
		out = append(out, h.LinkIndex)
	}
	return out
}

func lifetime(flags int) Lifetime {
	switch {
	case flags&unix.IFA_F_TEMPORARY != 0:
		return Temporary
	case flags&unix.IFA_F_PERMANENT != 0:
		return Static
	}
	return Dynamic
}

// dump asks the kernel for a list, again if it says that the list changed while it was read.
func dump[T any](list func() ([]T, error)) (out []T, err error) {
	for range 10 {
		if out, err = list(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	return out, err
}

func prefixOf(n *net.IPNet) netip.Prefix {
	if n == nil {
		return netip.Prefix{}
	}
	addr, _ := netip.AddrFromSlice(n.IP)
	bits, _ := n.Mask.Size()
	return netip.PrefixFrom(addr.Unmap(), bits)
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
