package proxy

import (
	"context"
	"iter"
	"maps"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/duetk8s/duet/dualstack"
	"github.com/duetk8s/duet/hostnet"
)

// Host is what the proxy needs of the machine besides its table. A connection of the node itself is
// translated only after the kernel has found a route for it, and a machine without a default route
// has none for most Services' addresses. The functions of package hostnet are the real one.
type Host interface {
	Read() (hostnet.State, error)
	// WatchLinks calls changed when links or their addresses may have changed, until ctx ends.
	WatchLinks(ctx context.Context, changed func()) error
	// SetLinkRoutes makes these all of the routes, ChangeLinkRoutes some more or fewer.
	SetLinkRoutes(all []hostnet.LinkRoute) error
	ChangeLinkRoutes(add, remove []hostnet.LinkRoute) error
	// ForgetFlows of these families that match.
	ForgetFlows(v4, v6 bool, match func(hostnet.Flow) bool) error
	// ForgetUnanswered flows that are translated and match.
	ForgetUnanswered(match func(hostnet.Flow) bool) error
}

// ways keeps the routes that Services need. It belongs to the goroutine of [Proxy.Run].
type ways struct {
	host  Host
	to    map[netip.Prefix]bool
	links map[dualstack.Family]int // by which the node's own connections leave before they are translated
	own   []netip.Addr             // the node's
	stale bool                     // the routes are not known to be what is wanted
}

// write makes the routes as wanted, to ranges some of which have come and some gone.
func (w *ways) write(came, went []netip.Prefix) error {
	for _, p := range went {
		delete(w.to, p)
	}
	for _, p := range came {
		w.to[p] = true
	}
	if w.stale {
		return w.renew()
	}
	if len(came)+len(went) == 0 {
		return nil
	}
	err := w.host.ChangeLinkRoutes(w.by(slices.Values(came)), w.by(slices.Values(went)))
	w.stale = err != nil
	return err
}

// renew looks at the machine and compares all routes.
func (w *ways) renew() error {
	s, err := w.host.Read()
	if err != nil {
		return err
	}
	w.links = choose(s, w.own)
	if err := w.host.SetLinkRoutes(append(w.standIns(), w.by(maps.Keys(w.to))...)); err != nil {
		return err
	}
	w.stale = false
	return nil
}

// by returns the routes to ranges, none for those of a family that the machine has no address in.
func (w *ways) by(list iter.Seq[netip.Prefix]) []hostnet.LinkRoute {
	var out []hostnet.LinkRoute
	for p := range list {
		if index := w.links[dualstack.OfPrefix(p)]; index != 0 {
			out = append(out, hostnet.LinkRoute{To: p, Index: index})
		}
	}
	return out
}

// choose returns for each family the link of the node's own address, else that of any other, so that
// the kernel chooses the same source as with a default route.
func choose(s hostnet.State, own []netip.Addr) map[dualstack.Family]int {
	out := map[dualstack.Family]int{}
	found := map[dualstack.Family]bool{}
	for _, a := range s.Addresses {
		f := dualstack.Of(a.Prefix.Addr())
		if !global(a) || found[f] {
			continue
		}
		if found[f] = slices.Contains(own, a.Prefix.Addr()); found[f] || out[f] == 0 {
			out[f] = a.Index
		}
	}
	return out
}

func global(a hostnet.Address) bool {
	ip := a.Prefix.Addr()
	return !ip.IsLoopback() && !ip.IsLinkLocalUnicast()
}

// standIns are local, see [hostnet.StandIn].
func (w *ways) standIns() []hostnet.LinkRoute {
	var out []hostnet.LinkRoute
	for _, f := range dualstack.Families() {
		if w.links[f] != 0 {
			out = append(out, hostnet.StandInOf(f).Route())
		}
	}
	return out
}

// route is the entry of a range that needs a route.
func route(p netip.Prefix) entry {
	return entry{place: place{kindRoutes, dualstack.OfPrefix(p), p.String()}}
}

func routeOf(e entry) netip.Prefix { return netip.MustParsePrefix(e.key) }

// nodeAddresses are those by which the cluster knows a node.
func nodeAddresses(n *corev1.Node) []netip.Addr {
	var out []netip.Addr
	for _, a := range n.Status.Addresses {
		if ip, err := netip.ParseAddr(a.Address); err == nil && a.Type == corev1.NodeInternalIP {
			out = append(out, ip.Unmap())
		}
	}
	return out
}

// machine is the real Host.
type machine struct{}

func (machine) Read() (hostnet.State, error)              { return hostnet.Read() }
func (machine) SetLinkRoutes(r []hostnet.LinkRoute) error { return hostnet.SetLinkRoutes(r) }

func (machine) WatchLinks(ctx context.Context, changed func()) error {
	return hostnet.WatchLinks(ctx, changed)
}

func (machine) ChangeLinkRoutes(add, remove []hostnet.LinkRoute) error {
	return hostnet.ChangeLinkRoutes(add, remove)
}

func (machine) ForgetFlows(v4, v6 bool, match func(hostnet.Flow) bool) error {
	return hostnet.ForgetFlows(v4, v6, match)
}

func (machine) ForgetUnanswered(match func(hostnet.Flow) bool) error {
	return hostnet.ForgetUnanswered(match)
}
