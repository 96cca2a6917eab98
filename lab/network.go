package lab

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/duetk8s/duet/hostnet"
)

// The lab's own network, one range per family. It exists only inside the namespaces of a cluster,
// so every cluster has the same.
var labRanges = []netip.Prefix{
	netip.MustParsePrefix("172.30.0.0/24"),
	netip.MustParsePrefix("fd00:172:30::/64"),
}

// Numbers of the bridge and the control plane in those ranges; nodes follow.
const (
	numberBridge  = 1
	numberControl = 2
)

const (
	bridgeName = "br0"
	memberLink = "eth0"   // a member's link to the bridge, as seen from inside
	uplinkLink = "uplink" // the bridge namespace's link to the host, as seen from inside
)

// loadBalancerPool is the part of those ranges that Services of type LoadBalancer get addresses
// from; nodes are numbered below it.
var loadBalancerPool = []netip.Prefix{
	netip.MustParsePrefix("172.30.0.192/27"), netip.MustParsePrefix("172.30.0.224/28"),
	netip.MustParsePrefix("fd00:172:30::f000/116"),
}

// numbered returns the nth address of each lab range, with the range's prefix length.
func numbered(n int) []netip.Prefix {
	out := make([]netip.Prefix, len(labRanges))
	for i, r := range labRanges {
		a := r.Addr()
		for range n {
			a = a.Next()
		}
		out[i] = netip.PrefixFrom(a, r.Bits())
	}
	return out
}

func addrs(prefixes []netip.Prefix) []netip.Addr {
	out := make([]netip.Addr, len(prefixes))
	for i, p := range prefixes {
		out[i] = p.Addr()
	}
	return out
}

// buildNetwork makes the namespaces of a cluster, which must not exist, and joins them.
func buildNetwork(s Settings) error {
	net, control := namespaceName(s.Name, memberNet), namespaceName(s.Name, memberControl)
	if err := createNamespace(net); err != nil {
		return err
	}
	if err := within(net, buildBridge); err != nil {
		return fmt.Errorf("build the bridge in %s: %w", net, err)
	}
	if err := createNamespace(control); err != nil {
		return err
	}
	if err := join(net, control, memberControl, numbered(numberControl), s.Uplink); err != nil {
		return fmt.Errorf("join %s to the bridge: %w", control, err)
	}
	if s.Uplink {
		if err := addUplink(s.Name); err != nil {
			return fmt.Errorf("give cluster %q a way out: %w; or do without: --uplink=false", s.Name, err)
		}
	}
	return within(net, func() error {
		bridge, err := netlink.LinkByName(bridgeName)
		if err != nil {
			return err
		}
		return netlink.LinkSetAlias(bridge, bridgeAlias(s))
	})
}

// bridgeAlias is what the bridge is marked with once everything else has been built.
func bridgeAlias(s Settings) string {
	return fmt.Sprintf("duet cluster %s, uplink %t", s.Name, s.Uplink)
}

// networkStands tells whether buildNetwork has made what it would make now.
func networkStands(s Settings) bool {
	marked := false
	err := within(namespaceName(s.Name, memberNet), func() error {
		bridge, err := netlink.LinkByName(bridgeName)
		marked = err == nil && bridge.Attrs().Alias == bridgeAlias(s)
		return err
	})
	_, gone := os.Stat(filepath.Join(netnsDir, namespaceName(s.Name, memberControl)))
	return err == nil && marked && gone == nil
}

// removeNetwork takes everything away that buildNetwork has made, whatever there is of it.
func removeNetwork(cluster string) error {
	errs := []error{removeUplink(cluster)}
	members, err := namespaces(cluster)
	errs = append(errs, err)
	for _, m := range members {
		errs = append(errs, deleteNamespace(namespaceName(cluster, m)))
	}
	return errors.Join(append(errs, removeNetnsDir())...)
}

// buildBridge runs inside the bridge's namespace.
func buildBridge() error {
	if err := prepareStack(true); err != nil {
		return err
	}
	bridge := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: bridgeName}}
	if err := netlink.LinkAdd(bridge); err != nil {
		return fmt.Errorf("add bridge %s: %w", bridgeName, err)
	}
	return setUp(bridgeName, numbered(numberBridge))
}

