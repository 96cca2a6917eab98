package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/vishvananda/netlink"

	"github.com/duetk8s/duet/hostnet"
	"github.com/duetk8s/duet/nft"
)

// The uplink is one veth pair between the host and the bridge's namespace. Every cluster has the
// same addresses inside, so each masquerades twice: to its end of the pair, and on the host to
// wherever the packet goes. The pair's own ranges are picked here, a free number for each cluster:
// IPv4 link-local, which no host routes, and a ULA range of our own ("duet" in ASCII).
var uplinkPools = []netip.Prefix{
	netip.MustParsePrefix("169.254.64.0/24"),
	netip.MustParsePrefix("fd64:7565:7400::/122"),
}

// uplinks is how many pairs of two addresses fit the pools, one per block of four.
const uplinks = 64

// uplinkEnds returns the addresses of the host's end and of the cluster's end of pair i.
func uplinkEnds(i int) (host, cluster []netip.Prefix) {
	for _, pool := range uplinkPools {
		raw := pool.Addr().AsSlice()
		raw[len(raw)-1] += byte(4 * i)
		base, _ := netip.AddrFromSlice(raw)
		bits := pool.Addr().BitLen() - 2
		host = append(host, netip.PrefixFrom(base.Next(), bits))
		cluster = append(cluster, netip.PrefixFrom(base.Next().Next(), bits))
	}
	return host, cluster
}

// addUplink connects the bridge's namespace of a cluster to the host's, which the caller is in.
func addUplink(cluster string) error {
	return withNetnsDir(func() error {
		taken, err := hostAddresses()
		if err != nil {
			return err
		}
		for i := range uplinks {
			host, inside := uplinkEnds(i)
			if taken[host[0].Addr()] || taken[host[1].Addr()] {
				continue
			}
			return connect(cluster, host, inside)
		}
		return fmt.Errorf("all %d ranges for uplinks in %v are in use on this host", uplinks, uplinkPools)
	})
}

func connect(cluster string, host, inside []netip.Prefix) error {
	net := namespaceName(cluster, memberNet)
	ns, err := os.Open(filepath.Join(netnsDir, net))
	if err != nil {
		return err
	}
	defer ns.Close()
	name := uplinkName(cluster)
	err = netlink.LinkAdd(&netlink.Veth{
		LinkAttrs:     netlink.LinkAttrs{Name: name},
		PeerName:      uplinkLink,
		PeerNamespace: netlink.NsFd(int(ns.Fd())),
	})
	if err != nil {
		return fmt.Errorf("add veth %s: %w", name, err)
	}
	link, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	if err := netlink.LinkSetAlias(link, uplinkAlias(cluster)); err != nil {
		return fmt.Errorf("set the alias of %s: %w", name, err)
	}
	// No router advertisements: what runs in the cluster must not give routes to the host.
	for setting, value := range map[string]string{"disable_ipv6": "0", "accept_dad": "0", "accept_ra": "0"} {
		if err := setSysctl("net/ipv6/conf/"+name+"/"+setting, value); err != nil {
			return err
		}
	}
	if err := setUp(name, host); err != nil {
		return err
	}
	if err := forwardOnHost(); err != nil {
		return err
	}
	if err := masquerade(namespaceName(cluster, "uplink"), forwarded(name, addrs(inside))...); err != nil {
		return err
	}
	return within(net, func() error {
		if err := setUp(uplinkLink, inside); err != nil {
			return err
		}
		if err := routeVia(uplinkLink, addrs(host)); err != nil {
			return err
		}
		return masquerade(namespaceName(cluster, "uplink"), nft.LeavesBy(uplinkLink))
	})
}

// removeUplink takes the host's part of an uplink away: the veth pair, the rules and, with the last
// uplink of all clusters, the forwarding that the first had switched on.
func removeUplink(cluster string) error {
	link, err := netlink.LinkByName(uplinkName(cluster))
	switch {
	case errors.As(err, new(netlink.LinkNotFoundError)):
	case err != nil:
		return fmt.Errorf("find the uplink of cluster %q: %w", cluster, err)
	case link.Attrs().Alias == uplinkAlias(cluster):
		if err := netlink.LinkDel(link); err != nil {
			return fmt.Errorf("delete veth %s: %w", link.Attrs().Name, err)
		}
	}
	if err := dropTable(namespaceName(cluster, "uplink")); err != nil {
		return err
	}
	if _, err := os.Stat(forwardingFile); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return withNetnsDir(restoreForwarding)
}

func hostAddresses() (map[netip.Addr]bool, error) {
	list, err := netlink.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return nil, fmt.Errorf("list the host's addresses: %w", err)
	}
	taken := map[netip.Addr]bool{}
	for _, a := range list {
		if ip, ok := netip.AddrFromSlice(a.IP); ok {
			taken[ip.Unmap()] = true
		}
	}
	return taken, nil
}

// forwardingFile remembers what the host's settings were before the first uplink.
const forwardingFile = "/run/duet-forwarding.json"

// forwardOnHost makes the host a router for both families. A router stops listening to router
// advertisements, which would take the host's own IPv6 address away after a while, so links that
// listen are told to go on (accept_ra 2).
func forwardOnHost() error {
	wanted := map[string]string{}
	for _, name := range forwardingSysctls {
		wanted[name] = "1"
	}
	links, err := filepath.Glob("/proc/sys/net/ipv6/conf/*/accept_ra")
	if err != nil {
		return err
	}
	for _, l := range links {
		name := strings.TrimPrefix(l, "/proc/sys/")
		if v, err := hostnet.Sysctl(name); err == nil && v == "1" {
			wanted[name] = "2"
		}
	}
	before := map[string]string{}
	for name, value := range wanted {
		old, err := hostnet.Sysctl(name)
		if err != nil {
			return err
		}
		if old != value {
			before[name] = old
		}
	}
	if before[forwardingSysctls[0]] == "" && before[forwardingSysctls[1]] == "" {
		return nil // a router already: leave its links as they are
	}
	if _, err := os.Stat(forwardingFile); errors.Is(err, fs.ErrNotExist) {
		data, err := json.Marshal(before)
		if err != nil {
			return err
		}
		if err := os.WriteFile(forwardingFile, data, 0o644); err != nil {
			return err
		}
	}
	for name := range before {
		if err := setSysctl(name, wanted[name]); err != nil {
			return err
		}
	}
	return nil
}

// restoreForwarding undoes forwardOnHost unless some cluster still has an uplink.
func restoreForwarding() error {
	links, err := netlink.LinkList()
	if err != nil {
		return fmt.Errorf("list the host's links: %w", err)
	}
	for _, l := range links {
		if strings.HasPrefix(l.Attrs().Alias, uplinkAlias("")) {
			return nil
		}
	}
	data, err := os.ReadFile(forwardingFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var before map[string]string
	if err := json.Unmarshal(data, &before); err != nil {
		return fmt.Errorf("read %s: %w", forwardingFile, err)
	}
	// Forwarding first: switching it off resets what hangs on it.
	for _, name := range forwardingSysctls {
		if old, ok := before[name]; ok {
			if err := setSysctl(name, old); err != nil {
				return err
			}
			delete(before, name)
		}
	}
	for name, old := range before {
		if err := setSysctl(name, old); err != nil && !errors.Is(err, fs.ErrNotExist) { // the link is gone
			return err
		}
	}
	return os.Remove(forwardingFile)
}
