package lab

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/duetk8s/duet/hostnet"
	"github.com/duetk8s/duet/nft"
)

// needRoot is checked first, before anything is touched.
func needRoot(verb string) error {
	if uid := os.Geteuid(); uid != 0 {
		return fmt.Errorf("%s needs root to work on network namespaces, and this is uid %d; run it with sudo", verb, uid)
	}
	return nil
}

// probe is one thing that the kernel must be able to do, tried where it does no harm.
type probe struct {
	what   string
	remedy string
	try    func() error
}

// preflight tries what a cluster needs of the kernel in a namespace that nobody sees, and reports
// all that is missing at once.
func preflight(s Settings) error {
	probes := []probe{
		{"IPv6", "boot without ipv6.disable=1 (CONFIG_IPV6)", func() error { _, err := os.Stat("/proc/sys/net/ipv6"); return err }},
		{"links between namespaces", "modprobe veth (CONFIG_VETH)", func() error {
			return netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "probe0"}, PeerName: "probe1"})
		}},
		{"a bridge", "modprobe bridge (CONFIG_BRIDGE)", func() error {
			return netlink.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "probe2"}})
		}},
	}
	if s.Uplink {
		probes = append(probes, probe{
			"nftables masquerading, for --uplink", "modprobe nft_masq nft_chain_nat (CONFIG_NFT_MASQ, CONFIG_NFT_NAT), or use --uplink=false",
			func() error { return masquerade("probe", nft.LeavesBy("probe0")) },
		})
	}
	var missing []string
	err := inScratch(func() {
		for _, p := range probes {
			if err := p.try(); err != nil {
				missing = append(missing, fmt.Sprintf("%s (%s): %s", p.what, plain(err), p.remedy))
			}
		}
	})
	if err != nil {
		return err
	}
	if s.Nodes > 0 {
		if err := checkRuntime(); err != nil {
			return err
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("check this machine: the kernel lacks %s", strings.Join(missing, "; and "))
	}
	return nil
}

// runtimePrograms are what a node needs besides us.
var runtimePrograms = []string{"containerd", "containerd-shim-runc-v2", "runc"}

// checkRuntime looks for the programs and kernel features that containers need.
func checkRuntime() error {
	var missing []string
	for _, p := range runtimePrograms {
		if _, err := findProgram(p); err != nil {
			missing = append(missing, p)
		}
	}
	if _, err := cniBinDir(); err != nil {
		missing = append(missing, "the CNI plugins")
	}
	if len(missing) > 0 {
		return fmt.Errorf("check this machine: nodes need %s; apt-get install containerd runc containernetworking-plugins, or use --nodes 0", strings.Join(missing, ", "))
	}
	points, err := hierarchies()
	if err == nil && len(points) == 0 {
		err = errors.New("check this machine: no cgroups are mounted, which nodes need; a container needs --privileged for this")
	}
	return err
}

// inScratch runs fn in a new network namespace, which ends with it.
func inScratch(fn func()) error {
	return hostnet.OnThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("create a network namespace: %w; a container needs --privileged for this", err)
		}
		fn()
		return nil
	})
}

// plain is the innermost cause of an error, without the names of our probes.
func plain(err error) string {
	if number, ok := errors.AsType[unix.Errno](err); ok {
		return number.Error()
	}
	if path, ok := errors.AsType[*fs.PathError](err); ok {
		return path.Err.Error()
	}
	return err.Error()
}
