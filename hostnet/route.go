package hostnet

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// RouteProtocol marks our routes: `ip route show proto 146` lists them.
const RouteProtocol = 146

// Route says through which neighbour a range is reached.
type Route struct {
	To  netip.Prefix
	Via netip.Addr
}

// SetRoutes makes the main table hold these of our routes and no others. One that cannot be set, for
// example because Via is no neighbour, does not keep the others from being set; the error joins all
// failures.
func SetRoutes(want []Route) error {
	wanted := make(map[netip.Prefix]netip.Addr, len(want))
	for _, r := range want {
		wanted[r.To.Masked()] = r.Via
	}
	var errs []error
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		have, err := ourRoutes(family, unix.RT_TABLE_MAIN)
		if err != nil {
			return err
		}
		for _, r := range have {
			to := prefixOf(r.Dst)
			via, _ := netip.AddrFromSlice(r.Gw)
			next, ok := wanted[to]
			if ok && next == via.Unmap() {
				delete(wanted, to)
			} else if !ok {
				if err := netlink.RouteDel(&r); err != nil && !errors.Is(err, unix.ESRCH) {
					errs = append(errs, fmt.Errorf("remove the route to %s: %w", to, err))
				}
			}
		}
	}
	for _, r := range want {
		if _, ok := wanted[r.To.Masked()]; !ok {
			continue
		}
		route := &netlink.Route{Dst: ipNet(r.To.Masked()), Gw: r.Via.AsSlice(), Protocol: RouteProtocol, Table: unix.RT_TABLE_MAIN}
		if err := netlink.RouteReplace(route); err != nil {
			errs = append(errs, fmt.Errorf("route to %s via %s: %w", r.To, r.Via, err))
		}
	}
	return errors.Join(errs...)
}
