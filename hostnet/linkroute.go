package hostnet

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// FallbackTable holds routes that count where the main table knows none, not even a default:
// `ip route show table 146`.
const FallbackTable = 146

// After main (32766) and default (32767).
const fallbackPriority = 32800

// Loopback is the index of that link in every network namespace.
const Loopback = 1

// LinkRoute says that a range is behind a link: a fallback, or, if Local, of this machine itself.
type LinkRoute struct {
	To    netip.Prefix
	Index int // of the link
	Local bool
}

// SetLinkRoutes makes these all of our link routes. One that cannot be set, for example because its
// link has gone, does not keep the others from being set; the error joins all failures.
func SetLinkRoutes(want []LinkRoute) error {
	wanted := make(map[LinkRoute]bool, len(want))
	families := map[bool]bool{} // a kernel may have no IPv6
	for _, r := range want {
		wanted[r], families[r.To.Addr().Is6()] = true, true
	}
	var errs []error
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		if families[family == netlink.FAMILY_V6] {
			if err := lookIntoFallback(family); err != nil {
				return err
			}
		}
		have, err := ourRoutes(family, unix.RT_TABLE_UNSPEC)
		if err != nil {
			return err
		}
		for _, r := range have {
			found := LinkRoute{prefixOf(r.Dst), r.LinkIndex, r.Table == unix.RT_TABLE_LOCAL}
			switch {
			case r.Table == unix.RT_TABLE_MAIN: // SetRoutes's
			case wanted[found]:
				delete(wanted, found)
			default:
				errs = append(errs, found.remove())
			}
		}
	}
	for _, r := range want {
		if wanted[r] {
			errs = append(errs, r.add())
		}
	}
	return errors.Join(errs...)
}

// ChangeLinkRoutes adds some and removes others of our link routes, whatever the number of all. It is
// no error that one is there already, or is not.
func ChangeLinkRoutes(add, remove []LinkRoute) error {
	var errs []error
	for _, r := range remove {
		errs = append(errs, r.remove())
	}
	for _, r := range add {
		errs = append(errs, r.add())
	}
	return errors.Join(errs...)
}

func (r LinkRoute) add() error {
	if err := netlink.RouteAdd(r.route()); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("route to %s by link %d: %w", r.To, r.Index, err)
	}
	return nil
}

func (r LinkRoute) remove() error {
	if err := netlink.RouteDel(r.route()); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("remove the route to %s by link %d: %w", r.To, r.Index, err)
	}
	return nil
}

func (r LinkRoute) route() *netlink.Route {
	out := &netlink.Route{
		Dst: ipNet(r.To.Masked()), LinkIndex: r.Index, Protocol: RouteProtocol, Table: FallbackTable, Scope: netlink.SCOPE_LINK,
	}
	if r.Local {
		out.Table, out.Type, out.Scope = unix.RT_TABLE_LOCAL, unix.RTN_LOCAL, netlink.SCOPE_HOST
	}
	return out
}

// ourRoutes of a table; of all, if it is unspecified.
func ourRoutes(family, table int) ([]netlink.Route, error) {
	have, err := dump(func() ([]netlink.Route, error) {
		return netlink.RouteListFiltered(family, &netlink.Route{Table: table, Protocol: RouteProtocol},
			netlink.RT_FILTER_TABLE|netlink.RT_FILTER_PROTOCOL)
	})
	if err != nil {
		return nil, fmt.Errorf("list routes: %w", err)
	}
	return have, nil
}

// lookIntoFallback makes the kernel look into the table when it has found nothing elsewhere.
func lookIntoFallback(family int) error {
	list, err := dump(func() ([]netlink.Rule, error) {
		return netlink.RuleListFiltered(family, &netlink.Rule{Table: FallbackTable}, netlink.RT_FILTER_TABLE)
	})
	if err != nil {
		return fmt.Errorf("list routing rules: %w", err)
	}
	if len(list) > 0 {
		return nil
	}
	rule := netlink.NewRule()
	rule.Family, rule.Table, rule.Priority, rule.Protocol = family, FallbackTable, fallbackPriority, RouteProtocol
	if err := netlink.RuleAdd(rule); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("add the routing rule for table %d: %w", FallbackTable, err)
	}
	return nil
}
