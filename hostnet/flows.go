package hostnet

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Flow is one direction of a connection that the kernel keeps track of, as its client sees it.
type Flow struct {
	Protocol uint8          // an IP protocol number
	To       netip.AddrPort // whom the client sends to
	By       netip.AddrPort // who answers: another one if the kernel translates
}

// ForgetFlows makes the kernel forget those that match: the next packet is the first of a new one. It
// looks at all that there could be, for each family anew: with the kernel's table of 262,144 buckets 5 ms
// of a processor, however few flows there are.
func ForgetFlows(v4, v6 bool, match func(Flow) bool) error {
	for family, wanted := range map[netlink.InetFamily]bool{unix.AF_INET: v4, unix.AF_INET6: v6} {
		if !wanted {
			continue
		}
		_, err := netlink.ConntrackDeleteFilters(netlink.ConntrackTable, family, filter(match))
		switch {
		case errors.Is(err, fs.ErrNotExist): // nothing is tracked
		case err != nil && !errors.Is(err, netlink.ErrDumpInterrupted): // flows come and go all the time
			return fmt.Errorf("forget connections: %w", err)
		}
	}
	return nil
}

type filter func(Flow) bool

// MatchConntrackFlow is the library's name for it.
func (f filter) MatchConntrackFlow(c *netlink.ConntrackFlow) bool {
	to, _ := netip.AddrFromSlice(c.Forward.DstIP)
	by, _ := netip.AddrFromSlice(c.Reverse.SrcIP)
	return f(Flow{
		c.Forward.Protocol,
		netip.AddrPortFrom(to.Unmap(), c.Forward.DstPort), netip.AddrPortFrom(by.Unmap(), c.Reverse.SrcPort),
	})
}