// join links a member's namespace to the bridge and gives it its addresses. Without a route out the
// member reaches its neighbours and nothing else.
func join(net, member, port string, addresses []netip.Prefix, routeOut bool) error {
	ns, err := os.Open(filepath.Join(netnsDir, member))
	if err != nil {
		return err
	}
	defer ns.Close()
	err = within(net, func() error {
		bridge, err := netlink.LinkByName(bridgeName)
		if err != nil {
			return err
		}
		veth := &netlink.Veth{
			LinkAttrs:     netlink.LinkAttrs{Name: port, MasterIndex: bridge.Attrs().Index},
			PeerName:      memberLink,
			PeerNamespace: netlink.NsFd(int(ns.Fd())), PeerHardwareAddr: hardware(addresses),
		}
		if err := netlink.LinkAdd(veth); err != nil {
			return fmt.Errorf("add veth %s: %w", port, err)
		}
		return netlink.LinkSetUp(veth)
	})
	if err != nil {
		return err
	}
	return within(member, func() error {
		if err := prepareStack(false); err != nil {
			return err
		}
		// The link is older than the defaults that prepareStack has set.
		if err := setSysctl("net/ipv6/conf/"+memberLink+"/accept_dad", "0"); err != nil {
			return err
		}
		if err := setUp(memberLink, addresses); err != nil {
			return err
		}
		if !routeOut {
			return nil
		}
		return routeVia(memberLink, addrs(numbered(numberBridge)))
	})
}

// hardware is the address of a member's link, made of its IPv4 address: 172.30.0.3 has
// 02:00:ac:1e:00:03. A member that is built anew keeps it, or its neighbours would send to the old one
// for seconds. 02 says that somebody chose it.
func hardware(addresses []netip.Prefix) net.HardwareAddr {
	for _, a := range addresses {
		if a.Addr().Is4() {
			return append(net.HardwareAddr{2, 0}, a.Addr().AsSlice()...)
		}
	}
	return nil // the kernel's choice
}

// setUp gives the link its addresses and brings it up. NODAD: nobody else can have them, and
// waiting for duplicate address detection takes more than a second.
func setUp(link string, addresses []netip.Prefix) error {
	l, err := netlink.LinkByName(link)
	if err != nil {
		return fmt.Errorf("find link %s: %w", link, err)
	}
	for _, a := range addresses {
		if err := netlink.AddrAdd(l, &netlink.Addr{IPNet: ipNet(a), Flags: unix.IFA_F_NODAD}); err != nil {
			return fmt.Errorf("add address %s to %s: %w", a, link, err)
		}
	}
	if err := netlink.LinkSetUp(l); err != nil {
		return fmt.Errorf("bring %s up: %w", link, err)
	}
	return nil
}

// routeVia adds a default route through each gateway.
func routeVia(link string, gateways []netip.Addr) error {
	l, err := netlink.LinkByName(link)
	if err != nil {
		return fmt.Errorf("find link %s: %w", link, err)
	}
	for _, gw := range gateways {
		if err := netlink.RouteAdd(&netlink.Route{LinkIndex: l.Attrs().Index, Gw: gw.AsSlice()}); err != nil {
			return fmt.Errorf("add a default route via %s: %w", gw, err)
		}
	}
	return nil
}

// prepareStack sets a new namespace's defaults, before it has links: IPv6 on, no duplicate address
// detection, no router advertisements, forwarding if it is a router; and brings lo up.
func prepareStack(forward bool) error {
	for _, scope := range []string{"all", "default"} {
		base := "net/ipv6/conf/" + scope + "/"
		for name, value := range map[string]string{"disable_ipv6": "0", "accept_dad": "0", "accept_ra": "0"} {
			if err := setSysctl(base+name, value); err != nil {
				return err
			}
		}
	}
	if forward {
		for _, name := range forwardingSysctls {
			if err := setSysctl(name, "1"); err != nil {
				return err
			}
		}
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("find link lo: %w", err)
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return fmt.Errorf("bring lo up: %w", err)
	}
	return nil
}

// The forwarding switch of each family.
var forwardingSysctls = []string{"net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"}

// setSysctl is [hostnet.SetSysctl] with a word on containers.
func setSysctl(name, value string) error {
	err := hostnet.SetSysctl(name, value)
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, unix.EROFS) {
		return fmt.Errorf("%w; a container needs --privileged for this", err)
	}
	return err
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// addressesIn returns the addresses that a member has on the lab's network.
func addressesIn(namespace string) ([]netip.Addr, error) {
	var out []netip.Addr
	err := within(namespace, func() error {
		link, err := netlink.LinkByName(memberLink)
		if errors.As(err, new(netlink.LinkNotFoundError)) {
			return nil // not joined, or not any more
		}
		if err != nil {
			return err
		}
		list, err := netlink.AddrList(link, netlink.FAMILY_ALL)
		if err != nil {
			return fmt.Errorf("list the addresses in %s: %w", namespace, err)
		}
		for _, a := range list {
			if ip, ok := netip.AddrFromSlice(a.IP); ok && a.Scope == int(netlink.SCOPE_UNIVERSE) {
				out = append(out, ip.Unmap())
			}
		}
		return nil
	})
	return out, err
}
