package network

import (
	"encoding/json"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/duetk8s/duet/dualstack"
	"github.com/duetk8s/duet/hostnet"
)

// Snapshot is all that a node's wanted network follows from.
type Snapshot struct {
	Node     string         // our name
	Nodes    []*corev1.Node // all of them
	Ports    []hostnet.HostPort
	MTU      int
	Bridge   string
	StateDir string // where the host-local plugin keeps which addresses are taken
}

// Wanted is the network that a node should have. The zero value means none: no range yet.
type Wanted struct {
	Conflist []byte
	Bridge   hostnet.Bridge
	Routes   []hostnet.Route
	Table    hostnet.Table
}

// Plan decides. Nodes without a range or an address in its family are left out.
func Plan(s Snapshot) Wanted {
	var w Wanted
	var own []netip.Prefix
	for _, n := range s.Nodes {
		ranges, addresses := podCIDRs(n), internalIPs(n)
		w.Table.Inside = append(w.Table.Inside, ranges...)
		for _, list := range addresses.All() {
			for _, a := range *list {
				w.Table.Inside = append(w.Table.Inside, netip.PrefixFrom(a, a.BitLen()))
			}
		}
		if n.Name == s.Node {
			own = ranges
			continue
		}
		for _, r := range ranges {
			if via := *addresses.At(dualstack.OfPrefix(r)); len(via) > 0 {
				w.Routes = append(w.Routes, hostnet.Route{To: r, Via: via[0]})
			}
		}
	}
	if len(own) == 0 {
		return Wanted{}
	}
	w.Table.Local, w.Table.Ports = own, s.Ports
	w.Bridge = hostnet.Bridge{Name: s.Bridge, MTU: s.MTU}
	for _, r := range own {
		w.Bridge.Addresses = append(w.Bridge.Addresses, netip.PrefixFrom(r.Addr().Next(), r.Bits()))
	}
	w.Conflist = conflist(s, own)
	slices.SortFunc(w.Table.Inside, comparePrefixes)
	w.Table.Inside = slices.Compact(w.Table.Inside)
	slices.SortFunc(w.Routes, func(a, b hostnet.Route) int { return comparePrefixes(a.To, b.To) })
	return w
}

// conflist is the configuration of the reference plugins bridge and host-local. The order of the
// ranges becomes the order of a Pod's addresses. The hairpin makes the plugin switch duplicate
// address detection off in the Pod, which would otherwise cost a second. Host ports are ours
// ([hostnet.Table]): the portmap plugin needs iptables.
func conflist(s Snapshot, own []netip.Prefix) []byte {
	type object = map[string]any
	var ranges, routes []any
	for _, r := range own {
		ranges = append(ranges, []any{object{"subnet": r.String(), "gateway": r.Addr().Next().String()}})
		all := netip.PrefixFrom(netip.IPv4Unspecified(), 0)
		if r.Addr().Is6() {
			all = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
		}
		routes = append(routes, object{"dst": all.String()})
	}
	data, err := json.MarshalIndent(object{
		"cniVersion": "1.0.0",
		"name":       "duet",
		"plugins": []any{object{
			"type": "bridge", "bridge": s.Bridge, "isGateway": true, "hairpinMode": true, "mtu": s.MTU,
			"ipam": object{"type": "host-local", "dataDir": s.StateDir, "ranges": ranges, "routes": routes},
		}},
	}, "", "  ")
	if err != nil {
		panic(err) // strings and numbers
	}
	return append(data, '\n')
}

// podCIDRs returns a node's ranges, primary family first.
func podCIDRs(n *corev1.Node) []netip.Prefix {
	list := n.Spec.PodCIDRs
	if len(list) == 0 && n.Spec.PodCIDR != "" {
		list = []string{n.Spec.PodCIDR}
	}
	var out []netip.Prefix
	for _, s := range list {
		if p, err := netip.ParsePrefix(s); err == nil {
			out = append(out, p.Masked())
		}
	}
	return out
}

// internalIPs returns a node's addresses of each family in their order.
func internalIPs(n *corev1.Node) dualstack.Pair[[]netip.Addr] {
	var out dualstack.Pair[[]netip.Addr]
	for _, a := range n.Status.Addresses {
		if ip, err := netip.ParseAddr(a.Address); err == nil && a.Type == corev1.NodeInternalIP {
			list := out.At(dualstack.Of(ip))
			*list = append(*list, ip.Unmap())
		}
	}
	return out
}

func comparePrefixes(a, b netip.Prefix) int { return strings.Compare(key(a), key(b)) }

// key sorts like the prefix, IPv4 first.
func key(p netip.Prefix) string {
	b, _ := p.Addr().MarshalBinary()
	return string(append([]byte{byte(len(b))}, append(b, byte(p.Bits()))...))
}
